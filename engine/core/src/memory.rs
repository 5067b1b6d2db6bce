//! How an actor comes into memory and leaves it.
//!
//! It comes when it is created, when somebody asks for it, and at boot if it must run. It leaves when its record on disk is the whole
//! truth about it: asleep (or destroyed), every commit durable, nobody waiting.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use protocol::id::{ActorId, NamespaceId, RequestId, RunnerId};
use protocol::message::StartReason;

use crate::action::{Action, Answer};
use crate::api::ActorCall;
use crate::core::{Core, Timer};
use crate::deletion::NOBODY;
use crate::input::{CallId, Create, LoadedActor, RequestKind};
use crate::life::{Actor, Life};
use crate::record::{ActorRecord, Change, CrashPolicy, RunnerRef, Stop};
use crate::refusal::Refusal;
use crate::requests::KeyEntry;
use crate::storage::Stored;

impl Core {
    pub(crate) fn create_actor(
        &mut self,
        namespace: NamespaceId,
        name: String,
        key: Option<String>,
        create: Create,
        by: Option<CallId>,
    ) -> ActorId {
        let id = create.id(self.config.datacenter_label, namespace, &name, key.as_deref());
        let record = ActorRecord {
            namespace,
            name,
            key,
            pool: create.pool,
            crash_policy: create.crash_policy,
            has_input: create.input.is_some(),
            create_ms: self.now_ms,
            ..ActorRecord::unknown(id)
        };
        self.usage.entry(namespace).or_default().actors += 1;
        self.enter(Actor::new(record.clone(), create.input.clone(), None, Life::Asleep));
        let created = Change::CreateActor { record: Box::new(record), input: create.input };
        self.place(id, vec![created], by);
        id
    }

    /// Has the actor's record read, unless it is in memory; a placeholder stands there until then.
    pub(crate) fn load(&mut self, id: ActorId) {
        if let Entry::Vacant(place) = self.actors.entry(id) {
            place.insert(Actor::new(ActorRecord::unknown(id), None, None, Life::Loading));
            self.act(Action::LoadActor { actor: id });
        }
    }

    /// The answer to the one read that a placeholder stands for.
    pub(crate) fn actor_loaded(&mut self, id: ActorId, found: Option<Box<LoadedActor>>) {
        let Some(placeholder) = self.actors.remove(&id) else { return };
        if placeholder.life != Life::Loading {
            self.actors.insert(id, placeholder);
            return;
        }
        let Actor { waiting, calls, words, .. } = placeholder;
        let destroyed_in = found.as_ref().map(|found| found.record.namespace);
        let Some(found) = found.filter(|found| found.record.destroy_ms.is_none()) else {
            self.hear_words(words, false);
            return self.not_found(id, waiting, calls, destroyed_in);
        };
        let waiting = self.without_strangers(waiting, found.record.namespace);
        self.adopt(*found, waiting);
        self.count_waiting(id);
        let wanted = self.actors.get(&id).is_some_and(|actor| !actor.waiting.is_empty());
        for call in calls {
            self.operate(id, call);
        }
        self.hear_words(words, true);
        if wanted {
            self.wake(id);
        }
        if self.alarm_wakes.contains(&id) {
            self.ring(id);
        }
        self.forget_if_idle(id);
    }

    /// Requests that have waited for its record: now it is known whose they are.
    fn count_waiting(&mut self, id: ActorId) {
        let waiting = self.actors.get(&id).map(|actor| actor.waiting.clone()).unwrap_or_default();
        for request in waiting {
            let Some(mut wish) = self.requests.get(&request).map(|entry| entry.wish) else { continue };
            match self.count_request(&mut wish, id) {
                Ok(()) => drop(self.requests.get_mut(&request).map(|entry| entry.wish = wish)),
                Err(refusal) => self.refuse(request, refusal),
            }
        }
    }

    /// Takes a sleeping actor into memory, as it was read. What boot had to say of it may not have been on disk then.
    pub(crate) fn adopt(&mut self, mut found: LoadedActor, waiting: BTreeSet<RequestId>) {
        found.record.is_nowhere(self.now_ms);
        let mut actor = Actor::new(found.record, found.input, found.database, Life::Asleep);
        actor.stored = Stored::new(found.entries_bytes);
        for kind in waiting.iter().filter_map(|request| Some(self.requests.get(request)?.wish.kind)) {
            actor.count(kind, 1);
        }
        actor.waiting = waiting;
        self.enter(actor);
    }

    /// From now on its key leads to it.
    pub(crate) fn enter(&mut self, actor: Actor) {
        let id = actor.record.id;
        if let Some(key) = actor.key() {
            self.keys.insert(key, KeyEntry::Held(id));
        }
        self.actors.insert(id, actor);
    }

    /// An actor that was awake when the engine went down: what its record must say now.
    pub(crate) fn resurrect(&mut self, loaded: LoadedActor, expected: &BTreeMap<RunnerRef, RunnerId>) -> Option<Change> {
        let LoadedActor { mut record, input, database, entries_bytes } = loaded;
        if record.destroy_ms.is_some() {
            return None;
        }
        let id = record.id;
        if let Some(on) = record.runner.as_ref().and_then(|runner| expected.get(runner)) {
            self.still_runs(LoadedActor { record, input, database, entries_bytes }, *on);
            return None;
        }
        let wanted = record.crash_policy == CrashPolicy::Restart || record.pending_ms.is_some() || record.start_ms.is_none();
        record.is_nowhere(self.now_ms);
        record.pending_ms = wanted.then_some(self.now_ms);
        let change = Change::PutActor(Box::new(record.clone()));
        if wanted {
            let mut actor = Actor::new(record, input, database, Life::Unplaced);
            actor.stored = Stored::new(entries_bytes);
            if actor.record.start_ms.is_some() {
                actor.next_start = StartReason::Restarted;
            }
            self.enter(actor);
            self.unplaced.insert(id);
        }
        Some(change)
    }

    /// It was on a runner that may come back, and most likely runs there still.
    fn still_runs(&mut self, loaded: LoadedActor, on: RunnerId) {
        let LoadedActor { record, input, database, entries_bytes } = loaded;
        let id = record.id;
        let (life, timeout_ms) = match record.stop {
            Some(Stop { after, .. }) => (Life::Stopping { on, after }, Some(self.config.stop_timeout_ms)),
            None if record.connectable_ms.is_some() => (Life::Running { on }, None),
            None => (Life::Starting { on }, Some(self.config.start_timeout_ms)),
        };
        if record.by_url {
            *self.running_by_url.entry((record.namespace, record.pool.clone())).or_default() += 1;
        }
        let mut actor = Actor::new(record, input, database, life);
        actor.stored = Stored::new(entries_bytes);
        self.awake.enter(&actor.record);
        actor.call_lost = actor.record.by_url;
        actor.version = actor.record.state_version.filter(|_| matches!(actor.record.runner, Some(RunnerRef::Components { .. })));
        actor.command = actor.start_index() + u64::from(actor.record.stop.is_some());
        self.enter(actor);
        self.board(id, on);
        self.set_timer(id, timeout_ms.map(|timeout_ms| self.now_ms + timeout_ms));
    }

    /// Nobody waits, nothing runs, all is on disk: the record there is the truth. But while its key is being read it stays:
    /// what that read brings may be older than what has happened to it since, and must not come back as the truth.
    pub(crate) fn forget_if_idle(&mut self, id: ActorId) {
        let Some(actor) = self.actors.get(&id) else { return };
        let idle = matches!(actor.life, Life::Asleep | Life::Gone)
            && actor.commits_in_flight == 0
            && actor.stored.is_settled()
            && actor.calls.is_empty()
            // Those included that a runner still has from an earlier generation: they count until they are over.
            && actor.counted(RequestKind::Http) == 0
            && actor.counted(RequestKind::Socket) == 0;
        if !idle {
            return;
        }
        if !self.key_loads.is_empty()
            && let Some(key) = actor.key()
            && let Some(load) = self.key_loads.get_mut(&key)
        {
            load.kept.insert(id);
        } else {
            self.forget(id);
        }
    }

    fn forget(&mut self, id: ActorId) {
        let Some(actor) = self.actors.remove(&id) else { return };
        if let Some(timer_ms) = actor.timer_ms {
            self.timers.remove(&(timer_ms, Timer::Actor(id)));
        }
        self.alarm_wakes.remove(&id);
        self.unplaced.remove(&id);
        let Some(key) = actor.key() else { return };
        // After its end the key may already be another actor's.
        let own = match self.keys.get(&key) {
            Some(KeyEntry::Held(holder) | KeyEntry::Free(holder)) => *holder == id,
            None => false,
        };
        if own {
            self.keys.remove(&key);
        }
    }

    /// There is no such actor, or it was destroyed; then whatever would stop it is done already.
    fn not_found(&mut self, id: ActorId, waiting: BTreeSet<RequestId>, calls: Vec<ActorCall>, destroyed_in: Option<NamespaceId>) {
        self.alarm_wakes.remove(&id);
        for request in waiting {
            self.refuse(request, Refusal::ActorNotFound);
        }
        for ActorCall { call, namespace, operation } in calls {
            if call == NOBODY {
                self.ended_in(namespace, id);
            }
            let done = operation.stops() && destroyed_in == Some(namespace);
            self.reply(call, if done { Ok(Answer::Done) } else { Err(Refusal::ActorNotFound) });
        }
    }
}

impl ActorRecord {
    /// It runs nowhere, whatever it did when this was written.
    fn is_nowhere(&mut self, now_ms: u64) {
        self.runner = None;
        self.by_url = false;
        self.connectable_ms = None;
        self.reschedule_ms = None;
        self.sleep_ms.get_or_insert(now_ms);
    }
}
