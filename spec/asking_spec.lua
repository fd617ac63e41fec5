-- asking_spec.lua: what instances tell, and what they are asked: through the Lua binding.
local support = require "spec.support"
local lunation = require "lunation"

local FILE = [[
workflow("steps", function(ctx, input)
  for i = 1, input.steps do
    ctx:emit("progress", { step = i })
    if i % 2 == 0 then ctx:emit("pairs", i) end
    ctx:wait_for_external_event("go")
  end
  return "done"
end)
workflow("rounds", function(ctx, n)
  for i = 1, 3 do ctx:emit("out", { n, i }) end
  if n % 2 == 0 then ctx:emit("even", n) end
  ctx:wait_for_external_event("go")
  if n < 3 then ctx:continue_as_new(n + 1) end
end)
workflow("burst", function(ctx, count)
  for i = 1, count do ctx:emit("out", ("%06d"):format(i) .. ("x"):rep(1000)) end
end)
]]

local CART = [[
workflow("cart", function(ctx)
  local items, total = {}, 0
  ctx:on_query("total", function() return total end)
  ctx:on_query("item", function(i) return items[i] end)
  ctx:on_query("bad", function() ctx:emit("s", 1) end)
  ctx:on_update("add", {
    validate = function(item) if type(item) ~= "table" or not item.price then return false, "an item needs a price" end end,
    handle = function(item)
      item.price = ctx:call_activity("price", item.price)
      items[#items + 1], total = item, total + item.price
      return { place = #items, total = total }
    end,
  })
  ctx:on_update("slow", function() ctx:sleep("1h") end)
  ctx:wait_for_external_event("pay")
  return total
end)
activity("price", function(price) return price * 2 end)
]]

local function values(items)
  local list = {}
  for i, item in ipairs(items) do list[i] = item.value end
  return list
end

describe("asking", function()
  local rt, dir

  local function open(options)
    options = options or {}
    options.store = options.dir and "lmdb" or "memory"
    rt = assert(lunation.open(options))
    if options.read_only then return rt end
    assert(rt:load_string("asking.lua", FILE))
    assert(rt:load_string("cart.lua", CART))
    return rt
  end

  before_each(function() dir = support.folder() .. "/data" end)
  after_each(function()
    if rt then rt:close() end
    rt = nil
    support.clean()
  end)

  describe("queries and updates", function()
    it("answer while the instance runs, is not in memory, and after its end", function()
      open({ dir = dir })
      rt:start("cart", { id = "c" })
      assert.equal(0, rt:query("c", "total"))
      assert.same({ place = 1, total = 20 }, rt:update("c", "add", { name = "moon", price = 10 }))
      assert(rt:evict_all())
      assert.equal(20, rt:query("c", "total"))
      rt:close()
      open({ dir = dir })
      assert.same({ place = 2, total = 24 }, rt:update("c", "add", nil, { args_json = '{"price":2}' }))
      assert.equal('{"name":"moon","price":20}', rt:query("c", "item", 1, { json = true }))
      assert.is_nil(rt:query("c", "item", 9))
      rt:raise("c", "pay")
      assert(rt:wait("c", 30))
      assert.equal(24, rt:query("c", "total"))
      assert.same({ price = 4 }, rt:query("c", "item", 2))
    end)

    it("give the answer to a function, when there is one", function()
      open()
      local got = {}
      rt:start("cart", { id = "c" })
      assert.is_true(rt:query("c", "total", nil, { done = function(...) got.total = { ... } end }))
      assert.is_true(rt:update("c", "add", { price = 1 }, { done = function(value) got.added = value end }))
      assert.is_true(rt:query("c", "bad", nil, { done = function(value, message, code, failure)
        got.bad = { value, message, code, failure.type }
      end }))
      assert.same({}, got)
      assert(rt:drain(30))
      assert.same({ 0 }, got.total)
      assert.same({ place = 1, total = 2 }, got.added)
      assert.is_nil(got.bad[1])
      assert.matches("QueryNotReadOnly: cart.lua:5: emit cannot be called in a query", got.bad[2], 1, true)
      assert.equal("LNT_EFAILED", got.bad[3])
      assert.equal("QueryNotReadOnly", got.bad[4])
    end)

    it("say why not", function()
      open()
      rt:start("cart", { id = "c" })
      local value, message, code, failure = rt:update("c", "add", "x")
      assert.is_nil(value)
      assert.equal("UpdateRejected: an item needs a price", message)
      assert.equal("LNT_EFAILED", code)
      assert.equal("UpdateRejected", failure.type)
      assert.matches("there are: 'bad', 'item', 'total'", select(2, rt:query("c", "nothing")), 1, true)
      assert.equal("LNT_ENOTFOUND", select(3, rt:query("nobody", "total")))
      assert.equal("LNT_EVALUE", select(3, rt:query("c", "total", print)))
      assert.equal("LNT_EINVAL", select(3, rt:query("c", "")))
      assert.equal("LNT_EINVAL", select(3, rt:update("c", "add", { price = 1 }, { id = "a/b" })))
      assert.equal("LNT_ETIMEOUT", select(3, rt:update("c", "slow", nil, { timeout = 0.01 })))
      rt:terminate("c")
      assert.equal("LNT_ECLOSED", select(3, rt:update("c", "slow")))
    end)

    it("carry out an update once for each id, also after a crash", function()
      open({ dir = dir })
      rt:start("cart", { id = "c" })
      assert.same({ place = 1, total = 2 }, rt:update("c", "add", { price = 1 }, { id = "u1" }))
      assert.same({ place = 1, total = 2 }, rt:update("c", "add", { price = 1 }, { id = "u1" }))
      rt:close()
      open({ dir = dir })
      assert.same({ place = 1, total = 2 }, rt:update("c", "add", { price = 1 }, { id = "u1" }))
      assert.equal(2, rt:query("c", "total"))
    end)

    it("are refused on a runtime that only reads, and end with it", function()
      open({ dir = dir })
      rt:start("cart", { id = "c" })
      assert(rt:drain(30))
      local code
      rt:query("c", "total", nil, { done = function(_, _, c) code = c end })
      rt:close()
      assert.equal("LNT_ECLOSED", code)
      open({ dir = dir, read_only = true })
      assert.equal("LNT_EREADONLY", select(3, rt:query("c", "total")))
    end)
  end)

  describe("why is it waiting", function()
    it("is told of a live instance, of one that is not in memory, and beside its owner", function()
      open({ dir = dir })
      rt:start("cart", { id = "c" })
      assert(rt:drain(30))
      local d = assert(rt:describe("c"))
      assert.equal('waits for the event "pay", at cart.lua:15', d.reason)
      assert.same({ "bad", "item", "total" }, d.queries)
      assert.same({ "add", "slow" }, d.update_handlers)
      assert.equal("cart.lua:15", d.branches[1].at)
      assert.equal("pay", d.awaited[1].name)
      assert.is_true(d.live)
      rt:evict_all()
      assert.same(d, rt:describe("c"))
      local reader = assert(lunation.open({ dir = dir, read_only = true }))
      local beside = assert(reader:describe("c"))
      reader:close()
      assert.equal('waits for the event "pay"', beside.reason)
      assert.is_false(beside.live)
      assert.is_nil(beside.branches)
      assert.same(d.awaited, beside.awaited)
      rt:raise("c", "pay")
      assert(rt:wait("c", 30))
      assert.is_nil(rt:describe("c").reason)
      assert.equal("LNT_ENOTFOUND", select(3, rt:describe("nobody")))
      assert.matches('"status":"COMPLETED"', rt:describe("c", { json = true }), 1, true)
    end)
  end)

  describe("streams", function()
    it("go on over the generations of an instance, also from a cursor in an earlier one", function()
      open({ dir = dir })
      rt:start("rounds", { id = "r", input = 1 })
      rt:start("rounds", { id = "q", input = 1 }) -- runs of another instance lie between
      assert(rt:drain(30))
      local first = rt:stream("r", "out", { limit = 2 })
      for _ = 1, 2 do
        rt:raise("r", "go")
        rt:raise("q", "go")
        assert(rt:drain(30))
      end
      local all = {}
      for n = 1, 3 do for i = 1, 3 do all[#all + 1] = { n, i } end end
      assert.same(all, values(rt:stream("r", "out")))
      assert.same({ 2 }, values(rt:stream("r", "even")))
      local rest, cursor, ended = rt:stream("r", "out", { cursor = first[2].cursor })
      assert.same({ unpack(all, 3) }, values(rest))
      assert.is_false(ended)
      rt:raise("r", "go")
      assert(rt:drain(30))
      assert.same({}, rt:stream("r", "out", { cursor = cursor }))
      assert.is_true(select(3, rt:stream("r", "out", { cursor = cursor })))
      rt:close()
      open({ dir = dir, read_only = true })
      assert.same({ unpack(all, 3) }, values(rt:stream("r", "out", { cursor = first[2].cursor })))
    end)

    it("hold nothing of another instance that had the id before", function()
      open({ dir = dir })
      local function go(times)
        for _ = 1, times do
          rt:raise("r", "go")
          assert(rt:drain(30))
        end
      end
      rt:start("rounds", { id = "r", input = 2 })
      assert(rt:drain(30))
      local before = rt:stream("r", "out")
      go(2)
      rt:start("rounds", { id = "r", input = 1, id_reuse = "terminal" })
      assert(rt:drain(30))
      assert.same({ 1, 1 }, values(rt:stream("r", "out"))[1])
      go(2)
      local all = {}
      for n = 1, 3 do for i = 1, 3 do all[#all + 1] = { n, i } end end
      assert.same(all, values(rt:stream("r", "out")))
      local _, message, code = rt:stream("r", "out", { cursor = before[1].cursor })
      assert.equal("LNT_EINVAL", code)
      assert.matches("the cursor is not one of instance 'r'", message, 1, true)
    end)

    it("are read while the instance runs and after its end, from where the read before stopped", function()
      open({ dir = dir })
      rt:start("steps", { id = "s", input = { steps = 3 } })
      assert(rt:drain(30))
      local items, cursor, ended = rt:stream("s", "progress")
      assert.same({ { step = 1 } }, values(items))
      assert.is_true(items[1].time_us > 1e15)
      assert.is_false(ended)
      assert.same({}, rt:stream("s", "progress", { cursor = cursor }))
      rt:raise("s", "go")
      rt:raise("s", "go")
      assert(rt:drain(30))
      items, cursor, ended = rt:stream("s", "progress", { cursor = cursor })
      assert.same({ { step = 2 }, { step = 3 } }, values(items))
      assert.is_false(ended)
      rt:raise("s", "go")
      assert(rt:wait("s", 30))
      items, cursor, ended = rt:stream("s", "progress", { cursor = cursor })
      assert.same({}, items)
      assert.is_true(ended)
      assert.same({ 2 }, values(rt:stream("s", "pairs")))
      rt:close()
      open({ dir = dir, read_only = true })
      assert.same({ { step = 1 }, { step = 2 }, { step = 3 } }, values(rt:stream("s", "progress")))
      assert.same({}, rt:stream("s", "progress", { cursor = cursor }))
      assert.same({}, rt:stream("s", "no such stream"))
    end)

    it("are read in pages, and the cursor behind each value goes on there", function()
      open()
      rt:start("burst", { id = "b", input = 1000 })
      assert(rt:wait("b", 30))
      local all, pages, cursor, ended = {}, 0
      repeat
        local items
        items, cursor, ended = assert(rt:stream("b", "out", { cursor = cursor, limit = 7 }))
        for _, item in ipairs(items) do all[#all + 1] = tonumber(item.value:sub(1, 6)) end
        pages = pages + 1
      until ended
      assert.equal(143, pages)
      assert.equal(1000, #all)
      for i = 1, 1000 do assert.equal(i, all[i]) end
      local items = rt:stream("b", "out", { limit = 20 })
      assert.equal(items[11].value, rt:stream("b", "out", { cursor = items[10].cursor, limit = 1 })[1].value)
    end)

    it("say what is wrong", function()
      open()
      rt:start("burst", { id = "b", input = 1 })
      rt:start("burst", { id = "c", input = 1 })
      rt:drain(30)
      assert.equal("LNT_ENOTFOUND", select(3, rt:stream("nobody", "out")))
      assert.equal("LNT_EINVAL", select(3, rt:stream("b", "")))
      for _, text in ipairs({ "x", "1.2", "1.2.3.4", "-1.2.3", "1.2.99999999999", "99999999999999999999.1.1", "1..2" }) do
        local _, message, code = rt:stream("b", "out", { cursor = text })
        assert.equal("LNT_EINVAL", code)
        assert.matches("is not a cursor", message, 1, true)
      end
      local _, cursor = rt:stream("b", "out")
      assert.matches("is not one of instance 'c'", select(2, rt:stream("c", "out", { cursor = cursor })), 1, true)
    end)

    it("are followed: what was there, what comes, and the end", function()
      open()
      rt:start("steps", { id = "s", input = { steps = 3 } })
      local told, other = {}, {}
      assert(rt:follow("s", "progress", function(item) told[#told + 1] = item and item.value.step or "end" end))
      assert(rt:drain(30))
      assert.same({ 1 }, told)
      local stop = assert(rt:follow("s", "pairs", function(item) other[#other + 1] = item.value end))
      rt:raise("s", "go")
      assert(rt:drain(30))
      assert.same({ 1, 2 }, told)
      assert.same({ 2 }, other)
      stop()
      stop()
      rt:raise("s", "go")
      rt:raise("s", "go")
      assert(rt:drain(30))
      assert.same({ 1, 2, 3, "end" }, told)
      assert.same({ 2 }, other)
      assert.equal("LNT_ENOTFOUND", select(3, rt:follow("nobody", "s", print)))
    end)

    it("are followed from a cursor, until the function says that it is enough", function()
      open()
      rt:start("burst", { id = "b", input = 10 })
      assert(rt:wait("b", 30))
      local items, told = rt:stream("b", "out"), {}
      assert(rt:follow("b", "out", function(item)
        told[#told + 1] = tonumber(item.value:sub(1, 6))
        return #told == 3
      end, { cursor = items[4].cursor }))
      assert(rt:drain(30))
      assert.same({ 5, 6, 7 }, told)
    end)
  end)
end)
