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
-- CANCELED: when nobody wants the answer any more (a timeout, a terminated workflow), the wait under way raises a failure of type
-- "Canceled", and its child process gets SIGTERM. Clean up and return. One that goes on asking for waits is dropped; one that computes on
-- is stopped where that is possible, which in a compiled loop it is not: ask act:canceled() in long ones.
--
-- STATE: globals and locals of the file are shared by all its activities on one thread, are lost when the process ends, and start anew when
-- the file is loaded again. Each file has its own globals and its own copies of the modules beside it. Do not build on them.

---Define an activity. Only while the file loads.
---@param name string 1 to 128 bytes; one file defines each name
---@param fn fun(input: any, act: Activity): any
---@overload fun(name: string, options: ActivityOptions, fn: fun(input: any, act: Activity): any)
function activity(name, fn) end

---@class ActivityOptions
---@field blocking? boolean true: a worker thread runs it (where the runtime has any; else the owner thread)

---@alias Duration number|string seconds (1.5) or text: "500ms", "10s", "5m", "24h", "7d", "1h30m"

---One attempt. Valid until the activity returns.
---@class Activity
---@field instance_id string the workflow instance that asked
---@field idempotency_key string the same for every attempt of this step, unique to the step
---@field attempt integer from 1
---@field name string the activity's name
local act = {}

---Wait. At most 366 days.
---@param duration Duration
function act:sleep(duration) end

---Is the answer no longer wanted? For long computations to ask now and then.
---@return boolean
function act:canceled() end

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

---What a workflow may say beside a call: ctx:call_activity(name, input, options). Options that contradict each other are refused at the
---call. A failure of type "Timeout" says which one it was: details.timeout is "heartbeat" ...
---@class ActivityCallOptions
---@field retry? RetryPolicy none: one attempt
---@field timeout? Duration short for start_to_close
---@field start_to_close? Duration of one attempt, from its start; after it another may follow
---@field heartbeat? Duration between two signs of life of one attempt; after it another may follow
---@field schedule_to_start? Duration that an attempt may wait for its turn, anew after a restart of the process or a suspension; final
---@field schedule_to_close? Duration of everything, all attempts and restarts of the process included, from the call; final

---Attempt n + 1 comes min(first_interval * backoff ^ (n - 1), max_interval) after attempt n has failed. A failure is final when it says
---`retryable = false`, when its type is "NonRetryableError" or listed, when it was attempt max_attempts, when the delays so far make up
---`timeout`, or when the next attempt could not begin before schedule_to_close.
---@class RetryPolicy
---@field max_attempts? integer the first one included; default 3
---@field first_interval? Duration default "1s"; `interval` is the same
---@field backoff? number from 1; default 2; `backoff_coefficient` is the same
---@field max_interval? Duration not shorter than first_interval; default: none
---@field timeout? Duration of all delays together; what the attempts themselves take does not count; default: none
---@field non_retryable? string[] types of failures that are final

return act
