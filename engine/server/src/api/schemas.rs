//! How the API's document describes values whose types know nothing of it: they are the core's.
//!
//! Only described, never made. A test compares real answers with the document.
#![allow(dead_code)]

use utoipa::ToSchema;

#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum CrashPolicy {
    Restart,
    Sleep,
    Destroy,
}

#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum Role {
    Admin,
    Deploy,
    Runner,
    Client,
}

/// Why an actor is not running.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum ActorError {
    NoEnvoys,
    NoCapacity,
    ConcurrentActorLimitReached,
    InternalError,
    Crashed { message: Option<String> },
    EnvoyNoResponse { envoy_key: Option<String> },
    EnvoyConnectionLost { envoy_key: String },
    RunnerNoResponse { runner_id: String },
    RunnerConnectionLost { runner_id: String },
    RunnerDrainingTimeout { runner_id: String },
    RunnerPoolError(PoolError),
}

/// Why a pool that is called by URL cannot start actors.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum PoolError {
    ServerlessHttpError { status_code: u16, body: String },
    ServerlessStreamEndedEarly,
    ServerlessConnectionError { message: String },
    ServerlessInvalidSsePayload { message: String, raw_payload: Option<String> },
    Downgrade,
    InternalError,
}
