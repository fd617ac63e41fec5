/* fork.c - going on from a history: lnt_fork, lnt_rerun, lnt_retry. Owner thread, also from callbacks. */
#include "api/instance.h"

void lnt_fork_options_init(lnt_fork_options *options) {
  memset(options, 0, sizeof *options);
  options->size = sizeof *options;
}

static lnt_status take_options(const char *call, const lnt_fork_options *from, lnt_fork_options *to, lnt_error *err) {
  lnt_fork_options_init(to);
  if (from && from->size < sizeof from->size)
    return lnt__fail(err, LNT_EINVAL, "%s: options.size is not set; call lnt_fork_options_init() first", call);
  if (from) memcpy(to, from, from->size < sizeof *to ? from->size : sizeof *to);
  if ((unsigned)to->code > LNT_FORK_CODE_NEWEST)
    return lnt__fail(err, LNT_EINVAL, "%s: options.code is %d; it is one of lnt_fork_code", call, (int)to->code);
  return to->new_id ? lnt__check_name("new instance id", to->new_id, LNT_ID_BYTES_MAX, false, err) : LNT_OK;
}

/* The run that is meant; it must be one of the id. */
static lnt_status find_run(lnt_runtime *rt, const char *id, uint64_t *run, lnt_error *err) {
  lnt__row row;
  void *memory = NULL;
  if (*run == 0) return lnt__engine_find(rt->engine, id, run, err);
  lnt_status status = lnt__journal_row_outline(rt->store, *run, &row, &memory, err);
  if (!status && (row.id.size != strlen(id) || memcmp(row.id.data, id, row.id.size) != 0))
    status = lnt__fail(err, LNT_ENOTFOUND, "run %llu is not one of instance '%s'", (unsigned long long)*run, id);
  lnt__free(memory);
  return status;
}

static lnt_status fork_as(lnt_runtime *rt, const char *call, lnt__fork_what what, const char *id, const lnt_fork_options *options,
                          char *id_out, lnt_error *err) {
  lnt_fork_options o;
  char new_id[LNT_ID_BYTES_MAX + 1];
  lnt_status status = lnt__request_check(rt, err);
  if (!status) status = lnt__check_name("instance id", id, LNT_ID_BYTES_MAX, false, err);
  if (!status) status = take_options(call, options, &o, err);
  if (!status && o.replace_input) status = lnt__request_check_value(rt, "input", id, o.input, err);
  if (!status) status = find_run(rt, id, &o.run, err);
  if (status) return status;
  lnt__fork fork = {.what = what, .run = o.run, .event = o.event, .new_id = o.new_id, .has_input = o.replace_input != 0, .input = o.input,
                    .code = o.code, .done = o.done, .done_user = o.done_user};
  return lnt__engine_fork(rt->engine, &fork, id_out ? id_out : new_id, err);
}

lnt_status lnt_fork(lnt_runtime *rt, const char *id, const lnt_fork_options *options, char *id_out, lnt_error *err) {
  return fork_as(rt, "lnt_fork", LNT__FORK, id, options, id_out, err);
}

lnt_status lnt_rerun(lnt_runtime *rt, const char *id, const lnt_fork_options *options, char *id_out, lnt_error *err) {
  return fork_as(rt, "lnt_rerun", LNT__RERUN, id, options, id_out, err);
}

lnt_status lnt_retry(lnt_runtime *rt, const char *id, const lnt_fork_options *options, lnt_error *err) {
  lnt_fork_options mine;
  lnt_status status = take_options("lnt_retry", options, &mine, err);
  if (status) return status;
  mine.event = 0;
  mine.new_id = NULL;
  mine.replace_input = 0;
  return fork_as(rt, "lnt_retry", LNT__RETRY, id, &mine, NULL, err);
}
