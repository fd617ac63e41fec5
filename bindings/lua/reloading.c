/* reloading.c - how a Lua host changes code under instances that run: reload, migrate, watch; and asks which code there is. */
#include <stdlib.h>
#include <string.h>

#include "binding.h"

enum { REPORTS_DEFAULT = 100 };

/* What runs in the library and calls back. A record is a userdata of ours, kept under its address in the environment's table `reloads` with
 * its function (or false), the list of instances and, at the end, the summary, until it is forgotten. */
typedef struct reloading {
  lnt__binding *self;
  bool is_done, waited;
  lnt_status status;
  size_t told, limit;
  const lnt_fit_report *report;
  const lnt_reload_summary *summary;
  const lnt_watch_event *event;
  lnt_watcher *watcher;
} reloading;

enum { KEPT_RECORD = 1, KEPT_FUNCTION, KEPT_LIST, KEPT_SUMMARY };

static bool push_kept_table(lua_State *L, lnt__binding *self) {
  if (!lnt__binding_push_env(L, self)) return false;
  lua_getfield(L, -1, "reloads");
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "reloads");
  }
  lua_remove(L, -2);
  return true;
}

/* Make a record with the function at `index` (nil: none), and push it. May raise. */
static reloading *keep(lua_State *L, lnt__binding *self, int index) {
  reloading *call = lua_newuserdata(L, sizeof *call);
  memset(call, 0, sizeof *call);
  call->self = self;
  call->limit = REPORTS_DEFAULT;
  push_kept_table(L, self);
  lua_pushlightuserdata(L, call);
  lua_createtable(L, 4, 0);
  lua_pushvalue(L, -4);
  lua_rawseti(L, -2, KEPT_RECORD);
  if (index && lua_isfunction(L, index)) lua_pushvalue(L, index);
  else lua_pushboolean(L, 0);
  lua_rawseti(L, -2, KEPT_FUNCTION);
  lua_newtable(L);
  lua_rawseti(L, -2, KEPT_LIST);
  lua_rawset(L, -3);
  lua_pop(L, 1);
  return call;
}

/* Push what is kept of a record; false: it was forgotten (nothing pushed). */
static bool push_kept(lua_State *L, const reloading *call) {
  if (!push_kept_table(L, call->self)) return false;
  lua_pushlightuserdata(L, (void *)(uintptr_t)call);
  lua_rawget(L, -2);
  lua_remove(L, -2);
  if (lua_istable(L, -1)) return true;
  lua_pop(L, 1);
  return false;
}

static void forget(lua_State *L, const reloading *call) {
  if (!push_kept_table(L, call->self)) return;
  lua_pushlightuserdata(L, (void *)(uintptr_t)call);
  lua_pushnil(L);
  lua_rawset(L, -3);
  lua_pop(L, 1);
}

/* ---- Tables ---- */

static void set_text(lua_State *L, const char *name, const char *text) {
  if (!text || !*text) return;
  lua_pushstring(L, text);
  lua_setfield(L, -2, name);
}

static void set_number(lua_State *L, const char *name, double number) {
  lua_pushnumber(L, number);
  lua_setfield(L, -2, name);
}

static void set_flag(lua_State *L, const char *name, int flag) {
  lua_pushboolean(L, flag);
  lua_setfield(L, -2, name);
}

static void push_report(lua_State *L, const lnt_fit_report *r) {
  lua_createtable(L, 0, 12);
  set_text(L, "id", r->id);
  set_text(L, "workflow", r->workflow);
  set_text(L, "status", lnt_run_status_name(r->status));
  set_text(L, "fit", lnt_fit_name(r->fit));
  set_flag(L, "moves", r->moves);
  set_text(L, "from_hash", r->from_hash);
  set_text(L, "to_hash", r->to_hash);
  set_number(L, "events", (double)r->events);
  set_text(L, "message", r->message);
  if (r->fit != LNT_FIT_DIVERGES) return;
  if (r->event) set_number(L, "event", (double)r->event);
  if (r->event) set_number(L, "recorded_us", (double)r->recorded_us);
  set_text(L, "recorded", r->recorded);
  set_text(L, "recorded_at", r->recorded_at);
  set_text(L, "made", r->made);
  set_text(L, "made_at", r->made_at);
  set_text(L, "difference", r->difference);
}

void lnt__binding_push_fit(lua_State *L, const lnt_fit_report *report) { push_report(L, report); }

static void push_patches(lua_State *L, const lnt_reload_summary *s) {
  lua_createtable(L, (int)s->patch_count, 0);
  for (size_t i = 0; i < s->patch_count; i++) {
    lua_createtable(L, 0, 3);
    set_text(L, "name", s->patches[i].name);
    set_number(L, "took", (double)s->patches[i].took);
    set_number(L, "passed", (double)s->patches[i].passed);
    lua_rawseti(L, -2, (int)i + 1);
  }
}

static void push_interfaces(lua_State *L, const lnt_reload_summary *s) {
  lua_createtable(L, (int)s->interface_count, 0);
  for (size_t i = 0; i < s->interface_count; i++) {
    const lnt_interface_info *info = &s->interfaces[i];
    lua_createtable(L, 0, 5);
    set_text(L, "activity", info->activity);
    set_text(L, "recorded", info->recorded);
    set_text(L, "now", info->now);
    set_number(L, "recorded_us", (double)info->recorded_us);
    set_number(L, "live", (double)info->live);
    lua_rawseti(L, -2, (int)i + 1);
  }
}

static void push_summary(lua_State *L, const lnt_reload_summary *s) {
  lua_createtable(L, 0, 17);
  set_text(L, "code", s->status ? lnt_status_name(s->status) : NULL);
  set_text(L, "message", s->message);
  set_text(L, "file", s->file);
  set_text(L, "hash", s->hash);
  set_flag(L, "dry_run", s->dry_run);
  set_flag(L, "switched", s->switched);
  set_flag(L, "unchanged", s->unchanged);
  set_number(L, "checked", (double)s->checked);
  set_number(L, "compatible", (double)s->compatible);
  set_number(L, "not_reached", (double)s->not_reached);
  set_number(L, "diverging", (double)s->diverging);
  set_number(L, "unavailable", (double)s->unavailable);
  set_number(L, "busy", (double)s->busy);
  set_number(L, "moved", (double)s->moved);
  set_number(L, "took_us", (double)s->took_us);
  push_patches(L, s);
  lua_setfield(L, -2, "patches");
  push_interfaces(L, s);
  lua_setfield(L, -2, "interfaces");
}

/* ---- reload, migrate ---- */

static int add_report(lua_State *L) {
  reloading *call = lua_touserdata(L, 1);
  if (!push_kept(L, call)) return 0;
  lua_rawgeti(L, -1, KEPT_LIST);
  push_report(L, call->report);
  lua_rawseti(L, -2, (int)lua_objlen(L, -2) + 1);
  return 0;
}

static void on_fit(void *user, const lnt_fit_report *report) {
  reloading *call = user;
  if (++call->told > call->limit) return;
  call->report = report;
  lnt__binding_callback(call->self, add_report, call, "the report of a reload");
}

/* The summary, with the list, stands where it can be found; whoever asked for it is called. */
static int add_summary(lua_State *L) {
  reloading *call = lua_touserdata(L, 1);
  if (!push_kept(L, call)) return 0;
  push_summary(L, call->summary);
  lua_rawgeti(L, -2, KEPT_LIST);
  lua_setfield(L, -2, "instances");
  set_number(L, "more", call->told > call->limit ? (double)(call->told - call->limit) : 0);
  lua_pushvalue(L, -1);
  lua_rawseti(L, -3, KEPT_SUMMARY);
  if (call->waited) return 0;
  lua_rawgeti(L, -2, KEPT_FUNCTION);
  forget(L, call);
  if (!lua_isfunction(L, -1)) return 0;
  lua_pushvalue(L, -2);
  lua_call(L, 1, 0);
  return 0;
}

static void on_done(void *user, const lnt_reload_summary *summary) {
  reloading *call = user;
  call->is_done = true;
  call->status = summary->status;
  call->summary = summary;
  lnt__binding_callback(call->self, add_summary, call, "the function that is given the end of a reload");
}

static int has_ended(void *user) { return ((reloading *)user)->is_done; }

static bool flag_field(lua_State *L, int options, const char *name) {
  lua_getfield(L, options, name);
  bool flag = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return flag;
}

static lnt_reload_policy policy_field(lua_State *L, int options, lnt_reload_policy otherwise) {
  lnt_reload_policy policy = otherwise;
  lua_getfield(L, options, "policy");
  if (!lua_isnil(L, -1) && lnt_reload_policy_parse(lua_tostring(L, -1), &policy))
    luaL_error(L, "policy must be \"pin\", \"adopt\", \"all_or_nothing\" or \"authors\"");
  lua_pop(L, 1);
  return policy;
}

/* A record by the options: it waits where no `done` is given. Pushed. */
static reloading *expect(lua_State *L, lnt__binding *self, int options) {
  lua_getfield(L, options, "done");
  if (!lua_isnil(L, -1)) luaL_checktype(L, -1, LUA_TFUNCTION);
  reloading *call = keep(L, self, lua_gettop(L));
  call->waited = lua_isnil(L, -2);
  lua_getfield(L, options, "limit");
  lua_Number limit = luaL_optnumber(L, -1, REPORTS_DEFAULT);
  call->limit = limit >= 0 && limit < 1e9 ? (size_t)limit : REPORTS_DEFAULT;
  lua_pop(L, 1);
  return call;
}

/* Drive to its end, if it is waited for. Answers with the summary; or nil, message, code and the summary. */
static int answer(lua_State *L, reloading *call, lnt_status status, lnt_error *err) {
  bool begun = status == LNT_OK;
  if (begun && call->waited && !call->is_done) {
    lua_State *outer = lnt__binding_enter(call->self, L);
    status = lnt_drive_until(call->self->rt, has_ended, call, -1, err);
    lnt__binding_leave(call->self, outer);
  }
  if (status || !call->waited) {
    if (!begun) forget(L, call);
    call->waited = false; /* the end may come later */
    return lnt__binding_answer(L, status, err);
  }
  if (!push_kept(L, call)) return luaL_error(L, "not enough memory");
  lua_rawgeti(L, -1, KEPT_SUMMARY);
  forget(L, call);
  if (!call->status) return 1;
  lua_getfield(L, -1, "message");
  lnt_error ended = {.code = call->status};
  const char *message = lua_tostring(L, -1);
  strncpy(ended.message, message ? message : "", sizeof ended.message - 1);
  lua_pop(L, 1);
  lnt__binding_failed(L, call->status, &ended);
  lua_pushvalue(L, -4);
  return 4;
}

static void options_at(lua_State *L, int index) {
  lua_settop(L, index);
  if (lua_isnil(L, index)) {
    lua_newtable(L);
    lua_replace(L, index);
  }
  luaL_checktype(L, index, LUA_TTABLE);
}

/* rt:reload(file, {source =, policy =, dry_run =, now =, limit =, done =}) -> summary; with `done`, true */
static int runtime_reload(lua_State *L) {
  lnt__binding *self = lnt__binding_check(L, 1);
  lnt_reload_options options;
  lnt_error err = {LNT_OK, ""};
  lnt_reload_options_init(&options);
  options.file = luaL_checkstring(L, 2);
  options_at(L, 3);
  options.policy = policy_field(L, 3, LNT_RELOAD_AUTHORS);
  options.dry_run = flag_field(L, 3, "dry_run");
  options.now = flag_field(L, 3, "now");
  lua_getfield(L, 3, "source");
  options.source = luaL_optlstring(L, -1, NULL, &options.source_size);
  options.fn = on_fit;
  options.done = on_done;
  reloading *call = expect(L, self, 3);
  options.user = call;
  lua_State *outer = lnt__binding_enter(self, L);
  lnt_status status = lnt_reload(self->rt, &options, &err);
  lnt__binding_leave(self, outer);
  return answer(L, call, status, &err);
}

/* The texts of the list at the top of the stack, as a userdata that is pushed. */
static const char **read_ids(lua_State *L, size_t *count) {
  luaL_checktype(L, -1, LUA_TTABLE);
  *count = lua_objlen(L, -1);
  const char **ids = lua_newuserdata(L, (*count + 1) * sizeof *ids);
  for (size_t i = 0; i < *count; i++) {
    lua_rawgeti(L, -2, (int)i + 1);
    if (lua_type(L, -1) != LUA_TSTRING) luaL_error(L, "ids must be a list of texts");
    ids[i] = lua_tostring(L, -1);
    lua_pop(L, 1); /* the list keeps it alive */
  }
  return ids;
}

/* rt:migrate({ids =, or the conditions of rt:list; hash =, policy =, dry_run =, now =, limit =, done =}) -> summary; with `done`, true */
static int runtime_migrate(lua_State *L) {
  lnt__binding *self = lnt__binding_check(L, 1);
  lnt_migrate_options options;
  lnt_list_options filter;
  lnt_error err = {LNT_OK, ""};
  luaL_checktype(L, 2, LUA_TTABLE);
  lnt_migrate_options_init(&options);
  lua_settop(L, 2);
  options.policy = policy_field(L, 2, LNT_RELOAD_ADOPT);
  options.dry_run = flag_field(L, 2, "dry_run");
  options.now = flag_field(L, 2, "now");
  lua_getfield(L, 2, "hash");
  options.hash = luaL_optstring(L, -1, NULL);
  lua_getfield(L, 2, "ids");
  if (!lua_isnil(L, -1)) options.ids = read_ids(L, &options.id_count);
  else options.filter = &filter;
  options.fn = on_fit;
  options.done = on_done;
  reloading *call = expect(L, self, 2);
  options.user = call;
  lnt_status status = lnt__binding_conditions(L, self, &filter, &err);
  if (!status) {
    lua_State *outer = lnt__binding_enter(self, L);
    status = lnt_migrate(self->rt, &options, &err);
    lnt__binding_leave(self, outer);
  }
  lnt_value_free(&filter.attributes);
  return answer(L, call, status, &err);
}

/* ---- watch ---- */

static int call_watcher(lua_State *L) {
  reloading *call = lua_touserdata(L, 1);
  const lnt_watch_event *event = call->event;
  if (!push_kept(L, call)) return 0;
  lua_rawgeti(L, -1, KEPT_FUNCTION);
  lua_createtable(L, 0, 5);
  set_text(L, "kind", lnt_watch_kind_name(event->kind));
  set_text(L, "file", event->file);
  set_text(L, "cause", event->cause);
  set_text(L, "message", event->message);
  if (event->instance) push_report(L, event->instance), lua_setfield(L, -2, "instance");
  if (event->summary) push_summary(L, event->summary), lua_setfield(L, -2, "summary");
  lua_call(L, 1, 0);
  return 0;
}

static void on_watched(void *user, const lnt_watch_event *event) {
  reloading *call = user;
  call->event = event;
  lnt__binding_callback(call->self, call_watcher, call, "the function that is told of changed files");
}

/* Upvalues: the runtime, the record. */
static int stop_watching(lua_State *L) {
  const lnt__binding *self = luaL_checkudata(L, lua_upvalueindex(1), LNT__BINDING_TYPE);
  reloading *call = lua_touserdata(L, lua_upvalueindex(2));
  if (self->rt && call->watcher) {
    lnt_unwatch(self->rt, call->watcher);
    forget(L, call);
  }
  call->watcher = NULL;
  return 0;
}

/* rt:watch(dir, function(event) ... end, {policy =, once =}) -> a function that ends it */
static int runtime_watch(lua_State *L) {
  lnt__binding *self = lnt__binding_check(L, 1);
  const char *dir = luaL_checkstring(L, 2);
  luaL_checktype(L, 3, LUA_TFUNCTION);
  options_at(L, 4);
  lnt_watch_options options;
  lnt_error err = {LNT_OK, ""};
  lnt_watch_options_init(&options);
  options.policy = policy_field(L, 4, LNT_RELOAD_AUTHORS);
  options.once = flag_field(L, 4, "once");
  options.fn = on_watched;
  lua_pushvalue(L, 1);
  reloading *call = keep(L, self, 3); /* pushed */
  options.user = call;
  lua_State *outer = lnt__binding_enter(self, L);
  lnt_status status = lnt_watch(self->rt, dir, &options, &call->watcher, &err);
  lnt__binding_leave(self, outer);
  if (status) {
    forget(L, call);
    return lnt__binding_failed(L, status, &err);
  }
  lua_pushcclosure(L, stop_watching, 2);
  return 1;
}

/* ---- versions, code ----
 * The callbacks add rows by a protected call, because no Lua error may leave them; it is raised when the library has returned. */

typedef struct gathering {
  lua_State *L;
  int adder; /* stack index; the list follows it */
  bool failed;
  const lnt_version_info *version;
  const lnt_source *source;
} gathering;

static int add_row(lua_State *L) {
  const gathering *g = lua_touserdata(L, 2);
  lua_createtable(L, 0, 6);
  if (g->version) {
    set_text(L, "workflow", g->version->workflow);
    set_text(L, "hash", g->version->hash);
    set_text(L, "file", g->version->file);
    if (g->version->since_us) set_number(L, "since_us", (double)g->version->since_us);
    set_number(L, "live", (double)g->version->live);
    set_flag(L, "is_current", g->version->is_current);
  } else {
    set_text(L, "module", g->source->module);
    set_text(L, "file", g->source->file);
    lua_pushlstring(L, g->source->text, g->source->size);
    lua_setfield(L, -2, "text");
  }
  lua_rawseti(L, 1, (int)lua_objlen(L, 1) + 1);
  return 0;
}

static int gather(gathering *g) {
  lua_pushvalue(g->L, g->adder);
  lua_pushvalue(g->L, g->adder + 1);
  lua_pushlightuserdata(g->L, g);
  g->failed = lua_pcall(g->L, 2, 0, 0) != 0;
  return g->failed;
}

static int on_version(void *user, const lnt_version_info *version) {
  gathering *g = user;
  g->version = version;
  return gather(g);
}

static int on_source(void *user, const lnt_source *source) {
  gathering *g = user;
  g->source = source;
  return gather(g);
}

static gathering begin(lua_State *L) {
  lua_pushcfunction(L, add_row);
  lua_newtable(L);
  return (gathering){.L = L, .adder = lua_gettop(L) - 1};
}

/* rt:versions(workflow) -> {{workflow =, hash =, file =, since_us =, live =, is_current =}, ...} */
static int runtime_versions(lua_State *L) {
  lnt__binding *self = lnt__binding_check(L, 1);
  const char *workflow = luaL_optstring(L, 2, NULL);
  lnt_error err = {LNT_OK, ""};
  gathering g = begin(L);
  lua_State *outer = lnt__binding_enter(self, L);
  lnt_status status = lnt_versions(self->rt, workflow, on_version, &g, &err);
  lnt__binding_leave(self, outer);
  if (g.failed) return lua_error(L);
  if (status) return lnt__binding_failed(L, status, &err);
  return 1;
}

/* rt:code(hash) -> {{module =, file =, text =}, ...}, the whole hash */
static int runtime_code(lua_State *L) {
  lnt__binding *self = lnt__binding_check(L, 1);
  const char *hash = luaL_checkstring(L, 2);
  char whole[LNT_HASH_TEXT_BYTES];
  lnt_error err = {LNT_OK, ""};
  gathering g = begin(L);
  lua_State *outer = lnt__binding_enter(self, L);
  lnt_status status = lnt_code(self->rt, hash, on_source, &g, whole, &err);
  lnt__binding_leave(self, outer);
  if (g.failed) return lua_error(L);
  if (status) return lnt__binding_failed(L, status, &err);
  lua_pushstring(L, whole);
  return 2;
}

const luaL_Reg lnt__binding_reloading[] = {{"reload", runtime_reload},     {"migrate", runtime_migrate}, {"watch", runtime_watch},
                                           {"versions", runtime_versions}, {"code", runtime_code},       {NULL, NULL}};
