-- Conformance: purge. What is finished can be taken out of the store, with everything that belongs to it.
local case = require("spec.conformance.support").case

local WAITER = [[
workflow("waiter", function(ctx, n)
  ctx:set_attributes({ n = n })
  return ctx:wait_for_external_event("go")
end)
workflow("tree", function(ctx, depth)
  if depth > 0 then
    for i = 1, 2 do ctx.async:call_child_workflow("tree", depth - 1, { on_parent_close = "abandon" }) end
  end
  ctx:wait_for_external_event("go")
end)
]]

local function finished(w, id, n)
  w:run("waiter", { id = id, input = n })
  w:raise(id, "go", "done")
  w:settle()
end

local function gone(w, id)
  for _, read in ipairs({ "get", "history" }) do assert.equal("LNT_ENOTFOUND", select(2, w:refused(read, id))) end
  assert.equal(0, #w:list({ prefix = id }))
end

describe("purge", function()
  case("takes out a finished instance: reads and lists do not find it, and its id is free", WAITER, function(w)
    finished(w, "w", 1)
    assert.equal(1, w:purge("w"))
    w:settle()
    gone(w, "w")
    assert.equal(0, #w:list({ attributes = { n = 1 } }))
    assert.equal("LNT_ENOTFOUND", select(2, w:refused("purge", "w")))
    finished(w, "w", 2)
    assert.equal(2, w:get("w").input)
  end)

  case("refuses what is not finished, and changes nothing", WAITER, function(w)
    w:run("waiter", { id = "w", input = 1 })
    local message, code = w:refused("purge", "w")
    assert.same({ "LNT_EOPEN", true }, { code, message:find("'w'", 1, true) ~= nil })
    w:raise("w", "go", "fine")
    w:settle()
    assert.equal("fine", w:output("w"))
    assert.equal("LNT_ENOTFOUND", select(2, w:refused("purge", "nobody")))
  end)

  case("with force ends what is not finished", WAITER, function(w)
    w:run("waiter", { id = "w", input = 1 })
    assert.equal(1, w:purge("w", { force = true }))
    w:settle()
    gone(w, "w")
  end)

  case("takes the children, and theirs, along", WAITER, function(w)
    w:run("tree", { id = "t", input = 2 })
    assert.equal(7, #w:list({ status = "RUNNING" }))
    w:terminate("t")
    w:settle()
    local message, code = w:refused("purge", "t")
    assert.same({ "LNT_EOPEN", true }, { code, message:find("t:000", 1, true) ~= nil })
    for _, child in ipairs(w:list({ status = "RUNNING" })) do w:terminate(child.id) end
    w:settle()
    assert.equal(7, w:purge("t"))
    w:settle()
    assert.equal(0, #w:list())
  end)

  case("with force takes a living tree", WAITER, function(w)
    w:run("tree", { id = "t", input = 2 })
    assert.equal(7, w:purge("t", { force = true }))
    w:settle()
    assert.equal(0, #w:list())
  end)

  case("that is not recursive leaves the children", WAITER, function(w)
    w:run("tree", { id = "t", input = 1 })
    w:terminate("t")
    w:settle()
    assert.equal(1, w:purge("t", { recursive = false }))
    w:settle()
    assert.equal("LNT_ENOTFOUND", select(2, w:refused("get", "t")))
    assert.same({ "RUNNING", "RUNNING" }, { w:status("t:0001"), w:status("t:0002") })
    w:raise("t:0001", "go")
    w:settle()
    assert.equal("COMPLETED", w:status("t:0001"))
  end)

  case("takes all generations", [[
    workflow("loop", function(ctx, n)
      ctx:create_timer(1)
      if n < 5 then ctx:continue_as_new(n + 1) end
    end)]], function(w)
    w:run("loop", { id = "l", input = 1 })
    w:advance(10)
    w:purge("l")
    w:settle()
    assert.same({ 0, 0 }, { #w:list(), #w:list({ status = "CONTINUED_AS_NEW" }) })
    gone(w, "l")
  end)

  case("is over all that match, page after page", WAITER, function(w)
    for i = 1, 12 do finished(w, "w" .. i, i) end
    w:run("waiter", { id = "living", input = 99 })
    local sum, count, cursor = 0
    repeat
      count, cursor = w.rt:purge_matching({ workflow = "waiter", limit = 5, cursor = cursor })
      sum = sum + assert(count, cursor)
      w:settle()
    until not cursor
    assert.equal(12, sum)
    assert.equal(1, #w:list())
    w:terminate("living")
    w:settle()
  end)

  case("may look at when instances finished", WAITER, function(w)
    finished(w, "old", 1)
    w:advance(3600)
    finished(w, "new", 2)
    assert.equal(1, (w.rt:purge_matching({ closed_before_us = w.now_us - 60e6 })))
    w:settle()
    gone(w, "old")
    assert.equal("COMPLETED", w:status("new"))
  end)

  case("of a child leaves its parent with its answer", [[
    workflow("kid", function() return 42 end)
    workflow("parent", function(ctx)
      local value = ctx:call_child_workflow("kid", nil, { id = "kid" })
      ctx:wait_for_external_event("go")
      return value
    end)]], function(w)
    w:run("parent", { id = "p" })
    w:purge("kid")
    w:settle()
    gone(w, "kid")
    w:raise("p", "go")
    w:settle()
    assert.equal(42, w:output("p"))
  end)

  case("holds over a restart", WAITER, function(w)
    for i = 1, 5 do finished(w, "w" .. i, i) end
    w:purge("w3")
    w:flush()
    w:reopen()
    w:settle()
    gone(w, "w3")
    assert.equal(4, #w:list())
  end, { disk = true })
end)
