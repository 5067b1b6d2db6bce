//! Pools whose runners are called by URL: each start of an actor is a request to such a URL, which lasts as long as the actor runs.
//!
//! While it answers, the app behind the URL connects as a runner like any other. So nothing here carries what is said to an actor:
//! only that it is to start, and that the request it lives in is about to end. Holds no rules about actors: those are the core's.
//!
//! In reading order:
//! - [`policy`]: which destinations are allowed.
//! - [`client`]: one HTTP request that keeps to it.
//! - [`metadata`]: what a URL says about itself. [`poll`]: asks again and again.
//! - [`start`]: the request that starts an actor. [`token`]: what is sent with it. [`events`]: what comes back. [`call`]: the one from its beginning to its end.

pub mod call;
pub mod client;
mod events;
pub mod metadata;
pub mod policy;
pub mod poll;
mod start;
pub mod token;

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use protocol::id::{ActorId, Generation};
use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::CancellationToken;

use crate::serverless::token::{Sent, Tokens};

/// Calls that are open at one time, over all pools; each is a connection. A pool's own bound is the core's to keep.
pub const CALLS_OPEN_MAX: usize = 16_384;

/// The calls that are open, and what they have in common.
pub struct Serverless {
    tokens: Tokens,
    /// By what they started. The core wants nothing more of a call when this has been sent: whether a runner has had the actor.
    calls: Mutex<HashMap<(ActorId, Generation), oneshot::Sender<bool>>>,
    room: Arc<Semaphore>,
    closing: CancellationToken,
}

impl Serverless {
    pub fn new(sent: Sent) -> Serverless {
        Serverless {
            tokens: Tokens::new(sent),
            calls: Mutex::default(),
            room: Arc::new(Semaphore::new(CALLS_OPEN_MAX)),
            closing: CancellationToken::new(),
        }
    }

    /// Whether whoever says where a pool's URL is could get the admin token.
    pub fn sends_admin_token(&self) -> bool {
        self.tokens.are_admins()
    }

    /// Ends all calls and asks no URL any more.
    pub fn close(&self) {
        self.closing.cancel();
    }
}
