-- Brings rows into a ledger file, and waits for somebody to release them: attempts that tell how far they are, steps without side effects,
-- an answer from outside.
--
--   lunation start ledger --id may --input '{"lines":["rent,900","tea,3.50"],"to":"/tmp/ledger.txt","ask":"/tmp/token.txt"}'

-- No side effects: a thousand lines cost one commit.
activity("parse", { pure = true }, function(line)
  local what, amount = line:match("^%s*([^,]+),%s*(%d+%.?%d*)%s*$")
  if not what then error({ type = "BadLine", message = "not a line such as 'rent,900': " .. line, retryable = false }) end
  return { what = what, amount = tonumber(amount) }
end)

-- An attempt that dies in the middle is followed by one that goes on where it was. Each row carries its number, in case it comes twice.
activity("write_rows", { concurrency = 2 }, function(job, act)
  for row = (act.heartbeat_details or 0) + 1, #job.rows do
    local entry = job.rows[row]
    act:append_file(job.to, ("%d %s %.2f\n"):format(row, entry.what, entry.amount))
    if act:heartbeat(row) then return row end
  end
  return #job.rows
end)

-- The token is the answer's address: whoever has it completes the step, with `lunation complete TOKEN JSON`, over HTTP, with
-- rt:complete() or lnt_complete(), in seven days or after a restart. `lunation show ID` prints it.
activity("ask_for_release", function(path, act)
  act:write_file(path, act:complete_later())
end)

workflow("ledger", function(ctx, input)
  local rows = {}
  for i, line in ipairs(input.lines) do rows[i] = ctx:call_activity("parse", line) end

  local count = ctx:call_activity("write_rows", { rows = rows, to = input.to }, {
    heartbeat = "30s",
    schedule_to_close = "1h",
    retry = { max_attempts = 5, first_interval = "1s", timeout = "10m" },
  })
  local release = ctx:call_activity("ask_for_release", input.ask, { timeout = "7d" })
  return { rows = count, released_by = release.by }
end)
