//! Messages of components, each of which is one transaction of its actor's database.

use protocol::component::{ComponentHash, ComponentInfo, Handler};
use protocol::database::MessageStep;
use protocol::limits::DATABASE_MESSAGE_PAGES_MAX;
use protocol::message::{
    AlarmChange, Checkpoint, Command, Commit, DatabaseCommit, KvAnswer, KvChange, KvQuestion, KvSpace, Outcome,
};

use super::*;

const SEAL: MessageStep = MessageStep::Seal;
const ROLL_BACK: MessageStep = MessageStep::RollBack;

fn run(sql: &str) -> MessageStep {
    MessageStep::Execute(statement(sql, &[]))
}

fn script(sql: &str) -> MessageStep {
    MessageStep::Script(sql.to_owned())
}

fn message(step: MessageStep) -> DatabaseQuestion {
    DatabaseQuestion::Message { generation: 1, step }
}

/// As `text`, but of pages only how many.
fn shown(result: &Told) -> String {
    match result {
        Ok(DatabaseAnswer::Sealed { pages, size_pages }) => format!("sealed {} of {size_pages}", pages.len()),
        Ok(DatabaseAnswer::Unchanged) => "unchanged".to_owned(),
        Err(error) => format!("{}: {}", error.code, error.message),
        other => text(other),
    }
}

impl World {
    /// Each step and its answer. What is sealed becomes durable at once.
    async fn steps(&mut self, actor: ActorId, rows: &[(MessageStep, &str)]) {
        for (step, expected) in rows {
            let asked = self.begin(actor, 1, message(step.clone()));
            let (_, call, result, changes) = self.ran().await;
            assert_eq!((call, shown(&result).as_str()), (asked, *expected), "{step:?}");
            assert_eq!(changes.is_some(), matches!(result, Ok(DatabaseAnswer::Sealed { .. })), "{step:?}");
            self.engine.databases.answered(actor, call, &result);
            if let Some(changes) = changes {
                self.write(actor, changes);
                self.engine.databases.settled(actor, 1, call, true);
            }
        }
    }
}

#[tokio::test]
async fn a_message_is_one_transaction() {
    for mut world in [in_memory(), on_disk()] {
        let one = actor(1);
        let denied = |what: &str| -> &'static str {
            let text = format!(
                "denied: {what} within a message, which is one transaction, is not available here; the engine decides how the database is \
                 kept"
            );
            text.leak()
        };
        world
            .steps(
                one,
                &[
                    (script("CREATE TABLE t (a PRIMARY KEY, b); INSERT INTO t VALUES (1, 'x')"), ""),
                    (run("INSERT INTO t VALUES (2, 'y') RETURNING a"), "2"),
                    (run("BEGIN"), denied("BEGIN")),
                    (script("DELETE FROM t; COMMIT"), denied("COMMIT")),
                    (run("ROLLBACK"), denied("ROLLBACK")),
                    (
                        script(
                            "SAVEPOINT s; INSERT INTO t VALUES (3, 'z'); ROLLBACK TO s; RELEASE s; INSERT INTO t VALUES (4, '')",
                        ),
                        "",
                    ),
                    (run("INSERT INTO t VALUES (4, '')"), "constraint: UNIQUE constraint failed: t.a"),
                    (run("SELECT sum(a) FROM t"), "4"),
                    (SEAL, "sealed 3 of 3"),
                    // The next one reads only, and the one after fails.
                    (run("SELECT a FROM t"), "4"),
                    (SEAL, "unchanged"),
                    (run("DELETE FROM t"), ""),
                    (ROLL_BACK, "unchanged"),
                    (SEAL, "unchanged"),
                    (ROLL_BACK, "unchanged"),
                    (run("SELECT count(*) FROM t"), "1"),
                    (SEAL, "unchanged"),
                ],
            )
            .await;
        assert_eq!(text(&world.ask(one, 2, exec("SELECT * FROM t")).await), "4 ");
        world.engine.databases.stop();
    }
}

#[tokio::test]
async fn codes_that_guests_rely_on() {
    let mut world = in_memory();
    let endless = "WITH RECURSIVE n(a) AS (SELECT 1 UNION ALL SELECT a + 1 FROM n) SELECT a FROM n";
    let rows = [
        (run("SELECT * FROM missing"), "error"),
        (run("SELECT 1; SELECT 2"), "invalid_argument"),
        (MessageStep::Execute(statement("SELECT 1", &[SqlValue::Null])), "invalid_argument"),
        (run("INSERT INTO t VALUES (1)"), "constraint"),
        (run("PRAGMA journal_mode = wal"), "denied"),
        (run("ATTACH 'x' AS y"), "denied"),
        (run(endless), "too_large"),
        (run("SELECT zeroblob(2000000)"), "too_large"),
        (script(&" ".repeat(2_000_000)), "too_large"),
    ];
    world.steps(actor(1), &[(script("CREATE TABLE t (a UNIQUE); INSERT INTO t VALUES (1)"), "")]).await;
    for (step, code) in rows {
        let result = world.ask(actor(1), 1, message(step.clone())).await;
        let error = result.expect_err("it is refused");
        assert_eq!((error.group, error.code), ("sqlite", code), "{error:?}");
    }
    world.steps(actor(1), &[(run("SELECT a FROM t"), "1"), (SEAL, "sealed 3 of 3")]).await;
    // What runners of pools see has not changed.
    world.check(actor(1), &[("INSERT INTO t VALUES (1)", "core/internal_error: UNIQUE constraint failed: t.a")]).await;
}

#[tokio::test]
async fn nothing_of_a_message_is_written_once_its_transaction_is_lost() {
    let mut world = in_memory();
    let one = actor(1);
    let failed = "UNIQUE constraint failed: t.a";
    let constraint = format!("constraint: {failed}");
    let aborted = |why: &str| format!("aborted: the message's transaction was rolled back ({why}); nothing more of it can be done");
    let by_statement = aborted(failed);
    world
        .steps(
            one,
            &[
                (script("CREATE TABLE t (a UNIQUE); INSERT INTO t VALUES (1)"), ""),
                (SEAL, "sealed 3 of 3"),
                (run("INSERT INTO t VALUES (2)"), ""),
                (run("INSERT OR ROLLBACK INTO t VALUES (1)"), &constraint),
                (run("INSERT INTO t VALUES (3)"), &by_statement),
                (SEAL, &by_statement),
                (run("SELECT a FROM t"), "1"),
                (run("INSERT OR ROLLBACK INTO t VALUES (1)"), &constraint),
                (ROLL_BACK, "unchanged"),
                (run("INSERT INTO t VALUES (4)"), ""),
            ],
        )
        .await;
    // It may wait for long between two statements, but not for ever.
    world.sweep(IDLE_MAX).await;
    world.steps(one, &[(run("SELECT count(*) FROM t"), "2")]).await;
    world.sweep(KEPT_MAX).await;
    assert_eq!(world.connections().await, 0);
    let by_time = aborted("there was no statement for 3600 s");
    world.steps(one, &[(run("SELECT 1"), &by_time), (SEAL, &by_time), (run("SELECT a FROM t"), "1"), (SEAL, "unchanged")]).await;
    // Somebody else has written meanwhile.
    world.steps(one, &[(run("INSERT INTO t VALUES (5)"), "")]).await;
    let pages = world.pages(one);
    world.write(one, DatabaseChanges { base_txid: 0, size_pages: pages.len() as u32, pages });
    let moved = aborted("transaction failed: sqlite head fence mismatch: expected head txid 1, current head txid 2");
    world.steps(one, &[(run("SELECT 1"), &moved), (SEAL, &moved), (run("SELECT a FROM t"), "1"), (SEAL, "unchanged")]).await;
}

#[tokio::test]
async fn the_next_message_waits_until_what_was_sealed_is_durable() {
    let mut world = in_memory();
    let one = actor(1);
    world.steps(one, &[(script("CREATE TABLE t (a)"), ""), (SEAL, "sealed 2 of 2")]).await;
    for (committed, expected) in [(false, "0"), (true, "1"), (false, "1")] {
        world.steps(one, &[(run("INSERT INTO t VALUES (1)"), "")]).await;
        let seal = world.begin(one, 1, message(SEAL));
        let (_, _, result, changes) = world.ran().await;
        world.engine.databases.answered(one, seal, &result);
        let next = world.begin(one, 1, message(run("SELECT count(*) FROM t")));
        // Those of others do not wait, and a settlement of something else changes nothing.
        world.steps(actor(2), &[(run("SELECT 1"), "1"), (SEAL, "unchanged")]).await;
        world.engine.databases.settled(one, 1, seal + 1, true);
        world.engine.databases.settled(one, 2, seal, true);
        world.rest().await;
        assert!(world.heard.is_empty());
        if committed {
            world.write(one, changes.expect("a row was inserted"));
        }
        world.engine.databases.settled(one, 1, seal, committed);
        let (_, call, result, _) = world.ran().await;
        assert_eq!((call, shown(&result).as_str()), (next, expected), "committed: {committed}");
        world.steps(one, &[(SEAL, "unchanged")]).await;
    }
    // The core has refused it at once.
    world.steps(one, &[(run("INSERT INTO t VALUES (1)"), "")]).await;
    let seal = world.begin(one, 1, message(SEAL));
    assert!(world.ran().await.3.is_some());
    world.engine.databases.answered(one, seal, &Err(head_moved(1, 2)));
    world.steps(one, &[(run("SELECT count(*) FROM t"), "1")]).await;
}

#[tokio::test]
async fn a_message_has_a_size() {
    let mut world = in_memory();
    let one = actor(1);
    let blobs = |count: usize| {
        let sql = format!(
            "WITH RECURSIVE n(a) AS (SELECT 1 UNION ALL SELECT a + 1 FROM n WHERE a < {count}) INSERT INTO t SELECT zeroblob(4096 * 200) FROM n"
        );
        run(&sql)
    };
    world.steps(one, &[(script("CREATE TABLE t (a)"), ""), (SEAL, "sealed 2 of 2"), (blobs(22), "")]).await;
    let refused = world.ask(one, 1, message(SEAL)).await.expect_err("it is too large");
    assert_eq!(refused.code, "too_large");
    assert!(refused.message.contains(&format!("one may change {DATABASE_MESSAGE_PAGES_MAX}")), "{refused:?}");
    world.steps(one, &[(run("SELECT count(*) FROM t"), "0"), (SEAL, "unchanged"), (blobs(18), "")]).await;
    let sealed = world.ask(one, 1, message(SEAL)).await;
    assert!(matches!(&sealed, Ok(DatabaseAnswer::Sealed { pages, .. }) if pages.len() > 3_600), "{sealed:?}");
}

#[tokio::test]
async fn with_its_generation_a_message_ends() {
    let mut world = in_memory();
    let one = actor(1);
    world.steps(one, &[(script("CREATE TABLE t (a)"), ""), (SEAL, "sealed 2 of 2"), (run("INSERT INTO t VALUES (1)"), "")]).await;
    world.engine.databases.end(one, 2);
    assert_eq!(world.connections().await, 1, "another generation's end is not its own");
    world.engine.databases.end(one, 1);
    assert_eq!(world.connections().await, 0);
    assert_eq!(text(&world.ask(one, 2, exec("SELECT count(*) FROM t")).await), "0");
    world.engine.databases.end(one, 2);
    // What waits behind a seal is told.
    world.steps(one, &[(run("INSERT INTO t VALUES (1)"), "")]).await;
    world.begin(one, 1, message(SEAL));
    assert!(world.ran().await.3.is_some());
    world.begin(one, 1, message(run("SELECT 1")));
    world.engine.databases.end(one, 1);
    assert_eq!(shown(&world.ran().await.2), "aborted: the connection to the database was closed before the statement ran");
}

/// With the driver and the core in between: entries, entries of the runner's own and pages are one commit, or nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_commits_pages_and_entries_together() {
    let test = testing::start();
    let engine = &test.engine;
    let (name, display_name) = ("default".to_owned(), "Default".to_owned());
    engine.call(Operation::CreateNamespace { random: [9; 16], name, display_name }).await.expect("it is made");
    let link = Arc::new(Heard::default());
    engine.runners.join(RUNNER, link.clone());
    let profile = RunnerProfile { key: "r".to_owned(), version: 1, serves: Serves::Components };
    engine.inbox.push(Input::RunnerJoined { runner: RUNNER, profile });
    let door = crate::links::RunnerDoor::new(RUNNER, engine.clone());
    let say = |message| protocol::link::FromRunnerLink::send(&door, message);
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
    let component = ComponentHash([1; 32]);
    let (namespace, name, pool) = ("default".to_owned(), "a".to_owned(), "default".to_owned());
    let deploy = engine.call(Operation::Deploy {
        namespace: namespace.clone(),
        name: name.clone(),
        pool: pool.clone(),
        component,
        settings: Default::default(),
        canary: None,
        looked_at: None,
    });
    let prepare = async {
        assert!(matches!(hear().await, ToRunner::Prepare { .. }));
        let info = ComponentInfo { handlers: vec![Handler::Http], imports: vec![], bytes: 1, compiled_bytes: 1, compile_ms: 1 };
        say(FromRunner::Prepared { component, result: Ok(info) });
    };
    assert!(tokio::join!(deploy, prepare).0.is_ok());
    let create = Create { random: [1; 16], pool, input: None, crash_policy: CrashPolicy::Restart };
    engine.call(Operation::CreateActor { namespace, name, key: None, create }).await.expect("it is made");

    // Commits the first message, and crashes between the second one's seal and its commit; the fourth brings other pages.
    for (round, expected) in ["0 0", "1 1", "1 1", "2 2"].into_iter().enumerate() {
        let checkpoint = loop {
            if let ToRunner::Command(checkpoint, Command::Start(_)) = hear().await {
                break checkpoint;
            }
        };
        let Checkpoint { actor, generation, .. } = checkpoint;
        say(FromRunner::Event(Checkpoint { index: 0, ..checkpoint }, Event::Running));
        let mut answer = async |question| {
            say(question);
            loop {
                match hear().await {
                    ToRunner::Database { result, .. } => return shown_or_pages(result),
                    ToRunner::Kv { result: Ok(KvAnswer::Get(found)), .. } => {
                        return (found.iter().flatten().count().to_string(), None);
                    }
                    _ => {}
                }
            }
        };
        let message = |call, step| {
            let question = DatabaseQuestion::Message { generation: generation.into(), step };
            FromRunner::Database { actor, call, question }
        };
        let get = |space| {
            let keys = ["0", "1", "2", "3"].map(Bytes::from).into();
            FromRunner::Kv { actor, generation, call: 1, space, question: KvQuestion::Get { keys } }
        };
        answer(message(1, script("CREATE TABLE IF NOT EXISTS t (a)"))).await;
        let rows = answer(message(2, run("SELECT count(*) FROM t"))).await.0;
        let entries = answer(get(KvSpace::Actor)).await.0;
        assert_eq!(format!("{rows} {entries}"), expected, "round {round}");
        assert_eq!(answer(get(KvSpace::Runner)).await.0, entries);
        answer(message(3, run("INSERT INTO t VALUES (1)"))).await;
        let Some((mut pages, size_pages)) = answer(message(4, SEAL)).await.1 else { panic!("it has changed something") };
        if round == 3 {
            pages.pop();
        }
        let put = || vec![KvChange::Put { key: round.to_string().into(), value: Bytes::new() }];
        let commit = Commit {
            actor,
            generation,
            commit: 1,
            changes: put(),
            own: put(),
            database: Some(DatabaseCommit { call: 4, pages, size_pages }),
            alarm: AlarmChange::Keep,
            fired_ms: None,
            alarm_failed: false,
        };
        if round != 1 {
            say(FromRunner::Commit(commit));
        }
        if round < 3 {
            say(FromRunner::Event(Checkpoint { index: 1, ..checkpoint }, Event::Stopped(Outcome::Error(None))));
            // From the second crash in a row on it pauses, unless somebody wants it.
            let head = crate::requests::Head {
                method: http::Method::GET,
                path: "/".to_owned(),
                headers: http::HeaderMap::new(),
                body: Bytes::new(),
                room: None,
            };
            let (request, _) = engine.requests.open(head, None).expect("there is room");
            let (target, kind) = (Target::Id(actor), RequestKind::Http);
            engine.inbox.push(Input::Request { request, target, kind, skip_ready_wait: false });
        } else {
            let ToRunner::Command(_, Command::Stop(reason)) = hear().await else { panic!("it is given up") };
            assert_eq!(reason, protocol::message::StopReason::Lost);
        }
    }
}

type Pages = Option<(Vec<Page>, u32)>;

fn shown_or_pages(result: Told) -> (String, Pages) {
    match result {
        Ok(DatabaseAnswer::Sealed { pages, size_pages }) => (String::new(), Some((pages, size_pages))),
        other => (shown(&other), None),
    }
}
