-- readme_dev_spec.lua: what the README shows of `lunation dev` is what it tells, but for times, hashes and durations.
local support = require "spec.support"

local ORDER = [[
activity("reserve", function(item) return item end)
activity("ship", function(item) return item .. " is on its way" end)
workflow("order", function(ctx, order)
  ctx:call_activity("reserve", order)
  ctx:wait_for_external_event("paid")
  return ctx:call_activity("ship", order)
end)
]]

local function plain(text)
  text = text:gsub("%d%d:%d%d:%d%d", "TIME"):gsub("%f[%w]" .. ("%x"):rep(12) .. "%f[%W]", "HASH"):gsub("%d+ ms", "N ms")
  return (text:gsub("[^\n]*listening[^\n]*\n", ""):gsub("serves 1 workflow of [^:]*:", "serves 1 workflow of flows:"))
end

describe("the README's transcript of `lunation dev`", function()
  local folder, server

  after_each(function()
    support.stop(server)
    support.clean()
  end)

  it("is true", function()
    folder = support.folder()
    os.execute("mkdir " .. folder .. "/flows")
    local file, data = support.write(folder .. "/flows/order.lua", ORDER), folder .. "/data"
    server = support.spawn({ "dev", folder .. "/flows", "--data", data })
    local function told(text)
      return support.wait_until(function() return (support.read(server.out) or ""):find(text, 1, true) end, text)
    end
    local function save(text, expected)
      assert(os.rename(support.write(folder .. "/flows/.order.swp", text), file))
      told(expected)
    end
    told("listening")
    for i, item in ipairs({ "tea", "cup" }) do
      assert.equal(0, support.lunation({ "start", "order", "--id", "o" .. i, "--input", '"' .. item .. '"', "--data", data }).code)
      told("started  o" .. i)
    end
    support.wait_until(function()
      return support.lunation({ "history", "o2", "--data", data }).out:find("waits for", 1, true)
    end, "the wait")

    local wrapped = ORDER:gsub("  return", '  ctx:call_activity("reserve", "wrapping")\n  return')
    save(wrapped, "2 not yet at the change, ")
    save((wrapped:gsub('"reserve", order', '"reserve", { item = order }')), "order.lua:4  (input: \"tea\"")
    save((wrapped:gsub("%(ctx, order", "((ctx, order")), "loaded before stays")
    os.remove(file)
    told("deleted")
    save((wrapped:gsub('"order", ', '"order", { on_reload = "adopt" }, ')), "2 moved")
    assert.equal(0, support.lunation({ "raise", "o1", "paid", "--data", data }).code)
    told("completed")

    local shown = support.read("README.md"):match("## Save the file, keep the runs.-```\n(.-)```")
    assert.equal(plain(shown), plain(support.read(server.out)))
  end)
end)
