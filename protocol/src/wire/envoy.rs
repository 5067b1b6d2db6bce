//! The messages between the engine and an envoy: a process that runs actors, under the protocol of today.

use bytes::Bytes;

use super::actor::{ActorCheckpoint, ActorName, CommandWrapper, EventWrapper};
use super::bare::{self, DecodeError, Problem};
use super::kv::{KvRequestData, KvResponseData};
use super::schema::schema;
use super::sqlite::{
    SqliteCommit, SqliteCommitOk, SqliteError, SqliteExec, SqliteExecOk, SqliteExecute, SqliteExecuteBatch, SqliteExecuteOk,
    SqliteFinalize, SqliteGetPages, SqliteGetPagesOk, SqliteStageBegin, SqliteStageBeginOk, SqliteStageSegment,
    SqliteStageSegmentOk,
};
use super::tunnel::{MessageId, ToEnvoyTunnel, ToRivetTunnel};
use super::version::{CannotSay, Dialect, EnvoyVersion};

schema! {
    /// From an envoy to the engine.
    pub enum ToRivet {
        /// Only of an envoy; a legacy runner has [`super::runner::ServerInit`] in its place.
        Metadata { prepopulate_actor_names: Option<Vec<(String, ActorName)>>, metadata: Option<String> },
        Events { events: Vec<EventWrapper> },
        AckCommands { last_command_checkpoints: Vec<ActorCheckpoint> },
        /// It begins to shut down.
        Stopping,
        Pong {
            /// The ping's.
            ts: i64,
        },
        KvRequest { actor_id: String, request_id: u32, data: KvRequestData },
        Tunnel { message_id: MessageId, message: ToRivetTunnel },
        SqliteGetPages { request_id: u32, data: SqliteGetPages } if Sqlite,
        SqliteCommit { request_id: u32, data: SqliteCommit } if Sqlite,
        SqliteStageBegin { request_id: u32, data: SqliteStageBegin } if SqliteStagedCommit,
        SqliteStageSegment { request_id: u32, data: SqliteStageSegment } if SqliteStagedCommit,
        SqliteFinalize { request_id: u32, data: SqliteFinalize } if SqliteStagedCommit,
        SqliteExec { request_id: u32, data: SqliteExec } if SqliteRemote,
        SqliteExecute { request_id: u32, data: SqliteExecute } if SqliteRemote,
        SqliteExecuteBatch { request_id: u32, data: SqliteExecuteBatch } if SqliteBatch,
    }
}

schema! {
    /// From the engine to an envoy.
    pub enum ToEnvoy {
        /// Only to an envoy; a legacy runner gets [`super::runner::ClientInit`] in its place.
        Init { metadata: ProtocolMetadata },
        Commands { commands: Vec<CommandWrapper> },
        AckEvents { last_event_checkpoints: Vec<ActorCheckpoint> },
        KvResponse { request_id: u32, data: KvResponseData },
        Tunnel { message_id: MessageId, message: ToEnvoyTunnel },
        Ping { ts: i64 },
        SqliteGetPages { request_id: u32, result: Result<SqliteGetPagesOk, SqliteError> } if Sqlite,
        SqliteCommit { request_id: u32, result: Result<SqliteCommitOk, SqliteError> } if Sqlite,
        SqliteStageBegin { request_id: u32, result: Result<SqliteStageBeginOk, SqliteError> } if SqliteStagedCommit,
        SqliteStageSegment { request_id: u32, result: Result<SqliteStageSegmentOk, SqliteError> } if SqliteStagedCommit,
        SqliteFinalize { request_id: u32, result: Result<SqliteCommitOk, SqliteError> } if SqliteStagedCommit,
        SqliteExec { request_id: u32, result: Result<SqliteExecOk, SqliteError> } if SqliteRemote,
        SqliteExecute { request_id: u32, result: Result<SqliteExecuteOk, SqliteError> } if SqliteRemote,
        SqliteExecuteBatch { request_id: u32, result: Result<Vec<SqliteExecuteOk>, SqliteError> } if SqliteBatch,
    }
}

schema! {
    pub struct ProtocolMetadata {
        /// Milliseconds without a pong after which the envoy counts as lost.
        pub envoy_lost_threshold: i64,
        /// Milliseconds that an actor may take to stop.
        pub actor_stop_threshold: i64,
        /// Bytes.
        pub max_response_payload_size: u64,
    }
}

pub fn decode_to_rivet(version: EnvoyVersion, bytes: Bytes) -> Result<ToRivet, DecodeError> {
    bare::decode(Dialect::Envoy(version), bytes)
}

pub fn encode_to_rivet(version: EnvoyVersion, message: &ToRivet) -> Result<Bytes, CannotSay> {
    bare::encode(Dialect::Envoy(version), &[], message)
}

pub fn decode_to_envoy(version: EnvoyVersion, bytes: Bytes) -> Result<ToEnvoy, DecodeError> {
    bare::decode(Dialect::Envoy(version), bytes)
}

pub fn encode_to_envoy(version: EnvoyVersion, message: &ToEnvoy) -> Result<Bytes, CannotSay> {
    bare::encode(Dialect::Envoy(version), &[], message)
}

/// Two bytes of version, then the message: for where no connection names the version, as in the start of a serverless actor.
pub fn encode_with_version(version: EnvoyVersion, message: &ToEnvoy) -> Result<Bytes, CannotSay> {
    bare::encode(Dialect::Envoy(version), &version.number().to_le_bytes(), message)
}

pub fn decode_with_version(bytes: Bytes) -> Result<(EnvoyVersion, ToEnvoy), DecodeError> {
    let Some(number) = bytes.first_chunk().map(|prefix| u16::from_le_bytes(*prefix)) else {
        return Err(DecodeError { at: 0, problem: Problem::Ends { wanted: 2, left: bytes.len() } });
    };
    let version = EnvoyVersion::new(number).ok_or(DecodeError { at: 0, problem: Problem::Version(number) })?;
    let message = bare::decode(Dialect::Envoy(version), bytes.slice(2..));
    // Places count from the beginning of what was given.
    Ok((version, message.map_err(|error| DecodeError { at: error.at + 2, ..error })?))
}
