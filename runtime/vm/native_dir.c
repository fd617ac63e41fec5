/* native_dir.c - where the C modules of the standard library are. Called by activity_io.c. Apart, because the build compiles it once for
 * the build tree and once for the installed library. */
#include <stdlib.h>

#include "vm/activity_lib.h"

#ifndef LNT_NATIVE_DIR
#define LNT_NATIVE_DIR "/usr/local/lib/lunation"
#endif

const char *lnt__native_dir(void) {
  const char *from_environment = getenv("LUNATION_NATIVE");
  return from_environment && *from_environment ? from_environment : LNT_NATIVE_DIR;
}
