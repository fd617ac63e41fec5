-- retry.lua: `lunation retry`.
local forking = require "forking"

local retry = {
  name = "retry",
  summary = "Let a failed instance go on from its failure",
  usage = "retry ID",
  about = [[
It keeps its id: a new run goes on where the old one failed. The activity or child that failed is tried again; after an error of the
workflow's own, its last turn is run again, with the newest code. One that was terminated or canceled goes on as if it had not been.]],
  arguments = { 1, 1 },
  options = { { "--run N", "it must be this run" }, forking.CODE, forking.FILE },
  examples = "  lunation retry trip-7\n  lunation retry trip-7 --code newest",
}

function retry.run(parsed, command) return forking.run(parsed, command, "retry") end

return retry
