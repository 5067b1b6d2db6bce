//! The runners: who is there, who is away, who is on its way out.
//!
//! ```text
//!           joined               left               joined again under the same name
//! (unknown) -------> Here ----------------> Away --------------------------------> Here
//!                     |                      | lost_ms later, or once another runner of the pool has come and
//!                     | stopping: drained    v its actors are wanted
//!                     +-------------------> (forgotten) what it ran is lost
//! ```
//!
//! A runner of components lives in the engine's process or speaks for itself: when its link ends, so do its actors. A runner of a
//! pool may come back, and its actors have gone on running meanwhile.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use protocol::component::{ComponentHash, ComponentRefusal};
use protocol::id::{ActorId, Generation, NamespaceId, RunnerId};
use protocol::message::{Checkpoint, Command, RunnerProfile, RunnerProtocol, Serves, StopReason, ToRunner};

use crate::action::Action;
use crate::core::{Core, Then, Timer};
use crate::life::Life;
use crate::record::{ActorError, After, Change, CrashPolicy, PoolKind, RunnerConfigRecord, RunnerRef};

/// Actors that one runner has lost and that are remembered, 24 bytes each: one that never says that they have ended is broken.
const GIVEN_UP_MAX: usize = 65_536;

pub(crate) struct Runner {
    pub profile: RunnerProfile,
    /// Those that are on it.
    pub actors: BTreeSet<ActorId>,
    /// Those that were given up while it may have gone on running them, and their generations then. What it writes of them belongs
    /// to no other: it is not taken before it has ended them, or has been given them again.
    pub given_up: BTreeMap<ActorId, Generation>,
    pub link: Link,
    /// Components it was asked to make ready, those it is ready for, and those it cannot run.
    pub asked: BTreeSet<ComponentHash>,
    pub prepared: BTreeSet<ComponentHash>,
    pub refused: BTreeMap<ComponentHash, ComponentRefusal>,
    /// Whether it has given a sign of life lately.
    fresh: bool,
    drain: Option<Drain>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Link {
    Here,
    Away {
        since_ms: u64,
        /// Another runner has joined its pool since.
        replaced: bool,
    },
}

/// It takes no more actors, and those that it has go elsewhere.
struct Drain {
    waiting: VecDeque<ActorId>,
    /// Its connection is closed once they are gone.
    evict: bool,
}

impl Runner {
    fn new(profile: RunnerProfile, link: Link) -> Runner {
        Runner {
            profile,
            actors: BTreeSet::new(),
            given_up: BTreeMap::new(),
            link,
            asked: BTreeSet::new(),
            prepared: BTreeSet::new(),
            refused: BTreeMap::new(),
            fresh: true,
            drain: None,
        }
    }

    pub fn is_here(&self) -> bool {
        self.link == Link::Here
    }

    pub fn serves_pool(&self, of: NamespaceId, name: &str) -> bool {
        matches!(&self.profile.serves, Serves::Pool { namespace, pool, .. } if *namespace == of && pool == name)
    }

    pub fn is_of(&self, of: NamespaceId) -> bool {
        matches!(self.profile.serves, Serves::Pool { namespace, .. } if namespace == of)
    }

    pub fn is_legacy(&self) -> bool {
        matches!(self.profile.serves, Serves::Pool { protocol: RunnerProtocol::Legacy(_), .. })
    }

    pub fn takes_actors(&self) -> bool {
        self.is_here() && self.fresh && self.drain.is_none()
    }

    pub fn is_draining(&self) -> bool {
        self.drain.is_some()
    }

    /// Whether it can start this component at once, or none.
    pub fn is_ready_for(&self, component: Option<ComponentHash>) -> bool {
        match component {
            Some(component) => self.prepared.contains(&component),
            None => !self.profile.runs_components(),
        }
    }

    pub fn has_room(&self) -> bool {
        match self.profile.serves {
            Serves::Pool { slots: Some(slots), .. } => self.actors.len() < slots as usize,
            _ => true,
        }
    }
}

// Coming.
impl Core {
    pub(crate) fn component_runners(&self) -> impl Iterator<Item = (RunnerId, &Runner)> {
        self.runners.iter().filter(|(_, runner)| runner.profile.runs_components()).map(|(id, runner)| (*id, runner))
    }

    pub(crate) fn runner_joined(&mut self, id: RunnerId, profile: RunnerProfile) {
        match self.runners.get_mut(&id) {
            Some(runner) => {
                runner.profile = profile.clone();
                runner.link = Link::Here;
                runner.fresh = true;
                runner.drain = None;
                self.resume(id);
            }
            None => {
                self.runners.insert(id, Runner::new(profile.clone(), Link::Here));
                self.replaces(id);
            }
        }
        match &profile.serves {
            Serves::Components => self.prepare_all(id),
            Serves::Pool { namespace, pool, protocol, .. } => {
                self.pool_speaks(*namespace, pool, *protocol);
                if matches!(protocol, RunnerProtocol::Legacy(_)) {
                    self.drain_older_legacy(*namespace, pool, profile.version);
                }
            }
        }
        self.place_unplaced();
    }

    /// What is live or a canary, what is about to be, and what actors wait for.
    fn prepare_all(&mut self, id: RunnerId) {
        let records = self.deployments.values().flat_map(|of_namespace| of_namespace.values()).chain(self.publishing.values());
        let in_use = records.flat_map(|record| {
            let canary = record.canary.and_then(|canary| record.version(canary.version));
            canary.into_iter().chain([record.live_version()]).map(|version| version.component)
        });
        let components: BTreeSet<ComponentHash> =
            in_use.chain(self.deploying.iter().map(|deploying| deploying.component)).collect();
        for component in components {
            self.ask_to_prepare(id, component);
        }
        for actor in self.unplaced.clone() {
            self.have_prepared(actor);
        }
    }

    /// The protocol that a pool's runners speak is remembered: the API shows it, and clients look at it.
    fn pool_speaks(&mut self, namespace: NamespaceId, pool: &str, protocol: RunnerProtocol) {
        let RunnerProtocol::Envoy(version) = protocol else { return };
        self.update_pool(namespace, pool, |config| config.protocol_version = Some(version));
    }

    pub(crate) fn update_pool(&mut self, namespace: NamespaceId, pool: &str, update: impl FnOnce(&mut RunnerConfigRecord)) {
        let Some(pool) = self.pools.get_mut(&(namespace, pool.to_string())) else { return };
        let before = pool.config.clone();
        update(&mut pool.config);
        if pool.config != before {
            let changed = Change::PutRunnerConfig(Box::new(pool.config.clone()));
            self.commit(vec![changed], Then::Nothing);
        }
    }

    /// It is back: it hears again what it has not acknowledged, and the requests that have waited go on.
    fn resume(&mut self, id: RunnerId) {
        let actors: Vec<ActorId> = self.runners.get(&id).map(|runner| runner.actors.iter().copied().collect()).unwrap_or_default();
        for actor in actors {
            self.send_commands_again(actor);
            self.dispatch_waiting(actor);
            self.move_if_its_call_is_lost(actor);
        }
    }

    fn move_if_its_call_is_lost(&mut self, id: ActorId) {
        let Some(actor) = self.actors.get(&id).filter(|actor| actor.call_lost) else { return };
        if matches!(actor.life, Life::Starting { .. } | Life::Running { .. }) {
            self.stop(id, StopReason::GoingAway, After::Start);
        }
    }

    /// The start, if it has not been acknowledged, and the stop, if it was told and not acknowledged.
    fn send_commands_again(&mut self, id: ActorId) {
        let Some(actor) = self.actors.get(&id) else { return };
        let (Life::Starting { on } | Life::Running { on } | Life::Stopping { on, .. }) = actor.life else { return };
        let acked = actor.record.acked_command;
        let first = actor.start_index();
        let checkpoint = |index| Checkpoint { actor: id, generation: actor.record.generation, index };
        let mut commands = Vec::new();
        if acked < first {
            commands.push((checkpoint(first), Command::Start(Box::new(self.start_of(actor)))));
        }
        if let Some(stop) = actor.record.stop.filter(|_| acked < first + 1) {
            commands.push((checkpoint(first + 1), Command::Stop(stop.reason)));
        }
        for (checkpoint, command) in commands {
            self.act(Action::ToRunner { runner: on, message: ToRunner::Command(checkpoint, command) });
        }
    }

    pub(crate) fn runner_fresh(&mut self, id: RunnerId, fresh: bool) {
        if let Some(runner) = self.runners.get_mut(&id) {
            runner.fresh = fresh;
            self.place_unplaced();
        }
    }
}

// Going.
impl Core {
    pub(crate) fn runner_left(&mut self, id: RunnerId) {
        let since_ms = self.now_ms;
        let lost_ms = since_ms + self.config.runner_lost_ms;
        let Some(runner) = self.runners.get_mut(&id) else { return };
        if runner.profile.runs_components() || runner.drain.is_some() || runner.actors.is_empty() {
            return self.lose_runner(id);
        }
        if runner.is_here() {
            runner.link = Link::Away { since_ms, replaced: false };
            self.timers.insert((lost_ms, Timer::RunnerAway(id)));
            self.lose_called(id);
            self.place_unplaced();
        }
    }

    /// Runners that were there before the engine went down.
    pub(crate) fn expect_runners(&mut self, runners: Vec<(RunnerId, RunnerRef)>) -> BTreeMap<RunnerRef, RunnerId> {
        let mut expected = BTreeMap::new();
        for (id, name) in runners {
            let (namespace, pool, protocol) = match &name {
                RunnerRef::Components { .. } => continue,
                RunnerRef::Envoy { namespace, .. } => (*namespace, String::new(), RunnerProtocol::Envoy(0)),
                RunnerRef::Legacy { namespace, pool, .. } => (*namespace, pool.clone(), RunnerProtocol::Legacy(0)),
            };
            let serves = Serves::Pool { namespace, pool, protocol, slots: None };
            let profile = RunnerProfile { key: name.key().to_string(), version: 0, serves };
            self.runners.insert(id, Runner::new(profile, Link::Away { since_ms: self.now_ms, replaced: false }));
            self.timers.insert((self.now_ms + self.config.runner_lost_ms, Timer::RunnerAway(id)));
            expected.insert(name, id);
        }
        expected
    }

    /// Another runner has joined the pool while some of its runners are away: their program has most likely been started anew,
    /// under another name. Whoever waits for an actor of theirs need not wait until they are given up.
    fn replaces(&mut self, new: RunnerId) {
        let Some(Serves::Pool { namespace, pool, .. }) = self.runners.get(&new).map(|runner| runner.profile.serves.clone()) else {
            return;
        };
        let mut checks = Vec::new();
        for (id, runner) in &mut self.runners {
            // After a restart of the engine the pool of an envoy that has not come back is not known.
            let same_pool = match &runner.profile.serves {
                Serves::Pool { namespace: of, pool: name, .. } => *of == namespace && (*name == pool || name.is_empty()),
                Serves::Components => false,
            };
            if let Link::Away { since_ms, replaced } = &mut runner.link
                && same_pool
                && !*replaced
            {
                *replaced = true;
                checks.push((*since_ms + self.config.runner_replaced_ms, Timer::RunnerAway(*id)));
            }
        }
        self.timers.extend(checks);
    }

    /// A runner has been away for a while.
    pub(crate) fn runner_away(&mut self, id: RunnerId) {
        let Some(runner) = self.runners.get(&id) else { return };
        let Link::Away { since_ms, replaced } = runner.link else { return };
        let away_ms = self.now_ms - since_ms;
        if away_ms >= self.config.runner_lost_ms {
            return self.lose_runner(id);
        }
        if replaced && away_ms >= self.config.runner_replaced_ms {
            let wanted = |id: &&ActorId| self.actors.get(id).is_some_and(|actor| actor.is_wanted() || !actor.dispatched.is_empty());
            let error = self.loss_of(id);
            for actor in runner.actors.iter().filter(wanted).copied().collect::<Vec<_>>() {
                self.lost(actor, error.clone());
            }
        }
    }

    /// Somebody waits for an actor whose runner is away.
    pub(crate) fn wanted_while_away(&mut self, on: RunnerId) {
        if self.runners.get(&on).is_some_and(|runner| matches!(runner.link, Link::Away { replaced: true, .. })) {
            self.runner_away(on);
        }
    }

    /// It is given up, and what it ran with it. As whenever one goes, others may now be those with the newest code: what waited
    /// for room may go to them.
    fn lose_runner(&mut self, id: RunnerId) {
        let error = self.loss_of(id);
        // First: what is started elsewhere must not be started on it.
        let Some(runner) = self.runners.remove(&id) else { return };
        let components = runner.profile.runs_components();
        for actor in runner.actors {
            self.lost(actor, error.clone());
        }
        self.requests_lost(id);
        self.act(Action::ForgetRunner { runner: id });
        self.place_unplaced();
        if components {
            self.will_not_prepare(id, |_| true);
        }
    }

    /// How the loss of this runner is told of its actors.
    pub(crate) fn loss_of(&self, id: RunnerId) -> ActorError {
        let key = self.runners.get(&id).map(|runner| runner.profile.key.clone()).unwrap_or_default();
        match self.runners.get(&id).is_some_and(Runner::is_legacy) {
            true => ActorError::RunnerConnectionLost { runner_id: key },
            false => ActorError::EnvoyConnectionLost { envoy_key: key },
        }
    }

    pub(crate) fn board(&mut self, id: ActorId, on: RunnerId) {
        if let Some(runner) = self.runners.get_mut(&on) {
            runner.actors.insert(id);
            runner.given_up.remove(&id);
        }
    }

    /// It has lost this generation, and nobody has heard from it that it does not run.
    pub(crate) fn give_up(&mut self, id: ActorId, on: RunnerId, generation: Generation) {
        if let Some(runner) = self.runners.get_mut(&on).filter(|runner| !runner.profile.runs_components())
            && (runner.given_up.len() < GIVEN_UP_MAX || runner.given_up.contains_key(&id))
        {
            runner.given_up.insert(id, generation);
        }
    }

    /// A generation on this runner is over.
    pub(crate) fn leave(&mut self, id: ActorId, on: RunnerId) {
        let Some(runner) = self.runners.get_mut(&on) else { return };
        runner.actors.remove(&id);
        let slots = matches!(runner.profile.serves, Serves::Pool { slots: Some(_), .. });
        if runner.actors.is_empty() && runner.drain.as_ref().is_some_and(|drain| drain.evict) {
            self.act(Action::EvictRunner { runner: on });
        }
        if slots {
            self.place_unplaced();
        }
    }
}

// Draining.
impl Core {
    /// It takes no more actors; those that it has are told to stop, and start elsewhere. `evict`: then it is sent away.
    pub(crate) fn drain(&mut self, id: RunnerId, evict: bool) {
        let Some(runner) = self.runners.get_mut(&id) else { return };
        if let Some(drain) = &mut runner.drain {
            drain.evict |= evict;
            return;
        }
        let waiting: VecDeque<ActorId> = runner.actors.iter().copied().collect();
        let empty = waiting.is_empty();
        runner.drain = Some(Drain { waiting, evict });
        self.place_unplaced();
        if empty && evict {
            return self.act(Action::EvictRunner { runner: id });
        }
        let delay_ms = self.eviction_of(id).map_or(0, |(delay_ms, ..)| delay_ms);
        match delay_ms {
            0 => self.drain_on(id),
            delay_ms => drop(self.timers.insert((self.now_ms + delay_ms, Timer::RunnerDrain(id)))),
        }
    }

    /// It takes no more actors, and those that it has stop. Those that are always to run, or that somebody waits for, start on another
    /// runner, or when the engine is back; the others sleep until something wants them.
    pub(crate) fn put_to_rest(&mut self, id: RunnerId) {
        let Some(runner) = self.runners.get_mut(&id) else { return };
        runner.drain = Some(Drain { waiting: VecDeque::new(), evict: false });
        for actor in runner.actors.clone() {
            let Some(found) = self.actors.get(&actor) else { continue };
            let after = match found.record.crash_policy {
                CrashPolicy::Restart => After::Start,
                CrashPolicy::Sleep | CrashPolicy::Destroy => After::Sleep,
            };
            if matches!(found.life, Life::Starting { .. } | Life::Running { .. }) {
                self.stop(actor, StopReason::GoingAway, after);
            }
        }
    }

    /// The next ones, as many as the pool's pace allows.
    pub(crate) fn drain_on(&mut self, id: RunnerId) {
        let pace = self.eviction_of(id).filter(|(_, period_ms, _)| *period_ms > 0);
        let Some(drain) = self.runners.get_mut(&id).and_then(|runner| runner.drain.as_mut()) else { return };
        let count = pace.map_or(drain.waiting.len(), |(_, period_ms, rate)| {
            ((f64::from(rate) * period_ms as f64 / 1_000.0) as usize).clamp(1, drain.waiting.len().max(1))
        });
        let now: Vec<ActorId> = drain.waiting.drain(..count.min(drain.waiting.len())).collect();
        let more = !drain.waiting.is_empty();
        for actor in now {
            if self.actors.get(&actor).is_some_and(|actor| matches!(actor.life, Life::Starting { .. } | Life::Running { .. })) {
                self.stop(actor, StopReason::GoingAway, After::Start);
            }
        }
        if let Some((_, period_ms, _)) = pace.filter(|_| more) {
            self.timers.insert((self.now_ms + period_ms, Timer::RunnerDrain(id)));
        }
    }

    /// Delay and period in ms, actors a second.
    fn eviction_of(&self, id: RunnerId) -> Option<(u64, u64, f32)> {
        let Serves::Pool { namespace, pool, .. } = &self.runners.get(&id)?.profile.serves else { return None };
        let config = &self.pool(*namespace, pool)?.config;
        let ms = |seconds: u32| u64::from(seconds) * 1_000;
        Some((ms(config.actor_eviction_delay_s), ms(config.actor_eviction_period_s), config.actor_eviction_rate.per_second()))
    }

    /// Newer code has come: legacy runners of the pool with older code are drained if the pool is configured so. Envoys stay.
    fn drain_older_legacy(&mut self, namespace: NamespaceId, pool: &str, version: u32) {
        let configured = self
            .pool(namespace, pool)
            .is_some_and(|pool| pool.config.drain_on_version_upgrade && pool.config.kind == PoolKind::Normal);
        if configured {
            self.drain_older(namespace, pool, version, Runner::is_legacy);
        }
    }

    pub(crate) fn drain_older(&mut self, namespace: NamespaceId, pool: &str, version: u32, which: impl Fn(&Runner) -> bool) {
        let older = |runner: &Runner| runner.serves_pool(namespace, pool) && runner.profile.version < version && which(runner);
        let older: Vec<RunnerId> = self.runners.iter().filter(|(_, runner)| older(runner)).map(|(id, _)| *id).collect();
        for runner in older {
            self.drain(runner, true);
        }
    }
}
