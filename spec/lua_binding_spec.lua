-- lua_binding_spec.lua: the library, held by a LuaJIT host through `require "lunation"`.
local support = require "spec.support"
local lunation = require "lunation"

local GREETER = [[
activity("greet", function(input) return "hello " .. input.name end)
workflow("greeter", function(ctx, input) return ctx:call_activity("greet", input) end)
workflow("waiter", function(ctx) return ctx:wait_for_external_event("go") end)
workflow("caller", function(ctx, input) return ctx:call_activity("host", input) end)
workflow("echo", function(ctx, input) return input end)
workflow("careful", function(ctx, input)
  local ok, err = pcall(function() return ctx:call_activity("host", input) end)
  return { ok = ok, type = err.type, message = err.message }
end)
]]

describe("the Lua module", function()
  local rt

  local function open(options)
    options = options or {}
    options.store = options.store or (options.dir and "lmdb" or "memory")
    rt = assert(lunation.open(options))
    assert(rt:load_string("greeter.lua", GREETER))
    return rt
  end

  after_each(function()
    if rt then rt:close() end
    rt = nil
    support.clean()
  end)

  it("tells its version", function() assert.matches("^%d+%.%d+%.%d+$", lunation.version) end)

  it("runs a workflow with a Lua activity to its end", function()
    open()
    local id = assert(rt:start("greeter", { id = "ada", input = { name = "Ada" } }))
    assert.equal("ada", id)
    local instance = assert(rt:wait(id, 30))
    assert.equal("COMPLETED", instance.status)
    assert.equal("hello Ada", instance.output)
    assert.same({ name = "Ada" }, instance.input)
    assert.equal("greeter", instance.workflow)
  end)

  it("answers nil, message and code for what a program handles", function()
    open()
    local id, message, code = rt:start("no such workflow")
    assert.is_nil(id)
    assert.matches("no such workflow", message, 1, true)
    assert.equal("LNT_ENOTFOUND", code)
    assert(rt:start("echo", { id = "twice" }))
    assert.equal("LNT_EEXIST", select(3, rt:start("echo", { id = "twice" })))
    assert.equal("LNT_ENOTFOUND", select(3, rt:get("nobody")))
    assert.equal("LNT_ESYNTAX", select(3, rt:load_string("broken.lua", "workflow(")))
    assert.equal("LNT_EVALUE", select(3, rt:start("echo", { input = { items = { print } } })))
  end)

  it("waits no longer than it is told, however short that is", function()
    open()
    assert(rt:start("waiter", { id = "w" }))
    assert(rt:drain(30))
    for i = 0, 300 do
      assert.equal("LNT_ETIMEOUT", select(3, rt:wait("w", i % 30 * 1e-4)))
    end
  end)

  it("drains without waiting for timers that nobody wants any more", function()
    open({ limits = { pending_commands_max = 1000 } })
    assert(rt:load_string("timers.lua", [[
      workflow("timers", function(ctx)
        local function f() ctx:spawn(f) ctx:spawn(f) ctx:create_timer(0.001) end
        f()
      end)]]))
    for i = 1, 5 do
      assert(rt:start("timers", { id = "t" .. i }))
      assert(rt:drain(5)) -- the runtime sleeps ten seconds when nothing wakes it
    end
  end)

  it("gives back the memory of bodies that ended when it is idle", function()
    open()
    assert(rt:load_string("large.lua", [[
      workflow("large", function(ctx)
        local all = {}
        for i = 1, 10 do
          all[i] = {}
          for n = 1, 100000 do all[i][n] = n end
          ctx:create_timer(0)
        end
      end)]]))
    assert(rt:start("waiter", { id = "w" }))
    assert(rt:start("large", { id = "l" }))
    assert(rt:drain(30))
    for _ = 1, 1000 do
      if rt:stats().workflow_memory_bytes < 2e6 then break end
      rt:wait("w", 0.01)
    end
    assert.is_true(rt:stats().workflow_memory_bytes < 2e6)
  end)

  it("raises errors for misuse", function()
    assert.has_error(function() lunation.open({ nonsense = 1 }) end, "open: there is no option 'nonsense'")
    assert.error_matches(function() lunation.open({ durability = "maybe" }) end, "sync")
    open()
    assert.error_matches(function() rt:start() end, "bad argument")
    assert.error_matches(function() rt:complete({}) end, "string expected")
    rt:close()
    assert.has_error(function() rt:tick() end, "the runtime is closed")
    assert.is_true(rt:close())
  end)

  it("calls `done` when a request is durable, and not before", function()
    open()
    local answers = {}
    assert(rt:start("waiter", { id = "w", done = function(...) answers[#answers + 1] = { ... } end }))
    assert.same({}, answers)
    assert(rt:flush())
    rt:tick()
    assert.same({ { true } }, answers)
    assert(rt:raise("w", "go", { n = 1 }, { done = function(ok) answers[#answers + 1] = ok end }))
    assert.equal("COMPLETED", assert(rt:wait("w", 30)).status)
    assert.equal(true, answers[2])
    assert.same({ n = 1 }, rt:get("w").output)
  end)

  it("cancels", function()
    open()
    local answers = {}
    assert(rt:start("waiter", { id = "w" }))
    assert(rt:cancel("w", "not wanted", { done = function(ok) answers[#answers + 1] = ok end }))
    local instance = assert(rt:wait("w", 30))
    assert.equal("CANCELED", instance.status)
    assert.same({ "Canceled", "not wanted" }, { instance.failure.type, instance.failure.message })
    assert.same({ true }, answers)
    assert.equal("LNT_ECLOSED", select(3, rt:cancel("w")))
    assert.equal("LNT_ENOTFOUND", select(3, rt:cancel("nobody")))
  end)

  it("starts at a time, with attributes, and under a policy for ids", function()
    local now_us = 1700000000e6
    rt = assert(lunation.open({ store = "memory", clock = function() return now_us end }))
    assert(rt:load_string("greeter.lua", GREETER))
    assert(rt:start("waiter", { id = "w", start_at_us = now_us + 60e6, attributes = { customer = "ada", n = 2 } }))
    assert(rt:drain(30))
    assert.equal("PENDING", rt:get("w").status)
    assert.equal(now_us + 60e6, rt:get("w").start_at_us)
    assert.equal("LNT_ETIMEOUT", select(3, rt:wait_start("w", 0)))
    assert.same({ "w", true }, { rt:start("waiter", { id = "w", id_reuse = "existing" }) })
    assert.equal("LNT_EEXIST", select(3, rt:start("waiter", { id = "w", id_reuse = "terminal" })))
    now_us = now_us + 60e6
    assert.equal("RUNNING", assert(rt:wait_start("w", 30)).status)
    assert.same({ "w", false }, { rt:start("echo", { id = "w", id_reuse = "replace", input = 7 }) })
    assert.equal(7, assert(rt:wait("w", 30)).output)
    assert.error_matches(function() rt:start("echo", { id_reuse = "maybe" }) end, "id_reuse must be")
    assert.equal("LNT_EVALUE", select(3, rt:start("echo", { attributes = { list = { 1 } } })))
  end)

  it("lists and counts under conditions", function()
    open()
    for i = 1, 6 do
      assert(rt:start(i % 2 == 0 and "waiter" or "echo", { id = "n" .. i, attributes = { third = i % 3 == 0, n = i } }))
    end
    assert(rt:drain(30))
    local function ids(options)
      local list = {}
      for i, instance in ipairs(assert(rt:list(options))) do list[i] = instance.id end
      return table.concat(list, " ")
    end
    assert.equal("n6 n3", ids({ attributes = { third = true } }))
    assert.equal("n6", ids({ attributes = { third = true }, workflow = "waiter" }))
    assert.equal("n4", ids({ attributes = { n = 4 } }))
    assert.same({ total = 6, RUNNING = 3, COMPLETED = 3 }, rt:count())
    assert.same({ total = 1, COMPLETED = 1 }, rt:count({ attributes = { third = true }, status = "COMPLETED" }))
    assert.equal("LNT_ENOTFOUND", select(3, rt:list({ parent = "nobody" })))
    assert.equal("", ids({ parent = "n1" }))
  end)

  it("forks, reruns and retries", function()
    open()
    local fails, inputs = true, {}
    assert(rt:activity("host", function(input)
      inputs[#inputs + 1] = input.n
      if fails then error({ type = "Declined", message = "not now" }) end
      return input
    end))
    assert(rt:start("caller", { id = "c", input = { n = 1 } }))
    assert.equal("FAILED", assert(rt:wait("c", 30)).status)
    fails = false
    assert.equal("c", rt:retry("c"))
    assert.same({ n = 1 }, assert(rt:wait("c", 30)).output)
    assert.equal("again", rt:rerun("c", { event = 2, new_id = "again", input = { n = 5 } }))
    assert.same({ n = 5 }, assert(rt:wait("again", 30)).output)
    assert.same({ 1, 1, 5 }, inputs)
    local id = assert(rt:fork("c"))
    assert.same({ n = 1 }, assert(rt:wait(id, 30)).output)
    local origin
    for _, event in ipairs(rt:history(id)) do origin = event.kind == "Forked" and event or origin end
    assert.same({ by = "fork", run = rt:get("c").run, key = origin.value.key }, origin.value)
    assert.matches("^%x+$", origin.value.key) -- of which its idempotency keys are made
    assert.equal("c", origin.id)
    assert.equal("LNT_EINVAL", select(3, rt:rerun("c", { event = 1 })))
    assert.equal("LNT_ENOTFOUND", select(3, rt:fork("nobody")))
    assert.error_matches(function() rt:fork("c", { code = "old" }) end, "code must be")
  end)

  it("purges one, and all that match", function()
    open()
    for i = 1, 5 do assert(rt:start(i == 5 and "waiter" or "echo", { id = "n" .. i, attributes = { odd = i % 2 == 1 } })) end
    assert(rt:drain(30))
    local told
    assert.equal(1, rt:purge("n1", { done = function(ok) told = ok end }))
    assert.equal("LNT_ENOTFOUND", select(3, rt:purge("n1")))
    assert.equal("LNT_EOPEN", select(3, rt:purge("n5")))
    assert(rt:flush())
    assert.is_true(told)
    assert.error_matches(function() rt:purge_matching({ workflo = "nobody" }) end, "unknown condition 'workflo'; there are status")
    assert.error_matches(function() rt:list({ statuss = "FAILED" }) end, "unknown condition 'statuss'")
    assert.error_matches(function() rt:count({ "FAILED" }) end, "unknown condition 'number'")
    assert.same({ 1, nil }, { rt:purge_matching({ attributes = { odd = true } }) })
    local count, next = rt:purge_matching({ limit = 1 })
    assert.equal(1, count)
    assert.same({ 1, nil }, { rt:purge_matching({ cursor = next }) })
    assert.equal(1, rt:purge("n5", { force = true }))
    assert(rt:drain(30))
    assert.same({ total = 0 }, rt:count())
  end)

  it("suspends and resumes", function()
    open()
    local answers = {}
    local function done(ok) answers[#answers + 1] = ok end
    assert(rt:start("waiter", { id = "w" }))
    assert(rt:suspend("w", "a pause", { done = done }))
    assert(rt:raise("w", "go", "kept"))
    assert(rt:drain(30))
    assert.equal("SUSPENDED", rt:get("w").status)
    assert(rt:resume("w", nil, { done = done }))
    assert.equal("kept", assert(rt:wait("w", 30)).output)
    assert.same({ true, true }, answers)
    assert.equal("LNT_ECLOSED", select(3, rt:suspend("w")))
  end)

  it("runs activities of the host", function()
    open()
    local seen
    assert(rt:activity("host", function(input, act)
      seen = act
      return { doubled = input.n * 2 }
    end))
    rt:start("caller", { id = "c", input = { n = 21 } })
    assert.same({ doubled = 42 }, assert(rt:wait("c", 30)).output)
    assert.equal("host", seen.name)
    assert.equal("c", seen.instance_id)
    assert.equal(1, seen.attempt)
    assert.is_true(#seen.idempotency_key > 0)
  end)

  it("lets a host activity be completed later", function()
    open()
    local token
    assert(rt:activity("host", function(_, act)
      token = act:pending()
      return token
    end))
    rt:start("caller", { id = "c" })
    support.wait_until(function() return assert(rt:tick()) and token end, "the activity to begin")
    assert.equal("RUNNING", rt:get("c").status)
    assert(rt:complete(token, "late"))
    assert.equal("late", assert(rt:wait("c", 30)).output)
  end)

  it("tells when an answer from outside is durable, and why one does not count", function()
    open()
    local token
    assert(rt:activity("host", function(_, act) token = act:complete_later() end))
    rt:start("caller", { id = "c" })
    support.wait_until(function() return assert(rt:tick()) and token end, "the activity to begin")
    local told = {}
    local function tell(name)
      return { result_json = '"' .. name .. '"', done = function(ok, _, code) told[#told + 1] = name .. " " .. tostring(ok or code) end }
    end
    assert.equal("LNT_EINVAL", select(3, rt:complete("17:3", nil, tell("nonsense"))))
    assert.equal("LNT_ENOTFOUND", select(3, rt:complete("999:1:1", nil, tell("foreign"))))
    assert(rt:complete(token, nil, tell("first")))
    assert(rt:complete(token, nil, tell("second")))
    assert.same({}, told)
    assert(rt:flush())
    assert.same({ "second LNT_EOVER", "first true" }, told)
    assert.equal("first", assert(rt:wait("c", 30)).output)
    assert.equal("LNT_EOVER", select(3, rt:fail(token, "too late", tell("third"))))
    assert.equal(2, #told)
  end)

  it("gives a host activity's error to the workflow", function()
    open()
    assert(rt:activity("host", function() error({ type = "CardDeclined", message = "no money", non_retryable = true }) end))
    rt:start("careful", { id = "c" })
    assert.same({ ok = false, type = "CardDeclined", message = "no money" }, assert(rt:wait("c", 30)).output)
  end)

  it("lists instances, newest first, in pages", function()
    open()
    for i = 1, 5 do assert(rt:start(i % 2 == 0 and "echo" or "waiter", { id = "i" .. i })) end
    assert(rt:drain(30))
    local page, cursor = rt:list({ limit = 3 })
    assert.equal(3, #page)
    assert.equal("i5", page[1].id)
    assert.is_string(cursor)
    local rest, last = rt:list({ limit = 3, cursor = cursor })
    assert.equal(2, #rest)
    assert.is_nil(last)
    assert.equal(2, #rt:list({ status = "COMPLETED" }))
    assert.equal(3, #rt:list({ workflow = "waiter" }))
    assert.equal(1, #rt:list({ prefix = "i4" }))
  end)

  it("tells the history, and shows it to the observer", function()
    open()
    local kinds = {}
    rt:observe(function(id, _, event) kinds[#kinds + 1] = id .. " " .. event.kind end)
    rt:start("greeter", { id = "g", input = { name = "Ada" } })
    rt:wait("g", 30)
    local recorded = {}
    for i, event in ipairs(assert(rt:history("g"))) do
      assert.equal(i, event.index)
      recorded[i] = "g " .. event.kind
    end
    assert.equal("g Started", recorded[1])
    assert.equal("g Completed", recorded[#recorded])
    assert.same(recorded, kinds)
  end)

  it("keeps an error in a callback away from the library, and logs it", function()
    local lines = {}
    open({ log = function(level, message) lines[#lines + 1] = level .. " " .. message end })
    rt:observe(function() error("observer broke") end)
    rt:start("echo", { id = "e", done = function() error("done broke") end })
    assert.equal("COMPLETED", assert(rt:wait("e", 30)).status)
    local all = table.concat(lines, "\n")
    assert.matches("observer broke", all, 1, true)
    assert.matches("done broke", all, 1, true)
  end)

  it("goes on after the runtime was closed and opened again", function()
    local dir = support.folder() .. "/data"
    open({ dir = dir })
    rt:start("waiter", { id = "w" })
    assert(rt:drain(30))
    assert(rt:close())
    open({ dir = dir })
    assert(rt:raise("w", "go", "again"))
    assert.equal("again", assert(rt:wait("w", 30)).output)
  end)

  it("says so when the data directory is in use", function()
    local dir = support.folder() .. "/data"
    open({ dir = dir })
    local second = support.lunation({ "start", "echo", "--file", support.write(support.folder() .. "/f.lua", GREETER), "--data", dir })
    assert.equal(4, second.code)
  end)

  it("stops with terminate", function()
    open()
    rt:start("waiter", { id = "w" })
    rt:drain(30)
    assert(rt:terminate("w", "enough"))
    local instance = assert(rt:wait("w", 30))
    assert.equal("TERMINATED", instance.status)
    assert.equal("LNT_ECLOSED", select(3, rt:raise("w", "go")))
  end)

  it("rebuilds evicted instances by replay", function()
    open()
    rt:start("waiter", { id = "w" })
    rt:drain(30)
    assert(rt:evict_all())
    assert.equal(0, rt:stats().resident)
    rt:raise("w", "go", 1)
    assert.equal(1, assert(rt:wait("w", 30)).output)
    assert.is_true(rt:stats().replays >= 1)
  end)

  it("uses a clock of the host's", function()
    local now = 1e15
    open({ clock = function() return now end })
    rt:start("echo", { id = "e" })
    rt:wait("e", 30)
    assert.equal(1e15, rt:get("e").created_us)
  end)

  it("turns values into JSON and back", function()
    assert.equal('{"a":[1,2],"b":"x"}', lunation.json_encode({ b = "x", a = { 1, 2 } }))
    assert.equal("[]", lunation.json_encode(lunation.array()))
    assert.same({ a = { 1, { b = true } } }, lunation.json_decode('{"a": [1, {"b": true}]}'))
    local value, message, code = lunation.json_decode("{\n  x")
    assert.is_nil(value)
    assert.matches("line 2", message, 1, true)
    assert.equal("LNT_EVALUE", code)
    assert.equal("LNT_EVALUE", select(3, lunation.json_encode({ print })))
  end)

  it("gives values as JSON text where asked", function()
    open()
    rt:start("echo", { id = "e", input_json = '{"empty": [], "list": [1, null, 3]}' })
    rt:wait("e", 30)
    assert.equal('{"list":[1,null,3],"empty":[]}', rt:get("e", { json = true }).input)
  end)

  it("keeps the holes of an array that came with nulls", function()
    open()
    rt:start("echo", { id = "holes", input_json = '{"a": [1, null, 3], "b": [null, 2], "c": {"1": 1}}' })
    rt:wait("holes", 30)
    assert.equal('{"a":[1,null,3],"b":[null,2],"c":{"1":1}}', rt:get("holes", { json = true }).output)
  end)
end)
