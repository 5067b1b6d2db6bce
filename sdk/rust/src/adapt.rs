//! From the engine's calls to the traits of an actor.

use std::marker::PhantomData;

use serde_json::Value;

use crate::bindings::rivet::actor::types::{self, Message};
use crate::bindings::{action, alarm, connection, http, migrate, queue, start, stop, websocket};
use crate::{
    Action, Actions, Alarms, Connections, Http, Migrate, OpenRequest, Queued, Queues, Request, Response, Start, StartReason, Stop,
    StopReason, WebSockets, log,
};

/// An actor's one instance, as long as it is in memory. `export!` implements it.
pub trait Instance: Sized {
    fn with<R>(call: impl FnOnce(&mut Self) -> R) -> R;
}

/// Implements the contract for an actor.
pub struct Adapter<A>(PhantomData<A>);

/// What must be so before anything of an actor runs.
pub fn first_call() {
    // On wasm32-unknown-unknown the text of a panic is lost otherwise: there is no standard error.
    std::panic::set_hook(Box::new(|panic| log::error(&panic.to_string())));
}

/// The engine writes it, so it is JSON.
fn decode(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("the engine passed what is not JSON: {error}"))
}

impl<A: Actions + Instance> action::exports::rivet::actor::action_handler::Guest for Adapter<A> {
    fn handle(call: action::exports::rivet::actor::action_handler::Call) -> Result<String, types::Failure> {
        let answer = A::with(|actor| {
            let Value::Array(values) = decode(&call.args) else { panic!("the engine passed arguments that are no array") };
            actor.action(Action { name: call.name, values, origin: call.origin })
        });
        Ok(answer.map(|value| value.to_string())?)
    }
}

impl<A: Queues + Instance> queue::exports::rivet::actor::queue_handler::Guest for Adapter<A> {
    fn handle(message: queue::exports::rivet::actor::queue_handler::Queued) -> Result<Option<String>, types::Failure> {
        let answer = A::with(|actor| {
            let body = decode(&message.body);
            let (id, queued_at, attempt) = (message.id, message.queued_at, message.attempt);
            actor.message(Queued { id, name: message.name, body, queued_at, attempt })
        });
        Ok(answer.map(|value| value.map(|value| value.to_string()))?)
    }
}

impl<A: Connections + Instance> connection::exports::rivet::actor::connection_handler::Guest for Adapter<A> {
    fn connect(id: String, params: Option<String>) -> Result<Vec<u8>, types::Failure> {
        Ok(A::with(|actor| actor.connect(&id, params.as_deref().map(decode)))?)
    }

    fn disconnect(id: String) {
        A::with(|actor| actor.disconnect(&id));
    }
}

impl<A: WebSockets + Instance> websocket::exports::rivet::actor::websocket_handler::Guest for Adapter<A> {
    fn open(id: String, request: OpenRequest) -> Result<Vec<u8>, types::Failure> {
        Ok(A::with(|actor| actor.open(&id, request))?)
    }

    fn receive(id: String, message: Message) {
        A::with(|actor| actor.receive(&id, message));
    }

    fn close(id: String, code: Option<u16>, reason: Option<String>) {
        A::with(|actor| actor.close(&id, code, reason));
    }
}

impl<A: Http + Instance> http::exports::rivet::actor::http_handler::Guest for Adapter<A> {
    fn handle(request: Request) -> Response {
        A::with(|actor| actor.request(request))
    }
}

impl<A: Start + Instance> start::exports::rivet::actor::start_handler::Guest for Adapter<A> {
    fn start(reason: StartReason) -> Result<(), String> {
        A::with(|actor| actor.start(reason))
    }
}

impl<A: Stop + Instance> stop::exports::rivet::actor::stop_handler::Guest for Adapter<A> {
    fn stop(reason: StopReason) {
        A::with(|actor| actor.stop(reason));
    }
}

impl<A: Migrate + Instance> migrate::exports::rivet::actor::migrate_handler::Guest for Adapter<A> {
    fn migrate(from_version: u32) -> Result<(), String> {
        A::with(|actor| actor.migrate(from_version))
    }
}

impl<A: Alarms + Instance> alarm::exports::rivet::actor::alarm_handler::Guest for Adapter<A> {
    fn fired(scheduled: u64, attempt: u32) -> Result<(), String> {
        A::with(|actor| actor.fired(scheduled, attempt))
    }
}
