-- A batch every night, for ever. Each room is a child workflow; each night is a generation of its own, so the history never grows long.
-- An event "add_room" may come at any time, between two nights too: it is kept until the next one looks for it.
--   lunation run workflows/nightly.lua --input '{"rounds":3,"every":"1s"}'

activity("count_dust", function(room)
  return #room * 10
end)

activity("sweep", function(job)
  return { room = job.room, removed = job.dust }
end)

workflow("tidy_room", function(ctx, room)
  local dust = ctx:call_activity("count_dust", room)
  if dust == 0 then error({ type = "NoSuchRoom", message = "there is no room without a name", retryable = false }) end
  return ctx:call_activity("sweep", { room = room, dust = dust }).removed
end)

-- Rooms that somebody added since last night; a wait without time takes what is there.
local function take_new_rooms(ctx, rooms)
  local ok, room = pcall(ctx.wait_for_external_event, ctx, "add_room", { timeout = 0 })
  while ok do
    rooms[#rooms + 1] = room
    ok, room = pcall(ctx.wait_for_external_event, ctx, "add_room", { timeout = 0 })
  end
end

workflow("nightly", function(ctx, state)
  state = state or {}
  local night, rooms = state.night or 1, state.rooms or { "hall", "attic" }
  local removed, failed = state.removed or 0, state.failed or {}

  take_new_rooms(ctx, rooms)
  local sweeps = {}
  for i, room in ipairs(rooms) do
    sweeps[i] = ctx.async:call_child_workflow("tidy_room", room, { retry = { max_attempts = 2, interval = "1s" }, timeout = "6h" })
  end
  for i, sweep in ipairs(sweeps) do
    local ok, result = pcall(sweep.await, sweep)
    if ok then removed = removed + result else failed[#failed + 1] = rooms[i] .. ": " .. result.type end
  end
  ctx:set_custom_status({ night = night, rooms = #rooms, removed = removed })

  if night == state.rounds then return { nights = night, removed = removed, failed = failed } end
  ctx:create_timer(state.every or "24h")
  ctx:continue_as_new({ night = night + 1, rooms = rooms, removed = removed, failed = failed, rounds = state.rounds, every = state.every })
end)
