-- Conformance: timers. Short, zero, long, absolute, past, canceled; many at once; across restarts.
local case = require("spec.conformance.support").case

local SLEEPER = [[
workflow("sleeper", function(ctx, duration)
  local from = ctx:now()
  ctx:create_timer(duration)
  return ctx:now() - from
end)
]]

describe("a timer", function()
  case("fires when it is due, not before", SLEEPER, function(w)
    w:run("sleeper", { id = "s", input = 10 })
    w:advance(9.999999)
    assert.equal("RUNNING", w:status("s"))
    w:advance(0.000001)
    assert.equal(10, w:output("s"))
    assert.same({ Started = 1, TimerCreated = 1, TimerFired = 1, Completed = 1 }, w:kinds("s"))
  end)

  case("of zero fires at once", SLEEPER, function(w)
    w:run("sleeper", { id = "s", input = 0 })
    assert.equal(0, w:output("s"))
    assert.equal(1, #w:events("s", "TimerFired"))
  end)

  local texts = { { "10us", 0.00001 }, { "250ms", 0.25 }, { "1.5s", 1.5 }, { "1h30m", 5400 }, { "7d", 604800 }, { "2w", 1209600 } }
  for _, pair in ipairs(texts) do
    local text, seconds = pair[1], pair[2]
    case("understands \"" .. text .. "\"", SLEEPER, function(w)
      w:run("sleeper", { id = "s", input = text })
      local due = w:events("s", "TimerCreated")[1].due_us
      assert.is_true(math.abs(due - w.now_us - seconds * 1e6) < 1)
      w:jump(seconds)
      assert.is_true(math.abs(w:output("s") - seconds) < 1e-6)
    end)
  end

  case("may be a hundred years long", SLEEPER, function(w)
    w:run("sleeper", { id = "s", input = 100 * 365 * 86400 })
    w:jump(99 * 365 * 86400)
    assert.equal("RUNNING", w:status("s"))
    w:jump(365 * 86400)
    assert.equal(100 * 365 * 86400, w:output("s"))
  end)

  case("may name an absolute time", [[
    workflow("alarm", function(ctx, at)
      ctx:create_timer({ at = at })
      return ctx:now()
    end)]], function(w)
    w:run("alarm", { id = "a", input = 1767225600 + 500 })
    w:advance(499)
    assert.equal("RUNNING", w:status("a"))
    w:advance(1)
    assert.equal(1767225600 + 500, w:output("a"))
  end)

  case("at a time that is past fires at once, and now does not go back", [[
    workflow("alarm", function(ctx, at)
      ctx:create_timer({ at = at })
      return ctx:now()
    end)]], function(w)
    w:run("alarm", { id = "a", input = 1767225600 - 500 })
    assert.equal(1767225600, w:output("a"))
  end)

  case("fires late when nobody ran at the time", SLEEPER, function(w)
    w:run("sleeper", { id = "s", input = 10 })
    w:jump(3600)
    assert.equal(3600, w:output("s"))
  end)

  case("does not fire again when the clock is set back", SLEEPER, function(w)
    w:run("sleeper", { id = "s", input = 10 })
    w:advance(10)
    w.now_us = w.now_us - 20e6
    w:settle()
    w:advance(60)
    assert.equal(10, w:output("s"))
    assert.equal(1, #w:events("s", "TimerFired"))
  end)

  case("fires after a restart", SLEEPER, function(w)
    w:run("sleeper", { id = "s", input = 100 })
    w:reopen()
    w:advance(50)
    assert.equal("RUNNING", w:status("s"))
    w:reopen()
    w:advance(50)
    assert.equal(100, w:output("s"))
  end, { disk = true })

  case("that came due while nobody was there fires at the opening", SLEEPER, function(w)
    w:run("sleeper", { id = "s", input = 100 })
    w.now_us = w.now_us + 500e6
    w:reopen()
    w:settle()
    assert.equal(500, w:output("s"))
  end, { disk = true })
end)

describe("timers", function()
  case("fire in the order of their times, whatever the order of their making", [[
    workflow("order", function(ctx)
      local seen, tasks = {}, {}
      for i, seconds in ipairs({ 5, 1, 4, 2, 3 }) do
        tasks[i] = ctx:spawn(function()
          ctx:create_timer(seconds)
          seen[#seen + 1] = seconds
        end)
      end
      ctx:when_all(tasks)
      return seen
    end)]], function(w)
    w:run("order", { id = "o" })
    w:advance(10)
    assert.same({ 1, 2, 3, 4, 5 }, w:output("o"))
  end)

  case("due at one time fire in the order of their making", [[
    workflow("order", function(ctx)
      local seen, tasks = {}, {}
      for i = 1, 8 do
        tasks[i] = ctx:spawn(function()
          ctx:create_timer(5)
          seen[#seen + 1] = i
        end)
      end
      ctx:when_all(tasks)
      return seen
    end)]], function(w)
    w:run("order", { id = "o" })
    w:advance(5)
    assert.same({ 1, 2, 3, 4, 5, 6, 7, 8 }, w:output("o"))
  end)

  case("of many instances due in one second all fire in it", SLEEPER, function(w)
    for i = 1, 500 do w:start("sleeper", { id = "s" .. i, input = 60 + i / 1000 }) end
    w:settle()
    w:advance(61)
    for i = 1, 500 do assert.equal("COMPLETED", w:status("s" .. i)) end
  end, { ways = { "kept", "evicted" } })

  case("in a loop do not drift", [[
    workflow("loop", function(ctx)
      for _ = 1, 50 do ctx:create_timer(0.1) end
      return ctx:now()
    end)]], function(w)
    w:run("loop", { id = "l" })
    w:advance(5)
    assert.is_true(math.abs(w:output("l") - 1767225605) < 1e-5)
  end)
end)

describe("a canceled timer", function()
  case("never fires", [[
    workflow("change_of_mind", function(ctx)
      local timer = ctx.async:create_timer("1h")
      ctx:wait_for_external_event("stop")
      timer:cancel()
      ctx:create_timer("2h")
      return timer:done()
    end)]], function(w)
    w:run("change_of_mind", { id = "c" })
    w:raise("c", "stop")
    w:settle()
    w:advance(3 * 3600)
    assert.is_true(w:output("c"))
    assert.equal(1, #w:events("c", "TimerFired"))
    assert.equal(1, #w:events("c", "CommandCanceled"))
  end)

  case("raises Canceled in who awaits it", [[
    workflow("waits", function(ctx)
      local timer = ctx.async:create_timer("1h")
      timer:cancel()
      local ok, err = pcall(timer.await, timer)
      return { ok, err.type }
    end)]], function(w)
    w:run("waits", { id = "w" })
    assert.same({ false, "Canceled" }, w:output("w"))
  end)

  case("may be canceled again, and after it fired nothing happens", [[
    workflow("twice", function(ctx)
      local a, b = ctx.async:create_timer(1), ctx.async:create_timer(1)
      a:cancel()
      a:cancel()
      b:await()
      b:cancel()
      return { a:done(), b:done() }
    end)]], function(w)
    w:run("twice", { id = "t" })
    w:advance(2)
    assert.same({ true, true }, w:output("t"))
    assert.equal(1, #w:events("t", "CommandCanceled"))
  end)

  case("leaves nothing behind when the body ends before it fires", [[
    workflow("leaves", function(ctx)
      ctx.async:create_timer("1h")
      ctx.async:create_timer("100d")
      ctx:create_timer(1)
      return "gone"
    end)]], function(w)
    w:run("leaves", { id = "l" })
    w:advance(1)
    assert.equal("gone", w:output("l"))
    w:advance(7200)
    assert.equal(1, #w:events("l", "TimerFired"))
  end)
end)
