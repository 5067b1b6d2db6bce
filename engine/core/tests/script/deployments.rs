//! Deployments, versions and namespaces.

use expect_test::expect;

use crate::check;

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
            w <- start v2 from version 1 upgraded: a@2 #1
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
