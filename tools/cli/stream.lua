-- stream.lua: `lunation stream`: what an instance emitted, read from the data directory, beside a server or without one.
local args = require "args"
local data = require "data"
local out = require "out"
local sys = require "sys"

local stream = {
  name = "stream",
  summary = "Show what an instance emits to a stream (ctx:emit), a value per line",
  usage = "stream ID NAME [--follow] [--cursor C] [--limit N]",
  about = [[
The values are kept: they can be read while the instance runs and after its end. With --json each line is an object with the value, its
time, and the cursor that stands behind it, from which a later read goes on.]],
  arguments = { 2, 2 },
  options = {
    { "-f, --follow", "wait for more, until the instance is finished" },
    { "--cursor C", "go on behind the value with this cursor (default: from the first)" },
    { "-n, --limit N", "at most so many values" },
  },
  examples = "  lunation stream job-7 progress --follow\n  lunation stream job-7 progress --json | jq -r .cursor | tail -1",
}

local WAIT_MS, PAUSE_S = 30000, 0.2

local function print_items(items, as_json)
  for _, item in ipairs(items) do
    local value = item.value or "null"
    io.write(as_json and out.object("value", out.raw(value), "time_us", item.time_us, "cursor", item.cursor) or value, "\n")
  end
  io.stdout:flush()
end

--- Until there may be more: the server knows; without one, a while.
local function wait_for_more(parsed, cursor)
  if not data.served(parsed) then return sys.sleep(PAUSE_S) end
  local path = "/v1/instances/%s/stream/%s?limit=1&wait_ms=%d&cursor=%s"
  data.ask(parsed, "GET", path:format(data.encode(parsed[1]), data.encode(parsed[2]), WAIT_MS, data.encode(cursor)))
end

function stream.run(parsed, command)
  local left = args.number(command, parsed, "limit", math.huge, 1, 1e9)
  local rt = data.open_to_read(parsed)
  local cursor, ended = parsed.cursor
  repeat
    local items, next_cursor, over = rt:stream(parsed[1], parsed[2], { cursor = cursor, limit = math.min(left, 1000), json = true })
    if not items then data.fail(next_cursor, over) end
    print_items(items, parsed.json)
    left, cursor, ended = left - #items, next_cursor, over
    local more = #items > 0 or parsed.follow
    if #items == 0 and more and not ended then wait_for_more(parsed, cursor) end
  until left <= 0 or ended or not more
  data.close(rt)
  return 0
end

return stream
