//! A pool's configuration as the API reads and shows it, and what is wrong with one.

use std::collections::BTreeMap;

use engine_core::record::{PoolError, PoolKind, Rate, RunnerConfigRecord, ServerlessConfig};
use protocol::id::NamespaceId;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use url::Url;
use utoipa::ToSchema;

use crate::api::schemas;
use crate::engine::Engine;
use crate::error::ApiError;

const POOL_BYTES_MAX: usize = 128;
const HEADERS_MAX: usize = 16;
const HEADER_NAME_BYTES_MAX: usize = 128;
const HEADER_VALUE_BYTES_MAX: usize = 4_096;
const CONCURRENT_ACTORS_DEFAULT: u64 = 1_000;
const DRAIN_GRACE_DEFAULT_S: u32 = 1_800;
const RUNNERS_DEFAULT: u32 = 1_000;

/// What a pool's configuration may be. Fields that nobody knows are ignored in it, as the original does.
#[derive(Deserialize, ToSchema)]
#[schema(as = RunnerConfigBody)]
pub struct Put {
    /// Runners connect by themselves. Either this or `serverless`.
    normal: Option<Drain>,
    /// The engine calls a URL for each start of an actor.
    serverless: Option<Serverless>,
    /// Kept as it is.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
    /// Wins over the one inside.
    drain_on_version_upgrade: Option<bool>,
}

#[derive(Deserialize, Default, ToSchema)]
#[schema(as = RunnerConfigDrain)]
struct Drain {
    /// true unless said otherwise.
    drain_on_version_upgrade: Option<bool>,
    /// Seconds.
    actor_eviction_delay: Option<u32>,
    /// Seconds.
    actor_eviction_period: Option<u32>,
    /// Actors a second; 1 unless said otherwise.
    actor_eviction_rate: Option<f32>,
}

#[derive(Deserialize, ToSchema)]
#[schema(as = RunnerConfigServerless)]
struct Serverless {
    url: String,
    headers: Option<BTreeMap<String, String>>,
    /// Seconds.
    request_lifespan: u32,
    /// `max_runners` unless said otherwise, or 1000.
    max_concurrent_actors: Option<u64>,
    /// Seconds; 1800 unless said otherwise.
    drain_grace_period: Option<u32>,
    slots_per_runner: Option<u32>,
    min_runners: Option<u32>,
    max_runners: Option<u32>,
    runners_margin: Option<u32>,
    /// Milliseconds.
    metadata_poll_interval: Option<u64>,
    #[serde(flatten)]
    drain: Drain,
}

impl Put {
    pub fn check_kind(&self) -> Result<(), ApiError> {
        match (&self.normal, &self.serverless) {
            (Some(_), None) | (None, Some(_)) => Ok(()),
            (None, None) => Err(ApiError::bad_request("a datacenter's configuration needs `normal` or `serverless`")),
            (Some(_), Some(_)) => Err(ApiError::bad_request("`normal` and `serverless` are both given; a pool is one of them")),
        }
    }

    pub fn is_serverless(&self) -> bool {
        self.serverless.is_some()
    }

    pub async fn check(&self, engine: &Engine, pool: &str) -> Result<(), ApiError> {
        if pool.len() > POOL_BYTES_MAX {
            return Err(invalid(format!("the pool's name has {} bytes; at most {POOL_BYTES_MAX} are allowed", pool.len())));
        }
        let drain = self.serverless.as_ref().map(|serverless| &serverless.drain).or(self.normal.as_ref());
        let rate = drain.and_then(|drain| drain.actor_eviction_rate).unwrap_or(1.0);
        if !rate.is_finite() || rate < 0.0 {
            return Err(invalid(format!("actor_eviction_rate is {rate}; a number from 0 on is expected")));
        }
        match &self.serverless {
            Some(serverless) => serverless.check(engine).await,
            None => Ok(()),
        }
    }

    pub fn record(self, namespace: NamespaceId, pool: String) -> RunnerConfigRecord {
        let (kind, drain) = match (self.serverless, self.normal) {
            (Some(serverless), _) => {
                let (config, drain) = serverless.record();
                (PoolKind::Serverless(Box::new(config)), drain)
            }
            (None, drain) => (PoolKind::Normal, drain.unwrap_or_default()),
        };
        RunnerConfigRecord {
            namespace,
            pool,
            kind,
            drain_on_version_upgrade: self.drain_on_version_upgrade.or(drain.drain_on_version_upgrade).unwrap_or(true),
            actor_eviction_delay_s: drain.actor_eviction_delay.unwrap_or(0),
            actor_eviction_period_s: drain.actor_eviction_period.unwrap_or(0),
            actor_eviction_rate: Rate::new(drain.actor_eviction_rate.unwrap_or(1.0)),
            metadata: self.metadata.map(|metadata| metadata.to_string()),
            protocol_version: None,
        }
    }
}

impl Serverless {
    async fn check(&self, engine: &Engine) -> Result<(), ApiError> {
        let url = Url::parse(&self.url).map_err(|error| invalid(format!("the URL {:?} cannot be read: {error}", self.url)))?;
        self.headers.as_ref().map_or(Ok(()), check_headers).map_err(invalid)?;
        if self.slots_per_runner == Some(0) {
            return Err(invalid("slots_per_runner is 0; a runner has at least one"));
        }
        let (grace_s, lifespan_s) = (self.drain_grace_period.unwrap_or(DRAIN_GRACE_DEFAULT_S), self.request_lifespan);
        if grace_s >= lifespan_s {
            return Err(invalid(format!("drain_grace_period, {grace_s} s, must be shorter than request_lifespan, {lifespan_s} s")));
        }
        let stop_ms = engine.runner_times.actor_stop_ms;
        if u64::from(grace_s) * 1_000 > stop_ms {
            return Err(invalid(format!(
                "drain_grace_period, {grace_s} s, is longer than an actor may take to stop, {stop_ms} ms"
            )));
        }
        engine.outbound.check(&url).await.map_err(|blocked| invalid(format!("the engine may not connect to the URL: {blocked}")))
    }

    fn record(self) -> (ServerlessConfig, Drain) {
        let max_runners = self.max_runners.map(u64::from);
        let config = ServerlessConfig {
            url: self.url,
            headers: self.headers.unwrap_or_default().into_iter().collect(),
            request_lifespan_s: self.request_lifespan,
            drain_grace_period_s: self.drain_grace_period.unwrap_or(DRAIN_GRACE_DEFAULT_S),
            max_concurrent_actors: self.max_concurrent_actors.or(max_runners).unwrap_or(CONCURRENT_ACTORS_DEFAULT),
            metadata_poll_interval_ms: self.metadata_poll_interval,
            slots_per_runner: self.slots_per_runner.unwrap_or(1),
            min_runners: self.min_runners.unwrap_or(0),
            max_runners: self.max_runners.unwrap_or(RUNNERS_DEFAULT),
            runners_margin: self.runners_margin.unwrap_or(0),
        };
        (config, self.drain)
    }
}

fn invalid(reason: impl Into<String>) -> ApiError {
    let reason = reason.into();
    ApiError::new("runner_config", "invalid", format!("the pool cannot be configured so: {reason}"))
        .with(json!({ "reason": reason }))
}

pub fn check_headers(headers: &BTreeMap<String, String>) -> Result<(), String> {
    if headers.len() > HEADERS_MAX {
        return Err(format!("{} headers are given; at most {HEADERS_MAX} are allowed", headers.len()));
    }
    for (name, value) in headers {
        if name.len() > HEADER_NAME_BYTES_MAX || name.parse::<http::HeaderName>().is_err() {
            return Err(format!("{name:?} cannot be a header's name; at most {HEADER_NAME_BYTES_MAX} of what HTTP allows"));
        }
        if value.len() > HEADER_VALUE_BYTES_MAX || http::HeaderValue::from_str(value).is_err() {
            return Err(format!("the value of {name} cannot be sent; at most {HEADER_VALUE_BYTES_MAX} bytes of what HTTP allows"));
        }
    }
    Ok(())
}

/// One of `normal` and `serverless`.
#[derive(Serialize, ToSchema)]
#[schema(as = RunnerConfig)]
pub struct View {
    #[serde(skip_serializing_if = "Option::is_none")]
    normal: Option<DrainView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    serverless: Option<ServerlessView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
    /// The envoy protocol that its runners have announced last.
    #[schema(required = true)]
    protocol_version: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schemas::PoolError>)]
    runner_pool_error: Option<PoolError>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = RunnerConfigDrainView)]
struct DrainView {
    drain_on_version_upgrade: bool,
    actor_eviction_delay: u32,
    actor_eviction_period: u32,
    actor_eviction_rate: f32,
}

#[derive(Serialize, ToSchema)]
#[schema(as = RunnerConfigServerlessView)]
struct ServerlessView {
    url: String,
    #[schema(value_type = std::collections::HashMap<String, String>)]
    headers: Map<String, Value>,
    request_lifespan: u32,
    max_concurrent_actors: u64,
    drain_grace_period: u32,
    slots_per_runner: u32,
    min_runners: u32,
    max_runners: u32,
    runners_margin: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata_poll_interval: Option<u64>,
    #[serde(flatten)]
    drain: DrainView,
}

impl View {
    pub fn new(record: RunnerConfigRecord, error: Option<PoolError>) -> View {
        let drain = DrainView {
            drain_on_version_upgrade: record.drain_on_version_upgrade,
            actor_eviction_delay: record.actor_eviction_delay_s,
            actor_eviction_period: record.actor_eviction_period_s,
            actor_eviction_rate: record.actor_eviction_rate.per_second(),
        };
        let (normal, serverless) = match record.kind {
            PoolKind::Normal => (Some(drain), None),
            PoolKind::Serverless(config) => (None, Some(ServerlessView::new(*config, drain))),
        };
        let metadata = record.metadata.and_then(|metadata| serde_json::from_str(&metadata).ok());
        View { normal, serverless, metadata, protocol_version: record.protocol_version, runner_pool_error: error }
    }
}

impl ServerlessView {
    fn new(config: ServerlessConfig, drain: DrainView) -> ServerlessView {
        ServerlessView {
            url: config.url,
            headers: config.headers.into_iter().map(|(name, value)| (name, value.into())).collect(),
            request_lifespan: config.request_lifespan_s,
            max_concurrent_actors: config.max_concurrent_actors,
            drain_grace_period: config.drain_grace_period_s,
            slots_per_runner: config.slots_per_runner,
            min_runners: config.min_runners,
            max_runners: config.max_runners,
            runners_margin: config.runners_margin,
            metadata_poll_interval: config.metadata_poll_interval_ms,
            drain,
        }
    }
}
