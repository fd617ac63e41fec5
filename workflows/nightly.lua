-- A timer loop: do something, sleep durably, again. The process may stop and start between the rounds.
--   lunation run workflows/nightly.lua --input '{"rounds":3,"every":"1s"}'

activity("tidy_up", function(round)
  return { round = round, removed = round * 2 }
end)

workflow("nightly", function(ctx, input)
  input = input or {}
  local rounds, removed = input.rounds or 7, 0
  for round = 1, rounds do
    removed = removed + ctx:call_activity("tidy_up", round).removed
    ctx:set_custom_status({ round = round, of = rounds })
    if round < rounds then ctx:create_timer(input.every or "24h") end
  end
  return { rounds = rounds, removed = removed }
end)
