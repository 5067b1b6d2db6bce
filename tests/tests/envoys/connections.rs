//! How a connection of a runner lives and ends.

use std::time::{Duration, Instant};

use bytes::Bytes;
use protocol::wire::envoy::{ToEnvoy, ToRivet};
use protocol::wire::kv::{KvRequestData, KvResponseData};
use protocol::wire::{EnvoyVersion, RunnerVersion};
use rivet_tests::{Engine, Envoy, Socket};
use tokio_tungstenite::tungstenite::Message;

use crate::make_pool;

/// Any answer: the connection lives.
async fn is_served(envoy: &mut Envoy) {
    let answer = envoy.kv("x", KvRequestData::Drop).await;
    assert!(matches!(answer, KvResponseData::Error { .. }), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_words() {
    let engine = Engine::start().await;
    make_pool(&engine, "p").await;
    let target = "/envoys/connect?protocol_version=8&namespace=default&envoy_key=abc&version=1&pool_name=p";
    let mut socket = Socket::open(&engine, target, "rivet").await;
    let mut frame = async || match socket.next().await {
        Some(Ok(Message::Binary(bytes))) => bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
        other => panic!("a message expected, seen {other:?}"),
    };
    assert_eq!(frame().await, "00983a00000000000040771b00000000000000400100000000");
    let ping = frame().await;
    assert!(ping.starts_with("05") && ping.len() == 18, "{ping}");

    for version in EnvoyVersion::all() {
        let mut envoy = Envoy::connect_as(&engine, "p", "of-any-version", version, 1).await;
        assert!(matches!(envoy.hear_any().await, ToEnvoy::Ping { .. }));
        is_served(&mut envoy).await;
        envoy.socket.close().await;
    }
    for version in RunnerVersion::all() {
        let (mut runner, id) = Envoy::connect_legacy(&engine, "q", "abc", version, 10).await;
        is_served(&mut runner).await;
        runner.socket.close().await;
        let (runner, again) = Envoy::connect_legacy(&engine, "q", "abc", version, 10).await;
        assert_eq!((again, id.len()), (id, 30), "a runner that comes back has the id that it had");
        runner.socket.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_means_nothing_is_ignored() {
    let engine = Engine::start().await;
    make_pool(&engine, "p").await;
    let mut envoy = Envoy::connect(&engine, "p", "abc").await;
    let frames = [
        Message::Text("hello".into()),
        Message::Binary(Bytes::new()),
        Message::Binary(Bytes::from_static(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")),
        Message::Binary(Bytes::from_static(b"\x03\x00")),
        Message::Ping(Bytes::from_static(b"x")),
        Message::Binary(Bytes::from(vec![0; 1 << 20])),
    ];
    for frame in frames {
        envoy.socket.send(frame).await.expect("the socket is open");
    }
    envoy.say(ToRivet::Pong { ts: i64::MIN }).await;
    envoy.say(ToRivet::Pong { ts: i64::MAX }).await;
    loop {
        match envoy.socket.next().await {
            Some(Ok(Message::Pong(data))) => break assert_eq!(&data[..], b"x"),
            Some(Ok(Message::Binary(_))) => {}
            other => panic!("a pong expected, seen {other:?}"),
        }
    }
    is_served(&mut envoy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_is_too_long_ends_the_connection() {
    let engine = Engine::start().await;
    make_pool(&engine, "p").await;
    let mut envoy = Envoy::connect(&engine, "p", "abc").await;
    let longest = Bytes::from(vec![0xff; 32 << 20]);
    envoy.socket.send(Message::Binary(longest)).await.expect("the socket is open");
    is_served(&mut envoy).await;
    // The engine may be gone before it is all sent.
    let _ = envoy.socket.send(Message::Binary(Bytes::from(vec![0xff; (32 << 20) + 1]))).await;
    assert_eq!(envoy.socket.closed().await, (1011, "core.internal_error".to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newer_of_two_with_one_key_stays() {
    let engine = Engine::start().await;
    make_pool(&engine, "p").await;
    let mut old = Envoy::connect(&engine, "p", "abc").await;
    let mut new = Envoy::connect(&engine, "p", "abc").await;
    assert_eq!(old.socket.closed().await, (1000, "ws.eviction".to_string()));
    is_served(&mut new).await;
    let mut other = Envoy::connect(&engine, "p", "abd").await;
    is_served(&mut other).await;
    is_served(&mut new).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_ends_a_connection_and_pongs_keep_it() {
    let engine = Engine::start().await;
    make_pool(&engine, "p").await;
    let mut alive = Envoy::connect(&engine, "p", "alive").await;
    let mut silent = Envoy::connect(&engine, "p", "silent").await;
    silent.is_alive = false;
    let began = Instant::now();
    let answers = async {
        // Hears nothing but pings, which it answers.
        let _ = tokio::time::timeout(Duration::from_secs(17), alive.hear()).await;
    };
    let (closed, ()) = tokio::join!(silent.socket.closed(), answers);
    assert_eq!(closed, (1011, "ws.timed_out".to_string()));
    assert!(began.elapsed() >= Duration::from_secs(15));
    is_served(&mut alive).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runners_are_told_when_the_engine_ends() {
    let mut engine = Engine::start().await;
    make_pool(&engine, "p").await;
    let mut envoy = Envoy::connect(&engine, "p", "abc").await;
    let (mut runner, _) = Envoy::connect_legacy(&engine, "p", "abc", RunnerVersion::NEWEST, 1).await;
    engine.tell_to_stop();
    let going_away = (1011, "ws.going_away".to_string());
    assert_eq!(envoy.socket.closed().await, going_away);
    assert_eq!(runner.socket.closed().await, going_away);
    assert_eq!(engine.ended().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_no_actor_ends_the_connection() {
    use protocol::wire::actor::ActorCheckpoint;
    let engine = Engine::start().await;
    make_pool(&engine, "p").await;
    let mut envoy = Envoy::connect(&engine, "p", "abc").await;
    let nobody = |actor_id: &str| ActorCheckpoint { actor_id: actor_id.to_string(), generation: 1, index: 0 };
    // To acknowledge what never was is nothing.
    envoy.say(ToRivet::AckCommands { last_command_checkpoints: vec![nobody("nobody")] }).await;
    is_served(&mut envoy).await;
    envoy.running(&nobody("nobody")).await;
    assert_eq!(envoy.socket.closed().await, (1011, "core.internal_error".to_string()));
}
