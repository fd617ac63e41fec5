/* sandbox_compile.c - turns an author's text into a function, with an error that shows the line. Called by the workflow VM; owner thread.
 *
 * The text is read as tokens first, for two things that LuaJIT's parser would let through: literals that make cdata without the ffi
 * library (1LL, 2ULL, 3i), and loops over a constant (`for x in nil`), which make the parser read instructions that are not there and
 * crash (LuaJIT issue 1033). And the words that jump are counted: LuaJIT needs a time that grows with the square of a chain of them. */
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>

#include "vm/sandbox_lib.h"

#define LINE_SHOWN_MAX 200
#define JUMPS_MAX 16000
#define TEXT_OF(number) TEXT_OF_(number)
#define TEXT_OF_(number) #number

typedef enum token_kind { TOKEN_END, TOKEN_NAME, TOKEN_NUMBER, TOKEN_STRING, TOKEN_OTHER } token_kind;

typedef struct scanner {
  const char *at, *end;
  int line;
  token_kind kind; /* of the token read last */
  const char *token;
  size_t size;
} scanner;

static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_name(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || is_digit(c) || (c & 0x80); }
static char peek(const scanner *s, size_t ahead) { return (size_t)(s->end - s->at) > ahead ? s->at[ahead] : 0; }

static void advance(scanner *s) {
  if (*s->at++ == '\n') s->line++;
}

/* At "[==[" or "[[": how many '=' there are; -1: it is no long bracket. */
static int long_bracket(const scanner *s) {
  size_t level = 0;
  if (peek(s, 0) != '[') return -1;
  while (peek(s, level + 1) == '=') level++;
  return peek(s, level + 1) == '[' ? (int)level : -1;
}

static bool closes(const scanner *s, int level) {
  if (peek(s, 0) != ']' || peek(s, (size_t)level + 1) != ']') return false;
  for (int i = 1; i <= level; i++) {
    if (peek(s, (size_t)i) != '=') return false;
  }
  return true;
}

static void skip_long(scanner *s, int level) {
  for (s->at += level + 2; s->at < s->end; advance(s)) {
    if (!closes(s, level)) continue;
    s->at += level + 2;
    return;
  }
}

static void skip_line(scanner *s) {
  while (s->at < s->end && *s->at != '\n' && *s->at != '\r') s->at++;
}

static bool is_blank(char c) { return c == ' ' || (c >= 9 && c <= 13); }

/* After a backslash: what it makes part of the string. \z takes all blanks that follow, an escaped line end may be two characters. */
static void skip_escape(scanner *s) {
  char first = peek(s, 0), second = peek(s, 1);
  if (s->at < s->end) advance(s);
  if ((first == '\r' && second == '\n') || (first == '\n' && second == '\r')) advance(s);
  while (first == 'z' && s->at < s->end && is_blank(*s->at)) advance(s);
}

static void skip_quoted(scanner *s) {
  char quote = *s->at++;
  while (s->at < s->end && *s->at != quote && *s->at != '\n') {
    bool escapes = *s->at == '\\';
    advance(s);
    if (escapes) skip_escape(s);
  }
  if (s->at < s->end) advance(s);
}

static void skip_blank(scanner *s) {
  while (s->at < s->end) {
    char c = *s->at;
    if (is_blank(c)) {
      advance(s);
    } else if (c == '-' && peek(s, 1) == '-') {
      s->at += 2;
      int level = long_bracket(s);
      if (level >= 0) skip_long(s, level);
      else skip_line(s);
    } else {
      return;
    }
  }
}

/* As LuaJIT reads a number: letters and digits, points, and a sign after the exponent's letter. */
static void skip_number(scanner *s) {
  char exponent = peek(s, 0) == '0' && (peek(s, 1) | 0x20) == 'x' ? 'p' : 'e';
  char last = *s->at;
  for (; s->at < s->end; last = *s->at++) {
    bool sign = (*s->at == '-' || *s->at == '+') && (last | 0x20) == exponent;
    if (!is_name(*s->at) && *s->at != '.' && !sign) return;
  }
}

static token_kind next_token(scanner *s) {
  skip_blank(s);
  s->token = s->at;
  if (s->at >= s->end) return s->kind = TOKEN_END;
  char c = *s->at;
  int level;
  if (is_digit(c) || (c == '.' && is_digit(peek(s, 1)))) {
    skip_number(s);
    s->kind = TOKEN_NUMBER;
  } else if (is_name(c)) {
    while (s->at < s->end && is_name(*s->at)) s->at++;
    s->kind = TOKEN_NAME;
  } else if (c == '"' || c == '\'') {
    skip_quoted(s);
    s->kind = TOKEN_STRING;
  } else if ((level = long_bracket(s)) >= 0) {
    skip_long(s, level);
    s->kind = TOKEN_STRING;
  } else {
    size_t dots = 0;
    while (c == '.' && peek(s, dots) == '.') dots++;
    s->at += dots ? dots : 1;
    s->kind = TOKEN_OTHER;
  }
  s->size = (size_t)(s->at - s->token);
  return s->kind;
}

static bool is(const scanner *s, const char *text) {
  return s->kind != TOKEN_STRING && s->size == strlen(text) && memcmp(s->token, text, s->size) == 0;
}

static bool has_cdata_suffix(const scanner *s) {
  for (size_t i = 0; i < s->size; i++) {
    if (strchr("iIlLuU", s->token[i])) return true;
  }
  return false;
}

static bool is_constant(const scanner *s) {
  return s->kind == TOKEN_NUMBER || is(s, "nil") || is(s, "true") || is(s, "false") || is(s, "not");
}

/* After `in`: nothing that is folded to nil may stand there. Nobody loops over a constant, so all of them are refused. */
static bool loops_over_constant(scanner *s) {
  do next_token(s);
  while (is(s, "(") || is(s, "-"));
  if (is_constant(s)) return true;
  if (s->kind != TOKEN_STRING) return false;
  do next_token(s);
  while (is(s, ")"));
  return is(s, "and") || is(s, "or");
}

static bool is_jump(const scanner *s) {
  static const char *const words[] = {"and", "or", "elseif", "goto", "break"};
  for (size_t i = 0; s->kind == TOKEN_NAME && i < LNT__COUNT(words); i++) {
    if (is(s, words[i])) return true;
  }
  return false;
}

/* At the first token, after a mark of the encoding and a line for the shell. */
static scanner scanner_of(const char *source, size_t size) {
  scanner s = {.at = source, .end = source + size, .line = 1};
  if (size >= 3 && memcmp(source, "\xef\xbb\xbf", 3) == 0) s.at += 3;
  if (peek(&s, 0) == '#') skip_line(&s);
  return s;
}

/* What the text may not hold; NULL: nothing of the kind. `*line` is its line. */
static const char *objection(const char *source, size_t size, int *line) {
  scanner s = scanner_of(source, size);
  int jumps = 0;
  next_token(&s);
  while (s.kind != TOKEN_END) {
    *line = s.line;
    if (s.kind == TOKEN_NUMBER && has_cdata_suffix(&s))
      return "64-bit integer and imaginary literals are not available in a workflow; write an ordinary number, or a string";
    if (is_jump(&s) && ++jumps > JUMPS_MAX)
      return "more than " TEXT_OF(JUMPS_MAX) " 'and', 'or', 'elseif', 'goto' and 'break' in one file; split it into modules";
    if (is(&s, "in")) {
      scanner ahead = s;
      if (loops_over_constant(&ahead)) return "a loop over a constant: write pairs(t), ipairs(t) or a function after 'in'";
    }
    next_token(&s);
  }
  return NULL;
}

/* ---- Calls in the tail position ---- */

/* From an opening bracket to after the one that closes it; answers where that one ends. */
static const char *skip_brackets(scanner *s) {
  const char *end = s->at;
  int depth = 0;
  do {
    if (s->kind == TOKEN_OTHER && strchr("([{", *s->token)) depth++;
    if (s->kind == TOKEN_OTHER && strchr(")]}", *s->token)) depth--;
    end = s->at;
    next_token(s);
  } while (depth > 0 && s->kind != TOKEN_END);
  return end;
}

/* `root.name:verb(...)`, or `root.verb(...)`. */
typedef struct call {
  const char *root, *verb, *end;
  size_t root_size, verb_size;
  bool is_method;
} call;

/* After `return`: is it a call and nothing more? */
static bool is_tail_call(scanner *s, call *out) {
  static const char *const ends[] = {"end", "else", "elseif", "until", ";"};
  *out = (call){.root = s->token, .root_size = s->size};
  while (s->kind == TOKEN_NAME) {
    out->verb = s->token, out->verb_size = s->size;
    if (next_token(s) != TOKEN_OTHER || !is(s, ".")) break;
    next_token(s);
  }
  if (is(s, ":")) {
    if (next_token(s) != TOKEN_NAME) return false;
    *out = (call){out->root, s->token, NULL, out->root_size, s->size, true};
    next_token(s);
  }
  out->end = s->at;
  if (is(s, "(") || is(s, "{")) out->end = skip_brackets(s);
  else if (s->kind == TOKEN_STRING) next_token(s);
  else return false;
  for (size_t i = 0; i < LNT__COUNT(ends); i++)
    if (is(s, ends[i])) return true;
  return s->kind == TOKEN_END;
}

/* The next one from where the scanner stands; false: there is none. It goes on inside the call. */
static bool next_tail_call(scanner *s, call *out) {
  while (next_token(s) != TOKEN_END) {
    scanner ahead = *s;
    if (s->kind == TOKEN_NAME && is(s, "return") && next_token(&ahead) == TOKEN_NAME && is_tail_call(&ahead, out)) return true;
  }
  return false;
}

void lnt__sandbox_tail_calls(const char *source, size_t size, void (*fn)(void *user, const char *verb, size_t verb_size, int line),
                             void *user) {
  scanner s = {.at = source, .end = source + size, .line = 1};
  call found;
  while (next_tail_call(&s, &found)) {
    scanner ahead = s;
    next_token(&ahead);
    if (found.is_method) fn(user, found.verb, found.verb_size, ahead.line);
  }
}

static bool is_text(const char *text, size_t size, const char *wanted) {
  return size == strlen(wanted) && memcmp(text, wanted, size) == 0;
}

/* What waits, or refuses what it is given: for these the line of the call is wanted. Not every call: a function that calls itself for
 * ever in the tail position needs no stack for that. */
static bool wants_frame(const call *c) {
  static const char *const modules[] = {"saga", "parallel", "retry", "approval", "json"};
  if (c->is_method) return is_text(c->root, c->root_size, "ctx") || is_text(c->verb, c->verb_size, "await");
  for (size_t i = 0; i < LNT__COUNT(modules); i++)
    if (c->verb != c->root && is_text(c->root, c->root_size, modules[i])) return true;
  return false;
}

typedef struct edit { const char *at, *text; } edit;

static int compare_edits(const void *a, const void *b) {
  const edit *left = a, *right = b;
  return left->at < right->at ? -1 : left->at > right->at;
}

void lnt__sandbox_keep_frames(const char *source, size_t size, lnt__buf *out) {
  scanner s = {.at = source, .end = source + size, .line = 1};
  lnt__buf edits;
  call found;
  lnt__buf_init(&edits);
  while (next_tail_call(&s, &found)) {
    const edit pair[] = {{found.root, "(function(...) return ... end)("}, {found.end, ")"}};
    if (wants_frame(&found)) lnt__buf_append(&edits, pair, sizeof pair);
  }
  size_t count = edits.failed ? 0 : edits.size / sizeof(edit); /* without memory for it messages know less */
  edit *list = (edit *)(void *)edits.data;
  if (count) qsort(list, count, sizeof *list, compare_edits);
  for (size_t i = 0; i < count; i++) {
    lnt__buf_append(out, source, (size_t)(list[i].at - source));
    lnt__buf_append(out, list[i].text, strlen(list[i].text));
    size -= (size_t)(list[i].at - source);
    source = list[i].at;
  }
  lnt__buf_append(out, source, size);
  lnt__buf_finish(&edits);
}

/* ---- Lengths ---- */

void lnt__sandbox_lengths(const char *source, size_t size, void (*fn)(void *user, const char *operand, size_t size, int line), void *user) {
  scanner s = {.at = source, .end = source + size, .line = 1};
  if (peek(&s, 0) == '#') skip_line(&s);
  while (next_token(&s) != TOKEN_END) {
    if (s.kind != TOKEN_OTHER || !is(&s, "#")) continue;
    int line = s.line;
    scanner ahead = s;
    const char *from = next_token(&ahead) == TOKEN_NAME ? ahead.token : NULL, *to = from;
    while (from && ahead.kind == TOKEN_NAME) {
      to = ahead.token + ahead.size;
      if (next_token(&ahead) != TOKEN_OTHER || !is(&ahead, ".") || next_token(&ahead) != TOKEN_NAME) break;
    }
    bool plain = from && !is(&ahead, "(") && !is(&ahead, "[") && !is(&ahead, ":") && !memchr(from, ' ', (size_t)(to - from));
    fn(user, from, plain ? (size_t)(to - from) : 0, line);
  }
}

/* ---- All tokens ---- */

void lnt__sandbox_tokens(const char *source, size_t size, void (*fn)(void *user, const lnt__token *token), void *user) {
  scanner s = scanner_of(source, size);
  while (next_token(&s) != TOKEN_END) {
    int lines = 0;
    for (const char *at = s.token; at < s.at; at++) lines += *at == '\n';
    lnt__token token = {s.token, (size_t)(s.at - s.token), s.line - lines, s.line, s.kind == TOKEN_NAME, s.kind == TOKEN_STRING};
    fn(user, &token);
  }
}

/* ---- Messages ---- */

/* Text for people: what is not printable ASCII or UTF-8 becomes '?'. */
static void make_printable(char *text) {
  bool utf8 = lnt__utf8_valid(text, strlen(text));
  for (char *c = text; *c; c++) {
    if (*c == '\t' || *c == '\n' || *c == '\r') *c = ' ';
    else if ((uint8_t)*c < 32 || *c == 127 || (!utf8 && ((uint8_t)*c & 0x80))) *c = '?';
  }
}

/* Line `line` of the source without its indentation, at most LINE_SHOWN_MAX bytes. */
static void copy_line(const char *source, size_t size, int line, char *out) {
  const char *at = source, *end = source + size;
  for (int i = 1; i < line && at < end; at++) i += *at == '\n';
  while (at < end && (*at == ' ' || *at == '\t')) at++;
  const char *stop = at;
  while (stop < end && *stop != '\n' && *stop != '\r' && stop - at < LINE_SHOWN_MAX) stop++;
  while ((stop - at) == LINE_SHOWN_MAX && ((uint8_t)*stop & 0xc0) == 0x80) stop--;
  memcpy(out, at, (size_t)(stop - at));
  out[stop - at] = 0;
}

static lnt_status fail_at(lnt_error *err, const char *message, const char *source, size_t size, int line) {
  char shown[LINE_SHOWN_MAX + 1], text[LNT_ERROR_MESSAGE_MAX];
  copy_line(source, size, line, shown);
  snprintf(text, sizeof text, "%s%s%s", message, shown[0] ? "; the line reads: " : "", shown);
  make_printable(text);
  return lnt__fail(err, LNT_ESYNTAX, "%s", text);
}

/* "quests.lua" of the chunk name "@dir/quests.lua" is what LuaJIT's messages begin with: the name without its sign. */
static const char *shown_name(const char *name) { return *name == '@' || *name == '=' ? name + 1 : name; }

/* The line in "name:12: text", or 0. */
static int line_of(const char *message) {
  for (const char *at = strchr(message, ':'); at; at = strchr(at + 1, ':')) {
    int line = 0;
    const char *digit = at + 1;
    while (is_digit(*digit) && line < 100000000) line = line * 10 + (*digit++ - '0');
    if (digit > at + 1 && *digit == ':') return line;
  }
  return 0;
}

static lnt_status fail_to_load(lua_State *L, int status, const char *name, const char *source, size_t size, lnt_error *err) {
  if (status == LUA_ERRMEM) {
    lua_pop(L, 1);
    return lnt__fail(err, LNT_ENOMEM, "%s: out of memory while it was compiled", shown_name(name));
  }
  char message[LNT_ERROR_MESSAGE_MAX];
  snprintf(message, sizeof message, "%s", lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "does not load");
  lua_pop(L, 1);
  int line = line_of(message);
  if (strstr(message, "wrong mode")) return lnt__fail(err, LNT_ESYNTAX, "%s: this is compiled Lua; only text is loaded", shown_name(name));
  return line ? fail_at(err, message, source, size, line) : lnt__fail(err, LNT_ESYNTAX, "%s", message);
}

lnt_status lnt__sandbox_compile(lua_State *L, const char *name, const char *source, size_t size, lnt_error *err) {
  if (size > LNT__SANDBOX_SOURCE_BYTES_MAX)
    return lnt__fail(err, LNT_ELIMIT, "%s: %zu bytes of source; the limit is %u", shown_name(name), size, LNT__SANDBOX_SOURCE_BYTES_MAX);
  int line = 1;
  const char *reason = size > 0 && *source == '\x1b' ? NULL : objection(source, size, &line);
  if (reason) {
    char message[LNT_ERROR_MESSAGE_MAX];
    snprintf(message, sizeof message, "%s:%d: %s", shown_name(name), line, reason);
    return fail_at(err, message, source, size, line);
  }
  int status = luaL_loadbufferx(L, source, size, name, "t");
  return status ? fail_to_load(L, status, name, source, size, err) : LNT_OK;
}
