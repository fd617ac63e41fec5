-- The research worker. It plans a question into sub-questions, may ask a person to approve the plan, searches a folder of text
-- files for each sub-question at the same time, analyses what was found, checks every quotation at its file and line, and writes a report
-- in Markdown.
--
--   lunation run workflows/research_report.lua --input '{"question":"How is a crash survived?","folder":".","report":"report.md"}'
--
-- Input: question; folder (where to search); report (path of the Markdown file);
--        approve (true: wait for the event "plan_approval" {approved, comments}); approval_timeout (default "24h");
--        pace (a pause before each search, so that a person can watch, e.g. "200ms").

local research = require("research.text")

-- What each activity did, one line per start and end, when LUNATION_LEDGER names a file. A demonstration reads it.
local function ledger(act, what)
  local path = os.getenv("LUNATION_LEDGER")
  if path then act:append_file(path, ("%s %s %s\n"):format(what, act.idempotency_key, act.name)) end
end

local function step(name, fn, options)
  activity(name, options or {}, function(input, act)
    ledger(act, "start")
    local result = fn(input, act)
    ledger(act, "end")
    return result
  end)
end

step("plan", function(question) return research.plan(question) end)

step("search", function(job, act)
  if job.pace then act:sleep(job.pace) end
  return research.search(job.folder, job.query, job.limit)
end, { blocking = true }) -- reads and ranks every file: on a worker thread, beside the others

step("analyse", function(findings) return research.analyse(findings) end)

step("fact_check", function(claim) return research.check(claim) end)

step("write_report", function(report, act)
  local text = research.render(report)
  act:write_file(report.path, text)
  return { path = report.path, bytes = #text }
end)

workflow("research_report", function(ctx, input)
  ctx:set_custom_status("planning")
  local plan = ctx:call_activity("plan", input.question)

  if input.approve then
    ctx:set_custom_status("waiting for the event plan_approval")
    local answer = ctx:wait_for_external_event("plan_approval", { timeout = input.approval_timeout or "24h" })
    if not answer.approved then return { status = "rejected", reason = answer.comments } end
  end

  ctx:set_custom_status("searching for " .. #plan .. " sub-questions")
  local searches = {}
  for i, part in ipairs(plan) do
    searches[i] = ctx.async:call_activity("search",
      { folder = input.folder, query = part.query, limit = 5, pace = input.pace },
      { retry = { max_attempts = 3, interval = "500ms", backoff = 2 } })
  end
  local found = ctx:when_all(searches)

  local findings = {}
  for i, part in ipairs(plan) do
    findings[i] = { question = part.question, query = part.query, passages = found[i] }
  end
  ctx:set_custom_status("analysing")
  local claims = ctx:call_activity("analyse", findings)

  ctx:set_custom_status("checking " .. #claims .. " quotations")
  local checks = {}
  for i, claim in ipairs(claims) do
    checks[i] = ctx.async:call_activity("fact_check", claim)
  end
  local checked, dropped = {}, 0
  for i, verdict in ipairs(ctx:when_all(checks)) do
    if verdict.verified then checked[#checked + 1] = claims[i] else dropped = dropped + 1 end
  end

  ctx:set_custom_status("writing")
  local written = ctx:call_activity("write_report",
    { path = input.report, question = input.question, plan = plan, claims = checked, dropped = dropped })
  ctx:set_custom_status("done")
  return { status = "completed", report = written.path, quotations = #checked, dropped = dropped }
end)
