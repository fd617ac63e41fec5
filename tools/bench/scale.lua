--- The workloads of size: a long history rebuilt (W7), many timers due at once (W8), many parked instances listed and woken (W9), new code
--- tried on many that live (W10), a file that is saved (W11).
--- suite.lua calls them, with `bench`: what the workloads share.
local native = require("bench.native")

local scale = {}

scale.SOURCE = [[
workflow("long", function(ctx, steps)
  for i = 1, steps do ctx:call_activity("step", i) end
  ctx:wait_for_external_event("go")
  return steps
end)
workflow("wide", function(ctx, rounds)
  for _ = 1, rounds do
    local tasks = {}
    for i = 1, 500 do tasks[i] = ctx.async:call_activity("step", i) end
    ctx:when_all(tasks)
  end
  ctx:wait_for_external_event("go")
end)
workflow("alarm", function(ctx, at) ctx:create_timer({ at = at }) end)
workflow("needle", function(ctx) ctx:wait_for_external_event("go") end)
]]

local function ms_since(from) return (native.now() - from) * 1e3 end

-- Milliseconds to rebuild instance `id` from its history and to end it.
local function rebuild(bench, rt, id)
  bench.must(rt:evict_all())
  local events = bench.must(rt:get(id)).history_events
  bench.must(rt:raise(id, "go"))
  local from = native.now()
  bench.drain(rt)
  return ms_since(from), events
end

-- What a replay costs: reading the history, running the body again, comparing each call. One after another, and in groups of 500.
function scale.w7(bench, opts, durability)
  return bench.with_runtime(opts, durability, function(rt)
    local steps = opts.quick and 1700 or 17000 -- three events each
    bench.must(rt:start("long", { id = "long", input = steps }))
    bench.must(rt:start("wide", { id = "wide", input = math.floor(steps * 3 / 2 / 500) }))
    bench.drain(rt)
    local ms, events = rebuild(bench, rt, "long")
    local wide_ms, wide_events = rebuild(bench, rt, "wide")
    return { name = "W7", what = events .. " events rebuilt", n = events, ms = ms, events_per_s = events / ms * 1e3,
      wide_events_per_s = wide_events / wide_ms * 1e3 }
  end)
end

-- Start them all, due at one moment; answers that moment once every one of them waits for it, in good time.
local function set_alarms(bench, rt, total)
  local wait_s = 1
  while true do
    local at = math.floor(native.wall() + wait_s)
    for i = 1, total do
      bench.must(rt:start("alarm", { id = ("alarm-%d-%d"):format(at, i), input = at }))
      if i % 1000 == 0 then bench.drain(rt) end
    end
    bench.drain(rt)
    if native.wall() < at then return at end
    wait_s = wait_s * 2 -- it took longer than that
  end
end

-- All due at one moment, each of an instance of its own.
function scale.w8(bench, opts, durability, total)
  return bench.with_runtime(opts, durability, function(rt)
    local at = set_alarms(bench, rt, total)
    local cpu = native.cpu()
    bench.must(rt:wait(("alarm-%d-1"):format(at)))
    bench.drain(rt)
    local fired_s, used, late = native.wall() - at, native.cpu() - cpu, 0
    for i = 1, total do
      if bench.must(rt:get(("alarm-%d-%d"):format(at, i))).closed_us >= (at + 1) * 1e6 then late = late + 1 end
    end
    return { name = "W8", what = total .. " timers due in one second", n = total, fired_s = fired_s, late = late,
      cpu_us = used / total * 1e6, closed = rt:stats().closed }
  end)
end

-- Median of a few runs, in milliseconds.
local function timed(bench, fn)
  local times = {}
  for i = 1, 5 do
    local from = native.now()
    fn(i)
    times[i] = ms_since(from)
  end
  return bench.median(times)
end

-- Memory of many that wait, pages of lists of them, and waking one.
function scale.w9(bench, opts, durability, total)
  return bench.with_runtime(opts, durability, function(rt)
    for i = 1, total do
      local needle = i == math.floor(total / 3)
      bench.must(rt:start(needle and "needle" or "parked", { id = "parked-" .. i, attributes = needle and { shape = "needle" } or nil }))
      if i % 1000 == 0 then bench.drain(rt) end
    end
    bench.drain(rt)
    collectgarbage()
    collectgarbage()
    local function page(filter)
      return timed(bench, function() bench.must(rt:list(filter)) end)
    end
    local result = { name = "W9", what = total .. " parked, listed, one woken", n = total, rss_mb = native.rss() / 1e6,
      page_ms = page({ limit = 100 }), status_ms = page({ limit = 100, status = "FAILED" }),
      name_ms = page({ limit = 100, workflow = "needle" }), attribute_ms = page({ limit = 100, attributes = { shape = "needle" } }),
      prefix_ms = page({ limit = 100, prefix = "parked-777" }) }
    result.wake_ms = timed(bench, function(i)
      bench.must(rt:raise("parked-" .. i * math.floor(total / 7), "go"))
      bench.drain(rt)
    end)
    result.closed = rt:stats().closed
    return result
  end)
end

local CHECKED = [[
workflow("checked", function(ctx, steps)
  for i = 1, steps do ctx:call_activity("step", i) end
  ctx:wait_for_external_event("go")
  return "%s"
end)
]]

-- New code, tried on everybody while ticks go on, as a host with a timer sees it. `fresh`: nothing is in memory but what the store has.
local function check(bench, rt, version, policy, fresh)
  if fresh then
    bench.must(rt:evict_all())
    bench.must(rt:tick(0))
  end
  local from, summary = native.now(), nil
  bench.must(rt:reload("checked.lua", { source = CHECKED:format(version), policy = policy, limit = 0, done = function(s) summary = s end }))
  local longest, longest_cpu = native.now() - from, 0 -- the call compiles the code
  while not summary do
    local began, cpu = native.now(), native.cpu()
    bench.must(rt:tick(0))
    longest, longest_cpu = math.max(longest, native.now() - began), math.max(longest_cpu, native.cpu() - cpu)
  end
  return { s = native.now() - from, tick_ms = longest * 1e3, tick_cpu_ms = longest_cpu * 1e3, summary = summary }
end

-- Many that live, each with 50 events; then one with a long history.
function scale.w10(bench, opts, durability, total)
  return bench.with_runtime(opts, durability, function(rt)
    bench.must(rt:load_string("checked.lua", CHECKED:format("one")))
    for i = 1, total do
      bench.must(rt:start("checked", { id = "checked-" .. i, input = 16 }))
      if i % 1000 == 0 then bench.drain(rt) end
    end
    bench.drain(rt)
    local resident = check(bench, rt, "two", "pin")
    local evicted = check(bench, rt, "three", "pin", true)
    local adopted = check(bench, rt, "four", "adopt", true)
    bench.drain(rt)
    bench.must(rt:start("checked", { id = "long", input = opts.quick and 1700 or 17000 }))
    bench.drain(rt)
    local long = check(bench, rt, "five", "pin", true)
    local function most(figure) return math.max(resident[figure], evicted[figure], adopted[figure]) end
    return { name = "W10", what = total .. " instances x 51 events, new code tried", n = adopted.summary.checked,
      moved = adopted.summary.moved,
      check_s = resident.s, evicted_s = evicted.s, adopt_s = adopted.s, tick_ms = most("tick_ms"), tick_cpu_ms = most("tick_cpu_ms"),
      long_tick_ms = long.tick_ms, long_tick_cpu_ms = long.tick_cpu_ms }
  end)
end

-- From the rename of a saved file to the moment when new starts get its code, in a folder of 20 files under watch.
function scale.w11(bench, opts, durability)
  local folder = native.scratch(opts.folder)
  local function save(i, version)
    local file = bench.must(io.open(folder .. "/.saved", "w"))
    file:write(('workflow("saved%d", function(ctx) ctx:wait_for_external_event("go") return %d end)\n'):format(i, version))
    file:close()
    bench.must(os.rename(folder .. "/.saved", ("%s/saved%d.lua"):format(folder, i)))
  end
  local result = bench.with_runtime(opts, durability, function(rt)
    local reloaded = 0
    for i = 1, 20 do save(i, 0) end
    bench.must(rt:watch(folder, function(event) if event.kind == "reloaded" then reloaded = reloaded + 1 end end))
    for i = 1, 10 do bench.must(rt:start("saved1", { id = "saved-" .. i })) end
    bench.drain(rt)
    local ms = timed(bench, function(version)
      local before = reloaded
      save(1, version)
      while reloaded == before do bench.must(rt:tick(0)) end
    end)
    return { name = "W11", what = "a file saved, 10 instances tried, current", ms = ms, n = reloaded }
  end)
  os.execute("rm -rf '" .. folder .. "'")
  return result
end

return scale
