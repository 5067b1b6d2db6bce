// The actor names of a namespace, and the actors of one of them.
import { access, address, all, get } from "../api.js";
import { changing, h, moment } from "../dom.js";
import { status } from "../status.js";
import { badge, button, checkbox, copied, failed, heading, input, loading, table } from "../ui.js";
import { createActor } from "./create-actor.js";

const PAGE = 50;
const ID = /^[0-9a-z]{30}$/;

export function actors({ namespace, query, signal, go }) {
  const { name, key, destroyed, before } = query;
  const here = (change) => address(`/ui/ns/${namespace}/actors`, { name, key, destroyed, before, ...change });
  let names = [];

  const nav = h("nav", { "aria-label": "Actor names", class: "names" });
  const link = (one) =>
    h("a", { href: here({ name: one.name, key: null, before: null }), "aria-current": one.name === name ? "page" : null }, icon(one), one.title, one.title === one.name ? null : h("small", null, one.name));
  const showNames = changing(nav, (list) => (list.length ? list.map(link) : h("p", { class: "quiet" }, "No names yet.")));

  const list = table(
    `Actors with the name ${name}`,
    [
      ["Key", (actor) => h("a", { href: `/ui/ns/${namespace}/actors/${actor.actor_id}`, class: "break" }, actor.key ?? h("em", null, "no key"))],
      ["Status", (actor) => badge(status(actor))],
      ["Id", (actor) => copied(actor.actor_id, `${actor.actor_id.slice(0, 8)}…`)],
      ["Pool", (actor) => actor.runner_name_selector],
      ["Created", (actor) => moment(actor.create_ts)],
    ],
    (actor) => actor.actor_id,
    h("p", null, key === undefined ? "No actors here." : "No actor has this key.", before || destroyed ? null : " Destroyed ones are shown only if you ask for them."),
  );
  const pages = h("div", { class: "actions pages" });
  const showPages = changing(pages, (older) => [
    before ? h("a", { href: here({ before: null }) }, "Newest") : null,
    older ? h("a", { href: here({ before: older }) }, "Older") : null,
  ]);

  async function load() {
    const [listed, deployed] = await Promise.all([namesOf(namespace, signal), get("/deployments", { namespace }, signal)]);
    names = merged(listed, deployed.deployments);
    if (name === undefined) return null;
    return get("/actors", { namespace, name, key, include_destroyed: destroyed, limit: PAGE, cursor: before }, signal);
  }
  function show(found) {
    showNames(names);
    if (found === null) {
      if (names.length) go(here({ name: names[0].name }), { replace: true });
      else showNothing(true);
      return;
    }
    list.show(found.actors);
    showPages(found.actors.length === PAGE ? found.pagination.cursor : null);
  }

  const content = h("section", null);
  const showNothing = changing(content, () => nothingYet(namespace));
  if (name !== undefined) content.append(filters({ namespace, query, signal, go, here }), list.node, pages);
  const part = loading(signal, load, show, h("div", { class: "split" }, nav, content));
  const create = () => createActor({ namespace, name, names: names.map((one) => one.name), go, deployed: names.filter((one) => one.pool) });
  return [heading("Actors", access.may("manage") ? button("New actor", create, { class: "primary" }) : null), part.node];
}

async function namesOf(namespace, signal) {
  return all("/actors/names", { namespace }, (page) => Object.entries(page.names), signal);
}

/** Names that actors have, and names that something is deployed under. */
function merged(listed, deployments) {
  const known = new Map(deployments.map((one) => [one.name, { name: one.name, title: one.name, pool: one.pool }]));
  for (const [name, { metadata }] of listed) {
    const title = typeof metadata?.name === "string" && metadata.name ? metadata.name : name;
    known.set(name, { ...known.get(name), name, title, icon: metadata?.icon });
  }
  return [...known.values()].sort((a, b) => a.title.localeCompare(b.title));
}

/** Only what is a sign by itself: names of icons mean nothing here. */
const icon = ({ icon }) => (typeof icon === "string" && /^\p{Extended_Pictographic}/u.test(icon) ? h("span", { "aria-hidden": "true" }, `${icon} `) : null);

function nothingYet(namespace) {
  return h(
    "div",
    { class: "empty" },
    h("h2", null, "No actors yet"),
    h("p", null, h("a", { href: `/ui/ns/${namespace}/deployments` }, "Deploy a component"), ", or let a ", h("a", { href: `/ui/ns/${namespace}/pools` }, "pool's"), " runner connect. Then create an actor, or call one by name and key."),
  );
}

function filters({ namespace, query, signal, go, here }) {
  const problem = h("div");
  const text = input("find", { type: "search", placeholder: "Id or key", "aria-label": "Find an actor by id or key" });
  text.value = query.key ?? "";
  const find = async (event) => {
    event.preventDefault();
    const wanted = text.value;
    try {
      if (ID.test(wanted)) {
        const { actors } = await get("/actors", { namespace, actor_id: wanted }, signal).catch((error) => {
          // It only looks like an id.
          if (error.name === "api.bad_request") return { actors: [] };
          throw error;
        });
        if (actors.length) return go(`/ui/ns/${namespace}/actors/${wanted}`);
      }
      go(here({ key: wanted || null, before: null }));
    } catch (error) {
      if (!signal.aborted) problem.replaceChildren(failed(error));
    }
  };
  const destroyed = checkbox("Destroyed ones too", "destroyed", query.destroyed);
  destroyed.addEventListener("change", () => go(here({ destroyed: destroyed.firstChild.checked, before: null })));
  const clear = query.key === undefined ? null : h("a", { href: here({ key: null, before: null }) }, "All keys");
  return h("form", { class: "filters", onsubmit: find, role: "search" }, text, h("button", null, "Find"), clear, destroyed, problem);
}
