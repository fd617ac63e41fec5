--- Where the body of an answer goes while it comes: functions that take a piece, or nil at the end; true from one stops the transfer. For
--- http.
local lib = require "lunation.activity"
local lines = require "lunation.lines"

local sinks = {}

local EVENT_BYTES_MAX = 4 * 1024 * 1024 -- the data of one server-sent event

--- Lines, without their ends.
function sinks.lines(give)
  return lines("the answer has", give)
end

--- text/event-stream, by the standard of the web: an event ends at an empty line; one that does not end is none.
function sinks.events(give)
  local event, data, size, id = nil, {}, 0, nil
  return sinks.lines(function(line)
    if line == "" then
      local text, kind, is_event = table.concat(data, "\n"), event or "message", #data > 0
      event, data, size = nil, {}, 0
      return is_event and give({ event = kind, data = text, id = id })
    end
    local name, value = line:match("^([^:]*):? ?(.*)$")
    if name == "event" then event = value
    elseif name == "id" then id = value
    elseif name == "data" then
      size, data[#data + 1] = size + #value, value
      if size > EVENT_BYTES_MAX then
        lib.fail("LimitExceeded", ("the answer has an event of more than %d bytes"):format(EVENT_BYTES_MAX), nil, false)
      end
    end
  end)
end

--- A file beside the path, which takes its place at the end.
function sinks.file(act, path)
  local what, temp = "cannot write " .. path, lib.temp_name(act, path)
  local fd, close, release_temp
  local function open()
    fd, close = lib.open_file(act, what, temp, "wx")
    release_temp = lib.hold(act, function() if close then lib.uv().fs_unlink(temp) end end)
  end
  return function(data)
    if not fd then open() end
    local at = 1
    while data and at <= #data do
      local piece = at == 1 and data or data:sub(at)
      at = at + lib.request(act, what, function(cb) return lib.uv().fs_write(fd, piece, -1, cb) end)
    end
    if data then return end
    lib.request(act, what, function(cb) return lib.uv().fs_fsync(fd, cb) end)
    close()
    lib.request(act, what, function(cb) return lib.uv().fs_rename(temp, path, cb) end)
    close = nil
    release_temp()
    lib.sync_folder(act, path)
  end
end

return sinks
