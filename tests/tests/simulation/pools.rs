//! The server between the core and the runners of pools: their connections, their names, the calls to a pool's URL.

use std::collections::BTreeMap;

use engine_core::input::{Boot, CallOutcome, Input, RequestKind};
use engine_core::record::{PoolError, RunnerRef};
use protocol::database::{DatabaseAnswer, DatabaseError};
use protocol::id::{ActorId, NamespaceId, RequestId, RunnerId};
use protocol::message::{Checkpoint, Command, RunnerProfile, RunnerProtocol, Serves, Start, ToRunner};

use crate::envoy::{Around, Down, Envoy, Up};
use crate::tally::Happened;
use crate::world::World;

/// Programs that run at one time, of each pool.
const ENVOYS_MAX: usize = 3;

/// A call to a pool's URL that nobody has ended.
pub struct UrlCall {
    checkpoint: Checkpoint,
    /// Until a program has taken it.
    start: Option<Box<Start>>,
}

impl World {
    /// One thing happens in one of the pools.
    pub fn pools(&mut self) {
        match self.rng.u8(..) {
            0..70 => self.hear_an_envoy(),
            70..130 => self.tell_an_envoy(),
            130..190 => self.step_envoys(),
            190..220 => self.url_goes_on(),
            220..232 => self.an_envoy_connects(),
            232..236 if self.faults => self.a_link_breaks(),
            236..238 if self.faults => self.a_program_starts(),
            238 if self.faults => self.a_program_is_killed(),
            239 if self.faults => self.an_envoy_is_taken_over(),
            240 if self.faults => self.an_envoy_stops(),
            241..244 if self.faults => self.an_envoy_is_quiet(),
            244 if self.faults && self.rng.u8(..4) == 0 => self.url_announces(),
            245..248 => self.programs_end(),
            _ => {}
        }
    }

    /// Everything that is on its way between the core and the pools arrives, and nothing goes wrong any more.
    pub fn settle_pools(&mut self) {
        if !self.envoys.iter().any(|envoy| envoy.pool == "jobs" && envoy.slots.is_none() && !envoy.stopping) {
            self.start_program("jobs", None);
        }
        for key in self.envoys.iter().map(|envoy| envoy.key.clone()).collect::<Vec<_>>() {
            self.settle_envoy(&key);
        }
        while self.calls_out.iter().any(|call| call.start.is_some()) {
            self.url_goes_on();
        }
        self.programs_end();
    }

    fn settle_envoy(&mut self, key: &str) {
        let find = |world: &World| world.envoys.iter().position(|envoy| envoy.key == key);
        if let Some(at) = find(self).filter(|at| self.envoys[*at].link.is_none()) {
            self.connect(at);
        }
        while let Some((at, down)) = find(self).and_then(|at| Some((at, self.envoys[at].down.pop_front()?))) {
            self.tell(at, down);
        }
        if let Some(at) = find(self) {
            self.at_envoy(at, Envoy::step);
        }
        // What it says may be the end of it.
        while let Some((at, up)) = find(self).and_then(|at| Some((at, self.envoys[at].up.pop_front()?))) {
            self.hear(at, up);
        }
    }

    pub fn pools_are_busy(&self) -> bool {
        self.envoys.iter().any(|envoy| !envoy.is_idle()) || self.calls_out.iter().any(|call| call.start.is_some())
    }

    pub fn all_are_fresh(&mut self) {
        let here: Vec<RunnerId> = self.envoys.iter().filter_map(|envoy| envoy.link).collect();
        here.into_iter().for_each(|runner| self.input(Input::RunnerFresh { runner, fresh: true }));
    }

    pub fn namespace(&self) -> Option<NamespaceId> {
        Some(self.state.boot().expect("memory does not fail").namespaces.first()?.id)
    }

    // Programs and their connections.

    fn any_envoy(&mut self, which: impl Fn(&Envoy) -> bool) -> Option<usize> {
        let those: Vec<usize> = (0..self.envoys.len()).filter(|at| which(&self.envoys[*at])).collect();
        (!those.is_empty()).then(|| those[self.rng.usize(..those.len())])
    }

    fn at_envoy(&mut self, at: usize, what: impl FnOnce(&mut Envoy, &mut Around)) {
        let World { envoys, rng, model, tally, now_ms, faults, .. } = self;
        let mut around = Around { now_ms: *now_ms, faults: *faults, rng, model, tally };
        what(&mut envoys[at], &mut around);
    }

    fn start_program(&mut self, pool: &'static str, slots: Option<u32>) {
        let key = format!("e{}", self.number());
        let version = match pool {
            "jobs" => self.rng.u32(1..3),
            _ => self.url_version,
        };
        self.envoys.push(Envoy::new(key, pool, version, slots));
    }

    fn a_program_starts(&mut self) {
        if self.envoys.iter().filter(|envoy| envoy.pool == "jobs").count() < ENVOYS_MAX {
            let slots = (self.rng.u8(..3) == 0).then(|| self.rng.u32(1..3));
            self.start_program("jobs", slots);
        }
    }

    fn an_envoy_connects(&mut self) {
        if let Some(at) = self.any_envoy(|envoy| envoy.link.is_none()) {
            self.connect(at);
        }
    }

    fn connect(&mut self, at: usize) {
        let Some(namespace) = self.namespace() else { return };
        let Envoy { key, pool, version, slots, .. } = &self.envoys[at];
        let (key, version, slots) = (key.clone(), *version, *slots);
        let protocol = if slots.is_some() { RunnerProtocol::Legacy(7) } else { RunnerProtocol::Envoy(8) };
        let serves = Serves::Pool { namespace, pool: pool.to_string(), protocol, slots };
        let profile = RunnerProfile { key, version, serves };
        let name = RunnerRef::of(&profile);
        let known = self.runner_ids.get(&name).copied();
        let runner = known.unwrap_or_else(|| RunnerId(1_000_000 + self.number()));
        self.runner_ids.insert(name, runner);
        self.tally.count(if known.is_some() { Happened::EnvoyBack } else { Happened::EnvoyJoined });
        self.at_envoy(at, |envoy, around| envoy.connected(runner, around));
        self.input(Input::RunnerJoined { runner, profile });
    }

    fn a_link_breaks(&mut self) {
        if let Some(at) = self.any_envoy(|envoy| envoy.link.is_some()) {
            self.disconnect(at);
        }
    }

    fn disconnect(&mut self, at: usize) {
        let now_ms = self.now_ms;
        let Some(runner) = self.envoys[at].link else { return };
        self.envoys[at].disconnected(now_ms);
        self.input(Input::RunnerLeft { runner });
    }

    fn a_program_is_killed(&mut self) {
        if let Some(at) = self.any_envoy(|_| true) {
            self.tally.count(Happened::EnvoyKilled);
            self.end_program(at);
        }
    }

    fn end_program(&mut self, at: usize) {
        self.disconnect(at);
        self.envoys.remove(at);
    }

    /// It has connected again before anybody noticed that its connection was broken.
    fn an_envoy_is_taken_over(&mut self) {
        if let Some(at) = self.any_envoy(|envoy| envoy.link.is_some()) {
            let now_ms = self.now_ms;
            self.envoys[at].disconnected(now_ms);
            self.tally.count(Happened::EnvoyTakenOver);
            self.connect(at);
        }
    }

    fn an_envoy_stops(&mut self) {
        if let Some(at) = self.any_envoy(|envoy| !envoy.stopping) {
            self.tally.count(Happened::EnvoyStopping);
            self.envoys[at].stops();
        }
    }

    fn an_envoy_is_quiet(&mut self) {
        if let Some(runner) = self.any_envoy(|envoy| envoy.link.is_some()).and_then(|at| self.envoys[at].link) {
            let fresh = self.rng.bool();
            self.input(Input::RunnerFresh { runner, fresh });
        }
    }

    /// Those that were about to end, and those that a URL was called for, when there is nothing left to do.
    fn programs_end(&mut self) {
        while let Some(at) = self.any_envoy(|envoy| envoy.is_idle() && (envoy.stopping || envoy.pool == "urls")) {
            self.end_program(at);
        }
    }

    fn step_envoys(&mut self) {
        for at in 0..self.envoys.len() {
            self.at_envoy(at, Envoy::step);
        }
    }

    fn tell_an_envoy(&mut self) {
        if let Some(at) = self.any_envoy(|envoy| !envoy.down.is_empty()) {
            let down = self.envoys[at].down.pop_front().expect("it was just looked at");
            self.tell(at, down);
        }
    }

    fn tell(&mut self, at: usize, down: Down) {
        self.at_envoy(at, |envoy, around| envoy.hear(down, around));
    }

    fn hear_an_envoy(&mut self) {
        if let Some(at) = self.any_envoy(|envoy| !envoy.up.is_empty()) {
            let up = self.envoys[at].up.pop_front().expect("it was just looked at");
            self.hear(at, up);
        }
    }

    fn hear(&mut self, at: usize, up: Up) {
        let runner = self.envoys[at].link.expect("what it says is lost with its link");
        match up {
            Up::Said(message) => self.input(Input::FromRunner { runner, message: *message }),
            Up::Answer(request) => self.answered(request),
            Up::Opened { request, can_hibernate } => self.opened(request, can_hibernate),
        }
    }

    // What the core asks for.

    fn with_link(&mut self, runner: RunnerId) -> Option<&mut Envoy> {
        self.envoys.iter_mut().find(|envoy| envoy.link == Some(runner))
    }

    pub fn say_to_envoy(&mut self, runner: RunnerId, message: ToRunner) {
        if let ToRunner::Command(Checkpoint { actor, generation, .. }, Command::Start(_)) = &message {
            self.model.is_durable(*actor, *generation);
        }
        if let Some(envoy) = self.with_link(runner) {
            envoy.down.push_back(Down::Said(message));
        }
    }

    pub fn dispatch_to_envoy(&mut self, runner: RunnerId, request: RequestId, actor: ActorId, generation: u32) {
        let opened = self.dispatched(request).is_some();
        let socket = self.open[&request].kind == RequestKind::Socket;
        let envoy = self.with_link(runner).expect("a request goes to a runner that is here");
        envoy.down.push_back(match socket {
            true => Down::Socket { request, actor, generation, opened },
            false => Down::Request { request, actor, generation },
        });
    }

    pub fn read_pages(&mut self, runner: RunnerId, actor: ActorId, call: u64, pages: &[u32]) {
        let (head, found) = self.state.pages(actor, pages).expect("memory does not fail");
        let result = match head {
            Some(head) => Ok(DatabaseAnswer::Pages { pages: pages.iter().copied().zip(found).collect(), head_txid: head.txid }),
            None => Err(DatabaseError { group: "depot", code: "database_not_found", message: "no database".into() }),
        };
        self.say_to_envoy(runner, ToRunner::Database { actor, call, result });
    }

    pub fn evict(&mut self, runner: RunnerId) {
        if let Some(at) = self.envoys.iter().position(|envoy| envoy.link == Some(runner)) {
            self.tally.count(Happened::EnvoyEvicted);
            self.end_program(at);
        }
    }

    pub fn forget(&mut self, runner: RunnerId) {
        assert!(self.with_link(runner).is_none(), "a runner that is here is forgotten");
        self.tally.count(Happened::EnvoyForgotten);
        self.runner_ids.retain(|_, id| *id != runner);
    }

    /// Who may come back after the engine was gone: those that actors were on.
    pub fn runners_at_boot(&mut self, boot: &mut Boot) {
        let now_ms = self.now_ms;
        self.envoys.iter_mut().filter(|envoy| envoy.link.is_some()).for_each(|envoy| envoy.disconnected(now_ms));
        self.calls_out.clear();
        self.runner_ids = BTreeMap::new();
        for name in boot.awake.iter().filter_map(|actor| actor.record.runner.clone()) {
            if !matches!(name, RunnerRef::Components { .. }) && !self.runner_ids.contains_key(&name) {
                let runner = RunnerId(1_000_000 + self.number());
                self.runner_ids.insert(name, runner);
            }
        }
        boot.runners = self.runner_ids.iter().map(|(name, id)| (*id, name.clone())).collect();
    }

    // Calls to a URL.

    pub fn call_out(&mut self, checkpoint: Checkpoint, start: Box<Start>) {
        self.model.is_durable(checkpoint.actor, checkpoint.generation);
        self.tally.count(Happened::CalledOut);
        self.calls_out.push(UrlCall { checkpoint, start: Some(start) });
    }

    pub fn end_call_out(&mut self, actor: ActorId, generation: u32) {
        let of = |call: &UrlCall| call.checkpoint.actor == actor && call.checkpoint.generation == generation;
        self.model.call_ended(actor, generation);
        // A program that has just been started by it goes on for a while.
        let late = self.faults && self.rng.bool();
        self.calls_out.retain(|call| !of(call) || late && call.start.is_some());
    }

    fn url_goes_on(&mut self) {
        if self.calls_out.is_empty() {
            return;
        }
        let at = self.rng.usize(..self.calls_out.len());
        let UrlCall { checkpoint, start } = &mut self.calls_out[at];
        let Checkpoint { actor, generation, .. } = *checkpoint;
        let Some(start) = start.take() else {
            if self.faults && self.rng.u8(..16) == 0 {
                self.calls_out.swap_remove(at);
                let outcome = if self.rng.bool() { CallOutcome::Stopping } else { CallOutcome::Ended };
                self.input(Input::CalledOut { actor, generation, outcome });
            }
            return;
        };
        match self.rng.u8(..16) {
            0..4 if self.faults => {
                self.calls_out.swap_remove(at);
                self.tally.count(Happened::CallFailed);
                let outcome = CallOutcome::Failed(PoolError::ServerlessConnectionError { message: "nobody is there".into() });
                self.input(Input::CalledOut { actor, generation, outcome });
            }
            4 if self.faults => {
                self.calls_out.swap_remove(at);
                self.input(Input::CalledOut { actor, generation, outcome: CallOutcome::Ended });
            }
            // Nobody ever hears of it.
            5 if self.faults => {}
            _ => {
                let checkpoint = *checkpoint;
                let host = self.any_envoy(|envoy| envoy.pool == "urls" && !envoy.stopping);
                let host = host.filter(|_| self.rng.bool()).unwrap_or_else(|| {
                    self.start_program("urls", None);
                    self.envoys.len() - 1
                });
                self.at_envoy(host, |envoy, around| envoy.command(checkpoint, Command::Start(start), around));
                if self.envoys[host].link.is_none() && self.rng.bool() {
                    self.connect(host);
                }
            }
        }
    }

    fn url_announces(&mut self) {
        let Some(namespace) = self.namespace() else { return };
        self.url_version += 1;
        let names = vec![("lambda".to_string(), "{}".to_string())];
        let envoy_version = Some(self.url_version);
        self.input(Input::PoolAnnounces { namespace, pool: "urls".into(), envoy_version, protocol_version: Some(8), names });
    }
}
