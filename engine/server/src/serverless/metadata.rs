//! What a pool's URL says about itself: `GET {url}/metadata`.
//!
//! Asked when a pool is configured, when somebody wants it refreshed, and to check a URL before it is configured.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engine_core::Input;
use engine_core::record::PoolKind;
use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, Method, Response};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use protocol::id::NamespaceId;
use protocol::limits::{ACTOR_NAME_BYTES_MAX, MIB};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::Url;
use utoipa::ToSchema;

use crate::engine::Engine;
use crate::runners::is_object;
use crate::serverless::client::{self, Call, CallError, Client};

/// The newest envoy protocol that is spoken here.
pub const ENVOY_PROTOCOL_MAX: u16 = 8;
/// For all of it, from the look-up of the name to the last byte.
const ANSWER_MS_MAX: u64 = 10_000;
const ANSWER_BYTES_MAX: usize = 4 * MIB;
/// Each is written to the disk; an app has a handful.
pub(super) const NAMES_MAX: usize = 1_024;
/// As much of a body as an error shows.
const BODY_CHARS_SHOWN: usize = 1_024;
const CUT: &str = "...[truncated]";

/// What is used of the answer; whatever else is in it is ignored.
#[derive(Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    runtime: String,
    pub version: String,
    envoy_protocol_version: Option<u16>,
    #[serde(default)]
    actor_names: BTreeMap<String, ActorName>,
    envoy: Option<Deployed>,
    /// The older name for it.
    runner: Option<Deployed>,
}

#[derive(Deserialize, Debug)]
struct ActorName {
    #[serde(default)]
    metadata: Value,
}

#[derive(Deserialize, Debug)]
struct Deployed {
    version: Option<u32>,
}

impl Metadata {
    /// Checked to be one that there is.
    pub fn protocol_version(&self) -> Option<u16> {
        self.envoy_protocol_version
    }

    /// The deployment version of the code behind the URL.
    pub fn envoy_version(&self) -> Option<u32> {
        self.envoy.as_ref().or(self.runner.as_ref())?.version
    }

    /// The actors it has, with what it says about each as JSON. One whose metadata is no object is left out, and one that a runner
    /// which connects could not announce either.
    pub fn names(&self) -> Vec<(String, String)> {
        let named = self.actor_names.iter().filter(|(name, _)| (1..=ACTOR_NAME_BYTES_MAX).contains(&name.len()));
        let said = named.map(|(name, of)| (name.clone(), of.metadata.to_string()));
        let names = said.filter(|(_, metadata)| is_object(metadata));
        names.take(NAMES_MAX).collect()
    }
}

/// Why there is none. The form is the original's.
#[derive(Serialize, ToSchema, Debug)]
pub struct MetadataError {
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<String>,
    metadata: MetadataErrorKind,
}

#[derive(Serialize, ToSchema, PartialEq, Debug)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum MetadataErrorKind {
    InvalidRequest,
    RequestFailed,
    RequestTimedOut,
    NonSuccessStatus { status_code: u16, body: String },
    InvalidResponseJson { body: String, parse_error: String },
    InvalidResponseSchema { runtime: String, version: String },
    InvalidEnvoyProtocolVersion { envoy_protocol_version: u16, max_supported_envoy_protocol_version: u16 },
    DestinationBlocked { reason: String },
}

impl MetadataError {
    fn new(message: impl Into<String>, metadata: MetadataErrorKind) -> MetadataError {
        MetadataError { message: message.into(), details: None, metadata }
    }

    pub fn invalid_request(details: String) -> MetadataError {
        let error = MetadataError::new("the URL or a header cannot be used", MetadataErrorKind::InvalidRequest);
        MetadataError { details: Some(details), ..error }
    }

    fn of(error: CallError) -> MetadataError {
        match error {
            CallError::Blocked(blocked) => {
                let reason = blocked.0;
                MetadataError::new("the engine may not connect to this URL", MetadataErrorKind::DestinationBlocked { reason })
            }
            CallError::Failed(cause) => {
                let error = MetadataError::new("the URL could not be called", MetadataErrorKind::RequestFailed);
                MetadataError { details: Some(cause), ..error }
            }
        }
    }
}

/// For the log.
impl fmt::Display for MetadataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cause = match &self.metadata {
            MetadataErrorKind::DestinationBlocked { reason } => Some(reason),
            MetadataErrorKind::InvalidResponseJson { parse_error, .. } => Some(parse_error),
            _ => self.details.as_ref(),
        };
        match cause {
            Some(cause) => write!(f, "{}: {cause}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// Asks a URL. The headers are the pool's own.
pub async fn fetch(client: &Client, url: &str, mut headers: HeaderMap) -> Result<Metadata, MetadataError> {
    let url = format!("{}/metadata", url.trim_end_matches('/'));
    let url = Url::parse(&url).map_err(|error| MetadataError::invalid_request(format!("{url:?}: {error}")))?;
    headers.entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
    let call = Call { method: Method::GET, url, headers, body: Bytes::new() };
    let answer = async {
        let response = client.send(call).await.map_err(MetadataError::of)?;
        let status = response.status();
        let body = whole(response).await?;
        if !status.is_success() {
            let kind = MetadataErrorKind::NonSuccessStatus { status_code: status.as_u16(), body: shown(&body) };
            return Err(MetadataError::new(format!("the URL answered with status {}", status.as_u16()), kind));
        }
        read(&body)
    };
    let in_time = tokio::time::timeout(Duration::from_millis(ANSWER_MS_MAX), answer).await;
    in_time.unwrap_or_else(|_| {
        let message = format!("the URL did not answer within {ANSWER_MS_MAX} ms");
        Err(MetadataError::new(message, MetadataErrorKind::RequestTimedOut))
    })
}

async fn whole(response: Response<Incoming>) -> Result<Bytes, MetadataError> {
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    body.map(|body| body.to_bytes()).map_err(|error| MetadataError::of(CallError::Failed(error.to_string())))
}

pub(super) fn read(body: &[u8]) -> Result<Metadata, MetadataError> {
    let metadata: Metadata = serde_json::from_slice(body).map_err(|error| {
        let kind = MetadataErrorKind::InvalidResponseJson {
            body: shown(body),
            // It quotes what it cannot read.
            parse_error: shown(error.to_string().as_bytes()),
        };
        MetadataError::new("the URL's answer is not the JSON that was expected", kind)
    })?;
    if metadata.runtime != "rivetkit" || metadata.version.is_empty() {
        let (runtime, version) = (shown(metadata.runtime.as_bytes()), shown(metadata.version.as_bytes()));
        let message = "the answer's runtime is not \"rivetkit\", or its version is empty";
        return Err(MetadataError::new(message, MetadataErrorKind::InvalidResponseSchema { runtime, version }));
    }
    if let Some(version) = metadata.envoy_protocol_version.filter(|version| !(1..=ENVOY_PROTOCOL_MAX).contains(version)) {
        let kind = MetadataErrorKind::InvalidEnvoyProtocolVersion {
            envoy_protocol_version: version,
            max_supported_envoy_protocol_version: ENVOY_PROTOCOL_MAX,
        };
        let message = format!("the app speaks envoy protocol {version}; this engine speaks 1 to {ENVOY_PROTOCOL_MAX}");
        return Err(MetadataError::new(message, kind));
    }
    Ok(metadata)
}

/// The beginning of a body, as text.
fn shown(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    match text.char_indices().nth(BODY_CHARS_SHOWN) {
        Some((end, _)) => format!("{}{CUT}", &text[..end]),
        None => text.into_owned(),
    }
}

/// Why a pool could not be asked.
pub enum RefreshError {
    NotServerless,
    Failed(Box<MetadataError>),
}

/// Asks a pool's URL and tells the core what it said.
pub async fn refresh(engine: &Arc<Engine>, namespace: NamespaceId, pool: &str) -> Result<(), RefreshError> {
    let config = engine.directory.runner_config(namespace, pool);
    let Some(PoolKind::Serverless(config)) = config.map(|config| config.kind) else { return Err(RefreshError::NotServerless) };
    let headers = client::headers(&config.headers);
    let metadata = fetch(&engine.outbound, &config.url, headers).await.map_err(|error| RefreshError::Failed(Box::new(error)))?;
    announce(engine, namespace, pool, &metadata, metadata.names());
    Ok(())
}

/// Tells the core what a pool's URL said; of the names those that it has not been told.
pub fn announce(engine: &Engine, namespace: NamespaceId, pool: &str, metadata: &Metadata, names: Vec<(String, String)>) {
    engine.inbox.push(Input::PoolAnnounces {
        namespace,
        pool: pool.to_string(),
        envoy_version: metadata.envoy_version(),
        protocol_version: metadata.protocol_version(),
        names,
    });
}

/// The error's fields, as the metadata of another one.
impl From<MetadataError> for Map<String, Value> {
    fn from(error: MetadataError) -> Map<String, Value> {
        match serde_json::to_value(error) {
            Ok(Value::Object(fields)) => fields,
            _ => Map::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_url_says() {
        let good = r#"{"runtime":"rivetkit","version":"2.3.19","envoyProtocolVersion":8,"envoy":{"kind":{"serverless":{}},"version":5},
            "actorNames":{"counter":{"metadata":{"icon":"x"}},"odd":{"metadata":7},"bare":{}},"clientEndpoint":"http://a"}"#;
        let metadata = read(good.as_bytes()).expect("a good answer");
        assert_eq!((metadata.protocol_version(), metadata.envoy_version()), (Some(8), Some(5)));
        assert_eq!(metadata.names(), [("counter".to_string(), r#"{"icon":"x"}"#.to_string())]);
        let unkept = format!(
            r#"{{"runtime":"rivetkit","version":"1","actorNames":{{"":{{"metadata":{{}}}},"{}":{{"metadata":{{}}}},"a":{{"metadata":{{"b":"{}"}}}}}}}}"#,
            "n".repeat(ACTOR_NAME_BYTES_MAX + 1),
            "x".repeat(70_000)
        );
        assert!(read(unkept.as_bytes()).expect("a good answer").names().is_empty());
        let older = read(br#"{"runtime":"rivetkit","version":"1","runner":{"version":3}}"#).expect("an older answer");
        assert_eq!((older.protocol_version(), older.envoy_version()), (None, Some(3)));
    }

    #[test]
    fn what_makes_no_sense() {
        let long = format!("[{}]", "ä".repeat(2_000));
        let rows = [
            ("", "invalid_response_json"),
            ("{", "invalid_response_json"),
            ("[]", "invalid_response_json"),
            (&long, "invalid_response_json"),
            (r#"{"runtime":7}"#, "invalid_response_json"),
            ("{}", "invalid_response_json"),
            (r#"{"version":"1"}"#, "invalid_response_json"),
            (r#"{"runtime":"engine","version":"1"}"#, "invalid_response_schema"),
            (r#"{"runtime":"rivetkit","version":""}"#, "invalid_response_schema"),
            (r#"{"runtime":"rivetkit","version":"1","envoyProtocolVersion":0}"#, "invalid_envoy_protocol_version"),
            (r#"{"runtime":"rivetkit","version":"1","envoyProtocolVersion":9}"#, "invalid_envoy_protocol_version"),
            (r#"{"runtime":"rivetkit","version":"1","envoyProtocolVersion":70000}"#, "invalid_response_json"),
        ];
        let (quoted, other) =
            (format!(r#"{{"runtime":"{long}","version":"1"}}"#), format!(r#"{{"envoyProtocolVersion":"{long}"}}"#));
        let long_ones = [(&*quoted, "invalid_response_schema"), (&*other, "invalid_response_json")];
        for (body, kind) in rows.into_iter().chain(long_ones) {
            let error = Map::from(read(body.as_bytes()).expect_err(body));
            assert_eq!(error["metadata"]["kind"], kind, "{body}");
            assert!(Value::from(error).to_string().chars().count() < 3_000, "an error is short: {body}");
        }
        assert_eq!(shown(long.as_bytes()).chars().count(), BODY_CHARS_SHOWN + CUT.len());
    }
}
