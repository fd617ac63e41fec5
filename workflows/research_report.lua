-- The research worker. It plans a question into sub-questions, may ask a person to approve the plan, searches a folder of text files for
-- each sub-question at the same time, analyses what was found, checks every quotation at its file and line, and writes a report in
-- Markdown. What it finds on the way is kept in a draft folder beside the report; when a later step fails, or somebody cancels it, the
-- draft is removed.
--
--   lunation run workflows/research_report.lua --input '{"question":"How is a crash survived?","folder":".","report":"report.md"}'
--
-- Kill it at any moment (even with kill -9) and start it again with the same --id: it goes on where it was, and no finished step runs
-- again.
--
-- Input: question; folder (where to search); report (path of the Markdown file);
--        approve (true: wait for the event "plan_approval" {approved, by, comments}); approval_timeout (default "24h");
--        pace (a pause before each search, so that a person can watch, e.g. "200ms").

local approval = require "approval" -- from the standard library: see stdlib/README.md
local fs = require "fs"
local json = require "json"
local saga = require "saga"

local step = require "research.ledger" -- activity(), which also notes in a file what ran when
local research = require "research.text"

---- The steps: ordinary code that may do anything. If the process dies in the middle of one, it runs again. ----

step("plan", {}, function(question) return research.plan(question) end)

step("present_plan", {}, function(notice, act)
  act:log(("%s: please decide on the plan for '%s'"):format(notice.kind, notice.request.question))
end)

step("open_draft", {}, function(draft, act)
  fs.mkdir(act, draft.folder)
  fs.write(act, draft.folder .. "/plan.json", json.encode(draft.plan, { indent = 2 }))
  return draft.folder
end)

step("remove_draft", {}, function(folder, act)
  fs.remove(act, folder, { recursive = true })
end)

step("search", { blocking = true }, function(job, act) -- reads and ranks every file: on a worker thread, beside the others
  if job.pace then act:sleep(job.pace) end
  local passages = research.search(act, job.folder, job.query, 5)
  fs.write(act, ("%s/%d.json"):format(job.draft, job.number), json.encode({ query = job.query, passages = json.array(passages) }))
  return passages
end)

step("analyse", {}, function(findings) return research.analyse(findings) end)

step("fact_check", {}, function(claim, act) return research.check(act, claim) end)

step("write_report", {}, function(report, act)
  local markdown = research.render(report)
  fs.write(act, report.path, markdown)
  return { path = report.path, bytes = #markdown }
end)

---- The workflow: plain straight-line code. Each ctx:call_activity is recorded, so that after a crash it gives its recorded result. ----

workflow("research_report", function(ctx, input)
  ctx:set_custom_status("planning")
  local plan = ctx:call_activity("plan", input.question)

  if input.approve then
    ctx:set_custom_status("waiting for the event plan_approval")
    local answer = approval.ask(ctx, {
      event = "plan_approval",
      request = { question = input.question, plan = plan },
      notify = "present_plan",
      remind = { every = "8h", max = 2 },
      timeout = input.approval_timeout or "24h",
    })
    if not answer.approved then return { status = "rejected", reason = answer.comments or answer.reason } end
  end

  return saga.run(ctx, function(s) -- what a step has done is undone when a later one fails
    local draft = s:step("draft",
      function() return ctx:call_activity("open_draft", { folder = input.report .. ".draft", plan = plan }) end,
      function(folder) ctx:call_activity("remove_draft", folder) end)

    ctx:set_custom_status("searching for " .. #plan .. " sub-questions")
    local findings = ctx:map(plan, function(part, i) -- all at the same time
      local job = { folder = input.folder, query = part.query, draft = draft, number = i, pace = input.pace }
      local passages = ctx:call_activity("search", job, { retry = { max_attempts = 3, interval = "500ms" } })
      return { question = part.question, query = part.query, passages = passages }
    end)

    ctx:set_custom_status("analysing")
    local claims = ctx:call_activity("analyse", findings)

    ctx:set_custom_status("checking " .. #claims .. " quotations")
    local verdicts = ctx:map(claims, function(claim) return ctx:call_activity("fact_check", claim) end)
    local checked = {}
    for i, claim in ipairs(claims) do
      if verdicts[i].verified then checked[#checked + 1] = claim end
    end
    if #checked == 0 then
      error({ type = "NothingFound", message = "no file of " .. input.folder .. " says anything about it", retryable = false })
    end

    ctx:set_custom_status("writing")
    local dropped = #claims - #checked
    local written = ctx:call_activity("write_report",
      { path = input.report, question = input.question, plan = plan, claims = checked, dropped = dropped })
    ctx:call_activity("remove_draft", draft)

    ctx:set_custom_status("done")
    return { status = "completed", report = written.path, quotations = #checked, dropped = dropped }
  end)
end)
