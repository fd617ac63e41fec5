/* watch.c - clues for a diagnosis: while a copy of a body that stalled is run once more, this notes what it uses of what may not be the
 * same in every replay, and where. Called by the engine through lnt__vm.watch, and by the guard's hook at each call and each line; owner
 * thread. Nothing of it is there while nobody diagnoses. */
#include <lauxlib.h>
#include <stdio.h>

#include "vm/workflow.h"

enum { LENGTHS_MAX = 2000, METATABLES_MAX = 32, KEYS_MAX = 100000, OPERAND_BYTES = 64 };

typedef enum look { LOOK_CALL, LOOK_TABLE, LOOK_METATABLE } look;

static const char WHY_HOLES[] = "the length of a table with holes, or with nil in it, depends on how the table lies in memory";
static const char WHY_WEAK[] = "it got __mode after setmetatable: what a weak table holds depends on when garbage is collected";
static const char WHY_MATH[] = "its last digits differ between processors and C libraries";
static const char WHY_SAME[] = "it is the same in every replay";
static const char WHY_REPLAYING[] = "it is true in a replay and false in the first run: nothing but logging may depend on it";
static const char WHY_EFFECT[] = "its function runs once, and in no replay: only the value that it returns comes back";
static const char WHY_ASKED[] = "a handler runs when somebody asks, and in no replay: it may look at variables, and change none";

/* X(what the author calls, why, how likely it is the cause, how it is looked at) */
#define WATCHED_MAP(X)                                                                                                                     \
  X("ctx.is_replaying", WHY_REPLAYING, 100, LOOK_CALL)                                                                                     \
  X("table.insert", WHY_HOLES, 90, LOOK_TABLE)                                                                                             \
  X("table.remove", WHY_HOLES, 90, LOOK_TABLE)                                                                                             \
  X("table.concat", WHY_HOLES, 90, LOOK_TABLE)                                                                                             \
  X("table.sort", WHY_HOLES, 90, LOOK_TABLE)                                                                                               \
  X("table.unpack", WHY_HOLES, 90, LOOK_TABLE)                                                                                             \
  X("unpack", WHY_HOLES, 90, LOOK_TABLE)                                                                                                   \
  X("setmetatable", WHY_WEAK, 95, LOOK_METATABLE)                                                                                          \
  X("ctx.on_query", WHY_ASKED, 40, LOOK_CALL)                                                                                              \
  X("ctx.on_update", WHY_ASKED, 30, LOOK_CALL)                                                                                             \
  X("ctx.side_effect", WHY_EFFECT, 50, LOOK_CALL)                                                                                          \
  X("math.sin", WHY_MATH, 20, LOOK_CALL)                                                                                                   \
  X("math.cos", WHY_MATH, 20, LOOK_CALL)                                                                                                   \
  X("math.tan", WHY_MATH, 20, LOOK_CALL)                                                                                                   \
  X("math.asin", WHY_MATH, 20, LOOK_CALL)                                                                                                  \
  X("math.acos", WHY_MATH, 20, LOOK_CALL)                                                                                                  \
  X("math.atan", WHY_MATH, 20, LOOK_CALL)                                                                                                  \
  X("math.atan2", WHY_MATH, 20, LOOK_CALL)                                                                                                 \
  X("math.sinh", WHY_MATH, 20, LOOK_CALL)                                                                                                  \
  X("math.cosh", WHY_MATH, 20, LOOK_CALL)                                                                                                  \
  X("math.tanh", WHY_MATH, 20, LOOK_CALL)                                                                                                  \
  X("math.exp", WHY_MATH, 20, LOOK_CALL)                                                                                                   \
  X("math.log", WHY_MATH, 20, LOOK_CALL)                                                                                                   \
  X("math.log10", WHY_MATH, 20, LOOK_CALL)                                                                                                 \
  X("math.pow", WHY_MATH, 20, LOOK_CALL)                                                                                                   \
  X("os.time", WHY_SAME, 0, LOOK_CALL)                                                                                                     \
  X("os.date", WHY_SAME, 0, LOOK_CALL)                                                                                                     \
  X("math.random", WHY_SAME, 0, LOOK_CALL)                                                                                                 \
  X("ctx.now", WHY_SAME, 0, LOOK_CALL)                                                                                                     \
  X("ctx.random", WHY_SAME, 0, LOOK_CALL)                                                                                                  \
  X("ctx.uuid", WHY_SAME, 0, LOOK_CALL)                                                                                                    \
  X("pairs", WHY_SAME, 0, LOOK_CALL)                                                                                                       \
  X("next", WHY_SAME, 0, LOOK_CALL)                                                                                                        \
  X("coroutine.running", WHY_SAME, 0, LOOK_CALL)

static const struct { const char *path, *why; uint8_t weight; look look; } WATCHED[] = {
#define LNT__X(path, why, weight, look) {path, why, weight, look},
    WATCHED_MAP(LNT__X)
#undef LNT__X
};

/* A '#' in the source: its operand, where that is a name, or names with dots. */
typedef struct length { const char *file; int line; char operand[OPERAND_BYTES]; } length;

typedef struct metatable { char at[120]; uint32_t seq; } metatable;

struct lnt__watch {
  lnt__clue clues[LNT__CLUES_MAX];
  size_t count;
  const lnt__code *code; /* whose lengths these are */
  char *files[LNT__MODULES_MAX + 1];
  size_t file_count;
  length *lengths;
  size_t length_count, length_capacity;
  metatable metatables[METATABLES_MAX];
  size_t metatable_count;
  uint32_t functions_slot;  /* table: a function -> its place in WATCHED, from 1 */
  uint32_t metatables_slot; /* table: the metatables, in order */
};

/* ---- Clues ---- */

static void add_clue(lnt__watch *watch, const char *what, const char *at, const char *why, uint8_t weight, uint32_t seq) {
  size_t i = 0;
  while (i < watch->count && (strcmp(watch->clues[i].what, what) != 0 || strcmp(watch->clues[i].at, at) != 0)) i++;
  for (size_t free = 0; i == LNT__CLUES_MAX && free < LNT__CLUES_MAX && weight; free++)
    if (!watch->clues[free].weight) i = free; /* it makes room */
  if (i == LNT__CLUES_MAX) return;
  lnt__clue *clue = &watch->clues[i];
  if (i == watch->count) watch->count++;
  snprintf(clue->what, sizeof clue->what, "%s", what);
  snprintf(clue->at, sizeof clue->at, "%s", at);
  clue->why = why;
  clue->weight = weight;
  clue->seq = seq;
}

static uint32_t next_seq(const lnt__wvm *wvm) { return wvm->body ? lnt__turn_next_seq(wvm->body->turn) : 0; }

/* Does the table at the top have a positive whole key without all those below it? */
static bool has_holes(lua_State *L) {
  double count = 0, highest = 0;
  int left = KEYS_MAX;
  if (!lua_istable(L, -1) || !lua_checkstack(L, 4)) return false;
  for (lua_pushnil(L); left > 0 && lua_next(L, -2); left--) {
    lua_pop(L, 1);
    if (lua_type(L, -1) != LUA_TNUMBER) continue;
    double key = lua_tonumber(L, -1);
    if (!(key >= 1 && key == (double)(int64_t)key)) continue;
    count++;
    if (key > highest) highest = key;
  }
  if (left == 0) lua_pop(L, 1);
  return left > 0 && highest != count;
}

/* ---- Calls ---- */

static void look_at_metatable(lua_State *L, lua_Debug *ar, lnt__watch *watch) {
  if (watch->metatable_count == METATABLES_MAX || !lua_getlocal(L, ar, 2)) return;
  if (lua_istable(L, -1)) {
    metatable *m = &watch->metatables[watch->metatable_count++];
    lnt__sandbox_where(L, 0, m->at, sizeof m->at);
    m->seq = next_seq(lnt__wvm_of(L));
    lnt__push_slot(L, watch->metatables_slot);
    lua_pushvalue(L, -2);
    lua_rawseti(L, -2, (int)watch->metatable_count);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

static void on_call(lua_State *L, lua_Debug *ar, lnt__watch *watch) {
  char what[80], at[120];
  if (!lua_checkstack(L, 8) || !lua_getinfo(L, "f", ar)) return;
  lnt__push_slot(L, watch->functions_slot);
  lua_insert(L, -2);
  lua_rawget(L, -2);
  size_t place = (size_t)lua_tointeger(L, -1);
  lua_pop(L, 2);
  if (!place) return;
  const char *path = WATCHED[place - 1].path;
  if (WATCHED[place - 1].look == LOOK_METATABLE) {
    look_at_metatable(L, ar, watch);
    return;
  }
  if (WATCHED[place - 1].look == LOOK_TABLE) {
    if (!lua_getlocal(L, ar, 1)) return;
    bool suspicious = has_holes(L);
    lua_pop(L, 1);
    if (!suspicious) return;
  }
  bool is_ctx = strncmp(path, "ctx.", 4) == 0;
  snprintf(what, sizeof what, "%s%s()", is_ctx ? "ctx:" : "", is_ctx ? path + 4 : path);
  lnt__sandbox_where(L, 0, at, sizeof at);
  uint32_t seq = next_seq(lnt__wvm_of(L)) + (strcmp(path, "ctx.side_effect") == 0); /* it is a command itself: what follows it is meant */
  add_clue(watch, what, at, WATCHED[place - 1].why, WATCHED[place - 1].weight, seq);
}

/* ---- Lengths ---- */

typedef struct finder { lnt__watch *watch; const char *file; } finder;

static void take_length(void *user, const char *operand, size_t size, int line) {
  const finder *f = user;
  lnt__watch *watch = f->watch;
  if (watch->length_count >= LENGTHS_MAX || size >= OPERAND_BYTES) return;
  if (!lnt__grow((void **)&watch->lengths, &watch->length_capacity, watch->length_count + 1, sizeof *watch->lengths)) return;
  length *found = &watch->lengths[watch->length_count++];
  *found = (length){.file = f->file, .line = line};
  if (size) memcpy(found->operand, operand, size);
}

static int take_source(void *user, const char *module, lnt_value file, lnt_value source) {
  lnt__watch *watch = user;
  (void)module;
  char *name = watch->file_count <= LNT__MODULES_MAX ? lnt__strndup(file.data, file.size) : NULL;
  if (!name) return 1;
  watch->files[watch->file_count++] = name;
  finder f = {watch, name};
  lnt__sandbox_lengths(source.data, source.size, take_length, &f);
  return 0;
}

static void forget_lengths(lnt__watch *watch) {
  while (watch->file_count) lnt__free(watch->files[--watch->file_count]);
  watch->length_count = 0;
  watch->code = NULL;
}

static void find_lengths(lnt__wvm *wvm, lnt__watch *watch, const lnt__code *code) {
  void *bundle = NULL;
  size_t size = 0;
  forget_lengths(watch);
  watch->code = code;
  if (!wvm->options.fetch || wvm->options.fetch(wvm->options.user, code->hash, &bundle, &size, NULL)) return;
  lnt__bundle_each(bundle, size, take_source, watch);
  lnt__free(bundle);
}

/* Push the variable of that name that the line sees, or nil. */
static void push_variable(lua_State *L, lua_Debug *ar, const char *name) {
  const char *found;
  lua_pushnil(L);
  int place = lua_gettop(L);
  for (int i = 1; (found = lua_getlocal(L, ar, i)); i++) {
    if (strcmp(found, name) == 0) lua_replace(L, place); /* the last is the innermost */
    else lua_pop(L, 1);
  }
  if (!lua_isnil(L, place) || !lua_getinfo(L, "f", ar)) return;
  for (int i = 1; (found = lua_getupvalue(L, place + 1, i)); i++) {
    if (strcmp(found, name) == 0) lua_replace(L, place);
    else lua_pop(L, 1);
  }
  if (lua_isnil(L, place)) {
    lua_getfenv(L, place + 1);
    lua_pushstring(L, name);
    if (lua_istable(L, -2)) lua_rawget(L, -2);
    lua_replace(L, place);
  }
  lua_settop(L, place);
}

static void push_operand(lua_State *L, lua_Debug *ar, const char *operand) {
  char name[OPERAND_BYTES];
  size_t size = strcspn(operand, ".");
  memcpy(name, operand, size);
  name[size] = 0;
  push_variable(L, ar, name);
  while (operand[size]) {
    operand += size + 1;
    size = strcspn(operand, ".");
    lua_pushlstring(L, operand, size);
    if (lua_istable(L, -2)) lua_rawget(L, -2);
    lua_remove(L, -2);
  }
}

static void on_line(lua_State *L, lua_Debug *ar, lnt__watch *watch) {
  lnt__wvm *wvm = lnt__wvm_of(L);
  char what[80], at[120];
  if (!wvm->body || !wvm->body->code || !lua_checkstack(L, 12) || !lua_getinfo(L, "S", ar)) return;
  if (watch->code != wvm->body->code) find_lengths(wvm, watch, wvm->body->code);
  for (size_t i = 0; i < watch->length_count; i++) {
    const length *l = &watch->lengths[i];
    if (l->line != ar->currentline || strcmp(l->file, ar->short_src) != 0) continue;
    if (l->operand[0]) push_operand(L, ar, l->operand);
    else lua_pushnil(L);
    bool unknown = lua_isnil(L, -1), holes = has_holes(L);
    lua_pop(L, 1);
    if (!unknown && !holes) continue;
    snprintf(what, sizeof what, "#%s", l->operand[0] ? l->operand : "(...)");
    snprintf(at, sizeof at, "%s:%d", ar->short_src, ar->currentline);
    add_clue(watch, what, at, WHY_HOLES, unknown ? 25 : 95, next_seq(wvm));
  }
}

static void on_hook(lua_State *L, lua_Debug *ar) {
  lnt__watch *watch = lnt__wvm_of(L)->watch;
  int top = lua_gettop(L);
  if (ar->event == LUA_HOOKLINE) on_line(L, ar, watch);
  else if (ar->event == LUA_HOOKCALL) on_call(L, ar, watch);
  lua_settop(L, top);
}

/* ---- On and off ---- */

/* Push the function that the author calls so. */
static void push_function(lua_State *L, const lnt__wvm *wvm, const char *path) {
  const char *dot = strchr(path, '.');
  lnt__sandbox_push_env(L);
  if (dot && strncmp(path, "ctx.", 4) == 0) lnt__push_slot(L, wvm->ctx_slot);
  else if (dot) lua_pushlstring(L, path, (size_t)(dot - path)), lua_gettable(L, -2);
  else lua_pushvalue(L, -1);
  lua_getfield(L, -1, dot ? dot + 1 : path);
  lua_replace(L, -3);
  lua_pop(L, 1);
}

static void open_entry(lua_State *L, void *argument) {
  const lnt__wvm *wvm = lnt__wvm_of(L);
  lnt__watch *watch = argument;
  lua_newtable(L);
  for (size_t i = 0; i < LNT__COUNT(WATCHED); i++) {
    push_function(L, wvm, WATCHED[i].path);
    if (lua_isfunction(L, -1)) {
      lua_pushinteger(L, (int)i + 1);
      lua_rawset(L, -3);
    } else lua_pop(L, 1);
  }
  watch->functions_slot = lnt__anchor(L);
  lua_newtable(L);
  watch->metatables_slot = lnt__anchor(L);
}

static void destroy(lnt__wvm *wvm) {
  lnt__watch *watch = wvm->watch;
  wvm->watch = NULL;
  wvm->guard.watch = NULL;
  if (!watch) return;
  forget_lengths(watch);
  lnt__free(watch->lengths);
  lnt__release(wvm, &watch->functions_slot);
  lnt__release(wvm, &watch->metatables_slot);
  lnt__free(watch);
}

/* Metatables that have become those of weak tables. */
static void weak_entry(lua_State *L, void *argument) {
  lnt__watch *watch = argument;
  lnt__push_slot(L, watch->metatables_slot);
  for (size_t i = 0; i < watch->metatable_count; i++) {
    lua_rawgeti(L, -1, (int)i + 1);
    lua_pushliteral(L, "__mode");
    lua_rawget(L, -2);
    if (!lua_isnil(L, -1))
      add_clue(watch, "a weak table", watch->metatables[i].at, WHY_WEAK, 95, watch->metatables[i].seq);
    lua_pop(L, 2);
  }
}

void lnt__vm_watch(void *vm) {
  lnt__wvm *wvm = vm;
  destroy(wvm);
  wvm->watch = lnt__calloc(1, sizeof *wvm->watch);
  if (!wvm->watch) return;
  if (lnt__protected(wvm, open_entry, wvm->watch, NULL)) destroy(wvm);
  else wvm->guard.watch = on_hook;
}

size_t lnt__vm_watched(void *vm, lnt__clue *out, size_t most) {
  lnt__wvm *wvm = vm;
  size_t count = 0;
  wvm->guard.watch = NULL;
  if (wvm->watch && !lnt__protected(wvm, weak_entry, wvm->watch, NULL)) {
    count = wvm->watch->count < most ? wvm->watch->count : most;
    memcpy(out, wvm->watch->clues, count * sizeof *out);
  }
  destroy(wvm);
  return count;
}
