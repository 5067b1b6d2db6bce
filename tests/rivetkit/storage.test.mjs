// Queues, SQLite and the old key-value interface.
import assert from "node:assert/strict";
import { Engine, key, test } from "./harness.mjs";

const engine = await Engine.start();
await engine.app();
const client = engine.client();

test("a queued message is worked on and answered", async () => {
	const worker = client.worker.getOrCreate([key()]);
	assert.deepEqual(await worker.send("jobs", { n: 21 }, { wait: true, timeout: 10_000 }), { status: "completed", response: { doubled: 42 } });
	assert.deepEqual(await worker.done(), [{ n: 21 }]);
});

for (const encoding of ["json", "cbor", "bare"]) {
	test(`a queue over HTTP in ${encoding}`, async () => {
		const worker = engine.client({ encoding }).worker.getOrCreate([key()]);
		assert.deepEqual(await worker.send("jobs", { n: 4 }, { wait: true, timeout: 10_000 }), { status: "completed", response: { doubled: 8 } });
	});
}

test("messages queued without waiting are worked on in order", async () => {
	const worker = client.worker.getOrCreate([key()]);
	for (let n = 0; n < 5; n += 1) await worker.send("jobs", { n });
	await worker.send("jobs", { n: 5 }, { wait: true, timeout: 10_000 });
	assert.deepEqual((await worker.done()).map((job) => job.n), [0, 1, 2, 3, 4, 5]);
});

test("waiting for a message that is never completed times out", async () => {
	const worker = client.worker.getOrCreate([key()]);
	assert.equal((await worker.send("jobs", { never: true }, { wait: true, timeout: 300 })).status, "timedOut");
});

test("queued messages survive sleep", async () => {
	const worker = client.worker.getOrCreate([key()]);
	await worker.send("quiet", "a");
	await worker.send("quiet", "b");
	await engine.sleep(await worker.resolve());
	assert.deepEqual(await worker.take(), ["a", "b"]);
});

test("SQLite keeps rows over sleep", async () => {
	const notes = client.notes.getOrCreate([key()]);
	await notes.insert("one", 1.5);
	await notes.insert("two 🦀");
	await notes.nap();
	await engine.asleep(await notes.resolve());
	assert.deepEqual(await notes.all(), [
		{ id: 1, text: "one", real: 1.5 },
		{ id: 2, text: "two 🦀", real: null },
	]);
});

test("SQLite undoes a transaction that fails", async () => {
	const notes = client.notes.getOrCreate([key()]);
	await notes.undone();
	await notes.insert("kept");
	assert.deepEqual((await notes.all()).map((note) => note.text), ["kept"]);
});

test("SQLite errors reach the caller as errors", async () => {
	const notes = client.notes.getOrCreate([key()]);
	await assert.rejects(notes.query("SELEKT"));
	await notes.insert("still fine");
	assert.equal((await notes.all()).length, 1);
});

test("a transaction larger than one commit message is durable", async () => {
	const notes = client.notes.getOrCreate([key()]);
	// 1,000 rows of a page each: three times what one commit may carry.
	await notes.fill(1_000, 4_000);
	const total = async () => (await notes.query("SELECT count(*) AS n, sum(length(blob)) AS bytes FROM note"))[0];
	assert.deepEqual(await total(), { n: 1_000, bytes: 4_000_000 });
	await notes.nap();
	await engine.asleep(await notes.resolve());
	assert.deepEqual(await total(), { n: 1_000, bytes: 4_000_000 });
	assert.equal((await notes.query("PRAGMA integrity_check"))[0].integrity_check, "ok");
}, { timeout: 120_000 });

test("a database shrinks and grows again", async () => {
	const notes = client.notes.getOrCreate([key()]);
	await notes.fill(200, 4_000);
	await notes.query("DELETE FROM note WHERE id > 10");
	await notes.query("VACUUM");
	await notes.fill(50, 4_000);
	await engine.sleep(await notes.resolve());
	assert.equal((await notes.query("SELECT count(*) AS n FROM note"))[0].n, 60);
	assert.equal((await notes.query("PRAGMA integrity_check"))[0].integrity_check, "ok");
});

test("two databases do not know each other", async () => {
	const [one, two] = [client.notes.getOrCreate([key()]), client.notes.getOrCreate([key()])];
	await one.insert("mine");
	assert.deepEqual(await two.all(), []);
});

test("a destroyed actor's database is gone", async () => {
	const k = key();
	const notes = client.notes.getOrCreate([k]);
	await notes.insert("mine");
	await engine.api("DELETE", `/actors/${await notes.resolve()}`);
	assert.deepEqual(await client.notes.getOrCreate([k]).all(), []);
});

test("the key-value interface keeps, lists and drops", async () => {
	const store = client.store.getOrCreate([key()]);
	for (const name of ["a:1", "a:2", "b:1"]) await store.put(name, `value of ${name}`);
	assert.equal(await store.get("a:1"), "value of a:1");
	assert.equal(await store.get("nothing"), null);
	assert.deepEqual(await store.list("a:"), [["a:1", "value of a:1"], ["a:2", "value of a:2"]]);
	assert.deepEqual(await store.list("a:", { reverse: true, limit: 1 }), [["a:2", "value of a:2"]]);
	await store.drop("a:1");
	await store.nap();
	await engine.asleep(await store.resolve());
	assert.deepEqual(await store.list("a:"), [["a:2", "value of a:2"]]);
	assert.deepEqual(await store.bytes("raw", [0, 255, 7]), [0, 255, 7]);
});
