-- What activities may not do to their host.
local lunation = require("lunation")

describe("an activity", function()
  it("cannot end the process", function()
    local rt = assert(lunation.open({ store = "memory" }))
    assert(rt:load_string("exit.lua", [[
      activity("leave", function() os.exit(3) end)
      workflow("w", function(ctx) ctx:call_activity("leave") end)
    ]]))
    local id = assert(rt:start("w", {}))
    assert(rt:wait(id, 20))
    local instance = assert(rt:get(id))
    assert.equal("FAILED", instance.status)
    assert.matches("exit.lua:1: os.exit is not available in an activity", instance.failure.message, 1, true)
    rt:close()
  end)
end)
