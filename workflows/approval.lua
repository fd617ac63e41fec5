-- A human decides. The workflow waits for the event "decision" for as long as it takes, but not longer than the timeout.
--   lunation serve workflows &
--   lunation start approval --id trip --input '{"what":"a trip to the moon","timeout":"24h"}'
--   lunation raise trip decision --input '{"approved":true,"by":"Ada"}'

activity("notify", function(request)
  return "asked for a decision on " .. request.what
end)

workflow("approval", function(ctx, request)
  ctx:call_activity("notify", request)
  ctx:set_custom_status("waiting for a decision on " .. request.what)

  local ok, decision = pcall(ctx.wait_for_external_event, ctx, "decision", { timeout = request.timeout or "24h" })
  if not ok then
    if decision.type ~= "Timeout" then error(decision) end
    return { status = "timed out" }
  end
  return { status = decision.approved and "approved" or "rejected", by = decision.by }
end)
