-- sandbox_attack_spec.lua: workflows that mean harm, through the public API. Whatever they try, the process lives, the instance that tries
-- it ends in a way that is named, and its neighbours in the same VM notice nothing. spec/c/test_sandbox.c attacks single functions.
local lunation = require "lunation"
local support = require "spec.support"

local LIMITS = { turn_instructions_max = 3e6, turn_memory_bytes_max = 8 * 2 ^ 20, workflow_memory_bytes_max = 512 * 2 ^ 20,
  history_events_max = 3000, pending_commands_max = 1000, source_bytes_max = 4 * 2 ^ 20 }

-- Where garbage is collected at every chance, each allocation costs a cycle: attacks get less, and may end by another limit than they
-- meant.
local STRESSED = os.getenv("LNT_GC_STRESS") ~= nil
if STRESSED then LIMITS.turn_instructions_max, LIMITS.turn_memory_bytes_max = 20000, 2 ^ 20 end
local MANY = STRESSED and 500 or 70000 -- things in a source

local NEIGHBOUR = [[
activity("echo", function(value) return value end)
workflow("neighbour", function(ctx)
  local count, kept = 0, { text = ("x"):rep(10) }
  while true do
    ctx:wait_for_external_event("tick")
    count = count + 1
    ctx:set_custom_status({ count, ctx:call_activity("echo", kept.text), ("%d"):format(count), ("ab"):upper(), tostring({}) })
  end
end)]]

describe("an attack", function()
  local rt, folder, ticks, number = nil, nil, 0, 0

  setup(function()
    folder = support.folder()
    for name, source in pairs({
      loops = "while true do end", yields = "coroutine.yield(1)", cycle_a = "require 'cycle_b' return 1",
      cycle_b = "require 'cycle_a' return 1",
      fails = "error({ type = 'Canceled' })", itself = "return { require('itself') }", bytecode = "\27LJ\2\0\0", broken = "return (",
      bomb = "local t = {} while true do t[#t + 1] = {} end", plain = "return { n = 0 }",
    }) do support.write(folder .. "/" .. name .. ".lua", source) end
    rt = assert(lunation.open({ store = "memory", limits = LIMITS, module_path = folder }))
    assert(rt:load_string("neighbour.lua", NEIGHBOUR))
    assert(rt:activity("deep", {}, function(depth)
      local value = {}
      for _ = 1, depth do value = { value } end
      return value
    end))
    assert(rt:activity("wide", {}, function(count)
      local value = {}
      for i = 1, count do value[i] = i % 7 end
      return value
    end))
    assert(rt:start("neighbour", { id = "neighbour" }))
    assert(rt:drain(120))
  end)
  teardown(function()
    assert(rt:close())
    support.clean()
  end)

  --- The neighbour does what it always does.
  local function check_neighbour()
    ticks = ticks + 1
    assert(rt:raise("neighbour", "tick"))
    assert(rt:drain(120))
    assert.same({ ticks, "xxxxxxxxxx", tostring(ticks), "AB", "table" }, rt:get("neighbour").custom_status)
    assert.equal("RUNNING", rt:get("neighbour").status)
  end

  --- Load `source`; run its workflow "main", if it loads. Answers how that ended: the status, or the type of the failure, and the message.
  local function run(source, input)
    number = number + 1
    local name = "a" .. number
    local loaded, message, code = rt:load_string(name .. ".lua", (source:gsub('workflow%("main"', ('workflow("%s"'):format(name))))
    if not loaded then return code, message end
    assert(rt:start(name, { id = name, input = input }))
    assert(rt:drain(120))
    local instance = rt:get(name)
    if not instance.closed_us then
      assert(rt:terminate(name))
      assert(rt:drain(120))
      return instance.status, ""
    end
    if instance.status == "COMPLETED" then return "COMPLETED", tostring(instance.output) end
    return instance.failure.type, instance.failure.message
  end

  --- `wanted`: how it ends, or two ways, where others' garbage decides whether memory or another limit is met first; `part`: what the
  --- message, or the output, has in it.
  local function attack(name, source, wanted, part)
    it("with " .. name .. " harms nobody", function()
      local how, message = run(source)
      if not STRESSED then
        assert.is_truthy((" or " .. wanted .. " or "):find(" or " .. how .. " or ", 1, true), how .. ": " .. message)
        if part then assert.is_truthy(message:find(part, 1, true), message) end
      end
      check_neighbour()
    end)
  end

  local function body(name, code, wanted, part)
    attack(name, "local M = ...\nworkflow(\"main\", function(ctx)\n" .. code .. "\nend)\n", wanted, part)
  end

  describe("on the budgets", function()
    body("handlers that swallow the kill", [[
      local function spin() while true do end end
      while true do xpcall(spin, function() return xpcall(spin, spin) end) end]], "BudgetExceeded", "turn_instructions_max")
    body("a kill inside coroutines inside pcall", [[
      local function layer(n) if n == 0 then while true do end end return pcall(coroutine.wrap(function() return layer(n - 1) end)) end
      while true do layer(90) end]], "BudgetExceeded")
    body("a kill during a clean-up", [[
      ctx:scope(function() ctx:spawn(function() pcall(ctx.create_timer, ctx, 9) while true do end end) ctx:create_timer(0) end)]],
      "BudgetExceeded")
    body("metamethods that never end", [[
      local t t = setmetatable({}, { __index = function(_, k) return t[k .. "x"] end, __newindex = function(_, k, v) t[k] = v end })
      while true do pcall(function() return t.a end) pcall(function() t.b = 1 end) end]], "OutOfMemory")
    for _, event in ipairs({ "__add(a, b) return a + b", "__concat(a, b) return a .. b",
      "__eq(a, b) return a == b", "__lt(a, b) return a < b",
      "__le(a, b) return a <= b", "__unm(a) return -a", "__call(a) return 1 + a()", "__tostring(a) return tostring(a) .. ''" }) do
      local sign, head, code = event:match("^(__%a+)(%b()) (.*)$")
      local use = ({ __add = "t + u", __concat = "t .. u", __eq = "t == u", __lt = "t < u", __le = "t <= u",
        __unm = "-t", __call = "1 + t()",
        __tostring = "tostring(t) .. ''" })[sign]
      body("a bottomless " .. sign, ("local m = {} m.%s = function%s %s end local t, u = setmetatable({}, m), setmetatable({}, m)\n" ..
        "while true do pcall(function() return %s end) end"):format(sign, head, code:gsub("return (.*)$", "local r = %1 return r"), use),
        "StackOverflow")
    end
    body("a chain of __index as long as it goes", [[
      local t = {} for _ = 1, 100000 do t = setmetatable({}, { __index = t }) end
      while true do pcall(function() return t.x end) end]], "BudgetExceeded")
    body("a chain of __call", "local f = print for _ = 1, 300 do f = setmetatable({}, { __call = f }) end while true do pcall(f) end",
      "BudgetExceeded")
    body("tail calls without end", "local f, g function f() return g() end function g() return f() end return f()", "BudgetExceeded")
    body("goto without end", "::a:: do goto b end ::b:: goto a", "BudgetExceeded")
    body("pcall in pcall in pcall", "local function f() pcall(f) end while true do f() end", "StackOverflow")
    body("gsub in gsub in gsub", "local function f() return (('a'):gsub('a', f)) end while true do pcall(f) end", "StackOverflow")
    body("sort in sort in sort", "local function f() table.sort({ 2, 1 }, f) end while true do pcall(f) end", "StackOverflow")
    body("format in format in format", [[
      local m = {} m.__tostring = function(t) return ("%s"):format(t) end
      while true do pcall(tostring, setmetatable({}, m)) end]], "StackOverflow")
    body("scopes in scopes", "local function f() ctx:scope(f) end f()", "StackOverflow")
    body("branches that branch", "local function f() ctx:spawn(f) ctx:spawn(f) ctx:create_timer(0) end f() ctx:create_timer(60)",
      "LimitExceeded", "pending_commands_max")
    if not STRESSED then -- a cycle for each of ten thousand branches takes too long
      body("maps in maps", "local function f() ctx:map({ 1 }, f) end f()", "LimitExceeded", "branches")
      body("a branch that spawns itself", "local function f() ctx:spawn(f) end f() ctx:create_timer(60)", "BudgetExceeded", "spawned")
    end
    body("tasks without end", "while true do ctx.async:create_timer(60) end", "LimitExceeded", "pending_commands_max")
    body("waits within waits", "local t = ctx.async:create_timer(0) for _ = 1, 100 do t = ctx.async:when_all({ t }) end", "LimitExceeded")
    body("values emitted without end", "while true do pcall(ctx.emit, ctx, 'x', 1) end", "LimitExceeded", "history_events_max")
    body("side effects without end", "while true do ctx:side_effect(function() return 1 end) end", "LimitExceeded", "history_events_max")
    body("log lines without end", "local s = ('x'):rep(10000) while true do ctx:log(s) print(s) end", "BudgetExceeded")
    body("statuses without end", "local s = ('x'):rep(100000) while true do ctx:set_custom_status(s) end", "BudgetExceeded")
    body("attributes without end", [[
      local t = {} for i = 1, 32 do t["k" .. i] = ("x"):rep(256) end while true do ctx:set_attributes(t) end]], "BudgetExceeded")
    body("too many attributes", "local t = {} for i = 1, 1000 do t['k' .. i] = i end ctx:set_attributes(t)", "LimitExceeded", "attributes")
    body("a huge status", "ctx:set_custom_status(('x'):rep(3e6))", "LimitExceeded", "payload_bytes_max")
  end)

  describe("on memory", function()
    body("strings that double", "local s = 'x' while true do pcall(function() s = s .. s end) end", "OutOfMemory")
    body("a million different strings", "local t = {} for i = 1, 1e7 do t[i] = 'string number ' .. i end", "OutOfMemory")
    body("tables of tables", "local function grow(n) local t = {} while true do t[#t + 1] = { t, {}, {} } end end pcall(grow)",
      "OutOfMemory")
    body("coroutines that wait for ever", [[
      local all = {}
      while true do local co = coroutine.create(function() coroutine.yield() end) coroutine.resume(co) all[#all + 1] = co end]],
      "OutOfMemory")
    body("closures over everything", [[
      local all = {} while true do local a, b, c = {}, {}, {} all[#all + 1] = function() return a, b, c end end]], "OutOfMemory")
    body("varargs", "local function f(...) return f(..., ...) end f(1, 2, 3, 4)", "StackOverflow")
    body("a stack full of arguments", [[
      local t = {} for i = 1, 7800 do t[i] = i end local function f(...) return 1 + f(1, ...) end f(unpack(t))]], "StackOverflow")
    body("concatenation of what is huge", "local s = ('x'):rep(4e6) local t = {} for i = 1, 100 do t[i] = s .. i end", "OutOfMemory")
    body("table.concat of what is huge", "local t, s = {}, ('x'):rep(1e5) for i = 1, 1000 do t[i] = s end return table.concat(t)",
      "OutOfMemory or Error")
    body("gsub that multiplies", "local s = ('x'):rep(1e4) return (s:gsub('x', s))", "OutOfMemory")
    body("format that multiplies", "local s = ('x'):rep(1e6) return (('%s'):rep(100)):format(s, s, s, s, s, s, s, s, s, s, s, s)", "Error",
      "no value")
    body("globals without end", "for i = 1, 1e9 do _G['g' .. i] = i end", "OutOfMemory")
    body("a module that grows", "require('bomb')", "OutOfMemory")
  end)

  describe("on what waits", function()
    body("a yield of his own", "coroutine.yield()", "Error", "coroutine.yield outside a coroutine")
    body("a wait as a coroutine", [[
      local a = coroutine.wrap(ctx.create_timer) a(ctx, 0)
      local b = coroutine.create(ctx.call_activity) local ok, value = coroutine.resume(b, ctx, "echo", 5)
      return ok and value]], "COMPLETED", "5")
    body("a wait in every callback", [[
      local t = setmetatable({}, { __index = function(_, k) return ctx:call_activity("echo", k) end,
        __tostring = function() return ctx:call_activity("echo", "t") end, __lt = function() return ctx:call_activity("echo", true) end,
        __call = function(_, v) return ctx:call_activity("echo", v) end })
      local list = { 3, 1, 2 }
      table.sort(list, function(a, b) return ctx:call_activity("echo", a < b) end)
      local text = ("ab"):gsub("%w", function(c) return ctx:call_activity("echo", c .. c) end)
      return t.x .. tostring(t) .. tostring(t < t) .. t("c") .. table.concat(list) .. text]], "COMPLETED", "xttruec123aabb")
    body("ctx's functions as metamethods", [[
      local t = setmetatable({}, { __index = ctx.create_timer, __call = ctx.call_activity, __newindex = ctx.emit, __tostring = ctx.now })
      local results = { pcall(function() return t.x end), pcall(t), pcall(function() t.x = 1 end), pcall(tostring, t) }
      return results[1] == false and results[2] == false and results[3] == false]], "COMPLETED", "true")
    body("ctx's functions with another self", [[
      local task = ctx.async:create_timer(9)
      for _, self in ipairs({ {}, 5, "x", print, task, coroutine.create(print) }) do
        for _, verb in ipairs({ "call_activity", "create_timer", "now", "emit", "spawn", "scope", "on_query", "when_all" }) do
          assert(not pcall(ctx[verb], self, "x", {}))
        end
      end
      return pcall(task.await, ctx) or pcall(task.cancel, {}) or pcall(task.state, ctx.async)]], "COMPLETED", "false")
    body("ctx's functions with ctx.async for ctx", "ctx.create_timer(ctx.async, 0) return 1", "COMPLETED", "1")
    body("waits from a query", [[
      local co = coroutine.wrap(function() ctx:create_timer(1) end)
      ctx:on_query("a", function() co() end)
      ctx:on_query("b", function() ctx:call_activity("echo", 1) end)
      ctx:on_query("c", function() coroutine.yield() end)
      ctx:on_query("d", function() while true do end end)
      ctx:on_query("e", function() local t = {} while true do t[#t + 1] = {} end end)
      ctx:on_query("f", coroutine.wrap(function() error("dead") end))
      ctx:on_query("g", ctx.continue_as_new)
      ctx:on_query("h", function() ctx:spawn(print) end)
      ctx:create_timer(600)]], "RUNNING")
    it("with queries harms nobody", function()
      assert(rt:load_string("queries.lua", [[
        workflow("queries", function(ctx)
          local task = ctx.async:create_timer(600)
          local co = coroutine.wrap(function() ctx:create_timer(1) end)
          local handlers = { function() co() end, function() ctx:call_activity("echo", 1) end, function() coroutine.yield() end,
            function() while true do end end, function() local t = {} while true do t[#t + 1] = {} end end,
            coroutine.wrap(function() error("dead") end), ctx.continue_as_new, function() ctx:spawn(print) end,
            function() task:await() end, function() task:cancel() end, function() local function f() return 1 + f() end f() end,
            function() ctx:on_query("x", print) end, function() return function() end end, function() error(setmetatable({}, {})) end,
            function() return ("x"):rep(3e6) end, ctx.create_timer, pcall, function() ctx:scope(error) end }
          for i, handler in ipairs(handlers) do ctx:on_query("q" .. i, handler) end
          ctx:wait_for_external_event("go")
          return task:state()
        end)]]))
      assert(rt:start("queries", { id = "queries" }))
      assert(rt:drain(120))
      for round = 1, 2 do
        for i = 1, 18 do
          local value, _, code = rt:query("queries", "q" .. i)
          assert.is_true(not value, i)
          assert.is_true(code == "LNT_EFAILED" or code == nil, code)
        end
        check_neighbour()
        if round == 1 then assert(rt:evict_all()) end
      end
      assert(rt:raise("queries", "go"))
      assert(rt:drain(120))
      assert.equal("pending", rt:get("queries").output)
    end)
    body("branches of what waits", "return ctx:when_all({ ctx:spawn(ctx.create_timer, ctx, 0), ctx:spawn(pcall, error, 1) })", "COMPLETED")
    body("a branch that yields", "ctx:spawn(coroutine.yield):await()", "Error", "yield")
    body("a map that yields", "ctx:map({ 1, 2 }, coroutine.yield)", "Error", "yield")
    body("a branch that waits for itself", [[
      local t t = ctx:spawn(function() ctx:create_timer(0) t:await() end) ctx:create_timer(0) t:await()]], "InvalidCall", "its own end")
    body("side effects that wait", "ctx:side_effect(function() ctx:create_timer(1) end)", "InvalidCall", "side_effect")
    body("side effects that yield", "coroutine.wrap(function() ctx:side_effect(coroutine.yield) end)()", "Error")
    body("side effects that never end", "ctx:side_effect(function() while true do end end)", "BudgetExceeded")
    it("with generations without end harms nobody", function()
      assert(rt:load_string("forever.lua", 'workflow("forever", function(ctx) ctx:create_timer(0) ctx:continue_as_new() end)'))
      assert(rt:start("forever", { id = "forever" }))
      ticks = ticks + 1
      assert(rt:raise("neighbour", "tick"))
      repeat assert(rt:tick(1e6)) until (rt:get("neighbour").custom_status or { 0 })[1] == ticks and rt:get("forever").generation > 20
      assert(rt:terminate("forever"))
      assert(rt:drain(120))
      assert.equal("TERMINATED", rt:get("forever").status)
      check_neighbour()
    end)
  end)

  describe("on failures", function()
    for kind, made in pairs({ canceled = '{ type = "Canceled" }',
      diverged = '{ type = "Diverged", message = "x", details = { event = 1 } }',
      terminated = '{ type = "Terminated" }', numbers = "{ type = 5, message = {}, retryable = 7 }" }) do
      it("with a forged failure (" .. kind .. ") harms nobody", function()
        local name = "forged" .. kind
        assert(rt:load_string(name .. ".lua", ('workflow("%s", function(ctx) error(%s) end)'):format(name, made)))
        assert(rt:start(name, { id = name }))
        assert(rt:drain(120))
        assert.equal("FAILED", rt:get(name).status)
        check_neighbour()
      end)
    end
    body("errors of every type", [[
      for _, value in ipairs({ ctx, print, coroutine.create(print), ctx.async:create_timer(9), true, 5 }) do pcall(error, value) end
      pcall(error) pcall(error, nil)
      error(ctx)]], "Error")
    body("an error that is a cycle", "local t = { type = 'X' } t.cause, t.details = t, { t } error(t)", "X")
    body("an error as deep as it goes", "local t = { type = 'X' } for _ = 1, 5000 do t = { type = 'X', cause = t } end error(t)", "X")
    body("an error as long as it goes", "error(('x'):rep(5e5))", "Error")
    body("an error whose text never comes", "error(setmetatable({}, { __tostring = function() while true do end end }))", "Error")
    body("an error whose text fails", "error(setmetatable({}, { __tostring = error }))", "Error")
    body("an error whose fields never come", "error(setmetatable({}, { __index = function() while true do end end }))", "Error")
    body("an error in the handler of an error", "return xpcall(error, function() error('again') end)", "COMPLETED", "false")
    body("a failure in a failing scope", [[
      ctx:scope(function()
        ctx:spawn(function() local ok, e = pcall(ctx.create_timer, ctx, 9) error({ type = "Mine" }) end)
        error("outer")
      end)]],
      "Error", "outer")
  end)

  describe("on what is shared", function()
    body("writes to everything", [[
      local things = { ctx, ctx.async, string, table, math, os, coroutine, bit, ctx.async:create_timer(9), print, io, debug }
      for _, thing in ipairs(things) do
        assert(not pcall(function() thing.x = 1 end)) assert(not pcall(rawset, thing, "x", 1)) assert(not pcall(setmetatable, thing, {}))
        assert(not pcall(table.insert, thing, 1)) assert(not pcall(table.sort, thing)) assert(not pcall(rawget, thing, "x"))
        assert(type(getmetatable(thing)) ~= "table")
      end
      return getmetatable("") == nil]], "COMPLETED", "true")
    body("the metatable of strings", [[
      local s = ("").__index or getmetatable("")
      assert(not pcall(function() (""). upper = print end))
      return s == nil]], "COMPLETED", "true")
    body("its own globals", [[
      for _, name in ipairs({ "pairs", "pcall", "tostring", "error", "type", "setmetatable", "string", "coroutine", "require" }) do
        _G[name] = function() while true do end end
      end
      ctx:call_activity("echo", { 1, 2 })
      return ctx:map({ 1, 2 }, function(n) return n end)[2] ]], "COMPLETED", "2")
    body("a poisoned environment", [[
      setmetatable(_G, { __index = print })]], "Error", "protected metatable")
    body("workflows made inside workflows", "workflow('inner', function() end) return 1", "Error")
    body("modules of others", [[
      for _, name in ipairs({ "../../etc/passwd", "/etc/passwd", "..", ".", "", "a\0b", ("x"):rep(1e5), "x.y..z", "C:\\x", "plain\0" }) do
        assert(not pcall(require, name), name)
      end
      require("plain").n = 1
      return require("plain").n]], "Error")
  end)

  describe("with modules", function()
    for _, name in ipairs({ "loops", "yields", "cycle_a", "fails", "itself", "bytecode", "broken" }) do
      it("(" .. name .. ") harms nobody", function()
        local how, message = run(("local m = require '%s'\nworkflow(\"main\", function() return 1 end)"):format(name))
        assert.is_true(how:find("^LNT_E") ~= nil, how)
        assert.is_true(#message > 0)
        check_neighbour()
      end)
    end
  end)

  describe("on the parser", function()
    local function source(name, text, wanted)
      it("with " .. name .. " harms nobody", function()
        local how, message = run(text)
        if not STRESSED then assert.is_true(wanted == how, ("%s: %s"):format(how, message:sub(1, 300))) end
        check_neighbour()
      end)
    end
    local function main(code) return 'workflow("main", function(ctx)\n' .. code .. "\nreturn 1 end)" end
    source("bytecode", "\27LJ\2\10\0\0", "LNT_ESYNTAX")
    source("Lua's own bytecode", "\27Lua\81\0\1\4\8\4\8\0", "LNT_ESYNTAX")
    source("a million brackets", ("("):rep(1e6), "LNT_ESYNTAX")
    source("a million braces", "return " .. ("{"):rep(1e6), "LNT_ESYNTAX")
    source("a million nots", "return " .. ("not "):rep(2.5e5) .. "1", "LNT_ESYNTAX")
    source("a million signs", "return " .. ("- "):rep(5e5) .. "1", "LNT_ESYNTAX")
    source("functions in functions", ("return function() "):rep(5e4), "LNT_ESYNTAX")
    source("blocks in blocks", ("do "):rep(1e5) .. ("end "):rep(1e5), "LNT_ESYNTAX")
    source("elseif without end", "if a then " .. ("elseif a then "):rep(2e4) .. "end", "LNT_ESYNTAX")
    source("a chain of powers", "return " .. ("2^"):rep(1e5) .. "1", "LNT_ESYNTAX")
    source("a chain of concatenations", "local a = 'x' return " .. ("a.."):rep(1e5) .. "a", "LNT_ESYNTAX")
    source("a name of a megabyte", main("local " .. ("n"):rep(1e6) .. " = 1"), "COMPLETED")
    source("a text of a megabyte", main("local s = '" .. ("s"):rep(1e6) .. "'"), "COMPLETED")
    source("a number of a megabyte", main("local n = 0." .. ("1"):rep(1e6)), "COMPLETED")
    source("a comment of a megabyte", "--[==[" .. ("]=]"):rep(3e5) .. "]==]\n" .. main(""), "COMPLETED")
    source("a text that is not closed", "local s = [===[" .. ("x"):rep(1e6), "LNT_ESYNTAX")
    source("201 locals", "local " .. ("a, "):rep(200) .. "a", "LNT_ESYNTAX")
    source("300 parameters", main("local function f(" .. ("a, "):rep(300) .. "b) end"), "LNT_ESYNTAX")
    source("100 upvalues", (function()
      local lines = {}
      for block = 1, 2 do
        local names = {}
        for i = 1, 50 do names[i] = ("u%d_%d"):format(block, i) end
        lines[#lines + 1] = "local " .. table.concat(names, ", ")
      end
      local uses = {}
      for block = 1, 2 do for i = 1, 50 do uses[#uses + 1] = ("u%d_%d"):format(block, i) end end
      return table.concat(lines, "\n") .. "\nlocal function f() return " .. table.concat(uses, ", ") .. " end"
    end)(), "LNT_ESYNTAX")
    source("constants without end", main("local t = {" .. (function()
      local parts = {}
      for i = 1, MANY do parts[i] = ("%d.5"):format(i) end
      return table.concat(parts, ",")
    end)() .. "}"), "COMPLETED")
    source("names of fields without end", main("local t = {" .. (function()
      local parts = {}
      for i = 1, MANY do parts[i] = "k" .. i .. "=1" end
      return table.concat(parts, ",")
    end)() .. "}"), "COMPLETED")
    source("functions without end", main((function()
      local parts = {}
      for i = 1, MANY / 4 do parts[i] = "do local function f() return 1 end end" end
      return table.concat(parts, "\n")
    end)()), "COMPLETED")
    source("500 values assigned at once", main(("a,"):rep(499) .. "a = " .. ("1,"):rep(499) .. "1"), "LNT_ESYNTAX")
    source("a thousand arguments", main("print(" .. ("1,"):rep(999) .. "1)"), "LNT_ESYNTAX")
    source("gotos into nowhere", main("goto nowhere"), "LNT_ESYNTAX")
    source("labels without end", main((function()
      local parts = {}
      for i = 1, 20000 do parts[i] = ("::l%d::"):format(i) end
      return table.concat(parts, " ")
    end)()), "LNT_ESYNTAX")
    source("zero bytes and broken UTF-8", "local s = '\0\255\254' -- \0\n" .. main(""), "COMPLETED")
    source("more than the limit", (" "):rep(4 * 2 ^ 20 + 1), "LNT_ELIMIT")
    source("a top level that never ends", "while true do end", "LNT_ESYNTAX")
    source("a top level that eats memory", "local t = {} while true do t[#t + 1] = {} end", "LNT_ESYNTAX")
    source("a top level that yields", "coroutine.yield()", "LNT_ESYNTAX")
    source("a top level that fails with nothing", "error()", "LNT_ESYNTAX")
  end)

  describe("with patterns", function()
    body("backtracking", "('a'):rep(28):find(('a?'):rep(28) .. ('a'):rep(28) .. 'b')", "BudgetExceeded")
    body("nested stars", "(('a'):rep(3e4)):gsub('(.-)*(.-)*(.-)*b', '')", "BudgetExceeded")
    body("too many captures", "('a'):rep(50):match(('(a)'):rep(50))", "Error", "captures")
    body("patterns that are not finished", [[
      local n = 0
      for _, p in ipairs({ "[", "[^", "%", "(", ")", "%b", "%f", "[a-", "[%", "(()", "%1", "%9",
        "[]", "[^]", "%bx", "%f[", "(%1)", "[%a-z" }) do
        for _, f in ipairs({ string.find, string.match, string.gmatch, function(s, q) return s:gsub(q, "") end }) do
          local ok, it = pcall(f, "aaa", p) if ok and type(it) == "function" then ok = pcall(it) end if not ok then n = n + 1 end
        end
      end
      return n > 30]], "COMPLETED", "true")
    body("replacements that are not finished", "return pcall(string.gsub, 'abc', '%w', '%') or pcall(string.gsub, 'abc', '%w', '%2')",
      "COMPLETED", "false")
    body("formats that are not finished", [[
      for _, f in ipairs({ "%", "%-", "%0", "%.", "%100d", "%.100d", "%-+ #0-+ #0d", "%z", "%p", "%99.99f%",
        "%*d", "%1$d", "%ll", "%s%s%s" }) do
        assert(not pcall(string.format, f, 1))
      end
      return #("%99.99f"):format(1e308)]], "COMPLETED")
  end)

  describe("with values from outside", function()
    body("answers as deep as they go", "return ctx:call_activity('deep', 60) ~= nil", "COMPLETED", "true")
    body("answers deeper than that", "return ctx:call_activity('deep', 5000)", "InvalidResult")
    body("answers as wide as they go", "return #ctx:call_activity('wide', 300000)", "COMPLETED", "300000")
    it("with JSON as deep as it goes harms nobody", function()
      for _, text in ipairs({ ("["):rep(1e6), ("["):rep(1e5) .. ("]"):rep(1e5), ('{"a":'):rep(1e5),
        '"' .. ("\\u0000"):rep(1e5), "[1e999999]",
        "[" .. ("1,"):rep(1e6) }) do
        local _, message = rt:start("neighbour", { id = "json", input_json = text })
        assert.is_string(message)
      end
      local _, _, code = rt:raise("neighbour", "tick", ("x"):rep(3e6))
      assert.equal("LNT_ELIMIT", code)
      check_neighbour()
    end)
  end)

  describe("over many turns", function()
    local other

    local function open(limits)
      limits.turn_memory_bytes_max, limits.workflow_memory_bytes_max = 8 * 2 ^ 20, 512 * 2 ^ 20
      other = assert(lunation.open({ store = "memory", seed = 7, limits = limits }))
      assert(other:load_string("slow.lua", [[
        activity("echo", function(value) return value end)
        workflow("hoards", function(ctx, turns)
          local all = {}
          ctx.async:create_timer(3600)
          for i = 1, turns do
            local t = {}
            for n = 1, 100000 do t[n] = n end -- 2 MB
            all[i] = t
            ctx:call_activity("echo", i)
          end
          return #all
        end)
        workflow("churns", function(ctx, turns)
          for i = 1, turns do
            local t = {}
            for n = 1, 100000 do t[n] = n end
            ctx:call_activity("echo", i)
          end
          return turns
        end)
        workflow("spins", function(ctx, turns)
          for i = 1, turns do
            for _ = 1, 1e6 do end
            ctx:call_activity("echo", i)
          end
        end)]]))
    end

    after_each(function() other:close() end)

    it("with memory that piles up harms nobody: the instance has a budget of its own", function()
      open({ instance_memory_bytes_max = 24 * 2 ^ 20 })
      assert(other:start("churns", { id = "churns", input = 100 }))
      assert(other:start("hoards", { id = "little", input = 5 }))
      assert(other:start("hoards", { id = "much", input = 1000 }))
      assert(other:drain(120))
      assert.same({ 100, 5 }, { other:get("churns").output, other:get("little").output })
      local failure = other:get("much").failure
      assert.equal("OutOfMemory", failure.type)
      assert.matches("instance_memory_bytes_max (25165824)", failure.message, 1, true)
      assert.is_true(#other:history("much") < 500, #other:history("much")) -- it did not come near a thousand turns
      assert.same({ 0, 0 }, { other:stats().loaded, other:stats().resident })
    end)

    it("with instructions that add up harms nobody: the same budget in every replay", function()
      local done = {}
      for round = 1, 2 do
        open({ instance_instructions_max = 20e6 })
        assert(other:start("spins", { id = "spins", input = 1000 }))
        for _ = 1, 500 do
          other:tick(0)
          if round == 2 then other:evict_all() end -- each step is a replay
        end
        assert(other:drain(120))
        local failure = other:get("spins").failure
        assert.equal("BudgetExceeded", failure.type)
        assert.matches("slow.lua:%d+: the instance spent its budget of 20000000 instructions", failure.message)
        done[round] = #other:history("spins")
        if round == 1 then other:close() end
      end
      assert.equal(done[1], done[2])
    end)
  end)

  it("leaves nothing behind", function()
    assert(rt:evict_all())
    assert(rt:drain(120))
    check_neighbour()
    assert.equal(1, rt:stats().loaded)
    for _ = 1, 1000 do -- idle time, in which garbage is collected
      if rt:stats().workflow_memory_bytes < 16 * 2 ^ 20 then break end
      rt:wait("neighbour", 0.01)
    end
    assert.is_true(rt:stats().workflow_memory_bytes < 16 * 2 ^ 20, rt:stats().workflow_memory_bytes)
  end)
end)
