// Calls an actor through the gateway, as any client would. The token comes along only where calls need one: there the engine takes it
// out, so that no actor gets to see it. Whoever types another one calls with that.
import { Failure, access } from "../api.js";
import { copy, fill, h, size } from "../dom.js";
import { badge, button, field, form, input, say, select } from "../ui.js";

const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"].map((method) => [method]);
const BODYLESS = ["GET", "HEAD"];
/** As much of a body as is shown. */
const SHOWN_BYTES_MAX = 256 * 1024;
const HEX_BYTES_MAX = 1024;

export function call({ id, signal, done }) {
  const answer = h("div", { class: "answer", "aria-live": "polite" });
  const method = select("method", METHODS);
  const path = input("path", { value: "/", required: true });
  const head = h("textarea", { name: "headers", rows: 2, spellcheck: "false", placeholder: "content-type: application/json" });
  const body = h("textarea", { name: "body", rows: 3, spellcheck: "false" });
  const bodyless = () => (body.disabled = BODYLESS.includes(method.value));
  method.addEventListener("change", bodyless);
  bodyless();
  let running = null;
  const stop = button("Stop", () => running?.abort(), { hidden: true });

  const wanted = () => ({
    method: method.value,
    path: path.value.startsWith("/") ? path.value : `/${path.value}`,
    headers: head.value.split("\n").filter((line) => line.trim()).map(pair),
    body: body.disabled || body.value === "" ? undefined : body.value,
  });
  const send = async () => {
    const request = wanted();
    running = new AbortController();
    stop.hidden = false;
    fill(answer, h("p", { class: "quiet" }, "Waiting for the answer…"));
    try {
      await fetched(id, request, AbortSignal.any([signal, running.signal]), answer);
    } catch (error) {
      fill(answer);
      throw error;
    } finally {
      stop.hidden = true;
      done();
    }
  };
  const curl = button("Copy as curl", async () => {
    await copy(curlOf(id, wanted()));
    say("Copied.");
  });
  const element = form("Send", send, null, h("div", { class: "row" }, field("Method", method, null, "short"), field("Path and query", path)), field("Headers", head), field("Body", body));
  element.querySelector(".actions").append(stop, curl);
  return h("section", { class: "card", "aria-label": "Call" }, h("h2", null, "Call"), h("p", { class: "quiet" }, "Wakes the actor if it sleeps."), element, answer);
}

function pair(line) {
  const at = line.indexOf(":");
  if (at < 1) throw new Failure({ message: `"${line}" is no header; write name: value, one a line` });
  return [line.slice(0, at).trim(), line.slice(at + 1).trim()];
}

function withToken(typed) {
  const headers = new Headers(access.callHeaders());
  const own = new Headers(typed);
  own.forEach((value, name) => headers.set(name, value));
  return headers;
}

async function fetched(id, { method, path, headers, body }, signal, answer) {
  const began = performance.now();
  let response;
  try {
    response = await fetch(`/gateway/${id}${path}`, { method, headers: withToken(headers), body, signal, credentials: "omit", cache: "no-store", redirect: "manual" });
  } catch (error) {
    if (signal.aborted) throw new Failure({ message: "stopped before the answer began" });
    if (error instanceof TypeError && /header|method|URL/i.test(error.message)) throw new Failure({ message: `the browser cannot send this: ${error.message}` });
    throw new Failure({ message: "the connection ended without an answer" });
  }
  const took = Math.round(performance.now() - began);
  if (response.type === "opaqueredirect") {
    fill(answer, h("p", null, "The actor redirects. Browsers do not tell pages where to; copy the call as curl to see it."));
    return;
  }
  const rows = [...response.headers].map(([name, value]) => h("tr", null, h("th", { scope: "row" }, name), h("td", null, value)));
  const shown = h("pre", { tabindex: "0", "aria-label": "Body" });
  const note = h("p", { class: "quiet" });
  const kind = response.ok ? "good" : response.status < 500 ? "warn" : "bad";
  const fromEngine = response.headers.has("x-rivet-error") ? h("span", null, "from the engine, not from the actor") : null;
  fill(
    answer,
    h("p", { class: "line" }, badge([kind, `${response.status} ${response.statusText}`.trim()]), h("span", null, `${took} ms`), fromEngine),
    h("details", null, h("summary", null, `${rows.length} headers`), h("table", { class: "plain" }, h("tbody", null, rows))),
    shown,
    note,
  );
  await read(response, shown, note, signal);
}

/** Shows the body while it comes. */
async function read(response, shown, note, signal) {
  const reader = response.body?.getReader();
  const pieces = [];
  let bytes = 0;
  let end = "";
  while (reader) {
    let next;
    try {
      next = await reader.read();
    } catch {
      end = signal.aborted ? "stopped" : "cut off by an error";
      break;
    }
    if (next.done) break;
    pieces.push(next.value);
    bytes += next.value.length;
    show(pieces, response, shown);
    note.textContent = `${size(bytes)} so far`;
    if (bytes > SHOWN_BYTES_MAX) {
      end = "more is not shown";
      await reader.cancel();
      break;
    }
  }
  show(pieces, response, shown, end === "");
  shown.hidden = bytes === 0;
  note.textContent = [bytes ? size(bytes) : "no body", end].filter(Boolean).join(", ");
}

function show(pieces, response, shown, whole = false) {
  const bytes = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.length;
  }
  shown.textContent = readable(bytes, response.headers.get("content-type") ?? "", whole);
}

function readable(bytes, type, whole) {
  let text;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes, { stream: !whole });
  } catch {
    return hex(bytes);
  }
  if (whole && /json/.test(type)) {
    try {
      return JSON.stringify(JSON.parse(text), null, 2);
    } catch {
      // Then as it is.
    }
  }
  return text;
}

function hex(bytes) {
  const lines = [];
  for (let at = 0; at < Math.min(bytes.length, HEX_BYTES_MAX); at += 16) {
    const row = [...bytes.slice(at, at + 16)];
    const digits = row.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
    const signs = row.map((byte) => (byte > 31 && byte < 127 ? String.fromCharCode(byte) : ".")).join("");
    lines.push(`${at.toString(16).padStart(8, "0")}  ${digits.padEnd(47)}  ${signs}`);
  }
  if (bytes.length > HEX_BYTES_MAX) lines.push("…");
  return lines.join("\n");
}

function curlOf(id, { method, path, headers, body }) {
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const parts = ["curl", "-i", method === "HEAD" ? "--head" : `-X ${method}`];
  // The token itself is nothing for a clipboard.
  for (const name of Object.keys(access.callHeaders())) parts.push("-H", `"${name}: $RIVET_TOKEN"`);
  for (const [name, value] of headers) parts.push("-H", quoted(`${name}: ${value}`));
  if (body !== undefined) parts.push("--data-raw", quoted(body));
  return [...parts, quoted(`${location.origin}/gateway/${id}${path}`)].join(" ");
}
