/* sandbox_match.h - the matcher of Lua patterns, for sandbox_match.c and gsub in sandbox_string.c. Everything RAISES. */
#ifndef LNT__SANDBOX_MATCH_H
#define LNT__SANDBOX_MATCH_H

#include "vm/sandbox_lib.h"

#define LNT__MATCH_CAPTURES_MAX 32

typedef struct lnt__match {
  lua_State *L;
  lnt__guard *guard;
  const char *text, *text_end, *pattern, *pattern_end; /* the pattern without its '^' */
  int depth, level;
  struct lnt__capture { const char *at; ptrdiff_t size; } captures[LNT__MATCH_CAPTURES_MAX];
} lnt__match;

void lnt__match_init(lnt__match *m, lua_State *L, const char *text, size_t text_size, const char *pattern, size_t pattern_size);
const char *lnt__match_at(lnt__match *m, const char *s);       /* the end of a match that begins at `s`; NULL: none */
int lnt__match_count(const lnt__match *m, bool whole);          /* captures; `whole`: at least one, the whole match */
void lnt__match_push(lnt__match *m, int index, const char *s, const char *end); /* capture `index`, from 0 */
int lnt__match_push_all(lnt__match *m, const char *s, const char *end, bool whole);

#endif
