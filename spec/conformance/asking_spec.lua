-- Conformance: queries and updates. What an instance answers, and what it does when it is asked.
local case = require("spec.conformance.support").case

-- rt:query and rt:update have four results: value, message, code, failure.
local function query(w, ...) return w.rt:query(...) end
local function update(w, ...) return w.rt:update(...) end

local function failure_of(_, _, code, failure)
  assert.equal("LNT_EFAILED", code)
  return failure
end

local COUNTER = [[
workflow("counter", function(ctx, total)
  local sum, log = 0, {}
  ctx:on_query("sum", function() return sum end)
  ctx:on_query("log", function(from)
    local part = {}
    for i = from or 1, #log do part[#part + 1] = log[i] end
    return part
  end)
  ctx:on_query("fails", function() error({ type = "NoAnswer", message = "ask later" }) end)
  while sum < total do
    local n = ctx:wait_for_external_event("add")
    sum = sum + n
    log[#log + 1] = n
  end
  return sum
end)
]]

describe("a query", function()
  case("sees the state of a running instance", COUNTER, function(w)
    w:run("counter", { id = "c", input = 10 })
    assert.equal(0, query(w, "c", "sum"))
    w:raise("c", "add", 3)
    w:settle()
    w:raise("c", "add", 4)
    w:settle()
    assert.equal(7, query(w, "c", "sum"))
    assert.same({ 3, 4 }, query(w, "c", "log"))
    assert.same({ 4 }, query(w, "c", "log", 2))
    w:raise("c", "add", 3)
    w:settle()
    assert.equal(10, w:output("c"))
  end)

  case("sees everything that was accepted before it, in the same tick", COUNTER, function(w)
    w:start("counter", { id = "c", input = 10 })
    w:raise("c", "add", 5)
    assert.equal(5, query(w, "c", "sum"))
    w:raise("c", "add", 5)
    w:settle()
    assert.equal(10, w:output("c"))
  end)

  case("works after the end, whatever the end was", COUNTER, function(w)
    for i, id in ipairs({ "done", "stopped", "gone" }) do
      w:run("counter", { id = id, input = 10 })
      w:raise(id, "add", i)
      w:settle()
    end
    w:raise("done", "add", 10)
    w:terminate("stopped")
    w:cancel("gone")
    w:settle()
    assert.same({ "COMPLETED", "TERMINATED", "CANCELED" }, { w:status("done"), w:status("stopped"), w:status("gone") })
    assert.same({ 11, 2, 3 }, { query(w, "done", "sum"), (query(w, "stopped", "sum")), (query(w, "gone", "sum")) })
  end)

  case("works on a suspended instance, and does not see what it has not seen", COUNTER, function(w)
    w:run("counter", { id = "c", input = 10 })
    w:raise("c", "add", 3)
    w:settle()
    w:suspend("c")
    w:raise("c", "add", 4)
    w:settle()
    assert.equal(3, query(w, "c", "sum"))
    assert.equal("SUSPENDED", w:status("c"))
    w:resume("c")
    w:settle()
    assert.equal(7, query(w, "c", "sum"))
  end)

  case("leaves no trace, however often it is asked", COUNTER, function(w)
    w:run("counter", { id = "c", input = 10 })
    w:raise("c", "add", 3)
    w:settle()
    local before = w:get("c", { json = true })
    for _ = 1, 20 do assert.equal(3, query(w, "c", "sum")) end
    w:settle()
    assert.same(before, w:get("c", { json = true }))
    w:raise("c", "add", 7)
    w:settle()
    assert.equal(10, w:output("c"))
  end)

  case("gives its failure to who asked, and the instance goes on", COUNTER, function(w)
    w:run("counter", { id = "c", input = 10 })
    local failure = failure_of(query(w, "c", "fails"))
    assert.same({ "NoAnswer", "ask later" }, { failure.type, failure.message })
    w:raise("c", "add", 10)
    w:settle()
    assert.equal(10, w:output("c"))
  end)

  case("that nobody answers says which there are", COUNTER, function(w)
    w:run("counter", { id = "c", input = 10 })
    local failure = failure_of(query(w, "c", "summ"))
    assert.equal("UnknownQuery", failure.type)
    assert.truthy(failure.message:find("sum", 1, true))
    assert.equal("LNT_ENOTFOUND", select(3, query(w, "nobody", "sum")))
  end)

  case("sees the generation that runs", [[
    workflow("loop", function(ctx, n)
      ctx:on_query("n", function() return n end)
      ctx:wait_for_external_event("go")
      ctx:continue_as_new(n + 1)
    end)]], function(w)
    w:run("loop", { id = "l", input = 1 })
    assert.equal(1, query(w, "l", "n"))
    for n = 2, 4 do
      w:raise("l", "go")
      w:settle()
      assert.equal(n, query(w, "l", "n"))
    end
    w:terminate("l")
    w:settle()
    assert.equal(4, query(w, "l", "n"))
  end)

  case("is answered by the function that was registered last", [[
    workflow("stages", function(ctx)
      ctx:on_query("stage", function() return "first" end)
      ctx:wait_for_external_event("go")
      ctx:on_query("stage", function() return "second" end)
      ctx:wait_for_external_event("go")
    end)]], function(w)
    w:run("stages", { id = "s" })
    assert.equal("first", query(w, "s", "stage"))
    w:raise("s", "go")
    w:settle()
    assert.equal("second", query(w, "s", "stage"))
  end)

  for _, code in ipairs({
    "ctx:create_timer(1)", "ctx:call_activity('a')", "ctx.async:call_activity('a')", "ctx:wait_for_external_event('e')",
    "ctx:spawn(function() end)", "ctx:emit('s', 1)", "ctx:random(6)", "ctx:uuid()", "math.random(6)", "ctx:set_custom_status('x')",
    "ctx:set_attributes({ a = 1 })", "ctx:side_effect(function() end)", "ctx:call_child_workflow('w')", "ctx:start_workflow('w')",
    "ctx:raise_event('q', 'e')", "ctx:continue_as_new()", "ctx:scope(function() end)", "ctx:on_query('x', function() end)",
  }) do
    case("may not " .. code, ([[
      workflow("w", function(ctx)
        ctx:on_query("bad", function() %s return "done" end)
        ctx:on_query("good", function() return { ctx:now() > 0, ctx.instance_id } end)
        ctx:wait_for_external_event("go")
        return "unharmed"
      end)]]):format(code), function(w)
      w:run("w", { id = "q" })
      local before = w:get("q", { json = true })
      for _ = 1, 2 do assert.equal("QueryNotReadOnly", failure_of(query(w, "q", "bad")).type) end
      assert.same({ true, "q" }, (query(w, "q", "good")))
      assert.same(before, w:get("q", { json = true }))
      assert.equal(1, #w:list())
      w:raise("q", "go")
      w:settle()
      assert.equal("unharmed", w:output("q"))
    end)
  end

  case("that computes for ever is stopped, and the instance goes on", [[
    workflow("w", function(ctx)
      ctx:on_query("spin", function() while true do end end)
      ctx:on_query("good", function() return 1 end)
      ctx:wait_for_external_event("go")
      return "unharmed"
    end)]], function(w)
    w:run("w", { id = "q" })
    assert.equal("BudgetExceeded", failure_of(query(w, "q", "spin")).type)
    assert.equal(1, query(w, "q", "good"))
    w:raise("q", "go")
    w:settle()
    assert.equal("unharmed", w:output("q"))
  end, { limits = { turn_instructions_max = 200000 } })

  case("whose answer is no data, or too large, fails for who asked", [[
    workflow("w", function(ctx)
      ctx:on_query("function", function() return print end)
      ctx:on_query("large", function() return ("x"):rep(5000) end)
      ctx:wait_for_external_event("go")
    end)]], function(w)
    w:run("w", { id = "q" })
    assert.truthy(failure_of(query(w, "q", "function")).message:find("function", 1, true))
    assert.truthy(failure_of(query(w, "q", "large")).message:find("payload_bytes_max", 1, true))
    assert.equal("LNT_ELIMIT", select(3, query(w, "q", "large", ("x"):rep(5000))))
    assert.equal("RUNNING", w:status("q"))
  end, { limits = { payload_bytes_max = 1000 } })

  case("may be asked with a function that is given the answer", COUNTER, function(w)
    w:run("counter", { id = "c", input = 10 })
    local answers = {}
    for i = 1, 3 do
      w:raise("c", "add", i)
      assert.is_true((query(w, "c", "sum", nil, { done = function(value) answers[i] = value end })))
    end
    w:settle()
    for i, least in ipairs({ 1, 3, 6 }) do assert.is_true(answers[i] >= least and answers[i] <= 6) end
  end, { ways = { "kept", "evicted" } }) -- who asked is gone with the runtime
end)

local CART = [[
activity("reserve", function(item)
  if item == "unicorn" then error({ type = "OutOfStock", message = "no unicorns" }) end
  return "reserved " .. item
end)
workflow("cart", function(ctx, limit)
  local items, closed = {}, false
  ctx:on_query("items", function() return items end)
  ctx:on_update("add", {
    validate = function(item)
      if type(item) ~= "string" then return false, "an item is a text" end
      if #items >= limit then return false, "the cart is full" end
      if item == "strange" then error("never heard of it") end
    end,
    handle = function(item)
      items[#items + 1] = item
      return #items
    end,
  })
  ctx:on_update("reserve", function(item)
    local reservation = ctx:call_activity("reserve", item)
    ctx:create_timer(5)
    items[#items + 1] = item
    return reservation
  end)
  ctx:on_update("close", function() closed = true return "closed" end)
  while not closed do
    ctx:wait_for_external_event("tick")
  end
  return items
end)
]]

describe("an update", function()
  case("changes the instance and answers", CART, function(w)
    w:run("cart", { id = "c", input = 3 })
    assert.equal(1, update(w, "c", "add", "apple"))
    assert.equal(2, update(w, "c", "add", "pear"))
    w:settle()
    assert.same({ "apple", "pear" }, (query(w, "c", "items")))
    assert.equal("closed", update(w, "c", "close"))
    w:raise("c", "tick")
    w:settle()
    assert.same({ "apple", "pear" }, w:output("c"))
    assert.same({ 3, 3 }, { #w:events("c", "UpdateAccepted"), #w:events("c", "UpdateAnswered") })
  end)

  case("that its validator rejects leaves no trace", CART, function(w)
    w:run("cart", { id = "c", input = 1 })
    local before = w:get("c", { json = true })
    for _, row in ipairs({ { 7, "UpdateRejected", "an item is a text" }, { "strange", "Error", "never heard of it" } }) do
      local failure = failure_of(update(w, "c", "add", row[1]))
      assert.equal(row[2], failure.type)
      assert.truthy(failure.message:find(row[3], 1, true), failure.message)
    end
    w:settle()
    assert.same(before, w:get("c", { json = true }))
    assert.equal(1, update(w, "c", "add", "apple"))
    assert.truthy(failure_of(update(w, "c", "add", "pear")).message:find("the cart is full", 1, true))
  end)

  case("whose handler fails gives its failure to who asked, and the instance goes on", CART, function(w)
    w:run("cart", { id = "c", input = 3 })
    assert.equal("OutOfStock", failure_of(update(w, "c", "reserve", "unicorn")).type)
    assert.equal(1, update(w, "c", "add", "apple"))
    assert.equal("RUNNING", w:status("c"))
    assert.equal(2, #w:events("c", "UpdateAnswered"))
  end)

  case("that is unknown says which there are", CART, function(w)
    w:run("cart", { id = "c", input = 3 })
    local failure = failure_of(update(w, "c", "ad", "x"))
    assert.equal("UnknownUpdate", failure.type)
    assert.truthy(failure.message:find("add", 1, true))
    assert.equal(0, #w:events("c", "UpdateAccepted"))
  end)

  case("may wait and call activities, and is answered when it is done", CART, function(w)
    w:run("cart", { id = "c", input = 3 })
    local answer
    update(w, "c", "reserve", "apple", { id = "u1", done = function(value) answer = value end })
    w:settle()
    assert.is_nil(answer)
    w:advance(5)
    if w.way == "reopened" then answer = update(w, "c", "reserve", "apple", { id = "u1" }) end -- who asked is gone: ask again
    assert.equal("reserved apple", answer)
    assert.same({ "apple" }, (query(w, "c", "items")))
    assert.equal(1, #w:events("c", "UpdateAccepted"))
  end)

  case("with an id that was given before is not carried out again, and has the same answer", CART, function(w)
    w:run("cart", { id = "c", input = 5 })
    for _ = 1, 3 do
      assert.equal(1, update(w, "c", "add", "apple", { id = "u1" }))
      w:settle()
    end
    assert.equal(2, update(w, "c", "add", "pear", { id = "u2" }))
    assert.equal(1, update(w, "c", "add", "apple", { id = "u1" }))
    assert.equal("OutOfStock", failure_of(update(w, "c", "reserve", "unicorn", { id = "u3" })).type)
    assert.equal("OutOfStock", failure_of(update(w, "c", "reserve", "unicorn", { id = "u3" })).type)
    assert.same({ "apple", "pear" }, (query(w, "c", "items")))
    assert.equal(3, #w:events("c", "UpdateAccepted"))
  end)

  case("with the same id, asked twice in one tick, is carried out once and answered twice", CART, function(w)
    w:run("cart", { id = "c", input = 5 })
    local answers = {}
    for i = 1, 2 do update(w, "c", "reserve", "apple", { id = "u", done = function(value) answers[i] = value end }) end
    w:advance(5)
    assert.same({ "reserved apple", "reserved apple" }, answers)
    assert.equal(1, #w:events("c", "UpdateAccepted"))
  end, { ways = { "kept", "evicted" } })

  case("in the tick of the start waits for the handler to be there", CART, function(w)
    w:start("cart", { id = "c", input = 3 })
    assert.equal(1, update(w, "c", "add", "apple"))
    assert.equal("RUNNING", w:status("c"))
  end)

  case("of a suspended instance waits until it goes on", CART, function(w)
    w:run("cart", { id = "c", input = 3 })
    w:suspend("c")
    w:settle()
    local answer
    update(w, "c", "add", "apple", { done = function(value) answer = value end })
    w:settle()
    assert.is_nil(answer)
    w:resume("c")
    w:settle()
    assert.equal(1, answer)
  end, { ways = { "kept", "evicted" } }) -- who asked is gone with the process

  case("without an id has one of its own, also after a restart with the same seed", CART, function(w)
    w:run("cart", { id = "c", input = 9 })
    for i = 1, 3 do
      assert.equal(i, update(w, "c", "add", "thing " .. i))
      w:settle()
      w:reopen()
    end
    local ids, count = {}, 0
    for _, event in ipairs(w:events("c", "UpdateAccepted")) do
      count = count + (ids[event.id] and 0 or 1)
      ids[event.id] = true
    end
    assert.equal(3, count)
  end, { disk = true, alike = false }) -- the ids follow from what ran before an opening

  local DIARY = [[
    workflow("diary", function(ctx, pages)
      local log = pages or {}
      ctx:on_query("log", function() return log end)
      ctx:on_update("write", {
        validate = function(word) if #log > 0 and log[#log] == word then return false, "that was said" end end,
        handle = function(word)
          log[#log + 1] = word
          return #log
        end,
      })
      while true do
        local word = ctx:wait_for_external_event("word")
        log[#log + 1] = word
        if word == "turn" then ctx:continue_as_new(log) end
        if word == "end" then return log end
      end
    end)]]

  -- Asks, with an id, and remembers the answer in `answers` if the process lives on.
  local function write(w, answers, id, word)
    return update(w, "d", "write", word, { id = id, done = function(value, _, _, failure)
      answers[id] = failure and failure.type or value
    end })
  end

  case("of a suspended instance comes in its order among the events, also after a crash", DIARY, function(w)
    local answers = {}
    w:run("diary", { id = "d" })
    w:suspend("d")
    w:raise("d", "word", "one")
    write(w, answers, "u2", "two")
    w:settle()
    w:raise("d", "word", "three")
    w:settle()
    write(w, answers, "u4", "four")
    write(w, answers, "u2", "two") -- asked again: not carried out again
    w:raise("d", "word", "five")
    w:settle()
    assert.same({}, (query(w, "d", "log")))
    w:resume("d")
    w:settle()
    assert.same({ "one", "two", "three", "four", "five" }, (query(w, "d", "log")))
    assert.same({ 2, 4 }, { update(w, "d", "write", "two", { id = "u2" }), update(w, "d", "write", "four", { id = "u4" }) })
    if w.way ~= "reopened" then assert.same({ u2 = 2, u4 = 4 }, answers) end
    assert.same({ 2, 0, 2 }, { #w:events("d", "UpdateRequested"), #w:events("d", "UpdateAccepted"), #w:events("d", "UpdateAnswered") })
  end)

  case("that was asked for before the pause, in the same tick, comes before what came after", DIARY, function(w)
    w:run("diary", { id = "d" })
    write(w, {}, "u1", "one")
    w:suspend("d")
    w:raise("d", "word", "two")
    w:settle()
    w:resume("d")
    w:settle()
    assert.same({ "one", "two" }, (query(w, "d", "log")))
  end)

  case("of a suspended instance is validated when its turn comes, and may be asked again", DIARY, function(w)
    local answers = {}
    w:run("diary", { id = "d" })
    w:suspend("d")
    w:raise("d", "word", "one")
    write(w, answers, "u1", "one")
    w:raise("d", "word", "two")
    write(w, answers, "u2", "one")
    w:settle()
    w:resume("d")
    w:settle()
    assert.same({ "one", "two", "one" }, (query(w, "d", "log")))
    local refused = w:events("d", "UpdateRejected")
    assert.same({ 1, "u1", "UpdateRejected", "that was said" },
      { #refused, refused[1].id, refused[1].options.type, refused[1].options.message })
    if w.way ~= "reopened" then assert.same({ u1 = "UpdateRejected", u2 = 3 }, answers) end
    w:raise("d", "word", "three")
    w:settle()
    assert.equal(5, update(w, "d", "write", "one", { id = "u1" }))
    assert.equal(5, update(w, "d", "write", "one", { id = "u1" }))
    w:suspend("d")
    assert.equal(5, update(w, "d", "write", "one", { id = "u1" })) -- it was answered: a pause changes nothing
    w:resume("d")
    w:settle()
    assert.equal(5, #query(w, "d", "log"))
  end)

  case("that gathered goes over to the next generation with what came after it", DIARY, function(w)
    local answers = {}
    w:run("diary", { id = "d" })
    w:suspend("d")
    w:raise("d", "word", "turn")
    write(w, answers, "u1", "over")
    w:raise("d", "word", "done")
    w:settle()
    w:resume("d")
    w:settle()
    assert.equal(2, w:get("d").generation)
    assert.same({ "turn", "over", "done" }, (query(w, "d", "log")))
    if w.way ~= "reopened" then assert.same({ u1 = 2 }, answers) end
  end)

  case("that gathered is told when the instance ends before its turn", DIARY, function(w)
    local answers = {}
    w:run("diary", { id = "d" })
    w:suspend("d")
    w:raise("d", "word", "end")
    write(w, answers, "u1", "late")
    w:settle()
    w:resume("d")
    w:settle()
    assert.same({ "end" }, w:output("d"))
    assert.equal("LNT_ECLOSED", select(3, update(w, "d", "write", "late", { id = "u1" })))
    if w.way ~= "reopened" then assert.same({ u1 = "UpdateAbandoned" }, answers) end
  end)

  case("of an instance that starts later comes in its order among the events", DIARY, function(w)
    local answers = {}
    w:run("diary", { id = "d", start_at_us = w.now_us + 60e6 })
    w:raise("d", "word", "one")
    write(w, answers, "u1", "two")
    w:settle()
    w:raise("d", "word", "three")
    w:advance(61)
    assert.same({ "one", "two", "three" }, (query(w, "d", "log")))
    if w.way ~= "reopened" then assert.same({ u1 = 2 }, answers) end
  end)

  case("that gathered goes into a copy of the instance", DIARY, function(w)
    w:run("diary", { id = "d" })
    w:suspend("d")
    w:raise("d", "word", "one")
    write(w, {}, "u1", "one")
    write(w, {}, "u2", "two")
    w:settle()
    w:fork("d", { new_id = "copy" })
    w:settle()
    assert.same({ "one", "two" }, (query(w, "copy", "log")))
    w:resume("d")
    w:settle()
    assert.same({ "one", "two" }, (query(w, "d", "log")))
    w:fork("d", { new_id = "later" })
    w:settle()
    assert.same({ "one", "two" }, (query(w, "later", "log")))
  end)

  case("of what has ended is refused, or answered with what was recorded", CART, function(w)
    w:run("cart", { id = "c", input = 3 })
    assert.equal(1, update(w, "c", "add", "apple", { id = "u1" }))
    update(w, "c", "close")
    w:raise("c", "tick")
    w:settle()
    assert.equal("COMPLETED", w:status("c"))
    assert.equal("LNT_ECLOSED", select(3, update(w, "c", "add", "pear")))
    assert.equal(1, update(w, "c", "add", "apple", { id = "u1" }))
    assert.equal("LNT_ENOTFOUND", select(3, update(w, "nobody", "add", "pear")))
  end)

  case("keeps a workflow that has returned until it is answered", [[
    workflow("returns", function(ctx)
      ctx:on_update("slow", function()
        ctx:create_timer(10)
        return "answered"
      end)
      ctx:wait_for_external_event("go")
      return "returned"
    end)]], function(w)
    w:run("returns", { id = "r" })
    update(w, "r", "slow", nil, { id = "u", done = function() end })
    w:settle()
    w:raise("r", "go")
    w:advance(5)
    assert.equal("RUNNING", w:status("r"))
    w:advance(5)
    assert.equal("returned", w:output("r"))
    assert.equal("answered", update(w, "r", "slow", nil, { id = "u" }))
  end)

  for _, row in ipairs({
    { "fails", function(w) w:raise("r", "go", "fail") end }, { "is canceled", function(w) w:cancel("r") end },
    { "is terminated", function(w) w:terminate("r") end }, { "continues as new", function(w) w:raise("r", "go", "new") end },
  }) do
    case("that runs when the workflow " .. row[1] .. " is answered with a failure", [[
      workflow("ends", function(ctx, again)
        ctx:on_update("slow", function() ctx:create_timer("1h") end)
        local how = ctx:wait_for_external_event("go")
        if how == "new" then ctx:continue_as_new(true) end
        error("as told")
      end)]], function(w)
      w:run("ends", { id = "r" })
      local failure
      update(w, "r", "slow", nil, { id = "u", done = function(_, _, _, why) failure = why or "none" end })
      w:settle()
      assert.is_nil(failure)
      row[2](w)
      w:settle()
      assert.is_true(failure.type == "UpdateAbandoned" or failure.type == "Canceled", failure.type)
    end, { ways = { "kept", "evicted" } })
  end

  case("can be awaited before the workflow continues as new", [[
    workflow("loop", function(ctx, state)
      local sum = state.sum
      ctx:on_update("add", function(n)
        ctx:create_timer(1)
        sum = sum + n
        return sum
      end)
      ctx:wait_for_external_event("go")
      local before = ctx:all_handlers_finished()
      ctx:wait_for_handlers()
      if state.generation == 3 then return { sum = sum, waited = not before } end
      ctx:continue_as_new({ sum = sum, generation = state.generation + 1 })
    end)]], function(w)
    w:run("loop", { id = "l", input = { sum = 0, generation = 1 } })
    for generation = 1, 3 do
      update(w, "l", "add", generation, { done = function() end })
      w:settle()
      w:raise("l", "go")
      w:settle()
      w:advance(1)
    end
    assert.same({ sum = 6, waited = true }, w:output("l"))
  end)

  case("comes in order with events, and each is seen once", [[
    workflow("ledger", function(ctx)
      local entries = {}
      ctx:on_update("enter", function(n)
        entries[#entries + 1] = "u" .. n
        return #entries
      end)
      repeat
        local n = ctx:wait_for_external_event("enter")
        entries[#entries + 1] = "e" .. n
      until n == 20
      return entries
    end)]], function(w)
    w:run("ledger", { id = "l" })
    for n = 1, 20 do
      assert.equal(2 * n - 1, update(w, "l", "enter", n))
      w:raise("l", "enter", n)
      w:settle()
    end
    local wanted = {}
    for n = 1, 20 do
      wanted[#wanted + 1] = "u" .. n
      wanted[#wanted + 1] = "e" .. n
    end
    assert.same(wanted, w:output("l"))
  end)

  case("cannot be validated by what would move the instance", [[
    workflow("bad", function(ctx)
      ctx:on_update("add", { validate = function() ctx:create_timer(1) end, handle = function() return 1 end })
      ctx:wait_for_external_event("go")
    end)]], function(w)
    w:run("bad", { id = "b" })
    local failure = failure_of(update(w, "b", "add"))
    assert.equal("ValidatorNotReadOnly", failure.type)
    assert.equal(0, #w:events("b", "UpdateAccepted"))
    assert.equal("RUNNING", w:status("b"))
  end)

  case("with an id or a payload that cannot be is refused", CART, function(w)
    w:run("cart", { id = "c", input = 3 })
    assert.equal("LNT_EINVAL", select(3, update(w, "c", "add", "x", { id = ("u"):rep(129) })))
    assert.equal("LNT_EINVAL", select(3, update(w, "c", "", "x")))
    assert.equal("LNT_ELIMIT", select(3, update(w, "c", "add", ("x"):rep(5000))))
    assert.equal("LNT_EVALUE", select(3, update(w, "c", "add", print)))
    assert.equal(0, #w:events("c", "UpdateAccepted"))
  end, { limits = { payload_bytes_max = 1000 } })

  for _, row in ipairs({ { "on_query('x')", "function" }, { "on_query('', print)", "name" }, { "on_update('x', {})", "handle" },
    { "on_update('x', { handle = print, validat = print })", "validat" }, { "on_update('x', 7)", "number" } }) do
    case("or a query that is registered wrongly is a mistake at the author's line: " .. row[1],
      ("workflow('bad', function(ctx)\n  ctx:%s\nend)"):format(row[1]), function(w)
        w:run("bad", { id = "b" })
        local message = w:failure("b").message
        assert.truthy(message:find("case.lua:2:", 1, true), message)
        assert.truthy(message:find(row[2], 1, true), message)
      end)
  end
end)
