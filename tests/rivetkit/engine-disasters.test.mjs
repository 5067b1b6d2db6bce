// What becomes of everything in an app whose engine is killed, or told to stop, and comes back.
import { Engine, test } from "./harness.mjs";
import { survive } from "./residents.mjs";

/// Each disaster has an engine of its own.
async function life() {
	const engine = await Engine.start();
	return { engine, pool: "default", app: await engine.app(), client: engine.client() };
}

for (const disaster of [
	{
		name: "kill -9 of the engine",
		to: "engine",
		endsStreams: true,
		strike: ({ engine }) => engine.crashAndRestart(),
	},
	{
		name: "SIGTERM of the engine",
		to: "engine",
		endsStreams: true,
		async strike({ engine }) {
			await engine.process.terminate(60_000);
			await engine.launch();
		},
	},
]) await survive(test, disaster, life);
