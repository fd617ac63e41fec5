-- A human decides. Somebody is asked, reminded, and after a while somebody else is asked; without an answer the trip is off.
--   lunation serve workflows &
--   lunation start approval --id trip --input '{"what":"a trip to the moon","timeout":"24h"}'
--   lunation raise trip decision --input '{"approved":true,"by":"Ada"}'

local approval = require "approval"

activity("notify", function(notice, act)
  act:log(("%s %d: please decide on %s"):format(notice.kind, notice.number, notice.request.what))
end)

workflow("approval", function(ctx, request)
  ctx:set_custom_status("waiting for a decision on " .. request.what)
  local answer = approval.ask(ctx, {
    event = "decision",
    request = request,
    notify = "notify",
    remind = { every = "4h", max = 3 },
    escalate = { after = "12h", to = "notify" },
    timeout = request.timeout or "24h",
  })
  if answer.reason == "timeout" then return { status = "timed out" } end
  return { status = answer.approved and "approved" or "rejected", by = answer.by }
end)
