-- start.lua: `lunation start`: through the server, or straight into the data directory.
local args = require "args"
local data = require "data"
local lunation = require "lunation"
local out = require "out"
local outcome = require "outcome"

local start = {
  name = "start",
  summary = "Start an instance",
  usage = "start NAME [--input JSON] [--id ID] [--wait] [--file FILE]",
  about = [[
Where a server runs on the data directory, it starts the instance; the command returns when the start is durable. Without a server
--file names the Lua file that defines the workflow: the start is made durable, and runs when `lunation serve` or `run` does.]],
  arguments = { 1, 1 },
  options = {
    { "--input JSON", "the input: JSON text, @file, or - for stdin" },
    { "--id ID", "the instance's id (default: a random UUID)" },
    { "--wait", "wait for the end and print the result, as `run` does (needs a server)" },
    { "--timeout SECONDS", "how long to wait (default: for ever)" },
    { "--file FILE", "the file that defines NAME, where no server runs" },
  },
  examples = [[
  lunation start hello --input '{"name": "Ada"}' --id ada
  lunation start hello --input @ada.json --wait --json]],
}

local WAIT_MS = 60000

local function wait(parsed, command, id)
  local rest_ms = args.number(command, parsed, "timeout", math.huge, 0, 1e9) * 1000
  while rest_ms > 0 do
    local slice = math.min(rest_ms, WAIT_MS)
    local text = data.ask(parsed, "GET", ("/v1/instances/%s/wait?timeout_ms=%d"):format(data.encode(id), slice), nil, true)
    if text then
      local instance = lunation.json_decode(text)
      for _, field in ipairs({ "output", "failure" }) do
        if instance[field] ~= nil then instance[field] = lunation.json_encode(instance[field]) end
      end
      return outcome.report(instance, parsed)
    end
    rest_ms = rest_ms - slice
  end
  data.fail(("'%s' is not finished after %s s; it goes on"):format(id, parsed.timeout), "LNT_ETIMEOUT")
end

local function through_server(parsed, command, input)
  if parsed.file then data.fail("a server runs on this data directory, and it loads its own folder: leave --file out", "LNT_EINVAL") end
  local path = "/v1/workflows/" .. data.encode(parsed[1]) .. "/start" .. (parsed.id and "?id=" .. data.encode(parsed.id) or "")
  local reply = lunation.json_decode(data.ask(parsed, "POST", path, input))
  if parsed.wait then return wait(parsed, command, reply.id) end
  io.write(parsed.json and out.object("id", reply.id, "name", parsed[1], "running", true) or reply.id, "\n")
  return 0
end

local function alone(parsed, input)
  if parsed.wait then data.fail("--wait needs a server; `lunation run` follows an instance by itself", "LNT_EINVAL") end
  if not parsed.file then
    data.fail(("no server runs on '%s'; start one (lunation serve DIR), or name the file that defines the workflow (--file FILE)"):format(
      data.dir(parsed)), "LNT_EINVAL")
  end
  local rt = data.open(parsed)
  data.load(rt, parsed.file)
  local id = data.check(rt:start(parsed[1], { id = parsed.id, input_json = input }))
  data.check(rt:flush())
  data.close(rt)
  io.write(parsed.json and out.object("id", id, "name", parsed[1], "running", false) or id, "\n")
  out.say("it is kept, but nothing runs it now: `lunation serve` or `lunation run` will")
  return 0
end

function start.run(parsed, command)
  local input = data.json("input", parsed.input)
  local sys = require "sys"
  if sys.kind(data.dir(parsed)) and data.served(parsed) then return through_server(parsed, command, input) end
  return alone(parsed, input)
end

return start
