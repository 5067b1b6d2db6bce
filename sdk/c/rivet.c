// The helpers of rivet.h, and a handler of each kind for actors that have none of their own.
#include "rivet.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

actor_string_t rivet_text(const char *text) { return (actor_string_t){(uint8_t *)text, strlen(text)}; }

actor_list_u8_t rivet_bytes(const char *text) { return (actor_list_u8_t){(uint8_t *)text, strlen(text)}; }

bool rivet_is(actor_string_t text, const char *other) {
  return text.len == strlen(other) && memcmp(text.ptr, other, text.len) == 0;
}

static void *allocate(size_t size) {
  // The bindings take a pointer of nothing for a text that is not there.
  void *memory = malloc(size ? size : 1);
  if (!memory) abort();
  return memory;
}

static actor_string_t formatted(const char *format, va_list arguments) {
  va_list again;
  va_copy(again, arguments);
  size_t length = (size_t)vsnprintf(NULL, 0, format, arguments);
  char *text = allocate(length + 1);
  vsnprintf(text, length + 1, format, again);
  va_end(again);
  return (actor_string_t){(uint8_t *)text, length};
}

actor_string_t rivet_format(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  actor_string_t text = formatted(format, arguments);
  va_end(arguments);
  return text;
}

void rivet_log(rivet_actor_logging_level_t level, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  actor_string_t line = formatted(format, arguments);
  va_end(arguments);
  rivet_actor_logging_log(level, &line);
  actor_string_free(&line);
}

_Noreturn void rivet_crash(const char *why) {
  rivet_log(RIVET_ACTOR_LOGGING_LEVEL_ERROR, "crashed: %s", why);
  __builtin_trap();
}

uint64_t rivet_now_ms(void) {
  wasi_clocks_wall_clock_datetime_t now;
  wasi_clocks_wall_clock_now(&now);
  return now.seconds * 1000 + now.nanoseconds / 1000000;
}

bool rivet_fail(rivet_actor_types_failure_t *failure, const char *code, const char *message) {
  memset(failure, 0, sizeof *failure);
  actor_string_dup(&failure->code, code);
  actor_string_dup(&failure->message, message);
  return false;
}

bool rivet_refused(rivet_actor_types_error_t *error, rivet_actor_types_failure_t *failure) {
  static const char *const codes[] = {"invalid_argument", "too_large", "quota_exceeded", "refused"};
  memset(failure, 0, sizeof *failure);
  actor_string_dup(&failure->code, codes[error->tag]);
  // Every case has a text, at the same place.
  failure->message = error->val.other;
  return false;
}

// JSON: a cursor that stays within the text, whatever the text is.

typedef struct {
  const uint8_t *at, *end;
} cursor;

static void skip_space(cursor *c) {
  while (c->at < c->end && (*c->at == ' ' || *c->at == '\t' || *c->at == '\n' || *c->at == '\r')) c->at++;
}

static bool take(cursor *c, uint8_t byte) {
  skip_space(c);
  if (c->at == c->end || *c->at != byte) return false;
  c->at++;
  return true;
}

// Over the opening quote and all that follows up to and with the closing one.
static void skip_text(cursor *c) {
  for (c->at++; c->at < c->end && *c->at != '"'; c->at++) {
    if (*c->at == '\\' && c->at + 1 < c->end) c->at++;
  }
  if (c->at < c->end) c->at++;
}

static actor_string_t value(cursor *c) {
  skip_space(c);
  const uint8_t *start = c->at;
  for (size_t depth = 0; c->at < c->end;) {
    uint8_t byte = *c->at;
    if (byte == '"') {
      skip_text(c);
    } else if (depth == 0 && (byte == ',' || byte == ']' || byte == '}')) {
      break;
    } else {
      if (byte == '[' || byte == '{') depth++;
      if (byte == ']' || byte == '}') depth--;
      c->at++;
    }
  }
  const uint8_t *end = c->at;
  while (end > start && end[-1] <= ' ') end--;
  return (actor_string_t){(uint8_t *)start, (size_t)(end - start)};
}

bool rivet_json_item(actor_string_t array, size_t index, actor_string_t *item) {
  cursor c = {array.ptr, array.ptr + array.len};
  if (!take(&c, '[')) return false;
  for (size_t at = 0;; at++) {
    actor_string_t found = value(&c);
    if (at == index) {
      *item = found;
      return found.len > 0 && !rivet_is(found, "null");
    }
    if (!take(&c, ',')) return false;
  }
}

bool rivet_json_field(actor_string_t object, const char *name, actor_string_t *field) {
  cursor c = {object.ptr, object.ptr + object.len};
  if (!take(&c, '{')) return false;
  do {
    skip_space(&c);
    if (c.at == c.end || *c.at != '"') return false;
    const uint8_t *start = c.at;
    skip_text(&c);
    actor_string_t key = {(uint8_t *)start, (size_t)(c.at - start)}, plain;
    if (!take(&c, ':')) return false;
    actor_string_t found = value(&c);
    bool same = rivet_json_text(key, &plain) && rivet_is(plain, name);
    actor_string_free(&plain);
    if (same) {
      *field = found;
      return !rivet_is(found, "null");
    }
  } while (take(&c, ','));
  return false;
}

bool rivet_json_integer(actor_string_t json, int64_t *integer) {
  size_t at = json.len > 0 && json.ptr[0] == '-';
  if (json.len == at || json.len - at > 18) return false;
  int64_t sum = 0;
  for (size_t digit = at; digit < json.len; digit++) {
    if (json.ptr[digit] < '0' || json.ptr[digit] > '9') return false;
    sum = sum * 10 + (json.ptr[digit] - '0');
  }
  *integer = at ? -sum : sum;
  return true;
}

static uint32_t hex(const uint8_t *four) {
  uint32_t sum = 0;
  for (int at = 0; at < 4; at++) {
    uint8_t digit = four[at];
    sum = sum * 16 + (digit <= '9' ? digit - '0' : (digit | 0x20) - 'a' + 10u);
  }
  return sum;
}

static uint8_t *put_utf8(uint8_t *to, uint32_t code) {
  if (code < 0x80) {
    *to++ = (uint8_t)code;
  } else if (code < 0x800) {
    *to++ = (uint8_t)(0xc0 | code >> 6);
    *to++ = (uint8_t)(0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    *to++ = (uint8_t)(0xe0 | code >> 12);
    *to++ = (uint8_t)(0x80 | (code >> 6 & 0x3f));
    *to++ = (uint8_t)(0x80 | (code & 0x3f));
  } else {
    *to++ = (uint8_t)(0xf0 | code >> 18);
    *to++ = (uint8_t)(0x80 | (code >> 12 & 0x3f));
    *to++ = (uint8_t)(0x80 | (code >> 6 & 0x3f));
    *to++ = (uint8_t)(0x80 | (code & 0x3f));
  }
  return to;
}

bool rivet_json_text(actor_string_t json, actor_string_t *text) {
  *text = (actor_string_t){NULL, 0};
  if (json.len < 2 || json.ptr[0] != '"') return false;
  const uint8_t *at = json.ptr + 1, *end = json.ptr + json.len - 1;
  // An escape is never shorter than what it stands for.
  uint8_t *start = allocate(json.len), *to = start;
  while (at < end) {
    if (*at != '\\') {
      *to++ = *at++;
      continue;
    }
    if (++at == end) break;
    uint8_t escape = *at++;
    switch (escape) {
      case 'b': *to++ = '\b'; break;
      case 'f': *to++ = '\f'; break;
      case 'n': *to++ = '\n'; break;
      case 'r': *to++ = '\r'; break;
      case 't': *to++ = '\t'; break;
      case 'u': {
        if (end - at < 4) break;
        uint32_t code = hex(at);
        at += 4;
        if (code >> 10 == 0x36 && end - at >= 6 && at[0] == '\\' && at[1] == 'u' && hex(at + 2) >> 10 == 0x37) {
          code = 0x10000 + ((code & 0x3ff) << 10) + (hex(at + 2) & 0x3ff);
          at += 6;
        }
        // Half of a pair is no character: the replacement for one.
        to = put_utf8(to, code >> 11 == 0x1b ? 0xfffd : code);
        break;
      }
      default: *to++ = escape;
    }
  }
  *text = (actor_string_t){start, (size_t)(to - start)};
  return true;
}

actor_string_t rivet_json_quote(actor_string_t text) {
  uint8_t *start = allocate(text.len * 6 + 2), *to = start;
  *to++ = '"';
  for (size_t at = 0; at < text.len; at++) {
    uint8_t byte = text.ptr[at];
    if (byte < ' ') {
      static const char digits[] = "0123456789abcdef";
      memcpy(to, "\\u00", 4);
      to[4] = (uint8_t)digits[byte >> 4];
      to[5] = (uint8_t)digits[byte & 15];
      to += 6;
      continue;
    }
    if (byte == '"' || byte == '\\') *to++ = '\\';
    *to++ = byte;
  }
  *to++ = '"';
  return (actor_string_t){start, (size_t)(to - start)};
}

// The bindings ask for an object with the type of a world that has everything. The type of this actor's own is embedded afterwards.
void __component_type_object_force_link_actor(void) {}

// The bindings are for all handlers. Those that an actor does not define, and its world does not name, are these: never called.

#define ABSENT __attribute__((weak))

ABSENT bool exports_rivet_actor_migrate_handler_migrate(uint32_t from_version, actor_string_t *err) { __builtin_trap(); }
ABSENT bool exports_rivet_actor_start_handler_start(exports_rivet_actor_start_handler_start_reason_t reason, actor_string_t *err) {
  __builtin_trap();
}
ABSENT void exports_rivet_actor_stop_handler_stop(exports_rivet_actor_stop_handler_stop_reason_t reason) { __builtin_trap(); }
ABSENT bool exports_rivet_actor_alarm_handler_fired(uint64_t scheduled, uint32_t attempt, actor_string_t *err) { __builtin_trap(); }
ABSENT bool exports_rivet_actor_action_handler_handle(
    exports_rivet_actor_action_handler_call_t *call, actor_string_t *ret, rivet_actor_types_failure_t *err) {
  __builtin_trap();
}
ABSENT bool exports_rivet_actor_queue_handler_handle(
    exports_rivet_actor_queue_handler_queued_t *message, exports_rivet_actor_queue_handler_option_json_t *ret,
    rivet_actor_types_failure_t *err) {
  __builtin_trap();
}
ABSENT bool exports_rivet_actor_connection_handler_connect(
    actor_string_t *id, actor_string_t *maybe_params, actor_list_u8_t *ret, rivet_actor_types_failure_t *err) {
  __builtin_trap();
}
ABSENT void exports_rivet_actor_connection_handler_disconnect(actor_string_t *id) { __builtin_trap(); }
ABSENT bool exports_rivet_actor_websocket_handler_open(
    actor_string_t *id, exports_rivet_actor_websocket_handler_open_request_t *request, actor_list_u8_t *ret,
    rivet_actor_types_failure_t *err) {
  __builtin_trap();
}
ABSENT void exports_rivet_actor_websocket_handler_receive(actor_string_t *id, rivet_actor_types_message_t *message) { __builtin_trap(); }
ABSENT void exports_rivet_actor_websocket_handler_close(actor_string_t *id, uint16_t *maybe_code, actor_string_t *maybe_reason) {
  __builtin_trap();
}
ABSENT void exports_rivet_actor_http_handler_handle(
    exports_rivet_actor_http_handler_request_t *request, exports_rivet_actor_http_handler_response_t *ret) {
  __builtin_trap();
}
