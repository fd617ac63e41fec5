-- endurance_spec.lua: the program under what is large or spoiled: a wide fan-out that is killed, and workflows that only hurt themselves.
local support = require "spec.support"
local lunation = require "lunation"

local LIMIT = 20000 -- pending_commands_max
local WIDE = os.getenv("LNT_GC_STRESS") and 1000 or LIMIT -- a collector that runs at every chance makes it slow

local FLOWS = [[
activity("square", function(n) return n * n end)
workflow("fan", function(ctx, n)
  local tasks, sum = {}, 0
  for i = 1, n do tasks[i] = ctx.async:call_activity("square", i) end
  for _, square in ipairs(ctx:when_all(tasks)) do sum = sum + square end
  ctx:set_custom_status("joined")
  ctx:wait_for_external_event("go")
  return sum
end)
workflow("hog", function()
  local t = {}
  for i = 1, 1e9 do t[i] = ("x"):rep(10000) .. i end
end)
workflow("spin", function() while true do pcall(function() while true do end end) end end)
workflow("gate", function(ctx) return ctx:wait_for_external_event("go") end)
]]

describe("lunation endures", function()
  local dir, file, servers

  local function with_data(...)
    local words = { ... }
    words[#words + 1] = "--data"
    words[#words + 1] = dir
    return support.lunation(words)
  end
  local function json(result) return (lunation.json_decode(result.out)) end
  local function shown(id) return json(with_data("show", id, "--json")) end

  before_each(function()
    local folder = support.folder()
    dir, file, servers = folder .. "/data", support.write(folder .. "/flows.lua", FLOWS), {}
  end)

  after_each(function()
    for _, server in ipairs(servers) do support.stop(server) end
    support.clean()
  end)

  local function serve()
    servers[#servers + 1] = support.serve(file:match("^(.*)/"), dir)
    return servers[#servers]
  end

  it("a fan-out of 20,000 that is killed when it has joined: nothing is done again", function()
    local running = support.spawn({ "run", file, "fan", "--id", "f", "--input", tostring(WIDE), "--data", dir })
    support.wait_until(function()
      local found = with_data("show", "f", "--json")
      return found.code == 0 and json(found).custom_status == "joined"
    end, "the join")
    support.stop(running, "KILL")
    assert.equal(0, with_data("raise", "f", "go").code)
    local result = with_data("run", file, "fan", "--id", "f", "--input", tostring(WIDE), "--json")
    assert.equal(0, result.code, result.err)
    assert.equal(WIDE * (WIDE + 1) * (2 * WIDE + 1) / 6, json(result).output)
    local counts = {}
    for _, event in ipairs(json(with_data("history", "f", "--json")).events) do counts[event.kind] = (counts[event.kind] or 0) + 1 end
    assert.equal(WIDE, counts.ActivityScheduled)
    assert.equal(WIDE, counts.ActivityCompleted)
  end)

  it("one call more than may wait at once: the limit is named", function()
    local result = with_data("run", file, "fan", "--input", tostring(LIMIT + 1))
    assert.equal(1, result.code)
    assert.matches("pending_commands_max", result.err, 1, true)
  end)

  it("workflows that eat memory and time: they fail, others live on, through a kill and a restart too", function()
    local server = serve()
    for _, start in ipairs({ { "gate", "one" }, { "hog", "hog" }, { "spin", "spin" }, { "gate", "two" } }) do
      assert.equal(0, with_data("start", start[1], "--id", start[2]).code)
    end
    support.wait_until(function() return shown("hog").status == "FAILED" and shown("spin").status == "FAILED" end, "the failures")
    assert.matches("OutOfMemory", with_data("show", "hog").out, 1, true)
    assert.matches("BudgetExceeded", with_data("show", "spin").out, 1, true)
    support.stop(server, "KILL")
    serve()
    assert.equal(0, with_data("terminate", "one").code)
    assert.equal(0, with_data("raise", "two", "go", "--input", '"on"').code)
    support.wait_until(function() return shown("one").status == "TERMINATED" and shown("two").output == "on" end, "the others")
    assert.equal("FAILED", shown("hog").status)
  end)
end)
