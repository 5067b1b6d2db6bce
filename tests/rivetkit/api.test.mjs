// The HTTP API as RivetKit and its dashboard call it.
import assert from "node:assert/strict";
import { Engine, key, refused, test, until } from "./harness.mjs";

const engine = await Engine.start();
await engine.app();
const client = engine.client();
const { actors: none } = await engine.api("GET", "/actors?name=nothing-yet");
assert.deepEqual(none, []);

const create = (body, namespace) => engine.api("POST", "/actors", { name: "counter", runner_name_selector: "default", crash_policy: "sleep", ...body }, namespace);

test("what the engine is", async () => {
	const health = await engine.api("GET", "/health", undefined, null);
	assert.deepEqual([health.runtime, health.status], ["engine", "ok"]);
	assert.match(health.version, /^\d+\.\d+\.\d+/);
	const metadata = await engine.api("GET", "/metadata");
	assert.deepEqual([metadata.runtime, metadata.version, metadata.envoy_protocol_version], ["engine", health.version, 8]);
});

test("the datacenters", async () => {
	const { datacenters } = await engine.api("GET", "/datacenters");
	assert.deepEqual(datacenters.map(({ label, name }) => [label, name]), [[1, "default"]]);
	assert.match(datacenters[0].url, /^http:.*\/$/);
});

test("an actor has the fields a dashboard shows", async () => {
	const k = key();
	const { actor } = await create({ key: k });
	const { create_ts, actor_id, namespace_id, ...rest } = actor;
	assert.match(actor_id, /^[a-z0-9]{30}$/);
	assert.match(namespace_id, /^[a-z0-9]{30}$/);
	assert.ok(Math.abs(Date.now() - create_ts) < 10_000);
	assert.deepEqual(rest, {
		name: "counter", key: k, datacenter: "default", runner_name_selector: "default", crash_policy: "sleep",
		start_ts: null, pending_allocation_ts: null, connectable_ts: null, sleep_ts: null, reschedule_ts: null, destroy_ts: null,
	});
	await until("it starts by itself", async () => (await engine.actor(actor_id)).connectable_ts);
});

test("PUT finds or creates", async () => {
	const body = { name: "counter", key: key(), runner_name_selector: "default", crash_policy: "sleep" };
	const first = await engine.api("PUT", "/actors", body);
	const second = await engine.api("PUT", "/actors", body);
	assert.deepEqual([first.created, second.created], [true, false]);
	assert.equal(first.actor.actor_id, second.actor.actor_id);
});

test("actors are listed by name, newest first, in pages", async () => {
	const name = "echo";
	const ids = [];
	for (let n = 0; n < 5; n += 1) {
		const { actor } = await create({ name, key: key() });
		ids.unshift(actor.actor_id);
		await until("the clock moves on", () => Date.now() > actor.create_ts);
	}
	const list = async (query) => engine.api("GET", `/actors?name=${name}${query}`);
	assert.deepEqual((await list("")).actors.map((actor) => actor.actor_id), ids);
	const first = await list("&limit=2");
	assert.deepEqual(first.actors.map((actor) => actor.actor_id), ids.slice(0, 2));
	const second = await list(`&limit=2&cursor=${first.pagination.cursor}`);
	assert.deepEqual(second.actors.map((actor) => actor.actor_id), ids.slice(2, 4));
	await engine.api("DELETE", `/actors/${ids[0]}`);
	assert.deepEqual((await list("")).actors.map((actor) => actor.actor_id), ids.slice(1));
	assert.deepEqual((await list("&include_destroyed=true")).actors.map((actor) => actor.actor_id), ids);
});

test("actors are listed by ids, the destroyed too", async () => {
	const ids = [];
	for (let n = 0; n < 3; n += 1) ids.push((await create({ key: key() })).actor.actor_id);
	await engine.api("DELETE", `/actors/${ids[1]}`);
	const sorted = (actors) => actors.map((actor) => actor.actor_id).sort();
	assert.deepEqual(sorted((await engine.api("GET", `/actors?actor_ids=${ids.join(",")}`)).actors), [...ids].sort());
	assert.deepEqual(sorted((await engine.api("GET", `/actors?${ids.map((id) => `actor_id=${id}`).join("&")}`)).actors), [...ids].sort());
});

test("the names of actors are known, with what the app says of them", async () => {
	// A name no app knows is listed too, where the pool has not yet told which names there are.
	const pool = key();
	await engine.api("PUT", `/runner-configs/${pool}`, { datacenters: { default: { normal: {} } } });
	await create({ name: "made-up-name", key: key(), runner_name_selector: pool });
	const names = await until("the new name is listed", async () => {
		const { names } = await engine.api("GET", "/actors/names");
		return names["made-up-name"] && names;
	});
	for (const name of ["counter", "web"]) assert.ok(names[name], name);
	assert.ok(typeof names.counter.metadata === "object");
	const first = await engine.api("GET", "/actors/names?limit=2");
	const second = await engine.api("GET", `/actors/names?limit=2&cursor=${first.pagination.cursor}`);
	const pages = [first, second].flatMap((page) => Object.keys(page.names).sort());
	assert.deepEqual(pages, Object.keys(names).sort().slice(0, 4));
});

test("runner configs are put, listed and removed", async () => {
	const pool = key();
	const config = { normal: {}, drain_on_version_upgrade: false, metadata: { provider: "custom" } };
	await engine.api("PUT", `/runner-configs/${pool}`, { datacenters: { default: config } });
	const get = async () => (await engine.api("GET", `/runner-configs?runner_name=${pool}`)).runner_configs;
	const shown = (await get())[pool].datacenters.default;
	assert.deepEqual([shown.normal.drain_on_version_upgrade, shown.metadata, shown.protocol_version], [false, { provider: "custom" }, null]);
	assert.deepEqual(await engine.api("DELETE", `/runner-configs/${pool}`), {});
	assert.deepEqual(await get(), {});
	const own = (await engine.api("GET", "/runner-configs?runner_name=default")).runner_configs.default.datacenters.default;
	assert.equal(own.protocol_version, 8);
});

test("the inspector's token is read from an actor's keys", async () => {
	const counter = client.counter.getOrCreate([key()]);
	await counter.count();
	const answer = await engine.api("GET", `/actors/${await counter.resolve()}/kv/keys/Aw==`);
	assert.ok(Buffer.from(answer.value, "base64").length > 8);
	assert.ok(answer.update_ts > 0);
});

test("the inspector is reached through the gateway", async () => {
	const counter = client.counter.getOrCreate([key()]);
	await counter.add(3);
	const id = await counter.resolve();
	const metadata = await (await fetch(`${engine.url}/gateway/${id}/metadata`)).json();
	assert.equal(metadata.version, "2.3.19");
	const stored = Buffer.from((await engine.api("GET", `/actors/${id}/kv/keys/Aw==`)).value, "base64").toString();
	const token = stored.match(/[\x21-\x7e]{16,}/)[0];
	const state = await fetch(`${engine.url}/gateway/${id}/inspector/state`, { headers: { authorization: `Bearer ${token}` } });
	assert.equal(state.status, 200);
	assert.match(await state.text(), /3/);
	assert.equal((await fetch(`${engine.url}/gateway/${id}/inspector/state`)).status, 401);
});

test("namespaces are made and listed", async () => {
	const name = `n-${process.pid}`;
	const { namespace } = await engine.api("POST", "/namespaces", { name, display_name: "A Name" }, null);
	assert.deepEqual([namespace.name, namespace.display_name], [name, "A Name"]);
	const { namespaces } = await engine.api("GET", "/namespaces", undefined, null);
	assert.deepEqual(namespaces.map((n) => n.name).sort(), ["default", name].sort());
	await refused(engine.api("POST", "/namespaces", { name, display_name: "Again" }, null), "namespace", "name_not_unique");
});

// ---- refusals: request -> status and code ----

for (const [what, method, path, body, status, expected] of [
	["no namespace", "GET", "/actors?name=counter&namespace=", undefined, 400, "namespace.not_found"],
	["an unknown namespace", "GET", "/actors?name=counter&namespace=nowhere", undefined, 400, "namespace.not_found"],
	["neither name nor ids", "GET", "/actors", undefined, 400, "validation.invalid_input"],
	["a key without a name", "GET", "/actors?key=k", undefined, 400, "validation.invalid_input"],
	["33 ids", "GET", `/actors?${Array.from({ length: 33 }, (_, n) => `actor_ids=${n}`).slice(0, 1)}`, undefined, 400, "validation.invalid_input"],
	["an unknown query parameter", "GET", "/actors?name=a&nonsense=1", undefined, 400, "api.bad_request"],
	["a pool nobody knows", "POST", "/actors", { name: "a", key: "b", runner_name_selector: "nobody", crash_policy: "sleep" }, 400, "actor.no_runner_config_configured"],
	["a datacenter nobody knows", "POST", "/actors", { name: "a", key: "b", runner_name_selector: "default", crash_policy: "sleep", datacenter: "moon" }, 400, "datacenter.not_found"],
	["an empty key", "POST", "/actors", { name: "a", key: "", runner_name_selector: "default", crash_policy: "sleep" }, 400, "actor.empty_key"],
	["a key of 1,025 bytes", "POST", "/actors", { name: "a", key: "k".repeat(1025), runner_name_selector: "default", crash_policy: "sleep" }, 400, "actor.key_too_large"],
	["a field nobody knows", "POST", "/actors", { name: "a", key: "b", runner_name_selector: "default", crash_policy: "sleep", extra: 1 }, 400, "api.bad_request"],
	["an input over 1 MiB", "POST", "/actors", { name: "a", key: "b", runner_name_selector: "default", crash_policy: "sleep", input: Buffer.alloc(1_048_577).toString("base64") }, 400, "actor.input_too_large"],
	["an id that is none", "DELETE", "/actors/nonsense", undefined, 400, "api.bad_request"],
	["a path nobody serves", "GET", "/nonsense", undefined, 404, "api.not_found"],
	["a serverless pool with a bad url", "PUT", "/runner-configs/bad", { datacenters: { default: { serverless: { url: "ftp://x", request_lifespan: 3600 } } } }, 400, "runner_config.invalid"],
	["a query without a method", "GET", "/gateway/counter/?rvt-namespace=default", undefined, 400, "guard.query_invalid_params"],
	["getOrCreate without a pool", "GET", "/gateway/counter/?rvt-namespace=default&rvt-method=getOrCreate&rvt-key=a", undefined, 400, "guard.query_missing_pool"],
	["get with what only creates", "GET", "/gateway/counter/?rvt-namespace=default&rvt-method=get&rvt-key=a&rvt-input=oA", undefined, 400, "guard.query_get_disallowed_params"],
	["get of nobody", "GET", "/gateway/counter/?rvt-namespace=default&rvt-method=get&rvt-key=nobody", undefined, 404, "actor.not_found"],
]) {
	test(`refused: ${what}`, async () => {
		const own = path.includes("namespace=") || path.startsWith("/gateway");
		const answer = await engine.raw(method, path, body, own ? null : "default");
		assert.deepEqual([answer.status, `${answer.body.group}.${answer.body.code}`], [status, expected]);
	});
}
