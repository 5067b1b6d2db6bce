// The actors of the tests: one per thing that is tested, each as a user would write it.
import { actor, event, queue, UserError } from "rivetkit";
import { db } from "rivetkit/db";

/// Where an actor runs: tests ask it to see that an actor has moved.
const where = () => ({ app: process.env.APP_NAME, pid: process.pid, version: Number(process.env.RIVET_ENVOY_VERSION) });

/// Stays awake until a test says otherwise: no test waits for the idle timeout but those of `idler`.
const steady = { sleepTimeout: 600_000 };

/// State, events and what a context knows.
export const counter = actor({
	state: { count: 0, wakes: 0, sleeps: 0 },
	events: { changed: event(), told: event() },
	options: steady,
	onWake: (c) => {
		c.state.wakes += 1;
	},
	onSleep: (c) => {
		c.state.sleeps += 1;
	},
	actions: {
		add: (c, by = 1) => {
			c.state.count += by;
			c.broadcast("changed", c.state.count, { by });
			return c.state.count;
		},
		count: (c) => c.state.count,
		state: (c) => ({ ...c.state }),
		where: () => where(),
		// Without it state is written within a second.
		save: (c) => c.saveState({ immediate: true }),
		about: (c) => ({ actorId: c.actorId, name: c.name, key: c.key, region: c.region }),
		tellMe: (c, text) => {
			c.conn.send("told", text);
		},
		nap: (c) => {
			c.sleep();
		},
		finish: (c) => {
			c.destroy();
		},
	},
});

/// Gives back what it gets.
export const echo = actor({
	options: steady,
	actions: {
		back: (_c, ...args) => args,
		size: (_c, text) => text.length,
		make: (_c, length) => "x".repeat(length),
		slow: async (_c, ms, value) => {
			await new Promise((done) => setTimeout(done, ms));
			return value;
		},
	},
});

/// Connections: parameters, state, hooks, refusals.
export const room = actor({
	state: { log: [] },
	createConnState: (_c, params) => ({ user: params?.user ?? "nobody", said: 0 }),
	events: { said: event() },
	options: steady,
	onBeforeConnect: (_c, params) => {
		if (params?.user === "banned") throw new UserError("you are banned", { code: "banned", metadata: { until: "later" } });
	},
	onConnect: (c, conn) => {
		c.state.log.push(`+${conn.state.user}`);
	},
	onDisconnect: (c, conn) => {
		c.state.log.push(`-${conn.state.user}`);
	},
	actions: {
		say: (c, text) => {
			c.conn.state.said += 1;
			c.broadcast("said", c.conn.state.user, text);
			return c.conn.state.said;
		},
		me: (c) => ({ user: c.conn.state.user, said: c.conn.state.said, params: c.conn.params }),
		log: (c) => [...c.state.log],
		users: (c) => [...c.conns.values()].map((conn) => conn.state.user).sort(),
		kick: (c, user) => {
			for (const conn of c.conns.values()) if (conn.state.user === user) conn.disconnect("kicked");
		},
		nap: (c) => {
			c.sleep();
		},
	},
});

/// Alarms: what ran, when, and in which life.
export const timer = actor({
	state: { wakes: 0, ran: [] },
	options: steady,
	onWake: (c) => {
		c.state.wakes += 1;
	},
	actions: {
		after: (c, ms, text) => c.schedule.after(ms, "run", text),
		at: (c, time, text) => c.schedule.at(time, "run", text),
		run: (c, text) => {
			c.state.ran.push({ text, at: Date.now(), wake: c.state.wakes });
		},
		ran: (c) => c.state.ran.map((entry) => ({ ...entry })),
		wakes: (c) => c.state.wakes,
		pending: async (c) => (await c.schedule.list()).map(({ id, action, args, runAt }) => ({ id, action, args, runAt })),
		cancel: (c, id) => c.schedule.cancel(id),
		nap: (c) => {
			c.sleep();
		},
	},
});

/// A queue with a worker that answers.
export const worker = actor({
	state: { done: [] },
	queues: { jobs: queue(), quiet: queue() },
	options: steady,
	run: async (c) => {
		for await (const message of c.queue.iter({ names: ["jobs"], completable: true })) {
			c.state.done.push(message.body);
			if (message.body?.never) continue;
			await message.complete({ doubled: message.body.n * 2 });
		}
	},
	actions: {
		done: (c) => [...c.state.done],
		take: async (c) => (await c.queue.nextBatch({ names: ["quiet"], count: 10, timeout: 1_000 })).map((message) => message.body),
	},
});

/// SQLite.
export const notes = actor({
	db: db({
		onMigrate: async (client) => {
			await client.execute("CREATE TABLE IF NOT EXISTS note (id INTEGER PRIMARY KEY, text TEXT, blob BLOB, real REAL)");
		},
	}),
	options: { ...steady, actionTimeout: 120_000 },
	actions: {
		insert: async (c, text, real = null) => {
			await c.db.execute("INSERT INTO note (text, real) VALUES (?, ?)", text, real);
		},
		where: () => where(),
		all: (c) => c.db.execute("SELECT id, text, real FROM note ORDER BY id"),
		query: (c, sql, ...args) => c.db.execute(sql, ...args),
		// One transaction over `rows` pages and more: too much for one commit message.
		fill: (c, rows, bytes) =>
			c.db.transaction(async (tx) => {
				for (let row = 0; row < rows; row += 1) {
					await tx.execute("INSERT INTO note (text, blob) VALUES (?, randomblob(?))", `row ${row}`, bytes);
				}
			}),
		undone: async (c) => {
			await c.db
				.transaction(async (tx) => {
					await tx.execute("INSERT INTO note (text) VALUES ('never')");
					throw new Error("no");
				})
				.catch(() => {});
		},
		nap: (c) => {
			c.sleep();
		},
	},
});

/// The old key-value interface.
export const store = actor({
	options: steady,
	actions: {
		put: (c, key, value) => c.kv.put(key, value),
		get: (c, key) => c.kv.get(key),
		drop: (c, key) => c.kv.delete(key),
		list: (c, prefix, options) => c.kv.list(prefix, options),
		bytes: async (c, key, bytes) => {
			await c.kv.put(key, new Uint8Array(bytes));
			return [...(await c.kv.get(key, { type: "binary" }))];
		},
		nap: (c) => {
			c.sleep();
		},
	},
});

const text = new TextEncoder();
const gate = new Map();

/// Raw HTTP and raw WebSocket.
export const web = actor({
	options: steady,
	onRequest: async (c, request) => {
		const url = new URL(request.url);
		switch (url.pathname.replace(/^\/request/, "")) {
			case "/about":
				return Response.json(
					{
						method: request.method,
						path: url.pathname + url.search,
						headers: Object.fromEntries(request.headers),
						body: await request.text(),
					},
					{ status: 201, headers: { "x-answer": "yes", "set-cookie": "a=1" } },
				);
			case "/status":
				return new Response(url.searchParams.get("text") ?? null, { status: Number(url.searchParams.get("code")) });
			case "/length": {
				const body = new Uint8Array(await request.arrayBuffer());
				return Response.json({ length: body.length, sum: sum(body) });
			}
			case "/bytes": {
				const body = new Uint8Array(Number(url.searchParams.get("length"))).map((_, at) => at % 251);
				return new Response(body, { headers: { "content-type": "application/octet-stream" } });
			}
			case "/stream": {
				// The second part only leaves when the client says that it has the first.
				const name = url.searchParams.get("name");
				return new Response(
					new ReadableStream({
						async start(controller) {
							controller.enqueue(text.encode("one\n"));
							const released = new Promise((open) => gate.set(name, open));
							await Promise.race([released, new Promise((done) => setTimeout(done, 5_000))]);
							controller.enqueue(text.encode("two\n"));
							controller.close();
						},
					}),
				);
			}
			case "/release":
				gate.get(url.searchParams.get("name"))?.();
				return new Response("released");
			case "/upload": {
				let parts = 0;
				let length = 0;
				for await (const part of request.body) {
					parts += 1;
					length += part.length;
				}
				return Response.json({ parts, length });
			}
			case "/throw":
				throw new Error("a handler's own trouble");
			default:
				return new Response("no such thing", { status: 404 });
		}
	},
	onWebSocket: (c, socket) => {
		socket.addEventListener("message", (message) => {
			if (message.data === "close") socket.close(4001, "as you wish");
			else if (message.data === "plain close") socket.close();
			else if (message.data === "destroy") c.destroy();
			else socket.send(message.data);
		});
		socket.addEventListener("close", (how) => {
			c.state.closed.push({ code: how.code, reason: how.reason });
		});
	},
	state: { closed: [] },
	actions: {
		closed: (c) => c.state.closed.map((how) => ({ ...how })),
		finish: (c) => {
			c.destroy();
		},
		nap: (c) => {
			c.sleep();
		},
	},
});

const sum = (bytes) => bytes.reduce((total, byte) => (total + byte) % 65_521, 0);

/// A raw WebSocket that outlives its actor's sleep.
export const sleeper = actor({
	options: { ...steady, canHibernateWebSocket: true },
	state: { wakes: 0, got: [], closed: [] },
	onWake: (c) => {
		c.state.wakes += 1;
	},
	onWebSocket: (c, socket) => {
		socket.addEventListener("message", (message) => {
			c.state.got.push(message.data);
			socket.send(JSON.stringify({ echo: message.data, wake: c.state.wakes }));
		});
		socket.addEventListener("close", (how) => {
			c.state.closed.push(how.code);
		});
	},
	actions: {
		state: (c) => JSON.parse(JSON.stringify(c.state)),
		nap: (c) => {
			c.sleep();
		},
		finish: (c) => {
			c.destroy();
		},
	},
});

/// Hooks in the order they ran, in state where they must survive and in vars where they must not.
export const life = actor({
	createState: (_c, input) => ({ input: input ?? null, hooks: [] }),
	createVars: () => ({ born: Date.now(), touched: 0 }),
	options: steady,
	onCreate: (c, input) => {
		c.state.hooks.push(`create ${JSON.stringify(input ?? null)}`);
	},
	onWake: (c) => {
		c.state.hooks.push("wake");
	},
	onSleep: (c) => {
		c.state.hooks.push("sleep");
	},
	onDestroy: async (c) => {
		const told = c.state.input?.tell;
		if (told) await c.client().counter.getOrCreate([told]).add(100);
	},
	actions: {
		hooks: (c) => [...c.state.hooks],
		input: (c) => c.state.input,
		touch: (c) => {
			c.vars.touched += 1;
			return c.vars.touched;
		},
		nap: (c) => {
			c.sleep();
		},
		finish: (c) => {
			c.destroy();
		},
	},
});

// Not in state: what a failed wake writes there is lost with it.
const failNextWake = new Set();

/// Things that go wrong.
export const clumsy = actor({
	createState: (_c, input) => {
		if (input?.failToStart) throw new Error("could not be born");
		return { calls: 0 };
	},
	options: { ...steady, actionTimeout: 400 },
	onWake: (c) => {
		if (failNextWake.delete(c.actorId)) throw new Error("could not get up");
	},
	actions: {
		ok: (c) => {
			c.state.calls += 1;
			return c.state.calls;
		},
		userError: () => {
			throw new UserError("not today", { code: "not_today", metadata: { retry: 7 } });
		},
		plainError: () => {
			throw new Error("secret details");
		},
		hang: () => new Promise(() => {}),
		failNextWake: (c) => {
			failNextWake.add(c.actorId);
		},
		nap: (c) => {
			c.sleep();
		},
	},
});

/// Its run handler throws when it is told to: the actor crashes, its app does not.
export const crasher = actor({
	state: { starts: 0 },
	queues: { orders: queue() },
	options: steady,
	run: async (c) => {
		c.state.starts += 1;
		for await (const message of c.queue.iter({ names: ["orders"] })) {
			if (message.body === "crash") throw new Error("crashed as ordered");
		}
	},
	actions: {
		starts: (c) => c.state.starts,
	},
});

/// Calls other actors.
export const caller = actor({
	options: steady,
	actions: {
		addTo: (c, key, by) => c.client().counter.getOrCreate([key]).add(by),
		through: async (c, key, by) => {
			const conn = c.client().counter.getOrCreate([key]).connect();
			try {
				return await conn.add(by);
			} finally {
				await conn.dispose();
			}
		},
		failing: (c, key) => c.client().clumsy.getOrCreate([key]).userError(),
		fetching: async (c, key) => (await c.client().web.getOrCreate([key]).fetch("about?x=1")).json(),
	},
});

/// Sleeps by itself, soon.
export const idler = actor({
	state: { wakes: 0, finished: 0 },
	options: { sleepTimeout: 300 },
	onWake: (c) => {
		c.state.wakes += 1;
	},
	actions: {
		wakes: (c) => c.state.wakes,
		finished: (c) => c.state.finished,
		busy: (c, ms) => {
			c.keepAwake(
				new Promise((done) => setTimeout(done, ms)).then(() => {
					c.state.finished += 1;
				}),
			);
		},
	},
});

/// Would sleep soon, but must not.
export const wakeful = actor({
	state: { wakes: 0 },
	options: { sleepTimeout: 300, noSleep: true },
	onWake: (c) => {
		c.state.wakes += 1;
	},
	actions: { wakes: (c) => c.state.wakes },
});
