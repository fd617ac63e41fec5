-- replay_workflow.lua - a workflow that asks for everything that differs between processes in plain LuaJIT: the order of pairs, random
-- numbers, text of numbers, addresses, the clock. spec/replay_spec.lua runs it in many processes and compares its commands byte for byte.

local function describe(t)
  local parts = {}
  for k, v in pairs(t) do parts[#parts + 1] = tostring(k) .. "=" .. tostring(v) end
  return table.concat(parts, ",")
end

-- A table that grew and shrank, so that its inner layout has a past.
local function weathered(ctx, size)
  local t = {}
  for i = 1, size do t["key" .. ctx:random(1000)] = i end
  for i = 1, size, 3 do t[i * 7] = "n" .. i end
  local first = next(t)
  t[first] = nil
  t.zeta, t.alpha, t[-1], t[0.5] = 1, 2, 3, 4
  return t
end

workflow("kid", function(ctx, job)
  ctx:create_timer(ctx:random(50) / 1000)
  ctx:raise_event(job.parent, "note", { describe(job), ctx:uuid(), math.random(1000) })
  if job.again then ctx:continue_as_new({ parent = job.parent, [7] = job.again, after = { ctx:random(), ctx:uuid() } }) end
  return ctx:call_activity("echo", { ctx.instance_id, describe(job), ctx:random(100) })
end)

-- Each kid draws numbers of its own, and so does each generation of it.
local function children(ctx)
  local kids, notes = {}, {}
  for name, n in pairs({ north = 1, east = 2, south = 3, west = 4 }) do
    local job = { parent = ctx.instance_id, [name] = n, again = n % 2 == 0 and ctx:random(9) or nil }
    kids[#kids + 1] = ctx.async:call_child_workflow("kid", job, { retry = { max_attempts = 2, non_retryable = { "B", "A" } }, timeout = 9 })
  end
  notes[1] = ctx:start_workflow("kid", { parent = ctx.instance_id, apart = true }, { id = "apart-" .. ctx:uuid() })
  for i = 1, 7 do notes[#notes + 1] = ctx:wait_for_external_event("note")[i % 2 + 1] end
  return { kids = ctx:when_all(kids), notes = notes, seen = ctx:history_length(), advised = ctx:should_continue_as_new() }
end

workflow("w0", function(ctx, input)
  local log = { input }

  for round = 1, 4 do
    local t = weathered(ctx, 12 * round)
    ctx:call_activity("echo", { text = describe(t), table = t, length = #log })
    for name in pairs(t) do
      if math.random(4) == 1 then log[#log + 1] = ctx:call_activity("echo", name).d end
    end
  end

  ctx:call_activity("echo", { ctx:uuid(), math.random(), math.random(10), math.random(-5, 5), ctx:random() })
  ctx:call_activity("echo", { os.time(), os.date("!%c"), ctx:now() })
  ctx:call_activity("echo", string.format("%.17g %5.3f %e %x %q %s", math.pi * ctx:random(), 1 / 3, 1e-7 / 7, 255, "a\nb", 0.1 + 0.2))
  ctx:call_activity("echo", { tostring(1e15), tostring(2 ^ 53), tostring(-0.0), math.sin(1) * 1e10, math.exp(1.5), 10 % 3.3 })
  ctx:call_activity("echo", { tostring({}), tostring(print), tostring(ctx), tostring(coroutine.create(function() end)) })

  local names = {}
  for name in pairs({ delta = 1, charlie = 2, bravo = 3, alpha = 4, [3] = 5, [1] = 6, [2] = 7 }) do names[#names + 1] = tostring(name) end
  local tasks = {}
  for i, name in ipairs(names) do tasks[i] = ctx.async:call_activity("echo", { name, i, math.random(100) }) end
  for _, got in pairs(ctx:when_all(tasks)) do log[#log + 1] = got.d end

  local branches = {}
  for i = 1, 5 do
    branches[i] = ctx:spawn(function(number)
      ctx:create_timer(ctx:random(200) / 1000)
      local options = { retry = { max_attempts = 3, interval = "20ms", non_retryable = { "B", "A" } } }
      return ctx:call_activity("flaky", { number, ctx:uuid() }, options).d
    end, i)
  end
  log[#log + 1] = ctx:when_all(branches)

  local ok, failure = pcall(function() return ctx:call_activity("bad", { [10] = "ten", [9] = "nine", nine = 9 }) end)
  log[#log + 1] = { ok, failure.type, describe(failure) }

  log[#log + 1] = children(ctx)

  table.sort(names, function(a, b) return a > b end)
  return { log = log, names = names, text = describe({ b = 1, a = 2, [1] = 3 }), seen = ("x=1, y=2"):gsub("(%w)=(%w)", "%2=%1") }
end)
