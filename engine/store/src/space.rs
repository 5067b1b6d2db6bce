//! How much room the disk has left, and what is done about it before it has none.
//!
//! Two marks, in bytes that are free. Below the first, the *reserve*, who asks for something that grows is refused at the door, and
//! what is under way goes on. Below the second, an eighth of the first, commits wait: nothing is written, nothing is acknowledged and
//! nothing fails, until there is room again. So the reserve is what RocksDB has for writing out and compacting what was
//! acknowledged. This file knows numbers and waits; what is refused, and how, is said elsewhere.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The second mark is so many times smaller than the first.
const RESERVE_TO_STOP: u64 = 8;
/// Room is made by somebody else, so it must be looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// Opening the database again needs room of its own, and time.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);
const TRY_AGAIN_BYTES_MIN: u64 = 16 * 1024 * 1024;
/// A look is a system call.
const LOOK_AT_MOST_EVERY: Duration = Duration::from_millis(20);

/// What the store's file system has, and what it should have.
pub struct Space {
    path: PathBuf,
    reserve_bytes: u64,
    free_bytes: AtomicU64,
    is_low: AtomicBool,
    /// A write met the end of the disk, whatever the file system says about it; until one has gone well again.
    met_the_end: AtomicBool,
    looked: Mutex<Option<Instant>>,
    waiting: Mutex<Waiting>,
    given_up: Condvar,
}

#[derive(Default)]
struct Waiting {
    is_over: bool,
}

/// The wait for room was given up: the store is being closed.
#[derive(PartialEq, Eq, Debug)]
pub struct GivenUp;

impl Space {
    /// A reserve of 0: writes are tried until the disk refuses one.
    pub fn new(path: &Path, reserve_bytes: u64) -> Space {
        let space = Space {
            path: path.to_owned(),
            reserve_bytes,
            free_bytes: AtomicU64::new(u64::MAX),
            is_low: AtomicBool::new(false),
            met_the_end: AtomicBool::new(false),
            looked: Mutex::default(),
            waiting: Mutex::default(),
            given_up: Condvar::new(),
        };
        space.look();
        space
    }

    /// Whether what grows is to be refused.
    pub fn is_low(&self) -> bool {
        self.is_low.load(Ordering::Relaxed)
    }

    pub fn free_bytes(&self) -> u64 {
        self.free_bytes.load(Ordering::Relaxed)
    }

    pub fn reserve_bytes(&self) -> u64 {
        self.reserve_bytes
    }

    /// Asks the file system. Blocking, but for no longer than a system call.
    pub fn look(&self) {
        // A file system that does not answer is no reason to refuse anything: the writes will say what is wrong.
        let free_bytes = free_bytes(&self.path).unwrap_or(u64::MAX);
        self.free_bytes.store(free_bytes, Ordering::Relaxed);
        let is_low = free_bytes < self.reserve_bytes || self.met_the_end.load(Ordering::Relaxed);
        if self.is_low.swap(is_low, Ordering::Relaxed) != is_low {
            let (path, reserve_bytes) = (self.path.display(), self.reserve_bytes);
            match is_low {
                true => {
                    tracing::error!(%path, free_bytes, reserve_bytes, "the disk is nearly full: what grows is refused until there is room")
                }
                false => tracing::info!(%path, free_bytes, reserve_bytes, "the disk has room again"),
            }
        }
    }

    /// Before each commit: returns at once while there is room for it.
    pub(crate) fn wait_for_room(&self) -> Result<(), GivenUp> {
        self.look_if_due();
        if self.has_room() {
            return Ok(());
        }
        tracing::error!(path = %self.path.display(), free_bytes = self.free_bytes(), "the disk is full: commits wait until there is room");
        self.wait_until(Space::has_room)
    }

    /// After a write that met the end of the disk: waits until it is worth another try. A quota ends without the file system showing it,
    /// so what it shows is not all that counts.
    pub(crate) fn wait_after_the_end(&self) -> Result<(), GivenUp> {
        self.met_the_end.store(true, Ordering::Relaxed);
        self.look();
        let free_bytes = self.free_bytes();
        tracing::error!(path = %self.path.display(), free_bytes, "the disk had no room for a write: commits wait until there is some");
        let (met, enough) = (Instant::now(), self.reserve_bytes.max(TRY_AGAIN_BYTES_MIN));
        self.wait_until(|space| met.elapsed() >= TRY_AGAIN_AFTER && space.free_bytes() >= enough)
    }

    pub(crate) fn went_well(&self) {
        if self.met_the_end.swap(false, Ordering::Relaxed) {
            self.look();
        }
    }

    /// Commits that wait, and later ones that would, fail: nobody was told that they are durable, and they are not.
    pub(crate) fn give_up(&self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).is_over = true;
        self.given_up.notify_all();
    }

    fn has_room(&self) -> bool {
        self.free_bytes() >= self.reserve_bytes / RESERVE_TO_STOP
    }

    fn look_if_due(&self) {
        if self.reserve_bytes == 0 {
            return;
        }
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if looked.is_none_or(|at| at.elapsed() >= LOOK_AT_MOST_EVERY) {
            *looked = Some(Instant::now());
            self.look();
        }
    }

    fn wait_until(&self, is_so: impl Fn(&Space) -> bool) -> Result<(), GivenUp> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if waiting.is_over {
                return Err(GivenUp);
            }
            waiting = self.given_up.wait_timeout(waiting, LOOK_AGAIN).unwrap_or_else(PoisonError::into_inner).0;
            self.look();
            if is_so(self) {
                return Ok(());
            }
        }
    }
}

/// What an ordinary user may still write there.
pub fn free_bytes(path: &Path) -> std::io::Result<u64> {
    let found = rustix::fs::statvfs(path)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}
