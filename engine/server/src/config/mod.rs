//! What the engine is to be, checked once.
//!
//! [`StartArgs`] is what was typed, [`sources`] brings it together with files and the environment, [`keys`] is everything that can
//! be said, and [`Config`] is what is meant. Nothing behind this folder reads arguments, files of configuration or the environment.
//!
//! In reading order:
//! - [`keys`]: the table of keys. [`schema`] is it for editors; docs/CONFIGURATION.md for people, written by `reference.rs`.
//! - [`sources`]: files, environment, command line. [`nested`]: JSON5 of bounded depth. [`place`]: on which line a key stands.
//!   [`near`]: which key may have been meant.
//! - [`args`]: the flags of `start`.
//! - [`storage`]: what is meant about the disk. [`memory`]: about memory. [`telemetry`]: variables about a collector.
//! - [`said`]: reads values of what was said; [`show`] prints them.
//! - [`edge`]: what is asked of clients. [`check`]: what can be said about a configuration without starting.

pub mod args;
pub mod check;
pub mod edge;
pub mod keys;
pub mod memory;
mod near;
mod nested;
mod place;
#[cfg(test)]
mod reference;
mod said;
pub mod schema;
pub mod show;
pub mod sources;
pub mod storage;
pub mod telemetry;

use std::env;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use engine_store::Durability;
use engine_store::actor_logs::LogLimits;
use engine_store::recordings::RecordingLimits;
use protocol::limits::{KIB, MIB};
use url::Url;

use crate::auth::admin::AdminToken;
use crate::config::args::StartArgs;
use crate::config::edge::{EdgeConfig, HttpsConfig};
use crate::config::said::All;
use crate::config::sources::Sources;
use crate::config::storage::StorageConfig;
use crate::config::telemetry::TelemetryConfig;
use crate::logs;
use crate::memory::Parts;
use crate::recordings::{self, RecordingConfig};
use crate::serverless::policy::{Network, Policy};

const PORT_DEFAULT: u16 = 6420;
const HOST_DEFAULT: &str = "127.0.0.1";
/// Where whoever has the token may call from anywhere.
pub const HOST_WITH_TOKEN: &str = "::";
/// How far from the main port the two others are, unless they are named: as in the original.
const PEER_PORT_DISTANCE: u16 = 1;
const METRICS_PORT_DISTANCE: u16 = 10;
/// What a request under way has when the engine is told to stop: what container engines give a process in all.
const SHUTDOWN_REQUESTS_S: u64 = 10;
const SHUTDOWN_ACTORS_S: u64 = 5;
/// Runners to be told, what waits to be written, traces to leave.
const SHUTDOWN_REST_S: u64 = 30;
/// What `batch` alone means.
const BATCH_MS_DEFAULT: u64 = 100;
/// A longer time would not be a bound that anybody could rely on.
const BATCH_MS_MAX: u64 = 60_000;

/// What a runner for components may take, where that was said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WasmConfig {
    /// Whether the engine has one of its own.
    pub enabled: bool,
    pub actors_max: Option<usize>,
    pub actor_memory_bytes: Option<usize>,
    pub memory_bytes: Option<usize>,
    pub dirs: Vec<DirGrant>,
}

/// A folder that every Wasm actor sees.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DirGrant {
    pub guest_path: String,
    pub host_path: PathBuf,
    pub read_only: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    Text,
    Json,
}

/// How long the parts of an orderly end may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shutdown {
    /// New connections are taken for so long after readiness has become false: a load balancer has to see it first.
    pub delay: Duration,
    /// Requests under way have so long to finish.
    pub requests: Duration,
    /// And actors to fall asleep.
    pub actors: Duration,
    /// All of it; then the process ends as it is.
    pub force: Duration,
}

/// Where to listen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listen {
    /// A name or an address.
    pub host: String,
    /// 0: any that is free.
    pub port: u16,
}

/// The one datacenter there is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Datacenter {
    pub name: String,
    pub label: u16,
    /// Where clients and runners reach it, with a slash at its end; else from where it listens.
    pub public_url: Option<String>,
    /// The hosts that runners may call it by; empty: any.
    pub valid_hosts: Vec<String>,
}

impl Default for Datacenter {
    fn default() -> Datacenter {
        Datacenter { name: "default".to_string(), label: 1, public_url: None, valid_hosts: Vec::new() }
    }
}

/// How runners that connect are watched, and how often pools are asked what they have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RunnerTimes {
    /// A runner of which nothing was heard for so long has lost its actors.
    pub lost_ms: u64,
    /// A connection without a pong for so long is closed.
    pub ping_timeout_ms: u64,
    pub ping_interval_ms: u64,
    /// How long a runner may take to stop an actor.
    pub actor_stop_ms: u64,
    #[allow(dead_code, reason = "for what asks pools' URLs again and again")]
    pub metadata_poll_ms: u64,
    #[allow(dead_code, reason = "for what asks pools' URLs again and again")]
    pub metadata_poll_min_ms: u64,
}

impl Default for RunnerTimes {
    fn default() -> RunnerTimes {
        RunnerTimes {
            lost_ms: 15_000,
            ping_timeout_ms: 15_000,
            ping_interval_ms: 3_000,
            actor_stop_ms: 30 * 60_000,
            metadata_poll_ms: 10_000,
            metadata_poll_min_ms: 5_000,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Config {
    pub data_dir: PathBuf,
    pub guard: Listen,
    pub https: Option<HttpsConfig>,
    pub edge: EdgeConfig,
    /// The host was not named, and any other will do.
    pub host_is_default: bool,
    pub api_peer: Option<Listen>,
    pub metrics: Option<Listen>,
    pub admin_token: Option<AdminToken>,
    /// Calls to actors need a token too.
    pub gateway_auth: bool,
    pub datacenter: Datacenter,
    pub outbound: Policy,
    /// Certificate authorities beside the system's and Mozilla's.
    pub ca_file: Option<PathBuf>,
    /// To the URLs of pools, with each start.
    pub send_admin_token: bool,
    /// The same, with one that can only run the pool's actors.
    pub send_runner_token: bool,
    pub core: engine_core::Config,
    pub runner_times: RunnerTimes,
    pub durability: Durability,
    pub storage: StorageConfig,
    pub memory: Parts,
    pub wasm: WasmConfig,
    pub log_format: LogFormat,
    pub actor_logs: LogLimits,
    pub recordings: RecordingConfig,
    /// None: nothing leaves.
    pub telemetry: Option<TelemetryConfig>,
    pub shutdown: Shutdown,
    /// Runners that connect get the trace as the gateway goes on with it, and not as the client has sent it.
    pub trace_propagation: bool,
    /// Keys that were given and change nothing: a sentence each.
    pub without_effect: Vec<String>,
}

/// What is wrong: a sentence a line.
#[derive(PartialEq, Eq, Debug)]
pub struct ConfigError(pub String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Everything that was said: in files, in the environment, on the command line.
pub fn all(args: StartArgs, files: &[PathBuf]) -> Result<All, ConfigError> {
    let mut sources = Sources::default();
    sources.files(files)?;
    sources.environment(env::vars_os());
    args.tell(&mut sources);
    Ok(All::new(sources.finish()?))
}

/// What counts for a runner on its own.
pub struct RunnerConfig {
    pub wasm: WasmConfig,
    /// The engine's, if it is configured on this machine.
    pub token: Option<String>,
    pub log_format: LogFormat,
    pub ca_file: Option<PathBuf>,
    pub telemetry: Option<TelemetryConfig>,
    /// Where it tells its metrics; none: nowhere.
    pub metrics: Option<Listen>,
}

impl RunnerConfig {
    pub fn new(said: &All) -> Result<RunnerConfig, ConfigError> {
        Ok(RunnerConfig {
            wasm: wasm(said)?,
            token: said.text("auth.admin_token"),
            log_format: log_format(said)?,
            ca_file: ca_file(said),
            telemetry: telemetry::telemetry(|name| env::var(name).ok())?,
            metrics: runner_metrics(said)?,
        })
    }
}

impl Config {
    pub fn new(said: &All) -> Result<Config, ConfigError> {
        let admin_token = said.text("auth.admin_token").map(AdminToken::new);
        let host_default = if admin_token.is_some() { HOST_WITH_TOKEN } else { HOST_DEFAULT };
        let guard = Listen {
            host: host(said, "guard.host")?.unwrap_or_else(|| host_default.to_string()),
            port: said.whole("guard.port").unwrap_or(PORT_DEFAULT),
        };
        let gateway_auth = gateway_auth(said, admin_token.is_some())?;
        let (send_admin_token, send_runner_token) = sent_tokens(said)?;
        let datacenter = datacenter(said)?;
        let core = core(said, datacenter.label);
        Ok(Config {
            data_dir: data_dir(said)?,
            host_is_default: said.text("guard.host").is_none(),
            api_peer: beside(said, &guard, ["api_peer.host", "api_peer.port"], PEER_PORT_DISTANCE)?,
            metrics: beside(said, &guard, ["metrics.host", "metrics.port"], METRICS_PORT_DISTANCE)?,
            https: edge::https(said, &guard)?,
            edge: edge::read(said)?,
            guard,
            admin_token,
            gateway_auth,
            datacenter,
            outbound: policy(said)?,
            ca_file: ca_file(said),
            send_admin_token,
            send_runner_token,
            runner_times: runner_times(said, &core),
            core,
            durability: said.read("durability", parse_durability)?.unwrap_or(Durability::Sync),
            storage: StorageConfig::new(said)?,
            memory: memory::parts(said)?,
            wasm: wasm(said)?,
            log_format: log_format(said)?,
            actor_logs: actor_logs(said),
            recordings: recordings(said),
            telemetry: telemetry::telemetry(|name| env::var(name).ok())?,
            shutdown: shutdown(said)?,
            trace_propagation: said.flag("guard.trace_propagation").unwrap_or(false),
            without_effect: said.without_effect(),
        })
    }
}

fn gateway_auth(said: &All, has_token: bool) -> Result<bool, ConfigError> {
    match said.flag("auth.gateway").unwrap_or(false) {
        true if !has_token => {
            let message =
                "auth.gateway is on and there is no auth.admin_token: nobody could mint the tokens that it asks for; set both";
            Err(ConfigError(message.to_string()))
        }
        on => Ok(on),
    }
}

/// The admin's, or one that can do less.
fn sent_tokens(said: &All) -> Result<(bool, bool), ConfigError> {
    let flag = |key| said.flag(key).unwrap_or(false);
    match (flag("outbound.send_admin_token"), flag("outbound.send_runner_token")) {
        (true, true) => {
            let message = "outbound.send_admin_token and outbound.send_runner_token are both on, and one token is sent; leave only one of them";
            Err(ConfigError(message.to_string()))
        }
        sent => Ok(sent),
    }
}

/// An IPv6 address may come in the brackets that a URL needs.
fn host(said: &All, key: &str) -> Result<Option<String>, ConfigError> {
    said.read(key, |text| match text.trim_start_matches('[').trim_end_matches(']') {
        "" => Err("the host is empty; name an address such as 127.0.0.1, or 0.0.0.0 for all of them".to_string()),
        host => Ok(host.to_string()),
    })
}

/// A listener near the main one. None if its port is 0, or if the main one takes any port and this one was not named.
fn beside(said: &All, guard: &Listen, [host_key, port_key]: [&str; 2], distance: u16) -> Result<Option<Listen>, ConfigError> {
    let host = host(said, host_key)?.unwrap_or_else(|| guard.host.clone());
    let near = guard.port.checked_add(distance).filter(|_| guard.port != 0);
    let port = said.whole(port_key).or(near).filter(|port| *port != 0);
    Ok(port.map(|port| Listen { host, port }))
}

fn runner_metrics(said: &All) -> Result<Option<Listen>, ConfigError> {
    let host = host(said, "runner.metrics.host")?.unwrap_or_else(|| HOST_DEFAULT.to_string());
    let port = said.whole("runner.metrics.port").filter(|port| *port != 0);
    Ok(port.map(|port| Listen { host, port }))
}

pub fn data_dir(said: &All) -> Result<PathBuf, ConfigError> {
    let named = said.text("file_system.path").filter(|path| !path.is_empty());
    let no_home = "there is no home directory to keep data in: neither XDG_DATA_HOME nor HOME is set; name one with --data-dir";
    match named {
        Some(path) => Ok(path.into()),
        None => default_data_dir(|name| env::var_os(name).map(PathBuf::from)).ok_or_else(|| ConfigError(no_home.to_string())),
    }
}

fn datacenter(said: &All) -> Result<Datacenter, ConfigError> {
    let names = said.names("topology.datacenters");
    let [name] = names.as_slice() else {
        if names.is_empty() {
            let label = the_label(said, "topology.datacenter_label", said.whole("topology.datacenter_label").unwrap_or(1))?;
            return Ok(Datacenter { label, ..Datacenter::default() });
        }
        let names = names.join(", ");
        return Err(ConfigError(format!("topology.datacenters: {names}: one datacenter is possible; leave only `default`")));
    };
    if name != "default" {
        return Err(ConfigError(format!("topology.datacenters.{name}: the one datacenter is called `default`; rename it")));
    }
    let key = |key: &str| format!("topology.datacenters.{name}.{key}");
    let own: Option<u16> = said.whole("topology.datacenter_label");
    let label = said.whole(&key("datacenter_label")).or(own).unwrap_or(1);
    if own.is_some_and(|own| own != label) {
        let other = key("datacenter_label");
        return Err(ConfigError(format!(
            "topology.datacenter_label is not {other}, which is {label}; there is one datacenter: make them equal"
        )));
    }
    let label = the_label(said, &key("datacenter_label"), label)?;
    let public_url = said.read(&key("public_url"), parse_public_url)?;
    Ok(Datacenter { name: name.clone(), label, public_url, valid_hosts: said.texts(&key("valid_hosts")).unwrap_or_default() })
}

fn the_label(said: &All, key: &str, label: u16) -> Result<u16, ConfigError> {
    match label {
        1 => Ok(label),
        _ => Err(said.wrong(key, &format!("{label} is not possible; the one datacenter has label 1"))),
    }
}

fn parse_public_url(text: &str) -> Result<String, String> {
    let url = Url::parse(text).map_err(|error| format!("{text:?} is not a URL ({error}); http://127.0.0.1:6420 is one"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(format!("{text:?} is not an address that can be called; http:// or https:// is expected"));
    }
    let text = url.to_string();
    Ok(if text.ends_with('/') { text } else { format!("{text}/") })
}

fn core(said: &All, datacenter_label: u16) -> engine_core::Config {
    let default = engine_core::Config::default();
    engine_core::Config {
        datacenter_label,
        ready_timeout_ms: said.whole("guard.actor_ready_timeout_ms").unwrap_or(default.ready_timeout_ms),
        start_timeout_ms: said.whole("pegboard.actor_start_threshold").unwrap_or(default.start_timeout_ms),
        stop_timeout_ms: said.whole("pegboard.actor_stop_threshold").unwrap_or(default.stop_timeout_ms),
        retry_base_ms: said.whole("pegboard.base_retry_timeout").unwrap_or(default.retry_base_ms),
        retry_doublings_max: said.whole("pegboard.reschedule_backoff_max_exponent").unwrap_or(default.retry_doublings_max),
        runner_lost_ms: said.whole("pegboard.envoy_lost_threshold").unwrap_or(default.runner_lost_ms),
        audit_entries_max: said.whole("audit.entries_max").unwrap_or(default.audit_entries_max),
        retry_reset_ms: said.whole("pegboard.retry_reset_duration").unwrap_or(default.retry_reset_ms),
        actor_storage_bytes_max: said.whole("actors.storage_mib").map(|mib: u64| mib * MIB as u64),
        ..default
    }
}

fn runner_times(said: &All, core: &engine_core::Config) -> RunnerTimes {
    let ms = |key: &str, default: u64| said.whole(key).unwrap_or(default);
    let default = RunnerTimes::default();
    RunnerTimes {
        lost_ms: core.runner_lost_ms,
        ping_timeout_ms: ms("pegboard.envoy_ping_timeout", default.ping_timeout_ms),
        ping_interval_ms: ms("pegboard.envoy_update_ping_interval", default.ping_interval_ms),
        actor_stop_ms: core.stop_timeout_ms,
        metadata_poll_ms: ms("pegboard.default_metadata_poll_interval", default.metadata_poll_ms),
        metadata_poll_min_ms: ms("pegboard.min_metadata_poll_interval", default.metadata_poll_min_ms),
    }
}

fn policy(said: &All) -> Result<Policy, ConfigError> {
    let default = Policy::default();
    Ok(Policy {
        allow_loopback: said.flag("outbound.allow_loopback").unwrap_or(default.allow_loopback),
        allow_private_networks: said.flag("outbound.allow_private_networks").unwrap_or(default.allow_private_networks),
        allow_insecure_scheme: said.flag("outbound.allow_insecure_scheme").unwrap_or(default.allow_insecure_scheme),
        allow_networks: networks(said, "outbound.allow_cidrs")?,
        deny_networks: networks(said, "outbound.deny_cidrs")?,
        allow_hosts: said.texts("outbound.allow_hosts").unwrap_or_default().iter().map(|host| host.to_ascii_lowercase()).collect(),
        max_redirects: said.whole("outbound.max_redirects").unwrap_or(default.max_redirects),
    })
}

fn ca_file(said: &All) -> Option<PathBuf> {
    said.text("outbound.ca_file").filter(|path| !path.is_empty()).map(PathBuf::from)
}

fn shutdown(said: &All) -> Result<Shutdown, ConfigError> {
    let seconds = |key: &str, default: u64| Duration::from_secs(said.whole(key).unwrap_or(default));
    let [delay_key, requests_key, actors_key] =
        ["runtime.shutdown_delay_duration", "runtime.guard_shutdown_duration", "runtime.worker_shutdown_duration"];
    let (delay, requests) = (seconds(delay_key, 0), seconds(requests_key, SHUTDOWN_REQUESTS_S));
    let actors = seconds(actors_key, SHUTDOWN_ACTORS_S);
    let all = delay + requests + actors + Duration::from_secs(SHUTDOWN_REST_S);
    let force = seconds("runtime.force_shutdown_duration", all.as_secs());
    if force < delay + requests + actors {
        return Err(ConfigError(format!(
            "runtime.force_shutdown_duration: {} s is less than {delay_key}, {requests_key} and {actors_key} together, {} s; \
             make it longer, or one of them shorter",
            force.as_secs(),
            (delay + requests + actors).as_secs()
        )));
    }
    Ok(Shutdown { delay, requests, actors, force })
}

fn networks(said: &All, key: &str) -> Result<Vec<Network>, ConfigError> {
    let networks = said.texts(key).unwrap_or_default();
    let read = networks.iter().map(|text| text.parse()).collect::<Result<Vec<_>, String>>();
    read.map_err(|error| said.wrong(key, &error))
}

fn wasm(said: &All) -> Result<WasmConfig, ConfigError> {
    let mib = |key: &str| said.whole::<usize>(key).map(|mib| mib.saturating_mul(MIB));
    let dirs = said.texts("wasm.dirs").unwrap_or_default();
    let dirs = dirs.iter().map(|text| parse_grant(text).map_err(|error| said.wrong("wasm.dirs", &format!("{text:?}: {error}"))));
    Ok(WasmConfig {
        enabled: said.flag("wasm.enabled").unwrap_or(true),
        actors_max: said.whole("wasm.actors_max"),
        actor_memory_bytes: mib("wasm.actor_memory_mib"),
        memory_bytes: mib("wasm.memory_mib"),
        dirs: dirs.collect::<Result<_, _>>()?,
    })
}

fn parse_grant(text: &str) -> Result<DirGrant, String> {
    let (guest_path, rest) = text.split_once('=').ok_or("PATH=DIR or PATH=DIR:ro is expected")?;
    let (host_path, read_only) = match rest.strip_suffix(":ro") {
        Some(host_path) => (host_path, true),
        None => (rest, false),
    };
    if guest_path.is_empty() || host_path.is_empty() {
        return Err("both paths must be named: PATH=DIR or PATH=DIR:ro".to_string());
    }
    Ok(DirGrant { guest_path: guest_path.to_string(), host_path: host_path.into(), read_only })
}

fn log_format(said: &All) -> Result<LogFormat, ConfigError> {
    Ok(said.read("logs.format", parse_log_format)?.unwrap_or(LogFormat::Text))
}

fn actor_logs(said: &All) -> LogLimits {
    let of = |key: &str, unit: u64, default: u64| said.whole::<u64>(key).map_or(default, |number| number.saturating_mul(unit));
    LogLimits {
        actor_bytes: of("actor_logs.actor_kib", KIB as u64, logs::LIMITS.actor_bytes),
        total_bytes: of("actor_logs.total_mib", MIB as u64, logs::LIMITS.total_bytes),
        age_ms: of("actor_logs.max_age_hours", 60 * 60 * 1_000, logs::LIMITS.age_ms),
    }
}

fn recordings(said: &All) -> RecordingConfig {
    let limits = recordings::LIMITS;
    let of = |key: &str, unit: u64, default: u64| said.whole::<u64>(key).map_or(default, |number| number.saturating_mul(unit));
    let limits = RecordingLimits {
        actor_bytes: of("recorded_requests.actor_kib", KIB as u64, limits.actor_bytes),
        namespace_bytes: of("recorded_requests.namespace_mib", MIB as u64, limits.namespace_bytes),
        total_bytes: of("recorded_requests.total_mib", MIB as u64, limits.total_bytes),
    };
    RecordingConfig { requests: said.whole("recorded_requests.per_actor").unwrap_or(0), limits }
}

fn parse_log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("text or json is expected".to_string()),
    }
}

fn default_data_dir(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    // A relative XDG_DATA_HOME is to be ignored, says its specification.
    let data = variable("XDG_DATA_HOME").filter(|path| path.is_absolute());
    let data = data.or_else(|| Some(variable("HOME").filter(|path| !path.as_os_str().is_empty())?.join(".local/share")))?;
    Some(data.join("rivet-engine/db"))
}

fn parse_durability(text: &str) -> Result<Durability, String> {
    let expected = "sync, batch, batch:MS or relaxed is expected";
    match text.split_once(':') {
        None => match text {
            "sync" => Ok(Durability::Sync),
            "batch" => Ok(Durability::Batch { ms: BATCH_MS_DEFAULT }),
            "relaxed" => Ok(Durability::Relaxed),
            _ => Err(expected.to_string()),
        },
        Some(("batch", ms)) => match ms.parse() {
            Ok(ms) if (1..=BATCH_MS_MAX).contains(&ms) => Ok(Durability::Batch { ms }),
            _ => Err(format!("1 to {BATCH_MS_MAX} milliseconds are possible")),
        },
        Some(_) => Err(expected.to_string()),
    }
}

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;
