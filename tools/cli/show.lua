-- show.lua: `lunation show`: one instance, read from the data directory, beside a server or without one.
local args = require "args"
local data = require "data"
local lunation = require "lunation"
local out = require "out"
local sys = require "sys"

local show = {
  name = "show",
  summary = "Show one instance: status, input, result, and why it waits",
  usage = "show ID [--run N]",
  arguments = { 1, 1 },
  options = {
    { "--full", "do not shorten long values" },
    { "--run N", "an earlier run, such as a generation that continued as new (lunation ls --status continued_as_new)" },
  },
  examples = "  lunation show trip-7\n  lunation show trip-7 --json | jq .output",
}

--- The run that --run asks for; nil: the newest.
function show.run_number(parsed, command)
  return parsed.run and args.number(command, parsed, "run", nil, 1, 2 ^ 53) or nil
end

--- Get an instance, or fail and say how to find one.
function show.get(rt, parsed, command)
  local instance, message, code = rt:get(parsed[1], { json = true, run = show.run_number(parsed, command) })
  if not instance then
    if code == "LNT_ENOTFOUND" then message = message .. ("\n`lunation ls` lists the instances of '%s'"):format(data.dir(parsed)) end
    data.fail(message, code)
  end
  return instance
end

local LINES_MAX = 30

local function block(label, json, full)
  if not json then return end
  local text = out.pretty(json)
  local lines = {}
  for line in (text .. "\n"):gmatch("(.-)\n") do lines[#lines + 1] = "    " .. line end
  if #lines > LINES_MAX and not full then
    local left = #lines - LINES_MAX
    for i = #lines, LINES_MAX + 1, -1 do lines[i] = nil end
    lines[#lines + 1] = out.paint(1, "dim", ("    … %d more lines (--full)"):format(left))
  end
  io.write(out.paint(1, "bold", label), "\n", table.concat(lines, "\n"), "\n")
end

--- Why it waits: through the server, which knows the lines, or from its history alone. JSON text.
local function describe(rt, parsed)
  if data.served(parsed) then return (data.ask(parsed, "GET", ("/v1/instances/%s/describe"):format(data.encode(parsed[1])))) end
  return (data.check(rt:describe(parsed[1], { json = true })))
end

local function attempt_of(a)
  local text = a.state or "attempt"
  if a.attempt > 1 then text = ("%s, attempt %d"):format(text, a.attempt) end
  if a.next_try_us and a.state ~= "running" then text = text .. " at " .. out.time(a.next_try_us) end
  if a.last_failure then text = text .. ", after " .. out.failure(lunation.json_encode(a.last_failure)) end
  if a.deadline_us then text = text .. ", until " .. out.time(a.deadline_us) end
  if a.state == "deferred" then text = text .. ", token " .. a.token end
  return text
end

local function until_of(w) return w.until_us and "until " .. out.time(w.until_us) or "" end

local GATHERED = {
  EventRaised = "event", ActivityCompleted = "result of", ActivityFailed = "failure of", ChildCompleted = "result of child",
  ChildFailed = "failure of child", UpdateRequested = "update", UpdateAccepted = "update", CancelRequested = "cancel",
  TerminateRequested = "terminate",
}

local function gathered_of(g)
  if g.kind == "TimerFired" then return g.name and "timeout of " .. g.name or "timer" end
  return (GATHERED[g.kind] or g.kind) .. (g.name and " " .. g.name or "")
end

-- member = { label, words of an item }
local WAITS = {
  { "activities", function(a) return "activity " .. a.name, attempt_of(a) end },
  { "children", function(c) return "child " .. c.id, c.workflow .. " " .. until_of(c) end },
  { "awaited", function(w) return "event " .. w.name, until_of(w) end },
  { "timers", function(t) return "timer", "due " .. out.time(t.due_us) end },
  { "updates", function(u) return "update " .. u.name, "accepted " .. out.time(u.accepted_us) end },
  { "buffered", function(e) return "kept event " .. e.name, "raised " .. out.time(e.raised_us) end },
  { "gathered", function(g) return "gathered " .. gathered_of(g), "at " .. out.time(g.time_us) end },
  { "streams", function(s) return "stream " .. s.name, ("%d values"):format(s.count) end },
}

local ITEMS_MAX = 10

local function show_waits(description, full)
  for _, row in ipairs(WAITS) do
    local items = description[row[1]]
    for n, item in ipairs(items) do
      if n > ITEMS_MAX and not full then
        io.write(out.paint(1, "dim", ("    … %d more (--full)"):format(#items - ITEMS_MAX)), "\n")
        break
      end
      local what, how = row[2](item)
      io.write(("    %-28s  %s\n"):format(what, out.paint(1, "dim", how)))
    end
  end
  for _, activity in ipairs(description.activities) do
    if activity.state == "deferred" then
      io.write(out.paint(1, "dim", ("    answer it: lunation complete %s JSON"):format(activity.token)), "\n")
      break
    end
  end
  if description.queries and #description.queries > 0 then io.write("    answers to  ", table.concat(description.queries, ", "), "\n") end
  if description.update_handlers and #description.update_handlers > 0 then
    io.write("    takes       ", table.concat(description.update_handlers, ", "), "\n")
  end
end

function show.run(parsed, command)
  local rt = data.open_to_read(parsed)
  local i = show.get(rt, parsed, command)
  local waiting = not i.closed_us and describe(rt, parsed) or nil
  data.close(rt)
  if parsed.json then
    local text = out.instance(i)
    io.write(waiting and text:sub(1, -2) .. ',"waiting":' .. waiting:gsub("%s+$", "") .. "}" or text, "\n")
    return 0
  end
  io.write(out.paint(1, "bold", i.id), "  ", i.workflow, "  ", out.status(1, i.status), "\n")
  io.write(i.start_at_us and "  accepted  " or "  started   ", out.time(i.created_us), "\n")
  if i.start_at_us then io.write(i.status == "PENDING" and "  starts    " or "  started   ", out.time(i.start_at_us), "\n") end
  if i.closed_us then
    io.write("  finished  ", out.time(i.closed_us), "  after ", out.duration(i.closed_us - i.created_us), "\n")
  else
    io.write("  last move ", out.time(i.updated_us), "\n")
  end
  io.write(("  history   %d events, %d bytes\n"):format(i.history_events, i.history_bytes))
  io.write("  code      ", i.code_hash or "unknown", "\n")
  if i.parent_run then io.write("  child of  ", i.parent or ("run " .. i.parent_run .. ", which is gone"), "\n") end
  if i.generation > 1 or i.status == "CONTINUED_AS_NEW" then io.write(("  run       %d, generation %d\n"):format(i.run, i.generation)) end
  if waiting then
    local description = lunation.json_decode(waiting)
    io.write("  waiting   ", description.reason, "\n")
    show_waits(description, parsed.full)
  end
  if i.failure then
    local divergence = out.divergence(i.failure, sys.now_us())
    io.write(out.paint(1, "red", "failure"), "\n    ", #divergence > 0 and "Diverged" or out.failure(i.failure), "\n")
    for _, line in ipairs(divergence) do io.write("    ", line, "\n") end
  end
  block("custom status", i.custom_status, parsed.full)
  block("attributes", i.attributes, parsed.full)
  block("input", i.input, parsed.full)
  block("output", i.output, parsed.full)
  return 0
end

return show
