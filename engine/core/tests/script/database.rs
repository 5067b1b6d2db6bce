//! The two fences of an actor's database, and commits that come in pieces.

use expect_test::expect;

use crate::check;

#[test]
fn commits_raise_the_head_and_its_fence_holds() {
    check(
        "up pool
         envoy e1 joined
         create a
         running a
         db e1 a read unfenced
         db e1 a read
         db e1 a commit 1,2 2 0
         db e1 a commit 1 2 0
         db e1 a commit 1 2 1
         db e1 a commit  1 -
         db e1 a short 1
         db e1 a large
         db e1 a commit 0 1 -
         db e1 a commit 1,1 1 -
         db e1 a commit 1 4000000 -",
        expect![[r#"
            call 3 <- created a
            e1 <- start nothing created: a@1 #1
            e1 <- db sqlite.invalid_request: sqlite get_pages missing expectedGeneration
            disk <- pages [1] of a for call 5
            e1 <- db committed 1
            e1 <- db depot.head_fence_mismatch: transaction failed: sqlite head fence mismatch: expected head txid 0, current head txid 1
            e1 <- db committed 2
            e1 <- db committed 3
            e1 <- db core.internal_error: sqlite commit page 1 had 1 bytes, expected 4096
            e1 <- db depot.commit_too_large: sqlite commit too large: actual_size_bytes=1314816, max_size_bytes=1310720
            e1 <- db core.internal_error: sqlite commit does not accept page 0
            e1 <- db core.internal_error: sqlite commit duplicated page 1 in a single request
            e1 <- db depot.quota_exceeded: the database would have 4000000 pages of 4096 bytes; at most 2621440 are allowed
        "#]],
    );
}

#[test]
fn only_the_generation_that_runs_writes() {
    check(
        "up pool
         envoy e1 joined
         create a
         db e1 a@1 commit 1 1 0
         running a
         db e1 a@2 commit 1 1 -
         sleep a
         db e1 a@1 commit 1 1 1
         stopped a
         db e1 a@1 commit 1 1 2
         request q1 for a
         db e1 a@1 commit 1 1 2
         db e1 a@2 commit 1 1 2
         db e1 nobody@1 read",
        expect![[r#"
            call 3 <- created a
            e1 <- start nothing created: a@1 #1
            e1 <- db committed 1
            e1 <- db core.internal_error: actor does not exist
            e1 <- stop sleep: a@1 #2
            e1 <- db committed 2
            e1 <- db core.internal_error: actor does not exist
            e1 <- start nothing woken: a@2 #1
            e1 <- db core.internal_error: actor does not exist
            e1 <- db committed 3
            e1 <- db core.internal_error: actor does not exist
        "#]],
    );
}

#[test]
fn a_commit_is_answered_when_it_is_durable() {
    check(
        "up pool
         envoy e1 joined
         create a
         running a
         hold commits
         db e1 a commit 1 1 0
         db e1 a commit 1 1 1
         release commits",
        expect![[r#"
            call 3 <- created a
            e1 <- start nothing created: a@1 #1
            e1 <- db committed 1
            e1 <- db committed 2
        "#]],
    );
}

#[test]
fn a_commit_in_pieces() {
    check(
        "up pool
         envoy e1 joined
         create a
         running a
         db e1 a begin 0
         db e1 a begin 0
         db e1 a read
         db e1 a segment 1 0 1,2
         db e1 a segment 1 3 3
         db e1 a segment 2 64 64
         db e1 a segment 1 64 2
         db e1 a segment 1 64 400
         db e1 a segment 1 64 64,70
         db e1 a finalize 1 70 0
         db e1 a finalize 1 70 0 64 128
         db e1 a finalize 1 70 0 64
         db e1 a finalize 1 70 0 64
         db e1 a begin 1
         db e1 a segment 2 0 1
         db e1 a commit 1 70 1
         db e1 a finalize 2 70 0",
        expect![[r#"
            call 3 <- created a
            e1 <- start nothing created: a@1 #1
            e1 <- db staging 1
            e1 <- db staging 1
            e1 <- db depot.meta_missing: transaction failed: sqlite meta missing for get_pages
            e1 <- db staged 8192
            e1 <- db depot.stage_segment_invalid: transaction failed: StageSegmentInvalid: first page 3 is not shard-aligned
            e1 <- db depot.head_fence_mismatch: transaction failed: sqlite head fence mismatch: expected head txid 1, current head txid 0
            e1 <- db depot.stage_segment_invalid: transaction failed: StageSegmentInvalid: page 2 is outside of the segment from 64 to 384
            e1 <- db depot.stage_segment_invalid: transaction failed: StageSegmentInvalid: page 400 is outside of the segment from 64 to 384
            e1 <- db staged 16384
            e1 <- db depot.stage_segment_invalid: transaction failed: StageSegmentInvalid: the segment at page 64 was staged and is not listed
            e1 <- db depot.stage_not_found: transaction failed: StageNotFound: no staged segment at page 128 for txid 1
            e1 <- db committed 1
            e1 <- db depot.head_fence_mismatch: transaction failed: sqlite head fence mismatch: expected head txid 0, current head txid 1
            e1 <- db staging 2
            e1 <- db staged 4096
            e1 <- db committed 2
            e1 <- db depot.head_fence_mismatch: transaction failed: sqlite head fence mismatch: expected head txid 1, current head txid 2
        "#]],
    );
}

#[test]
fn statements_that_the_engine_runs_are_fenced_too() {
    check(
        "up pool
         envoy e1 joined
         create a
         running a
         db e1 a run
         ran a 0 1
         db e1 a commit 1 1 1
         ran a 1 1
         ran a@2 2 1
         ran a 2 1",
        expect![[r#"
            call 3 <- created a
            e1 <- start nothing created: a@1 #1
            sql <- a@1
            e1 <- Rows(Rows { columns: [], rows: [] })
            e1 <- db committed 2
            e1 <- db depot.head_fence_mismatch: transaction failed: sqlite head fence mismatch: expected head txid 1, current head txid 2
            e1 <- db core.internal_error: actor does not exist
            e1 <- Rows(Rows { columns: [], rows: [] })
        "#]],
    );
}
