//! What the parts of the server share: one value, made once by [`crate::compose`].
//!
//! Holds no rules about actors: those are the core's, and this is how the parts reach it and each other.

use std::sync::Arc;

use engine_core::Input;
use engine_core::action::Answer;
use engine_core::input::Operation;
use protocol::id::{ActorId, Id, RequestId, RunnerId};
use protocol::message::ToRunner;

use crate::actor_calls::ActorCalls;
use crate::auth::{self, AdminToken};
use crate::calls::Calls;
use crate::clock::Clock;
use crate::components::Components;
use crate::config::{Datacenter, RunnerTimes};
use crate::database::Databases;
use crate::directory::Directory;
use crate::edge::Edge;
use crate::error::ApiError;
use crate::inbox::Inbox;
use crate::logs::LogBook;
use crate::metrics::Metrics;
use crate::readers::Readers;
use crate::requests::Requests;
use crate::runners::Runners;
use crate::serverless::Serverless;
use crate::serverless::client::Client;
use crate::sockets::Sockets;

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
    pub calls: Calls,
    pub requests: Requests,
    pub actor_calls: ActorCalls,
    pub runners: Runners,
    pub sockets: Sockets,
    pub readers: Readers,
    pub databases: Databases,
    pub directory: Arc<Directory>,
    pub components: Arc<Components>,
    pub logs: LogBook,
    pub metrics: Metrics,
    pub edge: Edge,
    /// The way to pools that are called by URL.
    pub outbound: Client,
    pub serverless: Serverless,
    /// None: everybody may do everything.
    pub admin_token: Option<AdminToken>,
    pub datacenter: Datacenter,
    pub runner_times: RunnerTimes,
    /// Where clients reach this engine, with a slash at its end.
    pub public_url: String,
}

impl Engine {
    pub async fn call(&self, operation: Operation) -> Result<Answer, ApiError> {
        self.calls.call(&self.inbox, operation).await
    }

    /// Whether somebody with this token may use the API, or connect as a runner.
    pub fn authorize(&self, token: Option<&[u8]>) -> Result<(), ApiError> {
        auth::check(self.admin_token.as_ref(), token)
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
    text.parse::<Id>().map_err(|error| ApiError::bad_request(format!("{text:?} is not an actor id: {error}")))
}
