-- The same workflow with the same history makes the same commands, byte for byte, in every process. lnt_sim prints them: once as the
-- workflow made them, and once after a run that was killed and rebuilt by replay at every commit.
local build = os.getenv("LUNATION_BUILD") or "build"

local function commands(environment)
  local pipe = assert(io.popen(("%s %s/lnt_sim --commands spec/replay_workflow.lua 2>&1"):format(environment, build)))
  local text = pipe:read("*a")
  pipe:close()
  return text
end

-- The part of each run, and how often it was rebuilt by replay.
local function runs(text)
  local parts = {}
  for part, replays in text:gmatch("(.-)replays (%d+)\n") do parts[#parts + 1] = { text = part, replays = tonumber(replays) } end
  return parts
end

-- Environments move the heap, and so every address and every hash that is made of one.
local function environment(i)
  return ("LC_ALL=%s TZ=%s PADDING=%s"):format(i % 2 == 0 and "C" or "de_DE.UTF-8", i % 3 == 0 and "Asia/Tokyo" or "UTC", ("x"):rep(i * 37))
end

describe("replay", function()
  local first = commands(environment(0))

  it("makes the commands that the first run made", function()
    local parts = runs(first)
    assert.equal(2, #parts)
    assert.is_truthy(parts[1].text:find("ActivityScheduled 1 echo", 1, true))
    assert.is_truthy(parts[1].text:find("\nCompleted ", 1, true), parts[1].text)
    assert.equal(parts[1].text, parts[2].text)
    assert.equal(0, parts[1].replays)
    assert.is_true(parts[2].replays > 20)
  end)

  it("makes the same bytes in 50 fresh processes", function()
    for i = 1, 50 do assert.equal(first, commands(environment(i))) end
  end)
end)
