-- The module retry: a block of workflow code, tried again by a policy.
local support = require("stdlib_support")

local HEAD = [[
  local retry = require "retry"
  local began
  local function fails(until_attempt, failure)
    return function(attempt, ctx)
      if attempt < until_attempt then error(failure or { type = "Busy", message = "attempt " .. attempt }, 0) end
      return attempt, nil, "done"
    end
  end
]]

-- Run `body` as a workflow whose clock jumps from timer to timer. Answers the story and the pauses in seconds.
local function story(body, input)
  local self = support.story(HEAD .. 'workflow("w", function(ctx, input) ' .. body .. " end)")
  self:start(input)
  self:advance(1e6)
  local pauses = {}
  for _, event in ipairs(self.rt:history("i")) do
    if event.kind == "TimerCreated" then pauses[#pauses + 1] = (event.due_us - event.time_us) / 1e6 end
  end
  return self, pauses
end

describe("retry.run", function()
  local self, pauses
  after_each(function() self:close() end)

  it("answers everything that the block returns, and pauses by Dapr's formula between the attempts", function()
    self, pauses = story([[
      local a, b, c = retry.run(ctx, { max_attempts = 10, interval = "2s", backoff = 3, max_interval = "1m" }, fails(7))
      return { a = a, b = b == nil, c = c }]])
    assert.same({ a = 7, b = true, c = "done" }, self:output())
    assert.same({ 2, 6, 18, 54, 60, 60 }, pauses)
  end)

  it("tries three times by default, one second and two apart, and then raises the last failure", function()
    self, pauses = story("retry.run(ctx, nil, fails(99))")
    assert.same({ "FAILED", "Busy", "attempt 3" }, { self:get().status, self:get().failure.type, self:get().failure.message })
    assert.same({ 1, 2 }, pauses)
  end)

  it("does not try again what is not retryable, what is listed, and what was canceled", function()
    for _, failure in ipairs({ '{ type = "A", retryable = false }', '{ type = "Listed" }', '{ type = "NonRetryableError" }',
      '{ type = "Canceled" }' }) do
      if self then self:close() end
      self, pauses = story(("retry.run(ctx, { non_retryable = { 'Other', 'Listed' } }, fails(9, %s))"):format(failure))
      assert.equal("FAILED", self:get().status)
      assert.same({}, pauses)
    end
  end)

  it("asks retry_if, tells on_retry", function()
    self, pauses = story([[
      local told = {}
      local ok, e = pcall(retry.run, ctx, { max_attempts = 9, retry_if = function(f, attempt) return attempt < 3 end,
        on_retry = function(f, attempt, pause) told[#told + 1] = f.type .. attempt .. "/" .. pause end }, fails(9))
      return { ok, e.message, told }]])
    assert.same({ false, "attempt 3", { "Busy1/1", "Busy2/2" } }, self:output())
  end)

  it("ends when its pauses together make up the timeout, as activities do; what the attempts take does not count", function()
    self, pauses = story([[
      retry.run(ctx, { max_attempts = 100, interval = "10s", backoff = 1, timeout = "25s" }, function(attempt)
        ctx:create_timer("15s")
        error({ type = "Busy", message = "attempt " .. attempt })
      end)]])
    assert.equal("attempt 4", self:get().failure.message)
    assert.same({ 15, 10, 15, 10, 15, 10, 15 }, pauses)
  end)

  it("cancels what an attempt has left behind before the next", function()
    self, pauses = story([[
      local ended = 0
      local ok = pcall(retry.run, ctx, { max_attempts = 3 }, function()
        ctx:spawn(function()
          local _, e = pcall(ctx.create_timer, ctx, "9h")
          if e.type == "Canceled" then ended = ended + 1 end
        end)
        ctx:create_timer(1)
        error("no")
      end)
      return { ok, ended }]])
    assert.same({ false, 3 }, self:output())
  end)

  it("makes pauses shorter at random with jitter, the same in every replay", function()
    self, pauses = story([[return retry.run(ctx, { max_attempts = 5, interval = 100, backoff = 1, jitter = 0.5 }, function(attempt)
      if attempt < 5 then ctx:create_timer(0) error("again") end end)]])
    assert.equal("COMPLETED", self:get().status)
    local different = {}
    for i = 2, #pauses, 2 do
      assert.is_true(pauses[i] >= 50 and pauses[i] <= 100)
      different[pauses[i]] = true
    end
    assert.is_true(#pauses == 8 and next(different, next(different)) ~= nil)
  end)

  it("goes on after the process has forgotten it", function()
    self = support.story(HEAD .. 'workflow("w", function(ctx) return (retry.run(ctx, { interval = 5 }, fails(3))) end)')
    self:start()
    for _ = 1, 3 do
      assert(self.rt:evict_all())
      self:advance(5)
    end
    assert.equal(3, self:output())
  end)

  it("refuses what it cannot understand, at the author's line", function()
    self = story([[
      local function message(...) return select(2, pcall(retry.run, ...)).message end
      return {
        message(ctx, { tries = 3 }, fails(1)), message(ctx, { interval = "soon" }, fails(1)), message(ctx, { max_attempts = 0 }, fails(1)),
        message(ctx, { backoff = 0.5 }, fails(1)), message(ctx, {}), message({}, {}, fails(1)) }]])
    local out = self:output()
    assert.matches("retry.run: unknown option tries; known are backoff, ", out[1])
    assert.matches('retry.run: interval: a duration .* is wanted, got "soon"', out[2])
    assert.matches("max_attempts: a whole number from 1 is wanted, got 0", out[3])
    assert.matches("backoff is 1 to 1000, got 0.5", out[4])
    assert.matches("what is tried: a function is wanted, got a nil", out[5])
    assert.matches("the first argument is the ctx of the workflow, got a table", out[6])
  end)
end)
