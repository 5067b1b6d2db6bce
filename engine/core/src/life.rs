//! The life of one actor.
//!
//! ```text
//!            found                wanted, a runner can take it            durable
//! Loading ----------> Asleep ---------------------------------> Placing ---------> Starting
//!    | not found        ^  | wanted, no runner: Unplaced           ^  | its pool's     ^ | running
//!    v                  |  +---------------> Unplaced -------------+  | URL is called  | v
//!  (gone)               |                                          |  +---> Calling ---+ Running
//!                       | stopped, nobody wants it                 |    a runner has it  | sleep, destroy, reschedule
//!                       +------------------------- Stopping <-------------------------- +
//!                       |                             |  stopped, wanted: Placing       | crashed, lost: Asleep, Pausing,
//!                       |                             v  stopped, unwanted: destroyed   v Placing or destroyed
//!                       +---- Pausing (restart later)    Ending ----> (gone)
//! ```
//!
//! Every start has the next generation and is durable before the runner hears of it. How it starts is in [`crate::start`], what its
//! runner says in [`crate::words`]; how it ends is here.

use std::collections::BTreeSet;

use bytes::Bytes;
use protocol::id::{ActorId, RequestId, RunnerId};
use protocol::limits::{REQUESTS_PER_ACTOR_MAX, SOCKETS_PER_ACTOR_MAX};
use protocol::message::{Checkpoint, Command, Failure, FailureKind, FromRunner, StartReason, StopReason, ToRunner};

use crate::action::{Action, NotedEnd};
use crate::actor_calls::Calling;
use crate::api::ActorCall;
use crate::core::{ActorThen, Core, Timer};
use crate::database::{Sealed, Stage};
use crate::deletion::STOP_MS;
use crate::input::{CallId, KeyRef, RequestKind};
use crate::record::{ActorError, ActorRecord, After, Change, CrashPolicy, DatabaseHead, RunnerRef, Stop};
use crate::refusal::Refusal;
use crate::requests::KeyEntry;
use crate::storage::Stored;

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
    /// Sockets whose clients are there while it does not run.
    pub hibernating: BTreeSet<RequestId>,
    /// One of these has something for it.
    pub socket_wakes: bool,
    /// What runners said about it while its record was being read.
    pub words: Vec<(RunnerId, FromRunner)>,
    /// A commit of its database that comes in pieces.
    pub stage: Option<Box<Stage>>,
    /// What a message has written to its database, on its way into the message's commit.
    pub sealed: Option<Box<Sealed>>,
    /// The engine has run statements for this generation.
    pub uses_sql: bool,
    /// The call that it waits for.
    pub calling: Option<Calling>,
    /// The last command sent to this generation.
    pub command: u64,
    /// The last event that its runner was told need not be sent again, plus one.
    pub events_acked: u64,
    /// This generation has been told of the alarm.
    pub alarm_sent: bool,
    /// The call that started it ended with the engine's last process: nobody would notice when its time is over.
    pub call_lost: bool,
    /// The call that started it has ended: if its runner goes too, its program is gone.
    pub call_over: bool,
    /// How often in a row it could not be started.
    pub starts_failed: u32,
    /// The version of a component that this generation runs, and the number of the attempt at it.
    pub version: Option<u32>,
    pub attempt: u32,
    pub stored: Stored,
    /// When something happened to it last; and when it was asked to sleep, if nothing has since.
    pub used_ms: u64,
    pub asked_ms: Option<u64>,
    requests: usize,
    sockets: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Life {
    /// Its record is being read. Next: Asleep, or gone if there is none.
    Loading,
    /// On no runner. Next: Placing when something wants it, or it leaves memory.
    Asleep,
    /// Wanted, and no runner can take it. Next: Placing, when one can.
    Unplaced,
    /// Wanted, and its deployment or its namespace has as many awake as it may. Next: Placing, when one of them sleeps; Asleep or
    /// Pausing, when it has waited for long enough.
    Crowded { since_ms: u64 },
    /// Its start is being made durable. Next: Starting; Ending if it is to be destroyed.
    Placing { on: RunnerId },
    /// Its pool's URL has been called. Next: Starting, when a runner of the pool says that it has it; or as from Starting.
    Calling,
    /// The runner has been told. Next: Running; or Asleep with an error after `start_timeout_ms`.
    Starting { on: RunnerId },
    /// Next: Stopping on an intent, an API call or an upgrade; Asleep, Pausing, Placing or Ending if it crashes or is lost.
    Running { on: RunnerId },
    /// Told to stop. Next: what `after` says; if it says Sleep and somebody waits, Placing.
    Stopping { on: RunnerId, after: After },
    /// Crashed, to be started when its timer rings, or earlier if something wants it and its crashes are forgiven. Next: Placing.
    Pausing,
    /// Its end is being made durable. Next: Gone.
    Ending,
    /// Destroyed. Next: it leaves memory, unless its key is just being read.
    Gone,
}

/// How a generation ended.
pub(crate) enum End {
    /// It stopped because it was told to.
    Told,
    Crashed(Option<String>),
    /// It never began.
    NoRoom(String),
    /// It never began: its state could not be migrated to that version.
    NotMigrated,
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
            hibernating: BTreeSet::new(),
            socket_wakes: false,
            words: Vec::new(),
            stage: None,
            sealed: None,
            uses_sql: false,
            calling: None,
            command: 0,
            events_acked: 0,
            alarm_sent: false,
            call_lost: false,
            call_over: false,
            starts_failed: 0,
            version: None,
            attempt: 0,
            stored: Stored::default(),
            used_ms: 0,
            asked_ms: None,
            requests: 0,
            sockets: 0,
        }
    }

    /// The runner it is on, if any.
    pub fn on(&self) -> Option<RunnerId> {
        match self.life {
            Life::Placing { on } | Life::Starting { on } | Life::Running { on } | Life::Stopping { on, .. } => Some(on),
            Life::Loading
            | Life::Asleep
            | Life::Unplaced
            | Life::Crowded { .. }
            | Life::Pausing
            | Life::Calling
            | Life::Ending
            | Life::Gone => None,
        }
    }

    /// Destroyed, or certain to be.
    pub fn is_ending(&self) -> bool {
        matches!(self.life, Life::Ending | Life::Gone | Life::Stopping { after: After::Destroy, .. })
            || self.life != Life::Loading && !self.calls.is_empty()
    }

    /// Nothing of it is kept any more, or soon.
    pub fn is_gone(&self) -> bool {
        matches!(self.life, Life::Ending | Life::Gone)
    }

    pub fn key(&self) -> Option<KeyRef> {
        let ActorRecord { namespace, name, key, .. } = &self.record;
        Some(KeyRef { namespace: *namespace, name: name.clone(), key: key.clone()? })
    }

    /// The next command to this generation.
    pub fn checkpoint(&mut self) -> Checkpoint {
        self.command += 1;
        Checkpoint { actor: self.record.id, generation: self.record.generation, index: self.command }
    }

    /// A start that a URL is called with has the index 0, any other 1.
    pub fn start_index(&self) -> u64 {
        u64::from(!self.record.by_url)
    }

    /// Something waits for it to run.
    pub fn is_wanted(&self) -> bool {
        !self.waiting.is_empty() || self.socket_wakes
    }

    /// It may not have one more of these at one time.
    pub fn is_full(&self, kind: RequestKind) -> bool {
        let most = match kind {
            RequestKind::Http => REQUESTS_PER_ACTOR_MAX,
            RequestKind::Socket => SOCKETS_PER_ACTOR_MAX,
        };
        self.counted(kind) >= most
    }

    pub fn counted(&self, kind: RequestKind) -> usize {
        match kind {
            RequestKind::Http => self.requests,
            RequestKind::Socket => self.sockets,
        }
    }

    pub fn count(&mut self, kind: RequestKind, change: isize) {
        let count = match kind {
            RequestKind::Http => &mut self.requests,
            RequestKind::Socket => &mut self.sockets,
        };
        *count = count.saturating_add_signed(change);
    }

    pub fn alarm_due(&self, now_ms: u64) -> bool {
        self.record.alarm.is_some_and(|alarm| alarm.fire_ms <= now_ms)
    }
}

impl ActorRecord {
    /// To which nothing has happened; stands in until the record has been read.
    pub fn unknown(id: ActorId) -> ActorRecord {
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
            by_url: false,
            state_version: None,
            pin: None,
            held_back: None,
        }
    }
}

// Stopping.
impl Core {
    pub(crate) fn stop(&mut self, id: ActorId, reason: StopReason, after: After) {
        let now_ms = self.now_ms;
        let is_deleting = self.actors.get(&id).is_some_and(|actor| self.is_deleting(actor.record.namespace));
        let due_ms = now_ms + if is_deleting { STOP_MS } else { self.config.stop_timeout_ms };
        let Some(actor) = self.actors.get_mut(&id) else { return };
        let Some(on) = actor.on() else { return };
        actor.life = Life::Stopping { on, after };
        actor.record.stop = Some(Stop { reason, after });
        // One that the API destroys counts as connectable until it has stopped, as in the original.
        if reason != StopReason::Destroy {
            actor.record.connectable_ms = None;
        }
        if after == After::Sleep {
            actor.record.sleep_ms = Some(now_ms);
        }
        let message = ToRunner::Command(actor.checkpoint(), Command::Stop(reason));
        if after != After::Destroy {
            self.hold_sockets_back(id);
        }
        self.act(Action::ToRunner { runner: on, message });
        self.set_timer(id, Some(due_ms));
        self.stop_durable(id, on);
    }

    /// It is stopping; what is to become of it then has changed.
    pub(crate) fn change_after(&mut self, id: ActorId, after: After) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        let Life::Stopping { on, .. } = actor.life else { return };
        actor.life = Life::Stopping { on, after };
        if let Some(stop) = &mut actor.record.stop {
            stop.after = after;
        }
        let namespace = actor.record.namespace;
        if self.is_deleting(namespace) {
            self.set_timer(id, Some(self.now_ms + STOP_MS));
        }
        self.stop_durable(id, on);
    }

    /// A runner of a pool outlives the engine: after a restart it is told again, and what it answers must mean the same.
    fn stop_durable(&mut self, id: ActorId, on: RunnerId) {
        if let Some(actor) = self.actors.get(&id).filter(|_| !self.rings(on)) {
            let change = Change::PutActor(Box::new(actor.record.clone()));
            self.commit_actor(id, vec![change], ActorThen::Nothing);
        }
    }

    /// The runner is gone and takes this generation with it.
    pub(crate) fn lost(&mut self, id: ActorId, error: ActorError) {
        self.ended(id, End::Lost(error));
    }

    pub(crate) fn actor_timer(&mut self, id: ActorId) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        actor.timer_ms = None;
        match actor.life {
            Life::Starting { on } | Life::Stopping { on, .. } => {
                // Nobody knows yet whose fault it is that it does not start.
                let stopping = matches!(actor.life, Life::Stopping { .. });
                let message = ToRunner::Command(actor.checkpoint(), Command::Stop(StopReason::Lost));
                let envoy_key = actor.record.runner.as_ref().filter(|_| stopping).map(|runner| runner.key().to_string());
                self.act(Action::ToRunner { runner: on, message });
                self.ended(id, End::Lost(ActorError::EnvoyNoResponse { envoy_key }));
            }
            Life::Calling => self.ended(id, End::Lost(ActorError::EnvoyNoResponse { envoy_key: None })),
            Life::Pausing => self.place(id, Vec::new(), None),
            Life::Crowded { .. } => self.no_place(id),
            _ => {}
        }
    }

    /// A generation has ended: what becomes of its requests, its alarm and the actor.
    pub(crate) fn ended(&mut self, id: ActorId, end: End) {
        self.set_timer(id, None);
        self.end_call_out(id);
        self.alarm_wakes.remove(&id);
        self.forget_asks(id);
        let now_ms = self.now_ms;
        let Some(actor) = self.actors.get_mut(&id) else { return };
        self.awake.leave(&actor.record);
        // It keeps that state until the next one is decided, so that nothing below takes it for idle.
        let was = actor.life;
        let ran_ms = actor.record.connectable_ms.map_or(0, |since_ms| now_ms.saturating_sub(since_ms));
        let runner = actor.record.runner.take();
        actor.record.connectable_ms = None;
        actor.record.stop = None;
        actor.stage = None;
        actor.sealed = None;
        let (uses_sql, calling) = (std::mem::take(&mut actor.uses_sql), actor.calling.take());
        let generation = actor.record.generation;
        // A runner of components has the last word on each request, and may have one on its way: answered, failed or returned.
        let returns = matches!(runner, Some(RunnerRef::Components { .. }));
        let open = std::mem::take(&mut actor.dispatched);
        let mut start_failure = None;
        match &end {
            End::Told => actor.record.crashes = 0,
            End::NotMigrated => {}
            End::Crashed(message) => {
                if ran_ms >= self.config.retry_reset_ms {
                    actor.record.crashes = 0;
                }
                actor.record.crashes += 1;
                if returns {
                    self.crashes.add(id, now_ms);
                }
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
        if uses_sql {
            self.act(Action::EndSql { actor: id, generation });
        }
        if let Some(Calling { request, .. }) = calling {
            self.abandon(request);
        }
        let open = self.keep_sockets(id, open);
        for request in open {
            match &end {
                End::Lost(_) => self.refuse(request, Refusal::RunnerLost { actor: id }),
                _ if returns => {}
                _ => {
                    let message = "the actor stopped before it answered".to_string();
                    let failure = Failure { kind: FailureKind::Stopped, message };
                    self.refuse(request, Refusal::Failed { actor: id, failure });
                }
            }
        }
        if let (Life::Starting { .. }, Some(refusal)) = (was, start_failure.filter(|_| returns)) {
            for request in self.nobody_waits(id) {
                self.refuse(request, refusal.clone());
            }
        }
        if let Life::Placing { on } | Life::Starting { on } | Life::Running { on } | Life::Stopping { on, .. } = was {
            self.leave(id, on);
            // Who was only about to be told has not begun.
            if matches!(end, End::Lost(_)) && !matches!(was, Life::Placing { .. }) {
                self.give_up(id, on, generation);
            }
        }
        // Envoys never knew of crash policies: their actors sleep after a crash, whatever is configured.
        let policy = match (&runner, self.actors.get(&id)) {
            (Some(RunnerRef::Components { .. } | RunnerRef::Legacy { .. }), Some(actor)) => actor.record.crash_policy,
            _ => CrashPolicy::Sleep,
        };
        self.after(id, was, end, policy, returns);
    }

    /// It cannot be started. Who waits for it is to be told that; its sockets wait until they have something new for it.
    pub(crate) fn nobody_waits(&mut self, id: ActorId) -> BTreeSet<RequestId> {
        let Some(actor) = self.actors.get_mut(&id) else { return BTreeSet::new() };
        actor.socket_wakes = false;
        actor.waiting.clone()
    }

    /// Where an actor goes from the end of a generation.
    fn after(&mut self, id: ActorId, was: Life, end: End, policy: CrashPolicy, returns: bool) {
        let now_ms = self.now_ms;
        let mut changes = self.note_held_back(id, &end);
        let Some(actor) = self.actors.get_mut(&id) else { return };
        let destroy = !actor.calls.is_empty()
            || matches!(was, Life::Stopping { after: After::Destroy, .. })
            // Stopping well without having been asked to is how a runner destroys an actor.
            || matches!((&end, was), (End::Told, Life::Starting { .. } | Life::Running { .. }))
            || matches!(end, End::Crashed(_)) && policy == CrashPolicy::Destroy;
        let restart = matches!(was, Life::Stopping { after: After::Start, .. }) || matches!(end, End::NotMigrated);
        let noted = match &end {
            End::Told if destroy => None,
            End::Told if restart => Some(NotedEnd::Moved),
            End::Told => Some(NotedEnd::Slept),
            End::Crashed(message) => Some(NotedEnd::Crashed(message.clone())),
            End::NoRoom(message) => Some(NotedEnd::NoRoom(message.clone())),
            End::NotMigrated => actor.record.held_back.as_ref().map(|held| NotedEnd::NotMigrated(held.message.clone())),
            End::Lost(error) => Some(NotedEnd::Lost(error.clone())),
        };
        let generation = actor.record.generation;
        if let Some(end) = noted {
            self.act(Action::NoteEnd { actor: id, generation, end });
        }
        if destroy {
            return self.end(id, changes);
        }
        let told = matches!(end, End::Told | End::NotMigrated);
        let alarm_sent = self.actors.get(&id).is_some_and(|actor| actor.alarm_sent);
        if !told && (alarm_sent || matches!(was, Life::Starting { .. } | Life::Calling)) {
            // It did not live through its alarm: not again at once, or it would crash in a circle.
            self.put_due_alarm_off(id, &mut changes);
        }
        let Some(actor) = self.actors.get_mut(&id) else { return };
        actor.next_start = match (told, restart) {
            (true, true) => StartReason::Upgraded,
            (true, false) => StartReason::Woken,
            (false, _) => StartReason::Restarted,
        };
        let wanted = restart || actor.is_wanted() || actor.alarm_due(now_ms);
        let persistent = !told && policy == CrashPolicy::Restart;
        let at_once = actor.record.crashes <= 1 && !matches!(end, End::NoRoom(_));
        let failed_to_start = matches!((was, &end), (Life::Calling, End::Lost(_)) | (Life::Starting { .. }, End::Crashed(_)));
        if failed_to_start && !returns && policy != CrashPolicy::Restart {
            self.start_again(id, changes);
        } else if wanted || persistent && at_once {
            self.place(id, changes, None);
        } else if persistent {
            let due_ms = now_ms + self.config.pause_ms(actor.record.crashes.saturating_sub(1));
            self.pause(id, due_ms, changes, None);
        } else {
            self.fall_asleep(id, changes, None);
        }
    }

    /// If its alarm is due: it fires once more, later.
    pub(crate) fn put_due_alarm_off(&mut self, id: ActorId, changes: &mut Vec<Change>) {
        let alarm = self.actors.get(&id).and_then(|actor| actor.record.alarm);
        if let Some(alarm) = alarm.filter(|alarm| alarm.fire_ms <= self.now_ms) {
            let later = self.config.later(alarm, self.now_ms);
            changes.extend(self.change_alarm(id, Some(later)));
        }
    }

    pub(crate) fn fall_asleep(&mut self, id: ActorId, mut changes: Vec<Change>, created_by: Option<CallId>) {
        let now_ms = self.now_ms;
        self.moves.settled(id);
        let Some(actor) = self.actors.get_mut(&id) else { return };
        actor.life = Life::Asleep;
        actor.record.pending_ms = None;
        actor.record.sleep_ms = Some(now_ms);
        changes.push(Change::PutActor(Box::new(actor.record.clone())));
        self.commit_actor(id, changes, ActorThen::Created { by: created_by });
    }

    /// Destroys an actor that is on no runner.
    pub(crate) fn end(&mut self, id: ActorId, mut changes: Vec<Change>) {
        self.set_timer(id, None);
        self.end_call_out(id);
        self.unplaced.remove(&id);
        self.alarm_wakes.remove(&id);
        self.moves.settled(id);
        self.forget_writes(id);
        let now_ms = self.now_ms;
        let Some(actor) = self.actors.get_mut(&id) else { return };
        self.awake.leave(&actor.record);
        if matches!(actor.life, Life::Crowded { .. }) {
            self.awake.forget(id);
        }
        let on = actor.on();
        actor.life = Life::Ending;
        actor.record.runner = None;
        actor.record.stop = None;
        actor.record.connectable_ms = None;
        actor.record.pending_ms = None;
        actor.record.reschedule_ms = None;
        actor.record.destroy_ms = Some(now_ms);
        let generation = actor.record.generation;
        let waiting: Vec<RequestId> = actor.waiting.union(&actor.hibernating).copied().collect();
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
        if let Some(on) = on {
            self.leave(id, on);
        }
        self.act(Action::NoteEnd { actor: id, generation, end: NotedEnd::Destroyed });
        let calls: Vec<CallId> =
            self.actors.get(&id).map(|actor| actor.calls.iter().map(|call| call.call).collect()).unwrap_or_default();
        for call in calls {
            changes.extend(self.audited(call, None));
        }
        self.commit_actor(id, changes, ActorThen::Destroyed);
    }

    pub(crate) fn set_timer(&mut self, id: ActorId, due_ms: Option<u64>) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        if let Some(old_ms) = std::mem::replace(&mut actor.timer_ms, due_ms) {
            self.timers.remove(&(old_ms, Timer::Actor(id)));
        }
        if let Some(due_ms) = due_ms {
            self.timers.insert((due_ms, Timer::Actor(id)));
        }
    }
}
