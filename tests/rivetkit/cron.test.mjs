// Recurring jobs, and schedules over several sleeps.
import assert from "node:assert/strict";
import { Engine, key, test, until } from "./harness.mjs";

const engine = await Engine.start();
const app = await engine.app();
const client = engine.client();
const clock = () => client.clock.getOrCreate([key()]);

test("jobs are set, found, listed and deleted", async () => {
	const actor = clock();
	await actor.set({ name: "nightly", expression: "0 3 * * *", timezone: "Europe/Warsaw", args: ["night"] });
	await actor.every({ name: "often", interval: 60_000, args: ["often", 2], maxHistory: 5 });
	const list = await actor.list();
	assert.deepEqual(list.map((job) => job.name).sort(), ["nightly", "often"]);
	const nightly = await actor.get("nightly");
	assert.deepEqual([nightly.kind, nightly.expression, nightly.timezone, nightly.args], ["cron", "0 3 * * *", "Europe/Warsaw", ["night"]]);
	assert.ok(nightly.nextRunAt > Date.now() && nightly.nextRunAt < Date.now() + 25 * 3_600_000);
	const often = await actor.get("often");
	assert.deepEqual([often.kind, often.interval, often.maxHistory], ["every", 60_000, 5]);
	assert.equal(await actor.remove("often"), true);
	assert.equal(await actor.remove("often"), false);
	assert.equal(await actor.get("often"), null);
});

test("a job survives sleep, and its next time with it", async () => {
	const actor = clock();
	await actor.set({ name: "hourly", expression: "0 * * * *" });
	const before = await actor.get("hourly");
	await actor.nap();
	await engine.stopped(app, await actor.resolve());
	assert.deepEqual(await actor.get("hourly"), before);
});

test("a job by interval wakes its actor again and again", async () => {
	const actor = clock();
	await actor.every({ name: "often", interval: 5_000, args: ["beat"] });
	const id = await actor.resolve();
	for (const beat of [1, 2]) {
		await actor.nap();
		await engine.stopped(app, id, beat);
		await until(`beat ${beat} wakes it`, async () => (await engine.actor(id)).connectable_ts, 12_000);
		await until(`beat ${beat} is noted`, async () => (await actor.ticks()).length >= beat);
	}
	const ticks = await actor.ticks();
	assert.deepEqual(ticks.slice(0, 2).map(({ what, wake }) => [what, wake]), [["beat", 2], ["beat", 3]]);
	const history = await actor.history("often");
	assert.ok(history.length >= 2 && history.every((fire) => fire.action === "tick" && fire.result === "ok"), JSON.stringify(history));
});

test("a job that throws is in the history, and goes on", async () => {
	const actor = clock();
	await actor.every({ name: "bad", interval: 5_000, action: "trip" });
	const history = await until("it tripped", async () => {
		const history = await actor.history("bad");
		return history.some((fire) => fire.result === "error") && history;
	}, 12_000);
	assert.equal(history.find((fire) => fire.result === "error").error.code, "tripped");
	assert.ok((await actor.get("bad")).nextRunAt > Date.now() - 1_000);
});

for (const [what, options] of [
	["an expression that is none", { name: "bad", expression: "not a time" }],
	["a timezone nobody knows", { name: "bad", expression: "0 * * * *", timezone: "Moon/Base" }],
]) {
	test(`refused: ${what}`, () => assert.rejects(clock().set(options)));
}

test("refused: an interval that is too short", () => assert.rejects(clock().every({ name: "bad", interval: 10 })));

test("schedules are found by id, listed in order and cancelled once", async () => {
	const actor = clock();
	const late = await actor.plan(60_000, "late");
	const soon = await actor.plan(30_000, "soon");
	assert.deepEqual((await actor.plans()).map((plan) => plan.id), [soon, late]);
	assert.deepEqual((await actor.planned(soon)).args, ["soon"]);
	assert.equal(await actor.unplan(soon), true);
	assert.equal(await actor.unplan(soon), false);
	assert.equal(await actor.planned(soon), null);
	await actor.nap();
	await engine.stopped(app, await actor.resolve());
	assert.deepEqual((await actor.plans()).map((plan) => plan.id), [late]);
});

test("a schedule that is cancelled does not wake a sleeping actor", async () => {
	const [one, other] = [clock(), clock()];
	await one.unplan(await one.plan(1_500, "never"));
	await one.nap();
	const id = await one.resolve();
	await engine.stopped(app, id);
	// Another one's alarm, due later, tells that the time has passed.
	await other.plan(2_500, "yes");
	await other.nap();
	await until("the other ran", async () => (await engine.actor(await other.resolve())).connectable_ts && (await other.order()).length === 1);
	assert.ok((await engine.actor(id)).sleep_ts, "it woke for a cancelled schedule");
});

test("60 schedules over several sleeps run once each", async () => {
	const actor = clock();
	const expected = [];
	for (let n = 0; n < 60; n += 1) {
		await actor.plan(1_500 + n * 60, n);
		expected.push(n);
	}
	const id = await actor.resolve();
	for (;;) {
		const done = await until("more ran", async () => {
			const order = await actor.order();
			return order.length > 0 && order;
		});
		if (done.length === 60) break;
		await actor.nap();
		await until("it stops or sleeps", async () => (await engine.actor(id)).sleep_ts || (await engine.actor(id)).connectable_ts);
	}
	// Those due together run together: their order is RivetKit's affair.
	assert.deepEqual((await actor.order()).sort((a, b) => a - b), expected);
});

test("an alarm that comes due while its actor stops runs soon after", async () => {
	const actor = client.drowsy.getOrCreate([key()]);
	await actor.after(700, "during the stop");
	await actor.nap();
	await engine.stopped(app, await actor.resolve()).catch(() => {});
	await until("it ran", async () => (await actor.state()).ran.length === 1, 5_000);
	assert.equal((await actor.state()).ran[0].wake, 2);
});
