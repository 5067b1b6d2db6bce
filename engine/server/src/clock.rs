//! The one clock: milliseconds since 1970, never backwards.
//!
//! An operator or a time daemon may set the machine's clock back; deadlines, alarms and log lines must not notice. So the
//! largest moment seen so far is kept, and time stands still until the machine has caught up.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Default)]
pub struct Clock {
    last_ms: AtomicU64,
}

impl Clock {
    pub fn now_ms(&self) -> u64 {
        // Before 1970 there is no engine: a clock that says so counts as 0 and is then overtaken.
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        self.last_ms.fetch_max(now_ms, Ordering::Relaxed).max(now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_stands_still_rather_than_going_back() {
        let clock = Clock::default();
        let now_ms = clock.now_ms();
        assert!(now_ms > 1_600_000_000_000);
        clock.last_ms.store(now_ms + 1_000_000, Ordering::Relaxed);
        assert_eq!(clock.now_ms(), now_ms + 1_000_000);
    }
}
