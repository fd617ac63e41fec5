-- import.lua: `lunation import`: an instance from a file, through the server, or straight into the data directory.
local data = require "data"
local fits = require "fits"
local lunation = require "lunation"
local out = require "out"
local sys = require "sys"

local import = {
  name = "import",
  summary = "Take an instance from a file that `lunation export` wrote",
  usage = "import FILE [--id NEW] [--suspended]",
  about = [[
All of it lands, or nothing. What is not finished goes on here: activities without an answer run again, timers stand for the times they had.
The code comes with it, its activities too, so import only what you trust. An id that is taken is refused; with --id the instance comes as
a fork under a new one, and its children that are not finished are started again.]],
  arguments = { 1, 1 },
  options = {
    { "--id NEW", "under this id" },
    { "--suspended", "nothing of it runs until `lunation resume`" },
  },
  examples = "  lunation import order-7.run --suspended\n  lunation show order-7 && lunation resume order-7",
}

function import.run(parsed)
  local result
  local served = sys.kind(data.dir(parsed)) and data.served(parsed)
  if served then
    local path = sys.realpath(parsed[1])
    if not path then data.fail(("cannot read '%s': there is no such file"):format(parsed[1]), "LNT_ENOTFOUND") end
    local query = { file = path, id = parsed.id, suspend = parsed.suspended and "true" or nil }
    result = lunation.json_decode(data.ask(parsed, "POST", "/v1/import" .. fits.query(query)))
  else
    local rt = data.open_or_make(parsed)
    result = data.check(rt:import(parsed[1], { new_id = parsed.id, suspend = parsed.suspended }))
    data.close(rt)
  end
  if parsed.json then
    io.write(out.object("id", result.id, "run", result.run, "runs", result.runs, "live", result.live), "\n")
  else
    local more = result.runs > 1 and ("  %d runs"):format(result.runs) or ""
    local live = result.live == 0 and "finished" or parsed.suspended and "suspended" or "goes on"
    io.write(("%s  %s%s\n"):format(result.id, live, more))
    if live == "goes on" and not served then out.say("nothing runs it now: `lunation serve` or `lunation dev` will") end
  end
  return 0
end

return import
