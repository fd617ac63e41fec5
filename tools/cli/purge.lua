-- purge.lua: `lunation purge`: one instance, or all that match; through the server, or straight in the data directory.
local args = require "args"
local data = require "data"
local lunation = require "lunation"
local ls = require "ls"
local out = require "out"
local when = require "when"

local purge = {
  name = "purge",
  summary = "Take finished instances out of the store",
  usage = "purge ID... | purge [--older-than TIME] [--status S] [--workflow NAME] [--attr NAME=VALUE] [--all]",
  about = [[
Nothing of them is left: no history, no generations, no children; their ids are free. Instances that are not finished, or have children
that are not, stay: naming one is an error, matching one is not.]],
  arguments = { 0, 1000 },
  options = {
    { "--older-than TIME", "only those that finished before: 30d (ago), or 2026-11-24" },
    { "--status S", "only these, separated by commas: completed, failed, canceled, terminated; continued_as_new for old generations" },
    { "--workflow, --name NAME", "only of this workflow" },
    { "--prefix TEXT", "only ids that begin so" },
    { "--attr NAME=VALUE...", "only with this attribute; may be given again" },
    { "--all", "every finished instance, where no condition is given" },
    { "--force", "terminate what is not finished" },
    { "--alone", "leave the children" },
  },
  examples = "  lunation purge trip-7\n  lunation purge --older-than 30d --status completed",
}

local PAGE = 1000

local function query_of(options)
  local parts = {}
  for name, value in pairs(options) do
    if type(value) == "table" then value = name == "attributes" and lunation.json_encode(value) or table.concat(value, ",") end
    if type(value) == "number" then value = ("%.0f"):format(value) end
    parts[#parts + 1] = name .. "=" .. data.encode(tostring(value))
  end
  table.sort(parts)
  return #parts > 0 and "?" .. table.concat(parts, "&") or ""
end

--- Answers functions that purge one and purge a page, and one that ends.
local function through_server(parsed)
  local function ask(path, options)
    local reply = lunation.json_decode(data.ask(parsed, "POST", path .. query_of(options)))
    return reply.purged, reply.next
  end
  return {
    one = function(id, options) return (ask("/v1/instances/" .. data.encode(id) .. "/purge", options)) end,
    page = function(options) return ask("/v1/purge", options) end,
    finish = function() end,
  }
end

--- The rest of what was purged goes with the commits that follow: make them.
local function sweep(rt)
  repeat
    local commits = rt:stats().commits
    data.check(rt:flush())
  until rt:stats().commits == commits
end

local function straight(parsed)
  local rt = data.open_briefly(parsed)
  return {
    one = function(id, options)
      local count = data.check(rt:purge(id, options))
      data.check(rt:flush())
      return count
    end,
    page = function(options)
      local count, next = data.check(rt:purge_matching(options))
      data.check(rt:flush())
      return count, next
    end,
    finish = function()
      sweep(rt)
      data.close(rt)
    end,
  }
end

local function matching(parsed, command, way, options)
  local conditions = ls.conditions(parsed, command)
  conditions.closed_before_us = when.moment(command, parsed, "older_than", -1)
  if next(conditions) == nil and not parsed.all then
    args.usage_error(command, "lunation purge: name instances, or give a condition, or --all")
  end
  for name, value in pairs(options) do conditions[name] = value end
  conditions.limit = PAGE
  local total = 0
  repeat
    local count, cursor = way.page(conditions)
    total, conditions.cursor = total + count, cursor
  until not cursor
  return total
end

function purge.run(parsed, command)
  local options = {}
  if parsed.force then options.force = true end
  if parsed.alone then options.recursive = false end
  local way = (data.served(parsed) and through_server or straight)(parsed)
  local total = 0
  for _, id in ipairs(parsed) do total = total + way.one(id, options) end
  if #parsed == 0 then total = matching(parsed, command, way, options) end
  way.finish()
  io.write(parsed.json and out.object("purged", total) or ("%d purged"):format(total), "\n")
  return 0
end

return purge
