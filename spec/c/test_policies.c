/* test_policies.c - reloads, migrations and versions through lunation.h: each policy under instances that stand at different steps, over
 * restarts. */
#include "host.h"

#define COUNT 40

/* Half of the instances wait for "a", half for "b". */
#define HEAD "activity('note', function(x) return x end)\n"
static const char V1[] = HEAD "workflow('main', function(ctx)\n"
                              "  ctx:wait_for_external_event('a')\n"
                              "  local x = ctx:call_activity('note', 1)\n"
                              "  ctx:wait_for_external_event('b')\n"
                              "  return { 'v1', x }\n"
                              "end)\n";
/* Differs behind the first wait: fits those who have not got there. */
static const char V2[] = HEAD "workflow('main', function(ctx)\n"
                              "  ctx:wait_for_external_event('a')\n"
                              "  local x = ctx:call_activity('note', 2)\n"
                              "  ctx:wait_for_external_event('b')\n"
                              "  return { 'v2', x }\n"
                              "end)\n";
/* Fits everybody. */
static const char V3[] = HEAD "workflow('main', function(ctx)\n"
                              "  ctx:wait_for_external_event('a')\n"
                              "  local x = ctx:call_activity('note', 1)\n"
                              "  ctx:wait_for_external_event('b')\n"
                              "  return { 'v3', x }\n"
                              "end)\n";

typedef struct told {
  lnt_reload_summary summary;
  char message[500], hash[LNT_HASH_TEXT_BYTES];
  int done, fits[5], moves;
  char recorded[200], made[200], recorded_at[200], made_at[200], difference[200];
} told;

static void on_fit(void *user, const lnt_fit_report *report) {
  told *t = user;
  t->fits[report->fit]++;
  t->moves += report->moves;
  if (report->fit != LNT_FIT_DIVERGES) return;
  snprintf(t->recorded, sizeof t->recorded, "%s", report->recorded);
  snprintf(t->made, sizeof t->made, "%s", report->made);
  snprintf(t->recorded_at, sizeof t->recorded_at, "%s", report->recorded_at);
  snprintf(t->made_at, sizeof t->made_at, "%s", report->made_at);
  snprintf(t->difference, sizeof t->difference, "%s", report->difference);
}

static void on_done(void *user, const lnt_reload_summary *summary) {
  told *t = user;
  t->done++;
  t->summary = *summary;
  snprintf(t->message, sizeof t->message, "%s", summary->message);
  snprintf(t->hash, sizeof t->hash, "%s", summary->hash);
}

static const char *id_of(int i) {
  static char id[20];
  snprintf(id, sizeof id, "i%d", i);
  return id;
}

static void begin(host *h) {
  *h = (host){0};
  host_open(h, HOST_PLAIN, V1);
  for (int i = 0; i < COUNT; i++) {
    CHECK_STATUS(host_start(h, "main", id_of(i), NULL), LNT_OK);
    if (i % 2) CHECK_STATUS(host_raise(h, id_of(i), "a", NULL), LNT_OK);
  }
  host_settle(h);
}

static lnt_reload_options reload_options(const char *source, lnt_reload_policy policy, told *t) {
  lnt_reload_options options;
  *t = (told){0};
  lnt_reload_options_init(&options);
  options.file = "test.lua";
  options.source = source;
  options.source_size = strlen(source);
  options.policy = policy;
  options.fn = on_fit;
  options.done = on_done;
  options.user = t;
  return options;
}

static int is_done(void *user) { return ((told *)user)->done; }

static void reload(host *h, const char *source, lnt_reload_policy policy, told *t) {
  lnt_reload_options options = reload_options(source, policy, t);
  CHECK_STATUS(lnt_reload(h->rt, &options, &h->error), LNT_OK);
  CHECK_STATUS(lnt_drive_until(h->rt, is_done, t, 20 * HOST_SECOND_US, &h->error), LNT_OK);
  h->source = source;
}

/* Let all go to their ends. `early`: what those who had passed the first wait return; `late`: the others. */
static void check_ends(host *h, const char *early, const char *late) {
  host_restart(h);
  for (int i = 0; i < COUNT; i++) {
    if (i % 2 == 0) CHECK_STATUS(host_raise(h, id_of(i), "a", NULL), LNT_OK);
    CHECK_STATUS(host_raise(h, id_of(i), "b", NULL), LNT_OK);
  }
  host_settle(h);
  for (int i = 0; i < COUNT; i++) CHECK_EQ_STR(host_outcome(h, id_of(i)), i % 2 ? early : late);
  host_close(h);
}

static void test_pin_leaves_everybody_where_they_are(void) {
  host h;
  told t;
  begin(&h);
  reload(&h, V2, LNT_RELOAD_AUTHORS, &t); /* pin is what workflows say that say nothing */
  CHECK_STATUS(t.summary.status, LNT_OK);
  CHECK_EQ_INT(t.summary.checked, COUNT);
  CHECK_EQ_INT(t.summary.not_reached, COUNT / 2);
  CHECK_EQ_INT(t.summary.diverging, COUNT / 2);
  CHECK_EQ_INT(t.fits[LNT_FIT_DIVERGES], COUNT / 2);
  CHECK_EQ_INT(t.summary.moved, 0);
  CHECK_EQ_INT(t.summary.switched, 1);
  CHECK_EQ_STR(t.recorded, "call_activity('note', 1)");
  CHECK_EQ_STR(t.made, "call_activity('note', 2)");
  CHECK(strncmp(t.recorded_at, "test.lua:4", 10) == 0);
  CHECK(strncmp(t.made_at, "test.lua:4", 10) == 0);
  CHECK_EQ_STR(t.difference, "input: 1 vs 2");
  CHECK_STATUS(host_start(&h, "main", "new", NULL), LNT_OK);
  CHECK_STATUS(host_raise(&h, "new", "a", NULL), LNT_OK);
  CHECK_STATUS(host_raise(&h, "new", "b", NULL), LNT_OK);
  host_settle(&h);
  CHECK_EQ_STR(host_outcome(&h, "new"), "COMPLETED [\"v2\",2]");
  check_ends(&h, "COMPLETED [\"v1\",1]", "COMPLETED [\"v1\",1]");
}

static void test_adopt_moves_those_that_fit(void) {
  host h;
  told t;
  begin(&h);
  reload(&h, V2, LNT_RELOAD_ADOPT, &t);
  CHECK_EQ_INT(t.summary.moved, COUNT / 2);
  CHECK_EQ_INT(t.moves, COUNT / 2);
  check_ends(&h, "COMPLETED [\"v1\",1]", "COMPLETED [\"v2\",2]");
}

static void test_all_or_nothing_is_nothing_or_all(void) {
  host h;
  told t;
  begin(&h);
  reload(&h, V2, LNT_RELOAD_ALL_OR_NOTHING, &t);
  CHECK_STATUS(t.summary.status, LNT_EDIVERGED);
  CHECK_EQ_STR(t.message, "all or nothing: 20 of 40 instances cannot go on with the new code; nothing was changed");
  CHECK_EQ_INT(t.summary.switched, 0);
  CHECK_EQ_INT(t.summary.moved, 0);
  CHECK_STATUS(host_start(&h, "main", "new", NULL), LNT_OK);
  CHECK_STATUS(host_raise(&h, "new", "a", NULL), LNT_OK);
  CHECK_STATUS(host_raise(&h, "new", "b", NULL), LNT_OK);
  host_settle(&h);
  CHECK_EQ_STR(host_outcome(&h, "new"), "COMPLETED [\"v1\",1]");
  reload(&h, V3, LNT_RELOAD_ALL_OR_NOTHING, &t);
  CHECK_STATUS(t.summary.status, LNT_OK);
  CHECK_EQ_INT(t.summary.moved, COUNT);
  check_ends(&h, "COMPLETED [\"v3\",1]", "COMPLETED [\"v3\",1]");
}

static void test_the_author_says_the_policy(void) {
  static const char adopting[] = HEAD "workflow('main', { on_reload = 'adopt' }, function(ctx)\n"
                                      "  ctx:wait_for_external_event('a')\n"
                                      "  local x = ctx:call_activity('note', 1)\n"
                                      "  ctx:wait_for_external_event('b')\n"
                                      "  return { 'adopting', x }\n"
                                      "end)\n";
  host h;
  told t;
  begin(&h);
  reload(&h, adopting, LNT_RELOAD_AUTHORS, &t);
  CHECK_EQ_INT(t.summary.moved, COUNT);
  check_ends(&h, "COMPLETED [\"adopting\",1]", "COMPLETED [\"adopting\",1]");
}

static void test_a_dry_run_changes_nothing(void) {
  host h;
  told t;
  begin(&h);
  lnt_reload_options options = reload_options(V2, LNT_RELOAD_ADOPT, &t);
  options.dry_run = options.now = 1;
  CHECK_STATUS(lnt_reload(h.rt, &options, &h.error), LNT_OK);
  CHECK_EQ_INT(t.done, 1); /* `now`: before the call returned */
  CHECK_EQ_INT(t.summary.not_reached, COUNT / 2);
  CHECK_EQ_INT(t.moves, 0);
  CHECK_EQ_INT(t.summary.switched, 0);
  check_ends(&h, "COMPLETED [\"v1\",1]", "COMPLETED [\"v1\",1]");
}

static void test_now_moves_before_it_returns(void) {
  host h;
  told t;
  begin(&h);
  lnt_reload_options options = reload_options(V3, LNT_RELOAD_ADOPT, &t);
  options.now = 1;
  CHECK_STATUS(lnt_reload(h.rt, &options, &h.error), LNT_OK);
  CHECK_EQ_INT(t.done, 1);
  CHECK_EQ_INT(t.summary.moved, COUNT);
  h.source = V1; /* moved instances have their code in the store */
  check_ends(&h, "COMPLETED [\"v3\",1]", "COMPLETED [\"v3\",1]");
}

static void test_a_broken_file_changes_nothing(void) {
  host h;
  told t;
  begin(&h);
  lnt_reload_options options = reload_options("workflow('main', function(ctx)\n  return 1 +\nend)\n", LNT_RELOAD_ADOPT, &t);
  CHECK_STATUS(lnt_reload(h.rt, &options, &h.error), LNT_ESYNTAX);
  CHECK(strstr(h.error.message, "test.lua:3") != NULL);
  options = reload_options(HEAD "activity('note', function() end)\n", LNT_RELOAD_PIN, &t); /* only the activity VM finds this one */
  CHECK_STATUS(lnt_reload(h.rt, &options, &h.error), LNT_OK);
  CHECK_STATUS(lnt_drive_until(h.rt, is_done, &t, 20 * HOST_SECOND_US, &h.error), LNT_OK);
  CHECK_STATUS(t.summary.status, LNT_ESYNTAX);
  CHECK(strstr(t.message, "defined twice") != NULL);
  check_ends(&h, "COMPLETED [\"v1\",1]", "COMPLETED [\"v1\",1]");
}

static void test_a_workflow_that_is_gone_keeps_its_instances(void) {
  host h;
  told t;
  begin(&h);
  CHECK_STATUS(host_start(&h, "main", "fresh", NULL), LNT_OK); /* it has not run yet */
  reload(&h, HEAD "workflow('other', function() end)\n", LNT_RELOAD_ADOPT, &t);
  CHECK_EQ_INT(t.summary.unavailable, COUNT + 1);
  CHECK_EQ_INT(t.summary.moved, 0);
  CHECK_STATUS(host_start(&h, "main", "no", NULL), LNT_ENOTFOUND);
  check_ends(&h, "COMPLETED [\"v1\",1]", "COMPLETED [\"v1\",1]");
}

/* ---- Versions, sources, migrations ---- */

typedef struct seen_versions { int count; char hash[8][LNT_HASH_TEXT_BYTES]; uint64_t live[8]; int current[8]; } seen_versions;

static int on_version(void *user, const lnt_version_info *info) {
  seen_versions *seen = user;
  CHECK_EQ_STR(info->workflow, "main");
  CHECK_EQ_STR(info->file, "test.lua");
  CHECK(info->since_us > 0);
  snprintf(seen->hash[seen->count], LNT_HASH_TEXT_BYTES, "%s", info->hash);
  seen->live[seen->count] = info->live;
  seen->current[seen->count++] = info->is_current;
  return 0;
}

static int on_source(void *user, const lnt_source *source) {
  bool is_main = !source->module && strcmp(source->file, "test.lua") == 0;
  *(int *)user += is_main && source->size == strlen(V1) && memcmp(source->text, V1, source->size) == 0;
  return 0;
}

static void test_versions_say_who_runs_on_what(void) {
  host h;
  told t;
  begin(&h);
  reload(&h, V2, LNT_RELOAD_ADOPT, &t);
  for (int restarts = 0; restarts < 2; restarts++) {
    seen_versions seen = {0};
    CHECK_STATUS(lnt_versions(h.rt, "main", on_version, &seen, &h.error), LNT_OK);
    CHECK_EQ_INT(seen.count, 2);
    CHECK_EQ_STR(seen.hash[0], t.hash);
    CHECK(seen.current[0] && !seen.current[1]);
    CHECK_EQ_INT(seen.live[0], COUNT / 2);
    CHECK_EQ_INT(seen.live[1], COUNT / 2);
    char whole[LNT_HASH_TEXT_BYTES], part[13];
    int sources = 0;
    snprintf(part, sizeof part, "%.12s", seen.hash[1]);
    CHECK_STATUS(lnt_code(h.rt, part, on_source, &sources, whole, &h.error), LNT_OK);
    CHECK_EQ_INT(sources, 1);
    CHECK_EQ_STR(whole, seen.hash[1]);
    host_restart(&h);
  }
  reload(&h, V1, LNT_RELOAD_PIN, &t); /* back again: it is the newest now */
  seen_versions seen = {0};
  CHECK_STATUS(lnt_versions(h.rt, NULL, on_version, &seen, &h.error), LNT_OK);
  CHECK_EQ_STR(seen.hash[0], t.hash);
  CHECK(seen.current[0] && !seen.current[1]);
  CHECK_STATUS(lnt_code(h.rt, "0123456", on_source, &seen, NULL, &h.error), LNT_ENOTFOUND);
  CHECK_STATUS(lnt_code(h.rt, "x", on_source, &seen, NULL, &h.error), LNT_EINVAL);
  host_close(&h);
}

static void migrate(host *h, lnt_migrate_options *options, told *t) {
  *t = (told){0};
  options->fn = on_fit;
  options->done = on_done;
  options->user = t;
  CHECK_STATUS(lnt_migrate(h->rt, options, &h->error), LNT_OK);
  CHECK_STATUS(lnt_drive_until(h->rt, is_done, t, 20 * HOST_SECOND_US, &h->error), LNT_OK);
}

static void test_chosen_instances_migrate(void) {
  static const char *const ids[] = {"i0", "i1"};
  host h;
  told t;
  lnt_migrate_options options;
  lnt_list_options filter;
  begin(&h);
  reload(&h, V2, LNT_RELOAD_PIN, &t);
  lnt_migrate_options_init(&options);
  options.ids = ids;
  options.id_count = 2;
  migrate(&h, &options, &t); /* to the current code */
  CHECK_EQ_INT(t.summary.checked, 2);
  CHECK_EQ_INT(t.summary.moved, 1);
  CHECK_EQ_INT(t.summary.diverging, 1);
  lnt_migrate_options_init(&options);
  lnt_list_options_init(&filter);
  filter.workflow = "main";
  options.filter = &filter;
  options.hash = t.hash;
  CHECK_STATUS(lnt_migrate(h.rt, &options, &h.error), LNT_EINVAL); /* "" is no hash */
  reload(&h, V3, LNT_RELOAD_PIN, &t);
  options.hash = t.hash;
  options.policy = LNT_RELOAD_ALL_OR_NOTHING;
  char hash[LNT_HASH_TEXT_BYTES];
  snprintf(hash, sizeof hash, "%.16s", t.hash);
  options.hash = hash;
  migrate(&h, &options, &t);
  CHECK_STATUS(t.summary.status, LNT_OK);
  CHECK_EQ_INT(t.summary.moved, COUNT);
  check_ends(&h, "COMPLETED [\"v3\",1]", "COMPLETED [\"v3\",1]");
}

static void ignore_answer(void *user, lnt_status status, lnt_value value) { (void)user, (void)status, (void)value; }

static void test_a_stalled_instance_is_moved_whatever_the_policy(void) {
  static const char unstable[] = "local shared = {}\n"
                                 "workflow('main', function(ctx)\n"
                                 "  ctx:on_query('spoil', function() shared.spoilt = true end)\n"
                                 "  ctx:wait_for_external_event('a')\n"
                                 "  return ctx:wait_for_external_event(shared.spoilt and 'x' or 'b')\n"
                                 "end)\n";
  host h = {0};
  told t;
  host_open(&h, HOST_PLAIN, unstable);
  CHECK_STATUS(host_start(&h, "main", "one", NULL), LNT_OK);
  host_settle(&h);
  CHECK_STATUS(lnt_query(h.rt, "one", "spoil", LNT_VALUE_NIL, ignore_answer, NULL, &h.error), LNT_OK);
  host_settle(&h);
  CHECK_STATUS(host_raise(&h, "one", "a", NULL), LNT_OK);
  host_settle(&h);
  host_restart(&h);
  CHECK_STATUS(host_raise(&h, "one", "x", "5"), LNT_OK);
  host_settle(&h);
  CHECK_EQ_STR(host_status(&h, "one"), "STALLED");
  reload(&h, "workflow('main', function(ctx)\n"
             "  ctx:wait_for_external_event('a')\n"
             "  return ctx:wait_for_external_event('x')\n"
             "end)\n", LNT_RELOAD_PIN, &t);
  CHECK_EQ_INT(t.summary.moved, 1);
  host_settle(&h);
  CHECK_EQ_STR(host_outcome(&h, "one"), "COMPLETED 5");
  host_close(&h);
}

/* ---- Instances that do not rest ---- */

static void test_instances_that_never_rest_are_caught_between_two_turns(void) {
  static const char busy[] = "activity('note', function(x) return x end)\n"
                             "workflow('main', function(ctx)\n"
                             "  for i = 1, 3000 do ctx:call_activity('note', i) end\n"
                             "  return 'old'\n"
                             "end)\n";
  static const char busier[] = "activity('note', function(x) return x end)\n"
                               "workflow('main', function(ctx)\n"
                               "  for i = 1, 3000 do ctx:call_activity('note', i) end\n"
                               "  return 'new'\n"
                               "end)\n";
  for (int committer = 0; committer < 2; committer++) {
    host h = {0};
    told t;
    lnt_options_init(&h.options);
    h.options.committer = committer;
    host_open(&h, HOST_PLAIN, busy);
    for (int i = 0; i < 3; i++) CHECK_STATUS(host_start(&h, "main", id_of(i), NULL), LNT_OK);
    for (int i = 0; i < 20; i++) host_tick(&h);
    reload(&h, busier, LNT_RELOAD_ADOPT, &t);
    CHECK_EQ_INT(t.summary.checked, 3);
    CHECK_EQ_INT(t.summary.moved, 3);
    for (int i = 0; i < 3; i++) CHECK_STATUS(lnt_wait(h.rt, id_of(i), 60 * HOST_SECOND_US, &h.error), LNT_OK);
    for (int i = 0; i < 3; i++) CHECK_EQ_STR(host_outcome(&h, id_of(i)), "COMPLETED \"new\"");
    host_close(&h);
  }
}

static void test_closing_ends_what_was_begun(void) {
  host h;
  told t;
  begin(&h);
  lnt_reload_options options = reload_options(V2, LNT_RELOAD_ADOPT, &t);
  CHECK_STATUS(lnt_reload(h.rt, &options, &h.error), LNT_OK);
  host_restart(&h);
  CHECK_EQ_INT(t.done, 1);
  CHECK_STATUS(t.summary.status, LNT_ECLOSED);
  check_ends(&h, "COMPLETED [\"v1\",1]", "COMPLETED [\"v1\",1]");
}

CHECK_MAIN(test_pin_leaves_everybody_where_they_are, test_adopt_moves_those_that_fit, test_all_or_nothing_is_nothing_or_all,
           test_the_author_says_the_policy, test_a_dry_run_changes_nothing, test_now_moves_before_it_returns,
           test_a_broken_file_changes_nothing, test_a_workflow_that_is_gone_keeps_its_instances, test_versions_say_who_runs_on_what,
           test_chosen_instances_migrate, test_a_stalled_instance_is_moved_whatever_the_policy,
           test_instances_that_never_rest_are_caught_between_two_turns, test_closing_ends_what_was_begun);
