// Routes and frame: what is in the address decides which page is shown; the frame around it stays.
//
// Files in reading order: dom.js, api.js, ui.js, status.js, then pages/.
import { access, all, get, token, whenForbidden } from "./api.js";
import { fill, h } from "./dom.js";
import { button, failed, say, select } from "./ui.js";
import { actors } from "./pages/actors.js";
import { actor } from "./pages/actor.js";
import { deployments } from "./pages/deployments.js";
import { inspector } from "./pages/inspector.js";
import { namespaces } from "./pages/namespaces.js";
import { pools } from "./pages/pools.js";
import { runners } from "./pages/runners.js";
import { tokenForm } from "./pages/token.js";

const main = document.getElementById("main");
const SECTIONS = [
  ["actors", "Actors"],
  ["deployments", "Deployments"],
  ["pools", "Pools"],
  ["runners", "Runners"],
];
const PAGES = { actors, deployments, pools, runners };

let leaving = new AbortController();
/** Path and query of what is shown. */
let shown = "";
/** Whether the token form is. */
let asked = false;

/** Everything below /ui/: ns/{namespace}/{section}[/{actor}]. What people have typed is in the query. */
function route() {
  const [where, namespace, section, id] = location.pathname.replace(/^\/ui\/?/, "").split("/");
  const query = Object.fromEntries(new URLSearchParams(location.search));
  if (!where) return { title: "Namespaces", page: namespaces, query };
  if (where === "inspector") return { title: "Inspector", page: inspector, query };
  if (where === "ns" && namespace) {
    const known = SECTIONS.find(([name]) => name === (section || "actors"));
    if (known && id && known[0] === "actors") return { title: `Actor ${id}`, page: actor, namespace, section: "actors", id, query };
    if (known && !id) return { title: known[1], page: PAGES[known[0]], namespace, section: known[0], query };
  }
  return { title: "Not here", page: nothing, query };
}

const nothing = () => h("p", null, "There is no such page. ", h("a", { href: "/ui/" }, "See the namespaces."));

function show({ focus = false } = {}) {
  leaving.abort();
  leaving = new AbortController();
  asked = false;
  shown = location.pathname + location.search;
  closeDialogs();
  const found = route();
  document.title = `${found.title}${found.namespace ? ` · ${found.namespace}` : ""} · rivet-engine`;
  frame(found);
  try {
    fill(main, found.page({ ...found, signal: leaving.signal, go, reload: show }));
  } catch (error) {
    fill(main, failed(error));
    throw error;
  }
  if (focus) {
    (main.querySelector("h1") ?? main).focus({ preventScroll: true });
    scrollTo(0, 0);
  }
}

/** Shows the page that the address names, once it is known what the token may. */
async function begin(options) {
  const found = route();
  // The tab of an inspector has no token and must not ask for one.
  if (found.page !== inspector) {
    try {
      await access.load();
    } catch (error) {
      if (error.isForbidden && !error.isBeyondToken) return frame(found);
    }
  }
  show(options);
}

/** Goes to another page of the dashboard. */
function go(href, { replace = false } = {}) {
  history[replace ? "replaceState" : "pushState"](null, "", href);
  show({ focus: !replace });
}

document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[href]");
  if (!link || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  if (link.origin !== location.origin || !link.pathname.startsWith("/ui/") || link.target || link.getAttribute("href").startsWith("#")) return;
  event.preventDefault();
  go(link.href);
});
// Also heard when only the part after # changes.
addEventListener("popstate", () => shown !== location.pathname + location.search && show({ focus: true }));

const closeDialogs = () => document.querySelectorAll("dialog[open]").forEach((open) => open.close());

// ---- the frame ----

function frame({ namespace, section }) {
  const brand = h("a", { href: "/ui/", class: "brand" }, h("img", { src: "/ui/icon.svg", alt: "", width: "24", height: "24" }), "rivet-engine");
  const links = SECTIONS.map(([name, title]) =>
    h("a", { href: `/ui/ns/${namespace}/${name}`, "aria-current": name === section ? "page" : null }, title),
  );
  const forget = () => {
    token.forget();
    say("The token is forgotten.");
    begin();
  };
  fill(
    document.getElementById("top"),
    brand,
    namespace ? namespaceChoice(namespace, section) : null,
    namespace && access.may("read") ? h("nav", { "aria-label": "Sections" }, links) : null,
    token.read() === null ? null : button("Forget token", forget, { class: "small forget" }),
  );
}

function namespaceChoice(namespace, section) {
  const choice = select("namespace", [[namespace]], namespace);
  choice.setAttribute("aria-label", "Namespace");
  choice.addEventListener("change", () => go(choice.value === "/" ? "/ui/" : `/ui/ns/${choice.value}/${section}`));
  const known = all("/namespaces", {}, (page) => page.namespaces, leaving.signal);
  known.then(
    (list) => {
      const names = new Set([namespace, ...list.map((one) => one.name)]);
      fill(choice, [...names].sort().map((name) => h("option", { value: name }, name)), h("option", { value: "/" }, "All namespaces…"));
      choice.value = namespace;
    },
    // The page itself says what is wrong.
    () => {},
  );
  return choice;
}

async function footer() {
  const bottom = document.getElementById("bottom");
  try {
    const about = await get("/metadata");
    const commit = about.git_sha ? ` (${about.git_sha.slice(0, 8)})` : "";
    // Not around an inspector: that tab has no token and must not ask for one.
    const asks = location.pathname !== "/ui/inspector";
    const datacenter = asks ? await get("/datacenters").then((list) => list.datacenters[0], () => null) : null;
    fill(
      bottom,
      h("span", null, `rivet-engine ${about.version}${commit}`),
      datacenter ? h("span", null, `datacenter ${datacenter.name}, ${datacenter.url}`) : null,
      h("a", { href: "/openapi.json" }, "API"),
    );
  } catch {
    fill(bottom, h("span", null, "rivet-engine"));
  }
}

// ---- the token ----

whenForbidden(() => {
  // Several calls of a page are refused at one time.
  if (asked) return;
  asked = true;
  leaving.abort();
  // After the page that is just being made.
  queueMicrotask(() => {
    closeDialogs();
    const accepted = () => {
      footer();
      begin({ focus: true });
    };
    fill(main, tokenForm(accepted));
    main.querySelector("input").focus();
  });
});

begin();
footer();
