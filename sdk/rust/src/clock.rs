//! The time, on every target: on `wasm32-unknown-unknown` the standard library has none.

use crate::bindings::wasi::clocks::wall_clock;

/// Milliseconds since 1970-01-01T00:00Z.
pub fn now_ms() -> u64 {
    let now = wall_clock::now();
    now.seconds.saturating_mul(1000).saturating_add(u64::from(now.nanoseconds / 1_000_000))
}
