-- start.lua: `lunation start`: through the server, or straight into the data directory.
local args = require "args"
local data = require "data"
local lunation = require "lunation"
local out = require "out"
local outcome = require "outcome"
local sys = require "sys"
local wait = require "wait"
local when = require "when"

local start = {
  name = "start",
  summary = "Start an instance",
  usage = "start NAME [--input JSON] [--id ID] [--at TIME] [--wait] [--file FILE]",
  about = [[
Where a server runs on the data directory, it starts the instance; the command returns when the start is durable. Without a server
--file names the Lua file that defines the workflow: the start is made durable, and runs when `lunation serve` or `run` does.]],
  arguments = { 1, 1 },
  options = {
    { "--input JSON", "the input: JSON text, @file, or - for stdin" },
    { "--id ID", "the instance's id (default: a random UUID)" },
    { "--id-reuse POLICY", "if the id is taken: error (default), existing (that one is the answer), terminal (a new run if it and its " ..
      "children are over), replace (terminate it first)" },
    { "--at TIME", "start then: 2026-11-24, '2026-11-24 14:00', 2026-11-24T14:00:00Z, or 90s, 1h30m, 7d from now" },
    { "--attr NAME=VALUE...", "an attribute that `ls --attr` finds it by; may be given again" },
    { "--wait", "wait for the end and print the result, as `run` does (needs a server)" },
    { "--timeout SECONDS", "how long to wait (default: for ever)" },
    { "--file FILE", "the file that defines NAME, where no server runs" },
  },
  examples = [[
  lunation start hello --input '{"name": "Ada"}' --id ada
  lunation start hello --input @ada.json --wait --json
  lunation start report --at '2026-12-01 06:00' --attr customer=ada --id monthly --id-reuse terminal]],
}

local OVER = { COMPLETED = true, FAILED = true, TERMINATED = true, CANCELED = true }

local POLICIES = { "error", "existing", "terminal", "replace" }

local function check_policy(parsed, command)
  if not parsed.id_reuse then return end
  for _, policy in ipairs(POLICIES) do
    if policy == parsed.id_reuse then return end
  end
  args.usage_error(command, ("lunation start: --id-reuse must be %s, not '%s'%s"):format(table.concat(POLICIES, ", "), parsed.id_reuse,
    args.hint(parsed.id_reuse, POLICIES)))
end

local function query_of(given)
  local parts = {}
  for _, name in ipairs({ "id", "id_reuse", "start_at_us", "attributes" }) do
    local value = given[name]
    if type(value) == "table" then value = lunation.json_encode(value) end
    if type(value) == "number" then value = ("%.0f"):format(value) end
    if value then parts[#parts + 1] = name .. "=" .. data.encode(value) end
  end
  return #parts > 0 and "?" .. table.concat(parts, "&") or ""
end

--- `status`: of the instance that was there already; nil: one was started.
local function tell(parsed, id, status, served)
  local object = out.object("id", id, "name", parsed[1], "existed", status and true, "status", status, "served", served)
  io.write(parsed.json and object or id, "\n")
  if status and not parsed.json then out.say(("it exists, %s; nothing was started"):format(status)) end
  if not served and not OVER[status] then out.say("it is kept, but nothing runs it now: `lunation serve` or `lunation run` will") end
  return 0
end

local function through_server(parsed, command, given)
  if parsed.file then data.fail("a server runs on this data directory, and it loads its own folder: leave --file out", "LNT_EINVAL") end
  local path = "/v1/workflows/" .. data.encode(parsed[1]) .. "/start" .. query_of(given)
  local reply = lunation.json_decode(data.ask(parsed, "POST", path, given.input_json))
  if not parsed.wait then
    local there = reply.existed and lunation.json_decode(data.ask(parsed, "GET", "/v1/instances/" .. data.encode(reply.id)))
    return tell(parsed, reply.id, there and there.status or nil, true)
  end
  return outcome.report(wait.through_server(parsed, command, reply.id, "end"), parsed)
end

local function alone(parsed, given)
  if parsed.wait then data.fail("--wait needs a server; `lunation run` follows an instance by itself", "LNT_EINVAL") end
  if not parsed.file then
    data.fail(("no server runs on '%s'; start one (lunation serve DIR), or name the file that defines the workflow (--file FILE)"):format(
      data.dir(parsed)), "LNT_EINVAL")
  end
  local rt = data.open(parsed)
  data.load(rt, parsed.file)
  local id, existed, code = rt:start(parsed[1], given)
  data.check(id, existed, code)
  data.check(rt:flush())
  local status = existed and data.check(rt:get(id)).status or nil
  data.close(rt)
  return tell(parsed, id, status, false)
end

function start.run(parsed, command)
  check_policy(parsed, command)
  local given = { id = parsed.id, id_reuse = parsed.id_reuse, start_at_us = when.moment(command, parsed, "at", 1),
    attributes = data.attributes(parsed, command), input_json = data.json("input", parsed.input) }
  if sys.kind(data.dir(parsed)) and data.served(parsed) then return through_server(parsed, command, given) end
  return alone(parsed, given)
end

return start
