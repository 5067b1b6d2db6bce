// An engine with a token: who has none is asked for it, and nobody else gets to see it.
import assert from "node:assert/strict";
import { before } from "node:test";
import { badge, Engine, enter, seen, test } from "./harness.mjs";

const TOKEN = "correct horse";
let engine;
before(async () => {
	engine = await Engine.start({ env: { RIVET__AUTH__ADMIN_TOKEN: TOKEN }, token: TOKEN });
});

const asked = (page) => seen(page.getByRole("heading", { name: "This engine wants a token" }));
const stored = (page) => page.evaluate(() => [sessionStorage.length, localStorage.length]);

test("the token is asked for, checked, kept for the tab, and forgotten when told to", async (page) => {
	await page.goto(`${engine.url}/ui/ns/default/actors`);
	await asked(page);
	await enter(page, "wrong");
	await seen(page.getByRole("alert").getByText("this is not the engine's token"));
	assert.deepEqual(await stored(page), [0, 0]);
	await enter(page, TOKEN);
	await seen(page.getByRole("heading", { name: "No actors yet" }));
	assert.deepEqual(await stored(page), [1, 0]);
	await page.reload();
	await seen(page.getByRole("heading", { name: "No actors yet" }));
	await page.getByRole("button", { name: "Forget token" }).click();
	await asked(page);
	assert.deepEqual(await stored(page), [0, 0]);
}, { expected: /status of 403/ });

test("the token is remembered only if that is wanted", async (page) => {
	await page.goto(`${engine.url}/ui/`);
	await asked(page);
	await enter(page, TOKEN, true);
	await seen(page.getByRole("link", { name: "default", exact: true }));
	assert.deepEqual(await stored(page), [0, 1]);
}, { expected: /status of 403/ });

test("deploys and logs work with it, and actors do not get it", async (page) => {
	await engine.deploy("default", "hostile");
	const id = await engine.create("default", "hostile", "a");
	await page.goto(`${engine.url}/ui/ns/default/actors/${id}`);
	await asked(page);
	await enter(page, TOKEN);
	await seen(badge(page, "running"));
	await seen(page.getByRole("log").getByText("start: created"));
	await page.getByLabel("Path and query").fill("/headers");
	await page.getByRole("button", { name: "Send" }).click();
	const headers = page.locator("pre", { hasText: "user-agent" });
	await seen(headers);
	assert.ok(!(await headers.innerText()).includes(TOKEN));
	await page.getByRole("link", { name: "Deployments" }).click();
	await page.getByLabel("Component").last().setInputFiles(`${process.env.RIVET_GUESTS_DIR}/counter.wasm`);
	await page.getByRole("button", { name: "Deploy" }).click();
	await seen(page.getByText("Version 1 of counter is live."));
}, { expected: /status of 403/ });

test("the tab of an inspector has no token and asks for none", async (page) => {
	const id = await engine.create("default", "hostile", "b");
	await page.goto(`${engine.url}/ui/inspector#id=${id}&token=of-the-actor`);
	await seen(page.frameLocator("iframe").getByText("see tests/guests/hostile"));
	await seen(page.getByText(/^rivet-engine \d+\.\d+\.\d+/));
	assert.equal(await page.getByLabel("Token", { exact: true }).count(), 0);
}, { expected: /status of 404/ });
