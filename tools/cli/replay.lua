-- replay.lua: `lunation replay`: an exported instance, run again in memory from its history; needs no data directory.
local data = require "data"
local fits = require "fits"
local lunation = require "lunation"
local out = require "out"

local replay = {
  name = "replay",
  summary = "Replay an exported instance, with the code in the file or with other code",
  usage = "replay FILE [--against CODE.lua] [--all]",
  about = [[
On any machine, without a data directory: no activity runs, nothing is written. The history is fed to the code, which must make every call
that is recorded, and come to the end that is recorded. Exit code 6 where it does not: the report names the event, both calls, both lines
and the first difference.]],
  arguments = { 1, 1 },
  options = {
    { "--against FILE", "try the code of this Lua file, with the modules it requires" },
    { "--all", "every run in the file: children and earlier runs too" },
    { "--modules DIR", "where modules of the code are looked for, too" },
  },
  examples = "  lunation replay order-7.run\n  lunation replay order-7.run --against workflows/order.lua --json | jq '.runs[0].fit'",
}

local function as_json(r)
  local fit = fits.report(r)
  local rest = out.object("run", r.run, "ends", r.ends, "output", out.raw(r.output), "failure", out.raw(r.failure),
    "custom_status", out.raw(r.custom_status), "reason", r.reason, "engine", r.engine, "engine_here", r.engine_here)
  return fit:sub(1, -2) .. "," .. rest:sub(2)
end

local function print_report(r)
  if r.fit == "compatible" then
    local result = r.ends == "RUNNING" and (r.reason or "it waits") or r.output or (r.failure and out.failure(r.failure)) or ""
    io.write(out.paint(1, "green", "compatible"), "  ", r.id, "  ", r.workflow, "  ", ("%d events  "):format(r.events),
      out.status(1, r.ends), "  ", result, "\n")
  else
    fits.details({ r }, 0)
  end
  if r.custom_status then io.write("custom status  ", r.custom_status, "\n") end
  if r.fit ~= "compatible" and r.engine ~= r.engine_here then
    out.say(("the history was made by %s; here is %s"):format(r.engine, r.engine_here))
  end
end

function replay.run(parsed)
  local reports, diverging, code = lunation.replay(parsed[1],
    { against = parsed.against, all = parsed.all, module_path = parsed.modules, json = true })
  data.check(reports, diverging, code)
  if parsed.json then
    local list = {}
    for i, r in ipairs(reports) do list[i] = as_json(r) end
    io.write(out.object("runs", out.raw(out.array(list)), "diverging", diverging), "\n")
  else
    for _, r in ipairs(reports) do print_report(r) end
  end
  return diverging > 0 and 6 or 0
end

return replay
