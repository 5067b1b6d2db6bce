//! Write stateful actors for rivet-engine in Rust.
//!
//! An actor is a type, a trait for each kind of call that it answers, and one line that exports them:
//!
//! ```
//! use rivet_actor::{Action, Actions, Failure, Http, Request, Response, Value, connections, kv, reply};
//!
//! #[derive(Default)]
//! struct Counter;
//!
//! rivet_actor::export!(Counter: Actions + Http);
//!
//! impl Actions for Counter {
//!     fn action(&mut self, call: Action) -> Result<Value, Failure> {
//!         match call.name.as_str() {
//!             "increment" => {
//!                 let (by,): (Option<i64>,) = call.args()?;
//!                 let count = kv::get_json::<i64>("count")?.unwrap_or(0) + by.unwrap_or(1);
//!                 kv::put_json("count", &count)?;
//!                 connections::broadcast("changed", (count,))?;
//!                 reply(count)
//!             }
//!             _ => call.unknown(),
//!         }
//!     }
//! }
//!
//! impl Http for Counter {
//!     fn request(&mut self, _request: Request) -> Response {
//!         Response::text(200, "I count")
//!     }
//! }
//! ```
//!
//! Build it with `cargo build --release --target wasm32-wasip2`; what comes out can be deployed as it is.
//!
//! # What to know
//!
//! - **One call at a time, and one call is one transaction.** What a handler writes is durable as a whole when it returns, and only
//!   then does what it said leave the engine. A panic drops all that the call wrote. A [`Failure`] does not: it is an answer.
//! - **The actor's own type is memory**: it is made by `Default` when the actor comes into memory, and gone when the actor sleeps, is
//!   upgraded, or panics. What must outlive that goes to [`kv`] or [`sql`].
//! - **Only what `export!` names is exported.** A component without [`Http`] has no HTTP handler, and the engine says so to clients.
//! - On `wasm32-unknown-unknown` the standard library has no clock, no randomness and no output. [`clock`], [`random`] and [`log`]
//!   work on every target; the text of a panic is logged.
//!
//! In reading order: [`handlers`](crate#traits) are what the engine calls, the modules are what an actor can call.

mod adapt;
mod answer;
#[doc(hidden)]
pub mod bindings;
mod export;
mod failure;
mod handlers;

pub mod actors;
pub mod alarm;
pub mod clock;
pub mod config;
pub mod connections;
pub mod context;
pub mod kv;
pub mod log;
pub mod queue;
pub mod random;
pub mod schedule;
pub mod sql;

#[doc(hidden)]
pub use adapt::{Adapter, Instance, first_call};
pub use answer::{Args, Header, Request, Response, from_json, reply};
pub use bindings::rivet::actor::types::{Error, Message};
pub use bindings::start::exports::rivet::actor::start_handler::StartReason;
pub use bindings::stop::exports::rivet::actor::stop_handler::StopReason;
pub use failure::Failure;
pub use handlers::{
    Action, Actions, Alarms, Connections, Http, Migrate, OpenRequest, Origin, Queued, Queues, Start, Stop, WebSockets,
};
pub use serde_json::{Value, json};
