-- Conformance: random programs under random requests. Nobody knows how they must end. But whether bodies are kept or rebuilt at every tick
-- must make no difference, every history compared event by event; and in no way may an instance stall, wait for no reason, or leave
-- something behind when it ends. A failure names the seed that repeats it: LUNATION_CONFORMANCE_SEED=17 LUNATION_CONFORMANCE_SEEDS=1.
local case = require("spec.conformance.support").case

local SEEDS = tonumber(os.getenv("LUNATION_CONFORMANCE_SEEDS")) or 12
local FIRST = tonumber(os.getenv("LUNATION_CONFORMANCE_SEED")) or 1

-- A workflow that carries out the program in its input.
local SCRIPT = [[
activity("work", function(job, act)
  if act.attempt <= (job.fails or 0) then error({ type = job.type or "Flaky", message = "attempt " .. act.attempt }) end
  return job.n
end)

local run
local ops = {}

function ops.activity(ctx, s) return ctx:call_activity("work", s.job, s.options) end
function ops.timer(ctx, s) ctx:create_timer(s.seconds) return "timer" end
function ops.event(ctx, s) return ctx:wait_for_external_event(s.name, s.options) end
function ops.effect(ctx, s) return ctx:side_effect(function() return { ctx:random(1000) > 0, s.value } end) end
function ops.draw(ctx) return { ctx:random(1000) > 0, #ctx:uuid(), ctx:now() } end -- what is drawn follows from what ran before an opening
function ops.emit(ctx, s) ctx:emit("out", s.value) return "emit" end
function ops.status(ctx, s) ctx:set_custom_status(s.value) ctx:set_attributes({ last = s.value }) return "status" end
function ops.fail(ctx, s) error({ type = "Told", message = "to fail " .. s.value }) end
function ops.send(ctx, s) ctx:raise_event(s.target, s.name, "from " .. ctx.instance_id) return "sent" end
function ops.detached(ctx, s) return ctx:start_workflow("script", { program = s.body }) end
function ops.child(ctx, s) return ctx:call_child_workflow("script", { program = s.body }, s.options) end
function ops.scope(ctx, s) return ctx:scope(function() return run(ctx, s.body) end, s.options) end
function ops.shield(ctx, s) return ctx:shield(function() return run(ctx, s.body) end) end
function ops.map(ctx, s)
  return ctx:map({ 1, 2, 3, 4 }, function(i) return { i, run(ctx, s.body) } end, s.options)
end

function ops.seq(ctx, s)
  local results = {}
  for i, step in ipairs(s.steps) do
    local value = run(ctx, step)
    results[i] = value == nil and "nil" or value
  end
  return results
end

local function branches(ctx, steps)
  local tasks = {}
  for i, step in ipairs(steps) do tasks[i] = ctx:spawn(run, ctx, step) end
  return tasks
end

function ops.all(ctx, s) return ctx:when_all(branches(ctx, s.steps), s.options) end

function ops.any(ctx, s)
  local which, value = ctx:when_any(branches(ctx, s.steps), s.options)
  return { which, value }
end

function ops.left(ctx, s) -- branches that nobody waits for
  branches(ctx, s.steps)
  ctx:create_timer(s.seconds)
  return "left"
end

function ops.try(ctx, s)
  local ok, value = pcall(run, ctx, s.body)
  if ok then return { true, value } end
  if s.raises and value.type == "Canceled" then error(value) end
  return { false, value.type }
end

function run(ctx, step) return ops[step.op](ctx, step) end

workflow("script", function(ctx, input)
  local pokes = 0
  ctx:on_query("pokes", function() return pokes end)
  ctx:on_update("poke", {
    validate = function(step) return step.op ~= "fail", "not that" end,
    handle = function(step)
      pokes = pokes + 1
      return run(ctx, step)
    end,
  })
  local result = run(ctx, input.program)
  if (input.again or 0) > 0 then ctx:continue_as_new({ program = input.program, again = input.again - 1 }) end
  return result
end)
]]

---- Random programs ----

local Dice = {}
Dice.__index = Dice

-- Park and Miller's generator: the same numbers on any machine.
function Dice:next(n)
  self.state = self.state * 16807 % 2147483647
  return self.state % n + 1
end

function Dice:chance(percent) return self:next(100) <= percent end
function Dice:pick(list) return list[self:next(#list)] end

local NAMES = { "a", "b", "A" }
local SECONDS = { 0, 1, 2, 5, 10, 30 }
local IDS = { "i1", "i2", "i3", "i4" }

local leaves, nodes = {}, {}

function leaves.activity(d)
  local options
  if d:chance(60) then
    options = { retry = { max_attempts = d:next(4), interval = d:pick(SECONDS), backoff = d:next(2),
      non_retryable = d:chance(20) and { "Fatal" } or nil } }
  end
  return { op = "activity", job = { n = d:next(100), fails = d:chance(50) and d:next(4) or nil, type = d:chance(20) and "Fatal" or nil },
    options = options }
end
function leaves.timer(d) return { op = "timer", seconds = d:pick(SECONDS) } end
function leaves.event(d) return { op = "event", name = d:pick(NAMES), options = d:chance(70) and { timeout = d:pick(SECONDS) } or nil } end
function leaves.effect(d) return { op = "effect", value = d:next(100) } end
function leaves.draw() return { op = "draw" } end
function leaves.emit(d) return { op = "emit", value = d:next(100) } end
function leaves.status(d) return { op = "status", value = d:next(100) } end
function leaves.fail(d) return { op = "fail", value = d:next(100) } end
function leaves.send(d) return { op = "send", target = d:pick(IDS), name = d:pick(NAMES) } end

local LEAVES = { "activity", "activity", "activity", "timer", "timer", "event", "event", "effect", "draw", "emit", "status", "fail",
  "send" }
local NODES = { "seq", "seq", "all", "any", "left", "try", "try", "try", "scope", "shield", "map", "child", "child", "detached" }

local function program(d, depth)
  if depth == 0 or d:chance(25) then return leaves[d:pick(LEAVES)](d) end
  return nodes[d:pick(NODES)](d, depth - 1)
end

local function steps(d, depth)
  local list = {}
  for i = 1, d:next(3) + 1 do list[i] = program(d, depth) end
  return list
end

function nodes.seq(d, depth) return { op = "seq", steps = steps(d, depth) } end
function nodes.all(d, depth) return { op = "all", steps = steps(d, depth), options = d:chance(30) and { fail_fast = true } or nil } end
function nodes.any(d, depth) return { op = "any", steps = steps(d, depth), options = d:chance(60) and { cancel_losers = true } or nil } end
function nodes.left(d, depth) return { op = "left", steps = steps(d, depth), seconds = d:pick(SECONDS) } end
function nodes.try(d, depth) return { op = "try", body = program(d, depth), raises = d:chance(70) } end
function nodes.scope(d, depth)
  return { op = "scope", body = program(d, depth), options = d:chance(60) and { timeout = d:pick(SECONDS) + 1 } or nil }
end
function nodes.shield(d, depth) return { op = "shield", body = program(d, depth) } end
function nodes.map(d, depth)
  return { op = "map", body = program(d, depth), options = { concurrency = d:next(4), fail_fast = d:chance(30) } }
end
function nodes.child(d, depth)
  return { op = "child", body = program(d, depth), options = {
    on_parent_close = d:pick({ "terminate", "cancel", "abandon" }), timeout = d:chance(30) and d:pick(SECONDS) + 1 or nil,
    retry = d:chance(30) and { max_attempts = d:next(3), interval = d:pick(SECONDS), backoff = 1 } or nil } }
end
function nodes.detached(d, depth) return { op = "detached", body = program(d, depth) } end

---- Random requests ----

local requests = {}

function requests.start(w, d, id)
  return w.rt:start("script", { id = id, input = { program = program(d, 4), again = d:chance(20) and d:next(2) or nil },
    id_reuse = d:pick({ "error", "existing", "terminal", "replace" }),
    start_at_us = d:chance(15) and w.now_us + d:pick(SECONDS) * 1e6 or nil })
end
requests.start2, requests.start3 = requests.start, requests.start
function requests.raise(w, d, id) return w.rt:raise(id, d:pick(NAMES), d:next(100)) end
requests.raise2, requests.raise3 = requests.raise, requests.raise
function requests.suspend(w, _, id) return w.rt:suspend(id) end
function requests.resume(w, _, id) return w.rt:resume(id) end
requests.resume2 = requests.resume
function requests.cancel(w, d, id) return w.rt:cancel(id, "reason " .. d:next(9)) end
function requests.terminate(w, d, id) return w.rt:terminate(id, "reason " .. d:next(9)) end
function requests.purge(w, d, id) return w.rt:purge(id, { force = d:chance(30), recursive = d:chance(70) }) end
function requests.update(w, d, id)
  local instance = w.rt:get(id)
  if not instance or instance.status ~= "RUNNING" then return nil, "it would wait in memory", "skipped" end
  return w.rt:update(id, "poke", program(d, 2), { id = "u" .. d:next(5), done = function() end })
end

local REQUESTS = {}
for name in pairs(requests) do REQUESTS[#REQUESTS + 1] = name end
table.sort(REQUESTS)

---- The cases ----

local function play(w, seed)
  local d = setmetatable({ state = seed * 7919 + 17 }, Dice)
  for _ = 1, 3 do d:next(10) end
  local told = {}
  local function ask(name)
    local id = d:pick(IDS)
    local ok, _, code = requests[name](w, d, id)
    told[#told + 1] = ("%s %s %s"):format(name, id, ok and "ok" or tostring(code))
  end
  for _ = 1, 3 do ask("start") end
  for _ = 1, 25 do
    if d:chance(80) then w:settle() else w:tick() end
    if d:chance(40) then w:advance(d:pick(SECONDS)) end
    ask(d:pick(REQUESTS))
  end
  w:settle()
  w:advance(20)
  return table.concat(told, "\n")
end

describe("random programs under random requests", function()
  for seed = FIRST, FIRST + SEEDS - 1 do
    local first
    case("seed " .. seed, SCRIPT, function(w)
      local told = play(w, seed)
      if w.way ~= "reopened" then
        first = first or told
        assert.equal(first, told)
      end
      for _, instance in ipairs(w:list({ limit = 1000 })) do
        assert.are_not.equal("STALLED", instance.status, instance.failure and instance.failure.message)
      end
    end, { alike = { "kept", "evicted" } }) -- a restart between two ticks changes which of two instances has its turn first
  end
end)
