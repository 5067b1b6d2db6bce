// The dialog that creates an actor.
import { Failure, post } from "../api.js";
import { h } from "../dom.js";
import { dialog, field, form, input, select, suggestions } from "../ui.js";

const CODINGS = [
  ["text", "Text"],
  ["json", "JSON"],
  ["cbor", "JSON, sent as CBOR (RivetKit)"],
  ["base64", "Base64"],
];

export function createActor({ namespace, name, names, deployed, go }) {
  const poolOf = (wanted) => deployed.find((one) => one.name === wanted)?.pool;
  dialog("New actor", (close) => {
    const nameInput = input("name", { required: true });
    nameInput.value = name ?? "";
    const pool = input("pool", { required: true });
    pool.value = poolOf(name) ?? "default";
    nameInput.addEventListener("change", () => (pool.value = poolOf(nameInput.value) ?? pool.value));
    const typed = h("textarea", { name: "input", rows: 3, spellcheck: "false" });
    const send = async (values) => {
      const body = {
        name: values.name,
        runner_name_selector: values.pool,
        crash_policy: values.policy,
        key: values.key === "" ? undefined : values.key,
        input: values.input === "" ? undefined : encoded(values.input, values.coding),
      };
      const { actor } = await post("/actors", { namespace }, body);
      close();
      go(`/ui/ns/${namespace}/actors/${actor.actor_id}`);
    };
    return form(
      "Create",
      send,
      null,
      field("Name", nameInput, "What it is: a deployed component, or an actor of a runner's app"),
      suggestions(nameInput, names),
      field("Key", input("key"), "Which one it is; parts are joined by /. Empty: an actor without a key"),
      field("Pool", pool, "Components take actors of their name in any pool"),
      field("Crash policy", select("policy", [["sleep"], ["restart"], ["destroy"]]), "What follows a crash"),
      h("div", { class: "row" }, field("Input", typed, "What its start is given; nothing if empty"), field("Input is", select("coding", CODINGS))),
    );
  });
}

/** Base64 of what was typed. */
function encoded(text, coding) {
  if (coding === "base64") return text.replace(/\s/g, "");
  if (coding === "text") return base64(new TextEncoder().encode(text));
  let value;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new Failure({ message: `the input is not JSON: ${error.message}` });
  }
  return base64(coding === "cbor" ? cbor(value) : new TextEncoder().encode(JSON.stringify(value)));
}

function base64(bytes) {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

/** CBOR (RFC 8949) of a JSON value. */
function cbor(value) {
  const out = [];
  const number = (bytes, set) => {
    const view = new DataView(new ArrayBuffer(bytes));
    set(view);
    out.push(...new Uint8Array(view.buffer));
  };
  const head = (major, count) => {
    const first = major << 5;
    if (count < 24) out.push(first | count);
    else if (count < 0x100) out.push(first | 24, count);
    else if (count < 0x10000) out.push(first | 25, count >> 8, count & 255);
    else if (count < 0x100000000) out.push(first | 26), number(4, (view) => view.setUint32(0, count));
    else out.push(first | 27), number(8, (view) => view.setBigUint64(0, BigInt(count)));
  };
  const text = (string) => {
    const bytes = new TextEncoder().encode(string);
    head(3, bytes.length);
    for (const byte of bytes) out.push(byte);
  };
  const write = (one) => {
    if (one === null) out.push(0xf6);
    else if (typeof one === "boolean") out.push(one ? 0xf5 : 0xf4);
    else if (typeof one === "string") text(one);
    else if (Number.isSafeInteger(one)) one < 0 ? head(1, -1 - one) : head(0, one);
    else if (typeof one === "number") out.push(0xfb), number(8, (view) => view.setFloat64(0, one));
    else if (Array.isArray(one)) head(4, one.length), one.forEach(write);
    else head(5, Object.keys(one).length), Object.entries(one).forEach(([name, member]) => (text(name), write(member)));
  };
  write(value);
  return Uint8Array.from(out);
}
