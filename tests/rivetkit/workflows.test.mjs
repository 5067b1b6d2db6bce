// Workflows: steps, loops, sleeps and queues that go on where they were.
import assert from "node:assert/strict";
import { Engine, key, test, until } from "./harness.mjs";

const engine = await Engine.start();
const app = await engine.app();
const client = engine.client();

const ends = async (actor, line, within = 20_000) => {
	const state = await until(`the log ends with ${line}`, async () => {
		const state = await actor.state();
		return state.log.at(-1) === line && state;
	}, within);
	return state;
};

test("steps, a retry, a join, a sleep and a race run to the end", async () => {
	const actor = client.steps.getOrCreate([key()]);
	const { log } = await ends(actor, "won by quick");
	assert.deepEqual(log, ["first", "flaky after 3", "joined 3", "rested", "won by quick"]);
});

test("a workflow that sleeps lets its actor sleep, and wakes it", async () => {
	const actor = client.steps.getOrCreate([key()]);
	const id = await actor.resolve();
	// Not asked of the actor meanwhile: a call would keep it awake.
	await engine.stopped(app, id);
	// In the app's log: it may have come and gone between two looks at the API.
	await until("the workflow wakes it", () => app.text().split("\n").some((line) => line.includes(id) && line.includes("generation=2 ")));
	const { log, wakes } = await ends(actor, "won by quick");
	assert.deepEqual(log, ["first", "flaky after 3", "joined 3", "rested", "won by quick"]);
	assert.ok(wakes >= 2);
});

test("a loop keeps its state", async () => {
	const { log } = await ends(client.loops.getOrCreate([key()]), "sum 45");
	assert.deepEqual(log, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, "sum 45"]);
});

test("a loop goes on where it was when its actor slept in the middle", async () => {
	const actor = client.loops.getOrCreate([key()], { createWithInput: { rounds: 8, ms: 250 } });
	const id = await actor.resolve();
	for (const wake of [1, 2]) {
		await until("it has begun", async () => (await actor.state()).log.length >= wake * 2);
		await actor.nap();
		await engine.stopped(app, id, wake);
	}
	const { log, wakes } = await ends(actor, "sum 28");
	// The step in which it fell asleep runs again.
	assert.deepEqual([...new Set(log)], [0, 1, 2, 3, 4, 5, 6, 7, "sum 28"]);
	assert.ok(log.length <= 11, `steps were repeated: ${log}`);
	assert.equal(wakes, 3);
});

test("a workflow that is fed by a queue answers in order", async () => {
	const actor = client.orders.getOrCreate([key()]);
	for (const n of [1, 2, 3]) {
		assert.deepEqual(await actor.send("orders", n, { wait: true, timeout: 10_000 }), { status: "completed", response: { done: n } });
	}
	assert.deepEqual((await actor.state()).log, [1, 2, 3]);
});

test("a message wakes a workflow that waits for it asleep", async () => {
	const actor = client.orders.getOrCreate([key()]);
	await actor.send("orders", 1, { wait: true, timeout: 10_000 });
	await actor.nap();
	await engine.stopped(app, await actor.resolve());
	await actor.send("orders", 2);
	await until("it was worked on", async () => (await actor.state()).log.length === 2);
	assert.deepEqual((await actor.state()).log, [1, 2]);
});

test("20 workflows at the same time", async () => {
	const actors = Array.from({ length: 20 }, () => client.loops.getOrCreate([key()]));
	await Promise.all(actors.map((actor) => ends(actor, "sum 45", 40_000)));
});
