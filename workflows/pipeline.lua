-- A pipeline of shell commands: stages one after the other, the commands of a stage at the same time. A stage that fails is tried again as
-- a whole. What the commands say is in the stream "output": lunation stream ID output --follow
--   lunation run workflows/pipeline.lua --input '{"folder":".","stages":[["echo lint","echo compile"],["echo test"]]}'

local parallel = require "parallel"
local process = require "process"
local retry = require "retry"

activity("run_command", function(job, act)
  local lines = {}
  process.shell(act, job.command, {
    cwd = job.folder, timeout = "30m", check = true, -- an exit code other than 0 is a failure
    on_line = function(line) lines[#lines + 1] = line end,
  })
  return lines
end)

workflow("pipeline", function(ctx, input)
  local ran = 0
  for number, commands in ipairs(input.stages) do
    ctx:set_custom_status(("stage %d of %d"):format(number, #input.stages))
    retry.run(ctx, { max_attempts = input.attempts or 2, interval = input.pause or "10s" }, function()
      parallel.map(ctx, commands, function(command) -- the first failure stops the others
        for _, line in ipairs(ctx:call_activity("run_command", { folder = input.folder, command = command })) do
          ctx:emit("output", ("%s: %s"):format(command, line))
        end
      end)
    end)
    ran = ran + #commands
  end
  return { stages = #input.stages, commands = ran }
end)
