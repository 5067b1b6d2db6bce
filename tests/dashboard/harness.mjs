// A real engine with fresh data, and a real browser that looks at its dashboard. All gone when the test file ends.
//
// Every page is watched: a request to anywhere else, an error in the console, a script that fails make its test fail, unless the
// test says that it expects it. No sleep is used to wait for something.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test as nodeTest } from "node:test";
import { chromium } from "playwright-core";

const BINARY = process.env.RIVET_ENGINE_BINARY;
const GUESTS = process.env.RIVET_GUESTS_DIR;
if (!BINARY || !GUESTS) throw new Error("RIVET_ENGINE_BINARY or RIVET_GUESTS_DIR is not set; start the tests with tests/dashboard/run");

const FLAGS = [
	"--headless=new",
	"--no-sandbox",
	"--disable-gpu",
	"--disable-quic",
	"--no-first-run",
	"--disable-background-networking",
	"--disable-component-update",
	"--disable-sync",
];
/// How long something that is waited for may take.
const WITHIN_MS = 10_000;

const folder = mkdtempSync(join(tmpdir(), "dashboard-tests-"));
const engines = [];
let browser;

before(async () => {
	browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: FLAGS });
});
const killAll = () => engines.forEach((engine) => engine.child.kill("SIGKILL"));
after(async () => {
	await browser?.close();
	killAll();
});
process.on("exit", () => {
	killAll();
	rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
});
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(1));

export const guest = (name) => join(GUESTS, `${name}.wasm`);

// ---- the engine ----

export class Engine {
	static async start({ env = {}, token } = {}) {
		const engine = new Engine();
		const inherited = Object.entries(process.env).filter(([name]) => !/^RIVET|^RUST_/.test(name));
		const data = mkdtempSync(join(folder, "data-"));
		engine.child = spawn(BINARY, ["start", "--host", "127.0.0.1", "--port", "0", "--data-dir", data], {
			env: { ...Object.fromEntries(inherited), ...env },
			stdio: ["ignore", "pipe", "ignore"],
		});
		engines.push(engine);
		let said = "";
		for await (const piece of engine.child.stdout) {
			said += piece;
			if (said.includes("\n")) break;
		}
		engine.url = said.match(/ is ready at (http:\/\/[^,\s]+)/)?.[1];
		assert.ok(engine.url, `the engine did not get ready: ${said}`);
		engine.headers = token ? { authorization: `Bearer ${token}` } : {};
		return engine;
	}

	/// A call of the API that must succeed.
	async api(method, path, body) {
		const json = body instanceof Buffer || body === undefined;
		const response = await fetch(this.url + path, {
			method,
			headers: json ? this.headers : { ...this.headers, "content-type": "application/json" },
			body: json ? body : JSON.stringify(body),
		});
		const text = await response.text();
		assert.equal(response.status, 200, `${method} ${path}: ${text}`);
		return JSON.parse(text);
	}

	/// A namespace that no other test uses.
	async namespace() {
		this.namespaces = (this.namespaces ?? 0) + 1;
		const name = `test-${this.namespaces}`;
		await this.api("POST", "/namespaces", { name, display_name: name });
		return name;
	}

	/// A token of a role in a namespace, and its id.
	async mint(namespace, role, expires_in_ms = null) {
		const { token, secret } = await this.api("POST", `/tokens?namespace=${namespace}`, { role, expires_in_ms });
		return { id: token.id, secret };
	}

	deploy(namespace, file, name = file) {
		return this.api("PUT", `/deployments/${name}?namespace=${namespace}`, readFileSync(guest(file)));
	}

	async create(namespace, name, key) {
		const body = { name, key, runner_name_selector: "default", crash_policy: "sleep" };
		return (await this.api("POST", `/actors?namespace=${namespace}`, body)).actor.actor_id;
	}
}

// ---- the browser ----

/// A test with a page of its own, which must do nothing that it should not. `expected` matches what it may say in the console.
export function test(name, body, { expected, ...context } = {}) {
	nodeTest(name, { timeout: 60_000 }, async () => {
		const fresh = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...context });
		fresh.setDefaultTimeout(WITHIN_MS);
		const wrong = [];
		const origins = new Set(engines.map((engine) => engine.url));
		fresh.on("request", (request) => {
			if (!origins.has(new URL(request.url()).origin)) wrong.push(`request to ${request.url()}`);
		});
		fresh.on("console", (message) => {
			const text = `${message.type()}: ${message.text()}`;
			if (["error", "warning"].includes(message.type()) && !expected?.test(text)) wrong.push(text);
		});
		fresh.on("weberror", (error) => wrong.push(error.error().stack));
		fresh.on("dialog", (dialog) => wrong.push(`a dialog: ${dialog.message()}`));
		const page = await fresh.newPage();
		try {
			await body(page);
		} catch (error) {
			console.error(`--- what the page of "${name}" shows, at ${page.url()} ---\n${await page.locator("body").innerText().catch(() => "nothing")}`);
			throw error;
		} finally {
			await fresh.close();
		}
		assert.deepEqual(wrong, [], "what the page should not do");
	});
}

/// Waits until it is there and seen.
export const seen = (locator) => locator.waitFor({ state: "visible" });
export const gone = (locator) => locator.waitFor({ state: "detached" });
export const badge = (page, word) => page.locator(".heading .badge", { hasText: word });

/// Types a token where the page asks for one.
export async function enter(page, token, remember = false) {
	await page.getByLabel("Token", { exact: true }).fill(token);
	if (remember) await page.getByLabel("Remember on this device").check();
	await page.getByRole("button", { name: "Continue" }).click();
}

/// A button of the page, and the one of the same name in the dialog that asks.
export async function confirmed(page, name, label = name) {
	await page.getByRole("button", { name }).click();
	await page.getByRole("dialog").getByRole("button", { name: label, exact: true }).click();
	await gone(page.getByRole("dialog"));
}
