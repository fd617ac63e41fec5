-- An order in four steps. When a step fails, what was done before is undone, newest first.
--   lunation run workflows/order_saga.lua --input '{"order":"A-17","total":120}'
--   lunation run workflows/order_saga.lua --input '{"order":"A-18","total":120,"address":"nowhere"}'

local saga = require "saga"

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
  local undone = {}
  local function undo(name)
    return function(done) table.insert(undone, ctx:call_activity(name, done)) end
  end

  local ok, failure = pcall(saga.run, ctx, function(s)
    s:step("reserve the stock", function() return ctx:call_activity("reserve_stock", order) end, undo("release_stock"))
    s:step("charge the card", function()
      return ctx:call_activity("charge_card", order, { retry = { max_attempts = 3, interval = "200ms" } })
    end, undo("refund_card"))
    ctx:call_activity("ship", order)
  end)

  if ok then return { status = "shipped", order = order.order } end
  return { status = "compensated", reason = failure.type, undone = undone }
end)
