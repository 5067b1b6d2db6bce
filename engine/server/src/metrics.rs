//! What is counted, and how Prometheus reads it.
//!
//! Counts are taken where things happen; what only the driver knows is asked of it when somebody reads. Labels have few values:
//! routes, not addresses; no ids.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use engine_core::Input;
use engine_store::Figures;
use http::Method;
use tokio::sync::oneshot;

use crate::engine::Engine;
use crate::lock::lock;

/// The driver is busy for longer only if something is wrong; then the rest is told without it.
const DRIVER_ANSWERS_MS_MAX: u64 = 1_000;
/// Where the kernel says how much memory the process has, in pages.
const MEMORY_FILE: &str = "/proc/self/statm";

/// Says of each certificate when it ends, in seconds since 1970.
type Ends = dyn Fn() -> Vec<(&'static str, u64)> + Send + Sync;

#[derive(Default)]
pub struct Metrics {
    pub connections: AtomicUsize,
    /// Answers to requests for actors, by the first digit of their status.
    actor_answers: [AtomicU64; 6],
    api: Mutex<BTreeMap<ApiCall, ApiCount>>,
    driver_asked: AtomicBool,
    asking: Mutex<Vec<oneshot::Sender<DriverFigures>>>,
    own_runner: OnceLock<Box<dyn Fn() -> RunnerFigures + Send + Sync>>,
    certificates: OnceLock<Box<Ends>>,
}

/// What only the driver knows.
#[derive(Clone, Copy, Default)]
pub struct DriverFigures {
    pub actors_in_memory: usize,
    pub requests_in_flight: usize,
    pub writer: Figures,
}

/// What the engine's own runner has in use.
#[derive(Clone, Copy, Default)]
pub struct RunnerFigures {
    pub actors: usize,
    pub memory_bytes: usize,
    pub slept_for_room: u64,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct ApiCall {
    path: String,
    method: &'static str,
    status: u16,
}

#[derive(Default)]
struct ApiCount {
    calls: u64,
    took: Duration,
}

impl Metrics {
    /// Whoever asks when certificates end asks this.
    pub fn show_certificates(&self, ends: impl Fn() -> Vec<(&'static str, u64)> + Send + Sync + 'static) {
        // The engine is composed once.
        let _ = self.certificates.set(Box::new(ends));
    }

    pub fn actor_answered(&self, status: u16) {
        if let Some(count) = self.actor_answers.get(usize::from(status / 100)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn api_answered(&self, path: Option<&MatchedPath>, method: &Method, status: u16, took: Duration) {
        let path = path.map_or("", MatchedPath::as_str).to_string();
        let mut api = lock(&self.api);
        let count = api.entry(ApiCall { path, method: known(method), status }).or_default();
        count.calls += 1;
        count.took += took;
    }

    /// There is one such runner, or none.
    pub fn count_own_runner(&self, figures: impl Fn() -> RunnerFigures + Send + Sync + 'static) {
        self.own_runner.get_or_init(|| Box::new(figures));
    }

    /// Called by the driver after each round; nearly always nobody asks.
    pub fn answer(&self, figures: impl FnOnce() -> DriverFigures) {
        if !self.driver_asked.swap(false, Ordering::Relaxed) {
            return;
        }
        let figures = figures();
        for asking in lock(&self.asking).drain(..) {
            // Whoever asked may have left.
            let _ = asking.send(figures);
        }
    }

    async fn ask_driver(&self, engine: &Engine) -> Option<DriverFigures> {
        let (answer, answered) = oneshot::channel();
        lock(&self.asking).push(answer);
        self.driver_asked.store(true, Ordering::Relaxed);
        // So that it has a round.
        engine.inbox.push(Input::Tick);
        tokio::time::timeout(Duration::from_millis(DRIVER_ANSWERS_MS_MAX), answered).await.ok()?.ok()
    }
}

/// A layer over the API's router.
pub async fn count(State(engine): State<std::sync::Arc<Engine>>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let (path, method) = (request.extensions().get::<MatchedPath>().cloned(), request.method().clone());
    let response = next.run(request).await;
    engine.metrics.api_answered(path.as_ref(), &method, response.status().as_u16(), began.elapsed());
    response
}

/// Methods come from outside; a label must not.
fn known(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

/// Everything, in Prometheus' text format.
pub async fn page(engine: &Engine) -> String {
    let metrics = &engine.metrics;
    let mut page = Page::default();
    let build = format!("version=\"{}\",git_sha=\"{}\"", env!("CARGO_PKG_VERSION"), env!("BUILD_GIT_SHA"));
    page.family("rivet_build_info", "gauge", "What runs.");
    page.row("rivet_build_info", &build, 1);
    page.gauge("rivet_connections", "Connections of clients that are open.", metrics.connections.load(Ordering::Relaxed));
    edge(&mut page, engine);
    page.gauge("rivet_runners_connected", "Runners that are connected, the engine's own among them.", engine.runners.count());
    page.family("rivet_actor_request_total", "counter", "Answers to requests for actors, by status.");
    for (digit, count) in metrics.actor_answers.iter().enumerate().skip(1) {
        page.row("rivet_actor_request_total", &format!("status=\"{digit}xx\""), count.load(Ordering::Relaxed));
    }
    api(&mut page, metrics);
    if let Some(figures) = metrics.ask_driver(engine).await {
        driver(&mut page, &figures);
    }
    if let Some(figures) = metrics.own_runner.get() {
        own_runner(&mut page, &figures());
    }
    if let Some(bytes) = memory_bytes() {
        page.gauge("process_resident_memory_bytes", "Memory of the process that is in use.", bytes);
    }
    page.0
}

fn edge(page: &mut Page, engine: &Engine) {
    let refused = &engine.edge.refused;
    page.gauge("rivet_guard_clients", "Clients that are remembered, to count what they may.", engine.edge.clients());
    page.family("rivet_guard_refused_total", "counter", "How often a client wanted more than it may, by what it wanted.");
    for (limit, count) in
        [("max_connections", &refused.connections), ("max_in_flight", &refused.in_flight), ("rate", &refused.rate)]
    {
        page.row("rivet_guard_refused_total", &format!("limit=\"{limit}\""), count.load(Ordering::Relaxed));
    }
    let Some(ends) = engine.metrics.certificates.get() else { return };
    page.family("rivet_tls_certificate_expiry_timestamp_seconds", "gauge", "When a certificate ends.");
    for (name, ends_s) in ends() {
        page.row("rivet_tls_certificate_expiry_timestamp_seconds", &format!("certificate=\"{name}\""), ends_s);
    }
}

fn api(page: &mut Page, metrics: &Metrics) {
    let api = lock(&metrics.api);
    let labels = |call: &ApiCall| {
        let path = if call.path.is_empty() { "none" } else { &call.path };
        format!("method=\"{}\",path=\"{path}\",status=\"{}\"", call.method, call.status)
    };
    page.family("rivet_api_request_total", "counter", "Answers of the API, by route and status.");
    for (call, count) in api.iter() {
        page.row("rivet_api_request_total", &labels(call), count.calls);
    }
    page.family("rivet_api_request_seconds_total", "counter", "How long these took together.");
    for (call, count) in api.iter() {
        page.row("rivet_api_request_seconds_total", &labels(call), count.took.as_secs_f64());
    }
}

fn driver(page: &mut Page, figures: &DriverFigures) {
    page.gauge(
        "rivet_actors_in_memory",
        "Actors that are awake, or that something is about to happen to.",
        figures.actors_in_memory,
    );
    page.gauge("rivet_actor_requests_in_flight", "Requests for actors that wait or run.", figures.requests_in_flight);
    let writer = &figures.writer;
    page.gauge("rivet_store_queued_commits", "Commits that wait for the writer.", writer.queued);
    page.gauge("rivet_store_queued_bytes", "Bytes of these.", writer.queued_bytes);
    page.counter("rivet_store_commits_total", "Commits written.", writer.commits);
    page.counter("rivet_store_commit_groups_total", "Writes that these were grouped into.", writer.groups);
    page.counter("rivet_store_commit_bytes_total", "Bytes of commits.", writer.bytes);
    page.counter("rivet_store_commit_conflicts_total", "Commits that were refused by a check of theirs.", writer.conflicts);
    page.counter("rivet_store_syncs_total", "Times the disk was told to sync.", writer.syncs);
    page.counter("rivet_store_failures_total", "Writes and syncs that failed.", writer.failures);
}

fn own_runner(page: &mut Page, figures: &RunnerFigures) {
    page.gauge("rivet_wasm_actors", "Wasm actors that this process has in memory.", figures.actors);
    page.gauge("rivet_wasm_memory_bytes", "Memory of their guests, as it counts towards the limit for all.", figures.memory_bytes);
    page.counter(
        "rivet_wasm_slept_for_room_total",
        "Idle Wasm actors that were asked to sleep because others needed their room.",
        figures.slept_for_room,
    );
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn row(&mut self, name: &str, labels: &str, value: impl Display) {
        let _ = match labels.is_empty() {
            true => writeln!(self.0, "{name} {value}"),
            false => writeln!(self.0, "{name}{{{labels}}} {value}"),
        };
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        self.row(name, "", value);
    }

    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "counter", help);
        self.row(name, "", value);
    }
}

/// Only where the kernel tells.
fn memory_bytes() -> Option<u64> {
    let text = fs::read_to_string(MEMORY_FILE).ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    // SAFETY: it reads a constant of the system and nothing else.
    let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    Some(pages * u64::try_from(page_bytes).ok()?)
}
