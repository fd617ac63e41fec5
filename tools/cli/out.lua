-- out.lua: what people and programs read: JSON in a fixed order, times, tables, colours on a terminal.
local lunation = require "lunation"
local sys = require "sys"

local out = {}

-- ---- JSON ----

local escapes = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }

--- A string as JSON.
function out.quote(text)
  return '"' .. text:gsub('[%c"\\]', function(c) return escapes[c] or ("\\u%04x"):format(c:byte()) end) .. '"'
end

--- Marks text that is JSON already.
function out.raw(json)
  return json and { raw = json }
end

local function scalar(value)
  if type(value) == "table" then return value.raw end
  if type(value) == "string" then return out.quote(value) end
  if type(value) == "number" then return value == math.floor(value) and ("%.0f"):format(value) or ("%.17g"):format(value) end
  return tostring(value)
end

--- An object: name, value, name, value ...; members with nil are left out.
function out.object(...)
  local parts = {}
  for i = 1, select("#", ...), 2 do
    local name, value = select(i, ...)
    if value ~= nil then parts[#parts + 1] = out.quote(name) .. ":" .. scalar(value) end
  end
  return "{" .. table.concat(parts, ",") .. "}"
end

--- An array of texts that are JSON already.
function out.array(list)
  return "[" .. table.concat(list, ",") .. "]"
end

--- An instance as `rt:get(id, {json = true})` gives it. The names are those of the HTTP API.
function out.instance(i)
  return out.object("id", i.id, "workflow", i.workflow, "status", i.status, "run", i.run, "generation", i.generation,
    "parent_run", i.parent_run, "parent", i.parent, "code_hash", i.code_hash,
    "created_us", i.created_us, "updated_us", i.updated_us, "closed_us", i.closed_us, "start_at_us", i.start_at_us,
    "history_events", i.history_events ~= 0 and i.history_events or nil, "history_bytes", i.history_bytes ~= 0 and i.history_bytes or nil,
    "input", out.raw(i.input), "output", out.raw(i.output), "failure", out.raw(i.failure), "custom_status", out.raw(i.custom_status),
    "attributes", out.raw(i.attributes))
end

--- An event as `rt:history(id, {json = true})` gives it.
function out.event(e)
  return out.object("index", e.index, "kind", e.kind, "time_us", e.time_us, "seq", e.seq, "attempt", e.attempt, "due_us", e.due_us,
    "name", e.name, "id", e.id, "value", out.raw(e.value), "options", out.raw(e.options), "detail", e.detail,
    "idempotency_key", e.idempotency_key)
end

--- What `run --json` and `start --wait --json` end with.
function out.outcome(i)
  local output = i.status == "COMPLETED" and out.raw(i.output or "null") or nil
  return out.object("id", i.id, "name", i.workflow, "status", i.status, "output", output, "failure", out.raw(i.failure))
end

-- ---- Text ----

local colours = { bold = "1", dim = "2", red = "31", green = "32", yellow = "33", blue = "34" }
local STATUS_COLOURS = {
  COMPLETED = "green", FAILED = "red", TERMINATED = "red", CANCELED = "yellow", SUSPENDED = "yellow", STALLED = "yellow", RUNNING = "blue",
  PENDING = "blue",
}

local function coloured(descriptor)
  return sys.isatty(descriptor) and not os.getenv("NO_COLOR") and os.getenv("TERM") ~= "dumb"
end

--- Text in a colour, if stdout (1) or stderr (2) is a terminal.
function out.paint(descriptor, colour, text)
  if not colour or not coloured(descriptor) then return text end
  return ("\27[%sm%s\27[0m"):format(colours[colour], text)
end

function out.status(descriptor, status, width)
  return out.paint(descriptor, STATUS_COLOURS[status], ("%-" .. (width or 1) .. "s"):format(status))
end

--- Columns of stdout; where it is no terminal, nothing is cut.
function out.width()
  return sys.columns(1) or math.huge
end

--- Cut to `width` columns, with an ellipsis; newlines become blanks.
function out.cut(text, width)
  text = text:gsub("%s+", " ")
  if #text <= width then return text end
  local cut = text:sub(1, math.max(1, width - 1))
  return cut:gsub("[\192-\255][\128-\191]*$", "") .. "…"
end

function out.time(us)
  return os.date("%Y-%m-%d %H:%M:%S", math.floor(us / 1e6))
end

--- "0.82 s", "3 min 4 s", "2 d 3 h".
function out.duration(us)
  local s = us / 1e6
  if s < 0.0995 then return ("%.0f ms"):format(s * 1e3) end
  if s < 10 then return ("%.2f s"):format(s) end
  if s < 60 then return ("%.0f s"):format(s) end
  if s < 3600 then return ("%d min %d s"):format(s / 60, s % 60) end
  if s < 86400 then return ("%d h %d min"):format(s / 3600, s % 3600 / 60) end
  return ("%d d %d h"):format(s / 86400, s % 86400 / 3600)
end

--- "Type: message" of a failure in JSON.
function out.failure(json)
  local failure = json and lunation.json_decode(json)
  if type(failure) ~= "table" then return json or "no reason is recorded" end
  if not failure.message or failure.message == "" then return tostring(failure.type or json) end
  if not failure.type or failure.type == "Error" then return tostring(failure.message) end
  return ("%s: %s"):format(failure.type, failure.message)
end

--- The lines that tell of the divergence in a failure in JSON; none, if it is another one. `now_us`: when it is told.
function out.divergence(json, now_us)
  local failure = json and lunation.json_decode(json)
  local d = type(failure) == "table" and failure.type == "Diverged" and failure.details
  if type(d) ~= "table" then return {} end
  local lines = {}
  local function line(label, text, at) lines[#lines + 1] = ("%-10s%s%s"):format(label, text, at and "  " .. at or "") end
  local event = (d.event or 0) > 0 and ("event %d, %s ago: "):format(d.event, out.duration(math.max(0, now_us - d.recorded_at_us))) or ""
  line(d.rehearsed and "a copy" or "recorded", event .. (d.recorded or "nothing"), d.recorded_at)
  line(d.rehearsed and "itself" or "now", d.made or "nothing", d.at)
  for i, difference in ipairs(d.differences or {}) do line(i == 1 and "differs" or "", difference) end
  line("cause", d.cause or "unknown")
  for i, clue in ipairs(d.touched or {}) do line(i == 1 and "it used" or "", clue.what, clue.at) end
  return lines
end

--- JSON for people: indented; a string as its text.
function out.pretty(json)
  local value = lunation.json_decode(json)
  if type(value) == "string" then return value end
  return json:match("^[%[{]") and out.indent(json) or json
end

--- Lay out JSON text over lines, two blanks per level, without changing a value.
function out.indent(json)
  local parts, depth, i = {}, 0, 1
  local function line() parts[#parts + 1] = "\n" .. ("  "):rep(depth) end
  while i <= #json do
    local c = json:sub(i, i)
    if c == '"' then
      local stop = i
      repeat
        stop = json:find('["\\]', stop + 1)
        local escaped = json:sub(stop, stop) == "\\"
        if escaped then stop = stop + 1 end
      until not escaped
      parts[#parts + 1] = json:sub(i, stop)
      i = stop
    elseif json:match("^[%[{]%s*[%]}]", i) then
      parts[#parts + 1] = c .. (c == "[" and "]" or "}")
      i = json:find("[%]}]", i)
    elseif c == "[" or c == "{" then
      parts[#parts + 1], depth = c, depth + 1
      line()
    elseif c == "]" or c == "}" then
      depth = depth - 1
      line()
      parts[#parts + 1] = c
    elseif c == "," then
      parts[#parts + 1] = c
      line()
    elseif c == ":" then
      parts[#parts + 1] = ": "
    elseif not c:match("%s") then
      parts[#parts + 1] = c
    end
    i = i + 1
  end
  return table.concat(parts)
end

--- Rows of texts under headings, in columns. `paint` (optional) gets (column, padded text) and answers what is written.
function out.table(headings, rows, paint)
  local widths = {}
  for c, heading in ipairs(headings) do widths[c] = #heading end
  for _, row in ipairs(rows) do
    for c, cell in ipairs(row) do widths[c] = math.max(widths[c], #cell) end
  end
  local function write(row, heading)
    local cells = {}
    for c, cell in ipairs(row) do
      local padded = c == #row and cell or cell .. (" "):rep(widths[c] - #cell)
      cells[c] = heading and out.paint(1, "dim", padded) or (paint and paint(c, padded) or padded)
    end
    while #row[#cells] == 0 do cells[#cells] = nil end -- nothing is padded at the end of a line
    io.write(table.concat(cells, "  "), "\n")
  end
  write(headings, true)
  for _, row in ipairs(rows) do write(row) end
end

--- A line to stderr.
function out.say(...)
  io.stderr:write(table.concat({ ... }), "\n")
end

return out
