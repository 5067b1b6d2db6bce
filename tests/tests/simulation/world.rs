//! Everything around the core: a disk that can lose power, a runner of components, and time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use engine_core::action::Action;
use engine_core::input::{CallId, CommitId, Input, Operation};
use engine_core::record::{Change, RunnerRef, Share};
use engine_core::settings::SettingsPatch;
use engine_core::{Config, Core};
use engine_store::keys::{self, Kind};
use engine_store::{Batch, Memory, Persist, Scan, State, Store, counts, group};
use protocol::component::{ComponentHash, ComponentInfo, ComponentRefusal, ComponentRefusalKind, Handler};
use protocol::database::{DatabaseQuestion, MessageStep};
use protocol::id::{ActorId, Generation, Partition, RequestId, RunnerId};
use protocol::message::{Command, Deployed, Event, FromRunner, KvSpace, Outcome, RunnerProfile, Serves, StopReason, ToRunner};

use crate::clients::Open;
use crate::envoy::Envoy;
use crate::model::{Model, number, value_of};
use crate::pools::UrlCall;
use crate::runner::{Running, Said, Version, Work};
use crate::sql::Sql;
use crate::tally::{Happened, Tally};

const STEPS_WITH_FAULTS: u32 = 2_500;
/// Far more than a healthy engine needs to come to rest.
const STEPS_TO_REST_MAX: u32 = 60_000;

pub struct World {
    pub rng: fastrand::Rng,
    pub now_ms: u64,
    pub faults: bool,
    config: Config,
    core: Core,
    disk: Arc<Memory>,
    pub state: State,
    pub model: Model,
    /// Commits on their way to the disk, oldest first.
    writes: VecDeque<(CommitId, Vec<Change>)>,
    /// Reads on their way: answered in any order.
    reads: Vec<Read>,
    pub runner: Option<RunnerId>,
    /// It cannot run what others can.
    runner_refuses: bool,
    pub actors: BTreeMap<ActorId, Running>,
    pub sql: BTreeMap<ActorId, Sql>,
    /// Where requests of actors went.
    pub called: BTreeMap<RequestId, ActorId>,
    /// Of actors that were given up, about requests that may have been refused by then.
    last_words: Vec<(ActorId, Vec<Said>)>,
    /// From the runner to the core, in order.
    link: VecDeque<FromRunner>,
    next: u64,
    /// What the core has not been told yet; it is told one thing at a time.
    inputs: VecDeque<Input>,
    performing: bool,
    /// Requests that have not ended.
    pub open: BTreeMap<RequestId, Open>,
    pub calls: BTreeSet<CallId>,
    /// What clients were told: the highest value of each actor.
    told: BTreeMap<ActorId, u64>,
    values: BTreeSet<(ActorId, u64)>,
    generations: BTreeMap<ActorId, Generation>,
    pub envoys: Vec<Envoy>,
    /// One that calls itself the same has the same id until it is forgotten.
    pub runner_ids: BTreeMap<RunnerRef, RunnerId>,
    pub calls_out: Vec<UrlCall>,
    pub url_version: u32,
    pub tally: Tally,
}

/// A read that the core waits for.
enum Read {
    Asked(Action),
    /// What it found, which may be old by the time the core hears of it.
    Found(Input),
}

impl World {
    pub fn new(seed: u64) -> World {
        let disk = Arc::new(Memory::new());
        let state = State::new(disk.clone());
        let mut rng = fastrand::Rng::with_seed(seed);
        let config = config(rng.bool());
        World {
            rng,
            now_ms: 1_000,
            faults: true,
            core: Core::new(config.clone()),
            config,
            disk,
            model: Model::new(state.clone()),
            state,
            writes: VecDeque::new(),
            reads: Vec::new(),
            runner: None,
            runner_refuses: false,
            actors: BTreeMap::new(),
            sql: BTreeMap::new(),
            called: BTreeMap::new(),
            last_words: Vec::new(),
            link: VecDeque::new(),
            next: 0,
            inputs: VecDeque::new(),
            performing: false,
            open: BTreeMap::new(),
            calls: BTreeSet::new(),
            told: BTreeMap::new(),
            values: BTreeSet::new(),
            generations: BTreeMap::new(),
            envoys: Vec::new(),
            runner_ids: BTreeMap::new(),
            calls_out: Vec::new(),
            url_version: 1,
            tally: Tally::default(),
        }
    }

    pub fn run(mut self) -> Tally {
        self.boot();
        self.call(|random| Operation::CreateNamespace { random, name: "default".into(), display_name: "Default".into() });
        self.join_runner();
        self.settle();
        self.deploy(1);
        self.configure();
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
            0..25 => self.client(),
            25..60 => self.pass_time(),
            60..90 => self.write(),
            90..110 => self.read(),
            110..135 => self.deliver(),
            135..160 => self.act(),
            160..165 => self.run_sql(),
            165..245 => self.pools(),
            245..251 => self.join_runner(),
            251 if self.faults => self.lose_runner(),
            252 if self.faults && self.rng.u8(..8) == 0 => self.lose_power(),
            253 if self.faults => self.deploy(self.rng.clone().u8(1..4)),
            254 if self.faults => self.change_versions(),
            _ => {}
        }
    }

    /// No more faults and no new requests: everything must end, and nothing may be left behind.
    fn come_to_rest(&mut self) {
        if self.runner_refuses {
            self.lose_runner();
        }
        self.configure();
        self.be_quiet();
        assert!(self.open.values().all(|open| open.hibernates), "these requests never ended: {:?}", self.open.keys());
        self.sockets_speak();
        self.be_quiet();
        let asleep: Vec<_> = self.open.iter().filter(|(_, open)| open.wakes).map(|(request, _)| request).collect();
        assert!(asleep.is_empty(), "these sockets have something for their actors, which sleep: {asleep:?}");
        self.everybody_leaves();
        self.be_quiet();
        assert!(self.calls.is_empty(), "these calls were never answered: {:?}", self.calls);
        assert_eq!(self.core.requests_in_flight(), 0, "requests are left in memory");
        assert_eq!(self.core.actors_in_memory(), 0, "sleeping actors are left in memory");
        let (alarms, _) = self.state.load_alarms(None, 1).expect("memory does not fail");
        assert!(alarms.is_empty(), "an alarm was never fired: {alarms:?}");
        let awake = self.state.boot().expect("memory does not fail").awake;
        assert!(awake.is_empty(), "nobody runs, and on disk these do: {awake:?}");
        assert!(self.sql.is_empty(), "connections are left of actors that sleep: {:?}", self.sql.keys());
        self.model.check_all();
        for (actor, value) in &self.told {
            if !self.model.gone.contains(actor) {
                let found = self.counter(*actor);
                assert!(found >= *value, "{actor}: a client was told {value}, on disk is {found}");
            }
        }
    }

    /// Until there is nothing left to do, now or later.
    fn be_quiet(&mut self) {
        for _ in 0..STEPS_TO_REST_MAX {
            self.join_runner();
            self.all_are_fresh();
            self.settle();
            self.act();
            self.run_sql();
            self.settle_pools();
            let busy = !self.writes.is_empty()
                || !self.reads.is_empty()
                || !self.link.is_empty()
                // One that waits for another may wait for time to pass.
                || self.actors.values().any(|running| running.calling.is_none())
                || self.sql_waits()
                || !self.last_words.is_empty()
                || self.pools_are_busy();
            let core_ms = self.core.wait_ms(self.now_ms).map(|wait_ms| self.now_ms + wait_ms);
            match core_ms.into_iter().chain(self.answer_due_ms()).min() {
                _ if busy => {}
                Some(due_ms) => {
                    self.now_ms = self.now_ms.max(due_ms);
                    self.input(Input::Tick);
                    self.give_answers_up();
                }
                None => return,
            }
        }
        panic!("it does not come to rest: {:?}", self.actors);
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

    fn pass_time(&mut self) {
        self.now_ms += self.rng.u64(0..400);
        self.input(Input::Tick);
        self.give_answers_up();
    }

    fn store(&self, changes: &[Change], persist: Persist) {
        let batch = group::alone(&*self.disk, State::batch(changes)).expect("the core keeps its own promises");
        self.disk.commit(&batch, persist).expect("memory does not fail");
    }

    /// What is counted of what actors have stored is what a count finds.
    fn check_counts(&self) {
        let kinds = [Kind::Stored, Kind::Usage];
        let counted = || {
            let ranges = Partition::all().flat_map(|partition| kinds.map(|kind| keys::all_of(kind, partition)));
            let scan = |(start, end): (Vec<u8>, Vec<u8>)| self.disk.scan(Scan::range(&start, &end, usize::MAX)).expect("a read");
            ranges.flat_map(scan).collect::<Vec<_>>()
        };
        let before = counted();
        let mut again = Batch::new();
        again.delete(keys::COUNTED);
        self.disk.commit(&again, Persist::Synced).expect("memory does not fail");
        counts::ensure(&*self.disk).expect("memory does not fail");
        assert_eq!(counted(), before, "what is counted, and what there is");
    }

    /// A group of commits becomes durable.
    fn write(&mut self) {
        let group = self.rng.usize(1..6).min(self.writes.len());
        let mut last = None;
        for (commit, changes) in self.writes.drain(..group).collect::<Vec<_>>() {
            self.store(&changes, Persist::Synced);
            for _ in 0..self.model.durable(&changes) {
                self.tally.count(Happened::Destroyed);
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
            Action::LoadNamespace { namespace, destroyed, limit } => {
                let actors = self.state.in_namespace(namespace, destroyed, limit).expect("memory does not fail");
                Input::NamespaceLoaded { namespace, actors }
            }
            Action::Weigh { actor, namespace, changes } => {
                let namespace_bytes = self.state.usage(namespace).expect("memory does not fail").bytes;
                let (entries_bytes, after_bytes) = self.state.weigh(actor, &changes).expect("memory does not fail");
                Input::Weighed { actor, entries_bytes, after_bytes, namespace_bytes }
            }
            Action::ReadPages { runner, actor, call, pages, .. } => return self.read_pages(runner, actor, call, &pages),
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
        for (actor, said) in std::mem::take(&mut self.last_words) {
            self.said(actor, said);
        }
        let actors: Vec<ActorId> = self.actors.keys().copied().collect();
        for actor in actors {
            if self.rng.bool() {
                continue;
            }
            let Some(running) = self.actors.get_mut(&actor) else { continue };
            running.calling.take_if(|request| !self.open.contains_key(request));
            let said = running.step(actor, self.now_ms, self.faults, &mut self.next, &mut self.rng);
            self.said(actor, said);
        }
    }

    pub fn said(&mut self, actor: ActorId, said: Vec<Said>) {
        for said in said {
            match said {
                Said::Event(checkpoint, event) => {
                    if let Event::Stopped(outcome) = &event {
                        self.actors.remove(&actor);
                        match outcome {
                            Outcome::Error(_) => self.tally.count(Happened::Crashed),
                            Outcome::NotMigrated(_) => self.tally.count(Happened::HeldBack),
                            Outcome::Ok | Outcome::NoRoom(_) => {}
                        }
                    }
                    self.link.push_back(FromRunner::Event(checkpoint, event));
                }
                Said::Commit(commit) => self.link.push_back(FromRunner::Commit(commit)),
                Said::Returned(request) => {
                    if let Some(open) = self.open.get_mut(&request) {
                        open.sent_ms = None;
                    }
                    self.link.push_back(FromRunner::RequestReturned { request });
                }
                Said::Answer(request, value) => self.counted(actor, request, value),
                Said::Seal(call) => self.message(actor, call, MessageStep::Seal),
                Said::RollBack(call) => self.message(actor, call, MessageStep::RollBack),
                Said::Calls(request) => self.actor_calls(actor, request),
            }
        }
    }

    fn message(&mut self, actor: ActorId, call: u64, step: MessageStep) {
        let Some(running) = self.actors.get(&actor) else { return };
        let question = DatabaseQuestion::Message { generation: running.generation.into(), step };
        self.link.push_back(FromRunner::Database { actor, call, question });
    }

    /// The answer goes past the core to the client; the core hears that the request is over.
    fn counted(&mut self, actor: ActorId, request: RequestId, value: Option<u64>) {
        if self.open.get(&request).is_some_and(|open| open.sent_ms.is_some())
            && let Some(value) = value
        {
            assert!(self.values.insert((actor, value)), "{actor}: two clients were told {value}");
            let highest = self.told.entry(actor).or_default();
            *highest = value.max(*highest);
        }
        self.answered(request);
    }

    /// Actors of components handle nothing while they wait for another one.
    fn nobody_waits_for_itself(&self, actor: ActorId) {
        let waits_for = |actor: &ActorId| {
            let calling = self.actors.get(actor)?.calling.filter(|request| self.open.contains_key(request))?;
            self.called.get(&calling).copied()
        };
        let mut next = waits_for(&actor);
        while let Some(at) = next {
            assert_ne!(at, actor, "{actor} waits for itself");
            next = waits_for(&at);
        }
    }

    fn lose_runner(&mut self) {
        let Some(runner) = self.runner.take() else { return };
        self.actors.clear();
        self.last_words.clear();
        self.link.clear();
        self.tally.count(Happened::RunnerLost);
        self.input(Input::RunnerLeft { runner });
    }

    fn join_runner(&mut self) {
        if self.runner.is_some() {
            return;
        }
        let number = self.number();
        let runner = RunnerId(number);
        self.runner = Some(runner);
        self.runner_refuses = self.faults && self.rng.u8(..8) == 0;
        let profile = RunnerProfile { key: format!("runner-{number}"), version: 1, serves: Serves::Components };
        self.input(Input::RunnerJoined { runner, profile });
    }

    /// The process is gone, and with it every socket; some of what was not synced may be on disk all the same.
    fn lose_power(&mut self) {
        let lucky = self.rng.usize(..3).min(self.writes.len());
        for (_, changes) in self.writes.drain(..lucky).collect::<Vec<_>>() {
            self.store(&changes, Persist::Written);
        }
        let unsynced = self.disk.unsynced();
        self.disk.lose_power(unsynced);
        self.writes.clear();
        self.reads.clear();
        self.actors.clear();
        self.last_words.clear();
        self.sql.clear();
        self.link.clear();
        self.open.clear();
        self.calls.clear();
        self.runner = None;
        self.tally.count(Happened::PowerLost);
        self.model.crashed();
        self.core = Core::new(self.config.clone());
        self.boot();
    }

    fn boot(&mut self) {
        counts::ensure(&*self.disk).expect("memory does not fail");
        self.check_counts();
        let mut boot = self.state.boot().expect("memory does not fail");
        self.runners_at_boot(&mut boot);
        self.input(Input::Booted(boot));
    }

    fn deploy(&mut self, component: u8) {
        self.tally.count(Happened::Deployed);
        self.deploy_for(component, None);
    }

    fn deploy_for(&mut self, component: u8, canary: Option<Share>) {
        let (namespace, name, pool) = ("default".into(), "counter".into(), "default".into());
        let (component, settings) = (ComponentHash([component; 32]), SettingsPatch::default());
        self.call(|_| Operation::Deploy { namespace, name, pool, component, settings, canary, looked_at: None });
    }

    /// Something is decided about which actors run which version.
    fn change_versions(&mut self) {
        let (namespace, name) = (String::from("default"), String::from("counter"));
        let version = self.rng.u32(1..6);
        let share = Share::new(self.rng.u16(..=10_000)).expect("it is a share");
        let value = Some(self.rng.u8(..).to_string());
        match self.rng.u8(..8) {
            0 => self.call(|_| Operation::Activate { namespace, name, version }),
            1 => {
                let settings = SettingsPatch { config: BTreeMap::from([("A".into(), value)]), ..SettingsPatch::default() };
                let canary = Some(share).filter(|_| version == 1);
                self.call(|_| Operation::Configure { namespace, name, settings, canary });
            }
            2 => {
                let component = self.rng.u8(1..4);
                self.deploy_for(component, Some(share));
            }
            3 => self.call(|_| Operation::ShareCanary { namespace, name, share }),
            4 => self.call(|_| Operation::Promote { namespace, name }),
            5 => self.call(|_| Operation::RetryHeldBack { namespace, name }),
            _ => {
                let known = self.generations.len().max(1);
                let Some(actor) = self.generations.keys().nth(self.rng.usize(..known)).copied() else { return };
                let version = Some(version).filter(|_| self.rng.u8(..3) > 0);
                self.call(|_| Operation::PinActor { namespace, actor, version });
            }
        }
    }

    // The core, and what it asks for.

    pub fn input(&mut self, input: Input) {
        self.inputs.push_back(input);
        if std::mem::replace(&mut self.performing, true) {
            return;
        }
        while let Some(input) = self.inputs.pop_front() {
            self.core.handle(self.now_ms, input);
            while let Some(action) = self.core.poll_action() {
                self.perform(action);
            }
            self.core.check();
            assert_ne!(self.core.wait_ms(self.now_ms), Some(0), "it wants to go on at once, and has just been asked to");
        }
        self.performing = false;
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::LoadActor { .. }
            | Action::LoadKey { .. }
            | Action::LoadAlarms { .. }
            | Action::ReadPages { .. }
            | Action::LoadNamespace { .. }
            | Action::Weigh { .. } => {
                self.reads.push(Read::Asked(action));
            }
            Action::Commit { commit, changes } => {
                let wanted = self.somebody_waits();
                self.model.asked(self.now_ms, wanted, &changes);
                self.writes.push_back((commit, changes));
            }
            Action::Dispatch { request, runner, actor, generation } if self.is_component(actor) => {
                assert_eq!(Some(runner), self.runner, "a request went to a runner that is gone");
                self.called.insert(request, actor);
                self.nobody_waits_for_itself(actor);
                self.dispatched(request);
                match self.actors.get_mut(&actor).filter(|running| running.generation == generation) {
                    Some(running) if running.stopping.is_none() => running.mailbox.push_back(Work::Request(request)),
                    // It has stopped, which the core will hear: the request goes back.
                    _ => self.said(actor, vec![Said::Returned(request)]),
                }
            }
            Action::Dispatch { request, runner, actor, generation } => self.dispatch_to_envoy(runner, request, actor, generation),
            Action::Refuse { request, refusal } => self.refused(request, &refusal),
            Action::Reply { call, result } => self.replied(call, result),
            // Nothing is said on a socket here.
            Action::HoldBack { .. } => {}
            Action::Hibernate { request } => self.hibernates(request),
            // Nobody relies on it.
            Action::NoteEnd { .. } => {}
            Action::EvictRunner { runner } => self.evict(runner),
            Action::ForgetRunner { runner } => self.forget(runner),
            Action::CallOut { checkpoint, start, .. } => self.call_out(checkpoint, start),
            Action::EndCallOut { actor, generation, .. } => self.end_call_out(actor, generation),
            Action::RunSql { runner, actor, generation, call, question } => {
                self.take_sql(runner, actor, generation, call, question)
            }
            Action::SqlSettled { actor, generation, call, committed } => self.sql_settled(actor, generation, call, committed),
            Action::EndSql { actor, generation } => self.sql_ends(actor, generation),
            Action::Abandon { request } => self.abandon(request),
            Action::ToRunner { runner, message } if Some(runner) == self.runner => self.runner_hears(message),
            Action::ToRunner { runner, message } => self.say_to_envoy(runner, message),
        }
    }

    fn runner_hears(&mut self, message: ToRunner) {
        match message {
            ToRunner::Command(checkpoint, Command::Start(start)) => {
                let actor = checkpoint.actor;
                self.tally.count(Happened::Started);
                assert!(!self.actors.contains_key(&actor), "{actor} is started while an older generation lives");
                let newest = self.generations.entry(actor).or_default();
                assert!(checkpoint.generation > *newest, "{actor}: generation {} after {newest}", checkpoint.generation);
                *newest = checkpoint.generation;
                self.model.is_durable(actor, checkpoint.generation);
                let counter = self.counter(actor);
                let told = self.told.get(&actor).copied().unwrap_or(0);
                assert!(counter >= told, "{actor}: a client was told {told}, on disk is {counter}");
                let version = self.version_of(actor, start.component.expect("a runner of components runs them"));
                self.actors.insert(actor, Running::new(checkpoint.generation, counter, start.alarm_ms, version));
            }
            ToRunner::Command(checkpoint, Command::Stop(reason)) => {
                let current = |running: &&mut Running| running.generation == checkpoint.generation;
                match self.actors.get_mut(&checkpoint.actor).filter(current) {
                    Some(_) if reason == StopReason::Lost => {
                        let said = self.actors.remove(&checkpoint.actor).map(Running::give_up).unwrap_or_default();
                        self.last_words.push((checkpoint.actor, said));
                    }
                    Some(running) => running.mailbox.push_back(Work::Stop),
                    None => {}
                }
            }
            ToRunner::Alarm { actor, generation, scheduled_ms, .. } => {
                assert!(scheduled_ms <= self.now_ms, "{actor}: an alarm for {scheduled_ms} fires at {}", self.now_ms);
                self.tally.count(Happened::Rung);
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
            ToRunner::Database { actor, call, result } => self.hear_sealed(actor, call, result),
            // None of its actors is idle for long.
            ToRunner::AskToSleep { .. } => {}
            ToRunner::Prepare { component } => {
                let info =
                    ComponentInfo { handlers: vec![Handler::Http], imports: vec![], bytes: 1, compiled_bytes: 1, compile_ms: 1 };
                let refusal = ComponentRefusal { kind: ComponentRefusalKind::NoHandler, message: "not here".into() };
                let result = if self.runner_refuses { Err(refusal) } else { Ok(info) };
                self.link.push_back(FromRunner::Prepared { component, result });
            }
            other => unreachable!("the core does not send {other:?}"),
        }
    }

    /// What the start says of versions must be what is on disk: each version writes its number before anything else.
    fn version_of(&mut self, actor: ActorId, deployed: Deployed) -> Version {
        let Deployed { component, version, migrate_from, .. } = deployed;
        let this = Version { number: version, component: component.0[0], migrates: migrate_from.is_some() };
        let found = self.state.kv_get(KvSpace::Actor, actor, &["wrote".into()]).expect("memory does not fail");
        match found[0].as_ref().map(|entry| Version::read(&entry.value)) {
            None => assert_eq!(migrate_from, None, "{actor} has written nothing"),
            Some((wrote, by)) if wrote != version && by != this.component => {
                assert_eq!(migrate_from, Some(wrote), "{actor}: version {wrote} has written its state");
                self.tally.count(Happened::Migrating);
            }
            // Which component it was is forgotten when the version is.
            Some((wrote, _)) => {
                assert!(migrate_from.is_none_or(|from| from == wrote && from != version), "{actor}: {migrate_from:?}")
            }
        }
        this
    }

    // Small things.

    pub fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// What is on disk of an actor's counter.
    fn counter(&self, actor: ActorId) -> u64 {
        let entries = self.state.kv_get(KvSpace::Actor, actor, &["count".into(), "again".into()]).expect("memory does not fail");
        let values: Vec<_> = entries.iter().map(|entry| entry.as_ref().map(|entry| &entry.value)).collect();
        assert_eq!(values[0], values[1], "{actor}: half of a message is on disk");
        let own = self.state.kv_get(KvSpace::Runner, actor, &["own".into()]).expect("memory does not fail").pop().flatten();
        assert_eq!(own.as_ref().map(|entry| &entry.value), values[0], "{actor}: half of a message is on disk");
        let pages = self.state.kv_get(KvSpace::Actor, actor, &["pages".into()]).expect("memory does not fail").pop().flatten();
        let page = self.state.pages(actor, &[1]).expect("memory does not fail").1.pop().flatten();
        let in_database = page.map(|page| value_of(&page).0);
        assert_eq!(pages.map(|entry| number(&entry.value)), in_database, "{actor}: the database is not that of its entries");
        values[0].map_or(0, number)
    }
}

/// With the usual times, or with short ones, so that more of them pass.
fn config(short: bool) -> Config {
    let config = Config { alarms_in_memory_max: 3, moves_in_flight_max: 2, ..Config::default() };
    match short {
        false => config,
        true => Config {
            ready_timeout_ms: 9_000,
            start_timeout_ms: 4_000,
            stop_timeout_ms: 12_000,
            runner_lost_ms: 5_000,
            runner_replaced_ms: 700,
            retry_base_ms: 500,
            ..config
        },
    }
}
