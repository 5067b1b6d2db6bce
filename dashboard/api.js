// Talks to the engine this page came from, and to nobody else. Keeps the token; an actor never gets to see it.

const TOKEN = "rivet-engine.token";
const BEYOND = ["Role not sufficient", "Token of another namespace"];

/** What the engine, or the way to it, has refused. */
export class Failure extends Error {
  constructor({ status = 0, group = "", code = "", message, metadata = null, ray = null }) {
    super(message);
    Object.assign(this, { status, group, code, metadata, ray });
  }

  get name() {
    return this.group ? `${this.group}.${this.code}` : "";
  }

  get isForbidden() {
    return this.status === 403 && this.name === "api.forbidden";
  }

  /** The token is one, but may not do this: another page may do well. */
  get isBeyondToken() {
    return this.isForbidden && BEYOND.includes(this.metadata?.reason);
  }
}

/** The token lives as long as the tab, unless it is to be remembered. */
export const token = {
  read: () => stored(sessionStorage) ?? stored(localStorage),
  keep(value, remember) {
    token.forget();
    (remember ? localStorage : sessionStorage).setItem(TOKEN, value);
  },
  forget() {
    sessionStorage.removeItem(TOKEN);
    localStorage.removeItem(TOKEN);
  },
};

const stored = (storage) => storage.getItem(TOKEN);

let onForbidden = () => {};
/** Whom to tell that the engine wants a token, or another one. */
export const whenForbidden = (listener) => (onForbidden = listener);

export const headers = (more = {}) => {
  const value = token.read();
  return value === null ? more : { ...more, authorization: `Bearer ${value}` };
};

/** What the token may; null before the engine has said it. */
let known = null;
/** Asks the engine. A failure is the engine's, or that of the way to it; pages then offer everything, and the engine refuses. */
export const access = {
  async load() {
    known = null;
    known = await get("/tokens/self");
  },
  may: (permission) => known?.may.includes(permission) ?? true,
  /** What a call to an actor brings: the token only where one is needed, and so taken out by the engine. */
  callHeaders() {
    const value = token.read();
    return known?.calls_need_token && value !== null ? { "x-rivet-token": value } : {};
  },
};

/** A path with its query. Values that are null, undefined, false or empty are left out. */
export function address(path, query = {}) {
  const pairs = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== false && value !== "") pairs.append(name, value);
  }
  const text = pairs.toString();
  return text ? `${path}?${text}` : path;
}

async function send(method, path, { query, body, signal } = {}) {
  const json = body === undefined ? {} : { "content-type": "application/json" };
  let response;
  try {
    response = await fetch(address(path, query), {
      method,
      headers: headers(json),
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
      cache: "no-store",
    });
  } catch (cause) {
    if (signal?.aborted) throw cause;
    throw unreachable();
  }
  if (!response.ok) throw heard(await failure(response));
  return response;
}

export const unreachable = () => new Failure({ message: "the engine does not answer; see whether it runs and can be reached from here" });

async function failure(response) {
  const text = await response.text().catch(() => "");
  return refusal(response.status, text, response.headers.get("x-rivet-ray-id"));
}

/** What an answer that is no success says. */
export function refusal(status, text, ray = null) {
  try {
    const { group, code, message, metadata } = JSON.parse(text);
    if (group && code) return new Failure({ status, group, code, message, metadata, ray });
  } catch {
    // Not the engine's words: something between it and this page has answered.
  }
  return new Failure({ status, message: `the answer has status ${status}: ${text.slice(0, 200) || "nothing more"}`, ray });
}

/** Every failure comes by here, so that no part of the page forgets about the token. */
export function heard(failure) {
  if (failure.isForbidden && !failure.isBeyondToken) onForbidden();
  return failure;
}

const json = async (...call) => (await send(...call)).json();
export const get = (path, query, signal) => json("GET", path, { query, signal });
export const post = (path, query, body = {}) => json("POST", path, { query, body });
export const put = (path, query, body) => json("PUT", path, { query, body });
export const remove = (path, query) => json("DELETE", path, { query });

/** All pages of a list, at most `most` entries. */
export async function all(path, query, pick, signal, most = 5000) {
  const found = [];
  let cursor;
  while (found.length < most) {
    const page = await get(path, { ...query, limit: 1000, cursor }, signal);
    const entries = pick(page);
    found.push(...entries);
    cursor = page.pagination?.cursor;
    if (!cursor || entries.length < 1000) break;
  }
  return found;
}

/** The lines of an NDJSON answer, as they come. */
export async function* lines(path, query, signal) {
  const response = await send("GET", path, { query, signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    const pieces = (rest + (value ?? "")).split("\n");
    rest = pieces.pop();
    const whole = pieces.filter(Boolean).map((piece) => JSON.parse(piece));
    if (whole.length) yield whole;
    if (done) return;
  }
}

/** Deploys `file`. `tell` hears of the upload's bytes, then of each line of progress. The live version. */
export function deploy(name, query, file, tell, signal) {
  return new Promise((resolve, reject) => {
    // Not fetch: it does not say how much was sent.
    const request = new XMLHttpRequest();
    request.open("PUT", address(`/deployments/${encodeURIComponent(name)}`, query));
    for (const [header, value] of Object.entries(headers({ accept: "application/x-ndjson" }))) request.setRequestHeader(header, value);
    let told = 0;
    let last = null;
    const read = () => {
      const whole = request.responseText.lastIndexOf("\n") + 1;
      for (const line of request.responseText.slice(told, whole).split("\n").filter(Boolean)) {
        last = JSON.parse(line);
        tell(last);
      }
      told = whole;
    };
    request.upload.addEventListener("progress", ({ loaded, total }) => tell({ phase: "sending", loaded, total }));
    request.addEventListener("progress", () => request.status === 200 && read());
    request.addEventListener("error", () => reject(unreachable()));
    request.addEventListener("abort", () => reject(new Failure({ message: "the upload was stopped" })));
    request.addEventListener("load", () => {
      if (request.status !== 200) {
        return reject(heard(refusal(request.status, request.responseText, request.getResponseHeader("x-rivet-ray-id"))));
      }
      read();
      if (last?.phase === "live") resolve(last);
      else reject(new Failure(last?.error ?? { message: "the engine stopped answering before the version was live; see the versions below" }));
    });
    signal?.addEventListener("abort", () => request.abort());
    request.send(file);
  });
}
