//! Every message, every member of what they carry, and every field both present and absent. The fixtures hold the same values
//! under the same names; change them together.

use std::mem::{Discriminant, discriminant};

use bytes::Bytes;

use super::Message;
use crate::wire::actor::*;
use crate::wire::envoy::*;
use crate::wire::kv::*;
use crate::wire::runner::{ClientInit, ServerInit};
use crate::wire::sqlite::*;
use crate::wire::tunnel::*;

pub const ACTOR: &str = "a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5";
pub const STREAM: StreamId = StreamId { gateway_id: [0x6d, 0x2d, 0x02, 0xec], request_id: [0x87, 0xb6, 0xac, 0x67] };

type Row = (String, Message);

pub fn all() -> Vec<Row> {
    let groups = [life(), commands(), kv_requests(), kv_responses(), tunnel_to_rivet(), tunnel_to_envoy(), pages(), stages()];
    groups.into_iter().flatten().chain(remote()).chain(introductions()).collect()
}

pub fn checkpoint(generation: u32, index: i64) -> ActorCheckpoint {
    ActorCheckpoint { actor_id: ACTOR.into(), generation, index }
}

pub fn event(generation: u32, index: i64, inner: Event) -> EventWrapper {
    EventWrapper { checkpoint: checkpoint(generation, index), inner }
}

pub fn headers(rows: &[(&str, &str)]) -> Vec<(String, String)> {
    rows.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

pub fn data(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn datas(texts: &[&str]) -> Vec<Bytes> {
    texts.iter().map(|text| data(text)).collect()
}

fn up(name: &str, message: ToRivet) -> Row {
    (name.into(), Message::ToRivet(message))
}

fn down(name: &str, message: ToEnvoy) -> Row {
    (name.into(), Message::ToEnvoy(message))
}

fn names() -> Option<Vec<(String, ActorName)>> {
    let name = |name: &str, metadata: &str| (name.to_owned(), ActorName { metadata: metadata.into() });
    Some(vec![name("test", "{}"), name("counter", "{\"icon\":\"☃\"}")])
}

fn life() -> Vec<Row> {
    let stopped =
        |code, message: Option<&str>| Event::StateUpdate { state: ActorState::Stopped { code, message: message.map(Into::into) } };
    let events = vec![
        event(1, 0, Event::StateUpdate { state: ActorState::Running }),
        event(1, 1, Event::SetAlarm { alarm_ts: Some(1_795_279_020_184) }),
        event(1, 2, Event::SetAlarm { alarm_ts: None }),
        event(1, 3, Event::Intent { intent: ActorIntent::Sleep }),
        event(2, 4, Event::Intent { intent: ActorIntent::Stop }),
        event(2, 5, stopped(StopCode::Ok, None)),
        event(u32::MAX, i64::MAX, stopped(StopCode::Error, Some("boom"))),
    ];
    let checkpoints = vec![checkpoint(1, 1), checkpoint(7, -1)];
    vec![
        up("metadata_none", ToRivet::Metadata { prepopulate_actor_names: None, metadata: None }),
        up("metadata", ToRivet::Metadata { prepopulate_actor_names: names(), metadata: Some("{\"rivetkit\":1}".into()) }),
        up("events_none", ToRivet::Events { events: vec![] }),
        up("events", ToRivet::Events { events }),
        up("ack_commands", ToRivet::AckCommands { last_command_checkpoints: checkpoints.clone() }),
        up("stopping", ToRivet::Stopping),
        up("pong", ToRivet::Pong { ts: 1_795_279_012_876 }),
        down("ack_events", ToEnvoy::AckEvents { last_event_checkpoints: checkpoints }),
        down("ping", ToEnvoy::Ping { ts: i64::MIN }),
    ]
}

fn commands() -> Vec<Row> {
    let stop = |reason| Command::StopActor { reason };
    let config = |key: Option<&str>, input: Option<&str>| ActorConfig {
        name: "counter".into(),
        key: key.map(Into::into),
        create_ts: 1_795_279_012_869,
        input: input.map(data),
    };
    let entry = |key: &str| PreloadedKvEntry { key: data(key), value: data("v"), metadata: kv_metadata(5) };
    let preloaded_kv = PreloadedKv {
        entries: vec![entry("a"), entry("b")],
        requested_get_keys: datas(&["a", "zz"]),
        requested_prefixes: datas(&["b"]),
    };
    let bare = StartActor { config: config(None, None), hibernating_requests: vec![], preloaded_kv: None };
    let full = StartActor {
        config: config(Some("k1"), Some("hello")),
        hibernating_requests: vec![STREAM, StreamId { gateway_id: [0; 4], request_id: [255; 4] }],
        preloaded_kv: Some(preloaded_kv),
    };
    let inner = [
        Command::StartActor { start: bare },
        Command::StartActor { start: full },
        stop(StopActorReason::SleepIntent),
        stop(StopActorReason::StopIntent),
        stop(StopActorReason::Destroy),
        stop(StopActorReason::GoingAway),
        stop(StopActorReason::Lost),
    ];
    let commands = (1..).zip(inner).map(|(index, inner)| CommandWrapper { checkpoint: checkpoint(3, index), inner }).collect();
    vec![down("commands_none", ToEnvoy::Commands { commands: vec![] }), down("commands", ToEnvoy::Commands { commands })]
}

fn kv_metadata(update_ts: i64) -> KvMetadata {
    KvMetadata { version: data("2.3.19"), update_ts }
}

fn kv_requests() -> Vec<Row> {
    let list = |query, reverse, limit| KvRequestData::List { query, reverse, limit };
    let range = KvListQuery::Range { start: data("a"), end: data("c"), exclusive: true };
    let rows = [
        ("kv_get", KvRequestData::Get { keys: datas(&["b", "", "a"]) }),
        ("kv_list_all", list(KvListQuery::All, None, None)),
        ("kv_list_range", list(range, Some(false), Some(u64::MAX))),
        ("kv_list_prefix", list(KvListQuery::Prefix { key: data("a") }, Some(true), Some(10))),
        ("kv_put", KvRequestData::Put { keys: datas(&["a", "b"]), values: datas(&["1", ""]) }),
        ("kv_delete", KvRequestData::Delete { keys: datas(&["a"]) }),
        ("kv_delete_range", KvRequestData::DeleteRange { start: data("a"), end: data("b") }),
        ("kv_drop", KvRequestData::Drop),
    ];
    let request = |data| ToRivet::KvRequest { actor_id: ACTOR.into(), request_id: 1, data };
    rows.into_iter().map(|(name, data)| up(name, request(data))).collect()
}

fn kv_responses() -> Vec<Row> {
    let (keys, values, metadata) = (datas(&["b", "a"]), datas(&["", "1"]), vec![kv_metadata(1), kv_metadata(-1)]);
    let rows = [
        ("kv_error", KvResponseData::Error { message: "no".into() }),
        ("kv_got", KvResponseData::Get { keys: keys.clone(), values: values.clone(), metadata: metadata.clone() }),
        ("kv_listed", KvResponseData::List { keys, values, metadata }),
        ("kv_was_put", KvResponseData::Put),
        ("kv_deleted", KvResponseData::Delete),
        ("kv_dropped", KvResponseData::Drop),
    ];
    rows.into_iter().map(|(name, data)| down(name, ToEnvoy::KvResponse { request_id: 7, data })).collect()
}

fn tunnel_to_rivet() -> Vec<Row> {
    let start = |status, rows: &[(&str, &str)], body: Option<&str>, stream| ToRivetTunnel::ResponseStart {
        status,
        headers: headers(rows),
        body: body.map(data),
        stream,
    };
    let reason = AbortReason { kind: AbortKind::HandlerError, detail: Some("it broke".into()) };
    let close =
        |code, reason: Option<&str>, hibernate| ToRivetTunnel::WebSocketClose { code, reason: reason.map(Into::into), hibernate };
    let rows = [
        ("response_start", start(201, &[("x-a", "b"), ("a", "")], Some("hi"), false)),
        ("response_start_stream", start(200, &[], None, true)),
        ("response_chunk", ToRivetTunnel::ResponseChunk { body: data("chunk"), finish: true }),
        ("response_abort", ToRivetTunnel::ResponseAbort { reason }),
        ("request_window", ToRivetTunnel::RequestBodyWindowUpdate { consumed_bytes: 65_536 }),
        ("request_cancel", ToRivetTunnel::RequestBodyCancel),
        ("ws_opened", ToRivetTunnel::WebSocketOpen { can_hibernate: true }),
        ("ws_message_up", ToRivetTunnel::WebSocketMessage { data: data("text"), binary: false }),
        ("ws_ack", ToRivetTunnel::WebSocketMessageAck { index: 65_535 }),
        ("ws_close_up", close(Some(1000), Some("x"), false)),
        ("ws_close_up_hibernate", close(None, None, true)),
    ];
    let message_id = MessageId { stream: STREAM, index: 258 };
    rows.into_iter().map(|(name, message)| up(name, ToRivet::Tunnel { message_id, message })).collect()
}

fn tunnel_to_envoy() -> Vec<Row> {
    let start = |actor_generation, body: Option<&str>, stream| ToEnvoyTunnel::RequestStart {
        actor_id: ACTOR.into(),
        actor_generation,
        method: "POST".into(),
        path: "/foo/bar?x=1".into(),
        headers: headers(&[("host", "example.com"), ("x-a", "b")]),
        body: body.map(data),
        stream,
        response_stream: stream,
    };
    let abort = |actor_id: Option<&str>, actor_generation, kind| ToEnvoyTunnel::RequestAbort {
        actor_id: actor_id.map(Into::into),
        actor_generation,
        reason: AbortReason { kind, detail: None },
    };
    let open = |actor_generation| ToEnvoyTunnel::WebSocketOpen {
        actor_id: ACTOR.into(),
        actor_generation,
        path: "/ws".into(),
        headers: headers(&[("sec-websocket-protocol", "rivet")]),
    };
    let rows = [
        ("request_start", start(None, Some("BODY"), false)),
        ("request_start_stream", start(Some(3), None, true)),
        ("request_chunk", ToEnvoyTunnel::RequestChunk { body: data(""), finish: false }),
        ("request_abort", abort(Some(ACTOR), Some(3), AbortKind::Cancelled)),
        ("request_abort_unknown", abort(None, None, AbortKind::Unknown)),
        ("request_abort_internal", abort(None, None, AbortKind::InternalError)),
        ("request_cancelled", ToEnvoyTunnel::RequestBodyCancel),
        ("response_window", ToEnvoyTunnel::ResponseBodyWindowUpdate { consumed_bytes: u64::MAX }),
        ("ws_open", open(None)),
        ("ws_open_exact", open(Some(3))),
        ("ws_message_down", ToEnvoyTunnel::WebSocketMessage { data: Bytes::from_static(&[0, 255, 128]), binary: true }),
        ("ws_close_down", ToEnvoyTunnel::WebSocketClose { code: Some(1011), reason: Some("ws.downstream_closed".into()) }),
        ("ws_close_down_bare", ToEnvoyTunnel::WebSocketClose { code: None, reason: None }),
    ];
    let message_id = MessageId { stream: STREAM, index: 0 };
    rows.into_iter().map(|(name, message)| down(name, ToEnvoy::Tunnel { message_id, message })).collect()
}

fn sqlite_error() -> SqliteError {
    SqliteError { group: "depot".into(), code: "database_not_found".into(), message: "not found".into() }
}

fn dirty_pages() -> Vec<SqliteDirtyPage> {
    vec![SqliteDirtyPage { pgno: 1, bytes: data("page one") }, SqliteDirtyPage { pgno: u32::MAX, bytes: data("") }]
}

fn pages() -> Vec<Row> {
    let get =
        SqliteGetPages { actor_id: ACTOR.into(), pgnos: vec![1, 2, 300], expected_generation: Some(1), expected_head_txid: None };
    let commit = SqliteCommit {
        actor_id: ACTOR.into(),
        dirty_pages: dirty_pages(),
        db_size_pages: 5,
        now_ms: 1_795_279_012_876,
        expected_generation: None,
        expected_head_txid: Some(0),
    };
    let fetched = vec![SqliteFetchedPage { pgno: 1, bytes: Some(data("page one")) }, SqliteFetchedPage { pgno: 2, bytes: None }];
    let got = SqliteGetPagesOk { pages: fetched, head_txid: Some(9) };
    let committed = |head_txid| SqliteCommitOk { head_txid };
    vec![
        up("get_pages", ToRivet::SqliteGetPages { request_id: 7, data: get }),
        up("commit", ToRivet::SqliteCommit { request_id: 8, data: commit }),
        down("got_pages", ToEnvoy::SqliteGetPages { request_id: 7, result: Ok(got) }),
        down("got_pages_error", ToEnvoy::SqliteGetPages { request_id: 7, result: Err(sqlite_error()) }),
        down("committed", ToEnvoy::SqliteCommit { request_id: 8, result: Ok(committed(Some(10))) }),
        down("committed_bare", ToEnvoy::SqliteCommit { request_id: 8, result: Ok(committed(None)) }),
        down("committed_error", ToEnvoy::SqliteCommit { request_id: 8, result: Err(sqlite_error()) }),
    ]
}

fn stages() -> Vec<Row> {
    let begin = SqliteStageBegin { actor_id: ACTOR.into(), expected_generation: Some(1), expected_head_txid: Some(4) };
    let segment = SqliteStageSegment {
        actor_id: ACTOR.into(),
        expected_generation: Some(1),
        txid: 5,
        first_pgno: 64,
        dirty_pages: dirty_pages(),
    };
    let finalize = SqliteFinalize {
        actor_id: ACTOR.into(),
        expected_generation: Some(1),
        txid: 5,
        new_db_size_pages: 128,
        now_ms: 1_795_279_012_876,
        segment_first_pgnos: vec![0, 64],
    };
    let (begun, staged) = (SqliteStageBeginOk { txid: 5 }, SqliteStageSegmentOk { staged_bytes: 4096 });
    let finalized = SqliteCommitOk { head_txid: Some(5) };
    vec![
        up("stage_begin", ToRivet::SqliteStageBegin { request_id: 9, data: begin }),
        up("stage_segment", ToRivet::SqliteStageSegment { request_id: 10, data: segment }),
        up("finalize", ToRivet::SqliteFinalize { request_id: 11, data: finalize }),
        down("stage_begun", ToEnvoy::SqliteStageBegin { request_id: 9, result: Ok(begun) }),
        down("stage_begun_error", ToEnvoy::SqliteStageBegin { request_id: 9, result: Err(sqlite_error()) }),
        down("staged", ToEnvoy::SqliteStageSegment { request_id: 10, result: Ok(staged) }),
        down("staged_error", ToEnvoy::SqliteStageSegment { request_id: 10, result: Err(sqlite_error()) }),
        down("finalized", ToEnvoy::SqliteFinalize { request_id: 11, result: Ok(finalized) }),
        down("finalized_error", ToEnvoy::SqliteFinalize { request_id: 11, result: Err(sqlite_error()) }),
    ]
}

fn remote() -> Vec<Row> {
    let (namespace_id, actor_id, generation) = (|| "default".to_owned(), || ACTOR.to_owned(), 1);
    let values = vec![
        SqliteValue::Null,
        SqliteValue::Integer { value: -3 },
        SqliteValue::Float { value: 1.5f64.to_be_bytes() },
        SqliteValue::Text { value: "täxt".into() },
        SqliteValue::Blob { value: Bytes::from_static(&[0, 1]) },
    ];
    let (sql, params) = (|| "select ?".to_owned(), Some(values.clone()));
    let statement = |params| SqliteStatement { sql: sql(), params };
    let exec = SqliteExec { namespace_id: namespace_id(), actor_id: actor_id(), generation, sql: sql() };
    let execute = |params| SqliteExecute { namespace_id: namespace_id(), actor_id: actor_id(), generation, sql: sql(), params };
    let statements = vec![statement(params.clone()), statement(None)];
    let batch = SqliteExecuteBatch { namespace_id: namespace_id(), actor_id: actor_id(), generation, statements };
    let (columns, rows) = (vec!["a".to_owned(), "b".to_owned()], vec![values, vec![]]);
    let executed =
        |last_insert_row_id| SqliteExecuteOk { columns: columns.clone(), rows: rows.clone(), changes: 2, last_insert_row_id };
    let (one, two) = (executed(Some(12)), executed(None));
    let exec_ok = SqliteExecOk { columns: columns.clone(), rows: rows.clone() };
    vec![
        up("exec", ToRivet::SqliteExec { request_id: 12, data: exec }),
        up("execute", ToRivet::SqliteExecute { request_id: 13, data: execute(params) }),
        up("execute_bare", ToRivet::SqliteExecute { request_id: 13, data: execute(None) }),
        up("execute_batch", ToRivet::SqliteExecuteBatch { request_id: 14, data: batch }),
        down("exec_ok", ToEnvoy::SqliteExec { request_id: 12, result: Ok(exec_ok) }),
        down("exec_error", ToEnvoy::SqliteExec { request_id: 12, result: Err(sqlite_error()) }),
        down("execute_ok", ToEnvoy::SqliteExecute { request_id: 13, result: Ok(one.clone()) }),
        down("execute_error", ToEnvoy::SqliteExecute { request_id: 13, result: Err(sqlite_error()) }),
        down("execute_batch_ok", ToEnvoy::SqliteExecuteBatch { request_id: 14, result: Ok(vec![one, two]) }),
        down("execute_batch_error", ToEnvoy::SqliteExecuteBatch { request_id: 14, result: Err(sqlite_error()) }),
    ]
}

fn introductions() -> Vec<Row> {
    let metadata =
        ProtocolMetadata { envoy_lost_threshold: 15_000, actor_stop_threshold: 1_800_000, max_response_payload_size: 20_971_520 };
    let server = |prepopulate_actor_names, metadata| {
        Message::ServerInit(ServerInit { name: "pool".into(), version: 2, total_slots: 100, prepopulate_actor_names, metadata })
    };
    let client = |serverless_drain_grace_period| {
        Message::ClientInit(ClientInit {
            runner_id: ACTOR.into(),
            runner_lost_threshold: 15_000,
            actor_stop_threshold: 1_800_000,
            serverless_drain_grace_period,
        })
    };
    vec![
        down("init", ToEnvoy::Init { metadata }),
        ("server_init".into(), server(names(), Some("{}".into()))),
        ("server_init_bare".into(), server(None, None)),
        ("client_init".into(), client(Some(10_000))),
        ("client_init_bare".into(), client(None)),
    ]
}

#[test]
fn there_is_an_example_of_every_message() {
    fn kinds<T>(of: impl Iterator<Item = T>) -> usize {
        let mut seen: Vec<Discriminant<T>> = Vec::new();
        for kind in of.map(|message| discriminant(&message)) {
            if !seen.contains(&kind) {
                seen.push(kind);
            }
        }
        seen.len()
    }
    let all: Vec<Message> = all().into_iter().map(|(_, message)| message).collect();
    let up = || all.iter().filter_map(|message| if let Message::ToRivet(up) = message { Some(up.clone()) } else { None });
    let down = || all.iter().filter_map(|message| if let Message::ToEnvoy(down) = message { Some(down.clone()) } else { None });
    assert_eq!((kinds(up()), kinds(down())), (15, 14));
    let up_tunnel = up().filter_map(|up| if let ToRivet::Tunnel { message, .. } = up { Some(message) } else { None });
    let down_tunnel = down().filter_map(|down| if let ToEnvoy::Tunnel { message, .. } = down { Some(message) } else { None });
    assert_eq!((kinds(up_tunnel), kinds(down_tunnel)), (9, 8));
    let requests = up().filter_map(|up| if let ToRivet::KvRequest { data, .. } = up { Some(data) } else { None });
    let responses = down().filter_map(|down| if let ToEnvoy::KvResponse { data, .. } = down { Some(data) } else { None });
    assert_eq!((kinds(requests), kinds(responses)), (6, 6));
}
