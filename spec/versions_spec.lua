-- versions_spec.lua: which code there is, and what differs between two versions.
package.path = "tools/cli/?.lua;" .. package.path
local diff = require "diff"
local lunation = require "lunation"
local support = require "spec.support"

--- What a diff makes of a text, by its hunks alone.
local function apply(text, hunks)
  local lines, made, at = {}, {}, 1
  for line in (text .. (text:match("[^\n]$") and "\n" or "")):gmatch("([^\n]*)\n") do lines[#lines + 1] = line end
  local ends = text == "" or text:sub(-1) == "\n"
  local last
  for line in hunks:gmatch("([^\n]*)\n") do
    local from, count = line:match("^@@ %-(%d+),?(%d*) ")
    if from then
      from = tonumber(from) + (count == "0" and 1 or 0)
      while at < from do made[#made + 1], at = lines[at], at + 1 end
    elseif line:sub(1, 1) == "\\" then
      if last ~= "-" then ends = false end
    else
      last = line:sub(1, 1)
      if last ~= "+" then
        assert.equal(lines[at], line:sub(2))
        at = at + 1
      end
      if last ~= "-" then made[#made + 1] = line:sub(2) end
      if at > #lines and last ~= "-" then ends = true end
    end
  end
  while at <= #lines do made[#made + 1], at = lines[at], at + 1 end
  return table.concat(made, "\n") .. (ends and #made > 0 and "\n" or "")
end

describe("a diff", function()
  it("shows what was taken out and put in, with lines around it", function()
    local old = "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk\nl\n"
    assert.equal("", diff.unified(old, old))
    assert.equal("@@ -1,5 +1,5 @@\n a\n-b\n+B\n c\n d\n e\n@@ -10,3 +10,4 @@\n j\n k\n l\n+m\n",
      diff.unified(old, (old:gsub("b\n", "B\n")) .. "m\n"))
    assert.equal("@@ -0,0 +1,2 @@\n+x\n+y\n\\ No newline at end of file\n", diff.unified("", "x\ny"))
    assert.equal("@@ -1 +0,0 @@\n-x\n", diff.unified("x\n", ""))
    assert.equal("@@ -1 +1 @@\n-x\n\\ No newline at end of file\n+x\n", diff.unified("x", "x\n"))
  end)

  it("makes one text of the other, whatever they are", function()
    math.randomseed(7)
    for _ = 1, 200 do
      local old, new = {}, {}
      for i = 1, math.random(0, 30) do old[i] = ("abc"):sub(math.random(3), 3) end
      for _, line in ipairs(old) do
        local what = math.random(8)
        if what > 1 then new[#new + 1] = what == 2 and "changed" or line end
        if what == 3 then new[#new + 1] = "more" end
      end
      local a, b = table.concat(old, "\n") .. (#old > 0 and "\n" or ""), table.concat(new, "\n") .. (#new > 0 and "\n" or "")
      assert.equal(b, apply(a, diff.unified(a, b)))
    end
  end)

  it("comes to an end with texts that have nothing in common", function()
    local old, new = {}, {}
    for i = 1, 5000 do old[i], new[i] = "old " .. i, "new " .. i end
    local text = diff.unified(table.concat(old, "\n"), table.concat(new, "\n"))
    assert.equal("@@ -1,5000 +1,5000 @@\n-old 1\n", text:match("^[^\n]*\n[^\n]*\n"))
  end)
end)

describe("versions", function()
  local server

  after_each(function()
    if server then support.stop(server) end
    server = nil
    support.clean()
  end)

  it("go when they are not current and their last instance is purged", function()
    local folder = support.folder()
    local dir, file = folder .. "/data", folder .. "/flows/gate.lua"
    local text = 'workflow("gate", function(ctx) return ctx:wait_for_external_event("go") end)\n'
    local function with_data(...)
      local list = { ... }
      list[#list + 1], list[#list + 2] = "--data", dir
      return support.lunation(list)
    end
    local function versions() return lunation.json_decode(with_data("versions", "--json").out).versions end
    os.execute("mkdir " .. folder .. "/flows")
    support.write(file, text)
    server = support.serve(folder .. "/flows", dir)
    assert.equal(0, with_data("start", "gate", "--id", "a").code)
    assert.equal(0, with_data("start", "gate", "--id", "b").code)
    support.write(file, text .. "-- another\n")
    assert.equal(0, with_data("reload", file).code)
    assert.equal(2, #versions())
    local old = versions()[2].hash
    assert.equal(0, with_data("raise", "a", "go").code)
    assert.equal(0, with_data("wait", "a").code)
    assert.equal(0, with_data("purge", "b", "--force").code)
    assert.same({ 2, 0 }, { #versions(), versions()[2].live }) -- 'a' is finished, and on it
    assert.equal(0, with_data("purge", "a").code)
    support.wait_until(function() return #versions() == 1 end, "the end of the old version")
    assert.equal(3, with_data("code", old:sub(1, 12)).code)
    local _, stats = support.http(server, "GET", "/v1/stats")
    assert.equal(1, lunation.json_decode(stats).code_collected)
  end)

  it("are named by hash, by workflow, or counted back, and compared source by source", function()
    local folder = support.folder()
    local file, dir = folder .. "/order.lua", folder .. "/data"
    local function with_data(list)
      list[#list + 1], list[#list + 2] = "--data", dir
      return support.lunation(list)
    end
    local text = 'local words = require "words"\nworkflow("order", function(ctx) return words.first end)\n'
    support.write(folder .. "/words.lua", 'return { first = "one" }\n')
    support.write(file, text)
    assert.equal(0, with_data({ "run", file }).code)
    support.write(folder .. "/words.lua", 'return { first = "two" }\n')
    support.write(folder .. "/more.lua", "return 1\n")
    support.write(file, text .. 'local more = require "more"\n')
    assert.equal(0, with_data({ "reload", file }).code)
    local list = lunation.json_decode(with_data({ "versions", "--json" }).out).versions
    assert.equal(2, #list)
    assert.matches("return words.first", with_data({ "code", "order~1" }).out, 1, true)
    assert.equal(with_data({ "code", list[2].hash:sub(1, 8) }).out, with_data({ "code", "order~1" }).out)
    local shown = with_data({ "versions", "--diff", "order~1..order" })
    assert.equal(0, shown.code)
    for _, words in ipairs({ list[1].hash:sub(1, 12) .. "  order", '+local more = require "more"\n', "--- /dev/null", "+return 1\n",
      'words.lua (module words)', '-return { first = "one" }\n', '+return { first = "two" }\n' }) do
      assert.matches(words, shown.out, 1, true)
    end
    local told = lunation.json_decode(with_data({ "versions", "--diff", list[2].hash:sub(1, 6), "--json" }).out)
    assert.same({ list[2].hash, list[1].hash, 3 }, { told.from, told.to, #told.files })
    assert.same({ "changed", "added", "changed" }, { told.files[1].change, told.files[2].change, told.files[3].change })
    assert.matches("the same sources", with_data({ "versions", "--diff", "order..order" }).out, 1, true)
    local moved = with_data({ "migrate", "--workflow", "order", "--to", "order~1", "--json" })
    assert.same({ 0, list[2].hash }, { moved.code, lunation.json_decode(moved.out).hash }) -- nobody runs
    local missing = with_data({ "versions", "--diff", "order~7" })
    assert.equal(3, missing.code)
    assert.matches("there are 2 versions of 'order'", missing.err, 1, true)
    assert.equal(2, with_data({ "code", "ord" }).code)
  end)
end)
