-- Ask many shops for a price, a few at a time, and wait for none of them too long; hold the best offer while somebody decides; and let go
-- of it whatever happens: the answer is no, nobody answers, or the workflow is canceled.
--   lunation serve workflows &
--   lunation start best_offer --id tent --input '{"shops":[{"name":"North","price":120},{"name":"South","price":95}]}'
--   lunation raise tent decision --input '{"buy":true}'        # or: lunation cancel tent --reason "it rains"

activity("ask_price", function(shop, act)
  act:sleep(shop.takes or "10ms")
  return { shop = shop.name, price = shop.price }
end)

activity("hold", function(offer) return { hold = "hold-" .. offer.shop, price = offer.price } end)
activity("let_go", function(held) return "let go of " .. held.hold end)
activity("buy", function(held) return { status = "bought", price = held.price } end)

workflow("best_offer", function(ctx, input)
  local best
  local ok, failure = pcall(ctx.scope, ctx, function()
    ctx:map(input.shops, function(shop)
      local offer = ctx:call_activity("ask_price", shop)
      if not best or offer.price < best.price then best = offer end
    end, { concurrency = 3 })
  end, { timeout = input.within or "5s" })
  -- Shops that were too slow are not waited for: the scope has given their answers up.
  if not ok and failure.type ~= "Timeout" then error(failure) end
  if not best then return { status = "no offers" } end

  local held = ctx:call_activity("hold", best)
  ctx:set_custom_status({ holding = best })
  local decided, answer = pcall(ctx.wait_for_external_event, ctx, "decision", { timeout = input.decide_within or "24h" })
  if decided and answer.buy then return ctx:call_activity("buy", held) end

  -- Not even a cancel stops this halfway.
  ctx:shield(function() ctx:call_activity("let_go", held) end)
  if not decided then error(answer) end -- "Timeout" ends it FAILED, "Canceled" CANCELED
  return { status = "not bought" }
end)
