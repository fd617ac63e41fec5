-- workflow.lua - what tools/torture runs while it kills. Every attempt writes its begin and its end to a ledger, one append each.
--   torture  activities of every kind, retries, timers, branches, children, events from and to others, updates, signals until the last one
--   chain    the same signals, a few for each generation of a workflow that continues as new
--   saga     waits until it is canceled, and undoes what it did
--   tree     waits with its children until it is terminated
--   brief    ends at once, with a child, and is purged
--   again    waits; a newer one takes its id
--   long     fails now and then, and is retried; when it has completed it is forked, or a step of it is run again

local LARGE = ("large "):rep(1000) -- a value that stands apart from its record
local RETRY = { heartbeat = "1m", retry = { max_attempts = 1000, interval = "3ms", backoff = 1 } }

---- Activities ----

local function line(job, act, word)
  return ("%s %s %s %s %s\n"):format(word, act.idempotency_key, act.instance_id, job.step, os.getenv("TORTURE_LIFE"))
end

local function flaky(job)
  if job.flaky and math.random() < 0.4 then error({ type = "Flaky", message = "not this time" }) end
end

activity("step", function(job, act)
  act:append_file(job.ledger, line(job, act, "begin"))
  act:sleep((job.ms or 1) / 1000)
  act:heartbeat({ attempt = act.attempt })
  flaky(job)
  act:append_file(job.ledger, line(job, act, "end"))
  return { step = job.step, text = #job.step % 2 == 0 and LARGE or nil }
end)

local function append(path, text)
  local file = assert(io.open(path, "a"))
  file:setvbuf("full")
  file:write(text)
  file:close()
end

activity("quick", function(job, act)
  append(job.ledger, line(job, act, "begin"))
  flaky(job)
  append(job.ledger, line(job, act, "end"))
  return { step = job.step }
end)

activity("blocking", { blocking = true }, function(job, act)
  append(job.ledger, line(job, act, "begin"))
  append(job.ledger, line(job, act, "end"))
  return { step = job.step }
end)

-- Half of the time it fails for good: only a retry of the whole instance helps.
activity("breaks", function(job, act)
  append(job.ledger, line(job, act, "begin"))
  if math.random() < 0.5 then error({ type = "Broken", message = "not in this run", retryable = false }) end
  append(job.ledger, line(job, act, "end"))
  return { step = job.step }
end)

---- Workflows ----

workflow("idle", function(ctx) ctx:wait_for_external_event("stop") end)

-- A child of "torture": it answers with what its parent sends it.
workflow("kid", function(ctx, ledger)
  ctx:call_activity("quick", { ledger = ledger, step = "kid1", flaky = true }, RETRY)
  local word = ctx:wait_for_external_event("word")
  ctx:create_timer("2ms")
  ctx:call_activity("step", { ledger = ledger, step = "kid2" })
  return { word = word, id = ctx.instance_id }
end)

-- It fails about every other time, and its parent tries another one.
workflow("flop", function(ctx, ledger)
  ctx:call_activity("quick", { ledger = ledger, step = "flop1" })
  if ctx:random(2) == 1 then error({ type = "Flop", message = "not this one" }) end
  return ctx.instance_id
end)

workflow("free", function(ctx, ledger)
  ctx:create_timer("1ms")
  ctx:call_activity("quick", { ledger = ledger, step = "free1" })
  return "free"
end)

-- A signal, or nil when none came in time.
local function next_signal(ctx, patience)
  if patience == 0 then return ctx:wait_for_external_event("signal") end
  if patience == 1 then
    local ok, value = pcall(ctx.wait_for_external_event, ctx, "signal", { timeout = "8ms" })
    if not ok and value.type ~= "Timeout" then error(value) end
    return ok and value or nil
  end
  local tasks = { ctx.async:create_timer("6ms"), ctx.async:wait_for_external_event("SIGNAL") }
  local which, value = ctx:when_any(tasks, { cancel_losers = true })
  return which == 2 and value or nil
end

local function family(ctx, ledger)
  local kids = {}
  for i = 1, 2 do
    local id = ctx.instance_id .. ":kid" .. i
    kids[i] = ctx.async:call_child_workflow("kid", ledger, { id = id })
    ctx:raise_event(id, "word", i)
  end
  return kids
end

workflow("torture", function(ctx, input)
  local function job(step, ms, is_flaky) return { ledger = input.ledger, step = step, ms = ms, flaky = is_flaky } end

  local notes = {}
  ctx:on_query("notes", function() return #notes end)
  ctx:on_update("note", {
    validate = function(id) return id:sub(1, #ctx.instance_id) == ctx.instance_id, "it is for somebody else" end,
    handle = function(id)
      if ctx:random(2) == 1 then ctx:call_activity("quick", job("note" .. id:match("%d+$"), 0)) end
      notes[#notes + 1] = id
      return #notes
    end,
  })

  for i = 1, 2 do ctx:call_activity("step", job("chain" .. i, ctx:random(5), true), RETRY) end
  ctx:call_activity("blocking", job("blocking", 0))
  local kids = family(ctx, input.ledger)
  local flop = ctx.async:call_child_workflow("flop", input.ledger, { id = ctx.instance_id .. ":flop",
    retry = { max_attempts = 100, interval = "2ms", backoff = 1 } })
  ctx:start_workflow("free", input.ledger, { id = ctx.instance_id .. "-free" })

  local tasks = {}
  for i = 1, 4 do tasks[i] = ctx.async:call_activity(i % 2 == 0 and "quick" or "step", job("fan" .. i, 3 * i, i == 2), RETRY) end
  tasks[5] = ctx.async:call_activity("deferred", job("deferred"))
  ctx:when_all(tasks)

  local side = ctx:spawn(function()
    ctx:create_timer("15ms")
    ctx:call_activity("quick", job("side1", 0))
    ctx:call_activity("step", job("side2", 2))
  end)

  local seen, tries = {}, 0
  repeat
    local signal = next_signal(ctx, tries % 3)
    tries = tries + 1
    if signal then
      seen[#seen + 1] = signal.id
      ctx:emit("seen", #seen)
      ctx:set_custom_status({ seen = #seen, text = #seen % 2 == 0 and LARGE or nil })
      if #seen % 2 == 0 then ctx:call_activity("step", job("signal" .. #seen, 1)) end
    end
  until signal and signal.last

  side:await()
  local answers = ctx:when_all(kids)
  local flopped = flop:await()
  ctx:wait_for_handlers()
  return { seen = seen, kids = answers, flop = flopped, notes = notes }
end)

workflow("chain", function(ctx, input)
  local seen, generation = input.seen or {}, input.generation or 1
  ctx:call_activity("quick", { ledger = input.ledger, step = "gen" .. generation, flaky = true }, RETRY)
  ctx.async:create_timer("1h")
  for _ = 1, 2 do
    local signal
    repeat signal = next_signal(ctx, ctx:random(0, 2)) until signal
    seen[#seen + 1] = signal.id
    if signal.last then return { seen = seen, generations = generation } end
  end
  ctx:continue_as_new({ ledger = input.ledger, seen = seen, generation = generation + 1 })
end)

workflow("saga", function(ctx, input)
  local function job(step) return { ledger = input.ledger, step = step } end
  local done = 0
  local ok, err = pcall(function()
    for i = 1, 2 do
      ctx:call_activity("step", job("do" .. i))
      done = i
    end
    ctx:wait_for_external_event("never")
  end)
  assert(not ok)
  ctx:shield(function()
    for i = done, 1, -1 do
      ctx:call_activity("step", job("undo" .. i))
      ctx:create_timer("1ms")
    end
  end)
  ctx:set_custom_status({ undone = done })
  error(err)
end)

workflow("tree", function(ctx, depth)
  if depth == 0 then
    ctx:wait_for_external_event("never", { timeout = "1h" })
    return
  end
  local kids = {}
  for i = 1, 2 do kids[i] = ctx.async:call_child_workflow("tree", depth - 1) end
  ctx:when_all(kids)
end)

workflow("brief", function(ctx, input)
  ctx:call_activity("quick", { ledger = input.ledger, step = "brief1" })
  return ctx:call_child_workflow("free", input.ledger)
end)

workflow("long", function(ctx, input)
  local function job(step) return { ledger = input.ledger, step = step, flaky = true } end
  local steps = {}
  local function keep(answer) steps[#steps + 1] = answer.step end
  keep(ctx:call_activity("quick", job("long1"), RETRY))
  keep(ctx:call_activity("deferred", job("deferred")))
  ctx:create_timer("3ms")
  local side = ctx.async:call_activity("step", job("long2"), RETRY)
  keep(ctx:call_activity("breaks", job("long3")))
  keep(side:await())
  keep(ctx:call_activity("quick", job("long4"), RETRY))
  return steps
end)

workflow("again", function(ctx, number)
  ctx:call_child_workflow("tree", 0, { id = ("%s:%d"):format(ctx.instance_id, number) })
end)
