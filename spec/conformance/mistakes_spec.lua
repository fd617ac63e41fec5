-- Conformance: bad input and limits. Each is a typed error that names the thing, at the author's line; nothing is half done.
local case = require("spec.conformance.support").case

-- A mistake in the body: line 2 of case.lua holds `code`. The message must name the line and every word, and nothing was recorded for it.
local function mistake(name, code, ...)
  local words = { ... }
  case(name, ("workflow(\"bad\", function(ctx)\n  %s\n  return true\nend)\n"):format(code), function(w)
    w:run("bad", { id = "b" })
    local failure = w:failure("b")
    assert.truthy(failure.message:find("case.lua:2:", 1, true), failure.message)
    for _, word in ipairs(words) do assert.truthy(failure.message:find(word, 1, true), failure.message) end
    assert.same({ Started = 1, Failed = 1 }, w:kinds("b"))
  end)
end

describe("a mistake in a workflow fails it at the author's line:", function()
  mistake("a text that is no duration", "ctx:create_timer('soon')", "create_timer", '"soon"', "not a duration")
  mistake("a negative duration", "ctx:create_timer(-1)", "create_timer", "-1", "not a duration")
  mistake("a duration that is not a number", "ctx:create_timer(0 / 0)", "not a duration")
  mistake("a duration that never ends", "ctx:create_timer(1 / 0)", "not a duration")
  mistake("a duration of another type", "ctx:create_timer(true)", "boolean")
  mistake("an absolute time that is text", "ctx:create_timer({ at = 'noon' })", "at", "string")
  mistake("a timeout that is no duration", "ctx:wait_for_external_event('go', { timeout = 'x' })", "timeout", '"x"')
  mistake("an unknown option", "ctx:wait_for_external_event('go', { timout = 1 })", "timout", "timeout")
  mistake("an event without a name", "ctx:wait_for_external_event()", "name", "nil")
  mistake("an activity whose name is a table", "ctx:call_activity({})", "name", "table")
  mistake("a name that is empty", "ctx:call_activity('')", "call_activity")
  mistake("a name that is too long", "ctx:call_activity(('x'):rep(200))", "128")
  mistake("an input that is no data", "ctx:call_activity('a', { list = { 1, { deep = print } } })", "input.list[2].deep", "function")
  mistake("an input that holds itself", "local t = {}; t.t = t; ctx:call_activity('a', t)", "input")
  mistake("an unknown option of an activity", "ctx:call_activity('a', nil, { retries = 3 })", "retries")
  mistake("a retry policy that is a number", "ctx:call_activity('a', nil, { retry = 3 })", "retry", "number")
  mistake("an unknown field of a retry policy", "ctx:call_activity('a', nil, { retry = { tries = 3 } })", "retry", "tries")
  mistake("no attempt at all", "ctx:call_activity('a', nil, { retry = { max_attempts = 0 } })", "max_attempts", "0")
  mistake("a backoff that shrinks", "ctx:call_activity('a', nil, { retry = { backoff = 0.5 } })", "backoff", "0.5")
  mistake("an interval that is no duration", "ctx:call_activity('a', nil, { retry = { interval = 'x' } })", "first_interval", '"x"')
  mistake("types that are no list", "ctx:call_activity('a', nil, { retry = { non_retryable = 'Bad' } })", "non_retryable", "string")
  mistake("a timeout of nothing", "ctx:call_activity('a', nil, { timeout = 0 })", "timeout")
  mistake("a call without the colon", "ctx.call_activity('a')", "colon", "call_activity")
  mistake("a method that is not there", "ctx:call_activty('a')", "call_activty")
  mistake("a change of ctx", "ctx.state = 1", "cannot be changed")
  mistake("a branch that is no function", "ctx:spawn(7)", "spawn", "number")
  mistake("a custom status that is no data", "ctx:set_custom_status({ print })", "status[1]", "function")
  mistake("an empty interval of random", "ctx:random(5, 1)", "random", "empty")
  mistake("a program", "os.execute('ls')", "os.execute", "activity")
  mistake("a file", "io.open('x')", "io")
end)

describe("a request is refused,", function()
  local ECHO = [[workflow("echo", function(ctx, input) return input end)]]

  case("when it names no workflow", ECHO, function(w)
    local message, code = w:refused("start", "ecko", { id = "e" })
    assert.equal("LNT_ENOTFOUND", code)
    assert.truthy(message:find('no workflow "ecko"', 1, true), message)
    assert.truthy(message:find('did you mean "echo"', 1, true), message)
    assert.equal("LNT_ENOTFOUND", select(2, w:refused("get", "e")))
  end)

  case("when its id is too long, empty, or holds what ids must not", ECHO, function(w)
    for _, id in ipairs({ ("x"):rep(129), "", "a/b", "a\nb", "\255" }) do
      local message, code = w:refused("start", "echo", { id = id })
      assert.equal("LNT_EINVAL", code)
      assert.truthy(message:find("instance id", 1, true), message)
    end
    w:run("echo", { id = ("x"):rep(128) })
    assert.is_nil(w:output(("x"):rep(128)))
    w:run("echo", { id = "Übung 1: ok?" })
    assert.equal("COMPLETED", w:status("Übung 1: ok?"))
  end)

  case("when its id is taken, by a live or a finished instance", [[
    workflow("waiter", function(ctx) ctx:wait_for_external_event("go") end)]], function(w)
    w:run("waiter", { id = "w" })
    for _ = 1, 2 do
      local message, code = w:refused("start", "waiter", { id = "w" })
      assert.equal("LNT_EEXIST", code)
      assert.truthy(message:find("'w'", 1, true))
      if w:status("w") == "RUNNING" then w:raise("w", "go") end
      w:settle()
    end
    assert.equal(1, #w:list())
  end)

  case("when its input is no data", ECHO, function(w)
    local message, code = w:refused("start", "echo", { id = "e", input = { a = { print } } })
    assert.equal("LNT_EVALUE", code)
    assert.truthy(message:find("input.a[1]", 1, true))
    assert.equal("LNT_EVALUE", select(2, w:refused("start", "echo", { id = "e", input_json = "{" })))
  end)

  case("when an event has no name, or one that is too long", [[
    workflow("waiter", function(ctx) ctx:wait_for_external_event("go") end)]], function(w)
    w:run("waiter", { id = "w" })
    assert.equal("LNT_EINVAL", select(2, w:refused("raise", "w", "")))
    assert.equal("LNT_EINVAL", select(2, w:refused("raise", "w", ("n"):rep(129))))
    assert.equal(0, #w:events("w", "EventRaised"))
  end)
end)

describe("the limit", function()
  local ECHO = [[workflow("echo", function(ctx, input) return input end)]]
  local BIG = ("x"):rep(2000)

  case("payload_bytes_max stops an input, an event's data and an answer", [[
    workflow("waiter", function(ctx)
      ctx:wait_for_external_event("go")
      return ctx:call_activity("slow")
    end)]], function(w)
    local begun = w:deferred("slow")
    local message, code = w:refused("start", "waiter", { id = "big", input = BIG })
    assert.same({ "LNT_ELIMIT", true }, { code, message:find("payload_bytes_max", 1, true) ~= nil })
    w:run("waiter", { id = "w" })
    message, code = w:refused("raise", "w", "go", BIG)
    assert.same({ "LNT_ELIMIT", true }, { code, message:find("payload_bytes_max", 1, true) ~= nil })
    w:raise("w", "go", "small")
    w:settle()
    message, code = w:refused("complete", begun[#begun].token, BIG)
    assert.same({ "LNT_ELIMIT", true }, { code, message:find("payload_bytes_max", 1, true) ~= nil })
    w:complete(begun[#begun].token, "small")
    w:settle()
    assert.equal("small", w:output("w"))
  end, { limits = { payload_bytes_max = 1000 } })

  case("payload_bytes_max fails an activity whose result is too large, and the workflow may catch it", [[
    activity("grows", function() return ("x"):rep(2000) end)
    workflow("careful", function(ctx)
      local ok, err = pcall(ctx.call_activity, ctx, "grows")
      return { ok = ok, type = err.type, message = err.message }
    end)]], function(w)
    w:run("careful", { id = "c" })
    assert.is_false(w:output("c").ok)
    assert.truthy(w:output("c").message:find("payload_bytes_max", 1, true), w:output("c").message)
  end, { limits = { payload_bytes_max = 1000 } })

  case("payload_bytes_max fails a workflow that returns too much", [[
    workflow("grows", function() return ("x"):rep(2000) end)]], function(w)
    w:run("grows", { id = "g" })
    assert.truthy(w:failure("g").message:find("payload_bytes_max", 1, true), w:failure("g").message)
  end, { limits = { payload_bytes_max = 1000 } })

  case("payload_bytes_max refuses the input of an activity at its line", [[workflow("grows", function(ctx)
  ctx:call_activity("a", ("x"):rep(2000))
end)]], function(w)
    w:run("grows", { id = "g" })
    local message = w:failure("g").message
    assert.truthy(message:find("case.lua:2:", 1, true), message)
  end, { limits = { payload_bytes_max = 1000 } })

  case("history_events_max fails a workflow that never ends, with advice", [[
    workflow("loop", function(ctx)
      while true do ctx:create_timer(0) end
    end)]], function(w)
    w:run("loop", { id = "l" })
    local failure = w:failure("l")
    assert.equal("LimitExceeded", failure.type)
    assert.truthy(failure.message:find("history_events_max", 1, true))
    assert.is_true(#w:history("l") <= 130)
  end, { limits = { history_events_max = 100 }, alike = false }) -- turns count, and the ways cut them differently

  case("history_events_max is not caught by a pcall", [[
    workflow("loop", function(ctx)
      while true do pcall(ctx.create_timer, ctx, 0) end
    end)]], function(w)
    w:run("loop", { id = "l" })
    assert.equal("LimitExceeded", w:failure("l").type)
  end, { limits = { history_events_max = 100 }, alike = false })

  case("history_bytes_max fails a workflow that carries too much", [[
    activity("echo", function(text) return text end)
    workflow("loop", function(ctx)
      for _ = 1, 100 do ctx:call_activity("echo", ("x"):rep(500)) end
    end)]], function(w)
    w:run("loop", { id = "l" })
    local failure = w:failure("l")
    assert.equal("LimitExceeded", failure.type)
    assert.truthy(failure.message:find("history_bytes_max", 1, true))
  end, { limits = { history_bytes_max = 20000 }, alike = false })

  case("pending_commands_max fails a fan-out that is too wide", [[
    workflow("wide", function(ctx)
      local tasks = {}
      for i = 1, 100 do tasks[i] = ctx.async:create_timer(i) end
      ctx:when_all(tasks)
    end)]], function(w)
    w:run("wide", { id = "w" })
    local failure = w:failure("w")
    assert.equal("LimitExceeded", failure.type)
    assert.truthy(failure.message:find("pending_commands_max", 1, true))
  end, { limits = { pending_commands_max = 50 } })

  case("buffered_events_max refuses an event that too many wait before, and takes events again when some were taken", [[
    workflow("deaf", function(ctx)
      local sum = 0
      for _ = 1, 20 do sum = sum + ctx:wait_for_external_event("n") end
      ctx:set_custom_status(sum)
      ctx:create_timer(1)
      return sum + ctx:wait_for_external_event("last")
    end)]], function(w)
    w:start("deaf", { id = "d" })
    w:suspend("d")
    w:settle()
    for i = 1, 19 do -- the start is one more
      w:raise("d", "n", i)
      w:settle()
    end
    local message, code = w:refused("raise", "d", "n", 20)
    assert.equal("LNT_ELIMIT", code)
    assert.truthy(message:find("buffered_events_max", 1, true))
    w:resume("d")
    w:settle()
    w:raise("d", "n", 20)
    w:settle()
    assert.equal(210, w:get("d").custom_status)
    for _ = 1, 20 do
      w:raise("d", "other")
      w:settle()
    end
    assert.equal("LNT_ELIMIT", select(2, w:refused("raise", "d", "last", 1)))
    w:terminate("d")
    w:settle()
    assert.equal("TERMINATED", w:status("d"))
  end, { limits = { buffered_events_max = 20 } })

  case("buffered_events_max is looked at anew when the limit is another one after a restart", [[
    workflow("deaf", function(ctx)
      ctx:wait_for_external_event("go")
      local sum = 0
      for _ = 1, 10 do sum = sum + ctx:wait_for_external_event("n") end
      return sum
    end)]], function(w)
    w:run("deaf", { id = "d" })
    for i = 1, 10 do w:raise("d", "n", i) end
    w:settle()
    assert.equal("LNT_ELIMIT", select(2, w:refused("raise", "d", "go")))
    w.limits = { buffered_events_max = 11 }
    w:reopen()
    w:raise("d", "go")
    w:settle()
    assert.equal(55, w:output("d"))
  end, { limits = { buffered_events_max = 10 }, disk = true })

  case("turn_instructions_max stops a loop that never waits", [[
    workflow("spins", function() while true do end end)]], function(w)
    w:run("spins", { id = "s" })
    assert.equal("BudgetExceeded", w:failure("s").type)
  end, { limits = { turn_instructions_max = 100000 } })

  case("resident_max only makes replays", [[
    workflow("waiter", function(ctx)
      local sum = 0
      for _ = 1, 3 do sum = sum + ctx:wait_for_external_event("n") end
      return sum
    end)]], function(w)
    for i = 1, 20 do w:start("waiter", { id = "w" .. i }) end
    w:settle()
    assert.is_true(w:stats().resident <= 3)
    for n = 1, 3 do
      for i = 1, 20 do w:raise("w" .. i, "n", n * i) end
      w:settle()
    end
    for i = 1, 20 do assert.equal(6 * i, w:output("w" .. i)) end
  end, { limits = { resident_max = 3 } })

  case("activities_running_max lets the others wait their turn", [[
    workflow("fan", function(ctx)
      local tasks = {}
      for i = 1, 10 do tasks[i] = ctx.async:call_activity("slow", i) end
      return ctx:when_all(tasks)
    end)]], function(w)
    local begun = w:deferred("slow")
    w:run("fan", { id = "f" })
    local answered, most = {}, 0
    for _ = 1, 10 do
      local running, token = 0, nil
      for i = #begun, 1, -1 do
        local attempt = begun[i]
        if not answered[attempt.input] then token, running = token or attempt, running + 1 end
      end
      most = math.max(most, running)
      answered[token.input] = true
      w:complete(token.token, token.input)
      w:settle()
    end
    assert.same({ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 }, w:output("f"))
    assert.equal(3, most)
  end, { limits = { activities_running_max = 3 }, ways = { "kept", "evicted" } })

  case("is named when its name is unknown", ECHO, function(w)
    local lunation = require "lunation"
    assert.error_matches(function() lunation.open({ store = "memory", limits = { patience = 1 } }) end, "there is no limit 'patience'")
    w:run("echo", { id = "e" })
    assert.is_nil(w:output("e"))
  end)
end)
