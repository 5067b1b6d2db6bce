//! The messages between the engine and a legacy runner: those of an envoy, except for how they introduce themselves.

use bytes::Bytes;

use super::actor::ActorName;
use super::bare::{self, DecodeError, Reader, Wire, Writer};
use super::envoy::{ToEnvoy, ToRivet};
use super::schema::schema;
use super::version::{CannotSay, Dialect, RunnerVersion};

/// From a runner to the engine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ToServer {
    Init(ServerInit),
    Message(ToRivet),
}

/// From the engine to a runner.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ToClient {
    Init(ClientInit),
    Message(ToEnvoy),
}

schema! {
    /// The first message of a runner.
    pub struct ServerInit {
        pub name: String,
        pub version: u32,
        pub total_slots: u32,
        pub prepopulate_actor_names: Option<Vec<(String, ActorName)>>,
        /// JSON.
        pub metadata: Option<String>,
    }
}

schema! {
    /// The answer to it.
    pub struct ClientInit {
        pub runner_id: String,
        /// Milliseconds without a pong after which the runner counts as lost.
        pub runner_lost_threshold: i64,
        /// Milliseconds that an actor may take to stop. 0 from versions that do not say it, as with the next.
        pub actor_stop_threshold: i64 where RunnerThresholds,
        pub serverless_drain_grace_period: Option<i64> where RunnerThresholds,
    }
}

pub fn decode_to_server(version: RunnerVersion, bytes: Bytes) -> Result<ToServer, DecodeError> {
    bare::decode(Dialect::Runner(version), bytes)
}

pub fn encode_to_server(version: RunnerVersion, message: &ToServer) -> Result<Bytes, CannotSay> {
    bare::encode(Dialect::Runner(version), &[], message)
}

pub fn decode_to_client(version: RunnerVersion, bytes: Bytes) -> Result<ToClient, DecodeError> {
    bare::decode(Dialect::Runner(version), bytes)
}

pub fn encode_to_client(version: RunnerVersion, message: &ToClient) -> Result<Bytes, CannotSay> {
    bare::encode(Dialect::Runner(version), &[], message)
}

/// The tag of both introductions, and of what an envoy has in their place.
const INIT: u8 = 0;

impl Wire for ToServer {
    fn read(r: &mut Reader) -> Result<Self, DecodeError> {
        match r.take_if(INIT) {
            true => Ok(ToServer::Init(Wire::read(r)?)),
            false => Ok(ToServer::Message(Wire::read(r)?)),
        }
    }

    fn write(&self, w: &mut Writer) {
        match self {
            ToServer::Init(init) => {
                w.uint(INIT.into());
                init.write(w);
            }
            ToServer::Message(ToRivet::Metadata { .. }) => w.cannot_say("ToRivet::Metadata"),
            ToServer::Message(message) => message.write(w),
        }
    }
}

impl Wire for ToClient {
    fn read(r: &mut Reader) -> Result<Self, DecodeError> {
        match r.take_if(INIT) {
            true => Ok(ToClient::Init(Wire::read(r)?)),
            false => Ok(ToClient::Message(Wire::read(r)?)),
        }
    }

    fn write(&self, w: &mut Writer) {
        match self {
            ToClient::Init(init) => {
                w.uint(INIT.into());
                init.write(w);
            }
            ToClient::Message(ToEnvoy::Init { .. }) => w.cannot_say("ToEnvoy::Init"),
            ToClient::Message(message) => message.write(w),
        }
    }
}
