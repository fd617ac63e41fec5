/* lmdb_file.c - a distrustful reader of LMDB's data file; see lmdb_file.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* pread, O_CLOEXEC */
#endif
#include "store/lmdb_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC 0xBEEFC0DEu
#define DATA_VERSION 1u
#define PAGE_BYTES_MIN 512u
#define PAGE_BYTES_MAX 65536u
#define DEPTH_MAX 32u
#define KEY_MAX 511u
#define NO_PAGE UINT64_MAX
#define FIRST_PAGE 2u /* pages 0 and 1 are the heads */

enum { PAGE_BRANCH = 1, PAGE_LEAF = 2, PAGE_OVERFLOW = 4, PAGE_META = 8, PAGE_KINDS = 0x6f };
enum { NODE_BIG = 1, NODE_TREE = 2, NODE_DUPLICATES = 4 };

typedef struct page_head {
  uint64_t number;
  uint16_t spare, flags;
  union {
    struct { uint16_t lower, upper; } room;
    uint32_t count; /* of an overflow page */
  } u;
} page_head;

typedef struct tree {
  uint32_t pad;
  uint16_t flags, depth;
  uint64_t branch_pages, leaf_pages, overflow_pages, entries, root;
} tree;

typedef struct meta {
  uint32_t magic, version;
  uint64_t address, map_bytes;
  tree free, main;
  uint64_t last_page, txn;
} meta;

typedef struct node {
  lnt__slice key, value;
  uint16_t flags;
  uint64_t child; /* in a branch */
} node;

/* One tree being walked. */
typedef struct walk {
  const char *table;
  const tree *tree;
  bool integer_keys;
  uint64_t entries;
  size_t last_size; /* the last key seen, to check the order */
  bool has_last, may_equal; /* a branch's key may stand again as the first key beneath it */
  uint8_t last[KEY_MAX];
} walk;

typedef struct file {
  const char *path;
  int fd;
  uint32_t page_bytes;
  uint64_t last_page;
  uint8_t *seen; /* one bit a page; NULL in a glance */
  bool glance;
  lnt__lmdb_record_fn fn;
  void *user;
  lnt_error *err;
} file;

static lnt_status damaged(file *f, const walk *w, uint64_t page, const char *what) {
  return lnt__fail(f->err, LNT_ECORRUPT, "%s is damaged: page %" PRIu64 " (table %s): %s", f->path, page, w->table, what);
}

static lnt_status out_of_memory(file *f) { return lnt__fail(f->err, LNT_ENOMEM, "out of memory while checking %s", f->path); }

/* Exactly `size` bytes. */
static lnt_status read_at(file *f, void *data, size_t size, uint64_t at) {
  uint8_t *to = data;
  while (size) {
    ssize_t got = pread(f->fd, to, size, (off_t)at);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return lnt__fail(f->err, LNT_EIO, "cannot read %s at byte %" PRIu64 ": %s", f->path, at, strerror(errno));
    if (got == 0) return lnt__fail(f->err, LNT_ECORRUPT, "%s is damaged: it ends at byte %" PRIu64 ", too early", f->path, at);
    to += got;
    at += (uint64_t)got;
    size -= (size_t)got;
  }
  return LNT_OK;
}

/* ---- The head ---- */

static const char *meta_fault(const page_head *head, const meta *m) {
  bool power_of_two = (m->free.pad & (m->free.pad - 1)) == 0;
  if ((head->flags & PAGE_META) == 0 || m->magic != MAGIC) return "its head is not that of a data file";
  if (m->version != DATA_VERSION) return "its head tells another version of LMDB's format";
  if (m->free.pad < PAGE_BYTES_MIN || m->free.pad > PAGE_BYTES_MAX || !power_of_two) return "its head tells an impossible page size";
  if (m->last_page < FIRST_PAGE - 1 || m->last_page > UINT64_MAX / 2 / m->free.pad) return "its head tells an impossible size";
  return NULL;
}

static lnt_status read_meta(file *f, uint64_t at, meta *out) {
  uint8_t bytes[sizeof(page_head) + sizeof(meta)];
  page_head head;
  lnt_status status = read_at(f, bytes, sizeof bytes, at);
  if (status) return status;
  memcpy(&head, bytes, sizeof head);
  memcpy(out, bytes + sizeof head, sizeof *out);
  const char *fault = meta_fault(&head, out);
  return fault ? lnt__fail(f->err, LNT_ECORRUPT, "%s is damaged: %s", f->path, fault) : LNT_OK;
}

/* The newer of the two heads, as LMDB chooses. */
static lnt_status read_head(file *f, meta *out) {
  meta first, second;
  lnt_status status = read_meta(f, 0, &first);
  if (!status) status = read_meta(f, first.free.pad, &second);
  if (status) return status;
  if (first.free.pad != second.free.pad)
    return lnt__fail(f->err, LNT_ECORRUPT, "%s is damaged: its heads disagree on the page size", f->path);
  *out = second.txn > first.txn ? second : first;
  f->page_bytes = out->free.pad;
  f->last_page = out->last_page;
  return LNT_OK;
}

static lnt_status open_file(file *f, const char *path, meta *head, lnt_error *err) {
  *f = (file){.path = path, .err = err};
  f->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (f->fd < 0 && errno == ENOENT) return lnt__fail(err, LNT_ECORRUPT, "%s is missing: put it back from a copy", path);
  if (f->fd < 0) return lnt__fail(err, lnt__status_of_errno(errno), "cannot open %s: %s", path, strerror(errno));
  return read_head(f, head);
}

static void close_file(file *f) {
  if (f->fd >= 0) close(f->fd);
  lnt__free(f->seen);
}

lnt_status lnt__lmdb_file_header(const char *path, lnt__lmdb_header *out, lnt_error *err) {
  file f;
  meta head;
  lnt_status status = open_file(&f, path, &head, err);
  struct stat info; /* after the head: the file may be growing */
  if (!status && fstat(f.fd, &info) != 0) status = lnt__fail(err, LNT_EIO, "cannot read %s: %s", path, strerror(errno));
  if (!status) {
    *out = (lnt__lmdb_header){.page_bytes = f.page_bytes, .last_page = f.last_page, .txn = head.txn, .file_bytes = (uint64_t)info.st_size};
    out->is_short = out->file_bytes < (f.last_page + 1) * f.page_bytes;
  }
  close_file(&f);
  return status;
}

/* ---- Pages and nodes ---- */

static lnt_status claim(file *f, const walk *w, uint64_t page) {
  if (page < FIRST_PAGE || page > f->last_page) return damaged(f, w, page, "a page number beyond the file");
  if (!f->seen) return LNT_OK;
  uint8_t bit = (uint8_t)(1u << (page & 7));
  if (f->seen[page >> 3] & bit) return damaged(f, w, page, "the page is used twice");
  f->seen[page >> 3] |= bit;
  return LNT_OK;
}

static lnt_status read_page(file *f, const walk *w, uint64_t number, bool leaf, uint8_t *page) {
  lnt_status status = claim(f, w, number);
  if (!status) status = read_at(f, page, f->page_bytes, number * f->page_bytes);
  if (status) return status;
  page_head head;
  memcpy(&head, page, sizeof head);
  if (head.number != number) return damaged(f, w, number, "it holds another page");
  if ((head.flags & PAGE_KINDS) != (leaf ? PAGE_LEAF : PAGE_BRANCH)) return damaged(f, w, number, "it is of the wrong kind");
  bool sound = head.u.room.lower >= sizeof head && head.u.room.lower <= head.u.room.upper && head.u.room.upper <= f->page_bytes &&
               (head.u.room.lower & 1) == 0;
  return sound ? LNT_OK : damaged(f, w, number, "its bounds are impossible");
}

static size_t node_count(const uint8_t *page) {
  page_head head;
  memcpy(&head, page, sizeof head);
  return (head.u.room.lower - sizeof head) / 2;
}

/* Node `i` of a page that read_page() found sound. false: it reaches outside. */
static bool read_node(const file *f, const uint8_t *page, size_t i, bool leaf, node *out) {
  page_head head;
  uint16_t at, part[4]; /* size or child, low and high; flags; key size */
  memcpy(&head, page, sizeof head);
  memcpy(&at, page + sizeof head + 2 * i, sizeof at);
  if (at < head.u.room.upper || (size_t)at + sizeof part > f->page_bytes) return false;
  memcpy(part, page + at, sizeof part);
  size_t left = f->page_bytes - at - sizeof part;
  uint32_t low = (uint32_t)part[0] | (uint32_t)part[1] << 16;
  *out = (node){.flags = part[2], .key = {page + at + sizeof part, part[3]}, .child = low | (uint64_t)part[2] << 32};
  if (part[3] > left || part[3] > KEY_MAX) return false;
  if (!leaf) return true;
  out->value = (lnt__slice){(const uint8_t *)out->key.data + part[3], low};
  return (part[2] & NODE_BIG ? sizeof(uint64_t) : low) <= left - part[3];
}

static int key_compare(const walk *w, lnt__slice a, lnt__slice b) {
  if (w->integer_keys) {
    uint64_t x, y;
    memcpy(&x, a.data, sizeof x);
    memcpy(&y, b.data, sizeof y);
    return (x > y) - (x < y);
  }
  size_t shared = a.size < b.size ? a.size : b.size;
  int order = memcmp(a.data, b.data, shared);
  return order ? order : (a.size > b.size) - (a.size < b.size);
}

/* Keys come in rising order over the whole tree, the branches' keys among them. */
static bool next_key(walk *w, lnt__slice key, bool of_branch) {
  if (key.size == 0 || (w->integer_keys && key.size != sizeof(uint64_t))) return false;
  int order = w->has_last ? key_compare(w, key, (lnt__slice){w->last, w->last_size}) : 1;
  if (order < 0 || (order == 0 && !w->may_equal)) return false;
  memcpy(w->last, key.data, key.size);
  w->last_size = key.size;
  w->has_last = true;
  w->may_equal = of_branch;
  return true;
}

/* ---- Values ---- */

static lnt_status read_big(file *f, const walk *w, const node *n, uint8_t **data) {
  uint64_t first;
  memcpy(&first, n->value.data, sizeof first);
  uint64_t pages = (sizeof(page_head) + n->value.size + f->page_bytes - 1) / f->page_bytes;
  if (first > f->last_page || pages > f->last_page - first + 1) return damaged(f, w, first, "a long value reaches beyond the file");
  for (uint64_t i = 0; i < pages; i++) {
    lnt_status status = claim(f, w, first + i);
    if (status) return status;
  }
  page_head head;
  lnt_status status = read_at(f, &head, sizeof head, first * f->page_bytes);
  if (status) return status;
  if (head.number != first || (head.flags & PAGE_KINDS) != PAGE_OVERFLOW || head.u.count != pages)
    return damaged(f, w, first, "it is not the long value that it should be");
  *data = lnt__alloc(n->value.size);
  return *data ? read_at(f, *data, n->value.size, first * f->page_bytes + sizeof head) : out_of_memory(f);
}

static lnt_status visit_record(file *f, walk *w, uint64_t page, const node *n) {
  if (n->flags & (NODE_TREE | NODE_DUPLICATES)) return damaged(f, w, page, "a record is of the wrong kind");
  uint8_t *big = NULL;
  lnt_status status = n->flags & NODE_BIG ? read_big(f, w, n, &big) : LNT_OK;
  lnt__slice value = {big ? big : n->value.data, n->value.size};
  if (!status && f->fn) status = f->fn(f->user, w->table, n->key, value, f->err);
  lnt__free(big);
  return status;
}

/* A record of the list of free pages: a transaction, and the pages it freed, in falling order. */
static lnt_status visit_free(file *f, walk *w, uint64_t page, const node *n) {
  uint8_t *big = NULL;
  lnt_status status = n->flags & NODE_BIG ? read_big(f, w, n, &big) : LNT_OK;
  const uint8_t *data = big ? big : n->value.data;
  uint64_t count = 0, number, before = UINT64_MAX;
  if (!status && n->value.size >= sizeof count) memcpy(&count, data, sizeof count);
  bool whole = n->value.size >= sizeof count && count <= n->value.size / sizeof count - 1;
  if (!status && !whole) status = damaged(f, w, page, "a list of free pages is cut off");
  for (uint64_t i = 1; !status && i <= count; i++, before = number) {
    memcpy(&number, data + i * sizeof number, sizeof number);
    status = number < before ? claim(f, w, number) : damaged(f, w, page, "a list of free pages is out of order");
  }
  lnt__free(big);
  return status;
}

/* ---- Trees ---- */

typedef lnt_status (*visit_fn)(file *f, walk *w, uint64_t page, const node *n);

static lnt_status walk_page(file *f, walk *w, uint64_t number, unsigned level, visit_fn visit);

static lnt_status walk_nodes(file *f, walk *w, uint64_t number, unsigned level, visit_fn visit, const uint8_t *page) {
  bool leaf = level + 1 == w->tree->depth;
  size_t count = node_count(page);
  if (count == 0) return damaged(f, w, number, "it is empty");
  lnt_status status = LNT_OK;
  for (size_t i = 0; i < count && !status; i++) {
    node n;
    if (!read_node(f, page, i, leaf, &n)) return damaged(f, w, number, "a record reaches outside its page");
    bool has_key = leaf || i > 0; /* a branch's first key stands for all that is smaller */
    if (has_key && !next_key(w, n.key, !leaf)) return damaged(f, w, number, "keys are out of order");
    if (leaf) w->entries++;
    status = leaf ? visit(f, w, number, &n) : walk_page(f, w, n.child, level + 1, visit);
  }
  return status;
}

static lnt_status walk_page(file *f, walk *w, uint64_t number, unsigned level, visit_fn visit) {
  uint8_t *page = lnt__alloc(f->page_bytes);
  if (!page) return out_of_memory(f);
  lnt_status status = read_page(f, w, number, level + 1 == w->tree->depth, page);
  if (!status && visit) status = walk_nodes(f, w, number, level, visit, page);
  lnt__free(page);
  return status;
}

/* Without `visit`, the root alone. */
static lnt_status walk_tree(file *f, const tree *of, const char *table, bool integer_keys, visit_fn visit) {
  walk w = {.table = table, .tree = of, .integer_keys = integer_keys};
  if (of->root == NO_PAGE) return of->entries || of->depth ? damaged(f, &w, 0, "an empty table counts records") : LNT_OK;
  if (of->depth == 0 || of->depth > DEPTH_MAX) return damaged(f, &w, of->root, "the depth of the table is impossible");
  lnt_status status = walk_page(f, &w, of->root, 0, visit);
  if (!status && visit && w.entries != of->entries) status = damaged(f, &w, of->root, "the table counts more or fewer records than it has");
  return status;
}

static lnt_status visit_table(file *f, walk *w, uint64_t page, const node *n) {
  tree of;
  char name[64];
  if ((n->flags & (NODE_TREE | NODE_BIG | NODE_DUPLICATES)) != NODE_TREE || n->value.size != sizeof of || n->key.size >= sizeof name)
    return damaged(f, w, page, "an entry of the list of tables is not a table");
  memcpy(&of, n->value.data, sizeof of);
  snprintf(name, sizeof name, "%.*s", (int)n->key.size, (const char *)n->key.data);
  return walk_tree(f, &of, name, false, f->glance ? NULL : visit_record);
}

lnt_status lnt__lmdb_file_glance(const char *path, lnt_error *err) {
  file f;
  meta head;
  lnt_status status = open_file(&f, path, &head, err);
  f.glance = true;
  if (!status) status = walk_tree(&f, &head.main, "(the list of tables)", false, visit_table);
  if (!status) status = walk_tree(&f, &head.free, "(free pages)", true, NULL);
  close_file(&f);
  return status;
}

lnt_status lnt__lmdb_file_check(const char *path, lnt__lmdb_record_fn fn, void *user, lnt_error *err) {
  file f;
  meta head;
  lnt_status status = open_file(&f, path, &head, err);
  f.fn = fn;
  f.user = user;
  if (!status && !(f.seen = lnt__calloc(f.last_page / 8 + 1, 1))) status = out_of_memory(&f);
  if (!status) status = walk_tree(&f, &head.main, "(the list of tables)", false, visit_table);
  if (!status) status = walk_tree(&f, &head.free, "(free pages)", true, visit_free);
  close_file(&f);
  return status;
}
