//! What is on disk out there: keys and values of each version, as bytes.
//!
//! These rows are never changed. If one fails, a data directory that exists can no longer be read: keep the layout, or give the
//! record a new version that reads the old one (see `records.rs`), and add rows for it.

mod support;

use bytes::Bytes;
use engine_core::input::KeyRef;
use engine_core::record::{
    ActorError, ActorRecord, After, Alarm, AuditRecord, CrashPolicy, DatabaseHead, DeploymentRecord, HeldBack, NamespaceRecord,
    NamespaceUsage, PoolError, PoolKind, Quotas, Rate, Role, RunnerConfigRecord, RunnerRef, ServerlessConfig, Stop, StoredBytes,
    TokenRecord,
};
use protocol::database::PAGE_BYTES;
use protocol::id::{Id, Partition};
use protocol::message::{KvSpace, LogLevel, StopReason};
use rivet_engine_store::actor_logs::{Account, Chunk, LogEntry, LogSource, Place, Sums};
use rivet_engine_store::keys::{self, Kind};
use rivet_engine_store::records::{self, Record};
use rivet_engine_store::{Rocks, StoreError};

#[path = "layout/deployments.rs"]
mod deployments;
#[path = "layout/recordings.rs"]
mod recordings;

fn id(seed: u8) -> Id {
    Id::new([seed; 16], 1).in_partition(Partition::new(5).expect("5 is below 64"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Bytes {
    let text: String = text.split_whitespace().collect();
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).expect("a fixture is hex")).collect()
}

fn same(what: &str, found: &[u8], fixture: &str) {
    assert_eq!(hex(found), hex(&unhex(fixture)), "{what}: the layout on disk has changed");
}

fn check<R: Record + PartialEq + std::fmt::Debug>(what: &str, record: &R, fixture: &str) {
    same(what, &records::encode(record), fixture);
    check_older(what, record, fixture);
}

/// What was written once, and what it says today.
fn check_older<R: Record + PartialEq + std::fmt::Debug>(what: &str, record: &R, fixture: &str) {
    let bytes = unhex(fixture);
    assert_eq!(records::decode::<R>(&bytes).as_ref(), Ok(record), "{what}");
    damaged_is_an_error(what, &bytes, R::VERSION, |bytes| records::decode::<R>(bytes).map(drop));
}

/// Cut anywhere, longer, older, newer, and with any one byte changed: an error or another record, never a panic.
fn damaged_is_an_error(what: &str, bytes: &[u8], newest: u8, decode: impl Fn(&[u8]) -> Result<(), StoreError>) {
    for end in 0..bytes.len() {
        let cut = decode(&bytes[..end]);
        assert!(matches!(cut, Err(StoreError::Corrupt { .. })), "{what}: {end} bytes of {}: {cut:?}", bytes.len());
    }
    let longer = decode(&[bytes, &[0]].concat());
    assert!(matches!(longer, Err(StoreError::Corrupt { .. })), "{what}: one byte more: {longer:?}");
    let version = |version: u8| decode(&[&[version], &bytes[1..]].concat());
    assert!(matches!(version(0), Err(StoreError::Corrupt { .. })), "{what}");
    for newer in [newest + 1, 255] {
        let refused = version(newer);
        assert!(matches!(refused, Err(StoreError::NewerFormat { known, .. }) if known == u32::from(newest)), "{what}: {refused:?}");
    }
    for at in 0..bytes.len() {
        for flip in 1..=255 {
            let mut changed = bytes.to_vec();
            changed[at] ^= flip;
            drop(decode(&changed));
        }
    }
}

fn small_actor() -> ActorRecord {
    let actor = support::actor(id(7), id(9));
    ActorRecord { crash_policy: CrashPolicy::Restart, create_ms: 1_700_000_000_000, ..actor }
}

fn full_actor() -> ActorRecord {
    ActorRecord {
        key: Some("a/b".to_owned()),
        crash_policy: CrashPolicy::Sleep,
        has_input: true,
        start_ms: Some(1),
        connectable_ms: Some(2),
        sleep_ms: Some(3),
        pending_ms: Some(4),
        reschedule_ms: Some(u64::MAX),
        destroy_ms: Some(300),
        error: Some(ActorError::Crashed { message: Some("boom".to_owned()) }),
        generation: 70_000,
        runner: Some(RunnerRef::Components { key: "runner-1".to_owned() }),
        alarm: Some(Alarm { scheduled_ms: 1_000, fire_ms: 2_000, failures: 3 }),
        crashes: 5,
        ..small_actor()
    }
}

const SMALL_V1: &str = "01010707070707074707870707070707070500010109090909090949098909090909090905000107636f756e746572000764 \
     656661756c74000080d095ffbc310000000000000000000000";
const FULL_V1: &str = "01010707070707074707870707070707070500010109090909090949098909090909090905000107636f756e746572010361 \
     2f620764656661756c74010180d095ffbc31010101020103010401ffffffffffffffffff0101ac0201010104626f6f6df0a2 \
     04010872756e6e65722d3101e807d00f0305";

#[test]
fn actor_records_of_version_1() {
    check_older("small", &small_actor(), SMALL_V1);
    check_older("full", &full_actor(), FULL_V1);
    let before = "01010707070707074707870707070707070500010109090909090949098909090909090905000107636f756e74657200";
    let errors = [
        (ActorError::NoEnvoys, "00"),
        (ActorError::Crashed { message: None }, "0100"),
        (ActorError::EnvoyNoResponse { envoy_key: Some("e".to_owned()) }, "02010165"),
        (ActorError::EnvoyConnectionLost { envoy_key: "e".to_owned() }, "030165"),
    ];
    for (error, fixture) in errors {
        let record = ActorRecord { error: Some(error), crash_policy: CrashPolicy::Destroy, ..small_actor() };
        check_older(fixture, &record, &format!("{before}0764656661756c74020080d095ffbc3100000000000001{fixture}00000000"));
    }
}

#[test]
fn actor_records_of_version_2() {
    check_older(
        "small",
        &small_actor(),
        "02010707070707074707870707070707070500010109090909090949098909090909090905000107636f756e746572000764 \
         656661756c74000080d095ffbc31000000000000000000000000000000",
    );
    let stop = Some(Stop { reason: StopReason::GoingAway, after: After::Start });
    check_older(
        "full",
        &ActorRecord { stop, acked_command: 300, events_taken: 7, by_url: true, ..full_actor() },
        "02010707070707074707870707070707070500010109090909090949098909090909090905000107636f756e746572010361 \
         2f620764656661756c74010180d095ffbc31010101020103010401ffffffffffffffffff0101ac0201010104626f6f6df0a2 \
         0401000872756e6e65722d3101e807d00f0305 01 03 01 ac02 07 01",
    );
}

#[test]
fn actor_records() {
    check(
        "small",
        &small_actor(),
        "03010707070707074707870707070707070500010109090909090949098909090909090905000107636f756e746572000764 \
         656661756c74000080d095ffbc31000000000000000000000000000000 00 00 00",
    );
    let stop = Some(Stop { reason: StopReason::GoingAway, after: After::Start });
    let held_back = Some(Box::new(HeldBack { version: 4, attempt: 1, message: "no".to_owned() }));
    let versions = ActorRecord { state_version: Some(300), pin: Some(2), held_back, ..full_actor() };
    check(
        "full",
        &ActorRecord { stop, acked_command: 300, events_taken: 7, by_url: true, ..versions },
        "03010707070707074707870707070707070500010109090909090949098909090909090905000107636f756e746572010361 \
         2f620764656661756c74010180d095ffbc31010101020103010401ffffffffffffffffff0101ac0201010104626f6f6df0a2 \
         0401000872756e6e65722d3101e807d00f0305 01 03 01 ac02 07 01 01 ac02 01 02 01 04 01 02 6e6f",
    );
}

/// A record with this error, runner and stop.
fn check_variants(error: (Option<ActorError>, &str), runner: (Option<RunnerRef>, &str), stop: (Option<Stop>, &str)) {
    let before = "03010707070707074707870707070707070500010109090909090949098909090909090905000107636f756e74657200 \
         0764656661756c74020080d095ffbc31000000000000";
    let fixture = format!("{before} {} 00 {} 00 00 {} 00 00 00 00 00 00", error.1, runner.1, stop.1);
    let record =
        ActorRecord { error: error.0, runner: runner.0, stop: stop.0, crash_policy: CrashPolicy::Destroy, ..small_actor() };
    check(&fixture, &record, &fixture);
}

#[test]
fn the_variants_in_an_actor_record() {
    let text = str::to_owned;
    let errors = [
        (ActorError::NoEnvoys, "00"),
        (ActorError::Crashed { message: None }, "01 00"),
        (ActorError::EnvoyNoResponse { envoy_key: Some(text("e")) }, "02 01 01 65"),
        (ActorError::EnvoyConnectionLost { envoy_key: text("e") }, "03 01 65"),
        (ActorError::NoCapacity, "04"),
        (ActorError::RunnerNoResponse { runner_id: text("r") }, "05 01 72"),
        (ActorError::RunnerConnectionLost { runner_id: text("r") }, "06 01 72"),
        (ActorError::RunnerPoolError(PoolError::ServerlessHttpError { status_code: 503, body: text("b") }), "07 00 f703 01 62"),
        (ActorError::RunnerPoolError(PoolError::ServerlessStreamEndedEarly), "07 01"),
        (ActorError::RunnerPoolError(PoolError::ServerlessConnectionError { message: text("m") }), "07 02 01 6d"),
        (
            ActorError::RunnerPoolError(PoolError::ServerlessInvalidSsePayload {
                message: text("m"),
                raw_payload: Some(text("p")),
            }),
            "07 03 01 6d 01 01 70",
        ),
        (ActorError::RunnerPoolError(PoolError::Downgrade), "07 04"),
        (ActorError::RunnerPoolError(PoolError::InternalError), "07 05"),
        (ActorError::ConcurrentActorLimitReached, "08"),
    ];
    for (error, fixture) in errors {
        check_variants((Some(error), &format!("01 {fixture}")), (None, "00"), (None, "00"));
    }
    let namespace = "0109090909090949098909090909090905 0001";
    let runners = [
        (RunnerRef::Components { key: text("k") }, "00 01 6b".to_owned()),
        (RunnerRef::Envoy { namespace: id(9), key: text("k") }, format!("01 {namespace} 01 6b")),
        (RunnerRef::Legacy { namespace: id(9), pool: text("p"), key: text("k") }, format!("02 {namespace} 01 70 01 6b")),
    ];
    for (runner, fixture) in runners {
        check_variants((None, "00"), (Some(runner), &format!("01 {fixture}")), (None, "00"));
    }
    let stops = [
        (StopReason::Sleep, After::Sleep, "00 00"),
        (StopReason::Stop, After::Destroy, "01 02"),
        (StopReason::Destroy, After::Destroy, "02 02"),
        (StopReason::GoingAway, After::Start, "03 01"),
        (StopReason::Lost, After::Sleep, "04 00"),
    ];
    for (reason, after, fixture) in stops {
        check_variants((None, "00"), (None, "00"), (Some(Stop { reason, after }), &format!("01 {fixture}")));
    }
}

#[test]
fn runner_configurations() {
    let record = RunnerConfigRecord {
        namespace: id(9),
        pool: "p".to_owned(),
        kind: PoolKind::Normal,
        drain_on_version_upgrade: false,
        actor_eviction_delay_s: 0,
        actor_eviction_period_s: 0,
        actor_eviction_rate: Rate::new(0.0),
        metadata: None,
        protocol_version: None,
    };
    check("of runners that connect", &record, "01 0109090909090949098909090909090905 0001 01 70 00 00 00 00 00 00 00");
    let serverless = ServerlessConfig {
        url: "http://x/".to_owned(),
        headers: vec![("a".to_owned(), "b".to_owned())],
        request_lifespan_s: 900,
        drain_grace_period_s: 30,
        max_concurrent_actors: u64::MAX,
        metadata_poll_interval_ms: Some(10_000),
        slots_per_runner: 1,
        min_runners: 2,
        max_runners: 3,
        runners_margin: 4,
    };
    let record = RunnerConfigRecord {
        kind: PoolKind::Serverless(Box::new(serverless)),
        drain_on_version_upgrade: true,
        actor_eviction_delay_s: 5,
        actor_eviction_period_s: 300,
        actor_eviction_rate: Rate::new(0.5),
        metadata: Some("{}".to_owned()),
        protocol_version: Some(8),
        ..record
    };
    check(
        "of a URL",
        &record,
        "01 0109090909090949098909090909090905 0001 01 70 01 09 687474703a2f2f782f 01 01 61 01 62 8407 1e \
         ffffffffffffffffff01 01 904e 01 02 03 04 01 05 ac02 808080f803 01 02 7b7d 01 08",
    );
}

#[test]
fn heads_of_databases() {
    check("new", &DatabaseHead { txid: 0, size_pages: 0 }, "01 00 00");
    check("old", &DatabaseHead { txid: u64::MAX, size_pages: 300 }, "01 ffffffffffffffffff01 ac02");
}

#[test]
fn namespace_records() {
    let mut record = NamespaceRecord {
        id: id(9),
        name: "default".to_owned(),
        display_name: "Défaut".to_owned(),
        create_ms: 1,
        quotas: Quotas::default(),
        delete_ms: None,
    };
    let named = "0109090909090949098909090909090905 0001 0764656661756c74 0744c3a966617574 01";
    check_older("namespace of version 1", &record, &format!("01 {named}"));
    check("namespace", &record, &format!("02 {named} 000000000000 00"));
    record.delete_ms = Some(300);
    record.quotas = Quotas {
        actors: Some(1),
        awake_actors: Some(2),
        storage_bytes: Some(300),
        requests_per_second: Some(4),
        deployments: Some(5),
        component_bytes: Some(6),
    };
    check("with everything", &record, &format!("02 {named} 0101 0102 01ac02 0104 0105 0106 01ac02"));
}

#[test]
fn what_is_counted() {
    let stored = StoredBytes { namespace: id(9), kv: 1, runner_kv: 300, database: 8192 };
    check("of an actor", &stored, "01 0109090909090949098909090909090905 0001 01 ac02 8040");
    check("of a namespace", &NamespaceUsage { actors: 3, bytes: 300 }, "01 03 ac02");
}

#[test]
fn notes_about_actors_that_are_held_back() {
    check("note", &HeldBack { version: 300, attempt: 2, message: "no".to_owned() }, "01 ac02 02 02 6e6f");
}

/// In a store of their own.
#[test]
fn logs_of_actors() {
    let entry =
        |number, source, level, text: &str| LogEntry { number, source, level, time_ms: 1_700_000_000_000, text: text.to_string() };
    let entries = vec![entry(300, LogSource::Actor, LogLevel::Info, "hello"), entry(301, LogSource::Engine, LogLevel::Error, "")];
    check("a chunk", &Chunk { entries }, "0102ac02000280d095ffbc310568656c6c6fad02010480d095ffbc3100");
    let place = Place { actor: id(7), bytes: 1_000, written_ms: 1_700_000_000_000 };
    check("a place", &place, "0101070707070707470787070707070707050001e80780d095ffbc31");
    check("an account", &Account { bytes: 1_000, first: 300 }, "01e807ac02");
    check("the sums", &Sums { bytes: 1_000_000, last: 301 }, "01c0843dad02");
}

#[test]
fn other_values() {
    same("marker", &records::marker(), "01");
    same("input", &records::input(b"in"), "01 696e");
    assert_eq!(records::parse_input(&unhex("01 696e")), Ok(Bytes::from_static(b"in")));
    assert_eq!(records::parse_input(&unhex("01")), Ok(Bytes::new()));
    assert!(matches!(records::parse_input(&unhex("")), Err(StoreError::Corrupt { .. })));
    assert!(matches!(records::parse_input(&unhex("02 00")), Err(StoreError::NewerFormat { found: 2, known: 1, .. })));

    let reservation = "01 01070707070707470787070707070707050001";
    same("reservation", &records::reservation(id(7)), reservation);
    assert_eq!(records::parse_reservation(&unhex(reservation)), Ok(id(7)));
    damaged_is_an_error("reservation", &unhex(reservation), 1, |bytes| records::parse_reservation(bytes).map(drop));

    let kv = "01 0000018bcfe56800 76";
    same("kv", &records::kv(1_700_000_000_000, b"v"), kv);
    assert_eq!(records::parse_kv(&unhex(kv)), Ok((Bytes::from_static(b"v"), 1_700_000_000_000)));
    for short in ["", "01", "01 00000000000000"] {
        assert!(matches!(records::parse_kv(&unhex(short)), Err(StoreError::Corrupt { .. })), "{short}");
    }

    same("listing", &records::listing(None), "01 00");
    same("listing with a key", &records::listing(Some("k")), "01 01 6b");
    assert_eq!(records::parse_listing(&unhex("01 00")), Ok(None));
    assert_eq!(records::parse_listing(&unhex("01 01")), Ok(Some("")));
    assert_eq!(records::parse_listing(&unhex("01 01 6b")), Ok(Some("k")));
    for damaged in ["", "01", "01 02", "01 00 00", "01 01 ff"] {
        assert!(matches!(records::parse_listing(&unhex(damaged)), Err(StoreError::Corrupt { .. })), "{damaged}");
    }

    let bytes = [7; PAGE_BYTES];
    let page = records::page(&bytes);
    same("page", &page, &format!("01 {}", "07".repeat(PAGE_BYTES)));
    assert_eq!(records::parse_page(&page), Ok(Bytes::copy_from_slice(&bytes)));
    for damaged in ["", "00", "01", "01 07"] {
        assert!(matches!(records::parse_page(&unhex(damaged)), Err(StoreError::Corrupt { .. })), "{damaged}");
    }
    assert!(matches!(records::parse_page(&unhex("02 07")), Err(StoreError::NewerFormat { found: 2, known: 1, .. })));

    same("metadata of an actor name", &records::actor_name_metadata("{}"), "01 7b7d");
    assert_eq!(records::parse_actor_name_metadata(&unhex("01 7b7d")), Ok("{}".to_owned()));
    for damaged in ["", "00 7b7d", "01 ff"] {
        assert!(matches!(records::parse_actor_name_metadata(&unhex(damaged)), Err(StoreError::Corrupt { .. })), "{damaged}");
    }

    same("engine that wrote last", &records::engine_version("0.1.0"), "01 302e312e30");
    assert_eq!(records::parse_engine_version(&unhex("01 302e312e30")), Ok("0.1.0".to_owned()));
    for damaged in ["", "00 30", "01", "01 ff", "01 0a"] {
        assert!(matches!(records::parse_engine_version(&unhex(damaged)), Err(StoreError::Corrupt { .. })), "{damaged}");
    }

    same("format", &records::format(1), "01 40");
    same("format", &records::format(2), "02 40");
    same("format", &records::format(3), "03 40");
    assert_eq!(records::parse_format(&unhex("01 40"), None), Ok(1));
    assert_eq!(records::parse_format(&unhex("02 40"), None), Ok(2));
    assert_eq!(records::parse_format(&unhex("03 40"), None), Ok(3));
    for damaged in ["", "00 40", "01", "01 41", "01 40 00"] {
        assert!(matches!(records::parse_format(&unhex(damaged), None), Err(StoreError::Corrupt { .. })), "{damaged}");
    }
}

#[test]
fn keys_of_the_engine() {
    let namespace = "0109090909090949098909090909090905 0001";
    same("format", keys::FORMAT, "6d657461 2f 666f726d6174");
    same("counted", keys::COUNTED, "6d657461 2f 636f756e746564");
    same("namespace", &keys::namespace(id(9)), &format!("6e {namespace}"));
    same("deployment", &keys::deployment(id(9), "counter"), &format!("64 {namespace} 636f756e746572"));
    same("actor name", &keys::actor_name(id(9), "counter"), &format!("61 {namespace} 636f756e746572"));
    same("metadata", &keys::actor_name_metadata(id(9), "counter"), &format!("6d {namespace} 636f756e746572"));
    same("runner config", &keys::runner_config(id(9), "p"), &format!("72 {namespace} 70"));
}

#[test]
fn keys_in_a_partition() {
    let (namespace, actor) = ("0109090909090949098909090909090905 0001", "0107070707070747078707070707070705 0001");
    let name = format!("{namespace} 00000007 636f756e746572");
    same("actor", &keys::actor(id(7)), &format!("70 05 61 {actor}"));
    same("input", &keys::input(id(7)), &format!("70 05 69 {actor}"));
    same("stored", &keys::stored(id(7)), &format!("70 05 73 {actor}"));
    let partition = Partition::new(5).expect("5 is below 64");
    same("usage", &keys::usage(partition, id(9)), &format!("70 05 71 {namespace}"));
    same("awake", &keys::awake(id(7)), &format!("70 05 77 {actor}"));
    same("kv", &keys::kv(KvSpace::Actor, id(7), b"\x00k\xff"), &format!("70 05 76 {actor} 006bff"));
    same("kv of a runner", &keys::kv(KvSpace::Runner, id(7), b"\x01"), &format!("70 05 75 {actor} 01"));
    same("head of a database", &keys::database_head(id(7)), &format!("70 05 68 {actor}"));
    same("page", &keys::page(id(7), 258), &format!("70 05 67 {actor} 00000102"));
    same("alarm", &keys::alarm(1_700_000_000_000, id(7)), &format!("70 05 74 0000018bcfe56800 {actor}"));
    let key = KeyRef { namespace: id(9), name: "counter".to_owned(), key: "a/b".to_owned() };
    same("reservation", &keys::reservation(&key), &format!("70 1d 6b {name} 612f62"));
    let listed = |kind| keys::by_name(kind, id(9), "counter", 1_700_000_000_000, id(7));
    same("living, by name", &listed(Kind::LivingByName), &format!("70 05 6c {name} fffffe74301a97ff {actor}"));
    same("held back", &keys::held_back(id(9), "counter", id(7)), &format!("70 05 62 {name} {actor}"));
    same("being imported", &keys::importing(id(7)), &format!("70 05 6a {actor}"));
    same("destroyed, by name", &listed(Kind::DestroyedByName), &format!("70 05 6f {name} fffffe74301a97ff {actor}"));
}

#[test]
fn keys_read_as_they_are_written() {
    for ms in [0, 1, 255, 1_700_000_000_000, u64::MAX] {
        assert_eq!(keys::parse_alarm(&keys::alarm(ms, id(7))), Ok((ms, id(7))));
        for name in ["", "counter", "\u{ffff}"] {
            assert_eq!(keys::parse_by_name(&keys::by_name(Kind::LivingByName, id(9), name, ms, id(7))), Ok((ms, id(7))));
        }
    }
    assert_eq!(keys::parse_awake(&keys::awake(id(7))), Ok(id(7)));
    assert_eq!(keys::parse_importing(&keys::importing(id(7))), Ok(id(7)));
    assert_eq!(keys::parse_held_back(&keys::held_back(id(9), "counter", id(7))), Ok(id(7)));
    assert_eq!(keys::parse_actor_name(&keys::actor_name(id(9), "counter")), Ok("counter".to_owned()));
    for damaged in [&b""[..], b"p", b"p\x05t", &[0xff; 25], &[0; 30], &[0xff; 60]] {
        assert!(matches!(keys::parse_alarm(damaged), Err(StoreError::Corrupt { .. })), "{damaged:?}");
        assert!(matches!(keys::parse_awake(damaged), Err(StoreError::Corrupt { .. })), "{damaged:?}");
        assert!(matches!(keys::parse_importing(damaged), Err(StoreError::Corrupt { .. })), "{damaged:?}");
        assert!(matches!(keys::parse_held_back(damaged), Err(StoreError::Corrupt { .. })), "{damaged:?}");
        assert!(matches!(keys::parse_by_name(damaged), Err(StoreError::Corrupt { .. })), "{damaged:?}");
    }
    for damaged in [&b""[..], b"a", &[0xff; 25]] {
        assert!(matches!(keys::parse_actor_name(damaged), Err(StoreError::Corrupt { .. })), "{damaged:?}");
    }
}

#[test]
fn tokens() {
    let record = |role, namespace, expire_ms| TokenRecord {
        id: "4k2j9x0w8q1z".to_string(),
        hash: [0xab; 32],
        role,
        namespace,
        name: "ci".to_string(),
        create_ms: 1_700_000_000_000,
        expire_ms,
        used_ms: expire_ms,
    };
    let before = format!("01 0c 346b326a397830773871317a {}", "ab".repeat(32));
    let namespace = "01090909090909490989090909090909050001";
    check(
        "a client's token",
        &record(Role::Client, Some(id(9)), Some(300)),
        &format!("{before} 03 01 {namespace} 02 6369 80d095ffbc31 01 ac02 01 ac02"),
    );
    check("a runner's token for all", &record(Role::Runner, None, None), &format!("{before} 02 00 02 6369 80d095ffbc31 00 00"));
    for (role, number) in [(Role::Admin, "00"), (Role::Deploy, "01"), (Role::Runner, "02"), (Role::Client, "03")] {
        let bytes = hex(&records::encode(&record(role, None, None)));
        assert_eq!(&bytes[2 + 26 + 64..][..2], number, "{role:?}");
    }
    same("the key of a token", &keys::token("4k2j9x0w8q1z"), "73 346b326a397830773871317a");
}

#[test]
fn entries_of_the_audit_log() {
    let record = AuditRecord {
        number: 300,
        at_ms: 1_700_000_000_000,
        who: "admin".to_string(),
        remote: "10.0.0.1".to_string(),
        request_id: "r".to_string(),
        act: "actor.destroy".to_string(),
        namespace: Some((id(9), "default".to_string())),
        target: "a".to_string(),
        details: vec![("b".to_string(), "c".to_string())],
        outcome: "ok".to_string(),
        count: 1,
    };
    let before = "01 ac02 80d095ffbc31 05 61646d696e 08 31302e302e302e31 01 72 0d 6163746f722e64657374726f79";
    let namespace = "01090909090909490989090909090909050001";
    check("an entry", &record, &format!("{before} 01 {namespace} 07 64656661756c74 01 61 01 01 62 01 63 02 6f6b 01"));
    let of_none = AuditRecord { namespace: None, details: Vec::new(), ..record };
    check("an entry of no namespace", &of_none, &format!("{before} 00 01 61 00 02 6f6b 01"));
    same("the key of an entry", &keys::audit(300), "65 000000000000012c");
    assert_eq!(keys::parse_audit(&keys::audit(u64::MAX)), Ok(u64::MAX));
    for damaged in [&b""[..], b"e", b"e1234567", b"e123456789"] {
        assert!(matches!(keys::parse_audit(damaged), Err(StoreError::Corrupt { .. })), "{damaged:?}");
    }
}

#[test]
fn no_two_names_share_a_key() {
    let reservation =
        |name: &str, key: &str| keys::reservation(&KeyRef { namespace: id(9), name: name.to_owned(), key: key.to_owned() });
    let parts = ["", "a", "b", "ab", "aa", "\0", "\0\0\0\u{1}a", "a\0", "é"];
    let mut seen = std::collections::BTreeMap::new();
    for name in parts {
        for key in parts {
            let other = seen.insert(reservation(name, key)[2..].to_vec(), (name, key));
            assert_eq!(other, None, "{name:?} {key:?}");
        }
    }
    // The list of one name never reaches into that of another.
    for name in parts {
        let (start, end) = keys::list_by_name(Kind::LivingByName, id(7).partition(), id(9), name, None);
        for other in parts {
            let key = keys::by_name(Kind::LivingByName, id(9), other, 5, id(7));
            assert_eq!(start <= key && key < end, name == other, "{name:?} {other:?}");
        }
    }
}

#[test]
fn a_list_begins_before_a_moment() {
    let inside = |before_ms, create_ms| {
        let (start, end) = keys::list_by_name(Kind::LivingByName, id(7).partition(), id(9), "n", before_ms);
        let key = keys::by_name(Kind::LivingByName, id(9), "n", create_ms, id(7));
        start <= key && key < end
    };
    let rows = [
        (None, 0, true),
        (None, u64::MAX, true),
        (Some(0), 0, false),
        (Some(1), 0, true),
        (Some(1), 1, false),
        (Some(256), 255, true),
    ];
    for (before_ms, create_ms, expected) in rows {
        assert_eq!(inside(before_ms, create_ms), expected, "{before_ms:?} {create_ms}");
    }
    assert!(inside(Some(u64::MAX), u64::MAX - 1) && !inside(Some(u64::MAX), u64::MAX));
}

#[test]
fn the_pages_of_a_database_are_one_range() {
    let inside = |after, number| {
        let (start, end) = keys::pages_after(id(7), after);
        let key = keys::page(id(7), number);
        start <= key && key < end
    };
    for (after, number, expected) in
        [(0, 0, false), (0, 1, true), (0, u32::MAX, true), (255, 255, false), (255, 256, true), (u32::MAX, u32::MAX, false)]
    {
        assert_eq!(inside(after, number), expected, "{number} after {after}");
    }
    let (_, end) = keys::pages_after(id(7), 0);
    let next = Id::new([8; 16], 1).in_partition(id(7).partition());
    assert!(end <= keys::page(next, 0) && end <= keys::database_head(id(7)), "they end with their actor");
}

/// The metadata of names and the format of the directory begin with the same letter.
#[test]
fn no_metadata_of_a_name_is_the_format() {
    // The second byte of one is the version of an id, that of the other a letter.
    assert_eq!(keys::FORMAT[0], keys::actor_name_metadata(id(9), "")[0]);
    assert_ne!(keys::FORMAT[1], keys::actor_name_metadata(id(9), "")[1]);
}

/// An engine of before refuses a format that it does not know when it starts. A record that it does not know it would meet later.
#[test]
fn a_newer_record_is_a_newer_format() {
    let records = [
        ActorRecord::VERSION,
        NamespaceRecord::VERSION,
        RunnerConfigRecord::VERSION,
        DatabaseHead::VERSION,
        DeploymentRecord::VERSION,
        HeldBack::VERSION,
    ];
    let of_format_3 = [3, 2, 1, 1, 4, 1];
    assert_eq!(
        (records::FORMAT_VERSION, records),
        (3, of_format_3),
        "raise the format, with a step in format.rs, and add its row here"
    );
}

/// The fixtures speak of the same crate that opens directories.
#[test]
fn a_new_directory_has_this_format() {
    use rivet_engine_store::Store;
    let directory = tempfile::tempdir().expect("the temporary directory can be written");
    let store = Rocks::open(directory.path(), &Default::default()).expect("a new store opens");
    assert_eq!(store.get(keys::FORMAT), Ok(Some(unhex("03 40"))));
}
