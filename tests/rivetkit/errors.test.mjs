// What goes wrong in an actor: who sees it, and that it goes on.
import assert from "node:assert/strict";
import { back, Engine, key, refused, test, until } from "./harness.mjs";

const engine = await Engine.start();
await engine.app();
const client = engine.client();

test("an error in an action is told without details, and the next call works", async () => {
	const clumsy = client.clumsy.getOrCreate([key()]);
	const connection = clumsy.connect();
	for (const handle of [clumsy, connection]) {
		const error = await handle.plainError().then(() => assert.fail("answered"), (error) => error);
		assert.equal(error.code, "internal_error");
		assert.ok(!error.message.includes("secret"), error.message);
		assert.ok(await handle.ok());
	}
	await connection.dispose();
});

test("an action that takes too long is timed out, and the next call works", async () => {
	const clumsy = client.clumsy.getOrCreate([key()]);
	await refused(clumsy.hang(), "actor", "action_timed_out");
	assert.equal(await clumsy.ok(), 1);
});

test("an error names the actor it came from", async () => {
	const clumsy = client.clumsy.getOrCreate([key()]);
	const error = await refused(clumsy.userError(), "user", "not_today");
	assert.equal(error.actor.actorId, await clumsy.resolve());
	assert.equal(error.actor.generation, 1);
});

test("an actor that cannot start shows why", async () => {
	const k = key();
	const handle = client.clumsy.getOrCreate([k], { createWithInput: { failToStart: true } });
	await assert.rejects(handle.action({ name: "ok", args: [], signal: AbortSignal.timeout(10_000) }));
	const [actor] = (await engine.api("GET", `/actors?name=clumsy&key=${k}`)).actors;
	assert.ok(actor.error?.crashed, JSON.stringify(actor));
	assert.equal(actor.connectable_ts, null);
});

test("an actor that fails to wake once wakes the next time", async () => {
	const clumsy = client.clumsy.getOrCreate([key()]);
	await clumsy.ok();
	await clumsy.failNextWake();
	await clumsy.nap();
	await engine.asleep(await clumsy.resolve());
	await until("it answers again", () => clumsy.ok(), 20_000);
	assert.equal((await engine.actor(await clumsy.resolve())).error, undefined);
});

test("a run handler that throws is not the end of its actor", async () => {
	const crasher = client.crasher.getOrCreate([key()]);
	assert.equal(await crasher.starts(), 1);
	await crasher.send("orders", "crash");
	assert.ok((await crasher.starts()) >= 1);
});

test("calls between actors, over HTTP and over a connection", async () => {
	const caller = client.caller.getOrCreate([key()]);
	const target = key();
	assert.equal(await caller.addTo(target, 4), 4);
	assert.equal(await caller.through(target, 5), 9);
	assert.equal(await client.counter.getOrCreate([target]).count(), 9);
});

test("an error crosses from actor to actor to client", async () => {
	const error = await refused(client.caller.getOrCreate([key()]).failing(key()), "user", "not_today");
	assert.deepEqual(error.metadata, { retry: 7 });
});

test("raw HTTP from actor to actor", async () => {
	const answer = await client.caller.getOrCreate([key()]).fetching(key());
	assert.equal(answer.path, "/about?x=1");
});

test("connection parameters become connection state", async () => {
	const room = client.room.getOrCreate([key()]);
	const ada = room.connect({ user: "ada" });
	assert.deepEqual(await ada.me(), { user: "ada", said: 0, params: { user: "ada" } });
	assert.equal(await ada.say("hi"), 1);
	assert.equal((await ada.me()).said, 1);
	await ada.dispose();
	await until("it left", async () => (await room.log()).includes("-ada"));
});

test("a connection is refused by onBeforeConnect", async () => {
	const room = client.room.getOrCreate([key()]);
	const errors = [];
	const connection = room.connect({ user: "banned" });
	connection.onError((error) => errors.push(`${error.group}.${error.code}`));
	await assert.rejects(connection.me(), (error) => `${error.group}.${error.code}` === "user.banned");
	await connection.dispose();
	assert.deepEqual(await room.users(), ["nobody"]);
});

test("an action over HTTP is refused by onBeforeConnect", async () => {
	const k = key();
	await refused(client.room.getOrCreate([k], { params: { user: "banned" } }).log(), "user", "banned");
	assert.ok(await client.room.getOrCreate([k], { params: { user: "fine" } }).log());
});

test("an actor closes one connection and keeps the other", async () => {
	const room = client.room.getOrCreate([key()]);
	const [ada, bob] = [room.connect({ user: "ada" }), room.connect({ user: "bob" })];
	const heard = [];
	bob.on("said", (user, text) => heard.push(`${user}: ${text}`));
	await Promise.all([ada.me(), bob.me()]);
	let closed = false;
	ada.onClose(() => (closed = true));
	await room.kick("ada");
	await until("ada is closed", () => closed);
	await back(ada);
	await ada.dispose();
	await bob.say("alone");
	await until("bob hears himself", () => heard.length === 1);
	assert.deepEqual(heard, ["bob: alone"]);
	await bob.dispose();
});
