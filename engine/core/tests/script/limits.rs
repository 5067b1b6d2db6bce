//! What an actor may store, and how many may be awake.

use expect_test::expect;

use crate::check;

#[test]
fn an_actor_stores_what_its_limit_allows_and_not_a_byte_more() {
    check(
        "up
         configure limits.storage_bytes=100
         request q1 for a
         running a
         may a 1 k=98
         stores a 1 k=98
         may a 2 k=99
         stores a 2 k=99
         may a 3 k=100
         may a 4 k=1 l=96
         stores a 3 k=1 l=96
         bytes a
         may a 5 m=1
         may a 6 -l m=1
         may a 7 own.m=1",
        expect![[r#"
            call 3 <- counter version 2 of 2 is live
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            w <- kv 1 written
            w <- committed 1: a@1
            w <- kv 2 written
            w <- committed 2: a@1
            w <- kv 3: actor a has stored 100 bytes, and 1 more would be above its limit of 100; delete something, or raise the limit: rivet-engine configure counter --limit storage=...
            w <- kv 4 written
            w <- committed 3: a@1
            a: 99 bytes of entries, 0 of its database
            w <- kv 5: actor a has stored 99 bytes, and 2 more would be above its limit of 100; delete something, or raise the limit: rivet-engine configure counter --limit storage=...
            w <- kv 6 written
            w <- kv 7: actor a has stored 99 bytes, and 2 more would be above its limit of 100; delete something, or raise the limit: rivet-engine configure counter --limit storage=...
        "#]],
    );
}

#[test]
fn deletes_and_what_shrinks_go_on_above_a_limit() {
    check(
        "up
         request q1 for a
         running a
         stores a 1 k=500 l=100
         sleep a
         stopped a
         configure limits.storage_bytes=100
         request q2 for a
         running a
         may a 1 k=501
         may a 2 k=500
         stores a 1 k=500
         may a 3 k=400
         stores a 2 k=400
         may a 4 -k
         stores a 3 -k
         bytes a
         may a 5 k=1",
        expect![[r#"
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            w <- committed 1: a@1
            w <- stop sleep: a@1 #2
            call 3 <- counter version 2 of 2 is live
            w <- start v1 woken: a@2 #1
            w <- request q2 a@2
            w <- kv 1: actor a has stored 602 bytes, and 1 more would be above its limit of 100; delete something, or raise the limit: rivet-engine configure counter --limit storage=...
            w <- kv 2 written
            w <- committed 1: a@2
            w <- kv 3 written
            w <- committed 2: a@2
            w <- kv 4 written
            w <- committed 3: a@2
            a: 101 bytes of entries, 0 of its database
            w <- kv 5: actor a has stored 101 bytes, and 2 more would be above its limit of 100; delete something, or raise the limit: rivet-engine configure counter --limit storage=...
        "#]],
    );
}

#[test]
fn pages_and_entries_share_a_limit() {
    check(
        "up
         configure limits.storage_bytes=8200
         request q1 for a
         running a
         may a 1 k=7 pages=2
         may a 2 k=8 pages=2
         may a 3 k=4000 pages=1",
        expect![[r#"
            call 3 <- counter version 2 of 2 is live
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            w <- kv 1 written
            w <- kv 2: actor a has stored 0 bytes, and 8201 more would be above its limit of 8200; delete something, or raise the limit: rivet-engine configure counter --limit storage=...
            w <- kv 3 written
        "#]],
    );
}

#[test]
fn a_commit_that_nobody_asked_for_and_that_is_too_large_ends_the_generation() {
    check(
        "up
         configure limits.storage_bytes=10
         request q1 for a
         running a
         stores a 1 k=5
         stores a 2 l=5
         bytes a",
        expect![[r#"
            call 3 <- counter version 2 of 2 is live
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            w <- committed 1: a@1
            w <- stop lost: a@1 #2
            a: 6 bytes of entries, 0 of its database
        "#]],
    );
}

#[test]
fn a_grant_is_for_one_commit_and_what_was_not_used_is_given_back() {
    check(
        "up
         quotas storage_bytes=100
         request q1 for a
         request q2 for b
         running a
         running b
         may a 1 k=99
         may b 1 k=1
         may a 2 k=50
         may b 2 k=48
         stores a 1 k=50
         stores b 1 k=48
         may a 3 l=1
         quotas storage_bytes=none
         may a 4 l=1",
        expect![[r#"
            call 3 <- quotas: storage_bytes=100; 0 actors, 0 awake, 1 deployments, 1 bytes of components
            w <- start v1 created: a@1 #1
            w <- start v1 created: b@1 #1
            w <- request q1 a@1
            w <- request q2 b@1
            w <- kv 1 written
            w <- kv 1: the actors of namespace "default" have stored 100 bytes, and 2 more would be above its quota storage_bytes of 100; delete something, or raise it: rivet-engine namespaces quotas default
            w <- kv 2 written
            w <- kv 2 written
            w <- committed 1: a@1
            w <- committed 1: b@1
            w <- kv 3: the actors of namespace "default" have stored 100 bytes, and 2 more would be above its quota storage_bytes of 100; delete something, or raise it: rivet-engine namespaces quotas default
            call 4 <- quotas:; 2 actors, 2 awake, 1 deployments, 1 bytes of components
            w <- kv 4 written
        "#]],
    );
}

#[test]
fn writes_of_runners_wait_for_their_weight_in_their_order() {
    check(
        "up pool
         quotas storage_bytes=100
         envoy e1 joined
         create a
         running a
         envoy e1 puts a 1 k=60
         hold commits
         envoy e1 puts a 2 k=61
         envoy e1 puts a 3 l=60
         envoy e1 puts a 4 -k
         envoy e1 puts a 5 l=60
         release commits
         bytes a
         sleep a
         stopped a
         envoy e1 puts a 6 m=98
         envoy e1 puts a 7 m=37
         destroy a
         envoy e1 puts a 8 m=1",
        expect![[r#"
            call 3 <- quotas: storage_bytes=100; 0 actors, 0 awake, 0 deployments, 0 bytes of components
            call 4 <- created a
            e1 <- start nothing created: a@1 #1
            e1 <- kv 1 written
            e1 <- kv 2 written
            e1 <- kv 3: actor.storage_full: the actors of namespace "default" have stored 62 bytes, and 61 more would be above its quota storage_bytes of 100; delete something, or raise it: rivet-engine namespaces quotas default
            e1 <- kv 4 written
            e1 <- kv 5 written
            a: 61 bytes of entries, 0 of its database
            e1 <- stop sleep: a@1 #2
            e1 <- kv 6: actor.storage_full: the actors of namespace "default" have stored 61 bytes, and 99 more would be above its quota storage_bytes of 100; delete something, or raise it: rivet-engine namespaces quotas default
            e1 <- kv 7 written
            call 5 <- done
            e1 <- kv 8: actor does not exist
        "#]],
    );
}

#[test]
fn pages_of_runners_are_refused_and_what_shrinks_is_not() {
    check(
        "up pool
         quotas storage_bytes=8200
         envoy e1 joined
         create a
         running a
         db e1 a commit 1,2 2 0
         db e1 a commit 1 3 1
         db e1 a commit 1 2 1
         envoy e1 puts a 1 k=7
         envoy e1 puts a 2 l=1
         quotas storage_bytes=1
         db e1 a commit 1 2 2
         db e1 a commit 1 1 3
         bytes a",
        expect![[r#"
            call 3 <- quotas: storage_bytes=8200; 0 actors, 0 awake, 0 deployments, 0 bytes of components
            call 4 <- created a
            e1 <- start nothing created: a@1 #1
            e1 <- db committed 1
            e1 <- db depot.quota_exceeded: the actors of namespace "default" have stored 8192 bytes, and 4096 more would be above its quota storage_bytes of 8200; delete something, or raise it: rivet-engine namespaces quotas default
            e1 <- db committed 2
            e1 <- kv 1 written
            e1 <- kv 2: actor.storage_full: the actors of namespace "default" have stored 8200 bytes, and 2 more would be above its quota storage_bytes of 8200; delete something, or raise it: rivet-engine namespaces quotas default
            call 5 <- quotas: storage_bytes=1; 1 actors, 1 awake, 0 deployments, 0 bytes of components
            e1 <- db committed 3
            e1 <- db committed 4
            a: 8 bytes of entries, 4096 of its database
        "#]],
    );
}

#[test]
fn a_namespace_has_room_again_when_its_actors_are_destroyed() {
    check(
        "up
         quotas storage_bytes=100 actors=2
         request q1 for a
         running a
         may a 1 k=99
         stores a 1 k=99
         create b
         running b
         create c
         may b 1 k=1
         destroy a
         stopped a
         may b 2 k=99
         stores b 1 k=99
         create c
         request q2 for d
         get b
         quotas",
        expect![[r#"
            call 3 <- quotas: actors=2 storage_bytes=100; 0 actors, 0 awake, 1 deployments, 1 bytes of components
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            w <- kv 1 written
            w <- committed 1: a@1
            call 4 <- created b
            w <- start v1 created: b@1 #1
            call 5 <- namespace.quota_exceeded: namespace "default" has used 2 of its quota actors of 2, and 1 more would be above it; remove something, or raise it: rivet-engine namespaces quotas default
            w <- kv 1: the actors of namespace "default" have stored 100 bytes, and 2 more would be above its quota storage_bytes of 100; delete something, or raise it: rivet-engine namespaces quotas default
            w <- stop destroy: a@1 #2
            call 6 <- done
            w <- kv 2 written
            w <- committed 1: b@1
            call 7 <- created c
            w <- start v1 created: c@1 #1
            q2 <- namespace.quota_exceeded: namespace "default" has used 2 of its quota actors of 2, and 1 more would be above it; remove something, or raise it: rivet-engine namespaces quotas default
            call 8 <- found b
            call 9 <- quotas: actors=2 storage_bytes=100; 2 actors, 2 awake, 1 deployments, 1 bytes of components
        "#]],
    );
}

#[test]
fn quotas_and_usage_outlive_the_engine() {
    check(
        "up
         quotas storage_bytes=100 actors=1
         request q1 for a
         running a
         may a 1 k=80
         stores a 1 k=80
         restart engine
         up again
         request q2 for a
         running a
         may a 2 l=18
         may a 3 l=19
         create b
         quotas",
        expect![[r#"
            call 3 <- quotas: actors=1 storage_bytes=100; 0 actors, 0 awake, 1 deployments, 1 bytes of components
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            w <- kv 1 written
            w <- committed 1: a@1
            w <- prepare v1
            w <- start v1 woken: a@2 #1
            w <- request q2 a@2
            w <- kv 2 written
            w <- kv 3: the actors of namespace "default" have stored 81 bytes, and 20 more would be above its quota storage_bytes of 100; delete something, or raise it: rivet-engine namespaces quotas default
            call 4 <- namespace.quota_exceeded: namespace "default" has used 1 of its quota actors of 1, and 1 more would be above it; remove something, or raise it: rivet-engine namespaces quotas default
            call 5 <- quotas: actors=1 storage_bytes=100; 1 actors, 1 awake, 1 deployments, 1 bytes of components
        "#]],
    );
}

#[test]
fn the_least_recently_used_of_the_idle_makes_place() {
    check(
        "up
         configure limits.awake=2
         request q1 for a
         running a
         request q2 for b
         running b
         at 10
         ended q2
         at 20
         ended q1
         at 30
         request q3 for c
         sleep b
         stopped b
         running c
         show b",
        expect![[r#"
            call 3 <- counter version 2 of 2 is live
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            w <- start v1 created: b@1 #1
            w <- request q2 b@1
            w <- asks b@1 to sleep
            w <- stop sleep: b@1 #2
            w <- start v1 created: c@1 #1
            w <- request q3 c@1
            b: generation 1, start 0, sleep 30, state of version 2
        "#]],
    );
}

#[test]
fn who_finds_no_place_is_refused_and_sleeps() {
    check(
        "up
         configure limits.awake=1
         request q1 for a
         running a
         request q2 for b
         at 1999
         at 2000
         show b
         ended q1
         request q3 for b
         at 2100
         at 2400
         sleep a
         stopped a
         running b",
        expect![[r#"
            call 3 <- counter version 2 of 2 is live
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            q2 <- actor.awake_limit: the deployment "counter" may have 1 actors awake at one time (rivet-engine configure counter --limit awake=...), and none of them went to sleep for actor b in 2000 ms; try again later
            b: generation 0, sleep 2000, NoCapacity
            w <- asks a@1 to sleep
            w <- asks a@1 to sleep
            w <- stop sleep: a@1 #2
            w <- start v1 created: b@1 #1
            w <- request q3 b@1
        "#]],
    );
}

#[test]
fn places_go_to_whoever_waits_longest() {
    check(
        "up
         configure limits.awake=1
         request q1 for a
         running a
         request q2 for b
         at 10
         request q3 for c
         at 20
         ended q1
         at 60
         sleep a
         stopped a
         running b
         ended q2
         at 200
         sleep b
         stopped b
         running c",
        expect![[r#"
            call 3 <- counter version 2 of 2 is live
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            w <- asks a@1 to sleep
            w <- stop sleep: a@1 #2
            w <- start v1 created: b@1 #1
            w <- request q2 b@1
            w <- asks b@1 to sleep
            w <- stop sleep: b@1 #2
            w <- start v1 created: c@1 #1
            w <- request q3 c@1
        "#]],
    );
}

#[test]
fn one_that_waits_for_a_place_can_be_destroyed_or_upgraded() {
    check(
        "up
         configure limits.awake=1
         request q1 for a
         running a
         request q2 for b
         destroy b
         request q3 for c
         deploy v2 limits.awake=2
         prepared v2
         at 50
         stopped a
         running a
         running c",
        expect![[r#"
            call 3 <- counter version 2 of 2 is live
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            q2 <- actor.destroyed_while_waiting_for_ready: actor b was destroyed while the request waited for it
            call 4 <- done
            w <- prepare v2
            w <- stop goingaway: a@1 #2
            call 5 <- counter version 3 of 3 is live
            w <- start v2 created: c@1 #1
            w <- start v2 from version 2 upgraded: a@2 #1
            w <- request q3 c@1
        "#]],
    );
}

#[test]
fn a_namespace_bounds_its_awake_actors_of_all_names() {
    check(
        "up pool
         quotas awake_actors=1
         envoy e1 joined
         create a
         running a
         request q1 for b
         stopped a
         running b
         restart engine
         up again
         quotas",
        expect![[r#"
            call 3 <- quotas: awake_actors=1; 0 actors, 0 awake, 0 deployments, 0 bytes of components
            call 4 <- created a
            e1 <- start nothing created: a@1 #1
            e1 <- stop sleep: a@1 #2
            e1 <- start nothing created: b@1 #1
            e1 <- request q1 b@1
            call 5 <- quotas: awake_actors=1; 2 actors, 1 awake, 0 deployments, 0 bytes of components
        "#]],
    );
}

#[test]
fn a_refused_commit_leaves_nothing_that_later_ones_wait_for() {
    check(
        "up
         configure limits.storage_bytes=10000
         request q1 for a
         running a
         write a 1 pages=5:1:1
         request q2 for a
         running a
         may a 1 k=9999
         stores a 1 k=9999
         bytes a
         may a 2 l=1",
        expect![[r#"
            call 3 <- counter version 2 of 2 is live
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            w <- stop lost: a@1 #2
            w <- start v1 restarted: a@2 #1
            w <- request q2 a@2
            w <- kv 1 written
            w <- committed 1: a@2
            a: 10000 bytes of entries, 0 of its database
            w <- kv 2: actor a has stored 10000 bytes, and 2 more would be above its limit of 10000; delete something, or raise the limit: rivet-engine configure counter --limit storage=...
        "#]],
    );
}
