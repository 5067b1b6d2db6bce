//! A namespace goes, with everything in it.

use expect_test::expect;

use crate::check;

#[test]
fn actors_end_records_go_and_the_name_is_free_again() {
    check(
        "up
         namespace other Other
         foreign a
         foreign b
         request q1 to a
         running a
         delete namespace other
         progress other
         request q2 in other
         request q3 to a
         namespace other Other
         request q4 to b
         delete namespace other
         stopped a
         progress other
         request q5 to b
         namespace other Other
         memory",
        expect![[r#"
            call 3 <- namespace other
            w <- prepare v1
            call 4 <- counter version 1 of 1 is live
            call 5 <- created a
            w <- start v1 created: a@1 #1
            w <- stop sleep: a@1 #2
            w <- prepare v1
            call 6 <- counter version 1 of 1 is live
            call 7 <- created b
            w <- start v1 created: b@1 #1
            w <- stop sleep: b@1 #2
            w <- start v1 woken: a@2 #1
            w <- request q1 a@2
            call 8 <- deleting other: Actors, 2 actors left, 0 records removed
            w <- stop destroy: a@2 #2
            call 9 <- deleting other: Actors, 1 actors left, 0 records removed
            q2 <- namespace.deleting: namespace "other" is being deleted with everything in it; GET /namespaces/other/quotas shows how far that is
            q3 <- namespace.deleting: namespace "other" is being deleted with everything in it; GET /namespaces/other/quotas shows how far that is
            call 10 <- namespace.deleting: namespace "other" is being deleted with everything in it; GET /namespaces/other/quotas shows how far that is
            q4 <- actor.not_found: there is no such actor; it was never created or has been destroyed
            call 11 <- deleting other: Actors, 1 actors left, 0 records removed
            call 12 <- namespace.not_found: there is no namespace "other"; create it with POST /namespaces or use "default"
            q5 <- actor.not_found: there is no such actor; it was never created or has been destroyed
            call 13 <- namespace other
            memory: 1 actors, 1 requests
        "#]],
    );
}

#[test]
fn the_default_one_stays() {
    check(
        "up
         delete namespace default
         delete namespace nothing",
        expect![[r#"
            call 3 <- namespace.not_deletable: the namespace "default" is there from the start and stays; destroy its actors, or use another namespace
            call 4 <- namespace.not_found: there is no namespace "nothing"; create it with POST /namespaces or use "default"
        "#]],
    );
}

#[test]
fn an_actor_that_does_not_stop_is_given_up() {
    check(
        "up
         namespace other Other
         foreign a
         request q1 to a
         running a
         delete namespace other
         at 9999
         at 10000
         progress other",
        expect![[r#"
            call 3 <- namespace other
            w <- prepare v1
            call 4 <- counter version 1 of 1 is live
            call 5 <- created a
            w <- start v1 created: a@1 #1
            w <- stop sleep: a@1 #2
            w <- start v1 woken: a@2 #1
            w <- request q1 a@2
            call 6 <- deleting other: Actors, 1 actors left, 0 records removed
            w <- stop destroy: a@2 #2
            w <- stop lost: a@2 #3
            q1 <- guard.tunnel_response_closed: the runner of actor a was lost while it handled the request; whether it took effect is not known
            call 7 <- namespace.not_found: there is no namespace "other"; create it with POST /namespaces or use "default"
        "#]],
    );
}

#[test]
fn a_restart_goes_on() {
    check(
        "up
         namespace other Other
         foreign a
         foreign b
         request q1 to a
         running a
         delete namespace other
         restart engine
         up again
         progress other
         namespace other Other",
        expect![[r#"
            call 3 <- namespace other
            w <- prepare v1
            call 4 <- counter version 1 of 1 is live
            call 5 <- created a
            w <- start v1 created: a@1 #1
            w <- stop sleep: a@1 #2
            w <- prepare v1
            call 6 <- counter version 1 of 1 is live
            call 7 <- created b
            w <- start v1 created: b@1 #1
            w <- stop sleep: b@1 #2
            w <- start v1 woken: a@2 #1
            w <- request q1 a@2
            call 8 <- deleting other: Actors, 2 actors left, 0 records removed
            w <- stop destroy: a@2 #2
            call 9 <- namespace.not_found: there is no namespace "other"; create it with POST /namespaces or use "default"
            call 10 <- namespace other
        "#]],
    );
}

#[test]
fn what_is_on_its_way_when_it_begins_comes_to_nothing() {
    check(
        "up
         namespace other Other
         foreign a
         hold commits
         delete namespace other
         release commits
         progress other
         memory",
        expect![[r#"
            call 3 <- namespace other
            w <- prepare v1
            call 4 <- counter version 1 of 1 is live
            call 5 <- created a
            w <- start v1 created: a@1 #1
            w <- stop sleep: a@1 #2
            call 6 <- deleting other: Actors, 1 actors left, 0 records removed
            call 7 <- namespace.not_found: there is no namespace "other"; create it with POST /namespaces or use "default"
            memory: 0 actors, 0 requests
        "#]],
    );
}
