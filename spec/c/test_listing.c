/* test_listing.c - finding instances: lnt_list and lnt_count under every mix of conditions, against a look at every row; pages; clocks that
 * were set back; a store without an index. */
#include <stdlib.h>

#include "base/rng.h"
#include "host.h"
#include "journal/journal.h"

static const char library[] =
    "workflow('empty', function() end)\n"
    "workflow('fails', function() error('as asked') end)\n"
    "workflow('gate', function(ctx) ctx:wait_for_external_event('go') end)\n"
    "workflow('gates', function(ctx) ctx:wait_for_external_event('go') end)\n";

enum { INSTANCES = 240 };

/* ---- A crowd: what is what follows from the number ---- */

static const char *const workflows[] = {"empty", "fails", "gate", "gates"};
static const char *const colours[] = {"red", "green", "blue"};

static void start_one(host *h, int i) {
  char id[32], attributes[100];
  lnt_start_options options;
  lnt_start_options_init(&options);
  snprintf(id, sizeof id, "%s-%d", i % 5 ? "order" : "ordinary", i);
  snprintf(attributes, sizeof attributes, "{\"colour\":\"%s\",\"size\":%d,\"odd\":%s}", colours[i % 3], i % 7, i % 2 ? "true" : "false");
  options.workflow = workflows[i % 4];
  options.id = id;
  if (i % 11) options.attributes = host_value(attributes);
  CHECK_STATUS(lnt_start(h->rt, &options, NULL, &h->error), LNT_OK);
  if (i % 4 >= 2 && i % 3 == 1) CHECK_STATUS(lnt_suspend(h->rt, id, NULL, NULL, NULL, &h->error), LNT_OK);
  if (i % 4 >= 2 && i % 5 == 2) CHECK_STATUS(lnt_terminate(h->rt, id, NULL, NULL, NULL, &h->error), LNT_OK);
  lnt_value_free(&options.attributes);
}

/* In the middle of it the clock is set back, which only a new process can see. */
static void make_crowd(host *h) {
  for (int i = 0; i < INSTANCES; i++) {
    if (i % 60 == 30) {
      host_settle(h);
      h->clock_us -= 25 * HOST_SECOND_US;
      host_restart(h);
    }
    start_one(h, i);
    h->clock_us += HOST_SECOND_US;
    if (i % 7 == 0) host_settle(h);
  }
  host_settle(h);
}

/* ---- The crowd, row by row ---- */

typedef struct seen { char id[64], workflow[32], colour[16]; int size, odd; lnt_run_status status; int64_t created_us; uint64_t run; } seen;
typedef struct crowd { seen all[INSTANCES + 8]; int count; } crowd;

static void read_attributes(lnt_value attributes, seen *s) {
  char *json = NULL;
  s->size = s->odd = -1;
  if (!attributes.size) return;
  lnt_value_to_json(attributes, 0, &json, NULL, NULL);
  const char *colour = strstr(json, "\"colour\":\""), *size = strstr(json, "\"size\":"), *odd = strstr(json, "\"odd\":");
  if (colour) sscanf(colour + 10, "%15[a-z]", s->colour);
  if (size) s->size = atoi(size + 7);
  if (odd) s->odd = odd[6] == 't';
  lnt_free(json);
}

static int remember(void *user, const lnt_instance *instance) {
  crowd *c = user;
  seen *s = &c->all[c->count++];
  memset(s, 0, sizeof *s);
  snprintf(s->id, sizeof s->id, "%s", instance->id);
  snprintf(s->workflow, sizeof s->workflow, "%s", instance->workflow);
  s->status = instance->status;
  s->created_us = instance->created_us;
  s->run = instance->run;
  read_attributes(instance->attributes, s);
  return c->count >= INSTANCES + 8;
}

/* Page after page, `limit` at a time. */
static void list_all(host *h, lnt_list_options *options, crowd *out) {
  uint64_t next = 0;
  out->count = 0;
  for (int pages = 0; pages < 10000; pages++) {
    int before = out->count;
    CHECK_STATUS(lnt_list(h->rt, options, remember, out, &next, &h->error), LNT_OK);
    if (options && options->limit) CHECK(out->count - before <= (int)options->limit);
    if (!next || !options) return;
    CHECK(out->count > before); /* no page of such a small crowd is empty */
    options->cursor = next;
  }
  CHECK_FAIL("the pages never end");
}

typedef struct conditions { lnt_list_options options; char attributes[100]; const char *colour; int size, odd; } conditions;

static bool fulfils(const seen *s, const conditions *c) {
  const lnt_list_options *o = &c->options;
  if (o->status_mask && !(o->status_mask >> s->status & 1)) return false;
  if (o->workflow && strcmp(o->workflow, s->workflow)) return false;
  if (o->id_prefix && strncmp(o->id_prefix, s->id, strlen(o->id_prefix))) return false;
  if (o->created_from_us && s->created_us < o->created_from_us) return false;
  if (o->created_to_us && s->created_us >= o->created_to_us) return false;
  if (c->colour && strcmp(c->colour, s->colour)) return false;
  return (c->size < 0 || c->size == s->size) && (c->odd < 0 || c->odd == s->odd);
}

static void draw_conditions(lnt__rng *rng, conditions *c) {
  static const char *const prefixes[] = {"order", "ord", "order-1", "ordinary-", "x", ""};
  memset(c, 0, sizeof *c);
  lnt_list_options_init(&c->options);
  c->size = c->odd = -1;
  if (lnt__rng_below(rng, 2)) c->options.status_mask = 1 + (uint32_t)lnt__rng_below(rng, 511);
  if (lnt__rng_below(rng, 3) == 0) c->options.workflow = workflows[lnt__rng_below(rng, 4)];
  if (lnt__rng_below(rng, 3) == 0) c->options.id_prefix = prefixes[lnt__rng_below(rng, 6)];
  if (lnt__rng_below(rng, 3) == 0) c->options.created_from_us = HOST_START_US + (int64_t)lnt__rng_below(rng, 150) * HOST_SECOND_US;
  if (lnt__rng_below(rng, 3) == 0) c->options.created_to_us = HOST_START_US + (int64_t)lnt__rng_below(rng, 150) * HOST_SECOND_US;
  if (lnt__rng_below(rng, 4) == 0) c->colour = colours[lnt__rng_below(rng, 3)];
  if (lnt__rng_below(rng, 4) == 0) c->size = (int)lnt__rng_below(rng, 7);
  if (lnt__rng_below(rng, 4) == 0) c->odd = (int)lnt__rng_below(rng, 2);
  c->options.limit = 1 + (uint32_t)lnt__rng_below(rng, 40);
  size_t at = (size_t)snprintf(c->attributes, sizeof c->attributes, "{");
  if (c->colour) at += (size_t)snprintf(c->attributes + at, sizeof c->attributes - at, "\"colour\":\"%s\"", c->colour);
  if (c->size >= 0) at += (size_t)snprintf(c->attributes + at, sizeof c->attributes - at, "%s\"size\":%d", at > 1 ? "," : "", c->size);
  if (c->odd >= 0)
    at += (size_t)snprintf(c->attributes + at, sizeof c->attributes - at, "%s\"odd\":%s", at > 1 ? "," : "", c->odd ? "true" : "false");
  snprintf(c->attributes + at, sizeof c->attributes - at, "}");
  if (at > 1) c->options.attributes = host_value(c->attributes);
}

static void compare(host *h, const crowd *all, conditions *c) {
  static crowd found;
  lnt_counts counts = {.size = sizeof counts};
  uint64_t wanted[LNT_RUN_STATUS_SLOTS] = {0}, total = 0;
  int at = 0;
  list_all(h, &c->options, &found);
  for (int i = 0; i < all->count; i++) {
    if (!fulfils(&all->all[i], c)) continue;
    wanted[all->all[i].status]++;
    total++;
    if (at >= found.count || found.all[at].run != all->all[i].run) {
      CHECK_FAIL("place %d should be %s, with %s", at, all->all[i].id, c->attributes);
      return;
    }
    at++;
  }
  CHECK_EQ_INT(found.count, at);
  CHECK_STATUS(lnt_count(h->rt, &c->options, &counts, &h->error), LNT_OK);
  CHECK_EQ_UINT(counts.total, total);
  CHECK_EQ_MEM(counts.by_status, wanted, sizeof wanted);
}

static void compare_many(host *h, uint64_t seed) {
  static crowd all;
  lnt__rng rng;
  CHECK_SEED(seed);
  lnt__rng_seed(&rng, seed);
  list_all(h, NULL, &all);
  for (int i = 1; i < all.count; i++) CHECK(all.all[i].run < all.all[i - 1].run);
  CHECK_EQ_INT(all.count, 100); /* a page */
  lnt_list_options everything;
  lnt_list_options_init(&everything);
  everything.limit = INSTANCES;
  list_all(h, &everything, &all);
  CHECK_EQ_INT(all.count, INSTANCES);
  for (int i = 0; i < 400; i++) {
    conditions c;
    draw_conditions(&rng, &c);
    compare(h, &all, &c);
    lnt_value_free(&c.options.attributes);
  }
}

static void test_every_mix_of_conditions(void) {
  for (uint64_t seed = 1; seed <= 2; seed++) {
    host h = {0};
    host_open(&h, seed == 1 ? HOST_PLAIN : HOST_RESTARTED, library);
    make_crowd(&h);
    compare_many(&h, seed);
    host_close(&h);
  }
}

/* ---- The index itself ---- */

typedef struct keys { lnt__buf bytes; lnt__batch *remove; int count; } keys;

static int take_key(void *user, lnt__slice key, lnt__slice value) {
  keys *k = user;
  (void)value;
  k->count++;
  lnt__buf_bytes(&k->bytes, key.data, key.size);
  if (k->remove) lnt__batch_delete(k->remove, LNT__TABLE_INDEX, key.data, key.size);
  return 0;
}

static void read_index(host *h, keys *out, bool remove) {
  lnt__store_options options = {.dir = h->dir, .durability = LNT_DURABILITY_PROCESS, .bytes_max = 1 << 30};
  lnt__store *store;
  lnt_error err = {0};
  *out = (keys){.remove = remove ? lnt__batch_create() : NULL};
  REQUIRE(lnt__store_open_lmdb(&options, NULL, &store, &err) == LNT_OK);
  CHECK_STATUS(store->vtable->scan(store, LNT__TABLE_INDEX, (lnt__slice){0}, (lnt__slice){0}, false, take_key, out, &err), LNT_OK);
  if (remove) {
    lnt__batch_delete(out->remove, LNT__TABLE_META, "index", 5);
    CHECK_STATUS(store->vtable->commit(store, out->remove, &err), LNT_OK);
    lnt__batch_destroy(out->remove);
  }
  store->vtable->destroy(store);
}

/* A store without an index is read as it is, and gets one when it is opened for work: the one it would have had. */
static void test_a_store_without_an_index(void) {
  host h = {0};
  keys before, after;
  host_open(&h, HOST_PLAIN, library);
  make_crowd(&h);
  lnt_close(h.rt);
  read_index(&h, &before, true);
  lnt_options reading = h.options;
  reading.read_only = 1;
  CHECK_STATUS(lnt_open(&reading, &h.rt, &h.error), LNT_OK);
  compare_many(&h, 3);
  lnt_list_options children;
  lnt_list_options_init(&children);
  children.parent = "order-1";
  CHECK_STATUS(lnt_list(h.rt, &children, remember, NULL, NULL, &h.error), LNT_EAGAIN);
  lnt_close(h.rt);
  CHECK_STATUS(lnt_open(&h.options, &h.rt, &h.error), LNT_OK);
  lnt_close(h.rt);
  read_index(&h, &after, false);
  CHECK_EQ_INT(after.count, before.count);
  CHECK_EQ_UINT(after.bytes.size, before.bytes.size);
  CHECK_EQ_MEM(after.bytes.data, before.bytes.data, after.bytes.size);
  CHECK_STATUS(lnt_open(&h.options, &h.rt, &h.error), LNT_OK);
  compare_many(&h, 4);
  lnt__buf_finish(&before.bytes);
  lnt__buf_finish(&after.bytes);
  host_close(&h);
}

static void test_bad_conditions_are_refused(void) {
  host h = {0};
  lnt_list_options options;
  lnt_counts none = {0};
  host_open(&h, HOST_PLAIN, library);
  lnt_list_options_init(&options);
  options.attributes = host_value("{\"a\":[1]}");
  CHECK_STATUS(lnt_list(h.rt, &options, remember, NULL, NULL, &h.error), LNT_EVALUE);
  CHECK_HAS(h.error.message, "'a' must be text");
  lnt_value_free(&options.attributes);
  options.parent = "nobody";
  CHECK_STATUS(lnt_list(h.rt, &options, remember, NULL, NULL, &h.error), LNT_ENOTFOUND);
  CHECK_HAS(h.error.message, "nobody");
  options.parent = NULL;
  options.workflow = "";
  CHECK_STATUS(lnt_list(h.rt, &options, remember, NULL, NULL, &h.error), LNT_EINVAL);
  CHECK_STATUS(lnt_count(h.rt, NULL, &none, &h.error), LNT_EINVAL);
  CHECK_STATUS(lnt_list(h.rt, NULL, NULL, NULL, NULL, &h.error), LNT_EINVAL);
  host_close(&h);
}

CHECK_MAIN(test_every_mix_of_conditions, test_a_store_without_an_index, test_bad_conditions_are_refused);
