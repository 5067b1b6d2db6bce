//! The thread that brings recorded requests to the disk and takes from it what is not wanted any more, and the store they are in.
//!
//! Nothing waits for it but whoever reads. A group that cannot be written is lost and counted. What cannot be removed by itself goes
//! with all there is: nobody misses a recording as much as its owner minds one that stays.

use std::collections::HashMap;
use std::fmt::Display;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use engine_store::recordings::{NewRequest, RecordedRequest};
use engine_store::rocks::Tuning;
use engine_store::{Recordings, Rocks, State, StoreError};
use protocol::id::ActorId;
use protocol::limits::MIB;

use super::underway::{How, Of, Underway};
use super::{Shared, Todo, Unwanted};
use crate::lock::{lock, read};

/// How long requests gather before they are written.
const GATHER_MS: u64 = 100;
/// With less room on the disk nothing is written.
const FREE_BYTES_MIN: u64 = 256 * MIB as u64;
/// Actors that are looked at in one step.
const SWEEP_ACTORS: usize = 256;

/// Whoever holds it alone writes and removes.
#[derive(Default)]
pub struct Disk {
    /// Tells which actors there are.
    state: Option<State>,
    open: Option<Opened>,
    /// It has been said that nothing is recorded.
    said: bool,
}

struct Opened {
    rocks: Arc<Rocks>,
    kept: Recordings,
}

pub fn run(shared: &Shared) {
    loop {
        let waiting = lock(&shared.waiting);
        let waiting = shared.filled.wait_while(waiting, |waiting| waiting.is_idle()).unwrap_or_else(PoisonError::into_inner);
        let gather = Duration::from_millis(GATHER_MS);
        let gathered = shared.filled.wait_timeout_while(waiting, gather, |waiting| !waiting.closed);
        let closed = gathered.unwrap_or_else(PoisonError::into_inner).0.closed;
        let mut disk = lock(&shared.disk);
        disk.catch_up(shared);
        if closed {
            // The state's store is closed next, by whoever holds it alone then.
            (disk.open, disk.state) = (None, None);
            return;
        }
    }
}

impl Disk {
    pub fn begin(&mut self, state: State) {
        self.state = Some(state);
    }

    /// Removes and writes what waits.
    pub fn catch_up(&mut self, shared: &Shared) {
        let Todo { requests, unwanted, sweep } = shared.take();
        if (sweep || !unwanted.is_empty()) && self.is_open(shared, false) {
            let removed = self.remove(&unwanted).and_then(|()| if sweep { self.sweep(shared) } else { Ok(()) });
            match removed.and_then(|()| if sweep || unwanted.is_many() { self.erase() } else { Ok(()) }) {
                Ok(()) if self.bytes() == 0 => self.discard(shared),
                Ok(()) => {}
                Err(error) => {
                    tracing::warn!(%error, "requests that are not wanted any more cannot be removed by themselves; all that were recorded go");
                    self.discard(shared);
                }
            }
        }
        if !requests.is_empty() {
            let count = requests.len() as u64;
            match self.write(shared, requests) {
                Ok(()) if self.said => {
                    self.said = false;
                    tracing::info!("requests are recorded again");
                }
                Ok(()) => {}
                Err(why) => {
                    shared.lost.fetch_add(count, Ordering::Relaxed);
                    self.failed(&why);
                }
            }
        }
        shared.bytes.store(self.bytes(), Ordering::Relaxed);
    }

    pub fn read(&mut self, shared: &Shared, actor: ActorId, count: usize) -> Result<Vec<RecordedRequest>, StoreError> {
        if !self.is_open(shared, false) {
            return Ok(Vec::new());
        }
        self.open.as_ref().map_or(Ok(Vec::new()), |open| open.kept.read(actor, count))
    }

    fn bytes(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.kept.bytes())
    }

    fn write(&mut self, shared: &Shared, requests: impl IntoIterator<Item = (Underway, How)>) -> Result<(), String> {
        // One that was destroyed meanwhile has been removed already.
        let mut lives: HashMap<ActorId, bool> = HashMap::new();
        let mut wanted = Vec::new();
        for (mut underway, how) in requests {
            let of = underway.of().clone();
            let lives = *lives.entry(of.actor).or_insert_with(|| self.lives(of.actor));
            if let Some(request) = underway.record(how).filter(|_| lives && shared.wants(&of)) {
                wanted.push((of, request));
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        if let Some(free) = free_bytes(shared).filter(|free| *free < FREE_BYTES_MIN) {
            return Err(format!(
                "only {} MiB are free on the disk, and {} are left to state",
                free / MIB as u64,
                FREE_BYTES_MIN / MIB as u64
            ));
        }
        if !self.is_open(shared, true) {
            return Err("its store cannot be opened".to_string());
        }
        let Some(open) = &self.open else { return Ok(()) };
        let (of, requests): (Vec<Arc<Of>>, Vec<RecordedRequest>) = wanted.into_iter().unzip();
        let written = open.kept.write(of.iter().zip(requests).map(|(of, request)| {
            let (namespace, name) = &of.name;
            NewRequest { actor: of.actor, namespace: *namespace, name, keep: of.keep, request }
        }));
        written.map_err(|error| {
            match error {
                StoreError::Corrupt { .. } => self.discard(shared),
                // It is opened again for the next.
                _ => self.open = None,
            }
            error.to_string()
        })
    }

    fn lives(&self, actor: ActorId) -> bool {
        match self.state.as_ref().map(|state| state.actor_record(actor)) {
            Some(Ok(found)) => found.is_some_and(|record| record.destroy_ms.is_none()),
            // One that cannot be read is not known to be gone.
            Some(Err(_)) | None => true,
        }
    }

    fn remove(&self, unwanted: &Unwanted) -> Result<(), StoreError> {
        let Some(Opened { kept, .. }) = &self.open else { return Ok(()) };
        for (namespace, name) in &unwanted.names {
            kept.remove_name(*namespace, name)?;
        }
        for namespace in &unwanted.namespaces {
            kept.remove_namespace(*namespace)?;
        }
        kept.remove_actors(&unwanted.actors)
    }

    /// Of deployments that record nothing, and of actors that are gone.
    fn sweep(&self, shared: &Shared) -> Result<(), StoreError> {
        let Some(Opened { kept, .. }) = &self.open else { return Ok(()) };
        let wanted: Vec<_> = read(&shared.wanted).names.keys().cloned().collect();
        for (namespace, name) in kept.names()? {
            if !wanted.contains(&(namespace, name.clone())) {
                kept.remove_name(namespace, &name)?;
            }
        }
        let mut after = None;
        loop {
            let actors = kept.actors(after, SWEEP_ACTORS)?;
            let Some(last) = actors.last() else { return Ok(()) };
            after = Some(*last);
            let gone: Vec<ActorId> = actors.into_iter().filter(|actor| !self.lives(*actor)).collect();
            kept.remove_actors(&gone)?;
        }
    }

    fn erase(&self) -> Result<(), StoreError> {
        match &self.open {
            Some(open) if open.kept.bytes() > 0 => open.rocks.erase_deleted(),
            // Then its folder goes.
            _ => Ok(()),
        }
    }

    /// With its folder.
    fn discard(&mut self, shared: &Shared) {
        self.open = None;
        let Some(folder) = &shared.folder else { return };
        match fs::remove_dir_all(folder) {
            Err(cause) if cause.kind() != ErrorKind::NotFound => {
                tracing::error!(%cause, folder = %folder.display(), "recorded requests cannot be removed; the next start tries again, or remove the folder while the engine is stopped");
            }
            _ => {}
        }
    }

    /// Whether it is open now. `make`: also if there is none yet.
    fn is_open(&mut self, shared: &Shared, make: bool) -> bool {
        let Some(folder) = shared.folder.as_deref().filter(|folder| make || folder.exists()) else { return false };
        if self.open.is_some() {
            return true;
        }
        let opened = open(folder, shared).or_else(|error| match error {
            StoreError::Locked { .. } | StoreError::CannotOpen { .. } | StoreError::Io { .. } => Err(error),
            _ => {
                tracing::warn!(%error, "the store of recorded requests is damaged; a new one begins");
                self.discard(shared);
                open(folder, shared)
            }
        });
        match opened {
            Ok(opened) => {
                self.open = Some(opened);
                true
            }
            Err(error) => {
                self.failed(&error);
                false
            }
        }
    }

    /// Says so once, until it is well again.
    fn failed(&mut self, why: &dyn Display) {
        if !std::mem::replace(&mut self.said, true) {
            tracing::warn!(%why, "requests cannot be recorded at the moment; actors and their state are not touched by that");
        }
    }
}

fn open(folder: &Path, shared: &Shared) -> Result<Opened, StoreError> {
    let rocks = Arc::new(Rocks::open(folder, &Tuning::recordings())?);
    Ok(Opened { kept: Recordings::open(rocks.clone(), shared.config.limits)?, rocks })
}

/// On the disk that the folder is on, or will be.
fn free_bytes(shared: &Shared) -> Option<u64> {
    let found = rustix::fs::statvfs(shared.folder.as_deref()?.parent()?).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}
