//! Actors that crash again and again: how often they start, and what waits for them meanwhile.

use expect_test::{Expect, expect};

use crate::transcript;

/// What follows ten crashes, each after a request of its own and at the same moment.
fn check(begin: &str, then: &str, expected: Expect) {
    let crash = |number: u64| format!("request q{number} for a\nrunning a\nended q{number}\ncrashed a boom\n");
    let crashes: String = (1..=10).map(crash).collect();
    let seen = transcript(&format!("{begin}\n{crashes}{then}"));
    let (_, seen) = seen.split_once("w <- request q10 a@10\n").expect("ten starts at once");
    expected.assert_eq(seen);
}

#[test]
fn an_actor_starts_as_often_as_its_crashes_are_forgiven_and_others_at_once() {
    check(
        "up",
        "request q11 for a
         running a
         ended q11
         request q12 for a
         request q13 for a
         returned q12
         returned q13
         crashed a boom
         show a
         request q99 for b
         running b
         at 249
         request q14 for a
         at 250
         running a
         ended q12
         returned q13
         returned q14
         crashed a boom
         at 499
         at 500
         running a
         show a",
        expect![[r#"
            w <- start v1 woken: a@11 #1
            w <- request q11 a@11
            w <- request q12 a@11
            w <- request q13 a@11
            a: generation 11, start 0, reschedule 250, Crashed { message: Some("boom") }, state of version 1
            w <- start v1 created: b@1 #1
            w <- request q99 b@1
            w <- start v1 restarted: a@12 #1
            w <- request q12 a@12
            w <- request q13 a@12
            w <- request q14 a@12
            w <- start v1 restarted: a@13 #1
            w <- request q13 a@13
            w <- request q14 a@13
            a: generation 13, start 0, connectable 500, on w, state of version 1
        "#]],
    );
}

#[test]
fn a_request_shortens_the_pause_of_an_actor_that_restarts_by_itself_to_what_its_crashes_need() {
    check(
        "up
         create a restart",
        "request q11 for a
         running a
         ended q11
         crashed a boom
         show a
         request q12 for a
         show a
         at 100
         request q13 for a
         show a
         at 250
         running a",
        expect![[r#"
            w <- start v1 restarted: a@11 #1
            w <- request q11 a@11
            a: generation 11, start 0, reschedule 512000, Crashed { message: Some("boom") }, state of version 1
            a: generation 11, start 0, reschedule 250, Crashed { message: Some("boom") }, state of version 1
            a: generation 11, start 0, reschedule 250, Crashed { message: Some("boom") }, state of version 1
            w <- start v1 restarted: a@12 #1
            w <- request q12 a@12
            w <- request q13 a@12
        "#]],
    );
}

#[test]
fn a_request_that_waits_for_that_can_leave_and_the_actor_can_be_destroyed() {
    check(
        "up",
        "request q11 for a
         running a
         ended q11
         crashed a boom
         request q12 for a
         request q13 for a
         ended q12
         destroy a
         at 100000
         memory",
        expect![[r#"
            w <- start v1 woken: a@11 #1
            w <- request q11 a@11
            q13 <- actor.destroyed_while_waiting_for_ready: actor a was destroyed while the request waited for it
            call 3 <- done
            memory: 0 actors, 0 requests
        "#]],
    );
}

#[test]
fn an_alarm_waits_too() {
    check(
        "up",
        "request q11 for a
         running a
         write a 1 alarm=100
         ended q11
         crashed a boom
         at 100
         show a
         at 250
         running a",
        expect![[r#"
            w <- start v1 woken: a@11 #1
            w <- request q11 a@11
            w <- committed 1: a@11
            a: generation 11, start 0, sleep 0, reschedule 250, Crashed { message: Some("boom") }, state of version 1
            w <- start v1 woken alarm 100: a@12 #1
            w <- alarm 100 attempt 1: a@12
        "#]],
    );
}
