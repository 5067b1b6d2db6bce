//! The actor's own durable queue; [`Queues::message`](crate::Queues::message) is called with what is in it, in order.

use serde::Serialize;

use crate::bindings::rivet::actor::queue;
use crate::{Error, failure};

/// Puts a message behind all others. Answers with its number, which only grows.
pub fn push(name: &str, body: impl Serialize) -> Result<u64, Error> {
    queue::push(name, &failure::encode(body)?)
}

/// How many wait, the one being handled included.
pub fn size() -> Result<u64, Error> {
    queue::size()
}
