//! What the engine asks of its clients, and how it speaks TLS to them, as it was said.

use std::path::PathBuf;

use protocol::limits::SOCKET_MESSAGE_BYTES_MAX;

use crate::config::said::All;
use crate::config::{ConfigError, Listen, host, networks};
use crate::serverless::policy::Network;

/// How much one client may do, and how long it may take to say what it wants.
#[derive(Clone, Debug)]
pub struct EdgeConfig {
    pub requests: u32,
    /// In which so many requests may be made.
    pub period_ms: u64,
    pub in_flight_max: u32,
    pub connections_max: u32,
    /// Clients that are remembered.
    pub clients_max: usize,
    /// Whom none of this counts.
    pub exempt: Vec<Network>,
    /// Who may say whom a request is from.
    pub trusted_proxies: Vec<Network>,
    /// Of a request to an actor.
    pub body_bytes_max: u64,
    /// Of a client's WebSocket.
    pub message_bytes_max: usize,
    /// From one byte of a body to the next.
    pub body_idle_ms: u64,
    /// For the head of a request.
    pub head_ms: u64,
}

impl Default for EdgeConfig {
    fn default() -> EdgeConfig {
        let loopback = ["127.0.0.0/8", "::1"].map(|network| network.parse().expect("it is a network"));
        EdgeConfig {
            requests: 10_000,
            period_ms: 60_000,
            in_flight_max: 2_000,
            connections_max: 2_048,
            clients_max: 10_000,
            exempt: loopback.to_vec(),
            trusted_proxies: Vec::new(),
            body_bytes_max: protocol::limits::REQUEST_BODY_BYTES_MAX,
            message_bytes_max: SOCKET_MESSAGE_BYTES_MAX,
            body_idle_ms: 60_000,
            head_ms: 30_000,
        }
    }
}

/// Where TLS is spoken, and with which certificates.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpsConfig {
    pub listen: Listen,
    /// The first is shown to whoever asks for no name that another has.
    pub pairs: Vec<Pair>,
}

/// Files of one certificate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pair {
    /// As metrics and sentences call it.
    pub name: &'static str,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

pub fn read(said: &All) -> Result<EdgeConfig, ConfigError> {
    let default = EdgeConfig::default();
    let exempt = match said.find("guard.exempt_cidrs") {
        Some(_) => networks(said, "guard.exempt_cidrs")?,
        None => default.exempt,
    };
    Ok(EdgeConfig {
        requests: said.whole("guard.rate_limit.requests").unwrap_or(default.requests),
        period_ms: said.whole("guard.rate_limit.period_ms").unwrap_or(default.period_ms),
        in_flight_max: said.whole("guard.max_in_flight").unwrap_or(default.in_flight_max),
        connections_max: said.whole("guard.max_connections").unwrap_or(default.connections_max),
        clients_max: said.whole("guard.admission_client_state_cache_capacity").unwrap_or(default.clients_max),
        exempt,
        trusted_proxies: networks(said, "guard.trusted_proxies")?,
        body_bytes_max: said.whole("guard.http_max_request_body_size").unwrap_or(default.body_bytes_max),
        message_bytes_max: said.whole("guard.websocket_max_message_size").unwrap_or(default.message_bytes_max),
        body_idle_ms: said.whole("guard.request_body_idle_timeout_ms").unwrap_or(default.body_idle_ms),
        head_ms: said.whole("guard.request_head_timeout_ms").unwrap_or(default.head_ms),
    })
}

/// None if no port is named for it.
pub fn https(said: &All, guard: &Listen) -> Result<Option<HttpsConfig>, ConfigError> {
    let mut pairs = Vec::new();
    for name in ["api", "actor"] {
        let [certificate, key] = ["cert", "key"].map(|part| format!("guard.https.tls.{name}_{part}_path"));
        match (path(said, &certificate)?, path(said, &key)?) {
            (Some(certificate), Some(key)) => pairs.push(Pair { name, certificate, key }),
            (Some(_), None) => return Err(said.wrong(&certificate, &format!("a certificate needs its key; name it with {key}"))),
            (None, Some(_)) => return Err(said.wrong(&key, &format!("a key needs its certificate; name it with {certificate}"))),
            (None, None) => {}
        }
    }
    let port = said.whole("guard.https.port").unwrap_or(0);
    match (port, pairs.first()) {
        (0, None) => Ok(None),
        (0, Some(_)) => {
            // Named to be used: without a port nobody would be served by them.
            let what = "certificates are named and no port; name one with guard.https.port";
            match said.find("guard.https.port") {
                Some(_) => Ok(None),
                None => Err(ConfigError(format!("guard.https.tls: {what}, or set that to 0"))),
            }
        }
        (_, None) => {
            let what = "a port for TLS needs a certificate; name one with guard.https.tls.api_cert_path and api_key_path";
            Err(said.wrong("guard.https.port", what))
        }
        (port, Some(_)) => {
            let host = host(said, "guard.https.host")?.unwrap_or_else(|| guard.host.clone());
            Ok(Some(HttpsConfig { listen: Listen { host, port }, pairs }))
        }
    }
}

fn path(said: &All, key: &str) -> Result<Option<PathBuf>, ConfigError> {
    said.read(key, |text| match text {
        "" => Err("the path is empty; name a file, or leave the key out".to_string()),
        path => Ok(PathBuf::from(path)),
    })
}
