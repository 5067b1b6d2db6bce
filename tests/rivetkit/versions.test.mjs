// Several apps in one pool: versions, sharing of work, and shutdown in order.
import assert from "node:assert/strict";
import { Engine, key, test, until } from "./harness.mjs";

const engine = await Engine.start();
const client = engine.client();

/// Two apps in a pool of their own, and a client for it.
async function pool(...versions) {
	const name = key();
	const apps = [];
	for (const version of versions) apps.push(await engine.app({ pool: name, version }));
	return { name, apps, client: engine.client({ poolName: name }) };
}

test("new actors go to the newest version, old ones stay until they sleep", async () => {
	const { name, apps: [old], client } = await pool(1);
	const counter = client.counter.getOrCreate([key()]);
	await counter.add(3);
	assert.equal((await counter.where()).version, 1);
	await engine.app({ pool: name, version: 2 });
	for (let n = 0; n < 5; n += 1) assert.equal((await client.counter.getOrCreate([key()]).where()).version, 2);
	assert.equal((await counter.where()).pid, old.pid);
	await engine.sleep(await counter.resolve());
	assert.equal((await counter.where()).version, 2);
	assert.equal(await counter.count(), 3);
});

test("apps of one version share the actors", async () => {
	const { apps, client } = await pool(1, 1);
	const pids = await Promise.all(Array.from({ length: 40 }, async () => (await client.counter.getOrCreate([key()]).where()).pid));
	for (const app of apps) assert.ok(pids.filter((pid) => pid === app.pid).length >= 4, `shared as ${pids}`);
});

test("an app that is told to stop hands its actors over", async (t) => {
	const { name, apps: [first], client } = await pool(1);
	const counters = Array.from({ length: 3 }, () => client.counter.getOrCreate([key()]));
	await Promise.all(counters.map((counter, at) => counter.add(at + 1)));
	const second = await engine.app({ pool: name, version: 2 });
	const started = Date.now();
	await first.terminate();
	t.diagnostic(`ended after ${Date.now() - started} ms`);
	for (const [at, counter] of counters.entries()) {
		assert.equal(await counter.count(), at + 1);
		assert.equal((await counter.where()).pid, second.pid);
	}
});

test("an actor of an app that has stopped comes back with the next app", async (t) => {
	const { name, apps: [first], client } = await pool(1);
	const counter = client.counter.getOrCreate([key()]);
	await counter.add(4);
	await first.terminate();
	const second = await engine.app({ pool: name });
	const started = Date.now();
	await until("it answers", async () => (await counter.count()) === 4, 60_000);
	t.diagnostic(`answered ${Date.now() - started} ms after the next app was ready`);
	assert.equal((await counter.where()).pid, second.pid);
}, { timeout: 90_000 });

test("calls during a handover are answered", async () => {
	const { name, apps: [first], client } = await pool(1);
	const counter = client.counter.getOrCreate([key()]);
	await counter.add(1);
	await engine.app({ pool: name, version: 2 });
	const stopping = first.terminate();
	let calls = 1;
	while (!first.gone) {
		await counter.add(1);
		calls += 1;
	}
	await stopping;
	assert.equal(await counter.count(), calls);
});

test("an actor created before any app is there says so, and answers when one has come", async (t) => {
	const name = key();
	const client = engine.client({ poolName: name });
	await engine.api("PUT", `/runner-configs/${name}`, { datacenters: { default: { normal: {} } } });
	const k = key();
	const found = async () => (await engine.api("GET", `/actors?name=counter&key=${k}`)).actors[0];
	await engine.api("POST", "/actors", { name: "counter", key: k, runner_name_selector: name, crash_policy: "sleep" });
	// Which of the two depends on whether the pool ever had a host of the new protocol.
	await until("it is said to wait", async () => ["no_envoys", "no_capacity"].includes((await found()).error));
	await engine.app({ pool: name });
	const started = Date.now();
	await until("it answers", async () => (await client.counter.get([k]).add(1)) === 1, 60_000);
	t.diagnostic(`answered ${Date.now() - started} ms after the app was ready`);
	assert.equal((await found()).error, undefined);
}, { timeout: 90_000 });

test("the envoys are listed while they are there", async () => {
	const { name, apps: [app] } = await pool(7);
	const list = async () => (await engine.api("GET", `/envoys?name=${name}`)).envoys;
	// What it says of itself arrives after it.
	const envoy = await until("it is listed", async () => (await list()).find((envoy) => envoy.metadata));
	assert.deepEqual([envoy.pool_name, envoy.version, envoy.datacenter, envoy.stop_ts], [name, 7, "default", null]);
	assert.equal(envoy.metadata.rivetkit.version, "2.3.19");
	await app.terminate();
	await until("it is gone", async () => (await list()).length === 0);
});

test("a second host with the same key ends the first", async () => {
	const { name, apps: [app] } = await pool(1);
	const { envoys: [envoy] } = await engine.api("GET", `/envoys?name=${name}`);
	const socket = await engine.socket(
		`/envoys/connect?protocol_version=8&namespace=default&envoy_key=${envoy.envoy_key}&version=1&pool_name=${name}`,
		["rivet", "rivet_token.dev"],
	);
	assert.equal((await socket.next())[0], 0);
	await until("the app noticed", () => app.text().includes("reason=ws.eviction"));
	await until("the app does not come back", () => app.text().includes("envoy stopped"));
	socket.close();
});
