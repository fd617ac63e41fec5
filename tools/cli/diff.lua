-- diff.lua: what differs between two texts, line by line, in the unified format. Used by `versions --diff`.
local diff = {}

local CONTEXT = 3
local EDITS_MAX = 1500 -- beyond that two texts have little in common, and are told as one taken out and the other put in

local function lines_of(text)
  local lines = {}
  for line in text:gmatch("([^\n]*)\n") do lines[#lines + 1] = line end
  local rest = text:match("[^\n]*$")
  if rest ~= "" then lines[#lines + 1] = rest .. "\n\\ No newline at end of file" end
  return lines
end

--- The furthest reaching paths of Myers' algorithm: trace[d][k] is how far in `a` one gets on diagonal k with d edits. nil: too many.
local function search(a, b, first, a_last, b_last)
  local trace, reach = {}, { [1] = first }
  for d = 0, EDITS_MAX do
    local row = {}
    for k = -d, d, 2 do
      local down = k == -d or (k ~= d and reach[k - 1] < reach[k + 1])
      local x = down and reach[k + 1] or reach[k - 1] + 1
      local y = x - k
      while x <= a_last and y <= b_last and a[x] == b[y] do x, y = x + 1, y + 1 end
      row[k] = x
      if x > a_last and y > b_last then
        trace[d] = row
        return trace, d, k
      end
    end
    trace[d] = row
    for k, x in pairs(row) do reach[k] = x end
  end
end

--- Mark the lines of `a` that are taken out and those of `b` that are put in.
local function mark(a, b, first, a_last, b_last)
  local out, into = {}, {}
  local trace, edits, k = search(a, b, first, a_last, b_last)
  if not trace then
    for x = first, a_last do out[x] = true end
    for y = first, b_last do into[y] = true end
    return out, into
  end
  for d = edits, 1, -1 do
    local before = trace[d - 1]
    local down = k == -d or (k ~= d and before[k - 1] < before[k + 1])
    if down then
      k = k + 1
      into[before[k] - k] = true
    else
      k = k - 1
      out[before[k]] = true
    end
  end
  return out, into
end

--- Steps in order: {sign, text, line of a, line of b}.
local function steps_of(a, b)
  local first, a_last, b_last = 1, #a, #b
  while first <= a_last and first <= b_last and a[first] == b[first] do first = first + 1 end
  while a_last >= first and b_last >= first and a[a_last] == b[b_last] do a_last, b_last = a_last - 1, b_last - 1 end
  local out, into = mark(a, b, first, a_last, b_last)
  local steps, x, y = {}, 1, 1
  while x <= #a or y <= #b do
    if out[x] then
      steps[#steps + 1], x = { "-", a[x], x, y }, x + 1
    elseif into[y] then
      steps[#steps + 1], y = { "+", b[y], x, y }, y + 1
    else
      steps[#steps + 1], x, y = { " ", a[x], x, y }, x + 1, y + 1
    end
  end
  return steps
end

local function range(from, count)
  if count == 1 then return tostring(from) end
  return ("%d,%d"):format(count == 0 and from - 1 or from, count)
end

local function hunk(steps, from, to)
  local lines, counts = {}, { [" "] = 0, ["-"] = 0, ["+"] = 0 }
  for i = from, to do
    lines[#lines + 1] = steps[i][1] .. steps[i][2]
    counts[steps[i][1]] = counts[steps[i][1]] + 1
  end
  local head = ("@@ -%s +%s @@"):format(range(steps[from][3], counts[" "] + counts["-"]), range(steps[from][4], counts[" "] + counts["+"]))
  return head .. "\n" .. table.concat(lines, "\n") .. "\n"
end

--- The hunks of a unified diff, without a head; "" when the texts are equal.
function diff.unified(old, new)
  if old == new then return "" end
  local steps, hunks = steps_of(lines_of(old), lines_of(new)), {}
  local from, last -- of the hunk that is open: its first step, its last change
  for i, step in ipairs(steps) do
    if step[1] ~= " " then
      if from and i - last > 2 * CONTEXT then
        hunks[#hunks + 1] = hunk(steps, from, last + CONTEXT)
        from = nil
      end
      from = from or math.max(1, i - CONTEXT)
      last = i
    end
  end
  hunks[#hunks + 1] = hunk(steps, from, math.min(#steps, last + CONTEXT))
  return table.concat(hunks)
end

return diff
