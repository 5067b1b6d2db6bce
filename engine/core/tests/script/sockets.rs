//! Sockets that outlive a generation of their actor.

use expect_test::expect;

use crate::{check, transcript};

#[test]
fn a_socket_hibernates_and_goes_on() {
    check(
        "up pool
         envoy e1 joined
         socket q1 for a
         running a
         opened q1
         socket q2 for a
         sleep a
         stopped a
         memory
         wakes q1
         running a
         ended q1
         sleep a
         stopped a
         memory",
        expect![[r#"
            e1 <- start nothing created: a@1 #1
            e1 <- request q1 a@1
            e1 <- request q2 a@1
            q1 <- hold back
            e1 <- stop sleep: a@1 #2
            q1 <- hibernate
            q2 <- guard.actor_stopped_while_waiting: the actor stopped before it answered
            memory: 1 actors, 1 requests
            e1 <- start nothing woken q1: a@2 #1
            e1 <- request q1 a@2
            e1 <- stop sleep: a@2 #2
            memory: 0 actors, 0 requests
        "#]],
    );
}

#[test]
fn a_socket_that_an_envoy_never_took_goes_to_the_next_generation() {
    check(
        "up pool
         envoy e1 joined
         socket q1 for a
         running a
         sleep a
         envoy e1 returned q1
         stopped a
         running a
         opened q1
         ended q1
         sleep a
         stopped a
         memory",
        expect![[r#"
            e1 <- start nothing created: a@1 #1
            e1 <- request q1 a@1
            e1 <- stop sleep: a@1 #2
            e1 <- start nothing woken: a@2 #1
            e1 <- request q1 a@2
            e1 <- stop sleep: a@2 #2
            memory: 0 actors, 0 requests
        "#]],
    );
}

#[test]
fn a_message_during_the_stop_wakes_it_again() {
    check(
        "up pool
         envoy e1 joined
         socket q1 for a
         running a
         opened q1
         sleep a
         wakes q1
         stopped a
         running a",
        expect![[r#"
            e1 <- start nothing created: a@1 #1
            e1 <- request q1 a@1
            q1 <- hold back
            e1 <- stop sleep: a@1 #2
            q1 <- hibernate
            e1 <- start nothing woken q1: a@2 #1
            e1 <- request q1 a@2
        "#]],
    );
}

#[test]
fn a_socket_that_is_taken_while_the_actor_is_told_to_stop_is_held_back_too() {
    for (stop, held) in [("sleep a", true), ("destroy a", false)] {
        let script = format!(
            "up pool
             envoy e1 joined
             socket q1 for a
             running a
             {stop}
             opened q1"
        );
        assert_eq!(transcript(&script).contains("q1 <- hold back"), held, "{stop}");
    }
}

#[test]
fn a_socket_that_was_given_back_is_taken_by_nobody() {
    check(
        "up pool
         envoy e1 joined
         socket q1 for a
         running a
         sleep a
         envoy e1 returned q1
         opened q1
         stopped a
         running a
         sleep a
         stopped a",
        expect![[r#"
            e1 <- start nothing created: a@1 #1
            e1 <- request q1 a@1
            e1 <- stop sleep: a@1 #2
            e1 <- start nothing woken: a@2 #1
            e1 <- request q1 a@2
            e1 <- stop sleep: a@2 #2
            q1 <- guard.actor_stopped_while_waiting: the actor stopped before it answered
        "#]],
    );
}

#[test]
fn a_crash_and_a_lost_runner_keep_the_socket() {
    check(
        "up pool
         envoy e1 joined
         socket q1 for a
         running a
         opened q1
         crashed a boom
         wakes q1
         running a
         envoy e1 left
         at 15000
         envoy e2 joined
         wakes q1
         running a",
        expect![[r#"
            e1 <- start nothing created: a@1 #1
            e1 <- request q1 a@1
            q1 <- hibernate
            e1 <- start nothing restarted q1: a@2 #1
            e1 <- request q1 a@2
            q1 <- hibernate
            e1 is forgotten
            e2 <- start nothing restarted q1: a@3 #1
            e2 <- request q1 a@3
        "#]],
    );
}

#[test]
fn a_destroyed_actor_closes_its_sockets() {
    check(
        "up pool
         envoy e1 joined
         socket q1 for a
         running a
         opened q1
         destroy a
         stopped a
         socket q2 for b
         running b
         opened q2
         sleep b
         stopped b
         destroy b
         memory",
        expect![[r#"
            e1 <- start nothing created: a@1 #1
            e1 <- request q1 a@1
            e1 <- stop destroy: a@1 #2
            q1 <- hibernate
            q1 <- actor.destroyed_while_waiting_for_ready: actor a was destroyed while the request waited for it
            call 3 <- done
            e1 <- start nothing created: b@1 #1
            e1 <- request q2 b@1
            q2 <- hold back
            e1 <- stop sleep: b@1 #2
            q2 <- hibernate
            q2 <- actor.destroyed_while_waiting_for_ready: actor b was destroyed while the request waited for it
            call 4 <- done
            memory: 0 actors, 0 requests
        "#]],
    );
}

#[test]
fn a_client_that_leaves_while_the_actor_sleeps_leaves_nothing() {
    check(
        "up pool
         envoy e1 joined
         socket q1 for a
         running a
         opened q1
         sleep a
         stopped a
         aborted q1
         memory",
        expect![[r#"
            e1 <- start nothing created: a@1 #1
            e1 <- request q1 a@1
            q1 <- hold back
            e1 <- stop sleep: a@1 #2
            q1 <- hibernate
            memory: 0 actors, 0 requests
        "#]],
    );
}

#[test]
fn a_start_that_fails_is_not_repeated_until_the_socket_has_something_new() {
    check(
        "up pool
         envoy e1 joined
         socket q1 for a
         running a
         opened q1
         sleep a
         stopped a
         wakes q1
         crashed a boom
         show a
         wakes q1
         running a",
        expect![[r#"
            e1 <- start nothing created: a@1 #1
            e1 <- request q1 a@1
            q1 <- hold back
            e1 <- stop sleep: a@1 #2
            q1 <- hibernate
            e1 <- start nothing woken q1: a@2 #1
            a: generation 2, start 0, reschedule 60, Crashed { message: Some("boom") }
            e1 <- start nothing restarted q1: a@3 #1
            e1 <- request q1 a@3
        "#]],
    );
}
