-- Conformance: cancel of an instance. Clean-up, who wins, once only, in every state an instance can be in.
local case = require("spec.conformance.support").case

local CLEANS = [[
activity("undo", function(what) return "undid " .. what end)
workflow("cleans", function(ctx)
  local ok, err = pcall(ctx.create_timer, ctx, "1h")
  if ok then return "slept" end
  ctx:create_timer(5)
  ctx:set_custom_status(ctx:call_activity("undo", err.message))
  error(err)
end)
]]

describe("cancel", function()
  case("ends an instance that does not catch it", [[
    workflow("waiter", function(ctx) return ctx:wait_for_external_event("go") end)]], function(w)
    w:run("waiter", { id = "w" })
    w:cancel("w", "not needed")
    w:settle()
    assert.same({ "Canceled", "not needed" }, { w:failure("w", "CANCELED").type, w:failure("w", "CANCELED").message })
    assert.same({ Started = 1, EventAwaited = 1, CancelRequested = 1, CommandCanceled = 1, Canceled = 1 }, w:kinds("w"))
  end)

  case("lets it clean up, with waits and activities", CLEANS, function(w)
    w:run("cleans", { id = "c" })
    w:cancel("c", "the order")
    w:settle()
    assert.equal("RUNNING", w:status("c"))
    w:advance(5)
    assert.equal("the order", w:failure("c", "CANCELED").message)
    assert.equal("undid the order", w:get("c").custom_status)
  end)

  case("survives a restart in the middle of the clean-up", CLEANS, function(w)
    w:run("cleans", { id = "c" })
    w:cancel("c", "the order")
    w:reopen()
    w:advance(2)
    w:reopen()
    w:advance(3)
    assert.equal("the order", w:failure("c", "CANCELED").message)
  end, { disk = true })

  case("that is swallowed lets it complete", [[
    workflow("swallows", function(ctx)
      pcall(ctx.create_timer, ctx, "1h")
      ctx:create_timer(1)
      return "went on"
    end)]], function(w)
    w:run("swallows", { id = "s" })
    w:cancel("s")
    w:advance(1)
    assert.equal("went on", w:output("s"))
  end)

  case("whose clean-up fails ends FAILED with that error", [[
    workflow("breaks", function(ctx)
      local _, err = pcall(ctx.create_timer, ctx, "1h")
      error({ type = "CleanUpFailed", message = "oh", cause = err })
    end)]], function(w)
    w:run("breaks", { id = "b" })
    w:cancel("b", "why")
    w:settle()
    assert.equal("CleanUpFailed", w:failure("b").type)
    assert.equal("Canceled", w:failure("b").cause.type)
  end)

  case("is raised once, however often it is asked for", [[
    workflow("counts", function(ctx)
      local raised = 0
      for _ = 1, 3 do
        local ok = pcall(ctx.create_timer, ctx, 10)
        if not ok then raised = raised + 1 end
      end
      return raised
    end)]], function(w)
    w:run("counts", { id = "c" })
    for i = 1, 3 do
      w:cancel("c", "reason " .. i)
      w:settle()
    end
    w:advance(60)
    assert.equal(1, w:output("c"))
  end)

  case("reaches every branch, once each", [[
    workflow("branches", function(ctx)
      local seen = {}
      local function wait_here(i)
        local ok, err = pcall(ctx.create_timer, ctx, 100)
        seen[i] = ok and "slept" or err.type
        local again, why = pcall(ctx.create_timer, ctx, 1)
        seen[i] = seen[i] .. (again and " then slept" or " then " .. why.type)
      end
      for i = 1, 3 do ctx:spawn(wait_here, i) end
      wait_here(4)
      ctx:create_timer(1)
      return seen
    end)]], function(w)
    w:run("branches", { id = "b" })
    w:cancel("b")
    w:advance(5)
    for i = 1, 4 do assert.equal("Canceled then slept", w:output("b")[i]) end
  end)

  case("of an instance that has not begun comes at its first wait", [[
    activity("never", function() return 1 end)
    workflow("early", function(ctx)
      ctx:set_custom_status("began")
      ctx:create_timer(1)
      ctx:call_activity("never")
    end)]], function(w)
    w:start("early", { id = "e" })
    w:cancel("e", "at once")
    w:settle()
    assert.equal("at once", w:failure("e", "CANCELED").message)
    assert.equal("began", w:get("e").custom_status)
    assert.equal(0, #w:events("e", "ActivityScheduled"))
  end)

  case("of a suspended instance comes when it goes on", CLEANS, function(w)
    w:run("cleans", { id = "c" })
    w:suspend("c")
    w:cancel("c", "later")
    w:advance(60)
    assert.equal("SUSPENDED", w:status("c"))
    w:resume("c")
    w:advance(60)
    assert.equal("later", w:failure("c", "CANCELED").message)
  end)

  case("that does not end can be terminated", [[
    workflow("stubborn", function(ctx)
      while true do pcall(ctx.create_timer, ctx, "1h") end
    end)]], function(w)
    w:run("stubborn", { id = "s" })
    w:cancel("s")
    w:settle()
    assert.equal("RUNNING", w:status("s"))
    w:terminate("s", "enough")
    w:settle()
    assert.equal("enough", w:failure("s", "TERMINATED").message)
  end)

  case("between two attempts ends the retries", [[
    workflow("retrying", function(ctx)
      ctx:call_activity("flaky", nil, { retry = { max_attempts = 100, interval = 10, backoff = 1 } })
    end)]], function(w)
    local attempts = 0
    w:host("flaky", function()
      attempts = attempts + 1
      error("again")
    end)
    w:run("retrying", { id = "r" })
    w:advance(25)
    w:cancel("r", "give up")
    w:settle()
    w:advance(600)
    assert.equal(3, attempts)
    assert.equal("give up", w:failure("r", "CANCELED").message)
  end)

  case("with an activity in flight ends at once, and the late answer is ignored", [[
    workflow("calls", function(ctx) return ctx:call_activity("slow") end)]], function(w)
    local begun = w:deferred("slow")
    w:run("calls", { id = "c" })
    w:cancel("c", "no more")
    w:settle()
    assert.equal("no more", w:failure("c", "CANCELED").message)
    w:complete_late(begun[#begun].token, "late")
    w:settle()
    assert.equal(0, #w:events("c", "ActivityCompleted"))
  end)

  case("after the event that ends the body loses", [[
    workflow("waiter", function(ctx) return ctx:wait_for_external_event("go") end)]], function(w)
    w:run("waiter", { id = "w" })
    w:raise("w", "go", "first")
    w:cancel("w")
    w:settle()
    assert.equal("first", w:output("w"))
  end)

  case("before an event leaves the event to the clean-up", [[
    workflow("waiter", function(ctx)
      local ok, err = pcall(ctx.wait_for_external_event, ctx, "go")
      local value = ctx:wait_for_external_event("go")
      return { ok = ok, type = err.type, value = value }
    end)]], function(w)
    w:run("waiter", { id = "w" })
    w:cancel("w")
    w:raise("w", "go", "second")
    w:settle()
    assert.same({ ok = false, type = "Canceled", value = "second" }, w:output("w"))
  end)

  case("reaches a wait for a list, and what is in it", [[
    workflow("lists", function(ctx)
      local tasks = { ctx.async:create_timer("1h"), ctx.async:when_any({ ctx.async:create_timer("2h") }) }
      local ok, err = pcall(ctx.when_all, ctx, tasks)
      local _, inner = pcall(tasks[2].await, tasks[2])
      return { ok, err.type, tasks[1]:state(), inner.type }
    end)]], function(w)
    w:run("lists", { id = "l" })
    w:cancel("l")
    w:settle()
    assert.same({ false, "Canceled", "canceled", "Canceled" }, w:output("l"))
    assert.equal(2, #w:events("l", "CommandCanceled"))
  end)

  case("runs a saga's compensations", [[
    local saga = require "saga"
    activity("undo", function(what) return what end)
    activity("book", function(what) return what end)
    workflow("trip", function(ctx)
      return saga.run(ctx, function(s)
        for _, what in ipairs({ "flight", "hotel" }) do
          s:step(what, function() return ctx:call_activity("book", what) end, function(booked) ctx:call_activity("undo", booked) end)
        end
        ctx:wait_for_external_event("paid")
        return "booked"
      end)
    end)]], function(w)
    w:run("trip", { id = "t" })
    w:cancel("t", "changed plans")
    w:settle()
    assert.equal("changed plans", w:failure("t", "CANCELED").message)
    local undone = {}
    for _, event in ipairs(w:events("t", "ActivityScheduled")) do
      if event.name == "undo" then undone[#undone + 1] = event.value end
    end
    assert.same({ "hotel", "flight" }, undone)
  end)

  case("of what has ended is refused", CLEANS, function(w)
    w:run("cleans", { id = "c" })
    w:jump(3600)
    assert.equal("LNT_ECLOSED", select(2, w:refused("cancel", "c")))
    assert.equal("LNT_ENOTFOUND", select(2, w:refused("cancel", "nobody")))
  end)
end)
