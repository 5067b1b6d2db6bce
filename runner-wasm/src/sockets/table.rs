//! What is known of an actor's sockets, as the running message sees it, and what it says to them.
//!
//! A change is written to the message's transaction at once, and undone here if the message fails. Pure: no waiting, no clock, no
//! WebAssembly.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use protocol::id::RequestId;

use super::record;
use crate::client::Encoding;
use crate::config::{CONNECTION_META_BYTES_MAX, CONNECTION_STATE_BYTES_MAX, CONNECTIONS_BYTES_MAX, SAID_BYTES_MAX, SAID_MAX};
use crate::state::{Refusal, State};

/// What a thing that is said costs beside its bytes.
const SAID_BYTES: usize = 64;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A RivetKit client.
    Client {
        encoding: Encoding,
        /// JSON text.
        params: Option<String>,
        /// Names of the events that it wants.
        events: BTreeSet<String>,
    },
    Websocket,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Meta {
    /// What the guest calls it: unique over the actor's whole life, which a request's number is not.
    pub id: String,
    pub kind: Kind,
    pub connected_ms: u64,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Connection {
    pub meta: Arc<Meta>,
    /// What it takes as a stored record.
    pub meta_bytes: usize,
    pub state: Bytes,
    /// The last of its messages that was handled; what is stored may be a little older.
    pub handled: u16,
    /// The actor has closed it, and has yet to be told that it is over.
    pub is_over: bool,
}

/// What a message says to sockets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Said {
    Opened(RequestId),
    Message {
        to: RequestId,
        data: Bytes,
        binary: bool,
    },
    /// The same for many, in up to three encodings.
    Event {
        to: Vec<(RequestId, Encoding)>,
        frames: BTreeMap<u8, Bytes>,
    },
    Ack {
        request: RequestId,
        index: u16,
    },
    Close {
        request: RequestId,
        code: u16,
        reason: String,
    },
}

impl Said {
    pub fn bytes(&self) -> usize {
        SAID_BYTES
            + match self {
                Said::Opened(_) | Said::Ack { .. } => 0,
                Said::Message { data, .. } => data.len(),
                Said::Event { to, frames } => {
                    to.len() * size_of::<(RequestId, Encoding)>() + frames.values().map(Bytes::len).sum::<usize>()
                }
                Said::Close { reason, .. } => reason.len(),
            }
    }
}

/// A socket whose end the guest has yet to hear of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ended {
    pub request: RequestId,
    pub code: Option<u16>,
    pub reason: Option<String>,
}

#[derive(Default)]
pub struct Table {
    connections: BTreeMap<RequestId, Connection>,
    ids: BTreeMap<String, RequestId>,
    bytes: usize,
    /// What the running message has changed, as it was before.
    before: BTreeMap<RequestId, Option<Connection>>,
    said: Vec<Said>,
    said_bytes: usize,
    /// Ended by the running message, and by those before it.
    ending: Vec<Ended>,
    ended: VecDeque<Ended>,
}

impl Table {
    /// As it was stored by earlier generations. Of those that are not open any more the guest will hear.
    pub fn restore(&mut self, connections: Vec<(RequestId, Connection)>, open: &BTreeSet<RequestId>) {
        for (request, mut connection) in connections {
            if !open.contains(&request) {
                connection.is_over = true;
                self.ended.push_back(Ended { request, code: None, reason: None });
            }
            self.put(request, connection);
        }
    }

    pub fn len(&self) -> usize {
        self.connections.len()
    }

    pub fn requests(&self) -> Vec<RequestId> {
        self.connections.keys().copied().collect()
    }

    pub fn connection(&self, request: RequestId) -> Option<&Connection> {
        self.connections.get(&request)
    }

    /// By the guest's name for it.
    pub fn find(&self, id: &str) -> Option<(RequestId, &Connection)> {
        let request = *self.ids.get(id)?;
        self.connections.get(&request).map(|connection| (request, connection))
    }

    /// Those that can be spoken to.
    pub fn open(&self) -> impl Iterator<Item = (RequestId, &Connection)> {
        self.connections.iter().filter(|(_, connection)| !connection.is_over).map(|(request, connection)| (*request, connection))
    }

    /// The next socket whose end the guest has yet to hear of.
    pub fn next_ended(&mut self) -> Option<Ended> {
        self.ended.pop_front()
    }

    // The running message's changes.

    /// A new socket, as the guest is to see it while it is asked. With [`Table::store`] it becomes part of the transaction.
    pub fn insert(&mut self, request: RequestId, meta: Meta) -> Result<(), Refusal> {
        let meta_bytes = record::meta(&meta).len();
        check_meta(meta_bytes)?;
        self.check_room(meta_bytes)?;
        let meta = Arc::new(meta);
        self.change(request, Some(Connection { meta, meta_bytes, state: Bytes::new(), handled: 0, is_over: false }));
        Ok(())
    }

    pub fn store(&mut self, state: &mut State, request: RequestId) -> Result<(), Refusal> {
        let Some(connection) = self.connections.get(&request) else { return Ok(()) };
        state.write_own(record::meta_key(request), Some(record::meta(&connection.meta)))
    }

    /// The guest refuses the new socket: it has never been there, and nothing is said to it.
    pub fn refuse(&mut self, state: &mut State, request: RequestId) -> Result<(), Refusal> {
        for said in &mut self.said {
            if let Said::Event { to, .. } = said {
                to.retain(|(to, _)| *to != request);
            }
        }
        let about = |said: &Said| match said {
            Said::Opened(to) | Said::Message { to, .. } | Said::Ack { request: to, .. } | Said::Close { request: to, .. } => {
                *to == request
            }
            Said::Event { .. } => false,
        };
        self.said.retain(|said| !about(said));
        self.ending.retain(|ended| ended.request != request);
        let has_state = self.connections.get(&request).is_some_and(|connection| !connection.state.is_empty());
        if has_state {
            state.write_own(record::state_key(request), None)?;
        }
        self.set(request, None);
        self.before.remove(&request);
        Ok(())
    }

    pub fn remove(&mut self, state: &mut State, request: RequestId) -> Result<(), Refusal> {
        for key in record::keys(request) {
            state.write_own(key, None)?;
        }
        self.change(request, None);
        Ok(())
    }

    pub fn set_state(&mut self, state: &mut State, request: RequestId, value: Vec<u8>) -> Result<(), Refusal> {
        if value.len() > CONNECTION_STATE_BYTES_MAX {
            let bytes = value.len();
            return Err(Refusal::TooLarge(format!(
                "a connection's state has at most {CONNECTION_STATE_BYTES_MAX} bytes, this has {bytes}"
            )));
        }
        let Some(mut connection) = self.connections.get(&request).cloned() else { return Ok(()) };
        self.check_room(value.len().saturating_sub(connection.state.len()))?;
        let value = Bytes::from(value);
        state.write_own(record::state_key(request), Some(value.to_vec()))?;
        connection.state = value;
        self.change(request, Some(connection));
        Ok(())
    }

    pub fn subscribe(&mut self, state: &mut State, request: RequestId, event: String, subscribe: bool) -> Result<(), Refusal> {
        let Some(mut connection) = self.connections.get(&request).cloned() else { return Ok(()) };
        let mut meta = Meta::clone(&connection.meta);
        let Kind::Client { events, .. } = &mut meta.kind else { return Ok(()) };
        let changes = if subscribe { events.insert(event) } else { events.remove(&event) };
        if !changes {
            return Ok(());
        }
        let stored = record::meta(&meta);
        check_meta(stored.len())?;
        self.check_room(stored.len().saturating_sub(connection.meta_bytes))?;
        connection.meta_bytes = stored.len();
        connection.meta = Arc::new(meta);
        state.write_own(record::meta_key(request), Some(stored))?;
        self.change(request, Some(connection));
        Ok(())
    }

    /// Whether this message of the socket is a new one. One that was handled before is sent again until its ack has arrived.
    pub fn is_new(&self, request: RequestId, index: u16) -> bool {
        let handled = self.connections.get(&request).map_or(0, |connection| connection.handled);
        (1..=u16::MAX / 2).contains(&index.wrapping_sub(handled))
    }

    /// The running message was this one of the socket. That is written with whatever else it writes, or in any case.
    pub fn handle(&mut self, state: &mut State, request: RequestId, index: u16, in_any_case: bool) -> Result<(), Refusal> {
        let Some(mut connection) = self.connections.get(&request).cloned() else { return Ok(()) };
        connection.handled = index;
        if in_any_case || state.has_changes() {
            state.write_own(record::handled_key(request), Some(index.to_be_bytes().to_vec()))?;
        }
        self.change(request, Some(connection));
        Ok(())
    }

    pub fn say(&mut self, said: Said) -> Result<(), Refusal> {
        let bytes = self.said_bytes + said.bytes();
        if bytes > SAID_BYTES_MAX || self.said.len() >= SAID_MAX {
            return Err(Refusal::TooLarge(format!(
                "one message says at most {SAID_MAX} things with {SAID_BYTES_MAX} bytes to sockets; this would be {} with {bytes}",
                self.said.len() + 1
            )));
        }
        self.said_bytes = bytes;
        self.said.push(said);
        Ok(())
    }

    /// The actor closes it. The guest hears of its end in a message of its own.
    pub fn close(&mut self, request: RequestId, code: u16, reason: String) -> Result<(), Refusal> {
        let Some(connection) = self.connections.get(&request).filter(|connection| !connection.is_over) else { return Ok(()) };
        let connection = Connection { is_over: true, ..connection.clone() };
        self.say(Said::Close { request, code, reason: reason.clone() })?;
        self.ending.push(Ended { request, code: Some(code), reason: Some(reason) });
        self.change(request, Some(connection));
        Ok(())
    }

    /// The socket has ended, beside the line: the guest hears of it as soon as it can.
    pub fn lose(&mut self, request: RequestId, code: u16, reason: String) {
        if self.connections.contains_key(&request) {
            self.ended.push_back(Ended { request, code: Some(code), reason: Some(reason) });
        }
    }

    /// The message has succeeded: what it says. Closes come last: who is closed by its own call hears the answer before.
    pub fn commit(&mut self) -> Vec<Said> {
        self.before.clear();
        self.said_bytes = 0;
        self.ended.extend(self.ending.drain(..));
        let mut said = std::mem::take(&mut self.said);
        said.sort_by_key(|said| matches!(said, Said::Close { .. }));
        said
    }

    /// The message has failed: nothing has changed, nothing is said.
    pub fn roll_back(&mut self) {
        self.said.clear();
        self.said_bytes = 0;
        self.ending.clear();
        for (request, before) in std::mem::take(&mut self.before) {
            self.set(request, before);
        }
    }

    fn check_room(&self, more: usize) -> Result<(), Refusal> {
        match self.bytes + more > CONNECTIONS_BYTES_MAX {
            true => Err(Refusal::QuotaExceeded(format!(
                "an actor's connections have at most {CONNECTIONS_BYTES_MAX} bytes of states, parameters and subscriptions together"
            ))),
            false => Ok(()),
        }
    }

    fn change(&mut self, request: RequestId, connection: Option<Connection>) {
        let before = self.connections.get(&request).cloned();
        self.before.entry(request).or_insert(before);
        self.set(request, connection);
    }

    fn set(&mut self, request: RequestId, connection: Option<Connection>) {
        if let Some(before) = self.connections.remove(&request) {
            self.bytes -= before.bytes();
            self.ids.remove(&before.meta.id);
        }
        if let Some(connection) = connection {
            self.put(request, connection);
        }
    }

    fn put(&mut self, request: RequestId, connection: Connection) {
        self.bytes += connection.bytes();
        self.ids.insert(connection.meta.id.clone(), request);
        self.connections.insert(request, connection);
    }
}

fn check_meta(bytes: usize) -> Result<(), Refusal> {
    match bytes > CONNECTION_META_BYTES_MAX {
        true => Err(Refusal::TooLarge(format!(
            "a connection's parameters and subscriptions have at most {CONNECTION_META_BYTES_MAX} bytes, these have {bytes}"
        ))),
        false => Ok(()),
    }
}

impl Connection {
    fn bytes(&self) -> usize {
        self.meta_bytes + self.state.len()
    }

    pub fn is_client(&self) -> bool {
        matches!(self.meta.kind, Kind::Client { .. })
    }
}
