// An actor that counts. Which handlers it has is said in wit/world.wit; sdk/bindings/actor.h declares them, as `exports_…`.
#include <inttypes.h>
#include <string.h>

#include "rivet.h"

static int64_t count(void) {
  actor_list_u8_t key = rivet_bytes("count");
  actor_option_list_u8_t found;
  rivet_actor_types_error_t refused;
  int64_t number = 0;
  if (!rivet_actor_kv_get(&key, &found, &refused)) rivet_crash("a short key was refused");
  if (!found.is_some) return 0;
  if (!rivet_json_integer((actor_string_t){found.val.ptr, found.val.len}, &number)) rivet_crash("what is stored is not a number");
  actor_list_u8_free(&found.val);
  return number;
}

static bool increment(actor_string_t args, actor_string_t *ret, rivet_actor_types_failure_t *err) {
  actor_string_t item;
  int64_t by = 1;
  if (rivet_json_item(args, 0, &item) && !rivet_json_integer(item, &by)) {
    return rivet_fail(err, "invalid_argument", "a whole number is expected");
  }
  *ret = rivet_format("%" PRId64, count() + by);
  actor_list_u8_t key = rivet_bytes("count"), value = {ret->ptr, ret->len};
  rivet_actor_types_error_t refused;
  if (!rivet_actor_kv_put(&key, &value, &refused)) return rivet_refused(&refused, err);
  actor_string_t event = rivet_text("changed"), said = rivet_format("[%.*s]", (int)ret->len, ret->ptr);
  uint32_t reached;
  bool done = rivet_actor_connections_broadcast(&event, &said, &reached, &refused);
  actor_string_free(&said);
  return done || rivet_refused(&refused, err);
}

bool exports_rivet_actor_action_handler_handle(
    exports_rivet_actor_action_handler_call_t *call, actor_string_t *ret, rivet_actor_types_failure_t *err) {
  bool done = true;
  if (rivet_is(call->name, "increment")) {
    done = increment(call->args, ret, err);
  } else if (rivet_is(call->name, "get")) {
    *ret = rivet_format("%" PRId64, count());
  } else {
    done = rivet_fail(err, "action_not_found", "there are increment and get");
  }
  exports_rivet_actor_action_handler_call_free(call);
  return done;
}

void exports_rivet_actor_http_handler_handle(
    exports_rivet_actor_http_handler_request_t *request, exports_rivet_actor_http_handler_response_t *ret) {
  exports_rivet_actor_http_handler_request_free(request);
  actor_string_t body = rivet_format("%" PRId64 "\n", count());
  memset(ret, 0, sizeof *ret);
  ret->status = 200;
  ret->body = (actor_list_u8_t){body.ptr, body.len};
}
