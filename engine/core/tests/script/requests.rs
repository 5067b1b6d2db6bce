//! How requests and keys find their actor, wait for it, and end.

use expect_test::expect;

use crate::check;
use crate::world::World;

#[test]
fn a_request_creates_starts_and_reaches_an_actor() {
    check(
        "up
         request q1 for a
         running a
         ended q1
         request q2 for a",
        expect![[r#"
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            w <- request q2 a@1
        "#]],
    );
}

#[test]
fn a_request_that_crosses_a_stop_goes_to_the_next_generation() {
    check(
        "up
         request q1 for a
         running a
         ended q1
         request q2 for a
         request q3 for a
         crashed a boom
         memory
         returned q2
         running a
         returned q3
         sleep a
         request q4 for a
         runner left",
        expect![[r#"
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            w <- request q2 a@1
            w <- request q3 a@1
            memory: 1 actors, 2 requests
            w <- start v1 restarted: a@2 #1
            w <- request q2 a@2
            w <- request q3 a@2
            w <- stop sleep: a@2 #2
            q2 <- guard.tunnel_response_closed: the runner of actor a was lost while it handled the request; whether it took effect is not known
            q3 <- guard.tunnel_response_closed: the runner of actor a was lost while it handled the request; whether it took effect is not known
            w is forgotten
        "#]],
    );
}

#[test]
fn a_key_belongs_to_one_actor() {
    check(
        "up
         create a
         create a
         get a
         hold loads
         get b
         request q1 for b
         create b
         release loads",
        expect![[r#"
            call 3 <- created a
            w <- start v1 created: a@1 #1
            call 4 <- actor.duplicate_key: actor a already has the key "a" under this name; use it, or PUT /actors to get or create
            call 5 <- found a
            call 7 <- actor.duplicate_key: actor b already has the key "b" under this name; use it, or PUT /actors to get or create
            call 6 <- created b
            w <- start v1 created: b@1 #1
        "#]],
    );
}

#[test]
fn a_key_is_free_as_soon_as_its_actor_is_destroyed() {
    check(
        "up
         create a
         running a
         destroy a
         hold commits
         stopped a
         request q1 for a
         release commits",
        expect![[r#"
            call 3 <- created a
            w <- start v1 created: a@1 #1
            w <- stop destroy: a@1 #2
            call 4 <- done
            w <- start v1 created: a'@1 #1
        "#]],
    );
}

#[test]
fn a_request_gives_up_after_its_one_deadline() {
    check(
        "up
         request q1 for a
         running a
         ended q1
         sleep a
         at 10000
         request q2 for a
         at 20000
         stopped a
         at 39999
         at 40000",
        expect![[r#"
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            w <- stop sleep: a@1 #2
            w <- start v1 woken: a@2 #1
            q2 <- guard.actor_ready_timeout: actor a was not running within 30000 ms; GET /actors?actor_ids=a shows why
        "#]],
    );
}

#[test]
fn an_aborted_request_is_forgotten_wherever_it_is() {
    check(
        "up
         hold loads
         request q1 for a
         aborted q1
         release loads
         request q2 for a
         request q3 for a
         aborted q2
         running a
         aborted q3
         sleep a
         stopped a
         memory",
        expect![[r#"
            w <- start v1 created: a@1 #1
            w <- request q3 a@1
            w <- stop sleep: a@1 #2
            memory: 0 actors, 0 requests
        "#]],
    );
}

#[test]
fn unknown_things_are_refused() {
    check(
        "up
         request q1 to nobody
         request q2 to-existing b
         request q3 in nowhere
         request q4 named stranger
         api-sleep nobody
         memory",
        expect![[r#"
            q1 <- actor.not_found: there is no such actor; it was never created or has been destroyed
            q2 <- actor.not_found: there is no such actor; it was never created or has been destroyed
            q3 <- namespace.not_found: there is no namespace "nowhere"; create it with POST /namespaces or use "default"
            q4 <- actor.no_runner_config_configured: nothing in namespace "default" can run this actor (pool "default"); deploy a component under its name
            call 3 <- actor.not_found: there is no such actor; it was never created or has been destroyed
            memory: 0 actors, 0 requests
        "#]],
    );
}

#[test]
fn one_actor_takes_so_many_requests_and_no_more() {
    let mut world = World::new();
    world.step("up");
    for number in 0..1030 {
        world.step(&format!("request q{number} for a"));
    }
    let refused = world.transcript.lines().filter(|line| line.contains("overloaded")).count();
    assert_eq!(refused, 1030 - 1024);
}

#[test]
fn requests_that_waited_for_the_record_count_too() {
    let mut world = World::new();
    "up,create a,running a,sleep a,stopped a,memory,hold loads".split(',').for_each(|line| world.step(line));
    assert!(world.transcript.ends_with("memory: 0 actors, 0 requests\n"));
    (0..1000).for_each(|number| world.step(&format!("hurried q{number} to a")));
    world.step("release loads");
    (1000..1030).for_each(|number| world.step(&format!("hurried q{number} to a")));
    let refused = world.transcript.lines().filter(|line| line.contains("overloaded")).count();
    assert_eq!(refused, 1030 - 1024);
}

#[test]
fn an_actor_stays_in_memory_while_its_runner_has_requests_of_an_older_generation() {
    check(
        "up
         request q1 for a
         running a
         sleep a
         stopped a
         memory
         returned q1
         running a
         ended q1
         sleep a
         stopped a
         memory",
        expect![[r#"
            w <- start v1 created: a@1 #1
            w <- request q1 a@1
            w <- stop sleep: a@1 #2
            memory: 1 actors, 1 requests
            w <- start v1 woken: a@2 #1
            w <- request q1 a@2
            w <- stop sleep: a@2 #2
            memory: 0 actors, 0 requests
        "#]],
    );
}
