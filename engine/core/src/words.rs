//! What an actor's runner says about it.

use protocol::id::{ActorId, Generation, RunnerId};
use protocol::limits::{FAILURE_TEXT_BYTES_MAX, cut};
use protocol::message::{
    AlarmChange, Checkpoint, Command, Commit, Event, FromRunner, KvChange, KvSpace, Outcome, StopReason, ToRunner,
};

use crate::action::Action;
use crate::core::{ActorThen, Core};
use crate::life::{Actor, End, Life};
use crate::record::{After, Alarm, Change};
use crate::storage::{Ask, bytes_put};

/// Events of one generation that its runner keeps, at least, before it is told that it need not.
const EVENTS_UNACKED_MAX: u64 = 250;
/// The index of a command that ends all: runners drop one whose index is not above all that they have seen, and take it as signed.
const COMMAND_LAST: u64 = i64::MAX as u64;
/// The original's text; clients look for it.
pub(crate) const NO_SUCH_ACTOR: &str = "actor does not exist";
/// The original's too, where it refuses.
const NOT_ITS_ACTOR: &str = "actor does not belong to runner";

impl Core {
    /// The one place that drops what an older generation, another runner or a repetition says.
    fn current(&mut self, runner: RunnerId, checkpoint: Checkpoint) -> Option<&mut Actor> {
        let actor = self.actors.get_mut(&checkpoint.actor)?;
        let current = actor.record.generation == checkpoint.generation && actor.on() == Some(runner);
        (current && checkpoint.index >= actor.record.events_taken).then(|| {
            actor.record.events_taken = checkpoint.index.saturating_add(1);
            actor
        })
    }

    pub(crate) fn event(&mut self, runner: RunnerId, checkpoint: Checkpoint, event: Event) {
        let id = checkpoint.actor;
        self.take_called(runner, checkpoint);
        let rings = self.rings(runner);
        let Some(actor) = self.current(runner, checkpoint) else { return self.stray(runner, checkpoint, &event) };
        match (event, actor.life) {
            (Event::Running, Life::Starting { on }) => self.running(id, on),
            (Event::SleepIntent, Life::Running { .. }) => self.stop(id, StopReason::Sleep, After::Sleep),
            (Event::StopIntent, Life::Running { .. }) => self.stop(id, StopReason::Stop, After::Destroy),
            (Event::StopIntent, Life::Stopping { .. }) => self.change_after(id, After::Destroy),
            (Event::Stopped(Outcome::Ok), _) => return self.ended(id, End::Told),
            (Event::Stopped(Outcome::Error(message)), _) => {
                return self.ended(id, End::Crashed(message.map(|text| cut(text, FAILURE_TEXT_BYTES_MAX))));
            }
            (Event::Stopped(Outcome::NotMigrated(message)), _) => {
                return self.not_migrated(id, cut(message, FAILURE_TEXT_BYTES_MAX));
            }
            (Event::Stopped(Outcome::NoRoom(message)), _) => {
                return self.ended(id, End::NoRoom(cut(message, FAILURE_TEXT_BYTES_MAX)));
            }
            // A runner of components sets them in its commits.
            (Event::SetAlarm(alarm_ms), _) if !rings => self.set_alarm(id, alarm_ms),
            // It is on its way to stop already, or has not begun.
            (Event::Running | Event::SleepIntent | Event::StopIntent | Event::SetAlarm(_), _) => {}
        }
        if !rings {
            self.ack_events(id, runner);
        }
    }

    /// Whether actors on this runner are told of their alarms; others look for themselves.
    pub(crate) fn rings(&self, runner: RunnerId) -> bool {
        self.runners.get(&runner).is_none_or(|runner| runner.profile.runs_components())
    }

    /// Tells the runner now and then which events it need not keep.
    fn ack_events(&mut self, id: ActorId, runner: RunnerId) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        let taken = actor.record.events_taken;
        if taken.saturating_sub(actor.events_acked) <= EVENTS_UNACKED_MAX {
            return;
        }
        actor.events_acked = taken;
        let last = Checkpoint { actor: id, generation: actor.record.generation, index: taken - 1 };
        let answer = Box::new(ToRunner::AckEvents(last));
        // Whatever these events changed was committed before this.
        self.commit_actor(id, Vec::new(), ActorThen::Answered { runner, answer });
    }

    /// A runner speaks of a generation that it does not have, or has no more.
    fn stray(&mut self, runner: RunnerId, checkpoint: Checkpoint, event: &Event) {
        // One whose record is being read is on no runner: those that are stay in memory.
        let repeated = self
            .actors
            .get(&checkpoint.actor)
            .is_some_and(|actor| actor.record.generation == checkpoint.generation && actor.on() == Some(runner));
        let is_end = matches!(event, Event::Stopped(_));
        if is_end
            && let Some(runner) = self.runners.get_mut(&runner)
            && runner.given_up.get(&checkpoint.actor) == Some(&checkpoint.generation)
        {
            runner.given_up.remove(&checkpoint.actor);
        }
        if !repeated && !is_end && !self.rings(runner) {
            self.not_yours(runner, checkpoint.actor, checkpoint.generation);
        }
    }

    /// It should know, and stop.
    fn not_yours(&mut self, runner: RunnerId, actor: ActorId, generation: Generation) {
        let checkpoint = Checkpoint { actor, generation, index: COMMAND_LAST };
        let message = ToRunner::Command(checkpoint, Command::Stop(StopReason::Lost));
        self.act(Action::ToRunner { runner, message });
    }

    pub(crate) fn commands_acked(&mut self, runner: RunnerId, checkpoints: Vec<Checkpoint>) {
        for checkpoint in checkpoints {
            let Some(actor) = self.actors.get_mut(&checkpoint.actor) else { continue };
            if actor.record.generation == checkpoint.generation && actor.on() == Some(runner) {
                // On disk with the next change: a command too many does no harm, its index tells that it is one.
                actor.record.acked_command = actor.record.acked_command.max(checkpoint.index.min(actor.command));
            }
        }
    }

    fn set_alarm(&mut self, id: ActorId, alarm_ms: Option<u64>) {
        let alarm = alarm_ms.map(|ms| Alarm { scheduled_ms: ms, fire_ms: ms, failures: 0 });
        if self.actors.get(&id).is_some_and(|actor| actor.record.alarm != alarm) {
            let changes = self.change_alarm(id, alarm);
            self.commit_actor(id, changes, ActorThen::Nothing);
        }
    }

    /// Writes of a runner that belong to no message of the actor.
    pub(crate) fn kv_write(&mut self, runner: RunnerId, id: ActorId, call: u64, changes: Vec<KvChange>) {
        if let Some(generation) = self.runners.get(&runner).and_then(|runner| runner.given_up.get(&id).copied()) {
            self.not_yours(runner, id, generation);
            return self.refuse_write(runner, id, call, NOT_ITS_ACTOR);
        }
        self.load(id);
        let Some(actor) = self.actors.get_mut(&id) else { return };
        let own = self.runners.get(&runner).is_some_and(|runner| runner.is_of(actor.record.namespace));
        match actor.life {
            Life::Loading => actor.words.push((runner, FromRunner::KvWrite { actor: id, call, changes })),
            _ if actor.is_gone() || !own => self.no_such_actor(runner, id, call),
            _ => {
                self.used(id);
                self.store_entries(runner, id, call, changes);
            }
        }
    }

    fn no_such_actor(&mut self, runner: RunnerId, actor: ActorId, call: u64) {
        self.refuse_write(runner, actor, call, NO_SUCH_ACTOR);
    }

    fn refuse_write(&mut self, runner: RunnerId, actor: ActorId, call: u64, why: &str) {
        let result = Err(why.to_string());
        self.act(Action::ToRunner { runner, message: ToRunner::Kv { actor, generation: 0, call, result } });
    }

    /// What was said while the record was being read; there is no such actor if there is no record.
    pub(crate) fn hear_words(&mut self, words: Vec<(RunnerId, FromRunner)>, found: bool) {
        for (runner, word) in words {
            match word {
                FromRunner::KvWrite { actor, call, changes } if found => self.kv_write(runner, actor, call, changes),
                FromRunner::KvWrite { actor, call, .. } => self.no_such_actor(runner, actor, call),
                _ => {}
            }
        }
    }

    /// What one message of an actor wrote.
    pub(crate) fn write(&mut self, runner: RunnerId, commit: Commit) {
        let Commit { actor: id, generation, commit, changes, own, database, alarm, fired_ms, alarm_failed } = commit;
        let now_ms = self.now_ms;
        let runs_components = self.rings(runner);
        let current = self.actors.get(&id).filter(|actor| actor.record.generation == generation && actor.on() == Some(runner));
        // Its writes are not wanted any more.
        let Some(actor) = current.filter(|_| runs_components) else { return self.not_yours(runner, id, generation) };
        let old = actor.record.alarm;
        let size_pages = database.as_ref().map(|database| database.size_pages);
        if let Err(why) = self.take_grant(id, bytes_put(&changes) + bytes_put(&own), size_pages) {
            return self.refuse_commit(runner, id, why);
        }
        self.used(id);
        let (sealed, database) = match self.sealed(id, database) {
            Ok(sealed) => sealed.unzip(),
            Err(why) => {
                self.take_back(id);
                return self.refuse_commit(runner, id, why);
            }
        };
        let fired = fired_ms.is_some() && old.map(|alarm| alarm.scheduled_ms) == fired_ms;
        let new = match alarm {
            AlarmChange::Set(scheduled_ms) => Some(Alarm { scheduled_ms, fire_ms: scheduled_ms, failures: 0 }),
            AlarmChange::Clear => None,
            AlarmChange::Keep if fired && alarm_failed => old.map(|alarm| self.config.later(alarm, now_ms)),
            AlarmChange::Keep if fired => None,
            AlarmChange::Keep => old,
        };
        // What the runner keeps for it is there before its code has seen anything.
        let state = !changes.is_empty() || database.is_some();
        let mut durable = Vec::new();
        for (space, changes) in [(KvSpace::Actor, changes), (KvSpace::Runner, own)] {
            if !changes.is_empty() {
                durable.push(Change::Kv { actor: id, space, now_ms, changes });
            }
        }
        durable.extend(database);
        if state {
            durable.extend(self.state_is_its_versions(id));
        }
        if new != old || fired {
            durable.extend(self.change_alarm(id, new));
        }
        self.commit_actor(id, durable, ActorThen::Written { runner, generation, commit, sealed });
        self.deliver_alarm(id);
    }

    pub(crate) fn asks_storage(&mut self, runner: RunnerId, id: ActorId, generation: Generation, call: u64, ask: Ask) {
        let current = self.actors.get(&id).filter(|actor| actor.record.generation == generation && actor.on() == Some(runner));
        match current.is_some() && self.rings(runner) {
            true => self.ask_storage(runner, id, generation, call, ask),
            false => self.not_yours(runner, id, generation),
        }
    }

    /// A commit that cannot be written: what comes after it builds on it, so the generation is over.
    fn refuse_commit(&mut self, runner: RunnerId, id: ActorId, why: String) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        let message = ToRunner::Command(actor.checkpoint(), Command::Stop(StopReason::Lost));
        self.act(Action::ToRunner { runner, message });
        self.ended(id, End::Crashed(Some(why)));
    }

    /// In the record, on disk and in memory. The actor may be told of the new one.
    pub(crate) fn change_alarm(&mut self, id: ActorId, new: Option<Alarm>) -> Vec<Change> {
        let Some(actor) = self.actors.get_mut(&id) else { return Vec::new() };
        let old = std::mem::replace(&mut actor.record.alarm, new);
        actor.alarm_sent = false;
        let mut changes = Vec::new();
        if let Some(alarm) = old {
            self.alarms.remove((alarm.fire_ms, id));
            changes.push(Change::DeleteAlarm { fire_ms: alarm.fire_ms, actor: id });
        }
        if let Some(alarm) = new {
            self.alarms.insert((alarm.fire_ms, id));
            changes.push(Change::PutAlarm { fire_ms: alarm.fire_ms, actor: id });
        }
        changes.push(Change::PutActor(Box::new(actor.record.clone())));
        changes
    }

    /// The alarm of this actor may be due.
    pub(crate) fn ring(&mut self, id: ActorId) {
        self.load(id);
        let Some(actor) = self.actors.get(&id) else { return };
        match actor.life {
            Life::Loading => {
                self.alarm_wakes.insert(id);
            }
            // The entry was older than the record.
            _ if !actor.alarm_due(self.now_ms) => {
                self.alarm_wakes.remove(&id);
                self.forget_if_idle(id);
            }
            Life::Asleep if let Some(circle) = self.crowded(&actor.record) => self.ring_later(id, circle),
            Life::Asleep | Life::Pausing => {
                self.alarm_wakes.insert(id);
                self.wake(id);
            }
            Life::Running { .. } => self.deliver_alarm(id),
            // It will be looked at when this state ends.
            Life::Unplaced
            | Life::Crowded { .. }
            | Life::Placing { .. }
            | Life::Calling
            | Life::Starting { .. }
            | Life::Stopping { .. }
            | Life::Ending
            | Life::Gone => {}
        }
    }

    /// Tells a running actor of its alarm, once.
    pub(crate) fn deliver_alarm(&mut self, id: ActorId) {
        let now_ms = self.now_ms;
        let Some(actor) = self.actors.get_mut(&id) else { return };
        let (Life::Running { on }, Some(alarm)) = (actor.life, actor.record.alarm) else { return };
        if actor.alarm_sent
            || alarm.fire_ms > now_ms
            || self.runners.get(&on).is_some_and(|runner| !runner.profile.runs_components())
        {
            return;
        }
        actor.alarm_sent = true;
        actor.used_ms = now_ms;
        let message = ToRunner::Alarm {
            actor: id,
            generation: actor.record.generation,
            scheduled_ms: alarm.scheduled_ms,
            attempt: alarm.failures + 1,
        };
        self.act(Action::ToRunner { runner: on, message });
    }
}
