//! What callers notice of a deploy: as many requests as there can be, while a large component is compiled.

use std::time::Instant;

use crate::client::run_load;
use crate::engine::Engine;
use crate::{Measured, ROUND, get};

const CONNECTIONS: usize = 32;

pub fn table() {
    println!("## deploys\n");
    println!(
        "| beside {CONNECTIONS} connections that never rest | reads a second | p50 us | p99 us | seconds of the deploy |\n|---|---|---|---|---|"
    );
    let engine = Engine::start();
    engine.deploy("counter");
    let actor = engine.actors(1).remove(0);
    let reads = || run_load(engine.address, CONNECTIONS, ROUND, |_| get(&format!("/gateway/{actor}/")));
    row("nothing", reads(), None);
    let began = Instant::now();
    std::thread::scope(|scope| {
        let deploy = scope.spawn(|| {
            engine.deploy("counter-js");
            began.elapsed().as_secs_f64()
        });
        let mut rounds = Vec::new();
        while !deploy.is_finished() {
            rounds.push(reads());
        }
        // The last one was in part beside nothing.
        rounds.pop();
        let seconds = deploy.join().expect("it does not panic");
        rounds.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
        let middle = rounds.len() / 2;
        row("a component of JavaScript that is compiled", rounds.swap_remove(middle), Some(seconds));
    });
    println!();
}

fn row(what: &str, mut measured: Measured, seconds: Option<f64>) {
    println!(
        "| {what} | {:.0} | {:.0} | {:.0} | {} |",
        measured.per_second,
        measured.latencies.percentile(50),
        measured.latencies.percentile(99),
        seconds.map_or_else(String::new, |seconds| format!("{seconds:.1}"))
    );
}
