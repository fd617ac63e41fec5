-- suspend.lua: `lunation suspend`: through the server, or straight into the data directory.
local reasoned = require "reasoned"

local suspend = {
  name = "suspend",
  summary = "Pause an instance",
  usage = "suspend ID [--reason TEXT]",
  about = [[
It goes on with nothing until `lunation resume`: events, results and timers are kept in order, no activity begins; one that runs already
may end. The command returns when that is durable.]],
  arguments = { 1, 1 },
  options = { { "--reason TEXT", "why; kept in the history" } },
  examples = "  lunation suspend trip-7 --reason 'waiting for the new code'",
}

function suspend.run(parsed)
  return reasoned.run(parsed, "suspend", "suspended", "%s is suspended")
end

return suspend
