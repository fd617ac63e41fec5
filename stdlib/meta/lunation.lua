---@meta lunation
-- luacheck: ignore 212 241
-- For editors: what `require "lunation"` gives to a host in LuaJIT. Never loaded at run time.
--
-- A failure that a program handles is returned as `nil, message, code` ("LNT_EBUSY"); `error` is raised for misuse only.
-- Times are numbers of microseconds since 1970 (`_us`); timeouts are seconds.

---@class lunation
---@field version string the version of the library that runs
local lunation = {}

---@alias lunation.Status "PENDING"|"RUNNING"|"COMPLETED"|"FAILED"|"TERMINATED"|"CANCELED"|"SUSPENDED"|"STALLED"|"CONTINUED_AS_NEW"

---@class lunation.OpenOptions
---@field dir? string data directory; needed unless store is "memory"
---@field store? "lmdb"|"memory"
---@field durability? "sync"|"process" sync: survives a power cut; process: survives a crash of the process
---@field read_only? boolean get, list and history only; beside a running owner
---@field committer? boolean commit on a thread of its own
---@field paranoid? boolean for developers: run each turn twice, and stall an instance that does not do the same both times
---@field workers? integer threads for activities declared `blocking = true`
---@field module_path? string folders for `require`, separated by ';'
---@field stdlib_path? string folder of the standard library
---@field seed? integer of ids and random numbers
---@field log? fun(level: "debug"|"info"|"warn"|"error", message: string, instance_id: string?) must not call the runtime
---@field clock? fun(): number microseconds since 1970; must not call the runtime
---@field limits? table<string, integer> the limits of lunation.h by name: payload_bytes_max ...

---Open a runtime. The calling thread owns it.
---@param options lunation.OpenOptions
---@return lunation.Runtime? runtime
---@return string? message
---@return string? code
function lunation.open(options) end

---Turn a value into JSON text. NaN and infinities become the strings "NaN", "Infinity" and "-Infinity".
---@param value any
---@param indent? integer spaces per level; 0: one line
---@return string? json
---@return string? message
---@return string? code
function lunation.json_encode(value, indent) end

---Turn JSON text into a value. For the JSON text `null` the value is nil without a message. An integer that no double holds is refused.
---@param text string
---@return any value
---@return string? message with line and column
---@return string? code
function lunation.json_decode(text) end

---Mark a table as an array, so that it stays one when it is empty.
---@generic T
---@param list? T[]
---@return T[]
function lunation.array(list) end

---@class lunation.Runtime
local Runtime = {}

---@class lunation.Instance
---@field id string
---@field workflow string
---@field status lunation.Status
---@field code_hash string
---@field run number
---@field generation number from 1; one that continues as new begins another run under the same id
---@field parent_run? number of the instance whose child it is
---@field parent? string its id, unless it was purged; get() only
---@field created_us number
---@field updated_us number
---@field closed_us? number
---@field start_at_us? number when it was asked to start; rt:get only
---@field history_events number
---@field history_bytes number
---@field input? any
---@field output? any
---@field failure? table {type, message, ...}
---@field custom_status? any
---@field attributes? table<string, string|number|boolean> what lists search by

---@class lunation.Event
---@field index number place in the history, from 1
---@field kind string "ActivityScheduled" ...
---@field time_us number
---@field seq? number the command it belongs to
---@field attempt? number
---@field due_us? number
---@field name? string
---@field value? any
---@field detail? string
---@field id? string the instance or update that it is about: a child, the target of an event
---@field options? any how the command was made (retry, timeouts), or why one that is answered at once failed
---@field idempotency_key? string of an ActivityScheduled in rt:history: the key of its step

---@class lunation.Act
---@field name string
---@field instance_id string
---@field idempotency_key string the same for every attempt of this step
---@field attempt integer
---@field token string names this attempt
---@field heartbeat_details any what an earlier attempt, or this one before a restart, gave to rt:heartbeat() last
local Act = {}

---The answer comes later, through rt:complete(token, result) or rt:fail(token, failure), also after a restart: the attempt does not run
---again then, and holds no memory.
---@return string token
function Act:complete_later() end

---The answer comes later: through rt:complete(token, result) or rt:fail(token, failure). After a restart the attempt runs again.
---@return string token
function Act:pending() end

---Load a Lua file: its workflows and activities.
---@param path string
---@return true? ok
---@return string? message
---@return string? code
function Runtime:load_file(path) end

---The same for source text; `name` stands for the file name in messages.
---@param name string
---@param source string
---@return true? ok
---@return string? message
---@return string? code
function Runtime:load_string(name, source) end

---The workflows that new starts can name.
---@return {name: string, file: string, hash: string}[]? workflows
---@return string? message
---@return string? code
function Runtime:workflows() end

---Limits hold for all instances together: attempts beyond them wait in the order in which they came.
---@class lunation.ActivityOptions
---@field pure? boolean it has no side effects: it may begin before its scheduling is durable, and a chain of such steps shares one commit
---@field concurrency? integer attempts that run at once
---@field rate? {[1]: integer, per?: number} starts in any `per` seconds (1 if it is not given)
---@field cancel? fun(token: string, reason: "canceled"|"timeout"|"closed") the answer of a pending or deferred attempt is not wanted

---Run the activity `name` by a function of the host's own state. It wins over a Lua activity of that name; nil removes it. An error it
---raises fails the attempt: text, or {type =, message =, non_retryable =, details =}.
---@param name string
---@param fn? fun(input: any, act: lunation.Act): any
---@overload fun(self: lunation.Runtime, name: string, options: lunation.ActivityOptions, fn: fun(input: any, act: lunation.Act): any)
---@return true? ok
---@return string? message
---@return string? code
function Runtime:activity(name, fn) end

---@alias lunation.Done fun(ok: true?, message: string?, code: string?) called once, when the request is durable or never will be

---End an attempt with a result. The first answer counts, for good once `done` is told so or flush() returned. Codes of one that does not:
---"LNT_EOVER" (it was answered, timed out or was canceled, or its instance is finished), "LNT_ENOTFOUND" (there is no such attempt here),
---"LNT_EAGAIN" (it has not begun); `done` is told them where another answer came in the same tick. "LNT_EINVAL": the text is no token.
---@param token string
---@param result? any
---@param options? {result_json?: string, done?: lunation.Done} result_json: the result as JSON text, instead of `result`
---@return true? ok
---@return string? message
---@return string? code
function Runtime:complete(token, result, options) end

---End an attempt with a failure. Codes as complete().
---@param token string
---@param failure string|{type?: string, message?: string, non_retryable?: boolean, details?: any}
---@param options? {details_json?: string, done?: lunation.Done} details_json: the failure's details as JSON text
---@return true? ok
---@return string? message
---@return string? code
function Runtime:fail(token, failure, options) end

---Say that an attempt is alive. The details are kept for the attempt that follows.
---@param token string
---@param details? any nil: those given before stay
---@param options? {details_json?: string} the details as JSON text
---@return boolean? canceled true: its answer is not wanted any more
---@return string? message
---@return string? code
function Runtime:heartbeat(token, details, options) end

---@class lunation.StartOptions
---@field id? string default: a random UUID
---@field input? any
---@field input_json? string the input as JSON text, instead of `input`
---@field attributes? table<string, string|number|boolean> what lists search by
---@field id_reuse? "error"|"existing"|"terminal"|"replace" if the id is taken: fail (default); answer that one; a new run if it and its
---children are over; terminate it and start a new run
---@field start_at_us? number PENDING until then; events that come before are kept
---@field done? lunation.Done

---Accept a new instance. It is durable when `done` was called, or after flush().
---@param workflow string
---@param options? lunation.StartOptions
---@return string? id
---@return boolean|string? existed nothing was started: the id was taken, and `id_reuse` is "existing"; or the message of a failure
---@return string? code
function Runtime:start(workflow, options) end

---@class lunation.RaiseOptions
---@field key? string makes it repeatable: under a key that the instance got an event under before, nothing is delivered
---@field data_json? string the data as JSON text
---@field done? lunation.Done

---Deliver an external event.
---@param id string
---@param event string
---@param data? any
---@param options? lunation.RaiseOptions
---@return true? ok
---@return boolean|string? repeated it was delivered before, under the same key; or the message of a failure
---@return string? code
function Runtime:raise(id, event, data, options) end

---Stop an instance where it stands.
---@param id string
---@param reason? string
---@param options? {done?: lunation.Done}
---@return true? ok
---@return string? message
---@return string? code
function Runtime:terminate(id, reason, options) end

---Ask an instance to end: its function is raised a failure of type "Canceled", may clean up, and ends.
---@param id string
---@param reason? string the failure's message
---@param options? {done?: lunation.Done}
---@return true? ok
---@return string? message
---@return string? code
function Runtime:cancel(id, reason, options) end

---Pause an instance: events, results and timers are kept in order, no turn runs and no activity begins.
---@param id string
---@param reason? string kept in the history
---@param options? {done?: lunation.Done}
---@return true? ok
---@return string? message
---@return string? code
function Runtime:suspend(id, reason, options) end

---Let a suspended instance go on; a stalled one tries again at once.
---@param id string
---@param reason? string
---@param options? {done?: lunation.Done}
---@return true? ok
---@return string? message
---@return string? code
function Runtime:resume(id, reason, options) end

---@class lunation.ForkOptions
---@field event? number index of an event in the history: the last one copied (default: all), or the command to rerun
---@field new_id? string default: a random UUID
---@field run? number which run of the id; default: its newest
---@field input? any what is given instead: to the command of a rerun, or to the workflow of a fork from event 1
---@field input_json? string the same as JSON text
---@field code? "auto"|"pinned"|"newest" which code the copy runs; auto: the source's, or after an error of its own the newest
---@field done? lunation.Done

---Make a new instance that has seen what this one had seen up to an event, and that goes on from there by itself.
---@param id string
---@param options? lunation.ForkOptions
---@return string? new_id
---@return string? message
---@return string? code
function Runtime:fork(id, options) end

---The same from a command of a finished instance, which is done again.
---@param id string
---@param options lunation.ForkOptions
---@return string? new_id
---@return string? message
---@return string? code
function Runtime:rerun(id, options) end

---Let a failed instance go on from its failure, under its id: what failed is tried again.
---@param id string
---@param options? {code?: "auto"|"pinned"|"newest", run?: number, done?: lunation.Done}
---@return string? id
---@return string? message
---@return string? code
function Runtime:retry(id, options) end

---@class lunation.PurgeOptions
---@field recursive? boolean children, theirs and so on, too; default true
---@field force? boolean what is not finished is terminated
---@field done? lunation.Done

---Take a finished instance out of the store, with all its generations and its children.
---@param id string
---@param options? lunation.PurgeOptions
---@return number? count instances that go
---@return string? message
---@return string? code
function Runtime:purge(id, options) end

---@class lunation.PurgeMatching: lunation.ListOptions, lunation.PurgeOptions
---@field closed_before_us? number only those that finished before

---Take out finished instances that fulfil the conditions, a page (`limit`, default 1000) at a time.
---@param options lunation.PurgeMatching
---@return number? count instances that go
---@return string? next the next page's cursor; or the message of a failure
---@return string? code
function Runtime:purge_matching(options) end

---Read one instance, as last made durable. With `json`, values come as JSON text; with `run`, one run of it, such as an earlier generation.
---@param id string
---@param options? {json?: boolean, run?: number}
---@return lunation.Instance? instance
---@return string? message
---@return string? code
function Runtime:get(id, options) end

---@class lunation.ListOptions
---@field status? lunation.Status|lunation.Status[]
---@field workflow? string
---@field prefix? string of ids
---@field parent? string children of this instance
---@field attributes? table<string, string|number|boolean> each has this value
---@field limit? integer per page; default 100
---@field cursor? string of the page before
---@field created_from_us? number
---@field created_to_us? number exclusive
---@field json? boolean values as JSON text

---List instances, newest first, a page at a time. A page may be short, even empty, while there is a next one.
---@param options? lunation.ListOptions
---@return lunation.Instance[]? instances without input and output
---@return string? next the next page's cursor; or the message of a failure
---@return string? code
function Runtime:list(options) end

---Count the instances that list() would give, page after page.
---@param options? lunation.ListOptions
---@return table<string, number>? counts total, and by status those that are not 0
---@return string? message
---@return string? code
function Runtime:count(options) end

---Read an instance's history in order: of its newest run, or of the one that is given.
---@param id string
---@param options? {json?: boolean, run?: number}
---@return lunation.Event[]? events
---@return string? message
---@return string? code
function Runtime:history(id, options) end

---@class lunation.AskOptions
---@field args_json? string the arguments as JSON text, instead of `args`
---@field json? boolean the answer as JSON text
---@field timeout? number seconds to drive the runtime for; nil: no limit
---@field done? fun(value: any, message: string?, code: string?, failure: table?) is given the answer; query returns at once

---Ask an instance what it answers to (ctx:on_query): while it runs, is suspended or finished. Drives the runtime until the answer is there,
---unless there is `done`; from a callback it needs `done`.
---@param id string
---@param name string
---@param args? any
---@param options? lunation.AskOptions
---@return any value with `done`, true
---@return string? message
---@return string? code "LNT_EFAILED": the handler failed, or there is none
---@return table? failure {type, message, ...}
function Runtime:query(id, name, args, options) end

---@class lunation.UpdateOptions : lunation.AskOptions
---@field update_id? string the same id again is not carried out again, and has the same answer
---@field id? string the same as update_id

---Ask an instance to do something and answer (ctx:on_update). As query().
---@param id string
---@param name string
---@param args? any
---@param options? lunation.UpdateOptions
---@return any value with `done`, true
---@return string? message
---@return string? code
---@return table? failure
function Runtime:update(id, name, args, options) end

---@class lunation.Description
---@field id string
---@field workflow string
---@field status lunation.Status
---@field run number
---@field generation number
---@field reason? string for people: what it waits for, and where; nil when it is finished
---@field live boolean whether its body was looked at
---@field branches? {branch: "main"|"branch"|"update", at: string, waits_for: string, seqs: number[], update: string?}[]
---@field queries? string[] names that it answers to
---@field update_handlers? string[]
---@field activities table[] {seq, name, state, scheduled_us, attempt, next_try_us?, last_failure?, deadline_us?, heartbeat?, token?}
---@field timers {seq: number, due_us: number}[]
---@field awaited {seq: number, name: string, since_us: number, until_us: number?}[]
---@field children table[] {seq, id, workflow, since_us, until_us?, attempt, next_try_us?, last_failure?}
---@field buffered {name: string, raised_us: number}[]
---@field updates {id: string, name: string, accepted_us: number}[]
---@field gathered {kind: string, time_us: number, name: string?, seq: number?, id: string?}[] what the next turn will take up, in order
---@field streams {name: string, count: number, last_us: number}[]
---@field undelivered number

---Why is it waiting: what an instance waits for, at which lines. Leaves no trace in it.
---@param id string
---@param options? {json?: boolean}
---@return lunation.Description? description
---@return string? message
---@return string? code
function Runtime:describe(id, options) end

---@class lunation.Emitted
---@field value? any
---@field time_us number
---@field cursor string stands behind the value

---Read what an instance emitted to a stream, in order: while it runs and after its end.
---@param id string
---@param stream string
---@param options? {cursor?: string, limit?: integer, json?: boolean} cursor: behind what was read before
---@return lunation.Emitted[]? items
---@return string? next the cursor to go on from; or the message of a failure
---@return boolean|string? ended whether nothing more will come; or the code of a failure
function Runtime:stream(id, stream, options) end

---Be told of every value of a stream from a cursor on, as soon as it is durable, while the runtime is driven; with nil when the instance is
---finished. Return true to end it.
---@param id string
---@param stream string
---@param fn fun(item: lunation.Emitted?): boolean?
---@param options? {cursor?: string, json?: boolean}
---@return (fun())? stop ends it
---@return string? message
---@return string? code
function Runtime:follow(id, stream, fn, options) end

---Be told of every event of every instance, after it became durable. One observer at a time; nil removes it.
---@param fn? fun(id: string, status: lunation.Status, event: lunation.Event)
---@return true? ok
---@return string? message
---@return string? code
function Runtime:observe(fn) end

---The counters of lunation.h, by name.
---@return table<string, number|table<string, number>>? stats `met`: how often each limit was met
---@return string? message
---@return string? code
function Runtime:stats() end

---@class lunation.Tick
---@field turns number
---@field commits number
---@field ready number
---@field running number
---@field in_commit boolean
---@field full boolean
---@field next_due_us? number

---Do what can be done without waiting.
---@param budget_ns? number 0: no bound
---@return lunation.Tick? result
---@return string? message
---@return string? code
function Runtime:tick(budget_ns) end

---Drive the runtime until stop().
---@return true? ok
---@return string? message
---@return string? code
function Runtime:run() end

---Make run() return; from a callback.
function Runtime:stop() end

---Drive until the instance is finished or stalled.
---@param id string
---@param timeout? number seconds; nil: no limit
---@return lunation.Instance? instance
---@return string? message
---@return string? code
function Runtime:wait(id, timeout) end

---Drive until the instance is no longer PENDING.
---@param id string
---@param timeout? number seconds; nil: no limit
---@return lunation.Instance? instance
---@return string? message
---@return string? code
function Runtime:wait_start(id, timeout) end

---Drive until nothing can move by itself.
---@param timeout? number seconds; nil: no limit
---@return true? ok
---@return string? message
---@return string? code
function Runtime:drain(timeout) end

---Commit everything accepted so far, without running turns.
---@return true? ok
---@return string? message
---@return string? code
function Runtime:flush() end

---Drop every live coroutine; instances are rebuilt by replay when they move next.
---@return true? ok
---@return string? message
---@return string? code
function Runtime:evict_all() end

---Write a consistent copy of the store to a directory that does not exist yet.
---@param path string
---@return true? ok
---@return string? message
---@return string? code
function Runtime:snapshot(path) end

---Commit what was accepted, and release everything. Closing again does nothing.
---@return true? ok
---@return string? message
---@return string? code
function Runtime:close() end

---@alias lunation.Policy "authors"|"pin"|"adopt"|"all_or_nothing"

---How an instance fares with other code.
---@class lunation.Fit
---@field id string
---@field workflow string
---@field status lunation.Status
---@field fit "compatible"|"diverges"|"unavailable"|"busy"|"not_reached" not_reached: it fits, but ran nothing yet that differs
---@field moves boolean it will be moved
---@field from_hash string
---@field to_hash string
---@field events number of its history
---@field message? string
---@field event? number diverges: the recorded event; nil: the code makes a call where none is recorded
---@field recorded_us? number
---@field recorded? string the recorded call
---@field recorded_at? string file:line
---@field made? string the call that the new code makes
---@field made_at? string
---@field difference? string the first difference of the arguments

---What the instances that fit answer to a patch of the new code. `passed` 0: nobody takes the old branch, it may go; the call stays while
---`took` is not 0.
---@class lunation.Patch
---@field name string
---@field took number it is in their history
---@field passed number they had passed the place before the patch was there

---@class lunation.ReloadSummary
---@field file? string
---@field hash? string
---@field dry_run boolean
---@field switched boolean new starts get the code from now on
---@field unchanged boolean it was current already
---@field checked number instances on other code
---@field compatible number of these: they have run some of what changed
---@field not_reached number fits, and ran nothing yet of what changed
---@field diverging number
---@field unavailable number
---@field busy number
---@field moved number
---@field took_us number
---@field patches lunation.Patch[]
---@field interfaces lunation.Interface[] activities that the new code shows otherwise
---@field code? string why it failed
---@field message? string
---@field instances? lunation.Fit[] the first `limit` of them
---@field more? number those that are not in the list

---@class lunation.Interface
---@field activity string
---@field recorded string "reserve(order, act); pure = true; @param order string"
---@field now? string nil: no file defines it any more
---@field recorded_us number
---@field live number instances that are not finished and whose code names it; at most 1000 are counted

---@class lunation.ReloadOptions
---@field source? string instead of what the file holds
---@field policy? lunation.Policy
---@field dry_run? boolean look, and change nothing
---@field now? boolean no turn runs until it is over
---@field limit? integer reports to keep (100)
---@field done? fun(summary: lunation.ReloadSummary) called at the end; without it the call drives the runtime until then

---Load a file again: try it on every instance that runs, then let it become current.
---@param file string
---@param options? lunation.ReloadOptions
---@return lunation.ReloadSummary|true|nil summary
---@return string? message
---@return string? code "LNT_EDIVERGED": all or nothing, and not all fit
---@return lunation.ReloadSummary? refused
function Runtime:reload(file, options) end

---@class lunation.MigrateOptions: lunation.ReloadOptions
---@field ids? string[] these; else the conditions of rt:list
---@field workflow? string
---@field status? lunation.Status|lunation.Status[]
---@field prefix? string
---@field attributes? table<string, string|number|boolean>
---@field hash? string to this code, the beginning is enough; nil: the current code of each workflow

---Move chosen instances to other code, if they fit it.
---@param options lunation.MigrateOptions
---@return lunation.ReloadSummary|true|nil summary
---@return string? message
---@return string? code
---@return lunation.ReloadSummary? refused
function Runtime:migrate(options) end

---@class lunation.WatchEvent
---@field kind "loaded"|"instance"|"reloaded"|"refused"|"broken"|"deleted"
---@field file string
---@field cause string the path of what changed: the file, or a module that it requires
---@field message? string
---@field instance? lunation.Fit
---@field summary? lunation.ReloadSummary

---Load every file of a folder, and reload what is saved there from now on.
---@param dir string
---@param fn fun(event: lunation.WatchEvent)
---@param options? {policy?: lunation.Policy, once?: boolean} once: load what there is, and do not watch it
---@return fun()? stop
---@return string? message
---@return string? code
function Runtime:watch(dir, fn, options) end

---The versions of a workflow (nil: of all), newest first.
---@param workflow? string
---@return {workflow: string, hash: string, file: string?, since_us: number?, live: number, is_current: boolean}[]? versions
---@return string? message
---@return string? code
function Runtime:versions(workflow) end

---The sources of a version: the file first, then its modules.
---@param hash string the beginning is enough
---@return {module: string?, file: string, text: string}[]? sources
---@return string hash_or_message
---@return string? code
function Runtime:code(hash) end

---Write an instance, as last made durable, into a file, with the sources that made it: to be replayed anywhere (lunation.replay), or taken
---into another data directory (rt:import). It stays here, and goes on.
---@param id string
---@param path? string replaced if it is there; nil: the bytes are the answer
---@param options? {run: integer?, whole: boolean?} run: an earlier one; whole: with every earlier run and every child, not only open ones
---@return string|true|nil bytes_or_true
---@return string? message
---@return string? code
function Runtime:export(id, path, options) end

---Take an instance from a file of rt:export into this data directory: all of it, or nothing. What is not finished goes on here. Its code
---comes with it, activities too: import only what you trust. Not from a callback.
---@param path? string
---@param options? {data: string?, new_id: string?, suspend: boolean?} data: the bytes; new_id: as a fork under it; suspend: nothing runs
---@return {id: string, run: integer, runs: integer, live: integer}? result runs: that came; live: of these, not finished
---@return string? message
---@return string? code
function Runtime:import(path, options) end

---@class lunation.Replayed: lunation.Fit
---@field run integer
---@field ends lunation.Status what the code came to; RUNNING: it waits; STALLED: it did not get through the history
---@field output any what it returned
---@field failure? table what it failed with
---@field custom_status any as recorded
---@field reason? string why it waits
---@field engine string the interpreter and processor that made the history
---@field engine_here string

---@class lunation.ReplayOptions
---@field data? string the bytes of the export, where no path is given
---@field against? string a Lua file whose code is tried; nil: the code in the export
---@field source? string its text
---@field all? boolean every run in the file, not only the one that was asked for
---@field module_path? string
---@field stdlib_path? string
---@field json? boolean values as JSON text

---Replay an export in memory, against its own code or other code. No activity runs, nothing is written.
---@param path? string
---@param options? lunation.ReplayOptions
---@return lunation.Replayed[]? reports
---@return integer|string diverging_or_message how many do not fit
---@return string? code
function lunation.replay(path, options) end

return lunation
