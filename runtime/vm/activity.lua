-- activity.lua - what activities stand on: how a file is loaded for its activities, the body of every coroutine, and the helpers of
-- `act`. Embedded in the library; activity.c runs it once per activity VM, with C functions, the module path and the standard library's
-- folder. What authors read about the helpers is in stdlib/meta/activity.lua.
--
-- Everything that a helper opens is held under the serial of its attempt (`hold`), so that an attempt that ends in any way leaves nothing
-- open. `in_flight` counts what libuv still owes a callback; `close` waits for it.
local C, module_path, stdlib_path = ...

local READ_BYTES_MAX = 64 * 1024 * 1024    -- one act:read_file
local READ_CHUNK_BYTES_MAX = 1024 * 1024
local OUTPUT_BYTES_MAX = 16 * 1024 * 1024  -- stdout, and stderr, of one act:run, unless it says otherwise
local SLEEP_MAX_S = 366 * 24 * 3600
local ACTIVITIES_PER_FILE_MAX = 10000
local QUEUED_BYTES_MAX = 256 * 1024        -- of a child's output that waits to be taken
local CONCURRENCY_MAX = 1000000
local RATE_COUNT_MAX = 100000
local KILL_AFTER_MS = 5000                 -- from SIGTERM to SIGKILL
local CLOSE_MS = 5000                      -- how long the VM waits for libuv at its end
local POLL_MS = 50                         -- how often a blocking wait looks whether it is canceled

local values = require("lunation.values")
local type, pairs, ipairs, tostring, error, pcall = type, pairs, ipairs, tostring, error, pcall
local setmetatable, getmetatable, select, next = setmetatable, getmetatable, select, next
local concat, sort, format, ceil, getinfo = table.concat, table.sort, string.format, math.ceil, debug.getinfo
local take, finish, enter, pause, wake = C.take, C.finish, C.enter, C.pause, C.wake
local global_require, load, searchpath, io_open = require, load, package.searchpath, io.open

jit.off(true, true) -- glue around C functions: traces of it would only be in the way
package.preload.luv = function()
  error("the module luv cannot be used in activities; wait with the helpers of `act`", 0)
end

rawset(os, "exit", function()
  error("os.exit is not available in an activity: it would end the host; return a result or raise an error", 2)
end)

rawset(debug, "sethook", function()
  error("debug.sethook is not available in an activity: the runtime's watchdog has the hook", 2)
end)

-- Where the watchdog bounds a computation the compiler stays off, and two places where its hook cannot fire are closed: a handler of
-- xpcall while it unwinds, and the end of a stack that overflows again and again.
if C.watched then
  local stopping, look, raw_pcall, raw_xpcall = C.stopping, C.look, pcall, xpcall

  local function settle(ok, ...)
    if not ok then look() end
    return ok, ...
  end

  rawset(jit, "on", function() end)
  rawset(_G, "pcall", function(f, ...) return settle(raw_pcall(f, ...)) end)
  rawset(_G, "xpcall", function(f, handler, ...)
    if type(handler) ~= "function" then return raw_xpcall(f, handler, ...) end
    return settle(raw_xpcall(f, function(...)
      if stopping() then return ... end
      return handler(...)
    end, ...))
  end)
end

local P, uv = {}, nil

---- Failures ----

local function fail(kind, message, details, retryable)
  error(values.failure({ type = kind, message = message, details = details, retryable = retryable }), 0)
end

local function fail_io(what, text)
  text = tostring(text)
  fail("IOError", what .. ": " .. (text:match("^%u%w+: [^:]+") or text), { code = text:match("^(%u%w+)") })
end

local function misuse(field, text)
  values.invalid(field, text, 3)
end

---- Waiting ----

local close, after   -- of handles and timers of libuv
local held = {}      -- serial -> { [release] = true, limited = true? }
local in_flight = 0

-- Run `cleanup` once: when the function returned is called, or when the attempt ends.
local function hold(serial, cleanup)
  local set = held[serial]
  if not set then
    set = {}
    held[serial] = set
  end
  local function release()
    if set[release] then
      set[release] = nil
      cleanup()
    end
  end
  set[release] = true
  return release
end

function P.abandon(serial)
  local set = held[serial]
  held[serial] = nil
  if set then set.limited = nil end
  while set and next(set) do
    local release = next(set)
    pcall(release)
    set[release] = nil
  end
end

local acts = setmetatable({}, { __mode = "v" }) -- serial -> `act`, of those that have hooks

-- From here on the attempt knows that it is canceled; its hooks are called once. Answers why.
local function tell_once(serial)
  local reason, left_ms, told = C.tell(serial)
  local act = not told and acts[serial]
  for _, hook in ipairs(act and act[2] or {}) do
    local ok, problem = pcall(hook, reason)
    if not ok then C.log(serial, 2, "a function given to act:on_cancel raised an error: " .. tostring(problem)) end
  end
  return reason, left_ms
end

-- What waits when its time to clean up is over is dropped.
local function limit(serial, left_ms)
  if not uv or (held[serial] and held[serial].limited) then return end
  local timer
  local release = hold(serial, function() close(timer) end)
  held[serial].limited = true
  timer = after(left_ms, function()
    release()
    C.expire(serial)
  end)
end

local function fail_canceled(serial)
  local reason, left_ms = tell_once(serial)
  limit(serial, left_ms)
  fail("Canceled", "the activity was canceled: its answer is no longer wanted", { reason = reason }, false)
end

P.canceled = fail_canceled

-- Wait until `done(...)` was called by a callback of libuv; its values are what await returns. `begin(done)` starts the work and returns
-- a function that gives it up, or nothing if it cannot be given up (then it ends soon by itself). done() answers whether the attempt is
-- still there.
local function await(self, begin)
  local serial = self[1]
  local strikes, left_ms = enter(serial)
  if strikes then fail_canceled(serial) end
  if left_ms then limit(serial, left_ms) end
  local ended, a, b = false, nil, nil
  local give_up = begin(function(x, y)
    if not ended then
      ended, a, b = true, x, y
      return wake(serial)
    end
  end)
  while not ended do
    if pause(serial) and give_up and not ended then
      ended = true
      give_up()
      fail_canceled(serial)
    end
  end
  return a, b
end

function close(handle)
  if not handle:is_closing() then
    in_flight = in_flight + 1
    handle:close(function() in_flight = in_flight - 1 end)
  end
end

-- One request to the file system, start(callback): its problem as text or nil, its result. `late(result)` takes back what came after the
-- attempt had ended.
local function try(self, start, late)
  return await(self, function(done)
    local started, text = start(function(err, value)
      in_flight = in_flight - 1
      if done(err, value) == false and late and value then late(value) end
    end)
    if started then in_flight = in_flight + 1 else done(text) end
  end)
end

-- The same for what must succeed.
local function request(self, what, start, late)
  local problem, result = try(self, start, late)
  if problem then fail_io(what, problem) end
  return result
end

-- A timer that is closed when it has fired; close() it to stop it before.
function after(ms, fn)
  local timer = uv.new_timer()
  uv.update_time()
  timer:start(ms, 0, function()
    close(timer)
    fn()
  end)
  return timer
end

---- Arguments ----

local function ms_of(duration, what)
  local seconds = values.seconds(duration)
  if not seconds or not (seconds >= 0 and seconds <= SLEEP_MAX_S) then
    values.invalid(what:match(": (%w+)$") or "duration", format("%s: a duration is wanted, as seconds (1.5) or text (\"500ms\", \"10s\", "
      .. "\"24h\"), at most 366 days; got %s", what, tostring(duration)), 3)
  end
  return ceil(seconds * 1000)
end

local function check_string(what, field, value, may_hold_zero)
  if type(value) ~= "string" then values.invalid(field, format("%s: text is wanted, got %s", what, type(value)), 3) end
  if not may_hold_zero and value:find("%z") then values.invalid(field, what .. ": the text holds a zero byte", 3) end
end

---- The helpers of `act` ----

local act = {}
local Act -- the metatable of each attempt's

local function is_act(value)
  return getmetatable(value) == Act
end

function act.canceled(self)
  if not C.canceled(self[1]) then return false end
  return true, (tell_once(self[1]))
end

function act.on_cancel(self, fn)
  if type(fn) ~= "function" then misuse("fn", "act:on_cancel: a function is wanted, got " .. type(fn)) end
  local serial = self[1]
  C.canceled(serial) -- refuses an `act` of another attempt
  if not self[2] then rawset(self, 2, {}) end
  self[2][#self[2] + 1] = fn
  acts[serial] = self
end

function act.heartbeat(self, details)
  if not C.heartbeat(self[1], details) then return false end
  return true, (tell_once(self[1]))
end

function act.complete_later(self)
  return C.later(self[1])
end

local LEVELS = { debug = 0, info = 1, warn = 2, error = 3 }

function act.log(self, text, level)
  C.log(self[1], LEVELS[level or "info"] or misuse("level", "act:log: the level is debug, info, warn or error"), tostring(text))
end

function act.sleep(self, duration)
  local ms = ms_of(duration, "act:sleep")
  await(self, function(done)
    local timer
    local release = hold(self[1], function() close(timer) end)
    timer = after(ms, function()
      release()
      done()
    end)
    return release
  end)
end

local function close_file(fd)
  if uv then uv.fs_close(fd) end
end

-- Open a file and hold it: fd, release.
local function open_file(self, what, path, flags, mode)
  local fd = request(self, what, function(cb) return uv.fs_open(path, flags, mode or 438, cb) end, close_file)
  return fd, hold(self[1], function() close_file(fd) end)
end

local function read_all(self, what, fd)
  local stat = request(self, what, function(cb) return uv.fs_fstat(fd, cb) end)
  local regular, parts, size = stat.type == "file" and stat.size > 0, {}, 0
  while true do
    local want = regular and math.max(stat.size - size, 0) + 1 or 65536
    if want > READ_CHUNK_BYTES_MAX then want = READ_CHUNK_BYTES_MAX end
    local data = request(self, what, function(cb) return uv.fs_read(fd, want, -1, cb) end)
    size = size + #data
    if size > READ_BYTES_MAX then
      fail("LimitExceeded", format("%s: it has more than %d bytes; read it in pieces with io.open", what, READ_BYTES_MAX), nil, false)
    end
    parts[#parts + 1] = data
    if #data == 0 or (regular and #data < want and size >= stat.size) then return #parts == 1 and data or concat(parts) end
  end
end

function act.read_file(self, path)
  check_string("act:read_file", "path", path)
  local what = "cannot read " .. path
  local fd, release = open_file(self, what, path, "r")
  local data = read_all(self, what, fd)
  release()
  return data
end

local function write_all(self, what, fd, data)
  local at = 1
  while at <= #data do
    local piece = at == 1 and #data <= READ_CHUNK_BYTES_MAX and data or data:sub(at, at + READ_CHUNK_BYTES_MAX - 1)
    at = at + request(self, what, function(cb) return uv.fs_write(fd, piece, -1, cb) end)
  end
  request(self, what, function(cb) return uv.fs_fsync(fd, cb) end)
end

local function folder_of(path)
  return path:match("^(.*[^/])/+[^/]*$") or (path:sub(1, 1) == "/" and "/" or ".")
end

-- So that the name of a new file survives a power cut, too. Not every file system can; then there is nothing to be done.
local function sync_folder(self, path)
  local folder = folder_of(path)
  local fd, release = open_file(self, "cannot open " .. folder, folder, "r")
  try(self, function(cb) return uv.fs_fsync(fd, cb) end)
  release()
end

-- The stat of a path, or nil if there is nothing.
local function stat_of(self, what, path)
  local problem, stat = try(self, function(cb) return uv.fs_stat(path, cb) end)
  if not problem then return stat end
  if not problem:find("^ENOENT") and not problem:find("^ENOTDIR") then fail_io(what, problem) end
end

local temp_count = 0

-- A name beside `path` that nothing has.
local function temp_name(self, path)
  temp_count = temp_count + 1
  return format("%s.%d-%d-%.0f.tmp", path, C.pid(), temp_count, self[1])
end

function act.write_file(self, path, data)
  check_string("act:write_file", "path", path)
  check_string("act:write_file", "data", data, true)
  local what = "cannot write " .. path
  local old = stat_of(self, what, path)
  local temp = temp_name(self, path)
  local fd, release = open_file(self, what, temp, "wx", old and old.mode % 4096 or 438)
  local keep_temp = false
  local release_temp = hold(self[1], function() if not keep_temp then uv.fs_unlink(temp) end end)
  write_all(self, what, fd, data)
  release()
  request(self, what, function(cb) return uv.fs_rename(temp, path, cb) end)
  keep_temp = true
  release_temp()
  sync_folder(self, path)
end

function act.append_file(self, path, data)
  check_string("act:append_file", "path", path)
  check_string("act:append_file", "data", data, true)
  local what = "cannot append to " .. path
  local fd, release = open_file(self, what, path, "a")
  write_all(self, what, fd, data)
  release()
end

function act.list_dir(self, path)
  check_string("act:list_dir", "path", path)
  local found = request(self, "cannot list " .. path, function(cb) return uv.fs_scandir(path, cb) end)
  local entries = {}
  while true do
    local name, kind = uv.fs_scandir_next(found)
    if not name then break end
    entries[#entries + 1] = { name = name, type = kind or "unknown" }
  end
  sort(entries, function(a, b) return a.name < b.name end)
  return entries
end

function act.stat(self, path)
  check_string("act:stat", "path", path)
  local stat = stat_of(self, "cannot stat " .. path, path)
  if not stat then return nil end
  return { type = stat.type, size = stat.size, mode = stat.mode % 4096, mtime = stat.mtime.sec + stat.mtime.nsec / 1e9 }
end

---- Child processes ----

-- A child: handle, pid, pipes; `queue` of {stream, data} that nobody has taken yet; `wake`, called when something happened; `group`: it is
-- the leader of a process group, which ends with it; code and signal once it has ended; `stopping`, why it was told to end; finished.
local children = {} -- those that have not ended

local function close_pipes(child)
  for _, pipe in ipairs(child.pipes) do close(pipe) end
end

local function stop_timer(child)
  if child.timer then close(child.timer) end
  child.timer = nil
end

-- It has ended, and its output was read, or is not wanted any more.
local function child_done(child)
  if child.code and (child.open == 0 or child.stopping) and not child.finished then
    child.finished = true
    stop_timer(child)
    child.wake()
  end
end

local function kill_child(child, signal)
  if child.group then uv.kill(-child.pid, signal) elseif not child.code then child.handle:kill(signal) end
end

-- SIGTERM now, SIGKILL if that does not help. The handle stays until the process has ended, so that it is reaped. If it has ended
-- already, then something that it started holds its output open.
local function stop(child, reason)
  if child.finished or child.stopping then return end
  child.stopping = reason
  stop_timer(child)
  close_pipes(child)
  kill_child(child, "sigterm")
  if child.code then
    child_done(child)
    return
  end
  child.timer = after(child.grace_ms, function()
    child.timer = nil
    kill_child(child, "sigkill")
  end)
end

local function on_exit(child, code, signal)
  in_flight = in_flight - 1
  children[child] = nil
  child.code, child.signal = code, signal
  if child.stopping then
    stop_timer(child)
    if child.group then kill_child(child, "sigkill") end -- what it left behind
  end
  close(child.handle)
  child_done(child)
end

-- Reading stops while too much waits to be taken.
local function read_pipe(child, pipe, stream)
  local size = 0
  local function on_read(err, data)
    if not data or err then
      close(pipe)
      child.open = child.open - 1
      return child_done(child)
    end
    size = size + #data
    if size > child.output_max then return stop(child, "output") end
    child.queue[#child.queue + 1] = { stream, data }
    child.queued = child.queued + #data
    if child.queued > QUEUED_BYTES_MAX and not child.paused and child.takes then
      child.paused = true
      for _, each in ipairs(child.pipes) do if not each:is_closing() then each:read_stop() end end
    end
    if child.takes then child.wake() end
  end
  child.read[#child.read + 1] = function() if not pipe:is_closing() then pipe:read_start(on_read) end end
  pipe:read_start(on_read)
end

local function environment(extra)
  if extra == nil then return nil end
  local vars, list = uv.os_environ(), {}
  for name, value in pairs(extra) do
    vars[name] = value ~= false and tostring(value) or nil
  end
  for name, value in pairs(vars) do
    list[#list + 1] = name .. "=" .. value
  end
  return list
end

-- Start a process.
local function spawn(command, args, options, tell)
  local child = {
    queue = {}, queued = 0, read = {}, open = 2, wake = tell, takes = options.takes, group = options.group,
    output_max = options.output_bytes_max or OUTPUT_BYTES_MAX, grace_ms = options.grace_ms or KILL_AFTER_MS,
  }
  local input, text = C.text_file(options.stdin or "")
  if not input then fail("IOError", "cannot run " .. command .. ": no file for its standard input (" .. text .. ")") end
  local out, err = uv.new_pipe(false), uv.new_pipe(false)
  child.pipes = { out, err }
  local started, handle, pid = pcall(uv.spawn, command, {
    args = args, cwd = options.cwd, env = environment(options.env), stdio = { input, out, err }, detached = options.group,
  }, function(code, signal) on_exit(child, code, signal) end)
  C.close_fd(input)
  if not started or not handle then
    close_pipes(child)
    if not started then error(handle, 0) end
    fail_io("cannot run " .. command .. (options.cwd and " in " .. options.cwd or ""), pid)
  end
  in_flight = in_flight + 1
  child.handle, child.pid = handle, pid
  children[child] = true
  read_pipe(child, out, "stdout")
  read_pipe(child, err, "stderr")
  return child
end

-- Take what is there, and let more come.
local function take_output(child, each)
  local queue = child.queue
  child.queue, child.queued = {}, 0
  for _, item in ipairs(queue) do each(item[1], item[2]) end
  if child.paused and not child.stopping and #child.queue == 0 then
    child.paused = false
    for _, read in ipairs(child.read) do read() end
  end
end

-- Run a program to its end; answers the child. Options as of act:run, checked; and grace_ms, from SIGTERM to SIGKILL; group, it is the
-- leader of a process group that is stopped with it; takes(stream, data), called for each piece of output, which may wait.
local function run_child(self, command, args, options, timeout_ms)
  local child, release
  local function begin(tell)
    child = spawn(command, args, options, tell)
    release = hold(self[1], function() stop(child, "abandoned") end)
    if timeout_ms and not child.stopping then child.timer = after(timeout_ms, function()
      child.timer = nil
      stop(child, "timeout")
    end) end
  end
  repeat
    await(self, function(done)
      if not child then begin(done) end
      child.wake = done
      if child.finished or (child.takes and #child.queue > 0) then done() end
      return release
    end)
    if child.takes then
      local ok, problem = pcall(take_output, child, child.takes)
      if not ok then
        release()
        error(problem, 0)
      end
    end
  until child.finished and (#child.queue == 0 or not child.takes)
  release()
  return child
end

local function strings_of(args, what)
  local list = {}
  for i, arg in ipairs(args) do
    if type(arg) ~= "string" and type(arg) ~= "number" then
      values.invalid(format("args[%d]", i), format("%s: argument %d is a %s, not text", what, i, type(arg)), 3)
    end
    list[i] = tostring(arg)
  end
  return list
end

local function check_run_options(options)
  local known = { stdin = "string", cwd = "string", env = "table", output_bytes_max = "number" }
  for name, value in pairs(options) do
    if name ~= "timeout" and type(value) ~= known[name] then
      name = tostring(name)
      values.invalid(name, format("act:run: the option %s is %s", name, known[name] and "a " .. known[name] or "unknown"), 3)
    end
  end
  return options.timeout ~= nil and ms_of(options.timeout, "act:run: timeout") or nil
end

local function check_end(child, command, timeout)
  if child.stopping == "timeout" then
    fail("Timeout", format("%s ran longer than %s and was stopped", command, tostring(timeout)))
  end
  if child.stopping == "output" then
    fail("LimitExceeded", format("%s wrote more than %d bytes and was stopped (output_bytes_max)", command, child.output_max), nil, false)
  end
end

function act.run(self, command, args, options)
  check_string("act:run", "command", command)
  args, options = strings_of(args or {}, "act:run"), options or {}
  local timeout_ms = check_run_options(options)
  local child = run_child(self, command, args, options, timeout_ms)
  check_end(child, command, options.timeout)
  local output = { stdout = {}, stderr = {} }
  for _, item in ipairs(child.queue) do
    local parts = output[item[1]]
    parts[#parts + 1] = item[2]
  end
  return { code = child.code, signal = child.signal, stdout = concat(output.stdout), stderr = concat(output.stderr) }
end

---- What the standard library's modules for activities stand on: require "lunation.activity" ----

local closers = {} -- called when the VM ends

package.preload["lunation.activity"] = function()
  return {
    fail = fail, fail_io = fail_io, ms_of = ms_of, check_string = check_string,
    await = await, try = try, request = request, after = after, close = close,
    hold = function(self, cleanup) return hold(self[1], cleanup) end,
    open_file = open_file, write_all = write_all, sync_folder = sync_folder, folder_of = folder_of, temp_name = temp_name,
    strings_of = strings_of, run_child = run_child, check_end = check_end,
    uv = function() return uv end, -- nil before the first wait
    at_close = function(fn) closers[#closers + 1] = fn end,
    owe = function() -- the function returned is called when libuv has no callback of ours left
      in_flight = in_flight + 1
      return function() in_flight = in_flight - 1 end
    end,
    is_act = is_act,
  }
end

---- The body of every coroutine ----

Act = {
  __index = function(self, key) return act[key] or C.field(self[1], key) end,
  __newindex = function(_, key) error(format("`act` takes no fields of its own (%s)", tostring(key)), 2) end,
  __tostring = function() return "act" end,
}

-- Functions that take no `act`: none is made for them.
local plain = setmetatable({}, { __mode = "k" })

-- `finish` takes the result and rests until the next attempt. It is called in the tail position, so that a coroutine at rest holds no
-- input.
local function once()
  local fn, input, serial, details = take()
  if plain[fn] then return finish(fn(input)) end
  return finish(fn(input, setmetatable({ serial, heartbeat_details = details }, Act)))
end

function P.body()
  while true do once() end
end

---- Loading ----

local function folders(...)
  local list = {}
  for i = 1, select("#", ...) do
    for folder in (select(i, ...)):gmatch("[^;]+") do
      folder = folder:gsub("(.)/+$", "%1")
      list[#list + 1] = folder .. "/?.lua;" .. folder .. "/?/init.lua"
    end
  end
  return concat(list, ";")
end

local shared_path = folders(module_path, stdlib_path)
if shared_path ~= "" then package.path = shared_path .. ";" .. package.path end
package.cpath = C.native_dir() .. "/?.so;" .. package.cpath

local function compile(text, name, env)
  return load(text:gsub("^#[^\n]*", "", 1), "@" .. name, "t", env) -- a first line "#!..." is for the shell
end

local LOADING = {}

-- `require` of one loaded file: modules beside it and on the module path are loaded anew with each load of the file, so that a change of
-- theirs counts, and one file cannot disturb another. Everything else (C modules, built-in ones) is the state's. The file itself is no
-- module of its own: saga.lua may require "saga", the one of the standard library. `stored`: modules that come with the file,
-- {name = {file, text}}; no folder is searched for them.
local function read_module(found)
  local handle = io_open(found, "rb")
  local text = handle and handle:read("*a")
  if handle then handle:close() end
  if not text then error("the module cannot be read: " .. found, 0) end
  return text
end

local function make_require(env, file, stored)
  local loaded, own_folder = {}, folders(folder_of(file))
  local own_name = file:match("([^/]*)%.lua$")
  return function(name)
    check_string("require", "name", name)
    if loaded[name] == LOADING then error("the module " .. name .. " requires itself, directly or through others", 2) end
    if loaded[name] ~= nil then return loaded[name] end
    local found, tried, text = nil, "", nil
    if stored[name] then
      found, text = stored[name][1], stored[name][2]
    elseif package.loaded[name] == nil and package.preload[name] == nil then
      found, tried = searchpath(name, name == own_name and shared_path or own_folder .. ";" .. shared_path)
    end
    if not found then
      local ok, result = pcall(global_require, name)
      if not ok then error(tostring(result) .. (tried or ""), 0) end
      return result
    end
    local chunk, problem = compile(text or read_module(found), found, env)
    if not chunk then error(problem, 0) end
    loaded[name] = LOADING
    local ok, result = pcall(chunk, name, found)
    loaded[name] = nil
    if not ok then error(result, 0) end
    loaded[name] = result == nil and true or result
    return loaded[name]
  end
end

local function whole_number(value, max)
  return type(value) == "number" and value >= 1 and value <= max and value % 1 == 0
end

local RATE_HELP = "must be text such as \"10/s\" or \"100/5m\", or a table such as { 10, per = \"1m\" }; got "

-- Each puts an option into the definition, or answers what is wrong with it.
local OPTIONS = {}

function OPTIONS.blocking(definition, value)
  if type(value) ~= "boolean" then return "must be true or false; got " .. tostring(value) end
  definition.blocking = value
end

function OPTIONS.pure(definition, value)
  if type(value) ~= "boolean" then return "must be true or false; got " .. tostring(value) end
  definition.pure = value
end

function OPTIONS.concurrency(definition, value)
  if not whole_number(value, CONCURRENCY_MAX) then return "must be a whole number from 1; got " .. tostring(value) end
  definition.concurrency = value
end

function OPTIONS.rate(definition, value)
  local count, per
  if type(value) == "table" then
    count, per = value[1], values.seconds(value.per or 1)
  elseif type(value) == "string" then
    count, per = value:match("^%s*(%d+)%s*/%s*(.-)%s*$")
    count, per = tonumber(count), per and values.seconds(per:find("^%a") and "1" .. per or per)
  end
  if not per or not (per > 0 and per <= SLEEP_MAX_S) or not whole_number(count, RATE_COUNT_MAX) then
    return RATE_HELP .. tostring(value) .. format(" (at most %d starts in at most 366 days)", RATE_COUNT_MAX)
  end
  definition.rate_count, definition.rate_per_us = count, ceil(per * 1e6)
end

-- activity(name, [options,] fn) for one file: puts {name, fn, blocking =, pure =, concurrency =, rate_count =, rate_per_us =} into `list`.
local function make_activity(list)
  local names = {}
  return function(name, options, fn)
    if list.closed then error("activity(): it defines activities while the file loads, not later", 2) end
    if type(name) ~= "string" then error("activity(): the name is text, got " .. type(name), 2) end
    if fn == nil and type(options) == "function" then options, fn = {}, options end
    if type(fn) ~= "function" then error(format("activity(\"%s\"): a function is wanted, got %s", name, type(fn)), 2) end
    if type(options) ~= "table" then error(format("activity(\"%s\"): the options are a table, got %s", name, type(options)), 2) end
    local definition = { name, fn }
    for key, value in pairs(options) do
      local take_option = OPTIONS[key]
      local problem = not take_option and "is unknown; there are blocking, pure, concurrency and rate" or take_option(definition, value)
      if problem then error(format("activity(\"%s\"): the option %s %s", name, tostring(key), problem), 2) end
    end
    if names[name] then error(format("the activity \"%s\" is defined twice in this file", name), 2) end
    if #list >= ACTIVITIES_PER_FILE_MAX then error(format("a file defines at most %d activities", ACTIVITIES_PER_FILE_MAX), 2) end
    names[name] = true
    list[#list + 1] = definition
    local parameters = getinfo(fn, "u")
    plain[fn] = parameters.nparams < 2 and not parameters.isvararg or nil
  end
end

function P.load(file, source, base, stored)
  local list, env = {}, {}
  env._G = env
  env.activity = make_activity(list)
  env.workflow = function() end
  env.require = make_require(env, file, stored)
  setmetatable(env, { __index = _G })
  local chunk, problem = compile(source, base, env)
  if not chunk then error(problem, 0) end
  chunk(file)
  list.closed = true
  return list
end

---- The loop ----

local ticker, kicker

function P.open(luv)
  uv = luv
end

-- Without a loop of the host's: let things happen once; is anything still on its way?
function P.poll()
  if not ticker then
    ticker = uv.new_timer()
    ticker:start(POLL_MS, POLL_MS, function() end)
  end
  if in_flight > 0 or next(held) then uv.run("once") end
  return in_flight > 0
end

-- An attempt that waits was canceled. Make the loop call back once, soon: what is ready is resumed then.
function P.cancel(serial, left_ms)
  kicker = kicker or uv.new_timer()
  kicker:start(0, 0, function() end)
  limit(serial, left_ms)
end

function P.close()
  local serials = {}
  for serial in pairs(held) do serials[#serials + 1] = serial end
  for _, serial in ipairs(serials) do P.abandon(serial) end
  for _, closer in ipairs(closers) do pcall(closer) end
  for child in pairs(children) do kill_child(child, "sigkill") end
  if ticker then close(ticker) end
  if kicker then close(kicker) end
  local late = false
  local guard = after(CLOSE_MS, function() late = true end)
  while in_flight > 0 and not late do uv.run("once") end
  for child in pairs(children) do
    stop_timer(child)
    close(child.handle)
  end
  close(guard)
  for _ = 1, 100 do -- what is closing closes in one or two turns of the loop
    if in_flight > 0 then uv.run("nowait") end
  end
end

return P
