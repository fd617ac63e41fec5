-- dev.lua: `lunation dev`: a folder of workflows, served and watched: what is saved runs a moment later, and the terminal tells how the
-- instances fare that are under way.
local args = require "args"
local fits = require "fits"
local serve = require "serve"
local telling = require "telling"

local dev = {
  name = "dev",
  summary = "Serve a folder of workflows and reload what is saved there, telling how running instances fare",
  usage = "dev DIR [--policy POLICY] [--data DIR]",
  about = [[
As `lunation serve`, but DIR and the folders below it are watched. When a file is saved, or a module that it requires, the new code is tried
on every instance that runs before new starts get it. What becomes of those instances is the policy: `pin` leaves them on the code they
have; `adopt` moves those that fit the new code; `all_or_nothing` changes nothing unless all fit. Without --policy each workflow says it:
workflow("order", { on_reload = "adopt" }, function(ctx) ... end); one that says nothing pins. A file that does not load, or is deleted,
keeps its old code.]],
  arguments = { 1, 1 },
  options = {
    { "--policy POLICY", "pin, adopt or all_or_nothing, for every workflow" },
    { "--durability MODE", "sync (default; survives a power cut) or process (survives a crash)" },
    { "--workers N", "threads for activities that block (default 2)" },
    { "--paranoid", "for developers: run each turn twice, and stall who does not do the same both times" },
    { "--quiet", "no line per start and finish, and only warnings from the log" },
    { "--verbose", "the whole log" },
  },
  examples = "  lunation dev workflows\n  lunation dev workflows --policy adopt",
}

function dev.run(parsed, command)
  local policy = fits.policy(parsed, command)
  local tell = telling.teller(parsed)
  parsed.watched = true
  return serve.host(parsed, function(rt)
    local broken = 0
    local stop, message, code = rt:watch(parsed[1], function(event)
      if event.kind == "broken" then broken = broken + 1 end
      tell(event)
    end, { policy = policy })
    if not stop then args.usage_error(command, ("lunation dev: %s (%s)"):format(message, code)) end
    return broken
  end)
end

return dev
