-- args.lua: reads a command line by a command's own description, and writes the command's help from the same description.
--
-- A command is a table {name, summary, usage, about, arguments, options, examples, run}. An option is {"--data DIR", "help"}: the word
-- after the name says that it takes a value; `-h` style short names are given as "-n, --limit N", other long names as "--workflow, --name
-- NAME"; an option whose value ends with "..." may be given again, and is a list.
local args = {}

local COMMON = {
  { "--data DIR", "the data directory (default: LUNATION_DATA, else .lunation)" },
  { "--json", "write JSON, for programs" },
  { "-h, --help", "this text" },
}

--- How many letters must be changed, or pairs swapped, to get from one word to the other.
local function distance(a, b)
  local rows = { [0] = {} }
  for j = 0, #b do rows[0][j] = j end
  for i = 1, #a do
    rows[i] = { [0] = i }
    for j = 1, #b do
      local same = a:byte(i) == b:byte(j) and 0 or 1
      local least = math.min(rows[i - 1][j] + 1, rows[i][j - 1] + 1, rows[i - 1][j - 1] + same)
      local swapped = i > 1 and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j)
      rows[i][j] = swapped and math.min(least, rows[i - 2][j - 2] + 1) or least
    end
  end
  return rows[#a][#b]
end

--- The words of `known` that somebody who typed `word` may have meant, best first: at most three.
function args.near(word, known)
  local found = {}
  for _, candidate in ipairs(known) do
    local plain, target = word:gsub("^%-+", ""):lower(), candidate:gsub("^%-+", ""):lower()
    local far = distance(plain, target)
    local begins = #plain > 1 and target:sub(1, #plain) == plain
    if begins or far <= math.max(1, math.floor(#target / 3)) then
      found[#found + 1] = { word = candidate, far = begins and 0 or far }
    end
  end
  table.sort(found, function(a, b) return a.far < b.far or (a.far == b.far and a.word < b.word) end)
  local words = {}
  for i = 1, math.min(3, #found) do words[i] = found[i].word end
  return words
end

--- "; did you mean --limit?", or nothing.
function args.hint(word, known)
  local words = args.near(word, known)
  if #words == 0 then return "" end
  return "; did you mean " .. table.concat(words, " or ") .. "?"
end

local function parse_option(row)
  local short = row[1]:match("^(%-%a), ")
  local longs, value = {}, row[1]:match("%-%-[%w-]+ ([^-].*)$")
  for long in row[1]:gmatch("%-%-[%w-]+") do longs[#longs + 1] = long end
  local list = value and value:match("%.%.%.$") ~= nil
  return { short = short, long = longs[1], longs = longs, key = longs[1]:sub(3):gsub("%-", "_"), value = value, list = list,
    help = row[2] }
end

local function options_of(command)
  local list, by_name = {}, {}
  for _, rows in ipairs({ command.options or {}, COMMON }) do
    for _, row in ipairs(rows) do
      local option = parse_option(row)
      list[#list + 1] = option
      for _, long in ipairs(option.longs) do by_name[long] = option end
      if option.short then by_name[option.short] = option end
    end
  end
  return list, by_name
end

local function usage_error(command, message)
  error({ exit = 2, code = "LNT_EINVAL", message = message .. "\nusage: lunation " .. command.usage ..
    "\n`lunation " .. command.name .. " --help` tells more" }, 0)
end

args.usage_error = usage_error

local function unknown(command, list, word)
  local names = {}
  for _, option in ipairs(list) do
    for _, long in ipairs(option.longs) do names[#names + 1] = long end
  end
  usage_error(command, ("lunation %s: there is no option %s%s"):format(command.name, word, args.hint(word, names)))
end

local function take_option(command, result, given, i, list, by_name)
  local name, value = given[i], nil
  if name:match("^%-%-[^=]+=") then name, value = name:match("^(.-)=(.*)$") end
  local option = by_name[name]
  if not option then unknown(command, list, name) end
  if not option.value then
    if value then usage_error(command, ("lunation %s: %s takes no value"):format(command.name, name)) end
    result[option.key] = true
    return i
  end
  if not value then
    i = i + 1
    value = given[i]
    if not value then
      usage_error(command, ("lunation %s: %s needs a value: %s %s"):format(command.name, name, name, option.value))
    end
  end
  if not option.list then
    result[option.key] = value
    return i
  end
  result[option.key] = result[option.key] or {}
  table.insert(result[option.key], value)
  return i
end

--- The options and arguments in `given`, from place `first`. Fields: the options by name, and the arguments in the array part.
function args.parse(command, given, first)
  local list, by_name = options_of(command)
  local result, i, plain = {}, first, false
  while i <= #given do
    local word = given[i]
    if plain or word == "-" or word:sub(1, 1) ~= "-" then
      result[#result + 1] = word
    elseif word == "--" then
      plain = true
    else
      i = take_option(command, result, given, i, list, by_name)
    end
    i = i + 1
  end
  if result.help then return result end
  local least, most = command.arguments[1], command.arguments[2]
  if #result < least then usage_error(command, ("lunation %s: an argument is missing"):format(command.name)) end
  if #result > most then usage_error(command, ("lunation %s: one argument too many: '%s'"):format(command.name, result[most + 1])) end
  return result
end

--- The number in an option, or the default.
function args.number(command, parsed, key, default, least, most)
  if parsed[key] == nil then return default end
  local number = tonumber(parsed[key])
  if not number or number < least or number > most then
    local message = "lunation %s: --%s must be a number from %d to %d, not '%s'"
    usage_error(command, message:format(command.name, key:gsub("_", "-"), least, most, parsed[key]))
  end
  return number
end

--- Break a text into lines of at most `width` columns, with `indent` before all but the first.
local function wrap(text, width, indent)
  local lines, line = {}, ""
  for word in text:gmatch("%S+") do
    if #line > 0 and #line + 1 + #word > width then
      lines[#lines + 1], line = line, word
    else
      line = #line > 0 and line .. " " .. word or word
    end
  end
  lines[#lines + 1] = line
  return table.concat(lines, "\n" .. (" "):rep(indent))
end

--- The text of `--help`.
function args.help(command)
  local lines = { command.summary .. ".", "", "usage: lunation " .. command.usage, "" }
  if command.about then lines[#lines + 1] = command.about .. "\n" end
  lines[#lines + 1] = "Options:"
  for _, option in ipairs((options_of(command))) do
    local name = (option.short and option.short .. ", " or "") .. table.concat(option.longs, ", ")
    if option.value then name = name .. " " .. option.value end
    local help = wrap(option.help, 96, 26)
    lines[#lines + 1] = #name <= 22 and ("  %-22s  %s"):format(name, help) or ("  %s\n%26s%s"):format(name, "", help)
  end
  if command.examples then lines[#lines + 1] = "\nExamples:\n" .. command.examples end
  return table.concat(lines, "\n") .. "\n"
end

return args
