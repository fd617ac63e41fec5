-- http_server.lua - the server that the specs of http talk to: HTTP/1.1 on the loopback, on luv, in a process of its own.
--   luajit spec/http_server.lua PORT_FILE     writes its port to the file and serves until its standard input ends
local uv = require("luv")

local REASONS = { [200] = "OK" }
local connections = 0
local waiting = {} -- of /barrier: name -> functions that answer

local function answer(client, status, headers, body)
  local head = { ("HTTP/1.1 %d %s"):format(status, REASONS[status] or "Status") }
  for _, line in ipairs(headers or {}) do head[#head + 1] = line end
  if body then head[#head + 1] = "Content-Length: " .. #body end
  client:write(table.concat(head, "\r\n") .. "\r\n\r\n" .. (body or ""))
end

local function chunk(client, text)
  client:write(("%x\r\n%s\r\n"):format(#text, text))
end

-- Write the pieces as chunks, one in each turn of the loop; the last ends the body.
local function stream(client, headers, pieces)
  answer(client, 200, { "Transfer-Encoding: chunked", unpack(headers) })
  local timer, at = uv.new_timer(), 0
  timer:start(0, 1, function()
    at = at + 1
    if pieces[at] then return chunk(client, pieces[at]) end
    timer:close()
    if not client:is_closing() then client:write("0\r\n\r\n") end
  end)
end

local function quote(text)
  return '"' .. text:gsub('[%c"\\]', function(c) return ("\\u%04x"):format(c:byte()) end) .. '"'
end

local routes = {}

-- What came, as JSON.
routes["/echo"] = function(client, request)
  local names = {}
  for name, value in pairs(request.headers) do names[#names + 1] = quote(name) .. ":" .. quote(value) end
  answer(client, 200, { "Content-Type: application/json", "X-One: 1", "x-one: 2", "Set-Cookie: a=1; Path=/", "Set-Cookie: b=2" },
    ('{"method":%s,"target":%s,"body":%s,"headers":{%s}}'):format(quote(request.method), quote(request.target), quote(request.body),
      table.concat(names, ",")))
end

routes["/status"] = function(client, request)
  answer(client, tonumber(request.query.code), { "Retry-After: 7" }, "code " .. request.query.code .. "\nmore")
end

routes["/big"] = function(client, request)
  answer(client, 200, nil, ("0123456789"):rep(request.query.bytes / 10))
end

routes["/redirect"] = function(client, request)
  answer(client, tonumber(request.query.code), { "Location: " .. request.query.to }, "elsewhere")
end

routes["/connections"] = function(client) answer(client, 200, nil, tostring(connections)) end

routes["/loop"] = function(client) answer(client, 302, { "Location: /loop" }, "") end

-- Nobody is answered before n have come.
routes["/barrier"] = function(client, request)
  waiting[#waiting + 1] = function() answer(client, 200, nil, "together") end
  if #waiting < tonumber(request.query.n) then return end
  for _, go in ipairs(waiting) do go() end
  waiting = {}
end

routes["/stream"] = function(client, request)
  local pieces = {}
  for i = 1, request.query.n do pieces[i] = ("line %d\r\n"):format(i) end
  stream(client, {}, pieces)
end

routes["/events"] = function(client)
  stream(client, { "Content-Type: text/event-stream" }, {
    "data: first\n\n", ": a comment\nevent: na", "me\nid: 7\ndata: one\nda", "ta: two\n\n", "data\n\n", "data: [DONE]\n\n",
    "data: cut off" })
end

routes["/gzip"] = function(client) -- "hello\n" as gzip makes it
  local hex = "1f8b0800000000000003cb48cdc9c9e7020020303a3606000000"
  local bytes = hex:gsub("..", function(byte) return string.char(tonumber(byte, 16)) end)
  answer(client, 200, { "Content-Encoding: gzip" }, bytes)
end

routes["/hang"] = function() end
routes["/cut"] = function(client)
  answer(client, 200, { "Content-Length: 1000" })
  client:write("half", function() client:close() end)
end
routes["/drop"] = function(client) client:close() end

local function parse(head)
  local method, target = head:match("^(%S+) (%S+) HTTP")
  local request = { method = method, target = target, headers = {}, query = {}, path = target:match("^[^?]*") }
  for name, value in head:gmatch("\r\n([^:\r\n]+): *([^\r\n]*)") do request.headers[name:lower()] = value end
  for name, value in (target:match("%?(.*)$") or ""):gmatch("([^&=]+)=([^&]*)") do
    request.query[name] = value:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end)
  end
  return request
end

-- The body at the beginning of `text`, and what follows it; nil: more must come.
local function read_body(request, text)
  if request.headers["transfer-encoding"] ~= "chunked" then
    local size = tonumber(request.headers["content-length"]) or 0
    if #text < size then return nil end
    return text:sub(1, size), text:sub(size + 1)
  end
  local parts, at = {}, 1
  while true do
    local size, from = text:match("^(%x+)\r\n()", at)
    size = size and tonumber(size, 16)
    if not size or #text < from + size + 1 then return nil end
    if size == 0 then return table.concat(parts), text:sub(from + 2) end
    parts[#parts + 1] = text:sub(from, from + size - 1)
    at = from + size + 2
  end
end

local function serve(client)
  local text, request = "", nil
  local function take()
    if not request then
      local head, rest = text:match("^(.-\r\n)\r\n(.*)$")
      if not head then return false end
      request, text = parse(head), rest
    end
    if request.path == "/reset" then return client:close() end -- before the body has come
    local body, rest = read_body(request, text)
    if not body then return false end
    local current = request
    current.body, text, request = body, rest, nil
    local route = routes[current.path]
    if route then route(client, current) else answer(client, 404, nil, "no such page") end
    return not client:is_closing()
  end
  client:read_start(function(err, data)
    if err or not data then
      if not client:is_closing() then client:close() end
      return
    end
    text = text .. data
    while take() do end
  end)
end

local server = uv.new_tcp()
assert(server:bind("127.0.0.1", 0))
assert(server:listen(1024, function(err)
  assert(not err, err)
  local client = uv.new_tcp()
  server:accept(client)
  connections = connections + 1
  serve(client)
end))

local file = assert(io.open(arg[1] .. ".new", "w"))
file:write(server:getsockname().port)
file:close()
os.rename(arg[1] .. ".new", arg[1])

local stdin = uv.new_pipe(false)
stdin:open(0)
stdin:read_start(function(err, data)
  if err or not data then os.exit(0) end
end)
uv.run()
