//! Connections of runners of components, against an engine without sockets.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::HeaderValue;
use protocol::component::ComponentHash;
use protocol::id::RequestId;
use protocol::link::ToRunnerLink;
use protocol::message::{FromRunner, RunnerProfile, Serves, ToRunner};
use protocol::wire::ComponentsVersion;
use protocol::wire::components::{Assembly, PIECE_BYTES, ToComponents, decode_to_components, encode_from_components};
use sha2::{Digest, Sha256};
use tokio::io::DuplexStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::connect::Hello;
use super::session;
use crate::auth::pass::Pass;
use crate::runners::pings::Pace;
use crate::testing::{self, TestEngine};

const VERSION: ComponentsVersion = ComponentsVersion::NEWEST;
const PACE: Pace = Pace { first_ping: 0, ping: 20, jitter: 1, stale: 100, lost: 300 };
const LAZY: Pace = Pace { first_ping: 60_000, ping: 60_000, jitter: 1, stale: 60_000, lost: 60_000 };

/// The other end of a session.
struct Peer {
    socket: WebSocketStream<DuplexStream>,
}

impl Peer {
    /// Up to the welcome.
    async fn connect(engine: &TestEngine, key: &str, pace: Pace) -> Peer {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let (engine, key) = (engine.engine.clone(), key.to_string());
        tokio::spawn(async move {
            let socket = WebSocketStream::from_raw_socket(ours, Role::Server, None).await;
            let hello = Hello {
                version: VERSION,
                profile: RunnerProfile { key, version: 1, serves: Serves::Components },
                pass: Pass::default(),
            };
            session::run(&engine, socket, hello, &HeaderValue::from_static("ray"), &pace).await;
        });
        let mut peer = Peer { socket: WebSocketStream::from_raw_socket(theirs, Role::Client, None).await };
        let ToComponents::Welcome(welcome) = peer.hear().await else { panic!("a welcome is expected") };
        assert_eq!((welcome.ping_interval_ms, welcome.lost_ms), (pace.ping, pace.lost));
        peer
    }

    async fn say(&mut self, message: FromRunner) {
        let bytes = encode_from_components(VERSION, &message).expect("it can be said");
        self.socket.send(Message::Binary(bytes)).await.expect("the socket is open");
    }

    async fn hear(&mut self) -> ToComponents {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Binary(bytes))) => return decode_to_components(VERSION, bytes).expect("it can be read"),
                Some(Ok(Message::Ping(_))) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Code and reason.
    async fn closed(&mut self) -> (u16, String) {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Close(Some(frame)))) => return (frame.code.into(), frame.reason.to_string()),
                Some(Ok(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

fn keys(engine: &TestEngine) -> Vec<String> {
    engine.engine.runners.components().iter().map(|link| link.profile.key.clone()).collect()
}

async fn until_there_are(engine: &TestEngine, expected: usize) {
    while engine.engine.runners.components().len() != expected {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_is_a_runner_for_as_long_as_it_lasts() {
    let engine = testing::start();
    let mut first = Peer::connect(&engine, "a", LAZY).await;
    let mut second = Peer::connect(&engine, "b", LAZY).await;
    assert_eq!(keys(&engine), ["b", "a"], "the newest first");
    assert_eq!(engine.engine.runners.count(), 2);
    let ids: Vec<_> = engine.engine.runners.components().iter().map(|link| link.runner).collect();
    engine.engine.runners.send(ids[1], ToRunner::RequestAbort { request: RequestId(5) });
    assert!(matches!(first.hear().await, ToComponents::Say(ToRunner::RequestAbort { request: RequestId(5) })));
    first.socket.close(None).await.expect("the socket is open");
    until_there_are(&engine, 1).await;
    assert!(engine.engine.runners.link(ids[1]).is_none());
    // One that comes back is another one: nothing said to the first is meant for it.
    let _again = Peer::connect(&engine, "a", LAZY).await;
    assert!(!ids.contains(&engine.engine.runners.components()[0].runner));
    engine.engine.runners.leave(Duration::from_secs(1)).await;
    assert_eq!(second.closed().await, (1011, "ws.going_away#ray".to_string()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newer_connection_takes_the_place() {
    let engine = testing::start();
    let mut old = Peer::connect(&engine, "a", LAZY).await;
    let before = engine.engine.runners.components()[0].runner;
    let _new = Peer::connect(&engine, "a", LAZY).await;
    assert_eq!(old.closed().await, (1000, "ws.eviction#ray".to_string()));
    assert_eq!(keys(&engine), ["a"]);
    assert_ne!(engine.engine.runners.components()[0].runner, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runner_that_does_not_answer_is_closed() {
    let engine = testing::start();
    // The library answers pings as long as it is read.
    let mut alive = Peer::connect(&engine, "alive", PACE).await;
    let reading = tokio::spawn(async move { alive.closed().await });
    let mut silent = Peer::connect(&engine, "silent", PACE).await;
    until_there_are(&engine, 1).await;
    assert_eq!(keys(&engine), ["alive"]);
    assert_eq!(silent.closed().await, (1011, "ws.timed_out#ray".to_string()));
    engine.engine.runners.leave(Duration::from_secs(1)).await;
    assert_eq!(reading.await.expect("it does not panic"), (1011, "ws.going_away#ray".to_string()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_or_said_ends_the_connection() {
    let engine = testing::start();
    let mut peer = Peer::connect(&engine, "a", LAZY).await;
    // Text means nothing.
    peer.socket.send(Message::Text("hello".into())).await.expect("the socket is open");
    peer.socket.send(Message::Binary(vec![0xff, 0xff].into())).await.expect("the socket is open");
    assert_eq!(peer.closed().await, (1011, "core.internal_error#ray".to_string()));

    let mut peer = Peer::connect(&engine, "b", LAZY).await;
    let component = ComponentHash([1; 32]);
    engine.engine.runners.components()[0].send(ToRunner::Component { component, bytes: Err(String::new()) });
    assert_eq!(peer.closed().await, (1011, "core.internal_error#ray".to_string()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn components_come_in_pieces_and_what_is_said_meanwhile_between_them() {
    let engine = testing::start();
    let bytes: Vec<u8> = (0..5 * PIECE_BYTES + 1).map(|at| at as u8).collect();
    let component = ComponentHash(Sha256::digest(&bytes).into());
    let file = engine.folder().join("components").join(format!("{component}.wasm"));
    std::fs::write(file, &bytes).expect("it can be written");
    let mut peer = Peer::connect(&engine, "a", LAZY).await;
    let absent = ComponentHash([1; 32]);
    for wanted in [component, absent, component] {
        peer.say(FromRunner::GetComponent { component: wanted }).await;
    }
    let mut assembly = Assembly::default();
    let (mut pieces, mut between, mut whole) = (0, 0, Vec::new());
    while whole.len() < 2 {
        match peer.hear().await {
            ToComponents::Piece(piece) => {
                pieces += 1;
                whole.extend(assembly.add(piece).expect("pieces come in turn"));
                // Said in the middle of it, and heard before its end.
                engine.engine.runners.components()[0].send(ToRunner::RequestAbort { request: RequestId(pieces) });
            }
            ToComponents::Say(ToRunner::RequestAbort { .. }) if whole.is_empty() => between += 1,
            ToComponents::Say(ToRunner::RequestAbort { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(between > 0, "nothing came between {pieces} pieces");
    let [ToRunner::Component { bytes: Ok(one), .. }, ToRunner::Component { component: other, bytes: Err(why) }] = &whole[..] else {
        panic!("{whole:?}");
    };
    assert!(one == &bytes, "{} bytes came, or others", one.len());
    assert_eq!(*other, absent);
    assert!(why.contains("the engine cannot read component 0101"), "{why}");
}
