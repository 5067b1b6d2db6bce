//! Compares what the parts count with what the kernel counts: pages of this process that are in memory and in no file.
//!
//! Counting cannot know everything: what allocators keep, pages that a guest began with and has written to, the compiler while it works.
//! When the process has more than its limit, guests have that much less, so that idle actors sleep and nothing grows; it is given back
//! slowly once there is room. Nothing is ended, and nobody loses what it has.

use std::fs;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::engine::Engine;

/// How often the kernel is asked.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Below this part of the limit there is room again.
const WELL_PERCENT: u64 = 95;
/// What is given back with each look, of what was taken.
const GIVEN_BACK_SHARE: u64 = 16;
/// Less than this is nothing.
const STEP_BYTES_MIN: u64 = 1024 * 1024;
/// The allocator of RocksDB and SQLite keeps what was freed; it is asked for it no more often than every so many looks.
const TRIM_EVERY: u32 = 8;

/// Until the engine is gone.
pub async fn run(engine: Weak<Engine>) {
    let (mut squeezed, mut looks) = (0, 0_u32);
    while let Some(engine) = engine.upgrade() {
        squeezed = look(&engine, squeezed, &mut looks).await;
        drop(engine);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn look(engine: &Arc<Engine>, squeezed: u64, looks: &mut u32) -> u64 {
    let Some(parts) = &engine.memory.parts else { return 0 };
    let Some(private) = private_bytes() else { return 0 };
    let next = step(squeezed, private, parts.limit, parts.guests);
    if next != squeezed {
        engine.memory.squeeze(next);
    }
    if next > 0 && squeezed == 0 {
        let (private_mib, limit_mib) = (private >> 20, parts.limit >> 20);
        tracing::warn!(private_mib, limit_mib, "the process has more memory than memory_limit: guests have less until it has not");
    }
    if private > parts.limit {
        if looks.is_multiple_of(TRIM_EVERY) && tokio::task::spawn_blocking(trim).await.is_err() {
            tracing::error!("giving memory back to the system panicked");
        }
        *looks = looks.wrapping_add(1);
    } else {
        *looks = 0;
    }
    next
}

/// What guests have less from now on.
fn step(squeezed: u64, private: u64, limit: u64, guests: u64) -> u64 {
    if private > limit {
        return squeezed.saturating_add((private - limit).max(STEP_BYTES_MIN)).min(guests);
    }
    if private > limit / 100 * WELL_PERCENT {
        return squeezed;
    }
    squeezed.saturating_sub((squeezed / GIVEN_BACK_SHARE).max(STEP_BYTES_MIN))
}

/// In memory, and not a page of a file: those the kernel takes back when it needs them.
pub fn private_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.split_ascii_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn trim() {
    // SAFETY: it takes no pointer, and may be called by any thread at any time.
    unsafe { libc::malloc_trim(0) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_taken_at_once_and_given_back_slowly() {
        const MIB: u64 = 1 << 20;
        // Of 1,000 MiB, 400 of them for guests: squeezed before, in use, squeezed after.
        let rows = [
            (0, 0, 0),
            (0, 1_000, 0),
            (0, 1_100, 100),
            (100, 1_100, 200),
            (350, 1_100, 400),
            (400, 5_000, 400),
            (200, 990, 200),
            (200, 951, 200),
            (160, 950, 150),
            (10, 500, 9),
            (1, 500, 0),
        ];
        for (before, private, after) in rows {
            assert_eq!(step(before * MIB, private * MIB, 1_000 * MIB, 400 * MIB), after * MIB, "{before} {private}");
        }
        assert_eq!(step(0, 1_000 * MIB + 1, 1_000 * MIB, 400 * MIB), MIB, "no step is too small to count");
        assert!(private_bytes().is_none_or(|bytes| bytes > MIB));
    }
}
