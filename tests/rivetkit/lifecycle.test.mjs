// How actors come to be, sleep, wake and end, and how they are found.
import assert from "node:assert/strict";
import { Engine, key, refused, test, until } from "./harness.mjs";

const engine = await Engine.start();
await engine.app();
const client = engine.client();

test("state survives sleep", async () => {
	const counter = client.counter.getOrCreate([key()]);
	await counter.add(41);
	const id = await counter.resolve();
	for (let round = 1; round <= 3; round += 1) {
		await counter.nap();
		await engine.asleep(id);
		assert.equal(await counter.add(1), 41 + round);
		assert.deepEqual(await counter.state(), { count: 41 + round, wakes: round + 1, sleeps: round });
	}
});

test("the API puts an actor to sleep", async () => {
	const counter = client.counter.getOrCreate([key()]);
	await counter.add(3);
	await engine.sleep(await counter.resolve());
	assert.equal(await counter.count(), 3);
	assert.equal((await counter.state()).wakes, 2);
});

test("the API restarts an actor", async () => {
	const counter = client.counter.getOrCreate([key()]);
	await counter.add(3);
	await engine.api("POST", `/actors/${await counter.resolve()}/reschedule`, {});
	await until("it woke again", async () => (await counter.state()).wakes === 2);
	assert.equal(await counter.count(), 3);
});

test("who comes while an actor goes to sleep gets to its next life", async () => {
	const k = key();
	const handle = client.web.getOrCreate([k]);
	const id = await handle.resolve();
	let over = false;
	const calls = async () => {
		while (!over) await handle.closed();
	};
	const sockets = async () => {
		while (!over) {
			const socket = await engine.socket(engine.path("web", k, "websocket/"));
			socket.send("hi");
			const answer = await socket.next().catch((error) => error.message);
			// It cannot hibernate: one that has reached the actor before the sleep ends with it.
			assert.match(answer, /^hi$|actor.stopped|actor_stopped_while_waiting/);
			socket.close();
		}
	};
	const sleeps = async () => {
		for (let sleep = 0; sleep < 60; sleep += 1) {
			await engine.api("POST", `/actors/${id}/sleep`, {});
			await handle.closed();
		}
	};
	const visits = Promise.all([calls(), calls(), sockets(), sockets()]);
	await Promise.race([sleeps(), visits]).finally(() => (over = true));
	await visits;
});

test("an idle actor sleeps by itself and wakes on a call", async () => {
	const idler = client.idler.getOrCreate([key()]);
	assert.equal(await idler.wakes(), 1);
	await engine.asleep(await idler.resolve());
	assert.equal(await idler.wakes(), 2);
});

test("an open connection keeps an actor awake", async () => {
	const handle = client.idler.getOrCreate([key()]);
	const connection = handle.connect();
	assert.equal(await connection.wakes(), 1);
	const id = await handle.resolve();
	const opened = Date.now();
	await until("four idle timeouts have passed", async () => {
		assert.ok((await engine.actor(id)).connectable_ts);
		return Date.now() - opened > 1_200;
	});
	await connection.dispose();
	await engine.asleep(id);
});

test("keepAwake holds off sleep until its promise ends", async () => {
	const idler = client.idler.getOrCreate([key()]);
	await idler.busy(1_500);
	const id = await idler.resolve();
	const started = Date.now();
	await engine.asleep(id);
	assert.ok(Date.now() - started > 1_000, "slept before the promise ended");
	assert.equal(await idler.finished(), 1);
	assert.equal(await idler.wakes(), 2);
});

test("noSleep keeps an idle actor awake", async () => {
	const wakeful = client.wakeful.getOrCreate([key()]);
	await wakeful.wakes();
	const id = await wakeful.resolve();
	const started = Date.now();
	await until("four idle timeouts have passed", async () => {
		assert.ok((await engine.actor(id)).connectable_ts);
		return Date.now() - started > 1_200;
	});
	assert.equal(await wakeful.wakes(), 1);
});

test("hooks run in order and vars do not survive", async () => {
	const life = client.life.getOrCreate([key()], { createWithInput: { color: "red" } });
	assert.deepEqual(await life.hooks(), ['create {"color":"red"}', "wake"]);
	assert.equal(await life.touch(), 1);
	assert.equal(await life.touch(), 2);
	await life.nap();
	await engine.asleep(await life.resolve());
	assert.equal(await life.touch(), 1);
	assert.deepEqual(await life.hooks(), ['create {"color":"red"}', "wake", "sleep", "wake"]);
	assert.deepEqual(await life.input(), { color: "red" });
});

test("onDestroy runs, and may call another actor", async () => {
	const told = key();
	const life = await client.life.create([key()], { input: { tell: told } });
	await life.finish();
	await until("the other actor was called", async () => (await client.counter.getOrCreate([told]).count()) === 100);
});

test("create gives an actor its input", async () => {
	const life = await client.life.create([key()], { input: { n: [1, 2, 3] } });
	assert.deepEqual(await life.input(), { n: [1, 2, 3] });
});

test("input of the first getOrCreate counts, that of later ones does not", async () => {
	const k = key();
	assert.equal(await client.life.getOrCreate([k], { createWithInput: "first" }).input(), "first");
	assert.equal(await client.life.getOrCreate([k], { createWithInput: "second" }).input(), "first");
});

test("getOrCreate finds the same actor again", async () => {
	const k = key();
	const first = await client.counter.getOrCreate([k]).resolve();
	assert.equal(await client.counter.getOrCreate([k]).resolve(), first);
	assert.equal(await client.counter.get([k]).resolve(), first);
	assert.notEqual(await client.counter.getOrCreate([k, "more"]).resolve(), first);
	assert.notEqual(await client.echo.getOrCreate([k]).resolve(), first);
});

test("20 getOrCreate at once make one actor", async () => {
	const k = key();
	const ids = await Promise.all(Array.from({ length: 20 }, () => client.counter.getOrCreate([k]).resolve()));
	assert.equal(new Set(ids).size, 1);
});

test("getForId reaches an actor without its key", async () => {
	const counter = client.counter.getOrCreate([key()]);
	await counter.add(9);
	assert.equal(await client.counter.getForId(await counter.resolve()).count(), 9);
});

test("get does not create", async () => {
	const k = key();
	await refused(client.counter.get([k]).resolve(), "actor", "not_found");
	assert.deepEqual((await engine.api("GET", `/actors?name=counter&key=${k}`)).actors, []);
});

test("a key is taken once", async () => {
	const k = key();
	const first = await client.counter.create([k]);
	await first.count();
	const error = await refused(client.counter.create([k]), "actor", "duplicate_key");
	assert.equal(error.metadata?.existing_actor_id ?? error.metadata?.existingActorId, await first.resolve());
});

test("an empty key is a key", async () => {
	const counter = client.counter.getOrCreate([]);
	await counter.add(2);
	assert.equal(await client.counter.getOrCreate().count(), 2);
	assert.deepEqual((await counter.about()).key, []);
});

test("destroy ends an actor and frees its key", async () => {
	const k = key();
	const counter = client.counter.getOrCreate([k]);
	await counter.add(5);
	const id = await counter.resolve();
	await counter.finish();
	await until("it is destroyed", async () => (await engine.actor(id)).destroy_ts);
	await refused(client.counter.getForId(id).count(), "actor", "not_found");
	const next = client.counter.getOrCreate([k]);
	assert.equal(await next.count(), 0);
	assert.notEqual(await next.resolve(), id);
});

test("the API destroys an actor, and again", async () => {
	const k = key();
	const counter = client.counter.getOrCreate([k]);
	await counter.add(5);
	const id = await counter.resolve();
	assert.deepEqual(await engine.api("DELETE", `/actors/${id}`), {});
	assert.ok((await engine.actor(id)).destroy_ts);
	assert.deepEqual(await engine.api("DELETE", `/actors/${id}`), {});
	assert.equal(await client.counter.getOrCreate([k]).count(), 0);
});

test("the API destroys a sleeping actor", async () => {
	const counter = client.counter.getOrCreate([key()]);
	await counter.count();
	const id = await counter.resolve();
	await engine.sleep(id);
	await engine.api("DELETE", `/actors/${id}`);
	assert.ok((await engine.actor(id)).destroy_ts);
});

test("a handle goes on with the next actor when its actor was destroyed", async () => {
	const counter = client.counter.getOrCreate([key()]);
	await counter.add(5);
	await engine.api("DELETE", `/actors/${await counter.resolve()}`);
	assert.equal(await counter.add(1), 1);
});

test("timestamps tell an actor's life", async () => {
	const counter = client.counter.getOrCreate([key()]);
	await counter.count();
	const id = await counter.resolve();
	const running = await engine.actor(id);
	assert.ok(running.create_ts <= running.start_ts && running.start_ts <= running.connectable_ts);
	assert.deepEqual([running.sleep_ts, running.destroy_ts], [null, null]);
	await engine.sleep(id);
	const asleep = await engine.actor(id);
	assert.ok(asleep.sleep_ts >= running.start_ts);
	assert.deepEqual([asleep.connectable_ts, asleep.start_ts], [null, running.start_ts]);
	await counter.count();
	const again = await engine.actor(id);
	assert.ok(again.connectable_ts >= asleep.sleep_ts);
	assert.deepEqual([again.sleep_ts, again.start_ts], [null, running.start_ts]);
});
