//! What the core asks for.

use protocol::id::{ActorId, Generation, RequestId, RunnerId};
use protocol::message::ToRunner;

use crate::input::{CallId, CommitId, KeyRef};
use crate::record::{ActorRecord, Change, DeploymentRecord, NamespaceRecord};
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
    /// Make this durable, after all earlier commits; answered by `Input::Committed`.
    Commit {
        commit: CommitId,
        changes: Vec<Change>,
    },
    ToRunner {
        runner: RunnerId,
        message: ToRunner,
    },
    /// Send the request, whose head and body the server holds, to this runner.
    Dispatch {
        request: RequestId,
        runner: RunnerId,
        actor: ActorId,
        generation: Generation,
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

/// What an API call is answered with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    Namespace(NamespaceRecord),
    Actor { record: Box<ActorRecord>, created: bool },
    Deployment(Box<DeploymentRecord>),
    Done,
}
