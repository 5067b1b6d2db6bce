//! How fast the whole engine is: the real binary, over real sockets, with a real disk, beside what it is measured against.
//!
//! ```text
//! cargo bench -p rivet-tests --bench load             # all tables but the last two
//! cargo bench -p rivet-tests --bench load -- requests wake memory
//! cargo bench -p rivet-tests --bench load -- cold     # starts on up to a million actors; takes a minute, and 1 GB of disk
//! cargo bench -p rivet-tests --bench load -- neighbours:panic neighbours:MiB   # two rows of that table, and the one beside nothing
//! cargo bench -p rivet-tests --bench load -- million  # takes some minutes, and 1 GB of disk
//! cargo bench -p rivet-tests --bench load -- endurance minutes=60
//! ```
//!
//! Load and engine share the machine, so the figures are for comparing, not for quoting: every table has its own yardstick in it,
//! measured in the same run. Needs the guests (`scripts/guests`) and the engine built for release.

mod client;
mod cold;
mod deploys;
mod endurance;
mod engine;
mod languages;
mod neighbours;
mod traced;

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use client::{Connection, Latencies, run_load};
use engine::Engine;
use engine_store::rocks::{Rocks, Tuning};
use engine_store::{Batch, Durability, Writer};

const CONNECTIONS: [usize; 3] = [1, 32, 128];
const ACTORS: usize = 100;
const ROUND: Duration = Duration::from_secs(3);
/// Rounds of each row, of which the middle one counts: this kind of measurement jumps.
const ROUNDS: usize = 3;
/// After that actors that had nothing to do have given back what they can spare.
const RESTED: Duration = Duration::from_secs(3);

fn main() {
    // `cargo bench` passes flags of its own.
    let asked: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let wants = |table: &str| asked.is_empty() || asked.iter().any(|name| name == table);
    println!("{}\n", machine());
    if wants("start") {
        start();
    }
    if wants("requests") {
        requests();
    }
    if wants("wake") {
        wake();
    }
    if wants("memory") {
        memory();
    }
    if wants("languages") {
        languages::table();
    }
    if wants("deploys") {
        deploys::table();
    }
    let rows: Vec<&str> = asked.iter().filter_map(|name| name.strip_prefix("neighbours:")).collect();
    if wants("neighbours") || !rows.is_empty() {
        neighbours::table(&rows);
    }
    if wants("traced") {
        traced::table();
    }
    if asked.iter().any(|name| name == "cold") {
        cold::table();
    }
    if asked.iter().any(|name| name == "million") {
        println!("## a million\n");
        asleep(1_000_000);
    }
    if asked.iter().any(|name| name == "endurance") {
        let minutes = asked.iter().find_map(|arg| arg.strip_prefix("minutes="));
        endurance::table(minutes.map(|number| number.parse().expect("minutes are a whole number")));
    }
}

/// From the process to a healthy engine, and what it takes when it has nothing to do.
fn start() {
    println!("## start\n");
    let mut engine = Engine::start();
    println!("| | |\n|---|---|");
    println!("| empty data directory: process to first healthy answer | {:.0} ms |", ms(engine.healthy_after));
    std::thread::sleep(Duration::from_secs(2));
    let idle = engine.memory();
    println!("| idle: resident, of which not files | {:.1} MiB, {:.1} MiB |", mib(idle.resident), mib(idle.anonymous));
    let before = engine.cpu();
    std::thread::sleep(Duration::from_secs(5));
    println!("| idle: processor time in 5 s | {:.0} ms |", ms(engine.cpu() - before));
    engine.deploy("counter");
    engine.kill_and_restart();
    println!("| after kill -9, one deployment: process to first healthy answer | {:.0} ms |\n", ms(engine.healthy_after));
}

/// Requests per second beside a constant answer of the same server, and commits beside the bare store.
fn requests() {
    let engine = Engine::start();
    engine.deploy("counter");
    let (bare, _) = bare_commits(64);
    let mut one = engine.actors(1);
    let many = engine.actors(ACTORS);
    let actor = one.remove(0);
    println!("## requests\n\nbare store, 64 in flight: {bare:.0} synced commits/s\n");
    println!("| row | connections | requests/s | p50 us | p99 us | ratio |\n|---|---|---|---|---|---|");
    for connections in CONNECTIONS {
        let constant = median(|| run_load(engine.address, connections, ROUND, |_| get("/health")));
        row("constant answer", connections, &constant, "1".into());
        let read = median(|| run_load(engine.address, connections, ROUND, |_| get(&format!("/gateway/{actor}/"))));
        row("read, 1 actor", connections, &read, format!("{:.2} of the constant", read.per_second / constant.per_second));
        for (name, actors) in
            [("durable increment, 1 actor", std::slice::from_ref(&actor)), ("durable increment, 100 actors", &many)]
        {
            let next = AtomicUsize::new(0);
            let increment = median(|| {
                run_load(engine.address, connections, ROUND, |_| {
                    let at = next.fetch_add(1, Ordering::Relaxed) % actors.len();
                    post(&format!("/gateway/{}/increment", actors[at]))
                })
            });
            row(name, connections, &increment, format!("{:.2} of the bare commits", increment.per_second / bare));
        }
    }
    println!();
}

/// From asleep, and from nothing, to the first byte: beside one synced commit.
fn wake() {
    const TIMES: usize = 1_000;
    let engine = Engine::start();
    engine.deploy("counter");
    let (_, mut commit) = bare_commits(1);
    let actors = engine.actors(TIMES);
    engine.sleep(&actors);
    println!("## wake\n\n| what | p50 us | p99 us | p50 above one synced commit, us | engine's CPU, us |\n|---|---|---|---|---|");
    let commit_us = commit.percentile(50);
    println!("| one synced commit of the bare store | {commit_us:.0} | {:.0} | 0 | |", commit.percentile(99));
    let each = |what: &str, request: &dyn Fn(usize) -> Vec<u8>| {
        let mut connection = Connection::open(engine.address);
        let mut times = Latencies::default();
        let before = engine.cpu();
        (0..TIMES).for_each(|number| times.push(connection.time(&request(number))));
        let cpu_us = ms(engine.cpu() - before) * 1e3 / TIMES as f64;
        let p50 = times.percentile(50);
        println!("| {what} | {p50:.0} | {:.0} | {:.0} | {cpu_us:.0} |", times.percentile(99), p50 - commit_us);
    };
    let read = |number: usize| get(&format!("/gateway/{}/", actors[number]));
    each("wake a sleeping actor, to the first byte", &read);
    each("a request to an actor that was used a moment ago", &read);
    std::thread::sleep(RESTED);
    each("a request to an actor that has rested", &read);
    each("create an actor, to the first byte", &|number| get(&engine::by_key(&format!("new-{number}"), "/")));
    println!();
}

/// What an actor costs while it is awake, and while it is asleep.
fn memory() {
    println!("## memory\n");
    println!(
        "| actors wanted | | awake | KiB each, not files | mappings each | of the process | engine's CPU, ms each | seconds |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for count in [1_000, 10_000] {
        let engine = Engine::start();
        engine.deploy("counter");
        engine.create(1);
        let (before, cpu) = (engine.memory(), engine.cpu());
        let row = |when: &str, rest: String| {
            let (awake, now) = (engine.awake(), engine.memory());
            let kib = now.anonymous.saturating_sub(before.anonymous) as f64 / awake as f64 / 1024.0;
            let each = (now.mappings as f64 - before.mappings as f64) / awake as f64;
            println!("| {count} | {when} | {awake} | {kib:.1} | {each:.2} | {} | {rest} |", now.mappings);
        };
        let began = Instant::now();
        engine.create(count);
        let seconds = began.elapsed().as_secs_f64();
        row("just woken", format!("{:.2} | {seconds:.1}", ms(engine.cpu() - cpu) / count as f64));
        std::thread::sleep(RESTED);
        row("rested", " |".to_string());
    }
    println!();
    asleep(100_000);
}

/// What sleeping actors cost, and one of them that is woken.
fn asleep(count: usize) {
    let mut engine = Engine::start();
    engine.deploy("counter");
    let began = Instant::now();
    let sample = engine.create_asleep(count);
    let full = engine.memory();
    println!("| {count} actors asleep | |\n|---|---|");
    println!("| created, incremented and put to sleep | {:.0} a second |", count as f64 / began.elapsed().as_secs_f64());
    println!("| memory of that process, not files, for each | {:.0} bytes |", full.anonymous as f64 / count as f64);
    println!("| data directory | {:.0} MiB |", mib(engine.on_disk()));
    engine.kill_and_restart();
    std::thread::sleep(Duration::from_secs(1));
    let with = engine.memory();
    let empty = {
        let mut engine = Engine::start();
        engine.deploy("counter");
        engine.kill_and_restart();
        std::thread::sleep(Duration::from_secs(1));
        engine.memory()
    };
    println!("| after kill -9: process to first healthy answer | {:.0} ms |", ms(engine.healthy_after));
    println!(
        "| memory after that, resident and not files; beyond an empty engine, for each | {:.1} and {:.1} MiB; {:.0} bytes |",
        mib(with.resident),
        mib(with.anonymous),
        (with.anonymous as f64 - empty.anonymous as f64) / count as f64
    );
    let mut connection = Connection::open(engine.address);
    let mut woken = Latencies::default();
    for actor in &sample {
        woken.push(connection.time(&get(&format!("/gateway/{actor}/"))));
    }
    let (p50, p99) = (woken.percentile(50) / 1e3, woken.percentile(99) / 1e3);
    println!("| wake one of them, to the first byte ({} of them) | p50 {p50:.2} ms, p99 {p99:.2} ms |\n", sample.len());
}

struct Measured {
    per_second: f64,
    latencies: Latencies,
}

fn median(mut round: impl FnMut() -> Measured) -> Measured {
    let mut rounds: Vec<Measured> = (0..ROUNDS).map(|_| round()).collect();
    rounds.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
    rounds.swap_remove(ROUNDS / 2)
}

fn row(name: &str, connections: usize, measured: &Measured, ratio: String) {
    let mut latencies = measured.latencies.clone();
    println!(
        "| {name} | {connections} | {:.0} | {:.0} | {:.0} | {ratio} |",
        measured.per_second,
        latencies.percentile(50),
        latencies.percentile(99)
    );
}

/// Synced commits per second of the store alone, as many in flight, and how long each takes.
fn bare_commits(in_flight: usize) -> (f64, Latencies) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = Arc::new(Rocks::open(dir.path(), &Tuning::default()).expect("an empty directory opens"));
    let writer = Arc::new(Writer::start(store, Durability::Sync));
    let deadline = Instant::now() + ROUND;
    let threads: Vec<_> = (0..in_flight)
        .map(|thread| {
            let writer = writer.clone();
            std::thread::spawn(move || {
                let mut latencies = Latencies::default();
                let (sender, receiver) = std::sync::mpsc::channel();
                while Instant::now() < deadline {
                    let mut batch = Batch::new();
                    batch.put(format!("bench/{thread}"), vec![7; 64]);
                    let sender = sender.clone();
                    let began = Instant::now();
                    writer.submit(batch, Box::new(move |result| sender.send(result).expect("somebody waits")));
                    receiver.recv().expect("it is answered").expect("it is written");
                    latencies.push(began.elapsed());
                }
                latencies
            })
        })
        .collect();
    let began = deadline - ROUND;
    let mut all = Latencies::default();
    for thread in threads {
        all.extend(thread.join().expect("it does not panic"));
    }
    (all.len() as f64 / began.elapsed().as_secs_f64(), all)
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n").into_bytes()
}

fn post(path: &str) -> Vec<u8> {
    format!("POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-length: 0\r\n\r\n").into_bytes()
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / (1 << 20) as f64
}

fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).map(|rest| rest.trim_start_matches([' ', '\t', ':']));
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let mut text = String::new();
    let _ = write!(
        text,
        "{cores} cores, {}, load before {}",
        model.unwrap_or("unknown processor"),
        load.split(' ').next().unwrap_or("?")
    );
    text
}
