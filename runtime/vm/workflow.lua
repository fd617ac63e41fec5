-- workflow.lua - the trusted Lua of the workflow VM: the functions of ctx, of ctx.async and of tasks. Run once per state by workflow.c,
-- with a table of C functions.
--
-- A C function that waits answers after the wait with what it was resumed with: `true` and values, or `false` and a failure. Only Lua can
-- raise that failure, so every waiting function has its Lua half here.

local native = ...

local raise, timed_out, await = native.raise, native.timed_out, native.await

local function settle(ok, ...)
  if ok then return ... end
  raise((...))
end

local function waiting(raw)
  return function(self, a, b, c)
    local ok, value = raw(self, a, b, c)
    if ok then return value end
    raise(value)
  end
end

local ctx, async, task, scope = {}, {}, {}, {}

for i = 1, #native.plain do ctx[native.plain[i]] = native[native.plain[i]] end

ctx.call_activity = waiting(native.call_activity)
ctx.call_child_workflow = waiting(native.call_child_workflow)
ctx.start_workflow = waiting(native.start_workflow)
ctx.raise_event = waiting(native.raise_event)
ctx.continue_as_new, ctx.should_continue_as_new = waiting(native.continue_as_new), native.should_continue_as_new
ctx.create_timer = waiting(native.create_timer)
ctx.sleep = waiting(native.sleep)
ctx.spawn = native.spawn
ctx.side_effect = waiting(native.side_effect)
ctx.emit, ctx.attributes = native.emit, native.attributes
ctx.set_attributes, ctx.remove_attributes = native.set_attributes, native.remove_attributes

async.call_activity = native.call_activity_async
async.call_child_workflow = native.call_child_workflow_async
async.create_timer = native.create_timer_async
async.sleep = native.sleep_async
async.wait_for_external_event = native.wait_for_external_event_async
async.when_all = native.when_all
async.when_any = native.when_any
async.spawn = native.spawn

local wait_for_external_event = native.wait_for_external_event

-- A wait that ran out answers `false` alone.
function ctx.wait_for_external_event(self, name, options)
  local ok, value = wait_for_external_event(self, name, options)
  if ok then return value end
  if value == nil then timed_out(name) end
  raise(value)
end

local wait_all, wait_any = native.wait_all, native.wait_any

function ctx.when_all(self, tasks, options)
  return settle(wait_all(self, tasks, options))
end

function ctx.when_any(self, tasks, options)
  return settle(wait_any(self, tasks, options))
end

function task.await(self)
  return settle(await(self))
end

task.cancel = native.cancel
task.done = native.done
task.state = native.state

-- Scopes. Whatever their function does, they are closed, which waits until nothing that was started in them is left.

local xpcall, caught, raised = native.xpcall, native.caught, native.raised

local function settle_call(ok, ...)
  if not ok then caught((...)) end
  return ok, ...
end

-- For errors that will be raised again: the history tells where they were raised first.
local function pcall(fn, ...)
  return settle_call(xpcall(fn, raised, ...))
end

local scope_open, shield_open, map_open = native.scope_open, native.shield_open, native.map_open
local scope_close, scope_failure = native.scope_close, native.scope_failure

local function leave(opened, ok, ...)
  repeat until scope_close(opened)
  if ok then return ... end
  raise(scope_failure(opened, (...)))
end

function ctx.scope(self, fn, options)
  local opened = scope_open(self, fn, options)
  return leave(opened, pcall(fn, opened))
end

function ctx.shield(self, fn)
  local opened = shield_open(self, fn)
  return leave(opened, pcall(fn))
end

local spawn, branch_canceled, as_failure = native.spawn, native.branch_canceled, native.as_failure
local FAIL_FAST = { fail_fast = true }

-- As many branches as may run at once share the items; each takes the next one when it is done with one.
local function map_items(self, list, fn, results, count, at_once, fail_fast)
  local failures, first_failed, taken = {}, count + 1, 0

  local function fail(i, value)
    value = as_failure(value)
    if fail_fast or branch_canceled() then raise(value) end
    failures[i] = value
    if i < first_failed then first_failed = i end
  end

  local function work()
    while taken < count and not branch_canceled() do
      taken = taken + 1
      local i = taken
      local ok, value = pcall(fn, list[i], i)
      if ok then results[i] = value else fail(i, value) end
    end
  end

  local workers = {}
  for i = 1, at_once do workers[i] = spawn(self, work) end
  settle(wait_all(self, workers, fail_fast and FAIL_FAST or nil))
  if first_failed <= count then raise(failures[first_failed]) end
  return results
end

function ctx.map(self, list, fn, options)
  local opened, results, count, at_once, fail_fast = map_open(self, list, fn, options)
  return leave(opened, pcall(map_items, self, list, fn, results, count, at_once, fail_fast))
end

scope.cancel = native.scope_cancel
scope.canceled = native.scope_canceled

-- Updates. What a handler starts is canceled and awaited when it ends; then its caller is answered.

local answer_update, running_handlers = native.answer_update, native.running_handlers

ctx.on_query, ctx.on_update, ctx.all_handlers_finished = native.on_query, native.on_update, native.all_handlers_finished

local function run_update(self, handle, id, args)
  answer_update(id, pcall(ctx.scope, self, function() return handle(args) end))
end

-- Handlers do not fail: run_update catches what they raise.
function ctx.wait_for_handlers(self)
  local tasks = running_handlers(self)
  while #tasks > 0 do
    settle(wait_all(self, tasks))
    tasks = running_handlers(self)
  end
end

return ctx, async, task, scope, run_update
