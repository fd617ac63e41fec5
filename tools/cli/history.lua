-- history.lua: `lunation history`: what happened to an instance, as a timeline, read from the data directory.
local data = require "data"
local out = require "out"
local show = require "show"

local history = {
  name = "history",
  summary = "Show what happened to an instance, in order",
  usage = "history ID [--run N]",
  about = [[
Each line: the event's number, seconds since the start, what happened, to which step (#N is the number of the call in the workflow), and
the value. `fork` and `rerun` are given the event's number.
Turns, the points at which the workflow had taken in everything before, are left out unless --all is given.]],
  arguments = { 1, 1 },
  options = {
    { "--full", "do not shorten values" },
    { "--all", "show turns too" },
    { "--run N", "of an earlier run, such as a generation that continued as new (lunation ls --status continued_as_new)" },
  },
  examples = "  lunation history trip-7\n  lunation history trip-7 --json | jq '.events[] | select(.kind == \"ActivityCompleted\")'",
}

-- kind = { sign, words, colour }
local KINDS = {
  Started = { "▶", "started", "bold" },
  Turn = { "·", "turn", "dim" },
  ActivityScheduled = { "→", "calls", nil },
  ActivityCompleted = { "✓", "done", "green" },
  ActivityFailed = { "✗", "failed", "red" },
  ActivityRetried = { "↻", "failed, again at", "yellow" },
  TimerCreated = { "◷", "timer until", nil },
  TimerFired = { "⏰", "timer fired", nil },
  EventAwaited = { "…", "waits for", nil },
  EventRaised = { "✉", "event", "blue" },
  CommandCanceled = { "⊘", "gave up", "dim" },
  TerminateRequested = { "■", "termination asked for", "red" },
  Completed = { "■", "completed", "green" },
  Failed = { "■", "FAILED", "red" },
  Terminated = { "■", "terminated", "red" },
  Stalled = { "‖", "STALLED", "yellow" },
  Resumed = { "▶", "resumed", "green" },
  CodeChanged = { "↻", "code changed", "yellow" },
  ChildScheduled = { "→", "starts child", nil },
  ChildCompleted = { "✓", "child done", "green" },
  ChildFailed = { "✗", "child failed", "red" },
  ChildRetried = { "↻", "child failed, again at", "yellow" },
  DetachedStarted = { "→", "starts", nil },
  EventSent = { "✉", "raises", "blue" },
  ContinuedAsNew = { "⟳", "continues as new", "green" },
  ContinueAdvised = { "⟳", "is advised to continue as new", "dim" },
  CancelRequested = { "■", "cancellation asked for", "red" },
  Canceled = { "■", "canceled", "red" },
  SideEffect = { "=", "computed", nil },
  Emitted = { "»", "emitted", "blue" },
  UpdateAccepted = { "?", "update", "blue" },
  UpdateAnswered = { "!", "answered update", "green" },
  UpdateRequested = { "?", "update", "blue" },
  UpdateRejected = { "✗", "refused update", "red" },
  Suspended = { "‖", "suspended", "yellow" },
  Unsuspended = { "▶", "goes on", "green" },
  Forked = { "⑂", "goes on from a copy of", "yellow" },
  InputReplaced = { "⇄", "is given another input", "yellow" },
}

local FAILURES = {
  ActivityFailed = true, ActivityRetried = true, Failed = true, Terminated = true, Stalled = true, Canceled = true,
  ChildFailed = true, ChildRetried = true,
}
local ANSWERED_AT_ONCE = { DetachedStarted = true, EventSent = true, SideEffect = true, UpdateAnswered = true,
  UpdateRejected = true } -- `options` is the failure
local BEFORE_ID = { EventSent = " at ", Forked = " " }
local DONE = { ActivityCompleted = true, ChildCompleted = true }
local LATER = { ActivityRetried = true, ChildRetried = true, TimerCreated = true }

local function value_of(event)
  if ANSWERED_AT_ONCE[event.kind] and event.options then return out.failure(event.options) end
  if not event.value then return "" end
  return FAILURES[event.kind] and out.failure(event.value) or event.value
end

local function due_of(event)
  if not event.due_us then return "" end
  if event.kind == "EventAwaited" or event.kind == "ChildScheduled" then return " (at most until " .. out.time(event.due_us) .. ")" end
  return " " .. out.time(event.due_us)
end

local function line(event, began_us, steps, full)
  local kind = KINDS[event.kind] or { "?", event.kind }
  local step = event.kind ~= "Forked" and event.seq and steps[event.seq] or {}
  local name = event.name or step.name
  local what = kind[2]
  if LATER[event.kind] then what = what .. due_of(event) end
  if name then what = what .. " " .. name end
  if event.id and event.kind ~= "Started" then what = what .. (BEFORE_ID[event.kind] or " as ") .. event.id end
  if event.seq and event.kind ~= "Forked" then what = what .. " #" .. event.seq end
  if event.attempt and event.attempt > 1 then what = what .. (" (attempt %d)"):format(event.attempt) end
  if event.kind == "EventAwaited" or event.kind == "ChildScheduled" then what = what .. due_of(event) end
  if DONE[event.kind] and step.time_us then what = what .. "  " .. out.duration(event.time_us - step.time_us) end
  local value = value_of(event)
  local head = ("%4d %+10.3f s  "):format(event.index, (event.time_us - began_us) / 1e6)
  local room = full and math.huge or math.max(30, (out.width() == math.huge and 140 or out.width()) - #head - #what - 6)
  local shown = value ~= "" and "  " .. out.paint(1, "dim", out.cut(value, room)) or ""
  io.write(out.paint(1, "dim", head), out.paint(1, kind[3], kind[1] .. " " .. what), shown, "\n")
  if event.detail and (FAILURES[event.kind] or full) then
    for text in event.detail:gmatch("[^\n]+") do io.write((" "):rep(21), out.paint(1, "dim", text), "\n") end
  end
end

local function print_timeline(instance, events, parsed)
  local steps = {}
  io.write(out.paint(1, "bold", instance.id), "  ", instance.workflow, "  ", out.status(1, instance.status), "  since ",
    out.time(instance.created_us), "\n")
  for _, event in ipairs(events) do
    if event.seq and event.name and not steps[event.seq] then steps[event.seq] = event end
    if event.kind ~= "Turn" or parsed.all then line(event, events[1].time_us, steps, parsed.full) end
  end
end

function history.run(parsed, command)
  local rt = data.open_to_read(parsed)
  local instance = show.get(rt, parsed, command)
  local events = data.check(rt:history(parsed[1], { json = true, run = instance.run }))
  data.close(rt)
  if not parsed.json then
    print_timeline(instance, events, parsed)
    return 0
  end
  local list = {}
  for i, event in ipairs(events) do list[i] = out.event(event) end
  io.write(out.object("id", instance.id, "name", instance.workflow, "status", instance.status, "events", out.raw(out.array(list))), "\n")
  return 0
end

return history
