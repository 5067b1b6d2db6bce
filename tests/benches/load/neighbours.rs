//! What a well-behaved actor notices of hostile ones beside it: the latency of its calls, alone and beside each kind.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{Connection, Latencies};
use crate::engine::{self, Engine};
use crate::{ROUND, get, ms, post};

/// Actors that misbehave at one time, each with a caller of its own that never rests.
const HOSTILE: usize = 8;
/// Calls of the well-behaved actor: so many a second, however long one takes.
const PACE: Duration = Duration::from_millis(5);
const ROUNDS: u32 = 2;

/// What they do, the path that makes them, and how its answer begins.
const KINDS: [(&str, &str, &str); 11] = [
    ("nothing", "", ""),
    ("answer, as good ones do", "/count", DONE),
    ("loop until they are stopped", "/loop", STOPPED),
    ("take memory until they are stopped", "/bomb", STOPPED),
    ("recurse until they are stopped", "/stack", STOPPED),
    ("panic", "/panic", STOPPED),
    ("read a key 100,000 times", "/hostcalls?n=100000&key=here", DONE),
    ("write 1,000 keys", "/put-many?n=1000&bytes=10", DONE),
    ("write a value of 100 KiB", "/put-value-bytes?key=k&n=102400", DONE),
    ("log 10,000 lines", "/log?n=10000&bytes=100", DONE),
    ("answer with 8 MiB", "/huge-response?bytes=8388608", DONE),
];
const DONE: &str = "HTTP/1.1 200";
const STOPPED: &str = "HTTP/1.1 5";

/// The row beside nothing, and those that have one of these words in their names; without words all.
pub fn table(words: &[&str]) {
    let engine = Engine::start();
    engine.deploy("counter");
    engine.deploy("hostile");
    let good = engine.actors(1).remove(0);
    println!("## neighbours\n");
    println!(
        "| {HOSTILE} actors beside it | their calls a second | read: p50 us | p99 us | beside nothing | increment: p50 us | p99 us | beside nothing |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let mut alone = None;
    for (what, path, begins) in KINDS {
        if !path.is_empty() && !words.is_empty() && !words.iter().any(|word| what.contains(word)) {
            continue;
        }
        if !path.is_empty() {
            let answer = Connection::open(engine.address).ask(&get(&engine::by_key_of("hostile", "first", path)));
            assert!(answer.starts_with(begins), "{what}: {}", &answer[..answer.len().min(500)]);
        }
        let (mut read, calls) = beside(&engine, path, &get(&format!("/gateway/{good}/")));
        let (mut increment, _) = beside(&engine, path, &post(&format!("/gateway/{good}/increment")));
        let p99 = (read.percentile(99), increment.percentile(99));
        let (read_alone, increment_alone) = *alone.get_or_insert(p99);
        println!(
            "| {what} | {calls:.0} | {:.0} | {:.0} | {:.1} | {:.0} | {:.0} | {:.1} |",
            read.percentile(50),
            p99.0,
            p99.0 / read_alone,
            increment.percentile(50),
            p99.1,
            p99.1 / increment_alone
        );
    }
    println!();
}

/// The latencies of one request, again and again, and how many calls a second the hostile actors have taken meanwhile.
fn beside(engine: &Engine, path: &str, request: &[u8]) -> (Latencies, f64) {
    let (done, calls) = (AtomicBool::new(false), AtomicUsize::new(0));
    let began = Instant::now();
    let latencies = thread::scope(|scope| {
        for number in 0..HOSTILE {
            let (done, calls, address) = (&done, &calls, engine.address);
            scope.spawn(move || {
                if path.is_empty() {
                    return;
                }
                // Callers on another machine would not take the engine's processors.
                // SAFETY: a system call with three numbers, about this thread.
                assert_eq!(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 19) }, 0);
                let mut connection = Connection::open(address);
                let request = get(&engine::by_key_of("hostile", &format!("{number}"), path));
                while !done.load(Ordering::Relaxed) {
                    connection.ask(&request);
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut connection = Connection::open(engine.address);
        let mut latencies = Latencies::default();
        // The first moment is that of their starts.
        thread::sleep(Duration::from_millis(200));
        let measured = Instant::now();
        let mut next = measured;
        while measured.elapsed() < ROUND * ROUNDS {
            thread::sleep(next.saturating_duration_since(Instant::now()));
            latencies.push(connection.time(request));
            next = (next + PACE).max(Instant::now());
        }
        done.store(true, Ordering::Relaxed);
        latencies
    });
    let seconds = ms(began.elapsed()) / 1e3;
    (latencies, calls.into_inner() as f64 / seconds)
}
