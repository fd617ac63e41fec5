--- The workloads W1 to W6, each beside a bare LMDB probe of the same bytes in the same run. `lunation bench` calls it.
--- A benchmark, not a test: figures drift with the machine, ratios within one run are what count.
local lunation = require("lunation")
local native = require("bench.native")
local scale = require("bench.scale")

local suite = {}

local SOURCE = scale.SOURCE .. [[
activity("step", function(n) return { n = n, ok = true } end)
workflow("chain", function(ctx, n) for i = 1, n do ctx:call_activity("step", i) end end)
workflow("fan", function(ctx, n)
  local tasks = {}
  for i = 1, n do tasks[i] = ctx.async:call_activity("step", i) end
  return #ctx:when_all(tasks)
end)
workflow("empty", function() end)
workflow("parked", function(ctx) ctx:wait_for_external_event("go") end)
workflow("fifty", function(ctx)
  for i = 1, 50 do ctx:call_activity("step", i) end
  ctx:wait_for_external_event("go")
  ctx:call_activity("step", 51)
end)
]]

local function must(value, message)
  if value == nil then error(message, 2) end
  return value
end

local function open(dir, durability)
  local rt = must(lunation.open({ dir = dir, durability = durability, committer = false, limits = { history_events_max = 1000000 } }))
  must(rt:load_string("bench.lua", SOURCE))
  return rt
end

local function remove(dir) os.execute("rm -rf '" .. dir .. "'") end

-- Run `fn` on a fresh runtime; its folder is gone afterwards.
local function with_runtime(opts, durability, fn)
  local dir = native.scratch(opts.folder)
  local rt = open(dir .. "/data", durability)
  local ok, result = pcall(fn, rt)
  rt:close()
  remove(dir)
  if not ok then error(result, 0) end
  return result
end

local function probe(opts, durability, commits, records, bytes)
  local dir = native.scratch(opts.folder)
  local took = native.probe(dir, durability == "sync", commits, records, bytes)
  remove(dir)
  return took
end

local function median(list)
  table.sort(list)
  return list[math.floor(#list / 2) + 1]
end

local function drain(rt) must(rt:drain()) end

local bench = { must = must, with_runtime = with_runtime, median = median, drain = drain }

-- Mean bytes of one record in what the runtime has committed since `before`.
local function mean_bytes(rt, before)
  local now = rt:stats()
  return math.max(1, math.floor((now.commit_bytes - before.commit_bytes) / math.max(1, now.commit_records - before.commit_records)))
end

-- One step is one tick: its activity's answer, the next call, one commit. The median leaves out what else the disk had to do.
function suite.w1(opts, durability)
  return with_runtime(opts, durability, function(rt)
    must(rt:start("chain", { input = 100 }))
    drain(rt)
    local times, sum, before = {}, 0, rt:stats()
    for _ = 1, 5 do
      must(rt:start("chain", { input = 100 }))
      local closed = rt:stats().closed
      while rt:stats().closed == closed do
        local from = native.now()
        must(rt:tick(0))
        times[#times + 1] = native.now() - from
        sum = sum + times[#times]
      end
    end
    local bare = probe(opts, durability, 500, 1, mean_bytes(rt, before))
    local step = median(times)
    return { name = "W1", what = "100 sequential steps, alone", ms_per_step = step * 1e3, mean_ms = sum / 500 * 1e3, probe_ms = bare * 1e3,
      ratio = step / bare }
  end)
end

function suite.w2(opts, durability, n, total)
  return with_runtime(opts, durability, function(rt)
    local started, before = 0, rt:stats()
    local from, cpu = native.now(), native.cpu()
    local function fill()
      local closed = rt:stats().closed
      while started < total and started - closed < n do
        must(rt:start("chain", { input = 10 }))
        started = started + 1
      end
      return closed
    end
    while fill() < total do must(rt:tick(0)) end
    local took, used = native.now() - from, native.cpu() - cpu
    local steps = total * 10
    local bare = probe(opts, durability, 100, n, mean_bytes(rt, before))
    local stats = rt:stats()
    return { name = "W2", what = n .. " workflows at once x 10 steps", n = n, steps_per_s = steps / took,
      cpu_us_per_step = used / steps * 1e6, commits = stats.commits - before.commits, probe_steps_per_s = n / bare,
      ratio = (n / bare) / (steps / took) }
  end)
end

function suite.w3(opts, durability)
  return with_runtime(opts, durability, function(rt)
    must(rt:start("fan", { input = 1000 }))
    drain(rt)
    local times = {}
    for i = 1, 5 do
      must(rt:start("fan", { input = 1000 }))
      local from = native.now()
      drain(rt)
      times[i] = native.now() - from
    end
    local bare = 2 * probe(opts, durability, 50, 1, 40000)
    return { name = "W3", what = "1,000 parallel activities, join", ms = median(times) * 1e3, probe_ms = bare * 1e3,
      ratio = median(times) / bare }
  end)
end

function suite.w4(opts, durability)
  return with_runtime(opts, durability, function(rt)
    local total, group = 40000, 500
    local before, from, cpu = rt:stats(), native.now(), native.cpu()
    for _ = 1, total / group do
      for _ = 1, group do must(rt:start("empty", {})) end
      drain(rt)
    end
    local took, used = native.now() - from, native.cpu() - cpu
    local bare = probe(opts, durability, 50, group * 3, mean_bytes(rt, before)) / group
    return { name = "W4", what = "empty workflows", workflows_per_s = total / took, cpu_us = used / total * 1e6,
      probe_per_s = 1 / bare, ratio = took / total / bare }
  end)
end

function suite.w5(opts, durability, total)
  return with_runtime(opts, durability, function(rt)
    collectgarbage()
    collectgarbage()
    local ids, before = {}, native.rss()
    for i = 1, total do
      ids[i] = must(rt:start("parked", { id = "parked-" .. i }))
      if i % 1000 == 0 then drain(rt) end
    end
    drain(rt)
    local bytes = (native.rss() - before) / total
    local from = native.now()
    for i = 1, total do
      must(rt:raise(ids[i], "go"))
    end
    drain(rt)
    local took = native.now() - from
    return { name = "W5", what = total .. " parked, then raised", bytes_each = bytes, raised_s = took, n = total,
      probe_s = probe(opts, durability, 10, 1000, 100) * total / 1000, closed = rt:stats().closed }
  end)
end

--- The child of W6: 1,000 workflows, 50 steps each, parked; then says so and waits to be killed.
function suite.w6_child(dir, durability)
  local rt = open(dir .. "/data", durability)
  for i = 1, 1000 do must(rt:start("fifty", { id = "w6-" .. i })) end
  drain(rt)
  local file = assert(io.open(dir .. "/ready", "w"))
  file:close()
  must(rt:run())
end

function suite.w6(opts, durability)
  local dir = native.scratch(opts.folder)
  native.killed(native.self(), { "bench", "child", dir, durability }, dir .. "/ready")
  local from = native.now()
  local rt = open(dir .. "/data", durability)
  for i = 1, 1000 do must(rt:raise("w6-" .. i, "go")) end
  drain(rt)
  local took, closed = native.now() - from, rt:stats().closed
  rt:close()
  remove(dir)
  local bare = probe(opts, durability, 10, 1000, 100) * 2
  return { name = "W6", what = "1,000 x 50 steps, killed, restarted, raised", s = took, closed = closed, probe_s = bare,
    ratio = took / bare }
end

function suite.cold(opts)
  local times = {}
  local file = native.scratch(opts.folder)
  local source = assert(io.open(file .. "/cold.lua", "w"))
  source:write('workflow("cold", function() return 1 end)\n')
  source:close()
  for i = 1, 9 do
    times[i] = native.timed(native.self(), { "run", file .. "/cold.lua", "--data", file .. "/data" .. i })
  end
  remove(file)
  return { name = "cold", what = "process start to first completed workflow", ms = median(times) * 1e3 }
end

--- Run everything. `report(result)` is called as each figure is ready.
---@class bench.Options
---@field folder string where the temporary data directories go
---@field quick? boolean
---@field large? boolean W5 and W9 with 1,000,000 workflows
---@field durability? "sync"|"process"
---@field only? table<string, boolean> workloads by lower-case name
---@param opts bench.Options
---@param report fun(result: table)
function suite.run(opts, report)
  local results = {}
  local function add(durability, result)
    result.durability = durability
    results[#results + 1] = result
    report(result)
  end
  local function wanted(name) return not opts.only or opts.only[name] end
  for _, durability in ipairs(opts.durability and { opts.durability } or { "sync", "process" }) do
    if wanted("w1") then add(durability, suite.w1(opts, durability)) end
    for _, n in ipairs(wanted("w2") and (opts.quick and { 200 } or { 50, 200, 500, 1000 }) or {}) do
      add(durability, suite.w2(opts, durability, n, math.max(2000, n * 10)))
    end
    for _, name in ipairs({ "w3", "w4" }) do
      if wanted(name) then add(durability, suite[name](opts, durability)) end
    end
    if wanted("w5") then add(durability, suite.w5(opts, durability, opts.large and 1000000 or 10000)) end
    if wanted("w6") then add(durability, suite.w6(opts, durability)) end
    if wanted("w7") then add(durability, scale.w7(bench, opts, durability)) end
    if wanted("w8") then add(durability, scale.w8(bench, opts, durability, opts.quick and 1000 or 10000)) end
    if wanted("w9") then add(durability, scale.w9(bench, opts, durability, opts.large and 1000000 or opts.quick and 1000 or 10000)) end
    if wanted("w10") then add(durability, scale.w10(bench, opts, durability, opts.quick and 1000 or 10000)) end
    if wanted("w11") then add(durability, scale.w11(bench, opts, durability)) end
  end
  if wanted("cold") then add("sync", suite.cold(opts)) end
  return results
end

local FIGURES = {
  "ms_per_step", "mean_ms", "steps_per_s", "cpu_us_per_step", "ms", "workflows_per_s", "cpu_us", "bytes_each", "raised_s", "s",
  "events_per_s", "wide_events_per_s", "fired_s", "late", "rss_mb", "page_ms", "status_ms", "name_ms", "attribute_ms",
  "prefix_ms", "wake_ms", "check_s", "evicted_s", "adopt_s", "tick_ms", "tick_cpu_ms", "long_tick_ms", "long_tick_cpu_ms",
  "probe_ms", "probe_steps_per_s", "probe_per_s", "probe_s", "ratio",
}

--- One result as a line for people.
function suite.line(result)
  local parts = {}
  for _, figure in ipairs(FIGURES) do
    if result[figure] then
      local value = result[figure]
      parts[#parts + 1] = ("%s %s"):format(figure, value >= 1000 and ("%.0f"):format(value) or ("%.3g"):format(value))
    end
  end
  return ("%-5s %-8s %-44s %s"):format(result.name, result.durability, result.what, table.concat(parts, "  "))
end

return suite
