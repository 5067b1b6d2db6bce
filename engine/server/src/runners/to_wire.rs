//! The engine's words to a runner, as the wire says them.
//!
//! One value to another; nothing here decides or waits. What a version of the protocol has no words for, the codec says.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, header};
use protocol::database::{DatabaseAnswer, DatabaseError, Executed, SqlValue};
use protocol::id::RequestId;
use protocol::message::{self, Checkpoint, KvAnswer, KvEntry, RequestStart, SocketOpen, Start, StopReason, ToRunner};
use protocol::wire::actor::{ActorCheckpoint, ActorConfig, Command, CommandWrapper, StartActor, StopActorReason};
use protocol::wire::envoy::{ToEnvoy, encode_to_envoy};
use protocol::wire::kv::{KvMetadata, KvResponseData};
use protocol::wire::runner::{ToClient, encode_to_client};
use protocol::wire::sqlite::{
    SqliteCommitOk, SqliteError, SqliteExecOk, SqliteExecuteOk, SqliteFetchedPage, SqliteGetPagesOk, SqliteStageBeginOk,
    SqliteStageSegmentOk, SqliteValue,
};
use protocol::wire::tunnel::{AbortKind, AbortReason, MessageId, StreamId, ToEnvoyTunnel};
use protocol::wire::{CannotSay, Dialect};

use crate::api::about::VERSION;
use crate::runners::calls::{Asked, Call};
use crate::runners::streams::Stamp;

/// None if there is nothing to say: the message is not for runners of this kind, or nobody waits for it any more.
pub fn say(message: ToRunner, stamp: Option<Stamp>, now_ms: u64) -> Option<ToEnvoy> {
    let tunnel = |request, stamp: Stamp, message| {
        Some(ToEnvoy::Tunnel { message_id: MessageId { stream: stream(request), index: stamp.index }, message })
    };
    match message {
        ToRunner::Command(checkpoint, command) => Some(commands(checkpoint, command, now_ms)),
        ToRunner::AckEvents(checkpoint) => Some(ToEnvoy::AckEvents { last_event_checkpoints: vec![wire_checkpoint(checkpoint)] }),
        ToRunner::Request(start) => tunnel(start.request, stamp?, request_start(start)),
        ToRunner::RequestChunk { request, body, finish } => tunnel(request, stamp?, ToEnvoyTunnel::RequestChunk { body, finish }),
        ToRunner::RequestAbort { request } => {
            let stamp = stamp?;
            tunnel(request, stamp, abort(stamp, AbortKind::Cancelled, None))
        }
        ToRunner::RequestBodyCancel { request } => tunnel(request, stamp?, ToEnvoyTunnel::RequestBodyCancel),
        ToRunner::ResponseWindow { request, consumed_bytes } => {
            tunnel(request, stamp?, ToEnvoyTunnel::ResponseBodyWindowUpdate { consumed_bytes })
        }
        ToRunner::SocketOpen(open) => tunnel(open.request, stamp?, socket_open(open)),
        // Its messages have no place for what follows it.
        ToRunner::SocketMessage { request, index, data, binary, trace: _ } => Some(ToEnvoy::Tunnel {
            message_id: MessageId { stream: stream(request), index },
            message: ToEnvoyTunnel::WebSocketMessage { data, binary },
        }),
        ToRunner::SocketClose { request, index, code, reason } => Some(ToEnvoy::Tunnel {
            message_id: MessageId { stream: stream(request), index },
            message: ToEnvoyTunnel::WebSocketClose { code, reason },
        }),
        ToRunner::Kv { call, result, .. } => {
            let call = Call::of(call)?;
            Some(ToEnvoy::KvResponse { request_id: call.request_id, data: kv_response(call.asked, result) })
        }
        ToRunner::Database { call, result, .. } => database_response(Call::of(call)?, result),
        // Of runners of components.
        ToRunner::Alarm { .. }
        | ToRunner::AskToSleep { .. }
        | ToRunner::Committed { .. }
        | ToRunner::CallAnswer { .. }
        | ToRunner::Prepare { .. }
        | ToRunner::Component { .. } => None,
    }
}

pub fn commands(checkpoint: Checkpoint, command: message::Command, now_ms: u64) -> ToEnvoy {
    ToEnvoy::Commands { commands: vec![wrap(checkpoint, command, now_ms)] }
}

pub fn encode(dialect: Dialect, message: ToEnvoy) -> Result<Bytes, CannotSay> {
    match dialect {
        Dialect::Envoy(version) => encode_to_envoy(version, &message),
        Dialect::Runner(version) => encode_to_client(version, &ToClient::Message(message)),
    }
}

pub fn stream(request: RequestId) -> StreamId {
    StreamId { gateway_id: ((request.0 >> 32) as u32).to_be_bytes(), request_id: (request.0 as u32).to_be_bytes() }
}

pub fn abort(stamp: Stamp, kind: AbortKind, detail: Option<String>) -> ToEnvoyTunnel {
    ToEnvoyTunnel::RequestAbort {
        actor_id: Some(stamp.actor.to_string()),
        actor_generation: Some(stamp.generation),
        reason: AbortReason { kind, detail },
    }
}

fn wire_checkpoint(checkpoint: Checkpoint) -> ActorCheckpoint {
    let Checkpoint { actor, generation, index } = checkpoint;
    ActorCheckpoint { actor_id: actor.to_string(), generation, index: index as i64 }
}

fn wrap(checkpoint: Checkpoint, command: message::Command, now_ms: u64) -> CommandWrapper {
    let inner = match command {
        message::Command::Start(start) => Command::StartActor { start: start_actor(*start, now_ms) },
        message::Command::Stop(reason) => Command::StopActor {
            reason: match reason {
                StopReason::Sleep => StopActorReason::SleepIntent,
                StopReason::Stop => StopActorReason::StopIntent,
                StopReason::Destroy => StopActorReason::Destroy,
                StopReason::GoingAway => StopActorReason::GoingAway,
                StopReason::Lost => StopActorReason::Lost,
            },
        },
    };
    CommandWrapper { checkpoint: wire_checkpoint(checkpoint), inner }
}

fn start_actor(start: Start, now_ms: u64) -> StartActor {
    // Not the actor's creation: the original says when the start was commanded.
    let config = ActorConfig { name: start.name, key: start.key, create_ts: now_ms as i64, input: start.input };
    StartActor { config, hibernating_requests: start.hibernating.into_iter().map(stream).collect(), preloaded_kv: None }
}

fn request_start(start: RequestStart) -> ToEnvoyTunnel {
    ToEnvoyTunnel::RequestStart {
        actor_id: start.actor.to_string(),
        actor_generation: Some(start.generation),
        method: start.method.to_string(),
        path: start.path,
        headers: header_map(&start.headers),
        body: (!start.body.is_empty()).then_some(start.body),
        stream: start.stream,
        response_stream: true,
    }
}

fn socket_open(open: SocketOpen) -> ToEnvoyTunnel {
    ToEnvoyTunnel::WebSocketOpen {
        actor_id: open.actor.to_string(),
        actor_generation: Some(open.generation),
        path: open.path,
        headers: header_map(&open.headers),
    }
}

/// One value per name. A value that is no text cannot be said.
fn header_map(headers: &HeaderMap) -> Vec<(String, String)> {
    let values = |name: &HeaderName| {
        let texts: Vec<&str> =
            headers.get_all(name).iter().filter_map(|value| std::str::from_utf8(value.as_bytes()).ok()).collect();
        let separator = if *name == header::COOKIE { "; " } else { ", " };
        (!texts.is_empty()).then(|| (name.as_str().to_string(), texts.join(separator)))
    };
    headers.keys().filter_map(values).collect()
}

fn kv_response(asked: Asked, result: Result<KvAnswer, String>) -> KvResponseData {
    match (asked, result) {
        (_, Err(message)) => KvResponseData::Error { message },
        (Asked::KvDelete, Ok(_)) => KvResponseData::Delete,
        (Asked::KvDrop, Ok(_)) => KvResponseData::Drop,
        (Asked::KvGet, Ok(KvAnswer::Get(entries))) => {
            let (keys, values, metadata) = lists(entries.into_iter().flatten());
            KvResponseData::Get { keys, values, metadata }
        }
        (Asked::KvList, Ok(KvAnswer::List(entries))) => {
            let (keys, values, metadata) = lists(entries.into_iter());
            KvResponseData::List { keys, values, metadata }
        }
        (_, Ok(KvAnswer::Written)) => KvResponseData::Put,
        (_, Ok(_)) => KvResponseData::Error { message: "the engine mixed up its answers".to_string() },
    }
}

fn lists(entries: impl Iterator<Item = KvEntry>) -> (Vec<Bytes>, Vec<Bytes>, Vec<KvMetadata>) {
    let (mut keys, mut values, mut metadata) = (Vec::new(), Vec::new(), Vec::new());
    for entry in entries {
        keys.push(entry.key);
        values.push(entry.value);
        metadata.push(KvMetadata { version: Bytes::from_static(VERSION.as_bytes()), update_ts: entry.update_ms as i64 });
    }
    (keys, values, metadata)
}

/// None if the call was not about a database.
pub fn database_response(call: Call, result: Result<DatabaseAnswer, DatabaseError>) -> Option<ToEnvoy> {
    let request_id = call.request_id;
    let result = result.map_err(|error| SqliteError {
        group: error.group.to_string(),
        code: error.code.to_string(),
        message: error.message,
    });
    Some(match call.asked {
        Asked::GetPages => ToEnvoy::SqliteGetPages { request_id, result: result.and_then(pages) },
        Asked::Commit => ToEnvoy::SqliteCommit { request_id, result: result.and_then(committed) },
        Asked::StageFinalize => ToEnvoy::SqliteFinalize { request_id, result: result.and_then(committed) },
        Asked::StageBegin => {
            let result = result.and_then(|answer| match answer {
                DatabaseAnswer::Staging { txid } => Ok(SqliteStageBeginOk { txid }),
                _ => Err(mixed_up()),
            });
            ToEnvoy::SqliteStageBegin { request_id, result }
        }
        Asked::StageSegment => {
            let result = result.and_then(|answer| match answer {
                DatabaseAnswer::Staged { bytes } => Ok(SqliteStageSegmentOk { staged_bytes: bytes }),
                _ => Err(mixed_up()),
            });
            ToEnvoy::SqliteStageSegment { request_id, result }
        }
        Asked::Exec => {
            let result = result.and_then(|answer| match answer {
                DatabaseAnswer::Rows(rows) => Ok(SqliteExecOk { columns: rows.columns, rows: wire_rows(rows.rows) }),
                _ => Err(mixed_up()),
            });
            ToEnvoy::SqliteExec { request_id, result }
        }
        Asked::Execute => {
            let result = result.and_then(|answer| match answer {
                DatabaseAnswer::Executed(done) => Ok(executed(done)),
                _ => Err(mixed_up()),
            });
            ToEnvoy::SqliteExecute { request_id, result }
        }
        Asked::ExecuteBatch => {
            let result = result.and_then(|answer| match answer {
                DatabaseAnswer::ExecutedBatch(done) => Ok(done.into_iter().map(executed).collect()),
                _ => Err(mixed_up()),
            });
            ToEnvoy::SqliteExecuteBatch { request_id, result }
        }
        Asked::KvGet | Asked::KvList | Asked::KvPut | Asked::KvDelete | Asked::KvDrop => return None,
    })
}

fn pages(answer: DatabaseAnswer) -> Result<SqliteGetPagesOk, SqliteError> {
    match answer {
        DatabaseAnswer::Pages { pages, head_txid } => Ok(SqliteGetPagesOk {
            pages: pages.into_iter().map(|(pgno, bytes)| SqliteFetchedPage { pgno, bytes }).collect(),
            head_txid: Some(head_txid),
        }),
        _ => Err(mixed_up()),
    }
}

fn committed(answer: DatabaseAnswer) -> Result<SqliteCommitOk, SqliteError> {
    match answer {
        DatabaseAnswer::Committed { head_txid } => Ok(SqliteCommitOk { head_txid: Some(head_txid) }),
        _ => Err(mixed_up()),
    }
}

fn executed(done: Executed) -> SqliteExecuteOk {
    let Executed { rows, changes, last_insert_row_id } = done;
    SqliteExecuteOk { columns: rows.columns, rows: wire_rows(rows.rows), changes, last_insert_row_id }
}

fn wire_rows(rows: Vec<Vec<SqlValue>>) -> Vec<Vec<SqliteValue>> {
    rows.into_iter().map(|row| row.into_iter().map(wire_value).collect()).collect()
}

fn wire_value(value: SqlValue) -> SqliteValue {
    match value {
        SqlValue::Null => SqliteValue::Null,
        SqlValue::Integer(value) => SqliteValue::Integer { value },
        SqlValue::Float(value) => SqliteValue::Float { value: value.to_be_bytes() },
        SqlValue::Text(value) => SqliteValue::Text { value },
        SqlValue::Blob(value) => SqliteValue::Blob { value },
    }
}

/// A bug of ours, and not for the runner to suffer from in silence.
fn mixed_up() -> SqliteError {
    SqliteError {
        group: "core".to_string(),
        code: "internal_error".to_string(),
        message: "the engine mixed up its answers".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn headers_become_a_map_of_texts() {
        let rows: [(&'static str, &'static [u8]); 7] = [
            ("accept", b"a"),
            ("accept", b"b"),
            ("cookie", b"x=1"),
            ("cookie", b"y=2"),
            ("x-latin", b"\xe4"),
            ("x-both", b"\xe4"),
            ("x-both", b"\xc3\xa4"),
        ];
        let mut headers = HeaderMap::new();
        for (name, value) in rows {
            headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value).expect("a value"));
        }
        let mut map = header_map(&headers);
        map.sort();
        let expected = [("accept", "a, b"), ("cookie", "x=1; y=2"), ("x-both", "ä")];
        assert_eq!(map, expected.map(|(name, value)| (name.to_string(), value.to_string())));
    }

    #[test]
    fn a_request_id_is_two_halves() {
        let id = stream(RequestId(0x6d2d_02ec_87b6_ac67));
        assert_eq!(id.gateway_id, [0x6d, 0x2d, 0x02, 0xec]);
        assert_eq!(id.request_id, [0x87, 0xb6, 0xac, 0x67]);
    }
}
