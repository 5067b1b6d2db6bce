//! The one place that reads the wall clock.
//!
//! For the time on a log line, and for moments that are told to the engine: when something that failed is to be tried again, the next
//! of a cron schedule. Whether a moment has come is the engine's to say, and waits use the runtime's timer.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970-01-01T00:00Z; 0 if the machine believes to live before that.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
