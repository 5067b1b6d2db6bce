//! Alarms: never early, at least once, gone with the commit of their handler.

use expect_test::expect;

use crate::check;

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
