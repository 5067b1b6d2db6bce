// Where actors run: the engine's own runner, and those that connect, of both protocols.
import { all } from "../api.js";
import { h, moment } from "../dom.js";
import { badge, heading, loading, table } from "../ui.js";

export function runners({ namespace, signal }) {
  const list = table(
    "Runners",
    [
      ["Key", (one) => h("span", { class: "break" }, h("code", null, one.key), one.id ? h("small", { class: "block" }, one.id) : null)],
      ["State", (one) => badge(one.state)],
      ["Pool", (one) => one.pool],
      ["Protocol", (one) => one.protocol],
      ["Version", (one) => one.version],
      ["Actors", (one) => one.actors],
      ["Last ping", (one) => moment(one.ping)],
      ["Round trip", (one) => (one.rtt === null ? "–" : `${one.rtt} ms`)],
      ["Since", (one) => moment(one.since)],
    ],
    (one) => `${one.protocol} ${one.pool} ${one.id ?? one.key}`,
    h("p", null, "No runner is connected."),
  );
  async function load() {
    const [envoys, legacy] = await Promise.all([
      all("/envoys", { namespace }, (page) => page.envoys, signal),
      all("/runners", { namespace }, (page) => page.runners, signal),
    ]);
    return [...envoys.map(envoy), ...legacy.map(older)];
  }
  const part = loading(signal, load, list.show, list.node);
  const own = "The engine's own runner takes components of all namespaces and pools; it is listed once.";
  return [heading("Runners"), h("p", { class: "quiet" }, own), part.node];
}

function envoy(one) {
  const embedded = Boolean(one.metadata?.["rivet-engine"]);
  return {
    key: one.envoy_key,
    id: null,
    pool: embedded ? "all" : one.pool_name,
    protocol: embedded ? "in the engine" : "envoy",
    version: one.version,
    actors: `${one.slots}`,
    state: one.stop_ts === null ? ["good", "connected"] : ["warn", "draining"],
    ping: embedded ? null : one.last_ping_ts,
    rtt: embedded ? null : one.last_rtt,
    since: one.last_connected_ts ?? one.create_ts,
  };
}

/** Of the protocol before. Its slots are how many actors it can have; the highest number says that it does not count. */
function older(one) {
  const actors = one.total_slots - one.remaining_slots;
  const bounded = one.total_slots < 0xffffffff;
  return {
    key: one.key,
    id: one.runner_id,
    pool: one.name,
    protocol: "runner (older)",
    version: one.version,
    actors: bounded ? `${actors} of ${one.total_slots}` : `${actors}`,
    state: one.drain_ts === null && one.stop_ts === null ? ["good", "connected"] : ["warn", "draining"],
    ping: one.last_ping_ts,
    rtt: one.last_rtt,
    since: one.last_connected_ts ?? one.create_ts,
  };
}
