// Queues: every way to take a message, and what comes of those nobody takes.
import assert from "node:assert/strict";
import { Engine, key, refused, test, until } from "./harness.mjs";

const engine = await Engine.start();
const app = await engine.app();
const client = engine.client();
const mailbox = (options) => client.mailbox.getOrCreate([key()], options);

test("next takes the oldest of its names, and leaves the others", async () => {
	const box = mailbox();
	await box.send("plain", "a");
	await box.send("other", "b");
	await box.send("plain", "c");
	assert.equal(await box.next({ names: ["other"], timeout: 1_000 }), "b");
	assert.equal(await box.next({ names: ["plain", "other"], timeout: 1_000 }), "a");
	assert.equal(await box.next({ timeout: 1_000 }), "c");
});

test("next waits for a message, and no longer than it was told", async () => {
	const box = mailbox();
	assert.equal(await box.next({ names: ["plain"], timeout: 200 }), null);
	const waiting = box.next({ names: ["plain"], timeout: 10_000 });
	await box.send("other", "not this");
	await box.send("plain", "this");
	assert.equal(await waiting, "this");
});

test("two who wait share what comes", async () => {
	const box = mailbox();
	await box.next({ timeout: 1 });
	const waiting = [1, 2].map(() => box.next({ names: ["plain"], timeout: 10_000 }));
	await box.send("plain", "one");
	await box.send("plain", "two");
	assert.deepEqual((await Promise.all(waiting)).sort(), ["one", "two"]);
});

test("a batch takes as many as it may", async () => {
	const box = mailbox();
	for (let n = 0; n < 5; n += 1) await box.send(n % 2 ? "other" : "plain", n);
	assert.deepEqual(await box.batch({ names: ["plain", "other"], count: 3, timeout: 1_000 }), [["plain", 0], ["other", 1], ["plain", 2]]);
	assert.deepEqual(await box.batch({ names: ["plain", "other"], count: 10, timeout: 1_000 }), [["other", 3], ["plain", 4]]);
	assert.deepEqual(await box.batch({ names: ["plain"], count: 10, timeout: 100 }), []);
});

test("tryNext does not wait", async () => {
	const box = mailbox();
	assert.equal(await box.tryNext({ names: ["plain"] }), null);
	for (const body of ["a", "b", "c"]) await box.send("plain", body);
	assert.equal(await box.tryNext({ names: ["plain"] }), "a");
	assert.deepEqual(await box.tryBatch({ names: ["plain"], count: 5 }), ["b", "c"]);
});

test("waitForNames answers with what came, and gives up in time", async () => {
	const box = mailbox();
	const waiting = box.wait(["plain", "other"], { timeout: 10_000 });
	await box.send("other", "hello");
	assert.equal(await waiting, "hello");
	await refused(box.wait(["plain"], { timeout: 200 }), "queue", "timed_out");
});

test("iter goes through everything", async () => {
	const box = mailbox();
	for (let n = 0; n < 3; n += 1) await box.send("plain", n);
	const iterating = box.iterate(5);
	for (let n = 3; n < 5; n += 1) await box.send("plain", n);
	assert.deepEqual(await iterating, [0, 1, 2, 3, 4]);
});

test("a sender waits for the completion, over HTTP and over a connection", async () => {
	const box = mailbox();
	const connection = box.connect();
	for (const sender of [box, connection]) {
		const sending = sender.send("answered", "question", { wait: true, timeout: 10_000 });
		assert.equal(await box.answer({ timeout: 10_000 }), "question");
		assert.deepEqual(await sending, { status: "completed", response: { seen: "question" } });
	}
	await connection.dispose();
});

test("an actor waits for the completion of its own message", async () => {
	const box = mailbox();
	const asking = box.ask("inner", 10_000);
	assert.equal(await box.answer({ timeout: 10_000 }), "inner");
	assert.deepEqual(await asking, { seen: "inner" });
	await refused(box.ask("nobody", 200), "queue", "timed_out");
});

test("a message that is taken but not completed comes back in the next life", async () => {
	const box = mailbox();
	await box.send("answered", "again");
	assert.equal(await box.drop(), "again");
	await box.nap();
	await engine.stopped(app, await box.resolve());
	assert.equal(await box.answer({ timeout: 5_000 }), "again");
	assert.equal(await box.answer({ timeout: 200 }), null);
});

test("a message wakes a sleeping actor, and its sender gets the answer", async () => {
	const worker = client.worker.getOrCreate([key()]);
	await worker.done();
	const id = await worker.resolve();
	await engine.sleepIn(app, id);
	assert.deepEqual(await worker.send("jobs", { n: 4 }, { wait: true, timeout: 10_000 }), { status: "completed", response: { doubled: 8 } });
});

test("40 messages sent at once to a sleeping actor all arrive, once", async () => {
	const box = mailbox();
	await box.next({ timeout: 1 });
	await engine.sleepIn(app, await box.resolve());
	await Promise.all(Array.from({ length: 40 }, (_, n) => box.send("plain", n)));
	const got = (await box.batch({ names: ["plain"], count: 50, timeout: 1_000 })).map(([, body]) => body);
	assert.deepEqual(got.sort((a, b) => a - b), Array.from({ length: 40 }, (_, n) => n));
});

test("a full queue refuses, and takes again when there is room", async () => {
	const box = mailbox();
	for (let n = 0; n < 50; n += 1) await box.send("plain", n);
	await refused(box.send("plain", 50), "queue", "full");
	assert.equal(await box.next({ names: ["plain"], timeout: 1_000 }), 0);
	await box.send("plain", 50);
});

test("a message that is too large is refused", async () => {
	await refused(mailbox().send("plain", "m".repeat(5_000)), "queue", "message_too_large");
});

test("a queue may be closed to some", async () => {
	const k = key();
	await client.mailbox.getOrCreate([k], { params: { user: "ada" } }).send("guarded", "hello");
	await assert.rejects(client.mailbox.getOrCreate([k], { params: { user: "bob" } }).send("guarded", "hello"), (error) => /forbidden/.test(error.code));
	assert.equal(await client.mailbox.getOrCreate([k]).next({ names: ["guarded"], timeout: 1_000 }), "hello");
	assert.equal(await client.mailbox.getOrCreate([k]).next({ names: ["guarded"], timeout: 100 }), null);
});

test("a sender gives up", async () => {
	const box = mailbox();
	await box.next({ timeout: 1 });
	const abort = new AbortController();
	const sending = box.send("answered", "x", { wait: true, timeout: 60_000, signal: abort.signal });
	await until("it is queued", async () => (await box.drop()) === "x");
	abort.abort();
	await assert.rejects(sending);
});

test("what is sent to a queue during sleep after sleep is kept in order", async () => {
	const box = mailbox();
	const id = await box.resolve();
	await box.next({ timeout: 1 });
	for (let n = 1; n <= 3; n += 1) {
		await engine.sleepIn(app, id, n);
		await box.send("plain", n);
	}
	assert.deepEqual((await box.batch({ names: ["plain"], count: 10, timeout: 1_000 })).map(([, body]) => body), [1, 2, 3]);
});
