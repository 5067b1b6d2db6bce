//! For how long a connection may live: as long as the token that it was opened with.

use std::sync::Arc;

use engine_core::record::TokenRecord;

use crate::auth::identity::Identity;
use crate::engine::Engine;

/// What a connection was opened with.
#[derive(Clone, Default, Debug)]
pub struct Pass(Option<Arc<TokenRecord>>);

/// Why it is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Over {
    Revoked,
    Expired,
}

impl From<Identity> for Pass {
    fn from(identity: Identity) -> Pass {
        match identity {
            Identity::Anyone | Identity::Admin => Pass(None),
            Identity::Token(token) => Pass(Some(token)),
        }
    }
}

impl Pass {
    /// Until it is over. The configured token is not while the engine runs.
    pub async fn over(&self, engine: &Engine) -> Over {
        let Some(token) = &self.0 else { return std::future::pending().await };
        let mut changes = engine.directory.token_changes();
        loop {
            changes.mark_unchanged();
            if engine.directory.token(&token.id).is_none() {
                return Over::Revoked;
            }
            let now_ms = engine.clock.now_ms();
            if token.has_expired(now_ms) {
                return Over::Expired;
            }
            let left_ms = token.expire_ms.map(|expire_ms| expire_ms - now_ms);
            tokio::select! {
                // The directory lives as long as the engine.
                _ = changes.changed() => {}
                () = engine.clock.after(left_ms.unwrap_or_default()), if left_ms.is_some() => {}
            }
        }
    }
}
