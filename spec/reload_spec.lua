-- reload_spec.lua: code that changes under instances that run: `lunation dev`, reload, migrate, versions, code, and the Lua binding.
local lunation = require "lunation"
local support = require "spec.support"

local V1 = [[
workflow("order", function(ctx, order)
  local got = ctx:call_activity("reserve", order)
  local paid = ctx:wait_for_external_event("paid")
  return { "v1", got, paid }
end)
activity("reserve", function(item) return item end)
]]
local V2 = V1:gsub('"v1"', '"v2"') -- fits everybody
local V3 = V1:gsub('"reserve", order', '"reserve", { item = order }') -- nobody who has called

describe("new code", function()
  local folder, dir, file, servers

  local function with_data(...)
    local words = { ... }
    words[#words + 1] = "--data"
    words[#words + 1] = dir
    return support.lunation(words)
  end
  local function json(result) return (lunation.json_decode(result.out)) end

  before_each(function()
    folder, servers = support.folder(), {}
    os.execute("mkdir " .. folder .. "/flows")
    dir, file = folder .. "/data", support.write(folder .. "/flows/order.lua", V1)
  end)

  after_each(function()
    for _, server in ipairs(servers) do support.stop(server) end
    support.clean()
  end)

  --- As editors save: another file, renamed onto it.
  local function save(text)
    assert(os.rename(support.write(folder .. "/flows/.order.lua.swp", text), file))
  end

  local function output(id)
    return json(with_data("show", id, "--json")).output
  end

  describe("in the Lua binding", function()
    local rt

    before_each(function()
      rt = assert(lunation.open({ store = "memory" }))
      assert(rt:load_file(file))
      for i = 1, 3 do
        assert(rt:start("order", { id = "o" .. i, input = "tea" }))
      end
      assert(rt:drain(60))
    end)

    after_each(function() rt:close() end)

    it("is tried, told of, and taken by policy", function()
      local summary = assert(rt:reload(file, { source = V3, dry_run = true }))
      assert.same({ 3, 3, 0, false }, { summary.checked, summary.diverging, summary.moved, summary.switched })
      local one = summary.instances[1]
      assert.equal("diverges", one.fit)
      assert.equal([[call_activity('reserve', "tea")]], one.recorded)
      assert.equal([[call_activity('reserve', {item: "tea"})]], one.made)
      assert.matches("^order.lua:2", one.recorded_at)
      assert.matches("^order.lua:2", one.made_at)
      local refused, message, code, report = rt:reload(file, { source = V3, policy = "all_or_nothing" })
      assert.is_nil(refused)
      assert.matches("3 of 3 instances", message)
      assert.equal("LNT_EDIVERGED", code)
      assert.equal(3, report.diverging)
      summary = assert(rt:reload(file, { source = V2, policy = "adopt" }))
      assert.equal(3, summary.moved)
      assert(rt:raise("o1", "paid", 7))
      assert(rt:wait("o1", 60))
      assert.same({ "v2", "tea", 7 }, rt:get("o1").output)
    end)

    it("answers a function, where one is given", function()
      local told
      assert.is_true(rt:reload(file, { source = V2, done = function(summary) told = summary end }))
      assert(rt:drain(60))
      assert.equal(3, told.not_reached)
      assert.equal(0, told.moved)
      assert.equal(3, #told.instances)
    end)

    it("is listed, shown, and taken by chosen instances", function()
      assert(rt:reload(file, { source = V2 }))
      local versions = assert(rt:versions("order"))
      assert.equal(2, #versions)
      assert.is_true(versions[1].is_current)
      assert.same({ 0, 3 }, { versions[1].live, versions[2].live })
      local sources, whole = rt:code(versions[2].hash:sub(1, 10))
      assert.equal(V1, sources[1].text)
      assert.equal(versions[2].hash, whole)
      assert.equal(1, assert(rt:migrate({ ids = { "o2" } })).moved)
      assert.equal(2, assert(rt:migrate({ workflow = "order", hash = versions[1].hash:sub(1, 8) })).moved)
      assert.equal(3, rt:versions("order")[1].live)
      local _, _, code = rt:migrate({ ids = { "nobody" } })
      assert.equal("LNT_ENOTFOUND", code)
    end)

    it("lets activities finish on the code that they began with", function()
      local slow = [[
activity("slow", function(_, act) act:sleep("50ms"); return "old" end)
workflow("slow", function(ctx) return { ctx:call_activity("slow"), ctx:call_activity("slow") } end)
]]
      assert(rt:load_string("slow.lua", slow))
      assert(rt:start("slow", { id = "slow" }))
      while rt:stats().activities_started == 3 do assert(rt:tick(0)) end -- three were there before
      assert(rt:reload("slow.lua", { source = slow:gsub('"old"', '"new"'), now = true }))
      assert(rt:wait("slow", 60))
      assert.same({ "old", "new" }, rt:get("slow").output)
    end)

    it("is refused with the place in the text", function()
      local loaded, message, code = rt:reload(file, { source = "workflow(" })
      assert.is_nil(loaded)
      assert.equal("LNT_ESYNTAX", code)
      assert.matches("order.lua:1", message)
      assert.has_error(function() rt:reload(file, { policy = "perhaps" }) end)
    end)
  end)

  describe("under `lunation dev`", function()
    local log

    before_each(function()
      local process = support.spawn({ "dev", folder .. "/flows", "--data", dir, "--policy", "adopt", "--json" })
      servers[#servers + 1] = process
      log = process.out
      support.wait_until(function() return with_data("ls").code == 0 and support.read(log):find('"serving"', 1, true) end, "the server")
      assert.equal(0, with_data("start", "order", "--id", "o1", "--input", '"tea"').code)
      support.wait_until(function() return with_data("history", "o1").out:find("waits for", 1, true) end, "the wait for the event")
    end)

    local function told(text)
      support.wait_until(function() return support.read(log):find(text, 1, true) end, text)
    end

    it("follows a file that is saved, broken, deleted and restored", function()
      save(V2)
      told('"watch":"reloaded"')
      save("workflow(")
      told('"watch":"broken"')
      os.remove(file)
      told('"watch":"deleted"')
      save(V1)
      support.wait_until(function()
        local _, reloads = support.read(log):gsub('"reloaded"', "")
        return reloads == 2 and json(with_data("versions", "order", "--json")).versions[1].live == 1
      end, "the move back")
      assert.equal(0, with_data("raise", "o1", "paid", "--input", "7").code)
      support.wait_until(function() return output("o1") ~= nil end, "the end")
      assert.same({ "v1", "tea", 7 }, output("o1"))
    end)

    it("is reloaded and migrated on request", function()
      local dry = json(with_data("reload", file, "--dry-run", "--json"))
      assert.is_true(dry.unchanged)
      save(V3)
      told('"fit":"diverges"')
      told('"watch":"reloaded"')
      local versions = json(with_data("versions", "order", "--json")).versions
      assert.equal(2, #versions)
      local moved = json(with_data("migrate", "o1", "--to", versions[1].hash:sub(1, 12), "--json"))
      assert.equal(1, moved.diverging)
      assert.equal(0, moved.moved)
      assert.equal(V3, with_data("code", versions[1].hash:sub(1, 12)).out)
      assert.equal(3, with_data("code", "000000000000").code)
    end)
  end)

  it("is loaded, looked at and refused without a server", function()
    local process = support.serve(folder .. "/flows", dir)
    assert.equal(0, with_data("start", "order", "--id", "o1", "--input", '"tea"').code)
    support.wait_until(function() return with_data("history", "o1").out:find("waits for", 1, true) end, "the wait for the event")
    support.stop(process)
    save(V3)
    local dry = with_data("reload", file, "--dry-run")
    assert.equal(0, dry.code)
    assert.matches("1 instance on other code: 1 diverges", dry.out, 1, true)
    assert.matches('recorded call_activity(\'reserve\', "tea")', dry.out, 1, true)
    local refused = with_data("reload", file, "--policy", "all-or-nothing", "--json")
    assert.equal(6, refused.code)
    assert.equal("LNT_EDIVERGED", json(refused).code)
    save(V2)
    assert.equal(1, json(with_data("reload", file, "--policy", "adopt", "--json")).moved)
  end)

  it("is adopted by serve at its start, where the workflow says so", function()
    local process = support.serve(folder .. "/flows", dir)
    assert.equal(0, with_data("start", "order", "--id", "o1", "--input", '"tea"').code)
    support.wait_until(function() return with_data("history", "o1").out:find("waits for", 1, true) end, "the wait for the event")
    support.stop(process)
    save((V2:gsub('"order",', '"order", { on_reload = "adopt" },', 1)))
    process = support.serve(folder .. "/flows", dir)
    support.wait_until(function() return support.read(process.out):find("1 not yet at the change; 1 moved", 1, true) end, "the move")
    assert.equal(0, with_data("raise", "o1", "paid", "--input", "7").code)
    support.wait_until(function() return output("o1") ~= nil end, "the end")
    assert.same({ "v2", "tea", 7 }, output("o1"))
    support.stop(process)
  end)

  describe("of a file with activities only", function()
    local ECHO = 'local words = require "words"\nactivity("shout", function(text) return words.shout(text) end)\n'
    local CALLER = 'workflow("caller", function(ctx, text) return ctx:call_activity("shout", text) end)\n'
    local log

    before_each(function()
      support.write(folder .. "/flows/shout.lua", ECHO)
      support.write(folder .. "/flows/caller.lua", CALLER)
      support.write(folder .. "/flows/words.lua", 'return { shout = function(text) return text .. "!" end }\n')
      local process = support.spawn({ "dev", folder .. "/flows", "--data", dir, "--json" })
      servers[#servers + 1] = process
      log = process.out
      support.wait_until(function() return with_data("ls").code == 0 and support.read(log):find('"serving"', 1, true) end, "the server")
    end)

    local function said(id)
      assert.equal(0, with_data("start", "caller", "--id", id, "--input", '"ho"').code)
      return support.wait_until(function() return output(id) end, "the end of " .. id)
    end

    it("follows the module that it requires", function()
      assert.equal("ho!", said("one"))
      support.write(folder .. "/flows/words.lua", 'return { shout = function(text) return text .. "?" end }\n')
      support.wait_until(function() return support.read(log):find('"watch":"reloaded"', 1, true) end, "the reload")
      assert.equal("ho?", said("two"))
    end)

    it("is the same file by another path", function()
      local reload = json(with_data("reload", folder .. "/flows/../flows/shout.lua", "--json"))
      assert.is_nil(reload.code, reload.message)
      assert.equal(true, reload.switched)
      assert.equal("ho!", said("one"))
    end)
  end)
end)
