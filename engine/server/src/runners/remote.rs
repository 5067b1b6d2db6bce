//! One runner that connects, as the rest of the engine sees it: the same over all its connections.
//!
//! What is said to it while it is away waits here, except for commands, which the core says again when it is back. What waits
//! is bounded, connected or not: a peer that does not read is closed and so counts as gone.
//!
//! Only its newest connection speaks for it. [`Remote::speaking`] is held while a message of one is taken, and while another
//! takes its place, so that no word of an older one comes after `RunnerJoined` for the newer.

use std::collections::VecDeque;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use engine_core::Input;
use engine_core::record::RunnerRef;
use protocol::id::{RequestId, RunnerId};
use protocol::limits::{BODY_WINDOW_BYTES, KIB, MIB, REQUEST_BODY_BYTES_MAX};
use protocol::link::ToRunnerLink;
use protocol::message::{Command, KvAnswer, RunnerProfile, ToRunner};
use protocol::wire::{Dialect, EnvoyVersion};
use tokio::sync::Notify;

use crate::inbox::Inbox;
use crate::lock::lock;
use crate::runners::calls::Call;
use crate::runners::ending::{EndSignal, Ending};
use crate::runners::pings::PingTimes;
use crate::runners::streams::{Stamp, Streams, Turn};

/// What may wait for a runner that is connected; a single message may always.
const QUEUE_BYTES_MAX: usize = 64 * MIB;
/// What may wait for one that is away.
const AWAY_BYTES_MAX: usize = 16 * MIB;
/// What a queued message weighs beside its bytes.
const MESSAGE_BYTES: usize = 256;
/// What the newest envoy protocol may have on its way of a response that is not read.
const RESPONSE_WINDOW_BYTES: u64 = MIB as u64;
const _: () = assert!(RESPONSE_WINDOW_BYTES >= BODY_WINDOW_BYTES);
const _: () = assert!(AWAY_BYTES_MAX <= QUEUE_BYTES_MAX, "what waited must fit when it is back");

pub struct Remote {
    pub runner: RunnerId,
    pub identity: RunnerRef,
    /// The number of the connection that speaks for it.
    speaker: Mutex<u32>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connection: Option<Arc<Connection>>,
    /// What it spoke last.
    dialect: Option<Dialect>,
    /// When it first connected.
    create_ms: Option<u64>,
    away: VecDeque<Outgoing>,
    away_bytes: usize,
    /// Requests of which something was dropped because too much waited.
    dropped: Vec<RequestId>,
    streams: Streams,
    /// Nobody finds it any more: who comes under its name is a new one.
    forgotten: bool,
}

/// One connection of a runner.
pub struct Connection {
    /// Counts those of its runner, from 1; wraps.
    pub number: u32,
    pub dialect: Dialect,
    pub profile: RunnerProfile,
    pub connect_ms: u64,
    pub pings: PingTimes,
    /// 0: it has not said that it is going to stop.
    pub stopping_ms: AtomicU64,
    /// JSON text.
    pub metadata: Mutex<Option<String>>,
    queue: Mutex<Queue>,
    filled: Notify,
    ending: EndSignal,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Outgoing>,
    bytes: usize,
}

/// Something to be sent.
pub enum Outgoing {
    /// With its place in a request or socket, if it belongs to one.
    Say(ToRunner, Option<Stamp>),
    /// The request is over because of what the runner did.
    Reject(RequestId, Stamp, String),
    /// The session's own.
    Encoded(Bytes),
}

/// How a connection begins.
pub struct Arrival {
    pub dialect: Dialect,
    pub profile: RunnerProfile,
    pub metadata: Option<String>,
    pub now_ms: u64,
    /// Sent before everything else.
    pub first: Bytes,
}

impl Remote {
    pub fn new(runner: RunnerId, identity: RunnerRef) -> Remote {
        Remote { runner, identity, speaker: Mutex::new(0), state: Mutex::default() }
    }

    /// The newest connection takes the place of the one before, which is evicted. None if the runner has been forgotten.
    pub fn attach(&self, inbox: &Inbox, arrival: Arrival) -> Option<(Arc<Connection>, Vec<RequestId>)> {
        let mut speaker = lock(&self.speaker);
        let mut state = lock(&self.state);
        if state.forgotten {
            return None;
        }
        *speaker = speaker.wrapping_add(1);
        let profile = arrival.profile.clone();
        let connection = Arc::new(Connection::new(*speaker, arrival));
        state.dialect = Some(connection.dialect);
        state.create_ms.get_or_insert(connection.connect_ms);
        if let Some(old) = state.connection.replace(connection.clone()) {
            old.end(Ending::Evicted);
            state.keep(old.take_all());
        }
        for waiting in mem::take(&mut state.away) {
            connection.push(waiting);
        }
        state.away_bytes = 0;
        // In the same order as connections take each other's place.
        inbox.push(Input::RunnerJoined { runner: self.runner, profile });
        Some((connection, mem::take(&mut state.dropped)))
    }

    /// The connection is over. The core hears of it, unless another one has taken its place.
    pub fn detach(&self, inbox: &Inbox, connection: &Connection) {
        let mut state = lock(&self.state);
        if state.connection.as_ref().is_some_and(|current| current.number == connection.number) {
            state.connection = None;
            state.keep(connection.take_all());
            inbox.push(Input::RunnerLeft { runner: self.runner });
        }
    }

    /// Its messages may be taken while this is held. None if another one speaks for the runner.
    pub fn speaking(&self, connection: &Connection) -> Option<MutexGuard<'_, u32>> {
        Some(lock(&self.speaker)).filter(|speaker| **speaker == connection.number)
    }

    pub fn end(&self, ending: Ending) {
        if let Some(connection) = &lock(&self.state).connection {
            connection.end(ending);
        }
    }

    /// False if it is connected: then it stays.
    pub fn forget(&self) -> bool {
        let mut state = lock(&self.state);
        state.forgotten = state.connection.is_none();
        state.forgotten
    }

    /// Its connection, and when it first had one.
    pub fn connection(&self) -> Option<(Arc<Connection>, u64)> {
        let state = lock(&self.state);
        let connection = state.connection.clone()?;
        let create_ms = state.create_ms.unwrap_or(connection.connect_ms);
        Some((connection, create_ms))
    }

    /// A message of the runner's about a request: whether it is the next one.
    pub fn turn(&self, request: RequestId, index: u16) -> Turn {
        lock(&self.state).streams.next_from(request, index)
    }

    /// The runner has said its last word about this request or socket.
    pub fn over(&self, request: RequestId) {
        lock(&self.state).streams.end(request);
    }

    /// Tells it that a request is over because of what it did.
    pub fn reject(&self, request: RequestId, detail: &str) {
        let mut state = lock(&self.state);
        let Some(stamp) = state.streams.next_to(request) else { return };
        state.streams.end(request);
        state.send(Outgoing::Reject(request, stamp, detail.to_string()));
    }
}

impl ToRunnerLink for Remote {
    fn goes_on_with_traces(&self) -> bool {
        false
    }

    fn send(&self, message: ToRunner) {
        let mut state = lock(&self.state);
        let streams = &mut state.streams;
        let stamp = match &message {
            ToRunner::Request(start) => Some(streams.begin(start.request, start.actor, start.generation)),
            ToRunner::SocketOpen(open) => Some(streams.begin(open.request, open.actor, open.generation)),
            ToRunner::SocketMessage { request, index, .. } => {
                streams.at(*request, *index);
                None
            }
            ToRunner::RequestChunk { request, .. }
            | ToRunner::RequestBodyCancel { request }
            | ToRunner::ResponseWindow { request, .. } => streams.next_to(*request),
            ToRunner::SocketClose { request, .. } => {
                streams.end(*request);
                None
            }
            ToRunner::RequestAbort { request } => {
                let stamp = streams.next_to(*request);
                streams.end(*request);
                stamp
            }
            _ => None,
        };
        state.send(Outgoing::Say(message, stamp));
    }

    fn streams(&self) -> bool {
        self.has_credit()
    }

    fn backlog_bytes(&self) -> usize {
        let state = lock(&self.state);
        state.connection.as_ref().map_or(state.away_bytes, |connection| lock(&connection.queue).bytes)
    }

    fn response_window_bytes(&self) -> u64 {
        if self.has_credit() { RESPONSE_WINDOW_BYTES } else { REQUEST_BODY_BYTES_MAX }
    }
}

impl Remote {
    fn has_credit(&self) -> bool {
        lock(&self.state).dialect.is_some_and(has_credit)
    }
}

/// Whether bodies are streamed in both directions, with credit.
pub fn has_credit(dialect: Dialect) -> bool {
    matches!(dialect, Dialect::Envoy(version) if version >= EnvoyVersion::NEWEST)
}

impl State {
    fn send(&mut self, outgoing: Outgoing) {
        match &self.connection {
            Some(connection) => {
                if let Outgoing::Say(ToRunner::Kv { call, .. } | ToRunner::Database { call, .. }, _) = &outgoing
                    && Call::of(*call).is_some_and(|call| !call.is_of(connection.number))
                {
                    return;
                }
                connection.push(outgoing);
            }
            None => self.keep([outgoing]),
        }
    }

    /// Until it is back, what then still makes sense.
    fn keep(&mut self, unsent: impl IntoIterator<Item = Outgoing>) {
        for outgoing in unsent {
            let Outgoing::Say(message, _) = &outgoing else { continue };
            // Answers to what it asked: it asks again. Commands: the core says them again.
            if matches!(message, ToRunner::Kv { .. } | ToRunner::Database { .. } | ToRunner::Command(..)) {
                continue;
            }
            let bytes = weight(message);
            if self.away_bytes + bytes > AWAY_BYTES_MAX {
                self.dropped.extend(request_of(message));
                continue;
            }
            self.away_bytes += bytes;
            self.away.push_back(outgoing);
        }
        self.dropped.dedup();
    }
}

impl Connection {
    fn new(number: u32, arrival: Arrival) -> Connection {
        let Arrival { dialect, profile, metadata, now_ms, first } = arrival;
        let queue = Queue { bytes: first.len(), waiting: VecDeque::from([Outgoing::Encoded(first)]) };
        Connection {
            number,
            dialect,
            profile,
            connect_ms: now_ms,
            pings: PingTimes::new(now_ms),
            stopping_ms: AtomicU64::new(0),
            metadata: Mutex::new(metadata),
            queue: Mutex::new(queue),
            filled: Notify::new(),
            ending: EndSignal::default(),
        }
    }

    pub fn push(&self, outgoing: Outgoing) {
        let bytes = outgoing.bytes();
        let mut queue = lock(&self.queue);
        if queue.bytes + bytes > QUEUE_BYTES_MAX && !queue.waiting.is_empty() {
            drop(queue);
            return self.end(Ending::TooSlow);
        }
        queue.bytes += bytes;
        queue.waiting.push_back(outgoing);
        drop(queue);
        self.filled.notify_one();
    }

    /// The next to be sent, if there is one and `fits` says so.
    pub fn pop_if(&self, fits: impl FnOnce(&Outgoing) -> bool) -> Option<Outgoing> {
        let mut queue = lock(&self.queue);
        if !queue.waiting.front().is_some_and(fits) {
            return None;
        }
        let outgoing = queue.waiting.pop_front()?;
        queue.bytes -= outgoing.bytes();
        Some(outgoing)
    }

    /// Until something has been pushed. For one waiter.
    pub async fn filled(&self) {
        self.filled.notified().await;
    }

    fn take_all(&self) -> VecDeque<Outgoing> {
        mem::take(&mut *lock(&self.queue)).waiting
    }

    /// It is to be closed; the first reason counts.
    pub fn end(&self, ending: Ending) {
        self.ending.tell(ending);
    }

    /// Until it is to be closed.
    pub async fn ended(&self) -> Ending {
        self.ending.told().await
    }

    pub fn stopping(&self) -> Option<u64> {
        Some(self.stopping_ms.load(Ordering::Relaxed)).filter(|ms| *ms > 0)
    }
}

impl Outgoing {
    fn bytes(&self) -> usize {
        match self {
            Outgoing::Say(message, _) => weight(message),
            Outgoing::Reject(_, _, detail) => detail.len() + MESSAGE_BYTES,
            Outgoing::Encoded(bytes) => bytes.len(),
        }
    }
}

fn request_of(message: &ToRunner) -> Option<RequestId> {
    match message {
        ToRunner::Request(start) => Some(start.request),
        ToRunner::RequestChunk { request, .. } => Some(*request),
        _ => None,
    }
}

/// About what a message holds of memory.
fn weight(message: &ToRunner) -> usize {
    let bytes = match message {
        ToRunner::Command(_, Command::Start(start)) => start.input.as_ref().map_or(0, Bytes::len),
        ToRunner::Request(start) => start.body.len() + start.path.len() + start.headers.len() * MESSAGE_BYTES,
        ToRunner::RequestChunk { body, .. } => body.len(),
        ToRunner::SocketOpen(open) => open.path.len() + open.headers.len() * MESSAGE_BYTES,
        ToRunner::SocketMessage { data, .. } => data.len(),
        ToRunner::Kv { result: Ok(answer), .. } => kv_weight(answer),
        ToRunner::Database { result: Ok(answer), .. } => database_weight(answer),
        _ => 0,
    };
    bytes + MESSAGE_BYTES
}

fn kv_weight(answer: &KvAnswer) -> usize {
    let of = |entries: &mut dyn Iterator<Item = &protocol::message::KvEntry>| {
        entries.map(|entry| entry.key.len() + entry.value.len() + MESSAGE_BYTES).sum()
    };
    match answer {
        KvAnswer::Get(entries) => of(&mut entries.iter().flatten()),
        KvAnswer::List(entries) => of(&mut entries.iter()),
        KvAnswer::Written => 0,
    }
}

fn database_weight(answer: &protocol::database::DatabaseAnswer) -> usize {
    use protocol::database::{DatabaseAnswer, Rows, SqlValue};
    let value = |value: &SqlValue| match value {
        SqlValue::Text(text) => text.len() + 32,
        SqlValue::Blob(bytes) => bytes.len() + 32,
        SqlValue::Null | SqlValue::Integer(_) | SqlValue::Float(_) => 32,
    };
    let rows = |rows: &Rows| rows.rows.iter().flatten().map(value).sum::<usize>();
    match answer {
        DatabaseAnswer::Pages { pages, .. } => pages.iter().map(|(_, page)| page.as_ref().map_or(0, Bytes::len) + 32).sum(),
        DatabaseAnswer::Rows(found) => rows(found),
        DatabaseAnswer::Executed(done) => rows(&done.rows),
        DatabaseAnswer::ExecutedBatch(done) => done.iter().map(|done| rows(&done.rows) + KIB).sum(),
        DatabaseAnswer::Sealed { pages, .. } => pages.iter().map(|(_, page)| page.len() + 32).sum(),
        DatabaseAnswer::Committed { .. }
        | DatabaseAnswer::Staging { .. }
        | DatabaseAnswer::Staged { .. }
        | DatabaseAnswer::Unchanged => 0,
    }
}
