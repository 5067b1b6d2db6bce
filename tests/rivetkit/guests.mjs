// Measures one action, which adds to a count that is stored, on an actor in Node.js and on Wasm actors in four languages: the same
// client, the same engine, one run. Called by `guests`.
//
// `plain` does what the actor in Node.js does: it adds, stores, and sends an event to whoever is connected. The counters in four languages
// write a row of SQL beside that. What is promised differs: a Wasm actor answers when its count is synced to the disk, RivetKit in
// Node.js stores it a moment later.
//
// Client, engine and Node.js share the cores, so the calls a second are bounded by the client, which a row that calls nothing but
// GET /health shows. What the servers can do is said by their processor time.
import { readFileSync } from "node:fs";
import { cpus, loadavg } from "node:os";
import { fileURLToPath } from "node:url";
import { Engine, key } from "./harness.mjs";

const rounds = Number(process.argv[2]);
const GUESTS = process.env.RIVET_GUESTS_DIR ?? fileURLToPath(new URL("../../target/guests", import.meta.url));
const LANGUAGES = { "Rust, without SQL": "plain", Rust: "counter-rust", C: "counter-c", JavaScript: "counter-js", Python: "counter-python" };
const WIDTH = 32;
const ROUND_MS = 3_000;
const ALONE = 200;
const TICKS_PER_SECOND = 100;

const now = () => performance.now();
const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];

/// CPU milliseconds that a process has used since it was started.
function cpuMs(pid) {
	const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1].split(" ");
	return ((Number(fields[11]) + Number(fields[12])) * 1000) / TICKS_PER_SECOND;
}

const engine = await Engine.start();
const app = await engine.app();
const client = engine.client();

/// One caller after another: the median. Then many at once: calls per second, and the engine's processor time for each.
async function measure(call) {
	for (let n = 0; n < 20; n += 1) await call(n);
	const times = [];
	for (let n = 0; n < ALONE; n += 1) {
		const began = now();
		await call(n);
		times.push(now() - began);
	}
	const cpu = () => [engine.process, app].map((server) => cpuMs(server.pid));
	const [began, before] = [now(), cpu()];
	let calls = 0;
	await Promise.all(Array.from({ length: WIDTH }, async (_, caller) => {
		while (now() - began < ROUND_MS) {
			await call(caller);
			calls += 1;
		}
	}));
	const [ofEngine, ofApp] = cpu().map((spent, at) => (spent - before[at]) / calls);
	return { alone: median(times), perSecond: (calls * 1000) / (now() - began), engine: ofEngine, servers: ofEngine + ofApp };
}

const rows = new Map();
rows.set("GET /health: client and server alone", () => async () => (await fetch(`${engine.url}/health`)).text());
for (const [how, of] of [["HTTP", (handle) => handle], ["a connection", (handle) => handle.connect()]]) {
	const many = (handle) => Array.from({ length: WIDTH }, () => of(handle()));
	rows.set(`Node.js, over ${how}`, () => {
		const actors = many(() => client.counter.getOrCreate([key()]));
		return (n) => actors[n % WIDTH].add(1);
	});
	for (const [language, name] of Object.entries(LANGUAGES)) {
		rows.set(`Wasm from ${language}, over ${how}`, () => {
			const actors = many(() => client[name].getOrCreate([key()]));
			return (n) => actors[n % WIDTH].increment(1);
		});
	}
}

for (const name of Object.values(LANGUAGES)) {
	const response = await fetch(`${engine.url}/deployments/${name}?namespace=default`, { method: "PUT", body: readFileSync(`${GUESTS}/${name}.wasm`) });
	if (!response.ok) throw new Error(await response.text());
}

const seen = new Map();
for (let round = 1; round <= rounds; round += 1) {
	for (const [name, prepare] of rows) {
		console.error(`==> round ${round} of ${rounds}: ${name}`);
		seen.set(name, [...(seen.get(name) ?? []), await measure(prepare())]);
	}
}

const of = (name, what) => median(seen.get(name).map((figures) => figures[what]));
const digits = (value) => (value >= 100 ? value.toFixed(0) : value.toPrecision(2));
console.log(`${cpus().length} cores, ${cpus()[0].model.trim()}; node ${process.versions.node}; medians of ${rounds} rounds; load at the end ${loadavg()[0].toFixed(1)}.\n`);
console.log(`| action | p50 of one caller, ms | per second, ${WIDTH} callers and actors | beside Node.js | engine's CPU, ms each | CPU of engine and app | Node.js beside it |\n|---|---:|---:|---:|---:|---:|---:|`);
for (const name of rows.keys()) {
	const node = name.includes(", over ") && `Node.js, over ${name.split(", over ")[1]}`;
	const ratio = node ? (of(name, "perSecond") / of(node, "perSecond")).toFixed(1) : "";
	const cpus = node ? (of(node, "servers") / of(name, "servers")).toFixed(1) : "";
	const each = [of(name, "engine"), of(name, "servers")].map((cpu) => cpu.toPrecision(2)).join(" | ");
	console.log(`| ${name} | ${digits(of(name, "alone"))} | ${of(name, "perSecond").toFixed(0)} | ${ratio} | ${each} | ${cpus} |`);
}
await app.crash();
await engine.crash();
process.exit(0);
