// The ways an app and its engine find each other.
import assert from "node:assert/strict";
import { BINARY, Engine, freePort, key, ORIGINAL, ORIGINAL_ENV, test, until } from "./harness.mjs";
import { createClient } from "rivetkit/client";
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const engine = await Engine.start({ publicUrl: true });

async function namespace() {
	const name = `space-${Math.random().toString(36).slice(2, 10)}`;
	await engine.api("POST", "/namespaces", { name, display_name: name }, null);
	return name;
}

test("namespace and token may stand in the endpoint", async () => {
	const name = await namespace();
	const endpoint = engine.url.replace("http://", `http://${name}:some-token@`);
	await engine.app({ env: { RIVET_ENDPOINT: endpoint, RIVET_NAMESPACE: undefined } });
	const client = createClient({ endpoint });
	const counter = client.counter.getOrCreate([key()]);
	assert.equal(await counter.add(2), 2);
	const connection = counter.connect();
	assert.equal(await connection.add(2), 4);
	await connection.dispose();
	const id = await counter.resolve();
	assert.equal((await engine.actor(id, name)).actor_id, id);
	assert.equal(await engine.actor(id, "default"), undefined);
});

test("namespaces do not see each other's actors", async () => {
	const [one, two] = [await namespace(), await namespace()];
	for (const name of [one, two]) await engine.app({ namespace: name });
	const k = key();
	const [first, second] = [one, two].map((name) => engine.client({ namespace: name }).counter.getOrCreate([k]));
	assert.equal(await first.add(1), 1);
	assert.equal(await second.add(10), 10);
	assert.notEqual(await first.resolve(), await second.resolve());
	assert.equal((await engine.api("GET", `/actors?name=counter&key=${k}`, undefined, one)).actors.length, 1);
});

test("an admin token is asked for and taken", async () => {
	const guarded = await Engine.start({ env: { RIVET__AUTH__ADMIN_TOKEN: "secret-token" } });
	const refused = await guarded.raw("GET", "/actors?name=counter");
	assert.deepEqual([refused.status, refused.body.code], [403, "forbidden"]);
	await guarded.app({ env: { RIVET_TOKEN: "secret-token" } });
	const counter = guarded.client({ token: "secret-token" }).counter.getOrCreate([key()]);
	assert.equal(await counter.add(2), 2);
	assert.ok(await counter.resolve());
	const stranger = await guarded.app({ env: { RIVET_TOKEN: "wrong" }, wait: false });
	await until("the stranger is refused", () => stranger.gone || /forbidden/i.test(stranger.text()), 20_000);
	await stranger.crash();
	await guarded.crash();
});

test("RivetKit starts the engine itself", async () => {
	const port = await freePort();
	const storage = mkdtempSync(join(tmpdir(), "rivetkit-own-"));
	const url = `http://127.0.0.1:${port}`;
	const env = {
		RIVET_ENDPOINT: undefined, RIVET_NAMESPACE: undefined,
		RIVET_RUN_ENGINE: "1", RIVET_RUN_ENGINE_PORT: String(port), RIVET_ENGINE_BINARY_PATH: BINARY,
		RIVETKIT_STORAGE_PATH: storage, HOME: storage, ...(ORIGINAL ? ORIGINAL_ENV : {}),
	};
	const app = await engine.app({ env });
	const own = engineOn(port);
	try {
		assert.ok(own, "no engine of this binary listens there");
		const client = createClient({ endpoint: url });
		assert.equal(await client.counter.getOrCreate(["own"]).add(2), 2);
		// The engine outlives its app, and the next app finds it.
		await app.crash();
		process.kill(own, 0);
		const next = await engine.app({ env });
		assert.equal(engineOn(port), own);
		await until("the actor answers", () => client.counter.getOrCreate(["another"]).add(1));
		await next.crash();
	} finally {
		if (own) process.kill(own, "SIGKILL");
		rmSync(storage, { recursive: true, force: true, maxRetries: 5 });
	}
}, { timeout: 90_000 });

/// The process of the engine under test that was started with this port.
function engineOn(port) {
	for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
		try {
			if (readlinkSync(`/proc/${pid}/exe`) !== BINARY) continue;
			if (readFileSync(`/proc/${pid}/environ`).toString().includes(`RIVET__GUARD__PORT=${port}`)) return Number(pid);
		} catch {}
	}
}

// ---- serverless ----

/// A serverless app behind a pool of its own.
async function serverless(options = {}) {
	const pool = key();
	const port = await freePort();
	const app = await engine.app({ pool, env: { APP_MODE: "serverless", APP_PORT: String(port) }, ...options });
	const url = `http://127.0.0.1:${port}/api/rivet`;
	const put = (more = {}) =>
		engine.api("PUT", `/runner-configs/${pool}`, {
			datacenters: { default: { serverless: { url, request_lifespan: 3600, headers: { "x-mine": "yes" }, ...more } } },
		});
	return { pool, app, url, put, client: engine.client({ poolName: pool }) };
}

test("an actor is started through a serverless app", async () => {
	const { app, put, client } = await serverless();
	await put();
	const counter = client.counter.getOrCreate([key()]);
	assert.equal(await counter.add(2), 2);
	assert.equal((await counter.where()).pid, app.pid);
	const start = app.text().split("\n").find((line) => line.startsWith("request POST /api/rivet/start"));
	const headers = JSON.parse(start.slice(start.indexOf("{")));
	assert.equal(headers["x-mine"], "yes");
	assert.equal(headers["x-rivet-endpoint"].replace(/\/$/, ""), engine.url);
	assert.equal(headers["x-rivet-namespace-name"], "default");
	assert.match(headers["user-agent"], /^RivetEngine\//);
});

test("an actor of a serverless app sleeps and wakes", async () => {
	const { put, client } = await serverless();
	await put();
	const counter = client.counter.getOrCreate([key()]);
	await counter.add(2);
	await engine.sleep(await counter.resolve());
	assert.equal(await counter.add(1), 3);
	assert.equal((await counter.state()).wakes, 2);
});

test("an actor moves to another request before the one it lives in is over", async () => {
	const { app, put, client } = await serverless();
	await put({ request_lifespan: 5, drain_grace_period: 3 });
	const counter = client.counter.getOrCreate([key()]);
	await counter.add(2);
	const starts = () => app.text().split("\n").filter((line) => line.startsWith("request POST /api/rivet/start")).length;
	await until("it is started again", () => starts() > 1);
	assert.equal(await counter.add(1), 3);
	assert.ok((await counter.state()).wakes > 1);
});

test("a serverless app is checked before it is used", async () => {
	const { url } = await serverless();
	const check = (url) => engine.api("POST", "/runner-configs/serverless-health-check", { url, headers: {} });
	assert.equal((await check(url)).success.version, "2.3.19");
	assert.equal((await check(`http://127.0.0.1:${await freePort()}`)).failure.error.metadata.kind, "request_failed");
});

test("the pool shows what an app announces, and its trouble", async () => {
	const { pool, put, client, app } = await serverless();
	await put();
	const config = async () => (await engine.api("GET", `/runner-configs?runner_name=${pool}`)).runner_configs[pool].datacenters.default;
	await until("the protocol is known", async () => (await config()).protocol_version === 8);
	await app.crash();
	const call = client.counter.getOrCreate([key()]).action({ name: "count", args: [], signal: AbortSignal.timeout(15_000) });
	await assert.rejects(call);
	await until("the trouble is shown", async () => (await config()).runner_pool_error?.serverless_connection_error);
});

test("an app puts its own serverless pool", async () => {
	const pool = key();
	const port = await freePort();
	await engine.app({ pool, env: { APP_MODE: "serverless", APP_PORT: String(port), APP_CONFIGURES: "1" } });
	await fetch(`http://127.0.0.1:${port}/api/rivet/metadata`);
	const { runner_configs } = await engine.api("GET", `/runner-configs?runner_name=${pool}`);
	assert.equal(runner_configs[pool].datacenters.default.serverless.url, `http://127.0.0.1:${port}/api/rivet`);
	assert.equal(await engine.client({ poolName: pool }).counter.getOrCreate([key()]).add(3), 3);
});
