//! Script in, transcript out: what the core does about what happens, without a clock.
//!
//! A line of a script is one input (see [`World::step`]); the transcript is the actions that follow. Reads are answered at once from
//! a disk of maps, commits become durable at once unless the script holds them, and time moves only where the script says so.

mod actor_calls;
mod alarms;
mod components;
mod crashes;
mod database;
mod deletion;
mod deployments;
mod import;
mod life;
mod limits;
mod messages;
mod pools;
mod quotas;
mod requests;
mod runners;
mod sockets;
mod versions;
mod world;

use expect_test::Expect;
use world::World;

pub fn check(script: &str, expected: Expect) {
    expected.assert_eq(&transcript(script));
}

pub fn transcript(script: &str) -> String {
    let mut world = World::new();
    for line in script.lines() {
        world.step(line.trim());
    }
    world.transcript
}
