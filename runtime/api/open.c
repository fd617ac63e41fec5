/* open.c - lnt_options_init, lnt_open, lnt_close. The caller of lnt_open becomes the owner thread. */
#include "driver/runtime.h"

enum { WORKERS_MAX = LNT__WORKERS_THREADS_MAX };

void lnt_options_init(lnt_options *options) {
  memset(options, 0, sizeof *options);
  options->size = sizeof *options;
}

static lnt_status complete_limits(lnt_limits *limits, lnt_error *err) {
#define LNT__X(field, value, text) \
  if (!limits->field) limits->field = value;
  LNT_LIMIT_MAP(LNT__X)
#undef LNT__X
  if (limits->payload_bytes_max > 1u << 30) return lnt__fail(err, LNT_EINVAL, "limits.payload_bytes_max is over 1 GiB");
  return LNT_OK;
}

/* Callers built against an older header give a shorter struct. */
static lnt_status take_options(const lnt_options *from, lnt_options *to, lnt_error *err) {
  lnt_options_init(to);
  if (!from) return lnt__fail(err, LNT_EINVAL, "no options were given (NULL)");
  if (from->size < offsetof(lnt_options, store))
    return lnt__fail(err, LNT_EINVAL, "options.size is not set; call lnt_options_init() first");
  memcpy(to, from, from->size < sizeof *to ? from->size : sizeof *to);
  to->size = sizeof *to;
  if (to->store != LNT_STORE_LMDB && to->store != LNT_STORE_MEMORY)
    return lnt__fail(err, LNT_EINVAL, "options.store is %d; it is LNT_STORE_LMDB or LNT_STORE_MEMORY", (int)to->store);
  if (to->durability != LNT_DURABILITY_SYNC && to->durability != LNT_DURABILITY_PROCESS)
    return lnt__fail(err, LNT_EINVAL, "options.durability is %d; it is LNT_DURABILITY_SYNC or LNT_DURABILITY_PROCESS", (int)to->durability);
  if (to->store == LNT_STORE_LMDB && (!to->dir || !*to->dir))
    return lnt__fail(err, LNT_EINVAL, "options.dir is not set; name a data directory");
  if (to->workers < 0 || to->workers > WORKERS_MAX)
    return lnt__fail(err, LNT_EINVAL, "options.workers is %d; it is 0 to %d", to->workers, WORKERS_MAX);
  return complete_limits(&to->limits, err);
}

lnt_status lnt_open(const lnt_options *options, lnt_runtime **out, lnt_error *err) {
  lnt_options complete;
  if (!out) return lnt__fail(err, LNT_EINVAL, "lnt_open: `out` is NULL");
  *out = NULL;
  lnt_status status = take_options(options, &complete, err);
  return status ? status : lnt__runtime_create(&complete, out, err);
}

lnt_status lnt_close(lnt_runtime *rt) {
  if (!rt) return LNT_OK;
  lnt_status status = lnt__enter(rt, LNT__DRIVES, NULL);
  if (status) return status;
  if (!rt->options.read_only) {
    rt->driving++;
    lnt__mailbox_drain(rt, NULL); /* answers that came in before are worth keeping */
    status = lnt__commit_flush(rt, NULL);
    rt->driving--;
  }
  lnt__runtime_destroy(rt);
  return status;
}
