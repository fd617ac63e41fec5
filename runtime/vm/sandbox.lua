-- sandbox.lua - the trusted Lua of the sandbox: builds the base environment that every instance reads its globals through. Run once per
-- state by sandbox.c, with a table of C functions; the standard libraries are still global then and are taken away afterwards.
--
-- What calls author code is written here rather than in C: it can then yield, the count hook sees it, and it cannot eat the C stack.
-- A function that catches errors gives them to `caught` first, which raises a kill again. Errors are raised at the author's line (level 2).

local native = ...

local error, type, raw_pcall, raw_getmetatable, raw_setmetatable = error, type, pcall, getmetatable, setmetatable
local rawget, rawequal, rawset, newproxy = rawget, rawequal, rawset, newproxy
local select, unpack, concat, caught = select, native.unpack, native.concat, native.caught
local raw_create, raw_resume, raw_yield, raw_status = coroutine.create, coroutine.resume, coroutine.yield, coroutine.status
local running = coroutine.running
local YIELD, DEPTH_MAX, RESUME_VALUES_MAX = native.YIELD, native.DEPTH_MAX, native.RESUME_VALUES_MAX

-- What is absent, and what to do instead. -----------------------------------------------------------------------------------------------

local FILES = "files are not deterministic; do it in an activity"
local PROCESSES = "processes are not deterministic; do it in an activity"
local CODE = "code is pinned when a file is loaded; put it in a module and require it"
local ENVIRONMENT = "functions keep the environment they were loaded with; pass values as arguments"
local COLLECTOR = "the garbage collector's doings are not deterministic"
local MACHINE = "it reaches into the machine beneath the workflow; do it in an activity"
local REFLECTION = "it sees through the sandbox; tracebacks of errors are in the instance's history"
local ORDER = "use pairs, ipairs and #"

local absent_globals = {
  io = FILES, debug = REFLECTION, jit = MACHINE, ffi = MACHINE, package = CODE, module = CODE, dofile = CODE, loadfile = CODE,
  load = CODE, loadstring = CODE, collectgarbage = COLLECTOR, gcinfo = COLLECTOR, newproxy = "use a table with a metatable",
  getfenv = ENVIRONMENT, setfenv = ENVIRONMENT,
}

local absent_fields = {
  os = {
    clock = "processor time differs in every replay; use os.time() or ctx:now()",
    exit = "return from the function, or raise an error",
    getenv = "the environment can change between replays; pass the value as input or read it in an activity",
    execute = PROCESSES, remove = FILES, rename = FILES, setlocale = "there is no locale", tmpname = FILES,
  },
  string = { dump = CODE },
  table = { foreach = ORDER, foreachi = ORDER, getn = ORDER, setn = ORDER },
}

local function refuse(name, reason, level)
  error(name .. " is not available in a workflow: " .. reason, level + 1)
end

-- A userdata that explains itself when it is used.
local function explanation(name, reason)
  local proxy = newproxy(true)
  local meta = raw_getmetatable(proxy)
  meta.__index = function(_, key) refuse(type(key) == "string" and name .. "." .. key or name, reason, 2) end
  meta.__call = function() refuse(name, reason, 2) end
  meta.__newindex = meta.__index
  meta.__metatable = false
  return proxy
end

-- A view of a table that can be read and never written. A proxy table would not do: rawset and table.insert go through it.
local function freeze(fields, name)
  local proxy = newproxy(true)
  local meta = raw_getmetatable(proxy)
  local reasons = absent_fields[name]
  if reasons then
    raw_setmetatable(fields, { __index = function(_, key)
      if reasons[key] then refuse(name .. "." .. key, reasons[key], 2) end
    end })
  end
  meta.__index = fields
  meta.__newindex = function(_, key)
    key = type(key) == "string" and key or type(key)
    error(name .. " is shared by all workflows and cannot be changed (field '" .. key .. "'); use a table of your own", 2)
  end
  meta.__metatable = false
  return proxy
end

-- Errors. -------------------------------------------------------------------------------------------------------------------------------

local function settle_call(ok, ...)
  if not ok then caught((...)) end
  return ok, ...
end

-- Only Lua functions may be reached through pcall: a chain of its raw form overruns the stack (LuaJIT issue 1048).
local function pcall(f, ...)
  return settle_call(raw_pcall(f, ...))
end

local function settle_handled(handler, ok, ...)
  if ok then return true, ... end
  caught((...))
  local _, value = settle_call(raw_pcall(handler, (...)))
  return false, value
end

-- The handler runs after the stack is unwound: run at the place of the error it could hang where no hook reaches it. So it can wait, too.
local function xpcall(f, handler, ...)
  return settle_handled(handler, raw_pcall(f, ...))
end

-- Text. ---------------------------------------------------------------------------------------------------------------------------------

local function tostring(...)
  local text, to_text = native.text(...)
  if text then return text end
  text = to_text((...))
  if type(text) ~= "string" and type(text) ~= "number" then error("'__tostring' must return a string", 2) end
  return text
end

local raw_format = native.make_format(string.format)

local function format(...)
  local text, needs = raw_format(...)
  if text then return text end
  local arguments, count = { ... }, select("#", ...)
  repeat
    arguments[needs] = tostring(arguments[needs])
    text, needs = raw_format(unpack(arguments, 1, count))
  until text
  return text
end

local function print(...)
  local texts = { ... }
  for i = 1, select("#", ...) do texts[i] = tostring(texts[i]) end
  native.print(concat(texts, "\t"))
end

local scan, sub, raw_gsub, check_gsub = native.scan, native.sub, native.gsub, native.check_gsub

local function replaced(replacement, from, next_from, ...)
  if not from then return nil end
  if type(replacement) == "function" then return from, next_from, (replacement(...)) end
  return from, next_from, replacement[(...)]
end

local function piece_of(text, from, next_from, value)
  if not value then return sub(text, from, next_from - 1) end
  if type(value) == "number" or type(value) == "string" then return value end
  error("invalid replacement value (a " .. type(value) .. ")", 3)
end

-- gsub where author code decides: between two matches it may do anything, waiting too.
local function gsub_by_call(text, pattern, replacement, most)
  local pieces, size, at, count = {}, 0, 1, 0
  local anchored = sub(pattern, 1, 1) == "^"
  while count < most do
    local from, next_from, value = replaced(replacement, scan(text, pattern, at, anchored))
    if not from then break end
    pieces[size + 1] = sub(text, at, from - 1)
    pieces[size + 2] = piece_of(text, from, next_from, value)
    size, count = size + 2, count + 1
    at = next_from
    if next_from == from then
      size = size + 1
      pieces[size] = sub(text, from, from)
      at = from + 1
    end
    if anchored or at > #text + 1 then break end
  end
  pieces[size + 1] = sub(text, at, -1)
  return concat(pieces), count
end

local function gsub(text, pattern, replacement, most)
  local kind = type(replacement)
  if kind == "function" or (kind == "table" and raw_getmetatable(replacement) ~= nil) then
    text, pattern, most = check_gsub(text, pattern, most)
    return gsub_by_call(text, pattern, replacement, most)
  end
  return raw_gsub(text, pattern, replacement, most)
end

-- Tables. -------------------------------------------------------------------------------------------------------------------------------

-- state: [0] place of the next key, [1] the table, [2...] the keys. Keys that were removed meanwhile are passed over.
local function next_of_keys(state)
  local place = state[0]
  local key = state[place]
  while key ~= nil do
    place = place + 1
    local value = rawget(state[1], key)
    if value ~= nil then
      state[0] = place
      return key, value
    end
    key = state[place]
  end
end

-- state: [0] index of the last, [1] the table, [2] its length when the loop began.
local function next_of_sequence(state)
  local index, t, count = state[0], state[1], state[2]
  while index < count do
    index = index + 1
    local value = rawget(t, index)
    if value ~= nil then
      state[0] = index
      return index, value
    end
  end
end

local keys_of = native.keys

local function pairs(t)
  local state, count = keys_of(t)
  if state then return next_of_keys, state, nil end
  return next_of_sequence, { [0] = 0, t, count }, nil
end

local function less(a, b) return a < b end

-- One pass of a merge sort: pairs of runs of `width` in `from` become runs twice as long in `to`. Stable: the right one only if it is less.
local function merge_runs(from, to, count, width, before)
  local out = 1
  for start = 1, count, width * 2 do
    local left, right = start, start + width
    local left_end, right_end = right, right + width
    if left_end > count + 1 then left_end = count + 1 end
    if right_end > count + 1 then right_end = count + 1 end
    while left < left_end do
      if right < right_end and before(from[right], from[left]) then
        to[out], right = from[right], right + 1
      else
        to[out], left = from[left], left + 1
      end
      out = out + 1
    end
    while right < right_end do
      to[out], right, out = from[right], right + 1, out + 1
    end
  end
end

-- The table is written at the end only, so an error in the comparison leaves it as it was.
local function sort(t, before)
  if type(t) ~= "table" then error("bad argument #1 to 'sort' (table expected, got " .. type(t) .. ")", 2) end
  if before ~= nil and type(before) ~= "function" then
    error("bad argument #2 to 'sort' (function expected, got " .. type(before) .. ")", 2)
  end
  local count, width = #t, 1
  if not before and native.sort_plain(t, count) then return end
  local from, to = {}, {}
  for i = 1, count do from[i] = rawget(t, i) end
  while width < count do
    merge_runs(from, to, count, width, before or less)
    from, to, width = to, from, width * 2
  end
  for i = 1, count do rawset(t, i, from[i]) end
end

-- The raw function is called in the tail position, so that its errors are the author's line.
local function setmetatable(t, meta)
  if type(meta) == "table" and (rawget(meta, "__gc") ~= nil or rawget(meta, "__mode") ~= nil) then
    error("setmetatable: __gc and __mode are not available in a workflow: " .. COLLECTOR, 2)
  end
  return raw_setmetatable(t, meta)
end

local function getmetatable(t)
  if type(t) == "table" then return raw_getmetatable(t) end
  return nil
end

local LONG_NUMBER, charge, raw_tonumber = 256, native.charge, tonumber

local function tonumber(text, ...)
  if type(text) == "string" and #text > LONG_NUMBER then charge(#text) end
  return raw_tonumber(text, ...)
end

-- Coroutines. ---------------------------------------------------------------------------------------------------------------------------

-- The author's coroutines: how deep each was nested when it was resumed last; negative while it waits for the engine, whose yield passes
-- through it. A coroutine that is not here is the engine's: a body, or a branch.
local depth = raw_setmetatable({}, { __mode = "k" })

local settle_resume

local function resume_waiting(co, ...)
  depth[co] = -depth[co]
  return settle_resume(co, raw_resume(co, ...))
end

function settle_resume(co, ok, ...)
  if ok then
    if (...) == YIELD then
      depth[co] = -depth[co]
      return resume_waiting(co, raw_yield(...))
    end
    return true, ...
  end
  caught((...))
  return false, ...
end

-- Why `co` cannot be resumed now, or nil. LuaJIT crashes at a great depth, and grows the stack of a resumed coroutine unprotected.
local function obstacle(co, values)
  local own = depth[co]
  if not own or own < 0 then return "cannot resume non-suspended coroutine" end
  if values > RESUME_VALUES_MAX then return "more than " .. RESUME_VALUES_MAX .. " values for a coroutine; put them in a table" end
  if raw_status(co) ~= "suspended" then return nil end
  local outer = (depth[running()] or 0) + 1
  if outer > DEPTH_MAX then return "more than " .. DEPTH_MAX .. " coroutines inside each other" end
  depth[co] = outer
end

local function resume(co, ...)
  if type(co) ~= "thread" then error("bad argument #1 to 'resume' (coroutine expected)", 2) end
  local reason = obstacle(co, select("#", ...))
  if reason then return false, reason end
  return settle_resume(co, raw_resume(co, ...))
end

local function create(f)
  if type(f) ~= "function" then error("bad argument #1 to 'create' (function expected, got " .. type(f) .. ")", 2) end
  local co = raw_create(f)
  depth[co] = 1
  return co
end

local function settle_wrap(ok, ...)
  if ok then return ... end
  error((...), 0)
end

local function wrap(f)
  if type(f) ~= "function" then error("bad argument #1 to 'wrap' (function expected, got " .. type(f) .. ")", 2) end
  local co = create(f)
  return function(...)
    local reason = obstacle(co, select("#", ...))
    if reason then error(reason, 2) end
    return settle_wrap(settle_resume(co, raw_resume(co, ...)))
  end
end

-- The branch that is never taken widens the frame: what the coroutine is resumed with then needs no growth of its stack.
local function yield(...)
  if not depth[running()] then
    error("coroutine.yield outside a coroutine of coroutine.create or coroutine.wrap; to wait, call a function of ctx", 2)
  end
  if false then
    local a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x -- luacheck: ignore
  end
  return raw_yield(...)
end

local function status(co)
  if type(co) ~= "thread" then error("bad argument #1 to 'status' (coroutine expected)", 2) end
  if (depth[co] or 0) < 0 then return "normal" end
  return raw_status(co)
end

local function own_running()
  local co = running()
  return depth[co] and co or nil
end

-- The libraries. ------------------------------------------------------------------------------------------------------------------------

local function pick(from, names)
  local fields = {}
  for name in names:gmatch("%w+") do fields[name] = from[name] end
  return fields
end

local strings = pick(native, "byte char find gmatch len lower match rep reverse sub upper")
strings.format, strings.gsub = format, gsub

local tables = pick(native, "insert concat maxn unpack pack")
tables.remove, tables.move, tables.sort = table.remove, table.move, sort

local maths = pick(math, "abs acos asin atan atan2 ceil cos cosh deg exp floor fmod frexp huge log log10 max min modf pi pow rad sin sinh "
  .. "sqrt tan tanh")
maths.random, maths.randomseed, maths.ldexp = native.random, native.randomseed, native.ldexp

local base = {
  assert = assert, error = error, ipairs = ipairs, next = native.next, pairs = pairs, pcall = pcall, print = print, rawequal = rawequal,
  rawget = rawget, rawset = rawset, select = native.select, setmetatable = setmetatable, getmetatable = getmetatable, tonumber = tonumber,
  tostring = tostring, type = type, unpack = unpack, xpcall = xpcall, _VERSION = _VERSION,
  bit = freeze(native.bit, "bit"),
  coroutine = freeze({
    create = create, resume = resume, running = own_running, status = status, wrap = wrap, yield = yield,
    isyieldable = function() return own_running() ~= nil end,
  }, "coroutine"),
  math = freeze(maths, "math"),
  os = freeze(pick(native, "time date difftime"), "os"),
  string = freeze(strings, "string"),
  table = freeze(tables, "table"),
}

for name, reason in next, absent_globals do base[name] = explanation(name, reason) end

-- ("text"):method() must find the same functions, and nobody this metatable.
local string_meta = raw_getmetatable("")
string_meta.__index = strings
string_meta.__metatable = false

return base, { __index = base, __metatable = false }, freeze
