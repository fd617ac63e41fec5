/* test_watch.c - a folder under watch: files that are edited, broken, deleted and restored, modules, and saves that replace the file. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host.h"

typedef struct story { char text[4000]; const char *wanted; } story;

typedef struct world { host h; story s; char dir[SCRATCH_PATH_MAX]; lnt_watcher *watcher; lnt_reload_policy policy; } world;

static const char *base_name(const char *path) { return strrchr(path, '/') + 1; }

static void on_event(void *user, const lnt_watch_event *event) {
  story *s = user;
  size_t used = strlen(s->text);
  char more[300] = "";
  if (event->summary) snprintf(more, sizeof more, " moved=%d%s", (int)event->summary->moved, event->summary->unchanged ? " unchanged" : "");
  else if (event->instance) snprintf(more, sizeof more, " %s %s", event->instance->id, lnt_fit_name(event->instance->fit));
  else if (event->kind == LNT_WATCH_BROKEN) snprintf(more, sizeof more, " %s", event->message);
  snprintf(s->text + used, sizeof s->text - used, "[%s %s by %s%s]", lnt_watch_kind_name(event->kind), base_name(event->file),
           base_name(event->cause), more);
}

static int has_wanted(void *user) { return strstr(((story *)user)->text, ((story *)user)->wanted) != NULL; }

/* Drive until the story has this in it, and begin a new one. */
static void await(world *w, const char *wanted) {
  w->s.wanted = wanted;
  lnt_status status = lnt_drive_until(w->h.rt, has_wanted, &w->s, 20 * HOST_SECOND_US, &w->h.error);
  if (status) CHECK_FAIL("wanted %s, got %s", wanted, w->s.text);
  w->s.text[0] = 0;
}

static void put(world *w, const char *name, const char *text) {
  char path[SCRATCH_PATH_MAX + 100];
  snprintf(path, sizeof path, "%s/%s", w->dir, name);
  FILE *file = fopen(path, "w");
  if (!CHECK(file != NULL)) return;
  fputs(text, file);
  fclose(file);
}

/* As editors save: another file, renamed onto it, and a copy of the old one beside it. */
static void save(world *w, const char *name, const char *text) {
  char path[SCRATCH_PATH_MAX + 100], other[SCRATCH_PATH_MAX + 100], back[SCRATCH_PATH_MAX + 100];
  snprintf(path, sizeof path, "%s/%s", w->dir, name);
  snprintf(back, sizeof back, "%s/%s~", w->dir, name);
  snprintf(other, sizeof other, "%s/.%s.swp", w->dir, name);
  char swap[100];
  snprintf(swap, sizeof swap, ".%s.swp", name);
  put(w, swap, text);
  rename(path, back);
  CHECK_EQ_INT(rename(other, path), 0);
}

static void take_away(world *w, const char *name) {
  char path[SCRATCH_PATH_MAX + 100];
  snprintf(path, sizeof path, "%s/%s", w->dir, name);
  CHECK_EQ_INT(unlink(path), 0);
}

static void watch(world *w) {
  lnt_watch_options options;
  lnt_watch_options_init(&options);
  options.fn = on_event;
  options.user = &w->s;
  options.policy = w->policy;
  CHECK_STATUS(lnt_watch(w->h.rt, w->dir, &options, &w->watcher, &w->h.error), LNT_OK);
}

static const char V1[] = "local greet = require 'lib.greet'\n"
                         "workflow('main', function(ctx) return greet.by(ctx:wait_for_external_event('name')) end)\n";
static const char GREET[] = "return { by = function(name) return 'hello ' .. name end }\n";

static void begin(world *w, lnt_reload_policy policy) {
  char lib[SCRATCH_PATH_MAX + 100];
  memset(w, 0, sizeof *w);
  w->policy = policy;
  scratch_make(w->dir);
  snprintf(lib, sizeof lib, "%s/lib", w->dir);
  mkdir(w->dir, 0777);
  CHECK_EQ_INT(mkdir(lib, 0777), 0);
  put(w, "main.lua", V1);
  put(w, "lib/greet.lua", GREET);
  host_open(&w->h, HOST_PLAIN, NULL);
  watch(w);
  await(w, "[loaded main.lua by main.lua]");
}

static void finish(world *w) {
  host_close(&w->h);
  scratch_remove(w->dir);
}

static void check_greeting(world *w, const char *id, const char *greeting) {
  CHECK_STATUS(host_start(&w->h, "main", id, NULL), LNT_OK);
  CHECK_STATUS(host_raise(&w->h, id, "name", "\"ada\""), LNT_OK);
  CHECK_STATUS(lnt_wait(w->h.rt, id, 20 * HOST_SECOND_US, &w->h.error), LNT_OK);
  CHECK_EQ_STR(host_outcome(&w->h, id), greeting);
}

static void test_a_story_of_one_file(void) {
  world w;
  begin(&w, LNT_RELOAD_AUTHORS);
  CHECK_STATUS(host_start(&w.h, "main", "waits", NULL), LNT_OK);
  host_settle(&w.h);
  put(&w, "main.lua", "workflow('main', function(ctx) return 'hi ' .. ctx:wait_for_external_event('name') end)\n");
  await(&w, "[instance main.lua by main.lua waits compatible][reloaded main.lua by main.lua moved=0]");
  check_greeting(&w, "edited", "COMPLETED \"hi ada\"");
  save(&w, "main.lua", "workflow('main', function(ctx) return 'hi there ' .. ctx:wait_for_external_event('name') end)\n");
  await(&w, "[reloaded main.lua by main.lua moved=0]");
  put(&w, "main.lua", "workflow('main', function(ctx)\n  return +\nend)\n");
  await(&w, "[broken main.lua by main.lua main.lua:");
  check_greeting(&w, "broken", "COMPLETED \"hi there ada\"");
  take_away(&w, "main.lua");
  await(&w, "[deleted main.lua by main.lua]");
  check_greeting(&w, "deleted", "COMPLETED \"hi there ada\"");
  save(&w, "main.lua", V1);
  await(&w, "[reloaded main.lua by main.lua moved=0]");
  CHECK_STATUS(host_raise(&w.h, "waits", "name", "\"bob\""), LNT_OK);
  CHECK_STATUS(lnt_wait(w.h.rt, "waits", 20 * HOST_SECOND_US, &w.h.error), LNT_OK);
  CHECK_EQ_STR(host_outcome(&w.h, "waits"), "COMPLETED \"hello bob\"");
  finish(&w);
}

static void test_a_file_that_comes_back_as_it_was_is_told_and_not_switched(void) {
  world w;
  begin(&w, LNT_RELOAD_AUTHORS);
  take_away(&w, "main.lua");
  await(&w, "[deleted main.lua by main.lua]");
  put(&w, "main.lua", V1);
  await(&w, "[reloaded main.lua by main.lua moved=0 unchanged]");
  put(&w, "main.lua", "oops");
  await(&w, "[broken main.lua by main.lua main.lua:");
  put(&w, "main.lua", V1);
  await(&w, "[reloaded main.lua by main.lua moved=0 unchanged]");
  finish(&w);
}

static void test_a_module_reloads_who_requires_it(void) {
  world w;
  begin(&w, LNT_RELOAD_ADOPT);
  CHECK_STATUS(host_start(&w.h, "main", "waits", NULL), LNT_OK);
  host_settle(&w.h);
  put(&w, "other.lua", "workflow('other', function() end)\n");
  await(&w, "[reloaded other.lua by other.lua moved=0]");
  put(&w, "lib/greet.lua", "return { by = function(name) return 'good day ' .. name }\n");
  await(&w, "[broken greet.lua by greet.lua lib/greet.lua:1");
  put(&w, "lib/greet.lua", "return { by = function(name) return 'good day ' .. name end }\n");
  await(&w, "[instance main.lua by greet.lua waits not_reached][reloaded main.lua by greet.lua moved=1]");
  CHECK_STATUS(host_raise(&w.h, "waits", "name", "\"bob\""), LNT_OK);
  CHECK_STATUS(lnt_wait(w.h.rt, "waits", 20 * HOST_SECOND_US, &w.h.error), LNT_OK);
  CHECK_EQ_STR(host_outcome(&w.h, "waits"), "COMPLETED \"good day bob\"");
  finish(&w);
}

static void test_a_folder_that_is_replaced_is_watched_again(void) {
  world w;
  char lib[SCRATCH_PATH_MAX + 100], old[SCRATCH_PATH_MAX + 100];
  begin(&w, LNT_RELOAD_AUTHORS);
  snprintf(lib, sizeof lib, "%s/lib", w.dir);
  snprintf(old, sizeof old, "%s/.old", w.dir);
  CHECK_EQ_INT(rename(lib, old), 0);
  CHECK_EQ_INT(mkdir(lib, 0777), 0);
  put(&w, "lib/greet.lua", "return { by = function(name) return 'one ' .. name end }\n");
  await(&w, "[reloaded main.lua by greet.lua moved=0]");
  put(&w, "lib/greet.lua", "return { by = function(name) return 'two ' .. name end }\n");
  await(&w, "[reloaded main.lua by greet.lua moved=0]");
  check_greeting(&w, "replaced", "COMPLETED \"two ada\"");
  finish(&w);
}

static const char *path_of(const world *w, const char *name) {
  static char paths[2][SCRATCH_PATH_MAX + 100];
  static int turn;
  char *path = paths[turn ^= 1];
  snprintf(path, sizeof paths[0], "%s/%s", w->dir, name);
  return path;
}

static void test_the_whole_folder_may_be_replaced(void) {
  world w;
  char old[SCRATCH_PATH_MAX + 100];
  begin(&w, LNT_RELOAD_AUTHORS);
  CHECK_STATUS(host_start(&w.h, "main", "waits", NULL), LNT_OK);
  host_settle(&w.h);
  snprintf(old, sizeof old, "%s.old", w.dir);
  CHECK_EQ_INT(rename(w.dir, old), 0);
  await(&w, "[deleted main.lua by main.lua]");
  check_greeting(&w, "between", "COMPLETED \"hello ada\"");
  CHECK_EQ_INT(mkdir(w.dir, 0777), 0);
  CHECK_EQ_INT(mkdir(path_of(&w, "lib"), 0777), 0);
  put(&w, "lib/greet.lua", "return { by = function(name) return 'ahoy ' .. name end }\n");
  put(&w, "main.lua", V1);
  await(&w, "[reloaded main.lua by main.lua moved=0]");
  check_greeting(&w, "replaced", "COMPLETED \"ahoy ada\"");
  put(&w, "lib/greet.lua", "return { by = function(name) return 'heave ho ' .. name end }\n");
  await(&w, "[reloaded main.lua by greet.lua moved=0]");
  scratch_remove(old);
  finish(&w);
}

/* As a checkout does: many files at once, some come, some go, dates of any kind. */
static void test_a_checkout_is_one_change(void) {
  world w;
  begin(&w, LNT_RELOAD_AUTHORS);
  put(&w, "second.lua", "workflow('second', function() return require('lib.twice').of(1) end)\n");
  await(&w, "[reloaded second.lua by second.lua moved=0]");
  put(&w, "lib/twice.lua", "return { of = function(n) return 2 * n end }\n");
  take_away(&w, "lib/greet.lua");
  put(&w, "lib/words.lua", "return { by = function(name) return 'moin ' .. name end }\n");
  put(&w, "main.lua", "local greet = require 'lib.words'\n"
                      "workflow('main', function(ctx) return greet.by(ctx:wait_for_external_event('name')) end)\n");
  await(&w, "[reloaded main.lua by main.lua moved=0]");
  check_greeting(&w, "checkout", "COMPLETED \"moin ada\"");
  CHECK_STATUS(host_start(&w.h, "second", "twice", NULL), LNT_OK);
  CHECK_STATUS(lnt_wait(w.h.rt, "twice", 20 * HOST_SECOND_US, &w.h.error), LNT_OK);
  CHECK_EQ_STR(host_outcome(&w.h, "twice"), "COMPLETED 2");
  finish(&w);
}

static void test_links_are_followed(void) {
  world w;
  char store[SCRATCH_PATH_MAX + 100], target[SCRATCH_PATH_MAX + 200];
  begin(&w, LNT_RELOAD_AUTHORS);
  scratch_make(store);
  mkdir(store, 0777);
  snprintf(target, sizeof target, "%s/greet.lua", store);
  FILE *file = fopen(target, "w");
  fputs("return { by = function(name) return 'linked ' .. name end }\n", file);
  fclose(file);
  take_away(&w, "lib/greet.lua");
  CHECK_EQ_INT(symlink(target, path_of(&w, "lib/greet.lua")), 0);
  await(&w, "[reloaded main.lua by greet.lua moved=0]");
  check_greeting(&w, "file", "COMPLETED \"linked ada\"");
  file = fopen(target, "w"); /* nobody tells of this: the scan finds it */
  fputs("return { by = function(name) return 'elsewhere ' .. name end }\n", file);
  fclose(file);
  await(&w, "[reloaded main.lua by greet.lua moved=0]");
  take_away(&w, "lib/greet.lua");
  CHECK_EQ_INT(rmdir(path_of(&w, "lib")), 0);
  CHECK_EQ_INT(symlink(store, path_of(&w, "lib")), 0);
  check_greeting(&w, "folder", "COMPLETED \"elsewhere ada\"");
  CHECK_EQ_INT(symlink(w.dir, path_of(&w, "lib/round")), 0); /* a loop is met once */
  file = fopen(target, "w");
  fputs("return { by = function(name) return 'round ' .. name end }\n", file);
  fclose(file);
  await(&w, "[reloaded main.lua by greet.lua moved=0]");
  check_greeting(&w, "round", "COMPLETED \"round ada\"");
  finish(&w);
  scratch_remove(store);
}

static void test_all_or_nothing_refuses(void) {
  world w;
  begin(&w, LNT_RELOAD_ALL_OR_NOTHING);
  CHECK_STATUS(host_start(&w.h, "main", "waits", NULL), LNT_OK);
  host_settle(&w.h);
  put(&w, "main.lua", "workflow('main', function(ctx) return ctx:wait_for_external_event('nobody') end)\n");
  await(&w, "[instance main.lua by main.lua waits diverges][refused main.lua by main.lua moved=0]");
  check_greeting(&w, "old", "COMPLETED \"hello ada\"");
  lnt_unwatch(w.h.rt, w.watcher);
  finish(&w);
}

CHECK_MAIN(test_a_story_of_one_file, test_a_file_that_comes_back_as_it_was_is_told_and_not_switched, test_a_module_reloads_who_requires_it,
           test_a_folder_that_is_replaced_is_watched_again, test_the_whole_folder_may_be_replaced, test_a_checkout_is_one_change,
           test_links_are_followed, test_all_or_nothing_refuses);
