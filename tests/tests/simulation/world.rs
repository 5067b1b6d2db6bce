//! Everything around the core: a disk that can lose power, a runner, clients, and time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use engine_core::action::{Action, Answer};
use engine_core::input::{CallId, CommitId, Create, Input, Operation, RequestKind, Target};
use engine_core::record::{Change, CrashPolicy};
use engine_core::refusal::Refusal;
use engine_core::{Config, Core};
use engine_store::{Memory, Persist, State, Store};
use protocol::component::{ComponentHash, ComponentInfo, Handler};
use protocol::id::{ActorId, Generation, RequestId, RunnerId};
use protocol::message::{Command, Event, FromRunner, Outcome, RunnerProfile, Serves, StopReason, ToRunner};

use crate::runner::{Running, Said, Work};

const KEYS: u64 = 6;
const STEPS_WITH_FAULTS: u32 = 1_500;
/// Far more than a healthy engine needs to come to rest.
const STEPS_TO_REST_MAX: u32 = 60_000;

pub struct World {
    rng: fastrand::Rng,
    now_ms: u64,
    faults: bool,
    core: Core,
    disk: Arc<Memory>,
    state: State,
    /// Commits on their way to the disk, oldest first.
    writes: VecDeque<(CommitId, Vec<Change>)>,
    /// Reads on their way: answered in any order.
    reads: Vec<Read>,
    runner: Option<RunnerId>,
    runners: u64,
    actors: BTreeMap<ActorId, Running>,
    /// From the runner to the core, in order.
    link: VecDeque<FromRunner>,
    next: u64,
    /// What the core has not been told yet; it is told one thing at a time.
    inputs: VecDeque<Input>,
    performing: bool,
    /// Requests that have not ended.
    open: BTreeSet<RequestId>,
    calls: BTreeSet<CallId>,
    /// What clients were told: the highest value of each actor.
    told: BTreeMap<ActorId, u64>,
    values: BTreeSet<(ActorId, u64)>,
    dispatched: BTreeSet<RequestId>,
    generations: BTreeMap<ActorId, Generation>,
    gone: BTreeSet<ActorId>,
    tally: Tally,
}

/// A read that the core waits for.
enum Read {
    Asked(Action),
    /// What it found, which may be old by the time the core hears of it.
    Found(Input),
}

/// What happened, to be sure that the faults did.
#[derive(Default)]
pub struct Tally([u64; 9]);

const TALLIED: [&str; 9] = [
    "requests answered",
    "requests refused",
    "actors started",
    "actors crashed",
    "alarms delivered",
    "runners lost",
    "power cuts",
    "actors destroyed",
    "deploys",
];
const ANSWERED: usize = 0;
const REFUSED: usize = 1;
const STARTED: usize = 2;
const CRASHED: usize = 3;
const RUNG: usize = 4;
const LOST: usize = 5;
const POWER: usize = 6;
const DESTROYED: usize = 7;
const DEPLOYED: usize = 8;

impl Tally {
    pub fn add(&mut self, other: &Tally) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, more)| *sum += more);
    }

    pub fn assert_everything_happened(&self) {
        for (name, count) in TALLIED.iter().zip(self.0) {
            assert!(count > 0, "no {name} in all these seeds: the simulation does not test what it says");
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = TALLIED.iter().zip(self.0).map(|(name, count)| format!("{count} {name}")).collect();
        f.write_str(&parts.join(", "))
    }
}

impl World {
    pub fn new(seed: u64) -> World {
        let disk = Arc::new(Memory::new());
        let state = State::new(disk.clone());
        World {
            rng: fastrand::Rng::with_seed(seed),
            now_ms: 1_000,
            faults: true,
            core: core(),
            disk,
            state,
            writes: VecDeque::new(),
            reads: Vec::new(),
            runner: None,
            runners: 0,
            actors: BTreeMap::new(),
            link: VecDeque::new(),
            next: 0,
            inputs: VecDeque::new(),
            performing: false,
            open: BTreeSet::new(),
            calls: BTreeSet::new(),
            told: BTreeMap::new(),
            values: BTreeSet::new(),
            dispatched: BTreeSet::new(),
            generations: BTreeMap::new(),
            gone: BTreeSet::new(),
            tally: Tally::default(),
        }
    }

    pub fn run(mut self) -> Tally {
        self.boot();
        self.call(|random| Operation::CreateNamespace { random, name: "default".into(), display_name: "Default".into() });
        self.join_runner();
        self.deploy(1);
        self.settle();
        for _ in 0..STEPS_WITH_FAULTS {
            self.step();
        }
        self.faults = false;
        self.come_to_rest();
        self.tally
    }

    fn step(&mut self) {
        match self.rng.u8(..) {
            0..40 => self.client(),
            40..90 => self.pass_time(),
            90..130 => self.write(),
            130..160 => self.read(),
            160..200 => self.deliver(),
            200..250 => self.act(),
            250..252 if self.faults => self.lose_runner(),
            252 if self.faults && self.rng.u8(..8) == 0 => self.lose_power(),
            253 if self.faults => self.deploy(self.rng.clone().u8(1..4)),
            _ => self.join_runner(),
        }
    }

    /// No more faults and no new requests: everything must end, and nothing may be left behind.
    fn come_to_rest(&mut self) {
        let mut steps = 0;
        loop {
            self.join_runner();
            self.settle();
            self.act();
            let busy = !self.writes.is_empty() || !self.reads.is_empty() || !self.link.is_empty() || !self.actors.is_empty();
            match self.core.wait_ms(self.now_ms) {
                _ if busy => {}
                Some(wait_ms) => {
                    self.now_ms += wait_ms;
                    self.input(Input::Tick);
                }
                None => break,
            }
            steps += 1;
            assert!(steps < STEPS_TO_REST_MAX, "it does not come to rest");
        }
        assert!(self.open.is_empty(), "these requests never ended: {:?}", self.open);
        assert!(self.calls.is_empty(), "these calls were never answered: {:?}", self.calls);
        assert_eq!(self.core.requests_in_flight(), 0, "requests are left in memory");
        assert_eq!(self.core.actors_in_memory(), 0, "sleeping actors are left in memory");
        let (alarms, _) = self.state.load_alarms(None, 1).expect("memory does not fail");
        assert!(alarms.is_empty(), "an alarm was never fired: {alarms:?}");
        for (actor, value) in &self.told {
            if !self.gone.contains(actor) {
                let found = self.counter(*actor);
                assert!(found >= *value, "{actor}: a client was told {value}, on disk is {found}");
            }
        }
    }

    /// Everything that is on its way arrives.
    fn settle(&mut self) {
        while !(self.writes.is_empty() && self.reads.is_empty() && self.link.is_empty()) {
            self.write();
            self.read();
            self.deliver();
        }
    }

    // What goes on in the world.

    fn client(&mut self) {
        let key = format!("k{}", self.rng.u64(..KEYS));
        let name = "counter".to_string();
        let namespace = "default".to_string();
        match self.rng.u8(..) {
            0..150 if self.faults => {
                let request = RequestId(self.number());
                self.open.insert(request);
                let create = Some(Box::new(self.how()));
                self.input(request_input(request, Target::Key { namespace, name, key, create }));
            }
            150..170 => {
                let Some(actor) = self.anyone() else { return };
                let request = RequestId(self.number());
                self.open.insert(request);
                self.input(request_input(request, Target::Id(actor)));
            }
            170..185 => {
                let Some(request) = self.open.iter().nth(self.rng.usize(..9)).copied() else { return };
                self.open.remove(&request);
                self.dispatched.remove(&request);
                self.input(Input::RequestAborted { request });
            }
            185..200 => {
                let create = self.how();
                self.call(|_| Operation::GetOrCreateActor { namespace, name, key, create });
            }
            200..212 => {
                let create = self.how();
                self.call(|_| Operation::CreateActor { namespace, name, key: None, create });
            }
            212..220 => {
                let Some(actor) = self.anyone() else { return };
                self.call(|_| Operation::DestroyActor { namespace, actor });
            }
            220..228 => {
                let Some(actor) = self.anyone() else { return };
                self.call(|_| Operation::SleepActor { namespace, actor });
            }
            228..236 => {
                let Some(actor) = self.anyone() else { return };
                self.call(|_| Operation::RescheduleActor { namespace, actor });
            }
            _ => {}
        }
    }

    fn pass_time(&mut self) {
        self.now_ms += self.rng.u64(0..400);
        self.input(Input::Tick);
    }

    /// A group of commits becomes durable.
    fn write(&mut self) {
        let group = self.rng.usize(1..6).min(self.writes.len());
        let mut last = None;
        for (commit, changes) in self.writes.drain(..group) {
            self.disk.commit(&State::batch(&changes), Persist::Synced).expect("the core keeps its own promises");
            for change in &changes {
                if let Change::DestroyActor { record, .. } = change {
                    self.gone.insert(record.id);
                    self.tally.0[DESTROYED] += 1;
                }
            }
            last = Some(commit);
        }
        if let Some(commit) = last {
            self.input(Input::Committed { commit });
        }
    }

    /// A read finds what is on disk now, and is answered now or later.
    fn read(&mut self) {
        if self.reads.is_empty() {
            return;
        }
        let read = match self.reads.swap_remove(self.rng.usize(..self.reads.len())) {
            Read::Asked(read) => read,
            Read::Found(input) => return self.input(input),
        };
        let input = match read {
            Action::LoadActor { actor } => {
                Input::ActorLoaded { actor, found: self.state.load_actor(actor).expect("memory does not fail").map(Box::new) }
            }
            Action::LoadKey { key } => {
                let found = self.state.load_key(&key).expect("memory does not fail").map(Box::new);
                Input::KeyLoaded { key, found }
            }
            Action::LoadAlarms { from, limit } => {
                let (alarms, complete) = self.state.load_alarms(from, limit).expect("memory does not fail");
                Input::AlarmsLoaded { alarms, complete }
            }
            other => unreachable!("{other:?} is not a read"),
        };
        match self.rng.bool() {
            true => self.input(input),
            false => self.reads.push(Read::Found(input)),
        }
    }

    /// One message of the runner reaches the core.
    fn deliver(&mut self) {
        if let (Some(runner), Some(message)) = (self.runner, self.link.pop_front()) {
            self.input(Input::FromRunner { runner, message });
        }
    }

    /// Every actor may do something.
    fn act(&mut self) {
        let actors: Vec<ActorId> = self.actors.keys().copied().collect();
        for actor in actors {
            if self.rng.bool() {
                continue;
            }
            let Some(running) = self.actors.get_mut(&actor) else { continue };
            let said = running.step(actor, self.now_ms, self.faults, &mut self.rng);
            self.said(actor, said);
        }
    }

    fn said(&mut self, actor: ActorId, said: Vec<Said>) {
        for said in said {
            match said {
                Said::Event(checkpoint, event) => {
                    if let Event::Stopped(outcome) = &event {
                        self.actors.remove(&actor);
                        if matches!(outcome, Outcome::Error(_)) {
                            self.tally.0[CRASHED] += 1;
                        }
                    }
                    self.link.push_back(FromRunner::Event(checkpoint, event));
                }
                Said::Commit(commit) => self.link.push_back(FromRunner::Commit(commit)),
                Said::Returned(request) => self.link.push_back(FromRunner::RequestReturned { request }),
                Said::Answer(request, value) => self.answered(actor, request, value),
            }
        }
    }

    /// The answer goes past the core to the client; the core hears that the request is over.
    fn answered(&mut self, actor: ActorId, request: RequestId, value: Option<u64>) {
        if !self.dispatched.remove(&request) {
            return;
        }
        assert!(self.open.remove(&request), "{request:?} was answered and had ended before");
        if let Some(value) = value {
            assert!(self.values.insert((actor, value)), "{actor}: two clients were told {value}");
            let highest = self.told.entry(actor).or_default();
            *highest = value.max(*highest);
            self.tally.0[ANSWERED] += 1;
        }
        self.input(Input::RequestEnded { request });
    }

    fn lose_runner(&mut self) {
        let Some(runner) = self.runner.take() else { return };
        self.actors.clear();
        self.link.clear();
        self.tally.0[LOST] += 1;
        self.input(Input::RunnerLeft { runner });
    }

    fn join_runner(&mut self) {
        if self.runner.is_some() {
            return;
        }
        self.runners += 1;
        let runner = RunnerId(self.runners);
        self.runner = Some(runner);
        let profile = RunnerProfile { key: format!("runner-{}", self.runners), version: 1, serves: Serves::Components };
        self.input(Input::RunnerJoined { runner, profile });
    }

    /// The process is gone, and with it every socket; some of what was not synced may be on disk all the same.
    fn lose_power(&mut self) {
        let lucky = self.rng.usize(..3).min(self.writes.len());
        for (_, changes) in self.writes.drain(..lucky) {
            self.disk.commit(&State::batch(&changes), Persist::Written).expect("the core keeps its own promises");
            for change in &changes {
                if let Change::DestroyActor { record, .. } = change {
                    self.gone.insert(record.id);
                }
            }
        }
        let unsynced = self.disk.unsynced();
        self.disk.lose_power(unsynced);
        self.writes.clear();
        self.reads.clear();
        self.actors.clear();
        self.link.clear();
        self.open.clear();
        self.calls.clear();
        self.dispatched.clear();
        self.runner = None;
        self.tally.0[POWER] += 1;
        self.core = core();
        self.boot();
    }

    fn boot(&mut self) {
        let boot = self.state.boot().expect("memory does not fail");
        self.input(Input::Booted(boot));
    }

    fn deploy(&mut self, component: u8) {
        self.tally.0[DEPLOYED] += 1;
        let component = ComponentHash([component; 32]);
        self.call(|_| Operation::Deploy { namespace: "default".into(), name: "counter".into(), pool: "default".into(), component });
    }

    // The core, and what it asks for.

    fn input(&mut self, input: Input) {
        self.inputs.push_back(input);
        if std::mem::replace(&mut self.performing, true) {
            return;
        }
        while let Some(input) = self.inputs.pop_front() {
            self.core.handle(self.now_ms, input);
            while let Some(action) = self.core.poll_action() {
                self.perform(action);
            }
        }
        self.performing = false;
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::LoadActor { .. } | Action::LoadKey { .. } | Action::LoadAlarms { .. } => self.reads.push(Read::Asked(action)),
            Action::Commit { commit, changes } => self.writes.push_back((commit, changes)),
            Action::Dispatch { request, runner, actor, generation } => {
                assert_eq!(Some(runner), self.runner, "a request went to a runner that is gone");
                self.dispatched.insert(request);
                match self.actors.get_mut(&actor).filter(|running| running.generation == generation) {
                    Some(running) if running.stopping.is_none() => running.mailbox.push_back(Work::Request(request)),
                    // It has stopped, which the core will hear: the request goes back.
                    _ => self.link.push_back(FromRunner::RequestReturned { request }),
                }
            }
            Action::Refuse { request, refusal } => {
                assert!(
                    !matches!(refusal, Refusal::Failed { .. }),
                    "{request:?} failed, but only its runner may say so: {refusal}"
                );
                self.dispatched.remove(&request);
                assert!(self.open.remove(&request), "{request:?} was refused and had ended before");
                self.tally.0[REFUSED] += 1;
            }
            Action::Reply { call, result } => {
                assert!(self.calls.remove(&call), "{call:?} was answered twice");
                if let Ok(Answer::Actor { record, .. }) = result {
                    self.generations.entry(record.id).or_default();
                }
            }
            Action::ReadPages { .. }
            | Action::RunSql { .. }
            | Action::EvictRunner { .. }
            | Action::ForgetRunner { .. }
            | Action::CallOut { .. }
            | Action::EndCallOut { .. }
            | Action::Hibernate { .. } => unreachable!("there are only components here: {action:?}"),
            Action::ToRunner { runner, message } => {
                if Some(runner) == self.runner {
                    self.runner_hears(message);
                }
            }
        }
    }

    fn runner_hears(&mut self, message: ToRunner) {
        match message {
            ToRunner::Command(checkpoint, Command::Start(start)) => {
                let actor = checkpoint.actor;
                self.tally.0[STARTED] += 1;
                assert!(!self.actors.contains_key(&actor), "{actor} is started while an older generation lives");
                assert!(!self.gone.contains(&actor), "{actor} is started and was destroyed");
                let newest = self.generations.entry(actor).or_default();
                assert!(checkpoint.generation > *newest, "{actor}: generation {} after {newest}", checkpoint.generation);
                *newest = checkpoint.generation;
                let record = self.state.load_actor(actor).expect("memory does not fail").expect("its start is durable").record;
                assert!(record.generation >= checkpoint.generation, "{actor} is started before that is durable");
                let counter = self.counter(actor);
                let told = self.told.get(&actor).copied().unwrap_or(0);
                assert!(counter >= told, "{actor}: a client was told {told}, on disk is {counter}");
                self.actors.insert(actor, Running::new(checkpoint.generation, counter, start.alarm_ms));
            }
            ToRunner::Command(checkpoint, Command::Stop(reason)) => {
                let current = |running: &&mut Running| running.generation == checkpoint.generation;
                match self.actors.get_mut(&checkpoint.actor).filter(current) {
                    Some(_) if reason == StopReason::Lost => drop(self.actors.remove(&checkpoint.actor)),
                    Some(running) => running.mailbox.push_back(Work::Stop),
                    None => {}
                }
            }
            ToRunner::Alarm { actor, generation, scheduled_ms, .. } => {
                assert!(scheduled_ms <= self.now_ms, "{actor}: an alarm for {scheduled_ms} fires at {}", self.now_ms);
                self.tally.0[RUNG] += 1;
                if let Some(running) = self.actors.get_mut(&actor).filter(|running| running.generation == generation) {
                    running.mailbox.push_back(Work::Alarm { scheduled_ms });
                }
            }
            ToRunner::Committed { actor, generation, commit } => {
                let current = |running: &&mut Running| running.generation == generation;
                if let Some(running) = self.actors.get_mut(&actor).filter(current) {
                    let said = running.committed(commit);
                    self.said(actor, said);
                }
            }
            ToRunner::Prepare { component } => {
                let info =
                    ComponentInfo { handlers: vec![Handler::Http], imports: vec![], bytes: 1, compiled_bytes: 1, compile_ms: 1 };
                self.link.push_back(FromRunner::Prepared { component, result: Ok(info) });
            }
            other => unreachable!("the core does not send {other:?}"),
        }
    }

    // Small things.

    fn call(&mut self, operation: impl FnOnce([u8; 16]) -> Operation) {
        let call = CallId(self.number());
        self.calls.insert(call);
        let operation = operation(self.random());
        self.input(Input::Call { call, operation });
    }

    fn how(&mut self) -> Create {
        let crash_policy = match self.rng.u8(..16) {
            0 => CrashPolicy::Destroy,
            1..4 => CrashPolicy::Restart,
            _ => CrashPolicy::Sleep,
        };
        Create { random: self.random(), pool: "default".into(), crash_policy, input: None }
    }

    fn random(&mut self) -> [u8; 16] {
        std::array::from_fn(|_| self.rng.u8(..))
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn anyone(&mut self) -> Option<ActorId> {
        let at = self.rng.usize(..self.generations.len().max(1));
        self.generations.keys().nth(at).copied()
    }

    /// What is on disk of an actor's counter.
    fn counter(&self, actor: ActorId) -> u64 {
        let entries = self.state.kv_get(actor, &["count".into(), "again".into()]).expect("memory does not fail");
        let values: Vec<_> = entries.iter().map(|entry| entry.as_ref().map(|entry| &entry.value)).collect();
        assert_eq!(values[0], values[1], "{actor}: half of a message is on disk");
        let value = values[0].map(|bytes| bytes[..].try_into().expect("eight bytes"));
        value.map_or(0, u64::from_be_bytes)
    }
}

fn request_input(request: RequestId, target: Target) -> Input {
    Input::Request { request, target, kind: RequestKind::Http, skip_ready_wait: false }
}

fn core() -> Core {
    Core::new(Config { alarms_in_memory_max: 3, ..Config::default() })
}
