/* bundle.h - what a bundle holds: a file of Lua and every module it required, as text (bundle.c). Pure; any thread. */
#ifndef LNT__BUNDLE_H
#define LNT__BUNDLE_H

#include "base/base.h"

/* The main source text inside a bundle, for the activity VM (activities of stored code); false when malformed. */
bool lnt__bundle_main(const void *bundle, size_t size, lnt_value *file, lnt_value *source);
/* A module's source inside a bundle by module name. */
bool lnt__bundle_module(const void *bundle, size_t size, const char *module, lnt_value *file, lnt_value *source);

/* Every source of a bundle: the file first, `module` NULL; non-zero from `fn` stops. false: malformed. */
typedef int (*lnt__bundle_fn)(void *user, const char *module, lnt_value file, lnt_value source);
bool lnt__bundle_each(const void *bundle, size_t size, lnt__bundle_fn fn, void *user);

#endif
