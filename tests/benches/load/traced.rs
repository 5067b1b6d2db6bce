//! What traces cost: the same requests with telemetry off, and on with different shares of them sampled.
//!
//! The collector is in this process, and only the engine's processor time is counted.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rivet_tests::collector::Collector;

use crate::client::run_load;
use crate::engine::Engine;
use crate::{ACTORS, ROUND, get, post};

const CONNECTIONS: usize = 32;
const ROUNDS: usize = 3;

/// The engines in turn, several times, so that what else the machine does concerns all of them.
pub fn table() {
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let (collector, url) = runtime.block_on(Collector::start_counting());
    let on = |ratio: &'static str| {
        [("RIVET_OTEL_ENABLED", "1"), ("RIVET_OTEL_GRPC_ENDPOINT", url.as_str()), ("RIVET_OTEL_SAMPLER_RATIO", ratio)]
    };
    let settings = [("off", None), ("on, none sampled", Some("0")), ("on, 1 in 100", Some("0.01")), ("on, all", Some("1"))];
    let engines = settings.map(|(_, ratio)| {
        let engine = Engine::start_in(ratio.map(on).as_ref().map_or(&[], |variables| &variables[..]));
        engine.deploy("counter");
        let actors = engine.actors(ACTORS);
        (engine, actors)
    });
    println!(
        "## traced\n\n| requests | telemetry | processor time each, us | of off | requests/s, of off |\n|---|---|---|---|---|"
    );
    for kind in ["read", "durable increment"] {
        let mut measured = [(); 4].map(|()| Vec::new());
        for _ in 0..ROUNDS {
            for ((engine, actors), measured) in engines.iter().zip(&mut measured) {
                measured.push(round(engine, actors, kind));
            }
        }
        let middle =
            measured.map(|rounds| (middle(rounds.iter().map(|round| round.0)), middle(rounds.iter().map(|round| round.1))));
        for ((name, _), (cpu_us, per_second)) in settings.iter().zip(middle) {
            let (of_cpu, of_speed) = (cpu_us / middle[0].0, per_second / middle[0].1);
            println!("| {kind} | {name} | {cpu_us:.1} | {of_cpu:.2} | {of_speed:.2} |");
        }
    }
    println!("\n{} spans arrived\n", collector.count());
}

/// Microseconds of processor time for each request, and requests a second.
fn round(engine: &Engine, actors: &[String], kind: &str) -> (f64, f64) {
    let next = AtomicUsize::new(0);
    let before = engine.cpu();
    let load = run_load(engine.address, CONNECTIONS, ROUND, |_| {
        let actor = &actors[next.fetch_add(1, Ordering::Relaxed) % actors.len()];
        match kind {
            "read" => get(&format!("/gateway/{actor}/")),
            _ => post(&format!("/gateway/{actor}/increment")),
        }
    });
    let used: Duration = engine.cpu() - before;
    (used.as_secs_f64() * 1e6 / load.latencies.len() as f64, load.per_second)
}

fn middle(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
