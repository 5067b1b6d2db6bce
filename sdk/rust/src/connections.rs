//! The sockets that clients have open to this actor.

use serde::Serialize;

use crate::bindings::rivet::actor::connections;
pub use crate::bindings::rivet::actor::connections::{Connection, Kind};
use crate::{Error, Message, failure};

pub fn get(id: &str) -> Option<Connection> {
    connections::get(id)
}

pub fn list() -> Vec<Connection> {
    connections::list()
}

/// An event to every RivetKit client that has subscribed to its name; answers with how many. The arguments are a tuple.
pub fn broadcast(event: &str, args: impl Serialize) -> Result<u32, Error> {
    connections::broadcast(event, &failure::encode_args(args)?)
}

/// An event to one RivetKit client.
pub fn send_event(id: &str, event: &str, args: impl Serialize) -> Result<(), Error> {
    connections::send_event(id, event, &failure::encode_args(args)?)
}

/// A message to one WebSocket. One that is gone is no error: it may have closed this moment.
pub fn send(id: &str, message: &Message) -> Result<(), Error> {
    connections::send(id, message)
}

/// At most 65536 bytes; there again when the actor wakes.
pub fn set_state(id: &str, state: &[u8]) -> Result<(), Error> {
    connections::set_state(id, state)
}

/// 1000 without a code.
pub fn close(id: &str, code: Option<u16>, reason: Option<&str>) -> Result<(), Error> {
    connections::close(id, code, reason)
}

impl From<&str> for Message {
    fn from(text: &str) -> Message {
        Message::Text(text.into())
    }
}

impl From<String> for Message {
    fn from(text: String) -> Message {
        Message::Text(text)
    }
}
