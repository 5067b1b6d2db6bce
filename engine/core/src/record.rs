//! What is persisted: of an actor, a namespace, a deployment.
//!
//! These are values; how they are laid out in bytes, with a version in front, is the store's business.

use bytes::Bytes;
use protocol::component::{ComponentHash, ComponentInfo};
use protocol::database::Page;
use protocol::id::{ActorId, Generation, NamespaceId};
use protocol::message::{KvChange, KvSpace, RunnerProfile, RunnerProtocol, Serves, StopReason};
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
}

impl DeploymentRecord {
    pub fn live_version(&self) -> &VersionRecord {
        self.versions.iter().find(|version| version.number == self.live).expect("the live version is kept")
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VersionRecord {
    pub number: u32,
    pub component: ComponentHash,
    pub info: ComponentInfo,
    pub deploy_ms: u64,
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

/// The state of an actor's SQLite database; none that was never written has one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct DatabaseHead {
    /// How many commits there were.
    pub txid: u64,
    pub size_pages: u32,
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
    /// Once, with the last `PutActor`: key, state, input and alarm go; the record and its place in the lists stay.
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
    PutNamespace(NamespaceRecord),
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
}
