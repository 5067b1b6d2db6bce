//! What the engine says about itself: `/health`, `/metadata`, `/datacenters`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use serde::Serialize;

use crate::api::views::Pagination;
use crate::engine::{DATACENTER, DATACENTER_LABEL, Engine};

pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// `runtime` is what launchers look for before they use an engine that is already there.
const HEALTH: &str = concat!(r#"{"runtime":"engine","status":"ok","version":""#, env!("CARGO_PKG_VERSION"), r#""}"#);

pub async fn health() -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], HEALTH).into_response()
}

#[derive(Serialize)]
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

#[derive(Serialize)]
pub struct Datacenters {
    datacenters: [Datacenter; 1],
    pagination: Pagination,
}

#[derive(Serialize)]
struct Datacenter {
    label: u16,
    name: &'static str,
    url: String,
}

pub async fn datacenters(State(engine): State<Arc<Engine>>) -> Json<Datacenters> {
    let datacenter = Datacenter { label: DATACENTER_LABEL, name: DATACENTER, url: engine.public_url.clone() };
    Json(Datacenters { datacenters: [datacenter], pagination: Pagination { cursor: None } })
}
