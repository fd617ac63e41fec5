-- run.lua: `lunation run`: one file, one instance, from its start (or from where it stood) to its end.
local args = require "args"
local data = require "data"
local lunation = require "lunation"
local out = require "out"
local outcome = require "outcome"
local sys = require "sys"

local run = {
  name = "run",
  summary = "Start one workflow and follow it to its end; resume it if the id exists",
  usage = "run FILE [NAME] [--input JSON] [--id ID]",
  about = [[
FILE is a Lua file that defines the workflow; NAME says which, if it defines several. Kill it at any moment and run it again with
the same --id: what was done is not done again. The result goes to stdout; progress and the workflow's log go to stderr.]],
  arguments = { 1, 2 },
  options = {
    { "--input JSON", "the input: JSON text, @file, or - for stdin" },
    { "--id ID", "the instance's id (default: a random UUID); an existing one is resumed, and keeps its input" },
    { "--durability MODE", "sync (default; survives a power cut) or process (survives a crash)" },
    { "--workers N", "threads for activities that block (default 2)" },
    { "--paranoid", "for developers: run each turn twice, and stall who does not do the same both times" },
    { "--quiet", "no progress, and only warnings from the log" },
    { "--verbose", "progress even without a terminal, and the whole log" },
  },
  examples = [[
  lunation run workflows/hello.lua --input '{"name": "Ada"}'
  lunation run workflows/trip.lua --id trip-7 --input @trip.json
  lunation run workflows/hello.lua --json | jq .output]],
}

-- ---- Which workflow ----

local function is_of_file(workflow, file)
  return workflow.file == file or sys.realpath(workflow.file) == sys.realpath(file)
end

--- The workflow that is meant: the one named, or the only one of the file.
local function choose(rt, file, name)
  local names = {}
  for _, workflow in ipairs(data.check(rt:workflows())) do
    if is_of_file(workflow, file) then names[#names + 1] = workflow.name end
  end
  table.sort(names)
  local list = table.concat(names, ", ")
  if name then
    for _, known in ipairs(names) do
      if known == name then return name end
    end
    local message = "'%s' defines no workflow '%s'%s (it defines: %s)"
    data.fail(message:format(file, name, args.hint(name, names), #names > 0 and list or "none"), "LNT_ENOTFOUND")
  end
  if #names == 0 then
    local message = "'%s' defines no workflow; one is defined by workflow(\"name\", function(ctx, input) ... end)"
    data.fail(message:format(file), "LNT_ENOTFOUND")
  end
  if #names > 1 then
    data.fail(("'%s' defines several workflows; name one: lunation run %s NAME (%s)"):format(file, file, list), "LNT_EINVAL")
  end
  return names[1]
end

-- ---- Progress ----

local GLYPHS = { ActivityCompleted = "✓", ActivityFailed = "✗", ActivityRetried = "↻", TimerFired = "⏰", EventRaised = "✉",
  ChildCompleted = "✓", ChildFailed = "✗", ChildRetried = "↻", ContinuedAsNew = "⟳" }
local CALLS = { ActivityScheduled = true, ChildScheduled = true }

--- A line for each step that ends.
local function progress(began_us)
  local names, begins = {}, {}
  return function(event)
    if CALLS[event.kind] then names[event.seq], begins[event.seq] = event.name, event.time_us end
    if event.kind == "EventAwaited" then out.say(out.paint(2, "dim", ("  … waits for the event '%s'"):format(event.name))) end
    if event.kind == "TimerCreated" and event.due_us then
      out.say(out.paint(2, "dim", ("  … waits until %s"):format(out.time(event.due_us))))
    end
    local glyph = GLYPHS[event.kind]
    if not glyph then return end
    local took = begins[event.seq] and "  " .. out.duration(event.time_us - begins[event.seq]) or ""
    local name = event.name or names[event.seq] or event.kind == "TimerFired" and "timer" or ""
    if event.kind == "ContinuedAsNew" then name = "continues as new" end
    local colour = event.kind:find("Failed$") and "red" or event.kind:find("Completed$") and "green" or "yellow"
    out.say(("  %s %s%s%s"):format(out.paint(2, colour, glyph), name, out.paint(2, "dim", took),
      out.paint(2, "dim", ("  at %s"):format(out.duration(math.max(0, event.time_us - began_us))))))
  end
end

-- ---- Following ----

local OVER = { COMPLETED = true, FAILED = true, TERMINATED = true, CANCELED = true, STALLED = true }

--- Nothing would ever move, and while this process has the directory nobody could resume it.
local function refuse_suspended(rt, id)
  local description = lunation.json_decode(data.check(rt:describe(id, { json = true })))
  data.fail(("'%s' is %s\nfirst: lunation resume %s"):format(id, description.reason, id), "LNT_EAGAIN")
end

--- Start the instance, or say that it goes on. Answers its id.
local function begin(rt, parsed, input)
  local name = choose(rt, parsed[1], parsed[2])
  local known = parsed.id and rt:get(parsed.id, { json = true })
  if not known then
    return (data.check(rt:start(name, { id = parsed.id, input_json = input })))
  end
  if known.workflow ~= name then
    local message = "the instance '%s' is of the workflow '%s', not '%s'; choose another --id"
    data.fail(message:format(parsed.id, known.workflow, name), "LNT_EEXIST")
  end
  if input and sys.plain_json(input) ~= (known.input or "null") then
    local message = "the instance '%s' exists, with another input; leave --input out to go on with it, or choose another --id"
    data.fail(message:format(parsed.id), "LNT_EEXIST")
  end
  if known.status == "SUSPENDED" then refuse_suspended(rt, parsed.id) end
  if not parsed.quiet and not OVER[known.status] then
    out.say(("%s goes on (%d events so far)"):format(parsed.id, known.history_events))
  end
  return parsed.id
end

--- Drive the runtime until the instance is over or a signal comes. Answers the signal, if one came.
local function follow(rt, id, show)
  local guard = sys.guard(rt)
  local began_us = sys.now_us()
  local step = show and progress(began_us)
  rt:observe(function(of, status, event)
    if of ~= id then return end
    if step then step(event) end
    if OVER[status] then rt:stop() end
  end)
  local known = rt:get(id)
  if known and known.status == "STALLED" then rt:drain(5) end -- the code may be mended: let it try
  known = rt:get(id)
  local ran, message, code = true, nil, nil
  if not (known and OVER[known.status]) then ran, message, code = rt:run() end
  local signal = guard:signal()
  rt:observe(nil)
  guard:close()
  if not ran then data.fail(message, code) end
  return signal
end

function run.run(parsed)
  local input = data.json("input", parsed.input)
  if sys.kind(parsed[1]) ~= "file" then
    local kind, why = sys.kind(parsed[1])
    data.fail(("cannot load '%s': %s"):format(parsed[1], kind and "it is a folder; `lunation serve` runs folders" or why), "LNT_ENOTFOUND")
  end
  local rt = data.open(parsed)
  data.load(rt, parsed[1])
  local id = begin(rt, parsed, input)
  local show = not parsed.quiet and not parsed.json and (parsed.verbose or sys.isatty(2))
  if show then out.say(out.paint(2, "bold", id)) end
  local signal = follow(rt, id, show)
  local instance = rt:get(id, { json = true })
  local interrupted = signal and not (instance and OVER[instance.status])
  local code = not interrupted and outcome.report(instance, parsed)
  io.stdout:flush()
  data.close(rt) -- may wait for a worker thread: what became of the instance stands there before
  if interrupted then
    error({ exit = 130, code = "LNT_EAGAIN", calm = true, message = ("stopped; to go on: lunation run %s %s--id %s"):format(parsed[1],
      parsed[2] and parsed[2] .. " " or "", id) }, 0)
  end
  return code
end

return run
