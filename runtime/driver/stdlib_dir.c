/* stdlib_dir.c - where the standard library is, when no option says so. Called by lnt_open(). Apart, because the build compiles it once for
 * the build tree and once for the installed library. */
#include <stdlib.h>

#include "driver/runtime.h"

#ifndef LNT_STDLIB_DIR
#define LNT_STDLIB_DIR "/usr/local/share/lunation/stdlib"
#endif

const char *lnt__stdlib_dir(void) {
  const char *from_environment = getenv("LUNATION_STDLIB");
  return from_environment && *from_environment ? from_environment : LNT_STDLIB_DIR;
}
