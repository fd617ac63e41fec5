-- Conformance: external events. Before and after the wait, names, first in first out both ways, contention, timeouts.
local case = require("spec.conformance.support").case

local WAITER = [[
workflow("waiter", function(ctx, names)
  local seen = {}
  for i, name in ipairs(names) do seen[i] = ctx:wait_for_external_event(name) or "nil" end
  return seen
end)
]]

local PATIENT = [[
workflow("patient", function(ctx, timeout)
  local ok, value = pcall(ctx.wait_for_external_event, ctx, "go", { timeout = timeout })
  local after = ctx:wait_for_external_event("go")
  return { ok = ok, first = ok and value or value.type, message = not ok and value.message or nil, after = after, at = ctx:now() }
end)
]]

describe("an event", function()
  case("that comes after the wait ends it", WAITER, function(w)
    w:run("waiter", { id = "w", input = { "a" } })
    w:raise("w", "a", { n = 1 })
    w:settle()
    assert.same({ { n = 1 } }, w:output("w"))
    assert.same({ Started = 1, EventAwaited = 1, EventRaised = 1, Completed = 1 }, w:kinds("w"))
  end)

  case("that comes before the wait is kept for it", WAITER, function(w)
    w:run("waiter", { id = "w", input = { "first", "second" } })
    w:raise("w", "second", 2)
    w:settle()
    assert.equal("RUNNING", w:status("w"))
    w:raise("w", "first", 1)
    w:settle()
    assert.same({ 1, 2 }, w:output("w"))
  end)

  case("that comes before the first turn is kept too", WAITER, function(w)
    w:start("waiter", { id = "w", input = { "a" } })
    w:raise("w", "a", "early")
    w:settle()
    assert.same({ "early" }, w:output("w"))
  end)

  case("may carry nothing", WAITER, function(w)
    w:run("waiter", { id = "w", input = { "a" } })
    w:raise("w", "a")
    w:settle()
    assert.same({ "nil" }, w:output("w"))
  end)

  case("is found whatever the case of its name", WAITER, function(w)
    w:run("waiter", { id = "w", input = { "Approval", "DONE" } })
    w:raise("w", "aPPROVAL", 1)
    w:raise("w", "done", 2)
    w:settle()
    assert.same({ 1, 2 }, w:output("w"))
  end)

  case("is found only by its whole name", WAITER, function(w)
    w:run("waiter", { id = "w", input = { "approval" } })
    w:raise("w", "approval2", 0)
    w:raise("w", "approva", 0)
    w:settle()
    assert.equal("RUNNING", w:status("w"))
    w:raise("w", "approval", 1)
    w:settle()
    assert.same({ 1 }, w:output("w"))
  end)

  case("for nobody is refused", WAITER, function(w)
    local message, code = w:refused("raise", "nobody", "a")
    assert.equal("LNT_ENOTFOUND", code)
    assert.truthy(message:find("nobody", 1, true))
  end)

  case("for an instance that ended is refused, and says how it ended", WAITER, function(w)
    w:run("waiter", { id = "w", input = {} })
    local message, code = w:refused("raise", "w", "a")
    assert.equal("LNT_ECLOSED", code)
    assert.truthy(message:find("COMPLETED", 1, true))
  end)
end)

describe("an event with a key", function()
  local LOOP = [[
    workflow("loop", function(ctx, seen)
      seen = seen or {}
      local event = ctx:wait_for_external_event("go")
      seen[#seen + 1] = event
      if event == "turn" then ctx:continue_as_new(seen) end
      if event == "end" then return seen end
      ctx:continue_as_new(seen)
    end)]]

  -- true: it was delivered before.
  local function raise(w, id, event, data, key)
    local ok, repeated = w.rt:raise(id, event, data, { key = key })
    assert.is_true(ok)
    return repeated
  end

  case("is delivered once, however often it is raised", WAITER, function(w)
    w:run("waiter", { id = "w", input = { "a", "a", "b" } })
    assert.same({ false, true }, { raise(w, "w", "a", 1, "k1"), raise(w, "w", "a", 1, "k1") })
    w:settle()
    assert.same({ true, false }, { raise(w, "w", "a", 1, "k1"), raise(w, "w", "a", 2, "k2") })
    w:settle()
    assert.is_true(raise(w, "w", "other", 9, "k2"))
    w:raise("w", "b", 3)
    w:settle()
    assert.same({ 1, 2, 3 }, w:output("w"))
    assert.same({ "k1", "k2" }, { w:events("w", "EventRaised")[1].id, w:events("w", "EventRaised")[2].id })
  end)

  case("that was delivered is no error when the instance has ended, but another one is", WAITER, function(w)
    w:run("waiter", { id = "w", input = { "a" } })
    raise(w, "w", "a", 1, "k1")
    w:settle()
    assert.equal("COMPLETED", w:status("w"))
    assert.is_true(raise(w, "w", "a", 1, "k1"))
    w:settle()
    assert.equal("LNT_ECLOSED", select(2, w:refused("raise", "w", "a", 1, { key = "k2" })))
    assert.equal("LNT_EINVAL", select(2, w:refused("raise", "w", "a", 1, { key = "" })))
    assert.equal("LNT_EINVAL", select(2, w:refused("raise", "w", "a", 1, { key = ("k"):rep(129) })))
  end)

  case("is known to the next generation, and told to a suspended instance once", LOOP, function(w)
    w:run("loop", { id = "l" })
    assert.is_false(raise(w, "l", "go", "one", "k1"))
    w:settle()
    assert.equal(2, w:get("l").generation)
    assert.is_true(raise(w, "l", "go", "one", "k1"))
    w:suspend("l")
    assert.same({ false, true }, { raise(w, "l", "go", "two", "k2"), raise(w, "l", "go", "two", "k2") })
    w:settle()
    assert.is_true(raise(w, "l", "go", "two", "k2"))
    w:resume("l")
    w:settle()
    raise(w, "l", "go", "end", "k3")
    w:settle()
    assert.same({ "one", "two", "end" }, w:output("l"))
  end)

  case("is forgotten when a thousand others came after it", [[
    workflow("many", function(ctx, n)
      local sum = 0
      for _ = 1, n do sum = sum + ctx:wait_for_external_event("n") end
      return sum
    end)]], function(w)
    w:run("many", { id = "m", input = 1003 })
    for i = 1, 1001 do assert.is_false(raise(w, "m", "n", 1, "k" .. i)) end
    w:settle()
    assert.same({ true, false, true }, { raise(w, "m", "n", 1, "k2"), raise(w, "m", "n", 1, "k1"), raise(w, "m", "n", 1, "k1001") })
    raise(w, "m", "n", 1, "last")
    w:settle()
    assert.equal(1003, w:output("m"))
  end)
end)

describe("events of one name", function()
  case("are handed out first in, first out", WAITER, function(w)
    w:start("waiter", { id = "w", input = { "a", "a", "a", "a" } })
    for i = 1, 4 do w:raise("w", "a", i) end
    w:settle()
    assert.same({ 1, 2, 3, 4 }, w:output("w"))
  end)

  case("are handed to the waits first in, first out", [[
    workflow("waits", function(ctx)
      local tasks = {}
      for i = 1, 4 do tasks[i] = ctx.async:wait_for_external_event(i % 2 == 0 and "A" or "a") end
      return ctx:when_all(tasks)
    end)]], function(w)
    w:run("waits", { id = "w" })
    for i = 1, 4 do
      w:raise("w", "a", i)
      w:settle()
    end
    assert.same({ 1, 2, 3, 4 }, w:output("w"))
  end)

  case("each end one wait only", [[
    workflow("race", function(ctx)
      local seen = {}
      local function take(who)
        return ctx:spawn(function()
          for _ = 1, 2 do
            local n = ctx:wait_for_external_event("n")
            seen[#seen + 1] = who .. n
          end
        end)
      end
      ctx:when_all({ take("x"), take("y"), take("z") })
      return seen
    end)]], function(w)
    w:run("race", { id = "r" })
    for i = 1, 6 do w:raise("r", "n", i) end
    w:settle()
    assert.same({ "x1", "y2", "z3", "x4", "y5", "z6" }, w:output("r"))
  end)

  case("of two names do not mix", WAITER, function(w)
    w:start("waiter", { id = "w", input = { "b", "a", "b", "a" } })
    for i = 1, 2 do
      w:raise("w", "a", "a" .. i)
      w:raise("w", "b", "b" .. i)
    end
    w:settle()
    assert.same({ "b1", "a1", "b2", "a2" }, w:output("w"))
  end)

  case("survive a restart in their order", WAITER, function(w)
    w:run("waiter", { id = "w", input = { "last", "n", "n", "n" } })
    for i = 1, 3 do w:raise("w", "n", i) end
    w:reopen()
    w:settle()
    w:reopen()
    w:raise("w", "last", 0)
    w:settle()
    assert.same({ 0, 1, 2, 3 }, w:output("w"))
  end, { disk = true })

  case("go to two thousand waits without loss", [[
    workflow("sum", function(ctx)
      local sum = 0
      for _ = 1, 2000 do sum = sum + ctx:wait_for_external_event("n") end
      return sum
    end)]], function(w)
    w:start("sum", { id = "s" })
    for i = 1, 2000 do w:raise("s", "n", i) end
    w:settle()
    assert.equal(2001000, w:output("s"))
  end)
end)

describe("a wait with a timeout", function()
  case("is won by the event", PATIENT, function(w)
    w:run("patient", { id = "p", input = 60 })
    w:advance(59)
    w:raise("p", "go", "in time")
    w:settle()
    w:advance(100)
    w:raise("p", "go", "again")
    w:settle()
    local output = w:output("p")
    assert.same({ true, "in time", "again" }, { output.ok, output.first, output.after })
    assert.equal(0, #w:events("p", "TimerFired"))
  end)

  case("is won by the timeout, and a late event stays for the next wait", PATIENT, function(w)
    w:run("patient", { id = "p", input = 60 })
    w:advance(60)
    w:raise("p", "go", "late")
    w:settle()
    local output = w:output("p")
    assert.same({ false, "Timeout", "late" }, { output.ok, output.first, output.after })
    assert.truthy(output.message:find("\"go\"", 1, true))
  end)

  case("of zero takes what is there", PATIENT, function(w)
    w:start("patient", { id = "p", input = 0 })
    w:raise("p", "go", "there")
    w:raise("p", "go", "next")
    w:settle()
    assert.same({ true, "there", "next" }, { w:output("p").ok, w:output("p").first, w:output("p").after })
  end, { ways = { "kept", "evicted" } }) -- whether the event is there at the first turn is what the ways change

  case("of zero gives up at once when nothing is there", PATIENT, function(w)
    w:run("patient", { id = "p", input = 0 })
    w:raise("p", "go", "late")
    w:settle()
    assert.same({ false, "Timeout", "late" }, { w:output("p").ok, w:output("p").first, w:output("p").after })
  end)

  case("and an event in the same tick end one way, and the event is not lost", PATIENT, function(w)
    w:run("patient", { id = "p", input = 60 })
    w.now_us = w.now_us + 60e6
    w:raise("p", "go", "raised")
    w:settle()
    if w:status("p") == "RUNNING" then w:raise("p", "go", "second") end
    w:settle()
    local output = w:output("p")
    assert.same(output.ok and { "raised", "second" } or { "Timeout", "raised" }, { output.first, output.after })
    assert.is_true(output.ok) -- accepted before the tick looked for what is due
  end)

  case("that runs out gives its place in the queue back", [[
    workflow("queue", function(ctx)
      local first = ctx.async:wait_for_external_event("n", { timeout = 10 })
      local second = ctx.async:wait_for_external_event("n")
      local ok = pcall(first.await, first)
      return { first = ok, second = second:await() }
    end)]], function(w)
    w:run("queue", { id = "q" })
    w:advance(10)
    w:raise("q", "n", "for the second")
    w:settle()
    assert.same({ first = false, second = "for the second" }, w:output("q"))
  end)

  case("in a loop leaves no timers behind", [[
    workflow("loop", function(ctx)
      for _ = 1, 20 do ctx:wait_for_external_event("n", { timeout = "30d" }) end
      return "done"
    end)]], function(w)
    w:run("loop", { id = "l" })
    for i = 1, 20 do
      w:raise("l", "n", i)
      w:settle()
    end
    assert.equal("done", w:output("l"))
  end)

  case("that nobody answers fails the workflow which does not catch it", [[
    workflow("impatient", function(ctx) return ctx:wait_for_external_event("go", { timeout = "1m" }) end)]], function(w)
    w:run("impatient", { id = "i" })
    w:advance(60)
    assert.equal("Timeout", w:failure("i").type)
  end)
end)

describe("a canceled wait", function()
  case("gives its claim back: the event goes to the next wait", [[
    workflow("claims", function(ctx)
      local first = ctx.async:wait_for_external_event("n")
      local second = ctx.async:wait_for_external_event("n")
      first:cancel()
      return second:await()
    end)]], function(w)
    w:run("claims", { id = "c" })
    w:raise("c", "n", "mine")
    w:settle()
    assert.equal("mine", w:output("c"))
  end)

  case("whose event nobody took gives it back", [[
    workflow("claims", function(ctx)
      local first = ctx.async:wait_for_external_event("n")
      ctx:create_timer(1)
      first:cancel()
      local ok, err = pcall(first.await, first)
      return { ok, err.type, ctx:wait_for_external_event("n"), ctx:wait_for_external_event("n") }
    end)]], function(w)
    w:run("claims", { id = "c" })
    w:raise("c", "n", 1)
    w:settle()
    w:advance(1)
    w:raise("c", "n", 2)
    w:settle()
    assert.same({ false, "Canceled", 1, 2 }, w:output("c"))
  end)

  case("whose event was taken has nothing to give back", [[
    workflow("claims", function(ctx)
      local first = ctx.async:wait_for_external_event("n")
      local value = first:await()
      first:cancel()
      return { value, first:await(), ctx:wait_for_external_event("n") }
    end)]], function(w)
    w:run("claims", { id = "c" })
    w:raise("c", "n", 1)
    w:settle()
    w:raise("c", "n", 2)
    w:settle()
    assert.same({ 1, 1, 2 }, w:output("c"))
  end)

  case("gives its event to whoever has waited longest", [[
    workflow("claims", function(ctx)
      local first = ctx.async:wait_for_external_event("n")
      local seen = {}
      for i = 1, 2 do
        ctx:spawn(function()
          local value = ctx:wait_for_external_event("n")
          seen[#seen + 1] = i .. value
        end)
      end
      ctx:create_timer(1)
      first:cancel()
      ctx:create_timer(1)
      return seen
    end)]], function(w)
    w:run("claims", { id = "c" })
    w:raise("c", "n", "a")
    w:raise("c", "n", "b")
    w:settle()
    w:advance(2)
    assert.same({ "1b", "2a" }, w:output("c"))
  end)

  case("puts its event back where it stood", [[
    workflow("claims", function(ctx)
      local first = ctx.async:wait_for_external_event("n")
      ctx:wait_for_external_event("now")
      first:cancel()
      local seen = {}
      for i = 1, 3 do seen[i] = ctx:wait_for_external_event("n") end
      return seen
    end)]], function(w)
    w:run("claims", { id = "c" })
    for i = 1, 3 do w:raise("c", "n", i) end
    w:settle()
    w:raise("c", "now")
    w:settle()
    assert.same({ 1, 2, 3 }, w:output("c"))
  end)
end)
