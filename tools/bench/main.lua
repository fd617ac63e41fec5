--- What `lunation bench` runs: picks workloads, prints each figure when it is ready, or one JSON object at the end.
local lunation = require("lunation")
local suite = require("bench.suite")

local main = {}

---@param parsed table the options of tools/cli/bench.lua; the array part names workloads
---@return integer exit code
function main.run(parsed)
  if parsed[1] == "child" then -- W6 starts this program again, to kill it
    suite.w6_child(parsed[2], parsed[3])
    return 0
  end
  local only
  for _, name in ipairs(parsed) do
    only = only or {}
    only[name:lower()] = true
  end
  local results = suite.run({ folder = parsed.dir or os.getenv("TMPDIR") or "/tmp", quick = parsed.quick, only = only,
    durability = parsed.durability, large = parsed.large }, function(result)
    if not parsed.json then
      io.write(suite.line(result), "\n")
      io.flush()
    end
  end)
  if parsed.json then io.write(assert(lunation.json_encode({ version = lunation.version, results = results }, 2)), "\n") end
  return 0
end

return main
