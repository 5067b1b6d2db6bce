//! Tokens: minted, used, revoked.
//!
//! The core knows them by what is stored, which is a hash; who may do what with one is the server's to decide.

use std::fmt;

use protocol::id::NamespaceId;

use crate::action::Answer;
use crate::core::{Core, Then};
use crate::input::CallId;
use crate::record::{Change, Role, TokenRecord};
use crate::refusal::Refusal;

/// Tokens of one engine.
pub const TOKENS_MAX: usize = 10_000;
pub const TOKEN_NAME_BYTES_MAX: usize = 128;
/// One that has expired is listed for so long, and goes when another is minted.
const EXPIRED_KEPT_MS: u64 = 24 * 60 * 60_000;

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Admin => "admin",
            Role::Deploy => "deploy",
            Role::Runner => "runner",
            Role::Client => "client",
        })
    }
}

impl TokenRecord {
    pub fn has_expired(&self, now_ms: u64) -> bool {
        self.expire_ms.is_some_and(|expire_ms| expire_ms <= now_ms)
    }
}

impl Core {
    pub(crate) fn mint_token(&mut self, call: CallId, namespace: Option<String>, mut record: TokenRecord) -> Result<(), Refusal> {
        record.namespace = namespace.map(|namespace| self.namespace(&namespace)).transpose()?;
        record.create_ms = self.now_ms;
        if record.name.len() > TOKEN_NAME_BYTES_MAX || record.name.chars().any(char::is_control) {
            let reason = format!(
                "the name has {} bytes; at most {TOKEN_NAME_BYTES_MAX} are allowed, without control characters",
                record.name.len()
            );
            return Err(Refusal::TokenInvalid { reason });
        }
        if record.namespace.is_none() && record.role != Role::Runner {
            let reason = format!("a token for the whole engine can only be a runner's, not {}; name a namespace", record.role);
            return Err(Refusal::TokenInvalid { reason });
        }
        if record.has_expired(self.now_ms) {
            return Err(Refusal::TokenInvalid { reason: "it would have expired already; name a later moment".to_string() });
        }
        let long_ago_ms = self.now_ms.saturating_sub(EXPIRED_KEPT_MS);
        let forgotten: Vec<String> =
            self.tokens.values().filter(|token| token.has_expired(long_ago_ms)).map(|token| token.id.clone()).collect();
        if self.tokens.len() - forgotten.len() >= TOKENS_MAX {
            return Err(Refusal::TooManyTokens);
        }
        let mut changes: Vec<Change> = Vec::new();
        for id in forgotten {
            self.tokens.remove(&id);
            changes.push(Change::DeleteToken { id });
        }
        self.tokens.insert(record.id.clone(), record.clone());
        changes.push(Change::PutToken(Box::new(record.clone())));
        self.commit(changes, Then::Reply(call, Answer::Token(Box::new(record))));
        Ok(())
    }

    /// `within`: only one of this namespace.
    pub(crate) fn revoke_token(&mut self, call: CallId, id: String, within: Option<NamespaceId>) -> Result<(), Refusal> {
        match self.tokens.get(&id) {
            Some(token) if within.is_none() || token.namespace == within => {
                self.tokens.remove(&id);
                self.commit(vec![Change::DeleteToken { id }], Then::Reply(call, Answer::Done));
                Ok(())
            }
            _ => Err(Refusal::TokenNotFound),
        }
    }

    /// When it was used last, roughly.
    pub(crate) fn touch_token(&mut self, call: CallId, id: &str, used_ms: u64) {
        let Some(token) = self.tokens.get_mut(id) else { return self.reply(call, Err(Refusal::TokenNotFound)) };
        token.used_ms = Some(used_ms);
        let change = Change::PutToken(Box::new(token.clone()));
        self.commit(vec![change], Then::Reply(call, Answer::Done));
    }
}
