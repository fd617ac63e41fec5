-- Conformance: terminate. Running, pending, with activities in flight; which of two ends wins.
local case = require("spec.conformance.support").case

local WAITER = [[
workflow("waiter", function(ctx)
  ctx:set_custom_status("waiting")
  return ctx:wait_for_external_event("go")
end)
]]

local BUSY = [[
workflow("busy", function(ctx, policy)
  local tasks = { ctx.async:create_timer("1h"), ctx.async:wait_for_external_event("go", { timeout = "2h" }) }
  for i = 1, 3 do tasks[#tasks + 1] = ctx.async:call_activity("slow", i, policy) end
  ctx:when_all(tasks)
end)
]]

describe("terminate", function()
  case("stops an instance that waits, and keeps the reason", WAITER, function(w)
    w:run("waiter", { id = "w" })
    w:terminate("w", "no longer needed")
    w:settle()
    assert.same({ "Terminated", "no longer needed" }, { w:failure("w", "TERMINATED").type, w:failure("w", "TERMINATED").message })
    assert.equal("waiting", w:get("w").custom_status)
    assert.is_nil(w:get("w").output)
  end)

  case("works without a reason", WAITER, function(w)
    w:run("waiter", { id = "w" })
    w:terminate("w")
    w:settle()
    assert.equal("terminated", w:failure("w", "TERMINATED").message)
  end)

  case("stops an instance that has not begun", WAITER, function(w)
    w:start("waiter", { id = "w" })
    w:terminate("w", "at once")
    w:settle()
    assert.equal("at once", w:failure("w", "TERMINATED").message)
  end)

  case("is not seen by the body, and no pcall catches it", [[
    workflow("stubborn", function(ctx)
      while true do pcall(ctx.wait_for_external_event, ctx, "go") end
    end)]], function(w)
    w:run("stubborn", { id = "s" })
    w:terminate("s", "enough")
    w:settle()
    assert.equal("TERMINATED", w:status("s"))
  end)

  case("takes timers, waits and activities with it", BUSY, function(w)
    local begun = w:deferred("slow")
    w:run("busy", { id = "b" })
    assert.is_true(#begun >= 3)
    w:terminate("b")
    w:settle()
    assert.equal("TERMINATED", w:status("b"))
    w:complete_late(begun[#begun].token, "late")
    w:advance(3 * 3600)
    assert.same({ 0, 0 }, { #w:events("b", "TimerFired"), #w:events("b", "ActivityCompleted") })
  end)

  case("ends the waiting between two attempts", BUSY, function(w)
    local attempts = 0
    w:host("slow", function()
      attempts = attempts + 1
      error("again")
    end)
    w:run("busy", { id = "b", input = { retry = { max_attempts = 10, interval = 60, backoff = 1 } } })
    w:advance(60)
    local before = attempts
    w:terminate("b")
    w:settle()
    w:advance(3600)
    assert.equal(before, attempts)
    assert.equal("TERMINATED", w:status("b"))
  end)

  case("after the event that ends the body loses", WAITER, function(w)
    w:run("waiter", { id = "w" })
    w:raise("w", "go", "first")
    w:terminate("w", "second")
    w:settle()
    assert.equal("first", w:output("w"))
  end)

  case("before the event that would end the body wins", WAITER, function(w)
    w:run("waiter", { id = "w" })
    w:terminate("w", "first")
    w:raise("w", "go", "second")
    w:settle()
    assert.equal("first", w:failure("w", "TERMINATED").message)
  end)

  case("twice is once", WAITER, function(w)
    w:run("waiter", { id = "w" })
    w:terminate("w", "first")
    w:terminate("w", "second")
    w:settle()
    assert.equal("first", w:failure("w", "TERMINATED").message)
    assert.equal(1, #w:events("w", "Terminated"))
  end)

  case("of what has ended is refused, and says how it ended", WAITER, function(w)
    w:run("waiter", { id = "w" })
    w:raise("w", "go")
    w:settle()
    local message, code = w:refused("terminate", "w")
    assert.equal("LNT_ECLOSED", code)
    assert.truthy(message:find("COMPLETED", 1, true))
    assert.equal("LNT_ENOTFOUND", select(2, w:refused("terminate", "nobody")))
  end)

  case("leaves other instances alone", WAITER, function(w)
    for i = 1, 5 do w:start("waiter", { id = "w" .. i }) end
    w:settle()
    w:terminate("w3")
    w:settle()
    for i = 1, 5 do
      if i ~= 3 then w:raise("w" .. i, "go", i) end
    end
    w:settle()
    for i = 1, 5 do assert.equal(i == 3 and "TERMINATED" or "COMPLETED", w:status("w" .. i)) end
  end)

  case("of an instance that nobody has in memory needs no replay of it to be safe", WAITER, function(w)
    w:run("waiter", { id = "w" })
    w:reopen()
    w:terminate("w", "asleep")
    w:settle()
    assert.equal("asleep", w:failure("w", "TERMINATED").message)
  end, { disk = true })
end)
