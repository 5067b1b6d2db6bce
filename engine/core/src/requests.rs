//! How a request finds its actor and waits for it.
//!
//! A request waits at one actor, in the order of arrival, until the actor runs; then it is dispatched. It ends exactly once. Its
//! moment to give up is set when it arrives and never moves, however often the actor stops and starts meanwhile.

use std::collections::BTreeSet;

use protocol::id::{ActorId, Generation, NamespaceId, RequestId, RunnerId};

use crate::action::Action;
use crate::actor_calls::Caller;
use crate::core::{Core, Timer};
use crate::input::{CallId, Create, Import, KeyRef, LoadedActor, RequestKind, Target};
use crate::life::Life;
use crate::refusal::Refusal;
use crate::runners::Runner;

pub(crate) struct Request {
    pub actor: ActorId,
    pub wish: Wish,
    /// A socket that its actor has taken, and whose client's side outlives this generation.
    pub can_hibernate: bool,
    /// Until when it waits.
    pub ready_by_ms: u64,
    /// The runner and the generation it was given to; none while it waits.
    pub sent: Option<(RunnerId, Generation)>,
}

/// What a request wants to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Wish {
    pub kind: RequestKind,
    pub skip_ready_wait: bool,
    /// The actor that waits for the answer, if it is one.
    pub caller: Option<Caller>,
    /// It counts as one of its namespace's; what actors ask of each other does not.
    pub counted: bool,
    /// All that whoever asks may see.
    pub within: Option<NamespaceId>,
}

/// What is known in memory of a key that is not being read.
pub(crate) enum KeyEntry {
    Held(ActorId),
    /// This actor had it and is being destroyed; the disk may still say otherwise.
    Free(ActorId),
}

/// A key that is being read.
#[derive(Default)]
pub(crate) struct KeyLoad {
    /// Who wants to know.
    pub waiters: Vec<KeyWaiter>,
    /// Actors that stay in memory only because of this read; see [`Core::forget_if_idle`].
    pub kept: BTreeSet<ActorId>,
}

pub(crate) enum KeyWaiter {
    Request {
        request: RequestId,
        wish: Wish,
        arrived_ms: u64,
        create: Option<Box<Create>>,
    },
    /// `POST` refuses a key that is taken, `PUT` takes what is there.
    Call {
        call: CallId,
        create: Box<Create>,
        get: bool,
    },
    /// Refuses a key that is taken.
    Import {
        call: CallId,
        import: Box<Import>,
    },
}

impl Core {
    pub(crate) fn request_arrived(&mut self, request: RequestId, target: Target, mut wish: Wish) {
        match target {
            Target::Id(actor) => self.request_actor(request, wish, actor, self.now_ms),
            Target::IdWithin { actor, namespace } => {
                self.request_actor(request, Wish { within: Some(namespace), ..wish }, actor, self.now_ms);
            }
            Target::Key { namespace, name, key, create } => {
                wish.counted = true;
                let waiter = KeyWaiter::Request { request, wish, arrived_ms: self.now_ms, create };
                let known = self.namespace(&namespace);
                let counted = known.and_then(|id| self.check_request_rate(id).map(|()| id));
                let asked = counted.and_then(|id| self.request_key(waiter, &namespace, KeyRef { namespace: id, name, key }));
                if let Err(refusal) = asked {
                    self.turn_away(request, wish, refusal);
                }
            }
        }
    }

    /// `namespace` is the name of the key's.
    pub(crate) fn request_key(&mut self, waiter: KeyWaiter, namespace: &str, key: KeyRef) -> Result<(), Refusal> {
        if let KeyWaiter::Request { create: Some(create), .. } = &waiter {
            self.check_create(namespace, key.namespace, &key.name, Some(&key.key), create)?;
        }
        self.want_key(key, waiter);
        Ok(())
    }

    /// Somebody wants the actor with this key.
    pub(crate) fn want_key(&mut self, key: KeyRef, waiter: KeyWaiter) {
        match self.keys.get_mut(&key) {
            Some(KeyEntry::Held(actor)) => {
                let actor = *actor;
                self.key_known(&key, Some(actor), waiter);
            }
            Some(KeyEntry::Free(_)) => self.key_known(&key, None, waiter),
            None => {
                let first = !self.key_loads.contains_key(&key);
                self.key_loads.entry(key.clone()).or_default().waiters.push(waiter);
                if first {
                    self.act(Action::LoadKey { key });
                }
            }
        }
    }

    pub(crate) fn key_loaded(&mut self, key: KeyRef, found: Option<Box<LoadedActor>>) {
        let Some(KeyLoad { waiters, mut kept }) = self.key_loads.remove(&key) else { return };
        if let Some(found) = found {
            kept.insert(found.record.id);
            match self.actors.get(&found.record.id) {
                // Whatever is in memory is newer.
                Some(actor) if actor.life == Life::Loading => {
                    self.keys.entry(key.clone()).or_insert(KeyEntry::Held(found.record.id));
                }
                Some(_) => {}
                None => self.adopt(*found, BTreeSet::new()),
            }
        }
        for waiter in waiters {
            let holder = match self.keys.get(&key) {
                Some(KeyEntry::Held(actor)) => Some(*actor),
                _ => None,
            };
            self.key_known(&key, holder, waiter);
        }
        for actor in kept {
            self.forget_if_idle(actor);
        }
    }

    fn key_known(&mut self, key: &KeyRef, holder: Option<ActorId>, waiter: KeyWaiter) {
        match (waiter, holder) {
            (KeyWaiter::Request { request, wish, arrived_ms, .. }, Some(actor)) => {
                self.request_actor(request, wish, actor, arrived_ms);
            }
            (KeyWaiter::Request { request, wish, create: None, .. }, None) => {
                self.turn_away(request, wish, Refusal::ActorNotFound);
            }
            (KeyWaiter::Request { request, wish, arrived_ms, create: Some(create) }, None) => {
                if let Err(refusal) = self.check_actors_quota(key.namespace) {
                    return self.turn_away(request, wish, refusal);
                }
                let actor = self.create_actor(key.namespace, key.name.clone(), Some(key.key.clone()), *create, None);
                self.request_actor(request, wish, actor, arrived_ms);
            }
            (KeyWaiter::Call { call, get, .. }, Some(actor)) => self.answer_existing(call, get, key, actor),
            (KeyWaiter::Import { call, .. }, Some(actor)) => self.answer_existing(call, false, key, actor),
            (KeyWaiter::Import { call, import }, None) => {
                if let Err(refusal) = self.check_import_quotas(key.namespace, &import) {
                    return self.reply(call, Err(refusal));
                }
                self.import_actor(key.namespace, key.name.clone(), Some(key.key.clone()), *import, call);
            }
            (KeyWaiter::Call { call, create, .. }, None) => {
                if let Err(refusal) = self.check_actors_quota(key.namespace) {
                    return self.reply(call, Err(refusal));
                }
                self.create_actor(key.namespace, key.name.clone(), Some(key.key.clone()), *create, Some(call));
            }
        }
    }

    pub(crate) fn request_actor(&mut self, request: RequestId, mut wish: Wish, id: ActorId, arrived_ms: u64) {
        let ready_by_ms = arrived_ms + self.config.ready_timeout_ms;
        self.load(id);
        if let Err(refusal) = self.count_request(&mut wish, id) {
            return self.turn_away(request, wish, refusal);
        }
        if let Err(refusal) = self.may_wait_for(request, wish, id) {
            return self.turn_away(request, wish, refusal);
        }
        let Some(actor) = self.actors.get_mut(&id) else { return };
        if actor.is_ending() {
            return self.turn_away(request, wish, Refusal::ActorDestroyedWhileWaiting { actor: id });
        }
        if actor.is_full(wish.kind) {
            return self.turn_away(request, wish, Refusal::Overloaded { actor: id });
        }
        actor.count(wish.kind, 1);
        actor.used_ms = self.now_ms;
        actor.asked_ms = None;
        let now = match actor.life {
            Life::Running { on } => Some(on),
            Life::Starting { on } | Life::Stopping { on, .. } if wish.skip_ready_wait => Some(on),
            _ => None,
        };
        let now = now.filter(|on| self.runners.get(on).is_some_and(Runner::is_here));
        let generation = actor.record.generation;
        let sent = now.map(|on| (on, generation));
        self.requests.insert(request, Request { actor: id, wish, can_hibernate: false, ready_by_ms, sent });
        if let Some(on) = now {
            actor.dispatched.insert(request);
            return self.act(Action::Dispatch { request, runner: on, actor: id, generation });
        }
        actor.waiting.insert(request);
        let on = actor.on();
        self.timers.insert((ready_by_ms, Timer::Request(request)));
        match on {
            Some(on) => self.wanted_while_away(on),
            None => self.wake(id),
        }
    }

    /// Counts a request that knows its actor's id only, once it is known whose that is.
    pub(crate) fn count_request(&mut self, wish: &mut Wish, id: ActorId) -> Result<(), Refusal> {
        let known = self.actors.get(&id).filter(|actor| actor.life != Life::Loading && !wish.counted);
        let Some(namespace) = known.map(|actor| actor.record.namespace) else { return Ok(()) };
        wish.counted = true;
        self.deleting(namespace)?;
        self.check_request_rate(namespace)
    }

    /// The actor runs: everything that waited for it goes to it.
    pub(crate) fn dispatch_waiting(&mut self, id: ActorId) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        let Life::Running { on } = actor.life else { return };
        if !self.runners.get(&on).is_some_and(Runner::is_here) {
            return;
        }
        let generation = actor.record.generation;
        let waiting = std::mem::take(&mut actor.waiting);
        actor.dispatched.extend(&waiting);
        for request in waiting {
            if let Some(entry) = self.requests.get_mut(&request) {
                entry.sent = Some((on, generation));
                self.timers.remove(&(entry.ready_by_ms, Timer::Request(request)));
            }
            self.act(Action::Dispatch { request, runner: on, actor: id, generation });
        }
    }

    /// Answered, failed on the way, or nobody waits for it any more.
    pub(crate) fn request_over(&mut self, request: RequestId) {
        let Some(entry) = self.requests.remove(&request) else {
            return self.forget_key_waiter(request);
        };
        self.timers.remove(&(entry.ready_by_ms, Timer::Request(request)));
        self.waits_no_more(request, entry.wish);
        if let Some(actor) = self.actors.get_mut(&entry.actor) {
            actor.count(entry.wish.kind, -1);
            actor.waiting.remove(&request);
            actor.dispatched.remove(&request);
            actor.hibernating.remove(&request);
            actor.used_ms = self.now_ms;
            self.forget_if_idle(entry.actor);
        }
    }

    /// The client left while the key was being read: rare, and few keys are being read at one time.
    fn forget_key_waiter(&mut self, gone: RequestId) {
        let mut wish = None;
        for load in self.key_loads.values_mut() {
            // Left empty on purpose if it was the only one: the read is still under way.
            load.waiters.retain(|waiter| match waiter {
                KeyWaiter::Request { request, wish: wished, .. } if *request == gone => {
                    wish = Some(*wished);
                    false
                }
                KeyWaiter::Request { .. } | KeyWaiter::Call { .. } | KeyWaiter::Import { .. } => true,
            });
        }
        if let Some(wish) = wish {
            self.waits_no_more(gone, wish);
        }
    }

    /// It never came to wait for an actor.
    pub(crate) fn turn_away(&mut self, request: RequestId, wish: Wish, refusal: Refusal) {
        self.waits_no_more(request, wish);
        self.act(Action::Refuse { request, refusal });
    }

    pub(crate) fn refuse(&mut self, request: RequestId, refusal: Refusal) {
        self.request_over(request);
        self.act(Action::Refuse { request, refusal });
    }

    pub(crate) fn request_waited_too_long(&mut self, request: RequestId) {
        if let Some(entry) = self.requests.get(&request).filter(|entry| entry.sent.is_none()) {
            let refusal = Refusal::ActorReadyTimeout { actor: entry.actor, waited_ms: self.config.ready_timeout_ms };
            self.refuse(request, refusal);
        }
    }

    /// The runner never began it, so it may go to the actor's next generation.
    pub(crate) fn request_returned(&mut self, runner: RunnerId, request: RequestId) {
        let Some(entry) = self.requests.get_mut(&request) else { return };
        let Some((_, generation)) = entry.sent.filter(|(on, _)| *on == runner) else { return };
        let (id, ready_by_ms) = (entry.actor, entry.ready_by_ms);
        match self.actors.get_mut(&id).filter(|actor| actor.on().is_some() && actor.record.generation == generation) {
            // This generation is at its end and will say so: to dispatch again now would send it round in a circle.
            Some(actor) => {
                entry.sent = None;
                actor.dispatched.remove(&request);
                actor.waiting.insert(request);
                self.timers.insert((ready_by_ms, Timer::Request(request)));
            }
            None => {
                let wish = entry.wish;
                self.requests.remove(&request);
                if let Some(actor) = self.actors.get_mut(&id) {
                    actor.count(wish.kind, -1);
                }
                self.request_actor(request, wish, id, ready_by_ms.saturating_sub(self.config.ready_timeout_ms));
                self.forget_if_idle(id);
            }
        }
    }

    /// The runner is gone, and the requests of actors that had stopped on it before with it.
    pub(crate) fn requests_lost(&mut self, runner: RunnerId) {
        let on_it =
            |(request, entry): (&RequestId, &Request)| entry.sent.filter(|(on, _)| *on == runner).map(|_| (*request, entry.actor));
        let lost: Vec<(RequestId, ActorId)> = self.requests.iter().filter_map(on_it).collect();
        for (request, actor) in lost {
            self.refuse(request, Refusal::RunnerLost { actor });
        }
    }
}
