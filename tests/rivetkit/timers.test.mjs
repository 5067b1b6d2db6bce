// Schedules: what runs late, in a later life, or after the engine was dead.
import assert from "node:assert/strict";
import { Engine, key, test, until } from "./harness.mjs";

const engine = await Engine.start();
await engine.app();
const client = engine.client();

test("after runs while the actor is awake", async () => {
	const timer = client.timer.getOrCreate([key()]);
	const asked = Date.now();
	await timer.after(300, "soon");
	await until("it ran", async () => (await timer.ran()).length === 1);
	const [{ text, at, wake }] = await timer.ran();
	assert.deepEqual([text, wake], ["soon", 1]);
	assert.ok(at - asked >= 300, `ran after ${at - asked} ms`);
});

for (const [how, plan] of [
	["after", (timer, ms) => timer.after(ms, "later")],
	["at", (timer, ms) => timer.at(Date.now() + ms, "later")],
]) {
	test(`${how} wakes a sleeping actor in time`, async () => {
		const timer = client.timer.getOrCreate([key()]);
		await timer.wakes();
		const id = await timer.resolve();
		const due = Date.now() + 2_500;
		await plan(timer, 2_500);
		await timer.nap();
		await engine.asleep(id);
		// Asked of the engine and not of the actor: a call would wake it.
		await until("the alarm wakes it", async () => (await engine.actor(id)).connectable_ts, 10_000);
		assert.ok(Date.now() >= due - 50, "woke too early");
		assert.ok(Date.now() < due + 2_000, `woke ${Date.now() - due} ms late`);
		await until("it ran", async () => (await timer.ran()).length === 1);
		assert.equal((await timer.ran())[0].wake, 2);
	});
}

test("an alarm in the past runs at once", async () => {
	const timer = client.timer.getOrCreate([key()]);
	await timer.at(Date.now() - 10_000, "past");
	await until("it ran", async () => (await timer.ran()).length === 1, 3_000);
});

test("an alarm due during the way to sleep is not lost", async () => {
	const timer = client.timer.getOrCreate([key()]);
	await timer.after(30, "between");
	await timer.nap();
	await until("it ran", async () => (await timer.ran()).length === 1, 5_000);
});

test("several alarms run in order, over several sleeps", async () => {
	const timer = client.timer.getOrCreate([key()]);
	await timer.after(3_000, "third");
	await timer.after(1_000, "first");
	await timer.after(2_000, "second");
	const id = await timer.resolve();
	await timer.nap();
	for (const count of [1, 2, 3]) {
		await engine.asleep(id).catch(() => {});
		await until(`alarm ${count} wakes it`, async () => (await engine.actor(id)).connectable_ts, 6_000);
		await until(`alarm ${count} ran`, async () => (await timer.ran()).length >= count);
		if (count < 3) await timer.nap();
	}
	assert.deepEqual((await timer.ran()).map((entry) => entry.text), ["first", "second", "third"]);
});

test("a cancelled alarm does not run", async () => {
	const timer = client.timer.getOrCreate([key()]);
	const id = await timer.after(3_000, "never");
	await timer.after(3_500, "after it");
	assert.deepEqual((await timer.pending()).map(({ action, args }) => [action, ...args]), [["run", "never"], ["run", "after it"]]);
	assert.equal(await timer.cancel(id), true);
	await until("the other ran", async () => (await timer.ran()).length > 0);
	assert.deepEqual((await timer.ran()).map((entry) => entry.text), ["after it"]);
});

test("50 actors with an alarm at the same moment all wake", async () => {
	const due = Date.now() + 5_000;
	const timers = Array.from({ length: 50 }, () => client.timer.getOrCreate([key()]));
	await Promise.all(timers.map(async (timer) => {
		await timer.at(due, "together");
		await timer.nap();
	}));
	await until("all ran", async () => {
		if (Date.now() < due) return false;
		const ran = await Promise.all(timers.map((timer) => timer.ran()));
		return ran.every((entries) => entries.length === 1);
	}, 20_000);
});
