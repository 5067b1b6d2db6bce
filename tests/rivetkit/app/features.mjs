// More actors of the tests: what RivetKit offers beyond actions and state.
import { actor, event, queue, UserError } from "rivetkit";
import { db } from "rivetkit/db";
import { db as drizzle, integer, sqliteTable, text } from "rivetkit/db/drizzle";
import { migrations } from "rivetkit/unstable/migrations";
import { Loop, workflow } from "rivetkit/workflow";

const steady = { sleepTimeout: 600_000 };
const restless = { sleepTimeout: 300 };
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const plain = (value) => JSON.parse(JSON.stringify(value));

// ---- schedules ----

/// Recurring jobs.
export const clock = actor({
	state: { wakes: 0, ticks: [], order: [] },
	options: steady,
	onWake: (c) => {
		c.state.wakes += 1;
	},
	actions: {
		set: (c, options) => c.cron.set({ action: "tick", ...options }),
		every: (c, options) => c.cron.every({ action: "tick", ...options }),
		get: async (c, name) => (await c.cron.get(name)) ?? null,
		list: (c) => c.cron.list(),
		remove: (c, name) => c.cron.delete(name),
		history: (c, name, options) => c.cron.history(name, options),
		tick: (c, what) => {
			c.state.ticks.push({ what, at: Date.now(), wake: c.state.wakes });
		},
		trip: () => {
			throw new UserError("tripped", { code: "tripped" });
		},
		ticks: (c) => plain(c.state.ticks),
		plan: (c, ms, what) => c.schedule.after(ms, "note", what),
		planned: async (c, id) => (await c.schedule.get(id)) ?? null,
		plans: (c) => c.schedule.list(),
		unplan: (c, id) => c.schedule.cancel(id),
		note: (c, what) => {
			c.state.order.push(what);
		},
		order: (c) => [...c.state.order],
		nap: (c) => {
			c.sleep();
		},
	},
});

/// Takes its time to fall asleep, so that an alarm comes due meanwhile.
export const drowsy = actor({
	state: { wakes: 0, ran: [] },
	options: { ...steady, sleepGracePeriod: 10_000 },
	onWake: (c) => {
		c.state.wakes += 1;
	},
	onSleep: () => pause(1_500),
	actions: {
		after: (c, ms, what) => c.schedule.after(ms, "run", what),
		run: (c, what) => {
			c.state.ran.push({ what, wake: c.state.wakes });
		},
		state: (c) => plain(c.state),
		nap: (c) => {
			c.sleep();
		},
	},
});

// ---- workflows ----

const workflowState = { createState: (_c, input) => ({ input: input ?? {}, wakes: 0, log: [] }) };
const workflowHooks = {
	onWake: (c) => {
		c.state.wakes += 1;
	},
};
const workflowActions = {
	state: (c) => plain(c.state),
	save: (c) => c.saveState({ immediate: true }),
	nap: (c) => {
		c.sleep();
	},
};
const log = (ctx, what) => ctx.step(what, async (step) => void step.state.log.push(what));

// In memory: what a step throws undoes what it wrote to state.
const attempts = new Map();

/// Steps, a retried step, join, race, and a sleep.
export const steps = actor({
	...workflowState,
	...workflowHooks,
	options: restless,
	run: workflow(async (ctx) => {
		await log(ctx, "first");
		const value = await ctx.step({
			name: "flaky",
			maxRetries: 5,
			retryBackoffBase: 50,
			run: async (step) => {
				const tries = (attempts.get(step.actorId) ?? 0) + 1;
				attempts.set(step.actorId, tries);
				if (tries < 3) throw new Error("not yet");
				return tries;
			},
		});
		await log(ctx, `flaky after ${value}`);
		const { a, b } = await ctx.join("both", {
			a: { run: (branch) => branch.step("a", async () => 1) },
			b: { run: (branch) => branch.step("b", async () => 2) },
		});
		await log(ctx, `joined ${a + b}`);
		await ctx.sleep("rest", 2_000);
		await log(ctx, "rested");
		const { winner } = await ctx.race("race", [
			{ name: "quick", run: (branch) => branch.step("quick", async () => 1) },
			{ name: "slow", run: (branch) => branch.sleep("slow", 60_000) },
		]);
		await log(ctx, `won by ${winner}`);
	}),
	actions: workflowActions,
});

/// A loop whose iterations are counted.
export const loops = actor({
	...workflowState,
	...workflowHooks,
	options: steady,
	run: workflow(async (ctx) => {
		const { rounds, ms } = await ctx.step("plan", async (step) => ({ rounds: 10, ms: 0, ...plain(step.state.input) }));
		const sum = await ctx.loop({
			name: "count",
			state: { n: 0, sum: 0 },
			run: async (loop, state) => {
				if (state.n === rounds) return Loop.break(state.sum);
				await loop.step("work", async (step) => {
					if (ms) await pause(ms);
					step.state.log.push(state.n);
				});
				return Loop.continue({ n: state.n + 1, sum: state.sum + state.n });
			},
		});
		await log(ctx, `sum ${sum}`);
	}),
	actions: workflowActions,
});

/// A workflow that is fed by a queue.
export const orders = actor({
	...workflowState,
	...workflowHooks,
	queues: { orders: queue() },
	options: steady,
	run: workflow(async (ctx) => {
		await ctx.loop("take", async (loop) => {
			const order = await loop.queue.next("order", { names: ["orders"], completable: true });
			await loop.step("work", async (step) => void step.state.log.push(order.body));
			await order.complete({ done: order.body });
		});
	}),
	actions: workflowActions,
});

// ---- queues ----

const kinds = { plain: queue(), answered: queue(), other: queue(), guarded: queue({ canPublish: (c) => c.conn?.params?.user === "ada" }) };

/// Every way to take a message.
export const mailbox = actor({
	state: {},
	queues: kinds,
	options: { ...steady, maxQueueSize: 50, maxQueueMessageSize: 4_096 },
	actions: {
		send: async (c, name, body) => {
			await c.queue.send(name, body);
		},
		next: async (c, options) => (await c.queue.next(options))?.body ?? null,
		batch: async (c, options) => (await c.queue.nextBatch(options)).map(({ name, body }) => [name, body]),
		tryNext: async (c, options) => (await c.queue.tryNext(options))?.body ?? null,
		tryBatch: async (c, options) => (await c.queue.tryNextBatch(options)).map(({ body }) => body),
		wait: async (c, names, options) => (await c.queue.waitForNames(names, options))?.body ?? null,
		answer: async (c, options) => {
			const message = await c.queue.next({ names: ["answered"], completable: true, ...options });
			await message?.complete({ seen: message.body });
			return message?.body ?? null;
		},
		// Taken, but never completed.
		drop: async (c) => (await c.queue.next({ names: ["answered"], completable: true, timeout: 1_000 }))?.body ?? null,
		ask: (c, body, timeout) => c.queue.enqueueAndWait("answered", body, { timeout }),
		iterate: async (c, count) => {
			const got = [];
			for await (const message of c.queue.iter({ names: ["plain"] })) {
				got.push(message.body);
				if (got.length === count) return got;
			}
		},
		nap: (c) => {
			c.sleep();
		},
	},
});

// ---- connections ----

/// Counts its hooks.
export const lobby = actor({
	state: { made: 0, connected: 0, disconnected: 0 },
	createConnState: (c, params) => {
		c.state.made += 1;
		return { user: params?.user ?? "nobody", notes: [] };
	},
	events: { news: event(), secret: event({ canSubscribe: (c) => c.conn?.params?.user === "ada" }) },
	options: steady,
	onConnect: (c) => {
		c.state.connected += 1;
	},
	onDisconnect: (c) => {
		c.state.disconnected += 1;
	},
	actions: {
		counts: (c) => ({ ...plain(c.state), now: [...c.conns.values()].length }),
		note: (c, what) => {
			c.conn.state.notes.push(what);
			return plain(c.conn.state);
		},
		mine: (c) => plain({ id: c.conn.id, state: c.conn.state, hibernatable: c.conn.isHibernatable }),
		news: (c, what) => c.broadcast("news", what),
		secret: (c, what) => c.broadcast("secret", what),
		leave: async (c) => {
			await c.conn.disconnect("as asked");
		},
		// Tells its caller every so often, until told otherwise.
		chatter: (c, count, ms) => {
			c.keepAwake(
				(async () => {
					for (let n = 0; n < count; n += 1) {
						c.broadcast("news", n);
						await pause(ms);
					}
				})(),
			);
		},
		nap: (c) => {
			c.sleep();
		},
		finish: (c) => {
			c.destroy();
		},
	},
});

/// Fails in the hook that its input, or the parameters of a connection, names.
export const fragile = actor({
	createState: (_c, input) => {
		if (input === "createState") throw new UserError("no", { code: "in_create_state" });
		return { input, changes: 0, seen: [] };
	},
	createVars: (_c) => ({}),
	createConnState: (_c, params) => {
		if (params?.fail === "createConnState") throw new UserError("no", { code: "in_create_conn_state" });
		return {};
	},
	events: { pinged: event() },
	options: { ...steady, onBeforeConnectTimeout: 500, onConnectTimeout: 500, createConnStateTimeout: 500 },
	onCreate: (_c, input) => {
		if (input === "onCreate") throw new UserError("no", { code: "in_on_create" });
	},
	onWake: (c) => {
		if (c.state.input === "onWake") throw new UserError("no", { code: "in_on_wake" });
	},
	onBeforeConnect: async (_c, params) => {
		if (params?.fail === "onBeforeConnect") throw new UserError("no", { code: "in_on_before_connect" });
		if (params?.fail === "slow onBeforeConnect") await pause(5_000);
	},
	onConnect: async (_c, conn) => {
		if (conn.params?.fail === "onConnect") throw new UserError("no", { code: "in_on_connect" });
		if (conn.params?.fail === "slow onConnect") await pause(5_000);
	},
	onDisconnect: (c) => {
		if (c.state.input === "onDisconnect") throw new Error("no");
	},
	onSleep: (c) => {
		if (c.state.input === "onSleep") throw new Error("no");
	},
	onDestroy: (c) => {
		if (c.state.input === "onDestroy") throw new Error("no");
	},
	onStateChange: (c, state) => {
		if (c.state.input === "onStateChange") throw new Error("no");
		changes.set(c.actorId, (changes.get(c.actorId) ?? 0) + 1);
		c.broadcast("pinged", state.seen.length);
	},
	onBeforeActionResponse: (c, name, args, output) => {
		if (c.state.input === "onBeforeActionResponse" && name === "see") throw new UserError("no", { code: "in_on_before_action_response" });
		return name === "shaped" ? { name, args, output } : output;
	},
	onWebSocket: (_c, socket) => {
		if (_c.state.input === "onWebSocket") throw new Error("no");
		socket.send("hello");
	},
	onRequest: (c) => {
		if (c.state.input === "onRequest") throw new UserError("no", { code: "in_on_request", metadata: { why: "because" } });
		if (c.state.input === "nothing") return undefined;
		return new Response("fine");
	},
	actions: {
		see: (c, what) => {
			c.state.seen.push(what);
			return c.state.seen.length;
		},
		seen: (c) => [...c.state.seen],
		shaped: () => "output",
		changes: (c) => changes.get(c.actorId) ?? 0,
		saved: async (c, what, options) => {
			c.state.seen.push(what);
			await c.saveState(options);
		},
		group: { inner: (_c, value) => ["inner", value] },
		nap: (c) => {
			c.sleep();
		},
		finish: (c) => {
			c.destroy();
		},
	},
});
const changes = new Map();

// ---- raw HTTP ----

const encoder = new TextEncoder();
const streams = new Map();

/// Answers of every shape. What a stream saw is asked of `seen`.
export const shapes = actor({
	options: { ...steady, actionTimeout: 120_000 },
	onRequest: async (_c, request) => {
		const url = new URL(request.url);
		const name = url.searchParams.get("name");
		const seen = { parts: [], aborted: false, cancelled: false, sent: 0, finished: false };
		if (name && !streams.has(name)) streams.set(name, seen);
		switch (url.pathname.replace(/^\/request/, "")) {
			case "/cookies": {
				const headers = new Headers();
				for (const cookie of ["a=1; Path=/", "b=2; HttpOnly", "c=3"]) headers.append("set-cookie", cookie);
				return new Response("cookies", { headers });
			}
			case "/header":
				return new Response("header", { headers: { "x-large": "h".repeat(Number(url.searchParams.get("bytes"))) } });
			case "/length":
				return new Response("12345", { headers: { "content-length": "5", "x-method": request.method } });
			case "/unmodified":
				return new Response(null, { status: 304, headers: { etag: '"tag"' } });
			case "/nothing":
				return new Response(null, { status: 204, headers: { "x-answer": "yes" } });
			case "/form": {
				const form = await request.formData();
				const file = form.get("file");
				return Response.json({ text: form.get("text"), file: { name: file.name, type: file.type, text: await file.text() } });
			}
			case "/echo":
				return Response.json({
					method: request.method,
					path: url.pathname + url.search,
					headers: Object.fromEntries(request.headers),
					body: await request.text(),
				});
			case "/slow": {
				request.signal.addEventListener("abort", () => (seen.aborted = true));
				await pause(Number(url.searchParams.get("ms")));
				seen.finished = true;
				return new Response("slow");
			}
			case "/events":
				return new Response(
					new ReadableStream({
						async start(controller) {
							for (let n = 0; n < 3; n += 1) {
								controller.enqueue(encoder.encode(`id: ${n}\ndata: event ${n}\n\n`));
								await pause(20);
							}
							controller.close();
						},
					}),
					{ headers: { "content-type": "text/event-stream", "cache-control": "no-cache" } },
				);
			case "/endless": {
				request.signal.addEventListener("abort", () => (seen.aborted = true));
				return new Response(
					new ReadableStream({
						async pull(controller) {
							await pause(20);
							seen.sent += 1;
							controller.enqueue(encoder.encode(`${seen.sent}\n`));
						},
						cancel() {
							seen.cancelled = true;
						},
					}),
				);
			}
			case "/broken":
				return new Response(
					new ReadableStream({
						async start(controller) {
							controller.enqueue(encoder.encode("a part\n"));
							await pause(100);
							controller.error(new Error("broken in the middle"));
						},
					}),
				);
			case "/upload": {
				for await (const part of request.body) seen.parts.push(part.length);
				seen.finished = true;
				return Response.json(seen.parts);
			}
			default:
				return new Response("no such thing", { status: 404 });
		}
	},
	actions: {
		seen: (_c, name) => plain(streams.get(name) ?? null),
		nap: (c) => {
			c.sleep();
		},
	},
});

// ---- sockets ----

/// Keeps count of the numbers that come over a socket that may hibernate, and tells at the end.
export const tally = actor({
	options: { ...steady, canHibernateWebSocket: true },
	state: { wakes: 0, expected: 0, wrong: [], binary: 0 },
	onWake: (c) => {
		c.state.wakes += 1;
	},
	onWebSocket: (c, socket) => {
		socket.addEventListener("message", ({ data }) => {
			if (data === "?") return socket.send(JSON.stringify(plain(c.state)));
			if (typeof data !== "string") {
				c.state.binary += 1;
				return socket.send(data);
			}
			const n = Number(data);
			if (n !== c.state.expected && c.state.wrong.length < 10) c.state.wrong.push([c.state.expected, data.slice(0, 20)]);
			c.state.expected = n + 1;
		});
	},
	actions: {
		state: (c) => plain(c.state),
		nap: (c) => {
			c.sleep();
		},
	},
});

// ---- SQLite ----

const item = sqliteTable("item", { id: integer("id").primaryKey({ autoIncrement: true }), name: text("name").notNull() });

/// Drizzle.
export const items = actor({
	db: drizzle({
		schema: { item },
		onMigrate: async (client) => {
			await client.execute("CREATE TABLE IF NOT EXISTS item (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL)");
		},
	}),
	options: steady,
	actions: {
		add: async (c, ...names) => {
			await c.db.insert(item).values(names.map((name) => ({ name })));
		},
		all: (c) => c.db.select().from(item).orderBy(item.id),
		both: async (c, names, fail) => {
			await c.db
				.transaction(async (tx) => {
					for (const name of names) await tx.insert(item).values({ name });
					if (fail) throw new Error("undone");
				})
				.catch(() => {});
		},
		nap: (c) => {
			c.sleep();
		},
	},
});

/// A ladder of migrations; the environment says how high it goes.
const ladder = [
	{ version: 1, sql: "CREATE TABLE thing (id INTEGER PRIMARY KEY, name TEXT)" },
	{ version: 2, up: (client) => client.execute("ALTER TABLE thing ADD COLUMN size INTEGER DEFAULT 7") },
	{ version: 3, sql: "NONSENSE" },
];

export const things = actor({
	db: db({ onMigrate: migrations({ migrations: ladder.slice(0, Number(process.env.APP_LADDER ?? 1)) }) }),
	options: steady,
	actions: {
		add: async (c, name) => {
			await c.db.execute("INSERT INTO thing (name) VALUES (?)", name);
		},
		all: (c) => c.db.execute("SELECT * FROM thing ORDER BY id"),
		version: async (c) => (await c.db.execute("SELECT * FROM rivetkit_schema_version"))[0],
	},
});

/// State and SQLite together, many queries at once, and transactions that stand open.
export const ledger = actor({
	state: { entries: 0 },
	db: db({
		onMigrate: async (client) => {
			await client.execute("CREATE TABLE IF NOT EXISTS entry (id INTEGER PRIMARY KEY, text TEXT, blob BLOB)");
		},
	}),
	options: { ...steady, actionTimeout: 120_000 },
	actions: {
		add: async (c, text) => {
			await c.db.execute("INSERT INTO entry (text) VALUES (?)", text);
		},
		texts: async (c) => (await c.db.execute("SELECT text FROM entry ORDER BY id")).map((row) => row.text),
		query: (c, sql, ...args) => c.db.execute(sql, ...args),
		together: (c, text, fail) =>
			c.db
				.transaction(
					async (tx) => {
						c.state.entries += 1;
						await tx.execute("INSERT INTO entry (text) VALUES (?)", text);
						if (fail) throw new Error("undone");
					},
					{ experimental: { includeState: true } },
				)
				.then(() => "kept", () => "undone"),
		many: async (c, count) => {
			await Promise.all(Array.from({ length: count }, (_, n) => c.db.execute("INSERT INTO entry (text) VALUES (?)", `${n}`)));
			const counts = await Promise.all(Array.from({ length: count }, () => c.db.execute("SELECT count(*) AS n FROM entry")));
			return counts.map(([row]) => row.n);
		},
		fill: async (c, rows, bytes) => {
			await c.db.transaction(async (tx) => {
				await tx.execute(
					"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) INSERT INTO entry (text, blob) SELECT 'fill', randomblob(?) FROM n",
					rows,
					bytes,
				);
			});
		},
		// Writes, and never commits.
		linger: (c, text, pid) =>
			pid === process.pid &&
			c.db.transaction(async (tx) => {
				await tx.execute("INSERT INTO entry (text) VALUES (?)", text);
				lingering.add(c.actorId);
				await pause(600_000);
			}),
		lingers: (c) => lingering.has(c.actorId),
		entries: (c) => c.state.entries,
		nap: (c) => {
			c.sleep();
		},
	},
});
const lingering = new Set();
