/* bundle.c - the form in which source is stored: a CBOR map {file, source, modules = {name = {file, source}}}. Called by code.c and, for
 * the activity VM, by the driver. Pure; any thread. */
#include <stdio.h>

#include "vm/workflow.h"

static bool member_text(lnt_value map, const char *key, lnt_value *out) {
  size_t size;
  const char *text = lnt__cbor_member_string(map, key, &size);
  *out = (lnt_value){text, text ? size : 0};
  return text != NULL;
}

bool lnt__bundle_main(const void *bundle, size_t size, lnt_value *file, lnt_value *source) {
  lnt_value map = {bundle, size};
  return member_text(map, "file", file) && member_text(map, "source", source);
}

bool lnt__bundle_module(const void *bundle, size_t size, const char *module, lnt_value *file, lnt_value *source) {
  lnt_value modules, entry;
  if (!lnt__cbor_member((lnt_value){bundle, size}, "modules", &modules) || !lnt__cbor_member(modules, module, &entry)) return false;
  return member_text(entry, "file", file) && member_text(entry, "source", source);
}

static void write_text(lnt__buf *out, const char *key, const char *text, size_t size) {
  lnt__cbor_cstring(out, key);
  lnt__cbor_string(out, text, size);
}

static void write_module(lnt__buf *out, const lnt__module *module) {
  lnt__cbor_map map;
  lnt__cbor_cstring(out, module->name);
  lnt__cbor_map_begin(out, &map);
  write_text(out, "file", module->file, strlen(module->file));
  write_text(out, "source", module->source, module->size);
  lnt__cbor_map_end(out, &map, 2, true);
}

lnt_status lnt__bundle_write(const lnt__code *code, const char *source, size_t size, lnt__buf *out, lnt_error *err) {
  lnt__cbor_map map, modules;
  lnt__cbor_map_begin(out, &map);
  write_text(out, "file", code->file, strlen(code->file));
  write_text(out, "source", source, size);
  lnt__cbor_cstring(out, "modules");
  lnt__cbor_map_begin(out, &modules);
  for (size_t i = 0; i < code->module_count; i++) write_module(out, &code->modules[i]);
  lnt__cbor_map_end(out, &modules, code->module_count, false);
  lnt__cbor_map_end(out, &map, 3, false);
  return out->failed ? lnt__fail(err, LNT_ENOMEM, "out of memory while bundling %s", code->file) : LNT_OK;
}

static lnt_status malformed(lnt_error *err) { return lnt__fail(err, LNT_ECORRUPT, "the stored code is not a bundle of Lua source"); }

static lnt_status read_module(lnt__reader *reader, lnt__code *code, lnt_error *err) {
  lnt_value file, source;
  lnt__cbor_item name = lnt__cbor_next(reader);
  const uint8_t *start = reader->at;
  if (name.type != LNT__CBOR_STRING || !lnt__cbor_skip(reader)) return malformed(err);
  lnt_value entry = {start, (size_t)(reader->at - start)};
  if (!member_text(entry, "file", &file) || !member_text(entry, "source", &source)) return malformed(err);
  char *name_text = lnt__strndup(name.as.string.data, name.as.string.size), *file_text = lnt__strndup(file.data, file.size);
  char *source_text = lnt__strndup(source.data, source.size);
  bool added = name_text && file_text && source_text && lnt__code_add_module(code, name_text, file_text, source_text, source.size);
  if (!added) lnt__free(source_text);
  lnt__free(name_text);
  lnt__free(file_text);
  return added ? LNT_OK : lnt__fail(err, LNT_ENOMEM, "out of memory while reading stored code");
}

lnt_status lnt__bundle_read(lnt_value bundle, lnt__code *code, lnt_value *source, lnt_error *err) {
  lnt_value file, modules;
  lnt_status status = LNT_OK;
  if (lnt__cbor_check(bundle, NULL) || !lnt__bundle_main(bundle.data, bundle.size, &file, source)) return malformed(err);
  code->file = lnt__strndup(file.data, file.size);
  if (!code->file) return lnt__fail(err, LNT_ENOMEM, "out of memory while reading stored code");
  if (!lnt__cbor_member(bundle, "modules", &modules)) return LNT_OK;
  lnt__reader reader = lnt__reader_of(modules.data, modules.size);
  lnt__cbor_item item = lnt__cbor_next(&reader);
  if (item.type != LNT__CBOR_MAP || item.as.count > LNT__MODULES_MAX) return malformed(err);
  for (size_t left = item.as.count; left && !status; left--) status = read_module(&reader, code, err);
  return status;
}

bool lnt__bundle_each(const void *bundle, size_t size, lnt__bundle_fn fn, void *user) {
  lnt_value file, source, modules, map = {bundle, size};
  if (lnt__cbor_check(map, NULL) || !lnt__bundle_main(bundle, size, &file, &source)) return false;
  if (fn(user, NULL, file, source) || !lnt__cbor_member(map, "modules", &modules)) return true;
  lnt__reader reader = lnt__reader_of(modules.data, modules.size);
  lnt__cbor_item item = lnt__cbor_next(&reader);
  if (item.type != LNT__CBOR_MAP) return false;
  for (size_t left = item.as.count; left; left--) {
    lnt__cbor_item key = lnt__cbor_next(&reader);
    const uint8_t *start = reader.at;
    char name[LNT__KEY_BYTES_MAX + 1];
    if (key.type != LNT__CBOR_STRING || !lnt__cbor_skip(&reader)) return false;
    lnt_value entry = {start, (size_t)(reader.at - start)};
    if (!member_text(entry, "file", &file) || !member_text(entry, "source", &source)) return false;
    snprintf(name, sizeof name, "%.*s", (int)key.as.string.size, key.as.string.data);
    if (fn(user, name, file, source)) return true;
  }
  return true;
}
