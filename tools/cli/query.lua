-- query.lua: `lunation query`: a question to an instance, through the server.
local data = require "data"

local query = {
  name = "query",
  summary = "Ask an instance a question (ctx:on_query), and print the answer as JSON",
  usage = "query ID NAME [JSON]",
  about = [[
A server must run on the data directory. The instance may be running, suspended or finished; nothing in it changes.
`lunation show` lists the names that an instance answers to.]],
  arguments = { 2, 3 },
  options = { { "--input JSON", "the arguments: JSON text, @file, or - for stdin (or as a third argument)" } },
  examples = "  lunation query trip-7 progress\n  lunation query cart-3 item 2",
}

function query.run(parsed)
  data.must_be_served(parsed)
  local json = data.json("input", parsed.input or parsed[3])
  local path = ("/v1/instances/%s/query/%s"):format(data.encode(parsed[1]), data.encode(parsed[2]))
  local text = data.ask(parsed, "POST", path, json)
  io.write(parsed.json and text:gsub("%s+$", "") or text:match('^{"value":(.*)}%s*$'), "\n")
  return 0
end

return query
