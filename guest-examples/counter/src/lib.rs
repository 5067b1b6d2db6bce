//! The first actor to read: one number that survives restarts.
//!
//! Keeps nothing in memory. A read is served from the host's cache, and what a message writes is durable before its answer leaves.

wit_bindgen::generate!({ path: "wit", generate_all });

use exports::rivet::actor::http_handler::{Guest, Request, Response};
use rivet::actor::{kv, types::Header};

struct Counter;
export!(Counter);

impl Guest for Counter {
    fn handle(request: Request) -> Response {
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/") => text(200, count()),
            ("POST", "/increment") => match step(request.query.as_deref()) {
                Some(by) => text(200, add(by)),
                None => text(400, "`by` must be a whole number"),
            },
            (_, "/" | "/increment") => text(405, "use GET / or POST /increment"),
            _ => text(404, "there is only / and /increment"),
        }
    }
}

fn count() -> u64 {
    let stored = kv::get(b"count").expect("the key is short");
    stored.map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().expect("only `add` writes it")))
}

fn add(by: u64) -> u64 {
    let sum = count().saturating_add(by);
    // A panic drops all that this message wrote and fails the request: the state is never half changed.
    kv::put(b"count", &sum.to_le_bytes()).expect("the value is short");
    sum
}

/// `by=5` anywhere in the query; 1 without it.
fn step(query: Option<&str>) -> Option<u64> {
    let by = query.unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("by="));
    by.map_or(Some(1), |number| number.parse().ok())
}

fn text(status: u16, line: impl std::fmt::Display) -> Response {
    let headers = vec![Header { name: "content-type".into(), value: b"text/plain; charset=utf-8".to_vec() }];
    Response { status, headers, body: format!("{line}\n").into_bytes() }
}
