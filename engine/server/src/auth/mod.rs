//! Who may ask for what, and that it is written down.
//!
//! Without an admin token in the configuration everybody may do everything. With one, a request to the API brings a token in
//! `authorization: Bearer …`, and runners bring one when they connect: the admin token, or one that was minted and that may do what
//! its role may, in its namespace. Calls to actors need none, unless `auth.gateway` is on.
//!
//! In reading order:
//! - [`admin`]: the configured token. [`token`]: those that are minted, as text.
//! - [`identity`]: who brings a token, and what they may.
//! - [`table`]: what each route needs. *A new route gets a row there.*
//! - [`caller`]: who asks, along the whole way of a request.
//! - [`attempts`]: what was refused, for the audit log.
//! - [`pass`]: for how long what a token opened may last. [`lasting`]: bodies, for so long.
//! - [`upkeep`]: what is written now and then.

pub mod admin;
pub mod attempts;
pub mod caller;
pub mod identity;
pub mod lasting;
pub mod pass;
pub mod table;
pub mod token;
pub mod upkeep;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::auth::admin::AdminToken;
use crate::auth::attempts::Attempts;
use crate::auth::identity::{Denied, Identity};
use crate::engine::Engine;
use crate::lock::lock;

/// What the engine knows of who may ask, beside the tokens in the directory.
pub struct Auth {
    admin: Option<AdminToken>,
    /// Whether calls to actors need a token too.
    pub gateway: bool,
    pub attempts: Attempts,
    /// When tokens were used last, where that is not written yet; as many as there are tokens at most.
    used: Mutex<BTreeMap<String, u64>>,
    denied: [AtomicU64; Denied::ALL.len()],
}

impl Auth {
    pub fn new(admin: Option<AdminToken>, gateway: bool) -> Auth {
        Auth { admin, gateway, attempts: Attempts::default(), used: Mutex::default(), denied: Default::default() }
    }

    /// Whether there is an admin token, and so anything to check.
    pub fn is_on(&self) -> bool {
        self.admin.is_some()
    }

    /// Who brings this token. Takes as long whether there is such a token or not.
    pub fn identify(&self, engine: &Engine, given: Option<&[u8]>) -> Result<Identity, Denied> {
        let Some(admin) = &self.admin else { return Ok(Identity::Anyone) };
        let given = given.ok_or(Denied::NoToken)?;
        let is_admin = admin.is(given);
        let found = token::id_of(given).and_then(|id| engine.directory.token(id));
        let is_minted = token::is(given, found.as_ref().map(|token| &token.hash));
        match found {
            _ if is_admin => Ok(Identity::Admin),
            Some(token) if is_minted => {
                let now_ms = engine.clock.now_ms();
                if token.has_expired(now_ms) {
                    return Err(Denied::Expired);
                }
                lock(&self.used).insert(token.id.clone(), now_ms);
                Ok(Identity::Token(token))
            }
            _ => Err(Denied::Invalid),
        }
    }

    /// When the token was used last, if that is not in its record yet.
    pub fn used_ms(&self, id: &str) -> Option<u64> {
        lock(&self.used).get(id).copied()
    }

    pub fn count(&self, denied: Denied) {
        self.denied[denied as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How often each was the reason.
    pub fn denials(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Denied::ALL.iter().zip(&self.denied).map(|(denied, count)| (denied.word(), count.load(Ordering::Relaxed)))
    }
}
