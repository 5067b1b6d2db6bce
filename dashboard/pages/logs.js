// What an actor has logged, and what it logs now. Nothing is asked for while nobody sees it.
import { lines } from "../api.js";
import { fill, h, local } from "../dom.js";
import { checkbox, failed, REFRESH_MS } from "../ui.js";

const LINES_FIRST = 500;
const LINES_MAX = 2000;

export function logs({ namespace, id, signal }) {
  const list = h("ol", { class: "logs", tabindex: "0", role: "log", "aria-label": "Log lines" });
  const none = h("p", { class: "quiet" }, "Nothing is logged. The engine keeps lines of components for a while; RivetKit apps log where they run.");
  const problem = h("div");
  const follow = checkbox("Follow", "follow", true);
  const box = follow.firstChild;
  let run = new AbortController();
  let timer;

  function restart() {
    clearTimeout(timer);
    run.abort();
    run = new AbortController();
    if (!signal.aborted && !document.hidden) read(AbortSignal.any([signal, run.signal]));
  }
  async function read(stop) {
    let fresh = true;
    try {
      for await (const some of lines(`/actors/${id}/logs`, { namespace, limit: LINES_FIRST, follow: box.checked }, stop)) {
        fill(problem);
        append(some, fresh);
        fresh = false;
      }
    } catch (error) {
      if (stop.aborted) return;
      fill(problem, failed(error));
    }
    if (!stop.aborted && box.checked) timer = setTimeout(restart, REFRESH_MS);
  }
  function append(some, fresh) {
    const atEnd = list.scrollTop + list.clientHeight >= list.scrollHeight - 8;
    if (fresh) fill(list);
    list.append(...some.map(line));
    while (list.children.length > LINES_MAX) list.firstChild.remove();
    none.hidden = true;
    list.hidden = false;
    if (atEnd || fresh) list.scrollTop = list.scrollHeight;
  }
  list.hidden = true;
  box.addEventListener("change", restart);
  document.addEventListener("visibilitychange", restart, { signal });
  signal.addEventListener("abort", () => clearTimeout(timer));
  restart();
  return h("section", { class: "card", "aria-label": "Log" }, h("div", { class: "heading" }, h("h2", null, "Log"), follow), problem, none, list);
}

function line({ ts, level, text }) {
  return h("li", { class: level }, h("time", { datetime: new Date(ts).toISOString() }, local(ts)), h("span", { class: "level" }, level), h("span", { class: "text" }, text));
}
