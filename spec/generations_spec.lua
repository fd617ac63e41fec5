-- generations_spec.lua: children and generations as hosts and people meet them: through the Lua module, the program and HTTP.
local support = require "spec.support"
local lunation = require "lunation"

local FLOWS = [[
activity("double", function(n) return n * 2 end)
workflow("child", function(ctx, n)
  if n < 0 then error({ type = "Negative", message = "below nought" }) end
  return ctx:call_activity("double", n)
end)
workflow("parent", function(ctx, n)
  ctx:start_workflow("child", 5, { id = "apart" })
  local ok, e = pcall(ctx.raise_event, ctx, "nobody", "hello", { n })
  return { ctx:call_child_workflow("child", n, { id = "kid", retry = { max_attempts = 2, interval = 0 } }), e.type }
end)
workflow("rounds", function(ctx, n)
  local got = ctx:wait_for_external_event("next")
  if n < 3 then ctx:continue_as_new(n + 1) end
  return { n, got }
end)
]]

describe("children and generations", function()
  local rt

  local function open(options)
    rt = assert(lunation.open(options or { store = "memory" }))
    assert(rt:load_string("flows.lua", FLOWS))
  end
  local function run(workflow, id, input)
    assert(rt:start(workflow, { id = id, input = input }))
    return assert(rt:wait(id, 20))
  end
  after_each(function()
    if rt then rt:close() end
    rt = nil
    support.clean()
  end)

  it("tell whose child an instance is", function()
    open()
    assert.same({ 8, "InstanceNotFound" }, run("parent", "p", 4).output)
    local kid = rt:get("kid")
    assert.equal("p", kid.parent)
    assert.equal(rt:get("p").run, kid.parent_run)
    assert.equal(1, kid.generation)
    assert.is_nil(rt:get("apart").parent)
    local children = rt:list({ parent = "p" })
    assert.equal(1, #children)
    assert.equal("kid", children[1].id)
  end)

  it("let a parent fail as its child did, and say which", function()
    open()
    local failure = run("parent", "p", -1).failure
    assert.equal("Negative", failure.type)
    assert.equal("kid~2", failure.child)
  end)

  it("keep earlier generations readable by their run", function()
    open()
    assert(rt:start("rounds", { id = "r", input = 1 }))
    for i = 1, 3 do assert(rt:raise("r", "next", i)) end
    assert.same({ 3, 3 }, assert(rt:wait("r", 20)).output)
    local newest = rt:get("r")
    assert.equal(3, newest.generation)
    assert.equal(1, #rt:list({ prefix = "r" }))
    local closed = rt:list({ prefix = "r", status = "CONTINUED_AS_NEW" })
    assert.equal(2, #closed)
    for i, instance in ipairs(closed) do
      local one = assert(rt:get("r", { run = instance.run }))
      assert.equal(3 - i, one.generation)
      assert.equal(3 - i, one.input)
      assert.equal("CONTINUED_AS_NEW", one.status)
      local events = assert(rt:history("r", { run = instance.run }))
      assert.equal("Started", events[1].kind)
      assert.equal("ContinuedAsNew", events[#events].kind)
      assert.equal(4 - i, events[#events].value)
    end
    local _, message, code = rt:get("r", { run = 1e6 })
    assert.equal("LNT_ENOTFOUND", code)
    assert.truthy(message:find("run 1000000", 1, true))
    _, message, code = rt:history("nobody", { run = newest.run })
    assert.equal("LNT_ENOTFOUND", code)
    assert.truthy(message:find("is not one of instance 'nobody'", 1, true))
    assert.has_error(function() rt:get("r", { run = -1 }) end)
  end)

  it("show in the program and over HTTP", function()
    local folder = support.folder()
    local dir = folder .. "/data"
    support.write(folder .. "/flows.lua", FLOWS)
    local server = support.serve(folder, dir)
    local function cli(...)
      local words = { ... }
      words[#words + 1], words[#words + 2] = "--data", dir
      return support.lunation(words)
    end
    assert.equal(0, cli("start", "parent", "--id", "p", "--input", "-1", "--wait").code ~= 0 and 0 or 1)
    assert.equal(0, cli("start", "rounds", "--id", "r", "--input", "1").code)
    for i = 1, 3 do assert.equal(0, cli("raise", "r", "next", "--input", tostring(i)).code) end
    assert.equal(0, cli("wait", "r").code)

    assert.matches("child of  p", cli("show", "kid").out, 1, true)
    local story = cli("history", "p").out
    for _, part in ipairs({ "starts child child as kid #3", "child failed, again at", "child failed child #3 (attempt 2)",
      "starts child as apart", "raises hello at nobody", "InstanceNotFound" }) do
      assert.matches(part, story, 1, true)
    end
    local shown = cli("show", "r").out
    assert.matches("generation 3", shown, 1, true)
    local list = lunation.json_decode(cli("ls", "--status", "continued_as_new", "--json").out).instances
    assert.equal(2, #list)
    assert.matches("generation 1: %-%-run %d+", cli("ls", "--status", "continued_as_new").out)
    local first = list[2].run
    assert.matches("generation 1", cli("show", "r", "--run", tostring(first)).out, 1, true)
    assert.matches("continues as new", cli("history", "r", "--run", tostring(first)).out, 1, true)
    assert.equal(2, cli("history", "r", "--run", "first").code)

    local status, body = support.http(server, "GET", "/v1/instances/r?run=" .. first)
    assert.equal(200, status)
    assert.equal(1, lunation.json_decode(body).generation)
    status, body = support.http(server, "GET", "/v1/instances/r/history?run=" .. first)
    assert.equal(200, status)
    local events = lunation.json_decode(body).events
    assert.equal("ContinuedAsNew", events[#events].kind)
    assert.equal(400, (support.http(server, "GET", "/v1/instances/r?run=x")))
    assert.equal(404, (support.http(server, "GET", "/v1/instances/r?run=999999")))
    assert.equal("p", lunation.json_decode(select(2, support.http(server, "GET", "/v1/instances/kid"))).parent)
    support.stop(server)
  end)
end)
