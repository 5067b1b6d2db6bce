// Connections: their state and hooks, many of them, and networks that break.
import assert from "node:assert/strict";
import { back, Engine, key, refused, test, until, Wire } from "./harness.mjs";

const engine = await Engine.start();
const app = await engine.app();
const client = engine.client();
const wire = await Wire.start(engine.port);
/// A client whose network can be broken.
const far = engine.client({ endpoint: wire.url });

const lobby = (options) => client.lobby.getOrCreate([key()], options);

test("hooks run once for each connection, and once for each call over HTTP", async () => {
	const handle = lobby();
	const connections = [handle.connect(), handle.connect()];
	await Promise.all(connections.map((connection) => connection.ready));
	const { made, connected, disconnected, now } = await connections[0].counts();
	assert.deepEqual({ made, connected, disconnected, now }, { made: 2, connected: 2, disconnected: 0, now: 2 });
	await Promise.all(connections.map((connection) => connection.dispose()));
	// The asking itself is a connection, too.
	await until("both have left", async () => (await handle.counts()).now === 1);
	const last = await handle.counts();
	assert.equal(last.made, last.connected);
	assert.equal(last.connected - last.disconnected, 1);
});

test("a connection keeps its id and state over three sleeps", async () => {
	const handle = lobby();
	const connection = handle.connect({ user: "ada" });
	await connection.ready;
	const before = await connection.mine();
	assert.equal(before.hibernatable, true);
	for (let sleep = 1; sleep <= 3; sleep += 1) {
		await connection.note(`note ${sleep}`);
		await engine.sleepIn(app, await handle.resolve(), sleep);
		const after = await connection.mine();
		assert.equal(after.id, before.id);
		assert.deepEqual(after.state, { user: "ada", notes: Array.from({ length: sleep }, (_, n) => `note ${n + 1}`) });
	}
	const { made, connected, disconnected } = await connection.counts();
	assert.deepEqual([made, connected, disconnected], [1, 1, 0]);
	await connection.dispose();
});

test("a connection that leaves while its actor sleeps is missed", async () => {
	const handle = lobby();
	const connection = handle.connect({ user: "ada" });
	await connection.counts();
	await engine.sleepIn(app, await handle.resolve());
	await connection.dispose();
	await until("it is gone", async () => {
		const { now, connected, disconnected } = await handle.counts();
		return now === 1 && connected - disconnected === 1;
	});
});

test("status callbacks tell a connection's life", async () => {
	const connection = lobby().connect();
	const heard = [];
	connection.onStatusChange((status) => heard.push(status));
	connection.onOpen(() => heard.push("open"));
	connection.onClose(() => heard.push("close"));
	await connection.ready;
	assert.equal(connection.connStatus, "connected");
	await connection.dispose();
	assert.deepEqual([heard.filter((word) => word === "open").length, heard.includes("connected")], [1, true]);
	assert.equal(connection.connStatus, "idle");
});

test("an actor ends the connection of its caller", async () => {
	const handle = lobby();
	const connection = handle.connect();
	let closed = 0;
	connection.onClose(() => (closed += 1));
	await connection.ready;
	connection.leave().catch(() => {});
	await until("it is closed", () => closed > 0);
	await back(connection);
	await connection.dispose();
	await until("it was counted", async () => (await handle.counts()).disconnected >= 1);
});

test("100 connections hear a broadcast, also after a sleep", async () => {
	const handle = lobby();
	const heard = new Map();
	const connections = Array.from({ length: 100 }, (_, n) => {
		const connection = handle.connect({ user: `user ${n}` });
		connection.on("news", (what) => heard.set(what, (heard.get(what) ?? 0) + 1));
		return connection;
	});
	await Promise.all(connections.map((connection) => connection.mine()));
	await handle.news("first");
	await until("all hear the first", () => heard.get("first") === 100);
	await engine.sleepIn(app, await handle.resolve());
	await connections[0].news("second");
	await until("all hear the second", () => heard.get("second") === 100, 30_000);
	assert.equal((await connections[50].counts()).now, 100);
	assert.equal((await connections[50].counts()).connected, 100 + (await connections[50].counts()).disconnected);
	await Promise.all(connections.map((connection) => connection.dispose()));
}, { timeout: 90_000 });

test("a client whose network was cut connects again and hears events again", async () => {
	const k = key();
	const connection = far.lobby.getOrCreate([k], { params: { user: "ada" } }).connect();
	const heard = [];
	const status = [];
	connection.on("news", (what) => heard.push(what));
	connection.onStatusChange((what) => status.push(what));
	await connection.mine();
	const near = client.lobby.getOrCreate([k]);
	await near.news("before");
	await until("the first", () => heard.length === 1);
	wire.cut();
	await until("it notices", () => status.includes("disconnected"));
	await back(connection);
	await connection.mine();
	await near.news("after");
	await until("the second", () => heard.includes("after"));
	assert.deepEqual(heard, ["before", "after"]);
	await until("the lost one was counted", async () => (await near.counts()).now === 2);
	await connection.dispose();
});

test("events go on during a reconnect, without repeats", async () => {
	const k = key();
	const connection = far.lobby.getOrCreate([k]).connect();
	const heard = [];
	connection.on("news", (n) => heard.push(n));
	await connection.mine();
	await connection.chatter(60, 40);
	await until("some came", () => heard.length > 5);
	wire.cut();
	await until("the last came", () => heard.includes(59));
	assert.deepEqual(heard, [...new Set(heard)].sort((a, b) => a - b));
	await connection.dispose();
});

test("a call that is cut off is answered or refused, and the next works", async () => {
	const k = key();
	const connection = far.echo.getOrCreate([k]).connect();
	await connection.back();
	const calling = connection.slow(1_000, "slow").then(() => "answered", () => "refused");
	wire.cut();
	assert.ok(["answered", "refused"].includes(await calling));
	assert.deepEqual(await connection.back(1), [1]);
	await connection.dispose();
});

test("a network that stands still for a while loses nothing", async () => {
	const k = key();
	const connection = far.lobby.getOrCreate([k]).connect();
	const heard = [];
	connection.on("news", (what) => heard.push(what));
	await connection.mine();
	wire.hold();
	const near = client.lobby.getOrCreate([k]);
	for (let n = 0; n < 20; n += 1) await near.news(n);
	const calling = connection.note("while it stood");
	wire.release();
	assert.deepEqual((await calling).notes, ["while it stood"]);
	await until("all came", () => heard.length === 20);
	assert.deepEqual(heard, Array.from({ length: 20 }, (_, n) => n));
	await connection.dispose();
});

test("parameters may come from a function, which is asked at every connection", async () => {
	let asked = 0;
	const handle = far.lobby.getOrCreate([key()], { getParams: async () => ({ user: `user ${++asked}` }) });
	const connection = handle.connect();
	assert.equal((await connection.mine()).state.user, "user 1");
	wire.cut();
	await until("it is asked again", () => asked === 2);
	await until("it is back", async () => (await connection.mine()).state.user === "user 2");
	await connection.dispose();
});

test("a connection finds the next actor when its own was destroyed", async () => {
	const k = key();
	const handle = client.lobby.getOrCreate([k]);
	const connection = handle.connect({ user: "ada" });
	const heard = [];
	connection.on("news", (what) => heard.push(what));
	await connection.note("old");
	const old = await handle.resolve();
	let closed = 0;
	connection.onClose(() => (closed += 1));
	await engine.api("DELETE", `/actors/${old}`);
	await until("it is closed", () => closed > 0, 10_000);
	await until("it is connected again", async () => (await connection.mine()).state.notes.length === 0, 20_000);
	// A handle remembers what it has found; a new one asks.
	const next = client.lobby.getOrCreate([k]);
	assert.notEqual(await next.resolve(), old);
	await next.news("new");
	await until("it hears events", () => heard.includes("new"));
	await connection.dispose();
});

test("two connections to actors of one key in turn do not mix", async () => {
	const k = key();
	for (let turn = 0; turn < 3; turn += 1) {
		const handle = client.lobby.getOrCreate([k]);
		const connection = handle.connect();
		assert.deepEqual((await connection.note(turn)).notes, [turn]);
		await connection.dispose();
		await engine.api("DELETE", `/actors/${await handle.resolve()}`);
	}
});

test("an event may be closed to some", async () => {
	const k = key();
	const heard = { ada: [], bob: [] };
	const errors = [];
	const connections = ["ada", "bob"].map((user) => {
		const connection = client.lobby.getOrCreate([k], { params: { user } }).connect();
		connection.onError((error) => errors.push(error.code));
		connection.on("secret", (what) => heard[user].push(what));
		return connection;
	});
	await until("ada can call", () => connections[0].mine());
	await until("bob is refused", () => errors.length > 0);
	await connections[0].secret("psst");
	await until("ada hears it", () => heard.ada.length === 1);
	assert.deepEqual(heard.bob, []);
	assert.match(errors[0], /forbidden/);
	// Its connection is closed for that, opened again, and closed again.
	await back(connections[1]);
	await Promise.all(connections.map((connection) => connection.dispose()));
});

// ---- hooks that fail: the hook -> what a client sees ----

const fragile = (input, options) => client.fragile.getOrCreate([key()], { createWithInput: input, ...options });

for (const hook of ["createState", "onCreate", "onWake"]) {
	test(`${hook} fails: the actor does not start, and says so`, async () => {
		const k = key();
		const handle = client.fragile.getOrCreate([k], { createWithInput: hook });
		await assert.rejects(handle.action({ name: "seen", args: [], signal: AbortSignal.timeout(10_000) }));
		// A new try hides it for a moment.
		await until("the reason is shown", async () => (await engine.api("GET", `/actors?name=fragile&key=${k}`)).actors[0].error?.crashed?.message);
	});
}

for (const [hook, group, code] of [
	["onBeforeConnect", "user", "in_on_before_connect"],
	["createConnState", "user", "in_create_conn_state"],
	["onConnect", "user", "in_on_connect"],
]) {
	test(`${hook} fails: the client is refused, and others are not`, async () => {
		const k = key();
		const refusedHandle = client.fragile.getOrCreate([k], { params: { fail: hook } });
		await refused(refusedHandle.seen(), group, code);
		const connection = refusedHandle.connect();
		await refused(connection.seen(), group, code);
		await connection.dispose();
		assert.deepEqual(await client.fragile.getOrCreate([k]).seen(), []);
	});
}

for (const hook of ["onBeforeConnect", "onConnect"]) {
	test(`${hook} takes too long: the client is refused`, async () => {
		const handle = fragile(undefined, { params: { fail: `slow ${hook}` } });
		const error = await handle.seen().then(() => assert.fail("answered"), (error) => error);
		assert.match(`${error.group}.${error.code}`, /timed_out|timeout|internal_error/);
	});
}

for (const hook of ["onDisconnect", "onSleep", "onStateChange"]) {
	test(`${hook} fails: the actor goes on`, async () => {
		const handle = fragile(hook);
		const connection = handle.connect();
		await connection.seen();
		await connection.dispose();
		await handle.see("before").catch(() => {});
		await handle.nap();
		await engine.asleep(await handle.resolve());
		assert.ok(Array.isArray(await until("it answers", () => handle.seen())));
	});
}

test("onDestroy fails: the actor is destroyed", async () => {
	const handle = fragile("onDestroy");
	const id = await handle.resolve();
	await handle.seen();
	await engine.api("DELETE", `/actors/${id}`);
	assert.ok((await engine.actor(id)).destroy_ts);
});

test("onBeforeActionResponse shapes answers, and may fail", async () => {
	assert.deepEqual(await fragile().shaped(1), { name: "shaped", args: [1], output: "output" });
	const handle = fragile("onBeforeActionResponse");
	await assert.rejects(handle.see(1));
	assert.deepEqual(await handle.seen(), [1]);
});

test("onStateChange runs for each change and may broadcast", async () => {
	const handle = fragile();
	const connection = handle.connect();
	const heard = [];
	connection.on("pinged", (n) => heard.push(n));
	await connection.seen();
	await connection.see("a");
	await connection.see("b");
	await until("both are heard", () => heard.includes(2));
	assert.ok((await handle.changes()) >= 2);
	await connection.dispose();
});

for (const [what, options] of [["at once", { immediate: true }], ["within a time", { maxWait: 50 }], ["some time", undefined]]) {
	test(`state that is saved ${what} is there in the next life`, async () => {
		const handle = fragile();
		await handle.saved(what, options);
		await engine.sleepIn(app, await handle.resolve());
		assert.deepEqual(await handle.seen(), [what]);
	});
}

test("actions in groups", async () => {
	const handle = fragile();
	assert.deepEqual(await handle.group.inner(1), ["inner", 1]);
	const connection = handle.connect();
	assert.deepEqual(await connection.group.inner(2), ["inner", 2]);
	await connection.dispose();
});

test("onWebSocket fails: the socket is closed, and the actor goes on", async () => {
	const k = key();
	await client.fragile.getOrCreate([k], { createWithInput: "onWebSocket" }).seen();
	const socket = await engine.socket(engine.path("fragile", k, "websocket/"));
	assert.equal((await socket.end()).code, 1011);
	assert.deepEqual(await client.fragile.getOrCreate([k]).seen(), []);
});

test("onRequest fails or answers nothing: a coded error", async () => {
	const error = await (await fragile("onRequest").fetch("x")).json();
	assert.deepEqual([error.group, error.code, error.metadata], ["user", "in_on_request", { why: "because" }]);
	assert.equal((await fragile("nothing").fetch("x")).status, 500);
});
