-- An order in four steps. When a step fails, what was done before is undone, newest first.
--   lunation run workflows/order_saga.lua --input '{"order":"A-17","total":120}'
--   lunation run workflows/order_saga.lua --input '{"order":"A-18","total":120,"address":"nowhere"}'

activity("reserve_stock", function(order)
  return { reservation = "stock-" .. order.order }
end)

activity("charge_card", function(order)
  if order.total > 1000 then
    error({ type = "CardDeclined", message = "the card does not cover " .. order.total, retryable = false })
  end
  return { charge = "charge-" .. order.order }
end)

activity("ship", function(order)
  if order.address == "nowhere" then
    error({ type = "NoSuchAddress", message = "nobody lives at '" .. order.address .. "'", retryable = false })
  end
  return { parcel = "parcel-" .. order.order }
end)

activity("release_stock", function(done) return "released " .. done.reservation end)
activity("refund_card", function(done) return "refunded " .. done.charge end)

workflow("order_saga", function(ctx, order)
  local undo = {}

  local ok, failure = pcall(function()
    local stock = ctx:call_activity("reserve_stock", order)
    table.insert(undo, { "release_stock", stock })

    local charge = ctx:call_activity("charge_card", order, { retry = { max_attempts = 3, interval = "200ms" } })
    table.insert(undo, { "refund_card", charge })

    ctx:call_activity("ship", order)
  end)
  if ok then return { status = "shipped", order = order.order } end

  local undone = {}
  for i = #undo, 1, -1 do
    undone[#undone + 1] = ctx:call_activity(undo[i][1], undo[i][2])
  end
  return { status = "compensated", reason = failure.type, undone = undone }
end)
