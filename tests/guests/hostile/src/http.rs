//! The list of what can be asked of this guest over HTTP, one arm each.
//!
//! An answer is text: `ok`, the thing asked for, or status 409 with `REASON: TEXT` when the host refused a call.

use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::exports::rivet::actor::http_handler::{Request, Response};
use crate::misdeeds;
use crate::query::{Query, encode};
use crate::rivet::actor::types::{Error, Header};
use crate::rivet::actor::{alarm, context, kv, logging};
use crate::wasi::{cli::environment, filesystem::preopens, random::random};

/// Lives in the instance's memory only: it starts again at 1 when the instance was thrown away.
static CALLS: AtomicU64 = AtomicU64::new(0);

pub fn handle(request: Request) -> Response {
    let query = Query::parse(request.query.as_deref().unwrap_or_default());
    answer(request, &query).unwrap_or_else(|refusal| text(409, describe(&refusal)))
}

fn answer(request: Request, query: &Query) -> Result<Response, Error> {
    let key = query.bytes("key").unwrap_or(b"key");
    let value = query.bytes("value").unwrap_or(b"value");
    let done = || text(200, "ok");
    Ok(match request.path.as_str() {
        // Things that end the instance.
        "/loop" => misdeeds::run_forever(),
        "/bomb" => misdeeds::allocate_forever(),
        "/stack" => text(200, misdeeds::recurse_forever()),
        "/stack-memory" => text(200, misdeeds::recurse_with_frames_forever()),
        "/panic" => panic!("told to panic"),
        "/unreachable" => unreachable(),
        "/write-then-panic" => {
            kv::put(key, value)?;
            panic!("told to panic after a write")
        }
        "/write-then-loop" => {
            kv::put(key, value)?;
            misdeeds::run_forever()
        }
        "/alarm-then-panic" => {
            alarm::set(moment(query))?;
            panic!("told to panic after setting an alarm")
        }

        // Answers no HTTP client should be shown as they are.
        "/garbage-status" => text(0, ""),
        "/garbage-status-9999" => text(9999, ""),
        "/garbage-header" => with_header(b"not a name", b"one\r\nset-cookie: two"),
        "/header" => with_header(query.bytes("name").unwrap_or(b"x-name"), value),
        "/many-headers" => {
            let headers = (0..query.number("n")).map(|n| Header { name: format!("x-{n}"), value: b"value".to_vec() }).collect();
            Response { headers, ..text(200, "ok") }
        }
        "/status" => text(query.number("code") as u16, ""),
        "/huge-response" => Response { status: 200, headers: vec![], body: vec![b'x'; query.number("bytes") as usize] },

        // Storage, within and beyond its limits.
        "/put" => kv::put(key, value).map(|()| done())?,
        "/get" => kv::get(key)?.map_or_else(|| text(404, "no such key"), |body| Response { status: 200, headers: vec![], body }),
        "/delete" => kv::delete(key).map(|()| done())?,
        "/list" => list(query, query.has("limit").then(|| query.number("limit") as u32))?,
        "/list-limit-max" => list(query, Some(u32::MAX))?,
        "/put-key-bytes" => kv::put(&vec![b'k'; query.number("n") as usize], value).map(|()| done())?,
        "/put-value-bytes" => kv::put(key, &vec![b'v'; query.number("n") as usize]).map(|()| done())?,
        "/put-many" => {
            let value = vec![b'v'; query.number("bytes") as usize];
            for n in 0..query.number("n") {
                kv::put(format!("many/{n:08}").as_bytes(), &value)?;
            }
            done()
        }
        "/hostcalls" => {
            for _ in 0..query.number("n") {
                kv::get(key)?;
            }
            done()
        }

        // The alarm: `at_ms` since 1970, or `in_ms` from now.
        "/alarm" => alarm::set(moment(query)).map(|()| done())?,
        "/alarm-get" => alarm::get().map_or_else(|| text(200, "none"), |at| text(200, at)),
        "/alarm-clear" => alarm::clear().map(|()| done())?,

        // What the actor may say and ask.
        "/log" => {
            let line = "l".repeat(query.number("bytes") as usize);
            for _ in 0..query.number("n") {
                logging::log(logging::Level::Info, &line);
            }
            done()
        }
        "/say" => {
            logging::log(logging::Level::Warn, &String::from_utf8_lossy(value));
            done()
        }
        "/sleep" => {
            context::sleep();
            done()
        }
        "/destroy" => {
            context::destroy();
            done()
        }
        "/info" => Response { headers: vec![header("content-type", "application/json")], ..text(200, info()) },
        "/input" => Response { status: 200, headers: vec![], body: context::input().unwrap_or_default() },

        // What of the request arrived, what of the instance was kept, what of the machine can be seen.
        "/echo" => Response { status: 200, headers: vec![], body: request.body },
        "/request" => text(200, format!("{} {} {:?} {} bytes", request.method, request.path, request.query, request.body.len())),
        "/headers" => {
            text(200, lines(request.headers.iter().map(|h| format!("{}: {}", h.name, String::from_utf8_lossy(&h.value)))))
        }
        "/count" => text(200, CALLS.fetch_add(1, Ordering::Relaxed) + 1),
        "/hoard" => {
            misdeeds::hoard(query.number("bytes") as usize);
            done()
        }
        "/spin" => text(200, misdeeds::spin(query.number("iterations"))),
        "/clock" => text(200, crate::now_ms()),
        "/random" => text(200, encode(&random::get_random_bytes(query.number("bytes")))),
        "/fs" => text(200, machine()),
        _ => text(404, "see tests/guests/hostile/src/http.rs"),
    })
}

#[cfg(target_arch = "wasm32")]
fn unreachable() -> ! {
    core::arch::wasm32::unreachable()
}

#[cfg(not(target_arch = "wasm32"))]
fn unreachable() -> ! {
    std::process::abort()
}

fn moment(query: &Query) -> u64 {
    if query.has("at_ms") { query.number("at_ms") } else { crate::now_ms() + query.number("in_ms") }
}

/// One line an entry, `key=value`, both percent-encoded.
fn list(query: &Query, limit: Option<u32>) -> Result<Response, Error> {
    let selector = match (query.bytes("prefix"), query.bytes("start"), query.bytes("end")) {
        (Some(prefix), _, _) => kv::Selector::Prefix(prefix.into()),
        (None, None, None) => kv::Selector::All,
        (None, start, end) => {
            kv::Selector::Range(kv::KeyRange { start: start.unwrap_or_default().into(), end: end.map(Into::into) })
        }
    };
    let options = kv::ListOptions { reverse: query.has("reverse"), limit, keys_only: query.has("keys_only") };
    let entries = kv::list(&selector, options)?;
    Ok(text(200, lines(entries.iter().map(|entry| format!("{}={}", encode(&entry.key), encode(&entry.value))))))
}

fn info() -> String {
    let info = context::info();
    let key =
        info.key.map_or("null".into(), |parts| format!("[{}]", parts.iter().map(|part| json(part)).collect::<Vec<_>>().join(",")));
    let input = context::input().map_or("null".into(), |bytes| bytes.len().to_string());
    format!(
        r#"{{"id":{},"name":{},"key":{key},"generation":{},"created_at":{},"input_bytes":{input}}}"#,
        json(&info.id),
        json(&info.name),
        info.generation,
        info.created_at,
    )
}

fn json(text: &str) -> String {
    let escaped: String = text.chars().fold(String::new(), |mut out, c| {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if u32::from(c) < 0x20 => out += &format!("\\u{:04x}", u32::from(c)),
            c => out.push(c),
        }
        out
    });
    format!("\"{escaped}\"")
}

/// A well-behaved host answers `0 folders, 0 variables, 0 arguments` and that there is no such file.
fn machine() -> String {
    let opened = std::fs::read("/etc/passwd").map_or_else(|error| error.to_string(), |bytes| format!("{} bytes", bytes.len()));
    let folders = preopens::get_directories().len();
    let variables = environment::get_environment().len();
    let arguments = environment::get_arguments().len();
    format!("{folders} folders, {variables} variables, {arguments} arguments; /etc/passwd: {opened}")
}

fn describe(error: &Error) -> String {
    match error {
        Error::InvalidArgument(text) => format!("invalid-argument: {text}"),
        Error::TooLarge(text) => format!("too-large: {text}"),
        Error::QuotaExceeded(text) => format!("quota-exceeded: {text}"),
        Error::Other(text) => format!("other: {text}"),
    }
}

fn lines(lines: impl Iterator<Item = String>) -> String {
    lines.collect::<Vec<_>>().join("\n")
}

fn with_header(name: &[u8], value: &[u8]) -> Response {
    let header = Header { name: String::from_utf8_lossy(name).into(), value: value.into() };
    Response { headers: vec![header], ..text(200, "ok") }
}

fn header(name: &str, value: &str) -> Header {
    Header { name: name.into(), value: value.into() }
}

/// No newline at the end, so that a test compares with what it expects and nothing more.
fn text(status: u16, body: impl Display) -> Response {
    Response { status, headers: vec![header("content-type", "text/plain; charset=utf-8")], body: body.to_string().into_bytes() }
}
