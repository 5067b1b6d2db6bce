//! Which version an actor runs: canaries, pins, settings, and states that cannot be migrated.

use expect_test::expect;

use crate::check;

#[test]
fn a_canary_is_for_a_share_of_the_actors() {
    check(
        "up
         deploy v2 canary=0%
         prepared v2
         request q1 for a
         running a
         share 100%
         stopped a
         running a
         show a
         share 0%
         stopped a
         running a
         share 50.5%
         share 100%
         request q2 for b
         running b
         promote
         show b
         promote",
        expect![[r#"
            w <- prepare v2
            call 3 <- counter version 2 of 2 is a canary with 0%, 1 is live
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            w <- stop goingaway: a@1 #2
            call 4 <- counter version 2 of 2 is a canary with 100%, 1 is live
            w <- start v2 from version 1 upgraded: a@2 #1
            a: generation 2, start 0, connectable 0, on w, state of version 2
            w <- stop goingaway: a@2 #2
            call 5 <- counter version 2 of 2 is a canary with 0%, 1 is live
            w <- start v1 from version 2 upgraded: a@3 #1
            w <- stop goingaway: a@3 #2
            call 6 <- counter version 2 of 2 is a canary with 50.5%, 1 is live
            call 7 <- counter version 2 of 2 is a canary with 100%, 1 is live
            w <- start v2 created: b@1 #1
            w <- request q2 b@1
            call 8 <- counter version 2 of 2 is live
            b: generation 1, start 0, connectable 0, on w, state of version 2
            call 9 <- deployment.no_canary: no version of "counter" is a canary; deploy one with canary=5%
        "#]],
    );
}

#[test]
fn one_canary_at_a_time_and_beside_a_live_version() {
    check(
        "up
         promote
         share 5%
         deploy v1 canary=5%
         prepared v1
         deploy v2 canary=5%
         prepared v2
         deploy v3 canary=5%
         prepared v3
         configure config.A=1 canary=5%
         deploy v2
         prepared v2
         deploy v3 canary=5%
         prepared v3
         deploy v2
         prepared v2
         promote",
        expect![[r#"
            call 3 <- deployment.no_canary: no version of "counter" is a canary; deploy one with canary=5%
            call 4 <- deployment.no_canary: no version of "counter" is a canary; deploy one with canary=5%
            w <- prepare v1
            call 5 <- counter version 1 of 1 is live
            w <- prepare v2
            call 6 <- counter version 2 of 2 is a canary with 5%, 1 is live
            w <- prepare v3
            call 7 <- deployment.canary_refused: version 2 is a canary already, with 5% of the actors; promote it, roll back, or deploy for all
            call 8 <- deployment.canary_refused: version 2 is a canary already, with 5% of the actors; promote it, roll back, or deploy for all
            w <- prepare v2
            call 9 <- counter version 2 of 2 is live
            w <- prepare v3
            call 10 <- counter version 3 of 3 is a canary with 5%, 2 is live
            w <- prepare v2
            call 11 <- counter version 2 of 3 is live
            call 12 <- deployment.no_canary: no version of "counter" is a canary; deploy one with canary=5%
        "#]],
    );
}

#[test]
fn a_roll_back_ends_the_canary() {
    check(
        "up
         deploy v2 canary=100%
         prepared v2
         request q1 for a
         running a
         rollback 1
         prepared v1
         stopped a
         running a
         share 5%",
        expect![[r#"
            w <- prepare v2
            call 3 <- counter version 2 of 2 is a canary with 100%, 1 is live
            w <- start v2 created: a@1 #1
            w <- request q1 a@1
            w <- prepare v1
            w <- stop goingaway: a@1 #2
            call 4 <- counter version 1 of 2 is live
            w <- start v1 from version 2 upgraded: a@2 #1
            call 5 <- deployment.no_canary: no version of "counter" is a canary; deploy one with canary=5%
        "#]],
    );
}

#[test]
fn a_pinned_actor_stays_whatever_is_live() {
    check(
        "up
         request q1 for a
         running a
         pin a 1
         deploy v2
         prepared v2
         request q2 for a
         show a
         pin a 2
         stopped a
         running a
         unpin a
         show a
         sleep a
         stopped a
         pin a 1
         request q3 for a
         running a
         pin a 7
         pin b 1
         unpin a
         stopped a",
        expect![[r#"
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            call 3 <- done
            w <- prepare v2
            call 4 <- counter version 2 of 2 is live
            w <- request q2 a@1
            a: generation 1, start 0, connectable 0, on w, state of version 1, pinned to version 1
            w <- stop goingaway: a@1 #2
            call 5 <- done
            w <- start v2 from version 1 upgraded: a@2 #1
            call 6 <- done
            a: generation 2, start 0, connectable 0, on w, state of version 2
            w <- stop sleep: a@2 #2
            call 7 <- done
            w <- start v1 from version 2 woken: a@3 #1
            w <- request q3 a@3
            call 8 <- deployment.version_not_found: "counter" has no version 7; GET /deployments lists the versions that are kept
            call 9 <- actor.not_found: there is no such actor; it was never created or has been destroyed
            w <- stop goingaway: a@3 #2
            call 10 <- done
            w <- start v2 from version 1 upgraded: a@4 #1
        "#]],
    );
}

#[test]
fn another_setting_is_another_version_and_restarts() {
    check(
        "up
         deploy v1 config.A=1 secrets.S=x
         prepared v1
         request q1 for a
         running a
         configure config.A=2 limits.cpu_ms=5
         request q2 for a
         stopped a
         running a
         configure config.A=2
         configure config.S=2
         deploy v2 config.B=1
         prepared v2
         stopped a
         running a
         rollback 2
         prepared v1
         stopped a",
        expect![[r#"
            w <- prepare v1
            call 3 <- counter version 2 of 2 is live
            w <- start v1 a=1 s=x created: a@1 #1
            w <- request q1 a@1
            w <- stop goingaway: a@1 #2
            call 4 <- counter version 3 of 3 is live
            w <- start v1 a=2 s=x cpu 5 upgraded: a@2 #1
            w <- request q2 a@2
            call 5 <- counter version 3 of 3 is live
            call 6 <- deployment.settings_invalid: "S" is in config and in secrets, and an actor finds both by name; remove one of them with null
            w <- prepare v2
            w <- stop goingaway: a@2 #2
            call 7 <- counter version 4 of 4 is live
            w <- start v2 a=2 b=1 s=x cpu 5 from version 3 upgraded: a@3 #1
            w <- prepare v1
            w <- stop goingaway: a@3 #2
            call 8 <- counter version 2 of 4 is live
            w <- start v1 a=1 s=x from version 4 upgraded: a@4 #1
        "#]],
    );
}

#[test]
fn a_state_that_cannot_be_migrated_stays_with_the_version_that_wrote_it() {
    check(
        "up
         request q1 for a
         running a
         ended q1
         deploy v2
         prepared v2
         request q2 for a
         stopped a
         not-migrated a no column x
         running a
         show a
         ended q2
         sleep a
         stopped a
         request q3 for a
         running a
         retry
         stopped a
         running a
         show a",
        expect![[r#"
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            w <- prepare v2
            w <- stop goingaway: a@1 #2
            call 3 <- counter version 2 of 2 is live
            w <- start v2 from version 1 upgraded: a@2 #1
            w <- start v1 upgraded: a@3 #1
            w <- request q2 a@3
            a: generation 3, start 0, connectable 0, on w, state of version 1, held back from version 2 attempt 0: no column x
            w <- stop sleep: a@3 #2
            w <- start v1 woken: a@4 #1
            w <- request q3 a@4
            w <- stop goingaway: a@4 #2
            call 4 <- counter version 2 of 2 is live
            w <- start v2 from version 1 upgraded: a@5 #1
            a: generation 5, start 0, connectable 0, on w, state of version 2
        "#]],
    );
}

#[test]
fn the_state_belongs_to_the_version_whose_writes_are_durable_first() {
    check(
        "up
         request q1 for a
         running a
         show a
         deploy v2
         prepared v2
         stopped a
         write a 1
         crashed a after it had migrated
         show a
         request q2 for a
         not-migrated a this comes too late
         show a",
        expect![[r#"
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            a: generation 1, start 0, connectable 0, on w, state of version 1
            w <- prepare v2
            w <- stop goingaway: a@1 #2
            call 3 <- counter version 2 of 2 is live
            w <- start v2 from version 1 upgraded: a@2 #1
            w <- committed 1: a@2
            a: generation 2, start 0, sleep 0, Crashed { message: Some("after it had migrated") }, state of version 2
            w <- start v2 restarted: a@3 #1
            q2 <- actor.start_failed: actor a could not be started: this comes too late
            a: generation 3, start 0, sleep 0, Crashed { message: Some("this comes too late") }, state of version 2
        "#]],
    );
}

#[test]
fn a_roll_back_while_actors_are_moving() {
    check(
        "up
         request q1 for a
         request q2 for b
         request q3 for c
         running a
         running b
         running c
         deploy v2
         prepared v2
         moving
         stopped a
         rollback 1
         prepared v1
         running a
         stopped b
         moving
         stopped a
         running a
         running b
         moving",
        expect![[r#"
            w <- start v1 created: a@1 #1
            w <- start v1 created: b@1 #1
            w <- start v1 created: c@1 #1
            w <- request q1 a@1
            w <- request q2 b@1
            w <- request q3 c@1
            w <- prepare v2
            w <- stop goingaway: a@1 #2
            w <- stop goingaway: b@1 #2
            call 3 <- counter version 2 of 2 is live
            call 4 <- moving 3
            w <- start v2 from version 1 upgraded: a@2 #1
            w <- prepare v1
            call 5 <- counter version 1 of 2 is live
            w <- stop goingaway: a@2 #2
            w <- start v1 upgraded: b@2 #1
            call 6 <- moving 2
            w <- start v1 from version 2 upgraded: a@3 #1
            call 7 <- moving 0
        "#]],
    );
}

#[test]
fn who_takes_long_to_stop_does_not_keep_others_from_moving() {
    check(
        "up
         request q1 for a
         request q2 for b
         request q3 for c
         running a
         running b
         running c
         deploy v2
         prepared v2
         at 999
         at 1000
         stopped c
         running c
         moving
         stopped a
         sleep a
         running a
         stopped b
         destroy b
         moving",
        expect![[r#"
            w <- start v1 created: a@1 #1
            w <- start v1 created: b@1 #1
            w <- start v1 created: c@1 #1
            w <- request q1 a@1
            w <- request q2 b@1
            w <- request q3 c@1
            w <- prepare v2
            w <- stop goingaway: a@1 #2
            w <- stop goingaway: b@1 #2
            call 3 <- counter version 2 of 2 is live
            w <- stop goingaway: c@1 #2
            w <- start v2 from version 1 upgraded: c@2 #1
            call 4 <- moving 2
            w <- start v2 from version 1 upgraded: a@2 #1
            w <- start v2 from version 1 upgraded: b@2 #1
            w <- stop destroy: b@2 #2
            call 6 <- moving 1
        "#]],
    );
}

#[test]
fn a_version_that_no_runner_is_ready_for_is_prepared_when_an_actor_needs_it() {
    check(
        "up
         deploy v2
         prepared v2
         rollback 1
         prepared v1
         request q1 for a
         running a
         pin a 2
         stopped a
         running a
         restart engine
         up again
         request q2 for a
         request q3 for a
         prepared v2
         running a",
        expect![[r#"
            w <- prepare v2
            call 3 <- counter version 2 of 2 is live
            w <- prepare v1
            call 4 <- counter version 1 of 2 is live
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            w <- stop goingaway: a@1 #2
            call 5 <- done
            w <- start v2 from version 1 upgraded: a@2 #1
            w <- prepare v1
            w <- prepare v2
            w <- start v2 woken: a@3 #1
            w <- request q2 a@3
            w <- request q3 a@3
        "#]],
    );
}

#[test]
fn a_new_version_is_tried_by_those_that_were_held_back() {
    check(
        "up
         request q1 for a
         running a
         deploy v2
         prepared v2
         stopped a
         not-migrated a no
         running a
         deploy v3
         prepared v3
         stopped a
         running a
         show a
         rollback 2
         prepared v2
         stopped a
         not-migrated a no way back
         running a
         destroy a
         stopped a",
        expect![[r#"
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            w <- prepare v2
            w <- stop goingaway: a@1 #2
            call 3 <- counter version 2 of 2 is live
            w <- start v2 from version 1 upgraded: a@2 #1
            w <- start v1 upgraded: a@3 #1
            w <- prepare v3
            w <- stop goingaway: a@3 #2
            call 4 <- counter version 3 of 3 is live
            w <- start v3 from version 1 upgraded: a@4 #1
            a: generation 4, start 0, connectable 0, on w, state of version 3
            w <- prepare v2
            w <- stop goingaway: a@4 #2
            call 5 <- counter version 2 of 3 is live
            w <- start v2 from version 3 upgraded: a@5 #1
            w <- start v3 upgraded: a@6 #1
            w <- stop destroy: a@6 #2
            call 6 <- done
        "#]],
    );
}

#[test]
fn a_look_at_a_component_deploys_nothing() {
    check(
        "up
         look v2
         prepared v2
         look v3
         refused v3
         request q1 for a",
        expect![[r#"
            w <- prepare v2
            call 3 <- handles [Http]
            w <- prepare v3
            call 4 <- component.no_handler: it has no handler
            w <- start v1 created: a@1 #1
        "#]],
    );
}

#[test]
fn old_versions_go_unless_they_are_needed() {
    let deploys: String = (0..25).map(|number| format!("configure config.A={number}\n")).collect();
    check(
        &format!("up\nrequest q1 for a\nrunning a\npin a 1\n{deploys}pin a 5\npin a 7\nrollback 3\nrollback 6"),
        expect![[r#"
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            call 3 <- done
            call 4 <- counter version 2 of 2 is live
            call 5 <- counter version 3 of 3 is live
            call 6 <- counter version 4 of 4 is live
            call 7 <- counter version 5 of 5 is live
            call 8 <- counter version 6 of 6 is live
            call 9 <- counter version 7 of 7 is live
            call 10 <- counter version 8 of 8 is live
            call 11 <- counter version 9 of 9 is live
            call 12 <- counter version 10 of 10 is live
            call 13 <- counter version 11 of 11 is live
            call 14 <- counter version 12 of 12 is live
            call 15 <- counter version 13 of 13 is live
            call 16 <- counter version 14 of 14 is live
            call 17 <- counter version 15 of 15 is live
            call 18 <- counter version 16 of 16 is live
            call 19 <- counter version 17 of 17 is live
            call 20 <- counter version 18 of 18 is live
            call 21 <- counter version 19 of 19 is live
            call 22 <- counter version 20 of 20 is live
            call 23 <- counter version 21 of 21 is live
            call 24 <- counter version 22 of 21 is live
            call 25 <- counter version 23 of 21 is live
            call 26 <- counter version 24 of 21 is live
            call 27 <- counter version 25 of 21 is live
            call 28 <- counter version 26 of 21 is live
            call 29 <- deployment.version_not_found: "counter" has no version 5; GET /deployments lists the versions that are kept
            w <- stop goingaway: a@1 #2
            call 30 <- done
            call 31 <- deployment.version_not_found: "counter" has no version 3; GET /deployments lists the versions that are kept
            call 32 <- deployment.version_not_found: "counter" has no version 6; GET /deployments lists the versions that are kept
        "#]],
    );
}

#[test]
fn who_can_neither_be_migrated_nor_go_back_says_so() {
    let deploys: String = (0..20).map(|number| format!("configure config.A={number}\n")).collect();
    check(
        &format!(
            "up\nrequest q1 for a\nrunning a\nended q1\nsleep a\nstopped a\n{deploys}request q2 for a\nnot-migrated a no column x
             show a\nrequest q3 for a\nretry\nrequest q4 for a\nrunning a\nshow a"
        ),
        expect![[r#"
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            w <- stop sleep: a@1 #2
            call 3 <- counter version 2 of 2 is live
            call 4 <- counter version 3 of 3 is live
            call 5 <- counter version 4 of 4 is live
            call 6 <- counter version 5 of 5 is live
            call 7 <- counter version 6 of 6 is live
            call 8 <- counter version 7 of 7 is live
            call 9 <- counter version 8 of 8 is live
            call 10 <- counter version 9 of 9 is live
            call 11 <- counter version 10 of 10 is live
            call 12 <- counter version 11 of 11 is live
            call 13 <- counter version 12 of 12 is live
            call 14 <- counter version 13 of 13 is live
            call 15 <- counter version 14 of 14 is live
            call 16 <- counter version 15 of 15 is live
            call 17 <- counter version 16 of 16 is live
            call 18 <- counter version 17 of 17 is live
            call 19 <- counter version 18 of 18 is live
            call 20 <- counter version 19 of 19 is live
            call 21 <- counter version 20 of 20 is live
            call 22 <- counter version 21 of 20 is live
            w <- start v1 a=19 from version 1 woken: a@2 #1
            q2 <- actor.start_failed: actor a could not be started: its state could not be migrated to version 21 (no column x), and version 1, which wrote it, is not kept any more; deploy one that can migrate it, or try again with POST /deployments/counter/retry
            a: generation 2, start 0, sleep 0, Crashed { message: Some("its state could not be migrated to version 21 (no column x), and version 1, which wrote it, is not kept any more; deploy one that can migrate it, or try again with POST /deployments/counter/retry") }, state of version 1, held back from version 21 attempt 0: no column x
            q3 <- actor.start_failed: actor a could not be started: its state could not be migrated to version 21 (no column x), and version 1, which wrote it, is not kept any more; deploy one that can migrate it, or try again with POST /deployments/counter/retry
            call 23 <- counter version 21 of 20 is live
            w <- start v1 a=19 from version 1 woken: a@3 #1
            w <- request q4 a@3
            a: generation 3, start 0, connectable 0, on w, state of version 21
        "#]],
    );
}
