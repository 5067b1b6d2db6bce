//! The life of one actor.
//!
//! ```text
//!            found                wanted, a runner can take it            durable
//! Loading ----------> Asleep ---------------------------------> Placing ---------> Starting
//!    | not found        ^  | wanted, no runner: Unplaced           ^                  | running
//!    v                  |  +---------------> Unplaced -------------+ runner ready     v
//!  (gone)               |                                          |               Running
//!                       | stopped, nobody wants it                 |                  | sleep, destroy, reschedule
//!                       +------------------------- Stopping <------------------------ +
//!                       |                             |  stopped, wanted: Placing     | crashed, lost: Asleep, Pausing,
//!                       |                             v  stopped, unwanted: destroyed v Placing or destroyed
//!                       +---- Pausing (restart later)    Ending ----> (gone)
//! ```
//!
//! Every start has the next generation and is durable before the runner hears of it. [`Core::current`] is the one place that drops
//! what an older generation says.

use std::collections::BTreeSet;

use bytes::Bytes;
use protocol::id::{ActorId, Generation, RequestId, RunnerId};
use protocol::limits::{FAILURE_TEXT_BYTES_MAX, cut};
use protocol::message::{
    AlarmChange, Checkpoint, Command, Commit, Event, Failure, FailureKind, Outcome, Start, StartReason, StopReason, ToRunner,
};

use crate::action::{Action, Answer};
use crate::api::ActorCall;
use crate::core::{ActorThen, Core, Timer};
use crate::input::{CallId, KeyRef};
use crate::place::Place;
use crate::record::{ActorError, ActorRecord, After, Alarm, Change, CrashPolicy, DatabaseHead};
use crate::refusal::Refusal;
use crate::requests::KeyEntry;

pub(crate) struct Actor {
    pub record: ActorRecord,
    pub input: Option<Bytes>,
    pub database: Option<DatabaseHead>,
    pub life: Life,
    /// Requests that wait for it to run, in the order of arrival.
    pub waiting: BTreeSet<RequestId>,
    /// Requests that its runner has been given and that are not over.
    pub dispatched: BTreeSet<RequestId>,
    /// API calls that wait: while it is Loading for its record, from then on for its end.
    pub calls: Vec<ActorCall>,
    pub commits_in_flight: u32,
    /// When its timer rings; only one is set at a time.
    pub timer_ms: Option<u64>,
    /// Why its next start happens.
    pub next_start: StartReason,
    /// The last command sent to this generation.
    command: u64,
    /// The next event index expected from this generation, at least.
    next_event: u64,
    /// This generation has been told of the alarm.
    alarm_sent: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Life {
    /// Its record is being read. Next: Asleep, or gone if there is none.
    Loading,
    /// On no runner. Next: Placing when something wants it, or it leaves memory.
    Asleep,
    /// Wanted, and no runner can take it. Next: Placing, when one can.
    Unplaced,
    /// Its start is being made durable. Next: Starting; Ending if it is to be destroyed.
    Placing { on: RunnerId },
    /// The runner has been told. Next: Running; or Asleep with an error after `start_timeout_ms`.
    Starting { on: RunnerId },
    /// Next: Stopping on an intent, an API call or an upgrade; Asleep, Pausing, Placing or Ending if it crashes or is lost.
    Running { on: RunnerId },
    /// Told to stop. Next: what `after` says; if it says Sleep and somebody waits, Placing.
    Stopping { on: RunnerId, after: After },
    /// Crashed, to be started when its timer rings, or earlier if something wants it. Next: Placing.
    Pausing,
    /// Its end is being made durable. Next: Gone.
    Ending,
    /// Destroyed. Next: it leaves memory, unless its key is just being read.
    Gone,
}

/// How a generation ended.
enum End {
    /// It stopped because it was told to.
    Told,
    Crashed(Option<String>),
    /// It never began.
    NoRoom(String),
    Lost(ActorError),
}

impl Actor {
    pub fn new(record: ActorRecord, input: Option<Bytes>, database: Option<DatabaseHead>, life: Life) -> Actor {
        let next_start = if record.start_ms.is_none() { StartReason::Created } else { StartReason::Woken };
        Actor {
            record,
            input,
            database,
            life,
            waiting: BTreeSet::new(),
            dispatched: BTreeSet::new(),
            calls: Vec::new(),
            commits_in_flight: 0,
            timer_ms: None,
            next_start,
            command: 0,
            next_event: 0,
            alarm_sent: false,
        }
    }

    /// The runner it is on, if any.
    pub fn on(&self) -> Option<RunnerId> {
        match self.life {
            Life::Placing { on } | Life::Starting { on } | Life::Running { on } | Life::Stopping { on, .. } => Some(on),
            Life::Loading | Life::Asleep | Life::Unplaced | Life::Pausing | Life::Ending | Life::Gone => None,
        }
    }

    /// Destroyed, or certain to be.
    pub fn is_ending(&self) -> bool {
        matches!(self.life, Life::Ending | Life::Gone | Life::Stopping { after: After::Destroy, .. })
            || self.life != Life::Loading && !self.calls.is_empty()
    }

    pub fn key(&self) -> Option<KeyRef> {
        let ActorRecord { namespace, name, key, .. } = &self.record;
        Some(KeyRef { namespace: *namespace, name: name.clone(), key: key.clone()? })
    }

    fn checkpoint(&mut self) -> Checkpoint {
        self.command += 1;
        Checkpoint { actor: self.record.id, generation: self.record.generation, index: self.command }
    }

    fn alarm_due(&self, now_ms: u64) -> bool {
        self.record.alarm.is_some_and(|alarm| alarm.fire_ms <= now_ms)
    }
}

impl ActorRecord {
    /// Stands in until the record has been read.
    pub(crate) fn unknown(id: ActorId) -> ActorRecord {
        ActorRecord {
            id,
            namespace: id,
            name: String::new(),
            key: None,
            pool: String::new(),
            crash_policy: CrashPolicy::Sleep,
            has_input: false,
            create_ms: 0,
            start_ms: None,
            connectable_ms: None,
            sleep_ms: None,
            pending_ms: None,
            reschedule_ms: None,
            destroy_ms: None,
            error: None,
            generation: 0,
            runner: None,
            alarm: None,
            crashes: 0,
            stop: None,
            acked_command: 0,
            events_taken: 0,
        }
    }
}

// Starting.
impl Core {
    /// Something wants the actor to run.
    pub(crate) fn wake(&mut self, id: ActorId) {
        if self.actors.get(&id).is_some_and(|actor| matches!(actor.life, Life::Asleep | Life::Pausing)) {
            self.place(id, Vec::new(), None);
        }
    }

    /// Finds a runner and makes the start durable, together with `changes` that led to it.
    pub(crate) fn place(&mut self, id: ActorId, mut changes: Vec<Change>, created_by: Option<CallId>) {
        let Some(actor) = self.actors.get(&id) else { return };
        let place = self.place_for(actor.record.namespace, &actor.record.name);
        self.set_timer(id, None);
        self.unplaced.remove(&id);
        let now_ms = self.now_ms;
        let Some(actor) = self.actors.get_mut(&id) else { return };
        actor.record.reschedule_ms = None;
        match place {
            Place::Runner { on, runner } => {
                actor.life = Life::Placing { on };
                actor.record.generation += 1;
                actor.record.runner = Some(runner);
                actor.record.pending_ms = None;
                actor.record.error = None;
                actor.command = 0;
                actor.next_event = 0;
                actor.alarm_sent = false;
                let generation = actor.record.generation;
                changes.push(Change::PutActor(Box::new(actor.record.clone())));
                self.commit_actor(id, changes, ActorThen::Start { generation, created_by });
            }
            Place::Nowhere => {
                actor.life = Life::Unplaced;
                actor.record.pending_ms.get_or_insert(now_ms);
                actor.record.sleep_ms.get_or_insert(now_ms);
                actor.record.error.get_or_insert(ActorError::NoEnvoys);
                changes.push(Change::PutActor(Box::new(actor.record.clone())));
                self.alarm_wakes.remove(&id);
                self.unplaced.insert(id);
                self.commit_actor(id, changes, ActorThen::Created { by: created_by });
            }
            Place::Refused { message } => {
                actor.record.error = Some(ActorError::Crashed { message: Some(message.clone()) });
                let waiting = actor.waiting.clone();
                self.alarm_wakes.remove(&id);
                self.fall_asleep(id, changes, created_by);
                for request in waiting {
                    self.refuse(request, Refusal::StartFailed { actor: id, message: message.clone() });
                }
            }
        }
    }

    /// A runner has come, or has become ready for a component.
    pub(crate) fn place_unplaced(&mut self) {
        for id in self.unplaced.clone() {
            let Some(actor) = self.actors.get(&id) else { continue };
            if !matches!(self.place_for(actor.record.namespace, &actor.record.name), Place::Nowhere) {
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
            ActorThen::Written { runner, generation, commit } => {
                if self.runners.contains_key(&runner) {
                    self.act(Action::ToRunner { runner, message: ToRunner::Committed { actor: id, generation, commit } });
                }
            }
            ActorThen::Destroyed => {
                let calls = self.actors.get_mut(&id).map(|actor| std::mem::take(&mut actor.calls)).unwrap_or_default();
                self.answer_calls(calls, Ok(Answer::Done));
                if let Some(actor) = self.actors.get_mut(&id) {
                    actor.life = Life::Gone;
                }
            }
        }
        self.forget_if_idle(id);
    }

    fn created(&mut self, id: ActorId, by: Option<CallId>) {
        if let (Some(call), Some(actor)) = (by, self.actors.get(&id)) {
            let record = Box::new(actor.record.clone());
            self.reply(call, Ok(Answer::Actor { record, created: true }));
        }
    }

    fn send_start(&mut self, id: ActorId, generation: Generation) {
        let Some(actor) = self.actors.get(&id).filter(|actor| actor.record.generation == generation) else { return };
        let Life::Placing { on } = actor.life else { return };
        if !actor.calls.is_empty() {
            return self.end(id, Vec::new());
        }
        // The version that is live now, not the one that was when the start was decided.
        let component = self.live_component(actor.record.namespace, &actor.record.name);
        let due_ms = self.now_ms + self.config.start_timeout_ms;
        let Some(actor) = self.actors.get_mut(&id) else { return };
        actor.life = Life::Starting { on };
        let start = Start {
            name: actor.record.name.clone(),
            key: actor.record.key.clone(),
            create_ms: actor.record.create_ms,
            input: actor.input.clone(),
            reason: actor.next_start,
            component,
            alarm_ms: actor.record.alarm.map(|alarm| alarm.scheduled_ms),
            hibernating: Vec::new(),
        };
        actor.next_start = StartReason::Woken;
        let message = ToRunner::Command(actor.checkpoint(), Command::Start(Box::new(start)));
        self.act(Action::ToRunner { runner: on, message });
        self.set_timer(id, Some(due_ms));
    }
}

// What its runner says.
impl Core {
    /// The one place that drops what an older generation, another runner or a repetition says.
    fn current(&mut self, runner: RunnerId, checkpoint: Checkpoint) -> Option<&mut Actor> {
        let actor = self.actors.get_mut(&checkpoint.actor)?;
        let current = actor.record.generation == checkpoint.generation && actor.on() == Some(runner);
        (current && checkpoint.index >= actor.next_event).then(|| {
            actor.next_event = checkpoint.index + 1;
            actor
        })
    }

    pub(crate) fn event(&mut self, runner: RunnerId, checkpoint: Checkpoint, event: Event) {
        let id = checkpoint.actor;
        let Some(actor) = self.current(runner, checkpoint) else { return };
        match (event, actor.life) {
            (Event::Running, Life::Starting { on }) => self.running(id, on),
            (Event::SleepIntent, Life::Running { .. }) => self.stop(id, StopReason::Sleep, After::Sleep),
            (Event::StopIntent, Life::Running { .. }) => self.stop(id, StopReason::Stop, After::Destroy),
            (Event::StopIntent, Life::Stopping { on, .. }) => actor.life = Life::Stopping { on, after: After::Destroy },
            (Event::Stopped(Outcome::Ok), _) => self.ended(id, End::Told),
            (Event::Stopped(Outcome::Error(message)), _) => {
                self.ended(id, End::Crashed(message.map(|text| cut(text, FAILURE_TEXT_BYTES_MAX))));
            }
            (Event::Stopped(Outcome::NoRoom(message)), _) => self.ended(id, End::NoRoom(cut(message, FAILURE_TEXT_BYTES_MAX))),
            // It is on its way to stop already, or has not begun.
            (Event::Running | Event::SleepIntent | Event::StopIntent | Event::SetAlarm(_), _) => {}
        }
    }

    fn running(&mut self, id: ActorId, on: RunnerId) {
        let now_ms = self.now_ms;
        self.set_timer(id, None);
        self.alarm_wakes.remove(&id);
        let Some(actor) = self.actors.get_mut(&id) else { return };
        actor.life = Life::Running { on };
        actor.record.connectable_ms = Some(now_ms);
        actor.record.start_ms.get_or_insert(now_ms);
        actor.record.sleep_ms = None;
        let record = Box::new(actor.record.clone());
        self.dispatch_waiting(id);
        self.deliver_alarm(id);
        // Nobody waits for this: it is what the API shows.
        self.commit_actor(id, vec![Change::PutActor(record)], ActorThen::Nothing);
    }

    /// What one message of an actor wrote.
    pub(crate) fn write(&mut self, runner: RunnerId, commit: Commit) {
        let Commit { actor: id, generation, commit, changes, alarm, fired_ms, alarm_failed } = commit;
        let now_ms = self.now_ms;
        let current = self.actors.get_mut(&id).filter(|actor| actor.record.generation == generation && actor.on() == Some(runner));
        let Some(actor) = current else {
            // Its writes are not wanted any more, and it should know.
            let checkpoint = Checkpoint { actor: id, generation, index: u64::MAX };
            let message = ToRunner::Command(checkpoint, Command::Stop(StopReason::Lost));
            return self.act(Action::ToRunner { runner, message });
        };
        let old = actor.record.alarm;
        let fired = fired_ms.is_some() && old.map(|alarm| alarm.scheduled_ms) == fired_ms;
        let new = match alarm {
            AlarmChange::Set(scheduled_ms) => Some(Alarm { scheduled_ms, fire_ms: scheduled_ms, failures: 0 }),
            AlarmChange::Clear => None,
            AlarmChange::Keep if fired && alarm_failed => old.map(|alarm| self.config.later(alarm, now_ms)),
            AlarmChange::Keep if fired => None,
            AlarmChange::Keep => old,
        };
        let mut durable = Vec::new();
        if !changes.is_empty() {
            durable.push(Change::Kv { actor: id, now_ms, changes });
        }
        if new != old || fired {
            durable.extend(self.change_alarm(id, new));
        }
        self.commit_actor(id, durable, ActorThen::Written { runner, generation, commit });
        self.deliver_alarm(id);
    }

    /// In the record, on disk and in memory. The actor may be told of the new one.
    fn change_alarm(&mut self, id: ActorId, new: Option<Alarm>) -> Vec<Change> {
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
            Life::Asleep | Life::Pausing => {
                self.alarm_wakes.insert(id);
                self.wake(id);
            }
            Life::Running { .. } => self.deliver_alarm(id),
            // It will be looked at when this state ends.
            Life::Unplaced | Life::Placing { .. } | Life::Starting { .. } | Life::Stopping { .. } | Life::Ending | Life::Gone => {}
        }
    }

    /// Tells a running actor of its alarm, once.
    fn deliver_alarm(&mut self, id: ActorId) {
        let now_ms = self.now_ms;
        let Some(actor) = self.actors.get_mut(&id) else { return };
        let (Life::Running { on }, Some(alarm)) = (actor.life, actor.record.alarm) else { return };
        if actor.alarm_sent || alarm.fire_ms > now_ms {
            return;
        }
        actor.alarm_sent = true;
        let message = ToRunner::Alarm {
            actor: id,
            generation: actor.record.generation,
            scheduled_ms: alarm.scheduled_ms,
            attempt: alarm.failures + 1,
        };
        self.act(Action::ToRunner { runner: on, message });
    }
}

// Stopping.
impl Core {
    pub(crate) fn stop(&mut self, id: ActorId, reason: StopReason, after: After) {
        let due_ms = self.now_ms + self.config.stop_timeout_ms;
        let Some(actor) = self.actors.get_mut(&id) else { return };
        let Some(on) = actor.on() else { return };
        actor.life = Life::Stopping { on, after };
        let message = ToRunner::Command(actor.checkpoint(), Command::Stop(reason));
        self.act(Action::ToRunner { runner: on, message });
        self.set_timer(id, Some(due_ms));
    }

    /// The runner is gone and takes this generation with it.
    pub(crate) fn lost(&mut self, id: ActorId, key: &str) {
        self.ended(id, End::Lost(ActorError::EnvoyConnectionLost { envoy_key: key.to_string() }));
    }

    pub(crate) fn actor_timer(&mut self, id: ActorId) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        actor.timer_ms = None;
        match actor.life {
            Life::Starting { on } | Life::Stopping { on, .. } => {
                let message = ToRunner::Command(actor.checkpoint(), Command::Stop(StopReason::Lost));
                let envoy_key = actor.record.runner.as_ref().map(|runner| runner.key().to_string());
                self.act(Action::ToRunner { runner: on, message });
                self.ended(id, End::Lost(ActorError::EnvoyNoResponse { envoy_key }));
            }
            Life::Pausing => self.place(id, Vec::new(), None),
            _ => {}
        }
    }

    /// A generation has ended: what becomes of its requests, its alarm and the actor.
    fn ended(&mut self, id: ActorId, end: End) {
        self.set_timer(id, None);
        self.alarm_wakes.remove(&id);
        let now_ms = self.now_ms;
        let Some(actor) = self.actors.get_mut(&id) else { return };
        // It keeps that state until the next one is decided, so that nothing below takes it for idle.
        let was = actor.life;
        let ran_ms = actor.record.connectable_ms.map_or(0, |since_ms| now_ms - since_ms);
        actor.record.runner = None;
        actor.record.connectable_ms = None;
        // A runner of components has the last word on each request, and may have one on its way: answered, failed or returned.
        let open = std::mem::take(&mut actor.dispatched);
        let mut start_failure = None;
        match &end {
            End::Told => actor.record.crashes = 0,
            End::Crashed(message) => {
                if ran_ms >= self.config.retry_reset_ms {
                    actor.record.crashes = 0;
                }
                actor.record.crashes += 1;
                actor.record.error = Some(ActorError::Crashed { message: message.clone() });
                let message = message.clone().unwrap_or_else(|| "it stopped with an error".to_string());
                start_failure = Some(Refusal::StartFailed { actor: id, message });
            }
            End::NoRoom(message) => {
                actor.record.error = Some(ActorError::NoCapacity);
                let failure = Failure { kind: FailureKind::NoRoom, message: message.clone() };
                start_failure = Some(Refusal::Failed { actor: id, failure });
            }
            End::Lost(error) => actor.record.error = Some(error.clone()),
        }
        for request in open {
            match &end {
                End::Lost(_) => self.refuse(request, Refusal::RunnerLost { actor: id }),
                _ if self.returns_requests(was) => {}
                _ => {
                    let message = "the actor stopped before it answered".to_string();
                    let failure = Failure { kind: FailureKind::Stopped, message };
                    self.refuse(request, Refusal::Failed { actor: id, failure });
                }
            }
        }
        if let (Life::Starting { .. }, Some(refusal)) = (was, start_failure) {
            let waiting = self.actors.get(&id).map(|actor| actor.waiting.clone()).unwrap_or_default();
            for request in waiting {
                self.refuse(request, refusal.clone());
            }
        }
        self.after(id, was, end);
    }

    fn returns_requests(&self, life: Life) -> bool {
        let (Life::Placing { on } | Life::Starting { on } | Life::Running { on } | Life::Stopping { on, .. }) = life else {
            return false;
        };
        self.runners.get(&on).is_some_and(|runner| runner.profile.runs_components())
    }

    /// Where an actor goes from the end of a generation.
    fn after(&mut self, id: ActorId, was: Life, end: End) {
        let now_ms = self.now_ms;
        let mut changes = Vec::new();
        let Some(actor) = self.actors.get_mut(&id) else { return };
        let destroy = !actor.calls.is_empty()
            || matches!(was, Life::Stopping { after: After::Destroy, .. })
            // Stopping well without having been asked to is how a runner destroys an actor.
            || matches!((&end, was), (End::Told, Life::Starting { .. } | Life::Running { .. }))
            || matches!(end, End::Crashed(_)) && actor.record.crash_policy == CrashPolicy::Destroy;
        if destroy {
            return self.end(id, changes);
        }
        let told = matches!(end, End::Told);
        if let Some(alarm) = actor.record.alarm
            && !told
            && alarm.fire_ms <= now_ms
            && (actor.alarm_sent || matches!(was, Life::Starting { .. }))
        {
            // It did not live through its alarm: not again at once, or it would crash in a circle.
            let later = self.config.later(alarm, now_ms);
            changes = self.change_alarm(id, Some(later));
        }
        let Some(actor) = self.actors.get_mut(&id) else { return };
        let restart = matches!(was, Life::Stopping { after: After::Start, .. });
        actor.next_start = match (told, restart) {
            (true, true) => StartReason::Upgraded,
            (true, false) => StartReason::Woken,
            (false, _) => StartReason::Restarted,
        };
        let wanted = restart || !actor.waiting.is_empty() || actor.alarm_due(now_ms);
        let persistent = !told && actor.record.crash_policy == CrashPolicy::Restart;
        let at_once = actor.record.crashes <= 1 && !matches!(end, End::NoRoom(_));
        if wanted || persistent && at_once {
            self.place(id, changes, None);
        } else if persistent {
            let due_ms = now_ms + self.config.pause_ms(actor.record.crashes.saturating_sub(1));
            actor.life = Life::Pausing;
            actor.record.reschedule_ms = Some(due_ms);
            changes.push(Change::PutActor(Box::new(actor.record.clone())));
            self.set_timer(id, Some(due_ms));
            self.commit_actor(id, changes, ActorThen::Nothing);
        } else {
            self.fall_asleep(id, changes, None);
        }
    }

    fn fall_asleep(&mut self, id: ActorId, mut changes: Vec<Change>, created_by: Option<CallId>) {
        let now_ms = self.now_ms;
        let Some(actor) = self.actors.get_mut(&id) else { return };
        actor.life = Life::Asleep;
        actor.record.sleep_ms = Some(now_ms);
        changes.push(Change::PutActor(Box::new(actor.record.clone())));
        self.commit_actor(id, changes, ActorThen::Created { by: created_by });
    }

    /// Destroys an actor that is on no runner.
    pub(crate) fn end(&mut self, id: ActorId, mut changes: Vec<Change>) {
        self.set_timer(id, None);
        self.unplaced.remove(&id);
        self.alarm_wakes.remove(&id);
        let now_ms = self.now_ms;
        let Some(actor) = self.actors.get_mut(&id) else { return };
        actor.life = Life::Ending;
        actor.record.runner = None;
        actor.record.connectable_ms = None;
        actor.record.pending_ms = None;
        actor.record.reschedule_ms = None;
        actor.record.sleep_ms = None;
        actor.record.destroy_ms = Some(now_ms);
        let waiting = actor.waiting.clone();
        let key = actor.key();
        if let Some(alarm) = actor.record.alarm.take() {
            self.alarms.remove((alarm.fire_ms, id));
            changes.push(Change::DeleteAlarm { fire_ms: alarm.fire_ms, actor: id });
        }
        changes.push(Change::DestroyActor { record: Box::new(actor.record.clone()), database: actor.database.is_some() });
        if let Some(key) = key {
            self.keys.insert(key, KeyEntry::Free(id));
        }
        for request in waiting {
            self.refuse(request, Refusal::ActorDestroyedWhileWaiting { actor: id });
        }
        self.commit_actor(id, changes, ActorThen::Destroyed);
    }

    fn set_timer(&mut self, id: ActorId, due_ms: Option<u64>) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        if let Some(old_ms) = std::mem::replace(&mut actor.timer_ms, due_ms) {
            self.timers.remove(&(old_ms, Timer::Actor(id)));
        }
        if let Some(due_ms) = due_ms {
            self.timers.insert((due_ms, Timer::Actor(id)));
        }
    }
}
