//! Actors that run another version than they are to run, and how they get to it.
//!
//! A running actor is told to stop and starts again at once; who calls it meanwhile waits. So many at a time, so that a thousand of
//! them do not all start in one moment. One that takes its time to stop is not waited for by the others.

use std::collections::{BTreeMap, BTreeSet};

use protocol::id::{ActorId, NamespaceId};
use protocol::message::StopReason;

use crate::action::Answer;
use crate::core::{ActorThen, Core};
use crate::input::CallId;
use crate::life::{End, Life};
use crate::record::{ActorRecord, After, Change, HeldBack};
use crate::refusal::Refusal;

/// Actors that may be between two versions at one time.
pub const MOVES_IN_FLIGHT_MAX: usize = 64;
/// For so long one of these keeps others from beginning.
const MOVE_COUNTS_MS: u64 = 1_000;

#[derive(Default)]
pub(crate) struct Moves {
    /// To be told to stop.
    waiting: BTreeSet<ActorId>,
    /// Told to stop and not running again, and until when each counts.
    under_way: BTreeMap<ActorId, u64>,
    /// Those of them that count.
    counting: BTreeSet<(u64, ActorId)>,
}

impl Moves {
    /// When the next ones may begin, if time is all that they wait for.
    pub fn next_ms(&self) -> Option<u64> {
        self.counting.first().filter(|_| !self.waiting.is_empty()).map(|(until_ms, _)| *until_ms)
    }

    pub fn under_way(&self) -> impl Iterator<Item = ActorId> {
        self.under_way.keys().copied()
    }

    /// It runs, or will not for now.
    pub fn settled(&mut self, id: ActorId) {
        if let Some(until_ms) = self.under_way.remove(&id) {
            self.counting.remove(&(until_ms, id));
        }
    }
}

impl Core {
    /// Something was decided about this deployment: whoever runs another version than it should is moved.
    pub(crate) fn move_actors_of(&mut self, namespace: NamespaceId, name: &str) {
        let of_name = self.actors.iter().filter(|(_, actor)| actor.record.namespace == namespace && actor.record.name == name);
        let wrong: Vec<ActorId> = of_name.map(|(id, _)| *id).filter(|id| self.runs_another_version(*id)).collect();
        self.moves.waiting.extend(wrong);
        self.move_on();
    }

    /// It is on a runner, and not with the version that it is to run.
    fn runs_another_version(&self, id: ActorId) -> bool {
        let Some(actor) = self.actors.get(&id) else { return false };
        let on_runner = matches!(actor.life, Life::Starting { .. } | Life::Running { .. });
        on_runner && matches!(self.version_for(&actor.record), Some(Ok(version)) if actor.version != Some(version.number))
    }

    /// The next ones, as many as may.
    pub(crate) fn move_on(&mut self) {
        while self.moves.counting.first().is_some_and(|(until_ms, _)| *until_ms <= self.now_ms) {
            self.moves.counting.pop_first();
        }
        while self.moves.counting.len() < self.config.moves_in_flight_max {
            let Some(id) = self.moves.waiting.pop_first() else { return };
            if !self.runs_another_version(id) {
                continue;
            }
            let until_ms = self.now_ms + MOVE_COUNTS_MS;
            self.moves.settled(id);
            self.moves.under_way.insert(id, until_ms);
            self.moves.counting.insert((until_ms, id));
            self.stop(id, StopReason::GoingAway, After::Start);
        }
    }

    /// How many actors of a name are still to be moved, or on their way.
    pub(crate) fn moves_left(&self, namespace: NamespaceId, name: &str) -> usize {
        let waiting = self.moves.waiting.iter().filter(|id| self.runs_another_version(**id));
        let moving: BTreeSet<&ActorId> = waiting.chain(self.moves.under_way.keys()).collect();
        let of_name = |id: &&ActorId| {
            self.actors.get(id).is_some_and(|actor| actor.record.namespace == namespace && actor.record.name == name)
        };
        moving.into_iter().filter(of_name).count()
    }

    /// The version that runs it has written its state, or has found it good.
    pub(crate) fn state_is_its_versions(&mut self, id: ActorId) -> Vec<Change> {
        let Some(actor) = self.actors.get_mut(&id) else { return Vec::new() };
        if actor.version.is_none() || actor.version == actor.record.state_version {
            return Vec::new();
        }
        actor.record.state_version = actor.version;
        let mut changes = self.forget_held_back(id);
        if let Some(actor) = self.actors.get(&id) {
            changes.push(Change::PutActor(Box::new(actor.record.clone())));
        }
        changes
    }

    fn forget_held_back(&mut self, id: ActorId) -> Vec<Change> {
        let Some(actor) = self.actors.get_mut(&id) else { return Vec::new() };
        let (namespace, name) = (actor.record.namespace, actor.record.name.clone());
        match actor.record.held_back.take() {
            Some(_) => vec![Change::DeleteHeldBack { actor: id, namespace, name }],
            None => Vec::new(),
        }
    }

    /// Its state could not be migrated to the version that it was started with: it goes on with the one that wrote its state.
    pub(crate) fn not_migrated(&mut self, id: ActorId, message: String) {
        let Some(actor) = self.actors.get(&id) else { return };
        let (Some(version), Some(wrote)) =
            (actor.version, actor.record.state_version.filter(|wrote| actor.version != Some(*wrote)))
        else {
            // It has written as this version already, so there is no way back.
            return self.ended(id, End::Crashed(Some(message)));
        };
        let (namespace, name, attempt) = (actor.record.namespace, actor.record.name.clone(), actor.attempt);
        self.keep_version(namespace, &name, wrote);
        if let Some(actor) = self.actors.get_mut(&id) {
            actor.record.held_back = Some(Box::new(HeldBack { version, attempt, message }));
        }
        self.ended(id, End::NotMigrated);
    }

    /// What its record says of that, in the list of those of its name.
    pub(crate) fn note_held_back(&self, id: ActorId, end: &End) -> Vec<Change> {
        match (end, self.actors.get(&id).map(|actor| &actor.record)) {
            (End::NotMigrated, Some(ActorRecord { namespace, name, held_back: Some(held), .. })) => {
                vec![Change::PutHeldBack { actor: id, namespace: *namespace, name: name.clone(), held: held.clone() }]
            }
            _ => Vec::new(),
        }
    }

    /// It is to run this version from now on, or what others run.
    pub(crate) fn pin(&mut self, id: ActorId, call: CallId, pin: Option<u32>) {
        let Some(actor) = self.actors.get(&id) else { return };
        let (namespace, name) = (actor.record.namespace, actor.record.name.clone());
        if let Some(number) = pin {
            let refusal = match self.deployment(namespace, &name) {
                None => Some(Refusal::DeploymentNotFound { name: name.clone() }),
                Some(deployment) if deployment.version(number).is_none() => {
                    Some(Refusal::VersionNotFound { name: name.clone(), version: number })
                }
                Some(_) => None,
            };
            if let Some(refusal) = refusal {
                return self.reply(call, Err(refusal));
            }
            self.keep_version(namespace, &name, number);
        }
        // Who pins it, or sets it free, wants it to be tried.
        let mut changes = self.forget_held_back(id);
        let Some(actor) = self.actors.get_mut(&id) else { return };
        actor.record.pin = pin;
        let life = actor.life;
        changes.push(Change::PutActor(Box::new(actor.record.clone())));
        self.commit_actor(id, changes, ActorThen::Told { call, answer: Answer::Done });
        if life == Life::Unplaced {
            self.place(id, Vec::new(), None);
        } else if self.runs_another_version(id) {
            self.moves.waiting.insert(id);
        }
    }
}
