//! Room for one more: idle actors are put to sleep for others, the least recently used first; those that are busy are not.

use std::sync::Arc;

use protocol::id::Id;
use protocol::message::{Event, FailureKind, Outcome, StopReason};
use rivet_runner_wasm::Config;

use crate::engine::{Answer, At, World};

const MIB: usize = 1024 * 1024;

fn world(change: impl FnOnce(&mut Config)) -> World {
    World::with(Arc::new(tempfile::tempdir().expect("a folder")), change)
}

fn start<'a>(world: &'a World, number: u8, guest: &str) -> At<'a> {
    world.start_id(Id::new([number; 16], 1), guest, 1, |_| {})
}

fn running<'a>(world: &'a World, number: u8, guest: &str) -> At<'a> {
    let actor = start(world, number, guest);
    actor.until(Event::Running);
    actor
}

/// As the engine does when an actor wishes to sleep.
fn sleeps(actor: &At<'_>) {
    actor.until(Event::SleepIntent);
    actor.stop(StopReason::Sleep);
    assert_eq!(actor.stopped(), Outcome::Ok);
}

#[test]
fn the_idle_actor_that_was_used_least_lately_makes_room() {
    let world = world(|config| config.actors_max = Some(3));
    let [a, b, c] = [1, 2, 3].map(|number| running(&world, number, "counter"));
    assert_eq!(a.text("GET /"), "0\n");
    let d = start(&world, 4, "counter");
    sleeps(&b);
    d.until(Event::Running);
    assert_eq!([a, c].map(|actor| actor.events()), [[Event::Running], [Event::Running]]);
    let e = start(&world, 5, "counter");
    sleeps(&c);
    e.until(Event::Running);
    assert_eq!(a.text("GET /"), "0\n");
    let metrics = world.runner.metrics();
    assert_eq!((metrics.actors, metrics.slept_for_room), (3, 2));
}

#[test]
fn one_that_is_slow_to_leave_is_not_all_that_is_tried() {
    let world = world(|config| config.actors_max = Some(2));
    let [a, b] = [1, 2].map(|number| running(&world, number, "counter"));
    let c = start(&world, 3, "counter");
    a.until(Event::SleepIntent);
    // Nobody stops it.
    sleeps(&b);
    c.until(Event::Running);
    assert_eq!(a.text("GET /"), "0\n");
}

#[test]
fn who_has_something_to_do_is_not_disturbed_and_the_newcomer_is_refused() {
    let rows: [(&str, &str, &[u8]); 2] = [("every-feature", "POST /", b"keep-awake 60000"), ("hostile", "GET /loop", b"")];
    for (guest, line, body) in rows {
        let world = world(|config| config.actors_max = Some(1));
        let busy = running(&world, 1, guest);
        let request = busy.send_body(line, body, false);
        if guest == "every-feature" {
            assert_eq!(world.engine.answer(request), Answer::Response(200, String::new()), "{line}");
        }
        let refused = start(&world, 2, "counter");
        let Outcome::NoRoom(text) = refused.stopped() else { panic!("{line}") };
        assert!(text.contains("wasm.actors_max") && text.contains("none was idle"), "{line}: {text}");
        assert_eq!(busy.events(), [Event::Running], "{line}");
        busy.stop(StopReason::Lost);
        world.start_id(refused.actor, "counter", 2, |_| {}).until(Event::Running);
        assert_eq!(world.runner.metrics().slept_for_room, 0, "{line}");
    }
}

fn hoard(mebibytes: usize) -> String {
    format!("POST /hoard?bytes={}", mebibytes * MIB)
}

fn world_of_64_mib() -> World {
    world(|config| {
        config.memory_total_bytes = 64 * MIB;
        config.memory_per_actor_bytes = 64 * MIB;
    })
}

#[test]
fn memory_that_runs_short_is_given_back_by_idle_actors() {
    let world = world_of_64_mib();
    let [a, b, c] = [1, 2, 3].map(|number| running(&world, number, "hostile"));
    a.text(&hoard(20));
    b.text(&hoard(20));
    assert_eq!(a.events(), [Event::Running], "not above the mark");
    c.text(&hoard(20));
    sleeps(&a);
    world.engine.wait("memory", |_| (world.runner.metrics().memory_bytes < 48 * MIB).then_some(()));
    c.text(&hoard(20));
    sleeps(&b);
    assert_eq!(c.events(), [Event::Running]);
    assert_eq!(world.runner.metrics().slept_for_room, 2);
}

#[test]
fn memory_that_was_refused_is_there_for_the_next_attempt() {
    let world = world_of_64_mib();
    let [a, b] = [1, 2].map(|number| running(&world, number, "hostile"));
    a.text(&hoard(40));
    assert_eq!(b.failure(&hoard(30)).kind, FailureKind::NoRoom);
    sleeps(&a);
    let again = world.start_id(b.actor, "hostile", 2, |_| {});
    again.until(Event::Running);
    again.text(&hoard(30));
}

#[test]
fn mappings_make_room_like_places() {
    // Of 16 an eighth is left, and each counter takes four.
    let world = world(|config| {
        config.actors_max = Some(10);
        config.mappings_allowed = Some(16);
    });
    assert_eq!(world.runner.metrics().actors_max, 3);
    let [a, b, c] = [1, 2, 3].map(|number| running(&world, number, "counter"));
    assert_eq!(a.text("GET /"), "0\n");
    let d = start(&world, 4, "counter");
    sleeps(&b);
    d.until(Event::Running);
    assert_eq!((world.runner.metrics().actors, world.runner.metrics().slept_for_room), (3, 1));
    assert_eq!(c.text("GET /"), "0\n");
}

#[test]
fn an_actor_whose_stack_was_put_away_goes_on_where_it_was() {
    let world = world(|_| ());
    let actor = running(&world, 1, "counter");
    for count in ["1\n", "2\n"] {
        assert_eq!(actor.text("POST /increment"), count);
        world.engine.wait("a stack that is put away", |_| (world.runner.metrics().stacks_away == 1).then_some(()));
    }
    assert_eq!(actor.text("GET /"), "2\n");
    assert_eq!(world.runner.metrics().stacks_away, 0);
}
