-- child.lua - the process that tools/torture kills: it takes up what the directory holds, starts workflows, raises their signals one
-- after another, and tells on stdout what was acknowledged: "start ID", "signal ID SIGNAL". With `finish` it starts nothing new and ends
-- when all is done.
--
--   luajit child.lua DIR LEDGER LIFE DURABILITY work|finish

local lunation = require "lunation"
local dir, ledger, life, durability, mode = arg[1], arg[2], tonumber(arg[3]), arg[4], arg[5]
local LIVE = 6 -- instances at once

io.stdout:setvbuf("no")
local function say(...) io.stdout:write(table.concat({ ... }, " ") .. "\n") end
local function must(value, message)
  if value then return value end
  say("fatal", (tostring(message):gsub("\n", " ")))
  os.exit(3)
end

local rt = must(lunation.open({ dir = dir, durability = durability, committer = life % 2 == 1, workers = life % 3 == 0 and 1 or 0,
  limits = life % 5 == 0 and { resident_max = 2 } or nil }))
must(rt:load_file((arg[0]:gsub("child%.lua$", "workflow.lua"))))

local live, started = 0, 0

-- How many signals an instance gets: 2 to 6, told by its id.
local function signals_of(id) return 2 + tonumber(id:match("%d+$")) % 5 end

local function signal(id, number)
  if number > signals_of(id) then return end
  local name = id .. ":" .. number
  must(rt:raise(id, "signal", { id = name, last = number == signals_of(id) }, {
    done = function(ok)
      if not ok then return end
      say("signal", id, name)
      signal(id, number + 1)
    end,
  }))
end

local function start()
  if mode == "finish" then
    if live == 0 then rt:stop() end
    return
  end
  started = started + 1
  live = live + 1
  local id = ("t%d-%d"):format(life, started)
  must(rt:start("torture", {
    id = id,
    input = { ledger = ledger },
    done = function(ok)
      if not ok then return end
      say("start", id)
      signal(id, 1)
    end,
  }))
end

-- A client that was not answered looks before it asks again.
for _, instance in ipairs(must(rt:list({ status = { "PENDING", "RUNNING", "STALLED" }, limit = 1000 }))) do
  if instance.status == "STALLED" then say("fatal", instance.id, "is stalled:", instance.failure and instance.failure.message or "?") end
  live = live + 1
  local raised = 0
  for _, event in ipairs(must(rt:history(instance.id))) do
    if event.kind == "EventRaised" then raised = raised + 1 end
  end
  signal(instance.id, raised + 1)
end

rt:observe(function(_, _, event)
  if event.kind ~= "Completed" and event.kind ~= "Failed" then return end
  live = live - 1
  start()
end)

for _ = live + 1, LIVE do start() end
say("ready")
if mode ~= "finish" or live > 0 then must(rt:run()) end
must(rt:close())
say("finished")
