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

local ctx, async, task = {}, {}, {}

for i = 1, #native.plain do ctx[native.plain[i]] = native[native.plain[i]] end

ctx.call_activity = waiting(native.call_activity)
ctx.create_timer = waiting(native.create_timer)
ctx.sleep = waiting(native.sleep)
ctx.spawn = native.spawn

async.call_activity = native.call_activity_async
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

local when_all, when_any = native.when_all, native.when_any

function ctx.when_all(self, tasks)
  return settle(await(when_all(self, tasks)))
end

function ctx.when_any(self, tasks)
  return settle(await(when_any(self, tasks)))
end

function task.await(self)
  return settle(await(self))
end

task.cancel = native.cancel
task.done = native.done

return ctx, async, task
