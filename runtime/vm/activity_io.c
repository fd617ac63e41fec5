/* activity_io.c - how attempts wait: the functions that activity.lua stands on, luv, and waking what became ready. Used by activity.c;
 * the thread that made the avm. libuv is reached through luv alone, whose headers are not included: they would bring another Lua's. */
#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* memfd_create */
#endif
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "vm/activity_lib.h"
#include "vm/value.h"

#define LOG_TEXT_MAX 4096 /* bytes of one line that an activity logs */
#define SLOT_BITS 20

typedef int (*callback_fn)(lua_State *L, int nargs, int nresults, int flags);
int luaopen_luv(lua_State *L);
void luv_set_loop(lua_State *L, struct uv_loop_s *loop);
void luv_set_callback(lua_State *L, callback_fn callback);

lnt__attempt *lnt__avm_attempt(lnt__avm *avm, uint64_t serial) {
  size_t slot = serial & ((1u << SLOT_BITS) - 1);
  lnt__attempt *attempt = slot < avm->slots_count ? avm->slots[slot] : NULL;
  return attempt && attempt->serial == serial && attempt->state != LNT__ATTEMPT_IDLE ? attempt : NULL;
}

void lnt__avm_make_ready(lnt__avm *avm, lnt__attempt *attempt) {
  if (attempt->ready || attempt->state != LNT__ATTEMPT_WAITS) return;
  attempt->ready = true;
  attempt->next = NULL;
  if (avm->ready.last) avm->ready.last->next = attempt;
  else avm->ready.first = attempt;
  avm->ready.last = attempt;
}

void lnt__avm_drain(lnt__avm *avm) {
  if (avm->draining || avm->closing || avm->current) return;
  avm->draining = true;
  while (avm->ready.first) {
    lnt__attempt *attempt = avm->ready.first;
    avm->ready.first = attempt->next;
    if (!avm->ready.first) avm->ready.last = NULL;
    attempt->ready = false;
    lnt__avm_advance(avm, attempt, false);
  }
  avm->draining = false;
}

/* ---- luv ---- */

/* Runs every callback of luv, in place of its own, which prints and exits. The contract is luv's: take the function and its arguments off
 * the stack; leave the results and answer their number, or leave nothing and answer a negative number. */
static int callback(lua_State *L, int nargs, int nresults, int flags) {
  (void)flags;
  lnt__avm *avm = lnt__avm_of(L);
  int base = lua_gettop(L) - nargs - 1;
  int status = lua_pcall(L, nargs, nresults, 0);
  if (status != 0) {
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "an error that is not text";
    lnt__avm_log(avm, LNT_LOG_ERROR, NULL, text);
    lua_settop(L, base);
  }
  if (avm->options.loop) lnt__avm_drain(avm);
  return status != 0 ? -status : lua_gettop(L) - base;
}

static int open_protected(lua_State *L) {
  lnt__avm *avm = lua_touserdata(L, 1);
  if (avm->options.loop) luv_set_loop(avm->L, avm->options.loop);
  luv_set_callback(avm->L, callback);
  lua_rawgeti(L, LUA_REGISTRYINDEX, avm->refs.open);
  luaopen_luv(avm->L);
  lua_call(L, 1, 0);
  return 0;
}

bool lnt__avm_open_luv(lnt__avm *avm) {
  if (avm->luv_open) return true;
  if (lua_cpcall(avm->L, open_protected, avm) != 0) {
    const char *text = lua_tostring(avm->L, -1);
    lnt__avm_log(avm, LNT_LOG_ERROR, NULL, text ? text : "the helpers of activities cannot be opened");
    lua_pop(avm->L, 1);
    return false;
  }
  return avm->luv_open = true;
}

/* ---- What activity.lua calls. All of these RAISE. ---- */

static uint64_t serial_at(lua_State *L, int index) { return (uint64_t)lua_tonumber(L, index); }

static int refuse(lua_State *L, const char *text) {
  lua_pushstring(L, text);
  return lua_error(L);
}

/* The running attempt, if `serial` is its. */
static lnt__attempt *own(lua_State *L) {
  lnt__avm *avm = lnt__avm_of(L);
  lnt__attempt *attempt = avm->current;
  if (!attempt || attempt->serial != serial_at(L, 1)) {
    refuse(L, "this `act` belongs to another attempt, or to one that has ended: each activity uses the `act` that it was given");
  }
  return attempt;
}

/* enter(serial) -> must it be told that it is canceled?, milliseconds left then. May the attempt begin a wait? */
static int io_enter(lua_State *L) {
  static const char in_coroutine[] = "the helpers of `act` cannot wait inside a coroutine of your own; call them from the activity itself";
  static const char in_callback[] = "the helpers of `act` cannot wait here: a callback of table.sort or string.gsub, or `require`, runs";
  lnt__attempt *attempt = own(L);
  lnt__avm *avm = lnt__avm_of(L);
  if (attempt->co != L) return refuse(L, in_coroutine);
  if (!lua_isyieldable(L)) return refuse(L, in_callback);
  if (lnt__attempt_canceled(avm, attempt) && attempt->told && !lnt__attempt_grace_ns(avm, attempt)) {
    attempt->state = LNT__ATTEMPT_DROPPED;
    return lua_yield(L, 0);
  }
  if (!avm->luv_open) {
    attempt->state = LNT__ATTEMPT_OPENS;
    return lua_yield(L, 0);
  }
  return lnt__attempt_push_cancel(avm, attempt, L);
}

/* pause(serial) -> must it be told? */
static int io_pause(lua_State *L) {
  own(L)->state = LNT__ATTEMPT_WAITS;
  return lua_yield(L, 0);
}

/* wake(serial) -> is it still there? */
static int io_wake(lua_State *L) {
  lnt__avm *avm = lnt__avm_of(L);
  lnt__attempt *attempt = lnt__avm_attempt(avm, serial_at(L, 1));
  if (attempt) lnt__avm_make_ready(avm, attempt);
  lua_pushboolean(L, attempt != NULL);
  return 1;
}

static const char *reason_name(lnt_cancel_reason why) {
  static const char *const names[] = {[LNT_CANCEL_REQUESTED] = "canceled", [LNT_CANCEL_TIMEOUT] = "timeout", [LNT_CANCEL_CLOSED] = "closed",
                                      [LNT__CANCEL_CLOSING] = "closing"};
  return names[why];
}

/* tell(serial) -> why, milliseconds to clean up, was it told before? From here on it knows. */
static int io_tell(lua_State *L) {
  lnt__attempt *attempt = own(L);
  lnt_cancel_reason why = attempt->why ? attempt->why : LNT_CANCEL_REQUESTED;
  bool before = attempt->told;
  attempt->told = true;
  lua_pushstring(L, reason_name(why));
  lua_pushnumber(L, (lua_Number)(lnt__attempt_grace_ns(lnt__avm_of(L), attempt) / 1000000));
  lua_pushboolean(L, before);
  return 3;
}

/* canceled(serial) */
static int io_canceled(lua_State *L) {
  lua_pushboolean(L, lnt__attempt_canceled(lnt__avm_of(L), own(L)) != 0);
  return 1;
}

/* expire(serial): a canceled attempt that still waits is dropped */
static int io_expire(lua_State *L) {
  lnt__avm *avm = lnt__avm_of(L);
  lnt__attempt *attempt = lnt__avm_attempt(avm, serial_at(L, 1));
  if (!attempt || attempt->state != LNT__ATTEMPT_WAITS) return 0;
  attempt->expired = true;
  lnt__avm_make_ready(avm, attempt);
  return 0;
}

/* heartbeat(serial, details) -> canceled */
static int io_heartbeat(lua_State *L) {
  lnt__avm *avm = lnt__avm_of(L);
  lnt__attempt *attempt = own(L);
  lua_settop(L, 2);
  lnt__buf_clear(&avm->beat);
  lnt_status status = lua_isnil(L, 2) ? LNT_OK : lnt__value_encode(L, 2, "details", avm->options.payload_bytes_max, &avm->beat, &avm->err);
  if (status) lnt__value_met(avm->options.met, &avm->err);
  if (status) return luaL_error(L, "act:heartbeat: %s", avm->err.message);
  bool over = avm->options.heartbeat(avm->options.user, attempt->activity.token, (lnt_value){avm->beat.data, avm->beat.size});
  if (over && !lnt__attempt_canceled(avm, attempt)) { /* why, its host will say */
    attempt->why = LNT_CANCEL_REQUESTED;
    attempt->canceled_ns = lnt__coarse_ns();
  }
  lua_pushboolean(L, lnt__attempt_canceled(avm, attempt) != 0);
  return 1;
}

/* later(serial) -> token */
static int io_later(lua_State *L) {
  char text[LNT_TOKEN_TEXT_BYTES];
  lnt__attempt *attempt = own(L);
  if (attempt->pure) return luaL_error(L, "act:complete_later: the activity is declared pure: its token must not leave it");
  attempt->later = true;
  lnt_token_text(attempt->activity.token, text);
  lua_pushstring(L, text);
  return 1;
}

/* field(serial, name) */
static int io_field(lua_State *L) {
  const lnt_activity *activity = &own(L)->activity;
  const char *name = lua_tostring(L, 2);
  if (!name) lua_pushnil(L);
  else if (strcmp(name, "instance_id") == 0) lua_pushstring(L, activity->instance_id);
  else if (strcmp(name, "idempotency_key") == 0) lua_pushstring(L, activity->idempotency_key);
  else if (strcmp(name, "name") == 0) lua_pushstring(L, activity->name);
  else if (strcmp(name, "attempt") == 0) lua_pushnumber(L, activity->token.attempt);
  else lua_pushnil(L);
  return 1;
}

/* log(serial, level, text) */
static int io_log(lua_State *L) {
  lnt__avm *avm = lnt__avm_of(L);
  const lnt_activity *activity = &own(L)->activity;
  size_t size;
  const char *text = luaL_checklstring(L, 3, &size);
  char line[LOG_TEXT_MAX];
  size_t kept = size < sizeof line ? size : sizeof line - 1;
  while (kept > 0 && kept < size && ((unsigned char)text[kept] & 0xc0) == 0x80) kept--;
  memcpy(line, text, kept);
  line[kept] = '\0';
  lnt__avm_log(avm, (lnt_log_level)lua_tointeger(L, 2), activity->instance_id, line);
  return 0;
}

static int unnamed_file(void) {
#ifdef __linux__
  return memfd_create("lunation-stdin", MFD_CLOEXEC);
#else
  char path[] = "/tmp/lunation-XXXXXX";
  int fd = mkstemp(path);
  if (fd >= 0) unlink(path);
  return fd;
#endif
}

/* text_file(data) -> fd at the start of an unnamed file that holds the data, or nil, message. A child reads its standard input from it: a
 * pipe could fill, and writing to one whose reader is gone raises SIGPIPE in the host. */
static int io_text_file(lua_State *L) {
  size_t size, at = 0;
  const char *data = luaL_checklstring(L, 1, &size);
  int fd = unnamed_file();
  while (fd >= 0 && at < size) {
    ssize_t n = write(fd, data + at, size - at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    at += (size_t)n;
  }
  if (fd < 0 || at < size || lseek(fd, 0, SEEK_SET) != 0) {
    int number = errno;
    if (fd >= 0) close(fd);
    lua_pushnil(L);
    lua_pushfstring(L, "errno %d", number);
    return 2;
  }
  lua_pushinteger(L, fd);
  return 1;
}

static int io_close_fd(lua_State *L) {
  close((int)lua_tointeger(L, 1));
  return 0;
}

/* stopping() -> is the watchdog unwinding this attempt? */
static int io_stopping(lua_State *L) {
  lua_pushboolean(L, lnt__avm_of(L)->watch.stop != LNT__STOP_NONE);
  return 1;
}

static int io_native_dir(lua_State *L) {
  lua_pushstring(L, lnt__native_dir());
  return 1;
}

static int io_pid(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)getpid());
  return 1;
}

void lnt__avm_io_functions(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"tell", io_tell}, {"expire", io_expire}, {"heartbeat", io_heartbeat}, {"later", io_later},
      {"enter", io_enter}, {"pause", io_pause},         {"wake", io_wake},         {"canceled", io_canceled}, {"field", io_field},
      {"log", io_log},     {"text_file", io_text_file}, {"close_fd", io_close_fd}, {"pid", io_pid},
      {"stopping", io_stopping}, {"look", lnt__watch_look}, {"native_dir", io_native_dir}, {NULL, NULL},
  };
  luaL_register(L, NULL, functions);
}
