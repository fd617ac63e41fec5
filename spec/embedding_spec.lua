-- embedding_spec.lua: bindings/c/town.c, the example of a host with a loop of frames: killed, called, and given new scripts while it runs.
local support = require "spec.support"

local town = support.program:match("^(.*/)") .. "town"
local COURIERS, PARCELS = 3, 4

describe("a host with frames", function()
  local folder, agents

  before_each(function()
    folder = support.folder()
    agents = folder .. "/agents"
    os.execute(("cp -r bindings/c/agents %s"):format(support.quote(agents)))
  end)
  after_each(support.clean)

  local function command(more)
    return ("%s --agents %s --data %s/data %s"):format(support.quote(town), support.quote(agents), support.quote(folder), more or "")
  end
  local function begin(more)
    local out = folder .. "/out"
    local pid = support.output_of(("%s >%s 2>&1 </dev/null & echo $!"):format(command(more), support.quote(out)))
    return { pid = pid, out = out }
  end
  local function said(process, what)
    return support.wait_until(function() return (support.read(process.out) or ""):find(what) end, what)
  end

  -- parcel -> the keys under which it was handed over, and how often
  local function handed_over(...)
    local parcels, count = {}, 0
    for _, text in ipairs { ... } do
      for parcel, key in text:gmatch("hands over (parcel %d+%.%d+)  %[(%x+)%]") do
        if not parcels[parcel] then parcels[parcel], count = {}, count + 1 end
        parcels[parcel][key] = (parcels[parcel][key] or 0) + 1
      end
    end
    return parcels, count
  end

  it("plays to the end", function()
    local played = support.shell(command())
    assert.equal("", played.err)
    assert.equal(0, played.code)
    local _, count = handed_over(played.out)
    assert.equal(COURIERS * PARCELS, count)
    assert.matches("everybody is home after %d+ frames", played.out)
  end)

  it("goes on after a kill, and nothing that was done is done again", function()
    local process = begin()
    said(process, "hands over parcel 1%.2")
    support.stop(process, "KILL")
    local before = support.read(process.out)
    local played = support.shell(command())
    assert.equal("", played.err)
    local parcels, count = handed_over(before, played.out)
    assert.equal(COURIERS * PARCELS, count)
    for parcel, keys in pairs(parcels) do
      local key, times = next(keys)
      assert.is_nil(next(keys, key), parcel .. " was handed over under two keys")
      assert.is_true(times <= 2, parcel) -- twice: the kill came between the deed and its record
    end
    assert.equal(1, select(2, next(parcels["parcel 1.1"]))) -- of which the next step was already recorded
  end)

  it("lets couriers be called elsewhere in the middle of a walk", function()
    local played = support.shell(command("--call 39"))
    assert.equal("", played.err)
    for i = 1, COURIERS do assert.matches("courier%-" .. i .. "%s+you called%?", played.out) end
    assert.equal(COURIERS * PARCELS, select(2, handed_over(played.out)))
  end)

  it("takes up a script that is saved while it runs", function()
    local process = begin()
    said(process, "hands over parcel 1%.1")
    local file = agents .. "/courier.lua"
    local text = support.read(file):gsub('"200ms"%) %-%- a short rest', '"200ms")\n    print("new script")')
    support.write(file .. ".new", text)
    os.rename(file .. ".new", file)
    said(process, "reloaded")
    said(process, "everybody is home")
    assert.equal(COURIERS * PARCELS, select(2, handed_over(support.read(process.out))))
  end)

  it("tells what is wrong with a script, and plays on", function()
    local process = begin("--frames 0")
    said(process, "hands over parcel 1%.1")
    support.write(agents .. "/courier.lua", "workflow('courier', function(ctx\n")
    said(process, "broken .*courier%.lua: .*courier%.lua:%d+")
    said(process, "everybody is home")
  end)

  it("refuses options that it does not know", function()
    for _, options in ipairs { "--couriers 0", "--couriers many", "--call 40", "--frames", "--what 1" } do
      assert.equal(2, support.shell(command(options)).code, options)
    end
  end)
end)
