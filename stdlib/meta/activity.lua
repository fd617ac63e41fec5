---@meta activity
-- luacheck: ignore
-- What an activity can call: for editors (LuaLS) and for readers. Nothing runs this file.
--
-- An activity is ordinary code: it may read files, start programs, talk to the network. It runs at least once per step. After a crash it
-- may run again with the same `act.idempotency_key`: hand the key to whatever must not happen twice.
--
--   activity("plan", function(task, act)
--     local text = act:read_file(task.path)
--     act:sleep("500ms")
--     return { lines = select(2, text:gsub("\n", "")) }
--   end)
--
-- What it returns is data: nil, booleans, numbers, strings, and tables of these. Only the first value counts. Anything else fails the
-- attempt with the type "InvalidValue" and the path of what was wrong (`result.items[3]`).
--
-- HELPERS WAIT, THEY DO NOT BLOCK. While one activity sleeps, reads or waits for a program, others run on the same thread. A computation
-- of more than some milliseconds, or a C function that blocks, holds up everything: declare the activity `blocking = true`, and a worker
-- thread runs it (the same helpers, which then block that thread alone). What computes for two seconds between two waits all the same (the
-- limit activity_slice_us_max) fails with the type "SliceExceeded"; LuaJIT's compiler is on for blocking activities only. Helpers can be
-- called from the activity itself and inside pcall, but not inside a coroutine of your own, nor in a callback of table.sort or string.gsub.
--
-- FAILURES are errors. error("text") fails the attempt with the type "Error"; error{ type =, message =, retryable =, details = } says
-- more. Types that the runtime raises: IOError (details.code is "ENOENT" ...), Timeout, LimitExceeded, Canceled, InvalidValue,
-- InvalidYield, OutOfMemory, SliceExceeded, ActivityNotRegistered.
--
-- CANCELED: when nobody wants the answer any more (a timeout, a terminated workflow), the activity is told once: the wait under way, or
-- the next one, raises a failure of type "Canceled" (details.reason says why), or act:canceled() answers true. Clean up and return: waits
-- work again meanwhile, for 10 seconds (limits.activity_grace_us); then it is dropped. The program that act:run() waited for gets SIGTERM,
-- after 5 s SIGKILL. A blocking activity that computes is told by the same failure in the middle of its computation, where that is
-- possible, which in a compiled loop it is not: ask act:canceled() in long ones.
--
-- STATE: globals and locals of the file are shared by all its activities on one thread, are lost when the process ends, and start anew when
-- the file is loaded again. Each file has its own globals and its own copies of the modules beside it. Do not build on them.

---Define an activity. Only while the file loads.
---@param name string 1 to 128 bytes; one file defines each name
---@param fn fun(input: any, act: Activity): any
---@overload fun(name: string, options: ActivityOptions, fn: fun(input: any, act: Activity): any)
function activity(name, fn) end

---The limits hold for all instances together. Attempts beyond them wait in the order in which they came; nothing is dropped. An attempt
---that is over for its workflow (a timeout ...), or that will be completed later, counts no longer.
---@class ActivityOptions
---@field blocking? boolean true: a worker thread runs it (where the runtime has any; else the owner thread)
---@field pure? boolean true: it has no side effects, and answers from its input alone. Then a step need not wait for a commit before it
---begins, and a chain of such steps shares one; after a crash it runs again. It cannot be completed later
---@field concurrency? integer attempts that run at once
---@field rate? string|{[1]: integer, per?: Duration} attempts that begin in any such period: "10/s", "100/5m", { 10, per = "1m" }; counted
---anew after a restart

---@alias Duration number|string seconds (1.5) or text: "500ms", "10s", "5m", "24h", "7d", "1h30m"

---@alias CancelReason "canceled"|"timeout"|"closed"|"closing" the workflow gave it up, a timeout struck, the instance or the runtime ends

---One attempt. Valid until the activity returns.
---@class Activity
---@field instance_id string the workflow instance that asked
---@field idempotency_key string the same for every attempt of this step, after timeouts and restarts too, and unique to the step: what Dapr
---calls taskExecutionId
---@field attempt integer from 1
---@field name string the activity's name
---@field heartbeat_details any what an earlier attempt, or this one before a restart, gave to act:heartbeat() last; nil: nothing
local act = {}

---Wait. At most 366 days.
---@param duration Duration
function act:sleep(duration) end

---Is the answer no longer wanted? For long computations to ask now and then.
---@return boolean canceled
---@return CancelReason? reason
function act:canceled() end

---Call `fn` once, when the activity is told that it is canceled: before the failure is raised, or act:canceled() answers. For what only
---others can stop. In the middle of a computation it cannot wait.
---@param fn fun(reason: CancelReason)
function act:on_cancel(fn) end

---Say that the activity is alive: its heartbeat timeout begins anew. The details are kept for the attempt that follows this one, should it
---fail, time out or be lost with the process: how far it got. Written at most once a tick.
---@param details? any nil: those given before stay
---@return boolean canceled as act:canceled()
---@return CancelReason? reason
function act:heartbeat(details) end

---The answer will come from outside: from whoever is given the token, through rt:complete() or rt:fail(), `lnt_complete()` in C, or the
---program, now or after a restart of the process. Call it, hand the token on, and return nothing. The attempt does not run again after
---a restart, and holds no memory; the timeouts of the call go on. Should the process end before the activity returns, it runs again with
---the same token.
---@return string token
function act:complete_later() end

---Write to the runtime's log, with the instance's id.
---@param text any
---@param level? "debug"|"info"|"warn"|"error" default "info"
function act:log(text, level) end

---Read a whole file, at most 64 MB.
---@param path string
---@return string
function act:read_file(path) end

---Write a whole file: readers see the old one or the new one, never half of it, and it survives a power cut once this returns. Its
---folder must exist.
---@param path string
---@param data string
function act:write_file(path, data) end

---Add to the end of a file, made if need be; on the disk once this returns. Not undone if the activity runs again.
---@param path string
---@param data string
function act:append_file(path, data) end

---@class DirEntry
---@field name string
---@field type "file"|"directory"|"link"|"fifo"|"socket"|"char"|"block"|"unknown"

---What is in a folder, sorted by name, without "." and "..".
---@param path string
---@return DirEntry[]
function act:list_dir(path) end

---@class FileStat
---@field type string as in DirEntry; links are followed
---@field size integer bytes
---@field mode integer permission bits
---@field mtime number seconds since 1970

---@param path string
---@return FileStat? stat nil if nothing is there
function act:stat(path) end

---@class RunOptions
---@field stdin? string default: nothing to read
---@field cwd? string
---@field env? table<string, string|number|false> added to the environment; false removes a variable
---@field timeout? Duration then the program gets SIGTERM, after 5 s SIGKILL, and this raises a failure of type "Timeout"
---@field output_bytes_max? integer of stdout, and of stderr; default 16 MB; more is a failure of type "LimitExceeded"

---@class RunResult
---@field code integer exit code
---@field signal integer that ended it; 0: none
---@field stdout string
---@field stderr string

---Run a program, found through PATH, without a shell. Waits until it has ended and closed its output. An exit code other than 0 is not
---a failure.
---@param command string
---@param args? (string|number)[]
---@param options? RunOptions
---@return RunResult
function act:run(command, args, options) end

return act
