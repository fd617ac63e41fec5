-- workflow.lua - what tools/torture runs while it kills: a chain, a fan-out, a side branch with a timer, and signals until the last one.
-- Every attempt writes its begin and its end to a ledger, one append each.

local function ledger(job, act, word)
  return ("%s %s %s %s %s\n"):format(word, act.idempotency_key, act.instance_id, job.step, os.getenv("TORTURE_LIFE"))
end

local function flaky(job)
  if job.flaky and math.random() < 0.4 then error({ type = "Flaky", message = "not this time" }) end
end

activity("step", function(job, act)
  act:append_file(job.ledger, ledger(job, act, "begin"))
  act:sleep(job.ms / 1000)
  flaky(job)
  act:append_file(job.ledger, ledger(job, act, "end"))
  return { step = job.step }
end)

local function append(path, line)
  local file = assert(io.open(path, "a"))
  file:setvbuf("full")
  file:write(line)
  file:close()
end

activity("quick", function(job, act)
  append(job.ledger, ledger(job, act, "begin"))
  flaky(job)
  append(job.ledger, ledger(job, act, "end"))
  return { step = job.step }
end)

activity("blocking", { blocking = true }, function(job, act)
  append(job.ledger, ledger(job, act, "begin"))
  append(job.ledger, ledger(job, act, "end"))
  return { step = job.step }
end)

workflow("torture", function(ctx, input)
  local function job(step, ms, is_flaky) return { ledger = input.ledger, step = step, ms = ms, flaky = is_flaky } end
  local retry = { retry = { max_attempts = 1000, interval = "3ms", backoff = 1 } }

  for i = 1, 2 do ctx:call_activity("step", job("chain" .. i, ctx:random(5), true), retry) end
  ctx:call_activity("blocking", job("blocking", 0))

  local tasks = {}
  for i = 1, 4 do tasks[i] = ctx.async:call_activity(i % 2 == 0 and "quick" or "step", job("fan" .. i, 3 * i, i == 2), retry) end
  ctx:when_all(tasks)

  local side = ctx:spawn(function()
    ctx:create_timer("15ms")
    ctx:call_activity("quick", job("side1", 0))
    ctx:call_activity("step", job("side2", 2))
  end)

  local seen = {}
  repeat
    local signal = ctx:wait_for_external_event("signal")
    seen[#seen + 1] = signal.id
    ctx:set_custom_status({ seen = #seen })
    if #seen % 2 == 0 then ctx:call_activity("step", job("signal" .. #seen, 1)) end
  until signal.last

  side:await()
  return { seen = seen }
end)
