-- Conformance: code that changes. Runs keep the code they began with; new starts, new generations, children and activities have the newest.
local case = require("spec.conformance.support").case

local function version(word)
  return ([[
activity("word", function() return "%s" end)
workflow("w", function(ctx)
  ctx:wait_for_external_event("go")
  return "%s"
end)
workflow("kid", function() return "%s" end)
workflow("parent", function(ctx)
  ctx:wait_for_external_event("go")
  return { "%s", ctx:call_child_workflow("kid"), ctx:call_activity("word") }
end)
workflow("loop", function(ctx, before)
  ctx:wait_for_external_event("go")
  if before then return { before, "%s" } end
  ctx:continue_as_new("%s")
end)
]]):gsub("%%s", word)
end

describe("when the file of a workflow changes", function()
  case("a run keeps the code that it began with, and new starts have the new one", version("old"), function(w)
    w:run("w", { id = "before" })
    w:load(version("new"))
    w:run("w", { id = "after" })
    for _, id in ipairs({ "before", "after" }) do w:raise(id, "go") end
    w:settle()
    assert.same({ "old", "new" }, { w:output("before"), w:output("after") })
    assert.are_not.equal(w:get("before").code_hash, w:get("after").code_hash)
  end)

  case("a run that has not had its first turn keeps it too", version("old"), function(w)
    w:start("w", { id = "before" })
    w:load(version("new"))
    w:raise("before", "go")
    w:settle()
    assert.equal("old", w:output("before"))
  end)

  case("activities and children of an old run are the newest", version("old"), function(w)
    w:run("parent", { id = "p" })
    w:load(version("new"))
    w:raise("p", "go")
    w:settle()
    assert.same({ "old", "new", "new" }, w:output("p"))
  end)

  case("a new generation runs the newest code", version("old"), function(w)
    w:run("loop", { id = "l" })
    w:load(version("new"))
    w:raise("l", "go")
    w:settle()
    w:raise("l", "go")
    w:settle()
    assert.same({ "old", "new" }, w:output("l"))
  end)

  case("a generation goes on with the old code when the workflow is gone", version("old"), function(w)
    w:run("loop", { id = "l" })
    w:load("-- nothing is left\n")
    w:raise("l", "go")
    w:settle()
    w:raise("l", "go")
    w:settle()
    assert.same({ "old", "old" }, w:output("l"))
    assert.equal("LNT_ENOTFOUND", select(2, w:refused("start", "loop", { id = "l2" })))
  end)

  case("a run goes on with its code after a restart without the file", version("old"), function(w)
    w:run("w", { id = "w" })
    w.source = "-- nothing is left\n"
    w:reopen()
    w:raise("w", "go")
    w:settle()
    assert.equal("old", w:output("w"))
  end, { disk = true })

  case("and is changed back, old and new runs end each in its own way", version("one"), function(w)
    for i, word in ipairs({ "one", "two", "one", "three" }) do
      w:load(version(word))
      w:run("w", { id = "w" .. i })
    end
    for i = 1, 4 do w:raise("w" .. i, "go") end
    w:settle()
    assert.same({ "one", "two", "one", "three" }, { w:output("w1"), w:output("w2"), w:output("w3"), w:output("w4") })
    assert.equal(w:get("w1").code_hash, w:get("w3").code_hash)
  end)

  case("to something that does not load, nothing changes", version("old"), function(w)
    local message, code = w:refused("load_string", "case.lua", "workflow('w', function(ctx)\n  return (\nend)")
    assert.same({ "LNT_ESYNTAX", true }, { code, message:find("case.lua:", 1, true) ~= nil })
    w:run("w", { id = "w" })
    w:raise("w", "go")
    w:settle()
    assert.equal("old", w:output("w"))
  end)

  case("another file may not define the same workflow", version("old"), function(w)
    local message, code = w:refused("load_string", "other.lua", "workflow('w', function() return 'other' end)")
    assert.same({ "LNT_EEXIST", true }, { code, message:find("case.lua", 1, true) ~= nil })
    w:run("w", { id = "w" })
    w:raise("w", "go")
    w:settle()
    assert.equal("old", w:output("w"))
  end)
end)

describe("is_patched", function()
  case("is true where a run gets first, recorded, and the same in every replay", [[
    workflow("patched", function(ctx)
      local first = ctx:is_patched("one")
      ctx:create_timer(1)
      local again, other = ctx:is_patched("one"), ctx:is_patched("two")
      ctx:create_timer(1)
      return { first, again, other }
    end)]], function(w)
    w:run("patched", { id = "p" })
    w:advance(2)
    assert.same({ true, true, true }, w:output("p"))
    assert.equal(2, #w:events("p", "Patched"))
  end)

  case("asks afresh in a new generation", [[
    workflow("patched", function(ctx, n)
      assert(ctx:is_patched("one"))
      ctx:create_timer(1)
      if n < 3 then ctx:continue_as_new(n + 1) end
      return n
    end)]], function(w)
    w:run("patched", { id = "p", input = 1 })
    w:advance(3)
    assert.equal(3, w:output("p"))
    assert.equal(1, #w:events("p", "Patched"))
  end)
end)
