//! Actions that the engine calls by itself: once at a moment, or again and again. They survive sleep, crashes and restarts.
//!
//! ```no_run
//! use rivet_actor::{clock, schedule};
//!
//! # fn example() -> Result<(), rivet_actor::Failure> {
//! let reminder = schedule::at(clock::now_ms() + 60_000, "remind", ("water the plants",))?;
//! schedule::cron("daily", "0 8 * * *", "report", ())?;
//! schedule::cancel(&reminder)?;
//! # Ok(())
//! # }
//! ```

use serde::Serialize;

use crate::bindings::rivet::actor::schedule;
pub use crate::bindings::rivet::actor::schedule::Entry;
use crate::{Error, failure};

/// Call this action with these arguments, a tuple, at this moment. Answers with an id.
pub fn at(at_ms: u64, action: &str, args: impl Serialize) -> Result<String, Error> {
    schedule::at(at_ms, action, &failure::encode_args(args)?)
}

/// Five fields (minute, hour, day of month, month, day of week) or six with seconds in front, in UTC. A schedule of the same name is
/// replaced; one that is set again as it was keeps its next moment, so this can be called at every start.
pub fn cron(name: &str, expression: &str, action: &str, args: impl Serialize) -> Result<(), Error> {
    schedule::cron(name, expression, action, &failure::encode_args(args)?)
}

/// False if there is no such schedule (any more).
pub fn cancel(id: &str) -> Result<bool, Error> {
    schedule::cancel(id)
}

pub fn list() -> Result<Vec<Entry>, Error> {
    schedule::list()
}
