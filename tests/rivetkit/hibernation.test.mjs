// Sockets that outlive their actor's sleep.
import assert from "node:assert/strict";
import { Engine, key, pause, test, until } from "./harness.mjs";

const engine = await Engine.start();
const app = await engine.app();
const client = engine.client();
const sleep = (id, generation) => engine.sleepIn(app, id, generation);

async function opened(k) {
	const socket = await engine.socket(engine.path("sleeper", k, "websocket/"));
	socket.send("first");
	assert.deepEqual(JSON.parse(await socket.next()), { echo: "first", wake: 1 });
	const handle = client.sleeper.getOrCreate([k]);
	return { socket, handle, id: await handle.resolve() };
}

test("messages sent while the actor sleeps arrive after it woke, in order", async () => {
	const { socket, handle, id } = await opened(key());
	await handle.nap();
	await engine.stopped(app, id);
	for (let n = 0; n < 20; n += 1) socket.send(`while asleep ${n}`);
	for (let n = 0; n < 20; n += 1) assert.deepEqual(JSON.parse(await socket.next()), { echo: `while asleep ${n}`, wake: 2 });
	assert.equal(socket.how, undefined);
	socket.close();
});

test("who talks while an actor goes to sleep is heard, once and in order", async () => {
	const { socket, handle, id } = await opened(key());
	const expected = [];
	let over = false;
	const talk = async () => {
		while (!over) {
			socket.send(`word ${expected.length}`);
			expected.push(`word ${expected.length}`);
			await pause(3);
		}
	};
	const sleeps = async () => {
		for (let wake = 2; wake <= 20; wake += 1) {
			await engine.api("POST", `/actors/${id}/sleep`, {});
			await until("it is awake again", async () => (await handle.state()).wakes === wake);
		}
	};
	const talking = talk();
	await sleeps().finally(() => (over = true));
	await talking;
	await until("all was answered", () => socket.messages.length >= expected.length || socket.how);
	assert.deepEqual(socket.messages.map((message) => JSON.parse(message).echo), expected);
	assert.equal(socket.how, undefined);
	socket.close();
});

test("a socket lives through several sleeps", async () => {
	const { socket, id } = await opened(key());
	for (let wake = 2; wake <= 4; wake += 1) {
		await sleep(id, wake - 1);
		socket.send(`round ${wake}`);
		assert.deepEqual(JSON.parse(await socket.next()), { echo: `round ${wake}`, wake });
	}
	socket.close();
});

test("an actor woken by something else keeps the socket", async () => {
	const { socket, handle, id } = await opened(key());
	await sleep(id);
	assert.equal((await handle.state()).wakes, 2);
	socket.send("still here");
	assert.deepEqual(JSON.parse(await socket.next()), { echo: "still here", wake: 2 });
	socket.close();
});

test("pings are answered while the actor sleeps, and do not wake it", async () => {
	const { socket, id } = await opened(key());
	await sleep(id);
	const answered = new Promise((done) => socket.ws.once("pong", done));
	socket.ws.ping();
	await answered;
	assert.ok((await engine.actor(id)).sleep_ts);
	socket.close();
});

test("the close of a client reaches an actor that sleeps", async () => {
	const { socket, handle, id } = await opened(key());
	await sleep(id);
	socket.close(4003, "gone");
	await until("the actor is woken", async () => (await engine.actor(id)).connectable_ts);
	await until("the actor saw the close", async () => (await handle.state()).closed.length > 0);
});

test("two sockets of one actor both live on", async () => {
	const k = key();
	const one = await opened(k);
	const two = await engine.socket(engine.path("sleeper", k, "websocket/"));
	two.send("second");
	await two.next();
	await sleep(one.id);
	two.send("b");
	assert.deepEqual(JSON.parse(await two.next()), { echo: "b", wake: 2 });
	one.socket.send("a");
	assert.deepEqual(JSON.parse(await one.socket.next()), { echo: "a", wake: 2 });
	one.socket.close();
	two.close();
});

test("a connection and its state live through sleep", async () => {
	const room = client.room.getOrCreate([key()]);
	const ada = room.connect({ user: "ada" });
	let opens = 0;
	ada.onOpen(() => (opens += 1));
	const heard = [];
	ada.on("said", (user, text) => heard.push(`${user}: ${text}`));
	assert.equal(await ada.say("one"), 1);
	await room.nap();
	await engine.stopped(app, await room.resolve());
	assert.equal(await ada.say("two"), 2);
	assert.deepEqual(await ada.me(), { user: "ada", said: 2, params: { user: "ada" } });
	await until("both were heard", () => heard.length === 2);
	assert.deepEqual(heard, ["ada: one", "ada: two"]);
	assert.ok(opens <= 1, "the connection was opened again");
	assert.deepEqual((await room.log()).filter((entry) => entry.includes("ada")), ["+ada"]);
	await ada.dispose();
});

test("an event reaches a connection whose actor slept in between", async () => {
	const handle = client.counter.getOrCreate([key()]);
	const connection = handle.connect();
	const heard = [];
	connection.on("changed", (count) => heard.push(count));
	await connection.count();
	await sleep(await handle.resolve());
	await handle.add(5);
	await until("the event arrives", () => heard.length === 1, 5_000);
	assert.deepEqual(heard, [5]);
	await connection.dispose();
});

test("a hibernating socket is closed when its actor is destroyed", async () => {
	const { socket, id } = await opened(key());
	await sleep(id);
	await engine.api("DELETE", `/actors/${id}`);
	await socket.end(5_000);
});

test("an awake actor's hibernatable socket is closed when it is destroyed", async () => {
	const { socket, id } = await opened(key());
	await engine.api("DELETE", `/actors/${id}`);
	await socket.end(5_000);
});
