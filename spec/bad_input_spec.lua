-- Bad input in a workflow: every argument and option of every function of ctx and of the standard library, given wrongly, is a failure of
-- a documented type that names the field, at the author's line, and nothing is half done.
local lunation = require "lunation"

local HEAD = "local saga, parallel, retry, approval, json = require 'saga', require 'parallel', require 'retry', require 'approval', "
  .. "require 'json'; "
local ACTIVITY_HEAD = "local fs, http, process, json = require 'fs', require 'http', require 'process', require 'json'; "

local LONG = "('x'):rep(200)"

-- Each: the code, the field (false: none), and words of the message. The type is that of the table.
local ARGUMENTS = {
  -- call_activity
  { "ctx:call_activity()", "name", "call_activity", "nil" },
  { "ctx:call_activity({})", "name", "table" },
  { "ctx:call_activity('')", "name", "empty" },
  { "ctx:call_activity(" .. LONG .. ")", "name", "128" },
  { "ctx:call_activity('a\\0b')", "name", "zero byte" },
  { "ctx:call_activity('a\\nb')", "name", "control character" },
  { "ctx:call_activity('\\255')", "name", "UTF-8" },
  { "ctx:call_activity('a', 1, 'x')", "options", "string" },
  { "ctx:call_activity('a', 1, { retries = 3 })", "retries", "unknown option" },
  { "ctx:call_activity('a', 1, { tiemout = 3 })", "tiemout", "did you mean 'timeout'?" },
  { "ctx:call_activity('a', 1, { 3 })", false, "text, not a number" },
  { "ctx:call_activity('a', 1, { timeout = 'soon' })", "timeout", '"soon"', "not a duration" },
  { "ctx:call_activity('a', 1, { timeout = 0 })", "timeout", "never let" },
  { "ctx:call_activity('a', 1, { start_to_close = -1 })", "start_to_close", "-1" },
  { "ctx:call_activity('a', 1, { schedule_to_start = true })", "schedule_to_start", "boolean" },
  { "ctx:call_activity('a', 1, { schedule_to_close = {} })", "schedule_to_close", "table" },
  { "ctx:call_activity('a', 1, { heartbeat = 0 / 0 })", "heartbeat", "not a duration" },
  { "ctx:call_activity('a', 1, { timeout = 1, start_to_close = 1 })", "start_to_close", "same thing" },
  { "ctx:call_activity('a', 1, { timeout = 2, schedule_to_close = 1 })", "timeout", "never strike" },
  { "ctx:call_activity('a', 1, { schedule_to_start = 2, schedule_to_close = 1 })", "schedule_to_start", "never strike" },
  { "ctx:call_activity('a', 1, { heartbeat = 2, timeout = 1 })", "heartbeat", "never strike" },
  { "ctx:call_activity('a', 1, { heartbeat = 2, schedule_to_close = 1 })", "heartbeat", "never strike" },
  { "ctx:call_activity('a', 1, { retry = 3 })", "retry", "number" },
  { "ctx:call_activity('a', 1, { retry = { tries = 3 } })", "retry.tries", "unknown option" },
  { "ctx:call_activity('a', 1, { retry = { max_attempt = 3 } })", "retry.max_attempt", "did you mean 'retry.max_attempts'?" },
  { "ctx:call_activity('a', 1, { retry = { max_attempts = '3' } })", "retry.max_attempts", "string" },
  { "ctx:call_activity('a', 1, { retry = { max_attempts = 0 } })", "retry.max_attempts", "0" },
  { "ctx:call_activity('a', 1, { retry = { max_attempts = 1.5 } })", "retry.max_attempts", "whole" },
  { "ctx:call_activity('a', 1, { retry = { max_attempts = 1e9 } })", "retry.max_attempts", "1000000000" },
  { "ctx:call_activity('a', 1, { retry = { first_interval = 'x' } })", "retry.first_interval", '"x"' },
  { "ctx:call_activity('a', 1, { retry = { interval = -1 } })", "retry.first_interval", "-1" },
  { "ctx:call_activity('a', 1, { retry = { interval = 1, first_interval = 2 } })", "retry.interval", "same thing" },
  { "ctx:call_activity('a', 1, { retry = { backoff = 0.5 } })", "retry.backoff", "0.5" },
  { "ctx:call_activity('a', 1, { retry = { backoff_coefficient = 'x' } })", "retry.backoff", "string" },
  { "ctx:call_activity('a', 1, { retry = { backoff = 2, backoff_coefficient = 2 } })", "retry.backoff_coefficient", "same thing" },
  { "ctx:call_activity('a', 1, { retry = { max_interval = 'x' } })", "retry.max_interval", '"x"' },
  { "ctx:call_activity('a', 1, { retry = { max_interval = 0 } })", "retry.max_interval", "first_interval = 0" },
  { "ctx:call_activity('a', 1, { retry = { max_interval = 1, first_interval = 2 } })", "retry.max_interval", "shorter" },
  { "ctx:call_activity('a', 1, { retry = { max_interval = 0.5 } })", "retry.max_interval", "1s unless you set it" },
  { "ctx:call_activity('a', 1, { retry = { timeout = 0 } })", "retry.timeout", "no retry" },
  { "ctx:call_activity('a', 1, { retry = { timeout = {} } })", "retry.timeout", "table" },
  { "ctx:call_activity('a', 1, { retry = { non_retryable = 'Bad' } })", "retry.non_retryable", "string" },
  { "ctx:call_activity('a', 1, { retry = { non_retryable = { Bad = true } } })", "retry.non_retryable", "list", "'Bad'" },
  { "ctx:call_activity('a', 1, { retry = { non_retryable = { 'x', 7 } } })", "retry.non_retryable", "[2]", "number" },
  { "ctx:call_activity('a', 1, { retry = { non_retryable = { " .. LONG .. " } } })", "retry.non_retryable", "128" },
  { "ctx.async:call_activity('a', 1, { timeout = 'soon' })", "timeout", "not a duration" },
  { "ctx.async:call_activity(7)", "name", "number" },
  -- call_child_workflow, start_workflow, raise_event, continue_as_new
  { "ctx:call_child_workflow()", "name", "nil" },
  { "ctx:call_child_workflow('c', 1, 5)", "options", "number" },
  { "ctx:call_child_workflow('c', 1, { idd = 'x' })", "idd", "did you mean 'id'?" },
  { "ctx:call_child_workflow('c', 1, { id = 5 })", "id", "number" },
  { "ctx:call_child_workflow('c', 1, { id = '' })", "id", "empty" },
  { "ctx:call_child_workflow('c', 1, { id = 'a/b' })", "id", "'/'" },
  { "ctx:call_child_workflow('c', 1, { id = " .. LONG .. " })", "id", "128" },
  { "ctx:call_child_workflow('c', 1, { id = ('x'):rep(127), retry = {} })", "id", "~3" },
  { "ctx:call_child_workflow('c', 1, { timeout = 'x' })", "timeout", '"x"' },
  { "ctx:call_child_workflow('c', 1, { timeout = 0 })", "timeout", "never let" },
  { "ctx:call_child_workflow('c', 1, { retry = { interval = 1, first_interval = 1 } })", "retry.interval", "same thing" },
  { "ctx:call_child_workflow('c', 1, { on_parent_close = 'kill' })", "on_parent_close", '"terminate"' },
  { "ctx:call_child_workflow('c', 1, { heartbeat = 1 })", "heartbeat", "unknown option" },
  { "ctx.async:call_child_workflow('c', 1, { id = {} })", "id", "table" },
  { "ctx:start_workflow({})", "name", "table" },
  { "ctx:start_workflow('c', 1, 'id')", "options", "string" },
  { "ctx:start_workflow('c', 1, { timeout = 1 })", "timeout", "unknown option" },
  { "ctx:start_workflow('c', 1, { id = 'a\\0' })", "id", "zero byte" },
  { "ctx:raise_event()", "id", "nil" },
  { "ctx:raise_event('a/b', 'go')", "id", "'/'" },
  { "ctx:raise_event('x')", "name", "nil" },
  { "ctx:raise_event('x', '')", "name", "empty" },
  { "ctx:continue_as_new(1, true)", "options", "boolean" },
  { "ctx:continue_as_new(1, { carry = true })", "carry", "carry_events" },
  { "ctx:continue_as_new(1, { carry_events = 'yes' })", "carry_events", "string" },
  { "ctx:is_patched()", "name", "no value" },
  -- time and events
  { "ctx:create_timer()", "duration", "create_timer", "nil" },
  { "ctx:create_timer('soon')", "duration", "create_timer", '"soon"' },
  { "ctx:create_timer(-1)", "duration", "-1" },
  { "ctx:create_timer(1 / 0)", "duration", "not a duration" },
  { "ctx:create_timer(true)", "duration", "boolean" },
  { "ctx:create_timer({ at = 'noon' })", "at", "string" },
  { "ctx:create_timer({})", "at", "nil" },
  { "ctx:create_timer({ at = -1 })", "at", "not a time" },
  { "ctx:create_timer({ after = 5 })", "after", "known are at" },
  { "ctx:sleep('1 parsec')", "duration", "sleep", "1 parsec" },
  { "ctx.async:create_timer('x')", "duration", '"x"' },
  { "ctx.async:sleep({ at = {} })", "at", "sleep" },
  { "ctx:wait_for_external_event()", "name", "nil" },
  { "ctx:wait_for_external_event('go', '1h')", "options", "string" },
  { "ctx:wait_for_external_event('go', { timout = 1 })", "timout", "did you mean 'timeout'?" },
  { "ctx:wait_for_external_event('go', { timeout = 'x' })", "timeout", '"x"' },
  { "ctx.async:wait_for_external_event('go', { timeout = {} })", "timeout", "table" },
  -- tasks and scopes
  { "ctx:when_all()", "tasks", "nil" },
  { "ctx:when_all({ 1 })", "tasks", "item 1", "number" },
  { "ctx:when_all({ a = ctx.async:wait_for_external_event('x') })", "tasks", "'a'", awaits = true },
  { "local t = ctx.async:wait_for_external_event('x'); ctx:when_all({ t, t })", "tasks", "same task", awaits = true },
  { "ctx:when_all({}, { fail_fest = true })", "fail_fest", "did you mean 'fail_fast'?" },
  { "ctx:when_all({}, { fail_fast = 1 })", "fail_fast", "number" },
  { "ctx:when_all({}, true)", "options", "boolean" },
  { "ctx:when_any({})", "tasks", "empty" },
  { "ctx:when_any(5)", "tasks", "number" },
  { "ctx:when_any({}, { cancel = true })", "tasks", "empty" },
  { "ctx.async:when_all({ print })", "tasks", "function" },
  { "ctx.async:when_any({})", "tasks", "empty" },
  { "ctx:spawn()", "fn", "no value" },
  { "ctx:spawn(7)", "fn", "number" },
  { "ctx.async:spawn('x')", "fn", "string" },
  { "ctx:spawn(print, 1, 2, 3, 4, 5, 6, 7, 8, 9)", "...", "8 arguments" },
  { "ctx:scope()", "fn", "scope" },
  { "ctx:scope(print, 5)", "options", "number" },
  { "ctx:scope(print, { timeot = 5 })", "timeot", "did you mean 'timeout'?" },
  { "ctx:scope(print, { timeout = 'x' })", "timeout", '"x"' },
  { "ctx:shield({})", "fn", "table" },
  { "ctx:map()", "list", "nil" },
  { "ctx:map(5, print)", "list", "number" },
  { "ctx:map({ a = 1 }, print)", "list", "'a'" },
  { "ctx:map({ 1, 2, b = 1, a = 1 }, print)", "list", "'a'" },
  { "ctx:map({ 1, nil, 3, nil, nil, 6 }, print)", "list", "item 2 of its 3" },
  { "ctx:map({ [0] = 1 }, print)", "list", "item 1 of its 1" },
  { "ctx:map({}, 'print')", "fn", "string" },
  { "ctx:map({}, print, 10)", "options", "number" },
  { "ctx:map({}, print, { concurency = 10 })", "concurency", "did you mean 'concurrency'?" },
  { "ctx:map({}, print, { concurrency = 0 })", "concurrency", "1 to 10000" },
  { "ctx:map({}, print, { concurrency = 10001 })", "concurrency", "1 to 10000" },
  { "ctx:map({}, print, { concurrency = 1.5 })", "concurrency", "1 to 10000" },
  { "ctx:map({}, print, { fail_fast = 'no' })", "fail_fast", "string" },
  { "local t = ctx.async:wait_for_external_event('x'); t:cancel(5)", "reason", "number", awaits = true },
  { "ctx:scope(function(s) s:cancel({}) end)", "reason", "table" },
  -- telling and being asked
  { "ctx:set_attributes()", "attributes", "no value" },
  { "ctx:set_attributes({ 'x' })", "attributes", "number" },
  { "ctx:set_attributes({ x = {} })", "attributes", "'x'" },
  { "ctx:set_attributes({ x = 1 / 0 })", "attributes", "finite" },
  { "ctx:remove_attributes(5)", "...", "number" },
  { "ctx:emit()", "stream", "no value" },
  { "ctx:emit('')", "stream", "empty" },
  { "ctx:on_query()", "name", "no value" },
  { "ctx:on_query('q')", "fn", "no value" },
  { "ctx:on_update(5, print)", "name", "number" },
  { "ctx:on_update('u', 5)", "handlers", "number" },
  { "ctx:on_update('u', {})", "handle", "missing" },
  { "ctx:on_update('u', { handle = 5 })", "handle", "number" },
  { "ctx:on_update('u', { handle = print, validate = {} })", "validate", "table" },
  { "ctx:on_update('u', { handler = print })", "handler", "did you mean 'handle'?" },
  { "ctx:side_effect()", "fn", "nil" },
  { "ctx:random('x')", "m", "string" },
  { "ctx:random(0)", "m", "empty" },
  { "ctx:random(5, 1)", "n", "empty" },
  { "ctx:random(1, 1e300)", "n", "2^53" },
  { "ctx:log('loud', 'x')", "level", "debug" },
  { "ctx:log({})", "text", "table" },
  -- the standard library
  { "saga.run({}, print)", "ctx", "saga.run", "ctx of the workflow" },
  { "saga.run(ctx)", "fn", "saga.run" },
  { "saga.run(ctx, print, { paralel = true })", "paralel", "did you mean parallel?" },
  { "saga.run(ctx, print, { parallel = 1 })", "parallel", "true or false" },
  { "saga.run(ctx, print, { retry = { backof = 2 } })", "retry.backof", "did you mean backoff?" },
  { "saga.run(ctx, print, { retry = { interval = 1, first_interval = 1 } })", "retry.interval", "same thing" },
  { "saga.run(ctx, function(s) s:step('x') end)", "action", "saga:step" },
  { "saga.run(ctx, function(s) s:step('x', print, 5) end)", "undo", "saga:step" },
  { "saga.run(ctx, function(s) s:defer('x', 5) end)", "fn", "saga:defer" },
  { "saga.run(ctx, function(s) s.commit() end)", "self", "colon" },
  { "parallel.map(nil, {}, print)", "ctx", "parallel.map" },
  { "parallel.map(ctx, 5, print)", "list", "5" },
  { "parallel.map(ctx, { a = 1 }, print)", "list", "a list" },
  { "parallel.map(ctx, {})", "fn", "parallel.map" },
  { "parallel.map(ctx, {}, print, { concurrency = 0 })", "concurrency", "1 to 10000" },
  { "parallel.map(ctx, {}, print, { concurrency = 20000 })", "concurrency", "1 to 10000" },
  { "parallel.map(ctx, {}, print, { settel = true })", "settel", "did you mean settle?" },
  { "parallel.all(ctx, { a = 5 })", "functions[a]", "parallel.all" },
  { "parallel.all(ctx)", "functions", "a table" },
  { "parallel.race(ctx, {})", "functions", "parallel.race", "nothing to call" },
  { "parallel.race(ctx, { 'x' })", "functions[1]", "parallel.race" },
  { "parallel.any(ctx, {})", "functions", "parallel.any" },
  { "parallel.any(5, {})", "ctx", "parallel.any" },
  { "retry.run(5)", "ctx", "retry.run" },
  { "retry.run(ctx, {})", "fn", "retry.run" },
  { "retry.run(ctx, 5, print)", "options", "5" },
  { "retry.run(ctx, { tries = 5 }, print)", "tries", "unknown option" },
  { "retry.run(ctx, { max_attempts = 0 }, print)", "max_attempts", "whole number" },
  { "retry.run(ctx, { interval = 'soon' }, print)", "interval", "a duration" },
  { "retry.run(ctx, { interval = 1, first_interval = 1 }, print)", "interval", "same thing" },
  { "retry.run(ctx, { backoff = 2, backoff_coefficient = 2 }, print)", "backoff_coefficient", "same thing" },
  { "retry.run(ctx, { backoff = 0.1 }, print)", "backoff", "1 to 1000" },
  { "retry.run(ctx, { max_interval = 0.5 }, print)", "max_interval", "shorter" },
  { "retry.run(ctx, { timeout = 0 }, print)", "timeout", "no retry" },
  { "retry.run(ctx, { jitter = 2 }, print)", "jitter", "0 to 1" },
  { "retry.run(ctx, { retry_if = true }, print)", "retry_if", "a function" },
  { "retry.run(ctx, { on_retry = {} }, print)", "on_retry", "a function" },
  { "retry.run(ctx, { non_retryable = { Bad = true } }, print)", "non_retryable", "a list" },
  { "retry.run(ctx, { non_retryable = { 5 } }, print)", "non_retryable[1]", "text" },
  { "approval.ask({})", "ctx", "approval.ask" },
  { "approval.ask(ctx, 5)", "options", "5" },
  { "approval.ask(ctx, { evnt = 'x' })", "evnt", "did you mean event?" },
  { "approval.ask(ctx, { event = '' })", "event", "1 to 128 bytes" },
  { "approval.ask(ctx, { notify = 5 })", "notify", "a function" },
  { "approval.ask(ctx, { timeout = 'x' })", "timeout", "a duration" },
  { "approval.ask(ctx, { remind = { every = '1h' } })", "notify", "remind needs" },
  { "approval.ask(ctx, { notify = 'n', remind = {} })", "remind.every", "a duration" },
  { "approval.ask(ctx, { notify = 'n', remind = { every = 0 } })", "remind.every", "longer than nothing" },
  { "approval.ask(ctx, { notify = 'n', remind = { evry = 0 } })", "remind.evry", "did you mean every?" },
  { "approval.ask(ctx, { notify = 'n', remind = { every = 1, max = 0 } })", "remind.max", "whole number" },
  { "approval.ask(ctx, { escalate = { after = 1 } })", "escalate.to", "escalate needs" },
  { "approval.ask(ctx, { escalate = { to = 'x' } })", "escalate.after", "escalate needs" },
  { "approval.ask(ctx, { escalate = { after = 1, to = 5 } })", "escalate.to", "a function" },
  { "approval.ask(ctx, { on_timeout = 'panic' })", "on_timeout", "reject, raise, approve" },
  { "approval.ask(ctx, { on_invalid = 'panic' })", "on_invalid", "ignore, raise" },
  { "approval.ask(ctx, { quorum = 0 })", "quorum", "whole number" },
  { "approval.ask(ctx, { quorum = 1001 })", "quorum", "1000" },
  { "approval.ask(ctx, { quorum = 2, approvers = { 'Ada' } })", "quorum", "1 approvers" },
  { "approval.ask(ctx, { approvers = { Ada = true } })", "approvers", "a list" },
  { "approval.ask(ctx, { approvers = { 5 } })", "approvers[1]", "text" },
  { "approval.ask(ctx, { activity_options = { tiemout = 1 } })", "activity_options.tiemout", "did you mean timeout?" },
  { "approval.ask(ctx, { activity_options = { retry = { tries = 1 } } })", "activity_options.retry.tries", "unknown option" },
  { "json.decode(7)", "text", "json.decode" },
  { "json.decode('1', 5)", "options", "json.decode" },
  { "json.decode('1', { null = true })", "null", "did you mean nulls?" },
  { "json.encode(1, { indent = 'x' })", "indent", "json.encode" },
  { "json.array(5)", "list", "json.array" },
}

local VALUES = {
  { "ctx:call_activity('a', print)", "input", "a function cannot be stored" },
  { "ctx:call_activity('a', { list = { 1, { deep = print } } })", "input.list[2].deep", "a function" },
  { "ctx:call_activity('a', { ['a: b'] = print })", 'input["a: b"]', "a function" },
  { "local t = {}; t.t = t; ctx:call_activity('a', t)", "input.t", "itself" },
  { "ctx:call_child_workflow('c', ctx)", "input", "a userdata" },
  { "ctx:start_workflow('c', coroutine.create(print))", "input", "a coroutine" },
  { "ctx:raise_event('x', 'go', { print })", "data[1]", "a function" },
  { "ctx:continue_as_new(print)", "input", "a function" },
  { "ctx:set_custom_status({ print })", "status[1]", "a function" },
  { "ctx:emit('s', { a = print })", "value.a", "a function" },
}

local LIMITS = {
  { "ctx:call_activity('a', ('x'):rep(5000))", "input", "payload_bytes_max" },
  { "ctx:set_custom_status(('x'):rep(5000))", "status", "payload_bytes_max" },
  { "ctx:set_attributes({ x = ('x'):rep(300) })", "attributes", "256" },
  { "ctx:set_attributes({ [('x'):rep(65)] = 1 })", "attributes", "64" },
  { "local all = {}; for i = 1, 33 do all['k' .. i] = i end; ctx:set_attributes(all)", "attributes", "32" },
  { "local t = ctx.async:wait_for_external_event('x'); for _ = 1, 40 do t = ctx.async:when_all({ t }) end", "tasks", "32 deep",
    awaits = true },
  { "for i = 1, 257 do ctx:on_query('q' .. i, print) end", false, "256 handlers" },
}

local CALLS = {
  { "ctx.call_activity('a')", false, "colon", "call_activity" },
  { "ctx.now()", false, "colon" },
  { "ctx:call_activty('a')", false, "call_activty", "did you mean 'call_activity'?" },
  { "ctx.async:raise_event('a')", false, "ctx.async", "ctx:spawn" },
  { "ctx.async:create_timr(1)", false, "did you mean 'create_timer'?" },
  { "ctx.state = 1", false, "cannot be changed" },
  { "local t = ctx.async:wait_for_external_event('x'); t.await()", false, "colon", awaits = true },
  { "local t = ctx.async:wait_for_external_event('x'); t:wait()", false, "await()", awaits = true },
  { "ctx:scope(function(s) s.cancel() end)", false, "colon" },
  { "ctx:scope(function(s) s:close() end)", false, "cancel()" },
  { "ctx:side_effect(function() ctx:call_activity('a') end)", false, "ctx:side_effect", recorded = true },
  { "local co = coroutine.wrap(function() ctx:scope(print) end); co()", false, "coroutine of your own" },
  { "local t = ctx:spawn(function() ctx:continue_as_new() end); t:await()", false, "not a branch" },
  { "ctx:shield(function() ctx:continue_as_new() end)", false, "ctx:shield" },
  { "local kept; saga.run(ctx, function(s) kept = s end); kept:defer(print)", false, "the saga is over" },
}

-- What activities call. The act is `act`.
local ACTIVITIES = {
  { "act:sleep('soon')", "duration", "act:sleep" },
  { "act:read_file(5)", "path", "act:read_file" },
  { "act:write_file('x', 5)", "data", "act:write_file" },
  { "act:run({})", "command", "act:run" },
  { "act:run('ls', { {} })", "args[1]", "not text" },
  { "act:run('ls', {}, { time = 5 })", "time", "unknown" },
  { "act:on_cancel(5)", "fn", "act:on_cancel" },
  { "act:log('x', 'loud')", "level", "debug" },
  { "fs.read('x')", "act", "fs.read" },
  { "fs.read(act)", "path", "fs.read" },
  { "fs.write(act, 'x', 5)", "data", "fs.write" },
  { "fs.write(act, 'x', 'y', { mkdr = true })", "mkdr", "did you mean mkdir?" },
  { "fs.each_line(act, 'x', 5)", "fn", "fs.each_line" },
  { "fs.walk(act, 'x', { depth = 0 })", "depth", "whole number" },
  { "process.run('ls')", "act", "process.run" },
  { "process.run(act, {})", "command", "process.run" },
  { "process.run(act, 'ls', { {} })", "args[1]", "process.run" },
  { "process.run(act, 'ls', { a = 1 })", "args", "a list" },
  { "process.run(act, 'ls', {}, { timout = 1 })", "timout", "did you mean timeout?" },
  { "process.shell(act, 5)", "text", "process.shell" },
  { "http.get('x')", "act", "http.get" },
  { "http.get(act)", "url", "http.get" },
  { "http.get(act, 'http://x', { timeout = 'x' })", "timeout", "a duration" },
  { "http.get(act, 'http://x', { auth = { name = 'x' } })", "auth.name", "unknown option" },
  { "http.get(act, 'http://x', { body = 'x', json = 1 })", "options", "only one" },
  { "http.get(act, 'http://x', { as = 'xml' })", "as", "json" },
  { "http.get(act, 'http://x', { method = 'G T' })", "method", "no method" },
  { "http.all(act, 5)", "requests", "http.all" },
  { "http.all(act, { 5 })", "requests[1]", "http.all" },
  { "http.check(5)", "response", "http.check" },
  { "json.decode(7)", "text", "json.decode" },
}

local rt

-- One workflow for each mistake: as it stands (plain); in a return of an inner function (tail), where Lua leaves no trace of the line; and
-- caught, after which it goes on.
local function source_of(case, way)
  if way == "plain" then return HEAD .. ("workflow('plain', function(ctx)\n  %s\nend)"):format(case[1]) end
  if way == "activity" then
    return ACTIVITY_HEAD .. ("activity('it', function(_, act)\n  %s\nend)\nworkflow('activity', function(ctx) ctx:call_activity('it', nil, "
      .. "{ retry = { max_attempts = 3 } }) end)"):format(case[1])
  end
  if way == "tail" then
    return HEAD .. ("workflow('tail', function(ctx) local function inner() return\n  %s\nend\n  local a = inner()\n  return { a } end)")
      :format(case[1])
  end
  return HEAD .. ([[workflow('caught', function(ctx) local ok, e = pcall(function()
  %s
end)
    ctx:create_timer(0)
    return { ok = ok, type = e.type, field = e.field, retryable = e.retryable, text = tostring(e) }
  end)]]):format(case[1])
end

local function check_failure(case, kind, failure, file)
  assert.equal(kind, failure.type, case[1] .. ": " .. tostring(failure.message))
  assert.equal(case[2] or nil, failure.field, case[1] .. ": " .. failure.message)
  assert.is_false(failure.retryable)
  assert.equal(file .. ":2: ", failure.message:match("^[%w.]+:%d+: "), case[1] .. ": " .. failure.message)
  for i = 3, #case do assert.truthy(failure.message:find(case[i], 1, true), case[1] .. ": " .. failure.message) end
end

local function run(case, way)
  assert(rt:load_string(way .. ".lua", source_of(case, way)))
  local id = assert(rt:start(way))
  assert(rt:wait(id, 60))
  return assert(rt:get(id)), id
end

local function kinds_of(id)
  local kinds = {}
  for _, event in ipairs(assert(rt:history(id))) do kinds[#kinds + 1] = event.kind end
  return table.concat(kinds, " ")
end

local function check_case(case, kind)
  local plain, id = run(case, "plain")
  assert.equal("FAILED", plain.status, case[1])
  check_failure(case, kind, plain.failure, "plain.lua")
  local before = case.awaits and "EventAwaited " or case.recorded and "SideEffect " or ""
  assert.equal("Started " .. before .. "Failed", (kinds_of(id):gsub("Turn ", "")), case[1])

  if case[1]:find("^[%w.]+[:.][%w_]+%b()$") and not case[1]:find("^ctx%.[^a]") then
    check_failure(case, kind, run(case, "tail").failure, "tail.lua")
  end

  local caught = run(case, "caught")
  assert.equal("COMPLETED", caught.status, case[1])
  local seen = caught.output
  assert.same({ ok = false, type = kind, field = case[2] or nil, retryable = false, text = seen.text }, seen, case[1])
  assert.equal(kind .. ": caught.lua:2: ", seen.text:match("^%w+: [%w.]+:%d+: "), case[1])
end

-- All that is wrong at once.
-- A collector that runs at every chance walks all that was loaded, each time: then the runtime is a new one now and then.
local FILES_MAX = os.getenv("LNT_GC_STRESS") and 10 or 1e9

local function open() rt = assert(lunation.open({ store = "memory", limits = { payload_bytes_max = 4000 } })) end

local function each(cases, check)
  local problems = {}
  for i, case in ipairs(cases) do
    if i % FILES_MAX == 0 then
      rt:close()
      open()
    end
    local ok, problem = pcall(check, case)
    if not ok then problems[#problems + 1] = tostring(type(problem) == "table" and problem.message or problem) end
  end
  if #problems > 0 then error(table.concat(problems, "\n"), 0) end
end

local function check_all(cases, kind) each(cases, function(case) check_case(case, kind) end) end

describe("bad input", function()
  before_each(open)
  after_each(function() rt:close() end)

  it("is a failure of type InvalidArgument that names the field, at the author's line", function()
    check_all(ARGUMENTS, "InvalidArgument")
  end)

  it("is a failure of type InvalidValue where it cannot be stored", function() check_all(VALUES, "InvalidValue") end)
  it("is a failure of type LimitExceeded where there is too much", function() check_all(LIMITS, "LimitExceeded") end)
  it("is a failure of type InvalidCall where the call itself is wrong", function() check_all(CALLS, "InvalidCall") end)

  it("is not tried again in an activity", function()
    each(ACTIVITIES, function(case)
      local instance, id = run(case, "activity")
      assert.equal("FAILED", instance.status, case[1])
      check_failure(case, "InvalidArgument", instance.failure, "activity.lua")
      assert.is_nil(kinds_of(id):find("ActivityRetried", 1, true), case[1])
    end)
  end)
end)

---- What editors are told ----

-- The fields of a class, with those of the class it extends.
local function fields_of(file, class)
  local fields, inside = {}, false
  for line in io.lines("stdlib/meta/" .. file) do
    local begins = line:match("^%-%-%-@class ([%w.]+)")
    if begins then inside = begins == class end
    local field = inside and line:match("^%-%-%-@field ([%w_]+)")
    if field then fields[#fields + 1] = field end
  end
  table.sort(fields)
  return fields
end

-- The options that a call knows, as it says itself.
local function known_of(call)
  local instance = run({ call }, "plain")
  local names = {}
  for name in instance.failure.message:match("[Kk]nown are (.*)$"):gmatch("[%w_]+") do names[#names + 1] = name end
  table.sort(names)
  return names
end

describe("the annotations", function()
  before_each(function() rt = assert(lunation.open({ store = "memory" })) end)
  after_each(function() rt:close() end)

  local calls = {
    CallOptions = "ctx:call_activity('a', 1, { zzzzzzzzz = 1 })",
    RetryPolicy = "ctx:call_activity('a', 1, { retry = { zzzzzzzzz = 1 } })",
    ChildOptions = "ctx:call_child_workflow('c', 1, { zzzzzzzzz = 1 })",
    StartOptions = "ctx:start_workflow('c', 1, { zzzzzzzzz = 1 })",
    ContinueOptions = "ctx:continue_as_new(1, { zzzzzzzzz = 1 })",
    WaitOptions = "ctx:wait_for_external_event('e', { zzzzzzzzz = 1 })",
    WhenAllOptions = "ctx:when_all({}, { zzzzzzzzz = 1 })",
    WhenAnyOptions = "ctx:when_any({ ctx.async:create_timer(0) }, { zzzzzzzzz = 1 })",
    ScopeOptions = "ctx:scope(print, { zzzzzzzzz = 1 })",
    MapOptions = "ctx:map({}, print, { zzzzzzzzz = 1 })",
    UpdateHandlers = "ctx:on_update('u', { zzzzzzzzz = 1 })",
  }
  for class, call in pairs(calls) do
    it("name the options of " .. class .. ", no more and no less", function()
      assert.same(known_of(call), fields_of("workflow.lua", class))
    end)
  end
end)
