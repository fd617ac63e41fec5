-- Conformance: suspend and resume. What gathers meanwhile comes in order; nothing begins.
local case = require("spec.conformance.support").case

local COLLECTOR = [[
workflow("collector", function(ctx, n)
  local seen = {}
  for i = 1, n do seen[i] = ctx:wait_for_external_event("n") end
  return seen
end)
]]

describe("a suspended instance", function()
  case("gathers events and hands them out in order when it goes on", COLLECTOR, function(w)
    w:run("collector", { id = "c", input = 4 })
    w:raise("c", "n", 1)
    w:settle()
    w:suspend("c", "a pause")
    w:settle()
    assert.equal("SUSPENDED", w:status("c"))
    for i = 2, 4 do
      w:raise("c", "n", i)
      w:settle()
    end
    assert.equal("SUSPENDED", w:status("c"))
    w:resume("c")
    w:settle()
    assert.same({ 1, 2, 3, 4 }, w:output("c"))
    assert.equal("a pause", w:events("c", "Suspended")[1].value)
  end)

  case("lets a running activity end, and takes its answer when it goes on", [[
    workflow("two", function(ctx) return { ctx:call_activity("slow", 1), ctx:call_activity("slow", 2) } end)]], function(w)
    local begun = w:deferred("slow")
    w:run("two", { id = "t" })
    local token = begun[#begun].token
    w:suspend("t")
    w:complete(token, "one")
    w:settle()
    assert.equal(1, begun[#begun].input)
    w:resume("t")
    w:settle()
    assert.equal(2, begun[#begun].input)
    w:complete(begun[#begun].token, "two")
    w:settle()
    assert.same({ "one", "two" }, w:output("t"))
  end, { ways = { "kept", "evicted" } }) -- what ran when a process ended cannot end

  case("begins no activity", [[
    workflow("two", function(ctx)
      ctx:wait_for_external_event("go")
      return ctx:call_activity("count")
    end)]], function(w)
    local count = 0
    w:host("count", function()
      count = count + 1
      return count
    end)
    w:run("two", { id = "t" })
    w:suspend("t")
    w:raise("t", "go")
    w:settle()
    assert.equal(0, count)
    w:resume("t")
    w:settle()
    assert.equal(1, w:output("t"))
  end)

  case("that was suspended in the tick in which it called begins nothing until it goes on", [[
    workflow("calls", function(ctx) return ctx:call_activity("count") end)]], function(w)
    local count = 0
    w:host("count", function()
      count = count + 1
      return count
    end)
    w:start("calls", { id = "c" })
    w:suspend("c")
    w:settle()
    assert.same({ "SUSPENDED", 0 }, { w:status("c"), count })
    w:resume("c")
    w:settle()
    assert.equal(1, w:output("c"))
  end)

  case("lets its timers come due, and fires them when it goes on", [[
    workflow("sleeper", function(ctx)
      ctx:create_timer(10)
      return ctx:now() - 1767225600
    end)]], function(w)
    w:run("sleeper", { id = "s" })
    w:suspend("s")
    w:advance(60)
    assert.equal("SUSPENDED", w:status("s"))
    w:resume("s")
    w:settle()
    -- the time of the event, which came due while it slept
    assert.equal(10, w:output("s"))
  end)

  case("keeps the order of a timeout and an event that came later", [[
    workflow("race", function(ctx)
      local ok = pcall(ctx.wait_for_external_event, ctx, "go", { timeout = 10 })
      return { ok = ok, later = ctx:wait_for_external_event("go") }
    end)]], function(w)
    w:run("race", { id = "r" })
    w:suspend("r")
    w:advance(20)
    w:raise("r", "go", "late")
    w:settle()
    w:resume("r")
    w:settle()
    assert.same({ ok = false, later = "late" }, w:output("r"))
  end)

  case("keeps the order of an event and a timeout that came later", [[
    workflow("race", function(ctx)
      local ok, value = pcall(ctx.wait_for_external_event, ctx, "go", { timeout = 10 })
      return { ok = ok, value = ok and value }
    end)]], function(w)
    w:run("race", { id = "r" })
    w:suspend("r")
    w:advance(5)
    w:raise("r", "go", "in time")
    w:advance(20)
    w:resume("r")
    w:settle()
    assert.same({ ok = true, value = "in time" }, w:output("r"))
  end)

  case("makes no new attempt while it is held", [[
    workflow("retrying", function(ctx)
      return ctx:call_activity("flaky", nil, { retry = { max_attempts = 5, interval = 10, backoff = 1 } })
    end)]], function(w)
    local at = {}
    w:host("flaky", function(_, act)
      at[#at + 1] = w:time()
      if act.attempt < 3 then error("again") end
      return "ok"
    end)
    w:run("retrying", { id = "r" })
    w:suspend("r")
    w:advance(100)
    assert.same({ 0 }, at)
    w:resume("r")
    w:advance(50)
    assert.equal("ok", w:output("r"))
    assert.same({ 0, 100, 110 }, at)
  end)

  case("stays suspended across a restart", COLLECTOR, function(w)
    w:run("collector", { id = "c", input = 2 })
    w:suspend("c")
    w:settle()
    w:reopen()
    w:raise("c", "n", 1)
    w:raise("c", "n", 2)
    w:settle()
    assert.equal("SUSPENDED", w:status("c"))
    w:reopen()
    w:resume("c")
    w:settle()
    assert.same({ 1, 2 }, w:output("c"))
  end, { disk = true })

  case("can be terminated", COLLECTOR, function(w)
    w:run("collector", { id = "c", input = 2 })
    w:suspend("c")
    w:raise("c", "n", 1)
    w:settle()
    w:terminate("c", "for good")
    w:settle()
    assert.equal("for good", w:failure("c", "TERMINATED").message)
  end)

  case("that is terminated leaves no timer behind", [[
    workflow("waits", function(ctx)
      ctx.async:create_timer("1h")
      ctx:wait_for_external_event("go", { timeout = "30d" })
    end)]], function(w)
    w:run("waits", { id = "w" })
    w:suspend("w")
    w:settle()
    w:terminate("w")
    w:settle()
    assert.equal("TERMINATED", w:status("w"))
  end)

  case("can be terminated before its first turn", COLLECTOR, function(w)
    w:start("collector", { id = "c", input = 2 })
    w:suspend("c")
    w:settle()
    w:terminate("c", "never began")
    w:settle()
    assert.equal("never began", w:failure("c", "TERMINATED").message)
  end)

  case("suspended twice is suspended once", COLLECTOR, function(w)
    w:run("collector", { id = "c", input = 1 })
    w:suspend("c", "one")
    w:suspend("c", "two")
    w:settle()
    assert.equal(1, #w:events("c", "Suspended"))
    w:resume("c")
    w:resume("c")
    w:raise("c", "n", 7)
    w:settle()
    assert.same({ 7 }, w:output("c"))
    assert.equal(1, #w:events("c", "Unsuspended"))
  end)

  case("may be suspended and resumed within one tick", COLLECTOR, function(w)
    w:run("collector", { id = "c", input = 3 })
    for i = 1, 3 do
      w:suspend("c")
      w:raise("c", "n", i)
      w:resume("c")
    end
    w:settle()
    assert.same({ 1, 2, 3 }, w:output("c"))
  end)

  case("may be resumed when it was not suspended", COLLECTOR, function(w)
    w:run("collector", { id = "c", input = 1 })
    w:resume("c")
    w:settle()
    assert.equal("RUNNING", w:status("c"))
    w:raise("c", "n", 1)
    w:settle()
    assert.same({ 1 }, w:output("c"))
  end)

  case("that has ended cannot be suspended", COLLECTOR, function(w)
    w:run("collector", { id = "c", input = 0 })
    assert.equal("LNT_ECLOSED", select(2, w:refused("suspend", "c")))
    assert.equal("LNT_ECLOSED", select(2, w:refused("resume", "c")))
    assert.equal("LNT_ENOTFOUND", select(2, w:refused("suspend", "nobody")))
  end)

  case("works through a branch, a composite and a long chain", [[
    activity("double", function(n) return n * 2 end)
    workflow("long", function(ctx)
      local side = ctx:spawn(function()
        ctx:create_timer(30)
        return ctx:call_activity("double", 21)
      end)
      local sum = 0
      for i = 1, 5 do
        ctx:create_timer(10)
        sum = sum + ctx:call_activity("double", i)
      end
      return { sum, side:await() }
    end)]], function(w)
    w:run("long", { id = "l" })
    repeat
      w:suspend("l")
      w:advance(7)
      w:resume("l")
      w:settle()
    until w:status("l") ~= "RUNNING"
    assert.same({ 30, 42 }, w:output("l"))
  end)
end)
