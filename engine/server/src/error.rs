//! Every error that a client can meet: its group and code, its statuses, its body.
//!
//! Clients act on group and code, people read the sentence. The statuses are the original's where it has the code: its API
//! answers 400 to nearly everything, its gateway tells more. `docs/errors.md` is this catalogue for readers; a test compares.

use axum::response::{IntoResponse, Response};
use engine_core::refusal::Refusal;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use protocol::limits::{ACTOR_INPUT_BYTES_MAX, ACTOR_KEY_BYTES_MAX, ACTOR_NAME_BYTES_MAX, cut};
use protocol::message::FailureKind;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::auth::identity::Denied;

/// Where the error is answered: the two have different statuses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Face {
    Api,
    Gateway,
}

struct Row {
    group: &'static str,
    code: &'static str,
    api: u16,
    gateway: u16,
}

const fn row(group: &'static str, code: &'static str, api: u16, gateway: u16) -> Row {
    Row { group, code, api, gateway }
}

/// The catalogue. What is not in it is answered with 500.
const CATALOGUE: &[Row] = &[
    row("api", "bad_request", 400, 400),
    row("api", "not_found", 404, 404),
    row("api", "forbidden", 403, 403),
    row("core", "internal_error", 500, 500),
    row("namespace", "not_found", 400, 400),
    row("namespace", "name_not_unique", 400, 400),
    row("namespace", "failed_to_create", 400, 400),
    row("namespace", "deleting", 400, 400),
    row("namespace", "not_deletable", 400, 400),
    row("namespace", "quotas_invalid", 400, 400),
    row("namespace", "quota_exceeded", 400, 403),
    row("namespace", "request_rate_exceeded", 429, 429),
    row("datacenter", "not_found", 400, 400),
    row("actor", "not_found", 400, 404),
    row("actor", "destroyed_while_waiting_for_ready", 400, 400),
    row("actor", "empty_key", 400, 400),
    row("actor", "key_too_large", 400, 400),
    row("actor", "name_too_large", 400, 400),
    row("actor", "input_too_large", 400, 400),
    row("actor", "duplicate_key", 400, 400),
    row("actor", "import_invalid", 400, 400),
    row("actor", "no_runner_config_configured", 400, 400),
    row("actor", "kv_key_not_found", 400, 400),
    row("actor", "start_failed", 400, 500),
    row("actor", "trapped", 400, 500),
    row("actor", "stack_overflow", 400, 500),
    row("actor", "memory_exceeded", 400, 500),
    row("actor", "invalid_response", 400, 500),
    row("actor", "not_handled", 400, 501),
    row("actor", "cpu_time_exceeded", 400, 504),
    row("actor", "request_too_large", 400, 413),
    row("actor", "no_room", 400, 503),
    row("actor", "storage_full", 400, 507),
    row("actor", "awake_limit", 400, 503),
    row("actor", "overloaded", 400, 503),
    row("actor", "call_cycle", 400, 409),
    row("actor", "call_timed_out", 400, 504),
    row("actor", "call_refused_in_check", 400, 503),
    row("validation", "invalid_input", 400, 400),
    row("validation", "too_many_actor_ids", 400, 400),
    row("runner_config", "invalid", 400, 400),
    row("serverless_runner_pool", "not_found", 400, 400),
    row("serverless_runner_pool", "failed_to_fetch_metadata", 400, 400),
    row("deployment", "not_found", 400, 400),
    row("deployment", "version_not_found", 400, 400),
    row("deployment", "no_component_runner", 400, 400),
    row("deployment", "settings_invalid", 400, 400),
    row("deployment", "canary_refused", 400, 400),
    row("deployment", "no_canary", 400, 400),
    row("storage", "no_space", 503, 503),
    row("backup", "not_configured", 400, 400),
    row("backup", "running", 409, 409),
    row("backup", "failed", 500, 500),
    row("deployment", "check_unavailable", 400, 400),
    row("token", "not_found", 400, 400),
    row("token", "invalid", 400, 400),
    row("token", "too_many", 400, 400),
    row("token", "not_checked", 400, 400),
    row("token", "revoked", 403, 403),
    row("token", "expired", 403, 403),
    row("component", "malformed", 400, 400),
    row("component", "unknown_import", 400, 400),
    row("component", "no_handler", 400, 400),
    row("component", "too_large", 413, 413),
    row("guard", "no_route", 404, 404),
    row("guard", "missing_header", 400, 400),
    row("guard", "invalid_header", 400, 400),
    row("guard", "must_use_regional_host", 400, 400),
    row("guard", "invalid_request_body", 413, 413),
    row("guard", "rate_limit", 429, 429),
    row("guard", "max_in_flight", 429, 429),
    row("guard", "invalid_response_body", 502, 502),
    row("guard", "query_invalid_params", 400, 400),
    row("guard", "query_path_token_syntax", 400, 400),
    row("guard", "query_get_disallowed_params", 400, 400),
    row("guard", "query_missing_pool", 400, 400),
    row("guard", "query_empty_actor_name", 400, 400),
    row("guard", "query_duplicate_param", 400, 400),
    row("guard", "query_invalid_base64_input", 400, 400),
    row("guard", "query_invalid_cbor_input", 400, 400),
    row("guard", "query_invalid_percent_encoding", 400, 400),
    row("guard", "service_unavailable", 503, 503),
    row("guard", "actor_ready_timeout", 400, 503),
    row("guard", "actor_stopped_while_waiting", 400, 503),
    row("guard", "tunnel_request_aborted", 400, 503),
    row("guard", "tunnel_response_closed", 400, 503),
    row("guard", "gateway_response_start_timeout", 400, 504),
];

/// Reasons that only the close of a WebSocket has, a client's or a runner's, and its code. Errors of the catalogue can be reasons too, with 1011.
#[cfg(test)]
const CLOSES: &[(u16, &str)] = &[
    (1000, "ws.closed"),
    (1000, "actor.stopped"),
    (1000, "actor.destroyed_while_connected"),
    (1011, "ws.going_away"),
    (1011, "ws.invalid_packet"),
    (1011, "guard.websocket_not_supported"),
    (1011, "guard.websocket_open_timeout"),
    (1011, "guard.websocket_closed_before_open"),
    (1011, "guard.actor_stopped_while_waiting_for_websocket_open"),
    (1011, "guard.websocket_pending_limit_reached"),
    (1011, "guard.websocket_garbage_collected"),
    (1011, "guard.websocket_client_too_slow"),
    (1000, "ws.eviction"),
    (1011, "ws.invalid_request"),
    (1011, "ws.unsupported_protocol_version"),
    (1011, "ws.invalid_url"),
    (1011, "ws.invalid_initial_packet"),
    (1011, "ws.timed_out_waiting_for_init"),
    (1011, "ws.no_runner_config"),
    (1011, "ws.timed_out"),
    (1011, "ws.too_slow"),
];

/// How long a client should wait before it tries again where there was no room.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");
/// The original's name for the time in which a request can fail as a whole; errors say it.
pub const WAITING: &str = "waiting_for_response_start";

#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
#[schema(as = Error)]
pub struct ApiError {
    pub group: &'static str,
    pub code: &'static str,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Value>,
}

impl ApiError {
    pub fn new(group: &'static str, code: &'static str, message: impl Into<String>) -> ApiError {
        ApiError { group, code, message: message.into(), metadata: None }
    }

    pub fn with(mut self, metadata: Value) -> ApiError {
        self.metadata = Some(metadata);
        self
    }

    /// The request cannot be understood: unknown or missing parameters and fields, wrong types, no JSON.
    pub fn bad_request(reason: impl Into<String>) -> ApiError {
        let reason = reason.into();
        ApiError::new("api", "bad_request", format!("the request cannot be understood: {reason}")).with(json!({ "reason": reason }))
    }

    /// Something of ours failed. What exactly is for the log, not for the caller.
    pub fn internal(what: &str, cause: &dyn std::fmt::Display) -> ApiError {
        tracing::error!(%cause, "{what}");
        ApiError::new("core", "internal_error", format!("{what}; the engine's log has the cause"))
    }

    pub fn busy(sentence: impl Into<String>) -> ApiError {
        ApiError::new("guard", "service_unavailable", sentence)
    }

    pub fn namespace_not_found(namespace: &str) -> ApiError {
        Refusal::NamespaceNotFound { namespace: namespace.to_string() }.into()
    }

    pub fn datacenter_not_found(datacenter: &str) -> ApiError {
        ApiError::new("datacenter", "not_found", format!("there is no datacenter {datacenter:?}; GET /datacenters lists them"))
    }

    pub fn status(&self, face: Face) -> StatusCode {
        let row = CATALOGUE.iter().find(|row| row.group == self.group && row.code == self.code);
        let number = row.map_or(500, |row| match face {
            Face::Api => row.api,
            Face::Gateway => row.gateway,
        });
        StatusCode::from_u16(number).expect("the catalogue holds statuses")
    }

    /// Whether it is one of those that the documents name.
    #[cfg(test)]
    pub fn is_known(&self) -> bool {
        let coded = format!("{}.{}", self.group, self.code);
        CATALOGUE.iter().any(|row| row.group == self.group && row.code == self.code)
            || CLOSES.iter().any(|(_, close)| *close == coded)
    }

    /// The body, which is the same on both faces.
    pub fn body(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and JSON values can be written as JSON")
    }

    pub fn retry_after(&self) -> Option<HeaderValue> {
        match self.code {
            "service_unavailable" | "overloaded" | "no_room" | "no_space" | "awake_limit" | "max_in_flight" => {
                Some(RETRY_AFTER_SECONDS)
            }
            "request_rate_exceeded" => {
                let retry_ms = self.metadata.as_ref().and_then(|metadata| metadata["retry_ms"].as_u64())?;
                Some(HeaderValue::from(retry_ms.div_ceil(1_000)))
            }
            "rate_limit" => {
                let wait_ms = self.metadata.as_ref()?["retry_after_ms"].as_u64()?;
                Some(wait_ms.div_ceil(1_000).into())
            }
            _ => None,
        }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> ApiError {
        let (group, code) = refusal.code();
        let metadata = match &refusal {
            Refusal::NamespaceInvalid { reason } => Some(json!({ "reason": reason })),
            Refusal::QuotaExceeded { namespace, quota, limit, used, .. } => {
                Some(json!({ "namespace": namespace, "quota": quota.to_string(), "limit": limit, "used": used }))
            }
            Refusal::RequestRate { namespace, limit, retry_ms } => {
                Some(json!({ "namespace": namespace, "quota": "requests_per_second", "limit": limit, "retry_ms": retry_ms }))
            }
            Refusal::KeyTooLarge { key } => {
                Some(json!({ "max_size": ACTOR_KEY_BYTES_MAX, "key_preview": cut(key.clone(), ACTOR_KEY_BYTES_MAX) }))
            }
            Refusal::NameTooLarge { .. } => Some(json!({ "max_size": ACTOR_NAME_BYTES_MAX })),
            Refusal::InputTooLarge { .. } => Some(json!({ "max_size": ACTOR_INPUT_BYTES_MAX })),
            Refusal::DuplicateKey { key, existing } => Some(json!({ "key": key, "existing_actor_id": existing.to_string() })),
            Refusal::NoRunnerConfig { namespace, pool } => Some(json!({ "namespace": namespace, "pool_name": pool })),
            Refusal::VersionNotFound { name, version } => Some(json!({ "name": name, "version": version })),
            Refusal::Failed { actor, failure } if matches!(failure.kind, FailureKind::Stopped | FailureKind::Cancelled) => {
                Some(json!({ "actor_id": actor.to_string(), "phase": WAITING }))
            }
            Refusal::NotYours => Some(json!({ "reason": Denied::Namespace.reason() })),
            Refusal::RunnerLost { actor } => Some(json!({ "actor_id": actor.to_string(), "phase": WAITING })),
            Refusal::ActorReadyTimeout { actor, .. }
            | Refusal::ActorDestroyedWhileWaiting { actor }
            | Refusal::StartFailed { actor, .. }
            | Refusal::Failed { actor, .. }
            | Refusal::AwakeLimit { actor, .. }
            | Refusal::Overloaded { actor } => Some(json!({ "actor_id": actor.to_string() })),
            _ => None,
        };
        ApiError { group, code, message: refusal.to_string(), metadata }
    }
}

/// So much of an address as a sentence may quote, and with that a log line: behind an @ may be a token, also one that was encoded once too
/// often.
pub fn quotable(address: &str) -> &str {
    let end = ["@", "%40", "%2540"].iter().filter_map(|sign| address.find(sign)).min().unwrap_or(address.len());
    &address[..end]
}

/// As the API answers it. The gateway adds its own headers; see [`crate::gateway`].
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = Response::new(self.body().into());
        *response.status_mut() = self.status(Face::Api);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(retry_after) = self.retry_after() {
            response.headers_mut().insert(RETRY_AFTER, retry_after);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use engine_core::quotas::QuotaName;
    use protocol::id::Id;
    use protocol::message::Failure;

    use super::*;

    #[test]
    fn the_document_holds_the_whole_catalogue() {
        let document = include_str!("../../../docs/errors.md");
        for row in CATALOGUE {
            let expected = format!("| `{}.{}` | {} | {} |", row.group, row.code, row.api, row.gateway);
            assert!(document.contains(&expected), "docs/errors.md lacks the row: {expected}");
        }
        let rows = document.lines().filter(|line| line.starts_with("| `")).count();
        assert_eq!(rows, CATALOGUE.len(), "docs/errors.md has rows that the catalogue has not");
    }

    #[test]
    fn the_document_holds_the_reasons_of_closes() {
        let document = include_str!("../../../docs/errors.md");
        for (code, reason) in CLOSES {
            let expected = format!("| {code} | `{reason}` |");
            assert!(document.contains(&expected), "docs/errors.md lacks the row: {expected}");
        }
    }

    #[test]
    fn every_refusal_is_in_the_catalogue() {
        let actor = Id::new([1; 16], 1);
        let kinds = [
            FailureKind::Cancelled,
            FailureKind::NotHandled,
            FailureKind::HandlerError,
            FailureKind::Trapped,
            FailureKind::CpuTimeExceeded,
            FailureKind::MemoryExceeded,
            FailureKind::StackOverflow,
            FailureKind::StartFailed,
            FailureKind::RequestTooLarge,
            FailureKind::NoRoom,
            FailureKind::StorageFull,
            FailureKind::Stopped,
            FailureKind::Internal,
        ];
        let mut refusals: Vec<Refusal> = kinds
            .into_iter()
            .map(|kind| Refusal::Failed { actor, failure: Failure { kind, message: "why".to_string() } })
            .collect();
        refusals.extend([
            Refusal::NamespaceNotFound { namespace: "x".to_string() },
            Refusal::NamespaceTaken { name: "x".to_string() },
            Refusal::NamespaceInvalid { reason: "name too short" },
            Refusal::NamespaceDeleting { namespace: "x".to_string() },
            Refusal::NamespaceKept { namespace: "x".to_string() },
            Refusal::QuotasInvalid { reason: "why".to_string() },
            Refusal::QuotaExceeded { namespace: "x".to_string(), quota: QuotaName::Actors, limit: 1, used: 1, more: 1 },
            Refusal::RequestRate { namespace: "x".to_string(), limit: 1, retry_ms: 1 },
            Refusal::AwakeLimit { actor, whose: "x".to_string(), waited_ms: 1 },
            Refusal::ActorNotFound,
            Refusal::ActorDestroyedWhileWaiting { actor },
            Refusal::EmptyKey,
            Refusal::KeyTooLarge { key: "k".repeat(1025) },
            Refusal::NameTooLarge { bytes: 257 },
            Refusal::InputTooLarge { bytes: 1 },
            Refusal::DuplicateKey { key: "k".to_string(), existing: actor },
            Refusal::NoRunnerConfig { namespace: "x".to_string(), pool: "p".to_string() },
            Refusal::ActorReadyTimeout { actor, waited_ms: 30_000 },
            Refusal::StartFailed { actor, message: "why".to_string() },
            Refusal::RunnerLost { actor },
            Refusal::Overloaded { actor },
            Refusal::CallCycle { circle: "a -> a".to_string() },
            Refusal::DeploymentNotFound { name: "x".to_string() },
            Refusal::VersionNotFound { name: "x".to_string(), version: 3 },
            Refusal::NoComponentRunner,
            Refusal::NoCanary { name: "x".to_string() },
            Refusal::CanaryRefused { reason: "why".to_string() },
            Refusal::SettingsInvalid { reason: "why".to_string() },
            Refusal::TokenNotFound,
            Refusal::TokenInvalid { reason: "why".to_string() },
            Refusal::TooManyTokens,
            Refusal::NotYours,
            Refusal::ShuttingDown,
        ]);
        for refusal in refusals {
            let (group, code) = refusal.code();
            assert!(CATALOGUE.iter().any(|row| row.group == group && row.code == code), "{group}.{code}");
        }
    }

    #[test]
    fn bodies_and_statuses() {
        let rows = [
            (
                ApiError::from(Refusal::EmptyKey),
                400,
                400,
                r#"{"group":"actor","code":"empty_key","message":"the key is empty; leave it out for an actor without a key"}"#,
            ),
            (
                ApiError::from(Refusal::NamespaceInvalid { reason: "name too short" }),
                400,
                400,
                r#"{"group":"namespace","code":"failed_to_create","message":"name too short: a name has 1 to 64 of a-z, 0-9 and single inner hyphens; a display name has 1 to 128 bytes, no outer or doubled blanks","metadata":{"reason":"name too short"}}"#,
            ),
            (
                ApiError::from(Refusal::ActorNotFound),
                400,
                404,
                r#"{"group":"actor","code":"not_found","message":"there is no such actor; it was never created or has been destroyed"}"#,
            ),
            (ApiError::new("no", "such_code", "x"), 500, 500, r#"{"group":"no","code":"such_code","message":"x"}"#),
        ];
        for (error, api, gateway, body) in rows {
            assert_eq!(error.status(Face::Api), api, "{error:?}");
            assert_eq!(error.status(Face::Gateway), gateway, "{error:?}");
            assert_eq!(String::from_utf8(error.body()).expect("JSON is UTF-8"), body);
        }
    }
}
