//! A runner's words, as the engine understands them.
//!
//! One value to another; nothing here decides or waits. All of it comes from outside: numbers may be anything, ids may be none.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use protocol::database::{DatabaseQuestion, Fence, Page, SqlValue, Statement};
use protocol::id::{InvalidId, RequestId};
use protocol::limits::{FAILURE_TEXT_BYTES_MAX, cut};
use protocol::message::{self, Checkpoint, Failure, FailureKind, Outcome};
use protocol::wire::actor::{ActorCheckpoint, ActorIntent, ActorState, Event, StopCode};
use protocol::wire::envoy::ToRivet;
use protocol::wire::sqlite::{SqliteDirtyPage, SqliteValue};
use protocol::wire::tunnel::{AbortReason, StreamId};

use crate::runners::calls::Asked;

pub fn request(stream: StreamId) -> RequestId {
    RequestId(u64::from(u32::from_be_bytes(stream.gateway_id)) << 32 | u64::from(u32::from_be_bytes(stream.request_id)))
}

/// None if the index is below zero, where none begins.
pub fn checkpoint(checkpoint: &ActorCheckpoint) -> Result<Option<Checkpoint>, InvalidId> {
    let actor = checkpoint.actor_id.parse()?;
    let index = u64::try_from(checkpoint.index).ok();
    Ok(index.map(|index| Checkpoint { actor, generation: checkpoint.generation, index }))
}

pub fn event(event: Event) -> message::Event {
    match event {
        Event::Intent { intent: ActorIntent::Sleep } => message::Event::SleepIntent,
        Event::Intent { intent: ActorIntent::Stop } => message::Event::StopIntent,
        Event::StateUpdate { state: ActorState::Running } => message::Event::Running,
        Event::StateUpdate { state: ActorState::Stopped { code, message } } => message::Event::Stopped(match code {
            StopCode::Ok => Outcome::Ok,
            StopCode::Error => Outcome::Error(message.map(|text| cut(text, FAILURE_TEXT_BYTES_MAX))),
        }),
        // A moment before 1970 is over, as any other that is.
        Event::SetAlarm { alarm_ts } => message::Event::SetAlarm(alarm_ts.map(|ts| u64::try_from(ts).unwrap_or(0))),
    }
}

/// The head of a response. The error is a sentence about what cannot be sent to any client.
pub fn response_head(status: u16, headers: Vec<(String, String)>) -> Result<(StatusCode, HeaderMap), String> {
    let status =
        StatusCode::from_u16(status).map_err(|_| format!("the actor answered with status {status}; it must be 200 to 599"))?;
    let mut map = HeaderMap::with_capacity(headers.len().min(HEADERS_MAX));
    for (name, value) in headers {
        if map.len() >= HEADERS_MAX {
            return Err(format!("the actor's response has more than {HEADERS_MAX} headers"));
        }
        let unsendable = |(): ()| format!("the actor's response has a header that cannot be sent: {:?}", cut(name.clone(), 100));
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unsendable(()))?;
        // Not `from_str`, which takes ASCII only.
        map.append(name, HeaderValue::from_bytes(value.as_bytes()).map_err(|_| unsendable(()))?);
    }
    Ok((status, map))
}

/// What a client can be sent: more than any server takes in a request.
const HEADERS_MAX: usize = 1_000;

pub fn failure(reason: AbortReason) -> Failure {
    let message = reason.detail.unwrap_or_else(|| "the actor ended the request without a response".to_string());
    Failure { kind: FailureKind::Cancelled, message: cut(message, FAILURE_TEXT_BYTES_MAX) }
}

/// A question about an actor's database.
pub struct Asking {
    pub actor_id: String,
    pub request_id: u32,
    pub asked: Asked,
    pub question: DatabaseQuestion,
    /// The name of the namespace, where the question says it.
    pub namespace: Option<String>,
}

/// None if the message is not about a database.
pub fn database(message: ToRivet) -> Option<Asking> {
    let fence = |generation, head_txid| Fence { generation, head_txid };
    let (request_id, actor_id, asked, question, namespace) = match message {
        ToRivet::SqliteGetPages { request_id, data } => {
            let question =
                DatabaseQuestion::GetPages { fence: fence(data.expected_generation, data.expected_head_txid), pages: data.pgnos };
            (request_id, data.actor_id, Asked::GetPages, question, None)
        }
        ToRivet::SqliteCommit { request_id, data } => {
            let fence = fence(data.expected_generation, data.expected_head_txid);
            let question = DatabaseQuestion::Commit { fence, pages: pages(data.dirty_pages), size_pages: data.db_size_pages };
            (request_id, data.actor_id, Asked::Commit, question, None)
        }
        ToRivet::SqliteStageBegin { request_id, data } => {
            let question = DatabaseQuestion::StageBegin { fence: fence(data.expected_generation, data.expected_head_txid) };
            (request_id, data.actor_id, Asked::StageBegin, question, None)
        }
        ToRivet::SqliteStageSegment { request_id, data } => {
            let question = DatabaseQuestion::StageSegment {
                generation: data.expected_generation,
                txid: data.txid,
                first_page: data.first_pgno,
                pages: pages(data.dirty_pages),
            };
            (request_id, data.actor_id, Asked::StageSegment, question, None)
        }
        ToRivet::SqliteFinalize { request_id, data } => {
            let question = DatabaseQuestion::StageFinalize {
                generation: data.expected_generation,
                txid: data.txid,
                size_pages: data.new_db_size_pages,
                first_pages: data.segment_first_pgnos,
            };
            (request_id, data.actor_id, Asked::StageFinalize, question, None)
        }
        ToRivet::SqliteExec { request_id, data } => {
            let question = DatabaseQuestion::Exec { generation: data.generation, sql: data.sql };
            (request_id, data.actor_id, Asked::Exec, question, Some(data.namespace_id))
        }
        ToRivet::SqliteExecute { request_id, data } => {
            let statement = statement(data.sql, data.params);
            let question = DatabaseQuestion::Execute { generation: data.generation, statement };
            (request_id, data.actor_id, Asked::Execute, question, Some(data.namespace_id))
        }
        ToRivet::SqliteExecuteBatch { request_id, data } => {
            let statements = data.statements.into_iter().map(|each| statement(each.sql, each.params)).collect();
            let question = DatabaseQuestion::ExecuteBatch { generation: data.generation, statements };
            (request_id, data.actor_id, Asked::ExecuteBatch, question, Some(data.namespace_id))
        }
        ToRivet::Metadata { .. }
        | ToRivet::Events { .. }
        | ToRivet::AckCommands { .. }
        | ToRivet::Stopping
        | ToRivet::Pong { .. }
        | ToRivet::KvRequest { .. }
        | ToRivet::Tunnel { .. } => return None,
    };
    Some(Asking { actor_id, request_id, asked, question, namespace })
}

fn pages(dirty: Vec<SqliteDirtyPage>) -> Vec<Page> {
    dirty.into_iter().map(|page| (page.pgno, page.bytes)).collect()
}

fn statement(sql: String, parameters: Option<Vec<SqliteValue>>) -> Statement {
    Statement { sql, parameters: parameters.unwrap_or_default().into_iter().map(value).collect() }
}

fn value(value: SqliteValue) -> SqlValue {
    match value {
        SqliteValue::Null => SqlValue::Null,
        SqliteValue::Integer { value } => SqlValue::Integer(value),
        SqliteValue::Float { value } => SqlValue::Float(f64::from_be_bytes(value)),
        SqliteValue::Text { value } => SqlValue::Text(value),
        SqliteValue::Blob { value } => SqlValue::Blob(value),
    }
}

#[cfg(test)]
mod tests {
    use protocol::id::Id;

    use super::*;
    use crate::runners::to_wire;

    #[test]
    fn a_stream_is_its_request() {
        for id in [0, 1, u64::MAX, 0x6d2d_02ec_87b6_ac67] {
            assert_eq!(request(to_wire::stream(RequestId(id))), RequestId(id));
        }
    }

    #[test]
    fn heads_from_outside() {
        let long = "a".repeat(5_000);
        let rows: [(u16, &[(&str, &str)], Result<usize, &str>); 9] = [
            (200, &[], Ok(0)),
            (201, &[("X-A", "b"), ("x-a", "c")], Ok(2)),
            (599, &[("x", &long)], Ok(1)),
            (200, &[("x", "ä")], Ok(1)),
            (0, &[], Err("status 0")),
            (65_535, &[], Err("status 65535")),
            (200, &[("", "")], Err("a header that cannot be sent: \"\"")),
            (200, &[("a b", "")], Err("a header that cannot be sent: \"a b\"")),
            (200, &[("x", "a\r\nb: c")], Err("a header that cannot be sent: \"x\"")),
        ];
        for (status, headers, expected) in rows {
            let headers = headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
            match (response_head(status, headers), expected) {
                (Ok((found, map)), Ok(len)) => assert_eq!((found.as_u16(), map.len()), (status, len)),
                (Err(text), Err(part)) => assert!(text.contains(part), "{text}"),
                (found, expected) => panic!("{found:?} {expected:?}"),
            }
        }
        let many = (0..1_001).map(|number| (format!("x-{number}"), String::new())).collect();
        assert!(response_head(200, many).is_err());
    }

    #[test]
    fn moments_and_indices_from_outside() {
        let alarm = |alarm_ts| event(Event::SetAlarm { alarm_ts });
        assert_eq!(alarm(Some(-1)), message::Event::SetAlarm(Some(0)));
        assert_eq!(alarm(Some(i64::MAX)), message::Event::SetAlarm(Some(i64::MAX as u64)));
        assert_eq!(alarm(None), message::Event::SetAlarm(None));
        let actor = Id::new([1; 16], 1);
        let at = |actor_id: String, index| checkpoint(&ActorCheckpoint { actor_id, generation: 1, index });
        assert_eq!(at(actor.to_string(), 3), Ok(Some(Checkpoint { actor, generation: 1, index: 3 })));
        assert_eq!(at(actor.to_string(), -1), Ok(None));
        assert!(at("x".to_string(), 0).is_err());
    }
}
