//! The engine inside another process, for tests of actors: no port, a store in memory, and time that the caller turns.
//!
//! Everything that decides, stores, runs and answers is what [`crate::compose`] runs. Left out is what talks to elsewhere by itself:
//! ports, and the calls to pools' URLs. Clients come over connections that are made in memory.

use std::path::Path;
use std::sync::{Arc, Weak};

use axum::Router;
use engine_core::input::Boot;
use engine_core::{Core, Input};
use engine_store::{Durability, Memory, State, Store, Writer, counts};
use protocol::clock;
use rustls::ClientConfig;
use tokio::io::DuplexStream;
use tokio::sync::oneshot;

use crate::actor_calls::ActorCalls;
use crate::api;
use crate::auth::Auth;
use crate::calls::Calls;
use crate::clock::Clock;
use crate::components::Components;
use crate::compose::{self, EngineError};
use crate::config::edge::EdgeConfig;
use crate::config::{Datacenter, RunnerTimes, WasmConfig};
use crate::database::Databases;
use crate::directory::{Directory, News};
use crate::driver::{self, Driver};
use crate::edge::Edge;
use crate::edge::visit::Visit;
use crate::engine::{Engine, OWN_RUNNER};
use crate::http::Server;
use crate::inbox::Inbox;
use crate::logs::{self, LogBook};
use crate::memory::used::MemoryUse;
use crate::metrics::Metrics;
use crate::readers::Readers;
use crate::readiness::{Readiness, Reason};
use crate::recordings::Recorder;
use crate::requests::Requests;
use crate::runners::Runners;
use crate::serverless::Serverless;
use crate::serverless::client::Client;
use crate::serverless::policy::Policy;
use crate::serverless::token::Sent;
use crate::sockets::Sockets;
use crate::telemetry::Telemetry;
use crate::trust;

/// What may be on its way over a connection, in each direction.
const PIPE_BYTES: usize = 64 * 1024;
const READERS: usize = 1;
const SQL_THREADS: usize = 2;

/// Dropping it is as if the process had been killed: what was acknowledged is in the store.
pub struct Embedded {
    engine: Arc<Engine>,
    api: Router,
    /// The driver ends with it.
    _end: oneshot::Sender<()>,
}

impl Embedded {
    /// Inside a runtime, on which everything runs. What the store and the folder hold is kept from one start to the next.
    pub async fn start(store: Arc<Memory>, folder: &Path, clock: Arc<dyn clock::Clock>) -> Result<Embedded, EngineError> {
        counts::ensure(&*store).map_err(EngineError::Store)?;
        let state = State::new(store.clone());
        let boot = state.boot().map_err(EngineError::Store)?;
        let directory = Arc::new(Directory::default());
        directory.enter(News::found(&boot));
        let engine = Arc::new(engine(state, directory, folder, Clock::given(clock))?);
        let end = drive(&engine, boot, store);
        let wasm = WasmConfig { enabled: true, actors_max: None, actor_memory_bytes: None, memory_bytes: None, dirs: Vec::new() };
        compose::join_own_runner(&engine, folder, &wasm, tls()?)?;
        compose::make_default_namespace(&engine).await?;
        engine.readiness.clear(Reason::Starting);
        Ok(Embedded { api: api::router(engine.clone()), engine, _end: end })
    }

    /// A client's end of a new connection. Inside the same runtime.
    pub fn connect(&self) -> DuplexStream {
        let (client, stream) = tokio::io::duplex(PIPE_BYTES);
        let server = Server::new(self.engine.clone(), self.api.clone());
        tokio::spawn(async move {
            if let Err(error) = server.connection(stream, Visit::default()).await {
                tracing::debug!(%error, "a connection ended badly");
            }
        });
        client
    }

    /// Nothing is under way outside of the runtime, and nothing from there waits to be told. What holds time counts for itself.
    pub fn is_quiet(&self) -> bool {
        // The inbox last: what a thread has found is there before the thread is idle.
        self.engine.readers.are_idle() && self.engine.databases.are_idle() && self.engine.inbox.is_empty()
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        end(&self.engine);
    }
}

fn tls() -> Result<Arc<ClientConfig>, EngineError> {
    trust::client_config(None).map_err(EngineError::Trust)
}

/// Decides, until what it returns is dropped.
pub(crate) fn drive(engine: &Arc<Engine>, boot: Boot, store: Arc<dyn Store>) -> oneshot::Sender<()> {
    engine.inbox.push(Input::Booted(boot));
    let (end, ended) = oneshot::channel();
    let core = Core::new(engine_core::Config::default());
    tokio::spawn(Driver::new(core, engine.clone(), Writer::start(store, Durability::Relaxed)).run(ended));
    end
}

/// Its runner is dropped with its actors, and nobody reads any more. Waits for what is being read.
pub(crate) fn end(engine: &Engine) {
    engine.runners.part(OWN_RUNNER);
    engine.readers.stop();
    engine.databases.stop();
}

/// Everything but a driver and runners.
pub(crate) fn engine(state: State, directory: Arc<Directory>, folder: &Path, clock: Clock) -> Result<Engine, EngineError> {
    let components = folder.join("components");
    let components =
        Components::open(components.clone(), directory.clone()).map_err(|cause| EngineError::Folder { path: components, cause })?;
    let outbound = Client::new(Policy::default(), tls()?);
    engine_with(state, directory, Arc::new(components), Arc::new(outbound), clock)
}

/// With what may be another engine's.
pub(crate) fn engine_with(
    state: State,
    directory: Arc<Directory>,
    components: Arc<Components>,
    outbound: Arc<Client>,
    clock: Clock,
) -> Result<Engine, EngineError> {
    let memory = MemoryUse::default();
    Ok(Engine {
        started_ms: clock.now_ms(),
        inbox: Inbox::default(),
        held: Arc::default(),
        calls: Calls::default(),
        requests: Requests::new(memory.buffers.clone()),
        actor_calls: ActorCalls::default(),
        runners: Runners::default(),
        sockets: Sockets::new(memory.buffers.clone()),
        readers: Readers::start(state.clone(), READERS).map_err(EngineError::Readers)?,
        databases: Databases::start(state, SQL_THREADS, clock.clone()).map_err(EngineError::Readers)?,
        directory,
        components,
        store: Weak::new(),
        backups: Default::default(),
        room: Default::default(),
        memory,
        logs: LogBook::start(logs::Place::Memory, logs::LIMITS_IN_MEMORY, clock.clone()).map_err(EngineError::Readers)?,
        recorder: Arc::new(Recorder::none()),
        clock,
        metrics: Metrics::default(),
        edge: Edge::new(EdgeConfig::default()),
        outbound,
        readiness: Arc::new(Readiness::default()),
        telemetry: Arc::new(Telemetry::default()),
        trace_propagation: false,
        serverless: Serverless::new(Sent::Nothing),
        auth: Auth::new(None, false),
        datacenter: Datacenter::default(),
        runner_times: RunnerTimes::default(),
        public_url: "http://127.0.0.1:6420/".to_string(),
        checks: None,
        store_failed: Box::new(driver::exit),
    })
}
