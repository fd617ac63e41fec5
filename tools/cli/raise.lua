-- raise.lua: `lunation raise`: an external event, through the server or straight into the data directory.
local data = require "data"
local lunation = require "lunation"
local out = require "out"

local raise = {
  name = "raise",
  summary = "Deliver an event to an instance",
  usage = "raise ID EVENT [JSON] [--key KEY]",
  about = [[
The event is kept until the workflow waits for it. The command returns when the event is durable. Without a server the event is
kept in the data directory, and is delivered when `lunation serve` or `run` runs the instance.]],
  arguments = { 2, 3 },
  options = {
    { "--key KEY", "makes it repeatable: under a key that the instance got an event under before, nothing is delivered" },
    { "--input JSON", "the event's data: JSON text, @file, or - for stdin (or as a third argument)" },
  },
  examples = [[
  lunation raise trip-7 human_approval --input '{"approved": true}'
  lunation raise trip-7 human_approval '{"approved": true}' --key mail-4711]],
}

function raise.run(parsed)
  local id, event = parsed[1], parsed[2]
  local json = data.json("input", parsed.input or parsed[3])
  local served = data.served(parsed)
  local repeated
  if served then
    local path = ("/v1/instances/%s/events/%s"):format(data.encode(id), data.encode(event))
    if parsed.key then path = path .. "?key=" .. data.encode(parsed.key) end
    repeated = lunation.json_decode(data.ask(parsed, "POST", path, json)).repeated
  else
    local rt = data.open_briefly(parsed)
    local _, before = data.check(rt:raise(id, event, nil, { data_json = json, key = parsed.key }))
    repeated = before or nil
    data.check(rt:flush())
    data.close(rt)
  end
  local told = repeated and "'%s' had been delivered to %s under this key; nothing was done\n" or "'%s' was delivered to %s\n"
  if parsed.json then io.write(out.object("id", id, "event", event, "repeated", repeated, "served", served), "\n") end
  if not parsed.json then io.write(told:format(event, id)) end
  if not served then out.say("it is kept, but nothing runs the instance now: `lunation serve` or `lunation run` will") end
  return 0
end

return raise
