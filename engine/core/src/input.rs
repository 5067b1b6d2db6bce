//! What the core is told.

use bytes::Bytes;
use protocol::component::ComponentHash;
use protocol::id::{ActorId, NamespaceId, RequestId, RunnerId};
use protocol::message::{FromRunner, RunnerProfile};

use crate::record::{ActorRecord, CrashPolicy, DeploymentRecord, NamespaceRecord};

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
    },
    /// A dispatched request is over: answered to the last byte, or failed on the way.
    RequestEnded {
        request: RequestId,
    },
    /// The client is gone.
    RequestAborted {
        request: RequestId,
    },
    /// An API call. Ends with exactly one `Reply`.
    Call {
        call: CallId,
        operation: Operation,
    },
    RunnerJoined {
        runner: RunnerId,
        profile: RunnerProfile,
    },
    RunnerLeft {
        runner: RunnerId,
    },
    /// `Event`, `Commit`, `Prepared` and `RequestReturned`; the other messages do not concern the core.
    FromRunner {
        runner: RunnerId,
        message: FromRunner,
    },
    /// The answer to `Action::LoadActor`.
    ActorLoaded {
        actor: ActorId,
        found: Option<Box<LoadedActor>>,
    },
    /// The answer to `Action::LoadKey`.
    KeyLoaded {
        key: KeyRef,
        found: Option<Box<LoadedActor>>,
    },
    /// The answer to `Action::LoadAlarms`: in order of (moment, actor), and whether these are all there are from there on.
    AlarmsLoaded {
        alarms: Vec<(u64, ActorId)>,
        complete: bool,
    },
    /// This commit is durable, and so are all that were asked for before it.
    Committed {
        commit: CommitId,
    },
    /// Time has passed.
    Tick,
}

#[derive(Debug, Default)]
pub struct Boot {
    pub namespaces: Vec<NamespaceRecord>,
    pub deployments: Vec<DeploymentRecord>,
    /// Actors that were awake when the engine went down.
    pub awake: Vec<LoadedActor>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoadedActor {
    pub record: ActorRecord,
    pub input: Option<Bytes>,
}

/// Which actor a request is for.
#[derive(Clone, Debug)]
pub enum Target {
    Id(ActorId),
    Key {
        namespace: String,
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
    /// The component's bytes are already stored under their hash.
    Deploy {
        namespace: String,
        name: String,
        pool: String,
        component: ComponentHash,
    },
    /// Makes an earlier version live again.
    Activate {
        namespace: String,
        name: String,
        version: u32,
    },
}
