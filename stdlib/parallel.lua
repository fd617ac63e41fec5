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
--- The first failure cancels the others and is raised. With { settle = true } nothing is cancelled and nothing raised: each result is
--- { ok = true, value = } or { ok = false, failure = }. Results stand under the keys of what they came from.
local options = require "lunation.options"
local values = require "lunation.values"

local parallel = {}

local CONCURRENCY = 1000 -- branches at once, unless the author says otherwise
local LISTED_MAX = 5     -- failures that a message names

local KNOWN = { concurrency = "count", settle = "boolean" }

-- Call step(1) ... step(count) in at most `width` branches. When one answers true, the others are cancelled and no more begin.
local function run(ctx, count, width, step)
  local workers, next_step, stopped = {}, 0, false
  local function stop(own)
    stopped = true
    for i, worker in ipairs(workers) do
      if i ~= own then worker:cancel() end
    end
  end
  local function work(own)
    while not stopped and next_step < count do
      next_step = next_step + 1
      if step(next_step) and not stopped then stop(own) end
    end
  end
  for i = 1, math.min(width, count) do workers[i] = ctx:spawn(work, i) end
  local ok, failure = pcall(ctx.when_all, ctx, workers)
  if ok or stopped then return end
  stop()
  error(failure, 0)
end

-- The keys in a fixed order.
local function keys_of(functions, what)
  local keys = {}
  for key, fn in pairs(functions) do
    options.argument(("%s: [%s]"):format(what, tostring(key)), fn, "function", 4)
    keys[#keys + 1] = key
  end
  return keys
end

-- Results of call(key, i) for each key.
local function gather(ctx, keys, call, given)
  local results, failed, failure = {}, false, nil
  run(ctx, #keys, given.concurrency or CONCURRENCY, function(i)
    local ok, value = pcall(call, keys[i], i)
    if failed then return false end
    if given.settle then
      results[keys[i]] = ok and { ok = true, value = value } or { ok = false, failure = options.failure(value) }
    elseif ok then
      results[keys[i]] = value
    else
      failed, failure = true, value
    end
    return failed
  end)
  if failed then error(failure, 0) end
  return results
end

---@class ParallelOptions
---@field concurrency? integer how many run at once; default 1000
---@field settle? boolean collect failures instead of raising the first

--- Call fn(item, index) for each item of a list; the results in the order of the items.
---@param ctx Context
---@param list any[]
---@param fn fun(item: any, index: integer): any
---@param given? ParallelOptions
---@return any[]
function parallel.map(ctx, list, fn, given)
  options.context("parallel.map", ctx)
  options.argument("parallel.map: the list", list, "table")
  options.argument("parallel.map: what is called for each item", fn, "function")
  given = options.check("parallel.map", given, KNOWN)
  local keys = {}
  for i = 1, #list do keys[i] = i end
  local results = gather(ctx, keys, function(i) return fn(list[i], i) end, given)
  return #list == 0 and values.array(results) or results
end

--- Call all functions of a list or map.
---@param ctx Context
---@param functions table<any, fun(): any>
---@param given? ParallelOptions
---@return table results under the same keys
function parallel.all(ctx, functions, given)
  options.context("parallel.all", ctx)
  options.argument("parallel.all: what is called", functions, "table")
  given = options.check("parallel.all", given, KNOWN)
  return gather(ctx, keys_of(functions, "parallel.all"), function(key) return functions[key]() end, given)
end

-- The first that ends, or the first that succeeds; the others are cancelled.
local function first(ctx, functions, what, takes_failure)
  options.context(what, ctx, 4)
  options.argument(what .. ": what is called", functions, "table", 4)
  local keys = keys_of(functions, what)
  if #keys == 0 then error(what .. ": there is nothing to call; nobody could be the first", 3) end
  local winner, failures = nil, {}
  run(ctx, #keys, #keys, function(i)
    local ok, value = pcall(functions[keys[i]])
    if winner then return false end
    if ok or takes_failure then winner = { ok = ok, value = value, key = keys[i] } end
    if not ok then failures[#failures + 1] = { key = keys[i], failure = options.failure(value) } end
    return winner ~= nil
  end)
  return winner, failures
end

--- Call all; the first that ends wins and the others are cancelled. If it ends with a failure, that is raised.
---@param ctx Context
---@param functions table<any, fun(): any>
---@return any value
---@return any key whose it is
function parallel.race(ctx, functions)
  local winner = first(ctx, functions, "parallel.race", true)
  if not winner.ok then error(winner.value, 0) end
  return winner.value, winner.key
end

--- Call all; the first that succeeds wins and the others are cancelled. If none does: a failure of type "AllFailed", the last as its cause.
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
