-- The module fs: files and folders from activities, on the runtime's loop and on a worker thread.
local support = require("stdlib_support")

local HEAD = 'local fs = require "fs"'

local function output_of(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read("*a")
  pipe:close()
  return text
end

describe("fs", function()
  local dir
  before_each(function() dir = output_of("mktemp -d"):gsub("\n", "") end)
  after_each(function() os.execute("chmod -R u+w " .. dir .. "; rm -rf " .. dir) end)

  local function run(body) return support.in_activity(HEAD .. (" local dir = %q"):format(dir), body) end
  local function sh(command) return output_of("cd " .. dir .. " && " .. command) end

  it("writes and reads whole files, and makes the folder if told to", function()
    assert.same({ "one\0two", true, false }, run([[
      fs.write(act, dir .. "/a/b/file", "one\0two", { mkdir = true })
      return { fs.read(act, dir .. "/a/b/file"), fs.exists(act, dir .. "/a"), fs.exists(act, dir .. "/a/nothing") }]]))
    assert.equal("7\n", sh("wc -c <a/b/file"))
    local failure = run([[
      local _, e = pcall(fs.write, act, dir .. "/x/y", "data")
      return e]])
    assert.same({ "IOError", "ENOENT" }, { failure.type, failure.details.code })
    assert.equal("", sh("ls -A x 2>/dev/null; ls -A | grep tmp"))
  end)

  it("appends", function()
    run('fs.append(act, dir .. "/log", "a") fs.append(act, dir .. "/log", "b")')
    assert.equal("ab", sh("cat log"))
  end)

  it("gives the lines of a file of any size", function()
    sh("seq 1 100000 >numbers; printf 'last\\r\\nend' >>numbers")
    assert.same({ 100002, 100001 * 50000, "last", "end" }, run([[
      local count, sum, texts = 0, 0, {}
      fs.each_line(act, dir .. "/numbers", function(line, number)
        count = count + 1
        assert(count == number)
        if tonumber(line) then sum = sum + line else texts[#texts + 1] = line end
      end)
      return { count, sum, texts[1], texts[2] }]]))
    assert.equal(3, run([[
      local seen
      fs.each_line(act, dir .. "/numbers", function(line, number) seen = number return number == 3 end)
      return seen]]))
  end)

  it("lists a folder, and walks it in a fixed order", function()
    sh("mkdir -p b/c .hidden && touch a.lua b/x.lua b/c/y.lua b/z.txt .hidden/no.lua && ln -s .. b/up")
    local function walk(options) return run(([[
      local list = {}
      for _, entry in ipairs(fs.walk(act, dir, %s)) do list[#list + 1] = entry.path:sub(#dir + 2) .. ":" .. entry.type:sub(1, 1) end
      return list]]):format(options)) end
    assert.same({ "a.lua:f", "b:d", "b/c:d", "b/c/y.lua:f", "b/up:l", "b/x.lua:f", "b/z.txt:f" }, walk("{}"))
    assert.same({ "a.lua:f", "b/c/y.lua:f", "b/x.lua:f" }, walk('{ match = "%.lua$" }'))
    assert.same({ "a.lua:f", "b:d" }, walk("{ depth = 1 }"))
    assert.same({ "b:d", "b/c:d" }, walk('{ type = "directory" }'))
    assert.same({ "a.lua:f", "b:d", "b/up:l", "b/x.lua:f", "b/z.txt:f" }, walk('{ filter = function(e) return e.name ~= "c" end }'))
    assert.equal(9, #walk("{ hidden = true }"))
    local failure = run("local _, e = pcall(fs.walk, act, dir, { max = 3 }) return e")
    assert.same({ "LimitExceeded", dir .. ": it has more than 3 entries" }, { failure.type, failure.message })
    assert.same({ { name = ".hidden", type = "directory" }, { name = "a.lua", type = "file" }, { name = "b", type = "directory" } },
      run("return fs.list(act, dir)"))
  end)

  it("makes folders with their parents, also those that are there", function()
    run('fs.mkdir(act, dir .. "/p/q/r/") fs.mkdir(act, dir .. "/p/q") fs.mkdir(act, "/")')
    assert.equal("p\np/q\np/q/r\n", sh("find p | LC_ALL=C sort"))
    sh("touch file")
    local failure = run('local _, e = pcall(fs.mkdir, act, dir .. "/file") return e')
    assert.same({ "IOError", "EEXIST" }, { failure.type, failure.details.code })
    failure = run('local _, e = pcall(fs.mkdir, act, dir .. "/file/below") return e')
    assert.same({ "IOError", "ENOTDIR" }, { failure.type, failure.details.code })
  end)

  it("removes, a full folder only when told to, and what is not there without complaint", function()
    sh("mkdir -p a/b/c && touch a/1 a/b/2 keep && ln -s ../keep a/b/link && ln -s a gone")
    assert.same({ "ENOTEMPTY", true, true, false }, run([[
      local _, e = pcall(fs.remove, act, dir .. "/a")
      local full = fs.remove(act, dir .. "/a", { recursive = true })
      return { e.details.code, fs.remove(act, dir .. "/gone"), full, fs.remove(act, dir .. "/a") }]]))
    assert.equal("keep\n", sh("ls -A"))
  end)

  it("copies files, links and folders", function()
    sh("mkdir -p from/sub && printf 1 >from/one && printf 2 >from/sub/two && chmod 700 from/one && ln -s sub/two from/link")
    sh("printf old >to")
    run('fs.copy(act, dir .. "/from/one", dir .. "/to") for _ = 1, 2 do fs.copy(act, dir .. "/from", dir .. "/copy") end')
    assert.equal("1", sh("cat to"))
    assert.equal("copy\ncopy/link\ncopy/one\ncopy/sub\ncopy/sub/two\n", sh("find copy | LC_ALL=C sort"))
    assert.equal("2sub/two\n700\n", sh("cat copy/link; readlink copy/link; stat -c %a copy/one"))
    local failure = run('local _, e = pcall(fs.copy, act, dir .. "/from", dir .. "/from/sub/inner") return e')
    assert.matches("into itself", failure.message)
    failure = run('local _, e = pcall(fs.copy, act, dir .. "/nothing", dir .. "/x") return e')
    assert.equal("ENOENT", failure.details.code)
  end)

  it("moves", function()
    sh("printf 1 >a; printf 2 >b; mkdir d")
    run('fs.move(act, dir .. "/a", dir .. "/b") fs.move(act, dir .. "/b", dir .. "/d/c")')
    assert.equal("d\nd/c\n1", sh("find d; cat d/c"))
  end)

  it("makes a temporary folder that is gone when the activity ends, however it ends", function()
    local path = run([[
      local path = fs.temp_dir(act, { parent = dir })
      fs.write(act, path .. "/deep/er/file", "x", { mkdir = true })
      assert(act:stat(path).mode == 448)
      return path]])
    assert.equal(dir .. "/lunation-", path:sub(1, #dir + 10))
    pcall(run, 'fs.write(act, fs.temp_dir(act, { parent = dir }) .. "/f", "x") error("no")')
    assert.equal("", sh("ls -A"))
    run('fs.temp_dir(act, { parent = dir, keep = true })')
    assert.matches("^lunation%-......\n$", sh("ls -A"))
  end)

  it("works on a worker thread too", function()
    assert.equal("x", support.result(HEAD .. ([[ local dir = %q
      activity("it", { blocking = true }, function(_, act)
        local scratch = fs.temp_dir(act, { parent = dir })
        fs.write(act, scratch .. "/a/b", "x", { mkdir = true })
        fs.copy(act, scratch .. "/a", dir .. "/out")
        return fs.read(act, dir .. "/out/b")
      end)
      workflow("w", function(ctx) return ctx:call_activity("it") end)]]):format(dir), nil, { workers = 1 }))
    assert.equal("out\n", sh("ls -A"))
  end)

  it("cannot be used in a workflow, and says so", function()
    local instance = support.run(HEAD .. ' workflow("w", function(ctx) return fs.read(ctx, "/etc/passwd") end)')
    assert.equal("FAILED", instance.status)
    assert.matches("story.lua:1: module 'fs' cannot be used in a workflow: it does what must not be done again in a replay",
      instance.failure.message, 1, true)
  end)

  it("refuses misuse at the author's line", function()
    local out = run([[
      local function message(fn) return select(2, pcall(fn)).message end
      return {
        message(function() local a = fs.read("x") return a end), message(function() local a = fs.read(act) return a end),
        message(function() local a = fs.copy(act, "x") return a end),
        message(function() local a = fs.walk(act, "x", { deep = 1 }) return a end) }]])
    assert.matches("^story.lua:%d+: fs.read: the first argument is the act of the activity, got \"x\"", out[1])
    assert.matches("^story.lua:%d+: fs.read: the path: text is wanted, got a nil", out[2])
    assert.matches("^story.lua:%d+: fs.copy: the path: text is wanted, got a nil", out[3])
    assert.matches("^story.lua:%d+: fs.walk: unknown option deep", out[4])
  end)
end)
