//! Waits for something to become true: asks again and again, with a deadline, and says what it saw last.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Far above what anything takes on a busy machine: reaching it is a failure, not a measurement.
pub const LONG: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(10);

/// The probe's `Err` is what was seen instead.
pub async fn until<T>(what: &str, mut probe: impl AsyncFnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + LONG;
    loop {
        match probe().await {
            Ok(value) => return value,
            Err(seen) if Instant::now() >= deadline => panic!("not within {LONG:?}: {what}; seen last: {seen}"),
            Err(_) => sleep(PAUSE).await,
        }
    }
}
