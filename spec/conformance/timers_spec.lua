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

-- Notes the time whenever it is asked to look, until its timer fires.
local WATCHER = [[
workflow("watcher", function(ctx, seconds)
  local seen = { ctx:now() }
  ctx:spawn(function()
    while true do
      ctx:wait_for_external_event("look")
      seen[#seen + 1] = ctx:now()
    end
  end)
  ctx:create_timer(seconds)
  seen[#seen + 1] = ctx:now()
  return seen
end)
]] .. SLEEPER

local BEGIN = 1767225600

-- Seconds since the beginning of the case.
local function since_begin(times)
  local seconds = {}
  for i, time in ipairs(times) do seconds[i] = time - BEGIN end
  return seconds
end

local function times_never_fall(w, id, run)
  local last = 0
  for _, event in ipairs(w:history(id, { run = run })) do
    assert.is_true(event.time_us >= last, ("%s of %s is earlier than what stands before it"):format(event.kind, id))
    last = event.time_us
  end
end

local function look(w, id)
  w:raise(id, "look")
  w:settle()
end

local function set_clock(w, seconds)
  w.now_us = w.now_us + seconds * 1e6
  w:reopen()
  w:settle()
end

describe("a clock that is set", function()
  case("back an hour while a timer waits: it fires once, at its time; nothing goes back", WATCHER, function(w)
    w:run("watcher", { id = "x", input = 600 })
    w:advance(100)
    look(w, "x")
    set_clock(w, -3600)
    look(w, "x")
    w:run("sleeper", { id = "s", input = 5 }) -- who comes now lives by the clock as it is
    w:advance(5)
    assert.equal(5, w:output("s"))
    w:advance(3600 + 494)
    assert.equal("RUNNING", w:status("x"))
    w:advance(1)
    assert.same({ 0, 100, 100, 600 }, since_begin(w:output("x")))
    assert.equal(1, #w:events("x", "TimerFired"))
    times_never_fall(w, "x")
    times_never_fall(w, "s")
  end, { disk = true })

  case("back, and an instance hears of it that is not in memory: its history goes on from where it was", WATCHER, function(w)
    w:run("watcher", { id = "x", input = 600 })
    w:advance(300)
    look(w, "x")
    w.now_us = w.now_us - 250e6
    look(w, "x")
    w:terminate("x")
    w:settle()
    times_never_fall(w, "x")
    assert.is_true(w:get("x").closed_us >= (BEGIN + 300) * 1e6)
  end)

  case("forward a day: what came due meanwhile fires at once, each once, in the order of its time", WATCHER .. [[
    workflow("many", function(ctx)
      local order = {}
      for _, seconds in ipairs({ 50000, 600, 90000, 3600, 86400 }) do
        ctx:spawn(function() ctx:create_timer(seconds) order[#order + 1] = seconds end)
      end
      ctx:create_timer(90001)
      return order
    end)]], function(w)
    w:run("watcher", { id = "x", input = 600 })
    w:run("many", { id = "m" })
    set_clock(w, 86400)
    assert.same({ 0, 86400 }, since_begin(w:output("x")))
    assert.equal(4, #w:events("m", "TimerFired"))
    set_clock(w, -3600)
    w:advance(3600 + 3601)
    assert.same({ 600, 3600, 50000, 86400, 90000 }, w:output("m"))
    times_never_fall(w, "m")
  end, { disk = true })

  case("back between generations: none of them sees an earlier time than the one before", [[
    workflow("again", function(ctx, seen)
      seen[#seen + 1] = ctx:now()
      ctx:wait_for_external_event("go")
      seen[#seen + 1] = ctx:now()
      if #seen < 6 then ctx:continue_as_new(seen) end
      return seen
    end)]], function(w)
    w:run("again", { id = "a", input = {} })
    for _, seconds in ipairs({ 100, -3600, -3600 }) do
      set_clock(w, seconds)
      w:raise("a", "go")
      w:settle()
    end
    assert.same({ 0, 100, 100, 100, 100, 100 }, since_begin(w:output("a")))
    for _, listed in ipairs(w:list({ status = { "COMPLETED", "CONTINUED_AS_NEW" } })) do times_never_fall(w, "a", listed.run) end
  end, { disk = true })
end)

describe("a runtime with timers", function()
  local function next_due(w) return w:settle().next_due_us end

  case("wakes for the next of them, however far it is, and for nothing else", SLEEPER .. [[
    workflow("early", function(ctx)
      local timer = ctx.async:create_timer(1000)
      ctx:wait_for_external_event("go")
      timer:cancel()
      ctx:wait_for_external_event("go")
    end)]], function(w)
    w:run("sleeper", { id = "s", input = "3650d" })
    local far = w:events("s", "TimerCreated")[1].due_us
    assert.equal(far, next_due(w))
    w:run("sleeper", { id = "t", input = 7 * 86400 })
    assert.equal(w:events("t", "TimerCreated")[1].due_us, next_due(w))
    w:run("early", { id = "e" })
    assert.equal(w.now_us + 1000e6, next_due(w))
    w:raise("e", "go")
    w:settle()
    w:jump(1000) -- its timer is gone: this is the last time that anybody thinks of it
    assert.equal(w:events("t", "TimerCreated")[1].due_us, next_due(w))
    w:jump(7 * 86400)
    assert.equal(far, next_due(w))
    w:terminate("e")
    w:jump(3650 * 86400)
    assert.is_true(w:output("s") >= 3650 * 86400)
  end)

  case("fires 10,000 of one instance that are due at one instant in one tick, in one turn", [[
    workflow("many", function(ctx, count)
      local timers = {}
      for i = 1, count do timers[i] = ctx.async:create_timer(3600) end
      ctx:when_all(timers)
      return count
    end)]], function(w)
    w:run("many", { id = "m", input = 10000 })
    w.now_us = w.now_us + 3600e6
    local result = w:tick()
    assert.equal(1, result.turns)
    w:settle()
    assert.equal(10000, w:output("m"))
    assert.equal(10000, #w:events("m", "TimerFired"))
  end, { ways = { "kept", "reopened" } })

  case("fires 10,000 of 1,000 instances in one tick, with one turn of each", [[
    workflow("ten", function(ctx)
      local timers = {}
      for i = 1, 10 do timers[i] = ctx.async:create_timer({ at = 1767225600 + 3600 }) end
      ctx:when_all(timers)
    end)]], function(w)
    for i = 1, 1000 do w:start("ten", { id = "t" .. i }) end
    w:settle()
    w.now_us = w.now_us + 3600e6
    local result = w:tick()
    assert.equal(1000, result.turns)
    w:settle()
    assert.equal(1000, w:count({ status = "COMPLETED" }).total)
    for i = 1, 1000, 111 do assert.equal(10, #w:events("t" .. i, "TimerFired")) end
  end, { ways = { "kept", "reopened" }, alike = false }) -- a picture of all of them takes long
end)
