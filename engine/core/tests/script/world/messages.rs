//! What scripts say about messages of components that are transactions, and about actors that call actors.

use bytes::Bytes;
use protocol::database::{DatabaseAnswer, DatabaseQuestion, MessageStep, PAGE_BYTES, Page, Statement};
use protocol::id::RunnerId;
use protocol::message::{DatabaseCommit, FromRunner, KvEntry, KvSpace};
use rivet_engine_core::input::{Callee, DatabaseChanges, Import, Input, Operation};
use rivet_engine_core::record::{CrashPolicy, DatabaseHead};
use rivet_engine_core::settings::SettingsPatch;

use super::{RUNNER, World, request_named};

impl World {
    /// False if the line means nothing here.
    pub(super) fn message_step(&mut self, words: &[&str]) -> bool {
        match *words {
            ["message", actor, step] => self.message(RUNNER, actor, step),
            ["message", actor, step, "from", envoy] => self.message(self.envoys[envoy], actor, step),
            // What a `Seal` has found, on this head.
            ["sealed", actor, pages, "on", head] => {
                let (actor, generation) = self.generation(actor);
                let DatabaseCommit { call, pages, size_pages } = pages_of(pages);
                let base_txid = head.parse().expect("a number");
                self.input(Input::SqlRan {
                    runner: RUNNER,
                    actor,
                    generation,
                    call,
                    result: Ok(DatabaseAnswer::Sealed { pages: pages.clone(), size_pages }),
                    changes: Some(DatabaseChanges { base_txid, pages, size_pages }),
                });
            }
            ["envoy", envoy, "writes", actor, commit, ref what @ ..] => self.write(self.envoys[envoy], actor, commit, what),
            // With an entry of its own, one of its runner's and two pages.
            ["import", key, "alarm", ms] => {
                let create = self.how(CrashPolicy::Sleep);
                let namespace = self.disk.namespaces.iter().find(|record| record.name == "default").expect("it is there").id;
                let actor = create.id(1, namespace, "counter", Some(key));
                let entry = |key: &'static str| KvEntry { key: key.into(), value: "v".into(), update_ms: 1 };
                let entries = vec![(KvSpace::Actor, entry("own")), (KvSpace::Runner, entry("runner"))];
                self.call(Operation::StageImport { actor, entries, pages: pages_of("0:1,2:2").pages });
                let import = Box::new(Import {
                    create,
                    create_ms: u64::MAX,
                    start_ms: Some(1),
                    alarm_ms: Some(ms.parse().expect("a number")),
                    kv_bytes: 4,
                    runner_kv_bytes: 7,
                    database: Some(DatabaseHead { txid: 4, size_pages: 2 }),
                });
                let (namespace, name) = ("default".into(), "counter".into());
                self.call(Operation::ImportActor { namespace, name, key: Some((*key).into()), import });
            }
            ["entries", actor] => {
                let id = self.actor(actor);
                let of = |own| {
                    let keys = self.disk.kv.keys().filter(|(of, runners, _)| *of == id && *runners == own);
                    keys.map(|(_, _, key)| String::from_utf8_lossy(key).into_owned()).collect::<Vec<_>>().join(" ")
                };
                let line = format!("{actor}: [{}], its runner: [{}]", of(false), of(true));
                self.say(&line);
            }
            // An actor of the namespace "other", asleep.
            ["foreign", key] => {
                self.call(Operation::Deploy {
                    namespace: "other".into(),
                    name: "counter".into(),
                    pool: "default".into(),
                    component: super::component_named("v1"),
                    settings: SettingsPatch::default(),
                    canary: None,
                    looked_at: None,
                });
                self.step("prepared v1");
                let create = self.how(CrashPolicy::Sleep);
                self.call(Operation::CreateActor {
                    namespace: "other".into(),
                    name: "counter".into(),
                    key: Some(key.into()),
                    create,
                });
                for word in ["running", "sleep", "stopped"] {
                    self.step(&format!("{word} {key}"));
                }
            }
            [actor, "asks", request, "of", target] => {
                let callee = Callee::Id(self.actor(target));
                self.asks(actor, request, callee);
            }
            [actor, "asks", request, "of-existing", key] => {
                self.asks(actor, request, Callee::Key { name: "counter".into(), key: key.into(), create: None });
            }
            [actor, "asks", request, "for", key] => {
                let create = Some(Box::new(self.how(CrashPolicy::Sleep)));
                self.asks(actor, request, Callee::Key { name: "counter".into(), key: key.into(), create });
            }
            _ => return false,
        }
        true
    }

    fn asks(&mut self, actor: &str, request: &str, callee: Callee) {
        let (actor, generation) = self.generation(actor);
        self.input(Input::ActorCalls { request: request_named(request), runner: RUNNER, actor, generation, callee });
    }

    fn message(&mut self, runner: RunnerId, actor: &str, step: &str) {
        let (actor, generation) = self.generation(actor);
        let step = match step {
            "run" => MessageStep::Execute(Statement { sql: "select 1".into(), parameters: vec![] }),
            "seal" => MessageStep::Seal,
            "roll-back" => MessageStep::RollBack,
            other => panic!("a message does not know {other:?}"),
        };
        let question = DatabaseQuestion::Message { generation: generation.into(), step };
        self.says(runner, FromRunner::Database { actor, call: 5, question });
    }
}

/// `CALL:PAGES:SIZE`; a page is a number, or a number and what it is filled with: `2=7`.
pub(super) fn pages_of(text: &str) -> DatabaseCommit {
    let parts: Vec<&str> = text.split(':').collect();
    let number = |text: &str| text.parse::<u32>().expect("a number");
    let page = |text: &str| -> Page {
        let (page, fill) = text.split_once('=').unwrap_or((text, "1"));
        (number(page), Bytes::from(vec![number(fill) as u8; PAGE_BYTES]))
    };
    let pages = parts[1].split(',').filter(|page| !page.is_empty()).map(page).collect();
    DatabaseCommit { call: number(parts[0]).into(), pages, size_pages: number(parts[2]) }
}
