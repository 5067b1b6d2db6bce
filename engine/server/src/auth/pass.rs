//! For how long what a token opened may last: as long as the token.
//!
//! Runners' connections, clients' WebSockets, requests that wait for their answer, answers that stream. Each waits for its own token and
//! no other; nothing is looked at per message. Those that were opened without a token wait for nothing.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use engine_core::record::TokenRecord;

use crate::auth::identity::Identity;
use crate::engine::Engine;
use crate::error::ApiError;

/// What something was opened with.
#[derive(Clone, Default, Debug)]
pub struct Pass(Option<Arc<TokenRecord>>);

/// Why it is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Over {
    Revoked,
    Expired,
}

/// Comes when it is over.
pub type Ending = Pin<Box<dyn Future<Output = Over> + Send>>;

impl Over {
    /// Group and code.
    pub fn coded(self) -> (&'static str, &'static str) {
        match self {
            Over::Revoked => ("token", "revoked"),
            Over::Expired => ("token", "expired"),
        }
    }
}

impl fmt::Display for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Over::Revoked => "the token was revoked",
            Over::Expired => "the token expired",
        })
    }
}

impl From<Over> for ApiError {
    fn from(over: Over) -> ApiError {
        let (group, code) = over.coded();
        ApiError::new(group, code, format!("{over} while the request was under way; whether it took effect is not known"))
    }
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
        let Some(mut lives) = engine.directory.token_lives(&token.id) else { return Over::Revoked };
        loop {
            let now_ms = engine.clock.now_ms();
            if token.has_expired(now_ms) {
                return Over::Expired;
            }
            let left_ms = token.expire_ms.map(|expire_ms| expire_ms - now_ms);
            tokio::select! {
                _ = lives.changed() => return Over::Revoked,
                () = engine.clock.after(left_ms.unwrap_or_default()), if left_ms.is_some() => {}
            }
        }
    }

    /// The same as a value; none for what was opened without a token that can end.
    pub fn ending(&self, engine: &Arc<Engine>) -> Option<Ending> {
        self.0.as_ref()?;
        let (pass, engine) = (self.clone(), engine.clone());
        Some(Box::pin(async move { pass.over(&engine).await }))
    }

    /// Whether it is over already.
    pub fn is_over(&self, engine: &Engine) -> Option<Over> {
        let token = self.0.as_ref()?;
        if engine.directory.token(&token.id).is_none() {
            return Some(Over::Revoked);
        }
        token.has_expired(engine.clock.now_ms()).then_some(Over::Expired)
    }

    /// Work that ends with it.
    pub async fn bound<T>(&self, engine: &Arc<Engine>, work: impl Future<Output = Result<T, ApiError>>) -> Result<T, ApiError> {
        match self.ending(engine) {
            None => work.await,
            Some(ending) => tokio::select! {
                done = work => done,
                over = ending => Err(over.into()),
            },
        }
    }
}
