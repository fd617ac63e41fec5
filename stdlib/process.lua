--- Child processes, for activities. Waits, does not block: other activities go on meanwhile.
---
---   local process = require "process"
---   local git = process.run(act, "git", { "log", "-1", "--format=%H" }, { cwd = folder, timeout = "1m", check = true })
---   process.run(act, "make", { "-j4" }, { on_line = function(line, stream) act:log(line) end })
---   process.shell(act, "sort words | uniq -c > counts", { cwd = folder })
---
--- A program is found through PATH and started without a shell. It leads a process group of its own: when the time is over, too much
--- output comes, the activity is canceled or raises an error, then it and all that it has started get SIGTERM, and after `grace` SIGKILL.
---
--- Failures: IOError (it cannot be started; details.code is "ENOENT" ...), Timeout, LimitExceeded, ExitCode (only with check = true;
--- details are { code, signal, stderr }), Canceled.
local lib = require "lunation.activity"
local lines = require "lunation.lines"
local options = require "lunation.options"

local process = {}

local STDERR_BYTES_KEPT = 4096 -- of the end of stderr, for the failure ExitCode

---@class ProcessOptions
---@field stdin? string default: nothing to read
---@field cwd? string
---@field env? table<string, string|number|false> added to the environment; false removes a variable
---@field timeout? Duration
---@field grace? Duration from SIGTERM to SIGKILL; default 5 s
---@field check? boolean an exit code other than 0 is a failure of type "ExitCode"
---@field output_bytes_max? integer of stdout, and of stderr; default 16 MB, no bound with on_line or on_output
---@field on_line? fun(line: string, stream: "stdout"|"stderr") for each line, without its end; may wait; nothing is collected then
---@field on_output? fun(data: string, stream: "stdout"|"stderr") the same for pieces as they come

---@class ProcessResult
---@field code integer exit code
---@field signal integer that ended it; 0: none
---@field stdout? string
---@field stderr? string

local KNOWN = {
  stdin = "string", cwd = "string", env = "table", timeout = "duration", grace = "duration", check = "boolean", output_bytes_max = "count",
  on_line = "function", on_output = "function",
}

local function line_sinks(command, on_line)
  local sinks = {}
  for _, stream in ipairs({ "stdout", "stderr" }) do
    sinks[stream] = lines(command .. " wrote", function(line) on_line(line, stream) end)
  end
  return sinks
end

local function last_line(text)
  return text:match("([^\n]+)%s*$") or ""
end

local function fail_exit(command, result, stderr)
  local how = result.signal ~= 0 and ("was ended by signal %d"):format(result.signal) or ("exited with code %d"):format(result.code)
  local said = last_line(stderr)
  lib.fail("ExitCode", ("%s %s%s"):format(command, how, said ~= "" and ": " .. said or ""),
    { code = result.code, signal = result.signal, stderr = stderr:sub(-STDERR_BYTES_KEPT) })
end

-- What run_child() is told of our options, and where the output goes.
local function plan(command, given)
  local sinks = given.on_line and line_sinks(command, given.on_line)
  local output = { stdout = {}, stderr = {} }
  local said = "" -- the end of stderr
  local streams = sinks or given.on_output
  local function takes(stream, data)
    if not streams then
      output[stream][#output[stream] + 1] = data
      return
    end
    if stream == "stderr" then said = (said .. data):sub(-STDERR_BYTES_KEPT) end
    if sinks then sinks[stream](data) end
    if given.on_output then given.on_output(data, stream) end
  end
  local function finish(child)
    for _, sink in pairs(sinks or {}) do sink(nil) end
    local result = { code = child.code, signal = child.signal }
    if not streams then result.stdout, result.stderr = table.concat(output.stdout), table.concat(output.stderr) end
    return result, result.stderr or said
  end
  return takes, finish
end

--- Run a program to its end.
---@param act Activity
---@param command string
---@param args? (string|number)[]
---@param given? ProcessOptions
---@return ProcessResult
function process.run(act, command, args, given)
  options.act("process.run", lib, act)
  options.argument("process.run: the program", "command", command, "string")
  if args ~= nil then options.list("process.run: the arguments", "args", args, "string|number") end
  given = options.check("process.run", given, KNOWN)
  local streams = given.on_line or given.on_output
  local takes, finish = plan(command, given)
  local child = lib.run_child(act, command, lib.strings_of(args or {}, "process.run"), {
    stdin = given.stdin, cwd = given.cwd, env = given.env, group = true, takes = takes,
    output_bytes_max = given.output_bytes_max or streams and math.huge or nil,
    grace_ms = given.grace and lib.ms_of(given.grace, "process.run: grace"),
  }, given.timeout and lib.ms_of(given.timeout, "process.run: timeout"))
  lib.check_end(child, command, given.timeout)
  local result, said = finish(child)
  if given.check and (result.code ~= 0 or result.signal ~= 0) then fail_exit(command, result, said) end
  return result
end

--- The same for a line of shell: pipes, redirections. Never build it from text that came from outside.
---@param act Activity
---@param text string
---@param given? ProcessOptions
---@return ProcessResult
function process.shell(act, text, given)
  options.act("process.shell", lib, act)
  options.argument("process.shell: the command line", "text", text, "string")
  return process.run(act, "sh", { "-c", text }, given)
end

return process
