//! One guest for everything that `rivet:actor` 0.2 offers. Every handler takes orders, one a line, and carries them out in their order
//! (`orders.rs` is the list); what they gave is the answer, one a line.
//!
//! Over HTTP the body is the orders; an action's arguments and a message of the queue are JSON arrays of them, in strings without escapes.
//! Every action and every message of the queue is written down below `did/`, in its own transaction.

mod orders;

wit_bindgen::generate!({ path: "wit", generate_all });

use std::sync::Once;

use exports::rivet::actor::{
    action_handler, alarm_handler, connection_handler, http_handler, migrate_handler, queue_handler, start_handler, stop_handler,
    websocket_handler,
};
use orders::{Ended, carry_out, write_down};
use rivet::actor::types::{Failure, Message};
use rivet::actor::{context, logging};

struct EveryFeature;
export!(EveryFeature);

impl migrate_handler::Guest for EveryFeature {
    fn migrate(from_version: u32) -> Result<(), String> {
        report_panics();
        write_down(&format!("migrate {from_version}"));
        let input = context::input().unwrap_or_default();
        carry_out(String::from_utf8_lossy(&input).lines(), 1).map(drop).map_err(|Ended(code)| code)
    }
}

impl start_handler::Guest for EveryFeature {
    fn start(_reason: start_handler::StartReason) -> Result<(), String> {
        report_panics();
        Ok(())
    }
}

impl stop_handler::Guest for EveryFeature {
    fn stop(_reason: stop_handler::StopReason) {}
}

impl alarm_handler::Guest for EveryFeature {
    fn fired(scheduled: u64, attempt: u32) -> Result<(), String> {
        write_down(&format!("alarm {scheduled} attempt {attempt}"));
        match orders::alarm_fails(attempt) {
            true => Err("the alarm was told to fail".to_string()),
            false => Ok(()),
        }
    }
}

impl action_handler::Guest for EveryFeature {
    fn handle(call: action_handler::Call) -> Result<String, Failure> {
        use action_handler::Origin;
        let (origin, attempt) = match call.origin {
            Origin::Http => ("http".to_string(), 1),
            Origin::Connection(id) => (format!("connection {id}"), 1),
            Origin::Actor(id) => (format!("actor {id}"), 1),
            Origin::Schedule(scheduled) => {
                (format!("schedule {} at {} attempt {}", scheduled.id, scheduled.at, scheduled.attempt), scheduled.attempt)
            }
        };
        write_down(&format!("{} by {origin}", call.name));
        let lines = carry_out(strings(&call.args), attempt).map_err(failure)?;
        Ok(format!("{lines:?}"))
    }
}

impl queue_handler::Guest for EveryFeature {
    fn handle(message: queue_handler::Queued) -> Result<Option<String>, Failure> {
        write_down(&format!("{} {} attempt {}", message.name, message.id, message.attempt));
        let lines = carry_out(strings(&message.body), message.attempt).map_err(failure)?;
        Ok((!lines.is_empty()).then(|| format!("{lines:?}")))
    }
}

impl connection_handler::Guest for EveryFeature {
    fn connect(id: String, params: Option<String>) -> Result<Vec<u8>, Failure> {
        write_down(&format!("connect {params:?}"));
        match params.as_deref() {
            Some("\"refuse\"") => Err(failure(Ended("refused".to_string()))),
            _ => Ok(id.into_bytes()),
        }
    }

    fn disconnect(_id: String) {
        write_down("disconnect");
    }
}

impl websocket_handler::Guest for EveryFeature {
    fn open(_id: String, request: websocket_handler::OpenRequest) -> Result<Vec<u8>, Failure> {
        write_down(&format!("open {}", request.path));
        Ok(Vec::new())
    }

    fn receive(_id: String, message: Message) {
        match message {
            Message::Text(text) => write_down(&format!("text {text}")),
            Message::Binary(bytes) => write_down(&format!("binary {}", bytes.len())),
        }
    }

    fn close(_id: String, code: Option<u16>, _reason: Option<String>) {
        write_down(&format!("close {code:?}"));
    }
}

impl http_handler::Guest for EveryFeature {
    fn handle(request: http_handler::Request) -> http_handler::Response {
        let (status, body) = match carry_out(String::from_utf8_lossy(&request.body).lines(), 1) {
            Ok(lines) => (200, lines.join("\n")),
            Err(Ended(code)) => (500, code),
        };
        http_handler::Response { status, headers: Vec::new(), body: body.into_bytes() }
    }
}

fn failure(Ended(code): Ended) -> Failure {
    Failure { message: format!("it was told to end with {code}"), code, metadata: None }
}

/// The strings of a JSON array of them, without escapes.
fn strings(json: &str) -> impl Iterator<Item = &str> {
    json.split('"').skip(1).step_by(2)
}

/// A panic's text has nowhere to go but the actor's log.
fn report_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| std::panic::set_hook(Box::new(|panic| logging::log(logging::Level::Error, &panic.to_string()))));
}
