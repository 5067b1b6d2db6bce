//! `/tracing/config`: which log lines are written and which requests are traced, while the engine runs.
//!
//! What is changed here is forgotten when the process ends: the environment then counts again.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::extract::{self, Token};
use crate::engine::Engine;
use crate::error::ApiError;
use crate::telemetry::{Telemetry, lines};

/// What counts now.
#[derive(Serialize, ToSchema)]
#[schema(as = TracingConfig)]
pub struct Config {
    /// As `RUST_LOG` has it; null in a process that writes no logs of its own.
    #[schema(required = true)]
    filter: Option<String>,
    /// Of the requests that bring no decision of their own, from 0 to 1; null if nothing is traced (`RIVET_OTEL_ENABLED`).
    #[schema(required = true)]
    sampler_ratio: Option<f64>,
}

impl Config {
    pub fn now(telemetry: &Telemetry) -> Config {
        Config { filter: lines::filter(), sampler_ratio: telemetry.ratio() }
    }
}

/// What is not there stays as it is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TracingConfigBody)]
pub struct Change {
    filter: Option<String>,
    sampler_ratio: Option<f64>,
}

#[utoipa::path(
    get,
    path = "/tracing/config",
    tag = "Engine",
    responses((status = 200, body = Config), (status = "default", body = ApiError)),
    security(("admin_token" = []))
)]
pub async fn get(State(engine): State<Arc<Engine>>, token: Token) -> Result<Json<Config>, ApiError> {
    token.check(&engine)?;
    Ok(Json(Config::now(&engine.telemetry)))
}

#[utoipa::path(
    put,
    path = "/tracing/config",
    tag = "Engine",
    request_body = Change,
    responses((status = 200, body = Config), (status = "default", body = ApiError)),
    security(("admin_token" = []))
)]
pub async fn put(State(engine): State<Arc<Engine>>, token: Token, request: Request) -> Result<Json<Config>, ApiError> {
    let change: Change = extract::json(request).await?;
    token.check(&engine)?;
    change.make(&engine.telemetry).map(Json)
}

impl Change {
    /// What counts then. Both are looked at before one of them is changed.
    pub fn make(self, telemetry: &Telemetry) -> Result<Config, ApiError> {
        let Change { filter, sampler_ratio } = self;
        if let Some(ratio) = sampler_ratio {
            if !(0.0..=1.0).contains(&ratio) {
                return Err(ApiError::bad_request(format!(
                    "sampler_ratio is {ratio}; a number from 0 (none) to 1 (all) is expected"
                )));
            }
            if telemetry.ratio().is_none() {
                return Err(ApiError::bad_request("nothing is traced; start this process with RIVET_OTEL_ENABLED=1"));
            }
        }
        if let Some(filter) = filter {
            lines::change_filter(&filter).map_err(ApiError::bad_request)?;
            tracing::info!(filter, "the levels of log lines are changed until this process ends");
        }
        if let Some(ratio) = sampler_ratio {
            telemetry.change_ratio(ratio);
            tracing::info!(ratio, "the share of traced requests is changed until this process ends");
        }
        Ok(Config::now(telemetry))
    }
}
