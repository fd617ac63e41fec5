-- terminate.lua: `lunation terminate`: through the server, or straight into the data directory.
local data = require "data"
local out = require "out"

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
  local id = parsed[1]
  local served = data.served(parsed)
  if served then
    local query = parsed.reason and "?reason=" .. data.encode(parsed.reason) or ""
    data.ask(parsed, "POST", ("/v1/instances/%s/terminate%s"):format(data.encode(id), query))
  else
    local rt = data.open_briefly(parsed)
    data.check(rt:terminate(id, parsed.reason))
    data.check(rt:flush())
    data.close(rt)
  end
  if parsed.json then io.write(out.object("id", id, "terminated", true, "running", served), "\n") end
  if not parsed.json then io.write(("%s will run no further\n"):format(id)) end
  if not served then out.say("it is kept; `lunation serve` or `lunation run` will carry it out") end
  return 0
end

return terminate
