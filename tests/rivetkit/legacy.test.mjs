// A host of the old protocol: the unmodified runner of RivetKit 2.2.
import assert from "node:assert/strict";
import { Runner } from "@rivetkit/engine-runner";
import { Engine, key, test, until } from "./harness.mjs";

const engine = await Engine.start();
const utf8 = { in: new TextEncoder(), out: new TextDecoder() };

/// A connected runner whose actors answer by what is in `handlers`.
async function runner({ name = key(), Kind = Runner, handlers = {}, slots = 100, version = 1 } = {}) {
	const seen = { starts: [], stops: [], closes: [], shutdowns: 0 };
	let connected;
	const ready = new Promise((done) => (connected = done));
	const runner = new Kind({
		version,
		endpoint: engine.url,
		token: "dev",
		namespace: "default",
		totalSlots: slots,
		runnerName: name,
		prepopulateActorNames: { thing: { metadata: {} } },
		noAutoShutdown: true,
		onConnected: () => connected(),
		onDisconnected: (code, reason) => seen.closes.push({ code, reason }),
		onShutdown: () => (seen.shutdowns += 1),
		onActorStart: async (id, generation, config) => {
			seen.starts.push({ id, generation, config });
		},
		onActorStop: async (id, generation) => {
			seen.stops.push({ id, generation });
		},
		hibernatableWebSocket: { canHibernate: () => false },
		fetch: async (runner, id, _gateway, _request, request) => handlers.fetch?.(runner, id, request) ?? new Response("legacy"),
		websocket: async (_runner, _id, socket) => {
			socket.addEventListener("message", (message) => {
				if (message.data === "close") socket.close(4005, "bye");
				else socket.send(message.data);
			});
		},
	});
	await runner.start();
	await ready;
	// The engine makes the pool of a runner soon after it has greeted it.
	await until("the pool exists", async () => (await engine.api("GET", `/runner-configs?runner_name=${name}`)).runner_configs[name]);
	return { runner, name, seen };
}

/// Sockets that outlive their actor's sleep, as RivetKit 2.2 keeps them: what is needed to go on is kept outside of the actor.
async function hibernating() {
	const sockets = new Map();
	const got = [];
	const closes = [];
	let host;
	class Restoring extends Runner {
		get config() {
			const config = super.config;
			config.hibernatableWebSocket = { canHibernate: () => true };
			config.onActorStart = async (id, generation, about) => {
				host?.seen.starts.push({ id, generation, config: about });
				await this.restoreHibernatingRequests(id, [...sockets.values()].map((meta) => ({ ...meta })));
			};
			config.websocket = async (runner, _id, socket, gatewayId, requestId, _request, path, headers) => {
				const name = Buffer.from(requestId).toString("hex");
				if (!sockets.has(name)) sockets.set(name, { gatewayId, requestId, clientMessageIndex: 0, serverMessageIndex: 0, path, headers });
				socket.addEventListener("message", (message) => {
					got.push(message.data);
					const meta = sockets.get(name);
					meta.serverMessageIndex = message.rivetMessageIndex;
					runner.sendHibernatableWebSocketMessageAck(gatewayId, requestId, message.rivetMessageIndex);
					socket.send(`echo ${message.data}`);
					meta.clientMessageIndex += 1;
				});
				socket.addEventListener("close", (how) => {
					closes.push(how.code);
					sockets.delete(name);
				});
			};
			return config;
		}
	}
	host = await runner({ Kind: Restoring });
	return { host, got, closes };
}

test("a socket to an actor on a runner outlives its sleep, with what was said meanwhile", async () => {
	const { host, got, closes } = await hibernating();
	const id = await actorOf(host);
	const socket = await engine.socket(`/gateway/${id}/websocket/`);
	socket.send("first");
	assert.equal(await socket.next(), "echo first");
	for (let sleep = 1; sleep <= 2; sleep += 1) {
		host.runner.sleepActor(id);
		await until("it was stopped", () => host.seen.stops.length === sleep);
		await engine.asleep(id);
		for (let n = 0; n < 50; n += 1) socket.send(`${sleep}:${n}`);
		for (let n = 0; n < 50; n += 1) assert.equal(await socket.next(), `echo ${sleep}:${n}`);
	}
	assert.equal(got.length, 101);
	assert.equal(host.seen.starts.length, 3);
	socket.close(4006, "done");
	await until("the actor saw the close", () => closes.length === 1);
	await host.runner.shutdown(true);
});

/// A running actor of this runner.
async function actorOf({ name, seen }, { key: k = key(), input } = {}) {
	const body = { name: "thing", key: k, runner_name_selector: name, crash_policy: "sleep", input };
	const { actor } = await engine.api("POST", "/actors", body);
	await until("the actor runs", async () => (await engine.actor(actor.actor_id)).connectable_ts);
	assert.ok(seen.starts.some((start) => start.id === actor.actor_id));
	return actor.actor_id;
}

const call = (id, path, init) => fetch(`${engine.url}/gateway/${id}/request/${path}`, init);

test("a runner is listed, and its pool is made for it", async () => {
	const { name, runner: r } = await runner({ version: 3, slots: 17 });
	const { runners } = await engine.api("GET", `/runners?name=${name}`);
	assert.deepEqual([runners[0].name, runners[0].version, runners[0].total_slots, runners[0].remaining_slots], [name, 3, 17, 17]);
	assert.ok((await engine.api("GET", "/runners/names")).names.includes(name));
	const configs = (await engine.api("GET", `/runner-configs?runner_name=${name}`)).runner_configs;
	assert.ok(configs[name].datacenters.default.normal);
	await r.shutdown(true);
});

test("an actor on a runner starts with its key and input, and answers HTTP", async () => {
	const host = await runner({
		handlers: {
			fetch: async (_runner, id, request) =>
				Response.json({ id, method: request.method, path: new URL(request.url).pathname, body: await request.text() }, { status: 201, headers: { "x-answer": "old" } }),
		},
	});
	const k = key();
	const id = await actorOf(host, { key: k, input: Buffer.from("hello").toString("base64") });
	const { config } = host.seen.starts[0];
	assert.deepEqual([config.name, config.key, utf8.out.decode(config.input)], ["thing", k, "hello"]);
	const response = await call(id, "some/path", { method: "POST", body: "body" });
	assert.equal(response.status, 201);
	assert.equal(response.headers.get("x-answer"), "old");
	assert.deepEqual(await response.json(), { id, method: "POST", path: "/request/some/path", body: "body" });
	await host.runner.shutdown(true);
});

test("a WebSocket to an actor on a runner", async () => {
	const host = await runner();
	const id = await actorOf(host);
	const socket = await engine.socket(`/gateway/${id}@any/websocket/`);
	socket.send("hello");
	assert.equal(await socket.next(), "hello");
	socket.send(Buffer.from([1, 2, 3]));
	assert.deepEqual([...(await socket.next())], [1, 2, 3]);
	socket.send("close");
	assert.deepEqual(await socket.end(), { code: 4005, reason: "bye" });
	await host.runner.shutdown(true);
});

test("an actor on a runner sleeps and wakes on a request", async () => {
	const host = await runner();
	const id = await actorOf(host);
	host.runner.sleepActor(id);
	await engine.asleep(id);
	await until("it was stopped", () => host.seen.stops.length === 1);
	assert.equal(await (await call(id, "")).text(), "legacy");
	assert.deepEqual(host.seen.starts.map((start) => start.generation), [host.seen.starts[0].generation, host.seen.starts[0].generation + 1]);
	await host.runner.shutdown(true);
});

test("an alarm wakes an actor on a runner", async () => {
	const host = await runner();
	const id = await actorOf(host);
	const due = Date.now() + 1_500;
	host.runner.setAlarm(id, due);
	host.runner.sleepActor(id);
	await engine.asleep(id);
	await until("it woke", () => host.seen.starts.length === 2, 10_000);
	assert.ok(Date.now() >= due - 50 && Date.now() < due + 2_000, `woke ${Date.now() - due} ms after the alarm`);
	await host.runner.shutdown(true);
});

test("keys and values of an actor on a runner", async () => {
	const host = await runner();
	const id = await actorOf(host);
	const bytes = (text) => utf8.in.encode(text);
	const text = (value) => value && utf8.out.decode(value);
	const pairs = (entries) => entries.map(([k, v]) => [text(k), text(v)]);
	const { runner: r } = host;
	await r.kvPut(id, ["a1", "a2", "b1", "c1"].map((k) => [bytes(k), bytes(`value ${k}`)]));
	assert.deepEqual((await r.kvGet(id, [bytes("b1"), bytes("zz"), bytes("a1")])).map(text), ["value b1", null, "value a1"]);
	assert.deepEqual(pairs(await r.kvListPrefix(id, bytes("a"))), [["a1", "value a1"], ["a2", "value a2"]]);
	assert.deepEqual(pairs(await r.kvListRange(id, bytes("a2"), bytes("c1"), true)).map(([k]) => k), ["a2", "b1"]);
	assert.deepEqual(pairs(await r.kvListAll(id, { reverse: true, limit: 2 })).map(([k]) => k), ["c1", "b1"]);
	await r.kvDelete(id, [bytes("a1")]);
	await r.kvDeleteRange(id, bytes("b"), bytes("c"));
	assert.deepEqual(pairs(await r.kvListAll(id)).map(([k]) => k), ["a2", "c1"]);
	const value = await engine.api("GET", `/actors/${id}/kv/keys/${encodeURIComponent(Buffer.from("c1").toString("base64"))}`);
	assert.equal(Buffer.from(value.value, "base64").toString(), "value c1");
	r.sleepActor(id);
	await engine.asleep(id);
	await call(id, "");
	assert.deepEqual(pairs(await r.kvListAll(id)).map(([k]) => k), ["a2", "c1"]);
	await r.kvDrop(id);
	assert.deepEqual(await r.kvListAll(id), []);
	await r.shutdown(true);
});

test("an actor on a runner is destroyed by the API and by itself", async () => {
	const host = await runner();
	const [one, two] = [await actorOf(host), await actorOf(host)];
	await engine.api("DELETE", `/actors/${one}`);
	assert.ok((await engine.actor(one)).destroy_ts);
	host.runner.destroyActor(two);
	await until("it is destroyed", async () => (await engine.actor(two)).destroy_ts);
	assert.equal((await call(two, "")).status, 404);
	await host.runner.shutdown(true);
});

test("an actor waits while the runner is full, and starts when there is room", async () => {
	const host = await runner({ slots: 1 });
	const first = await actorOf(host);
	const { actor } = await engine.api("POST", "/actors", { name: "thing", key: key(), runner_name_selector: host.name, crash_policy: "restart" });
	const second = actor.actor_id;
	await until("it waits", async () => (await engine.actor(second)).pending_allocation_ts);
	await engine.api("DELETE", `/actors/${first}`);
	await until("it runs", async () => (await engine.actor(second)).connectable_ts);
	await host.runner.shutdown(true);
});

test("a second runner with the same key ends the first and takes its place", async () => {
	// The runner picks its key at random; two of the same key need one place to say it.
	const same = key();
	class SameKey extends Runner {
		get pegboardUrl() {
			return super.pegboardUrl.replace(/runner_key=[^&]*/, `runner_key=${same}`);
		}
	}
	const name = key();
	const first = await runner({ name, Kind: SameKey });
	await actorOf(first);
	const second = await runner({ name, Kind: SameKey });
	await until("the first is disconnected", () => first.seen.closes.length > 0);
	assert.equal(first.seen.closes[0].code, 1000);
	assert.match(first.seen.closes[0].reason, /^ws\.eviction/);
	const { runners } = await engine.api("GET", `/runners?name=${name}`);
	assert.equal(runners.length, 1);
	const id = await actorOf(second);
	assert.equal(await (await call(id, "")).text(), "legacy");
	await second.runner.shutdown(true);
});

test("a runner that leaves hands its actors to another", async () => {
	const name = key();
	const first = await runner({ name });
	const id = await actorOf(first);
	const second = await runner({ name });
	await first.runner.shutdown(false);
	assert.equal(await (await call(id, "")).text(), "legacy");
	assert.equal(second.seen.starts.length, 1);
	await second.runner.shutdown(true);
});
