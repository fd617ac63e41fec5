---@meta workflow
-- luacheck: ignore
-- What a workflow can call: for editors (LuaLS) and for readers. Nothing runs this file.
--
-- A workflow is an ordinary function that must do the same each time it is run with the same answers: it is rebuilt by running it again.
-- Everything that touches the world is an activity. Verbs of `ctx` wait; `ctx.async` has the same verbs, and they give a task at once.
--
-- CANCELING is structured. What is started belongs to the scope it is started in: that of ctx:scope, ctx:map or ctx:shield around it, or
-- else the workflow's function. When a scope's function returns or raises, what it started and is not over is canceled; branches get to
-- clean up and are awaited; then the scope's result goes on. Canceling a timer, a wait or an activity ends it at once. Canceling a branch,
-- a scope or an instance raises a failure of type "Canceled" at the wait where it stands, ONCE: a pcall around that wait catches it, and
-- code that cleans up may wait again. Code that catches everything must look at `e.type`, and raise a "Canceled" on. What was canceled
-- once is not canceled again. A branch that is canceled before it began never runs; one that does not wait gets the failure at its next
-- wait.
--
-- MISTAKES are failures too, raised at the line of the call before anything is recorded, with `retryable = false`; the message begins with
-- that line. Uncaught, the instance fails with their type:
--   InvalidArgument   an argument or an option is wrong; `field` names it ("name", "timeout", "retry.backoff")
--   InvalidValue      a value cannot be stored; `field` is the path of what is wrong in it ("input.items[3]")
--   LimitExceeded     too much of something; `field` names the argument, where it is one
--   InvalidCall       not here (in a query, in a side effect, in a coroutine of your own), not like this (ctx.verb instead of ctx:verb), or
--                     no such verb
--
-- EVENTS and cancel. A wait for an event that is canceled gives its claim back: an event that comes later goes to whoever has waited for
-- it longest, or is kept. So does an event that has come for a task, and that nobody took from it (by await, or as the result of a list)
-- until the task is canceled, loses in a list, or its scope ends: the event goes back to where it stood. No event is lost in a race.

---Define a workflow. Only while the file loads.
---@param name string 1 to 128 bytes
---@param fn fun(ctx: Context, input: any): any
---@overload fun(name: string, options: WorkflowOptions, fn: fun(ctx: Context, input: any): any)
function workflow(name, fn) end

---@class WorkflowOptions
---What becomes of instances when the file is reloaded with other code: they stay on theirs (pin); those move whose history fits (adopt);
---nothing changes unless all fit.
---@field on_reload? "pin"|"adopt"|"all_or_nothing"

---What calls raise and pcall catches: a table, with a readable tostring.
---@class Failure
---@field index? integer raised by when_any: which task of the list failed
---@field child? string raised by call_child_workflow: the id of the child
---@field field? string of a mistake: what is wrong

---Attempt n + 1 comes min(first_interval * backoff ^ (n - 1), max_interval) after attempt n has failed. A failure is final when it says
---`retryable = false`, when its type is "NonRetryableError" or listed, when it was attempt max_attempts, when the delays so far make up
---`timeout`, or when the next attempt could not begin before schedule_to_close.
---@class RetryPolicy
---@field max_attempts? integer the first one included; default 3
---@field first_interval? Duration default 1 s
---@field interval? Duration the same as first_interval
---@field backoff? number from 1: each interval is so many times the one before; default 2
---@field backoff_coefficient? number the same as backoff
---@field max_interval? Duration not shorter than first_interval; default: none
---@field timeout? Duration of all delays together; what the attempts themselves take does not count; default: none
---@field non_retryable? string[] types of failures that are final

---What a workflow may say beside a call of an activity. Options that contradict each other are refused at the call. A failure of type
---"Timeout" says which one it was: details.timeout is "heartbeat" ...
---@class CallOptions
---@field retry? RetryPolicy default: one attempt
---@field timeout? Duration short for start_to_close
---@field start_to_close? Duration of one attempt, from its start; after it another may follow
---@field heartbeat? Duration between two signs of life of one attempt; after it another may follow
---@field schedule_to_start? Duration that an attempt may wait for its turn, anew after a restart of the process or a suspension; final
---@field schedule_to_close? Duration of everything, all attempts and restarts of the process included, from the call; final

---@class WaitOptions
---@field timeout? Duration then a failure of type "Timeout" is raised

---One instance of a workflow, as its function sees it.
---@class Context
---@field async AsyncVerbs the verbs that wait, as tasks
---@field instance_id string
---@field workflow_name string
local ctx = {}

---Run an activity and wait for its result.
---@param name string
---@param input? any
---@param options? CallOptions
---@return any
function ctx:call_activity(name, input, options) end

---@class ChildOptions
---@field id? string default: the id of this instance, a colon and the number of the command in four digits, "order-7:0003", from its second
---generation on with that before it, "order-7:2.0003"; attempts after the first have "~2" behind it
---@field retry? RetryPolicy default: one attempt. Each attempt is an instance of its own
---@field timeout? Duration of the call, its retries included; then a failure of type "Timeout" is raised and the child is let go
---@field on_parent_close? "terminate"|"cancel"|"abandon" what becomes of a child that nobody waits for any more; default "terminate"

---Start another workflow as a child and wait for its result. If it fails, its failure is raised here, with its id in `child`; a child that
---was stopped from outside is a failure of type "Terminated" or "Canceled". One whose workflow no file defines fails with the type
---"WorkflowNotRegistered", one whose id is taken with "WorkflowInstanceAlreadyExists", one nested too deep with "LimitExceeded".
---
---A child that is still running when this workflow ends or continues as new, when its task is canceled, or when its timeout runs out, is
---terminated; or canceled, which lets it clean up; or left alone, as `on_parent_close` says. A child runs the newest code of its name.
---@param name string
---@param input? any
---@param options? ChildOptions
---@return any
function ctx:call_child_workflow(name, input, options) end

---@class StartOptions
---@field id? string default: as of a child, "order-7:0003"

---Start another workflow that has nothing more to do with this one. It does not wait. Failures as of call_child_workflow.
---@param name string
---@param input? any
---@param options? StartOptions
---@return string id
function ctx:start_workflow(name, input, options) end

---Raise an event at another instance, or at this one. It does not wait; the event is delivered exactly once. A failure of type
---"InstanceNotFound", "InstanceClosed" (it is finished) or "LimitExceeded" (it has too many events that nobody took) is raised.
---@param id string
---@param name string
---@param data? any
function ctx:raise_event(id, name, data) end

---@class ContinueOptions
---@field carry_events? boolean default true: events that nobody took are there for the next generation

---End here and go on as a new run of this workflow under the same id, with an empty history and the newest code. No pcall sees it, and
---nothing of this run goes on: activities, timers and branches are dropped as they stand, children are let go. The custom status and the
---attributes stay, and a parent waits on. Only from the workflow's own function, not from a branch or a shield.
---@param input? any
---@param options? ContinueOptions
function ctx:continue_as_new(input, options) end

---May the changed part of the code run? True, and recorded, where a run gets here first; false where a run that began before the change
---passes again. The answer of a name never changes within a run; a new generation (continue_as_new) asks afresh. Later code may ask earlier
---than it used to, but patches that are in a history must be asked for in the order that they have there, and none may be missing:
---`lunation reload --dry-run` tells which branches nobody takes any more.
---    if ctx:is_patched("notify-first") then ctx:call_activity("notify") end
---@param name string of the change, for ever
---@return boolean
function ctx:is_patched(name) end

---Is the history so long that the workflow should continue as new? True from half of history_events_max or history_bytes_max on.
---@return boolean
function ctx:should_continue_as_new() end

---Wait for a time: a duration, or { at = seconds since 1970 }.
---@param duration Duration|{at: number}
function ctx:create_timer(duration) end

---The same as create_timer.
---@param duration Duration|{at: number}
function ctx:sleep(duration) end

---Wait for an event from outside. Names are compared without regard to case. Events that came before are kept, and taken in order.
---@param name string
---@param options? WaitOptions
---@return any data
function ctx:wait_for_external_event(name, options) end

---@class WhenAllOptions
---@field fail_fast? boolean true: the first failure is raised when it happens, and the tasks that are not over are canceled

---Wait for all tasks: their results, in the order of the list. If one fails, the others are waited for, and then the first failure of the
---list is raised. An empty list gives an empty one. A list may not have the same task twice; a task may be in several lists.
---@param tasks Task[]
---@param options? WhenAllOptions
---@return any[]
function ctx:when_all(tasks, options) end

---@class WhenAnyOptions
---@field cancel_losers? boolean true: when one task is over, the others are canceled

---Wait for the first task that is over: its place in the list, and its result. If it failed, its failure is raised, with the place in
---`index`. Of several that are over already the first of the list counts.
---@param tasks Task[] not empty
---@param options? WhenAnyOptions
---@return integer index
---@return any result
function ctx:when_any(tasks, options) end

---Run a function in a branch of its own, beside this one. It begins when this one waits.
---@param fn fun(...): any
---@param ... any at most 8 arguments
---@return Task
function ctx:spawn(fn, ...) end

---@class ScopeOptions
---@field timeout? Duration then the scope is canceled; if its function raises that on, ctx:scope raises a failure of type "Timeout"

---Run a function, and cancel and await what it started and is not over when it ends. Gives what it returns; raises what it raises.
---Not inside a coroutine of your own.
---@param fn fun(scope: Scope): ...
---@param options? ScopeOptions
---@return any ...
function ctx:scope(fn, options) end

---Run a function that a cancel of what is around it (branch, scope, instance) does not reach, nor what it starts: the cancel is raised at
---the first wait after it. What it started and is not over when it ends is canceled and awaited. Shields may be nested. Not inside a
---coroutine of your own.
---@param fn fun(): ...
---@return any ...
function ctx:shield(fn) end

---@class MapOptions
---@field concurrency? integer how many at once; default 1000
---@field fail_fast? boolean true: the first failure cancels the others and is raised when they have cleaned up

---Call a function for each item of a list, in branches, as many at once as `concurrency` says: their results, in the order of the list. If
---one fails, the others run to their end, and then the first failure of the list is raised. Not inside a coroutine of your own.
---@generic T, R
---@param list T[]
---@param fn fun(item: T, index: integer): R
---@param options? MapOptions
---@return R[]
function ctx:map(list, fn, options) end

---What `lunation show` tells about the instance.
---@param status any
function ctx:set_custom_status(status) end

---Change attributes: what lists search by, and `lunation show` tells. The others stay. At most 32, names of at most 64 bytes, texts of at
---most 256.
---@param attributes table<string, string|number|boolean>
function ctx:set_attributes(attributes) end

---@param ... string names; one that is not there is no mistake
function ctx:remove_attributes(...) end

---@return table<string, string|number|boolean> attributes a copy
function ctx:attributes() end

---Append a value to a stream, for people and programs to read while the instance runs and after its end: progress, tokens, log lines. It
---does not wait. Streams are read from a cursor on, each value once (`lunation stream`, rt:stream, rt:follow). The values stay in the
---history, so a stream is for thousands of values, not for millions.
---@param stream string 1 to 128 bytes
---@param value? any
function ctx:emit(stream, value) end

---Answer questions from outside: `fn` is given the arguments, and what it returns is the answer. It works while the workflow waits and
---after its end. It may only look: what would move the workflow (waits, calls, emit, random numbers ...) raises a failure of type
---"QueryNotReadOnly". Tables and variables cannot be guarded: a query that changes one breaks the replays of the workflow. Registering the
---name again replaces the function.
---@param name string
---@param fn fun(args: any): any
function ctx:on_query(name, fn) end

---@class UpdateHandlers
---@field validate? fun(args: any): boolean?, string? looks, like a query; `return false, "why"` or an error refuses, without a trace
---@field handle fun(args: any): any may wait and call activities; what it returns, or raises, is the caller's answer

---Carry out requests that want an answer. An accepted update is in the history, and its handler runs as a branch of the workflow, in a
---scope of its own. A workflow that returns ends when the handlers that run have answered; one that fails or is canceled cancels them.
---@param name string
---@param handlers UpdateHandlers|fun(args: any): any
function ctx:on_update(name, handlers) end

---Wait until no update is being handled (but the one that asks): before continue_as_new, which ends them.
function ctx:wait_for_handlers() end

---@return boolean finished no update is being handled, but the one that asks
function ctx:all_handlers_finished() end

---Run a function once and record what it returns: in a replay the recorded value is given, and the function does not run. For what is
---expensive to compute again, or what newer code would compute otherwise. It may compute, and read ctx (`now`, `attributes` ...); it
---cannot wait, call activities or emit, and it draws random numbers of its own. What it changes outside of itself is not changed in a
---replay: return it. An error it raises is recorded and raised again, as a failure.
---@param fn fun(): any
---@return any
function ctx:side_effect(fn) end

---@return number seconds since 1970; the time of the event that was seen last
function ctx:now() end

---@return string such as "2026-11-23T11:14:51.250000Z"
function ctx:current_utc_datetime() end

---@return string a UUID, the same in each replay
function ctx:uuid() end

---random(): 0 to below 1; random(n): 1 to n; random(m, n): m to n
---@param m? integer
---@param n? integer
---@return number
function ctx:random(m, n) end

---@return boolean what runs now ran before
function ctx:is_replaying() end

---@return integer events of the history that this workflow has seen: what it was told, and what it asked for
function ctx:history_length() end

---Write to the runtime's log, with the instance's id; silent in replay.
---@param level "debug"|"info"|"warn"|"error" may be left out: "info"
---@param text string
---@overload fun(self: Context, text: string)
function ctx:log(level, text) end

---@class AsyncVerbs
local async = {}

---@param name string
---@param input? any
---@param options? CallOptions
---@return Task
function async:call_activity(name, input, options) end

---@param name string
---@param input? any
---@param options? ChildOptions
---@return Task
function async:call_child_workflow(name, input, options) end

---@param duration Duration|{at: number}
---@return Task
function async:create_timer(duration) end

---@param duration Duration|{at: number}
---@return Task
function async:sleep(duration) end

---@param name string
---@param options? WaitOptions
---@return Task
function async:wait_for_external_event(name, options) end

---@param tasks Task[]
---@param options? WhenAllOptions
---@return Task
function async:when_all(tasks, options) end

---@param tasks Task[]
---@param options? WhenAnyOptions
---@return Task
function async:when_any(tasks, options) end

---@param fn fun(...): any
---@param ... any
---@return Task
function async:spawn(fn, ...) end

---Something that was started, and its result once it is over.
---@class Task
local task = {}

---Wait until it is over: its result; raises its failure.
---@return any ...
function task:await() end

---Give it up. A branch is told by a failure at its wait, and is over when it ends; a list cancels its tasks; anything else is over at once.
---What is over already stays as it is, but an event that nobody took.
---@param reason? string the message of the failure
function task:cancel(reason) end

---@return boolean over
function task:done() end

---@return "pending"|"done"|"failed"|"canceled"
function task:state() end

---What ctx:scope gives to its function.
---@class Scope
local scope = {}

---Cancel what was started in it, and raise a failure of type "Canceled" in its function. Nothing happens if it was canceled or is over.
---@param reason? string the message of the failure
function scope:cancel(reason) end

---@return boolean was it canceled, by cancel() or its timeout?
function scope:canceled() end

return ctx
