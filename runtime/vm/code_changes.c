/* code_changes.c - what is different in two versions of a workflow's code, and whether a body runs any of it. Asked by the engine's trials
 * through lnt__vm; owner thread.
 *
 * The texts are compared as tokens, so spaces, comments and line breaks make no difference. A change is met when a line runs that holds a
 * token which the other version does not have there. Where a token stands on a line that has no instruction of its own (an `end`, an
 * `else`, a part of a table), the nearest lines before and after that have some count instead. In doubt a change counts as met: "not met"
 * is what must be true. Apart from that:
 *
 *  - What defines a function is not what runs: a function that nobody calls may change, come or go.
 *  - `activity(...)` at the top level, and what stands in it, runs in another VM. So does nothing of `workflow(...)` but its function.
 *  - The top level runs in every instance. A name that it gives to a value which may be computed without a call (but `require`) counts
 *    where the name is used. */
#include <stdio.h>

#include "vm/sandbox_lib.h"
#include "vm/workflow.h"

enum {
  EDITS_MAX = 400,      /* more than that, and everything between the first and the last one counts as different */
  DEPTH_MAX = 200,      /* of blocks; a file with more of anything is not told apart from its other version */
  FUNCTIONS_MAX = 2000,
  NAMES_MAX = 100,      /* of the top level, that mean something else */
  CHANGES_MAX = 16      /* pairs that are remembered */
};

typedef enum role {
  ROLE_RUNS,    /* when its line does */
  ROLE_HEADER,  /* when anything of its function does */
  ROLE_DEFINES, /* at the top level: when anybody uses the names of its statement */
  ROLE_INERT    /* never */
} role;

typedef struct token {
  const char *text;
  uint32_t size;
  int line, last_line;
  uint32_t function, statement;
  uint32_t block; /* whose word it is, as `if`, `then`, `else` or `end`; 0: none's */
  uint8_t role;
  bool is_name, is_string, changed;
  bool is_named;  /* HEADER: it is the name of the function */
} token;

/* One function of a file. lines: of each line from the first one on, what it is. */
enum { LINE_CHANGED = 1, LINE_MEETS = 2 };
typedef struct function {
  int line, last_line;
  bool meets;       /* whatever runs of it */
  bool is_resolved; /* LINE_CHANGED became LINE_MEETS */
  bool has_twin;    /* another one begins and ends on the same lines: they are taken for one another */
  uint8_t *lines;
} function;

typedef struct file {
  char *name; /* of the chunk, without its sign */
  token *tokens; /* while it is compared */
  size_t token_count, token_capacity;
  function *functions; /* [0]: the top level */
  size_t function_count, function_capacity;
  uint32_t block_count;
  bool failed;
} file;

typedef struct side { file *files; size_t count; bool has_lines; } side;

struct lnt__change {
  lnt__change *next;
  uint8_t hashes[2][LNT__SHA256_BYTES];
  side sides[2];
  lnt__changes state;
  uint32_t refs;
  uint64_t used;
};

struct lnt__coverage {
  lnt__change *change;
  const side *side;
  bool met;
  const char *source; /* of the line before this one, its file, its function */
  const file *file;
  function *function;
};

static void file_finish(file *f) {
  for (size_t i = 0; i < f->function_count; i++) lnt__free(f->functions[i].lines);
  lnt__free(f->functions);
  lnt__free(f->tokens);
  lnt__free(f->name);
}

static void change_free(lnt__change *change) {
  for (int s = 0; s < 2; s++) {
    for (size_t i = 0; i < change->sides[s].count; i++) file_finish(&change->sides[s].files[i]);
    lnt__free(change->sides[s].files);
  }
  lnt__free(change);
}

/* ---- A text as tokens: whose each is, and when it runs ---- */

typedef struct block { bool is_function; uint32_t function, number; } block;

typedef struct reading {
  file *f;
  block blocks[DEPTH_MAX];
  int depth;          /* of blocks */
  int brackets;       /* that are open in the statement of the top level */
  int header;         /* brackets that are open in the parameters of a function; -1: none is being read */
  uint32_t statement; /* of the top level, from 1 */
  bool is_inert;      /* it is activity(...) */
} reading;

static bool is(const token *t, const char *text) {
  return !t->is_string && t->size == strlen(text) && memcmp(t->text, text, t->size) == 0;
}

static bool is_one_of(const token *t, const char *const *words, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (is(t, words[i])) return true;
  return false;
}

static bool is_keyword(const token *t) {
  static const char *const words[] = {"and", "break",  "do",    "else", "elseif", "end", "false", "for",    "function", "goto", "if",
                                      "in",  "local",  "nil",   "not",  "or",     "repeat", "return", "then", "true",    "until", "while"};
  return t->is_name && is_one_of(t, words, LNT__COUNT(words));
}

static bool is_variable(const token *t) { return t->is_name && !is_keyword(t); }

/* May an expression end with it? */
static bool ends_operand(const token *t) {
  static const char *const words[] = {"end", "false", "nil", "true", ")", "]", "}", "..."};
  return t->is_string || is_one_of(t, words, LNT__COUNT(words)) || (t->size && t->text[0] >= '0' && t->text[0] <= '9') || is_variable(t);
}

static bool begins_statement(const token *t) {
  static const char *const words[] = {"break", "do", "for", "function", "goto", "if", "local", "repeat", "return", "while"};
  return is_variable(t) || is_one_of(t, words, LNT__COUNT(words));
}

static uint32_t current_function(const reading *r) {
  for (int i = r->depth; i > 0; i--)
    if (r->blocks[i - 1].is_function) return r->blocks[i - 1].function;
  return 0;
}

static function *add_function(file *f, int line) {
  if (f->function_count == FUNCTIONS_MAX ||
      !lnt__grow((void **)&f->functions, &f->function_capacity, f->function_count + 1, sizeof *f->functions)) {
    f->failed = true;
    return NULL;
  }
  f->functions[f->function_count] = (function){.line = line, .last_line = line};
  return &f->functions[f->function_count++];
}

static void push_block(reading *r, token *t, bool is_function, uint32_t index) {
  t->block = ++r->f->block_count;
  if (r->depth == DEPTH_MAX) r->f->failed = true;
  else r->blocks[r->depth++] = (block){is_function, index, t->block};
}

static void open_function(reading *r, token *t) {
  file *f = r->f;
  token *before = f->token_count ? &f->tokens[f->token_count - 1] : NULL;
  if (!add_function(f, t->line)) return;
  uint32_t index = (uint32_t)f->function_count - 1;
  if (before && is(before, "local") && before->role != ROLE_INERT) before->role = ROLE_HEADER, before->function = index;
  push_block(r, t, true, index);
  t->role = ROLE_HEADER;
  t->function = index;
  r->header = 0;
}

static void close_block(reading *r, token *t) {
  if (!r->depth) return;
  block closed = r->blocks[--r->depth];
  t->block = closed.number;
  if (!closed.is_function) return;
  t->role = ROLE_HEADER;
  t->function = closed.function;
  r->f->functions[closed.function].last_line = t->last_line;
}

static void read_header(reading *r, token *t) {
  t->role = ROLE_HEADER;
  t->is_named = r->header == 0 && is_variable(t);
  if (is(t, "(")) r->header++;
  if (is(t, ")") && --r->header == 0) r->header = -1;
}

/* At the top level, outside of functions and blocks: does a statement begin here? */
static void look_for_statement(reading *r, const token *t) {
  const token *before = r->f->token_count ? &r->f->tokens[r->f->token_count - 1] : NULL;
  if (r->brackets || (before && !(is(before, ";") || (ends_operand(before) && begins_statement(t))))) return;
  r->statement++;
  r->is_inert = is(t, "activity");
}

static void read_plain(reading *r, token *t) {
  static const char *const openers[] = {"do", "if", "repeat"}, *const inner[] = {"then", "else", "elseif"};
  if (is(t, "function")) open_function(r, t);
  else if (t->is_name && is_one_of(t, openers, LNT__COUNT(openers))) push_block(r, t, false, 0);
  else if (t->is_name && (is(t, "end") || is(t, "until"))) close_block(r, t);
  else if (t->is_name && r->depth && is_one_of(t, inner, LNT__COUNT(inner))) t->block = r->blocks[r->depth - 1].number;
}

static void read_token(void *user, const lnt__token *raw) {
  reading *r = user;
  file *f = r->f;
  if (f->failed) return;
  token t = {.text = raw->text, .size = (uint32_t)raw->size, .line = raw->line, .last_line = raw->last_line, .is_name = raw->is_name,
             .is_string = raw->is_string, .function = current_function(r)};
  if (r->depth == 0) look_for_statement(r, &t);
  t.statement = r->statement;
  if (r->header >= 0) read_header(r, &t);
  else read_plain(r, &t);
  if (r->depth == 0 && (is(&t, "(") || is(&t, "{") || is(&t, "["))) r->brackets++;
  if (r->depth == 0 && (is(&t, ")") || is(&t, "}") || is(&t, "]"))) r->brackets--;
  if (r->is_inert) t.role = ROLE_INERT;
  if (!lnt__grow((void **)&f->tokens, &f->token_capacity, f->token_count + 1, sizeof *f->tokens)) f->failed = true;
  else f->tokens[f->token_count++] = t;
}

/* ---- Statements of the top level ---- */

/* Its own tokens, without those of functions in it. */
static bool is_own(const token *t, uint32_t statement) { return t->statement == statement && t->function == 0 && t->role == ROLE_RUNS; }

/* Does a call, but of require, or of a method, stand between these? */
static bool may_call(const file *f, size_t from, size_t to) {
  for (size_t i = from + 1; i < to; i++) {
    const token *t = &f->tokens[i], *before = t - 1;
    if (!is_own(t, t->statement)) continue;
    if (is(t, ":")) return true;
    bool applies = is(t, "(") || t->is_string || is(t, "{");
    if (applies && ends_operand(before) && !before->is_string && !is(before, "require")) return true;
  }
  return false;
}

/* `name =`, `local name, name =`, `a.b.c = function`: where what is assigned begins; 0: it is none of these. */
static size_t assignment(const file *f, size_t from, size_t to, bool *is_plain) {
  size_t at = from + is(&f->tokens[from], "local");
  *is_plain = true;
  for (; at < to; at++) {
    const token *t = &f->tokens[at];
    if (is(t, "=")) return at + 1;
    if (is(t, ".")) *is_plain = false;
    else if (!is_variable(t) && !is(t, ",")) return 0;
  }
  return is(&f->tokens[from], "local") ? at : 0;
}

static void set_role(file *f, size_t from, size_t to, role as, uint32_t owner) {
  for (size_t i = from; i < to; i++) {
    if (!is_own(&f->tokens[i], f->tokens[i].statement)) continue;
    f->tokens[i].role = (uint8_t)as;
    f->tokens[i].function = owner;
  }
}

/* From token `from` to before `to`. */
static void judge_statement(file *f, size_t from, size_t to) {
  bool is_plain;
  if (is(&f->tokens[from], "workflow") && from + 1 < to && !is(&f->tokens[from + 1], "=")) {
    set_role(f, from, to, ROLE_INERT, 0);
    return;
  }
  size_t value = assignment(f, from, to, &is_plain);
  if (!value) return;
  bool is_function = value < to && is(&f->tokens[value], "function");
  if (is_function && f->tokens[to - 1].function == f->tokens[value].function) {
    f->tokens[value - 2].is_named = true;
    set_role(f, from, to, ROLE_HEADER, f->tokens[value].function);
  } else if (is_plain && !may_call(f, value ? value - 1 : from, to)) {
    set_role(f, from, to, ROLE_DEFINES, 0);
  }
}

static void judge_statements(file *f) {
  for (size_t from = 0, to; from < f->token_count; from = to) {
    for (to = from + 1; to < f->token_count && f->tokens[to].statement == f->tokens[from].statement;) to++;
    judge_statement(f, from, to);
  }
}

static void read_file(file *f, const char *name, const char *source, size_t size) {
  reading r = {.f = f, .header = -1};
  f->name = lnt__strdup(name);
  f->failed = !f->name || !add_function(f, 1);
  lnt__sandbox_tokens(source, size, read_token, &r);
  if (f->failed) return;
  f->functions[0].last_line = 2; /* the text stands in a function that begins on its first line and ends below its last one */
  for (size_t i = 0; i < size; i++) f->functions[0].last_line += source[i] == '\n';
  judge_statements(f);
  for (size_t i = 0; i < f->function_count; i++)
    for (size_t j = 0; j < i; j++)
      if (f->functions[i].line == f->functions[j].line && f->functions[i].last_line == f->functions[j].last_line)
        f->functions[i].has_twin = f->functions[j].has_twin = true;
}

/* ---- What differs ---- */

static bool same(const token *a, const token *b) {
  return a->size == b->size && a->is_string == b->is_string && memcmp(a->text, b->text, a->size) == 0;
}

static void mark_range(token *tokens, size_t from, size_t to) {
  for (size_t i = from; i < to; i++) tokens[i].changed = true;
}

/* The shortest edit by Myers: row d of `rows` has, for each diagonal, how far into `a` one comes with d edits. */
typedef struct edit { token *a, *b; int a_count, b_count; int *rows; } edit;

/* Rows have 2d+1 entries, and one spare. */
static int *row_of(const edit *e, int d) { return e->rows + (size_t)d * (size_t)(d + 1) + (size_t)d; }

static bool goes_down(const int *before, int d, int k) { return k == -d || (k != d && before[k - 1] < before[k + 1]); }

static int furthest(const edit *e, int d, int k) {
  const int *before = d ? row_of(e, d - 1) : NULL;
  int x = !before ? 0 : goes_down(before, d, k) ? before[k + 1] : before[k - 1] + 1;
  while (x < e->a_count && x - k < e->b_count && same(&e->a[x], &e->b[x - k])) x++;
  return x;
}

/* Diagonals outside of the row before are never read: goes_down() sees to that at the edges, and parity does between them. */
static int edits(const edit *e, int max) {
  for (int d = 0; d <= max; d++) {
    int *row = row_of(e, d);
    for (int k = -d; k <= d; k += 2) {
      row[k] = furthest(e, d, k);
      if (row[k] >= e->a_count && row[k] - k >= e->b_count) return d;
    }
  }
  return -1;
}

static void mark_edits(const edit *e, int d) {
  int k = e->a_count - e->b_count;
  for (; d > 0; d--) {
    const int *before = row_of(e, d - 1);
    bool down = goes_down(before, d, k);
    k += down ? 1 : -1;
    int x = before[k], y = x - k;
    if (down) e->b[y].changed = true;
    else e->a[x].changed = true;
  }
}

/* Where a run of changed tokens may as well stand later (what follows it repeats its beginning), it does: what stands before it has not
 * changed then. */
static void slide_down(token *tokens, size_t count) {
  for (size_t from = 0, to; from < count; from = to) {
    to = from + 1;
    if (!tokens[from].changed) continue;
    while (to < count && (tokens[to].changed || same(&tokens[from], &tokens[to]))) {
      if (!tokens[to].changed) tokens[from++].changed = false, tokens[to].changed = true;
      to++;
    }
  }
}

static bool is_first_word(const token *t) { return begins_statement(t) && !is_variable(t); }

/* Where a run of changed tokens may as well stand earlier, and begins with the first word of a statement then, it does: a statement added
 * before one that begins alike is the one that has changed. */
static void slide_up(token *tokens, size_t count) {
  for (size_t from = 0, to; from < count; from = to) {
    to = from + 1;
    if (!tokens[from].changed) continue;
    while (to < count && tokens[to].changed) to++;
    if (is_first_word(&tokens[from])) continue;
    size_t by = 0, most = from < to - from ? from : to - from;
    while (by < most && !tokens[from - by - 1].changed && same(&tokens[to - by - 1], &tokens[from - by - 1]))
      if (is_first_word(&tokens[from - ++by])) break;
    if (!by || !is_first_word(&tokens[from - by])) continue;
    for (size_t i = 1; i <= by; i++) tokens[from - i].changed = true, tokens[to - i].changed = false;
  }
}

static void compare_middle(token *a, size_t a_count, token *b, size_t b_count) {
  size_t most = a_count + b_count < EDITS_MAX ? a_count + b_count : EDITS_MAX;
  int *rows = a_count && b_count ? lnt__calloc((most + 1) * (most + 3), sizeof *rows) : NULL;
  edit e = {a, b, (int)a_count, (int)b_count, rows};
  int d = rows ? edits(&e, (int)most) : -1;
  if (d >= 0) mark_edits(&e, d);
  else mark_range(a, 0, a_count), mark_range(b, 0, b_count);
  lnt__free(rows);
}

/* A token that is in both texts has changed all the same when it runs in another function, or at other times: an `end` was moved. Each
 * function has one counterpart, that of its first token; owner_of_a: of each function of a, from 1. */
static void match_owners(token *a, token *b, uint32_t *owner_of_a, uint32_t *owner_of_b) {
  if (a->role == ROLE_RUNS && b->role == ROLE_RUNS && !owner_of_a[a->function] && !owner_of_b[b->function]) {
    owner_of_a[a->function] = b->function + 1;
    owner_of_b[b->function] = a->function + 1;
  }
  bool moved = a->role == ROLE_RUNS && owner_of_a[a->function] != b->function + 1;
  if (a->role != b->role || moved) a->changed = b->changed = true;
}

static void compare_owners(file *old, file *new) {
  uint32_t *owners = lnt__calloc(old->function_count + new->function_count, sizeof *owners);
  if (!owners) old->failed = true;
  for (size_t i = 0, j = 0; owners && i < old->token_count && j < new->token_count;) {
    token *a = &old->tokens[i], *b = &new->tokens[j];
    if (!a->changed && !b->changed) match_owners(a, b, owners, owners + old->function_count);
    else if (a->changed && !b->changed) j--;
    else if (!a->changed) i--;
    i++, j++;
  }
  lnt__free(owners);
}

static void compare_tokens(file *old, file *new) {
  token *a = old->tokens, *b = new->tokens;
  size_t a_count = old->token_count, b_count = new->token_count;
  while (a_count && b_count && same(a, b)) a++, b++, a_count--, b_count--;
  while (a_count && b_count && same(&a[a_count - 1], &b[b_count - 1])) a_count--, b_count--;
  compare_middle(a, a_count, b, b_count);
  slide_down(old->tokens, old->token_count);
  slide_down(new->tokens, new->token_count);
  slide_up(old->tokens, old->token_count);
  slide_up(new->tokens, new->token_count);
  compare_owners(old, new);
}

/* ---- From tokens to lines ---- */

typedef struct names { const token **items; size_t count, capacity; bool failed; } names;

static bool is_tainted(const names *n, const token *t) {
  for (size_t i = 0; i < n->count; i++)
    if (same(n->items[i], t)) return true;
  return false;
}

static bool taint(names *n, const token *t) {
  if (!is_variable(t) || is_tainted(n, t)) return false;
  if (n->count == NAMES_MAX || !lnt__grow((void **)&n->items, &n->capacity, n->count + 1, sizeof *n->items)) n->failed = true;
  else n->items[n->count++] = t;
  return !n->failed;
}

static bool mark_line(function *fn, int from, int to) {
  if (!fn->lines) fn->lines = lnt__calloc((size_t)(fn->last_line - fn->line) + 1, 1);
  for (int line = from; fn->lines && line <= to; line++)
    if (line >= fn->line && line <= fn->last_line) fn->lines[line - fn->line] = LINE_CHANGED;
  return fn->lines != NULL;
}

/* The names on the left of a statement that defines some. */
static bool taint_statement(const file *f, names *n, uint32_t statement) {
  bool more = false;
  for (size_t i = 0; i < f->token_count; i++) {
    if (f->tokens[i].statement != statement || f->tokens[i].function) continue;
    if (is(&f->tokens[i], "=")) break;
    more = taint(n, &f->tokens[i]) || more;
  }
  return more;
}

/* One token that is different, or that uses a name which is. true: more names are. */
static bool mark_token(file *f, names *n, const token *t) {
  function *fn = &f->functions[t->function];
  switch ((role)t->role) {
    case ROLE_RUNS: f->failed = !mark_line(fn, t->line, t->last_line) || f->failed; return false;
    case ROLE_HEADER: fn->meets = true; return t->is_named && taint(n, t);
    case ROLE_DEFINES: return taint_statement(f, n, t->statement);
    case ROLE_INERT: break;
  }
  return false;
}

static bool uses(const file *f, const names *n, size_t at) {
  const token *t = &f->tokens[at];
  bool is_field = at > 0 && (is(t - 1, ".") || is(t - 1, ":"));
  return (t->role == ROLE_RUNS || t->role == ROLE_DEFINES) && !is_field && is_variable(t) && is_tainted(n, t);
}

/* A block that is neither new as a whole nor as it was (its `end` was moved, an `else` came or went) may run other things than before,
 * whatever lines have changed. */
static void mark_torn_blocks(file *f) {
  enum { KEPT = 1, CHANGED = 2 };
  uint8_t *states = lnt__calloc(f->block_count + 1, 1);
  if (!states) f->failed = true;
  for (size_t i = 0; states && i < f->token_count; i++)
    states[f->tokens[i].block] |= f->tokens[i].changed ? CHANGED : KEPT;
  for (size_t i = 0; states && i < f->token_count; i++) {
    const token *t = &f->tokens[i];
    if (t->block && t->role != ROLE_INERT && states[t->block] == (KEPT | CHANGED)) f->functions[t->function].meets = true;
  }
  lnt__free(states);
}

static bool mark_file(file *f) {
  names n = {0};
  bool any = false, more = false;
  for (size_t i = 0; i < f->token_count; i++) {
    if (!f->tokens[i].changed) continue;
    any = any || f->tokens[i].role != ROLE_INERT;
    more = mark_token(f, &n, &f->tokens[i]) || more;
  }
  while (more && !n.failed) {
    more = false;
    for (size_t i = 0; i < f->token_count; i++)
      if (uses(f, &n, i)) more = mark_token(f, &n, &f->tokens[i]) || more;
  }
  mark_torn_blocks(f);
  f->failed = f->failed || n.failed;
  lnt__free(n.items);
  lnt__free(f->tokens);
  f->tokens = NULL;
  return any;
}

/* ---- Two codes ---- */

static bool read_side(side *s, const lnt__code *code) {
  s->files = lnt__calloc(code->module_count + 1, sizeof *s->files);
  if (!s->files) return false;
  s->count = code->module_count + 1;
  read_file(&s->files[0], code->file, code->source, code->source_size);
  bool good = !s->files[0].failed;
  for (size_t i = 0; i < code->module_count; i++) {
    const lnt__module *module = &code->modules[i];
    read_file(&s->files[i + 1], module->file, module->source, module->size);
    good = good && !s->files[i + 1].failed;
  }
  return good;
}

static file *counterpart(side *other, const lnt__code *other_code, const char *module) {
  for (size_t i = 0; i < other_code->module_count; i++)
    if (strcmp(other_code->modules[i].name, module) == 0) return &other->files[i + 1];
  return NULL;
}

static void compare_modules(lnt__change *change, const lnt__code *from, const lnt__code *to) {
  for (size_t i = 0; i < from->module_count; i++) {
    file *old = &change->sides[0].files[i + 1], *new = counterpart(&change->sides[1], to, from->modules[i].name);
    if (new) compare_tokens(old, new);
    else mark_range(old->tokens, 0, old->token_count);
  }
  for (size_t i = 0; i < to->module_count; i++) {
    file *new = &change->sides[1].files[i + 1];
    if (!counterpart(&change->sides[0], from, to->modules[i].name)) mark_range(new->tokens, 0, new->token_count);
  }
}

/* Then a line that runs may be of either: saga.lua may require the library's "saga". */
static bool has_namesakes(const side *s) {
  for (size_t i = 0; i < s->count; i++)
    for (size_t j = 0; j < i; j++)
      if (strcmp(s->files[i].name, s->files[j].name) == 0) return true;
  return false;
}

static bool has_lines(const file *f) {
  for (size_t i = 0; i < f->function_count; i++)
    if (f->functions[i].meets || f->functions[i].lines) return true;
  return false;
}

static void compare(lnt__change *change, const lnt__code *from, const lnt__code *to) {
  bool any = false, good = read_side(&change->sides[0], from);
  if (!read_side(&change->sides[1], to) || !good) return;
  if (has_namesakes(&change->sides[0]) || has_namesakes(&change->sides[1])) return;
  file *old = &change->sides[0].files[0], *new = &change->sides[1].files[0];
  compare_tokens(old, new);
  compare_modules(change, from, to);
  for (int s = 0; s < 2; s++) {
    for (size_t i = 0; i < change->sides[s].count; i++) {
      file *f = &change->sides[s].files[i];
      any = mark_file(f) || any;
      good = good && !f->failed;
      change->sides[s].has_lines = change->sides[s].has_lines || has_lines(f);
    }
  }
  if (good) change->state = any ? LNT__CHANGES_SOME : LNT__CHANGES_NONE;
}

/* ---- Pairs that are remembered ---- */

static void forget_oldest(lnt__wvm *wvm) {
  lnt__change **oldest = NULL;
  size_t count = 0;
  for (lnt__change **at = &wvm->changes; *at; at = &(*at)->next, count++)
    if (!(*at)->refs && (!oldest || (*at)->used < (*oldest)->used)) oldest = at;
  if (count <= CHANGES_MAX || !oldest) return;
  lnt__change *gone = *oldest;
  *oldest = gone->next;
  change_free(gone);
}

static lnt__change *make_change(lnt__wvm *wvm, const uint8_t *from, const uint8_t *to) {
  lnt__code *codes[2] = {NULL, NULL};
  lnt__change *change = lnt__calloc(1, sizeof *change);
  if (!change) return NULL;
  memcpy(change->hashes[0], from, LNT__SHA256_BYTES);
  memcpy(change->hashes[1], to, LNT__SHA256_BYTES);
  if (!lnt__code_get(wvm, from, &codes[0], NULL) && !lnt__code_get(wvm, to, &codes[1], NULL)) compare(change, codes[0], codes[1]);
  for (int i = 0; i < 2; i++)
    if (codes[i]) lnt__code_release(wvm, codes[i]);
  change->next = wvm->changes;
  wvm->changes = change;
  return change;
}

static lnt__change *change_of(lnt__wvm *wvm, const uint8_t *from, const uint8_t *to) {
  lnt__change *change = wvm->changes;
  while (change && (memcmp(change->hashes[0], from, LNT__SHA256_BYTES) != 0 || memcmp(change->hashes[1], to, LNT__SHA256_BYTES) != 0))
    change = change->next;
  if (!change) change = make_change(wvm, from, to);
  if (!change) return NULL;
  change->used = ++wvm->stamp;
  change->refs++;
  forget_oldest(wvm);
  change->refs--;
  return change;
}

void lnt__changes_finish(lnt__wvm *wvm) {
  while (wvm->changes) {
    lnt__change *gone = wvm->changes;
    wvm->changes = gone->next;
    change_free(gone);
  }
}

/* ---- Traces ---- */

static lnt__coverage *coverage_new(lnt__change *change, int which) {
  lnt__coverage *coverage = lnt__calloc(1, sizeof *coverage);
  if (!coverage) return NULL;
  *coverage = (lnt__coverage){.change = change, .side = &change->sides[which]};
  change->refs++;
  return coverage;
}

lnt__changes lnt__vm_compare(void *vm, const uint8_t *from, const uint8_t *to, void *traces[2]) {
  lnt__change *change = change_of(vm, from, to);
  traces[0] = traces[1] = NULL;
  if (!change || change->state != LNT__CHANGES_SOME) return change ? change->state : LNT__CHANGES_UNKNOWN;
  for (int s = 0; s < 2; s++) {
    if (!change->sides[s].has_lines) continue;
    traces[s] = coverage_new(change, s);
    if (traces[s]) continue;
    if (traces[0]) lnt__vm_untrace(vm, traces[0]);
    traces[0] = NULL;
    return LNT__CHANGES_UNKNOWN;
  }
  return LNT__CHANGES_SOME;
}

bool lnt__vm_met(void *vm, const void *trace) {
  (void)vm;
  return ((const lnt__coverage *)trace)->met;
}

void lnt__vm_untrace(void *vm, void *trace) {
  lnt__coverage *coverage = trace;
  (void)vm;
  coverage->change->refs--;
  lnt__free(coverage);
}

/* ---- Lines that run ---- */

static bool find_file(lnt__coverage *coverage, const lua_Debug *ar) {
  if (coverage->source == ar->source) return coverage->file != NULL;
  coverage->source = ar->source;
  coverage->file = NULL;
  coverage->function = NULL;
  for (size_t i = 0; i < coverage->side->count && ar->source[0] == '@'; i++)
    if (strcmp(coverage->side->files[i].name, ar->source + 1) == 0) coverage->file = &coverage->side->files[i];
  return coverage->file != NULL;
}

static bool find_function(lnt__coverage *coverage, const lua_Debug *ar) {
  function *fn = coverage->function;
  if (fn && fn->line == ar->linedefined && fn->last_line == ar->lastlinedefined) return true;
  coverage->function = NULL;
  for (size_t i = 0; i < coverage->file->function_count && !coverage->function; i++) {
    fn = &coverage->file->functions[i];
    if (fn->line == ar->linedefined && fn->last_line == ar->lastlinedefined) coverage->function = fn;
  }
  return coverage->function != NULL;
}

/* The lines with instructions are in the table at the top. */
static void resolve_line(lua_State *L, function *fn, int line) {
  int count = fn->last_line - fn->line + 1;
  for (int step = -1; step <= 1; step += 2) {
    for (int at = line; at >= 0 && at < count; at += step) {
      lua_rawgeti(L, -1, fn->line + at);
      bool runs = lua_toboolean(L, -1);
      lua_pop(L, 1);
      if (!runs) continue;
      fn->lines[at] |= LINE_MEETS;
      break;
    }
  }
}

static void resolve(lua_State *L, lua_Debug *ar, function *fn) {
  fn->is_resolved = true;
  if (!fn->lines) return;
  lua_getinfo(L, "L", ar);
  for (int line = 0; line <= fn->last_line - fn->line; line++)
    if (fn->lines[line] & LINE_CHANGED) resolve_line(L, fn, line);
  lua_pop(L, 1);
}

static bool meets(lua_State *L, lua_Debug *ar, const lnt__coverage *coverage) {
  for (function *fn = coverage->function; fn < coverage->file->functions + coverage->file->function_count; fn++) {
    if (fn->line != ar->linedefined || fn->last_line != ar->lastlinedefined) continue;
    if (!fn->is_resolved) resolve(L, ar, fn);
    int line = ar->currentline - fn->line;
    if (fn->meets || (fn->lines && line >= 0 && ar->currentline <= fn->last_line && (fn->lines[line] & LINE_MEETS))) return true;
    if (!fn->has_twin) return false;
  }
  return false;
}

void lnt__change_line(lua_State *L, lua_Debug *ar) {
  lnt__wvm *wvm = lnt__wvm_of(L);
  lnt__coverage *coverage = wvm->body ? wvm->body->coverage : NULL;
  if (ar->event != LUA_HOOKLINE || !coverage || coverage->met || !lua_getinfo(L, "S", ar) || ar->what[0] != 'L') return;
  if (!find_file(coverage, ar)) return;
  coverage->met = !find_function(coverage, ar) || meets(L, ar, coverage);
  if (coverage->met) wvm->guard.watch = NULL;
}

/* ---- Patches ---- */

typedef struct patches { int (*fn)(void *user, lnt_value name); void *user; int matched; bool stops; } patches;

/* is_patched("name"), is_patched "name": how many tokens of it came; names that are computed are not found. */
static void look_for_patch(void *user, const lnt__token *t) {
  patches *p = user;
  bool is_bracket = !t->is_string && t->size == 1 && t->text[0] == '(';
  if (p->matched && t->is_string && t->size > 2 && t->text[0] != '[' && !memchr(t->text, '\\', t->size))
    p->stops = p->stops || p->fn(p->user, (lnt_value){t->text + 1, t->size - 2});
  bool begins = t->is_name && t->size == 10 && memcmp(t->text, "is_patched", 10) == 0;
  p->matched = begins || (p->matched == 1 && is_bracket) ? p->matched + 1 : 0;
}

lnt_status lnt__wvm_patches(lnt__wvm *wvm, const uint8_t *hash, int (*fn)(void *user, lnt_value name), void *user, lnt_error *err) {
  lnt__code *code;
  patches p = {.fn = fn, .user = user};
  lnt_status status = lnt__code_get(wvm, hash, &code, err);
  if (status) return status;
  lnt__sandbox_tokens(code->source, code->source_size, look_for_patch, &p);
  for (size_t i = 0; i < code->module_count && !p.stops; i++)
    lnt__sandbox_tokens(code->modules[i].source, code->modules[i].size, look_for_patch, &p);
  if (p.stops) status = lnt__fail(err, LNT_ENOMEM, "out of memory while the patches of %s were listed", code->file);
  lnt__code_release(wvm, code);
  return status;
}
