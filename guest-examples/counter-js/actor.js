// The counter that also exists in Rust, Python and C: every feature of an actor, each in a few lines.
//
// What it answers is written down in ../README.md; one test compares the four.
import {
  Failure, actions, actors, alarm, alarms, config, connectionEvents, connections, context, http, jsonResponse, kv, log, migrate, queue,
  queues, schedule, sql, start, stop, textResponse, webSockets,
} from '../../sdk/js/rivet-actor.js';

const STEP_MAX = 1_000_000;
const text = (bytes) => bytes && new TextDecoder().decode(bytes);

/** Why it is in memory. */
let started;

const whole = (value) => {
  if (!Number.isInteger(value)) throw new Failure('invalid_argument', `a whole number is expected, and not ${JSON.stringify(value)}`);
  return value;
};
const string = (value) => {
  if (typeof value !== 'string') throw new Failure('invalid_argument', `a text is expected, and not ${JSON.stringify(value)}`);
  return value;
};
const count = () => kv.getJson('count') ?? 0;

function add(by) {
  if (Math.abs(whole(by)) > STEP_MAX) throw new Failure('invalid_argument', `a step has at most ${STEP_MAX}`);
  const sum = count() + by;
  kv.putJson('count', sum);
  sql.execute('INSERT INTO history (by, count) VALUES (?, ?)', by, sum);
  connections.broadcast('changed', sum);
  return sum;
}

export const actionHandler = actions({
  increment: (by) => add(by ?? 1),
  get: () => count(),
  fail(code) {
    kv.putJson('failed', string(code));
    throw new Failure(code, 'failed as asked', { asked: code });
  },
  crash() {
    kv.putJson('count', -1);
    throw new Error('crashed as asked');
  },
  history: () => sql.execute('SELECT by, count FROM history ORDER BY id').rows,
  incrementLater: (ms, by) => schedule.at(Date.now() + whole(ms), 'increment', [by ?? 1]),
  cancel: (id) => schedule.cancel(string(id)),
  every: (expression) => schedule.cron('tick', string(expression), 'increment', [1]),
  schedules: () => schedule.list().map(({ action, cron }) => ({ action, cron: cron ?? null })),
  alarmIn: (ms) => alarm.set(Date.now() + whole(ms)),
  enqueue(by) {
    queue.push('add', whole(by));
    return queue.size();
  },
  incrementOther: (key, by) => actors.call({ name: context.info().name, key: [string(key)] }, 'increment', [by ?? 1]),
  pushOther: (key, by) => actors.push({ name: context.info().name, key: [string(key)] }, 'add', whole(by)),
  connections() {
    const of = (kind) => connections.list().filter((connection) => connection.kind === kind).length;
    return { clients: of('client'), sockets: of('websocket'), left: kv.getJson('left') ?? 0 };
  },
  me() {
    if (this.origin.tag !== 'connection') return null;
    const state = text(connections.get(this.origin.val).state);
    connections.sendEvent(this.origin.val, 'you', state);
    return state;
  },
  setting: (name) => config.get(string(name)) ?? null,
  info() {
    const { name, key, version } = context.info();
    const stored = (what) => kv.getJson(what) ?? null;
    return {
      name, key: key ?? null, version, started,
      input: text(context.input()) ?? null,
      stopped: stored('stopped'), migratedFrom: stored('migrated-from'), failed: stored('failed'),
    };
  },
  say: (line) => log.info(string(line)),
  nap: () => context.sleep(),
  remove: () => context.destroy(),
});

export const queueHandler = queues({ add });

export const connectionHandler = connectionEvents({
  connect(_id, params) {
    const name = params?.name ?? 'nobody';
    if (name === 'mallory') throw new Failure('refused', 'not you');
    return name;
  },
  disconnect: () => kv.putJson('left', (kv.getJson('left') ?? 0) + 1),
});

export const websocketHandler = webSockets({
  open(_id, { path }) {
    if (path !== '/echo') throw new Failure('no_such_path', `there is only /echo, and not ${path}`);
    return new Uint8Array([0]);
  },
  receive(id, message) {
    const seen = connections.get(id).state[0] + 1;
    connections.setState(id, new Uint8Array([seen]));
    if (message === 'count') connections.send(id, String(seen));
    else if (message === 'close') connections.close(id, 4000, 'bye');
    else connections.send(id, message);
  },
});

export const httpHandler = http(({ method, path }) => {
  if (path !== '/') return textResponse(`there is only /, and not ${path}`, 404);
  return method === 'GET' ? jsonResponse({ count: count() }) : textResponse('use GET', 405);
});

export const startHandler = start((reason) => {
  started = reason;
  sql.script('CREATE TABLE IF NOT EXISTS history (id INTEGER PRIMARY KEY, by INTEGER NOT NULL, count INTEGER NOT NULL)');
});

export const stopHandler = stop((reason) => kv.putJson('stopped', reason));

export const migrateHandler = migrate((fromVersion) => kv.putJson('migrated-from', fromVersion));

export const alarmHandler = alarms(() => { add(10); });
