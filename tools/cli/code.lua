-- code.lua: `lunation code`: the sources of a version, read from the data directory.
local data = require "data"
local out = require "out"
local versions = require "versions"

local code = {
  name = "code",
  summary = "Show the sources of a version: the file and the modules it requires",
  usage = "code VERSION [--module NAME]",
  about = [[
VERSION is a hash that `lunation versions` or `lunation show` tells (its first digits are enough), a workflow, for its current version, or
one counted back from there: order~1.]],
  arguments = { 1, 1 },
  options = { { "--module NAME", "only this module" }, { "--list", "only the names" } },
  examples = "  lunation code 4f2a91c07d13\n  lunation code order~1\n  lunation code order --module util.text",
}

local function chosen(sources, parsed)
  if not parsed.module then return sources end
  for _, source in ipairs(sources) do
    if source.module == parsed.module then return { source } end
  end
  data.fail(("code %s requires no module '%s'; --list names them"):format(parsed[1], parsed.module), "LNT_ENOTFOUND")
end

function code.run(parsed)
  local rt = data.open_to_read(parsed)
  local sources, hash, problem = rt:code((versions.find(data.check(rt:versions()), parsed[1])))
  data.check(sources, hash, problem)
  data.close(rt)
  sources = chosen(sources, parsed)
  if parsed.json then
    local list = {}
    for i, s in ipairs(sources) do
      list[i] = out.object("module", s.module, "file", s.file, "text", not parsed.list and s.text or nil)
    end
    io.write(out.object("hash", hash, "sources", out.raw(out.array(list))), "\n")
    return 0
  end
  for i, s in ipairs(sources) do
    local name = s.file .. (s.module and "  (module " .. s.module .. ")" or "")
    if parsed.list then
      io.write(name, "\n")
    else
      if #sources > 1 then io.write(i > 1 and "\n" or "", "-- ", name, "\n") end
      io.write(s.text, s.text:sub(-1) == "\n" and "" or "\n")
    end
  end
  return 0
end

return code
