-- main.lua: picks the command, and turns its end into an exit code. Called by main.c with the arguments.
local args = require "args"
local data = require "data"
local lunation = require "lunation"
local out = require "out"
local sys = require "sys"

local COMMANDS = {
  { "run", "start one workflow and follow it to its end, or resume it" },
  { "serve", "run the workflows of a folder until stopped" },
  { "dev", "serve a folder and reload what is saved there" },
  { "start", "start an instance" },
  { "wait", "wait until an instance is finished" },
  { "ls", "list instances" },
  { "show", "show one instance" },
  { "history", "show what happened to an instance" },
  { "query", "ask an instance a question" },
  { "update", "ask an instance to do something and answer" },
  { "stream", "show what an instance emits" },
  { "raise", "deliver an event to an instance" },
  { "complete", "answer an activity that waits for somebody outside" },
  { "fail", "the same, with a failure" },
  { "heartbeat", "say that such an activity is alive" },
  { "suspend", "pause an instance" },
  { "resume", "let a suspended or stalled instance go on" },
  { "cancel", "ask an instance to clean up and end" },
  { "terminate", "stop an instance" },
  { "fork", "go on from an event of an instance, as a new one" },
  { "rerun", "do one step of a finished instance again, as a new one" },
  { "retry", "let a failed instance go on from its failure" },
  { "purge", "take finished instances out of the store" },
  { "export", "write an instance into a file, with its code" },
  { "import", "take an instance from a file" },
  { "replay", "replay an exported instance, with its own code or other code" },
  { "reload", "load a file again, trying it first on every instance" },
  { "migrate", "move instances to other code, if they fit it" },
  { "versions", "show which code there is, and who runs on it" },
  { "code", "show the sources of a version" },
  { "bench", "measure this machine" },
}

local function overview()
  local lines = {
    "Lunation runs durable workflows written in Lua: kill it at any moment, and it goes on.", "",
    "usage: lunation COMMAND [arguments] [--data DIR] [--json]", "", "Commands:",
  }
  for _, command in ipairs(COMMANDS) do lines[#lines + 1] = ("  %-10s  %s"):format(command[1], command[2]) end
  lines[#lines + 1] = "\nEach has its own help: lunation COMMAND --help. `lunation --version` tells the version."
  lines[#lines + 1] = "State is kept in one directory: --data DIR, else LUNATION_DATA, else .lunation here.\n"
  lines[#lines + 1] = "Exit codes:"
  for _, row in ipairs(data.EXIT_CODES) do lines[#lines + 1] = ("  %3d  %s"):format(row[1], row[2]) end
  lines[#lines + 1] = "\nA first try:\n  lunation run workflows/hello.lua --input '{\"name\": \"Ada\"}'\n  lunation ls\n"
  return table.concat(lines, "\n")
end

local function find_command(name)
  local names = {}
  for i, command in ipairs(COMMANDS) do
    names[i] = command[1]
    if command[1] == name then return require(name) end
  end
  local message = "lunation: there is no command '%s'%s\n`lunation --help` lists the commands"
  data.fail(message:format(name, args.hint(name, names)), "LNT_EINVAL")
end

local function version()
  local built = sys.compiler and (" (%s, %s)"):format(sys.compiler, sys.build_type) or ""
  io.write("lunation ", lunation.version, built, "\n")
  return 0
end

local function dispatch(given)
  local name = given[1]
  if not name or name == "--help" or name == "-h" or (name == "help" and not given[2]) then
    (name and io.stdout or io.stderr):write(overview())
    return name and 0 or 2
  end
  if name == "--version" or name == "version" then return version() end
  if name:sub(1, 1) == "-" then
    data.fail(("lunation: the command comes first, then its options: lunation COMMAND %s"):format(name), "LNT_EINVAL")
  end
  local command = find_command(name == "help" and given[2] or name)
  local parsed = name == "help" and { help = true } or args.parse(command, given, 2)
  if parsed.help then
    io.write(args.help(command))
    return 0
  end
  return command.run(parsed, command) or 0
end

local function wants_json(given)
  for _, word in ipairs(given) do
    if word == "--json" then return true end
  end
  return false
end

--- The message goes to stderr; with --json, as an object to stdout as well.
local function report(failure, given)
  local named = failure.calm or failure.message:match("^lunation") -- a usage message says whose it is
  if not (data.said and data.said:find(failure.message, 1, true)) then
    out.say(out.paint(2, "red", named and "" or "error: "), failure.message)
  end
  if wants_json(given) then
    io.write(out.object("error", out.raw(out.object("code", failure.code, "message", failure.message))), "\n")
  end
  return failure.exit
end

return function(given)
  local done, result = xpcall(dispatch, function(failure)
    if type(failure) == "table" and failure.exit then return failure end
    return { exit = 70, code = "LNT_EINTERNAL", message = debug.traceback("this is a bug of the program: " .. tostring(failure), 2) }
  end, given)
  if not done then result = report(result, given) end
  io.stdout:flush()
  return result
end
