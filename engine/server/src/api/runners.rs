//! `/envoys` and `/runners`: where actors run. Envoys speak the newer protocol, runners with slots the older one.
//!
//! A runner for components is an envoy like any other, in every namespace; the key of the engine's own is `wasm`. It takes actors
//! of every pool. So it is listed once, as one of the pool `default`; who asks for another pool finds it there if a component is
//! deployed in that pool.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use engine_core::action::Answer;
use engine_core::input::Operation;
use engine_core::record::NamespaceRecord;
use http::Uri;
use protocol::id::{Id, RunnerId};
use protocol::message::RunnerProtocol;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::api::about::VERSION;
use crate::api::extract::{self, Query, Token};
use crate::api::unexpected;
use crate::api::views::Pagination;
use crate::engine::{DATACENTER, Engine, OWN_KEY, OWN_RUNNER};
use crate::error::ApiError;
use crate::runners::RunnerInfo;

const LIMIT_DEFAULT: usize = 100;
const OWN_POOL: &str = "default";

#[derive(Serialize, ToSchema)]
struct Envoy {
    envoy_key: String,
    namespace_id: String,
    datacenter: &'static str,
    pool_name: String,
    version: u32,
    /// Actors that it has.
    slots: u64,
    create_ts: u64,
    #[schema(required = true)]
    stop_ts: Option<u64>,
    last_ping_ts: u64,
    #[schema(required = true)]
    last_connected_ts: Option<u64>,
    /// Milliseconds.
    last_rtt: u32,
    #[schema(required = true, value_type = Option<Object>)]
    metadata: Option<Value>,
}

#[derive(Serialize, ToSchema)]
pub struct EnvoyList {
    envoys: Vec<Envoy>,
    pagination: Pagination,
}

/// A runner of the older protocol.
#[derive(Serialize, ToSchema)]
struct Runner {
    runner_id: String,
    namespace_id: String,
    datacenter: &'static str,
    /// The pool.
    name: String,
    key: String,
    version: u32,
    total_slots: u32,
    remaining_slots: u32,
    create_ts: u64,
    #[schema(required = true)]
    drain_ts: Option<u64>,
    #[schema(required = true)]
    stop_ts: Option<u64>,
    last_ping_ts: u64,
    #[schema(required = true)]
    last_connected_ts: Option<u64>,
    last_rtt: u32,
    #[schema(required = true, value_type = Option<Object>)]
    metadata: Option<Value>,
}

#[derive(Serialize, ToSchema)]
pub struct RunnerList {
    runners: Vec<Runner>,
    pagination: Pagination,
}

#[derive(Serialize, ToSchema)]
pub struct RunnerNames {
    names: Vec<String>,
    pagination: Pagination,
}

#[utoipa::path(
    get,
    path = "/envoys",
    tag = "Runners",
    params(
        ("namespace" = String, Query, description = "The namespace's name"),
        ("name" = Option<String>, Query, description = "A pool"),
        ("envoy_key" = Option<Vec<String>>, Query, description = "May be repeated"),
        ("limit" = Option<usize>, Query, description = "100 unless said otherwise"),
        ("cursor" = Option<u64>, Query, description = "Only those created before this moment"),
    ),
    responses((status = 200, body = EnvoyList), (status = "default", body = ApiError)),
    security(("admin_token" = []))
)]
pub async fn envoys(State(engine): State<Arc<Engine>>, token: Token, uri: Uri) -> Result<Json<EnvoyList>, ApiError> {
    let query = Query::read(&uri, &["namespace", "name", "envoy_key", "limit", "cursor"])?;
    query.required("namespace")?;
    let pool = query.one("name")?;
    let keys: Vec<&str> = query.all("envoy_key").collect();
    let (limit, before_ms) = (query.limit(LIMIT_DEFAULT)?, query.cursor_ms()?);
    token.check(&engine)?;
    let namespace = extract::namespace(&engine, &query)?;

    let actors = actors(&engine, namespace.name.clone()).await?;
    let connected = engine.runners.list(namespace.id).into_iter();
    let connected =
        connected.filter(|info| matches!(info.protocol, RunnerProtocol::Envoy(_)) && pool.is_none_or(|pool| info.pool == pool));
    let components = of_components(&engine, &namespace, pool, &actors);
    let mut envoys: Vec<Envoy> = connected.map(|info| Envoy::of(info, &actors)).chain(components).collect();
    envoys.retain(|envoy| {
        (keys.is_empty() || keys.contains(&envoy.envoy_key.as_str()))
            && before_ms.is_none_or(|before_ms| envoy.create_ts < before_ms)
    });
    envoys.sort_by_key(|envoy| (Reverse(envoy.create_ts), envoy.envoy_key.clone()));
    envoys.truncate(limit);
    let cursor = envoys.last().map(|envoy| envoy.create_ts.to_string());
    Ok(Json(EnvoyList { envoys, pagination: Pagination { cursor } }))
}

/// How many actors each runner has.
async fn actors(engine: &Engine, namespace: String) -> Result<BTreeMap<RunnerId, u32>, ApiError> {
    match engine.call(Operation::ListRunners { namespace }).await? {
        Answer::Runners { actors, .. } => Ok(actors.into_iter().collect()),
        other => Err(unexpected(&other)),
    }
}

impl Envoy {
    fn of(info: RunnerInfo, actors: &BTreeMap<RunnerId, u32>) -> Envoy {
        Envoy {
            envoy_key: info.key,
            namespace_id: info.namespace.to_string(),
            datacenter: DATACENTER,
            pool_name: info.pool,
            version: info.version,
            slots: actors.get(&info.runner).copied().unwrap_or(0).into(),
            create_ts: info.create_ms,
            stop_ts: info.stopping_ms,
            last_ping_ts: info.last_ping_ms,
            last_connected_ts: Some(info.connect_ms),
            last_rtt: info.rtt_ms,
            metadata: object(info.metadata),
        }
    }
}

/// A runner's metadata, which is JSON as text.
fn object(metadata: Option<String>) -> Option<Value> {
    metadata.and_then(|metadata| serde_json::from_str(&metadata).ok()).filter(Value::is_object)
}

/// The runners for components, if they are of the pool that is asked for.
fn of_components(engine: &Engine, namespace: &NamespaceRecord, pool: Option<&str>, actors: &BTreeMap<RunnerId, u32>) -> Vec<Envoy> {
    let pool = pool.unwrap_or(OWN_POOL);
    let deployed = || engine.directory.deployments(namespace.id).iter().any(|deployment| deployment.pool == pool);
    if pool != OWN_POOL && !deployed() {
        return Vec::new();
    }
    let envoy = |runner: RunnerId, key: &str, version, since_ms| Envoy {
        envoy_key: key.to_string(),
        namespace_id: namespace.id.to_string(),
        datacenter: DATACENTER,
        pool_name: pool.to_string(),
        version,
        slots: actors.get(&runner).copied().unwrap_or(0).into(),
        create_ts: since_ms,
        stop_ts: None,
        last_ping_ts: engine.clock.now_ms(),
        last_connected_ts: Some(since_ms),
        last_rtt: 0,
        metadata: Some(json!({ "rivet-engine": { "version": VERSION } })),
    };
    let elsewhere = engine.runners.components().into_iter().map(|link| Envoy {
        stop_ts: link.stopping(),
        last_ping_ts: link.pings.last_ms.load(Ordering::Relaxed),
        last_rtt: link.pings.rtt_ms.load(Ordering::Relaxed) as u32,
        metadata: Some(json!({ "rivet-engine": { "components_protocol": link.version.number() } })),
        ..envoy(link.runner, &link.profile.key, link.profile.version, link.connect_ms)
    });
    let own = engine.runners.link(OWN_RUNNER).map(|_| envoy(OWN_RUNNER, OWN_KEY, 1, engine.started_ms));
    elsewhere.chain(own).collect()
}

#[utoipa::path(
    get,
    path = "/runners",
    tag = "Runners",
    params(
        ("namespace" = String, Query, description = "The namespace's name"),
        ("name" = Option<String>, Query, description = "A pool"),
        ("runner_ids" = Option<String>, Query, description = "Ids, between commas"),
        ("runner_id" = Option<Vec<String>>, Query, description = "An id; may be repeated"),
        ("include_stopped" = Option<bool>, Query, description = "Accepted: one that has stopped is forgotten"),
        ("limit" = Option<usize>, Query, description = "100 unless said otherwise"),
        ("cursor" = Option<u64>, Query, description = "Only those created before this moment"),
    ),
    responses((status = 200, body = RunnerList), (status = "default", body = ApiError)),
    security(("admin_token" = []))
)]
pub async fn runners(State(engine): State<Arc<Engine>>, token: Token, uri: Uri) -> Result<Json<RunnerList>, ApiError> {
    let known = ["namespace", "name", "runner_ids", "runner_id", "include_stopped", "limit", "cursor"];
    let query = Query::read(&uri, &known)?;
    query.required("namespace")?;
    let pool = query.one("name")?;
    let ids = query.listed("runner_ids")?.chain(query.all("runner_id")).map(parse_id).collect::<Result<Vec<_>, _>>()?;
    query.flag("include_stopped")?;
    let (limit, before_ms) = (query.limit(LIMIT_DEFAULT)?, query.cursor_ms()?);
    token.check(&engine)?;
    let namespace = extract::namespace(&engine, &query)?;

    let actors = actors(&engine, namespace.name.clone()).await?;
    let mut runners: Vec<Runner> = with_slots(&engine, &namespace).map(|info| Runner::of(info, &actors)).collect();
    runners.retain(|runner| {
        pool.is_none_or(|pool| runner.name == pool)
            && (ids.is_empty() || ids.iter().any(|id| id.to_string() == runner.runner_id))
            && before_ms.is_none_or(|before_ms| runner.create_ts < before_ms)
    });
    runners.sort_by_key(|runner| (Reverse(runner.create_ts), runner.key.clone()));
    runners.truncate(limit);
    let cursor = runners.last().map(|runner| runner.create_ts.to_string());
    Ok(Json(RunnerList { runners, pagination: Pagination { cursor } }))
}

fn parse_id(text: &str) -> Result<Id, ApiError> {
    text.parse().map_err(|error| ApiError::bad_request(format!("{text:?} is not a runner id: {error}")))
}

/// Those of the older protocol.
fn with_slots(engine: &Engine, namespace: &NamespaceRecord) -> impl Iterator<Item = RunnerInfo> {
    engine.runners.list(namespace.id).into_iter().filter(|info| matches!(info.protocol, RunnerProtocol::Legacy(_)))
}

impl Runner {
    fn of(info: RunnerInfo, actors: &BTreeMap<RunnerId, u32>) -> Runner {
        let total = info.slots.unwrap_or(u32::MAX);
        Runner {
            runner_id: info.public_id().to_string(),
            namespace_id: info.namespace.to_string(),
            datacenter: DATACENTER,
            name: info.pool,
            key: info.key,
            version: info.version,
            total_slots: total,
            remaining_slots: total.saturating_sub(actors.get(&info.runner).copied().unwrap_or(0)),
            create_ts: info.create_ms,
            drain_ts: info.stopping_ms,
            stop_ts: None,
            last_ping_ts: info.last_ping_ms,
            last_connected_ts: Some(info.connect_ms),
            last_rtt: info.rtt_ms,
            metadata: object(info.metadata),
        }
    }
}

#[utoipa::path(
    get,
    path = "/runners/names",
    tag = "Runners",
    params(
        ("namespace" = String, Query, description = "The namespace's name"),
        ("limit" = Option<usize>, Query, description = "100 unless said otherwise"),
        ("cursor" = Option<String>, Query, description = "Only those after this name"),
    ),
    responses((status = 200, body = RunnerNames), (status = "default", body = ApiError)),
    security(("admin_token" = []))
)]
pub async fn names(State(engine): State<Arc<Engine>>, token: Token, uri: Uri) -> Result<Json<RunnerNames>, ApiError> {
    let query = Query::read(&uri, &["namespace", "limit", "cursor"])?;
    query.required("namespace")?;
    let (limit, after) = (query.limit(LIMIT_DEFAULT)?, query.one("cursor")?);
    token.check(&engine)?;
    let namespace = extract::namespace(&engine, &query)?;
    let mut names: Vec<String> = with_slots(&engine, &namespace).map(|info| info.pool).collect();
    names.sort();
    names.dedup();
    names.retain(|name| after.is_none_or(|after| name.as_str() > after));
    names.truncate(limit);
    let cursor = names.last().cloned();
    Ok(Json(RunnerNames { names, pagination: Pagination { cursor } }))
}
