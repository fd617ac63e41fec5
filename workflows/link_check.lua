-- Which links are dead? All pages are asked at once; those that do not answer get a second chance a little later.
--   lunation run workflows/link_check.lua --input '{"links":["https://example.org/","https://example.org/nothing"]}'

local http = require "http"

activity("ask_all", function(links, act)
  local answers = {}
  for i, each in ipairs(http.all(act, links, { concurrency = 50, settle = true })) do
    answers[i] = each.ok and each.response.status or each.failure.message
  end
  return answers
end)

-- Those that a second look may find alive: the server was busy, or did not answer at all.
local function is_doubtful(answer)
  return type(answer) == "string" or answer == 429 or answer >= 500
end

workflow("link_check", function(ctx, input)
  local answer_of, links = {}, input.links
  for round = 1, input.rounds or 3 do
    if round > 1 then ctx:create_timer(input.pause or "1m") end
    local doubtful = {}
    for i, answer in ipairs(ctx:call_activity("ask_all", links)) do
      answer_of[links[i]] = answer
      if is_doubtful(answer) then doubtful[#doubtful + 1] = links[i] end
    end
    links = doubtful
    if #links == 0 then break end
  end

  local dead = {}
  for _, link in ipairs(input.links) do
    local answer = answer_of[link]
    if is_doubtful(answer) or answer >= 400 then dead[#dead + 1] = { link = link, answer = answer } end
  end
  return { asked = #input.links, dead = dead }
end)
