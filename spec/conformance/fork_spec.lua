-- Conformance: going on from a place in a history. Fork from each event, rerun of each kind of command, retry of what failed.
local case = require("spec.conformance.support").case

local RICH = [[
activity("double", function(n) return 2 * n end)
workflow("kid", function(ctx, n) return ctx:call_activity("double", n) end)
workflow("note", function(_, n) return n end)
workflow("rich", function(ctx, n)
  local bonus = 0
  ctx:on_update("bonus", function(x) bonus = bonus + x return bonus end)
  local sum = ctx:call_activity("double", n)
  if ctx:is_patched("more") then sum = sum + 1 end
  sum = sum + ctx:side_effect(function() return 10 end)
  ctx:emit("log", sum)
  ctx:set_custom_status(sum)
  ctx:create_timer(5)
  sum = sum + ctx:call_child_workflow("kid", 3)
  ctx:start_workflow("note", sum)
  ctx:raise_event(ctx.instance_id, "self", 1)
  sum = sum + ctx:wait_for_external_event("self")
  sum = sum + ctx:wait_for_external_event("go", { timeout = 1000 })
  return sum + bonus
end)
]]

-- Whatever it still waits for comes.
local function finish_rich(w, id)
  w:settle()
  for _ = 1, 4 do
    if w:status(id) ~= "RUNNING" then return end
    w:advance(5)
    if w:get(id).custom_status and #w:events(id, "EventAwaited") == 2 then w:raise(id, "go", 100) end
    w:settle()
  end
end

local function run_rich(w)
  w:run("rich", { id = "r", input = 1 })
  w:advance(5)
  assert.equal(1000, (w.rt:update("r", "bonus", 1000, { id = "u" })))
  w:raise("r", "go", 100)
  w:settle()
  assert.equal(1120, w:output("r"))
end

-- The place in the history of the nth event of a kind.
local function place(w, id, kind, nth, run)
  nth = nth or 1
  for i, event in ipairs(w:history(id, { run = run })) do
    if event.kind == kind then
      nth = nth - 1
      if nth == 0 then return i end
    end
  end
  error(("'%s' has no such %s"):format(id, kind), 2)
end

describe("a fork", function()
  for _, kind in ipairs({ "Started", "ActivityScheduled", "ActivityCompleted", "Patched", "SideEffect", "Emitted", "TimerCreated",
    "TimerFired", "ChildScheduled", "ChildCompleted", "DetachedStarted", "EventRaised", "EventSent", "EventAwaited", "UpdateAccepted",
    "UpdateAnswered", "Turn", "Completed" }) do
    case("from an event of kind " .. kind .. " comes to the same end, and leaves its source alone", RICH, function(w)
      run_rich(w)
      local before, at = w:history("r", { json = true }), place(w, "r", kind)
      w:fork("r", { event = at, new_id = "f" })
      finish_rich(w, "f")
      local knows_update = at >= place(w, "r", "UpdateAccepted")
      assert.equal(knows_update and 1120 or 120, w:output("f"))
      assert.same(before, w:history("r", { json = true }))
      assert.same({ 1, 1 }, { #w:events("f", "SideEffect"), #w:events("f", "Patched") })
      assert.equal(13, w:get("f").custom_status)
    end, { alike = { "kept", "evicted" } }) -- between two openings a turn may consume less at once
  end

  case("from the start may have another input", RICH, function(w)
    run_rich(w)
    w:fork("r", { event = 1, new_id = "f", input = 50 })
    finish_rich(w, "f")
    assert.equal(218, w:output("f"))
    local message, code = w:refused("fork", "r", { event = 5, new_id = "g", input = 50 })
    assert.equal("LNT_EINVAL", code)
    assert.truthy(message:find("has seen its input", 1, true), message)
  end, { alike = { "kept", "evicted" } })

  case("of a running instance goes its own way", [[
    workflow("sums", function(ctx)
      local sum = 0
      for _ = 1, 3 do sum = sum + ctx:wait_for_external_event("n") end
      return sum
    end)]], function(w)
    w:run("sums", { id = "s" })
    w:raise("s", "n", 1)
    w:settle()
    w:fork("s", { new_id = "f" })
    w:settle()
    for _, n in ipairs({ 10, 20 }) do
      w:raise("s", "n", n)
      w:raise("f", "n", 100 * n)
      w:settle()
    end
    assert.same({ 31, 3001 }, { w:output("s"), w:output("f") })
  end)

  case("of a suspended instance has what had gathered, and is not suspended", [[
    workflow("sums", function(ctx)
      local seen = {}
      for i = 1, 3 do seen[i] = ctx:wait_for_external_event("n") end
      return seen
    end)]], function(w)
    w:run("sums", { id = "s" })
    w:suspend("s")
    w:settle()
    for i = 1, 3 do
      w:raise("s", "n", i)
      w:settle()
    end
    w:fork("s", { new_id = "f" })
    w:settle()
    assert.same({ 1, 2, 3 }, w:output("f"))
    assert.equal("SUSPENDED", w:status("s"))
    w:resume("s")
    w:settle()
    assert.same({ 1, 2, 3 }, w:output("s"))
  end)

  case("of a generation is of that run alone", [[
    workflow("counts", function(ctx, n)
      local got = ctx:wait_for_external_event("n")
      if n == 3 then return { n, got } end
      ctx:continue_as_new(n + 1)
    end)]], function(w)
    w:run("counts", { id = "c", input = 1 })
    for i = 1, 3 do
      w:raise("c", "n", i)
      w:settle()
    end
    assert.same({ 3, 3 }, w:output("c"))
    w:fork("c", { new_id = "f" })
    w:settle()
    assert.same({ 3, 3 }, w:output("f"))
    assert.equal(1, w:get("f").generation)
  end)

  case("of a child is nobody's child", [[
    workflow("kid", function(ctx) return ctx:wait_for_external_event("go") end)
    workflow("parent", function(ctx) return ctx:call_child_workflow("kid", nil, { id = "kid" }) end)]], function(w)
    w:run("parent", { id = "p" })
    w:fork("kid", { new_id = "f" })
    w:settle()
    assert.is_nil(w:get("f").parent)
    w:raise("f", "go", "fork")
    w:settle()
    assert.same({ "fork", "RUNNING" }, { w:output("f"), w:status("p") })
    w:raise("kid", "go", "kid")
    w:settle()
    assert.equal("kid", w:output("p"))
  end)

  case("is refused where there is nothing to go on from", RICH, function(w)
    run_rich(w)
    assert.equal("LNT_EEXIST", select(2, w:refused("fork", "r", { new_id = "r" })))
    assert.equal("LNT_ENOTFOUND", select(2, w:refused("fork", "nobody", { new_id = "f" })))
    local message, code = w:refused("fork", "r", { event = 1000, new_id = "f" })
    assert.equal("LNT_EINVAL", code)
    assert.truthy(message:find("no event 1000", 1, true), message)
  end)
end)

describe("a rerun", function()
  for kind, nth in pairs({ ActivityScheduled = 1, TimerCreated = 1, ChildScheduled = 1, EventAwaited = 2 }) do
    case("from " .. kind .. " does it again, and what came after it", RICH, function(w)
      run_rich(w)
      w:rerun("r", { event = place(w, "r", kind, nth), new_id = "f" })
      w:settle()
      assert.equal("RUNNING", w:status("f"))
      finish_rich(w, "f")
      assert.equal(120, w:output("f")) -- nobody asked for the update again
      assert.equal(1120, w:output("r"))
    end, { alike = { "kept", "evicted" } })
  end

  for _, kind in ipairs({ "Started", "ActivityCompleted", "Patched", "SideEffect", "Emitted", "TimerFired", "ChildCompleted",
    "DetachedStarted", "EventRaised", "EventSent", "UpdateAccepted", "UpdateAnswered", "Turn", "Completed" }) do
    case("from " .. kind .. " is refused, and says what can be run again", RICH, function(w)
      run_rich(w)
      local message, code = w:refused("rerun", "r", { event = place(w, "r", kind), new_id = "f" })
      assert.equal("LNT_EINVAL", code)
      assert.truthy(message:find(kind .. "; name one that is ActivityScheduled", 1, true), message)
      assert.equal("LNT_ENOTFOUND", select(2, w:refused("get", "f")))
    end)
  end

  case("of an activity or a child may have another input", RICH, function(w)
    run_rich(w)
    w:rerun("r", { event = place(w, "r", "ActivityScheduled"), new_id = "a", input = 100 })
    finish_rich(w, "a")
    assert.equal(318, w:output("a"))
    w:rerun("r", { event = place(w, "r", "ChildScheduled"), new_id = "c", input = 1000 })
    finish_rich(w, "c")
    assert.equal(2114, w:output("c"))
    for _, kind in ipairs({ "TimerCreated", "EventAwaited" }) do
      local message, code = w:refused("rerun", "r", { event = place(w, "r", kind), new_id = "x", input = 1 })
      assert.same({ "LNT_EINVAL", true }, { code, message:find("no input to replace", 1, true) ~= nil })
    end
  end, { alike = { "kept", "evicted" } })

  case("of one step of a fan-out keeps the answers of the others", [[
    workflow("fan", function(ctx)
      local tasks = {}
      for i = 1, 3 do tasks[i] = ctx.async:call_activity("work", i) end
      return ctx:when_all(tasks)
    end)]], function(w)
    local calls = {}
    w:host("work", function(input)
      calls[#calls + 1] = input
      return 10 * input
    end)
    w:run("fan", { id = "f" })
    assert.same({ 10, 20, 30 }, w:output("f"))
    local begun = #calls
    w:rerun("f", { event = place(w, "f", "ActivityScheduled", 2), new_id = "g", input = 7 })
    w:settle()
    assert.same({ 10, 70, 30 }, { unpack(w:output("g"), 1, 3) })
    assert.is_true(#calls > begun)
  end, { alike = false }) -- the order in which the answers came tells which are kept

  case("of what is not finished is refused", [[
    workflow("waits", function(ctx) return ctx:wait_for_external_event("go") end)]], function(w)
    w:run("waits", { id = "w" })
    assert.equal("LNT_EOPEN", select(2, w:refused("rerun", "w", { event = place(w, "w", "EventAwaited"), new_id = "x" })))
  end)
end)

-- Fails until the switch says otherwise.
local FLAKY = [[
workflow("steps", function(ctx, n)
  local first = ctx:call_activity("work", n)
  ctx:create_timer(5)
  return first + ctx:call_activity("flaky", first, { retry = { max_attempts = 2, interval = 1 } })
end)
workflow("calls", function(ctx, n) return ctx:call_child_workflow("steps", n, { id = "kid" }) end)
]]

local function flaky(w)
  local switch = { fails = true, keys = {}, work = 0 }
  w:host("work", function(n)
    switch.work = switch.work + 1
    return n
  end)
  w:host("flaky", function(n, act)
    switch.keys[#switch.keys + 1] = act.idempotency_key
    if switch.fails then error({ type = "Down", message = "not yet" }) end
    return 100 * n
  end)
  return switch
end

describe("a retry", function()
  case("tries what failed again, under the same id and key, with its whole policy", FLAKY, function(w)
    local switch = flaky(w)
    w:run("steps", { id = "s", input = 1 })
    w:advance(10)
    assert.equal("Down", w:failure("s").type)
    w:retry("s")
    w:advance(10)
    assert.equal("Down", w:failure("s").type)
    assert.equal(4, #switch.keys)
    switch.fails = false
    w:retry("s")
    w:settle()
    assert.equal(101, w:output("s"))
    assert.equal(1, switch.work)
    assert.equal(3, w:get("s").generation)
    for _, key in ipairs(switch.keys) do assert.equal(switch.keys[1], key) end
  end, { alike = { "kept", "evicted" } })

  case("tries a failed child again", FLAKY, function(w)
    local switch = flaky(w)
    w:run("calls", { id = "p", input = 1 })
    w:advance(10)
    assert.equal("kid", w:failure("p").child)
    switch.fails = false
    w:retry("p")
    w:advance(10)
    assert.equal(101, w:output("p"))
  end, { alike = { "kept", "evicted" } })

  case("is another instance to those outside than what is forked from it, whatever the event", FLAKY, function(w)
    local owner, switch = {}, { fails = true }
    local function own(act)
      if owner[act.idempotency_key] then assert.equal(owner[act.idempotency_key], act.instance_id) end
      owner[act.idempotency_key] = act.instance_id
    end
    w:host("work", function(n, act)
      own(act)
      return n
    end)
    w:host("flaky", function(n, act)
      own(act)
      if switch.fails then error({ type = "Down", message = "not yet", retryable = false }) end
      return 100 * n
    end)
    w:run("steps", { id = "s", input = 1 })
    w:advance(10)
    for _ = 1, 2 do
      w:retry("s")
      w:settle()
      assert.equal("Down", w:failure("s").type)
    end
    switch.fails = false
    w:retry("s")
    w:settle()
    assert.equal(101, w:output("s"))
    for event = 1, #w:history("s") do
      local id, told = "f" .. event, {}
      w:fork("s", { event = event, new_id = id })
      w:advance(10)
      assert.equal(101, w:output(id))
      for _, scheduled in ipairs(w:events(id, "ActivityScheduled")) do told[scheduled.idempotency_key] = true end
      for key, owned_by in pairs(owner) do assert.is_true(owned_by ~= id or told[key] == true) end
    end
  end, { alike = { "kept", "evicted" } })

  case("of a child is not seen by its parent, which has its answer", FLAKY, function(w)
    local switch = flaky(w)
    w:run("calls", { id = "p", input = 1 })
    w:advance(10)
    switch.fails = false
    w:retry("kid")
    w:advance(10)
    assert.equal(101, w:output("kid"))
    assert.equal("Down", w:failure("p").type)
  end, { alike = { "kept", "evicted" } })

  case("after an error of the workflow's own runs the newest code", [[
    workflow("mends", function(ctx, n)
      ctx:create_timer(1)
      error("no luck with " .. n)
    end)]], function(w)
    w:run("mends", { id = "m", input = 1 })
    w:advance(1)
    assert.truthy(w:failure("m").message:find("no luck with 1", 1, true))
    w:load([[
      workflow("mends", function(ctx, n)
        ctx:create_timer(1)
        return n + 1
      end)]])
    w:retry("m")
    w:settle()
    assert.equal(2, w:output("m"))
  end)

  for _, how in ipairs({ "terminate", "cancel" }) do
    case("after " .. how .. " goes on as if that had not been", [[
      workflow("waits", function(ctx)
        local first = ctx:wait_for_external_event("n")
        return first + ctx:wait_for_external_event("n")
      end)]], function(w)
      w:run("waits", { id = "w" })
      w:raise("w", "n", 1)
      w:settle()
      w[how](w, "w")
      w:settle()
      assert.equal(how == "cancel" and "CANCELED" or "TERMINATED", w:status("w"))
      w:retry("w")
      w:settle()
      assert.equal("RUNNING", w:status("w"))
      w:raise("w", "n", 10)
      w:settle()
      assert.equal(11, w:output("w"))
    end)
  end

  case("of what completed, runs or is nobody is refused", RICH, function(w)
    w:start("rich", { id = "r", input = 1 })
    w:settle()
    assert.equal("LNT_EOPEN", select(2, w:refused("retry", "r")))
    assert.equal("LNT_ENOTFOUND", select(2, w:refused("retry", "nobody")))
    finish_rich(w, "r")
    assert.equal("COMPLETED", w:status("r"))
    assert.equal("LNT_EINVAL", select(2, w:refused("retry", "r")))
  end)
end)
