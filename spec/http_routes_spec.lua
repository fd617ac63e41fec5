-- http_routes_spec.lua: every route of the HTTP API is listed by GET /v1 and told of in bindings/http/API.md, and is there. And the routes
-- that tell of code.
local support = require "spec.support"
local lunation = require "lunation"

local GREETER = [[
local words = require "words"
workflow("greeter", function(ctx) return words.hello .. ctx:wait_for_external_event("name") end)
]]

describe("the routes of the HTTP API", function()
  local server, folder, routes

  setup(function()
    folder = support.folder()
    support.write(folder .. "/greeter.lua", GREETER)
    support.write(folder .. "/words.lua", 'return { hello = "hello " }\n')
    server = support.serve(folder, folder .. "/data")
    routes = lunation.json_decode(select(2, support.http(server, "GET", "/v1"))).routes
  end)

  teardown(function()
    support.stop(server)
    support.clean()
  end)

  local function request(...) return support.request(server, ...) end

  local manual = assert(support.read("bindings/http/API.md"))

  -- "GET /v1/x" -> { query = {names}, body = boolean }, from the tables of the manual.
  local function told()
    local rows = {}
    for row in manual:gmatch("\n| (`%u+ /v1[^\n]*)") do
      local cells = {}
      for cell in row:gmatch("([^|]*)|") do cells[#cells + 1] = cell end
      local name = cells[1]:match("`(.-)`")
      local query = {}
      for words in (cells[2]:gsub("%b()", "")):gmatch("`([%w_]+)`") do query[#query + 1] = words end
      table.sort(query)
      assert.is_nil(rows[name])
      rows[name] = { query = table.concat(query, " "), body = cells[3]:match("%S") ~= nil }
    end
    return rows
  end

  it("are all told of in the manual, with their parameters and bodies", function()
    local listed = {}
    for _, route in ipairs(routes) do
      table.sort(route.query)
      assert.is_true(#route.about > 0)
      listed[route.method .. " " .. route.path] = { query = table.concat(route.query, " "), body = route.body ~= nil }
    end
    assert.is_true(#routes > 30)
    assert.same(listed, told())
  end)

  it("are there, and know their method", function()
    for _, route in ipairs(routes) do
      local path = route.path:gsub("{%a+}", "nothing")
      local status, reply = request(route.method, path, route.body and "null" or nil)
      local code = type(reply) == "table" and reply.error and reply.error.message or ""
      assert.is_nil(code:match("no such URL"), route.method .. " " .. path)
      assert.is_true(status ~= 405 and status ~= 500, ("%s %s: %d %s"):format(route.method, path, status, code))
      local headers = support.output_of(("%s -g -i -X DELETE --unix-socket %s %s"):format(support.curl, support.quote(server.socket),
        support.quote("http://localhost" .. path)))
      assert.matches("^HTTP/1.1 405", headers)
      assert.matches("\nAllow: [^\n]*" .. route.method, headers)
    end
  end)

  it("read the parameters that they list, and refuse what is wrong with one", function()
    local wrong = { run = "x", limit = "0", created_from_us = "x", created_to_us = "x", start_at_us = "x", event = "x", timeout_ms = "x",
      closed_before_us = "x", wait_ms = "x", status = "happy", attributes = "[", id_reuse = "x", code = "x", policy = "x", dry_run = "x",
      recursive = "x", force = "x", whole = "x", suspend = "x", ["until"] = "x", retryable = "x", args = "{" }
    local texts = { "id", "workflow", "prefix", "parent", "cursor", "update_id", "new_id", "reason", "type", "message", "file", "hash",
      "key" }
    for _, name in ipairs(texts) do wrong[name] = "%zz" end
    for _, route in ipairs(routes) do
      for _, name in ipairs(route.query) do
        local path = route.path:gsub("{token}", "1:1:1"):gsub("{%a+}", "nothing")
        local status = request(route.method, ("%s?%s=%s%s"):format(path, name, assert(wrong[name], name),
          path:find("reload") and name ~= "file" and "&file=nothing.lua" or ""))
        assert.equal(400, status, ("%s %s?%s"):format(route.method, path, name))
      end
    end
  end)

  it("refuse parameters that they do not know: a condition spelled wrongly must not widen a purge", function()
    for _, route in ipairs(routes) do
      local path = route.path:gsub("{token}", "1:1:1"):gsub("{%a+}", "nothing")
      local status, reply = request(route.method, path .. "?worklow=nobody")
      assert.equal(400, status, route.method .. " " .. path)
      assert.matches("does not know the parameter `worklow`; it knows: ", reply.error.message, 1, true)
    end
  end)

  it("answer errors with the statuses that the manual tells", function()
    local source, of = assert(support.read("bindings/http/http.c")), {}
    for code, status in source:match("http_statuses%[%] = {(.-)};"):gmatch("{(LNT_%u+), (%d+)}") do of[code] = status end
    local found = 0
    for status, codes in manual:match("\n## Errors\n(.*)$"):gmatch("\n| (%d+) | ([^\n]*)") do
      for code in codes:gmatch("`(LNT_%u+)`") do
        if status ~= "405" then assert.same({ code, status }, { code, of[code] or "500" }) end
        found = found + (of[code] and status ~= "405" and 1 or 0)
      end
    end
    local known = 0
    for _ in pairs(of) do known = known + 1 end
    assert.equal(known, found)
  end)

  it("tell which versions there are, and who runs on them", function()
    assert.equal(201, (request("POST", "/v1/workflows/greeter/start?id=old")))
    local _, before = request("GET", "/v1/versions?workflow=greeter")
    assert.same({ 1, "greeter", 1, true }, { #before.versions, before.versions[1].workflow, before.versions[1].live,
      before.versions[1].is_current })
    assert.matches("greeter.lua$", before.versions[1].file)
    support.write(folder .. "/words.lua", 'return { hello = "good morning " }\n')
    local reload = "/v1/reload?policy=pin&file=" .. support.quote(folder .. "/greeter.lua"):gsub("'", "")
    local status, summary = request("POST", reload)
    assert.same({ 200, true, 1 }, { status, summary.switched, summary.checked })
    local _, after = request("GET", "/v1/versions?workflow=greeter")
    assert.same({ 2, summary.hash, true, 0, before.versions[1].hash, false, 1 }, { #after.versions, after.versions[1].hash,
      after.versions[1].is_current, after.versions[1].live, after.versions[2].hash, after.versions[2].is_current, after.versions[2].live })
    assert.is_true(after.versions[1].since_us > after.versions[2].since_us)
    assert.same({ versions = {} }, select(2, request("GET", "/v1/versions?workflow=nobody")))
  end)

  it("show the sources of a version by the beginning of its hash", function()
    local _, listed = request("GET", "/v1/versions?workflow=greeter")
    local hash = listed.versions[#listed.versions].hash
    local status, code = request("GET", "/v1/code/" .. hash:sub(1, 12))
    assert.same({ 200, hash }, { status, code.hash })
    local texts = {}
    for _, source in ipairs(code.sources) do texts[source.module or "the file"] = source.text end
    assert.same({ ["the file"] = GREETER, words = 'return { hello = "hello " }\n' }, texts)
    assert.equal("greeter.lua", code.sources[1].file)
    assert.same({ 404, 400 }, { (request("GET", "/v1/code/" .. ("0"):rep(64))), (request("GET", "/v1/code/zz")) })
  end)
end)
