// Components under their names: what is live, what was before, and a new one by file.
import { access, deploy, get, post } from "../api.js";
import { fill, h, keyed, moment, size } from "../dom.js";
import { badge, button, confirm, copied, field, form, heading, input, loading, say, table } from "../ui.js";

const COMPONENT_BYTES_MAX = 128 * 1024 * 1024;

export function deployments({ namespace, signal }) {
  let known = [];
  const again = () => part.again();
  const list = h("div", { class: "stack" });
  const update = keyed(list, (one) => one.name, (one) => card(one, namespace, again));
  const none = h("p", { class: "empty", hidden: true }, "Nothing is deployed in this namespace.");
  const show = (found) => {
    known = found.deployments.sort((a, b) => a.name.localeCompare(b.name));
    update(known);
    none.hidden = known.length > 0;
  };
  const part = loading(signal, () => get("/deployments", { namespace }, signal), show, list, none);
  return [heading("Deployments"), access.may("deploy") ? upload({ namespace, signal, again, known: () => known }) : null, part.node];
}

// ---- a new version ----

function upload({ namespace, signal, again, known }) {
  const file = h("input", { type: "file", accept: ".wasm,application/wasm", class: "file", required: true });
  const name = input("name", { required: true });
  const pool = input("pool", { required: true, value: "default" });
  const picked = h("span", { class: "quiet" }, "or drop it here");
  const zone = h("div", { class: "drop", ondragover: over, ondragleave: out, ondrop: drop }, field("Component", file), picked);
  const progress = h("div", { class: "progress", role: "status" });

  const suit = () => (pool.value = known().find((one) => one.name === name.value)?.pool ?? pool.value);
  name.addEventListener("change", suit);
  file.addEventListener("change", () => {
    const chosen = file.files[0];
    fill(picked, chosen ? `${chosen.name}, ${size(chosen.size)}` : "or drop it here");
    if (!chosen || name.value) return;
    name.value = chosen.name.replace(/\.wasm$/i, "");
    suit();
  });
  function over(event) {
    event.preventDefault();
    zone.classList.add("over");
  }
  function out() {
    zone.classList.remove("over");
  }
  function drop(event) {
    event.preventDefault();
    out();
    if (!event.dataTransfer.files.length) return;
    const taken = new DataTransfer();
    taken.items.add(event.dataTransfer.files[0]);
    file.files = taken.files;
    file.dispatchEvent(new Event("change"));
    name.focus();
  }
  const send = async (typed, element) => {
    const chosen = file.files[0];
    if (chosen.size > COMPONENT_BYTES_MAX) throw new Error(`the component has ${size(chosen.size)}; at most ${size(COMPONENT_BYTES_MAX)} are taken. Strip debug information, or make it smaller`);
    try {
      const live = await deploy(typed.name, { namespace, pool: typed.pool }, chosen, (line) => fill(progress, told(line)), signal);
      fill(progress, h("p", { class: "line" }, badge(["good", "live"]), `Version ${live.version} of ${live.name} is live.`));
      element.reset();
      fill(picked, "or drop it here");
    } catch (error) {
      fill(progress);
      throw error;
    } finally {
      again();
    }
  };
  return h(
    "section",
    { class: "card", "aria-label": "Deploy a component" },
    h("h2", null, "Deploy a component"),
    form("Deploy", send, null, zone, h("div", { class: "row" }, field("Name", name, "Actors of this name run it"), field("Pool", pool)), progress),
  );
}

function told(line) {
  if (line.phase === "sending" && line.loaded < line.total) {
    return [h("progress", { max: line.total, value: line.loaded, "aria-label": "Upload" }), `Sending: ${size(line.loaded)} of ${size(line.total)}`];
  }
  const seconds = line.elapsed_ms ? `, ${Math.round(line.elapsed_ms / 1000)} s` : "";
  return [h("progress", { "aria-label": "Compiling" }), `Sent; being checked and compiled${seconds}`];
}

// ---- what is there ----

function card({ name, pool, versions }, namespace, again) {
  const newest = [...versions].reverse();
  const live = versions.find((one) => one.live);
  const list = table(
    `Versions of ${name}`,
    [
      ["Version", (one) => h("span", null, `${one.version} `, one.live ? badge(["good", "live"]) : null)],
      ["Deployed", (one) => moment(one.deploy_ts)],
      ["Component", (one) => copied(one.component, one.component.slice(0, 12))],
      ["Size", (one) => size(one.bytes)],
      ["Handlers", (one) => one.handlers.join(", ")],
      ["Imports", (one) => imports(one.imports)],
      ["", (one) => (one.live || !access.may("deploy") ? null : activate(name, one.version, live, namespace, again))],
    ],
    (one) => one.version,
  );
  list.show(newest);
  const actors = h("a", { href: `/ui/ns/${namespace}/actors?${new URLSearchParams({ name })}` }, "Actors");
  return h(
    "section",
    { class: "card", "aria-label": name },
    h("div", { class: "heading" }, h("h2", null, name), h("span", { class: "quiet" }, `pool ${pool}`), actors),
    list.node,
  );
}

function imports(names) {
  if (names.length === 0) return "none";
  return h("details", null, h("summary", null, `${names.length}`), h("ul", { class: "plain" }, names.map((one) => h("li", null, h("code", null, one)))));
}

function activate(name, version, live, namespace, again) {
  const back = version < live.version;
  const label = back ? "Roll back" : "Make live";
  const act = async () => {
    await post(`/deployments/${encodeURIComponent(name)}/activate`, { namespace }, { version });
    say(`Version ${version} of ${name} is live.`);
    again();
  };
  const text = `Actors of ${name} run version ${live.version} now. Those that are awake move to version ${version} between two messages, with their state.`;
  return button(label, () => confirm(`${label} to version ${version}?`, text, label, act), { class: "small", "aria-label": `${label} ${name} to version ${version}` });
}
