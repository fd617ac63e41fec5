-- Conformance: structure. Scopes, shields, map; what is left over when they end.
local case = require("spec.conformance.support").case

local ADD = [[activity("add", function(n) return n + 1 end)
]]

describe("a scope", function()
  case("gives what its function returns", ADD .. [[
    workflow("plain", function(ctx)
      local a, b, c = ctx:scope(function()
        return ctx:call_activity("add", 1), nil, "third"
      end)
      return { a, b == nil, c }
    end)]], function(w)
    w:run("plain", { id = "p" })
    assert.same({ 2, true, "third" }, w:output("p"))
  end)

  case("raises what its function raises", [[
    workflow("plain", function(ctx)
      local ok, err = pcall(ctx.scope, ctx, function() error({ type = "Inner", message = "x" }) end)
      return { ok, err.type }
    end)]], function(w)
    w:run("plain", { id = "p" })
    assert.same({ false, "Inner" }, w:output("p"))
  end)

  case("cancels the timers, waits and activities that it leaves behind", [[
    workflow("leaves", function(ctx)
      local tasks
      ctx:scope(function()
        tasks = { ctx.async:create_timer("1h"), ctx.async:wait_for_external_event("go"), ctx.async:call_activity("slow") }
        ctx:create_timer(1)
      end)
      local states = {}
      for i, task in ipairs(tasks) do states[i] = task:state() end
      return { states = states, go = ctx:wait_for_external_event("go") }
    end)]], function(w)
    local begun = w:deferred("slow")
    w:run("leaves", { id = "l" })
    w:advance(1)
    w:complete_late(begun[#begun].token, "late")
    w:settle()
    w:raise("l", "go", "kept")
    w:settle()
    assert.same({ states = { "canceled", "canceled", "canceled" }, go = "kept" }, w:output("l"))
    assert.equal(0, #w:events("l", "ActivityCompleted"))
  end)

  case("waits while a branch that it canceled cleans up", ADD .. [[
    workflow("cleans", function(ctx)
      local steps = {}
      local function note(text) steps[#steps + 1] = text end
      ctx:scope(function()
        ctx:spawn(function()
          local ok, err = pcall(ctx.create_timer, ctx, "1h")
          note(err.type)
          ctx:create_timer(5)
          note("cleaned " .. ctx:call_activity("add", 1))
          error(err)
        end)
        ctx:create_timer(1)
        note("over")
      end)
      note("after")
      return steps
    end)]], function(w)
    w:run("cleans", { id = "c" })
    w:advance(3)
    assert.equal("RUNNING", w:status("c"))
    w:advance(3)
    assert.same({ "over", "Canceled", "cleaned 2", "after" }, w:output("c"))
  end)

  case("that fails cancels the others, and then raises", [[
    workflow("fails", function(ctx)
      local seen = {}
      local ok, err = pcall(ctx.scope, ctx, function()
        ctx:spawn(function()
          local _, why = pcall(ctx.create_timer, ctx, "1h")
          seen[1] = why.type
          error(why)
        end)
        ctx:create_timer(1)
        error({ type = "Broke", message = "x" })
      end)
      return { ok = ok, type = err.type, seen = seen }
    end)]], function(w)
    w:run("fails", { id = "f" })
    w:advance(1)
    assert.same({ ok = false, type = "Broke", seen = { "Canceled" } }, w:output("f"))
  end)

  case("that takes too long raises Timeout", [[
    workflow("slow", function(ctx)
      local ok, err = pcall(ctx.scope, ctx, function() ctx:wait_for_external_event("never") end, { timeout = "10s" })
      return { ok = ok, type = err.type, at = ctx:now() - 1767225600 }
    end)]], function(w)
    w:run("slow", { id = "s" })
    w:advance(60)
    assert.same({ ok = false, type = "Timeout", at = 10 }, w:output("s"))
  end)

  case("that is in time leaves no timeout behind", ADD .. [[
    workflow("quick", function(ctx)
      local value = ctx:scope(function() return ctx:call_activity("add", 1) end, { timeout = "1h" })
      ctx:create_timer("2h")
      return value
    end)]], function(w)
    w:run("quick", { id = "q" })
    w:jump(7200)
    assert.equal(2, w:output("q"))
    assert.equal(1, #w:events("q", "TimerFired"))
  end)

  case("may clean up after its timeout", ADD .. [[
    workflow("slow", function(ctx)
      local cleaned
      local ok, err = pcall(ctx.scope, ctx, function()
        local _, why = pcall(ctx.wait_for_external_event, ctx, "never")
        ctx:create_timer(5)
        cleaned = ctx:call_activity("add", 41)
        error(why)
      end, { timeout = 10 })
      return { ok = ok, type = err.type, cleaned = cleaned, at = ctx:now() - 1767225600 }
    end)]], function(w)
    w:run("slow", { id = "s" })
    w:advance(60)
    assert.same({ ok = false, type = "Timeout", cleaned = 42, at = 15 }, w:output("s"))
  end)

  case("can be canceled from a branch beside it", [[
    workflow("outside", function(ctx)
      local inner
      local side = ctx:spawn(function()
        ctx:wait_for_external_event("stop")
        inner:cancel("no more")
      end)
      local ok, err = pcall(ctx.scope, ctx, function(scope)
        inner = scope
        ctx:create_timer("1h")
      end)
      side:await()
      return { ok = ok, type = err.type, message = err.message, canceled = inner:canceled() }
    end)]], function(w)
    w:run("outside", { id = "o" })
    w:raise("o", "stop")
    w:settle()
    assert.same({ ok = false, type = "Canceled", message = "no more", canceled = true }, w:output("o"))
  end)

  case("inside a scope ends with it", [[
    workflow("nested", function(ctx)
      local steps = {}
      local ok, err = pcall(ctx.scope, ctx, function()
        ctx:scope(function()
          ctx:spawn(function()
            local _, why = pcall(ctx.create_timer, ctx, "1h")
            steps[#steps + 1] = "branch " .. why.type
            error(why)
          end)
          local ok2, why2 = pcall(ctx.create_timer, ctx, "2h")
          steps[#steps + 1] = "inner " .. tostring(ok2) .. " " .. why2.type
          error(why2)
        end)
      end, { timeout = 10 })
      return { steps = steps, ok = ok, type = err.type }
    end)]], function(w)
    w:run("nested", { id = "n" })
    w:advance(20)
    local output = w:output("n")
    table.sort(output.steps)
    assert.same({ steps = { "branch Canceled", "inner false Canceled" }, ok = false, type = "Timeout" }, output)
  end)

  case("of the workflow itself cancels branches when the body ends, and awaits them", ADD .. [[
    workflow("root", function(ctx)
      ctx:spawn(function()
        local _, why = pcall(ctx.create_timer, ctx, "1h")
        ctx:create_timer(2)
        ctx:call_activity("add", 1)
        error(why)
      end)
      ctx:create_timer(1)
      return "done"
    end)]], function(w)
    w:run("root", { id = "r" })
    w:advance(2)
    assert.equal("RUNNING", w:status("r"))
    w:advance(2)
    assert.equal("done", w:output("r"))
    assert.equal(1, #w:events("r", "ActivityCompleted"))
  end)
end)

describe("a shield", function()
  case("keeps a cancel away until it ends", ADD .. [[
    workflow("shielded", function(ctx)
      local value
      local ok, err = pcall(function()
        value = ctx:shield(function()
          ctx:create_timer(10)
          return ctx:call_activity("add", 41)
        end)
        ctx:create_timer("1h")
      end)
      ctx:set_custom_status({ value = value, ok = ok, type = err.type, at = ctx:now() - 1767225600 })
      error(err)
    end)]], function(w)
    w:run("shielded", { id = "s" })
    w:advance(1)
    w:cancel("s", "stop it")
    w:settle()
    assert.equal("RUNNING", w:status("s"))
    w:advance(60)
    assert.equal("stop it", w:failure("s", "CANCELED").message)
    assert.same({ value = 42, ok = false, type = "Canceled", at = 10 }, w:get("s").custom_status)
  end)

  case("inside a scope with a timeout outlives the timeout", [[
    workflow("shielded", function(ctx)
      local reached
      local ok, err = pcall(ctx.scope, ctx, function()
        ctx:shield(function()
          ctx:create_timer(30)
          reached = ctx:now() - 1767225600
        end)
        ctx:create_timer(1)
        reached = "never"
      end, { timeout = 10 })
      return { ok = ok, type = err.type, reached = reached }
    end)]], function(w)
    w:run("shielded", { id = "s" })
    w:advance(60)
    assert.same({ ok = false, type = "Timeout", reached = 30 }, w:output("s"))
  end)

  case("lets terminate through", [[
    workflow("shielded", function(ctx)
      ctx:shield(function() ctx:create_timer("1h") end)
    end)]], function(w)
    w:run("shielded", { id = "s" })
    w:terminate("s", "now")
    w:settle()
    assert.equal("now", w:failure("s", "TERMINATED").message)
  end)
end)

describe("map", function()
  case("gives the results in the order of the list", ADD .. [[
    workflow("maps", function(ctx, list)
      return ctx:map(list, function(n, i) return ctx:call_activity("add", n) * 10 + i end)
    end)]], function(w)
    w:run("maps", { id = "m", input = { 5, 3, 1 } })
    assert.same({ 61, 42, 23 }, w:output("m"))
  end)

  case("of nothing gives nothing", [[
    workflow("maps", function(ctx, list) return ctx:map(list, function() error("never") end) end)]], function(w)
    w:run("maps", { id = "m", input_json = "[]" })
    assert.equal("[]", w:get("m", { json = true }).output)
  end)

  case("runs as many at once as it may, and no more", [[
    workflow("maps", function(ctx)
      local running, most = 0, 0
      local list = {}
      for i = 1, 10 do list[i] = i end
      ctx:map(list, function(i)
        running = running + 1
        most = math.max(most, running)
        ctx:create_timer(i % 3 + 1)
        running = running - 1
      end, { concurrency = 4 })
      return { most = most, left = running }
    end)]], function(w)
    w:run("maps", { id = "m" })
    w:advance(30)
    assert.same({ most = 4, left = 0 }, w:output("m"))
  end)

  case("lets the others run to their end, and raises the first failure of the list", [[
    workflow("maps", function(ctx)
      local ended = 0
      local ok, err = pcall(ctx.map, ctx, { 3, 1, 2 }, function(n, i)
        ctx:create_timer(n)
        ended = ended + 1
        if i ~= 2 then error({ type = "No" .. i, message = "x" }) end
      end)
      return { ok = ok, type = err.type, ended = ended }
    end)]], function(w)
    w:run("maps", { id = "m" })
    w:advance(10)
    assert.same({ ok = false, type = "No1", ended = 3 }, w:output("m"))
  end)

  case("that fails fast cancels the others", [[
    workflow("maps", function(ctx)
      local seen = {}
      local ok, err = pcall(ctx.map, ctx, { 30, 1, 20 }, function(n, i)
        local good, why = pcall(ctx.create_timer, ctx, n)
        seen[i] = good and "fired" or why.type
        if not good then error(why) end
        error({ type = "Fast", message = "x" })
      end, { fail_fast = true })
      return { ok = ok, type = err.type, seen = seen, at = ctx:now() - 1767225600 }
    end)]], function(w)
    w:run("maps", { id = "m" })
    w:advance(5)
    assert.same({ ok = false, type = "Fast", seen = { "Canceled", "fired", "Canceled" }, at = 1 }, w:output("m"))
  end)

  case("of a thousand items through twenty branches", ADD .. [[
    workflow("maps", function(ctx)
      local list = {}
      for i = 1, 1000 do list[i] = i end
      local results = ctx:map(list, function(n) return ctx:call_activity("add", n) end, { concurrency = 20 })
      local sum = 0
      for i, value in ipairs(results) do
        assert(value == i + 1)
        sum = sum + value
      end
      return sum
    end)]], function(w)
    w:run("maps", { id = "m" })
    assert.equal(501500, w:output("m"))
  end, { ways = { "kept", "reopened" } }) -- a replay per tick is quadratic here
end)

describe("fail_fast and cancel_losers", function()
  case("when_all raises the first failure when it happens", [[
    workflow("fast", function(ctx)
      local tasks = { ctx.async:create_timer("1h"), ctx.async:call_activity("bad"), ctx.async:wait_for_external_event("go") }
      local ok, err = pcall(ctx.when_all, ctx, tasks, { fail_fast = true })
      return { ok, err.type, tasks[1]:state(), tasks[2]:state(), tasks[3]:state() }
    end)]], function(w)
    w:host("bad", function() error({ type = "Bad", message = "x" }) end)
    w:run("fast", { id = "f" })
    assert.same({ false, "Bad", "canceled", "failed", "canceled" }, w:output("f"))
  end)

  case("when_any cancels the others when one is over", [[
    workflow("first", function(ctx)
      local tasks = { ctx.async:create_timer("1h"), ctx.async:create_timer(1), ctx.async:wait_for_external_event("go") }
      local which = ctx:when_any(tasks, { cancel_losers = true })
      return { which, tasks[1]:state(), tasks[3]:state(), ctx:wait_for_external_event("go") }
    end)]], function(w)
    w:run("first", { id = "f" })
    w:advance(1)
    w:raise("f", "go", "for the second")
    w:settle()
    assert.same({ 2, "canceled", "canceled", "for the second" }, w:output("f"))
  end)

  case("when_any with an event and a timeout in one tick loses no event", [[
    workflow("loop", function(ctx, rounds)
      local seen, timeouts = {}, 0
      while #seen < rounds do
        local wait, timer = ctx.async:wait_for_external_event("n"), ctx.async:create_timer(1)
        local which, value = ctx:when_any({ timer, wait }, { cancel_losers = true })
        if which == 2 then seen[#seen + 1] = value else timeouts = timeouts + 1 end
      end
      return { seen = seen, timeouts = timeouts > 0 }
    end)]], function(w)
    w:run("loop", { id = "l", input = 10 })
    for i = 1, 10 do
      w.now_us = w.now_us + 1e6
      w:raise("l", "n", i)
      w:settle()
      w:advance(0.5)
    end
    w:advance(5)
    assert.same({ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 }, w:output("l").seen)
  end)

  case("when_any names the place of the task that failed", [[
    workflow("first", function(ctx)
      local ok, err = pcall(ctx.when_any, ctx, { ctx.async:create_timer(60), ctx.async:call_activity("bad") })
      return { ok, err.type, err.index }
    end)]], function(w)
    w:host("bad", function() error({ type = "Bad", message = "x" }) end)
    w:run("first", { id = "f" })
    assert.same({ false, "Bad", 2 }, w:output("f"))
  end)
end)
