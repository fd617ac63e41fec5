-- An import that shows how far it is: a stream for those who watch, a query for those who ask.
--   lunation serve workflows &
--   lunation start import --id import-1 --input '{"rows":1000,"batch":100}'
--   lunation stream import-1 progress --follow
--   lunation query import-1 progress

activity("import_batch", function(batch)
  return batch.last - batch.first + 1 -- rows that were taken
end)

workflow("import", function(ctx, input)
  local done = 0
  ctx:on_query("progress", function() return { done = done, of = input.rows } end)

  -- Computed once: a replay takes the recorded plan, also when newer code would cut the rows otherwise.
  local batches = ctx:side_effect(function()
    local list = {}
    for first = 1, input.rows, input.batch do
      list[#list + 1] = { first = first, last = math.min(first + input.batch - 1, input.rows) }
    end
    return list
  end)

  ctx:set_attributes({ rows = input.rows })
  for _, batch in ipairs(batches) do
    done = done + ctx:call_activity("import_batch", batch)
    ctx:emit("progress", { done = done, of = input.rows })
  end
  return { imported = done, batches = #batches }
end)
