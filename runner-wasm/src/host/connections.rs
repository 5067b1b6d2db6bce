//! `rivet:actor/connections`: the sockets that are open to this actor. What is said here leaves when the message is durable.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use protocol::id::RequestId;
use protocol::limits::SOCKET_MESSAGE_BYTES_MAX;

use super::Host;
use crate::actor::Books;
use crate::bindings::rivet::actor::{connections, types};
use crate::client::connection::{self, ToClient};
use crate::client::{Encoding, json};
use crate::config::{CLOSE_REASON_BYTES_MAX, OUTGOING_BYTES_MAX};
use crate::sockets::Said;
use crate::sockets::table::{Connection, Kind};
use crate::state::Refusal;

const CLOSE_NORMAL: u16 = 1000;
const EVENT_NAME_BYTES_MAX: usize = 1024;

type Answer<R> = wasmtime::Result<Result<R, types::Error>>;

impl connections::Host for Host {
    fn get(&mut self, id: String) -> wasmtime::Result<Option<connections::Connection>> {
        Ok(self.actor.books().sockets.find(&id).map(|(_, found)| shown(found)))
    }

    fn list(&mut self) -> wasmtime::Result<Vec<connections::Connection>> {
        Ok(self.actor.books().sockets.open().map(|(_, connection)| shown(connection)).collect())
    }

    fn broadcast(&mut self, event: String, args: String) -> Answer<u32> {
        Ok(self.broadcast_event(&event, &args).map_err(types::Error::from))
    }

    fn send_event(&mut self, id: String, event: String, args: String) -> Answer<()> {
        Ok(self.send_event_to(&id, &event, &args).map_err(types::Error::from))
    }

    fn send(&mut self, id: String, message: types::Message) -> Answer<()> {
        Ok(self.send_message(&id, message).map_err(types::Error::from))
    }

    fn set_state(&mut self, id: String, state: Vec<u8>) -> Answer<()> {
        let mut books = self.actor.books();
        let Books { sockets, state: entries, .. } = &mut *books;
        let set = match sockets.find(&id) {
            Some((request, _)) => sockets.set_state(entries, request, state),
            None => Err(unknown(&id)),
        };
        Ok(set.map_err(types::Error::from))
    }

    fn close(&mut self, id: String, code: Option<u16>, reason: Option<String>) -> Answer<()> {
        Ok(self.close_socket(&id, code.unwrap_or(CLOSE_NORMAL), reason.unwrap_or_default()).map_err(types::Error::from))
    }
}

impl Host {
    fn broadcast_event(&self, event: &str, args: &str) -> Result<u32, Refusal> {
        let mut books = self.actor.books();
        check_open(&books)?;
        check_event(event, args)?;
        let subscribed = |connection: &Connection| match &connection.meta.kind {
            Kind::Client { encoding, events, .. } if events.contains(event) => Some(*encoding),
            _ => None,
        };
        let open = books.sockets.open();
        let to: Vec<_> = open.filter_map(|(request, connection)| Some((request, subscribed(connection)?))).collect();
        let count = u32::try_from(to.len()).unwrap_or(u32::MAX);
        if count > 0 {
            books.sockets.say(encoded(event, args, to)?)?;
        }
        Ok(count)
    }

    fn send_event_to(&self, id: &str, event: &str, args: &str) -> Result<(), Refusal> {
        let mut books = self.actor.books();
        check_open(&books)?;
        check_event(event, args)?;
        let Some((request, connection)) = books.sockets.find(id).filter(|(_, found)| !found.is_over) else { return Ok(()) };
        let Kind::Client { encoding, .. } = connection.meta.kind else {
            return Err(Refusal::Invalid(format!("the connection {id} is a plain WebSocket, which takes messages: call `send`")));
        };
        books.sockets.say(encoded(event, args, vec![(request, encoding)])?)
    }

    fn send_message(&self, id: &str, message: types::Message) -> Result<(), Refusal> {
        let mut books = self.actor.books();
        check_open(&books)?;
        let Some((to, connection)) = books.sockets.find(id).filter(|(_, found)| !found.is_over) else { return Ok(()) };
        if connection.is_client() {
            return Err(Refusal::Invalid(format!(
                "the connection {id} is a RivetKit client, which takes events: call `send-event`"
            )));
        }
        let (data, binary) = match message {
            types::Message::Text(text) => (text.into_bytes(), false),
            types::Message::Binary(bytes) => (bytes, true),
        };
        if data.len() > SOCKET_MESSAGE_BYTES_MAX {
            let bytes = data.len();
            return Err(Refusal::TooLarge(format!("a message has at most {SOCKET_MESSAGE_BYTES_MAX} bytes, this has {bytes}")));
        }
        books.sockets.say(Said::Message { to, data: data.into(), binary })
    }

    fn close_socket(&self, id: &str, code: u16, reason: String) -> Result<(), Refusal> {
        let mut books = self.actor.books();
        check_open(&books)?;
        if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
            return Err(Refusal::Invalid(format!("{code} is no code that a socket can be closed with: use 1000, or 3000 to 4999")));
        }
        if reason.len() > CLOSE_REASON_BYTES_MAX {
            let bytes = reason.len();
            return Err(Refusal::TooLarge(format!(
                "the reason of a close has at most {CLOSE_REASON_BYTES_MAX} bytes, this has {bytes}"
            )));
        }
        let Some((request, _)) = books.sockets.find(id) else { return Ok(()) };
        books.sockets.close(request, code, reason)
    }
}

fn shown(connection: &Connection) -> connections::Connection {
    let (kind, params) = match &connection.meta.kind {
        Kind::Client { params, .. } => (connections::Kind::Client, params.clone()),
        Kind::Websocket => (connections::Kind::Websocket, None),
    };
    connections::Connection {
        id: connection.meta.id.clone(),
        kind,
        params,
        state: connection.state.to_vec(),
        connected_at: connection.meta.connected_ms,
    }
}

fn encoded(event: &str, args: &str, to: Vec<(RequestId, Encoding)>) -> Result<Said, Refusal> {
    let mut frames = BTreeMap::new();
    for (_, encoding) in &to {
        if let Entry::Vacant(frame) = frames.entry(*encoding as u8) {
            let written = connection::write(*encoding, ToClient::Event { name: event, args });
            frame.insert(written.map_err(|broken| Refusal::Invalid(broken.to_string()))?.into());
        }
    }
    Ok(Said::Event { to, frames })
}

fn check_event(event: &str, args: &str) -> Result<(), Refusal> {
    if event.len() > EVENT_NAME_BYTES_MAX || args.len() > OUTGOING_BYTES_MAX {
        let (name, bytes) = (event.len(), args.len());
        return Err(Refusal::TooLarge(format!(
            "an event's name has at most {EVENT_NAME_BYTES_MAX} bytes and its arguments {OUTGOING_BYTES_MAX}: here {name} and {bytes}"
        )));
    }
    if !json::is_array(args) {
        return Err(Refusal::Invalid("the arguments of an event are a JSON array".to_string()));
    }
    json::check(args).map_err(|broken| Refusal::Invalid(format!("the arguments of the event: {broken}")))
}

/// What is said after the response has begun would leave before what the message says is durable.
fn check_open(books: &Books) -> Result<(), Refusal> {
    match books.state.is_sealed() {
        true => Err(Refusal::Other("the response has begun: speak to sockets before you answer".to_string())),
        false => Ok(()),
    }
}

fn unknown(id: &str) -> Refusal {
    Refusal::Invalid(format!("there is no connection {:?}", id.chars().take(64).collect::<String>()))
}
