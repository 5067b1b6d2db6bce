//! How many mappings of memory guests may have.
//!
//! The kernel counts them for each process (`vm.max_map_count`), and past its limit an allocation of ours would end the process. So
//! each instance takes as many as it may come to have before it is made, and what the rest of the process needs is left alone.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::component::Component;

use crate::config::{MAPPINGS_PER_IMAGE, MAPPINGS_PER_MEMORY, MAPPINGS_PER_STACK, MAPPINGS_SHARE_LEFT, MEMORIES_MAX};

/// Of the smallest instance: one memory, and a stack.
pub const MAPPINGS_MIN: usize = MAPPINGS_PER_MEMORY + MAPPINGS_PER_STACK;

/// The most that an instance of it may have at a time.
pub fn of(component: &Component, maps_images: bool) -> u32 {
    let memories = component.resources_required().map_or(MEMORIES_MAX, |needed| (needed.num_memories as usize).min(MEMORIES_MAX));
    let each = if maps_images { MAPPINGS_PER_MEMORY + MAPPINGS_PER_IMAGE } else { MAPPINGS_PER_MEMORY };
    (memories * each + MAPPINGS_PER_STACK) as u32
}

/// What the kernel allows this process, if it says so.
pub fn allowed() -> Option<usize> {
    std::fs::read_to_string("/proc/sys/vm/max_map_count").ok()?.trim().parse().ok()
}

pub struct Mappings {
    /// Where nobody says how many there may be, they are not counted.
    left: Option<Arc<Semaphore>>,
    total: usize,
}

impl Mappings {
    pub fn new(allowed: Option<usize>) -> Mappings {
        let total = allowed.map_or(0, |allowed| (allowed - allowed / MAPPINGS_SHARE_LEFT).min(Semaphore::MAX_PERMITS));
        Mappings { left: allowed.map(|_| Arc::new(Semaphore::new(total))), total }
    }

    /// How many of the smallest instances fit.
    pub fn instances(&self) -> Option<usize> {
        self.left.as_ref().map(|_| self.total / MAPPINGS_MIN)
    }

    pub fn try_take(&self, mappings: u32) -> Option<Taken> {
        let Some(left) = &self.left else { return Some(Taken(None)) };
        let taken = Arc::clone(left).try_acquire_many_owned(mappings).ok()?;
        Some(Taken(Some(taken)))
    }

    /// Waits until there are so many.
    pub async fn take(&self, mappings: u32) -> Option<Taken> {
        let Some(left) = &self.left else { return Some(Taken(None)) };
        let taken = Arc::clone(left).acquire_many_owned(mappings).await.ok()?;
        Some(Taken(Some(taken)))
    }
}

/// Given back when dropped.
pub struct Taken(#[expect(dead_code, reason = "it is held")] Option<OwnedSemaphorePermit>);
