--- What authors pass to the standard library, checked: kinds, unknown names, durations. For the modules beside this one.
---
--- Errors are raised at `level`, as error() counts it from here: 3, the default, is the line that called the function that checks.
local values = require "lunation.values"

local options = {}

local KINDS = {
  any = { "anything", function() return true end },
  boolean = { "true or false" },
  count = { "a whole number from 1", function(v) return type(v) == "number" and v >= 1 and v % 1 == 0 end },
  duration = { "a duration (1.5, \"30s\", \"24h\")", function(v) return values.seconds(v) ~= nil end },
  fraction = { "a number from 0 to 1", function(v) return type(v) == "number" and v >= 0 and v <= 1 end },
  ["function"] = { "a function" },
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
---@param value any
---@param kinds string "string|function"
---@param level? integer
function options.argument(what, value, kinds, level)
  local wanted = mismatch(kinds, value)
  if wanted then error(("%s: %s is wanted, got %s"):format(what, wanted, shown(value)), level or 3) end
end

--- A table of options. Answers it, or an empty one for nil.
---@param what string names the function in messages
---@param given? table
---@param known table<string, string> name -> kinds
---@param level? integer
---@return table
function options.check(what, given, known, level)
  level = level or 3
  if given == nil then return {} end
  if type(given) ~= "table" then error(("%s: the options are a table, got %s"):format(what, shown(given)), level) end
  for name, value in pairs(given) do
    if not known[name] then
      local names = {}
      for each in pairs(known) do names[#names + 1] = each end
      table.sort(names)
      error(("%s: unknown option %s; known are %s"):format(what, tostring(name), table.concat(names, ", ")), level)
    end
    options.argument(what .. ": " .. name, value, known[name], level + 1)
  end
  return given
end

--- The ctx of a workflow.
---@param what string
---@param ctx any
---@param level? integer
function options.context(what, ctx, level)
  if type(ctx) ~= "userdata" or tostring(ctx) ~= "ctx" then
    error(("%s: the first argument is the ctx of the workflow, got %s"):format(what, shown(ctx)), level or 3)
  end
end

--- The act of an activity. `lib`: require "lunation.activity".
---@param what string
---@param lib table
---@param act any
---@param level? integer
function options.act(what, lib, act, level)
  if not lib.is_act(act) then
    error(("%s: the first argument is the act of the activity, got %s"):format(what, shown(act)), level or 3)
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
