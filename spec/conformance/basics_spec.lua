-- Conformance: what a workflow is. Inputs and outputs, chains, values, determinism, custom status, the answers of start.
local case = require("spec.conformance.support").case

local STEP = [[activity("step", function(n) return n * 2 end)
]]

describe("a workflow", function()
  case("may be empty", [[workflow("empty", function() end)]], function(w)
    w:run("empty", { id = "e" })
    assert.is_nil(w:output("e"))
    assert.same({ Started = 1, Completed = 1 }, w:kinds("e"))
  end)

  case("may return at once", [[workflow("echo", function(ctx, input) return input end)]], function(w)
    w:run("echo", { id = "e", input = { a = { 1, 2.5, "x" }, b = false } })
    assert.same({ a = { 1, 2.5, "x" }, b = false }, w:output("e"))
  end)

  case("keeps apart what JSON keeps apart", [[workflow("echo", function(ctx, input) return input end)]], function(w)
    local text = '{"e":[],"f":{},"l":[1,null,3],"n":-0.5,"s":"\\u0000\\n","big":9007199254740994}'
    w:run("echo", { id = "e", input_json = text })
    local instance = w:get("e", { json = true })
    assert.equal(instance.input, instance.output)
    assert.truthy(instance.output:find('"e":[]', 1, true))
    assert.truthy(instance.output:find('"f":{}', 1, true))
    assert.truthy(instance.output:find('"l":[1,null,3]', 1, true))
  end)

  case("is PENDING until its first turn", STEP .. [[workflow("one", function(ctx, n) return ctx:call_activity("step", n) end)]], function(w)
    w:start("one", { id = "o", input = 4 })
    w:flush()
    assert.equal("PENDING", w:status("o"))
    w:settle()
    assert.equal(8, w:output("o"))
  end)

  case("fails with the error that it raises", [[workflow("bad", function() error("no luck") end)]], function(w)
    w:run("bad", { id = "b" })
    local failure = w:failure("b")
    assert.equal("Error", failure.type)
    assert.equal("case.lua:1: no luck", failure.message)
  end)

  case("fails with the type of a raised table", [[
    workflow("bad", function() error({ type = "OutOfStock", message = "none left", details = { sku = 7 } }) end)]], function(w)
    w:run("bad", { id = "b" })
    assert.same({ type = "OutOfStock", message = "none left", details = { sku = 7 } },
      { type = w:failure("b").type, message = w:failure("b").message, details = w:failure("b").details })
  end)

  case("may catch its own errors", [[
    workflow("careful", function()
      local ok, err = pcall(error, { type = "Mine", message = "caught" })
      return { ok = ok, type = err.type }
    end)]], function(w)
    w:run("careful", { id = "c" })
    assert.same({ ok = false, type = "Mine" }, w:output("c"))
  end)

  case("has an id of its own when it was given none, also after a restart with the same seed", [[
    workflow("echo", function(ctx, input) return input end)]], function(w)
    local ids = {}
    for i = 1, 6 do
      ids[i] = w:start("echo", { input = i })
      if i % 2 == 0 then
        w:settle()
        w:reopen()
      end
    end
    for i = 1, 6 do
      assert.matches("^%x+%-%x+%-7%x+%-[89ab]%x+%-%x+$", ids[i])
      assert.equal(i, w:output(ids[i]))
    end
  end, { disk = true, alike = false }) -- the ids follow from what ran before an opening

  case("shares nothing with another instance", [[
    local count = 0
    workflow("counter", function(ctx)
      count = count + 1
      ctx:create_timer(1)
      count = count + 1
      return count
    end)]], function(w)
    for i = 1, 3 do w:start("counter", { id = "c" .. i }) end
    w:advance(1)
    for i = 1, 3 do assert.equal(2, w:output("c" .. i)) end
  end)
end)

describe("an activity chain", function()
  case("hands each result to the next step", STEP .. [[
    workflow("chain", function(ctx, n)
      for _ = 1, 10 do n = ctx:call_activity("step", n) end
      return n
    end)]], function(w)
    w:run("chain", { id = "c", input = 1 })
    assert.equal(1024, w:output("c"))
    assert.same({ Started = 1, ActivityScheduled = 10, ActivityCompleted = 10, Completed = 1 }, w:kinds("c"))
  end)

  case("runs each step once", [[
    workflow("chain", function(ctx) for i = 1, 5 do ctx:call_activity("note", i) end end)]], function(w)
    local notes = {}
    w:host("note", function(i) notes[#notes + 1] = i end)
    w:run("chain", { id = "c" })
    assert.is_nil(w:output("c"))
    assert.same({ 1, 2, 3, 4, 5 }, notes)
  end)

  case("waits through a chain of 200 steps", STEP .. [[
    workflow("long", function(ctx)
      local sum = 0
      for i = 1, 200 do sum = sum + ctx:call_activity("step", i) end
      return sum
    end)]], function(w)
    w:run("long", { id = "l" })
    assert.equal(40200, w:output("l"))
  end)

  case("passes nil and false through unharmed", [[
    activity("nothing", function(input) if input then return false end end)
    workflow("chain", function(ctx)
      return { is_nil = ctx:call_activity("nothing") == nil, is_false = ctx:call_activity("nothing", true) == false }
    end)]], function(w)
    w:run("chain", { id = "c" })
    assert.same({ is_nil = true, is_false = true }, w:output("c"))
  end)

  case("may mix activities of Lua, of the host, and timers", STEP .. [[
    workflow("mixed", function(ctx)
      local a = ctx:call_activity("step", 1)
      ctx:create_timer("1m")
      local b = ctx:call_activity("host", a)
      return { a, b, ctx:call_activity("step", b) }
    end)]], function(w)
    w:host("host", function(n) return n + 100 end)
    w:run("mixed", { id = "m" })
    w:advance(60)
    assert.same({ 2, 102, 204 }, w:output("m"))
  end)
end)

describe("in every replay", function()
  case("uuid, random and math.random are the same", [[
    workflow("dice", function(ctx)
      local seen = {}
      for i = 1, 4 do
        seen[i] = { ctx:uuid(), ctx:random(1000000), ctx:random(), math.random(1000) }
        ctx:create_timer(1)
      end
      local again = { ctx:uuid(), ctx:random(1000000) }
      ctx:set_custom_status(seen)
      ctx:wait_for_external_event("go")
      return { seen = seen, again = again }
    end)]], function(w)
    w:run("dice", { id = "d" })
    w:advance(4)
    local before = w:get("d").custom_status
    w:raise("d", "go")
    w:settle()
    local output = w:output("d")
    assert.same(before, output.seen)
    local uuids = {}
    for _, row in ipairs(output.seen) do
      assert.matches("^%x+%-%x+%-4%x+%-[89ab]%x+%-%x+$", row[1])
      assert.is_nil(uuids[row[1]])
      uuids[row[1]] = true
    end
  end)

  case("two instances draw different numbers", [[workflow("dice", function(ctx) return ctx:uuid() end)]], function(w)
    w:start("dice", { id = "a" })
    w:start("dice", { id = "b" })
    w:settle()
    assert.are_not.equal(w:output("a"), w:output("b"))
  end)

  case("now is the time of the event delivered last", [[
    workflow("clock", function(ctx)
      local seen = { ctx:now() }
      ctx:create_timer(90)
      seen[2] = ctx:now()
      seen[3] = ctx:now()
      seen[4] = os.time()
      seen[5] = ctx:current_utc_datetime()
      return seen
    end)]], function(w)
    w:run("clock", { id = "c" })
    w:advance(100)
    local base = 1767225600
    assert.same({ base, base + 90, base + 90, base + 90, "2026-01-01T00:01:30.000000Z" }, w:output("c"))
  end)

  case("the clock of the host set back does not set back an instance's", [[
    workflow("clock", function(ctx)
      local seen = { ctx:now() }
      ctx:wait_for_external_event("a")
      seen[2] = ctx:now()
      ctx:wait_for_external_event("b")
      seen[3] = ctx:now()
      return seen[1] <= seen[2] and seen[2] <= seen[3]
    end)]], function(w)
    w:run("clock", { id = "c" })
    w.now_us = w.now_us + 3600e6
    w:raise("c", "a")
    w:settle()
    w.now_us = w.now_us - 7200e6
    w:raise("c", "b")
    w:settle()
    assert.is_true(w:output("c"))
  end)

  case("pairs has one order", [[
    workflow("order", function(ctx, input)
      local before, after = {}, {}
      for key in pairs(input) do before[#before + 1] = tostring(key) end
      ctx:create_timer(1)
      for key in pairs(input) do after[#after + 1] = tostring(key) end
      return { before, after }
    end)]], function(w)
    w:run("order", { id = "o", input = { b = 1, a = 2, z = 3, k = 4, c = 5 } })
    w:advance(1)
    assert.same({ { "a", "b", "c", "k", "z" }, { "a", "b", "c", "k", "z" } }, w:output("o"))
  end)

  case("is_replaying tells what ran before", [[
    workflow("asks", function(ctx)
      local first = ctx:is_replaying()
      ctx:create_timer(1)
      return { first = first, last = ctx:is_replaying() }
    end)]], function(w)
    w:run("asks", { id = "a" })
    w:advance(1)
    assert.same({ first = w.way ~= "kept", last = false }, w:output("a"))
  end, { alike = false, paranoid = false }) -- the answer to that question is the one that may differ

  case("a log line is written once", [[
    workflow("talks", function(ctx)
      ctx:log("one")
      ctx:create_timer(1)
      ctx:log("warn", "two")
    end)]], function(w)
    w:run("talks", { id = "t" })
    w:advance(1)
    assert.is_nil(w:output("t"))
    local lines = {}
    for _, line in ipairs(w.log) do
      if line.id == "t" then lines[#lines + 1] = line.level .. " " .. line.message end
    end
    assert.same({ "info one", "warn two" }, lines)
  end)
end)

describe("the custom status", function()
  case("can be read while the instance runs and after", [[
    workflow("progress", function(ctx)
      for i = 1, 3 do
        ctx:set_custom_status({ done = i, of = 3 })
        ctx:wait_for_external_event("next")
      end
    end)]], function(w)
    w:run("progress", { id = "p" })
    for i = 1, 3 do
      assert.same({ done = i, of = 3 }, w:get("p").custom_status)
      w:raise("p", "next")
      w:settle()
    end
    assert.is_nil(w:output("p"))
    assert.same({ done = 3, of = 3 }, w:get("p").custom_status)
  end)

  case("is the last one of a turn, and a replay does not set it back", STEP .. [[
    workflow("fast", function(ctx)
      for i = 1, 5 do ctx:set_custom_status(i) end
      ctx:call_activity("step", 1)
      ctx:wait_for_external_event("go")
      return "done"
    end)]], function(w)
    w:run("fast", { id = "f" })
    assert.equal(5, w:get("f").custom_status)
    w:evict_all()
    w:raise("f", "go")
    w:settle()
    assert.equal(5, w:get("f").custom_status)
    assert.equal("done", w:output("f"))
  end)

  case("can be taken away", [[
    workflow("shy", function(ctx)
      ctx:set_custom_status("here")
      ctx:wait_for_external_event("go")
      ctx:set_custom_status(nil)
    end)]], function(w)
    w:run("shy", { id = "s" })
    assert.equal("here", w:get("s").custom_status)
    w:raise("s", "go")
    w:settle()
    assert.is_nil(w:get("s").custom_status)
  end)
end)
