// Tokens of one namespace in the dashboard: each role sees what is its own, is offered what it may do, and hears the engine's sentence
// where it goes further. Calls to actors need a token here, and no actor gets to see it.
import assert from "node:assert/strict";
import { before } from "node:test";
import { badge, confirmed, Engine, enter, seen, test } from "./harness.mjs";

const ADMIN = "correct horse";
const ROLE = "the token's role may not do this";
const ELSEWHERE = "the token is of another namespace";
/// The browser says so itself when something is refused.
const REFUSED = { expected: /status of 403/ };

let engine;
let actor;
before(async () => {
	engine = await Engine.start({ env: { RIVET__AUTH__ADMIN_TOKEN: ADMIN, RIVET__AUTH__GATEWAY: "true" }, token: ADMIN });
	for (const name of ["shop", "other"]) await engine.api("POST", "/namespaces", { name, display_name: name });
	await engine.deploy("shop", "hostile");
	await engine.deploy("shop", "wasi-http", "counter");
	await engine.deploy("shop", "counter");
	await engine.api("PUT", "/runner-configs/apps?namespace=shop", { datacenters: { default: { normal: {} } } });
	actor = await engine.create("shop", "hostile", "a");
});

const at = (rest, namespace = "shop") => `${engine.url}/ui/ns/${namespace}/${rest}`;
const alert = (page, text) => seen(page.getByRole("alert").getByText(text).first());

async function enterAs(page, role) {
	const minted = await engine.mint("shop", role);
	await page.goto(`${engine.url}/ui/`);
	await enter(page, minted.secret);
	return minted;
}

/// Where, what shows that all of it is there, and the buttons that only some are offered.
const PAGES = [
	["actors?name=hostile", (page) => page.getByRole("link", { name: "a", exact: true }), { "New actor": ["admin"] }],
	["actors/ACTOR", (page) => badge(page, /running|sleeping/), { Sleep: ["admin"], Reschedule: ["admin"], Destroy: ["admin"], Send: ["admin", "deploy"] }],
	["deployments", (page) => page.getByRole("heading", { name: "counter" }), { Deploy: ["admin", "deploy"], "Roll back counter to version 1": ["admin", "deploy"] }],
	["pools", (page) => page.getByRole("row", { name: /apps normal/ }), { "New pool": ["admin", "deploy"], "Edit apps": ["admin", "deploy"], "Delete apps": ["admin", "deploy"] }],
	["runners", (page) => page.getByRole("row", { name: /^wasm connected/ }), {}],
];

for (const role of ["admin", "deploy"]) {
	test(`a token of the role ${role} is offered what it may do, in its namespace`, async (page) => {
		await enterAs(page, role);
		await seen(page.getByRole("link", { name: "shop", exact: true }));
		assert.equal(await page.getByRole("link", { name: /^(default|other)$/ }).count(), 0, "other namespaces");
		assert.equal(await page.getByRole("button", { name: "New namespace" }).count(), 0);
		for (const [rest, there, buttons] of PAGES) {
			await page.goto(at(rest.replace("ACTOR", actor)));
			await seen(there(page));
			for (const [name, roles] of Object.entries(buttons)) {
				const offered = await page.getByRole("button", { name, exact: true }).count();
				assert.equal(offered > 0, roles.includes(role), `${rest}: ${name} for ${role}`);
			}
		}
		assert.deepEqual(await page.getByLabel("Namespace").getByRole("option").allInnerTexts(), ["shop", "All namespaces…"]);
		for (const namespace of ["other", "default", "nowhere"]) {
			await page.goto(at("deployments", namespace));
			await alert(page, ELSEWHERE);
		}
	}, REFUSED);
}

test("what a namespace's admin is offered works", async (page) => {
	await enterAs(page, "admin");
	await page.goto(at("actors?name=counter"));
	await page.getByRole("button", { name: "New actor" }).click();
	await page.getByRole("dialog").getByLabel("Key").fill("mine");
	await page.getByRole("button", { name: "Create", exact: true }).click();
	await seen(page.getByRole("heading", { name: "counter / mine" }));
	await confirmed(page, "Sleep");
	await confirmed(page, "Destroy");
	await seen(badge(page, "destroyed"));
}, REFUSED);

test("what whoever deploys is offered works", async (page) => {
	await enterAs(page, "deploy");
	await page.goto(at("deployments"));
	await page.getByLabel("Component").last().setInputFiles(`${process.env.RIVET_GUESTS_DIR}/counter.wasm`);
	await page.getByLabel("Name", { exact: true }).fill("fresh");
	await page.getByRole("button", { name: "Deploy" }).click();
	await seen(page.getByText("Version 1 of fresh is live."));
	await page.goto(at("pools"));
	await page.getByRole("button", { name: "New pool" }).click();
	await page.getByLabel("Name", { exact: true }).fill("more");
	await page.getByRole("button", { name: "Save" }).click();
	await seen(page.getByRole("row", { name: /more normal/ }));
}, REFUSED);

test("a runner's token sees the namespace and none of what is in it", async (page) => {
	await enterAs(page, "runner");
	await seen(page.getByRole("rowheader", { name: "shop" }));
	assert.equal(await page.getByRole("link", { name: "shop", exact: true }).count(), 0);
	for (const rest of ["actors", `actors/${actor}`, "deployments", "pools", "runners"]) {
		await page.goto(at(rest));
		await alert(page, ROLE);
		assert.equal(await page.getByRole("navigation", { name: "Sections" }).count(), 0);
		const acts = page.getByRole("button", { name: /^(New|Deploy|Edit|Delete|Destroy|Sleep|Send)/ });
		assert.equal(await acts.count(), 0, rest);
	}
}, REFUSED);

test("a client's token is refused where it is typed, and not kept", async (page) => {
	await enterAs(page, "client");
	await alert(page, ROLE);
	assert.deepEqual(await page.evaluate(() => [sessionStorage.length, localStorage.length]), [0, 0]);
}, REFUSED);

for (const role of ["the engine's admin", "admin", "deploy"]) {
	test(`the form for calls works with the token of ${role}, which no actor sees`, async (page) => {
		const own = role === "the engine's admin" ? ADMIN : (await engine.mint("shop", role)).secret;
		await page.goto(at(`actors/${actor}`));
		await enter(page, own);
		await page.getByLabel("Path and query").fill("/headers");
		await page.getByRole("button", { name: "Send" }).click();
		const headers = page.locator("pre", { hasText: "user-agent" });
		await seen(headers);
		const text = await headers.innerText();
		assert.ok(!text.includes(own) && !text.includes("x-rivet-token"), text);
		// Somebody else's is used if it is typed.
		await page.getByLabel("Headers").fill("x-rivet-token: of-nobody");
		await page.getByRole("button", { name: "Send" }).click();
		await seen(page.getByText("from the engine, not from the actor"));
		await seen(page.locator("pre", { hasText: "api.forbidden" }).or(page.locator("pre", { hasText: '"forbidden"' })).first());
		await page.getByLabel("Headers").fill("");
		await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
		await page.getByRole("button", { name: "Copy as curl" }).click();
		const curl = await page.evaluate(() => navigator.clipboard.readText());
		assert.ok(curl.includes('-H "x-rivet-token: $RIVET_TOKEN"') && !curl.includes(own), curl);
	}, REFUSED);
}

test("a token that is revoked ends what the page follows, and another is asked for", async (page) => {
	const { id } = await enterAs(page, "deploy");
	await seen(page.getByRole("link", { name: "shop", exact: true }));
	await page.goto(at(`actors/${actor}`));
	await seen(page.getByRole("log").getByText("start: created"));
	await engine.api("DELETE", `/tokens/${id}`);
	await seen(page.getByRole("heading", { name: "This engine wants a token" }));
	await seen(page.getByText("counts for nothing, or not any more"));
	assert.deepEqual(await page.evaluate(() => sessionStorage.length), 0);
	const { secret } = await engine.mint("shop", "admin");
	await enter(page, secret);
	await seen(page.getByRole("button", { name: "Destroy" }));
}, { expected: /status of 403|net::ERR/ });
