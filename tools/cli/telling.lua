-- telling.lua: what `dev` and `serve` tell of a folder's files: loaded, broken, reloaded, and how the instances fare that are under way.
local fits = require "fits"
local out = require "out"

local telling = {}

local INDENT = 20

local SIGNS = {
  loaded = { "loaded", "green" }, reloaded = { "reloaded", "green" },
  refused = { "REFUSED", "yellow" }, broken = { "BROKEN", "red" }, deleted = { "deleted", "yellow" },
}

local function line(kind, text)
  local sign = SIGNS[kind]
  io.write(os.date("%H:%M:%S"), "  ", out.paint(1, sign[2], ("%-8s"):format(sign[1])), "  ",
    (text:gsub("\n", "\n" .. (" "):rep(INDENT))), "\n")
end

local function base(path)
  return path:match("[^/]*$")
end

local TELL = {}

function TELL.loaded(event, _, loaded) -- the line that says what is served names them
  loaded[event.file] = true
end

function TELL.broken(event, _, loaded)
  local stays = loaded[event.file] and "the code that was loaded before stays" or event.cause == event.file and
    "it is not loaded" or "what requires it stays as it was"
  line("broken", event.message .. "\n" .. stays)
end

function TELL.deleted(event)
  line("deleted", base(event.file) .. "; its code stays, for instances and for new starts")
end

local function headline(event)
  local summary = event.summary
  local because = event.cause ~= event.file and " (" .. base(event.cause) .. " changed)" or ""
  local what = summary.unchanged and summary.checked == 0 and " as it was" or " " .. summary.hash:sub(1, 12)
  return base(event.file) .. because .. what .. ", " .. fits.counts(summary) .. ", " .. out.duration(summary.took_us)
end

function TELL.reloaded(event, misfits, loaded)
  line(loaded[event.file] and "reloaded" or "loaded", headline(event))
  loaded[event.file] = true
  fits.details(misfits, INDENT)
  fits.patches(event.summary, INDENT, true)
  fits.interfaces(event.summary, INDENT)
end

function TELL.refused(event, misfits)
  line("refused", headline(event) .. "\n" .. event.message)
  fits.details(misfits, INDENT)
end

--- The function that rt:watch is given. Reports of instances come before the event that they belong to.
function telling.teller(parsed)
  local misfits, loaded = {}, {}
  return function(event)
    if parsed.json then
      io.write(fits.event(event), "\n")
      return
    end
    local file = event.file
    if event.kind == "instance" then
      misfits[file] = misfits[file] or {}
      if not fits.fits(event.instance) then table.insert(misfits[file], event.instance) end
      return
    end
    TELL[event.kind](event, misfits[file] or {}, loaded)
    misfits[file] = nil
  end
end

return telling
