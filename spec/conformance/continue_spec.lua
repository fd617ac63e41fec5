-- Conformance: continue as new. What goes over to the next generation, what is left behind, who ends what.
local case = require("spec.conformance.support").case

describe("continue_as_new", function()
  case("runs the workflow again with the new input, under the same id", [[
    workflow("counter", function(ctx, n)
      ctx:create_timer(1)
      if n < 10 then ctx:continue_as_new(n + 1) end
      return n
    end)]], function(w)
    w:run("counter", { id = "c", input = 1 })
    w:advance(10)
    assert.equal(10, w:output("c"))
    assert.equal(10, w:get("c").input)
    assert.same({ Started = 1, TimerCreated = 1, TimerFired = 1, Completed = 1 }, w:kinds("c"))
  end)

  case("may happen many times without a wait between", [[
    workflow("counter", function(ctx, n)
      if n < 50 then ctx:continue_as_new(n + 1) end
      return n
    end)]], function(w)
    w:run("counter", { id = "c", input = 1 })
    assert.equal(50, w:output("c"))
  end)

  case("is the end of the function: nothing after it runs, and no pcall sees it", [[
    workflow("ends", function(ctx, again)
      if again then return "second" end
      local ok = pcall(function()
        pcall(ctx.continue_as_new, ctx, true)
        ctx:set_custom_status("after")
      end)
      return ok
    end)]], function(w)
    w:run("ends", { id = "e" })
    assert.equal("second", w:output("e"))
    assert.is_nil(w:get("e").custom_status)
  end)

  case("begins anew: locals, branches, numbers of calls", [[
    local count = 0
    workflow("anew", function(ctx, seen)
      seen = seen or {}
      count = count + 1
      seen[#seen + 1] = { count = count, length = ctx:history_length(), draw = ctx:random(1000000), uuid = ctx:uuid() }
      ctx:create_timer(1)
      if #seen < 3 then ctx:continue_as_new(seen) end
      return seen
    end)]], function(w)
    w:run("anew", { id = "a" })
    w:advance(5)
    local seen, uuids = w:output("a"), {}
    assert.equal(3, #seen)
    for _, row in ipairs(seen) do
      assert.same({ 1, seen[1].length }, { row.count, row.length })
      assert.is_nil(uuids[row.uuid])
      uuids[row.uuid] = true
    end
    assert.are_not.equal(seen[1].draw, seen[2].draw)
  end)

  case("keeps custom status and attributes until they are set again", [[
    workflow("keeps", function(ctx, n)
      if n == 1 then
        ctx:set_custom_status("first")
        ctx:set_attributes({ kind = "x" })
      end
      ctx:wait_for_external_event("go")
      if n == 1 then ctx:continue_as_new(2) end
      return ctx:attributes()
    end)]], function(w)
    w:run("keeps", { id = "k", input = 1 })
    w:raise("k", "go")
    w:settle()
    assert.same({ "first", { kind = "x" }, "RUNNING" }, { w:get("k").custom_status, w:get("k").attributes, w:status("k") })
    w:raise("k", "go")
    w:settle()
    assert.same({ kind = "x" }, w:output("k"))
  end)

  case("never lets now go back", [[
    workflow("clock", function(ctx, last)
      assert(ctx:now() >= (last or 0))
      ctx:create_timer(1)
      if ctx:now() < 1767225605 then ctx:continue_as_new(ctx:now()) end
      return ctx:now()
    end)]], function(w)
    w:run("clock", { id = "c" })
    w:advance(10)
    assert.equal(1767225605, w:output("c"))
  end)

  case("keeps the history short: a hundred generations under a limit of fifty events", [[
    activity("step", function(n) return n + 1 end)
    workflow("long", function(ctx, n)
      for _ = 1, 3 do n = ctx:call_activity("step", n) end
      if n < 300 then ctx:continue_as_new(n) end
      return n
    end)]], function(w)
    w:run("long", { id = "l", input = 0 })
    assert.equal(300, w:output("l"))
  end, { limits = { history_events_max = 50 } })
end)

describe("should_continue_as_new", function()
  case("is true from half of the limit on, and in every replay", [[
    activity("step", function(n) return n + 1 end)
    workflow("long", function(ctx, state)
      local n, lengths = state.n, state.lengths
      while not ctx:should_continue_as_new() do
        n = ctx:call_activity("step", n)
        if n == 100 then return { n = n, lengths = lengths } end
      end
      lengths[#lengths + 1] = ctx:history_length()
      ctx:create_timer(1)
      ctx:continue_as_new({ n = n, lengths = lengths })
    end)]], function(w)
    w:run("long", { id = "l", input_json = '{"n":0,"lengths":[]}' })
    w:advance(60)
    local output = w:output("l")
    assert.equal(100, output.n)
    assert.is_true(#output.lengths > 2)
    for _, length in ipairs(output.lengths) do assert.equal(output.lengths[1], length) end
    assert.is_true(output.lengths[1] >= 10 and output.lengths[1] <= 30)
  end, { limits = { history_events_max = 40 } })

  case("is false of a short history, and records nothing", [[
    workflow("short", function(ctx) return ctx:should_continue_as_new() end)]], function(w)
    w:run("short", { id = "s" })
    assert.is_false(w:output("s"))
    assert.same({ Started = 1, Completed = 1 }, w:kinds("s"))
  end)
end)

describe("events and continue_as_new", function()
  local COLLECTOR = [[
    workflow("collector", function(ctx, state)
      local seen = state.seen
      for _ = 1, state.each do
        seen[#seen + 1] = ctx:wait_for_external_event("n")
        if #seen == state.total then return { seen = seen, generations = state.generation } end
      end
      ctx:continue_as_new({ seen = seen, each = state.each, total = state.total, generation = state.generation + 1 },
        { carry_events = state.carry })
    end)]]

  case("nobody took go over, in their order, over 25 generations", COLLECTOR, function(w)
    w:run("collector", { id = "c", input_json = '{"seen":[],"each":2,"total":50,"generation":1}' })
    for i = 1, 50 do w:raise("c", "n", i) end
    w:settle()
    local output = w:output("c")
    assert.equal(25, output.generations)
    for i = 1, 50 do assert.equal(i, output.seen[i]) end
  end)

  case("raised one by one while generations follow each other are all seen", COLLECTOR, function(w)
    w:run("collector", { id = "c", input_json = '{"seen":[],"each":1,"total":30,"generation":1}' })
    for i = 1, 30 do
      w:raise("c", "n", i)
      if i % 3 == 0 then w:tick() end
    end
    w:settle()
    local output = w:output("c")
    assert.equal(30, output.generations)
    for i = 1, 30 do assert.equal(i, output.seen[i]) end
  end)

  case("that a task holds and nobody took go over too", [[
    workflow("holds", function(ctx, again)
      if again then return { ctx:wait_for_external_event("n"), ctx:wait_for_external_event("n") } end
      local task = ctx.async:wait_for_external_event("n")
      ctx:wait_for_external_event("go")
      assert(task:done())
      ctx:continue_as_new(true)
    end)]], function(w)
    w:run("holds", { id = "h" })
    w:raise("h", "n", 1)
    w:raise("h", "n", 2)
    w:raise("h", "go")
    w:settle()
    assert.same({ 1, 2 }, w:output("h"))
  end)

  case("that were taken do not", [[
    workflow("takes", function(ctx, again)
      if again then
        local ok, err = pcall(ctx.wait_for_external_event, ctx, "n", { timeout = 1 })
        return ok or err.type
      end
      ctx:wait_for_external_event("n")
      ctx:continue_as_new(true)
    end)]], function(w)
    w:run("takes", { id = "t" })
    w:raise("t", "n", 1)
    w:settle()
    w:advance(1)
    assert.equal("Timeout", w:output("t"))
  end)

  case("are left behind when the author says so", [[
    workflow("drops", function(ctx, again)
      if again then
        local ok, err = pcall(ctx.wait_for_external_event, ctx, "n", { timeout = 1 })
        return ok or err.type
      end
      ctx:wait_for_external_event("go")
      ctx:continue_as_new(true, { carry_events = false })
    end)]], function(w)
    w:run("drops", { id = "d" })
    w:raise("d", "n", 1)
    w:raise("d", "n", 2)
    w:raise("d", "go")
    w:settle()
    w:advance(1)
    assert.equal("Timeout", w:output("d"))
  end)

  case("of the sender's own go over", [[
    workflow("self", function(ctx, again)
      if again then return ctx:wait_for_external_event("note") end
      ctx:raise_event(ctx.instance_id, "note", "to my next self")
      ctx:continue_as_new(true)
    end)]], function(w)
    w:run("self", { id = "s" })
    assert.equal("to my next self", w:output("s"))
  end)

  case("survive a restart between two generations", COLLECTOR, function(w)
    w:run("collector", { id = "c", input_json = '{"seen":[],"each":2,"total":6,"generation":1}' })
    for i = 1, 3 do w:raise("c", "n", i) end
    w:settle()
    w:reopen()
    for i = 4, 6 do w:raise("c", "n", i) end
    w:reopen()
    w:settle()
    assert.same({ seen = { 1, 2, 3, 4, 5, 6 }, generations = 3 }, w:output("c"))
  end, { disk = true })
end)

describe("what waits when a workflow continues as new", function()
  case("is given up: timers, waits, activities in flight", [[
    workflow("leaves", function(ctx, again)
      if again then
        ctx:create_timer(200)
        return "second"
      end
      ctx.async:create_timer(100)
      ctx.async:wait_for_external_event("n", { timeout = 150 })
      ctx.async:call_activity("slow")
      ctx:wait_for_external_event("go")
      ctx:continue_as_new(true)
    end)]], function(w)
    local begun = w:deferred("slow")
    w:run("leaves", { id = "l" })
    w:raise("l", "go")
    w:settle()
    w:complete_late(begun[1].token, "late")
    w:settle()
    w:advance(300)
    assert.equal("second", w:output("l"))
    assert.equal(1, #w:events("l", "TimerFired"))
    assert.equal(0, #w:events("l", "ActivityCompleted"))
  end)

  case("does not come back: retries of the old generation end with it", [[
    workflow("leaves", function(ctx, again)
      if again then
        ctx:create_timer(100)
        return "second"
      end
      ctx.async:call_activity("flaky", nil, { retry = { max_attempts = 100, interval = 5, backoff = 1 } })
      ctx:create_timer(12)
      ctx:continue_as_new(true)
    end)]], function(w)
    local attempts = 0
    w:host("flaky", function()
      attempts = attempts + 1
      error("again")
    end)
    w:run("leaves", { id = "l" })
    w:advance(200)
    assert.same({ "second", 3 }, { w:output("l"), attempts })
  end)

  local CHILDREN = [[
    workflow("child", function(ctx) return ctx:wait_for_external_event("go") end)
    workflow("parent", function(ctx, policy)
      if policy == "second" then
        ctx:wait_for_external_event("end")
        return "second"
      end
      ctx.async:call_child_workflow("child", nil, { id = "kid", on_parent_close = policy })
      ctx:wait_for_external_event("on")
      ctx:continue_as_new("second")
    end)]]

  for _, row in ipairs({ { "terminate", "TERMINATED" }, { "cancel", "CANCELED" }, { "abandon", "RUNNING" } }) do
    local policy, status = row[1], row[2]
    case("a child with the policy " .. policy .. " is " .. status, CHILDREN, function(w)
      w:run("parent", { id = "p", input = policy })
      w:raise("p", "on")
      w:settle()
      assert.equal(status, w:status("kid"))
      w:raise("p", "end")
      w:settle()
      assert.equal("second", w:output("p"))
      if status == "RUNNING" then
        w:raise("kid", "go", "alone")
        w:settle()
        assert.equal("alone", w:output("kid"))
      end
    end)
  end

  case("a child that ends in the tick in which its parent goes on hangs nobody", CHILDREN, function(w)
    w:run("parent", { id = "p", input = "abandon" })
    w:raise("p", "on")
    w:raise("kid", "go", "just now")
    w:settle()
    assert.same({ "RUNNING", "just now" }, { w:status("p"), w:output("kid") })
    w:raise("p", "end")
    w:settle()
    assert.equal("second", w:output("p"))
  end)

  case("a child of the next generation has an id of its own", [[
    workflow("child", function(ctx) return ctx.instance_id end)
    workflow("parent", function(ctx, ids)
      ids = ids or {}
      ids[#ids + 1] = ctx:call_child_workflow("child")
      if #ids < 3 then ctx:continue_as_new(ids) end
      return ids
    end)]], function(w)
    w:run("parent", { id = "p" })
    assert.same({ "p:0001", "p:2.0001", "p:3.0001" }, w:output("p"))
  end)
end)

describe("a child that continues as new", function()
  case("answers its parent with its last generation", [[
    workflow("child", function(ctx, n)
      ctx:create_timer(1)
      if n < 5 then ctx:continue_as_new(n + 1) end
      return n
    end)
    workflow("parent", function(ctx) return ctx:call_child_workflow("child", 1, { id = "kid" }) end)]], function(w)
    w:run("parent", { id = "p" })
    w:advance(5)
    assert.same({ 5, 5 }, { w:output("p"), w:output("kid") })
    assert.equal(1, #w:events("p", "ChildCompleted"))
  end)

  case("fails its parent when a later generation fails", [[
    workflow("child", function(ctx, n)
      if n == 3 then error({ type = "Third", message = "x" }) end
      ctx:continue_as_new(n + 1)
    end)
    workflow("parent", function(ctx)
      local ok, err = pcall(ctx.call_child_workflow, ctx, "child", 1)
      return { ok, err.type }
    end)]], function(w)
    w:run("parent", { id = "p" })
    assert.same({ false, "Third" }, w:output("p"))
  end)

  case("is terminated with its parent, whatever generation it is", [[
    workflow("child", function(ctx, n)
      ctx:create_timer(1)
      ctx:continue_as_new(n + 1)
    end)
    workflow("parent", function(ctx) return ctx:call_child_workflow("child", 1, { id = "kid" }) end)]], function(w)
    w:run("parent", { id = "p" })
    w:advance(7)
    w:terminate("p", "enough")
    w:settle()
    assert.same({ "TERMINATED", "TERMINATED" }, { w:status("p"), w:status("kid") })
  end)

  case("counts against the timeout of its call over all generations", [[
    workflow("child", function(ctx, n)
      ctx:create_timer(3)
      ctx:continue_as_new(n + 1)
    end)
    workflow("parent", function(ctx)
      local ok, err = pcall(ctx.call_child_workflow, ctx, "child", 1, { id = "kid", timeout = 10 })
      return { ok, err.type, ctx:now() - 1767225600 }
    end)]], function(w)
    w:run("parent", { id = "p" })
    w:advance(30)
    assert.same({ false, "Timeout", 10 }, w:output("p"))
    assert.equal("TERMINATED", w:status("kid"))
  end)
end)

describe("continue_as_new and requests in one tick:", function()
  local WAITER = [[
    workflow("waiter", function(ctx, n)
      local value = ctx:wait_for_external_event("go")
      if value == "end" then return n end
      ctx:continue_as_new(n + 1)
    end)]]

  case("terminate after it wins", WAITER, function(w)
    w:run("waiter", { id = "w", input = 1 })
    w:raise("w", "go", "on")
    w:terminate("w", "enough")
    w:settle()
    assert.equal("enough", w:failure("w", "TERMINATED").message)
  end)

  case("terminate before it wins", WAITER, function(w)
    w:run("waiter", { id = "w", input = 1 })
    w:terminate("w", "enough")
    w:raise("w", "go", "on")
    w:settle()
    assert.equal("enough", w:failure("w", "TERMINATED").message)
  end)

  case("cancel reaches the next generation", WAITER, function(w)
    w:run("waiter", { id = "w", input = 1 })
    w:raise("w", "go", "on")
    w:cancel("w", "enough")
    w:settle()
    assert.equal("enough", w:failure("w", "CANCELED").message)
  end)

  case("suspend holds the next generation, and what comes meanwhile is kept", WAITER, function(w)
    w:run("waiter", { id = "w", input = 1 })
    w:raise("w", "go", "on")
    w:suspend("w")
    w:settle()
    assert.equal("SUSPENDED", w:status("w"))
    w:raise("w", "go", "on")
    w:raise("w", "go", "end")
    w:settle()
    assert.equal("SUSPENDED", w:status("w"))
    w:resume("w")
    w:settle()
    assert.equal(3, w:output("w"))
  end)

  case("events go to the generations that wait for them", WAITER, function(w)
    w:run("waiter", { id = "w", input = 1 })
    for _ = 1, 5 do w:raise("w", "go", "on") end
    w:raise("w", "go", "end")
    w:settle()
    assert.equal(6, w:output("w"))
  end)

  case("its id stays taken", WAITER, function(w)
    w:run("waiter", { id = "w", input = 1 })
    w:raise("w", "go", "on")
    assert.equal("LNT_EEXIST", select(2, w:refused("start", "waiter", { id = "w", input = 1 })))
    w:settle()
    assert.equal("LNT_EEXIST", select(2, w:refused("start", "waiter", { id = "w", input = 1 })))
    w:raise("w", "go", "end")
    w:settle()
    assert.equal(2, w:output("w"))
  end)
end)

describe("continue_as_new is refused", function()
  local function refuses(what, code, word)
    case(what, ("workflow('bad', function(ctx)\n  %s\n  ctx:create_timer(1)\n  return 'went on'\nend)"):format(code), function(w)
      w:run("bad", { id = "b" })
      local message = w:failure("b").message
      assert.truthy(message:find("case.lua:2:", 1, true), message)
      assert.truthy(message:find(word, 1, true), message)
    end)
  end

  refuses("with an input that is no data", "ctx:continue_as_new({ f = print })", "input.f")
  refuses("with an unknown option", "ctx:continue_as_new(1, { save_events = true })", "save_events")
  refuses("inside a shield", "ctx:shield(function() ctx:continue_as_new() end)", "shield")

  case("in a branch", [[
    workflow("bad", function(ctx)
      local side = ctx:spawn(function() ctx:continue_as_new(1) end)
      local ok, err = pcall(side.await, side)
      return { ok, err.message }
    end)]], function(w)
    w:run("bad", { id = "b" })
    assert.is_false(w:output("b")[1])
    assert.truthy(w:output("b")[2]:find("branch", 1, true))
  end)
end)
