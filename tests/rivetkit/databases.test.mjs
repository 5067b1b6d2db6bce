// SQLite as apps use it: drizzle, migrations, many queries at once, state in transactions, much data, and crashes.
import assert from "node:assert/strict";
import { Engine, key, pause, test, until } from "./harness.mjs";

const engine = await Engine.start();
const app = await engine.app();
const client = engine.client();
const integrity = async (ledger) => assert.equal((await ledger.query("PRAGMA integrity_check"))[0].integrity_check, "ok");

test("drizzle inserts, selects and keeps rows over sleep", async () => {
	const items = client.items.getOrCreate([key()]);
	await items.add("one", "two 🦀");
	await items.nap();
	await engine.stopped(app, await items.resolve());
	assert.deepEqual(await items.all(), [{ id: 1, name: "one" }, { id: 2, name: "two 🦀" }]);
});

test("drizzle's transactions are kept or undone as a whole", async () => {
	const items = client.items.getOrCreate([key()]);
	await items.both(["a", "b"], false);
	await items.both(["c", "d"], true);
	assert.deepEqual((await items.all()).map((item) => item.name), ["a", "b"]);
});

test("queries at the same time all see a whole database", async () => {
	const ledger = client.ledger.getOrCreate([key()]);
	assert.deepEqual(await ledger.many(50), Array(50).fill(50));
	await Promise.all(Array.from({ length: 50 }, (_, n) => ledger.add(`call ${n}`)));
	assert.equal((await ledger.texts()).length, 100);
	await integrity(ledger);
});

test("state and rows of one transaction are kept or undone together", async () => {
	const ledger = client.ledger.getOrCreate([key()]);
	const outcome = [];
	for (const fail of [false, true, false]) outcome.push(await ledger.together(`entry ${outcome.length}`, fail));
	assert.deepEqual(outcome, ["kept", "undone", "kept"]);
	assert.deepEqual(await ledger.texts(), ["entry 0", "entry 2"]);
	await engine.sleepIn(app, await ledger.resolve());
	assert.deepEqual([await ledger.entries(), (await ledger.texts()).length], [2, 2]);
});

test("pragmas, virtual tables and several statements", async () => {
	const ledger = client.ledger.getOrCreate([key()]);
	await ledger.query("PRAGMA user_version = 42");
	await ledger.query("CREATE VIRTUAL TABLE words USING fts5(word)");
	await ledger.query("INSERT INTO words VALUES ('needle'), ('hay')");
	await engine.sleepIn(app, await ledger.resolve());
	assert.equal((await ledger.query("PRAGMA user_version"))[0].user_version, 42);
	assert.deepEqual(await ledger.query("SELECT word FROM words WHERE words MATCH 'needle'"), [{ word: "needle" }]);
	assert.equal((await ledger.query("SELECT json_extract('{\"a\":[1,2]}', '$.a[1]') AS v"))[0].v, 2);
});

test("a database of 60 MiB is there after a sleep", async () => {
	const ledger = client.ledger.getOrCreate([key()]);
	for (let part = 0; part < 6; part += 1) await ledger.fill(2_500, 4_000);
	const total = async () => (await ledger.query("SELECT count(*) AS n, sum(length(blob)) AS bytes FROM entry"))[0];
	assert.deepEqual(await total(), { n: 15_000, bytes: 60_000_000 });
	await engine.sleepIn(app, await ledger.resolve());
	assert.deepEqual(await total(), { n: 15_000, bytes: 60_000_000 });
	await ledger.query("DELETE FROM entry WHERE id > 100");
	await integrity(ledger);
}, { timeout: 120_000 });

test("20 actors write at once, each to its own database", async () => {
	const ledgers = Array.from({ length: 20 }, () => client.ledger.getOrCreate([key()]));
	await Promise.all(ledgers.map(async (ledger, n) => {
		for (let row = 0; row < 10; row += 1) await ledger.add(`${n}:${row}`);
	}));
	for (const [n, ledger] of ledgers.entries()) assert.deepEqual(await ledger.texts(), Array.from({ length: 10 }, (_, row) => `${n}:${row}`));
});

test("migrations run once each, and one that fails undoes all of its start", async () => {
	const pool = key();
	const k = key();
	const things = engine.client({ poolName: pool }).things.getOrCreate([k]);
	const launch = (version, ladder) => engine.app({ pool, version, env: { APP_LADDER: String(ladder) } });
	const first = await launch(1, 1);
	await things.add("old");
	const id = await things.resolve();
	await engine.sleepIn(first, id);
	const second = await launch(2, 2);
	assert.deepEqual(await things.all(), [{ id: 1, name: "old", size: 7 }]);
	await engine.sleepIn(second, id, 2);
	const third = await launch(3, 3);
	await assert.rejects(things.action({ name: "all", args: [], signal: AbortSignal.timeout(6_000) }));
	await third.terminate();
	await until("the app before serves it again", () => Promise.race([things.all(), pause(3_000).then(() => assert.fail("no answer"))]), 60_000);
	assert.deepEqual(await things.all(), [{ id: 1, name: "old", size: 7 }]);
}, { timeout: 120_000 });
