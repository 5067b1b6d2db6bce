//! The life of an actor: start, alarms, sleep, stop, being given up.

use std::sync::Arc;

use bytes::Bytes;
use protocol::id::Id;
use protocol::message::{AlarmChange, Event, FailureKind, Outcome, StartReason, StopReason};

use crate::engine::{Answer, World};

fn stored(world: &World, prefix: &str) -> Vec<String> {
    let seen = world.engine.seen();
    let below = seen.stored.iter().filter(|(key, _)| key.starts_with(prefix.as_bytes()));
    below.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
}

#[test]
fn the_guest_knows_who_it_is() {
    let world = World::new();
    let actor = world.start("hostile", 3, |start| start.input = Some(Bytes::from_static(b"hello")));
    actor.until(Event::Running);
    let id = actor.actor;
    let expected = format!(r#"{{"id":"{id}","name":"hostile","key":["a","b"],"generation":3,"created_at":17,"input_bytes":5}}"#);
    assert_eq!(actor.text("GET /info"), expected);
    assert_eq!(actor.text("GET /input"), "hello");
    assert_eq!(actor.text("PUT /request?a=b%20c"), "PUT /request Some(\"a=b%20c\") 0 bytes");
}

#[test]
fn the_start_is_durable_before_the_actor_runs() {
    let world = World::new();
    world.engine.hold();
    let actor = world.start("hostile", 1, |start| start.reason = StartReason::Upgraded);
    world.engine.wait("the start's commit", |seen| seen.commits.first().map(drop));
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert_eq!(actor.events(), []);
    world.engine.release();
    actor.until(Event::Running);
    assert_eq!(stored(&world, "started/"), ["upgraded"]);
}

#[test]
fn a_start_that_fails_says_why() {
    let world = World::with(Arc::new(tempfile::tempdir().expect("a folder")), |config| config.cpu_per_message_ms = 200);
    let rows = [("start-error", "start was told to fail"), ("start-panic", "panicked"), ("start-loop", "200 ms")];
    for (number, (order, words)) in rows.into_iter().enumerate() {
        let actor = world.start_id(Id::new([number as u8; 16], 1), "hostile", 1, |start| start.input = Some(Bytes::from(order)));
        let request = actor.send("GET /count");
        let Outcome::Error(Some(text)) = actor.stopped() else { panic!("{order}") };
        assert!(text.contains(words), "{order}: {text}");
        assert_eq!(world.engine.answer(request), Answer::Returned);
        assert_eq!(stored(&world, "started/").len(), 0);
    }
}

#[test]
fn an_alarm_is_gone_when_its_message_is_durable() {
    let world = World::new();
    let actor = world.actor("hostile");
    assert_eq!(actor.text("POST /alarm?at_ms=100"), "ok");
    assert_eq!(actor.text("GET /alarm-get"), "100");
    // An alarm that was replaced meanwhile is not fired.
    actor.alarm(99, 1);
    assert_eq!(stored(&world, "fired/").len(), 0);
    actor.alarm(100, 1);
    world.engine.wait("the alarm's commit", |seen| seen.commits.iter().find(|commit| commit.fired_ms == Some(100)).map(drop));
    assert_eq!(stored(&world, "fired/"), ["attempt=1 scheduled=100"]);
    assert_eq!(actor.text("GET /alarm-get"), "none");
    assert_eq!(world.engine.seen().alarm_ms, None);
    assert_eq!(actor.text("POST /alarm?at_ms=7"), "ok");
    assert_eq!(actor.text("POST /alarm-clear"), "ok");
    assert_eq!(world.engine.seen().commits.last().map(|commit| commit.alarm), Some(AlarmChange::Clear));
}

#[test]
fn an_alarm_that_is_refused_stays_and_its_writes_do_not() {
    let world = World::new();
    let actor = world.start("hostile", 1, |start| {
        start.input = Some(Bytes::from_static(b"alarm-error:1"));
        start.alarm_ms = Some(50);
    });
    actor.until(Event::Running);
    assert_eq!(actor.text("GET /alarm-get"), "50");
    actor.alarm(50, 1);
    let failed =
        world.engine.wait("the commit of a failure", |seen| seen.commits.iter().find(|commit| commit.alarm_failed).cloned());
    assert_eq!((failed.fired_ms, failed.alarm, failed.changes.len()), (Some(50), AlarmChange::Keep, 0));
    assert_eq!(actor.text("GET /alarm-get"), "50");
    assert_eq!(actor.text("GET /count"), "1", "the instance lives on");
    actor.alarm(50, 2);
    assert_eq!(actor.text("GET /alarm-get"), "none");
    assert_eq!(stored(&world, "fired/"), ["attempt=2 scheduled=50"]);
}

#[test]
fn an_alarm_that_traps_commits_nothing() {
    let world = World::new();
    let actor = world.start("hostile", 1, |start| {
        start.input = Some(Bytes::from_static(b"alarm-panic"));
        start.alarm_ms = Some(50);
    });
    actor.until(Event::Running);
    actor.alarm(50, 1);
    assert!(matches!(actor.stopped(), Outcome::Error(Some(text)) if text.contains("alarm handler")));
    assert!(world.engine.seen().commits.iter().all(|commit| commit.fired_ms.is_none()));
}

#[test]
fn an_alarm_without_a_handler_is_done() {
    let world = World::new();
    let actor = world.start("counter", 1, |start| start.alarm_ms = Some(5));
    actor.until(Event::Running);
    actor.alarm(5, 1);
    world
        .engine
        .wait("its commit", |seen| seen.commits.iter().find(|commit| commit.fired_ms == Some(5) && !commit.alarm_failed).map(drop));
    assert_eq!(counter_line(&world), 1);
}

fn counter_line(world: &World) -> usize {
    world.engine.wait("a line", |seen| {
        Some(seen.lines.iter().filter(|line| line.contains("no alarm-handler")).count()).filter(|count| *count > 0)
    })
}

#[test]
fn wishes_are_told_once_and_the_actor_goes_on_until_it_is_stopped() {
    let world = World::new();
    let actor = world.actor("hostile");
    assert_eq!(actor.text("POST /sleep"), "ok");
    actor.until(Event::SleepIntent);
    assert_eq!(actor.text("POST /destroy"), "ok");
    actor.until(Event::StopIntent);
    assert_eq!(actor.text("GET /count"), "1");
    actor.stop(StopReason::Sleep);
    assert_eq!(actor.stopped(), Outcome::Ok);
    assert_eq!(actor.events(), [Event::Running, Event::SleepIntent, Event::StopIntent, Event::Stopped(Outcome::Ok)]);
    assert_eq!(stored(&world, "stopped/"), ["sleep"]);
}

#[test]
fn an_idle_actor_wishes_to_sleep_once() {
    let world = World::with(Arc::new(tempfile::tempdir().expect("a folder")), |config| config.idle_before_sleep_ms = 30);
    let actor = world.actor("counter");
    actor.until(Event::SleepIntent);
    std::thread::sleep(std::time::Duration::from_millis(150));
    assert_eq!(actor.events(), [Event::Running, Event::SleepIntent]);
}

#[test]
fn a_stop_is_in_line_and_a_destruction_is_not() {
    let world = World::with(Arc::new(tempfile::tempdir().expect("a folder")), |config| config.cpu_per_message_ms = 10_000);
    for (number, reason, said) in
        [(1, StopReason::Stop, "destroy"), (2, StopReason::GoingAway, "going-away"), (3, StopReason::Destroy, "destroy")]
    {
        let actor = world.start_id(Id::new([number; 16], 1), "hostile", 1, |_| {});
        actor.until(Event::Running);
        let busy = actor.send("GET /spin?iterations=100000000");
        // It must have begun: a destruction drops what has not.
        std::thread::sleep(std::time::Duration::from_millis(20));
        let queued = actor.send("GET /count");
        actor.stop(reason);
        assert_eq!(actor.stopped(), Outcome::Ok);
        assert!(matches!(world.engine.answer(busy), Answer::Response(200, _)), "{reason:?}");
        match (reason, world.engine.answer(queued)) {
            (StopReason::Destroy, Answer::Abort(failure)) => assert_eq!(failure.kind, FailureKind::Stopped),
            (StopReason::Destroy, other) => panic!("{other:?}"),
            (_, answer) => assert_eq!(answer, Answer::Response(200, "1".to_string())),
        }
        assert_eq!(stored(&world, "stopped/").last().map(String::as_str), Some(said));
    }
}

#[test]
fn a_stop_handler_that_traps_is_an_error() {
    let world = World::new();
    let actor = world.start("hostile", 1, |start| start.input = Some(Bytes::from_static(b"stop-panic")));
    actor.until(Event::Running);
    actor.stop(StopReason::Sleep);
    assert!(matches!(actor.stopped(), Outcome::Error(Some(text)) if text.contains("stop handler")));
    assert_eq!(stored(&world, "stopped/").len(), 0);
}

#[test]
fn an_actor_that_is_given_up_falls_silent() {
    let world = World::new();
    let actor = world.actor("hostile");
    let request = actor.send("GET /loop");
    let queued = actor.send("GET /count");
    std::thread::sleep(std::time::Duration::from_millis(50));
    actor.stop(StopReason::Lost);
    let left = || {
        let metrics = world.runner.metrics();
        (metrics.actors, metrics.memory_bytes, metrics.requests, metrics.slept_for_room)
    };
    world.engine.wait("an empty runner", |_| (left() == (0, 0, 0, 0)).then_some(()));
    assert!(!world.engine.is_answered(request) && !world.engine.is_answered(queued));
    assert_eq!(actor.events(), [Event::Running]);
    // A newer generation takes its place.
    let next = world.start_id(actor.actor, "hostile", 2, |_| {});
    next.until(Event::Running);
    assert_eq!(actor.ask("GET /count"), Answer::Returned);
    assert_eq!(next.text("GET /count"), "1");
}

#[test]
fn a_runner_that_is_dropped_drops_its_actors() {
    let world = World::new();
    world.actor("counter");
    world.shut_down();
}
