-- A cart that answers. Items are added by updates: the validator may refuse one, without a trace; an accepted one is carried out once,
-- however often it is asked for with the same id, and its caller gets the answer. The total is a query.
--   lunation serve workflows &
--   lunation start cart --id cart-3 --input '{"patience":"24h"}'
--   lunation update cart-3 add '{"name":"moon","count":2}'
--   lunation query cart-3 total
--   lunation raise cart-3 check_out

local PRICES = { moon = 10, sun = 25, star = 1 }

activity("price", function(name)
  return PRICES[name] or error({ type = "NoSuchThing", message = "we do not sell a " .. name, retryable = false })
end)

workflow("cart", function(ctx, input)
  local items, total = {}, 0

  ctx:on_query("total", function() return total end)
  ctx:on_query("items", function() return items end)

  ctx:on_update("add", {
    validate = function(item)
      if type(item) ~= "table" or type(item.name) ~= "string" then return false, "an item needs a name" end
      if (item.count or 1) < 1 then return false, "a count must be 1 or more" end
    end,
    handle = function(item)
      local price = ctx:call_activity("price", item.name)
      local count = item.count or 1
      items[#items + 1] = { name = item.name, count = count, price = price }
      total = total + count * price
      return { place = #items, total = total }
    end,
  })

  local checked_out, why = pcall(ctx.wait_for_external_event, ctx, "check_out", { timeout = input.patience or "24h" })
  if not checked_out and why.type ~= "Timeout" then error(why) end
  ctx:wait_for_handlers() -- what was accepted belongs to the order
  return { status = checked_out and "ordered" or "abandoned", items = items, total = total }
end)
