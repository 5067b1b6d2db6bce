// Actions and state: over HTTP and over a connection, in every encoding.
import assert from "node:assert/strict";
import { Engine, key, refused, test, until } from "./harness.mjs";

const engine = await Engine.start();
const app = await engine.app();
const client = engine.client();

// RivetKit itself loses or refuses some values in some encodings.
const common = [null, true, 0, -1.5, "", "zażółć 🦀", [1, [2, []]], { a: { b: "c" } }];
const bytes = new Uint8Array([0, 127, 255]);
const values = {
	json: [...common, bytes],
	cbor: common,
	bare: [...common, bytes, 2 ** 40, 1234567890123456789n],
};

for (const encoding of ["json", "cbor", "bare"]) {
	const typed = engine.client({ encoding });

	test(`an action over HTTP in ${encoding}`, async () => {
		const counter = typed.counter.getOrCreate([key()]);
		assert.equal(await counter.add(5), 5);
		assert.equal(await counter.add(), 6);
		assert.equal(await counter.count(), 6);
	});

	test(`an action over a connection in ${encoding}`, async () => {
		const connection = typed.counter.getOrCreate([key()]).connect();
		assert.equal(await connection.add(1), 1);
		await Promise.all([connection.add(2), connection.add(3)]);
		assert.equal(await connection.count(), 6);
		await connection.dispose();
	});

	test(`values keep their type in ${encoding}`, async () => {
		const echo = typed.echo.getOrCreate([key()]);
		const sent = values[encoding];
		assert.deepEqual(await echo.back(...sent), sent);
		const connection = echo.connect();
		assert.deepEqual(await connection.back(...sent), sent);
		await connection.dispose();
	});

	test(`events in ${encoding}`, async () => {
		const handle = typed.counter.getOrCreate([key()]);
		const [one, two] = [handle.connect(), handle.connect()];
		const heard = { one: [], two: [], told: [] };
		one.on("changed", (...args) => heard.one.push(args));
		two.on("changed", (...args) => heard.two.push(args));
		two.on("told", (...args) => heard.told.push(args));
		// An answered action proves that the subscriptions before it have arrived.
		await Promise.all([one.count(), two.count()]);
		await handle.add(7);
		await two.tellMe("only you");
		await until("events arrive", () => heard.one.length && heard.two.length && heard.told.length);
		assert.deepEqual(heard, { one: [[7, { by: 7 }]], two: [[7, { by: 7 }]], told: [["only you"]] });
		await Promise.all([one.dispose(), two.dispose()]);
	});

	test(`a user's error in ${encoding}`, async () => {
		const clumsy = typed.clumsy.getOrCreate([key()]);
		const connection = clumsy.connect();
		for (const handle of [clumsy, connection]) {
			const error = await refused(handle.userError(), "user", "not_today");
			assert.equal(error.message, "not today");
			assert.deepEqual(error.metadata, { retry: 7 });
		}
		await connection.dispose();
	});
}

test("an unsubscribed event is not delivered", async () => {
	const handle = client.counter.getOrCreate([key()]);
	const connection = handle.connect();
	const heard = [];
	const stop = connection.on("changed", (count) => heard.push(count));
	connection.once("changed", (count) => heard.push(`once ${count}`));
	await connection.add(1);
	await until("the first event", () => heard.length === 2);
	await connection.add(1);
	await until("the second event", () => heard.length === 3);
	stop();
	await connection.add(1);
	await connection.count();
	assert.deepEqual(heard, [1, "once 1", 2]);
	await connection.dispose();
});

test("large arguments and answers", async () => {
	const echo = client.echo.getOrCreate([key()]);
	const large = "y".repeat(3 * 1024 * 1024);
	assert.equal(await echo.size(large), large.length);
	assert.equal((await echo.make(large.length)).length, large.length);
	const connection = echo.connect();
	assert.equal(await connection.size(large), large.length);
	assert.equal((await connection.make(large.length)).length, large.length);
	await connection.dispose();
});

test("calls at the same time do not wait for each other", async () => {
	const echo = client.echo.getOrCreate([key()]);
	await echo.back();
	const connection = echo.connect();
	const order = [];
	await Promise.all([
		connection.slow(600, "slow").then((value) => order.push(value)),
		connection.slow(1, "quick").then((value) => order.push(value)),
		echo.slow(1, "quick too").then((value) => order.push(value)),
	]);
	assert.equal(order.at(-1), "slow");
	await connection.dispose();
});

test("32 actors answer at the same time", async () => {
	const counters = Array.from({ length: 32 }, () => client.counter.getOrCreate([key()]));
	const counts = await Promise.all(counters.map((counter, at) => counter.add(at)));
	assert.deepEqual(counts, counters.map((_, at) => at));
});

test("200 calls at the same time on one actor lose nothing", async () => {
	const counter = client.counter.getOrCreate([key()]);
	await Promise.all(Array.from({ length: 200 }, () => counter.add(1)));
	assert.equal(await counter.count(), 200);
});

test("an actor knows what it is", async () => {
	const parts = [key(), "with/slash", "ünï"];
	const handle = client.counter.getOrCreate(parts);
	const about = await handle.about();
	assert.deepEqual(about, { actorId: await handle.resolve(), name: "counter", key: parts, region: about.region });
	assert.equal((await handle.where()).pid, app.pid);
});

test("an unknown action is refused", async () => {
	const error = await refused(client.counter.getOrCreate([key()]).nonsense(), "actor", "action_not_found");
	assert.match(error.message, /nonsense/);
});

test("an unknown actor name is refused", async () => {
	const handle = client.nobodyKnowsThis.getOrCreate([key()]);
	await assert.rejects(handle.action({ name: "add", args: [], signal: AbortSignal.timeout(8_000) }));
});
