-- ls.lua: `lunation ls`: instances, newest first, read from the data directory, beside a server or without one.
local args = require "args"
local data = require "data"
local out = require "out"
local sys = require "sys"

local ls = {
  name = "ls",
  summary = "List instances, newest first",
  usage = "ls [--status S] [--workflow NAME] [--prefix TEXT] [--limit N]",
  arguments = { 0, 0 },
  options = {
    { "--status S", "only these, separated by commas: pending, running, suspended, completed, failed, canceled, terminated, stalled" },
    { "--workflow NAME", "only of this workflow" },
    { "--prefix TEXT", "only ids that begin so" },
    { "-n, --limit N", "at most so many (default 100)" },
    { "--cursor C", "go on after a page: the `next` of the page before" },
  },
  examples = [[
  lunation ls --status failed,stalled
  lunation ls --workflow order --json | jq -r '.instances[].id']],
}

local STATUSES = { "RUNNING", "COMPLETED", "CONTINUED_AS_NEW", "FAILED", "CANCELED", "TERMINATED", "PENDING", "SUSPENDED", "STALLED" }

local function statuses(parsed, command)
  if not parsed.status then return nil end
  local list = {}
  for word in parsed.status:gmatch("[^,%s]+") do
    local known = false
    for _, status in ipairs(STATUSES) do known = known or status == word:upper() end
    if not known then
      args.usage_error(command, ("lunation ls: there is no status '%s'%s"):format(word, args.hint(word, STATUSES)))
    end
    list[#list + 1] = word:upper()
  end
  return #list > 0 and list or nil
end

local function more(instance)
  if instance.failure then return out.failure(instance.failure) end
  if instance.custom_status then return instance.custom_status end
  return ""
end

local function print_table(instances)
  local rows, now = {}, sys.now_us()
  for i, instance in ipairs(instances) do
    local age = out.duration(math.max(0, now - instance.created_us)) .. " ago"
    rows[i] = { instance.id, instance.workflow, instance.status, age, more(instance) }
  end
  local room = 0
  for _, row in ipairs(rows) do room = math.max(room, #row[1] + #row[2] + #row[3] + #row[4] + 8) end
  for _, row in ipairs(rows) do row[5] = out.cut(row[5], math.max(20, out.width() - room)) end
  out.table({ "ID", "WORKFLOW", "STATUS", "STARTED", "" }, rows, function(column, text)
    return column == 3 and out.status(1, text:match("%S+"), #text) or column == 4 and out.paint(1, "dim", text) or text
  end)
end

function ls.run(parsed, command)
  local options = {
    status = statuses(parsed, command), workflow = parsed.workflow, prefix = parsed.prefix, cursor = parsed.cursor, json = true,
    limit = args.number(command, parsed, "limit", 100, 1, 100000),
  }
  local rt = data.open_to_read(parsed)
  local instances, next = data.check(rt:list(options))
  data.close(rt)
  if parsed.json then
    local list = {}
    for i, instance in ipairs(instances) do list[i] = out.instance(instance) end
    io.write(out.object("instances", out.raw(out.array(list)), "next", next), "\n")
    return 0
  end
  if #instances == 0 then
    local filtered = options.status or options.workflow or options.prefix
    out.say(filtered and "no instance matches" or "no instances yet")
    return 0
  end
  print_table(instances)
  if next then out.say(("there are more: --cursor %s"):format(next)) end
  return 0
end

return ls
