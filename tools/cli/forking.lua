-- forking.lua: what `fork`, `rerun` and `retry` share: a new run that goes on from a history; through the server, or straight into the data
-- directory.
local args = require "args"
local data = require "data"
local lunation = require "lunation"
local out = require "out"

local forking = {}

forking.CODE = { "--code WHICH", "which code it runs: pinned (as before), newest, or auto (default)" }
forking.FILE = { "--file FILE", "the file with the newest code, where no server runs" }

local CODES = { "auto", "pinned", "newest" }

local function check_code(parsed, command)
  for _, known in ipairs(CODES) do
    if not parsed.code or parsed.code == known then return end
  end
  args.usage_error(command, ("lunation %s: --code must be %s, not '%s'%s"):format(command.name, table.concat(CODES, ", "), parsed.code,
    args.hint(parsed.code, CODES)))
end

local function query_of(options)
  local parts = {}
  for _, name in ipairs({ "event", "new_id", "run", "code" }) do
    if options[name] then parts[#parts + 1] = name .. "=" .. data.encode(tostring(options[name])) end
  end
  return #parts > 0 and "?" .. table.concat(parts, "&") or ""
end

local function straight(parsed, verb, options)
  local rt = data.open_briefly(parsed)
  if parsed.file then data.load(rt, parsed.file) end
  local id = data.check(rt[verb](rt, parsed[1], options))
  data.check(rt:flush())
  data.close(rt)
  return id
end

--- Do it; answers the exit code.
function forking.run(parsed, command, verb)
  check_code(parsed, command)
  local options = {
    event = args.number(command, parsed, "event", nil, 1, 1e9), run = args.number(command, parsed, "run", nil, 1, 2 ^ 53),
    new_id = parsed.id, code = parsed.code, input_json = data.json("input", parsed.input),
  }
  local served = data.served(parsed)
  local id
  if served then
    local path = ("/v1/instances/%s/%s%s"):format(data.encode(parsed[1]), verb, query_of(options))
    id = lunation.json_decode(data.ask(parsed, "POST", path, options.input_json)).id
  else
    id = straight(parsed, verb, options)
  end
  io.write(parsed.json and out.object("id", id, "from", parsed[1], "served", served) or id, "\n")
  if not served then out.say("it is kept, but nothing runs it now: `lunation serve` or `lunation run` will") end
  return 0
end

return forking
