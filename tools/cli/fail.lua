-- fail.lua: `lunation fail`: the failure of an activity that is answered from outside.
local answering = require "answering"
local data = require "data"

local fail = {
  name = "fail",
  summary = "Answer an activity that waits for somebody outside, with a failure",
  usage = "fail TOKEN [--type TYPE] [--message TEXT] [--non-retryable]",
  about = answering.ABOUT .. [[ The activity is tried again if its retry policy says so. The first answer counts; the command
returns when it is durable.]],
  arguments = { 1, 1 },
  options = {
    { "--type TYPE", "what retry policies and pcall handlers compare (default: Error)" },
    { "--message TEXT", "what went wrong, for people" },
    { "--non-retryable", "no retry policy applies" },
    { "--details JSON", "anything more: JSON text, @file, or - for stdin" },
  },
  examples = "  lunation fail 17:3:1 --type CardDeclined --message 'no money on it' --non-retryable",
}

local function query_of(parsed)
  local parts = {}
  for _, name in ipairs({ "type", "message" }) do
    if parsed[name] then parts[#parts + 1] = name .. "=" .. data.encode(parsed[name]) end
  end
  if parsed.non_retryable then parts[#parts + 1] = "retryable=false" end
  return #parts > 0 and "?" .. table.concat(parts, "&") or ""
end

function fail.run(parsed)
  local json = data.json("details", parsed.details)
  local failure = { type = parsed.type, message = parsed.message or "", non_retryable = parsed.non_retryable }
  local _, served = answering.run(parsed, "fail", query_of(parsed), json, function(rt)
    return rt:fail(parsed[1], failure, { details_json = json })
  end)
  return answering.tell(parsed, "failed", ("%s has failed"):format(parsed[1]), served)
end

return fail
