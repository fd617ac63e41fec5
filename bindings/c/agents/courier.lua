-- A courier of the town: fetches parcels and brings them to doors. Each courier is one durable instance, however often the town is stopped
-- and started again. Edit this file while the town runs: couriers whose past fits the new text go on with it.

-- Walks to a place, wherever the courier stands now. A "call" from outside comes first: he goes there, says so, and then on to his place.
local function go(ctx, me, from, to)
  local walk = ctx.async:call_activity("walk", { who = me, from = from, to = to })
  local called = ctx.async:wait_for_external_event("call")
  local first, call = ctx:when_any({ walk, called }, { cancel_losers = true })
  if first == 2 then
    local there = go(ctx, me, from, call.to)
    ctx:call_activity("say", { who = me, text = "you called?" })
    return go(ctx, me, there, to)
  end
  return to
end

workflow("courier", { on_reload = "adopt" }, function(ctx, courier)
  local at, delivered = courier.home, 0
  ctx:on_query("delivered", function() return delivered end)
  for _, parcel in ipairs(courier.parcels) do
    at = go(ctx, courier.name, at, parcel.shop)
    at = go(ctx, courier.name, at, parcel.door)
    ctx:call_activity("hand_over", { who = courier.name, parcel = parcel.what })
    delivered = delivered + 1
    ctx:set_custom_status(("%d of %d parcels"):format(delivered, #courier.parcels))
    ctx:create_timer("200ms") -- a short rest
  end
  go(ctx, courier.name, at, courier.home)
  return delivered
end)
