/* A host that uses an installed Lunation: it opens a runtime in memory, runs a workflow and prints its output. Built with
 * find_package (CMakeLists.txt), as a subdirectory (subproject/) and with pkg-config (check). */
#include <lunation.h>
#include <stdio.h>
#include <string.h>

static const char source[] = "workflow('greet', function(ctx, input) return 'hello ' .. input end)\n";

static int fail(const char *what, const lnt_error *err) {
  fprintf(stderr, "consumer: %s: %s\n", what, err->message);
  return 1;
}

static int run(lnt_runtime *rt) {
  lnt_error err = {0};
  lnt_start_options start;
  lnt_start_options_init(&start);
  start.workflow = "greet";
  start.id = "first";
  if (lnt_value_from_json("\"moon\"", 6, &start.input, &err)) return fail("lnt_value_from_json", &err);
  lnt_status status = lnt_load_string(rt, "greet.lua", source, sizeof source - 1, &err);
  if (!status) status = lnt_start(rt, &start, NULL, &err);
  if (!status) status = lnt_wait(rt, "first", 30000000, &err);
  lnt_value_free(&start.input);
  if (status) return fail("greet", &err);

  lnt_instance *instance = NULL;
  char *text = NULL;
  if (lnt_get(rt, "first", &instance, &err)) return fail("lnt_get", &err);
  status = lnt_value_to_json(instance->output, 0, &text, NULL, &err);
  if (status) fail("lnt_value_to_json", &err);
  else printf("%s %s\n", lnt_run_status_name(instance->status), text);
  int wrong = status || strcmp(text, "\"hello moon\"") != 0;
  lnt_free(text);
  lnt_free(instance);
  return wrong;
}

int main(void) {
  if (strcmp(lnt_version(), LNT_VERSION_STRING) != 0) {
    fprintf(stderr, "consumer: the library is %s, but the header is %s\n", lnt_version(), LNT_VERSION_STRING);
    return 1;
  }
  lnt_options options;
  lnt_error err = {0};
  lnt_runtime *rt = NULL;
  lnt_options_init(&options);
  options.store = LNT_STORE_MEMORY;
  if (lnt_open(&options, &rt, &err)) return fail("lnt_open", &err);
  int wrong = run(rt);
  return lnt_close(rt) != LNT_OK || wrong;
}
