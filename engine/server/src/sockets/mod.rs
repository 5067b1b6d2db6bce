//! The WebSockets that are open between clients and actors.
//!
//! In reading order:
//! - this file: the table by which the core's and the runners' words find their socket.
//! - [`line`]: what one socket has yet to be told, bounded.
//! - [`session`]: the task of one socket; the only one that speaks to its client and, about it, to runners and to the core.
//! - [`state`]: what becomes of a socket, decided without touching anything. [`kept`]: messages that an actor may not have yet.
//! - [`traced`]: the spans about it.

pub mod kept;
pub mod line;
pub mod session;
pub mod state;
pub mod traced;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use engine_core::Input;
use engine_core::refusal::Refusal;
use protocol::id::{RequestId, RunnerId};
use protocol::limits::{MIB, SOCKET_MESSAGE_BYTES_MAX, SOCKET_UNACKED_BYTES_MAX};
use protocol::message::FromRunner;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use crate::auth::pass::Over;
use crate::error::ApiError;
use crate::lock::lock;
use crate::memory::buffers::Buffers;
use crate::requests::Place;
use crate::sockets::line::{ForCore, Line, Word};
use crate::sockets::state::Said;

/// Clients' sockets that may be open at one time, on the whole server.
pub const SOCKETS_MAX: usize = 65_536;
/// Bytes of messages, both ways, that may be held for all of them; and of all buffers they take at most this part.
pub const SOCKETS_BYTES_MAX: usize = 1024 * MIB;
const BUFFERS_SHARE: usize = 2;
const SHARDS: usize = 16;
const _: () = assert!(SOCKET_UNACKED_BYTES_MAX + SOCKET_MESSAGE_BYTES_MAX <= SOCKETS_BYTES_MAX);

pub struct Sockets {
    room: Arc<Semaphore>,
    held: Arc<Held>,
    stopping: AtomicBool,
    /// How many there are in the table: usually nobody has to look.
    open: AtomicUsize,
    shards: [Mutex<HashMap<RequestId, Arc<Line>>>; SHARDS],
}

/// Counts what all sockets hold in memory.
pub struct Held {
    bytes: AtomicUsize,
    bytes_max: usize,
    buffers: Arc<Buffers>,
}

impl Held {
    pub fn new(buffers: Arc<Buffers>) -> Held {
        let bytes_max = SOCKETS_BYTES_MAX.min(buffers.limit_bytes() / BUFFERS_SHARE);
        Held { bytes: AtomicUsize::new(0), bytes_max, buffers }
    }

    /// False if that is too much for all; it counts nevertheless. What others hold makes no difference: a socket that is open is not
    /// closed because of them.
    pub fn add(&self, bytes: usize) -> bool {
        self.buffers.add(bytes);
        self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes <= self.bytes_max
    }

    pub fn sub(&self, bytes: usize) {
        self.buffers.give_back(bytes);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Sockets {
    pub fn new(buffers: Arc<Buffers>) -> Sockets {
        Sockets {
            room: Arc::new(Semaphore::new(SOCKETS_MAX)),
            held: Arc::new(Held::new(buffers)),
            stopping: AtomicBool::new(false),
            open: AtomicUsize::new(0),
            shards: Default::default(),
        }
    }

    /// Room for one more client's socket, be it only to be told what is wrong.
    pub fn room(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        if self.stopping.load(Ordering::Acquire) {
            return Err(Refusal::ShuttingDown.into());
        }
        let room = self.room.clone().try_acquire_owned();
        room.map_err(|_| ApiError::busy(format!("{SOCKETS_MAX} sockets are open; try again in a moment")))
    }

    pub fn open(&self, request: RequestId) -> Arc<Line> {
        let line = Arc::new(Line::new(self.held.clone()));
        self.shard(request).insert(request, line.clone());
        self.open.fetch_add(1, Ordering::AcqRel);
        // Looked at after it is in the table, so that `stop` either finds it there or is seen here.
        if self.stopping.load(Ordering::Acquire) {
            line.tell(going_away());
        }
        line
    }

    pub fn close(&self, request: RequestId) {
        if self.shard(request).remove(&request).is_some() {
            self.open.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// The core has found the runner for it. False if it is no socket.
    pub fn dispatch(&self, request: RequestId, place: &Place) -> bool {
        self.tell(request, || Word::Dispatched(place.clone()))
    }

    pub fn hold_back(&self, request: RequestId) {
        self.tell(request, || Word::HoldsBack);
    }

    pub fn hibernate(&self, request: RequestId) {
        self.tell(request, || Word::Hibernates);
    }

    /// False if it is no socket.
    pub fn refuse(&self, request: RequestId, refusal: &Refusal) -> bool {
        self.tell(request, || Word::Refused(refusal.clone()))
    }

    /// The token that it was opened with counts no more. Its client is told at once, also while the actor sleeps.
    pub fn end(&self, request: RequestId, over: Over) {
        let (group, code) = over.coded();
        self.tell(request, || Word::Ends(group, code));
    }

    /// What a runner says about a socket; nothing happens if it is not its to say. What the core has to hear of it before anything
    /// else that the runner says is returned.
    pub fn hear(&self, runner: RunnerId, message: FromRunner) -> Option<Input> {
        let (request, said) = match message {
            FromRunner::SocketOpened { request, can_hibernate } => (request, Said::Opened { can_hibernate }),
            FromRunner::SocketMessage { request, data, binary: true } => (request, Said::Message(Message::Binary(data))),
            FromRunner::SocketMessage { request, data, binary: false } => match Utf8Bytes::try_from(data) {
                Ok(text) => (request, Said::Message(Message::Text(text))),
                Err(_) => (request, Said::NoText),
            },
            FromRunner::SocketAck { request, index } => (request, Said::Ack(index)),
            FromRunner::SocketClose { request, code, reason, hibernate } => (request, Said::Close { code, reason, hibernate }),
            // The others are about other things.
            _ => return None,
        };
        Some(match self.line(request)?.hear(runner, said)? {
            ForCore::Opened { can_hibernate } => Input::SocketOpened { request, can_hibernate },
            ForCore::Returned => Input::FromRunner { runner, message: FromRunner::RequestReturned { request } },
        })
    }

    /// The server stops: all clients are told, and no more are taken.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        for shard in &self.shards {
            for line in lock(shard).values() {
                line.tell(going_away());
            }
        }
    }

    /// Since then nothing new is begun.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Waits until all clients have been told.
    pub async fn ended(&self) {
        // The semaphore is never closed; if it were, there would be nothing to wait for.
        let _ = self.room.acquire_many(SOCKETS_MAX as u32).await;
    }

    pub fn open_now(&self) -> usize {
        SOCKETS_MAX - self.room.available_permits()
    }

    fn tell(&self, request: RequestId, word: impl FnOnce() -> Word) -> bool {
        let line = self.line(request);
        line.is_some_and(|line| {
            line.tell(word());
            true
        })
    }

    fn line(&self, request: RequestId) -> Option<Arc<Line>> {
        if self.open.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.shard(request).get(&request).cloned()
    }

    fn shard(&self, request: RequestId) -> MutexGuard<'_, HashMap<RequestId, Arc<Line>>> {
        lock(&self.shards[request.0 as usize % SHARDS])
    }
}

fn going_away() -> Word {
    Word::Ends("ws", "going_away")
}

#[cfg(test)]
mod tests;
