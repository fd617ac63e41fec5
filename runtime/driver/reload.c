/* reload.c - reloads and migrations: new code is tried on those who run, reported, and only then current. Called by api/reload.c and
 * watch.c to begin one, and by tick.c for a slice of it; owner thread.
 *
 * One is carried out at a time, in phases (reload.h), each in slices of SLICE_NS between the turns of others. A slice stands where the
 * batch before it has been taken back and no turn has run since, so that whoever is at rest at all is at rest then. */
#include <stdio.h>

#include "driver/reload.h"
#include "journal/query.h"

enum {
  SLICE_NS = 1000 * 1000,
  ROUNDS_MAX = 50,     /* of listing before the switch, while instances are being started */
  PATIENCE_MAX = 1000, /* commits that are waited for because of instances that are busy */
  RELOADS_MAX = 1000   /* that wait */
};

/* ---- Making one ---- */

static void reload_free(lnt__reload *reload) {
  if (!reload) return;
  lnt__wvm_unstage(reload->rt->wvm, reload->staged);
  for (size_t i = 0; i < reload->name_count; i++) lnt__free(reload->names[i].name);
  lnt__free(reload->names);
  lnt__free(reload->targets);
  lnt__free(reload->candidates);
  for (size_t i = 0; i < reload->patch_count; i++) lnt__free((void *)(uintptr_t)reload->patches[i].name);
  lnt__free(reload->patches);
  lnt__interfaces_finish(&reload->interfaces);
  lnt__try_destroy(reload->trier);
  lnt__free(reload->source);
  lnt__free((void *)(uintptr_t)reload->filter.workflow);
  lnt__free((void *)(uintptr_t)reload->filter.id_prefix);
  lnt__free((void *)(uintptr_t)reload->filter.parent);
  lnt__free((void *)(uintptr_t)reload->filter.attributes.data);
  lnt__free(reload);
}

static lnt_status no_memory(lnt_error *err) { return lnt__fail(err, LNT_ENOMEM, "out of memory while code was loaded again"); }

static lnt__reload *reload_new(lnt_runtime *rt, lnt_error *err) {
  size_t waiting = 0;
  for (const lnt__reload *one = rt->reloads; one; one = one->next) waiting++;
  if (waiting >= RELOADS_MAX) {
    lnt__fail(err, LNT_ELIMIT, "%d reloads wait already; drive the runtime", RELOADS_MAX);
    return NULL;
  }
  lnt__reload *reload = lnt__calloc(1, sizeof *reload);
  if (!reload) {
    no_memory(err);
    return NULL;
  }
  reload->rt = rt;
  reload->trier = lnt__try_create(rt->engine);
  if (!reload->trier) {
    no_memory(err);
    reload_free(reload);
    return NULL;
  }
  reload->began_ns = lnt__monotonic_ns();
  lnt_list_options_init(&reload->filter);
  return reload;
}

static bool add_name(lnt__reload *reload, const char *name, lnt_reload_policy policy) {
  char *copy = name ? lnt__strdup(name) : NULL;
  if ((copy || !name) && lnt__grow((void **)&reload->names, &reload->name_capacity, reload->name_count + 1, sizeof *reload->names)) {
    reload->names[reload->name_count++] = (lnt__reload_name){copy, policy};
    return true;
  }
  lnt__free(copy);
  return false;
}

static bool add_target(lnt__reload *reload, const uint8_t *hash) {
  if (!lnt__grow((void **)&reload->targets, &reload->target_capacity, 1, sizeof *reload->targets)) return false;
  memcpy(reload->targets[0].hash, hash, LNT__SHA256_BYTES);
  reload->target_count = 1;
  return true;
}

static bool has_name(const lnt__reload *reload, const char *name) {
  for (size_t i = 0; i < reload->name_count; i++)
    if (strcmp(reload->names[i].name, name) == 0) return true;
  return false;
}

/* What the file defined before, and does not define any more. */
static void add_removed(void *user, const char *name, const char *file, const char *hash) {
  lnt__reload *reload = user;
  (void)hash;
  if (strcmp(file, reload->staged->file) != 0 || has_name(reload, name)) return;
  reload->unchanged = false;
  if (!add_name(reload, name, LNT_RELOAD_PIN)) no_memory(&reload->error);
}

static int add_patch(void *user, lnt_value name) { return !lnt__reload_note_patch(user, name, false, false); }

static lnt_status look_at_names(lnt__reload *reload, lnt_error *err) {
  const lnt__staged *staged = reload->staged;
  const uint8_t *loaded = lnt__wvm_loaded(reload->rt->wvm, staged->file);
  reload->unchanged = loaded && memcmp(loaded, staged->hash, LNT__SHA256_BYTES) == 0;
  for (size_t i = 0; i < staged->name_count; i++) {
    const uint8_t *current = lnt__wvm_current(reload->rt->wvm, staged->names[i].name);
    if (!current || memcmp(current, staged->hash, LNT__SHA256_BYTES) != 0) reload->unchanged = false;
    lnt_reload_policy policy = reload->policy != LNT_RELOAD_AUTHORS ? reload->policy : staged->names[i].policy;
    if (!add_name(reload, staged->names[i].name, policy)) return no_memory(err);
  }
  lnt__wvm_each(reload->rt->wvm, add_removed, reload);
  if (reload->error.code) return no_memory(err);
  for (size_t i = 0; i < reload->name_count && reload->policy == LNT_RELOAD_ALL_OR_NOTHING; i++)
    reload->names[i].policy = LNT_RELOAD_ALL_OR_NOTHING;
  bool looks_at_patches = reload->care == LNT__RELOAD_ALWAYS || !reload->unchanged;
  if (looks_at_patches && lnt__wvm_patches(reload->rt->wvm, staged->hash, add_patch, reload, err)) return err->code;
  return add_target(reload, staged->hash) ? LNT_OK : no_memory(err);
}

static void enqueue(lnt__reload *reload) {
  lnt__reload **end = &reload->rt->reloads;
  while (*end) end = &(*end)->next;
  *end = reload;
}

/* All of it at once: nothing else runs, but commits are made. `reload` is freed at its end. */
static void carry_out(lnt_runtime *rt, const lnt__reload *reload) {
  rt->driving++;
  for (bool waits = true; waits;) {
    lnt_error error = {LNT_OK, ""};
    lnt__reload_step(rt, UINT64_MAX);
    waits = false;
    for (const lnt__reload *one = rt->reloads; one; one = one->next) waits = waits || one == reload;
    lnt_status status = waits || lnt__engine_dirty(rt->engine) ? lnt__commit_flush(rt, &error) : LNT_OK;
    if (!status || !waits) continue;
    rt->reloads->error = error; /* the store is full or failed: the first one ends with that, and so does the next */
    lnt__reload_give_up(rt, status);
  }
  rt->driving--;
}

lnt_status lnt__reload_begin(lnt_runtime *rt, const lnt_reload_options *options, const char *source, size_t size, lnt__reload_care care,
                             lnt_error *err) {
  lnt__reload *reload = reload_new(rt, err);
  if (!reload) return err ? err->code : LNT_ENOMEM;
  reload->policy = options->policy;
  reload->dry_run = options->dry_run != 0;
  reload->care = care;
  reload->fn = options->fn;
  reload->done = options->done;
  reload->user = options->user;
  reload->source = lnt__strndup(source, size);
  reload->source_size = size;
  lnt_status status = reload->source ? lnt__wvm_stage(rt->wvm, options->file, source, size, &reload->staged, err) : no_memory(err);
  if (!status) status = look_at_names(reload, err);
  if (status) {
    reload_free(reload);
    return status;
  }
  if (care == LNT__RELOAD_IF_CHANGED && reload->unchanged) reload->phase = LNT__RELOAD_OVER;
  enqueue(reload);
  if (options->now) carry_out(rt, reload);
  return LNT_OK;
}

/* ---- Migrations ---- */

static bool copy_text(const char **out, const char *text) {
  *out = text ? lnt__strdup(text) : NULL;
  return !text || *out;
}

static bool copy_filter(lnt_list_options *out, const lnt_list_options *from) {
  memcpy(out, from, from->size < sizeof *out ? from->size : sizeof *out);
  lnt_value attributes = out->attributes;
  const char *workflow = out->workflow, *id_prefix = out->id_prefix, *parent = out->parent;
  out->workflow = out->id_prefix = out->parent = NULL;
  out->attributes = LNT_VALUE_NIL;
  void *data = attributes.size ? lnt__alloc(attributes.size) : NULL;
  if (data) out->attributes = (lnt_value){memcpy(data, attributes.data, attributes.size), attributes.size};
  bool copied = copy_text(&out->workflow, workflow);
  copied = copy_text(&out->id_prefix, id_prefix) && copied;
  copied = copy_text(&out->parent, parent) && copied;
  return copied && (data || !attributes.size);
}

static lnt_status add_id(lnt__reload *reload, const char *id, lnt_error *err) {
  uint64_t run;
  lnt__row row;
  void *memory = NULL;
  lnt_status status = lnt__check_name("instance id", id, LNT_ID_BYTES_MAX, false, err);
  if (!status) status = lnt__journal_find(reload->rt->store, id, &run, err);
  if (!status) status = lnt__journal_row_outline(reload->rt->store, run, &row, &memory, err);
  if (!status && row.closed_us) status = lnt__fail(err, LNT_ECLOSED, "instance '%s' is finished; it needs no other code", id);
  if (!status && !lnt__reload_add(reload, &row, reload->policy)) status = no_memory(err);
  lnt__free(memory);
  return status;
}

lnt_status lnt__migrate_begin(lnt_runtime *rt, const lnt_migrate_options *options, const uint8_t *hash, lnt_error *err) {
  lnt__reload *reload = reload_new(rt, err);
  if (!reload) return err ? err->code : LNT_ENOMEM;
  reload->policy = options->policy;
  reload->dry_run = options->dry_run != 0;
  reload->fn = options->fn;
  reload->done = options->done;
  reload->user = options->user;
  reload->to_current = hash == NULL;
  lnt_status status = hash && !add_target(reload, hash) ? no_memory(err) : LNT_OK;
  if (!status && options->filter && !copy_filter(&reload->filter, options->filter)) status = no_memory(err);
  if (!status && options->filter && !add_name(reload, NULL, options->policy)) status = no_memory(err);
  for (size_t i = 0; !status && i < options->id_count; i++) status = add_id(reload, options->ids[i], err);
  if (status) {
    reload_free(reload);
    return status;
  }
  enqueue(reload);
  if (options->now) carry_out(rt, reload);
  return LNT_OK;
}

static bool any_stalled(lnt_runtime *rt, const lnt_list_options *filter) {
  lnt__query q;
  lnt__row row;
  void *memory = NULL;
  uint64_t cursor = UINT64_MAX;
  lnt_status status = lnt__query_init(&q, rt->store, filter, NULL);
  if (!status) lnt__query_below(&q, &cursor, &row, &memory);
  lnt__query_finish(&q);
  lnt__free(memory);
  return memory != NULL;
}

void lnt__reload_stalled(lnt_runtime *rt, const lnt__staged *staged) {
  lnt_error error;
  lnt_list_options filter;
  lnt_migrate_options options;
  lnt_list_options_init(&filter);
  filter.status_mask = 1u << LNT_RUN_STALLED;
  lnt_migrate_options_init(&options);
  options.filter = &filter;
  for (size_t i = 0; i < staged->name_count; i++) {
    filter.workflow = staged->names[i].name;
    if (any_stalled(rt, &filter) && lnt__migrate_begin(rt, &options, staged->hash, &error))
      lnt__runtime_log(rt, LNT_LOG_WARN, NULL, error.message);
  }
}

/* ---- Its end ---- */

static void count(lnt__reload *reload) {
  lnt_reload_summary *summary = &reload->summary;
  for (size_t i = 0; i < reload->count; i++) {
    const lnt__candidate *candidate = &reload->candidates[i];
    lnt__candidate_state state = candidate->state;
    if (candidate->is_same) continue;
    bool fits = state == LNT__CANDIDATE_COMPATIBLE || state == LNT__CANDIDATE_MOVED;
    summary->compatible += fits && candidate->has_reached;
    summary->not_reached += fits && !candidate->has_reached;
    summary->diverging += state == LNT__CANDIDATE_DIVERGES;
    summary->unavailable += state == LNT__CANDIDATE_UNAVAILABLE;
    summary->busy += state == LNT__CANDIDATE_BUSY || state == LNT__CANDIDATE_NEW;
    summary->moved += state == LNT__CANDIDATE_MOVED;
  }
  summary->checked = summary->compatible + summary->not_reached + summary->diverging + summary->unavailable + summary->busy;
  summary->patches = reload->patches;
  summary->patch_count = reload->patch_count;
  summary->interfaces = reload->interfaces.items;
  summary->interface_count = reload->interfaces.count;
}

static void end(lnt__reload *reload, lnt_status status) {
  lnt_runtime *rt = reload->rt;
  lnt_reload_summary *summary = &reload->summary;
  char hex[2 * LNT__SHA256_BYTES + 1] = "";
  rt->reloads = reload->next;
  if (!reload->to_current && reload->target_count) lnt__hex(reload->targets[0].hash, LNT__SHA256_BYTES, hex);
  count(reload);
  summary->status = status;
  summary->message = status ? reload->error.message : "";
  summary->file = reload->staged ? reload->staged->file : "";
  summary->hash = hex;
  summary->dry_run = reload->dry_run;
  summary->unchanged = reload->unchanged;
  summary->took_us = (int64_t)((lnt__monotonic_ns() - reload->began_ns) / 1000);
  if (reload->done) reload->done(reload->user, summary);
  reload_free(reload);
}

void lnt__reload_give_up(lnt_runtime *rt, lnt_status status) {
  if (rt->reloads) end(rt->reloads, status);
}

void lnt__reload_finish(lnt_runtime *rt) {
  while (rt->reloads) {
    lnt__fail(&rt->reloads->error, LNT_ECLOSED, "the runtime was closed before the code was tried on every instance");
    end(rt->reloads, LNT_ECLOSED);
  }
}

/* ---- Phases ---- */

/* Until everything accepted so far is durable. */
static void await_commit(lnt__reload *reload) {
  const lnt_runtime *rt = reload->rt;
  reload->commits = rt->way.commits + (rt->way.batch ? 1 : 0) + (lnt__engine_dirty(rt->engine) ? 1 : 0);
  reload->waits = true;
}

static bool may_go_on(const lnt__reload *reload) {
  const lnt_runtime *rt = reload->rt;
  return !reload->waits || rt->way.commits >= reload->commits || (!rt->way.batch && !lnt__engine_dirty(rt->engine));
}

static void enter(lnt__reload *reload, lnt__reload_phase phase) {
  reload->phase = phase;
  reload->at = reload->from;
  reload->is_trying = false;
  reload->busy = 0;
  reload->patience = 0;
}

/* At the end of a pass over the candidates: again, after a commit, for the sake of those that were busy? */
static bool once_more(lnt__reload *reload) {
  if (!reload->busy || ++reload->patience > PATIENCE_MAX) return false;
  reload->busy = 0;
  reload->at = reload->from;
  await_commit(reload);
  return true;
}

static lnt_status do_list(lnt__reload *reload, uint64_t until_ns) {
  bool more;
  lnt_status status = lnt__reload_list(reload, until_ns, &more);
  if (status || more) return status;
  enter(reload, LNT__RELOAD_TRY);
  return LNT_OK;
}

/* The round is tried. Another one before the switch, for those who were started meanwhile? */
static bool has_more_rounds(lnt__reload *reload) {
  bool fresh = reload->from < reload->count;
  reload->from = reload->count;
  return !reload->late && fresh && reload->name_count && ++reload->rounds < ROUNDS_MAX;
}

static lnt_status do_try(lnt__reload *reload, uint64_t until_ns) {
  bool more;
  lnt_status status = lnt__reload_try(reload, until_ns, &more);
  if (status || more || once_more(reload)) return status;
  if (reload->late) {
    enter(reload, LNT__RELOAD_MOVE);
    return LNT_OK;
  }
  if (has_more_rounds(reload)) reload->phase = LNT__RELOAD_LIST;
  else enter(reload, LNT__RELOAD_SWITCH);
  return LNT_OK;
}

static lnt_status decide(lnt__reload *reload) {
  uint64_t unfit = 0, asked = 0;
  for (size_t i = 0; i < reload->count; i++) {
    lnt__candidate_state state = reload->candidates[i].state;
    if (!reload->candidates[i].must || state == LNT__CANDIDATE_GONE) continue;
    asked++;
    unfit += state != LNT__CANDIDATE_COMPATIBLE;
  }
  if (!unfit) return LNT_OK;
  return lnt__fail(&reload->error, LNT_EDIVERGED, "all or nothing: %llu of %llu instances cannot go on with the new code; nothing was "
                   "changed", (unsigned long long)unfit, (unsigned long long)asked);
}

static lnt_status do_switch(lnt__reload *reload, uint64_t until_ns) {
  (void)until_ns;
  lnt_status status = LNT_OK;
  if (reload->staged) status = lnt__interfaces_compare(reload->rt, reload->staged, &reload->interfaces, &reload->error);
  if (!status) status = decide(reload);
  if (status) return status;
  if (reload->dry_run) return reload->phase = LNT__RELOAD_OVER, LNT_OK;
  if (reload->staged) status = lnt__code_switch(reload->rt, reload->staged, reload->source, reload->source_size, &reload->error);
  if (status) return status;
  reload->summary.switched = reload->staged != NULL;
  reload->from = 0;
  enter(reload, LNT__RELOAD_MOVE);
  return LNT_OK;
}

static lnt_status do_move(lnt__reload *reload, uint64_t until_ns) {
  bool more;
  lnt_status status = lnt__reload_move(reload, until_ns, &more);
  if (more) await_commit(reload); /* what was moved is in one batch; the next ones are for another */
  if (status || more || once_more(reload)) return status;
  reload->phase = LNT__RELOAD_SETTLE;
  await_commit(reload);
  return LNT_OK;
}

static bool moves_any(const lnt__reload *reload) {
  for (size_t i = 0; i < reload->name_count; i++)
    if (reload->names[i].policy != LNT_RELOAD_PIN) return true;
  return false;
}

static lnt_status do_settle(lnt__reload *reload, uint64_t until_ns) {
  (void)until_ns;
  if (reload->late || !reload->staged || !moves_any(reload)) return reload->phase = LNT__RELOAD_OVER, LNT_OK;
  reload->late = true;
  reload->from = reload->count;
  enter(reload, LNT__RELOAD_LIST);
  return LNT_OK;
}

bool lnt__reload_ready(const lnt_runtime *rt) { return rt->reloads && may_go_on(rt->reloads); }

static lnt_status step(lnt__reload *reload, uint64_t until_ns) {
  static lnt_status (*const phases[])(lnt__reload *, uint64_t) = {
      [LNT__RELOAD_LIST] = do_list, [LNT__RELOAD_TRY] = do_try,       [LNT__RELOAD_SWITCH] = do_switch,
      [LNT__RELOAD_MOVE] = do_move, [LNT__RELOAD_SETTLE] = do_settle};
  reload->waits = false;
  return reload->phase == LNT__RELOAD_OVER ? LNT_OK : phases[reload->phase](reload, until_ns);
}

void lnt__reload_step(lnt_runtime *rt, uint64_t until_ns) {
  if (!lnt__reload_ready(rt)) return;
  rt->reloading = true;
  uint64_t slice_ns = until_ns == UINT64_MAX ? 0 : lnt__monotonic_ns() + SLICE_NS;
  if (until_ns && until_ns < slice_ns) slice_ns = until_ns;
  do {
    lnt__reload *reload = rt->reloads;
    lnt_status status = step(reload, slice_ns);
    if (status || reload->phase == LNT__RELOAD_OVER) end(reload, status);
  } while (lnt__reload_ready(rt) && (!slice_ns || lnt__monotonic_ns() < slice_ns));
}
