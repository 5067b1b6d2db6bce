//! A namespace goes, with everything in it.
//!
//! From the moment at which the wish is on disk nobody can use it: its name is refused, none of its actors starts. Then, in steps:
//! its actors are destroyed, a page of them at a time; the records of destroyed ones are removed, a page at a time; and one last
//! commit takes what is left and sets the name free. What has to be done next is what is on disk, so a restart goes on from there.

use std::collections::BTreeSet;

use protocol::id::{ActorId, NamespaceId, RunnerId};
use protocol::message::Serves;

use crate::action::{Action, Answer};
use crate::api::{ActorCall, ActorOperation};
use crate::core::{Core, Then};
use crate::input::CallId;
use crate::life::Life;
use crate::record::{Change, Listed};
use crate::refusal::Refusal;

/// Actors that are destroyed at one time, and records that are removed with one commit.
pub const PAGE_ACTORS: usize = 64;
/// How long an actor of such a namespace may take to stop.
pub const STOP_MS: u64 = 10_000;
/// It is there from the start, and clients take it for granted.
const KEPT: &str = "default";
/// A call of the core's own: nobody waits for its answer.
pub(crate) const NOBODY: CallId = CallId(u64::MAX);

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    pub stage: Stage,
    /// Actors that are still there.
    pub actors_left: u64,
    /// Records of destroyed actors that were removed since the engine started.
    pub records_removed: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Its actors are being destroyed.
    Actors,
    /// The records of destroyed actors are being removed.
    Records,
    /// What is left is about to go.
    Last,
}

pub(crate) struct Deletion {
    stage: Stage,
    /// A page is being read, or a commit is on its way.
    waits: bool,
    /// Those of the page that are not destroyed yet.
    ending: BTreeSet<ActorId>,
    removed: u64,
}

impl Core {
    pub(crate) fn delete_namespace(&mut self, call: CallId, name: String) -> Result<(), Refusal> {
        let now_ms = self.now_ms;
        let Some(record) = self.namespaces.get_mut(&name) else { return Err(Refusal::NamespaceNotFound { namespace: name }) };
        if name == KEPT {
            return Err(Refusal::NamespaceKept { namespace: name });
        }
        let namespace = record.id;
        if record.delete_ms.is_some() {
            self.reply_when_durable(call, self.about_quotas(&name));
            return Ok(());
        }
        record.delete_ms = Some(now_ms);
        let mut changes = vec![Change::PutNamespace(record.clone())];
        let pools: Vec<String> = self.pools.keys().filter(|(of, _)| *of == namespace).map(|(_, pool)| pool.clone()).collect();
        for pool in pools {
            self.pools.remove(&(namespace, pool.clone()));
            changes.push(Change::DeleteRunnerConfig { namespace, pool });
        }
        let tokens: Vec<String> =
            self.tokens.values().filter(|token| token.namespace == Some(namespace)).map(|token| token.id.clone()).collect();
        for id in tokens {
            self.tokens.remove(&id);
            changes.push(Change::DeleteToken { id });
        }
        self.commit(changes, Then::Deleting { call, name, namespace });
        Ok(())
    }

    pub(crate) fn is_deleting(&self, namespace: NamespaceId) -> bool {
        let record = self.namespace_names.get(&namespace).and_then(|name| self.namespaces.get(name));
        record.is_some_and(|record| record.delete_ms.is_some())
    }

    pub(crate) fn deleting(&self, namespace: NamespaceId) -> Result<(), Refusal> {
        match self.is_deleting(namespace) {
            true => Err(Refusal::NamespaceDeleting { namespace: self.namespace_names[&namespace].clone() }),
            false => Ok(()),
        }
    }

    pub(crate) fn deletion(&self, namespace: NamespaceId) -> Option<Progress> {
        let actors_left = self.usage.get(&namespace).map_or(0, |usage| usage.actors);
        let (stage, records_removed) = match self.deletions.get(&namespace) {
            Some(deletion) => (deletion.stage, deletion.removed),
            None => (Stage::Actors, 0),
        };
        self.is_deleting(namespace).then_some(Progress { stage, actors_left, records_removed })
    }

    /// The wish is on disk: now, or since before the engine started.
    pub(crate) fn begin_deletion(&mut self, namespace: NamespaceId) {
        let deletion = Deletion { stage: Stage::Actors, waits: false, ending: BTreeSet::new(), removed: 0 };
        self.deletions.insert(namespace, deletion);
        self.delete_on(namespace);
    }

    pub(crate) fn go_on_deleting(&mut self) {
        let begun: Vec<NamespaceId> =
            self.namespaces.values().filter(|record| record.delete_ms.is_some()).map(|record| record.id).collect();
        for namespace in begun {
            self.begin_deletion(namespace);
        }
    }

    fn delete_on(&mut self, namespace: NamespaceId) {
        let Some(deletion) = self.deletions.get_mut(&namespace) else { return };
        if deletion.waits || !deletion.ending.is_empty() {
            return;
        }
        deletion.waits = true;
        match deletion.stage {
            Stage::Actors => self.act(Action::LoadNamespace { namespace, destroyed: false, limit: PAGE_ACTORS }),
            Stage::Records => self.act(Action::LoadNamespace { namespace, destroyed: true, limit: PAGE_ACTORS }),
            Stage::Last => {
                let of_it = |serves: &Serves| matches!(serves, Serves::Pool { namespace: of, .. } if *of == namespace);
                let runners: Vec<RunnerId> =
                    self.runners.iter().filter(|(_, runner)| of_it(&runner.profile.serves)).map(|(id, _)| *id).collect();
                for runner in runners {
                    self.act(Action::EvictRunner { runner });
                }
                self.commit(vec![Change::DeleteNamespace { namespace }], Then::NamespaceGone { namespace });
            }
        }
    }

    /// A page of what is left.
    pub(crate) fn namespace_loaded(&mut self, namespace: NamespaceId, actors: Vec<Listed>) {
        let Some(deletion) = self.deletions.get_mut(&namespace) else { return };
        deletion.waits = false;
        match (deletion.stage, actors.is_empty()) {
            (Stage::Actors, false) => {
                deletion.ending.extend(actors.iter().map(|listed| listed.actor));
                for Listed { actor, .. } in actors {
                    self.operate_when_known(actor, ActorCall { call: NOBODY, namespace, operation: ActorOperation::Destroy });
                    // It was destroyed while the page was being read.
                    if self.actors.get(&actor).is_none_or(|actor| actor.life == Life::Gone) {
                        self.ended_in(namespace, actor);
                    }
                }
            }
            (Stage::Actors, true) => deletion.stage = Stage::Records,
            (Stage::Records, false) => {
                deletion.waits = true;
                let count = actors.len() as u64;
                let changes = vec![Change::ForgetActors { namespace, actors }];
                self.commit(changes, Then::Forgotten { namespace, count });
            }
            (Stage::Records, true) => deletion.stage = Stage::Last,
            (Stage::Last, _) => {}
        }
        self.delete_on(namespace);
    }

    pub(crate) fn records_forgotten(&mut self, namespace: NamespaceId, count: u64) {
        if let Some(deletion) = self.deletions.get_mut(&namespace) {
            deletion.waits = false;
            deletion.removed += count;
        }
        self.delete_on(namespace);
    }

    /// An actor is destroyed, and that is on disk; or there was none.
    pub(crate) fn ended_in(&mut self, namespace: NamespaceId, actor: ActorId) {
        let was_awaited = self.deletions.get_mut(&namespace).is_some_and(|deletion| deletion.ending.remove(&actor));
        if was_awaited {
            self.delete_on(namespace);
        }
    }

    /// Nothing of it is left.
    pub(crate) fn namespace_gone(&mut self, namespace: NamespaceId) {
        self.deletions.remove(&namespace);
        if let Some(name) = self.namespace_names.remove(&namespace) {
            self.namespaces.remove(&name);
        }
        self.deployments.remove(&namespace);
        self.usage.remove(&namespace);
        self.buckets.remove(&namespace);
    }

    pub(crate) fn begun_deleting(&mut self, call: CallId, name: &str, namespace: NamespaceId) {
        let answer = self.about_quotas(name);
        self.begin_deletion(namespace);
        self.reply(call, Ok(answer));
    }

    /// What is there of a namespace, which exists.
    pub(crate) fn about_quotas(&self, name: &str) -> Answer {
        let record = Box::new(self.namespaces[name].clone());
        Answer::Quotas { in_use: self.in_use(record.id), deletion: self.deletion(record.id), record }
    }
}
