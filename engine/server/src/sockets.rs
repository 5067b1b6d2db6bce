//! The WebSockets that are open between clients and actors.

use protocol::id::{RequestId, RunnerId};
use protocol::message::FromRunner;

use crate::engine::Engine;
use crate::requests::Place;

#[derive(Default)]
pub struct Sockets;

impl Sockets {
    /// False if it is no socket.
    pub fn dispatch(&self, _request: RequestId, _place: &Place) -> bool {
        false
    }

    pub fn hibernate(&self, _request: RequestId) {}

    pub fn hear(&self, _engine: &Engine, _runner: RunnerId, _message: FromRunner) {}
}
