//! One guest with every bad behaviour a test may want, and a few plain ones to see what was left behind.
//!
//! Over HTTP the path chooses (`http.rs` is the list). The other handlers take orders (`orders.rs`): they first write down that they
//! ran and then misbehave, so that a test can see whether the write was dropped.

mod http;
mod misdeeds;
mod orders;
mod query;

wit_bindgen::generate!({ path: "wit", generate_all });

use std::sync::Once;

use exports::rivet::actor::{alarm_handler, http_handler, start_handler, stop_handler};
use orders::{Order, order_for};
use rivet::actor::{alarm, context, kv, logging};

struct Hostile;
export!(Hostile);

impl start_handler::Guest for Hostile {
    fn start(reason: start_handler::StartReason) -> Result<(), String> {
        let reason = match reason {
            start_handler::StartReason::Created => "created",
            start_handler::StartReason::Woken => "woken",
            start_handler::StartReason::Restarted => "restarted",
            start_handler::StartReason::Upgraded => "upgraded",
        };
        report_panics();
        logging::log(logging::Level::Info, &format!("start: {reason}"));
        append("started/", reason);
        order_for("start").map_or(Ok(()), |order| carry_out("start", order))
    }
}

impl stop_handler::Guest for Hostile {
    fn stop(reason: stop_handler::StopReason) {
        let reason = match reason {
            stop_handler::StopReason::Sleep => "sleep",
            stop_handler::StopReason::Destroy => "destroy",
            stop_handler::StopReason::GoingAway => "going-away",
        };
        report_panics();
        logging::log(logging::Level::Info, &format!("stop: {reason}"));
        append("stopped/", reason);
        if let Some(order) = order_for("stop") {
            // The stop handler has no way to refuse.
            let _ = carry_out("stop", order);
        }
    }
}

impl alarm_handler::Guest for Hostile {
    fn fired(scheduled: u64, attempt: u32) -> Result<(), String> {
        report_panics();
        logging::log(logging::Level::Info, &format!("alarm: scheduled {scheduled}, attempt {attempt}"));
        append("fired/", &format!("attempt={attempt} scheduled={scheduled}"));
        match order_for("alarm") {
            Some(Order::Again(in_ms)) => alarm::set(now_ms() + in_ms).map_err(|error| format!("{error:?}")),
            Some(Order::UpTo(last_bad, order)) if attempt <= last_bad => carry_out("alarm", *order),
            Some(Order::UpTo(..)) | None => Ok(()),
            Some(order) => carry_out("alarm", order),
        }
    }
}

impl http_handler::Guest for Hostile {
    fn handle(request: http_handler::Request) -> http_handler::Response {
        report_panics();
        http::handle(request)
    }
}

fn carry_out(handler: &str, order: Order) -> Result<(), String> {
    match order {
        Order::Panic => panic!("{handler} was told to panic"),
        Order::Error => return Err(format!("{handler} was told to fail")),
        Order::Loop => misdeeds::run_forever(),
        Order::Sleep => context::sleep(),
        Order::Destroy => context::destroy(),
        Order::Again(_) | Order::UpTo(..) => panic!("only the alarm handler takes this order"),
    }
    Ok(())
}

/// On wasm32-unknown-unknown a panic's text has nowhere to go but the actor's log.
fn report_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| std::panic::set_hook(Box::new(|panic| logging::log(logging::Level::Error, &panic.to_string()))));
}

/// Writes `value` under the next number below `prefix`: `fired/00000001`, `fired/00000002`, ...
fn append(prefix: &str, value: &str) {
    let options = kv::ListOptions { reverse: true, limit: Some(1), keys_only: true };
    let last = kv::list(&kv::Selector::Prefix(prefix.into()), options).expect("a short prefix can be listed");
    let number = last.first().map_or(0, |entry| {
        let digits = std::str::from_utf8(&entry.key[prefix.len()..]).expect("only `append` writes below this prefix");
        digits.parse::<u32>().expect("only `append` writes below this prefix")
    });
    kv::put(format!("{prefix}{:08}", number + 1).as_bytes(), value.as_bytes()).expect("a few bytes can be stored");
}

fn now_ms() -> u64 {
    let now = wasi::clocks::wall_clock::now();
    now.seconds * 1000 + u64::from(now.nanoseconds / 1_000_000)
}
