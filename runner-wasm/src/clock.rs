//! The one place that reads the wall clock.
//!
//! Only for the time on a log line. Nothing here decides by it: alarms are the engine's, and waits use the runtime's timer.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970-01-01T00:00Z; 0 if the machine believes to live before that.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
