-- wait.lua: `lunation wait`: until an instance is finished, or has started; with a server on the data directory.
local args = require "args"
local data = require "data"
local lunation = require "lunation"
local out = require "out"
local outcome = require "outcome"

local wait = {
  name = "wait",
  summary = "Wait until an instance is finished, and print its result",
  usage = "wait ID [--start] [--timeout SECONDS]",
  about = "A server must run on the data directory; `lunation run` follows an instance by itself. The exit code is that of `lunation run`.",
  arguments = { 1, 1 },
  options = {
    { "--start", "wait until it has started, and print its status" },
    { "--timeout SECONDS", "how long to wait (default: for ever)" },
  },
  examples = "  lunation wait trip-7 --timeout 60\n  lunation wait trip-7 --json | jq .output",
}

local SLICE_MS = 60000

--- Somebody may let it go on meanwhile, so it is waited for; but whoever waits shall know.
local function tell_of_pause(parsed, id)
  local instance = lunation.json_decode(data.ask(parsed, "GET", "/v1/instances/" .. data.encode(id)))
  if instance.status == "SUSPENDED" then out.say(("'%s' is suspended; it goes on with: lunation resume %s"):format(id, id)) end
end

--- Ask the server until it is so. Answers the instance, its values as JSON text; fails when the time is up.
function wait.through_server(parsed, command, id, until_what)
  local rest_ms = args.number(command, parsed, "timeout", math.huge, 0, 1e9) * 1000
  tell_of_pause(parsed, id)
  repeat
    local slice = math.min(rest_ms, SLICE_MS)
    local path = ("/v1/instances/%s/wait?timeout_ms=%d&until=%s"):format(data.encode(id), slice, until_what)
    local text = data.ask(parsed, "GET", path, nil, true)
    if text then
      local instance = lunation.json_decode(text)
      for _, field in ipairs({ "output", "failure" }) do
        if instance[field] ~= nil then instance[field] = lunation.json_encode(instance[field]) end
      end
      return instance
    end
    rest_ms = rest_ms - slice
  until rest_ms <= 0
  local what = until_what == "start" and "has not started" or "is not finished"
  data.fail(("'%s' %s after %s s"):format(id, what, parsed.timeout), "LNT_ETIMEOUT")
end

function wait.run(parsed, command)
  if not data.served(parsed) then
    data.fail(("no server runs on '%s'; `lunation run` follows an instance by itself"):format(data.dir(parsed)), "LNT_EINVAL")
  end
  local instance = wait.through_server(parsed, command, parsed[1], parsed.start and "start" or "end")
  if not parsed.start then return outcome.report(instance, parsed) end
  io.write(parsed.json and out.outcome(instance) or instance.status, "\n")
  return 0
end

return wait
