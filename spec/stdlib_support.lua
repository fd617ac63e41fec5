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

return support
