//! The one moment at which the actor wants to be woken; [`Alarms::fired`](crate::Alarms::fired) is called then. For many moments, or
//! recurring ones, use [`schedule`](crate::schedule), which is independent of this.

use crate::Error;
use crate::bindings::rivet::actor::alarm;

/// Replaces an earlier one. Milliseconds since 1970; a moment in the past fires at once.
pub fn set(at_ms: u64) -> Result<(), Error> {
    alarm::set(at_ms)
}

pub fn get() -> Option<u64> {
    alarm::get()
}

pub fn clear() -> Result<(), Error> {
    alarm::clear()
}
