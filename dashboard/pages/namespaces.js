// All namespaces, and a new one.
import { access, all, post } from "../api.js";
import { h, moment } from "../dom.js";
import { button, copied, dialog, field, form, heading, input, loading, table } from "../ui.js";

export function namespaces({ signal, go }) {
  const list = table(
    "Namespaces",
    [
      ["Name", (one) => (access.may("read") ? h("a", { href: `/ui/ns/${one.name}/actors` }, one.name) : one.name)],
      ["Display name", (one) => one.display_name],
      ["Id", (one) => copied(one.namespace_id)],
      ["Created", (one) => moment(one.create_ts)],
    ],
    (one) => one.namespace_id,
    h("p", null, "There is no namespace."),
  );
  const load = async () => (await all("/namespaces", {}, (page) => page.namespaces, signal)).sort((a, b) => a.name.localeCompare(b.name));
  const part = loading(signal, load, list.show, list.node);
  const fresh = access.may("engine") ? button("New namespace", () => create(go), { class: "primary" }) : null;
  return [heading("Namespaces", fresh), part.node];
}

function create(go) {
  dialog("New namespace", (close) => {
    const name = input("name", { required: true, maxlength: 64, pattern: "[a-z0-9]+(-[a-z0-9]+)*" });
    const display = input("display", { maxlength: 128 });
    const send = async (typed) => {
      const { namespace } = await post("/namespaces", {}, { name: typed.name, display_name: typed.display.trim() || typed.name });
      close();
      go(`/ui/ns/${namespace.name}/actors`);
    };
    return form(
      "Create",
      send,
      null,
      field("Name", name, "Stands in addresses: a to z, 0 to 9, single hyphens inside; at most 64"),
      field("Display name", display, "For people; the name unless you say otherwise"),
    );
  });
}
