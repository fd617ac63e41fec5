-- Conformance: what an instance tells of itself. Side effects, attributes.
local case = require("spec.conformance.support").case

describe("a side effect", function()
  case("is recorded: a replay takes the value and does not run the function", [[
    workflow("effects", function(ctx)
      local ran = 0
      local value = ctx:side_effect(function()
        ran = ran + 1
        return { n = ctx:random(1000000), t = "x" }
      end)
      ctx:set_custom_status(value)
      ctx:create_timer(1)
      return { value = value, ran = ran }
    end)]], function(w)
    w:run("effects", { id = "e" })
    local before = w:get("e").custom_status
    w:advance(1)
    assert.same(before, w:output("e").value)
    assert.equal(w.way == "kept" and 1 or 0, w:output("e").ran)
    assert.same(before, w:events("e", "SideEffect")[1].value)
  end, { alike = false, paranoid = false }) -- how often it ran is what the ways change

  case("draws numbers of its own, so that the body draws the same ones without it", [[
    workflow("effects", function(ctx)
      local drawn = { ctx:random(1000000) }
      drawn[2] = ctx:side_effect(function() return math.random(1000000) + ctx:random(1000000) end)
      drawn[3] = ctx:random(1000000)
      ctx:create_timer(1)
      drawn[4] = ctx:random(1000000)
      drawn[5] = math.random(1000000)
      return drawn
    end)]], function(w)
    w:run("effects", { id = "e" })
    w:advance(1)
    assert.equal(5, #w:output("e"))
  end)

  case("that raises raises again in every replay", [[
    workflow("effects", function(ctx)
      local ok, err = pcall(ctx.side_effect, ctx, function() error({ type = "Mood", message = "not today" }) end)
      ctx:create_timer(1)
      return { ok, err.type, err.message }
    end)]], function(w)
    w:run("effects", { id = "e" })
    w:advance(1)
    assert.same({ false, "Mood", "not today" }, w:output("e"))
  end)

  case("may give nothing", [[
    workflow("effects", function(ctx)
      local value = ctx:side_effect(function() end)
      ctx:create_timer(1)
      return value == nil
    end)]], function(w)
    w:run("effects", { id = "e" })
    w:advance(1)
    assert.is_true(w:output("e"))
  end)

  for _, call in ipairs({ "ctx:create_timer(1)", "ctx:call_activity('a')", "ctx:spawn(function() end)", "ctx:side_effect(function() end)",
    "ctx:scope(function() end)", "coroutine.yield()" }) do
    case("cannot do what a replay would miss: " .. call, ([[workflow("bad", function(ctx)
  local value = ctx:side_effect(function()
    %s
  end)
  return value
end)]]):format(call), function(w)
      w:run("bad", { id = "b" })
      assert.truthy(w:failure("b").message:find("case.lua:3:", 1, true), w:failure("b").message)
      assert.is_nil(w:kinds("b").TimerCreated or w:kinds("b").ActivityScheduled)
    end)
  end

  case("whose value is no data fails at the author's line", [[workflow("bad", function(ctx)
  local value = ctx:side_effect(function() return { print } end)
  return value
end)]], function(w)
    w:run("bad", { id = "b" })
    assert.truthy(w:failure("b").message:find("case.lua:2:", 1, true), w:failure("b").message)
  end)

  case("of a hundred in a row are answered at once and in order", [[
    workflow("effects", function(ctx)
      local sum = 0
      for i = 1, 100 do
        sum = sum + ctx:side_effect(function() return i end)
        if i % 25 == 0 then ctx:create_timer(1) end
      end
      return sum
    end)]], function(w)
    w:run("effects", { id = "e" })
    w:advance(4)
    assert.equal(5050, w:output("e"))
  end)
end)

describe("attributes", function()
  case("can be set, changed, taken away, and read by the body", [[
    workflow("tagged", function(ctx)
      ctx:set_attributes({ customer = "Ada", total = 12.5, vip = true })
      ctx:wait_for_external_event("go")
      ctx:set_attributes({ total = 20 })
      ctx:remove_attributes("vip", "nothing")
      local seen = ctx:attributes()
      ctx:wait_for_external_event("go")
      return { seen = seen, again = ctx:attributes() }
    end)]], function(w)
    w:run("tagged", { id = "t" })
    assert.same({ customer = "Ada", total = 12.5, vip = true }, w:get("t").attributes)
    w:raise("t", "go")
    w:settle()
    local after = { customer = "Ada", total = 20 }
    assert.same(after, w:get("t").attributes)
    w:raise("t", "go")
    w:settle()
    assert.same({ seen = after, again = after }, w:output("t"))
    assert.same(after, w:get("t").attributes)
  end)

  for _, row in ipairs({
    { "a list", "{ tags = { 1, 2 } }", "tags" }, { "a function", "{ f = print }", "function" }, { "no table", "7", "number" },
    { "too many", "(function() local t = {} for i = 1, 33 do t['k' .. i] = i end return t end)()", "32" },
    { "a name that is too long", "{ [('k'):rep(65)] = 1 }", "64" }, { "a text that is too long", "{ k = ('x'):rep(257) }", "256" },
  }) do
    local what, code, word = row[1], row[2], row[3]
    local source = ("workflow('bad', function(ctx)\n  ctx:set_attributes(%s)\nend)"):format(code)
    case("refuse " .. what .. " at the author's line", source, function(w)
      w:run("bad", { id = "b" })
      local message = w:failure("b").message
      assert.truthy(message:find("case.lua:2: set_attributes", 1, true), message)
      assert.truthy(message:find(word, 1, true), message)
      assert.is_nil(w:get("b").attributes)
    end)
  end
end)
