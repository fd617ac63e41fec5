--- The human gate: ask people, wait for their answer, remind them, ask somebody else, give up.
---
---   local approval = require "approval"
---   local answer = approval.ask(ctx, {
---     request = { what = "a trip", cost = 1200 },        -- what the people are told
---     notify = "send_mail",                              -- the activity that tells them
---     remind = { every = "4h", max = 3 },
---     escalate = { after = "24h", to = "page_the_boss" },
---     timeout = "72h",
---   })
---   if not answer.approved then return { status = "rejected", reason = answer.comments or answer.reason } end
---
--- The answer is an external event ("approval", unless `event` names another), or an update of that name, whose sender is told at once if
--- it is no answer, or comes too late:
---   lunation raise trip approval '{"approved": true, "by": "Ada", "comments": "enjoy"}'
---   lunation update trip approval '{"approved": true, "by": "Ada", "comments": "enjoy"}'
---
--- `notify` and `escalate.to` are each the name of an activity, or a function. They are given a notice: { kind = "request", "reminder",
--- "escalation" or "invalid", number =, instance =, event =, request =, due = seconds since 1970 or nil, problem = of an invalid answer }.
local options = require "lunation.options"
local retry = require "retry"
local values = require "lunation.values"

local approval = {}

local EVENT = "approval"
local QUORUM_MAX = 1000
local SLACK_S = 1e-5 -- times are seconds in a double: a wait of microseconds more or less is none

---@class ApprovalOptions
---@field event? string the name of the external event; default "approval"
---@field request? any told to those who decide
---@field notify? string|fun(notice: ApprovalNotice) tells them: an activity, or a function
---@field activity_options? table for activities named here: { retry =, timeout = }
---@field remind? { every: Duration, max: integer? } every: again and again, at most `max` times (default 3)
---@field escalate? { after: Duration, to: string|fun(notice: ApprovalNotice) }
---@field timeout? Duration default: wait for ever
---@field on_timeout? "reject"|"raise"|"approve" default "reject": { approved = false, reason = "timeout" }
---@field approvers? string[] who may answer (`by`); default: anybody
---@field quorum? integer how many different people must approve; one rejection rejects; default 1
---@field on_invalid? "ignore"|"raise" what an answer does that is none; default "ignore": those who decide are told, and the wait goes on

---@class ApprovalNotice
---@field kind "request"|"reminder"|"escalation"|"invalid"
---@field number integer of this kind, from 1
---@field instance string
---@field event string
---@field request any
---@field due? number seconds since 1970
---@field problem? string

---@class ApprovalAnswer
---@field approved boolean
---@field by? string
---@field comments? string
---@field reason? string "timeout"
---@field approvals? table[] with a quorum: the answers that approved
---@field reminders integer how many were sent
---@field escalated boolean

local KNOWN = {
  event = "name", request = "any", notify = "name|function", activity_options = "table", remind = "table", escalate = "table",
  timeout = "duration", on_timeout = "string", approvers = "list", quorum = "count", on_invalid = "string",
}

local CALL = { retry = "table", timeout = "duration", start_to_close = "duration", schedule_to_start = "duration",
  schedule_to_close = "duration", heartbeat = "duration" }

local function check_choice(name, value, ...)
  for _, choice in ipairs({ ... }) do
    if value == nil or value == choice then return end
  end
  options.invalid(name, ("approval.ask: %s is %s; got %q"):format(name, table.concat({ ... }, ", "), value), 4)
end

-- What call_activity would refuse, before anything is done.
local function check_call(given)
  options.check("approval.ask", given, CALL, 5, "activity_options")
  if given.retry then retry.check("approval.ask", given.retry, 5, "activity_options.retry") end
end

local function check(ctx, given)
  options.context("approval.ask", ctx, 4)
  given = options.check("approval.ask", given, KNOWN, 4)
  local remind = options.check("approval.ask", given.remind, { every = "duration", max = "count" }, 4, "remind")
  local escalate = options.check("approval.ask", given.escalate, { after = "duration", to = "name|function" }, 4, "escalate")
  if given.remind and not remind.every then options.invalid("remind.every", "approval.ask: remind needs `every`, a duration", 3) end
  if given.remind and values.seconds(remind.every) == 0 then
    options.invalid("remind.every", "approval.ask: remind.every is longer than nothing", 3)
  end
  if given.remind and not given.notify then
    options.invalid("notify", "approval.ask: remind needs `notify`, which reminds", 3)
  end
  if given.escalate and not (escalate.after and escalate.to) then
    options.invalid(escalate.after and "escalate.to" or "escalate.after", "approval.ask: escalate needs `after` and `to`", 3)
  end
  check_choice("on_timeout", given.on_timeout, "reject", "raise", "approve")
  check_choice("on_invalid", given.on_invalid, "ignore", "raise")
  if (given.quorum or 1) > QUORUM_MAX then options.invalid("quorum", "approval.ask: quorum is at most " .. QUORUM_MAX, 3) end
  if given.approvers then options.list("approval.ask: approvers", "approvers", given.approvers, "string", 4) end
  if given.activity_options then check_call(given.activity_options) end
  if given.approvers and #given.approvers < (given.quorum or 1) then
    options.invalid("quorum", ("approval.ask: %d approvers cannot make a quorum of %d"):format(#given.approvers, given.quorum or 1), 3)
  end
  return given
end

local function contains(list, item)
  for _, each in ipairs(list) do
    if each == item then return true end
  end
  return false
end

-- What is wrong with an answer; nil: nothing.
local function problem_of(gate, answer)
  if type(answer) ~= "table" then return ("an answer is a table with `approved`, not a %s"):format(type(answer)) end
  if type(answer.approved) ~= "boolean" then return ("`approved` must be true or false, not a %s"):format(type(answer.approved)) end
  for _, name in ipairs({ "by", "comments" }) do
    local kind = type(answer[name])
    if kind ~= "nil" and kind ~= "string" then return ("`%s` must be text, not a %s"):format(name, kind) end
  end
  if gate.given.approvers and not contains(gate.given.approvers, answer.by) then
    return ("`by` must be one of %s, not %s"):format(table.concat(gate.given.approvers, ", "), tostring(answer.by))
  end
  if gate.quorum > 1 and not answer.by then return "`by` must say who answers: more than one person must approve" end
end

local function tell(gate, whom, kind, number, problem)
  if not whom then return end
  local notice = { kind = kind, number = number, instance = gate.ctx.instance_id, event = gate.event, request = gate.given.request,
    due = gate.due.timeout, problem = problem }
  if type(whom) == "function" then return whom(notice) end
  gate.ctx:call_activity(whom, notice, gate.given.activity_options)
end

-- Reminders and the like are a courtesy: that one fails must not end the wait.
local function try_to_tell(gate, ...)
  local ok, e = pcall(tell, gate, ...)
  if ok then return end
  if type(e) == "table" and e.type == "Canceled" then error(e, 0) end
  gate.ctx:log("warn", ("approval: %s was not sent: %s"):format((select(2, ...)), tostring(e)))
end

-- What comes next, and when; nil: nothing does.
local function next_due(gate)
  local what, at
  for _, name in ipairs({ "timeout", "escalate", "remind" }) do
    local due = gate.due[name]
    if due and (not at or due < at) then what, at = name, due end
  end
  return what, at
end

local function when_due(gate, what)
  if what == "remind" then
    gate.reminders = gate.reminders + 1
    local last = gate.reminders >= (gate.given.remind.max or 3)
    gate.due.remind = not last and gate.due.remind + values.seconds(gate.given.remind.every) or nil
    try_to_tell(gate, gate.given.notify, "reminder", gate.reminders)
  else
    gate.escalated, gate.due.escalate = true, nil
    try_to_tell(gate, gate.given.escalate.to, "escalation", 1)
  end
end

-- The next answer; nil after gate.due.timeout.
local function wait(gate)
  while true do
    local what, at = next_due(gate)
    local left = at and at - gate.ctx:now()
    if left and left <= SLACK_S then
      if what == "timeout" then return nil end
      when_due(gate, what)
    else
      local ok, answer = pcall(gate.ctx.wait_for_external_event, gate.ctx, gate.event, { timeout = left })
      if ok then return answer, true end
      if answer.type ~= "Timeout" then error(answer, 0) end
    end
  end
end

local function out_of_time(gate)
  local how = gate.given.on_timeout or "reject"
  if how == "raise" then
    error(values.failure({ type = "Timeout", retryable = false,
      message = ("nobody answered \"%s\" within %s"):format(gate.event, tostring(gate.given.timeout)) }), 0)
  end
  return { approved = how == "approve", reason = "timeout" }
end

local function refuse(gate, answer, problem)
  if gate.given.on_invalid == "raise" then
    error(values.failure({ type = "InvalidAnswer", message = problem, retryable = false, details = answer }), 0)
  end
  gate.invalid = gate.invalid + 1
  gate.ctx:log("warn", "approval: an answer was ignored: " .. problem)
  try_to_tell(gate, gate.given.notify, "invalid", gate.invalid, problem)
end

-- Count an approval; is that enough? Who approves twice counts once.
local function approve(gate, answer)
  if gate.quorum == 1 then return true end
  for i, each in ipairs(gate.approvals) do
    if each.by == answer.by then table.remove(gate.approvals, i) break end
  end
  gate.approvals[#gate.approvals + 1] = answer
  return #gate.approvals >= gate.quorum
end

-- Answers by update become the event, once they are known to be good.
local function open_door(gate)
  gate.ctx:on_update(gate.event, {
    validate = function(answer)
      local problem = problem_of(gate, answer)
      return problem == nil, problem
    end,
    handle = function(answer)
      gate.ctx:raise_event(gate.ctx.instance_id, gate.event, answer)
      return { accepted = true }
    end,
  })
end

local function close_door(gate)
  gate.ctx:on_update(gate.event, { validate = function() return false, "nobody waits for an answer any more" end, handle = function() end })
end

local function settle(gate, ok, ...)
  close_door(gate)
  if not ok then error((...), 0) end
  return ...
end

local function decide(gate)
  while true do
    local answer, came = wait(gate)
    if not came then return out_of_time(gate) end
    local problem = problem_of(gate, answer)
    if problem then refuse(gate, answer, problem)
    elseif not answer.approved or approve(gate, answer) then
      local decision = {}
      for name, value in pairs(answer) do decision[name] = value end
      return decision
    end
  end
end

--- Ask, and wait for the decision. Answers it: what the person sent, and reminders, escalated, approvals.
--- Raises a failure of type "Timeout" (on_timeout = "raise"), "InvalidAnswer" (on_invalid = "raise"), and what the first notice raises.
---@param ctx Context
---@param given ApprovalOptions
---@return ApprovalAnswer
function approval.ask(ctx, given)
  given = check(ctx, given)
  local now = ctx:now()
  local function after(duration) return duration and now + values.seconds(duration) end
  local gate = {
    ctx = ctx, given = given, event = given.event or EVENT, quorum = given.quorum or 1, approvals = {}, reminders = 0, invalid = 0,
    escalated = false,
    due = { timeout = after(given.timeout), escalate = after(given.escalate and given.escalate.after),
      remind = after(given.remind and given.remind.every) },
  }
  open_door(gate)
  local decision = settle(gate, pcall(function()
    tell(gate, given.notify, "request", 1)
    return decide(gate)
  end))
  decision.reminders, decision.escalated = gate.reminders, gate.escalated
  if gate.quorum > 1 then decision.approvals = values.array(gate.approvals) end
  return decision
end

return approval
