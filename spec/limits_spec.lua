-- Every limit of a runtime, one by one: it is enforced; the error names it and says what to do; nothing is half done, and others do not
-- notice; stats().met counts it.
local lunation = require "lunation"
local support = require "spec.support"

local OTHERS = [[
  workflow("bystander", function(ctx) return ctx:wait_for_external_event("go") end)
]]

describe("the limit", function()
  local rt, log

  local function open(name, value, source, options)
    log = {}
    options = options or {}
    options.store, options.seed, options.limits = options.store or "memory", 7, { [name] = value }
    options.log = function(level, message) log[#log + 1] = level .. ": " .. message end
    rt = assert(lunation.open(options))
    assert(rt:load_string("limits.lua", OTHERS .. source))
    assert(rt:start("bystander", { id = "bystander" }))
    rt:tick(0)
  end

  -- Tick until `condition` holds.
  local function drive(condition) support.wait_until(function() rt:tick(0) return condition() end, "the runtime") end
  local function ended(id) return function() return rt:get(id) and rt:get(id).closed_us ~= nil end end

  -- The others go on, and the limit was met.
  local function check_others(name, times)
    if rt:get("bystander").status == "RUNNING" then assert(rt:raise("bystander", "go", "unmoved")) end
    drive(ended("bystander"))
    assert.equal("unmoved", rt:get("bystander").output)
    local met = rt:stats().met
    if times then assert.equal(times, met[name]) end
    assert.is_true(met[name] >= 1, name .. " was not counted")
    for other, count in pairs(met) do assert.is_true(other == name or count == 0, other .. " was counted") end
  end

  local function check_refused(name, advice, ok, message, code)
    assert.is_nil(ok)
    assert.equal("LNT_ELIMIT", code)
    assert.matches(name, message, 1, true)
    assert.matches(advice, message, 1, true)
  end

  -- Start "main", and let it end with a failure that names the limit.
  local function check_fails(name, type, advice, input)
    assert(rt:start("main", { id = "m", input = input }))
    drive(ended("m"))
    local instance = rt:get("m")
    assert.same({ "FAILED", type }, { instance.status, instance.failure and instance.failure.type })
    assert.matches(name, instance.failure.message, 1, true)
    assert.matches(advice, instance.failure.message, 1, true)
    return instance.failure
  end

  after_each(function()
    if rt then rt:close() end
    rt = nil
    support.clean()
  end)

  local cases = {}

  function cases.payload_bytes_max(name)
    open(name, 5000, [[
      activity("grows", function(n) return ("x"):rep(n) end)
      workflow("main", function(ctx, n)
        local ok, e = pcall(ctx.call_activity, ctx, "grows", 6000)
        local fine, why = pcall(ctx.call_activity, ctx, "grows", ("x"):rep(6000))
        return { e.type, e.message, why.type, why.message, #ctx:call_activity("grows", 4900) }
      end)
      workflow("large", function() return ("x"):rep(6000) end)
    ]])
    local large, advice = ("x"):rep(6000), "a reference instead"
    check_refused(name, advice, rt:start("main", { id = "m", input = large }))
    check_refused(name, advice, rt:start("main", { id = "m", input_json = '"' .. large .. '"' }))
    assert.equal("LNT_ENOTFOUND", select(3, rt:get("m")))
    check_refused(name, advice, rt:raise("bystander", "go", nil, { data_json = '"' .. large .. '"' }))
    assert.equal("RUNNING", rt:get("bystander").status)
    assert(rt:start("main", { id = "m" }))
    drive(ended("m"))
    local output = rt:get("m").output
    for i = 1, 3, 2 do
      assert.equal("LimitExceeded", output[i])
      assert.matches(name, output[i + 1], 1, true)
      assert.matches(advice, output[i + 1], 1, true)
    end
    assert.matches("limits.lua:", output[4], 1, true)
    assert.equal(4900, output[5])
    assert(rt:start("large", { id = "l" }))
    drive(ended("l"))
    assert.matches(name, rt:get("l").failure.message, 1, true)
    check_others(name, 5)
  end

  function cases.history_events_max(name)
    open(name, 100, [[workflow("main", function(ctx) while true do ctx:side_effect(function() return 1 end) end end)]])
    check_fails(name, "LimitExceeded", "continue as new")
    assert.matches("^warn.*" .. name .. ".*continue as new", table.concat(log, "\n")) -- it was warned before
    check_others(name, 1)
  end

  function cases.history_bytes_max(name)
    open(name, 100000, [[workflow("main", function(ctx)
      local sent = 0
      while sent < 50 do
        ctx:side_effect(function() return ("x"):rep(9000) end) -- which does not stand in the record
        sent = sent + 1
      end
    end)]])
    check_fails(name, "LimitExceeded", "smaller values")
    assert.matches("^warn.*" .. name, table.concat(log, "\n"))
    assert.equal(12, #rt:history("m") - 2) -- side effects, between the start and the end
    assert(rt:start("main", { id = "again" })) -- what stands apart counts after a rebuild, too
    check_others(name)
  end

  function cases.pending_commands_max(name)
    open(name, 50, [[workflow("main", function(ctx)
      local tasks = {}
      for i = 1, 60 do tasks[i] = ctx.async:create_timer(1000) end
      ctx:when_all(tasks)
    end)]])
    check_fails(name, "LimitExceeded", "smaller groups")
    check_others(name, 1)
  end

  function cases.buffered_events_max(name)
    open(name, 10, "")
    assert(rt:start("bystander", { id = "full" }))
    for i = 1, 9 do assert(rt:raise("full", "other", i)) end
    check_refused(name, "take some of them", rt:raise("full", "other", 11))
    rt:tick(0)
    local raised = 0
    for _, event in ipairs(rt:history("full")) do raised = raised + (event.kind == "EventRaised" and 1 or 0) end
    assert.equal(9, raised)
    check_others(name, 1)
  end

  function cases.child_depth_max(name)
    open(name, 3, [[workflow("main", function(ctx, n) return ctx:call_child_workflow("main", (n or 0) + 1) end)]])
    check_fails(name, "LimitExceeded", "call itself for ever")
    check_others(name, 1)
  end

  function cases.turn_instructions_max(name)
    open(name, 100000, [[workflow("main", function(ctx) while true do end end)]])
    check_fails(name, "BudgetExceeded", "do the work in an activity")
    check_others(name, 1)
  end

  function cases.turn_us_max(name)
    open(name, 20000, [[workflow("main", function(ctx) while true do end end)]])
    rt:close()
    log = {}
    rt = assert(lunation.open({ store = "memory", limits = { [name] = 20000, turn_instructions_max = 1e15 } }))
    assert(rt:load_string("limits.lua", OTHERS .. [[workflow("main", function(ctx) while true do end end)]]))
    assert(rt:start("bystander", { id = "bystander" }))
    assert(rt:start("main", { id = "m" }))
    drive(function() return rt:get("m") and rt:get("m").status == "STALLED" end)
    local failure = rt:get("m").failure
    assert.equal("TurnTimeout", failure.type)
    assert.matches(name, failure.message, 1, true)
    assert.matches("do the work in an activity", failure.message, 1, true)
    check_others(name)
  end

  function cases.workflow_memory_bytes_max(name)
    open(name, 8 * 2 ^ 20, [[workflow("main", function(ctx)
      local kept = {}
      for i = 1, 1e6 do kept[i] = ("x"):rep(10000) .. i end
    end)]])
    check_fails(name, "OutOfMemory", "keep less in memory")
    check_others(name, 1)
  end

  function cases.turn_memory_bytes_max(name)
    open(name, 2 * 2 ^ 20, [[workflow("main", function(ctx)
      local kept = {}
      for i = 1, 1e6 do kept[i] = { i, tostring(i) } end
    end)]])
    check_fails(name, "OutOfMemory", "do the work in an activity")
    check_others(name, 1)
  end

  local PILES = [[
    activity("echo", function(value) return value end)
    workflow("main", function(ctx)
      local all = {}
      for i = 1, 1000 do
        local t = {}
        for n = 1, 100000 do t[n] = n end -- 2 MB
        all[i] = t
        ctx:call_activity("echo", i)
      end
    end)]]

  function cases.instance_instructions_max(name)
    open(name, 5e6, PILES)
    check_fails(name, "BudgetExceeded", "continue as new")
    check_others(name, 1)
  end

  function cases.instance_memory_bytes_max(name)
    open(name, 16 * 2 ^ 20, PILES)
    check_fails(name, "OutOfMemory", "keep less in variables")
    check_others(name, 1)
  end

  function cases.activity_memory_bytes_max(name)
    open(name, 16 * 2 ^ 20, [[
      activity("hoards", function() local kept = {} for i = 1, 1e7 do kept[i] = ("x"):rep(10000) .. i end end)
      workflow("main", function(ctx) ctx:call_activity("hoards") end)]])
    check_fails(name, "OutOfMemory", "all activities of this VM together")
    check_others(name, 1)
  end

  function cases.activity_slice_us_max(name)
    open(name, 20000, [[
      activity("spins", function() while true do end end)
      workflow("main", function(ctx) ctx:call_activity("spins") end)]])
    check_fails(name, "SliceExceeded", "blocking = true")
    check_others(name, 1)
  end

  function cases.activity_grace_us(name)
    open(name, 1000, [[
      activity("stays", function(_, act) act:log("begun") while true do pcall(act.sleep, act, 1000) end end)
      workflow("main", function(ctx) ctx:call_activity("stays") end)]])
    assert(rt:start("main", { id = "m" }))
    drive(function() return table.concat(log, "\n"):find("begun", 1, true) end)
    assert(rt:terminate("m"))
    drive(function() return rt:stats().running == 0 and rt:stats().met[name] > 0 end)
    assert.equal("TERMINATED", rt:get("m").status)
    check_others(name, 1)
  end

  function cases.questions_max(name)
    open(name, 2, [[workflow("main", function(ctx) ctx:on_query("q", function() return 1 end) ctx:wait_for_external_event("go") end)]])
    assert(rt:start("main", { id = "m" }))
    rt:tick(0)
    local answers = {}
    for _ = 1, 2 do assert(rt:query("m", "q", nil, { done = function(value) answers[#answers + 1] = value end })) end
    check_refused(name, "ask again", rt:query("m", "q", nil, { done = function() answers[#answers + 1] = "never" end }))
    drive(function() return #answers == 2 end)
    assert.same({ 1, 1 }, answers)
    check_others(name, 1)
  end

  function cases.updates_max(name)
    open(name, 1, [[workflow("main", function(ctx)
      ctx:on_update("u", function() return ctx:wait_for_external_event("finish") end)
      ctx:wait_for_external_event("go")
    end)]])
    assert(rt:start("main", { id = "m" }))
    rt:tick(0)
    local first, second = {}, {}
    assert(rt:update("m", "u", nil, { done = function(...) first = { n = select("#", ...), ... } end }))
    rt:tick(0)
    assert(rt:update("m", "u", nil, { done = function(...) second = { n = select("#", ...), ... } end }))
    drive(function() return second.n end)
    assert.is_nil(first.n)
    check_refused(name, "ask again", second[1], second[2], second[3])
    assert(rt:raise("m", "finish", "done"))
    drive(function() return first.n end)
    assert.equal("done", first[1])
    check_others(name, 1)
  end

  function cases.resident_max(name)
    open(name, 2, [[workflow("main", function(ctx, n) return n + ctx:wait_for_external_event("go") end)]])
    for i = 1, 10 do assert(rt:start("main", { id = "m" .. i, input = i })) end
    for _ = 1, 5 do rt:tick(0) end
    assert.is_true(rt:stats().resident <= 2)
    for i = 1, 10 do assert(rt:raise("m" .. i, "go", 100)) end
    for i = 1, 10 do
      drive(ended("m" .. i))
      assert.equal(100 + i, rt:get("m" .. i).output)
    end
    check_others(name)
  end

  function cases.activities_running_max(name)
    open(name, 2, [[workflow("main", function(ctx, n) return ctx:call_activity("slow", n) end)]])
    local begun = {}
    assert(rt:activity("slow", function(_, act) begun[#begun + 1] = act:pending() end))
    for i = 1, 5 do assert(rt:start("main", { id = "m" .. i, input = i })) end
    for _ = 1, 5 do rt:tick(0) end
    assert.equal(2, #begun)
    for i = 1, 5 do
      drive(function() return begun[i] end)
      assert(rt:complete(begun[i], i))
    end
    for i = 1, 5 do drive(ended("m" .. i)) end
    check_others(name)
  end

  function cases.mailbox_max(name)
    open(name, 2, [[workflow("main", function(ctx, n) return ctx:call_activity("slow", n) end)]])
    local begun = {}
    assert(rt:activity("slow", function(n, act) begun[n] = act:pending() end))
    for i = 1, 3 do assert(rt:start("main", { id = "m" .. i, input = i })) end
    drive(function() return #begun == 3 end)
    assert(rt:complete(begun[1], "a"))
    assert(rt:complete(begun[2], "b"))
    check_refused(name, "let it tick", rt:complete(begun[3], "c"))
    rt:tick(0)
    assert(rt:complete(begun[3], "c"))
    for i, output in ipairs({ "a", "b", "c" }) do
      drive(ended("m" .. i))
      assert.equal(output, rt:get("m" .. i).output)
    end
    check_others(name, 1)
  end

  function cases.store_bytes_max(name)
    local dir = support.folder() .. "/data"
    open(name, 512 * 1024, "", { store = "lmdb", dir = dir, durability = "process" })
    local accepted, id, message, code = 0
    repeat
      id, message, code = rt:start("bystander", { id = "i" .. accepted, input = ("x"):rep(4000) })
      if id then accepted = accepted + 1 end
      rt:tick(0)
    until not id or accepted == 10000
    assert.equal("LNT_EFULL", code)
    assert.matches(name, message, 1, true)
    assert.is_true(rt:stats().met[name] >= 1)
    rt:close()
    rt = assert(lunation.open({ store = "lmdb", dir = dir, durability = "process" })) -- with more room it goes on
    assert(rt:load_string("limits.lua", OTHERS))
    assert(rt:raise("i0", "go", "there is room"))
    drive(ended("i0"))
    assert.equal("there is room", rt:get("i0").output)
  end

  function cases.source_bytes_max(name)
    open(name, 1000, "")
    check_refused(name, "split it into modules", rt:load_string("large.lua", ("-- "):rep(1000)))
    check_others(name, 1)
  end

  for name, check in pairs(cases) do
    it(name .. " is enforced, named, and counted", function() check(name) end)
  end

  it("that is not tested here does not exist", function()
    open("resident_max", 10, "")
    for name in pairs(rt:stats().met) do assert.is_function(cases[name], name) end
  end)
end)
