//! Bytes of envoy protocol 8 that were recorded between the original engine and its client, and what they mean; and, written by
//! hand from their schemas, bytes of the older versions that no published codec speaks.

use super::examples::*;
use super::{Message, decode, dialects, encode, hex, unhex};
use crate::wire::actor::*;
use crate::wire::envoy::*;
use crate::wire::kv::*;
use crate::wire::sqlite::*;
use crate::wire::tunnel::*;

const NEWEST: &[&str] = &["envoy protocol 8"];

/// In each of these versions. `<ID>` stands for the actor's id with its length before it.
fn check(versions: &[&str], bytes: &str, message: impl Into<Message>) {
    let message = message.into();
    for version in versions {
        let dialect = dialects().find(|dialect| dialect.to_string() == *version).expect("a version that is spoken here");
        let bytes = bytes_of(bytes);
        assert_eq!(decode(dialect, message.to(), bytes.clone()), Ok(message.clone()), "{version}");
        assert_eq!(encode(dialect, &message), Some(Ok(bytes)), "{version}");
    }
}

fn bytes_of(text: &str) -> bytes::Bytes {
    unhex(&text.replace("<ID>", &format!("1e{}", hex(ACTOR.as_bytes()))))
}

#[test]
fn an_envoy_introduces_itself() {
    let names = vec![("test".to_owned(), ActorName { metadata: "{}".into() })];
    check(NEWEST, "00 00 00", ToRivet::Metadata { prepopulate_actor_names: None, metadata: None });
    check(
        NEWEST,
        "00 01 01 0474657374 027b7d 01 027b7d",
        ToRivet::Metadata { prepopulate_actor_names: Some(names), metadata: Some("{}".into()) },
    );
    check(
        NEWEST,
        "00 983a000000000000 40771b0000000000 0000400100000000",
        ToEnvoy::Init {
            metadata: ProtocolMetadata {
                envoy_lost_threshold: 15_000,
                actor_stop_threshold: 1_800_000,
                max_response_payload_size: 20_971_520,
            },
        },
    );
}

#[test]
fn events() {
    let stopped = ActorState::Stopped { code: StopCode::Error, message: Some("boom".into()) };
    let rows = [
        ("01 01 <ID> 01000000 0000000000000000 01 00", 0, Event::StateUpdate { state: ActorState::Running }),
        ("01 01 <ID> 01000000 0300000000000000 01 01 01 01 04626f6f6d", 3, Event::StateUpdate { state: stopped }),
        ("01 01 <ID> 01000000 0200000000000000 00 00", 2, Event::Intent { intent: ActorIntent::Sleep }),
        ("01 01 <ID> 01000000 0100000000000000 02 01 98e0f7fea1010000", 1, Event::SetAlarm { alarm_ts: Some(1_795_279_020_184) }),
    ];
    for (bytes, index, inner) in rows {
        check(NEWEST, bytes, ToRivet::Events { events: vec![event(1, index, inner)] });
    }
}

#[test]
fn commands() {
    let start = StartActor {
        config: ActorConfig {
            name: "counter".into(),
            key: Some("k1".into()),
            create_ts: 1_795_279_012_869,
            input: Some(data("hello")),
        },
        hibernating_requests: vec![],
        preloaded_kv: None,
    };
    let rows = [
        (
            "01 01 <ID> 01000000 0100000000000000 00 07636f756e746572 01 026b31 05c4f7fea1010000 01 0568656c6c6f 00 00",
            checkpoint(1, 1),
            Command::StartActor { start },
        ),
        (
            "01 01 <ID> 01000000 0200000000000000 01 00",
            checkpoint(1, 2),
            Command::StopActor { reason: StopActorReason::SleepIntent },
        ),
        ("01 01 <ID> 02000000 0200000000000000 01 02", checkpoint(2, 2), Command::StopActor { reason: StopActorReason::Destroy }),
    ];
    for (bytes, checkpoint, inner) in rows {
        check(NEWEST, bytes, ToEnvoy::Commands { commands: vec![CommandWrapper { checkpoint, inner }] });
    }
    let last_command_checkpoints = vec![checkpoint(1, 1)];
    check(NEWEST, "02 01 <ID> 01000000 0100000000000000", ToRivet::AckCommands { last_command_checkpoints });
}

#[test]
fn liveness() {
    check(NEWEST, "03", ToRivet::Stopping);
    check(NEWEST, "04 0cc4f7fea1010000", ToRivet::Pong { ts: 1_795_279_012_876 });
    check(NEWEST, "05 8cc0f7fea1010000", ToEnvoy::Ping { ts: 1_795_279_011_980 });
}

#[test]
fn keys_and_values() {
    let list = KvRequestData::List { query: KvListQuery::Prefix { key: data("a") }, reverse: Some(true), limit: Some(10) };
    let rows = [
        ("05 <ID> 01000000 02 01 0161 01 0131", 1, KvRequestData::Put { keys: vec![data("a")], values: vec![data("1")] }),
        ("05 <ID> 02000000 01 02 0161 01 01 01 0a00000000000000", 2, list),
    ];
    for (bytes, request_id, data) in rows {
        check(NEWEST, bytes, ToRivet::KvRequest { actor_id: ACTOR.into(), request_id, data });
    }
    check(NEWEST, "03 01000000 03", ToEnvoy::KvResponse { request_id: 1, data: KvResponseData::Put });
}

#[test]
fn tunnel() {
    let start =
        ToRivetTunnel::ResponseStart { status: 201, headers: headers(&[("x-a", "b")]), body: Some(data("hi")), stream: false };
    let close = ToRivetTunnel::WebSocketClose { code: Some(1000), reason: Some("x".into()), hibernate: false };
    let rows = [
        ("06 6d2d02ec 87b6ac67 0000 00 c900 01 03782d61 0162 01 026869 00", start),
        ("06 6d2d02ec 87b6ac67 0000 05 01", ToRivetTunnel::WebSocketOpen { can_hibernate: true }),
        ("06 6d2d02ec 87b6ac67 0000 08 01 e803 01 0178 00", close),
    ];
    for (bytes, message) in rows {
        check(NEWEST, bytes, ToRivet::Tunnel { message_id: MessageId { stream: STREAM, index: 0 }, message });
    }
}

#[test]
fn databases() {
    let get = SqliteGetPages { actor_id: ACTOR.into(), pgnos: vec![1, 2], expected_generation: Some(1), expected_head_txid: None };
    let commit = SqliteCommit {
        actor_id: ACTOR.into(),
        dirty_pages: vec![],
        db_size_pages: 1,
        now_ms: 0,
        expected_generation: Some(1),
        expected_head_txid: Some(0),
    };
    check(
        NEWEST,
        "07 07000000 <ID> 02 01000000 02000000 01 0100000000000000 00",
        ToRivet::SqliteGetPages { request_id: 7, data: get },
    );
    check(
        NEWEST,
        "08 08000000 <ID> 00 01000000 0000000000000000 01 0100000000000000 01 0000000000000000",
        ToRivet::SqliteCommit { request_id: 8, data: commit },
    );
}

#[test]
fn databases_before_errors_had_codes() {
    let old = ["envoy protocol 3", "envoy protocol 4"];
    let error = || SqliteError { group: "core".into(), code: "internal_error".into(), message: "no".into() };
    let got = SqliteGetPagesOk { pages: vec![SqliteFetchedPage { pgno: 1, bytes: Some(data("p")) }], head_txid: None };
    let committed = |result| ToEnvoy::SqliteCommit { request_id: 8, result };
    check(&old, "07 08000000 00", committed(Ok(SqliteCommitOk { head_txid: None })));
    check(&old, "07 08000000 01 026e6f", committed(Err(error())));
    check(&old, "06 07000000 00 01 01000000 01 0170", ToEnvoy::SqliteGetPages { request_id: 7, result: Ok(got) });
    let exec = SqliteExec { namespace_id: "n".into(), actor_id: "a".into(), generation: 1, sql: "s".into() };
    check(
        &["envoy protocol 4", "envoy protocol 5", "envoy protocol 6"],
        "09 0c000000 016e 0161 0100000000000000 0173",
        ToRivet::SqliteExec { request_id: 12, data: exec.clone() },
    );
    check(&["envoy protocol 7"], "0c 0c000000 016e 0161 0100000000000000 0173", ToRivet::SqliteExec { request_id: 12, data: exec });
    check(&["envoy protocol 4"], "08 0c000000 01 026e6f", ToEnvoy::SqliteExec { request_id: 12, result: Err(error()) });
    check(&["envoy protocol 5"], "07 08000000 00 01 0a00000000000000", committed(Ok(SqliteCommitOk { head_txid: Some(10) })));
}

#[test]
fn the_tunnel_before_bodies_had_windows() {
    let old = ["envoy protocol 3", "envoy protocol 4", "envoy protocol 5", "envoy protocol 7", "runner protocol 4"];
    let message_id = MessageId { stream: STREAM, index: 0 };
    let up = |message| ToRivet::Tunnel { message_id, message };
    let down = |message| ToEnvoy::Tunnel { message_id, message };
    let unknown = || AbortReason { kind: AbortKind::Unknown, detail: None };
    check(&old, "06 6d2d02ec 87b6ac67 0000 02", up(ToRivetTunnel::ResponseAbort { reason: unknown() }));
    check(&old, "06 6d2d02ec 87b6ac67 0000 03 01", up(ToRivetTunnel::WebSocketOpen { can_hibernate: true }));
    check(
        &old,
        "04 6d2d02ec 87b6ac67 0000 02",
        down(ToEnvoyTunnel::RequestAbort { actor_id: None, actor_generation: None, reason: unknown() }),
    );
    check(
        &old,
        "04 6d2d02ec 87b6ac67 0000 03 0161 012f 00",
        down(ToEnvoyTunnel::WebSocketOpen { actor_id: "a".into(), actor_generation: None, path: "/".into(), headers: vec![] }),
    );
}

#[test]
fn runner_protocol_4_says_the_generation_in_the_body() {
    let old = ["runner protocol 4"];
    let one = |inner| ToRivet::Events { events: vec![event(2, 5, inner)] };
    let rows = [
        ("01 01 <ID> 0500000000000000 00 <ID> 02000000 01", Event::Intent { intent: ActorIntent::Stop }),
        ("01 01 <ID> 0500000000000000 01 <ID> 02000000 00", Event::StateUpdate { state: ActorState::Running }),
        ("01 01 <ID> 0500000000000000 02 <ID> 02000000 00", Event::SetAlarm { alarm_ts: None }),
    ];
    for (bytes, inner) in rows {
        check(&old, bytes, one(inner));
    }
    let config = ActorConfig { name: "n".into(), key: None, create_ts: 1, input: None };
    let start = StartActor { config, hibernating_requests: vec![STREAM], preloaded_kv: None };
    let rows = [
        ("01 01 <ID> 0100000000000000 00 02000000 016e 00 0100000000000000 00 01 6d2d02ec 87b6ac67", Command::StartActor { start }),
        ("01 01 <ID> 0100000000000000 01 02000000", Command::StopActor { reason: StopActorReason::StopIntent }),
    ];
    for (bytes, inner) in rows {
        let command = CommandWrapper { checkpoint: checkpoint(2, 1), inner };
        check(&old, bytes, ToEnvoy::Commands { commands: vec![command] });
    }
    let last_command_checkpoints = vec![checkpoint(0, 1)];
    check(&old, "02 01 <ID> 0100000000000000", ToRivet::AckCommands { last_command_checkpoints });
    check(&old, "05 0161 01000000 04", ToRivet::KvRequest { actor_id: "a".into(), request_id: 1, data: KvRequestData::Drop });
}
