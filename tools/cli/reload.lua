-- reload.lua: `lunation reload`: load a file again under the instances that run, or only look how they would fare; through the server, or
-- straight in the data directory.
local data = require "data"
local fits = require "fits"
local out = require "out"
local sys = require "sys"

local reload = {
  name = "reload",
  summary = "Load a file again, trying it first on every instance that runs",
  usage = "reload FILE [--policy POLICY] [--dry-run]",
  about = [[
Every instance of the file's workflows that runs on other code is tried with the new code, and told of: compatible; not yet at the change,
where it ran nothing yet that differs; diverges, with both sides; without its workflow. Of each ctx:is_patched it is told who still takes
the old branch. Then new starts get the code, and the policy says what becomes of instances: `pin` leaves them, `adopt` moves
those that are compatible, `all_or_nothing` changes nothing unless all are (exit code 6). Without --policy each workflow's own counts
(on_reload). An instance that is STALLED and fits the new code is moved in any case. --dry-run changes nothing.]],
  arguments = { 1, 1 },
  options = {
    { "--policy POLICY", "pin, adopt or all_or_nothing, for every workflow of the file" },
    { "--dry-run", "only look" },
  },
  examples = "  lunation reload workflows/order.lua --dry-run\n  lunation reload workflows/order.lua --policy adopt",
}

function reload.run(parsed, command)
  local policy, path, kind = fits.policy(parsed, command), parsed[1], sys.kind(parsed[1])
  if kind ~= "file" then
    data.fail(("cannot load '%s': %s"):format(path, kind and "it is a folder" or "there is no such file"), "LNT_ENOTFOUND")
  end
  if data.served(parsed) then
    local query = { file = sys.realpath(path) or path, policy = policy, dry_run = parsed.dry_run and "true" or nil }
    return fits.report_end(parsed, fits.from_server(data.ask(parsed, "POST", "/v1/reload" .. fits.query(query))))
  end
  local rt = data.open_briefly(parsed)
  local summary, message, code, refused = rt:reload(path, { policy = policy, dry_run = parsed.dry_run, now = true, limit = 100 })
  data.check(summary or (code == "LNT_EDIVERGED" and refused) or nil, message, code)
  data.close(rt)
  local exit = fits.report_end(parsed, summary or refused)
  if not parsed.json and not parsed.dry_run and exit == 0 then
    out.say("nothing runs the instances now: `lunation serve` or `lunation dev` will, with the files of its folder")
  end
  return exit
end

return reload
