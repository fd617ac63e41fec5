-- resume.lua: `lunation resume`: through the server, or straight into the data directory.
local reasoned = require "reasoned"

local resume = {
  name = "resume",
  summary = "Let a suspended or stalled instance go on",
  usage = "resume ID [--reason TEXT]",
  about = "A suspended instance goes on with everything that gathered; a stalled one tries again at once. Another is left as it is.",
  arguments = { 1, 1 },
  options = { { "--reason TEXT", "why; kept in the history" } },
  examples = "  lunation resume trip-7",
}

function resume.run(parsed)
  return reasoned.run(parsed, "resume", "resumed", "%s goes on", "it is kept; `lunation serve` or `lunation run` will run it")
end

return resume
