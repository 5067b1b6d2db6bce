//! Puts the engine together, runs it, and takes it apart.
//!
//! ```text
//!  clients ── http ─┬─ gateway ── requests ─┐
//!                   └─ api ────── calls ────┤
//!                                         inbox ── driver(core) ──┬── writer ──┐
//!                                           │                     ├── readers ─┴─ store
//!                               links ──────┘                     └── runners
//!                                 └───────────── the runner for components ┘
//! ```
//!
//! The ports beside the main one answer from the beginning: opening a large store takes its time, and whoever probes must see that the
//! process is well and not yet ready.
//!
//! The only file that names the runner for components: everything else knows runners by their links.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::Duration;

use engine_backup::BackupError;
use engine_core::input::{Boot, Operation};
use engine_core::record::RunnerRef;
use engine_core::{Core, Input};
use engine_store::rocks::Tuning;
use engine_store::{Rocks, State, Store, StoreError, Writer, counts, imports};
use protocol::id::RunnerId;
use protocol::limits::MIB;
use protocol::link::{FromRunnerLink, ToRunnerLink};
use rustls::ClientConfig;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinError;
use tokio_rustls::TlsAcceptor;

use crate::actor_calls::ActorCalls;
use crate::auth::{Auth, upkeep};
use crate::backups::Backups;
use crate::calls::Calls;
use crate::checks::Checks;
use crate::clock::Clock;
use crate::components::Components;
use crate::config::telemetry::TelemetryConfig;
use crate::config::{Config, DirGrant, HOST_WITH_TOKEN, Listen, WasmConfig};
use crate::database::Databases;
use crate::directory::{Directory, News};
use crate::driver::{self, Driver};
use crate::edge::Edge;
use crate::engine::{Engine, OWN_RUNNER};
use crate::error::ApiError;
use crate::http::Doors;
use crate::inbox::Inbox;
use crate::links::RunnerDoor;
use crate::lock::lock;
use crate::logs::{self, LogBook, LogMemory};
use crate::memory::used::MemoryUse;
use crate::memory::{self, watch};
use crate::metrics::{self, Metrics, RunnerFigures};
use crate::notify::Manager;
use crate::ports::{self, Port, Process};
use crate::readers::Readers;
use crate::readiness::Reason;
use crate::recordings::Recorder;
use crate::requests::Requests;
use crate::room::Room;
use crate::runners::Runners;
use crate::serverless::client::Client;
use crate::serverless::token::Sent;
use crate::serverless::{Serverless, poll};
use crate::sockets::Sockets;
use crate::standalone::{self, Hosted, Said};
use crate::telemetry::Telemetry;
use crate::telemetry::port::RunnerPort;
use crate::tls::Certificates;
use crate::trust::{self, TrustError};
use crate::{api, http, random, supervise};

/// Reads wait for the disk, not for a processor: a few more than processors.
const READERS_EXTRA: usize = 2;
/// What stands for `::` where there is no IPv6.
const HOST_WITHOUT_IPV6: &str = "0.0.0.0";
/// Statements do need one; but while one of them takes long, others go on.
const SQL_THREADS_EXTRA: usize = 2;
/// What counts of one awake actor beside its guest's own memory.
const BESIDE_GUEST_BYTES: usize = MIB;
/// How long runners may take to hear that the engine stops.
const LEAVE_MS_MAX: u64 = 3_000;
/// How often it is looked whether the last actor has fallen asleep.
const REST_LOOK_MS: u64 = 20;
/// So long room is waited for before they are cut off instead.
const NO_ROOM_MS: u64 = 2_000;

/// Why the engine could not start, or go on: one sentence each.
#[derive(Debug)]
pub enum EngineError {
    Folder {
        path: PathBuf,
        cause: io::Error,
    },
    Store(StoreError),
    Backup(BackupError),
    Address {
        host: String,
        cause: io::Error,
    },
    Port {
        address: SocketAddr,
        cause: io::Error,
    },
    /// One of the two ports beside the main one.
    OtherPort {
        key: &'static str,
        listen: Listen,
        cause: io::Error,
    },
    Trust(TrustError),
    Telemetry(String),
    Certificates(String),
    Readers(io::Error),
    Runner(runner_wasm::StartError),
    Namespace(ApiError),
    /// It never ends by itself: a bug of ours, after which nothing can be decided any more.
    Driver(Option<JoinError>),
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EngineError::Folder { path, cause } => {
                write!(f, "the folder {} cannot be made or read ({cause}); choose another with --data-dir", path.display())
            }
            EngineError::Store(cause) => cause.fmt(f),
            EngineError::Backup(cause) => cause.fmt(f),
            EngineError::Address { host, cause } => {
                write!(f, "the host {host:?} is not an address of this machine ({cause}); choose another with --host")
            }
            EngineError::Port { address, cause } if cause.kind() == io::ErrorKind::AddrInUse => write!(
                f,
                "{address} is taken by another process, perhaps an engine that is running; stop it, or choose another port with --port"
            ),
            EngineError::Port { address, cause } => {
                write!(f, "cannot listen on {address} ({cause}); choose another with --host and --port")
            }
            EngineError::OtherPort { key, listen, cause } => write!(
                f,
                "cannot listen on {} port {} ({cause}); choose another port with {key}.port, or 0 for none",
                listen.host, listen.port
            ),
            EngineError::Trust(cause) => write!(f, "outbound.ca_file: {cause}"),
            EngineError::Telemetry(sentence) => f.write_str(sentence),
            EngineError::Certificates(cause) => {
                write!(f, "guard.https.tls: {cause}; `rivet-engine config check` tells without starting")
            }
            EngineError::Readers(cause) => write!(f, "the threads that read the disk cannot be started: {cause}"),
            EngineError::Runner(cause) => cause.fmt(f),
            EngineError::Driver(cause) => {
                let cause = cause.as_ref().map_or_else(|| "it ended".to_string(), JoinError::to_string);
                write!(f, "the engine's core failed ({cause}); nothing that was acknowledged is lost, start the engine again")
            }
            EngineError::Namespace(cause) => write!(f, "the namespace \"default\" could not be made: {}", cause.message),
        }
    }
}

/// Runs the engine until `stop`. `ready` is called when it answers, with its address.
pub async fn run(
    config: Config,
    ready: impl FnOnce(&Config, SocketAddr),
    stop: impl Future<Output = ()>,
) -> Result<(), EngineError> {
    let listener = listen_or_without_ipv6(&config, &config.guard).await?;
    let address = listener.local_addr().map_err(|cause| EngineError::Address { host: config.guard.host.clone(), cause })?;
    let process = Arc::new(Process::default());
    for (port, listener) in listen_others(&config).await? {
        // They end with the process: a probe gets its answer as long as there is one.
        tokio::spawn(ports::serve(port, listener, process.clone()));
    }
    let readiness = process.readiness.clone();
    let manager = Arc::new(Manager::of_process());
    tokio::spawn(supervise::patience(manager.clone(), readiness.clone()));
    manager.status("opening the store");
    let telemetry = Arc::new(Telemetry::start(config.telemetry.as_ref()).map_err(EngineError::Telemetry)?);
    let (certificates, https) = listen_tls(&config).await?;

    let tls = trust::client_config(config.ca_file.as_deref()).map_err(EngineError::Trust)?;
    make_folder(&config.data_dir)?;
    let own_memory = MemoryUse::new(config.memory.clone());
    let tuning = Tuning {
        reserve_bytes: config.storage.reserve_bytes,
        allow_older_engine: config.storage.allow_older_engine,
        ..own_memory.store.as_ref().map_or_else(Tuning::default, Tuning::within)
    };
    let store = Arc::new(Rocks::open(&config.data_dir.join("store"), &tuning).map_err(EngineError::Store)?);
    counts::ensure(&*store).map_err(EngineError::Store)?;
    imports::clear(&*store).map_err(EngineError::Store)?;
    // After the store's lock: nobody else is making a backup of it.
    engine_backup::stage::clear(&config.data_dir).map_err(EngineError::Backup)?;
    let state = State::new(store.clone());
    let mut boot = state.boot().map_err(EngineError::Store)?;
    let writer = Writer::start_within(store.clone(), config.durability, config.memory.queue_bytes());

    let directory = Arc::new(Directory::default());
    directory.enter(News::found(&boot));
    let folder = config.data_dir.join("components");
    let components =
        Components::open(folder.clone(), directory.clone()).map_err(|cause| EngineError::Folder { path: folder, cause })?;
    let readers = Readers::start(state.clone(), processors() + READERS_EXTRA).map_err(EngineError::Readers)?;
    let clock = Clock::default();
    let place = logs::Place::Folder(config.data_dir.join("logs"));
    let for_logs = LogMemory { waiting_bytes: config.memory.lines_bytes(), store: own_memory.store.clone() };
    let logs = LogBook::start_within(place, config.actor_logs, clock.clone(), for_logs).map_err(EngineError::Readers)?;
    let folder = config.data_dir.join("recordings");
    let recorder = Recorder::start(folder, config.recordings, clock.clone(), state.clone(), &boot.deployments);
    let recorder = Arc::new(recorder.map_err(EngineError::Readers)?);
    let sql_threads = processors() + SQL_THREADS_EXTRA;
    let databases = Databases::start_within(state, sql_threads, clock.clone(), config.memory.databases_bytes());
    let databases = databases.map_err(EngineError::Readers)?;

    let engine = Arc::new(Engine {
        started_ms: clock.now_ms(),
        clock,
        inbox: Inbox::default(),
        held: Arc::default(),
        calls: Calls::default(),
        requests: Requests::recorded_by(recorder.clone(), own_memory.buffers.clone()),
        actor_calls: ActorCalls::default(),
        runners: Runners::default(),
        sockets: Sockets::new(own_memory.buffers.clone()),
        readers,
        databases,
        directory,
        components: Arc::new(components),
        store: Arc::downgrade(&store),
        backups: Backups::new(&config.storage, store.clone(), config.data_dir.clone()),
        room: Room::of(store.space()),
        memory: own_memory,
        logs,
        recorder,
        metrics: Metrics::default(),
        edge: Edge::new(config.edge.clone()),
        outbound: Arc::new(Client::new(config.outbound.clone(), tls.clone())),
        readiness: readiness.clone(),
        telemetry: telemetry.clone(),
        trace_propagation: config.trace_propagation,
        serverless: Serverless::new(sent(&config)),
        auth: Auth::new(config.admin_token.clone(), config.gateway_auth),
        public_url: config.datacenter.public_url.clone().unwrap_or_else(|| public_url(&config.guard.host, address)),
        datacenter: config.datacenter.clone(),
        runner_times: config.runner_times.clone(),
        checks: config.wasm.enabled.then(|| Checks::new(&store, &config, tls.clone())),
        store_failed: Box::new(driver::exit),
    });
    boot.runners = away(&engine.runners, &boot);
    engine.inbox.push(Input::Booted(boot));
    if config.wasm.enabled {
        let wasm = WasmConfig { memory_bytes: Some(memory::bytes(config.memory.guests)), ..config.wasm.clone() };
        join_own_runner(&engine, &config.data_dir, &wasm, tls)?;
    }

    let core = Core::new(config.core.clone());
    let (end, ended) = oneshot::channel();
    let mut driver = tokio::spawn(Driver::new(core, engine.clone(), writer).run(ended));

    tokio::spawn(poll::run(engine.clone()));
    tokio::spawn(Room::watch(store.space(), readiness.clone()));
    tokio::spawn(upkeep::run(engine.clone()));
    tokio::spawn(watch::run(Arc::downgrade(&engine)));

    let router = api::router(engine.clone());
    if let Some(certificates) = certificates {
        let shown = certificates.clone();
        engine.metrics.show_certificates(move || shown.now().ends().collect());
        let clock = engine.clone();
        tokio::spawn(async move { certificates.watch(|| clock.clock.now_ms()).await });
    }
    process.engine.get_or_init(|| engine.clone());
    let counted = Arc::downgrade(&engine);
    telemetry.send_figures(move || {
        let engine = counted.upgrade();
        async move { Some(metrics::page(Some(&*engine?)).await) }
    });
    tokio::spawn(supervise::watch(manager.clone(), engine.clone()));
    let serve = async {
        make_default_namespace(&engine).await?;
        say_what_is_open(&config, address);
        readiness.clear(Reason::Starting);
        ready(&config, address);
        manager.ready();
        let stop = async {
            stop.await;
            readiness.set(Reason::Draining);
            manager.stopping();
            tokio::time::sleep(config.shutdown.delay).await;
            engine.logs.end();
        };
        let waiting = |connections: usize, sockets: usize| {
            tracing::info!(connections, sockets, "waiting for requests under way");
            manager.status(&format!("draining: {connections} connections, {sockets} sockets"));
        };
        let doors = Doors { plain: listener, tls: https };
        Ok(http::serve(doors, engine.clone(), router, stop, config.shutdown.requests, waiting).await)
    };
    let cut_off = tokio::select! {
        served = serve => served?,
        ended = &mut driver => return Err(EngineError::Driver(ended.err())),
    };
    if cut_off > 0 {
        let limit_s = config.shutdown.requests.as_secs();
        tracing::warn!(connections = cut_off, limit_s, "requests under way are cut off: runtime.guard_shutdown_duration is over");
    }
    tokio::select! {
        () = put_to_rest(&engine, config.shutdown.actors) => {}
        () = no_room(&store) => tracing::warn!("actors are cut off: the disk has no room, and what they would store waits for it"),
    }

    // After the requests under way: some of them are theirs to answer.
    engine.runners.leave(Duration::from_millis(LEAVE_MS_MAX)).await;
    engine.serverless.close();
    // While the driver still tells its figures.
    telemetry.end().await;
    // A full disk must not keep the process from ending: what waits for it was told to nobody.
    store.give_up_waiting();
    drop(end);
    let writer = driver.await.map_err(|error| EngineError::Driver(Some(error)))?;
    // Joins threads that are waiting for the disk.
    manager.status("writing out the store");
    tokio::task::block_in_place(|| close(writer, &engine, store));
    tracing::info!("stopped");
    Ok(())
}

/// Wasm actors of this process fall asleep, each after its message and its stop handler. Those that do not in time are lost with the
/// process, as in a crash: what they have acknowledged is durable.
async fn put_to_rest(engine: &Engine, within: Duration) {
    let Some(awake) = engine.metrics.own_runner_actors().filter(|awake| *awake > 0) else { return };
    tracing::info!(awake, "actors fall asleep");
    engine.inbox.push(Input::RunnerEnds { runner: OWN_RUNNER });
    let asleep = async {
        while engine.metrics.own_runner_actors().is_some_and(|awake| awake > 0) {
            tokio::time::sleep(Duration::from_millis(REST_LOOK_MS)).await;
        }
        // That they sleep is durable too.
        engine.call(Operation::Settle).await
    };
    if tokio::time::timeout(within, asleep).await.is_err() {
        let left = engine.metrics.own_runner_actors().unwrap_or_default();
        tracing::warn!(left, "actors are cut off: runtime.worker_shutdown_duration is over");
    }
}

/// Returns once commits have waited for room so long that it is not a moment's matter.
async fn no_room(store: &Rocks) {
    let mut waited_ms = 0;
    while waited_ms < NO_ROOM_MS {
        tokio::time::sleep(Duration::from_millis(REST_LOOK_MS)).await;
        waited_ms = if store.waits_for_room() { waited_ms + REST_LOOK_MS } else { 0 };
    }
}

/// What was acknowledged is durable already; this leaves the next start nothing to catch up with.
fn close(writer: Writer, engine: &Engine, store: Arc<Rocks>) {
    engine.backups.stop();
    writer.close();
    engine.readers.stop();
    engine.databases.stop();
    engine.logs.close();
    engine.recorder.close();
    let Some(store) = Arc::into_inner(store) else {
        tracing::warn!("the store is still in use; the next start reads its log instead");
        return;
    };
    if let Err(error) = store.close() {
        tracing::warn!(%error, "the store could not be written out; the next start reads its log instead");
    }
}

/// The runners that connected to the process before this one, and had actors: they get an id before they are back.
fn away(runners: &Runners, boot: &Boot) -> Vec<(RunnerId, RunnerRef)> {
    let names = boot.awake.iter().filter_map(|actor| actor.record.runner.clone());
    let names: BTreeSet<RunnerRef> = names.filter(|name| !matches!(name, RunnerRef::Components { .. })).collect();
    names.into_iter().map(|name| (runners.id_of(&name), name)).collect()
}

/// Runs the same runner as the engine's own for an engine elsewhere, until `stop`.
pub async fn run_runner(
    config: standalone::Config,
    wasm: WasmConfig,
    telemetry: Option<TelemetryConfig>,
    asked: Option<Listen>,
    cache_dir: PathBuf,
    say: impl Fn(&Said<'_>),
    stop: impl Future<Output = ()>,
) -> Result<(), String> {
    let telemetry = Arc::new(Telemetry::start(telemetry.as_ref())?);
    // Of the connection that there is; no runner outlives its own.
    let current = Arc::new(Mutex::new(Weak::<runner_wasm::Runner>::new()));
    let counted = current.clone();
    let figures = Arc::new(move || lock(&counted).upgrade().map(|runner| runner_figures(&runner.metrics())));
    if let Some(wanted) = &asked {
        let listener = listen(wanted).await.map_err(|error| format!("runner.metrics: {error}"))?;
        let port = RunnerPort::new(telemetry.clone(), figures.clone(), config.token.clone());
        // It ends with the process.
        tokio::spawn(port.serve(listener));
    }
    let sent = telemetry.clone();
    telemetry.send_figures(move || std::future::ready(Some(metrics::runner_page(figures().as_ref(), &sent))));
    let start = |uplink| {
        let cache_dir = open_compiled(&cache_dir).map_err(|error| error.to_string())?;
        let config = runner_config(cache_dir, &wasm, config.tls.clone(), &telemetry);
        let runner = runner_wasm::Runner::new(config, uplink).map_err(|error| error.to_string())?;
        *lock(&current) = Arc::downgrade(&runner);
        let counted = runner.clone();
        let in_use = move || {
            let metrics = counted.metrics();
            metrics.actors + metrics.requests
        };
        Ok(Hosted { link: runner, in_use: Box::new(in_use) })
    };
    let ended = standalone::run(&config, runner_wasm::VERSION, start, say, stop).await;
    telemetry.end().await;
    ended
}

/// Where compiled components are kept, in this folder.
fn open_compiled(folder: &Path) -> Result<cap_std::fs::Dir, EngineError> {
    let folder = folder.join("compiled");
    make_folder(&folder)?;
    let opened = cap_std::fs::Dir::open_ambient_dir(&folder, cap_std::ambient_authority());
    opened.map_err(|cause| EngineError::Folder { path: folder, cause })
}

pub fn join_own_runner(
    engine: &Arc<Engine>,
    data_dir: &Path,
    wasm: &WasmConfig,
    tls: Arc<ClientConfig>,
) -> Result<(), EngineError> {
    let cache_dir = open_compiled(data_dir)?;
    let door = Arc::new(RunnerDoor::new(OWN_RUNNER, engine.clone()));
    let config = runner_config(cache_dir, wasm, tls, &engine.telemetry);
    let config = runner_wasm::Config { clock: engine.clock.of_others(), ..config };
    let runner = runner_wasm::Runner::new(config, door).map_err(EngineError::Runner)?;
    let profile = runner.profile();
    let squeezed = Arc::downgrade(&runner);
    engine.memory.on_squeeze(move |bytes| {
        if let Some(runner) = squeezed.upgrade() {
            runner.squeeze(bytes);
        }
    });
    let counted = Arc::downgrade(&runner);
    engine.metrics.count_own_runner(move || {
        counted.upgrade().map_or_else(RunnerFigures::default, |runner| runner_figures(&runner.metrics()))
    });
    engine.runners.join(OWN_RUNNER, runner);
    engine.inbox.push(Input::RunnerJoined { runner: OWN_RUNNER, profile });
    Ok(())
}

fn runner_figures(metrics: &runner_wasm::Metrics) -> RunnerFigures {
    RunnerFigures {
        actors: metrics.actors,
        actors_max: metrics.actors_max,
        memory_bytes: metrics.memory_bytes,
        code_bytes: metrics.code_bytes,
        memory_refusals: metrics.memory_refusals,
        slept_for_room: metrics.slept_for_room,
        mailbox_waits: metrics.mailbox_waits,
        message_runs: metrics.message_runs,
    }
}

/// What guests of a runner have used.
pub struct Used {
    pub memory_bytes: usize,
    pub cpu_us: u64,
}

/// What the runners of one check have in common.
pub type Code = runner_wasm::Code;

/// A runner for an engine on which a version is tried: one actor, no folders, and nothing leaves. What it says goes through `door`,
/// and what it is told through what `link` makes of it. What it gives back says what was used.
pub fn join_isolated_runner(
    engine: &Arc<Engine>,
    checks: &Checks,
    door: Arc<dyn FromRunnerLink>,
    link: impl FnOnce(Arc<dyn ToRunnerLink>) -> Arc<dyn ToRunnerLink>,
    outgoing: Arc<dyn Fn(&str) + Send + Sync>,
    code: Arc<Code>,
) -> Result<Box<dyn Fn() -> Used + Send + Sync>, EngineError> {
    let mut config = runner_config(open_compiled(&checks.data_dir)?, &checks.wasm, checks.tls.clone(), &engine.telemetry);
    config.actors_max = Some(1);
    // What the actors of the engine have among them is theirs.
    config.memory_total_bytes = config.memory_per_actor_bytes + BESIDE_GUEST_BYTES;
    config.grants = Vec::new();
    config.isolated = Some(runner_wasm::Isolated { outgoing, code });
    let runner = runner_wasm::Runner::new(config, door).map_err(EngineError::Runner)?;
    let profile = runner.profile();
    let counted = Arc::downgrade(&runner);
    engine.runners.join(OWN_RUNNER, link(runner));
    engine.inbox.push(Input::RunnerJoined { runner: OWN_RUNNER, profile });
    Ok(Box::new(move || {
        let metrics = counted.upgrade().map(|runner| runner.metrics());
        metrics.map_or(Used { memory_bytes: 0, cpu_us: 0 }, |metrics| Used {
            memory_bytes: metrics.memory_bytes,
            cpu_us: metrics.cpu_us,
        })
    }))
}

/// The runner's own defaults, where nothing else was said.
fn runner_config(
    cache_dir: cap_std::fs::Dir,
    wasm: &WasmConfig,
    tls: Arc<ClientConfig>,
    telemetry: &Telemetry,
) -> runner_wasm::Config {
    let mut config = runner_wasm::Config::new(cache_dir, tls);
    config.actors_max = wasm.actors_max.or(config.actors_max);
    config.memory_per_actor_bytes = wasm.actor_memory_bytes.unwrap_or(config.memory_per_actor_bytes);
    config.memory_total_bytes = wasm.memory_bytes.unwrap_or(config.memory_total_bytes);
    let grant = |dir: &DirGrant| runner_wasm::Grant {
        guest_path: dir.guest_path.clone(),
        host_path: dir.host_path.clone(),
        read_only: dir.read_only,
    };
    config.spans = telemetry.spans();
    config.sends_traceparent = telemetry.sends_traceparent();
    config.grants = wasm.dirs.iter().map(grant).collect();
    config
}

/// Everybody's first namespace is there from the start.
pub async fn make_default_namespace(engine: &Engine) -> Result<(), EngineError> {
    if engine.directory.namespace("default").is_some() {
        return Ok(());
    }
    let (name, display_name) = ("default".to_string(), "Default".to_string());
    let made = engine.call(Operation::CreateNamespace { random: random::bytes(), name, display_name }).await;
    made.map(drop).map_err(EngineError::Namespace)
}

/// What goes to the URLs of pools.
fn sent(config: &Config) -> Sent {
    match &config.admin_token {
        Some(token) if config.send_admin_token => Sent::Admin(token.clone()),
        _ if config.send_runner_token => Sent::Runner,
        _ => Sent::Nothing,
    }
}

fn say_what_is_open(config: &Config, address: SocketAddr) {
    tracing::info!(memory_limit = %config.memory, "memory is divided");
    if let Some(sentence) = &config.memory.raised {
        tracing::warn!("{sentence}");
    }
    for sentence in &config.without_effect {
        tracing::warn!("{sentence}");
    }
    match (&config.admin_token, address.ip().is_loopback()) {
        (None, false) => {
            tracing::warn!(%address, "whoever reaches this address can do everything: no token is configured (auth.admin_token)");
        }
        (None, true) => {
            tracing::info!(%address, "no token is configured (auth.admin_token): whoever is on this machine can do everything");
        }
        (Some(_), _) if config.send_admin_token => {
            tracing::warn!(
                "the admin token is sent to the URL of every pool (outbound.send_admin_token); outbound.send_runner_token sends one that can do less"
            );
        }
        (Some(_), _) => {}
    }
}

/// A machine without IPv6 has no `::`. Where nobody named that, its other form does.
async fn listen_or_without_ipv6(config: &Config, wanted: &Listen) -> Result<TcpListener, EngineError> {
    match listen(wanted).await {
        Err(EngineError::Port { cause, .. })
            if config.host_is_default && wanted.host == HOST_WITH_TOKEN && cause.kind() != io::ErrorKind::AddrInUse =>
        {
            listen(&Listen { host: HOST_WITHOUT_IPV6.to_string(), port: wanted.port }).await
        }
        listener => listener,
    }
}

async fn listen_others(config: &Config) -> Result<Vec<(Port, TcpListener)>, EngineError> {
    let mut others = Vec::new();
    for (port, key, wanted) in [(Port::ApiPeer, "api_peer", &config.api_peer), (Port::Metrics, "metrics", &config.metrics)] {
        let Some(wanted) = wanted else { continue };
        let listener = listen_or_without_ipv6(config, wanted).await;
        let failed = |error| match error {
            EngineError::Address { cause, .. } | EngineError::Port { cause, .. } => {
                EngineError::OtherPort { key, listen: wanted.clone(), cause }
            }
            error => error,
        };
        others.push((port, listener.map_err(failed)?));
    }
    Ok(others)
}

/// The port that speaks TLS, if there is to be one.
async fn listen_tls(config: &Config) -> Result<(Option<Arc<Certificates>>, Option<(TcpListener, TlsAcceptor)>), EngineError> {
    let Some(https) = &config.https else { return Ok((None, None)) };
    let certificates = Arc::new(Certificates::open(https.pairs.clone()).map_err(EngineError::Certificates)?);
    let acceptor = certificates.acceptor().map_err(|error| EngineError::Certificates(error.to_string()))?;
    let other = |cause| EngineError::OtherPort { key: "guard.https", listen: https.listen.clone(), cause };
    let listener = listen_or_without_ipv6(config, &https.listen).await.map_err(|error| match error {
        EngineError::Address { cause, .. } | EngineError::Port { cause, .. } => other(cause),
        error => error,
    })?;
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "TLS is spoken");
    }
    Ok((Some(certificates), Some((listener, acceptor))))
}

async fn listen(wanted: &Listen) -> Result<TcpListener, EngineError> {
    let no_address = |cause| EngineError::Address { host: wanted.host.clone(), cause };
    let mut addresses = tokio::net::lookup_host((wanted.host.as_str(), wanted.port)).await.map_err(no_address)?;
    let address = addresses.next().ok_or_else(|| no_address(io::Error::other("it has no address")))?;
    TcpListener::bind(address).await.map_err(|cause| EngineError::Port { address, cause })
}

fn make_folder(path: &Path) -> Result<(), EngineError> {
    std::fs::create_dir_all(path).map_err(|cause| EngineError::Folder { path: path.to_owned(), cause })
}

fn processors() -> usize {
    thread::available_parallelism().map_or(1, |number| number.get())
}

/// Where clients on this machine reach the engine. "All addresses" is not one that can be called.
fn public_url(host: &str, address: SocketAddr) -> String {
    let port = address.port();
    match host.parse::<std::net::IpAddr>() {
        Ok(ip) if ip.is_unspecified() => format!("http://127.0.0.1:{port}/"),
        Ok(ip @ std::net::IpAddr::V6(_)) => format!("http://[{ip}]:{port}/"),
        _ => format!("http://{host}:{port}/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_can_be_called() {
        let rows = [
            ("127.0.0.1", "http://127.0.0.1:6420/"),
            ("0.0.0.0", "http://127.0.0.1:6420/"),
            ("::", "http://127.0.0.1:6420/"),
            ("::1", "http://[::1]:6420/"),
            ("engine.example", "http://engine.example:6420/"),
        ];
        for (host, expected) in rows {
            assert_eq!(public_url(host, ([127, 0, 0, 1], 6420).into()), expected);
        }
    }
}
