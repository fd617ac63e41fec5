--- Text that comes in pieces, cut into lines. For the modules of activities beside this one.
local lib = require "lunation.activity"

local LINE_BYTES_MAX = 1024 * 1024

--- A function that takes a piece, or nil at the end, and calls give(line) for each line, without its end. When that answers true, it
--- answers true at once. A line of more than 1 MB is a failure of type "LimitExceeded".
---@param what string "make wrote", for messages: "make wrote a line of more than ..."
---@param give fun(line: string): boolean?
---@return fun(piece: string?): boolean?
return function(what, give)
  local rest, size = {}, 0
  local function keep(text)
    size = size + #text
    if size > LINE_BYTES_MAX then
      lib.fail("LimitExceeded", ("%s a line of more than %d bytes"):format(what, LINE_BYTES_MAX), nil, false)
    end
    rest[#rest + 1] = text
  end
  local function take()
    local line = table.concat(rest):gsub("\r$", "")
    rest, size = {}, 0
    return give(line)
  end
  return function(piece)
    local from = 1
    while piece do
      local at = piece:find("\n", from, true)
      if not at then return keep(piece:sub(from)) end
      keep(piece:sub(from, at - 1))
      from = at + 1
      if take() then return true end
    end
    if size > 0 then return take() end
  end
end
