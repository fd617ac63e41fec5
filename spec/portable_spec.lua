-- portable_spec.lua: an instance in a file: `lunation export`, `import` and `replay`, the HTTP API, and the Lua binding.
local lunation = require "lunation"
local support = require "spec.support"

local ORDER = [[
local words = require "words"
workflow("order", function(ctx, order)
  local got = ctx:call_activity("reserve", order)
  ctx:set_custom_status({ got = got })
  local paid = ctx:wait_for_external_event("paid")
  return { words.done, got, paid }
end)
activity("reserve", function(item) return item end)
]]

describe("an instance in a file", function()
  local folder, flows, dir, file, servers

  local function run(...) return support.lunation({ ... }) end
  local function json(result) return (lunation.json_decode(result.out)) end

  before_each(function()
    folder, servers = support.folder(), {}
    flows, dir, file = folder .. "/flows", folder .. "/data", folder .. "/o1.run"
    os.execute("mkdir " .. flows)
    support.write(flows .. "/words.lua", 'return { done = "done" }\n')
    support.write(flows .. "/order.lua", ORDER)
  end)

  after_each(function()
    for _, server in ipairs(servers) do support.stop(server) end
    support.clean()
  end)

  local function serve(where, data)
    local process = support.serve(where, data)
    servers[#servers + 1] = process
    return process
  end

  local function output(data)
    return support.wait_until(function() return json(run("show", "o1", "--json", "--data", data)).output end, "the end")
  end

  --- An order that waits to be paid, in `file`.
  local function export()
    local server = serve(flows, dir)
    assert.equal(0, run("start", "order", "--id", "o1", "--input", '"tea"', "--data", dir).code)
    support.wait_until(function() return run("history", "o1", "--data", dir).out:find("waits for", 1, true) end, "the wait")
    local exported = run("export", "o1", file, "--data", dir)
    assert.equal(0, exported.code)
    assert.matches("goes on here", exported.err, 1, true)
    return server
  end

  it("goes on in another directory, where none of its files is", function()
    export()
    local other, empty = folder .. "/other", folder .. "/empty"
    os.execute("mkdir " .. empty)
    local imported = run("import", file, "--data", other)
    assert.equal("o1  goes on\n", imported.out)
    assert.matches("nothing runs it now", imported.err, 1, true)
    serve(empty, other)
    assert.equal(0, run("raise", "o1", "paid", "--input", "7", "--data", other).code)
    assert.same({ "done", "tea", 7 }, output(other))
    local versions = json(run("versions", "--json", "--data", other)).versions
    assert.same({ 1, "order", "order.lua", false }, { #versions, versions[1].workflow, versions[1].file, versions[1].is_current })
    assert.equal("RUNNING", json(run("show", "o1", "--json", "--data", dir)).status)
  end)

  it("is taken in by a server that runs, and refused where its id is taken", function()
    local server = export()
    local taken = run("import", file, "--data", dir)
    assert.equal(4, taken.code)
    assert.matches("'o1' exists", taken.err, 1, true)
    assert.equal("copy", json(run("import", file, "--id", "copy", "--suspended", "--json", "--data", dir)).id)
    assert.equal("SUSPENDED", json(run("show", "copy", "--json", "--data", dir)).status)
    assert.equal(0, run("resume", "copy", "--data", dir).code)
    assert.equal(0, run("raise", "copy", "paid", "--input", "1", "--data", dir).code)
    assert.equal(0, run("wait", "copy", "--data", dir).code)
    local status, bytes = support.http(server, "GET", "/v1/instances/copy/export")
    assert.equal(200, status)
    support.write(folder .. "/copy.run", bytes)
    assert.equal(0, run("purge", "copy", "--data", dir).code)
    local command = ("%s --unix-socket %s --data-binary @%s/copy.run http://localhost/v1/import"):format(support.curl,
      support.quote(server.socket), folder)
    local back = lunation.json_decode(support.output_of(command))
    assert.same({ "copy", 1, 0 }, { back.id, back.runs, back.live })
    assert.same({ "done", "tea", 1 }, json(run("show", "copy", "--json", "--data", dir)).output)
  end)

  it("is replayed without a data directory, and the exit code says whether it fits", function()
    export()
    local fits = run("replay", file)
    assert.equal(0, fits.code)
    assert.matches('compatible  o1  order  6 events  RUNNING  waits for the event "paid", at order.lua:5', fits.out, 1, true)
    assert.matches('custom status  {"got":"tea"}', fits.out, 1, true)
    local other = support.write(flows .. "/other.lua", (ORDER:gsub('"reserve", order', '"reserve", { item = order }')))
    local differs = run("replay", file, "--against", other)
    assert.equal(6, differs.code)
    assert.matches("at event 2, recorded call_activity('reserve', \"tea\")  order.lua:3", differs.out, 1, true)
    assert.matches("now      call_activity('reserve', {item: \"tea\"})  other.lua:3", differs.out, 1, true)
    local told = json(run("replay", file, "--against", other, "--json"))
    assert.same({ 1, "diverges", 2 }, { told.diverging, told.runs[1].fit, told.runs[1].event })
    support.write(flows .. "/words.lua", "return {")
    assert.equal(0, run("replay", file).code) -- its modules are in the file
    local broken = run("replay", file, "--against", support.write(flows .. "/broken.lua", "workflow("))
    assert.equal(6, broken.code)
    assert.matches("broken.lua:1", broken.err, 1, true)
  end)

  it("tells what it came to when it is finished", function()
    export()
    assert.equal(0, run("raise", "o1", "paid", "--input", "7", "--data", dir).code)
    output(dir)
    assert.equal(0, run("export", "o1", file, "--data", dir).code)
    local finished = run("replay", file)
    assert.matches('COMPLETED  ["done","tea",7]', finished.out, 1, true)
    local other = support.write(flows .. "/other.lua", (ORDER:gsub("words.done", '"over"')))
    local differs = json(run("replay", file, "--against", other, "--json"))
    assert.equal('return ["over", "tea", 7]', differs.runs[1].made)
    assert.equal('value[1]: "done" vs "over"', differs.runs[1].difference)
  end)

  it("is refused when it is something else, cut off or changed", function()
    export()
    local bytes = support.read(file)
    local function refused(text, code, words)
      local result = run("import", support.write(folder .. "/bad.run", text), "--data", folder .. "/new")
      assert.equal(code, result.code)
      assert.matches(words, result.err, 1, true)
      assert.matches("bad.run", result.err, 1, true)
    end
    refused("hello", 5, "not an instance that Lunation exported")
    refused(bytes:sub(1, 300), 5, "cut off")
    refused(bytes:sub(1, 200) .. string.char((bytes:byte(201) + 1) % 256) .. bytes:sub(202), 5, "damaged")
    assert.equal(3, run("replay", folder .. "/nothing.run").code)
    assert.equal("", run("ls", "--data", folder .. "/new").out)
    assert.equal(3, run("export", "nobody", file, "--data", dir).code)
  end)

  it("goes from one runtime to another in the Lua binding", function()
    local first, second = assert(lunation.open({ store = "memory" })), assert(lunation.open({ store = "memory" }))
    assert(first:load_file(flows .. "/order.lua"))
    assert(first:start("order", { id = "o1", input = "tea" }))
    assert(first:drain(60))
    local bytes = assert(first:export("o1"))
    local reports, diverging = lunation.replay(nil, { data = bytes })
    assert.same({ 0, "compatible", "RUNNING", "tea" }, { diverging, reports[1].fit, reports[1].ends, reports[1].custom_status.got })
    local result = assert(second:import(nil, { data = bytes }))
    assert.same({ id = "o1", run = 1, runs = 1, live = 1 }, result)
    assert(second:raise("o1", "paid", 9))
    assert(second:wait("o1", 60))
    assert.same({ "done", "tea", 9 }, second:get("o1").output)
    local _, message, code = second:import(nil, { data = bytes })
    assert.equal("LNT_EEXIST", code)
    assert.matches("'o1'", message)
    first:close()
    second:close()
  end)
end)
