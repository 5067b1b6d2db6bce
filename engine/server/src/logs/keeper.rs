//! The thread that brings lines to the disk, and keeps the store they are in.
//!
//! It waits a little before each group, so that a group is worth its write and a flood has a pace. When a write fails, for want of
//! room too, the store is opened anew, when something in it is damaged it is set aside, and while the disk is nearly full nothing is written: the
//! room that is left belongs to the actors' state.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use engine_store::rocks::Tuning;
use engine_store::{ActorLogs, Memory, Rocks, Store, StoreError};
use protocol::limits::MIB;

use crate::lock::{lock, write};
use crate::logs::waiting::Group;
use crate::logs::{Place, Shared};

/// How long lines gather before they are written.
const GATHER_MS: u64 = 100;
/// How often the store is looked at when nothing is logged: for what is too old.
const LOOK_MS: u64 = 60_000;
/// After a failure.
const RETRY_MS: u64 = 5_000;
/// With less room on the disk nothing is written.
const FREE_BYTES_MIN: u64 = 256 * MIB as u64;
/// Numbers that may have been given to lines that were never written.
const NUMBERS_SKIPPED: u64 = 1 << 20;
/// Numbers begin with the moment, so that they ascend past a store that is lost: whoever goes on after one misses nothing.
const NUMBERS_PER_MS: u64 = 1_000;

pub struct Keeper {
    shared: Arc<Shared>,
    /// It has been said that lines are not kept.
    said: bool,
}

impl Keeper {
    pub fn open(shared: Arc<Shared>) -> Keeper {
        let mut keeper = Keeper { shared, said: false };
        keeper.open_store();
        keeper
    }

    pub fn run(&mut self) {
        while let Some(group) = self.next() {
            while !group.is_empty() && !self.write(&group) {
                // The next start could do no better.
                if self.wait(RETRY_MS) {
                    break;
                }
            }
            lock(&self.shared.waiting).written();
            self.look();
        }
        self.put_away();
    }

    /// None when it is over; empty when it is time to look.
    fn next(&self) -> Option<Arc<Group>> {
        let mut waiting = lock(&self.shared.waiting);
        if waiting.is_empty() && !waiting.closed {
            let look = Duration::from_millis(LOOK_MS);
            (waiting, _) = self.shared.filled.wait_timeout(waiting, look).unwrap_or_else(PoisonError::into_inner);
        }
        let (empty, closed) = (waiting.is_empty(), waiting.closed);
        drop(waiting);
        if empty {
            return (!closed).then(Arc::default);
        }
        self.wait(GATHER_MS);
        Some(lock(&self.shared.waiting).take())
    }

    /// Whether the book is to be closed; then it does not wait.
    fn wait(&self, ms: u64) -> bool {
        let waiting = lock(&self.shared.waiting);
        let wait = self.shared.filled.wait_timeout_while(waiting, Duration::from_millis(ms), |waiting| !waiting.closed);
        wait.unwrap_or_else(PoisonError::into_inner).0.closed
    }

    fn write(&mut self, group: &Group) -> bool {
        if let Some(free) = self.free_bytes().filter(|free| *free < FREE_BYTES_MIN) {
            return self.failed(&format!(
                "only {} MiB are free on the disk, and {} are left to state",
                free / MIB as u64,
                FREE_BYTES_MIN / MIB as u64
            ));
        }
        if !self.is_open() && !self.open_store() {
            return false;
        }
        let Some(kept) = self.kept() else { return false };
        match kept.write(self.shared.clock.now_ms(), group) {
            Ok(()) => {
                if std::mem::take(&mut self.said) {
                    tracing::info!("what actors log is kept again");
                }
                true
            }
            Err(error) => {
                drop(kept);
                self.failed(&error);
                self.open_anew(&error);
                false
            }
        }
    }

    /// Drops what is too old, and a store that is damaged.
    fn look(&mut self) {
        if self.shared.damaged.swap(false, Ordering::AcqRel) {
            return self.open_anew(&StoreError::Corrupt { what: "a line could not be read".to_string() });
        }
        let aged = self.kept().map_or(Ok(()), |kept| kept.age(self.shared.clock.now_ms()));
        if let Err(error) = aged {
            self.failed(&error);
            self.open_anew(&error);
        }
    }

    /// Closing it takes the disk's time: not while others wait to look.
    fn put_away(&self) {
        let kept = write(&self.shared.kept).take();
        drop(kept);
    }

    fn open_anew(&mut self, error: &StoreError) {
        self.put_away();
        if let (StoreError::Corrupt { .. }, Place::Folder(folder)) = (error, &self.shared.place) {
            set_aside(folder, error);
        }
        self.open_store();
    }

    /// Whether it is open now.
    fn open_store(&mut self) -> bool {
        let opened = match &self.shared.place {
            Place::Memory => ActorLogs::open(Arc::new(Memory::new()), self.shared.limits),
            Place::Folder(folder) => open(folder, &self.shared).or_else(|error| match error {
                StoreError::Locked { .. } | StoreError::CannotOpen { .. } | StoreError::Io { .. } => Err(error),
                _ => {
                    set_aside(folder, &error);
                    open(folder, &self.shared)
                }
            }),
        };
        match opened {
            Ok(kept) => {
                let mut waiting = lock(&self.shared.waiting);
                let moment = self.shared.clock.now_ms().saturating_mul(NUMBERS_PER_MS);
                waiting.last = waiting.last.max(moment).max(kept.last().saturating_add(NUMBERS_SKIPPED));
                drop(waiting);
                *write(&self.shared.kept) = Some(Arc::new(kept));
                true
            }
            Err(error) => self.failed(&error),
        }
    }

    fn kept(&self) -> Option<Arc<ActorLogs>> {
        crate::lock::read(&self.shared.kept).clone()
    }

    fn is_open(&self) -> bool {
        crate::lock::read(&self.shared.kept).is_some()
    }

    /// Says so once, until it is well again.
    fn failed(&mut self, why: &dyn std::fmt::Display) -> bool {
        if !std::mem::replace(&mut self.said, true) {
            tracing::warn!(%why, "what actors log cannot be kept at the moment; actors and their state are not touched by that");
        }
        false
    }

    fn free_bytes(&self) -> Option<u64> {
        let Place::Folder(folder) = &self.shared.place else { return None };
        let found = rustix::fs::statvfs(folder).ok()?;
        Some(found.f_bavail.saturating_mul(found.f_frsize))
    }
}

fn open(folder: &Path, shared: &Shared) -> Result<ActorLogs, StoreError> {
    let store: Arc<dyn Store> =
        Arc::new(Rocks::open(folder, &shared.memory.store.as_ref().map_or_else(Tuning::logs, Tuning::logs_within))?);
    ActorLogs::open(store, shared.limits)
}

/// Beside its place, for whoever wants to look at it; the one that was there before goes.
fn set_aside(folder: &Path, error: &StoreError) {
    let aside = aside(folder);
    let moved = match fs::remove_dir_all(&aside) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => fs::rename(folder, &aside),
    };
    match moved {
        Ok(()) => tracing::warn!(%error, aside = %aside.display(), "the store of what actors log was set aside; a new one begins"),
        Err(cause) => {
            tracing::warn!(%error, %cause, folder = %folder.display(), "the store of what actors log cannot be set aside")
        }
    }
}

pub fn aside(folder: &Path) -> PathBuf {
    folder.with_extension("damaged")
}
