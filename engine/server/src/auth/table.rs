//! What each route needs: the one place that says who may do what.
//!
//! **A new route gets a row here.** Without one, only the engine's admin may use it, and a test says so. Handlers ask with
//! `token.check(&engine)`, once the request has been understood; one that forgets can do nothing, and what it answers is not sent.
//!
//! | permission | admin | deploy | runner | client |
//! |---|---|---|---|---|
//! | `Open` | yes | yes | yes | yes, and without any token |
//! | `Known` | yes | yes | yes | |
//! | `Read` | yes | yes | | |
//! | `Deploy` | yes | yes | | |
//! | `Host` | yes | yes | yes | |
//! | `Run` | yes | | yes | |
//! | `Manage` | yes | | | |
//! | `Engine` | | | | |
//! | `Call` | yes | yes | yes | yes |
//!
//! Whoever has the configured admin token may everything. The roles are those of minted tokens, each in its own namespace.

use engine_core::record::Role;
use http::Method;
use serde::Serialize;
use utoipa::ToSchema;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Permission {
    /// Nothing of anybody is shown.
    Open,
    /// What everybody who works with the engine may know.
    Known,
    /// To look at actors, their state and their logs, at pools, runners and deployments.
    Read,
    /// To change deployments and pools: what runs, and where.
    Deploy,
    /// What an app does when it starts: it makes the pool that it joins.
    Host,
    /// To connect as a runner. No route of the API.
    Run,
    /// To create, destroy and move actors, to mint, list and revoke tokens, to see what a namespace may have and has.
    Manage,
    /// What concerns all namespaces.
    Engine,
    /// To call actors, where calls need a token; and to ask what a token may.
    Call,
}

impl Permission {
    pub const ALL: [Permission; 9] = [
        Permission::Open,
        Permission::Known,
        Permission::Read,
        Permission::Deploy,
        Permission::Host,
        Permission::Run,
        Permission::Manage,
        Permission::Engine,
        Permission::Call,
    ];

    pub fn roles(self) -> &'static [Role] {
        match self {
            Permission::Open | Permission::Call => &[Role::Admin, Role::Deploy, Role::Runner, Role::Client],
            Permission::Known | Permission::Host => &[Role::Admin, Role::Deploy, Role::Runner],
            Permission::Read | Permission::Deploy => &[Role::Admin, Role::Deploy],
            Permission::Run => &[Role::Admin, Role::Runner],
            Permission::Manage => &[Role::Admin],
            Permission::Engine => &[],
        }
    }
}

/// Where a route's permission must hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// In the namespace that the query names: another one is refused.
    Named,
    /// The same where the path names it, as `{namespace}`: its name or its id.
    InPath,
    /// The handler shows and changes only what the token may see; a namespace in the query must be that one.
    Own,
    /// It is nobody's.
    Nowhere,
}

pub struct Row {
    pub method: Method,
    pub path: &'static str,
    pub permission: Permission,
    pub place: Place,
}

const fn row(method: Method, path: &'static str, permission: Permission, place: Place) -> Row {
    Row { method, path, permission, place }
}

use Permission::{Call, Deploy, Engine, Host, Known, Manage, Open, Read};
use Place::{InPath, Named, Nowhere, Own};

/// As the OpenAPI document has them.
pub const ROUTES: &[Row] = &[
    row(Method::GET, "/health", Open, Nowhere),
    row(Method::GET, "/ready", Open, Nowhere),
    row(Method::GET, "/metadata", Open, Nowhere),
    row(Method::GET, "/openapi.json", Open, Nowhere),
    row(Method::GET, "/health/fanout", Known, Nowhere),
    row(Method::GET, "/datacenters", Known, Nowhere),
    row(Method::GET, "/namespaces", Known, Own),
    row(Method::POST, "/namespaces", Engine, Nowhere),
    row(Method::DELETE, "/namespaces/{namespace}", Engine, InPath),
    row(Method::GET, "/namespaces/{namespace}/quotas", Manage, InPath),
    row(Method::PUT, "/namespaces/{namespace}/quotas", Engine, InPath),
    row(Method::GET, "/actors", Read, Named),
    row(Method::POST, "/actors", Manage, Named),
    row(Method::PUT, "/actors", Manage, Named),
    row(Method::GET, "/actors/names", Read, Named),
    row(Method::DELETE, "/actors/{actor_id}", Manage, Named),
    row(Method::POST, "/actors/{actor_id}/sleep", Manage, Named),
    row(Method::POST, "/actors/{actor_id}/reschedule", Manage, Named),
    row(Method::GET, "/actors/{actor_id}/kv/keys/{key}", Read, Named),
    row(Method::GET, "/actors/{actor_id}/storage", Read, Named),
    row(Method::GET, "/actors/{actor_id}/export", Manage, Named),
    row(Method::POST, "/actors/import", Manage, Named),
    row(Method::GET, "/actors/{actor_id}/logs", Read, Named),
    row(Method::GET, "/actors/{actor_id}/version", Read, Named),
    row(Method::PUT, "/actors/{actor_id}/version", Deploy, Named),
    row(Method::DELETE, "/actors/{actor_id}/version", Deploy, Named),
    row(Method::GET, "/envoys", Read, Named),
    row(Method::GET, "/runners", Read, Named),
    row(Method::GET, "/runners/names", Read, Named),
    row(Method::GET, "/runner-configs", Read, Named),
    row(Method::PUT, "/runner-configs/{pool}", Host, Named),
    row(Method::DELETE, "/runner-configs/{pool}", Deploy, Named),
    row(Method::POST, "/runner-configs/serverless-health-check", Deploy, Named),
    row(Method::POST, "/runner-configs/{pool}/refresh-metadata", Deploy, Named),
    row(Method::GET, "/deployments", Read, Named),
    row(Method::GET, "/deployments/{name}", Read, Named),
    row(Method::PUT, "/deployments/{name}", Deploy, Named),
    row(Method::PATCH, "/deployments/{name}", Deploy, Named),
    row(Method::POST, "/deployments/{name}/check", Deploy, Named),
    row(Method::POST, "/deployments/{name}/activate", Deploy, Named),
    row(Method::PUT, "/deployments/{name}/canary", Deploy, Named),
    row(Method::POST, "/deployments/{name}/promote", Deploy, Named),
    row(Method::POST, "/deployments/{name}/retry", Deploy, Named),
    row(Method::GET, "/tokens", Manage, Own),
    row(Method::GET, "/tokens/self", Call, Nowhere),
    row(Method::POST, "/tokens", Manage, Own),
    row(Method::DELETE, "/tokens/{token_id}", Manage, Own),
    row(Method::GET, "/audit", Manage, Own),
    row(Method::GET, "/backups", Engine, Nowhere),
    row(Method::POST, "/backups", Engine, Nowhere),
    row(Method::GET, "/tracing/config", Engine, Nowhere),
    row(Method::PUT, "/tracing/config", Engine, Nowhere),
];

/// A route that nobody thought of is for the engine's admin.
pub fn of(method: &Method, path: &str) -> (Permission, Place) {
    // HEAD is GET without the body.
    let method = if *method == Method::HEAD { &Method::GET } else { method };
    let row = ROUTES.iter().find(|row| row.method == *method && row.path == path);
    row.map_or((Engine, Nowhere), |row| (row.permission, row.place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_route_is_there_twice() {
        for (at, row) in ROUTES.iter().enumerate() {
            assert!(ROUTES[at + 1..].iter().all(|other| other.method != row.method || other.path != row.path), "{}", row.path);
        }
        assert_eq!(of(&Method::GET, "/new"), (Engine, Nowhere));
        assert_eq!(of(&Method::HEAD, "/actors"), (Read, Named));
    }
}
