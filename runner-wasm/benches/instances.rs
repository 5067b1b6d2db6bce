//! What an actor costs: to start, to call, to keep. Prints a table; takes no arguments.
//!
//! Everything goes through the runner's door, with an engine that answers at once, so the figures are what the engine will see.
//! Needs the guests: scripts/guests. Run with `cargo bench -p rivet-runner-wasm`.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::thread::Thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method};
use protocol::component::ComponentHash;
use protocol::id::{ActorId, Id, RequestId};
use protocol::link::{FromRunnerLink, ToRunnerLink};
use protocol::message::*;
use rivet_runner_wasm::{Config, Runner};
use rustls::{ClientConfig, RootCertStore};
use sha2::{Digest, Sha256};

/// Confirms and answers at once, and wakes the one who measures.
#[derive(Default)]
struct Engine {
    runner: OnceLock<Weak<Runner>>,
    components: Mutex<Vec<(ComponentHash, Bytes)>>,
    running: AtomicUsize,
    ended: AtomicUsize,
    answered: AtomicU64,
    prepared: AtomicUsize,
    measurer: OnceLock<Thread>,
}

impl FromRunnerLink for Engine {
    fn send(&self, message: FromRunner) {
        let answer = match message {
            FromRunner::Kv { actor, generation, call, question, .. } => {
                let answer = match question {
                    KvQuestion::Get { keys } => KvAnswer::Get(vec![None; keys.len()]),
                    KvQuestion::List { .. } => KvAnswer::List(vec![]),
                };
                Some(ToRunner::Kv { actor, generation, call, result: Ok(answer) })
            }
            FromRunner::Commit(Commit { actor, generation, commit, .. }) => Some(ToRunner::Committed { actor, generation, commit }),
            FromRunner::GetComponent { component } => {
                let known = self.components.lock().expect("no panics").clone();
                let bytes = known.into_iter().find(|(hash, _)| *hash == component).map(|(_, bytes)| bytes).ok_or_else(String::new);
                Some(ToRunner::Component { component, bytes })
            }
            FromRunner::Prepared { result, .. } => {
                result.expect("the guest is accepted");
                self.count(&self.prepared)
            }
            FromRunner::Event(_, Event::Running) => self.count(&self.running),
            FromRunner::Event(_, Event::Stopped(outcome)) => {
                assert_eq!(outcome, Outcome::Ok);
                self.count(&self.ended)
            }
            FromRunner::ResponseStart { .. } => {
                self.answered.fetch_add(1, Relaxed);
                self.wake();
                None
            }
            FromRunner::ResponseAbort { failure, .. } => panic!("{failure:?}"),
            _ => None,
        };
        if let (Some(answer), Some(runner)) = (answer, self.runner.get().and_then(Weak::upgrade)) {
            runner.send(answer);
        }
    }
}

impl Engine {
    fn count(&self, counter: &AtomicUsize) -> Option<ToRunner> {
        counter.fetch_add(1, Relaxed);
        self.wake();
        None
    }

    fn wake(&self) {
        self.measurer.get().into_iter().for_each(Thread::unpark);
    }

    fn until(&self, condition: impl Fn() -> bool) {
        while !condition() {
            std::thread::park_timeout(Duration::from_millis(100));
        }
    }
}

struct Bench {
    engine: Arc<Engine>,
    runner: Arc<Runner>,
    requests: u64,
}

impl Bench {
    fn prepare(&self, name: &str) -> ComponentHash {
        let built = std::env::var_os("RIVET_GUESTS_DIR")
            .map_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../target/guests").into(), std::path::PathBuf::from);
        let path = built.join(format!("{name}.wasm"));
        let bytes = std::fs::read(&path).unwrap_or_else(|_| panic!("{} is missing: run scripts/guests first", path.display()));
        let component = ComponentHash(Sha256::digest(&bytes).into());
        self.engine.components.lock().expect("no panics").push((component, bytes.into()));
        let before = self.engine.prepared.load(Relaxed);
        self.runner.send(ToRunner::Prepare { component });
        self.engine.until(|| self.engine.prepared.load(Relaxed) > before);
        component
    }

    fn start(&self, actor: ActorId, component: ComponentHash) {
        let start = Start {
            name: "bench".to_string(),
            key: None,
            create_ms: 0,
            input: None,
            reason: StartReason::Woken,
            component: Some(Deployed {
                component,
                version: 1,
                migrate_from: None,
                namespace: "default".to_string(),
                settings: Arc::default(),
            }),
            alarm_ms: None,
            hibernating: vec![],
        };
        self.runner.send(ToRunner::Command(Checkpoint { actor, generation: 1, index: 1 }, Command::Start(Box::new(start))));
    }

    fn stop(&self, actor: ActorId) {
        let checkpoint = Checkpoint { actor, generation: 1, index: 2 };
        self.runner.send(ToRunner::Command(checkpoint, Command::Stop(StopReason::Sleep)));
    }

    fn send(&mut self, actor: ActorId, method: Method, path: &str) {
        self.requests += 1;
        self.runner.send(ToRunner::Request(RequestStart {
            request: RequestId(self.requests),
            actor,
            generation: 1,
            method,
            path: path.to_string(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            stream: false,
        }));
    }

    fn ask(&mut self, actor: ActorId, method: Method, path: &str) -> Duration {
        let began = Instant::now();
        self.send(actor, method, path);
        let (engine, requests) = (Arc::clone(&self.engine), self.requests);
        engine.until(|| engine.answered.load(Relaxed) >= requests);
        began.elapsed()
    }

    /// Median and 99th percentile of so many single requests, in microseconds.
    fn single(&mut self, what: &str, actor: ActorId, method: &Method, path: &str, count: usize) {
        let mut times: Vec<Duration> = (0..count).map(|_| self.ask(actor, method.clone(), path)).collect();
        times.sort();
        row(what, format!("{:.1} us, p99 {:.1} us", us(times[count / 2]), us(times[count * 99 / 100])));
    }

    /// Requests in line at one actor: what the runner and the guest take, without the measurer's own wake-ups.
    fn in_line(&mut self, what: &str, actor: ActorId, method: &Method, path: &str) {
        const LINE: u64 = 500;
        let mut best = Duration::MAX;
        for _ in 0..20 {
            let began = Instant::now();
            (0..LINE).for_each(|_| self.send(actor, method.clone(), path));
            let (engine, requests) = (Arc::clone(&self.engine), self.requests);
            engine.until(|| engine.answered.load(Relaxed) >= requests);
            best = best.min(began.elapsed() / LINE as u32);
        }
        row(what, format!("{:.2} us each", us(best)));
    }

    fn live(&mut self, component: ComponentHash, from: usize, to: usize) {
        let (anon, running) = (rss_anon_kib(), self.engine.running.load(Relaxed));
        let began = Instant::now();
        (from..to).for_each(|number| self.start(id(number), component));
        self.engine.until(|| self.engine.running.load(Relaxed) == running + to - from);
        let started = began.elapsed();
        let began = Instant::now();
        // One after the other: all at once would measure the queues.
        for number in from..to {
            self.ask(id(number), Method::POST, "/increment");
        }
        let first = began.elapsed();
        let count = (to - from) as f64;
        row(
            &format!("{to} awake actors"),
            format!(
                "{:.0} starts/s, first call {:.1} us, {:.1} KiB each (RssAnon)",
                count / started.as_secs_f64(),
                us(first) / count,
                (rss_anon_kib() - anon) / count
            ),
        );
    }
}

/// Nothing here is called over TLS.
fn nobody() -> Arc<ClientConfig> {
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().expect("versions of TLS");
    Arc::new(config.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let _inside = runtime.enter();
    let cache = tempfile::tempdir().expect("a folder");
    let engine = Arc::new(Engine::default());
    engine.measurer.get_or_init(std::thread::current);
    let dir = cap_std::fs::Dir::open_ambient_dir(cache.path(), cap_std::ambient_authority()).expect("the cache's folder");
    let runner = Runner::new(Config::new(dir, nobody()), engine.clone()).expect("this machine runs the sandbox");
    assert!(engine.runner.set(Arc::downgrade(&runner)).is_ok());
    let mut bench = Bench { engine, runner, requests: 0 };

    let began = Instant::now();
    let counter = bench.prepare("counter");
    row("compile the counter", format!("{:.0} ms", us(began.elapsed()) / 1e3));
    let hostile = bench.prepare("hostile");

    let actor = id(1 << 30);
    bench.start(actor, counter);
    bench.single("read, one at a time", actor, &Method::GET, "/", 5_000);
    bench.single("write, one at a time", actor, &Method::POST, "/increment", 5_000);
    bench.in_line("read, in line", actor, &Method::GET, "/");
    bench.in_line("write, in line", actor, &Method::POST, "/increment");

    let other = id((1 << 30) + 1);
    bench.start(other, hostile);
    bench.ask(other, Method::GET, "/count");
    bench.ask(other, Method::POST, "/put?key=here&value=1");
    let best = (0..5).map(|_| bench.ask(other, Method::GET, "/hostcalls?n=100000&key=here")).min().unwrap_or_default();
    row("kv.get, cached", format!("{:.3} us each of 100000 in one message", us(best) / 1e5));

    let before = bench.runner.metrics().actors;
    bench.live(counter, 0, 1_000);
    bench.live(counter, 1_000, 8_000);
    assert_eq!(bench.runner.metrics().actors, before + 8_000);
    let began = Instant::now();
    let ended = bench.engine.ended.load(Relaxed);
    (0..8_000).for_each(|number| bench.stop(id(number)));
    bench.engine.until(|| bench.engine.ended.load(Relaxed) == ended + 8_000);
    row("8000 stops", format!("{:.0}/s", 8e3 / began.elapsed().as_secs_f64()));
}

fn id(number: usize) -> ActorId {
    let mut random = [0; 16];
    // Not where an id has its version and variant bits.
    random[10..14].copy_from_slice(&(number as u32).to_be_bytes());
    Id::new(random, 1)
}

fn us(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn row(what: &str, figure: String) {
    println!("{what:<24} {figure}");
}

fn rss_anon_kib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.split_whitespace().next()).and_then(|kib| kib.parse().ok()).unwrap_or(0.0)
}
