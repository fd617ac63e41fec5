--- Files and folders, for activities. Waits, does not block: other activities go on meanwhile.
---
---   local fs = require "fs"
---   fs.mkdir(act, "out/drafts")                                -- with its parents
---   fs.write(act, "out/drafts/one.md", text)                   -- whole or not at all, and it survives a power cut
---   for _, entry in ipairs(fs.walk(act, "src", { match = "%.lua$" })) do print(entry.path) end
---   local scratch = fs.temp_dir(act)                           -- gone when the activity ends
---
--- What goes wrong is a failure of type "IOError", with details.code ("ENOENT", "EACCES" ...). An activity may run again after a crash:
--- write what it makes under names that do not change, and it is made once.
local lib = require "lunation.activity"
local options = require "lunation.options"

local fs = {}

local ENTRIES_MAX = 1000000         -- of one walk, copy or remove
local DEPTH_MAX = 200               -- folders inside folders
local CHUNK_BYTES = 64 * 1024
local LINE_BYTES_MAX = 1024 * 1024  -- of one line given to each_line
local DIR_MODE = 511                -- 0777, less the umask

local function check_path(what, act, ...)
  options.act(what, lib, act, 4)
  for i = 1, select("#", ...) do
    local path = select(i, ...)
    options.argument(what .. ": the path", "path", path, "string", 4)
    if path:find("%z") or path == "" then options.invalid("path", what .. ": the path is empty or holds a zero byte", 3) end
  end
end

local function join(folder, name)
  return folder:sub(-1) == "/" and folder .. name or folder .. "/" .. name
end

-- The code of a problem: "ENOENT"; nil: no problem.
local function code_of(problem)
  return problem and tostring(problem):match("^(%u%w+)") or problem and "?"
end

local function lstat(act, path)
  local problem, stat = lib.try(act, function(cb) return lib.uv().fs_lstat(path, cb) end)
  if not problem then return stat end
  local code = code_of(problem)
  if code ~= "ENOENT" and code ~= "ENOTDIR" then lib.fail_io("cannot stat " .. path, problem) end
end

--- The whole of a file, at most 64 MB.
---@param act Activity
---@param path string
---@return string
function fs.read(act, path)
  check_path("fs.read", act, path)
  return act:read_file(path)
end

--- Write a whole file: readers see the old one or the new one, never half of it, and it survives a power cut once this returns.
---@param act Activity
---@param path string
---@param data string
---@param given? { mkdir: boolean? } mkdir: make its folder if need be
function fs.write(act, path, data, given)
  check_path("fs.write", act, path)
  options.argument("fs.write: the data", "data", data, "string")
  given = options.check("fs.write", given, { mkdir = "boolean" })
  if given.mkdir then fs.mkdir(act, lib.folder_of(path)) end
  act:write_file(path, data)
end

--- Add to the end of a file, made if need be; on the disk once this returns. Not undone if the activity runs again.
---@param act Activity
---@param path string
---@param data string
function fs.append(act, path, data)
  check_path("fs.append", act, path)
  options.argument("fs.append: the data", "data", data, "string")
  act:append_file(path, data)
end

--- Call `fn` for each line of a file of any size, without its end. Returning true stops early.
---@param act Activity
---@param path string
---@param fn fun(line: string, number: integer): boolean?
function fs.each_line(act, path, fn)
  check_path("fs.each_line", act, path)
  options.argument("fs.each_line: what is called", "fn", fn, "function")
  local what = "cannot read " .. path
  local fd, release = lib.open_file(act, what, path, "r")
  local rest, number, stopped = "", 0, false
  local function give(line)
    number = number + 1
    stopped = fn((line:gsub("\r$", "")), number) == true
    return stopped
  end
  repeat
    local data = lib.request(act, what, function(cb) return lib.uv().fs_read(fd, CHUNK_BYTES, -1, cb) end)
    local from = 1
    rest = rest .. data
    for line, next_from in rest:gmatch("([^\n]*)\n()") do
      from = next_from
      if give(line) then break end
    end
    rest = rest:sub(from)
    if #rest > LINE_BYTES_MAX then
      lib.fail("LimitExceeded", ("%s: line %d has more than %d bytes"):format(path, number + 1, LINE_BYTES_MAX), nil, false)
    end
  until data == "" or stopped
  if not stopped and rest ~= "" then give(rest) end
  release()
end

--- What is at a path; links are followed.
---@param act Activity
---@param path string
---@return FileStat? stat nil: nothing is
function fs.stat(act, path)
  check_path("fs.stat", act, path)
  return act:stat(path)
end

--- Is there something at the path?
---@param act Activity
---@param path string
---@return boolean
function fs.exists(act, path)
  check_path("fs.exists", act, path)
  return act:stat(path) ~= nil
end

--- What is in a folder, sorted by name.
---@param act Activity
---@param path string
---@return DirEntry[]
function fs.list(act, path)
  check_path("fs.list", act, path)
  return act:list_dir(path)
end

-- Call visit(entry) for everything below a folder, parents first. It answers false for a folder that is not entered.
local function each_below(act, folder, depth, count, visit)
  if depth > DEPTH_MAX then
    lib.fail("LimitExceeded", ("%s: folders are nested more than %d deep"):format(folder, DEPTH_MAX), nil, false)
  end
  for _, item in ipairs(act:list_dir(folder)) do
    count.entries = count.entries + 1
    if count.entries > count.max then
      lib.fail("LimitExceeded", ("%s: it has more than %d entries"):format(count.root, count.max), nil, false)
    end
    local entry = { path = join(folder, item.name), name = item.name, type = item.type, depth = depth }
    if entry.type == "unknown" then entry.type = (lstat(act, entry.path) or entry).type end
    local enter = visit(entry)
    if entry.type == "directory" and enter ~= false then each_below(act, entry.path, depth + 1, count, visit) end
  end
end

local function walk(act, root, max, visit)
  each_below(act, root, 1, { entries = 0, max = max or ENTRIES_MAX, root = root }, visit)
end

---@class WalkEntry
---@field path string begins with the folder that was walked
---@field name string
---@field type string as in DirEntry; links are not followed
---@field depth integer from 1

---@class WalkOptions
---@field match? string Lua pattern that the name of a file must match
---@field type? "file"|"directory"|"link" only these; default: all
---@field hidden? boolean also what begins with a dot, and what is in such folders
---@field filter? fun(entry: WalkEntry): boolean false leaves it out, and does not enter it
---@field depth? integer default: all the way
---@field max? integer entries looked at; more is a failure of type "LimitExceeded"; default 1000000

--- Everything below a folder: parents before what is in them, names in the order of their bytes.
---@param act Activity
---@param root string
---@param given? WalkOptions
---@return WalkEntry[]
function fs.walk(act, root, given)
  check_path("fs.walk", act, root)
  given = options.check("fs.walk", given, { match = "string", type = "string", hidden = "boolean", filter = "function", depth = "count",
    max = "count" })
  local found = {}
  walk(act, root, given.max, function(entry)
    if not given.hidden and entry.name:sub(1, 1) == "." then return false end
    if given.filter and not given.filter(entry) then return false end
    local is_wanted = (not given.type or entry.type == given.type)
      and (not given.match or entry.type ~= "directory" and entry.name:find(given.match) ~= nil)
    if is_wanted then found[#found + 1] = entry end
    return entry.depth < (given.depth or math.huge)
  end)
  return found
end

--- Make a folder and its parents. One that exists is no failure.
---@param act Activity
---@param path string
function fs.mkdir(act, path)
  check_path("fs.mkdir", act, path)
  local problem = lib.try(act, function(cb) return lib.uv().fs_mkdir(path, DIR_MODE, cb) end)
  local code = code_of(problem)
  if code == "ENOENT" then
    local parent = lib.folder_of(path:gsub("(.)/+$", "%1"))
    if parent == path then lib.fail_io("cannot make " .. path, problem) end
    fs.mkdir(act, parent)
    problem = lib.try(act, function(cb) return lib.uv().fs_mkdir(path, DIR_MODE, cb) end)
    code = code_of(problem)
  end
  if not problem then return end
  local stat = code == "EEXIST" and act:stat(path)
  if not (stat and stat.type == "directory") then lib.fail_io("cannot make " .. path, problem) end
end

local function remove_one(act, path, kind)
  local problem = lib.try(act, function(cb)
    if kind == "directory" then return lib.uv().fs_rmdir(path, cb) end
    return lib.uv().fs_unlink(path, cb)
  end)
  if problem and code_of(problem) ~= "ENOENT" then lib.fail_io("cannot remove " .. path, problem) end
end

--- Remove a file, a link, or an empty folder; with recursive = true a folder with all that is in it. What is not there is no failure.
---@param act Activity
---@param path string
---@param given? { recursive: boolean? }
---@return boolean removed false: there was nothing
function fs.remove(act, path, given)
  check_path("fs.remove", act, path)
  given = options.check("fs.remove", given, { recursive = "boolean" })
  local stat = lstat(act, path)
  if not stat then return false end
  if stat.type == "directory" and given.recursive then
    local folders = {}
    walk(act, path, nil, function(entry)
      if entry.type == "directory" then folders[#folders + 1] = entry.path else remove_one(act, entry.path, entry.type) end
    end)
    for i = #folders, 1, -1 do remove_one(act, folders[i], "directory") end
  end
  remove_one(act, path, stat.type)
  return true
end

-- A file beside the target first, so that nobody sees half of it.
local function copy_file(act, from, to)
  local what, temp = ("cannot copy %s to %s"):format(from, to), lib.temp_name(act, to)
  local release = lib.hold(act, function() lib.uv().fs_unlink(temp) end)
  lib.request(act, what, function(cb) return lib.uv().fs_copyfile(from, temp, { excl = true }, cb) end)
  lib.request(act, what, function(cb) return lib.uv().fs_rename(temp, to, cb) end)
  release()
end

local function copy_link(act, from, to)
  local what = ("cannot copy the link %s to %s"):format(from, to)
  local target = lib.request(act, what, function(cb) return lib.uv().fs_readlink(from, cb) end)
  remove_one(act, to, "link")
  lib.request(act, what, function(cb) return lib.uv().fs_symlink(target, to, nil, cb) end)
end

local function copy_one(act, entry, to)
  if entry.type == "directory" then fs.mkdir(act, to)
  elseif entry.type == "link" then copy_link(act, entry.path, to)
  elseif entry.type == "file" then copy_file(act, entry.path, to)
  else lib.fail("IOError", ("cannot copy %s: it is a %s"):format(entry.path, entry.type), { code = "EINVAL" }, false) end
end

--- Copy a file, a link, or a folder with all that is in it. Files that are there already are replaced, each at once.
---@param act Activity
---@param from string
---@param to string the new path itself, not a folder to put it into
function fs.copy(act, from, to)
  check_path("fs.copy", act, from, to)
  local stat = lstat(act, from)
  if not stat then lib.fail_io(("cannot copy %s to %s"):format(from, to), "ENOENT: no such file or directory") end
  local inside = stat.type == "directory" and (join(to, ""):sub(1, #from + 1) == join(from, ""))
  if inside then lib.fail("IOError", ("cannot copy %s into itself"):format(from), { code = "EINVAL" }, false) end
  copy_one(act, { path = from, type = stat.type }, to)
  if stat.type ~= "directory" then return end
  walk(act, from, nil, function(entry) copy_one(act, entry, join(to, entry.path:sub(#join(from, "") + 1))) end)
end

--- Give a file or folder another name. A file at the new one is replaced at once. Between file systems it is copied and removed.
---@param act Activity
---@param from string
---@param to string
function fs.move(act, from, to)
  check_path("fs.move", act, from, to)
  local problem = lib.try(act, function(cb) return lib.uv().fs_rename(from, to, cb) end)
  if not problem then return end
  if code_of(problem) ~= "EXDEV" then lib.fail_io(("cannot move %s to %s"):format(from, to), problem) end
  fs.copy(act, from, to)
  fs.remove(act, from, { recursive = true })
end

-- At the end of an attempt nothing can be waited for.
local function remove_now(path)
  local uv = lib.uv()
  local stat = uv.fs_lstat(path)
  if stat and stat.type == "directory" then
    local found = uv.fs_scandir(path)
    local name = found and uv.fs_scandir_next(found)
    while name do
      remove_now(join(path, name))
      name = uv.fs_scandir_next(found)
    end
    uv.fs_rmdir(path)
  elseif stat then
    uv.fs_unlink(path)
  end
end

--- A new empty folder that only this user can enter. It is removed, with what is in it, when the activity ends in any way but a crash.
---@param act Activity
---@param given? { parent: string?, keep: boolean? } parent: default $TMPDIR or /tmp; keep: the author removes it
---@return string path
function fs.temp_dir(act, given)
  options.act("fs.temp_dir", lib, act)
  given = options.check("fs.temp_dir", given, { parent = "string", keep = "boolean" })
  local template = join(given.parent or os.getenv("TMPDIR") or "/tmp", "lunation-XXXXXX")
  local path = lib.request(act, "cannot make a temporary folder", function(cb) return lib.uv().fs_mkdtemp(template, cb) end, remove_now)
  if not given.keep then lib.hold(act, function() remove_now(path) end) end
  return path
end

return fs
