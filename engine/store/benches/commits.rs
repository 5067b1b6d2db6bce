//! How many durable commits a second, and how long one takes; next to what the disk itself needs, in the same run.
//!
//! `cargo bench -p rivet-engine-store`. A disk and a busy machine change absolute numbers by a factor of ten from one minute to
//! the next, so every row is measured in turns with the probe, the median of the turns is shown, and only the ratios mean something.
//! The probe appends 4 KiB to a file and calls fdatasync: the least that a durable write can cost.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use engine_core::record::Change;
use protocol::id::{ActorId, Id, Partition};
use protocol::message::{KvChange, KvRange, KvSpace};
use rivet_engine_store::group::alone;
use rivet_engine_store::rocks::Tuning;
use rivet_engine_store::{Batch, Durability, Persist, Rocks, State, Store, Writer, keys};

const TURNS: usize = 7;
const TURN: Duration = Duration::from_millis(400);
const SUBMITTERS: usize = 64;
const VALUE_BYTES: usize = 200;

fn main() {
    // Asked for a list of tests, by a runner that takes every target for one.
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    let directory = tempfile::tempdir().expect("the temporary directory can be written");
    let store: Arc<dyn Store> = Arc::new(Rocks::open(&directory.path().join("store"), &Tuning::default()).expect("it opens"));
    commits(directory.path(), &store);
    reads(&store);
}

/// One turn of one row.
#[derive(Clone, Copy)]
struct Turn {
    per_second: f64,
    p50: Duration,
    p99: Duration,
    /// Commits of one group; 0 where there are no groups.
    group: f64,
}

type TakeTurn<'a> = Box<dyn FnMut() -> Turn + 'a>;

impl Turn {
    fn new(mut latencies: Vec<Duration>, took: Duration, group: f64) -> Turn {
        latencies.sort();
        let at = |part: f64| latencies[((latencies.len() - 1) as f64 * part) as usize];
        Turn { per_second: latencies.len() as f64 / took.as_secs_f64(), p50: at(0.5), p99: at(0.99), group }
    }
}

fn commits(directory: &Path, store: &Arc<dyn Store>) {
    let mut probe = File::create(directory.join("probe")).expect("it can be made");
    let sync = Writer::start(store.clone(), Durability::Sync);
    let batch = Writer::start(store.clone(), Durability::Batch { ms: 10 });
    let relaxed = Writer::start(store.clone(), Durability::Relaxed);
    let mut rows: Vec<(&str, TakeTurn)> = vec![
        (
            "probe: append 4 KiB, fdatasync",
            Box::new(move || {
                one_by_one(|_| {
                    probe.write_all(&[7; 4096]).expect("the disk takes it");
                    probe.sync_data().expect("the disk takes it");
                })
            }),
        ),
        ("store, synced, 1 thread", Box::new(|| one_by_one(|number| commit(&**store, number, Persist::Synced)))),
        ("writer, sync, 1 submitter", Box::new(|| submitters(&sync, 1))),
        ("writer, sync, 64 submitters", Box::new(|| submitters(&sync, SUBMITTERS))),
        ("writer, sync, 1 thread, 64 in flight", Box::new(|| in_flight(&sync, SUBMITTERS))),
        ("store, not synced, 1 thread", Box::new(|| one_by_one(|number| commit(&**store, number, Persist::Written)))),
        ("writer, batch 10 ms, 1 submitter", Box::new(|| submitters(&batch, 1))),
        ("writer, relaxed, 1 submitter", Box::new(|| submitters(&relaxed, 1))),
        ("writer, relaxed, 1 thread, 64 in flight", Box::new(|| in_flight(&relaxed, SUBMITTERS))),
    ];
    let mut turns: Vec<Vec<Turn>> = vec![Vec::new(); rows.len()];
    for _ in 0..TURNS {
        for (row, turns) in rows.iter_mut().zip(&mut turns) {
            turns.push((row.1)());
        }
    }
    println!(
        "{:<40} {:>10} {:>9} {:>9} {:>7} {:>11} {:>9}",
        "commits", "per s", "p50 us", "p99 us", "group", "p50/probe", "per s /1"
    );
    let median = |turns: &[Turn], of: &dyn Fn(&Turn) -> f64| {
        let mut values: Vec<f64> = turns.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let us = |duration: Duration| duration.as_secs_f64() * 1e6;
    let probe_p50 = median(&turns[0], &|turn| us(turn.p50));
    let one_per_second = median(&turns[2], &|turn| turn.per_second);
    for ((name, _), turns) in rows.iter().zip(&turns) {
        let per_second = median(turns, &|turn| turn.per_second);
        let (p50, p99) = (median(turns, &|turn| us(turn.p50)), median(turns, &|turn| us(turn.p99)));
        let group = median(turns, &|turn| turn.group);
        println!(
            "{name:<40} {per_second:>10.0} {p50:>9.1} {p99:>9.1} {group:>7.1} {:>11.2} {:>9.2}",
            p50 / probe_p50,
            per_second / one_per_second
        );
    }
}

/// Two keys, like an entry of an actor's KV and its record.
fn two_puts(number: u64) -> Batch {
    let mut batch = Batch::new();
    for half in [b'a', b'b'] {
        let mut key = vec![b'x', half];
        key.extend_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        key.resize(24, 0);
        batch.put(key, vec![half; VALUE_BYTES]);
    }
    batch
}

fn commit(store: &dyn Store, number: u64, persist: Persist) {
    store.commit(&two_puts(number), persist).expect("the disk takes it");
}

fn one_by_one(mut what: impl FnMut(u64)) -> Turn {
    let mut latencies = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < TURN {
        let at = Instant::now();
        what(fastrand::u64(..));
        latencies.push(at.elapsed());
    }
    Turn::new(latencies, begun.elapsed(), 0.0)
}

/// So many threads, each with one batch at a time.
fn submitters(writer: &Writer, count: usize) -> Turn {
    let before = writer.figures();
    let begun = Instant::now();
    let latencies = thread::scope(|scope| {
        let one = || {
            let (sender, receiver) = mpsc::channel();
            let mut latencies = Vec::new();
            while begun.elapsed() < TURN {
                let (at, sender) = (Instant::now(), sender.clone());
                let done = move |verdict| sender.send(verdict).expect("it is waited for");
                writer.submit(two_puts(fastrand::u64(..)), Box::new(done));
                receiver.recv().expect("it is told").expect("the disk takes it");
                latencies.push(at.elapsed());
            }
            latencies
        };
        let threads: Vec<_> = (0..count).map(|_| scope.spawn(one)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("it does not panic")).collect()
    });
    Turn::new(latencies, begun.elapsed(), group(writer, before))
}

/// One thread that keeps so many on their way, as the engine's driver does.
fn in_flight(writer: &Writer, count: usize) -> Turn {
    let before = writer.figures();
    let (sender, receiver) = mpsc::channel();
    let mut latencies = Vec::new();
    let begun = Instant::now();
    let submit = || {
        let (at, sender) = (Instant::now(), sender.clone());
        let done = move |verdict: Result<_, _>| sender.send((at, verdict)).expect("it is waited for");
        writer.submit(two_puts(fastrand::u64(..)), Box::new(done));
    };
    (0..count).for_each(|_| submit());
    while begun.elapsed() < TURN {
        let (at, verdict) = receiver.recv().expect("it is told");
        verdict.expect("the disk takes it");
        latencies.push(at.elapsed());
        submit();
    }
    let took = begun.elapsed();
    (0..count).for_each(|_| drop(receiver.recv().expect("it is told")));
    Turn::new(latencies, took, group(writer, before))
}

fn group(writer: &Writer, before: rivet_engine_store::Figures) -> f64 {
    let after = writer.figures();
    (after.commits - before.commits) as f64 / (after.groups - before.groups).max(1) as f64
}

fn actor(number: u32) -> ActorId {
    let mut random = [0; 16];
    random[..4].copy_from_slice(&number.to_be_bytes());
    Id::new(random, 1).in_partition(Partition::new((number % 64) as u8).expect("below 64"))
}

fn reads(store: &Arc<dyn Store>) {
    let state = State::new(store.clone());
    let puts = (0..100u8).map(|key| KvChange::Put { key: vec![key].into(), value: vec![7; VALUE_BYTES].into() }).collect();
    let changes = [Change::Kv { actor: actor(1), space: KvSpace::Actor, now_ms: 1, changes: puts }];
    store.commit(&alone(&**store, State::batch(&changes)).expect("the disk is read"), Persist::Written).expect("the disk takes it");
    println!();
    println!("{:<56} {:>9} {:>9}", "reads", "p50 us", "p99 us");
    let key = keys::kv(KvSpace::Actor, actor(1), &[5]);
    row("get, in the store", || drop(store.get(&key).expect("a read")));
    row("get, as an entry of an actor", || {
        drop(state.kv_get(KvSpace::Actor, actor(1), &[Bytes::from_static(&[5])]).expect("a read"))
    });
    row("list of 100 entries", || {
        drop(state.kv_list(KvSpace::Actor, actor(1), &KvRange::all(), false, 100, false).expect("a read").expect("short"))
    });
    let absent = keys::actor(actor(2));
    row("get of what is not there", || drop(store.get(&absent).expect("a read")));
    row("an actor that does not exist", || drop(state.load_actor(actor(2)).expect("a read")));
    row("alarms of 64 partitions, none", || drop(state.load_alarms(None, 1_000).expect("a read")));
    let mut alarms = Vec::new();
    for number in 0..100_000 {
        alarms.push(Change::PutAlarm { fire_ms: u64::from(number), actor: actor(number) });
    }
    store.commit(&alone(&**store, State::batch(&alarms)).expect("the disk is read"), Persist::Written).expect("the disk takes it");
    row("alarms of 64 partitions, the first 1000 of 100000", || drop(state.load_alarms(None, 1_000).expect("a read")));
    for destroyed in [100u32, 1_000, 10_000] {
        for number in 0..destroyed {
            destroy(&**store, number);
        }
        // Each read after one more destroy: the index of deleted ranges is made anew.
        let what = format!("get after {destroyed} destroys, each after one more");
        row(&what, || {
            destroy(&**store, 5);
            drop(store.get(&key).expect("a read"));
        });
    }
}

fn destroy(store: &dyn Store, number: u32) {
    let mut batch = Batch::new();
    let (start, end) = keys::kv_all(KvSpace::Actor, actor(number + 1_000));
    batch.delete_range(start, end);
    store.commit(&batch, Persist::Written).expect("the disk takes it");
}

fn row(name: &str, mut what: impl FnMut()) {
    let turn = one_by_one(|_| what());
    println!("{name:<56} {:>9.1} {:>9.1}", turn.p50.as_secs_f64() * 1e6, turn.p99.as_secs_f64() * 1e6);
}
