//! Makes a runner's messages up: every one there is, with hostile content, about actors and requests that there are or are not.

use bytes::Bytes;
use fastrand::Rng;
use protocol::id::{ActorId, Id, RequestId};
use protocol::wire::actor::{ActorCheckpoint, ActorIntent, ActorName, ActorState, Event, EventWrapper, StopCode};
use protocol::wire::envoy::ToRivet;
use protocol::wire::kv::{KvListQuery, KvRequestData};
use protocol::wire::sqlite::*;
use protocol::wire::tunnel::{AbortReason, MessageId, StreamId, ToRivetTunnel};

use crate::runners::to_wire;

/// Makes messages up, about what there is and what there is not.
pub struct Tongue<'a> {
    pub random: &'a mut Rng,
    pub started: &'a [(ActorId, u32)],
    pub requests: &'a [RequestId],
    /// Another runner's.
    pub good: ActorId,
}

impl Tongue<'_> {
    fn number(&mut self) -> u64 {
        let edges = [0, 1, 2, 3, 64, 255, 65_535, u32::MAX.into(), i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX];
        match self.random.u8(..3) {
            0 => self.random.u64(..),
            _ => edges[self.random.usize(..edges.len())],
        }
    }

    fn text(&mut self) -> String {
        let texts =
            ["", "a", "content-type", "a b", "x\r\ny: z", "\0", "ä", "transfer-encoding", "connection", "{}", "[1]", "{\"a\":1}"];
        match self.random.u8(..40) {
            0 => "x".repeat(70_000),
            _ => texts[self.random.usize(..texts.len())].to_string(),
        }
    }

    fn bytes(&mut self) -> Bytes {
        let length = match self.random.u8(..40) {
            0 => 200_000,
            1 => 4_096,
            _ => self.random.usize(..20),
        };
        Bytes::from(vec![self.random.u8(..3); length])
    }

    /// Mostly few.
    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let count = match self.random.u8(..60) {
            0 => 1_500,
            1 => 130,
            _ => self.random.usize(..4),
        };
        (0..count).map(|_| item(self)).collect()
    }

    fn maybe<T>(&mut self, item: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.random.u8(..4) == 0 { None } else { Some(item(self)) }
    }

    fn actor(&mut self) -> (String, u32) {
        match self.random.u8(..12) {
            0 => (self.text(), 1),
            1 => (Id::new([self.random.u8(..); 16], 1).to_string(), 1),
            2 => (Id::new([9; 16], u16::MAX).to_string(), u32::MAX),
            3 => (self.good.to_string(), self.random.u32(..4)),
            _ => match self.random.choice(self.started) {
                Some((actor, generation)) => (actor.to_string(), *generation),
                None => (self.good.to_string(), 1),
            },
        }
    }

    fn checkpoint(&mut self) -> ActorCheckpoint {
        let (actor_id, generation) = match self.random.u8(..200) {
            0 => self.actor(),
            // One that is no id ends the connection, which would be too often.
            _ => loop {
                let actor = self.actor();
                if actor.0.parse::<ActorId>().is_ok() {
                    break actor;
                }
            },
        };
        let generation = if self.random.u8(..10) == 0 { self.number() as u32 } else { generation };
        let index = if self.random.u8(..3) == 0 { self.number() as i64 } else { self.random.i64(..50) };
        ActorCheckpoint { actor_id, generation, index }
    }

    fn event(&mut self) -> EventWrapper {
        let inner = match self.random.u8(..8) {
            0 => Event::Intent { intent: ActorIntent::Sleep },
            1 => Event::Intent { intent: ActorIntent::Stop },
            2 => Event::StateUpdate { state: ActorState::Stopped { code: StopCode::Ok, message: None } },
            3 => {
                let message = self.maybe(Self::text);
                Event::StateUpdate { state: ActorState::Stopped { code: StopCode::Error, message } }
            }
            4 => Event::SetAlarm { alarm_ts: self.maybe(|tongue| tongue.number() as i64) },
            _ => Event::StateUpdate { state: ActorState::Running },
        };
        EventWrapper { checkpoint: self.checkpoint(), inner }
    }

    fn kv(&mut self) -> KvRequestData {
        match self.random.u8(..6) {
            0 => KvRequestData::Get { keys: self.list(Self::bytes) },
            1 => {
                let query = match self.random.u8(..3) {
                    0 => KvListQuery::All,
                    1 => KvListQuery::Range { start: self.bytes(), end: self.bytes(), exclusive: self.random.bool() },
                    _ => KvListQuery::Prefix { key: self.bytes() },
                };
                let (reverse, limit) = (self.maybe(|tongue| tongue.random.bool()), self.maybe(Self::number));
                KvRequestData::List { query, reverse, limit }
            }
            2 => KvRequestData::Put { keys: self.list(Self::bytes), values: self.list(Self::bytes) },
            3 => KvRequestData::Delete { keys: self.list(Self::bytes) },
            4 => KvRequestData::DeleteRange { start: self.bytes(), end: self.bytes() },
            _ => KvRequestData::Drop,
        }
    }

    fn message_id(&mut self) -> MessageId {
        let stream = match self.random.choice(self.requests) {
            Some(request) if self.random.u8(..5) > 0 => to_wire::stream(*request),
            _ => StreamId { gateway_id: [self.random.u8(..); 4], request_id: [self.random.u8(..); 4] },
        };
        let index = if self.random.bool() { self.random.u16(..3) } else { self.random.u16(..) };
        MessageId { stream, index }
    }

    fn tunnel(&mut self) -> ToRivetTunnel {
        match self.random.u8(..9) {
            0 => {
                let status = if self.random.bool() { 200 } else { self.number() as u16 };
                let headers = self.list(|tongue| (tongue.text(), tongue.text()));
                ToRivetTunnel::ResponseStart { status, headers, body: self.maybe(Self::bytes), stream: self.random.bool() }
            }
            1 => ToRivetTunnel::ResponseChunk { body: self.bytes(), finish: self.random.bool() },
            2 => ToRivetTunnel::ResponseAbort { reason: AbortReason { kind: Default::default(), detail: self.maybe(Self::text) } },
            3 => ToRivetTunnel::RequestBodyWindowUpdate { consumed_bytes: self.number() },
            4 => ToRivetTunnel::RequestBodyCancel,
            5 => ToRivetTunnel::WebSocketOpen { can_hibernate: self.random.bool() },
            6 => ToRivetTunnel::WebSocketMessage { data: self.bytes(), binary: self.random.bool() },
            7 => ToRivetTunnel::WebSocketMessageAck { index: self.number() as u16 },
            _ => {
                let code = self.maybe(|tongue| tongue.number() as u16);
                ToRivetTunnel::WebSocketClose { code, reason: self.maybe(Self::text), hibernate: self.random.bool() }
            }
        }
    }

    fn page(&mut self) -> SqliteDirtyPage {
        let pgno = if self.random.u8(..4) == 0 { self.number() as u32 } else { self.random.u32(1..70) };
        let bytes = if self.random.u8(..8) == 0 { self.bytes() } else { Bytes::from(vec![7; 4_096]) };
        SqliteDirtyPage { pgno, bytes }
    }

    fn sql(&mut self) -> String {
        let statements = [
            "create table if not exists t (a, b)",
            "insert into t values (1, 'x')",
            "select * from t limit 9",
            "select",
            "pragma journal_mode = wal",
            "attach 'x' as y",
            "begin",
            "vacuum",
            "select ?1, ?900",
            "select zeroblob(100000)",
            "\0",
            "",
        ];
        statements[self.random.usize(..statements.len())].to_string()
    }

    fn value(&mut self) -> SqliteValue {
        match self.random.u8(..5) {
            0 => SqliteValue::Null,
            1 => SqliteValue::Integer { value: self.number() as i64 },
            2 => SqliteValue::Float { value: self.number().to_be_bytes() },
            3 => SqliteValue::Text { value: self.text() },
            _ => SqliteValue::Blob { value: self.bytes() },
        }
    }

    fn database(&mut self) -> ToRivet {
        let request_id = self.number() as u32;
        let (actor_id, generation) = self.actor();
        let expected_generation = self.maybe(|_| u64::from(generation));
        let expected_head_txid = if self.random.bool() { None } else { Some(self.number()) };
        let (namespace_id, generation) = ("default".to_string(), u64::from(generation));
        match self.random.u8(..8) {
            0 => {
                let pgnos = self.list(|tongue| tongue.number() as u32);
                ToRivet::SqliteGetPages {
                    request_id,
                    data: SqliteGetPages { actor_id, pgnos, expected_generation, expected_head_txid },
                }
            }
            1 => {
                let (dirty_pages, db_size_pages) = (self.list(Self::page), self.number() as u32);
                let now_ms = self.number() as i64;
                let data = SqliteCommit { actor_id, dirty_pages, db_size_pages, now_ms, expected_generation, expected_head_txid };
                ToRivet::SqliteCommit { request_id, data }
            }
            2 => ToRivet::SqliteStageBegin {
                request_id,
                data: SqliteStageBegin { actor_id, expected_generation, expected_head_txid },
            },
            3 => {
                let (txid, first_pgno) = (self.random.u64(..4), self.random.u32(..4) * 64);
                let dirty_pages = self.list(Self::page);
                let data = SqliteStageSegment { actor_id, expected_generation, txid, first_pgno, dirty_pages };
                ToRivet::SqliteStageSegment { request_id, data }
            }
            4 => {
                let (txid, new_db_size_pages) = (self.random.u64(..4), self.number() as u32);
                let segment_first_pgnos = self.list(|tongue| tongue.random.u32(..4) * 64);
                let data =
                    SqliteFinalize { actor_id, expected_generation, txid, new_db_size_pages, now_ms: 0, segment_first_pgnos };
                ToRivet::SqliteFinalize { request_id, data }
            }
            5 => ToRivet::SqliteExec { request_id, data: SqliteExec { namespace_id, actor_id, generation, sql: self.sql() } },
            6 => {
                let (sql, params) = (self.sql(), self.maybe(|tongue| tongue.list(Self::value)));
                ToRivet::SqliteExecute { request_id, data: SqliteExecute { namespace_id, actor_id, generation, sql, params } }
            }
            _ => {
                let statement = |tongue: &mut Self| SqliteStatement { sql: tongue.sql(), params: None };
                let statements = (0..3).map(|_| statement(self)).collect();
                let data = SqliteExecuteBatch { namespace_id, actor_id, generation, statements };
                ToRivet::SqliteExecuteBatch { request_id, data }
            }
        }
    }

    pub fn message(&mut self) -> ToRivet {
        match self.random.u8(..20) {
            0 => ToRivet::Metadata {
                prepopulate_actor_names: self
                    .maybe(|tongue| tongue.list(|tongue| (tongue.text(), ActorName { metadata: tongue.text() }))),
                metadata: self.maybe(Self::text),
            },
            1..7 => ToRivet::Events { events: self.list(Self::event) },
            7..9 => ToRivet::AckCommands { last_command_checkpoints: self.list(Self::checkpoint) },
            9 if self.random.u8(..30) == 0 => ToRivet::Stopping,
            10 => ToRivet::Pong { ts: self.number() as i64 },
            11..14 => {
                let (actor_id, _) = self.actor();
                ToRivet::KvRequest { actor_id, request_id: self.number() as u32, data: self.kv() }
            }
            14..17 => self.database(),
            _ => ToRivet::Tunnel { message_id: self.message_id(), message: self.tunnel() },
        }
    }
}
