/* vm.h - the workflow VM: one private lua_State, JIT off, holding the sandbox, the loaded code and the bodies of resident instances.
 * Used by the driver; the engine reaches it through lnt__vm. Owner thread. */
#ifndef LNT__VM_H
#define LNT__VM_H

#include "engine/engine.h"
#include "vm/bundle.h"

typedef struct lnt__wvm lnt__wvm;
typedef struct lnt__code lnt__code; /* a version of a file, as the VM holds it */

/* A bundle: one file of Lua and every module it required when it was loaded, as text. Its CBOR form is what table CODE holds (sealed); its
 * SHA-256
 * is the code hash that instances pin. */
typedef struct lnt__wvm_options {
  const lnt_limits *limits;
  lnt_limits *met; /* counters (LNT__MET); may be NULL */
  const char *module_path; /* folders, ';'-separated, may be NULL */
  const char *stdlib_path; /* may be NULL */
  void *user;
  void (*log)(void *user, lnt_log_level level, const char *id, const char *message);
  /* Fetch the bundle of a hash that is not loaded (from the store, unsealed). Release with lnt__free. LNT_ENOTFOUND when it is gone. */
  lnt_status (*fetch)(void *user, const uint8_t *hash, void **bundle, size_t *size, lnt_error *err);
  bool rehearses; /* it is the engine's other VM (rehearse.c): as different as it can be, it collects garbage before each step */
} lnt__wvm_options;

lnt_status lnt__wvm_create(const lnt__wvm_options *options, lnt__wvm **out, lnt_error *err);
void lnt__wvm_destroy(lnt__wvm *wvm); /* NULL accepted; all bodies must have been dropped */
const lnt__vm *lnt__wvm_interface(lnt__wvm *wvm);
const char *lnt__wvm_fingerprint(lnt__wvm *wvm); /* "LuaJIT 2.1.0-beta3 x64" */
size_t lnt__wvm_memory(const lnt__wvm *wvm);     /* bytes */

/* Load a file's text for its workflows. `file` is the path for messages and the identity of the file (its base name is used in messages).
 * On success *bundle (lnt__free) and hash describe what was loaded, and the file's workflows are the newest of their names. Loading is
 * atomic: on failure nothing changes. Errors: LNT_ESYNTAX with file:line and the source line, LNT_EEXIST when another file defines the
 * workflow, LNT_ELIMIT.
 * A file without workflows loads fine (activities only). */
lnt_status lnt__wvm_load(lnt__wvm *wvm, const char *file, const char *source, size_t size, void **bundle, size_t *bundle_size,
                         uint8_t hash[LNT__SHA256_BYTES], lnt_error *err);

/* The same in two steps. Staged code can be had by its hash (for trials), but its file's names still mean what they meant. The struct is
 * read by the caller and released by lnt__wvm_unstage(), switched or not. */
typedef struct lnt__staged_name { char *name; lnt_reload_policy policy; } lnt__staged_name;
typedef struct lnt__staged_activity { char *name, *text; } lnt__staged_activity; /* text: its interface, see lnt_interface_info */
#define LNT__INTERFACE_BYTES_MAX 2000
typedef struct lnt__staged {
  char *file;
  uint8_t hash[LNT__SHA256_BYTES];
  void *bundle;
  size_t bundle_size;
  lnt__staged_name *names; /* what the file defines */
  size_t name_count;
  lnt__staged_activity *activities;
  size_t activity_count;
  lnt__code *code;
} lnt__staged;
lnt_status lnt__wvm_stage(lnt__wvm *wvm, const char *file, const char *source, size_t size, lnt__staged **out, lnt_error *err);
lnt_status lnt__wvm_switch(lnt__wvm *wvm, lnt__staged *staged, lnt_error *err); /* LNT_EEXIST, LNT_ENOMEM: nothing changed */
void lnt__wvm_unstage(lnt__wvm *wvm, lnt__staged *staged);                      /* NULL accepted */

/* Let a workflow that no file defines mean stored code, as if `file` had defined it. LNT_ENOTFOUND, LNT_EEXIST, LNT_ENOMEM, and why the
 * code does not load: nothing changed. */
lnt_status lnt__wvm_revive(lnt__wvm *wvm, const char *file, const char *workflow, const uint8_t *hash, lnt_error *err);
const uint8_t *lnt__wvm_current(const lnt__wvm *wvm, const char *workflow); /* hash; NULL: no file defines it */

/* Does this text compile? LNT_ESYNTAX says file:line; nothing is run. */
lnt_status lnt__wvm_check(lnt__wvm *wvm, const char *file, const char *source, size_t size, lnt_error *err);
/* The names that the code gives to is_patched() as plain strings, its modules too; non-zero from `fn` stops. */
lnt_status lnt__wvm_patches(lnt__wvm *wvm, const uint8_t *hash, int (*fn)(void *user, lnt_value name), void *user, lnt_error *err);
const uint8_t *lnt__wvm_loaded(const lnt__wvm *wvm, const char *file); /* hash of the code of a file; NULL: it was not loaded */
/* Does the current code of `file` require a module whose path (below the file's folder or a module path) is this? */
bool lnt__wvm_requires(const lnt__wvm *wvm, const char *file, const char *module_file);

/* Newest code of a workflow name. LNT_ENOTFOUND names what is loaded and suggests near names. */
lnt_status lnt__wvm_resolve(lnt__wvm *wvm, const char *workflow, uint8_t hash[LNT__SHA256_BYTES], lnt_error *err);
void lnt__wvm_each(lnt__wvm *wvm, lnt_workflow_fn fn, void *user);

/* Between ticks: let the collector work for about `budget_ns`. true: there is more for it to do. */
bool lnt__wvm_collect(lnt__wvm *wvm, uint64_t budget_ns);

#endif
