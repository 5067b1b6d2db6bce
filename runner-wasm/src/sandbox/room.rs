//! Room for guests: how many instances may live, and the memory of each and of all.
//!
//! Both are refusals, never an abort: past the kernel's limit on memory mappings an allocation of ours would end the process, so
//! the count of live instances stays below what could reach it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::Relaxed};

use protocol::message::{Failure, FailureKind};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::ResourceLimiter;

use crate::config::{
    ACTORS_MAX_ELSEWHERE, CORE_INSTANCES_MAX, INITIAL_MEMORY_SHARE, MAPPINGS_PER_INSTANCE, MEMORIES_MAX, TABLE_ELEMENTS_MAX,
    TABLES_MAX,
};

pub struct Room {
    actors_max: usize,
    actors: Arc<Semaphore>,
    memory_total_bytes: usize,
    memory_used_bytes: AtomicUsize,
}

impl Room {
    pub fn new(actors_max: Option<usize>, memory_total_bytes: usize) -> Room {
        let actors_max = actors_max.unwrap_or_else(actors_that_fit).min(Semaphore::MAX_PERMITS);
        Room {
            actors_max,
            actors: Arc::new(Semaphore::new(actors_max)),
            memory_total_bytes,
            memory_used_bytes: AtomicUsize::new(0),
        }
    }

    /// The right to one live instance; given back when dropped.
    pub fn admit(&self) -> Result<OwnedSemaphorePermit, Failure> {
        Arc::clone(&self.actors).try_acquire_owned().map_err(|_| Failure {
            kind: FailureKind::NoRoom,
            message: format!(
                "{} Wasm actors are awake, as many as this runner takes; raise the kernel's vm.max_map_count (each actor needs \
                 {MAPPINGS_PER_INSTANCE} mappings) and the limit --wasm-actors-max if it is set, or try again when some are asleep",
                self.actors_max
            ),
        })
    }

    pub fn actors(&self) -> usize {
        self.actors_max - self.actors.available_permits()
    }

    pub fn memory_used_bytes(&self) -> usize {
        self.memory_used_bytes.load(Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        let fits = |used: usize| used.checked_add(bytes).filter(|used| *used <= self.memory_total_bytes);
        self.memory_used_bytes.fetch_update(Relaxed, Relaxed, fits).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.memory_used_bytes.fetch_sub(bytes, Relaxed);
    }
}

fn actors_that_fit() -> usize {
    let mappings = std::fs::read_to_string("/proc/sys/vm/max_map_count").ok().and_then(|text| text.trim().parse::<usize>().ok());
    mappings.map_or(ACTORS_MAX_ELSEWHERE, |mappings| mappings / MAPPINGS_PER_INSTANCE)
}

/// Whether, and why, a guest's memory was not allowed to grow since its message began: says what a trap that follows is about.
#[derive(Default)]
pub struct Refused(AtomicU8);

const NOT_REFUSED: u8 = 0;
const BY_ACTOR: u8 = 1;
const BY_TOTAL: u8 = 2;

impl Refused {
    pub fn reset(&self) {
        self.0.store(NOT_REFUSED, Relaxed);
    }

    pub fn failure(&self, memory_per_actor_bytes: usize) -> Option<Failure> {
        match self.0.load(Relaxed) {
            BY_ACTOR => Some(Failure {
                kind: FailureKind::MemoryExceeded,
                message: format!(
                    "the actor wanted more memory than the {memory_per_actor_bytes} bytes it may have; see --wasm-actor-memory and the limits of \
                     its deployment"
                ),
            }),
            BY_TOTAL => Some(Failure {
                kind: FailureKind::NoRoom,
                message:
                    "the memory that all Wasm actors together may have is used up; raise --wasm-memory, or try again when some \
                          are asleep"
                        .to_string(),
            }),
            _ => None,
        }
    }
}

/// Holds one instance to its limits, and counts what it has.
pub struct Limiter {
    room: Arc<Room>,
    refused: Arc<Refused>,
    limit_bytes: usize,
    used_bytes: usize,
    /// What of it counts in the room for all.
    taken_bytes: usize,
    /// What the latest permitted growth used and took: given back if the kernel refuses it after us.
    latest: (usize, usize),
    table_elements: usize,
}

impl Limiter {
    pub fn new(room: Arc<Room>, refused: Arc<Refused>, limit_bytes: usize) -> Limiter {
        Limiter { room, refused, limit_bytes, used_bytes: 0, taken_bytes: 0, latest: (0, 0), table_elements: 0 }
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        self.latest = (0, 0);
        // The guest's numbers: `desired` may be anything.
        let more = desired.saturating_sub(current);
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        if self.used_bytes.checked_add(more).is_none_or(|used| used > self.limit_bytes) {
            self.refused.0.store(BY_ACTOR, Relaxed);
            return Ok(false);
        }
        let taken = if current == 0 { more / INITIAL_MEMORY_SHARE } else { more };
        if !self.room.take(taken) {
            self.refused.0.store(BY_TOTAL, Relaxed);
            return Ok(false);
        }
        self.used_bytes += more;
        self.taken_bytes += taken;
        self.latest = (more, taken);
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        let (used, taken) = std::mem::take(&mut self.latest);
        self.room.give_back(taken);
        self.used_bytes -= used;
        self.taken_bytes -= taken;
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let elements = self.table_elements.saturating_add(desired.saturating_sub(current));
        if elements > TABLE_ELEMENTS_MAX {
            self.refused.0.store(BY_ACTOR, Relaxed);
            return Ok(false);
        }
        self.table_elements = elements;
        Ok(true)
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES_MAX
    }

    fn tables(&self) -> usize {
        TABLES_MAX
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX
    }
}

impl Drop for Limiter {
    fn drop(&mut self) {
        self.room.give_back(self.taken_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_counted_once_and_given_back() {
        const PAGE: usize = 65_536;
        let room = Arc::new(Room::new(Some(2), 16 * PAGE));
        let refused = Arc::new(Refused::default());
        let mut first = Limiter::new(Arc::clone(&room), Arc::clone(&refused), 31 * PAGE);
        let grow = |limiter: &mut Limiter, from: usize, to: usize| {
            limiter.memory_growing(from * PAGE, to * PAGE, None).is_ok_and(|grown| grown)
        };
        // What it begins with counts for a sixteenth.
        assert!(grow(&mut first, 0, 16));
        assert!(grow(&mut first, 16, 30));
        assert!(!grow(&mut first, 30, 32));
        assert_eq!(refused.failure(1).map(|failure| failure.kind), Some(FailureKind::MemoryExceeded));
        // A refusal that the kernel then reports too gives nothing back twice.
        assert!(first.memory_grow_failed(wasmtime::Error::msg("refused")).is_ok());
        assert_eq!(room.memory_used_bytes(), 15 * PAGE);

        let mut second = Limiter::new(Arc::clone(&room), Arc::clone(&refused), 100 * PAGE);
        assert!(grow(&mut second, 0, 16));
        assert!(!grow(&mut second, 16, 17));
        assert_eq!(refused.failure(1).map(|failure| failure.kind), Some(FailureKind::NoRoom));
        drop(first);
        assert!(grow(&mut second, 16, 20));
        assert!(second.memory_grow_failed(wasmtime::Error::msg("no memory")).is_ok());
        assert_eq!(room.memory_used_bytes(), PAGE);
        assert!(!grow(&mut second, 16, usize::MAX / PAGE));
        drop(second);
        assert_eq!(room.memory_used_bytes(), 0);
    }

    #[test]
    fn the_last_place_is_the_last() {
        let room = Room::new(Some(1), 0);
        let place = room.admit().expect("the first fits");
        let refusal = room.admit().expect_err("the second does not");
        assert_eq!(refusal.kind, FailureKind::NoRoom);
        assert!(refusal.message.contains("vm.max_map_count"), "{}", refusal.message);
        drop(place);
        assert_eq!(room.actors(), 0);
    }
}
