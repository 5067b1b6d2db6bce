// The inspector of an actor and its other surfaces, as the dashboard reaches them.
import assert from "node:assert/strict";
import { Engine, key, Socket, test, until } from "./harness.mjs";

const engine = await Engine.start();
const app = await engine.app();
const client = engine.client();

/// An actor and its inspector: `get(path)` and `post(path, body)` answer `{ status, body }`.
async function inspected(name, prepare) {
	const handle = client[name].getOrCreate([key()]);
	await prepare(handle);
	const id = await handle.resolve();
	const stored = Buffer.from((await engine.api("GET", `/actors/${id}/kv/keys/Aw==`)).value, "base64").toString();
	const token = stored.match(/[\x21-\x7e]{16,}/)[0];
	const call = async (path, init) => {
		const response = await fetch(`${engine.url}/gateway/${id}/inspector/${path}`, {
			...init,
			headers: { authorization: `Bearer ${token}`, "content-type": "application/json", ...init?.headers },
		});
		const text = await response.text();
		let body = text;
		try {
			body = JSON.parse(text);
		} catch {}
		return { status: response.status, body, text };
	};
	return { handle, id, token, get: (path) => call(path), send: (method, path, body) => call(path, { method, body: JSON.stringify(body) }) };
}

const counter = () => inspected("counter", (handle) => handle.add(3));

for (const [path, expected] of [
	["state", /"count":3/],
	["connections", /\[/],
	["rpcs", /add/],
	["summary", /count/],
	["queue?limit=10", /\{/],
	["traces?startMs=0&endMs=9999999999999&limit=10", /\{/],
	["workflow-history", /\{/],
]) {
	test(`the inspector shows ${path.split("?")[0]}`, async () => {
		const { get } = await counter();
		const { status, text } = await get(path);
		assert.equal(status, 200, text);
		assert.match(text, expected);
	});
	test(`the inspector hides ${path.split("?")[0]} from strangers`, async () => {
		const { id } = await counter();
		for (const headers of [{}, { authorization: "Bearer wrong" }]) {
			assert.equal((await fetch(`${engine.url}/gateway/${id}/inspector/${path}`, { headers })).status, 401);
		}
	});
}

test("the inspector changes state and calls actions", async () => {
	const { handle, send } = await counter();
	const changed = await send("PATCH", "state", { state: { count: 40, wakes: 1, sleeps: 0 } });
	assert.equal(changed.status, 200, changed.text);
	assert.equal(await handle.count(), 40);
	const called = await send("POST", "action/add", { args: [2] });
	assert.equal(called.status, 200, called.text);
	assert.equal(await handle.count(), 42);
});

test("the inspector shows a queue's messages", async () => {
	const { get } = await inspected("mailbox", (handle) => handle.send("plain", "inspect me"));
	const { status, text } = await get("queue?limit=10");
	assert.equal(status, 200, text);
	assert.match(text, /plain/);
});

test("the inspector shows a workflow's history", async () => {
	const { get } = await inspected("loops", (handle) => until("it ended", async () => (await handle.state()).log.at(-1) === "sum 45"));
	const { status, text } = await get("workflow-history");
	assert.equal(status, 200, text);
	assert.match(text, /count|work/);
});

test("the inspector reads and writes a database", async () => {
	const { get, send } = await inspected("notes", (handle) => handle.insert("inspect me"));
	const schema = await get("database/schema");
	assert.equal(schema.status, 200, schema.text);
	assert.match(schema.text, /note/);
	const rows = await get("database/rows?table=note&limit=10&offset=0");
	assert.equal(rows.status, 200, rows.text);
	assert.match(rows.text, /inspect me/);
	const executed = await send("POST", "database/execute", { sql: "SELECT count(*) AS n FROM note", args: [] });
	assert.equal(executed.status, 200, executed.text);
	assert.match(executed.text, /1/);
});

test("the inspector wakes a sleeping actor, with the token it had", async () => {
	const { get, id } = await counter();
	await engine.sleepIn(app, id);
	const { status, text } = await get("state");
	assert.equal(status, 200, text);
	assert.match(text, /"count":3/);
});

test("the inspector's socket greets who has the token, and no other", async () => {
	const { id, token } = await counter();
	const connect = (secret) =>
		new Socket(`${engine.url.replace("http", "ws")}/gateway/${id}/inspector/connect`, ["rivet", "rivet_encoding.bare", `rivet_inspector_token.${secret}`]);
	const socket = connect(token);
	await socket.opened;
	const init = await socket.next();
	assert.ok(Buffer.isBuffer(init) && init.length > 10);
	assert.match(init.toString("latin1"), /count/);
	socket.close();
	const stranger = connect("wrong");
	await stranger.opened.catch(() => {});
	assert.equal((await stranger.end()).code, 1008);
});

test("the inspector's socket tells of changes", async () => {
	const { handle, id, token } = await counter();
	const socket = new Socket(`${engine.url.replace("http", "ws")}/gateway/${id}/inspector/connect`, ["rivet", "rivet_encoding.bare", `rivet_inspector_token.${token}`]);
	await socket.opened;
	await socket.next();
	await handle.add(4);
	await socket.next();
	socket.close();
});

for (const [path, status, expected] of [["health", 200, /ok/], ["metadata", 200, /2\.3\.19/], ["nonsense", 404, /./], ["inspector/nonsense", 404, /./]]) {
	test(`an actor answers ${path}`, async () => {
		const { id, token } = await counter();
		const response = await fetch(`${engine.url}/gateway/${id}/${path}`, { headers: { authorization: `Bearer ${token}` } });
		assert.equal(response.status, status);
		assert.match(await response.text(), expected);
	});
}
