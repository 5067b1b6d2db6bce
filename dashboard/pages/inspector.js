// The inspector that a RivetKit app brings with it, in a tab of its own.
//
// Its page wants a frame around it that hands over the actor's inspector token and shows which tabs there are. It comes from the
// app, under this address: so the tab is opened without a way back to this page, and the engine's token is not in it.
import { Failure, get } from "../api.js";
import { fill, h } from "../dom.js";
import { button, failed } from "../ui.js";

/** Where RivetKit keeps the token, as base64. */
const TOKEN_KEY = "Aw==";

export async function openInspector(namespace, id) {
  const entry = get(`/actors/${id}/kv/keys/${encodeURIComponent(TOKEN_KEY)}`, { namespace });
  const { value } = await entry.catch((error) => {
    throw error.code === "kv_key_not_found" ? new Failure({ message: "This actor's app brings no inspector, or has not run yet." }) : error;
  });
  // After #, where no server sees it.
  open(`/ui/inspector#${new URLSearchParams({ id, token: atob(value) })}`, "_blank", "noopener");
}

export function inspector({ signal }) {
  const { id, token } = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  if (!/^[0-9a-z]{30}$/.test(id ?? "")) return failed(new Error("there is no actor in this address; open the inspector from an actor's page"));
  const tabs = h("nav", { class: "tabs", "aria-label": "Inspector" });
  const source = `/gateway/${id}/inspector/ui/?${new URLSearchParams({ shellOrigin: location.origin, actorId: id })}`;
  const frame = h("iframe", { src: source, title: "Inspector", class: "inspector" });
  const tell = (message) => frame.contentWindow.postMessage({ v: 1, ...message }, location.origin);
  const theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  let active;
  const choose = (tab) => {
    active = tab;
    for (const one of tabs.children) one.setAttribute("aria-pressed", String(one.dataset.tab === tab));
    tell({ type: "set-active-tab", tab });
  };
  const heard = ({ source: from, origin, data }) => {
    if (from !== frame.contentWindow || origin !== location.origin) return;
    if (data?.type === "ready" || data?.type === "token-refresh-needed") tell({ type: "init", actorId: id, authToken: token, activeTab: active, theme });
    if (data?.type === "tabs-available" && Array.isArray(data.tabs)) {
      fill(tabs, data.tabs.filter((tab) => !tab.isCustom).map((tab) => button(String(tab.label), () => choose(tab.id), { "data-tab": tab.id })));
      if (active === undefined && tabs.firstChild) choose(tabs.firstChild.dataset.tab);
    }
  };
  addEventListener("message", heard, { signal });
  return [h("h1", { tabindex: "-1", class: "away" }, "Inspector"), tabs, frame];
}
