//! Guests that misbehave: what they wrote is dropped, the caller is told why, nobody else notices.

use protocol::message::{Event, FailureKind, Outcome, StartReason};

use crate::engine::{Answer, World};

const MIB: usize = 1024 * 1024;

fn world() -> World {
    World::with(std::sync::Arc::new(tempfile::tempdir().expect("a folder")), |config| {
        config.cpu_per_message_ms = 300;
        config.memory_per_actor_bytes = 32 * MIB;
    })
}

#[test]
fn every_bad_end_has_its_kind_and_spares_the_neighbour() {
    let world = world();
    let neighbour = world.start_id(protocol::id::Id::new([200; 16], 1), "counter", 1, |_| {});
    neighbour.until(Event::Running);
    let rows = [
        ("GET /panic", FailureKind::Trapped, "panicked"),
        ("GET /unreachable", FailureKind::Trapped, "panicked or aborted"),
        ("POST /write-then-panic?key=k", FailureKind::Trapped, "panicked"),
        ("POST /alarm-then-panic?at_ms=5", FailureKind::Trapped, "panicked"),
        ("GET /loop", FailureKind::CpuTimeExceeded, "300 ms"),
        ("POST /write-then-loop?key=k", FailureKind::CpuTimeExceeded, "300 ms"),
        ("GET /bomb", FailureKind::MemoryExceeded, "33554432 bytes"),
        ("GET /stack", FailureKind::StackOverflow, "stack"),
        ("GET /stack-memory", FailureKind::StackOverflow, "stack"),
        ("GET /garbage-status", FailureKind::HandlerError, "0 is not the status"),
        ("GET /garbage-status-9999", FailureKind::HandlerError, "9999 is not the status"),
        ("GET /status?code=101", FailureKind::HandlerError, "101 is not the status"),
        ("GET /garbage-header", FailureKind::HandlerError, "\"not a name\" is not"),
        ("GET /header?name=x-name&value=a%0d%0ab", FailureKind::HandlerError, "x-name"),
        ("GET /many-headers?n=20000", FailureKind::HandlerError, "at most 256"),
        ("GET /huge-response?bytes=20971521", FailureKind::HandlerError, "at most 20971520"),
        ("GET /random?bytes=100000000", FailureKind::Trapped, ""),
    ];
    for (number, (line, kind, words)) in rows.into_iter().enumerate() {
        let actor = world.start_id(protocol::id::Id::new([number as u8; 16], 1), "hostile", 1, |_| {});
        actor.until(Event::Running);
        let commits = world.engine.seen().commits.len();
        let failure = actor.failure(line);
        assert_eq!(failure.kind, kind, "{line}: {failure:?}");
        assert!(failure.message.contains(words), "{line}: {}", failure.message);
        let Outcome::Error(Some(text)) = actor.stopped() else { panic!("{line}") };
        assert!(text.contains(words), "{line}: {text}");
        assert_eq!(world.engine.seen().commits.len(), commits, "{line}");
        assert_eq!(neighbour.text("GET /"), "0\n");
    }
    let seen = world.engine.seen();
    assert!(!seen.stored.contains_key(&b"k"[..]));
    assert_eq!(seen.alarm_ms, None);
    assert!(seen.lines.iter().any(|line| line.contains("told to panic")), "a panic's text is in the log");
    assert!(seen.lines.iter().any(|line| line.contains("\n  in ")), "a trap's functions are in the log");
    drop(seen);
    assert_eq!(world.runner.metrics().actors, 1);
}

#[test]
fn answers_before_a_trap_leave_and_those_behind_it_go_back() {
    let world = world();
    let actor = world.actor("hostile");
    world.engine.hold();
    let lines = ["POST /put?key=a&value=1", "POST /write-then-panic?key=b", "POST /put?key=c&value=1"];
    let [before, trap, behind] = lines.map(|line| actor.send(line));
    std::thread::sleep(std::time::Duration::from_millis(100));
    // Not even the failure may be seen: it depends on what the first wrote.
    assert!([before, trap, behind].iter().all(|request| !world.engine.is_answered(*request)));
    assert_eq!(actor.events(), [Event::Running]);
    world.engine.release();
    assert_eq!(world.engine.answer(before), Answer::Response(200, "ok".to_string()));
    assert!(matches!(world.engine.answer(trap), Answer::Abort(failure) if failure.kind == FailureKind::Trapped));
    assert_eq!(world.engine.answer(behind), Answer::Returned);
    assert!(matches!(actor.stopped(), Outcome::Error(Some(_))));

    let again = world.start_id(actor.actor, "hostile", 2, |start| start.reason = StartReason::Restarted);
    again.until(Event::Running);
    assert_eq!(again.text("GET /get?key=a"), "1");
    assert_eq!(again.ask("GET /get?key=b"), Answer::Response(404, "no such key".to_string()));
    assert_eq!(again.text("GET /count"), "1", "the memory is a new one");
}

#[test]
fn a_guest_sees_nothing_of_the_machine() {
    let world = world();
    let actor = world.actor("hostile");
    let machine = actor.text("GET /fs");
    assert!(machine.starts_with("0 folders, 0 variables, 0 arguments;") && !machine.contains("bytes"), "{machine}");
}

#[test]
fn what_is_logged_is_bounded() {
    let world = world();
    let actor = world.actor("hostile");
    actor.text("POST /log?n=5000&bytes=10");
    actor.text("POST /log?n=1&bytes=100000");
    world.engine.wait("the last line", |seen| seen.lines.iter().find(|line| line.contains("cut")).cloned());
    let seen = world.engine.seen();
    assert_eq!(seen.lines.iter().filter(|line| *line == "llllllllll").count(), 1000);
    assert!(seen.lines.iter().any(|line| line.starts_with("4000 more lines were dropped")));
    assert!(seen.lines.iter().all(|line| line.len() <= protocol::limits::LOG_LINE_BYTES_MAX));
}

#[test]
fn time_that_passes_elsewhere_is_not_the_guests() {
    let world = world();
    let busy: Vec<_> = (0..3).map(|number| world.start_id(protocol::id::Id::new([number; 16], 1), "hostile", 1, |_| {})).collect();
    for actor in &busy {
        actor.until(Event::Running);
    }
    // More loops than threads, and still a neighbour answers.
    let loops: Vec<_> = busy.iter().map(|actor| actor.send("GET /loop")).collect();
    let neighbour = world.start_id(protocol::id::Id::new([200; 16], 1), "counter", 1, |_| {});
    neighbour.until(Event::Running);
    assert_eq!(neighbour.text("GET /"), "0\n");
    for request in loops {
        assert!(matches!(world.engine.answer(request), Answer::Abort(failure) if failure.kind == FailureKind::CpuTimeExceeded));
    }
}
