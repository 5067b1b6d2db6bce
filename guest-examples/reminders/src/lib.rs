//! An actor that wakes itself: texts that are due at a moment, whether or not anybody asks.
//!
//! A reminder is one key, `todo/DUE/NUMBER`, with the moment in front, so that the order of the keys is the order in time. The actor
//! has one alarm; it always stands at the first key. Key and alarm are written in one message: neither exists without the other.

wit_bindgen::generate!({ path: "wit", generate_all });

use exports::rivet::actor::{alarm_handler, http_handler, start_handler};
use http_handler::{Request, Response};
use rivet::actor::{alarm, kv, logging, types::Error, types::Header};

/// All reminders that one alarm moves must fit into one message's writes, which may have 999424 bytes.
const TEXT_BYTES_MAX: usize = 4096;
const MOVED_AT_ONCE_MAX: u32 = 100;

struct Reminders;
export!(Reminders);

impl start_handler::Guest for Reminders {
    fn start(reason: start_handler::StartReason) -> Result<(), String> {
        logging::log(logging::Level::Info, &format!("started: {reason:?}"));
        Ok(())
    }
}

impl alarm_handler::Guest for Reminders {
    fn fired(scheduled: u64, attempt: u32) -> Result<(), String> {
        let moved = move_due(scheduled.max(now_ms())).map_err(|error| format!("{error:?}"))?;
        logging::log(logging::Level::Info, &format!("{moved} due at {scheduled} (attempt {attempt})"));
        Ok(())
    }
}

impl http_handler::Guest for Reminders {
    fn handle(request: Request) -> Response {
        let answer = match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/reminders") => all(),
            ("POST", "/reminders") => match (in_ms(request.query.as_deref()), one_line(request.body)) {
                (Some(in_ms), Some(line)) => add(now_ms().saturating_add(in_ms), &line),
                (None, _) => return text(400, "say when: ?in_ms=1000"),
                (_, None) => return text(400, "the body must be one line of UTF-8 with at most 4096 bytes"),
            },
            (_, "/reminders") => return text(405, "use GET or POST"),
            _ => return text(404, "there is only /reminders"),
        };
        answer.map_or_else(|error| text(500, &format!("{error:?}")), |lines| text(200, &lines))
    }
}

fn add(due: u64, line: &str) -> Result<String, Error> {
    let number = kv::get(b"last-number")?.map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().expect("eight bytes"))) + 1;
    kv::put(b"last-number", &number.to_le_bytes())?;
    // Fixed width, so that the order of the bytes is the order of the numbers.
    kv::put(format!("todo/{due:016x}/{number:016x}").as_bytes(), line.as_bytes())?;
    set_alarm_to_first()?;
    Ok(format!("todo {due} {line}"))
}

/// Those that were due at `now`, from `todo/` to `done/`. What is left over has its own alarm, which may be due at once.
fn move_due(now: u64) -> Result<usize, Error> {
    let end = format!("todo/{:016x}", now.saturating_add(1));
    let due = kv::Selector::Range(kv::KeyRange { start: b"todo/".into(), end: Some(end.into()) });
    let entries = kv::list(&due, options(Some(MOVED_AT_ONCE_MAX)))?;
    for entry in &entries {
        kv::put(&[b"done/", &entry.key[b"todo/".len()..]].concat(), &entry.value)?;
        kv::delete(&entry.key)?;
    }
    set_alarm_to_first()?;
    Ok(entries.len())
}

fn set_alarm_to_first() -> Result<(), Error> {
    match kv::list(&kv::Selector::Prefix(b"todo/".into()), options(Some(1)))?.first() {
        Some(first) => alarm::set(due_of(first)),
        None => alarm::clear(),
    }
}

/// One line each: `todo` or `done`, the moment in milliseconds, the text.
fn all() -> Result<String, Error> {
    let mut lines = Vec::new();
    for state in ["todo", "done"] {
        for entry in kv::list(&kv::Selector::Prefix(format!("{state}/").into()), options(None))? {
            lines.push(format!("{state} {} {}", due_of(&entry), String::from_utf8_lossy(&entry.value)));
        }
    }
    Ok(lines.join("\n"))
}

fn due_of(entry: &kv::Entry) -> u64 {
    let digits = entry.key.get(5..21).and_then(|digits| std::str::from_utf8(digits).ok());
    digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()).expect("only `add` makes these keys")
}

fn options(limit: Option<u32>) -> kv::ListOptions {
    kv::ListOptions { reverse: false, limit, keys_only: false }
}

fn in_ms(query: Option<&str>) -> Option<u64> {
    query?.split('&').find_map(|pair| pair.strip_prefix("in_ms="))?.parse().ok()
}

fn one_line(body: Vec<u8>) -> Option<String> {
    String::from_utf8(body).ok().filter(|line| line.len() <= TEXT_BYTES_MAX && !line.contains('\n'))
}

/// By WASI's clock rather than `std::time`, which has none where the target is wasm32-unknown-unknown.
fn now_ms() -> u64 {
    let now = wasi::clocks::wall_clock::now();
    now.seconds * 1000 + u64::from(now.nanoseconds / 1_000_000)
}

fn text(status: u16, lines: &str) -> Response {
    let headers = vec![Header { name: "content-type".into(), value: b"text/plain; charset=utf-8".to_vec() }];
    Response { status, headers, body: format!("{lines}\n").into_bytes() }
}
