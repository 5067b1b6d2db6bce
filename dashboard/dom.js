// Makes elements, keeps lists of them up to date, shows moments. Text goes in as text, never as HTML: the pages' security policy
// forbids the other way to all of them.

/** An element. Attributes that are functions listen; those that are null, undefined or false are left out. */
export function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...nodes(children));
  return element;
}

/** Replaces what `element` holds. */
export function fill(element, ...children) {
  element.replaceChildren(...nodes(children));
  return element;
}

const nodes = (children) => children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);

/** Keeps the children of `parent` to what `items` say. A child whose item is as before stays, and with it focus and what is open. */
export function keyed(parent, keyOf, make) {
  let shown = new Map();
  return (items) => {
    const next = new Map();
    for (const item of items) {
      const key = keyOf(item);
      const text = JSON.stringify(item);
      const before = shown.get(key);
      next.set(key, before?.text === text ? before : { text, node: renew(before?.node, make(item)) });
    }
    const wanted = [...next.values()].map((entry) => entry.node);
    const same = wanted.length === parent.children.length && wanted.every((node, index) => parent.children[index] === node);
    if (!same) withFocusKept(() => parent.replaceChildren(...wanted));
    shown = next;
  };
}

/** Puts `fresh` where `old` is, with the focus on what stands in the same place. */
function renew(old, fresh) {
  if (!old?.isConnected) return fresh;
  const at = focusable(old).indexOf(document.activeElement);
  old.replaceWith(fresh);
  if (at >= 0) focusable(fresh)[at]?.focus({ preventScroll: true });
  return fresh;
}

function withFocusKept(change) {
  const focused = document.activeElement;
  change();
  if (focused !== document.body && focused?.isConnected) focused.focus({ preventScroll: true });
}

const focusable = (node) => [...node.querySelectorAll("a, button, input, select, summary, [tabindex]")];

/** Runs `make` only when what it depends on has changed, and shows what it returns in `element`. */
export function changing(element, make) {
  let before;
  return (value) => {
    const text = JSON.stringify(value);
    if (text === before) return;
    before = text;
    const at = focusable(element).indexOf(document.activeElement);
    fill(element, make(value));
    if (at >= 0) focusable(element)[at]?.focus({ preventScroll: true });
  };
}

// ---- moments ----

/** How long ago, in words that stay short. */
export function age(ms) {
  const seconds = Math.max(0, Math.round((Date.now() - ms) / 1000));
  if (seconds < 5) return "now";
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86_400)} d ago`;
}

/** In `ms` from now, or ago. */
function distance(ms) {
  const seconds = Math.round((ms - Date.now()) / 1000);
  return seconds > 0 ? `in ${seconds} s` : age(ms);
}

const LOCAL = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
export const local = (ms) => LOCAL.format(new Date(ms));

/** A moment as its age; its local time is the title, or stands before it. */
export function moment(ms, { full = false } = {}) {
  if (ms === null || ms === undefined) return "–";
  const time = h("time", { datetime: new Date(ms).toISOString(), title: local(ms), "data-ms": ms, "data-full": full });
  write(time);
  return time;
}

function write(time) {
  const ms = Number(time.dataset.ms);
  const text = "full" in time.dataset ? `${local(ms)} (${distance(ms)})` : distance(ms);
  if (time.textContent !== text) time.textContent = text;
}

setInterval(() => {
  if (!document.hidden) document.querySelectorAll("time[data-ms]").forEach(write);
}, 1000);

// ---- sizes and ids ----

export function size(bytes) {
  if (bytes < 1024) return `${bytes} B`;
  if (bytes < 1024 * 1024) return `${(bytes / 1024).toFixed(1)} KiB`;
  return `${(bytes / 1024 / 1024).toFixed(1)} MiB`;
}

/** Puts text on the clipboard, also where the page has no secure address and so no clipboard of its own. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = h("textarea", { class: "away", readonly: true });
    area.value = text;
    (document.querySelector("dialog[open]") ?? document.body).append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}
