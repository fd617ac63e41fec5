-- answering.lua: what `complete`, `fail` and `heartbeat` share: an attempt of an activity is named by its token, and reached through the
-- server, or straight in the data directory.
local data = require "data"
local out = require "out"

local answering = {}

answering.ABOUT = [[
TOKEN names the attempt of an activity that left its answer to somebody outside (act:complete_later()); `lunation show ID` prints the
tokens of those that wait.]]

--- Ask the server, or `straight(rt)` where none runs. Answers the server's JSON text, or what `straight` answered; and whether it runs.
function answering.run(parsed, verb, query, body, straight)
  if data.served(parsed) then
    return data.ask(parsed, "POST", ("/v1/activities/%s/%s%s"):format(data.encode(parsed[1]), verb, query), body), true
  end
  local rt = data.open_briefly(parsed)
  local answer = data.check(straight(rt))
  data.check(rt:flush())
  data.close(rt)
  return answer, false
end

--- Tell that it was done.
function answering.tell(parsed, member, told, served)
  io.write(parsed.json and out.object("token", parsed[1], member, true, "served", served) or told, "\n")
  if not served then out.say("it is kept; the workflow goes on when `lunation serve` or `lunation run` runs it") end
  return 0
end

return answering
