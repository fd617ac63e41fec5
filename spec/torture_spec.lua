-- A short tools/torture in each durability, so that the test run knows it works; the long one is run by hand.
local build = os.getenv("LUNATION_BUILD") or "build"

describe("tools/torture", function()
  for _, durability in ipairs({ "sync", "process" }) do
    it("kills and finds no violation in durability " .. durability, function()
      local pipe = assert(io.popen(("tools/torture --build %s --kills 12 --seed 7 --durability %s 2>&1"):format(build, durability)))
      local text = pipe:read("*a")
      pipe:close()
      assert.is_truthy(text:find("\n12 kills, 0 violations\n", 1, true), text)
      assert.is_truthy(tonumber(text:match("(%d+) acknowledged starts")) > 0, text)
    end)
  end
end)
