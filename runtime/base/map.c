/* map.c - the hash tables of map.h: linear probing, at most 3/4 full, removal by shifting back. Called by engine, driver, store
 * and vm; one thread per table. */
#include "base/map.h"

#include "base/hash.h"

#define MAP_SLOTS_MIN 16

static bool too_full(size_t count, size_t capacity) { return count + 1 > capacity / 4 * 3; }

/* The entry in `slot`, whose home is `home`, may fill the hole unless its home lies in the cyclic stretch (hole, slot]. */
static bool may_move(size_t home, size_t hole, size_t slot) {
  return hole <= slot ? home <= hole || home > slot : home <= hole && home > slot;
}

/* ---- u64map: run numbers are dense, so they are mixed; no seed, so that a walk is the same in every process ---- */

static size_t u64_home(uint64_t key, size_t mask) {
  key = (key ^ key >> 32) * 0x9e3779b97f4a7c15u;
  return (size_t)(key ^ key >> 32) & mask;
}

/* The slot of `key`, or the free slot where it would go. The table has one. */
static size_t u64_find(const lnt__u64map *map, uint64_t key) {
  size_t mask = map->capacity - 1, slot = u64_home(key, mask);
  while (map->slots[slot].value && map->slots[slot].key != key) slot = (slot + 1) & mask;
  return slot;
}

void lnt__u64map_init(lnt__u64map *map) { *map = (lnt__u64map){NULL, 0, 0}; }

void lnt__u64map_finish(lnt__u64map *map) {
  lnt__free(map->slots);
  lnt__u64map_init(map);
}

void *lnt__u64map_get(const lnt__u64map *map, uint64_t key) { return map->count ? map->slots[u64_find(map, key)].value : NULL; }

static bool u64_resize(lnt__u64map *map, size_t capacity) {
  lnt__u64map bigger = {lnt__calloc(capacity, sizeof *bigger.slots), capacity, map->count};
  if (!bigger.slots) return false;
  for (size_t i = 0; i < map->capacity; i++)
    if (map->slots[i].value) bigger.slots[u64_find(&bigger, map->slots[i].key)] = map->slots[i];
  lnt__free(map->slots);
  *map = bigger;
  return true;
}

bool lnt__u64map_put(lnt__u64map *map, uint64_t key, void *value) {
  LNT__ASSERT(value != NULL);
  if (map->count) { /* a replacement needs no room */
    size_t slot = u64_find(map, key);
    if (map->slots[slot].value) {
      map->slots[slot].value = value;
      return true;
    }
  }
  if (too_full(map->count, map->capacity) && !u64_resize(map, map->capacity ? map->capacity * 2 : MAP_SLOTS_MIN)) return false;
  map->slots[u64_find(map, key)] = (struct lnt__u64slot){key, value};
  map->count++;
  return true;
}

void *lnt__u64map_remove(lnt__u64map *map, uint64_t key) {
  if (!map->count) return NULL;
  size_t mask = map->capacity - 1, hole = u64_find(map, key);
  void *value = map->slots[hole].value;
  if (!value) return NULL;
  for (size_t slot = (hole + 1) & mask; map->slots[slot].value; slot = (slot + 1) & mask) {
    if (!may_move(u64_home(map->slots[slot].key, mask), hole, slot)) continue;
    map->slots[hole] = map->slots[slot];
    hole = slot;
  }
  map->slots[hole].value = NULL;
  map->count--;
  return value;
}

bool lnt__u64map_next(const lnt__u64map *map, size_t *at, uint64_t *key, void **value) {
  for (; *at < map->capacity; ++*at) {
    const struct lnt__u64slot *slot = &map->slots[*at];
    if (!slot->value) continue;
    *key = slot->key;
    *value = slot->value;
    ++*at;
    return true;
  }
  return false;
}

/* ---- strmap: keys come from outside, so the hash is seeded; a walk differs from process to process ---- */

static size_t str_find(const lnt__strmap *map, const char *key, uint64_t hash) {
  size_t mask = map->capacity - 1, slot = (size_t)hash & mask;
  for (; map->slots[slot].value; slot = (slot + 1) & mask)
    if (map->slots[slot].hash == hash && strcmp(map->slots[slot].key, key) == 0) break;
  return slot;
}

static uint64_t str_hash(const char *key) { return lnt__hash64(key, strlen(key)); }

void lnt__strmap_init(lnt__strmap *map) { *map = (lnt__strmap){NULL, 0, 0}; }

void lnt__strmap_finish(lnt__strmap *map) {
  lnt__free(map->slots);
  lnt__strmap_init(map);
}

void *lnt__strmap_get(const lnt__strmap *map, const char *key) {
  return map->count ? map->slots[str_find(map, key, str_hash(key))].value : NULL;
}

static bool str_resize(lnt__strmap *map, size_t capacity) {
  lnt__strmap bigger = {lnt__calloc(capacity, sizeof *bigger.slots), capacity, map->count};
  if (!bigger.slots) return false;
  for (size_t i = 0; i < map->capacity; i++) {
    if (!map->slots[i].value) continue;
    size_t slot = (size_t)map->slots[i].hash & (capacity - 1);
    while (bigger.slots[slot].value) slot = (slot + 1) & (capacity - 1);
    bigger.slots[slot] = map->slots[i];
  }
  lnt__free(map->slots);
  *map = bigger;
  return true;
}

bool lnt__strmap_put(lnt__strmap *map, const char *key, void *value) {
  LNT__ASSERT(value != NULL);
  uint64_t hash = str_hash(key);
  struct lnt__strslot entry = {key, hash, value};
  if (map->count) {
    size_t slot = str_find(map, key, hash);
    if (map->slots[slot].value) {
      map->slots[slot] = entry; /* the key too: the old one lived in the old value */
      return true;
    }
  }
  if (too_full(map->count, map->capacity) && !str_resize(map, map->capacity ? map->capacity * 2 : MAP_SLOTS_MIN)) return false;
  map->slots[str_find(map, key, hash)] = entry;
  map->count++;
  return true;
}

void *lnt__strmap_remove(lnt__strmap *map, const char *key) {
  if (!map->count) return NULL;
  size_t mask = map->capacity - 1, hole = str_find(map, key, str_hash(key));
  void *value = map->slots[hole].value;
  if (!value) return NULL;
  for (size_t slot = (hole + 1) & mask; map->slots[slot].value; slot = (slot + 1) & mask) {
    if (!may_move((size_t)map->slots[slot].hash & mask, hole, slot)) continue;
    map->slots[hole] = map->slots[slot];
    hole = slot;
  }
  map->slots[hole].value = NULL;
  map->count--;
  return value;
}

bool lnt__strmap_next(const lnt__strmap *map, size_t *at, const char **key, void **value) {
  for (; *at < map->capacity; ++*at) {
    const struct lnt__strslot *slot = &map->slots[*at];
    if (!slot->value) continue;
    *key = slot->key;
    *value = slot->value;
    ++*at;
    return true;
  }
  return false;
}
