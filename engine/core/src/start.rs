//! How an actor starts.

use protocol::id::{ActorId, Generation, RunnerId};
use protocol::message::{Checkpoint, Command, Start, StartReason, ToRunner};

use crate::action::{Action, Answer};
use crate::core::{ActorThen, Core};
use crate::input::CallId;
use crate::life::{Actor, Life};
use crate::place::Place;
use crate::record::{ActorError, Change};
use crate::refusal::Refusal;

impl Core {
    /// Something wants the actor to run.
    pub(crate) fn wake(&mut self, id: ActorId) {
        let Some(actor) = self.actors.get(&id) else { return };
        match actor.life {
            // It waits for that already.
            Life::Pausing if self.crashes.start_ms(id, self.now_ms).is_some_and(|start_ms| actor.timer_ms <= Some(start_ms)) => {
                self.alarm_wakes.remove(&id);
            }
            Life::Asleep | Life::Pausing => self.place(id, Vec::new(), None),
            _ => {}
        }
    }

    /// Finds a runner and makes the start durable, together with `changes` that led to it.
    pub(crate) fn place(&mut self, id: ActorId, mut changes: Vec<Change>, created_by: Option<CallId>) {
        let Some(actor) = self.actors.get(&id) else { return };
        let place = match self.deleting(actor.record.namespace) {
            Err(refusal) => Place::Refused { message: refusal.to_string() },
            Ok(()) => self.place_for(&actor.record),
        };
        let starts = matches!(place, Place::Runner { .. } | Place::Url);
        if starts && let Some(start_ms) = self.crashes.start_ms(id, self.now_ms) {
            self.awake.forget(id);
            self.unplaced.remove(&id);
            return self.pause(id, start_ms, changes, created_by);
        }
        if starts && let Some(circle) = self.crowded(&actor.record) {
            self.unplaced.remove(&id);
            return self.wait_for_place(id, circle, changes, created_by);
        }
        self.awake.forget(id);
        self.set_timer(id, None);
        self.unplaced.remove(&id);
        let now_ms = self.now_ms;
        let Some(actor) = self.actors.get_mut(&id) else { return };
        actor.record.reschedule_ms = None;
        if starts {
            // It sleeps no more, it starts.
            actor.record.sleep_ms = None;
            actor.used_ms = now_ms;
            self.awake.enter(&actor.record);
        }
        match place {
            Place::Runner { on, runner } => {
                actor.life = Life::Placing { on };
                actor.next_generation();
                actor.record.runner = Some(runner);
                actor.record.pending_ms = None;
                let generation = actor.record.generation;
                changes.push(Change::PutActor(Box::new(actor.record.clone())));
                self.board(id, on);
                self.commit_actor(id, changes, ActorThen::Start { generation, created_by });
            }
            Place::Url => {
                actor.life = Life::Calling;
                actor.next_generation();
                actor.record.by_url = true;
                // If the engine goes down now, nobody knows whether the call was made: it will be made again.
                actor.record.pending_ms.get_or_insert(now_ms);
                let generation = actor.record.generation;
                changes.push(Change::PutActor(Box::new(actor.record.clone())));
                let pool = (actor.record.namespace, actor.record.pool.clone());
                *self.running_by_url.entry(pool).or_default() += 1;
                self.commit_actor(id, changes, ActorThen::Start { generation, created_by });
            }
            Place::Nowhere(error) => {
                actor.life = Life::Unplaced;
                actor.record.pending_ms.get_or_insert(now_ms);
                actor.record.sleep_ms.get_or_insert(now_ms);
                actor.record.error.get_or_insert(error);
                changes.push(Change::PutActor(Box::new(actor.record.clone())));
                self.alarm_wakes.remove(&id);
                self.moves.settled(id);
                self.unplaced.insert(id);
                self.commit_actor(id, changes, ActorThen::Created { by: created_by });
                self.have_prepared(id);
            }
            Place::Refused { message } => {
                actor.record.error = Some(ActorError::Crashed { message: Some(message.clone()) });
                let waiting = self.nobody_waits(id);
                self.alarm_wakes.remove(&id);
                self.put_due_alarm_off(id, &mut changes);
                self.fall_asleep(id, changes, created_by);
                for request in waiting {
                    self.refuse(request, Refusal::StartFailed { actor: id, message: message.clone() });
                }
            }
        }
    }

    /// It is to run, and not before this moment.
    pub(crate) fn pause(&mut self, id: ActorId, until_ms: u64, mut changes: Vec<Change>, created_by: Option<CallId>) {
        self.alarm_wakes.remove(&id);
        self.moves.settled(id);
        let Some(actor) = self.actors.get_mut(&id) else { return };
        actor.life = Life::Pausing;
        actor.record.reschedule_ms = Some(until_ms);
        changes.push(Change::PutActor(Box::new(actor.record.clone())));
        self.set_timer(id, Some(until_ms));
        self.commit_actor(id, changes, ActorThen::Created { by: created_by });
    }

    /// A runner has come, or has become ready for a component.
    pub(crate) fn place_unplaced(&mut self) {
        for id in self.unplaced.clone() {
            let Some(actor) = self.actors.get(&id) else { continue };
            if !matches!(self.place_for(&actor.record), Place::Nowhere(_)) {
                self.place(id, Vec::new(), None);
            }
        }
    }

    pub(crate) fn actor_durable(&mut self, id: ActorId, then: ActorThen) {
        if let Some(actor) = self.actors.get_mut(&id) {
            actor.commits_in_flight -= 1;
        }
        match then {
            ActorThen::Nothing => {}
            ActorThen::Start { generation, created_by } => {
                self.created(id, created_by);
                self.send_start(id, generation);
            }
            ActorThen::Created { by } => self.created(id, by),
            ActorThen::Written { runner, generation, commit, sealed } => {
                self.grown(id);
                if let Some(call) = sealed {
                    self.act(Action::SqlSettled { actor: id, generation, call, committed: true });
                }
                if self.runners.contains_key(&runner) {
                    self.act(Action::ToRunner { runner, message: ToRunner::Committed { actor: id, generation, commit } });
                }
            }
            ActorThen::Told { call, answer } => self.reply(call, Ok(answer)),
            ActorThen::Answered { runner, answer } => {
                if matches!(*answer, ToRunner::Kv { .. } | ToRunner::Database { .. }) {
                    self.grown(id);
                }
                self.act(Action::ToRunner { runner, message: *answer });
            }
            ActorThen::Destroyed => {
                let calls = self.actors.get_mut(&id).map(|actor| std::mem::take(&mut actor.calls)).unwrap_or_default();
                self.answer_calls(calls, Ok(Answer::Done));
                if let Some(actor) = self.actors.get_mut(&id) {
                    actor.life = Life::Gone;
                    let namespace = actor.record.namespace;
                    self.ended_in(namespace, id);
                }
            }
        }
        self.forget_if_idle(id);
    }

    fn created(&mut self, id: ActorId, by: Option<CallId>) {
        // What it brought, if it comes from elsewhere.
        self.release_grant(id);
        if let (Some(call), Some(actor)) = (by, self.actors.get(&id)) {
            let record = Box::new(actor.record.clone());
            self.reply(call, Ok(Answer::Actor { record, created: true }));
        }
    }

    fn send_start(&mut self, id: ActorId, generation: Generation) {
        let Some(actor) = self.actors.get(&id).filter(|actor| actor.record.generation == generation) else { return };
        if !matches!(actor.life, Life::Placing { .. } | Life::Calling) {
            return;
        }
        if !actor.calls.is_empty() {
            return self.end(id, Vec::new());
        }
        let start = Box::new(self.start_of(actor));
        let version = self.version_for(&actor.record).and_then(Result::ok).map(|version| (version.number, version.attempt));
        let due_ms = self.now_ms + self.config.start_timeout_ms;
        let Some(actor) = self.actors.get_mut(&id) else { return };
        match actor.life {
            Life::Placing { on } => {
                // While the start became durable its runner has begun to drain, or was given up; or it is to run something else.
                let component = start.component.as_ref().map(|deployed| deployed.component);
                if self.runners.get(&on).is_none_or(|runner| runner.is_draining() || !runner.is_ready_for(component)) {
                    self.leave(id, on);
                    if let Some(actor) = self.actors.get(&id) {
                        self.awake.leave(&actor.record);
                    }
                    return self.place(id, Vec::new(), None);
                }
                actor.life = Life::Starting { on };
                (actor.version, actor.attempt) = version.map_or((None, 0), |(number, attempt)| (Some(number), attempt));
                let message = ToRunner::Command(actor.checkpoint(), Command::Start(start));
                self.act(Action::ToRunner { runner: on, message });
            }
            _ => {
                let checkpoint = Checkpoint { actor: id, generation, index: actor.start_index() };
                let (namespace, pool) = (actor.record.namespace, actor.record.pool.clone());
                self.act(Action::CallOut { namespace, pool, checkpoint, start });
            }
        }
        if let Some(actor) = self.actors.get_mut(&id) {
            actor.next_start = StartReason::Woken;
        }
        self.set_timer(id, Some(due_ms));
    }

    /// What its runner has to know.
    pub(crate) fn start_of(&self, actor: &Actor) -> Start {
        Start {
            name: actor.record.name.clone(),
            key: actor.record.key.clone(),
            create_ms: actor.record.create_ms,
            input: actor.input.clone(),
            reason: actor.next_start,
            // The version that is live now, not the one that was when the start was decided.
            component: self.deployed_for(&actor.record),
            alarm_ms: actor.record.alarm.map(|alarm| alarm.scheduled_ms),
            hibernating: actor.hibernating.iter().copied().collect(),
        }
    }

    /// It could not be started, by its pool's URL or by a runner of the pool. While somebody waits it is tried again, a few times.
    pub(crate) fn start_again(&mut self, id: ActorId, changes: Vec<Change>) {
        let (retries_max, pause_ms) = (self.config.start_retries_max, self.config.start_retry_ms);
        let due_ms = self.now_ms + pause_ms;
        let Some(actor) = self.actors.get_mut(&id) else { return };
        actor.starts_failed += 1;
        let failed = actor.starts_failed;
        if actor.is_wanted() && failed < retries_max {
            return self.pause(id, due_ms, changes, None);
        }
        actor.starts_failed = 0;
        for request in self.nobody_waits(id) {
            self.refuse(request, Refusal::WakeRetriesExceeded { actor: id, retries: failed });
        }
        self.fall_asleep(id, changes, None);
    }

    /// It runs.
    pub(crate) fn running(&mut self, id: ActorId, on: RunnerId) {
        let now_ms = self.now_ms;
        self.set_timer(id, None);
        self.alarm_wakes.remove(&id);
        self.moves.settled(id);
        let own_alarms = !self.rings(on);
        let Some(actor) = self.actors.get_mut(&id) else { return };
        actor.life = Life::Running { on };
        actor.starts_failed = 0;
        actor.used_ms = now_ms;
        actor.record.connectable_ms = Some(now_ms);
        actor.record.start_ms.get_or_insert(now_ms);
        actor.record.pending_ms = None;
        let by_url = actor.record.by_url.then(|| (actor.record.namespace, actor.record.pool.clone()));
        let alarm_due = actor.alarm_due(now_ms);
        let mut changes = self.state_is_its_versions(id);
        if own_alarms && alarm_due {
            // It was to be woken at that time, and it is awake.
            changes.extend(self.change_alarm(id, None));
        }
        let Some(actor) = self.actors.get(&id) else { return };
        if changes.is_empty() {
            changes.push(Change::PutActor(Box::new(actor.record.clone())));
        }
        self.dispatch_waiting(id);
        self.resume_sockets(id);
        self.deliver_alarm(id);
        if let Some((namespace, pool)) = by_url {
            self.url_started(namespace, &pool);
        }
        // Nobody waits for this: it is what the API shows.
        self.commit_actor(id, changes, ActorThen::Nothing);
    }
}

impl Actor {
    fn next_generation(&mut self) {
        self.record.generation += 1;
        self.record.error = None;
        self.record.stop = None;
        self.record.acked_command = 0;
        self.record.events_taken = 0;
        self.record.by_url = false;
        self.version = None;
        self.command = 0;
        self.events_acked = 0;
        self.alarm_sent = false;
        self.call_lost = false;
        self.call_over = false;
        self.stage = None;
    }
}
