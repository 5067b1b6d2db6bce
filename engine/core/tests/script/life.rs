//! The life of one actor: starting, sleeping, crashing, being destroyed, being lost.

use expect_test::expect;

use crate::check;

#[test]
fn nothing_is_told_before_it_is_durable() {
    check(
        "up
         hold commits
         request q1 for a
         release commits
         hold commits
         running a
         write a 1
         release commits",
        expect![[r#"
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            w <- committed 1: a@1
        "#]],
    );
}

#[test]
fn a_sleeping_actor_leaves_memory_and_wakes_with_the_next_generation() {
    check(
        "up
         request q1 for a
         running a
         ended q1
         sleep a
         stopped a
         memory
         request q2 for a
         running a",
        expect![[r#"
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            w <- stop sleep: a@1 #2
            memory: 0 actors, 0 requests
            w <- start v1 woken: a@2 #1
            w <- request q2 a@2
        "#]],
    );
}

#[test]
fn a_wake_during_stop_restarts_once() {
    check(
        "up
         request q1 for a
         running a
         ended q1
         sleep a
         request q2 for a
         request q3 for a
         stopped a
         running a",
        expect![[r#"
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            w <- stop sleep: a@1 #2
            w <- start v1 woken: a@2 #1
            w <- request q2 a@2
            w <- request q3 a@2
        "#]],
    );
}

#[test]
fn what_an_old_generation_says_is_dropped() {
    check(
        "up
         request q1 for a
         running a
         ended q1
         sleep a
         stopped a
         request q2 for a
         running a
         stopped a@1
         write a@1 1
         running a@1",
        expect![[r#"
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            w <- stop sleep: a@1 #2
            w <- start v1 woken: a@2 #1
            w <- request q2 a@2
            w <- stop lost: a@1 #-
        "#]],
    );
}

#[test]
fn a_repeated_event_is_dropped() {
    check(
        "up
         request q1 for a
         event 0 running a
         event 1 sleep a
         event 1 sleep a
         event 0 running a",
        expect![[r#"
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            w <- stop sleep: a@1 #2
        "#]],
    );
}

#[test]
fn a_crash_sends_what_was_not_begun_to_the_next_generation() {
    check(
        "up
         request q1 for a
         running a
         request q2 for a
         request q3 for a
         ended q1
         returned q3
         returned q2
         crashed a boom
         running a",
        expect![[r#"
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            w <- request q2 a@1
            w <- request q3 a@1
            w <- start v1 restarted: a@2 #1
            w <- request q2 a@2
            w <- request q3 a@2
        "#]],
    );
}

#[test]
fn a_crash_without_a_waiter_sleeps_with_an_error() {
    check(
        "up
         request q1 for a
         running a
         ended q1
         crashed a boom
         show a
         request q2 for a
         running a
         show a",
        expect![[r#"
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            a: generation 1, start 0, sleep 0, Crashed { message: Some("boom") }, state of version 1
            w <- start v1 woken: a@2 #1
            w <- request q2 a@2
            a: generation 2, start 0, connectable 0, on w, state of version 1
        "#]],
    );
}

#[test]
fn a_start_that_fails_tells_everybody_who_waited() {
    check(
        "up
         request q1 for a
         request q2 for a
         crashed a no good
         show a
         memory",
        expect![[r#"
            w <- start v1 created: a@1 #1
            q1 <- actor.start_failed: actor a could not be started: no good
            q2 <- actor.start_failed: actor a could not be started: no good
            a: generation 1, sleep 0, Crashed { message: Some("no good") }
            memory: 0 actors, 0 requests
        "#]],
    );
}

#[test]
fn restart_policy_pauses_longer_each_time_and_forgets_after_a_good_run() {
    check(
        "up
         create a restart
         running a
         crashed a one
         crashed a two
         at 1999
         at 2000
         crashed a three
         at 6000
         running a
         at 700000
         crashed a four",
        expect![[r#"
            call 3 <- created a
            w <- start v1 created: a@1 #1
            w <- start v1 restarted: a@2 #1
            w <- start v1 restarted: a@3 #1
            w <- start v1 restarted: a@4 #1
            w <- start v1 restarted: a@5 #1
        "#]],
    );
}

#[test]
fn destroy_policy_destroys() {
    check(
        "up
         create a destroy
         running a
         crashed a boom
         show a
         memory",
        expect![[r#"
            call 3 <- created a
            w <- start v1 created: a@1 #1
            a: generation 1, start 0, destroy 0, Crashed { message: Some("boom") }, state of version 1
            memory: 0 actors, 0 requests
        "#]],
    );
}

#[test]
fn destroy_waits_for_the_actor_to_stop() {
    check(
        "up
         create a
         running a
         request q1 for a
         destroy a
         request q2 for a
         ended q1
         stopped a
         destroy a
         memory
         request q3 for a",
        expect![[r#"
            call 3 <- created a
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            w <- stop destroy: a@1 #2
            q2 <- actor.destroyed_while_waiting_for_ready: actor a was destroyed while the request waited for it
            call 4 <- done
            call 5 <- done
            memory: 0 actors, 0 requests
            w <- start v1 created: a'@1 #1
        "#]],
    );
}

#[test]
fn destroy_in_every_state() {
    check(
        "up
         hold commits
         create a
         destroy a
         release commits
         create b
         destroy b
         stopped b
         create c
         running c
         sleep c
         destroy c
         stopped c
         create d
         running d
         sleep d
         stopped d
         destroy d
         destroy nobody
         memory",
        expect![[r#"
            call 3 <- created a
            call 4 <- done
            call 5 <- created b
            w <- start v1 created: b@1 #1
            w <- stop destroy: b@1 #2
            call 6 <- done
            call 7 <- created c
            w <- start v1 created: c@1 #1
            w <- stop sleep: c@1 #2
            call 8 <- done
            call 9 <- created d
            w <- start v1 created: d@1 #1
            w <- stop sleep: d@1 #2
            call 10 <- done
            call 11 <- actor.not_found: there is no such actor; it was never created or has been destroyed
            memory: 0 actors, 0 requests
        "#]],
    );
}

#[test]
fn the_actor_may_destroy_itself() {
    check(
        "up
         create a
         running a
         stop a
         stopped a
         show a
         request q1 for a",
        expect![[r#"
            call 3 <- created a
            w <- start v1 created: a@1 #1
            w <- stop stop: a@1 #2
            a: generation 1, start 0, destroy 0, state of version 1
            w <- start v1 created: a'@1 #1
        "#]],
    );
}

#[test]
fn after_a_power_cut_everybody_is_asleep_but_those_who_must_run() {
    check(
        "up
         create a
         running a
         create b restart
         running b
         create c
         restart engine
         up again
         show a
         show b
         show c
         request q1 for a",
        expect![[r#"
            call 3 <- created a
            w <- start v1 created: a@1 #1
            call 4 <- created b
            w <- start v1 created: b@1 #1
            call 5 <- created c
            w <- start v1 created: c@1 #1
            w <- prepare v1
            w <- start v1 restarted: b@2 #1
            w <- start v1 created: c@2 #1
            a: generation 1, start 0, sleep 0, state of version 1
            b: generation 2, start 0, on w, state of version 1
            c: generation 2, on w
            w <- start v1 woken: a@2 #1
        "#]],
    );
}

#[test]
fn a_lost_runner_fails_what_it_held() {
    check(
        "up
         request q1 for a
         running a
         request q2 for b
         create c restart
         running c
         runner left
         show a
         show b
         show c
         runner joined
         prepared",
        expect![[r#"
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            w <- start v1 created: b@1 #1
            call 3 <- created c
            w <- start v1 created: c@1 #1
            q1 <- guard.tunnel_response_closed: the runner of actor a was lost while it handled the request; whether it took effect is not known
            w is forgotten
            a: generation 1, start 0, sleep 0, EnvoyConnectionLost { envoy_key: "w" }, state of version 1
            b: generation 1, sleep 0, pending 0, EnvoyConnectionLost { envoy_key: "w" }
            c: generation 1, start 0, sleep 0, pending 0, EnvoyConnectionLost { envoy_key: "w" }, state of version 1
            w <- prepare v1
            w <- start v1 restarted: b@2 #1
            w <- start v1 restarted: c@2 #1
        "#]],
    );
}

#[test]
fn a_runner_that_does_not_answer_loses_the_actor() {
    check(
        "up
         create a
         at 29999
         at 30000
         running a@1
         show a",
        expect![[r#"
            call 3 <- created a
            w <- start v1 created: a@1 #1
            w <- stop lost: a@1 #2
            a: generation 1, sleep 30000, EnvoyNoResponse { envoy_key: None }
        "#]],
    );
}

#[test]
fn a_runner_without_room_is_not_a_crash() {
    check(
        "up
         request q1 for a
         full a
         show a
         create b restart
         full b
         at 1999
         at 2000
         create c destroy
         full c
         show c",
        expect![[r#"
            w <- start v1 created: a@1 #1
            q1 <- actor.no_room: the runner is full
            a: generation 1, sleep 0, NoCapacity
            call 3 <- created b
            w <- start v1 created: b@1 #1
            w <- start v1 restarted: b@2 #1
            call 4 <- created c
            w <- start v1 created: c@1 #1
            c: generation 1, sleep 2000, NoCapacity
        "#]],
    );
}

#[test]
fn a_record_that_was_read_before_boot_could_correct_it_is_corrected() {
    check(
        "up
         create a
         running a
         restart engine
         hold commits
         up again
         runner left
         request q1 for a
         release commits
         show a",
        expect![[r#"
            call 3 <- created a
            w <- start v1 created: a@1 #1
            w <- prepare v1
            w is forgotten
            a: generation 1, start 0, sleep 0, pending 0, NoEnvoys, state of version 1
        "#]],
    );
}

#[test]
fn who_is_told_of_an_actor_finds_it_after_a_crash() {
    check(
        "up
         hold commits
         create a
         get a
         memory
         release commits",
        expect![[r#"
            memory: 1 actors, 0 requests
            call 3 <- created a
            w <- start v1 created: a@1 #1
            call 4 <- found a
        "#]],
    );
}

#[test]
fn the_end_of_each_generation_is_noted() {
    check(
        "up
         show ends
         request q1 for a
         running a
         ended q1
         sleep a
         stopped a
         request q2 to a
         running a
         ended q2
         crashed a boom
         request q3 to a
         running a
         ended q3
         runner left
         runner joined
         prepared
         request q4 to a
         full a
         destroy a
         create b destroy
         running b
         crashed b bang
         create c
         running c
         stop c
         stopped c",
        expect![[r#"
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            w <- stop sleep: a@1 #2
            note a@1: Slept
            w <- start v1 woken: a@2 #1
            w <- request q2 a@2
            note a@2: Crashed(Some("boom"))
            w <- start v1 woken: a@3 #1
            w <- request q3 a@3
            note a@3: Lost(EnvoyConnectionLost { envoy_key: "w" })
            w is forgotten
            w <- prepare v1
            w <- start v1 woken: a@4 #1
            q4 <- actor.no_room: the runner is full
            note a@4: NoRoom("the runner is full")
            note a@4: Destroyed
            call 3 <- done
            call 4 <- created b
            w <- start v1 created: b@1 #1
            note b@1: Crashed(Some("bang"))
            note b@1: Destroyed
            call 5 <- created c
            w <- start v1 created: c@1 #1
            w <- stop stop: c@1 #2
            note c@1: Destroyed
        "#]],
    );
}

#[test]
fn when_the_engine_ends_actors_sleep_and_those_that_always_run_start_with_the_next() {
    check(
        "up
         create a
         running a
         create b restart
         running b
         create c
         running c
         runner ends
         request q1 for c
         stopped a
         stopped b
         stopped c
         show a
         show b
         restart engine
         up again",
        expect![[r#"
            call 3 <- created a
            w <- start v1 created: a@1 #1
            call 4 <- created b
            w <- start v1 created: b@1 #1
            call 5 <- created c
            w <- start v1 created: c@1 #1
            w <- stop goingaway: a@1 #2
            w <- stop goingaway: b@1 #2
            w <- stop goingaway: c@1 #2
            a: generation 1, start 0, sleep 0, state of version 1
            b: generation 1, start 0, sleep 0, pending 0, NoEnvoys, state of version 1
            w <- prepare v1
            w <- start v1 restarted: b@2 #1
            w <- start v1 restarted: c@2 #1
        "#]],
    );
}
