//! What is held in memory for requests, sockets, streams and statements, counted towards one number for all of them.
//!
//! Two ways to count. What is new asks first ([`Buffers::hold`]), and is refused when it does not fit. What was promised already, such
//! as the window of a response that streams, counts whether it fits or not ([`Buffers::add`]); then nothing new fits. So the sum stays
//! within the limit and what was promised. Counting is one atomic addition; nobody takes a lock unless somebody waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use protocol::limits::MIB;
use tokio::sync::Notify;

use crate::error::ApiError;

/// Of the limit this part is for what has no body: clients that send long bodies slowly must not keep out all others.
pub const SPARED_SHARE: usize = 8;
/// Where nobody divides memory: tests, and engines inside of other processes.
const LIMIT_BYTES_ELSEWHERE: usize = 512 * MIB;

pub struct Buffers {
    limit_bytes: usize,
    used_bytes: AtomicUsize,
    refused: AtomicU64,
    waiting: AtomicUsize,
    given_back: Notify,
}

/// Counts until it is dropped.
#[must_use]
pub struct Held {
    buffers: Arc<Buffers>,
    bytes: usize,
}

impl Default for Buffers {
    fn default() -> Buffers {
        Buffers::new(LIMIT_BYTES_ELSEWHERE)
    }
}

impl Buffers {
    pub fn new(limit_bytes: usize) -> Buffers {
        Buffers {
            limit_bytes,
            used_bytes: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            given_back: Notify::new(),
        }
    }

    /// Room for so many bytes, if there is any.
    pub fn hold(self: &Arc<Self>, bytes: usize) -> Result<Held, ApiError> {
        self.hold_within(bytes, self.limit_bytes)
    }

    /// The same for a body.
    pub fn hold_body(self: &Arc<Self>, bytes: usize) -> Result<Held, ApiError> {
        self.hold_within(bytes, self.bodies_bytes())
    }

    fn bodies_bytes(&self) -> usize {
        self.limit_bytes - self.limit_bytes / SPARED_SHARE
    }

    fn hold_within(self: &Arc<Self>, bytes: usize, limit_bytes: usize) -> Result<Held, ApiError> {
        self.try_hold(bytes, limit_bytes).ok_or_else(|| {
            self.refused.fetch_add(1, Ordering::Relaxed);
            ApiError::busy(format!(
                "{bytes} bytes more do not fit into the {limit_bytes} that may be held for requests, sockets and answers; try again in \
                 a moment, or raise memory_limit"
            ))
        })
    }

    /// The same as soon as there is some, in the order of arrival. More than all there is waits until nobody else has any.
    pub async fn hold_body_in_time(self: &Arc<Self>, bytes: usize) -> Held {
        let bytes = bytes.min(self.bodies_bytes());
        loop {
            // Counted before it is tried: who gives something back after that sees it.
            let waiting = Waiting::new(self);
            if let Some(held) = self.try_hold(bytes, self.bodies_bytes()) {
                drop(waiting);
                // There may be enough for the next one too.
                self.tell();
                return held;
            }
            self.given_back.notified().await;
        }
    }

    fn try_hold(self: &Arc<Self>, bytes: usize, limit_bytes: usize) -> Option<Held> {
        let fits = |used: usize| used.checked_add(bytes).filter(|used| *used <= limit_bytes);
        self.used_bytes.fetch_update(Ordering::SeqCst, Ordering::Relaxed, fits).ok()?;
        Some(Held { buffers: self.clone(), bytes })
    }

    /// For what was promised. False if there is too much now.
    pub fn add(&self, bytes: usize) -> bool {
        self.used_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes <= self.limit_bytes
    }

    pub fn give_back(&self, bytes: usize) {
        self.used_bytes.fetch_sub(bytes, Ordering::SeqCst);
        self.tell();
    }

    fn tell(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.given_back.notify_one();
        }
    }

    pub fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    pub fn used_bytes(&self) -> usize {
        self.used_bytes.load(Ordering::Relaxed)
    }

    /// How often something did not fit.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

struct Waiting<'a>(&'a Buffers);

impl<'a> Waiting<'a> {
    fn new(buffers: &'a Buffers) -> Waiting<'a> {
        buffers.waiting.fetch_add(1, Ordering::SeqCst);
        Waiting(buffers)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.buffers.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_new_fits_or_is_refused_and_what_was_promised_counts() {
        let buffers = Arc::new(Buffers::new(100));
        let first = buffers.hold(60).expect("it fits");
        let refused = buffers.hold(41).err().expect("it does not");
        assert_eq!((refused.group, refused.code), ("guard", "service_unavailable"));
        assert!(buffers.hold(usize::MAX).is_err());
        assert!(buffers.add(40) && !buffers.add(1));
        assert!(buffers.hold(0).is_err(), "nothing new fits beside too much");
        drop(first);
        assert_eq!((buffers.used_bytes(), buffers.refused()), (41, 3));
        buffers.give_back(41);
        drop(buffers.hold(100).expect("all of it"));
        let body = buffers.hold_body(88).expect("all but an eighth");
        assert!(buffers.hold_body(1).is_err());
        drop((buffers.hold(12).expect("it has no body"), body));
        assert_eq!(buffers.used_bytes(), 0);
    }

    #[tokio::test]
    async fn whoever_waits_gets_it_in_turn() {
        // Bodies may have 100 of it.
        let buffers = Arc::new(Buffers::new(114));
        let all = buffers.hold_body_in_time(1_000).await;
        let wait = |bytes| {
            let buffers = buffers.clone();
            tokio::spawn(async move { buffers.hold_body_in_time(bytes).await })
        };
        let (one, two, three) = (wait(40), wait(60), wait(40));
        let gone = wait(100);
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(![&one, &two, &three, &gone].iter().any(|task| task.is_finished()));
        // Who leaves the line takes no turn with it.
        gone.abort();
        assert!(gone.await.is_err());
        drop(all);
        let (one, two) = (one.await.expect("it ends"), two.await.expect("it ends"));
        assert!(!three.is_finished());
        drop((one, two));
        drop(three.await.expect("it ends"));
        assert_eq!((buffers.used_bytes(), buffers.waiting.load(Ordering::SeqCst)), (0, 0));
    }
}
