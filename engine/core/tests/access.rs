//! Tokens and the audit log, as the core keeps them: what is in which commit, and what is answered when it is durable.

use std::collections::VecDeque;

use expect_test::{Expect, expect};
use protocol::id::Id;
use rivet_engine_core::action::{Action, Answer};
use rivet_engine_core::audit::{Act, Attempt, By};
use rivet_engine_core::input::{Boot, CallId, CommitId, Create, Input, LoadedActor, Operation};
use rivet_engine_core::record::{
    ActorRecord, Change, CrashPolicy, NamespaceRecord, PoolKind, Rate, Role, RunnerConfigRecord, TokenRecord,
};
use rivet_engine_core::{Config, Core};

const NOW_MS: u64 = 1_000_000_000;
const DAY_MS: u64 = 24 * 60 * 60_000;

struct World {
    core: Core,
    now_ms: u64,
    calls: u64,
    actors: Vec<LoadedActor>,
    commits: VecDeque<CommitId>,
    said: Vec<String>,
}

fn id(seed: u8) -> Id {
    Id::new([seed; 16], 1)
}

fn token(id: &str, role: Role, expire_ms: Option<u64>) -> TokenRecord {
    let (id, name) = (id.to_string(), format!("the {role}'s"));
    TokenRecord { id, hash: [7; 32], role, namespace: None, name, create_ms: 0, expire_ms, used_ms: None }
}

fn mint(record: TokenRecord, namespace: Option<&str>) -> Operation {
    Operation::MintToken { namespace: namespace.map(str::to_string), record: Box::new(record) }
}

fn revoke(token: &str, within: Option<Id>) -> Operation {
    Operation::RevokeToken { id: token.to_string(), within, namespace: None }
}

fn pool() -> Operation {
    let record = RunnerConfigRecord {
        namespace: id(1),
        pool: "p".to_string(),
        kind: PoolKind::Normal,
        drain_on_version_upgrade: false,
        actor_eviction_delay_s: 0,
        actor_eviction_period_s: 0,
        actor_eviction_rate: Rate::new(1.0),
        metadata: None,
        protocol_version: None,
    };
    Operation::PutRunnerConfig { namespace: "default".to_string(), record: Box::new(record) }
}

fn create() -> Operation {
    let create = Create { random: [9; 16], pool: "p".to_string(), crash_policy: CrashPolicy::Sleep, input: None };
    Operation::CreateActor { namespace: "default".to_string(), name: "counter".to_string(), key: None, create }
}

impl World {
    fn new(boot: Boot) -> World {
        let config = Config { audit_entries_max: 3, ..Config::default() };
        let mut world = World {
            core: Core::new(config),
            now_ms: NOW_MS,
            calls: 0,
            actors: Vec::new(),
            commits: VecDeque::new(),
            said: Vec::new(),
        };
        let namespace = |seed: u8, name: &str| NamespaceRecord {
            id: id(seed),
            name: name.to_string(),
            display_name: name.to_string(),
            create_ms: 0,
            quotas: Default::default(),
            delete_ms: None,
        };
        world.input(Input::Booted(Boot { namespaces: vec![namespace(1, "default"), namespace(2, "other")], ..boot }));
        world
    }

    /// Asks for it and lets everything become durable.
    fn asks(&mut self, operation: Operation) {
        self.calls += 1;
        let by = By { who: "admin".to_string(), remote: "10.0.0.1".to_string(), request_id: format!("r{}", self.calls) };
        self.input(Input::Call { call: CallId(self.calls), operation, by: Some(Box::new(by)) });
        self.settle();
    }

    fn settle(&mut self) {
        while let Some(commit) = self.commits.pop_front() {
            self.said.push(format!("  {} is durable", commit.0));
            self.input(Input::Committed { commit });
        }
    }

    fn input(&mut self, input: Input) {
        self.core.handle(self.now_ms, input);
        while let Some(action) = self.core.poll_action() {
            match action {
                Action::Commit { commit, changes } => {
                    let said: Vec<String> = changes.iter().map(|change| self.seen(change)).collect();
                    self.said.push(format!("{}: {}", commit.0, said.join("; ")));
                    self.commits.push_back(commit);
                }
                Action::Reply { result, .. } => self.said.push(match result {
                    Ok(Answer::Token(token)) => format!(
                        "-> token {} of {}",
                        token.id,
                        token.namespace.map_or("all", |of| if of == id(1) { "default" } else { "other" })
                    ),
                    Ok(_) => "-> ok".to_string(),
                    Err(refusal) => format!("-> {}.{}", refusal.code().0, refusal.code().1),
                }),
                Action::LoadActor { actor } => {
                    let found = self.actors.iter().find(|found| found.record.id == actor).cloned().map(Box::new);
                    self.input(Input::ActorLoaded { actor, found });
                }
                Action::LoadAlarms { .. } => self.input(Input::AlarmsLoaded { alarms: Vec::new(), complete: true }),
                Action::Refuse { refusal, .. } => self.said.push(format!("refused: {}", refusal.code().1)),
                _ => {}
            }
        }
    }

    fn seen(&mut self, change: &Change) -> String {
        match change {
            Change::PutAudit { record, forget } => {
                let details: String = record.details.iter().map(|(name, value)| format!(" {name}={value}")).collect();
                let namespace = record.namespace.as_ref().map_or("-", |(_, name)| name);
                let gone = forget.map_or(String::new(), |forget| format!(", {forget} goes"));
                format!(
                    "#{} {} {} {} {namespace} {}{details}: {} x{}{gone}",
                    record.number, record.who, record.request_id, record.act, record.target, record.outcome, record.count
                )
            }
            Change::ForgetAudit { below } => format!("entries below {below} go"),
            Change::PutToken(token) => format!("token {} used {:?}", token.id, token.used_ms),
            Change::DeleteToken { id } => format!("token {id} goes"),
            Change::CreateActor { record, .. } => {
                self.actors.push(LoadedActor { record: (**record).clone(), input: None, database: None, entries_bytes: 0 });
                "an actor".to_string()
            }
            Change::DestroyActor { .. } => "its end".to_string(),
            other => format!("{other:?}").split([' ', '(']).next().unwrap_or_default().to_string(),
        }
    }
}

fn check(boot: Boot, play: impl FnOnce(&mut World), expected: Expect) {
    let mut world = World::new(boot);
    world.said.clear();
    world.settle();
    play(&mut world);
    expected.assert_eq(&(world.said.join("\n") + "\n"));
}

#[test]
fn an_act_and_its_entry_are_one_commit() {
    check(
        Boot::default(),
        |world| {
            world.asks(Operation::CreateNamespace {
                random: [3; 16],
                name: "third".to_string(),
                display_name: "Third".to_string(),
            });
            world.asks(pool());
            world.asks(create());
            let actor = world.actors[0].record.id;
            world.asks(Operation::SleepActor { namespace: "default".to_string(), actor });
            world.asks(Operation::DestroyActor { namespace: "default".to_string(), actor });
        },
        expect![[r#"
            1: PutNamespace; #1 admin r1 namespace.create third third display_name=Third: ok x1
              1 is durable
            -> ok
            2: PutRunnerConfig; #2 admin r2 pool.put default p kind=normal: ok x1
              2 is durable
            -> ok
            3: an actor; PutActor
              3 is durable
            -> ok
            4: #3 admin r4 actor.sleep default h03bloxejvjtgf5fp40rux8q4ial00: ok x1
              4 is durable
            -> ok
            5: its end; #4 admin r5 actor.destroy default h03bloxejvjtgf5fp40rux8q4ial00: ok x1, 1 goes
              5 is durable
            -> ok
        "#]],
    );
}

#[test]
fn what_is_refused_and_what_takes_effect_elsewhere_is_written_before_it_is_answered() {
    check(
        Boot::default(),
        |world| {
            world.asks(Operation::CreateNamespace { random: [3; 16], name: "A".to_string(), display_name: "A".to_string() });
            world.asks(Operation::DestroyActor { namespace: "nowhere".to_string(), actor: id(5) });
            world.asks(Operation::SleepActor { namespace: "default".to_string(), actor: id(5) });
            world.asks(Operation::Settle);
        },
        expect![[r#"
            1: #1 admin r1 namespace.create - A display_name=A namespace=A: namespace.failed_to_create x1
              1 is durable
            -> namespace.failed_to_create
            2: #2 admin r2 actor.destroy - dde5hfmaselrgu89ldbe929vfgal00 namespace=nowhere: namespace.not_found x1
              2 is durable
            -> namespace.not_found
            3: #3 admin r3 actor.sleep default dde5hfmaselrgu89ldbe929vfgal00: actor.not_found x1
              3 is durable
            -> actor.not_found
            -> ok
        "#]],
    );
}

#[test]
fn the_oldest_entries_go() {
    let attempt = || {
        let by = By { who: "token x".to_string(), remote: "10.0.0.9".to_string(), request_id: "r".to_string() };
        let act = Act {
            act: "access.refused",
            namespace: Some("other".to_string()),
            target: "GET /actors".to_string(),
            details: vec![("reason", "why".to_string())],
        };
        Input::Attempted(Box::new(Attempt { by, act, outcome: "api.forbidden".to_string(), count: 4 }))
    };
    check(
        Boot { audit: Some((1, 9)), ..Boot::default() },
        |world| {
            world.input(attempt());
            world.settle();
            world.asks(pool());
        },
        expect![[r#"
              1 is durable
            2: #10 token x r access.refused other GET /actors reason=why: api.forbidden x4, 7 goes
              2 is durable
            3: PutRunnerConfig; #11 admin r1 pool.put default p kind=normal: ok x1, 8 goes
              3 is durable
            -> ok
        "#]],
    );
}

#[test]
fn tokens_come_and_go() {
    check(
        Boot { tokens: vec![token("old", Role::Client, Some(NOW_MS - 1))], ..Boot::default() },
        |world| {
            world.asks(mint(token("a", Role::Deploy, Some(NOW_MS + 5)), Some("default")));
            world.asks(mint(token("b", Role::Runner, None), None));
            world.asks(mint(token("c", Role::Admin, None), None));
            world.asks(mint(token("d", Role::Client, Some(NOW_MS)), Some("default")));
            world.asks(mint(token("e", Role::Client, None), Some("nowhere")));
            world.asks(mint(TokenRecord { name: "x".repeat(129), ..token("f", Role::Client, None) }, Some("default")));
            world.asks(Operation::TouchToken { id: "a".to_string(), used_ms: NOW_MS + 1 });
            world.asks(revoke("a", Some(id(2))));
            world.asks(revoke("a", Some(id(1))));
            world.asks(revoke("a", None));
            world.now_ms += DAY_MS;
            world.asks(mint(token("g", Role::Client, None), Some("other")));
        },
        expect![[r#"
            1: token a used None; #1 admin r1 token.create default a role=deploy name=the deploy's expire_ts=1000000005: ok x1
              1 is durable
            -> token a of default
            2: token b used None; #2 admin r2 token.create - b role=runner name=the runner's: ok x1
              2 is durable
            -> token b of all
            3: #3 admin r3 token.create - c role=admin name=the admin's: token.invalid x1
              3 is durable
            -> token.invalid
            4: #4 admin r4 token.create default d role=client name=the client's expire_ts=1000000000: token.invalid x1, 1 goes
              4 is durable
            -> token.invalid
            5: #5 admin r5 token.create - e role=client name=the client's namespace=nowhere: namespace.not_found x1, 2 goes
              5 is durable
            -> namespace.not_found
            6: #6 admin r6 token.create default f role=client name=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx: token.invalid x1, 3 goes
              6 is durable
            -> token.invalid
            7: token a used Some(1000000001)
              7 is durable
            -> ok
            8: #7 admin r8 token.revoke - a: token.not_found x1, 4 goes
              8 is durable
            -> token.not_found
            9: token a goes; #8 admin r9 token.revoke - a: ok x1, 5 goes
              9 is durable
            -> ok
            10: #9 admin r10 token.revoke - a: token.not_found x1, 6 goes
              10 is durable
            -> token.not_found
            11: token old goes; token g used None; #10 admin r11 token.create other g role=client name=the client's: ok x1, 7 goes
              11 is durable
            -> token g of other
        "#]],
    );
}

#[test]
fn there_are_only_so_many_tokens() {
    let tokens = (0..10_000).map(|number| token(&format!("t{number}"), Role::Client, None)).collect();
    check(
        Boot { tokens, ..Boot::default() },
        |world| {
            world.asks(mint(token("one", Role::Client, None), Some("default")));
            world.asks(revoke("t0", None));
            world.asks(mint(token("one", Role::Client, None), Some("default")));
        },
        expect![[r#"
            1: #1 admin r1 token.create default one role=client name=the client's: token.too_many x1
              1 is durable
            -> token.too_many
            2: token t0 goes; #2 admin r2 token.revoke - t0: ok x1
              2 is durable
            -> ok
            3: token one used None; #3 admin r3 token.create default one role=client name=the client's: ok x1
              3 is durable
            -> token one of default
        "#]],
    );
}

#[test]
fn nobody_reaches_an_actor_of_another_namespace() {
    use protocol::id::RequestId;
    use rivet_engine_core::input::{RequestKind, Target};
    let request = |actor, namespace| Input::Request {
        request: RequestId(1),
        target: Target::IdWithin { actor, namespace },
        kind: RequestKind::Http,
        skip_ready_wait: false,
    };
    check(
        Boot::default(),
        |world| {
            world.asks(pool());
            world.asks(create());
            let actor = world.actors[0].record.id;
            // It is in memory, and waits for a runner.
            world.input(request(actor, id(2)));
            // It is read first.
            let asleep = ActorRecord { pending_ms: None, ..world.actors[0].record.clone() };
            let found = LoadedActor { record: ActorRecord { id: id(8), ..asleep }, input: None, database: None, entries_bytes: 0 };
            world.actors.push(found);
            world.input(request(id(8), id(2)));
            world.input(request(id(77), id(2)));
            world.input(request(id(8), id(1)));
            world.settle();
        },
        expect![[r#"
            1: PutRunnerConfig; #1 admin r1 pool.put default p kind=normal: ok x1
              1 is durable
            -> ok
            2: an actor; PutActor
              2 is durable
            -> ok
            refused: forbidden
            refused: forbidden
            refused: not_found
            3: PutActor
              3 is durable
        "#]],
    );
}
