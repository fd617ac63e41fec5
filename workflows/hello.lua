-- The smallest workflow: one activity, its result returned.
--   lunation run workflows/hello.lua --input '"Ada"'

activity("greet", function(name)
  return "Hello, " .. name .. "!"
end)

workflow("hello", function(ctx, name)
  return ctx:call_activity("greet", name or "world")
end)
