// kill -9 of the engine, of an app, and of both, in the middle of work.
import assert from "node:assert/strict";
import { Engine, key, pause, test, until } from "./harness.mjs";

const engine = await Engine.start();
let app = await engine.app();
const client = engine.client();

/// Milliseconds until `call` answers; each try is given up after a while.
async function timeUntil(what, call, within = 60_000) {
	const started = Date.now();
	await until(what, () => Promise.race([call(), pause(5_000).then(() => assert.fail("no answer"))]), within);
	return Date.now() - started;
}

test("an actor goes on in the same life after the engine was killed", async (t) => {
	const counter = client.counter.getOrCreate([key()]);
	await counter.add(5);
	await counter.save();
	await engine.crashAndRestart();
	const took = await timeUntil("the actor answers", () => counter.add(1).then(() => true), 30_000);
	t.diagnostic(`answered ${took} ms after the engine was healthy`);
	const { count, wakes } = await counter.state();
	assert.equal(wakes, 1);
	assert.ok(count >= 6);
	assert.equal((await counter.where()).pid, app.pid);
});

test("a sleeping actor, its key and its state survive the engine's death", async (t) => {
	const k = key();
	const counter = client.counter.getOrCreate([k]);
	await counter.add(7);
	const id = await counter.resolve();
	await engine.sleepIn(app, id);
	await engine.crashAndRestart();
	assert.ok((await engine.actor(id)).sleep_ts);
	assert.equal(await client.counter.getOrCreate([k]).resolve(), id);
	const took = await timeUntil("the actor answers", async () => (await counter.count()) === 7, 45_000);
	t.diagnostic(`answered ${took} ms after the engine was healthy`);
	assert.ok(took < 10_000, `answered ${took} ms after the engine was healthy`);
});

test("a connection is closed by the engine's death, and a new one works", async (t) => {
	const handle = client.counter.getOrCreate([key()]);
	// Not the same one: RivetKit's own attempt comes while the engine is still dead, and it makes no second.
	const heard = [];
	const connect = () => {
		const connection = handle.connect();
		connection.on("changed", (count) => heard.push(count));
		return connection;
	};
	const first = connect();
	await first.add(1);
	await until("the first event", () => heard.length === 1);
	let closed = false;
	first.onClose(() => (closed = true));
	await engine.crash();
	await until("the connection is closed", () => closed);
	await engine.launch();
	const healthy = Date.now();
	const second = connect();
	await second.add(1);
	t.diagnostic(`answered ${Date.now() - healthy} ms after the engine was healthy`);
	await until("the event", () => heard.length === 2);
	await second.dispose();
});

test("what SQLite has acknowledged survives the engine's death in the middle of writes", async () => {
	const notes = client.notes.getOrCreate([key()]);
	await notes.insert("0");
	let acknowledged = 1;
	const killed = pause(400).then(() => engine.crash());
	while (!engine.process.gone) {
		const done = await Promise.race([notes.insert(String(acknowledged)).then(() => true, () => false), engine.process.exited.then(() => false)]);
		if (done) acknowledged += 1;
	}
	await killed;
	await engine.launch();
	const rows = await until("the database answers", () => Promise.race([notes.all(), pause(5_000).then(() => null)]), 60_000);
	assert.ok(rows.length >= acknowledged, `${rows.length} rows of ${acknowledged} acknowledged`);
	assert.deepEqual(rows.slice(0, acknowledged).map((row) => row.text), Array.from({ length: acknowledged }, (_, n) => String(n)));
}, { timeout: 90_000 });

test("an alarm that came due while the engine was dead runs soon after its start", async (t) => {
	const timer = client.timer.getOrCreate([key()]);
	const due = Date.now() + 1_500;
	await timer.at(due, "overdue");
	await timer.nap();
	await engine.stopped(app, await timer.resolve());
	const id = await timer.resolve();
	await engine.crash();
	await until("it is overdue", () => Date.now() > due + 500);
	await engine.launch();
	// When an app comes back is its own affair: it waits longer each time that its connection breaks.
	await engine.connected();
	const back = Date.now();
	await until("the alarm wakes it", async () => (await engine.actor(id)).connectable_ts, 45_000);
	await until("it ran", async () => (await timer.ran()).length === 1);
	const late = (await timer.ran())[0].at - back;
	t.diagnostic(`ran ${late} ms after the app was back`);
	assert.ok(late < 2_000, `ran ${late} ms after the app was back`);
});

test("another app takes over after an app was killed", async (t) => {
	const notes = client.notes.getOrCreate([key()]);
	await notes.insert("before");
	const second = await engine.app();
	await app.crash();
	const took = await timeUntil("the actor answers", async () => (await notes.all()).length === 1);
	t.diagnostic(`answered ${took} ms after the app was killed`);
	assert.equal((await notes.where()).pid, second.pid);
	await notes.insert("after");
	assert.deepEqual((await notes.all()).map((note) => note.text), ["before", "after"]);
	app = second;
}, { timeout: 90_000 });

test("an app that was killed and started again serves its actors", async (t) => {
	const notes = client.notes.getOrCreate([key()]);
	await notes.insert("before");
	await app.crash();
	const killed = Date.now();
	app = await engine.app();
	await timeUntil("the actor answers", async () => (await notes.all()).length === 1);
	t.diagnostic(`answered ${Date.now() - killed} ms after the app was killed`);
	assert.equal((await notes.where()).pid, app.pid);
}, { timeout: 90_000 });

test("a sleeping actor wakes at once in a new app", async (t) => {
	const notes = client.notes.getOrCreate([key()]);
	await notes.insert("before");
	await engine.sleepIn(app, await notes.resolve());
	await app.crash();
	app = await engine.app();
	const took = await timeUntil("the actor answers", async () => (await notes.all()).length === 1);
	t.diagnostic(`answered ${took} ms after the new app was ready`);
	assert.ok(took < 5_000, `took ${took} ms`);
});
