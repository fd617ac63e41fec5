-- Conformance: attempts of activities that last. Answers from outside after restarts, signs of life, limits, the end of what nobody wants.
local case = require("spec.conformance.support").case

local CALLS = [[
workflow("calls", function(ctx, options)
  local ok, value = pcall(ctx.call_activity, ctx, "work", "input", options)
  if ok then return { ok = true, value = value } end
  return { ok = false, type = value.type, message = value.message, timeout = value.details and value.details.timeout }
end)
]]

local FAN = [[
workflow("fan", function(ctx, n)
  local tasks = {}
  for i = 1, n do tasks[i] = ctx.async:call_activity("work", i) end
  return ctx:when_all(tasks)
end)
]]

-- The token of the attempt that was deferred last, as the history knows it.
local function recorded_token(w, id)
  local deferred = w:events(id, "ActivityDeferred")
  local last = deferred[#deferred]
  return ("%d:%d:%d"):format(w:get(id).run, last.seq, last.attempt)
end

describe("an activity that is completed later", function()
  case("is begun once, whatever happens to the process, and answered by its token", CALLS, function(w)
    local begun = w:deferred("work", "complete_later")
    w:run("calls", { id = "c" })
    w:advance(3600)
    assert.equal(1, #begun)
    assert.equal(begun[1].token, recorded_token(w, "c"))
    w:complete(begun[1].token, { n = 1 })
    w:settle()
    assert.same({ ok = true, value = { n = 1 } }, w:output("c"))
  end)

  case("lets its instance leave memory", CALLS, function(w)
    local begun = w:deferred("work", "complete_later")
    for i = 1, 20 do w:start("calls", { id = "c" .. i }) end
    w:settle()
    w:evict_all()
    w:settle()
    assert.same({ 0, 0 }, { w:stats().loaded, w:stats().resident })
    for i, attempt in ipairs(begun) do w:complete(attempt.token, i) end
    w:settle()
    for i = 1, 20 do assert.is_true(w:output("c" .. i).ok) end
  end)

  case("may fail by its token, and is tried again by the policy", CALLS, function(w)
    local begun = w:deferred("work", "complete_later")
    w:run("calls", { id = "c", input = { retry = { max_attempts = 3, interval = 10, backoff = 1 } } })
    w:fail(begun[1].token, { type = "Busy", message = "later" })
    w:advance(10)
    assert.equal(2, #begun)
    assert.are_not.equal(begun[1].token, begun[2].token)
    assert.equal(begun[1].act.idempotency_key, begun[2].act.idempotency_key)
    w:complete_late(begun[1].token, "stale")
    w:complete(begun[2].token, "second")
    w:settle()
    assert.same({ ok = true, value = "second" }, w:output("c"))
  end)

  case("takes the first of two answers", CALLS, function(w)
    local begun = w:deferred("work", "complete_later")
    w:run("calls", { id = "c" })
    w:complete(begun[1].token, "first")
    w:settle()
    w:complete_late(begun[1].token, "second")
    assert.same({ ok = true, value = "first" }, w:output("c"))
    assert.equal(1, #w:events("c", "ActivityCompleted"))
  end)

  for _, name in ipairs({ "start_to_close", "schedule_to_close" }) do
    case("still has its timeout " .. name .. ", over restarts", CALLS, function(w)
      local begun = w:deferred("work", "complete_later")
      w:run("calls", { id = "c", input = { [name] = 3600 } })
      w:advance(3599)
      assert.equal("RUNNING", w:status("c"))
      w:advance(1)
      assert.same({ false, "Timeout", name }, { w:output("c").ok, w:output("c").type, w:output("c").timeout })
      w:complete_late(begun[1].token, "late")
    end)
  end

  case("that was answered in time leaves no timeout behind", CALLS, function(w)
    local begun = w:deferred("work", "complete_later")
    w:run("calls", { id = "c", input = { start_to_close = "30d", schedule_to_close = "60d" } })
    w:complete(begun[1].token, "in time")
    w:settle()
    assert.equal("in time", w:output("c").value)
  end)

  for _, how in ipairs({ "terminate", "cancel" }) do
    case("is over when its instance is " .. how .. "ed", CALLS, function(w)
      local begun = w:deferred("work", "complete_later")
      w:run("calls", { id = "c" })
      w[how](w, "c", "enough")
      w:settle()
      w:complete_late(begun[1].token, "late")
      assert.is_true(w:get("c").closed_us ~= nil)
      assert.equal(0, #w:events("c", "ActivityCompleted"))
    end)
  end

  case("is over when its instance continues as new", [[
    workflow("loop", function(ctx, again)
      if again then return ctx:wait_for_external_event("end") end
      ctx.async:call_activity("work")
      ctx:wait_for_external_event("go")
      ctx:continue_as_new(true)
    end)]], function(w)
    local begun = w:deferred("work", "complete_later")
    w:run("loop", { id = "l" })
    w:raise("l", "go")
    w:settle()
    w:complete_late(begun[1].token, "late")
    w:raise("l", "end", "fine")
    w:settle()
    assert.equal("fine", w:output("l"))
  end)

  case("may answer a suspended instance, which sees it when it goes on", CALLS, function(w)
    local begun = w:deferred("work", "complete_later")
    w:run("calls", { id = "c" })
    w:suspend("c")
    w:settle()
    w:complete(begun[1].token, "kept")
    w:settle()
    assert.equal("SUSPENDED", w:status("c"))
    w:resume("c")
    w:settle()
    assert.equal("kept", w:output("c").value)
  end)

  case("loses against a timer, and is over when it is canceled", [[
    workflow("race", function(ctx)
      local tasks = { ctx.async:call_activity("work"), ctx.async:create_timer(60) }
      local which = ctx:when_any(tasks, { cancel_losers = true })
      ctx:create_timer(60)
      return which
    end)]], function(w)
    local begun = w:deferred("work", "complete_later")
    w:run("race", { id = "r" })
    w:advance(60)
    w:complete_late(begun[1].token, "late")
    w:advance(60)
    assert.equal(2, w:output("r"))
  end)

  case("may be an activity in Lua", [[
    activity("work", function(input, act)
      act:complete_later()
    end)]] .. "\n" .. CALLS, function(w)
    w:run("calls", { id = "c" })
    assert.equal("RUNNING", w:status("c"))
    w:complete(recorded_token(w, "c"), "from outside")
    w:settle()
    assert.equal("from outside", w:output("c").value)
  end)
end)

describe("signs of life", function()
  case("keep an attempt from its heartbeat timeout", CALLS, function(w)
    local begun = w:deferred("work")
    w:run("calls", { id = "c", input = { heartbeat = 10 } })
    for _ = 1, 10 do
      w:advance(9)
      assert.is_false(w:heartbeat(begun[1].token))
    end
    w:complete(begun[1].token, "alive")
    w:settle()
    assert.equal("alive", w:output("c").value)
  end, { ways = { "kept", "evicted" } }) -- after a restart the attempt begins again

  case("keep one that is completed later alive, over restarts", CALLS, function(w)
    local begun = w:deferred("work", "complete_later")
    w:run("calls", { id = "c", input = { heartbeat = 10 } })
    for i = 1, 10 do
      w:advance(9)
      w:heartbeat(begun[1].token, i)
      w:settle()
    end
    assert.equal("RUNNING", w:status("c"))
    w:advance(10)
    assert.same({ false, "heartbeat" }, { w:output("c").ok, w:output("c").timeout })
    assert.is_true((w:heartbeat(begun[1].token)))
  end)

  case("hand what they tell to the next attempt", CALLS, function(w)
    local begun = w:deferred("work")
    w:run("calls", { id = "c", input = { heartbeat = 10, retry = { max_attempts = 5, interval = 1, backoff = 1 } } })
    local seen = {}
    for attempt = 1, 3 do
      local last = begun[#begun]
      assert.equal(attempt, last.act.attempt)
      seen[attempt] = last.act.heartbeat_details or "none"
      w:heartbeat(last.token, { done = attempt * 10 })
      w:settle()
      if attempt == 2 then w:advance(11) else w:fail(begun[#begun].token, "again") w:advance(1) end
    end
    assert.same({ "none", { done = 10 }, { done = 20 } }, seen)
    w:complete(begun[#begun].token, begun[#begun].act.heartbeat_details)
    w:settle()
    assert.same({ done = 30 }, w:output("c").value)
  end, { ways = { "kept", "evicted" } })

  case("hand what they tell to the same attempt after a restart", CALLS, function(w)
    local begun = w:deferred("work")
    w:run("calls", { id = "c" })
    w:heartbeat(begun[#begun].token, { line = 17 })
    w:settle()
    w:reopen()
    w:settle()
    assert.same({ line = 17 }, begun[#begun].act.heartbeat_details)
    assert.equal(1, begun[#begun].act.attempt)
    w:complete(begun[#begun].token, "done")
    w:settle()
    assert.equal("done", w:output("c").value)
  end, { disk = true })

  case("tell an attempt that nobody wants its answer", CALLS, function(w)
    local begun = w:deferred("work")
    w:run("calls", { id = "c", input = { schedule_to_close = 60 } })
    local token = begun[#begun].token
    assert.is_false(w:heartbeat(token))
    w:advance(60)
    assert.is_true(w:heartbeat(token))
    assert.equal("schedule_to_close", w:output("c").timeout)
  end, { ways = { "kept", "evicted" } })

  case("work from within an activity in Lua", [[
    activity("work", function(input, act)
      act:heartbeat({ attempt = act.attempt, before = act.heartbeat_details })
      if act.attempt < 3 then error("again") end
      return act.heartbeat_details
    end)]] .. "\n" .. CALLS, function(w)
    w:run("calls", { id = "c", input = { retry = { max_attempts = 3, interval = 1 } } })
    w:advance(10)
    assert.same({ attempt = 2, before = { attempt = 1 } }, w:output("c").value)
  end)
end)

describe("the limit of an activity", function()
  local one_life = { ways = { "kept", "evicted" } } -- after a restart, what ran begins again

  case("concurrency lets so many run at once, of all instances, in the order in which they came", FAN, function(w)
    local begun = w:deferred("work", "pending", { concurrency = 2 })
    w:start("fan", { id = "a", input = 3 })
    w:start("fan", { id = "b", input = 3 })
    w:settle()
    for i = 1, 6 do
      assert.equal(math.min(i + 1, 6), #begun)
      w:complete(begun[i].token, i)
      w:settle()
    end
    assert.same({ 1, 2, 3 }, w:output("a"))
    assert.same({ 4, 5, 6 }, w:output("b"))
  end, one_life)

  case("concurrency does not count what is completed later", FAN, function(w)
    local begun = w:deferred("work", "complete_later", { concurrency = 2 })
    w:run("fan", { id = "f", input = 5 })
    assert.equal(5, #begun)
    for i = 1, 5 do w:complete(begun[i].token, i) end
    w:settle()
    assert.same({ 1, 2, 3, 4, 5 }, w:output("f"))
  end)

  case("concurrency frees the place of what timed out", FAN:gsub('"work", i%)', '"work", i, { timeout = 10 })'), function(w)
    local begun = w:deferred("work", "pending", { concurrency = 1 })
    w:run("fan", { id = "f", input = 3 })
    w:advance(60)
    assert.equal(3, #begun)
    assert.equal("Timeout", w:failure("f").type)
  end, one_life)

  case("rate lets so many begin in a time", FAN, function(w)
    local at = {}
    w:host("work", { rate = { 2, per = 10 } }, function(i)
      at[#at + 1] = w:time()
      return i
    end)
    w:run("fan", { id = "f", input = 6 })
    w:advance(60)
    assert.same({ 1, 2, 3, 4, 5, 6 }, w:output("f"))
    assert.same({ 0, 0, 10, 10, 20, 20 }, at)
  end, one_life)

  case("of one activity leaves others alone", FAN .. [[
    workflow("beside", function(ctx) return ctx:call_activity("other") end)]], function(w)
    w:deferred("work", "pending", { concurrency = 1 })
    w:host("other", function() return "free" end)
    w:run("fan", { id = "f", input = 5 })
    w:run("beside", { id = "b" })
    assert.equal("free", w:output("b"))
    w:terminate("f")
    w:settle()
  end, one_life)

  case("may be written in the workflow file", [[
    activity("work", { concurrency = 3, rate = "4/10s" }, function(i) return i end)
    ]] .. FAN, function(w)
    w:run("fan", { id = "f", input = 8 })
    w:advance(10)
    assert.same({ 1, 2, 3, 4, 5, 6, 7, 8 }, w:output("f"))
    assert.equal(10, w:time())
  end, one_life) -- a rate is counted anew after a restart

  case("that is none is a mistake", FAN, function(w)
    for _, options in ipairs({ { concurrency = 0 }, { concurrency = 1.5 }, { concurrency = "x" }, { rate = { 0 } }, { rate = 7 },
      { rate = { 1, per = -1 } } }) do
      assert.has_error(function() w.rt:activity("work", options, function() end) end)
    end
    for _, code in ipairs({ "{ concurrency = 0 }", "{ rate = 'often' }", "{ speed = 1 }" }) do
      local message, code_ = w:refused("load_string", "bad.lua", ("\nactivity('a', %s, function() end)"):format(code))
      assert.equal("LNT_ESYNTAX", code_)
      assert.truthy(message:find("bad.lua:2:", 1, true), message)
    end
    w:host("work", function(i) return i end)
    w:run("fan", { id = "f", input = 1 })
    assert.same({ 1 }, w:output("f"))
  end)
end)

describe("a host that asks for it is told that an answer is not wanted any more:", function()
  local function told(name, source, reason, act)
    case(name, source, function(w)
      local canceled = {}
      local begun = w:deferred("work", "pending", { cancel = function(token, why) canceled[#canceled + 1] = { token, why } end })
      w:run("w", { id = "w" })
      local token = begun[#begun].token
      act(w)
      w:settle()
      assert.same({ { token, reason } }, canceled)
    end, { ways = { "kept", "evicted" } })
  end

  told("the workflow gave it up", [[
    workflow("w", function(ctx)
      local task = ctx.async:call_activity("work")
      ctx:create_timer(1)
      task:cancel()
      ctx:create_timer(1)
    end)]], "canceled", function(w) w:advance(5) end)

  told("it timed out", [[
    workflow("w", function(ctx) pcall(ctx.call_activity, ctx, "work", nil, { timeout = 5 }) end)]], "timeout",
    function(w) w:advance(5) end)

  told("the instance was terminated", [[workflow("w", function(ctx) ctx:call_activity("work") end)]], "closed",
    function(w) w:terminate("w") end)

  told("the workflow ended without it", [[
    workflow("w", function(ctx)
      ctx.async:call_activity("work")
      ctx:create_timer(1)
    end)]], "closed", function(w) w:advance(5) end)
end)
