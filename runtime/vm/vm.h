/* vm.h - the workflow VM: one private lua_State, JIT off, holding the sandbox, the loaded code and the bodies of resident instances.
 * Used by the driver; the engine reaches it through lnt__vm. Owner thread. */
#ifndef LNT__VM_H
#define LNT__VM_H

#include "engine/engine.h"

typedef struct lnt__wvm lnt__wvm;

/* A bundle: one file of Lua and every module it required when it was loaded, as text. Its CBOR form is what table CODE holds (sealed); its
 * SHA-256
 * is the code hash that instances pin. */
typedef struct lnt__wvm_options {
  const lnt_limits *limits;
  const char *module_path; /* folders, ';'-separated, may be NULL */
  const char *stdlib_path; /* may be NULL */
  void *user;
  void (*log)(void *user, lnt_log_level level, const char *id, const char *message);
  /* Fetch the bundle of a hash that is not loaded (from the store, unsealed). Release with lnt__free. LNT_ENOTFOUND when it is gone. */
  lnt_status (*fetch)(void *user, const uint8_t *hash, void **bundle, size_t *size, lnt_error *err);
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

/* Newest code of a workflow name. LNT_ENOTFOUND names what is loaded and suggests near names. */
lnt_status lnt__wvm_resolve(lnt__wvm *wvm, const char *workflow, uint8_t hash[LNT__SHA256_BYTES], lnt_error *err);
void lnt__wvm_each(lnt__wvm *wvm, lnt_workflow_fn fn, void *user);

/* Between ticks: let the collector work for about `budget_ns`. */
void lnt__wvm_collect(lnt__wvm *wvm, uint64_t budget_ns);

/* The main source text inside a bundle, for the activity VM (activities of stored code); false when malformed. */
bool lnt__bundle_main(const void *bundle, size_t size, lnt_value *file, lnt_value *source);
/* A module's source inside a bundle by module name. */
bool lnt__bundle_module(const void *bundle, size_t size, const char *module, lnt_value *file, lnt_value *source);

#endif
