/* generate.c - random workflows as Lua text. Called by main.c.
 *
 * Every statement appends what it learned to the local `out`, which the workflow returns: an answer that is lost, doubled or swapped
 * shows. What is where (world.c: what happens to the instances from outside):
 *
 *   activities, retry policies, final types         activity_step, compensated; final by the error itself: ENDS
 *   all timeouts, total time of retries             call_text (start to close), pulse_step (heartbeat), out_of_time
 *   heartbeat details, answers by token, pure       pulse_step, later_step, pure_chain
 *   stable idempotency keys, early and late answers world.c: remember(), answer(), answer_outside()
 *   when_all, when_any, nesting, fail_fast, losers  fan_out, race, nested_lists, decided_early
 *   branches, map, scopes, shields, cancellation    branches, mapped, fast_map, scoped, shielded, canceled_branch, endless_branch,
 *                                                   scope_with_timeout, cancel_at_a_time
 *   events: buffered, first in first out, timeouts  wait_step, wait_with_timeout, event_back, race
 *   raise_event, to others and to itself            talk, note_to_self
 *   queries, updates, custom status, streams        workflow() and world.c: ask_around(); update_step, status, emit_step
 *   children: id, retry, timeout, parent close      child_step, children_at_once, child_let_go, child_abandoned, child_in_a_race
 *   detached starts                                 detached
 *   timers: long, absolute, past, canceled          timer_step, give_up
 *   now, dates, history length, draws, pairs        note_time, value_text, choice, over_pairs
 *   continue_as_new, events that go over            next_generation, the workflow "kid"
 *   side effects, attributes, patches               side_effect, attributes, patched
 *   saga, approval, retry, parallel, json           saga_step, approval_step, retried_block, in_parallel, in_a_race
 *   mistakes                                        mistake
 *   suspend, resume, cancel, terminate, start time  world.c: plan()
 *   fork, rerun, retry, purge                       world.c: fork_all(), purge_all()
 *
 * Not here: limits of concurrency and rate and the host's clock, which are the driver's; limits, whose place depends on turns; code
 * that changes. The conformance spec has them. */
#include <stdio.h>

#include "sim.h"

typedef struct gen {
  sim_program *program;
  lnt__buf *out;
  lnt__rng rng;
  int workflow, indent, depth, budget, labels;
  int times;       /* how often the statement under way may run: the loops around it */
  bool concurrent; /* inside a branch: other branches run between its steps */
} gen;

static int below(gen *g, int bound) { return (int)lnt__rng_below(&g->rng, (uint64_t)bound); }

#define LINE(g, ...)                                                                                                       \
  (lnt__buf_printf((g)->out, "%*s", 2 * (g)->indent, ""), lnt__buf_printf((g)->out, __VA_ARGS__), lnt__buf_u8((g)->out, '\n'))

/* ---- Expressions ---- */

/* Draws are numbered: in untimed programs only the main branch may draw, for there the order never changes. */
static bool may_draw(const gen *g) { return g->program->timed || !g->concurrent; }

static void value_text(gen *g, char *text, size_t size) {
  int n = below(g, 1000);
  if (below(g, 9) == 0) { /* about as large as what stands in a record may be */
    snprintf(text, size, "string.rep(\"v\", %d) .. #out", LNT__INLINE_BYTES_MAX - 500 + n);
    return;
  }
  switch (below(g, may_draw(g) ? 12 : 8)) {
    case 0: snprintf(text, size, "%d", n); break;
    case 1: snprintf(text, size, "\"s%d\"", n); break;
    case 2: snprintf(text, size, "{ k = %d, zeta = \"x\", [7] = true, a = { b = %d } }", n, n / 7); break;
    case 3: snprintf(text, size, "out[#out]"); break;
    case 4: snprintf(text, size, "#out"); break;
    case 5: snprintf(text, size, "{ %d, #out, { a = {} } }", n); break;
    case 6: snprintf(text, size, "%d.%d", n, n % 97 + 1); break;
    case 7: snprintf(text, size, "string.format(\"%%08.3f|%%s\", %d / 7, #out)", n); break;
    case 8: snprintf(text, size, "ctx:random(%d)", n + 1); break;
    case 9: snprintf(text, size, "math.random(%d)", n + 1); break;
    case 10: snprintf(text, size, "ctx:uuid()"); break;
    default: snprintf(text, size, g->program->timed ? "{ at = ctx:now(), day = os.time() }" : "math.random()"); break;
  }
}

static void duration_text(gen *g, char *text, size_t size) {
  int pick = below(g, 8);
  if (pick == 0) snprintf(text, size, "%d", 35 + below(g, 60));
  else if (pick < 4) snprintf(text, size, "\"%dms\"", 1 + below(g, 3000));
  else snprintf(text, size, "%d.%03d", below(g, 5), below(g, 1000));
}

/* The call after "ctx:" or "ctx.async:". Only those that succeed, however late. */
static void call_text(gen *g, char *text, size_t size) {
  char value[160];
  value_text(g, value, sizeof value);
  switch (below(g, g->program->timed ? 6 : 8)) {
    case 0:
      snprintf(text, size, "call_activity(\"flaky\", %s, { retry = { max_attempts = 3, interval = \"150ms\", backoff = 2, %s } })",
               value, below(g, 2) ? "max_interval = 0.2" : "timeout = 5");
      break;
    case 1: snprintf(text, size, "call_activity(\"slow\", %s)", value); break;
    case 2: snprintf(text, size, "call_activity(\"big\", %s, { timeout = \"90s\" })", value); break;
    case 6:
    case 7:
      snprintf(text, size, "call_activity(\"hang\", %s, { timeout = \"6s\", retry = { max_attempts = 3, interval = 0.1 } })", value);
      break;
    default: snprintf(text, size, "call_activity(\"echo\", %s)", value); break;
  }
}

/* A new event name, and the promise that it will be raised often enough (in timed programs perhaps not, or too late, or too early). */
static void event_name(gen *g, char name[SIM_NAME_BYTES]) {
  sim_program *p = g->program;
  snprintf(name, SIM_NAME_BYTES, "ev%d", ++g->labels);
  if (p->wait_count == SIM_WAITS_MAX) return;
  sim_wait *wait = &p->waits[p->wait_count++];
  wait->workflow = g->workflow;
  wait->count = g->times + (p->timed ? below(g, 3) - (below(g, 8) == 0) : 0);
  memcpy(wait->name, name, SIM_NAME_BYTES);
}

/* ---- Statements ---- */

static void block(gen *g, int count);

static void activity_step(gen *g) {
  char call[400];
  call_text(g, call, sizeof call);
  LINE(g, "out[#out + 1] = ctx:%s", call);
}

static void fan_out(gen *g) {
  char call[400];
  call_text(g, call, sizeof call);
  LINE(g, "local tasks = {}");
  LINE(g, "for i = 1, %d do tasks[i] = ctx.async:call_activity(\"echo\", { i, \"f%d\" }) end", below(g, 5), ++g->labels);
  LINE(g, "tasks[#tasks + 1] = ctx.async:%s", call);
  LINE(g, "out[#out + 1] = ctx:when_all(tasks)");
}

static void branches(gen *g) {
  int count = 1 + below(g, 3);
  bool outer = g->concurrent;
  g->concurrent = true;
  LINE(g, "local branches = {}");
  for (int i = 0; i < count; i++) {
    LINE(g, "branches[%d] = ctx:spawn(function(x)", i + 1);
    g->indent++;
    LINE(g, "local out = { x }");
    block(g, 1 + below(g, 3));
    if (below(g, 12) == 0) LINE(g, "error({ type = \"BranchQuit\", message = \"branch %d\" })", i);
    LINE(g, "return out");
    g->indent--;
    LINE(g, "end, %d)", i * 10);
  }
  g->concurrent = outer;
  LINE(g, "local ok, got = pcall(function() return ctx:when_all(branches) end)");
  LINE(g, "out[#out + 1] = ok and got or why(got)");
}

static void timer_step(gen *g) {
  char duration[40];
  duration_text(g, duration, sizeof duration);
  switch (below(g, 6)) {
    case 0: LINE(g, "ctx:create_timer({ at = 1 })"); break; /* long past */
    case 1: LINE(g, g->program->timed ? "ctx:sleep({ at = math.floor(ctx:now()) + 2 })" : "ctx:sleep(0)"); break;
    default: LINE(g, "ctx:create_timer(%s)", duration); break;
  }
}

static void wait_step(gen *g) {
  char name[SIM_NAME_BYTES];
  event_name(g, name);
  if (below(g, 4) == 0) name[0] = 'E'; /* the case of a name does not count */
  LINE(g, "out[#out + 1] = ctx:wait_for_external_event(\"%s\")", name);
}

/* How a block may end: most ways are failures. */
static const char *const ENDS[] = {
    "error(\"plain words\")",
    "error({ type = \"Quit\", message = \"enough\", details = { 1, 2 } })",
    "ctx:call_activity(\"bad\", #out)",
    "ctx:call_activity(\"final\", #out, { retry = { max_attempts = 4, interval = 0.2 } })",
    "ctx:call_activity(\"bad\", 1, { retry = { max_attempts = 4, interval = 0.2, non_retryable = { \"Bad\" } } })",
    "local x = out.nothing.more",
    "ctx:call_activity(\"flaky\", #out, { retry = { max_attempts = 2, interval = \"50ms\" } })",
    "out[#out + 1] = \"fine\""};

static void compensated(gen *g) {
  LINE(g, "local ok, e = pcall(function()");
  g->indent++;
  block(g, 1 + below(g, 2));
  LINE(g, "%s", ENDS[below(g, (int)LNT__COUNT(ENDS))]);
  g->indent--;
  LINE(g, "end)");
  LINE(g, "if not ok then out[#out + 1] = why(e); out[#out + 1] = ctx:call_activity(\"undo\", why(e)) end");
}

static void loop(gen *g) {
  int count = 1 + below(g, 3), outer = g->times;
  g->times *= count;
  LINE(g, "for i = 1, %d do", count);
  g->indent++;
  LINE(g, "out[#out + 1] = ctx:call_activity(\"echo\", { loop = i, at = #out })");
  block(g, 1);
  g->indent--;
  LINE(g, "end");
  g->times = outer;
}

static void choice(gen *g) {
  static const char *const drawn[] = {"ctx:random(2) == 1", "math.random() < 0.5", "ctx:uuid() < \"8\"", "math.random(3) > 1"};
  LINE(g, "if %s then", may_draw(g) ? drawn[below(g, 4)] : "#out % 2 == 0");
  g->indent++;
  block(g, 1);
  g->indent--;
  LINE(g, "else");
  g->indent++;
  block(g, 1);
  g->indent--;
  LINE(g, "end");
}

static void over_pairs(gen *g) {
  LINE(g, "for k, v in pairs({ beta = 1, alpha = 2, [10] = 3, [-2] = 4, gamma%d = 5 }) do", below(g, 100));
  g->indent++;
  if (below(g, 2)) LINE(g, "out[#out + 1] = ctx:call_activity(\"echo\", { k, v })");
  else LINE(g, "out[#out + 1] = tostring(k) .. \"=\" .. v");
  g->indent--;
  LINE(g, "end");
}

static void status(gen *g) {
  int n = below(g, 5);
  if (n == 4) LINE(g, "ctx:set_custom_status({ step = #out, long = string.rep(\"s\", %d) })", LNT__INLINE_BYTES_MAX - 500 + below(g, 1000));
  else LINE(g, "ctx:set_custom_status({ step = #out, label = \"l%d\" })", n);
}

static void helper(gen *g) { LINE(g, "out[#out + 1] = helper(ctx, #out, %d)", below(g, 3)); }

static void give_up(gen *g) {
  char name[SIM_NAME_BYTES];
  snprintf(name, sizeof name, "never%d", ++g->labels);
  LINE(g, "local timer = ctx.async:create_timer(\"%d%c\")", 2 + below(g, 9), below(g, 2) ? 'h' : 'w');
  LINE(g, "local wait = ctx.async:wait_for_external_event(\"%s\", { timeout = \"2h\" })", name);
  LINE(g, "out[#out + 1] = ctx:call_activity(\"echo\", tostring(timer:done()))");
  LINE(g, "timer:cancel()");
  LINE(g, "wait:cancel()");
  LINE(g, "out[#out + 1] = { wait:done(), select(2, pcall(wait.await, wait)).type }");
}

/* ---- Scopes and cancellation ---- */

/* The lines of a function that ends with `out`. */
static void body_of(gen *g, int count, bool concurrent) {
  bool outer = g->concurrent;
  g->concurrent = outer || concurrent;
  g->indent++;
  LINE(g, "local out = {}");
  block(g, count);
  LINE(g, "return out");
  g->indent--;
  g->concurrent = outer;
}

/* A wait that nothing ends but a cancel. */
static void endless_text(gen *g, char *text, size_t size) {
  int n = ++g->labels, hours = 2 + below(g, 9);
  switch (below(g, 5)) {
    case 0: snprintf(text, size, "ctx:wait_for_external_event(\"never%d\")", n); break;
    case 1: snprintf(text, size, "ctx:when_all({ ctx.async:create_timer(\"2h\"), ctx.async:create_timer(\"%dh\") })", hours); break;
    case 2: snprintf(text, size, "ctx:scope(function() ctx.async:create_timer(\"9h\"); ctx:create_timer(\"%dh\") end)", hours); break;
    case 3: snprintf(text, size, "ctx:map({ 1, 2, 3 }, function() ctx:create_timer(\"%dh\") end, { concurrency = 2 })", hours); break;
    default: snprintf(text, size, "ctx:create_timer(\"%dh\")", hours); break;
  }
}

/* A branch that waits for ever, and cleans up when it is canceled. */
static void endless_branch(gen *g, const char *name) {
  char wait[200];
  endless_text(g, wait, sizeof wait);
  LINE(g, "%s = ctx:spawn(function()", name);
  LINE(g, "  local ok, e = pcall(function() %s end)", wait);
  if (below(g, 2)) LINE(g, "  ctx:call_activity(\"undo\", why(e))");
  if (below(g, 3) == 0) LINE(g, "  ctx:shield(function() ctx:call_activity(\"echo\", { why(e) }) end)");
  LINE(g, below(g, 3) ? "  error(e)" : "  return ok");
  LINE(g, "end)");
}

static void scoped(gen *g) {
  LINE(g, "local kept = {}");
  LINE(g, "local ok, got = pcall(ctx.scope, ctx, function(scope)");
  g->indent++;
  LINE(g, "kept[1] = ctx.async:create_timer(\"3h\")");
  LINE(g, "kept[2] = ctx.async:wait_for_external_event(\"never%d\")", ++g->labels);
  endless_branch(g, "kept[3]");
  LINE(g, "ctx:call_activity(\"echo\", 0)"); /* the branch has begun: what follows need not wait */
  g->indent--;
  body_of(g, 1 + below(g, 2), false);
  LINE(g, below(g, 3) ? "end)" : "end, { timeout = \"2h\" })");
  LINE(g, "out[#out + 1] = { ok and got or why(got), kept[1]:state(), kept[2]:state(), kept[3]:state() }");
}

static void shielded(gen *g) {
  LINE(g, "out[#out + 1] = ctx:shield(function()");
  body_of(g, 1 + below(g, 2), false);
  LINE(g, "end)");
}

static void mapped(gen *g) {
  int items = below(g, 5);
  LINE(g, "local list = {}");
  LINE(g, "for i = 1, %d do list[i] = { i * 10 } end", items);
  LINE(g, "local ok, got = pcall(ctx.map, ctx, list, function(item, i)");
  if (g->program->timed) body_of(g, 1, true);
  else LINE(g, "  return ctx:call_activity(%s, { i, item })", below(g, 2) ? "\"echo\"" : "i % 2 == 0 and \"bad\" or \"echo\"");
  LINE(g, "end, { concurrency = %d })", 1 + below(g, 3));
  LINE(g, "out[#out + 1] = ok and got or why(got)");
}

static void canceled_branch(gen *g) {
  LINE(g, "local branch");
  endless_branch(g, "branch");
  LINE(g, "out[#out + 1] = ctx:call_activity(\"echo\", #out)");
  LINE(g, "branch:cancel(\"enough\")");
  if (below(g, 2)) LINE(g, "branch:cancel(\"again\")");
  LINE(g, "local ok, got = pcall(branch.await, branch)");
  LINE(g, "out[#out + 1] = { ok and got or why(got), branch:state() }");
}

/* One task is over some time, and decides. */
static void decided_early(gen *g) {
  char call[400];
  bool any = below(g, 2), fails = !any || below(g, 3) == 0;
  call_text(g, call, sizeof call);
  LINE(g, "local tasks = { ctx.async:create_timer(\"3h\"), ctx.async:%s,", fails ? "call_activity(\"bad\", 0)" : call);
  LINE(g, "  ctx.async:wait_for_external_event(\"never%d\") }", ++g->labels);
  if (below(g, 2)) endless_branch(g, "tasks[4]");
  LINE(g, "local ok, i, got = pcall(ctx.when_%s = true })",
       any ? "any, ctx, tasks, { cancel_losers" : "all, ctx, tasks, { fail_fast");
  LINE(g, "for _, task in ipairs(tasks) do pcall(task.await, task) end");
  LINE(g, "out[#out + 1] = { ok, ok and got or why(i), ok and i or i.index or 0, tasks[1]:state(), tasks[2]:state(), tasks[3]:state() }");
}

/* ---- Statements whose result is a matter of time ---- */

static void scope_with_timeout(gen *g) {
  char duration[40];
  duration_text(g, duration, sizeof duration);
  LINE(g, "local ok, got = pcall(ctx.scope, ctx, function(scope)");
  g->indent++;
  LINE(g, "ctx:spawn(function()");
  body_of(g, 1, true);
  LINE(g, "end)");
  if (below(g, 4) == 0) LINE(g, "ctx:spawn(function() ctx:create_timer(%d); scope:cancel(\"from inside\") end)", 1 + below(g, 4));
  g->indent--;
  body_of(g, 1 + below(g, 2), true);
  LINE(g, "end, { timeout = %s })", duration);
  LINE(g, "out[#out + 1] = ok and got or why(got)");
}

static void cancel_at_a_time(gen *g) {
  char duration[40];
  duration_text(g, duration, sizeof duration);
  LINE(g, "local branch = ctx:spawn(function()");
  if (below(g, 3) == 0) {
    LINE(g, "  return ctx:shield(function()");
    g->indent++;
    body_of(g, 1, true);
    g->indent--;
    LINE(g, "  end)");
  } else body_of(g, 1 + below(g, 2), true);
  LINE(g, "end)");
  LINE(g, "ctx:create_timer(%s)", duration);
  LINE(g, "branch:cancel()");
  LINE(g, "local ok, got = pcall(branch.await, branch)");
  LINE(g, "out[#out + 1] = { ok and got or why(got), branch:state() }");
}

static void fast_map(gen *g) {
  LINE(g, "local ok, got = pcall(ctx.map, ctx, { 4, 2, 5, 1 }, function(item, i)");
  LINE(g, "  ctx:create_timer(item / %d)", 1 + below(g, 5));
  LINE(g, "  return ctx:call_activity(item == %d and \"bad\" or \"slow\", { i, item })", below(g, 6));
  LINE(g, "end, { concurrency = %d, fail_fast = true })", 1 + below(g, 4));
  LINE(g, "out[#out + 1] = ok and got or why(got)");
}

/* Events that came for waits that are given up: to the next who waits, or kept. */
static void event_back(gen *g) {
  char duration[40], name[SIM_NAME_BYTES];
  duration_text(g, duration, sizeof duration);
  g->times *= 2;
  event_name(g, name);
  g->times /= 2;
  LINE(g, "local a, b = ctx.async:wait_for_external_event(\"%s\"), ctx.async:wait_for_external_event(\"%s\")", name, name);
  if (below(g, 2)) LINE(g, "local c = ctx:spawn(function() return ctx:wait_for_external_event(\"%s\", { timeout = 4 }) end)", name);
  else LINE(g, "local c");
  LINE(g, "ctx:create_timer(%s)", duration);
  LINE(g, "a:cancel()");
  if (below(g, 2)) LINE(g, "b:cancel()");
  LINE(g, "local ok, got = pcall(function() return c and c:await() or ctx:wait_for_external_event(\"%s\", { timeout = 3 }) end)", name);
  LINE(g, "out[#out + 1] = { ok and got or why(got), a:state(), b:state() }");
}

static void race(gen *g) {
  char call[400], duration[40], name[SIM_NAME_BYTES];
  call_text(g, call, sizeof call);
  duration_text(g, duration, sizeof duration);
  event_name(g, name);
  LINE(g, "local racers = { ctx.async:%s }", call);
  LINE(g, "racers[2] = ctx.async:create_timer(%s)", duration);
  LINE(g, "racers[3] = ctx.async:wait_for_external_event(\"%s\")", name);
  if (below(g, 3) == 0)
    LINE(g, "racers[4] = ctx.async:when_all({ ctx.async:call_activity(\"echo\", 1), ctx.async:call_activity(\"echo\", 2) })");
  LINE(g, "out[#out + 1] = { ctx:when_any(racers) }");
  if (below(g, 2)) LINE(g, "for _, racer in ipairs(racers) do racer:cancel() end");
  else LINE(g, "out[#out + 1] = racers[2]:done()");
}

static void wait_with_timeout(gen *g) {
  char duration[40], name[SIM_NAME_BYTES];
  duration_text(g, duration, sizeof duration);
  event_name(g, name);
  LINE(g, "local ok, got = pcall(function() return ctx:wait_for_external_event(\"%s\", { timeout = %s }) end)", name, duration);
  LINE(g, "out[#out + 1] = ok and { got } or why(got)");
}

static void note_time(gen *g) {
  LINE(g, "out[#out + 1] = { ctx:now(), ctx:current_utc_datetime(), os.date(\"!%%c\"), ctx:history_length() }");
}

static void loose_branch(gen *g) {
  LINE(g, "ctx:spawn(function() ctx:create_timer(0.3); ctx:set_custom_status(ctx:call_activity(\"echo\", \"loose\").n) end)");
}

/* ---- Other instances ---- */

static const char KID[] =
    "workflow(\"kid\", function(ctx, job)\n"
    "  if job.waits then ctx:wait_for_external_event(\"never\") end\n"
    "  local out = { job.n, ctx:call_activity(\"echo\", { \"kid\", job.n }) }\n"
    "  local first = not ctx.instance_id:find(\"~\", 1, true)\n"
    "  if job.fails == \"always\" or (job.fails and first) then error({ type = \"KidFailed\", message = \"kid \" .. job.n }) end\n"
    "  if job.tell then ctx:raise_event(job.tell, job.name, { \"from a kid\", job.n }) end\n"
    "  if job.again then\n"
    "    job.again = job.again > 1 and job.again - 1 or nil\n"
    "    job.n = job.n + 1\n"
    "    ctx:raise_event(ctx.instance_id, \"kept\", job.n)\n"
    "    if job.kept then job.kept[#job.kept + 1] = ctx:wait_for_external_event(\"kept\") else job.kept = {} end\n"
    "    ctx:continue_as_new(job)\n"
    "  end\n"
    "  if job.kept then out[#out + 1] = { job.kept, ctx:wait_for_external_event(\"kept\") } end\n"
    "  if job.deep then\n"
    "    local deeper = { n = job.n + 1, deep = job.deep > 1 and job.deep - 1 or nil }\n"
    "    out[#out + 1] = ctx:call_child_workflow(\"kid\", deeper)\n"
    "  end\n"
    "  return out\n"
    "end)\n\n";

/* An id for a kid. Default ones have the number of the command, which is not fixed among the branches of untimed programs. */
static void kid_id(gen *g, char *text, size_t size) {
  if (may_draw(g) && below(g, 2)) text[0] = 0;
  else snprintf(text, size, ", id = ctx.instance_id .. \"-k%d-\" .. round .. \"-\" .. #out", ++g->labels);
}

static void job_text(gen *g, char *text, size_t size) {
  int n = ++g->labels;
  switch (below(g, 5)) {
    case 0: snprintf(text, size, "{ n = %d, again = %d }", n, 1 + below(g, 2)); break;
    case 1: snprintf(text, size, "{ n = %d, deep = %d }", n, 1 + below(g, 2)); break;
    case 2: snprintf(text, size, "{ n = %d, fails = \"%s\" }", n, below(g, 2) ? "once" : "always"); break;
    default: snprintf(text, size, "{ n = %d }", n); break;
  }
}

static void child_step(gen *g) {
  char job[80], id[80], retry[80] = "";
  job_text(g, job, sizeof job);
  kid_id(g, id, sizeof id);
  if (below(g, 2)) snprintf(retry, sizeof retry, ", retry = { max_attempts = 3, interval = \"%dms\" }", below(g, 900));
  LINE(g, "local ok, got = pcall(ctx.call_child_workflow, ctx, \"kid\", %s, { timeout = \"2h\"%s%s })", job, id, retry);
  LINE(g, "out[#out + 1] = ok and got or why(got)");
}

static void children_at_once(gen *g) {
  int count = 1 + below(g, 4);
  LINE(g, "local kids = {}");
  for (int i = 0; i < count; i++) {
    char job[80], id[80];
    job_text(g, job, sizeof job);
    kid_id(g, id, sizeof id);
    LINE(g, "kids[%d] = ctx.async:call_child_workflow(\"kid\", %s, { retry = { interval = 0.2 }%s })", i + 1, job, id);
  }
  LINE(g, "local ok, got = pcall(ctx.when_all, ctx, kids)");
  LINE(g, "out[#out + 1] = ok and got or why(got)");
}

/* A kid that never ends is let go: the activity before lets it have its first turn. */
static void child_let_go(gen *g) {
  static const char *const policies[] = {"", ", on_parent_close = \"cancel\""};
  char id[80];
  kid_id(g, id, sizeof id);
  LINE(g, "local kid = ctx.async:call_child_workflow(\"kid\", { n = 0, waits = true }, { timeout = \"3h\"%s%s })", policies[below(g, 2)],
       id);
  LINE(g, "out[#out + 1] = ctx:call_activity(\"echo\", #out)");
  LINE(g, "kid:cancel()");
  LINE(g, "out[#out + 1] = why(select(2, pcall(kid.await, kid)))");
}

static void talk(gen *g) {
  char id[80], name[SIM_NAME_BYTES];
  kid_id(g, id, sizeof id);
  snprintf(name, sizeof name, "talk%d", ++g->labels);
  LINE(g, "local kid = ctx.async:call_child_workflow(\"kid\", { n = %d, tell = ctx.instance_id, name = \"%s\" }, { timeout = \"2h\"%s })",
       g->labels, name, id);
  LINE(g, "out[#out + 1] = { ctx:wait_for_external_event(\"%s\"), kid:await() }", name);
}

/* Or one whose id is taken. */
static void detached(gen *g) {
  char id[80];
  kid_id(g, id, sizeof id);
  if (below(g, 5) == 0) snprintf(id, sizeof id, ", id = ctx.instance_id");
  LINE(g, "local ok, got = pcall(ctx.start_workflow, ctx, \"kid\", { n = %d }, {%s })", ++g->labels, id[0] ? id + 1 : "");
  LINE(g, "out[#out + 1] = ok and got or why(got)");
}

static void note_to_self(gen *g) {
  char name[SIM_NAME_BYTES];
  snprintf(name, sizeof name, "self%d", ++g->labels);
  for (int i = below(g, 2); i >= 0; i--) LINE(g, "ctx:raise_event(ctx.instance_id, \"%s\", { #out, %d })", name, i);
  LINE(g, "out[#out + 1] = ctx:wait_for_external_event(\"%s\")", name);
  LINE(g, "local ok, e = pcall(ctx.raise_event, ctx, \"nobody\", \"%s\")", name);
  LINE(g, "out[#out + 1] = ok or why(e)");
}

static void child_in_a_race(gen *g) {
  char job[80], duration[40];
  job_text(g, job, sizeof job);
  duration_text(g, duration, sizeof duration);
  LINE(g, "local ok, got = pcall(ctx.call_child_workflow, ctx, \"kid\", %s, { timeout = %s, retry = { interval = \"70ms\" } })", job,
       duration);
  LINE(g, "out[#out + 1] = ok and got or { got.type, got.child }");
}

/* ---- What instances tell, and are asked ---- */

static void emit_step(gen *g) {
  char value[160];
  value_text(g, value, sizeof value);
  LINE(g, "ctx:emit(\"stream%d\", %s)", below(g, 3), value);
}

static void side_effect(gen *g) {
  static const char *const draws[] = {"ctx:random(1000)", "math.random()", "ctx:uuid()"};
  char value[160];
  value_text(g, value, sizeof value);
  const char *drawn = may_draw(g) ? draws[below(g, 3)] : "0";
  LINE(g, "out[#out + 1] = ctx:side_effect(function() return { %s, %s } end)", value, drawn);
  if (below(g, 4)) return;
  LINE(g, "local ok, e = pcall(ctx.side_effect, ctx, function() error({ type = \"Odd\", message = \"effect %d\" }) end)", ++g->labels);
  LINE(g, "out[#out + 1] = ok or why(e)");
}

static void attributes(gen *g) {
  int n = below(g, 10);
  LINE(g, "ctx:set_attributes({ a%d = %d, text = \"t\", even = %s })", n, n * n, n % 2 ? "false" : "true");
  if (below(g, 3) == 0) LINE(g, "ctx:remove_attributes(\"a%d\")", n);
  else if (!g->concurrent) LINE(g, "out[#out + 1] = ctx:attributes().a%d", n);
}

/* The workflow waits for each of its updates, so that all are carried out, once. Only where that is sure: not in what may be canceled, be
 * passed over or run again. */
static void update_step(gen *g) {
  sim_program *p = g->program;
  if (p->timed || g->concurrent || g->depth > 1 || g->times > 1 || p->update_count == SIM_UPDATES_MAX) {
    activity_step(g);
    return;
  }
  sim_wait *update = &p->updates[p->update_count++];
  update->workflow = g->workflow;
  update->count = 1 + below(g, 3);
  snprintf(update->name, sizeof update->name, "up%d", ++g->labels);
  LINE(g, "ctx:on_update(\"%s\", { validate = function(x) if x[1] > 9 then return false end end, handle = function(x)", update->name);
  LINE(g, "  local got = ctx:call_activity(\"echo\", { \"%s\", x })", update->name);
  if (below(g, 2)) LINE(g, "  ctx:create_timer(%d)", below(g, 4));
  if (below(g, 3) == 0) LINE(g, "  ctx:spawn(function() pcall(ctx.create_timer, ctx, \"9h\"); ctx:call_activity(\"undo\", x) end)");
  LINE(g, "  ctx:raise_event(ctx.instance_id, \"%s\", { x[1] + 1, got })", update->name);
  LINE(g, below(g, 4) ? "  return { got }" : "  error({ type = \"Refused\", message = \"late\" })");
  LINE(g, "end })");
  LINE(g, "local got = {}");
  LINE(g, "for i = 1, %d do local e = ctx:wait_for_external_event(\"%s\"); got[e[1]] = e[2] end", update->count, update->name);
  LINE(g, "ctx:wait_for_handlers()");
  LINE(g, "out[#out + 1] = { got, ctx:all_handlers_finished() }");
}

/* At the end of some workflows: once more from the start, with what was not taken. */
static void next_generation(gen *g) {
  LINE(g, "if type(input) ~= \"table\" or not input.round then ctx:continue_as_new({ round = 2, before = #out }) end");
}

/* ---- The standard library ---- */

/* Steps that are undone when something fails after them, or when all around is canceled. */
static void saga_step(gen *g) {
  static const char *const options[] = {"", ", { parallel = true }", ", { retry = { max_attempts = 2, interval = 0.1 } }"};
  int steps = 1 + below(g, 3);
  LINE(g, "local ok, got = pcall(saga.run, ctx, function(s)");
  g->indent++;
  LINE(g, "local out = {}");
  for (int i = 0; i < steps; i++) {
    const char *undo = below(g, 4) ? "undo" : "bad";
    LINE(g, "out[#out + 1] = s:step(\"step %d\", function() return ctx:call_activity(\"echo\", { %d, #out }) end, function(r)", i, i);
    LINE(g, "  ctx:call_activity(\"%s\", { %d, r.d }) end)", undo, i);
    if (below(g, 3) == 0) LINE(g, "s:defer(function(e) ctx:create_timer(0.1); ctx:call_activity(\"undo\", { why(e), %d }) end)", i);
    if (below(g, 2)) block(g, 1);
    if (below(g, 6) == 0) LINE(g, "s:commit()");
  }
  LINE(g, "%s", ENDS[below(g, (int)LNT__COUNT(ENDS))]);
  LINE(g, "return out");
  g->indent--;
  LINE(g, "end%s)", options[below(g, (int)LNT__COUNT(options))]);
  LINE(g, "out[#out + 1] = ok and got or why(got)");
}

/* Somebody says yes or no, after something that is no answer; in timed programs perhaps too late, and those who decide are reminded. */
static void approval_step(gen *g) {
  char name[SIM_NAME_BYTES], duration[40];
  bool quorum = below(g, 3) == 0, yes = below(g, 3) > 0;
  snprintf(name, sizeof name, "ask%d", ++g->labels);
  LINE(g, "local people = ctx:spawn(function()");
  if (g->program->timed) {
    duration_text(g, duration, sizeof duration);
    LINE(g, "  ctx:create_timer(%s)", duration);
  }
  LINE(g, "  ctx:raise_event(ctx.instance_id, \"%s\", %s)", name, below(g, 2) ? "\"what?\"" : "{ approved = 1 }");
  LINE(g, "  ctx:raise_event(ctx.instance_id, \"%s\", { approved = true, by = \"Ada\" })", name);
  if (below(g, 2)) LINE(g, "  ctx:raise_event(ctx.instance_id, \"%s\", { approved = true, by = \"Ada\", comments = \"again\" })", name);
  LINE(g, "  ctx:raise_event(ctx.instance_id, \"%s\", { approved = %s, by = \"Bob\" })", name, yes ? "true" : "false");
  LINE(g, "end)");
  LINE(g, "local ok, got = pcall(approval.ask, ctx, { event = \"%s\", request = #out, notify = \"echo\",%s%s", name,
       quorum ? " quorum = 2, approvers = { \"Ada\", \"Bob\" }," : "", below(g, 4) ? "" : " on_invalid = \"raise\",");
  if (g->program->timed) {
    duration_text(g, duration, sizeof duration);
    LINE(g, "  timeout = %s, remind = { every = 0.7, max = 2 }, escalate = { after = 1.1, to = \"undo\" }, on_timeout = \"%s\",", duration,
         below(g, 2) ? "raise" : "approve");
  }
  LINE(g, "})");
  LINE(g, "people:await()");
  LINE(g, "out[#out + 1] = ok and got or why(got)");
}

/* A block that is tried again. */
static void retried_block(gen *g) {
  int good = 1 + below(g, 4);
  LINE(g, "local ok, got = pcall(retry.run, ctx, { max_attempts = 3, interval = 0.1, backoff = 2, max_interval = 0.3%s }, function(n)",
       may_draw(g) && below(g, 2) ? ", jitter = 0.5" : "");
  g->indent++;
  LINE(g, "local out = { n, ctx.async:create_timer(\"5h\") and 1 }");
  if (below(g, 2)) LINE(g, "out[#out + 1] = ctx:call_activity(\"echo\", { \"try\", n })");
  LINE(g, "if n < %d then %s end", good, ENDS[below(g, (int)LNT__COUNT(ENDS) - 1)]);
  LINE(g, "return out");
  g->indent--;
  LINE(g, "end)");
  LINE(g, "out[#out + 1] = ok and got or why(got)");
}

/* All of them, one way or the other. */
static void in_parallel(gen *g) {
  const char *name = below(g, 3) ? "echo" : "bad";
  switch (below(g, 3)) {
    case 0:
      LINE(g, "local got = parallel.all(ctx, { a = function() return ctx:call_activity(\"%s\", #out) end,", name);
      LINE(g, "  b = function() ctx:create_timer(0.2); return ctx:call_activity(\"echo\", 2) end, [3] = function() return 3 end },");
      LINE(g, "  { settle = true, concurrency = %d })", 1 + below(g, 3));
      LINE(g, "got = { got.b, got[3], got.a.ok and got.a.value or why(got.a.failure) }");
      break;
    case 1:
      LINE(g, "local got = parallel.map(ctx, { 1, 2, 3, 4 }, function(x, i)");
      LINE(g, "  return ctx:call_activity(i == %d and \"%s\" or \"echo\", { x, i }) end, { settle = true })", 1 + below(g, 4), name);
      LINE(g, "for i, each in ipairs(got) do got[i] = each.ok and each.value or why(each.failure) end");
      break;
    default:
      LINE(g, "local got = { parallel.any(ctx, { function() %s end,",
           g->program->timed ? "ctx:call_activity(\"bad\", 1)" : "ctx:wait_for_external_event(\"never\")");
      LINE(g, "  function() return ctx:call_activity(\"echo\", 2) end, function() ctx:create_timer(\"3h\") end }) }");
  }
  LINE(g, "out[#out + 1] = json.decode(json.encode(got))");
}

/* The first of them, whichever that is. */
static void in_a_race(gen *g) {
  char call[400], duration[40];
  call_text(g, call, sizeof call);
  duration_text(g, duration, sizeof duration);
  LINE(g, "local ok, got, who = pcall(parallel.%s, ctx, { a = function() return ctx:%s end,", below(g, 2) ? "race" : "any", call);
  LINE(g, "  b = function() ctx:create_timer(%s); %s end, c = function() ctx:create_timer(1.5); return 3 end })", duration,
       ENDS[below(g, (int)LNT__COUNT(ENDS))]);
  LINE(g, "out[#out + 1] = ok and { got, who } or why(got)");
}

/* ---- Smaller things ---- */

static void patched(gen *g) {
  int n = ++g->labels;
  LINE(g, "if ctx:is_patched(\"patch%d\") then out[#out + 1] = ctx:call_activity(\"echo\", \"new\") end", n);
  LINE(g, "out[#out + 1] = ctx:is_patched(\"patch%d\")", n);
}

/* Mistakes are made, and caught. */
static void mistake(gen *g) {
  static const char *const mistakes[] = {
      "ctx:call_activity(\"echo\", print)", "ctx:call_activity(\"echo\", 1, { tiemout = 1 })", "ctx:create_timer(\"soon\")",
      "ctx:map({ a = 1 }, print)", "ctx:when_any({})", "ctx:emit(\"\")", "ctx:nothing()", "saga.run(ctx)",
      "ctx:call_child_workflow(\"kid\", 1, { retry = { interval = 1, first_interval = 1 } })"};
  LINE(g, "local ok, e = pcall(function() return %s end)", mistakes[below(g, (int)LNT__COUNT(mistakes))]);
  LINE(g, "out[#out + 1] = { ok, why(e), e.field }");
}

/* Lists of lists, and lists of nothing. */
static void nested_lists(gen *g) {
  LINE(g, "local a = ctx.async:when_all({ ctx.async:call_activity(\"echo\", 1), ctx.async:create_timer(0.1) })");
  LINE(g, "local b = ctx.async:when_any({ ctx.async:when_all({ ctx.async:call_activity(\"echo\", #out) }),");
  LINE(g, "  ctx.async:create_timer(\"4h\") }, { cancel_losers = true })");
  LINE(g, "out[#out + 1] = { ctx:when_all({ a, b, ctx.async:when_all({}) }), #ctx:when_all({}) }");
}

/* Left alone when nobody waits for it any more; it ends by itself. */
static void child_abandoned(gen *g) {
  char id[80];
  kid_id(g, id, sizeof id);
  LINE(g, "local kid = ctx.async:call_child_workflow(\"kid\", { n = %d, deep = 1 }, { on_parent_close = \"abandon\"%s })", ++g->labels, id);
  LINE(g, "out[#out + 1] = ctx:call_activity(\"echo\", #out)");
  LINE(g, g->program->timed && below(g, 2) ? "kid:cancel()" : "out[#out + 1] = kid:await()");
}

/* ---- Attempts of activities ---- */

/* Its attempts are answered from outside, whatever becomes of the process; some are never answered. */
static void later_step(gen *g) {
  char value[160];
  value_text(g, value, sizeof value);
  LINE(g, "out[#out + 1] = ctx:call_activity(\"later\", %s, { timeout = \"20s\", retry = { max_attempts = 3, interval = 0.2 } })", value);
}

/* Its attempts tell how far they are; some fall silent. */
static void pulse_step(gen *g) {
  char value[160];
  value_text(g, value, sizeof value);
  LINE(g, "out[#out + 1] = ctx:call_activity(\"pulse\", %s, { heartbeat = 2.5, retry = { max_attempts = 3, interval = 0.1 } })", value);
}

/* Steps without side effects, which share commits with each other and with what is around them. */
static void pure_chain(gen *g) {
  char value[160];
  value_text(g, value, sizeof value);
  LINE(g, "for i = 1, %d do out[#out + 1] = ctx:call_activity(\"pure\", { i, %s }) end", 1 + below(g, 5), value);
  if (below(g, 2)) LINE(g, "out[#out + 1] = ctx:call_activity(\"pure_flaky\", #out, { retry = { max_attempts = 3, interval = 0.05 } })");
}

/* No attempt succeeds: nobody begins it, nobody answers, or all fail until the time for delays is used up. */
static void out_of_time(gen *g) {
  static const char *const calls[] = {
      "ctx:call_activity(\"starved\", %s, { schedule_to_start = 3 })",
      "ctx:call_activity(\"never\", %s, { schedule_to_close = 5 })",
      "ctx:call_activity(\"stubborn\", %s, { retry = { max_attempts = 50, interval = 0.1, backoff = 2, timeout = 1 } })"};
  char value[160], call[400];
  value_text(g, value, sizeof value);
  const char *text = calls[below(g, 3)], *at = strchr(text, '%');
  snprintf(call, sizeof call, "%.*s%s%s", (int)(at - text), text, value, at + 2);
  LINE(g, "local ok, e = pcall(function() return %s end)", call);
  LINE(g, "out[#out + 1] = { ok, why(e), type(e.details) == \"table\" and e.details.timeout }");
}

static void (*const STATEMENTS[])(gen *g) = {activity_step, activity_step, fan_out, branches, timer_step, wait_step, compensated, loop,
                                             choice, over_pairs, status, helper, give_up, activity_step,
                                             scoped, shielded, mapped, canceled_branch, decided_early,
                                             child_step, children_at_once, child_let_go, talk, detached, note_to_self,
                                             emit_step, side_effect, attributes, update_step,
                                             pulse_step, out_of_time, later_step, pure_chain,
                                             saga_step, approval_step, retried_block, in_parallel,
                                             patched, mistake, nested_lists, child_abandoned,
                                             /* timed only: */ race, race, wait_with_timeout, wait_with_timeout, note_time, loose_branch,
                                             scope_with_timeout, cancel_at_a_time, fast_map, event_back,
                                             child_in_a_race, in_a_race};
enum { UNTIMED_ONLY = 29, UNTIMED_STATEMENTS = 41 }; /* the two at UNTIMED_ONLY hang on when a process dies */

static void put(gen *g, void (*make)(gen *)) {
  LINE(g, "do");
  g->indent++;
  g->depth++;
  make(g);
  g->depth--;
  g->indent--;
  LINE(g, "end");
}

static void statement(gen *g) {
  size_t count = g->program->timed ? LNT__COUNT(STATEMENTS) : UNTIMED_STATEMENTS;
  int pick = below(g, (int)count);
  if (g->program->timed && (pick == UNTIMED_ONLY || pick == UNTIMED_ONLY + 1)) pick = UNTIMED_ONLY + 2;
  void (*make)(gen *) = STATEMENTS[pick];
  if (g->depth >= 4 || g->budget <= 0) make = activity_step;
  g->budget--;
  put(g, make);
}

static void block(gen *g, int count) {
  for (int i = 0; i < count; i++) statement(g);
}

static void ending(gen *g) {
  switch (below(g, 16)) {
    case 0: LINE(g, "error(\"the end\")"); break;
    case 1: LINE(g, "ctx:call_activity(\"bad\", \"last\")"); break;
    case 2: LINE(g, "error({ type = \"TheEnd\", message = \"quit on purpose\" })"); break;
    default: break;
  }
  LINE(g, "return out");
}

static void workflow(gen *g) {
  bool again = below(g, 5) == 0;
  g->times = 1 + again;
  g->budget = 4 + below(g, 10);
  LINE(g, "workflow(\"w%d\", function(ctx, input)", g->workflow);
  g->indent++;
  LINE(g, "local out, round = { input }, type(input) == \"table\" and input.round or 1");
  LINE(g, "ctx:on_query(\"size\", function(x) return { #out, x } end)");
  block(g, 1 + below(g, 5));
  if (!g->program->timed && !again && below(g, 2)) put(g, update_step); /* few of the others are where one may be */
  if (again) next_generation(g);
  ending(g);
  g->indent--;
  LINE(g, "end)\n");
}

void sim_generate(uint64_t seed, sim_program *program) {
  gen g = {.program = program, .out = &program->source};
  memset(program, 0, sizeof *program);
  lnt__buf_init(&program->source);
  lnt__rng_seed(&g.rng, seed);
  program->seed = seed;
  program->queried = true;
  program->timed = below(&g, 3) > 0;
  program->workflows = 1 + below(&g, SIM_INSTANCES_MAX);
  LINE(&g, "local saga, approval, retry = require \"saga\", require \"approval\", require \"retry\"");
  LINE(&g, "local parallel, json = require \"parallel\", require \"json\"\n");
  LINE(&g, "local function why(e)");
  LINE(&g, "  if type(e) == \"table\" then return tostring(e.type) .. \": \" .. tostring(e.message) end");
  LINE(&g, "  return tostring(e)\nend\n");
  LINE(&g, "local function helper(ctx, x, n)");
  LINE(&g, "  if n == 0 then return ctx:call_activity(\"echo\", { deep = x }).d end");
  LINE(&g, "  return helper(ctx, x + 1, n - 1) + 1\nend\n");
  LINE(&g, "%s", KID);
  for (g.workflow = 0; g.workflow < program->workflows; g.workflow++) workflow(&g);
}
