-- when.lua: what people write for a moment or a length of time, as numbers of microseconds.
local args = require "args"
local sys = require "sys"

local when = {}

local UNITS = { ms = 1e3, s = 1e6, m = 60e6, h = 3600e6, d = 86400e6, w = 7 * 86400e6 }

--- "90", "90s", "1h30m", "7d": microseconds, or nil. A bare number is seconds.
function when.duration(text)
  if tonumber(text) and tonumber(text) >= 0 then return tonumber(text) * 1e6 end
  local total, at = 0, 1
  while at <= #text do
    local number, unit, after = text:match("^(%d+%.?%d*)(%a+)()", at)
    if not number or not UNITS[unit] then return nil end
    total, at = total + tonumber(number) * UNITS[unit], after
  end
  return #text > 0 and total or nil
end

--- Seconds east of UTC at a local time.
local function offset_of(seconds)
  local utc = os.date("!*t", seconds)
  utc.isdst = false
  return os.difftime(seconds, os.time(utc))
end

--- "2026-11-24", "2026-11-24 14:00[:30]", with "Z" or "+01:00" behind it or in local time: microseconds, or nil.
local function moment(text)
  local year, month, day, rest = text:match("^(%d%d%d%d)%-(%d%d)%-(%d%d)(.*)$")
  if not year then return nil end
  local hour, minute, zone = rest:match("^[ T](%d%d):(%d%d)(.*)$")
  if not hour and rest ~= "" and rest ~= "Z" then return nil end
  local second, fraction, after = (zone or ""):match("^:(%d%d)(%.?%d*)(.*)$")
  zone = second and after or zone or rest
  local fields = { year = tonumber(year), month = tonumber(month), day = tonumber(day), hour = tonumber(hour or 0),
    min = tonumber(minute or 0), sec = tonumber(second or 0) }
  local read = { month = fields.month, day = fields.day, hour = fields.hour, min = fields.min, sec = fields.sec }
  local local_s = os.time(fields)
  if not local_s then return nil end
  for name, value in pairs(read) do
    if os.date("*t", local_s)[name] ~= value and not zone:match("^[Z+-]") then return nil end -- there is no 31st of February
  end
  local sign, hours, minutes = zone:match("^([+-])(%d%d):?(%d%d)$")
  local us = (fraction and #fraction > 1 and tonumber("0" .. fraction) or 0) * 1e6
  if zone == "Z" or sign then
    local east_s = sign and (sign == "+" and 1 or -1) * (tonumber(hours) * 3600 + tonumber(minutes) * 60) or 0
    return (local_s + offset_of(local_s) - east_s) * 1e6 + us
  end
  return zone == "" and local_s * 1e6 + us or nil
end

--- The moment in the option `key`, or nil where it is not given: a date, or a length of time that is added to now (`direction` 1) or taken
--- off it (-1).
function when.moment(command, parsed, key, direction)
  local text = parsed[key]
  if not text then return nil end
  local us = moment(text)
  local length = not us and when.duration(text)
  if length then us = sys.now_us() + direction * length end
  if us and us > 0 then return math.floor(us) end
  local message = "lunation %s: --%s must be a time such as 2026-11-24, '2026-11-24 14:00', 2026-11-24T14:00:00Z, or a length of time " ..
    "such as 90s, 1h30m, 7d; not '%s'"
  args.usage_error(command, message:format(command.name, key:gsub("_", "-"), text))
end

return when
