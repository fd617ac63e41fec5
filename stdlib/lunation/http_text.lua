--- The text of HTTP: URLs, headers, forms. For http.
local lib = require "lunation.activity"
local options = require "lunation.options"

local text = {}

--- A text as it may stand in a URL: every byte but letters, digits and -._~ as %XX.
---@param value string|number|boolean
---@return string
function text.encode(value)
  return (tostring(value):gsub("[^%w%-%._~]", function(c) return ("%%%02X"):format(c:byte()) end))
end

--- name=value&..., sorted by names.
function text.fields(fields)
  local names, parts = {}, {}
  for name in pairs(fields) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    local value = fields[name]
    for _, each in ipairs(type(value) == "table" and value or { value }) do
      parts[#parts + 1] = text.encode(name) .. "=" .. text.encode(each)
    end
  end
  return table.concat(parts, "&")
end

--- The URL with more fields, and without its fragment, which is never sent.
function text.with_query(url, query)
  local base = url:match("^[^#]*")
  local more = query and text.fields(query) or ""
  if more == "" then return base end
  return base .. (base:find("?", 1, true) and "&" or "?") .. more
end

--- A URL as messages show it: what may be secret (a password, the query) left out.
function text.shown(url)
  return (url:gsub("^(%a+://)[^/@]*@", "%1"):gsub("[?#].*$", ""))
end

--- scheme://host:port, or nil.
function text.origin(url)
  local scheme, host = url:match("^(%a[%w+.-]*)://([^/?#]*)")
  if not scheme then return nil end
  scheme, host = scheme:lower(), host:gsub("^.*@", ""):lower()
  if not host:find(":%d+$") then host = host .. (scheme == "https" and ":443" or ":80") end
  return scheme .. "://" .. host
end

--- Add "name: value" to a list; false leaves out what libcurl would send.
function text.add_header(list, name, value)
  if type(name) ~= "string" or not name:find("^[%w!#$%%&'*+.^_`|~-]+$") then
    lib.fail("InvalidHeader", ("%q is no name of a header"):format(tostring(name)), nil, false)
  end
  if value == false then
    list[#list + 1] = name .. ":"
    return
  end
  value = tostring(value)
  if value:find("[%z\r\n]") then lib.fail("InvalidHeader", ("the header %s holds a line break or a zero byte"):format(name), nil, false) end
  list[#list + 1] = value == "" and name .. ";" or name .. ": " .. value
end

local function quote_name(name)
  return '"' .. name:gsub('[\r\n"]', function(c) return ("%%%02X"):format(c:byte()) end) .. '"'
end

--- multipart/form-data: the body, and its type.
function text.multipart(act, parts)
  local names, out = {}, {}
  local boundary = "lunation-" .. act.idempotency_key:gsub("[^%w]", "")
  for name in pairs(parts) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    local part = parts[name]
    if type(part) ~= "table" then part = { data = tostring(part) } end
    options.argument("http: multipart." .. name .. ".data", "multipart." .. name .. ".data", part.data, "string", 2)
    out[#out + 1] = ("--%s\r\nContent-Disposition: form-data; name=%s%s\r\n%s\r\n%s\r\n"):format(boundary, quote_name(name),
      part.filename and "; filename=" .. quote_name(part.filename) or "",
      part.type and "Content-Type: " .. part.type:gsub("[\r\n]", " ") .. "\r\n" or "", part.data)
  end
  return table.concat(out) .. "--" .. boundary .. "--\r\n", "multipart/form-data; boundary=" .. boundary
end

--- The headers of an answer by name, and its cookies.
function text.parse_head(lines)
  local headers, cookies = {}, nil
  for name, value in lines:gmatch("\n([^:\r\n]+):[ \t]*([^\r\n]*)") do
    name, value = name:lower(), value:gsub("%s+$", "")
    if name == "set-cookie" then
      cookies = cookies or {}
      cookies[#cookies + 1] = value
    end
    headers[name] = headers[name] and headers[name] .. ", " .. value or value
  end
  return headers, cookies
end

return text
