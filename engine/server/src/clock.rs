//! The one clock: milliseconds since 1970, never backwards. The machine's, unless another was given.
//!
//! An operator or a time daemon may set the machine's clock back; deadlines, alarms and log lines must not notice. So the
//! largest moment seen so far is kept, and time stands still until the machine has caught up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use protocol::clock::{self, Hold};

#[derive(Clone, Default)]
pub struct Clock {
    last_ms: Arc<AtomicU64>,
    given: Option<Arc<dyn clock::Clock>>,
}

impl Clock {
    pub fn given(clock: Arc<dyn clock::Clock>) -> Clock {
        Clock { given: Some(clock), ..Clock::default() }
    }

    /// The one that was given, for the runner too.
    pub fn of_others(&self) -> Option<Arc<dyn clock::Clock>> {
        self.given.clone()
    }

    pub fn now_ms(&self) -> u64 {
        if let Some(given) = &self.given {
            return given.now_ms();
        }
        // Before 1970 there is no engine: a clock that says so counts as 0 and is then overtaken.
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        self.last_ms.fetch_max(now_ms, Ordering::Relaxed).max(now_ms)
    }

    pub async fn after(&self, wait_ms: u64) {
        match &self.given {
            None => tokio::time::sleep(Duration::from_millis(wait_ms)).await,
            Some(given) => given.until(given.now_ms().saturating_add(wait_ms)).await,
        }
    }

    /// Given time stands still meanwhile.
    pub fn hold(&self) -> Hold {
        Hold::new(self.given.as_ref())
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
