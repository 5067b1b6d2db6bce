//! The runners: the engine's own, and those that connect with a WebSocket.
//!
//! One that connects keeps its id over reconnects, until the core says that it may be forgotten: the id belongs to the name
//! that the runner gives itself ([`RunnerRef`]), and so does its link, which is there also while the runner is not.
//!
//! In reading order:
//! - [`connect`]: who may connect, and with which words.
//! - [`session`]: one connection from its first message to its last.
//! - [`pings`]: when it is pinged, and what follows if it does not answer.
//! - [`hearing`]: what a message from a runner leads to. [`from_wire`], [`to_wire`]: the same words, as the wire says them.
//! - [`remote`]: a runner that connects, as the rest of the engine sees it. [`streams`], [`calls`]: what it is in the middle of.
//! - [`kv`], [`reads`]: what it asks of actors' state.
//! - [`components`]: runners of components, which speak a protocol of ours.
//! - [`ending`]: why a connection is closed.

pub mod calls;
pub mod components;
pub mod connect;
mod ending;
mod from_wire;
mod hearing;
mod kv;
mod pings;
mod reads;
mod remote;
mod session;
mod streams;
pub mod to_wire;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use engine_core::Input;
use engine_core::record::RunnerRef;
use protocol::id::{Id, NamespaceId, RequestId, RunnerId};
use protocol::link::ToRunnerLink;
use protocol::message::{RunnerProtocol, Serves, ToRunner};
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_tungstenite::tungstenite::Message;

use crate::engine::DATACENTER_LABEL;
use crate::inbox::Inbox;
use crate::lock::{lock, read, write};
use crate::runners::components::link::ComponentLink;
use crate::runners::ending::Ending;
pub use crate::runners::hearing::is_object;
use crate::runners::remote::{Arrival, Connection, Remote};

/// Connections of runners that may be open at one time.
pub const CONNECTIONS_MAX: usize = 4_096;
/// The engine's own runner has the number before the first.
const FIRST: u64 = 2;

pub struct Runners {
    table: RwLock<Table>,
    room: Arc<Semaphore>,
    leaving: AtomicBool,
}

#[derive(Default)]
struct Table {
    /// In this process.
    own: HashMap<RunnerId, Arc<dyn ToRunnerLink>>,
    /// Runners of components elsewhere, each as long as its connection.
    components: HashMap<RunnerId, Arc<ComponentLink>>,
    remote: HashMap<RunnerId, Arc<Remote>>,
    by_name: HashMap<RunnerRef, Arc<Remote>>,
    given: u64,
}

impl Table {
    fn next(&mut self) -> RunnerId {
        self.given += 1;
        RunnerId(FIRST + self.given - 1)
    }
}

/// A runner that is connected, as the API shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RunnerInfo {
    /// By which the core knows it.
    pub runner: RunnerId,
    pub protocol: RunnerProtocol,
    pub namespace: NamespaceId,
    pub pool: String,
    pub key: String,
    pub version: u32,
    /// None: as many actors as there are.
    pub slots: Option<u32>,
    /// When it connected for the first time, and for the last.
    pub create_ms: u64,
    pub connect_ms: u64,
    pub last_ping_ms: u64,
    pub rtt_ms: u32,
    /// Since when it is about to end.
    pub stopping_ms: Option<u64>,
    /// JSON text.
    pub metadata: Option<String>,
}

impl RunnerInfo {
    /// The id by which the API knows a runner of the legacy protocol.
    pub fn public_id(&self) -> Id {
        public_id(self.namespace, &self.pool, &self.key)
    }
}

impl Default for Runners {
    fn default() -> Runners {
        Runners { table: RwLock::default(), room: Arc::new(Semaphore::new(CONNECTIONS_MAX)), leaving: AtomicBool::new(false) }
    }
}

impl Runners {
    /// One in this process.
    pub fn join(&self, runner: RunnerId, link: Arc<dyn ToRunnerLink>) {
        write(&self.table).own.insert(runner, link);
    }

    /// The one in this process ends, and its actors with it.
    pub fn part(&self, runner: RunnerId) {
        let link = write(&self.table).own.remove(&runner);
        // Not under the lock: what ends with it may still speak.
        drop(link);
    }

    /// How many are connected.
    pub fn count(&self) -> usize {
        let table = read(&self.table);
        table.own.len() + table.components.len() + table.remote.values().filter(|remote| info(remote).is_some()).count()
    }

    pub fn link(&self, runner: RunnerId) -> Option<Arc<dyn ToRunnerLink>> {
        let table = read(&self.table);
        let remote = || table.remote.get(&runner).map(|remote| remote.clone() as Arc<dyn ToRunnerLink>);
        let components = || table.components.get(&runner).map(|link| link.clone() as Arc<dyn ToRunnerLink>);
        table.own.get(&runner).cloned().or_else(components).or_else(remote)
    }

    /// To a runner that has left for good there is nothing to say: the core learns of that by itself.
    pub fn send(&self, runner: RunnerId, message: ToRunner) {
        if let Some(link) = self.link(runner) {
            link.send(message);
        }
    }

    /// Tells the runner that the request is over because of what it did about it.
    pub fn reject(&self, runner: RunnerId, request: RequestId, detail: &str) {
        match self.remote(runner) {
            Some(remote) => remote.reject(request, detail),
            None => self.send(runner, ToRunner::RequestAbort { request }),
        }
    }

    /// The id of the runner of this name, connected or not; a new one if there is none yet.
    pub fn id_of(&self, name: &RunnerRef) -> RunnerId {
        self.find(name).runner
    }

    /// It is to end, and not to come back.
    pub fn evict(&self, runner: RunnerId) {
        if let Some(remote) = self.remote(runner) {
            remote.end(Ending::Evicted);
        }
    }

    /// Who comes under its name is a new one. One that has come back meanwhile stays: the core is about to hear of it.
    pub fn forget(&self, runner: RunnerId) {
        let mut table = write(&self.table);
        if table.remote.get(&runner).is_some_and(|remote| remote.forget())
            && let Some(remote) = table.remote.remove(&runner)
        {
            table.by_name.remove(&remote.identity);
        }
    }

    /// Those of the namespace that are connected, the newest first.
    pub fn list(&self, namespace: NamespaceId) -> Vec<RunnerInfo> {
        let remotes: Vec<Arc<Remote>> = read(&self.table).remote.values().cloned().collect();
        let mut infos: Vec<_> =
            remotes.iter().filter_map(|remote| info(remote)).filter(|info| info.namespace == namespace).collect();
        infos.sort_by_key(|info| (std::cmp::Reverse(info.create_ms), info.runner));
        infos
    }

    /// Asks all to come back later, and waits until their connections are closed, but no longer than this.
    pub async fn leave(&self, within: Duration) {
        self.leaving.store(true, Ordering::SeqCst);
        let (remotes, components): (Vec<Arc<Remote>>, Vec<Arc<ComponentLink>>) = {
            let table = read(&self.table);
            (table.remote.values().cloned().collect(), table.components.values().cloned().collect())
        };
        for remote in remotes {
            remote.end(Ending::GoingAway);
        }
        for link in components {
            link.ending.tell(Ending::GoingAway);
        }
        // Those that take longer are cut off.
        let _ = tokio::time::timeout(within, self.room.acquire_many(CONNECTIONS_MAX as u32)).await;
    }

    /// Room for one more connection, for as long as it is open.
    fn room(&self) -> Option<OwnedSemaphorePermit> {
        self.room.clone().try_acquire_owned().ok()
    }

    /// A connection begins. The core is told.
    fn attach(
        &self,
        inbox: &Inbox,
        name: &RunnerRef,
        arrival: impl Fn() -> Arrival,
    ) -> (Arc<Remote>, Arc<Connection>, Vec<RequestId>) {
        loop {
            let remote = self.find(name);
            // None if it was forgotten between these lines: then there is a new one.
            let Some((connection, dropped)) = remote.attach(inbox, arrival()) else { continue };
            if self.leaving.load(Ordering::SeqCst) {
                connection.end(Ending::GoingAway);
            }
            return (remote, connection, dropped);
        }
    }

    /// A runner of components has connected. It takes the place of one with the same key, which is evicted: its connection may be
    /// broken, and only this side does not know it yet.
    fn attach_components(
        &self,
        inbox: &Inbox,
        hello: components::connect::Hello,
        now_ms: u64,
        first: Message,
    ) -> Arc<ComponentLink> {
        let mut table = write(&self.table);
        let older = table.components.values().find(|link| link.profile.key == hello.profile.key).cloned();
        if let Some(older) = older {
            older.ending.tell(Ending::Evicted);
            table.components.remove(&older.runner);
            inbox.push(Input::RunnerLeft { runner: older.runner });
        }
        let runner = table.next();
        let link = Arc::new(ComponentLink::new(runner, hello.version, hello.profile.clone(), now_ms));
        link.push(first);
        table.components.insert(runner, link.clone());
        // While the table is held: in the order in which connections take each other's place.
        inbox.push(Input::RunnerJoined { runner, profile: hello.profile });
        drop(table);
        if self.leaving.load(Ordering::SeqCst) {
            link.ending.tell(Ending::GoingAway);
        }
        link
    }

    /// Its connection has ended. The core hears of it, unless another one has taken its place.
    fn detach_components(&self, inbox: &Inbox, runner: RunnerId) {
        let mut table = write(&self.table);
        if table.components.remove(&runner).is_some() {
            inbox.push(Input::RunnerLeft { runner });
        }
    }

    /// Those that are connected, the newest first.
    pub fn components(&self) -> Vec<Arc<ComponentLink>> {
        let mut links: Vec<_> = read(&self.table).components.values().cloned().collect();
        links.sort_by_key(|link| std::cmp::Reverse(link.runner));
        links
    }

    fn find(&self, name: &RunnerRef) -> Arc<Remote> {
        let mut table = write(&self.table);
        if let Some(remote) = table.by_name.get(name) {
            return remote.clone();
        }
        let runner = table.next();
        let remote = Arc::new(Remote::new(runner, name.clone()));
        table.remote.insert(runner, remote.clone());
        table.by_name.insert(name.clone(), remote.clone());
        remote
    }

    fn remote(&self, runner: RunnerId) -> Option<Arc<Remote>> {
        read(&self.table).remote.get(&runner).cloned()
    }
}

fn info(remote: &Remote) -> Option<RunnerInfo> {
    let (connection, create_ms) = remote.connection()?;
    let Serves::Pool { namespace, pool, protocol, slots } = connection.profile.serves.clone() else { return None };
    Some(RunnerInfo {
        runner: remote.runner,
        protocol,
        namespace,
        pool,
        key: connection.profile.key.clone(),
        version: connection.profile.version,
        slots,
        create_ms,
        connect_ms: connection.connect_ms,
        last_ping_ms: connection.pings.last_ms.load(Ordering::Relaxed),
        rtt_ms: connection.pings.rtt_ms.load(Ordering::Relaxed) as u32,
        stopping_ms: connection.stopping(),
        metadata: lock(&connection.metadata).clone(),
    })
}

/// Made of the runner's name, so that it is the same when the runner comes back, without being kept anywhere.
fn public_id(namespace: NamespaceId, pool: &str, key: &str) -> Id {
    let mut hash = Sha256::new();
    hash.update(namespace.as_bytes());
    hash.update((pool.len() as u64).to_le_bytes());
    hash.update(pool);
    hash.update(key);
    let mut random = [0; 16];
    random.copy_from_slice(&hash.finalize()[..16]);
    Id::new(random, DATACENTER_LABEL)
}

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;
