/* town.c - a host in the manner of a game: a loop of frames, a small world, and agents whose behaviour is durable workflows in Lua.
 *
 *   town [--data DIR] [--agents DIR] [--couriers N] [--frames N] [--call PLACE] [--fast]
 *
 * Three couriers walk a town of 40 places and deliver parcels (agents/courier.lua). Kill the town at any moment and start it again: each
 * goes on where he was, and no step that was done is done again. Edit courier.lua while it runs. --call: in the 60th frame the
 * player calls everybody to a place. --fast: frames do not wait for the clock.
 *
 * What a host has to do:
 *   - open a runtime with a committer thread, so that no frame waits for the disk                                    open_runtime
 *   - give the agents what they can do in the world: activities in C; one that takes many frames answers later       on_walk, on_say
 *   - watch the folder of scripts, so that a saved file is in the game in the next frame                             open_runtime
 *   - each frame: move the world, then tick the runtime with a budget of time                                        main
 */
#include <jansson.h>
#include <limits.h>
#include <lunation.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { COURIERS_MAX = 1000, PLACES = 40, FRAMES_PER_S = 60, TICK_BUDGET_NS = 2000000, PARCELS = 4, HEARTBEAT_FRAMES = 5,
       CALL_FRAME = 60 };

/* ---- The world: nothing in it is durable, and nothing in it knows of Lunation but the token of who waits ---- */

typedef struct courier {
  char name[32];
  int at;         /* his place, 0 to PLACES - 1 */
  bool is_placed; /* false after a start of the town, until a walk says where he is */
  bool is_walking;
  int to;
  lnt_token token; /* of the walk; answered when he is there */
  int frames;      /* since the walk began */
} courier;

typedef struct town {
  lnt_runtime *rt;
  courier couriers[COURIERS_MAX];
  int count;
  unsigned frame;
} town;

static courier *find(town *t, const char *name) {
  for (int i = 0; i < t->count; i++)
    if (strcmp(t->couriers[i].name, name) == 0) return &t->couriers[i];
  return NULL;
}

static void say(const town *t, const char *who, const char *what) {
  printf("frame %5u  %-10s %s\n", t->frame, who, what);
  fflush(stdout);
}

/* ---- Values: canonical CBOR in an lnt_value; a host reads and writes them as JSON, here with jansson ---- */

/* NULL: nil, or no JSON. The caller owns it. */
static json_t *read_value(lnt_value value) {
  char *text = NULL;
  if (lnt_value_to_json(value, 0, &text, NULL, NULL) != LNT_OK) return NULL;
  json_t *json = json_loads(text, JSON_DECODE_ANY, NULL);
  lnt_free(text);
  return json;
}

/* Takes `json`, which may be NULL. */
static lnt_status write_value(json_t *json, lnt_value *out, lnt_error *err) {
  char *text = json_dumps(json, JSON_ENCODE_ANY | JSON_COMPACT);
  lnt_status status = text ? lnt_value_from_json(text, strlen(text), out, err) : LNT_ENOMEM;
  free(text);
  json_decref(json);
  return status;
}

static bool is_place(int place) { return place >= 0 && place < PLACES; }

static lnt_activity_result refuse(lnt_runtime *rt, const lnt_activity *activity, const char *why) {
  lnt_failure failure = {.type = "BadOrder", .message = why, .non_retryable = 1};
  lnt_fail(rt, activity->token, &failure, NULL, NULL, NULL);
  return LNT_ACTIVITY_DONE;
}

/* ---- What couriers can do ---- */

/* {who, from, to}: takes as many frames as there are places between. After a restart of the town the attempt runs again, and goes on from
 * the place that its last heartbeat told. */
static lnt_activity_result on_walk(void *user, lnt_runtime *rt, const lnt_activity *activity) {
  town *t = user;
  const char *who = "";
  int from = -1, to = -1, last = -1;
  json_t *order = read_value(activity->input), *heartbeat = read_value(activity->heartbeat_details);
  json_unpack(order, "{s:s, s:i, s:i}", "who", &who, "from", &from, "to", &to);
  json_unpack(heartbeat, "{s:i}", "at", &last);
  courier *c = find(t, who);
  bool is_good = c && is_place(from) && is_place(to);
  if (is_good) {
    if (!c->is_placed) c->at = is_place(last) ? last : from;
    c->is_placed = c->is_walking = true;
    c->to = to;
    c->token = activity->token;
    c->frames = 0;
  }
  json_decref(order);
  json_decref(heartbeat);
  return is_good ? LNT_ACTIVITY_PENDING : refuse(rt, activity, "walk wants {who = a courier, from = a place, to = a place}");
}

/* Nobody wants the walk any more: he was called elsewhere, or his instance ended. */
static void on_walk_canceled(void *user, lnt_runtime *rt, const char *name, lnt_token token, lnt_cancel_reason why) {
  town *t = user;
  (void)rt, (void)name, (void)why;
  for (int i = 0; i < t->count; i++) {
    courier *c = &t->couriers[i];
    if (c->is_walking && memcmp(&c->token, &token, sizeof token) == 0) c->is_walking = false;
  }
}

/* {who, text} and {who, parcel}: done at once. */
static lnt_activity_result on_say(void *user, lnt_runtime *rt, const lnt_activity *activity) {
  const char *who = NULL, *text = NULL;
  json_t *order = read_value(activity->input);
  bool is_good = json_unpack(order, "{s:s, s:s}", "who", &who, "text", &text) == 0;
  if (is_good) say(user, who, text);
  json_decref(order);
  return is_good ? LNT_ACTIVITY_DONE : refuse(rt, activity, "say wants {who, text}");
}

static lnt_activity_result on_hand_over(void *user, lnt_runtime *rt, const lnt_activity *activity) {
  const char *who = NULL, *parcel = NULL;
  char line[200];
  json_t *order = read_value(activity->input);
  bool is_good = json_unpack(order, "{s:s, s:s}", "who", &who, "parcel", &parcel) == 0;
  if (is_good) {
    snprintf(line, sizeof line, "hands over %s  [%s]", parcel, activity->idempotency_key);
    say(user, who, line);
  }
  json_decref(order);
  return is_good ? LNT_ACTIVITY_DONE : refuse(rt, activity, "hand_over wants {who, parcel}");
}

/* ---- A frame of the world ---- */

static void step(town *t, courier *c) {
  lnt_value at = LNT_VALUE_NIL;
  if (!c->is_walking) return;
  c->at += c->to > c->at ? 1 : c->to < c->at ? -1 : 0;
  if (c->at == c->to) {
    c->is_walking = false;
    lnt_complete(t->rt, c->token, LNT_VALUE_NIL, NULL, NULL, NULL);
  } else if (++c->frames % HEARTBEAT_FRAMES == 0) {
    if (write_value(json_pack("{s:i}", "at", c->at), &at, NULL) == LNT_OK) lnt_heartbeat(t->rt, c->token, at, NULL, NULL);
    lnt_value_free(&at);
  }
}

/* ---- The runtime ---- */

static void on_log(void *user, lnt_log_level level, const char *id, const char *message) {
  if (level >= LNT_LOG_WARN) say(user, id ? id : "runtime", message);
}

static void on_watch(void *user, const lnt_watch_event *event) {
  char line[LNT_ERROR_MESSAGE_MAX + 100];
  if (event->kind == LNT_WATCH_INSTANCE) return; /* the summary counts them */
  snprintf(line, sizeof line, "%s %s%s%s", lnt_watch_kind_name(event->kind), event->file, *event->message ? ": " : "", event->message);
  say(user, "scripts", line);
}

static bool open_runtime(town *t, const char *data, const char *agents, lnt_error *err) {
  lnt_options options;
  lnt_activity_options walk;
  lnt_watch_options watch;
  lnt_watcher *watcher = NULL; /* ends with the runtime */
  lnt_options_init(&options);
  options.dir = data;
  options.committer = 1;
  options.log = on_log;
  options.log_user = t;
  lnt_activity_options_init(&walk);
  walk.fn = on_walk;
  walk.cancel = on_walk_canceled;
  walk.user = t;
  lnt_watch_options_init(&watch);
  watch.fn = on_watch;
  watch.user = t;
  return lnt_open(&options, &t->rt, err) == LNT_OK && lnt_register_activity_ex(t->rt, "walk", &walk, err) == LNT_OK &&
         lnt_register_activity(t->rt, "say", on_say, t, err) == LNT_OK &&
         lnt_register_activity(t->rt, "hand_over", on_hand_over, t, err) == LNT_OK &&
         lnt_watch(t->rt, agents, &watch, &watcher, err) == LNT_OK;
}

/* A courier is an instance under his name. Who is there from an earlier run of the town stays as he is. */
static bool send_out(town *t, int number, lnt_error *err) {
  courier *c = &t->couriers[t->count++];
  lnt_start_options start;
  snprintf(c->name, sizeof c->name, "courier-%d", number + 1);
  json_t *parcels = json_array();
  for (int i = 0; i < PARCELS; i++) {
    char what[40];
    snprintf(what, sizeof what, "parcel %d.%d", number + 1, i + 1);
    json_array_append_new(parcels, json_pack("{s:s, s:i, s:i}", "what", what, "shop", (number * 5 + i * 11) % PLACES, "door",
                                             (number * 3 + i * 17 + 20) % PLACES));
  }
  lnt_start_options_init(&start);
  start.workflow = "courier";
  start.id = c->name;
  start.id_reuse = LNT_ID_REUSE_EXISTING;
  json_t *input = json_pack("{s:s, s:i, s:o}", "name", c->name, "home", number * 7 % PLACES, "parcels", parcels);
  if (write_value(input, &start.input, err) != LNT_OK) return false;
  lnt_status status = lnt_start(t->rt, &start, NULL, err);
  lnt_value_free(&start.input);
  return status == LNT_OK;
}

static int count_done(void *user, const lnt_instance *instance) {
  int *done = user;
  *done += instance->closed_us != 0;
  return 0;
}

static bool all_done(town *t) {
  int done = 0;
  lnt_list_options list;
  lnt_list_options_init(&list);
  list.workflow = "courier";
  list.limit = COURIERS_MAX;
  return lnt_list(t->rt, &list, count_done, &done, NULL, NULL) == LNT_OK && done == t->count;
}

/* ---- The player ---- */

static void call_everybody(const town *t, int place) {
  lnt_value call = LNT_VALUE_NIL;
  if (write_value(json_pack("{s:i}", "to", place), &call, NULL) != LNT_OK) return;
  for (int i = 0; i < t->count; i++) {
    lnt_error err;
    lnt_status status = lnt_raise(t->rt, t->couriers[i].name, "call", call, NULL, NULL, &err);
    if (status != LNT_OK && status != LNT_ECLOSED) say(t, t->couriers[i].name, err.message);
  }
  lnt_value_free(&call);
}

/* ---- The loop ---- */

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void sleep_until(uint64_t when_ns) {
  uint64_t now = now_ns();
  if (when_ns <= now) return;
  struct timespec rest = {.tv_sec = (time_t)((when_ns - now) / 1000000000u), .tv_nsec = (long)((when_ns - now) % 1000000000u)};
  nanosleep(&rest, NULL);
}

typedef struct game {
  const char *data, *agents;
  int couriers;
  unsigned frames; /* 0: until every courier is home */
  int call;        /* a place; -1: no call */
  bool is_fast;
} game;

static bool play(town *t, const game *g, lnt_error *err) {
  uint64_t longest = 0, spent = 0, begun = now_ns();
  bool is_over = false;
  for (t->frame = 1; !is_over && (!g->frames || t->frame <= g->frames); t->frame++) {
    for (int i = 0; i < t->count; i++) step(t, &t->couriers[i]);
    if (t->frame == CALL_FRAME && g->call >= 0) call_everybody(t, g->call);
    uint64_t before = now_ns();
    if (lnt_tick(t->rt, TICK_BUDGET_NS, NULL, err) != LNT_OK) return false;
    uint64_t took = now_ns() - before;
    spent += took;
    if (took > longest) longest = took;
    is_over = t->frame % 30 == 0 && all_done(t);
    if (!g->is_fast) sleep_until(begun + (uint64_t)t->frame * (1000000000u / FRAMES_PER_S));
  }
  t->frame--;
  printf("%s after %u frames; the runtime took %.3f ms of a frame, at most %.3f ms\n", is_over ? "everybody is home" : "stopped",
         t->frame, (double)spent / 1e6 / (t->frame ? t->frame : 1), (double)longest / 1e6);
  return true;
}

static bool read_number(const char *text, int least, int most, int *out) {
  char *end;
  long number = strtol(text, &end, 10);
  *out = (int)number;
  return end != text && !*end && number >= least && number <= most;
}

static bool read_options(game *g, int argc, char **argv) {
  int frames = 0;
  bool is_good = true;
  for (int i = 1; is_good && i < argc; i++) {
    const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : "";
    if (strcmp(name, "--fast") == 0) g->is_fast = true;
    else if (++i && strcmp(name, "--data") == 0) g->data = value;
    else if (strcmp(name, "--agents") == 0) g->agents = value;
    else if (strcmp(name, "--couriers") == 0) is_good = read_number(value, 1, COURIERS_MAX, &g->couriers);
    else if (strcmp(name, "--frames") == 0) is_good = read_number(value, 0, INT_MAX, &frames);
    else if (strcmp(name, "--call") == 0) is_good = read_number(value, 0, PLACES - 1, &g->call);
    else is_good = false;
  }
  g->frames = (unsigned)frames;
  return is_good;
}

int main(int argc, char **argv) {
  static town t;
  game g = {.data = "town.data", .agents = "bindings/c/agents", .couriers = 3, .call = -1};
  if (!read_options(&g, argc, argv)) {
    fputs("usage: town [--data DIR] [--agents DIR] [--couriers N] [--frames N] [--call PLACE] [--fast]\n", stderr);
    return 2;
  }
  lnt_error err = {0};
  bool is_good = open_runtime(&t, g.data, g.agents, &err);
  for (int i = 0; is_good && i < g.couriers; i++) is_good = send_out(&t, i, &err);
  is_good = is_good && play(&t, &g, &err);
  if (!is_good) fprintf(stderr, "town: %s\n", err.message);
  lnt_status closed = lnt_close(t.rt);
  if (is_good && closed != LNT_OK) fprintf(stderr, "town: %s\n", lnt_status_text(closed));
  return is_good && closed == LNT_OK ? 0 : 1;
}
