-- support.lua: one case of the conformance spec, run three ways that must all end alike:
--   kept      the bodies of all instances stay in memory
--   evicted   every body is dropped after every tick, so that each step is a replay
--   reopened  the runtime is closed and opened again between ticks, on a directory
-- Time is virtual: it stands still but for advance(). Nothing here waits for the wall clock.
local support = require "spec.support"
local lunation = require "lunation"
local assert = require "luassert"
local it = require("busted").it or require("busted").api.it

local conformance = {}

local BEGIN_US = 1767225600e6 -- 2026-01-01T00:00:00Z
local PARANOID = os.getenv("LUNATION_PARANOID") ~= nil -- each case once more, with every turn run twice (lnt_options.paranoid)
local TICKS_MAX = 20000       -- of one settle(): a world that never comes to rest is a failure

---- The world of a case ----

-- What is not here is asked of the runtime, and must succeed: world:start(...), world:raise(...), world:get(id).
local World = {}

function World.__index(world, name)
  if World[name] then return World[name] end
  local rt = rawget(world, "rt")
  return rt and rt[name] and function(self, ...)
    local results = { self.rt[name](self.rt, ...) }
    if results[1] == nil then error(("%s: %s (%s)"):format(name, tostring(results[2]), tostring(results[3])), 2) end
    return unpack(results)
  end
end

local function open(world)
  local options = { store = "memory", seed = 7, limits = world.limits, clock = function() return world.now_us end }
  options.log = function(level, message, id) world.log[#world.log + 1] = { level = level, message = message, id = id } end
  options.paranoid = world.paranoid
  if world.dir then options.store, options.dir, options.durability = "lmdb", world.dir, "process" end
  world.rt = assert(lunation.open(options))
  assert(world.rt:load_string(world.file, world.source))
  for name, host in pairs(world.hosts) do assert(world.rt:activity(name, host.options, host.fn)) end
end

local function new_world(way, source, options)
  local world = setmetatable({ way = way, source = source, file = options.file or "case.lua", limits = options.limits, hosts = {}, log = {},
    now_us = BEGIN_US, paranoid = PARANOID and options.paranoid ~= false,
    dir = (way == "reopened" or options.disk) and support.folder() .. "/data" or nil }, World)
  open(world)
  return world
end

--- An activity of the host, there after each reopening too: host(name, [options,] fn).
function World:host(name, options, fn)
  if not fn then options, fn = {}, options end
  self.hosts[name] = { options = options, fn = fn }
  assert(self.rt:activity(name, options, fn))
end

--- An answer that nobody waits for is refused, with `code` (LNT_EOVER: nobody does any more), and changes nothing.
function World:complete_late(token, result, code)
  local ok, _, told = self.rt:complete(token, result)
  assert.is_nil(ok)
  assert.equal(code or "LNT_EOVER", told)
end

--- A host activity that answers later: the returned table gathers what was begun, {input =, act =, token =}, oldest first. `how` is
--- "pending" (after a restart it is begun again) or "complete_later" (it is not).
function World:deferred(name, how, options)
  local begun = {}
  self:host(name, options or {}, function(input, act)
    begun[#begun + 1] = { input = input, act = act, token = act[how or "pending"](act) }
  end)
  return begun
end

--- Load other code as the same file: what an author does who saves it. It is the file's after each reopening too.
function World:load(source)
  assert(self.rt:load_string(self.file, source))
  self.source = source
end

--- Close the runtime and open it again, on the same directory. In a store in memory all would be gone.
function World:reopen()
  assert(self.dir, "the case needs a directory: { disk = true }")
  assert(self.rt:close())
  open(self)
end

--- One tick, then what the way does between ticks.
function World:tick()
  local result = assert(self.rt:tick(0))
  if self.way == "evicted" then assert(self.rt:evict_all()) end
  if self.way == "reopened" then self:reopen() end
  return result
end

local function at_rest(world, result)
  return result.turns == 0 and result.commits == 0 and result.ready == 0 and not result.in_commit
    and (result.next_due_us or math.huge) > world.now_us
end

--- Tick until nothing moves by itself. Answers the last tick. After a reopening one more tick has begun again what was running.
function World:settle()
  for _ = 1, TICKS_MAX do
    local result = self:tick()
    if at_rest(self, result) then return self.way == "reopened" and assert(self.rt:tick(0)) or result end
  end
  error(("the world does not come to rest in %d ticks"):format(TICKS_MAX), 2)
end

--- Let time pass in one leap: nobody runs the world meanwhile.
function World:jump(seconds)
  self.now_us = self.now_us + seconds * 1e6
  return self:settle()
end

--- Let time pass, stopping wherever something is due.
function World:advance(seconds)
  local target_us = self.now_us + seconds * 1e6
  local result = self:settle()
  while result.next_due_us and result.next_due_us <= target_us do
    self.now_us = result.next_due_us
    result = self:settle()
  end
  self.now_us = target_us
  self:settle()
end

--- Seconds since the case began.
function World:time() return (self.now_us - BEGIN_US) / 1e6 end

--- start() and settle().
function World:run(workflow, options)
  local id = self:start(workflow, options)
  self:settle()
  return id
end

--- The request must be refused. Answers its message and its code.
function World:refused(name, ...)
  local result, message, code = self.rt[name](self.rt, ...)
  if result ~= nil then error(name .. " was accepted", 2) end
  return message, code
end

function World:status(id) return self:get(id).status end

local function describe(instance)
  local failure = instance.failure
  return failure and ("%s: %s: %s"):format(instance.status, tostring(failure.type), tostring(failure.message)) or instance.status
end

function World:output(id)
  local instance = self:get(id)
  if instance.status ~= "COMPLETED" then error(("'%s' is %s"):format(id, describe(instance)), 2) end
  return instance.output
end

--- The failure of an instance that ended with `status`, by default FAILED.
function World:failure(id, status)
  local instance = self:get(id)
  if instance.status ~= (status or "FAILED") then error(("'%s' is %s"):format(id, describe(instance)), 2) end
  return instance.failure
end

--- The events of `kind` in the history.
function World:events(id, kind)
  local found = {}
  for _, event in ipairs(self:history(id)) do
    if event.kind == kind then found[#found + 1] = event end
  end
  return found
end

--- How many events of each kind the history has, without turns.
function World:kinds(id)
  local counts = {}
  for _, event in ipairs(self:history(id)) do
    if event.kind ~= "Turn" then counts[event.kind] = (counts[event.kind] or 0) + 1 end
  end
  return counts
end

---- What must be alike ----

local FIELDS = { "id", "workflow", "status", "generation", "parent", "input", "output", "failure", "custom_status", "attributes",
  "created_us", "closed_us" }
local STATUSES = { "PENDING", "RUNNING", "SUSPENDED", "STALLED", "COMPLETED", "FAILED", "TERMINATED", "CANCELED", "CONTINUED_AS_NEW" }

-- An id that the runtime drew is another one after a restart.
local function shown_id(id) return id and (id:match("^%x+%-%x+%-[47]%x+%-%x+%-%x+$") and "drawn" or id) or "-" end

-- A history without what depends on how it was cut into batches.
local function story(world, id, run)
  local lines = {}
  for _, event in ipairs(world:history(id, { json = true, run = run })) do
    if event.kind ~= "Turn" then
      lines[#lines + 1] = ("%s seq=%s attempt=%s due=%s name=%s id=%s value=%s options=%s at=%s"):format(event.kind, event.seq or "-",
        event.attempt or "-", event.due_us or "-", event.name or "-", shown_id(event.id), tostring(event.value), tostring(event.options),
        event.time_us)
    end
  end
  return lines
end

-- Every run of every instance.
local function picture(world)
  local all = {}
  for _, listed in ipairs(world:list({ limit = 100000, status = STATUSES })) do
    local instance, shown = world:get(listed.id, { json = true, run = listed.run }), {}
    for _, field in ipairs(FIELDS) do shown[field] = instance[field] end
    shown.history = story(world, listed.id, listed.run)
    all[#all + 1] = shown
  end
  return all
end

-- The first difference between two pictures; nil: there is none.
local function difference(a, b, path)
  if type(a) ~= "table" or type(b) ~= "table" then
    return a ~= b and ("%s: %s instead of %s"):format(path, tostring(b), tostring(a)) or nil
  end
  local name = a.id and path .. " " .. tostring(a.id) or path
  for i = 1, math.max(#a, #b) do
    local found = difference(a[i], b[i], name .. "[" .. i .. "]")
    if found then return found end
  end
  for _, field in ipairs({ "id", "generation", "history", unpack(FIELDS) }) do
    local found = difference(a[field], b[field], name .. "." .. field)
    if found then return found end
  end
end

-- Of what has not ended the runtime must know what it waits for. Answers whether there is any.
local function check_reasons(world)
  local any_open = false
  for _, instance in ipairs(world:list({ limit = 100000 })) do
    if not instance.closed_us then
      any_open = true
      if not world:describe(instance.id).reason then error(("'%s' is %s for no reason"):format(instance.id, instance.status)) end
    end
  end
  return any_open
end

-- A world in which all has ended holds nothing: no instance, no body, no activity, and no timer that is still to come.
local function check_rest(world)
  local result = world:settle()
  if check_reasons(world) then return end
  local stats = world:stats()
  for _, gauge in ipairs({ "loaded", "resident", "ready", "running" }) do
    if stats[gauge] ~= 0 then error(("all has ended, but stats().%s is %d"):format(gauge, stats[gauge])) end
  end
  if world.way == "reopened" and result.next_due_us then
    error(("all has ended, but something is due in %g s"):format((result.next_due_us - world.now_us) / 1e6))
  end
end

---- Cases ----

-- The traceback without busted's part.
local function short_trace(message)
  local kept = {}
  for line in debug.traceback(message, 3):gmatch("[^\n]+") do
    if line:find("support.lua:%d+: in function <") then break end
    if not line:find("/busted/", 1, true) and not line:find("/luassert/", 1, true) then kept[#kept + 1] = line end
  end
  return table.concat(kept, "\n")
end

-- The option `alike`: nil: all ways must end alike; false: none; or a list of those that must.
local function must_be_alike(options, way)
  if type(options.alike) ~= "table" then return options.alike ~= false end
  for _, name in ipairs(options.alike) do
    if name == way then return true end
  end
  return false
end

local function run_way(way, source, options, script)
  local world = new_world(way, source, options)
  local seen
  local ok, message = xpcall(function()
    script(world)
    check_rest(world)
    if must_be_alike(options, way) then seen = picture(world) end
  end, function(err) return short_trace(tostring(err)) end)
  world.rt:close()
  support.clean()
  if not ok then error(("%s: %s"):format(way, message), 0) end
  return seen
end

--- A case: `script(world)` is called once for each way. Options: ways (a list), file, limits (of the runtime), disk (a directory
--- also where nothing is reopened between ticks), alike (false: the ways need not end alike; or a list of those that must; say why),
--- paranoid (false: not in paranoid mode, because a replay differs on purpose).
---@param name string
---@param source string the workflow file
---@param script fun(world: table)
---@param options? table
function conformance.case(name, source, script, options)
  options = options or {}
  it(name, function()
    local first
    for _, way in ipairs(options.ways or { "kept", "evicted", "reopened" }) do
      local seen = run_way(way, source, options, script)
      local other = first and seen and difference(first, seen, "instances")
      if other then error(("%s is not alike: %s"):format(way, other), 0) end
      first = first or seen
    end
  end)
end

return conformance
