-- cli_spec.lua: the program `lunation`, as somebody at a shell meets it.
local support = require "spec.support"
local lunation = require "lunation"

local FLOWS = [[
activity("greet", function(input) return "hello " .. (input and input.name or "you") end)
activity("explode", function() error({ type = "Boom", message = "it blew up" }) end)
workflow("greeter", function(ctx, input) return ctx:call_activity("greet", input) end)
workflow("waiter", function(ctx) return ctx:wait_for_external_event("go") end)
workflow("breaker", function(ctx) ctx:call_activity("explode") end)
]]

describe("lunation", function()
  local dir, file, servers

  local function cli(...) return support.lunation({ ... }) end
  local function with_data(...)
    local words = { ... }
    words[#words + 1] = "--data"
    words[#words + 1] = dir
    return support.lunation(words)
  end
  local function json(result) return (lunation.json_decode(result.out)) end

  before_each(function()
    local folder = support.folder()
    dir, file, servers = folder .. "/data", support.write(folder .. "/flows.lua", FLOWS), {}
  end)

  after_each(function()
    for _, server in ipairs(servers) do support.stop(server) end
    support.clean()
  end)

  local function serve(folder)
    servers[#servers + 1] = support.serve(folder or file:match("^(.*)/"), dir)
    return servers[#servers]
  end

  describe("as a command line", function()
    it("has help for itself and for each command", function()
      local help = cli("--help")
      assert.equal(0, help.code)
      for _, name in ipairs({ "run", "serve", "start", "ls", "show", "history", "raise", "terminate", "bench" }) do
        assert.matches("  " .. name .. " ", help.out, 1, true)
        local own = cli(name, "--help")
        assert.equal(0, own.code)
        assert.matches("usage: lunation " .. name, own.out, 1, true)
      end
      assert.matches("^lunation %d", cli("--version").out)
    end)

    it("names near ones for what it does not know", function()
      local unknown = cli("histroy")
      assert.equal(2, unknown.code)
      assert.matches("did you mean history?", unknown.err, 1, true)
      local option = cli("run", file, "--ipnut", "1")
      assert.equal(2, option.code)
      assert.matches("did you mean --input?", option.err, 1, true)
      assert.equal(2, cli("run").code)
      assert.equal(2, cli("show", "a", "b").code)
      assert.equal(2, cli("run", file, "--input").code)
    end)

    it("refuses input that is not JSON, with its place", function()
      local bad = with_data("run", file, "greeter", "--input", "{\n  oops }")
      assert.equal(2, bad.code)
      assert.matches("line 2", bad.err, 1, true)
    end)

    it("says what is not found, with code 3", function()
      assert.equal(3, with_data("ls").code)
      assert.equal(3, with_data("run", "no-such-file.lua").code)
      assert.equal(0, with_data("run", file, "greeter", "--id", "a").code)
      local missing = with_data("show", "nobody")
      assert.equal(3, missing.code)
      assert.matches("nobody", missing.err, 1, true)
      assert.equal(3, with_data("run", file, "greeters").code)
    end)

    it("tells file and line of a file that does not load, with code 6", function()
      local broken = support.write(support.folder() .. "/broken.lua", "\nlocal x = = 1\n")
      local result = with_data("run", broken)
      assert.equal(6, result.code)
      assert.matches("broken.lua:2:", result.err, 1, true)
    end)
  end)

  describe("run", function()
    it("prints the result, and exits with 0", function()
      local result = with_data("run", file, "greeter", "--input", '{"name": "Ada"}')
      assert.equal("hello Ada\n", result.out)
      assert.equal(0, result.code)
    end)

    it("reads the input from a file and from stdin", function()
      local input = support.write(support.folder() .. "/in.json", '{"name": "Bob"}')
      assert.equal("hello Bob\n", with_data("run", file, "greeter", "--input", "@" .. input).out)
      assert.equal("hello Eve\n", support.lunation({ "run", file, "greeter", "--input", "-", "--data", dir }, '{"name": "Eve"}').out)
    end)

    it("ends with one object under --json", function()
      local result = json(with_data("run", file, "greeter", "--id", "g", "--json"))
      assert.same({ id = "g", name = "greeter", status = "COMPLETED", output = "hello you" }, result)
      local failed = with_data("run", file, "breaker", "--id", "b", "--json")
      assert.equal(1, failed.code)
      local object = json(failed)
      assert.equal("FAILED", object.status)
      assert.equal("Boom", object.failure.type)
      assert.equal("it blew up", object.failure.message)
    end)

    it("needs the name where a file defines several workflows", function()
      local result = with_data("run", file)
      assert.equal(2, result.code)
      assert.matches("breaker, greeter, waiter", result.err, 1, true)
    end)

    it("shows a finished instance again instead of running it twice", function()
      with_data("run", file, "greeter", "--id", "g")
      local again = with_data("run", file, "greeter", "--id", "g")
      assert.equal("hello you\n", again.out)
      assert.equal(0, again.code)
    end)

    it("stops at a signal, and goes on when run again", function()
      local process = support.spawn({ "run", file, "waiter", "--id", "w", "--data", dir })
      support.wait_until(function()
        local events = json(with_data("history", "w", "--json"))
        return events and events.events and #events.events >= 2
      end, "the workflow to wait")
      support.stop(process, "INT")
      assert.matches("to go on: lunation run", support.read(process.err), 1, true)
      assert.equal(0, with_data("raise", "w", "go", '"now"').code)
      assert.equal("now\n", with_data("run", file, "waiter", "--id", "w").out)
    end)

    it("goes on after kill -9", function()
      local process = support.spawn({ "run", file, "waiter", "--id", "w", "--data", dir })
      support.wait_until(function()
        local events = json(with_data("history", "w", "--json"))
        return events and events.events and #events.events >= 2
      end, "the workflow to wait")
      support.stop(process, "KILL")
      assert.equal(0, with_data("raise", "w", "go", "7").code)
      assert.equal("7\n", with_data("run", file, "waiter", "--id", "w").out)
    end)
  end)

  describe("without a server", function()
    it("starts, raises and terminates durably, and says that nothing runs it", function()
      local started = with_data("start", "waiter", "--id", "w", "--file", file)
      assert.equal(0, started.code)
      assert.equal("w\n", started.out)
      assert.matches("nothing runs it now", started.err, 1, true)
      assert.equal(0, with_data("raise", "w", "go", '{"n": 1}').code)
      assert.same({ n = 1 }, json(with_data("run", file, "waiter", "--id", "w", "--json")).output)
      assert.equal(4, with_data("raise", "w", "go").code)
      with_data("start", "waiter", "--id", "x", "--file", file)
      assert.equal(0, with_data("terminate", "x", "--reason", "enough").code)
      assert.equal(1, with_data("run", file, "waiter", "--id", "x").code)
      assert.equal("TERMINATED", json(with_data("show", "x", "--json")).status)
    end)

    it("asks for the file where it needs one", function()
      with_data("run", file, "greeter")
      local result = with_data("start", "waiter")
      assert.equal(2, result.code)
      assert.matches("--file", result.err, 1, true)
    end)

    it("lists and filters", function()
      with_data("run", file, "greeter", "--id", "ok-1")
      with_data("run", file, "breaker", "--id", "bad-1")
      local all = json(with_data("ls", "--json")).instances
      assert.equal("bad-1", all[1].id)
      assert.equal("ok-1", all[2].id)
      local failed = json(with_data("ls", "--status", "failed", "--json")).instances
      assert.equal(1, #failed)
      assert.equal("bad-1", failed[1].id)
      assert.equal(1, #json(with_data("ls", "--workflow", "greeter", "--json")).instances)
      assert.equal(1, #json(with_data("ls", "--prefix", "ok", "--json")).instances)
      assert.matches("bad%-1 +breaker +FAILED .*it blew up", with_data("ls").out)
      assert.equal(2, with_data("ls", "--status", "faild").code)
    end)

    it("lists ten thousand instances", function()
      local rt = assert(lunation.open({ dir = dir, durability = "process" }))
      assert(rt:load_file(file))
      for i = 1, 10000 do assert(rt:start("waiter", { id = "m" .. i })) end
      assert(rt:flush())
      assert(rt:close())
      local listed = with_data("ls", "--limit", "20000")
      assert.equal(0, listed.code)
      assert.equal(10001, select(2, listed.out:gsub("\n", "")))
    end)

    it("tells a history as a timeline and as JSON", function()
      with_data("run", file, "greeter", "--id", "g", "--input", '{"name": "Ada"}')
      local text = with_data("history", "g").out
      assert.matches("calls greet #1", text, 1, true)
      assert.matches("hello Ada", text, 1, true)
      local events = json(with_data("history", "g", "--json")).events
      assert.equal("Started", events[1].kind)
      assert.same({ name = "Ada" }, events[1].value)
      assert.equal("Completed", events[#events].kind)
      local shown = with_data("show", "g").out
      assert.matches("COMPLETED", shown, 1, true)
      assert.matches("hello Ada", shown, 1, true)
    end)

    it("refuses a directory that is not a data directory", function()
      os.execute("mkdir -p " .. support.quote(dir))
      support.write(dir .. "/thesis.txt", "precious")
      local result = with_data("run", file, "greeter")
      assert.equal(5, result.code)
      assert.equal("precious", support.read(dir .. "/thesis.txt"))
    end)
  end)

  describe("with a server", function()
    it("starts through it, waits, and reads beside it", function()
      serve()
      local result = with_data("start", "greeter", "--id", "g", "--input", '{"name": "Ada"}', "--wait", "--json")
      assert.equal(0, result.code)
      assert.same({ id = "g", name = "greeter", status = "COMPLETED", output = "hello Ada" }, json(result))
      assert.equal("g", json(with_data("ls", "--json")).instances[1].id)
      assert.equal("COMPLETED", json(with_data("show", "g", "--json")).status)
      assert.matches("hello Ada", with_data("history", "g").out, 1, true)
      assert.equal(4, with_data("start", "greeter", "--id", "g").code)
      assert.equal(3, with_data("start", "nothing").code)
    end)

    it("raises and terminates through it", function()
      local server = serve()
      with_data("start", "waiter", "--id", "w")
      assert.equal(0, with_data("raise", "w", "go", '"x"').code)
      support.wait_until(function() return json(with_data("show", "w", "--json")).output == "x" end, "the event to arrive")
      with_data("start", "waiter", "--id", "v")
      assert.equal(0, with_data("terminate", "v").code)
      support.wait_until(function() return json(with_data("show", "v", "--json")).status == "TERMINATED" end, "the termination")
      assert.equal(3, with_data("raise", "nobody", "go").code)
      assert.matches("completed  w", support.read(server.out), 1, true)
    end)

    it("keeps others from opening the directory to write", function()
      serve()
      local result = with_data("run", file, "greeter")
      assert.equal(4, result.code)
      assert.matches("in use", result.err, 1, true)
    end)

    it("goes on without a file that is broken", function()
      local folder = support.folder()
      support.write(folder .. "/good.lua", FLOWS)
      support.write(folder .. "/broken.lua", "workflow('x', function(")
      local server = serve(folder)
      assert.matches("broken.lua:1:", support.read(server.err), 1, true)
      assert.equal("hello you\n", with_data("start", "greeter", "--wait").out)
    end)

    it("stops at SIGTERM and leaves no socket, and the next one goes on", function()
      local server = serve()
      with_data("start", "waiter", "--id", "w")
      support.stop(table.remove(servers))
      assert.is_nil(support.read(server.socket))
      assert.not_equal(0, os.execute("test -e " .. support.quote(server.socket)))
      serve()
      with_data("raise", "w", "go", "1")
      support.wait_until(function() return json(with_data("show", "w", "--json")).output == 1 end, "the instance to go on")
    end)

    it("is reached where the path is longer than a socket's address may be", function()
      dir = dir .. "/" .. ("long"):rep(40)
      serve()
      assert.equal("hello you\n", with_data("start", "greeter", "--wait").out)
    end)

    it("gives up waiting when the time is over, and the instance goes on", function()
      serve()
      local result = with_data("start", "waiter", "--id", "w", "--wait", "--timeout", "0.05")
      assert.equal(7, result.code)
      assert.equal("RUNNING", json(with_data("show", "w", "--json")).status)
    end)

    it("replaces the socket of a server that was killed", function()
      local server = serve()
      support.stop(table.remove(servers), "KILL")
      assert.equal(0, os.execute("test -S " .. support.quote(server.socket)))
      serve()
      assert.equal("hello you\n", with_data("start", "greeter", "--wait").out)
    end)
  end)
end)
