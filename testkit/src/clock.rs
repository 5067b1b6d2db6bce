//! Time that stands still until it is turned.
//!
//! Knows who waits for which moment, so that time can go from one to the next and pass over none; and how much is under way that
//! takes no time.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use protocol::clock::{Clock, Until};

pub struct TurnedClock(Arc<Mutex<Inner>>);

struct Inner {
    now_ms: u64,
    holds: usize,
    /// By moment, and by the number of the wait. As many as there are actors awake, and one for the engine.
    waits: BTreeMap<(u64, u64), Waker>,
    numbered: u64,
}

struct Wait {
    inner: Arc<Mutex<Inner>>,
    at_ms: u64,
    number: u64,
}

impl TurnedClock {
    pub fn new(now_ms: u64) -> TurnedClock {
        TurnedClock(Arc::new(Mutex::new(Inner { now_ms, holds: 0, waits: BTreeMap::new(), numbered: 0 })))
    }

    pub fn is_held(&self) -> bool {
        lock(&self.0).holds > 0
    }

    /// The first moment that somebody waits for.
    pub fn next_ms(&self) -> Option<u64> {
        lock(&self.0).waits.keys().next().map(|(at_ms, _)| *at_ms)
    }

    /// Never backwards.
    pub fn turn_to(&self, now_ms: u64) {
        let due = {
            let mut inner = lock(&self.0);
            inner.now_ms = inner.now_ms.max(now_ms);
            let later = inner.now_ms.checked_add(1).map(|later_ms| inner.waits.split_off(&(later_ms, 0)));
            std::mem::replace(&mut inner.waits, later.unwrap_or_default())
        };
        due.into_values().for_each(Waker::wake);
    }
}

impl Clock for TurnedClock {
    fn now_ms(&self) -> u64 {
        lock(&self.0).now_ms
    }

    fn until(&self, at_ms: u64) -> Until {
        let number = {
            let mut inner = lock(&self.0);
            inner.numbered += 1;
            inner.numbered
        };
        Box::pin(Wait { inner: self.0.clone(), at_ms, number })
    }

    fn hold(&self) {
        lock(&self.0).holds += 1;
    }

    fn release(&self) {
        lock(&self.0).holds -= 1;
    }
}

impl Future for Wait {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut inner = lock(&self.inner);
        if inner.now_ms >= self.at_ms {
            return Poll::Ready(());
        }
        inner.waits.insert((self.at_ms, self.number), context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        lock(&self.inner).waits.remove(&(self.at_ms, self.number));
    }
}

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_from_one_moment_to_the_next() {
        let clock = TurnedClock::new(1_000);
        let mut context = Context::from_waker(Waker::noop());
        let [mut first, mut second, mut given_up] = [1_010, 1_020, 1_005].map(|at_ms| clock.until(at_ms));
        assert_eq!(clock.next_ms(), None, "nobody has begun to wait");
        assert!(given_up.as_mut().poll(&mut context).is_pending());
        assert!(first.as_mut().poll(&mut context).is_pending() && second.as_mut().poll(&mut context).is_pending());
        assert_eq!(clock.next_ms(), Some(1_005));
        drop(given_up);
        assert_eq!(clock.next_ms(), Some(1_010));
        clock.turn_to(1_010);
        assert!(first.as_mut().poll(&mut context).is_ready() && second.as_mut().poll(&mut context).is_pending());
        clock.turn_to(1_000);
        assert_eq!((clock.now_ms(), clock.next_ms()), (1_010, Some(1_020)));
    }
}
