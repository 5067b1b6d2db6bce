// Write stateful actors for rivet-engine in JavaScript: one function for each handler that a world names, and what an actor can call.
//
// Handlers may be async. `throw new Failure(code, message, metadata)` is an answer: what was written before it is kept. Any other
// error is logged with its stack and ends the call as a crash does: nothing is written, and the actor begins anew.
import * as actorsHost from 'rivet:actor/actors@0.2.0';
import * as alarmHost from 'rivet:actor/alarm@0.2.0';
import * as configHost from 'rivet:actor/config@0.2.0';
import * as connectionsHost from 'rivet:actor/connections@0.2.0';
import * as contextHost from 'rivet:actor/context@0.2.0';
import * as kvHost from 'rivet:actor/kv@0.2.0';
import * as loggingHost from 'rivet:actor/logging@0.2.0';
import * as queueHost from 'rivet:actor/queue@0.2.0';
import * as scheduleHost from 'rivet:actor/schedule@0.2.0';
import * as sqlHost from 'rivet:actor/sql@0.2.0';

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const bytes = (value) => (typeof value === 'string' ? encoder.encode(value) : (value ?? new Uint8Array()));

/** What a handler refuses with. A RivetKit client gets it as an `ActorError` of group `user`. */
export class Failure extends Error {
  constructor(code, message = code, metadata = undefined) {
    super(message);
    this.name = 'Failure';
    this.code = code;
    this.metadata = metadata;
  }
}

// JSON with what JSON cannot say, as RivetKit writes it: `["$BigInt", "123"]`.

const tagged = (value) => {
  if (typeof value === 'bigint') return ['$BigInt', String(value)];
  if (value instanceof Uint8Array) return ['$Uint8Array', btoa(Array.from(value, (byte) => String.fromCharCode(byte)).join(''))];
  if (Array.isArray(value)) {
    const items = value.map(tagged);
    const looksTagged = items.length === 2 && typeof value[0] === 'string' && value[0].startsWith('$');
    return looksTagged ? [`$${value[0]}`, items[1]] : items;
  }
  if (value === null || typeof value !== 'object' || typeof value.toJSON === 'function') return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, tagged(inner)]));
};

const untagged = (value) => {
  if (value === null || typeof value !== 'object') return value;
  if (!Array.isArray(value)) return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, untagged(inner)]));
  if (value.length !== 2 || typeof value[0] !== 'string' || !value[0].startsWith('$')) return value.map(untagged);
  const [tag, inner] = value;
  const blob = () => Uint8Array.from(atob(inner), (char) => char.charCodeAt(0));
  switch (tag) {
    case '$BigInt': return BigInt(inner);
    case '$Uint8Array': return blob();
    case '$ArrayBuffer': return blob().buffer;
    case '$Undefined': return undefined;
    case '$Set': return new Set(inner.map(untagged));
    default: return [tag.slice(1), untagged(inner)];
  }
};

const encode = (value) => JSON.stringify(tagged(value)) ?? 'null';
const decode = (text) => (text === undefined ? undefined : untagged(JSON.parse(text)));

// From the engine's calls to handlers.

const crashed = (error) => {
  loggingHost.log('error', `${error?.name ?? 'Error'}: ${error?.message ?? error}\n${error?.stack ?? ''}`);
  // Nothing that a handler may refuse with: the call ends as a trap.
  return null;
};
const failed = (error) => {
  if (!(error instanceof Failure)) return crashed(error);
  const metadata = error.metadata === undefined ? undefined : encode(error.metadata);
  return { code: error.code, message: error.message, metadata };
};
const told = (error) => {
  loggingHost.log('error', `${error?.message ?? error}\n${error?.stack ?? ''}`);
  return String(error?.message ?? error);
};

/** Runs a handler, async or not; `answer` is for what it returns, `refuse` for what it throws. */
const run = (handler, answer, refuse) => {
  const thrown = (error) => { throw refuse(error); };
  try {
    const returned = handler();
    return typeof returned?.then === 'function' ? returned.then(answer).catch(thrown) : answer(returned);
  } catch (error) {
    return thrown(error);
  }
};
const nothing = () => {};

/** `action-handler`: a table of functions. They get the call's arguments; `this` is the call: its name and origin. */
export const actions = (table) => ({
  handle: (call) => run(() => {
    if (!Object.hasOwn(table, call.name)) throw new Failure('action_not_found', `there is no action ${call.name}`);
    return table[call.name].apply({ name: call.name, origin: call.origin }, decode(call.args));
  }, encode, failed),
});

/** `queue-handler`: a table of functions, one for each queue. They get the message's body; `this` is the message. */
export const queues = (table) => ({
  handle: (message) => run(() => {
    if (!Object.hasOwn(table, message.name)) throw new Failure('unknown_queue', `there is no queue ${message.name}`);
    const body = decode(message.body);
    const { id, name, queuedAt, attempt } = message;
    return table[name].call({ id, name, body, queuedAt: Number(queuedAt), attempt }, body);
  }, (answer) => (answer === undefined ? undefined : encode(answer)), failed),
});

/** `connection-handler`: what `connect` returns, text or bytes, is the connection's state. */
export const connectionEvents = ({ connect = nothing, disconnect = nothing }) => ({
  connect: (id, params) => run(() => connect(id, decode(params)), bytes, failed),
  disconnect: (id) => run(() => disconnect(id), nothing, crashed),
});

/** `websocket-handler`: what `open` returns, text or bytes, is the connection's state. Messages are text or bytes. */
export const webSockets = ({ open = nothing, receive, close = nothing }) => ({
  open: (id, request) => run(() => open(id, { ...request, headers: headersIn(request.headers) }), bytes, failed),
  receive: (id, message) => run(() => receive(id, message.val), nothing, crashed),
  close: (id, code, reason) => run(() => close(id, code, reason), nothing, crashed),
});

/** `http-handler`: takes `{ method, path, query, headers, body }`, returns `{ status, headers, body }`; a body is text or bytes. */
export const http = (handler) => ({
  handle: (request) => run(
    () => handler({ ...request, headers: headersIn(request.headers) }),
    ({ status = 200, headers = {}, body }) => ({
      status,
      headers: Object.entries(headers).map(([name, value]) => ({ name: name.toLowerCase(), value: bytes(value) })),
      body: bytes(body),
    }),
    crashed,
  ),
});

/** An answer of an http handler. */
export const jsonResponse = (value, status = 200) => ({ status, headers: { 'content-type': 'application/json' }, body: JSON.stringify(value) });
export const textResponse = (text, status = 200) => ({ status, headers: { 'content-type': 'text/plain; charset=utf-8' }, body: text });

const headersIn = (headers) => Object.fromEntries(headers.map(({ name, value }) => [name, decoder.decode(value)]));

/** `start-handler`. An error stops the actor. */
export const start = (handler) => ({ start: (reason) => run(() => handler(reason), nothing, told) });
/** `stop-handler`. */
export const stop = (handler) => ({ stop: (reason) => run(() => handler(reason), nothing, crashed) });
/** `migrate-handler`. An error leaves the actor with the version that it had. */
export const migrate = (handler) => ({ migrate: (fromVersion) => run(() => handler(fromVersion), nothing, told) });
/** `alarm-handler`. An error lets the alarm fire again later. */
export const alarms = (handler) => ({ fired: (scheduled, attempt) => run(() => handler(Number(scheduled), attempt), nothing, told) });

// What an actor can call. What the host refuses is thrown as a Failure, whose code says why.

const REFUSALS = { 'invalid-argument': 'invalid_argument', 'too-large': 'too_large', 'quota-exceeded': 'quota_exceeded', other: 'refused' };
const asked = (question) => {
  try {
    return question();
  } catch (error) {
    const refusal = error?.payload;
    if (typeof refusal?.tag !== 'string') throw error;
    throw new Failure(REFUSALS[refusal.tag] ?? 'refused', refusal.val);
  }
};
const array = (args) => encode(args ?? []);

/** The actor's own key-value state, ordered by the bytes of the key. Keys and values are text or bytes. */
export const kv = {
  get: (key) => asked(() => kvHost.get(bytes(key))),
  put: (key, value) => asked(() => kvHost.put(bytes(key), bytes(value))),
  delete: (key) => asked(() => kvHost.delete(bytes(key))),
  /** Entries whose keys begin with the prefix, or lie from `start` up to `end`; all of them without either. */
  list: ({ prefix, start: from, end, reverse = false, limit, keysOnly = false } = {}) => {
    const range = () => ({ tag: 'range', val: { start: bytes(from), end: end === undefined ? undefined : bytes(end) } });
    const selector = prefix !== undefined ? { tag: 'prefix', val: bytes(prefix) } : from === undefined && end === undefined ? { tag: 'all' } : range();
    return asked(() => kvHost.list(selector, { reverse, limit, keysOnly }));
  },
  /** A value that `putJson` wrote. */
  getJson: (key) => {
    const value = kv.get(key);
    return value === undefined ? undefined : decode(decoder.decode(value));
  },
  putJson: (key, value) => kv.put(key, encode(value)),
};

const sqlValue = (value) => {
  switch (typeof value) {
    case 'string': return { tag: 'text', val: value };
    case 'bigint': return { tag: 'integer', val: value };
    case 'boolean': return { tag: 'integer', val: value ? 1n : 0n };
    case 'number': return Number.isSafeInteger(value) ? { tag: 'integer', val: BigInt(value) } : { tag: 'real', val: value };
    default: return value instanceof Uint8Array ? { tag: 'blob', val: value } : { tag: 'null' };
  }
};
const fromSql = ({ tag, val }) => {
  if (tag === 'null') return null;
  return tag === 'integer' && Number.isSafeInteger(Number(val)) ? Number(val) : val;
};
const askedSql = (question) => {
  try {
    return question();
  } catch (error) {
    const refusal = error?.payload;
    if (typeof refusal?.code !== 'string') throw error;
    throw new Failure(`sql_${refusal.code}`, refusal.message);
  }
};

/** The actor's own SQLite database. What one call does in it is one transaction, together with all else that the call writes. */
export const sql = {
  /** Exactly one statement. The rows are objects. */
  execute: (statement, ...parameters) => {
    const { columns, rows, changes, lastInsertRowId } = askedSql(() => sqlHost.execute(statement, parameters.map(sqlValue)));
    return {
      columns,
      rows: rows.map((row) => Object.fromEntries(row.map((value, at) => [columns[at], fromSql(value)]))),
      changes: Number(changes),
      lastInsertRowId: lastInsertRowId === undefined ? undefined : fromSql({ tag: 'integer', val: lastInsertRowId }),
    };
  },
  /** Any number of statements without parameters: for a schema. */
  script: (statements) => askedSql(() => sqlHost.executeScript(statements)),
};

/** Actions that the engine calls by itself. Moments are milliseconds since 1970. */
export const schedule = {
  at: (moment, action, args) => asked(() => scheduleHost.at(BigInt(Math.trunc(moment)), action, array(args))),
  cron: (name, expression, action, args) => asked(() => scheduleHost.cron(name, expression, action, array(args))),
  cancel: (id) => asked(() => scheduleHost.cancel(id)),
  list: () => asked(() => scheduleHost.list()).map((entry) => ({ ...entry, args: decode(entry.args), nextAt: Number(entry.nextAt) })),
};

/** The one moment at which `alarms` is called. Milliseconds since 1970. */
export const alarm = {
  set: (moment) => asked(() => alarmHost.set(BigInt(Math.trunc(moment)))),
  get: () => { const moment = alarmHost.get(); return moment === undefined ? undefined : Number(moment); },
  clear: () => asked(() => alarmHost.clear()),
};

/** The actor's own durable queue. */
export const queue = {
  push: (name, body) => Number(asked(() => queueHost.push(name, encode(body)))),
  size: () => Number(asked(() => queueHost.size())),
};

const connectionOut = (connection) => connection && { ...connection, params: decode(connection.params), connectedAt: Number(connection.connectedAt) };

/** The sockets that clients have open to this actor. */
export const connections = {
  get: (id) => connectionOut(connectionsHost.get(id)),
  list: () => connectionsHost.list().map(connectionOut),
  /** An event to every RivetKit client that has subscribed to it; how many have. */
  broadcast: (event, ...args) => asked(() => connectionsHost.broadcast(event, encode(args))),
  sendEvent: (id, event, ...args) => asked(() => connectionsHost.sendEvent(id, event, encode(args))),
  /** A message to one WebSocket: text or bytes. */
  send: (id, message) => asked(() => connectionsHost.send(id, { tag: typeof message === 'string' ? 'text' : 'binary', val: message })),
  setState: (id, state) => asked(() => connectionsHost.setState(id, bytes(state))),
  close: (id, code, reason) => asked(() => connectionsHost.close(id, code, reason)),
};

const called = (question) => {
  try {
    return question();
  } catch (error) {
    const refusal = error?.payload;
    if (typeof refusal?.code !== 'string') throw error;
    const failure = new Failure(refusal.code, refusal.message, decode(refusal.metadata));
    failure.group = refusal.group;
    throw failure;
  }
};
const target = (to) => {
  if (to.id !== undefined) return { tag: 'id', val: to.id };
  const { name, key = [], create = true, input } = to;
  return create ? { tag: 'get-or-create', val: { name, key, input } } : { tag: 'get', val: { name, key } };
};

/** Other actors: `{ id }`, or `{ name, key, create = true, input }`. What refuses is thrown as a Failure with a `group`. */
export const actors = {
  call: (to, action, args, timeoutMs) => decode(called(() => actorsHost.call(target(to), action, array(args), timeoutMs))),
  push: (to, name, body) => called(() => actorsHost.push(target(to), name, encode(body))),
};

/** Who this actor is, and what becomes of it after the running handler. */
export const context = {
  info: () => { const info = contextHost.info(); return { ...info, createdAt: Number(info.createdAt) }; },
  input: () => contextHost.input(),
  sleep: () => contextHost.sleep(),
  destroy: () => contextHost.destroy(),
  keepAwake: (forMs) => contextHost.keepAwake(BigInt(Math.trunc(forMs))),
};

/** Settings and secrets of the deployment. */
export const config = { get: (name) => configHost.get(name), names: () => configHost.names() };

/** Lines for the actor's own log. */
export const log = Object.fromEntries(['trace', 'debug', 'info', 'warn', 'error'].map((level) => [level, (line) => loggingHost.log(level, String(line))]));
