-- bench.lua: `lunation bench`: hands over to the benchmarks of tools/bench, where they were built in.
local data = require "data"

local bench = {
  name = "bench",
  summary = "Measure this machine: durable steps per second, beside the bare store",
  usage = "bench [NAME...] [--json]",
  about = "NAME picks workloads (W1 to W11, cold); default: all. It is a benchmark, not a test: nothing passes or fails.",
  arguments = { 0, 100 },
  options = {
    { "--quick", "smaller workloads, coarser figures" },
    { "--large", "W5 and W9 with a million instances instead of ten thousand" },
    { "--durability MODE", "sync or process (default: both)" },
    { "--dir DIR", "where the temporary data directories go: the disk to measure" },
  },
  examples = "  lunation bench\n  lunation bench W1 W2 --json",
}

function bench.run(parsed, command)
  local built, runner = pcall(require, "bench.main")
  if not built then
    if not tostring(runner):match("module 'bench%.main' not found") then error(runner, 0) end
    data.fail("this program was built without its benchmarks (tools/bench)", "LNT_ENOTFOUND")
  end
  return runner.run(parsed, command)
end

return bench
