/* raise_keys.c - the keys under which events were raised, so that a client may repeat a raise whose answer it did not hear. They stand in
 * the history, in the EventRaised; an instance that is in memory keeps the newest, once somebody raised with a key. Called by accept.c.
 *
 * A generation looks into the history of the one before too: a client repeats soon, or never. */
#include "engine/internal.h"

typedef struct raise_key { uint64_t hash; char *text; } raise_key;

struct lnt__raise_keys {
  size_t count, next; /* next: the place of the oldest, once it is full */
  raise_key items[LNT_RAISE_KEYS_MAX];
};

void lnt__raise_keys_free(lnt__turn *turn) {
  for (size_t i = 0; turn->raise_keys && i < turn->raise_keys->count; i++) lnt__free(turn->raise_keys->items[i].text);
  lnt__free(turn->raise_keys);
  turn->raise_keys = NULL;
}

static bool add(lnt__raise_keys *keys, lnt_value key) {
  raise_key *place = &keys->items[keys->next];
  char *text = lnt__strndup(key.data, key.size);
  if (!text) return false;
  if (keys->count == LNT_RAISE_KEYS_MAX) lnt__free(place->text);
  else keys->count++;
  *place = (raise_key){lnt__hash64(key.data, key.size), text};
  keys->next = (keys->next + 1) % LNT_RAISE_KEYS_MAX;
  return true;
}

static bool has(const lnt__raise_keys *keys, const char *key) {
  uint64_t hash = lnt__hash64(key, strlen(key));
  for (size_t i = 0; i < keys->count; i++)
    if (keys->items[i].hash == hash && strcmp(keys->items[i].text, key) == 0) return true;
  return false;
}

static lnt_status add_from_history(lnt__turn *turn, uint64_t run, lnt_error *err) {
  lnt__history history;
  lnt__history_init(&history);
  lnt_status status = lnt__journal_history(turn->engine->store, run, &history, err);
  bool good = true;
  for (size_t i = 0; status == LNT_OK && i < history.count && good; i++) {
    const lnt__event *event = &history.events[i];
    if (event->kind == LNT_EVENT_EVENT_RAISED && event->id.size) good = add(turn->raise_keys, event->id);
  }
  lnt__history_finish(&history);
  return good ? status : lnt__fail(err, LNT_ENOMEM, "out of memory while the keys of events were read");
}

typedef struct search { uint64_t before, found; } search;

static int take_older(void *user, lnt__slice key, lnt__slice value) {
  search *s = user;
  (void)value;
  uint64_t run = key.size < LNT__KEY_RUN_BYTES ? 0 : lnt__get_be64((const uint8_t *)key.data + key.size - LNT__KEY_RUN_BYTES);
  if (run < s->before) s->found = run;
  return s->found != 0;
}

/* The run of the generation before; 0: there is none. */
static lnt_status find_before(const lnt__turn *turn, uint64_t *run, lnt_error *err) {
  uint8_t from[LNT__KEY_INDEX_BYTES_MAX], to[LNT__KEY_INDEX_BYTES_MAX];
  lnt__store *store = turn->engine->store;
  search s = {turn->run, turn->older_run};
  lnt__row row;
  void *memory = NULL;
  *run = 0;
  if (turn->generation == 1) return LNT_OK;
  size_t size = lnt__index_older(from, (lnt_value){turn->id, strlen(turn->id)});
  memcpy(to, from, size);
  to[size - 1]++;
  lnt_status status = LNT_OK;
  if (!s.found)
    status = store->vtable->scan(store, LNT__TABLE_INDEX, (lnt__slice){from, size}, (lnt__slice){to, size}, true, take_older, &s, err);
  if (status != LNT_OK || !s.found) return status;
  status = lnt__journal_row(store, s.found, &row, &memory, err);
  if (status == LNT_OK && row.generation == turn->generation - 1) *run = s.found;
  lnt__free(memory);
  return status == LNT_ENOTFOUND ? LNT_OK : status;
}

/* Until now nobody raised with a key while it was in memory, so all that there are stand in the store. */
static lnt_status make(lnt__turn *turn, lnt_error *err) {
  uint64_t before = 0;
  turn->raise_keys = lnt__calloc(1, sizeof(*turn->raise_keys));
  if (!turn->raise_keys) return lnt__fail(err, LNT_ENOMEM, "out of memory while the keys of events were read");
  lnt_status status = find_before(turn, &before, err);
  if (status == LNT_OK && before) status = add_from_history(turn, before, err);
  if (status == LNT_OK) status = add_from_history(turn, turn->run, err);
  if (status != LNT_OK) lnt__raise_keys_free(turn);
  return status;
}

lnt_status lnt__raise_key_seen(lnt__turn *turn, const char *key, bool *seen, lnt_error *err) {
  lnt_status status = turn->raise_keys ? LNT_OK : make(turn, err);
  *seen = status == LNT_OK && has(turn->raise_keys, key);
  return status;
}

bool lnt__raise_key_add(lnt__turn *turn, const char *key) { return add(turn->raise_keys, (lnt_value){key, strlen(key)}); }
