//! One connection: who it is from, and whether it has asked for anything yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::edge::Peer;
use crate::prompt::Switch;

/// Shared by the connection and its requests.
#[derive(Clone, Default)]
pub struct Visit {
    /// None where there is no network between.
    pub peer: Option<Arc<Peer>>,
    pub prompt: Switch,
    begun: Begun,
}

/// Whether a first request has come.
#[derive(Clone, Default)]
pub struct Begun(Arc<AtomicBool>);

impl Visit {
    pub fn new(peer: Peer, prompt: Switch) -> Visit {
        Visit { peer: Some(Arc::new(peer)), prompt, begun: Begun::default() }
    }

    pub fn begun(&self) -> &Begun {
        &self.begun
    }
}

impl Begun {
    pub fn mark(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Runs a connection, but drops one that has not asked for anything in time: None. Which version of HTTP is spoken is only known
    /// from the first bytes, and before these no other limit begins.
    pub async fn in_time<C: Future>(&self, connection: C, head: Duration) -> Option<C::Output> {
        let mut connection = std::pin::pin!(connection);
        match tokio::time::timeout(head, connection.as_mut()).await {
            Ok(output) => Some(output),
            Err(_) if self.0.load(Ordering::Relaxed) => Some(connection.await),
            Err(_) => None,
        }
    }
}
