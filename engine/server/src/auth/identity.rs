//! Who brings a token, what they may, and why not.

use std::sync::Arc;

use engine_core::record::{Role, TokenRecord};
use protocol::id::NamespaceId;
use serde_json::json;

use crate::auth::table::Permission;
use crate::error::ApiError;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Identity {
    /// No admin token is configured: nobody has to show who they are, and everybody may do everything.
    Anyone,
    /// Whoever has the configured token.
    Admin,
    Token(Arc<TokenRecord>),
}

/// Why somebody may not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Denied {
    NoToken,
    /// Nobody is told whether it is the id or the secret that is wrong.
    Invalid,
    Expired,
    /// The token's role may not do that.
    Role,
    /// The token may, but elsewhere.
    Namespace,
}

impl Denied {
    pub const ALL: [Denied; 5] = [Denied::NoToken, Denied::Invalid, Denied::Expired, Denied::Role, Denied::Namespace];

    /// As the metadata of the error says it. The first two are the original's.
    pub fn reason(self) -> &'static str {
        match self {
            Denied::NoToken => "Token not provided",
            Denied::Invalid => "Invalid token",
            Denied::Expired => "Token expired",
            Denied::Role => "Role not sufficient",
            Denied::Namespace => "Token of another namespace",
        }
    }

    /// As metrics say it.
    pub fn word(self) -> &'static str {
        match self {
            Denied::NoToken => "no_token",
            Denied::Invalid => "invalid",
            Denied::Expired => "expired",
            Denied::Role => "role",
            Denied::Namespace => "namespace",
        }
    }
}

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> ApiError {
        let message = match denied {
            Denied::NoToken | Denied::Invalid => {
                "the engine wants a token that it knows; send it as authorization: Bearer TOKEN, or where runners and clients send theirs"
            }
            Denied::Expired => "the token has expired; ask for a new one",
            Denied::Role => "the token's role may not do this; docs/SECURITY.md says what each may",
            Denied::Namespace => "the token is of another namespace, or this concerns the whole engine",
        };
        ApiError::new("api", "forbidden", message).with(json!({ "reason": denied.reason() }))
    }
}

impl Identity {
    /// All that it may see; none: everything.
    pub fn within(&self) -> Option<NamespaceId> {
        match self {
            Identity::Anyone | Identity::Admin => None,
            Identity::Token(token) => token.namespace,
        }
    }

    pub fn sees(&self, namespace: NamespaceId) -> bool {
        self.within().is_none_or(|within| within == namespace)
    }

    pub fn role(&self) -> Option<Role> {
        match self {
            Identity::Anyone | Identity::Admin => None,
            Identity::Token(token) => Some(token.role),
        }
    }

    /// For the audit log.
    pub fn who(&self) -> String {
        match self {
            Identity::Anyone => "anyone".to_string(),
            Identity::Admin => "admin".to_string(),
            Identity::Token(token) => format!("token {}", token.id),
        }
    }

    pub fn may(&self, permission: Permission) -> Result<(), Denied> {
        match self.role() {
            Some(role) if !permission.roles().contains(&role) => Err(Denied::Role),
            _ => Ok(()),
        }
    }

    /// To connect as a runner of a pool in this namespace; none: of components, in all of them.
    pub fn may_run_in(&self, namespace: Option<NamespaceId>) -> Result<(), Denied> {
        self.may(Permission::Run)?;
        match self.within() {
            Some(within) if namespace != Some(within) => Err(Denied::Namespace),
            _ => Ok(()),
        }
    }
}
