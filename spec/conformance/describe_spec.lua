-- Conformance: why is it waiting. What an instance waits for, since when, at which line of its code.
local case = require("spec.conformance.support").case

describe("what an instance waits for", function()
  case("is an event, with its timeout and its line", [[workflow("w", function(ctx)
  ctx:wait_for_external_event("decision", { timeout = 60 })
end)]], function(w)
    w:run("w", { id = "w" })
    local told = w:describe("w")
    assert.same({ "w", "RUNNING", true, 1 }, { told.workflow, told.status, told.live, told.generation })
    assert.same({ { seq = 1, name = "decision", since_us = w.now_us, until_us = w.now_us + 60e6 } }, told.awaited)
    assert.same({ "main", "command", "case.lua:2" }, { told.branches[1].branch, told.branches[1].waits_for, told.branches[1].at })
    assert.truthy(told.reason:find("decision", 1, true))
    assert.truthy(told.reason:find("case.lua:2", 1, true))
  end)

  case("is a timer", [[workflow("w", function(ctx)
  ctx:create_timer("1h")
end)]], function(w)
    w:run("w", { id = "w" })
    local told = w:describe("w")
    assert.same({ { seq = 1, due_us = w.now_us + 3600e6 } }, told.timers)
    assert.same({ 1 }, told.branches[1].seqs)
  end)

  case("is an activity: running, then between two attempts, with its last failure", [[workflow("w", function(ctx)
  ctx:call_activity("work", nil, { retry = { max_attempts = 5, interval = 60, backoff = 1 } })
end)]], function(w)
    local begun = w:deferred("work")
    w:run("w", { id = "w" })
    local activity = w:describe("w").activities[1]
    assert.same({ 1, "work", "running", 1 }, { activity.seq, activity.name, activity.state, activity.attempt })
    w:fail(begun[#begun].token, { type = "Busy", message = "no line free" })
    w:settle()
    activity = w:describe("w").activities[1]
    assert.same({ "retrying", 2, w.now_us + 60e6, "Busy", "no line free" },
      { activity.state, activity.attempt, activity.next_try_us, activity.last_failure.type, activity.last_failure.message })
    assert.truthy(w:describe("w").reason:find("work", 1, true))
  end)

  case("is a child, and the child tells its own", [[
    workflow("kid", function(ctx) ctx:wait_for_external_event("go") end)
    workflow("w", function(ctx) ctx:call_child_workflow("kid", nil, { id = "kid" }) end)]], function(w)
    w:run("w", { id = "w" })
    local child = w:describe("w").children[1]
    assert.same({ "kid", "kid", w.now_us }, { child.id, child.workflow, child.since_us })
    assert.truthy(w:describe("w").reason:find("kid", 1, true))
    assert.equal("go", w:describe("kid").awaited[1].name)
  end)

  case("is told for each branch, list and scope", [[workflow("w", function(ctx)
  ctx:spawn(function()
    ctx:wait_for_external_event("a")
  end)
  ctx:spawn(function()
    ctx:when_all({ ctx.async:create_timer(60), ctx.async:wait_for_external_event("b") })
  end)
  ctx:scope(function()
    ctx:when_any({ ctx.async:create_timer(90) })
  end)
end)]], function(w)
    w:run("w", { id = "w" })
    local told, at = w:describe("w"), {}
    for _, branch in ipairs(told.branches) do at[branch.at] = branch.waits_for end
    assert.same({ ["case.lua:9"] = "any", ["case.lua:3"] = "command", ["case.lua:6"] = "all" }, at)
    assert.same({ 2, 2 }, { #told.timers, #told.awaited })
  end)

  case("is nothing while it is suspended, and it says so", [[
    workflow("w", function(ctx) ctx:wait_for_external_event("go") end)]], function(w)
    w:run("w", { id = "w" })
    w:suspend("w", "lunch")
    w:raise("w", "go")
    w:settle()
    local told = w:describe("w")
    assert.equal("SUSPENDED", told.status)
    assert.truthy(told.reason:lower():find("suspended", 1, true))
    assert.equal(1, told.undelivered)
    w:resume("w")
    w:settle()
    assert.equal("COMPLETED", w:describe("w").status)
    assert.is_nil(w:describe("w").reason)
  end)

  local BUSY = [[
    workflow("kid", function(ctx) return ctx:wait_for_external_event("go") end)
    workflow("w", function(ctx)
      ctx:on_update("write", function(word) return word end)
      ctx:spawn(function() ctx:call_activity("slow", "one") end)
      ctx:spawn(function() ctx:call_activity("slow", "two") end)
      ctx:spawn(function() ctx:call_child_workflow("kid", nil, { id = "kid" }) end)
      ctx:spawn(function() ctx:create_timer(60) end)
      ctx:spawn(function() ctx:create_timer("30d") end)
      ctx:spawn(function() ctx:wait_for_external_event("answer") end)
      ctx:wait_for_external_event("never")
    end)]]

  local function names(list, field)
    local found = {}
    for i, item in ipairs(list) do found[i] = tostring(item[field or "name"]) end
    return found
  end

  case("of a suspended instance is what has not come, and what has come is named in its order", BUSY, function(w)
    local begun = w:deferred("slow", "complete_later")
    w:run("w", { id = "w" })
    w:suspend("w", "lunch")
    w:raise("w", "other")
    w:complete(begun[1].token, "done")
    w:settle()
    w:advance(61)
    w:raise("w", "answer")
    w:raise("kid", "go")
    w:settle()
    w.rt:update("w", "write", "word", { id = "u", done = function() end })
    w:settle()
    local told = w:describe("w")
    assert.same({ "slow" }, names(told.activities))
    assert.equal(begun[2].token, told.activities[1].token)
    assert.same({ 1, {}, { "never" } }, { #told.timers, told.children, names(told.awaited) })
    assert.same({ "EventRaised", "ActivityCompleted", "TimerFired", "EventRaised", "ChildCompleted", "UpdateRequested" },
      names(told.gathered, "kind"))
    assert.same({ "other", "slow", "nil", "answer", "kid", "write" }, names(told.gathered))
    assert.same({ 6, {}, {} }, { told.undelivered, told.buffered, told.updates })
    assert.equal('suspended (lunch); the event "other", the result of "slow", a timer and 3 more have gathered, and it goes on when it is '
      .. 'resumed', told.reason)
    w:resume("w")
    w:settle()
    told = w:describe("w")
    assert.same({ {}, { "other" }, { "never" }, { "slow" } }, { told.gathered, names(told.buffered), names(told.awaited),
      names(told.activities) })
    w:terminate("w")
    w:settle()
  end, { alike = { "kept", "evicted" } }) -- who asked for the update is gone

  case("is its time to start", [[workflow("w", function() end)]], function(w)
    w:start("w", { id = "w", start_at_us = w.now_us + 60e6 })
    w:settle()
    assert.equal("PENDING", w:describe("w").status)
    assert.is_string(w:describe("w").reason)
    w:advance(60)
    assert.equal("COMPLETED", w:status("w"))
  end)

  case("tells what nobody has waited for, and what was emitted", [[
    workflow("w", function(ctx)
      for i = 1, 3 do ctx:emit("steps", i) end
      ctx:wait_for_external_event("go")
    end)]], function(w)
    w:run("w", { id = "w" })
    w:raise("w", "other", 1)
    w:settle()
    local told = w:describe("w")
    assert.same({ { name = "other", raised_us = w.now_us } }, told.buffered)
    assert.same({ { name = "steps", count = 3, last_us = w.now_us } }, told.streams)
  end)

  case("tells the updates that are not answered, and what it can be asked", [[
    workflow("w", function(ctx)
      ctx:on_query("look", function() return 1 end)
      ctx:on_update("slow", function() ctx:create_timer("1h") end)
      ctx:wait_for_external_event("go")
    end)]], function(w)
    w:run("w", { id = "w" })
    w.rt:update("w", "slow", nil, { id = "u1", done = function() end })
    w:settle()
    local told = w:describe("w")
    assert.same({ { "look" }, { "slow" } }, { told.queries, told.update_handlers })
    assert.same({ { id = "u1", name = "slow", accepted_us = w.now_us } }, told.updates)
    local kinds = {}
    for _, branch in ipairs(told.branches) do kinds[branch.branch] = branch.waits_for end
    assert.same({ main = "command", update = "command" }, kinds)
  end)

  case("leaves no trace when it is asked for", [[
    workflow("w", function(ctx)
      ctx:create_timer(10)
      return ctx:random(1000000)
    end)]], function(w)
    w:run("w", { id = "w" })
    local before = w:get("w", { json = true })
    for _ = 1, 5 do w:describe("w") end
    assert.same(before, w:get("w", { json = true }))
    w:advance(10)
    assert.is_number(w:output("w"))
    assert.equal("LNT_ENOTFOUND", select(2, w:refused("describe", "nobody")))
  end)
end)
