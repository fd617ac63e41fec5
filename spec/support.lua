-- support.lua: what the Lua specs share: temporary folders, running the program, a server in the background, waiting for a condition.
local support = {}

support.program = os.getenv("LUNATION_BIN") or os.getenv("LUNATION") or "build/lunation"
local build = support.program:match("^(.*)/[^/]*$") or "."
package.cpath = build .. "/lua/?.so;" .. package.cpath

local DEADLINE_S = 60 -- for what must happen; a machine that is slow is no failure

local function quote(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

support.quote = quote

function support.read(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local text = file:read("*a")
  file:close()
  return text
end

function support.write(path, text)
  local file = assert(io.open(path, "wb"))
  assert(file:write(text))
  file:close()
  return path
end

local function output_of(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read("*a")
  pipe:close()
  return (text:gsub("\n$", ""))
end

support.output_of = output_of

local folders = {}

--- A new temporary folder; support.clean() removes it.
function support.folder()
  local path = output_of("mktemp -d")
  assert(path ~= "")
  folders[#folders + 1] = path
  return path
end

--- Remove the temporary folders: for after_each.
function support.clean()
  for _, path in ipairs(folders) do os.execute("rm -rf " .. quote(path)) end
  folders = {}
end

--- Run a shell command. Answers {code =, out =, err =}.
function support.shell(command, stdin)
  local folder = output_of("mktemp -d")
  support.write(folder .. "/in", stdin or "")
  os.execute(("{ %s\n} <%s/in >%s/out 2>%s/err; echo $? >%s/code"):format(command, folder, folder, folder, folder))
  local function part(name) return support.read(folder .. "/" .. name) end
  local result = { code = tonumber(part("code")), out = part("out"), err = part("err") }
  os.execute("rm -rf " .. quote(folder))
  return result
end

--- Run the program with a list of arguments.
function support.lunation(arguments, stdin)
  local words = { quote(support.program) }
  for _, word in ipairs(arguments) do words[#words + 1] = quote(word) end
  return support.shell(table.concat(words, " "), stdin)
end

local clock = require("ffi")
clock.cdef "int usleep(unsigned int useconds);"

--- Look again until `condition` answers something true, and answer it. Fails when it never does.
function support.wait_until(condition, what)
  local deadline = os.time() + DEADLINE_S
  repeat
    local result = condition()
    if result then return result end
    clock.C.usleep(5000)
  until os.time() > deadline
  error("waited in vain for " .. what, 2)
end

--- Run the program in the background. Answers {pid =, out =, err =} with the paths of its output.
function support.spawn(arguments)
  local folder = support.folder()
  local words = { quote(support.program) }
  for _, word in ipairs(arguments) do words[#words + 1] = quote(word) end
  local pid = output_of(("%s </dev/null >%s/out 2>%s/err & echo $!"):format(table.concat(words, " "), folder, folder))
  return { pid = pid, out = folder .. "/out", err = folder .. "/err" }
end

--- Does the process run? One that ended and that nobody has collected yet does not; but its other threads may still be on their way out,
--- and its locks are held until the last of them is gone.
function support.alive(process)
  local state = (support.read("/proc/" .. process.pid .. "/stat") or ""):match("%) (%a)")
  if state ~= "Z" then return state ~= nil and state ~= "X" end
  return tonumber(output_of(("ls /proc/%s/task 2>/dev/null | wc -l"):format(process.pid))) > 1
end

--- Send a signal and wait for the end.
function support.stop(process, signal)
  os.execute(("kill -%s %s 2>/dev/null"):format(signal or "TERM", process.pid))
  support.wait_until(function() return not support.alive(process) end, "the end of process " .. process.pid)
end

--- `lunation serve folder --data dir`, listening.
function support.serve(folder, dir)
  local process = support.spawn({ "serve", folder, "--data", dir })
  process.socket = dir .. "/lunation.sock"
  support.wait_until(function()
    if (support.read(process.out) or ""):find("listening on", 1, true) then return true end
    if not support.alive(process) then error("the server ended: " .. (support.read(process.err) or "")) end
  end, "the server")
  return process
end

-- Without a sanitizer's library, which the tests may have loaded into everything: curl hangs under it.
support.curl = "env -u LD_PRELOAD curl -s --max-time 60"

--- A request through curl. Answers the HTTP status and the body.
function support.http(process, method, path, body)
  local data = body and " --data-binary " .. quote(body) or ""
  local text = output_of(("%s -g --path-as-is -w '\\n%%{http_code}' -X %s%s --unix-socket %s %s"):format(support.curl, method, data,
    quote(process.socket), quote("http://localhost" .. path)))
  local reply, status = text:match("^(.*)\n(%d+)$")
  return tonumber(status), reply
end

--- The same of a JSON answer. Answers the HTTP status, the decoded body, and its text.
function support.request(process, method, path, body)
  local status, text = support.http(process, method, path, body)
  return status, require("lunation").json_decode(text), text
end

return support
