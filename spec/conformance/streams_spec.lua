-- Conformance: streams. Read by cursor while an instance runs and after, followed, each value once.
local case = require("spec.conformance.support").case

local EMITS = [[
workflow("emits", function(ctx, n)
  for i = 1, n do
    ctx:emit("progress", i)
    if i % 2 == 0 then ctx:emit("other", { i = i }) end
    ctx:wait_for_external_event("next")
  end
end)
]]

local function values(items)
  local list = {}
  for i, item in ipairs(items) do list[i] = item.value end
  return list
end

-- rt:stream has three results.
local function stream(w, ...) return w.rt:stream(...) end

describe("a stream", function()
  case("keeps what was emitted, in order, each value once", [[
    workflow("emits", function(ctx)
      for i = 1, 3 do
        ctx:emit("progress", { step = i })
        ctx:emit("other", i)
        ctx:create_timer(1)
      end
    end)]], function(w)
    w:run("emits", { id = "e" })
    w:advance(3)
    assert.is_nil(w:output("e"))
    assert.same({ { step = 1 }, { step = 2 }, { step = 3 } }, values(stream(w, "e", "progress")))
    assert.same({ 1, 2, 3 }, values(stream(w, "e", "other")))
    assert.equal(6, #w:events("e", "Emitted"))
  end)

  case("is read on from a cursor, while the instance runs and after its end", EMITS, function(w)
    w:run("emits", { id = "e", input = 4 })
    local items, cursor, ended = stream(w, "e", "progress")
    assert.same({ { 1 }, false }, { values(items), ended })
    for _ = 1, 2 do w:raise("e", "next") end
    w:settle()
    items, cursor, ended = stream(w, "e", "progress", { cursor = cursor })
    assert.same({ { 2, 3 }, false }, { values(items), ended })
    items, cursor, ended = stream(w, "e", "progress", { cursor = cursor })
    assert.same({ {}, false }, { values(items), ended })
    for _ = 1, 2 do w:raise("e", "next") end
    w:settle()
    items, cursor, ended = stream(w, "e", "progress", { cursor = cursor })
    assert.same({ { 4 }, true }, { values(items), ended })
    items, cursor, ended = stream(w, "e", "progress", { cursor = cursor })
    assert.is_string(cursor)
    assert.same({ {}, true }, { values(items), ended })
    assert.same({ 1, 2, 3, 4 }, values(stream(w, "e", "progress")))
  end)

  case("is read in pages, from the cursor of any value", EMITS, function(w)
    w:run("emits", { id = "e", input = 10 })
    for _ = 1, 10 do w:raise("e", "next") end
    w:settle()
    local seen, cursor, ended = {}
    repeat
      local items
      items, cursor, ended = stream(w, "e", "progress", { cursor = cursor, limit = 3 })
      assert.is_true(#items <= 3)
      for _, item in ipairs(items) do seen[#seen + 1] = item.value end
    until ended
    assert.same({ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 }, seen)
    local all = stream(w, "e", "progress")
    assert.same({ 5, 6, 7, 8, 9, 10 }, values(stream(w, "e", "progress", { cursor = all[4].cursor })))
  end)

  case("that nothing was emitted to is empty; one of nobody is not found", EMITS, function(w)
    w:run("emits", { id = "e", input = 1 })
    local items, _, ended = stream(w, "e", "nothing")
    assert.same({ {}, false }, { items, ended })
    assert.equal("LNT_ENOTFOUND", select(2, w:refused("stream", "nobody", "progress")))
    assert.equal("LNT_EINVAL", select(2, w:refused("stream", "e", "progress", { cursor = "nonsense" })))
  end)

  case("goes on over the generations of an instance", [[
    workflow("emits", function(ctx, n)
      ctx:emit("progress", n)
      ctx:create_timer(1)
      if n < 5 then ctx:continue_as_new(n + 1) end
    end)]], function(w)
    w:run("emits", { id = "e", input = 1 })
    local items, cursor = stream(w, "e", "progress")
    assert.same({ 1 }, values(items))
    w:advance(5)
    assert.same({ 2, 3, 4, 5 }, values(stream(w, "e", "progress", { cursor = cursor })))
    assert.same({ 1, 2, 3, 4, 5 }, values(stream(w, "e", "progress")))
  end)

  case("is followed: each value once, then the end", EMITS, function(w)
    w:run("emits", { id = "e", input = 3 })
    local seen = {}
    w:follow("e", "progress", function(item) seen[#seen + 1] = item and item.value or "end" end)
    w:settle()
    assert.same({ 1 }, seen)
    for _ = 1, 3 do
      w:raise("e", "next")
      w:settle()
    end
    assert.same({ 1, 2, 3, "end" }, seen)
  end, { ways = { "kept", "evicted" } }) -- a reopened runtime has no followers

  case("is followed until the follower has enough", EMITS, function(w)
    w:run("emits", { id = "e", input = 5 })
    local seen = {}
    w:follow("e", "progress", function(item)
      seen[#seen + 1] = item and item.value or "end"
      return #seen == 2
    end)
    for _ = 1, 5 do
      w:raise("e", "next")
      w:settle()
    end
    assert.same({ 1, 2 }, seen)
  end, { ways = { "kept", "evicted" } })

  case("keeps what was told in the turn that failed", [[
    workflow("emits", function(ctx)
      ctx:emit("progress", 1)
      error("no")
    end)]], function(w)
    w:run("emits", { id = "e" })
    assert.equal("FAILED", w:status("e"))
    local items, _, ended = stream(w, "e", "progress")
    assert.same({ { 1 }, true }, { values(items), ended })
  end)

  case("refuses a value that is no data, at the author's line", [[workflow("bad", function(ctx)
  ctx:emit("progress", print)
end)]], function(w)
    w:run("bad", { id = "b" })
    assert.truthy(w:failure("b").message:find("case.lua:2: emit", 1, true), w:failure("b").message)
  end)
end)
