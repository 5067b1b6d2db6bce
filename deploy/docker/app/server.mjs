// A counter whose count survives everything, as an app of RivetKit's, and one HTTP route for people to try it:
//
//   docker-compose -f deploy/docker/compose.yml exec app node -e "fetch('http://127.0.0.1:3000/').then(async (r) => console.log(await r.text()))"
import { createServer } from "node:http";
import { actor, setup } from "rivetkit";
import { createClient } from "rivetkit/client";

const counter = actor({
	state: { count: 0 },
	actions: {
		count: (c) => c.state.count,
		increment: async (c) => {
			c.state.count += 1;
			// The answer leaves when the count is on the engine's disk.
			await c.saveState({ immediate: true });
			return c.state.count;
		},
	},
});

// The pool of this app: RivetKit registers it by itself only with an engine on the same machine.
const { username: namespace, password: token, origin } = new URL(process.env.RIVET_ENDPOINT);
const registered = await fetch(`${origin}/runner-configs/${process.env.RIVET_POOL ?? "default"}?namespace=${namespace}`, {
	method: "PUT",
	headers: { authorization: `Bearer ${decodeURIComponent(token)}`, "content-type": "application/json" },
	body: JSON.stringify({ datacenters: { default: { normal: {}, drain_on_version_upgrade: true } } }),
});
if (!registered.ok) throw new Error(`the pool was not registered: ${registered.status} ${await registered.text()}`);

const registry = setup({ use: { counter }, noWelcome: true });
await registry.startAndWait();

// RIVET_ENDPOINT has address, namespace and token for both: the actors connect to the engine, and so does whoever calls them.
const client = createClient();
createServer(async (request, response) => {
	try {
		const one = client.counter.getOrCreate(["demo"]);
		const count = request.method === "POST" ? await one.increment() : await one.count();
		response.end(`${count}\n`);
	} catch (error) {
		response.writeHead(502).end(`${error.message}\n`);
	}
}).listen(3000, "0.0.0.0", () => console.log("app is ready"));

process.on("SIGTERM", () => process.exit(0));
