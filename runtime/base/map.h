/* map.h - open-addressing hash tables. Values are pointers that the map does not own; NULL is not a value. One thread at a time.
 * The order of a walk is the table's own: in a strmap it differs from process to process. Nothing that is journaled may follow it.
 * A string key is not copied: it must live (usually inside the value) until it is removed. */
#ifndef LNT__MAP_H
#define LNT__MAP_H

#include "base/base.h"

struct lnt__u64slot { uint64_t key; void *value; };
typedef struct lnt__u64map { struct lnt__u64slot *slots; size_t capacity, count; } lnt__u64map;
void lnt__u64map_init(lnt__u64map *map);
void lnt__u64map_finish(lnt__u64map *map);
void *lnt__u64map_get(const lnt__u64map *map, uint64_t key);               /* NULL: absent */
bool lnt__u64map_put(lnt__u64map *map, uint64_t key, void *value);         /* replaces; false: out of memory */
void *lnt__u64map_remove(lnt__u64map *map, uint64_t key);                  /* the value removed, or NULL */
bool lnt__u64map_next(const lnt__u64map *map, size_t *at, uint64_t *key, void **value); /* *at starts at 0; no changes meanwhile */

struct lnt__strslot { const char *key; uint64_t hash; void *value; };
typedef struct lnt__strmap { struct lnt__strslot *slots; size_t capacity, count; } lnt__strmap;
void lnt__strmap_init(lnt__strmap *map);
void lnt__strmap_finish(lnt__strmap *map);
void *lnt__strmap_get(const lnt__strmap *map, const char *key);
bool lnt__strmap_put(lnt__strmap *map, const char *key, void *value);
void *lnt__strmap_remove(lnt__strmap *map, const char *key);
bool lnt__strmap_next(const lnt__strmap *map, size_t *at, const char **key, void **value);

#endif
