-- terminate.lua: `lunation terminate`: through the server, or straight into the data directory.
local reasoned = require "reasoned"

local terminate = {
  name = "terminate",
  summary = "Stop an instance where it stands",
  usage = "terminate ID [--reason TEXT]",
  about = "Its workflow runs no further and cleans nothing up; its history stays. The command returns when that is durable.",
  arguments = { 1, 1 },
  options = { { "--reason TEXT", "why; kept in the history" } },
  examples = "  lunation terminate trip-7 --reason 'the trip is off'",
}

function terminate.run(parsed)
  return reasoned.run(parsed, "terminate", "terminated", "%s will run no further",
    "it is kept; `lunation serve` or `lunation run` will carry it out")
end

return terminate
