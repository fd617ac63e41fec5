-- heartbeat.lua: `lunation heartbeat`: a sign of life of an activity that is answered from outside.
local answering = require "answering"
local data = require "data"
local lunation = require "lunation"
local out = require "out"

local heartbeat = {
  name = "heartbeat",
  summary = "Say that an activity which somebody outside works on is alive",
  usage = "heartbeat TOKEN [JSON]",
  about = answering.ABOUT .. [[ Its heartbeat timeout begins anew. The details, if any, are given to the attempt that follows,
should this one fail. It prints "wanted", or "canceled" where nobody waits for the answer any more.]],
  arguments = { 1, 2 },
  options = { { "--details JSON", "how far it is: JSON text, @file, or - for stdin (or as a second argument)" } },
  examples = "  lunation heartbeat 17:3:1 '{\"rows\": 1200}'",
}

function heartbeat.run(parsed)
  local json = data.json("details", parsed.details or parsed[2])
  local answer, served = answering.run(parsed, "heartbeat", "", json, function(rt)
    return rt:heartbeat(parsed[1], nil, { details_json = json })
  end)
  local canceled = answer
  if served then canceled = lunation.json_decode(answer).canceled end
  local object = out.object("token", parsed[1], "canceled", canceled, "served", served)
  io.write(parsed.json and object or canceled and "canceled" or "wanted", "\n")
  return 0
end

return heartbeat
