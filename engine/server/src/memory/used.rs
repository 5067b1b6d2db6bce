//! What an engine has of its memory, part by part, as it is shown.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use engine_store::budget::Budget;

use crate::engine::Engine;
use crate::memory::buffers::Buffers;
use crate::memory::watch::private_bytes;
use crate::memory::{Parts, bytes};
use crate::metrics::page::{Kind, Page};

type Squeeze = dyn Fn(usize) + Send + Sync;

#[derive(Default)]
pub struct MemoryUse {
    /// None: nobody has divided it.
    pub parts: Option<Parts>,
    pub store: Option<Budget>,
    pub buffers: Arc<Buffers>,
    /// Tells the runner in this process that guests have less.
    guests: OnceLock<Box<Squeeze>>,
    squeezed_bytes: AtomicU64,
}

impl MemoryUse {
    pub fn new(parts: Parts) -> MemoryUse {
        let store = Some(Budget::new(bytes(parts.store)));
        let buffers = Arc::new(Buffers::new(parts.shared_bytes()));
        MemoryUse { parts: Some(parts), store, buffers, ..MemoryUse::default() }
    }

    /// There is one such runner, or none.
    pub fn on_squeeze(&self, guests: impl Fn(usize) + Send + Sync + 'static) {
        self.guests.get_or_init(|| Box::new(guests));
    }

    pub fn squeeze(&self, squeezed: u64) {
        self.squeezed_bytes.store(squeezed, Ordering::Relaxed);
        if let Some(guests) = self.guests.get() {
            guests(bytes(squeezed));
        }
    }
}

/// The families of memory. `queued_bytes` is what waits for the writer, if that is known; guests are the runner's to tell.
pub fn page(page: &mut Page, engine: &Engine, queued_bytes: u64, guests: Option<(usize, u64)>) {
    let memory = &engine.memory;
    let Some(parts) = &memory.parts else { return };
    page.gauge("rivet_memory_limit_bytes", "What the process may have: memory_limit.", parts.limit);
    if let Some(private) = private_bytes() {
        page.gauge("rivet_memory_private_bytes", "What counts towards that: pages in memory that are in no file.", private);
    }
    page.family("rivet_memory_part_limit_bytes", Kind::Gauge, "What each part of it may have.");
    for (part, bytes) in parts.rows() {
        page.row(label(part), bytes);
    }
    let buffers = memory.buffers.used_bytes() as u64 + engine.logs.waiting_bytes() as u64 + queued_bytes;
    let store = memory.store.as_ref().map_or(0, |budget| budget.used_bytes() as u64);
    page.family("rivet_memory_part_bytes", Kind::Gauge, "What these have, as they count it; of the base nobody counts.");
    for (part, bytes) in [("store", store), ("guests", guests.map_or(0, |guests| guests.0 as u64)), ("buffers", buffers)] {
        page.row(label(part), bytes);
    }
    page.family("rivet_memory_refused_total", Kind::Counter, "How often something did not fit into its part and was refused.");
    for (part, count) in [("guests", guests.map_or(0, |guests| guests.1)), ("buffers", memory.buffers.refused())] {
        page.row(label(part), count);
    }
    page.gauge(
        "rivet_memory_squeezed_bytes",
        "What guests have less, because the process has more than its limit.",
        memory.squeezed_bytes.load(Ordering::Relaxed),
    );
}

fn label(part: &str) -> Vec<(&'static str, String)> {
    vec![("part", part.to_string())]
}
