// What an operator does with the dashboard, seen from the browser and from the API.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { before } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { badge, confirmed, Engine, gone, guest, seen, test } from "./harness.mjs";

let engine;
before(async () => {
	engine = await Engine.start();
});

const at = (namespace, rest) => `${engine.url}/ui/ns/${namespace}/${rest}`;
const row = (page, text) => page.getByRole("row", { name: text });

test("a namespace is made and entered", async (page) => {
	await page.goto(engine.url);
	assert.equal(new URL(page.url()).pathname, "/ui/");
	await seen(page.getByRole("link", { name: "default", exact: true }));
	await seen(page.getByText(/^rivet-engine \d+\.\d+\.\d+/));
	await page.getByRole("button", { name: "New namespace" }).click();
	await page.getByLabel("Name", { exact: true }).fill("staging");
	await page.getByLabel("Display name").fill("Staging <b>area</b>");
	await page.getByRole("button", { name: "Create", exact: true }).click();
	await page.waitForURL("**/ui/ns/staging/actors");
	await seen(page.getByRole("heading", { name: "No actors yet" }));
	const { namespaces } = await engine.api("GET", "/namespaces?name=staging");
	assert.equal(namespaces[0].display_name, "Staging <b>area</b>");
	await page.getByLabel("Namespace").selectOption("/");
	await seen(page.getByText("Staging <b>area</b>"));
});

test("a name that cannot be is refused with the engine's sentence", async (page) => {
	await page.goto(`${engine.url}/ui/`);
	await page.getByRole("button", { name: "New namespace" }).click();
	await page.getByLabel("Name", { exact: true }).fill("default");
	await page.getByRole("button", { name: "Create", exact: true }).click();
	await seen(page.getByRole("alert").getByText("namespace.name_not_unique"));
}, { expected: /status of 400/ });

test("a component is deployed by file, a second one by dropping it, and the first is live again after a roll back", async (page) => {
	const namespace = await engine.namespace();
	await page.goto(at(namespace, "deployments"));
	await seen(page.getByText("Nothing is deployed"));
	await page.getByLabel("Component").last().setInputFiles(guest("counter"));
	assert.equal(await page.getByLabel("Name", { exact: true }).inputValue(), "counter");
	await page.getByRole("button", { name: "Deploy" }).click();
	await seen(page.getByText("Version 1 of counter is live."));
	await seen(row(page, /^1 live/));

	const bytes = readFileSync(guest("wasi-http")).toString("base64");
	const dropped = await page.evaluateHandle((text) => {
		const data = new DataTransfer();
		data.items.add(new File([Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0))], "other.wasm"));
		return data;
	}, bytes);
	await page.locator(".drop").dispatchEvent("drop", { dataTransfer: dropped });
	await page.getByLabel("Name", { exact: true }).fill("counter");
	await page.getByRole("button", { name: "Deploy" }).click();
	await seen(row(page, /^2 live/));

	await confirmed(page, "Roll back counter to version 1", "Roll back");
	await seen(row(page, /^1 live/));
	const { deployments } = await engine.api("GET", `/deployments?namespace=${namespace}`);
	assert.deepEqual(deployments[0].versions.map((version) => version.live), [true, false]);
});

test("what is no component is refused, and why is said", async (page) => {
	await page.goto(at(await engine.namespace(), "deployments"));
	await page.getByLabel("Component").last().setInputFiles(guest("unknown-import"));
	await page.getByRole("button", { name: "Deploy" }).click();
	await seen(page.getByRole("alert").getByText("component.unknown_import"));
});

test("an actor is created, called, put to sleep, woken and destroyed", async (page) => {
	const namespace = await engine.namespace();
	await engine.deploy(namespace, "counter");
	await page.goto(at(namespace, "actors"));
	await page.getByRole("button", { name: "New actor" }).click();
	const dialog = page.getByRole("dialog");
	assert.equal(await dialog.getByLabel("Name").inputValue(), "counter");
	await dialog.getByLabel("Key").fill("a/b");
	await dialog.getByRole("button", { name: "Create", exact: true }).click();
	await page.waitForURL("**/actors/*");
	await seen(page.getByRole("heading", { name: "counter / a/b" }));
	await seen(badge(page, "running"));

	await page.getByLabel("Method").selectOption("POST");
	await page.getByLabel("Path and query").fill("/increment?by=5");
	await page.getByRole("button", { name: "Send" }).click();
	await seen(page.locator(".answer .badge", { hasText: "200" }));
	assert.equal(await page.getByLabel("Body", { exact: true }).last().innerText(), "5\n");

	await confirmed(page, "Sleep");
	await seen(badge(page, "sleeping"));
	await page.getByRole("button", { name: "Send" }).click();
	await seen(page.locator("pre", { hasText: "10" }));
	await seen(badge(page, "running"));
	await confirmed(page, "Reschedule");
	await seen(badge(page, "running"));

	await confirmed(page, "Destroy");
	await seen(badge(page, "destroyed"));
	assert.ok(await page.getByRole("button", { name: "Sleep" }).isDisabled());
	await page.getByRole("link", { name: "Actors: counter" }).click();
	await seen(page.getByText("No actors here."));
	await page.getByLabel("Destroyed ones too").check();
	await seen(row(page, /a\/b destroyed/));
});

test("what others change is shown without asking for it, and nothing is asked while nobody looks", async (page) => {
	const namespace = await engine.namespace();
	await engine.deploy(namespace, "counter");
	await engine.create(namespace, "counter", "first");
	await page.clock.install();
	await page.goto(at(namespace, "actors?name=counter"));
	await seen(row(page, /first/));
	await page.clock.pauseAt(Date.now() + 3_600_000);
	await page.evaluate(() => {
		Object.defineProperty(document, "hidden", { configurable: true, get: () => true });
		document.dispatchEvent(new Event("visibilitychange"));
	});
	let asked = 0;
	page.on("request", () => asked++);
	// What was begun before the tab was hidden may still go on; its clock stands, so nothing new begins.
	for (let before = -1; before !== asked; await pause(500)) before = asked;
	asked = 0;
	await engine.create(namespace, "counter", "second");
	await page.clock.runFor(60_000);
	assert.equal(asked, 0, "requests while the tab is hidden");
	await page.evaluate(() => {
		delete document.hidden;
		document.dispatchEvent(new Event("visibilitychange"));
	});
	await seen(row(page, /second/));
	const link = page.getByRole("link", { name: "second" });
	await link.focus();
	await engine.create(namespace, "counter", "third");
	await page.clock.runFor(6_000);
	await seen(row(page, /third/));
	assert.ok(await link.evaluate((element) => element === document.activeElement), "focus stays where it was");
});

test("many actors come in pages, and one is found by key and by id", async (page) => {
	const namespace = await engine.namespace();
	await engine.deploy(namespace, "counter");
	const ids = [];
	for (let number = 0; number < 55; number++) ids.push(await engine.create(namespace, "counter", `key-${number}`));
	await page.goto(at(namespace, "actors?name=counter"));
	await seen(row(page, /key-54/));
	assert.equal(await page.getByRole("row").count(), 51);
	await page.getByRole("link", { name: "Older" }).click();
	await seen(row(page, /key-0 /));
	await page.getByRole("link", { name: "Newest" }).click();
	await seen(row(page, /key-54/));

	const find = page.getByLabel("Find an actor by id or key");
	await find.fill("key-7");
	await find.press("Enter");
	await page.waitForURL("**key=key-7");
	await seen(row(page, /key-7 /));
	await find.fill("no-such-key");
	await find.press("Enter");
	await seen(page.getByText("No actor has this key."));
	await find.fill(ids[3]);
	await find.press("Enter");
	await page.waitForURL(`**/actors/${ids[3]}`);
	await seen(page.getByRole("heading", { name: "counter / key-3" }));
	await page.goBack();
	await seen(page.getByText("No actor has this key."));
});

test("input arrives as it was typed, logs are followed, and what actors say stays text", async (page) => {
	const namespace = await engine.namespace();
	const evil = "<img src=x onerror=alert(1)>";
	await engine.deploy(namespace, "hostile");
	await page.goto(at(namespace, "actors?name=hostile"));
	const rows = [
		["text", evil, evil],
		["json", '{"a": [1, "ü"]}', '{"a":[1,"ü"]}'],
		["base64", "aGVsbG8=", "hello"],
		["cbor", '{"a":[-1,1.5,true,null,"x",300]}', "a1 61 61 86 20 fb 3f f8"],
	];
	for (const [coding, typed, received] of rows) {
		await page.goto(at(namespace, "actors?name=hostile"));
		await page.getByRole("button", { name: "New actor" }).click();
		const dialog = page.getByRole("dialog");
		await dialog.getByLabel("Key").fill(coding === "text" ? evil : coding);
		await dialog.getByLabel("Input", { exact: true }).fill(typed);
		await dialog.getByLabel("Input is").selectOption(coding);
		await dialog.getByRole("button", { name: "Create", exact: true }).click();
		await page.waitForURL("**/actors/*");
		await page.getByLabel("Path and query").fill("/input");
		await page.getByRole("button", { name: "Send" }).click();
		await seen(page.locator("pre", { hasText: received }));
	}
	await page.goto(at(namespace, "actors?name=hostile"));
	await page.getByRole("link", { name: evil }).click();
	await seen(page.getByRole("heading", { name: `hostile / ${evil}` }));
	await seen(page.getByRole("log").getByText("start: created"));
	await page.getByLabel("Path and query").fill(`/say?value=${encodeURIComponent(evil)}`);
	await page.getByRole("button", { name: "Send" }).click();
	await seen(page.getByRole("log").getByText(evil));
	await page.getByLabel("Path and query").fill("/panic");
	await page.getByRole("button", { name: "Send" }).click();
	await seen(page.locator(".answer", { hasText: "actor.trapped" }).or(page.getByText("from the engine")).first());
	await seen(page.getByRole("log").getByText(/told to panic/).first());
	assert.equal(await page.locator("main img").count(), 0);
}, { expected: /status of 500/ });

test("a pool is configured, checked, changed and deleted", async (page) => {
	const namespace = await engine.namespace();
	await page.goto(at(namespace, "pools"));
	await seen(page.getByText("No pool is configured."));
	await page.getByRole("button", { name: "New pool" }).click();
	await page.getByLabel("Name", { exact: true }).fill("apps");
	await page.getByRole("button", { name: "Save" }).click();
	await seen(row(page, /apps normal/));

	await page.getByRole("button", { name: "Edit apps" }).click();
	await page.getByLabel("Kind").selectOption("serverless");
	// The engine itself: it answers, and is no app.
	await page.getByLabel("URL", { exact: true }).fill(engine.url);
	await page.getByRole("button", { name: "Check the URL" }).click();
	await seen(page.getByRole("dialog").getByText("failed", { exact: true }));
	await page.getByLabel("Headers").fill("x-one: 1\nx-two: 2");
	await page.getByLabel("Most actors at one time").fill("7");
	await page.getByRole("button", { name: "Save" }).click();
	await seen(row(page, /apps serverless/));
	const pool = async () => (await engine.api("GET", `/runner-configs?namespace=${namespace}`)).runner_configs.apps.datacenters.default;
	const { url, headers, max_concurrent_actors: most } = (await pool()).serverless;
	assert.deepEqual({ url, headers, most }, { url: engine.url, headers: { "x-one": "1", "x-two": "2" }, most: 7 });

	await page.getByRole("button", { name: "Edit apps" }).click();
	await page.getByLabel("Drain runners of an older version").uncheck();
	await page.getByRole("button", { name: "Save" }).click();
	await gone(page.getByRole("dialog"));
	const changed = (await pool()).serverless;
	assert.deepEqual([changed.drain_on_version_upgrade, changed.headers, changed.max_concurrent_actors], [false, headers, 7]);
	await confirmed(page, "Delete apps", "Delete");
	await seen(page.getByText("No pool is configured."));
});

test("the engine's own runner is listed", async (page) => {
	await page.goto(at("default", "runners"));
	await seen(row(page, /^wasm connected all in the engine/));
});

test("what is not there is said", async (page) => {
	await page.goto(at("nowhere", "actors"));
	await seen(page.getByRole("alert").getByText("namespace.not_found"));
	await page.goto(at("default", `actors/${"0".repeat(30)}`));
	await seen(page.getByRole("alert").getByText("api.bad_request").or(page.getByText("There is no such actor")).first());
	await page.goto(`${engine.url}/ui/no/such/page`);
	await seen(page.getByText("There is no such page."));
}, { expected: /status of 400/ });

test("the browser itself forbids what the pages must not do", async (page) => {
	await page.goto(`${engine.url}/ui/`);
	await seen(page.getByRole("link", { name: "default", exact: true }));
	const refused = await page.evaluate(async () => {
		const tries = {
			html: () => (document.body.innerHTML = "<p>text</p>"),
			elsewhere: () => fetch("http://127.0.0.1:9/"),
		};
		const names = [];
		for (const [name, act] of Object.entries(tries)) {
			try {
				await act();
			} catch {
				names.push(name);
			}
		}
		return names;
	});
	assert.deepEqual(refused, ["html", "elsewhere"]);
}, { expected: /Content Security Policy|TrustedHTML|Trusted Type/ });

test("every page fits a screen of 360 pixels, and all of it can be reached by keyboard", async (page) => {
	const namespace = await engine.namespace();
	await engine.deploy(namespace, "counter");
	const id = await engine.create(namespace, "counter", "k".repeat(200));
	for (const rest of ["actors?name=counter", `actors/${id}`, "deployments", "pools", "runners"]) {
		await page.goto(at(namespace, rest));
		await seen(page.getByRole("heading", { level: 1 }));
		await gone(page.getByText("Loading…"));
		const wide = await page.evaluate(() => document.documentElement.scrollWidth);
		assert.ok(wide <= 360, `${rest}: ${wide} pixels wide`);
	}
	await page.goto(at(namespace, "runners"));
	await seen(row(page, /wasm/));
	const reached = [];
	for (let step = 0; step < 7; step++) {
		await page.keyboard.press("Tab");
		reached.push(await page.evaluate(() => document.activeElement.textContent.trim().slice(0, 20)));
	}
	assert.deepEqual(reached.filter((_, index) => index !== 2), ["Skip to the content", "rivet-engine", "Actors", "Deployments", "Pools", "Runners"]);
}, { viewport: { width: 360, height: 700 }, colorScheme: "dark" });
