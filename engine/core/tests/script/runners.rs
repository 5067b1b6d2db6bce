//! Runners of pools: they come, go away, come back, drain, and are given up.

use expect_test::expect;

use crate::check;

#[test]
fn an_actor_waits_for_a_runner_and_starts_when_one_comes() {
    check(
        "up pool
         create a
         request q1 for a
         show a
         envoy e1 joined
         running a
         show a",
        expect![[r#"
            call 3 <- created a
            a: generation 0, sleep 0, pending 0, NoEnvoys
            e1 <- start nothing created: a@1 #1
            e1 <- request q1 a@1
            a: generation 1, start 0, connectable 0, on e1
        "#]],
    );
}

#[test]
fn the_newest_code_with_the_fewest_actors() {
    check(
        "up pool
         envoy e1 joined 1
         envoy e2 joined 2
         envoy e3 joined 2
         create a
         create b
         create c
         envoy e2 quiet
         create d
         envoy e2 fresh
         create e",
        expect![[r#"
            call 3 <- created a
            e2 <- start nothing created: a@1 #1
            call 4 <- created b
            e3 <- start nothing created: b@1 #1
            call 5 <- created c
            e2 <- start nothing created: c@1 #1
            call 6 <- created d
            e3 <- start nothing created: d@1 #1
            call 7 <- created e
            e2 <- start nothing created: e@1 #1
        "#]],
    );
}

#[test]
fn a_runner_that_comes_back_goes_on() {
    check(
        "up pool
         envoy e1 joined
         create a
         create b
         create c
         running b
         acked b 1
         running c
         acked c 1
         sleep c
         envoy e1 left
         request q1 for b
         at 5000
         envoy e1 joined
         running a
         stopped c
         show a
         show b
         show c",
        expect![[r#"
            call 3 <- created a
            e1 <- start nothing created: a@1 #1
            call 4 <- created b
            e1 <- start nothing created: b@1 #1
            call 5 <- created c
            e1 <- start nothing created: c@1 #1
            e1 <- stop sleep: c@1 #2
            e1 <- start nothing woken: a@1 #1
            e1 <- request q1 b@1
            e1 <- stop sleep: c@1 #2
            a: generation 1, start 5000, connectable 5000, on e1
            b: generation 1, start 0, connectable 0, on e1
            c: generation 1, start 0, sleep 5000
        "#]],
    );
}

#[test]
fn a_runner_that_stays_away_is_given_up() {
    check(
        "up pool
         envoy e1 joined
         create a
         create b
         running a
         acked a 1
         running b
         envoy e1 left
         at 14999
         show a
         request q1 for b
         at 15000
         show a
         show b
         envoy e2 joined
         running b
         envoy e1 joined
         from e1 running a@1",
        expect![[r#"
            call 3 <- created a
            e1 <- start nothing created: a@1 #1
            call 4 <- created b
            e1 <- start nothing created: b@1 #1
            a: generation 1, start 0, connectable 0, on e1
            e1 is forgotten
            a: generation 1, start 0, sleep 15000, EnvoyConnectionLost { envoy_key: "e1" }
            b: generation 1, start 0, sleep 15000, pending 15000, EnvoyConnectionLost { envoy_key: "e1" }
            e2 <- start nothing restarted: b@2 #1
            e2 <- request q1 b@2
            e1 <- stop lost: a@1 #-
        "#]],
    );
}

#[test]
fn a_program_that_is_started_anew_takes_over_what_is_wanted() {
    check(
        "up pool
         envoy e1 joined
         create a
         create b
         running a
         running b
         envoy e1 left
         at 100
         request q1 for a
         envoy e2 joined
         at 1499
         at 1500
         running a
         request q2 for b
         running b
         at 15000",
        expect![[r#"
            call 3 <- created a
            e1 <- start nothing created: a@1 #1
            call 4 <- created b
            e1 <- start nothing created: b@1 #1
            e2 <- start nothing restarted: a@2 #1
            e2 <- request q1 a@2
            e2 <- start nothing restarted: b@2 #1
            e2 <- request q2 b@2
            e1 is forgotten
        "#]],
    );
}

#[test]
fn a_runner_that_stops_gives_its_actors_away() {
    check(
        "up pool
         envoy e1 joined
         create a
         running a
         create b
         envoy e2 joined
         envoy e1 stopping
         create c
         stopped a
         stopped b
         running a
         running b
         envoy e1 left
         show a",
        expect![[r#"
            call 3 <- created a
            e1 <- start nothing created: a@1 #1
            call 4 <- created b
            e1 <- start nothing created: b@1 #1
            e1 <- stop goingaway: a@1 #2
            e1 <- stop goingaway: b@1 #2
            call 5 <- created c
            e2 <- start nothing created: c@1 #1
            e2 <- start nothing upgraded: a@2 #1
            e2 <- start nothing upgraded: b@2 #1
            e1 is forgotten
            a: generation 2, start 0, connectable 0, on e2
        "#]],
    );
}

#[test]
fn crashes_of_an_envoys_actors_let_them_sleep_whatever_the_policy() {
    check(
        "up pool
         envoy e1 joined
         create a restart
         running a
         crashed a boom
         show a
         create b destroy
         running b
         request q1 for b
         crashed b boom
         show b
         request q2 for b
         running b
         show b",
        expect![[r#"
            call 3 <- created a
            e1 <- start nothing created: a@1 #1
            a: generation 1, start 0, sleep 0, Crashed { message: Some("boom") }
            call 4 <- created b
            e1 <- start nothing created: b@1 #1
            e1 <- request q1 b@1
            q1 <- guard.actor_stopped_while_waiting: the actor stopped before it answered
            b: generation 1, start 0, sleep 0, Crashed { message: Some("boom") }
            e1 <- start nothing woken: b@2 #1
            e1 <- request q2 b@2
            b: generation 2, start 0, connectable 0, on e1
        "#]],
    );
}

#[test]
fn legacy_runners_have_slots_and_crash_policies_and_are_drained_by_newer_ones() {
    check(
        "up pool
         legacy r1 joined 1 1
         create a restart
         running a
         crashed a boom
         running a
         create b
         show b
         sleep a
         stopped a
         running b
         legacy r2 joined 2 9
         stopped b",
        expect![[r#"
            call 3 <- created a
            r1 <- start nothing created: a@1 #1
            r1 <- start nothing restarted: a@2 #1
            call 4 <- created b
            b: generation 0, sleep 0, pending 0, NoCapacity
            r1 <- stop sleep: a@2 #2
            r1 <- start nothing created: b@1 #1
            r1 <- stop goingaway: b@1 #2
            r1 <- evicted
            r2 <- start nothing upgraded: b@2 #1
        "#]],
    );
}

#[test]
fn an_engine_that_restarts_finds_its_actors_running() {
    check(
        "up pool
         envoy e1 joined
         create a
         create b
         create c
         create d
         running a
         acked a 1
         running b
         sleep b
         running d
         set-alarm d 5000
         sleep d
         stopped d
         restart engine
         up again
         request q1 for a
         envoy e1 joined
         stopped b
         running c
         show a
         show b
         show c
         at 5000",
        expect![[r#"
            call 3 <- created a
            e1 <- start nothing created: a@1 #1
            call 4 <- created b
            e1 <- start nothing created: b@1 #1
            call 5 <- created c
            e1 <- start nothing created: c@1 #1
            call 6 <- created d
            e1 <- start nothing created: d@1 #1
            e1 <- stop sleep: b@1 #2
            e1 <- stop sleep: d@1 #2
            e1 <- start nothing woken: a@1 #1
            e1 <- request q1 a@1
            e1 <- start nothing woken: b@1 #1
            e1 <- stop sleep: b@1 #2
            e1 <- start nothing created: c@1 #1
            a: generation 1, start 0, connectable 0, on e1
            b: generation 1, start 0, sleep 0
            c: generation 1, start 0, connectable 0, on e1
            e1 <- start nothing woken alarm 5000: d@2 #1
        "#]],
    );
}

#[test]
fn an_engine_that_restarts_gives_up_who_does_not_come_back() {
    check(
        "up pool
         envoy e1 joined
         create a
         running a
         restart engine
         up again
         request q1 for a
         at 15000
         show a
         envoy e2 joined
         running a",
        expect![[r#"
            call 3 <- created a
            e1 <- start nothing created: a@1 #1
            e1 is forgotten
            a: generation 1, start 0, sleep 15000, pending 15000, EnvoyConnectionLost { envoy_key: "e1" }
            e2 <- start nothing restarted: a@2 #1
            e2 <- request q1 a@2
        "#]],
    );
}

#[test]
fn alarms_are_the_runners_own_while_the_actor_runs() {
    check(
        "up pool
         envoy e1 joined
         create a
         running a
         set-alarm a 100
         at 100
         sleep a
         stopped a
         running a
         set-alarm a 500
         sleep a
         stopped a
         at 499
         at 500
         running a
         sleep a
         stopped a
         at 10000
         show a",
        expect![[r#"
            call 3 <- created a
            e1 <- start nothing created: a@1 #1
            e1 <- stop sleep: a@1 #2
            e1 <- start nothing woken alarm 100: a@2 #1
            e1 <- stop sleep: a@2 #2
            e1 <- start nothing woken alarm 500: a@3 #1
            e1 <- stop sleep: a@3 #2
            a: generation 3, start 0, sleep 500
        "#]],
    );
}

#[test]
fn an_alarm_that_is_due_while_its_runner_is_away_waits_for_the_runner() {
    check(
        "up pool
         envoy e1 joined
         create a
         running a
         set-alarm a 100
         envoy e1 left
         at 200
         at 15000
         show a
         envoy e2 joined
         running a",
        expect![[r#"
            call 3 <- created a
            e1 <- start nothing created: a@1 #1
            e1 is forgotten
            a: generation 1, start 0, sleep 15000, pending 15000, EnvoyConnectionLost { envoy_key: "e1" }
            e2 <- start nothing restarted alarm 100: a@2 #1
        "#]],
    );
}

#[test]
fn what_is_wrong_is_dropped_or_told() {
    check(
        "up pool
         envoy e1 joined
         envoy e2 joined
         create a
         from e2 running a
         running a
         event 0 running a
         sleep a
         stopped a
         from e1 running a
         set-alarm a 1",
        expect![[r#"
            call 3 <- created a
            e1 <- start nothing created: a@1 #1
            e2 <- stop lost: a@1 #-
            e1 <- stop sleep: a@1 #2
            e1 <- stop lost: a@1 #-
            e1 <- stop lost: a@1 #-
        "#]],
    );
}

#[test]
fn events_are_acknowledged_now_and_then() {
    check(
        "up pool
         envoy e1 joined
         create a
         running a
         events a 249
         events a 1
         events a 251",
        expect![[r#"
            call 3 <- created a
            e1 <- start nothing created: a@1 #1
            e1 <- events acked to 250: a@1
            e1 <- events acked to 501: a@1
        "#]],
    );
}

#[test]
fn kv_of_an_actor_that_sleeps_and_of_one_that_is_gone() {
    check(
        "up pool
         envoy e1 joined
         create a
         running a
         kv e1 a
         sleep a
         stopped a
         memory
         kv e1 a
         memory
         destroy a
         kv e1 a
         kv e1 nobody",
        expect![[r#"
            call 3 <- created a
            e1 <- start nothing created: a@1 #1
            e1 <- kv 7 written
            e1 <- stop sleep: a@1 #2
            memory: 0 actors, 0 requests
            e1 <- kv 7 written
            memory: 0 actors, 0 requests
            call 4 <- done
            e1 <- kv 7: actor does not exist
            e1 <- kv 7: actor does not exist
        "#]],
    );
}

#[test]
fn kv_of_an_actor_that_was_given_up_is_not_written_by_who_had_it() {
    check(
        "up pool
         envoy e1 joined
         create a
         running a
         create b
         running b
         kv e1 a
         envoy e1 left
         envoy e2 joined
         request q1 for a
         at 1500
         running a
         envoy e1 joined
         kv e1 a
         kv e2 a
         kv e1 b
         sleep a
         stopped a
         memory
         kv e1 a
         from e1 stopped a@1
         kv e1 a
         kv e2 b",
        expect![[r#"
            call 3 <- created a
            e1 <- start nothing created: a@1 #1
            call 4 <- created b
            e1 <- start nothing created: b@1 #1
            e1 <- kv 7 written
            e2 <- start nothing restarted: a@2 #1
            e2 <- request q1 a@2
            e1 <- start nothing woken: b@1 #1
            e1 <- stop lost: a@1 #-
            e1 <- kv 7: actor does not belong to runner
            e2 <- kv 7 written
            e1 <- kv 7 written
            e2 <- stop sleep: a@2 #2
            q1 <- guard.actor_stopped_while_waiting: the actor stopped before it answered
            memory: 1 actors, 0 requests
            e1 <- stop lost: a@1 #-
            e1 <- kv 7: actor does not belong to runner
            e1 <- kv 7 written
            e2 <- kv 7 written
        "#]],
    );
}

#[test]
fn whoever_is_given_an_actor_again_writes_again() {
    check(
        "up pool
         envoy e1 joined
         create a
         running a
         envoy e1 left
         envoy e2 joined
         request q1 for a
         at 1500
         running a
         envoy e1 joined
         envoy e2 stopping
         kv e1 a
         stopped a
         kv e1 a
         running a
         kv e2 a",
        expect![[r#"
            call 3 <- created a
            e1 <- start nothing created: a@1 #1
            e2 <- start nothing restarted: a@2 #1
            e2 <- request q1 a@2
            e2 <- stop goingaway: a@2 #2
            e1 <- stop lost: a@1 #-
            e1 <- kv 7: actor does not belong to runner
            q1 <- guard.actor_stopped_while_waiting: the actor stopped before it answered
            e1 <- start nothing upgraded: a@3 #1
            e1 <- kv 7 written
            e2 <- kv 7 written
        "#]],
    );
}

#[test]
fn destroy_waits_for_a_runner_that_is_away() {
    check(
        "up pool
         envoy e1 joined
         create a
         running a
         acked a 1
         envoy e1 left
         destroy a
         restart engine
         up again
         envoy e1 joined
         stopped a
         show a",
        expect![[r#"
            call 3 <- created a
            e1 <- start nothing created: a@1 #1
            e1 <- stop destroy: a@1 #2
            e1 <- stop destroy: a@1 #2
            a: generation 1, start 0, destroy 0
        "#]],
    );
}

#[test]
fn a_hurried_request_does_not_wait_until_it_runs() {
    check(
        "up pool
         envoy e1 joined
         create a
         hurried q1 to a
         request q2 to a
         running a",
        expect![[r#"
            call 3 <- created a
            e1 <- start nothing created: a@1 #1
            e1 <- request q1 a@1
            e1 <- request q2 a@1
        "#]],
    );
}

#[test]
fn a_component_takes_its_name_and_the_pool_the_others() {
    check(
        "up
         pool
         envoy e1 joined
         request q1 for a
         request q2 named job",
        expect![[r#"
            call 3 <- configured, changed true
            w <- start v1 created: a@1 #1
            e1 <- start nothing created: k@1 #1
        "#]],
    );
}

#[test]
fn a_runner_that_goes_makes_room_on_those_with_older_code() {
    check(
        "up pool
         envoy e1 joined 1
         legacy r1 joined 2 1
         create a
         create b
         show b
         envoy r1 left
         legacy r1 joined 2 1
         create c
         envoy r1 quiet
         envoy r1 fresh
         create d
         envoy r1 stopping",
        expect![[r#"
            call 3 <- created a
            r1 <- start nothing created: a@1 #1
            call 4 <- created b
            b: generation 0, sleep 0, pending 0, NoCapacity
            e1 <- start nothing created: b@1 #1
            r1 <- start nothing woken: a@1 #1
            call 5 <- created c
            e1 <- start nothing created: c@1 #1
            call 6 <- created d
            r1 <- stop goingaway: a@1 #2
            e1 <- start nothing created: d@1 #1
        "#]],
    );
}

#[test]
fn who_runs_an_older_generation_is_told_so_also_while_the_record_is_being_read() {
    check(
        "up pool
         envoy e1 joined
         create a
         running a
         envoy e1 left
         at 15000
         envoy e1 joined
         hold loads
         kv e1 a
         from e1 running a@1
         release loads",
        expect![[r#"
            call 3 <- created a
            e1 <- start nothing created: a@1 #1
            e1 is forgotten
            e1 <- stop lost: a@1 #-
            e1 <- kv 7 written
        "#]],
    );
}
