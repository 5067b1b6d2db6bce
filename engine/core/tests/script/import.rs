//! Actors that come from elsewhere: there in one commit, asleep, and only under a key that is free.

use expect_test::expect;

use crate::check;

#[test]
fn it_is_asleep_with_all_that_it_brought_until_its_alarm_rings() {
    check(
        "up
         import a alarm 5000
         entries a
         memory
         at 4999
         at 5000
         running a
         request q1 for a",
        expect![[r#"
            call 3 <- done
            call 4 <- created a
            a: [own], its runner: [runner]
            memory: 0 actors, 0 requests
            w <- start v1 woken alarm 5000: a@1 #1
            w <- alarm 5000 attempt 1: a@1
            w <- request q1 a@1
        "#]],
    );
}

#[test]
fn nothing_is_answered_before_it_is_durable() {
    check(
        "up
         hold commits
         import a alarm 5000
         request q1 for a
         release commits
         running a",
        expect![[r#"
            call 3 <- done
            call 4 <- created a
            w <- start v1 woken alarm 5000: a@1 #1
            w <- request q1 a@1
        "#]],
    );
}

#[test]
fn a_key_that_is_taken_stays_with_who_has_it() {
    check(
        "up
         request q1 for a
         running a
         import a alarm 5000
         entries a
         at 5000",
        expect![[r#"
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            call 3 <- done
            call 4 <- actor.duplicate_key: actor a already has the key "a" under this name; use it, or PUT /actors to get or create
            a: [], its runner: []
        "#]],
    );
}

#[test]
fn it_counts_for_quotas_with_all_that_it_brings() {
    check(
        "up
         quotas storage_bytes=8202
         import a alarm 5000
         quotas storage_bytes=8203 actors=1
         import a alarm 5000
         quotas
         import b alarm 5000
         quotas actors=2
         import b alarm 5000",
        expect![[r#"
            call 3 <- quotas: storage_bytes=8202; 0 actors, 0 awake, 1 deployments, 1 bytes of components
            call 4 <- done
            call 5 <- namespace.quota_exceeded: namespace "default" has used 0 of its quota storage_bytes of 8202, and 8203 more would be above it; remove something, or raise it: rivet-engine namespaces quotas default
            call 6 <- quotas: actors=1 storage_bytes=8203; 0 actors, 0 awake, 1 deployments, 1 bytes of components
            call 7 <- done
            call 8 <- created a
            call 9 <- quotas: actors=1 storage_bytes=8203; 1 actors, 0 awake, 1 deployments, 1 bytes of components
            call 10 <- done
            call 11 <- namespace.quota_exceeded: namespace "default" has used 1 of its quota actors of 1, and 1 more would be above it; remove something, or raise it: rivet-engine namespaces quotas default
            call 12 <- quotas: actors=2 storage_bytes=8203; 1 actors, 0 awake, 1 deployments, 1 bytes of components
            call 13 <- done
            call 14 <- namespace.quota_exceeded: namespace "default" has used 8203 of its quota storage_bytes of 8203, and 8203 more would be above it; remove something, or raise it: rivet-engine namespaces quotas default
        "#]],
    );
}
