// Pools: how runners of apps get to the engine, or the engine to them.
import { Failure, access, get, post, put, remove } from "../api.js";
import { fill, h } from "../dom.js";
import { sentence } from "../status.js";
import { badge, button, checkbox, confirm, dialog, field, form, heading, input, loading, say, select, table } from "../ui.js";

export function pools({ namespace, signal }) {
  let known = [];
  const again = () => part.again();
  const list = table(
    "Pools",
    [
      ["Pool", (one) => h("span", { class: "break" }, one.pool)],
      ["Kind", (one) => (one.config.serverless ? "serverless" : "normal")],
      ["URL", (one) => (one.config.serverless ? h("span", { class: "break" }, one.config.serverless.url) : "runners connect by themselves")],
      ["Protocol", (one) => (one.config.protocol_version === null ? "–" : `envoy ${one.config.protocol_version}`)],
      ["State", state],
      ["", (one) => (access.may("deploy") ? actions(one, namespace, again) : null)],
    ],
    (one) => one.pool,
    h("p", null, "No pool is configured. Components need none; apps that connect, or are called by URL, do."),
  );
  async function load() {
    const { runner_configs: configs } = await get("/runner-configs", { namespace, limit: 1000 }, signal);
    known = Object.entries(configs).flatMap(([pool, { datacenters }]) => Object.values(datacenters).map((config) => ({ pool, config })));
    return known.sort((a, b) => a.pool.localeCompare(b.pool));
  }
  const part = loading(signal, load, list.show, list.node);
  const create = access.may("deploy") ? button("New pool", () => edit({ namespace, known, again }), { class: "primary" }) : null;
  return [heading("Pools", create), part.node];
}

function state({ config }) {
  if (!config.runner_pool_error) return badge(["good", "no error"]);
  return h("span", null, badge(["bad", "error"]), h("small", { class: "block wrong" }, sentence(config.runner_pool_error)));
}

function actions({ pool, config }, namespace, again) {
  const path = `/runner-configs/${encodeURIComponent(pool)}`;
  const refresh = async () => {
    try {
      await post(`${path}/refresh-metadata`, { namespace });
      say(`The URL of ${pool} was asked what it has.`);
    } catch (error) {
      say(error.message);
    }
    again();
  };
  const drop = () =>
    confirm(`Delete the pool ${pool}?`, "Its configuration is gone, and no actor of it starts any more. Its actors stay.", "Delete", async () => {
      await remove(path, { namespace });
      say(`${pool} is deleted.`);
      again();
    });
  const of = (what) => ({ class: "small", "aria-label": `${what} ${pool}` });
  return h(
    "span",
    { class: "actions" },
    button("Edit", () => edit({ namespace, pool, config, again }), of("Edit")),
    config.serverless ? button("Ask again", refresh, { ...of("Ask again what the URL has, of"), title: "Asks the URL again what it has" }) : null,
    button("Delete", drop, { ...of("Delete"), class: "small danger" }),
  );
}

/** Fields of `serverless`: name, label, what follows it. Those that are left empty get the engine's value. */
const NUMBERS = [
  ["request_lifespan", "Request lifespan, s", "How long one request may last; longer than the grace period"],
  ["drain_grace_period", "Drain grace period, s", "1800 unless said otherwise"],
  ["max_concurrent_actors", "Most actors at one time", "1000 unless said otherwise"],
  ["metadata_poll_interval", "Metadata poll interval, ms", "The engine's unless said otherwise"],
  ["slots_per_runner", "Slots per runner", "Older protocol; 1 unless said otherwise"],
  ["min_runners", "Fewest runners", "Older protocol"],
  ["max_runners", "Most runners", "Older protocol"],
  ["runners_margin", "Runners in reserve", "Older protocol"],
];
const OLDER = ["slots_per_runner", "min_runners", "max_runners", "runners_margin"];

/** The dialog for a new pool, or for one that is there. What it has no field for stays as it was. */
function edit({ namespace, pool, config, known = [], again }) {
  const before = config?.serverless;
  dialog(pool === undefined ? "New pool" : `Pool ${pool}`, (close) => {
    const name = input("pool", { required: true, maxlength: 128, readonly: pool !== undefined });
    name.value = pool ?? "";
    const kind = select("kind", [["normal", "normal: runners connect"], ["serverless", "serverless: the engine calls a URL"]], before ? "serverless" : "normal");
    const url = input("url", { type: "url", placeholder: "https://app.example/api/rivet" });
    url.value = before?.url ?? "";
    const head = h("textarea", { name: "headers", rows: 2, spellcheck: "false" });
    head.value = Object.entries(before?.headers ?? {}).map(([header, value]) => `${header}: ${value}`).join("\n");
    const number = ([field_, label, help]) => {
      const control = input(field_, { type: "number", min: 0, step: 1 });
      control.value = before?.[field_] ?? (field_ === "request_lifespan" ? 3600 : "");
      return field(label, control, help);
    };
    const checked = h("div", { role: "status" });
    const check = button("Check the URL", () => healthOf(namespace, url.value, head.value, checked));
    const parts = h(
      "div",
      { class: "stack" },
      field("URL", url, "What the app serves; /start and /metadata are added"),
      field("Headers", head, "Sent with each request; name: value, one a line"),
      h("div", { class: "actions" }, check),
      checked,
      h("div", { class: "grid" }, NUMBERS.filter(([one]) => !OLDER.includes(one)).map(number)),
      h("details", null, h("summary", null, "For runners of the older protocol"), h("div", { class: "grid" }, NUMBERS.filter(([one]) => OLDER.includes(one)).map(number))),
    );
    const follow = () => {
      parts.hidden = kind.value !== "serverless";
      url.required = !parts.hidden;
    };
    kind.addEventListener("change", follow);
    follow();
    const drain = (before ?? config?.normal)?.drain_on_version_upgrade ?? true;
    const send = async (typed) => {
      if (pool === undefined && known.some((one) => one.pool === typed.pool)) throw new Failure({ message: `there is a pool ${typed.pool}; edit that one` });
      await put(`/runner-configs/${encodeURIComponent(typed.pool)}`, { namespace }, { datacenters: { default: body(typed, config) } });
      close();
      say(`${typed.pool} is configured.`);
      again();
    };
    return form("Save", send, null, field("Name", name), field("Kind", kind), parts, checkbox("Drain runners of an older version when a newer one is there", "drain", drain));
  });
}

function body(typed, config) {
  const { normal, serverless, metadata } = config ?? {};
  const drain = typed.drain === "on";
  const kept = metadata === undefined ? {} : { metadata };
  const { actor_eviction_delay, actor_eviction_period, actor_eviction_rate } = serverless ?? normal ?? {};
  const common = { actor_eviction_delay, actor_eviction_period, actor_eviction_rate, drain_on_version_upgrade: drain };
  if (typed.kind === "normal") return { ...kept, normal: common };
  const numbers = NUMBERS.filter(([name]) => typed[name] !== "").map(([name]) => [name, Number(typed[name])]);
  return { ...kept, serverless: { ...common, url: typed.url, headers: headersOf(typed.headers), ...Object.fromEntries(numbers) } };
}

function headersOf(text) {
  const rows = text.split("\n").filter((line) => line.trim());
  return Object.fromEntries(
    rows.map((line) => {
      const at = line.indexOf(":");
      if (at < 1) throw new Failure({ message: `"${line}" is no header; write name: value, one a line` });
      return [line.slice(0, at).trim(), line.slice(at + 1).trim()];
    }),
  );
}

async function healthOf(namespace, url, headers, place) {
  fill(place, h("p", { class: "quiet" }, "Asking…"));
  const wrong = (text) => fill(place, h("p", { class: "line" }, badge(["bad", "failed"]), h("span", { class: "wrong" }, text)));
  try {
    const { success, failure } = await post("/runner-configs/serverless-health-check", { namespace }, { url, headers: headersOf(headers) });
    if (success) fill(place, h("p", { class: "line" }, badge(["good", "answers"]), `version ${success.version}`));
    else wrong([failure.error.message, failure.error.details].filter(Boolean).join(": "));
  } catch (error) {
    wrong(error.message);
  }
}
