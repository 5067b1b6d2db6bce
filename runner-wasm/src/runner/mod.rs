//! The door: every message of the engine comes in here and goes to the actor it is for.
//!
//! Nothing here waits and nothing decides about actors. A message for a generation that is not in memory is answered as the
//! protocol wants: a request goes back, everything else is too late to matter.

pub mod idle;
pub mod sharded;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use protocol::component::ComponentHash;
use protocol::histogram::{Counted, Histogram};
use protocol::id::{ActorId, Generation, RequestId};
use protocol::link::{FromRunnerLink, ToRunnerLink};
use protocol::message::{
    Checkpoint, Command, Failure, FailureKind, FromRunner, RequestStart, RunnerProfile, Serves, SocketOpen, Start, StopReason,
    ToRunner,
};
use protocol::trace::Spans;
use tokio::runtime::Handle;
use tokio_rustls::TlsConnector;

use self::sharded::Sharded;
use crate::actor::{self, Actor, Answer, Mail, Refused, Request};
use crate::clock::Clock;
use crate::component::Components;
use crate::config::{Config, Grant, Isolated, StartError};
use crate::http::{Route, Routes};
use crate::sandbox::Engines;
use crate::sandbox::lanes::Lanes;
use crate::sandbox::mappings;
use crate::sandbox::room::Room;
use crate::sandbox::stacks::Stacks;
use crate::sandbox::ticker::Ticker;
use crate::sockets::serve::Received;
use crate::sockets::table::Ended;

/// Of several runners the engine prefers those with the highest.
pub const VERSION: u32 = 1;

/// Runs actors that are components. Give it to the engine as its [`ToRunnerLink`].
pub struct Runner {
    shared: Arc<Shared>,
}

/// What all actors of a runner share.
pub struct Shared {
    pub link: Arc<dyn FromRunnerLink>,
    pub runtime: Handle,
    pub components: Arc<Components>,
    pub room: Arc<Room>,
    pub ticker: Arc<Ticker>,
    stacks: Arc<Stacks>,
    pub lanes: Arc<Lanes>,
    pub routes: Routes,
    pub grants: Arc<[Grant]>,
    pub tls: TlsConnector,
    pub clock: Clock,
    pub isolated: Option<Isolated>,
    pub limits: Limits,
    /// Where spans go, if requests are traced.
    pub spans: Option<Arc<dyn Spans>>,
    /// Guests' requests to elsewhere say which trace they belong to.
    pub sends_traceparent: bool,
    /// How long messages stood in line, and how long their guests ran.
    pub mailbox_waits: Histogram,
    pub message_runs: Histogram,
    /// Which actor has the client's socket.
    pub sockets: Sharded<RequestId, Arc<Actor>>,
    actors: Sharded<ActorId, Arc<Actor>>,
    slept_for_room: AtomicU64,
}

pub struct Limits {
    pub memory_per_actor_bytes: usize,
    pub cpu_per_message_ms: u64,
    pub message_ms: u64,
    pub idle_before_sleep_ms: u64,
}

/// How much of a runner is in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Metrics {
    /// Actors in memory, and how many there may be, if all are of the smallest kind.
    pub actors: usize,
    pub actors_max: usize,
    /// Actors whose stack is put away.
    pub stacks_away: usize,
    /// Memory of their guests, as it counts towards the limit for all; see `config`.
    pub memory_bytes: usize,
    /// Compiled code in memory, which counts towards that limit too.
    pub code_bytes: usize,
    /// How often somebody was refused memory for want of it.
    pub memory_refusals: u64,
    /// Requests that have not ended.
    pub requests: usize,
    /// How often an actor was put to sleep because its room was needed.
    pub slept_for_room: u64,
    /// Processor time that guests have used, if it is counted: see [`Isolated`].
    pub cpu_us: u64,
    pub mailbox_waits: Counted,
    pub message_runs: Counted,
}

impl Runner {
    /// Must be called inside the runtime that is to run the actors.
    pub fn new(config: Config, engine: Arc<dyn FromRunnerLink>) -> Result<Arc<Runner>, StartError> {
        let runtime = Handle::try_current().map_err(|_| StartError::NoRuntime)?;
        for grant in &config.grants {
            let opened = std::fs::read_dir(&grant.host_path);
            opened.map_err(|cause| StartError::Grant { host_path: grant.host_path.clone(), cause })?;
        }
        let link = engine;
        let code = config.isolated.as_ref().map(|isolated| Arc::clone(&isolated.code));
        let engines = code.as_ref().map_or_else(Engines::new, |code| Ok(code.engines()))?;
        let ticker = Ticker::start(&engines, config.isolated.is_some())?;
        let lanes = Lanes::start(runtime.clone()).map_err(StartError::Lanes)?;
        let mappings_allowed = config.mappings_allowed.or_else(mappings::allowed);
        let room = Arc::new(Room::new(config.actors_max, mappings_allowed, config.memory_total_bytes));
        if config.isolated.is_none() {
            tracing::info!(actors_max = room.actors_max(), ?mappings_allowed, "room for Wasm actors that are awake");
        }
        let shared = Shared {
            components: Arc::new(Components::new(&engines, config.cache_dir, Arc::clone(&link), code, &room)?),
            link,
            runtime,
            room,
            ticker,
            stacks: engines.stacks,
            lanes,
            routes: Routes::default(),
            grants: config.grants.into(),
            tls: TlsConnector::from(config.tls),
            clock: Clock::new(config.clock),
            isolated: config.isolated,
            limits: Limits {
                memory_per_actor_bytes: config.memory_per_actor_bytes,
                cpu_per_message_ms: config.cpu_per_message_ms,
                message_ms: config.message_ms,
                idle_before_sleep_ms: config.idle_before_sleep_ms,
            },
            spans: config.spans,
            sends_traceparent: config.sends_traceparent,
            mailbox_waits: Histogram::default(),
            message_runs: Histogram::default(),
            sockets: Sharded::default(),
            actors: Sharded::default(),
            slept_for_room: AtomicU64::new(0),
        };
        let shared = Arc::new(shared);
        shared.runtime.spawn(idle::run(Arc::clone(&shared.room), Arc::downgrade(&shared)));
        Ok(Arc::new(Runner { shared }))
    }

    pub fn profile(&self) -> RunnerProfile {
        RunnerProfile { key: "wasm".to_string(), version: VERSION, serves: Serves::Components }
    }

    /// The process has so many bytes more than it may: there is less for guests until it has not, and idle actors sleep.
    pub fn squeeze(&self, bytes: usize) {
        self.shared.room.squeeze(bytes);
    }

    pub fn metrics(&self) -> Metrics {
        let room = &self.shared.room;
        Metrics {
            actors: room.actors(),
            actors_max: room.actors_max(),
            stacks_away: self.shared.stacks.away(),
            memory_bytes: room.memory_used_bytes().saturating_sub(room.code_bytes()),
            code_bytes: room.code_bytes(),
            memory_refusals: room.memory_refusals(),
            requests: self.shared.routes.len(),
            slept_for_room: self.shared.slept_for_room.load(Relaxed),
            cpu_us: self.shared.ticker.used_us(),
            mailbox_waits: self.shared.mailbox_waits.counted(),
            message_runs: self.shared.message_runs.counted(),
        }
    }
}

impl ToRunnerLink for Runner {
    fn send(&self, message: ToRunner) {
        let shared = &self.shared;
        match message {
            ToRunner::Command(checkpoint, Command::Start(start)) => shared.start(checkpoint, *start),
            ToRunner::Command(checkpoint, Command::Stop(reason)) => shared.stop(checkpoint, reason),
            ToRunner::Request(request) => shared.request(request),
            ToRunner::RequestChunk { request, body, finish } => {
                if let Some(route) = shared.routes.find(request) {
                    route.piece(body, finish);
                }
            }
            ToRunner::RequestAbort { request } => {
                if let Some(route) = shared.routes.find(request) {
                    route.cut_off();
                    if let Some(actor) = shared.actor(route.actor, route.generation) {
                        actor.withdraw(request);
                    }
                }
            }
            ToRunner::ResponseWindow { request, consumed_bytes } => {
                if let Some(route) = shared.routes.find(request) {
                    route.credit(consumed_bytes);
                }
            }
            ToRunner::SocketOpen(open) => shared.socket_open(open),
            ToRunner::SocketMessage { request, index, data, binary, trace } => {
                shared.on_socket(request, || Mail::SocketMessage(Box::new(Received { request, index, data, binary, trace })));
            }
            ToRunner::SocketClose { request, code, reason, .. } => {
                shared.on_socket(request, || Mail::SocketEnded(Ended { request, code, reason }));
            }
            // Events are never sent again from here, and a response whose request's body is cut short ends by itself.
            ToRunner::AckEvents(_) | ToRunner::RequestBodyCancel { .. } => {}
            ToRunner::Kv { actor, generation, call, result } => {
                if let Some(actor) = shared.actor(actor, generation) {
                    actor.answered(call, Answer::Kv(result));
                }
            }
            ToRunner::CallAnswer { actor, generation, call, result } => {
                if let Some(actor) = shared.actor(actor, generation) {
                    actor.answered(call, Answer::Call(result));
                }
            }
            ToRunner::Database { actor, call, result } => {
                if let Some(actor) = shared.actors.find(&actor) {
                    actor.answered(call, Answer::Database(result));
                }
            }
            ToRunner::Alarm { actor, generation, scheduled_ms, attempt } => {
                if let Some(actor) = shared.actor(actor, generation) {
                    // One that does not fit is not lost: it is not confirmed, so the engine sends it again.
                    let _ = actor.post(Mail::Alarm { scheduled_ms, attempt });
                }
            }
            ToRunner::AskToSleep { actor, generation } => {
                if let Some(actor) = shared.actor(actor, generation) {
                    actor.ask_to_sleep();
                }
            }
            ToRunner::Committed { actor, generation, commit } => {
                if let Some(actor) = shared.actor(actor, generation) {
                    actor.confirmed(commit);
                }
            }
            ToRunner::Prepare { component } => shared.prepare(component),
            ToRunner::Component { component, bytes } => shared.components.deliver(component, bytes),
        }
    }
}

impl Shared {
    /// The actor's task is over; messages for it are too late from now on.
    pub fn forget(&self, actor: &Arc<Actor>) {
        let sockets = actor.books().sockets.requests();
        for request in sockets.into_iter().chain(actor.start.hibernating.iter().copied()) {
            actor.forget_socket(request);
        }
        self.actors.remove_if(&actor.id, |known| Arc::ptr_eq(known, actor));
    }

    fn actor(&self, id: ActorId, generation: Generation) -> Option<Arc<Actor>> {
        self.actors.find(&id).filter(|actor| actor.generation == generation)
    }

    fn start(self: &Arc<Self>, checkpoint: Checkpoint, start: Start) {
        let Checkpoint { actor: id, generation, .. } = checkpoint;
        if let Some(older) = self.actors.find(&id) {
            if older.generation >= generation {
                tracing::warn!(actor = %id, generation, running = older.generation, "a start that is not newer is ignored");
                return;
            }
            // The engine starts a generation only after it has given up all before it.
            older.give_up();
        }
        let actor = Arc::new(Actor::new(Arc::clone(self), checkpoint, start));
        for request in &actor.start.hibernating {
            self.sockets.insert(*request, Arc::clone(&actor));
        }
        self.actors.insert(id, Arc::clone(&actor));
        self.lanes.spawn(id, actor::run(actor));
    }

    fn stop(&self, checkpoint: Checkpoint, reason: StopReason) {
        let Some(actor) = self.actor(checkpoint.actor, checkpoint.generation) else { return };
        match reason {
            StopReason::Lost => actor.give_up(),
            reason => {
                if actor.post(Mail::Stop(reason)).is_err() {
                    tracing::warn!(actor = %actor.id, ?reason, "a stop is ignored: the actor is stopping, or its mailbox is full");
                }
            }
        }
    }

    fn request(self: &Arc<Self>, mut head: RequestStart) {
        let Some(actor) = self.actor(head.actor, head.generation) else {
            return self.link.send(FromRunner::RequestReturned { request: head.request });
        };
        let body = std::mem::replace(&mut head.body, Bytes::new());
        let route = Arc::new(Route::new(Arc::clone(self), head.request, head.actor, head.generation, body, head.stream));
        self.routes.add(Arc::clone(&route));
        let request = Box::new(Request { head, route, gathered: None });
        match actor.post(Mail::Request(request)) {
            Err(Refused::Closed(Mail::Request(request))) => request.route.return_to_engine(),
            Err(Refused::Full(Mail::Request(request))) => request.route.abort_with(Failure {
                kind: FailureKind::Internal,
                message: format!("{} requests wait for this actor, as many as may; try again later", actor.limits.mailbox),
            }),
            _ => {}
        }
    }

    fn socket_open(&self, open: SocketOpen) {
        let request = open.request;
        let Some(actor) = self.actor(open.actor, open.generation) else {
            return self.link.send(FromRunner::RequestReturned { request });
        };
        self.sockets.insert(request, Arc::clone(&actor));
        match actor.post(Mail::SocketOpen(Box::new(open))) {
            Ok(()) => {}
            Err(Refused::Closed(_)) => {
                actor.forget_socket(request);
                self.link.send(FromRunner::RequestReturned { request });
            }
            Err(Refused::Full(_)) => actor.lose_socket(request),
        }
    }

    /// For a generation that has ended it is too late: the engine keeps what was not acked for the next one.
    fn on_socket(&self, request: RequestId, mail: impl FnOnce() -> Mail) {
        let Some(actor) = self.sockets.find(&request) else { return };
        if let Err(Refused::Full(_)) = actor.post(mail()) {
            actor.lose_socket(request);
        }
    }

    fn prepare(self: &Arc<Self>, component: ComponentHash) {
        let shared = Arc::clone(self);
        let hold = shared.clock.hold();
        self.runtime.spawn(async move {
            let outcome = shared.components.prepare(component).await;
            let result = outcome.map(|prepared| prepared.info.clone());
            shared.link.send(FromRunner::Prepared { component, result });
            drop(hold);
        });
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        for actor in self.shared.actors.take_if(|_| true) {
            actor.give_up();
        }
    }
}

/// Once the last of its actors has ended: what still runs must be interrupted until then.
impl Drop for Shared {
    fn drop(&mut self) {
        self.ticker.end();
        // Who makes room looks, and finds that there is no runner.
        self.room.press();
    }
}
