-- stdlib_support.lua: what the specs of the standard library share. Source text is loaded into a runtime with a store in memory,
-- as an author's file would be.
local lunation = require("lunation")

local support = {}

local WAIT_S = 60 -- for what must happen; a machine that is slow is no failure

--- A runtime with `source` loaded as story.lua.
function support.open(source, options)
  options = options or {}
  options.store = options.store or "memory"
  local rt = assert(lunation.open(options))
  assert(rt:load_string("story.lua", source))
  return rt
end

--- Run the workflow "w" to its end. Answers the instance.
function support.run(source, input, options)
  local rt = support.open(source, options)
  local id = assert(rt:start("w", { input = input }))
  assert(rt:wait(id, WAIT_S))
  local instance = assert(rt:get(id))
  rt:close()
  return instance
end

--- The result of the workflow "w", which must complete.
function support.result(source, input, options)
  local instance = support.run(source, input, options)
  if instance.status ~= "COMPLETED" then
    error(("%s: %s"):format(instance.status, instance.failure and instance.failure.message or "?"), 2)
  end
  return instance.output
end

--- Run the body of a function of (input, act) in an activity, with `head` before it. Answers its result.
function support.in_activity(head, body, input, options)
  return support.result(([[%s
    activity("it", function(input, act) %s end)
    workflow("w", function(ctx, input) return ctx:call_activity("it", input) end)]]):format(head, body), input, options)
end

--- Run the body of a function of (input, ctx) in a workflow, with `head` before it. Answers its result.
function support.in_workflow(head, body, input, options)
  return support.result(([[%s
    workflow("w", function(ctx, input) %s end)]]):format(head, body), input, options)
end

--- A runtime with `source` loaded whose clock only the spec moves. story.rt is the runtime, story:start(input) starts "w" as instance "i",
--- story:advance(seconds) lets time pass and everything happen that is due, story:close() ends it.
function support.story(source, options)
  local story = { now_us = 1e15 }
  options = options or {}
  options.clock = function() return story.now_us end
  story.rt = support.open(source, options)

  function story:start(input)
    assert(self.rt:start("w", { id = "i", input = input }))
    assert(self.rt:drain(WAIT_S))
  end

  function story:advance(seconds)
    local target = self.now_us + seconds * 1e6
    while true do
      assert(self.rt:drain(WAIT_S))
      local due = assert(self.rt:tick()).next_due_us
      if not due or due > target then break end
      self.now_us = math.max(self.now_us, due)
    end
    self.now_us = target
    assert(self.rt:drain(WAIT_S))
  end

  function story:raise(event, data)
    assert(self.rt:raise("i", event, data))
    assert(self.rt:drain(WAIT_S))
  end

  function story:get() return assert(self.rt:get("i")) end

  --- The output, which must be there.
  function story:output()
    local instance = self:get()
    if instance.status ~= "COMPLETED" then
      error(("%s: %s"):format(instance.status, instance.failure and instance.failure.message or "?"), 2)
    end
    return instance.output
  end

  --- Every activity that was scheduled, as "name" or "name(input)", in order.
  function story:activities()
    local list = {}
    for _, event in ipairs(assert(self.rt:history("i"))) do
      if event.kind == "ActivityScheduled" then
        list[#list + 1] = event.value ~= nil and type(event.value) ~= "table" and ("%s(%s)"):format(event.name, tostring(event.value))
          or event.name
      end
    end
    return list
  end

  function story:close() self.rt:close() end

  return story
end

return support
