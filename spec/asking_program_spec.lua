-- asking_program_spec.lua: queries, updates, streams and why an instance waits, over HTTP and at the command line.
local support = require "spec.support"
local lunation = require "lunation"

local CART = [[
workflow("cart", function(ctx)
  local items, total = {}, 0
  ctx:on_query("total", function() return total end)
  ctx:on_query("items", function() return items end)
  ctx:on_query("item", function(i) return items[i] end)
  ctx:on_update("add", {
    validate = function(item) if type(item) ~= "table" or not item.price then return false, "an item needs a price" end end,
    handle = function(item)
      items[#items + 1], total = item, total + item.price
      ctx:emit("log", { added = item.name })
      return { place = #items, total = total }
    end,
  })
  ctx:wait_for_external_event("pay", { timeout = "2h" })
  ctx:emit("log", "paid")
  return total
end)
]]

describe("asking the program", function()
  local server, folder, dir

  setup(function()
    folder = support.folder()
    dir = folder .. "/data"
    support.write(folder .. "/cart.lua", CART)
    server = support.serve(folder, dir)
  end)
  teardown(function()
    support.stop(server)
    support.clean()
  end)

  local function request(...) return support.request(server, ...) end

  local function run(...)
    return support.lunation({ ... })
  end

  local function cart(id)
    assert.equal(201, (request("POST", "/v1/workflows/cart/start?id=" .. id)))
  end

  describe("over HTTP", function()
    it("queries", function()
      cart("q")
      assert.equal('{"value":0}\n', select(3, request("GET", "/v1/instances/q/query/total")))
      request("POST", "/v1/instances/q/update/add", '{"name":"moon","price":10}')
      assert.same({ value = { name = "moon", price = 10 } }, select(2, request("GET", "/v1/instances/q/query/item?args=1")))
      assert.same({ value = { name = "moon", price = 10 } }, select(2, request("POST", "/v1/instances/q/query/item", "1")))
      assert.equal('{"value":null}\n', select(3, request("GET", "/v1/instances/q/query/item?args=9")))
      local status, reply = request("GET", "/v1/instances/q/query/nothing")
      assert.equal(422, status)
      assert.equal("LNT_EFAILED", reply.error.code)
      assert.equal("UnknownQuery", reply.error.failure.type)
      assert.equal(404, (request("GET", "/v1/instances/nobody/query/total")))
      assert.equal(400, (request("GET", "/v1/instances/q/query/total?args=%7B")))
    end)

    it("updates, once for each id", function()
      cart("u")
      local status, reply = request("POST", "/v1/instances/u/update/add?update_id=one", '{"price":3}')
      assert.equal(200, status)
      assert.same({ value = { place = 1, total = 3 }, id = "one" }, reply)
      assert.same(reply, select(2, request("POST", "/v1/instances/u/update/add?update_id=one", '{"price":3}')))
      status, reply = request("POST", "/v1/instances/u/update/add", '"x"')
      assert.equal(422, status)
      assert.equal("an item needs a price", reply.error.failure.message)
      assert.equal(405, (request("GET", "/v1/instances/u/update/add")))
      request("POST", "/v1/instances/u/events/pay")
      request("GET", "/v1/instances/u/wait")
      assert.equal(409, (request("POST", "/v1/instances/u/update/add", '{"price":3}')))
    end)

    it("tells why an instance waits", function()
      cart("w")
      local _, reply = request("GET", "/v1/instances/w/describe")
      assert.matches('^waits for the event "pay" until .* UTC, at cart.lua:14$', reply.reason)
      assert.same({ "item", "items", "total" }, reply.queries)
      assert.equal(404, (request("GET", "/v1/instances/nobody/describe")))
    end)

    it("reads streams from a cursor on, and waits for more", function()
      cart("s")
      local status, empty = request("GET", "/v1/instances/s/stream/log")
      assert.equal(200, status)
      assert.same({}, empty.items)
      assert.is_false(empty.ended)
      assert.same(empty, select(2, request("GET", "/v1/instances/s/stream/log?wait_ms=1&cursor=" .. empty.next)))
      local out = folder .. "/poll"
      local url = ("http://localhost/v1/instances/s/stream/log?wait_ms=60000&cursor=%s"):format(empty.next)
      os.execute(("%s --unix-socket %s %s >%s 2>&1 &"):format(support.curl, support.quote(server.socket), support.quote(url), out))
      request("POST", "/v1/instances/s/update/add", '{"name":"moon","price":10}')
      support.wait_until(function() return (support.read(out) or ""):find("ended", 1, true) end, "the answer to the poll")
      local polled = lunation.json_decode(support.read(out))
      assert.same({ added = "moon" }, polled.items[1].value)
      request("POST", "/v1/instances/s/events/pay")
      local _, last = request("GET", "/v1/instances/s/stream/log?wait_ms=60000&cursor=" .. polled.next)
      assert.equal("paid", last.items[1].value)
      _, last = request("GET", "/v1/instances/s/stream/log?wait_ms=60000&cursor=" .. last.next)
      assert.is_true(last.ended)
      assert.equal(400, (request("GET", "/v1/instances/s/stream/log?cursor=x")))
      assert.equal(400, (request("GET", "/v1/instances/s/stream/log?limit=0")))
      assert.equal(404, (request("GET", "/v1/instances/nobody/stream/log?wait_ms=1")))
    end)
  end)

  describe("at the command line", function()
    it("asks, and shows the answer", function()
      cart("c1")
      assert.equal('{"place":1,"total":10}\n', run("update", "c1", "add", '{"name":"moon","price":10}', "--data", dir, "--id", "a").out)
      assert.equal('{"place":1,"total":10}\n', run("update", "c1", "add", '{"name":"moon","price":10}', "--data", dir, "--id", "a").out)
      assert.equal("10\n", run("query", "c1", "total", "--data", dir).out)
      assert.equal("[{\"name\":\"moon\",\"price\":10}]\n", run("query", "c1", "items", "--data", dir).out)
      assert.equal('{"value":10}\n', run("query", "c1", "total", "--data", dir, "--json").out)
      local refused = run("update", "c1", "add", "1", "--data", dir)
      assert.equal(1, refused.code)
      assert.matches("UpdateRejected: an item needs a price", refused.err, 1, true)
      assert.equal(3, run("query", "nobody", "total", "--data", dir).code)
    end)

    it("shows why it waits, and what it waits for", function()
      cart("c2")
      local shown = run("show", "c2", "--data", dir)
      assert.matches('waiting   waits for the event "pay" until .-, at cart.lua:14\n', shown.out)
      assert.matches("event pay%s+until", shown.out)
      assert.matches("answers to  item, items, total", shown.out, 1, true)
      assert.matches("takes       add", shown.out, 1, true)
      local described = lunation.json_decode(run("show", "c2", "--data", dir, "--json").out).waiting
      assert.equal("pay", described.awaited[1].name)
      assert.is_true(described.live)
    end)

    it("shows streams, and follows them", function()
      cart("c3")
      local follower = support.spawn({ "stream", "c3", "log", "--follow", "--data", dir })
      run("update", "c3", "add", '{"name":"moon","price":1}', "--data", dir)
      support.wait_until(function() return support.read(follower.out) == '{"added":"moon"}\n' end, "the first value")
      run("raise", "c3", "pay", "--data", dir)
      support.wait_until(function() return not support.alive(follower) end, "the end of the stream")
      assert.equal('{"added":"moon"}\n"paid"\n', support.read(follower.out))
      assert.equal('{"added":"moon"}\n', run("stream", "c3", "log", "-n", "1", "--data", dir).out)
      local first = lunation.json_decode(run("stream", "c3", "log", "-n", "1", "--json", "--data", dir).out)
      assert.equal('"paid"\n', run("stream", "c3", "log", "--cursor", first.cursor, "--data", dir).out)
      assert.equal(2, run("stream", "c3", "log", "--cursor", "x", "--data", dir).code)
    end)
  end)

  it("works without a server, where nothing must run", function()
    local alone = folder .. "/alone"
    local rt = assert(lunation.open({ dir = alone }))
    assert(rt:load_file(folder .. "/cart.lua"))
    rt:start("cart", { id = "c" })
    rt:update("c", "add", { name = "sun", price = 1 })
    rt:close()
    assert.equal('{"added":"sun"}\n', run("stream", "c", "log", "--data", alone).out)
    assert.matches('waiting   waits for the event "pay" until [^\n]- UTC\n', run("show", "c", "--data", alone).out)
    local refused = run("query", "c", "total", "--data", alone)
    assert.equal(2, refused.code)
    assert.matches("no server runs on", refused.err, 1, true)
  end)
end)
