-- The module parallel: pieces of workflow code at once.
local support = require("stdlib_support")

local HEAD = [[
  local parallel = require "parallel"
  activity("double", function(n) return n * 2 end)
]]

-- Run `body` as a workflow whose clock jumps from timer to timer. Answers its output and the story, which is closed.
local function run(body, input)
  local story = support.story(HEAD .. 'workflow("w", function(ctx, input) ' .. body .. " end)")
  story:start(input)
  story:advance(1e6)
  local output = story:output()
  local kinds = {}
  for _, event in ipairs(story.rt:history("i")) do kinds[event.kind] = (kinds[event.kind] or 0) + 1 end
  story:close()
  return output, kinds
end

describe("parallel.map", function()
  it("gives the results in the order of the items, whoever ends first", function()
    assert.same({ 30, 10, 20 }, run([[
      return parallel.map(ctx, input, function(n, i)
        ctx:create_timer(n)
        assert(input[i] == n)
        return n * 10
      end)]], { 3, 1, 2 }))
  end)

  it("runs at most `concurrency` at once, and all of them", function()
    local out = run([[
      local now, most = 0, 0
      local results = parallel.map(ctx, input, function(n)
        now = now + 1
        most = math.max(most, now)
        local value = ctx:call_activity("double", n)
        now = now - 1
        return value
      end, { concurrency = 3 })
      return { results, most }]], { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 })
    assert.same({ { 2, 4, 6, 8, 10, 12, 14, 16, 18, 20 }, 3 }, out)
  end)

  it("gives an empty array for an empty list", function()
    assert.equal("[]", run('return require("json").encode(parallel.map(ctx, {}, function() end))'))
  end)

  it("cancels the others at the first failure and raises it", function()
    local out, kinds = run([[
      local begun = 0
      local ok, e = pcall(parallel.map, ctx, input, function(n)
        begun = begun + 1
        ctx:create_timer(n)
        error({ type = "Bad", message = "item " .. n })
      end, { concurrency = 2 })
      return { ok, e.type, e.message, begun }]], { 50, 2, 60 })
    assert.same({ false, "Bad", "item 2", 2 }, out)
    assert.equal(1, kinds.CommandCanceled)
    assert.equal(1, kinds.TimerFired)
  end)

  it("collects failures with settle", function()
    assert.same({ { ok = true, value = 1 }, { ok = false, failure = { type = "Even", message = "2" } }, { ok = true, value = 3 } }, run([[
      return parallel.map(ctx, { 1, 2, 3 }, function(n)
        ctx:create_timer(5 - n)
        if n % 2 == 0 then error({ type = "Even", message = tostring(n) }) end
        return n
      end, { settle = true })]]))
  end)

  it("takes many items through few branches", function()
    local out = run([[
      local list, sum = {}, 0
      for i = 1, 3000 do list[i] = i end
      for _, n in ipairs(parallel.map(ctx, list, function(n) return ctx:call_activity("double", n) end, { concurrency = 50 })) do
        sum = sum + n
      end
      return sum]])
    assert.equal(3000 * 3001, out)
  end)
end)

describe("parallel, canceled", function()
  it("cancels all branches, begins no more, and is raised on, with settle too", function()
    for _, given in ipairs({ "{ concurrency = 2 }", "{ concurrency = 2, settle = true }" }) do
      local story = support.story(HEAD .. ([[workflow("w", function(ctx)
        local begun, ended = 0, 0
        local ok, e = pcall(parallel.map, ctx, { 1, 2, 3, 4 }, function()
          begun = begun + 1
          local _, why = pcall(ctx.create_timer, ctx, "9h")
          ctx:shield(function() ctx:create_timer(1) end)
          ended = ended + 1
          error(why, 0)
        end, %s)
        ctx:set_custom_status({ ok, e.type, begun, ended })
        error(e, 0)
      end)]]):format(given))
      story:start()
      assert(story.rt:cancel("i"))
      story:advance(10)
      assert.same({ "CANCELED", { false, "Canceled", 2, 2 } }, { story:get().status, story:get().custom_status })
      story:close()
    end
  end)

  it("is not swallowed by a race that is decided", function()
    local story = support.story(HEAD .. [[workflow("w", function(ctx)
      parallel.race(ctx, {
        quick = function() ctx:create_timer(1) return 1 end,
        stubborn = function() pcall(ctx.create_timer, ctx, "9h") ctx:shield(function() ctx:create_timer(60) end) end })
      ctx:create_timer(1)
      return "went on"
    end)]])
    story:start()
    story:advance(30)
    assert(story.rt:cancel("i"))
    story:advance(100)
    assert.equal("CANCELED", story:get().status)
    story:close()
  end)
end)

describe("parallel.all", function()
  it("gives the results under the keys of the functions", function()
    assert.same({ a = 2, b = 4 }, run([[
      return parallel.all(ctx, { a = function() return ctx:call_activity("double", 1) end, b = function() return 4 end })]]))
    assert.same({ "x", "y" }, run("return parallel.all(ctx, { function() ctx:create_timer(9) return 'x' end, function() return 'y' end })"))
  end)
end)

describe("parallel.race", function()
  it("answers the first that ends, and cancels the others", function()
    local out, kinds = run([[
      local value, who = parallel.race(ctx, {
        slow = function() ctx:create_timer("9h") return 1 end,
        quick = function() ctx:create_timer("1h") return 2 end })
      return { value, who }]])
    assert.same({ 2, "quick" }, out)
    assert.equal(1, kinds.CommandCanceled)
  end)

  it("raises the failure of the first that ends", function()
    assert.equal("no", run([[
      local _, e = pcall(parallel.race, ctx, {
        function() ctx:create_timer("9h") return 1 end, function() ctx:create_timer("1h") error({ type = "T", message = "no" }) end })
      return e.message]]))
  end)
end)

describe("parallel.any", function()
  it("answers the first that succeeds", function()
    assert.same({ "here", 3 }, run([[
      local value, who = parallel.any(ctx, {
        function() error("at once") end, function() ctx:create_timer(1) error("soon") end,
        function() ctx:create_timer(2) return "here" end, function() ctx:create_timer(3) return "later" end })
      return { value, who }]]))
  end)

  it("tells all failures when none succeeds", function()
    local out = run([[
      local _, e = pcall(parallel.any, ctx, {
        a = function() ctx:create_timer(1) error({ type = "Late", message = "x" }, 0) end, b = function() error("early", 0) end })
      return { e.type, e.message, e.cause.type }]])
    assert.equal("AllFailed", out[1])
    assert.matches("none succeeded: b: Error: early; a: ", out[2], 1, true)
    assert.equal("Late", out[3])
  end)

  it("refuses to race nobody, at the author's line", function()
    assert.matches("^story.lua:%d+: parallel.race: there is nothing to call", run([[
      local _, e = pcall(function() local a = parallel.race(ctx, {}) return a end)
      return e.message]]))
    assert.matches("^story.lua:%d+: parallel.all: %[x%]: a function is wanted, got 7", run([[
      local _, e = pcall(function() local a = parallel.all(ctx, { x = 7 }) return a end)
      return e.message]]))
  end)
end)
