//! The request that starts an actor: `POST {url}/start`.
//!
//! Everything that it says is decided elsewhere; this is its form.

use engine_core::record::{PoolError, ServerlessConfig};
use http::header::ACCEPT;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use protocol::message::{Checkpoint, Command, Start};
use protocol::wire::EnvoyVersion;
use protocol::wire::envoy::encode_with_version;
use url::Url;

use crate::runners::to_wire;
use crate::serverless::client::{self, Call};

const ENDPOINT: HeaderName = HeaderName::from_static("x-rivet-endpoint");
const POOL: HeaderName = HeaderName::from_static("x-rivet-pool-name");
const NAMESPACE: HeaderName = HeaderName::from_static("x-rivet-namespace-name");
const TOKEN: HeaderName = HeaderName::from_static("x-rivet-token");

/// Which engine the app is to connect to, and as what.
pub struct Caller<'a> {
    /// With a slash at its end.
    pub endpoint: &'a str,
    pub namespace: &'a str,
    pub pool: &'a str,
    pub token: Option<&'a HeaderValue>,
}

pub fn request(
    config: &ServerlessConfig,
    caller: &Caller<'_>,
    version: EnvoyVersion,
    checkpoint: Checkpoint,
    start: Start,
    now_ms: u64,
) -> Result<Call, PoolError> {
    let url = format!("{}/start", config.url.trim_end_matches('/'));
    let url = Url::parse(&url).map_err(|error| unusable(format!("{url:?} is no URL: {error}")))?;
    let command = to_wire::commands(checkpoint, Command::Start(Box::new(start)), now_ms);
    let body = encode_with_version(version, &command).map_err(|error| unusable(error.to_string()))?;
    Ok(Call { method: Method::POST, url, headers: headers(config, caller)?, body })
}

/// The configured ones first. A pool that has a token of its own does not get the engine's.
fn headers(config: &ServerlessConfig, caller: &Caller<'_>) -> Result<HeaderMap, PoolError> {
    let mut headers = client::headers(&config.headers);
    for (name, value) in [(ENDPOINT, caller.endpoint), (POOL, caller.pool), (NAMESPACE, caller.namespace)] {
        let value = HeaderValue::from_str(value);
        let value = value.map_err(|_| unusable(format!("{name} cannot be sent: its value is not one that a header can have")))?;
        headers.append(name, value);
    }
    if let Some(token) = caller.token {
        headers.entry(TOKEN).or_insert_with(|| token.clone());
    }
    headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
    Ok(headers)
}

fn unusable(message: String) -> PoolError {
    PoolError::ServerlessConnectionError { message }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use protocol::id::{Id, RequestId};
    use protocol::message::StartReason;
    use protocol::wire::actor::{self, CommandWrapper};
    use protocol::wire::envoy::{ToEnvoy, decode_with_version};
    use protocol::wire::tunnel::StreamId;

    use super::*;

    fn config(url: &str, headers: &[(&str, &str)]) -> ServerlessConfig {
        let headers = headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        ServerlessConfig { headers, ..crate::serverless::tests::config(url) }
    }

    fn start() -> Start {
        Start {
            name: "counter".to_string(),
            key: Some("k".to_string()),
            create_ms: 5,
            input: Some(Bytes::from_static(b"in")),
            reason: StartReason::Created,
            component: None,
            alarm_ms: Some(7),
            hibernating: vec![RequestId(0x0102_0304_0506_0708)],
        }
    }

    fn made(config: &ServerlessConfig, token: Option<&HeaderValue>, version: u16) -> Call {
        let caller = Caller { endpoint: "http://127.0.0.1:6420/", namespace: "default", pool: "p", token };
        let version = EnvoyVersion::new(version).expect("it is spoken here");
        let checkpoint = Checkpoint { actor: Id::new([1; 16], 1), generation: 3, index: 0 };
        request(config, &caller, version, checkpoint, start(), 99).expect("it can be sent")
    }

    #[test]
    fn the_head() {
        let configured = [("x-rivet-token", "theirs"), ("Accept", "text/html"), ("x-own", "1"), ("bad name", "x"), ("host", "x")];
        let ours = HeaderValue::from_static("ours");
        let call = made(&config("http://app:3000/api/rivet/", &configured), Some(&ours), 8);
        assert_eq!((call.method, call.url.as_str()), (Method::POST, "http://app:3000/api/rivet/start"));
        let headers: Vec<String> =
            call.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap_or("?"))).collect();
        let expected = [
            "x-rivet-token: theirs",
            "accept: text/event-stream",
            "x-own: 1",
            "x-rivet-endpoint: http://127.0.0.1:6420/",
            "x-rivet-pool-name: p",
            "x-rivet-namespace-name: default",
        ];
        assert_eq!(headers, expected);
        assert!(made(&config("http://app", &[]), None, 8).headers.get(TOKEN).is_none(), "it leaves only if that is wanted");
        assert_eq!(made(&config("http://app", &[]), Some(&ours), 8).headers.get(TOKEN), Some(&ours));
    }

    #[test]
    fn the_body_in_every_version() {
        for version in EnvoyVersion::all() {
            let call = made(&config("http://app", &[]), None, version.number());
            let (told, message) = decode_with_version(call.body).expect("it can be read");
            let ToEnvoy::Commands { commands } = message else { panic!("commands are expected, not {message:?}") };
            let [CommandWrapper { checkpoint, inner: actor::Command::StartActor { start } }] = commands.as_slice() else {
                panic!("one start is expected, not {commands:?}")
            };
            assert_eq!(told, version);
            assert_eq!((checkpoint.generation, checkpoint.index), (3, 0));
            assert_eq!((start.config.name.as_str(), start.config.create_ts), ("counter", 99));
            assert_eq!(start.hibernating_requests, [StreamId { gateway_id: [1, 2, 3, 4], request_id: [5, 6, 7, 8] }]);
        }
    }
}
