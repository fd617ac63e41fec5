--- Try a block of workflow code again: several activities, a child, whatever must succeed together. (One activity alone has its own
--- { retry = ... }; the policy is the same.)
---
---   local retry = require "retry"
---   local page = retry.run(ctx, { max_attempts = 5, interval = "2s", max_interval = "1m", timeout = "10m" }, function(attempt)
---     local token = ctx:call_activity("log_in")
---     return ctx:call_activity("fetch", token)
---   end)
---
--- The pauses are durable timers: min(interval * backoff^(n - 1), max_interval) after attempt n. What an attempt started and is not over
--- when it fails is canceled and awaited, as by ctx:scope. Not tried again: failures that say retryable = false, types listed in
--- non_retryable, and Canceled. What is raised in the end is the failure of the last attempt.
local options = require "lunation.options"
local values = require "lunation.values"

local retry = {}

---@class RetryBlockPolicy: RetryPolicy
---@field jitter? number 0 to 1: how much of each pause is random; default 0
---@field retry_if? fun(failure: Failure, attempt: integer): boolean asked last; false ends it
---@field on_retry? fun(failure: Failure, attempt: integer, pause: number) before each pause (seconds)

local KNOWN = {
  max_attempts = "count", interval = "duration", first_interval = "duration", backoff = "number", backoff_coefficient = "number",
  max_interval = "duration", timeout = "duration", non_retryable = "table", jitter = "fraction", retry_if = "function",
  on_retry = "function",
}

local ATTEMPTS, INTERVAL_S, BACKOFF = 3, 1, 2
local BACKOFF_MAX = 1000

--- A policy, before anything runs by it. Raises a failure of type "InvalidArgument" at `level` (as in lunation.options), for the modules
--- that hand one on.
---@param what string names the function in messages
---@param policy? RetryBlockPolicy
---@param level? integer default 3
---@param inside? string the option that the policy is
function retry.check(what, policy, level, inside)
  level = level or 3
  policy = options.check(what, policy, KNOWN, level + 1, inside)
  local prefix = inside and inside .. "." or ""
  local function refuse(field, text) values.invalid(prefix .. field, ("%s: %s%s %s"):format(what, prefix, field, text), level + 1) end
  for name, other in pairs({ first_interval = "interval", backoff = "backoff_coefficient" }) do
    if policy[name] and policy[other] then refuse(other, ("and %s%s are the same thing; give one of them"):format(prefix, name)) end
  end
  local backoff = policy.backoff or policy.backoff_coefficient or BACKOFF
  if not (backoff >= 1 and backoff <= BACKOFF_MAX) then refuse("backoff", ("is 1 to %d, got %s"):format(BACKOFF_MAX, tostring(backoff))) end
  local pause, longest = values.seconds(policy.interval or policy.first_interval or INTERVAL_S), values.seconds(policy.max_interval)
  if longest and longest < pause then refuse("max_interval", "is shorter than the first interval; make it at least as long") end
  if values.seconds(policy.timeout) == 0 then refuse("timeout", "of 0 would allow no retry; leave it out to have none") end
  if policy.non_retryable then
    options.list(what .. ": " .. prefix .. "non_retryable", prefix .. "non_retryable", policy.non_retryable, "string", level + 1)
  end
end

local function is_final(policy, failure, attempt)
  if failure.type == "Canceled" or failure.type == "NonRetryableError" or failure.retryable == false then return true end
  for _, kind in ipairs(policy.non_retryable or {}) do
    if failure.type == kind then return true end
  end
  return policy.retry_if ~= nil and not policy.retry_if(failure, attempt)
end

local function pack(...)
  return { n = select("#", ...), ... }
end

--- Run `fn` until it returns; answers what it returned.
---@param ctx Context
---@param policy RetryBlockPolicy
---@param fn fun(attempt: integer): ...
---@return any ...
function retry.run(ctx, policy, fn)
  options.context("retry.run", ctx)
  retry.check("retry.run", policy)
  options.argument("retry.run: what is tried", "fn", fn, "function")
  policy = policy or {}

  local backoff = policy.backoff or policy.backoff_coefficient or BACKOFF
  local max_attempts, longest = policy.max_attempts or ATTEMPTS, values.seconds(policy.max_interval) or math.huge
  local pause, waited, attempt = values.seconds(policy.interval or policy.first_interval or INTERVAL_S), 0, 1
  local patience = values.seconds(policy.timeout) or math.huge
  while true do
    local outcome = pack(pcall(ctx.scope, ctx, function() return fn(attempt) end))
    if outcome[1] then return unpack(outcome, 2, outcome.n) end
    local failure = options.failure(outcome[2])
    if attempt >= max_attempts or waited >= patience or is_final(policy, failure, attempt) then error(outcome[2], 0) end
    pause = math.min(pause, longest)
    local wait = policy.jitter and pause * (1 - policy.jitter * ctx:random()) or pause
    if policy.on_retry then policy.on_retry(failure, attempt, wait) end
    ctx:create_timer(wait)
    waited, pause, attempt = waited + pause, pause * backoff, attempt + 1
  end
end

return retry
