--- Several pieces of workflow code at once, each as straight-line code in a branch of its own.
---
---   local parallel = require "parallel"
---   local pages = parallel.map(ctx, urls, function(url) return ctx:call_activity("fetch", url) end, { concurrency = 10 })
---   local both = parallel.all(ctx, {
---     weather = function() return ctx:call_activity("weather", city) end,
---     hotels = function() return ctx:call_activity("hotels", city) end,
---   })                                                   -- { weather = ..., hotels = ... }
---   local answer, who = parallel.race(ctx, { human = ask_a_person, timer = wait_a_day })
---
--- The first failure cancels the others, waits until they have cleaned up, and is raised. With { settle = true } nothing is canceled and
--- nothing raised: each result is { ok = true, value = } or { ok = false, failure = }. Results stand under the keys of what they came from.
--- It all stands on ctx:map, so a cancel of the instance, or of a scope around, reaches every branch.
local options = require "lunation.options"
local values = require "lunation.values"

local parallel = {}

local LISTED_MAX = 5 -- failures that a message names
local DECIDED = "lunation.parallel.decided" -- the type of a failure that never leaves this file

local FUNCTIONS_MAX = 10000 -- of a race: all run at once

local KNOWN = { concurrency = "branches", settle = "boolean" }

-- ctx:map, as the options say.
local function map(ctx, list, fn, given)
  if not given.settle then return ctx:map(list, fn, { concurrency = given.concurrency, fail_fast = true }) end
  return ctx:map(list, function(item, i)
    local ok, value = pcall(fn, item, i)
    if ok then return { ok = true, value = value } end
    return { ok = false, failure = options.failure(value) }
  end, { concurrency = given.concurrency })
end

-- The keys in a fixed order.
local function keys_of(functions, what, level)
  local keys = {}
  for key, fn in pairs(functions) do
    options.argument(("%s: [%s]"):format(what, tostring(key)), ("functions[%s]"):format(tostring(key)), fn, "function", level)
    keys[#keys + 1] = key
  end
  return keys
end

---@class ParallelOptions
---@field concurrency? integer how many run at once; default as of ctx:map
---@field settle? boolean collect failures instead of raising the first

--- Call fn(item, index) for each item of a list; the results in the order of the items.
---@param ctx Context
---@param list any[]
---@param fn fun(item: any, index: integer): any
---@param given? ParallelOptions
---@return any[]
function parallel.map(ctx, list, fn, given)
  options.context("parallel.map", ctx)
  options.argument("parallel.map: the list", "list", list, "list")
  options.argument("parallel.map: what is called for each item", "fn", fn, "function")
  given = options.check("parallel.map", given, KNOWN)
  return map(ctx, list, fn, given)
end

--- Call all functions of a list or map.
---@param ctx Context
---@param functions table<any, fun(): any>
---@param given? ParallelOptions
---@return table results under the same keys
function parallel.all(ctx, functions, given)
  options.context("parallel.all", ctx)
  options.argument("parallel.all: what is called", "functions", functions, "table")
  given = options.check("parallel.all", given, KNOWN)
  local keys, results = keys_of(functions, "parallel.all", 4), {}
  for i, value in pairs(map(ctx, keys, function(key) return functions[key]() end, given)) do results[keys[i]] = value end
  return results
end

-- The first that ends, or the first that succeeds; the others are canceled.
local function first(ctx, functions, what, takes_failure)
  options.context(what, ctx, 4)
  options.argument(what .. ": what is called", "functions", functions, "table", 4)
  local keys = keys_of(functions, what, 5)
  if #keys == 0 then options.invalid("functions", what .. ": there is nothing to call; nobody could be the first", 3) end
  if #keys > FUNCTIONS_MAX then options.invalid("functions", ("%s: more than %d functions"):format(what, FUNCTIONS_MAX), 3) end
  local winner, failures = nil, {}
  local ok, raised = pcall(ctx.map, ctx, keys, function(key)
    local succeeded, value = pcall(functions[key])
    if winner then return end
    if not succeeded then failures[#failures + 1] = { key = key, failure = options.failure(value) } end
    if not succeeded and not takes_failure then return end
    winner = { ok = succeeded, value = value, key = key }
    error({ type = DECIDED, message = "decided" }) -- which cancels the others
  end, { concurrency = #keys, fail_fast = true })
  if not ok and not (winner and type(raised) == "table" and raised.type == DECIDED) then error(raised, 0) end
  return winner, failures
end

--- Call all; the first that ends wins and the others are canceled. If it ends with a failure, that is raised.
---@param ctx Context
---@param functions table<any, fun(): any>
---@return any value
---@return any key whose it is
function parallel.race(ctx, functions)
  local winner = first(ctx, functions, "parallel.race", true)
  if not winner.ok then error(winner.value, 0) end
  return winner.value, winner.key
end

--- Call all; the first that succeeds wins and the others are canceled. If none does: a failure of type "AllFailed", the last as its cause.
---@param ctx Context
---@param functions table<any, fun(): any>
---@return any value
---@return any key whose it is
function parallel.any(ctx, functions)
  local winner, failures = first(ctx, functions, "parallel.any", false)
  if winner then return winner.value, winner.key end
  local texts = {}
  for i = 1, math.min(#failures, LISTED_MAX) do texts[i] = ("%s: %s"):format(tostring(failures[i].key), tostring(failures[i].failure)) end
  if #failures > LISTED_MAX then texts[#texts + 1] = ("and %d more"):format(#failures - LISTED_MAX) end
  error(values.failure({ type = "AllFailed", message = "none succeeded: " .. table.concat(texts, "; "), retryable = false,
    cause = failures[#failures].failure }), 0)
end

return parallel
