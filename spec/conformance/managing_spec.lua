-- Conformance: managing instances. Ids taken, start times, lists, counts.
local case = require("spec.conformance.support").case

local WAITER = [[
workflow("waiter", function(ctx, input)
  local data = ctx:wait_for_external_event("go")
  return { input = input, data = data }
end)
workflow("other", function() return "other" end)
]]

local FAMILY = [[
workflow("kid", function(ctx) return ctx:wait_for_external_event("go") end)
workflow("parent", function(ctx, policy)
  ctx.async:call_child_workflow("kid", nil, { id = "kid", on_parent_close = policy })
  return ctx:wait_for_external_event("go")
end)
]]

-- start() again with `id_reuse`; answers what it answers.
local function again(w, policy, input, workflow)
  return w.rt:start(workflow or "waiter", { id = "w", input = input, id_reuse = policy })
end

describe("an id that is taken", function()
  case("by a running instance is refused under error and terminal, and answered under existing", WAITER, function(w)
    w:run("waiter", { id = "w", input = 1 })
    for _, policy in ipairs({ "error", "terminal" }) do
      local id, message, code = again(w, policy, 2)
      assert.same({ "LNT_EEXIST", true }, { code, id == nil and message:find("'w'", 1, true) ~= nil })
    end
    local id, existed = again(w, "existing", 2)
    assert.same({ "w", true }, { id, existed })
    w:raise("w", "go", "x")
    w:settle()
    assert.same({ input = 1, data = "x" }, w:output("w"))
  end)

  case("by a finished instance is refused under error, answered under existing, free under terminal", WAITER, function(w)
    w:run("waiter", { id = "w", input = 1 })
    w:raise("w", "go", "x")
    w:settle()
    assert.equal("LNT_EEXIST", select(3, again(w, "error", 2)))
    assert.is_true(select(2, again(w, "existing", 2)))
    assert.same({ input = 1, data = "x" }, w:output("w"))
    local id, existed = again(w, "terminal", 2)
    assert.same({ "w", false }, { id, existed or false })
    w:settle()
    assert.equal("RUNNING", w:status("w"))
    w:raise("w", "go", "y")
    w:settle()
    assert.same({ input = 2, data = "y" }, w:output("w"))
  end)

  case("by a failed, terminated or canceled instance is free under terminal", [[
    workflow("waiter", function(ctx)
      local how = ctx:wait_for_external_event("go")
      error(how)
    end)]], function(w)
    for round, stop in ipairs({
      function() w:raise("w", "go", "fail") end, function() w:terminate("w") end, function() w:cancel("w") end,
    }) do
      assert.equal("w", (again(w, "terminal", round)))
      w:settle()
      assert.same({ "RUNNING", round }, { w:status("w"), w:get("w").input })
      stop()
      w:settle()
    end
    assert.equal("CANCELED", w:status("w"))
  end)

  case("is given to a new run under replace; the old one is terminated first", WAITER, function(w)
    w:run("waiter", { id = "w", input = 1 })
    local old_run = w:get("w").run
    assert.equal("w", (again(w, "replace", 2)))
    w:settle()
    assert.is_true(w:get("w").run > old_run)
    assert.same({ "RUNNING", 2 }, { w:status("w"), w:get("w").input })
    w:raise("w", "go", "to the new one")
    w:settle()
    assert.same({ input = 2, data = "to the new one" }, w:output("w"))
    assert.equal(1, #w:list({ status = "TERMINATED" }))
  end)

  case("is not free under terminal while a child of the finished instance lives", FAMILY, function(w)
    w:run("parent", { id = "w", input = "abandon" })
    w:raise("w", "go", "done")
    w:settle()
    assert.same({ "COMPLETED", "RUNNING" }, { w:status("w"), w:status("kid") })
    local _, message, code = again(w, "terminal", "abandon", "parent")
    assert.same({ "LNT_EEXIST", true }, { code, message:find("kid", 1, true) ~= nil })
    w:raise("kid", "go", "at last")
    w:settle()
    assert.equal("w", (again(w, "terminal", "terminate", "parent")))
    w:settle()
    assert.equal("RUNNING", w:status("w"))
  end)

  case("under replace takes the children along", FAMILY, function(w)
    w:run("parent", { id = "w" })
    local old_kid = w:get("kid").run
    assert.equal("RUNNING", w:status("kid"))
    assert.equal("w", (again(w, "replace", nil, "parent")))
    w:settle()
    assert.equal("TERMINATED", w:get("kid", { run = old_kid }).status)
    assert.same({ "RUNNING", "RUNNING" }, { w:status("w"), w:status("kid") }) -- the new parent's, under the id that the old one left
    assert.is_true(w:get("kid").run > old_kid)
  end)

  case("by another workflow is refused under existing", WAITER, function(w)
    w:run("waiter", { id = "w" })
    assert.equal("LNT_EEXIST", select(3, again(w, "existing", nil, "other")))
  end)

  case("under replace by what is suspended, or has not begun, is given too", WAITER, function(w)
    w:run("waiter", { id = "w", input = 1 })
    w:suspend("w")
    w:settle()
    assert.equal("w", (again(w, "replace", 2)))
    assert.equal("w", (again(w, "replace", 3)))
    w:settle()
    assert.same({ "RUNNING", 3 }, { w:status("w"), w:get("w").input })
    assert.equal(2, #w:list({ status = "TERMINATED" }))
  end)

  case("with a policy that does not exist is a mistake", WAITER, function(w)
    assert.error_matches(function() again(w, "overwrite") end, "id_reuse")
    w:run("other", { id = "o" })
    assert.equal("other", w:output("o"))
  end)
end)

-- A tree of three levels under ids that nobody chose, each with the policy in its input.
local TREE = [[
  workflow("leaf", function(ctx)
    local ok, why = pcall(ctx.wait_for_external_event, ctx, "go")
    if not ok then ctx:create_timer(5) error(why) end -- it takes its time to clean up
    return why
  end)
  workflow("branch", function(ctx, policy)
    return ctx:call_child_workflow("leaf", nil, { on_parent_close = policy })
  end)
  workflow("tree", function(ctx, policy)
    local left = ctx.async:call_child_workflow("branch", policy, { on_parent_close = policy })
    local right = ctx.async:call_child_workflow("leaf", nil, { on_parent_close = policy })
    return { left:await(), right:await() }
  end)]]

-- Of every run under the tree: "id workflow status", oldest first.
local function family(w)
  local found = {}
  for _, i in ipairs(w:list({ limit = 100, status = { "RUNNING", "COMPLETED", "FAILED", "TERMINATED", "CANCELED" } })) do
    table.insert(found, 1, ("%s %s %s"):format(i.id, i.workflow, i.status))
  end
  return found
end

local function replace_tree(w, policy)
  w:run("tree", { id = "t", input = policy })
  assert.equal("t", (w.rt:start("tree", { id = "t", input = policy, id_reuse = "replace" })))
  w:settle()
end

local function finish_tree(w)
  for _, i in ipairs(w:list({ status = "RUNNING" })) do
    if i.workflow == "leaf" then w:raise(i.id, "go", i.id) end
  end
  w:settle()
end

describe("a tree of live children that is replaced", function()
  case("ends with its root under terminate; the new one takes the ids over", TREE, function(w)
    replace_tree(w, "terminate")
    assert.same({
      "t tree TERMINATED", "t:0001 branch TERMINATED", "t:0002 leaf TERMINATED", "t:0001:0001 leaf TERMINATED",
      "t tree RUNNING", "t:0001 branch RUNNING", "t:0002 leaf RUNNING", "t:0001:0001 leaf RUNNING",
    }, family(w))
    finish_tree(w)
    assert.same({ "t:0001:0001", "t:0002" }, w:output("t"))
  end)

  case("cleans up under cancel; those that do keep their ids, and the new ones have others", TREE, function(w)
    replace_tree(w, "cancel")
    assert.same({
      "t tree TERMINATED", "t:0001 branch CANCELED", "t:0002 leaf RUNNING", "t:0001:0001 leaf RUNNING",
      "t tree RUNNING", "t:0001 branch RUNNING", "t:0002+5 leaf RUNNING", "t:0001:0001+6 leaf RUNNING",
    }, family(w))
    w:advance(6)
    assert.same({ "CANCELED", "CANCELED" }, { w:status("t:0002"), w:status("t:0001:0001") })
    finish_tree(w)
    assert.same({ "t:0001:0001+6", "t:0002+5" }, w:output("t"))
  end)

  case("goes on under abandon, and keeps its ids; the new one has others", TREE, function(w)
    replace_tree(w, "abandon")
    finish_tree(w)
    assert.same({
      "t tree TERMINATED", "t:0001 branch COMPLETED", "t:0002 leaf COMPLETED", "t:0001:0001 leaf COMPLETED",
      "t tree COMPLETED", "t:0001+5 branch COMPLETED", "t:0002+5 leaf COMPLETED", "t:0001+5:0001 leaf COMPLETED",
    }, family(w))
    assert.same({ "t:0001+5:0001", "t:0002+5" }, w:output("t"))
  end)

  case("is purged with all that had its ids", TREE, function(w)
    replace_tree(w, "abandon")
    finish_tree(w)
    w:purge("t")
    w:settle()
    assert.same({}, family(w))
  end)
end)

describe("an id that is used again when all is over", function()
  case("leaves the ids of its children to the children of the next", TREE, function(w)
    for round = 1, 3 do
      assert.equal("t", (w.rt:start("tree", { id = "t", input = "terminate", id_reuse = "terminal" })))
      w:settle()
      finish_tree(w)
      assert.same({ "t:0001:0001", "t:0002" }, w:output("t"))
      assert.equal(4 * round, #family(w))
    end
  end)

  case("does not leave those of strangers", TREE .. [[
    workflow("named", function(ctx, id) return ctx:call_child_workflow("leaf", nil, { id = id }) end)]], function(w)
    w:run("leaf", { id = "stranger" })
    w:raise("stranger", "go", 1)
    w:settle()
    w:run("named", { id = "n", input = "stranger" })
    assert.equal("WorkflowInstanceAlreadyExists", w:failure("n").type)
    w:run("named", { id = "m", input = "own" })
    w:raise("own", "go", 2)
    w:settle()
    w:run("named", { id = "n2", input = "own" })
    assert.equal("WorkflowInstanceAlreadyExists", w:failure("n2").type)
    w:start("named", { id = "m", input = "own", id_reuse = "terminal" })
    w:settle()
    w:raise("own", "go", 3)
    w:settle()
    assert.equal(3, w:output("m"))
  end)
end)

describe("a start time", function()
  case("keeps the instance PENDING until then", WAITER, function(w)
    w:start("waiter", { id = "w", input = 1, start_at_us = w.now_us + 60e6 })
    w:advance(59)
    assert.equal("PENDING", w:status("w"))
    assert.same({ Started = 1 }, w:kinds("w"))
    w:advance(1)
    assert.equal("RUNNING", w:status("w"))
    w:raise("w", "go")
    w:settle()
    assert.same({ input = 1 }, w:output("w"))
  end)

  case("that is past means at once", WAITER, function(w)
    w:run("other", { id = "o", start_at_us = w.now_us - 60e6 })
    assert.equal("other", w:output("o"))
  end)

  case("lets events that come before wait for the instance", WAITER, function(w)
    w:start("waiter", { id = "w", start_at_us = w.now_us + 60e6 })
    w:raise("w", "go", "early")
    w:settle()
    assert.equal("PENDING", w:status("w"))
    w:advance(60)
    assert.same({ data = "early" }, w:output("w"))
  end)

  case("holds over restarts", WAITER, function(w)
    w:start("waiter", { id = "w", start_at_us = w.now_us + 3600e6 })
    w:raise("w", "go", "early")
    w:settle()
    w:reopen()
    w:advance(1800)
    assert.equal("PENDING", w:status("w"))
    w:reopen()
    w:advance(1800)
    assert.same({ data = "early" }, w:output("w"))
  end, { disk = true })

  for _, how in ipairs({ "terminate", "cancel", "suspend" }) do
    case("does not keep it from " .. how, WAITER, function(w)
      w:start("waiter", { id = "w", start_at_us = w.now_us + 60e6 })
      w[how](w, "w", "before its time")
      w:settle()
      if how == "suspend" then
        w:advance(100)
        assert.equal("SUSPENDED", w:status("w"))
        w:resume("w")
        w:settle()
        assert.equal("RUNNING", w:status("w"))
      elseif how == "cancel" then
        w:advance(60)
        assert.equal("before its time", w:failure("w", "CANCELED").message)
      else
        assert.equal("before its time", w:failure("w", "TERMINATED").message)
      end
    end)
  end

  case("of many instances starts each in its time", WAITER, function(w)
    for i = 1, 50 do w:start("other", { id = "o" .. i, start_at_us = w.now_us + i * 1e6 }) end
    w:advance(25)
    assert.equal(25, #w:list({ status = "COMPLETED" }))
    w:advance(25)
    assert.equal(50, #w:list({ status = "COMPLETED" }))
    for i = 1, 50 do assert.equal(w:get("o" .. i).created_us + i * 1e6, w:get("o" .. i).closed_us) end
  end)
end)

describe("a list", function()
  local MANY = [[
workflow("member", function(ctx, n)
  ctx:set_attributes({ team = n % 3, name = "m" .. n, lead = n % 10 == 0 })
  if n % 2 == 0 then return n end
  if n % 5 == 0 then error("five") end
  ctx:wait_for_external_event("go")
end)
workflow("family", function(ctx, n)
  for i = 1, n do ctx.async:call_child_workflow("member", i) end
  ctx:wait_for_external_event("go")
end)
]]

  local function ids(list)
    local found = {}
    for i, instance in ipairs(list) do found[i] = instance.id end
    return table.concat(found, " ")
  end

  local function members(w)
    for i = 1, 20 do
      w:start("member", { id = ("m%02d"):format(i), input = i })
      w.now_us = w.now_us + 1e6
    end
    w:settle()
  end

  case("is newest first, in pages that neither repeat nor leave out", MANY, function(w)
    members(w)
    local seen, cursor = {}, nil
    repeat
      local page
      page, cursor = w.rt:list({ limit = 7, cursor = cursor })
      for _, instance in ipairs(page) do seen[#seen + 1] = instance.id end
    until not cursor
    assert.equal(20, #seen)
    for i, id in ipairs(seen) do assert.equal(("m%02d"):format(21 - i), id) end
  end)

  case("can be of a status, or of several", MANY, function(w)
    members(w)
    assert.equal(10, #w:list({ status = "COMPLETED" }))
    assert.equal("m15 m05", ids(w:list({ status = "FAILED" })))
    assert.equal(8, #w:list({ status = "RUNNING" }))
    assert.equal(12, #w:list({ status = { "COMPLETED", "FAILED" } }))
    assert.equal(0, #w:list({ status = "TERMINATED" }))
  end)

  case("follows the status at once", MANY, function(w)
    members(w)
    w:terminate("m01")
    w:raise("m03", "go")
    w:suspend("m07")
    w:settle()
    assert.equal("m01", ids(w:list({ status = "TERMINATED" })))
    assert.equal("m07", ids(w:list({ status = "SUSPENDED" })))
    assert.equal(11, #w:list({ status = "COMPLETED" }))
    assert.equal(5, #w:list({ status = "RUNNING" }))
  end)

  case("can be of a workflow, of a prefix, of a time", MANY, function(w)
    local from = w.now_us
    members(w)
    w:run("family", { id = "f", input = 2 })
    assert.equal("f", ids(w:list({ workflow = "family" })))
    assert.equal(22, #w:list({ workflow = "member" }))
    assert.equal("m09 m08 m07 m06 m05 m04 m03 m02 m01", ids(w:list({ prefix = "m0" })))
    assert.equal("m05 m04", ids(w:list({ created_from_us = from + 3e6, created_to_us = from + 5e6 })))
  end)

  case("can be of a parent's children", MANY, function(w)
    members(w)
    w:run("family", { id = "f", input = 4 })
    assert.equal("f:0004 f:0003 f:0002 f:0001", ids(w:list({ parent = "f" })))
    assert.equal(0, #w:list({ parent = "m01" }))
    assert.equal("LNT_ENOTFOUND", select(2, w:refused("list", { parent = "nobody" })))
  end)

  case("can be of attributes: text, number and boolean, one or several", MANY, function(w)
    members(w)
    assert.equal("m13", ids(w:list({ attributes = { name = "m13" } })))
    assert.equal("m20 m17 m14 m11 m08 m05 m02", ids(w:list({ attributes = { team = 2 } })))
    assert.equal("m20 m10", ids(w:list({ attributes = { lead = true } })))
    assert.equal("m20", ids(w:list({ attributes = { lead = true, team = 2 } })))
    assert.equal("", ids(w:list({ attributes = { name = "nobody" } })))
    assert.equal("m17 m11", ids(w:list({ attributes = { team = 2 }, status = "RUNNING" })))
  end)

  case("of attributes follows what the body sets later, and what the start gave", [[
    workflow("tagged", function(ctx)
      ctx:wait_for_external_event("go")
      ctx:set_attributes({ stage = "second" })
      ctx:remove_attributes("gone")
      ctx:wait_for_external_event("go")
    end)]], function(w)
    w:run("tagged", { id = "t", attributes = { stage = "first", gone = 1, stays = "x" } })
    assert.equal("t", ids(w:list({ attributes = { stage = "first" } })))
    assert.same({ stage = "first", gone = 1, stays = "x" }, w:get("t").attributes)
    w:raise("t", "go")
    w:settle()
    assert.equal("", ids(w:list({ attributes = { stage = "first" } })))
    assert.equal("", ids(w:list({ attributes = { gone = 1 } })))
    assert.equal("t", ids(w:list({ attributes = { stage = "second", stays = "x" } })))
  end)

  case("shows the generation that runs, not those that it replaced", [[
    workflow("loop", function(ctx, n)
      ctx:create_timer(1)
      if n < 5 then ctx:continue_as_new(n + 1) end
    end)]], function(w)
    w:run("loop", { id = "l", input = 1 })
    w:advance(10)
    assert.equal("l", ids(w:list()))
    assert.equal(4, #w:list({ status = "CONTINUED_AS_NEW" }))
  end)

  case("can be counted, with the same conditions", MANY, function(w)
    members(w)
    w:run("family", { id = "f", input = 4 })
    assert.same({ total = 25, COMPLETED = 12, FAILED = 2, RUNNING = 11 }, w:count())
    assert.same({ total = 4, COMPLETED = 2, RUNNING = 2 }, w:count({ parent = "f" }))
    assert.equal(7 + 1, w:count({ attributes = { team = 2 } }).total)
    assert.equal(2, w:count({ status = "FAILED" }).total)
  end)

  case("refuses a status that does not exist", MANY, function(w)
    assert.error_matches(function() w.rt:list({ status = "SLEEPING" }) end, "SLEEPING")
    w:run("member", { id = "m", input = 2 })
    assert.equal(2, w:output("m"))
  end)
end)

describe("attributes at the start", function()
  for _, row in ipairs({ { "a list", { tags = { 1 } }, "tags", "LNT_EVALUE" },
    { "a name that is too long", { [("k"):rep(65)] = 1 }, "64", "LNT_ELIMIT" },
    { "a text that is too long", { k = ("x"):rep(300) }, "256", "LNT_ELIMIT" } }) do
    case("refuse " .. row[1], WAITER, function(w)
      local message, code = w:refused("start", "waiter", { id = "w", attributes = row[2] })
      assert.equal(row[4], code)
      assert.truthy(message:find(row[3], 1, true), message)
      assert.equal("LNT_ENOTFOUND", select(2, w:refused("get", "w")))
    end)
  end
end)
