-- nondeterminism_spec.lua: what accidentally differs between two runs of the same code. Each kind is refused with advice, or is the same in
-- every run here, or stalls in paranoid mode with a cause that names it.
local lunation = require "lunation"
local support = require "spec.support"

local MODULE = [[
local counter = 0
local shared = { n = 0 }
return { count = function() counter = counter + 1; return counter end, shared = shared }
]]

local open_runtimes, folder = {}, nil

local function open(options)
  local now_us = 1767225600e6
  options = options or {}
  options.store, options.seed, options.clock = "memory", 7, function() return now_us end
  options.module_path = folder
  local rt = assert(lunation.open(options))
  open_runtimes[#open_runtimes + 1] = rt
  return rt, function(seconds)
    now_us = now_us + seconds * 1e6
    assert(rt:drain(60))
  end
end

local function workflow(body) return "workflow('main', function(ctx, input)\n" .. body .. "\nend)\n" end

--- Run a body to its end, or to its stall.
local function run(rt, body)
  assert(rt:load_string("case.lua", workflow(body)))
  assert(rt:start("main", { id = "m" }))
  assert(rt:drain(60))
  return assert(rt:get("m"))
end

local function close_all()
  for _, rt in ipairs(open_runtimes) do rt:close() end
  open_runtimes = {}
end

describe("accidental non-determinism", function()
  setup(function()
    folder = support.folder()
    support.write(folder .. "/counting.lua", MODULE)
  end)
  teardown(function() support.clean() end)
  after_each(close_all)

  --- The body fails with a message that names the thing.
  local function refused(name, body, part)
    it("is refused: " .. name, function()
      local instance = run(open(), body)
      assert.equal("FAILED", instance.status, name)
      assert.is_truthy(instance.failure.message:find(part, 1, true), instance.failure.message)
      assert.matches("^case.lua:%d+: ", instance.failure.message)
    end)
  end

  describe("that nothing can mend", function()
    refused("os.clock", "return os.clock()", "os.clock is not available in a workflow: processor time differs")
    refused("os.getenv", "return os.getenv('HOME')", "os.getenv is not available in a workflow: the environment can change")
    refused("os.execute", "os.execute('true')", "os.execute is not available")
    refused("os.tmpname", "return os.tmpname()", "os.tmpname is not available")
    refused("os.setlocale", "os.setlocale('C')", "os.setlocale is not available in a workflow: there is no locale")
    refused("io.open", "return io.open('x')", "io.open is not available in a workflow: files are not deterministic")
    refused("io.lines", "for l in io.lines('x') do return l end", "io.lines is not available")
    refused("debug.traceback", "return debug.traceback()", "debug.traceback is not available")
    refused("debug.sethook", "debug.sethook(function() end, '', 1)", "debug.sethook is not available")
    refused("ffi", "return require('ffi').C", "ffi")
    refused("jit", "return jit.version", "jit.version is not available")
    refused("the collector's count", "local n = collectgarbage('count')", "collectgarbage is not available in a workflow")
    refused("finalizers", "setmetatable({}, { __gc = function() end })", "__gc and __mode are not available")
    refused("weak tables", "setmetatable({}, { __mode = 'k' })", "__gc and __mode are not available")
    refused("newproxy", "newproxy(true)", "newproxy is not available")
    refused("string.dump", "return string.dump(function() end)", "string.dump is not available")
    refused("chunk names of loadstring", "return loadstring('return 1', tostring({}))()", "loadstring is not available")
    refused("load", "local f = load(function() end)", "load is not available")
    refused("environments of functions", "setfenv(1, {})", "setfenv is not available")
    refused("package.loaded", "package.loaded.x = 1", "package.loaded is not available")
    refused("table.foreach", "table.foreach({}, print)", "table.foreach is not available in a workflow: use pairs")
    refused("addresses: %p", "local text = string.format('%p', {})", "'%p' prints an address")
    refused("pairs over table keys", "for k in pairs({ [{}] = 1 }) do end", "such keys have no order that a replay could repeat")
    refused("pairs over function keys", "for k in pairs({ [print] = 1 }) do end", "a key of type function")
    refused("next over table keys", "local k = next({ [{}] = 1 })", "next: the table has a key of type table")
    refused("tasks as keys", "for k in pairs({ [ctx.async:create_timer(1)] = 1 }) do end", "a key of type userdata")
    refused("functions as values of a call", "ctx:call_activity('x', { a = { print } })", "input.a[1]: a function cannot be stored")
    refused("identity across a call", "local t = {}; t.t = t; ctx:call_activity('x', t)", "cycle")
    refused("modules that need the machine", "return require('http').get('x')", "http")
    refused("changes of what all share", "math.floor = function() end", "math is shared by all workflows and cannot be changed")
    refused("changes of string's methods", "local s = ('').upper; string.upper = print", "string is shared by all workflows")
    refused("a global of another run", "return leaked.field", "leaked")

    it("is refused: 64-bit literals, which are cdata", function()
      local rt = open()
      local loaded, message, code = rt:load_string("case.lua", workflow("return 1LL"))
      assert.is_nil(loaded)
      assert.equal("LNT_ESYNTAX", code)
      assert.matches("case.lua:2", message, 1, true)
    end)
  end)

  -- Each gives a value that the two VMs of paranoid mode, a replay, and another process must give too.
  local HARMLESS = {
    { "pairs over names", [[local o = {} for k in pairs({ b = 1, a = 2, z = 3, q = 4, ["k 1"] = 5 }) do o[#o + 1] = k end return o]] },
    { "pairs over mixed keys", [[local o = {} for k in pairs({ [2.5] = 1, [-1] = 1, [1e15] = 1, x = 1, [true] = 1, [false] = 1, 7 }) do
        o[#o + 1] = tostring(k) end return o]] },
    { "pairs after deletions", [[local t = {} for i = 1, 50 do t["k" .. i] = i end for i = 1, 50, 3 do t["k" .. i] = nil end
        local o = {} for k in pairs(t) do o[#o + 1] = k end return o]] },
    { "next", [[local t, o = { b = 1, a = 2, c = 3 }, {} local k = next(t) while k do o[#o + 1] = k k = next(t, k) end return o]] },
    { "tostring of a table", "return tostring({})" },
    { "tostring of functions and coroutines", "return { tostring(print), tostring(coroutine.create(print)), tostring(function() end) }" },
    { "tostring of tasks and ctx", "return { tostring(ctx), tostring(ctx.async:create_timer(0)) }" },
    { "%s of a table", "return ('%s %s'):format({}, function() end)" },
    { "tostring of not a number", "return { tostring(0/0), tostring(-(0/0)), ('%g'):format(0/0) }" },
    { "minus zero", "return { tostring(-0), tostring(0 * -1), ('%g'):format(-0.0), 1 / (0 * -1) < 0 == true }" },
    { "text of floats", "return { tostring(0.1), tostring(1e15), tostring(2^53), ('%.14g'):format(1/3), ('%.17g'):format(0.1) }" },
    { "whole keys, as number and as text", "local t = { [1] = 'a', [1.0] = 'b', ['1'] = 'c' } return { #t, t[1], t['1'] }" },
    { "a sort whose comparison contradicts itself", [[local t = {} for i = 1, 60 do t[i] = (i * 37) % 61 end
        table.sort(t, function() return true end) return t]] },
    { "a sort of equals", [[local t = {} for i = 1, 40 do t[i] = { i % 4, i } end
        table.sort(t, function(a, b) return a[1] < b[1] end) local o = {} for i, v in ipairs(t) do o[i] = v[2] end return o]] },
    { "tables as errors", "local ok, e = pcall(error, {}) return { ok, type(e), tostring(e) }" },
    { "messages of errors", [[local _, a = pcall(function() local t = nil; return t.x end) local _, b = pcall(function() return {} + 1 end)
        local _, c = pcall(function() return {} < {} end) local _, d = pcall(function() return ("x")() end) return { a, b, c, d }]] },
    { "os.time and os.date", "return { os.time(), os.date(), os.date('%A %c %x %X %p %Z'), os.date('*t').yday, os.difftime(2, 1) }",
      timed = true },
    { "the time of a wait", "local a = os.time() ctx:create_timer(0) return { a, os.time() - a, ctx:now() }", timed = true },
    { "letters and order beyond any locale", "return { ('äÖß'):upper(), 'a' < 'B', 'ä' < 'z', ('%a'):len(), ('é'):find('%a') or 'none' }" },
    { "numbers of another locale", "return { tonumber('1.5'), tostring(tonumber('1,5')), ('%.2f'):format(1.5) }" },
    { "coroutine.running", [[local o = {} local co = coroutine.wrap(function() o[1] = tostring(coroutine.running()) end) co()
        o[2] = tostring(coroutine.running()) return o]] },
    { "state of a module", [[local m = require('counting') m.count() m.shared.n = m.shared.n + 1
        return { m.count(), require('counting').shared.n }]] },
    { "globals", "seen = (seen or 0) + 1 return { seen, _G.seen }" },
    { "the string metatable", [[local m = getmetatable('') return { tostring(m), (pcall(setmetatable, '', {})), ('x'):rep(3) }]] },
    { "lengths of lists and texts", [[local t = {} for i = 1, 100 do t[i] = i end for i = 100, 51, -1 do t[i] = nil end
        return { #t, #'abc', select('#', nil, nil) }]] },
    { "nil in the middle of a constructor", "return { select('#', unpack({ 1, nil, 3 }, 1, 3)) }" },
    { "remainders and rounding", "return { 7 % 3, -7 % 3, math.fmod(-7, 3), math.floor(-0.5), math.ceil(1.2), 2^10, math.max(1, 2) }" },
    { "what random numbers are drawn by", "math.randomseed(42) return { math.random(1000), math.random(1000), math.random() < 1 }" },
    { "an error caught at the end of a deep recursion", [[local function f(n) if n == 0 then error("deep", 0) end return 1 + f(n - 1) end
        local ok, e = pcall(f, 150) return { ok, e }]] },
    { "print of anything", "print({}, nil, 1.5, print) return true" },
    { "type names of everything", "return { type(ctx), type(print), type({}), type(nil) }" },
    { "text made of a table", [[local o = {} for k, v in pairs({ z = 1, y = { 3, 2, 1 }, x = "q" }) do o[#o + 1] = k .. tostring(v) end
        return table.concat(o, ",")]] },
  }

  describe("that is none here", function()
    for _, kind in ipairs(HARMLESS) do
      it("is harmless: " .. kind[1], function()
        local body = "local function made()\n" .. kind[2] .. "\nend\nlocal first = made()\nctx:create_timer(1)\n" ..
          "return ctx:side_effect(function() return first end)"
        local rt, pass = open({ paranoid = true })
        run(rt, body)
        assert(rt:evict_all()) -- what comes now is a replay
        pass(1)
        local instance = rt:get("m")
        assert.equal("COMPLETED", instance.status, instance.failure and instance.failure.message)
        assert.is_not_nil(instance.output)
      end)
    end

    it("is the same in every process", function()
      local lines = {}
      for i, kind in ipairs(HARMLESS) do
        if not kind.timed then lines[#lines + 1] = ("  all[%d] = (function()\n%s\n  end)()"):format(i, kind[2]) end
      end
      local file = support.write(folder .. "/all.lua", "workflow('all', function(ctx)\n  local all = {}\n" .. table.concat(lines, "\n") ..
        "\n  ctx:now()\n  return all\nend)\n")
      local outputs = {}
      for i = 1, 3 do
        local ran = support.lunation({ "run", file, "--data", ("%s/data%d"):format(folder, i), "--json", "--durability", "process" })
        assert.equal(0, ran.code, ran.err)
        outputs[i] = lunation.json_decode(ran.out).output
      end
      assert.same(outputs[1], outputs[2])
      assert.same(outputs[1], outputs[3])
    end)

    it("nor what another instance did", function()
      local rt = open()
      assert(rt:load_string("case.lua", workflow([[
        local m = require("counting")
        leaked = (leaked or 0) + 1
        m.shared.n = m.shared.n + 1
        return { leaked, m.count(), m.shared.n }]])))
      for i = 1, 5 do assert(rt:start("main", { id = "m" .. i })) end
      assert(rt:drain(60))
      for i = 1, 5 do assert.same({ 1, 1, 1 }, rt:get("m" .. i).output) end
    end)
  end)

  --- In paranoid mode the body stalls, and the cause has these words. `ask(rt)` is called when it waits for "go".
  local function diagnosed(name, body, words, ask)
    it("is diagnosed: " .. name, function()
      local rt = open({ paranoid = true })
      run(rt, body)
      if ask then
        ask(rt)
        assert(rt:raise("m", "go"))
        assert(rt:drain(60))
      end
      local instance = rt:get("m")
      assert.equal("STALLED", instance.status, instance.output)
      assert.equal("Diverged", instance.failure.type)
      for _, word in ipairs(words) do
        assert.is_truthy(instance.failure.details.cause:find(word, 1, true), instance.failure.details.cause)
      end
    end)
  end

  local function peek(rt) assert.is_nil((select(2, rt:query("m", "peek")))) end

  -- Names come and go in tables that have numbers too: what '#' finds then depends on how the names lie in memory.
  local HOLES = [[
    local seed, sum = 12345, 0
    local function draw(n) seed = (seed * 1103515245 + 12345) % 2147483648 return math.floor(seed / 65536) % n + 1 end
    for _ = 1, 200 do
      local t = {}
      for i = 1, 60 do
        local r = draw(4)
        if r == 1 then t["s" .. draw(50)] = i elseif r == 2 then t[draw(30)] = i
        elseif r == 3 then t[draw(30)] = nil else t["s" .. draw(50)] = nil end
        @
      end
    end
    ctx:emit("sum", sum)]]

  local function with_holes(line) return (HOLES:gsub("@", function() return line end)) end

  describe("that only another run shows", function()
    diagnosed("is_replaying", "ctx:emit('x', ctx:is_replaying())", { "ctx:is_replaying() at case.lua:2", "true in a replay" })
    diagnosed("is_replaying that decides", "if not ctx:is_replaying() then ctx:create_timer(1) end", { "ctx:is_replaying() at case.lua:2" })
    diagnosed("a side effect that changes a variable", [[local n = 0
      ctx:side_effect(function() n = n + 1 end)
      ctx:emit('x', n)]], { "Since the call before, it used ctx:side_effect() at case.lua:3", "runs once" })
    diagnosed("the length of a table with holes", with_holes("sum = (sum * 31 + #t) % 1000003"), { "#t at case.lua:", "holes" })
    diagnosed("table.insert on a table with holes", with_holes("local k = t[1]; table.insert(t, k or 1); sum = (sum * 31 + #t) % 1000003"),
      { "at case.lua:", "holes" })
    diagnosed("unpack of a table with holes", with_holes("sum = (sum * 31 + select('#', unpack(t))) % 1000003"),
      { "unpack() at case.lua:", "holes" })
    diagnosed("table.concat of a table with holes", with_holes("sum = (sum * 31 + (pcall(table.concat, t) and 1 or 0)) % 1000003"),
      { "table.concat() at case.lua:", "holes" })
    if not os.getenv("LNT_GC_STRESS") then -- there, what nobody holds is lost at once, every time
      diagnosed("a table that becomes weak later", [[local meta = {}
      local cache = setmetatable({}, meta)
      meta.__mode = "v"
      for i = 1, 10 do cache[i] = {} end
      ctx:create_timer(0)
      ctx:emit('x', cache[1] ~= nil)]], { "a weak table at case.lua:3", "garbage" })
    end
    diagnosed("a query that changes a variable", [[local n = 0
      ctx:on_query('peek', function() n = n + 1 return n end)
      ctx:wait_for_external_event('go')
      ctx:emit('x', n)]], { "a query, or the validator", "breaks every replay" }, peek)
    diagnosed("a query that changes a table", [[local t = { n = 0 }
      ctx:on_query('peek', function() t.n = t.n + 1 end)
      ctx:wait_for_external_event('go')
      ctx:emit('x', t)]], { "a query, or the validator" }, peek)
    diagnosed("a query that sets a global", [[ctx:on_query('peek', function() peeked = true end)
      ctx:wait_for_external_event('go')
      ctx:emit('x', peeked)]], { "a query, or the validator" }, peek)
    diagnosed("a query that changes a module", [[local m = require('counting')
      ctx:on_query('peek', function() m.count() end)
      ctx:wait_for_external_event('go')
      ctx:emit('x', m.count())]], { "a query, or the validator" }, peek)
    diagnosed("a validator that changes a variable", [[local seen = 0
      ctx:on_update('add', { validate = function() seen = seen + 1 error('no') end, handle = function() end })
      ctx:wait_for_external_event('go')
      ctx:emit('x', seen)]], { "a query, or the validator" }, function(rt) assert.is_nil((rt:update("m", "add", 1))) end)
  end)
end)
