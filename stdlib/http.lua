--- HTTP requests, for activities: many at once on one thread, TLS, streams. Waits, does not block. On libcurl.
---
---   local http = require "http"
---   local page = http.get(act, "https://example.org/")                              -- page.status, page.headers, page.body
---   local order = http.post(act, url, { json = { item = "moon" }, as = "json" }).json
---   http.get(act, url, { to_file = "moon.iso", timeout = "1h" })
---   http.post(act, url, { json = prompt, bearer = key, on_event = function(event) act:log(event.data) end })
---   local pages = http.all(act, urls, { concurrency = 20 })
---
--- An answer of any status is a response; with check = true (or as = "json") a status outside 200 to 299 is a failure of type "HttpStatus",
--- retryable if the server may do better next time (408, 425, 429, 5xx). Other failures: Timeout, NetworkError, TlsError, InvalidUrl,
--- TooManyRedirects, LimitExceeded, InvalidJson, IOError (a file), Canceled.
local lib = require "lunation.activity"
local json = require "json"
local options = require "lunation.options"
local sinks = require "lunation.sinks"
local text = require "lunation.http_text"

local http = {
  --- A text as it may stand in a URL.
  ---@type fun(value: string|number|boolean): string
  encode = text.encode,
}

local TIMEOUT, CONNECT_TIMEOUT, IDLE_TIMEOUT = "1m", "10s", "1m"
local REDIRECTS = 10
local BODY_BYTES_MAX = 16 * 1024 * 1024
local ERROR_BODY_BYTES = 2048          -- of a body that the failure HttpStatus shows
local UPLOAD_CHUNK_BYTES = 64 * 1024
local CONCURRENCY = 100                -- of http.all

---@class HttpOptions
---@field method? string default "GET"; "POST" with a body
---@field url? string http.request and http.all only
---@field query? table<string, string|number|boolean|table> added to the URL; a list gives the name several times
---@field headers? table<string, string|number|false> false: leave out one that is sent otherwise
---@field body? string|fun(): string? a function gives piece after piece, and nil at the end; it may wait
---@field json? any sent as JSON
---@field form? table<string, string|number|boolean> sent as application/x-www-form-urlencoded
---@field multipart? table<string, string|number|HttpPart> sent as multipart/form-data
---@field body_file? string a file that is sent
---@field as? "json" the answer must be JSON: its value is in response.json; implies check
---@field check? boolean a status outside 200 to 299 is a failure of type "HttpStatus"
---@field timeout? Duration for everything; default 1 minute, none for streams
---@field connect_timeout? Duration default 10 s
---@field idle_timeout? Duration without a single byte; default 1 minute
---@field redirects? integer followed at most; 0: none; default 10
---@field body_bytes_max? integer of a body that is collected; default 16 MB
---@field on_chunk? fun(data: string): boolean? the body as it comes, not collected; true stops
---@field on_line? fun(line: string): boolean? the same by lines
---@field on_event? fun(event: HttpEvent): boolean? the same for text/event-stream
---@field to_file? string the body becomes this file, whole or not at all
---@field auth? { user: string, password: string } HTTP basic
---@field bearer? string a token for the header Authorization
---@field idempotency_key? boolean send act.idempotency_key as the header Idempotency-Key
---@field ca_file? string certificates to trust, PEM; default: the system's
---@field cert_file? string the client's certificate, PEM
---@field key_file? string
---@field key_password? string
---@field insecure? boolean do not verify the server's certificate
---@field proxy? string "": none; default: http_proxy, https_proxy, no_proxy of the environment
---@field unix_socket? string connect to this socket instead
---@field user_agent? string

---@class HttpPart
---@field data string
---@field filename? string
---@field type? string

---@class HttpEvent
---@field event string default "message"
---@field data string
---@field id? string

---@class HttpResponse
---@field status integer
---@field headers table<string, string> names in lower case; several of one name joined by ", "
---@field cookies? string[] each Set-Cookie header
---@field body? string nil if it went elsewhere
---@field json? any
---@field url string where the answer came from, after redirections
---@field seconds number
---@field stopped? boolean on_chunk, on_line or on_event answered true

local TEXT, FN, FLAG, COUNT, TIME = "string", "function", "boolean", "count", "duration"
local KNOWN = {
  method = TEXT, query = "table", headers = "table", body = "string|function", json = "any", form = "table", multipart = "table",
  body_file = TEXT, as = TEXT, check = FLAG, timeout = TIME, connect_timeout = TIME, idle_timeout = TIME, redirects = "number",
  body_bytes_max = COUNT, on_chunk = FN, on_line = FN, on_event = FN, to_file = TEXT, auth = "table", bearer = TEXT,
  idempotency_key = FLAG, ca_file = TEXT, cert_file = TEXT, key_file = TEXT, key_password = TEXT, insecure = FLAG, proxy = TEXT,
  unix_socket = TEXT, user_agent = TEXT, url = TEXT,
}
local WITH_BODY = { POST = true, PUT = true, PATCH = true } -- an empty one, if there is no other
local BODIES, SINKS = { "body", "json", "form", "multipart", "body_file" }, { "on_chunk", "on_line", "on_event", "to_file" }

---- What is sent ----

local function has_header(given, name)
  for each in pairs(given.headers or {}) do
    if type(each) == "string" and each:lower() == name then return true end
  end
  return false
end

-- The body as text, its type, a function that opens its pieces, its size if that is known.
local function body_of(act, given)
  if given.json ~= nil then return json.encode(given.json), "application/json" end
  if given.form then return text.fields(given.form), "application/x-www-form-urlencoded" end
  if given.multipart then return text.multipart(act, given.multipart) end
  if type(given.body) == "function" then return nil, nil, function() return given.body end end
  if not given.body_file then return given.body end
  local stat = act:stat(given.body_file)
  return nil, nil, function()
    local what = "cannot read " .. given.body_file
    local fd, release = lib.open_file(act, what, given.body_file, "r")
    return function()
      local data = lib.request(act, what, function(cb) return lib.uv().fs_read(fd, UPLOAD_CHUNK_BYTES, -1, cb) end)
      if data ~= "" then return data end
      release()
    end
  end, stat and stat.size
end

-- Does the request go where its author sent it? Only there it takes secrets along.
local function is_at_home(job)
  return text.origin(job.url) == text.origin(job.first_url)
end

local SECRET = { authorization = true, cookie = true, ["proxy-authorization"] = true }

local function headers_of(job, body_type)
  local list, given = {}, job.given
  for name, value in pairs(given.headers or {}) do
    if is_at_home(job) or not SECRET[tostring(name):lower()] then text.add_header(list, name, value) end
  end
  local function default(name, value)
    if value and not has_header(given, name:lower()) then text.add_header(list, name, value) end
  end
  default("Content-Type", body_type)
  if not body_type and not has_header(given, "content-type") then list[#list + 1] = "Content-Type:" end -- libcurl would guess
  default("Accept", given.as == "json" and "application/json" or given.on_event and "text/event-stream")
  default("Authorization", given.bearer and is_at_home(job) and "Bearer " .. given.bearer)
  default("Idempotency-Key", given.idempotency_key and job.act.idempotency_key)
  list[#list + 1] = "Expect:" -- no wait for "100 Continue"
  return list
end

local function ms(duration)
  return math.max(1, lib.ms_of(duration, "http"))
end

-- What the transfer is told.
local function curl_options(job)
  local given = job.given
  local sends = job.method ~= "GET" and job.method ~= "HEAD" or job.keeps_body
  local body, body_type, open, size
  if sends then body, body_type, open, size = body_of(job.act, given) end
  if not body and not open and WITH_BODY[job.method] then body = "" end
  job.produce = open and open()
  local auth = is_at_home(job) and given.auth or {}
  local total = given.timeout or not job.sink and TIMEOUT
  local left_ms = total and math.max(1, ms(total) - job.spent_ms) or nil
  return {
    url = job.url, method = job.method, headers = headers_of(job, body_type), body = body, upload = open ~= nil, upload_bytes = size,
    collect = not job.sink, body_bytes_max = job.body_bytes_max,
    decompress = not given.to_file and not has_header(given, "accept-encoding"), timeout_ms = left_ms,
    connect_timeout_ms = ms(given.connect_timeout or CONNECT_TIMEOUT),
    idle_timeout_s = math.ceil(ms(given.idle_timeout or IDLE_TIMEOUT) / 1000), user = auth.user, password = auth.password,
    ca_file = given.ca_file, cert_file = given.cert_file, key_file = given.key_file, key_password = given.key_password,
    insecure = given.insecure, proxy = given.proxy, unix_socket = given.unix_socket, user_agent = given.user_agent or "lunation",
  }
end

local function sink_of(act, given)
  if given.to_file then return sinks.file(act, given.to_file) end
  if given.on_line then return sinks.lines(given.on_line) end
  if given.on_event then return sinks.events(given.on_event) end
  return given.on_chunk and function(data) return data and given.on_chunk(data) end
end

---- What comes back ----

local function is_success(status)
  return status >= 200 and status <= 299
end

--- Raise a failure of type "HttpStatus" unless the status is one of 200 to 299. Answers the response.
---@param response HttpResponse
---@return HttpResponse
function http.check(response)
  if type(response) ~= "table" or type(response.status) ~= "number" then
    options.invalid("response", "http.check: a response is wanted", 2)
  end
  local status, body = response.status, response.body or ""
  if is_success(status) then return response end
  local said = body:match("^%s*([^\r\n]+)") or ""
  local can_retry = status == 408 or status == 425 or status == 429 or (status >= 500 and status ~= 501 and status ~= 505)
  lib.fail("HttpStatus", ("%s answered %d%s"):format(text.shown(response.url), status, said ~= "" and ": " .. said:sub(1, 200) or ""), {
    status = status, url = text.shown(response.url), body = body:sub(1, ERROR_BODY_BYTES), retry_after = response.headers["retry-after"],
  }, can_retry)
end

-- libcurl's numbers, which never change, and what they mean to us: the type, whether another try may help.
local CODES = {
  [1] = { "InvalidUrl", false, "UNSUPPORTED_PROTOCOL" }, [3] = { "InvalidUrl", false, "URL_MALFORMAT" },
  [5] = { "NetworkError", true, "COULDNT_RESOLVE_PROXY" }, [6] = { "NetworkError", true, "COULDNT_RESOLVE_HOST" },
  [7] = { "NetworkError", true, "COULDNT_CONNECT" }, [18] = { "NetworkError", true, "PARTIAL_FILE" },
  [28] = { "Timeout", true, "OPERATION_TIMEDOUT" }, [35] = { "TlsError", true, "SSL_CONNECT_ERROR" },
  [52] = { "NetworkError", true, "GOT_NOTHING" }, [55] = { "NetworkError", true, "SEND_ERROR" },
  [56] = { "NetworkError", true, "RECV_ERROR" }, [58] = { "TlsError", false, "SSL_CERTPROBLEM" },
  [60] = { "TlsError", false, "PEER_FAILED_VERIFICATION" }, [77] = { "TlsError", false, "SSL_CACERT_BADFILE" },
}

local function check_transfer(job)
  local code, why, refusal = job.transfer:result()
  if code == 0 then return end
  local what = ("%s %s"):format(job.method, text.shown(job.url))
  if refusal == "body" then
    lib.fail("LimitExceeded", ("%s: the answer has more than %d bytes (body_bytes_max)"):format(what, job.body_bytes_max), nil, false)
  elseif refusal == "head" then
    lib.fail("LimitExceeded", what .. ": the header of the answer is too long", nil, false)
  elseif refusal == "memory" then
    lib.fail("OutOfMemory", what .. ": out of memory")
  end
  local known = CODES[code] or { "NetworkError", true, tostring(code) }
  lib.fail(known[1], ("%s: %s"):format(what, why), { code = known[3] }, known[2])
end

local REDIRECT = { [301] = true, [302] = true, [303] = true, [307] = true, [308] = true }

local function follows(job, status)
  return REDIRECT[status] and (job.given.redirects or REDIRECTS) > 0
end

local function refuse_redirect(job, why)
  lib.fail("TooManyRedirects", ("%s: %s"):format(text.shown(job.first_url), why), nil, false)
end

-- Make the request that the answer asks for.
local function redirect(job, status, url, seconds)
  local most = job.given.redirects or REDIRECTS
  job.redirects, job.spent_ms = job.redirects + 1, job.spent_ms + seconds * 1000
  if job.redirects > most then refuse_redirect(job, ("more than %d redirections"):format(most)) end
  if status == 303 and job.method ~= "HEAD" or (status == 301 or status == 302) and job.method == "POST" then
    job.method, job.keeps_body = "GET", false
  elseif job.produce and type(job.given.body) == "function" then
    refuse_redirect(job, "redirected, but a body that a function gives cannot be sent again")
  end
  job.url = url
end

local function response_of(job)
  local status, url, _, seconds = job.transfer:info()
  local headers, cookies = text.parse_head(job.transfer:head())
  local body = job.parts and table.concat(job.parts)
  return { status = status, headers = headers, cookies = cookies, url = url, seconds = seconds, body = body }
end

---- A request under way ----

-- job: act, given; url, method, redirects of the request now; transfer; sink, where the body of a success goes; parts, where any other
-- goes; response, once it is over.

local pool

local function curl_pool()
  if pool then return pool end
  local found, curl = pcall(require, "lunation_curl")
  if not found then
    lib.fail("NotInstalled", "http needs the module lunation_curl, which is not there or does not load: " .. tostring(curl), nil, false)
  end
  pool = curl.pool()
  lib.at_close(function()
    local closing, paid = pool, lib.owe()
    pool = nil
    closing:close(function()
      closing = nil -- held until here: the collector would drop it, and nobody be told
      paid()
    end)
  end)
  return pool
end

local function begin(job, wake)
  job.parts, job.size = nil, 0
  job.transfer = curl_pool():start(curl_options(job), wake)
end

local function collect(job, data)
  job.size = job.size + #data
  if job.size > job.body_bytes_max then
    lib.fail("LimitExceeded", ("%s %s: the answer has more than %d bytes (body_bytes_max)"):format(job.method, text.shown(job.url),
      job.body_bytes_max), nil, false)
  end
  job.parts = job.parts or {}
  job.parts[#job.parts + 1] = data
end

-- Give on what has come of the body. Answers true if its taker wants no more.
local function deliver(job)
  local data = job.transfer:take()
  while data do
    local status = job.transfer:info()
    if job.sink and is_success(status) then
      job.streamed = true
      if job.sink(data) == true then return true end
    elseif not follows(job, status) then
      collect(job, data)
    end
    data = job.transfer:take()
  end
end

local function finish(job)
  local status, _, location, seconds = job.transfer:info()
  check_transfer(job)
  if location and follows(job, status) then
    job.transfer:stop()
    redirect(job, status, location, seconds)
    return false
  end
  local response = response_of(job)
  job.transfer:stop()
  if job.sink and is_success(status) then job.sink(nil) else response.body = response.body or "" end
  if job.given.check or job.given.as then http.check(response) end
  if job.given.as == "json" then response.json = json.decode(response.body) end
  job.response = response
  return true
end

-- Something happened. Answers true when the job is over; false: it must begin again, elsewhere.
local function advance(job)
  if deliver(job) then
    local response = response_of(job)
    response.stopped = true
    job.transfer:stop()
    job.response = response
    return true
  end
  if job.transfer:done() then return finish(job) end
  if job.transfer:wants() then job.transfer:send(job.produce()) end
end

-- Run jobs, at most `width` at once. over(job, ok, failure) is called when one ends; true from it stops all.
local function run(act, jobs, width, over)
  local ready, left, next_job, notify = {}, #jobs, 1, function() end
  local function put(job)
    if job.is_ready or job.response or job.is_over then return end
    job.is_ready = true
    ready[#ready + 1] = job
    notify()
  end
  local release = lib.hold(act, function()
    for _, job in ipairs(jobs) do
      if job.transfer then job.transfer:stop() end
    end
  end)
  local function step(job)
    if not job.transfer or job.begins then
      job.begins = false
      return begin(job, function() put(job) end)
    end
    local ended = advance(job)
    if ended == false then
      job.begins = true
      put(job)
    end
    return ended
  end
  local function turn(job)
    job.is_ready = false
    local ok, ended = pcall(step, job)
    if ok and not ended then return false end
    left, job.is_over = left - 1, true
    if not ok and job.transfer then job.transfer:stop() end
    if next_job <= #jobs then
      put(jobs[next_job])
      next_job = next_job + 1
    end
    return over(job, ok, ended)
  end
  lib.await(act, function(done) done() end) -- luv is open from here on
  while next_job <= math.min(width, #jobs) do
    put(jobs[next_job])
    next_job = next_job + 1
  end
  local at = 1
  while left > 0 do
    if at > #ready then
      ready, at = {}, 1
      lib.await(act, function(done)
        notify = done
        if #ready > 0 then done() end
        return release
      end)
    end
    local job = ready[at]
    at = at + 1
    if job and turn(job) then break end
  end
  release()
end

---- What authors call ----

local function count_of(given, names)
  local count = 0
  for _, name in ipairs(names) do
    if given[name] ~= nil then count = count + 1 end
  end
  return count
end

-- Check one request. `level` is that of the author's line, from here.
local function job_of(act, what, url, given, level)
  options.act(what, lib, act, level + 1)
  given = options.check(what, given, KNOWN, level + 1)
  url = url or given.url
  options.argument(what .. ": the URL", "url", url, "string", level + 1)
  if count_of(given, BODIES) > 1 then
    options.invalid("options", what .. ": only one of " .. table.concat(BODIES, ", ") .. " can be sent", level)
  end
  if count_of(given, SINKS) > 1 then
    options.invalid("options", what .. ": only one of " .. table.concat(SINKS, ", ") .. " can take the body", level)
  end
  if given.auth then options.check(what, given.auth, { user = "string", password = "string" }, level + 1, "auth") end
  if given.as and given.as ~= "json" then options.invalid("as", what .. ": as is \"json\" or nothing", level) end
  if given.as and count_of(given, SINKS) > 0 then
    options.invalid("as", what .. ": a body that goes elsewhere cannot be JSON too", level)
  end
  local method = (given.method or (count_of(given, BODIES) > 0 and "POST" or "GET")):upper()
  if not method:find("^%u[%u-]*$") then options.invalid("method", ("%s: %q is no method"):format(what, method), level) end
  if not url:find("^%a[%w+.-]*://") then
    lib.fail("InvalidUrl", ("%q is no URL: it begins with http:// or https://"):format(url:sub(1, 200)), nil, false)
  end
  url = text.with_query(url, given.query)
  return { act = act, given = given, url = url, first_url = url, method = method, redirects = 0, spent_ms = 0, sink = sink_of(act, given),
    keeps_body = count_of(given, BODIES) > 0, body_bytes_max = given.body_bytes_max or BODY_BYTES_MAX }
end

local function run_one(act, job)
  local failed, failure
  run(act, { job }, 1, function(_, ok, problem)
    failed, failure = not ok, problem
  end)
  if failed then error(failure, 0) end
  return job.response
end

--- A request.
---@param act Activity
---@param given HttpOptions with url
---@return HttpResponse
function http.request(act, given)
  return run_one(act, job_of(act, "http.request", nil, given, 3))
end

local function method(name)
  local what = "http." .. name
  return function(act, url, given)
    local job = job_of(act, what, url, given, 3)
    if not job.given.method then job.method = name:upper() end
    return run_one(act, job)
  end
end

---@alias HttpCall fun(act: Activity, url: string, given?: HttpOptions): HttpResponse

---@type HttpCall
http.get = method("get")
---@type HttpCall
http.head = method("head")
---@type HttpCall
http.post = method("post")
---@type HttpCall
http.put = method("put")
---@type HttpCall
http.patch = method("patch")
---@type HttpCall
http.delete = method("delete")

--- Many requests at once. The first failure stops the others and is raised; with settle = true each result is { ok = true, response = } or
--- { ok = false, failure = }.
---@param act Activity
---@param requests (string|HttpOptions)[] URLs, or options with url
---@param given? { concurrency: integer?, settle: boolean? } concurrency: default 100
---@return HttpResponse[]|table[] in the order of the requests
function http.all(act, requests, given)
  options.act("http.all", lib, act)
  options.list("http.all: the requests", "requests", requests, "string|table")
  given = options.check("http.all", given, { concurrency = "count", settle = "boolean" })
  local jobs, results, failed, failure = {}, {}, false, nil
  for i, each in ipairs(requests) do
    if type(each) == "string" then each = { url = each } end
    jobs[i] = job_of(act, ("http.all: request %d"):format(i), nil, each, 3)
    jobs[i].place = i
  end
  run(act, jobs, given.concurrency or CONCURRENCY, function(job, ok, problem)
    if given.settle then
      results[job.place] = ok and { ok = true, response = job.response } or { ok = false, failure = options.failure(problem) }
    elseif ok then results[job.place] = job.response
    else failed, failure = true, problem end
    return failed
  end)
  if failed then error(failure, 0) end
  return #jobs == 0 and json.array(results) or results
end

return http
