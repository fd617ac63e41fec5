/* watch.c - watches a folder of Lua files and reloads what changes. Called by api/reload.c; its callbacks run on the owner thread, on the
 * runtime's loop.
 *
 * Folders are watched, never files: editors replace a file by another one, and a watch of the file would stay with the old one. What the
 * system tells is a hint to look soon; a scan every SCAN_MS is the truth. */
#include <stdlib.h>

#include "driver/watch.h"

enum { SETTLE_MS = 15, SETTLE_MS_MAX = 200, DOUBT_MS = 150, SCAN_MS = 1000 };

struct lnt_watcher {
  lnt_watcher *next;
  lnt_runtime *rt;
  lnt__tree tree;
  lnt_watch_options options;
  uv_timer_t scan_timer, settle_timer;
  uint64_t hinted_ms; /* when the first hint came that no scan has followed; 0: none */
  uint32_t holds;     /* handles that the loop still has, reloads under way, callers on the stack */
  bool closing, is_missing;
};

/* One reload that a watcher began. */
typedef struct errand { lnt_watcher *watcher; char *path, *cause; bool was_broken; } errand;

static void watcher_free(lnt_watcher *w) {
  lnt__tree_finish(&w->tree);
  lnt__free(w);
}

static void let_go(lnt_watcher *w) {
  if (--w->holds == 0) watcher_free(w);
}

/* ---- Telling ---- */

static void tell(lnt_watcher *w, lnt_watch_event event) {
  if (w->closing || !w->options.fn) return;
  if (!event.cause) event.cause = event.file;
  if (!event.message) event.message = "";
  w->options.fn(w->options.user, &event);
}

static lnt__tree_file *file_of(lnt_watcher *w, const char *path) {
  for (size_t i = 0; i < w->tree.file_count; i++)
    if (strcmp(w->tree.files[i].path, path) == 0) return &w->tree.files[i];
  return NULL;
}

/* The same problem is told once, however often the file is tried. */
static void is_broken(lnt_watcher *w, lnt__tree_file *file, const char *cause, const char *problem) {
  bool told = file->problem && strcmp(file->problem, problem) == 0;
  lnt__free(file->problem);
  file->problem = lnt__strdup(problem);
  if (!told) tell(w, (lnt_watch_event){.kind = LNT_WATCH_BROKEN, .file = file->path, .cause = cause, .message = problem});
}

static void is_mended(lnt__tree_file *file) {
  lnt__free(file->problem);
  file->problem = NULL;
  file->told_gone = false;
}

/* ---- Reloads ---- */

static void on_fit(void *user, const lnt_fit_report *report) {
  const errand *e = user;
  tell(e->watcher, (lnt_watch_event){.kind = LNT_WATCH_INSTANCE, .file = e->path, .cause = e->cause, .instance = report});
}

static void errand_free(errand *e) {
  lnt__free(e->path);
  lnt__free(e->cause);
  lnt__free(e);
}

static void on_done(void *user, const lnt_reload_summary *summary) {
  errand *e = user;
  lnt_watcher *w = e->watcher;
  lnt__tree_file *file = w->closing ? NULL : file_of(w, e->path);
  lnt_watch_event event = {.kind = LNT_WATCH_RELOADED, .file = e->path, .cause = e->cause, .summary = summary, .message = summary->message};
  if (file && summary->status == LNT_EDIVERGED) {
    event.kind = LNT_WATCH_REFUSED;
    is_mended(file);
    tell(w, event);
  } else if (file && summary->status) {
    is_broken(w, file, e->cause, summary->message);
  } else if (file) {
    bool news = !summary->unchanged || e->was_broken || summary->checked;
    file->loaded = true;
    is_mended(file);
    if (news) tell(w, event);
  }
  errand_free(e);
  let_go(w);
}

static errand *errand_new(lnt_watcher *w, const lnt__tree_file *file, const char *cause) {
  errand *e = lnt__calloc(1, sizeof *e);
  if (!e) return NULL;
  *e = (errand){w, lnt__strdup(file->path), lnt__strdup(cause), file->problem || file->told_gone};
  if (e->path && e->cause) return e;
  errand_free(e);
  return NULL;
}

static lnt_status begin_reload(lnt_watcher *w, lnt__tree_file *file, const char *cause, const char *text, size_t size, lnt_error *err) {
  lnt_reload_options options;
  errand *e = errand_new(w, file, cause);
  if (!e) return lnt__fail(err, LNT_ENOMEM, "out of memory while %s was loaded again", file->path);
  lnt_reload_options_init(&options);
  options.file = file->path;
  options.policy = w->options.policy;
  options.fn = on_fit;
  options.done = on_done;
  options.user = e;
  w->holds++;
  bool itself = strcmp(cause, file->path) == 0; /* else another file came or went that it might require */
  lnt_status status = lnt__reload_begin(w->rt, &options, text, size, itself ? LNT__RELOAD_BRIEFLY : LNT__RELOAD_IF_CHANGED, err);
  if (!status) return LNT_OK;
  w->holds--;
  errand_free(e);
  return status;
}

static void reload(lnt_watcher *w, lnt__tree_file *file, const char *cause) {
  char *read = NULL;
  const char *text = file->text;
  size_t size = file->size;
  lnt_error error = {LNT_OK, ""};
  lnt_status status = LNT_OK;
  if (!text) {
    status = lnt__read_file(file->path, w->tree.text_bytes_max, &read, &size, &error);
    text = read;
  }
  if (!status) status = begin_reload(w, file, cause, text, size, &error);
  if (status && status != LNT_ENOTFOUND) is_broken(w, file, cause, error.message); /* not found: the next scan tells */
  lnt__free(read);
}

/* ---- What changed ---- */

/* Modules that do not compile any more, and that somebody needs: nothing is reloaded with them. */
static bool has_broken_modules(lnt_watcher *w) {
  bool broken = false;
  for (size_t i = 0; i < w->tree.file_count; i++) {
    lnt__tree_file *module = &w->tree.files[i];
    lnt_error error;
    if (!module->is_module) continue;
    if (module->changed && !module->text) is_mended(module); /* gone: whoever needs it says so */
    if (module->changed && module->text) {
      bool needed = module->problem != NULL;
      for (size_t n = 0; n < w->tree.file_count && !needed; n++)
        needed = w->tree.files[n].loaded && lnt__wvm_requires(w->rt->wvm, w->tree.files[n].path, module->relative);
      if (needed && lnt__wvm_check(w->rt->wvm, module->relative, module->text, module->size, &error))
        is_broken(w, module, NULL, error.message);
      else is_mended(module);
    }
    broken = broken || module->problem;
  }
  return broken;
}

/* What changed that `file` is made of; NULL: nothing. */
static const char *cause_of(lnt_watcher *w, const lnt__tree_file *file) {
  if (file->changed) return file->path;
  for (size_t i = 0; i < w->tree.file_count; i++) {
    const lnt__tree_file *other = &w->tree.files[i];
    if (!other->changed) continue;
    if (other->appeared || file->problem || lnt__wvm_requires(w->rt->wvm, file->path, other->relative)) return other->path;
  }
  return NULL;
}

static void is_gone(lnt_watcher *w, lnt__tree_file *file) {
  if (file->told_gone || (!file->loaded && !file->problem)) return;
  file->told_gone = true;
  tell(w, (lnt_watch_event){.kind = LNT_WATCH_DELETED, .file = file->path});
}

static void act(lnt_watcher *w) {
  bool changed = false;
  for (size_t i = 0; i < w->tree.file_count; i++) changed = changed || w->tree.files[i].changed;
  if (!changed || has_broken_modules(w)) return;
  for (size_t i = 0; i < w->tree.file_count && !w->closing; i++) {
    lnt__tree_file *file = &w->tree.files[i];
    const char *cause = file->is_module ? NULL : cause_of(w, file);
    if (!cause) continue;
    if (file->present) reload(w, file, cause);
    else if (file->changed) is_gone(w, file);
  }
  for (size_t i = 0; i < w->tree.file_count; i++) lnt__tree_acted(&w->tree.files[i]);
}

/* ---- Watching ---- */

static void on_handle_closed(uv_handle_t *handle) {
  lnt_watcher *w = handle->data;
  if (handle->type == UV_FS_EVENT) lnt__free(handle);
  let_go(w);
}

static void on_settled(uv_timer_t *timer);

static void on_hint(uv_fs_event_t *handle, const char *name, int events, int status) {
  lnt_watcher *w = handle->data;
  uint64_t now_ms = uv_now(&w->rt->loop);
  (void)events, (void)status;
  if (w->closing || (name && (name[0] == '.' || name[0] == '#'))) return;
  if (!w->hinted_ms) w->hinted_ms = now_ms;
  uint64_t left_ms = w->hinted_ms + SETTLE_MS_MAX > now_ms ? w->hinted_ms + SETTLE_MS_MAX - now_ms : 0;
  uv_timer_start(&w->settle_timer, on_settled, left_ms < SETTLE_MS ? left_ms : SETTLE_MS, 0);
}

static void unwatch_folder(lnt__tree_folder *folder) {
  if (folder->handle) uv_close((uv_handle_t *)folder->handle, on_handle_closed);
  folder->handle = NULL;
}

static void watch_folder(lnt_watcher *w, lnt__tree_folder *folder) {
  uv_fs_event_t *handle = lnt__calloc(1, sizeof *handle);
  if (!handle || uv_fs_event_init(&w->rt->loop, handle)) {
    lnt__free(handle);
    return;
  }
  handle->data = w;
  w->holds++;
  folder->handle = handle;
  if (uv_fs_event_start(handle, on_hint, folder->path, 0)) unwatch_folder(folder); /* too many watches: the scan finds it */
}

/* Folders that are gone or were replaced lose their watch; new ones get one. */
static void watch_folders(lnt_watcher *w) {
  size_t kept = 0;
  for (size_t i = 0; i < w->tree.folder_count; i++) {
    lnt__tree_folder *folder = &w->tree.folders[i];
    if (folder->seen) {
      if (!folder->handle) watch_folder(w, folder);
      w->tree.folders[kept++] = *folder;
      continue;
    }
    unwatch_folder(folder);
    lnt__free(folder->path);
  }
  w->tree.folder_count = kept;
}

static void look(lnt_watcher *w) {
  lnt_error error;
  w->hinted_ms = 0;
  lnt_status status = lnt__tree_scan(&w->tree, &error);
  if (status && !w->is_missing) lnt__runtime_log(w->rt, LNT_LOG_WARN, NULL, error.message);
  w->is_missing = status != LNT_OK;
  if (status && status != LNT_ENOTFOUND) return;
  watch_folders(w);
  w->holds++;
  act(w);
  if (w->tree.doubts && !w->closing) uv_timer_start(&w->settle_timer, on_settled, DOUBT_MS, 0);
  let_go(w);
}

static void on_settled(uv_timer_t *timer) {
  lnt_watcher *w = timer->data;
  w->rt->driving++;
  w->rt->reloading = true; /* somebody may be told */
  if (!w->closing) look(w);
  ((lnt_runtime *)timer->loop->data)->driving--;
}

/* ---- Its beginning and its end ---- */

static void load_first(lnt_watcher *w, lnt__tree_file *file) {
  lnt_error error = {LNT_OK, ""};
  lnt_status status = lnt__code_load_first(w->rt, file->path, file->text, file->size, w->options.policy, &error);
  if (status) {
    is_broken(w, file, NULL, error.message);
    return;
  }
  file->loaded = true;
  tell(w, (lnt_watch_event){.kind = LNT_WATCH_LOADED, .file = file->path});
  if (!w->closing) reload(w, file, file->path); /* instances of an earlier process may be moved */
}

static int compare_files(const void *a, const void *b) {
  const lnt__tree_file *x = a, *y = b;
  return strcmp(x->path, y->path);
}

static void load_all(lnt_watcher *w) {
  lnt__tree *tree = &w->tree;
  if (tree->file_count) qsort(tree->files, tree->file_count, sizeof *tree->files, compare_files);
  for (size_t i = 0; i < tree->file_count && !w->closing; i++)
    if (!tree->files[i].is_module && tree->files[i].text) load_first(w, &tree->files[i]);
  for (size_t i = 0; i < tree->file_count; i++) lnt__tree_acted(&tree->files[i]);
}

lnt_status lnt__watch(lnt_runtime *rt, const char *dir, const lnt_watch_options *options, lnt_watcher **out, lnt_error *err) {
  lnt_watcher *w = lnt__calloc(1, sizeof *w);
  if (!w) return lnt__fail(err, LNT_ENOMEM, "out of memory while %s was looked at", dir);
  w->rt = rt;
  w->options = *options;
  lnt_status status = lnt__tree_init(&w->tree, dir, (size_t)rt->options.limits.source_bytes_max, err);
  if (!status) status = lnt__tree_scan(&w->tree, err);
  if (status) {
    watcher_free(w);
    return status;
  }
  uv_timer_init(&rt->loop, &w->scan_timer);
  uv_timer_init(&rt->loop, &w->settle_timer);
  w->scan_timer.data = w->settle_timer.data = w;
  w->holds = 3; /* two timers, and this call */
  w->next = rt->watchers;
  rt->watchers = w;
  if (!options->once) {
    uv_timer_start(&w->scan_timer, on_settled, SCAN_MS, SCAN_MS);
    watch_folders(w);
  }
  *out = w;
  rt->driving++;
  load_all(w);
  rt->driving--;
  let_go(w);
  return LNT_OK;
}

void lnt__unwatch(lnt_runtime *rt, lnt_watcher *w) {
  lnt_watcher **at = &rt->watchers;
  while (*at && *at != w) at = &(*at)->next;
  if (!*at) return;
  *at = w->next;
  w->closing = true;
  for (size_t i = 0; i < w->tree.folder_count; i++) unwatch_folder(&w->tree.folders[i]);
  uv_close((uv_handle_t *)&w->scan_timer, on_handle_closed);
  uv_close((uv_handle_t *)&w->settle_timer, on_handle_closed);
}

void lnt__watch_finish(lnt_runtime *rt) {
  while (rt->watchers) lnt__unwatch(rt, rt->watchers);
}
