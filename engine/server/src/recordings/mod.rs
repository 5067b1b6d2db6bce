//! Records the last requests of actors whose deployment wants that, so that a version can be tried on them before it is deployed.
//!
//! Off unless somebody turns it on, because bodies may be secret; then all of it costs a request one look at a flag. On, a request
//! never waits for it: what it was and how it ended is put in memory when it ends, and a thread of its own ([`keeper`]) brings what has
//! gathered to a store of its own. What there is no room for is lost, and counted.
//!
//! Whether an actor is recorded follows from two versions: the live one of its deployment, whose setting decides for all of its name,
//! and the one that it runs, whose setting says how many. Turning it off removes what there is of all of the name.
//!
//! - [`underway`]: a request until it ends. [`secrets`]: what is left of it. [`keeper`]: the thread, and the store.

mod keeper;
pub mod secrets;
pub mod underway;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, RwLock};
use std::thread::{self, JoinHandle};

use engine_core::record::{Change, DeploymentRecord};
use engine_store::recordings::{RecordedRequest, RecordingLimits};
use engine_store::{State, StoreError};
use protocol::id::{ActorId, NamespaceId};
use protocol::limits::{KIB, MIB};
use protocol::message::Start;

use self::keeper::Disk;
use self::underway::{How, Of, Underway};
use crate::clock::Clock;
use crate::directory::Directory;
use crate::lock::{lock, read, write};

pub const LIMITS: RecordingLimits =
    RecordingLimits { actor_bytes: MIB as u64, namespace_bytes: 64 * MIB as u64, total_bytes: 256 * MIB as u64 };
/// The longest request that is recorded fits into the least that an operator can set.
const _: () = assert!(protocol::limits::REQUEST_BODY_INLINE_BYTES_MAX + 32 * KIB <= 128 * KIB);

/// What an operator says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordingConfig {
    /// Of each actor whose deployment says nothing.
    pub requests: u32,
    pub limits: RecordingLimits,
}

impl Default for RecordingConfig {
    fn default() -> RecordingConfig {
        RecordingConfig { requests: 0, limits: LIMITS }
    }
}

/// Requests that may wait to be written; their bytes are bounded too.
const WAITING_MAX: usize = 4_096;
/// Actors whose requests wait to be removed one by one; of more, all there is is looked through. Names and namespaces that wait are
/// not more than there were.
const UNWANTED_ACTORS_MAX: usize = 4_096;

pub struct Recorder {
    shared: Arc<Shared>,
    keeper: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    /// None: nothing is ever recorded here.
    folder: Option<PathBuf>,
    config: RecordingConfig,
    clock: Clock,
    /// Any deployment wants it.
    is_on: AtomicBool,
    /// There is something on the disk, or will be.
    is_used: AtomicBool,
    wanted: RwLock<Wanted>,
    waiting: Mutex<Waiting>,
    /// Something waits, or is to be done, or it is over.
    filled: Condvar,
    disk: Mutex<Disk>,
    held_bytes: AtomicUsize,
    /// What all requests on the disk take.
    bytes: AtomicU64,
    lost: AtomicU64,
}

#[derive(Default)]
struct Wanted {
    /// Deployments that record, by how many requests the live version says.
    names: HashMap<(NamespaceId, String), u32>,
    /// Actors that run and are recorded: not more than are awake.
    actors: HashMap<ActorId, Arc<Of>>,
}

#[derive(Default)]
struct Waiting {
    todo: Todo,
    closed: bool,
}

#[derive(Default)]
struct Todo {
    requests: VecDeque<(Underway, How)>,
    /// To be removed before any of these is written.
    unwanted: Unwanted,
    /// All there is is to be looked through for what is not wanted any more.
    sweep: bool,
}

/// The part of a commit that matters here.
#[derive(Default)]
pub struct News {
    /// Each with how many requests its live version says.
    deployments: Vec<(NamespaceId, String, Option<u32>)>,
    gone: Vec<NamespaceId>,
    destroyed: Vec<ActorId>,
}

/// What is not to be recorded any more, and was perhaps.
#[derive(Default)]
struct Unwanted {
    names: Vec<(NamespaceId, String)>,
    namespaces: Vec<NamespaceId>,
    actors: Vec<ActorId>,
}

impl Unwanted {
    fn is_empty(&self) -> bool {
        !self.is_many() && self.actors.is_empty()
    }

    /// More than single actors.
    fn is_many(&self) -> bool {
        !self.names.is_empty() || !self.namespaces.is_empty()
    }
}

impl Waiting {
    fn is_idle(&self) -> bool {
        self.todo.requests.is_empty() && self.todo.unwanted.is_empty() && !self.todo.sweep && !self.closed
    }
}

impl Recorder {
    /// Where nothing is ever recorded.
    pub fn none() -> Recorder {
        Recorder { shared: Arc::new(Shared::new(None, RecordingConfig::default(), Clock::default())), keeper: Mutex::default() }
    }

    /// Also removes what is not wanted any more: of deployments that do not record, and of actors that are gone.
    pub fn start(
        folder: PathBuf,
        config: RecordingConfig,
        clock: Clock,
        state: State,
        deployments: &[DeploymentRecord],
    ) -> io::Result<Recorder> {
        let shared = Arc::new(Shared::new(Some(folder), config, clock));
        let recorder = Recorder { shared: shared.clone(), keeper: Mutex::default() };
        let found = deployments.iter().map(said).collect();
        recorder.learn(News { deployments: found, ..News::default() });
        shared.is_used.fetch_or(shared.folder.as_deref().is_some_and(Path::exists), Ordering::Relaxed);
        lock(&shared.disk).begin(state);
        lock(&shared.waiting).todo.sweep = true;
        let keeper = thread::Builder::new().name("recordings".to_string()).spawn(move || keeper::run(&shared))?;
        *lock(&recorder.keeper) = Some(keeper);
        Ok(recorder)
    }

    pub fn is_on(&self) -> bool {
        self.shared.is_on.load(Ordering::Relaxed)
    }

    pub fn now_ms(&self) -> u64 {
        self.shared.clock.now_ms()
    }

    /// What of a commit concerns recording. Nearly always nothing, and then this allocates nothing.
    pub fn news(&self, changes: &[Change]) -> News {
        let mut news = News::default();
        if self.shared.folder.is_none() {
            return news;
        }
        for change in changes {
            match change {
                Change::PutDeployment(deployment) => news.deployments.push(said(deployment)),
                Change::DeleteNamespace { namespace } => news.gone.push(*namespace),
                Change::DestroyActor { record, .. } if self.shared.is_used.load(Ordering::Relaxed) => {
                    news.destroyed.push(record.id)
                }
                _ => {}
            }
        }
        news
    }

    /// Before the core hears that it is durable. Returns at once: what is not wanted any more is removed a little later.
    pub fn learn(&self, news: News) {
        let News { deployments, gone, destroyed } = news;
        let shared = &self.shared;
        if shared.folder.is_none() || deployments.is_empty() && gone.is_empty() && destroyed.is_empty() {
            return;
        }
        let mut unwanted = Unwanted { names: Vec::new(), namespaces: gone, actors: destroyed };
        let mut wanted = write(&shared.wanted);
        for (namespace, name, requests) in deployments {
            let place = (namespace, name);
            match requests.unwrap_or(shared.config.requests) {
                0 if wanted.names.remove(&place).is_some() => unwanted.names.push(place),
                0 => {}
                count => drop(wanted.names.insert(place, count)),
            }
        }
        wanted.names.retain(|(namespace, _), _| !unwanted.namespaces.contains(namespace));
        if unwanted.is_many() {
            let Wanted { names, actors } = &mut *wanted;
            actors.retain(|_, of| names.contains_key(&of.name));
        }
        let is_on = !wanted.names.is_empty();
        drop(wanted);
        shared.is_on.store(is_on, Ordering::Relaxed);
        shared.is_used.fetch_or(is_on, Ordering::Relaxed);
        if !unwanted.is_empty() {
            shared.remove(unwanted);
        }
    }

    /// An actor is told to start.
    pub fn starts(&self, directory: &Directory, actor: ActorId, start: &Start) {
        let Some(deployed) = start.component.as_ref().filter(|_| self.is_on()) else { return };
        let keep = deployed.settings.record_requests.unwrap_or(self.shared.config.requests);
        let Some(namespace) = directory.namespace(&deployed.namespace).filter(|_| keep > 0) else { return };
        let of = Of { actor, name: (namespace.id, start.name.clone()), version: deployed.version, keep };
        let mut wanted = write(&self.shared.wanted);
        if wanted.names.contains_key(&of.name) {
            wanted.actors.insert(actor, Arc::new(of));
        }
    }

    /// A generation of it has ended.
    pub fn ended(&self, actor: ActorId) {
        if self.is_on() {
            write(&self.shared.wanted).actors.remove(&actor);
        }
    }

    /// A request that came at this time goes to this actor.
    pub fn begin(&self, actor: ActorId, arrived_ms: u64) -> Option<Box<Underway>> {
        let of = read(&self.shared.wanted).actors.get(&actor).cloned()?;
        Some(Box::new(Underway::new(self.shared.clone(), of, arrived_ms)))
    }

    /// The newest of an actor, the oldest of them first. Waits for the disk.
    pub fn read(&self, actor: ActorId, count: usize) -> Result<Vec<RecordedRequest>, StoreError> {
        let mut disk = lock(&self.shared.disk);
        disk.catch_up(&self.shared);
        disk.read(&self.shared, actor, count)
    }

    /// What all requests take on the disk, and how many were lost.
    pub fn figures(&self) -> (u64, u64) {
        (self.shared.bytes.load(Ordering::Relaxed), self.shared.lost.load(Ordering::Relaxed))
    }

    /// Writes what waits, and closes the store.
    pub fn close(&self) {
        lock(&self.shared.waiting).closed = true;
        self.shared.filled.notify_one();
        if lock(&self.keeper).take().is_some_and(|keeper| keeper.join().is_err()) {
            tracing::error!("the thread that writes recorded requests ended by a panic");
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.close();
    }
}

fn said(deployment: &DeploymentRecord) -> (NamespaceId, String, Option<u32>) {
    (deployment.namespace, deployment.name.clone(), deployment.live_version().settings.record_requests)
}

impl Shared {
    fn new(folder: Option<PathBuf>, config: RecordingConfig, clock: Clock) -> Shared {
        Shared {
            folder,
            config,
            clock,
            is_on: AtomicBool::new(false),
            is_used: AtomicBool::new(false),
            wanted: RwLock::default(),
            waiting: Mutex::default(),
            filled: Condvar::new(),
            disk: Mutex::default(),
            held_bytes: AtomicUsize::new(0),
            bytes: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        }
    }

    fn push(&self, underway: Underway, how: How) {
        let mut waiting = lock(&self.waiting);
        if waiting.todo.requests.len() >= WAITING_MAX {
            drop(waiting);
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.todo.requests.push_back((underway, how));
        let is_first = waiting.todo.requests.len() == 1;
        drop(waiting);
        if is_first {
            self.filled.notify_one();
        }
    }

    fn remove(&self, unwanted: Unwanted) {
        let Unwanted { names, namespaces, actors } = unwanted;
        let mut waiting = lock(&self.waiting);
        let Todo { requests, unwanted, sweep } = &mut waiting.todo;
        let is_gone = |of: &Of| names.contains(&of.name) || namespaces.contains(&of.name.0) || actors.contains(&of.actor);
        requests.retain(|(underway, _)| !is_gone(underway.of()));
        unwanted.names.extend(names);
        unwanted.namespaces.extend(namespaces);
        unwanted.actors.extend(actors);
        if unwanted.actors.len() > UNWANTED_ACTORS_MAX {
            unwanted.actors.clear();
            *sweep = true;
        }
        drop(waiting);
        self.filled.notify_one();
    }

    fn take(&self) -> Todo {
        mem::take(&mut lock(&self.waiting).todo)
    }

    fn wants(&self, of: &Of) -> bool {
        read(&self.wanted).names.contains_key(&of.name)
    }
}

#[cfg(test)]
mod tests;
