//! Bodies in pieces, both ways, whole handlers and streaming ones.

use std::time::Duration;

use bytes::Bytes;
use protocol::limits::BODY_WINDOW_BYTES;
use protocol::message::{Event, FailureKind, Outcome, StopReason, ToRunner};

use crate::engine::{Answer, World};

fn chunk(world: &World, request: protocol::id::RequestId, body: &[u8], finish: bool) {
    world.engine.say(ToRunner::RequestChunk { request, body: Bytes::copy_from_slice(body), finish });
}

#[test]
fn a_body_in_pieces_does_not_hold_up_the_actor() {
    let world = World::new();
    let actor = world.actor("hostile");
    let slow = actor.send_body("POST /echo", b"one ", true);
    assert_eq!(actor.text("GET /count"), "1");
    chunk(&world, slow, b"two ", false);
    world.engine.wait("credit", |seen| seen.windows.get(&slow).filter(|consumed| **consumed == 8).map(drop));
    chunk(&world, slow, b"three", true);
    assert_eq!(world.engine.answer(slow), Answer::Response(200, "one two three".to_string()));
    // All of it was there before its turn came.
    let quick = actor.send_body("POST /echo", b"", true);
    chunk(&world, quick, b"all", true);
    assert_eq!(world.engine.answer(quick), Answer::Response(200, "all".to_string()));
}

#[test]
fn a_large_response_is_streamed_as_the_credit_allows() {
    let world = World::new();
    let actor = world.actor("hostile");
    world.engine.seen().starve = true;
    let large = actor.send("GET /huge-response?bytes=1000000");
    let window = BODY_WINDOW_BYTES as usize;
    world.engine.stream(large, window);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(world.engine.stream(large, window).len(), window);
    // The actor is not held up by whoever reads slowly.
    assert_eq!(actor.text("GET /count"), "1");
    // Credit for more than was sent is credit for what was sent.
    for sent in [window, 2 * window, 3 * window] {
        assert_eq!(world.engine.stream(large, sent).len(), sent);
        world.engine.say(ToRunner::ResponseWindow { request: large, consumed_bytes: u64::MAX });
    }
    assert!(matches!(world.engine.answer(large), Answer::Response(200, body) if body.len() == 1_000_000));
}

#[test]
fn a_large_response_leaves_whole_where_it_may_and_counts_until_it_is_gone() {
    const BYTES: usize = 18 * 1024 * 1024;
    let world = World::new();
    let actor = world.actor("hostile");
    world.engine.seen().takes_whole = true;
    let ask = || actor.send(&format!("GET /huge-response?bytes={BYTES}"));
    let is_whole = |answer: &Answer| matches!(answer, Answer::Response(200, body) if body.len() == BYTES);
    for request in [ask(), ask()] {
        assert!(is_whole(&world.engine.answer(request)));
    }
    // As much of one actor as may be on its way.
    let third = ask();
    std::thread::sleep(Duration::from_millis(200));
    assert!(!world.engine.is_answered(third));
    let first = world.engine.seen().bodies.remove(0);
    drop(first);
    assert!(is_whole(&world.engine.answer(third)));
    actor.stop(StopReason::Sleep);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(actor.events(), [Event::Running]);
    let rest = std::mem::take(&mut world.engine.seen().bodies);
    drop(rest);
    assert_eq!(actor.stopped(), Outcome::Ok);
}

#[test]
fn a_wasi_component_answers_and_streams() {
    let world = World::new();
    let actor = world.actor("wasi-http");
    assert_eq!(actor.text("GET /?a=b"), "hello from /?a=b\n");
    assert_eq!(actor.ask("GET /nowhere"), Answer::Response(404, "there is no /nowhere\n".to_string()));
    assert_eq!(actor.text("GET /stream?n=3&every_ms=5"), "line 1\nline 2\nline 3\n");

    let echo = actor.send_body("POST /echo", b"first ", true);
    world.engine.stream(echo, 6);
    chunk(&world, echo, b"second", false);
    assert_eq!(world.engine.stream(echo, 12), "first second");
    chunk(&world, echo, b"!", true);
    assert_eq!(world.engine.answer(echo), Answer::Response(200, "first second!".to_string()));
}

#[test]
fn a_client_that_goes_frees_the_actor() {
    let world = World::new();
    let actor = world.actor("wasi-http");
    let endless = actor.send("GET /stream?n=100000&every_ms=5");
    world.engine.stream(endless, 7);
    let queued = actor.send("GET /");
    world.engine.say(ToRunner::RequestAbort { request: endless });
    assert_eq!(world.engine.answer(queued), Answer::Response(200, "hello from /\n".to_string()));
    // And one that goes while it is still sending.
    let upload = actor.send_body("POST /echo", b"part", true);
    world.engine.stream(upload, 4);
    world.engine.say(ToRunner::RequestAbort { request: upload });
    assert_eq!(actor.text("GET /"), "hello from /\n");
    assert_eq!(world.runner.metrics().requests, 0);
}

#[test]
fn a_request_that_was_taken_back_is_not_begun() {
    let world = World::new();
    let actor = world.actor("hostile");
    let busy = actor.send("GET /spin?iterations=100000000");
    let aborted = actor.send("POST /put?key=never&value=1");
    world.engine.say(ToRunner::RequestAbort { request: aborted });
    world.engine.answer(busy);
    assert_eq!(actor.ask("GET /get?key=never"), Answer::Response(404, "no such key".to_string()));
    assert!(!world.engine.is_answered(aborted));
}

#[test]
fn a_body_that_is_too_large_is_refused() {
    let world = World::with(std::sync::Arc::new(tempfile::tempdir().expect("a folder")), |config| {
        config.memory_per_actor_bytes = 8 * 1024 * 1024;
    });
    let actor = world.actor("hostile");
    let large = actor.send_body("POST /echo", b"", true);
    let piece = vec![b'x'; 64 * 1024];
    for number in 1..=80u64 {
        chunk(&world, large, &piece, number == 80);
        if number < 80 {
            world.engine.wait("credit", |seen| seen.windows.get(&large).filter(|consumed| **consumed >= number * 65_536).map(drop));
        }
    }
    assert!(matches!(world.engine.answer(large), Answer::Abort(failure) if failure.kind == FailureKind::RequestTooLarge));
    assert_eq!(actor.text("GET /count"), "1");
}

#[test]
fn a_sender_that_ignores_its_credit_is_cut_off() {
    let world = World::new();
    let actor = world.actor("hostile");
    let _busy = actor.send("GET /spin?iterations=300000000");
    let flood = actor.send_body("POST /echo", b"", true);
    let piece = vec![b'x'; 64 * 1024];
    for _ in 0..20 {
        chunk(&world, flood, &piece, false);
    }
    assert!(matches!(world.engine.answer(flood), Answer::Abort(failure) if failure.kind == FailureKind::Internal));
}

#[test]
fn a_stop_ends_a_stream_and_what_was_half_taken_does_not_go_back() {
    let world = World::new();
    let actor = world.actor("hostile");
    let half = actor.send_body("POST /echo", b"half", true);
    world.engine.wait("credit", |seen| seen.windows.get(&half).map(drop));
    actor.stop(StopReason::Sleep);
    actor.stopped();
    chunk(&world, half, b" whole", true);
    assert!(matches!(world.engine.answer(half), Answer::Abort(failure) if failure.kind == FailureKind::Stopped));
}

#[test]
fn a_stop_waits_for_a_response_that_is_still_leaving() {
    let world = World::new();
    let actor = world.actor("hostile");
    world.engine.seen().starve = true;
    let large = actor.send("GET /huge-response?bytes=300000");
    world.engine.stream(large, BODY_WINDOW_BYTES as usize);
    actor.stop(StopReason::Sleep);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(actor.events(), [Event::Running]);
    world.engine.say(ToRunner::ResponseWindow { request: large, consumed_bytes: BODY_WINDOW_BYTES });
    assert_eq!(actor.stopped(), Outcome::Ok);
    assert!(matches!(world.engine.answer(large), Answer::Response(200, body) if body.len() == 300_000));
}
