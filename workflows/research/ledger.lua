--- activity(), with one line per start and end of each attempt in the file that LUNATION_LEDGER names. tools/demo reads it, to show that no
--- finished step runs again after a crash. Without that variable it is activity() and nothing more.
---@param name string
---@param options ActivityOptions
---@param fn fun(input: any, act: Activity): any
return function(name, options, fn)
  activity(name, options, function(input, act)
    local path = os.getenv("LUNATION_LEDGER")
    local function note(what)
      if path then act:append_file(path, ("%s %s %s\n"):format(what, act.idempotency_key, act.name)) end
    end
    note("start")
    local result = fn(input, act)
    note("end")
    return result
  end)
end
