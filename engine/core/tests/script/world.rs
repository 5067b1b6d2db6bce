//! A world for the core: a disk of maps, names for ids, and a transcript.

mod deployments;
mod limits;
mod messages;
mod pools;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;

use bytes::Bytes;
use protocol::component::{ComponentHash, ComponentInfo, ComponentRefusal, ComponentRefusalKind, Handler};
use protocol::database::DatabaseAnswer;
use protocol::id::{ActorId, Id, RequestId, RunnerId};
use protocol::message::{
    AlarmChange, Checkpoint, Command, Commit, Event, FromRunner, KvAnswer, KvChange, Outcome, RunnerProfile, Serves, ToRunner,
};
use rivet_engine_core::action::{Action, Answer};
use rivet_engine_core::input::{Boot, CallId, CommitId, Create, Input, KeyRef, LoadedActor, Operation, RequestKind, Target};
use rivet_engine_core::record::{
    ActorRecord, Change, CrashPolicy, DeploymentRecord, HeldBack, NamespaceRecord, RunnerConfigRecord,
};
use rivet_engine_core::refusal::Refusal;
use rivet_engine_core::{Config, Core};

use self::deployments::{say_deployed, say_deployment};

const RUNNER: RunnerId = RunnerId(1);
const COMPONENTS: [(&str, ComponentHash); 3] =
    [("v1", ComponentHash([1; 32])), ("v2", ComponentHash([2; 32])), ("v3", ComponentHash([3; 32]))];

#[derive(Default)]
struct Disk {
    actors: BTreeMap<ActorId, LoadedActor>,
    /// How long each value is.
    kv: limits::Entries,
    keys: BTreeMap<KeyRef, ActorId>,
    alarms: BTreeSet<(u64, ActorId)>,
    namespaces: Vec<NamespaceRecord>,
    deployments: BTreeMap<String, DeploymentRecord>,
    runner_configs: BTreeMap<String, RunnerConfigRecord>,
    held_back: BTreeMap<ActorId, HeldBack>,
}

impl Disk {
    fn apply(&mut self, change: Change) {
        match change {
            Change::CreateActor { record, input } => {
                if let Some(key) = key_of(&record) {
                    assert!(self.keys.insert(key, record.id).is_none(), "two actors with one key");
                }
                self.actors.insert(record.id, LoadedActor { record: *record, input, database: None, entries_bytes: 0 });
            }
            Change::PutActor(record) => {
                let actor = self.actors.get_mut(&record.id).expect("it was created");
                actor.record = *record;
            }
            Change::DestroyActor { record, .. } => {
                if let Some(key) = key_of(&record) {
                    assert_eq!(self.keys.remove(&key), Some(record.id));
                }
                self.kv.retain(|(of, ..), _| *of != record.id);
                self.actors.insert(record.id, LoadedActor { record: *record, input: None, database: None, entries_bytes: 0 });
            }
            Change::PutAlarm { fire_ms, actor } => assert!(self.alarms.insert((fire_ms, actor))),
            Change::DeleteAlarm { fire_ms, actor } => assert!(self.alarms.remove(&(fire_ms, actor))),
            Change::Kv { actor, space, changes, .. } => {
                limits::apply(&mut self.kv, actor, space, changes);
                self.actors.get_mut(&actor).expect("it was created").entries_bytes = limits::bytes_of(&self.kv, actor);
            }
            Change::StageImport { actor, entries, .. } => {
                for (space, entry) in entries {
                    limits::apply(&mut self.kv, actor, space, vec![KvChange::Put { key: entry.key, value: entry.value }]);
                }
            }
            Change::TakeImport { actor, kv_bytes, runner_kv_bytes } => {
                let there = self.actors.get_mut(&actor).expect("it was created");
                there.entries_bytes = limits::bytes_of(&self.kv, actor);
                assert_eq!(there.entries_bytes, kv_bytes + runner_kv_bytes, "what was staged is counted");
            }
            Change::DropImport { actor } => self.kv.retain(|(of, ..), _| *of != actor),
            Change::PutActorName { .. } => {}
            Change::Database { actor, head, .. } => {
                self.actors.get_mut(&actor).expect("it was created").database = Some(head);
            }
            Change::PutRunnerConfig(record) => drop(self.runner_configs.insert(record.pool.clone(), *record)),
            Change::DeleteRunnerConfig { pool, .. } => drop(self.runner_configs.remove(&pool)),
            Change::PutHeldBack { actor, held, .. } => drop(self.held_back.insert(actor, *held)),
            Change::DeleteHeldBack { actor, .. } => assert!(self.held_back.remove(&actor).is_some()),
            Change::ForgetActors { actors, .. } => actors.iter().for_each(|listed| drop(self.actors.remove(&listed.actor))),
            Change::DeleteNamespace { namespace } => self.delete_namespace(namespace),
            Change::PutNamespace(record) => {
                self.namespaces.retain(|known| known.id != record.id);
                self.namespaces.push(record);
            }
            // See `tests/access.rs`.
            Change::PutToken(_) | Change::DeleteToken { .. } | Change::PutAudit { .. } | Change::ForgetAudit { .. } => {}
            Change::PutDeployment(record) => {
                self.deployments.insert(record.name.clone(), *record);
            }
        }
    }

    fn key(&self, key: &KeyRef) -> Option<Box<LoadedActor>> {
        Some(Box::new(self.actors[self.keys.get(key)?].clone()))
    }
}

fn key_of(record: &ActorRecord) -> Option<KeyRef> {
    Some(KeyRef { namespace: record.namespace, name: record.name.clone(), key: record.key.clone()? })
}

pub struct World {
    core: Core,
    disk: Disk,
    now_ms: u64,
    pub transcript: String,
    names: BTreeMap<ActorId, String>,
    events: BTreeMap<(ActorId, u32), u64>,
    /// Runners of the pool by their keys.
    envoys: BTreeMap<String, RunnerId>,
    calls: u64,
    created: u64,
    held_commits: Option<VecDeque<(CommitId, Vec<Change>)>>,
    held_loads: Option<VecDeque<Action>>,
    shows_ends: bool,
    /// The core is told of their end with the next input.
    abandoned: Vec<RequestId>,
}

impl World {
    pub fn new() -> World {
        World {
            core: Core::new(config()),
            disk: Disk::default(),
            now_ms: 0,
            transcript: String::new(),
            names: BTreeMap::new(),
            events: BTreeMap::new(),
            envoys: BTreeMap::new(),
            calls: 0,
            created: 0,
            held_commits: None,
            held_loads: None,
            shows_ends: false,
            abandoned: Vec::new(),
        }
    }

    /// One line of a script.
    pub fn step(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            // A namespace, a runner and a deployed component, in silence.
            ["up"] => {
                self.input(Input::Booted(Boot::default()));
                self.call(Operation::CreateNamespace { random: [9; 16], name: "default".into(), display_name: "Default".into() });
                self.step("runner joined");
                self.step("deploy v1");
                self.step("prepared v1");
                self.transcript.clear();
            }
            // A namespace and a pool, in silence. Actors called "job" have no component.
            ["up", "pool"] => {
                self.input(Input::Booted(Boot::default()));
                self.call(Operation::CreateNamespace { random: [9; 16], name: "default".into(), display_name: "Default".into() });
                self.step("pool");
                self.transcript.clear();
            }
            // What is on disk is all that is left.
            ["restart", "engine"] => {
                self.core = Core::new(config());
            }
            ["up", "again"] => {
                let awake = self.disk.actors.values().filter(|actor| actor.record.is_awake()).cloned().collect();
                let namespaces = self.disk.namespaces.clone();
                let deployments = self.disk.deployments.values().cloned().collect();
                let runner_configs = self.disk.runner_configs.values().cloned().collect();
                let runners = self.envoys.iter().map(|(key, id)| (*id, self.envoy_ref(key))).collect();
                self.input(Input::Booted(Boot {
                    namespaces,
                    deployments,
                    runner_configs,
                    usage: self.disk.usage(),
                    awake,
                    runners,
                    ..Boot::default()
                }));
                if !self.disk.deployments.is_empty() {
                    self.step("runner joined");
                    self.step("prepared");
                }
            }
            ["hold", "commits"] => self.held_commits = Some(VecDeque::new()),
            ["release", "commits"] => {
                for (commit, changes) in self.held_commits.take().expect("they are held") {
                    changes.into_iter().for_each(|change| self.disk.apply(change));
                    self.input(Input::Committed { commit });
                }
            }
            ["hold", "loads"] => self.held_loads = Some(VecDeque::new()),
            ["release", "loads"] => {
                for action in self.held_loads.take().expect("they are held") {
                    self.perform(action);
                }
            }
            ["show", "ends"] => self.shows_ends = true,
            ["at", ms] => {
                self.now_ms = ms.parse().expect("a number");
                self.input(Input::Tick);
            }
            ["runner", "joined"] => {
                let profile = RunnerProfile { key: "w".into(), version: 1, serves: Serves::Components };
                self.input(Input::RunnerJoined { runner: RUNNER, profile });
            }
            ["runner", "ends"] => self.input(Input::RunnerEnds { runner: RUNNER }),
            ["runner", "left"] => self.input(Input::RunnerLeft { runner: RUNNER }),
            ["deploy", component, ref how @ ..] => self.deploy(component, how),
            _ if self.deployment_step(&words) => {}
            ["rollback", version] => self.call(Operation::Activate {
                namespace: "default".into(),
                name: "counter".into(),
                version: version.parse().expect("a number"),
            }),
            ["prepared"] => self.step("prepared v1"),
            ["prepared", component] => {
                let component = component_named(component);
                self.runner_says(FromRunner::Prepared { component, result: Ok(component_info()) });
            }
            ["refused", component] => {
                let component = component_named(component);
                let refusal = ComponentRefusal { kind: ComponentRefusalKind::NoHandler, message: "it has no handler".into() };
                self.runner_says(FromRunner::Prepared { component, result: Err(refusal) });
            }
            ["namespace", name, ref display @ ..] => {
                self.call(Operation::CreateNamespace { random: [7; 16], name: name.into(), display_name: display.join(" ") })
            }
            ["create", key] => self.create(key, CrashPolicy::Sleep),
            ["create", key, "restart"] => self.create(key, CrashPolicy::Restart),
            ["create", key, "destroy"] => self.create(key, CrashPolicy::Destroy),
            ["get", key] => {
                let create = self.how(CrashPolicy::Sleep);
                self.call(Operation::GetOrCreateActor {
                    namespace: "default".into(),
                    name: "counter".into(),
                    key: key.into(),
                    create,
                });
            }
            ["destroy", key] => {
                let actor = self.actor(key);
                self.call(Operation::DestroyActor { namespace: "default".into(), actor });
            }
            ["api-sleep", key] => {
                let actor = self.actor(key);
                self.call(Operation::SleepActor { namespace: "default".into(), actor });
            }
            ["request", request, "for", key] => {
                let create = Some(Box::new(self.how(CrashPolicy::Sleep)));
                let target = Target::Key { namespace: "default".into(), name: "counter".into(), key: key.into(), create };
                self.request(request, target);
            }
            ["request", request, "to", actor] => {
                let target = Target::Id(self.actor(actor));
                self.request(request, target);
            }
            ["request", request, "to-existing", key] => {
                let target = Target::Key { namespace: "default".into(), name: "counter".into(), key: key.into(), create: None };
                self.request(request, target);
            }
            ["request", request, "in", namespace] => {
                let target = Target::Key { namespace: namespace.into(), name: "counter".into(), key: "k".into(), create: None };
                self.request(request, target);
            }
            ["request", request, "named", name] => {
                let create = Some(Box::new(self.how(CrashPolicy::Sleep)));
                let target = Target::Key { namespace: "default".into(), name: name.into(), key: "k".into(), create };
                self.request(request, target);
            }
            ["ended", request] => self.input(Input::RequestEnded { request: request_named(request) }),
            ["aborted", request] => self.input(Input::RequestAborted { request: request_named(request) }),
            ["returned", request] => self.runner_says(FromRunner::RequestReturned { request: request_named(request) }),
            ["running", actor] => self.event(actor, Event::Running),
            ["sleep", actor] => self.event(actor, Event::SleepIntent),
            ["stop", actor] => self.event(actor, Event::StopIntent),
            ["stopped", actor] => self.event(actor, Event::Stopped(Outcome::Ok)),
            ["not-migrated", actor, ref text @ ..] => self.event(actor, Event::Stopped(Outcome::NotMigrated(text.join(" ")))),
            ["full", actor] => self.event(actor, Event::Stopped(Outcome::NoRoom("the runner is full".into()))),
            ["crashed", actor, ref text @ ..] => self.event(actor, Event::Stopped(Outcome::Error(Some(text.join(" "))))),
            ["event", index, kind, actor] => {
                let (actor, generation) = self.generation(actor);
                let event = if kind == "running" { Event::Running } else { Event::SleepIntent };
                let checkpoint = Checkpoint { actor, generation, index: index.parse().expect("a number") };
                self.runner_says(FromRunner::Event(checkpoint, event));
            }
            ["write", actor, commit, ref what @ ..] => self.write(self.runner_of(self.generation(actor).0), actor, commit, what),
            ["show", key] => self.show(key),
            ["memory"] => {
                let line = format!("memory: {} actors, {} requests", self.core.actors_in_memory(), self.core.requests_in_flight());
                self.say(&line);
            }
            _ if self.pool_step(&words) || self.message_step(&words) || self.limit_step(&words) => {}
            _ => panic!("the script says {line:?}, which means nothing"),
        }
    }

    fn create(&mut self, key: &str, policy: CrashPolicy) {
        let create = self.how(policy);
        self.call(Operation::CreateActor { namespace: "default".into(), name: "counter".into(), key: Some(key.into()), create });
    }

    fn how(&mut self, crash_policy: CrashPolicy) -> Create {
        self.created += 1;
        let mut random = [0; 16];
        random[..8].copy_from_slice(&self.created.to_le_bytes());
        Create { random, pool: "default".into(), crash_policy, input: Some(Bytes::from_static(b"in")) }
    }

    fn write(&mut self, runner: RunnerId, actor: &str, commit: &str, what: &[&str]) {
        let (actor, generation) = self.generation(actor);
        let mut message = commit_of(actor, generation, commit.parse().expect("a number"));
        for word in what {
            match word.split_once('=') {
                Some(("alarm", ms)) => message.alarm = AlarmChange::Set(ms.parse().expect("a number")),
                Some(("own", key)) => message.own = vec![KvChange::Put { key: key.to_string().into(), value: "v".into() }],
                Some(("pages", pages)) => message.database = Some(messages::pages_of(pages)),
                Some(("fired", ms)) => message.fired_ms = Some(ms.parse().expect("a number")),
                None if *word == "clear" => message.alarm = AlarmChange::Clear,
                None if *word == "failed" => message.alarm_failed = true,
                _ => panic!("a commit does not know {word:?}"),
            }
        }
        self.says(runner, FromRunner::Commit(message));
    }

    fn event(&mut self, actor: &str, event: Event) {
        let (actor, generation) = self.generation(actor);
        let next = self.events.entry((actor, generation)).or_default();
        let index = *next;
        *next += 1;
        self.says(self.runner_of(actor), FromRunner::Event(Checkpoint { actor, generation, index }, event));
    }

    fn runner_says(&mut self, message: FromRunner) {
        self.says(RUNNER, message);
    }

    fn says(&mut self, runner: RunnerId, message: FromRunner) {
        self.input(Input::FromRunner { runner, message });
    }

    fn request(&mut self, request: &str, target: Target) {
        let request = request_named(request);
        self.input(Input::Request { request, target, kind: RequestKind::Http, skip_ready_wait: false });
    }

    fn namespace(&self) -> Id {
        self.disk.namespaces[0].id
    }

    fn runner_name(&self, runner: RunnerId) -> &str {
        self.envoys.iter().find(|(_, id)| **id == runner).map_or("w", |(key, _)| key)
    }

    fn call(&mut self, operation: Operation) {
        self.calls += 1;
        self.input(Input::Call { call: CallId(self.calls), operation, by: None });
    }

    fn input(&mut self, input: Input) {
        self.core.handle(self.now_ms, input);
        while let Some(action) = self.core.poll_action() {
            self.perform(action);
        }
        self.core.check();
        assert_ne!(self.core.wait_ms(self.now_ms), Some(0), "time stands still and the core does not rest");
        if let Some(request) = self.abandoned.pop() {
            self.input(Input::RequestAborted { request });
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::LoadActor { .. } | Action::LoadKey { .. } if self.held_loads.is_some() => {
                self.held_loads.as_mut().expect("they are held").push_back(action);
            }
            Action::LoadActor { actor } => {
                let found = self.disk.actors.get(&actor).cloned().map(Box::new);
                self.input(Input::ActorLoaded { actor, found });
            }
            Action::LoadKey { key } => {
                let found = self.disk.key(&key);
                self.input(Input::KeyLoaded { key, found });
            }
            Action::LoadAlarms { from, limit } => {
                let mut rest = self.disk.alarms.iter().filter(|alarm| from.is_none_or(|from| **alarm >= from)).copied();
                let alarms = rest.by_ref().take(limit).collect();
                let complete = rest.next().is_none();
                self.input(Input::AlarmsLoaded { alarms, complete });
            }
            Action::LoadNamespace { namespace, destroyed, limit } => {
                let actors = self.disk.in_namespace(namespace, destroyed, limit);
                self.input(Input::NamespaceLoaded { namespace, actors });
            }
            Action::Weigh { actor, changes, .. } => self.weigh(actor, changes),
            Action::Commit { commit, changes } => {
                for change in &changes {
                    if let Change::CreateActor { record, .. } = change {
                        let twice = self.names.values().filter(|name| Some(name.as_str()) == record.key.as_deref()).count();
                        let name = record.key.clone().unwrap_or_default() + &"'".repeat(twice);
                        self.names.insert(record.id, name);
                    }
                }
                match &mut self.held_commits {
                    Some(held) => held.push_back((commit, changes)),
                    None => {
                        changes.into_iter().for_each(|change| self.disk.apply(change));
                        self.input(Input::Committed { commit });
                    }
                }
            }
            Action::ToRunner { runner, message } => self.say_message(runner, message),
            Action::ReadPages { actor, call, pages, .. } => {
                let line = format!("disk <- pages {pages:?} of {} for call {call}", self.name(actor));
                self.say(&line);
            }
            Action::RunSql { actor, generation, .. } => {
                let line = format!("sql <- {}@{generation}", self.name(actor));
                self.say(&line);
            }
            Action::SqlSettled { actor, generation, call, committed } => {
                let what = if committed { "is committed" } else { "is thrown away" };
                let line = format!("sql <- {what}: call {call} of {}@{generation}", self.name(actor));
                self.say(&line);
            }
            Action::EndSql { actor, generation } => {
                let line = format!("sql <- end {}@{generation}", self.name(actor));
                self.say(&line);
            }
            Action::Abandon { request } => {
                let line = format!("{} <- abandoned", name_of(request));
                self.say(&line);
                self.abandoned.push(request);
            }
            Action::NoteEnd { actor, generation, end } => {
                if self.shows_ends {
                    let line = format!("note {}@{generation}: {end:?}", self.name(actor));
                    self.say(&line);
                }
            }
            Action::EvictRunner { runner } => {
                let line = format!("{} <- evicted", self.runner_name(runner));
                self.say(&line);
            }
            Action::ForgetRunner { runner } => {
                let line = format!("{} is forgotten", self.runner_name(runner));
                self.say(&line);
            }
            Action::CallOut { checkpoint: Checkpoint { actor, generation, index }, .. } => {
                let line = format!("url <- start {}@{generation} #{index}", self.name(actor));
                self.say(&line);
            }
            Action::EndCallOut { actor, generation, taken } => {
                let when = if taken { "end soon" } else { "end" };
                let line = format!("url <- {when} {}@{generation}", self.name(actor));
                self.say(&line);
            }
            Action::HoldBack { request } => {
                let line = format!("{} <- hold back", name_of(request));
                self.say(&line);
            }
            Action::Hibernate { request } => {
                let line = format!("{} <- hibernate", name_of(request));
                self.say(&line);
            }
            Action::Dispatch { request, actor, generation, runner } => {
                let line =
                    format!("{} <- request {} {}@{generation}", self.runner_name(runner), name_of(request), self.name(actor));
                self.say(&line);
            }
            Action::Refuse { request, refusal } => {
                let line = format!("{} <- {}", name_of(request), self.say_refusal(&refusal));
                self.say(&line);
            }
            Action::Reply { call, result } => {
                let answer = match result {
                    Ok(Answer::Actor { record, created }) => {
                        format!("{} {}", if created { "created" } else { "found" }, self.name(record.id))
                    }
                    Ok(Answer::Namespace(record)) => format!("namespace {}", record.name),
                    Ok(Answer::Quotas { record, in_use, deletion }) => limits::say_quotas(&record, &in_use, deletion),
                    Ok(Answer::Deployment { record, version }) => say_deployment(&record, version),
                    Ok(Answer::Component(info)) => format!("handles {:?}", info.handlers),
                    Ok(Answer::Moving { left }) => format!("moving {left}"),
                    Ok(Answer::Token(token)) => format!("token {}", token.id),
                    Ok(Answer::RunnerConfig { endpoint_changed }) => format!("configured, changed {endpoint_changed}"),
                    Ok(Answer::Runners { .. }) => "runners".to_string(),
                    Ok(Answer::Done) => "done".to_string(),
                    Err(refusal) => self.say_refusal(&refusal),
                };
                let line = format!("call {} <- {answer}", call.0);
                self.say(&line);
            }
        }
    }

    fn say_message(&mut self, runner: RunnerId, message: ToRunner) {
        let line = match message {
            ToRunner::Command(Checkpoint { actor, generation, index }, command) => {
                let what = match command {
                    Command::Start(start) => {
                        let component = start.component.map(|deployed| say_deployed(&deployed)).unwrap_or("nothing".into());
                        let alarm = start.alarm_ms.map(|ms| format!(" alarm {ms}")).unwrap_or_default();
                        let sockets: String = start.hibernating.iter().map(|request| format!(" {}", name_of(*request))).collect();
                        format!("start {component} {:?}{alarm}{sockets}", start.reason).to_lowercase()
                    }
                    Command::Stop(reason) => format!("stop {reason:?}").to_lowercase(),
                };
                let index = if index == i64::MAX as u64 { "-".to_string() } else { index.to_string() };
                format!("{what}: {}@{generation} #{index}", self.name(actor))
            }
            ToRunner::Alarm { actor, generation, scheduled_ms, attempt } => {
                format!("alarm {scheduled_ms} attempt {attempt}: {}@{generation}", self.name(actor))
            }
            ToRunner::Committed { actor, generation, commit } => {
                format!("committed {commit}: {}@{generation}", self.name(actor))
            }
            ToRunner::AskToSleep { actor, generation } => format!("asks {}@{generation} to sleep", self.name(actor)),
            ToRunner::Prepare { component } => format!("prepare {}", component_name(component)),
            ToRunner::AckEvents(Checkpoint { actor, generation, index }) => {
                format!("events acked to {index}: {}@{generation}", self.name(actor))
            }
            ToRunner::Kv { result: Ok(KvAnswer::Written), call, .. } => format!("kv {call} written"),
            ToRunner::Kv { result: Err(text), call, .. } => format!("kv {call}: {}", self.with_names(text)),
            ToRunner::Database { result: Ok(answer), .. } => match answer {
                DatabaseAnswer::Committed { head_txid } => format!("db committed {head_txid}"),
                DatabaseAnswer::Staging { txid } => format!("db staging {txid}"),
                DatabaseAnswer::Staged { bytes } => format!("db staged {bytes}"),
                DatabaseAnswer::Sealed { pages, size_pages } => format!("db sealed {} of {size_pages} pages", pages.len()),
                other => format!("{other:?}"),
            },
            ToRunner::Database { result: Err(error), .. } => {
                format!("db {}.{}: {}", error.group, error.code, self.with_names(error.message))
            }
            other => format!("{other:?}"),
        };
        self.say(&format!("{} <- {line}", self.runner_name(runner)));
    }

    fn say_refusal(&self, refusal: &Refusal) -> String {
        let (group, code) = refusal.code();
        format!("{group}.{code}: {}", self.with_names(refusal.to_string()))
    }

    fn with_names(&self, text: String) -> String {
        self.names.iter().fold(text, |text, (id, name)| text.replace(&id.to_string(), name))
    }

    fn show(&mut self, key: &str) {
        let id = self.actor(key);
        let ActorRecord {
            generation,
            start_ms,
            connectable_ms,
            sleep_ms,
            pending_ms,
            reschedule_ms,
            destroy_ms,
            error,
            runner,
            state_version,
            pin,
            held_back,
            ..
        } = self.disk.actors[&id].record.clone();
        let mut line = format!("{key}: generation {generation}");
        let times = [
            ("start", start_ms),
            ("connectable", connectable_ms),
            ("sleep", sleep_ms),
            ("pending", pending_ms),
            ("reschedule", reschedule_ms),
            ("destroy", destroy_ms),
        ];
        for (name, ms) in times {
            if let Some(ms) = ms {
                let _ = write!(line, ", {name} {ms}");
            }
        }
        if let Some(runner) = runner {
            let _ = write!(line, ", on {}", runner.key());
        }
        if let Some(error) = error {
            let _ = write!(line, ", {error:?}");
        }
        for (what, version) in [("state of", state_version), ("pinned to", pin)] {
            if let Some(version) = version {
                let _ = write!(line, ", {what} version {version}");
            }
        }
        assert_eq!(held_back.as_deref(), self.disk.held_back.get(&id), "the note about {key} is in its record and in the list");
        if let Some(held) = held_back {
            let _ = write!(line, ", held back from version {} attempt {}: {}", held.version, held.attempt, held.message);
        }
        self.say(&line);
    }

    fn say(&mut self, line: &str) {
        let _ = writeln!(self.transcript, "{line}");
    }

    fn name(&self, actor: ActorId) -> &str {
        self.names.get(&actor).map_or("?", String::as_str)
    }

    /// The newest actor with this key, or an id that nobody has.
    fn actor(&self, key: &str) -> ActorId {
        let named = |name: &&String| name.trim_end_matches('\'') == key;
        let newest = self.names.iter().filter(|(_, name)| named(name)).max_by_key(|(_, name)| name.len());
        newest.map_or(Id::new([255; 16], 1), |(id, _)| *id)
    }

    /// `a` is its current generation, `a@1` that one.
    fn generation(&self, actor: &str) -> (ActorId, u32) {
        match actor.split_once('@') {
            Some((key, generation)) => (self.actor(key), generation.parse().expect("a number")),
            None => {
                let id = self.actor(actor);
                (id, self.disk.actors[&id].record.generation)
            }
        }
    }
}

fn config() -> Config {
    Config { alarms_in_memory_max: 4, moves_in_flight_max: 2, ..Config::default() }
}

fn request_named(name: &str) -> RequestId {
    RequestId(name.trim_start_matches('q').parse().expect("q and a number"))
}

fn name_of(request: RequestId) -> String {
    format!("q{}", request.0)
}

fn commit_of(actor: ActorId, generation: u32, commit: u64) -> Commit {
    Commit {
        actor,
        generation,
        commit,
        changes: vec![KvChange::Put { key: "k".into(), value: "v".into() }],
        own: Vec::new(),
        database: None,
        alarm: AlarmChange::Keep,
        fired_ms: None,
        alarm_failed: false,
    }
}

fn component_info() -> ComponentInfo {
    ComponentInfo { handlers: vec![Handler::Http], imports: vec![], bytes: 1, compiled_bytes: 1, compile_ms: 1 }
}

fn component_named(name: &str) -> ComponentHash {
    COMPONENTS.iter().find(|(known, _)| *known == name).expect("v1, v2 or v3").1
}

fn component_name(hash: ComponentHash) -> &'static str {
    COMPONENTS.iter().find(|(_, known)| *known == hash).expect("v1, v2 or v3").0
}
