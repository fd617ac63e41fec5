-- answering_spec.lua: activities that somebody outside answers by their token, over HTTP and at the command line.
local support = require "spec.support"
local lunation = require "lunation"

local FLOWS = [[
activity("ask", function(_, act) act:complete_later() end)
activity("ask_now", function(_, act) act:complete_later() end)
workflow("approval", function(ctx, options)
  local ok, answer = pcall(ctx.call_activity, ctx, "ask", nil, options)
  if ok then return { answer = answer } end
  return { type = answer.type, message = answer.message, details = answer.details }
end)
workflow("twice", function(ctx)
  return ctx:call_activity("ask_now", nil, { heartbeat = "1h", retry = { max_attempts = 2, first_interval = "1h" } })
end)
]]

describe("an activity that is answered from outside", function()
  local folder, dir, server

  before_each(function()
    folder = support.folder()
    dir = folder .. "/data"
    support.write(folder .. "/flows.lua", FLOWS)
    server = support.serve(folder, dir)
  end)
  after_each(function()
    if server then support.stop(server) end
    support.clean()
  end)

  local function cli(...)
    local words = { ... }
    words[#words + 1], words[#words + 2] = "--data", dir
    return support.lunation(words)
  end
  local function request(...) return support.request(server, ...) end

  local function described(id) return select(2, request("GET", "/v1/instances/" .. id .. "/describe")).activities[1] end

  -- Start it, and answer the token of the activity that it waits for.
  local function token_of(id, workflow, input)
    assert.equal(201, (request("POST", ("/v1/workflows/%s/start?id=%s"):format(workflow or "approval", id), input)))
    support.wait_until(function()
      local activity = described(id)
      return activity and activity.state == "deferred"
    end, "the question")
    return described(id).token
  end

  local function outcome(id)
    return select(2, request("GET", "/v1/instances/" .. id .. "/wait?timeout_ms=60000")).output
  end

  local function stop()
    support.stop(server)
    server = nil
  end

  describe("over HTTP", function()
    it("is completed once", function()
      local token = token_of("h1")
      local status, reply = request("POST", "/v1/activities/" .. token .. "/complete", '{"approved":true}')
      assert.same({ 200, { token = token } }, { status, reply })
      assert.same({ answer = { approved = true } }, outcome("h1"))
      local again, failure = request("POST", "/v1/activities/" .. token .. "/complete", "2")
      assert.same({ 409, "LNT_EOVER" }, { again, failure.error.code })
      assert.matches("activity 'ask' of instance 'h1'", failure.error.message, 1, true)
    end)

    it("fails as its answerer says", function()
      local token = token_of("h2")
      local path = "/v1/activities/" .. token .. "/fail?type=Refused&message=not%20today"
      assert.equal(200, (request("POST", path .. "&retryable=false", '{"by":"Ada"}')))
      assert.same({ type = "Refused", message = "not today", details = { by = "Ada" } }, outcome("h2"))
    end)

    it("gives signs of life", function()
      local token = token_of("h3", "twice")
      assert.same({ token = token, canceled = false }, select(2, request("POST", "/v1/activities/" .. token .. "/heartbeat", '{"rows":7}')))
      assert.same({ rows = 7 }, described("h3").heartbeat)
      assert.equal(200, (request("POST", "/v1/activities/" .. token .. "/fail")))
      assert.same({ "retrying", 2 }, { described("h3").state, described("h3").attempt })
      assert.is_nil(described("h3").token)
      assert.is_true(select(2, request("POST", "/v1/activities/" .. token .. "/heartbeat")).canceled)
    end)

    it("names what is wrong with a token or an answer", function()
      local token = token_of("h4")
      for _, case in ipairs({
        { 400, "LNT_EINVAL", "/v1/activities/nonsense/complete" },
        { 404, "LNT_ENOTFOUND", "/v1/activities/999:1:1/complete" },
        { 404, "LNT_ENOTFOUND", "/v1/activities/" .. token:gsub(":1:", ":9:") .. "/fail" },
        { 400, "LNT_EVALUE", "/v1/activities/" .. token .. "/complete", "{" },
        { 400, "LNT_EINVAL", "/v1/activities/" .. token .. "/fail?retryable=maybe" },
        { 400, "LNT_EINVAL", "/v1/activities/nonsense/heartbeat" },
      }) do
        local status, reply = request("POST", case[3], case[4])
        assert.same({ case[3], case[1], case[2] }, { case[3], status, reply.error.code })
      end
      assert.equal("deferred", described("h4").state)
    end)
  end)

  describe("at the command line", function()
    it("is completed through the server, by the token that `show` prints", function()
      token_of("c1")
      local shown = cli("show", "c1")
      local token = shown.out:match("lunation complete (%S+) JSON")
      assert.matches("deferred, token " .. token, shown.out, 1, true)
      local done = cli("complete", token, '{"approved":true}')
      assert.same({ 0, token .. " is answered\n", "" }, { done.code, done.out, done.err })
      assert.same({ answer = { approved = true } }, outcome("c1"))
      local again = cli("complete", token, "--result", "1", "--json")
      assert.equal(4, again.code)
      assert.equal("LNT_EOVER", lunation.json_decode(again.out).error.code)
    end)

    it("is completed where no server runs, and goes on with the next", function()
      local token = token_of("c2")
      stop()
      local done = cli("complete", token, "--json")
      assert.same({ 0, { token = token, completed = true, served = false } }, { done.code, (lunation.json_decode(done.out)) })
      assert.matches("lunation serve", done.err, 1, true)
      assert.equal(4, cli("complete", token).code)
      server = support.serve(folder, dir)
      assert.same({}, outcome("c2"))
    end)

    it("fails through the server and without one", function()
      local one, two = token_of("c3"), token_of("c4")
      assert.equal(0, cli("fail", one, "--type", "Refused", "--message", "no", "--details", "[1]").code)
      assert.same({ type = "Refused", message = "no", details = { 1 } }, outcome("c3"))
      stop()
      assert.equal(0, cli("fail", two, "--type", "Refused", "--message", "no", "--details", "[1]").code)
      server = support.serve(folder, dir)
      assert.same({ type = "Refused", message = "no", details = { 1 } }, outcome("c4"))
    end)

    it("gives signs of life through the server and without one", function()
      local token = token_of("c5", "twice")
      assert.equal("wanted\n", cli("heartbeat", token, '"half"').out)
      assert.equal("half", described("c5").heartbeat)
      stop()
      assert.same({ token = token, canceled = false, served = false }, (lunation.json_decode(cli("heartbeat", token, "1", "--json").out)))
      assert.equal(0, cli("fail", token, "--non-retryable").code)
      assert.equal("canceled\n", cli("heartbeat", token).out)
    end)

    it("says what is no token, and of what there is none", function()
      assert.same({ 2, 3, 2, 2 }, { cli("complete", "17:3").code, cli("complete", "17:3:1").code, cli("complete", "17:3:1", "{").code,
        cli("complete").code })
      stop()
      assert.same({ 2, 3 }, { cli("fail", "17:3").code, cli("complete", "17:3:1").code })
      assert.matches("looks like 17:3:1", cli("heartbeat", "x").err, 1, true)
    end)
  end)
end)
