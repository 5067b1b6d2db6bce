//! What must hold between two inputs, for simulations to check.
//!
//! The core holds some things twice, to find them from both sides. This panics when the two sides differ; it decides nothing.

use std::collections::{BTreeMap, BTreeSet};

use protocol::id::ActorId;

use crate::core::{Core, Timer};
use crate::input::RequestKind;
use crate::life::{Actor, Life};
use crate::place::Place;
use crate::requests::{KeyEntry, KeyWaiter};

impl Core {
    /// Looks at everything: for simulations only.
    pub fn check(&self) {
        self.check_runners();
        self.check_calls_out();
        self.check_requests();
        self.check_calls();
        self.check_keys();
        self.check_timers();
        let unplaced: BTreeSet<ActorId> = self.in_life(|life| matches!(life, Life::Unplaced)).collect();
        assert_eq!(self.unplaced, unplaced, "actors that wait for a runner");
        for id in &self.unplaced {
            let place = self.place_for(&self.actors[id].record);
            assert!(matches!(place, Place::Nowhere(_)), "{id} waits for a runner, and there is one");
        }
        let crowded: BTreeSet<ActorId> = self.in_life(|life| matches!(life, Life::Crowded { .. })).collect();
        assert_eq!(self.awake.waiting().collect::<BTreeSet<ActorId>>(), crowded, "actors that wait for a place");
        assert_eq!(self.awake.found().collect::<BTreeSet<ActorId>>(), crowded, "where they wait");
        let awake = |life| {
            use Life::{Calling, Placing, Running, Starting, Stopping};
            matches!(life, Calling | Placing { .. } | Starting { .. } | Running { .. } | Stopping { .. })
        };
        let awake: BTreeSet<ActorId> = self.in_life(awake).collect();
        assert_eq!(self.awake.ids().collect::<BTreeSet<ActorId>>(), awake, "actors that are awake");
        for id in self.moves.under_way() {
            let life = self.actors.get(&id).map(|actor| actor.life);
            let between = matches!(life, Some(Life::Placing { .. } | Life::Starting { .. } | Life::Stopping { .. }));
            assert!(between, "{id} is on its way to another version, and is {life:?}");
        }
        for id in &self.alarm_wakes {
            let life = self.actors.get(id).map(|actor| actor.life);
            let on_its_way = matches!(
                life,
                Some(Life::Loading | Life::Placing { .. } | Life::Calling | Life::Starting { .. } | Life::Stopping { .. })
            );
            assert!(on_its_way, "{id} is being woken by its alarm, and is {life:?}");
        }
    }

    fn in_life(&self, which: impl Fn(Life) -> bool) -> impl Iterator<Item = ActorId> {
        self.actors.iter().filter(move |(_, actor)| which(actor.life)).map(|(id, _)| *id)
    }

    fn check_runners(&self) {
        for (id, actor) in &self.actors {
            let Some(on) = actor.on() else { continue };
            assert!(self.runners.contains_key(&on), "{id} is on {on:?}, which nobody knows");
        }
        for (on, runner) in &self.runners {
            let aboard = self.actors.iter().filter(|(_, actor)| actor.on() == Some(*on)).map(|(id, _)| *id).collect();
            assert_eq!(runner.actors, aboard, "actors on {on:?}");
            let both: Vec<&ActorId> = runner.given_up.keys().filter(|id| runner.actors.contains(id)).collect();
            assert!(both.is_empty(), "{both:?} are on {on:?}, and were given up");
        }
    }

    fn check_calls_out(&self) {
        let mut running = BTreeMap::new();
        for (id, actor) in self.actors.iter().filter(|(_, actor)| actor.record.by_url && actor.life != Life::Loading) {
            let runs = matches!(actor.life, Life::Calling | Life::Starting { .. } | Life::Running { .. } | Life::Stopping { .. });
            assert!(runs, "a URL was called for {id}, which is {:?}", actor.life);
            *running.entry((actor.record.namespace, actor.record.pool.clone())).or_default() += 1;
        }
        assert_eq!(self.running_by_url, running, "actors that URLs were called for");
    }

    fn check_requests(&self) {
        let mut all: BTreeMap<ActorId, (usize, usize)> = BTreeMap::new();
        for entry in self.requests.values() {
            let (requests, sockets) = all.entry(entry.actor).or_default();
            match entry.wish.kind {
                RequestKind::Http => *requests += 1,
                RequestKind::Socket => *sockets += 1,
            }
        }
        for (id, actor) in &self.actors {
            let Actor { waiting, dispatched, hibernating, .. } = actor;
            for request in waiting.iter().chain(hibernating).chain(dispatched) {
                let entry = self.requests.get(request).unwrap_or_else(|| panic!("{request:?} is over and at {id}"));
                assert_eq!(entry.actor, *id, "{request:?}");
                assert_eq!(entry.sent.is_some(), dispatched.contains(request), "{request:?} at {id}");
                assert!(entry.can_hibernate || !hibernating.contains(request), "{request:?} at {id}");
            }
            let counted = (actor.counted(RequestKind::Http), actor.counted(RequestKind::Socket));
            assert_eq!(counted, all.get(id).copied().unwrap_or_default(), "requests and sockets of {id}: counted, and all");
        }
        for (request, entry) in self.requests.iter().filter(|(_, entry)| entry.sent.is_none()) {
            let actor = self.actors.get(&entry.actor).unwrap_or_else(|| panic!("{request:?} waits for nobody"));
            let waits = actor.waiting.contains(request) != actor.hibernating.contains(request);
            assert!(waits, "{request:?} is forgotten");
        }
    }

    /// Who waits for a call runs, and the call is one that is not over.
    fn check_calls(&self) {
        let waiters = self.key_loads.values().flat_map(|load| &load.waiters);
        let looking_up: BTreeSet<_> = waiters
            .filter_map(|waiter| match waiter {
                KeyWaiter::Request { request, .. } => Some(*request),
                KeyWaiter::Call { .. } | KeyWaiter::Import { .. } => None,
            })
            .collect();
        for (id, actor) in &self.actors {
            let Some(calling) = actor.calling else { continue };
            assert!(actor.on().is_some(), "{id} waits for an actor and is {:?}", actor.life);
            let entry = self.requests.get(&calling.request);
            let own = entry.is_some_and(|entry| entry.wish.caller.is_some_and(|caller| caller.actor == *id));
            assert!(own || looking_up.contains(&calling.request), "{id} waits for {:?}, which is over", calling.request);
            assert_eq!(calling.target, entry.map(|entry| entry.actor), "whom {id} waits for");
        }
    }

    fn check_keys(&self) {
        for (key, entry) in &self.keys {
            let (KeyEntry::Held(id) | KeyEntry::Free(id)) = entry;
            let actor = self.actors.get(id).unwrap_or_else(|| panic!("{key:?} leads to {id}, which is not in memory"));
            let known = actor.life == Life::Loading || actor.key().as_ref() == Some(key);
            assert!(known, "{key:?} leads to {id}, which has another");
        }
    }

    fn check_timers(&self) {
        let mut timers: BTreeSet<(u64, Timer)> = BTreeSet::new();
        timers.extend(self.actors.iter().filter_map(|(id, actor)| Some((actor.timer_ms?, Timer::Actor(*id)))));
        let waiting = self.actors.values().flat_map(|actor| &actor.waiting);
        timers.extend(waiting.map(|request| (self.requests[request].ready_by_ms, Timer::Request(*request))));
        let of_runners = |timer: &Timer| matches!(timer, Timer::RunnerAway(_) | Timer::RunnerDrain(_));
        timers.extend(self.timers.iter().filter(|(_, timer)| of_runners(timer)));
        assert_eq!(self.timers, timers, "timers");
    }
}
