// What lives in an app when it, or its engine, is struck: each row is prepared before, and checked after.
//
// A row is `{ what, prepare, when }`: `prepare` answers with the check, and `when` says which disasters it is for.
//
// Where a disaster `cuts` commits off, RivetKit starts the actor again from what is written. It writes an actor's state a little
// later than that a step of a workflow has run, or that a message of a queue is done: what a step put into state may be gone then.
import assert from "node:assert/strict";
import { key, pause, until } from "./harness.mjs";

/// Each try is given up after a while, and made again.
const tries = (what, call, within = 60_000) => until(what, () => Promise.race([call(), pause(4_000).then(() => assert.fail("no answer"))]), within);
const sorted = (numbers) => [...numbers].sort((a, b) => a - b);
const numbers = (count) => Array.from({ length: count }, (_, n) => n);
/// How it ended; may be looked at later.
const settled = (promise) => promise.then((value) => ({ value }), (error) => ({ error }));

export const residents = [
	{
		what: "50 awake actors answer, with their state",
		async prepare({ client }) {
			const counters = numbers(50).map(() => client.counter.getOrCreate([key()]));
			await Promise.all(counters.map(async (counter, n) => {
				await counter.add(n + 1);
				await counter.save();
			}));
			return async () => {
				const counts = await Promise.all(counters.map((counter, n) => tries(`actor ${n} answers`, async () => ({ count: await counter.count() }))));
				assert.deepEqual(counts.map(({ count }) => count), numbers(50).map((n) => n + 1));
			};
		},
	},
	{
		what: "a workflow goes on where it was",
		async prepare({ client }) {
			const flow = client.loops.getOrCreate([key()], { createWithInput: { rounds: 30, ms: 150 } });
			await until("it has begun", async () => (await flow.state()).log.length > 3);
			return async ({ disaster }) => {
				const { log } = await tries("it ends", async () => {
					const state = await flow.state();
					return state.log.at(-1) === "sum 435" && state;
				});
				// A step of which nobody knows that it is done runs again.
				const seen = [...new Set(log)].slice(0, -1);
				assert.deepEqual(seen, sorted(seen));
				assert.ok(seen.length === 30 || (disaster.cuts && seen.length > 20), `ran: ${log}`);
			};
		},
	},
	{
		what: "every message of a queue is worked on",
		async prepare({ client }) {
			const worker = client.worker.getOrCreate([key()]);
			const quiet = client.mailbox.getOrCreate([key()]);
			for (const n of numbers(10)) await Promise.all([worker.send("jobs", { n }), quiet.send("plain", n)]);
			return async ({ disaster }) => {
				const done = await tries("all are worked on", async () => {
					const done = [...new Set((await worker.done()).map((job) => job.n))];
					return (done.length === 10 || disaster.cuts) && done;
				});
				assert.deepEqual(done, sorted(done));
				assert.deepEqual(await tries("the next is answered", () => worker.send("jobs", { n: 10 }, { wait: true, timeout: 3_000 })), {
					status: "completed",
					response: { doubled: 20 },
				});
				const left = await tries("the queue answers", () => quiet.batch({ names: ["plain"], count: 20, timeout: 500 }));
				assert.deepEqual(left.map(([, body]) => body), numbers(10));
			};
		},
	},
	{
		what: "a transaction that stood open left nothing, one that was committed everything",
		async prepare({ client, app }) {
			const ledger = client.ledger.getOrCreate([key()]);
			await ledger.add("before");
			await ledger.fill(50, 4_000);
			// A call that was cut off may be made again, in the next app: not there.
			settled(ledger.linger("never", app.pid));
			await until("the transaction stands open", () => ledger.lingers());
			return async () => {
				const rows = await tries("the database answers", () => ledger.query("SELECT text, count(*) AS n FROM entry GROUP BY text ORDER BY text"));
				assert.deepEqual(rows, [{ text: "before", n: 1 }, { text: "fill", n: 50 }]);
				assert.equal((await ledger.query("PRAGMA integrity_check"))[0].integrity_check, "ok");
			};
		},
		// Else it still stands open, and RivetKit gives it a minute.
		when: (disaster) => disaster.kills,
	},
	{
		what: "an alarm that came due meanwhile runs once",
		async prepare({ client, engine, app }) {
			// Asleep: RivetKit itself forgets the alarm of an awake actor when its commit is cut off.
			const timer = client.timer.getOrCreate([key()]);
			await timer.after(4_000, "due");
			await timer.nap();
			await engine.stopped(app, await timer.resolve());
			return async () => {
				const ran = await tries("it ran", async () => {
					const ran = await timer.ran();
					return ran.length > 0 && ran;
				});
				assert.deepEqual(ran.map(({ text }) => text), ["due"]);
			};
		},
	},
	{
		what: "a recurring job is kept",
		async prepare({ client }) {
			const clock = client.clock.getOrCreate([key()]);
			await clock.every({ name: "beat", interval: 5_000, args: ["beat"] });
			await clock.nap();
			return () => tries("it beats", async () => (await clock.ticks()).length > 0 && (await clock.get("beat")).nextRunAt > Date.now() - 6_000);
		},
	},
	{
		what: "what an actor's key-value store had is kept",
		async prepare({ client }) {
			const store = client.store.getOrCreate([key()]);
			for (const n of numbers(20)) await store.put(`k:${n}`, `value ${n}`);
			return async () => assert.equal((await tries("it answers", () => store.list("k:"))).length, 20);
		},
	},
	{
		what: "a request that was under way is answered or refused",
		async prepare({ client }) {
			const echo = client.echo.getOrCreate([key()]);
			await echo.back();
			const calling = settled(echo.slow(3_000, "slow"));
			return async () => {
				const how = await Promise.race([calling, pause(50_000).then(() => assert.fail("neither"))]);
				assert.ok(how.error || how.value === "slow", JSON.stringify(how));
				assert.deepEqual(await tries("the next works", () => echo.back(1)), [1]);
			};
		},
		// Else its answer is gone, and nobody can know that.
		when: (disaster) => !disaster.swallows,
	},
	{
		what: "a stream that was under way ends, and the next works",
		async prepare({ engine, pool }) {
			const url = engine.url + engine.path("shapes", key(), "request/endless", { pool });
			// An engine that keeps the answer back until it is complete has nothing to give.
			const got = await Promise.race([settled(fetch(url)), pause(2_000)]);
			const reading = got?.value && settled(got.value.text());
			return async ({ disaster }) => {
				if (reading && disaster.endsStreams) await Promise.race([reading, pause(50_000).then(() => assert.fail("it goes on"))]);
				await tries("the next works", async () => (await fetch(url.replace("endless", "echo"))).ok);
			};
		},
	},
	{
		what: "a socket of a sleeping actor lives on",
		async prepare({ engine, client, pool, app }) {
			const k = key();
			const socket = await engine.socket(engine.path("sleeper", k, "websocket/", { pool }));
			socket.send("before");
			await socket.next();
			await engine.sleepIn(app, await client.sleeper.getOrCreate([k]).resolve());
			return async () => {
				socket.send("after");
				assert.equal(JSON.parse(await socket.next(60_000)).echo, "after");
				socket.close();
			};
		},
		when: (disaster) => disaster.to === "app",
	},
	{
		what: "a hibernatable socket of an awake actor lives on",
		async prepare({ engine, client, pool }) {
			const k = key();
			const socket = await engine.socket(engine.path("tally", k, "websocket/", { pool }));
			for (const n of numbers(10)) socket.send(String(n));
			socket.send("?");
			assert.equal(JSON.parse(await socket.next()).expected, 10);
			// Written soon after, as all state is.
			await pause(1_500);
			return async () => {
				socket.send("10");
				socket.send("?");
				const { expected, wrong } = JSON.parse(await socket.next(60_000));
				assert.deepEqual({ expected, wrong }, { expected: 11, wrong: [] });
				assert.equal((await client.tally.getOrCreate([k]).state()).expected, 11);
				socket.close();
			};
		},
		when: (disaster) => disaster.to === "app",
	},
	{
		what: "sockets are closed, and new ones work",
		async prepare({ engine, pool }) {
			const paths = ["web", "sleeper"].map((name) => engine.path(name, key(), "websocket/", { pool }));
			const sockets = await Promise.all(paths.map((path) => engine.socket(path)));
			for (const socket of sockets) {
				socket.send("before");
				await socket.next();
			}
			return async () => {
				for (const socket of sockets) await socket.end(40_000);
				for (const path of paths) {
					await tries("a new one works", async () => {
						const socket = await engine.socket(path);
						socket.send("after");
						return /after/.test(await socket.next(3_500));
					});
				}
			};
		},
		when: (disaster) => disaster.to === "engine",
	},
	{
		what: "a connection goes on, by itself or anew",
		async prepare({ client }) {
			const handle = client.lobby.getOrCreate([key()]);
			const heard = [];
			const connect = () => {
				const connection = handle.connect({ user: "ada" });
				connection.on("news", (what) => heard.push(what));
				return connection;
			};
			let connection = connect();
			await connection.note("before");
			return async () => {
				await until("it answers", async () => {
					const answer = await Promise.race([settled(connection.note("after")), pause(2_000)]);
					if (answer?.value) return true;
					// RivetKit gives up when its own attempt came too early.
					connection.dispose();
					connection = connect();
				}, 60_000);
				await handle.news("after");
				await until("it hears events", () => heard.includes("after"));
				connection.dispose();
			};
		},
	},
];

/// Prepares all residents of every disaster, lets it strike, and has a test for each. While one is waited for, the next is prepared.
export function survive(test, disasters, life) {
	const rowsOf = (disaster) => residents.filter((row) => !row.when || row.when(disaster));
	const struck = new Map();
	test("disasters strike", async () => {
		for (const disaster of disasters) {
			const prepared = await life();
			// One that cannot be prepared is told by its own test.
			const made = await Promise.all(rowsOf(disaster).map((row) => settled(row.prepare(prepared))));
			const over = disaster.strike(prepared);
			struck.set(disaster, made.map(({ value: check, error }) => settled(over.then(() => (error ? Promise.reject(error) : check({ ...prepared, disaster }))))));
		}
	}, { timeout: 120_000 });
	for (const disaster of disasters) {
		for (const [at, { what }] of rowsOf(disaster).entries()) {
			test(`${disaster.name}: ${what}`, async () => {
				assert.ok(struck.has(disaster), "it did not strike");
				const { error } = await struck.get(disaster)[at];
				if (error) throw error;
			}, { timeout: 120_000 });
		}
	}
}
