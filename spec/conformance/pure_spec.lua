-- Conformance: steps without side effects (`pure = true`). They may begin before they are durable, and share a commit; what comes of it
-- is what comes of other steps.
local case = require("spec.conformance.support").case

local PURE = [[
activity("twice", { pure = true }, function(n) return 2 * n end)
activity("odd", { pure = true }, function(n)
  if n % 2 == 0 then error({ type = "Even", message = tostring(n) }) end
  return n
end)
activity("never", { pure = true }, function() error({ type = "Never", message = "no", retryable = false }) end)
workflow("chain", function(ctx, n)
  local out = {}
  for i = 1, n do out[i] = ctx:call_activity("twice", i) end
  return out
end)
]]

describe("a step without side effects", function()
  case("gives its result, and a chain of them each its own", PURE, function(w)
    w:run("chain", { id = "c", input = 50 })
    local output = w:output("c")
    assert.equal(50, #output)
    for i = 1, 50 do assert.equal(2 * i, output[i]) end
    assert.equal(50, #w:events("c", "ActivityCompleted"))
  end)

  case("shares a commit with the others of its chain", PURE, function(w)
    local before = w:stats().commits
    w:run("chain", { id = "c", input = 50 })
    assert.is_true(w:stats().commits - before <= 3)
  end, { ways = { "kept", "evicted" } }) -- counters begin anew with the runtime

  case("may fail, and the failure can be caught", PURE .. [[
    workflow("tries", function(ctx)
      local seen = {}
      for i = 1, 4 do
        local ok, e = pcall(ctx.call_activity, ctx, "odd", i)
        seen[i] = ok and "ok" or e.type
      end
      return seen
    end)]], function(w)
    w:run("tries", { id = "t" })
    assert.same({ "ok", "Even", "ok", "Even" }, w:output("t"))
  end)

  case("that fails fails its workflow", PURE .. [[
    workflow("fails", function(ctx)
      ctx:call_activity("twice", 1)
      return ctx:call_activity("never")
    end)]], function(w)
    w:run("fails", { id = "f" })
    assert.equal("Never", w:failure("f").type)
  end)

  case("is tried again by its policy, at its times", PURE .. [[
    workflow("again", function(ctx)
      local ok, e = pcall(ctx.call_activity, ctx, "odd", 2, { retry = { max_attempts = 3, first_interval = 10 } })
      return { ok = ok, type = e.type, at = ctx:now() }
    end)]], function(w)
    local began = w.now_us / 1e6
    w:run("again", { id = "a" })
    w:advance(60)
    assert.same({ ok = false, type = "Even", at = began + 30 }, w:output("a"))
    assert.equal(2, #w:events("a", "ActivityRetried"))
  end)

  case("mixes with others, timers, events and children in their order", PURE .. [[
    activity("other", function(n) return n + 1 end)
    workflow("kid", function(ctx, n) return ctx:call_activity("twice", n) end)
    workflow("mixed", function(ctx, n)
      n = ctx:call_activity("twice", n)
      n = ctx:call_activity("other", n)
      ctx:create_timer(5)
      n = ctx:call_activity("twice", n)
      n = ctx:call_child_workflow("kid", n)
      n = n + ctx:wait_for_external_event("n")
      return ctx:call_activity("twice", n)
    end)]], function(w)
    w:run("mixed", { id = "m", input = 1 })
    w:advance(5)
    w:raise("m", "n", 100)
    w:settle()
    assert.equal(224, w:output("m"))
  end)

  case("runs in branches beside others", PURE .. [[
    activity("other", function(n) return n + 1 end)
    workflow("fan", function(ctx)
      local tasks = {}
      for i = 1, 10 do tasks[i] = ctx.async:call_activity(i % 2 == 0 and "twice" or "other", i) end
      local sums = ctx:map({ 1, 2, 3 }, function(n) return ctx:call_activity("twice", ctx:call_activity("twice", n)) end)
      return { tasks = ctx:when_all(tasks), sums = sums }
    end)]], function(w)
    w:run("fan", { id = "f" })
    assert.same({ tasks = { 2, 4, 4, 8, 6, 12, 8, 16, 10, 20 }, sums = { 4, 8, 12 } }, w:output("f"))
  end)

  case("is not begun twice in the journal when the process ends before its commit", PURE .. [[
    workflow("long", function(ctx)
      local sum = 0
      for i = 1, 20 do
        sum = sum + ctx:call_activity("twice", i)
        if i % 5 == 0 then ctx:create_timer(0) end
      end
      return sum
    end)]], function(w)
    w:start("long", { id = "l" })
    for _ = 1, 12 do
      w:tick()
      w:reopen() -- whatever was not committed is gone
    end
    w:settle()
    assert.equal(420, w:output("l"))
    assert.equal(20, #w:events("l", "ActivityScheduled"))
    assert.equal(20, #w:events("l", "ActivityCompleted"))
  end, { ways = { "reopened" } })

  case("that loses a race is given up, and its answer is not seen", PURE .. [[
    workflow("race", function(ctx)
      local timer = ctx.async:create_timer(0)
      local step = ctx.async:call_activity("twice", 4)
      step:cancel()
      local ok, e = pcall(step.await, step)
      timer:await()
      return { ok, e.type, step:state() }
    end)]], function(w)
    w:run("race", { id = "r" })
    assert.same({ false, "Canceled", "canceled" }, w:output("r"))
  end)

  case("may be of the host", [[
    workflow("hosted", function(ctx, n) return ctx:call_activity("host", n) end)]], function(w)
    w:host("host", { pure = true }, function(n) return { n, n } end)
    w:run("hosted", { id = "h", input = 3 })
    assert.same({ 3, 3 }, w:output("h"))
  end)

  case("makes a fork that has its answers, and a rerun that asks again", PURE .. [[
    workflow("gated", function(ctx)
      local a = ctx:call_activity("twice", 3)
      local b = ctx:wait_for_external_event("go")
      return a + b
    end)]], function(w)
    w:run("gated", { id = "g" })
    w:fork("g", { new_id = "f" })
    for _, id in ipairs({ "g", "f" }) do
      w:raise(id, "go", 100)
      w:settle()
      assert.equal(106, w:output(id))
    end
    w:rerun("g", { event = 2, new_id = "r", input = 50 })
    w:settle()
    w:raise("r", "go", 1)
    w:settle()
    assert.equal(101, w:output("r"))
  end)
end)
