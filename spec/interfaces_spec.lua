-- interfaces_spec.lua: what activities show to those who call them, and who is told of when that changes.
local lunation = require "lunation"
local support = require "spec.support"

local CALLER = [[
workflow("order", function(ctx, order)
  ctx:wait_for_external_event("go")
  return ctx:call_activity("reserve", order)
end)
]]
local V1 = [[
---Take it from the shelf.
---@param order string
---@return string
activity("reserve", { pure = true }, function(order)
  return order
end)
activity("other", function(input, act) return input end)
]]

describe("the interface of an activity", function()
  local rt

  before_each(function()
    rt = assert(lunation.open({ store = "memory" }))
    assert(rt:load_string("stock.lua", V1))
    assert(rt:load_string("order.lua", CALLER))
    for i = 1, 3 do assert(rt:start("order", { id = "o" .. i, input = "tea" })) end
    assert(rt:drain(60))
  end)

  after_each(function() rt:close() end)

  local function reload(source, options)
    options = options or {}
    options.source = source
    return assert(rt:reload("stock.lua", options)).interfaces
  end

  it("is compared by parameters, options and annotations", function()
    local recorded = "reserve(order); pure = true; @param order string; @return string"
    local function now(from, to)
      local changed = V1:gsub(from, (to:gsub("%%", "%%%%")))
      assert.not_equal(V1, changed)
      local list = reload(changed, { dry_run = true })
      assert.equal(1, #list)
      assert.same({ "reserve", recorded, 3 }, { list[1].activity, list[1].recorded, list[1].live })
      return list[1].now
    end
    assert.equal("reserve(order, act); pure = true; @param order string; @return string", now("function%(order%)", "function(order, act)"))
    assert.equal("reserve(order); pure = false; @param order string; @return string", now("pure = true", "pure = false"))
    assert.equal("reserve(order); concurrency = 3; pure = true; @param order string; @return string",
      now("pure = true", "pure = true, concurrency = 3"))
    assert.equal("reserve(order); pure = true; @param order {item: string}; @return string", now("order string", "order {item: string}"))
    assert.is_nil(now('activity%("reserve".-end%)', ""))
  end)

  it("is the same when only its code, its place or its words change", function()
    assert.same({}, reload(V1))
    assert.same({}, reload((V1:gsub("return order\n", "return order .. '!'\n"))))
    assert.same({}, reload("\n\n" .. V1:gsub("Take it", "Get it")))
    assert.same({}, reload((V1:gsub("function%(input, act%) return input", "function(input, act) return { input }"))))
  end)

  it("is recorded when the code becomes current, and not before", function()
    local changed = V1:gsub("function%(order%)", "function(order, act)")
    assert.equal(1, #reload(changed, { dry_run = true }))
    assert.equal(1, #reload(changed))
    assert.same({}, reload(changed))
    assert.equal("reserve(order, act); pure = true; @param order string; @return string", reload(V1)[1].recorded)
  end)

  it("concerns those whose code names it", function()
    local list = reload((V1:gsub("input, act", "input")))
    assert.same({ "other", 0 }, { list[1].activity, list[1].live })
    for i = 1, 2 do assert(rt:raise("o" .. i, "go")) end
    assert(rt:drain(60))
    list = reload((V1:gsub("pure = true", "pure = false"))) -- the other one goes back to what it was, too
    assert.same({ "other", 0, "reserve", 1 }, { list[1].activity, list[1].live, list[2].activity, list[2].live })
  end)
end)

describe("an activity that changed", function()
  local folder, server

  after_each(function()
    if server then support.stop(server) end
    server = nil
    support.clean()
  end)

  it("is told of by the program, also when it changed while nothing ran", function()
    folder = support.folder()
    local dir, file = folder .. "/data", folder .. "/flows/stock.lua"
    local function run(list)
      list[#list + 1], list[#list + 2] = "--data", dir
      return support.lunation(list)
    end
    os.execute("mkdir " .. folder .. "/flows")
    support.write(file, V1)
    support.write(folder .. "/flows/order.lua", CALLER)
    server = support.serve(folder .. "/flows", dir)
    assert.equal(0, run({ "start", "order", "--id", "o1" }).code)
    support.write(file, (V1:gsub("function%(order%)", "function(order, act)")))
    local told = run({ "reload", file, "--dry-run" }).out
    assert.matches("activity  reserve(order); pure = true;", told, 1, true)
    assert.matches("is now  reserve(order, act); pure = true;", told, 1, true)
    assert.matches("1 instance may call it as it was", told, 1, true)
    local list = lunation.json_decode(run({ "reload", file, "--dry-run", "--json" }).out).interfaces
    assert.same({ "reserve", 1 }, { list[1].activity, list[1].live })
    support.stop(server)
    server = support.serve(folder .. "/flows", dir)
    assert.matches("activity 'reserve' was reserve(order); pure = true; @param order string; @return string, now it is reserve(order, act)",
      support.read(server.err), 1, true)
  end)
end)
