//! Who may connect as a runner: every way to be refused, each with the code and the reason that clients look for.

use bytes::Bytes;
use rivet_tests::{Call, Engine, Socket};
use tokio_tungstenite::tungstenite::Message;

use crate::make_pool;

const ENVOY: &str = "/envoys/connect?protocol_version=8&namespace=default&envoy_key=abc&version=1&pool_name=p";
const RUNNER: &str = "/runners/connect?protocol_version=7&namespace=default&runner_key=abc";

/// The address with one part of it replaced.
fn but(address: &str, part: &str, by: &str) -> String {
    assert!(address.contains(part), "{address} has no {part}");
    address.replace(part, by)
}

#[tokio::test(flavor = "multi_thread")]
async fn envoys_that_are_refused() {
    let engine = Engine::start().await;
    make_pool(&engine, "p").await;
    let key = |key: &str| but(ENVOY, "=abc", &format!("={key}"));
    let rows = [
        ("no protocol version", but(ENVOY, "protocol_version=8&", ""), "ws.invalid_request"),
        ("protocol 0", but(ENVOY, "=8", "=0"), "ws.invalid_request"),
        ("protocol 1", but(ENVOY, "=8", "=1"), "ws.invalid_request"),
        ("protocol 9", but(ENVOY, "=8", "=9"), "ws.invalid_request"),
        ("protocol 65535", but(ENVOY, "=8", "=65535"), "ws.invalid_request"),
        ("protocol 65536", but(ENVOY, "=8", "=65536"), "core.internal_error"),
        ("protocol eight", but(ENVOY, "=8", "=eight"), "core.internal_error"),
        ("protocol nothing", but(ENVOY, "=8", "="), "core.internal_error"),
        ("no namespace", but(ENVOY, "namespace=default&", ""), "ws.invalid_request"),
        ("an unknown namespace", but(ENVOY, "=default", "=nowhere"), "namespace.not_found"),
        ("no key", but(ENVOY, "envoy_key=abc&", ""), "ws.invalid_request"),
        ("a key of 2", key("ab"), "ws.invalid_request"),
        ("a key of 129", key(&"a".repeat(129)), "ws.invalid_request"),
        ("a key with a blank", key("a+c"), "ws.invalid_request"),
        ("a key with a dot", key("a.c"), "ws.invalid_request"),
        ("a key with an umlaut", key("a%C3%A4c"), "ws.invalid_request"),
        ("a key that is no text", key("a%ffc"), "ws.invalid_request"),
        ("a key that begins with a hyphen", key("-abc"), "ws.invalid_request"),
        ("a key that ends with a hyphen", key("abc-"), "ws.invalid_request"),
        ("no version", but(ENVOY, "version=1&", ""), "ws.invalid_request"),
        ("version one", but(ENVOY, "version=1&", "version=one&"), "core.internal_error"),
        ("version 2^32", but(ENVOY, "version=1&", "version=4294967296&"), "core.internal_error"),
        ("no pool", but(ENVOY, "&pool_name=p", ""), "ws.invalid_request"),
        ("a pool of 129", but(ENVOY, "=p", &format!("={}", "p".repeat(129))), "ws.invalid_request"),
        ("an unknown pool", but(ENVOY, "=p", "=q"), "ws.no_runner_config"),
        ("nothing at all", "/envoys/connect".to_string(), "ws.invalid_request"),
    ];
    let mut wrong = Vec::new();
    for (what, target, expected) in rows {
        let seen = Socket::open(&engine, &target, "rivet").await.closed().await;
        if seen != (1011, expected.to_string()) {
            wrong.push(format!("{what}: 1011 {expected} expected, seen {seen:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} rows are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn envoys_that_are_taken() {
    let engine = Engine::start().await;
    make_pool(&engine, "p").await;
    let key = |key: &str| but(ENVOY, "=abc", &format!("={key}"));
    let query = ENVOY.split_once('?').expect("it has one").1;
    let rows = [
        ("as it is", ENVOY.to_string(), "rivet"),
        ("a slash at the end", but(ENVOY, "connect?", "connect/?"), "rivet"),
        ("a token that nobody asked for", ENVOY.to_string(), "rivet, rivet_token.dev"),
        ("protocol 3", but(ENVOY, "=8", "=3"), "rivet"),
        ("a key of 3", key("a-_"), "rivet"),
        ("a key of 128", key(&"a".repeat(128)), "rivet"),
        ("a version of 32 bits", but(ENVOY, "version=1&", "version=4294967295&"), "rivet"),
        ("by protocol", format!("/?{query}"), "rivet, rivet_target.envoy"),
    ];
    for (what, target, protocols) in rows {
        let mut socket = Socket::open(&engine, &target, protocols).await;
        assert_eq!(socket.headers["sec-websocket-protocol"], "rivet", "{what}");
        assert!(socket.headers.contains_key("x-rivet-ray-id"), "{what}");
        let Some(Ok(Message::Binary(init))) = socket.next().await else { panic!("{what}: Init expected") };
        assert_eq!(init[0], 0, "{what}");
        socket.close().await;
    }
    let mut unasked = Socket::open(&engine, ENVOY, "").await;
    assert!(!unasked.headers.contains_key("sec-websocket-protocol"), "who offers no protocol is not answered with one");
    assert!(matches!(unasked.next().await, Some(Ok(Message::Binary(_)))));
}

#[tokio::test(flavor = "multi_thread")]
async fn legacy_runners_that_are_refused() {
    let engine = Engine::start().await;
    let rows = [
        ("no protocol version", but(RUNNER, "protocol_version=7&", ""), "ws.invalid_url"),
        ("protocol 3", but(RUNNER, "=7", "=3"), "ws.invalid_request"),
        ("protocol 8", but(RUNNER, "=7", "=8"), "ws.invalid_packet"),
        ("protocol seven", but(RUNNER, "=7", "=seven"), "core.internal_error"),
        ("no namespace", but(RUNNER, "namespace=default&", ""), "ws.invalid_url"),
        ("an unknown namespace", but(RUNNER, "=default", "=nowhere"), "namespace.not_found"),
        ("no key", but(RUNNER, "&runner_key=abc", ""), "ws.invalid_url"),
        ("an empty key", but(RUNNER, "=abc", "="), "ws.invalid_request"),
        ("by protocol, without anything", "/?".to_string(), "ws.invalid_url"),
    ];
    for (what, target, expected) in rows {
        let protocols = if target.len() > 2 { "rivet" } else { "rivet, rivet_target.runner" };
        let seen = Socket::open(&engine, &target, protocols).await.closed().await;
        assert_eq!(seen, (1011, expected.to_string()), "{what}");
    }
    let stopping = Message::Binary(Bytes::from_static(b"\x03"));
    let rows = [
        ("text", Message::Text("hello".into()), "ws.invalid_initial_packet"),
        ("another message than Init", stopping, "ws.invalid_initial_packet"),
        ("no message at all", Message::Binary(Bytes::from_static(b"\xff")), "ws.invalid_packet"),
        ("half of Init", Message::Binary(Bytes::from_static(b"\x00\x05ab")), "ws.invalid_packet"),
    ];
    for (what, first, expected) in rows {
        let mut socket = Socket::open(&engine, RUNNER, "rivet").await;
        socket.send(first).await.expect("the socket is open");
        assert_eq!(socket.closed().await, (1011, expected.to_string()), "{what}");
    }
    let mut silent = Socket::open(&engine, RUNNER, "rivet").await;
    assert_eq!(silent.closed().await, (1011, "ws.timed_out_waiting_for_init".to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens() {
    let folder = tempfile::tempdir().expect("a folder for the configuration");
    let file = folder.path().join("engine.json");
    std::fs::write(&file, r#"{"auth":{"admin_token":"s3cret"}}"#).expect("it can be written");
    let engine = Engine::start_with(&["--config", file.to_str().expect("a path that is text")]).await;
    let rows = [
        ("rivet", "guard.missing_header"),
        ("rivet, rivet_token.wrong", "api.forbidden"),
        ("rivet, rivet_token.", "api.forbidden"),
        // The token is looked at first; then there is no such pool.
        ("rivet, rivet_token.s3cret", "ws.no_runner_config"),
        ("rivet_token.s3cret, rivet", "ws.no_runner_config"),
    ];
    for (protocols, expected) in rows {
        let seen = Socket::open(&engine, ENVOY, protocols).await.closed().await;
        assert_eq!(seen, (1011, expected.to_string()), "{protocols}");
    }
    let seen = Socket::open(&engine, RUNNER, "rivet").await.closed().await;
    assert_eq!(seen, (1011, "guard.missing_header".to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_requests_are_told_what_this_is() {
    let engine = Engine::start().await;
    let rows = [
        ("/envoys/connect", None),
        ("/envoys/connect/", None),
        ("/runners/connect", None),
        ("/x", Some("envoy")),
        ("/x", Some("runner")),
    ];
    for (path, target) in rows {
        let mut call = Call::get(path);
        call.headers.extend(target.map(|target| ("x-rivet-target", target.to_string())));
        let answer = engine.send(call).await;
        assert_eq!((answer.status, answer.headers["content-type"].as_bytes()), (200, &b"text/plain"[..]), "{path} {target:?}");
        assert!(answer.text().contains("WebSocket"), "{path} {target:?}");
    }
}
