//! The messages between the engine and a runner.
//!
//! They follow the vocabulary of Rivet's envoy protocol, version 8. Those marked *ours* go beyond it and are only exchanged with
//! a runner whose [`RunnerProfile`] says that it understands them.
//!
//! Order: all messages of one link arrive in the order they were sent. Everything the actor's own life depends on is ordered by
//! that, most of all: a generation's commits come before its `Stopped`.
//!
//! Requests: a runner of components has the last word on each one that it was given (answered, aborted or returned), also after the
//! actor's `Stopped`. One that is returned is sent again from its beginning, to whatever generation is next.

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use serde::{Deserialize, Serialize};

use std::sync::Arc;

use crate::component::{ComponentHash, ComponentInfo, ComponentRefusal, Settings};
use crate::database::{DatabaseAnswer, DatabaseError, DatabaseQuestion, Page};
use crate::id::{ActorId, Generation, NamespaceId, RequestId};
use crate::trace::Carried;

/// How a runner introduces itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RunnerProfile {
    /// Its own name for itself, stable over reconnects.
    pub key: String,
    /// The deployment version of its code; higher ones are preferred.
    pub version: u32,
    pub serves: Serves,
}

/// Which actors a runner takes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Serves {
    /// *Ours.* Components of any namespace and pool; it speaks the messages marked *ours*.
    Components,
    /// The actors of one pool, with code of its own.
    Pool {
        namespace: NamespaceId,
        pool: String,
        protocol: RunnerProtocol,
        /// How many actors it takes at one time; none: as many as there are.
        slots: Option<u32>,
    },
}

/// Which wire protocol a runner speaks, and its version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RunnerProtocol {
    Envoy(u16),
    /// The protocol before it, of runners with slots.
    Legacy(u16),
}

impl RunnerProfile {
    pub fn runs_components(&self) -> bool {
        self.serves == Serves::Components
    }
}

/// From the engine to a runner.
#[derive(Debug)]
pub enum ToRunner {
    Command(Checkpoint, Command),
    /// All events of this generation up to this index are durable: they need not be sent again.
    AckEvents(Checkpoint),
    Request(RequestStart),
    RequestChunk {
        request: RequestId,
        body: Bytes,
        finish: bool,
    },
    /// The client is gone, or has waited too long: nobody will read the answer.
    RequestAbort {
        request: RequestId,
    },
    /// The rest of the request's body is not coming: its response is already whole.
    RequestBodyCancel {
        request: RequestId,
    },
    /// So many bytes of the response's body have been consumed since it began.
    ResponseWindow {
        request: RequestId,
        consumed_bytes: u64,
    },
    SocketOpen(SocketOpen),
    SocketMessage {
        request: RequestId,
        /// Counts the messages to the actor, from 1, over all its generations; wraps.
        index: u16,
        data: Bytes,
        binary: bool,
        /// *Ours.*
        trace: Carried,
    },
    SocketClose {
        request: RequestId,
        /// The one after the last message's: the runner may have got the socket without opening it.
        index: u16,
        code: Option<u16>,
        reason: Option<String>,
    },
    Kv {
        actor: ActorId,
        generation: Generation,
        call: u64,
        result: Result<KvAnswer, String>,
    },
    Database {
        actor: ActorId,
        call: u64,
        result: Result<DatabaseAnswer, DatabaseError>,
    },
    /// *Ours.* Others need its place: it is to say `SleepIntent`, unless it has something to do. Not answered otherwise.
    AskToSleep {
        actor: ActorId,
        generation: Generation,
    },
    /// *Ours.* The alarm is due. The commit of its message says so by `fired`.
    Alarm {
        actor: ActorId,
        generation: Generation,
        scheduled_ms: u64,
        attempt: u32,
    },
    /// *Ours.* That commit, and all before it, are durable: what waited for them may leave.
    Committed {
        actor: ActorId,
        generation: Generation,
        commit: u64,
    },
    /// *Ours.* The answer to `CallActor`.
    CallAnswer {
        actor: ActorId,
        generation: Generation,
        call: u64,
        result: Result<String, CallError>,
    },
    /// *Ours.* Make this component ready to run; answered by `Prepared`.
    Prepare {
        component: ComponentHash,
    },
    /// *Ours.* The answer to `GetComponent`.
    Component {
        component: ComponentHash,
        bytes: Result<Bytes, String>,
    },
}

/// From a runner to the engine.
#[derive(Debug)]
pub enum FromRunner {
    /// The names of the actors that it has code for, each with metadata as JSON text, an object.
    Names(Vec<(String, String)>),
    Event(Checkpoint, Event),
    /// It has these commands, and all before them of the same generation: they need not be sent again.
    AckCommands(Vec<Checkpoint>),
    /// It is going to end, and takes no more actors; those that it has are to be started elsewhere.
    Stopping,
    /// Without `stream` it is the whole response.
    ResponseStart {
        request: RequestId,
        status: StatusCode,
        headers: HeaderMap,
        body: Bytes,
        stream: bool,
    },
    ResponseChunk {
        request: RequestId,
        body: Bytes,
        finish: bool,
    },
    /// The request ends without a (whole) response.
    ResponseAbort {
        request: RequestId,
        failure: Failure,
    },
    /// So many bytes of the request's body have been consumed since it began, those that came with its head included.
    RequestWindow {
        request: RequestId,
        consumed_bytes: u64,
    },
    /// It reads no more of the request's body, and may answer all the same.
    RequestBodyCancel {
        request: RequestId,
    },
    /// *Ours.* The request was never begun: it may be given to the actor's next generation.
    RequestReturned {
        request: RequestId,
    },
    /// The actor takes the socket.
    SocketOpened {
        request: RequestId,
        /// The client's side of it outlives this generation of the actor.
        can_hibernate: bool,
    },
    SocketMessage {
        request: RequestId,
        data: Bytes,
        binary: bool,
    },
    /// All messages up to this index are durable with the actor: they need not be sent again.
    SocketAck {
        request: RequestId,
        index: u16,
    },
    /// The actor closes the socket, or does not take it.
    SocketClose {
        request: RequestId,
        code: Option<u16>,
        reason: Option<String>,
        /// The client's side stays open until the actor wakes.
        hibernate: bool,
    },
    Kv {
        actor: ActorId,
        generation: Generation,
        call: u64,
        space: KvSpace,
        question: KvQuestion,
    },
    /// Writes that belong to no message of the actor: durable when answered. Of any actor of the runner's namespace.
    KvWrite {
        actor: ActorId,
        call: u64,
        changes: Vec<KvChange>,
    },
    Database {
        actor: ActorId,
        call: u64,
        question: DatabaseQuestion,
    },
    /// *Ours.* Whether a commit of this may be stored, asked before it by actors with a limit on their storage. Answered by `Kv`:
    /// `Written`, and the next commit is accepted if it is this one; or the sentence that says why not.
    AskStorage {
        actor: ActorId,
        generation: Generation,
        call: u64,
        changes: Vec<KvChange>,
        /// The same in [`KvSpace::Runner`].
        own: Vec<KvChange>,
        /// The size of the database after it, if it changes.
        size_pages: Option<u32>,
    },
    /// *Ours.*
    Commit(Commit),
    /// *Ours.* The actor calls another one of its namespace; answered by `CallAnswer`, at the latest when the time is up.
    CallActor {
        actor: ActorId,
        generation: Generation,
        call: u64,
        target: CallTarget,
        ask: Ask,
        timeout_ms: u64,
        /// Of the message that the caller works on.
        trace: Carried,
    },
    /// *Ours.* The runner needs the bytes of a component.
    GetComponent {
        component: ComponentHash,
    },
    /// *Ours.*
    Prepared {
        component: ComponentHash,
        result: Result<ComponentInfo, ComponentRefusal>,
    },
    /// *Ours.* Lines that an actor logged or printed.
    Log {
        actor: ActorId,
        lines: Vec<LogLine>,
    },
}

/// Which command or event of which start of which actor; the index counts per actor and generation, so a repeat can be told.
/// Commands count from 1, events from 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    pub actor: ActorId,
    pub generation: Generation,
    pub index: u64,
}

#[derive(Clone, Debug)]
pub enum Command {
    Start(Box<Start>),
    Stop(StopReason),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Start {
    pub name: String,
    pub key: Option<String>,
    pub create_ms: u64,
    pub input: Option<Bytes>,
    pub reason: StartReason,
    /// *Ours.* What to run; a runner without components has its own code for the name.
    pub component: Option<Deployed>,
    /// *Ours.* The alarm that is set.
    pub alarm_ms: Option<u64>,
    /// Sockets of clients that have stayed open while the actor was not running.
    pub hibernating: Vec<RequestId>,
}

/// *Ours.* The version of a deployment that a start is to run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Deployed {
    pub component: ComponentHash,
    pub version: u32,
    /// The version that last wrote the actor's state, if that is another one: its `migrate-handler` is called first.
    pub migrate_from: Option<u32>,
    /// The name of the actor's namespace.
    pub namespace: String,
    pub settings: Arc<Settings>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StartReason {
    Created,
    Woken,
    Restarted,
    Upgraded,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum StopReason {
    /// It asked to sleep, or the API did.
    Sleep,
    /// It asked to be destroyed.
    Stop,
    /// The API destroys it.
    Destroy,
    /// Its place is taken by another generation: an upgrade, a drain, a reschedule.
    GoingAway,
    /// The engine has given it up.
    Lost,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    Running,
    Stopped(Outcome),
    /// It would like to sleep.
    SleepIntent,
    /// It would like to be destroyed.
    StopIntent,
    /// When it wants to be woken if it sleeps then; none: never. The last word counts.
    SetAlarm(Option<u64>),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    Ok,
    Error(Option<String>),
    /// *Ours.* It did not come to run: the runner has no place, or no memory, for one more. The text says what to do about that.
    NoRoom(String),
    /// *Ours.* Its state could not be migrated to this version, and is as it was before.
    NotMigrated(String),
}

/// The head of a request, and its body if that is short.
#[derive(Clone, Debug)]
pub struct RequestStart {
    pub request: RequestId,
    pub actor: ActorId,
    pub generation: Generation,
    pub method: Method,
    /// Path and query as the actor sees them; begins with `/`.
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// More of the body follows in `RequestChunk`s.
    pub stream: bool,
}

/// A client wants a WebSocket to an actor.
#[derive(Debug)]
pub struct SocketOpen {
    pub request: RequestId,
    pub actor: ActorId,
    pub generation: Generation,
    /// Path and query as the actor sees them; begins with `/`.
    pub path: String,
    pub headers: HeaderMap,
}

/// Why a request ended without a (whole) response.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    pub kind: FailureKind,
    /// A sentence for the caller.
    pub message: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FailureKind {
    /// The client was gone first.
    Cancelled,
    /// The actor has no handler for this kind of message.
    NotHandled,
    /// The handler refused, or what it returned cannot be sent.
    HandlerError,
    /// The handler trapped, panicked or aborted.
    Trapped,
    /// The handler used up its processor time.
    CpuTimeExceeded,
    /// The handler wanted more memory than it may have.
    MemoryExceeded,
    StackOverflow,
    /// The actor could not be started.
    StartFailed,
    /// The request's body is more than this actor can take.
    RequestTooLarge,
    /// The runner has no room for one more actor.
    NoRoom,
    /// What the handler wrote is more than the actor, or its namespace, may store.
    StorageFull,
    /// The actor stopped before it answered.
    Stopped,
    /// The runner's own fault.
    Internal,
}

/// *Ours.* All that one message of an actor wrote: durable as a whole or not at all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Commit {
    pub actor: ActorId,
    pub generation: Generation,
    /// Counts from 1 per generation.
    pub commit: u64,
    pub changes: Vec<KvChange>,
    /// The same in [`KvSpace::Runner`].
    pub own: Vec<KvChange>,
    /// What the message's statements changed in the actor's database.
    pub database: Option<DatabaseCommit>,
    pub alarm: AlarmChange,
    /// This message was the alarm's, scheduled for this moment. Unless `alarm` sets another, the alarm is gone.
    pub fired_ms: Option<u64>,
    /// The alarm's handler refused: the alarm stays and fires again, later.
    pub alarm_failed: bool,
}

/// *Ours.* The pages that [`DatabaseAnswer::Sealed`] gave, on their way back as part of a commit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DatabaseCommit {
    /// The call that was answered with them.
    pub call: u64,
    pub pages: Vec<Page>,
    pub size_pages: u32,
}

/// Which of the two ordered maps of an actor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KvSpace {
    /// The one that the actor's own code sees.
    Actor,
    /// *Ours.* What a runner of components keeps for it: schedules, queued messages, connections. Within its generation the runner is
    /// its only writer, and nobody else reads it.
    Runner,
}

/// *Ours.* Which actor another one calls.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CallTarget {
    Id(String),
    Get { name: String, key: Vec<String> },
    GetOrCreate { name: String, key: Vec<String>, input: Option<Bytes> },
}

/// *Ours.* What is asked of it. Arguments and bodies are JSON text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ask {
    Action {
        name: String,
        args: String,
    },
    /// To be durable in its queue; answered by `null`.
    Push {
        queue: String,
        body: String,
    },
}

/// *Ours.* As a client of the actor would see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CallError {
    pub group: String,
    pub code: String,
    pub message: String,
    /// JSON text.
    pub metadata: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KvChange {
    Put { key: Bytes, value: Bytes },
    Delete { key: Bytes },
    DeleteRange { range: KvRange },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AlarmChange {
    Keep,
    Set(u64),
    Clear,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KvQuestion {
    Get { keys: Vec<Bytes> },
    List { range: KvRange, reverse: bool, limit: usize, keys_only: bool },
}

/// From `start` up to but not including `end`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KvRange {
    pub start: Bytes,
    pub end: Option<Bytes>,
}

impl KvRange {
    pub fn all() -> KvRange {
        KvRange { start: Bytes::new(), end: None }
    }

    pub fn prefix(prefix: Bytes) -> KvRange {
        // The first key after all that begin with the prefix: the prefix without its trailing 0xff bytes, plus one.
        let kept = prefix.iter().rposition(|byte| *byte != 0xff);
        let end = kept.map(|at| {
            let mut end = prefix[..=at].to_vec();
            end[at] += 1;
            end.into()
        });
        KvRange { start: prefix, end }
    }

    pub fn contains(&self, key: &[u8]) -> bool {
        key >= &self.start[..] && self.end.as_ref().is_none_or(|end| key < &end[..])
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KvAnswer {
    /// In the order of the keys asked for.
    Get(Vec<Option<KvEntry>>),
    List(Vec<KvEntry>),
    Written,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KvEntry {
    pub key: Bytes,
    /// Empty where only keys were asked for.
    pub value: Bytes,
    pub update_ms: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LogLine {
    pub time_ms: u64,
    pub level: LogLevel,
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_range() {
        type Row = (&'static [u8], &'static [&'static [u8]], &'static [&'static [u8]]);
        let rows: &[Row] = &[
            (b"", &[b"", b"a", b"\xff\xff"], &[]),
            (b"a", &[b"a", b"a\0", b"a\xff\xff"], &[b"", b"b", b"A"]),
            (b"a\xff", &[b"a\xff", b"a\xff\xff"], &[b"a", b"a\xfe", b"b"]),
            (b"\xff\xff", &[b"\xff\xff", b"\xff\xff\0"], &[b"\xff", b"\xfe"]),
        ];
        for (prefix, inside, outside) in rows {
            let range = KvRange::prefix(Bytes::copy_from_slice(prefix));
            for key in *inside {
                assert!(range.contains(key), "{prefix:?} {key:?}");
            }
            for key in *outside {
                assert!(!range.contains(key), "{prefix:?} {key:?}");
            }
        }
    }
}
