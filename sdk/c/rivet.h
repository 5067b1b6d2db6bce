// What an actor in C needs beside the generated bindings: texts, JSON, failures, the time.
//
// Whose memory it is: what the host returns and what an export is given belongs to the actor, which frees it with the `_free` function
// of its type; what an export returns is freed after it was read. A function here that gives away memory says "owned".
#ifndef RIVET_H
#define RIVET_H

#include "bindings/actor.h"

// A text of the program, to be passed to the host. Never freed.
actor_string_t rivet_text(const char *text);
// The same as bytes.
actor_list_u8_t rivet_bytes(const char *text);
bool rivet_is(actor_string_t text, const char *other);
// As printf does it; owned.
actor_string_t rivet_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

// A line in the actor's log.
void rivet_log(rivet_actor_logging_level_t level, const char *format, ...) __attribute__((format(printf, 2, 3)));
// Logs why, and ends the call: nothing of it is written, and the actor begins anew.
_Noreturn void rivet_crash(const char *why);
// Milliseconds since 1970. The world imports wasi:clocks/wall-clock@0.2.0 for it.
uint64_t rivet_now_ms(void);

// Fills in a failure, and answers false: `return rivet_fail(failure, "too_many", "at most 3");`
bool rivet_fail(rivet_actor_types_failure_t *failure, const char *code, const char *message);
// The same with what the host refused, which is freed. Answers false.
bool rivet_refused(rivet_actor_types_error_t *error, rivet_actor_types_failure_t *failure);

// JSON that the engine wrote, so it is well formed. Items and fields are parts of the text they are in: not owned.

// The item at this place; false if there are fewer, or if it is null.
bool rivet_json_item(actor_string_t array, size_t index, actor_string_t *item);
// The field of this name; false if there is none, or if it is null, or if this is no object.
bool rivet_json_field(actor_string_t object, const char *name, actor_string_t *field);
// False if it is anything but a whole number of at most 18 digits.
bool rivet_json_integer(actor_string_t json, int64_t *integer);
// The text without its quotes and escapes, owned; false if it is anything but a text.
bool rivet_json_text(actor_string_t json, actor_string_t *text);
// With quotes and escapes; owned.
actor_string_t rivet_json_quote(actor_string_t text);

#endif
