/* names.c - the public names of statuses and event kinds, made from the lists in lunation.h. Called by everyone, from any thread. */
#include <pthread.h>

#include "base/base.h"

const char *lnt_version(void) { return LNT_VERSION_STRING; }

typedef struct status_entry { const char *name, *text; } status_entry;

/* Status numbers are 0, -1, -2 ...: entry n belongs to -n. */
static const status_entry statuses[] = {
#define LNT__X(name, number, text) [-(number)] = {"LNT_" #name, text},
  LNT_STATUS_MAP(LNT__X)
#undef LNT__X
};

static const status_entry *status_of(lnt_status status) {
  static const status_entry unknown = {"LNT_UNKNOWN", "not a status of this version"};
  long long number = -(long long)status;
  return number >= 0 && number < (long long)LNT__COUNT(statuses) && statuses[number].name ? &statuses[number] : &unknown;
}

const char *lnt_status_name(lnt_status status) { return status_of(status)->name; }
const char *lnt_status_text(lnt_status status) { return status_of(status)->text; }

const char *lnt_run_status_name(lnt_run_status status) {
  static const char *const names[] = {
#define LNT__X(name, number, text) [number] = #name,
    LNT_RUN_STATUS_MAP(LNT__X)
#undef LNT__X
  };
  long long number = (long long)status;
  return number >= 0 && number < (long long)LNT__COUNT(names) && names[number] ? names[number] : "UNKNOWN";
}

static const char *const kind_lists[] = {
#define LNT__X(name, number, text) [number] = #name,
  LNT_EVENT_MAP(LNT__X)
#undef LNT__X
};

static char kind_names[LNT__COUNT(kind_lists)][32];
static pthread_once_t kind_names_once = PTHREAD_ONCE_INIT;

/* ACTIVITY_SCHEDULED -> ActivityScheduled */
static void make_kind_name(const char *from, char *to) {
  bool upper = true;
  for (; *from; from++) {
    if (*from != '_') *to++ = upper || *from < 'A' || *from > 'Z' ? *from : (char)(*from - 'A' + 'a');
    upper = *from == '_';
  }
  *to = 0;
}

static void make_kind_names(void) {
  for (size_t i = 0; i < LNT__COUNT(kind_lists); i++)
    if (kind_lists[i] && strlen(kind_lists[i]) < sizeof kind_names[i]) make_kind_name(kind_lists[i], kind_names[i]);
}

const char *lnt_event_kind_name(lnt_event_kind kind) {
  pthread_once(&kind_names_once, make_kind_names);
  long long number = (long long)kind;
  return number >= 0 && number < (long long)LNT__COUNT(kind_names) && *kind_names[number] ? kind_names[number] : "Unknown";
}

static const char *const policies[] = {"authors", "pin", "adopt", "all_or_nothing"};

const char *lnt_reload_policy_name(lnt_reload_policy policy) {
  size_t number = (size_t)policy;
  return number < LNT__COUNT(policies) ? policies[number] : "unknown";
}

lnt_status lnt_reload_policy_parse(const char *text, lnt_reload_policy *out) {
  if (!text || !out) return LNT_EINVAL;
  if (strcmp(text, "all-or-nothing") == 0) text = policies[LNT_RELOAD_ALL_OR_NOTHING];
  for (size_t i = 0; i < LNT__COUNT(policies); i++) {
    if (strcmp(text, policies[i]) != 0) continue;
    *out = (lnt_reload_policy)i;
    return LNT_OK;
  }
  return LNT_EINVAL;
}

const char *lnt_fit_name(lnt_fit fit) {
  static const char *const names[] = {"compatible", "diverges", "unavailable", "busy", "not_reached"};
  return (size_t)fit < LNT__COUNT(names) ? names[fit] : "unknown";
}

const char *lnt_watch_kind_name(lnt_watch_kind kind) {
  static const char *const names[] = {"unknown", "loaded", "instance", "reloaded", "refused", "broken", "deleted"};
  return (size_t)kind < LNT__COUNT(names) ? names[kind] : "unknown";
}
