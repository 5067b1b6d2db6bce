//! One message is one transaction, and nothing leaves before it is durable.

use protocol::message::{Event, Outcome, StopReason};

use crate::engine::{Answer, World};

#[test]
fn a_counter_counts_and_reads_its_own_writes() {
    let world = World::new();
    let counter = world.actor("counter");
    assert_eq!(counter.text("GET /"), "0\n");
    for count in 1..=5 {
        assert_eq!(counter.text("POST /increment"), format!("{count}\n"));
    }
    assert_eq!(counter.text("POST /increment?by=10"), "15\n");
    let seen = world.engine.seen();
    assert_eq!((seen.commits.len(), seen.reads), (6, 1), "one commit per write, and only the first read asks the engine");
    assert_eq!(seen.stored.get(&b"count"[..]).map(|value| value.to_vec()), Some(15u64.to_le_bytes().to_vec()));
}

#[test]
fn a_response_waits_for_its_commit_and_for_those_before_it() {
    let world = World::new();
    let counter = world.actor("counter");
    world.engine.hold();
    // The second runs on what the first wrote, before that is durable; the third wrote nothing, and saw what the second wrote.
    let requests = ["POST /increment", "POST /increment", "GET /"].map(|line| counter.send(line));
    world.engine.wait("two commits", |seen| (seen.commits.len() == 2).then_some(()));
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert!(requests.iter().all(|request| !world.engine.is_answered(*request)));
    world.engine.release();
    let answers = requests.map(|request| world.engine.answer(request));
    assert_eq!(answers, ["1\n", "2\n", "2\n"].map(|body| Answer::Response(200, body.to_string())));
}

#[test]
fn a_message_that_writes_nothing_commits_nothing() {
    let world = World::new();
    let counter = world.actor("counter");
    assert_eq!(counter.text("GET /"), "0\n");
    assert_eq!(world.engine.seen().commits.len(), 0);
}

#[test]
fn more_messages_than_may_be_in_flight_wait_and_then_all_are_answered() {
    let world = World::new();
    let counter = world.actor("counter");
    world.engine.hold();
    let requests: Vec<_> = (0..200).map(|_| counter.send("POST /increment")).collect();
    let in_flight = protocol::limits::COMMITS_IN_FLIGHT_PER_ACTOR_MAX;
    world.engine.wait("a full pipeline", |seen| (seen.commits.len() == in_flight).then_some(()));
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert_eq!(world.engine.seen().commits.len(), in_flight);
    world.engine.release();
    for (count, request) in requests.into_iter().enumerate() {
        assert_eq!(world.engine.answer(request), Answer::Response(200, format!("{}\n", count + 1)));
    }
}

#[test]
fn a_list_sees_stored_pending_and_own_writes() {
    let world = World::new();
    let actor = world.actor("hostile");
    for key in ["a", "b", "d"] {
        actor.text(&format!("POST /put?key={key}&value=stored"));
    }
    world.engine.hold();
    let pending =
        ["POST /put?key=c&value=pending", "POST /delete?key=b", "POST /put?key=d&value=pending"].map(|line| actor.send(line));
    let lists = [
        ("GET /list?start=a&end=e", "a=stored\nc=pending\nd=pending"),
        ("GET /list?start=a&end=e&reverse=1&limit=2", "d=pending\nc=pending"),
        ("GET /list?start=b&end=d", "c=pending"),
        ("GET /list?start=e&end=a", ""),
        ("GET /list-limit-max?prefix=c&keys_only=1", "c="),
    ];
    let lists = lists.map(|(line, lines)| (actor.send(line), lines));
    world.engine.wait("three more commits", |seen| (seen.commits.len() >= 6).then_some(()));
    world.engine.release();
    assert!(pending.iter().all(|request| world.engine.answer(*request) == Answer::Response(200, "ok".to_string())));
    for (list, lines) in lists {
        assert_eq!(world.engine.answer(list), Answer::Response(200, lines.to_string()));
    }
}

#[test]
fn limits_are_refused_in_words_and_the_actor_goes_on() {
    let world = World::new();
    let actor = world.actor("hostile");
    let rows = [
        ("POST /put-key-bytes?n=2046", 200, ""),
        ("POST /put-key-bytes?n=2047", 409, "2046"),
        ("POST /put-value-bytes?n=131072", 200, ""),
        ("POST /put-value-bytes?n=131073", 409, "131072"),
        ("POST /put-many?n=16384&bytes=1", 200, ""),
        ("POST /put-many?n=16385&bytes=1", 409, "16384"),
        ("POST /put-many?n=10&bytes=100000", 409, "999424"),
    ];
    for (line, status, number) in rows {
        let Answer::Response(got, body) = actor.ask(line) else { panic!("{line}") };
        assert_eq!(got, status, "{line}: {body}");
        assert!(body.contains(number), "{line}: {body}");
    }
}

#[test]
fn a_stop_waits_for_what_is_not_durable() {
    let world = World::new();
    let counter = world.actor("counter");
    world.engine.hold();
    let request = counter.send("POST /increment");
    counter.stop(StopReason::Sleep);
    let late = counter.send("POST /increment");
    world.engine.wait("a commit", |seen| seen.commits.first().map(drop));
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert_eq!(counter.events(), [Event::Running]);
    world.engine.release();
    assert_eq!(counter.stopped(), Outcome::Ok);
    assert_eq!(world.engine.answer(request), Answer::Response(200, "1\n".to_string()));
    assert_eq!(world.engine.answer(late), Answer::Returned);
    // After its end it is nobody's any more.
    assert_eq!(counter.ask("GET /"), Answer::Returned);
    assert_eq!(world.runner.metrics().requests, 0);
}
