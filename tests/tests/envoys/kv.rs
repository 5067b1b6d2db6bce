//! What runners that connect keep for their actors.

use bytes::Bytes;
use protocol::wire::kv::{KvListQuery, KvRequestData, KvResponseData};
use protocol::wire::{EnvoyVersion, RunnerVersion};
use rivet_tests::{Engine, Envoy};

use crate::{create, destroy, make_pool, running};

fn get(keys: &[&'static [u8]]) -> KvRequestData {
    KvRequestData::Get { keys: keys.iter().map(|key| Bytes::from_static(key)).collect() }
}

fn put(entries: &[(&'static [u8], &'static [u8])]) -> KvRequestData {
    KvRequestData::Put {
        keys: entries.iter().map(|(key, _)| Bytes::from_static(key)).collect(),
        values: entries.iter().map(|(_, value)| Bytes::from_static(value)).collect(),
    }
}

fn list(query: KvListQuery, reverse: bool, limit: Option<u64>) -> KvRequestData {
    KvRequestData::List { query, reverse: Some(reverse), limit }
}

fn range(start: &'static [u8], end: &'static [u8], exclusive: bool) -> KvListQuery {
    KvListQuery::Range { start: Bytes::from_static(start), end: Bytes::from_static(end), exclusive }
}

/// In one line: keys with their values.
fn shown(answer: KvResponseData) -> String {
    match answer {
        KvResponseData::Get { keys, values, metadata } | KvResponseData::List { keys, values, metadata } => {
            assert_eq!((keys.len(), keys.len()), (values.len(), metadata.len()));
            let text = |bytes: &Bytes| bytes.escape_ascii().to_string();
            let pairs = keys.iter().zip(&values).map(|(key, value)| format!("{}={}", text(key), text(value)));
            pairs.collect::<Vec<_>>().join(" ")
        }
        KvResponseData::Error { message } => format!("error: {message}"),
        KvResponseData::Put => "put".to_string(),
        KvResponseData::Delete => "deleted".to_string(),
        KvResponseData::Drop => "dropped".to_string(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_and_answers() {
    let engine = Engine::start().await;
    make_pool(&engine, "p").await;
    let mut envoy = Envoy::connect(&engine, "p", "abc").await;
    let (actor, _) = running(&engine, &mut envoy, "p", "k").await;
    let all = || list(KvListQuery::All, false, None);
    let prefix = |key: &'static [u8]| list(KvListQuery::Prefix { key: Bytes::from_static(key) }, false, None);
    let rows = [
        (get(&[b"a"]), ""),
        (get(&[]), ""),
        (put(&[(b"a", b"1"), (b"b", b"2"), (b"b", b"3"), (b"b\xff", b"4"), (b"", b""), (b"c\0", b"5")]), "put"),
        (all(), "= a=1 b=3 b\\xff=4 c\\x00=5"),
        (get(&[b"b", b"zz", b"a", b"a", b"", b"a"]), "b=3 a=1 = a=1"),
        (list(KvListQuery::All, true, Some(2)), "c\\x00=5 b\\xff=4"),
        (list(KvListQuery::All, false, Some(0)), ""),
        (list(KvListQuery::All, false, Some(u64::MAX)), "= a=1 b=3 b\\xff=4 c\\x00=5"),
        (prefix(b"b"), "b=3 b\\xff=4"),
        (prefix(b"b\xff"), "b\\xff=4"),
        (prefix(b"x"), ""),
        (prefix(b""), "= a=1 b=3 b\\xff=4 c\\x00=5"),
        (list(range(b"a", b"b", false), false, None), "a=1 b=3"),
        (list(range(b"a", b"b", true), false, None), "a=1"),
        (list(range(b"b", b"a", false), false, None), ""),
        (list(range(b"a", b"a", false), true, None), "a=1"),
        (list(range(b"a", b"a", true), true, None), ""),
        (KvRequestData::DeleteRange { start: "a".into(), end: "b\u{0}".into() }, "deleted"),
        (all(), "= b\\xff=4 c\\x00=5"),
        (KvRequestData::DeleteRange { start: "x".into(), end: "a".into() }, "deleted"),
        (KvRequestData::Delete { keys: vec!["".into(), "nothing".into()] }, "deleted"),
        (all(), "b\\xff=4 c\\x00=5"),
        (KvRequestData::Drop, "dropped"),
        (all(), ""),
        (put(&[]), "put"),
        (KvRequestData::Put { keys: vec!["a".into()], values: Vec::new() }, "error: transaction failed"),
        (KvRequestData::Put { keys: vec!["a".into()], values: vec![vec![0; 131_073].into()] }, "error: transaction failed"),
        (KvRequestData::Get { keys: vec!["a".into(); 129] }, "error: a maximum of 128 keys is allowed"),
        (KvRequestData::Get { keys: vec![vec![0; 2047].into()] }, "error: key is too long (max 2048 bytes)"),
        (all(), ""),
    ];
    for (row, (question, expected)) in rows.into_iter().enumerate() {
        assert_eq!(shown(envoy.kv(&actor, question).await), expected, "row {row}");
    }
    // The largest that may be, and back.
    let (key, value) = (Bytes::from(vec![b'k'; 2046]), Bytes::from(vec![b'v'; 131_072]));
    let largest = KvRequestData::Put { keys: vec![key.clone()], values: vec![value.clone()] };
    assert_eq!(envoy.kv(&actor, largest).await, KvResponseData::Put);
    let KvResponseData::List { keys, values, .. } = envoy.kv(&actor, list(KvListQuery::All, true, None)).await else {
        panic!("entries expected")
    };
    assert_eq!((keys, values), (vec![key], vec![value]));
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_state_it_is() {
    let engine = Engine::start().await;
    make_pool(&engine, "p").await;
    let mut envoy = Envoy::connect(&engine, "p", "abc").await;
    let mut other = Envoy::connect_as(&engine, "p", "other", EnvoyVersion::OLDEST, 0).await;
    let (actor, at) = running(&engine, &mut envoy, "p", "k").await;
    assert_eq!(shown(envoy.kv(&actor, put(&[(b"a", b"1")])).await), "put");
    assert_eq!(shown(other.kv(&actor, get(&[b"a"])).await), "a=1", "any runner of the namespace may ask");
    envoy.sleep(&at, 1).await;
    envoy.command().await;
    envoy.stopped(&at, 2, None).await;
    crate::stopped(&engine, &actor).await;
    assert_eq!(shown(other.kv(&actor, put(&[(b"b", b"2")])).await), "put", "also while it sleeps");
    assert_eq!(shown(other.kv(&actor, get(&[b"a", b"b"])).await), "a=1 b=2");

    let (mut legacy, _) = Envoy::connect_legacy(&engine, "q", "abc", RunnerVersion::NEWEST, 1).await;
    assert_eq!(shown(legacy.kv(&actor, get(&[b"a"])).await), "error: actor does not belong to runner");

    engine.send(destroy(&actor)).await.expect_ok("a destroy");
    let gone = "error: actor does not exist";
    assert_eq!(shown(other.kv(&actor, get(&[b"a"])).await), gone);
    assert_eq!(shown(other.kv(&actor, put(&[(b"b", b"2")])).await), gone);
    let nobody = format!("1{}", "0".repeat(29));
    assert_eq!(shown(other.kv(&nobody, get(&[b"a"])).await), gone);
    assert_eq!(shown(other.kv(&nobody, KvRequestData::Drop).await), gone);
    let short = "error: invalid input length: expected at least 4 characters";
    assert_eq!(shown(other.kv("abc", get(&[b"a"])).await), short);

    let namespace = rivet_tests::Call::post("/namespaces").json(&serde_json::json!({ "name": "else", "display_name": "Else" }));
    engine.send(namespace).await.expect_ok("a namespace");
    let theirs = create(&engine, "p", "theirs").await;
    envoy.start().await;
    let target = "/runners/connect?protocol_version=7&namespace=else&runner_key=abc";
    let mut stranger = Envoy::introduce(&engine, target, "p", RunnerVersion::NEWEST, 1).await.0;
    assert_eq!(shown(stranger.kv(&theirs, get(&[b"a"])).await), gone, "another namespace's");
    assert_eq!(shown(stranger.kv(&theirs, put(&[(b"a", b"1")])).await), gone);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_sees_the_writes_before_it() {
    use protocol::wire::envoy::{ToEnvoy, ToRivet};
    let engine = Engine::start().await;
    make_pool(&engine, "p").await;
    let mut envoy = Envoy::connect(&engine, "p", "abc").await;
    let (actor, _) = running(&engine, &mut envoy, "p", "k").await;
    let text = |number: u32| Bytes::from(number.to_string());
    for number in 0..100 {
        let write = KvRequestData::Put { keys: vec!["n".into()], values: vec![text(number)] };
        envoy.say(ToRivet::KvRequest { actor_id: actor.clone(), request_id: 1_000 + number, data: write }).await;
        envoy.say(ToRivet::KvRequest { actor_id: actor.clone(), request_id: 2_000 + number, data: get(&[b"n"]) }).await;
    }
    let mut seen = 0;
    while seen < 100 {
        let ToEnvoy::KvResponse { request_id, data } = envoy.hear().await else { panic!("an answer expected") };
        let KvResponseData::Get { values, .. } = data else { continue };
        let value: u32 = String::from_utf8_lossy(&values[0]).parse().expect("a number");
        assert!(value >= request_id - 2_000, "read {} saw {value}", request_id - 2_000);
        seen += 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_namespace_may_not_store_is_refused_to_runners_too() {
    let engine = Engine::start().await;
    make_pool(&engine, "p").await;
    let mut envoy = Envoy::connect(&engine, "p", "abc").await;
    let (actor, _) = running(&engine, &mut envoy, "p", "k").await;
    let quotas = rivet_tests::Call::put("/namespaces/default/quotas").json(&serde_json::json!({ "storage_bytes": 5 }));
    engine.send(quotas).await.expect_ok("quotas");
    let full = "error: actor.storage_full: the actors of namespace \"default\" have stored 5 bytes, and 1 more would be above its \
                quota storage_bytes of 5; delete something, or raise it: rivet-engine namespaces quotas default";
    let rows = [
        (put(&[(b"a", b"123")]), "put"),
        (put(&[(b"b", b"")]), "put"),
        (put(&[(b"a", b"1234")]), full),
        (put(&[(b"a", b"321")]), "put"),
        (put(&[(b"c", b"")]), full),
        (get(&[b"a", b"b", b"c"]), "a=321 b="),
        (KvRequestData::Delete { keys: vec!["b".into()] }, "deleted"),
        (put(&[(b"c", b"")]), "put"),
        (KvRequestData::Drop, "dropped"),
        (put(&[(b"a", b"1234")]), "put"),
    ];
    for (row, (question, expected)) in rows.into_iter().enumerate() {
        assert_eq!(shown(envoy.kv(&actor, question).await), expected, "row {row}");
    }
}
