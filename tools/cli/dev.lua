-- dev.lua: `lunation dev`: a folder of workflows, served and watched: what is saved runs a moment later, and the terminal tells how the
-- instances fare that are under way.
local args = require "args"
local fits = require "fits"
local out = require "out"
local serve = require "serve"

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

local SIGNS = {
  loaded = { "loaded", "green" }, reloaded = { "reloaded", "green" }, refused = { "REFUSED", "yellow" }, broken = { "BROKEN", "red" },
  deleted = { "deleted", "yellow" },
}

local function line(kind, text)
  local sign = SIGNS[kind]
  io.write(os.date("%H:%M:%S"), "  ", out.paint(1, sign[2], ("%-8s"):format(sign[1])), "  ", text, "\n")
end

local function base(path)
  return path:match("[^/]*$")
end

local function indented(text)
  return (text:gsub("\n", "\n" .. (" "):rep(20)))
end

local TELL = {}

function TELL.loaded() end -- the line that says what is served names them

function TELL.broken(event)
  line("broken", indented(event.message) .. "\n" .. (" "):rep(20) .. "the code that was loaded before stays")
end

function TELL.deleted(event)
  line("deleted", base(event.file) .. "; its code stays, for instances and for new starts")
end

local function headline(event)
  local summary = event.summary
  local because = event.cause ~= event.file and " (" .. base(event.cause) .. " changed)" or ""
  local what = summary.unchanged and " as it was" or " " .. summary.hash:sub(1, 12)
  return base(event.file) .. because .. what .. ", " .. fits.counts(summary) .. ", " .. out.duration(summary.took_us)
end

function TELL.reloaded(event, instances)
  line("reloaded", headline(event))
  fits.details(instances, 20)
  fits.patches(event.summary, 20, true)
  fits.interfaces(event.summary, 20)
end

function TELL.refused(event, instances)
  line("refused", headline(event) .. "\n" .. (" "):rep(20) .. event.message)
  fits.details(instances, 20)
end

--- The function that rt:watch is given. Reports of instances come before the event that they belong to.
local function teller(parsed)
  local pending = {}
  return function(event)
    if parsed.json then
      io.write(fits.event(event), "\n")
      return
    end
    if event.kind == "instance" then
      pending[event.file] = pending[event.file] or {}
      table.insert(pending[event.file], event.instance)
      return
    end
    local instances = pending[event.file] or {}
    pending[event.file] = nil
    TELL[event.kind](event, instances)
  end
end

function dev.run(parsed, command)
  local policy = fits.policy(parsed, command)
  local tell = teller(parsed)
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
