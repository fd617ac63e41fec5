-- outcome.lua: tells how an instance ended, and answers the exit code. For `run` and `start --wait`.
local out = require "out"
local sys = require "sys"

local outcome = {}

local EXITS = { COMPLETED = 0, STALLED = 6 }

--- `instance`: with its values as JSON text.
function outcome.report(instance, parsed)
  if parsed.json then
    io.write(out.outcome(instance), "\n")
  elseif instance.status == "COMPLETED" then
    if instance.output then io.write(out.pretty(instance.output), "\n") end
  else
    local divergence = out.divergence(instance.failure, sys.now_us())
    local why = #divergence > 0 and "Diverged" or out.failure(instance.failure)
    out.say(("%s %s: %s"):format(instance.id, out.status(2, instance.status), why))
    for _, line in ipairs(divergence) do out.say("  ", line) end
    out.say(out.paint(2, "dim", ("`lunation history %s` tells what happened"):format(instance.id)))
  end
  return EXITS[instance.status] or 1
end

return outcome
