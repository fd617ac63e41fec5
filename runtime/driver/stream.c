/* stream.c - reading what instances emitted, and followers, who are told of more as it becomes durable. Called by api/stream.c and by
 * tick.c; owner thread. Reads see durable state only, on a read-only runtime too; no transaction of the store is open while a callback
 * runs. */
#include "driver/runtime.h"

enum { CHUNK_BYTES_MAX = 256 << 10, FOLLOWERS_MAX = 10000 };

/* ---- Reading one run ---- */

/* A stretch of a history, copied: the callback may call the store. */
typedef struct chunk { lnt__buf records; uint32_t last; bool full; } chunk;

static int gather(void *user, lnt__slice key, lnt__slice value) {
  chunk *into = user;
  into->last = lnt__get_be32((const uint8_t *)key.data + 8);
  lnt__buf_append(&into->records, &into->last, sizeof into->last);
  lnt__buf_bytes(&into->records, value.data, value.size);
  into->full = into->records.size >= CHUNK_BYTES_MAX;
  return into->full || into->records.failed;
}

typedef struct reading {
  lnt_runtime *rt;
  const char *stream;
  lnt_cursor at; /* what was told stands before it */
  uint32_t left;
  bool stopped; /* enough, or the callback wants no more */
  lnt__buf large; /* a value that stands apart */
  lnt_emitted_fn fn;
  void *user;
} reading;

static bool is_wanted(const reading *r, const lnt__event *event) {
  return event->kind == LNT_EVENT_EMITTED && event->name.size == strlen(r->stream) &&
         memcmp(event->name.data, r->stream, event->name.size) == 0;
}

static lnt_status tell_event(reading *r, lnt__event *event, uint32_t place, lnt_error *err) {
  lnt_status status = LNT_OK;
  if (event->apart) status = lnt__journal_fetch(r->rt->store, r->at.run, r->at.record, place, event, &r->large, err);
  if (status) return status;
  r->at.place = place + 1;
  lnt_emitted item = {.next = r->at, .time_us = event->time_us, .value = event->value};
  r->stopped = r->fn(r->user, &item) != 0 || --r->left == 0;
  return LNT_OK;
}

static lnt_status tell_record(reading *r, lnt__slice sealed, lnt_error *err) {
  lnt__reader events;
  lnt__event event;
  int64_t last_us = 0;
  lnt_status status = LNT_OK;
  if (!lnt__record_open(sealed, &events)) return lnt__journal_corrupt(err, "the history", r->at.run);
  for (uint32_t place = 0; !status && events.at < events.end && !r->stopped; place++) {
    if (!lnt__event_read(&events, &last_us, &event)) return lnt__journal_corrupt(err, "the history", r->at.run);
    if (place >= r->at.place && is_wanted(r, &event)) status = tell_event(r, &event, place, err);
  }
  if (!status && !r->stopped) r->at = (lnt_cursor){r->at.run, r->at.record + 1, 0};
  return status;
}

static lnt_status tell_chunk(reading *r, const chunk *from, lnt_error *err) {
  lnt__reader records = lnt__reader_of(from->records.data, from->records.size);
  while (records.at < records.end && !r->stopped) {
    uint32_t record;
    memcpy(&record, records.at, sizeof record);
    records.at += sizeof record;
    lnt_value sealed = lnt__read_bytes(&records);
    if (record != r->at.record) r->at = (lnt_cursor){r->at.run, record, 0};
    lnt_status status = tell_record(r, (lnt__slice){sealed.data, sealed.size}, err);
    if (status) return status;
  }
  return LNT_OK;
}

static lnt_status read_chunk(reading *r, chunk *into, lnt_error *err) {
  uint8_t from[LNT__KEY_HISTORY_BYTES], to[LNT__KEY_HISTORY_BYTES];
  lnt__store *store = r->rt->store;
  lnt__key_history(from, r->at.run, r->at.record);
  lnt__key_history(to, r->at.run + 1, 0);
  lnt__buf_clear(&into->records);
  into->full = false;
  lnt_status status = store->vtable->scan(store, LNT__TABLE_HISTORY, (lnt__slice){from, sizeof from}, (lnt__slice){to, sizeof to}, false,
                                          gather, into, err);
  if (!status && into->records.failed) status = lnt__fail(err, LNT_ENOMEM, "out of memory while the stream '%s' was read", r->stream);
  return status;
}

/* From r->at to the end of its run. */
static lnt_status read_run(reading *r, lnt_error *err) {
  chunk part = {.full = true};
  lnt_status status = LNT_OK;
  lnt__buf_init(&part.records);
  while (!status && part.full && !r->stopped) {
    status = read_chunk(r, &part, err);
    if (!status) status = tell_chunk(r, &part, err);
  }
  lnt__buf_finish(&part.records);
  return status;
}

/* ---- Generations ---- */

/* Runs of one id, the newest first. */
typedef struct runs { uint64_t *items; size_t count, capacity; bool failed; } runs;

static void add_run(runs *to, uint64_t run) {
  if (to->failed || !lnt__grow((void **)&to->items, &to->capacity, to->count + 1, sizeof *to->items)) to->failed = true;
  else to->items[to->count++] = run;
}

static int take_older(void *user, lnt__slice key, lnt__slice value) {
  runs *into = user;
  (void)value;
  add_run(into, lnt__get_be64((const uint8_t *)key.data + key.size - LNT__KEY_RUN_BYTES));
  return into->failed;
}

/* Runs of `id` before its newest one, from `oldest` on. Some may be of another instance, which had the id before. */
static lnt_status find_older(lnt__store *store, const char *id, uint64_t oldest, runs *into, lnt_error *err) {
  uint8_t from[LNT__KEY_INDEX_BYTES_MAX], to[LNT__KEY_INDEX_BYTES_MAX];
  size_t size = lnt__index_older(from, (lnt_value){id, strlen(id)});
  memcpy(to, from, size);
  to[size - 1]++;
  lnt__slice first = {from, lnt__index_run(from, size, oldest)}, end = {to, size};
  lnt_status status = store->vtable->scan(store, LNT__TABLE_INDEX, first, end, true, take_older, into, err);
  if (!status && into->failed) status = lnt__fail(err, LNT_ENOMEM, "out of memory while the generations of '%s' were looked up", id);
  return status;
}

/* Leave the generations of the instance whose newest run is `newest`: going back, their numbers fall to 1. */
static lnt_status keep_generations(lnt__store *store, const lnt__row *newest, runs *older, lnt_error *err) {
  uint64_t generation = newest->generation;
  size_t kept = 0;
  for (size_t i = 0; i < older->count && generation > 1; i++) {
    lnt__row row;
    void *memory;
    lnt_status status = lnt__journal_row(store, older->items[i], &row, &memory, err);
    if (status == LNT_ENOTFOUND) continue; /* purged since, by the owner beside this reader */
    if (status) return status;
    lnt__free(memory);
    if (row.generation >= generation) break;
    generation = row.generation;
    older->items[kept++] = older->items[i];
  }
  older->count = kept;
  return LNT_OK;
}

/* The runs to read before the newest one, which is read last. The cursor's run must be one of the instance's. */
static lnt_status begin(lnt_runtime *rt, const char *id, const lnt__row *newest, lnt_cursor *at, runs *older, lnt_error *err) {
  bool known = at->run != 0;
  if (at->run == newest->run) return LNT_OK;
  if (newest->generation > 1) {
    lnt_status status = find_older(rt->store, id, at->run, older, err);
    if (!status) status = keep_generations(rt->store, newest, older, err);
    if (status) return status;
  }
  uint64_t run = older->count ? older->items[older->count - 1] : newest->run;
  if (known && run != at->run)
    return lnt__fail(err, LNT_EINVAL, "the cursor is not one of instance '%s'; begin again without a cursor", id);
  at->run = run;
  return LNT_OK;
}

static lnt_status read_runs(reading *r, uint64_t newest, const runs *older, lnt_error *err) {
  lnt_status status = read_run(r, err);
  for (size_t left = older->count; left && !status && !r->stopped; left--) {
    r->at = (lnt_cursor){left > 1 ? older->items[left - 2] : newest, 0, 0};
    status = read_run(r, err);
  }
  return status;
}

lnt_status lnt__stream_read(lnt_runtime *rt, const char *id, const char *stream, lnt_cursor from, uint32_t limit, lnt_emitted_fn fn,
                            void *user, lnt_stream_end *end, lnt_error *err) {
  uint64_t run;
  lnt__row row;
  void *memory = NULL;
  runs older = {NULL, 0, 0, false};
  lnt_status status = lnt__journal_find(rt->store, id, &run, err);
  if (!status) status = lnt__journal_row_outline(rt->store, run, &row, &memory, err); /* first: what is closed gets nothing more */
  if (status) return status;
  reading r = {.rt = rt, .stream = stream, .at = from, .left = limit ? limit : UINT32_MAX, .fn = fn, .user = user};
  bool closed = row.closed_us != 0;
  status = begin(rt, id, &row, &r.at, &older, err);
  lnt__free(memory);
  if (!status) status = read_runs(&r, run, &older, err);
  if (!status) *end = (lnt_stream_end){.next = r.at, .ended = closed && !r.stopped};
  lnt__free(older.items);
  lnt__buf_finish(&r.large);
  return status;
}

/* ---- Followers ---- */

struct lnt_follower {
  lnt_runtime *rt;
  lnt_follower *next;       /* all of them */
  lnt_follower *same;       /* the others of the instance */
  char *id, *stream;
  lnt_cursor at;
  lnt_emitted_fn fn;
  void *user;
  bool due, over;
};

void lnt__followers_moved(lnt_runtime *rt, const char *id) {
  for (lnt_follower *f = lnt__strmap_get(&rt->followed, id); f; f = f->same) {
    f->due = true;
    rt->followers_due = true;
  }
}

static void join(lnt_runtime *rt, lnt_follower *follower) {
  lnt_follower *first = lnt__strmap_get(&rt->followed, follower->id);
  if (first) follower->same = first->same, first->same = follower;
}

/* The map's key is the first one's id. */
static void leave(lnt_runtime *rt, lnt_follower *follower) {
  lnt_follower *first = lnt__strmap_get(&rt->followed, follower->id);
  if (first == follower) {
    lnt__strmap_remove(&rt->followed, follower->id);
    /* Into the place that is free now. */
    if (follower->same) LNT__ASSERT(lnt__strmap_put(&rt->followed, follower->same->id, follower->same));
    return;
  }
  while (first && first->same != follower) first = first->same;
  if (first) first->same = follower->same;
}

static void destroy(lnt_follower *follower) {
  if (!follower) return;
  lnt__free(follower->id);
  lnt__free(follower->stream);
  lnt__free(follower);
}

lnt_status lnt__follow(lnt_runtime *rt, const char *id, const char *stream, lnt_cursor from, lnt_emitted_fn fn, void *user,
                       lnt_follower **out, lnt_error *err) {
  if (rt->follower_count >= FOLLOWERS_MAX)
    return lnt__fail(err, LNT_ELIMIT, "%d followers are at work already; end some with lnt_unfollow()", FOLLOWERS_MAX);
  lnt_follower *follower = lnt__alloc(sizeof *follower);
  if (follower)
    *follower = (lnt_follower){.rt = rt, .id = lnt__strdup(id), .stream = lnt__strdup(stream), .at = from, .fn = fn, .user = user};
  bool made = follower && follower->id && follower->stream;
  bool first = made && !lnt__strmap_get(&rt->followed, id);
  if (!made || (first && !lnt__strmap_put(&rt->followed, follower->id, follower))) {
    destroy(follower);
    return lnt__fail(err, LNT_ENOMEM, "out of memory: the stream '%s' is not followed", stream);
  }
  if (!first) join(rt, follower);
  follower->next = rt->followers;
  rt->followers = follower;
  rt->follower_count++;
  follower->due = rt->followers_due = true;
  lnt__engine_watch(rt->engine, true);
  *out = follower;
  return LNT_OK;
}

static void sweep(lnt_runtime *rt) {
  for (lnt_follower **at = &rt->followers; *at;) {
    lnt_follower *follower = *at;
    if (!follower->over) {
      at = &follower->next;
      continue;
    }
    *at = follower->next;
    rt->follower_count--;
    destroy(follower);
  }
  if (!rt->followers) lnt__engine_watch(rt->engine, false);
}

void lnt__unfollow(lnt_runtime *rt, lnt_follower *follower) {
  if (follower->over) return;
  leave(rt, follower);
  follower->over = true;
  if (!rt->serving) sweep(rt); /* else a callback of it may be on the stack */
}

static int pass_on(void *user, const lnt_emitted *item) {
  lnt_follower *follower = user;
  follower->at = item->next;
  if (follower->fn(follower->user, item)) lnt__unfollow(follower->rt, follower);
  return follower->over;
}

static void serve(lnt_runtime *rt, lnt_follower *follower) {
  lnt_stream_end end = {.ended = 1};
  lnt_error err;
  follower->due = false;
  lnt_status status = lnt__stream_read(rt, follower->id, follower->stream, follower->at, 0, pass_on, follower, &end, &err);
  if (follower->over || (status == LNT_ENOTFOUND && lnt__engine_knows(rt->engine, follower->id))) return; /* its start is on its way */
  if (!status) follower->at = end.next;
  if (!status && !end.ended) return;
  if (status)
    lnt__logf(rt, LNT_LOG_ERROR, "the stream '%s' of '%s' is followed no further: %s", follower->stream, follower->id, err.message);
  follower->fn(follower->user, NULL);
  lnt__unfollow(rt, follower);
}

void lnt__followers_serve(lnt_runtime *rt) {
  if (!rt->followers_due) return;
  rt->followers_due = false;
  rt->serving = true;
  for (lnt_follower *f = rt->followers; f; f = f->next)
    if (f->due && !f->over) serve(rt, f);
  rt->serving = false;
  sweep(rt);
}

void lnt__followers_finish(lnt_runtime *rt) {
  while (rt->followers) {
    lnt_follower *follower = rt->followers;
    rt->followers = follower->next;
    destroy(follower);
  }
  lnt__strmap_finish(&rt->followed);
}
