// What the pages are made of: tables, forms, dialogs, messages, and lists that refresh themselves.
import { copy, fill, h, keyed } from "./dom.js";

export const REFRESH_MS = 5000;

/** Calls `load` now, then every few seconds while the page is seen, until `signal`. Returns what asks for it at once. */
export function live(signal, load, show, fail) {
  let timer;
  let running = false;
  let again = false;
  async function run() {
    clearTimeout(timer);
    if (signal.aborted) return;
    again = running;
    if (running) return;
    running = true;
    try {
      const loaded = await load(signal);
      if (!signal.aborted) show(loaded);
    } catch (error) {
      if (!signal.aborted) fail(error);
    }
    running = false;
    if (again) run();
    else if (!document.hidden && !signal.aborted) timer = setTimeout(run, REFRESH_MS);
  }
  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : run()), { signal });
  signal.addEventListener("abort", () => clearTimeout(timer));
  run();
  return run;
}

/** A part of a page that loads: says so, shows what came, or why it did not. `show` fills it. */
export function loading(signal, load, show, ...children) {
  const problem = h("div");
  const waiting = h("p", { class: "quiet" }, "Loading…");
  const content = h("div", { hidden: true }, ...children);
  const again = live(
    signal,
    load,
    (loaded) => {
      waiting.remove();
      content.hidden = false;
      fill(problem);
      show(loaded);
    },
    (error) => {
      waiting.remove();
      fill(problem, failed(error, () => again()));
    },
  );
  return { node: h("div", { class: "loading" }, problem, waiting, content), again };
}

/** Why something did not work, and what to do: the engine's own sentence. */
export function failed(error, again) {
  const existing = error.metadata?.existing_actor_id;
  return h(
    "div",
    { class: "failed", role: "alert" },
    h("p", null, error.group ? [h("code", null, error.name), " "] : null, error.message),
    existing ? h("p", null, "It is ", h("a", { href: `actors/${existing}` }, existing), ".") : null,
    error.ray ? h("p", { class: "quiet" }, `ray ${error.ray}`) : null,
    again ? button("Try again", again) : null,
  );
}

/** Says something in passing, also to those who listen. */
export function say(text) {
  const place = document.getElementById("said");
  place.textContent = text;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => (place.textContent = ""), 6000);
}

// ---- buttons and marks ----

export function button(text, act, attributes) {
  return h("button", { type: "button", onclick: act, ...attributes }, text);
}

export function copied(text, shown = text) {
  const act = async () => {
    await copy(text);
    say("Copied.");
  };
  return h("span", { class: "copied" }, h("code", { title: text }, shown), button("Copy", act, { class: "small", "aria-label": `Copy ${text}` }));
}

export const badge = ([kind, text]) => h("span", { class: `badge ${kind}` }, text);

/** Name and value, one pair a row; rows without a value are left out. */
export function facts(rows) {
  const filled = rows.filter(([, value]) => value !== null && value !== undefined);
  return h("dl", { class: "facts" }, filled.map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value))));
}

/** A page's head: its title, what belongs to it, and what can be done. */
export function heading(title, ...actions) {
  return h("div", { class: "heading" }, h("h1", { tabindex: "-1" }, title), h("div", { class: "actions" }, actions));
}

// ---- tables ----

/** `columns`: title and a function from an item to its cell. On narrow screens a row becomes a card. */
export function table(caption, columns, keyOf, empty) {
  const body = h("tbody");
  const row = (item) =>
    h("tr", null, columns.map(([title, cell], index) => h(index === 0 ? "th" : "td", { "data-title": title, scope: index === 0 ? "row" : null }, cell(item))));
  const update = keyed(body, keyOf, row);
  const none = h("div", { class: "empty", hidden: true }, empty);
  const head = h("thead", null, h("tr", null, columns.map(([title]) => h("th", { scope: "col" }, title))));
  const whole = h("table", null, h("caption", { class: "away" }, caption), head, body);
  const show = (items) => {
    update(items);
    whole.hidden = items.length === 0;
    none.hidden = items.length > 0;
  };
  return { node: h("div", { class: "table" }, whole, none), show };
}

// ---- forms ----

/** A labelled control. `help` is read with it. */
export function field(label, control, help, kind = "") {
  const id = `field-${(field.last = (field.last ?? 0) + 1)}`;
  control.id = id;
  if (help) control.setAttribute("aria-describedby", `${id}-help`);
  return h("div", { class: `field ${kind}` }, h("label", { for: id }, label), control, help ? h("small", { id: `${id}-help` }, help) : null);
}

export const input = (name, attributes) => h("input", { name, type: "text", autocomplete: "off", spellcheck: "false", ...attributes });

export function checkbox(label, name, checked) {
  const box = h("input", { type: "checkbox", name });
  box.checked = Boolean(checked);
  return h("label", { class: "check" }, box, label);
}

export function select(name, options, chosen) {
  const element = h("select", { name }, options.map(([value, text]) => h("option", { value }, text ?? value)));
  if (chosen !== undefined) element.value = chosen;
  return element;
}

/** Suggestions for an input; others may be typed. */
export function suggestions(control, values) {
  const id = `list-${(suggestions.last = (suggestions.last ?? 0) + 1)}`;
  control.setAttribute("list", id);
  return h("datalist", { id }, values.map((value) => h("option", { value })));
}

/** A form that says what went wrong and cannot be sent twice. `send` gets the values. */
export function form(label, send, attributes, ...children) {
  const problem = h("div");
  const submit = h("button", { class: "primary" }, label);
  const element = h("form", { ...attributes, onsubmit: act }, children, problem, h("div", { class: "actions" }, submit));
  async function act(event) {
    event.preventDefault();
    submit.disabled = true;
    fill(problem);
    try {
      await send(Object.fromEntries(new FormData(element)), element);
    } catch (error) {
      fill(problem, failed(error));
      problem.scrollIntoView({ block: "nearest" });
    } finally {
      submit.disabled = false;
    }
  }
  return element;
}

// ---- dialogs ----

/** Opens a dialog. `make` gets what closes it. Focus goes back to where it was. */
export function dialog(title, make) {
  const back = document.activeElement;
  const element = h("dialog", { "aria-label": title, onclose: closed });
  const close = () => element.close();
  const corner = h("button", { type: "button", class: "corner", "aria-label": "Close", onclick: close }, "×");
  element.append(h("h2", null, title), corner, make(close));
  function closed() {
    element.remove();
    if (back?.isConnected) back.focus();
  }
  document.body.append(element);
  element.showModal();
  element.querySelector("input:not([type=hidden]):not([readonly]), select, textarea, .primary")?.focus();
  return close;
}

/** Asks before something is done; shows why it failed. */
export function confirm(title, text, label, act) {
  dialog(title, (close) => {
    const send = async () => {
      await act();
      close();
    };
    const element = form(label, send, null, h("p", null, text));
    element.querySelector(".primary").classList.add("danger");
    element.querySelector(".actions").append(button("Cancel", close));
    return element;
  });
}
