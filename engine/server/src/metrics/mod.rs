//! What is counted, and how Prometheus reads it.
//!
//! Counts are taken where things happen; what only the driver knows is asked of it when somebody reads. Labels have few values:
//! routes, not addresses; no ids.
//!
//! In reading order: this, what is counted; [`page`], how it is written; [`process`], what the kernel counts.

pub mod page;
mod process;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use axum::extract::{self, MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use engine_core::Input;
use engine_core::record::NamespaceRecord;
use engine_store::{Figures, State};
use http::Method;
use protocol::histogram::{Counted, Histogram};
use protocol::trace::{self, Followed, Span};
use tokio::sync::oneshot;

use crate::engine::Engine;
use crate::http::PROBES;
use crate::lock::lock;
use crate::memory::used;
use crate::metrics::page::{Kind, Page};
use crate::telemetry::Telemetry;

/// The driver is busy for longer only if something is wrong; then the rest is told without it.
const DRIVER_ANSWERS_MS_MAX: u64 = 1_000;
/// Namespaces whose figures are on a page.
const NAMESPACES_SHOWN_MAX: usize = 100;

/// Says of each certificate when it ends, in seconds since 1970.
type Ends = dyn Fn() -> Vec<(&'static str, u64)> + Send + Sync;

#[derive(Default)]
pub struct Metrics {
    pub connections: AtomicUsize,
    /// Answers to requests for actors, by the first digit of their status.
    actor_answers: [AtomicU64; 6],
    /// How long they took, until the response began; the same.
    actor_durations: [Histogram; 6],
    /// From the command to a runner to what it says once the actor runs.
    pub wakes: Histogram,
    /// From the writer's queue to durable.
    pub commits: Histogram,
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
    pub mailbox_waits: Counted,
    pub message_runs: Counted,
    pub actors: usize,
    pub actors_max: usize,
    pub memory_bytes: usize,
    pub code_bytes: usize,
    pub memory_refusals: u64,
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

    pub fn actor_answered(&self, status: u16, took: Duration) {
        let digit = usize::from(status / 100);
        if let (Some(count), Some(durations)) = (self.actor_answers.get(digit), self.actor_durations.get(digit)) {
            count.fetch_add(1, Ordering::Relaxed);
            durations.count(took);
        }
    }

    fn api_answered(&self, path: Option<&MatchedPath>, method: &Method, status: u16, took: Duration) {
        let path = path.map_or("", MatchedPath::as_str).to_string();
        let mut api = lock(&self.api);
        let count = api.entry(ApiCall { path, method: known(method), status }).or_default();
        count.calls += 1;
        count.took += took;
    }

    /// Of the runner in this process, if there is one.
    pub fn own_runner_actors(&self) -> Option<usize> {
        self.own_runner.get().map(|figures| figures().actors)
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

    /// None: it does not answer, and so nothing is decided about actors.
    pub async fn ask_driver(&self, engine: &Engine) -> Option<DriverFigures> {
        let (answer, answered) = oneshot::channel();
        lock(&self.asking).push(answer);
        self.driver_asked.store(true, Ordering::Relaxed);
        // So that it has a round.
        engine.inbox.push(Input::Tick);
        tokio::time::timeout(Duration::from_millis(DRIVER_ANSWERS_MS_MAX), answered).await.ok()?.ok()
    }
}

/// A layer over the API's router; it measures those that are sampled, too.
pub async fn count(extract::State(engine): extract::State<std::sync::Arc<Engine>>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let (path, method) = (request.extensions().get::<MatchedPath>().cloned(), request.method().clone());
    let mut span = span(&engine, path.as_ref(), &request);
    let response = match span.is_none() {
        true => next.run(request).await,
        false => trace::follow(Followed::inside(&span), next.run(request)).await,
    };
    let status = response.status().as_u16();
    span.set("http.response.status_code", || u64::from(status));
    if status >= 500 {
        span.fail(|| format!("answered with {status}"));
    }
    engine.metrics.api_answered(path.as_ref(), &method, status, began.elapsed());
    response
}

/// Of a request to the API. It says the route, and nothing that its client has made up.
fn span(engine: &Engine, path: Option<&MatchedPath>, request: &Request) -> Span {
    // Probes come all the time and tell nothing.
    if PROBES.contains(&request.uri().path()) {
        return Span::none();
    }
    let mut span = engine.telemetry.request(request.headers(), "api.request");
    if !span.is_none() {
        span.set("http.request.method", || known(request.method()));
        if let Some(path) = path {
            span.set("http.route", || path.as_str());
        }
        if let Some(ray) = trace::current(|followed| followed.ray.clone()) {
            span.set("rivet.ray_id", || ray.to_str().unwrap_or_default());
        }
    }
    span
}

/// Methods come from outside; a label must not.
pub fn known(method: &Method) -> &'static str {
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

/// Everything. Before there is an engine, what concerns the process.
pub async fn page(engine: Option<&Engine>) -> Page {
    let mut page = begun(engine.is_some_and(|engine| engine.readiness.is_ready()));
    if let Some(engine) = engine {
        of_engine(&mut page, engine).await;
    }
    process::process(&mut page);
    page
}

/// The same of a runner elsewhere. None: it has no connection, and so no actors.
pub fn runner_page(figures: Option<&RunnerFigures>, telemetry: &Telemetry) -> Page {
    let mut page = begun(figures.is_some());
    own_runner(&mut page, figures.unwrap_or(&RunnerFigures::default()));
    telemetry.figures(&mut page);
    process::process(&mut page);
    page
}

fn begun(is_ready: bool) -> Page {
    let mut page = Page::default();
    page.family("rivet_build_info", Kind::Gauge, "What runs.");
    let build = [("version", env!("CARGO_PKG_VERSION")), ("git_sha", env!("BUILD_GIT_SHA"))];
    page.row(build.map(|(name, value)| (name, value.to_string())).to_vec(), 1_u64);
    let help = "Whether the engine wants requests, or a runner elsewhere is connected: 1, or 0.";
    page.gauge("rivet_ready", help, u64::from(is_ready));
    page
}

async fn of_engine(page: &mut Page, engine: &Engine) {
    let metrics = &engine.metrics;
    page.gauge("rivet_connections", "Connections of clients that are open.", metrics.connections.load(Ordering::Relaxed));
    edge(page, engine);
    page.gauge("rivet_sockets", "WebSockets of clients that are open.", engine.sockets.open_now());
    page.gauge("rivet_runners_connected", "Runners that are connected, the engine's own among them.", engine.runners.count());
    let by_status = || (1..metrics.actor_answers.len()).map(|digit| (digit, vec![("status", format!("{digit}xx"))]));
    page.family("rivet_actor_request_total", Kind::Counter, "Answers to requests for actors, by status.");
    for (digit, labels) in by_status() {
        page.row(labels, metrics.actor_answers[digit].load(Ordering::Relaxed));
    }
    page.family("rivet_actor_request_duration_seconds", Kind::Histogram, "How long these took until the response began.");
    for (digit, labels) in by_status() {
        page.durations(labels, metrics.actor_durations[digit].counted());
    }
    page.histogram(
        "rivet_actor_wake_duration_seconds",
        "From the command that starts an actor until its runner says that it runs.",
        metrics.wakes.counted(),
    );
    page.family(
        "rivet_auth_denied_total",
        Kind::Counter,
        "Requests, calls and connections that were refused for their token, by reason.",
    );
    for (reason, count) in engine.auth.denials() {
        page.row(vec![("reason", reason.to_string())], count);
    }
    api(page, metrics);
    let mut queued_bytes = 0;
    if let Some(figures) = metrics.ask_driver(engine).await {
        queued_bytes = figures.writer.queued_bytes;
        driver(page, &figures);
    }
    page.histogram(
        "rivet_store_commit_duration_seconds",
        "From the writer's queue until a commit is durable.",
        metrics.commits.counted(),
    );
    let own = metrics.own_runner.get().map(|figures| figures());
    if let Some(figures) = &own {
        own_runner(page, figures);
    }
    used::page(page, engine, queued_bytes, own.map(|own| (own.memory_bytes + own.code_bytes, own.memory_refusals)));
    namespaces(page, engine).await;
    let (kept, dropped) = engine.logs.figures();
    page.gauge("rivet_actor_log_bytes", "What the lines that actors have logged take, within their bounds.", kept);
    page.counter("rivet_actor_log_lines_dropped_total", "Lines that came faster than the disk takes them.", dropped);
    let (kept, lost) = engine.recorder.figures();
    page.gauge("rivet_recorded_request_bytes", "What recorded requests take, within their bounds.", kept);
    page.counter("rivet_recorded_requests_lost_total", "Requests that were to be recorded, and for which there was no room.", lost);
    engine.telemetry.figures(page);
}

fn edge(page: &mut Page, engine: &Engine) {
    let refused = &engine.edge.refused;
    page.gauge("rivet_guard_clients", "Clients that are remembered, to count what they may.", engine.edge.clients());
    page.family("rivet_guard_refused_total", Kind::Counter, "How often a client wanted more than it may, by what it wanted.");
    for (limit, count) in
        [("max_connections", &refused.connections), ("max_in_flight", &refused.in_flight), ("rate", &refused.rate)]
    {
        page.row(vec![("limit", limit.to_string())], count.load(Ordering::Relaxed));
    }
    let Some(ends) = engine.metrics.certificates.get() else { return };
    page.family("rivet_tls_certificate_expiry_timestamp_seconds", Kind::Gauge, "When a certificate of this engine ends.");
    for (name, ends_s) in ends() {
        page.row(vec![("certificate", name.to_string())], ends_s);
    }
}

fn api(page: &mut Page, metrics: &Metrics) {
    let api = lock(&metrics.api);
    let labels = |call: &ApiCall| {
        let path = if call.path.is_empty() { "none" } else { &call.path };
        vec![("method", call.method.to_string()), ("path", path.to_string()), ("status", call.status.to_string())]
    };
    page.family("rivet_api_request_total", Kind::Counter, "Answers of the API, by route and status.");
    for (call, count) in api.iter() {
        page.row(labels(call), count.calls);
    }
    page.family("rivet_api_request_seconds_total", Kind::Counter, "How long these took together.");
    for (call, count) in api.iter() {
        page.row(labels(call), count.took.as_secs_f64());
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
    page.histogram(
        "rivet_store_sync_duration_seconds",
        "How long a write that is synced took, or a sync alone.",
        writer.sync_durations,
    );
}

/// Of the first namespaces, so that a page stays short whatever there is.
async fn namespaces(page: &mut Page, engine: &Engine) {
    let namespaces: Vec<_> = engine.directory.namespaces().into_iter().take(NAMESPACES_SHOWN_MAX).collect();
    let ids: Vec<_> = namespaces.iter().map(|namespace| namespace.id).collect();
    let read = move |state: &State| ids.into_iter().map(|id| state.usage(id)).collect::<Result<Vec<_>, _>>();
    // Too much is being read just now: the rest is told without it.
    let Ok(usage) = engine.readers.read("what is stored could not be read", read).await else { return };
    let label = |namespace: &NamespaceRecord| vec![("namespace", namespace.name.clone())];
    page.family("rivet_namespace_actors", Kind::Gauge, "Actors that were created and not destroyed.");
    for (namespace, usage) in namespaces.iter().zip(&usage) {
        page.row(label(namespace), usage.actors);
    }
    page.family("rivet_namespace_stored_bytes", Kind::Gauge, "What these have stored: keys and values, and their databases.");
    for (namespace, usage) in namespaces.iter().zip(&usage) {
        page.row(label(namespace), usage.bytes);
    }
}

fn own_runner(page: &mut Page, figures: &RunnerFigures) {
    page.gauge("rivet_wasm_actors", "Wasm actors that this process has in memory.", figures.actors);
    page.gauge("rivet_wasm_actors_max", "Wasm actors that there is room for, if all are of the smallest kind.", figures.actors_max);
    page.gauge("rivet_wasm_memory_bytes", "Memory of their guests, as it counts towards the limit for all.", figures.memory_bytes);
    page.counter(
        "rivet_wasm_slept_for_room_total",
        "Idle Wasm actors that were asked to sleep because others needed their room.",
        figures.slept_for_room,
    );
    page.histogram(
        "rivet_wasm_mailbox_wait_seconds",
        "How long messages stood in line at their Wasm actor.",
        figures.mailbox_waits,
    );
    page.histogram(
        "rivet_wasm_message_run_seconds",
        "How long the guest of a Wasm actor was on a processor for a message; waiting is not counted.",
        figures.message_runs,
    );
}
