//! What scripts say about pools, their runners, sockets and databases.

use bytes::Bytes;
use protocol::component::{ComponentRefusal, ComponentRefusalKind};
use protocol::database::{DatabaseAnswer, DatabaseQuestion, Fence, PAGE_BYTES, Rows};
use protocol::id::{ActorId, RunnerId};
use protocol::message::{Checkpoint, Event, FromRunner, KvChange, Outcome, RunnerProfile, RunnerProtocol, Serves};
use rivet_engine_core::input::{CallOutcome, DatabaseChanges, Input, Operation, RequestKind, Target};
use rivet_engine_core::record::{CrashPolicy, PoolError, PoolKind, Rate, RunnerConfigRecord, RunnerRef, ServerlessConfig};

use super::{RUNNER, World, commit_of, component_info, component_named, request_named};

impl World {
    /// False if the line means nothing here.
    pub(super) fn pool_step(&mut self, words: &[&str]) -> bool {
        match *words {
            ["pool"] => self.put_pool(PoolKind::Normal),
            ["delete", "pool"] => {
                self.call(Operation::DeleteRunnerConfig { namespace: "default".into(), pool: "default".into() });
            }
            ["url", actors] => {
                let config = ServerlessConfig {
                    url: "http://app".into(),
                    headers: vec![],
                    request_lifespan_s: 3_600,
                    drain_grace_period_s: 10,
                    max_concurrent_actors: actors.parse().expect("a number"),
                    metadata_poll_interval_ms: None,
                    slots_per_runner: 1,
                    min_runners: 0,
                    max_runners: 1,
                    runners_margin: 0,
                };
                self.put_pool(PoolKind::Serverless(Box::new(config)));
            }
            ["envoy", key, "joined"] => self.envoy_joined(key, 1, RunnerProtocol::Envoy(8), None),
            ["envoy", key, "joined", version] => {
                self.envoy_joined(key, version.parse().expect("a number"), RunnerProtocol::Envoy(8), None);
            }
            ["legacy", key, "joined", version, slots] => {
                let (version, slots) = (version.parse().expect("a number"), slots.parse().expect("a number"));
                self.envoy_joined(key, version, RunnerProtocol::Legacy(7), Some(slots));
            }
            ["envoy", key, "left"] => self.input(Input::RunnerLeft { runner: self.envoys[key] }),
            ["envoy", key, "stopping"] => self.says(self.envoys[key], FromRunner::Stopping),
            ["envoy", key, "returned", request] => {
                self.says(self.envoys[key], FromRunner::RequestReturned { request: request_named(request) });
            }
            ["envoy", key, "quiet"] => self.input(Input::RunnerFresh { runner: self.envoys[key], fresh: false }),
            ["envoy", key, "fresh"] => self.input(Input::RunnerFresh { runner: self.envoys[key], fresh: true }),
            ["announces", version] => {
                self.input(Input::PoolAnnounces {
                    namespace: self.namespace(),
                    pool: "default".into(),
                    envoy_version: Some(version.parse().expect("a number")),
                    protocol_version: Some(8),
                    names: vec![],
                });
            }
            ["call", actor, outcome] => {
                let (actor, generation) = self.generation(actor);
                let outcome = match outcome {
                    "failed" => CallOutcome::Failed(PoolError::ServerlessHttpError { status_code: 500, body: "no".into() }),
                    "stopping" => CallOutcome::Stopping,
                    "ended" => CallOutcome::Ended,
                    other => panic!("a call does not know {other:?}"),
                };
                self.input(Input::CalledOut { actor, generation, outcome });
            }
            // A runner of components beside the one that the others mean by `runner`.
            ["components", key, "joined"] => {
                let next = RunnerId(11 + self.envoys.len() as u64);
                let runner = *self.envoys.entry(key.to_string()).or_insert(next);
                let profile = RunnerProfile { key: key.into(), version: 1, serves: Serves::Components };
                self.input(Input::RunnerJoined { runner, profile });
            }
            ["from", key, "prepared", component] => {
                let prepared = FromRunner::Prepared { component: component_named(component), result: Ok(component_info()) };
                self.says(self.envoys[key], prepared);
            }
            ["from", key, "failed", component] => {
                let refusal = ComponentRefusal { kind: ComponentRefusalKind::Internal, message: format!("{key} has no disk") };
                let message = FromRunner::Prepared { component: component_named(component), result: Err(refusal) };
                self.says(self.envoys[key], message);
            }
            ["from", key, "writes", actor] => {
                let (actor, generation) = self.generation(actor);
                self.says(self.envoys[key], FromRunner::Commit(commit_of(actor, generation, 1)));
            }
            ["acked", actor, index] => {
                let (actor, generation) = self.generation(actor);
                let index = index.parse().expect("a number");
                self.says(self.runner_of(actor), FromRunner::AckCommands(vec![Checkpoint { actor, generation, index }]));
            }
            ["set-alarm", actor, ms] => self.event(actor, Event::SetAlarm(ms.parse().ok())),
            ["from", key, "running", actor] => {
                let (actor, generation) = self.generation(actor);
                let checkpoint = Checkpoint { actor, generation, index: 0 };
                self.events.insert((actor, generation), 1);
                self.says(self.envoys[key], FromRunner::Event(checkpoint, Event::Running));
            }
            ["from", key, "stopped", actor] => {
                let (actor, generation) = self.generation(actor);
                let event = Event::Stopped(Outcome::Ok);
                self.says(self.envoys[key], FromRunner::Event(Checkpoint { actor, generation, index: 99 }, event));
            }
            ["events", actor, count] => {
                for _ in 0..count.parse().expect("a number") {
                    self.event(actor, Event::SetAlarm(None));
                }
            }
            ["kv", key, actor] => {
                let actor = self.actor(actor);
                let changes = vec![KvChange::Put { key: "k".into(), value: "v".into() }];
                self.says(self.envoys[key], FromRunner::KvWrite { actor, call: 7, changes });
            }
            ["ran", actor, base, size] => {
                let (actor, generation) = self.generation(actor);
                let (base_txid, size_pages) = (base.parse().expect("a number"), size.parse().expect("a number"));
                let pages = vec![(1, Bytes::from(vec![1; PAGE_BYTES]))];
                self.input(Input::SqlRan {
                    runner: self.runner_of(actor),
                    actor,
                    generation,
                    call: 5,
                    result: Ok(DatabaseAnswer::Rows(Rows::default())),
                    changes: Some(DatabaseChanges { base_txid, pages, size_pages }),
                });
            }
            ["db", key, actor, ref what @ ..] => self.database(key, actor, what),
            ["socket", request, "for", key] => {
                let create = Some(Box::new(self.how(CrashPolicy::Sleep)));
                let target = Target::Key { namespace: "default".into(), name: "counter".into(), key: key.into(), create };
                self.input(Input::Request {
                    request: request_named(request),
                    target,
                    kind: RequestKind::Socket,
                    skip_ready_wait: false,
                });
            }
            ["opened", request] => self.input(Input::SocketOpened { request: request_named(request), can_hibernate: true }),
            ["wakes", request] => self.input(Input::SocketWakes { request: request_named(request) }),
            ["hurried", request, "to", actor] => {
                let target = Target::Id(self.actor(actor));
                let request = request_named(request);
                self.input(Input::Request { request, target, kind: RequestKind::Http, skip_ready_wait: true });
            }
            ["reschedule", key] => {
                let actor = self.actor(key);
                self.call(Operation::RescheduleActor { namespace: "default".into(), actor });
            }
            _ => return false,
        }
        true
    }

    fn put_pool(&mut self, kind: PoolKind) {
        let record = RunnerConfigRecord {
            namespace: self.namespace(),
            pool: "default".into(),
            kind,
            drain_on_version_upgrade: true,
            actor_eviction_delay_s: 0,
            actor_eviction_period_s: 0,
            actor_eviction_rate: Rate::new(1.0),
            metadata: None,
            protocol_version: None,
        };
        self.call(Operation::PutRunnerConfig { namespace: "default".into(), record: Box::new(record) });
    }

    fn envoy_joined(&mut self, key: &str, version: u32, protocol: RunnerProtocol, slots: Option<u32>) {
        let next = RunnerId(11 + self.envoys.len() as u64);
        let runner = *self.envoys.entry(key.to_string()).or_insert(next);
        let serves = Serves::Pool { namespace: self.namespace(), pool: "default".into(), protocol, slots };
        self.input(Input::RunnerJoined { runner, profile: RunnerProfile { key: key.into(), version, serves } });
    }

    pub(super) fn envoy_ref(&self, key: &str) -> RunnerRef {
        RunnerRef::Envoy { namespace: self.namespace(), key: key.to_string() }
    }

    /// The runner that an actor is on, says the disk.
    pub(super) fn runner_of(&self, actor: ActorId) -> RunnerId {
        match &self.disk.actors[&actor].record.runner {
            Some(runner) => self.envoys.get(runner.key()).copied().unwrap_or(RUNNER),
            None => *self.envoys.values().next().unwrap_or(&RUNNER),
        }
    }

    /// `read`, `commit PAGES SIZE HEAD`, `begin HEAD`, `segment TXID FIRST PAGES`, `finalize TXID SIZE FIRST..`; HEAD may be `-`.
    fn database(&mut self, key: &str, actor: &str, what: &[&str]) {
        let (actor, generation) = self.generation(actor);
        let current = u64::from(generation);
        let generation = Some(current);
        let number = |text: &str| text.parse::<u64>().expect("a number");
        let pages = |text: &str| {
            let numbers = text.split(',').filter(|text| !text.is_empty());
            numbers.map(|page| (number(page) as u32, Bytes::from(vec![1; PAGE_BYTES]))).collect::<Vec<_>>()
        };
        let fence = |head: &str| Fence { generation, head_txid: head.parse().ok() };
        let question = match what {
            ["run"] => DatabaseQuestion::Exec { generation: current, sql: "select 1".into() },
            ["read"] => DatabaseQuestion::GetPages { fence: fence("-"), pages: vec![1] },
            ["read", "unfenced"] => DatabaseQuestion::GetPages { fence: Fence::default(), pages: vec![1] },
            ["commit", list, size, head] => {
                DatabaseQuestion::Commit { fence: fence(head), pages: pages(list), size_pages: number(size) as u32 }
            }
            ["short", size] => {
                let pages = vec![(1, Bytes::from_static(b"x"))];
                DatabaseQuestion::Commit { fence: fence("-"), pages, size_pages: number(size) as u32 }
            }
            ["large"] => {
                let pages = (1..=321).map(|page| (page, Bytes::from(vec![1; PAGE_BYTES]))).collect();
                DatabaseQuestion::Commit { fence: fence("-"), pages, size_pages: 321 }
            }
            ["begin", head] => DatabaseQuestion::StageBegin { fence: fence(head) },
            ["segment", txid, first, list] => DatabaseQuestion::StageSegment {
                generation,
                txid: number(txid),
                first_page: number(first) as u32,
                pages: pages(list),
            },
            ["finalize", txid, size, firsts @ ..] => DatabaseQuestion::StageFinalize {
                generation,
                txid: number(txid),
                size_pages: number(size) as u32,
                first_pages: firsts.iter().map(|first| number(first) as u32).collect(),
            },
            other => panic!("a database does not know {other:?}"),
        };
        let runner = self.envoys.get(key).copied().unwrap_or(RUNNER);
        self.says(runner, FromRunner::Database { actor, call: 5, question });
    }
}
