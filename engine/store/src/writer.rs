//! The one thread that writes.
//!
//! A sync costs the disk the same for one batch as for a thousand, so all that waits is merged and written with one. While the
//! disk is busy with a group the next one gathers; nobody ever waits for a timer. The thread calls each `done` itself, in the
//! order of submission, and only when what the mode promises is so. It never tries again: a failure poisons the store. A disk
//! without room is none: the backend waits for it, and so does all that is queued.
//!
//! The queue holds at most [`QUEUE_BATCHES_MAX`] batches and [`QUEUE_BYTES_MAX`] bytes. At either bound `submit` blocks until a
//! group has been taken: whoever produces writes faster than the disk takes them is slowed down to the disk, which bounds
//! memory and loses nothing. Below the bounds it never blocks. While the disk has no room that could be for ever: [`Writer::offer`]
//! then gives the batch back instead. A `done` that submits is on the writer's own thread and is
//! never made to wait, because it would wait for itself.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::{Duration, Instant};

use protocol::histogram::{Counted, Histogram};
use protocol::limits::{COMMITS_IN_FLIGHT_PER_ACTOR_MAX, KV_WRITE_BYTES_MAX, MIB};

use crate::error::StoreError;
use crate::group::Group;
use crate::store::{Batch, Persist, Store};

/// Batches that may wait.
pub const QUEUE_BATCHES_MAX: usize = 16 * 1024;
/// Bytes that may wait, unless there is less memory for them; one batch more than this is taken when the queue is empty.
pub const QUEUE_BYTES_MAX: usize = 64 * MIB;
/// The least memory for them: a group can be gathered while another one is written.
pub const QUEUE_BYTES_MIN: usize = GROUP_BYTES_MAX;
/// Batches of one group; bounds how long the first of it waits for the last.
pub const GROUP_BATCHES_MAX: usize = 1024;
/// How often one who waits for room in the queue asks whether it is the disk that has none.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// Bytes of one group.
pub const GROUP_BYTES_MAX: usize = 8 * MIB;

const _: () = assert!(GROUP_BYTES_MAX <= QUEUE_BYTES_MAX && GROUP_BATCHES_MAX <= QUEUE_BATCHES_MAX);
const _: () = assert!(QUEUE_BYTES_MAX >= COMMITS_IN_FLIGHT_PER_ACTOR_MAX * KV_WRITE_BYTES_MAX, "one actor alone must not block");

/// What `Ok` means for a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Durability {
    /// On the disk: survives loss of power.
    #[default]
    Sync,
    /// With the operating system, and on the disk so many milliseconds later: survives the end of the engine, and loses at
    /// most that much when the power fails.
    Batch { ms: u64 },
    /// With the operating system, which writes it when it likes (half a minute): survives the end of the engine.
    Relaxed,
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Durability::Sync => f.write_str("sync"),
            Durability::Batch { ms } => write!(f, "batch ({ms} ms)"),
            Durability::Relaxed => f.write_str("relaxed"),
        }
    }
}

/// Called once for each batch, on the writer's thread: it should hand the result on and return.
pub type Done = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// Dropping it writes what waits, and then ends the thread.
pub struct Writer {
    store: Arc<dyn Store>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    id: ThreadId,
}

/// What the writer has done so far, and what waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Figures {
    pub groups: u64,
    pub commits: u64,
    pub conflicts: u64,
    /// Of all commits: keys and values, and a little for each operation.
    pub bytes: u64,
    /// Times the disk was told to sync.
    pub syncs: u64,
    pub failures: u64,
    pub queued: u64,
    pub queued_bytes: u64,
    /// How long each write took that was synced, and each sync alone.
    pub sync_durations: Counted,
}

#[derive(Default)]
struct Counters {
    groups: AtomicU64,
    commits: AtomicU64,
    conflicts: AtomicU64,
    bytes: AtomicU64,
    syncs: AtomicU64,
    failures: AtomicU64,
    syncing: Histogram,
}

struct Shared {
    queue: Mutex<Queue>,
    /// Something was submitted, or the queue was closed.
    filled: Condvar,
    /// A group was taken.
    taken: Condvar,
    counters: Counters,
}

struct Queue {
    entries: VecDeque<Entry>,
    bytes: usize,
    bytes_max: usize,
    closed: bool,
    /// The writer sleeps: waking it is a system call, so it is done only then.
    writer_waits: bool,
    submitters_wait: usize,
}

struct Entry {
    batch: Batch,
    done: Done,
}

impl Writer {
    pub fn start(store: Arc<dyn Store>, mode: Durability) -> Writer {
        Writer::start_within(store, mode, QUEUE_BYTES_MAX)
    }

    /// With so much memory for what waits, as far as that is possible.
    pub fn start_within(store: Arc<dyn Store>, mode: Durability, bytes: usize) -> Writer {
        let bytes_max = bytes.clamp(QUEUE_BYTES_MIN, QUEUE_BYTES_MAX);
        let queue = Queue { entries: VecDeque::new(), bytes: 0, bytes_max, closed: false, writer_waits: false, submitters_wait: 0 };
        let shared = Arc::new(Shared {
            queue: Mutex::new(queue),
            filled: Condvar::new(),
            taken: Condvar::new(),
            counters: Counters::default(),
        });
        let run = Run { store: store.clone(), mode, shared: shared.clone(), unsynced_since: None };
        let thread = thread::Builder::new().name("store-writer".to_owned());
        let thread = thread.spawn(move || run.run()).expect("a process that cannot start one thread cannot run");
        Writer { store, shared, id: thread.thread().id(), thread: Some(thread) }
    }

    /// Queues the batch. `done` is called once, after those of all earlier batches.
    pub fn submit(&self, batch: Batch, done: Done) {
        let back = self.queue(batch, done, || true);
        debug_assert!(back.is_none(), "it waits");
    }

    /// The same, but gives both back instead of waiting while commits wait for room on the disk.
    pub fn offer(&self, batch: Batch, done: Done) -> Option<(Batch, Done)> {
        self.queue(batch, done, || !self.waits_for_room())
    }

    pub fn waits_for_room(&self) -> bool {
        self.store.waits_for_room()
    }

    fn queue(&self, batch: Batch, done: Done, waits: impl Fn() -> bool) -> Option<(Batch, Done)> {
        let bytes = batch.bytes();
        let mut queue = self.shared.lock();
        if thread::current().id() != self.id {
            while !queue.closed && queue.is_full(bytes) {
                if !waits() {
                    return Some((batch, done));
                }
                queue.submitters_wait += 1;
                queue = self.shared.taken.wait_timeout(queue, ASK_AGAIN).unwrap_or_else(PoisonError::into_inner).0;
                queue.submitters_wait -= 1;
            }
        }
        if queue.closed {
            drop(queue);
            done(Err(StoreError::Closed));
            return None;
        }
        queue.bytes += bytes;
        queue.entries.push_back(Entry { batch, done });
        let wake = std::mem::take(&mut queue.writer_waits);
        drop(queue);
        if wake {
            self.shared.filled.notify_one();
        }
        None
    }

    pub fn figures(&self) -> Figures {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.shared.counters;
        let queue = self.shared.lock();
        Figures {
            groups: load(&counters.groups),
            commits: load(&counters.commits),
            conflicts: load(&counters.conflicts),
            bytes: load(&counters.bytes),
            syncs: load(&counters.syncs),
            failures: load(&counters.failures),
            queued: queue.entries.len() as u64,
            queued_bytes: queue.bytes as u64,
            sync_durations: counters.syncing.counted(),
        }
    }

    /// Writes and syncs what waits, in every mode, and ends. Batches submitted from now on get `Closed`.
    pub fn close(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.shared.close();
        if let Some(thread) = self.thread.take() {
            if thread::current().id() == self.id {
                // Dropped by a `done`: the thread ends by itself once that returns.
                return;
            }
            if thread.join().is_err() {
                tracing::error!("the store's writer ended by a panic");
            }
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
        self.taken.notify_all();
    }
}

impl Queue {
    fn is_full(&self, more_bytes: usize) -> bool {
        self.entries.len() >= QUEUE_BATCHES_MAX || (!self.entries.is_empty() && self.bytes + more_bytes > self.bytes_max)
    }

    /// The oldest ones, up to the bounds of a group; one that is larger than a group goes alone.
    fn take_group(&mut self) -> Vec<Entry> {
        let mut bytes = 0;
        let mut count = 0;
        for entry in self.entries.iter().take(GROUP_BATCHES_MAX) {
            if count > 0 && bytes + entry.batch.bytes() > GROUP_BYTES_MAX {
                break;
            }
            bytes += entry.batch.bytes();
            count += 1;
        }
        self.bytes -= bytes;
        self.entries.drain(..count).collect()
    }
}

/// The thread's own.
struct Run {
    store: Arc<dyn Store>,
    mode: Durability,
    shared: Arc<Shared>,
    /// When the oldest write was made that is not synced.
    unsynced_since: Option<Instant>,
}

impl Run {
    fn run(mut self) {
        while let Some(group) = self.next_group() {
            if !group.is_empty() {
                self.write(group);
            }
            self.sync_if_due();
        }
        if self.unsynced_since.is_some() {
            self.sync();
        }
    }

    /// What waits; empty if a sync is due before something does. `None`: closed, and all is written.
    fn next_group(&self) -> Option<Vec<Entry>> {
        let mut queue = self.shared.lock();
        while queue.entries.is_empty() {
            if queue.closed {
                return None;
            }
            let wait = self.until_sync();
            if wait == Some(Duration::ZERO) {
                return Some(Vec::new());
            }
            queue.writer_waits = true;
            queue = match wait {
                Some(wait) => self.shared.filled.wait_timeout(queue, wait).unwrap_or_else(PoisonError::into_inner).0,
                None => self.shared.filled.wait(queue).unwrap_or_else(PoisonError::into_inner),
            };
            queue.writer_waits = false;
        }
        let group = queue.take_group();
        if queue.submitters_wait > 0 {
            self.shared.taken.notify_all();
        }
        Some(group)
    }

    fn write(&mut self, entries: Vec<Entry>) {
        let mut group = Group::new();
        let mut waiting = Vec::with_capacity(entries.len());
        let mut conflicts = 0;
        for Entry { batch, done } in entries {
            let taken = group.add(&*self.store, batch);
            conflicts += u64::from(matches!(taken, Err(StoreError::Conflict { .. })));
            waiting.push((taken, done));
        }
        let persist = if self.mode == Durability::Sync { Persist::Synced } else { Persist::Written };
        let began = Instant::now();
        let written = self.store.commit(group.merged(), persist);
        if persist == Persist::Synced {
            self.shared.counters.syncing.count(began.elapsed());
        }
        self.count(&group, conflicts, persist, &written);
        if written.is_ok() && persist == Persist::Written && self.unsynced_since.is_none() {
            self.unsynced_since = Some(Instant::now());
        }
        for (taken, done) in waiting {
            // A conflict may be one with a batch of this group: if that was not written, the conflict is not true either.
            tell(done, written.clone().and(taken));
        }
    }

    fn count(&self, group: &Group, conflicts: u64, persist: Persist, written: &Result<(), StoreError>) {
        let counters = &self.shared.counters;
        let add = |counter: &AtomicU64, more: u64| {
            counter.fetch_add(more, Ordering::Relaxed);
        };
        add(&counters.conflicts, conflicts);
        match written {
            Ok(()) => {
                add(&counters.groups, 1);
                add(&counters.commits, group.batches() as u64);
                add(&counters.bytes, group.merged().bytes() as u64);
                add(&counters.syncs, u64::from(persist == Persist::Synced && !group.merged().is_empty()));
            }
            Err(_) => add(&counters.failures, 1),
        }
    }

    /// How long until what is unsynced must be synced; none if nothing ever must.
    fn until_sync(&self) -> Option<Duration> {
        let Durability::Batch { ms } = self.mode else { return None };
        let since = self.unsynced_since?;
        Some(Duration::from_millis(ms).saturating_sub(since.elapsed()))
    }

    fn sync_if_due(&mut self) {
        if self.until_sync() == Some(Duration::ZERO) {
            self.sync();
        }
    }

    fn sync(&mut self) {
        self.unsynced_since = None;
        let began = Instant::now();
        let synced = self.store.sync();
        self.shared.counters.syncing.count(began.elapsed());
        match synced {
            Ok(()) => {
                self.shared.counters.syncs.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                // The next batch is told: the store is poisoned.
                self.shared.counters.failures.fetch_add(1, Ordering::Relaxed);
                tracing::error!(%error, "what was acknowledged in the last moments may be lost if the power fails now");
            }
        }
    }
}

impl Drop for Run {
    /// Also after a panic: nobody must wait for a thread that is gone.
    fn drop(&mut self) {
        self.shared.close();
        let left = std::mem::take(&mut self.shared.lock().entries);
        for entry in left {
            tell(entry.done, Err(StoreError::Closed));
        }
    }
}

/// A panic in it is a bug, but of one caller: the others wait for what was written, and the thread goes on.
fn tell(done: Done, verdict: Result<(), StoreError>) {
    if panic::catch_unwind(AssertUnwindSafe(|| done(verdict))).is_err() {
        tracing::error!("what was to be done after a commit panicked");
    }
}
