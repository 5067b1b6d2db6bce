//! The core against a world that does its worst: first safety under faults, then liveness without them.
//!
//! Everything is decided by a seed: when reads are answered, when commits become durable, when the power goes, when a runner is lost,
//! when an actor crashes, what clients want. A failing seed is printed and replays the same run:
//!
//! ```text
//! RIVET_SIM_SEED=17 cargo test -p rivet-tests --test simulation -- --nocapture
//! RIVET_SIM_SEEDS=100000 cargo test --release -p rivet-tests --test simulation
//! ```
//!
//! Safety, checked at every step:
//! - one generation: each has one runner, they only grow, and one that is over writes nothing more;
//! - durable: what was acknowledged (a commit, a page, a key, an API's answer) is on disk, after a power cut too, and never half of it;
//! - ends once: a request is given to one runner at a time and ends once, an API call is answered once, a socket hibernates only if
//!   its actor said so;
//! - never early: no alarm fires before its time, and nobody wakes whom nothing wants;
//! - bounded: a pool's URL runs no more actors than it may, and time that stands still gives the core no work;
//! - consistent: what the core holds twice agrees (`Core::check`), and nobody waits for a runner while there is one.
//!
//! Liveness, checked when the faults have stopped: every request and every call ends, every alarm that is due fires, every socket that
//! has something for its actor reaches it, nobody runs who should not, nothing is left in memory that nobody wants.
//!
//! In reading order: [`world`], time, disk and the runner of components; [`runner`], what runs on that; [`pools`], the server between
//! the core and other runners; [`envoy`], one of those; [`sql`], who runs statements; [`clients`]; [`model`], what must hold; [`tally`], what happened.

mod clients;
mod envoy;
mod model;
mod pools;
mod runner;
mod sql;
mod tally;
mod world;

use world::World;

/// Enough to meet every fault many times, few enough for a test run.
const SEEDS_DEFAULT: u64 = 60;

#[test]
fn safety_under_faults_then_liveness_without() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seeds = match number("RIVET_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("RIVET_SIM_SEEDS").unwrap_or(SEEDS_DEFAULT),
    };
    let mut total = tally::Tally::default();
    for seed in seeds.clone() {
        let result = std::panic::catch_unwind(|| World::new(seed).run());
        match result {
            Ok(tally) => total.add(&tally),
            Err(cause) => {
                eprintln!("seed {seed} fails; replay it with RIVET_SIM_SEED={seed}");
                std::panic::resume_unwind(cause);
            }
        }
    }
    println!("{} seeds: {total}", seeds.end - seeds.start);
    if seeds.end - seeds.start >= SEEDS_DEFAULT {
        total.assert_everything_happened();
    }
}
