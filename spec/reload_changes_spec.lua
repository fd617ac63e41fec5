-- reload_changes_spec.lua: kinds of change to a workflow under an instance that runs, and what the report says of each: whether it fits,
-- which recorded event parts from which call, at which lines, and the first difference of the arguments.
local lunation = require "lunation"
local support = require "spec.support"

local HEAD = [[
activity("echo", function(x) return x end) activity("other", function(x) return x end)
workflow("child", function(_, x) return x end) workflow("w", function(ctx, input)
]]
local WAIT = '\n  ctx:wait_for_external_event("go")'

--- The function's body begins at line 3.
local function file(body, head) return (head or HEAD) .. body .. "\nend)\n" end

--- `old`, `new`: bodies, or with `whole` the files; each ends in a wait, where the instance stands. Events, from 1: Started, then a call
--- and its answer ... `at`: lines of the recorded call and of the new one.
local CHANGES = {
  { "spaces and comments",
    old = '  local a = ctx:call_activity("echo", 1)' .. WAIT,
    new = '  -- first\n  local a =\n    ctx:call_activity( "echo", 1 ) -- the echo\n\n' .. WAIT, fit = "compatible" },
  { "another name for a local",
    old = '  local a = ctx:call_activity("echo", 1)\n  ctx:call_activity("other", a)' .. WAIT,
    new = '  local b = ctx:call_activity("echo", 1)\n  ctx:call_activity("other", b)' .. WAIT, fit = "compatible" },
  { "a call renamed",
    old = '  ctx:call_activity("echo", 1)' .. WAIT, new = '\n  ctx:call_activity("other", 1)' .. WAIT,
    event = 2, recorded = "call_activity('echo', 1)", made = "call_activity('other', 1)", at = { 3, 4 } },
  { "two calls reordered",
    old = '  ctx:call_activity("echo", 1)\n  ctx:call_activity("other", 2)' .. WAIT,
    new = '  ctx:call_activity("other", 2)\n  ctx:call_activity("echo", 1)' .. WAIT,
    event = 2, recorded = "call_activity('echo', 1)", made = "call_activity('other', 2)", at = { 3, 3 } },
  { "a call inserted before",
    old = '  ctx:call_activity("echo", 1)' .. WAIT, new = '  ctx:call_activity("other", 0)\n  ctx:call_activity("echo", 1)' .. WAIT,
    event = 2, recorded = "call_activity('echo', 1)", made = "call_activity('other', 0)", at = { 3, 3 } },
  { "a call inserted before the wait",
    old = '  ctx:call_activity("echo", 1)' .. WAIT, new = '  ctx:call_activity("echo", 1)\n  ctx:call_activity("other", 2)' .. WAIT,
    event = 5, recorded = "wait_for_external_event('go')", made = "call_activity('other', 2)", at = { 4, 4 } },
  { "a call inserted behind the wait",
    old = '  ctx:call_activity("echo", 1)' .. WAIT, new = '  ctx:call_activity("echo", 1)' .. WAIT .. '\n  ctx:call_activity("other", 2)',
    fit = "not_reached" },
  { "a call deleted",
    old = '  ctx:call_activity("echo", 1)\n  ctx:call_activity("other", 2)' .. WAIT, new = '  ctx:call_activity("other", 2)' .. WAIT,
    event = 2, recorded = "call_activity('echo', 1)", made = "call_activity('other', 2)", at = { 3, 3 } },
  { "the last wait deleted",
    old = '  ctx:call_activity("echo", 1)' .. WAIT, new = '  ctx:call_activity("echo", 1)',
    event = 5, recorded = "wait_for_external_event('go')", at = { 4 } },
  { "an argument",
    old = '  ctx:call_activity("echo", { n = 1, who = { "ada", "bob" } })' .. WAIT,
    new = '  ctx:call_activity("echo", { n = 1, who = { "ada", "eve" } })' .. WAIT,
    event = 2, recorded = 'call_activity(\'echo\', {n: 1, who: ["ada", "bob"]})',
    made = 'call_activity(\'echo\', {n: 1, who: ["ada", "eve"]})',
    at = { 3, 3 }, difference = 'input.who[2]: "bob" vs "eve"' },
  { "a field more in an argument",
    old = '  ctx:call_activity("echo", { n = 1 })' .. WAIT, new = '  ctx:call_activity("echo", {\n    n = 1,\n    m = 2 })' .. WAIT,
    event = 2, recorded = "call_activity('echo', {n: 1})", made = "call_activity('echo', {m: 2, n: 1})", at = { 3, 3 },
    difference = "input.m: absent vs 2" },
  { "the order of keys in an argument",
    old = '  ctx:call_activity("echo", { n = 1, m = 2 })' .. WAIT,
    new = '  ctx:call_activity("echo", { m = 2, n = 1 })' .. WAIT, fit = "compatible" },
  { "the length of a timer that runs",
    old = '  ctx:create_timer("1h")', new = '  ctx:create_timer("2h")', fit = "compatible" },
  { "a timer instead of a wait",
    old = '  ctx:call_activity("echo", 1)' .. WAIT, new = '  ctx:call_activity("echo", 1)\n  ctx:create_timer("1h")',
    event = 5, recorded = "wait_for_external_event('go')", made = "create_timer()", at = { 4, 4 } },
  { "a wait instead of a timer",
    old = '  ctx:create_timer("1h")', new = WAIT,
    event = 2, recorded = "create_timer()", made = "wait_for_external_event('go')", at = { 3, 4 } },
  { "a timeout added to a wait", old = WAIT, new = '\n  ctx:wait_for_external_event("go", { timeout = "1h" })', fit = "compatible" },
  { "the name of an event",
    old = WAIT, new = '\n  ctx:wait_for_external_event("stop")',
    event = 2, recorded = "wait_for_external_event('go')", made = "wait_for_external_event('stop')", at = { 4, 4 } },
  { "the case of an event's name", old = WAIT, new = '\n  ctx:wait_for_external_event("GO")', fit = "compatible" },
  { "another child",
    old = '  ctx:call_child_workflow("child", 1)' .. WAIT, new = '  ctx:call_child_workflow("kid", 1)' .. WAIT,
    event = 2, recorded = "call_child_workflow('child', 1)", made = "call_child_workflow('kid', 1)", at = { 3, 3 } },
  { "the id of a child",
    old = '  ctx:call_child_workflow("child", 1, { id = "c" .. input })' .. WAIT,
    new = '  ctx:call_child_workflow("child", 1, { id = "d" .. input })' .. WAIT,
    event = 2, recorded = "call_child_workflow('child', 1)", made = "call_child_workflow('child', 1)", at = { 3, 3 },
    difference = 'id: "c1" vs "d1"' },
  { "an activity instead of a child",
    old = '  ctx:call_child_workflow("child", 1)' .. WAIT, new = '  ctx:call_activity("child", 1)' .. WAIT,
    event = 2, recorded = "call_child_workflow('child', 1)", made = "call_activity('child', 1)", at = { 3, 3 } },
  { "the condition of a branch that it took",
    old = '  if input > 0 then ctx:call_activity("echo", 1) end' .. WAIT,
    new = '  if input > 5 then ctx:call_activity("echo", 1) end' .. WAIT,
    event = 2, recorded = "call_activity('echo', 1)", made = "wait_for_external_event('go')", at = { 3, 4 } },
  { "a condition that comes out the same",
    old = '  if input > 0 then ctx:call_activity("echo", 1) end' .. WAIT,
    new = '  if input >= 1 then ctx:call_activity("echo", 1) end' .. WAIT,
    fit = "compatible" },
  { "a branch that it did not take",
    old = '  if input > 5 then\n    ctx:call_activity("echo", 1)\n  end' .. WAIT,
    new = '  if input > 5 then\n    ctx:call_activity("other", 2)\n  end' .. WAIT,
    fit = "not_reached" },
  { "a loop that goes round more often",
    old = '  for i = 1, 2 do ctx:call_activity("echo", i) end' .. WAIT, new = '  for i = 1, 3 do ctx:call_activity("echo", i) end' .. WAIT,
    event = 8, recorded = "wait_for_external_event('go')", made = "call_activity('echo', 3)", at = { 4, 3 } },
  { "a loop that goes round less often",
    old = '  for i = 1, 2 do ctx:call_activity("echo", i) end' .. WAIT, new = '  for i = 1, 1 do ctx:call_activity("echo", i) end' .. WAIT,
    event = 5, recorded = "call_activity('echo', 2)", made = "wait_for_external_event('go')", at = { 3, 4 } },
  { "behind the wait in a loop, in its first round",
    old = '  for _ = 1, 3 do\n    ctx:wait_for_external_event("go")\n    ctx:call_activity("echo", 1)\n  end',
    new = '  for _ = 1, 3 do\n    ctx:wait_for_external_event("go")\n    ctx:call_activity("other", 1)\n  end', fit = "not_reached" },
  { "retries and timeouts of an activity",
    old = '  ctx:call_activity("echo", 1, { retry = { max_attempts = 2 } })' .. WAIT,
    new = '  ctx:call_activity("echo", 1, { retry = { max_attempts = 9 }, timeout = "5m" })' .. WAIT, fit = "compatible" },
  { "two branches spawned in another order",
    old = '  for _, n in ipairs({ 1, 2 }) do ctx:spawn(function() ctx:call_activity("echo", n) end) end' .. WAIT,
    new = '  for _, n in ipairs({ 2, 1 }) do ctx:spawn(function() ctx:call_activity("echo", n) end) end' .. WAIT,
    event = 3, recorded = "call_activity('echo', 1)", made = "call_activity('echo', 2)", at = { 3, 3 }, difference = "input: 1 vs 2" },
  { "when_any in place of when_all",
    old = '  local a, b = ctx.async:call_activity("echo", 1), ctx.async:wait_for_external_event("go")\n  ctx:when_all({ a, b })',
    new = '  local a, b = ctx.async:call_activity("echo", 1), ctx.async:wait_for_external_event("go")\n  ctx:when_any({ a, b })' .. WAIT,
    made = "wait_for_external_event('go')", at = { nil, 5 } },
  { "the order of tasks in when_all",
    old = '  local a, b = ctx.async:call_activity("echo", 1), ctx.async:wait_for_external_event("go")\n  ctx:when_all({ a, b })',
    new = '  local a, b = ctx.async:call_activity("echo", 1), ctx.async:wait_for_external_event("go")\n  ctx:when_all({ b, a })',
    fit = "compatible" },
  { "a task that is started, too, and not awaited",
    old = '  ctx.async:call_activity("echo", 1)' .. WAIT,
    new = '  ctx.async:call_activity("echo", 1)\n  ctx.async:call_activity("echo", 2)' .. WAIT,
    event = 3, recorded = "wait_for_external_event('go')", made = "call_activity('echo', 2)", at = { 4, 4 } },
  { "a side effect added",
    old = '  ctx:call_activity("echo", 1)' .. WAIT,
    new = '  local x = ctx:side_effect(function() return 1 end)\n  ctx:call_activity("echo", x)' .. WAIT,
    event = 2, recorded = "call_activity('echo', 1)", made = "side_effect()", at = { 3, 3 } },
  { "a side effect that computes something else",
    old = '  local x = ctx:side_effect(function() return 1 end)\n  ctx:call_activity("echo", x)' .. WAIT,
    new = '  local x = ctx:side_effect(function() return 2 end)\n  ctx:call_activity("echo", x)' .. WAIT, fit = "not_reached" },
  { "an emit added",
    old = WAIT, new = '  ctx:emit("log", "waits")' .. WAIT,
    event = 2, recorded = "wait_for_external_event('go')", made = "emit('log', \"waits\")", at = { 4, 3 } },
  { "an event for another instance",
    old = '  ctx:raise_event("one", "hello", 1)' .. WAIT, new = '  ctx:raise_event("one", "hello", 2)' .. WAIT,
    event = 3, recorded = "raise_event('one', 'hello', 1)", made = "raise_event('one', 'hello', 2)", at = { 3, 3 },
    difference = "input: 1 vs 2" },
  { "a custom status", old = '  ctx:set_custom_status("a")' .. WAIT, new = '  ctx:set_custom_status("b")' .. WAIT, fit = "compatible" },
  { "an early return",
    old = '  ctx:call_activity("echo", 1)' .. WAIT, new = '  if input == 1 then return "done" end\n  ctx:call_activity("echo", 1)' .. WAIT,
    event = 2, recorded = "call_activity('echo', 1)", at = { 3 } },
  { "an error instead of a call",
    old = '  ctx:call_activity("echo", 1)' .. WAIT, new = '  error("no more")',
    event = 2, recorded = "call_activity('echo', 1)", at = { 3 } },
  { "continue_as_new moved before the wait",
    old = '  ctx:call_activity("echo", 1)' .. WAIT .. '\n  ctx:continue_as_new(2)',
    new = '  ctx:call_activity("echo", 1)\n  ctx:continue_as_new(2)',
    event = 5, recorded = "wait_for_external_event('go')", at = { 4 } },
  { "continue_as_new with another input, behind the wait",
    old = WAIT .. '\n  ctx:continue_as_new(2)', new = WAIT .. '\n  ctx:continue_as_new(3)', fit = "not_reached" },
  { "a call moved into a function",
    old = '  ctx:call_activity("echo", 1)' .. WAIT,
    new = '  local function first(n) ctx:call_activity("echo", n) end\n  first(1)' .. WAIT, fit = "compatible" },
  { "a function that is made, and called behind the wait",
    old = '  ctx:call_activity("echo", 1)' .. WAIT,
    new = '  ctx:call_activity("echo", 1)' .. WAIT .. '\n  local function last(n)\n    ctx:call_activity("echo", n)\n  end\n  last(2)',
    fit = "not_reached" },
  { "a branch added before another one, behind the wait",
    old = WAIT .. '\n  if input > 3 then\n    input = 1\n  end\n  return input',
    new = WAIT .. '\n  if input > 9 then\n    input = 2\n  end\n  if input > 3 then\n    input = 1\n  end\n  return input',
    fit = "not_reached" },
  { "the end of a function moved over lines that it has run",
    old = '  local n = 1\n  local function f()\n    n = 2\n  end\n  n = n + 1' .. WAIT,
    new = '  local n = 1\n  local function f()\n    n = 2\n  n = n + 1\n  end' .. WAIT, fit = "compatible" },
  { "an else and an end that changed places",
    old = '  local n = 1\n  if input > 3 then\n    if n then\n      n = 2\n    end\n  else\n    n = 3\n  end' .. WAIT,
    new = '  local n = 1\n  if input > 3 then\n    if n then\n      n = 2\n  else\n    end\n    n = 3\n  end' .. WAIT, fit = "compatible" },
  { "a scope around a call",
    old = '  ctx:call_activity("echo", 1)' .. WAIT,
    new = '  ctx:scope(function() ctx:call_activity("echo", 1) end)' .. WAIT, fit = "compatible" },
  { "a scope with a timeout around a call",
    old = '  ctx:call_activity("echo", 1)' .. WAIT,
    new = '  ctx:scope(function() ctx:call_activity("echo", 1) end, { timeout = "1h" })' .. WAIT,
    event = 2, recorded = "call_activity('echo', 1)", made = "create_timer()", at = { 3, 3 } },
  { "what a return calls",
    old = '  ctx:call_activity("echo", 1)\n  return ctx:wait_for_external_event("go")',
    new = '\n  ctx:call_activity("echo", 1)\n  return ctx:call_activity("other", 2)',
    event = 5, recorded = "wait_for_external_event('go')", made = "call_activity('other', 2)", at = { 4, 5 } },
  { "a patch added where it has passed",
    old = '  ctx:call_activity("echo", 1)' .. WAIT,
    new = '  if ctx:is_patched("p") then ctx:call_activity("other", 0) end\n  ctx:call_activity("echo", 1)' .. WAIT,
    fit = "compatible", patches = { { name = "p", took = 0, passed = 1 } } },
  { "a patch added where it has not come to",
    old = '  ctx:call_activity("echo", 1)' .. WAIT,
    new = '  ctx:call_activity("echo", 1)' .. WAIT .. '\n  if ctx:is_patched("p") then ctx:call_activity("other", 0) end',
    fit = "not_reached", patches = { { name = "p", took = 0, passed = 0 } } },
  { "the old branch of a patch that was taken, deleted",
    old = '  if ctx:is_patched("p") then ctx:call_activity("echo", 1)\n  else\n    ctx:call_activity("other", 1)\n  end' .. WAIT,
    new = '  ctx:is_patched("p")\n  ctx:call_activity("echo", 1)' .. WAIT,
    fit = "compatible", patches = { { name = "p", took = 1, passed = 0 } } },
  { "a patch deleted that was taken",
    old = '  if ctx:is_patched("p") then ctx:call_activity("echo", 1) end' .. WAIT, new = '  ctx:call_activity("echo", 1)' .. WAIT,
    event = 2, recorded = "is_patched('p')", made = "call_activity('echo', 1)", at = { 3, 3 }, patches = {} },
  { "a patch renamed",
    old = '  if ctx:is_patched("p") then ctx:call_activity("echo", 1) end' .. WAIT,
    new = '  if ctx:is_patched("q") then ctx:call_activity("echo", 1) end' .. WAIT,
    event = 2, recorded = "is_patched('p')", made = "wait_for_external_event('go')", at = { 3, 4 } },
  { "a patch that was taken, asked for earlier",
    old = '  ctx:call_activity("echo", 1)\n  if ctx:is_patched("p") then ctx:call_activity("echo", 2) end' .. WAIT,
    new = '  local p = ctx:is_patched("p")\n  ctx:call_activity("echo", 1)\n  if p then ctx:call_activity("echo", 2) end' .. WAIT,
    fit = "compatible", patches = { { name = "p", took = 1, passed = 0 } } },
  { "two patches in another order",
    old = '  ctx:is_patched("p")\n  ctx:is_patched("q")' .. WAIT, new = '  ctx:is_patched("q")\n  ctx:is_patched("p")' .. WAIT,
    event = 3, recorded = "is_patched('q')", made = "wait_for_external_event('go')", at = { 4, 5 } },
  { "the first of two patches deleted",
    old = '  ctx:is_patched("p")\n  ctx:is_patched("q")' .. WAIT, new = '  ctx:is_patched("q")' .. WAIT,
    event = 2, recorded = "is_patched('p')", made = "wait_for_external_event('go')", at = { 3, 4 } },
  { "a second patch before the first",
    old = '  if ctx:is_patched("p") then ctx:call_activity("echo", 1) end' .. WAIT,
    new = '  if ctx:is_patched("q") then ctx:call_activity("other", 2) end\n' ..
      '  if ctx:is_patched("p") then ctx:call_activity("echo", 1) end' .. WAIT,
    fit = "compatible", patches = { { name = "q", took = 0, passed = 1 }, { name = "p", took = 1, passed = 0 } } },
  { "an activity of the file",
    whole = { file(WAIT), file(WAIT):gsub("return x end%) activity", "return { x } end) activity") }, fit = "compatible" },
  { "another activity, called behind the wait",
    whole = { file(WAIT),
      file(WAIT .. '\n  ctx:call_activity("more")', 'activity("more", function() end)\n' .. HEAD) }, fit = "not_reached" },
  { "a constant of the file that is used behind the wait",
    whole = { file(WAIT .. '\n  return fee', "local fee = 5\n" .. HEAD),
      file(WAIT .. '\n  return fee', "local fee = 6\n" .. HEAD) }, fit = "not_reached" },
  { "a constant of the file that it has used",
    whole = { file('  local x = fee * 2' .. WAIT, "local fee = 5\n" .. HEAD),
      file('  local x = fee * 2' .. WAIT, "local fee = 6\n" .. HEAD) },
    fit = "compatible" },
  { "the workflow renamed",
    whole = { file(WAIT),
      file(WAIT):gsub('workflow%("w"', 'workflow("w2"') }, fit = "unavailable", message = 'does not define the workflow "w"' },
}

describe("the report on a change:", function()
  local rt
  after_each(function()
    if rt then rt:close() end
    rt = nil
    support.clean()
  end)

  local function parked(source)
    rt = assert(lunation.open({ store = "memory" }))
    assert(rt:load_string("w.lua", source))
    assert(rt:start("w", { id = "one", input = 1 }))
    assert(rt:drain(60))
    assert.equal("RUNNING", rt:get("one").status)
  end

  local function line_of(place) return place and tonumber(place:match("^w%.lua:(%d+)")) end

  for _, change in ipairs(CHANGES) do
    it(change[1], function()
      local old, new = file(change.old or ""), file(change.new or "")
      if change.whole then old, new = change.whole[1], change.whole[2] end
      parked(old)
      local summary = assert(rt:reload("w.lua", { source = new, dry_run = true }))
      local one = summary.instances[1]
      assert.equal(change.fit or "diverges", one.fit, one.message)
      assert.equal(1, summary.checked)
      if one.fit == "diverges" then
        local at = change.at or {}
        assert.same({ event = change.event, recorded = change.recorded, made = change.made, was = at[1], now = at[2],
            difference = change.difference },
          { event = one.event, recorded = one.recorded, made = one.made, was = line_of(one.recorded_at), now = line_of(one.made_at),
            difference = one.difference })
        assert.is_truthy(one.message)
      elseif change.message then
        assert.matches(change.message, one.message, 1, true)
      end
      if change.patches then assert.same(change.patches, summary.patches) end
    end)
  end

  describe("in a module", function()
    local folder
    local MAIN = [[
local price = require "lib.price"
workflow("w", function(ctx)
  ctx:call_activity("echo", price.of(2))
  ctx:wait_for_external_event("go")
  return price.tax(2)
end)
activity("echo", function(x) return x end)
]]
    local PRICE = [[
local rate = require "lib.rate"
local M = {}
function M.of(n) return n * rate.each end
function M.tax(n)
  return n * rate.tax
end
return M
]]
    local RATE = "return { each = 5, tax = 2 }\n"

    local function put(name, text) return support.write(folder .. "/" .. name, text) end

    before_each(function()
      folder = support.folder()
      os.execute("mkdir " .. folder .. "/lib")
      put("lib/price.lua", PRICE)
      put("lib/rate.lua", RATE)
      put("w.lua", MAIN)
      rt = assert(lunation.open({ store = "memory" }))
      assert(rt:load_file(folder .. "/w.lua"))
      assert(rt:start("w", { id = "one" }))
      assert(rt:drain(60))
    end)

    local function report()
      local summary = assert(rt:reload(folder .. "/w.lua", { dry_run = true }))
      return summary.instances[1]
    end

    it("a function that it has called", function()
      put("lib/price.lua", (PRICE:gsub("n %* rate.each", "n + rate.each")))
      local one = report()
      assert.equal("diverges", one.fit)
      assert.same({ 2, "input: 10 vs 7" }, { one.event, one.difference })
      assert.same({ 3, 3 }, { line_of(one.recorded_at), line_of(one.made_at) })
    end)

    it("a function that it has not called", function()
      put("lib/price.lua", (PRICE:gsub("n %* rate.tax", "n + rate.tax")))
      assert.equal("not_reached", report().fit)
    end)

    it("a module of the module", function()
      put("lib/rate.lua", (RATE:gsub("each = 5", "each = 6")))
      local one = report()
      assert.same({ "diverges", "input: 10 vs 12" }, { one.fit, one.difference })
      put("lib/rate.lua", "-- per piece\n" .. RATE)
      assert.equal("compatible", report().fit)
    end)

    it("a call in a module is named there", function()
      put("lib/price.lua", (PRICE:gsub("function M.of%(n%) return n", "function M.of(n)\n  ctx_of:emit('p', n)\n  return n")))
      put("w.lua", (MAIN:gsub("ctx:call_activity", "ctx_of = ctx\n  ctx:call_activity", 1)))
      local one = report()
      assert.same({ "diverges", "emit('p', 2)", "lib/price.lua:4" }, { one.fit, one.made, one.made_at:match("^[^ ]*") })
    end)
  end)

  it("a deleted line that ran without a call is a change that was reached", function()
    parked(file('  local n = 1\n  n = n + 1\n  ctx:call_activity("echo", 1)' .. WAIT .. "\n  return n"))
    local source = file('  local n = 1\n  ctx:call_activity("echo", 1)' .. WAIT .. "\n  return n")
    assert.equal("compatible", rt:reload("w.lua", { source = source, dry_run = true }).instances[1].fit)
  end)

  it("an instance that has not begun is told apart, and one whose workflow is gone", function()
    rt = assert(lunation.open({ store = "memory" }))
    assert(rt:load_string("w.lua", file(WAIT)))
    assert(rt:start("w", { id = "later", input = 1, start_at_us = (os.time() + 3600) * 1e6 }))
    assert(rt:drain(60))
    local one = rt:reload("w.lua", { source = file("  return 2"), policy = "pin" }).instances[1]
    assert.equal("not_reached", one.fit, one.message)
    local gone = assert(rt:reload("w.lua", { source = 'workflow("v", function() end)\n' }))
    assert.equal("unavailable", gone.instances[1].fit)
    local summary = assert(rt:migrate({ ids = { "later" }, hash = gone.hash }))
    assert.same({ 0, 1 }, { summary.moved, summary.unavailable })
    assert.matches('does not define the workflow "w"', summary.instances[1].message, 1, true)
  end)
end)
