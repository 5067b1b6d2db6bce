//! Pools whose runners are called by URL: each start of an actor is a request to such a URL, which lasts as long as the actor runs.
//!
//! While it answers, the app behind the URL connects as a runner like any other. So nothing here carries what is said to an actor:
//! only that it is to start, and that the request it lives in is about to end. Holds no rules about actors: those are the core's.
//!
//! In reading order:
//! - [`policy`]: which destinations are allowed.
//! - [`client`]: one HTTP request that keeps to it.
//! - [`metadata`]: what a URL says about itself. [`poll`]: asks again and again.
//! - [`start`]: the request that starts an actor. [`events`]: what comes back. [`call`]: the one from its beginning to its end.

pub mod call;
pub mod client;
mod events;
pub mod metadata;
pub mod policy;
pub mod poll;
mod start;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use http::HeaderValue;
use protocol::id::{ActorId, Generation};
use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::CancellationToken;

/// Calls that are open at one time, over all pools; each is a connection. A pool's own bound is the core's to keep.
pub const CALLS_OPEN_MAX: usize = 16_384;

/// What an operator can say about all such pools.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Sent to every URL with each start. Whoever gets it can do everything, so it is none unless an operator wants that.
    pub token: Option<HeaderValue>,
    /// How often a pool that does not say so itself is asked for its metadata, and how often at most any is.
    pub poll_ms: u64,
    pub poll_min_ms: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { token: None, poll_ms: 10_000, poll_min_ms: 5_000 }
    }
}

/// The calls that are open, and what they have in common.
pub struct Serverless {
    settings: Settings,
    /// By what they started. Dropping the sender says that the core wants nothing more of the call.
    calls: Mutex<HashMap<(ActorId, Generation), oneshot::Sender<()>>>,
    room: Arc<Semaphore>,
    closing: CancellationToken,
}

impl Serverless {
    pub fn new(settings: Settings) -> Serverless {
        Serverless {
            settings,
            calls: Mutex::default(),
            room: Arc::new(Semaphore::new(CALLS_OPEN_MAX)),
            closing: CancellationToken::new(),
        }
    }

    /// Ends all calls and asks no URL any more.
    pub fn close(&self) {
        self.closing.cancel();
    }
}
