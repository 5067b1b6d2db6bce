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
//! Safety, checked at every step: one generation of an actor lives at a time, and they only grow; what a client was told is never
//! lost; no alarm fires early; a request ends once. Liveness, checked when the faults have stopped: every request ends, every alarm
//! that is due fires, nothing is left in memory that nobody wants.

mod runner;
mod world;

use world::World;

/// Enough to meet every fault many times, few enough for a test run.
const SEEDS_DEFAULT: u64 = 300;

#[test]
fn safety_under_faults_then_liveness_without() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seeds = match number("RIVET_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("RIVET_SIM_SEEDS").unwrap_or(SEEDS_DEFAULT),
    };
    let mut total = world::Tally::default();
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
