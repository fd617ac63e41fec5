-- rerun.lua: `lunation rerun`.
local args = require "args"
local forking = require "forking"

local rerun = {
  name = "rerun",
  summary = "Do one step of a finished instance again, and what follows, as a new instance",
  usage = "rerun ID --event N [--input JSON] [--id NEW]",
  about = "Event N is an ActivityScheduled, ChildScheduled, TimerCreated or EventAwaited: `lunation history` numbers them.",
  arguments = { 1, 1 },
  options = {
    { "--event N", "the event with the step" },
    { "--input JSON", "what the activity or child is given instead: JSON text, @file, or - for stdin" },
    { "--id NEW", "the new instance's id (default: a random UUID)" },
    { "--run N", "an earlier run of ID" },
    forking.CODE, forking.FILE,
  },
  examples = "  lunation rerun trip-7 --event 5 --input '{\"seats\": 2}'",
}

function rerun.run(parsed, command)
  if not parsed.event then args.usage_error(command, "lunation rerun: --event is missing") end
  return forking.run(parsed, command, "rerun")
end

return rerun
