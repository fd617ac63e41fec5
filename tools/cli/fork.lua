-- fork.lua: `lunation fork`.
local forking = require "forking"

local fork = {
  name = "fork",
  summary = "Make a new instance that goes on from an event of this one",
  usage = "fork ID [--event N] [--id NEW] [--input JSON]",
  about = [[
The new one has seen what ID had seen up to the event (`lunation history` numbers them), and goes on from there by itself: what was not
finished by then runs again. ID, finished or not, is left as it is.]],
  arguments = { 1, 1 },
  options = {
    { "--event N", "the last event that is copied (default: all there are)" },
    { "--id NEW", "the new instance's id (default: a random UUID)" },
    { "--input JSON", "another input, where --event is 1: JSON text, @file, or - for stdin" },
    { "--run N", "an earlier run of ID" },
    forking.CODE, forking.FILE,
  },
  examples = "  lunation fork trip-7 --event 12 --id trip-7b",
}

function fork.run(parsed, command) return forking.run(parsed, command, "fork") end

return fork
