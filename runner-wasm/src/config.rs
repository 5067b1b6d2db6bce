//! What an operator can turn, and every number of ours that bounds something.
//!
//! Limits that both sides of the link rely on are in `protocol::limits`; these concern only what happens inside this runner.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use protocol::clock::Clock;
use protocol::limits::{
    BODY_CHUNK_BYTES_MAX, KIB, KV_LIST_BYTES_MAX, KV_LIST_ENTRIES_MAX, KV_VALUE_BYTES_MAX, KV_WRITE_BYTES_MAX, MIB,
    REQUEST_BODY_BYTES_MAX, SOCKET_UNACKED_MESSAGES_MAX, SOCKETS_PER_ACTOR_MAX,
};
use protocol::trace::Spans;
use rustls::ClientConfig;

use crate::component::Code;

pub const MEMORY_PER_ACTOR_BYTES: usize = 128 * MIB;
/// What all guests together may take. An actor counts with what its memory has grown by, a sixteenth of what it began with, its tables,
/// and [`AWAKE_BYTES`]; bodies that are put together for guests or have been returned by them, and compiled code, count too.
pub const MEMORY_TOTAL_BYTES: usize = 2048 * MIB;
/// How much of the memory that a component begins with is taken to be really used. Most of it is never touched, or shared with
/// the component's other instances: measured, a Rust guest uses 1/25 of it, JavaScript and Python 1/13.
pub(crate) const INITIAL_MEMORY_SHARE: usize = 16;
/// What an awake actor takes beside its guest's memory: its stack, what the runner and the engine keep for it. Measured, 39 to 44 KiB
/// with the counter; a larger state is kept in a cache of up to 32 KiB.
pub(crate) const AWAKE_BYTES: usize = 64 * KIB;
/// Of a guest's table.
pub(crate) const TABLE_ELEMENT_BYTES: usize = 8;
/// When the process as a whole has too much, guests keep at least this part of theirs.
pub(crate) const SQUEEZED_SHARE_MIN: usize = 4;
/// Processor time of one message; waits for the host are not counted.
pub const CPU_PER_MESSAGE_MS: u64 = 5_000;
/// How long a message may take, waits included. A response that streams is exempt until its client is gone.
pub const MESSAGE_MS: u64 = 300_000;
/// Of an action that somebody waits for, if its deployment says nothing else: what clients of RivetKit count on.
pub const ACTION_MS: u64 = 60_000;
pub const IDLE_BEFORE_SLEEP_MS: u64 = 30_000;

/// The longest that an actor can ask to be kept awake for: the time beyond would not fit in a clock. A year.
pub(crate) const KEEP_AWAKE_MS_MAX: u64 = 365 * 24 * 3_600_000;

/// Of the memory mappings that the kernel allows a process, one in so many is left to everything but guests: beyond the limit an
/// allocation of ours would abort the process.
pub(crate) const MAPPINGS_SHARE_LEFT: usize = 8;
/// What can be touched of a guest's memory, and what cannot.
pub(crate) const MAPPINGS_PER_MEMORY: usize = 2;
/// An image in the middle of it.
pub(crate) const MAPPINGS_PER_IMAGE: usize = 2;
/// One and its guard, while they are not put away.
pub(crate) const MAPPINGS_PER_STACK: usize = 2;
/// Used where the kernel does not say how many mappings a process may have.
pub(crate) const ACTORS_MAX_ELSEWHERE: usize = 8_000;
/// How long a start waits for a place while idle actors are put to sleep, before it is refused.
pub(crate) const ROOM_WAIT_MS: u64 = 2_000;
/// How often it is seen whether that has made enough room.
pub(crate) const ROOM_TICK_MS: u64 = 20;
/// An actor that was asked to sleep counts as leaving for so long. Then another one is asked in its stead.
pub(crate) const LEAVING_MS: u64 = 500;
/// Above so much of the memory for all guests idle actors are put to sleep, until there is less than the second.
pub(crate) const MEMORY_HIGH_PERCENT: usize = 90;
pub(crate) const MEMORY_LOW_PERCENT: usize = 75;
/// Of all actors that are idle so many, those that were used least lately, are remembered by one scan: one in sixteen, and at least
/// these. Putting one to sleep costs a look at sixteen or fewer.
pub(crate) const CANDIDATES_SHARE: usize = 16;
pub(crate) const CANDIDATES_MIN: usize = 64;
/// Scans that find nobody may take this part of a processor's time.
pub(crate) const SCAN_TIME_SHARE: u32 = 20;
/// How often a running guest is interrupted, and how finely its processor time is counted.
pub(crate) const TICK_MS: u64 = 10;
/// Ticks without a running guest after which the ticking stops.
pub(crate) const TICKS_BEFORE_PARK: u32 = 10;

/// A longer stretch on a thread keeps others waiting.
pub(crate) const STRETCH_MAX: Duration = Duration::from_micros(500);
/// With more than that of long stretches an actor goes on where it disturbs nobody. Less than a tick: of those that never rest one
/// stretch is enough, however long they had to wait for it.
pub(crate) const DEBT_MAX: Duration = Duration::from_millis(TICK_MS / 2);
/// Of all time this part is forgiven. Measured with eight actors that answer with 8 MiB eleven times a second: where it was a twentieth,
/// four fifths of their work was done where everybody is served.
pub(crate) const DEBT_TIME_SHARE: u32 = 50;
/// What a guest's fault makes of debt: its end and the next start are work wherever they are done. More than may be owed, so that the
/// next generation begins aside.
pub(crate) const FAULT_DEBT: Duration = Duration::from_millis(TICK_MS);
/// Actors whose debt is remembered; those that owe nothing are not among them.
pub(crate) const DEBTORS_MAX: usize = 65_536;
/// Of the threads for those: beside a busy one, such a thread gets a tenth of the processor.
pub(crate) const ASIDE_NICE: i32 = 10;

pub(crate) const WASM_STACK_BYTES: usize = 512 * KIB;
/// The stack of a guest and of the host functions that it calls.
pub(crate) const FIBER_STACK_BYTES: usize = 1024 * KIB;
/// Data that one call of a guest may hand to the host.
pub(crate) const HOSTCALL_BYTES_MAX: usize = 24 * MIB;
/// Guests' stacks that share one stretch of address space.
pub(crate) const STACKS_PER_SLAB: usize = 64;
pub(crate) const STACK_GUARD_BYTES: usize = 64 * KIB;
/// The stack of an actor that has had nothing to do for so long is put away: taking it up again costs a few microseconds.
pub(crate) const STACK_REST_MS: u64 = 1_000;
/// A guest that begins with more data than that has it mapped from an image, page by page; one with less has it copied, which takes
/// as long and needs two memory mappings less.
pub(crate) const DATA_COPIED_BYTES_MAX: usize = 64 * KIB;
pub(crate) const TABLE_ELEMENTS_MAX: usize = 100_000;
pub(crate) const CORE_INSTANCES_MAX: usize = 128;
pub(crate) const TABLES_MAX: usize = 64;
pub(crate) const MEMORIES_MAX: usize = 16;
/// Resources (streams, headers, pollables) that one guest may hold at a time.
pub(crate) const RESOURCES_MAX: usize = 10_000;
pub(crate) const RANDOM_BYTES_MAX: u64 = 64 * KIB as u64;

/// What may stand in line beside requests: an alarm that is sent again, a stop.
pub(crate) const MAILBOX_SPARE: usize = 16;
/// How long an action of another actor may take if the guest does not say, and if it does.
pub(crate) const CALL_MS: u64 = 60_000;
pub(crate) const CALL_MS_MAX: u64 = MESSAGE_MS;
/// What one message may write of the entries that the runner keeps for an actor: schedules, queued messages, connections.
pub(crate) const OWN_WRITE_BYTES_MAX: usize = 4 * MIB;
pub(crate) const OWN_WRITE_CHANGES_MAX: usize = 16_384;
/// Messages of sockets that stand in line. The engine keeps their bytes until they are acked, and bounds those.
pub(crate) const SOCKET_MAIL_MAX: usize = 131_072;
/// Messages of one actor's queue of which is known in which span they were sent.
pub(crate) const QUEUED_TRACES_MAX: usize = 256;
/// A message of a client, unless its deployment says otherwise; and one to it.
pub(crate) const INCOMING_BYTES_MAX: usize = MIB;
pub(crate) const OUTGOING_BYTES_MAX: usize = MIB;
/// Of the reason that a socket is closed with: a control frame has 125 bytes, two of them the code.
pub(crate) const CLOSE_REASON_BYTES_MAX: usize = 123;
/// What one message may say to sockets.
pub(crate) const SAID_BYTES_MAX: usize = 8 * MIB;
pub(crate) const SAID_MAX: usize = 10_000;
/// What was said and waits for commits, before the next message waits with it.
pub(crate) const SAID_HELD_BYTES_MAX: usize = 2 * SAID_BYTES_MAX;
/// A connection's parameters and subscriptions, as they are stored.
pub(crate) const CONNECTION_META_BYTES_MAX: usize = 64 * KIB;
/// What the guest keeps with a connection.
pub(crate) const CONNECTION_STATE_BYTES_MAX: usize = 64 * KIB;
/// Both, of all connections of one actor: they are in memory while it is.
pub(crate) const CONNECTIONS_BYTES_MAX: usize = 64 * MIB;
/// Of all records of connections so many are read at a time.
pub(crate) const CONNECTION_RECORDS_PER_READ: usize = 128;
/// So many messages of one socket may go by before it is written down that they were handled: their numbers have 16 bits and wrap.
pub(crate) const SOCKET_INDEX_STEP: u16 = 8192;
pub(crate) const SCHEDULES_MAX: usize = 1024;
/// Ids, actions and arguments of one actor's schedules; they are in memory while it is awake.
pub(crate) const SCHEDULES_BYTES_MAX: usize = MIB;
pub(crate) const SCHEDULE_ID_BYTES_MAX: usize = 256;
/// Names of actions and of queues.
pub(crate) const NAME_BYTES_MAX: usize = 256;
/// Messages that wait in one actor's queue, and the bytes of their names and bodies.
pub(crate) const QUEUE_MESSAGES_MAX: u64 = 10_000;
pub(crate) const QUEUE_BYTES_MAX: u64 = 64 * MIB as u64;
pub(crate) const QUEUE_MESSAGE_BYTES_MAX: usize = MIB;
/// How long a client may wait for its message of the queue to be handled; gateways wait 300 s for a response to begin.
pub(crate) const QUEUE_WAIT_MS_MAX: u64 = 290_000;
/// Keys of one page of `wasi:keyvalue`, and values of one batch.
pub(crate) const KEYVALUE_PAGE_MAX: usize = 1000;
pub(crate) const KEYVALUE_BATCH_MAX: usize = 1000;
/// Outgoing requests of one actor that may be under way.
pub(crate) const OUTBOUND_AT_ONCE_MAX: usize = 16;
/// For the look-up of a name and the connection, and once more for TLS.
pub(crate) const OUTBOUND_CONNECT_MS: u64 = 10_000;
/// Until the response begins, and between its pieces.
pub(crate) const OUTBOUND_WAIT_MS: u64 = 60_000;
pub(crate) const OUTBOUND_WAIT_MS_MAX: u64 = MESSAGE_MS;
pub(crate) const OUTBOUND_HEAD_BYTES_MAX: usize = 64 * KIB;
pub(crate) const OUTBOUND_HEADERS_MAX: usize = 256;
/// What writes on their way to the disk may hold in memory before the next message waits for them.
pub(crate) const PENDING_BYTES_MAX: usize = 4 * KV_WRITE_BYTES_MAX;
pub(crate) const PENDING_CHANGES_MAX: usize = 16_384;
pub(crate) const READ_CACHE_BYTES: usize = 32 * KIB;

/// A longer response body is counted until it has left. To an engine elsewhere it is streamed.
pub(crate) const RESPONSE_WHOLE_BYTES_MAX: usize = BODY_CHUNK_BYTES_MAX;
pub(crate) const RESPONSE_BODY_BYTES_MAX: usize = 20 * MIB;
/// Bodies of one actor that were returned whole and are still being sent; its next message waits for room.
pub(crate) const OUTBOX_BYTES_MAX: usize = 2 * RESPONSE_BODY_BYTES_MAX;
/// What one unit of that room stands for.
pub(crate) const KIB_PERMIT: usize = KIB;
pub(crate) const RESPONSE_HEADERS_MAX: usize = 256;
pub(crate) const RESPONSE_HEADER_BYTES_MAX: usize = 64 * KIB;
/// Request bodies of one actor that are being put together while other messages run.
pub(crate) const GATHERED_BYTES_MAX: usize = 64 * MIB;

pub(crate) const LOG_LINES_PER_MESSAGE_MAX: usize = 1_000;
pub(crate) const LOG_LINES_PER_BATCH: usize = 64;
pub(crate) const LOG_BYTES_PER_BATCH: usize = 64 * KIB;

/// Components kept ready to instantiate, besides those in use.
pub(crate) const PREPARED_MAX: usize = 256;
pub(crate) const COMPONENT_WAIT_MS: u64 = 60_000;
pub(crate) const CACHE_BYTES_MAX: u64 = 4 * 1024 * MIB as u64;

const _: () = assert!(FIBER_STACK_BYTES >= WASM_STACK_BYTES + 256 * KIB, "host functions need room on the guest's stack");
const _: () = assert!(RESPONSE_BODY_BYTES_MAX < HOSTCALL_BYTES_MAX, "a permitted response must be able to leave the guest");
const _: () = assert!(RESPONSE_BODY_BYTES_MAX <= OUTBOX_BYTES_MAX, "a permitted response must fit, or it never leaves");
const _: () = assert!(SOCKETS_PER_ACTOR_MAX + SOCKET_UNACKED_MESSAGES_MAX <= SOCKET_MAIL_MAX, "all that one client may send fits");
const _: () = assert!(OUTGOING_BYTES_MAX <= SAID_BYTES_MAX, "one message must fit");
const _: () =
    assert!(CONNECTION_RECORDS_PER_READ * (CONNECTION_META_BYTES_MAX + KIB) <= KV_LIST_BYTES_MAX, "a page must be answered");
const _: () = assert!(CONNECTION_META_BYTES_MAX <= KV_VALUE_BYTES_MAX && CONNECTION_STATE_BYTES_MAX <= KV_VALUE_BYTES_MAX);
const _: () = assert!(QUEUE_MESSAGE_BYTES_MAX + NAME_BYTES_MAX < OWN_WRITE_BYTES_MAX, "one message of the queue must fit");
const _: () = assert!(SCHEDULES_BYTES_MAX + 64 * SCHEDULES_MAX < KV_LIST_BYTES_MAX, "an agenda is read by one list");
const _: () = assert!(SCHEDULES_MAX + 2 < KV_LIST_ENTRIES_MAX, "an agenda is read by one list");
const _: () = assert!(REQUEST_BODY_BYTES_MAX as usize <= GATHERED_BYTES_MAX, "one request must fit");

/// How a [`crate::Runner`] is set up.
pub struct Config {
    /// Where compiled components are kept. Code from here is run: nobody else may write to it.
    pub cache_dir: cap_std::fs::Dir,
    pub memory_per_actor_bytes: usize,
    pub memory_total_bytes: usize,
    /// Actors in memory at one time; `None` takes what the kernel's limit on memory mappings allows.
    pub actors_max: Option<usize>,
    /// In place of that limit, for tests.
    pub mappings_allowed: Option<usize>,
    pub cpu_per_message_ms: u64,
    pub message_ms: u64,
    pub idle_before_sleep_ms: u64,
    /// Folders that every guest may see. None by default.
    pub grants: Vec<Grant>,
    /// Whom guests' requests over TLS believe.
    pub tls: Arc<ClientConfig>,
    /// In place of the machine's, for tests.
    pub clock: Option<Arc<dyn Clock>>,
    /// Where spans go, if requests are traced.
    pub spans: Option<Arc<dyn Spans>>,
    /// Whether guests' requests to elsewhere say which trace they belong to.
    pub sends_traceparent: bool,
    /// For trying a component: nothing may leave.
    pub isolated: Option<Isolated>,
}

/// No outgoing request leaves, whatever a deployment allows; clients that an actor knows count as connected; and processor time is
/// counted to the microsecond.
#[derive(Clone)]
pub struct Isolated {
    /// Hears where each would have gone: its method, and scheme, host and port.
    pub outgoing: Arc<dyn Fn(&str) + Send + Sync>,
    /// As many components as are tried with it stay in memory.
    pub code: Arc<Code>,
}

impl Config {
    pub fn new(cache_dir: cap_std::fs::Dir, tls: Arc<ClientConfig>) -> Config {
        Config {
            cache_dir,
            memory_per_actor_bytes: MEMORY_PER_ACTOR_BYTES,
            memory_total_bytes: MEMORY_TOTAL_BYTES,
            actors_max: None,
            mappings_allowed: None,
            cpu_per_message_ms: CPU_PER_MESSAGE_MS,
            message_ms: MESSAGE_MS,
            idle_before_sleep_ms: IDLE_BEFORE_SLEEP_MS,
            grants: Vec::new(),
            tls,
            clock: None,
            isolated: None,
            spans: None,
            sends_traceparent: false,
        }
    }
}

/// A folder of the host that guests see under a path of their own.
#[derive(Clone, Debug)]
pub struct Grant {
    pub guest_path: String,
    pub host_path: PathBuf,
    pub read_only: bool,
}

/// Why a runner could not be set up.
#[derive(Debug)]
pub enum StartError {
    /// `Runner::new` was called outside of an asynchronous runtime.
    NoRuntime,
    /// The processor or the kernel lacks something that the sandbox needs.
    Sandbox(String),
    /// The thread that interrupts guests could not be started.
    Ticker(std::io::Error),
    /// The threads for those that compute for long could not be started.
    Lanes(std::io::Error),
    /// A granted folder cannot be opened.
    Grant { host_path: PathBuf, cause: std::io::Error },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::NoRuntime => f.write_str("the runner must be created inside a tokio runtime"),
            StartError::Sandbox(cause) => write!(f, "the WebAssembly sandbox cannot be set up: {cause}"),
            StartError::Ticker(cause) => write!(f, "the thread that limits processor time cannot be started: {cause}"),
            StartError::Lanes(cause) => write!(f, "the threads for actors that compute for long cannot be started: {cause}"),
            StartError::Grant { host_path, cause } => {
                write!(f, "the folder {} that is granted to guests cannot be opened: {cause}", host_path.display())
            }
        }
    }
}

impl std::error::Error for StartError {}
