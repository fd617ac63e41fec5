/* tree.c - the Lua files of a folder and of those below it, and which of them hold another text than before. Called by watch.c; owner
 * thread.
 *
 * Dates only say where to look: a file is read again when anything about it is different, and has changed when its text has. A file that is
 * gone or empty for one scan is left in doubt, because that is what a save looks like from outside. */
#include <stdio.h>

#include "driver/watch.h"

enum { DEPTH_MAX = 16, DOUBTS_MAX = 2, PATH_BYTES_MAX = 4096 };

lnt_status lnt__tree_init(lnt__tree *tree, const char *dir, size_t text_bytes_max, lnt_error *err) {
  size_t size = strlen(dir);
  *tree = (lnt__tree){.text_bytes_max = text_bytes_max};
  while (size > 1 && dir[size - 1] == '/') size--;
  tree->dir = lnt__strndup(dir, size);
  return tree->dir ? LNT_OK : lnt__fail(err, LNT_ENOMEM, "out of memory while %s was looked at", dir);
}

void lnt__tree_finish(lnt__tree *tree) {
  for (size_t i = 0; i < tree->file_count; i++) {
    lnt__free(tree->files[i].path);
    lnt__free(tree->files[i].text);
    lnt__free(tree->files[i].problem);
  }
  for (size_t i = 0; i < tree->folder_count; i++) lnt__free(tree->folders[i].path);
  lnt__free(tree->files);
  lnt__free(tree->folders);
  lnt__free(tree->dir);
}

void lnt__tree_acted(lnt__tree_file *file) {
  lnt__free(file->text);
  file->text = NULL;
  file->changed = file->appeared = false;
}

/* ---- One file ---- */

static lnt__tree_file *file_of(lnt__tree *tree, const char *path) {
  for (size_t i = 0; i < tree->file_count; i++)
    if (strcmp(tree->files[i].path, path) == 0) return &tree->files[i];
  return NULL;
}

static lnt__tree_file *add_file(lnt__tree *tree, const char *path, bool is_module) {
  char *copy = lnt__strdup(path);
  if (!copy || !lnt__grow((void **)&tree->files, &tree->file_capacity, tree->file_count + 1, sizeof *tree->files)) {
    lnt__free(copy);
    return NULL;
  }
  tree->files[tree->file_count] = (lnt__tree_file){.path = copy, .relative = copy + strlen(tree->dir) + 1, .is_module = is_module};
  return &tree->files[tree->file_count++];
}

static void hash_text(const char *text, size_t size, uint8_t out[LNT__SHA256_BYTES]) {
  lnt__sha256 sha;
  lnt__sha256_init(&sha);
  lnt__sha256_add(&sha, text, size);
  lnt__sha256_end(&sha, out);
}

/* Is it too early to believe this? */
static bool in_doubt(lnt__tree *tree, lnt__tree_file *file) {
  if (!file->present || ++file->doubts >= DOUBTS_MAX) return false;
  tree->doubts = true;
  file->stamp = (lnt__stamp){0}; /* it is read again */
  return true;
}

static void take_text(lnt__tree *tree, lnt__tree_file *file, char *text, size_t size) {
  uint8_t hash[LNT__SHA256_BYTES];
  hash_text(text, size, hash);
  bool same = file->known && memcmp(hash, file->hash, sizeof hash) == 0;
  if ((same && file->present) || (size == 0 && file->known && in_doubt(tree, file))) {
    lnt__free(text);
    if (same) file->doubts = 0;
    return;
  }
  file->doubts = 0;
  file->appeared = file->appeared || !file->present;
  file->present = file->known = file->changed = true;
  memcpy(file->hash, hash, sizeof hash);
  lnt__free(file->text);
  file->text = text;
  file->size = size;
}

static void file_is_gone(lnt__tree *tree, lnt__tree_file *file) {
  if (!file->present || in_doubt(tree, file)) return;
  file->present = false;
  file->doubts = 0;
  file->changed = file->appeared = true;
  file->stamp = (lnt__stamp){0};
  lnt__free(file->text);
  file->text = NULL;
}

static lnt_status look_at_file(lnt__tree *tree, const char *path, const uv_stat_t *stat, bool is_module, lnt_error *err) {
  lnt__stamp stamp = {stat->st_dev, stat->st_ino, stat->st_size, stat->st_mtim.tv_sec * 1000000000ll + stat->st_mtim.tv_nsec,
                      stat->st_ctim.tv_sec * 1000000000ll + stat->st_ctim.tv_nsec};
  lnt__tree_file *file = file_of(tree, path);
  if (!file && tree->file_count >= LNT_WATCH_FILES_MAX)
    return lnt__fail(err, LNT_ELIMIT, "%s has more than %d Lua files, in the folders below it too", tree->dir, LNT_WATCH_FILES_MAX);
  if (!file) file = add_file(tree, path, is_module);
  if (!file) return lnt__fail(err, LNT_ENOMEM, "out of memory while %s was looked at", tree->dir);
  file->seen = true;
  if (file->present && memcmp(&stamp, &file->stamp, sizeof stamp) == 0) return LNT_OK;
  char *text;
  size_t size;
  file->stamp = stamp; /* before it is read: what changes meanwhile is read again */
  if (lnt__read_file(path, tree->text_bytes_max, &text, &size, NULL) == LNT_OK) take_text(tree, file, text, size);
  else file->seen = false; /* just deleted, or not ours to read */
  return LNT_OK;
}

/* ---- One folder ---- */

static bool is_left_alone(const char *name) {
  size_t size = strlen(name);
  return name[0] == '.' || name[0] == '#' || name[size - 1] == '~';
}

static bool is_lua(const char *name) {
  size_t size = strlen(name);
  return size > 4 && strcmp(name + size - 4, ".lua") == 0;
}

/* Meet a folder. *again: it was met in this scan already, by another way. */
static lnt_status meet(lnt__tree *tree, const char *path, const uv_stat_t *stat, bool *again, lnt_error *err) {
  lnt__tree_folder *known = NULL;
  *again = false;
  for (size_t i = 0; i < tree->folder_count; i++) {
    lnt__tree_folder *folder = &tree->folders[i];
    bool same = folder->dev == stat->st_dev && folder->ino == stat->st_ino;
    *again = *again || (same && folder->seen);
    if (same && strcmp(folder->path, path) == 0) known = folder;
  }
  if (*again) return LNT_OK;
  if (!known && tree->folder_count >= LNT_WATCH_FOLDERS_MAX)
    return lnt__fail(err, LNT_ELIMIT, "%s has more than %d folders below it", tree->dir, LNT_WATCH_FOLDERS_MAX);
  if (!known) {
    char *copy = lnt__strdup(path);
    if (!copy || !lnt__grow((void **)&tree->folders, &tree->folder_capacity, tree->folder_count + 1, sizeof *tree->folders)) {
      lnt__free(copy);
      return lnt__fail(err, LNT_ENOMEM, "out of memory while %s was looked at", tree->dir);
    }
    known = &tree->folders[tree->folder_count++];
    *known = (lnt__tree_folder){.path = copy, .dev = stat->st_dev, .ino = stat->st_ino};
  }
  known->seen = true;
  return LNT_OK;
}

static lnt_status walk(lnt__tree *tree, const char *path, int depth, lnt_error *err);

static lnt_status look_at(lnt__tree *tree, const char *folder, const char *name, int depth, lnt_error *err) {
  char path[PATH_BYTES_MAX];
  uv_fs_t stat;
  bool again;
  if (is_left_alone(name) || (size_t)snprintf(path, sizeof path, "%s/%s", folder, name) >= sizeof path) return LNT_OK;
  int failed = uv_fs_stat(NULL, &stat, path, NULL);
  uv_stat_t found = stat.statbuf;
  uv_fs_req_cleanup(&stat);
  if (failed) return LNT_OK;
  if ((found.st_mode & S_IFMT) == S_IFREG) return is_lua(name) ? look_at_file(tree, path, &found, depth > 0, err) : LNT_OK;
  if ((found.st_mode & S_IFMT) != S_IFDIR || depth + 1 >= DEPTH_MAX) return LNT_OK;
  lnt_status status = meet(tree, path, &found, &again, err);
  return status || again ? status : walk(tree, path, depth + 1, err);
}

static lnt_status walk(lnt__tree *tree, const char *path, int depth, lnt_error *err) {
  uv_fs_t request;
  uv_dirent_t entry;
  lnt_status status = LNT_OK;
  if (uv_fs_scandir(NULL, &request, path, 0, NULL) >= 0) {
    while (!status && uv_fs_scandir_next(&request, &entry) == 0) status = look_at(tree, path, entry.name, depth, err);
  }
  uv_fs_req_cleanup(&request);
  return status;
}

static lnt_status walk_all(lnt__tree *tree, lnt_error *err) {
  uv_fs_t stat;
  bool again;
  int failed = uv_fs_stat(NULL, &stat, tree->dir, NULL);
  uv_stat_t found = stat.statbuf;
  uv_fs_req_cleanup(&stat);
  if (failed) return lnt__fail(err, LNT_ENOTFOUND, "cannot look at the folder %s: %s", tree->dir, uv_strerror(failed));
  if ((found.st_mode & S_IFMT) != S_IFDIR) return lnt__fail(err, LNT_EINVAL, "%s is a file, not a folder", tree->dir);
  lnt_status status = meet(tree, tree->dir, &found, &again, err);
  return status ? status : walk(tree, tree->dir, 0, err);
}

lnt_status lnt__tree_scan(lnt__tree *tree, lnt_error *err) {
  for (size_t i = 0; i < tree->file_count; i++) tree->files[i].seen = false;
  for (size_t i = 0; i < tree->folder_count; i++) tree->folders[i].seen = false;
  tree->doubts = false;
  lnt_status status = walk_all(tree, err);
  if (status && status != LNT_ENOTFOUND) return status;
  for (size_t i = 0; i < tree->file_count; i++)
    if (!tree->files[i].seen) file_is_gone(tree, &tree->files[i]);
  return status;
}
