-- reload_crowd_spec.lua: a thousand instances of three workflows, one for each policy, while their files are edited, broken, deleted and
-- restored, and the process comes and goes. A model says what code each must be on after each report, and what it must return.
local lunation = require "lunation"
local support = require "spec.support"

local CROWD, STEPS = 1000, 5
local POLICIES = { "pin", "adopt", "all_or_nothing" }

--- Versions of a workflow. From step `from` on, they compute something else. `tag`: all that differs between "one" and "two".
local VERSIONS = {
  one = { from = 99 },
  two = { from = 99 },
  late = { from = 4 },  -- diverges for those who are past the third step
  early = { from = 2 }, -- diverges for nearly all
}

local TEMPLATE = [[
local steps = require "lib.steps"
activity("note_%s", function(x) return x end)
workflow("%s", { on_reload = "%s" }, function(ctx, n)
  local seen = {}
  for step = 1, steps.count do
    local extra = 0
    if step >= %d then
      extra = 1000
    end
    seen[step] = ctx:call_activity("note_%s", n * 10 + step + extra)
    ctx:wait_for_external_event("go")
  end
  return { tag = "%s", seen = seen }
end)
]]

local function value(version, n, step)
  return n * 10 + step + (step >= VERSIONS[version].from and 1000 or 0)
end

describe("a thousand instances", function()
  local folder, flows, rt, told, instances, current, hashes

  local function file(policy) return flows .. "/" .. policy .. ".lua" end

  --- Save as editors do: a new file, renamed onto the old one.
  local function save(policy, text)
    assert(os.rename(support.write(flows .. "/." .. policy .. ".swp", text), file(policy)))
  end

  local function put(policy, version) save(policy, TEMPLATE:format(policy, policy, policy, VERSIONS[version].from, policy, version)) end

  local function drive(condition, what)
    local deadline = os.time() + 120
    while not condition() do
      assert(rt:tick(0))
      assert(os.time() < deadline, "waited in vain for " .. what)
    end
  end

  --- Events of the watch, by the policy (the name of the file): { {kind =, summary =}, ... }, and how instances fare.
  local function listen()
    told = { fits = {} }
    for _, policy in ipairs(POLICIES) do told[policy] = {} end
    return function(event)
      local policy = event.file:match("([%w_]+)%.lua$")
      if event.kind == "instance" then told.fits[event.instance.id] = event.instance.fit
      else table.insert(told[policy], event) end
    end
  end

  local function open()
    rt = assert(lunation.open({ dir = folder .. "/data", durability = "process" }))
    assert(rt:watch(flows, listen()))
  end

  local function await(policy, kind)
    drive(function()
      for i, event in ipairs(told[policy]) do
        if event.kind == kind then return table.remove(told[policy], i) end
      end
    end, kind .. " of " .. policy)
  end

  local function hash_of(policy)
    assert(rt:flush())
    for _, version in ipairs(rt:versions(policy)) do
      if version.is_current then return version.hash end
    end
  end

  local function fits(one, version)
    for step, seen in ipairs(one.seen) do
      if seen ~= value(version, one.n, step) then return false end
    end
    return true
  end

  --- New code became current, or was refused: what the model makes of it, compared with what was told.
  local function judge(policy, version, kind)
    local misfits, checked = 0, 0
    for id, one in pairs(instances) do
      if one.policy == policy and one.version ~= version then
        local fit, report = fits(one, version), told.fits[id]
        checked = checked + 1
        misfits = misfits + (fit and 0 or 1)
        assert.equal(fit, report == "compatible" or report == "not_reached", ("%s, seen %d, %s: %s"):format(id, #one.seen, version, report))
      end
    end
    assert.equal(policy == "all_or_nothing" and misfits > 0 and "refused" or "reloaded", kind)
    if kind == "refused" then return end
    for _, one in pairs(instances) do
      if one.policy == policy and policy ~= "pin" and fits(one, version) then one.version = version end
    end
    current[policy] = version
    hashes[policy][version] = hash_of(policy)
  end

  local function edit(version)
    for _, policy in ipairs(POLICIES) do put(policy, version) end
    for _, policy in ipairs(POLICIES) do
      local event
      drive(function()
        event = told[policy][1]
        return event
      end, "the reload of " .. policy)
      judge(policy, version, event.kind)
      table.remove(told[policy], 1)
    end
    told.fits = {}
  end

  local function check_codes()
    for id, one in pairs(instances) do
      assert.equal(hashes[one.policy][one.version], assert(rt:get(id)).code_hash, id .. " on " .. one.version)
    end
  end

  --- One step more for every `each`th of them; where it is over, its end is compared.
  local function advance(each)
    local ended = {}
    for id, one in pairs(instances) do
      if one.n % each == 0 then
        assert(rt:raise(id, "go"))
        if #one.seen < STEPS then one.seen[#one.seen + 1] = value(one.version, one.n, #one.seen + 1)
        else ended[#ended + 1] = id end
      end
    end
    assert(rt:drain(120))
    for _, id in ipairs(ended) do
      local instance, one = assert(rt:get(id)), instances[id]
      assert.equal("COMPLETED", instance.status)
      assert.same({ tag = one.version, seen = one.seen }, instance.output)
      instances[id] = nil
    end
    return #ended
  end

  local function start(id, policy, n)
    n = n or 1
    assert(rt:start(policy, { id = id, input = n }))
    instances[id] = { n = n, policy = policy, version = current[policy], seen = { value(current[policy], n, 1) } }
  end

  local function start_all()
    for n = 1, CROWD do
      local policy = POLICIES[n % 3 + 1]
      start(policy .. "-" .. n, policy, n)
    end
    assert(rt:drain(120))
    advance(2) -- so that they stand at different steps
    advance(3)
    advance(7)
  end

  local function restart()
    rt:close()
    open()
  end

  before_each(function()
    folder = support.folder()
    flows = folder .. "/flows"
    os.execute("mkdir -p " .. flows .. "/lib")
    support.write(flows .. "/lib/steps.lua", ("return { count = %d }\n"):format(STEPS))
    instances, current, hashes = {}, {}, {}
    for _, policy in ipairs(POLICIES) do
      put(policy, "one")
      hashes[policy], current[policy] = {}, "one"
    end
    open()
    for _, policy in ipairs(POLICIES) do hashes[policy].one = hash_of(policy) end
  end)

  after_each(function()
    if rt then rt:close() end
    rt = nil
    support.clean()
  end)

  it("live through edits, breaks, deletions, restorations and restarts, each on the code that was promised", function()
    start_all()
    for _, policy in ipairs(POLICIES) do told[policy] = {} end
    edit("two")
    check_codes()
    advance(5)
    edit("late")
    check_codes()
    restart()
    for _, policy in ipairs(POLICIES) do told[policy] = {} end
    check_codes()
    start("strict", "all_or_nothing") -- its file is not what is current: not all fit
    assert(rt:drain(120))
    check_codes()
    advance(4)

    for _, policy in ipairs(POLICIES) do save(policy, "workflow(") end
    for _, policy in ipairs(POLICIES) do await(policy, "broken") end
    check_codes()
    advance(6)
    for _, policy in ipairs(POLICIES) do os.remove(file(policy)) end
    for _, policy in ipairs(POLICIES) do await(policy, "deleted") end
    restart() -- with no file at all: every instance brings its own code
    check_codes()
    advance(2)
    check_codes()

    edit("early")
    check_codes()
    start("fresh", "pin")
    assert(rt:drain(120))
    edit("one")
    check_codes()
    restart()

    local ended = 0
    for _ = 1, STEPS do ended = ended + advance(1) end
    assert.is_nil(next(instances))
    assert.is_true(ended > CROWD / 2)
    assert.equal(CROWD + 2, rt:count({ status = "COMPLETED" }).total)
  end)
end)
