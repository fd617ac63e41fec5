---@meta lunation.values
-- luacheck: ignore
-- For editors and readers: the built-in module "lunation.values", on which the standard library stands. Authors use the
-- modules above it (json).

---@class lunation.values
---@field null any nil as a value of Lua's own; stored as nil
local values = {}

---JSON text, at most 16 MB, as a value. `nulls`: `null` for each null of the text. `exact`: an integer that no double holds is refused.
---@param text string
---@param nulls? boolean
---@param exact? boolean
---@return boolean ok
---@return any value or the message, with line and column
function values.json_decode(text, nulls) end

---A value as JSON text, at most 16 MB, names sorted.
---@param value any
---@param indent integer spaces per level
---@return boolean ok
---@return string text or the message, with the path
function values.json_encode(value, indent) end

---Mark a table as an array, so that it stays one when it is empty.
---@generic T
---@param list? T[] default: a new table
---@return T[]
function values.array(list) end

---A duration ("1h30m", 1.5) in seconds; nil if it is none.
---@param duration any
---@return number?
function values.seconds(duration) end

---@class Failure
---@field type string what retry policies and handlers compare
---@field message string
---@field retryable? boolean false: no retry policy applies
---@field details? any
---@field cause? any the failure behind it
---@field field? string the argument or option that is wrong ("retry.backoff"); of InvalidArgument, InvalidValue, LimitExceeded

---Make the table a failure: tostring() gives "type: message", and it can be joined to text.
---@param fields Failure
---@return Failure
function values.failure(fields) end

---Raise a failure of type `kind`, by default "InvalidArgument". Its message begins with the place of the function at `level`, counted as by
---error().
---@param field string? the argument or option that is wrong
---@param message string
---@param level? integer default 1
---@param kind? "InvalidArgument"|"InvalidCall"|"LimitExceeded"
function values.invalid(field, message, level, kind) end

---The name that was probably meant: at most two letters away.
---@param word string
---@param names string[]
---@return string?
function values.nearest(word, names) end

return values
