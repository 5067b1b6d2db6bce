//! How much room the disk has left, and what is done about it before it has none.
//!
//! Two marks, in bytes that are free. Below the first, the *reserve*, who asks for something that grows is refused at the door, and
//! what is under way goes on. Below the second, an eighth of the first, commits wait: nothing is written, nothing is acknowledged and
//! nothing fails, until there is room again. So the reserve is what RocksDB has for writing out and compacting what was
//! acknowledged. This file knows numbers and waits; what is refused, and how, is said elsewhere.

use std::cell::Cell;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::FallocateFlags;

/// The second mark is so many times smaller than the first.
const RESERVE_TO_STOP: u64 = 8;
/// Room is made by somebody else, so it must be looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// Opening the database again needs room of its own, and time.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);
const TRY_AGAIN_BYTES_MIN: u64 = 16 * 1024 * 1024;
/// A file that is gone before anything is in it.
const PROBE: &str = "room";
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
    /// A commit waits for the second mark.
    is_awaited: AtomicBool,
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
            is_awaited: AtomicBool::new(false),
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

    /// Whether commits wait for room.
    pub fn makes_wait(&self) -> bool {
        self.is_awaited.load(Ordering::Relaxed) || self.met_the_end.load(Ordering::Relaxed)
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
        self.is_awaited.store(true, Ordering::Relaxed);
        let waited = self.wait_until(Space::has_room);
        self.is_awaited.store(false, Ordering::Relaxed);
        waited
    }

    /// After a write that met the end of the disk: waits until it is worth another try. A quota ends without the file system showing it:
    /// what that shows is not all that counts, and the room is taken for a moment, to see whether it may be.
    pub(crate) fn wait_after_the_end(&self) -> Result<(), GivenUp> {
        let is_new = !self.met_the_end.swap(true, Ordering::Relaxed);
        self.look();
        let free_bytes = self.free_bytes();
        if is_new {
            tracing::error!(path = %self.path.display(), free_bytes, "the disk had no room for a write: commits wait until there is some");
        }
        let enough = self.reserve_bytes.max(TRY_AGAIN_BYTES_MIN);
        let tried = Cell::new(Instant::now());
        self.wait_until(|space| {
            if tried.get().elapsed() < TRY_AGAIN_AFTER || space.free_bytes() < enough {
                return false;
            }
            tried.set(Instant::now());
            may_take(&space.path, enough)
        })
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

/// Whether so many bytes would be given, by whatever counts them. A file system that cannot lay out a file in advance says nothing.
fn may_take(folder: &Path, bytes: u64) -> bool {
    let place = folder.join(PROBE);
    let taken = File::create(&place).and_then(|file| {
        // Whatever becomes of this process, it is gone.
        fs::remove_file(&place)?;
        Ok(rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes)?)
    });
    !taken.is_err_and(|error| matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
}

/// What an ordinary user may still write there.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(path)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_tried_without_a_trace() {
        let folder = tempfile::tempdir().expect("the temporary directory can be written");
        assert!(may_take(folder.path(), 4096), "there is room for a page");
        assert_eq!(fs::read_dir(folder.path()).expect("it can be listed").count(), 0, "and it was given back");
        assert!(may_take(&folder.path().join("absent"), 4096), "what is wrong there is not a want of room");
    }

    #[test]
    fn commits_wait_from_the_end_of_the_disk_until_one_goes_well() {
        let folder = tempfile::tempdir().expect("the temporary directory can be written");
        let space = Space::new(folder.path(), 0);
        assert!(!space.makes_wait() && !space.is_low());
        space.give_up();
        assert_eq!(space.wait_after_the_end(), Err(GivenUp));
        assert!(space.makes_wait() && space.is_low(), "what waited was given up, and there is no room yet");
        space.went_well();
        assert!(!space.makes_wait() && !space.is_low());
    }
}
