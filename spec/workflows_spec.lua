-- The example workflows, as a reader would run them: each on a store in memory, through the Lua binding.
local lunation = require("lunation")

local function open(file, options)
  options = options or {}
  options.store = options.store or "memory"
  local rt = assert(lunation.open(options))
  assert(rt:load_file("workflows/" .. file))
  return rt
end

local function run(file, workflow, input)
  local rt = open(file)
  local id = assert(rt:start(workflow, { input = input }))
  assert(rt:wait(id, 20))
  local instance = assert(rt:get(id))
  rt:close()
  return instance
end

describe("hello", function()
  it("greets whom it is told to", function()
    local instance = run("hello.lua", "hello", "Ada")
    assert.equal("COMPLETED", instance.status)
    assert.equal("Hello, Ada!", instance.output)
  end)
  it("greets the world without an input", function()
    assert.equal("Hello, world!", run("hello.lua", "hello").output)
  end)
end)

describe("order_saga", function()
  it("ships an order", function()
    assert.same({ status = "shipped", order = "A-17" }, run("order_saga.lua", "order_saga", { order = "A-17", total = 120 }).output)
  end)
  it("undoes what was done, newest first, when shipping fails", function()
    assert.same({ status = "compensated", reason = "NoSuchAddress", undone = { "refunded charge-A-18", "released stock-A-18" } },
      run("order_saga.lua", "order_saga", { order = "A-18", total = 120, address = "nowhere" }).output)
  end)
  it("does not try a declined card again", function()
    assert.same({ status = "compensated", reason = "CardDeclined", undone = { "released stock-A-19" } },
      run("order_saga.lua", "order_saga", { order = "A-19", total = 5000 }).output)
  end)
end)

describe("approval", function()
  local function decide(decision)
    local rt = open("trip.lua")
    assert(rt:start("approval", { id = "trip", input = { what = "a trip", timeout = "1h" } }))
    assert(rt:drain(10))
    assert.equal("waiting for a decision on a trip", rt:get("trip").custom_status)
    assert(rt:raise("trip", "Decision", decision))
    assert(rt:wait("trip", 10))
    local output = rt:get("trip").output
    rt:close()
    return output
  end
  it("is approved", function() assert.same({ status = "approved", by = "Ada" }, decide({ approved = true, by = "Ada" })) end)
  it("is rejected", function() assert.same({ status = "rejected", by = "Bob" }, decide({ approved = false, by = "Bob" })) end)
  it("times out", function()
    assert.same({ status = "timed out" }, run("trip.lua", "approval", { what = "a trip", timeout = "20ms" }).output)
  end)
end)

describe("best_offer", function()
  local shops = { { name = "North", price = 120 }, { name = "South", price = 95 }, { name = "Slow", price = 10, takes = "1h" } }

  local function begin(more)
    local rt = open("best_offer.lua")
    local input = { shops = shops, within = "200ms" }
    for key, value in pairs(more or {}) do input[key] = value end
    assert(rt:start("best_offer", { id = "tent", input = input }))
    repeat assert(rt:tick()) until (assert(rt:get("tent")).custom_status or {}).holding
    return rt
  end

  local function finish(rt)
    local instance, done = assert(rt:wait("tent", 20)), {}
    for _, event in ipairs(rt:history("tent")) do
      if event.kind == "ActivityCompleted" and type(event.value) == "string" then done[#done + 1] = event.value end
    end
    rt:close()
    return instance, done
  end

  it("buys the best of the offers that came in time", function()
    local rt = begin()
    assert.same({ holding = { shop = "South", price = 95 } }, rt:get("tent").custom_status)
    assert(rt:raise("tent", "decision", { buy = true }))
    assert.same({ status = "bought", price = 95 }, finish(rt).output)
  end)
  it("lets go of it when the answer is no", function()
    local rt = begin()
    assert(rt:raise("tent", "decision", { buy = false }))
    local instance, done = finish(rt)
    assert.same({ status = "not bought" }, instance.output)
    assert.same({ "let go of hold-South" }, done)
  end)
  it("lets go of it when nobody answers", function()
    local instance, done = finish(begin({ decide_within = "10ms" }))
    assert.same({ "FAILED", "Timeout" }, { instance.status, instance.failure.type })
    assert.same({ "let go of hold-South" }, done)
  end)
  it("lets go of it when it is canceled", function()
    local rt = begin()
    assert(rt:cancel("tent", "it rains"))
    local instance, done = finish(rt)
    assert.same({ "CANCELED", "it rains" }, { instance.status, instance.failure.message })
    assert.same({ "let go of hold-South" }, done)
  end)
end)

describe("cart", function()
  local rt

  before_each(function()
    rt = open("cart.lua")
    assert(rt:start("cart", { id = "cart-3", input = {} }))
  end)
  after_each(function() rt:close() end)

  it("takes items, tells the total, and is ordered", function()
    assert.same({ place = 1, total = 20 }, rt:update("cart-3", "add", { name = "moon", count = 2 }))
    assert.same({ place = 2, total = 21 }, rt:update("cart-3", "add", { name = "star" }))
    assert.equal(21, rt:query("cart-3", "total"))
    assert(rt:raise("cart-3", "check_out"))
    local order = rt:wait("cart-3", 10).output
    assert.equal("ordered", order.status)
    assert.same({ { name = "moon", count = 2, price = 10 }, { name = "star", count = 1, price = 1 } }, order.items)
    assert.equal(21, rt:query("cart-3", "total"))
  end)

  it("refuses what it cannot take", function()
    assert.equal("UpdateRejected: an item needs a name", select(2, rt:update("cart-3", "add", {})))
    assert.equal("UpdateRejected: a count must be 1 or more", select(2, rt:update("cart-3", "add", { name = "moon", count = 0 })))
    assert.equal("NoSuchThing: we do not sell a comet", select(2, rt:update("cart-3", "add", { name = "comet" })))
    assert.equal(0, rt:query("cart-3", "total"))
  end)
end)

describe("import", function()
  it("tells how far it is, in a stream and to those who ask", function()
    local rt = open("import.lua")
    assert(rt:start("import", { id = "import-1", input = { rows = 250, batch = 100 } }))
    local instance = assert(rt:wait("import-1", 10))
    assert.same({ imported = 250, batches = 3 }, instance.output)
    assert.same({ rows = 250 }, instance.attributes)
    local seen = {}
    for i, item in ipairs((rt:stream("import-1", "progress"))) do seen[i] = item.value.done end
    assert.same({ 100, 200, 250 }, seen)
    assert.same({ done = 250, of = 250 }, rt:query("import-1", "progress"))
    rt:close()
  end)
end)

describe("fanout", function()
  it("gives the results in the order of the items", function()
    assert.same({ squares = { 9, 1, 4 }, sum = 14 }, run("fanout.lua", "fanout", { 3, 1, 2 }).output)
  end)
end)

describe("nightly", function()
  it("does its rounds, each in a generation of its own, a child for each room", function()
    local instance = run("nightly.lua", "nightly", { rounds = 3, every = "5ms" })
    assert.same({ nights = 3, removed = 3 * 90, failed = {} }, instance.output)
    assert.same({ night = 3, rooms = 2, removed = 270 }, instance.custom_status)
    assert.is_true(instance.history_events < 25)
  end)
  it("takes rooms that are added between the nights, and goes on when one fails", function()
    local now_us = 1.7e15
    local rt = open("nightly.lua", { clock = function() return now_us end })
    assert(rt:start("nightly", { id = "house", input = { rounds = 2, rooms = { "hall" } } }))
    assert(rt:raise("house", "add_room", ""))
    assert(rt:drain(5))
    assert(rt:raise("house", "add_room", "cellar"))
    now_us = now_us + 25 * 3600e6
    assert(rt:wait("house", 10))
    assert.same({ nights = 2, removed = 140, failed = { ": NoSuchRoom", ": NoSuchRoom" } }, rt:get("house").output)
    rt:close()
  end)
end)

describe("pipeline", function()
  it("runs its stages one after the other, and streams what the commands say", function()
    local rt = open("pipeline.lua")
    assert(rt:start("pipeline", { id = "p", input = { folder = "/", stages = { { "echo a; pwd", "echo b" }, { "echo c" } } } }))
    assert.same({ stages = 2, commands = 3 }, assert(rt:wait("p", 20)).output)
    local lines = {}
    for _, item in ipairs(assert(rt:stream("p", "output"))) do lines[#lines + 1] = item.value end
    rt:close()
    assert.equal(4, #lines)
    assert.equal("echo c: c", lines[4])
  end)
  it("tries a stage again, and fails with what the command said last", function()
    local flag = os.tmpname()
    local instance = run("pipeline.lua", "pipeline", { pause = "5ms", stages = { { "rm " .. flag .. " 2>&1 && exit 1; true" } } })
    assert.same({ stages = 1, commands = 1 }, instance.output)
    instance = run("pipeline.lua", "pipeline", { pause = "5ms", stages = { { "echo no such luck >&2; exit 3" }, { "true" } } })
    assert.same({ "FAILED", "ExitCode" }, { instance.status, instance.failure.type })
    assert.matches("sh exited with code 3: no such luck", instance.failure.message, 1, true)
  end)
end)

describe("research_report", function()
  local folder

  local function write(name, text)
    local file = assert(io.open(folder .. "/" .. name, "w"))
    file:write(text)
    file:close()
  end

  before_each(function()
    folder = os.tmpname()
    os.remove(folder)
    assert(os.execute("mkdir -p '" .. folder .. "'"))
    write("moon.md", "The moon has phases.\nA lunation is one full cycle of the moon, from new moon to new moon.\n")
    write("sea.txt", "The tides follow the moon.\n")
  end)
  after_each(function() os.execute("rm -rf '" .. folder .. "'") end)

  local function input(more)
    local all = { question = "What is a lunation of the moon?", folder = folder, report = folder .. "/report.out" }
    for key, value in pairs(more or {}) do all[key] = value end
    return all
  end

  it("writes a report whose quotations stand at their file and line", function()
    local instance = run("research_report.lua", "research_report", input())
    assert.equal("COMPLETED", instance.status)
    assert.equal(0, instance.output.dropped)
    assert.is_true(instance.output.quotations >= 2)
    local report = assert(io.open(folder .. "/report.out")):read("*a")
    assert.truthy(report:find("> A lunation is one full cycle of the moon, from new moon to new moon.", 1, true))
    assert.truthy(report:find("moon.md:2", 1, true))
    assert.is_nil(io.open(folder .. "/report.out.draft/plan.json"))
  end)

  local function history(rt, kind)
    local names = {}
    for _, event in ipairs(assert(rt:history("r"))) do
      if event.kind == kind then names[#names + 1] = event.name end
    end
    return table.concat(names, " ")
  end

  it("keeps its findings in a draft, and removes it when a later step fails", function()
    assert(os.execute("mkdir '" .. folder .. "/report.out'") == 0) -- a folder where the report should be
    local rt = open("research_report.lua")
    assert(rt:start("research_report", { id = "r", input = input() }))
    local instance = assert(rt:wait("r", 20))
    assert.same({ "FAILED", "IOError" }, { instance.status, instance.failure.type })
    assert.matches("open_draft .*search .*analyse .*fact_check .*write_report remove_draft$", history(rt, "ActivityScheduled"))
    rt:close()
    assert.is_nil(io.open(folder .. "/report.out.draft/plan.json"))
  end)

  it("says so when nothing is found", function()
    local instance = run("research_report.lua", "research_report", input({ question = "Zyzzyva?" }))
    assert.same({ "FAILED", "NothingFound" }, { instance.status, instance.failure.type })
    assert.is_nil(io.open(folder .. "/report.out"))
  end)

  it("removes its draft when it is canceled in the middle", function()
    local rt = open("research_report.lua")
    assert(rt:start("research_report", { id = "r", input = input({ pace = "10m" }) }))
    for _ = 1, 10000 do
      assert(rt:tick())
      if rt:get("r") and rt:get("r").custom_status and rt:get("r").custom_status:find("^searching") then break end
    end
    assert.truthy(io.open(folder .. "/report.out.draft/plan.json"))
    assert(rt:cancel("r"))
    assert.equal("CANCELED", assert(rt:wait("r", 20)).status)
    rt:close()
    assert.is_nil(io.open(folder .. "/report.out.draft/plan.json"))
  end)

  it("waits for the approval of its plan, and stops when it is refused", function()
    local rt = open("research_report.lua")
    assert(rt:start("research_report", { id = "r", input = input({ approve = true }) }))
    assert(rt:drain(10))
    assert.equal("RUNNING", rt:get("r").status)
    assert(rt:raise("r", "plan_approval", { approved = false, comments = "too broad" }))
    assert(rt:wait("r", 10))
    assert.same({ status = "rejected", reason = "too broad" }, rt:get("r").output)
    assert.equal("plan present_plan", history(rt, "ActivityScheduled"))
    rt:close()
  end)
end)
