-- The module json: in workflows and in activities alike.
local support = require("stdlib_support")

local HEAD = 'local json = require "json"'

for _, place in ipairs({ "in_workflow", "in_activity" }) do
  local run = support[place]

  describe("json " .. place, function()
    it("reads text into values", function()
      assert.same({ a = { 1, 2.5, true, "x\n" }, b = { c = {} } },
        run(HEAD, "return json.decode(input)", '{"a": [1, 2.5, true, "x\\n"], "b": {"c": {}, "d": null}}'))
      assert.equal(7, run(HEAD, "return json.decode('7')"))
      assert.is_nil(run(HEAD, "return json.decode('null')"))
    end)

    it("writes values with sorted names, and numbers that read back as they were", function()
      assert.equal('{"a":1,"b":[true,0.1,1e+300],"long name":-1.7976931348623157e+308,"z":"\\u0001é\\"\\n"}',
        run(HEAD, "return json.encode(input)",
          { z = "\1é\"\n", ["long name"] = -1.7976931348623157e+308, b = { true, 0.1, 1e300 }, a = 1 }))
      assert.equal("[]{}null", run(HEAD, "return json.encode(json.array()) .. json.encode({}) .. json.encode(nil)"))
    end)

    it("indents", function()
      assert.equal('{\n  "a": [\n    1,\n    {}\n  ],\n  "b": {\n    "c": 2\n  }\n}',
        run(HEAD, "return json.encode({ b = { c = 2 }, a = { 1, {} } }, { indent = 2 })"))
    end)

    it("keeps empty arrays and nulls on their way through", function()
      assert.equal('{"empty":[],"list":[1,null,3],"nothing":null}', run(HEAD, [[
        return json.encode(json.decode('{"list": [1, null, 3], "nothing": null, "empty": []}', { nulls = true }))]]))
      assert.is_true(run(HEAD, "return json.decode('[null]', { nulls = true })[1] == json.null"))
      assert.is_true(run(HEAD, "return json.decode('[1,null,3]')[2] == nil"))
      assert.is_nil(run(HEAD, "return json.null"))
    end)

    it("takes the nearest number for an integer that is too big, or refuses it", function()
      assert.equal("9007199254740992", run(HEAD, "return ('%.0f'):format(json.decode('9007199254740993'))"))
      assert.matches("the integer 9007199254740993 cannot be kept exactly", run(HEAD, [[
        local ok, e = pcall(json.decode, '{"id": 9007199254740993}', { exact = true })
        return not ok and e.type == "InvalidJson" and e.message]]))
    end)

    it("says at which line and column text is no JSON", function()
      local e = run(HEAD, [[
        local _, e = pcall(json.decode, '{\n  "a": 1,\n  oops\n}')
        return { type = e.type, message = e.message, text = tostring(e), line = e.details.line, column = e.details.column,
          retryable = e.retryable }]])
      assert.same({ "InvalidJson", 3, 6, false }, { e.type, e.line, e.column, e.retryable })
      assert.matches("not valid JSON: line 3, column 6: .*oops", e.message)
      assert.equal("InvalidJson: " .. e.message, e.text)
    end)

    it("refuses what JSON cannot hold, with its path", function()
      local function refusal(value)
        return run(HEAD, ("local _, e = pcall(json.encode, %s) return e.type .. ' ' .. e.message"):format(value))
      end
      assert.matches('InvalidValue value["a"][2]: NaN and infinities have no JSON form', refusal("{ a = { 1, 0 / 0 } }"), 1, true)
      assert.matches('value["a"]: text that is not UTF-8', refusal("{ a = '\\255' }"), 1, true)
      assert.matches('value["1"]: two keys of the table become this name', refusal("{ [1] = 1, ['1'] = 2 }"), 1, true)
      assert.matches("value.a.b: a function cannot be stored", refusal("{ a = { b = print } }"), 1, true)
      assert.matches("the table contains itself", refusal("(function() local t = {} t.t = t return t end)()"), 1, true)
    end)

    it("refuses misuse at the author's line", function()
      local e = run(HEAD, "\nlocal _, e = pcall(function()\nreturn json.decode(7), 1 end) return e.message")
      assert.matches("^story.lua:%d+: json.decode: text is wanted, got 7$", e)
    end)
  end)
end

describe("json", function()
  it("gives a workflow the same text in every process and replay", function()
    local rt = support.open(HEAD .. [[
      workflow("w", function(ctx)
        local t = {}
        for i = 1, 50 do t["key" .. i * 7919 % 50] = i end
        ctx:wait_for_external_event("go")
        return json.encode(t)
      end)]])
    assert(rt:start("w", { id = "i" }))
    assert(rt:drain(30))
    assert(rt:evict_all())
    assert(rt:raise("i", "go"))
    local instance = assert(rt:wait("i", 30))
    rt:close()
    local last = ""
    for key in instance.output:gmatch('"(%w+)"') do
      assert.is_true(last < key)
      last = key
    end
  end)

  it("costs a workflow budget, so that no loop of it can hang the host", function()
    local instance = support.run(HEAD .. [[
      workflow("w", function()
        local text = json.encode(("x"):rep(1000000))
        while true do json.decode(text) end
      end)]], nil, { limits = { turn_instructions_max = 2000000 } })
    assert.equal("FAILED", instance.status)
    assert.matches("instruction", instance.failure.message)
  end)

  it("lets a file of the author's own take its name, but no file its own", function()
    local folder = os.tmpname()
    os.remove(folder)
    assert(os.execute("mkdir " .. folder) == 0)
    local function write(name, text)
      local file = assert(io.open(folder .. "/" .. name, "w"))
      file:write(text)
      file:close()
    end
    write("json.lua", "return { mine = true }")
    write("retry.lua", 'local retry = require "retry" activity("a", function() return type(retry.run) end) '
      .. 'workflow("own", function(ctx) return { ctx:call_activity("a"), type(retry.run) } end)')
    write("story.lua", 'local json = require "json" activity("a", function() return json.mine end) '
      .. 'workflow("w", function(ctx) return { ctx:call_activity("a"), json.mine } end)')
    local rt = support.open("")
    assert(rt:load_file(folder .. "/story.lua"))
    local id = assert(rt:start("w"))
    assert.same({ true, true }, assert(rt:wait(id, 30)).output)
    rt:close()
    rt = support.open("")
    assert(rt:load_file(folder .. "/retry.lua"))
    id = assert(rt:start("own"))
    assert.same({ "function", "function" }, assert(rt:wait(id, 30)).output)
    rt:close()
    os.execute("rm -r " .. folder)
  end)
end)
