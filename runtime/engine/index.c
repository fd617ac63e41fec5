/* index.c - keeps the rows of table INDEX in step with an instance's row, in the batch that writes the row. Called by commit.c. */
#include "engine/internal.h"

static bool index_new(lnt__turn *turn, lnt__batch *batch) {
  bool good = lnt__index_write_parent(batch, turn->run, turn->parent_run, false);
  if (turn->older_run) good = good && lnt__index_write_older(batch, (lnt_value){turn->id, strlen(turn->id)}, turn->older_run, false);
  if (turn->new_era) good = good && lnt__index_write_era(batch, turn->run);
  return good && lnt__index_write_attributes(batch, turn->run, (lnt_value){turn->attributes, turn->attributes_size}, false);
}

static bool index_status(lnt__turn *turn, lnt__batch *batch) {
  lnt_value workflow = {turn->workflow, strlen(turn->workflow)};
  bool good = true;
  if (turn->indexed == 1 + turn->status) return true;
  if (turn->indexed) good = lnt__index_write_status(batch, turn->run, (lnt_run_status)(turn->indexed - 1), workflow, true);
  turn->indexed = (uint8_t)(1 + turn->status);
  return good && lnt__index_write_status(batch, turn->run, turn->status, workflow, false);
}

static bool index_attributes(lnt__turn *turn, lnt__batch *batch) {
  lnt_value before = {turn->attributes_indexed, turn->attributes_indexed_size}, now = {turn->attributes, turn->attributes_size};
  bool good = lnt__index_write_attributes(batch, turn->run, before, true) && lnt__index_write_attributes(batch, turn->run, now, false);
  lnt__free(turn->attributes_indexed);
  turn->attributes_indexed = NULL;
  turn->attributes_indexed_size = 0;
  turn->attributes_changed = false;
  return good;
}

void lnt__instance_set_attributes(lnt__turn *turn, lnt_value attributes) {
  void *copy = NULL;
  if (attributes.size && !(copy = lnt__alloc(attributes.size))) {
    lnt__poison(turn->engine);
    return;
  }
  if (copy) memcpy(copy, attributes.data, attributes.size);
  if (turn->indexed && !turn->attributes_changed) { /* these are what the index has */
    turn->attributes_indexed = turn->attributes;
    turn->attributes_indexed_size = turn->attributes_size;
    turn->attributes_changed = true;
  } else {
    lnt__free(turn->attributes);
  }
  turn->attributes = copy;
  turn->attributes_size = attributes.size;
  turn->row_dirty = true;
}

bool lnt__instance_index(lnt__turn *turn, lnt__batch *batch) {
  bool good = turn->indexed || index_new(turn, batch);
  if (turn->attributes_changed) good = good && index_attributes(turn, batch);
  return good && index_status(turn, batch);
}
