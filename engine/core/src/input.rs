//! What the core is told.

use bytes::Bytes;
use protocol::component::{ComponentHash, ComponentInfo};
use protocol::database::{DatabaseAnswer, DatabaseError, Page};
use protocol::id::{ActorId, Generation, Id, NamespaceId, Partition, RequestId, RunnerId};
use protocol::message::{FromRunner, KvEntry, KvSpace, RunnerProfile};

use crate::audit::{Attempt, By};
use crate::quotas::QuotasPatch;
use crate::record::{
    ActorRecord, CrashPolicy, DatabaseHead, DeploymentRecord, Listed, NamespaceRecord, NamespaceUsage, PoolError,
    RunnerConfigRecord, RunnerRef, Share, TokenRecord,
};
use crate::settings::SettingsPatch;

/// One API call that waits for its answer; unique while the engine process lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CallId(pub u64);

/// One durable change that the core asked for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CommitId(pub u64);

#[derive(Debug)]
pub enum Input {
    /// The first input: what was found on disk.
    Booted(Boot),
    /// A client's request wants to reach an actor. Ends with exactly one of `Dispatch` or `Refuse`, unless aborted before.
    Request {
        request: RequestId,
        target: Target,
        kind: RequestKind,
        /// Goes to a runner that has the actor even if the actor is not running yet, or no more.
        skip_ready_wait: bool,
    },
    /// An actor calls another one of its namespace: as `Request`, and refused if whom it calls waits for it.
    ActorCalls { request: RequestId, runner: RunnerId, actor: ActorId, generation: Generation, callee: Callee },
    /// An actor has taken this socket. One that can hibernate outlives the actor's generation: see `Action::Hibernate`.
    SocketOpened { request: RequestId, can_hibernate: bool },
    /// A hibernating socket has something for its actor.
    SocketWakes { request: RequestId },
    /// A dispatched request is over: answered to the last byte, or failed on the way.
    RequestEnded { request: RequestId },
    /// The client is gone.
    RequestAborted { request: RequestId },
    /// An API call. Ends with exactly one `Reply`. `by`: who asks, for the audit log; none: the engine itself.
    Call { call: CallId, operation: Operation, by: Option<Box<By>> },
    /// Somebody was not allowed to do something. For the audit log.
    Attempted(Box<Attempt>),
    /// A runner has connected, for the first time or again: one that calls itself the same has the same id until
    /// `Action::ForgetRunner`.
    RunnerJoined { runner: RunnerId, profile: RunnerProfile },
    /// Its connection is gone. It may come back.
    RunnerLeft { runner: RunnerId },
    /// The engine is about to end, and this runner in its process with it: its actors fall asleep, each after its message.
    RunnerEnds { runner: RunnerId },
    /// Whether the runner has given a sign of life lately; one that has not gets no more actors.
    RunnerFresh { runner: RunnerId, fresh: bool },
    /// What became of `Action::RunSql`: the answer, and what is to be committed before it is given.
    SqlRan {
        runner: RunnerId,
        actor: ActorId,
        generation: Generation,
        call: u64,
        result: Result<DatabaseAnswer, DatabaseError>,
        changes: Option<DatabaseChanges>,
    },
    /// What became of `Action::CallOut`.
    CalledOut { actor: ActorId, generation: Generation, outcome: CallOutcome },
    /// A pool's URL says which versions it has.
    PoolAnnounces {
        namespace: NamespaceId,
        pool: String,
        envoy_version: Option<u32>,
        protocol_version: Option<u16>,
        names: Vec<(String, String)>,
    },
    /// Those that concern an actor's life or its state; the other messages go past the core.
    FromRunner { runner: RunnerId, message: FromRunner },
    /// The answer to `Action::LoadActor`.
    ActorLoaded { actor: ActorId, found: Option<Box<LoadedActor>> },
    /// The answer to `Action::LoadKey`.
    KeyLoaded { key: KeyRef, found: Option<Box<LoadedActor>> },
    /// The answer to `Action::LoadAlarms`: in order of (moment, actor), and whether these are all there are from there on.
    AlarmsLoaded { alarms: Vec<(u64, ActorId)>, complete: bool },
    /// This commit is durable, and so are all that were asked for before it.
    Committed { commit: CommitId },
    /// The answer to `Action::Weigh`: what the entries of the actor are, what they would be, and what its namespace has stored.
    Weighed { actor: ActorId, entries_bytes: u64, after_bytes: u64, namespace_bytes: u64 },
    /// The answer to `Action::LoadNamespace`.
    NamespaceLoaded { namespace: NamespaceId, actors: Vec<Listed> },
    /// Time has passed.
    Tick,
}

#[derive(Debug, Default)]
pub struct Boot {
    pub namespaces: Vec<NamespaceRecord>,
    pub deployments: Vec<DeploymentRecord>,
    pub runner_configs: Vec<RunnerConfigRecord>,
    /// What each namespace has.
    pub usage: Vec<(NamespaceId, NamespaceUsage)>,
    pub tokens: Vec<TokenRecord>,
    /// First and last number of the audit log.
    pub audit: Option<(u64, u64)>,
    /// Actors that were awake when the engine went down.
    pub awake: Vec<LoadedActor>,
    /// The runners that these were on and that may come back.
    pub runners: Vec<(RunnerId, RunnerRef)>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoadedActor {
    pub record: ActorRecord,
    pub input: Option<Bytes>,
    pub database: Option<DatabaseHead>,
    /// What the entries of both its KVs are.
    pub entries_bytes: u64,
}

/// What a transaction wrote, and the database's size after it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DatabaseChanges {
    /// The head that it read.
    pub base_txid: u64,
    pub pages: Vec<Page>,
    pub size_pages: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RequestKind {
    Http,
    Socket,
}

/// How a call to a pool's URL goes on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CallOutcome {
    /// It cannot start actors.
    Failed(PoolError),
    /// It is about to end; the actor has to go to another call.
    Stopping,
    /// It has ended.
    Ended,
}

/// Which actor a request is for.
#[derive(Clone, Debug)]
pub enum Target {
    Id(ActorId),
    /// Only if it is in this namespace, which is all that whoever asks may see.
    IdWithin {
        actor: ActorId,
        namespace: NamespaceId,
    },
    Key {
        namespace: String,
        name: String,
        key: String,
        /// Create it if there is none.
        create: Option<Box<Create>>,
    },
}

/// Which actor another one calls; in the caller's namespace.
#[derive(Clone, Debug)]
pub enum Callee {
    Id(ActorId),
    Key {
        name: String,
        key: String,
        /// Create it if there is none.
        create: Option<Box<Create>>,
    },
}

/// What is needed to create an actor, beside its name and key.
#[derive(Clone, Debug)]
pub struct Create {
    /// Becomes part of the id.
    pub random: [u8; 16],
    pub pool: String,
    pub crash_policy: CrashPolicy,
    pub input: Option<Bytes>,
}

/// The unique name of a keyed actor.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct KeyRef {
    pub namespace: NamespaceId,
    pub name: String,
    pub key: String,
}

impl Create {
    /// The new actor's.
    pub fn id(&self, datacenter_label: u16, namespace: NamespaceId, name: &str, key: Option<&str>) -> ActorId {
        Create::id_of(self.random, datacenter_label, namespace, name, key)
    }

    pub fn id_of(random: [u8; 16], datacenter_label: u16, namespace: NamespaceId, name: &str, key: Option<&str>) -> ActorId {
        let id = Id::new(random, datacenter_label);
        key.map_or(id, |key| id.in_partition(Partition::of_key(namespace, name, key)))
    }
}

/// What an actor that comes from elsewhere brings along, beside what was staged for it under the id that `create` gives it.
#[derive(Debug)]
pub struct Import {
    pub create: Create,
    pub create_ms: u64,
    /// When it first ran. Then its code is not told that it is new.
    pub start_ms: Option<u64>,
    pub alarm_ms: Option<u64>,
    /// Keys and values that were staged: its own, and what its runner keeps for it.
    pub kv_bytes: u64,
    pub runner_kv_bytes: u64,
    pub database: Option<DatabaseHead>,
}

#[derive(Debug)]
pub enum Operation {
    CreateNamespace {
        random: [u8; 16],
        name: String,
        display_name: String,
    },
    /// `POST /actors`.
    CreateActor {
        namespace: String,
        name: String,
        key: Option<String>,
        create: Create,
    },
    /// `PUT /actors`.
    GetOrCreateActor {
        namespace: String,
        name: String,
        key: String,
        create: Create,
    },
    /// A part of what an actor brings that is being imported. Nothing shows it before the actor is there.
    StageImport {
        actor: ActorId,
        entries: Vec<(KvSpace, KvEntry)>,
        pages: Vec<Page>,
    },
    /// What was staged goes, unless the actor is there.
    DropImport {
        actor: ActorId,
    },
    /// One that was exported, here or elsewhere, and is staged. Its key must be free.
    ImportActor {
        namespace: String,
        name: String,
        key: Option<String>,
        import: Box<Import>,
    },
    DestroyActor {
        namespace: String,
        actor: ActorId,
    },
    SleepActor {
        namespace: String,
        actor: ActorId,
    },
    RescheduleActor {
        namespace: String,
        actor: ActorId,
    },
    /// To run this version, whatever is live; none: no more.
    PinActor {
        namespace: String,
        actor: ActorId,
        version: Option<u32>,
    },
    /// What it handles and imports, before it is deployed. Its bytes are already stored under their hash.
    LookAtComponent {
        component: ComponentHash,
    },
    /// The component's bytes are already stored under their hash.
    Deploy {
        namespace: String,
        name: String,
        pool: String,
        component: ComponentHash,
        /// On top of those of the live version.
        settings: SettingsPatch,
        /// Only for this share of the actors.
        canary: Option<Share>,
        /// What `LookAtComponent` has found before.
        looked_at: Option<Box<ComponentInfo>>,
    },
    /// Makes an earlier version live again, for all.
    Activate {
        namespace: String,
        name: String,
        version: u32,
    },
    /// A new version of what is live, with other settings.
    Configure {
        namespace: String,
        name: String,
        settings: SettingsPatch,
        canary: Option<Share>,
    },
    /// How many actors try the canary.
    ShareCanary {
        namespace: String,
        name: String,
        share: Share,
    },
    /// Makes the canary live.
    Promote {
        namespace: String,
        name: String,
    },
    /// Actors that could not be migrated try again.
    RetryHeldBack {
        namespace: String,
        name: String,
    },
    /// How many actors are on their way to the version that they are to run.
    CountMoves {
        namespace: String,
        name: String,
    },
    /// The whole of it; the protocol version that is known stays.
    PutRunnerConfig {
        namespace: String,
        record: Box<RunnerConfigRecord>,
    },
    DeleteRunnerConfig {
        namespace: String,
        pool: String,
    },
    /// With everything in it; or how far that is.
    DeleteNamespace {
        namespace: String,
    },
    ShowQuotas {
        namespace: String,
    },
    SetQuotas {
        namespace: String,
        quotas: QuotasPatch,
    },
    /// What the namespace makes of it is in the record then: its id, and the moment.
    MintToken {
        namespace: Option<String>,
        record: Box<TokenRecord>,
    },
    /// `within`: only one of this namespace, whose name is `namespace`.
    RevokeToken {
        id: String,
        within: Option<NamespaceId>,
        namespace: Option<String>,
    },
    TouchToken {
        id: String,
        used_ms: u64,
    },
    /// Answered when everything that was decided so far is durable: what is read then is no older than what a client has seen.
    Settle,
    /// How many actors each runner of a namespace has, and each pool's error.
    ListRunners {
        namespace: String,
    },
}
