//! What the parts of the server share: one value, made once by [`crate::compose`].
//!
//! Holds no rules about actors: those are the core's, and this is how the parts reach it and each other.

use std::sync::{Arc, Weak};

use engine_core::Input;
use engine_core::action::Answer;
use engine_core::audit::Act;
use engine_core::input::Operation;
use engine_store::{Rocks, StoreError};
use protocol::id::{ActorId, Id, RequestId, RunnerId};
use protocol::message::ToRunner;
use protocol::trace::{self, Kind};

use crate::actor_calls::ActorCalls;
use crate::auth::{Auth, caller};
use crate::backups::Backups;
use crate::calls::Calls;
use crate::checks::Checks;
use crate::clock::Clock;
use crate::components::Components;
use crate::config::{Datacenter, RunnerTimes};
use crate::database::Databases;
use crate::directory::Directory;
use crate::edge::Edge;
use crate::error::{ApiError, quotable};
use crate::held;
use crate::inbox::Inbox;
use crate::logs::LogBook;
use crate::memory::used::MemoryUse;
use crate::metrics::Metrics;
use crate::readers::Readers;
use crate::readiness::Readiness;
use crate::recordings::Recorder;
use crate::requests::Requests;
use crate::room::Room;
use crate::runners::Runners;
use crate::serverless::Serverless;
use crate::serverless::client::Client;
use crate::sockets::Sockets;
use crate::telemetry::Telemetry;

/// The one datacenter there is.
pub const DATACENTER: &str = "default";
pub const DATACENTER_LABEL: u16 = 1;
/// The runner inside this process; others that connect get later numbers.
pub const OWN_RUNNER: RunnerId = RunnerId(1);
pub const OWN_KEY: &str = "wasm";

pub struct Engine {
    pub clock: Clock,
    pub started_ms: u64,
    pub inbox: Inbox,
    /// What waits for a disk without room.
    pub held: Arc<held::Sums>,
    pub calls: Calls,
    pub requests: Requests,
    pub actor_calls: ActorCalls,
    pub runners: Runners,
    pub sockets: Sockets,
    pub readers: Readers,
    pub databases: Databases,
    pub directory: Arc<Directory>,
    pub components: Arc<Components>,
    /// For what takes long to read and must be of one moment. Gone once the engine stops, and where nothing is on a disk.
    pub store: Weak<Rocks>,
    pub backups: Backups,
    pub room: Room,
    pub memory: MemoryUse,
    pub logs: LogBook,
    pub recorder: Arc<Recorder>,
    pub metrics: Metrics,
    pub readiness: Arc<Readiness>,
    pub telemetry: Arc<Telemetry>,
    pub trace_propagation: bool,
    pub edge: Edge,
    /// The way to pools that are called by URL.
    pub outbound: Arc<Client>,
    pub serverless: Serverless,
    pub auth: Auth,
    pub datacenter: Datacenter,
    pub runner_times: RunnerTimes,
    /// Where clients reach this engine, with a slash at its end.
    pub public_url: String,
    /// Where versions are tried; none: not in this process.
    pub checks: Option<Checks>,
    /// What to do when the store has failed, so that nothing can be decided any more.
    pub store_failed: StoreFailed,
}

pub type StoreFailed = Box<dyn Fn(&StoreError) + Send + Sync>;

impl Engine {
    pub async fn call(&self, operation: Operation) -> Result<Answer, ApiError> {
        self.room.for_operation(&operation)?;
        self.held.for_more()?;
        // Until the core has decided, and what it has decided is durable.
        let mut span = trace::child("core.call", Kind::Internal);
        if !span.is_none()
            && let Some(act) = Act::of(&operation)
        {
            span.set("rivet.operation", || act.act);
        }
        self.calls.call(&self.inbox, operation, caller::by(self)?).await
    }

    /// Waits until what was decided so far can be read. Not for a full disk: what waits for that was told to nobody.
    pub async fn settle(&self) -> Result<(), ApiError> {
        match self.room.for_growth() {
            Ok(()) => self.call(Operation::Settle).await.map(drop),
            Err(_) => Ok(()),
        }
    }

    /// What the core asked for. If it cannot be read, any answer would be a guess, and a guess may create an actor twice.
    pub fn known<T>(&self, read: Result<T, StoreError>) -> Option<T> {
        read.map_err(|error| (self.store_failed)(&error)).ok()
    }

    /// The request is over because its client has left, or waited too long. Nothing happens if it was over already.
    pub fn abandon(&self, request: RequestId) {
        let Some(place) = self.requests.abandon(request) else { return };
        self.inbox.push(Input::RequestAborted { request });
        if let Some(place) = place {
            place.link.send(ToRunner::RequestAbort { request });
        }
    }
}

/// An actor of another datacenter is not known here, whatever it is.
pub fn known_datacenter(id: ActorId) -> Result<ActorId, ApiError> {
    match id.datacenter_label() {
        DATACENTER_LABEL => Ok(id),
        other => Err(ApiError::datacenter_not_found(&other.to_string())),
    }
}

/// An actor's id as a client wrote it.
pub fn parse_actor_id(text: &str) -> Result<ActorId, ApiError> {
    text.parse::<Id>().map_err(|error| ApiError::bad_request(format!("{:?} is not an actor id: {error}", quotable(text))))
}
