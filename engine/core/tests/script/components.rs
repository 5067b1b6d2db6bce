//! Several runners of components: the engine's own and others, or others alone.

use expect_test::expect;

use crate::{check, transcript};

#[test]
fn actors_spread_over_those_that_are_ready() {
    check(
        "up
         components r2 joined
         request q1 for a
         from r2 prepared v1
         request q2 for b
         request q3 for c
         envoy r2 quiet
         request q4 for d
         request q5 for e
         envoy r2 fresh
         request q6 for f",
        expect![[r#"
            r2 <- prepare v1
            w <- start v1 created: a@1 #1
            r2 <- start v1 created: b@1 #1
            w <- start v1 created: c@1 #1
            w <- start v1 created: d@1 #1
            w <- start v1 created: e@1 #1
            r2 <- start v1 created: f@1 #1
        "#]],
    );
}

#[test]
fn with_a_runner_that_is_lost_its_actors_start_elsewhere_and_who_waits_goes_on_waiting() {
    check(
        "up
         components r2 joined
         from r2 prepared v1
         request q1 for a
         running a
         request q2 for b
         running b
         request q3 for c
         request q4 for d
         sleep b
         request q5 for b
         envoy r2 left
         from r2 running b@1
         running b
         show d
         memory",
        expect![[r#"
            r2 <- prepare v1
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            r2 <- start v1 created: b@1 #1
            r2 <- request q2 b@1
            w <- start v1 created: c@1 #1
            r2 <- start v1 created: d@1 #1
            r2 <- stop sleep: b@1 #2
            q2 <- guard.tunnel_response_closed: the runner of actor b was lost while it handled the request; whether it took effect is not known
            r2 is forgotten
            w <- start v1 restarted: b@2 #1
            w <- start v1 restarted: d@2 #1
            w <- request q5 b@2
            d: generation 2, on w
            memory: 4 actors, 4 requests
        "#]],
    );
}

#[test]
fn a_commit_of_a_lost_runner_comes_too_late() {
    check(
        "up
         components r2 joined
         from r2 prepared v1
         request q1 for x
         request q2 for a
         running a
         hold commits
         write a 1
         envoy r2 left
         release commits
         request q3 for a
         running a
         from r2 writes a@1",
        expect![[r#"
            r2 <- prepare v1
            w <- start v1 created: x@1 #1
            r2 <- start v1 created: a@1 #1
            r2 <- request q2 a@1
            q2 <- guard.tunnel_response_closed: the runner of actor a was lost while it handled the request; whether it took effect is not known
            r2 is forgotten
            w <- start v1 woken: a@2 #1
            w <- request q3 a@2
            r2 <- stop lost: a@1 #-
        "#]],
    );
}

#[test]
fn a_runner_that_stops_hands_its_actors_over() {
    check(
        "up
         components r2 joined
         from r2 prepared v1
         request q1 for x
         request q2 for a
         running a
         envoy r2 stopping
         request q3 for a
         request q4 for b
         ended q2
         stopped a
         running a
         envoy r2 left",
        expect![[r#"
            r2 <- prepare v1
            w <- start v1 created: x@1 #1
            r2 <- start v1 created: a@1 #1
            r2 <- request q2 a@1
            r2 <- stop goingaway: a@1 #2
            w <- start v1 created: b@1 #1
            w <- start v1 upgraded: a@2 #1
            w <- request q3 a@2
            r2 is forgotten
        "#]],
    );
}

#[test]
fn without_another_runner_actors_wait_until_it_is_back() {
    check(
        "up
         runner left
         request q1 for a
         components r2 joined
         from r2 prepared v1
         running a
         envoy r2 left
         request q2 for a
         components r2 joined
         from r2 prepared v1
         running a",
        expect![[r#"
            w is forgotten
            r2 <- prepare v1
            r2 <- start v1 created: a@1 #1
            r2 <- request q1 a@1
            q1 <- guard.tunnel_response_closed: the runner of actor a was lost while it handled the request; whether it took effect is not known
            r2 is forgotten
            r2 <- prepare v1
            r2 <- start v1 woken: a@2 #1
            r2 <- request q2 a@2
        "#]],
    );
}

#[test]
fn a_runner_that_fails_decides_nothing_while_others_prepare() {
    let rows = [
        ("prepared v2", "call 3 <- counter version 2 of 2 is live"),
        ("refused v2", "call 3 <- component.no_handler: it has no handler"),
        ("from r3 failed v2\nrunner left", "call 3 <- core.internal_error: r3 has no disk"),
        ("runner left\nfrom r3 failed v2", "call 3 <- core.internal_error: r3 has no disk"),
        ("envoy r3 left\nrunner left", "call 3 <- core.internal_error: r2 has no disk"),
        ("components r4 joined\nrunner left\nenvoy r3 left\nfrom r4 prepared v2", "call 3 <- counter version 2 of 2 is live"),
    ];
    for (then, answer) in rows {
        let script = format!("up\ncomponents r2 joined\ncomponents r3 joined\ndeploy v2\nfrom r2 failed v2\nmemory\n{then}");
        let told = transcript(&script);
        let (before, after) = told.split_once("memory:").expect("it was told");
        assert!(!before.contains("call 3") && after.contains(answer), "{then}: {told}");
    }
}
