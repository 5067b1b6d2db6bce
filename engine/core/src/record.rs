//! What is persisted: of an actor, a namespace, a deployment.
//!
//! These are values; how they are laid out in bytes, with a version in front, is the store's business.

use bytes::Bytes;
use protocol::component::{ComponentHash, ComponentInfo};
use protocol::id::{ActorId, Generation, NamespaceId};
use protocol::message::KvChange;
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
    /// The key of the runner that this generation was given to; none while it is on no runner.
    pub runner: Option<String>,
    pub alarm: Option<Alarm>,
    /// Crashes since it last ran well for a while.
    pub crashes: u32,
}

impl ActorRecord {
    /// On a runner, or to be started on one: listed in the store's index of actors to look at when the engine starts.
    pub fn is_awake(&self) -> bool {
        self.destroy_ms.is_none() && (self.runner.is_some() || self.reschedule_ms.is_some() || self.pending_ms.is_some())
    }
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
        now_ms: u64,
        changes: Vec<KvChange>,
    },
    PutNamespace(NamespaceRecord),
    PutDeployment(Box<DeploymentRecord>),
}
