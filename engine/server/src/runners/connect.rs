//! Where runners connect: `/envoys/connect`, `/runners/connect`, and an address of ours for runners of components.
//!
//! Every refusal is a close after the handshake, with the code and reason that clients of the original look for. What is checked
//! comes in the original's order: the token, then what the address says, then what there is.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use engine_core::audit::{Act, By};
use engine_core::input::Operation;
use engine_core::record::{NamespaceRecord, PoolKind, Rate, RunnerConfigRecord};
use futures_util::StreamExt;
use http::header::{HOST, SEC_WEBSOCKET_PROTOCOL};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Response};
use protocol::id::NamespaceId;
use protocol::limits::{SOCKET_MESSAGE_BYTES_MAX, cut};
use protocol::message::{RunnerProfile, RunnerProtocol, Serves};
use protocol::trace;
use protocol::wire::actor::ActorName;
use protocol::wire::components::FRAME_BYTES_MAX;
use protocol::wire::runner::{ServerInit, ToServer, decode_to_server};
use protocol::wire::{Dialect, EnvoyVersion, RunnerVersion};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::api::extract::usable_namespace;
use crate::auth::caller::{self, Origin};
use crate::auth::identity::{Denied, Identity};
use crate::auth::pass::Pass;
use crate::auth::table::Permission;
use crate::body::Body;
use crate::engine::Engine;
use crate::error::ApiError;
use crate::form::{self, without_port};
use crate::gateway;
use crate::runners::components;
use crate::runners::pings::Pace;
use crate::runners::session;
use crate::websocket::{self, Close};

/// How long a legacy runner may take to introduce itself.
const INIT_MS_MAX: u64 = 5_000;
pub(super) const KEY_BYTES_MAX: usize = 128;
const KEY_BYTES_MIN: usize = 3;
const POOL_BYTES_MAX: usize = 128;
pub const X_RIVET_TOKEN: HeaderName = HeaderName::from_static("x-rivet-token");
pub const TOKEN_ITEM: &str = "rivet_token.";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Endpoint {
    Envoys,
    Runners,
    /// *Ours.*
    Components,
}

impl Endpoint {
    pub const ALL: [Endpoint; 3] = [Endpoint::Envoys, Endpoint::Runners, Endpoint::Components];

    pub fn path(self) -> &'static str {
        match self {
            Endpoint::Envoys => "/envoys/connect",
            Endpoint::Runners => "/runners/connect",
            Endpoint::Components => protocol::wire::components::PATH,
        }
    }
}

/// How a runner introduced itself, once that is found to be in order.
pub struct Hello {
    pub dialect: Dialect,
    /// The name of its namespace.
    pub namespace: String,
    pub profile: RunnerProfile,
    pub names: Vec<(String, ActorName)>,
    pub metadata: Option<String>,
    pub pass: Pass,
}

/// The address called without asking for a WebSocket.
pub fn plain(engine: &Engine, endpoint: Endpoint, parts: &Parts) -> Response<Body> {
    let token = parts.headers.get(X_RIVET_TOKEN).and_then(|token| token.to_str().ok());
    match authorize(engine, parts, endpoint, token, &X_RIVET_TOKEN) {
        Ok(_) => gateway::about_socket(endpoint.path()),
        Err(error) => gateway::refusal(&error),
    }
}

/// The answer to a request for a WebSocket; the session goes on behind it.
pub fn answer(engine: &Arc<Engine>, endpoint: Endpoint, mut parts: Parts, ray: &HeaderValue) -> Response<Body> {
    let (response, opening) = match websocket::accept(&mut parts) {
        Ok(accepted) => accepted,
        Err(error) => return gateway::refusal(&error),
    };
    let (engine, ray) = (engine.clone(), ray.clone());
    tokio::spawn(trace::carry(async move {
        let opened = match endpoint {
            Endpoint::Envoys | Endpoint::Runners => opening.open(SOCKET_MESSAGE_BYTES_MAX).await,
            Endpoint::Components => opening.open_wide(FRAME_BYTES_MAX).await,
        };
        match opened {
            Ok(socket) => serve(&engine, endpoint, &parts, socket, &ray).await,
            Err(error) => tracing::debug!(%error, "a runner was gone before its connection was made"),
        }
    }));
    response
}

async fn serve<T: AsyncRead + AsyncWrite + Unpin>(
    engine: &Arc<Engine>,
    endpoint: Endpoint,
    parts: &Parts,
    mut socket: WebSocketStream<T>,
    ray: &HeaderValue,
) {
    let Some(_room) = engine.runners.room() else {
        let close = Close::error("guard", "service_unavailable", ray);
        return websocket::close(socket, close).await;
    };
    let (hello, pace) = match endpoint {
        Endpoint::Envoys => (envoy(engine, parts), Pace::envoy(&engine.runner_times)),
        Endpoint::Runners => (legacy(engine, parts, &mut socket).await, Pace::legacy(&engine.runner_times)),
        Endpoint::Components => {
            return match components::connect::hello(engine, parts) {
                Ok(hello) => components::session::run(engine, socket, hello, ray, &Pace::envoy(&engine.runner_times)).await,
                Err(error) => refuse(endpoint, socket, &error, ray).await,
            };
        }
    };
    match hello {
        Ok(hello) => session::run(engine, socket, hello, ray, &pace).await,
        Err(Refused::Gone) => {}
        Err(Refused::Because(error)) => refuse(endpoint, socket, &error, ray).await,
    }
}

async fn refuse<T: AsyncRead + AsyncWrite + Unpin>(
    endpoint: Endpoint,
    socket: WebSocketStream<T>,
    error: &ApiError,
    ray: &HeaderValue,
) {
    tracing::info!(endpoint = endpoint.path(), reason = %error.message, "a runner was refused");
    websocket::close(socket, Close::error(error.group, error.code, ray)).await;
}

pub(super) enum Refused {
    Because(ApiError),
    /// It left first.
    Gone,
}

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Refused {
        Refused::Because(error)
    }
}

/// Who may connect as a runner, and by which host. The header is the one that the token would be in.
pub(super) fn authorize(
    engine: &Engine,
    parts: &Parts,
    endpoint: Endpoint,
    token: Option<&str>,
    header: &HeaderName,
) -> Result<Asker, ApiError> {
    let headers = &parts.headers;
    let datacenter = &engine.datacenter;
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if !datacenter.valid_hosts.is_empty() && !datacenter.valid_hosts.iter().any(|valid| valid == without_port(host)) {
        let message = format!("runners connect to this datacenter by its own hosts, not by {host:?}; topology lists them");
        let metadata = json!({ "host": host, "datacenter": datacenter.name, "valid_hosts": datacenter.valid_hosts });
        return Err(ApiError::new("guard", "must_use_regional_host", message).with(metadata));
    }
    if engine.auth.is_on() && token.is_none() {
        engine.auth.count(Denied::NoToken);
        let message = "the engine wants a token from runners: x-rivet-token, or rivet_token.TOKEN among the subprotocols";
        return Err(ApiError::new("guard", "missing_header", message).with(json!({ "header": header.as_str() })));
    }
    let origin = parts.extensions.get::<Origin>().cloned().unwrap_or_default();
    match engine.auth.identify(engine, token.map(str::as_bytes)) {
        Ok(identity) => {
            let asker = Asker { identity, origin, endpoint };
            asker.identity.may(Permission::Run).map_err(|denied| asker.refused(engine, denied))?;
            Ok(asker)
        }
        Err(denied) => Err(refused(engine, denied, origin.by("nobody".to_string()), endpoint)),
    }
}

/// Who wants to connect, and may do so somewhere.
pub(super) struct Asker {
    identity: Identity,
    origin: Origin,
    endpoint: Endpoint,
}

impl Asker {
    /// None: in all namespaces.
    pub fn may_run_in(&self, engine: &Engine, namespace: Option<NamespaceId>) -> Result<(), ApiError> {
        self.identity.may_run_in(namespace).map_err(|denied| self.refused(engine, denied))
    }

    pub fn pass(self) -> Pass {
        self.identity.into()
    }

    fn by(&self) -> By {
        self.origin.by(self.identity.who())
    }

    fn refused(&self, engine: &Engine, denied: Denied) -> ApiError {
        refused(engine, denied, self.by(), self.endpoint)
    }
}

fn refused(engine: &Engine, denied: Denied, by: By, endpoint: Endpoint) -> ApiError {
    let details = vec![("reason", denied.reason().to_string())];
    let target = format!("GET {}", endpoint.path());
    engine.auth.refuse(engine, denied, by, Act { act: "access.refused", namespace: None, target, details });
    denied.into()
}

pub(super) fn envoy(engine: &Engine, parts: &Parts) -> Result<Hello, Refused> {
    let token = websocket::parameter(&parts.headers, TOKEN_ITEM);
    let asker = authorize(engine, parts, Endpoint::Envoys, token, &SEC_WEBSOCKET_PROTOCOL)?;
    let parameters = Parameters::read(parts, "invalid_request")?;
    let number: u16 = parameters.number("protocol_version")?;
    let version = EnvoyVersion::new(number).ok_or_else(|| {
        let (oldest, newest) = (EnvoyVersion::OLDEST.number(), EnvoyVersion::NEWEST.number());
        invalid(format!("envoy protocol {number} is not spoken here, {oldest} to {newest} are"))
    })?;
    let namespace = parameters.text("namespace")?;
    let key = parameters.text("envoy_key")?;
    if !is_envoy_key(key) {
        return Err(invalid("an envoy_key has 3 to 128 of A-Z, a-z, 0-9, - and _, and no - at its ends").into());
    }
    let code_version = parameters.number("version")?;
    let pool = parameters.text("pool_name")?;
    if pool.len() > POOL_BYTES_MAX {
        return Err(invalid(format!("a pool_name has at most {POOL_BYTES_MAX} bytes")).into());
    }
    let namespace = namespace_of(engine, &asker, namespace)?;
    if engine.directory.runner_config(namespace.id, pool).is_none() {
        let message = format!("there is no runner config for pool {pool:?}; PUT /runner-configs/{pool} before connecting");
        return Err(ApiError::new("ws", "no_runner_config", message).into());
    }
    let serves =
        Serves::Pool { namespace: namespace.id, pool: pool.to_string(), protocol: RunnerProtocol::Envoy(number), slots: None };
    Ok(Hello {
        dialect: Dialect::Envoy(version),
        namespace: namespace.name,
        profile: RunnerProfile { key: key.to_string(), version: code_version, serves },
        names: Vec::new(),
        metadata: None,
        pass: asker.pass(),
    })
}

fn is_envoy_key(key: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    (KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&key.len())
        && key.bytes().all(is_inner)
        && !key.starts_with('-')
        && !key.ends_with('-')
}

async fn legacy<T: AsyncRead + AsyncWrite + Unpin>(
    engine: &Engine,
    parts: &Parts,
    socket: &mut WebSocketStream<T>,
) -> Result<Hello, Refused> {
    let token = websocket::parameter(&parts.headers, TOKEN_ITEM);
    let asker = authorize(engine, parts, Endpoint::Runners, token, &SEC_WEBSOCKET_PROTOCOL)?;
    let parameters = Parameters::read(parts, "invalid_url")?;
    let number: u16 = parameters.number("protocol_version")?;
    let Some(version) = RunnerVersion::new(number) else {
        // The original finds out about one that is too new only when it cannot read its first message.
        let code = if number > RunnerVersion::NEWEST.number() { "invalid_packet" } else { "invalid_request" };
        let (oldest, newest) = (RunnerVersion::OLDEST.number(), RunnerVersion::NEWEST.number());
        let message = format!("runner protocol {number} is not spoken here, {oldest} to {newest} are");
        return Err(ApiError::new("ws", code, message).into());
    };
    let namespace = parameters.text("namespace")?;
    let key = parameters.text("runner_key")?;
    if !(1..=KEY_BYTES_MAX).contains(&key.len()) {
        return Err(invalid(format!("a runner_key has 1 to {KEY_BYTES_MAX} bytes")).into());
    }
    let namespace = namespace_of(engine, &asker, namespace)?;

    let init = tokio::time::timeout(Duration::from_millis(INIT_MS_MAX), introduction(socket, version)).await;
    let init = init.map_err(|_| {
        let message = format!("the runner did not introduce itself within {INIT_MS_MAX} ms");
        ApiError::new("ws", "timed_out_waiting_for_init", message)
    })??;
    if !(1..=POOL_BYTES_MAX).contains(&init.name.len()) {
        return Err(invalid(format!("a runner's name has 1 to {POOL_BYTES_MAX} bytes")).into());
    }
    caller::on_behalf_of(asker.by(), make_pool(engine, &namespace, &init.name)).await?;
    let serves = Serves::Pool {
        namespace: namespace.id,
        pool: init.name,
        protocol: RunnerProtocol::Legacy(number),
        slots: Some(init.total_slots),
    };
    Ok(Hello {
        dialect: Dialect::Runner(version),
        namespace: namespace.name,
        profile: RunnerProfile { key: key.to_string(), version: init.version, serves },
        names: init.prepopulate_actor_names.unwrap_or_default(),
        metadata: init.metadata,
        pass: asker.pass(),
    })
}

/// The first message of a legacy runner.
async fn introduction<T: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut WebSocketStream<T>,
    version: RunnerVersion,
) -> Result<ServerInit, Refused> {
    let refused = |code, message: String| Err(ApiError::new("ws", code, message).into());
    loop {
        match socket.next().await {
            Some(Ok(Message::Binary(bytes))) => {
                return match decode_to_server(version, bytes) {
                    Ok(ToServer::Init(init)) => Ok(init),
                    Ok(ToServer::Message(_)) => refused("invalid_initial_packet", "a runner's first message is Init".to_string()),
                    Err(error) => refused("invalid_packet", format!("the runner's first message cannot be read: {error}")),
                };
            }
            Some(Ok(Message::Text(_))) => return refused("invalid_initial_packet", "a runner speaks in binary frames".to_string()),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
            Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(Refused::Gone),
        }
    }
}

/// Legacy runners make their pool by connecting.
async fn make_pool(engine: &Engine, namespace: &NamespaceRecord, pool: &str) -> Result<(), ApiError> {
    if engine.directory.runner_config(namespace.id, pool).is_some() {
        return Ok(());
    }
    let record = RunnerConfigRecord {
        namespace: namespace.id,
        pool: pool.to_string(),
        kind: PoolKind::Normal,
        drain_on_version_upgrade: false,
        actor_eviction_delay_s: 0,
        actor_eviction_period_s: 0,
        actor_eviction_rate: Rate::new(1.0),
        metadata: None,
        protocol_version: None,
    };
    let operation = Operation::PutRunnerConfig { namespace: namespace.name.clone(), record: Box::new(record) };
    engine.call(operation).await.map(drop)
}

/// Whoever may not connect there is not told whether it exists.
fn namespace_of(engine: &Engine, asker: &Asker, name: &str) -> Result<NamespaceRecord, ApiError> {
    let found = engine.directory.namespace(name);
    if asker.identity.within().is_some() || found.is_some() {
        asker.may_run_in(engine, found.as_ref().map(|namespace| namespace.id))?;
    }
    usable_namespace(engine, name)
}

pub(super) fn invalid(reason: impl Into<String>) -> ApiError {
    ApiError::new("ws", "invalid_request", reason)
}

/// What the address says; of a name that comes twice, the last.
pub(super) struct Parameters<'a> {
    said: HashMap<Cow<'a, str>, Cow<'a, str>>,
    /// What the close says where one is missing: the two protocols have different words for it.
    code: &'static str,
}

impl<'a> Parameters<'a> {
    pub fn read(parts: &'a Parts, code: &'static str) -> Result<Parameters<'a>, ApiError> {
        let decode = |text| form::decode(text).map_err(|_| ApiError::new("ws", code, "the address has bytes that are no text"));
        let pairs = form::pairs(parts.uri.query().unwrap_or_default());
        let said: Result<_, ApiError> = pairs.map(|(name, value)| Ok((decode(name)?, decode(value)?))).collect();
        Ok(Parameters { said: said?, code })
    }

    pub fn text(&self, name: &str) -> Result<&str, ApiError> {
        let missing = || ApiError::new("ws", self.code, format!("the parameter {name} is missing"));
        self.said.get(name).map(|value| &**value).ok_or_else(missing)
    }

    /// What is no number at all is the original's internal error.
    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Result<T, ApiError> {
        let text = self.text(name)?;
        text.parse().map_err(|_| {
            let message = format!("{name} must be a number, not {:?}", cut(text.to_string(), 100));
            ApiError::new("core", "internal_error", message)
        })
    }
}
