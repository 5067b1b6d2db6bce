// Raw HTTP and raw WebSockets through the gateway.
import assert from "node:assert/strict";
import { request } from "node:http";
import { Engine, key, test, until } from "./harness.mjs";

const engine = await Engine.start();
await engine.app();
const client = engine.client();
const url = (k, rest) => engine.url + engine.path("web", k, rest);

test("method, path, headers and body reach the actor, status and headers come back", async () => {
	const web = client.web.getOrCreate([key()]);
	const response = await web.fetch("about?a=1&b=%20x", { method: "PATCH", body: "hello", headers: { "x-mine": "yes", "content-type": "text/plain" } });
	assert.equal(response.status, 201);
	assert.equal(response.headers.get("x-answer"), "yes");
	assert.equal(response.headers.get("set-cookie"), "a=1");
	const seen = await response.json();
	assert.deepEqual([seen.method, seen.path, seen.body], ["PATCH", "/about?a=1&b=%20x", "hello"]);
	assert.equal(seen.headers["x-mine"], "yes");
	assert.equal(seen.headers["content-type"], "text/plain");
});

test("rvt parameters are for the gateway, others for the actor", async () => {
	const seen = await (await fetch(url(key(), "request/about?x=1&y=a+b"))).json();
	assert.equal(seen.path, "/about?x=1&y=a+b");
});

test("an actor is reached by id, with and without a token", async () => {
	const id = await client.web.getOrCreate([key()]).resolve();
	for (const target of [id, `${id}@some-token`]) {
		const seen = await (await fetch(`${engine.url}/gateway/${target}/request/about?x=1`)).json();
		assert.equal(seen.path, "/about?x=1");
	}
	const seen = await (await fetch(`${engine.url}/request/about`, { headers: { "x-rivet-target": "actor", "x-rivet-actor": id } })).json();
	assert.equal(seen.path, "/about");
});

test("every method is passed on", async () => {
	const k = key();
	for (const method of ["GET", "POST", "PUT", "DELETE", "PATCH"]) {
		assert.equal((await (await fetch(url(k, "request/about"), { method })).json()).method, method);
	}
});

test("HEAD has a status and no body", async () => {
	const response = await fetch(url(key(), "request/about"), { method: "HEAD" });
	assert.equal(response.status, 201);
	assert.equal(response.headers.get("x-answer"), "yes");
	assert.equal(await response.text(), "");
});

test("any status comes back as it is", async () => {
	const k = key();
	for (const code of [200, 204, 302, 400, 401, 404, 418, 429, 500, 503]) {
		const response = await fetch(url(k, `request/status?code=${code}`), { redirect: "manual" });
		assert.equal(response.status, code);
	}
});

test("a handler that throws answers 500, and the next request works", async () => {
	const k = key();
	assert.equal((await fetch(url(k, "request/throw"))).status, 500);
	assert.equal((await fetch(url(k, "request/about"))).status, 201);
});

test("a large body goes up", async () => {
	const body = new Uint8Array(8 * 1024 * 1024).map((_, at) => at % 251);
	const answer = await (await fetch(url(key(), "request/length"), { method: "POST", body })).json();
	assert.deepEqual(answer, { length: body.length, sum: body.reduce((total, byte) => (total + byte) % 65_521, 0) });
});

test("a large body comes down", async () => {
	const length = 8 * 1024 * 1024;
	const body = new Uint8Array(await (await fetch(url(key(), `request/bytes?length=${length}`))).arrayBuffer());
	assert.equal(body.length, length);
	assert.ok(body.every((byte, at) => byte === at % 251));
});

test("a body over 20 MiB is refused", async () => {
	const response = await fetch(url(key(), "request/length"), { method: "POST", body: new Uint8Array(20 * 1024 * 1024 + 1) });
	assert.equal(response.status, 413);
	assert.equal((await response.json()).code, "invalid_request_body");
});

test("an upload in parts arrives whole", async () => {
	const parts = [1, 2, 3, 4].map((at) => new Uint8Array(100_000).fill(at));
	const answer = await new Promise((done, failed) => {
		const out = request(url(key(), "request/upload"), { method: "POST" }, (response) => {
			let text = "";
			response.on("data", (data) => (text += data)).on("end", () => done(JSON.parse(text)));
		}).on("error", failed);
		for (const part of parts) out.write(part);
		out.end();
	});
	assert.equal(answer.length, 400_000);
});

test("a response is streamed: its first part arrives before the last is made", async () => {
	const k = key();
	const name = key();
	const response = await fetch(url(k, `request/stream?name=${name}`));
	const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
	const started = Date.now();
	assert.equal((await reader.read()).value, "one\n");
	await fetch(url(k, `request/release?name=${name}`));
	assert.equal((await reader.read()).value, "two\n");
	assert.ok((await reader.read()).done);
	assert.ok(Date.now() - started < 4_000, "the parts came together");
});

test("a streamed response arrives whole", async () => {
	const k = key();
	const name = key();
	const reading = fetch(url(k, `request/stream?name=${name}`)).then((response) => response.text());
	await until("the stream can be released", async () => {
		await fetch(url(k, `request/release?name=${name}`));
		return Promise.race([reading, new Promise((done) => setTimeout(done, 100))]);
	});
	assert.equal(await reading, "one\ntwo\n");
});

test("a request wakes a sleeping actor", async () => {
	const k = key();
	await fetch(url(k, "request/about"));
	await engine.sleep(await client.web.getOrCreate([k]).resolve());
	assert.equal((await fetch(url(k, "request/about"))).status, 201);
});

test("a browser's preflight is answered without waking anything", async () => {
	const k = key();
	const response = await fetch(url(k, "request/about"), {
		method: "OPTIONS",
		headers: { origin: "http://app.example", "access-control-request-method": "POST", "access-control-request-headers": "x-mine" },
	});
	assert.equal(response.status, 204);
	assert.equal(response.headers.get("access-control-allow-origin"), "http://app.example");
	assert.equal(response.headers.get("access-control-allow-headers"), "x-mine");
	assert.deepEqual((await engine.api("GET", `/actors?name=web&key=${k}`)).actors, []);
});

test("an actor that does not exist is 404", async () => {
	const k = key();
	const counter = client.counter.getOrCreate([k]);
	await counter.count();
	const id = await counter.resolve();
	await engine.api("DELETE", `/actors/${id}`);
	const response = await fetch(`${engine.url}/gateway/${id}/request/about`);
	assert.equal(response.status, 404);
	assert.equal(response.headers.get("x-rivet-error"), "actor.not_found");
	const { group, code } = await response.json();
	assert.equal(`${group}.${code}`, "actor.not_found");
});

// ---- WebSockets ----

const open = (k, rest = "websocket/") => engine.socket(engine.path("web", k, rest));

test("text and binary messages keep their kind and order", async () => {
	const socket = await open(key());
	for (const message of ["hello", Buffer.from([0, 255, 1]), "", "zażółć"]) {
		socket.send(message);
		assert.deepEqual(await socket.next(), message);
	}
	for (let n = 0; n < 200; n += 1) socket.send(`message ${n}`);
	for (let n = 0; n < 200; n += 1) assert.equal(await socket.next(), `message ${n}`);
	socket.close();
});

test("a message of 4 MiB goes both ways", async () => {
	const socket = await open(key());
	const large = Buffer.alloc(4 * 1024 * 1024, 7);
	socket.send(large);
	assert.ok(large.equals(await socket.next()));
	socket.close();
});

test("the actor's close code and reason reach the client", async () => {
	const socket = await open(key());
	socket.send("close");
	assert.deepEqual(await socket.end(), { code: 4001, reason: "as you wish" });
});

test("the client's close code and reason reach the actor", async () => {
	const k = key();
	const web = client.web.getOrCreate([k]);
	const socket = await open(k);
	socket.send("there?");
	await socket.next();
	socket.close(4002, "enough");
	await until("the actor saw it", async () => (await web.closed()).length === 1);
	assert.deepEqual(await web.closed(), [{ code: 4002, reason: "enough" }]);
});

test("the socket of a RivetKit client works", async () => {
	const socket = await client.web.getOrCreate([key()]).webSocket("some/path?x=1");
	const answer = new Promise((done) => socket.addEventListener("message", (message) => done(message.data)));
	await new Promise((done) => (socket.readyState === 1 ? done() : socket.addEventListener("open", done)));
	socket.send("hi");
	assert.equal(await answer, "hi");
	socket.close();
});

test("a destroyed actor's socket is closed", async () => {
	const k = key();
	const socket = await open(k);
	socket.send("there?");
	await socket.next();
	await engine.api("DELETE", `/actors/${await client.web.getOrCreate([k]).resolve()}`);
	assert.equal((await socket.end(5_000)).code, 1000);
});

test("a socket that cannot hibernate is closed when its actor sleeps", async () => {
	const k = key();
	const socket = await open(k);
	socket.send("there?");
	await socket.next();
	await engine.sleep(await client.web.getOrCreate([k]).resolve());
	assert.ok([1000, 1011].includes((await socket.end(5_000)).code));
});

test("a socket to nobody is opened and closed with the reason", async () => {
	const socket = await engine.socket("/gateway/web/websocket/?rvt-namespace=default&rvt-method=get&rvt-key=nobody-here");
	const { code, reason } = await socket.end();
	assert.equal(code, 1011);
	assert.match(reason, /^actor\.not_found(#|$)/);
});
