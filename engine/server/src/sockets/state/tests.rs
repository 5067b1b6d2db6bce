//! What follows from what happens, as scripts: a line is an event, and what it leads to stands behind it.

use expect_test::{Expect, expect};
use protocol::id::Id;
use protocol::limits::SOCKET_UNACKED_MESSAGES_MAX;
use protocol::message::Failure;

use super::*;

fn machine() -> Machine {
    Machine::new(HeaderValue::from_static("ray"))
}

fn check(script: &str, expected: Expect) {
    let mut machine = machine();
    let mut now_ms = 0;
    let mut told = String::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(moment) = line.strip_prefix("at ") {
            now_ms = moment.parse().expect("a moment");
            machine.handle(now_ms, Event::Tick);
        } else {
            machine.handle(now_ms, event(line));
        }
        let acts: Vec<String> = std::iter::from_fn(|| machine.poll_act()).map(|act| shown(&act)).collect();
        told.push_str(&format!("{line}: {}\n", acts.join(", ")).replace(": \n", "\n"));
    }
    expected.assert_eq(&told);
}

fn event(line: &str) -> Event {
    let words: Vec<&str> = line.split(' ').collect();
    let number = |at: usize| words.get(at).and_then(|word| word.parse().ok());
    let text = |at: usize| words.get(at).map(|word| word.to_string());
    let refused = |kind| Refusal::Failed { actor: Id::new([1; 16], 1), failure: Failure { kind, message: String::new() } };
    // A runner's words begin with its number.
    if let Ok(runner) = words[0].parse() {
        let said = match words[1] {
            "opened" => Said::Opened { can_hibernate: words.get(2) == Some(&"hibernating") },
            "says" => Said::Message(Message::text(words[2])),
            "no-text" => Said::NoText,
            "acks" => Said::Ack(number(2).expect("an index")),
            "closes" => Said::Close { code: number(2), reason: text(3), hibernate: false },
            "hibernates" => Said::Close { code: None, reason: None, hibernate: true },
            other => panic!("{other}"),
        };
        return Event::Runner(RunnerId(runner), said);
    }
    match words[0] {
        "dispatch" => Event::Dispatched(RunnerId(number(1).expect("a runner").into())),
        "hold-back" => Event::HoldsBack,
        "hibernate" => Event::Hibernates,
        "stopped" => Event::Refused(refused(FailureKind::Stopped)),
        "refused" => Event::Refused(refused(FailureKind::StartFailed)),
        "destroyed" => Event::Refused(Refusal::ActorNotFound),
        "client" => Event::FromClient { data: Bytes::copy_from_slice(words[1].as_bytes()), binary: false },
        "bye" => Event::ClientCloses { code: number(1), reason: text(2) },
        "lost" => Event::ClientLost,
        "fail" => Event::Fails("ws", "going_away"),
        other => panic!("{other}"),
    }
}

fn shown(act: &Act) -> String {
    match act {
        Act::OpenActor => "ask".to_string(),
        Act::ForgetHead => "accepted".to_string(),
        Act::ToActor(Indexed { index, data, .. }) => format!("-> {index} {}", String::from_utf8_lossy(data)),
        Act::CloseActor { index, code, reason } => {
            format!(
                "-> {index} close {} {}",
                code.map_or("-".to_string(), |code| code.to_string()),
                reason.as_deref().unwrap_or("-")
            )
        }
        Act::ToClient(message) => format!("<- {}", message.to_text().unwrap_or_default()),
        Act::CloseClient(close) => format!("close client {} {}", close.code, close.reason),
        Act::TellCore(word) => format!("core: {word:?}"),
    }
}

#[test]
fn a_socket_is_opened_used_and_closed_by_its_actor() {
    check(
        "client early
         dispatch 1
         client early-too
         1 says nothing-yet
         1 opened
         client a
         1 says b
         1 acks 1
         1 closes 4001 bye
         1 says late
         client late
         lost",
        expect![[r#"
            client early
            dispatch 1: ask
            client early-too
            1 says nothing-yet
            1 opened: accepted, -> 1 early, -> 2 early-too
            client a: -> 3 a
            1 says b: <- b
            1 acks 1
            1 closes 4001 bye: close client 4001 bye, core: Ended
            1 says late
            client late
            lost
        "#]],
    );
}

#[test]
fn a_socket_that_came_too_late_for_a_generation_goes_to_the_next() {
    check(
        "client early
         dispatch 1
         1 closes 1011 envoy.actor_generation_mismatch
         client early-too
         at 20000
         dispatch 2
         2 closes 1011 envoy.actor_not_found
         dispatch 2
         2 opened
         2 closes 1011 envoy.actor_not_found",
        expect![[r#"
            client early
            dispatch 1: ask
            1 closes 1011 envoy.actor_generation_mismatch
            client early-too
            at 20000
            dispatch 2: ask
            2 closes 1011 envoy.actor_not_found
            dispatch 2: ask
            2 opened: accepted, -> 1 early, -> 2 early-too
            2 closes 1011 envoy.actor_not_found: close client 1011 envoy.actor_not_found, core: Ended
        "#]],
    );
    check(
        "dispatch 1
         1 closes 1011 envoy.actor_not_found
         bye",
        expect![[r#"
            dispatch 1: ask
            1 closes 1011 envoy.actor_not_found
            bye: core: Aborted
        "#]],
    );
}

#[test]
fn what_is_said_to_an_actor_that_stops_waits_for_its_next_generation() {
    check(
        "dispatch 1
         1 opened hibernating
         client a
         hold-back
         client b
         1 says echo-a
         1 acks 1
         hibernate
         dispatch 2
         client c
         hold-back
         hibernate
         dispatch 2",
        expect![[r#"
            dispatch 1: ask
            1 opened hibernating: accepted
            client a: -> 1 a
            hold-back
            client b
            1 says echo-a: <- echo-a
            1 acks 1
            hibernate: core: Wakes
            dispatch 2: -> 2 b
            client c: -> 3 c
            hold-back
            hibernate: core: Wakes
            dispatch 2: -> 2 b, -> 3 c
        "#]],
    );
    // The client leaves before the actor has stopped; one that cannot hibernate has no next generation.
    check(
        "dispatch 1
         1 opened hibernating
         hold-back
         client a
         bye 4000 enough",
        expect![[r#"
            dispatch 1: ask
            1 opened hibernating: accepted
            hold-back
            client a
            bye 4000 enough: -> 1 a, -> 2 close 4000 enough, core: Aborted
        "#]],
    );
    check(
        "dispatch 1
         1 opened
         hold-back
         client a",
        expect![[r#"
            dispatch 1: ask
            1 opened: accepted
            hold-back
            client a: -> 1 a
        "#]],
    );
}

#[test]
fn the_clients_close_reaches_the_actor_as_it_was() {
    check(
        "dispatch 1
         1 opened
         bye 4002 enough",
        expect![[r#"
            dispatch 1: ask
            1 opened: accepted
            bye 4002 enough: -> 1 close 4002 enough, core: Aborted
        "#]],
    );
    check(
        "dispatch 1
         1 opened hibernating
         bye",
        expect![[r#"
            dispatch 1: ask
            1 opened hibernating: accepted
            bye: -> 1 close - -, core: Aborted
        "#]],
    );
    check(
        "dispatch 1
         lost",
        expect![[r#"
            dispatch 1: ask
            lost: -> 1 close 1011 ws.downstream_closed, core: Aborted
        "#]],
    );
    check("lost", expect!["lost: core: Aborted\n"]);
}

#[test]
fn an_actor_that_does_not_want_it() {
    let rows = [
        ("1 closes", expect!["dispatch 1: ask\n1 closes: close client 1011 guard.websocket_closed_before_open#ray, core: Ended\n"]),
        ("1 closes 4000 no", expect!["dispatch 1: ask\n1 closes 4000 no: close client 4000 no, core: Ended\n"]),
        (
            "1 hibernates",
            expect!["dispatch 1: ask\n1 hibernates: close client 1011 guard.websocket_closed_before_open#ray, core: Ended\n"],
        ),
        (
            "at 14999\nat 15000",
            expect![[r#"
                dispatch 1: ask
                at 14999
                at 15000: -> 1 close 1011 guard.websocket_open_timeout#ray, close client 1011 guard.websocket_open_timeout#ray, core: Aborted
            "#]],
        ),
        (
            "stopped",
            expect![[r#"
                dispatch 1: ask
                stopped: -> 1 close 1000 -, close client 1011 guard.actor_stopped_while_waiting_for_websocket_open#ray
            "#]],
        ),
        ("refused", expect!["dispatch 1: ask\nrefused: -> 1 close 1000 -, close client 1011 actor.start_failed#ray\n"]),
    ];
    for (happens, expected) in rows {
        check(&format!("dispatch 1\n{happens}"), expected);
    }
    check("destroyed", expect!["destroyed: close client 1011 actor.not_found#ray\n"]);
}

#[test]
fn a_runners_close_without_code_or_with_one_that_cannot_be_sent() {
    let rows = [
        ("closes", "1000 ws.closed"),
        ("closes 1000", "1000 "),
        ("closes 1005 x", "1011 x"),
        ("closes 1006 x", "1011 x"),
        ("closes 0 x", "1011 x"),
        ("closes 2999 x", "1011 x"),
        ("closes 3000 x", "3000 x"),
        ("closes 5000 x", "1011 x"),
        // It said that it cannot.
        ("hibernates", "1000 ws.closed"),
    ];
    for (says, closed) in rows {
        let mut machine = machine();
        for line in ["dispatch 1", "1 opened", &format!("1 {says}")] {
            machine.handle(0, event(line));
        }
        let acts: Vec<String> = std::iter::from_fn(|| machine.poll_act()).map(|act| shown(&act)).collect();
        assert_eq!(acts[2..], [format!("close client {closed}"), "core: Ended".to_string()], "{says}");
    }
}

#[test]
fn only_the_runner_that_has_the_socket_is_heard() {
    check(
        "2 closes 4000
         dispatch 1
         2 opened hibernating
         2 closes 4000
         1 opened hibernating
         1 opened
         2 says x
         2 closes 4000
         2 acks 1
         dispatch 2
         1 says old
         1 closes 4000
         2 says new",
        expect![[r#"
            2 closes 4000
            dispatch 1: ask
            2 opened hibernating
            2 closes 4000
            1 opened hibernating: accepted
            1 opened
            2 says x
            2 closes 4000
            2 acks 1
            dispatch 2
            1 says old
            1 closes 4000
            2 says new: <- new
        "#]],
    );
}

#[test]
fn a_request_that_is_given_back_unopened_is_asked_again() {
    check(
        "dispatch 1
         client a
         at 10000
         dispatch 2
         at 15000
         1 opened
         2 opened
         1 says x",
        expect![[r#"
            dispatch 1: ask
            client a
            at 10000
            dispatch 2: ask
            at 15000
            1 opened
            2 opened: accepted, -> 1 a
            1 says x
        "#]],
    );
}

#[test]
fn what_was_not_acked_is_sent_again_under_its_index() {
    check(
        "dispatch 1
         1 opened hibernating
         client a
         client b
         client c
         1 acks 1
         hibernate
         client d
         dispatch 2
         2 acks 4
         hibernate
         client e
         client f
         dispatch 2",
        expect![[r#"
            dispatch 1: ask
            1 opened hibernating: accepted
            client a: -> 1 a
            client b: -> 2 b
            client c: -> 3 c
            1 acks 1
            hibernate: core: Wakes
            client d
            dispatch 2: -> 2 b, -> 3 c, -> 4 d
            2 acks 4
            hibernate
            client e: core: Wakes
            client f
            dispatch 2: -> 5 e, -> 6 f
        "#]],
    );
}

#[test]
fn an_actor_may_announce_that_its_socket_sleeps() {
    check(
        "dispatch 1
         1 opened hibernating
         client a
         1 acks 1
         1 hibernates
         client b
         hibernate
         hibernate
         dispatch 1
         1 acks 2
         1 hibernates
         1 says awake-after-all
         client c",
        expect![[r#"
            dispatch 1: ask
            1 opened hibernating: accepted
            client a: -> 1 a
            1 acks 1
            1 hibernates
            client b: -> 2 b
            hibernate: core: Wakes
            hibernate: core: Wakes
            dispatch 1: -> 2 b
            1 acks 2
            1 hibernates
            1 says awake-after-all: <- awake-after-all
            client c: -> 3 c
        "#]],
    );
}

#[test]
fn an_actor_may_speak_before_the_core_knows_that_it_runs() {
    check(
        "dispatch 1
         1 opened hibernating
         hibernate
         2 opened hibernating
         2 says welcome-back
         3 says not-mine
         2 says really
         dispatch 2
         hibernate
         2 closes 1000 ws.meta_not_found_during_restore
         dispatch 2",
        expect![[r#"
            dispatch 1: ask
            1 opened hibernating: accepted
            hibernate
            2 opened hibernating
            2 says welcome-back
            3 says not-mine
            2 says really
            dispatch 2: <- welcome-back, <- really
            hibernate
            2 closes 1000 ws.meta_not_found_during_restore
            dispatch 2: close client 1000 ws.meta_not_found_during_restore, core: Ended
        "#]],
    );
}

#[test]
fn an_actor_that_stops_or_is_destroyed() {
    let rows = [
        ("1 opened\nstopped", "stopped: -> 1 close 1000 -, close client 1000 actor.stopped"),
        ("1 opened\nhibernate", "hibernate: -> 1 close 1000 actor.stopped, close client 1000 actor.stopped, core: Aborted"),
        ("1 opened\ndispatch 2", "dispatch 2: -> 1 close 1000 actor.stopped, close client 1000 actor.stopped, core: Aborted"),
        ("1 opened\ndestroyed", "destroyed: -> 1 close 1000 -, close client 1000 actor.destroyed_while_connected"),
        ("1 opened hibernating\nhibernate\ndestroyed", "destroyed: close client 1000 actor.destroyed_while_connected"),
        ("1 opened hibernating\nhibernate\nclient a\nstopped", "stopped: close client 1000 actor.stopped"),
        ("1 opened hibernating\nhibernate\nclient a\nrefused", "refused: close client 1011 actor.start_failed#ray"),
    ];
    for (happens, last) in rows {
        let mut machine = machine();
        let mut told = String::new();
        for line in format!("dispatch 1\n{happens}").lines() {
            machine.handle(0, event(line));
            let acts: Vec<String> = std::iter::from_fn(|| machine.poll_act()).map(|act| shown(&act)).collect();
            told = format!("{line}: {}", acts.join(", "));
        }
        assert_eq!(told, last, "{happens}");
        assert!(machine.is_over());
    }
}

#[test]
fn a_client_that_leaves_a_sleeping_actor_wakes_it_to_be_told() {
    check(
        "dispatch 1
         1 opened hibernating
         hibernate
         bye 4003 gone
         1 says to-nobody
         dispatch 2",
        expect![[r#"
            dispatch 1: ask
            1 opened hibernating: accepted
            hibernate
            bye 4003 gone: core: Wakes
            1 says to-nobody
            dispatch 2: -> 1 close 4003 gone, core: Aborted
        "#]],
    );
    check(
        "dispatch 1
         1 opened hibernating
         client a
         hibernate
         lost
         dispatch 1",
        expect![[r#"
            dispatch 1: ask
            1 opened hibernating: accepted
            client a: -> 1 a
            hibernate: core: Wakes
            lost
            dispatch 1: -> 1 a, -> 2 close 1011 ws.downstream_closed, core: Aborted
        "#]],
    );
    check(
        "dispatch 1
         1 opened hibernating
         hibernate
         bye
         at 34999
         at 35000",
        expect![[r#"
            dispatch 1: ask
            1 opened hibernating: accepted
            hibernate
            bye: core: Wakes
            at 34999
            at 35000: core: Aborted
        "#]],
    );
    check(
        "dispatch 1
         1 opened hibernating
         hibernate
         bye
         destroyed",
        expect![[r#"
            dispatch 1: ask
            1 opened hibernating: accepted
            hibernate
            bye: core: Wakes
            destroyed
        "#]],
    );
}

#[test]
fn an_actor_that_acks_nothing_loses_its_clients() {
    check(
        "dispatch 1
         1 opened hibernating
         at 1000
         client a
         at 20000
         client b
         1 acks 1
         at 49999
         at 50000",
        expect![[r#"
            dispatch 1: ask
            1 opened hibernating: accepted
            at 1000
            client a: -> 1 a
            at 20000
            client b: -> 2 b
            1 acks 1
            at 49999
            at 50000: -> 3 close 1011 guard.websocket_garbage_collected#ray, close client 1011 guard.websocket_garbage_collected#ray, core: Aborted
        "#]],
    );
    // Asleep, or not able to hibernate: nothing is waited for.
    check(
        "dispatch 1
         1 opened hibernating
         client a
         hibernate
         at 100000
         dispatch 2
         at 129999
         2 acks 1
         at 200000",
        expect![[r#"
            dispatch 1: ask
            1 opened hibernating: accepted
            client a: -> 1 a
            hibernate: core: Wakes
            at 100000
            dispatch 2: -> 1 a
            at 129999
            2 acks 1
            at 200000
        "#]],
    );
    check(
        "dispatch 1
         1 opened
         client a
         at 100000",
        expect![[r#"
            dispatch 1: ask
            1 opened: accepted
            client a: -> 1 a
            at 100000
        "#]],
    );
}

#[test]
fn the_server_ends_it_in_every_state() {
    let going = "close client 1011 ws.going_away#ray";
    let both = format!("-> 1 close 1011 ws.going_away#ray, {going}, core: Aborted");
    let rows = [
        ("", format!("{going}, core: Aborted")),
        ("dispatch 1", both.clone()),
        ("dispatch 1\n1 opened", both.clone()),
        ("dispatch 1\n1 opened hibernating", both),
        ("dispatch 1\n1 opened hibernating\nhibernate", format!("{going}, core: Aborted")),
        ("dispatch 1\n1 opened hibernating\nhibernate\nbye", "core: Aborted".to_string()),
        ("lost", String::new()),
    ];
    for (before, expected) in rows {
        let mut machine = machine();
        before.lines().for_each(|line| machine.handle(0, event(line)));
        while machine.poll_act().is_some() {}
        machine.handle(0, event("fail"));
        let acts: Vec<String> = std::iter::from_fn(|| machine.poll_act()).map(|act| shown(&act)).collect();
        assert_eq!(acts.join(", "), expected, "{before}");
        assert!(machine.is_over());
        assert_eq!((machine.due_ms(), machine.reads(), machine.held_bytes()), (None, false, 0));
    }
}

#[test]
fn a_text_that_is_none_ends_it() {
    check(
        "dispatch 1
         1 opened
         1 no-text",
        expect![[r#"
            dispatch 1: ask
            1 opened: accepted
            1 no-text: -> 1 close 1011 ws.invalid_packet#ray, close client 1011 ws.invalid_packet#ray, core: Aborted
        "#]],
    );
}

#[test]
fn more_messages_than_there_are_indices_are_too_many() {
    let mut machine = machine();
    for line in ["dispatch 1", "1 opened hibernating", "hibernate"] {
        machine.handle(0, event(line));
    }
    for _ in 0..SOCKET_UNACKED_MESSAGES_MAX {
        machine.handle(0, event("client x"));
    }
    assert!(!machine.is_over());
    while machine.poll_act().is_some() {}
    machine.handle(0, event("client x"));
    let acts: Vec<String> = std::iter::from_fn(|| machine.poll_act()).map(|act| shown(&act)).collect();
    assert_eq!(acts, ["close client 1011 guard.websocket_pending_limit_reached#ray", "core: Aborted"]);
}

#[test]
fn nothing_is_read_ahead_of_an_actor_beyond_a_bound() {
    let mut machine = machine();
    let large = || Event::FromClient { data: Bytes::from(vec![0; READ_AHEAD_BYTES]), binary: true };
    assert!(machine.reads());
    machine.handle(0, large());
    assert!(!machine.reads());
    machine.handle(0, event("dispatch 1"));
    assert!(!machine.reads());
    machine.handle(0, event("1 opened hibernating"));
    assert!(machine.reads());
    machine.handle(0, event("hibernate"));
    machine.handle(0, large());
    assert!(machine.reads(), "pings and a close are to be noticed");
}

#[test]
fn what_a_starting_actor_says_is_kept_up_to_a_bound() {
    let mut machine = machine();
    for line in ["dispatch 1", "1 opened hibernating", "hibernate"] {
        machine.handle(0, event(line));
    }
    let says = || Event::Runner(RunnerId(2), Said::Message(Message::binary(vec![0; EARLY_BYTES_MAX / 2])));
    machine.handle(0, says());
    assert!(machine.held_bytes() > EARLY_BYTES_MAX / 2 && !machine.is_over());
    machine.handle(0, says());
    assert!(machine.is_over());
    assert_eq!(machine.held_bytes(), 0);
}
