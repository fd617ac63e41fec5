-- complete.lua: `lunation complete`: the result of an activity that is answered from outside.
local answering = require "answering"
local data = require "data"

local complete = {
  name = "complete",
  summary = "Answer an activity that waits for somebody outside, with its result",
  usage = "complete TOKEN [JSON]",
  about = answering.ABOUT .. [[ The first answer counts; the command returns when it is durable. A second one is refused with code 4.]],
  arguments = { 1, 2 },
  options = { { "--result JSON", "the result: JSON text, @file, or - for stdin (or as a second argument); default: none" } },
  examples = [[
  lunation complete 17:3:1 '{"approved": true}'
  lunation show trip-7 --json | jq -r '.waiting.activities[].token']],
}

function complete.run(parsed)
  local json = data.json("result", parsed.result or parsed[2])
  local _, served = answering.run(parsed, "complete", "", json, function(rt)
    return rt:complete(parsed[1], nil, { result_json = json })
  end)
  return answering.tell(parsed, "completed", ("%s is answered"):format(parsed[1]), served)
end

return complete
