//! The one place that knows what time it is: the machine's clock, or one that was given.
//!
//! For the time on a log line, for moments that are told to the engine (when something that failed is to be tried again, the next of a
//! cron schedule), and for how long an actor is idle. Whether a moment has come is the engine's to say. What guards against guests that
//! hang, and against networks, uses the runtime's timer, whatever clock was given.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use protocol::clock::{self, Hold};
use tokio::time::Instant;

#[derive(Clone)]
pub struct Clock {
    began: Instant,
    given: Option<Arc<dyn clock::Clock>>,
}

impl Clock {
    pub fn new(given: Option<Arc<dyn clock::Clock>>) -> Clock {
        Clock { began: Instant::now(), given }
    }

    pub fn is_given(&self) -> bool {
        self.given.is_some()
    }

    /// Milliseconds since 1970-01-01T00:00Z; 0 if the machine believes to live before that.
    pub fn now_ms(&self) -> u64 {
        let machine = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.given.as_ref().map_or_else(|| machine().as_millis().try_into().unwrap_or(u64::MAX), |given| given.now_ms())
    }

    /// Since some moment that stays the same: nobody sets this clock.
    pub fn passed(&self) -> Duration {
        self.given.as_ref().map_or_else(|| self.began.elapsed(), |given| Duration::from_millis(given.now_ms()))
    }

    /// Waits until so much has passed.
    pub async fn until(&self, passed: Duration) {
        match &self.given {
            None => tokio::time::sleep_until(self.began + passed).await,
            Some(given) => given.until(u64::try_from(passed.as_millis()).unwrap_or(u64::MAX)).await,
        }
    }

    /// Given time stands still meanwhile.
    pub fn hold(&self) -> Hold {
        Hold::new(self.given.as_ref())
    }
}
