-- Activities in Lua, from end to end: what they may not do, signs of life, answers from outside, cancellation, limits.
local support = require("spec.support")
local lunation = require("lunation")

local PATIENCE_S = 60

describe("an activity", function()
  local log, now_us, rt

  -- Options: dir, workers, virtual (a clock that the test moves).
  local function open(source, options)
    options = options or {}
    now_us = now_us or 1767225600e6
    rt = assert(lunation.open({
      store = options.dir and "lmdb" or "memory", dir = options.dir, durability = "process", workers = options.workers, seed = 7,
      clock = options.virtual and function() return now_us end or nil, limits = options.limits,
      log = function(_, message) log[#log + 1] = message end,
    }))
    assert(rt:load_string("a.lua", source))
  end

  local function finish(id)
    assert(rt:wait(id, PATIENCE_S))
    local instance = assert(rt:get(id))
    return instance.output, instance.status, instance.failure
  end

  local function run(workflow, input)
    local id = assert(rt:start(workflow, { input = input }))
    return finish(id)
  end

  local function settle()
    assert(rt:drain(PATIENCE_S))
  end

  local function logged(pattern)
    for _, line in ipairs(log) do
      local found = line:match(pattern)
      if found then return found end
    end
  end

  local function tick_until(condition)
    return support.wait_until(function()
      assert(rt:tick(0.01))
      return condition()
    end, "what the activity should have done")
  end

  before_each(function()
    log, now_us = {}, nil
  end)

  after_each(function()
    if rt then rt:close() end
    rt = nil
    support.clean()
  end)

  it("cannot end the process", function()
    open([[
      activity("leave", function() os.exit(3) end)
      workflow("w", function(ctx) ctx:call_activity("leave") end)
    ]])
    local _, status, failure = run("w")
    assert.equal("FAILED", status)
    assert.matches("a.lua:1: os.exit is not available in an activity", failure.message, 1, true)
  end)

  it("hands details of its heartbeats to the next attempt", function()
    open([[
      activity("import", function(rows, act)
        local from = act.heartbeat_details or 1
        for row = from, rows do
          act:heartbeat(row)
          if row == 4 and act.attempt == 1 then error("the network broke") end
        end
        return { from = from, attempt = act.attempt, key = act.idempotency_key }
      end)
      workflow("w", function(ctx, rows) return ctx:call_activity("import", rows, { heartbeat = "10s", retry = { interval = 0 } }) end)
    ]])
    local output = run("w", 9)
    assert.same({ 4, 2 }, { output.from, output.attempt })
    assert.equal(40, #output.key)
    local scheduled
    for _, event in ipairs(rt:history(rt:list()[1].id)) do
      if event.kind == "ActivityScheduled" then scheduled = event end
    end
    assert.equal(output.key, scheduled.idempotency_key)
  end)

  it("hands details to the next attempt from a worker thread too", function()
    open([[
      activity("import", { blocking = true }, function(_, act)
        if act.attempt == 2 then return act.heartbeat_details end
        act:heartbeat({ page = 3 })
        error("again")
      end)
      workflow("w", function(ctx) return ctx:call_activity("import", nil, { retry = { interval = 0 } }) end)
    ]], { workers = 1 })
    assert.same({ page = 3 }, run("w"))
  end)

  local LATER = [[
    activity("ask", function(_, act)
      act:log("token " .. act:complete_later())
      act:log("attempt " .. act.attempt)
    end)
    activity("ask_blocking", { blocking = true }, function(_, act) act:log("token " .. act:complete_later()) end)
    workflow("w", function(ctx, name) return { answer = ctx:call_activity(name, nil, { timeout = "7d" }) } end)
  ]]

  it("may be completed by a later process", function()
    local dir = support.folder() .. "/data"
    open(LATER, { dir = dir })
    local id = assert(rt:start("w", { input = "ask" }))
    settle()
    local token = logged("^token (%S+)$")
    rt:close()
    log = {}
    open(LATER, { dir = dir })
    settle()
    assert.is_nil(logged("attempt"))
    assert(rt:complete(token, "yes"))
    assert.same({ answer = "yes" }, (finish(id)))
    local ok, message, code = rt:complete(token, "no")
    assert.same({ nil, "LNT_EOVER" }, { ok, code })
    assert.matches("(activity 'ask' of instance '" .. id .. "') is over: it was answered", message, 1, true)
  end)

  it("may be failed from outside, when a worker thread ran it", function()
    open(LATER, { workers = 1 })
    local id = assert(rt:start("w", { input = "ask_blocking" }))
    tick_until(function() return logged("^token") end)
    settle()
    assert.is_false(rt:heartbeat(logged("^token (%S+)$"), { half = true }))
    assert(rt:fail(logged("^token (%S+)$"), { type = "Refused", message = "not today" }))
    local _, status, failure = finish(id)
    assert.same({ "FAILED", "Refused", "not today" }, { status, failure.type, failure.message })
    assert.is_true(rt:heartbeat(logged("^token (%S+)$")))
  end)

  it("may be completed later by an activity of the host", function()
    local token, details
    open("workflow('w', function(ctx) return ctx:call_activity('mine', 1, { retry = { interval = 0 } }) end)")
    assert(rt:activity("mine", function(_, act)
      token, details = act:complete_later(), act.heartbeat_details
    end))
    local id = assert(rt:start("w", {}))
    settle()
    assert.is_false(rt:heartbeat(token, { "so far" }))
    assert(rt:fail(token, "again"))
    settle()
    assert.same({ "so far" }, details)
    assert(rt:complete(token, 5))
    assert.equal(5, (finish(id)))
    assert.equal("LNT_EINVAL", select(3, rt:complete("17:3", 5)))
  end)

  it("learns that it is canceled, and cleans up", function()
    local path = support.folder() .. "/left"
    open([[
      activity("work", function(path, act)
        local reason
        act:on_cancel(function(why) reason = why end)
        act:log("begun")
        local ok, e = pcall(act.sleep, act, 1000)
        act:sleep(0.01)
        act:write_file(path, table.concat({ tostring(ok), e.type, e.details.reason, reason, tostring(act:canceled()) }, " "))
      end)
      workflow("w", function(ctx, path) ctx:call_activity("work", path) end)
    ]])
    local id = assert(rt:start("w", { input = path }))
    tick_until(function() return logged("begun") end)
    assert(rt:terminate(id))
    tick_until(function() return support.read(path) end)
    assert.equal("false Canceled closed closed true", support.read(path))
  end)

  it("is dropped when it does not end within its grace", function()
    open([[
      activity("stays", function(_, act) act:log("begun") while true do pcall(act.sleep, act, 1000) end end)
      workflow("w", function(ctx) ctx:call_activity("stays") end)
    ]], { limits = { activity_grace_us = 1000 } })
    local id = assert(rt:start("w", {}))
    tick_until(function() return logged("begun") end)
    assert(rt:terminate(id))
    settle() -- it would wait for the attempt
    assert.equal("TERMINATED", rt:get(id).status)
  end)

  it("is told by the host's function that it is canceled", function()
    local canceled = {}
    open("workflow('w', function(ctx) return ctx:call_activity('mine', 1, { timeout = 5 }) end)", { virtual = true })
    local token
    assert(rt:activity("mine", { cancel = function(...) canceled = { ... } end }, function(_, act) token = act:pending() end))
    assert(rt:start("w", { id = "i" }))
    for _ = 1, 3 do rt:tick() end
    now_us = now_us + 5e6
    for _ = 1, 3 do rt:tick() end
    assert.same({ token, "timeout" }, canceled)
  end)

  it("runs no more often at once than it says", function()
    open([[
      local running, most, order = 0, 0, {}
      activity("slow", { concurrency = 3 }, function(n, act)
        running = running + 1
        most = math.max(most, running)
        act:sleep(0.002)
        running = running - 1
        order[#order + 1] = n
        return { most = most, order = #order }
      end)
      workflow("w", function(ctx, count)
        local tasks = {}
        for i = 1, count do tasks[i] = ctx.async:call_activity("slow", i) end
        local results = ctx:when_all(tasks)
        return results[#results]
      end)
    ]])
    assert.same({ most = 3, order = 20 }, (run("w", 20)))
  end)

  it("begins no more often in a period than it says", function()
    open([[
      activity("call", { rate = "2/10s" }, function(_, act) act:log("call") end)
      workflow("w", function(ctx)
        local tasks = {}
        for i = 1, 5 do tasks[i] = ctx.async:call_activity("call") end
        ctx:when_all(tasks)
      end)
    ]], { virtual = true })
    local id = assert(rt:start("w", {}))
    local counts = {}
    for _ = 1, 3 do
      for _ = 1, 4 do rt:tick() end
      counts[#counts + 1] = #log
      now_us = now_us + 10e6
    end
    assert.same({ 2, 4, 5 }, counts)
    assert.equal("COMPLETED", rt:get(id).status)
  end)

  it("waits for a worker thread without using up its time", function()
    open([[
      activity("nap", { blocking = true }, function(_, act) act:sleep(0.05) return true end)
      workflow("w", function(ctx)
        local tasks = {}
        for i = 1, 20 do tasks[i] = ctx.async:call_activity("nap", i, { timeout = 0.6 }) end
        return #ctx:when_all(tasks)
      end)
    ]], { workers = 1 })
    assert.equal(20, (run("w")))
  end)

  it("refuses options that cannot be meant", function()
    rt = assert(lunation.open({ store = "memory" }))
    local function refused(options, message)
      local ok, text = rt:load_string("a.lua", ("activity('x', %s, function() end)"):format(options))
      assert.is_nil(ok)
      assert.matches(message, text, 1, true)
      assert.matches("a.lua:1", text, 1, true)
    end
    refused("{ concurrency = 0 }", "the option concurrency must be a whole number from 1; got 0")
    refused("{ concurrency = 2.5 }", "concurrency")
    refused("{ blocking = 'yes' }", "the option blocking must be true or false; got yes")
    refused("{ rate = '10' }", "the option rate must be text such as \"10/s\"")
    refused("{ rate = '10/parsec' }", "rate")
    refused("{ rate = '0/s' }", "rate")
    refused("{ rate = { 10, per = 0 } }", "rate")
    refused("{ rate = { per = '1m' } }", "rate")
    refused("{ rate = 10 }", "rate")
    refused("{ speed = 10 }", "the option speed is unknown; there are blocking, pure, concurrency and rate")
    assert(rt:load_string("a.lua", [[
      activity("a", { rate = "100/5m" }, function() end)
      activity("b", { rate = "10/s", concurrency = 2, blocking = true }, function() end)
      activity("c", { rate = { 10, per = "1h30m" } }, function() end)
      activity("d", { rate = { 10 } }, function() end)
    ]]))
  end)
end)
