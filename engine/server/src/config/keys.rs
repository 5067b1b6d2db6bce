//! Every key that a configuration may have: what it takes, what it does, and what it is if nobody says.
//!
//! One table. Reading, checking, `config show`, `config schema`, docs/CONFIGURATION.md and the warnings about keys without effect
//! all go through it, so that a key is known in one place. The names are the original's, where it has them.

use protocol::limits::{REQUEST_BODY_BYTES_MAX, SOCKET_MESSAGE_BYTES_MAX};

/// What a key takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Text,
    /// A text that is not shown.
    Secret,
    Flag,
    Whole {
        min: u64,
        max: u64,
    },
    Number,
    /// Texts; in the environment between commas.
    Texts,
    Any,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    Used,
    /// Accepted, because configurations of the original have it. The reason is said when the engine starts.
    NoEffect(&'static str),
    /// Accepted without a word: it asks for nothing that could be missed.
    Idle(&'static str),
    /// Another spelling of this key.
    SameAs(&'static str),
    /// To go on as if it were not there would do something else than what was asked for. The sentence says what to do instead.
    Refused(&'static str),
}

pub struct Key {
    /// Parts between dots. `*` is any name, `**` at the end is everything below.
    pub path: &'static str,
    pub kind: Kind,
    pub fate: Fate,
    /// As `config show` says it.
    pub default: &'static str,
    /// What it does, in one line; of a key without effect the reason says it.
    pub meaning: &'static str,
    /// What a text, or each of a list of texts, must look like, as a regular expression; empty if anything goes.
    pub pattern: &'static str,
}

impl Key {
    const fn new(path: &'static str, kind: Kind, fate: Fate, default: &'static str) -> Key {
        Key { path, kind, fate, default, meaning: "", pattern: "" }
    }

    const fn says(self, meaning: &'static str) -> Key {
        Key { meaning, ..self }
    }

    /// Its reader refuses what is not like this, and `config schema` tells editors.
    const fn like(self, pattern: &'static str) -> Key {
        Key { pattern, ..self }
    }

    /// Of its number: what one is.
    pub fn unit(&self) -> &'static str {
        match self.path {
            _ if self.kind == MS => "ms",
            path if path.ends_with("_ms") => "ms",
            path if path.ends_with("_mib") => "MiB",
            path if path.ends_with("_size") || path.ends_with("_bytes") => "bytes",
            _ => "",
        }
    }

    /// The variable of the environment that sets it; NAME stands for any name, … for everything below.
    pub fn variable(&self) -> String {
        let parts = self.path.split('.').map(|part| match part {
            "*" => "NAME".to_string(),
            "**" => "…".to_string(),
            part => part.to_ascii_uppercase(),
        });
        format!("RIVET__{}", parts.collect::<Vec<_>>().join("__"))
    }

    pub fn is(&self, path: &[String]) -> bool {
        let mut parts = path.iter();
        for expected in self.path.split('.') {
            match (expected, parts.next()) {
                ("**", _) => return true,
                (expected, Some(part)) if expected == "*" || expected == part => {}
                _ => return false,
            }
        }
        parts.next().is_none()
    }

    /// Whether keys like this one lie below the path.
    pub fn is_below(&self, path: &[String]) -> bool {
        let expected: Vec<&str> = self.path.split('.').collect();
        expected.len() > path.len() && path.iter().zip(&expected).all(|(part, expected)| *expected == "*" || *expected == part)
    }
}

pub fn find(path: &[String]) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.is(path))
}

const fn key(path: &'static str, kind: Kind, default: &'static str) -> Key {
    Key::new(path, kind, Fate::Used, default)
}

const fn idle(path: &'static str, kind: Kind, why: &'static str) -> Key {
    Key::new(path, kind, Fate::Idle(why), "")
}

const fn same(path: &'static str, kind: Kind, other: &'static str) -> Key {
    Key::new(path, kind, Fate::SameAs(other), "")
}

const fn none(path: &'static str, kind: Kind, why: &'static str) -> Key {
    Key::new(path, kind, Fate::NoEffect(why), "")
}

const fn refused(path: &'static str, remedy: &'static str) -> Key {
    Key::new(path, Kind::Any, Fate::Refused(remedy), "")
}

/// More than the brackets that an IPv6 address may come in.
const HOST: &str = r"[^\[\]]";
const NOT_EMPTY: &str = ".";
macro_rules! octet {
    () => {
        "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
    };
}
const NETWORK: &str = concat!(
    r"^(?:(?:",
    octet!(),
    r"\.){3}",
    octet!(),
    r"(?:/(?:3[0-2]|[12]?[0-9]))?|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*(?:/(?:12[0-8]|1[01][0-9]|[1-9]?[0-9]))?)$"
);

const PORT: Kind = Kind::Whole { min: 0, max: 65_535 };
const LABEL: Kind = Kind::Whole { min: 1, max: 65_535 };
const COUNT: Kind = Kind::Whole { min: 0, max: u64::MAX };
const SOME: Kind = Kind::Whole { min: 1, max: u32::MAX as u64 };
/// Below it the store could not work, or a body would not fit.
const STORE_MIB: Kind = Kind::Whole { min: 24, max: u32::MAX as u64 };
const BUFFERS_MIB: Kind = Kind::Whole { min: 48, max: u32::MAX as u64 };
/// A day: a longer wait is a typing error.
const MS: Kind = Kind::Whole { min: 1, max: 24 * 60 * 60_000 };
/// The same.
const SECONDS: Kind = Kind::Whole { min: 0, max: 24 * 60 * 60 };
/// A log that keeps nothing would be none.
const ENTRIES: Kind = Kind::Whole { min: 1_000, max: 1_000_000_000 };
/// Of a client address each; more than that is memory without use.
const CLIENTS: Kind = Kind::Whole { min: 1, max: 1_000_000 };
const BODY: Kind = Kind::Whole { min: 1, max: REQUEST_BODY_BYTES_MAX };
/// Below it, control frames and the first words of every protocol would not fit.
const MESSAGE: Kind = Kind::Whole { min: 1_024, max: SOCKET_MESSAGE_BYTES_MAX as u64 };
const DOUBLINGS: Kind = Kind::Whole { min: 0, max: 32 };
const REDIRECTS: Kind = Kind::Whole { min: 0, max: 20 };

const POLLED: &str = "nothing here waits for a database to be polled";
const ROUTED: &str = "routing looks nothing up over a network: it has no phases to time out";
const SHED: &str = "the engine does not refuse work because the machine is busy";
const ONE: &str = "there is one datacenter, and nothing is sent between datacenters";
const FIXED: &str = "fixed: see docs/API.md and docs/OPERATIONS.md";
const NO_FDB: &str = "there is no such store here; remove it, and name a folder with file_system.path";

pub const KEYS: &[Key] = &[
    key("auth.admin_token", Kind::Secret, "none: no authentication")
        .says("the token that may do everything; with one, the API and runners must bring it, or one that was minted. An empty one lets nobody in"),
    key("auth.gateway", Kind::Flag, "false: calls to actors need no token")
        .says("calls to actors need a token too: one of the actor's namespace, or the engine's"),
    key("audit.entries_max", ENTRIES, "1000000")
        .says("entries of the audit log that are kept; the oldest go"),
    key("guard.host", Kind::Text, "127.0.0.1; :: with auth.admin_token")
        .says("address to listen on; a name is looked up, and its first address taken")
        .like(HOST),
    key("guard.port", PORT, "6420")
        .says("port of everything public: the API, actors, runners that connect. 0 takes any that is free"),
    key("guard.actor_ready_timeout_ms", MS, "30000").says("how long a request waits for its actor to run"),
    key("guard.rate_limit.requests", SOME, "10000")
        .says("requests that one client may make in a period, at once or spread over it; see guard.exempt_cidrs"),
    key("guard.rate_limit.period_ms", MS, "60000").says("that period"),
    key("guard.max_in_flight", SOME, "2000").says("requests and WebSockets that one client may have open at one time"),
    key("guard.max_connections", SOME, "2048").says("connections that one client may have open at one time"),
    key("guard.exempt_cidrs", Kind::Texts, "127.0.0.0/8, ::1")
        .says("clients that these three do not count, such as your own servers; naming some replaces the default")
        .like(NETWORK),
    key("guard.trusted_proxies", Kind::Texts, "none")
        .says("proxies whose x-forwarded-for, or else forwarded, says who the client is; of nobody else it is believed")
        .like(NETWORK),
    key("guard.admission_client_state_cache_capacity", CLIENTS, "10000")
        .says("clients that are remembered; the one that was seen least lately makes room for another"),
    key("guard.http_max_request_body_size", BODY, "20971520").says("the longest body of a request to an actor"),
    key("guard.websocket_max_message_size", MESSAGE, "33554432")
        .says("the longest message of a client's WebSocket; a longer one ends it"),
    key("guard.request_head_timeout_ms", MS, "30000")
        .says("how long a client may take to send the head of a request, or to begin the next one"),
    key("guard.request_body_idle_timeout_ms", MS, "60000")
        .says("how long a client may send nothing in the middle of a request's body"),
    key("guard.https.host", Kind::Text, "guard.host").says("address of the port that speaks TLS").like(HOST),
    key("guard.https.port", PORT, "off").says("port that answers what guard.port answers, over TLS; 0: off"),
    key("guard.https.tls.api_cert_path", Kind::Text, "none")
        .says("certificate and those above it, PEM; read again when the file changes")
        .like(NOT_EMPTY),
    key("guard.https.tls.api_key_path", Kind::Text, "none").says("the certificate's key, PEM").like(NOT_EMPTY),
    key("guard.https.tls.actor_cert_path", Kind::Text, "none")
        .says("another pair: it is shown to clients that ask for one of its names, and the first one to all others")
        .like(NOT_EMPTY),
    key("guard.https.tls.actor_key_path", Kind::Text, "none").says("the key of that").like(NOT_EMPTY),
    key("api_peer.host", Kind::Text, "guard.host").says("address of the port for probes").like(HOST),
    key("api_peer.port", PORT, "guard.port + 1; 0: off").says("port that answers GET /health and GET /ready, and nothing else"),
    key("metrics.host", Kind::Text, "guard.host").says("address of the port for Prometheus").like(HOST),
    key("metrics.port", PORT, "guard.port + 10; 0: off").says("port that answers with metrics, on every path"),
    key("runner.metrics.host", Kind::Text, "127.0.0.1").says("address of the port of `rivet-engine runner`").like(HOST),
    key("runner.metrics.port", PORT, "0: off").says("port of `rivet-engine runner` that answers with its metrics, and to /tracing/config"),
    key("file_system.path", Kind::Text, "~/.local/share/rivet-engine/db")
        .says("folder of everything durable; made if it is absent"),
    same("database.file_system.path", Kind::Text, "file_system.path"),
    key("durability", Kind::Text, "sync")
        .says("what an acknowledged write has survived: sync, batch (100 ms), batch:MS (1 to 60000), relaxed")
        .like("^(sync|batch|relaxed|batch:0*([1-9][0-9]{0,3}|[1-5][0-9]{4}|60000))$"),
    key("memory_limit", Kind::Text, "auto: half of the machine's memory, or three quarters of the control group's limit")
        .says("memory of the process, such as 512MiB or 4GiB; docs/MEMORY.md says how it is divided, and what it cannot promise")
        .like("^(auto|[0-9]{1,20}(KiB|MiB|GiB)?)$"),
    key("storage.memory_mib", STORE_MIB, "a part of memory_limit")
        .says("memory of the store: its cache, and what is still to be written"),
    key("guard.memory_mib", BUFFERS_MIB, "a part of memory_limit")
        .says("memory of what is held for requests, WebSockets, answers, log lines, and writes that wait for the disk"),
    key("storage.reserve_mib", COUNT, "256")
        .says("what is to stay free on the disk: below it what grows is refused. 0: until the disk refuses"),
    key("backup.dir", Kind::Text, "none: no backups")
        .says("the folder that backups go to, not inside of the data directory"),
    key("backup.mib_per_second", COUNT, "0: as fast as the disks are")
        .says("how fast backups are copied, to spare the disk"),
    key("actors.storage_mib", Kind::Whole { min: 1, max: 1 << 30 }, "as much as there is")
        .says("what one actor may store, whatever runs it; a deployment can say less"),
    key("logs.format", Kind::Text, "text").says("how log lines are written: text or json").like("^(text|json)$"),
    key("actor_logs.actor_kib", Kind::Whole { min: 64, max: 65_536 }, "1024")
        .says("what is kept of what one actor logs; the oldest lines go"),
    key("actor_logs.total_mib", Kind::Whole { min: 64, max: 1_048_576 }, "1024")
        .says("what is kept of what all actors log"),
    key("actor_logs.max_age_hours", Kind::Whole { min: 1, max: 87_600 }, "168")
        .says("how long a line is kept"),
    key("recorded_requests.per_actor", Kind::Whole { min: 0, max: 100 }, "0: none")
        .says("how many requests are recorded of each actor whose deployment does not say it, with their bodies"),
    key("recorded_requests.actor_kib", Kind::Whole { min: 128, max: 65_536 }, "1024")
        .says("what is kept of the requests of one actor; the oldest go"),
    key("recorded_requests.namespace_mib", Kind::Whole { min: 1, max: 1_048_576 }, "64")
        .says("what is kept of the requests of all actors of a namespace"),
    key("recorded_requests.total_mib", Kind::Whole { min: 1, max: 1_048_576 }, "256")
        .says("what is kept of all recorded requests; who has most makes room"),
    key("topology.datacenter_label", LABEL, "1").says("the label of the one datacenter; 1 is possible"),
    key("topology.datacenters.*.datacenter_label", LABEL, "1").says("the same in the original's place"),
    key("topology.datacenters.*.public_url", Kind::Text, "from guard.host and guard.port")
        .says("where clients, and apps that are called by URL, reach this engine: set it behind a proxy")
        .like("^[hH][tT][tT][pP][sS]?://."),
    key("topology.datacenters.*.valid_hosts", Kind::Texts, "any").says("the hosts that runners may call it by"),
    idle("topology.datacenters.*.name", Kind::Text, "the older form, a list"),
    idle("topology.datacenters.*.is_leader", Kind::Flag, ONE),
    idle("topology.datacenters.*.peer_url", Kind::Text, ONE),
    idle("topology.datacenters.*.proxy_url", Kind::Text, ONE),
    key("outbound.allow_loopback", Kind::Flag, "true").says("pools' URLs may lead to this machine"),
    key("outbound.allow_private_networks", Kind::Flag, "false")
        .says("they may lead to 10/8, 172.16/12, 192.168/16, 169.254/16, 100.64/10, fc00::/7, fe80::/10"),
    key("outbound.allow_insecure_scheme", Kind::Flag, "true").says("they may begin with http://"),
    key("outbound.allow_cidrs", Kind::Texts, "none").says("networks that are allowed, whatever they are").like(NETWORK),
    key("outbound.deny_cidrs", Kind::Texts, "none").says("networks that are refused, whatever else allows them").like(NETWORK),
    key("outbound.allow_hosts", Kind::Texts, "none").says("names whose addresses are allowed; `*.example.com` is all below"),
    key("outbound.ca_file", Kind::Text, "none: the system's authorities and Mozilla's")
        .says("certificate authorities beside those, PEM: your own. For pools, for guests' requests, and of `runner` for the engine"),
    key("outbound.max_redirects", REDIRECTS, "5").says("how many redirects a call follows; each is judged anew"),
    key("outbound.send_admin_token", Kind::Flag, "false")
        .says("the admin token goes to every pool's URL with each start, as the original does"),
    key("outbound.send_runner_token", Kind::Flag, "false")
        .says("with each start a pool's URL gets a token that the engine mints for it, which can only run its actors"),
    key("pegboard.actor_start_threshold", MS, "30000").says("how long a runner may take to start an actor"),
    key("pegboard.actor_stop_threshold", MS, "1800000").says("how long a runner may take to stop an actor"),
    key("pegboard.base_retry_timeout", MS, "2000").says("the pause after an actor's crash"),
    key("pegboard.reschedule_backoff_max_exponent", DOUBLINGS, "8").says("how often that pause is doubled at most"),
    key("pegboard.retry_reset_duration", MS, "600000").says("how long an actor runs until its crashes are forgotten"),
    key("pegboard.envoy_lost_threshold", MS, "15000").says("a runner of which nothing was heard for so long has lost its actors"),
    key("pegboard.envoy_ping_timeout", MS, "15000").says("a runner's connection without a pong for so long is closed"),
    key("pegboard.envoy_update_ping_interval", MS, "3000").says("how often runners that connect are pinged"),
    key("pegboard.default_metadata_poll_interval", MS, "10000")
        .says("how often pools that are called by URL are asked what they have"),
    key("pegboard.min_metadata_poll_interval", MS, "5000").says("the least that a pool may say for itself there"),
    key("wasm.enabled", Kind::Flag, "true")
        .says("Wasm actors run in the engine's process; without, `rivet-engine runner` runs them"),
    key("wasm.actors_max", SOME, "what vm.max_map_count allows").says("Wasm actors that may be awake at one time"),
    key("wasm.actor_memory_mib", Kind::Whole { min: 1, max: 4_096 }, "128").says("memory that one Wasm actor may have"),
    key("wasm.memory_mib", SOME, "a part of memory_limit; of `runner` 2048")
        .says("memory that all of them may have together"),
    key("wasm.dirs", Kind::Texts, "none")
        .says("folders of this machine that every Wasm actor sees, PATH=DIR or PATH=DIR:ro each")
        .like("^[^=]+=."),
    key("guard.trace_propagation", Kind::Flag, "false")
        .says("runners that connect get the trace as the gateway goes on with it, and not as the client has sent it"),
    key("runtime.shutdown_delay_duration", SECONDS, "0")
        .says("seconds between saying that it drains and taking no more connections, for balancers to notice"),
    key("runtime.guard_shutdown_duration", SECONDS, "10")
        .says("seconds that requests under way may take once the engine is told to stop"),
    key("runtime.worker_shutdown_duration", SECONDS, "5")
        .says("seconds that Wasm actors may then take to fall asleep"),
    key("runtime.force_shutdown_duration", SECONDS, "the others and 30")
        .says("seconds after which the process ends in any case; not less than the three others together"),
    // The other stores and buses.
    refused("postgres.**", "data would lie elsewhere than where you expect it; remove it, and name a folder with file_system.path"),
    refused("database.postgres.**", "data would lie elsewhere; remove it, and name a folder with file_system.path"),
    refused("foundationdb.**", NO_FDB),
    refused("database.foundationdb.**", NO_FDB),
    none("nats.**", Kind::Any, "one process needs no bus"),
    idle("memory.**", Kind::Any, "one process needs no bus"),
    none("cache.**", Kind::Any, "what is cached is in memory and bounded"),
    none("clickhouse.**", Kind::Any, "no events are written anywhere"),
    none("pyroscope.**", Kind::Any, "there is no profiler"),
    none("sqlite.**", Kind::Any, FIXED),
    none("features.**", Kind::Any, "responses always stream"),
    idle("telemetry.enabled", Kind::Flag, "nothing is ever sent"),
    none("logs.redirect_logs_dir", Kind::Text, "logs go to standard error; let what starts the engine keep them"),
    // The gateway.
    none("guard.route_timeout_ms", MS, ROUTED),
    none("guard.route_dispatch_timeout_ms", MS, ROUTED),
    none("guard.route_cache_ttl_ms", COUNT, ROUTED),
    none("guard.route_api_public_timeout_ms", MS, ROUTED),
    none("guard.route_compute_timeout_ms", MS, ROUTED),
    none("guard.route_auth_check_timeout_ms", MS, ROUTED),
    none("guard.route_pegboard_subscribe_timeout_ms", MS, ROUTED),
    none("guard.route_pegboard_fetch_actor_timeout_ms", MS, ROUTED),
    none("guard.route_pegboard_auth_check_timeout_ms", MS, ROUTED),
    none("guard.route_pegboard_wake_signal_timeout_ms", MS, ROUTED),
    none("guard.route_pegboard_resolve_query_timeout_ms", MS, ROUTED),
    none("guard.actor_force_wake_pending_timeout_ms", MS, ROUTED),
    none("guard.websocket_max_frame_size", COUNT, "guard.websocket_max_message_size bounds frames too"),
    none("guard.enable_websocket_health_route", Kind::Flag, "GET /health is what to ask"),
    none("guard.tcp_nodelay", Kind::Flag, "always on"),
    none("guard.proxy_retry_max_attempts", COUNT, "a request is sent again only if its actor never saw it"),
    none("guard.proxy_retry_initial_interval_ms", COUNT, "a request is sent again only if its actor never saw it"),
    none("guard.upstream_request_timeout_ms", MS, ONE),
    none("guard.websocket_setup_timeout_ms", MS, FIXED),
    none("guard.websocket_connect_attempt_timeout_ms", MS, FIXED),
    none("guard.websocket_send_timeout_ms", MS, FIXED),
    none("guard.websocket_flush_timeout_ms", MS, FIXED),
    none("guard.http_client_pool_idle_timeout_ms", MS, ONE),
    none("guard.admission_client_state_cache_idle_timeout_ms", COUNT, "a client is forgotten when others need its place"),
    // Actors and runners.
    none("pegboard.actor_retry_duration_threshold", COUNT, FIXED),
    none("pegboard.actor_allocation_threshold", COUNT, FIXED),
    none("pegboard.actor_allocation_candidate_sample_size", COUNT, "all runners of a pool are looked at"),
    none("pegboard.runner_eligible_threshold", COUNT, FIXED),
    none("pegboard.runner_lost_threshold", COUNT, "pegboard.envoy_lost_threshold is for all runners"),
    none("pegboard.runner_update_ping_interval_ms", COUNT, "pegboard.envoy_update_ping_interval is for all runners"),
    none("pegboard.runner_ping_timeout_ms", COUNT, "pegboard.envoy_ping_timeout is for all runners"),
    none("pegboard.runner_event_demuxer_gc_interval_ms", COUNT, POLLED),
    none("pegboard.runner_event_demuxer_max_last_seen_ms", COUNT, POLLED),
    none("pegboard.runner_max_response_payload_body_size", COUNT, FIXED),
    none("pegboard.hibernating_request_eligible_threshold", COUNT, FIXED),
    none("pegboard.serverless_base_retry_timeout", COUNT, "pegboard.base_retry_timeout is for all pools"),
    none("pegboard.serverless_backoff_max_exponent", COUNT, "pegboard.reschedule_backoff_max_exponent is for all pools"),
    none("pegboard.serverless_retry_reset_duration", COUNT, "pegboard.retry_reset_duration is for all pools"),
    none("pegboard.serverless_drain_grace_period", COUNT, "each pool says its own"),
    none("pegboard.pool_desired_max_override", COUNT, "each pool says its own"),
    none("pegboard.runner_pool_consecutive_successes_to_clear_error", COUNT, FIXED),
    none("pegboard.gateway_websocket_open_timeout_ms", MS, FIXED),
    none("pegboard.gateway_response_start_timeout_ms", MS, FIXED),
    none("pegboard.gateway_update_ping_interval_ms", MS, FIXED),
    none("pegboard.gateway_tunnel_ping_timeout_ms", MS, FIXED),
    none("pegboard.gateway_gc_interval_ms", MS, POLLED),
    none("pegboard.gateway_hws_message_ack_timeout_ms", MS, FIXED),
    none("pegboard.gateway_hws_max_pending_size", COUNT, FIXED),
    none("pegboard.gateway_http_max_request_body_size", COUNT, "the original does not use it either"),
    none("pegboard.gateway_websocket_rate_limit_requests", COUNT, FIXED),
    none("pegboard.gateway_websocket_rate_limit_drip_rate_ms", COUNT, FIXED),
    none("pegboard.envoy_websocket_rate_limit_requests", COUNT, FIXED),
    none("pegboard.envoy_websocket_rate_limit_drip_rate_us", COUNT, FIXED),
    none("pegboard.gateway_response_chunk_idle_timeout_ms", COUNT, FIXED),
    none("pegboard.gateway_http_response_body_channel_capacity", COUNT, FIXED),
    none("pegboard.gateway_http_response_queue_max_messages", COUNT, FIXED),
    none("pegboard.gateway_streaming_http_response_queue_max_bytes", COUNT, FIXED),
    none("pegboard.actor_create_rate_limit_requests", COUNT, "creating actors is bounded by the disk"),
    none("pegboard.actor_create_rate_limit_drip_rate_ms", COUNT, "creating actors is bounded by the disk"),
    none("pegboard.envoy_eligible_threshold", COUNT, FIXED),
    none("pegboard.envoy_event_demuxer_gc_interval", COUNT, POLLED),
    none("pegboard.envoy_event_demuxer_max_last_seen_threshold", COUNT, POLLED),
    none("pegboard.envoy_max_response_payload_size", COUNT, FIXED),
    none("pegboard.envoy_expire_scheduler_max_concurrent_expires", COUNT, POLLED),
    none("pegboard.envoy_expire_scheduler_max_pending", COUNT, POLLED),
    none("pegboard.preload_max_total_bytes", COUNT, FIXED),
    none("pegboard.envoy_load_balancer.**", Kind::Any, "the runner with the fewest actors is taken"),
    // The process.
    none("runtime.worker_cpu_max", COUNT, SHED),
    none("runtime.worker_load_shedding_curve", Kind::Any, SHED),
    none("runtime.worker_load_shedding_beta", Kind::Number, SHED),
    key("runtime.allow_version_rollback", Kind::Flag, "false")
        .says("data that a newer engine wrote is opened, if its format is one that this engine knows"),
    none("runtime.gasoline_prune_eligibility_duration", COUNT, POLLED),
    none("runtime.gasoline_prune_interval_duration", COUNT, POLLED),
    none("runtime.gasoline_loop_history_iteration_retention_count", COUNT, POLLED),
    none("runtime.worker_poll_interval_ms", COUNT, POLLED),
    none("runtime.worker_max_concurrent_workflows", COUNT, POLLED),
    none("runtime.udb_throttle_bytes_per_second.**", Kind::Any, "what is written is bounded by the disk"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(path: &str) -> Vec<String> {
        path.split('.').map(str::to_string).collect()
    }

    #[test]
    fn paths_and_patterns() {
        let rows = [
            ("guard.port", Some("guard.port")),
            ("guard", None),
            ("guard.port.more", None),
            ("topology.datacenters.mars.public_url", Some("topology.datacenters.*.public_url")),
            ("topology.datacenters.mars", None),
            ("postgres", Some("postgres.**")),
            ("postgres.ssl.root_cert_path", Some("postgres.**")),
        ];
        for (path, expected) in rows {
            assert_eq!(find(&parts(path)).map(|key| key.path), expected, "{path}");
        }
        assert!(KEYS.iter().any(|key| key.is_below(&parts("topology.datacenters.mars"))));
        assert!(!KEYS.iter().any(|key| key.is_below(&parts("guard.port"))));
    }

    #[test]
    fn every_key_says_what_it_does() {
        for key in KEYS.iter().filter(|key| key.fate == Fate::Used) {
            assert!(!key.meaning.is_empty(), "{}: say in one line what it does: key(…).says(\"…\")", key.path);
            assert!(!key.default.is_empty(), "{}: say what it is if nobody says", key.path);
        }
    }

    #[test]
    fn no_key_is_there_twice() {
        for (at, key) in KEYS.iter().enumerate() {
            assert!(KEYS[at + 1..].iter().all(|other| other.path != key.path), "{}", key.path);
        }
    }
}
