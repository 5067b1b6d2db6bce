// What becomes of everything in an app whose engine is killed, or told to stop, and comes back.
import assert from "node:assert/strict";
import { Engine, test } from "./harness.mjs";
import { survive } from "./residents.mjs";

/// Each disaster has an engine of its own.
async function life() {
	const engine = await Engine.start();
	return { engine, pool: "default", app: await engine.app(), client: engine.client() };
}

let ended;

survive(test, [
	{
		name: "kill -9 of the engine",
		to: "engine",
		cuts: true,
		endsStreams: true,
		strike: ({ engine }) => engine.crashAndRestart(),
	},
	{
		name: "SIGTERM of the engine",
		to: "engine",
		endsStreams: true,
		async strike({ engine }) {
			ended = await engine.process.terminate(20_000).catch(async (error) => {
				await engine.crash();
				return { error };
			});
			await engine.launch();
		},
	},
], life);

test("an engine that is told to stop ends, with requests, streams and sockets open", () => {
	assert.equal(ended?.error, undefined);
	assert.equal(ended.code, 0);
});
