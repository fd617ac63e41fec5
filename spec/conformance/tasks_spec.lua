-- Conformance: tasks. Fan-out and fan-in, when_all, when_any, losers, nesting, branches.
local case = require("spec.conformance.support").case

local DOUBLE = [[activity("double", function(n) return n * 2 end)
]]

describe("fan-out and fan-in", function()
  case("gives results in the order of the tasks", DOUBLE .. [[
    workflow("fan", function(ctx, n)
      local tasks = {}
      for i = 1, n do tasks[i] = ctx.async:call_activity("double", i) end
      local sum = 0
      for i, value in ipairs(ctx:when_all(tasks)) do
        assert(value == i * 2)
        sum = sum + value
      end
      return sum
    end)]], function(w)
    w:run("fan", { id = "f", input = 100 })
    assert.equal(10100, w:output("f"))
    assert.same({ Started = 1, ActivityScheduled = 100, ActivityCompleted = 100, Completed = 1 }, w:kinds("f"))
  end)

  case("runs the activities side by side", [[
    workflow("fan", function(ctx, n)
      local tasks = {}
      for i = 1, n do tasks[i] = ctx.async:call_activity("slow", i) end
      return #ctx:when_all(tasks)
    end)]], function(w)
    local begun = w:deferred("slow")
    w:run("fan", { id = "f", input = 50 })
    assert.is_true(#begun >= 50)
    for i = 1, 50 do w:complete(begun[#begun - 50 + i].token, i) end
    w:settle()
    assert.equal(50, w:output("f"))
  end)

  case("of a thousand comes together", DOUBLE .. [[
    workflow("fan", function(ctx, n)
      local tasks = {}
      for i = 1, n do tasks[i] = ctx.async:call_activity("double", i) end
      return #ctx:when_all(tasks)
    end)]], function(w)
    w:run("fan", { id = "f", input = 1000 })
    assert.equal(1000, w:output("f"))
  end)

  case("may be repeated in rounds", DOUBLE .. [[
    workflow("rounds", function(ctx)
      local list = { 1, 2, 3 }
      for _ = 1, 3 do
        local tasks = {}
        for i, n in ipairs(list) do tasks[i] = ctx.async:call_activity("double", n) end
        list = ctx:when_all(tasks)
      end
      return list
    end)]], function(w)
    w:run("rounds", { id = "r" })
    assert.same({ 8, 16, 24 }, w:output("r"))
  end)
end)

describe("when_all", function()
  case("of nothing is done at once", [[
    workflow("none", function(ctx)
      local results = ctx:when_all({})
      return { count = #results, results = results }
    end)]], function(w)
    w:run("none", { id = "n" })
    assert.same({ count = 0, results = {} }, w:output("n"))
    assert.equal('{"count":0,"results":[]}', w:get("n", { json = true }).output)
  end)

  case("waits for all, then raises the first failure in the order of the list", [[
    workflow("all", function(ctx)
      local tasks = {}
      for i = 1, 4 do tasks[i] = ctx.async:call_activity("slow", i) end
      local ok, err = pcall(ctx.when_all, ctx, tasks)
      return { ok = ok, message = err.message, at = ctx:now() }
    end)]], function(w)
    local begun = w:deferred("slow")
    w:run("all", { id = "a" })
    local function latest(i)
      for n = #begun, 1, -1 do
        if begun[n].input == i then return begun[n].token end
      end
    end
    w:fail(latest(3), { type = "Bad", message = "third" })
    w:settle()
    w:complete(latest(1), 1)
    w:settle()
    w:fail(latest(2), { type = "Bad", message = "second" })
    w:settle()
    assert.equal("RUNNING", w:status("a"))
    w:advance(5)
    w:complete(latest(4), 4)
    w:settle()
    local output = w:output("a")
    assert.same({ false, "second", 1767225605 }, { output.ok, output.message, output.at })
  end)

  case("takes tasks that are done already", DOUBLE .. [[
    workflow("again", function(ctx)
      local a, b = ctx.async:call_activity("double", 1), ctx.async:call_activity("double", 2)
      a:await()
      local once = ctx:when_all({ b, a })
      return { once, ctx:when_all({ a, b }) }
    end)]], function(w)
    w:run("again", { id = "a" })
    assert.same({ { 4, 2 }, { 2, 4 } }, w:output("a"))
  end)

  case("refuses one task twice, at the author's line", [[workflow("bad", function(ctx)
  local timer = ctx.async:create_timer(1)
  local results = ctx:when_all({ timer, ctx.async:create_timer(2), timer })
  return results
end)]], function(w)
    w:run("bad", { id = "b" })
    local message = w:failure("b").message
    assert.truthy(message:find("case.lua:3:", 1, true), message)
    assert.truthy(message:find("items 1 and 3", 1, true), message)
  end)

  case("keeps the places of results that are nil", [[
    workflow("holes", function(ctx)
      local tasks = { ctx.async:wait_for_external_event("a"), ctx.async:wait_for_external_event("b") }
      local results = ctx:when_all(tasks)
      return { first = results[1] == nil, second = results[2] }
    end)]], function(w)
    w:run("holes", { id = "h" })
    w:raise("h", "b", 2)
    w:raise("h", "a")
    w:settle()
    assert.same({ first = true, second = 2 }, w:output("h"))
  end)

  case("can be awaited as a task, from two branches", [[
    workflow("shared", function(ctx)
      local all = ctx.async:when_all({ ctx.async:create_timer(1), ctx.async:wait_for_external_event("go") })
      local seen = {}
      local function watch(name)
        return ctx:spawn(function()
          local results = all:await()
          seen[#seen + 1] = name .. tostring(results[2])
        end)
      end
      ctx:when_all({ watch("a"), watch("b") })
      return seen
    end)]], function(w)
    w:run("shared", { id = "s" })
    w:raise("s", "go", "x")
    w:advance(1)
    assert.same({ "ax", "bx" }, w:output("s"))
  end)

  case("refuses what is no task, at the author's line", [[workflow("bad", function(ctx)
  local results = ctx:when_all({ ctx.async:create_timer(1), 7 })
  return results
end)]], function(w)
    w:run("bad", { id = "b" })
    local message = w:failure("b").message
    assert.truthy(message:find("case.lua:2:", 1, true))
    assert.truthy(message:find("item 2", 1, true))
  end)
end)

describe("when_any", function()
  case("tells which and its value", [[
    workflow("first", function(ctx)
      local which, value = ctx:when_any({ ctx.async:create_timer(60), ctx.async:wait_for_external_event("go") })
      return { which = which, value = value }
    end)]], function(w)
    w:run("first", { id = "f" })
    w:raise("f", "go", "now")
    w:settle()
    assert.same({ which = 2, value = "now" }, w:output("f"))
  end)

  case("is won by the timer that comes first", [[
    workflow("first", function(ctx)
      local which = ctx:when_any({ ctx.async:create_timer(60), ctx.async:create_timer(30), ctx.async:create_timer(90) })
      return { which = which, now = ctx:now() }
    end)]], function(w)
    w:run("first", { id = "f" })
    w:advance(100)
    assert.same({ which = 2, now = 1767225630 }, w:output("f"))
  end)

  case("is won by the first of the list when several are done", [[
    workflow("first", function(ctx)
      local a, b = ctx.async:create_timer(0), ctx.async:create_timer(0)
      ctx:create_timer(1)
      return (ctx:when_any({ b, a }))
    end)]], function(w)
    w:run("first", { id = "f" })
    w:advance(1)
    assert.equal(1, w:output("f"))
  end)

  case("raises when the first to end failed", [[
    workflow("first", function(ctx)
      local ok, err = pcall(ctx.when_any, ctx, { ctx.async:create_timer(60), ctx.async:call_activity("bad") })
      return { ok, err.type }
    end)]], function(w)
    w:host("bad", function() error({ type = "Bad", message = "bad" }) end)
    w:run("first", { id = "f" })
    assert.same({ false, "Bad" }, w:output("f"))
  end)

  case("leaves the losers running: they can be awaited later", [[
    workflow("race", function(ctx)
      local tasks = {}
      for i, seconds in ipairs({ 3, 1, 2 }) do tasks[i] = ctx.async:create_timer(seconds) end
      local order = {}
      while #tasks > 0 do
        local which = ctx:when_any(tasks)
        order[#order + 1] = ctx:now() - 1767225600
        table.remove(tasks, which)
      end
      return order
    end)]], function(w)
    w:run("race", { id = "r" })
    w:advance(5)
    assert.same({ 1, 2, 3 }, w:output("r"))
  end)

  case("whose losing event wait was canceled leaves the event to the next", [[
    workflow("polite", function(ctx)
      local wait = ctx.async:wait_for_external_event("go")
      local which = ctx:when_any({ wait, ctx.async:create_timer(10) })
      wait:cancel()
      return { which = which, go = ctx:wait_for_external_event("go") }
    end)]], function(w)
    w:run("polite", { id = "p" })
    w:advance(10)
    w:raise("p", "go", "kept")
    w:settle()
    assert.same({ which = 2, go = "kept" }, w:output("p"))
  end)

  case("whose losing event wait still stands takes the next event", [[
    workflow("greedy", function(ctx)
      local wait = ctx.async:wait_for_external_event("go")
      ctx:when_any({ wait, ctx.async:create_timer(10) })
      local second = ctx:wait_for_external_event("go")
      return { first = wait:await(), second = second }
    end)]], function(w)
    w:run("greedy", { id = "g" })
    w:advance(10)
    w:raise("g", "go", 1)
    w:raise("g", "go", 2)
    w:settle()
    assert.same({ first = 1, second = 2 }, w:output("g"))
  end)

  case("of nothing is refused", [[workflow("none", function(ctx)
  ctx:when_any({})
end)]], function(w)
    w:run("none", { id = "n" })
    assert.truthy(w:failure("n").message:find("case.lua:2: when_any: the list is empty", 1, true))
  end)

  case("in a loop of a hundred rounds forgets no one and leaks nothing", [[
    workflow("loop", function(ctx)
      local stop = ctx.async:wait_for_external_event("stop")
      local rounds = 0
      while true do
        local timer = ctx.async:create_timer(1)
        if ctx:when_any({ stop, timer }) == 1 then
          timer:cancel()
          return rounds
        end
        rounds = rounds + 1
      end
    end)]], function(w)
    w:run("loop", { id = "l" })
    w:advance(100)
    w:raise("l", "stop")
    w:settle()
    assert.equal(100, w:output("l"))
  end)
end)

describe("composites", function()
  case("nest: all of any of all", [[
    workflow("nested", function(ctx)
      local function timers(...)
        local tasks = {}
        for i, seconds in ipairs({ ... }) do tasks[i] = ctx.async:create_timer(seconds) end
        return tasks
      end
      local quick = ctx.async:when_any(timers(9, 4, 7))
      local all = ctx.async:when_all(timers(2, 5))
      local inner = ctx.async:when_any({ ctx.async:when_all(timers(6, 8)), ctx.async:when_any(timers(20, 3)) })
      ctx:when_all({ quick, all, inner })
      return { now = ctx:now() - 1767225600, quick = quick:await(), inner = inner:await() }
    end)]], function(w)
    w:run("nested", { id = "n" })
    w:advance(30)
    assert.same({ now = 5, quick = 2, inner = 2 }, w:output("n"))
  end)

  case("may share a task", [[
    workflow("shared", function(ctx)
      local event = ctx.async:wait_for_external_event("go")
      local a = ctx.async:when_all({ event, ctx.async:create_timer(5) })
      local b = ctx.async:when_any({ event, ctx.async:create_timer(50) })
      local which = b:await()
      local both = a:await()
      return { which = which, event = both[1], now = ctx:now() - 1767225600 }
    end)]], function(w)
    w:run("shared", { id = "s" })
    w:advance(1)
    w:raise("s", "go", "it")
    w:settle()
    w:advance(10)
    assert.same({ which = 1, event = "it", now = 5 }, w:output("s"))
  end)

  case("cancel what is in them", [[
    workflow("canceled", function(ctx)
      local inner = { ctx.async:create_timer(60), ctx.async:wait_for_external_event("go") }
      local all = ctx.async:when_all({ ctx.async:when_any(inner), ctx.async:create_timer(70) })
      all:cancel()
      local ok, err = pcall(all.await, all)
      return { ok, err.type, inner[1]:done(), inner[2]:done() }
    end)]], function(w)
    w:run("canceled", { id = "c" })
    assert.same({ false, "Canceled", true, true }, w:output("c"))
    assert.equal(3, #w:events("c", "CommandCanceled"))
  end)
end)

describe("a branch", function()
  case("runs beside the body and gives what it returns", DOUBLE .. [[
    workflow("sides", function(ctx)
      local side = ctx:spawn(function(a, b)
        ctx:create_timer(1)
        return ctx:call_activity("double", a + b)
      end, 3, 4)
      local main = ctx:call_activity("double", 1)
      return { main, side:await() }
    end)]], function(w)
    w:run("sides", { id = "s" })
    w:advance(1)
    assert.same({ 2, 14 }, w:output("s"))
  end)

  case("raises in who awaits it", [[
    workflow("sides", function(ctx)
      local side = ctx:spawn(function()
        ctx:create_timer(1)
        error({ type = "Side", message = "broke" })
      end)
      local ok, err = pcall(side.await, side)
      return { ok, err.type }
    end)]], function(w)
    w:run("sides", { id = "s" })
    w:advance(1)
    assert.same({ false, "Side" }, w:output("s"))
  end)

  case("may spawn branches of its own", [[
    workflow("tree", function(ctx)
      local leaves = 0
      local function grow(depth)
        if depth == 0 then
          ctx:create_timer(1)
          leaves = leaves + 1
          return
        end
        ctx:when_all({ ctx:spawn(grow, depth - 1), ctx:spawn(grow, depth - 1) })
      end
      grow(5)
      return leaves
    end)]], function(w)
    w:run("tree", { id = "t" })
    w:advance(1)
    assert.equal(32, w:output("t"))
  end)

  case("can be canceled while it waits, and its wait with it", [[
    workflow("stops", function(ctx)
      local reached = false
      local side = ctx:spawn(function()
        ctx:create_timer("1h")
        reached = true
      end)
      ctx:create_timer(1)
      side:cancel()
      ctx:create_timer("2h")
      return reached
    end)]], function(w)
    w:run("stops", { id = "s" })
    w:advance(3 * 3600)
    assert.is_false(w:output("s"))
  end)

  case("takes its turns in the same order in every replay", DOUBLE .. [[
    workflow("order", function(ctx)
      local seen, tasks = {}, {}
      for i = 1, 6 do
        tasks[i] = ctx:spawn(function()
          for step = 1, 3 do
            if (i + step) % 2 == 0 then ctx:call_activity("double", i) else ctx:create_timer(0) end
            seen[#seen + 1] = i .. "." .. step
          end
        end)
      end
      ctx:when_all(tasks)
      return table.concat(seen, " ")
    end)]], function(w)
    w:run("order", { id = "o" })
    assert.equal(6 * 3 * 4 - 1, #w:output("o"))
  end, { alike = false }) -- which answers share a tick is what the ways change; each way agrees with its own replay
end)
