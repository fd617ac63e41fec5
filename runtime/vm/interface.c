/* interface.c - what an activity shows to those who call it: the parameters of its function, its options, and the annotations above it, as
 * one text. Called by code.c while a file is loaded; owner thread. */
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>

#include "vm/workflow.h"

enum { PARAMETERS_MAX = 20, OPTIONS_MAX = 20, ANNOTATIONS_MAX = 40 };

/* The names that the function at the top has for its arguments; it is popped. RAISES. */
static void add_parameters(lua_State *L, const char *name, lnt__buf *out) {
  lnt__buf_printf(out, "%s(", name);
  for (int i = 1; i <= PARAMETERS_MAX; i++) {
    const char *parameter = lua_getlocal(L, NULL, i);
    if (!parameter) break;
    lnt__buf_printf(out, "%s%s", i > 1 ? ", " : "", parameter);
  }
  lnt__buf_printf(out, ")");
}

static int compare_texts(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

/* The options at `index`, by name. RAISES. */
static void add_options(lua_State *L, int index, lnt__buf *out) {
  const char *names[OPTIONS_MAX];
  size_t count = 0;
  if (!lua_istable(L, index)) return;
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1))
    if (lua_type(L, -2) == LUA_TSTRING && count < OPTIONS_MAX) names[count++] = lua_tostring(L, -2);
  if (count) qsort(names, count, sizeof *names, compare_texts);
  for (size_t i = 0; i < count; i++) {
    lua_getfield(L, index, names[i]);
    bool flag = lua_isboolean(L, -1);
    const char *value = flag ? (lua_toboolean(L, -1) ? "true" : "false") : lua_tostring(L, -1);
    lnt__buf_printf(out, "; %s = %s", names[i], value ? value : luaL_typename(L, -1));
    lua_pop(L, 1);
  }
}

/* ---- Annotations ---- */

typedef struct line { const char *text; size_t size; } line;

static line trimmed(const char *from, const char *to) {
  while (from < to && (*from == ' ' || *from == '\t')) from++;
  while (to > from && (to[-1] == ' ' || to[-1] == '\r' || to[-1] == '\t')) to--;
  return (line){from, (size_t)(to - from)};
}

/* Where line `number` begins; NULL: there are fewer. */
static const char *line_at(const char *source, size_t size, int number) {
  const char *at = source, *end = source + size;
  for (int i = 1; i < number; i++) {
    at = memchr(at, '\n', (size_t)(end - at));
    if (!at) return NULL;
    at++;
  }
  return at;
}

/* The lines `---@...` of the comment that stands directly above line `number`, in order. */
static void add_annotations(const char *source, size_t size, int number, lnt__buf *out) {
  line found[ANNOTATIONS_MAX];
  size_t count = 0;
  const char *below = line_at(source, size, number);
  while (below && below > source) {
    const char *end = below - 1, *from = end;
    while (from > source && from[-1] != '\n') from--;
    line one = trimmed(from, end);
    if (one.size < 2 || memcmp(one.text, "--", 2) != 0) break;
    if (one.size > 4 && memcmp(one.text, "---@", 4) == 0 && count < ANNOTATIONS_MAX) found[count++] = one;
    below = from;
  }
  while (count > 0) {
    count--;
    lnt__buf_printf(out, "; %.*s", (int)(found[count].size - 3), found[count].text + 3);
  }
}

/* The text of the file or module in which a function stands. */
static line source_of(const lnt__run *run, const char *chunk) {
  const char *file = *chunk == '@' ? chunk + 1 : chunk;
  if (strcmp(file, run->code->file) == 0) return (line){run->source, run->source_size};
  for (size_t i = 0; i < run->code->module_count; i++) {
    const lnt__module *module = &run->code->modules[i];
    if (strcmp(module->file, file) == 0) return (line){module->source, module->size};
  }
  return (line){NULL, 0};
}

static bool add_activity(lnt__run *run, const char *name, lnt__buf *text) {
  size_t size;
  char *copy = lnt__strdup(name);
  lnt__buf_u8(text, 0);
  bool good = copy && !text->failed &&
              lnt__grow((void **)&run->activities, &run->activity_capacity, run->activity_count + 1, sizeof *run->activities);
  if (good) run->activities[run->activity_count++] = (lnt__staged_activity){copy, lnt__buf_detach(text, &size)};
  else lnt__free(copy);
  return good;
}

void lnt__interface_note(lua_State *L, lnt__run *run, const char *name, int options, int function) {
  lua_Debug ar;
  lnt__buf text;
  lua_pushvalue(L, function);
  lua_getinfo(L, ">S", &ar);
  if (ar.what[0] == 'C') return;
  line source = source_of(run, ar.source);
  lnt__buf_init(&text);
  lua_pushvalue(L, function);
  add_parameters(L, name, &text);
  lua_pop(L, 1);
  add_options(L, options, &text);
  if (source.text) add_annotations(source.text, source.size, ar.linedefined, &text);
  if (text.size > LNT__INTERFACE_BYTES_MAX) text.size = LNT__INTERFACE_BYTES_MAX;
  bool good = add_activity(run, name, &text);
  lnt__buf_finish(&text);
  if (!good) luaL_error(L, "not enough memory");
}
