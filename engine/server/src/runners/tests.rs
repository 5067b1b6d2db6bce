//! Connections of runners, against an engine without sockets: what follows from what, and when.

use bytes::Bytes;
use engine_core::Input;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderValue, Method};
use protocol::link::ToRunnerLink;
use protocol::message::{Checkpoint, Command, KvAnswer, RequestStart, RunnerProfile, StopReason};
use protocol::trace::Carried;
use protocol::wire::actor::CommandWrapper;
use protocol::wire::envoy::{ToEnvoy, ToRivet, decode_to_envoy, encode_to_rivet};
use protocol::wire::kv::{KvRequestData, KvResponseData};
use protocol::wire::tunnel::{AbortKind, MessageId, ToEnvoyTunnel, ToRivetTunnel};
use protocol::wire::{Dialect, EnvoyVersion, RunnerVersion};
use tokio::io::DuplexStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::*;
use crate::auth::pass::Pass;
use crate::requests::{Head, Place, Reply};
use crate::runners::calls::{Asked, Call};
use crate::runners::connect::Hello;
use crate::runners::pings::Pace;
use crate::testing::{self, TestEngine};

const PACE: Pace = Pace { first_ping: 0, ping: 20, jitter: 1, stale: 100, lost: 300 };
const LAZY: Pace = Pace { first_ping: 60_000, ping: 60_000, jitter: 1, stale: 60_000, lost: 60_000 };

fn namespace() -> NamespaceId {
    Id::new([3; 16], 1)
}

fn profile(protocol: RunnerProtocol) -> RunnerProfile {
    let serves = Serves::Pool { namespace: namespace(), pool: "p".to_string(), protocol, slots: None };
    RunnerProfile { key: "key".to_string(), version: 1, serves }
}

fn hello(version: EnvoyVersion) -> Hello {
    Hello {
        dialect: Dialect::Envoy(version),
        namespace: "default".to_string(),
        profile: profile(RunnerProtocol::Envoy(version.number())),
        names: Vec::new(),
        metadata: None,
        pass: Pass::default(),
    }
}

fn arrival(first: &'static [u8]) -> Arrival {
    let version = EnvoyVersion::NEWEST;
    Arrival {
        dialect: Dialect::Envoy(version),
        profile: profile(RunnerProtocol::Envoy(version.number())),
        metadata: None,
        now_ms: 1,
        first: Bytes::from_static(first),
    }
}

/// The other end of a session.
struct Peer {
    socket: WebSocketStream<DuplexStream>,
    version: EnvoyVersion,
}

impl Peer {
    async fn connect(engine: &TestEngine, version: EnvoyVersion, pace: Pace) -> Peer {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let engine = engine.engine.clone();
        tokio::spawn(async move {
            let socket = WebSocketStream::from_raw_socket(ours, Role::Server, None).await;
            session::run(&engine, socket, hello(version), &HeaderValue::from_static("ray"), &pace).await;
        });
        Peer { socket: WebSocketStream::from_raw_socket(theirs, Role::Client, None).await, version }
    }

    async fn say(&mut self, message: ToRivet) {
        let bytes = encode_to_rivet(self.version, &message).expect("this version can say it");
        self.socket.send(Message::Binary(bytes)).await.expect("the socket is open");
    }

    async fn hear_bytes(&mut self) -> Bytes {
        match self.socket.next().await {
            Some(Ok(Message::Binary(bytes))) => bytes,
            other => panic!("{other:?}"),
        }
    }

    async fn hear(&mut self) -> ToEnvoy {
        let bytes = self.hear_bytes().await;
        decode_to_envoy(self.version, bytes).expect("the engine says what can be read")
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_begins_with_init_and_a_ping() {
    let engine = testing::start();
    let mut peer = Peer::connect(&engine, EnvoyVersion::NEWEST, Pace { first_ping: 0, ..LAZY }).await;
    let golden = "00983a00000000000040771b00000000000000400100000000";
    let hex: String = peer.hear_bytes().await.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, golden);
    let ToEnvoy::Ping { ts } = peer.hear().await else { panic!("a ping is expected") };
    peer.say(ToRivet::Pong { ts }).await;
    // What is no message at all changes nothing.
    peer.socket.send(Message::Text("hello".into())).await.expect("the socket is open");
    peer.socket.send(Message::Binary(Bytes::from_static(b"\xff\xff"))).await.expect("the socket is open");
    let metadata = |json: &str| ToRivet::Metadata { prepopulate_actor_names: None, metadata: Some(json.to_string()) };
    peer.say(metadata(r#"{"a":1}"#)).await;
    peer.say(metadata("[1]")).await;
    let actor = "x".to_string();
    peer.say(ToRivet::KvRequest { actor_id: actor, request_id: 1, data: KvRequestData::Drop }).await;
    let answer = KvResponseData::Error { message: "invalid input length: expected at least 4 characters".to_string() };
    assert_eq!(peer.hear().await, ToEnvoy::KvResponse { request_id: 1, data: answer });
    let [info] = &engine.engine.runners.list(namespace())[..] else { panic!("it is listed") };
    assert_eq!((&*info.pool, &*info.key, info.metadata.as_deref()), ("p", "key", Some(r#"{"a":1}"#)));
    assert!(engine.engine.runners.list(Id::new([4; 16], 1)).is_empty());
    peer.socket.close(None).await.expect("the socket is open");
    while !engine.engine.runners.list(namespace()).is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newer_connection_takes_the_place() {
    let engine = testing::start();
    let mut old = Peer::connect(&engine, EnvoyVersion::NEWEST, LAZY).await;
    old.hear_bytes().await;
    let mut new = Peer::connect(&engine, EnvoyVersion::NEWEST, LAZY).await;
    new.hear_bytes().await;
    assert_eq!(old.closed().await, (1000, "ws.eviction#ray".to_string()));
    engine.engine.runners.leave(Duration::from_secs(1)).await;
    assert_eq!(new.closed().await, (1011, "ws.going_away#ray".to_string()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runner_that_does_not_answer_is_closed() {
    let engine = testing::start();
    let mut peer = Peer::connect(&engine, EnvoyVersion::NEWEST, PACE).await;
    peer.hear_bytes().await;
    // Longer than `lost`, and answered.
    for _ in 0..20 {
        let ToEnvoy::Ping { ts } = peer.hear().await else { panic!("a ping is expected") };
        peer.say(ToRivet::Pong { ts }).await;
    }
    let began = std::time::Instant::now();
    assert_eq!(peer.closed().await, (1011, "ws.timed_out#ray".to_string()));
    assert!(began.elapsed() >= Duration::from_millis(PACE.lost - PACE.ping));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_of_no_actor_ends_the_connection() {
    use protocol::wire::actor::{ActorCheckpoint, ActorState, Event, EventWrapper};
    let engine = testing::start();
    let mut peer = Peer::connect(&engine, EnvoyVersion::NEWEST, LAZY).await;
    let checkpoint = ActorCheckpoint { actor_id: "nobody".to_string(), generation: 1, index: 0 };
    let events = vec![EventWrapper { checkpoint, inner: Event::StateUpdate { state: ActorState::Running } }];
    peer.say(ToRivet::Events { events }).await;
    assert_eq!(peer.closed().await, (1011, "core.internal_error#ray".to_string()));
}

fn opened(
    engine: &TestEngine,
    link: Arc<dyn ToRunnerLink>,
    runner: RunnerId,
) -> (RequestId, tokio::sync::oneshot::Receiver<Reply>) {
    let head = Head { method: Method::GET, path: "/x".to_string(), headers: HeaderMap::new(), body: Bytes::new(), room: None };
    let (request, reply) = engine.engine.requests.open(head, None).expect("there is room");
    engine.engine.requests.dispatch(request, Place { runner, link, actor: Id::new([1; 16], 1), generation: 1 });
    (request, reply)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn responses_are_checked_before_a_client_gets_them() {
    let engine = testing::start();
    let mut peer = Peer::connect(&engine, EnvoyVersion::NEWEST, LAZY).await;
    peer.hear_bytes().await;
    let runner = engine.engine.runners.id_of(&RunnerRef::Envoy { namespace: namespace(), key: "key".to_string() });
    let link = engine.engine.runners.link(runner).expect("it is connected");
    let start = |status, index_headers: &[(&str, &str)], stream| ToRivetTunnel::ResponseStart {
        status,
        headers: index_headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        body: None,
        stream,
    };
    let rows = [
        (0, start(201, &[("x-a", "b")], false), "201"),
        (0, start(0, &[], false), "actor.invalid_response"),
        (0, start(200, &[("a b", "")], false), "actor.invalid_response"),
        (1, start(200, &[], false), "core.internal_error"),
        (0, ToRivetTunnel::ResponseAbort { reason: Default::default() }, "guard.tunnel_request_aborted"),
    ];
    for (index, message, expected) in rows {
        let (request, reply) = opened(&engine, link.clone(), runner);
        let ToEnvoy::Tunnel { message_id, message: ToEnvoyTunnel::RequestStart { path, actor_generation, .. } } = peer.hear().await
        else {
            panic!("a request is expected")
        };
        assert_eq!((message_id.index, &*path, actor_generation), (0, "/x", Some(1)));
        assert_eq!(from_wire::request(message_id.stream), request);
        let rejected = !matches!(message, ToRivetTunnel::ResponseAbort { .. }) && expected != "201";
        peer.say(ToRivet::Tunnel { message_id: MessageId { index, ..message_id }, message }).await;
        let reply = match reply.await.expect("the request ends") {
            Reply::Whole(status, ..) => status.as_str().to_string(),
            Reply::Streamed(..) => panic!("it is whole"),
            Reply::Refused(error) => format!("{}.{}", error.group, error.code),
        };
        assert_eq!(reply, expected);
        if rejected {
            let ToEnvoy::Tunnel { message_id, message: ToEnvoyTunnel::RequestAbort { reason, .. } } = peer.hear().await else {
                panic!("an abort is expected")
            };
            assert_eq!((message_id.index, reason.kind), (1, AbortKind::InternalError));
        }
    }
    // Of a request that it was never given.
    let (request, mut reply) = opened(&engine, Arc::new(testing::Heard::default()), RunnerId(1));
    let message_id = MessageId { stream: to_wire::stream(request), index: 0 };
    peer.say(ToRivet::Tunnel { message_id, message: start(200, &[], false) }).await;
    peer.say(ToRivet::KvRequest { actor_id: String::new(), request_id: 1, data: KvRequestData::Drop }).await;
    peer.hear().await;
    assert!(reply.try_recv().is_err());
}

/// What the next connection is sent.
fn sent(connection: &Connection) -> String {
    let mut words = Vec::new();
    while let Some(outgoing) = connection.pop_if(|_| true) {
        words.push(match outgoing {
            remote::Outgoing::Encoded(bytes) => String::from_utf8_lossy(&bytes).to_string(),
            remote::Outgoing::Say(message, stamp) => {
                let index = stamp.map_or(String::new(), |stamp| format!(" {}", stamp.index));
                let text = format!("{message:?}");
                format!("{}{index}", text.split([' ', '(', '{']).next().unwrap_or_default())
            }
            remote::Outgoing::Reject(..) => "reject".to_string(),
        });
    }
    words.join(", ")
}

fn inputs(inbox: &Inbox) -> usize {
    let mut taken = Vec::new();
    inbox.take(&mut taken);
    taken.iter().filter(|input| matches!(input, Input::RunnerLeft { .. })).count() * 10
        + taken.iter().filter(|input| matches!(input, Input::RunnerJoined { .. })).count()
}

#[test]
fn what_waits_while_a_runner_is_away() {
    let inbox = Inbox::default();
    let remote = Remote::new(RunnerId(2), RunnerRef::Envoy { namespace: namespace(), key: "key".to_string() });
    let actor = Id::new([1; 16], 1);
    let request = |id, body: usize| {
        ToRunner::Request(RequestStart {
            request: RequestId(id),
            actor,
            generation: 1,
            method: Method::GET,
            path: "/".to_string(),
            headers: HeaderMap::new(),
            body: vec![0; body].into(),
            stream: true,
        })
    };
    let chunk = |id| ToRunner::RequestChunk { request: RequestId(id), body: Bytes::new(), finish: false };
    let checkpoint = Checkpoint { actor, generation: 1, index: 1 };
    let stop = || ToRunner::Command(checkpoint, Command::Stop(StopReason::Sleep));
    let call = |connection| Call { connection, asked: Asked::KvPut, request_id: 1 }.number();
    let written = |connection| ToRunner::Kv { actor, generation: 0, call: call(connection), result: Ok(KvAnswer::Written) };

    let (first, _) = remote.attach(&inbox, arrival(b"init")).expect("it is not forgotten");
    assert_eq!(inputs(&inbox), 1);
    remote.send(request(1, 0));
    assert_eq!(sent(&first), "init, Request 0");
    remote.send(chunk(1));
    remote.send(stop());
    remote.send(written(1));
    remote.detach(&inbox, &first);
    assert_eq!(inputs(&inbox), 10);
    assert!(!remote.streams() || remote.response_window_bytes() == 1 << 20, "what it spoke last is remembered");
    remote.send(chunk(1));
    remote.send(stop());
    remote.send(request(2, 15 << 20));
    remote.send(request(3, 2 << 20));
    remote.send(ToRunner::AckEvents(checkpoint));

    let (second, dropped) = remote.attach(&inbox, arrival(b"init")).expect("it is not forgotten");
    assert_eq!(dropped, [RequestId(3)], "16 MiB may wait");
    remote.send(written(1));
    remote.send(written(2));
    assert_eq!(sent(&second), "init, RequestChunk 1, RequestChunk 2, Request 0, AckEvents, Kv");
    let (third, _) = remote.attach(&inbox, arrival(b"init")).expect("it is not forgotten");
    remote.detach(&inbox, &second);
    assert_eq!(inputs(&inbox), 2, "one that was replaced does not leave");
    assert!(remote.speaking(&second).is_none() && remote.speaking(&third).is_some());
    assert!(!remote.forget(), "it is connected");
    remote.detach(&inbox, &third);
    assert!(remote.forget());
    assert!(remote.attach(&inbox, arrival(b"")).is_none());
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_closed() {
    let inbox = Inbox::default();
    let remote = Remote::new(RunnerId(2), RunnerRef::Envoy { namespace: namespace(), key: "key".to_string() });
    let (connection, _) = remote.attach(&inbox, arrival(b"")).expect("it is not forgotten");
    let data = Bytes::from(vec![0; 20 << 20]);
    for index in 0..4 {
        remote.send(ToRunner::SocketMessage {
            request: RequestId(1),
            index,
            data: data.clone(),
            binary: true,
            trace: Carried::default(),
        });
    }
    assert_eq!(connection.ended().await, Ending::TooSlow);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_that_wait_are_sent_together() {
    let engine = testing::start();
    let mut peer = Peer::connect(&engine, EnvoyVersion::NEWEST, LAZY).await;
    peer.hear_bytes().await;
    let runner = engine.engine.runners.id_of(&RunnerRef::Envoy { namespace: namespace(), key: "key".to_string() });
    let actor = Id::new([1; 16], 1);
    for index in 1..=600 {
        let checkpoint = Checkpoint { actor, generation: 1, index };
        engine.engine.runners.send(runner, ToRunner::Command(checkpoint, Command::Stop(StopReason::Sleep)));
    }
    let (mut heard, mut frames) = (Vec::new(), 0);
    while heard.len() < 600 {
        let ToEnvoy::Commands { commands } = peer.hear().await else { panic!("commands are expected") };
        heard.extend(commands.into_iter().map(|CommandWrapper { checkpoint, .. }| checkpoint.index));
        frames += 1;
    }
    assert_eq!(heard, (1..=600).collect::<Vec<_>>());
    assert!(frames >= 3);
}

#[test]
fn a_legacy_runner_has_the_same_id_again() {
    let id = |pool, key| public_id(namespace(), pool, key);
    assert_eq!(id("p", "key"), id("p", "key"));
    assert_ne!(id("p", "key"), id("pk", "ey"));
    assert_eq!(RunnerVersion::all().count(), 4);
}
