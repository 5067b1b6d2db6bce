//! Backups under write load: how long they take, how much they copy, and what the slowest writes pay for them.
//!
//! ```text
//! RIVET_ENGINE_BINARY=target/release/rivet-engine cargo bench -p rivet-tests --bench backup
//! cargo bench -p rivet-tests --bench backup -- 256 32    # MiB of state, MiB a second that backups may copy (0: any)
//! ```
//!
//! The state is the inputs of actors: bytes that do not compress. The load goes on throughout the backups. Needs the guests `counter` and
//! `hostile`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rivet_tests::Engine;
use rivet_tests::engine::run_with;
use serde_json::Value;
use tokio::task::JoinSet;

const MIB_DEFAULT: usize = 256;
const RATE_DEFAULT: usize = 0;
const CALLERS: usize = 16;
const STEADY: Duration = Duration::from_secs(5);
/// Of base64, a little less than a MiB of input.
const INPUT_LETTERS: usize = 1_398_000;
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

type Times = Arc<Mutex<Vec<Duration>>>;

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|arg| arg.parse().ok());
    let (mib, rate) = (numbers.next().unwrap_or(MIB_DEFAULT), numbers.next().unwrap_or(RATE_DEFAULT));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(measure(mib, rate));
}

async fn measure(mib: usize, rate: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let backups = folder.path().join("backups");
    let file = folder.path().join("engine.yaml");
    std::fs::write(&file, format!("backup: {{dir: {}, mib_per_second: {rate}}}\n", backups.display())).expect("a file");
    let engine = Arc::new(Engine::start_alone(&["--config", file.to_str().expect("text")]).await);
    engine.deploy("counter", "counter").await;
    engine.deploy("hostile", "hostile").await;
    fill(&engine, "first", mib).await;

    let (over, times) = (Arc::new(AtomicBool::new(false)), Times::default());
    let mut load = JoinSet::new();
    for caller in 0..CALLERS {
        let (engine, over, times) = (engine.clone(), over.clone(), times.clone());
        load.spawn(async move {
            while !over.load(Ordering::Relaxed) {
                let begun = Instant::now();
                engine.increment("counter", &caller.to_string()).await;
                times.lock().expect("nobody panics with it").push(begun.elapsed());
            }
        });
    }
    println!(
        "| {mib} MiB of state, {CALLERS} callers, at most {rate} MiB/s (0: any) | time | size MiB | new MiB | increments/s | p50 us | p99 us |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|");
    let steady = async |what: &str| {
        take(&times);
        tokio::time::sleep(STEADY).await;
        row(what, STEADY, None, &times);
    };
    steady("no backup").await;
    for what in ["first backup", "second backup, at once", "third backup, an eighth more"] {
        if what.starts_with("third") {
            fill(&engine, "more", mib / 8).await;
            steady("no backup").await;
        }
        take(&times);
        let begun = Instant::now();
        let made = engine.cli(&["backup", "create", "--json"]).await;
        let elapsed = begun.elapsed();
        assert_eq!(made.code, Some(0), "{}", made.err);
        row(what, elapsed, Some(serde_json::from_str(&made.out).expect("JSON")), &times);
    }
    steady("no backup").await;
    over.store(true, Ordering::Relaxed);
    load.join_all().await;
    for (what, arguments) in [("verify", vec!["verify", "latest"]), ("restore", vec!["restore", "latest", "--data-dir"])] {
        let (backups, place) = (backups.to_str().expect("text"), folder.path().join("restored"));
        let place = (what == "restore").then(|| place.to_str().expect("text").to_string());
        let arguments =
            [vec!["backup"], arguments, place.iter().map(String::as_str).collect(), vec!["--backups", backups]].concat();
        let begun = Instant::now();
        let ended = run_with(&arguments, &[]).await;
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        println!("| {what} | {:.2} s | | | | | |", begun.elapsed().as_secs_f64());
    }
}

async fn fill(engine: &Engine, name: &str, mib: usize) {
    for number in 0..mib {
        let input: String = (0..INPUT_LETTERS).map(|_| char::from(LETTERS[fastrand::usize(..LETTERS.len())])).collect();
        engine.get_or_create("hostile", &format!("{name}-{number}"), Some(&input)).await;
    }
}

fn take(times: &Times) -> Vec<Duration> {
    std::mem::take(&mut *times.lock().expect("nobody panics with it"))
}

fn row(what: &str, elapsed: Duration, made: Option<Value>, times: &Times) {
    let mut times = take(times);
    times.sort();
    let at = |part: f64| times.get((times.len() as f64 * part) as usize).map_or(0, Duration::as_micros);
    let mib =
        |name: &str| made.as_ref().map_or(String::new(), |made| format!("{:.1}", made[name].as_f64().unwrap_or(0.0) / 1_048_576.0));
    println!(
        "| {what} | {:.2} s | {} | {} | {:.0} | {} | {} |",
        elapsed.as_secs_f64(),
        mib("bytes"),
        mib("new_bytes"),
        times.len() as f64 / elapsed.as_secs_f64(),
        at(0.5),
        at(0.99)
    );
}
