//! `/runner-configs`: how pools get their runners. A pool's configuration is put whole, and asked for by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use engine_core::action::Answer;
use engine_core::input::Operation;
use engine_core::record::{PoolError, PoolKind, Role, RunnerConfigRecord};
use http::Uri;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::api::actors::Empty;
use crate::api::extract::{self, PathPart, Query, Token};
use crate::api::pool_form::{Put, View, check_headers};
use crate::api::unexpected;
use crate::api::views::Pagination;
use crate::auth::identity::{Denied, Identity};
use crate::engine::{DATACENTER, Engine};
use crate::error::ApiError;
use crate::serverless::client;
use crate::serverless::metadata::{self, MetadataError, RefreshError};

const LIMIT_DEFAULT: usize = 100;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PutRunnerConfigBody)]
pub struct PutBody {
    /// By datacenter, the whole of it: a datacenter that is not named loses its configuration.
    datacenters: BTreeMap<String, Put>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = PutRunnerConfigAnswer)]
pub struct PutAnswer {
    endpoint_config_changed: bool,
}

#[utoipa::path(
    put,
    path = "/runner-configs/{pool}",
    tag = "Pools",
    params(
        ("pool" = String, Path, description = "The pool's name, at most 128 bytes"),
        ("namespace" = String, Query, description = "The namespace's name"),
    ),
    request_body = PutBody,
    responses((status = 200, body = PutAnswer), (status = "default", body = ApiError)),
    security(("admin_token" = []))
)]
pub async fn put(
    State(engine): State<Arc<Engine>>,
    PathPart(pool): PathPart<String>,
    token: Token,
    request: Request,
) -> Result<Json<PutAnswer>, ApiError> {
    let query = Query::read(request.uri(), &["namespace"])?;
    query.required("namespace")?;
    let PutBody { mut datacenters } = extract::json(request).await?;
    datacenters.values().try_for_each(Put::check_kind)?;
    let identity = token.check(&engine)?;
    let namespace = extract::namespace(&engine, &query)?;
    let config = datacenters.remove(DATACENTER);
    let before = engine.directory.runner_config(namespace.id, &pool);
    may_put(&identity, before.as_ref(), config.as_ref(), engine.serverless.sends_admin_token())
        .map_err(|denied| token.refuse(&engine, denied))?;
    if let Some(unknown) = datacenters.keys().next() {
        return Err(ApiError::datacenter_not_found(unknown));
    }
    let Some(config) = config else {
        engine.call(Operation::DeleteRunnerConfig { namespace: namespace.name, pool }).await?;
        return Ok(Json(PutAnswer { endpoint_config_changed: false }));
    };
    config.check(&engine, &pool).await?;
    let record = Box::new(config.record(namespace.id, pool.clone()));
    match engine.call(Operation::PutRunnerConfig { namespace: namespace.name, record }).await? {
        Answer::RunnerConfig { endpoint_changed } => Ok(Json(PutAnswer { endpoint_config_changed: endpoint_changed })),
        other => Err(unexpected(&other)),
    }
}

/// A runner makes the pool that it joins, and touches none that is called by URL. Where the admin token goes to such URLs, only who
/// has it already says where they are.
fn may_put(
    identity: &Identity,
    before: Option<&RunnerConfigRecord>,
    wanted: Option<&Put>,
    sends_admin_token: bool,
) -> Result<(), Denied> {
    let has_url = wanted.is_some_and(Put::is_serverless);
    let had_url = before.is_some_and(|before| matches!(before.kind, PoolKind::Serverless(_)));
    match identity.role() {
        Some(Role::Runner) if wanted.is_none() || has_url || had_url => Err(Denied::Role),
        Some(_) if has_url && sends_admin_token => Err(Denied::Role),
        _ => Ok(()),
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = RunnerConfigList)]
pub struct List {
    /// By pool.
    runner_configs: BTreeMap<String, Datacenters>,
    pagination: Pagination,
}

#[derive(Serialize, ToSchema)]
#[schema(as = RunnerConfigDatacenters)]
struct Datacenters {
    datacenters: BTreeMap<&'static str, View>,
}

fn variant(record: &RunnerConfigRecord) -> &'static str {
    match record.kind {
        PoolKind::Normal => "normal",
        PoolKind::Serverless(_) => "serverless",
    }
}

#[utoipa::path(
    get,
    path = "/runner-configs",
    tag = "Pools",
    params(
        ("namespace" = String, Query, description = "The namespace's name"),
        ("limit" = Option<usize>, Query, description = "100 unless said otherwise"),
        ("cursor" = Option<String>, Query, description = "`variant:pool`: only those after it"),
        ("variant" = Option<String>, Query, description = "`normal` or `serverless`"),
        ("runner_names" = Option<String>, Query, description = "Pools, between commas"),
        ("runner_name" = Option<Vec<String>>, Query, description = "A pool; may be repeated"),
    ),
    responses((status = 200, body = List), (status = "default", body = ApiError)),
    security(("admin_token" = []))
)]
pub async fn list(State(engine): State<Arc<Engine>>, token: Token, uri: Uri) -> Result<Json<List>, ApiError> {
    let query = Query::read(&uri, &["namespace", "limit", "cursor", "variant", "runner_names", "runner_name"])?;
    query.required("namespace")?;
    let limit = query.limit(LIMIT_DEFAULT)?;
    let names: Vec<&str> = query.listed("runner_names")?.chain(query.all("runner_name")).collect();
    let wanted = query.one("variant")?;
    if let Some(other) = wanted.filter(|variant| !matches!(*variant, "normal" | "serverless")) {
        return Err(ApiError::bad_request(format!("variant is {other:?}; normal or serverless is expected")));
    }
    let after = query.one("cursor")?.map(|cursor| {
        let expected = || ApiError::bad_request(format!("cursor is {cursor:?}; normal:POOL or serverless:POOL is expected"));
        cursor.split_once(':').filter(|(variant, _)| matches!(*variant, "normal" | "serverless")).ok_or_else(expected)
    });
    let after = after.transpose()?;
    token.check(&engine)?;
    let namespace = extract::namespace(&engine, &query)?;

    let mut records = engine.directory.runner_configs(namespace.id);
    records.retain(|record| {
        (names.is_empty() || names.contains(&record.pool.as_str()))
            && wanted.is_none_or(|wanted| variant(record) == wanted)
            && after.is_none_or(|after| (variant(record), record.pool.as_str()) > after)
    });
    records.sort_by(|a, b| (variant(a), &a.pool).cmp(&(variant(b), &b.pool)));
    records.truncate(limit);
    let mut errors = pool_errors(&engine, namespace.name).await?;
    let shown = records.into_iter().map(|record| {
        let (pool, error) = (record.pool.clone(), errors.remove(&record.pool));
        (pool, Datacenters { datacenters: BTreeMap::from([(DATACENTER, View::new(record, error))]) })
    });
    Ok(Json(List { runner_configs: shown.collect(), pagination: Pagination { cursor: None } }))
}

async fn pool_errors(engine: &Engine, namespace: String) -> Result<BTreeMap<String, PoolError>, ApiError> {
    match engine.call(Operation::ListRunners { namespace }).await? {
        Answer::Runners { pool_errors, .. } => Ok(pool_errors.into_iter().collect()),
        other => Err(unexpected(&other)),
    }
}

#[utoipa::path(
    delete,
    path = "/runner-configs/{pool}",
    tag = "Pools",
    params(("pool" = String, Path), ("namespace" = String, Query, description = "The namespace's name")),
    responses((status = 200, body = Empty), (status = "default", body = ApiError)),
    security(("admin_token" = []))
)]
pub async fn delete(
    State(engine): State<Arc<Engine>>,
    PathPart(pool): PathPart<String>,
    token: Token,
    uri: Uri,
) -> Result<Json<Empty>, ApiError> {
    let query = Query::read(&uri, &["namespace"])?;
    query.required("namespace")?;
    token.check(&engine)?;
    let namespace = extract::namespace(&engine, &query)?.name;
    engine.call(Operation::DeleteRunnerConfig { namespace, pool }).await?;
    Ok(Json(Empty {}))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = HealthCheckBody)]
pub struct CheckBody {
    url: String,
    headers: Option<BTreeMap<String, String>>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = HealthCheckAnswer)]
pub enum CheckAnswer {
    Success { version: String },
    Failure { error: MetadataError },
}

#[utoipa::path(
    post,
    path = "/runner-configs/serverless-health-check",
    tag = "Pools",
    params(("namespace" = String, Query, description = "The namespace's name; it need not exist")),
    request_body = CheckBody,
    responses((status = 200, body = CheckAnswer), (status = "default", body = ApiError)),
    security(("admin_token" = []))
)]
pub async fn check(State(engine): State<Arc<Engine>>, token: Token, request: Request) -> Result<Json<CheckAnswer>, ApiError> {
    Query::read(request.uri(), &["namespace"])?.required("namespace")?;
    let CheckBody { url, headers } = extract::json(request).await?;
    token.check(&engine)?;
    let headers = headers.unwrap_or_default();
    let fetched = match check_headers(&headers) {
        Ok(()) => metadata::fetch(&engine.outbound, &url, client::headers(&Vec::from_iter(headers))).await,
        Err(reason) => Err(MetadataError::invalid_request(reason)),
    };
    Ok(Json(match fetched {
        Ok(metadata) => CheckAnswer::Success { version: metadata.version },
        Err(error) => CheckAnswer::Failure { error },
    }))
}

#[utoipa::path(
    post,
    path = "/runner-configs/{pool}/refresh-metadata",
    tag = "Pools",
    params(("pool" = String, Path), ("namespace" = String, Query, description = "The namespace's name")),
    request_body = Empty,
    responses((status = 200, body = Empty), (status = "default", body = ApiError)),
    security(("admin_token" = []))
)]
pub async fn refresh(
    State(engine): State<Arc<Engine>>,
    PathPart(pool): PathPart<String>,
    token: Token,
    request: Request,
) -> Result<Json<Empty>, ApiError> {
    let query = Query::read(request.uri(), &["namespace"])?;
    query.required("namespace")?;
    let Empty {} = extract::json(request).await?;
    token.check(&engine)?;
    let namespace = extract::namespace(&engine, &query)?;
    metadata::refresh(&engine, namespace.id, &pool).await.map_err(|error| match error {
        RefreshError::NotServerless => {
            let message = format!("there is no pool {pool:?} that is called by URL; PUT /runner-configs/{pool} makes one");
            ApiError::new("serverless_runner_pool", "not_found", message)
        }
        RefreshError::Failed(error) => {
            let reason = Map::from(*error);
            let message =
                format!("the pool's URL could not be asked: {}", reason.get("message").and_then(Value::as_str).unwrap_or("?"));
            ApiError::new("serverless_runner_pool", "failed_to_fetch_metadata", message).with(json!({ "reason": reason }))
        }
    })?;
    Ok(Json(Empty {}))
}
