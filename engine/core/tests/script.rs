//! Script in, transcript out: what the core does about what happens, without a clock.
//!
//! A line of a script is one input (see [`World::step`]); the transcript is the actions that follow. Reads are answered at once from
//! a disk of maps, commits become durable at once unless the script holds them, and time moves only where the script says so.

mod world;

use expect_test::{Expect, expect};
use world::World;

fn check(script: &str, expected: Expect) {
    let mut world = World::new();
    for line in script.lines() {
        world.step(line.trim());
    }
    expected.assert_eq(&world.transcript);
}

#[test]
fn a_request_creates_starts_and_reaches_an_actor() {
    check(
        "up
         request q1 for a
         running a
         ended q1
         request q2 for a",
        expect![[r#"
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            w <- request q2 a@1
        "#]],
    );
}

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
fn a_request_that_crosses_a_stop_goes_to_the_next_generation() {
    check(
        "up
         request q1 for a
         running a
         ended q1
         request q2 for a
         request q3 for a
         crashed a boom
         memory
         returned q2
         running a
         returned q3
         sleep a
         request q4 for a
         runner left",
        expect![[r#"
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            w <- request q2 a@1
            w <- request q3 a@1
            memory: 0 actors, 2 requests
            w <- start v1 woken: a@2 #1
            w <- request q2 a@2
            w <- request q3 a@2
            w <- stop sleep: a@2 #2
            q2 <- guard.tunnel_response_closed: the runner of actor a was lost while it handled the request; whether it took effect is not known
            q3 <- guard.tunnel_response_closed: the runner of actor a was lost while it handled the request; whether it took effect is not known
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
            a: generation 1, start 0, sleep 0, Crashed { message: Some("boom") }
            w <- start v1 woken: a@2 #1
            w <- request q2 a@2
            a: generation 2, start 0, connectable 0, on w
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
            a: generation 1, start 0, destroy 0, Crashed { message: Some("boom") }
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
            a: generation 1, start 0, destroy 0
            w <- start v1 created: a'@1 #1
        "#]],
    );
}

#[test]
fn a_key_belongs_to_one_actor() {
    check(
        "up
         create a
         create a
         get a
         hold loads
         get b
         request q1 for b
         create b
         release loads",
        expect![[r#"
            call 3 <- created a
            w <- start v1 created: a@1 #1
            call 4 <- actor.duplicate_key: actor a already has the key "a" under this name; use it, or PUT /actors to get or create
            call 5 <- found a
            call 7 <- actor.duplicate_key: actor b already has the key "b" under this name; use it, or PUT /actors to get or create
            call 6 <- created b
            w <- start v1 created: b@1 #1
        "#]],
    );
}

#[test]
fn a_key_is_free_as_soon_as_its_actor_is_destroyed() {
    check(
        "up
         create a
         running a
         destroy a
         hold commits
         stopped a
         request q1 for a
         release commits",
        expect![[r#"
            call 3 <- created a
            w <- start v1 created: a@1 #1
            w <- stop destroy: a@1 #2
            call 4 <- done
            w <- start v1 created: a'@1 #1
        "#]],
    );
}

#[test]
fn a_request_gives_up_after_its_one_deadline() {
    check(
        "up
         request q1 for a
         running a
         ended q1
         sleep a
         at 10000
         request q2 for a
         at 20000
         stopped a
         at 39999
         at 40000",
        expect![[r#"
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            w <- stop sleep: a@1 #2
            w <- start v1 woken: a@2 #1
            q2 <- guard.actor_ready_timeout: actor a was not running within 30000 ms; GET /actors?actor_ids=a shows why
        "#]],
    );
}

#[test]
fn an_aborted_request_is_forgotten_wherever_it_is() {
    check(
        "up
         hold loads
         request q1 for a
         aborted q1
         release loads
         request q2 for a
         request q3 for a
         aborted q2
         running a
         aborted q3
         sleep a
         stopped a
         memory",
        expect![[r#"
            w <- start v1 created: a@1 #1
            w <- request q3 a@1
            w <- stop sleep: a@1 #2
            memory: 0 actors, 0 requests
        "#]],
    );
}

#[test]
fn unknown_things_are_refused() {
    check(
        "up
         request q1 to nobody
         request q2 to-existing b
         request q3 in nowhere
         request q4 named stranger
         api-sleep nobody
         memory",
        expect![[r#"
            q1 <- actor.not_found: there is no such actor; it was never created or has been destroyed
            q2 <- actor.not_found: there is no such actor; it was never created or has been destroyed
            q3 <- namespace.not_found: there is no namespace "nowhere"; create it with POST /namespaces or use "default"
            q4 <- actor.no_runner_config_configured: nothing in namespace "default" can run this actor in pool "default"; deploy a component under its name, or configure a runner
            call 3 <- actor.not_found: there is no such actor; it was never created or has been destroyed
            memory: 0 actors, 0 requests
        "#]],
    );
}

#[test]
fn an_alarm_wakes_is_delivered_once_and_goes_with_its_commit() {
    check(
        "up
         request q1 for a
         running a
         write a 1 alarm=5000
         ended q1
         sleep a
         stopped a
         memory
         at 4999
         at 5000
         running a
         at 6000
         write a 1 fired=5000
         sleep a
         stopped a
         at 9000
         memory",
        expect![[r#"
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            w <- committed 1: a@1
            w <- stop sleep: a@1 #2
            memory: 0 actors, 0 requests
            w <- start v1 woken alarm 5000: a@2 #1
            w <- alarm 5000 attempt 1: a@2
            w <- committed 1: a@2
            w <- stop sleep: a@2 #2
            memory: 0 actors, 0 requests
        "#]],
    );
}

#[test]
fn an_alarm_due_while_running_is_delivered_at_once_and_can_be_replaced() {
    check(
        "up
         request q1 for a
         running a
         write a 1 alarm=50
         at 49
         write a 2 alarm=60
         at 50
         at 60
         write a 3 fired=60 alarm=100
         write a 4 clear
         at 100",
        expect![[r#"
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            w <- committed 1: a@1
            w <- committed 2: a@1
            w <- alarm 60 attempt 1: a@1
            w <- committed 3: a@1
            w <- committed 4: a@1
        "#]],
    );
}

#[test]
fn an_alarm_due_at_stop_restarts() {
    check(
        "up
         request q1 for a
         running a
         write a 1 alarm=1000
         ended q1
         sleep a
         at 1000
         stopped a
         running a",
        expect![[r#"
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            w <- committed 1: a@1
            w <- stop sleep: a@1 #2
            w <- start v1 woken alarm 1000: a@2 #1
            w <- alarm 1000 attempt 1: a@2
        "#]],
    );
}

#[test]
fn an_alarm_whose_handler_fails_comes_again_later() {
    check(
        "up
         request q1 for a
         running a
         ended q1
         write a 1 alarm=10
         at 10
         write a 2 fired=10 failed
         at 2009
         at 2010
         crashed a boom
         at 6009
         at 6010
         crashed a in start
         at 14010
         running a",
        expect![[r#"
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            w <- committed 1: a@1
            w <- alarm 10 attempt 1: a@1
            w <- committed 2: a@1
            w <- alarm 10 attempt 2: a@1
            w <- start v1 woken alarm 10: a@2 #1
            w <- start v1 woken alarm 10: a@3 #1
            w <- alarm 10 attempt 4: a@3
        "#]],
    );
}

#[test]
fn overdue_alarms_fire_at_boot() {
    check(
        "up
         request q1 for a
         running a
         write a 1 alarm=5000
         restart engine
         at 9000
         up again
         running a",
        expect![[r#"
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            w <- committed 1: a@1
            w <- prepare v1
            w <- start v1 woken alarm 5000: a@2 #1
            w <- alarm 5000 attempt 1: a@2
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
            a: generation 1, start 0, sleep 0
            b: generation 2, start 0, sleep 0, on w
            c: generation 2, sleep 0, on w
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
            a: generation 1, start 0, sleep 0, EnvoyConnectionLost { envoy_key: "w" }
            b: generation 1, sleep 0, pending 0, EnvoyConnectionLost { envoy_key: "w" }
            c: generation 1, start 0, sleep 0, pending 0, EnvoyConnectionLost { envoy_key: "w" }
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
            a: generation 1, sleep 30000, EnvoyNoResponse { envoy_key: Some("w") }
        "#]],
    );
}

#[test]
fn an_upgrade_moves_running_actors_between_two_messages() {
    check(
        "up
         request q1 for a
         running a
         deploy v2
         prepared v2
         request q2 for a
         ended q1
         stopped a
         running a
         deploy v2
         prepared v2
         rollback 1
         prepared v1
         rollback 7",
        expect![[r#"
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            w <- prepare v2
            w <- stop goingaway: a@1 #2
            call 3 <- counter version 2 of 2 is live
            w <- start v2 upgraded: a@2 #1
            w <- request q2 a@2
            w <- prepare v2
            call 4 <- counter version 2 of 2 is live
            w <- prepare v1
            w <- stop goingaway: a@2 #2
            call 5 <- counter version 1 of 2 is live
            call 6 <- deployment.version_not_found: "counter" has no version 7; GET /deployments lists the versions that are kept
        "#]],
    );
}

#[test]
fn a_refused_component_leaves_the_old_version_live() {
    check(
        "up
         deploy v2
         refused v2
         request q1 for a",
        expect![[r#"
            w <- prepare v2
            call 3 <- component.no_handler: it has no handler
            w <- start v1 created: a@1 #1
        "#]],
    );
}

#[test]
fn a_version_is_live_when_it_is_durable() {
    check(
        "up
         hold commits
         deploy v2
         prepared v2
         request q1 for a
         release commits",
        expect![[r#"
            w <- prepare v2
            call 3 <- counter version 2 of 2 is live
            w <- start v2 created: a@1 #1
        "#]],
    );
}

#[test]
fn one_actor_takes_so_many_requests_and_no_more() {
    let mut world = World::new();
    world.step("up");
    for number in 0..1030 {
        world.step(&format!("request q{number} for a"));
    }
    let refused = world.transcript.lines().filter(|line| line.contains("overloaded")).count();
    assert_eq!(refused, 1030 - 1024);
}

#[test]
fn namespaces_have_rules() {
    check(
        "up
         namespace acme Acme
         namespace acme Acme
         namespace Bad Bad
         namespace a--b x
         namespace -a x
         namespace a  ",
        expect![[r#"
            call 3 <- namespace acme
            call 4 <- namespace.name_not_unique: there is already a namespace "acme"; choose another name
            call 5 <- namespace.failed_to_create: invalid name: a name has 1 to 64 of a-z, 0-9 and single inner hyphens; a display name has 1 to 128 bytes, no outer or doubled blanks
            call 6 <- namespace.failed_to_create: invalid name: a name has 1 to 64 of a-z, 0-9 and single inner hyphens; a display name has 1 to 128 bytes, no outer or doubled blanks
            call 7 <- namespace.failed_to_create: invalid name: a name has 1 to 64 of a-z, 0-9 and single inner hyphens; a display name has 1 to 128 bytes, no outer or doubled blanks
            call 8 <- namespace.failed_to_create: display name too short: a name has 1 to 64 of a-z, 0-9 and single inner hyphens; a display name has 1 to 128 bytes, no outer or doubled blanks
        "#]],
    );
}
