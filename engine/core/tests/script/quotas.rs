//! What a namespace may have.

use expect_test::expect;

use crate::check;

#[test]
fn actors_are_counted_however_they_are_made() {
    check(
        "up
         quotas actors=2
         create a
         request q1 for b
         create c
         get c
         request q2 for c
         get a
         request q3 for a
         quotas
         quotas actors=3
         create c
         quotas",
        expect![[r#"
            call 3 <- quotas: actors=2; 0 actors, 0 awake, 1 deployments, 1 bytes of components
            call 4 <- created a
            w <- start v1 created: a@1 #1
            w <- start v1 created: b@1 #1
            call 5 <- namespace.quota_exceeded: namespace "default" has used 2 of its quota actors of 2, and 1 more would be above it; remove something, or raise it: rivet-engine namespaces quotas default
            call 6 <- namespace.quota_exceeded: namespace "default" has used 2 of its quota actors of 2, and 1 more would be above it; remove something, or raise it: rivet-engine namespaces quotas default
            q2 <- namespace.quota_exceeded: namespace "default" has used 2 of its quota actors of 2, and 1 more would be above it; remove something, or raise it: rivet-engine namespaces quotas default
            call 7 <- found a
            call 8 <- quotas: actors=2; 2 actors, 2 awake, 1 deployments, 1 bytes of components
            call 9 <- quotas: actors=3; 2 actors, 2 awake, 1 deployments, 1 bytes of components
            call 10 <- created c
            w <- start v1 created: c@1 #1
            call 11 <- quotas: actors=3; 3 actors, 3 awake, 1 deployments, 1 bytes of components
        "#]],
    );
}

#[test]
fn a_second_has_so_many_requests() {
    check(
        "up
         quotas requests_per_second=2
         request q1 for a
         request q2 to a
         request q3 to a
         request q4 for b
         at 499
         request q5 to a
         at 500
         request q6 to a
         quotas requests_per_second=none
         request q7 to a
         request q8 for a
         quotas requests_per_second=0",
        expect![[r#"
            call 3 <- quotas: requests_per_second=2; 0 actors, 0 awake, 1 deployments, 1 bytes of components
            w <- start v1 created: a@1 #1
            q3 <- namespace.request_rate_exceeded: namespace "default" has used up its quota requests_per_second of 2; the next request may come in 500 ms
            q4 <- namespace.request_rate_exceeded: namespace "default" has used up its quota requests_per_second of 2; the next request may come in 500 ms
            q5 <- namespace.request_rate_exceeded: namespace "default" has used up its quota requests_per_second of 2; the next request may come in 1 ms
            call 4 <- quotas:; 1 actors, 1 awake, 1 deployments, 1 bytes of components
            call 5 <- namespace.quotas_invalid: requests_per_second is 0, and no request could ever come; give null for no quota
        "#]],
    );
}

#[test]
fn a_request_by_id_counts_once_its_actor_is_known() {
    check(
        "up
         create a
         running a
         sleep a
         stopped a
         quotas requests_per_second=1
         hold loads
         request q1 to a
         request q2 to a
         release loads
         running a",
        expect![[r#"
            call 3 <- created a
            w <- start v1 created: a@1 #1
            w <- stop sleep: a@1 #2
            call 4 <- quotas: requests_per_second=1; 1 actors, 0 awake, 1 deployments, 1 bytes of components
            q2 <- namespace.request_rate_exceeded: namespace "default" has used up its quota requests_per_second of 1; the next request may come in 1000 ms
            w <- start v1 woken: a@2 #1
            w <- request q1 a@2
        "#]],
    );
}

#[test]
fn deployments_and_their_components_are_counted() {
    check(
        "up
         quotas deployments=1 component_bytes=1
         deploy v1 config.A=1
         prepared v1
         deploy v2
         prepared v2
         quotas component_bytes=2
         deploy v2
         prepared v2
         quotas deployments=0
         deploy v3
         prepared v3
         quotas",
        expect![[r#"
            call 3 <- quotas: deployments=1 component_bytes=1; 0 actors, 0 awake, 1 deployments, 1 bytes of components
            w <- prepare v1
            call 4 <- counter version 2 of 2 is live
            w <- prepare v2
            call 5 <- namespace.quota_exceeded: namespace "default" has used 1 of its quota component_bytes of 1, and 1 more would be above it; remove something, or raise it: rivet-engine namespaces quotas default
            call 6 <- quotas: deployments=1 component_bytes=2; 0 actors, 0 awake, 1 deployments, 1 bytes of components
            w <- prepare v2
            call 7 <- counter version 3 of 3 is live
            call 8 <- quotas: deployments=0 component_bytes=2; 0 actors, 0 awake, 1 deployments, 2 bytes of components
            w <- prepare v3
            call 9 <- namespace.quota_exceeded: namespace "default" has used 2 of its quota component_bytes of 2, and 1 more would be above it; remove something, or raise it: rivet-engine namespaces quotas default
            call 10 <- quotas: deployments=0 component_bytes=2; 0 actors, 0 awake, 1 deployments, 2 bytes of components
        "#]],
    );
}
