// The counter that also exists in Rust, JavaScript and Python: every feature of an actor, each in a few lines.
//
// What it answers is written down in ../README.md; one test compares the four.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "rivet.h"

#define STEP_MAX 1000000

typedef rivet_actor_types_failure_t failure;
typedef rivet_actor_types_error_t refusal;

// Why it is in memory.
static const char *started = "";

// KV: what is stored is JSON, as in the other three. A refusal here is a mistake of this program.

static bool stored(const char *name, actor_string_t *json) {
  actor_list_u8_t key = rivet_bytes(name);
  actor_option_list_u8_t found;
  refusal refused;
  if (!rivet_actor_kv_get(&key, &found, &refused)) rivet_crash("a short key was refused");
  *json = (actor_string_t){found.val.ptr, found.val.len};
  return found.is_some;
}

static void store(const char *name, actor_string_t json) {
  actor_list_u8_t key = rivet_bytes(name), value = {json.ptr, json.len};
  refusal refused;
  if (!rivet_actor_kv_put(&key, &value, &refused)) rivet_crash("a short value was refused");
}

static int64_t stored_number(const char *name) {
  actor_string_t json;
  int64_t number = 0;
  if (!stored(name, &json)) return 0;
  if (!rivet_json_integer(json, &number)) rivet_crash("what is stored is not a number");
  actor_string_free(&json);
  return number;
}

static void store_number(const char *name, int64_t number) {
  actor_string_t json = rivet_format("%" PRId64, number);
  store(name, json);
  actor_string_free(&json);
}

// The stored JSON, or null; owned.
static actor_string_t stored_or_null(const char *name) {
  actor_string_t json;
  return stored(name, &json) ? json : rivet_format("null");
}

static bool sql_refused(rivet_actor_sql_sql_error_t *error, failure *err) {
  memset(err, 0, sizeof *err);
  err->code = rivet_format("sql_%.*s", (int)error->code.len, error->code.ptr);
  err->message = error->message;
  actor_string_free(&error->code);
  return false;
}

static bool add(int64_t by, int64_t *sum, failure *err) {
  if (by > STEP_MAX || by < -STEP_MAX) return rivet_fail(err, "invalid_argument", "a step has at most 1000000");
  *sum = stored_number("count") + by;
  store_number("count", *sum);

  actor_string_t statement = rivet_text("INSERT INTO history (by, count) VALUES (?, ?)");
  rivet_actor_sql_value_t values[] = {
      {.tag = RIVET_ACTOR_SQL_VALUE_INTEGER, .val.integer = by}, {.tag = RIVET_ACTOR_SQL_VALUE_INTEGER, .val.integer = *sum}};
  rivet_actor_sql_list_value_t parameters = {values, 2};
  rivet_actor_sql_executed_t executed;
  rivet_actor_sql_sql_error_t sql_error;
  if (!rivet_actor_sql_execute(&statement, &parameters, &executed, &sql_error)) return sql_refused(&sql_error, err);
  rivet_actor_sql_executed_free(&executed);

  actor_string_t event = rivet_text("changed"), args = rivet_format("[%" PRId64 "]", *sum);
  uint32_t reached;
  refusal refused;
  bool said = rivet_actor_connections_broadcast(&event, &args, &reached, &refused);
  actor_string_free(&args);
  return said || rivet_refused(&refused, err);
}

// Arguments of the action that runs.

static bool expected(failure *err, const char *what) { return rivet_fail(err, "invalid_argument", what); }

static bool number(actor_string_t args, size_t at, int64_t *to, failure *err) {
  actor_string_t item;
  return (rivet_json_item(args, at, &item) && rivet_json_integer(item, to)) || expected(err, "a whole number is expected");
}

static bool number_or(actor_string_t args, size_t at, int64_t otherwise, int64_t *to, failure *err) {
  actor_string_t item;
  *to = otherwise;
  return !rivet_json_item(args, at, &item) || number(args, at, to, err);
}

// Owned.
static bool text(actor_string_t args, size_t at, actor_string_t *to, failure *err) {
  actor_string_t item;
  return (rivet_json_item(args, at, &item) && rivet_json_text(item, to)) || expected(err, "a text is expected");
}

// The actions.

typedef bool action(actor_string_t args, exports_rivet_actor_action_handler_origin_t *origin, actor_string_t *ret, failure *err);

#define ACTION(name) \
  static bool name(actor_string_t args, exports_rivet_actor_action_handler_origin_t *origin, actor_string_t *ret, failure *err)

ACTION(increment) {
  int64_t by, sum;
  if (!number_or(args, 0, 1, &by, err) || !add(by, &sum, err)) return false;
  *ret = rivet_format("%" PRId64, sum);
  return true;
}

ACTION(get) {
  *ret = rivet_format("%" PRId64, stored_number("count"));
  return true;
}

ACTION(fail) {
  actor_string_t code;
  if (!text(args, 0, &code, err)) return false;
  actor_string_t quoted = rivet_json_quote(code);
  store("failed", quoted);
  rivet_fail(err, "", "failed as asked");
  actor_string_free(&err->code);
  err->code = code;
  err->metadata.is_some = true;
  err->metadata.val = rivet_format("{\"asked\":%.*s}", (int)quoted.len, quoted.ptr);
  actor_string_free(&quoted);
  return false;
}

ACTION(crash) {
  store_number("count", -1);
  rivet_crash("crashed as asked");
}

ACTION(history) {
  actor_string_t statement = rivet_text("SELECT by, count FROM history ORDER BY id");
  rivet_actor_sql_list_value_t none = {NULL, 0};
  rivet_actor_sql_executed_t found;
  rivet_actor_sql_sql_error_t error;
  if (!rivet_actor_sql_execute(&statement, &none, &found, &error)) return sql_refused(&error, err);
  *ret = rivet_format("[");
  for (size_t at = 0; at < found.rows.len; at++) {
    rivet_actor_sql_value_t *row = found.rows.ptr[at].ptr;
    actor_string_t more = rivet_format(
        "%.*s%s{\"by\":%" PRId64 ",\"count\":%" PRId64 "}", (int)ret->len, ret->ptr, at ? "," : "", row[0].val.integer,
        row[1].val.integer);
    actor_string_free(ret);
    *ret = more;
  }
  actor_string_t closed = rivet_format("%.*s]", (int)ret->len, ret->ptr);
  actor_string_free(ret);
  *ret = closed;
  rivet_actor_sql_executed_free(&found);
  return true;
}

ACTION(increment_later) {
  int64_t ms, by;
  if (!number(args, 0, &ms, err) || !number_or(args, 1, 1, &by, err)) return false;
  actor_string_t name = rivet_text("increment"), later = rivet_format("[%" PRId64 "]", by), id;
  refusal refused;
  bool set = rivet_actor_schedule_at(rivet_now_ms() + (uint64_t)ms, &name, &later, &id, &refused);
  actor_string_free(&later);
  if (!set) return rivet_refused(&refused, err);
  *ret = rivet_json_quote(id);
  actor_string_free(&id);
  return true;
}

ACTION(cancel) {
  actor_string_t id;
  bool was;
  refusal refused;
  if (!text(args, 0, &id, err)) return false;
  bool done = rivet_actor_schedule_cancel(&id, &was, &refused);
  actor_string_free(&id);
  if (!done) return rivet_refused(&refused, err);
  *ret = rivet_format(was ? "true" : "false");
  return true;
}

ACTION(every) {
  actor_string_t expression, name = rivet_text("tick"), what = rivet_text("increment"), one = rivet_text("[1]");
  refusal refused;
  if (!text(args, 0, &expression, err)) return false;
  bool done = rivet_actor_schedule_cron(&name, &expression, &what, &one, &refused);
  actor_string_free(&expression);
  if (!done) return rivet_refused(&refused, err);
  *ret = rivet_format("null");
  return true;
}

ACTION(schedules) {
  rivet_actor_schedule_list_entry_t found;
  refusal refused;
  if (!rivet_actor_schedule_list(&found, &refused)) return rivet_refused(&refused, err);
  *ret = rivet_format("[");
  for (size_t at = 0; at < found.len; at++) {
    rivet_actor_schedule_entry_t *entry = &found.ptr[at];
    actor_string_t name = rivet_json_quote(entry->action);
    actor_string_t cron = entry->cron.is_some ? rivet_json_quote(entry->cron.val) : rivet_format("null");
    actor_string_t more = rivet_format(
        "%.*s%s{\"action\":%.*s,\"cron\":%.*s}", (int)ret->len, ret->ptr, at ? "," : "", (int)name.len, name.ptr, (int)cron.len,
        cron.ptr);
    actor_string_free(&name);
    actor_string_free(&cron);
    actor_string_free(ret);
    *ret = more;
  }
  actor_string_t closed = rivet_format("%.*s]", (int)ret->len, ret->ptr);
  actor_string_free(ret);
  *ret = closed;
  rivet_actor_schedule_list_entry_free(&found);
  return true;
}

ACTION(alarm_in) {
  int64_t ms;
  refusal refused;
  if (!number(args, 0, &ms, err)) return false;
  if (!rivet_actor_alarm_set(rivet_now_ms() + (uint64_t)ms, &refused)) return rivet_refused(&refused, err);
  *ret = rivet_format("null");
  return true;
}

ACTION(enqueue) {
  int64_t by;
  uint64_t id, size;
  refusal refused;
  if (!number(args, 0, &by, err)) return false;
  actor_string_t name = rivet_text("add"), body = rivet_format("%" PRId64, by);
  bool done = rivet_actor_queue_push(&name, &body, &id, &refused) && rivet_actor_queue_size(&size, &refused);
  actor_string_free(&body);
  if (!done) return rivet_refused(&refused, err);
  *ret = rivet_format("%" PRIu64, size);
  return true;
}

static bool call_refused(rivet_actor_actors_call_error_t *error, failure *err) {
  err->code = error->code;
  err->message = error->message;
  err->metadata.is_some = error->metadata.is_some;
  err->metadata.val = error->metadata.val;
  actor_string_free(&error->group);
  return false;
}

// An actor of the same name; its key is not copied.
static rivet_actor_actors_target_t other(rivet_actor_context_actor_info_t *me, actor_string_t *key) {
  rivet_actor_actors_target_t target = {.tag = RIVET_ACTOR_ACTORS_TARGET_GET_OR_CREATE};
  target.val.get_or_create.name = me->name;
  target.val.get_or_create.key = (actor_list_string_t){key, 1};
  return target;
}

ACTION(increment_other) {
  actor_string_t key, name = rivet_text("increment");
  int64_t by;
  if (!number_or(args, 1, 1, &by, err) || !text(args, 0, &key, err)) return false;
  rivet_actor_context_actor_info_t me;
  rivet_actor_context_info(&me);
  rivet_actor_actors_target_t target = other(&me, &key);
  actor_string_t passed = rivet_format("[%" PRId64 "]", by);
  rivet_actor_actors_call_error_t error;
  bool done = rivet_actor_actors_call(&target, &name, &passed, NULL, ret, &error);
  actor_string_free(&passed);
  actor_string_free(&key);
  rivet_actor_context_actor_info_free(&me);
  return done || call_refused(&error, err);
}

ACTION(push_other) {
  actor_string_t key, queue = rivet_text("add");
  int64_t by;
  if (!number(args, 1, &by, err) || !text(args, 0, &key, err)) return false;
  rivet_actor_context_actor_info_t me;
  rivet_actor_context_info(&me);
  rivet_actor_actors_target_t target = other(&me, &key);
  actor_string_t body = rivet_format("%" PRId64, by);
  rivet_actor_actors_call_error_t error;
  bool done = rivet_actor_actors_push(&target, &queue, &body, &error);
  actor_string_free(&body);
  actor_string_free(&key);
  rivet_actor_context_actor_info_free(&me);
  if (!done) return call_refused(&error, err);
  *ret = rivet_format("null");
  return true;
}

ACTION(connections) {
  rivet_actor_connections_list_connection_t open;
  rivet_actor_connections_list(&open);
  int clients = 0, sockets = 0;
  for (size_t at = 0; at < open.len; at++) {
    if (open.ptr[at].kind == RIVET_ACTOR_CONNECTIONS_KIND_CLIENT) clients++;
    else sockets++;
  }
  rivet_actor_connections_list_connection_free(&open);
  *ret = rivet_format("{\"clients\":%d,\"sockets\":%d,\"left\":%" PRId64 "}", clients, sockets, stored_number("left"));
  return true;
}

ACTION(me) {
  rivet_actor_connections_connection_t connection;
  if (origin->tag != EXPORTS_RIVET_ACTOR_ACTION_HANDLER_ORIGIN_CONNECTION ||
      !rivet_actor_connections_get(&origin->val.connection, &connection)) {
    *ret = rivet_format("null");
    return true;
  }
  *ret = rivet_json_quote((actor_string_t){connection.state.ptr, connection.state.len});
  actor_string_t event = rivet_text("you"), said = rivet_format("[%.*s]", (int)ret->len, ret->ptr);
  refusal refused;
  bool done = rivet_actor_connections_send_event(&connection.id, &event, &said, &refused);
  actor_string_free(&said);
  rivet_actor_connections_connection_free(&connection);
  return done || rivet_refused(&refused, err);
}

ACTION(setting) {
  actor_string_t name, value;
  if (!text(args, 0, &name, err)) return false;
  if (rivet_actor_config_get(&name, &value)) {
    *ret = rivet_json_quote(value);
    actor_string_free(&value);
  } else {
    *ret = rivet_format("null");
  }
  actor_string_free(&name);
  return true;
}

ACTION(info) {
  rivet_actor_context_actor_info_t me;
  rivet_actor_context_info(&me);
  actor_list_u8_t input;
  bool has_input = rivet_actor_context_input(&input);
  actor_string_t name = rivet_json_quote(me.name), key = rivet_format(me.key.is_some ? "[" : "null");
  for (size_t at = 0; me.key.is_some && at < me.key.val.len; at++) {
    bool last = at + 1 == me.key.val.len;
    actor_string_t part = rivet_json_quote(me.key.val.ptr[at]);
    actor_string_t more = rivet_format("%.*s%.*s%s", (int)key.len, key.ptr, (int)part.len, part.ptr, last ? "]" : ",");
    actor_string_free(&part);
    actor_string_free(&key);
    key = more;
  }
  actor_string_t created_with = has_input ? rivet_json_quote((actor_string_t){input.ptr, input.len}) : rivet_format("null");
  actor_string_t stopped = stored_or_null("stopped"), migrated = stored_or_null("migrated-from"), failed = stored_or_null("failed");
  *ret = rivet_format(
      "{\"name\":%.*s,\"key\":%.*s,\"version\":%" PRIu32
      ",\"input\":%.*s,\"started\":\"%s\",\"stopped\":%.*s,\"migratedFrom\":%.*s,\"failed\":%.*s}",
      (int)name.len, name.ptr, (int)key.len, key.ptr, me.version, (int)created_with.len, created_with.ptr, started, (int)stopped.len,
      stopped.ptr, (int)migrated.len, migrated.ptr, (int)failed.len, failed.ptr);
  actor_string_t done[] = {name, key, created_with, stopped, migrated, failed};
  for (size_t at = 0; at < sizeof done / sizeof *done; at++) actor_string_free(&done[at]);
  if (has_input) actor_list_u8_free(&input);
  rivet_actor_context_actor_info_free(&me);
  return true;
}

ACTION(say) {
  actor_string_t line;
  if (!text(args, 0, &line, err)) return false;
  rivet_actor_logging_log(RIVET_ACTOR_LOGGING_LEVEL_INFO, &line);
  actor_string_free(&line);
  *ret = rivet_format("null");
  return true;
}

ACTION(nap) {
  rivet_actor_context_sleep();
  *ret = rivet_format("null");
  return true;
}

ACTION(remove_actor) {
  rivet_actor_context_destroy();
  *ret = rivet_format("null");
  return true;
}

static const struct {
  const char *name;
  action *run;
} ACTIONS[] = {
    {"increment", increment}, {"get", get}, {"fail", fail}, {"crash", crash}, {"history", history},
    {"incrementLater", increment_later}, {"cancel", cancel}, {"every", every}, {"schedules", schedules}, {"alarmIn", alarm_in},
    {"enqueue", enqueue}, {"incrementOther", increment_other}, {"pushOther", push_other}, {"connections", connections}, {"me", me},
    {"setting", setting}, {"info", info}, {"say", say}, {"nap", nap}, {"remove", remove_actor},
};

bool exports_rivet_actor_action_handler_handle(
    exports_rivet_actor_action_handler_call_t *call, actor_string_t *ret, rivet_actor_types_failure_t *err) {
  bool done = rivet_fail(err, "action_not_found", "there is no such action");
  for (size_t at = 0; at < sizeof ACTIONS / sizeof *ACTIONS; at++) {
    if (!rivet_is(call->name, ACTIONS[at].name)) continue;
    rivet_actor_types_failure_free(err);
    memset(err, 0, sizeof *err);
    done = ACTIONS[at].run(call->args, &call->origin, ret, err);
    break;
  }
  exports_rivet_actor_action_handler_call_free(call);
  return done;
}

// The other handlers.

bool exports_rivet_actor_queue_handler_handle(
    exports_rivet_actor_queue_handler_queued_t *message, exports_rivet_actor_queue_handler_option_json_t *ret,
    rivet_actor_types_failure_t *err) {
  int64_t by, sum;
  bool done = false;
  if (!rivet_is(message->name, "add")) {
    rivet_fail(err, "unknown_queue", "there is only the queue add");
  } else if (!rivet_json_integer(message->body, &by)) {
    rivet_fail(err, "invalid_argument", "what is added is a whole number");
  } else {
    done = add(by, &sum, err);
  }
  if (done) {
    ret->is_some = true;
    ret->val = rivet_format("%" PRId64, sum);
  }
  exports_rivet_actor_queue_handler_queued_free(message);
  return done;
}

bool exports_rivet_actor_connection_handler_connect(
    actor_string_t *id, actor_string_t *maybe_params, actor_list_u8_t *ret, rivet_actor_types_failure_t *err) {
  actor_string_t field, name = {NULL, 0};
  if (!maybe_params || !rivet_json_field(*maybe_params, "name", &field) || !rivet_json_text(field, &name)) {
    name = rivet_format("nobody");
  }
  if (maybe_params) actor_string_free(maybe_params);
  actor_string_free(id);
  if (rivet_is(name, "mallory")) {
    actor_string_free(&name);
    return rivet_fail(err, "refused", "not you");
  }
  *ret = (actor_list_u8_t){name.ptr, name.len};
  return true;
}

void exports_rivet_actor_connection_handler_disconnect(actor_string_t *id) {
  store_number("left", stored_number("left") + 1);
  actor_string_free(id);
}

bool exports_rivet_actor_websocket_handler_open(
    actor_string_t *id, exports_rivet_actor_websocket_handler_open_request_t *request, actor_list_u8_t *ret,
    rivet_actor_types_failure_t *err) {
  bool known = rivet_is(request->path, "/echo");
  exports_rivet_actor_websocket_handler_open_request_free(request);
  actor_string_free(id);
  if (!known) return rivet_fail(err, "no_such_path", "there is only /echo");
  *ret = (actor_list_u8_t){calloc(1, 1), 1};
  return true;
}

void exports_rivet_actor_websocket_handler_receive(actor_string_t *id, rivet_actor_types_message_t *message) {
  rivet_actor_connections_connection_t connection;
  refusal refused;
  if (!rivet_actor_connections_get(id, &connection)) rivet_crash("a message of a socket that is not there");
  uint8_t seen = connection.state.ptr[0] + 1;
  rivet_actor_connections_connection_free(&connection);
  actor_list_u8_t state = {&seen, 1};
  bool done = rivet_actor_connections_set_state(id, &state, &refused);
  if (message->tag == RIVET_ACTOR_TYPES_MESSAGE_TEXT && rivet_is(message->val.text, "count")) {
    rivet_actor_types_message_t answer = {.tag = RIVET_ACTOR_TYPES_MESSAGE_TEXT, .val.text = rivet_format("%d", seen)};
    done = done && rivet_actor_connections_send(id, &answer, &refused);
    rivet_actor_types_message_free(&answer);
  } else if (message->tag == RIVET_ACTOR_TYPES_MESSAGE_TEXT && rivet_is(message->val.text, "close")) {
    uint16_t code = 4000;
    actor_string_t reason = rivet_text("bye");
    done = done && rivet_actor_connections_close(id, &code, &reason, &refused);
  } else {
    done = done && rivet_actor_connections_send(id, message, &refused);
  }
  if (!done) rivet_crash("an echo was refused");
  rivet_actor_types_message_free(message);
  actor_string_free(id);
}

void exports_rivet_actor_websocket_handler_close(actor_string_t *id, uint16_t *maybe_code, actor_string_t *maybe_reason) {
  if (maybe_reason) actor_string_free(maybe_reason);
  actor_string_free(id);
}

static void answer(exports_rivet_actor_http_handler_response_t *ret, uint16_t status, const char *type, actor_string_t body) {
  exports_rivet_actor_http_handler_header_t *header = malloc(sizeof *header);
  if (!header) rivet_crash("no memory");
  actor_string_dup(&header->name, "content-type");
  actor_string_t value = rivet_format("%s", type);
  header->value = (actor_list_u8_t){value.ptr, value.len};
  ret->status = status;
  ret->headers = (exports_rivet_actor_http_handler_list_header_t){header, 1};
  ret->body = (actor_list_u8_t){body.ptr, body.len};
}

void exports_rivet_actor_http_handler_handle(
    exports_rivet_actor_http_handler_request_t *request, exports_rivet_actor_http_handler_response_t *ret) {
  if (!rivet_is(request->path, "/")) {
    answer(ret, 404, "text/plain; charset=utf-8",
        rivet_format("there is only /, and not %.*s", (int)request->path.len, request->path.ptr));
  } else if (!rivet_is(request->method, "GET")) {
    answer(ret, 405, "text/plain; charset=utf-8", rivet_format("use GET"));
  } else {
    answer(ret, 200, "application/json", rivet_format("{\"count\":%" PRId64 "}", stored_number("count")));
  }
  exports_rivet_actor_http_handler_request_free(request);
}

bool exports_rivet_actor_start_handler_start(exports_rivet_actor_start_handler_start_reason_t reason, actor_string_t *err) {
  static const char *const reasons[] = {"created", "woken", "restarted", "upgraded"};
  started = reasons[reason];
  actor_string_t schema = rivet_text(
      "CREATE TABLE IF NOT EXISTS history (id INTEGER PRIMARY KEY, by INTEGER NOT NULL, count INTEGER NOT NULL)");
  rivet_actor_sql_sql_error_t error;
  if (rivet_actor_sql_execute_script(&schema, &error)) return true;
  *err = error.message;
  actor_string_free(&error.code);
  return false;
}

void exports_rivet_actor_stop_handler_stop(exports_rivet_actor_stop_handler_stop_reason_t reason) {
  static const char *const reasons[] = {"\"sleep\"", "\"destroy\"", "\"going-away\""};
  store("stopped", rivet_text(reasons[reason]));
}

bool exports_rivet_actor_migrate_handler_migrate(uint32_t from_version, actor_string_t *err) {
  store_number("migrated-from", from_version);
  return true;
}

bool exports_rivet_actor_alarm_handler_fired(uint64_t scheduled, uint32_t attempt, actor_string_t *err) {
  int64_t sum;
  failure failed;
  if (add(10, &sum, &failed)) return true;
  *err = failed.message;
  actor_string_free(&failed.code);
  return false;
}
