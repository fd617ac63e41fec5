/* activity_load.c - which activities there are: loading files and finding activities by name. Used by the driver through activity.h; the
 * thread that made the avm. A load collects everything first and changes the table at its very end, or not at all. */
#include "vm/activity_lib.h"
#include "vm/bundle.h"

typedef struct load {
  lnt__avm *avm;
  const char *file, *source;
  size_t size;
  lnt_value bundle; /* stored code: what it comes from */
  bool is_newest;
  lnt__avm_entry *fresh; /* what the file defines; owned until it is in the table */
  lnt_error *err;
  lnt_status status;
} load;

static void entry_free(lnt__avm *avm, lnt__avm_entry *entry) {
  luaL_unref(avm->L, LUA_REGISTRYINDEX, entry->fn_ref);
  lnt__free(entry->name);
  lnt__free(entry->file);
  lnt__free(entry);
}

void lnt__avm_entries_finish(lnt__avm *avm) {
  size_t at = 0;
  const char *name;
  void *value;
  while (lnt__strmap_next(&avm->entries, &at, &name, &value)) {
    lnt__avm_entry *entry = value;
    lnt__free(entry->name);
    lnt__free(entry->file);
    lnt__free(entry);
  }
  lnt__strmap_finish(&avm->entries);
}

static const char *base_name(const char *file) {
  const char *slash = strrchr(file, '/');
  return slash ? slash + 1 : file;
}

/* The name at the top of the stack, checked; NULL after setting load->status. */
static const char *checked_name(lua_State *L, load *l) {
  size_t size;
  const char *name = lua_tolstring(L, -1, &size);
  if (strlen(name) != size) {
    l->status = lnt__fail(l->err, LNT_ESYNTAX, "%s: the name of an activity holds a zero byte", base_name(l->file));
    return NULL;
  }
  if (lnt__check_name("the name of an activity", name, LNT_NAME_BYTES_MAX, true, l->err)) {
    l->status = lnt__fail_prefix(l->err, LNT_ESYNTAX, "%s", base_name(l->file));
    if (l->err) l->err->code = l->status = LNT_ESYNTAX;
    return NULL;
  }
  return name;
}

/* May the file define `name`? Stored code never displaces anything; newest code displaces its own file's and stored code. */
static bool may_define(load *l, const char *name, bool *skip) {
  const lnt__avm_entry *known = lnt__strmap_get(&l->avm->entries, name);
  *skip = known && !l->is_newest;
  if (!known || *skip || !known->is_newest || strcmp(known->file, l->file) == 0) return true;
  l->status = lnt__fail(l->err, LNT_EEXIST, "the activity \"%s\" of %s is defined by %s already; give one of them another name", name,
                        l->file, known->file);
  return false;
}

static lnt__avm_entry *entry_new(const char *name, const char *file, bool is_newest) {
  lnt__avm_entry *entry = lnt__calloc(1, sizeof *entry);
  if (!entry) return NULL;
  *entry = (lnt__avm_entry){.name = lnt__strdup(name), .file = lnt__strdup(file), .fn_ref = LUA_NOREF, .is_newest = is_newest};
  if (entry->name && entry->file) return entry;
  lnt__free(entry->name);
  lnt__free(entry->file);
  lnt__free(entry);
  return NULL;
}

static double number_of(lua_State *L, int definition, const char *field) {
  lua_getfield(L, definition, field);
  double number = lua_tonumber(L, -1);
  lua_pop(L, 1);
  return number;
}

/* What activity.lua has checked. RAISES. */
static void take_options(lua_State *L, int definition, lnt__avm_entry *entry) {
  lua_getfield(L, definition, "blocking");
  entry->blocking = lua_toboolean(L, -1);
  lua_pop(L, 1);
  lua_getfield(L, definition, "pure");
  entry->pure = lua_toboolean(L, -1);
  lua_pop(L, 1);
  entry->concurrency = (uint32_t)number_of(L, definition, "concurrency");
  entry->rate = (lnt__rate){(uint32_t)number_of(L, definition, "rate_count"), (int64_t)number_of(L, definition, "rate_per_us")};
}

/* Take one definition {name, fn, blocking =, pure =, concurrency =, rate_count =, rate_per_us =} from the top of the stack. RAISES. */
static bool take_definition(lua_State *L, load *l) {
  int top = lua_gettop(L);
  bool skip = false;
  lua_rawgeti(L, top, 2);
  lua_rawgeti(L, top, 1);
  const char *name = checked_name(L, l);
  if (!name || !may_define(l, name, &skip)) return false;
  if (!skip) {
    lnt__avm_entry *entry = entry_new(name, l->file, l->is_newest);
    if (!entry) {
      l->status = lnt__fail(l->err, LNT_ENOMEM, "out of memory while %s loads", l->file);
      return false;
    }
    entry->next = l->fresh;
    l->fresh = entry;
    take_options(L, top, entry);
    lua_pushvalue(L, -2);
    entry->fn_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  }
  lua_settop(L, top);
  return true;
}

/* {module = {file, text}}. RAISES. */
static int add_module(void *user, const char *module, lnt_value file, lnt_value source) {
  lua_State *L = user;
  if (!module) return 0;
  lua_createtable(L, 2, 0);
  lua_pushlstring(L, file.data ? file.data : "", file.size);
  lua_rawseti(L, -2, 1);
  lua_pushlstring(L, source.data ? source.data : "", source.size);
  lua_rawseti(L, -2, 2);
  lua_setfield(L, -2, module);
  return 0;
}

/* The protected part: run the file, collect what it defines. */
static int load_protected(lua_State *L) {
  load *l = lua_touserdata(L, 1);
  lua_rawgeti(L, LUA_REGISTRYINDEX, l->avm->refs.load);
  lua_pushstring(L, l->file);
  lua_pushlstring(L, l->source, l->size);
  lua_pushstring(L, base_name(l->file));
  lua_newtable(L);
  if (l->bundle.size) lnt__bundle_each(l->bundle.data, l->bundle.size, add_module, L);
  lua_call(L, 4, 1);
  size_t count = lua_objlen(L, -1);
  for (size_t i = 1; i <= count; i++) {
    lua_rawgeti(L, -1, (int)i);
    if (!take_definition(L, l)) return 0;
    lua_pop(L, 1);
  }
  return 0;
}

/* A copy of the table as it will be: without what the file defined before, with what it defines now. false: out of memory. */
static bool next_table(load *l, lnt__strmap *next) {
  size_t at = 0;
  const char *name;
  void *value;
  while (lnt__strmap_next(&l->avm->entries, &at, &name, &value)) {
    const lnt__avm_entry *entry = value;
    if (l->is_newest && entry->is_newest && strcmp(entry->file, l->file) == 0) continue;
    if (!lnt__strmap_put(next, name, value)) return false;
  }
  for (lnt__avm_entry *entry = l->fresh; entry; entry = entry->next) {
    l->avm->has_limits = l->avm->has_limits || entry->blocking || entry->concurrency || entry->rate.count;
    l->avm->has_pure = l->avm->has_pure || entry->pure;
    lnt__strmap_remove(next, entry->name);
    if (!lnt__strmap_put(next, entry->name, entry)) return false;
  }
  return true;
}

static lnt_status commit(load *l) {
  lnt__strmap next, old = l->avm->entries;
  lnt__strmap_init(&next);
  if (!next_table(l, &next)) {
    lnt__strmap_finish(&next);
    return lnt__fail(l->err, LNT_ENOMEM, "out of memory while %s loads", l->file);
  }
  size_t at = 0;
  const char *name;
  void *value;
  l->avm->entries = next;
  l->avm->found = NULL;
  while (lnt__strmap_next(&old, &at, &name, &value)) {
    if (lnt__strmap_get(&next, name) != value) entry_free(l->avm, value);
  }
  lnt__strmap_finish(&old);
  l->fresh = NULL;
  return LNT_OK;
}

static lnt_status load_failed(load *l, int status) {
  lua_State *L = l->avm->L;
  lnt_status code = status == LUA_ERRMEM ? LNT_ENOMEM : LNT_ESYNTAX;
  const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
  if (code == LNT_ENOMEM) {
    unsigned long long max = l->avm->options.memory_bytes_max;
    LNT__MET(l->avm->options.met, activity_memory_bytes_max);
    return lnt__fail(l->err, code, "%s: out of memory while the file loads; activity VMs may hold %llu bytes (activity_memory_bytes_max)",
                     base_name(l->file), max);
  }
  if (text) return lnt__fail(l->err, code, "%s", text);
  return lnt__fail(l->err, code, "%s: raised an error that is a %s while it loads", base_name(l->file), luaL_typename(L, -1));
}

static lnt_status load_file(load *l) {
  lnt__avm *avm = l->avm;
  lnt_error *err = l->err;
  int top = lua_gettop(avm->L);
  avm->enforce = true;
  lnt__watch_begin(avm, base_name(l->file));
  int status = lua_cpcall(avm->L, load_protected, l);
  bool stopped = lnt__watch_end(avm) != LNT__STOP_NONE;
  avm->enforce = false;
  if (stopped) l->status = lnt__fail(err, LNT_ELIMIT, "%s", avm->watch.text);
  else if (status != 0) l->status = load_failed(l, status);
  lua_settop(avm->L, top);
  if (l->status == LNT_OK) l->status = commit(l);
  while (l->fresh) {
    lnt__avm_entry *entry = l->fresh;
    l->fresh = entry->next;
    entry_free(avm, entry);
  }
  return l->status;
}

lnt_status lnt__avm_load(lnt__avm *avm, const char *file, const char *source, size_t size, bool is_newest, lnt_error *err) {
  load l = {.avm = avm, .file = file, .source = source, .size = size, .is_newest = is_newest, .err = err};
  return load_file(&l);
}

lnt_status lnt__avm_load_stored(lnt__avm *avm, const void *bundle, size_t size, lnt_error *err) {
  lnt_value file, source;
  if (!lnt__bundle_main(bundle, size, &file, &source)) return lnt__fail(err, LNT_ECORRUPT, "a stored bundle of code has a wrong shape");
  char *name = lnt__strndup(file.data, file.size);
  if (!name) return lnt__fail(err, LNT_ENOMEM, "out of memory while stored code was loaded");
  load l = {.avm = avm, .file = name, .source = source.data ? source.data : "", .size = source.size, .bundle = {bundle, size}, .err = err};
  lnt_status status = load_file(&l);
  lnt__free(name);
  return status;
}

static lnt__activity_info info_of(const lnt__avm_entry *entry) {
  return (lnt__activity_info){entry->blocking, entry->pure, entry->file, entry->concurrency, entry->rate};
}

bool lnt__avm_find(lnt__avm *avm, const char *name, lnt__activity_info *info) {
  const lnt__avm_entry *entry = avm->found;
  if (!entry || strcmp(entry->name, name) != 0) entry = avm->found = lnt__strmap_get(&avm->entries, name);
  if (entry && info) *info = info_of(entry);
  return entry != NULL;
}

bool lnt__avm_has_limits(const lnt__avm *avm) { return avm->has_limits; }
bool lnt__avm_has_pure(const lnt__avm *avm) { return avm->has_pure; }

void lnt__avm_each(lnt__avm *avm, void (*fn)(void *user, const char *name, const lnt__activity_info *info), void *user) {
  size_t at = 0;
  const char *name;
  void *value;
  while (lnt__strmap_next(&avm->entries, &at, &name, &value)) {
    const lnt__avm_entry *entry = value;
    lnt__activity_info info = info_of(entry);
    fn(user, name, &info);
  }
}
