// The table of differences and the tests it names stay together.
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { differences } from "./differences.mjs";

test("every row of differences.mjs names a test", () => {
	const folder = new URL(".", import.meta.url);
	const tests = readdirSync(folder).filter((name) => name.endsWith(".test.mjs") || name === "residents.mjs");
	const text = tests.map((name) => readFileSync(new URL(name, folder), "utf8")).join("\n");
	for (const name of Object.keys(differences)) {
		// Of disasters and residents the name has two parts.
		const [disaster, what] = name.split(": ");
		const named = text.includes(`test("${name}"`) || (text.includes(`name: "${disaster}"`) && text.includes(`what: "${what}"`));
		assert.ok(named, `no test is called "${name}"; rename the row or remove it`);
	}
});
