--- Undo what was done when a later step fails.
---
---   local saga = require "saga"
---   return saga.run(ctx, function(s)
---     local stock = s:step("reserve stock", function() return ctx:call_activity("reserve", order) end,
---       function(stock) ctx:call_activity("release", stock) end)
---     s:defer("close the ticket", function(failure) ctx:call_activity("close_ticket", order) end)
---     ctx:call_activity("ship", stock)
---     return stock
---   end)
---
--- When the function raises an error, or the instance (or a scope around) is canceled, what it started and is not over is canceled and
--- awaited, as by ctx:scope; then the compensations run, newest first, shielded from the cancel, so that they may wait; and then the error
--- is raised again. A compensation that fails does not stop the others: in the end a failure of type "CompensationFailed" tells what could
--- not be undone, with the original failure as its cause.
---
--- A step whose outcome is unknown (an activity that timed out may have done its work) has no compensation yet when it fails. If undoing
--- what may not have happened is harmless, say s:defer(...) before the action.
local options = require "lunation.options"
local parallel = require "parallel"
local retry = require "retry"
local values = require "lunation.values"

local saga = {}

local COMPENSATIONS_MAX = 10000
local LISTED_MAX = 5 -- failures that a message names

---@class Saga
---@field package ctx Context
---@field package undo { name: string, fn: fun(failure: Failure) }[]
local Saga = {}
Saga.__index = Saga

-- Undo one thing. Answers nothing, or { name =, failure = }.
local function compensate(s, entry, failure)
  local function call() entry.fn(failure) end
  local ok, problem
  if s.retry then ok, problem = pcall(retry.run, s.ctx, s.retry, call) else ok, problem = pcall(call) end
  if not ok then return { name = entry.name, failure = options.failure(problem) } end
end

local function compensate_all(s, failure)
  local failed, undo = {}, s.undo
  s.undo = {}
  if s.is_parallel then
    local newest_first = {}
    for i = #undo, 1, -1 do newest_first[#newest_first + 1] = undo[i] end
    local results = parallel.map(s.ctx, newest_first, function(entry) return compensate(s, entry, failure) end)
    for i = 1, #newest_first do failed[#failed + 1] = results[i] end
  else
    for i = #undo, 1, -1 do failed[#failed + 1] = compensate(s, undo[i], failure) end
  end
  return failed, #undo
end

-- Undo everything; then raise what went wrong.
local function unwind(s, raised)
  local failure = options.failure(raised)
  local failed, count = s.ctx:shield(function() return compensate_all(s, failure) end)
  if #failed == 0 then error(raised, 0) end
  local texts, details = {}, {}
  for i, each in ipairs(failed) do
    details[i] = { name = each.name, type = each.failure.type, message = each.failure.message }
    if i <= LISTED_MAX then texts[i] = ("%s: %s"):format(each.name, tostring(each.failure)) end
  end
  if #failed > LISTED_MAX then texts[#texts + 1] = ("and %d more"):format(#failed - LISTED_MAX) end
  error(values.failure({ type = "CompensationFailed", retryable = false, cause = failure, details = { failed = details },
    message = ("%d of %d compensations failed (%s), after %s"):format(#failed, count, table.concat(texts, "; "), tostring(failure)) }), 0)
end

local function finish(s, ok, ...)
  s.over = true
  if not ok then unwind(s, (...)) end
  return ...
end

---@class SagaOptions
---@field parallel? boolean run the compensations at once instead of one after the other
---@field retry? RetryPolicy for each compensation

--- Run `fn` with a new saga. Answers what it returned. It is a scope: what it started and is not over when it returns is canceled.
---@param ctx Context
---@param fn fun(s: Saga): ...
---@param given? SagaOptions
---@return any ...
function saga.run(ctx, fn, given)
  options.context("saga.run", ctx)
  options.argument("saga.run: what is run", "fn", fn, "function")
  given = options.check("saga.run", given, { parallel = "boolean", retry = "table" })
  if given.retry then retry.check("saga.run", given.retry, 3, "retry") end
  local s = setmetatable({ ctx = ctx, undo = {}, is_parallel = given.parallel, retry = given.retry, over = false }, Saga)
  return finish(s, pcall(ctx.scope, ctx, function() return fn(s) end))
end

-- The name may be left out.
local function named(s, name, ...)
  if type(name) == "string" then return name, ... end
  return ("step %d"):format(#s.undo + 1), name, ...
end

local function check_open(s, what)
  if getmetatable(s) ~= Saga then
    options.invalid("self", what .. ": call it with a colon: s:" .. what:match("%w+$") .. "(...)", 3)
  end
  if s.over then options.invalid(nil, what .. ": the saga is over", 3, "InvalidCall") end
end

--- Promise to call `fn` if the saga fails from here on.
---@param name string for messages; may be left out
---@param fn fun(failure: Failure)
---@overload fun(self: Saga, fn: fun(failure: Failure))
function Saga:defer(name, fn)
  check_open(self, "saga:defer")
  name, fn = named(self, name, fn)
  options.argument("saga:defer: the compensation", "fn", fn, "function")
  if #self.undo >= COMPENSATIONS_MAX then
    options.invalid(nil, ("saga:defer: more than %d compensations"):format(COMPENSATIONS_MAX), 2, "LimitExceeded")
  end
  self.undo[#self.undo + 1] = { name = name, fn = fn }
end

--- Run `action`; when it has succeeded, promise to call undo(result) if the saga fails from here on. Answers the result.
---@generic T
---@param name string for messages; may be left out
---@param action fun(): T
---@param undo? fun(result: T, failure: Failure)
---@return T
---@overload fun<T>(self: Saga, action: (fun(): T), undo?: fun(result: T, failure: Failure)): T
function Saga:step(name, action, undo)
  check_open(self, "saga:step")
  name, action, undo = named(self, name, action, undo)
  options.argument("saga:step: the action", "action", action, "function")
  if undo ~= nil then options.argument("saga:step: the compensation", "undo", undo, "function") end
  local result = action()
  if not undo then return result end
  local entry = { name = name, fn = function(failure) undo(result, failure) end }
  if not self.over then
    self.undo[#self.undo + 1] = entry
    return result
  end
  -- It ran in a branch, and the saga failed meanwhile: nobody else would undo it.
  self.undo = { entry }
  unwind(self, values.failure({ type = "Canceled", message = "the saga of this step has failed", retryable = false }))
end

--- The point of no return: what was done so far stays done, also if a later step fails.
function Saga:commit()
  check_open(self, "saga:commit")
  self.undo = {}
end

return saga
