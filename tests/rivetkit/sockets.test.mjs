// Sockets that outlive their actor's sleep, with much on them.
import assert from "node:assert/strict";
import { Engine, key, Socket, test, until, Wire } from "./harness.mjs";

const engine = await Engine.start();
const app = await engine.app();
const client = engine.client();

async function opened(k = key()) {
	const socket = await engine.socket(engine.path("tally", k, "websocket/"));
	const handle = client.tally.getOrCreate([k]);
	await handle.state();
	return { socket, handle, id: await handle.resolve() };
}

/// What the actor has seen, asked over the socket: an answer proves that all before it has arrived.
async function asked(socket, within = 60_000) {
	socket.send("?");
	return JSON.parse(await socket.next(within));
}

test("1,000 messages sent while the actor sleeps arrive in order, without repeats", async () => {
	const { socket, id } = await opened();
	await engine.sleepIn(app, id);
	for (let n = 0; n < 1_000; n += 1) socket.send(String(n));
	const { expected, wrong, wakes } = await asked(socket);
	assert.deepEqual({ expected, wrong, wakes }, { expected: 1_000, wrong: [], wakes: 2 });
	socket.close();
});

test("70,000 messages over one socket: the index wraps around, across sleeps", async () => {
	const { socket, id } = await opened();
	let n = 0;
	for (let sleep = 1; sleep <= 4; sleep += 1) {
		for (let block = 0; block < 35; block += 1) {
			for (let in_block = 0; in_block < 500; in_block += 1) socket.send(String(n++));
			// The sender waits for the actor: no more than some thousands are under way.
			const { expected, wrong } = await asked(socket);
			assert.deepEqual({ expected, wrong }, { expected: n, wrong: [] });
		}
		if (sleep < 4) await engine.sleepIn(app, id, sleep);
	}
	assert.equal(n, 70_000);
	// The last sleep lies behind the wrap.
	await engine.sleepIn(app, id, 4);
	socket.send(String(n));
	assert.deepEqual((await asked(socket)).expected, 70_001);
	socket.close();
}, { timeout: 60_000 });

test("messages of both kinds and of several MiB reach an actor that sleeps", async () => {
	const { socket, id } = await opened();
	await engine.sleepIn(app, id);
	const parts = [Buffer.alloc(4 * 1024 * 1024, 1), Buffer.from([0, 255]), Buffer.alloc(1024 * 1024, 2)];
	for (const part of parts) socket.send(part);
	for (const part of parts) assert.ok(part.equals(await socket.next(30_000)));
	assert.equal((await asked(socket)).binary, 3);
	socket.close();
});

test("a message at the limit of a frame passes, also to an actor that sleeps", async () => {
	const { socket, id } = await opened();
	const large = Buffer.alloc(15 * 1024 * 1024, 3);
	socket.send(large);
	assert.ok(large.equals(await socket.next(30_000)));
	await engine.sleepIn(app, id);
	socket.send(large);
	assert.ok(large.equals(await socket.next(30_000)));
	socket.close();
});

test("20 sockets of one sleeping actor, each with its own order", async () => {
	const k = key();
	const { socket, id } = await opened(k);
	const echoes = await Promise.all(Array.from({ length: 20 }, () => engine.socket(engine.path("sleeper", k, "websocket/"))));
	const sleeper = client.sleeper.getOrCreate([k]);
	for (const [n, echo] of echoes.entries()) {
		echo.send(`hello ${n}`);
		assert.equal(JSON.parse(await echo.next()).echo, `hello ${n}`);
	}
	await engine.sleepIn(app, await sleeper.resolve());
	for (let round = 0; round < 10; round += 1) for (const [n, echo] of echoes.entries()) echo.send(`${n}:${round}`);
	for (const [n, echo] of echoes.entries()) {
		for (let round = 0; round < 10; round += 1) assert.deepEqual(JSON.parse(await echo.next()), { echo: `${n}:${round}`, wake: 2 });
		echo.close();
	}
	assert.ok((await engine.actor(id)).connectable_ts);
	socket.close();
});

test("a socket whose network was cut while its actor slept is forgotten", async () => {
	const wire = await Wire.start(engine.port);
	const k = key();
	const handle = client.sleeper.getOrCreate([k]);
	const socket = new Socket(`${wire.url.replace("http", "ws")}${engine.path("sleeper", k, "websocket/")}`, ["rivet"]);
	await socket.opened;
	socket.send("first");
	await socket.next();
	await engine.sleepIn(app, await handle.resolve());
	wire.cut();
	await until("the actor is told", async () => (await handle.state()).closed.length === 1, 20_000);
	// And another one is served as if nothing was.
	const next = await engine.socket(engine.path("sleeper", k, "websocket/"));
	next.send("next");
	assert.equal(JSON.parse(await next.next()).echo, "next");
	next.close();
});

test("a network that stands still during a sleep loses no message", async () => {
	const wire = await Wire.start(engine.port);
	const k = key();
	const socket = new Socket(`${wire.url.replace("http", "ws")}${engine.path("tally", k, "websocket/")}`, ["rivet"]);
	await socket.opened;
	const handle = client.tally.getOrCreate([k]);
	await handle.state();
	wire.hold();
	for (let n = 0; n < 50; n += 1) socket.send(String(n));
	await engine.sleepIn(app, await handle.resolve());
	wire.release();
	const { expected, wrong } = await asked(socket);
	assert.deepEqual({ expected, wrong }, { expected: 50, wrong: [] });
	socket.close();
});

test("a socket may be closed while messages to its sleeping actor are under way", async () => {
	const { socket, handle, id } = await opened();
	await engine.sleepIn(app, id);
	for (let n = 0; n < 100; n += 1) socket.send(String(n));
	socket.close();
	await until("all arrived", async () => (await handle.state()).expected === 100);
	assert.deepEqual((await handle.state()).wrong, []);
});
