//! What an actor of version 0.2 can do: SQL in the message's transaction, schedules, the queue, calls, migration, limits.

use std::sync::Arc;
use std::time::Duration;

use protocol::component::{ActorLimits, Settings};
use protocol::message::{AlarmChange, Ask, CallTarget, Event, FailureKind, Outcome, StopReason};

use crate::engine::{Answer, At, World};

fn actor(world: &World) -> At<'_> {
    world.actor("every-feature")
}

/// Orders in a request's body, and what they gave.
fn orders(actor: &At<'_>, orders: &str) -> String {
    match actor.world.engine.answer(actor.send_body("POST /", orders.as_bytes(), false)) {
        Answer::Response(200, body) => body,
        Answer::Response(status, body) => format!("{status} {body}"),
        other => format!("{other:?}"),
    }
}

/// Orders and what they give, one message each.
fn check(actor: &At<'_>, rows: &[(&str, &str)]) {
    for (given, expected) in rows {
        assert_eq!(orders(actor, given), *expected, "{given}");
    }
}

/// Lets the alarm go off that the engine has.
fn ring(actor: &At<'_>) {
    let engine = &actor.world.engine;
    let at_ms = engine.seen().alarm_ms.expect("an alarm is set");
    let fired = |commits: &[protocol::message::Commit]| commits.iter().filter(|commit| commit.fired_ms == Some(at_ms)).count();
    let before = fired(&engine.seen().commits);
    actor.alarm(at_ms, 1);
    engine.wait("the alarm's commit", |seen| (fired(&seen.commits) > before).then_some(()));
}

fn until_did(actor: &At<'_>, expected: &[&str]) {
    actor.world.engine.wait("what the guest wrote down", |seen| {
        let did: Vec<_> = seen.stored.iter().filter(|(key, _)| key.starts_with(b"did/")).map(|(_, value)| &value[..]).collect();
        did.iter().eq(expected.iter().map(|line| line.as_bytes()).collect::<Vec<_>>().iter()).then_some(())
    });
}

fn sleep_and_wake<'a>(actor: &At<'a>) -> At<'a> {
    actor.stop(StopReason::Sleep);
    assert_eq!(actor.stopped(), Outcome::Ok);
    wake(actor)
}

fn wake<'a>(actor: &At<'a>) -> At<'a> {
    let alarm_ms = actor.world.engine.seen().alarm_ms;
    let next = actor.world.start_id(actor.actor, "every-feature", actor.generation + 1, |start| start.alarm_ms = alarm_ms);
    next.until(Event::Running);
    next
}

#[test]
fn the_guest_knows_its_deployment() {
    let world = World::new();
    let mut settings = Settings::default();
    settings.config.extend([("color".to_string(), "blue".to_string()), ("size".to_string(), "1".to_string())]);
    settings.secrets.extend([("token".to_string(), "t".to_string()), ("size".to_string(), "2".to_string())]);
    let actor = world.start("every-feature", 4, |start| {
        let deployed = start.component.as_mut().expect("it has one");
        (deployed.version, deployed.settings) = (7, Arc::new(settings));
    });
    check(
        &actor,
        &[
            ("info", "default every-feature 4 v7"),
            ("config color\nconfig size\nconfig token\nconfig none", "Some(\"blue\")\nSome(\"2\")\nSome(\"t\")\nNone"),
            ("names", "color size token"),
        ],
    );
}

#[test]
fn sql_is_part_of_the_message() {
    let world = World::new();
    let actor = actor(&world);
    check(
        &actor,
        &[
            ("script CREATE TABLE t (n INTEGER UNIQUE); CREATE TABLE u (n REFERENCES t(n) DEFERRABLE INITIALLY DEFERRED)", "()"),
            ("sql INSERT INTO t VALUES (1)\nsql SELECT n FROM t\nput k v", "[] 1\n[[Value::Integer(1)]] 0\n()"),
            (
                "sql INSERT INTO t VALUES (1)\nsql SELECT count(*) FROM t",
                "statement_failed: UNIQUE constraint failed: t.n\n[[Value::Integer(1)]] 0",
            ),
            // An answer that is a failure of the guest's own choice is an answer, and commits.
            ("sql INSERT INTO t VALUES (2)\nfail no", "500 no"),
            ("sql SELECT count(*) FROM t", "[[Value::Integer(2)]] 0"),
        ],
    );
    let with_pages = world.engine.seen().commits.iter().filter(|commit| commit.database.is_some()).count();
    assert_eq!(with_pages, 5);
    check(&actor, &[("get k", "Some(\"v\")")]);
    assert_eq!(world.engine.seen().database.steps.iter().filter(|step| **step == "seal").count(), 5, "only where SQL was used");
}

#[test]
fn a_message_that_traps_drops_its_sql() {
    let world = World::new();
    let first = actor(&world);
    check(&first, &[("script CREATE TABLE t (n)", "()")]);
    let failed = orders(&first, "sql INSERT INTO t VALUES (1)\nput k v\ntrap");
    assert!(failed.contains("Trapped"), "{failed}");
    assert!(matches!(first.stopped(), Outcome::Error(_)));
    assert_eq!(world.engine.seen().database.steps, ["script", "seal", "execute", "roll back"]);
    check(&wake(&first), &[("sql SELECT count(*) FROM t\nget k", "[[Value::Integer(0)]] 0\nNone")]);
}

#[test]
fn what_cannot_be_sealed_fails_the_message() {
    let world = World::new();
    let first = actor(&world);
    let tables = "CREATE TABLE t (n UNIQUE); CREATE TABLE u (n REFERENCES t(n) DEFERRABLE INITIALLY DEFERRED)";
    check(&first, &[(&format!("script {tables}"), "()")]);
    let failed = orders(&first, "sql INSERT INTO u VALUES (5)\nput k v");
    assert!(failed.contains("FOREIGN KEY constraint failed"), "{failed}");
    // What it has in memory may be what was not stored.
    assert!(matches!(first.stopped(), Outcome::Error(Some(text)) if text.contains("FOREIGN KEY")));
    check(&wake(&first), &[("get k\nsql SELECT count(*) FROM u", "None\n[[Value::Integer(0)]] 0")]);
}

#[test]
fn schedules_call_actions_once_and_again() {
    let world = World::new();
    let first = actor(&world);
    check(
        &first,
        &[
            ("at 200 later [\"put a 1\"]\nat 100 sooner []\nalarm 150", "\"1.1\"\n\"1.2\"\n()"),
            ("schedules", "1.1 later 200 None; 1.2 sooner 100 None"),
            ("alarm-get", "Some(150)"),
        ],
    );
    assert_eq!(world.engine.seen().alarm_ms, Some(100));
    ring(&first);
    until_did(&first, &["sooner by schedule 1.2 at 100 attempt 1"]);
    assert_eq!(world.engine.seen().alarm_ms, Some(150));
    // All of it is there again after a sleep.
    let next = sleep_and_wake(&first);
    check(&next, &[("schedules\nalarm-get", "1.1 later 200 None\nSome(150)")]);
    ring(&next);
    ring(&next);
    until_did(&next, &["sooner by schedule 1.2 at 100 attempt 1", "alarm 150 attempt 1", "later by schedule 1.1 at 200 attempt 1"]);
    check(&next, &[("get a\nschedules\nalarm-get", "Some(\"1\")\n\nNone")]);
    assert_eq!(world.engine.seen().alarm_ms, None);
    assert_eq!(world.engine.seen().own.len(), 0);
    check(
        &next,
        &[
            (
                "cron tick */5_*_*_*_* act []\nat 1 act {}",
                "()\nError::InvalidArgument(\"the list of arguments is not a JSON array: invalid type: map, expected a sequence at line 1 column 0\")",
            ),
            ("cancel tick\ncancel tick", "true\nfalse"),
        ],
    );
    assert_eq!(world.engine.seen().commits.last().map(|commit| commit.alarm), Some(AlarmChange::Clear));
}

#[test]
fn a_schedule_that_fails_has_written_nothing_and_comes_again() {
    let world = World::new();
    let first = actor(&world);
    check(&first, &[("at 100 act [\"put a 1\",\"until 2 fail no\",\"until 3 trap\"]", "\"1.1\"")]);
    ring(&first);
    let soon_ms = world.engine.seen().alarm_ms.expect("it comes again");
    assert!(soon_ms > 1_000_000_000_000, "by the clock: {soon_ms}");
    check(&first, &[("did\nget a", "\nNone")]);
    // The second attempt ends the guest; that it was made is durable before the actor is gone.
    ring(&first);
    assert!(matches!(first.stopped(), Outcome::Error(_)));
    let again_ms = world.engine.seen().alarm_ms.expect("it comes again");
    assert!(again_ms >= soon_ms + 2_000 - 100, "{again_ms} is twice as long after {soon_ms}");
    let next = wake(&first);
    ring(&next);
    until_did(&next, &["act by schedule 1.1 at 100 attempt 3"]);
    check(&next, &[("get a", "Some(\"1\")")]);
    assert_eq!(world.engine.seen().alarm_ms, None);
}

#[test]
fn an_alarm_that_fails_beside_a_schedule_does_not_hold_it_up() {
    let world = World::new();
    let first = actor(&world);
    check(&first, &[("alarm-fails 1\nalarm 50\nat 60 act []", "()\n\"1.1\"")]);
    ring(&first);
    assert_eq!(world.engine.seen().alarm_ms, Some(60));
    ring(&first);
    until_did(&first, &["act by schedule 1.1 at 60 attempt 1"]);
    ring(&first);
    until_did(&first, &["act by schedule 1.1 at 60 attempt 1", "alarm 50 attempt 2"]);
}

#[test]
fn the_queue_hands_over_in_order_and_removes_what_was_taken() {
    let world = World::new();
    let first = actor(&world);
    world.engine.hold();
    let request = first.send_body("POST /", b"push jobs [\"put a 1\"]\npush jobs [\"push mail []\"]\nsize", false);
    world.engine.release();
    assert_eq!(world.engine.answer(request), Answer::Response(200, "1\n2\n2".to_string()));
    until_did(&first, &["jobs 1 attempt 1", "jobs 2 attempt 1", "mail 3 attempt 1"]);
    check(&first, &[("get a\nsize", "Some(\"1\")\n0")]);
    // Numbers only grow, also over a sleep, and nothing but the queue's ends is left of it.
    assert_eq!(world.engine.seen().own.len(), 1);
    assert_eq!(world.engine.seen().alarm_ms, None);
    check(&sleep_and_wake(&first), &[("push q []", "4")]);
}

#[test]
fn a_message_that_fails_keeps_its_place() {
    let world = World::new();
    let first = actor(&world);
    check(&first, &[("push q [\"put a 1\",\"until 2 fail no\",\"until 3 trap\"]\npush q []", "1\n2")]);
    world
        .engine
        .wait("the failure", |seen| seen.lines.iter().any(|line| line.contains("refused message 1 of q, attempt 1")).then_some(()));
    check(&first, &[("size\nget a\ndid", "2\nNone\n")]);
    ring(&first);
    assert!(matches!(first.stopped(), Outcome::Error(_)));
    let next = wake(&first);
    check(&next, &[("size", "2")]);
    ring(&next);
    until_did(&next, &["q 1 attempt 3", "q 2 attempt 1"]);
    check(&next, &[("size\nget a", "0\nSome(\"1\")")]);
}

#[test]
fn a_queue_that_crashed_with_the_engine_is_served_at_the_next_start() {
    let world = World::new();
    let first = actor(&world);
    // Nothing is confirmed any more; then the actor is given up.
    check(&first, &[("push q [\"trap\"]", "1")]);
    assert!(matches!(first.stopped(), Outcome::Error(_)));
    assert!(world.engine.seen().alarm_ms.is_some(), "it wakes by itself");
    let next = wake(&first);
    check(&next, &[("push q []\nsize", "2\n2")]);
}

#[test]
fn the_queue_is_bounded() {
    let world = World::new();
    let first = actor(&world);
    let refused = orders(&first, "push-bytes 1048576");
    assert!(refused.contains("TooLarge") && refused.contains("1048576"), "{refused}");
    let refused = orders(&first, "push q nonsense");
    assert!(refused.contains("not JSON"), "{refused}");
    // More of its own than one message may write; the guest sees it, and what fitted stays.
    let refused =
        orders(&first, "push-bytes 1048000\npush-bytes 1048000\npush-bytes 1048000\npush-bytes 1048000\npush-bytes 1048000\nsize");
    assert!(refused.starts_with("1\n2\n3\n4\nError::TooLarge"), "{refused}");
    assert!(refused.ends_with("\n4"), "{refused}");
}

#[test]
fn a_call_leaves_when_what_was_committed_is_durable() {
    let world = World::new();
    let first = actor(&world);
    world.engine.hold();
    let wrote = first.send_body("POST /", b"put a 1", false);
    let called = first.send_body("POST /", b"call echo say [1]\ncall nobody say []\ncall echo say {}", false);
    std::thread::sleep(Duration::from_millis(50));
    assert!(world.engine.seen().calls.is_empty());
    world.engine.release();
    assert_eq!(world.engine.answer(wrote), Answer::Response(200, "()".to_string()));
    assert_eq!(world.engine.answer(called), Answer::Response(200, "[1]\nactor.not_found\nactor.invalid_call".to_string()));
    let say = |args: &str| Ask::Action { name: "say".to_string(), args: args.to_string() };
    let expected =
        [(CallTarget::Id("echo".to_string()), say("[1]"), true), (CallTarget::Id("nobody".to_string()), say("[]"), true)];
    assert_eq!(world.engine.seen().calls, expected);
}

/// It waits for what was committed before to be durable, which does not come; so the time is over while it waits.
#[test]
fn an_action_that_waits_for_too_long_is_dropped_and_its_caller_told() {
    let world = World::new();
    let mut settings = Settings::default();
    settings.limits.action_ms = Some(200);
    let first = world.start("every-feature", 1, |start| {
        start.component.as_mut().expect("it has one").settings = Arc::new(settings);
    });
    first.until(Event::Running);
    world.engine.hold();
    let wrote = first.send_body("POST /", b"put a 1", false);
    let acted = first.send_body("POST /action/slow", br#"{"args":["put b 2","call echo say [1]"]}"#, false);
    world.engine.wait("the end of its time", |seen| {
        seen.lines.iter().any(|line| line.contains("action handler did not return within 200 ms")).then_some(())
    });
    world.engine.release();
    assert_eq!(world.engine.answer(wrote), Answer::Response(200, "()".to_string()));
    let Answer::Response(408, told) = world.engine.answer(acted) else { panic!("{:?}", world.engine.answer(acted)) };
    let expected = r#"{"group":"actor","code":"action_timed_out","message":"Action `slow` did not return within 200 ms.","actor":"#;
    assert!(told.starts_with(expected), "{told}");
    assert!(matches!(first.stopped(), Outcome::Error(Some(text)) if text.contains("within 200 ms")));
    assert!(world.engine.seen().calls.is_empty(), "the call had not left");
    check(&wake(&first), &[("get a\nget b", "Some(\"1\")\nNone")]);
}

#[test]
fn a_migration_is_a_message_of_its_own_or_nothing() {
    let world = World::new();
    let rows = [("", Ok(())), ("fail not-today", Err("not-today")), ("put a 1\ntrap", Err("migrate handler"))];
    for (generation, (order, expected)) in (1u32..).zip(rows) {
        let actor = world.start("every-feature", generation, |start| {
            start.input = Some(order.as_bytes().to_vec().into());
            start.component.as_mut().expect("it has one").migrate_from = Some(3);
        });
        match expected {
            Ok(()) => {
                actor.until(Event::Running);
                until_did(&actor, &["migrate 3"]);
                actor.stop(StopReason::GoingAway);
                assert_eq!(actor.stopped(), Outcome::Ok);
            }
            Err(words) => {
                assert!(matches!(actor.stopped(), Outcome::NotMigrated(text) if text.contains(words)), "{order}");
                assert!(!actor.events().contains(&Event::Running));
                until_did(&actor, &["migrate 3"]);
            }
        }
    }
}

#[test]
fn a_deployments_limits_are_kept_and_named() {
    let world = World::new();
    let limits = ActorLimits {
        cpu_ms: Some(100),
        memory_bytes: Some(8 << 20),
        message_bytes: Some(100),
        mailbox: Some(2),
        ..ActorLimits::default()
    };
    let started = |guest: &str, generation: u32| {
        let actor = world.start(guest, generation, |start| {
            let settings = Settings { limits, ..Settings::default() };
            start.component.as_mut().expect("it has one").settings = Arc::new(settings);
        });
        actor.until(Event::Running);
        actor
    };
    let rows = [("GET /loop", FailureKind::CpuTimeExceeded, "100 ms"), ("GET /bomb", FailureKind::MemoryExceeded, "8388608 bytes")];
    for (generation, (line, kind, words)) in (1u32..).zip(rows) {
        let failure = started("hostile", generation).failure(line);
        assert_eq!(failure.kind, kind, "{failure:?}");
        assert!(failure.message.contains(words), "{failure:?}");
    }
    let actor = started("every-feature", 9);
    let too_large = orders(&actor, &format!("put a {}", "x".repeat(100)));
    assert!(too_large.contains("RequestTooLarge") && too_large.contains("100 bytes"), "{too_large}");
    let too_large = orders(&actor, "push-bytes 99");
    assert!(too_large.contains("TooLarge") && too_large.contains("at most 100 bytes"), "{too_large}");
    // Those in line, and what may stand there beside requests.
    world.engine.hold();
    let requests: Vec<_> = (0..200).map(|_| actor.send_body("POST /", b"put a 1", false)).collect();
    world.engine.release();
    let refused = requests.into_iter().filter(|request| match world.engine.answer(*request) {
        Answer::Abort(failure) => failure.message.contains("2 requests wait"),
        _ => false,
    });
    assert!(refused.count() > 0);
}

#[test]
fn what_may_not_be_stored_fails_its_message_and_the_state_is_as_before() {
    let world = World::new();
    let started = |generation: u32, storage_bytes: Option<u64>| {
        let actor = world.start("every-feature", generation, |start| {
            let limits = ActorLimits { storage_bytes, ..ActorLimits::default() };
            start.component.as_mut().expect("it has one").settings = Arc::new(Settings { limits, ..Settings::default() });
        });
        actor.until(Event::Running);
        actor
    };
    world.engine.seen().entry_bytes_max = Some(10);
    let actor = started(1, Some(1_000));
    check(&actor, &[("put a 1", "()"), ("get a", "Some(\"1\")")]);
    assert_eq!(world.engine.seen().asked, 1, "a message that writes nothing asks nothing");
    let refused = orders(&actor, &format!("put a {}", "x".repeat(10)));
    assert!(refused.contains("StorageFull") && refused.contains("11 bytes are too many"), "{refused}");
    assert_eq!(world.engine.seen().commits.len(), 1);
    // It has begun anew, as after whatever else fails a message.
    check(&started(2, Some(1_000)), &[("get a", "Some(\"1\")"), ("put a 2", "()")]);
    // Without a limit nothing is asked.
    let asked = world.engine.seen().asked;
    let long = format!("put a {}", "x".repeat(10));
    check(&started(3, None), &[(long.as_str(), "()")]);
    assert_eq!(world.engine.seen().asked, asked);
}

#[test]
fn an_actor_that_is_kept_awake_does_not_sleep_for_being_idle() {
    let world = World::with(Arc::new(tempfile::tempdir().expect("a folder")), |config| config.idle_before_sleep_ms = 30);
    let actor = actor(&world);
    check(&actor, &[("keep-awake 3600000", "")]);
    // It may have been idle before it was asked.
    let before = actor.events().len();
    std::thread::sleep(Duration::from_millis(150));
    assert_eq!(actor.events().len(), before);
    check(&actor, &[("keep-awake 0", "")]);
    world.engine.wait("a wish to sleep", |seen| (seen.events.len() > before).then_some(()));
}
