// Raw HTTP in every shape, and the helpers of a RivetKit handle for it.
import assert from "node:assert/strict";
import { request } from "node:http";
import { Engine, key, pause, test, until } from "./harness.mjs";

const engine = await Engine.start();
const app = await engine.app();
const client = engine.client();
const shapes = () => client.shapes.getOrCreate([key()]);
const url = (k, rest) => engine.url + engine.path("shapes", k, `request/${rest}`);

/// Without what fetch hides: `{ status, headers, raw, body }`, once it is complete.
const plain = (target, options = {}) =>
	new Promise((done, failed) => {
		const out = request(target, options, (response) => {
			const parts = [];
			response.on("data", (part) => parts.push(part));
			response.on("end", () => done({ status: response.statusCode, headers: response.headers, raw: response.rawHeaders, body: Buffer.concat(parts).toString() }));
			response.on("error", failed);
		});
		out.on("error", failed);
		out.end(options.body);
	});

// ---- the helpers of a handle ----

test("fetch takes a path, a query, headers, a URL and a Request", async () => {
	const handle = shapes();
	const seen = async (...args) => (await handle.fetch(...args)).json();
	assert.equal((await seen("echo")).path, "/echo");
	assert.equal((await seen("/echo?a=1&a=2&b=%20")).path, "/echo?a=1&a=2&b=%20");
	assert.equal((await seen("echo", { headers: { "x-mine": "yes" } })).headers["x-mine"], "yes");
	const fromUrl = await seen(new URL("http://nobody.example/echo?from=url"));
	assert.match(fromUrl.path, /echo\?from=url$/);
	const fromRequest = await seen(new Request("http://nobody.example/echo?from=request", { method: "PUT", headers: { "x-mine": "request" }, body: "a body" }));
	assert.deepEqual([fromRequest.method, fromRequest.headers["x-mine"], fromRequest.body], ["PUT", "request", "a body"]);
	assert.match(fromRequest.path, /echo\?from=request$/);
});

test("fetch sends forms with files", async () => {
	const form = new FormData();
	form.set("text", "zażółć");
	form.set("file", new File(["inside"], "name.txt", { type: "text/plain" }));
	const answer = await (await shapes().fetch("form", { method: "POST", body: form })).json();
	assert.deepEqual([answer.text, answer.file.name, answer.file.text], ["zażółć", "name.txt", "inside"]);
	assert.match(answer.file.type, /^text\/plain/);
});

for (const [what, body, type, expected] of [
	["text", "hello", /^text\/plain/, "hello"],
	["form values", new URLSearchParams({ a: "1", b: "x y" }), /^application\/x-www-form-urlencoded/, "a=1&b=x+y"],
	["a blob", new Blob(["blob"], { type: "application/x-mine" }), /^application\/x-mine/, "blob"],
	["bytes", new TextEncoder().encode("bytes"), undefined, "bytes"],
	["nothing", "", undefined, ""],
]) {
	test(`fetch sends ${what}`, async () => {
		const seen = await (await shapes().fetch("echo", { method: "POST", body })).json();
		assert.equal(seen.body, expected);
		if (type) assert.match(seen.headers["content-type"], type);
	});
}

test("fetch is given up by its signal, and the next works", async () => {
	const handle = shapes();
	const abort = new AbortController();
	const fetching = handle.fetch("slow?ms=3000&name=none", { signal: abort.signal });
	setTimeout(() => abort.abort(), 200);
	await assert.rejects(fetching, (error) => error.name === "AbortError" || /abort/i.test(error.message));
	assert.equal((await handle.fetch("echo")).status, 200);
});

test("an action is given up by its signal", async () => {
	const handle = client.echo.getOrCreate([key()]);
	await handle.back();
	const started = Date.now();
	await assert.rejects(handle.action({ name: "slow", args: [5_000], signal: AbortSignal.timeout(300) }));
	assert.ok(Date.now() - started < 3_000);
	assert.deepEqual(await handle.back(1), [1]);
});

test("getGatewayUrl leads to the actor, by key and by id", async () => {
	const handle = shapes();
	await handle.fetch("echo");
	const id = await handle.resolve();
	for (const found of [handle, client.shapes.getForId(id)]) {
		const at = new URL(await found.getGatewayUrl());
		assert.equal(at.origin, engine.url);
		at.pathname += "/request/echo";
		const seen = await (await fetch(at)).json();
		assert.equal(seen.path, "/echo");
	}
});

test("webSocket takes a path, a query and protocols", async () => {
	const socket = await client.web.getOrCreate([key()]).webSocket("deep/path?x=1", ["mine"]);
	const answer = new Promise((done) => socket.addEventListener("message", (message) => done(message.data)));
	await new Promise((done) => (socket.readyState === 1 ? done() : socket.addEventListener("open", done)));
	socket.send("hi");
	assert.equal(await answer, "hi");
	socket.close();
});

test("skipReadyWait asks not to wait", async () => {
	const handle = shapes();
	await handle.fetch("echo");
	assert.equal((await handle.fetch("echo", { skipReadyWait: true })).status, 200);
	await engine.sleepIn(app, await handle.resolve());
	const sleeping = await handle.fetch("echo", { skipReadyWait: true });
	assert.ok([200, 503].includes(sleeping.status), `answered ${sleeping.status}`);
	assert.equal((await handle.fetch("echo")).status, 200);
});

test("reload finds the next actor of a key", async () => {
	const k = key();
	const handle = client.shapes.getOrCreate([k]);
	const old = await handle.resolve();
	await engine.api("DELETE", `/actors/${old}`);
	await handle.reload().catch(() => {});
	assert.equal((await handle.fetch("echo")).status, 200);
});

// ---- statuses, headers, methods ----

test("HEAD gives the headers without the body", async () => {
	const k = key();
	const { status, headers, body } = await plain(url(k, "length"), { method: "HEAD" });
	assert.deepEqual([status, headers["x-method"], body], [200, "HEAD", ""]);
});

test("an answer with a length keeps it", async () => {
	const { headers, body } = await plain(url(key(), "length"));
	assert.deepEqual([headers["content-length"], body], ["5", "12345"]);
});

for (const [path, status, header, value] of [["nothing", 204, "x-answer", "yes"], ["unmodified", 304, "etag", '"tag"']]) {
	test(`${status} keeps its headers and has no body`, async () => {
		const answer = await plain(url(key(), path));
		assert.deepEqual([answer.status, answer.headers[header], answer.body], [status, value, ""]);
	});
}

test("several cookies arrive", async () => {
	const { headers, raw } = await plain(url(key(), "cookies"));
	const cookies = headers["set-cookie"].join(", ");
	// RivetKit itself joins them or keeps the last: what it sends arrives.
	assert.match(cookies, /c=3/);
	assert.ok(raw.some((name) => name.toLowerCase() === "set-cookie"));
});

for (const bytes of [8_000, 60_000]) {
	test(`an answer with a header of ${bytes} bytes`, async () => {
		const { status, headers } = await plain(url(key(), `header?bytes=${bytes}`), { maxHeaderSize: 200_000 });
		assert.deepEqual([status, headers["x-large"]?.length], [200, bytes]);
	});
	test(`a request with a header of ${bytes} bytes`, async () => {
		const { status, body } = await plain(url(key(), "echo"), { headers: { "x-large": "h".repeat(bytes) } });
		assert.equal(status, 200);
		assert.equal(JSON.parse(body).headers["x-large"].length, bytes);
	});
}

test("several headers of one name and odd values reach the actor", async () => {
	const { body } = await plain(url(key(), "echo"), { headers: { "x-several": ["one", "two"], cookie: "a=1; b=2", "x-empty": "" } });
	const { headers } = JSON.parse(body);
	assert.match(headers["x-several"], /two/);
	assert.deepEqual([headers.cookie, headers["x-empty"]], ["a=1; b=2", ""]);
});

test("a path of every kind of character reaches the actor as it was sent", async () => {
	const k = key();
	const path = "echo%2Fx/%C5%BC/a+b/'()*;=@:,~";
	const { status } = await plain(url(k, path));
	assert.equal(status, 404);
	const { body } = await plain(url(k, "echo?q=%C5%BC+%2B%26&flag&=x"));
	assert.equal(JSON.parse(body).path, "/echo?q=%C5%BC+%2B%26&flag&=x");
});

// ---- streams ----

/// The answer, which must begin before it is complete.
async function began(fetching, abort) {
	fetching.catch(() => {});
	const answer = await Promise.race([fetching, new Promise((done) => setTimeout(done, 3_000))]);
	if (!answer) abort.abort();
	return answer ?? assert.fail("the answer is kept back");
}

test("server-sent events arrive one by one, and end", async () => {
	const k = key();
	const response = await fetch(url(k, "events"), { headers: { accept: "text/event-stream" } });
	assert.equal(response.headers.get("content-type"), "text/event-stream");
	const text = await response.text();
	assert.deepEqual(text.match(/data: event \d/g), ["data: event 0", "data: event 1", "data: event 2"]);
});

test("a stream ends in its handler when the client goes away", async () => {
	const k = key();
	const name = key();
	const abort = new AbortController();
	const response = await began(fetch(url(k, `endless?name=${name}`), { signal: abort.signal }), abort);
	const reader = response.body.getReader();
	await reader.read();
	abort.abort();
	await reader.read().catch(() => {});
	const handle = client.shapes.getOrCreate([k]);
	await until("the handler was told", async () => {
		const seen = await handle.seen(name);
		return seen.cancelled || seen.aborted;
	}, 10_000);
	// One piece may have been on its way when the handler was told.
	let before = -1;
	await until("nothing more is sent", async () => {
		const { sent } = await handle.seen(name);
		const still = sent === before;
		before = sent;
		await pause(200);
		return still;
	}, 10_000);
});

test("a handler is told when its client goes away before the answer", async () => {
	const k = key();
	const name = key();
	const handle = client.shapes.getOrCreate([k]);
	await handle.seen(name);
	const abort = new AbortController();
	const fetching = fetch(url(k, `slow?ms=8000&name=${name}`), { signal: abort.signal });
	await until("the handler runs", () => handle.seen(name));
	abort.abort();
	await assert.rejects(fetching);
	await until("the handler was told", async () => (await handle.seen(name)).aborted, 5_000);
});

test("a stream that breaks in its handler breaks at the client", async () => {
	const k = key();
	const answer = await fetch(url(k, "broken")).then(async (response) => ({ status: response.status, text: await response.text() }), (error) => ({ error }))
		.catch((error) => ({ error }));
	assert.ok(answer.error || answer.status >= 500, `a complete answer: ${JSON.stringify(answer)}`);
	assert.equal((await fetch(url(k, "echo"))).status, 200);
});

test("the parts of an upload arrive before the last is sent", async () => {
	const k = key();
	const name = key();
	const handle = client.shapes.getOrCreate([k]);
	await handle.seen(name);
	let answered;
	const answer = new Promise((done) => (answered = done));
	const out = request(url(k, `upload?name=${name}`), { method: "POST" }, (response) => {
		let text = "";
		response.on("data", (data) => (text += data)).on("end", () => answered(JSON.parse(text)));
	});
	out.write(Buffer.alloc(1_000));
	await until("the first part has arrived", async () => (await handle.seen(name))?.parts.length > 0, 5_000);
	out.write(Buffer.alloc(2_000));
	await until("the second part has arrived", async () => (await handle.seen(name)).parts.reduce((a, b) => a + b, 0) === 3_000, 5_000);
	out.end(Buffer.alloc(3_000));
	assert.equal((await answer).reduce((a, b) => a + b, 0), 6_000);
});

test("an upload that is broken off is not taken for whole", async () => {
	const k = key();
	const name = key();
	const handle = client.shapes.getOrCreate([k]);
	await handle.seen(name);
	const out = request(url(k, `upload?name=${name}`), { method: "POST", headers: { "content-length": "10000" } });
	out.on("error", () => {});
	out.write(Buffer.alloc(1_000));
	// Another request, answered, tells that the engine has had time for this.
	assert.equal((await fetch(url(k, "echo"))).status, 200);
	out.destroy();
	assert.equal((await fetch(url(k, "echo"))).status, 200);
	assert.ok(!(await handle.seen(name))?.finished);
});

test("an open stream does not stop other requests, nor sleep", async () => {
	const k = key();
	const name = key();
	const abort = new AbortController();
	const response = await began(fetch(url(k, `endless?name=${name}`), { signal: abort.signal }), abort);
	await response.body.getReader().read();
	assert.equal((await fetch(url(k, "echo"))).status, 200);
	await engine.sleep(await client.shapes.getOrCreate([k]).resolve());
	abort.abort();
	assert.equal((await fetch(url(k, "echo"))).status, 200);
});

test("50 requests at once to one actor, some of them large", async () => {
	const k = key();
	await fetch(url(k, "echo"));
	const answers = await Promise.all(Array.from({ length: 50 }, async (_, n) => {
		const body = `${n} `.repeat(n % 5 ? 10 : 100_000);
		const response = await fetch(url(k, "echo"), { method: "POST", body });
		const text = await response.text();
		return response.status === 200 && JSON.parse(text).body === body ? "whole" : `${response.status} ${text.slice(0, 200)}`;
	}));
	assert.deepEqual(answers, Array(50).fill("whole"));
});
