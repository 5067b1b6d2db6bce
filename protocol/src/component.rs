//! What is known of a deployed component, and why one is refused.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The SHA-256 of a component's bytes: its name everywhere.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ComponentHash(pub [u8; 32]);

impl fmt::Display for ComponentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ComponentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ComponentHash {
    type Err = ();

    fn from_str(text: &str) -> Result<ComponentHash, ()> {
        if text.len() != 64 || !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(());
        }
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).map_err(drop)?;
        }
        Ok(ComponentHash(bytes))
    }
}

/// A handler that a component may export.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Handler {
    /// `rivet:actor/start-handler`
    Start,
    /// `rivet:actor/stop-handler`
    Stop,
    /// `rivet:actor/alarm-handler`
    Alarm,
    /// `rivet:actor/http-handler`
    Http,
    /// `wasi:http/incoming-handler`
    WasiHttp,
    /// `rivet:actor/migrate-handler`
    Migrate,
    /// `rivet:actor/action-handler`
    Action,
    /// `rivet:actor/queue-handler`
    Queue,
    /// `rivet:actor/connection-handler`
    Connection,
    /// `rivet:actor/websocket-handler`
    Websocket,
}

/// What a deployment gives its actors beside code, and what it holds them to.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Settings {
    /// What `config.get` finds.
    pub config: BTreeMap<String, String>,
    /// The same, but shown to nobody else.
    pub secrets: BTreeMap<String, String>,
    /// Where outgoing requests may go: `host`, `host:port`, `*.host`, an address or a range of addresses. Nowhere by default.
    pub outbound: Vec<String>,
    pub limits: ActorLimits,
    /// How many requests of each actor the engine records; none: as many as it does by itself. Not said to runners.
    pub record_requests: Option<u32>,
}

/// Secrets are not for logs: of these the names.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings { config, secrets, outbound, limits, record_requests } = self;
        let secrets: Vec<&String> = secrets.keys().collect();
        write!(f, "Settings {{ config: {config:?}, secrets: {secrets:?}, outbound: {outbound:?}, limits: {limits:?}, ")?;
        write!(f, "record_requests: {record_requests:?} }}")
    }
}

/// Limits of each actor of a deployment, and one of all of them; none: the runner's own. None can be above the runner's own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ActorLimits {
    /// Processor time of one message.
    pub cpu_ms: Option<u32>,
    pub memory_bytes: Option<u64>,
    /// A request's body, an action's arguments, a message of a socket or of the queue.
    pub message_bytes: Option<u64>,
    /// Messages that stand in line.
    pub mailbox: Option<u32>,
    pub sockets: Option<u32>,
    /// How long somebody waits for an action, its waits included.
    pub action_ms: Option<u32>,
    /// What the actor stores: keys and values of its KV and of what the runner keeps for it, and its database. Held by the engine.
    pub storage_bytes: Option<u64>,
    /// Actors of the deployment that are awake at one time. Held by the engine.
    pub awake: Option<u32>,
}

/// What a runner found when it prepared a component.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ComponentInfo {
    pub handlers: Vec<Handler>,
    /// Interfaces it imports, as written in it.
    pub imports: Vec<String>,
    pub bytes: u64,
    pub compiled_bytes: u64,
    /// 0 when it was already compiled.
    pub compile_ms: u64,
}

/// Why a component cannot be deployed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ComponentRefusal {
    pub kind: ComponentRefusalKind,
    /// A sentence for people: what, which, and what to do.
    pub message: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ComponentRefusalKind {
    /// Not WebAssembly, a core module, or damaged.
    Malformed,
    /// It imports something that is not offered.
    UnknownImport,
    /// It exports no handler that the engine could call, or one with another signature.
    NoHandler,
    /// Valid, and more than the compiler or a limit can take.
    TooLarge,
    /// The runner could not do it, through no fault of the component.
    Internal,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_reads_as_it_is_written() {
        let hash = ComponentHash(std::array::from_fn(|at| at as u8 * 7));
        assert_eq!(hash.to_string().parse(), Ok(hash));
        for text in ["", "ab", &"g".repeat(64), &"A".repeat(64), &"ö".repeat(32)] {
            assert_eq!(text.parse::<ComponentHash>(), Err(()), "{text}");
        }
    }
}
