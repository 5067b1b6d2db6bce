// One RivetKit app with every actor of the tests. The environment says where it connects (RIVET_*), how it runs
// (APP_MODE) and what it is called (APP_NAME).
import { createServer } from "node:http";
import { Readable } from "node:stream";
import { setup } from "rivetkit";
import * as actors from "./actors.mjs";
import * as features from "./features.mjs";

const megabytes = (name) => Number(process.env[name] ?? 8) * 1024 * 1024;

const registry = setup({
	use: { ...actors, ...features },
	noWelcome: true,
	maxIncomingMessageSize: megabytes("APP_MAX_INCOMING"),
	maxOutgoingMessageSize: megabytes("APP_MAX_OUTGOING"),
	configurePool: process.env.APP_CONFIGURES && {
		name: process.env.RIVET_POOL,
		url: `http://127.0.0.1:${process.env.APP_PORT}/api/rivet`,
	},
});

if (process.env.APP_MODE === "serverless") {
	const { fetch } = registry.serve();
	const server = createServer(async (incoming, outgoing) => {
		const abort = new AbortController();
		outgoing.on("close", () => abort.abort());
		const hasBody = !["GET", "HEAD"].includes(incoming.method);
		console.log("request", incoming.method, incoming.url, JSON.stringify(incoming.headers));
		const response = await fetch(
			new Request(`http://${incoming.headers.host}${incoming.url}`, {
				method: incoming.method,
				headers: incoming.headers,
				body: hasBody ? Readable.toWeb(incoming) : undefined,
				duplex: "half",
				signal: abort.signal,
			}),
		);
		outgoing.writeHead(response.status, Object.fromEntries(response.headers));
		if (!response.body) return outgoing.end();
		Readable.fromWeb(response.body)
			.on("error", () => outgoing.destroy())
			.pipe(outgoing);
	});
	server.listen(Number(process.env.APP_PORT), "127.0.0.1", () => console.log("app is ready"));
} else {
	await registry.startAndWait();
	console.log("app is ready");
}
