-- Many at once: one activity per item, all running together, the results in the order of the items.
--   lunation run workflows/fanout.lua --input '[3,1,2]'

activity("square", function(n, act)
  act:sleep("10ms")
  return n * n
end)

workflow("fanout", function(ctx, numbers)
  local tasks = {}
  for i, n in ipairs(numbers) do
    tasks[i] = ctx.async:call_activity("square", n)
  end
  local squares = ctx:when_all(tasks)

  local sum = 0
  for _, square in ipairs(squares) do sum = sum + square end
  return { squares = squares, sum = sum }
end)
