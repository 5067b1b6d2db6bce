// Actors that are WebAssembly components, called by the unmodified npm client: the guest of tests/guests/sockets, written in Rust.
//
// Only this engine runs such actors: against the original there is nothing to see.
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { test as nodeTest } from "node:test";
import { fileURLToPath } from "node:url";
import { Engine, key, ORIGINAL, refused, soon, test as harnessTest, until } from "./harness.mjs";

const GUESTS = process.env.RIVET_GUESTS_DIR ?? fileURLToPath(new URL("../../target/guests", import.meta.url));
const GUEST = `${GUESTS}/sockets.wasm`;
const test = ORIGINAL ? (name) => nodeTest(name, { skip: "the original runs no WebAssembly" }) : harnessTest;

let engine;
const clients = {};
if (!ORIGINAL) {
	if (!existsSync(GUEST)) throw new Error(`${GUEST} is missing; run scripts/guests sockets`);
	engine = await Engine.start();
	await deploy();
	for (const encoding of ["json", "cbor", "bare"]) clients[encoding] = engine.client({ encoding });
}

async function deploy(bytes = readFileSync(GUEST)) {
	const response = await fetch(`${engine.url}/deployments/chat?namespace=default`, { method: "PUT", body: bytes });
	assert.equal(response.status, 200, await response.text());
}

const chat = (encoding = "bare", k = key()) => clients[encoding].chat.getOrCreate([k]);
const diary = async (handle) => (await (await handle.fetch("diary")).text()).split("\n");
/// Waits until the actor has written this into its diary.
const written = (handle, line) => until(`${line} is written`, async () => (await diary(handle)).includes(line));

/// What all three encodings carry, and what comes back of it.
const VALUES = [
	null, true, 0, -7, 2 ** 31, 2 ** 40, -(2 ** 53) + 1, 1.5, 1e300, "", "ä\"\\\n\u0001", [], {}, [[["deep"]]], { a: [{ b: null }] },
	5n, -5n, 2n ** 63n, new Uint8Array([0, 1, 255]), ["$Mine", 1], ["$BigInt", 1, 2], ["$$two", { a: 1n }],
];

for (const encoding of ["json", "cbor", "bare"]) {
	test(`${encoding}: values over HTTP and over a connection`, async () => {
		const handle = chat(encoding);
		const connection = handle.connect();
		for (const how of [handle, connection]) {
			for (const value of VALUES) {
				// In cbor the client marks nothing, so that what begins like this twice could not be told from a mark.
				if (encoding === "cbor" && value?.[0] === "$$two") continue;
				const [back] = await how.action({ name: "echo", args: [value] });
				assert.deepEqual(back instanceof Uint8Array ? new Uint8Array(back) : back, value);
			}
			assert.deepEqual(await how.action({ name: "echo", args: [] }), []);
			assert.deepEqual(await how.action({ name: "echo", args: [1, "two", 3n] }), [1, "two", 3n]);
		}
		await connection.dispose();
	});

	test(`${encoding}: values that the client's JSON cannot say`, async () => {
		const [undefinedBack, setBack] = await chat(encoding).action({ name: "echo", args: [undefined, new Set([1, "a"])] });
		if (encoding === "json") assert.deepEqual([undefinedBack, setBack], [null, {}]);
		else assert.deepEqual([undefinedBack, setBack], [undefined, new Set([1, "a"])]);
	});

	test(`${encoding}: a user's error has its code, message and metadata`, async () => {
		const handle = chat(encoding);
		const connection = handle.connect();
		for (const how of [handle, connection]) {
			const error = await refused(how.action({ name: "fail", args: [] }), "user", "not_today");
			assert.equal(error.message, "not today");
			assert.deepEqual(error.metadata, { retry: 7 });
			assert.equal(error.actor.actorId, await handle.resolve());
			await refused(how.action({ name: "no such action", args: [] }), "actor", "action_not_found");
			await refused(how.action({ name: "no-json", args: [] }), "actor", "invalid_response");
			await refused(how.action({ name: "large", args: [] }), "message", "outgoing_too_long");
		}
		await connection.dispose();
	});

	test(`${encoding}: events reach those that have subscribed`, async () => {
		const handle = chat(encoding);
		const [a, b] = [handle.connect(), handle.connect()];
		const heard = { a: [], b: [] };
		const stop = a.on("news", (...args) => heard.a.push(args));
		b.on("news", (...args) => heard.b.push(args));
		await Promise.all([a.ready, b.ready]);
		await until("both have subscribed", async () => (await handle.broadcast("first", 1n)) === 2);
		await until("both have heard", () => heard.a.length > 0 && heard.b.length > 0);
		assert.deepEqual([heard.a[0], heard.b[0]], [["first", 1n], ["first", 1n]]);
		stop();
		await until("one has left", async () => (await a.broadcast("second")) === 1);
		await until("the other hears", () => heard.b.some(([what]) => what === "second"));
		assert.ok(!heard.a.some(([what]) => what === "second"));
		await Promise.all([a.dispose(), b.dispose()]);
	});

	test(`${encoding}: a message for the queue, and what its handler says`, async () => {
		const handle = chat(encoding);
		assert.deepEqual(await handle.send("jobs", { n: 1n }, { wait: true, timeout: 20_000 }), { status: "completed", response: { n: 1n } });
		assert.equal(await handle.send("jobs", "later"), undefined);
		await written(handle, 'queued jobs "later"');
	});
}

test("get, create and getOrCreate by key", async () => {
	const k = key();
	await refused(clients.json.chat.get([k]).resolve(), "actor", "not_found");
	const created = await clients.json.chat.create([k]);
	assert.equal(await created.count(), 1);
	const id = await created.resolve();
	assert.equal(await clients.json.chat.get([k]).resolve(), id);
	assert.equal(await clients.json.chat.getOrCreate([k]).resolve(), id);
	assert.equal(await clients.json.chat.getForId(id).count("again"), 2);
	await refused(clients.json.chat.create([k]), "actor", "duplicate_key");
});

test("an action knows who called it", async () => {
	const handle = chat();
	assert.equal(await handle.origin(), "http");
	const connection = handle.connect();
	await connection.ready;
	assert.equal(await connection.origin(), `connection ${connection.connectionId}`);
	await connection.dispose();
});

test("a connection's parameters reach the actor, which may refuse", async () => {
	const handle = chat();
	const connection = handle.connect({ user: "ada ö" });
	const [, params, state] = await connection.whoami();
	assert.deepEqual([params, state], [{ user: "ada ö" }, "new"]);
	await connection.dispose();
	await written(handle, "disconnect new");
	const banned = handle.connect({ user: "banned" });
	const error = await new Promise((done) => banned.onError(done));
	assert.equal(`${error.group}.${error.code}`, "user.banned");
	await banned.dispose();
	assert.equal(await handle.all(), 0);
});

test("a connection survives its actor's sleep, with its state and subscriptions", async () => {
	const handle = chat();
	const connection = handle.connect({ user: "ada" });
	const heard = [];
	let closed = 0;
	connection.on("news", (what) => heard.push(what));
	connection.onClose(() => (closed += 1));
	await connection.ready;
	await connection.remember("this");
	const before = await connection.whoami();
	const id = await handle.resolve();
	for (let sleep = 1; sleep <= 2; sleep += 1) {
		await engine.sleep(id);
		await handle.broadcast(`after sleep ${sleep}`);
		await until("it hears", () => heard.includes(`after sleep ${sleep}`));
		assert.deepEqual(await connection.whoami(), before);
	}
	// The client itself wakes it, too.
	await engine.sleep(id);
	assert.deepEqual(await connection.whoami(), before);
	assert.equal(closed, 0);
	await connection.dispose();
});

test("a connection survives an upgrade", async () => {
	const handle = chat();
	const connection = handle.connect();
	await connection.ready;
	await connection.remember("this");
	const before = await connection.whoami();
	// The same component with a custom section more: another version.
	await deploy(Buffer.concat([readFileSync(GUEST), Buffer.from([0, 3, 1, 0x78, Math.floor(Math.random() * 256)])]));
	assert.deepEqual(await connection.whoami(), before);
	await connection.dispose();
});

test("an action that traps fails its caller only, and has written nothing", async () => {
	const handle = chat();
	const [a, b] = [handle.connect(), handle.connect()];
	const heard = [];
	b.on("news", (what) => heard.push(what));
	await Promise.all([a.ready, b.ready]);
	await refused(a.action({ name: "say-and-trap", args: [] }), "actor", "trapped");
	await refused(handle.action({ name: "say-and-trap", args: [] }), "actor", "trapped");
	assert.deepEqual((await b.diary()).filter((line) => !line.startsWith("connect")), []);
	assert.deepEqual(heard, []);
	assert.equal(a.connStatus, "connected");
	await Promise.all([a.dispose(), b.dispose()]);
});

test("an actor ends a connection", async () => {
	const handle = chat();
	const connection = handle.connect();
	let closed = 0;
	connection.onClose(() => (closed += 1));
	await connection.ready;
	assert.equal(await connection.kick(), null);
	await until("it is closed", () => closed === 1);
	await written(handle, "disconnect new");
	await connection.dispose();
});

test("raw requests reach the actor under their own path", async () => {
	const response = await chat().fetch("some/path?with=query", { method: "PUT", body: "x" });
	assert.deepEqual([response.status, await response.text()], [200, "PUT /some/path with=query"]);
});

test("a raw WebSocket: opened, written to in both ways, closed by either side", async () => {
	const handle = chat();
	const socket = await handle.webSocket("room?name=ada");
	const heard = [];
	socket.addEventListener("message", ({ data }) => heard.push(data));
	const closed = new Promise((done) => socket.addEventListener("close", ({ code, reason }) => done([code, reason])));
	await until("it is greeted", () => heard[0] === "hello name=ada");
	socket.send("hi");
	await until("it is answered", () => heard[1] === "hi");
	const id = await handle.resolve();
	await engine.sleep(id);
	socket.send("are you there?");
	await until("it is answered after a sleep", () => heard[2] === "are you there?");
	socket.send("close");
	assert.deepEqual(await closed, [4001, "bye"]);
	await written(handle, 'close /room Some(4001) Some("bye")');
	const other = await handle.webSocket("other");
	await new Promise((done) => other.addEventListener("message", done, { once: true }));
	other.close(4002, "enough");
	await written(handle, 'close /other Some(4002) Some("enough")');
});

test("a client that leaves while its actor sleeps is missed", async () => {
	const handle = chat();
	const connection = handle.connect();
	await connection.ready;
	await engine.sleep(await handle.resolve());
	await connection.dispose();
	await written(handle, "disconnect new");
	assert.equal(await handle.all(), 0);
});

test("an engine that was killed: what was connected is over, and the actor hears of it", async () => {
	const handle = chat();
	const connection = handle.connect();
	await soon("the connection is open", connection.ready);
	const room = await handle.webSocket("room");
	await soon("the room greets", new Promise((done, failed) => {
		room.addEventListener("message", done, { once: true });
		room.addEventListener("close", ({ code, reason }) => failed(new Error(`closed with ${code} ${reason}`)), { once: true });
	}));
	await engine.crashAndRestart();
	await written(handle, "disconnect new");
	await written(handle, "close /room None None");
	const next = handle.connect();
	assert.deepEqual((await soon("the next connection answers", next.whoami())).slice(1), [null, "new"]);
	// Not waited for: if it was opened again while no engine was there, it is being opened for ever. Node.js 22 tells RivetKit of a
	// refused WebSocket that there was an error, and RivetKit waits for the close.
	connection.dispose().catch(() => {});
	await soon("the next connection is closed", next.dispose());
	await until("nobody is left", async () => (await handle.all()) === 0);
}, { timeout: 180_000 });
