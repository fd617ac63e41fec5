--- Reading, ranking and checking text: the work behind research_report.lua. Ordinary code: only activities may call it.
local fs = require "fs"

local text = {}

local STOP = {}
for word in ([[
  a an and are as at be been by can could did do does for from had has have how i if in into is it its may
  might of on or our shall should so than that the their them then there these they this those to was we were
  what when where which who why will with would you your not no but about after all also any because before
  between both each few more most other over same some such too very
]]):gmatch("%S+") do
  STOP[word] = true
end

local TEXT_FILES = { md = true, txt = true, lua = true, c = true, h = true, rst = true }
local FILE_BYTES_MAX, FILES_MAX = 512 * 1024, 20000

local function words(line)
  local list = {}
  for word in line:lower():gmatch("[%w_]+") do
    if #word > 1 and not STOP[word] then list[#list + 1] = word end
  end
  return list
end

-- A crude stem, enough to let "crashes" meet "crash".
local function stem(word)
  return (word:gsub("ing$", ""):gsub("ed$", ""):gsub("es$", ""):gsub("s$", ""))
end

--- Split a question into sub-questions: the whole of it, each key word, and each pair of neighbours.
---@param question string
---@return { question: string, query: string }[]
function text.plan(question)
  local keys, seen, plan = words(question), {}, { { question = question, query = question } }
  for i, word in ipairs(keys) do
    if not seen[word] then
      seen[word] = true
      plan[#plan + 1] = { question = ("What is said about '%s'?"):format(word), query = word }
    end
    if keys[i + 1] then
      plan[#plan + 1] = { question = ("How do '%s' and '%s' go together?"):format(word, keys[i + 1]), query = word .. " " .. keys[i + 1] }
    end
    if #plan >= 8 then break end
  end
  return plan
end

local function list_files(act, folder)
  local files = {}
  local found = fs.walk(act, folder, { type = "file", filter = function(entry) return not entry.name:find("^build") end })
  for i = 1, math.min(#found, FILES_MAX) do
    local path = found[i].path
    if TEXT_FILES[path:match("%.(%w+)$") or ""] then files[#files + 1] = path end
  end
  return files
end

local function read_lines(path)
  local file = io.open(path, "rb")
  if not file then return {} end
  local content = file:read(FILE_BYTES_MAX) or ""
  file:close()
  local lines = {}
  for line in (content .. "\n"):gmatch("(.-)\r?\n") do lines[#lines + 1] = line end
  return lines
end

-- How often each sought word stands in each line, and in how many lines at all.
local function count_hits(files, sought)
  local hits, lines_with, lines_total = {}, {}, 0
  for _, path in ipairs(files) do
    for number, line in ipairs(read_lines(path)) do
      lines_total = lines_total + 1
      local found, any = {}, false
      for _, word in ipairs(words(line)) do
        local key = stem(word)
        if sought[key] then
          found[key], any = (found[key] or 0) + 1, true
        end
      end
      if any then
        for key in pairs(found) do lines_with[key] = (lines_with[key] or 0) + 1 end
        hits[#hits + 1] = { file = path, line = number, text = line, found = found }
      end
    end
  end
  return hits, lines_with, lines_total
end

--- Rank the lines of a folder's text files for a query: rare words count more, longer lines a little less.
---@param act Activity
---@param folder string
---@param query string
---@param limit integer
---@return { file: string, line: integer, text: string, score: number }[]
function text.search(act, folder, query, limit)
  local sought = {}
  for _, word in ipairs(words(query)) do sought[stem(word)] = true end
  local hits, lines_with, lines_total = count_hits(list_files(act, folder), sought)
  for _, hit in ipairs(hits) do
    local score = 0
    for key, count in pairs(hit.found) do
      local rarity = math.log(1 + lines_total / lines_with[key])
      score = score + rarity * count / (count + 0.5 + #hit.text / 200)
    end
    hit.score, hit.found = math.floor(score * 1000) / 1000, nil
  end
  table.sort(hits, function(a, b)
    if a.score ~= b.score then return a.score > b.score end
    if a.file ~= b.file then return a.file < b.file end
    return a.line < b.line
  end)
  local best = {}
  for i = 1, math.min(limit, #hits) do best[i] = hits[i] end
  return best
end

--- From the passages of each sub-question, the claims that the report will make: each a quotation with its place, none twice.
function text.analyse(findings)
  local claims, taken = {}, {}
  for _, finding in ipairs(findings) do
    for _, passage in ipairs(finding.passages) do
      local quotation = passage.text:match("^%s*(.-)%s*$")
      if #quotation >= 20 and not taken[quotation] then
        taken[quotation] = true
        claims[#claims + 1] = { question = finding.question, quotation = quotation, file = passage.file, line = passage.line,
          score = passage.score }
      end
    end
  end
  return claims
end

--- Does the quotation stand, letter for letter, at its file and line?
function text.check(act, claim)
  local verified = false
  fs.each_line(act, claim.file, function(line, number)
    if number == claim.line then verified = line:find(claim.quotation, 1, true) ~= nil end
    return number == claim.line -- that is enough
  end)
  return { verified = verified }
end

--- The report in Markdown.
function text.render(report)
  local out = { "# " .. report.question, "" }
  local function add(...) out[#out + 1] = string.format(...) end
  add("%d quotations from the files, each checked at its place; %d dropped because they were not there.", #report.claims, report.dropped)
  for _, part in ipairs(report.plan) do
    local heading = false
    for _, claim in ipairs(report.claims) do
      if claim.question == part.question then
        if not heading then
          heading = true
          add("\n## %s\n", part.question)
        end
        add("> %s\n>\n> `%s:%d`\n", claim.quotation, claim.file, claim.line)
      end
    end
  end
  return table.concat(out, "\n") .. "\n"
end

return text
