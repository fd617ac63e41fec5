-- The code in the READMEs: every block of Lua compiles, and the first of them runs.
local support = require("stdlib_support")

local function blocks(path)
  local file = assert(io.open(path))
  local text = file:read("*a")
  file:close()
  local list = {}
  for block in text:gmatch("```lua\n(.-)```") do list[#list + 1] = block end
  return list
end

describe("the READMEs", function()
  for _, path in ipairs({ "README.md", "stdlib/README.md" }) do
    it("hold Lua that compiles: " .. path, function()
      local list = blocks(path)
      assert.is_true(#list > 0)
      for i, block in ipairs(list) do
        local chunk, problem = loadstring(block, ("@%s, block %d"):format(path, i))
        assert.is_truthy(chunk, problem)
      end
    end)
  end

  it("begin with a workflow that does what it says", function()
    local order = blocks("README.md")[1] .. [[
      activity("refund_card", function(charge) return charge end)
      activity("ship", function(order)
        if order.order == 13 then error({ type = "Lost", message = "the parcel is lost", retryable = false }) end
        return "parcel " .. order.order
      end)
      workflow("w", function(ctx, input) return ctx:call_child_workflow("order", input) end)]]
    local story = support.story(order)
    story:start({ order = 7 })
    assert.equal("RUNNING", story:get().status)
    story:advance(24 * 3600)
    assert.equal("parcel 7", story:output())
    story:close()

    story = support.story(order)
    assert(story.rt:start("order", { id = "i", input = { order = 13 } }))
    story:advance(24 * 3600)
    assert.same({ "FAILED", "Lost" }, { story:get().status, story:get().failure.type })
    assert.same({ "charge_card", "ship", "refund_card" }, story:activities())
    story:close()
  end)
end)
