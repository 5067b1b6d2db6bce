//! Whether an actor has something to do, for who looks for one that can be put to sleep.
//!
//! Two words that its task writes between messages and everybody may read, so that a message costs no lock for it.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};

/// It is starting, or a message runs.
const BUSY: u8 = 0;
/// Nothing stands in line.
const IDLE: u8 = 1;
/// The same, and it wishes to sleep: it has been idle for long, or somebody needs its room.
const WISHES: u8 = 2;
/// It has been told to stop.
const STOPPING: u8 = 3;

#[derive(Default)]
pub struct Rest {
    state: AtomicU8,
    since_us: AtomicU64,
}

impl Rest {
    pub fn is_idle(&self) -> bool {
        self.state.load(SeqCst) == IDLE
    }

    /// It is on its way to sleep, and nothing has come between.
    pub fn is_leaving(&self) -> bool {
        matches!(self.state.load(SeqCst), WISHES | STOPPING)
    }

    /// When the latest message ended.
    pub fn since_us(&self) -> u64 {
        self.since_us.load(Relaxed)
    }

    /// Makes it wish to sleep, if it is idle.
    pub fn ask(&self) -> bool {
        self.state.compare_exchange(IDLE, WISHES, SeqCst, SeqCst).is_ok()
    }

    // For its task.

    pub fn idle(&self, since_us: u64) {
        self.since_us.store(since_us, Relaxed);
        self.state.store(IDLE, SeqCst);
    }

    pub fn wish(&self) {
        self.state.store(WISHES, SeqCst);
    }

    pub fn wishes(&self) -> bool {
        self.state.load(SeqCst) == WISHES
    }

    pub fn end(&self, stops: bool) {
        self.state.store(if stops { STOPPING } else { BUSY }, SeqCst);
    }
}
