//! Alarms: never early, at least once, gone with the commit of their handler.

use expect_test::expect;
use rivet_engine_core::core::ALARM_WAKES_IN_FLIGHT_MAX;

use crate::{check, transcript};

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
fn an_alarm_of_an_actor_that_no_runner_can_run_fires_once_more_later() {
    check(
        "up
         request q1 for a
         running a
         write a 1 alarm=5000
         ended q1
         sleep a
         stopped a
         runner left
         runner joined
         refused v1
         at 5000
         show a
         prepared v1
         at 6999
         memory
         at 7000",
        expect![[r#"
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            w <- committed 1: a@1
            w <- stop sleep: a@1 #2
            w is forgotten
            w <- prepare v1
            a: generation 1, start 0, sleep 5000, Crashed { message: Some("it has no handler") }, state of version 1
            memory: 0 actors, 0 requests
            w <- start v1 woken alarm 5000: a@2 #1
        "#]],
    );
}

#[test]
fn alarms_that_find_no_place_wait_aside_and_take_turns_with_requests() {
    check(
        "up
         create b
         running b
         write b 1 alarm=1000
         sleep b
         stopped b
         create c
         running c
         write c 1 alarm=1010
         sleep c
         stopped c
         configure limits.awake=1
         request q1 for a
         running a
         at 1000
         at 1010
         at 9000
         memory
         request q2 for d
         ended q1
         at 9060
         sleep a
         stopped a
         running d
         ended q2
         request q3 for e
         at 9200
         sleep d
         stopped d
         running b
         write b 1 fired=1000
         at 9300
         sleep b
         stopped b
         running e
         ended q3
         at 9400
         sleep e
         stopped e
         running c",
        expect![[r#"
            call 3 <- created b
            w <- start v1 created: b@1 #1
            w <- committed 1: b@1
            w <- stop sleep: b@1 #2
            call 4 <- created c
            w <- start v1 created: c@1 #1
            w <- committed 1: c@1
            w <- stop sleep: c@1 #2
            call 5 <- counter version 2 of 2 is live
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            memory: 1 actors, 1 requests
            w <- asks a@1 to sleep
            w <- stop sleep: a@1 #2
            w <- start v1 created: d@1 #1
            w <- request q2 d@1
            w <- asks d@1 to sleep
            w <- stop sleep: d@1 #2
            w <- start v1 woken alarm 1000: b@2 #1
            w <- alarm 1000 attempt 1: b@2
            w <- committed 1: b@2
            w <- asks b@2 to sleep
            w <- stop sleep: b@2 #2
            w <- start v1 created: e@1 #1
            w <- request q3 e@1
            w <- asks e@1 to sleep
            w <- stop sleep: e@1 #2
            w <- start v1 woken alarm 1010: c@2 #1
            w <- alarm 1010 attempt 1: c@2
        "#]],
    );
}

#[test]
fn whoever_waits_aside_for_its_alarm_is_there_for_requests_and_may_be_destroyed() {
    check(
        "up
         create b
         running b
         write b 1 alarm=1000
         sleep b
         stopped b
         create c
         running c
         write c 1 alarm=1000
         sleep c
         stopped c
         configure limits.awake=1
         request q1 for a
         running a
         at 1000
         destroy c
         request q2 for b
         ended q1
         at 1100
         sleep a
         stopped a
         running b
         write b 1 fired=1000
         ended q2
         sleep b
         stopped b
         at 1200
         memory",
        expect![[r#"
            call 3 <- created b
            w <- start v1 created: b@1 #1
            w <- committed 1: b@1
            w <- stop sleep: b@1 #2
            call 4 <- created c
            w <- start v1 created: c@1 #1
            w <- committed 1: c@1
            w <- stop sleep: c@1 #2
            call 5 <- counter version 2 of 2 is live
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            call 6 <- done
            w <- asks a@1 to sleep
            w <- stop sleep: a@1 #2
            w <- start v1 woken alarm 1000: b@2 #1
            w <- request q2 b@2
            w <- alarm 1000 attempt 1: b@2
            w <- committed 1: b@2
            w <- stop sleep: b@2 #2
            memory: 0 actors, 0 requests
        "#]],
    );
}

/// More than may be woken at one time have nowhere to go, and one of another namespace has.
#[test]
fn alarms_of_a_full_deployment_hold_up_nobody_elses() {
    let sleepers = ALARM_WAKES_IN_FLIGHT_MAX + 50;
    let asleep_with_alarm =
        |key: &str, alarm_ms: u64| format!("running {key}\nwrite {key} 1 alarm={alarm_ms}\nsleep {key}\nstopped {key}\n");
    let mut script = String::from("up\nnamespace other Other\nforeign other\nrequest q1 to other\n");
    script += &asleep_with_alarm("other", 1_010);
    script += "ended q1\n";
    for number in 0..sleepers {
        script += &format!("create a{number}\n{}", asleep_with_alarm(&format!("a{number}"), 1_000));
    }
    script += "configure limits.awake=1\nrequest q2 for busy\nrunning busy\nhold loads\nat 1000\nrelease loads\nat 1010\nmemory";
    let transcript = transcript(&script);
    let last: Vec<&str> = transcript.lines().rev().take(2).collect();
    assert_eq!(last, ["memory: 2 actors, 1 requests", "w <- start v1 woken alarm 1010: other@3 #1"]);
}
