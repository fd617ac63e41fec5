-- paranoid_spec.lua: the developer's switch. Each turn is run twice, so that code which would not do the same in a replay is caught in its
-- first run, before anything of what it did is done.
local lunation = require "lunation"
local support = require "spec.support"

describe("paranoid mode", function()
  local rt, now_us, said

  local function open(source, limits)
    now_us, said = 1767225600e6, {}
    rt = assert(lunation.open({ store = "memory", seed = 7, paranoid = true, limits = limits, clock = function() return now_us end,
      log = function(_, message) said[#said + 1] = message end }))
    assert(rt:load_string("case.lua", source))
  end

  after_each(function()
    rt:close()
    support.clean()
  end)

  local function settle()
    repeat
      local result = assert(rt:tick(0))
      local rests = result.turns == 0 and result.commits == 0 and result.ready == 0
    until rests and (result.next_due_us or math.huge) > now_us
  end

  local function run(workflow, input)
    local id = assert(rt:start(workflow, { id = workflow, input = input }))
    settle()
    return id
  end

  local function pass(seconds)
    now_us = now_us + seconds * 1e6
    settle()
  end

  --- The details of the divergence that `id` stalled with.
  local function stalled(id)
    local instance = assert(rt:get(id))
    assert.equal("STALLED", instance.status)
    assert.equal("Diverged", instance.failure.type)
    return instance.failure.details, instance.failure.message
  end

  local function kinds(id)
    local list = {}
    for _, event in ipairs(assert(rt:history(id))) do list[#list + 1] = event.kind end
    return table.concat(list, " ")
  end

  it("catches a call that differs before it is made", function()
    open([[
      activity("work", function() error("it must not run") end)
      workflow("main", function(ctx)
        ctx:call_activity("work", { n = 1, again = ctx:is_replaying() })
      end)]])
    local details, message = stalled(run("main"))
    assert.equal("Started Stalled", kinds("main"))
    assert.equal("call_activity('work', {n: 1, again: true})", details.recorded)
    assert.equal("call_activity('work', {n: 1, again: false})", details.made)
    assert.matches("^case.lua:3", details.at)
    assert.matches("^case.lua:3", details.recorded_at)
    assert.equal("input.again: true vs false", details.difference)
    assert.matches("run twice over the same history", message, 1, true)
  end)

  it("catches calls that are missing, extra, or late, and an end that differs", function()
    local bodies = {
      missing = "if ctx:is_replaying() then ctx:create_timer(1) end",
      extra = "if not ctx:is_replaying() then ctx:create_timer(1) end",
      due = "ctx:create_timer(ctx:is_replaying() and 1 or 2)",
      retry = "ctx:call_activity('work', 1, { retry = { max_attempts = ctx:is_replaying() and 2 or 3 } })",
      status = "ctx:set_custom_status(ctx:is_replaying()); ctx:create_timer(1)",
      attributes = "ctx:set_attributes({ again = ctx:is_replaying() }); ctx:create_timer(1)",
      emitted = "ctx:emit('log', ctx:is_replaying()); ctx:create_timer(1)",
      child = "ctx:call_child_workflow('main', nil, { id = ctx:is_replaying() and 'a' or 'b' })",
      canceled = "local t = ctx.async:create_timer(9); if ctx:is_replaying() then t:cancel() end; ctx:create_timer(1)",
      value = "return ctx:is_replaying()",
      raised = "error('again ' .. tostring(ctx:is_replaying()))",
      generation = "ctx:continue_as_new(ctx:is_replaying())",
      late = "if ctx:is_replaying() then error('no') end; return 1",
    }
    for what, body in pairs(bodies) do
      open("activity('work', function() end)\nworkflow('main', function(ctx)\n" .. body .. "\nend)")
      stalled(run("main"))
      assert.is_nil(rt:get("main").custom_status, what)
      assert.equal("Started Stalled", kinds("main"):gsub(" TimerCreated", ""), what)
      rt:close()
    end
    open("")
  end)

  it("catches what a query left behind, and goes on without it", function()
    open([[
      activity("work", function(n) return n end)
      workflow("main", function(ctx)
        local asked = 0
        ctx:on_query("peek", function() asked = asked + 1; return asked end)
        ctx:wait_for_external_event("go")
        return ctx:call_activity("work", asked)
      end)]])
    run("main")
    assert.equal(1, assert(rt:query("main", "peek")))
    assert(rt:raise("main", "go"))
    settle()
    local details = stalled("main")
    assert.equal("call_activity('work', 0)", details.recorded)
    assert.equal("call_activity('work', 1)", details.made)
    assert.matches("query", details.cause)
    assert(rt:resume("main")) -- the body is rebuilt: nobody has asked it
    settle()
    assert(rt:wait("main", 60))
    assert.equal(0, rt:get("main").output)
  end)

  it("catches a side effect that changes a variable, and runs it once", function()
    open([[
      workflow("main", function(ctx)
        local ran = 0
        ctx:side_effect(function() print("ran"); ran = ran + 1 end)
        ctx:create_timer(1 + ran)
      end)]])
    local details = stalled(run("main"))
    assert.equal(1, #rt:history("main") - 2) -- the side effect, and nothing else
    assert.matches("due: ", details.difference)
    assert.equal("ran", said[1])
    assert.are_not.equal("ran", said[2])
  end)

  it("catches a table that loses what nobody holds", function()
    open([[
      workflow("main", function(ctx)
        local meta = {}
        local cache = setmetatable({}, meta)
        meta.__mode = "k"
        cache[{}] = true
        ctx:create_timer(1)
        local kept = next(setmetatable({ cache }, nil)) and rawequal(cache, cache)
        local ok = pcall(next, cache) -- a key of type table has no order: refused while it is there
        return { ok, kept }
      end)]])
    run("main")
    pass(1)
    if os.getenv("LNT_GC_STRESS") then -- both times it is lost at once
      assert.equal("COMPLETED", rt:get("main").status)
    else
      stalled("main")
    end
  end)

  it("stalls at the end of a turn in which others did not as they were told", function()
    open([[
      workflow("main", function(ctx)
        local ok = pcall(ctx.start_workflow, ctx, "nobody")
        ctx:create_timer(1)
        return { ok, ctx:is_replaying() }
      end)
      workflow("second", function(ctx)
        local ok = pcall(ctx.raise_event, ctx, "nobody", "go")
        if ctx:is_replaying() then ctx:emit("log", 2) end
        ctx:create_timer(1)
      end)]])
    run("main")
    assert.equal("RUNNING", rt:get("main").status)
    stalled(run("second"))
  end)

  it("goes on by itself when mended code arrives", function()
    local source = [[
      activity("work", function(n) return n end)
      workflow("main", function(ctx)
        ctx:call_activity("work", 1)
        return ctx:call_activity("work", %s)
      end)]]
    open(source:format("ctx:is_replaying()"))
    stalled(run("main"))
    local summary = assert(rt:reload("case.lua", { source = source:format("2") }))
    assert.equal(1, summary.moved) -- pinned, but stalled
    settle()
    assert(rt:wait("main", 60))
    assert.equal(2, rt:get("main").output)
  end)

  it("leaves alone what does the same both times", function()
    open([[
      activity("work", function(n) return n end)
      workflow("child", function(_, n) return n + 1 end)
      workflow("main", function(ctx, input)
        local seen = {}
        ctx:on_update("add", { handle = function(n) seen[#seen + 1] = n; return #seen end })
        ctx:set_custom_status("begun")
        ctx:set_attributes({ n = 1 })
        ctx:emit("log", os.time())
        local drawn = ctx:side_effect(function() return math.random(1000) end)
        local both = ctx:when_all({ ctx.async:call_activity("work", drawn), ctx.async:call_child_workflow("child", 1) })
        ctx:raise_event(ctx.instance_id, "self", 5)
        local other = ctx:start_workflow("child", 7)
        local event = ctx:wait_for_external_event("self")
        local missed = pcall(ctx.raise_event, ctx, "nobody", "go")
        local first = ctx:when_any({ ctx.async:create_timer(1), ctx.async:wait_for_external_event("never") }, { cancel_losers = true })
        ctx:wait_for_external_event("end", { timeout = "1h" })
        if input == 1 then ctx:continue_as_new(2) end
        return { drawn == both[1], both[2], event, missed, first, ctx:uuid() ~= ctx:uuid(), #other > 0, seen, ctx:random() < 1 }
      end)]])
    run("main", 1)
    pass(1)
    assert(rt:update("main", "add", 4))
    assert(rt:raise("main", "end"))
    settle()
    pass(1)
    assert.equal(1, assert(rt:update("main", "add", 9)))
    assert(rt:raise("main", "end"))
    settle()
    assert(rt:wait("main", 60))
    assert.same({ true, 2, 5, false, 1, true, true, { 9 }, true }, rt:get("main").output)
  end)

  it("works on a directory with a thread that commits, over a restart", function()
    local folder = support.folder()
    open("")
    local options = { dir = folder .. "/data", durability = "process", committer = true, paranoid = true }
    local source = [[
      activity("work", function(n) return n + 1 end)
      workflow("main", function(ctx, n)
        for _ = 1, 20 do n = ctx:call_activity("work", n) end
        ctx:wait_for_external_event("go")
        return ctx:call_activity("work", n)
      end)]]
    for part = 1, 2 do
      local other = assert(lunation.open(options))
      assert(other:load_string("case.lua", source))
      if part == 1 then for i = 1, 10 do assert(other:start("main", { id = "m" .. i, input = i })) end end
      if part == 2 then for i = 1, 10 do assert(other:raise("m" .. i, "go")) end end
      assert(other:drain(60))
      if part == 2 then for i = 1, 10 do assert.equal(i + 21, other:get("m" .. i).output) end end
      assert(other:close())
    end
  end)

  it("is a switch of the program", function()
    open("")
    local folder = support.folder()
    local file = support.write(folder .. "/flaky.lua", [[
      workflow("flaky", function(ctx)
        ctx:create_timer(0)
        return ctx:is_replaying()
      end)]])
    local calm = support.lunation({ "run", file, "--data", folder .. "/a" })
    assert.equal(0, calm.code)
    local caught = support.lunation({ "run", file, "--data", folder .. "/b", "--paranoid" })
    assert.equal(6, caught.code)
    assert.matches("run twice over the same history", caught.err, 1, true)
    assert.matches("STALLED", caught.err, 1, true)
  end)
end)
