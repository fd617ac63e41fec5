-- cancel.lua: `lunation cancel`: through the server, or straight into the data directory.
local reasoned = require "reasoned"

local cancel = {
  name = "cancel",
  summary = "Ask an instance to clean up and end",
  usage = "cancel ID [--reason TEXT]",
  about = [[
Its workflow, and every branch of it, is raised a failure of type "Canceled" where it waits. It may clean up, and wait while it does;
then it ends. The command returns when the request is durable. Canceling again changes nothing; `lunation terminate` stops one that does
not end.]],
  arguments = { 1, 1 },
  options = { { "--reason TEXT", "why; the message of the failure" } },
  examples = "  lunation cancel trip-7 --reason 'the trip is off'",
}

function cancel.run(parsed)
  return reasoned.run(parsed, "cancel", "canceled", "%s is asked to end",
    "it is kept; `lunation serve` or `lunation run` will carry it out")
end

return cancel
