-- divergence_spec.lua: code that does not do what is recorded: what the stalled instance says, and the ways on from there.
local lunation = require "lunation"
local support = require "spec.support"

-- A query that changes a variable: the history has what the changed one made, and no replay makes it again.
local PEEKED = [[
activity("work", function(n) return n end)
workflow("main", function(ctx)
  local state = { count = 0, names = { "a" } }
  ctx:on_query("peek", function()
    state.count = state.count + 1
    state.names[1] = "b"
    return state.count
  end)
  ctx:wait_for_external_event("go")
  ctx:call_activity("work", state)
  ctx:wait_for_external_event("end")
  return %s
end)]]

describe("a divergence", function()
  local rt, now_us, folder

  local function open(options)
    now_us = 1767225600e6
    options = options or { store = "memory" }
    options.seed, options.clock = 7, function() return now_us end
    rt = assert(lunation.open(options))
  end

  before_each(function() folder = support.folder() end)
  after_each(function()
    if rt then rt:close() end
    rt = nil
    support.clean()
  end)

  --- An instance of PEEKED that stalled. `later`: code that is loaded while it runs.
  local function stall(later)
    assert(rt:load_string("case.lua", PEEKED:format("1")))
    assert(rt:start("main", { id = "m" }))
    assert(rt:drain(60))
    assert.equal(1, assert(rt:query("m", "peek")))
    now_us = now_us + 1e6
    assert(rt:raise("m", "go"))
    assert(rt:drain(60))
    assert(rt:evict_all())
    if later then assert(rt:load_string("case.lua", later)) end
    now_us = now_us + 3600e6
    assert(rt:raise("m", "end"))
    assert(rt:drain(60))
    local instance = assert(rt:get("m"))
    assert.equal("STALLED", instance.status)
    return instance.failure
  end

  it("does not come of a module that is missing: it is told of alike where the file is and where only its stored code is", function()
    local file = support.write(folder .. "/case.lua", [[
      activity("work", function(text) return text end)
      workflow("main", function(ctx)
        local _, e = pcall(function() return require("nosuch").x end)
        ctx:call_activity("work", tostring(e))
        ctx:wait_for_external_event("end")
        return tostring(e)
      end)]])
    local dir = folder .. "/data"
    open({ dir = dir })
    assert(rt:load_file(file))
    assert(rt:start("main", { id = "m" }))
    assert(rt:drain(60))
    rt:close()
    open({ dir = dir })
    assert(rt:raise("m", "end"))
    assert(rt:drain(60))
    local instance = assert(rt:get("m"))
    assert.equal("COMPLETED", instance.status)
    assert.matches("case.lua:3: module 'nosuch' was not found when case.lua was loaded", instance.output, 1, true)
    assert.is_nil(instance.output:find(folder, 1, true))
  end)

  it("is not ended by a question", function()
    open({ store = "memory", paranoid = true })
    assert(rt:load_string("case.lua", PEEKED:format("1")))
    assert(rt:start("main", { id = "m" }))
    assert(rt:drain(60))
    assert.equal(1, assert(rt:query("m", "peek")))
    assert(rt:raise("m", "go"))
    assert(rt:drain(60))
    assert.equal("STALLED", assert(rt:get("m")).status)
    assert.equal("LNT_EDIVERGED", select(3, rt:query("m", "peek")))
    assert(rt:drain(60))
    assert.equal("STALLED", assert(rt:get("m")).status)
    assert(rt:resume("m")) -- rebuilt, it has not been asked
    assert(rt:drain(60))
    assert.equal("RUNNING", assert(rt:get("m")).status)
  end)

  it("does not keep an instance from being terminated", function()
    open()
    assert(rt:load_string("case.lua", PEEKED:format("1")))
    assert(rt:start("main", { id = "m" }))
    assert(rt:drain(60))
    assert.equal(1, assert(rt:query("m", "peek")))
    assert(rt:raise("m", "go"))
    assert(rt:drain(60))
    assert(rt:evict_all()) -- rebuilt, it does not do what it did
    assert(rt:terminate("m", "enough"))
    assert(rt:drain(60))
    local instance = assert(rt:get("m"))
    assert.equal("TERMINATED", instance.status)
    assert.equal("enough", instance.failure.message)
  end)

  local function events(kind)
    local found = {}
    for _, event in ipairs(assert(rt:history("m"))) do
      if event.kind == kind then found[#found + 1] = event end
    end
    return found
  end

  it("names the recorded event and its age, both calls, how the arguments differ, and the traceback", function()
    open()
    local failure = stall()
    local d = failure.details
    assert.equal("Diverged", failure.type)
    assert.equal("ActivityScheduled", rt:history("m")[d.event].kind)
    assert.equal(1767225600e6 + 1e6, d.recorded_at_us)
    assert.equal('call_activity(\'work\', {count: 1, names: ["b"]})', d.recorded)
    assert.equal('call_activity(\'work\', {count: 0, names: ["a"]})', d.made)
    assert.matches("^case.lua:10", d.at)
    assert.equal("input.count: 1 vs 0", d.difference)
    assert.same({ "input.count: 1 vs 0", 'input.names[1]: "b" vs "a"' }, d.differences)
    assert.matches("case.lua:10: in", events("Stalled")[1].detail, 1, true)
    assert.matches("ctx:on_query() at case.lua:4", d.cause, 1, true)
    assert.equal("ctx:on_query()", d.touched[1].what)
    assert.is_false(d.rehearsed)
  end)

  it("is not told again while nothing changes", function()
    open()
    stall()
    assert(rt:resume("m"))
    assert(rt:drain(60))
    assert.equal("STALLED", rt:get("m").status)
    assert.equal(1, #events("Stalled"))
    assert.same({}, events("Resumed"))
  end)

  it("ends by itself when code that fits is loaded, and not when the code does not", function()
    open()
    stall()
    assert(rt:load_string("case.lua", PEEKED:format("2"))) -- it makes the same call as before
    assert(rt:drain(60))
    assert.equal("STALLED", rt:get("m").status)
    local mended = PEEKED:format("3"):gsub("count = 0", "count = 1"):gsub('"a"', '"b"')
    assert(rt:load_string("case.lua", mended))
    assert(rt:drain(60))
    assert.equal(3, rt:get("m").output)
    assert.equal(1, #events("Resumed"))
    assert.equal(1, #events("CodeChanged"))
  end)

  it("ends after a restart with mended code, though the file was edited while nobody ran", function()
    open({ dir = folder .. "/data", durability = "process" })
    stall()
    assert(rt:close())
    open({ dir = folder .. "/data", durability = "process" })
    local mended = PEEKED:format("3"):gsub("count = 0", "count = 1"):gsub('"a"', '"b"')
    assert(rt:load_string("case.lua", mended))
    assert(rt:drain(60))
    assert.equal(3, rt:get("m").output)
  end)

  it("ends by a migration to code that is there", function()
    open()
    stall((PEEKED:format("4"):gsub("count = 0", "count = 1"):gsub('"a"', '"b"')))
    assert.equal(1, assert(rt:migrate({ ids = { "m" } })).moved)
    assert(rt:drain(60))
    assert.equal(4, rt:get("m").output)
  end)

  it("of an instance that was moved tells both lines and the move", function()
    open()
    local source = [[
      workflow("main", function(ctx)
        %s
        ctx:wait_for_external_event("go")
        return 1
      end)]]
    assert(rt:load_string("case.lua", source:format("ctx:create_timer(0)")))
    assert(rt:start("main", { id = "m" }))
    assert(rt:drain(60))
    local fit = assert(rt:reload("case.lua", { source = source:format("ctx:emit('log', 1)"), dry_run = true })).instances[1]
    assert.equal("diverges", fit.fit)
    assert.matches("^case.lua:2", fit.recorded_at)
    assert.matches("^case.lua:2", fit.made_at)
  end)

  it("is shown by the program, and ended by `lunation resume` and `lunation migrate`", function()
    open()
    local file = support.write(folder .. "/flaky.lua", [[
      workflow("flaky", function(ctx)
        ctx:create_timer(0)
        ctx:set_custom_status(ctx:is_replaying())
        ctx:wait_for_external_event("go")
      end)]])
    local data = folder .. "/data"
    local function lunation_with(...)
      local words = { ... }
      words[#words + 1] = "--data"
      words[#words + 1] = data
      return support.lunation(words)
    end
    assert.equal(6, lunation_with("run", file, "--id", "f", "--paranoid").code)
    local shown = lunation_with("show", "f").out
    assert.matches("a copy    set_custom_status(true)  flaky.lua:3", shown, 1, true)
    assert.matches("itself    set_custom_status(false)  flaky.lua:3", shown, 1, true)
    assert.matches("cause     the same code did not do the same again", shown, 1, true)
    assert.matches("it used   ctx:is_replaying()  flaky.lua:3", shown, 1, true)
    assert.equal(0, lunation_with("resume", "f").code) -- without paranoia nothing is wrong with it
    local server = support.serve(folder, data)
    support.wait_until(function() return lunation_with("show", "f").out:find("waiting", 1, true) end, "the wait")
    assert.equal(0, lunation_with("raise", "f", "go").code)
    support.wait_until(function() return lunation_with("show", "f").out:find("COMPLETED", 1, true) end, "the end")
    support.stop(server)
  end)
end)
