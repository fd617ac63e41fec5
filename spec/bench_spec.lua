-- `lunation bench`: the workloads of size do what they measure. Figures are not judged here.
local support = require "spec.support"
local lunation = require "lunation"

describe("lunation bench", function()
  it("rebuilds a long history, fires timers, lists and wakes parked instances, tries new code, follows a file", function()
    local result = support.lunation({ "bench", "W7", "W8", "W9", "W10", "W11", "--quick", "--durability", "process", "--json" })
    assert.equal(0, result.code, result.err)
    local by_name = {}
    for _, figures in ipairs(assert(lunation.json_decode(result.out)).results) do by_name[figures.name] = figures end
    assert.is_true(by_name.W7.n > 5000)
    assert.is_true(by_name.W7.events_per_s > 0 and by_name.W7.wide_events_per_s > 0)
    assert.is_true(by_name.W8.closed >= 1000 and by_name.W8.fired_s > 0)
    assert.equal(5, by_name.W9.closed)
    assert.same({ 1000, 1000 }, { by_name.W10.n, by_name.W10.moved })
    for _, figure in ipairs({ "check_s", "evicted_s", "adopt_s", "tick_ms", "long_tick_ms" }) do
      assert.is_true(by_name.W10[figure] > 0, figure)
    end
    assert.is_true(by_name.W11.n >= 5 and by_name.W11.ms > 0)
    for _, figure in ipairs({ "rss_mb", "page_ms", "status_ms", "name_ms", "attribute_ms", "prefix_ms", "wake_ms" }) do
      assert.is_true(by_name.W9[figure] > 0, figure)
    end
  end)
end)
