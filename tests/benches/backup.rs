//! Backups under steady load: how long they take, how much they copy, and what writes and reads pay for them; then they are restored, and
//! everything in them is compared.
//!
//! ```text
//! RIVET_ENGINE_BINARY=target/release/rivet-engine cargo bench -p rivet-tests --bench backup
//! cargo bench -p rivet-tests --bench backup -- 256 32    # MiB of state, MiB a second that backups may copy (0: any)
//! ```
//!
//! The state is the inputs of actors: bytes that do not compress. Writes and reads come at a fixed rate, before, during and after the
//! backups, and are timed from the moment that they were due: what waits behind a slow one counts as slow too. Needs the guests `counter`
//! and `hostile`.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use engine_store::{Rocks, Scan, Store};
use rivet_tests::Engine;
use rivet_tests::address::by_key;
use rivet_tests::engine::run_with;
use serde_json::Value;
use tokio::task::JoinSet;

const MIB_DEFAULT: usize = 256;
const RATE_DEFAULT: usize = 0;
/// As many who write as who read, each a counter of their own: a read behind a write would wait for its commit.
const CALLERS: usize = 8;
/// How often each of them asks.
const EVERY: Duration = Duration::from_millis(20);
const STEADY: Duration = Duration::from_secs(5);
/// Of base64, a little less than a MiB of input.
const INPUT_LETTERS: usize = 1_398_000;
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// Keys that are read at a time to be compared.
const PAGE_KEYS: usize = 256;

#[derive(Default)]
struct Load {
    over: AtomicBool,
    writes: Mutex<Vec<Duration>>,
    reads: Mutex<Vec<Duration>>,
    /// What each writer was told last.
    acknowledged: [AtomicU64; CALLERS],
}

impl Load {
    /// What is acknowledged at this moment.
    fn told(&self) -> Vec<u64> {
        self.acknowledged.iter().map(|told| told.load(Ordering::SeqCst)).collect()
    }
}

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
    let engine = Arc::new(Engine::start_alone(&["--config", text(&file)]).await);
    engine.deploy("counter", "counter").await;
    engine.deploy("hostile", "hostile").await;
    fill(&engine, "first", mib).await;

    let load = Arc::new(Load::default());
    let callers = begin(&engine, &load);
    println!("{mib} MiB of state, {CALLERS} writers and {CALLERS} readers, each every {} ms;", EVERY.as_millis());
    println!("at most {rate} MiB/s are copied (0: any)\n");
    println!("| what | time | size MiB | new MiB | writes/s | write p50 ms | p99 | max | read p50 ms | p99 | max |");
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    steady("before", &load).await;
    let mut made = Vec::new();
    for what in ["full backup", "incremental, at once", "incremental, an eighth more"] {
        if what.ends_with("more") {
            fill(&engine, "more", mib / 8).await;
            steady("before", &load).await;
        }
        take(&load);
        let (told, begun) = (load.told(), Instant::now());
        let done = engine.cli(&["backup", "create", "--json"]).await;
        let elapsed = begun.elapsed();
        assert_eq!(done.code, Some(0), "{}", done.err);
        let said: Value = serde_json::from_str(&done.out).expect("JSON");
        row(what, elapsed, Some(&said), &load);
        made.push((said["id"].as_str().expect("an id").to_string(), told));
        steady("after", &load).await;
    }
    load.over.store(true, Ordering::Relaxed);
    callers.join_all().await;
    let mut engine = Arc::into_inner(engine).expect("all callers have ended");
    engine.stop().await;

    println!("\n| of the last one | time | |\n|---|---:|---|");
    let (last, told) = made.pop().expect("three were made");
    timed("verify", &["verify", &last], &backups, "every checksum, opened, every key read").await;
    let mut restored = Engine::start_alone(&[]).await;
    check_under_load(&mut restored, &engine.data_dir(), &last, &backups, &told, &load.told()).await;
    let data = engine.data_dir();
    let offline = ["create", "--offline", "--data-dir", text(&data)];
    timed("backup of the engine that was stopped", &offline, &backups, "").await;
    let place = folder.path().join("restored");
    timed("restore", &["restore", "latest", "--data-dir", text(&place)], &backups, "").await;
    let Compared { equal, other, missing } = compare(&place, &data);
    assert_eq!((other, missing), (0, 0), "every key is what it was");
    println!("| restored beside the original | | {equal} keys, all of them equal |");
}

/// Each calls at moments that are set beforehand.
fn begin(engine: &Arc<Engine>, load: &Arc<Load>) -> JoinSet<()> {
    let mut callers = JoinSet::new();
    for caller in 0..2 * CALLERS {
        let (engine, load) = (engine.clone(), load.clone());
        callers.spawn(async move {
            let (at, writes) = (caller / 2, caller % 2 == 0);
            // Not all at the same moment.
            let mut due = Instant::now() + EVERY * caller as u32 / (2 * CALLERS as u32);
            while !load.over.load(Ordering::Relaxed) {
                tokio::time::sleep_until(due.into()).await;
                if writes {
                    let number = engine.increment("counter", &at.to_string()).await;
                    load.acknowledged[at].store(number, Ordering::SeqCst);
                } else {
                    engine.get(by_key("counter", &format!("read-{at}"), "/")).await.number("a read");
                }
                let times = if writes { &load.writes } else { &load.reads };
                times.lock().expect("nobody panics with it").push(due.elapsed());
                due += EVERY;
            }
        });
    }
    callers
}

/// That a backup made under load holds what was acknowledged before it, nothing that came later, and everything that was not touched.
async fn check_under_load(engine: &mut Engine, original: &Path, id: &str, backups: &Path, least: &[u64], most: &[u64]) {
    engine.stop().await;
    std::fs::remove_dir_all(engine.data_dir()).expect("it is ours");
    let place = engine.data_dir();
    timed("restore", &["restore", id, "--data-dir", text(&place)], backups, "").await;
    let Compared { equal, other, missing } = compare(&place, original);
    println!(
        "| restored beside the original, which went on | | {equal} keys equal, {other} changed since, {missing} removed since |"
    );
    let begun = Instant::now();
    engine.restart().await;
    println!("| start on what was restored | {:.2} s | |", begun.elapsed().as_secs_f64());
    let (mut writes, mut lost) = (0, 0);
    for (at, (least, most)) in least.iter().zip(most).enumerate() {
        let count = engine.get(by_key("counter", &at.to_string(), "/")).await.number("the count");
        assert!(count <= *most, "counter {at} counts {count}, and only {most} were acknowledged");
        writes += least;
        lost += least.saturating_sub(count);
    }
    println!("| acknowledged before it was asked for | | {writes} writes, {lost} of them lost |");
    assert_eq!(lost, 0);
}

struct Compared {
    equal: u64,
    other: u64,
    missing: u64,
}

/// Every key of one data directory, beside the other.
fn compare(one: &Path, other: &Path) -> Compared {
    let open = |data: &Path| Rocks::look(&data.join("store")).expect("nobody has it open");
    let (one, other) = (open(one), open(other));
    let mut compared = Compared { equal: 0, other: 0, missing: 0 };
    let mut start = Vec::new();
    loop {
        let scan =
            Scan { start: &start, end: None, reverse: false, keys_only: false, limit: PAGE_KEYS, bytes_max: 64 * 1024 * 1024 };
        let page = one.scan(scan).expect("it can be read");
        let Some(last) = page.last() else { return compared };
        start = [&last.key[..], &[0]].concat();
        for pair in &page {
            match other.get(&pair.key).expect("it can be read") {
                Some(value) if value == pair.value => compared.equal += 1,
                Some(_) => compared.other += 1,
                None => compared.missing += 1,
            }
        }
    }
}

async fn timed(what: &str, arguments: &[&str], backups: &Path, told: &str) {
    let arguments = [&["backup"], arguments, &["--backups", text(backups)]].concat();
    let begun = Instant::now();
    let ended = run_with(&arguments, &[]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    println!("| {what} | {:.2} s | {told} |", begun.elapsed().as_secs_f64());
}

async fn fill(engine: &Engine, name: &str, mib: usize) {
    for number in 0..mib {
        let input: String = (0..INPUT_LETTERS).map(|_| char::from(LETTERS[fastrand::usize(..LETTERS.len())])).collect();
        engine.get_or_create("hostile", &format!("{name}-{number}"), Some(&input)).await;
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path that is text")
}

async fn steady(what: &str, load: &Load) {
    take(load);
    tokio::time::sleep(STEADY).await;
    row(what, STEADY, None, load);
}

/// The times of writes and reads since it was last asked for.
fn take(load: &Load) -> [Vec<Duration>; 2] {
    [&load.writes, &load.reads].map(|times| std::mem::take(&mut *times.lock().expect("nobody panics with it")))
}

fn row(what: &str, elapsed: Duration, made: Option<&Value>, load: &Load) {
    let mib = |name: &str| made.map_or(String::new(), |made| format!("{:.1}", made[name].as_f64().unwrap_or(0.0) / 1_048_576.0));
    let [writes, reads] = take(load);
    let writes_each_second = writes.len() as f64 / elapsed.as_secs_f64();
    let [writes, reads] = [writes, reads].map(|mut times| {
        times.sort();
        let at = |part: f64| times.get((times.len() as f64 * part) as usize).or(times.last()).map_or(0.0, Duration::as_secs_f64);
        format!("{:.2} | {:.2} | {:.1}", at(0.5) * 1e3, at(0.99) * 1e3, at(1.0) * 1e3)
    });
    println!(
        "| {what} | {:.2} s | {} | {} | {writes_each_second:.0} | {writes} | {reads} |",
        elapsed.as_secs_f64(),
        mib("bytes"),
        mib("new_bytes"),
    );
}
