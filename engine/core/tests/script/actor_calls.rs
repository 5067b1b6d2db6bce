//! Actors that call actors.

use expect_test::expect;

use crate::check;

#[test]
fn a_call_wakes_whom_it_calls_and_ends_like_a_request() {
    check(
        "up
         request q1 for a
         running a
         a asks q2 for b
         running b
         ended q2
         a asks q3 for b
         aborted q3
         a asks q4 of b
         a asks q5 of-existing nobody
         a asks q6 of nobody
         memory",
        expect![[r#"
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            w <- start v1 created: b@1 #1
            w <- request q2 b@1
            w <- request q3 b@1
            w <- request q4 b@1
            q4 <- abandoned
            q5 <- actor.not_found: there is no such actor; it was never created or has been destroyed
            q6 <- actor.not_found: there is no such actor; it was never created or has been destroyed
            memory: 2 actors, 1 requests
        "#]],
    );
}

#[test]
fn who_would_close_a_circle_is_refused() {
    check(
        "up
         request q1 for a
         running a
         request q2 for b
         running b
         request q3 for c
         running c
         a asks q4 of a
         a asks q5 for a
         a asks q6 of b
         b asks q7 of c
         c asks q8 of a
         c asks q9 of-existing b
         ended q7
         c asks q10 of a",
        expect![[r#"
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            w <- start v1 created: b@1 #1
            w <- request q2 b@1
            w <- start v1 created: c@1 #1
            w <- request q3 c@1
            q4 <- actor.call_cycle: these actors would wait for each other for ever: counter/a (a) -> counter/a (a); answer first, and call from a schedule or the own queue
            q5 <- actor.call_cycle: these actors would wait for each other for ever: counter/a (a) -> counter/a (a); answer first, and call from a schedule or the own queue
            w <- request q6 b@1
            w <- request q7 c@1
            q8 <- actor.call_cycle: these actors would wait for each other for ever: counter/c (c) -> counter/a (a) -> counter/b (b) -> counter/c (c); answer first, and call from a schedule or the own queue
            q9 <- actor.call_cycle: these actors would wait for each other for ever: counter/c (c) -> counter/b (b) -> counter/c (c); answer first, and call from a schedule or the own queue
            w <- request q10 a@1
        "#]],
    );
}

#[test]
fn a_circle_is_found_before_whom_it_concerns_runs() {
    check(
        "up
         request q1 for a
         running a
         a asks q2 for b
         b asks q3 of a
         running b
         ended q2
         b asks q4 of a
         sleep a
         a asks q5 of b",
        expect![[r#"
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            w <- start v1 created: b@1 #1
            q3 <- actor.call_cycle: these actors would wait for each other for ever: counter/b (b) -> counter/a (a) -> counter/b (b); answer first, and call from a schedule or the own queue
            w <- request q2 b@1
            w <- request q4 a@1
            w <- stop sleep: a@1 #2
            q5 <- actor.call_cycle: these actors would wait for each other for ever: counter/a (a) -> counter/b (b) -> counter/a (a); answer first, and call from a schedule or the own queue
        "#]],
    );
}

#[test]
fn a_circle_is_found_while_keys_are_read() {
    check(
        "up
         create a
         running a
         sleep a
         stopped a
         create b
         running b
         hold loads
         b asks q1 of-existing a
         aborted q1
         b asks q2 of-existing a
         release loads
         running a
         a asks q3 of b
         ended q2
         memory",
        expect![[r#"
            call 3 <- created a
            w <- start v1 created: a@1 #1
            w <- stop sleep: a@1 #2
            call 4 <- created b
            w <- start v1 created: b@1 #1
            w <- start v1 woken: a@2 #1
            w <- request q2 a@2
            q3 <- actor.call_cycle: these actors would wait for each other for ever: counter/a (a) -> counter/b (b) -> counter/a (a); answer first, and call from a schedule or the own queue
            memory: 2 actors, 0 requests
        "#]],
    );
}

#[test]
fn a_call_ends_with_its_caller() {
    check(
        "up
         request q1 for a
         running a
         request q2 for b
         running b
         a asks q3 of b
         a asks q4 of b
         crashed a it did
         b asks q5 of a
         a@1 asks q6 of b
         runner left
         memory",
        expect![[r#"
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            w <- start v1 created: b@1 #1
            w <- request q2 b@1
            w <- request q3 b@1
            q3 <- abandoned
            w <- request q4 b@1
            q4 <- abandoned
            w <- start v1 restarted: a@2 #1
            q6 <- actor.not_found: there is no such actor; it was never created or has been destroyed
            q5 <- abandoned
            q2 <- guard.tunnel_response_closed: the runner of actor b was lost while it handled the request; whether it took effect is not known
            q1 <- guard.tunnel_response_closed: the runner of actor a was lost while it handled the request; whether it took effect is not known
            w is forgotten
            memory: 1 actors, 0 requests
        "#]],
    );
}

#[test]
fn actors_of_other_namespaces_are_not_there() {
    check(
        "up
         request q1 for a
         running a
         namespace other Other
         foreign k
         a asks q2 of k
         memory",
        expect![[r#"
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            call 3 <- namespace other
            w <- prepare v1
            call 4 <- counter version 1 of 1 is live
            call 5 <- created k
            w <- start v1 created: k@1 #1
            w <- stop sleep: k@1 #2
            q2 <- actor.not_found: there is no such actor; it was never created or has been destroyed
            memory: 1 actors, 1 requests
        "#]],
    );
}
