//! Messages of components: what one commit may hold beside entries, and what it may not.

use expect_test::expect;

use crate::check;

#[test]
fn a_commit_has_entries_of_the_runners_own() {
    check(
        "up
         request q1 for a
         running a
         write a 1 own=cron
         entries a
         destroy a
         stopped a",
        expect![[r#"
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            w <- committed 1: a@1
            a: [k], its runner: [cron]
            w <- stop destroy: a@1 #2
            call 3 <- done
        "#]],
    );
}

#[test]
fn only_a_runner_of_components_sends_commits() {
    check(
        "up pool
         envoy e1 joined
         create a
         running a
         hold commits
         envoy e1 writes a 1 own=cron
         release commits
         entries a",
        expect![[r#"
            call 3 <- created a
            e1 <- start nothing created: a@1 #1
            e1 <- stop lost: a@1 #-
            a: [], its runner: []
        "#]],
    );
}

#[test]
fn pages_become_durable_with_the_message_that_wrote_them() {
    check(
        "up
         request q1 for a
         running a
         message a run
         message a seal
         sealed a 5:1,2:2 on 0
         hold commits
         write a 1 pages=5:1,2:2
         message a run
         release commits
         sealed a 6:1:2 on 1
         write a 2 pages=6:1:2
         sleep a
         stopped a",
        expect![[r#"
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            sql <- a@1
            sql <- a@1
            w <- db sealed 2 of 2 pages
            sql <- a@1
            sql <- is committed: call 5 of a@1
            w <- committed 1: a@1
            w <- db sealed 1 of 2 pages
            sql <- is committed: call 6 of a@1
            w <- committed 2: a@1
            w <- stop sleep: a@1 #2
            sql <- end a@1
        "#]],
    );
}

#[test]
fn what_was_sealed_can_be_given_up() {
    check(
        "up
         request q1 for a
         running a
         message a run
         sealed a 5:1:1 on 0
         message a roll-back
         sealed a 6:1:1 on 0
         write a 1
         sealed a 7:1:1 on 0
         write a 2 pages=7:1:1
         message a roll-back",
        expect![[r#"
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            sql <- a@1
            w <- db sealed 1 of 1 pages
            sql <- is thrown away: call 5 of a@1
            sql <- a@1
            w <- db sealed 1 of 1 pages
            sql <- is thrown away: call 6 of a@1
            w <- committed 1: a@1
            w <- db sealed 1 of 1 pages
            sql <- is committed: call 7 of a@1
            w <- committed 2: a@1
            sql <- a@1
        "#]],
    );
}

#[test]
fn only_what_was_sealed_is_written() {
    let rows = [
        ("nothing was sealed", "message a seal", "5:1:1"),
        ("by another call", "sealed a 5:1:1 on 0", "6:1:1"),
        ("another page", "sealed a 5:1:1 on 0", "5:2:1"),
        ("another content", "sealed a 5:1:1 on 0", "5:1=9:1"),
        ("another size", "sealed a 5:1:1 on 0", "5:1:2"),
        ("pages that are no page", "sealed a 5:1:1 on 0", "5:0,1,1:4000000"),
        ("after a roll back", "sealed a 5:1:1 on 0\nmessage a roll-back", "5:1:1"),
        ("twice", "sealed a 5:1:1 on 0\nwrite a 1 pages=5:1:1", "5:1:1"),
        ("after pages of its own", "sealed a 5:1:1 on 0\ndb w a commit 1 1 0", "5:1:1"),
    ];
    for (what, before, pages) in rows {
        let script =
            format!("up\nrequest q1 for a\nrunning a\nmessage a run\n{before}\nwrite a 9 own=k pages={pages}\nshow a\nentries a");
        let transcript = crate::transcript(&script);
        let (_, refused) = transcript.rsplit_once("w <- stop lost: a@1").unwrap_or_else(|| panic!("{what}: {transcript}"));
        assert!(refused.contains("Crashed"), "{what}: {transcript}");
        assert!(refused.contains("sql <- end a@1"), "{what}: {transcript}");
        assert!(refused.ends_with("its runner: []\n"), "{what}: nothing of it is written: {transcript}");
    }
}

#[test]
fn a_seal_on_a_head_that_has_moved_is_refused() {
    check(
        "up
         request q1 for a
         running a
         message a run
         sealed a 5:1:1 on 3
         sealed a@2 5:1:1 on 0",
        expect![[r#"
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            sql <- a@1
            w <- db depot.head_fence_mismatch: transaction failed: sqlite head fence mismatch: expected head txid 3, current head txid 0
            w <- db core.internal_error: actor does not exist
        "#]],
    );
}

#[test]
fn messages_are_for_runners_of_components() {
    check(
        "up pool
         envoy e1 joined
         create a
         running a
         message a run from e1",
        expect![[r#"
            call 3 <- created a
            e1 <- start nothing created: a@1 #1
            e1 <- db sqlite.invalid_request: only a runner of components can make statements part of a message
        "#]],
    );
}
