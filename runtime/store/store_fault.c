/* store_fault.c - a store in front of another one, which fails when a test says so. Used by tests and the simulation; the thread rules are
 * those of the store behind it, and commands are given between commits. */
#include "store/batch.h"

typedef struct fault_store {
  lnt__store base;
  lnt__store *inner;
  bool keep, crashed;
  lnt__store_fault next;
  uint64_t skip;    /* commits that go well before `next` */
  uint64_t commits; /* tried */
} fault_store;

static fault_store *of(lnt__store *store) { return (fault_store *)store; }

static lnt_status fail_crashed(lnt_error *err) {
  return lnt__fail(err, LNT_EIO, "the store has crashed (a fault that was asked for); open it again");
}

static lnt__store_fault draw(fault_store *f) {
  lnt__store_fault fault = LNT__STORE_OK;
  f->commits++;
  if (f->next == LNT__STORE_OK) return fault;
  if (f->skip > 0) return f->skip--, fault;
  fault = f->next;
  f->next = LNT__STORE_OK;
  return fault;
}

static lnt_status fault_commit(lnt__store *store, const lnt__batch *batch, lnt_error *err) {
  fault_store *f = of(store);
  if (f->crashed) return fail_crashed(err);
  lnt__order order;
  lnt_status status = lnt__batch_ready(batch, &order, err);
  if (status || order.count == 0) return status;
  lnt__store_fault fault = draw(f);
  if (fault == LNT__STORE_OK || fault == LNT__STORE_UNACKNOWLEDGED) status = f->inner->vtable->commit(f->inner, batch, err);
  return status ? status : lnt__store_fault_status(fault, err);
}

static lnt_status fault_get(lnt__store *store, lnt__table table, const void *key, size_t key_size, void **out, size_t *size,
                            lnt_error *err) {
  fault_store *f = of(store);
  return f->crashed ? fail_crashed(err) : f->inner->vtable->get(f->inner, table, key, key_size, out, size, err);
}

static lnt_status fault_scan(lnt__store *store, lnt__table table, lnt__slice from, lnt__slice to, bool reverse, lnt__scan_fn fn, void *user,
                             lnt_error *err) {
  fault_store *f = of(store);
  return f->crashed ? fail_crashed(err) : f->inner->vtable->scan(f->inner, table, from, to, reverse, fn, user, err);
}

static lnt_status fault_copy(lnt__store *store, const char *path, lnt_error *err) {
  fault_store *f = of(store);
  return f->crashed ? fail_crashed(err) : f->inner->vtable->copy(f->inner, path, err);
}

static lnt_status fault_info(lnt__store *store, lnt__store_info *out, lnt_error *err) {
  fault_store *f = of(store);
  return f->crashed ? fail_crashed(err) : f->inner->vtable->info(f->inner, out, err);
}

static void fault_destroy(lnt__store *store) {
  if (!store) return;
  fault_store *f = of(store);
  if (!f->keep) f->inner->vtable->destroy(f->inner);
  lnt__free(f);
}

static const lnt__store_vtable fault_vtable = {fault_commit, fault_get, fault_scan, fault_copy, fault_info, fault_destroy};

lnt_status lnt__store_open_fault(lnt__store *inner, bool keep, lnt__store **out, lnt_error *err) {
  fault_store *f = lnt__calloc(1, sizeof *f);
  if (!f) return lnt__fail(err, LNT_ENOMEM, "out of memory while opening a store");
  *f = (fault_store){.base = {&fault_vtable}, .inner = inner, .keep = keep};
  *out = &f->base;
  return LNT_OK;
}

void lnt__store_fault_next(lnt__store *store, lnt__store_fault fault, uint64_t after_commits) {
  of(store)->next = fault;
  of(store)->skip = after_commits;
}

void lnt__store_fault_crash(lnt__store *store) { of(store)->crashed = true; }
void lnt__store_fault_reopen(lnt__store *store) { of(store)->crashed = false; }
uint64_t lnt__store_fault_commits(const lnt__store *store) { return ((const fault_store *)store)->commits; }
