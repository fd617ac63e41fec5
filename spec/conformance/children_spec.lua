-- Conformance: children, detached starts, events between instances.
local case = require("spec.conformance.support").case

local DOUBLE = [[
activity("double", function(n) return n * 2 end)
workflow("child", function(ctx, n) return ctx:call_activity("double", n) end)
]]

-- A parent that calls "child" with its input as options and tells how it ended; the child's own source follows.
local CALLS = [[
workflow("parent", function(ctx, options)
  local ok, value = pcall(ctx.call_child_workflow, ctx, "child", 21, options)
  if ok then return { ok = true, value = value } end
  return { ok = false, type = value.type, message = value.message, child = value.child }
end)
]]

local SLEEPY = [[
workflow("child", function(ctx)
  local ok, err = pcall(ctx.create_timer, ctx, "1h")
  if ok then return "slept" end
  ctx:set_custom_status("cleaned")
  error(err)
end)
]]

local LISTENS = [[
workflow("child", function(ctx) return ctx:wait_for_external_event("go") end)
]]

describe("a child", function()
  case("gives its result to its parent", CALLS .. DOUBLE, function(w)
    w:run("parent", { id = "p" })
    assert.same({ ok = true, value = 42 }, w:output("p"))
    assert.equal(42, w:output("p:0001"))
    assert.same({ Started = 1, ChildScheduled = 1, ChildCompleted = 1, Completed = 1 }, w:kinds("p"))
  end)

  case("has the id that it was given", CALLS .. DOUBLE, function(w)
    w:run("parent", { id = "p", input = { id = "kid" } })
    assert.same({ ok = true, value = 42 }, w:output("p"))
    assert.same({ "child", 21 }, { w:get("kid").workflow, w:get("kid").input })
    assert.equal("kid", w:events("p", "ChildScheduled")[1].id)
  end)

  case("has an id by the number of its call when it was given none", DOUBLE .. [[
    workflow("parent", function(ctx)
      ctx:create_timer(1)
      local a = ctx.async:call_child_workflow("child", 1)
      local b = ctx.async:call_child_workflow("child", 2)
      return ctx:when_all({ a, b })
    end)]], function(w)
    w:run("parent", { id = "p" })
    w:advance(1)
    assert.same({ 2, 4 }, w:output("p"))
    assert.equal(2, w:output("p:0002"))
    assert.equal(4, w:output("p:0003"))
  end)

  case("that fails fails its parent with its failure and its id", CALLS .. [[
    workflow("child", function() error({ type = "NoStock", message = "none left" }) end)]], function(w)
    w:run("parent", { id = "p", input = { id = "kid" } })
    assert.same({ ok = false, type = "NoStock", message = "none left", child = "kid" }, w:output("p"))
    assert.equal("NoStock", w:failure("kid").type)
  end)

  case("that fails deep down fails everything above that does not catch it", [[
    workflow("deep", function(ctx, n)
      if n == 0 then error({ type = "Bottom", message = "reached" }) end
      return ctx:call_child_workflow("deep", n - 1)
    end)]], function(w)
    w:run("deep", { id = "d", input = 4 })
    assert.equal("Bottom", w:failure("d").type)
    assert.equal("Bottom", w:failure("d:0001:0001:0001:0001").type)
    assert.equal(5, #w:list({ status = "FAILED" }))
  end)

  case("that is terminated from outside fails its parent's call", CALLS .. SLEEPY, function(w)
    w:run("parent", { id = "p", input = { id = "kid" } })
    w:terminate("kid", "by hand")
    w:settle()
    assert.same({ ok = false, type = "Terminated", message = "by hand", child = "kid" }, w:output("p"))
  end)

  case("that is canceled from outside cleans up and fails its parent's call", CALLS .. SLEEPY, function(w)
    w:run("parent", { id = "p", input = { id = "kid" } })
    w:cancel("kid", "by hand")
    w:settle()
    assert.same({ ok = false, type = "Canceled", message = "by hand", child = "kid" }, w:output("p"))
    assert.equal("cleaned", w:get("kid").custom_status)
    assert.equal("CANCELED", w:status("kid"))
  end)

  case("that nobody registered fails the call", CALLS, function(w)
    w:run("parent", { id = "p" })
    assert.same({ false, "WorkflowNotRegistered" }, { w:output("p").ok, w:output("p").type })
    assert.truthy(w:output("p").message:find("child", 1, true))
    assert.equal(1, #w:list())
  end)

  case("whose id is taken fails the call, and the other is left alone", CALLS .. DOUBLE .. [[
    workflow("other", function(ctx) return ctx:wait_for_external_event("go") end)]], function(w)
    w:run("other", { id = "kid" })
    w:run("parent", { id = "p", input = { id = "kid" } })
    assert.same({ false, "WorkflowInstanceAlreadyExists" }, { w:output("p").ok, w:output("p").type })
    w:raise("kid", "go", "mine")
    w:settle()
    assert.equal("mine", w:output("kid"))
  end)

  case("whose id is its parent's fails the call", CALLS .. DOUBLE, function(w)
    w:run("parent", { id = "p", input = { id = "p" } })
    assert.equal("WorkflowInstanceAlreadyExists", w:output("p").type)
  end)

  case("is suspended and resumed by itself, and its parent waits", CALLS .. LISTENS, function(w)
    w:run("parent", { id = "p", input = { id = "kid" } })
    w:suspend("kid")
    w:raise("kid", "go", "heard")
    w:settle()
    assert.same({ "RUNNING", "SUSPENDED" }, { w:status("p"), w:status("kid") })
    w:resume("kid")
    w:settle()
    assert.same({ ok = true, value = "heard" }, w:output("p"))
  end)

  case("may answer while its parent is suspended", CALLS .. LISTENS, function(w)
    w:run("parent", { id = "p", input = { id = "kid" } })
    w:suspend("p")
    w:raise("kid", "go", "heard")
    w:settle()
    assert.same({ "SUSPENDED", "COMPLETED" }, { w:status("p"), w:status("kid") })
    w:resume("p")
    w:settle()
    assert.same({ ok = true, value = "heard" }, w:output("p"))
  end)

  case("may wait for events and timers of its own", CALLS .. [[
    workflow("child", function(ctx)
      local value = ctx:wait_for_external_event("go")
      ctx:create_timer(value)
      return ctx:now() - 1767225600
    end)]], function(w)
    w:run("parent", { id = "p", input = { id = "kid" } })
    w:raise("kid", "go", 30)
    w:advance(30)
    assert.same({ ok = true, value = 30 }, w:output("p"))
  end)

  case("is seen once by its parent, however often the parent is rebuilt", DOUBLE .. [[
    workflow("parent", function(ctx)
      local sum = 0
      for i = 1, 10 do sum = sum + ctx:call_child_workflow("child", i) end
      return sum
    end)]], function(w)
    w:run("parent", { id = "p" })
    assert.equal(110, w:output("p"))
    assert.equal(10, #w:events("p", "ChildCompleted"))
    assert.equal(11, #w:list())
  end)
end)

describe("children", function()
  case("run side by side, and their results come in order", DOUBLE .. [[
    workflow("parent", function(ctx, n)
      local tasks = {}
      for i = 1, n do tasks[i] = ctx.async:call_child_workflow("child", i) end
      local sum = 0
      for i, value in ipairs(ctx:when_all(tasks)) do
        assert(value == 2 * i)
        sum = sum + value
      end
      return sum
    end)]], function(w)
    w:run("parent", { id = "p", input = 100 })
    assert.equal(10100, w:output("p"))
    assert.equal(101, #w:list({ status = "COMPLETED", limit = 1000 }))
  end)

  case("may race: the loser goes on unless it is canceled", [[
    workflow("child", function(ctx, seconds)
      ctx:create_timer(seconds)
      return seconds
    end)
    workflow("parent", function(ctx, cancel)
      local tasks = {
        ctx.async:call_child_workflow("child", 10, { id = "slow" }), ctx.async:call_child_workflow("child", 5, { id = "fast" }),
      }
      local which, value = ctx:when_any(tasks, { cancel_losers = cancel })
      if not cancel then tasks[1]:await() end
      return { which, value, ctx:now() - 1767225600 }
    end)]], function(w)
    w:run("parent", { id = "p", input = false })
    w:advance(20)
    assert.same({ 2, 5, 10 }, w:output("p"))
    assert.equal(10, w:output("slow"))
  end)

  case("that lose and are canceled are terminated", [[
    workflow("child", function(ctx, seconds) ctx:create_timer(seconds) return seconds end)
    workflow("parent", function(ctx)
      local tasks = {
        ctx.async:call_child_workflow("child", 10, { id = "slow" }), ctx.async:call_child_workflow("child", 5, { id = "fast" }),
      }
      local which = ctx:when_any(tasks, { cancel_losers = true })
      ctx:create_timer(60)
      return which
    end)]], function(w)
    w:run("parent", { id = "p" })
    w:advance(100)
    assert.equal(2, w:output("p"))
    assert.equal("TERMINATED", w:status("slow"))
  end)

  case("of a scope end with it", SLEEPY .. [[
    workflow("parent", function(ctx)
      local ok, err = pcall(ctx.scope, ctx, function()
        ctx.async:call_child_workflow("child", nil, { id = "a", on_parent_close = "cancel" })
        ctx.async:call_child_workflow("child", nil, { id = "b" })
        ctx.async:call_child_workflow("child", nil, { id = "c", on_parent_close = "abandon" })
        ctx:create_timer(5)
        error({ type = "Broke", message = "x" })
      end)
      ctx:create_timer(5)
      return err.type
    end)]], function(w)
    w:run("parent", { id = "p" })
    w:advance(10)
    assert.equal("Broke", w:output("p"))
    assert.same({ "CANCELED", "TERMINATED", "RUNNING" }, { w:status("a"), w:status("b"), w:status("c") })
    w:jump(3600)
    assert.equal("slept", w:output("c"))
  end)
end)

describe("the timeout of a child", function()
  case("fails the call and terminates the child", CALLS .. SLEEPY, function(w)
    w:run("parent", { id = "p", input = { id = "kid", timeout = 60 } })
    w:advance(60)
    assert.same({ false, "Timeout", "kid" }, { w:output("p").ok, w:output("p").type, w:output("p").child })
    assert.equal("TERMINATED", w:status("kid"))
  end)

  case("that does not strike leaves nothing behind", CALLS .. DOUBLE, function(w)
    w:run("parent", { id = "p", input = { id = "kid", timeout = 60 } })
    assert.same({ ok = true, value = 42 }, w:output("p"))
    assert.equal(0, #w:events("p", "TimerFired"))
  end)

  case("and the child's end in one tick end one way", CALLS .. [[
    workflow("child", function(ctx)
      ctx:create_timer(60)
      return "in time"
    end)]], function(w)
    w:run("parent", { id = "p", input = { id = "kid", timeout = 60 } })
    w:advance(60)
    local output, status = w:output("p"), w:status("kid")
    if output.ok then assert.equal("COMPLETED", status) else assert.equal("Timeout", output.type) end
  end)
end)

describe("retries of a child", function()
  local FLAKY = CALLS .. [[
    workflow("child", function(ctx, n) return ctx:call_activity("flaky", ctx.instance_id) end)]]

  case("start another child under another id", FLAKY, function(w)
    local ids = {}
    w:host("flaky", function(id)
      ids[#ids + 1] = id
      if #ids < 3 then error("again") end
      return "ok"
    end)
    w:run("parent", { id = "p", input = { id = "kid", retry = { max_attempts = 5, interval = 10, backoff = 1 } } })
    w:advance(60)
    assert.same({ ok = true, value = "ok" }, w:output("p"))
    assert.same({ "kid", "kid~2", "kid~3" }, ids)
    assert.equal(2, #w:events("p", "ChildRetried"))
  end)

  case("wait by the policy", FLAKY, function(w)
    local at = {}
    w:host("flaky", function()
      at[#at + 1] = w:time()
      error({ type = "Down", message = "down" })
    end)
    w:run("parent", { id = "p", input = { retry = { max_attempts = 4, interval = 1, backoff = 3 } } })
    w:advance(60)
    assert.same({ 0, 1, 4, 13 }, at)
    assert.same({ false, "Down", "p:0001~4" }, { w:output("p").ok, w:output("p").type, w:output("p").child })
  end)

  case("do not happen for a type that the policy names", FLAKY, function(w)
    local attempts = 0
    w:host("flaky", function()
      attempts = attempts + 1
      error({ type = "Fatal", message = "no" })
    end)
    w:run("parent", { id = "p", input = { retry = { max_attempts = 5, non_retryable = { "Fatal" } } } })
    w:advance(60)
    assert.same({ "Fatal", 1 }, { w:output("p").type, attempts })
  end)

  case("end when the parent is terminated between two", FLAKY, function(w)
    local attempts = 0
    w:host("flaky", function()
      attempts = attempts + 1
      error("again")
    end)
    w:run("parent", { id = "p", input = { retry = { max_attempts = 9, interval = 10, backoff = 1 } } })
    w:advance(15)
    w:terminate("p")
    w:settle()
    w:advance(100)
    assert.equal(2, attempts)
    assert.equal("TERMINATED", w:status("p"))
  end)
end)

describe("when the parent ends", function()
  local function parent_that(how) return SLEEPY .. ([[
    workflow("parent", function(ctx, policy)
      ctx.async:call_child_workflow("child", nil, { id = "kid", on_parent_close = policy })
      ctx:wait_for_external_event("go")
      %s
    end)]]):format(how) end

  for _, row in ipairs({ { "completes", "return 1" }, { "fails", "error('x')" } }) do
    local how, code = row[1], row[2]
    case("and " .. how .. ", its children are terminated, unless it says otherwise", parent_that(code), function(w)
      w:run("parent", { id = "p" })
      w:raise("p", "go")
      w:settle()
      assert.same({ how == "completes" and "COMPLETED" or "FAILED", "TERMINATED" }, { w:status("p"), w:status("kid") })
    end)
  end

  case("its children may be canceled, and clean up", parent_that("return 1"), function(w)
    w:run("parent", { id = "p", input = "cancel" })
    w:raise("p", "go")
    w:settle()
    assert.same({ "COMPLETED", "CANCELED", "cleaned" }, { w:status("p"), w:status("kid"), w:get("kid").custom_status })
  end)

  case("its children may be left alone", parent_that("return 1"), function(w)
    w:run("parent", { id = "p", input = "abandon" })
    w:raise("p", "go")
    w:settle()
    assert.same({ "COMPLETED", "RUNNING" }, { w:status("p"), w:status("kid") })
    w:jump(3600)
    assert.equal("slept", w:output("kid"))
  end)

  case("terminated, the whole tree under it is terminated", [[
    workflow("tree", function(ctx, depth)
      if depth == 0 then return ctx:wait_for_external_event("never") end
      ctx:when_all({ ctx.async:call_child_workflow("tree", depth - 1), ctx.async:call_child_workflow("tree", depth - 1) })
    end)]], function(w)
    w:run("tree", { id = "t", input = 3 })
    assert.equal(15, #w:list({ status = "RUNNING" }))
    w:terminate("t", "all of it")
    w:settle()
    assert.equal(15, #w:list({ status = "TERMINATED" }))
  end)

  case("canceled, each child below is told by its own policy", SLEEPY .. [[
    workflow("parent", function(ctx)
      local tasks = {}
      for i, policy in ipairs({ "terminate", "cancel", "abandon" }) do
        tasks[i] = ctx.async:call_child_workflow("child", nil, { id = policy, on_parent_close = policy })
      end
      ctx:when_all(tasks)
    end)]], function(w)
    w:run("parent", { id = "p" })
    w:cancel("p", "enough")
    w:settle()
    assert.same({ "CANCELED", "TERMINATED", "CANCELED", "RUNNING" },
      { w:status("p"), w:status("terminate"), w:status("cancel"), w:status("abandon") })
  end)

  case("in the tick in which its child starts, nothing is left running", CALLS .. SLEEPY, function(w)
    w:start("parent", { id = "p", input = { id = "kid" } })
    w:terminate("p", "at once")
    w:settle()
    assert.equal("TERMINATED", w:status("p"))
    for _, instance in ipairs(w:list()) do assert.equal("TERMINATED", instance.status) end
  end)

  case("a suspended child is terminated too", CALLS .. SLEEPY, function(w)
    w:run("parent", { id = "p", input = { id = "kid" } })
    w:suspend("kid")
    w:settle()
    w:terminate("p")
    w:settle()
    assert.same({ "TERMINATED", "TERMINATED" }, { w:status("p"), w:status("kid") })
  end)

  case("the late answer of an abandoned child goes nowhere", CALLS .. LISTENS, function(w)
    w:run("parent", { id = "p", input = { id = "kid", on_parent_close = "abandon" } })
    w:terminate("p")
    w:settle()
    w:raise("kid", "go", "late")
    w:settle()
    assert.equal("TERMINATED", w:status("p"))
    assert.equal("late", w:output("kid"))
    assert.equal(0, #w:events("p", "ChildCompleted"))
  end)
end)

describe("a detached workflow", function()
  case("runs on when who started it has ended", [[
    workflow("other", function(ctx, n)
      ctx:create_timer(60)
      return n
    end)
    workflow("starts", function(ctx)
      return { ctx:start_workflow("other", 7, { id = "free" }), ctx:start_workflow("other", 8) }
    end)]], function(w)
    w:run("starts", { id = "s" })
    local ids = w:output("s")
    assert.equal("free", ids[1])
    w:advance(60)
    assert.same({ 7, 8 }, { w:output(ids[1]), w:output(ids[2]) })
  end)

  case("is not terminated with who started it", SLEEPY .. [[
    workflow("starts", function(ctx)
      ctx:start_workflow("child", nil, { id = "free" })
      ctx:wait_for_external_event("go")
    end)]], function(w)
    w:run("starts", { id = "s" })
    w:terminate("s")
    w:settle()
    assert.same({ "TERMINATED", "RUNNING" }, { w:status("s"), w:status("free") })
  end)

  case("is started once, however often the starter is rebuilt", DOUBLE .. [[
    workflow("starts", function(ctx)
      for i = 1, 5 do
        ctx:start_workflow("child", i)
        ctx:create_timer(1)
      end
    end)]], function(w)
    w:run("starts", { id = "s" })
    w:advance(5)
    assert.equal(6, #w:list({ status = "COMPLETED" }))
  end)

  case("that cannot be started is a failure in who starts it", [[
    workflow("starts", function(ctx)
      local ok, err = pcall(ctx.start_workflow, ctx, "nothing")
      local ok2, err2 = pcall(ctx.start_workflow, ctx, "starts", nil, { id = "s" })
      ctx:create_timer(1)
      return { ok, err.type, ok2, err2.type }
    end)]], function(w)
    w:run("starts", { id = "s" })
    w:advance(1)
    assert.same({ false, "WorkflowNotRegistered", false, "WorkflowInstanceAlreadyExists" }, w:output("s"))
  end)
end)

describe("an event between instances", function()
  case("arrives once and in order", [[
    workflow("sender", function(ctx, target)
      for i = 1, 5 do
        ctx:raise_event(target, "n", i)
        if i % 2 == 0 then ctx:create_timer(1) end
      end
      return "sent"
    end)
    workflow("receiver", function(ctx)
      local seen = {}
      for i = 1, 5 do seen[i] = ctx:wait_for_external_event("N") end
      return seen
    end)]], function(w)
    w:run("receiver", { id = "r" })
    w:run("sender", { id = "s", input = "r" })
    w:advance(5)
    assert.same({ "sent", { 1, 2, 3, 4, 5 } }, { w:output("s"), w:output("r") })
    assert.equal(5, #w:events("r", "EventRaised"))
  end)

  case("may go back and forth between parent and child", [[
    workflow("child", function(ctx, parent)
      local n = 0
      repeat
        n = ctx:wait_for_external_event("ping")
        ctx:raise_event(parent, "pong", n + 1)
      until n >= 10
      return n
    end)
    workflow("parent", function(ctx)
      local child = ctx.async:call_child_workflow("child", ctx.instance_id, { id = "kid" })
      local n = 0
      while n < 10 do
        ctx:raise_event("kid", "ping", n + 1)
        n = ctx:wait_for_external_event("pong")
      end
      if not child:done() then ctx:raise_event("kid", "ping", 10) end
      return child:await()
    end)]], function(w)
    w:run("parent", { id = "p" })
    assert.equal(10, w:output("p"))
  end)

  case("may go to the sender itself", [[
    workflow("self", function(ctx)
      for i = 1, 3 do ctx:raise_event(ctx.instance_id, "note", i) end
      local seen = {}
      for i = 1, 3 do seen[i] = ctx:wait_for_external_event("note") end
      return seen
    end)]], function(w)
    w:run("self", { id = "s" })
    assert.same({ 1, 2, 3 }, w:output("s"))
  end)

  case("to the sender itself ends a wait of another branch", [[
    workflow("self", function(ctx)
      local side = ctx:spawn(function() return ctx:wait_for_external_event("note") end)
      ctx:create_timer(1)
      ctx:raise_event(ctx.instance_id, "note", "hello")
      return side:await()
    end)]], function(w)
    w:run("self", { id = "s" })
    w:advance(1)
    assert.equal("hello", w:output("s"))
  end)

  case("to nobody, or to what has ended, is a failure in the sender", [[
    workflow("sender", function(ctx, targets)
      local types = {}
      for i, target in ipairs(targets) do
        local ok, err = pcall(ctx.raise_event, ctx, target, "n")
        types[i] = ok and "sent" or err.type
      end
      ctx:create_timer(1)
      return types
    end)
    workflow("ends", function() end)]], function(w)
    w:run("ends", { id = "e" })
    w:run("sender", { id = "s", input = { "nobody", "e" } })
    w:advance(1)
    assert.same({ "InstanceNotFound", "InstanceClosed" }, w:output("s"))
  end)

  case("to a suspended instance is kept for it", [[
    workflow("sender", function(ctx) ctx:raise_event("r", "n", 1) end)
    workflow("receiver", function(ctx) return ctx:wait_for_external_event("n") end)]], function(w)
    w:run("receiver", { id = "r" })
    w:suspend("r")
    w:run("sender", { id = "s" })
    assert.equal("SUSPENDED", w:status("r"))
    w:resume("r")
    w:settle()
    assert.equal(1, w:output("r"))
  end)

  case("ends a wait with a timeout in the receiver", [[
    workflow("sender", function(ctx)
      ctx:create_timer(30)
      ctx:raise_event("r", "n", "in time")
    end)
    workflow("receiver", function(ctx) return ctx:wait_for_external_event("n", { timeout = 60 }) end)]], function(w)
    w:start("receiver", { id = "r" })
    w:run("sender", { id = "s" })
    w:advance(100)
    assert.equal("in time", w:output("r"))
    assert.equal(0, #w:events("r", "TimerFired"))
  end)
end)
