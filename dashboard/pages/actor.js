// One actor: what is known of it, what can be done to it, a call, its log.
import { access, address, get, post, remove } from "../api.js";
import { changing, fill, h, moment } from "../dom.js";
import { sentence, status } from "../status.js";
import { badge, button, confirm, copied, facts, heading, loading, say } from "../ui.js";
import { call } from "./call.js";
import { openInspector } from "./inspector.js";
import { logs } from "./logs.js";

export function actor({ namespace, id, signal }) {
  const title = heading(`Actor ${id}`);
  const details = h("section", { class: "card", "aria-label": "Details" });
  const showTitle = changing(title, (found) => titleOf(found, { namespace, again: () => part.again() }));
  const showDetails = changing(details, (found) => [h("h2", null, "Details"), factsOf(found, namespace)]);
  const rest = h("div", { class: "stack" });
  const back = h("p", { class: "back" });
  const showBack = changing(back, (name) => h("a", { href: address(`/ui/ns/${namespace}/actors`, { name }) }, name ? `Actors: ${name}` : "Actors"));
  showBack();
  let whole = false;

  async function load() {
    const [{ actors }, { deployments }] = await Promise.all([
      get("/actors", { namespace, actor_id: id }, signal),
      get("/deployments", { namespace }, signal),
    ]);
    const found = actors[0];
    if (!found) return null;
    const deployed = deployments.find((one) => one.name === found.name);
    return { actor: found, live: deployed?.versions.find((one) => one.live)?.version ?? null };
  }
  function show(found) {
    if (!found) {
      fill(rest, h("p", { class: "empty" }, "There is no such actor in this namespace."));
      return;
    }
    showBack(found.actor.name);
    showTitle(found);
    showDetails(found);
    document.title = `${nameOf(found.actor)} · ${namespace} · rivet-engine`;
    if (whole) return;
    whole = true;
    fill(rest, h("div", { class: "columns" }, details, call({ id, signal, done: () => part.again() })), logs({ namespace, id, signal }));
  }
  const part = loading(signal, load, show, rest);
  return [back, title, part.node];
}

const nameOf = (actor) => (actor.key === null ? actor.name : `${actor.name} / ${actor.key}`);

function titleOf({ actor, live }, { namespace, again }) {
  const gone = actor.destroy_ts !== null;
  const path = `/actors/${actor.actor_id}`;
  const ask = (label, title, text, act, said) =>
    button(label, () => confirm(title, text, label, () => act().then(() => (say(said), again()))), { disabled: gone, class: label === "Destroy" ? "danger" : null });
  const inspect = live === null && !gone ? button("Inspector", () => openInspector(namespace, actor.actor_id).catch((error) => say(error.message))) : null;
  const acts = () => [
    ask("Sleep", "Put it to sleep?", "It stops after the message it handles, and wakes when something wants it.", () => post(`${path}/sleep`, { namespace }), "It is told to sleep."),
    ask("Reschedule", "Start it anew?", "A running actor is stopped and started again; one that waits after a crash is started now.", () => post(`${path}/reschedule`, { namespace }), "It is being started."),
    ask("Destroy", "Destroy it?", "The actor and its state are gone for good. Its key is free again.", () => remove(path, { namespace }), "It is destroyed."),
  ];
  return [
    h("h1", { tabindex: "-1" }, nameOf(actor), " ", badge(status(actor))),
    h("div", { class: "actions" }, inspect, access.may("manage") ? acts() : null),
  ];
}

function factsOf({ actor, live }, namespace) {
  const since = (ms) => (ms === null ? null : moment(ms, { full: true }));
  const pool = actor.runner_name_selector;
  return facts([
    ["Error", actor.error ? h("span", { class: "wrong" }, sentence(actor.error)) : null],
    ["Name", actor.name],
    ["Key", actor.key ?? h("em", null, "no key")],
    ["Id", copied(actor.actor_id)],
    ["Runs", live === null ? "a runner's app" : h("a", { href: `/ui/ns/${namespace}/deployments` }, `the component, version ${live}`)],
    ["Pool", live === null ? h("a", { href: `/ui/ns/${namespace}/pools` }, pool) : pool],
    ["Crash policy", actor.crash_policy],
    ["Datacenter", actor.datacenter],
    ["Created", since(actor.create_ts)],
    ["First ran", since(actor.start_ts)],
    ["Runs since", since(actor.connectable_ts)],
    ["Sleeps since", since(actor.sleep_ts)],
    ["Waits for a runner since", since(actor.pending_allocation_ts)],
    ["Starts again", since(actor.reschedule_ts)],
    ["Destroyed", since(actor.destroy_ts)],
  ]);
}
