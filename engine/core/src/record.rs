//! What is persisted: of an actor, a namespace, a deployment, a token; and what was done.
//!
//! These are values; how they are laid out in bytes, with a version in front, is the store's business.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use protocol::component::{ComponentHash, ComponentInfo, Settings};
use protocol::database::{PAGE_BYTES, Page};
use protocol::id::{ActorId, Generation, NamespaceId};
use protocol::message::{KvChange, KvEntry, KvSpace, RunnerProfile, RunnerProtocol, Serves, StopReason};
use serde::{Deserialize, Serialize};

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ActorRecord {
    pub id: ActorId,
    pub namespace: NamespaceId,
    pub name: String,
    pub key: Option<String>,
    pub pool: String,
    pub crash_policy: CrashPolicy,
    /// The input itself lies under its own key, so that this record stays small.
    pub has_input: bool,
    pub create_ms: u64,
    /// When it first ran; never cleared.
    pub start_ms: Option<u64>,
    /// Since when it runs; none while it does not.
    pub connectable_ms: Option<u64>,
    /// Since when it is asleep.
    pub sleep_ms: Option<u64>,
    /// Since when it waits for a runner.
    pub pending_ms: Option<u64>,
    /// When it will be started again after a crash.
    pub reschedule_ms: Option<u64>,
    pub destroy_ms: Option<u64>,
    pub error: Option<ActorError>,
    pub generation: Generation,
    /// The runner that this generation was given to; none while it is on no runner.
    pub runner: Option<RunnerRef>,
    pub alarm: Option<Alarm>,
    /// Crashes since it last ran well for a while.
    pub crashes: u32,
    /// What its runner was told last and why, if that was to stop.
    pub stop: Option<Stop>,
    /// The last command that its runner has acknowledged.
    pub acked_command: u64,
    /// How many of its runner's events have been taken.
    pub events_taken: u64,
    /// This generation was started by a call to its pool's URL.
    pub by_url: bool,
    /// The version of its deployment that last wrote its state; none: no component ever did.
    pub state_version: Option<u32>,
    /// The version that it is to run, whatever is live.
    pub pin: Option<u32>,
    pub held_back: Option<Box<HeldBack>>,
}

impl ActorRecord {
    /// On a runner, or to be started on one: listed in the store's index of actors to look at when the engine starts.
    pub fn is_awake(&self) -> bool {
        self.destroy_ms.is_none() && (self.runner.is_some() || self.reschedule_ms.is_some() || self.pending_ms.is_some())
    }
}

/// Which runner: it has the same name for itself when it comes back, after its connection or the engine was gone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum RunnerRef {
    /// One that runs components.
    Components {
        key: String,
    },
    Envoy {
        namespace: NamespaceId,
        key: String,
    },
    /// Of the protocol before envoys. These name themselves per pool.
    Legacy {
        namespace: NamespaceId,
        pool: String,
        key: String,
    },
}

impl RunnerRef {
    pub fn of(profile: &RunnerProfile) -> RunnerRef {
        let key = profile.key.clone();
        match &profile.serves {
            Serves::Components => RunnerRef::Components { key },
            Serves::Pool { namespace, protocol: RunnerProtocol::Envoy(_), .. } => RunnerRef::Envoy { namespace: *namespace, key },
            Serves::Pool { namespace, pool, protocol: RunnerProtocol::Legacy(_), .. } => {
                RunnerRef::Legacy { namespace: *namespace, pool: pool.clone(), key }
            }
        }
    }

    pub fn key(&self) -> &str {
        match self {
            RunnerRef::Components { key } | RunnerRef::Envoy { key, .. } | RunnerRef::Legacy { key, .. } => key,
        }
    }
}

/// A command to stop, and what is to become of the actor then.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Stop {
    pub reason: StopReason,
    pub after: After,
}

/// What becomes of an actor that was told to stop.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum After {
    Sleep,
    Start,
    Destroy,
}

/// Its state could not be migrated to a version, so it goes on with the one that wrote it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HeldBack {
    /// The one that it could not be migrated to.
    pub version: u32,
    /// As that version's [`VersionRecord::attempt`] was. Another one since: it is to be tried again.
    pub attempt: u32,
    pub message: String,
}

/// What happens to an actor that crashed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CrashPolicy {
    /// It is started again: at once the first time, then after growing pauses.
    Restart,
    /// It sleeps until something wants it.
    #[default]
    Sleep,
    Destroy,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Alarm {
    /// What the actor asked for.
    pub scheduled_ms: u64,
    /// When it fires next: later than asked once its handler has failed.
    pub fire_ms: u64,
    /// How often its handler has failed.
    pub failures: u32,
}

/// Why an actor is not running, as the API shows it. The names are the original's.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActorError {
    NoEnvoys,
    Crashed {
        message: Option<String>,
    },
    EnvoyNoResponse {
        envoy_key: Option<String>,
    },
    EnvoyConnectionLost {
        envoy_key: String,
    },
    /// The runner had no room for it.
    NoCapacity,
    RunnerNoResponse {
        runner_id: String,
    },
    RunnerConnectionLost {
        runner_id: String,
    },
    RunnerPoolError(PoolError),
    ConcurrentActorLimitReached,
}

/// Why a pool whose runners are called by URL cannot start actors, as the API shows it. The names are the original's.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PoolError {
    ServerlessHttpError { status_code: u16, body: String },
    ServerlessStreamEndedEarly,
    ServerlessConnectionError { message: String },
    ServerlessInvalidSsePayload { message: String, raw_payload: Option<String> },
    Downgrade,
    InternalError,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NamespaceRecord {
    pub id: NamespaceId,
    pub name: String,
    pub display_name: String,
    pub create_ms: u64,
    pub quotas: Quotas,
    /// Since when it is being deleted, with everything in it.
    pub delete_ms: Option<u64>,
}

/// What a namespace may have at most; none: as much as there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Quotas {
    pub actors: Option<u64>,
    /// At one time.
    pub awake_actors: Option<u64>,
    /// Of all its actors together.
    pub storage_bytes: Option<u64>,
    /// Requests of clients for its actors, those for WebSockets among them.
    pub requests_per_second: Option<u64>,
    /// Names that something is deployed under.
    pub deployments: Option<u64>,
    /// Of the components of all versions that are kept.
    pub component_bytes: Option<u64>,
}

/// A component under an actor name: the versions that were deployed, and which one is live.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DeploymentRecord {
    pub namespace: NamespaceId,
    pub name: String,
    pub pool: String,
    /// The number of the live version; there is always one in `versions`.
    pub live: u32,
    /// Ascending by number. Old ones are kept so that a roll-back is a matter of pointing.
    pub versions: Vec<VersionRecord>,
    pub canary: Option<Canary>,
}

impl DeploymentRecord {
    pub fn live_version(&self) -> &VersionRecord {
        self.version(self.live).expect("the live version is kept")
    }

    pub fn version(&self, number: u32) -> Option<&VersionRecord> {
        let at = self.versions.binary_search_by_key(&number, |version| version.number).ok()?;
        self.versions.get(at)
    }

    pub(crate) fn version_mut(&mut self, number: u32) -> Option<&mut VersionRecord> {
        let at = self.versions.binary_search_by_key(&number, |version| version.number).ok()?;
        self.versions.get_mut(at)
    }

    /// The version that an actor is to run unless it is pinned or held back.
    pub fn version_of(&self, actor: ActorId) -> u32 {
        match self.canary {
            Some(canary) if canary.share.takes(actor) => canary.version,
            _ => self.live,
        }
    }

    /// Whether the actor is not to try that version (again).
    pub fn holds_back(&self, held: &HeldBack) -> bool {
        self.version(held.version).is_some_and(|version| version.attempt == held.attempt)
    }
}

/// A version that a share of the actors runs instead of the live one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Canary {
    pub version: u32,
    pub share: Share,
}

/// A part of all actors, in hundredths of a percent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Share(u16);

impl Share {
    const ALL: u16 = 10_000;

    pub fn new(hundredths_of_a_percent: u16) -> Option<Share> {
        (hundredths_of_a_percent <= Share::ALL).then_some(Share(hundredths_of_a_percent))
    }

    /// A larger share takes all that a smaller one does. Always the same: an actor must not go back and forth.
    pub fn takes(self, actor: ActorId) -> bool {
        // FNV-1a, then a mix of all bits.
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        for byte in actor.as_bytes() {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash ^= hash >> 33;
        hash % u64::from(Share::ALL) < u64::from(self.0)
    }
}

/// As people write it: `5%`, `0.25%`. The sign may be left out.
impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Share, String> {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.strip_suffix('%').unwrap_or(text);
        let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
        let share = match (whole.len(), part.len()) {
            (1..=3, 1..=2) if digits(whole) && digits(part) => {
                let tenths = if part.len() == 1 { 10 } else { 1 };
                whole
                    .parse()
                    .ok()
                    .zip(part.parse().ok())
                    .and_then(|(whole, part): (u16, u16)| Share::new(whole * 100 + part * tenths))
            }
            _ => None,
        };
        let shown: String = text.chars().take(20).collect();
        share.ok_or_else(|| format!("the share {shown:?} is none; 0% to 100% is expected, with at most two decimals"))
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 100, self.0 % 100) {
            (whole, 0) => write!(f, "{whole}%"),
            (whole, part) if part % 10 == 0 => write!(f, "{whole}.{}%", part / 10),
            (whole, part) => write!(f, "{whole}.{part:02}%"),
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VersionRecord {
    pub number: u32,
    pub component: ComponentHash,
    pub info: ComponentInfo,
    pub deploy_ms: u64,
    #[serde(with = "shared")]
    pub settings: Arc<Settings>,
    /// Raised when actors that could not be migrated to it are to try it again.
    pub attempt: u32,
    /// An actor was pinned to it or held back at it: it stays, however old it becomes.
    pub kept: bool,
}

/// Settings go along with every start, and are written as if each version had its own.
mod shared {
    use std::sync::Arc;

    use protocol::component::Settings;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(settings: &Arc<Settings>, to: S) -> Result<S::Ok, S::Error> {
        Settings::serialize(settings, to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<Settings>, D::Error> {
        Settings::deserialize(from).map(Arc::new)
    }
}

/// How a pool gets its runners.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RunnerConfigRecord {
    pub namespace: NamespaceId,
    pub pool: String,
    pub kind: PoolKind,
    pub drain_on_version_upgrade: bool,
    /// Pacing of a drain.
    pub actor_eviction_delay_s: u32,
    pub actor_eviction_period_s: u32,
    pub actor_eviction_rate: Rate,
    /// Any JSON, as text.
    pub metadata: Option<String>,
    /// The envoy protocol that a runner of this pool, or its URL, has announced last.
    pub protocol_version: Option<u16>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum PoolKind {
    /// Runners connect by themselves.
    Normal,
    /// The engine calls a URL for each start, and a runner connects while it answers.
    Serverless(Box<ServerlessConfig>),
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ServerlessConfig {
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub request_lifespan_s: u32,
    pub drain_grace_period_s: u32,
    pub max_concurrent_actors: u64,
    pub metadata_poll_interval_ms: Option<u64>,
    /// Of the legacy protocol only.
    pub slots_per_runner: u32,
    pub min_runners: u32,
    pub max_runners: u32,
    pub runners_margin: u32,
}

/// Actors a second. Two rates are the same if their bits are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rate(u32);

impl Rate {
    pub fn new(per_second: f32) -> Rate {
        Rate(per_second.to_bits())
    }

    pub fn per_second(self) -> f32 {
        f32::from_bits(self.0)
    }
}

/// What a token is for. What each may do is the server's table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything in its namespace.
    Admin,
    /// Deploys, and reads.
    Deploy,
    /// Runs actors.
    Runner,
    /// Calls actors.
    Client,
}

/// A token, without what would let somebody use it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TokenRecord {
    /// Part of the token, and no secret.
    pub id: String,
    /// SHA-256 of the token. Half of a token are 256 random bits, so a fast hash is as good as a slow one.
    pub hash: [u8; 32],
    pub role: Role,
    /// None: the whole engine.
    pub namespace: Option<NamespaceId>,
    pub name: String,
    pub create_ms: u64,
    pub expire_ms: Option<u64>,
    /// Roughly.
    pub used_ms: Option<u64>,
}

/// One entry of the audit log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AuditRecord {
    /// From 1 on, without gaps.
    pub number: u64,
    pub at_ms: u64,
    pub who: String,
    pub remote: String,
    pub request_id: String,
    pub act: String,
    /// With the name that it had.
    pub namespace: Option<(NamespaceId, String)>,
    pub target: String,
    pub details: Vec<(String, String)>,
    /// `ok`, or group and code of the error.
    pub outcome: String,
    /// How often; more than once only for what was refused.
    pub count: u32,
}

/// The state of an actor's SQLite database; none that was never written has one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct DatabaseHead {
    /// How many commits there were.
    pub txid: u64,
    pub size_pages: u32,
}

impl DatabaseHead {
    pub fn bytes(&self) -> u64 {
        u64::from(self.size_pages) * PAGE_BYTES as u64
    }
}

/// What an actor has stored, as its entries and the size of its database say it: kept in step with each commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StoredBytes {
    pub namespace: NamespaceId,
    /// Keys and values of the KV that its code sees.
    pub kv: u64,
    /// Of what a runner of components keeps for it.
    pub runner_kv: u64,
    /// All pages of its database.
    pub database: u64,
}

impl StoredBytes {
    pub fn nothing(namespace: NamespaceId) -> StoredBytes {
        StoredBytes { namespace, kv: 0, runner_kv: 0, database: 0 }
    }

    /// Of both KVs.
    pub fn entries(&self) -> u64 {
        self.kv + self.runner_kv
    }

    pub fn total(&self) -> u64 {
        self.entries() + self.database
    }
}

/// What the living actors of a namespace are and have stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct NamespaceUsage {
    pub actors: u64,
    pub bytes: u64,
}

/// An actor as a list of its namespace has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    pub actor: ActorId,
    pub name: String,
    pub create_ms: u64,
}

/// One step of a durable change. A commit is a list of them: all or nothing, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// Writes the record, and keeps the index of awake actors in step with it.
    PutActor(Box<ActorRecord>),
    /// Once, with the first `PutActor`: the input, the key's reservation, the lists by name.
    CreateActor {
        record: Box<ActorRecord>,
        input: Option<Bytes>,
    },
    /// Once, with the last `PutActor`: key, state, input, alarm and the note that it is held back go; the record and its place in the lists stay.
    DestroyActor {
        record: Box<ActorRecord>,
        /// It has a database, which goes too.
        database: bool,
    },
    PutAlarm {
        fire_ms: u64,
        actor: ActorId,
    },
    DeleteAlarm {
        fire_ms: u64,
        actor: ActorId,
    },
    Kv {
        actor: ActorId,
        space: KvSpace,
        now_ms: u64,
        changes: Vec<KvChange>,
    },
    /// Pages of an actor's database, and its new head. Pages beyond its size go.
    Database {
        actor: ActorId,
        head: DatabaseHead,
        pages: Vec<Page>,
        /// It became smaller.
        shrunk: bool,
    },
    /// Entries and pages for an actor that is not there yet.
    StageImport {
        actor: ActorId,
        entries: Vec<(KvSpace, KvEntry)>,
        pages: Vec<Page>,
    },
    /// Once, with its `CreateActor`: what was staged is the actor's, so many bytes of keys and values.
    TakeImport {
        actor: ActorId,
        kv_bytes: u64,
        runner_kv_bytes: u64,
    },
    /// What was staged goes, unless it was taken.
    DropImport {
        actor: ActorId,
    },
    /// The actor in the list of those of its name that are held back.
    PutHeldBack {
        actor: ActorId,
        namespace: NamespaceId,
        name: String,
        held: Box<HeldBack>,
    },
    DeleteHeldBack {
        actor: ActorId,
        namespace: NamespaceId,
        name: String,
    },
    PutNamespace(NamespaceRecord),
    /// Records of destroyed actors, and their places in the lists.
    ForgetActors {
        namespace: NamespaceId,
        actors: Vec<Listed>,
    },
    /// Once none of its actors has a record any more: all that is left of it.
    DeleteNamespace {
        namespace: NamespaceId,
    },
    PutDeployment(Box<DeploymentRecord>),
    PutRunnerConfig(Box<RunnerConfigRecord>),
    DeleteRunnerConfig {
        namespace: NamespaceId,
        pool: String,
    },
    /// The metadata is JSON text. A name without any that is there keeps what it has.
    PutActorName {
        namespace: NamespaceId,
        name: String,
        metadata: Option<String>,
    },
    PutToken(Box<TokenRecord>),
    DeleteToken {
        id: String,
    },
    /// One more entry of the audit log, and the one that makes room for it.
    PutAudit {
        record: Box<AuditRecord>,
        forget: Option<u64>,
    },
    /// All entries below this number go.
    ForgetAudit {
        below: u64,
    },
}

#[cfg(test)]
mod tests {
    use protocol::id::Id;

    use super::*;

    #[test]
    fn shares_read_as_they_are_written() {
        for text in ["0%", "5%", "100%", "0.25%", "0.01%", "12.5%"] {
            assert_eq!(text.parse::<Share>().map(|share| share.to_string()).as_deref(), Ok(text));
        }
        assert_eq!("7".parse(), Ok(Share(700)));
        for text in ["", "%", "-1%", "+1", "101%", "100.01%", "5%%", "1.%", ".5%", "0.001%", "1e1", "five", "99999999999%", "5 %"] {
            assert!(text.parse::<Share>().is_err_and(|why| why.contains("0% to 100%")), "{text}");
        }
    }

    #[test]
    fn a_share_takes_its_part_and_keeps_it_when_it_grows() {
        let ids: Vec<Id> = (0..20_000u128).map(|number| Id::new(number.to_le_bytes(), 1)).collect();
        let taken = |share: u16| ids.iter().filter(|id| Share(share).takes(**id)).count();
        assert_eq!((taken(0), taken(10_000)), (0, ids.len()));
        for (share, expected) in [(500, 1_000), (2_500, 5_000), (5_000, 10_000)] {
            assert!(taken(share).abs_diff(expected) < expected / 5, "{share}: {} of {}", taken(share), ids.len());
        }
        assert!(ids.iter().all(|id| !Share(500).takes(*id) || Share(2_500).takes(*id)));
    }
}
