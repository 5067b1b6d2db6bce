//! What the engine says about itself: `/health`, `/health/fanout`, `/metadata`, `/datacenters`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::extract::Token;
use crate::api::views::Pagination;
use crate::engine::{DATACENTER, DATACENTER_LABEL, Engine};
use crate::error::ApiError;

pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// `runtime` is what launchers look for before they use an engine that is already there.
pub const HEALTH: &str = concat!(r#"{"runtime":"engine","status":"ok","version":""#, env!("CARGO_PKG_VERSION"), r#""}"#);

#[derive(Serialize, ToSchema)]
struct Health {
    runtime: &'static str,
    status: &'static str,
    version: &'static str,
}

#[utoipa::path(get, path = "/health", tag = "Engine", responses((status = 200, body = Health)))]
pub async fn health() -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], HEALTH).into_response()
}

#[derive(Serialize, ToSchema)]
pub struct Ready {
    runtime: &'static str,
    /// `ready` or `not_ready`.
    status: &'static str,
    /// Why it is not: `starting`, `draining`, `disk_full`, `store_failed`.
    reasons: Vec<&'static str>,
    version: &'static str,
}

/// Whether it wants requests. Not the same as being well: an engine that drains is.
#[utoipa::path(
    get,
    path = "/ready",
    tag = "Engine",
    responses((status = 200, body = Ready), (status = 503, body = Ready, description = "Not now: `reasons` says why"))
)]
pub async fn ready(State(engine): State<Arc<Engine>>) -> Response {
    let (status, body) = engine.readiness.answer();
    (status, [(CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
}

#[derive(Serialize, ToSchema)]
pub struct Fanout {
    datacenters: [DatacenterHealth; 1],
}

#[derive(Serialize, ToSchema)]
struct DatacenterHealth {
    datacenter_label: u16,
    datacenter_name: &'static str,
    /// `ok` or `error`.
    status: &'static str,
    /// Milliseconds.
    #[schema(required = true)]
    rtt_ms: Option<f64>,
    #[schema(required = true)]
    response: Option<Health>,
    #[schema(required = true)]
    error: Option<String>,
}

/// How all datacenters are. There is one, and it answers.
#[utoipa::path(
    get,
    path = "/health/fanout",
    tag = "Engine",
    responses((status = 200, body = Fanout), (status = "default", body = ApiError)),
    security(("admin_token" = []))
)]
pub async fn fanout(State(engine): State<Arc<Engine>>, token: Token) -> Result<Json<Fanout>, ApiError> {
    token.check(&engine)?;
    let own = DatacenterHealth {
        datacenter_label: DATACENTER_LABEL,
        datacenter_name: DATACENTER,
        status: "ok",
        rtt_ms: Some(0.0),
        response: Some(Health { runtime: "engine", status: "ok", version: VERSION }),
        error: None,
    };
    Ok(Json(Fanout { datacenters: [own] }))
}

#[derive(Serialize, ToSchema)]
#[schema(as = EngineMetadata)]
pub struct Metadata {
    runtime: &'static str,
    version: &'static str,
    git_sha: &'static str,
    build_timestamp: &'static str,
    rustc_version: &'static str,
    rustc_host: &'static str,
    cargo_target: &'static str,
    cargo_profile: &'static str,
    epoxy_protocol_version: u32,
    envoy_protocol_version: u32,
}

#[utoipa::path(get, path = "/metadata", tag = "Engine", responses((status = 200, body = Metadata)))]
pub async fn metadata() -> Json<Metadata> {
    Json(Metadata {
        runtime: "engine",
        version: VERSION,
        git_sha: env!("BUILD_GIT_SHA"),
        build_timestamp: env!("BUILD_TIMESTAMP"),
        rustc_version: env!("BUILD_RUSTC_VERSION"),
        rustc_host: env!("BUILD_HOST"),
        cargo_target: env!("BUILD_TARGET"),
        cargo_profile: env!("BUILD_PROFILE"),
        epoxy_protocol_version: 3,
        envoy_protocol_version: 8,
    })
}

#[derive(Serialize, ToSchema)]
#[schema(as = DatacenterList)]
pub struct Datacenters {
    datacenters: [Datacenter; 1],
    pagination: Pagination,
}

#[derive(Serialize, ToSchema)]
struct Datacenter {
    label: u16,
    name: &'static str,
    url: String,
}

#[utoipa::path(
    get,
    path = "/datacenters",
    tag = "Engine",
    responses((status = 200, body = Datacenters), (status = "default", body = ApiError)),
    security(("admin_token" = []))
)]
pub async fn datacenters(State(engine): State<Arc<Engine>>, token: Token) -> Result<Json<Datacenters>, ApiError> {
    token.check(&engine)?;
    let datacenter = Datacenter { label: DATACENTER_LABEL, name: DATACENTER, url: engine.public_url.clone() };
    Ok(Json(Datacenters { datacenters: [datacenter], pagination: Pagination { cursor: None } }))
}
