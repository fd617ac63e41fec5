--- What authors pass to the standard library, checked: kinds, unknown names, durations. For the modules beside this one.
---
--- What is wrong raises a failure of type "InvalidArgument", with the argument or option in `field`, at `level`, as error() counts it from
--- here: 3, the default, is the line that called the function that checks.
local values = require "lunation.values"

local options = {
  --- invalid(field, message, level, kind): raise it.
  invalid = values.invalid,
}

local BRANCHES_MAX = 10000 -- that ctx:map runs at once
local NAME_BYTES_MAX = 128

local function is_list(v)
  if type(v) ~= "table" then return false end
  local count, length = 0, #v
  for _ in pairs(v) do count = count + 1 end
  return count == length
end

local KINDS = {
  any = { "anything", function() return true end },
  boolean = { "true or false" },
  branches = { "a whole number from 1 to " .. BRANCHES_MAX,
    function(v) return type(v) == "number" and v >= 1 and v <= BRANCHES_MAX and v % 1 == 0 end },
  count = { "a whole number from 1", function(v) return type(v) == "number" and v >= 1 and v % 1 == 0 end },
  duration = { "a duration (1.5, \"30s\", \"24h\")", function(v) return values.seconds(v) ~= nil end },
  fraction = { "a number from 0 to 1", function(v) return type(v) == "number" and v >= 0 and v <= 1 end },
  ["function"] = { "a function" },
  list = { "a list (1, 2, 3 ...)", is_list },
  name = { "a name of 1 to " .. NAME_BYTES_MAX .. " bytes",
    function(v) return type(v) == "string" and v ~= "" and #v <= NAME_BYTES_MAX and not v:find("[%c%z]") end },
  number = { "a number" },
  string = { "text" },
  table = { "a table" },
}

-- Is `value` of one of the kinds of "string|function"? If not, what is wanted.
local function mismatch(kinds, value)
  local wanted = {}
  for kind in kinds:gmatch("%w+") do
    local test = KINDS[kind][2]
    if test and test(value) or not test and type(value) == kind then return nil end
    wanted[#wanted + 1] = KINDS[kind][1]
  end
  return table.concat(wanted, ", or ")
end

local function shown(value)
  if type(value) == "string" then return ("%q"):format(#value > 40 and value:sub(1, 40) .. "..." or value) end
  if type(value) == "number" or type(value) == "boolean" then return tostring(value) end
  return "a " .. type(value)
end

--- One argument.
---@param what string names it in messages
---@param field string its name, for programs
---@param value any
---@param kinds string "string|function"
---@param level? integer
function options.argument(what, field, value, kinds, level)
  local wanted = mismatch(kinds, value)
  if wanted then values.invalid(field, ("%s: %s is wanted, got %s"):format(what, wanted, shown(value)), level or 3) end
end

local function refuse_unknown(what, name, prefix, known, level)
  local names = {}
  for each in pairs(known) do names[#names + 1] = each end
  table.sort(names)
  local nearest = type(name) == "string" and values.nearest(name, names)
  values.invalid(prefix .. tostring(name), ("%s: unknown option %s; %s %s"):format(what, tostring(name),
    nearest and ("did you mean %s? Known are"):format(nearest) or "known are", table.concat(names, ", ")), level)
end

--- A table of options. Answers it, or an empty one for nil.
---@param what string names the function in messages
---@param given? table
---@param known table<string, string> name -> kinds
---@param level? integer
---@param inside? string the option that this table is
---@return table
function options.check(what, given, known, level, inside)
  level = level or 3
  local prefix = inside and inside .. "." or ""
  if given == nil then return {} end
  if inside then what = what .. ": " .. inside end
  if type(given) ~= "table" then
    values.invalid(inside or "options", ("%s: the options are a table, got %s"):format(what, shown(given)), level)
  end
  for name, value in pairs(given) do
    if not known[name] then refuse_unknown(what, name, prefix, known, level + 1) end
    options.argument(what .. ": " .. name, prefix .. name, value, known[name], level + 1)
  end
  return given
end

--- A list whose items are all of one kind. Answers it.
---@param what string names it in messages
---@param field string
---@param list any
---@param kinds string
---@param level? integer
---@return table
function options.list(what, field, list, kinds, level)
  level = (level or 3) + 1
  options.argument(what, field, list, "list", level)
  for i, item in ipairs(list) do options.argument(("%s[%d]"):format(what, i), ("%s[%d]"):format(field, i), item, kinds, level) end
  return list
end

--- The ctx of a workflow.
---@param what string
---@param ctx any
---@param level? integer
function options.context(what, ctx, level)
  if type(ctx) ~= "userdata" or tostring(ctx) ~= "ctx" then
    values.invalid("ctx", ("%s: the first argument is the ctx of the workflow, got %s"):format(what, shown(ctx)), level or 3)
  end
end

--- The act of an activity. `lib`: require "lunation.activity".
---@param what string
---@param lib table
---@param act any
---@param level? integer
function options.act(what, lib, act, level)
  if not lib.is_act(act) then
    values.invalid("act", ("%s: the first argument is the act of the activity, got %s"):format(what, shown(act)), level or 3)
  end
end

--- Whatever was raised, as a failure: a table with type and message.
---@param e any
---@return Failure
function options.failure(e)
  if type(e) == "table" then return e end
  return values.failure({ type = "Error", message = tostring(e), retryable = true })
end

return options
