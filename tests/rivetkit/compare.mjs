// Measures two engines with the same RivetKit app, alternately, and prints a table. Called by `compare`.
//
// Figures of one machine in one run: only the ratio says something elsewhere. The app, the client and the engine
// share the cores; what the engine alone needs is its CPU time.
import { readFileSync } from "node:fs";
import { cpus, loadavg } from "node:os";
import { Engine, key, pause, until } from "./harness.mjs";

const [ours, other, actors, rounds] = [process.argv[2], process.argv[3], Number(process.argv[4]), Number(process.argv[5])];
const TICKS_PER_SECOND = 100;

const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
const now = () => performance.now();

/// CPU milliseconds the engine has used since it was started.
function cpuMs(engine) {
	const fields = readFileSync(`/proc/${engine.process.pid}/stat`, "utf8").split(") ")[1].split(" ");
	return ((Number(fields[11]) + Number(fields[12])) * 1000) / TICKS_PER_SECOND;
}

const rssMib = (engine) => Number(readFileSync(`/proc/${engine.process.pid}/status`, "utf8").match(/VmRSS:\s+(\d+)/)[1]) / 1024;

async function timed(work) {
	const started = now();
	await work();
	return now() - started;
}

/// `count` times one after another: the median, and the engine's CPU per time.
async function oneByOne(engine, count, work) {
	const before = cpuMs(engine);
	const times = [];
	for (let n = 0; n < count; n += 1) times.push(await timed(() => work(n)));
	return { p50: median(times), cpu: (cpuMs(engine) - before) / count };
}

/// `count` times, `width` at once: times per second, and the engine's CPU per time.
async function atOnce(engine, count, width, work) {
	const before = cpuMs(engine);
	let next = 0;
	const took = await timed(() => Promise.all(Array.from({ length: width }, async () => {
		while (next < count) await work(next++);
	})));
	return { perSecond: (count * 1000) / took, cpu: (cpuMs(engine) - before) / count };
}

async function measure(binary) {
	const figures = {};
	const started = now();
	const engine = await Engine.start({ binary });
	figures["engine start to healthy, ms"] = now() - started;
	let app = await engine.app();
	const client = engine.client();
	await pause(1_000);
	figures["memory idle, MiB"] = rssMib(engine);

	const create = (k) => engine.api("POST", "/actors", { name: "counter", key: k, runner_name_selector: "default", crash_policy: "sleep" });
	const created = await oneByOne(engine, 50, () => create(key()));
	figures["create by API, p50 ms"] = created.p50;
	figures["create by API, engine CPU ms"] = created.cpu;

	const first = await oneByOne(engine, 30, () => client.counter.getOrCreate([key()]).add(1));
	figures["create to first reply, p50 ms"] = first.p50;
	figures["create to first reply, engine CPU ms"] = first.cpu;

	const hot = client.echo.getOrCreate([key()]);
	await hot.back(1);
	const action = await oneByOne(engine, 500, (n) => hot.back(n));
	figures["action over HTTP, p50 ms"] = action.p50;
	figures["action over HTTP, engine CPU ms"] = action.cpu;
	const wide = await atOnce(engine, 3_000, 32, (n) => hot.back(n));
	figures["actions over HTTP per second, 32 at once"] = wide.perSecond;
	figures["the same, engine CPU ms per action"] = wide.cpu;

	const connection = hot.connect();
	await connection.back(1);
	const over = await oneByOne(engine, 500, (n) => connection.back(n));
	figures["action over a connection, p50 ms"] = over.p50;
	figures["action over a connection, engine CPU ms"] = over.cpu;
	await connection.dispose();

	const sleepers = Array.from({ length: 15 }, () => client.counter.getOrCreate([key()]));
	for (const sleeper of sleepers) {
		await sleeper.add(1);
		await engine.sleepIn(app, await sleeper.resolve());
	}
	const wake = await oneByOne(engine, sleepers.length, (n) => sleepers[n].count());
	figures["wake from sleep to reply, p50 ms"] = wake.p50;
	figures["wake from sleep to reply, engine CPU ms"] = wake.cpu;

	const many = Array.from({ length: actors }, () => client.counter.getOrCreate([key()]));
	const filled = await atOnce(engine, actors, 16, (n) => many[n].add(1));
	figures[`${actors} actors made, per second`] = filled.perSecond;
	figures[`memory with ${actors} actors awake, MiB`] = rssMib(engine);

	await engine.crash();
	figures[`restart with ${actors} actors: healthy, ms`] = await timed(() => engine.launch());
	const healthy = now();
	await answers(() => many[0].count());
	figures[`restart with ${actors} actors: first reply after healthy, ms`] = now() - healthy;

	// Of an app that was killed: its actors are noticed as lost, and started in the next app.
	await many[1].save();
	await app.crash();
	const killed = now();
	app = await engine.app();
	await answers(() => many[1].count());
	figures["app killed and started again: reply after the kill, ms"] = now() - killed;

	await app.crash();
	await engine.crash();
	return figures;
}

const answers = (call) => until("an answer", () => Promise.race([call().then(() => true), pause(3_000)]), 90_000);

const results = new Map([[ours, []], [other, []]]);
for (let round = 1; round <= rounds; round += 1) {
	for (const binary of results.keys()) {
		console.error(`==> round ${round} of ${rounds}: ${binary}`);
		results.get(binary).push(await measure(binary));
	}
}

const round3 = (value) => (value >= 100 ? value.toFixed(0) : value.toPrecision(3));
console.log(`${cpus().length} cores, ${cpus()[0].model.trim()}; node ${process.versions.node}; medians of ${rounds} rounds, engines in turn; load at the end ${loadavg()[0].toFixed(1)}.`);
console.log(`\nEngine: ${ours}\nAgainst: ${other}\n\n| | engine | against | ratio |\n|---|---:|---:|---:|`);
for (const name of Object.keys(results.get(ours)[0])) {
	const [a, b] = [ours, other].map((binary) => median(results.get(binary).map((figures) => figures[name])));
	console.log(`| ${name} | ${round3(a)} | ${round3(b)} | ${(a / b).toFixed(2)} |`);
}
process.exit(0);
