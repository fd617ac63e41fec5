-- The module approval: the human gate, on a clock that only the spec moves.
local support = require("stdlib_support")

local HEAD = [[
  local approval = require "approval"
  activity("tell", function(notice) return notice end)
  activity("boss", function(notice) return notice end)
  activity("broken", function() error({ type = "Broken", message = "the mail is down", retryable = false }) end)
]]

local H = 3600

local function open(options)
  local self = support.story(HEAD .. 'workflow("w", function(ctx, input) return approval.ask(ctx, ' .. options .. ") end)")
  self:start({ what = "a trip" })
  return self
end

-- The notices that activities were given, shortened.
local function notices(self)
  local list = {}
  for _, event in ipairs(self.rt:history("i")) do
    if event.kind == "ActivityScheduled" then
      list[#list + 1] = ("%s %s %d"):format(event.name, event.value.kind, event.value.number)
    end
  end
  return list
end

describe("approval.ask", function()
  local self
  after_each(function() self:close() end)

  it("answers what the person sent, and what it took", function()
    self = open("{ request = input, notify = 'tell' }")
    self:advance(1e6)
    assert.equal("RUNNING", self:get().status)
    self:raise("Approval", { approved = true, by = "Ada", comments = "enjoy", budget = 900 })
    assert.same({ approved = true, by = "Ada", comments = "enjoy", budget = 900, reminders = 0, escalated = false }, self:output())
    assert.same({ "tell request 1" }, notices(self))
    local notice
    for _, event in ipairs(self.rt:history("i")) do if event.kind == "ActivityScheduled" then notice = event.value end end
    assert.same({ kind = "request", number = 1, instance = "i", event = "approval", request = { what = "a trip" } }, notice)
  end)

  it("takes an answer that came before it asked", function()
    self = support.story(HEAD .. 'workflow("w", function(ctx) ctx:create_timer(9) return approval.ask(ctx, { event = "ok" }) end)')
    self:start()
    self:raise("ok", { approved = false, comments = "no" })
    self:advance(9)
    assert.same({ false, "no" }, { self:output().approved, self:output().comments })
  end)

  it("reminds, escalates and gives up, each at its time", function()
    self = open([[{ request = input, notify = "tell", remind = { every = "4h", max = 2 }, escalate = { after = "10h", to = "boss" },
      timeout = "24h" }]])
    self:advance(4 * H - 1)
    assert.same({ "tell request 1" }, notices(self))
    self:advance(1)
    assert.same({ "tell request 1", "tell reminder 1" }, notices(self))
    self:advance(24 * H)
    assert.same({ "tell request 1", "tell reminder 1", "tell reminder 2", "boss escalation 1" }, notices(self))
    assert.same({ approved = false, reason = "timeout", reminders = 2, escalated = true }, self:output())
    assert.equal(1e15 + 24 * H * 1e6, self:get().closed_us)
  end)

  it("stops reminding once it is answered", function()
    self = open("{ notify = 'tell', remind = { every = '1h', max = 99 } }")
    self:advance(2.5 * H)
    self:raise("approval", { approved = true })
    self:advance(99 * H)
    assert.same({ true, 2 }, { self:output().approved, self:output().reminders })
    assert.equal(3, #notices(self))
  end)

  it("does not lose its reminders, nor sends them twice, when the process forgets it", function()
    self = open("{ notify = 'tell', remind = { every = '1h', max = 3 }, timeout = '5h' }")
    for _ = 1, 10 do
      assert(self.rt:evict_all())
      self:advance(H / 2)
    end
    assert.same({ "tell request 1", "tell reminder 1", "tell reminder 2", "tell reminder 3" }, notices(self))
    assert.same({ "timeout", 3 }, { self:output().reason, self:output().reminders })
  end)

  it("raises or approves after the timeout, if told to", function()
    self = open("{ timeout = 60, on_timeout = 'raise' }")
    self:advance(60)
    assert.same({ "Timeout", 'nobody answered "approval" within 60' }, { self:get().failure.type, self:get().failure.message })
    self:close()
    self = open("{ timeout = 60, on_timeout = 'approve' }")
    self:advance(60)
    assert.same({ true, "timeout" }, { self:output().approved, self:output().reason })
  end)

  it("goes on waiting after an answer that is none, and says what was wrong", function()
    self = open("{ notify = 'tell', timeout = '1h' }")
    for _, answer in ipairs({ "yes", { approved = "yes" }, { aproved = true }, { approved = true, by = 7 } }) do
      self:raise("approval", answer)
    end
    self:raise("approval", nil)
    assert.equal("RUNNING", self:get().status)
    local problems = {}
    for _, event in ipairs(self.rt:history("i")) do
      if event.kind == "ActivityScheduled" and event.value.kind == "invalid" then problems[#problems + 1] = event.value.problem end
    end
    assert.same({
      "an answer is a table with `approved`, not a string", "`approved` must be true or false, not a string",
      "`approved` must be true or false, not a nil", "`by` must be text, not a number",
      "an answer is a table with `approved`, not a nil" }, problems)
    self:raise("approval", { approved = true })
    assert.is_true(self:output().approved)
  end)

  it("takes an answer as an update too, and refuses at once one that is none or too late", function()
    self = support.story(HEAD .. [[workflow("w", function(ctx)
      local answer = approval.ask(ctx, { approvers = { "Ada" } })
      ctx:wait_for_external_event("end")
      return answer
    end)]])
    self:start()
    local before = #self.rt:history("i")
    local done, message, code = self.rt:update("i", "approval", { approved = "yes", by = "Ada" }, { timeout = 60 })
    assert.is_nil(done)
    assert.matches("`approved` must be true or false, not a string", message, 1, true)
    assert.equal("LNT_EFAILED", code)
    assert.matches("must be one of Ada, not Eve",
      (select(2, self.rt:update("i", "approval", { approved = true, by = "Eve" }, { timeout = 60 }))))
    assert.equal(before, #self.rt:history("i"))
    assert.same({ accepted = true }, self.rt:update("i", "approval", { approved = true, by = "Ada" }, { timeout = 60 }))
    assert(self.rt:drain(60))
    assert.matches("nobody waits for an answer any more",
      (select(2, self.rt:update("i", "approval", { approved = true, by = "Ada" }, { timeout = 60 }))))
    self:raise("end")
    assert.same({ true, "Ada" }, { self:output().approved, self:output().by })
  end)

  it("raises on an answer that is none, if told to", function()
    self = open("{ on_invalid = 'raise' }")
    self:raise("approval", "yes")
    assert.same({ "InvalidAnswer", "yes" }, { self:get().failure.type, self:get().failure.details })
  end)

  it("listens to its approvers only", function()
    self = open("{ approvers = { 'Ada', 'Bob' } }")
    self:raise("approval", { approved = true, by = "Eve" })
    self:raise("approval", { approved = true })
    assert.equal("RUNNING", self:get().status)
    self:raise("approval", { approved = true, by = "Bob" })
    assert.equal("Bob", self:output().by)
  end)

  it("waits for a quorum of different people", function()
    self = open("{ quorum = 2 }")
    self:raise("approval", { approved = true, by = "Ada", comments = "first" })
    self:raise("approval", { approved = true, by = "Ada", comments = "again" })
    assert.equal("RUNNING", self:get().status)
    self:raise("approval", { approved = true, by = "Bob" })
    local out = self:output()
    assert.same({ { approved = true, by = "Ada", comments = "again" }, { approved = true, by = "Bob" } }, out.approvals)
    self:close()
    self = open("{ quorum = 2 }")
    self:raise("approval", { approved = true, by = "Ada" })
    self:raise("approval", { approved = false, by = "Bob", comments = "no" })
    assert.same({ false, "no" }, { self:output().approved, self:output().comments })
  end)

  it("fails when nobody could be asked, but not when a reminder could not be sent", function()
    self = open("{ notify = 'broken' }")
    assert.equal("Broken", self:get().failure.type)
    self:close()
    self = open([[{ notify = function(n) if n.kind == "request" then return end ctx:call_activity("broken") end,
      remind = { every = 60 }, escalate = { after = 90, to = "broken" } }]])
    self:advance(1000)
    self:raise("approval", { approved = true })
    assert.same({ true, 3, true }, { self:output().approved, self:output().reminders, self:output().escalated })
  end)

  it("ends at once when the instance is canceled, and tells nobody any more", function()
    self = open("{ notify = 'tell', remind = { every = 60 }, on_timeout = 'approve', timeout = 600 }")
    self:advance(90)
    assert(self.rt:cancel("i"))
    self:advance(1000)
    assert.equal("CANCELED", self:get().status)
    assert.same({ "tell request 1", "tell reminder 1" }, notices(self))
  end)

  it("refuses options that contradict themselves, at the author's line", function()
    self = support.story(HEAD .. [[workflow("w", function(ctx)
      local function message(given) return select(2, pcall(function() local a = approval.ask(ctx, given) return a end)).message end
      return {
        message({ evnt = "x" }), message({ timeout = "soon" }), message({ remind = { every = "1h" } }),
        message({ remind = {}, notify = "x" }),
        message({ remind = { every = 0 }, notify = "x" }), message({ escalate = { after = "1h" } }), message({ on_timeout = "panic" }),
        message({ approvers = { "Ada" }, quorum = 2 }) }
    end)]])
    self:start()
    local wanted = {
      "unknown option evnt", "timeout: a duration", "remind needs `notify`", "remind needs `every`", "longer than nothing",
      "escalate needs `after` and `to`", 'on_timeout is reject, raise, approve; got "panic"', "1 approvers cannot make a quorum of 2" }
    local out = self:output()
    for i, text in ipairs(wanted) do
      assert.matches("^story.lua:%d+: approval.ask", out[i])
      assert.matches(text, out[i], 1, true)
    end
    assert.equal(#wanted, #out)
  end)
end)
