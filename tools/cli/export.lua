-- export.lua: `lunation export`: an instance with all it needs into one file, read from the data directory.
local args = require "args"
local data = require "data"
local out = require "out"

local export = {
  name = "export",
  summary = "Write an instance into a file: its history, what is due, and the code that made it",
  usage = "export ID FILE [--all] [--run N]",
  about = [[
The file can be replayed on any machine (lunation replay), and taken into another data directory (lunation import), where what is not
finished goes on. It holds what the instance was given and answered: look who you give it to. The instance stays here; if it shall go on
elsewhere only, suspend it before, and purge it after.]],
  arguments = { 2, 2 },
  options = {
    { "--all", "with every earlier run and every child, not only children that are not finished" },
    { "--run N", "an earlier run, such as a generation that continued as new; it can be replayed, not imported" },
  },
  examples = "  lunation export order-7 order-7.run\n  lunation replay order-7.run --against workflows/order.lua",
}

function export.run(parsed, command)
  local run = args.number(command, parsed, "run", nil, 1, 2 ^ 53)
  local rt = data.open_to_read(parsed)
  data.check(rt:export(parsed[1], parsed[2], { whole = parsed.all, run = run }))
  local instance = data.check(rt:get(parsed[1]))
  data.close(rt)
  local file = assert(io.open(parsed[2], "rb"))
  local size = file:seek("end")
  file:close()
  if parsed.json then
    io.write(out.object("id", parsed[1], "file", parsed[2], "bytes", size), "\n")
    return 0
  end
  io.write(("%s  %s  %d bytes\n"):format(parsed[2], parsed[1], size))
  if not instance.closed_us and not run then out.say(("%s is %s, and goes on here"):format(parsed[1], instance.status)) end
  return 0
end

return export
