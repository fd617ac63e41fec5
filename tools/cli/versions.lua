-- versions.lua: `lunation versions`: which code there is, since when, who runs on it, and what differs between two; read from the data
-- directory.
local data = require "data"
local diff = require "diff"
local out = require "out"

local versions = {
  name = "versions",
  summary = "Show the versions of workflows: which code, since when, how many instances run on it; or what differs between two",
  usage = "versions [WORKFLOW] [--diff OLD..NEW]",
  about = [[
Newest first. New starts get the one marked `current`; `lunation code VERSION` shows the sources of any. A version is named by its hash (the
first digits are enough), by its workflow for the current one, or counted back from there: order~1 is the one before.]],
  arguments = { 0, 1 },
  options = {
    { "--diff OLD..NEW", "what differs between two versions, file by file; with OLD alone, up to the current version of its workflow" },
  },
  examples = [[
  lunation versions
  lunation versions order --json | jq -r '.versions[].hash'
  lunation versions --diff order~1..order
  lunation versions --diff 4f2a91c0]],
}

--- The hash that somebody means, and the row of that version, if there is one. `list` is all versions, newest first for each workflow.
function versions.find(list, given)
  local name, back = given:match("^(.-)~(%d+)$")
  name, back = name or given, tonumber(back or 0)
  local of_name = {}
  for _, v in ipairs(list) do
    if v.workflow == name and (v.since_us or #of_name == 0) then of_name[#of_name + 1] = v end
    if v.hash == given then return v.hash, v end
  end
  if of_name[back + 1] then return of_name[back + 1].hash, of_name[back + 1] end
  if #of_name > 0 then
    data.fail(("there are %d versions of '%s', so there is no '%s'; `lunation versions %s` lists them"):format(#of_name, name, given, name),
      "LNT_ENOTFOUND")
  end
  local found = {}
  for _, v in ipairs(list) do
    if v.hash:sub(1, #given) == given then found[v.hash] = v end
  end
  local hash, row = next(found)
  if hash and next(found, hash) == nil then return hash, row end
  return given, nil -- rt:code() knows code without a workflow, and tells what is wrong with a hash
end

local function hash_of(rt, list, given)
  local hash, row = versions.find(list, given)
  local sources, whole, code = rt:code(hash)
  data.check(sources, whole, code)
  if not row then
    for _, v in ipairs(list) do
      if v.hash == whole then row = v end
    end
  end
  return whole, sources, row
end

--- Pairs of sources: the file itself, then the modules by name.
local function pair_up(old, new)
  local by_name, names = {}, {}
  for side, sources in ipairs({ old, new }) do
    for _, source in ipairs(sources) do
      local name = source.module or ""
      if not by_name[name] then by_name[name], names[#names + 1] = { name = name }, name end
      by_name[name][side] = source
    end
  end
  table.sort(names)
  local pairs_of = {}
  for i, name in ipairs(names) do pairs_of[i] = by_name[name] end
  return pairs_of
end

local function compare(old, new)
  local files = {}
  for _, pair in ipairs(pair_up(old, new)) do
    local a, b = pair[1], pair[2]
    local text = diff.unified(a and a.text or "", b and b.text or "")
    if text ~= "" or not a or not b then
      files[#files + 1] = { file = (b or a).file, module = pair.name ~= "" and pair.name or nil, diff = text,
        change = not a and "added" or not b and "removed" or "changed" }
    end
  end
  return files
end

local function describe(hash, row)
  if not row then return hash:sub(1, 12) end
  local since = row.since_us and ("  since " .. out.time(row.since_us)) or ""
  return ("%s  %s%s  %d live%s"):format(hash:sub(1, 12), row.workflow, since, row.live, row.is_current and "  current" or "")
end

local COLOURS = { ["+"] = "green", ["-"] = "red", ["@"] = "blue" }

local function print_file(one, old, new)
  local name = one.file .. (one.module and " (module " .. one.module .. ")" or "")
  io.write(out.paint(1, "bold", ("--- %s  %s\n+++ %s  %s"):format(one.change == "added" and "/dev/null" or name, old:sub(1, 12),
    one.change == "removed" and "/dev/null" or name, new:sub(1, 12))), "\n")
  for line in one.diff:gmatch("[^\n]*\n") do io.write(out.paint(1, COLOURS[line:sub(1, 1)], line:sub(1, -2)), "\n") end
end

local function show_diff(rt, list, parsed)
  local from, to = parsed.diff:match("^(.-)%.%.(.+)$")
  local old, old_sources, old_row = hash_of(rt, list, from or parsed.diff)
  if not to and not old_row then
    data.fail(("no workflow is known to have run on %s; name both versions: --diff %s..NEW"):format(old:sub(1, 12), old:sub(1, 12)),
      "LNT_EINVAL")
  end
  local new, new_sources, new_row = hash_of(rt, list, to or old_row.workflow)
  local files = compare(old_sources, new_sources)
  if parsed.json then
    local json = {}
    for i, one in ipairs(files) do
      json[i] = out.object("file", one.file, "module", one.module, "change", one.change, "diff", one.diff)
    end
    io.write(out.object("from", old, "to", new, "files", out.raw(out.array(json))), "\n")
    return
  end
  io.write(out.paint(1, "dim", "from "), describe(old, old_row), "\n", out.paint(1, "dim", "to   "), describe(new, new_row), "\n")
  for _, one in ipairs(files) do print_file(one, old, new) end
  if #files == 0 then io.write("the same sources\n") end
end

local function show_list(list, parsed)
  local json, rows = {}, {}
  for i, v in ipairs(list) do
    json[i] = out.object("workflow", v.workflow, "hash", v.hash, "file", v.file, "since_us", v.since_us, "live", v.live,
      "is_current", v.is_current)
    rows[i] = { v.workflow, v.hash:sub(1, 12), v.since_us and out.time(v.since_us) or "-", ("%d"):format(v.live),
      v.is_current and "current" or "", v.file or "" }
  end
  if parsed.json then
    io.write(out.object("versions", out.raw(out.array(json))), "\n")
  elseif #rows == 0 then
    out.say(parsed[1] and ("no version of '%s' is known"):format(parsed[1]) or "no workflow was loaded yet")
  else
    out.table({ "WORKFLOW", "CODE", "SINCE", "LIVE", "", "FILE" }, rows)
  end
end

function versions.run(parsed)
  local rt = data.open_to_read(parsed)
  local list = data.check(rt:versions(not parsed.diff and parsed[1] or nil))
  if parsed.diff then show_diff(rt, list, parsed) else show_list(list, parsed) end
  data.close(rt)
  return 0
end

return versions
