-- update.lua: `lunation update`: a request to an instance that has an answer, through the server.
local data = require "data"

local update = {
  name = "update",
  summary = "Ask an instance to do something (ctx:on_update), and print its answer as JSON",
  usage = "update ID NAME [JSON] [--update-id UPDATE]",
  about = [[
A server must run on the data directory. The command returns when the request is answered. With --update-id it can be repeated: the same
id is not carried out again, and gives the same answer.]],
  arguments = { 2, 3 },
  options = {
    { "--input JSON", "the arguments: JSON text, @file, or - for stdin (or as a third argument)" },
    { "--update-id, --id UPDATE", "the update's id (default: a random one)" },
  },
  examples = "  lunation update cart-3 add '{\"name\": \"moon\", \"price\": 10}'",
}

function update.run(parsed)
  data.must_be_served(parsed)
  local json = data.json("input", parsed.input or parsed[3])
  local path = ("/v1/instances/%s/update/%s"):format(data.encode(parsed[1]), data.encode(parsed[2]))
  if parsed.update_id then path = path .. "?update_id=" .. data.encode(parsed.update_id) end
  local text = data.ask(parsed, "POST", path, json)
  io.write(parsed.json and text:gsub("%s+$", "") or text:match('^{"value":(.*),"id":"'), "\n")
  return 0
end

return update
