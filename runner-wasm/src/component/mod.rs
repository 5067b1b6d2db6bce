//! Components, from a hash to something that can be instantiated.
//!
//! A component is compiled once, when it is deployed, and its code kept on disk ([`cache`]); a wake finds it in memory, at worst
//! on disk. Compiling runs on a thread that may block, one at a time, and never because an actor is waiting to wake, unless the
//! cache was lost. What is accepted, and the refusals, are in [`check`]; what is called of it in [`handlers`].

mod cache;
mod check;
pub mod handlers;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use protocol::component::{ComponentHash, ComponentInfo, ComponentRefusal, ComponentRefusalKind};
use protocol::link::FromRunnerLink;
use protocol::message::FromRunner;
use tokio::sync::watch;
use wasmtime::Engine;
use wasmtime::component::{Component, InstancePre, Linker};

use self::cache::{Cache, EngineKey};
use self::handlers::Handlers;
use crate::config::{COMPONENT_WAIT_MS, DATA_COPIED_BYTES_MAX, PREPARED_MAX, StartError};
use crate::host::{self, Host};
use crate::sandbox::room::{Counted, Room};
use crate::sandbox::{Engines, lanes, mappings};

/// A component that can be instantiated, and which handlers it has.
pub struct Prepared {
    pub pre: InstancePre<Host>,
    pub handlers: Handlers,
    pub takes_clients: bool,
    /// Of memory, that an instance may have.
    pub mappings: u32,
    pub info: ComponentInfo,
    /// Its code counts as long as it is in memory.
    _counted: Option<Counted>,
}

pub type Outcome = Result<Arc<Prepared>, ComponentRefusal>;

/// What runners that come one after the other have in common, so that the next does not load again what the last one ran.
pub struct Code {
    engines: Engines,
    ready: Mutex<HashMap<ComponentHash, Arc<Prepared>>>,
}

impl Code {
    pub fn new() -> Result<Code, StartError> {
        Ok(Code { engines: Engines::new()?, ready: Mutex::default() })
    }

    pub(crate) fn engines(&self) -> Engines {
        self.engines.clone()
    }
}

pub struct Components {
    copied: Target,
    mapped: Target,
    cache: Cache,
    link: Arc<dyn FromRunnerLink>,
    known: Mutex<HashMap<ComponentHash, Known>>,
    /// Held while compiling.
    compiling: tokio::sync::Mutex<()>,
    code: Option<Arc<Code>>,
    /// What code counts towards; none for code that outlives the runner.
    room: Option<Arc<Room>>,
}

/// An engine to compile for, and what components find there.
struct Target {
    engine: Engine,
    key: EngineKey,
    linker: Linker<Host>,
    maps_images: bool,
    /// What its code counts towards; none for code that outlives the runner.
    room: Option<Arc<Room>>,
}

enum Known {
    Ready(Arc<Prepared>),
    /// Somebody prepares it; all who want it watch.
    Preparing {
        outcome: watch::Receiver<Option<Outcome>>,
        bytes: watch::Sender<Option<Result<Bytes, String>>>,
    },
}

impl Known {
    fn is_in_use(&self) -> bool {
        !matches!(self, Known::Ready(prepared) if Arc::strong_count(prepared) == 1)
    }
}

impl Components {
    /// The engines are those of the code, if there is any.
    pub fn new(
        engines: &Engines,
        cache_dir: cap_std::fs::Dir,
        link: Arc<dyn FromRunnerLink>,
        code: Option<Arc<Code>>,
        room: &Arc<Room>,
    ) -> Result<Components, StartError> {
        let room = code.is_none().then(|| Arc::clone(room));
        Ok(Components {
            copied: Target::new(&engines.copied, false, &room)?,
            mapped: Target::new(&engines.mapped, true, &room)?,
            cache: Cache::new(cache_dir),
            link,
            known: Mutex::default(),
            compiling: tokio::sync::Mutex::new(()),
            code,
            room,
        })
    }

    pub fn ready(&self, hash: ComponentHash) -> Option<Arc<Prepared>> {
        match crate::actor::lock(&self.known).get(&hash) {
            Some(Known::Ready(prepared)) => Some(Arc::clone(prepared)),
            _ => None,
        }
    }

    /// Makes a component ready, or waits for whoever does.
    pub async fn prepare(self: &Arc<Self>, hash: ComponentHash) -> Outcome {
        let mut watched = {
            let mut known = crate::actor::lock(&self.known);
            match known.get(&hash) {
                Some(Known::Ready(prepared)) => return Ok(Arc::clone(prepared)),
                Some(Known::Preparing { outcome, .. }) => outcome.clone(),
                None => {
                    let (tell, outcome) = watch::channel(None);
                    let (bytes, arrived) = watch::channel(None);
                    known.insert(hash, Known::Preparing { outcome: outcome.clone(), bytes });
                    // A task of its own: who asked first may be gone before it is ready.
                    let components = Arc::clone(self);
                    tokio::spawn(async move {
                        let outcome = components.make_ready(hash, arrived).await;
                        components.settle(hash, &outcome);
                        tell.send_replace(Some(outcome));
                    });
                    outcome
                }
            }
        };
        let outcome = watched.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
        outcome.unwrap_or_else(|| {
            // The task panicked: that is our bug, and the next attempt must not find its remains.
            crate::actor::lock(&self.known).retain(|known, state| *known != hash || matches!(state, Known::Ready(_)));
            Err(internal("preparing the component failed unexpectedly; see the engine's log".to_string()))
        })
    }

    /// The bytes that were asked for.
    pub fn deliver(&self, hash: ComponentHash, arrived: Result<Bytes, String>) {
        if let Some(Known::Preparing { bytes, .. }) = crate::actor::lock(&self.known).get(&hash) {
            bytes.send_replace(Some(arrived));
        }
    }

    fn settle(&self, hash: ComponentHash, outcome: &Outcome) {
        let mut known = crate::actor::lock(&self.known);
        match outcome {
            Ok(prepared) => {
                if let Some(code) = &self.code {
                    crate::actor::lock(&code.ready).insert(hash, Arc::clone(prepared));
                }
                known.insert(hash, Known::Ready(Arc::clone(prepared)))
            }
            Err(_) => known.remove(&hash),
        };
        if known.len() > PREPARED_MAX || self.room.as_ref().is_some_and(|room| room.is_high()) {
            // The newest is wanted by whoever had it prepared, even if nobody holds it yet.
            known.retain(|other, state| *other == hash || state.is_in_use());
        }
    }

    /// Code that no actor runs leaves memory; on the disk it stays.
    pub fn forget_unused(&self) {
        crate::actor::lock(&self.known).retain(|_, state| state.is_in_use());
    }

    async fn make_ready(
        self: &Arc<Self>,
        hash: ComponentHash,
        mut arrived: watch::Receiver<Option<Result<Bytes, String>>>,
    ) -> Outcome {
        let shared = self.code.as_ref().and_then(|code| crate::actor::lock(&code.ready).get(&hash).cloned());
        if let Some(prepared) = shared {
            return Ok(prepared);
        }
        let components = Arc::clone(self);
        let cached = blocking(move || Ok(components.load(hash))).await?;
        if let Some(prepared) = cached {
            return Ok(prepared);
        }
        self.link.send(FromRunner::GetComponent { component: hash });
        let waited = tokio::time::timeout(Duration::from_millis(COMPONENT_WAIT_MS), arrived.wait_for(Option::is_some)).await;
        let bytes = match waited.map(|arrived| arrived.ok().and_then(|bytes| bytes.clone())) {
            Ok(Some(Ok(bytes))) => bytes,
            Ok(Some(Err(cause))) => return Err(internal(format!("the component {hash} could not be read: {cause}"))),
            Ok(None) => return Err(internal("the runner is stopping".to_string())),
            Err(_) => return Err(internal(format!("the component {hash} did not arrive within {COMPONENT_WAIT_MS} ms"))),
        };
        let _one_at_a_time = self.compiling.lock().await;
        let components = Arc::clone(self);
        blocking(move || components.compile(hash, &bytes)).await
    }

    fn load(&self, hash: ComponentHash) -> Option<Arc<Prepared>> {
        // Which one it was compiled for is in the component, which is not here.
        [&self.copied, &self.mapped].into_iter().find_map(|target| self.load_for(target, hash))
    }

    fn load_for(&self, target: &Target, hash: ComponentHash) -> Option<Arc<Prepared>> {
        let cached = self.cache.load(hash, target.key)?;
        let compiled_bytes = cached.code.len() as u64;
        // SAFETY: the cache returns only what `compile` wrote for this engine and this component: its folder is ours alone, the
        // name covers the engine's settings and version, and the checksum over the code has just been verified.
        let component = unsafe { Component::deserialize(&target.engine, &cached.code) };
        let prepared = component.map_err(|error| format!("{error:#}")).and_then(|component| {
            target.check(&component, cached.component_bytes, compiled_bytes, 0).map_err(|refusal| refusal.message)
        });
        prepared.map_err(|cause| tracing::warn!(%hash, cause, "a cached component cannot be used and is compiled again")).ok()
    }

    fn compile(&self, hash: ComponentHash, bytes: &[u8]) -> Outcome {
        check::bytes(hash, bytes)?;
        let target = if check::data_bytes(bytes) > DATA_COPIED_BYTES_MAX { &self.mapped } else { &self.copied };
        let began = Instant::now();
        let threads =
            lanes::compilers().map_err(|error| internal(format!("no thread could be started for the compiler: {error}")))?;
        let code = threads.install(|| target.engine.precompile_component(bytes));
        let code = code.map_err(|error| check::refusal_of_compiler(&error))?;
        let compile_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        // SAFETY: the engine has just made this code, and nothing touched it since.
        let component = unsafe { Component::deserialize(&target.engine, &code) };
        let component = component.map_err(|error| internal(format!("the compiled component cannot be loaded: {error:#}")))?;
        let prepared = target.check(&component, bytes.len() as u64, code.len() as u64, compile_ms)?;
        if let Err(error) = self.cache.store(hash, target.key, bytes.len() as u64, &code) {
            // It runs all the same; the next start of the engine compiles it again.
            tracing::warn!(%hash, %error, "a compiled component could not be cached");
        }
        tracing::info!(%hash, compile_ms, bytes = bytes.len(), compiled_bytes = code.len(), "compiled a component");
        Ok(prepared)
    }
}

impl Target {
    fn new(engine: &Engine, maps_images: bool, room: &Option<Arc<Room>>) -> Result<Target, StartError> {
        let (key, linker) = (EngineKey::of(engine), host::linker(engine)?);
        Ok(Target { engine: engine.clone(), key, linker, maps_images, room: room.clone() })
    }

    fn check(&self, component: &Component, bytes: u64, compiled_bytes: u64, compile_ms: u64) -> Outcome {
        check::component(&self.linker, component).map(|checked| {
            let check::Checked { pre, imports, handlers, takes_clients } = checked;
            let mappings = mappings::of(component, self.maps_images);
            let info = ComponentInfo { handlers: handlers.list(), imports, bytes, compiled_bytes, compile_ms };
            let counted = self.room.as_ref().map(|room| room.count_code(usize::try_from(compiled_bytes).unwrap_or(usize::MAX)));
            Arc::new(Prepared { pre, handlers, takes_clients, mappings, info, _counted: counted })
        })
    }
}

async fn blocking<R: Send + 'static>(
    work: impl FnOnce() -> Result<R, ComponentRefusal> + Send + 'static,
) -> Result<R, ComponentRefusal> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| {
        tracing::error!(%error, "preparing a component panicked");
        Err(internal("the compiler failed on this component; see the engine's log".to_string()))
    })
}

fn internal(message: String) -> ComponentRefusal {
    ComponentRefusal { kind: ComponentRefusalKind::Internal, message }
}
