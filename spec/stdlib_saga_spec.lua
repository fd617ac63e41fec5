-- The module saga: what was done is undone when a later step fails.
local support = require("stdlib_support")

local HEAD = [[
  local saga = require "saga"
  activity("do", function(what)
    if what == "bad" then error({ type = "Bad", message = "it does not work", retryable = false }) end
    return what
  end)
  activity("undo", function(what)
    if what == "stuck" then error({ type = "Stuck", message = "it cannot be undone", retryable = false }) end
  end)
]]

local function story(body)
  local self = support.story(HEAD .. 'workflow("w", function(ctx, input) ' .. body .. " end)")
  self:start()
  self:advance(1000)
  return self
end

local STEPS = [[
  local function step(s, what)
    return s:step(what, function() return ctx:call_activity("do", what) end, function(done) ctx:call_activity("undo", done) end)
  end
]]

describe("saga.run", function()
  local self
  after_each(function() self:close() end)

  it("answers what its function returns, and undoes nothing then", function()
    self = story(STEPS .. "local a, b = saga.run(ctx, function(s) return step(s, 'a'), step(s, 'b') end) return { a, b }")
    assert.same({ "a", "b" }, self:output())
    assert.same({ "do(a)", "do(b)" }, self:activities())
  end)

  it("undoes what was done, newest first, and raises the failure again", function()
    self = story(STEPS .. [[saga.run(ctx, function(s)
      step(s, "a")
      s:defer(function(failure) ctx:call_activity("undo", "deferred after " .. failure.type) end)
      s:step(function() return ctx:call_activity("do", "no way back") end)
      step(s, "b")
      step(s, "bad")
      step(s, "never")
    end)]])
    assert.equal("FAILED", self:get().status)
    assert.same({ "Bad", "it does not work" }, { self:get().failure.type, self:get().failure.message })
    assert.same({ "do(a)", "do(no way back)", "do(b)", "do(bad)", "undo(b)", "undo(deferred after Bad)", "undo(a)" }, self:activities())
  end)

  it("goes on undoing when a compensation fails, and tells which, with the failure behind it", function()
    self = story(STEPS .. [[
      local ok, e = pcall(saga.run, ctx, function(s)
        step(s, "a") step(s, "stuck") step(s, "b") step(s, "bad")
      end)
      return { ok = ok, type = e.type, message = e.message, cause = e.cause.type, name = e.details.failed[1].name, text = tostring(e) }]])
    assert.same({ "do(a)", "do(stuck)", "do(b)", "do(bad)", "undo(b)", "undo(stuck)", "undo(a)" }, self:activities())
    local out = self:output()
    assert.same({ false, "CompensationFailed", "Bad", "stuck" }, { out.ok, out.type, out.cause, out.name })
    assert.equal("1 of 3 compensations failed (stuck: Stuck: it cannot be undone), after Bad: it does not work", out.message)
    assert.equal("CompensationFailed: " .. out.message, out.text)
  end)

  it("tries compensations again by a policy", function()
    self = story(STEPS .. [[
      local tries = 0
      local _, e = pcall(saga.run, ctx, function(s)
        s:defer(function() tries = tries + 1 if tries < 3 then error("not yet") end end)
        step(s, "bad")
      end, { retry = { max_attempts = 5, interval = "1s" } })
      return { tries, e.type }]])
    assert.same({ 3, "Bad" }, self:output())
  end)

  it("undoes all at once with parallel", function()
    self = story(STEPS .. [[
      local began, took, failed = ctx:now()
      local _, e = pcall(saga.run, ctx, function(s)
        for i = 1, 3 do s:defer("wait " .. i, function() ctx:create_timer("10s") if i == 2 then error("no") end end) end
        error("over")
      end, { parallel = true })
      return { ctx:now() - began, e.type, e.details.failed[1].name, #e.details.failed }]])
    assert.same({ 10, "CompensationFailed", "wait 2", 1 }, self:output())
  end)

  it("leaves alone what was committed", function()
    self = story(STEPS .. "pcall(saga.run, ctx, function(s) step(s, 'a') s:commit() step(s, 'b') step(s, 'bad') end)")
    assert.same({ "do(a)", "do(b)", "do(bad)", "undo(b)" }, self:activities())
  end)

  it("undoes the outer one's steps after the inner one's", function()
    self = story(STEPS .. [[pcall(saga.run, ctx, function(outer)
      step(outer, "a")
      saga.run(ctx, function(inner) step(inner, "b") step(inner, "bad") end)
    end)]])
    assert.same({ "do(a)", "do(b)", "do(bad)", "undo(b)", "undo(a)" }, self:activities())
  end)

  it("cancels what was started in it before it undoes anything", function()
    self = story(STEPS .. [[
      local order = {}
      pcall(saga.run, ctx, function(s)
        s:defer(function() order[#order + 1] = "undone" end)
        ctx:spawn(function()
          s:step("long", function() ctx:create_timer("9h") end, function() order[#order + 1] = "never done" end)
        end)
        ctx:spawn(function()
          pcall(ctx.create_timer, ctx, "9h")
          ctx:shield(function() ctx:create_timer(5) end)
          order[#order + 1] = "cleaned up"
        end)
        step(s, "bad")
      end)
      return order]])
    assert.same({ "cleaned up", "undone" }, self:output())
  end)

  it("undoes a step that ends in another's branch after the saga has failed", function()
    self = story(STEPS .. [[
      local kept
      local late = ctx:spawn(function()
        ctx:create_timer(1)
        kept:step("late", function() ctx:create_timer(5) return "late" end, function(done) ctx:call_activity("undo", done) end)
      end)
      pcall(saga.run, ctx, function(s)
        kept = s
        ctx:create_timer(2)
        step(s, "bad")
      end)
      local ok, e = pcall(late.await, late)
      return { ok, e.type }]])
    assert.same({ false, "Canceled" }, self:output())
    assert.same({ "do(bad)", "undo(late)" }, self:activities())
  end)

  it("undoes when the instance is canceled, and the instance is CANCELED then", function()
    self = support.story(HEAD .. 'workflow("w", function(ctx) ' .. STEPS .. [[
      saga.run(ctx, function(s)
        step(s, "a")
        s:defer(function(failure) ctx:create_timer(60) ctx:call_activity("undo", failure.type) end)
        step(s, "b")
        ctx:wait_for_external_event("never")
      end) end)]])
    self:start()
    assert(self.rt:cancel("i", "changed my mind"))
    self:advance(30)
    assert.equal("RUNNING", self:get().status)
    assert(self.rt:evict_all())
    self:advance(60)
    assert.equal("CANCELED", self:get().status)
    assert.same({ "do(a)", "do(b)", "undo(b)", "undo(Canceled)", "undo(a)" }, self:activities())
  end)

  it("undoes when the scope around it is over time", function()
    self = story(STEPS .. [[
      local ok, e = pcall(ctx.scope, ctx, function()
        saga.run(ctx, function(s) step(s, "a") ctx:create_timer("9h") end)
      end, { timeout = "1m" })
      return { ok, e.type }]])
    assert.same({ false, "Timeout" }, self:output())
    assert.same({ "do(a)", "undo(a)" }, self:activities())
  end)

  it("goes on undoing after the process has forgotten it", function()
    self = support.story(HEAD .. 'workflow("w", function(ctx) ' .. STEPS .. [[
      saga.run(ctx, function(s)
        step(s, "a") step(s, "b")
        s:defer(function() ctx:create_timer(60) end)
        step(s, "bad")
      end) end)]])
    self:start()
    assert(self.rt:evict_all())
    self:advance(60)
    assert.equal("FAILED", self:get().status)
    assert.same({ "do(a)", "do(b)", "do(bad)", "undo(b)", "undo(a)" }, self:activities())
  end)

  it("refuses misuse at the author's line", function()
    self = story([[
      local function message(fn) return select(2, pcall(fn)).message end
      local kept
      saga.run(ctx, function(s) kept = s end)
      return {
        message(function() local a = saga.run({}, print) return a end),
        message(function() local a = saga.run(ctx) return a end),
        message(function() saga.run(ctx, function(s) s:step("x") return 1 end) end),
        message(function() kept:defer(print) end),
        message(function() saga.run(ctx, function(s) s.defer(print) end) end) }]])
    local out = self:output()
    assert.matches("^story.lua:%d+: saga.run: the first argument is the ctx", out[1])
    assert.matches("^story.lua:%d+: saga.run: what is run: a function is wanted, got a nil", out[2])
    assert.matches("^story.lua:%d+: saga:step: the action: a function is wanted", out[3])
    assert.matches("^story.lua:%d+: saga:defer: the saga is over", out[4])
    assert.matches("^story.lua:%d+: saga:defer: call it with a colon: s:defer", out[5])
  end)
end)
