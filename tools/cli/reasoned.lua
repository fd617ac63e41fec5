-- reasoned.lua: what `cancel`, `terminate`, `suspend` and `resume` share: one request about one instance, with a reason; through the
-- server, or straight into the data directory.
local data = require "data"
local out = require "out"

local reasoned = {}

local function straight(parsed, verb)
  local rt = data.open_briefly(parsed)
  data.check(rt[verb](rt, parsed[1], parsed.reason))
  data.check(rt:flush())
  data.close(rt)
end

--- `told`: what a person reads; `member`: the member of the JSON object that says it was done; `later`: said where no server runs.
function reasoned.run(parsed, verb, member, told, later)
  local id, served = parsed[1], data.served(parsed)
  if served then
    local query = parsed.reason and "?reason=" .. data.encode(parsed.reason) or ""
    data.ask(parsed, "POST", ("/v1/instances/%s/%s%s"):format(data.encode(id), verb, query))
  else
    straight(parsed, verb)
  end
  io.write(parsed.json and out.object("id", id, member, true, "served", served) or told:format(id), "\n")
  if not served and later then out.say(later) end
  return 0
end

return reasoned
