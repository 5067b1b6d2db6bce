//! Statements and pages against a store, with a core that says yes to everything but what the test says no to.

mod message;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use engine_core::Input;
use engine_core::action::Answer;
use engine_core::input::{Create, DatabaseChanges, Operation, RequestKind, Target};
use engine_core::record::{Change, CrashPolicy, DatabaseHead, PoolKind, Rate, RunnerConfigRecord};
use engine_store::{Memory, Persist, Rocks, State, Store, group};
use protocol::database::{
    DatabaseAnswer, DatabaseError, DatabaseQuestion, Executed, Fence, PAGE_BYTES, Page, Rows, SqlValue, Statement,
};
use protocol::id::{ActorId, Generation, Id, RunnerId};
use protocol::limits::DATABASE_READ_PAGES_MAX;
use protocol::message::{Event, FromRunner, RunnerProfile, RunnerProtocol, Serves, ToRunner};
use tempfile::TempDir;

use super::connection::{Connection, Time};
use super::statements::{CALLS_PER_ACTOR_MAX, CONNECTIONS_MAX, IDLE_MAX, KEPT_MAX};
use super::*;
use crate::engine::Engine;
use crate::testing::{self, Heard};

const RUNNER: RunnerId = RunnerId(2);
const PATIENCE: Duration = Duration::from_secs(30);

type Told = Result<DatabaseAnswer, DatabaseError>;

struct World {
    engine: Arc<Engine>,
    store: Arc<dyn Store>,
    state: State,
    heard: VecDeque<Input>,
    calls: u64,
    _folders: (TempDir, Option<TempDir>),
}

fn world(store: Arc<dyn Store>, folder: Option<TempDir>) -> World {
    let state = State::new(store.clone());
    let (engine, other) = testing::without_driver(state.clone());
    World { engine, store, state, heard: VecDeque::new(), calls: 0, _folders: (other, folder) }
}

fn in_memory() -> World {
    world(Arc::new(Memory::new()), None)
}

fn on_disk() -> World {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let store = Rocks::open(folder.path(), &Default::default()).expect("a new store opens");
    world(Arc::new(store), Some(folder))
}

fn actor(number: u8) -> ActorId {
    Id::new([number; 16], 1)
}

fn exec(sql: &str) -> DatabaseQuestion {
    DatabaseQuestion::Exec { generation: 0, sql: sql.to_owned() }
}

fn statement(sql: &str, parameters: &[SqlValue]) -> Statement {
    Statement { sql: sql.to_owned(), parameters: parameters.to_vec() }
}

fn text(answer: &Told) -> String {
    let value = |value: &SqlValue| match value {
        SqlValue::Null => "null".to_owned(),
        SqlValue::Integer(number) => number.to_string(),
        SqlValue::Float(number) => format!("{number:?}"),
        SqlValue::Text(text) => text.clone(),
        SqlValue::Blob(bytes) => format!("{bytes:?}"),
    };
    let row = |row: &Vec<SqlValue>| row.iter().map(value).collect::<Vec<_>>().join(" ");
    let rows = |rows: &Rows| rows.rows.iter().map(row).collect::<Vec<_>>().join(", ");
    match answer {
        Ok(DatabaseAnswer::Rows(found)) => rows(found),
        Ok(DatabaseAnswer::Executed(done)) => rows(&done.rows),
        Err(error) => format!("{}/{}: {}", error.group, error.code, error.message),
        Ok(other) => format!("{other:?}"),
    }
}

impl World {
    fn begin(&mut self, actor: ActorId, generation: Generation, question: DatabaseQuestion) -> u64 {
        self.calls += 1;
        run_sql(&self.engine, RUNNER, actor, generation, self.calls, question);
        self.calls
    }

    async fn hear(&mut self) -> Input {
        while self.heard.is_empty() {
            let _ = tokio::time::timeout(PATIENCE, self.engine.inbox.filled()).await;
            let mut inputs = Vec::new();
            self.engine.inbox.take(&mut inputs);
            assert!(!inputs.is_empty(), "no answer came");
            self.heard.extend(inputs);
        }
        self.heard.pop_front().expect("there is one")
    }

    /// What a statement has become, before the core has done anything about it.
    async fn ran(&mut self) -> (ActorId, u64, Told, Option<DatabaseChanges>) {
        match self.hear().await {
            Input::SqlRan { runner, actor, call, result, changes, .. } => {
                assert_eq!(runner, RUNNER);
                (actor, call, result, changes)
            }
            other => panic!("{other:?}"),
        }
    }

    /// The core commits and answers.
    async fn settle(&mut self) -> (u64, Told) {
        let (actor, call, result, changes) = self.ran().await;
        if let Some(changes) = changes {
            self.write(actor, changes);
        }
        self.engine.databases.answered(actor, call, &result);
        (call, result)
    }

    async fn ask(&mut self, actor: ActorId, generation: Generation, question: DatabaseQuestion) -> Told {
        let asked = self.begin(actor, generation, question);
        let (call, result) = self.settle().await;
        assert_eq!(call, asked);
        result
    }

    async fn sql(&mut self, actor: ActorId, sql: &str) -> String {
        text(&self.ask(actor, 1, exec(sql)).await)
    }

    async fn rest(&self) {
        let begun = Instant::now();
        while !self.engine.databases.rests() {
            assert!(begun.elapsed() < PATIENCE, "statements are still running");
            tokio::task::yield_now().await;
        }
    }

    async fn connections(&self) -> usize {
        self.rest().await;
        self.engine.databases.connections()
    }

    /// As it is after that time.
    async fn sweep(&self, after: Duration) {
        self.rest().await;
        self.engine.databases.sweep(after);
    }

    async fn check(&mut self, actor: ActorId, rows: &[(&str, &str)]) {
        for (sql, expected) in rows {
            assert_eq!(self.sql(actor, sql).await, *expected, "{sql}");
        }
    }

    /// As a commit of the actor would be written.
    fn write(&self, actor: ActorId, changes: DatabaseChanges) {
        let head = self.state.pages(actor, &[]).expect("a read").0.unwrap_or_default();
        let DatabaseChanges { pages, size_pages, .. } = changes;
        let shrunk = size_pages < head.size_pages;
        let head = DatabaseHead { txid: head.txid + 1, size_pages };
        let batch = State::batch(&[Change::Database { actor, head, pages, shrunk }]);
        let batch = group::alone(&*self.store, batch).expect("a read");
        self.store.commit(&batch, Persist::Written).expect("a commit");
    }

    /// All pages of an actor's database.
    fn pages(&self, actor: ActorId) -> Vec<Page> {
        let size = self.state.pages(actor, &[]).expect("a read").0.unwrap_or_default().size_pages;
        let numbers: Vec<u32> = (1..=size).collect();
        let pages = self.state.pages(actor, &numbers).expect("a read").1;
        let zeros = || Bytes::from(vec![0; PAGE_BYTES]);
        numbers.into_iter().zip(pages).map(|(number, page)| (number, page.unwrap_or_else(zeros))).collect()
    }

    /// The actor's runner writes the pages of another database over its own.
    fn overwrite(&self, actor: ActorId, by: ActorId) {
        let pages = self.pages(by);
        self.write(actor, DatabaseChanges { base_txid: 0, size_pages: pages.len() as u32, pages });
    }
}

fn page(byte: u8) -> Bytes {
    Bytes::from(vec![byte; PAGE_BYTES])
}

#[test]
fn pages_are_read() {
    let world = in_memory();
    let (one, other) = (actor(1), actor(2));
    let read = |actor, numbers: &[u32], txid| {
        text(&super::pages::read(&world.state, actor, numbers, txid).map(|answer| match answer {
            DatabaseAnswer::Pages { pages, head_txid } => {
                let page = |(number, page): (u32, Option<Bytes>)| match page {
                    Some(page) => format!("{number}={}x{}", page[0], page.len()),
                    None => format!("{number}=-"),
                };
                let pages: Vec<String> = pages.into_iter().map(page).collect();
                DatabaseAnswer::Rows(Rows {
                    columns: vec![],
                    rows: vec![vec![SqlValue::Text(format!("{head_txid}: {}", pages.join(" ")))]],
                })
            }
            other => other,
        }))
    };
    let not_found = "depot/database_not_found: transaction failed: sqlite database was not found in this bucket branch";
    world.write(one, DatabaseChanges { base_txid: 0, pages: vec![(1, page(7)), (3, page(9))], size_pages: 4 });
    world.write(one, DatabaseChanges { base_txid: 0, pages: vec![(1, page(8))], size_pages: 4 });
    let mismatch = |expected| {
        format!(
            "depot/head_fence_mismatch: transaction failed: sqlite head fence mismatch: expected head txid {expected}, \
             current head txid 2"
        )
    };
    let rows: [(ActorId, &[u32], Option<u64>, &str); 9] = [
        (other, &[1], None, not_found),
        (other, &[], Some(0), not_found),
        (other, &[1], Some(5), not_found),
        (one, &[1], Some(0), &mismatch(0)),
        (one, &[1], Some(3), &mismatch(3)),
        (one, &[], None, "2: "),
        (one, &[1], Some(2), "2: 1=8x4096"),
        // In the order asked for, as often as asked for; not written, and beyond the size.
        (one, &[3, 1, 2, 3, 4, 5, u32::MAX], None, "2: 3=9x4096 1=8x4096 2=0x4096 3=9x4096 4=0x4096 5=- 4294967295=-"),
        (one, &[5], Some(2), "2: 5=-"),
    ];
    for (actor, numbers, txid, expected) in rows {
        assert_eq!(read(actor, numbers, txid), expected, "{numbers:?} {txid:?}");
    }
    // What is answered goes to who has asked.
    let link = Arc::new(Heard::default());
    world.engine.runners.join(RUNNER, link.clone());
    read_pages(&world.engine, RUNNER, one, 17, vec![1], None);
    read_pages(&world.engine, RUNNER, one, 18, vec![1; DATABASE_READ_PAGES_MAX + 1], None);
    let mut heard = Vec::new();
    while heard.len() < 2 {
        heard.extend(link.take());
        std::thread::yield_now();
    }
    let mut answers: Vec<String> = heard
        .into_iter()
        .map(|message| match message {
            ToRunner::Database { actor, call, result } if actor == one => match result {
                Ok(DatabaseAnswer::Pages { pages, head_txid: 2 }) => format!("{call}: {} pages", pages.len()),
                other => format!("{call}: {}", text(&other)),
            },
            other => panic!("{other:?}"),
        })
        .collect();
    answers.sort();
    let refused = "18: core/internal_error: 4097 pages were asked for, and one answer has at most 4096; ask for fewer";
    assert_eq!(answers, ["17: 1 pages", refused]);
}

#[tokio::test]
async fn what_one_statement_writes_the_next_one_reads() {
    for mut world in [in_memory(), on_disk()] {
        let one = actor(1);
        world
            .check(
                one,
                &[
                    ("SELECT 1", "1"),
                    ("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT); INSERT INTO t (b) VALUES ('x'), ('y')", ""),
                    ("SELECT * FROM t", "1 x, 2 y"),
                    ("UPDATE t SET b = 'z' WHERE a = 1 RETURNING a", "1"),
                    ("SELECT * FROM t ORDER BY a", "1 z, 2 y"),
                ],
            )
            .await;
        let parameters = [SqlValue::Text("p".to_owned()), SqlValue::Blob(Bytes::from_static(b"q"))];
        let question =
            DatabaseQuestion::Execute { generation: 1, statement: statement("INSERT INTO t (b) VALUES (?)", &parameters[..1]) };
        let executed = Executed { rows: Rows::default(), changes: 1, last_insert_row_id: Some(3) };
        assert_eq!(world.ask(one, 1, question).await, Ok(DatabaseAnswer::Executed(executed.clone())));
        let statements =
            vec![statement("INSERT INTO t (b) VALUES (?)", &parameters[1..]), statement("DELETE FROM t WHERE a = 3", &[])];
        let batch = world.ask(one, 1, DatabaseQuestion::ExecuteBatch { generation: 1, statements }).await;
        let executed = |changes| Executed { rows: Rows::default(), changes, last_insert_row_id: Some(4) };
        assert_eq!(batch, Ok(DatabaseAnswer::ExecutedBatch(vec![executed(1), executed(1)])));
        // Another generation, another connection: it is all in the store.
        let found = world.ask(one, 2, exec("SELECT * FROM t ORDER BY a")).await;
        assert_eq!(text(&found), "1 z, 2 y, 4 b\"q\"");
        assert_eq!(world.connections().await, 1);
        world.check(actor(2), &[("SELECT * FROM t", "core/internal_error: no such table: t")]).await;
        world.engine.databases.stop();
    }
}

#[tokio::test]
async fn what_failed_half_way_is_committed_as_far_as_it_came() {
    let mut world = in_memory();
    let one = actor(1);
    world
        .check(
            one,
            &[
                (
                    "CREATE TABLE t (a); INSERT INTO t VALUES (1); INSERT INTO missing VALUES (2)",
                    "core/internal_error: no such table: missing",
                ),
                ("SELECT a FROM t", "1"),
                ("SELECT a FROM", "core/internal_error: incomplete input"),
            ],
        )
        .await;
    let two = DatabaseQuestion::Execute { generation: 1, statement: statement("SELECT 1; SELECT 2", &[]) };
    let refused = world.ask(one, 1, two).await;
    assert_eq!(text(&refused), "core/internal_error: sqlite execute only supports a single statement");
    let statements = vec![statement("INSERT INTO t VALUES (2)", &[]), statement("INSERT INTO missing VALUES (2)", &[])];
    world.begin(one, 1, DatabaseQuestion::ExecuteBatch { generation: 1, statements });
    let (_, _, result, changes) = world.ran().await;
    assert_eq!(text(&result), "core/internal_error: no such table: missing");
    assert_eq!(changes, None);
    world.check(one, &[("SELECT a FROM t", "1")]).await;
}

#[tokio::test]
async fn a_statement_waits_until_what_was_written_before_it_is_durable() {
    let mut world = in_memory();
    let (one, other) = (actor(1), actor(2));
    let first = world.begin(one, 1, exec("CREATE TABLE t (a)"));
    let second = world.begin(one, 1, exec("SELECT count(*) FROM t"));
    let (_, call, result, changes) = world.ran().await;
    assert_eq!(call, first);
    // Others do not wait for it. Neither an answer to another call nor one to another actor's opens the way.
    world.check(other, &[("SELECT 2", "2")]).await;
    world.engine.databases.answered(one, second, &result);
    world.engine.databases.answered(other, first, &result);
    world.check(other, &[("SELECT 3", "3")]).await;
    world.write(one, changes.expect("a table was made"));
    world.engine.databases.answered(one, first, &result);
    let (call, result) = world.settle().await;
    assert_eq!((call, text(&result)), (second, "0".to_owned()));
}

#[tokio::test]
async fn statements_run_in_order_of_arrival() {
    let mut world = in_memory();
    world.check(actor(1), &[("CREATE TABLE t (a)", "")]).await;
    let asked: Vec<u64> = (0..50)
        .map(|number| {
            let sql = if number % 2 == 0 { format!("INSERT INTO t VALUES ({number})") } else { "SELECT max(a) FROM t".to_owned() };
            world.begin(actor(1), 1, exec(&sql))
        })
        .collect();
    let mut answered = Vec::new();
    for number in 0..50 {
        let (call, result) = world.settle().await;
        answered.push(call);
        let expected = if number % 2 == 0 { String::new() } else { (number - 1).to_string() };
        assert_eq!(text(&result), expected);
    }
    assert_eq!(answered, asked);
}

#[tokio::test]
async fn what_the_core_refuses_was_never_written() {
    let mut world = in_memory();
    let one = actor(1);
    world.check(one, &[("CREATE TABLE t (a)", "")]).await;
    for sql in ["INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (1); SELECT nonsense"] {
        let call = world.begin(one, 1, exec(sql));
        assert!(world.ran().await.3.is_some());
        world.engine.databases.answered(one, call, &Err(failed("refused")));
        world.check(one, &[("SELECT a FROM t", "")]).await;
    }
    // With it goes a transaction that was begun behind it.
    let call = world.begin(one, 1, exec("INSERT INTO t VALUES (1); BEGIN; INSERT INTO t VALUES (2)"));
    assert!(world.ran().await.3.is_some());
    world.engine.databases.answered(one, call, &Err(failed("refused")));
    let lost = "core/internal_error: the open transaction was rolled back: what the statements before it wrote was refused; begin it again";
    world.check(one, &[("INSERT INTO t VALUES (3)", lost), ("SELECT a FROM t", "")]).await;
}

#[tokio::test]
async fn a_transaction_goes_on_from_call_to_call() {
    let mut world = in_memory();
    let one = actor(1);
    world
        .check(
            one,
            &[
                ("CREATE TABLE t (a)", ""),
                ("BEGIN", ""),
                ("INSERT INTO t VALUES (1)", ""),
                ("SELECT a FROM t", "1"),
                ("ROLLBACK", ""),
                ("SELECT a FROM t", ""),
            ],
        )
        .await;
    world.check(one, &[("BEGIN", ""), ("INSERT INTO t VALUES (2)", "")]).await;
    let before = world.pages(one);
    world.check(one, &[("COMMIT", ""), ("SELECT a FROM t", "2")]).await;
    assert_ne!(world.pages(one), before, "what was open until the commit is written by it");
    // What was committed before a transaction is durable while that is still open.
    world
        .check(
            one,
            &[
                ("INSERT INTO t VALUES (3); BEGIN; INSERT INTO t VALUES (4)", ""),
                ("SELECT a FROM t", "2, 3, 4"),
                ("INSERT INTO t VALUES (5)", ""),
                ("ROLLBACK", ""),
                ("SELECT a FROM t", "2, 3"),
            ],
        )
        .await;
    assert_eq!(text(&world.ask(one, 2, exec("SELECT a FROM t")).await), "2, 3");
}

#[tokio::test]
async fn pages_that_the_runner_writes_are_seen() {
    let mut world = in_memory();
    let (one, other) = (actor(1), actor(2));
    world.check(one, &[("CREATE TABLE t (a); INSERT INTO t VALUES (1)", ""), ("SELECT a FROM t", "1")]).await;
    world.check(other, &[("CREATE TABLE t (a); INSERT INTO t VALUES (2)", "")]).await;
    world.overwrite(one, other);
    world.check(one, &[("SELECT a FROM t", "2"), ("BEGIN; INSERT INTO t VALUES (3)", "")]).await;
    world.overwrite(one, other);
    let moved =
        "depot/head_fence_mismatch: transaction failed: sqlite head fence mismatch: expected head txid 2, current head txid 3";
    world.check(one, &[("COMMIT", moved), ("SELECT a FROM t", "2")]).await;
    // While what a statement wrote was on its way.
    let call = world.begin(one, 1, exec("INSERT INTO t VALUES (4)"));
    let (_, _, result, changes) = world.ran().await;
    world.write(one, changes.expect("a row was inserted"));
    world.overwrite(one, other);
    world.engine.databases.answered(one, call, &result);
    world.check(one, &[("SELECT a FROM t", "2")]).await;
}

#[tokio::test]
async fn a_connection_reads_pages_of_one_head_only() {
    let mut world = in_memory();
    let (one, other) = (actor(1), actor(2));
    world.check(one, &[("CREATE TABLE t (a); INSERT INTO t VALUES (1)", "")]).await;
    world.check(other, &[("CREATE TABLE t (a); INSERT INTO t VALUES (2)", "")]).await;
    let mut open = Connection::open(&world.state, one, &Arc::new(Time::default())).expect("it opens");
    world.overwrite(one, other);
    let moved = "transaction failed: sqlite head fence mismatch: expected head txid 1, current head txid 2";
    let found = open.run(exec("SELECT a FROM t")).expect_err("somebody has written");
    assert_eq!((found.code, found.message.as_str()), ("head_fence_mismatch", moved));
}

#[tokio::test]
async fn a_newer_generation_ends_the_older_ones_connection() {
    let mut world = in_memory();
    let one = actor(1);
    world.check(one, &[("CREATE TABLE t (a)", ""), ("BEGIN; INSERT INTO t VALUES (1)", "")]).await;
    // It never learns what became of this.
    assert_eq!(text(&world.ask(one, 2, exec("SELECT count(*) FROM t")).await), "0");
    assert_eq!(world.connections().await, 1);
    world.check(one, &[("SELECT 1", "core/internal_error: actor does not exist")]).await;
    // What waits behind a commit is answered.
    world.begin(one, 2, exec("INSERT INTO t VALUES (2)"));
    let waiting = world.begin(one, 2, exec("SELECT 1"));
    assert!(world.ran().await.3.is_some());
    let newest = world.begin(one, 3, exec("SELECT count(*) FROM t"));
    let mut answers = vec![];
    for _ in 0..2 {
        let (_, call, result, _) = world.ran().await;
        answers.push((call, text(&result)));
    }
    answers.sort();
    let closed = "core/internal_error: the connection to the database was closed before the statement ran".to_owned();
    assert_eq!(answers, [(waiting, closed), (newest, "0".to_owned())]);
}

#[tokio::test]
async fn what_is_not_used_is_closed() {
    let mut world = in_memory();
    let (one, other) = (actor(1), actor(2));
    world.check(one, &[("CREATE TABLE t (a)", ""), ("SELECT 1", "1")]).await;
    world.check(other, &[("CREATE TABLE t (a)", ""), ("BEGIN", ""), ("INSERT INTO t VALUES (1)", "")]).await;
    world.sweep(IDLE_MAX / 2).await;
    assert_eq!(world.connections().await, 2);
    world.sweep(IDLE_MAX).await;
    assert_eq!(world.connections().await, 0);
    world.check(one, &[("SELECT count(*) FROM t", "0")]).await;
    // Part of a transaction must not be committed by itself.
    let lost = "core/internal_error: the open transaction was rolled back: there was no statement for 60 s; begin it again";
    world.check(other, &[("INSERT INTO t VALUES (2)", lost), ("SELECT count(*) FROM t", "0")]).await;
    // A commit is waited for longer, but not for ever.
    world.begin(one, 1, exec("INSERT INTO t VALUES (1)"));
    assert!(world.ran().await.3.is_some());
    world.sweep(IDLE_MAX).await;
    assert_eq!(world.connections().await, 1);
    world.sweep(KEPT_MAX).await;
    assert_eq!(world.connections().await, 0);
}

#[tokio::test]
async fn there_is_an_end_to_what_waits_and_to_what_is_open() {
    let mut world = in_memory();
    world.begin(actor(0), 1, exec("CREATE TABLE t (a)"));
    let (_, call, result, changes) = world.ran().await;
    // Behind a commit that takes its time.
    for _ in 0..CALLS_PER_ACTOR_MAX {
        world.begin(actor(0), 1, exec("SELECT 1"));
    }
    world.begin(actor(0), 1, exec("SELECT 1"));
    let refused = "core/internal_error: 128 statements of the actor are already waiting; wait for their answers";
    assert_eq!(text(&world.ran().await.2), refused);
    world.write(actor(0), changes.expect("a table was made"));
    world.engine.databases.answered(actor(0), call, &result);
    for _ in 0..CALLS_PER_ACTOR_MAX {
        assert_eq!(text(&world.settle().await.1), "1");
    }

    let many = |number: usize| Id::new([&[9; 14][..], &(number as u16).to_le_bytes()].concat().try_into().expect("16 bytes"), 1);
    world.check(actor(0), &[("BEGIN; SELECT 1", "1")]).await;
    for number in 0..CONNECTIONS_MAX + 3 {
        world.check(many(number), &[("SELECT 1", "1")]).await;
    }
    assert_eq!(world.connections().await, CONNECTIONS_MAX);
    // The oldest go first, but no transaction.
    world.check(actor(0), &[("COMMIT", "")]).await;
    world.engine.databases.stop();
    assert_eq!(world.connections().await, 0);
}

#[tokio::test]
async fn the_end_of_the_engine_does_not_wait_for_a_statement() {
    let mut world = in_memory();
    let endless = "WITH RECURSIVE n(a) AS (SELECT 1 UNION ALL SELECT a + 1 FROM n) SELECT max(a) FROM n";
    world.begin(actor(1), 1, exec(endless));
    while !world.engine.databases.is_running(actor(1)) {
        tokio::task::yield_now().await;
    }
    world.engine.databases.stop();
    let (_, _, result, _) = world.ran().await;
    assert!(text(&result).starts_with("core/internal_error: stopped after 20000 ms"), "{result:?}");
}

/// With the driver and the core in between: a runner of a pool, whose actor has the engine run its SQL.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_actor_of_a_pool_speaks_sql() {
    let test = testing::start();
    let engine = &test.engine;
    let (name, display_name) = ("default".to_owned(), "Default".to_owned());
    let made = engine.call(Operation::CreateNamespace { random: [9; 16], name, display_name }).await.expect("it is made");
    let Answer::Namespace(namespace) = made else { panic!("{made:?}") };
    let link = Arc::new(Heard::default());
    let serves = Serves::Pool { namespace: namespace.id, pool: "p".to_owned(), protocol: RunnerProtocol::Envoy(8), slots: None };
    engine.runners.join(RUNNER, link.clone());
    let profile = RunnerProfile { key: "r".to_owned(), version: 1, serves };
    engine.inbox.push(Input::RunnerJoined { runner: RUNNER, profile });
    let record = RunnerConfigRecord {
        namespace: namespace.id,
        pool: "p".to_owned(),
        kind: PoolKind::Normal,
        drain_on_version_upgrade: false,
        actor_eviction_delay_s: 0,
        actor_eviction_period_s: 0,
        actor_eviction_rate: Rate::new(1.0),
        metadata: None,
        protocol_version: None,
    };
    let put = Operation::PutRunnerConfig { namespace: "default".to_owned(), record: Box::new(record) };
    engine.call(put).await.expect("it is taken");
    let create = Create { random: [1; 16], pool: "p".to_owned(), input: None, crash_policy: CrashPolicy::Sleep };
    let (namespace, name) = ("default".to_owned(), "a".to_owned());
    engine.call(Operation::CreateActor { namespace, name, key: None, create }).await.expect("it is made");

    let mut heard = VecDeque::new();
    let begun = Instant::now();
    let mut hear = async || loop {
        assert!(begun.elapsed() < PATIENCE, "nothing more was said");
        match heard.pop_front() {
            Some(message) => return message,
            None => tokio::task::yield_now().await,
        }
        heard.extend(link.take());
    };
    let ToRunner::Command(checkpoint, _) = hear().await else { panic!("it is started first") };
    let say = |message| engine.inbox.push(Input::FromRunner { runner: RUNNER, message });
    say(FromRunner::Event(checkpoint, Event::Running));
    let (actor, generation) = (checkpoint.actor, u64::from(checkpoint.generation));
    let fence = Fence { generation: Some(generation), head_txid: Some(2) };
    let exec = |sql: &str| DatabaseQuestion::Exec { generation, sql: sql.to_owned() };
    let questions = [
        exec("CREATE TABLE t (a); INSERT INTO t VALUES (1)"),
        exec("SELECT a FROM t"),
        exec("INSERT INTO t VALUES (2) RETURNING a"),
        exec("BEGIN; INSERT INTO t VALUES (3)"),
        exec("SELECT sum(a) FROM t"),
        DatabaseQuestion::Exec { generation: generation + 1, sql: "SELECT 1".to_owned() },
    ];
    let expected = ["", "1", "2", "", "6", "core/internal_error: actor does not exist"];
    for (call, question) in (1..).zip(questions) {
        say(FromRunner::Database { actor, call, question });
    }
    let mut answers = BTreeMap::new();
    while answers.len() < expected.len() {
        if let ToRunner::Database { call, result, .. } = hear().await {
            answers.insert(call, text(&result));
        }
    }
    assert_eq!(answers.into_values().collect::<Vec<_>>(), expected);
    say(FromRunner::Database { actor, call: 7, question: DatabaseQuestion::GetPages { fence, pages: vec![1, 2, 3] } });
    match hear().await {
        ToRunner::Database { call: 7, result: Ok(DatabaseAnswer::Pages { pages, head_txid: 2 }), .. } => {
            assert!(pages[0].1.as_ref().is_some_and(|page| page.starts_with(b"SQLite format 3\0")));
            assert!(pages[1].1.is_some() && pages[2].1.is_none(), "it has two pages");
        }
        other => panic!("{other:?}"),
    }
}
