-- Conformance: activities. Failures, retries and their timing, early, late and duplicate answers.
local case = require("spec.conformance.support").case

-- A host activity that fails `times` times and then answers; `at` gathers when each attempt began, in seconds.
local function flaky(world, times, failure)
  local at = {}
  world:host("flaky", function(_, act)
    at[#at + 1] = world:time()
    if act.attempt <= times then error(failure or { type = "Flaky", message = "attempt " .. act.attempt }) end
    return "ok after " .. act.attempt
  end)
  return at
end

local RETRYING = [[
workflow("retrying", function(ctx, policy) return ctx:call_activity("flaky", nil, { retry = policy }) end)
]]

local CAREFUL = [[
workflow("careful", function(ctx, options)
  local ok, err = pcall(ctx.call_activity, ctx, "flaky", nil, options)
  if ok then return { ok = true, value = err } end
  return { ok = false, type = err.type, message = err.message, retryable = err.retryable, details = err.details, text = tostring(err) }
end)
]]

describe("a failed activity", function()
  case("raises in the workflow, which fails with it", RETRYING, function(w)
    flaky(w, 1)
    w:run("retrying", { id = "r", input = { max_attempts = 1 } })
    local failure = w:failure("r")
    assert.equal("Flaky", failure.type)
    assert.truthy(failure.message:find("attempt 1", 1, true))
  end)

  case("can be caught, with type, message and details", CAREFUL, function(w)
    flaky(w, 9, { type = "CardDeclined", message = "no money", details = { code = 51 } })
    w:run("careful", { id = "c" })
    local output = w:output("c")
    assert.same({ false, "CardDeclined", "no money", { code = 51 } }, { output.ok, output.type, output.message, output.details })
    assert.truthy(output.text:find("CardDeclined", 1, true))
    assert.truthy(output.text:find("no money", 1, true))
  end)

  case("is an error of type Error when plain text was raised", [[
    activity("flaky", function() error("plain") end)]] .. "\n" .. CAREFUL, function(w)
    w:run("careful", { id = "c" })
    assert.equal("Error", w:output("c").type)
    assert.truthy(w:output("c").message:find("plain", 1, true))
  end)

  case("does not keep the others of a chain from running", [[
    workflow("goes_on", function(ctx)
      local results = {}
      for i = 1, 4 do
        local ok, value = pcall(ctx.call_activity, ctx, "odd", i)
        results[i] = ok and value or value.type
      end
      return results
    end)]], function(w)
    w:host("odd", function(n)
      if n % 2 == 0 then error({ type = "Even", message = "even" }) end
      return n
    end)
    w:run("goes_on", { id = "g" })
    assert.same({ 1, "Even", 3, "Even" }, w:output("g"))
  end)

  case("keeps the cause of an error that was raised again", [[
    workflow("wraps", function(ctx)
      local ok, err = pcall(ctx.call_activity, ctx, "flaky")
      if not ok then error({ type = "OrderFailed", message = "the order failed", cause = err }) end
    end)]], function(w)
    flaky(w, 9, { type = "CardDeclined", message = "no money" })
    w:run("wraps", { id = "w" })
    local failure = w:failure("w")
    assert.equal("OrderFailed", failure.type)
    assert.equal("CardDeclined", failure.cause.type)
    assert.equal("no money", failure.cause.message)
  end)

  case("that nobody registered says which there are", CAREFUL, function(w)
    w:host("other", function() end)
    w:run("careful", { id = "c" })
    local output = w:output("c")
    assert.equal("ActivityNotRegistered", output.type)
    assert.truthy(output.message:find("'flaky'", 1, true))
    assert.truthy(output.message:find("'other'", 1, true))
  end)

  case("whose result is no data fails the attempt", [[
    activity("flaky", function() return { items = { 1, print } } end)]] .. "\n" .. CAREFUL, function(w)
    w:run("careful", { id = "c" })
    assert.equal("InvalidValue", w:output("c").type)
    assert.truthy(w:output("c").message:find("result.items[2]", 1, true))
  end)
end)

describe("retries", function()
  case("stop at the first success", RETRYING, function(w)
    local at = flaky(w, 2)
    w:run("retrying", { id = "r", input = { max_attempts = 5, interval = 1, backoff = 1 } })
    w:advance(10)
    assert.equal("ok after 3", w:output("r"))
    assert.same({ 0, 1, 2 }, at)
    assert.same({ Started = 1, ActivityScheduled = 1, ActivityRetried = 2, ActivityCompleted = 1, Completed = 1 }, w:kinds("r"))
  end)

  case("stop at max_attempts, which counts the first try", RETRYING, function(w)
    local at = flaky(w, 99)
    w:run("retrying", { id = "r", input = { max_attempts = 3, interval = 2, backoff = 1 } })
    w:advance(100)
    assert.equal("Flaky", w:failure("r").type)
    assert.same({ 0, 2, 4 }, at)
  end)

  case("wait min(first * coefficient ^ (n - 1), max)", RETRYING, function(w)
    local at = flaky(w, 99)
    w:run("retrying", { id = "r", input = { max_attempts = 7, interval = 1, backoff = 2, max_interval = 10 } })
    w:advance(200)
    assert.equal("Flaky", w:failure("r").type)
    assert.same({ 0, 1, 3, 7, 15, 25, 35 }, at) -- 1, 2, 4, 8, 10, 10
  end)

  case("wait by a coefficient that is no integer", RETRYING, function(w)
    local at = flaky(w, 99)
    w:run("retrying", { id = "r", input = { max_attempts = 4, interval = "100ms", backoff = 1.5 } })
    w:advance(10)
    for i, seconds in ipairs({ 0, 0.1, 0.25, 0.475 }) do assert.is_true(math.abs(at[i] - seconds) < 2e-6) end
  end)

  case("with an interval of zero follow at once", RETRYING, function(w)
    local at = flaky(w, 3)
    w:run("retrying", { id = "r", input = { max_attempts = 4, interval = 0 } })
    assert.equal("ok after 4", w:output("r"))
    assert.same({ 0, 0, 0, 0 }, at)
  end)

  case("do not happen for a failure that says it is not retryable", RETRYING, function(w)
    local at = flaky(w, 99, { type = "Fatal", message = "no", retryable = false })
    w:run("retrying", { id = "r", input = { max_attempts = 5 } })
    w:advance(100)
    assert.equal("Fatal", w:failure("r").type)
    assert.same({ 0 }, at)
  end)

  case("do not happen for a type that the policy names", RETRYING, function(w)
    local at = flaky(w, 99)
    w:run("retrying", { id = "r", input = { max_attempts = 5, non_retryable = { "Other", "Flaky" } } })
    w:advance(100)
    assert.equal("Flaky", w:failure("r").type)
    assert.same({ 0 }, at)
  end)

  case("do not happen for a failure of type NonRetryableError", RETRYING, function(w)
    local at = flaky(w, 99, { type = "NonRetryableError", message = "never" })
    w:run("retrying", { id = "r", input = { max_attempts = 5 } })
    w:advance(100)
    assert.equal("NonRetryableError", w:failure("r").type)
    assert.same({ 0 }, at)
  end)

  case("stop when the delays so far make up the policy's timeout", RETRYING, function(w)
    local at = flaky(w, 99)
    w:run("retrying", { id = "r", input = { max_attempts = 99, interval = 1, backoff = 2, timeout = 10 } })
    w:advance(300)
    assert.equal("Flaky", w:failure("r").type)
    assert.same({ 0, 1, 3, 7, 15 }, at) -- 1 + 2 + 4 is less than 10, so one more delay follows
  end)

  case("stop at exactly the policy's timeout", RETRYING, function(w)
    local at = flaky(w, 99)
    w:run("retrying", { id = "r", input = { max_attempts = 99, interval = 5, backoff = 1, timeout = 10 } })
    w:advance(300)
    assert.equal("Flaky", w:failure("r").type)
    assert.same({ 0, 5, 10 }, at)
  end)

  case("count delays only, not what the attempts took", [[
    workflow("retrying", function(ctx, policy) return ctx:call_activity("slow", nil, { retry = policy }) end)]], function(w)
    local begun = w:deferred("slow")
    w:run("retrying", { id = "r", input = { max_attempts = 99, interval = 5, backoff = 1, timeout = 10 } })
    for attempt = 1, 3 do
      w:advance(100)
      assert.equal(attempt, begun[#begun].act.attempt)
      w:fail(begun[#begun].token, "slow and bad")
      w:advance(5)
    end
    assert.truthy(w:failure("r").message:find("slow and bad", 1, true))
  end)

  case("do not happen without a policy", CAREFUL, function(w)
    local at = flaky(w, 99)
    w:run("careful", { id = "c" })
    w:advance(100)
    assert.is_false(w:output("c").ok)
    assert.same({ 0 }, at)
  end)

  case("carry one idempotency key, and each step another", [[
    workflow("two", function(ctx)
      local retry = { retry = { max_attempts = 3, interval = 1 } }
      ctx:call_activity("keyed", 1, retry)
      ctx:call_activity("keyed", 2, retry)
    end)]], function(w)
    local keys = { {}, {} }
    w:host("keyed", function(step, act)
      keys[step][act.attempt] = act.idempotency_key
      if act.attempt < 3 then error("again") end
    end)
    w:run("two", { id = "t" })
    w:advance(10)
    assert.is_nil(w:output("t"))
    for step = 1, 2 do
      assert.equal(3, #keys[step])
      assert.equal(keys[step][1], keys[step][2])
      assert.equal(keys[step][1], keys[step][3])
    end
    assert.are_not.equal(keys[1][1], keys[2][1])
  end)

  case("of several activities wait side by side", [[
    workflow("many", function(ctx)
      local tasks = {}
      for i = 1, 3 do
        tasks[i] = ctx.async:call_activity("flaky", i, { retry = { max_attempts = 4, interval = i, backoff = 1 } })
      end
      return ctx:when_all(tasks)
    end)]], function(w)
    flaky(w, 3)
    w:run("many", { id = "m" })
    w:advance(3)
    assert.equal("RUNNING", w:status("m"))
    w:advance(6)
    assert.same({ "ok after 4", "ok after 4", "ok after 4" }, w:output("m"))
  end)

  case("keep the instance's now at the time of the answer", [[
    workflow("timed", function(ctx)
      local from = ctx:now()
      ctx:call_activity("flaky", nil, { retry = { max_attempts = 3, interval = 5, backoff = 1 } })
      return ctx:now() - from
    end)]], function(w)
    flaky(w, 2)
    w:run("timed", { id = "t" })
    w:advance(60)
    assert.equal(10, w:output("t"))
  end)
end)

describe("an answer from outside", function()
  case("ends the step when it comes", CAREFUL, function(w)
    local begun = w:deferred("flaky")
    w:run("careful", { id = "c" })
    w:advance(3600)
    assert.equal("RUNNING", w:status("c"))
    w:complete(begun[#begun].token, { n = 1 })
    w:settle()
    assert.same({ ok = true, value = { n = 1 } }, w:output("c"))
  end)

  case("may be a failure, which the retry policy judges", CAREFUL, function(w)
    local begun = w:deferred("flaky")
    w:run("careful", { id = "c", input = { retry = { max_attempts = 2, interval = 1 } } })
    w:fail(begun[#begun].token, { type = "Busy", message = "later" })
    w:advance(1)
    assert.equal(2, begun[#begun].act.attempt)
    w:fail(begun[#begun].token, { type = "Busy", message = "still" })
    w:settle()
    assert.same({ false, "Busy", "still" }, { w:output("c").ok, w:output("c").type, w:output("c").message })
  end)

  case("given twice counts once: the first", [[
    workflow("pair", function(ctx) return { ctx:call_activity("slow", 1), ctx:call_activity("slow", 2) } end)]], function(w)
    local begun = w:deferred("slow")
    w:run("pair", { id = "p" })
    local first = begun[#begun].token
    w:complete(first, "first")
    w:complete(first, "again")
    w:settle()
    w:complete_late(first, "late")
    w:complete(begun[#begun].token, "second")
    w:settle()
    assert.same({ "first", "second" }, w:output("p"))
    assert.equal(2, #w:events("p", "ActivityCompleted"))
  end)

  case("for an earlier attempt is stale", CAREFUL, function(w)
    local begun = w:deferred("flaky")
    w:run("careful", { id = "c", input = { retry = { max_attempts = 3, interval = 1 } } })
    local old = begun[#begun].token
    w:fail(old, "once")
    w:advance(1)
    w:complete_late(old, "from the first attempt")
    w:settle()
    assert.equal("RUNNING", w:status("c"))
    w:complete(begun[#begun].token, "from the second")
    w:settle()
    assert.equal("from the second", w:output("c").value)
  end)

  case("for a token that names nothing is refused", CAREFUL, function(w)
    local begun = w:deferred("flaky")
    w:run("careful", { id = "c" })
    w:complete_late("999:1:1", "who?", "LNT_ENOTFOUND")
    w:complete_late((begun[#begun].token:gsub(":%d+:", ":77:")), "who?", "LNT_ENOTFOUND")
    w:settle()
    assert.equal("RUNNING", w:status("c"))
    w:complete(begun[#begun].token, "me")
    w:settle()
    assert.equal("me", w:output("c").value)
  end)

  case("may come before the tick that would have asked again", CAREFUL, function(w)
    local token
    w:host("flaky", function(_, act)
      token = act:pending()
      assert(w.rt:complete(token, "at once"))
    end)
    w:run("careful", { id = "c" })
    assert.equal("at once", w:output("c").value)
  end)

  case("in any order ends each step with its own answer", [[
    workflow("fan", function(ctx)
      local tasks = {}
      for i = 1, 5 do tasks[i] = ctx.async:call_activity("slow", i) end
      return ctx:when_all(tasks)
    end)]], function(w)
    local begun = w:deferred("slow")
    w:run("fan", { id = "f" })
    local latest = {}
    for _, attempt in ipairs(begun) do latest[attempt.input] = attempt.token end
    for _, i in ipairs({ 3, 1, 5, 2, 4 }) do
      w:complete(latest[i], i * 10)
      w:settle()
    end
    assert.same({ 10, 20, 30, 40, 50 }, w:output("f"))
  end)

  case("for an instance that ended is ignored", CAREFUL, function(w)
    local begun = w:deferred("flaky")
    w:run("careful", { id = "c" })
    w:terminate("c", "enough")
    w:settle()
    w:complete_late(begun[#begun].token, "late")
    w:settle()
    assert.equal("enough", w:failure("c", "TERMINATED").message)
    assert.equal(0, #w:events("c", "ActivityCompleted"))
  end)
end)

describe("the timeout of an activity", function()
  -- After a restart an attempt begins again, and what is measured from its start too.
  local one_life = { ways = { "kept", "evicted" } }

  case("fails the attempt, and a late answer is ignored", CAREFUL, function(w)
    local begun = w:deferred("flaky")
    w:run("careful", { id = "c", input = { timeout = 10 } })
    w:advance(9)
    assert.equal("RUNNING", w:status("c"))
    w:advance(1)
    assert.same({ false, "Timeout", "start_to_close" }, { w:output("c").ok, w:output("c").type, w:output("c").details.timeout })
    w:complete_late(begun[1].token, "late")
    w:settle()
    assert.equal(0, #w:events("c", "ActivityCompleted"))
  end, one_life)

  case("start_to_close is retried like any failure", CAREFUL, function(w)
    local begun = w:deferred("flaky")
    w:run("careful", { id = "c", input = { start_to_close = 10, retry = { max_attempts = 3, interval = 5, backoff = 1 } } })
    w:advance(16)
    assert.equal(2, #begun)
    w:complete_late(begun[1].token, "of the first")
    w:complete(begun[2].token, "of the second")
    w:settle()
    assert.equal("of the second", w:output("c").value)
  end, one_life)

  case("and its answer in one tick end one way", CAREFUL, function(w)
    local begun = w:deferred("flaky")
    w:run("careful", { id = "c", input = { timeout = 10 } })
    w.now_us = w.now_us + 10e6
    w:complete(begun[1].token, "just in time")
    w:settle()
    assert.equal("just in time", w:output("c").value)
    assert.equal(0, #w:events("c", "ActivityFailed"))
  end, one_life)

  case("schedule_to_start strikes while others have the place, and is final", [[
    workflow("queue", function(ctx)
      local first = ctx.async:call_activity("slow", 1)
      local ok, err = pcall(ctx.call_activity, ctx, "slow", 2, { schedule_to_start = 10, retry = { max_attempts = 5 } })
      return { first = first:await(), ok = ok, timeout = err.details.timeout, at = ctx:now() - 1767225600 }
    end)]], function(w)
    local begun = w:deferred("slow")
    w:run("queue", { id = "q" })
    w:advance(30)
    w:complete(begun[1].token, "first")
    w:settle()
    assert.same({ first = "first", ok = false, timeout = "schedule_to_start", at = 30 }, w:output("q"))
    assert.equal(1, #begun)
  end, { ways = { "kept", "evicted" }, limits = { activities_running_max = 1 } })

  case("schedule_to_close bounds all attempts together", CAREFUL, function(w)
    local at = flaky(w, 99)
    w:run("careful", { id = "c", input = { schedule_to_close = 25, retry = { max_attempts = 99, interval = 10, backoff = 1 } } })
    w:advance(100)
    -- The attempt at 30 could not begin in time, so the failure at 20 is the last word.
    assert.same({ 0, 10, 20 }, at)
    assert.same({ false, "Flaky" }, { w:output("c").ok, w:output("c").type })
  end)

  case("schedule_to_close strikes an attempt that runs, also after restarts", CAREFUL, function(w)
    w:deferred("flaky")
    w:run("careful", { id = "c", input = { schedule_to_close = 25, retry = { max_attempts = 99 } } })
    w:advance(24)
    assert.equal("RUNNING", w:status("c"))
    w:advance(1)
    assert.same({ false, "Timeout", "schedule_to_close" }, { w:output("c").ok, w:output("c").type, w:output("c").details.timeout })
  end)

  case("heartbeat strikes an attempt that gives no sign of life", CAREFUL, function(w)
    local begun = w:deferred("flaky")
    w:run("careful", { id = "c", input = { heartbeat = 10, retry = { max_attempts = 2, interval = 0 } } })
    w:advance(15)
    assert.equal(2, begun[#begun].act.attempt)
    w:advance(10)
    assert.same({ false, "Timeout", "heartbeat" }, { w:output("c").ok, w:output("c").type, w:output("c").details.timeout })
  end, one_life)

  for text, options in pairs({
    ["timeout is longer than schedule_to_close"] = { timeout = 20, schedule_to_close = 10 },
    ["schedule_to_start is longer than schedule_to_close"] = { schedule_to_start = 20, schedule_to_close = 10 },
    ["heartbeat is longer than timeout"] = { heartbeat = 20, timeout = 10 },
    ["timeout and start_to_close are the same"] = { timeout = 10, start_to_close = 10 },
    ["retry.max_interval is shorter than retry.first_interval"] = { retry = { interval = 10, max_interval = 5 } },
    ["retry.timeout of 0"] = { retry = { timeout = 0 } },
  }) do
    case("that contradicts another is refused: " .. text, [[workflow("bad", function(ctx, options)
  local value = ctx:call_activity("flaky", nil, options)
  return value
end)]], function(w)
      w:run("bad", { id = "b", input = options })
      assert.truthy(w:failure("b").message:find("case.lua:2:", 1, true), w:failure("b").message)
      assert.truthy(w:failure("b").message:find(text, 1, true), w:failure("b").message)
      assert.same({ Started = 1, Failed = 1 }, w:kinds("b"))
    end)
  end
end)

describe("the second argument of an activity", function()
  case("is there for whatever takes one, also by `...` and through a wrapper", [[
    local function told(act) return act and act.instance_id == "a" end
    local function wrapped(fn) return function(...) return fn(...) end end
    activity("named", function(_, act) return told(act) end)
    activity("dots", function(...) return told((select(2, ...))) end)
    activity("wrapped", wrapped(function(_, act) return told(act) end))
    activity("none", function(n) return n == 1 end)
    workflow("asks", function(ctx)
      local all = {}
      for i, name in ipairs({ "named", "dots", "wrapped", "none" }) do all[i] = ctx:call_activity(name, 1) end
      return all
    end)]], function(w)
    w:run("asks", { id = "a" })
    assert.same({ true, true, true, true }, w:output("a"))
  end)
end)
