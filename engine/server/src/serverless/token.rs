//! Which token goes to a pool's URL with each start, so that the app behind it can connect: none, unless an operator wants one.
//!
//! Either the admin token, as in the original, with which the app could do everything; or a runner's token for the pool's namespace
//! that the engine mints for itself. That one is stored as all tokens are, so it outlives a restart; it is replaced every day, and
//! expires once every call that it was sent with is over.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use engine_core::record::Role;
use http::HeaderValue;
use protocol::id::NamespaceId;
use tokio::sync::Mutex;

use crate::api::tokens;
use crate::auth::admin::AdminToken;
use crate::auth::caller;
use crate::engine::Engine;
use crate::error::ApiError;

/// How long a minted token is sent.
const SENT_MS: u64 = 24 * 60 * 60_000;

pub enum Sent {
    Nothing,
    Admin(AdminToken),
    Runner,
}

/// What is sent to whom.
pub struct Tokens {
    sent: Sent,
    /// One for each pool that was called. Those of pools that are gone are no more than there were pools.
    minted: Mutex<BTreeMap<(NamespaceId, String), Minted>>,
}

struct Minted {
    id: String,
    header: HeaderValue,
    until_ms: u64,
    expire_ms: u64,
}

impl Tokens {
    pub fn new(sent: Sent) -> Tokens {
        Tokens { sent, minted: Mutex::default() }
    }

    pub fn are_admins(&self) -> bool {
        matches!(self.sent, Sent::Admin(_))
    }

    /// `lasts_ms`: how long the call may.
    pub async fn of(
        &self,
        engine: &Engine,
        namespace: (NamespaceId, &str),
        pool: &str,
        lasts_ms: u64,
    ) -> Result<Option<HeaderValue>, ApiError> {
        match &self.sent {
            Sent::Nothing => return Ok(None),
            Sent::Admin(token) => return Ok(token.header()),
            Sent::Runner if !engine.auth.is_on() => return Ok(None),
            Sent::Runner => {}
        }
        let now_ms = engine.clock.now_ms();
        // Held while one is minted: the next call wants the same.
        let mut minted = self.minted.lock().await;
        let place = minted.entry((namespace.0, pool.to_string()));
        if let Entry::Occupied(place) = &place {
            let Minted { id, header, until_ms, expire_ms } = place.get();
            if now_ms < *until_ms && now_ms + lasts_ms <= *expire_ms && engine.directory.token(id).is_some() {
                return Ok(Some(header.clone()));
            }
        }
        let (until_ms, expire_ms) = (now_ms + SENT_MS, now_ms + SENT_MS + lasts_ms);
        let name = format!("the app of pool {}", protocol::limits::cut(pool.to_string(), 64).escape_debug());
        let mint = tokens::mint(engine, Role::Runner, Some(namespace.1.to_string()), name, Some(expire_ms));
        let (record, secret) = caller::as_the_engine(mint).await?;
        let mut header = HeaderValue::from_str(&secret).map_err(|error| ApiError::internal("a token cannot be sent", &error))?;
        header.set_sensitive(true);
        place.insert_entry(Minted { id: record.id, header: header.clone(), until_ms, expire_ms });
        Ok(Some(header))
    }
}
