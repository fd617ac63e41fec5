-- fits.lua: how instances fare with other code, for people and programs: what `dev`, `reload` and `migrate` share.
local args = require "args"
local data = require "data"
local lunation = require "lunation"
local out = require "out"

local fits = {}

local POLICIES = { "pin", "adopt", "all_or_nothing" }
local DETAILS_MAX = 5 -- of each kind of misfit, for people

--- The option --policy, checked; nil where it is not given.
function fits.policy(parsed, command)
  local given = parsed.policy and parsed.policy:gsub("-", "_")
  if not given then return nil end
  for _, policy in ipairs(POLICIES) do
    if policy == given then return policy end
  end
  args.usage_error(command, ("lunation %s: --policy must be pin, adopt or all_or_nothing, not '%s'%s"):format(command.name, parsed.policy,
    args.hint(parsed.policy, POLICIES)))
end

--- "4 instances on other code: 1 compatible, 2 not yet at the change, 1 diverges; 2 moved".
function fits.counts(summary)
  if summary.checked == 0 then return "no instance on other code" end
  local parts = {}
  local function part(count, word)
    if count > 0 then parts[#parts + 1] = ("%d %s"):format(count, word) end
  end
  part(summary.compatible, "compatible")
  part(summary.not_reached, "not yet at the change")
  part(summary.diverging, summary.diverging == 1 and "diverges" or "diverge")
  part(summary.unavailable, "without their workflow")
  part(summary.busy, "never at rest")
  local moved = summary.moved > 0 and ("; %d moved"):format(summary.moved) or ""
  return ("%d instance%s on other code: %s%s"):format(summary.checked, summary.checked == 1 and "" or "s", table.concat(parts, ", "), moved)
end

--- Does an instance fit, as far as one can tell?
function fits.fits(report)
  return report.fit == "compatible" or report.fit == "not_reached"
end

local function write_divergence(r, pad)
  local where = r.event and ("at event %d, "):format(r.event) or "behind its last event, "
  local recorded = r.recorded and "recorded " .. r.recorded .. (r.recorded_at and "  " .. r.recorded_at or "") or "nothing recorded"
  local made = r.made and "now      " .. r.made .. (r.made_at and "  " .. r.made_at or "") or "now      the code ends without it"
  io.write(pad, out.paint(1, "yellow", "diverges"), "  ", r.id, "  ", where, recorded, "\n")
  io.write(pad, (" "):rep(10 + #r.id + 2 + #where), made, r.difference and "  (" .. r.difference .. ")" or "", "\n")
end

--- Lines about those that do not fit. `indent`: columns.
function fits.details(reports, indent)
  local told, left = 0, 0
  local pad = (" "):rep(indent)
  for _, r in ipairs(reports) do
    if not fits.fits(r) then
      told = told + 1
      if told > DETAILS_MAX then
        left = left + 1
      elseif r.fit == "diverges" then
        write_divergence(r, pad)
      else
        io.write(pad, out.paint(1, "yellow", r.fit), "  ", r.id, "  ", r.message or "", "\n")
      end
    end
  end
  if left > 0 then io.write(pad, ("and %d more\n"):format(left)) end
end

local function of_patch(patch)
  local name = ("patch '%s': "):format(patch.name)
  if patch.passed > 0 then
    return ("%s%d instance%s the old branch"):format(name, patch.passed, patch.passed == 1 and " takes" or "s take")
  elseif patch.took > 0 then
    return ("%snobody takes the old branch, it may go; the call must stay for the %d who took the new one"):format(name, patch.took)
  end
  return name .. "no instance has come to it"
end

--- Lines about the patches that the new code asks for: which old branches are dead. `brief`: only of those that somebody came to.
function fits.patches(summary, indent, brief)
  for _, patch in ipairs(summary.patches or {}) do
    if not brief or patch.took + patch.passed > 0 then io.write((" "):rep(indent), of_patch(patch), "\n") end
  end
end

--- Lines about activities that the new code shows otherwise. They run the newest code for everybody.
function fits.interfaces(summary, indent)
  for _, one in ipairs(summary.interfaces or {}) do
    local who = one.live == 0 and "nobody who runs calls it" or one.live >= 1000 and "1000 instances or more may call it as it was" or
      ("%d instance%s may call it as it was"):format(one.live, one.live == 1 and "" or "s")
    io.write((" "):rep(indent), out.paint(1, one.live > 0 and "yellow" or "dim", "activity"), "  ", one.recorded, "  is now  ",
      one.now or "gone", "; ", who, "\n")
  end
end

--- A report as JSON.
function fits.report(r)
  return out.object("id", r.id, "workflow", r.workflow, "status", r.status, "fit", r.fit, "moves", r.moves, "from_hash", r.from_hash,
    "to_hash", r.to_hash, "events", r.events, "event", r.event, "recorded_us", r.recorded_us, "recorded", r.recorded,
    "recorded_at", r.recorded_at, "made", r.made, "made_at", r.made_at, "difference", r.difference, "message", r.message)
end

--- A summary as JSON, with the list of instances if there is one.
function fits.summary(s)
  local list = nil
  if s.instances then
    list = {}
    for i, r in ipairs(s.instances) do list[i] = fits.report(r) end
  end
  local patches = {}
  for i, p in ipairs(s.patches or {}) do patches[i] = out.object("name", p.name, "took", p.took, "passed", p.passed) end
  local interfaces = {}
  for i, one in ipairs(s.interfaces or {}) do
    interfaces[i] = out.object("activity", one.activity, "recorded", one.recorded, "now", one.now, "recorded_us", one.recorded_us,
      "live", one.live)
  end
  return out.object("file", s.file, "hash", s.hash, "code", s.code, "message", s.message, "dry_run", s.dry_run, "switched", s.switched,
    "unchanged", s.unchanged, "checked", s.checked, "compatible", s.compatible, "not_reached", s.not_reached, "diverging", s.diverging,
    "unavailable", s.unavailable, "busy", s.busy, "moved", s.moved, "took_us", s.took_us, "patches", out.raw(out.array(patches)),
    "interfaces", out.raw(out.array(interfaces)),
    "instances", list and out.raw(out.array(list)), "more", s.more)
end

--- The query of a URL.
function fits.query(options)
  local parts = {}
  for name, value in pairs(options) do parts[#parts + 1] = name .. "=" .. data.encode(value) end
  table.sort(parts)
  return #parts > 0 and "?" .. table.concat(parts, "&") or ""
end

--- The summary in a server's answer.
function fits.from_server(json)
  return lunation.json_decode(json)
end

--- Write the end of a reload or a migration. Answers the exit code.
function fits.report_end(parsed, summary)
  if parsed.json then
    io.write(fits.summary(summary), "\n")
  else
    local verb = summary.dry_run and "would be loaded: " or summary.switched and "loaded: " or summary.file and "not loaded: " or ""
    io.write(summary.file and summary.file .. " " or "", verb, fits.counts(summary), "\n")
    if summary.message then out.say(summary.message) end
    fits.details(summary.instances or {}, 2)
    fits.patches(summary, 2)
    fits.interfaces(summary, 2)
    if (summary.more or 0) > 0 then io.write(("  and %d instances that are not listed\n"):format(summary.more)) end
  end
  return summary.code and 6 or 0
end

--- An event of rt:watch as JSON.
function fits.event(event)
  return out.object("watch", event.kind, "file", event.file, "cause", event.cause, "message", event.message,
    "instance", event.instance and out.raw(fits.report(event.instance)), "summary", event.summary and out.raw(fits.summary(event.summary)))
end

return fits
