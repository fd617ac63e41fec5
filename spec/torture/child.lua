-- child.lua - the process that tools/torture kills: it takes up what the directory holds, starts workflows, raises their signals one
-- after another, asks for updates, cancels, terminates, suspends and resumes, and tells on stdout what was acknowledged: "start ID",
-- "signal ID SIGNAL", "update ID UPDATE ANSWER", "answer ID KEY" (of an activity), "cancel ID", "terminate ID", "purge ID", "again ID
-- NUMBER", "retry ID", "fork ID" (also of a rerun: the new id). With `finish` it starts nothing new and ends when all is done.
--
--   luajit child.lua DIR LEDGER LIFE DURABILITY work|finish

local lunation = require "lunation"
local dir, ledger, life, durability, mode = arg[1], arg[2], tonumber(arg[3]), arg[4], arg[5]
local LIVE = 6 -- instances at once
local OPEN = { "PENDING", "RUNNING", "SUSPENDED", "STALLED" }
local KINDS = { t = "torture", c = "chain", s = "saga", k = "tree", p = "brief", r = "long" }
local ORDER = { "t", "c", "r", "t", "s", "r", "t", "k", "p" }

io.stdout:setvbuf("no")
math.randomseed(life)
local function say(...) io.stdout:write(table.concat({ ... }, " ") .. "\n") end
local function must(value, message)
  if value then return value end
  say("fatal", (tostring(message):gsub("\n", " ")))
  os.exit(3)
end

local rt = must(lunation.open({ dir = dir, durability = durability, committer = life % 2 == 1, workers = life % 3 == 0 and 1 or 0,
  limits = life % 5 == 0 and { resident_max = 2 } or nil }))
must(rt:load_file((arg[0]:gsub("child%.lua$", "workflow.lua"))))

-- An attempt whose answer comes later, some moment after it began: of this process, or of whichever process is there then.
local deferred = {}

local function note(word, key, id)
  local file = assert(io.open(ledger, "a"))
  file:write(("%s %s %s deferred %d\n"):format(word, key, id, life))
  file:close()
end

must(rt:activity("deferred", function(_, act)
  local token = math.random() < 0.5 and act:pending() or act:complete_later()
  note("begin", act.idempotency_key, act.instance_id)
  deferred[#deferred + 1] = { token = token, key = act.idempotency_key, id = act.instance_id }
end))

-- What an earlier process left to be answered.
local function take_over(id)
  local run, left, keys = must(rt:get(id)).run, {}, {}
  for _, event in ipairs(must(rt:history(id))) do
    if event.kind == "ActivityScheduled" then keys[event.seq] = event.idempotency_key end
    if event.kind == "ActivityDeferred" then left[event.seq] = event end
    if event.kind == "ActivityCompleted" then left[event.seq] = nil end
  end
  for seq, event in pairs(left) do
    deferred[#deferred + 1] = { token = ("%d:%d:%d"):format(run, seq, event.attempt), key = keys[seq], id = id }
  end
end

local live, started = {}, 0 -- live: id -> kind

local function acknowledged(word, ...)
  local said = table.concat({ word, ... }, " ")
  return function(ok)
    if ok then say(said) end
    return ok
  end
end

-- A request that may come too late: the instance has ended meanwhile.
local function ask(name, id, reason, then_)
  local told = acknowledged(name, id)
  local ok, message, code = rt[name](rt, id, reason, { done = function(durable)
    if told(durable) and then_ then then_() end
  end })
  if not ok and code ~= "LNT_ECLOSED" and code ~= "LNT_ENOTFOUND" then must(ok, message) end
end

-- How many signals an instance gets: 2 to 6, told by its id.
local function signals_of(id) return 2 + tonumber(id:match("%d+$")) % 5 end

local waiting = {} -- a chain's id -> the number of its next signal

local function raise(id, number, then_)
  local name = id .. ":" .. number
  local told = acknowledged("signal", id, name)
  local first, last = math.random() < 0.5, number == signals_of(id)
  local function on_done(ok)
    if told(ok) and then_ then then_() end
  end
  local data = { id = name, last = last, text = number % 2 == 0 and ("large "):rep(1000) or nil }
  must(rt:raise(id, "signal", data, { key = name, done = first and on_done or nil }))
  if not first then must(rt:raise(id, "signal", data, { key = name, done = on_done })) end -- a client that asks again
end

-- The next one when one is acknowledged; to a chain several at once, at some later moment.
local function signal(id, number)
  if number > signals_of(id) then return end
  if id:sub(1, 1) == "c" then
    waiting[id] = number
  else
    raise(id, number, function() signal(id, number + 1) end)
  end
end

local function burst(id)
  local last = math.min(waiting[id] + math.random(0, 3), signals_of(id))
  for number = waiting[id], last do raise(id, number) end
  waiting[id] = last < signals_of(id) and last + 1 or nil
end

local notes = {} -- id -> how many updates were asked for

-- An update is answered with its place among those of the instance. One that comes too late is refused.
local function update(id, name)
  local ok, message, code = rt:update(id, "note", name, { id = name, done = function(place, why, failed)
    if place then say("update", id, name, tostring(place))
    elseif failed ~= "LNT_ECLOSED" then must(nil, ("update %s: %s"):format(name, tostring(why))) end
  end })
  if not ok and code ~= "LNT_ECLOSED" then must(ok, message) end
end

local function new_update(id)
  notes[id] = (notes[id] or 0) + 1
  update(id, ("%s:note%d"):format(id, notes[id]))
end

-- What was accepted and maybe not answered is asked for again, under the same id.
local function repeat_updates(id)
  local accepted = {}
  for _, event in ipairs(must(rt:history(id))) do
    if event.kind == "UpdateAccepted" or event.kind == "UpdateRequested" then accepted[#accepted + 1] = event.id end
  end
  notes[id] = #accepted
  for _, name in ipairs(accepted) do
    notes[id] = math.max(notes[id], tonumber(name:match("%d+$")))
    update(id, name)
  end
end

local KEEPS_TOKENS = { t = true, r = true, f = true }
local STOPS = { s = "cancel", k = "terminate" }
local SIGNALED = { t = true, c = true }

local function go_on(id, number)
  if SIGNALED[id:sub(1, 1)] then signal(id, number) end
end

local ended = {} -- what waits to be purged

local function purge(id)
  local told = acknowledged("purge", id)
  local count, message, code = rt:purge(id, { done = told })
  if not count and code ~= "LNT_ENOTFOUND" then must(nil, message) end
end

-- Under an id that is taken, also by one that runs: the newest one stays.
local number = 0
local function start_again()
  number = number + 1
  local told = acknowledged("again", "again", ("%d"):format(life * 10000 + number))
  must(rt:start("again", { id = "again", input = life * 10000 + number, id_reuse = "replace", done = told }))
end

-- What failed is let go on, until it completes; nobody may have seen that it failed but in an earlier life.
local failed = {} -- ids

local function retry(id)
  if must(rt:get(id)).status ~= "FAILED" then return end -- it was asked for twice
  local ok, message, code = rt:retry(id, { done = acknowledged("retry", id) })
  if ok then return end
  if code == "LNT_EAGAIN" then failed[#failed + 1] = id
  elseif code ~= "LNT_EOPEN" then must(nil, message) end
end

-- What completed goes on again from some event, or from a step of it, under an id of its own.
local forks = 0
local COPIES_MAX = 3
local function fork(id)
  forks = forks + 1
  local new_id, events = ("f%d-%d"):format(life, forks), must(rt:history(id))
  local options = { new_id = new_id, event = math.random(#events), done = acknowledged("fork", new_id) }
  local kind = events[options.event].kind
  local how = (kind == "ActivityScheduled" or kind == "TimerCreated") and math.random() < 0.7 and "rerun" or "fork"
  local ok, message, code = rt[how](rt, id, options)
  if ok then live[new_id] = "f"
  elseif code ~= "LNT_EAGAIN" then must(nil, message) end
end

local function start()
  started = started + 1
  local kind = ORDER[started % #ORDER + 1]
  local id = ("%s%d-%d"):format(kind, life, started)
  live[id] = kind
  local told = acknowledged("start", id)
  must(rt:start(KINDS[kind], { id = id, input = kind == "k" and 2 or { ledger = ledger }, done = function(ok)
    if told(ok) then go_on(id, 1) end
  end }))
end

-- A client that was not answered looks before it asks again: what a generation has not seen went over to the next one.
local function raised(instance)
  local names, count = {}, 0
  local function add(name)
    if not names[name] then names[name], count = true, count + 1 end
  end
  local input = must(rt:get(instance.id)).input
  for _, name in ipairs(type(input) == "table" and input.seen or {}) do add(name) end
  for _, event in ipairs(must(rt:history(instance.id))) do
    if event.kind == "EventRaised" then add(event.value.id) end
  end
  return count
end

for _, instance in ipairs(must(rt:list({ status = OPEN, limit = 10000 }))) do
  local id = instance.id
  if instance.status == "STALLED" then say("fatal", id, "is stalled:", instance.failure and instance.failure.message or "?") end
  if instance.status == "SUSPENDED" then ask("resume", id) end
  if id:match("^[tcskprf]%d+%-%d+$") then
    live[id] = id:sub(1, 1)
    if live[id] == "t" then repeat_updates(id) end
    if KEEPS_TOKENS[live[id]] then take_over(id) end
    go_on(id, raised(instance) + 1)
  end
end

for _, instance in ipairs(must(rt:list({ status = "COMPLETED", workflow = "brief", limit = 10000 }))) do
  ended[#ended + 1] = instance.id
end

for _, instance in ipairs(must(rt:list({ status = "FAILED", workflow = "long", limit = 10000 }))) do
  if must(rt:get(instance.id)).status == "FAILED" then -- the list has runs that were retried too
    live[instance.id] = instance.id:sub(1, 1)
    failed[#failed + 1] = instance.id
  end
end

local completed = {} -- what may be forked
local ENDS = { Completed = true, Failed = true, Terminated = true, Canceled = true }
rt:observe(function(id, _, event)
  if not ENDS[event.kind] then return end
  if live[id] == "p" then ended[#ended + 1] = id end
  if event.kind == "Failed" and (live[id] == "r" or live[id] == "f") then
    failed[#failed + 1] = id
    return
  end
  if live[id] == "r" then completed[#completed + 1] = id end
  live[id] = nil
end)

local function any_live()
  local ids = {}
  for id in pairs(live) do ids[#ids + 1] = id end
  return ids[math.random(math.max(1, #ids))], #ids
end

-- Between the passes of the runtime.
local function chores()
  while #deferred > 0 and math.random() < 0.5 do
    local attempt = table.remove(deferred, math.random(#deferred))
    note("end", attempt.key, attempt.id)
    local ok, message, code = rt:complete(attempt.token, { step = "deferred" }, { done = acknowledged("answer", attempt.id, attempt.key) })
    if not ok and code ~= "LNT_EOVER" and code ~= "LNT_ENOTFOUND" then must(ok, message) end -- its instance was stopped, or purged
  end
  local id, count = any_live()
  local stop = STOPS[live[id]]
  if stop and math.random() < 0.2 then ask(stop, id, "enough") end
  if waiting[id] and math.random() < 0.5 then burst(id) end
  if live[id] == "t" and math.random() < 0.3 then new_update(id) end
  if id and math.random() < 0.1 then
    ask("suspend", id, nil, function() ask("resume", id) end)
  end
  if #ended > 0 and math.random() < 0.3 then purge(table.remove(ended)) end
  if #failed > 0 and math.random() < 0.5 then retry(table.remove(failed)) end
  if mode == "work" and #completed > 0 and forks < COPIES_MAX and math.random() < 0.5 then fork(table.remove(completed)) end
  if mode == "work" and math.random() < 0.02 then start_again() end
  if mode == "finish" and count == 0 then ask("terminate", "again", "the end") end
  for _ = count + 1, mode == "work" and LIVE or 0 do start() end
  return count + #ended
end

local ok, message, code = rt:start("idle", { id = "idle" })
if not ok and code ~= "LNT_EEXIST" then must(ok, message) end
say("ready")
while true do
  local over
  over, message, code = rt:wait("idle", 0.003)
  if over then break end
  if code ~= "LNT_ETIMEOUT" then must(nil, message) end
  if chores() == 0 and mode == "finish" then rt:raise("idle", "stop") end
end
must(rt:close())
say("finished")
