//! Time that is turned by hand, in place of the machine's: what a test of actors gives to the engine and to its runner.
//!
//! A trait, and what is held by it; nothing here knows what time it is.

use std::pin::Pin;
use std::sync::Arc;

/// A wait for a moment.
pub type Until = Pin<Box<dyn Future<Output = ()> + Send>>;

pub trait Clock: Send + Sync {
    /// Milliseconds since 1970-01-01T00:00Z; never fewer than before.
    fn now_ms(&self) -> u64;

    /// Ends when it is that late.
    fn until(&self, at_ms: u64) -> Until;

    /// Something is under way that takes no time: none is to pass before [`Clock::release`] was called as often as this.
    fn hold(&self);

    fn release(&self);
}

/// Holds time, if there is a clock that can be held.
pub struct Hold(Option<Arc<dyn Clock>>);

impl Hold {
    pub fn new(clock: Option<&Arc<dyn Clock>>) -> Hold {
        if let Some(clock) = clock {
            clock.hold();
        }
        Hold(clock.cloned())
    }

    /// Lets go for as long as the result lives.
    pub fn pause(&self) -> Paused<'_> {
        if let Some(clock) = &self.0 {
            clock.release();
        }
        Paused(self)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(clock) = &self.0 {
            clock.release();
        }
    }
}

pub struct Paused<'a>(&'a Hold);

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        if let Some(clock) = &self.0.0 {
            clock.hold();
        }
    }
}
