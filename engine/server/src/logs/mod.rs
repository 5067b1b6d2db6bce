//! The log book: what actors have logged, kept on the disk within bounds, and who reads along.
//!
//! Whoever writes a line never waits: it is put in memory, and a thread of its own ([`keeper`]) brings what has gathered to the
//! disk in groups. Written, not synced: the end of the engine loses what had not been taken yet, a loss of power what the system
//! had not written, and neither damages what is there. Lines that come faster than the disk takes them are dropped, oldest first,
//! and the log says so. A store that fails costs lines, never the engine.
//!
//! - [`Waiting`]: the lines on their way. [`keeper`]: what brings them to the disk. [`ends`]: the sentence at the end of a generation.

pub mod ends;
mod keeper;
mod waiting;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, RwLock};
use std::thread::{self, JoinHandle};

use engine_store::actor_logs::{Between, LogEntry, LogLimits, LogSource};
use engine_store::budget::Budget;
use engine_store::{ActorLogs, StoreError};
use protocol::id::ActorId;
use protocol::limits::MIB;
use protocol::message::{LogLevel, LogLine};
use tokio::sync::watch;

use crate::clock::Clock;
use crate::lock::{lock, read};
use crate::logs::waiting::Waiting;
pub use crate::logs::waiting::{WAITING_BYTES_MAX, WAITING_BYTES_MIN};

/// What one read may have, and one line more.
pub const READ_BYTES_MAX: usize = MIB;
pub const READ_LINES_MAX: usize = 1_000;

pub const LIMITS: LogLimits =
    LogLimits { actor_bytes: MIB as u64, total_bytes: 1024 * MIB as u64, age_ms: 7 * 24 * 60 * 60 * 1_000 };

/// Where there is no disk.
pub const LIMITS_IN_MEMORY: LogLimits = LogLimits { total_bytes: 64 * MIB as u64, ..LIMITS };

pub struct LogBook {
    shared: Arc<Shared>,
    keeper: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    place: Place,
    memory: LogMemory,
    limits: LogLimits,
    clock: Clock,
    waiting: Mutex<Waiting>,
    /// Something waits to be written, or the book is to be closed.
    filled: Condvar,
    /// None: it cannot be opened, and is tried again.
    kept: RwLock<Option<Arc<ActorLogs>>>,
    /// Something in it could not be read for what it is.
    damaged: AtomicBool,
    followers: Mutex<HashMap<ActorId, watch::Sender<u64>>>,
    /// Nobody will write any more.
    ended: AtomicBool,
    dropped: AtomicU64,
}

/// Where lines are kept.
pub enum Place {
    Folder(PathBuf),
    /// For as long as the process lives.
    Memory,
}

/// What memory it may have.
pub struct LogMemory {
    /// Of lines on their way to the disk.
    pub waiting_bytes: usize,
    /// Of its store; none: what is usual.
    pub store: Option<Budget>,
}

impl Default for LogMemory {
    fn default() -> LogMemory {
        LogMemory { waiting_bytes: WAITING_BYTES_MAX, store: None }
    }
}

impl LogBook {
    /// Never fails because of what is in the folder.
    pub fn start(place: Place, limits: LogLimits, clock: Clock) -> io::Result<LogBook> {
        LogBook::start_within(place, limits, clock, LogMemory::default())
    }

    pub fn start_within(place: Place, limits: LogLimits, clock: Clock, memory: LogMemory) -> io::Result<LogBook> {
        let shared = Arc::new(Shared {
            place,
            limits,
            clock,
            waiting: Mutex::new(Waiting::new(limits.actor_bytes, memory.waiting_bytes)),
            memory,
            filled: Condvar::new(),
            kept: RwLock::new(None),
            damaged: AtomicBool::new(false),
            followers: Mutex::default(),
            ended: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
        });
        let mut keeper = keeper::Keeper::open(shared.clone());
        let keeper = thread::Builder::new().name("logs".to_string()).spawn(move || keeper.run())?;
        Ok(LogBook { shared, keeper: Mutex::new(Some(keeper)) })
    }

    /// What an actor logged. Returns at once.
    pub fn write(&self, actor: ActorId, lines: Vec<LogLine>) {
        self.push(actor, LogSource::Actor, lines);
    }

    /// What the engine has to say about it, by its own clock.
    pub fn note(&self, actor: ActorId, level: LogLevel, text: String) {
        self.push(actor, LogSource::Engine, vec![LogLine { time_ms: self.shared.clock.now_ms(), level, text }]);
    }

    fn push(&self, actor: ActorId, source: LogSource, lines: Vec<LogLine>) {
        let shared = &self.shared;
        let mut waiting = lock(&shared.waiting);
        let was_empty = waiting.is_empty();
        let dropped = waiting.push(actor, source, lines);
        let last = waiting.last;
        drop(waiting);
        shared.dropped.fetch_add(dropped, Ordering::Relaxed);
        if was_empty {
            shared.filled.notify_one();
        }
        if let Some(follower) = lock(&shared.followers).get(&actor) {
            follower.send_replace(last);
        }
    }

    /// Lines of an actor in their order, from the first on: at most [`READ_LINES_MAX`] and about [`READ_BYTES_MAX`]. Empty only if
    /// there is none. Waits for the disk.
    pub fn read(&self, actor: ActorId, between: Between) -> Result<Vec<LogEntry>, StoreError> {
        let recent = lock(&self.shared.waiting).read(actor, between, READ_LINES_MAX, READ_BYTES_MAX);
        let before = recent.first().map_or(between.before, |entry| entry.number);
        let kept = |kept: &ActorLogs| kept.read(actor, Between { before, ..between }, READ_LINES_MAX, READ_BYTES_MAX);
        let mut entries = self.ask_disk(kept)?;
        // If there is more on the disk, what is in memory comes later; else it follows without a gap.
        if entries.is_empty() {
            return Ok(recent);
        }
        let bytes: usize = entries.iter().map(|entry| entry.text.len()).sum();
        if entries.len() < READ_LINES_MAX && bytes < READ_BYTES_MAX {
            entries.extend(recent);
        }
        Ok(entries)
    }

    /// The number after which the newest `lines` lines come, of those that are between and not older than `since_ms`. Waits for
    /// the disk.
    pub fn newest(&self, actor: ActorId, between: Between, since_ms: u64, lines: usize) -> Result<u64, StoreError> {
        let (before, after, found, is_all) = lock(&self.shared.waiting).newest(actor, between, since_ms, lines);
        if is_all {
            return Ok(after);
        }
        let kept = |kept: &ActorLogs| kept.newest(actor, Between { before, ..between }, since_ms, lines - found).map(Some);
        match self.ask_disk(kept)? {
            Some((older, more)) if more > 0 => Ok(older),
            _ => Ok(after),
        }
    }

    /// Drops all that these actors have logged. Waits for the disk.
    pub fn remove(&self, actors: &[ActorId]) -> Result<(), StoreError> {
        lock(&self.shared.waiting).remove(actors);
        self.ask_disk(|kept| kept.remove(actors))
    }

    fn ask_disk<T: Default>(&self, ask: impl FnOnce(&ActorLogs) -> Result<T, StoreError>) -> Result<T, StoreError> {
        // While it is not there, what is in memory is all there is.
        let Some(kept) = read(&self.shared.kept).clone() else { return Ok(T::default()) };
        ask(&kept).inspect_err(|error| {
            if matches!(error, StoreError::Corrupt { .. }) {
                self.shared.damaged.store(true, Ordering::Release);
                self.shared.filled.notify_one();
            }
        })
    }

    /// Wakes its holder whenever this actor has logged something.
    pub fn follow(&self, actor: ActorId) -> watch::Receiver<u64> {
        let mut followers = lock(&self.shared.followers);
        // As many as there are clients that follow, and one that has just left.
        followers.retain(|_, follower| follower.receiver_count() > 0);
        followers.entry(actor).or_insert_with(|| watch::Sender::new(0)).subscribe()
    }

    /// Whoever follows may go: the engine is about to stop.
    pub fn end(&self) {
        self.shared.ended.store(true, Ordering::Release);
        for follower in lock(&self.shared.followers).values() {
            follower.send_modify(|_| {});
        }
    }

    pub fn has_ended(&self) -> bool {
        self.shared.ended.load(Ordering::Acquire)
    }

    /// Writes what waits, and closes the store.
    pub fn close(&self) {
        lock(&self.shared.waiting).close();
        self.shared.filled.notify_one();
        if lock(&self.keeper).take().is_some_and(|keeper| keeper.join().is_err()) {
            tracing::error!("the thread that writes what actors log ended by a panic");
        }
    }

    /// What lines take that are on their way to the disk.
    pub fn waiting_bytes(&self) -> usize {
        lock(&self.shared.waiting).bytes()
    }

    /// What the lines on the disk take, and how many were dropped because the disk was too slow. Never waits for the disk.
    pub fn figures(&self) -> (u64, u64) {
        let bytes = read(&self.shared.kept).as_ref().map_or(0, |kept| kept.bytes());
        (bytes, self.shared.dropped.load(Ordering::Relaxed))
    }
}

impl Drop for LogBook {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests;
