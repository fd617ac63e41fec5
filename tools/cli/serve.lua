-- serve.lua: `lunation serve`: a folder of workflows, run until SIGTERM or SIGINT, reachable over HTTP on a Unix socket.
local data = require "data"
local fits = require "fits"
local lunation = require "lunation"
local out = require "out"
local sys = require "sys"
local telling = require "telling"

local serve = {
  name = "serve",
  summary = "Run the workflows of a folder until stopped, and answer requests",
  usage = "serve DIR [--policy POLICY] [--data DIR]",
  about = [[
Loads every *.lua file of DIR; a file that does not load is reported, the others run. Everything unfinished in the data directory
goes on: on the code it has, or on what DIR holds now, where its workflow says so (on_reload) or --policy does. The server answers
HTTP/1.1 with JSON on the socket lunation.sock in the data directory; the other commands use it too. SIGTERM or SIGINT (Ctrl-C) stop it;
nothing is lost.]],
  arguments = { 1, 1 },
  options = {
    { "--policy POLICY", "pin, adopt or all_or_nothing, for every workflow: what becomes of instances on other code" },
    { "--durability MODE", "sync (default; survives a power cut) or process (survives a crash)" },
    { "--workers N", "threads for activities that block (default 2)" },
    { "--paranoid", "for developers: run each turn twice, and stall who does not do the same both times" },
    { "--quiet", "no line per start and finish, and only warnings from the log" },
    { "--verbose", "the whole log" },
  },
  examples = [[
  lunation serve workflows
  curl --unix-socket .lunation/lunation.sock http://localhost/v1/workflows
  curl --unix-socket .lunation/lunation.sock -d '{"name": "Ada"}' http://localhost/v1/workflows/hello/start?id=ada]],
}

--- Load the folder. Instances of before are moved, or not, by the policies; that takes its time, and is told of.
local function load_all(rt, parsed, policy)
  local tell, broken = telling.teller(parsed), 0
  local stop, message, code = rt:watch(parsed[1], function(event)
    if event.kind == "broken" then
      broken = broken + 1
      out.say(out.paint(2, "red", "not loaded: "), event.message)
    elseif event.kind ~= "loaded" and not parsed.quiet then
      tell(event)
    end
  end, { policy = policy, once = true })
  if not stop then data.fail(("cannot serve '%s': %s"):format(parsed[1], message), code) end
  return broken
end

local WORDS = {
  Started = "started", Completed = "completed", Failed = "FAILED", Canceled = "canceled", Terminated = "terminated", Stalled = "STALLED",
  Resumed = "resumed",
}
local COLOURS = { Completed = "green", Failed = "red", Terminated = "red", Stalled = "yellow" }

local function reporter(parsed)
  return function(id, status, event)
    if parsed.json then
      io.write(out.object("id", id, "status", status, "event", out.raw(out.event(event))), "\n")
    elseif not parsed.quiet then
      local failed = event.kind == "Failed" or event.kind == "Stalled"
      local more = failed and "  " .. out.failure(event.value) or event.kind == "Started" and "  " .. (event.name or "") or ""
      local time = os.date("%H:%M:%S", math.floor(event.time_us / 1e6))
      io.write(time, "  ", out.paint(1, COLOURS[event.kind], WORDS[event.kind]), "  ", id, more, "\n")
    end
  end
end

local function announce(rt, parsed, socket, broken)
  local names = {}
  for _, workflow in ipairs(rt:workflows() or {}) do names[#names + 1] = workflow.name end
  table.sort(names)
  if parsed.json then
    io.write(out.object("serving", parsed[1], "data", data.dir(parsed), "socket", socket, "workflows", #names, "broken", broken), "\n")
    return
  end
  io.write(("Lunation %s serves %d workflow%s of %s: %s\n"):format(lunation.version, #names, #names == 1 and "" or "s", parsed[1],
    #names > 0 and table.concat(names, ", ") or "none"))
  local advice = parsed.watched and "mend and save" or "mend and start again"
  if broken > 0 then io.write(("%d file%s did not load; %s\n"):format(broken, broken == 1 and "" or "s", advice)) end
  io.write("listening on ", socket, "\n")
end

--- Run what there is, and what `load(rt)` loads, until stopped; it answers how many files are broken.
function serve.host(parsed, load)
  if sys.kind(parsed[1]) ~= "folder" then
    local kind, why = sys.kind(parsed[1])
    data.fail(("cannot serve '%s': %s"):format(parsed[1], kind and "it is a file; `lunation run` runs one file" or why), "LNT_ENOTFOUND")
  end
  io.stdout:setvbuf("line")
  local rt = data.open(parsed)
  local broken = load(rt)
  local socket = data.socket(data.dir(parsed))
  local server = data.check(sys.http(rt, socket))
  local guard = sys.guard(rt) -- after the last thing that may fail
  sys.watch(rt, server, reporter(parsed))
  announce(rt, parsed, socket, broken)
  local ran, message, code = rt:run()
  if ran and not parsed.json then io.write("stopping: what is unfinished goes on at the next start\n") end
  rt:flush() -- answers who waits for a commit; close() tells whether it failed
  rt:observe(nil)
  server:close()
  guard:close()
  data.close(rt)
  if not ran then data.fail(message, code) end
  return 0
end

function serve.run(parsed, command)
  local policy = fits.policy(parsed, command)
  return serve.host(parsed, function(rt) return load_all(rt, parsed, policy) end)
end

return serve
