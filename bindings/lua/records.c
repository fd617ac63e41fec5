/* records.c - what a Lua host reads: get, list, count, history, workflows, stats, and the observer. Tables come out; times are numbers of
 * microseconds. With `{json = true}` the values in them come as JSON text, which keeps what Lua tables cannot tell apart. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "binding.h"

/* ---- Tables ---- */

static void set_text(lua_State *L, const char *name, const char *text) {
  if (!text) return;
  lua_pushstring(L, text);
  lua_setfield(L, -2, name);
}

static void set_number(lua_State *L, const char *name, double number) {
  lua_pushnumber(L, number);
  lua_setfield(L, -2, name);
}

static void set_value(lua_State *L, const char *name, lnt_value value, bool json) {
  if (!value.size) return;
  lnt__binding_push_value(L, value, json);
  lua_setfield(L, -2, name);
}

static void push_instance(lua_State *L, const lnt_instance *instance, bool json) {
  lua_createtable(L, 0, 17);
  set_text(L, "id", instance->id);
  set_text(L, "workflow", instance->workflow);
  set_text(L, "code_hash", instance->code_hash);
  set_number(L, "run", (double)instance->run);
  set_number(L, "generation", (double)instance->generation);
  if (instance->parent_run) set_number(L, "parent_run", (double)instance->parent_run);
  set_text(L, "parent", instance->parent);
  set_text(L, "status", lnt_run_status_name(instance->status));
  set_number(L, "created_us", (double)instance->created_us);
  set_number(L, "updated_us", (double)instance->updated_us);
  if (instance->start_at_us) set_number(L, "start_at_us", (double)instance->start_at_us);
  if (instance->closed_us) set_number(L, "closed_us", (double)instance->closed_us);
  set_number(L, "history_events", (double)instance->history_events);
  set_number(L, "history_bytes", (double)instance->history_bytes);
  set_value(L, "input", instance->input, json);
  set_value(L, "output", instance->output, json);
  set_value(L, "failure", instance->failure, json);
  set_value(L, "custom_status", instance->custom_status, json);
  set_value(L, "attributes", instance->attributes, json);
}

void lnt__binding_push_event(lua_State *L, const lnt_event *event, bool json) {
  lua_createtable(L, 0, 12);
  set_number(L, "index", (double)event->index);
  set_text(L, "kind", lnt_event_kind_name(event->kind));
  set_number(L, "time_us", (double)event->time_us);
  if (event->seq) set_number(L, "seq", event->seq);
  if (event->attempt) set_number(L, "attempt", event->attempt);
  if (event->due_us) set_number(L, "due_us", (double)event->due_us);
  set_text(L, "name", event->name);
  set_value(L, "value", event->value, json);
  set_text(L, "detail", event->detail);
  set_text(L, "id", event->id);
  set_value(L, "options", event->options, json);
  set_text(L, "idempotency_key", event->idempotency_key);
}

static bool wants_json(lua_State *L, int index) {
  if (!lua_istable(L, index)) return false;
  lua_getfield(L, index, "json");
  bool json = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return json;
}

/* ---- Collecting what a C callback is given ----
 * The callback runs inside a read of the store, so no Lua error may leave it: each row is added by a protected call of a function that was
 * pushed before. An error is kept on the stack and raised when the read is over. */

typedef struct collector {
  lua_State *L;
  int adder; /* stack index of add_row; the table follows it */
  bool json;
  bool failed; /* the error is on the top of the stack */
  const lnt_instance *instance;
  const lnt_event *event;
  const char *name, *file, *hash;
} collector;

static int add_row(lua_State *L) {
  collector *c = lua_touserdata(L, 2);
  if (c->instance) {
    push_instance(L, c->instance, c->json);
  } else if (c->event) {
    lnt__binding_push_event(L, c->event, c->json);
  } else {
    lua_createtable(L, 0, 3);
    set_text(L, "name", c->name);
    set_text(L, "file", c->file);
    set_text(L, "hash", c->hash);
  }
  lua_rawseti(L, 1, (int)lua_objlen(L, 1) + 1);
  return 0;
}

static void begin(lua_State *L, collector *c, bool json) {
  lua_pushcfunction(L, add_row);
  lua_newtable(L);
  *c = (collector){.L = L, .adder = lua_gettop(L) - 1, .json = json};
}

static int collect(collector *c) {
  lua_pushvalue(c->L, c->adder);
  lua_pushvalue(c->L, c->adder + 1);
  lua_pushlightuserdata(c->L, c);
  c->failed = lua_pcall(c->L, 2, 0, 0) != 0;
  return c->failed;
}

/* The table goes to the top, or the failure, or the error is raised. Answers how many results there are. */
static int end(lua_State *L, collector *c, lnt_status status, const lnt_error *err) {
  if (c->failed) return lua_error(L);
  if (status) return lnt__binding_failed(L, status, err);
  lua_pushvalue(L, c->adder + 1);
  return 1;
}

static int on_instance(void *user, const lnt_instance *instance) {
  collector *c = user;
  c->instance = instance;
  return collect(c);
}

static int on_event(void *user, const lnt_event *event) {
  collector *c = user;
  c->event = event;
  return collect(c);
}

static void on_workflow(void *user, const char *name, const char *file, const char *hash) {
  collector *c = user;
  c->name = name, c->file = file, c->hash = hash;
  if (!c->failed) collect(c);
}

/* Field `run` of the options at `index`; 0: none. */
static uint64_t run_option(lua_State *L, int index) {
  if (!lua_istable(L, index)) return 0;
  lua_getfield(L, index, "run");
  double run = lua_isnil(L, -1) ? 0 : lua_isnumber(L, -1) ? lua_tonumber(L, -1) : -1;
  luaL_argcheck(L, run >= 0 && run < 0x1p53 && run == (double)(uint64_t)run, index, "run must be the number of a run");
  lua_pop(L, 1);
  return (uint64_t)run;
}

/* ---- get ---- */

typedef struct get_job {
  lnt_instance *instance;
  bool json;
} get_job;

static int push_got(lua_State *L) {
  get_job *job = lua_touserdata(L, 1);
  push_instance(L, job->instance, job->json);
  return 1;
}

/* rt:get(id, {json =, run =}) -> instance */
static int runtime_get(lua_State *L) {
  lnt__binding *self = lnt__binding_check(L, 1);
  const char *id = luaL_checkstring(L, 2);
  get_job job = {NULL, wants_json(L, 3)};
  uint64_t run = run_option(L, 3);
  lua_pushcfunction(L, push_got);
  lnt_error err = {LNT_OK, ""};
  lua_State *outer = lnt__binding_enter(self, L);
  lnt_status status = lnt_get_run(self->rt, id, run, &job.instance, &err);
  lnt__binding_leave(self, outer);
  if (status) return lnt__binding_failed(L, status, &err);
  lua_pushlightuserdata(L, &job);
  int failed = lua_pcall(L, 1, 1, 0);
  lnt_free(job.instance);
  return failed ? lua_error(L) : 1;
}

/* ---- list ---- */

static const char *const status_names[] = {
#define LNT__X(name, number, text) #name,
    LNT_RUN_STATUS_MAP(LNT__X)
#undef LNT__X
};

static uint32_t status_bit(lua_State *L, const char *name) {
  for (unsigned i = 0; i < sizeof status_names / sizeof *status_names; i++) {
    if (!strcmp(status_names[i], name)) return 1u << i;
  }
  luaL_error(L, "list: there is no status '%s'", name);
  return 0;
}

/* A name, or an array of names, at the top of the stack. */
static uint32_t status_mask(lua_State *L) {
  if (lua_isnil(L, -1)) return 0;
  if (!lua_istable(L, -1)) return status_bit(L, luaL_checkstring(L, -1));
  uint32_t mask = 0;
  for (int i = 1; i <= (int)lua_objlen(L, -1); i++) {
    lua_rawgeti(L, -1, i);
    mask |= status_bit(L, luaL_checkstring(L, -1));
    lua_pop(L, 1);
  }
  return mask;
}

static double number_field(lua_State *L, const char *name) {
  lua_getfield(L, 2, name);
  return luaL_optnumber(L, -1, 0);
}

/* What lnt__binding_push_cursor() wrote, or nil: from the newest. Anything else would begin a list again without a word. */
static lnt_status read_cursor(lua_State *L, uint64_t *out, lnt_error *err) {
  char *end;
  lua_getfield(L, 2, "cursor");
  *out = 0;
  if (lua_isnil(L, -1)) return LNT_OK;
  const char *text = luaL_checkstring(L, -1);
  *out = strtoull(text, &end, 10);
  if (text[0] >= '1' && text[0] <= '9' && !*end) return LNT_OK;
  err->code = LNT_EINVAL;
  snprintf(err->message, sizeof err->message, "'%.40s' is no cursor; it is the `next` of the page before", text);
  return LNT_EINVAL;
}

/* A condition that is spelled wrongly must not widen what is listed, or purged. */
void lnt__binding_check_conditions(lua_State *L) {
  static const char *const known[] = {"status", "workflow", "prefix", "parent", "attributes", "limit", "cursor", "created_from_us",
                                      "created_to_us", "json", "closed_before_us", "recursive", "force", "done"};
  if (!lua_istable(L, 2)) return;
  for (lua_pushnil(L); lua_next(L, 2); lua_pop(L, 1)) {
    bool found = false;
    for (size_t i = 0; lua_type(L, -2) == LUA_TSTRING && i < sizeof known / sizeof *known; i++)
      found = found || strcmp(lua_tostring(L, -2), known[i]) == 0;
    if (found) continue;
    const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : luaL_typename(L, -2);
    luaL_error(L, "unknown condition '%s'; there are status, workflow, prefix, parent, attributes, created_from_us, created_to_us, limit, "
               "cursor, and for a purge closed_before_us, recursive, force, done", name);
  }
}

lnt_status lnt__binding_conditions(lua_State *L, lnt__binding *self, lnt_list_options *options, lnt_error *err) {
  lnt_list_options_init(options);
  if (!lua_istable(L, 2)) return LNT_OK;
  lua_getfield(L, 2, "status");
  options->status_mask = status_mask(L);
  lua_getfield(L, 2, "workflow");
  options->workflow = luaL_optstring(L, -1, NULL);
  lua_getfield(L, 2, "prefix");
  options->id_prefix = luaL_optstring(L, -1, NULL);
  lua_getfield(L, 2, "parent");
  options->parent = luaL_optstring(L, -1, NULL);
  if (read_cursor(L, &options->cursor, err)) return LNT_EINVAL;
  double limit = number_field(L, "limit");
  options->limit = limit > 0 ? (uint32_t)(limit < 1e6 ? limit : 1e6) : 0;
  options->created_from_us = (int64_t)number_field(L, "created_from_us");
  options->created_to_us = (int64_t)number_field(L, "created_to_us");
  lua_getfield(L, 2, "attributes");
  if (lua_isnil(L, -1)) return LNT_OK;
  luaL_checktype(L, -1, LUA_TTABLE);
  return lnt_lua_encode(L, lua_gettop(L), "attributes", self->payload_bytes_max, &options->attributes, err);
}

int lnt__binding_push_cursor(lua_State *L, uint64_t next) {
  char text[24];
  if (!next) return 0;
  snprintf(text, sizeof text, "%llu", (unsigned long long)next);
  lua_pushstring(L, text);
  return 1;
}

/* rt:list({status =, workflow =, prefix =, parent =, attributes =, limit =, cursor =, created_from_us =, created_to_us =, json =})
 * -> instances, next cursor */
static int runtime_list(lua_State *L) {
  lnt__binding *self = lnt__binding_check(L, 1);
  lnt_list_options options;
  lnt_error err = {LNT_OK, ""};
  lnt__binding_check_conditions(L);
  lnt_status status = lnt__binding_conditions(L, self, &options, &err);
  collector c;
  uint64_t next = 0;
  begin(L, &c, wants_json(L, 2));
  if (!status) {
    lua_State *outer = lnt__binding_enter(self, L);
    status = lnt_list(self->rt, &options, on_instance, &c, &next, &err);
    lnt__binding_leave(self, outer);
  }
  lnt_value_free(&options.attributes);
  int results = end(L, &c, status, &err);
  return results == 1 ? 1 + lnt__binding_push_cursor(L, next) : results;
}

/* rt:count({the conditions of rt:list}) -> {total =, RUNNING =, FAILED = ...} */
static int runtime_count(lua_State *L) {
  lnt__binding *self = lnt__binding_check(L, 1);
  lnt_list_options options;
  lnt_counts counts = {.size = sizeof counts};
  lnt_error err = {LNT_OK, ""};
  lnt__binding_check_conditions(L);
  lnt_status status = lnt__binding_conditions(L, self, &options, &err);
  if (!status) status = lnt_count(self->rt, &options, &counts, &err);
  lnt_value_free(&options.attributes);
  if (status) return lnt__binding_failed(L, status, &err);
  lua_newtable(L);
  set_number(L, "total", (double)counts.total);
  for (unsigned i = 0; i < sizeof status_names / sizeof *status_names; i++) {
    if (counts.by_status[i]) set_number(L, status_names[i], (double)counts.by_status[i]);
  }
  return 1;
}

/* ---- history, workflows, stats ---- */

/* rt:history(id, {json =, run =}) -> events */
static int runtime_history(lua_State *L) {
  lnt__binding *self = lnt__binding_check(L, 1);
  const char *id = luaL_checkstring(L, 2);
  uint64_t run = run_option(L, 3);
  collector c;
  begin(L, &c, wants_json(L, 3));
  lnt_error err = {LNT_OK, ""};
  lua_State *outer = lnt__binding_enter(self, L);
  lnt_status status = lnt_history_run(self->rt, id, run, on_event, &c, &err);
  lnt__binding_leave(self, outer);
  return end(L, &c, status, &err);
}

/* rt:workflows() -> {{name =, file =, hash =}, ...} */
static int runtime_workflows(lua_State *L) {
  lnt__binding *self = lnt__binding_check(L, 1);
  collector c;
  begin(L, &c, false);
  lua_State *outer = lnt__binding_enter(self, L);
  lnt_status status = lnt_workflows(self->rt, on_workflow, &c);
  lnt__binding_leave(self, outer);
  return end(L, &c, status, NULL);
}

/* rt:stats() -> {[counter] = number, met = {[limit] = number}} */
static int runtime_stats(lua_State *L) {
  lnt__binding *self = lnt__binding_check(L, 1);
  lnt_stats stats;
  memset(&stats, 0, sizeof stats);
  stats.size = sizeof stats;
  lnt_status status = lnt_get_stats(self->rt, &stats);
  if (status) return lnt__binding_failed(L, status, NULL);
  lua_newtable(L);
#define LNT__X(field, text) set_number(L, #field, (double)stats.field);
  LNT_STATS_MAP(LNT__X)
#undef LNT__X
  lua_newtable(L);
#define LNT__X(field, value, text) set_number(L, #field, (double)stats.met.field);
  LNT_LIMIT_MAP(LNT__X)
#undef LNT__X
  lua_setfield(L, -2, "met");
  return 1;
}

/* ---- The observer ---- */

typedef struct observed {
  lnt__binding *self;
  const char *id;
  lnt_run_status status;
  const lnt_event *event;
} observed;

static int call_observer(lua_State *L) {
  observed *o = lua_touserdata(L, 1);
  if (!lnt__binding_push_env(L, o->self)) return 0;
  lua_getfield(L, -1, "observer");
  if (lua_isnil(L, -1)) return 0;
  lua_pushstring(L, o->id);
  lua_pushstring(L, lnt_run_status_name(o->status));
  lnt__binding_push_event(L, o->event, false);
  lua_call(L, 3, 0);
  return 0;
}

static void on_observed(void *user, const char *id, lnt_run_status status, const lnt_event *event) {
  observed o = {user, id, status, event};
  lnt__binding_callback(user, call_observer, &o, "the observer");
}

/* rt:observe(function(id, status, event) ... end) or rt:observe(nil) */
static int runtime_observe(lua_State *L) {
  lnt__binding *self = lnt__binding_check(L, 1);
  if (!lua_isnoneornil(L, 2)) luaL_checktype(L, 2, LUA_TFUNCTION);
  lua_settop(L, 2);
  lua_getfenv(L, 1);
  lua_pushvalue(L, 2);
  lua_setfield(L, -2, "observer");
  return lnt__binding_answer(L, lnt_observe(self->rt, lua_isnil(L, 2) ? NULL : on_observed, self), NULL);
}

const luaL_Reg lnt__binding_records[] = {
    {"get", runtime_get},         {"list", runtime_list},           {"count", runtime_count}, {"history", runtime_history},
    {"stats", runtime_stats},     {"workflows", runtime_workflows}, {"observe", runtime_observe}, {NULL, NULL},
};
