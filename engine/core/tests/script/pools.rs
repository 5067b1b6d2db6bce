//! Pools whose URL is called for each start.

use expect_test::expect;

use crate::check;

#[test]
fn a_url_is_called_and_a_runner_comes() {
    check(
        "up pool
         url 10
         request q1 for a
         envoy e1 joined
         from e1 running a
         acked a 0
         sleep a
         stopped a
         show a",
        expect![[r#"
            call 3 <- configured, changed true
            url <- start a@1 #0
            e1 <- request q1 a@1
            e1 <- stop sleep: a@1 #1
            url <- end soon a@1
            q1 <- guard.actor_stopped_while_waiting: the actor stopped before it answered
            a: generation 1, start 0, sleep 0
        "#]],
    );
}

#[test]
fn a_url_that_fails_is_called_again_while_somebody_waits() {
    check(
        "up pool
         url 10
         request q1 for a
         call a failed
         at 400
         call a failed
         at 800
         call a failed
         at 1200
         call a failed
         at 1600
         call a failed
         at 2000
         call a failed
         at 2400
         call a failed
         at 2800
         call a failed
         show a",
        expect![[r#"
            call 3 <- configured, changed true
            url <- start a@1 #0
            url <- end a@1
            url <- start a@2 #0
            url <- end a@2
            url <- start a@3 #0
            url <- end a@3
            url <- start a@4 #0
            url <- end a@4
            url <- start a@5 #0
            url <- end a@5
            url <- start a@6 #0
            url <- end a@6
            url <- start a@7 #0
            url <- end a@7
            url <- start a@8 #0
            url <- end a@8
            q1 <- guard.actor_wake_retries_exceeded: actor a could not be started in 8 tries; GET /actors?actor_ids=a shows why
            a: generation 8, sleep 2800, RunnerPoolError(ServerlessHttpError { status_code: 500, body: "no" })
        "#]],
    );
}

#[test]
fn a_call_that_ends_moves_its_actor_to_the_next() {
    check(
        "up pool
         url 10
         request q1 for a
         envoy e1 joined
         from e1 running a
         call a stopping
         envoy e2 joined
         stopped a
         from e2 running a",
        expect![[r#"
            call 3 <- configured, changed true
            url <- start a@1 #0
            e1 <- request q1 a@1
            e1 <- stop goingaway: a@1 #1
            url <- end soon a@1
            q1 <- guard.actor_stopped_while_waiting: the actor stopped before it answered
            url <- start a@2 #0
        "#]],
    );
}

#[test]
fn not_more_actors_than_configured() {
    check(
        "up pool
         url 1
         create a
         create b
         show b
         envoy e1 joined
         from e1 running a
         sleep a
         stopped a
         show b",
        expect![[r#"
            call 3 <- configured, changed true
            call 4 <- created a
            url <- start a@1 #0
            call 5 <- created b
            b: generation 0, sleep 0, pending 0, ConcurrentActorLimitReached
            e1 <- stop sleep: a@1 #1
            url <- end soon a@1
            url <- start b@1 #0
            b: generation 1, pending 0
        "#]],
    );
}

#[test]
fn newer_code_sends_older_runners_away() {
    check(
        "up pool
         url 10
         announces 1
         request q1 for a
         envoy e1 joined 1
         from e1 running a
         announces 2
         stopped a",
        expect![[r#"
            call 3 <- configured, changed true
            url <- start a@1 #0
            e1 <- request q1 a@1
            e1 <- stop goingaway: a@1 #1
            url <- end soon a@1
            q1 <- guard.actor_stopped_while_waiting: the actor stopped before it answered
            e1 <- evicted
            url <- start a@2 #0
        "#]],
    );
}

#[test]
fn a_start_that_nobody_answers_is_over_in_time() {
    check(
        "up pool
         url 10
         create a
         call a ended
         at 30000
         show a",
        expect![[r#"
            call 3 <- configured, changed true
            call 4 <- created a
            url <- start a@1 #0
            url <- end a@1
            a: generation 1, sleep 30000, EnvoyNoResponse { envoy_key: None }
        "#]],
    );
}

#[test]
fn who_waited_for_a_url_is_called_when_the_engine_is_back() {
    check(
        "up pool
         url 1
         create a
         create b
         restart engine
         up again
         show a
         show b",
        expect![[r#"
            call 3 <- configured, changed true
            call 4 <- created a
            url <- start a@1 #0
            call 5 <- created b
            url <- start a@2 #0
            a: generation 2, pending 0
            b: generation 0, sleep 0, pending 0, ConcurrentActorLimitReached
        "#]],
    );
}

#[test]
fn a_call_that_went_down_with_the_engine_does_not_count() {
    check(
        "up pool
         url 2
         create a
         create b
         url 1
         restart engine
         up again
         show b
         destroy b
         create c
         show c",
        expect![[r#"
            call 3 <- configured, changed true
            call 4 <- created a
            url <- start a@1 #0
            call 5 <- created b
            url <- start b@1 #0
            call 6 <- configured, changed false
            url <- start a@2 #0
            b: generation 1, sleep 0, pending 0
            call 7 <- done
            call 8 <- created c
            c: generation 0, sleep 0, pending 0, ConcurrentActorLimitReached
        "#]],
    );
}

#[test]
fn a_url_that_fails_is_called_again_for_a_socket() {
    check(
        "up pool
         url 1
         socket q1 for a
         envoy e1 joined
         from e1 running a
         opened q1
         sleep a
         stopped a
         wakes q1
         call a failed
         at 400
         from e1 running a",
        expect![[r#"
            call 3 <- configured, changed true
            url <- start a@1 #0
            e1 <- request q1 a@1
            q1 <- hold back
            e1 <- stop sleep: a@1 #1
            url <- end soon a@1
            q1 <- hibernate
            url <- start a@2 #0
            url <- end a@2
            url <- start a@3 #0
            e1 <- request q1 a@3
        "#]],
    );
}

#[test]
fn a_deletion_is_answered_when_it_is_durable_also_the_second_time() {
    check(
        "up pool
         hold commits
         delete pool
         delete pool
         memory
         release commits",
        expect![[r#"
            memory: 0 actors, 0 requests
            call 3 <- done
            call 4 <- done
        "#]],
    );
}

#[test]
fn what_a_call_started_moves_to_another_call_after_the_engine_was_gone() {
    check(
        "up pool
         url 10
         create a
         envoy e1 joined
         from e1 running a
         restart engine
         up again
         envoy e1 joined
         stopped a",
        expect![[r#"
            call 3 <- configured, changed true
            call 4 <- created a
            url <- start a@1 #0
            e1 <- stop goingaway: a@1 #1
            url <- end soon a@1
            url <- start a@2 #0
        "#]],
    );
}

#[test]
fn destroy_does_not_wait_for_a_call() {
    check(
        "up pool
         url 10
         create a
         destroy a
         envoy e1 joined
         from e1 running a",
        expect![[r#"
            call 3 <- configured, changed true
            call 4 <- created a
            url <- start a@1 #0
            url <- end a@1
            call 5 <- done
            e1 <- stop lost: a@1 #-
        "#]],
    );
}

#[test]
fn a_call_that_ends_before_it_has_begun_is_made_again() {
    check(
        "up pool
         url 10
         request q1 for a
         call a stopping
         at 60
         show a",
        expect![[r#"
            call 3 <- configured, changed true
            url <- start a@1 #0
            url <- end a@1
            url <- start a@2 #0
            a: generation 2, pending 0
        "#]],
    );
}

#[test]
fn a_program_whose_call_and_connection_are_gone_is_gone() {
    check(
        "up pool
         url 10
         request q1 for a
         envoy e1 joined
         from e1 running a
         envoy e1 left
         call a failed
         request q2 for b
         envoy e2 joined
         from e2 running b
         call b ended
         envoy e2 left
         request q3 for a",
        expect![[r#"
            call 3 <- configured, changed true
            url <- start a@1 #0
            e1 <- request q1 a@1
            url <- end soon a@1
            q1 <- guard.tunnel_response_closed: the runner of actor a was lost while it handled the request; whether it took effect is not known
            url <- start b@1 #0
            e2 <- request q2 b@1
            url <- end soon b@1
            q2 <- guard.tunnel_response_closed: the runner of actor b was lost while it handled the request; whether it took effect is not known
            url <- start a@2 #0
        "#]],
    );
}
