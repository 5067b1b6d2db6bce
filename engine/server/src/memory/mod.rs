//! The memory that the process may have, and what each part of it may.
//!
//! One limit is divided by one rule, when the engine starts; each part then keeps to its own. What the rule is, is below; what it cannot
//! promise is in docs/MEMORY.md.
//!
//! ```text
//! limit = base (64 MiB and a tenth of the limit) + store + guests + buffers
//! ```
//!
//! A part that has a key of its own gets what that says. Of what is then left the others get their least, and share the rest: guests
//! one half, the store and the buffers a quarter each.
//!
//! - [`allowed`]: what the machine or its control group allows, for whoever has named no limit.
//! - [`buffers`]: counts what is held for requests, sockets and answers, and refuses what is too much.
//! - [`used`]: what each part has, as it is shown.
//! - [`watch`]: compares with what the kernel counts; what the other parts have too much, guests have less.

pub mod allowed;
pub mod buffers;
pub mod used;
pub mod watch;

use engine_store::writer;
use protocol::limits::{MIB, REQUEST_BODY_BYTES_MAX};

use crate::logs;
use crate::memory::allowed::Allowed;
use crate::memory::buffers::SPARED_SHARE;

pub const KEY: &str = "memory_limit";
const MIB_U64: u64 = MIB as u64;
/// The process without load, and what grows with it: records of actors, connections, threads, what the allocator keeps.
const BASE_BYTES: u64 = 64 * MIB_U64;
const BASE_SHARE: u64 = 10;
/// Of what is left after each has its least.
const GUESTS_WEIGHT: u64 = 2;
const OTHERS_WEIGHT: u64 = 1;
const STORE_BYTES_MIN: u64 = 24 * MIB_U64;
const GUESTS_BYTES_MIN: u64 = 32 * MIB_U64;
const BUFFERS_BYTES_MIN: u64 = 48 * MIB_U64;

/// Of the buffers: what waits for the writer, lines of logs, and the caches of databases that the engine runs.
const QUEUE_SHARE: usize = 4;
const LINES_SHARE: usize = 16;
const DATABASES_SHARE: usize = 8;
const _: () = {
    let least = BUFFERS_BYTES_MIN as usize;
    let others = least / QUEUE_SHARE + least / LINES_SHARE + least / DATABASES_SHARE;
    let bodies = (least - others) / SPARED_SHARE * (SPARED_SHARE - 1);
    assert!(REQUEST_BODY_BYTES_MAX as usize <= bodies, "the longest body that is held whole must fit");
    assert!(writer::QUEUE_BYTES_MIN <= least / QUEUE_SHARE && logs::WAITING_BYTES_MIN <= least / LINES_SHARE);
};

/// What was said about memory.
#[derive(Clone, Copy, Default, Debug)]
pub struct Wanted {
    /// None: what is usual for what is allowed.
    pub limit: Option<u64>,
    /// Of parts with a key of their own.
    pub store: Option<u64>,
    pub guests: Option<u64>,
    pub buffers: Option<u64>,
    /// Whether guests run in this process at all.
    pub has_guests: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Parts {
    pub limit: u64,
    /// Where the limit comes from, in words.
    pub from: String,
    pub base: u64,
    pub store: u64,
    pub guests: u64,
    pub buffers: u64,
    /// The limit is more than what is usual, because more was asked for.
    pub raised: Option<String>,
}

/// A part as the rule sees it.
struct Part {
    name: &'static str,
    key: &'static str,
    said: Option<u64>,
    least: u64,
    weight: u64,
}

/// The one rule. An error says what does not fit, and what to do; it lacks the key.
pub fn divide(wanted: &Wanted, allowed: Allowed) -> Result<Parts, String> {
    let part = |name, key, said, least, weight| Part { name, key, said, least, weight };
    let guests_said = if wanted.has_guests { wanted.guests } else { Some(0) };
    let parts = [
        part("the store", "storage.memory_mib", wanted.store, STORE_BYTES_MIN, OTHERS_WEIGHT),
        part("guests", "wasm.memory_mib", guests_said, GUESTS_BYTES_MIN, GUESTS_WEIGHT),
        part("buffers", "guard.memory_mib", wanted.buffers, BUFFERS_BYTES_MIN, OTHERS_WEIGHT),
    ];
    let least = parts.iter().fold(0, |sum: u64, part| sum.saturating_add(part.said.unwrap_or(part.least)));
    let needed = needed(least);
    let (limit, from, raised) = match wanted.limit {
        Some(limit) if limit < needed => return Err(too_little(limit, needed, &parts)),
        Some(limit) => (limit, KEY.to_string(), None),
        None => {
            let (usual, from) = allowed.usual();
            let raised = (usual < needed).then(|| {
                let (usual, needed, asked) = (mib(usual), mib_up(needed), list(&parts));
                format!("{KEY}: {from} is {usual} MiB, too little for {asked}; the limit is {needed} MiB: set one, or ask for less")
            });
            (usual.max(needed), from, raised)
        }
    };
    let base = base(limit);
    let mut rest = limit.saturating_sub(base).saturating_sub(least);
    let mut weights: u64 = parts.iter().filter(|part| part.said.is_none()).map(|part| part.weight).sum();
    let [store, guests, buffers] = parts.map(|part| match part.said {
        Some(bytes) => bytes,
        None => {
            let more = rest / weights * part.weight;
            (rest, weights) = (rest - more, weights - part.weight);
            part.least + more
        }
    });
    Ok(Parts { limit, from, base, store, guests, buffers, raised })
}

fn base(limit: u64) -> u64 {
    (BASE_BYTES + limit / BASE_SHARE).min(limit)
}

/// The least limit that leaves so much after the base; a whole number of MiB, as it is told.
fn needed(rest: u64) -> u64 {
    let bytes = BASE_BYTES.saturating_add(rest).saturating_mul(BASE_SHARE) / (BASE_SHARE - 1) + 1;
    bytes.div_ceil(MIB_U64).saturating_mul(MIB_U64)
}

fn too_little(limit: u64, needed: u64, parts: &[Part]) -> String {
    let keys: Vec<&str> = parts.iter().filter(|part| part.said.is_some_and(|said| said > 0)).map(|part| part.key).collect();
    let or_lower = if keys.is_empty() { String::new() } else { format!(", or lower {}", keys.join(" and ")) };
    let (limit_mib, base, asked) = (mib(limit), mib(base(limit)), list(parts));
    format!(
        "{limit_mib} MiB is too little for {base} MiB for the process itself, {asked}; set at least {} MiB{or_lower}",
        mib_up(needed)
    )
}

fn list(parts: &[Part]) -> String {
    let one = |part: &Part| match part.said {
        Some(0) => None,
        Some(said) => Some(format!("{} MiB for {} ({})", mib(said), part.name, part.key)),
        None => Some(format!("at least {} MiB for {}", mib(part.least), part.name)),
    };
    parts.iter().filter_map(one).collect::<Vec<_>>().join(", ")
}

pub fn mib(bytes: u64) -> u64 {
    bytes / MIB_U64
}

fn mib_up(bytes: u64) -> u64 {
    bytes.div_ceil(MIB_U64)
}

impl Parts {
    /// Name and bytes of each, as metrics and `config show` name them.
    pub fn rows(&self) -> [(&'static str, u64); 4] {
        [("base", self.base), ("store", self.store), ("guests", self.guests), ("buffers", self.buffers)]
    }

    /// What waits for the writer.
    pub fn queue_bytes(&self) -> usize {
        (bytes(self.buffers) / QUEUE_SHARE).clamp(writer::QUEUE_BYTES_MIN, writer::QUEUE_BYTES_MAX)
    }

    /// Lines of logs that wait for the disk.
    pub fn lines_bytes(&self) -> usize {
        (bytes(self.buffers) / LINES_SHARE).clamp(logs::WAITING_BYTES_MIN, logs::WAITING_BYTES_MAX)
    }

    /// Caches of databases whose statements the engine runs.
    pub fn databases_bytes(&self) -> usize {
        bytes(self.buffers) / DATABASES_SHARE
    }

    /// What is left of the buffers for everything that is counted piece by piece.
    pub fn shared_bytes(&self) -> usize {
        bytes(self.buffers).saturating_sub(self.queue_bytes() + self.lines_bytes() + self.databases_bytes())
    }
}

impl std::fmt::Display for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [limit, base, store, guests, buffers] = [self.limit, self.base, self.store, self.guests, self.buffers].map(mib);
        write!(
            f,
            "{limit} MiB ({}): {base} for the process itself, {store} for the store, {guests} for guests, {buffers} for buffers",
            self.from
        )
    }
}

/// As much as a number of this machine holds.
pub fn bytes(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
