// Engines and apps for the tests: real processes, fresh data, free ports; all gone when the test file ends.
//
// Which engine is the original is seen by its path: npm's package of it. Nothing here knows a test. No sleep is used to wait for something: `until` polls with a deadline.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test as nodeTest } from "node:test";
import { fileURLToPath } from "node:url";
import { createClient } from "rivetkit/client";
import WebSocket from "ws";
import { differences } from "./differences.mjs";

export const BINARY = process.env.RIVET_ENGINE_BINARY;
const isOriginal = (binary) => binary.includes("/@rivetkit/engine-cli-");
if (!BINARY || !existsSync(BINARY)) throw new Error("RIVET_ENGINE_BINARY names no engine; start the tests with tests/rivetkit/run");
export const ORIGINAL = isOriginal(BINARY);

const APP = fileURLToPath(new URL("app/main.mjs", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "rivetkit-tests-"));
const processes = new Set();
const clients = new Set();

// ---- tests ----

let started = false;

/// A test. One that the table of differences names is expected to fail against the original engine.
export function test(name, body, { timeout = 60_000 } = {}) {
	const differs = ORIGINAL ? differences[name] : undefined;
	nodeTest(name, { timeout, todo: differs && `the original: ${differs}` }, async (t) => {
		started = true;
		const marks = [...processes].map((p) => [p, p.logLength()]);
		try {
			await body(t);
		} catch (error) {
			if (!differs) showLogs(name, marks);
			throw error;
		}
		if (differs && !differs.startsWith("sometimes")) t.diagnostic(`differences.mjs is out of date: the original passes "${name}"`);
	});
}

/// Polls until `probe` returns something truthy, and returns that. An error it throws is the reason shown at the deadline.
export async function until(what, probe, within = 15_000) {
	const deadline = Date.now() + within;
	for (;;) {
		let reason;
		try {
			const left = deadline - Date.now();
			const value = await Promise.race([probe(), pause(left + 10)]);
			if (value) return value;
		} catch (error) {
			reason = error;
		}
		if (Date.now() > deadline) throw new Error(`not within ${within} ms: ${what}`, { cause: reason });
		await pause(25);
	}
}

/// What becomes of a promise that may be waited for without end: a test that waits too long says for what.
export async function soon(what, promise, within = 20_000) {
	let timer;
	const late = new Promise((_, failed) => (timer = setTimeout(() => failed(new Error(`not within ${within} ms: ${what}`)), within)));
	return await Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

export const pause = (ms) => new Promise((done) => setTimeout(done, ms));

/// Waits until a connection that was closed is open again, which RivetKit sees to by itself. One that is let go of while it is
/// being opened again waits for ever to hear that it is closed.
export const back = (connection) => until("the connection is open again", () => connection.connStatus === "connected");

let keys = 0;
/// A key no other test uses.
export const key = () => `key-${process.pid}-${++keys}`;

/// What `promise` is rejected with; it must be, and with this group and code.
export async function refused(promise, group, code) {
	const error = await promise.then(
		(value) => assert.fail(`answered ${JSON.stringify(value)} instead of ${group}.${code}`),
		(error) => error,
	);
	assert.equal(`${error.group}.${error.code}`, `${group}.${code}`, error.stack);
	return error;
}

// ---- processes ----

class Process {
	constructor(name, command, args, env) {
		this.name = name;
		this.log = join(folder, `${name}-${Math.random().toString(36).slice(2, 8)}.log`);
		const out = openSync(this.log, "w");
		this.child = spawn(command, args, { env: defined({ ...inherited(), ...env }), stdio: ["ignore", out, out], cwd: folder });
		closeSync(out);
		this.exited = new Promise((done) => this.child.once("exit", (code, signal) => done({ code, signal })));
		this.exited.then(() => (this.gone = true));
		processes.add(this);
	}

	get pid() {
		return this.child.pid;
	}

	logLength() {
		return existsSync(this.log) ? statSync(this.log).size : 0;
	}

	text(from = 0) {
		return readFileSync(this.log).subarray(from).toString();
	}

	/// Ends it at once, as a crash would.
	async crash() {
		this.child.kill("SIGKILL");
		await this.exited;
		processes.delete(this);
	}

	/// Stands still, until it goes on.
	freeze() {
		this.child.kill("SIGSTOP");
	}

	goOn() {
		this.child.kill("SIGCONT");
	}

	/// Asks it to end, and waits until it has.
	async terminate(within = 30_000) {
		this.child.kill("SIGTERM");
		await until(`${this.name} ends after SIGTERM`, () => this.gone, within);
		processes.delete(this);
		return await this.exited;
	}
}

/// The environment without what would steer an engine or an app.
function inherited() {
	const kept = Object.entries(process.env).filter(([name]) => !/^_?RIVET|^NODE_|^RUST_/.test(name));
	return Object.fromEntries(kept);
}

const defined = (env) => Object.fromEntries(Object.entries(env).filter(([, value]) => value !== undefined));

function showLogs(test, marks) {
	for (const [p, from] of marks) {
		const lines = p.text(from).trimEnd().split("\n").slice(-25);
		if (lines.length > 1) console.error(`--- ${p.name} during "${test}" ---\n${lines.map((line) => line.slice(0, 300)).join("\n")}`);
	}
}

function killAll() {
	for (const p of processes) p.child.kill("SIGKILL");
	rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
}
process.on("exit", killAll);
// What fails before the first test ends the file without an exit event.
process.prependListener("uncaughtException", () => {
	if (started) return;
	showLogs("the preparation", [...processes].map((p) => [p, 0]));
	killAll();
});
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(1));
// Not when a script measures with what is here.
if (process.env.NODE_TEST_CONTEXT) after(async () => {
	await Promise.race([Promise.allSettled([...clients].map((client) => client.dispose())), pause(2_000)]);
	killAll();
	// Sockets that a test left open must not keep the file alive.
	setTimeout(() => process.exit(), 500).unref();
});

/// A port nobody listens on, below those the system gives to outgoing connections.
export async function freePort() {
	for (;;) {
		const port = 10_000 + Math.floor(Math.random() * 20_000);
		const free = await new Promise((done) => {
			const server = createServer();
			server.once("error", () => done(false));
			server.listen(port, "127.0.0.1", () => server.close(() => done(true)));
		});
		if (free) return port;
	}
}

// ---- the engine ----

export class Engine {
	/// An engine on fresh data that is healthy. `env` goes to the process.
	static async start({ env = {}, binary = BINARY, publicUrl = false } = {}) {
		const engine = new Engine();
		engine.binary = binary;
		engine.port = await freePort();
		const [peer, metrics] = [await freePort(), await freePort()];
		engine.url = `http://127.0.0.1:${engine.port}`;
		engine.data = mkdtempSync(join(folder, "data-"));
		engine.env = {
			RIVET__GUARD__HOST: "127.0.0.1",
			RIVET__GUARD__PORT: String(engine.port),
			RIVET__API_PEER__HOST: "127.0.0.1",
			RIVET__API_PEER__PORT: String(peer),
			RIVET__METRICS__HOST: "127.0.0.1",
			RIVET__METRICS__PORT: String(metrics),
			RIVET__FILE_SYSTEM__PATH: engine.data,
			...(isOriginal(binary) ? ORIGINAL_ENV : {}),
			...env,
		};
		engine.args = ["start"];
		if (publicUrl) {
			// As RivetKit does it: serverless apps are told to come back to this address.
			const file = join(engine.data, "..", `config-${engine.port}.json`);
			const local = { datacenter_label: 1, is_leader: true, public_url: engine.url, peer_url: `http://127.0.0.1:${peer}` };
			writeFileSync(file, JSON.stringify({ topology: { datacenter_label: 1, datacenters: { default: local } } }));
			engine.args.push("--config", file);
		}
		await engine.launch();
		return engine;
	}

	async launch() {
		this.process = new Process("engine", this.binary, this.args, this.env);
		await until("the engine is healthy", async () => {
			if (this.process.gone) throw new Error(`the engine ended:\n${this.process.text().slice(-4000)}`);
			return (await fetch(`${this.url}/health`, { signal: AbortSignal.timeout(1_000) })).ok;
		}, 30_000);
	}

	async crash() {
		await this.process.crash();
	}

	/// Kills it, and starts it on the same data and ports.
	async crashAndRestart() {
		await this.crash();
		await this.launch();
	}

	/// One call of the HTTP API: the body of a 200, else an error with `status` and `body`.
	async api(method, path, body, namespace = "default") {
		const answer = await this.raw(method, path, body, namespace);
		if (answer.status === 200) return answer.body;
		throw Object.assign(new Error(`${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`), answer, answer.body);
	}

	async raw(method, path, body, namespace = "default") {
		const url = new URL(path, this.url);
		if (namespace) url.searchParams.set("namespace", namespace);
		const response = await fetch(url, {
			method,
			headers: body === undefined ? {} : { "content-type": "application/json" },
			body: body === undefined ? undefined : JSON.stringify(body),
		});
		const text = await response.text();
		let parsed = text;
		try {
			parsed = JSON.parse(text);
		} catch {}
		return { status: response.status, body: parsed };
	}

	/// The actor as the API shows it.
	async actor(id, namespace = "default") {
		const { actors } = await this.api("GET", `/actors?actor_ids=${id}`, undefined, namespace);
		return actors[0];
	}

	/// Puts an actor to sleep and waits until it is.
	async sleep(id, namespace = "default") {
		await this.api("POST", `/actors/${id}/sleep`, {}, namespace);
		await this.asleep(id, namespace);
	}

	async asleep(id, namespace = "default", within = 15_000) {
		await until(`actor ${id} sleeps`, async () => {
			const actor = await this.actor(id, namespace);
			return actor.sleep_ts && !actor.connectable_ts;
		}, within);
	}

	/// Puts an actor to sleep and waits until it has stopped in its app. An actor that was told to sleep shows as
	/// asleep before that, and still gets messages.
	async sleepIn(app, id, generation = 1) {
		await this.api("POST", `/actors/${id}/sleep`, {});
		await this.stopped(app, id, generation);
	}

	async stopped(app, id, generation = 1) {
		const parts = ["new=Terminated", id, `generation=${generation} `];
		await until("the actor has stopped", () => app.text().split("\n").some((line) => parts.every((part) => line.includes(part))));
		await this.asleep(id);
	}

	/// Waits until an app is connected; the engine's own runner is no app.
	async connected(namespace = "default") {
		await until("an app is connected", async () => {
			const { envoys } = await this.api("GET", "/envoys", undefined, namespace);
			return envoys.some((envoy) => envoy.envoy_key !== "wasm");
		}, 60_000);
	}

	client(options = {}) {
		const client = createClient({ endpoint: this.url, ...options });
		clients.add(client);
		return client;
	}

	/// A running app that is ready for actors. Options: namespace, pool, version, token, env, wait.
	async app(options = {}) {
		const { namespace = "default", pool = "default", version = 1, env = {}, name = `app-${++apps}`, wait = true } = options;
		const app = new Process(name, process.execPath, [APP], {
			RIVET_ENDPOINT: this.url,
			RIVET_NAMESPACE: namespace,
			RIVET_POOL: pool,
			RIVET_ENVOY_VERSION: String(version),
			RIVET_RUN_SERVICES: "0",
			// RivetKit says at this level when an actor has stopped; `stopped` reads it.
			RIVET_LOG_LEVEL: "info",
			APP_NAME: name,
			...env,
		});
		if (wait) await appReady(app);
		return app;
	}

	/// A WebSocket through the gateway, opened; messages are kept from the first on.
	async socket(path, protocols = ["rivet"]) {
		const socket = new Socket(`${this.url.replace("http", "ws")}${path}`, protocols);
		await socket.opened;
		return socket;
	}

	/// The path of an actor behind the gateway, created if there is none with this key.
	path(name, key, rest, { pool = "default", namespace = "default" } = {}) {
		const [path, query] = rest.split("?");
		const rvt = new URLSearchParams({ "rvt-namespace": namespace, "rvt-method": "getOrCreate", "rvt-runner": pool, "rvt-key": key });
		return `/gateway/${name}/${path}?${query ? `${query}&` : ""}${rvt}`;
	}

}

/// The original engine sheds load on a busy machine until nothing moves, and reports to its makers. Neither is wanted.
export const ORIGINAL_ENV = { RIVET__RUNTIME__WORKER_CPU_MAX: "64000", RIVET__TELEMETRY__ENABLED: "false" };

let apps = 0;
export async function appReady(app, within = 30_000) {
	await until(`${app.name} is ready`, () => {
		if (app.gone) throw new Error(`${app.name} ended:\n${app.text().slice(-4000)}`);
		return app.text().includes("app is ready");
	}, within);
}

export { Process };

/// A way to a port that can break: its connections are cut, or nothing passes any more and nobody is told.
export class Wire {
	static async start(port) {
		const wire = new Wire();
		wire.ends = new Set();
		wire.held = false;
		wire.server = createServer((near) => {
			const far = connect(port, "127.0.0.1");
			for (const [from, to] of [[near, far], [far, near]]) {
				wire.ends.add(from);
				if (wire.held) from.pause();
				from.on("data", (data) => to.write(data));
				from.on("end", () => to.end());
				from.on("error", () => to.destroy());
				from.on("close", () => {
					wire.ends.delete(from);
					if (!wire.held) to.destroy();
				});
			}
		});
		wire.server.unref();
		wire.port = await freePort();
		await new Promise((done) => wire.server.listen(wire.port, "127.0.0.1", done));
		wire.url = `http://127.0.0.1:${wire.port}`;
		return wire;
	}

	/// Ends every connection, as a network that resets them.
	cut() {
		for (const end of this.ends) end.destroy();
	}

	/// Passes nothing more, in either direction. What was sent meanwhile arrives at the release.
	hold() {
		this.held = true;
		for (const end of this.ends) end.pause();
	}

	release() {
		this.held = false;
		for (const end of this.ends) end.resume();
	}
}

/// A raw WebSocket that keeps what it receives.
export class Socket {
	constructor(url, protocols) {
		this.messages = [];
		this.ws = new WebSocket(url, protocols);
		this.ws.on("message", (data, binary) => this.messages.push(binary ? data : data.toString()));
		this.opened = new Promise((done, failed) => {
			this.ws.once("open", done);
			this.ws.once("error", failed);
		});
		this.opened.catch(() => {});
		this.closed = new Promise((done) => this.ws.once("close", (code, reason) => done({ code, reason: reason.toString() })));
		this.closed.then((how) => (this.how = how));
	}

	send(data) {
		this.ws.send(data);
	}

	close(code, reason) {
		this.ws.close(code, reason);
	}

	/// The first message that has not been taken.
	async next(within = 15_000) {
		await until("a message arrives on the socket", () => this.messages.length > 0 || this.how, within);
		if (this.messages.length === 0) throw new Error(`closed with ${this.how.code} ${this.how.reason}`);
		return this.messages.shift();
	}

	/// How it was closed: `{ code, reason }`.
	async end(within = 15_000) {
		await until("the socket is closed", () => this.how, within);
		return this.how;
	}
}
