-- ls.lua: `lunation ls`: instances, newest first, read from the data directory, beside a server or without one.
local args = require "args"
local data = require "data"
local out = require "out"
local sys = require "sys"
local when = require "when"

local ls = {
  name = "ls",
  summary = "List instances, newest first",
  usage = "ls [--status S] [--workflow NAME] [--attr NAME=VALUE] [--limit N] [--count]",
  arguments = { 0, 0 },
  options = {
    { "--status S", "only these, separated by commas: pending, running, suspended, completed, failed, canceled, terminated, stalled; " ..
      "also continued_as_new, the closed generations" },
    { "--workflow, --name NAME", "only of this workflow" },
    { "--prefix TEXT", "only ids that begin so" },
    { "--parent ID", "only children of this instance" },
    { "--attr NAME=VALUE...", "only with this attribute; may be given again" },
    { "--since TIME", "only started then or later: 2026-11-24, '2026-11-24 14:00', or 2h, 7d ago" },
    { "--until TIME", "only started before" },
    { "-n, --limit N", "at most so many (default 100)" },
    { "--cursor C", "go on after a page: the `next` of the page before" },
    { "--count", "how many there are, by status" },
  },
  examples = [[
  lunation ls --status failed,stalled --since 1d
  lunation ls --attr customer=ada --attr priority=2
  lunation ls --workflow order --json | jq -r '.instances[].id'
  lunation ls --count --workflow order]],
}

local STATUSES = { "RUNNING", "COMPLETED", "CONTINUED_AS_NEW", "FAILED", "CANCELED", "TERMINATED", "PENDING", "SUSPENDED", "STALLED" }

local function statuses(parsed, command)
  if not parsed.status then return nil end
  local list = {}
  for word in parsed.status:gmatch("[^,%s]+") do
    local known = false
    for _, status in ipairs(STATUSES) do known = known or status == word:upper() end
    if not known then
      args.usage_error(command, ("lunation %s: there is no status '%s'%s"):format(command.name, word, args.hint(word, STATUSES)))
    end
    list[#list + 1] = word:upper()
  end
  return #list > 0 and list or nil
end

local function more(instance)
  if instance.status == "CONTINUED_AS_NEW" then return ("generation %d: --run %d"):format(instance.generation, instance.run) end
  if instance.failure then return out.failure(instance.failure) end
  if instance.custom_status then return instance.custom_status end
  return ""
end

--- An id comes again with each run that had it before.
local function earlier_runs(instances)
  local seen, earlier = {}, {}
  for i, instance in ipairs(instances) do
    earlier[i] = seen[instance.id] and instance.status ~= "CONTINUED_AS_NEW" and ("earlier run: --run %d"):format(instance.run)
    seen[instance.id] = true
  end
  return earlier
end

local function print_table(instances)
  local rows, now, earlier = {}, sys.now_us(), earlier_runs(instances)
  for i, instance in ipairs(instances) do
    local age = out.duration(math.max(0, now - instance.created_us)) .. " ago"
    local text = more(instance)
    if earlier[i] then text = text == "" and earlier[i] or earlier[i] .. "  " .. text end
    rows[i] = { instance.id, instance.workflow, instance.status, age, text }
  end
  local room = 0
  for _, row in ipairs(rows) do room = math.max(room, #row[1] + #row[2] + #row[3] + #row[4] + 8) end
  for _, row in ipairs(rows) do row[5] = out.cut(row[5], math.max(20, out.width() - room)) end
  out.table({ "ID", "WORKFLOW", "STATUS", "STARTED", "" }, rows, function(column, text)
    return column == 3 and out.status(1, text:match("%S+"), #text) or column == 4 and out.paint(1, "dim", text) or text
  end)
end

--- A page may be short where many conditions meet: go on until there are enough.
local function pages(rt, options)
  local all, next = {}, options.cursor
  local wanted = options.limit
  repeat
    options.cursor, options.limit = next, wanted - #all
    local page, cursor = data.check(rt:list(options))
    for _, instance in ipairs(page) do all[#all + 1] = instance end
    next = cursor
  until not next or #all >= wanted
  return all, next
end

local function count(parsed, rt, options)
  local counts = data.check(rt:count(options))
  data.close(rt)
  local pairs_of, rows = { "total", counts.total }, {}
  for _, status in ipairs(STATUSES) do
    if counts[status] then
      pairs_of[#pairs_of + 1], pairs_of[#pairs_of + 2] = status, counts[status]
      rows[#rows + 1] = { status, ("%d"):format(counts[status]) }
    end
  end
  if parsed.json then
    io.write(out.object(unpack(pairs_of)), "\n")
  else
    rows[#rows + 1] = { "total", ("%d"):format(counts.total) }
    out.table({ "STATUS", "COUNT" }, rows)
  end
  return 0
end

--- The conditions that the options give, for rt:list and the like.
function ls.conditions(parsed, command)
  return {
    status = statuses(parsed, command), workflow = parsed.workflow, prefix = parsed.prefix, parent = parsed.parent,
    attributes = data.attributes(parsed, command), created_from_us = when.moment(command, parsed, "since", -1),
    created_to_us = when.moment(command, parsed, "until", -1),
  }
end

function ls.run(parsed, command)
  local options = ls.conditions(parsed, command)
  local filtered = next(options) ~= nil
  options.cursor, options.json = parsed.cursor, true
  options.limit = args.number(command, parsed, "limit", 100, 1, 100000)
  local rt = data.open_to_read(parsed)
  if parsed.count then return count(parsed, rt, options) end
  local instances, more_at = pages(rt, options)
  data.close(rt)
  if parsed.json then
    local list = {}
    for i, instance in ipairs(instances) do list[i] = out.instance(instance) end
    io.write(out.object("instances", out.raw(out.array(list)), "next", more_at), "\n")
    return 0
  end
  if #instances == 0 then
    out.say(filtered and "no instance matches" or "no instances yet")
    return 0
  end
  print_table(instances)
  if more_at then out.say(("there are more: --cursor %s"):format(more_at)) end
  return 0
end

return ls
