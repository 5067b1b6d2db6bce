// What becomes of everything in an app that is killed, told to stop, frozen, or cut off from its engine.
import { Engine, pause, test, Wire } from "./harness.mjs";
import { survive } from "./residents.mjs";

/// An app behind a network of its own. Each disaster has an engine of its own.
async function life() {
	const engine = await Engine.start();
	const pool = "default";
	const wire = await Wire.start(engine.port);
	const launch = () => engine.app({ pool, env: { RIVET_ENDPOINT: wire.url } });
	return { engine, pool, wire, launch, app: await launch(), client: engine.client({ poolName: pool }) };
}

survive(test, [
	{
		name: "kill -9 of the app",
		to: "app",
		cuts: true,
		kills: true,
		endsStreams: true,
		async strike({ app, launch }) {
			await app.crash();
			await launch();
		},
	},
	{
		name: "SIGTERM of the app",
		to: "app",
		endsStreams: true,
		async strike({ app, launch }) {
			await launch();
			await app.terminate(60_000);
		},
	},
	{
		name: "an app that freezes for 20 s",
		to: "app",
		cuts: true,
		async strike({ app }) {
			app.freeze();
			await pause(20_000);
			app.goOn();
		},
	},
	{
		name: "an app whose network is reset",
		to: "app",
		cuts: true,
		async strike({ wire }) {
			wire.cut();
		},
	},
	{
		name: "an app whose network swallows everything for 20 s",
		to: "app",
		cuts: true,
		swallows: true,
		async strike({ wire }) {
			wire.hold();
			await pause(20_000);
			wire.release();
		},
	},
], life);
