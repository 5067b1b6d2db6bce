//! `/tokens`: mint one, list them, revoke one. A token itself is shown once, to whoever mints it.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use engine_core::action::Answer;
use engine_core::input::Operation;
use engine_core::record::{Role, TokenRecord};
use http::Uri;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::actors::Empty;
use crate::api::extract::{self, PathPart, Query, Token};
use crate::api::views::Pagination;
use crate::api::{schemas, unexpected};
use crate::auth::identity::{Denied, Identity};
use crate::auth::table::Permission;
use crate::auth::token::Minted;
use crate::engine::Engine;
use crate::error::ApiError;

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1_000;

/// A token as everybody who may list it sees it.
#[derive(Serialize, ToSchema)]
#[schema(as = Token)]
pub struct View {
    id: String,
    #[schema(value_type = schemas::Role)]
    role: Role,
    /// Its name; null: all of them.
    #[schema(required = true)]
    namespace: Option<String>,
    name: String,
    create_ts: u64,
    #[schema(required = true)]
    expire_ts: Option<u64>,
    /// When it was used last, to the minute.
    #[schema(required = true)]
    used_ts: Option<u64>,
}

impl View {
    fn new(engine: &Engine, token: &TokenRecord) -> View {
        View {
            id: token.id.clone(),
            role: token.role,
            namespace: token.namespace.and_then(|namespace| engine.directory.namespace_name(namespace)),
            name: token.name.clone(),
            create_ts: token.create_ms,
            expire_ts: token.expire_ms,
            used_ts: engine.auth.used_ms(&token.id).or(token.used_ms),
        }
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = TokenList)]
pub struct List {
    tokens: Vec<View>,
    pagination: Pagination,
}

/// Those that have expired are listed for a day, and longer until another is minted.
#[utoipa::path(
    get,
    path = "/tokens",
    tag = "Tokens",
    params(
        ("namespace" = Option<String>, Query, description = "Only those of this namespace; all of them unless said otherwise"),
        ("limit" = Option<usize>, Query, description = "100 unless said otherwise, at most 1000"),
        ("cursor" = Option<String>, Query, description = "Only those after this id"),
    ),
    responses((status = 200, body = List), (status = "default", body = ApiError)),
    security(("admin_token" = []))
)]
pub async fn list(State(engine): State<Arc<Engine>>, token: Token, uri: Uri) -> Result<Json<List>, ApiError> {
    let query = Query::read(&uri, &["namespace", "limit", "cursor"])?;
    let limit = query.limit(LIMIT_DEFAULT)?.min(LIMIT_MAX);
    let after = query.one("cursor")?;
    let identity = token.check(&engine)?;
    let named = extract::some_namespace(&engine, &query)?;
    let within = named.map(|namespace| namespace.id).or(identity.within());
    let mut tokens = engine.directory.tokens();
    tokens.retain(|token| within.is_none_or(|within| token.namespace == Some(within)));
    tokens.retain(|token| after.is_none_or(|after| *token.id > *after));
    let more = tokens.len() > limit;
    tokens.truncate(limit);
    let cursor = tokens.last().map(|token| token.id.clone()).filter(|_| more);
    let tokens = tokens.iter().map(|token| View::new(&engine, token)).collect();
    Ok(Json(List { tokens, pagination: Pagination { cursor } }))
}

#[derive(Serialize, ToSchema)]
#[schema(as = OwnToken)]
pub struct Own {
    /// Null: the admin token, or none is wanted.
    #[schema(required = true)]
    token: Option<View>,
    may: Vec<Permission>,
    /// Whether calls to actors need a token.
    calls_need_token: bool,
}

/// What the token may that comes along, for those who would rather not offer what is refused. What each word is about is in
/// docs/SECURITY.md.
#[utoipa::path(
    get,
    path = "/tokens/self",
    tag = "Tokens",
    responses((status = 200, body = Own), (status = "default", body = ApiError)),
    security(("admin_token" = []))
)]
pub async fn own(State(engine): State<Arc<Engine>>, token: Token, uri: Uri) -> Result<Json<Own>, ApiError> {
    Query::read(&uri, &[])?;
    let identity = token.check(&engine)?;
    let may = Permission::ALL.into_iter().filter(|permission| identity.may(*permission).is_ok()).collect();
    let token = match &identity {
        Identity::Anyone | Identity::Admin => None,
        Identity::Token(token) => Some(View::new(&engine, token)),
    };
    Ok(Json(Own { token, may, calls_need_token: engine.auth.gateway }))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CreateTokenBody)]
struct Create {
    #[schema(value_type = schemas::Role)]
    role: Role,
    /// For people: whose it is, and what for.
    #[serde(default)]
    name: String,
    /// From now on; for ever unless said otherwise.
    expires_in_ms: Option<u64>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = CreateTokenAnswer)]
pub struct Created {
    token: View,
    /// What to send; it is not shown again.
    secret: String,
}

#[utoipa::path(
    post,
    path = "/tokens",
    tag = "Tokens",
    params(
        ("namespace" = Option<String>, Query, description = "The namespace's name. Only a runner's token may be without one; then it is for all of them"),
    ),
    request_body = Create,
    responses((status = 200, body = Created), (status = "default", body = ApiError)),
    security(("admin_token" = []))
)]
pub async fn create(State(engine): State<Arc<Engine>>, token: Token, request: Request) -> Result<Json<Created>, ApiError> {
    let query = Query::read(request.uri(), &["namespace"])?;
    let named = query.one("namespace")?.map(str::to_string);
    let Create { role, name, expires_in_ms } = extract::json(request).await?;
    let identity = token.check(&engine)?;
    if !engine.auth.is_on() {
        let message =
            "no admin token is configured, so everybody may do everything and a token would protect nothing; set auth.admin_token";
        return Err(ApiError::new("token", "not_checked", message));
    }
    let namespace = match (named, identity.within()) {
        // Who may see one namespace mints for that one. Should it be gone, that must not become "for all".
        (None, Some(own)) => {
            let own = engine.directory.namespace_name(own);
            Some(own.ok_or_else(|| token.refuse(&engine, Denied::Namespace))?)
        }
        (named, _) => named,
    };
    let expire_ms = expires_in_ms.map(|ms| engine.clock.now_ms().saturating_add(ms));
    let (record, secret) = mint(&engine, role, namespace, name, expire_ms).await?;
    Ok(Json(Created { token: View::new(&engine, &record), secret }))
}

/// The record, and the token's text.
pub async fn mint(
    engine: &Engine,
    role: Role,
    namespace: Option<String>,
    name: String,
    expire_ms: Option<u64>,
) -> Result<(TokenRecord, String), ApiError> {
    let minted = Minted::new(role);
    let record = TokenRecord {
        id: minted.id.clone(),
        hash: minted.hash,
        role,
        namespace: None,
        name,
        create_ms: 0,
        expire_ms,
        used_ms: None,
    };
    match engine.call(Operation::MintToken { namespace, record: Box::new(record) }).await? {
        Answer::Token(record) => Ok((*record, minted.into_text())),
        other => Err(unexpected(&other)),
    }
}

#[utoipa::path(
    delete,
    path = "/tokens/{token_id}",
    tag = "Tokens",
    params(
        ("token_id" = String, Path),
        ("namespace" = Option<String>, Query, description = "Only if it is one of this namespace"),
    ),
    responses((status = 200, body = Empty, description = "Nobody can use it any more, and what it opened ends"), (status = "default", body = ApiError)),
    security(("admin_token" = []))
)]
pub async fn revoke(
    State(engine): State<Arc<Engine>>,
    PathPart(id): PathPart<String>,
    token: Token,
    uri: Uri,
) -> Result<Json<Empty>, ApiError> {
    let query = Query::read(&uri, &["namespace"])?;
    query.one("namespace")?;
    let identity = token.check(&engine)?;
    let named = extract::some_namespace(&engine, &query)?.map(|namespace| namespace.id);
    // For the audit log, which tells of a namespace to its admins.
    let of = engine.directory.token(&id).and_then(|token| token.namespace);
    let namespace = of.and_then(|namespace| engine.directory.namespace_name(namespace));
    engine.call(Operation::RevokeToken { id, within: named.or(identity.within()), namespace }).await?;
    Ok(Json(Empty {}))
}
