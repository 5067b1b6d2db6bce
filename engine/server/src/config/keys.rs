//! Every key that a configuration may have: what it takes, what it does, and what it is if nobody says.
//!
//! One table. Reading, checking, `config show` and the warnings about keys without effect all go through it, so that a key is
//! known in one place. The names are the original's, where it has them.

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
}

impl Key {
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
    Key { path, kind, fate: Fate::Used, default }
}

const fn idle(path: &'static str, kind: Kind, why: &'static str) -> Key {
    Key { path, kind, fate: Fate::Idle(why), default: "" }
}

const fn none(path: &'static str, kind: Kind, why: &'static str) -> Key {
    Key { path, kind, fate: Fate::NoEffect(why), default: "" }
}

const fn refused(path: &'static str, remedy: &'static str) -> Key {
    Key { path, kind: Kind::Any, fate: Fate::Refused(remedy), default: "" }
}

const PORT: Kind = Kind::Whole { min: 0, max: 65_535 };
const LABEL: Kind = Kind::Whole { min: 1, max: 65_535 };
const COUNT: Kind = Kind::Whole { min: 0, max: u64::MAX };
const SOME: Kind = Kind::Whole { min: 1, max: u32::MAX as u64 };
/// A day: a longer wait is a typing error.
const MS: Kind = Kind::Whole { min: 1, max: 24 * 60 * 60_000 };
/// The same.
const SECONDS: Kind = Kind::Whole { min: 0, max: 24 * 60 * 60 };
/// A log that keeps nothing would be none.
const ENTRIES: Kind = Kind::Whole { min: 1_000, max: 1_000_000_000 };
const DOUBLINGS: Kind = Kind::Whole { min: 0, max: 32 };
const REDIRECTS: Kind = Kind::Whole { min: 0, max: 20 };

const POLLED: &str = "nothing here waits for a database to be polled";
const ROUTED: &str = "routing looks nothing up over a network: it has no phases to time out";
const SHED: &str = "the engine does not refuse work because the machine is busy";
const ONE: &str = "there is one datacenter, and nothing is sent between datacenters";
const FIXED: &str = "fixed: see docs/API.md and docs/OPERATIONS.md";
const NO_FDB: &str = "there is no such store here; remove it, and name a folder with file_system.path";

pub const KEYS: &[Key] = &[
    key("auth.admin_token", Kind::Secret, "none: no authentication"),
    key("auth.gateway", Kind::Flag, "false: calls to actors need no token"),
    key("audit.entries_max", ENTRIES, "1000000"),
    key("guard.host", Kind::Text, "127.0.0.1; :: with auth.admin_token"),
    key("guard.port", PORT, "6420"),
    key("guard.actor_ready_timeout_ms", MS, "30000"),
    key("api_peer.host", Kind::Text, "guard.host"),
    key("api_peer.port", PORT, "guard.port + 1; 0: off"),
    key("metrics.host", Kind::Text, "guard.host"),
    key("metrics.port", PORT, "guard.port + 10; 0: off"),
    key("file_system.path", Kind::Text, "~/.local/share/rivet-engine/db"),
    key("database.file_system.path", Kind::Text, "file_system.path"),
    key("durability", Kind::Text, "sync"),
    key("storage.reserve_mib", COUNT, "256"),
    key("backup.dir", Kind::Text, "none: no backups"),
    key("backup.mib_per_second", COUNT, "0: as fast as the disks are"),
    key("actors.storage_mib", Kind::Whole { min: 1, max: 1 << 30 }, "as much as there is"),
    key("logs.format", Kind::Text, "text"),
    key("actor_logs.actor_kib", Kind::Whole { min: 64, max: 65_536 }, "1024"),
    key("actor_logs.total_mib", Kind::Whole { min: 64, max: 1_048_576 }, "1024"),
    key("actor_logs.max_age_hours", Kind::Whole { min: 1, max: 87_600 }, "168"),
    key("topology.datacenter_label", LABEL, "1"),
    key("topology.datacenters.*.datacenter_label", LABEL, "1"),
    key("topology.datacenters.*.public_url", Kind::Text, "from guard.host and guard.port"),
    key("topology.datacenters.*.valid_hosts", Kind::Texts, "any"),
    idle("topology.datacenters.*.name", Kind::Text, "the older form, a list"),
    idle("topology.datacenters.*.is_leader", Kind::Flag, ONE),
    idle("topology.datacenters.*.peer_url", Kind::Text, ONE),
    idle("topology.datacenters.*.proxy_url", Kind::Text, ONE),
    key("outbound.allow_loopback", Kind::Flag, "true"),
    key("outbound.allow_private_networks", Kind::Flag, "false"),
    key("outbound.allow_insecure_scheme", Kind::Flag, "true"),
    key("outbound.allow_cidrs", Kind::Texts, "none"),
    key("outbound.deny_cidrs", Kind::Texts, "none"),
    key("outbound.allow_hosts", Kind::Texts, "none"),
    key("outbound.ca_file", Kind::Text, "none: the system's authorities and Mozilla's"),
    key("outbound.max_redirects", REDIRECTS, "5"),
    key("outbound.send_admin_token", Kind::Flag, "false"),
    key("outbound.send_runner_token", Kind::Flag, "false"),
    key("pegboard.actor_start_threshold", MS, "30000"),
    key("pegboard.actor_stop_threshold", MS, "1800000"),
    key("pegboard.base_retry_timeout", MS, "2000"),
    key("pegboard.reschedule_backoff_max_exponent", DOUBLINGS, "8"),
    key("pegboard.retry_reset_duration", MS, "600000"),
    key("pegboard.envoy_lost_threshold", MS, "15000"),
    key("pegboard.envoy_ping_timeout", MS, "15000"),
    key("pegboard.envoy_update_ping_interval", MS, "3000"),
    key("pegboard.default_metadata_poll_interval", MS, "10000"),
    key("pegboard.min_metadata_poll_interval", MS, "5000"),
    key("wasm.enabled", Kind::Flag, "true"),
    key("wasm.actors_max", SOME, "what vm.max_map_count allows"),
    key("wasm.actor_memory_mib", Kind::Whole { min: 1, max: 4_096 }, "128"),
    key("wasm.memory_mib", SOME, "2048"),
    key("wasm.dirs", Kind::Texts, "none"),
    key("guard.trace_propagation", Kind::Flag, "false"),
    key("runtime.shutdown_delay_duration", SECONDS, "0"),
    key("runtime.guard_shutdown_duration", SECONDS, "10"),
    key("runtime.worker_shutdown_duration", SECONDS, "5"),
    key("runtime.force_shutdown_duration", SECONDS, "the others and 30"),
    // The other stores and buses.
    refused("postgres.**", "data would lie elsewhere than where you expect it; remove it, and name a folder with file_system.path"),
    refused("database.postgres.**", "data would lie elsewhere; remove it, and name a folder with file_system.path"),
    refused("foundationdb.**", NO_FDB),
    refused("database.foundationdb.**", NO_FDB),
    refused(
        "guard.https.**",
        "TLS is not spoken here, nor does the original's listener work; end TLS in a proxy before the engine",
    ),
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
    none("guard.http_max_request_body_size", COUNT, FIXED),
    none("guard.websocket_max_message_size", COUNT, FIXED),
    none("guard.websocket_max_frame_size", COUNT, FIXED),
    none("guard.enable_websocket_health_route", Kind::Flag, "GET /health is what to ask"),
    none("guard.tcp_nodelay", Kind::Flag, "always on"),
    none("guard.rate_limit.requests", SOME, "no client is counted by its address; let a proxy do it"),
    none("guard.rate_limit.period_ms", MS, "no client is counted by its address; let a proxy do it"),
    none("guard.max_in_flight", SOME, "requests are bounded for the whole engine, not by address"),
    none("guard.proxy_retry_max_attempts", COUNT, "a request is sent again only if its actor never saw it"),
    none("guard.proxy_retry_initial_interval_ms", COUNT, "a request is sent again only if its actor never saw it"),
    none("guard.upstream_request_timeout_ms", MS, ONE),
    none("guard.websocket_setup_timeout_ms", MS, FIXED),
    none("guard.websocket_connect_attempt_timeout_ms", MS, FIXED),
    none("guard.websocket_send_timeout_ms", MS, FIXED),
    none("guard.websocket_flush_timeout_ms", MS, FIXED),
    none("guard.http_client_pool_idle_timeout_ms", MS, ONE),
    none("guard.admission_client_state_cache_capacity", COUNT, "no client is counted by its address"),
    none("guard.admission_client_state_cache_idle_timeout_ms", COUNT, "no client is counted by its address"),
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
    key("runtime.allow_version_rollback", Kind::Flag, "false"),
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
    fn no_key_is_there_twice() {
        for (at, key) in KEYS.iter().enumerate() {
            assert!(KEYS[at + 1..].iter().all(|other| other.path != key.path), "{}", key.path);
        }
    }
}
