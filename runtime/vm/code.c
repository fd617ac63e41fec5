/* code.c - the code registry: files loaded, the newest code of each workflow name, code versions by hash, and `require`. Called by the
 * driver through vm.h and by workflow.c; owner thread.
 *
 * A file's text is compiled once, wrapped as `return function(...) <text> end`: each instance asks that for a fresh function, gives it an
 * environment of its own and runs it, so that no instance sees another's variables. The text alone is compiled first, which keeps an `end`
 * in it from closing the wrapper. */
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>

#include "vm/sandbox_lib.h"
#include "vm/workflow.h"

#define WRAP_HEAD "return function(...) "
#define WRAP_TAIL "\nend"
#define NEAR_NAMES_MAX 5
#define MODULE_NAME_BYTES_MAX 200
#define PATH_BYTES_MAX 4096

/* ---- Code objects ---- */

static void module_finish(lnt__wvm *wvm, lnt__module *module) {
  lnt__release(wvm, &module->slot);
  lnt__free(module->name);
  lnt__free(module->file);
  lnt__free(module->source);
  lnt__free(module->problem);
}

void lnt__code_free(lnt__wvm *wvm, lnt__code *code) {
  if (!code) return;
  for (size_t i = 0; i < code->module_count; i++) module_finish(wvm, &code->modules[i]);
  for (size_t i = 0; i < code->name_count; i++) lnt__free(code->names[i]);
  lnt__free(code->names);
  lnt__release(wvm, &code->slot);
  lnt__free(code->modules);
  lnt__free(code->tails);
  lnt__free(code->file);
  lnt__free(code->folder);
  lnt__free(code->source);
  lnt__free(code);
}

lnt__module *lnt__code_module(lnt__code *code, const char *name) {
  for (size_t i = 0; i < code->module_count; i++)
    if (strcmp(code->modules[i].name, name) == 0) return &code->modules[i];
  return NULL;
}

lnt__module *lnt__code_add_module(lnt__code *code, const char *name, const char *file, char *source, size_t size) {
  lnt__module module = {.name = lnt__strdup(name), .file = lnt__strdup(file), .source = source, .size = size};
  if (module.name && module.file &&
      lnt__grow((void **)&code->modules, &code->module_capacity, code->module_count + 1, sizeof *code->modules)) {
    code->modules[code->module_count++] = module;
    return &code->modules[code->module_count - 1];
  }
  lnt__free(module.name);
  lnt__free(module.file);
  return NULL;
}

typedef struct tails { lnt__code *code; const char *file; } tails;

static void note_tail(void *user, const char *verb, size_t verb_size, int line) {
  const tails *t = user;
  lnt__code *code = t->code;
  lnt__tail tail = {lnt__hash64(verb, verb_size), t->file, line};
  if (code->tail_count < LNT__TAILS_MAX &&
      lnt__grow((void **)&code->tails, &code->tail_capacity, code->tail_count + 1, sizeof *code->tails))
    code->tails[code->tail_count++] = tail; /* else messages know less */
}

static void note_tails(lnt__code *code, const char *file, const char *source, size_t size) {
  tails t = {code, file};
  lnt__sandbox_tail_calls(source, size, note_tail, &t);
}

bool lnt__code_tail(const lnt__code *code, const char *verb, char *out, size_t size) {
  enum { PLACES_MAX = 4 };
  uint64_t hash = lnt__hash64(verb, strlen(verb));
  const char *file = "";
  int places = 0, at = 0;
  for (size_t i = 0; i < code->tail_count && places <= PLACES_MAX && at < (int)size; i++) {
    const lnt__tail *tail = &code->tails[i];
    if (tail->verb != hash) continue;
    bool same = places > 0 && strcmp(file, tail->file) == 0;
    at += snprintf(out + at, size - (size_t)at, "%s%s%s%d", places++ ? " or " : "", same ? "" : tail->file, same ? "" : ":", tail->line);
    file = tail->file;
  }
  return places > 0 && places <= PLACES_MAX && at < (int)size;
}

static uint64_t hash_key(const uint8_t *hash) { return lnt__get_be64(hash); }

static lnt__code *code_find(const lnt__wvm *wvm, const uint8_t *hash) {
  lnt__code *code = lnt__u64map_get(&wvm->codes, hash_key(hash));
  return code && memcmp(code->hash, hash, LNT__SHA256_BYTES) == 0 ? code : NULL;
}

/* Drop the version used longest ago that nothing holds, while there are too many. */
static void code_trim(lnt__wvm *wvm) {
  while (wvm->codes.count > LNT__CODES_MAX) {
    lnt__code *oldest = NULL;
    size_t at = 0;
    uint64_t key;
    void *value;
    while (lnt__u64map_next(&wvm->codes, &at, &key, &value)) {
      lnt__code *code = value;
      if (code->refs == 0 && (!oldest || code->used < oldest->used)) oldest = code;
    }
    if (!oldest) return;
    lnt__u64map_remove(&wvm->codes, hash_key(oldest->hash));
    lnt__code_free(wvm, oldest);
  }
}

void lnt__code_release(lnt__wvm *wvm, lnt__code *code) {
  code->refs--;
  code->used = ++wvm->stamp;
  if (code->refs == 0) code_trim(wvm);
}

void lnt__code_finish(lnt__wvm *wvm) {
  size_t at = 0;
  uint64_t key;
  const char *name;
  void *value;
  while (lnt__strmap_next(&wvm->definitions, &at, &name, &value)) {
    lnt__definition *definition = value;
    lnt__free(definition->name);
    lnt__free(definition->file);
    lnt__free(definition);
  }
  lnt__strmap_finish(&wvm->definitions);
  for (at = 0; lnt__strmap_next(&wvm->files, &at, &name, &value);) {
    lnt__loaded *loaded = value;
    lnt__free(loaded->file);
    lnt__free(loaded);
  }
  lnt__strmap_finish(&wvm->files);
  for (at = 0; lnt__u64map_next(&wvm->codes, &at, &key, &value);) lnt__code_free(wvm, value);
  lnt__u64map_finish(&wvm->codes);
}

/* ---- Compiling ---- */

typedef struct compile_job { const char *chunk, *source; size_t size; uint32_t *slot; lnt_status status; lnt_error *err; } compile_job;

static void compile_entry(lua_State *L, void *argument) {
  compile_job *job = argument;
  lnt__buf wrapped;
  job->status = lnt__sandbox_compile(L, job->chunk, job->source, job->size, job->err);
  if (job->status) return;
  lua_pop(L, 1);
  const char *text = job->source;
  size_t size = job->size;
  if (size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) text += 3, size -= 3;
  lnt__buf_init(&wrapped);
  for (int kept = 1; kept >= 0; kept--) { /* what only just compiles may not bear the frames */
    lnt__buf_clear(&wrapped);
    lnt__buf_printf(&wrapped, "%s%s", WRAP_HEAD, size && text[0] == '#' ? "--" : "");
    if (kept) lnt__sandbox_keep_frames(text, size, &wrapped);
    else lnt__buf_append(&wrapped, text, size);
    lnt__buf_printf(&wrapped, "%s", WRAP_TAIL);
    job->status = wrapped.failed ? lnt__fail(job->err, LNT_ENOMEM, "out of memory while compiling %s", job->chunk + 1)
                                 : lnt__sandbox_compile(L, job->chunk, (const char *)wrapped.data, wrapped.size, job->err);
    if (job->status != LNT_ESYNTAX) break;
  }
  lnt__buf_finish(&wrapped);
  if (!job->status) *job->slot = lnt__anchor(L);
}

static lnt_status compile(lnt__wvm *wvm, const char *file, const char *source, size_t size, uint32_t *slot, lnt_error *err) {
  char chunk[LUA_IDSIZE + 200];
  if (size > wvm->limits.source_bytes_max)
    return LNT__MET(wvm->met, source_bytes_max),
           lnt__fail(err, LNT_ELIMIT, "%s: %zu bytes of source, more than source_bytes_max (%llu); split it into modules", file, size,
                     (unsigned long long)wvm->limits.source_bytes_max);
  snprintf(chunk, sizeof chunk, "@%s", file);
  compile_job job = {chunk, source, size, slot, LNT_OK, err};
  lnt_status status = lnt__protected(wvm, compile_entry, &job, err);
  return status ? status : job.status;
}

/* The file itself. Its text is kept: it is compared with other versions, and a place in it may have to be found. */
static lnt_status compile_main(lnt__wvm *wvm, lnt__code *code, const char *source, size_t size, lnt_error *err) {
  code->source = lnt__strndup(source, size);
  code->source_size = size;
  if (!code->source) return lnt__fail(err, LNT_ENOMEM, "out of memory while compiling %s", code->file);
  lnt_status status = compile(wvm, code->file, source, size, &code->slot, err);
  if (!status) note_tails(code, code->file, source, size);
  return status;
}

/* Fresh function from what is in `slot`; pushed. */
static void push_fresh(lua_State *L, uint32_t slot) {
  lnt__push_slot(L, slot);
  lua_call(L, 0, 1);
}

void lnt__code_push_main(lua_State *L, const lnt__code *code) {
  push_fresh(L, code->slot);
  lnt__sandbox_push_env(L);
  lua_setfenv(L, -2);
}

/* ---- Stored code ---- */

static lnt_status read_stored(lnt__wvm *wvm, const uint8_t *hash, const void *bundle, size_t size, lnt__code *code, lnt_error *err) {
  uint8_t found[LNT__SHA256_BYTES];
  lnt__sha256 sha;
  lnt_value source;
  lnt__sha256_init(&sha);
  lnt__sha256_add(&sha, bundle, size);
  lnt__sha256_end(&sha, found);
  if (memcmp(found, hash, sizeof found) != 0)
    return lnt__fail(err, LNT_ECORRUPT, "the stored code does not have the hash it is stored under");
  lnt_status status = lnt__bundle_read((lnt_value){bundle, size}, code, &source, err);
  if (!status) status = compile_main(wvm, code, source.data, source.size, err);
  return status;
}

static lnt_status code_register(lnt__wvm *wvm, lnt__code *code, const uint8_t *hash, lnt_error *err) {
  memcpy(code->hash, hash, LNT__SHA256_BYTES);
  lnt__hex(hash, LNT__SHA256_BYTES, code->hex);
  code->used = ++wvm->stamp;
  if (lnt__u64map_get(&wvm->codes, hash_key(hash))) return lnt__fail(err, LNT_EINTERNAL, "two codes begin with the same hash");
  return lnt__u64map_put(&wvm->codes, hash_key(hash), code) ? LNT_OK : lnt__fail(err, LNT_ENOMEM, "out of memory while loading code");
}

lnt_status lnt__code_get(lnt__wvm *wvm, const uint8_t *hash, lnt__code **out, lnt_error *err) {
  void *bundle = NULL;
  size_t size = 0;
  lnt__code *code = code_find(wvm, hash);
  if (!code) {
    if (!wvm->options.fetch) return lnt__fail(err, LNT_ENOTFOUND, "the instance's code is not loaded");
    lnt_status status = wvm->options.fetch(wvm->options.user, hash, &bundle, &size, err);
    if (status) return status;
    code = lnt__calloc(1, sizeof *code);
    status = code ? read_stored(wvm, hash, bundle, size, code, err) : lnt__fail(err, LNT_ENOMEM, "out of memory while loading code");
    lnt__free(bundle);
    if (!status) status = code_register(wvm, code, hash, err);
    if (status) {
      lnt__code_free(wvm, code);
      return status;
    }
  }
  code->refs++;
  code->used = ++wvm->stamp;
  code_trim(wvm);
  *out = code;
  return LNT_OK;
}

/* ---- require ---- */

/* A thing that explains itself when a workflow touches it: upvalue 1 is the text. At the top level of a file, which sets things up for its
 * activities too, its fields and what it returns are the same thing again. */
static int stub_touched(lua_State *L) {
  lua_settop(L, 1);
  if (lnt__wvm_of(L)->run) return 1;
  lnt__sandbox_error(L, "%s", lua_tostring(L, lua_upvalueindex(1)));
}

static void push_stub(lua_State *L, const char *format, ...) LNT__PRINTF(2, 3);
static void push_stub(lua_State *L, const char *format, ...) {
  static const char *const events[] = {"__index", "__newindex", "__call"};
  char text[LNT_ERROR_MESSAGE_MAX];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  lua_newuserdata(L, 1);
  lua_newtable(L);
  lua_pushstring(L, text);
  lua_pushcclosure(L, stub_touched, 1);
  for (size_t i = 0; i < LNT__COUNT(events); i++) {
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, events[i]);
  }
  lua_pop(L, 1);
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_setmetatable(L, -2);
}

/* Folder and name as a path; `name` with its dots as slashes. */
static lnt_status try_file(lnt__wvm *wvm, lnt__code *code, const char *name, const char *folder, size_t folder_size, const char *tail,
                           lnt__module **out, lnt_error *err) {
  char path[PATH_BYTES_MAX], relative[MODULE_NAME_BYTES_MAX + 16], *source;
  size_t size, at = 0;
  for (; name[at]; at++) relative[at] = name[at] == '.' ? '/' : name[at];
  snprintf(relative + at, sizeof relative - at, "%s", tail);
  if ((size_t)snprintf(path, sizeof path, "%.*s/%s", (int)folder_size, folder, relative) >= sizeof path) return LNT_ENOTFOUND;
  lnt_status status = lnt__read_file(path, (size_t)wvm->limits.source_bytes_max, &source, &size, err);
  if (status == LNT_EINVAL) return LNT_ENOTFOUND; /* a folder of that name */
  if (status) return status;
  *out = lnt__code_add_module(code, name, relative, source, size);
  if (*out) return LNT_OK;
  lnt__free(source);
  return lnt__fail(err, LNT_ENOMEM, "out of memory while loading %s", path);
}

static lnt_status try_folder(lnt__wvm *wvm, lnt__code *code, const char *name, const char *folder, size_t size, lnt__module **out,
                             lnt_error *err) {
  if (size == 0) return LNT_ENOTFOUND;
  lnt_status status = try_file(wvm, code, name, folder, size, ".lua", out, err);
  return status == LNT_ENOTFOUND ? try_file(wvm, code, name, folder, size, "/init.lua", out, err) : status;
}

static lnt_status try_folders(lnt__wvm *wvm, lnt__code *code, const char *name, const char *list, lnt__module **out, lnt_error *err) {
  lnt_status status = LNT_ENOTFOUND;
  while (list && *list && status == LNT_ENOTFOUND) {
    size_t size = strcspn(list, ";");
    status = try_folder(wvm, code, name, list, size, out, err);
    list += size + (list[size] == ';');
  }
  return status;
}

static bool is_module_name(const char *name) {
  size_t size = strlen(name);
  if (size == 0 || size > MODULE_NAME_BYTES_MAX || name[0] == '.' || name[0] == '/' || strstr(name, "..")) return false;
  for (const char *at = name; *at; at++)
    if ((unsigned char)*at < ' ' || *at == '\\') return false;
  return true;
}

/* Does the name stand for the very file that is loaded? saga.lua may require "saga", the one of the standard library. */
static bool is_own_name(const lnt__code *code, const char *name) {
  size_t size = strlen(name);
  return strncmp(code->file, name, size) == 0 && strcmp(code->file + size, ".lua") == 0;
}

/* Find a module's file: the folder of the file that is loaded, module_path, stdlib_path. */
static lnt_status find_module(lnt__wvm *wvm, lnt__code *code, const char *name, lnt__module **out, lnt_error *err) {
  if (!is_module_name(name)) return LNT_ENOTFOUND;
  if (code->module_count >= LNT__MODULES_MAX) return lnt__fail(err, LNT_ELIMIT, "more than %d modules", LNT__MODULES_MAX);
  bool beside = code->folder && !is_own_name(code, name);
  lnt_status status = beside ? try_folder(wvm, code, name, code->folder, strlen(code->folder), out, err) : LNT_ENOTFOUND;
  if (status == LNT_ENOTFOUND) status = try_folders(wvm, code, name, wvm->module_path, out, err);
  if (status == LNT_ENOTFOUND) status = try_folders(wvm, code, name, wvm->stdlib_path, out, err);
  return status;
}

static void module_problem(lnt__module *module, const char *text) {
  if (!module->problem) module->problem = lnt__strdup(text);
}

/* Compile a module once; false: it has a problem. */
static bool module_ready(lnt__wvm *wvm, lua_State *L, lnt__code *code, lnt__module *module) {
  lnt_error err;
  char chunk[MODULE_NAME_BYTES_MAX + 32];
  if (module->slot) return true;
  if (module->problem) return false;
  snprintf(chunk, sizeof chunk, "@%s", module->file);
  uint32_t slot = 0;
  compile_job job = {chunk, module->source, module->size, &slot, LNT_OK, &err};
  if (module->size > wvm->limits.source_bytes_max)
    job.status = (LNT__MET(wvm->met, source_bytes_max), lnt__fail(&err, LNT_ELIMIT, "%s is larger than source_bytes_max", module->file));
  else compile_entry(L, &job);
  if (job.status) module_problem(module, err.message);
  module->slot = slot;
  if (slot) note_tails(code, module->file, module->source, module->size);
  return slot != 0;
}

/* Push the environment of the nearest function of the author. */
static void push_author_env(lua_State *L) {
  lua_Debug ar;
  for (int level = 0; level < 100 && lua_getstack(L, level, &ar); level++) {
    lua_getinfo(L, "Slf", &ar);
    if (ar.currentline > 0 && ar.what[0] != 'C' && strcmp(ar.source, LNT__SANDBOX_CHUNK) != 0) {
      lua_getfenv(L, -1);
      lua_remove(L, -2);
      return;
    }
    lua_pop(L, 1);
  }
  lnt__sandbox_push_env(L);
}

/* Without the folders: a replay from the stored code, perhaps on another machine, must tell the same. */
static void push_missing(lua_State *L, const lnt__code *code, const char *name) {
  push_stub(L, "module '%s' was not found when %s was loaded: no %s.lua and no %s/init.lua beside the file, in the module path or in the "
            "standard library; if only activities need it, use it inside an activity", name, code->file, name, name);
}

/* The error at the top becomes a stub. Kills go on. */
static void replace_by_stub(lua_State *L, lnt__wvm *wvm, const char *name) {
  if (wvm->guard.killed != LNT__KILL_NONE) lnt__guard_rethrow(L);
  char text[LNT_ERROR_MESSAGE_MAX / 2];
  snprintf(text, sizeof text, "%s", lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "it raised an error");
  lua_pop(L, 1);
  push_stub(L, "module '%s' cannot be used in a workflow: %s. If only activities need it, use it inside an activity", name, text);
}

/* Run the module's text; push what it gives. */
static void run_module(lua_State *L, lnt__wvm *wvm, lnt__module *module) {
  char name[MODULE_NAME_BYTES_MAX + 1];
  snprintf(name, sizeof name, "%s", module->name); /* `modules` may move meanwhile */
  if (wvm->require_depth >= LNT__REQUIRE_DEPTH_MAX)
    lnt__sandbox_error(L, "require: modules are nested more than %d deep", LNT__REQUIRE_DEPTH_MAX);
  push_author_env(L);
  push_fresh(L, module->slot);
  lua_insert(L, -2);
  lua_setfenv(L, -2);
  lua_pushstring(L, name);
  wvm->require_depth++;
  int rc = lua_pcall(L, 1, 1, 0);
  wvm->require_depth--;
  if (rc) replace_by_stub(L, wvm, name);
  if (!lua_isnil(L, -1)) return;
  lua_pop(L, 1);
  lua_pushboolean(L, 1);
}

/* Modules in C, on which the standard library's Lua stands; no file can take their names. */
static bool is_builtin(const char *name) { return strcmp(name, "lunation.values") == 0 || strcmp(name, "lunation.activity") == 0; }

static void push_builtin(lua_State *L, const char *name) {
  static const char key;
  if (strcmp(name, "lunation.activity") == 0) {
    lua_pushliteral(L, "it does what must not be done again in a replay");
    lua_error(L);
  }
  lua_pushlightuserdata(L, (void *)(uintptr_t)&key);
  lua_rawget(L, LUA_REGISTRYINDEX);
  if (!lua_isnil(L, -1)) return;
  lua_pop(L, 1);
  lnt__values_push(L, true);
  lnt__sandbox_freeze(L, name);
  lua_pushlightuserdata(L, (void *)(uintptr_t)&key);
  lua_pushvalue(L, -2);
  lua_rawset(L, LUA_REGISTRYINDEX);
}

static lnt__module *known_module(lua_State *L, lnt__wvm *wvm, lnt__code *code, const char *name) {
  lnt_error err = {LNT_OK, ""};
  lnt__module *module = lnt__code_module(code, name);
  if (module || !wvm->run || wvm->run->wanted) return module;
  lnt_status status = find_module(wvm, code, name, &module, &err);
  if (status && status != LNT_ENOTFOUND) lnt__sandbox_error(L, "require '%s': %s", name, err.message);
  return module;
}

static void push_module(lua_State *L, lnt__wvm *wvm, lnt__code *code, const char *name) {
  if (is_builtin(name)) {
    push_builtin(L, name);
    return;
  }
  lnt__module *module = known_module(L, wvm, code, name);
  if (!module) push_missing(L, code, name);
  else if (!module_ready(wvm, L, code, module))
    push_stub(L, "module '%s' cannot be used in a workflow: %s. If only activities need it, use it inside an activity", name,
              module->problem ? module->problem : "out of memory");
  else run_module(L, wvm, module);
}

/* Push the table of modules that this instance (or this load) has required. */
static void push_loaded(lua_State *L, uint32_t *slot) {
  if (*slot == 0) {
    lua_newtable(L);
    *slot = lnt__anchor(L);
  }
  lnt__push_slot(L, *slot);
}

static int require(lua_State *L) {
  lnt__wvm *wvm = lnt__wvm_of(L);
  lnt__code *code = wvm->run ? wvm->run->code : wvm->body ? wvm->body->code : NULL;
  uint32_t *slot = wvm->run ? wvm->run->modules_slot : wvm->body ? &wvm->body->modules_slot : NULL;
  if (lua_type(L, 1) != LUA_TSTRING) lnt__sandbox_error(L, "require: the name of a module must be a string, got %s", luaL_typename(L, 1));
  if (!code) lnt__sandbox_error(L, "require: nothing runs that could require a module");
  push_loaded(L, slot);
  int loaded = lua_gettop(L);
  lua_pushvalue(L, 1);
  lua_rawget(L, loaded);
  if (lua_type(L, -1) == LUA_TLIGHTUSERDATA)
    lnt__sandbox_error(L, "require: module '%s' requires itself, through other modules or directly", lua_tostring(L, 1));
  if (!lua_isnil(L, -1)) return 1;
  lua_pushvalue(L, 1);
  lua_pushlightuserdata(L, wvm);
  lua_rawset(L, loaded);
  push_module(L, wvm, code, lua_tostring(L, 1));
  lua_pushvalue(L, 1);
  lua_pushvalue(L, -2);
  lua_rawset(L, loaded);
  return 1;
}

/* ---- workflow and activity ---- */

static const char *definition_name(lua_State *L, const char *verb) {
  lnt_error err;
  size_t size;
  if (lua_type(L, 1) != LUA_TSTRING)
    lnt__sandbox_error(L, "%s(name, function): the name must be a string, got %s", verb, luaL_typename(L, 1));
  const char *name = lua_tolstring(L, 1, &size);
  if (strlen(name) != size) lnt__sandbox_error(L, "%s: the name holds a zero byte", verb);
  if (lnt__check_name("the name", name, LNT_NAME_BYTES_MAX, true, &err)) lnt__sandbox_error(L, "%s: %s", verb, err.message);
  return name;
}

static void collect_name(lua_State *L, lnt__run *run, const char *name, lnt_reload_policy policy) {
  for (size_t i = 0; i < run->name_count; i++)
    if (strcmp(run->names[i].name, name) == 0)
      lnt__sandbox_error(L, "the workflow \"%s\" is defined twice in %s; give one of them another name", name, run->code->file);
  char *copy = lnt__strdup(name);
  if (!copy || !lnt__grow((void **)&run->names, &run->name_capacity, run->name_count + 1, sizeof *run->names)) {
    lnt__free(copy);
    luaL_error(L, "not enough memory");
    return;
  }
  run->names[run->name_count++] = (lnt__staged_name){copy, policy};
}

bool lnt__code_defines(const lnt__code *code, const char *workflow) {
  for (size_t i = 0; i < code->name_count; i++)
    if (strcmp(code->names[i], workflow) == 0) return true;
  return false;
}

/* What an instance's own code defines is what it can start when no file defines it any more. */
static void note_name(lua_State *L, lnt__code *code, const char *name) {
  if (code->names_known || lnt__code_defines(code, name)) return;
  char *copy = lnt__strdup(name);
  if (copy && lnt__grow((void **)&code->names, &code->name_capacity, code->name_count + 1, sizeof *code->names)) {
    code->names[code->name_count++] = copy;
    return;
  }
  lnt__free(copy);
  luaL_error(L, "not enough memory");
}

static lnt_reload_policy read_policy(lua_State *L, const char *name) {
  lnt_reload_policy policy;
  lua_getfield(L, 2, "on_reload");
  const char *text = lua_isnil(L, -1) ? "pin" : lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
  if (lnt_reload_policy_parse(text, &policy) || policy == LNT_RELOAD_AUTHORS)
    lnt__sandbox_error(L, "workflow(\"%s\"): on_reload must be \"pin\", \"adopt\" or \"all_or_nothing\"", name);
  lua_pop(L, 1);
  return policy;
}

/* workflow(name, {on_reload =}, function): at 2 what stands between, if anything. */
static lnt_reload_policy workflow_options(lua_State *L, const char *name) {
  if (!lua_istable(L, 2)) return LNT_RELOAD_PIN;
  for (lua_pushnil(L); lua_next(L, 2); lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING) lnt__sandbox_error(L, "workflow(\"%s\"): the options are a map {on_reload = ...}", name);
    if (strcmp(lua_tostring(L, -2), "on_reload") != 0)
      lnt__sandbox_error(L, "workflow(\"%s\"): there is no option '%s'; there is on_reload", name, lua_tostring(L, -2));
  }
  return read_policy(L, name);
}

static int define_workflow(lua_State *L) {
  lnt__run *run = lnt__wvm_of(L)->run;
  if (!run) lnt__sandbox_error(L, "workflow() belongs to the top level of a file, not into a running workflow");
  const char *name = definition_name(L, "workflow");
  lnt_reload_policy policy = workflow_options(L, name);
  if (lua_istable(L, 2)) lua_remove(L, 2);
  if (!lua_isfunction(L, 2)) lnt__sandbox_error(L, "workflow(\"%s\", function): a function expected, got %s", name, luaL_typename(L, 2));
  note_name(L, run->code, name);
  if (!run->wanted) collect_name(L, run, name, policy);
  else if (!run->function_slot && strcmp(name, run->wanted) == 0) {
    lua_Debug ar;
    lua_pushvalue(L, 2);
    lua_getinfo(L, ">S", &ar);
    run->line = ar.linedefined;
    lua_settop(L, 2);
    run->function_slot = lnt__anchor(L);
  }
  return 0;
}

static int define_activity(lua_State *L) {
  lnt__run *run = lnt__wvm_of(L)->run;
  if (!run) lnt__sandbox_error(L, "activity() belongs to the top level of a file, not into a running workflow");
  if (run->wanted) return 0;
  const char *name = definition_name(L, "activity");
  int last = lua_istable(L, 2) ? 3 : 2;
  if (!lua_isfunction(L, last))
    lnt__sandbox_error(L, "activity(\"%s\", [options,] function): a function expected, got %s", name, luaL_typename(L, last));
  lnt__interface_note(L, run, name, 2, last);
  return 0;
}

void lnt__code_open(lua_State *L) {
  static const luaL_Reg globals[] = {{"workflow", define_workflow}, {"activity", define_activity}, {"require", require}};
  for (size_t i = 0; i < LNT__COUNT(globals); i++) {
    lua_pushcfunction(L, globals[i].func);
    lnt__sandbox_define(L, globals[i].name);
  }
}

/* ---- Loading a file ---- */

static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

/* The next `require "name"` at or after `at`; false: none. Comments are searched too: a module too many does no harm. */
static bool next_require(const char **at, const char *end, char name[MODULE_NAME_BYTES_MAX + 1]) {
  for (const char *p = *at; (size_t)(end - p) > 9; p++) {
    if (memcmp(p, "require", 7) != 0) continue;
    const char *q = p + 7;
    while (q < end && (is_space(*q) || *q == '(')) q++;
    if (q >= end || (*q != '"' && *q != '\'')) continue;
    const char *close = memchr(q + 1, *q, (size_t)(end - q - 1));
    size_t size = close ? (size_t)(close - q - 1) : 0;
    if (size == 0 || size > MODULE_NAME_BYTES_MAX) continue;
    memcpy(name, q + 1, size);
    name[size] = 0;
    *at = close + 1;
    if (strlen(name) == size) return true;
    p = close;
  }
  return false;
}

/* Modules that are required inside functions belong to the bundle too. */
static lnt_status add_mentioned(lnt__wvm *wvm, lnt__code *code, const char *source, size_t size, lnt_error *err) {
  char name[MODULE_NAME_BYTES_MAX + 1];
  const char *at = source;
  lnt__module *module;
  while (next_require(&at, source + size, name)) {
    if (is_builtin(name) || lnt__code_module(code, name)) continue;
    lnt_status status = find_module(wvm, code, name, &module, err);
    if (status && status != LNT_ENOTFOUND) return status;
  }
  return LNT_OK;
}

static lnt_status add_all_mentioned(lnt__wvm *wvm, lnt__code *code, const char *source, size_t size, lnt_error *err) {
  lnt_status status = add_mentioned(wvm, code, source, size, err);
  for (size_t i = 0; i < code->module_count && !status; i++)
    status = add_mentioned(wvm, code, code->modules[i].source, code->modules[i].size, err);
  return status;
}

typedef struct load_job { lnt__wvm *wvm; lnt__run *run; lnt_status status; lnt_error *err; } load_job;

static void load_failed(load_job *job, lua_State *co) {
  lnt__wvm *wvm = job->wvm;
  const char *file = job->run->code->file;
  if (wvm->guard.killed != LNT__KILL_NONE) {
    lnt__guard_explain(&wvm->guard, co);
    job->status = lnt__fail(job->err, LNT_ESYNTAX, "%s does not load: %s", file, wvm->guard.text);
    return;
  }
  lnt__buf failure;
  lnt_error err;
  size_t size = 0;
  lnt__buf_init(&failure);
  const char *text = NULL;
  if (!lnt__failure_encode(co, -1, 4096, &failure, &err))
    text = lnt__cbor_member_string((lnt_value){failure.data, failure.size}, "message", &size);
  job->status = lnt__fail(job->err, LNT_ESYNTAX, "%.*s", text ? (int)size : (int)strlen(file), text ? text : file);
  lnt__buf_finish(&failure);
}

static void load_entry(lua_State *L, void *argument) {
  load_job *job = argument;
  lnt__wvm *wvm = job->wvm;
  lnt__thread thread = lnt__thread_take(L);
  lnt__code_push_main(L, job->run->code);
  lua_xmove(L, thread.co, 1);
  const lnt__sandbox_host *host = wvm->guard.host;
  wvm->guard.host = NULL;
  wvm->run = job->run;
  int rc = lnt__resume(wvm, thread.co, 0);
  wvm->run = NULL;
  wvm->guard.host = host;
  if (rc == LUA_YIELD)
    job->status = lnt__fail(job->err, LNT_ESYNTAX, "%s: the top level of a file cannot wait or yield; do it inside a workflow",
                            job->run->code->file);
  else if (rc) load_failed(job, thread.co);
  lnt__thread_give(wvm, &thread, rc == 0);
}

static const char *base_name(const char *file) {
  const char *slash = strrchr(file, '/');
  return slash && slash[1] ? slash + 1 : file;
}

static lnt_status prepare(lnt__code *code, const char *file, lnt_error *err) {
  const char *base = base_name(file);
  size_t size = base == file ? 0 : (size_t)(base - file) - 1;
  code->file = lnt__strdup(base);
  code->folder = base == file ? lnt__strdup(".") : size == 0 ? lnt__strdup("/") : lnt__strndup(file, size);
  return code->file && code->folder ? LNT_OK : lnt__fail(err, LNT_ENOMEM, "out of memory while loading %s", file);
}

static lnt_status run_file(lnt__wvm *wvm, lnt__run *run, lnt_error *err) {
  load_job job = {wvm, run, LNT_OK, err};
  uint32_t modules_slot = 0;
  run->modules_slot = &modules_slot;
  lnt_status status = lnt__protected(wvm, load_entry, &job, err);
  wvm->run = NULL;
  wvm->guard.host = &wvm->host;
  lnt__release(wvm, &modules_slot);
  return status ? status : job.status;
}

lnt_status lnt__vm_defines(void *vm, const uint8_t *hash, const char *workflow, lnt_error *err) {
  lnt__wvm *wvm = vm;
  lnt__code *code;
  lnt_status status = lnt__code_get(wvm, hash, &code, err);
  if (status) return status;
  lnt__run run = {.code = code, .wanted = workflow};
  status = run_file(wvm, &run, err);
  if (!status && !run.function_slot)
    status = lnt__fail(err, LNT_ENOTFOUND, "the code %.12s of %s does not define the workflow \"%s\"", code->hex, code->file, workflow);
  lnt__release(wvm, &run.function_slot);
  lnt__code_release(wvm, code);
  return status;
}

/* May the file define its names? Another file's are not taken. */
static lnt_status check_names(lnt__wvm *wvm, const lnt__staged *staged, lnt_error *err) {
  for (size_t i = 0; i < staged->name_count; i++) {
    const lnt__definition *known = lnt__strmap_get(&wvm->definitions, staged->names[i].name);
    if (known && strcmp(known->file, staged->file) != 0)
      return lnt__fail(err, LNT_EEXIST, "the workflow \"%s\" of %s is defined by %s already; give one of them another name",
                       staged->names[i].name, staged->file, known->file);
  }
  return LNT_OK;
}

static void definition_free(lnt__definition *definition) {
  lnt__free(definition->name);
  lnt__free(definition->file);
  lnt__free(definition);
}

static bool definition_add(lnt__wvm *wvm, const char *name, const char *file, lnt__code *code) {
  lnt__definition *definition = lnt__calloc(1, sizeof *definition);
  if (!definition) return false;
  *definition = (lnt__definition){lnt__strdup(name), lnt__strdup(file), code, true};
  if (definition->name && definition->file && lnt__strmap_put(&wvm->definitions, definition->name, definition)) {
    code->refs++;
    return true;
  }
  definition_free(definition);
  return false;
}

lnt_status lnt__wvm_revive(lnt__wvm *wvm, const char *file, const char *workflow, const uint8_t *hash, lnt_error *err) {
  lnt__code *code;
  if (lnt__strmap_get(&wvm->definitions, workflow)) return lnt__fail(err, LNT_EEXIST, "the workflow \"%s\" is defined already", workflow);
  lnt_status status = lnt__vm_defines(wvm, hash, workflow, err);
  if (!status) status = lnt__code_get(wvm, hash, &code, err);
  if (status) return status;
  if (!definition_add(wvm, workflow, file, code)) status = lnt__fail(err, LNT_ENOMEM, "out of memory while loading %s", file);
  lnt__code_release(wvm, code);
  return status;
}

static void definition_drop(lnt__wvm *wvm, lnt__definition *definition) {
  lnt__strmap_remove(&wvm->definitions, definition->name);
  lnt__code_release(wvm, definition->code);
  definition_free(definition);
}

static bool defines(const lnt__staged *staged, const char *name) {
  for (size_t i = 0; i < staged->name_count; i++)
    if (strcmp(staged->names[i].name, name) == 0) return true;
  return false;
}

/* Names of the file that it does not define any more. */
static void forget_names(lnt__wvm *wvm, const lnt__staged *staged) {
  size_t at = 0;
  const char *name;
  void *value;
  while (lnt__strmap_next(&wvm->definitions, &at, &name, &value)) {
    lnt__definition *definition = value;
    if (strcmp(definition->file, staged->file) != 0 || defines(staged, name)) continue;
    definition_drop(wvm, definition);
    at = 0;
  }
}

/* Take back the first `count` names, those that were not there before. */
static void drop_fresh(lnt__wvm *wvm, const lnt__staged *staged, size_t count) {
  for (size_t i = 0; i < count; i++) {
    lnt__definition *known = lnt__strmap_get(&wvm->definitions, staged->names[i].name);
    if (known && known->is_fresh) definition_drop(wvm, known);
  }
}

/* Room for the file among those that are loaded; NULL: out of memory. */
static lnt__loaded *loaded_of(lnt__wvm *wvm, const char *file) {
  lnt__loaded *loaded = lnt__strmap_get(&wvm->files, file);
  if (loaded) return loaded;
  loaded = lnt__calloc(1, sizeof *loaded);
  if (loaded) loaded->file = lnt__strdup(file);
  if (loaded && loaded->file && lnt__strmap_put(&wvm->files, loaded->file, loaded)) return loaded;
  if (loaded) lnt__free(loaded->file);
  lnt__free(loaded);
  return NULL;
}

/* All memory is got before anything changes. */
lnt_status lnt__wvm_switch(lnt__wvm *wvm, lnt__staged *staged, lnt_error *err) {
  lnt_status status = check_names(wvm, staged, err);
  lnt__loaded *loaded = status ? NULL : loaded_of(wvm, staged->file);
  if (status) return status;
  if (!loaded) return lnt__fail(err, LNT_ENOMEM, "out of memory while loading %s", staged->file);
  for (size_t i = 0; i < staged->name_count; i++) {
    lnt__definition *known = lnt__strmap_get(&wvm->definitions, staged->names[i].name);
    if (known) continue;
    if (definition_add(wvm, staged->names[i].name, staged->file, staged->code)) continue;
    drop_fresh(wvm, staged, i);
    return lnt__fail(err, LNT_ENOMEM, "out of memory while loading %s", staged->file);
  }
  for (size_t i = 0; i < staged->name_count; i++) {
    lnt__definition *known = lnt__strmap_get(&wvm->definitions, staged->names[i].name);
    known->is_fresh = false;
    if (known->code == staged->code) continue;
    staged->code->refs++;
    lnt__code_release(wvm, known->code);
    known->code = staged->code;
  }
  forget_names(wvm, staged);
  staged->code->refs++;
  if (loaded->code) lnt__code_release(wvm, loaded->code);
  loaded->code = staged->code;
  return LNT_OK;
}

void lnt__wvm_unstage(lnt__wvm *wvm, lnt__staged *staged) {
  if (!staged) return;
  if (staged->code) lnt__code_release(wvm, staged->code);
  for (size_t i = 0; i < staged->name_count; i++) lnt__free(staged->names[i].name);
  lnt__free(staged->names);
  for (size_t i = 0; i < staged->activity_count; i++) {
    lnt__free(staged->activities[i].name);
    lnt__free(staged->activities[i].text);
  }
  lnt__free(staged->activities);
  lnt__free(staged->file);
  lnt__free(staged->bundle);
  lnt__free(staged);
}

/* The candidate becomes the code of its hash, unless that is known already. */
static lnt_status adopt(lnt__wvm *wvm, lnt__run *run, lnt__staged *staged, lnt_error *err) {
  lnt__sha256 sha;
  lnt__sha256_init(&sha);
  lnt__sha256_add(&sha, staged->bundle, staged->bundle_size);
  lnt__sha256_end(&sha, staged->hash);
  lnt__code *known = code_find(wvm, staged->hash);
  if (known) {
    lnt__code_free(wvm, run->code);
    run->code = known;
  } else {
    lnt_status status = code_register(wvm, run->code, staged->hash, err);
    if (status) return status;
  }
  staged->code = run->code;
  staged->code->refs++;
  run->code = NULL; /* the registry's now */
  return LNT_OK;
}

static lnt_status stage(lnt__wvm *wvm, lnt__run *run, const char *source, size_t size, lnt__staged *staged, lnt_error *err) {
  lnt__buf bundle;
  lnt__buf_init(&bundle);
  lnt_status status = prepare(run->code, staged->file, err);
  if (!status) status = compile_main(wvm, run->code, source, size, err);
  run->source = source;
  run->source_size = size;
  if (!status) status = run_file(wvm, run, err);
  staged->names = run->names;
  staged->name_count = run->name_count;
  staged->activities = run->activities;
  staged->activity_count = run->activity_count;
  if (!status) status = check_names(wvm, staged, err);
  if (!status) status = add_all_mentioned(wvm, run->code, source, size, err);
  if (!status) status = lnt__bundle_write(run->code, source, size, &bundle, err);
  if (!status) {
    staged->bundle = lnt__buf_detach(&bundle, &staged->bundle_size);
    status = adopt(wvm, run, staged, err);
  }
  lnt__buf_finish(&bundle);
  return status;
}

lnt_status lnt__wvm_stage(lnt__wvm *wvm, const char *file, const char *source, size_t size, lnt__staged **out, lnt_error *err) {
  lnt__run run = {.code = lnt__calloc(1, sizeof *run.code)};
  lnt__staged *staged = lnt__calloc(1, sizeof *staged);
  if (staged) staged->file = lnt__strdup(file);
  lnt_status status = run.code && staged && staged->file ? stage(wvm, &run, source, size, staged, err)
                                                          : lnt__fail(err, LNT_ENOMEM, "out of memory while loading %s", file);
  lnt__code_free(wvm, run.code);
  if (!status) *out = staged;
  else lnt__wvm_unstage(wvm, staged);
  return status;
}

lnt_status lnt__wvm_load(lnt__wvm *wvm, const char *file, const char *source, size_t size, void **bundle, size_t *bundle_size,
                         uint8_t hash[LNT__SHA256_BYTES], lnt_error *err) {
  lnt__staged *staged;
  lnt_status status = lnt__wvm_stage(wvm, file, source, size, &staged, err);
  if (status) return status;
  status = lnt__wvm_switch(wvm, staged, err);
  if (!status) {
    *bundle = staged->bundle;
    *bundle_size = staged->bundle_size;
    memcpy(hash, staged->hash, LNT__SHA256_BYTES);
    staged->bundle = NULL;
  }
  lnt__wvm_unstage(wvm, staged);
  return status;
}

const uint8_t *lnt__wvm_current(const lnt__wvm *wvm, const char *workflow) {
  const lnt__definition *definition = lnt__strmap_get(&wvm->definitions, workflow);
  return definition ? definition->code->hash : NULL;
}

lnt_status lnt__wvm_check(lnt__wvm *wvm, const char *file, const char *source, size_t size, lnt_error *err) {
  uint32_t slot = 0;
  lnt_status status = compile(wvm, file, source, size, &slot, err);
  lnt__release(wvm, &slot);
  return status;
}

static bool has_module(const lnt__code *code, const char *module_file) {
  for (size_t i = 0; i < code->module_count; i++)
    if (strcmp(code->modules[i].file, module_file) == 0) return true;
  return false;
}

bool lnt__wvm_requires(const lnt__wvm *wvm, const char *file, const char *module_file) {
  const lnt__loaded *loaded = lnt__strmap_get(&wvm->files, file);
  return loaded && loaded->code && has_module(loaded->code, module_file);
}

const uint8_t *lnt__wvm_loaded(const lnt__wvm *wvm, const char *file) {
  const lnt__loaded *loaded = lnt__strmap_get(&wvm->files, file);
  return loaded && loaded->code ? loaded->code->hash : NULL;
}

/* ---- Names ---- */

size_t lnt__edits(const char *a, const char *b) {
  size_t row[LNT_NAME_BYTES_MAX + 2], size = strlen(b);
  if (size > LNT_NAME_BYTES_MAX || strlen(a) > LNT_NAME_BYTES_MAX) return SIZE_MAX;
  for (size_t j = 0; j <= size; j++) row[j] = j;
  for (size_t i = 1; a[i - 1]; i++) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= size; j++) {
      size_t best = diagonal + (a[i - 1] != b[j - 1]), above = row[j];
      if (above + 1 < best) best = above + 1;
      if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
      diagonal = above;
      row[j] = best;
    }
  }
  return row[size];
}

static int compare_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

/* The first names in the order of the alphabet: a failure may have this text in the journal, and the map's order is the process's own. */
static void list_names(const lnt__wvm *wvm, lnt__buf *out) {
  const char **names = lnt__alloc((wvm->definitions.count + 1) * sizeof *names), *name;
  void *value;
  size_t at = 0, count = 0;
  while (names && lnt__strmap_next(&wvm->definitions, &at, &name, &value)) names[count++] = name;
  if (count) qsort(names, count, sizeof *names, compare_text);
  for (size_t i = 0; i < count && i < NEAR_NAMES_MAX; i++) lnt__buf_printf(out, "%s%s", i ? ", " : "", names[i]);
  if (count > NEAR_NAMES_MAX) lnt__buf_printf(out, " and %zu more", count - NEAR_NAMES_MAX);
  if (count == 0) lnt__buf_printf(out, "none");
  lnt__free(names);
}

static const char *nearest_name(const lnt__wvm *wvm, const char *workflow) {
  const char *name, *nearest = NULL;
  void *value;
  size_t at = 0, best = 3;
  while (lnt__strmap_next(&wvm->definitions, &at, &name, &value)) {
    size_t edits = lnt__edits(workflow, name);
    if (edits < best || (nearest && edits == best && strcmp(name, nearest) < 0)) best = edits, nearest = name;
  }
  return nearest;
}

static lnt_status no_such(const lnt__wvm *wvm, const char *workflow, lnt_error *err) {
  lnt__buf list;
  const char *nearest = nearest_name(wvm, workflow);
  lnt__buf_init(&list);
  list_names(wvm, &list);
  if (nearest)
    lnt__fail(err, LNT_ENOTFOUND, "no workflow \"%s\" is loaded; did you mean \"%s\"? Loaded: %.*s", workflow, nearest, (int)list.size,
              list.data);
  else lnt__fail(err, LNT_ENOTFOUND, "no workflow \"%s\" is loaded; loaded: %.*s", workflow, (int)list.size, list.data);
  lnt__buf_finish(&list);
  return LNT_ENOTFOUND;
}

lnt_status lnt__wvm_resolve(lnt__wvm *wvm, const char *workflow, uint8_t hash[LNT__SHA256_BYTES], lnt_error *err) {
  const lnt__definition *definition = lnt__strmap_get(&wvm->definitions, workflow);
  if (!definition) return no_such(wvm, workflow, err);
  memcpy(hash, definition->code->hash, LNT__SHA256_BYTES);
  return LNT_OK;
}

void lnt__wvm_each(lnt__wvm *wvm, lnt_workflow_fn fn, void *user) {
  size_t at = 0;
  const char *name;
  void *value;
  while (lnt__strmap_next(&wvm->definitions, &at, &name, &value)) {
    const lnt__definition *definition = value;
    fn(user, name, definition->file, definition->code->hex);
  }
}
