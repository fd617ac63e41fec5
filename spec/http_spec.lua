-- http_spec.lua: the HTTP API of `lunation serve`, through curl on its Unix socket.
local support = require "spec.support"
local lunation = require "lunation"

local FLOWS = [[
workflow("echo", function(ctx, input) return input end)
workflow("waiter", function(ctx) return ctx:wait_for_external_event("go/now") end)
]]

describe("the HTTP API", function()
  local server

  setup(function()
    local folder = support.folder()
    support.write(folder .. "/flows.lua", FLOWS)
    server = support.serve(folder, folder .. "/data")
  end)

  teardown(function()
    support.stop(server)
    support.clean()
  end)

  local function request(...) return support.request(server, ...) end

  it("is for its owner only", function()
    assert.equal("600", support.output_of("stat -c %a " .. support.quote(server.socket)))
  end)

  it("tells health, workflows and counters", function()
    local status, health = request("GET", "/v1/health")
    assert.equal(200, status)
    assert.same({ status = "ok", version = lunation.version }, health)
    local _, workflows = request("GET", "/v1/workflows")
    assert.equal(2, #workflows.workflows)
    local _, stats = request("GET", "/v1/stats")
    assert.is_number(stats.commits)
  end)

  it("starts an instance and waits for its end", function()
    local status, started = request("POST", "/v1/workflows/echo/start?id=e1", '{"list": [1, null, {"x": "ü"}]}')
    assert.equal(201, status)
    assert.same({ id = "e1", workflow = "echo" }, started)
    local waited, instance = request("GET", "/v1/instances/e1/wait?timeout_ms=30000")
    assert.equal(200, waited)
    assert.equal("COMPLETED", instance.status)
    local _, text = support.http(server, "GET", "/v1/instances/e1")
    assert.matches('"input":{"list":[1,null,{"x":"ü"}]}', text, 1, true)
    assert.matches('"x":"ü"', text:match('"output":(.*)'), 1, true)
  end)

  it("answers a start only when it is durable", function()
    request("POST", "/v1/workflows/waiter/start?id=d1", "")
    local status, instance = request("GET", "/v1/instances/d1")
    assert.equal(200, status)
    assert.equal("d1", instance.id)
    request("POST", "/v1/instances/d1/terminate")
  end)

  it("decodes ids and event names in the URL", function()
    local id = "a b%c"
    assert.equal(201, (request("POST", "/v1/workflows/waiter/start?id=a%20b%25c")))
    assert.equal(id, select(2, request("GET", "/v1/instances/a%20b%25c")).id)
    local status, raised = request("POST", "/v1/instances/a%20b%25c/events/go%2Fnow", '{"n": 1}')
    assert.equal(200, status)
    assert.same({ id = id, event = "go/now" }, raised)
    local _, instance = request("GET", "/v1/instances/a%20b%25c/wait")
    assert.same({ n = 1 }, instance.output)
  end)

  -- A wait of `id` that began before `finish` is called: its answer has `part`.
  local function answers_wait(id, finish, part)
    request("POST", "/v1/workflows/waiter/start?id=" .. id)
    local folder = support.folder()
    local url = ("'http://localhost/v1/instances/%s/wait?timeout_ms=60000'"):format(id)
    os.execute(("%s --unix-socket %s %s >%s/out 2>&1 &"):format(support.curl, support.quote(server.socket), url, folder))
    local status, failure = request("GET", ("/v1/instances/%s/wait?timeout_ms=300"):format(id))
    assert.equal(504, status)
    assert.equal("LNT_ETIMEOUT", failure.error.code)
    finish()
    local function answered() return (support.read(folder .. "/out") or ""):find(part, 1, true) end
    support.wait_until(answered, "the answer to the wait")
  end

  it("answers a wait that comes before the end", function()
    answers_wait("w1", function() request("POST", "/v1/instances/w1/events/GO%2fNOW", '"done"') end, '"output":"done"')
  end)

  it("answers a wait that comes before a cancel", function()
    answers_wait("w2", function() request("POST", "/v1/instances/w2/cancel") end, '"status":"CANCELED"')
  end)

  it("terminates", function()
    request("POST", "/v1/workflows/waiter/start?id=t1")
    assert.equal(200, (request("POST", "/v1/instances/t1/terminate?reason=no%20more")))
    local _, instance = request("GET", "/v1/instances/t1/wait")
    assert.equal("TERMINATED", instance.status)
    local status, failure = request("POST", "/v1/instances/t1/events/go")
    assert.equal(409, status)
    assert.equal("LNT_ECLOSED", failure.error.code)
  end)

  it("cancels", function()
    request("POST", "/v1/workflows/waiter/start?id=c1")
    assert.equal(200, (request("POST", "/v1/instances/c1/cancel?reason=not%20wanted")))
    local _, instance = request("GET", "/v1/instances/c1/wait")
    assert.equal("CANCELED", instance.status)
    assert.equal("not wanted", instance.failure.message)
    assert.equal(409, (request("POST", "/v1/instances/c1/cancel")))
    assert.equal(404, (request("POST", "/v1/instances/nobody/cancel")))
  end)

  it("tells of an event whom it is about, and how its command was made", function()
    request("POST", "/v1/workflows/waiter/start?id=told&attributes=%7B%22a%22%3A1%7D")
    local _, history = request("GET", "/v1/instances/told/history")
    local started = history.events[1]
    assert.same({ "Started", "told", { attributes = { a = 1 } } }, { started.kind, started.id, started.options })
  end)

  it("suspends and resumes", function()
    request("POST", "/v1/workflows/waiter/start?id=s1")
    local status, reply = request("POST", "/v1/instances/s1/suspend?reason=a%20pause")
    assert.equal(200, status)
    assert.equal("s1", reply.id)
    request("POST", "/v1/instances/s1/events/go%2Fnow", '"kept"')
    assert.equal("SUSPENDED", select(2, request("GET", "/v1/instances/s1")).status)
    assert.equal(200, (request("POST", "/v1/instances/s1/resume")))
    local _, instance = request("GET", "/v1/instances/s1/wait")
    assert.equal("kept", instance.output)
    assert.equal(409, (request("POST", "/v1/instances/s1/suspend")))
    assert.equal(404, (request("POST", "/v1/instances/nobody/resume")))
  end)

  it("lists in pages, with filters, and tells histories", function()
    for i = 1, 3 do request("POST", "/v1/workflows/echo/start?id=page-" .. i, tostring(i)) end
    for i = 1, 3 do request("GET", "/v1/instances/page-" .. i .. "/wait") end
    local _, first = request("GET", "/v1/instances?prefix=page-&status=completed&workflow=echo&limit=2")
    assert.equal("page-3", first.instances[1].id)
    assert.equal(2, #first.instances)
    local _, second = request("GET", "/v1/instances?prefix=page-&status=completed&workflow=echo&limit=2&cursor=" .. first.next)
    assert.equal(1, #second.instances)
    local _, history = request("GET", "/v1/instances/page-1/history")
    assert.equal("Started", history.events[1].kind)
    assert.equal(1, history.events[1].value)
  end)

  it("starts at a time, with attributes, and under a policy for ids", function()
    local later = ("%.0f"):format((os.time() + 3600) * 1e6)
    local attributes = "&attributes=" .. ('{"customer":"ada","n":2}'):gsub('[{}":,]', function(c) return ("%%%02x"):format(c:byte()) end)
    local status = request("POST", "/v1/workflows/waiter/start?id=late&start_at_us=" .. later .. attributes)
    assert.equal(201, status)
    local _, late = request("GET", "/v1/instances/late")
    assert.equal("PENDING", late.status)
    assert.equal("ada", late.attributes.customer)
    assert.equal(504, (request("GET", "/v1/instances/late/wait?until=start&timeout_ms=1")))
    local existing, reply = request("POST", "/v1/workflows/waiter/start?id=late&id_reuse=existing")
    assert.equal(200, existing)
    assert.is_true(reply.existed)
    local _, found = request("GET", "/v1/instances?status=pending" .. attributes)
    assert.equal("late", found.instances[1].id)
    local _, counts = request("GET", "/v1/counts?workflow=waiter" .. attributes)
    assert.same({ total = 1, PENDING = 1 }, counts)
    assert.equal(201, (request("POST", "/v1/workflows/waiter/start?id=late&id_reuse=replace")))
    local waited, running = request("GET", "/v1/instances/late/wait?until=start&timeout_ms=30000")
    assert.equal(200, waited)
    assert.equal("RUNNING", running.status)
    request("POST", "/v1/instances/late/terminate")
  end)

  it("forks, reruns and retries", function()
    request("POST", "/v1/workflows/echo/start?id=source", '"in"')
    request("GET", "/v1/instances/source/wait")
    local status, reply = request("POST", "/v1/instances/source/fork?event=1&new_id=copy", '"other"')
    assert.equal(201, status)
    assert.same({ id = "copy" }, reply)
    local _, copy = request("GET", "/v1/instances/copy/wait")
    assert.equal("other", copy.output)
    assert.equal(409, (request("POST", "/v1/instances/source/fork?new_id=copy")))
    local refused, failure = request("POST", "/v1/instances/source/rerun?event=1")
    assert.equal(400, refused)
    assert.matches("event 1 is Started", failure.error.message, 1, true)
    assert.equal(400, (request("POST", "/v1/instances/source/retry")))
    assert.equal(400, (request("POST", "/v1/instances/source/fork?code=old")))
    request("POST", "/v1/workflows/waiter/start?id=ended")
    request("POST", "/v1/instances/ended/terminate")
    request("GET", "/v1/instances/ended/wait")
    local retried, again = request("POST", "/v1/instances/ended/retry")
    assert.equal(201, retried)
    assert.same({ id = "ended" }, again)
    request("POST", "/v1/instances/ended/events/go%2Fnow", '"went on"')
    assert.equal("went on", select(2, request("GET", "/v1/instances/ended/wait")).output)
  end)

  it("purges one, and all that match", function()
    for i = 1, 3 do request("POST", "/v1/workflows/echo/start?id=gone-" .. i) end
    for i = 1, 3 do request("GET", "/v1/instances/gone-" .. i .. "/wait") end
    local status, reply = request("POST", "/v1/instances/gone-1/purge")
    assert.equal(200, status)
    assert.same({ id = "gone-1", purged = 1 }, reply)
    assert.equal(404, (request("GET", "/v1/instances/gone-1")))
    local _, first = request("POST", "/v1/purge?prefix=gone-&limit=1&closed_before_us=" .. ("%.0f"):format((os.time() + 60) * 1e6))
    assert.equal(1, first.purged)
    local _, second = request("POST", "/v1/purge?prefix=gone-&cursor=" .. first.next)
    assert.same({ purged = 1 }, second)
    request("POST", "/v1/workflows/waiter/start?id=stays")
    local refused, failure = request("POST", "/v1/instances/stays/purge?recursive=false")
    assert.equal("LNT_EOPEN", failure.error.code)
    assert.equal(409, refused)
    assert.equal(200, (request("POST", "/v1/instances/stays/purge?force=true")))
    assert.equal(400, (request("POST", "/v1/instances/stays/purge?force=perhaps")))
  end)

  it("names what is wrong with a request", function()
    local cases = {
      { 404, "LNT_ENOTFOUND", "GET", "/v1/nonsense" },
      { 404, "LNT_ENOTFOUND", "GET", "/v1/instances/nobody" },
      { 404, "LNT_ENOTFOUND", "GET", "/v1/instances/nobody/history" },
      { 404, "LNT_ENOTFOUND", "GET", "/v1/instances/nobody/wait" },
      { 404, "LNT_ENOTFOUND", "POST", "/v1/instances/nobody/events/go" },
      { 404, "LNT_ENOTFOUND", "POST", "/v1/workflows/nobody/start" },
      { 405, "LNT_EINVAL", "DELETE", "/v1/instances/nobody" },
      { 400, "LNT_EINVAL", "GET", "/v1/instances/%zz" },
      { 400, "LNT_EINVAL", "GET", "/v1/instances?limit=many" },
      { 400, "LNT_EINVAL", "GET", "/v1/instances?status=happy" },
      { 400, "LNT_EINVAL", "GET", "/v1/instances?attributes=ada" },
      { 400, "LNT_EINVAL", "GET", "/v1/counts?created_from_us=yesterday" },
      { 404, "LNT_ENOTFOUND", "GET", "/v1/instances?parent=nobody" },
      { 400, "LNT_EINVAL", "POST", "/v1/workflows/echo/start?id_reuse=maybe" },
      { 400, "LNT_EINVAL", "POST", "/v1/workflows/echo/start?start_at_us=-1" },
      { 400, "LNT_EVALUE", "POST", "/v1/workflows/echo/start?attributes=%7B%22a%22%3A%5B%5D%7D" },
      { 400, "LNT_EINVAL", "GET", "/v1/instances/nobody/wait?until=noon" },
      { 400, "LNT_EINVAL", "POST", "/v1/workflows/echo/start?id=a%2Fb" },
      { 400, "LNT_EVALUE", "POST", "/v1/workflows/echo/start", "{\n  oops" },
    }
    for _, case in ipairs(cases) do
      local status, failure = request(case[3], case[4], case[5])
      assert.equal(case[1], status, case[4])
      assert.equal(case[2], failure.error.code, case[4])
      assert.is_true(#failure.error.message > 0)
    end
    local _, failure = request("POST", "/v1/workflows/echo/start", "{\n  oops")
    assert.matches("line 2", failure.error.message, 1, true)
  end)

  it("says whether a parameter is too long or wrongly written", function()
    local cases = {
      { "POST", "/v1/workflows/echo/start?id=" .. ("x"):rep(300), "`id` has 300 bytes; at most 128: shorten it" },
      { "POST", "/v1/workflows/echo/start?id=%zz", "`id` is not percent-encoded" },
      { "GET", "/v1/instances?workflow=" .. ("x"):rep(129), "`workflow` has 129 bytes; at most 128" },
      { "GET", "/v1/instances?prefix=a%00b", "`prefix` is not percent-encoded" },
      { "GET", "/v1/instances/e1/query/x?args=" .. ("1"):rep(9000), "at most 8191: send it as the body" },
      { "GET", "/v1/instances/" .. ("x"):rep(300), "is longer than 128 bytes: shorten it" },
    }
    for _, case in ipairs(cases) do
      local status, failure = request(case[1], case[2])
      assert.same({ 400, "LNT_EINVAL" }, { status, failure.error.code }, case[3])
      assert.matches(case[3], failure.error.message, 1, true)
    end
  end)

  it("refuses an id that is taken, and a value that is too large", function()
    request("POST", "/v1/workflows/echo/start?id=taken")
    local status, failure = request("POST", "/v1/workflows/echo/start?id=taken")
    assert.equal(409, status)
    assert.equal("LNT_EEXIST", failure.error.code)
    for _, megabytes in ipairs({ 3, 17 }) do
      local file = support.folder() .. "/large.json"
      support.write(file, '"' .. ("x"):rep(megabytes * 1048576) .. '"')
      local command = support.curl .. " -o /dev/null -w '%%{http_code}' --data-binary @%s --unix-socket %s %s"
      local url = "http://localhost/v1/workflows/echo/start"
      local code = support.output_of(command:format(file, support.quote(server.socket), url))
      assert.equal("413", code)
    end
    assert.equal(200, (request("GET", "/v1/health")))
  end)
end)
