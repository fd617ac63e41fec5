-- versions.lua: `lunation versions`: which code there is, since when, and who runs on it; read from the data directory.
local data = require "data"
local out = require "out"

local versions = {
  name = "versions",
  summary = "Show the versions of workflows: which code, since when, how many instances run on it",
  usage = "versions [WORKFLOW]",
  about = "Newest first. New starts get the one marked `current`; `lunation code HASH` shows the sources of any.",
  arguments = { 0, 1 },
  options = {},
  examples = "  lunation versions\n  lunation versions order --json | jq -r '.versions[].hash'",
}

function versions.run(parsed)
  local rt = data.open_to_read(parsed)
  local list = data.check(rt:versions(parsed[1]))
  data.close(rt)
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
  return 0
end

return versions
