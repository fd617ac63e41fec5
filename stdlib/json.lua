--- JSON, for workflows and activities: text to values and back, the same on every machine.
---
---   local json = require "json"
---   local order = json.decode(text)          -- raises a failure of type "InvalidJson", with line and column
---   local text = json.encode(order)          -- names sorted, numbers with up to 17 digits, one line
---   local text = json.encode(order, { indent = 2 })
---
--- Tables with the keys 1..n are arrays, all others are objects. An empty table is an object, unless json.array() marked it; what decode()
--- makes of [] stays an array. A null becomes nil, so its place is empty; decode(text, { nulls = true }) gives json.null in its place.
local options = require "lunation.options"
local values = require "lunation.values"

local json = {
  --- The null of JSON, for places where Lua has no nil: { json.null, 1 }. encode() writes it as null; as part of a result it is nil.
  null = values.null,
}

local function fail(kind, message)
  local line, column = message:match("line (%d+), column (%d+)")
  error(values.failure({ type = kind, message = message, retryable = false,
    details = line and { line = tonumber(line), column = tonumber(column) } or nil }), 0)
end

--- A value of JSON text. Numbers are doubles: an integer beyond 2^53 becomes the nearest one, or with exact = true is refused.
---@param text string at most 16 MB
---@param given? { nulls: boolean?, exact: boolean? } nulls: json.null instead of nil
---@return any value
function json.decode(text, given)
  options.argument("json.decode", "text", text, "string")
  given = options.check("json.decode", given, { nulls = "boolean", exact = "boolean" })
  local ok, value = values.json_decode(text, given.nulls == true, given.exact == true)
  if not ok then fail("InvalidJson", value) end
  return value
end

--- JSON text of a value. Refused by a failure of type "InvalidValue", with the path (value.items[3]): functions and the like, NaN and
--- infinities, text that is not UTF-8, tables that contain themselves, two keys that become one name (1 and "1").
---@param value any
---@param given? { indent: integer? } spaces per level; 0, the default: one line
---@return string
function json.encode(value, given)
  given = options.check("json.encode", given, { indent = "number" })
  local ok, text = values.json_encode(value, given.indent or 0)
  if not ok then fail("InvalidValue", text) end
  return text
end

--- Mark a table as an array, so that it stays one when it is empty. Its metatable is replaced.
---@generic T
---@param list? T[] default: a new table
---@return T[]
function json.array(list)
  if list ~= nil then options.argument("json.array", "list", list, "table") end
  return values.array(list)
end

return json
