//! What the core asks for.

use protocol::component::ComponentInfo;
use protocol::database::DatabaseQuestion;
use protocol::id::{ActorId, Generation, NamespaceId, RequestId, RunnerId};
use protocol::message::{Checkpoint, KvChange, KvSpace, Start, ToRunner};

use crate::deletion::Progress;
use crate::input::{CallId, CommitId, KeyRef};
use crate::quotas::InUse;
use crate::record::{ActorError, ActorRecord, Change, DeploymentRecord, NamespaceRecord, PoolError, TokenRecord};
use crate::refusal::Refusal;

#[derive(Debug)]
pub enum Action {
    /// Read an actor's record; answered by `Input::ActorLoaded`.
    LoadActor {
        actor: ActorId,
    },
    /// Read which actor holds this key, and its record; answered by `Input::KeyLoaded`.
    LoadKey {
        key: KeyRef,
    },
    /// Read the next alarms in order of (moment, actor), from this one on, at most so many; answered by `Input::AlarmsLoaded`.
    LoadAlarms {
        from: Option<(u64, ActorId)>,
        limit: usize,
    },
    /// Read what the actor's entries and its namespace have stored, and what these changes would make of the entries. None of the
    /// actor's own is on its way to the disk. Answered by `Input::Weighed`.
    Weigh {
        actor: ActorId,
        namespace: NamespaceId,
        changes: Vec<(KvSpace, Vec<KvChange>)>,
    },
    /// Read which actors a namespace still has: living ones, or records of destroyed ones; at most so many. Answered by
    /// `Input::NamespaceLoaded`.
    LoadNamespace {
        namespace: NamespaceId,
        destroyed: bool,
        limit: usize,
    },
    /// Make this durable, after all earlier commits; answered by `Input::Committed`.
    Commit {
        commit: CommitId,
        changes: Vec<Change>,
    },
    ToRunner {
        runner: RunnerId,
        message: ToRunner,
    },
    /// Read these pages of the actor's database and send them to the runner as the answer to its call. If the head is another one
    /// than expected, send that.
    ReadPages {
        runner: RunnerId,
        actor: ActorId,
        call: u64,
        pages: Vec<u32>,
        expected_txid: Option<u64>,
    },
    /// Run these statements in the actor's database and answer the runner's call, after this generation's earlier ones.
    RunSql {
        runner: RunnerId,
        actor: ActorId,
        generation: Generation,
        call: u64,
        question: DatabaseQuestion,
    },
    /// What this call sealed is durable now; or it will not be committed, and the connection that has sealed it is of no use any
    /// more. Either way the actor's next statements run.
    SqlSettled {
        actor: ActorId,
        generation: Generation,
        call: u64,
        committed: bool,
    },
    /// This generation is over, and with it its connection and the transaction that may be open.
    EndSql {
        actor: ActorId,
        generation: Generation,
    },
    /// To be noted in the actor's log: this generation has ended. Not durable, and for nobody to rely on.
    NoteEnd {
        actor: ActorId,
        generation: Generation,
        end: NotedEnd,
    },
    /// Close the runner's connection: it is to end, and not to come back.
    EvictRunner {
        runner: RunnerId,
    },
    /// The runner has been away for too long, or has left in order: who comes under its name is a new one.
    ForgetRunner {
        runner: RunnerId,
    },
    /// Call the pool's URL to start this actor; answered by `Input::CalledOut`.
    CallOut {
        namespace: NamespaceId,
        pool: String,
        checkpoint: Checkpoint,
        start: Box<Start>,
    },
    /// Nothing more is wanted of that call. `taken`: a runner of the pool has had the actor, so that the call has done what it was
    /// made for, and whoever answers it may have something left to do.
    EndCallOut {
        actor: ActorId,
        generation: Generation,
        taken: bool,
    },
    /// The socket's actor is told to stop: what the client sends from now on is for the next generation.
    HoldBack {
        request: RequestId,
    },
    /// The socket's actor does not run any more, and the client's side stays open. What the client sends wakes the actor.
    Hibernate {
        request: RequestId,
    },
    /// Send the request, whose head and body the server holds, to this runner. A socket that hibernated goes on.
    Dispatch {
        request: RequestId,
        runner: RunnerId,
        actor: ActorId,
        generation: Generation,
    },
    /// This request of an actor is over, because nobody waits for it any more: whoever handles it is told.
    Abandon {
        request: RequestId,
    },
    /// Answer the request with an error. Whatever arrives for it later is dropped.
    Refuse {
        request: RequestId,
        refusal: Refusal,
    },
    Reply {
        call: CallId,
        result: Result<Answer, Refusal>,
    },
}

/// How a generation ended, for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NotedEnd {
    Slept,
    /// Its next generation starts elsewhere, or as another version.
    Moved,
    Destroyed,
    Crashed(Option<String>),
    NoRoom(String),
    /// It goes on with the version that wrote its state.
    NotMigrated(String),
    Lost(ActorError),
}

/// What an API call is answered with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    Namespace(Box<NamespaceRecord>),
    Quotas {
        record: Box<NamespaceRecord>,
        in_use: InUse,
        /// Only of one that is being deleted.
        deletion: Option<Progress>,
    },
    Actor {
        record: Box<ActorRecord>,
        created: bool,
    },
    Deployment {
        record: Box<DeploymentRecord>,
        /// The version that the call was about.
        version: u32,
    },
    Component(Box<ComponentInfo>),
    Token(Box<TokenRecord>),
    /// Actors that are still on their way to another version.
    Moving {
        left: usize,
    },
    /// Whether the address of the pool's runners has changed.
    RunnerConfig {
        endpoint_changed: bool,
    },
    Runners {
        actors: Vec<(RunnerId, u32)>,
        pool_errors: Vec<(String, PoolError)>,
    },
    Done,
}
