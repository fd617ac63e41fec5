-- The module http: requests of activities to a server on the loopback (spec/http_server.lua), and to one with TLS.
local support = require("support")
local story = require("stdlib_support")

local ffi = require("ffi")
ffi.cdef "int setenv(const char *name, const char *value, int overwrite);"
ffi.C.setenv("no_proxy", "*", 1)

local HEAD = 'local http, json = require "http", require "json" '
local MANY = os.getenv("LNT_GC_STRESS") and 20 or 200
local server, folder, base

setup(function()
  folder = support.output_of("mktemp -d")
  server = assert(io.popen("exec env -u LD_PRELOAD luajit spec/http_server.lua " .. folder .. "/port", "w"))
  local port = support.wait_until(function() return support.read(folder .. "/port") end, "the server")
  base = "http://127.0.0.1:" .. port
end)

teardown(function()
  server:close()
  os.execute("rm -rf " .. folder)
end)

-- The body of an activity, which knows `base` and `folder`.
local function run(body, input, options)
  return story.in_activity(HEAD .. ("local base, folder = %q, %q"):format(base, folder), body, input, options)
end

local function failure(body) return run("local ok, e = pcall(function() " .. body .. " end) assert(not ok) return e") end

describe("http", function()
  it("gets a page: status, headers, body", function()
    local r = run("return http.get(act, base .. '/echo?a=1#there')")
    assert.same({ 200, "application/json", "1, 2", { "a=1; Path=/", "b=2" }, base .. "/echo?a=1" },
      { r.status, r.headers["content-type"], r.headers["x-one"], r.cookies, r.url })
    assert.is_true(r.seconds >= 0)
    assert.matches('"method":"GET","target":"/echo?a=1","body":""', r.body, 1, true)
    assert.matches('"user-agent":"lunation"', r.body, 1, true)
  end)

  it("sends methods, queries, headers and bodies of every kind", function()
    local function echo(call)
      return run("return http." .. call .. ".json")
    end
    local e = echo([[request(act, { url = base .. "/echo?x=0", query = { b = "ü &", a = { 1, 2 } }, as = "json",
      headers = { ["X-Mine"] = "yes", ["User-Agent"] = false, Empty = "" } })]])
    assert.equal("/echo?x=0&a=1&a=2&b=%C3%BC%20%26", e.target)
    assert.same({ "yes", "", "application/json" }, { e.headers["x-mine"], e.headers.empty, e.headers.accept })
    assert.is_nil(e.headers["user-agent"])
    e = echo('post(act, base .. "/echo", { json = { b = 1, a = { true } }, as = "json", bearer = "secret", idempotency_key = true })')
    assert.same({ "POST", '{"a":[true],"b":1}', "application/json", "Bearer secret" },
      { e.method, e.body, e.headers["content-type"], e.headers.authorization })
    assert.matches("^%x+$", e.headers["idempotency-key"])
    e = echo('put(act, base .. "/echo", { form = { ["a b"] = "1&2", c = 3 }, as = "json" })')
    assert.same({ "PUT", "a%20b=1%262&c=3", "application/x-www-form-urlencoded" }, { e.method, e.body, e.headers["content-type"] })
    e = echo('patch(act, base .. "/echo", { body = "raw\\0bytes", as = "json", auth = { user = "u", password = "p" } })')
    assert.same({ "PATCH", "raw\0bytes", "Basic dTpw" }, { e.method, e.body, e.headers.authorization })
    assert.is_nil(e.headers["content-type"])
    e = echo('delete(act, base .. "/echo", { as = "json" })')
    assert.same({ "DELETE", "" }, { e.method, e.body })
    e = echo('post(act, base .. "/echo", { as = "json" })')
    assert.same({ "POST", "0" }, { e.method, e.headers["content-length"] })
    local r = run('return http.head(act, base .. "/big?bytes=1000")')
    assert.same({ 200, "1000", "" }, { r.status, r.headers["content-length"], r.body })
  end)

  it("sends multipart forms", function()
    local e = run([[return http.post(act, base .. "/echo", { as = "json", multipart = {
      note = "hi", file = { data = "bytes", filename = 'a"b.txt', type = "text/plain" } } }).json]])
    local boundary = e.headers["content-type"]:match("^multipart/form%-data; boundary=(.*)$")
    assert.equal(("--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a%22b.txt\"\r\nContent-Type: text/plain\r\n\r\n"
      .. "bytes\r\n--B\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nhi\r\n--B--\r\n"),
      (e.body:gsub(boundary:gsub("%-", "%%-"), "B")))
  end)

  it("sends files, and bodies that a function makes", function()
    local text = ("0123456789abcdef"):rep(20000)
    support.write(folder .. "/upload", text)
    local e = run('return http.post(act, base .. "/echo", { body_file = folder .. "/upload", as = "json" }).json')
    assert.same({ tostring(#text), true }, { e.headers["content-length"], e.body == text })
    e = run([[
      local n = 0
      return http.put(act, base .. "/echo", { as = "json", body = function()
        n = n + 1
        act:sleep("1ms")
        if n <= 5 then return ("part %d;"):format(n):rep(1000) end
      end }).json]])
    assert.same({ "chunked", 5 * 7 * 1000, "part 5;" }, { e.headers["transfer-encoding"], #e.body, e.body:sub(-7) })
  end)

  it("answers any status, and makes it a failure with check", function()
    assert.same({ 404, "no such page" }, run('local r = http.get(act, base .. "/nothing") return { r.status, r.body }'))
    local e = failure('http.get(act, base .. "/status?code=503&key=secret", { check = true })')
    assert.same({ "HttpStatus", base .. "/status answered 503: code 503", true, 503, "7", "code 503\nmore" },
      { e.type, e.message, e.retryable, e.details.status, e.details.retry_after, e.details.body })
    for code, retryable in pairs({ [400] = false, [404] = false, [408] = true, [429] = true, [500] = true, [501] = false }) do
      assert.equal(retryable, failure(('http.check(http.get(act, base .. "/status?code=%d"))'):format(code)).retryable)
    end
    assert.equal("HttpStatus", failure('http.get(act, base .. "/nothing", { as = "json" })').type)
    assert.equal("InvalidJson", failure('http.get(act, base .. "/gzip", { as = "json" })').type)
  end)

  it("follows redirections as browsers do", function()
    local function target(call) return run("local e = http." .. call .. " return { e.json.method, e.json.target, e.json.body }") end
    assert.same({ "GET", "/echo", "" }, target('get(act, base .. "/redirect?code=302&to=/echo", { as = "json" })'))
    assert.same({ "GET", "/echo", "" }, target('post(act, base .. "/redirect?code=303&to=/echo", { as = "json", body = "x" })'))
    assert.same({ "GET", "/echo", "" }, target('post(act, base .. "/redirect?code=301&to=/echo", { as = "json", body = "x" })'))
    assert.same({ "POST", "/echo", "x" }, target('post(act, base .. "/redirect?code=307&to=/echo", { as = "json", body = "x" })'))
    assert.same({ "PUT", "/echo", "x" }, target('put(act, base .. "/redirect?code=302&to=/echo", { as = "json", body = "x" })'))
    assert.equal(302, run('return http.get(act, base .. "/redirect?code=302&to=/echo", { redirects = 0 }).status'))
    assert.equal(base .. "/echo", run('return http.get(act, base .. "/redirect?code=308&to=/echo").url'))
    local e = failure('http.get(act, base .. "/loop", { redirects = 3 })')
    assert.same({ "TooManyRedirects", base .. "/loop: more than 3 redirections" }, { e.type, e.message })
    assert.equal("InvalidUrl", failure('http.get(act, base .. "/redirect?code=302&to=file:///etc/passwd")').type)
  end)

  it("takes secrets along to the same place only", function()
    local other = base:gsub("127.0.0.1", "localhost")
    local e = run(([[return http.get(act, base .. "/redirect?code=302&to=%s/echo", { as = "json", bearer = "secret",
      headers = { Cookie = "a=b", ["X-Plain"] = "1" } }).json.headers]]):format(other))
    assert.same({ nil, nil, "1" }, { e.authorization, e.cookie, e["x-plain"] })
    e = run([[return http.get(act, base .. "/redirect?code=302&to=/echo", { as = "json", bearer = "secret" }).json.headers]])
    assert.equal("Bearer secret", e.authorization)
  end)

  it("keeps a connection for the next request to the same place", function()
    assert.equal(0, run([[
      local before = tonumber(http.get(act, base .. "/connections").body)
      for i = 1, 20 do http.get(act, base .. "/echo") end
      return tonumber(http.get(act, base .. "/connections").body) - before]]))
  end)

  it("decompresses", function()
    assert.equal("hello\n", run('return http.get(act, base .. "/gzip").body'))
  end)

  it("bounds what it collects", function()
    assert.equal(100000, run('return #http.get(act, base .. "/big?bytes=100000").body'))
    local e = failure('http.get(act, base .. "/big?bytes=100000", { body_bytes_max = 99999 })')
    assert.same({ "LimitExceeded", false }, { e.type, e.retryable })
    assert.matches("GET " .. base .. "/big: the answer has more than 99999 bytes (body_bytes_max)", e.message, 1, true)
  end)

  it("gives the body as it comes, while the activity waits in between", function()
    assert.same({ 200, true, 3000000 }, run([[
      local size, pieces = 0, 0
      local r = http.get(act, base .. "/big?bytes=3000000", { on_chunk = function(data)
        size, pieces = size + #data, pieces + 1
        if pieces % 20 == 0 then act:sleep("1ms") end
      end })
      return { r.status, r.body == nil, size }]]))
  end)

  it("gives lines, and stops when told to", function()
    assert.same({ 50, "line 50", true }, run([[
      local lines = {}
      local r = http.get(act, base .. "/stream?n=50", { on_line = function(line) lines[#lines + 1] = line end })
      return { #lines, lines[50], r.stopped == nil }]]))
    assert.same({ 3, true }, run([[
      local count = 0
      local r = http.get(act, base .. "/stream?n=10000", { on_line = function() count = count + 1 return count == 3 end })
      return { count, r.stopped }]]))
  end)

  it("gives server-sent events by the standard", function()
    assert.same({
      { event = "message", data = "first" }, { event = "name", data = "one\ntwo", id = "7" }, { event = "message", data = "", id = "7" },
      { event = "message", data = "[DONE]", id = "7" } }, run([[
      local events = {}
      http.get(act, base .. "/events", { on_event = function(event) events[#events + 1] = event end })
      return events]]))
    assert.equal(1, run([[
      local n = 0
      http.get(act, base .. "/events", { on_event = function() n = n + 1 return true end })
      return n]]))
  end)

  it("collects the body of an error although a stream was wanted", function()
    assert.same({ 500, "code 500\nmore", 0 }, run([[
      local n = 0
      local r = http.get(act, base .. "/status?code=500", { on_chunk = function() n = n + 1 end })
      return { r.status, r.body, n }]]))
  end)

  it("writes a body to a file, whole or not at all", function()
    assert.equal(200, run('return http.get(act, base .. "/big?bytes=1000000", { to_file = folder .. "/big" }).status'))
    assert.equal(1000000, #support.read(folder .. "/big"))
    assert.equal("NetworkError", failure('http.get(act, base .. "/cut", { to_file = folder .. "/big" })').type)
    assert.equal(1000000, #support.read(folder .. "/big"))
    assert.equal(404, run('return http.get(act, base .. "/nothing", { to_file = folder .. "/none" }).status'))
    assert.is_nil(support.read(folder .. "/none"))
    assert.equal("", support.output_of("ls " .. folder .. " | grep tmp"))
  end)

  it("says what went wrong", function()
    local function kind(body)
      local e = failure(body)
      return e.type .. " " .. tostring(e.details and e.details.code) .. " " .. tostring(e.retryable)
    end
    assert.equal("NetworkError COULDNT_CONNECT true", kind('http.get(act, "http://127.0.0.1:1/")'))
    assert.equal("NetworkError PARTIAL_FILE true", kind('http.get(act, base .. "/cut")'))
    assert.equal("NetworkError GOT_NOTHING true", kind('http.get(act, base .. "/drop")'))
    local reset = kind('http.post(act, base .. "/reset", { body = ("x"):rep(20000000) })') -- and no SIGPIPE
    assert.matches("^NetworkError .* true$", reset)
    assert.equal("Timeout OPERATION_TIMEDOUT true", kind('http.get(act, base .. "/hang", { timeout = "50ms" })'))
    assert.equal("Timeout OPERATION_TIMEDOUT true", kind('http.get(act, base .. "/hang", { idle_timeout = "1s", timeout = "10m" })'))
    assert.equal("InvalidUrl nil false", kind('http.get(act, "/etc/passwd")'))
    assert.equal("InvalidUrl UNSUPPORTED_PROTOCOL false", kind('http.get(act, "file:///etc/passwd")'))
    assert.equal("InvalidUrl URL_MALFORMAT false", kind('http.get(act, "http://a b/")'))
    assert.equal("InvalidHeader nil false", kind('http.get(act, base, { headers = { X = "a\\r\\nHost: evil" } })'))
    assert.equal("InvalidHeader nil false", kind('http.get(act, base, { headers = { ["X:"] = 1 } })'))
    local e = failure('http.get(act, "http://user:secret@127.0.0.1:1/path?key=secret")')
    assert.matches("^GET http://127.0.0.1:1/path: ", e.message)
  end)

  it("refuses what contradicts itself at the author's line", function()
    local out = run([[
      local function message(...)
        local given = { ... }
        return select(2, pcall(function() local r = http.get(unpack(given)) return r end)).message
      end
      return { message("x", base), message(act, nil), message(act, base, { bdy = 1 }), message(act, base, { body = "x", json = 1 }),
        message(act, base, { on_line = print, to_file = "x" }), message(act, base, { timeout = "soon" }),
        message(act, base, { as = "xml" }), message(act, base, { auth = { name = "x" } }), message(act, base, { method = "G T" }) }]])
    local wanted = { "http.get: the first argument is the act", "http.get: the URL: text is wanted",
      "unknown option bdy; did you mean body? Known are as, auth",
      "only one of body, json, form, multipart, body_file", "only one of on_chunk",
      "timeout: a duration", 'as is "json" or nothing',
      "auth: unknown option name", '"G T" is no method' }
    for i, text in ipairs(wanted) do
      assert.matches("^story.lua:%d+: ", out[i])
      assert.matches(text, out[i], 1, true)
    end
    assert.equal(#wanted, #out)
  end)
end)

describe("many requests at once", function()
  it("are under way together from 200 activities on one thread", function()
    assert.same({ MANY, "together" }, story.result(HEAD .. ("local base = %q"):format(base) .. [[
      activity("get", function(n, act) return http.get(act, base .. "/barrier?n=" .. n).body end)
      workflow("w", function(ctx, n)
        local tasks = {}
        for i = 1, n do tasks[i] = ctx.async:call_activity("get", n) end
        local bodies = ctx:when_all(tasks)
        for i = 2, n do assert(bodies[i] == bodies[1]) end
        return { #bodies, bodies[1] }
      end)]], MANY))
  end)

  it("are under way together from one activity", function()
    assert.same({ MANY, "together", 200 }, run([[
      local list = {}
      for i = 1, input do list[i] = base .. "/barrier?n=" .. input end
      local all = http.all(act, list, { concurrency = input })
      return { #all, all[input].body, all[1].status }]], MANY))
  end)

  it("come in the order of the list, some at a time", function()
    assert.same({ 2 * MANY, true }, run([[
      local list = {}
      for i = 1, input do list[i] = { url = base .. "/echo?n=" .. i, as = "json" } end
      local all, right = http.all(act, list, { concurrency = 7 }), true
      for i, r in ipairs(all) do right = right and r.json.target == "/echo?n=" .. i end
      return { #all, right }]], 2 * MANY))
    assert.equal("[]", run("return json.encode(http.all(act, {}))"))
  end)

  it("are stopped by the first failure, or all come with settle", function()
    local e = failure('http.all(act, { base .. "/hang", base .. "/drop", base .. "/hang" })')
    assert.equal("NetworkError", e.type)
    assert.same({ true, 200, false, "HttpStatus" }, run([[
      local all = http.all(act, { base .. "/echo", { url = base .. "/status?code=404", check = true } }, { settle = true })
      return { all[1].ok, all[1].response.status, all[2].ok, all[2].failure.type }]]))
  end)

  it("end when the workflow gives the activity up, and others go on", function()
    local rt = story.open(HEAD .. ("local base = %q"):format(base) .. [[
      activity("get", function(path, act) return http.get(act, base .. path, { timeout = "10m" }).status end)
      workflow("w", function(ctx)
        local hanging = ctx.async:call_activity("get", "/hang")
        local status = ctx:call_activity("get", "/echo")
        hanging:cancel()
        return { status, ctx:call_activity("get", "/echo") }
      end)]])
    local id = assert(rt:start("w"))
    assert.same({ 200, 200 }, assert(rt:wait(id, 60)).output)
    assert(rt:drain(60)) -- nothing is running any more
    rt:close()
  end)

  it("are given up when the runtime closes", function()
    local rt = story.open(HEAD .. ("local base = %q"):format(base) .. [[
      activity("get", function(_, act) return http.get(act, base .. "/hang", { timeout = "10m" }).status end)
      workflow("w", function(ctx) for i = 1, 20 do ctx.async:call_activity("get") end ctx:wait_for_external_event("never") end)]])
    assert(rt:start("w"))
    for _ = 1, 20 do assert(rt:tick()) end
    rt:close()
  end)

  it("work on worker threads too", function()
    assert.same({ 6, 3000000 }, story.result(HEAD .. ("local base = %q"):format(base) .. [[
      activity("get", { blocking = true }, function(_, act)
        local size = 0
        http.get(act, base .. "/big?bytes=500000", { on_chunk = function(data) size = size + #data end })
        return size
      end)
      workflow("w", function(ctx)
        local tasks, sum = {}, 0
        for i = 1, 6 do tasks[i] = ctx.async:call_activity("get") end
        for _, size in ipairs(ctx:when_all(tasks)) do sum = sum + size end
        return { #tasks, sum }
      end)]], nil, { workers = 3 }))
  end)
end)

describe("link_check", function()
  it("asks again for those that may come back, and tells which are dead", function()
    local rt = story.open("")
    assert(rt:load_file("workflows/link_check.lua"))
    local links = { base .. "/echo", base .. "/status?code=404", base .. "/drop", base .. "/status?code=503" }
    local id = assert(rt:start("link_check", { input = { links = links, rounds = 2, pause = "5ms" } }))
    local output = assert(rt:wait(id, 60)).output
    local rounds = 0
    for _, event in ipairs(assert(rt:history(id))) do
      if event.kind == "ActivityScheduled" then
        rounds = rounds + 1
        assert.equal(rounds == 1 and 4 or 2, #event.value)
      end
    end
    rt:close()
    assert.same({ 4, 2, 3, 404, 503 }, { output.asked, rounds, #output.dead, output.dead[1].answer, output.dead[3].answer })
    assert.matches("GET " .. base .. "/drop: ", output.dead[2].answer, 1, true)
  end)
end)

describe("http over TLS", function()
  local tls, port

  setup(function()
    local made = support.shell(("cd %s && openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 "
      .. "-subj /CN=localhost -addext subjectAltName=DNS:localhost"):format(folder))
    assert(made.code == 0, made.err)
    tls = support.output_of(("cd %s; env -u LD_PRELOAD openssl s_server -accept 127.0.0.1:0 -cert cert.pem -key key.pem -www "
      .. "</dev/null >tls.out 2>&1 & echo $!"):format(folder))
    port = support.wait_until(function()
      return (support.read(folder .. "/tls.out") or ""):match("ACCEPT 127.0.0.1:(%d+)")
    end, "the server with TLS")
  end)

  teardown(function()
    os.execute("kill " .. tls)
  end)

  it("trusts a certificate that it is told to trust", function()
    local r = run(('return http.get(act, "https://localhost:%s/", { ca_file = folder .. "/cert.pem" })'):format(port))
    assert.equal(200, r.status)
    assert.matches("s_server", r.body)
  end)

  it("refuses a certificate that nobody vouches for, or of another name", function()
    local e = failure(('http.get(act, "https://localhost:%s/")'):format(port))
    assert.same({ "TlsError", "PEER_FAILED_VERIFICATION", false }, { e.type, e.details.code, e.retryable })
    e = failure(('http.get(act, "https://127.0.0.1:%s/", { ca_file = folder .. "/cert.pem" })'):format(port))
    assert.equal("TlsError", e.type)
    assert.equal(200, run(('return http.get(act, "https://127.0.0.1:%s/", { insecure = true }).status'):format(port)))
  end)
end)
