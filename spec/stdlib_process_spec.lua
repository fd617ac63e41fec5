-- The module process: child processes of activities.
local support = require("stdlib_support")

local HEAD = 'local process = require "process"'

local function run(body, input) return support.in_activity(HEAD, body, input) end

local function alive(pid)
  local file = io.open("/proc/" .. pid .. "/stat")
  local state = file and file:read("*a"):match("%) (%a)")
  if file then file:close() end
  return state ~= nil and state ~= "Z" and state ~= "X"
end

describe("process.run", function()
  it("runs a program to its end, without a shell", function()
    assert.same({ code = 3, signal = 0, stdout = "in: $HOME a b\n", stderr = "oh\n" },
      run([[local script = "echo \"$(cat) $1 $2 $3\"; echo oh >&2; exit 3"
        return process.run(act, "sh", { "-c", script, "sh", "$HOME", "a", "b" }, { stdin = "in:" })]]))
  end)

  it("takes a folder and an environment", function()
    assert.equal("/tmp yes no\n", run([[
      return process.shell(act, 'echo "$PWD $THERE ${HOME-no}"', { cwd = "/tmp", env = { THERE = "yes", HOME = false } }).stdout]]))
  end)

  it("says why a program cannot be started", function()
    local e = run('local _, e = pcall(process.run, act, "no-such-program") return e')
    assert.same({ "IOError", "ENOENT" }, { e.type, e.details.code })
  end)

  it("makes an exit code a failure with check", function()
    local e = run([[
      local _, e = pcall(process.shell, act, "echo one >&2; echo the reason >&2; exit 7", { check = true })
      return e]])
    assert.same({ "ExitCode", "sh exited with code 7: the reason", 7 }, { e.type, e.message, e.details.code })
    assert.equal("sh was ended by signal 9", run('local _, e = pcall(process.shell, act, "kill -9 $$", { check = true }) return e.message'))
    assert.equal(0, run('return process.shell(act, "exit 0", { check = true }).code'))
  end)

  it("gives lines as they come, and goes on while the activity waits in between", function()
    assert.same({ { "stdout:1", "stdout:2", "stdout:", "stdout:last" }, true }, run([[
      local lines = {}
      local result = process.shell(act, "printf '1\\n2\\r\\n\\n'; printf last", { on_line = function(line, stream)
        lines[#lines + 1] = stream .. ":" .. line
        act:sleep("1ms")
      end })
      return { lines, result.stdout == nil }]]))
  end)

  it("holds a program back that writes faster than its lines are taken", function()
    local lines = os.getenv("LNT_GC_STRESS") and 60000 or 300000
    assert.same({ lines, lines }, run([[
      local count, last = 0, nil
      process.run(act, "seq", { 1, input }, { on_line = function(line)
        count, last = count + 1, tonumber(line)
        if count % 50000 == 0 then act:sleep("1ms") end
      end })
      return { count, last }]], lines))
  end)

  it("gives pieces as they come, of both streams", function()
    assert.same({ stdout = 100000, stderr = 3 }, run([[
      local sizes = { stdout = 0, stderr = 0 }
      process.shell(act, "head -c 100000 /dev/zero; printf abc >&2", { on_output = function(data, stream)
        sizes[stream] = sizes[stream] + #data
      end })
      return sizes]]))
  end)

  it("stops everything it has started when the time is over", function()
    local e = run([[
      local pid
      local _, e = pcall(process.shell, act, "sleep 1000 & echo $!; wait", { timeout = "300ms", on_line = function(line) pid = line end })
      return { e.type, e.message, pid }]])
    assert.same({ "Timeout", "sh ran longer than 300ms and was stopped" }, { e[1], e[2] })
    for _ = 1, 2000 do
      if not alive(e[3]) then break end
      os.execute("sleep 0.01")
    end
    assert.is_false(alive(e[3]))
  end)

  it("kills after the grace what does not obey", function()
    local started = os.time()
    assert.equal("Timeout", run([[
      local _, e = pcall(process.shell, act, "trap '' TERM; while :; do sleep 1; done", { timeout = "100ms", grace = "100ms" })
      return e.type]]))
    assert.is_true(os.time() - started < 30)
  end)

  it("stops a program that writes too much, or too long a line", function()
    local e = run('local _, e = pcall(process.shell, act, "yes", { output_bytes_max = 10000 }) return e')
    assert.same({ "LimitExceeded", "sh wrote more than 10000 bytes and was stopped (output_bytes_max)" }, { e.type, e.message })
    e = run('local _, e = pcall(process.shell, act, "yes | tr -d \'\\\\n\'", { on_line = function() end }) return e')
    assert.same({ "LimitExceeded", "sh wrote a line of more than 1048576 bytes" }, { e.type, e.message })
  end)

  it("stops a program whose output made the activity fail", function()
    local pid = run([[
      local pid
      local _, e = pcall(process.shell, act, "echo $$; exec sleep 1000", { on_line = function(line) pid = line error("no more") end })
      assert(e:find("no more"))
      return pid]])
    for _ = 1, 2000 do
      if not alive(pid) then break end
      os.execute("sleep 0.01")
    end
    assert.is_false(alive(pid))
  end)

  it("stops a program when the workflow gives the activity up", function()
    local rt = support.open(HEAD .. [[
      activity("long", function(path, act) process.shell(act, "echo $$ >" .. path .. "; exec sleep 1000") end)
      workflow("w", function(ctx, path) ctx:call_activity("long", path) end)]])
    local path = os.tmpname()
    assert(rt:start("w", { id = "i", input = path }))
    local pid
    for _ = 1, 5000 do
      assert(rt:tick())
      local file = io.open(path)
      pid = file and file:read("*l")
      if file then file:close() end
      if pid then break end
    end
    assert.is_true(alive(pid))
    assert(rt:terminate("i"))
    for _ = 1, 5000 do
      assert(rt:tick())
      if not alive(pid) then break end
      os.execute("sleep 0.002")
    end
    assert.is_false(alive(pid))
    rt:close()
    os.remove(path)
  end)

  it("works on a worker thread too", function()
    assert.same({ "a", "b" }, support.result(HEAD .. [[
      activity("it", { blocking = true }, function(_, act)
        local lines = {}
        process.shell(act, "echo a; echo b", { on_line = function(line) lines[#lines + 1] = line end })
        return lines
      end)
      workflow("w", function(ctx) return ctx:call_activity("it") end)]], nil, { workers = 1 }))
  end)

  it("refuses misuse at the author's line", function()
    local out = run([[
      local function message(fn) return select(2, pcall(fn)).message end
      return {
        message(function() local a = process.run("ls") return a end), message(function() local a = process.run(act, {}) return a end),
        message(function() local a = process.run(act, "ls", { {} }) return a end),
        message(function() local a = process.run(act, "ls", {}, { time = 1 }) return a end) }]])
    assert.matches("^story.lua:%d+: process.run: the first argument is the act of the activity", out[1])
    assert.matches("^story.lua:%d+: process.run: the program: text is wanted, got a table", out[2])
    assert.matches("^story.lua:%d+: process.run: the arguments%[1%]: text, or a number is wanted, got a table", out[3])
    assert.matches("^story.lua:%d+: process.run: unknown option time", out[4])
  end)
end)
