-- data.lua: how commands get at a data directory: opened here, or through the server that runs on it; and how they fail.
local args = require "args"
local lunation = require "lunation"
local out = require "out"
local sys = require "sys"

local data = {}

-- ---- Failures and exit codes ----

data.EXIT_CODES = {
  { 0, "success" },
  { 1, "the workflow failed, or was terminated or canceled; a query or an update failed" },
  { 2, "usage: an unknown command, a bad option, an argument or JSON that is not valid" },
  { 3, "not found: no such instance, workflow, file or data directory" },
  { 4, "conflict: the data directory is in use, the id is taken, the instance is finished (or is not, where it should be), the " ..
    "attempt is over" },
  { 5, "storage: it failed, is full, is damaged, is read-only, is not ours, or is of a newer format" },
  { 6, "code: a file does not load, or the instance is stalled because its code diverged" },
  { 7, "time ran out, or it is not possible just now" },
  { 8, "a limit was exceeded" },
  { 70, "a bug in Lunation" },
  { 130, "interrupted; what was running goes on when it is run again" },
}

local EXITS = {
  LNT_EINVAL = 2, LNT_EVALUE = 2, LNT_ENOTFOUND = 3, LNT_EBUSY = 4, LNT_EEXIST = 4, LNT_ECLOSED = 4, LNT_EOPEN = 4, LNT_EOVER = 4,
  LNT_EIO = 5, LNT_EFULL = 5, LNT_ECORRUPT = 5, LNT_EREADONLY = 5, LNT_ENOTOURS = 5, LNT_EVERSION = 5, LNT_ESYNTAX = 6,
  LNT_EDIVERGED = 6, LNT_ETIMEOUT = 7, LNT_EAGAIN = 7, LNT_EFAILED = 1, LNT_ELIMIT = 8, LNT_ENOMEM = 8,
}

--- End the command with a message. main.lua catches it, prints it and exits.
function data.fail(message, code)
  error({ exit = EXITS[code] or 70, code = code, message = message }, 0)
end

--- Pass results on, or fail with `nil, message, code`.
function data.check(value, message, code)
  if value == nil then data.fail(message, code) end
  return value, message
end

-- ---- The directory ----

function data.dir(parsed)
  local given = parsed.data or os.getenv("LUNATION_DATA")
  return given and given ~= "" and given or ".lunation"
end

function data.socket(dir)
  return (sys.realpath(dir) or dir) .. "/lunation.sock"
end

local LEVELS = { debug = 0, info = 1, warn = 2, error = 3 }

--- A log function for lunation.open: lines to stderr. data.said is the last one, so that a failure need not repeat it.
function data.log(parsed)
  local least = parsed.verbose and 0 or parsed.quiet and 2 or 1
  return function(level, message, id)
    if LEVELS[level] < least then return end
    local colour = level == "error" and "red" or level == "warn" and "yellow" or "dim"
    out.say(out.paint(2, colour, ("%-5s"):format(level)), " ", id and id .. ": " or "", message)
    data.said = message
  end
end

local function open(options)
  local rt, message, code = lunation.open(options)
  if rt then return rt end
  if code == "LNT_EBUSY" and not options.read_only then
    message = message .. "\n`ls`, `show` and `history` read beside it; requests are taken by `lunation serve` alone: what `run` runs " ..
      "can be served instead (lunation serve DIR), and then `start`, `raise` and their like reach it"
  end
  data.fail(message, code)
end

--- Open for work: this process runs what is there.
function data.open(parsed)
  local durability = parsed.durability or "sync"
  if durability ~= "sync" and durability ~= "process" then
    data.fail("--durability must be sync or process, not '" .. durability .. "'", "LNT_EINVAL")
  end
  local workers = tonumber(parsed.workers or 2)
  if not workers or workers < 0 or workers > 1024 then
    data.fail("--workers must be a number from 0 to 1024, not '" .. parsed.workers .. "'", "LNT_EINVAL")
  end
  return open({ dir = data.dir(parsed), committer = true, workers = workers, durability = durability, paranoid = parsed.paranoid,
    log = data.log(parsed) })
end

--- Open to add a request that another process will run.
function data.open_briefly(parsed)
  return open({ dir = data.must_exist(parsed), log = data.log(parsed) })
end

--- The same, making the directory where there is none.
function data.open_or_make(parsed)
  return open({ dir = data.dir(parsed), log = data.log(parsed) })
end

function data.must_exist(parsed)
  local dir = data.dir(parsed)
  local kind = sys.kind(dir)
  if not kind then
    local message = "there is no data directory '%s'; name one with --data or LUNATION_DATA (`lunation run` and `lunation serve` make it)"
    data.fail(message:format(dir), "LNT_ENOTFOUND")
  end
  if kind ~= "folder" then data.fail(("'%s' is a file, not a data directory"):format(dir), "LNT_ENOTOURS") end
  return dir
end

--- Open to read, beside whoever runs it.
function data.open_to_read(parsed)
  return open({ dir = data.must_exist(parsed), read_only = true })
end

--- Close; what was accepted must be durable.
function data.close(rt)
  local closed, message, code = rt:close()
  if not closed then data.fail("closing the data directory: " .. message, code) end
end

--- Load a file, or fail with its message.
function data.load(rt, file)
  local kind, why = sys.kind(file)
  if kind ~= "file" then
    data.fail(("cannot load '%s': %s"):format(file, kind and "it is a folder; name one file of it" or why), "LNT_ENOTFOUND")
  end
  data.check(rt:load_file(file))
end

--- The JSON of an option: text, @file, or - for stdin. Checked; nil where it is not given.
function data.json(name, given)
  if not given then return nil end
  local text, where = given, "--" .. name
  if given == "-" then
    text, where = io.read("*a"), "stdin"
  elseif given:sub(1, 1) == "@" then
    where = given:sub(2)
    local file, why = io.open(where, "rb")
    if not file then data.fail(("cannot read --%s: %s"):format(name, why), "LNT_ENOTFOUND") end
    text = file:read("*a")
    file:close()
    if not text then data.fail(("cannot read --%s: '%s' is not a file"):format(name, where), "LNT_ENOTFOUND") end
  end
  local _, message, code = lunation.json_decode(text)
  if code then data.fail(("%s is not JSON: %s (text needs quotes: '\"like this\"')"):format(where, message), code) end
  return text
end

--- The value of NAME=VALUE: a JSON number, boolean or text in quotes as that; else the text as it stands.
local function attribute_value(text)
  local value = text:match('^[%d%-"tf]') and lunation.json_decode(text)
  if type(value) == "table" or value == nil then return text end
  return value
end

--- The attributes of the option --attr, or nil.
function data.attributes(parsed, command)
  if not parsed.attr then return nil end
  local attributes = {}
  for _, given in ipairs(parsed.attr) do
    local name, text = given:match("^([^=]+)=(.*)$")
    if not name then
      args.usage_error(command, ("lunation %s: --attr must be NAME=VALUE, not '%s'"):format(command.name, given))
    end
    attributes[name] = attribute_value(text)
  end
  return attributes
end

-- ---- The server ----

--- Percent-encode one segment or value of a URL.
function data.encode(text)
  return (text:gsub("[^%w%-._~]", function(c) return ("%%%02X"):format(c:byte()) end))
end

--- Is there a server on the data directory?
function data.served(parsed)
  local dir = data.must_exist(parsed)
  return sys.request(data.socket(dir), "GET", "/v1/health", nil, 10000) == 200
end

--- Fail unless there is a server.
function data.must_be_served(parsed)
  if data.served(parsed) then return end
  data.fail(("no server runs on '%s'; `lunation serve` is one"):format(data.dir(parsed)), "LNT_EINVAL")
end

--- Ask the server. Answers its JSON text; fails with its error. With `timeouts`, nil where the server says that time ran out.
function data.ask(parsed, method, path, body, timeouts)
  local status, text = sys.request(data.socket(data.dir(parsed)), method, path, body, 0)
  if not status then data.fail(("the server on '%s' does not answer: %s"):format(data.dir(parsed), text), "LNT_EIO") end
  if status < 300 then return text end
  local reply = lunation.json_decode(text)
  local problem = type(reply) == "table" and reply.error or { code = "LNT_EINTERNAL", message = text }
  if timeouts and problem.code == "LNT_ETIMEOUT" then return nil end
  if problem.failure then problem.message = out.failure(lunation.json_encode(problem.failure)) end
  data.fail(problem.message, problem.code)
end

return data
