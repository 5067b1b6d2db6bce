//! What the engine calls: one trait for each kind of call.

use serde_json::Value;

pub use crate::bindings::action::exports::rivet::actor::action_handler::Origin;
pub use crate::bindings::websocket::exports::rivet::actor::websocket_handler::OpenRequest;
use crate::{Args, Failure, Message, Request, Response, StartReason, StopReason};

/// An action that is called: by a client, another actor, or a schedule.
#[derive(Clone, Debug)]
pub struct Action {
    pub name: String,
    /// As they came; [`Action::args`] gives them types.
    pub values: Vec<Value>,
    /// Who calls.
    pub origin: Origin,
}

impl Action {
    /// Its arguments as a tuple; a failure `invalid_argument` that says which one does not fit.
    ///
    /// ```
    /// use rivet_actor::{Action, Origin, json};
    ///
    /// let call = Action { name: "add".into(), values: vec![json!(5)], origin: Origin::Http };
    /// let (by, note): (i64, Option<String>) = call.args().unwrap();
    /// assert_eq!((by, note), (5, None));
    /// ```
    pub fn args<A: Args>(&self) -> Result<A, Failure> {
        A::from_values(self.values.clone())
    }

    /// The answer for a name that the actor does not have.
    pub fn unknown<T>(&self) -> Result<T, Failure> {
        Err(Failure::new("action_not_found", format!("there is no action {}", self.name)))
    }
}

/// A message of the actor's queue.
#[derive(Clone, Debug)]
pub struct Queued {
    /// Only grows.
    pub id: u64,
    /// Which queue, as the sender named it.
    pub name: String,
    pub body: Value,
    /// Milliseconds since 1970.
    pub queued_at: u64,
    /// Counts from 1.
    pub attempt: u32,
}

/// Answers actions.
pub trait Actions {
    fn action(&mut self, call: Action) -> Result<Value, Failure>;
}

/// Handles messages of the actor's queue.
pub trait Queues {
    /// What it returns goes to the sender, if that waits. A failure keeps the message, for another attempt.
    fn message(&mut self, message: Queued) -> Result<Option<Value>, Failure>;
}

/// Told when RivetKit clients connect and disconnect. Without it everyone may connect.
pub trait Connections {
    /// What it returns is the connection's state. A failure refuses the client.
    fn connect(&mut self, _id: &str, _params: Option<Value>) -> Result<Vec<u8>, Failure> {
        Ok(Vec::new())
    }

    fn disconnect(&mut self, _id: &str) {}
}

/// Takes WebSockets. They outlive the actor's time in memory: a message wakes it.
pub trait WebSockets {
    /// What it returns is the connection's state. A failure closes the socket.
    fn open(&mut self, _id: &str, _request: OpenRequest) -> Result<Vec<u8>, Failure> {
        Ok(Vec::new())
    }

    fn receive(&mut self, id: &str, message: Message);

    /// Without a code if the client was gone without a word.
    fn close(&mut self, _id: &str, _code: Option<u16>, _reason: Option<String>) {}
}

/// Answers HTTP requests whose body is small enough to be held whole.
pub trait Http {
    fn request(&mut self, request: Request) -> Response;
}

/// Called when the actor comes into memory, before any other handler but [`Migrate`].
pub trait Start {
    /// An error stops the actor; the text reaches the caller that woke it.
    fn start(&mut self, reason: StartReason) -> Result<(), String>;
}

/// Called before the actor leaves memory. Not called after a crash.
pub trait Stop {
    fn stop(&mut self, reason: StopReason);
}

/// Called once when this version takes over from another, before [`Start`].
pub trait Migrate {
    /// The version that the actor's state was written by. An error leaves the actor with the version that it had.
    fn migrate(&mut self, from_version: u32) -> Result<(), String>;
}

/// Called when the [`alarm`](crate::alarm) is due.
pub trait Alarms {
    /// `attempt` counts from 1. An error drops what was written and lets the alarm fire again later.
    fn fired(&mut self, scheduled_ms: u64, attempt: u32) -> Result<(), String>;
}
