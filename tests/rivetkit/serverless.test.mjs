// Serverless apps: many actors, new versions, hosts and engines that die in the middle.
import assert from "node:assert/strict";
import { Engine, freePort, key, pause, test, until } from "./harness.mjs";

const engine = await Engine.start({ publicUrl: true });

/// A pool whose serverless app can be started again on the same port.
async function serverless(more = {}) {
	const pool = key();
	const port = await freePort();
	const launch = (version = 1) => engine.app({ pool, version, env: { APP_MODE: "serverless", APP_PORT: String(port) } });
	const app = await launch();
	const url = `http://127.0.0.1:${port}/api/rivet`;
	await engine.api("PUT", `/runner-configs/${pool}`, { datacenters: { default: { serverless: { url, request_lifespan: 3600, ...more } } } });
	return { pool, app, launch, client: engine.client({ poolName: pool }) };
}

const tries = (what, call, within = 60_000) => until(what, () => Promise.race([call(), pause(4_000).then(() => assert.fail("no answer"))]), within);

test("20 actors of a serverless app start, sleep and wake", async () => {
	const { client } = await serverless();
	const counters = Array.from({ length: 20 }, () => client.counter.getOrCreate([key()]));
	await Promise.all(counters.map((counter, n) => counter.add(n)));
	await Promise.all(counters.map(async (counter) => engine.sleep(await counter.resolve())));
	const states = await Promise.all(counters.map((counter) => counter.state()));
	assert.deepEqual(states.map(({ count, wakes }) => [count, wakes]), counters.map((_, n) => [n, 2]));
});

test("a connection, a stream of events and a socket to a serverless actor", async () => {
	const { pool, client } = await serverless();
	const connection = client.counter.getOrCreate([key()]).connect();
	const heard = [];
	connection.on("changed", (count) => heard.push(count));
	await connection.add(2);
	await until("the event", () => heard.length === 1);
	await connection.dispose();
	const socket = await engine.socket(engine.path("sleeper", key(), "websocket/", { pool }));
	socket.send("hello");
	assert.equal(JSON.parse(await socket.next()).echo, "hello");
	socket.close();
});

test("a hibernating socket outlives the request its actor lived in", async () => {
	const { pool, client, app } = await serverless();
	const k = key();
	const socket = await engine.socket(engine.path("sleeper", k, "websocket/", { pool }));
	socket.send("before");
	await socket.next();
	await engine.sleepIn(app, await client.sleeper.getOrCreate([k]).resolve());
	socket.send("after");
	assert.deepEqual(JSON.parse(await socket.next()), { echo: "after", wake: 2 });
	socket.close();
});

test("an alarm wakes an actor of a serverless app", async () => {
	const { client, app } = await serverless();
	const timer = client.timer.getOrCreate([key()]);
	await timer.after(2_000, "due");
	await timer.nap();
	const id = await timer.resolve();
	await engine.stopped(app, id);
	await until("the alarm wakes it", async () => (await engine.actor(id)).connectable_ts);
	await until("it ran", async () => (await timer.ran()).length === 1);
});

test("a host that dies is replaced by the next that answers at its address", async (t) => {
	const { client, app, launch } = await serverless();
	const counters = Array.from({ length: 5 }, () => client.counter.getOrCreate([key()]));
	await Promise.all(counters.map(async (counter, n) => {
		await counter.add(n + 1);
		await counter.save();
	}));
	await app.crash();
	const next = await launch();
	const started = Date.now();
	for (const [n, counter] of counters.entries()) await tries(`actor ${n} answers`, async () => (await counter.count()) === n + 1);
	t.diagnostic(`all answered ${Date.now() - started} ms after the next host was ready`);
	assert.equal((await counters[0].where()).pid, next.pid);
}, { timeout: 90_000 });

test("a newer version takes over the actors of the older one", async () => {
	const { client, app, launch } = await serverless({ metadata_poll_interval: 1_000 });
	const counter = client.counter.getOrCreate([key()]);
	await counter.add(3);
	await counter.save();
	await app.terminate();
	const next = await launch(2);
	await tries("the newer one has it", async () => (await counter.where()).version === 2);
	assert.deepEqual([await counter.count(), (await counter.where()).pid], [3, next.pid]);
}, { timeout: 90_000 });

test("an actor goes on after the engine was killed", async (t) => {
	const { client } = await serverless();
	const [awake, asleep] = [client.counter.getOrCreate([key()]), client.counter.getOrCreate([key()])];
	for (const counter of [awake, asleep]) {
		await counter.add(5);
		await counter.save();
	}
	await engine.sleep(await asleep.resolve());
	await engine.crashAndRestart();
	const started = Date.now();
	for (const counter of [awake, asleep]) await tries("it answers", async () => (await counter.count()) === 5);
	t.diagnostic(`answered ${Date.now() - started} ms after the engine was healthy`);
	assert.equal(await client.counter.getOrCreate([key()]).add(1), 1);
}, { timeout: 90_000 });
