//! Real clients on a real port; the core and the runner are played by the test.

use std::sync::atomic::Ordering;
use std::time::Duration;

use engine_core::Input;
use engine_core::input::RequestKind;
use engine_store::{Memory, State};
use futures_util::{SinkExt, StreamExt};
use http::HeaderMap;
use protocol::id::Id;
use protocol::link::FromRunnerLink;
use protocol::message::{SocketOpen, ToRunner};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;

use super::*;
use crate::engine::Engine;
use crate::links::RunnerDoor;
use crate::testing::{self, Heard};
use crate::{api, http as server};

const RUNNER: RunnerId = RunnerId(7);
const WITHIN: Duration = Duration::from_secs(10);

struct Stage {
    engine: Arc<Engine>,
    _folder: tempfile::TempDir,
    port: u16,
    link: Arc<Heard>,
    told: Vec<Input>,
    stop: Option<oneshot::Sender<()>>,
    served: tokio::task::JoinHandle<usize>,
}

type Client = WebSocketStream<TcpStream>;

async fn stage() -> Stage {
    let (engine, folder) = testing::without_driver(State::new(Arc::new(Memory::new())));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let (stop, stopped) = oneshot::channel();
    let router = api::router(engine.clone());
    let stopped = async move { drop(stopped.await) };
    let doors = server::Doors { plain: listener, tls: None };
    let served = tokio::spawn(server::serve(doors, engine.clone(), router, stopped, WITHIN, |_, _| {}));
    Stage { engine, _folder: folder, port, link: Arc::default(), told: Vec::new(), stop: Some(stop), served }
}

/// Polls until there is one.
async fn until<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let began = tokio::time::Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(began.elapsed() < WITHIN, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl Stage {
    async fn connect(&self, path: &str, headers: &[(&'static str, &str)]) -> (Client, HeaderMap) {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.expect("it listens");
        // Written by hand: a library would refuse answers that are right for other clients.
        let mut head = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n");
        head.push_str("sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let (stream, headers) = handshake(stream, &format!("{head}\r\n")).await;
        (WebSocketStream::from_raw_socket(stream, Role::Client, None).await, headers)
    }

    /// A client whose actor was found.
    async fn asked(&mut self) -> (Client, RequestId) {
        let actor = Id::new([3; 16], 1);
        let (client, _) = self.connect(&format!("/gateway/{actor}/ws?x=1"), &[("sec-websocket-protocol", "rivet")]).await;
        let input = self.told_core("a request", |input| matches!(input, Input::Request { kind: RequestKind::Socket, .. })).await;
        let Input::Request { request, .. } = input else { unreachable!("it was just looked at") };
        (client, request)
    }

    /// A client whose actor took it.
    async fn opened(&mut self, can_hibernate: bool) -> (Client, RequestId) {
        let (client, request) = self.asked().await;
        self.dispatch(request, RUNNER, 1);
        self.heard("open").await;
        self.says(FromRunner::SocketOpened { request, can_hibernate });
        self.told_core("opened", |input| matches!(input, Input::SocketOpened { .. })).await;
        (client, request)
    }

    fn dispatch(&self, request: RequestId, runner: RunnerId, generation: u32) {
        let place = Place { runner, link: self.link.clone(), actor: Id::new([3; 16], 1), generation };
        assert!(self.engine.sockets.dispatch(request, &place), "it is a socket");
    }

    fn says(&self, message: FromRunner) {
        RunnerDoor::new(RUNNER, self.engine.clone()).send(message);
    }

    async fn told_core(&mut self, what: &str, mut wanted: impl FnMut(&Input) -> bool) -> Input {
        let inbox = &self.engine.inbox;
        let told = &mut self.told;
        until(what, || {
            let mut more = Vec::new();
            inbox.take(&mut more);
            told.extend(more);
            told.iter().position(&mut wanted).map(|at| told.remove(at))
        })
        .await
    }

    /// The next thing that the runner hears, in one line.
    async fn heard(&self, what: &str) -> String {
        let mut heard = until(what, || Some(self.link.take()).filter(|heard| !heard.is_empty())).await;
        assert_eq!(heard.len(), 1, "{heard:?}");
        shown(&heard.remove(0))
    }

    /// All that it hears until there is so much of it.
    async fn heard_all(&self, number: usize) -> Vec<String> {
        let mut heard = Vec::new();
        until("what the runner hears", || {
            heard.extend(self.link.take().iter().map(shown));
            (heard.len() >= number).then_some(())
        })
        .await;
        heard
    }
}

fn shown(message: &ToRunner) -> String {
    match message {
        ToRunner::SocketOpen(SocketOpen { generation, path, headers, .. }) => {
            let ray = headers.get("x-rivet-ray-id").map_or(0, |ray| ray.len());
            format!("open@{generation} {path} ray {ray}")
        }
        ToRunner::SocketMessage { index, data, binary, .. } => {
            format!("{index} {} {}", if *binary { "binary" } else { "text" }, String::from_utf8_lossy(data))
        }
        ToRunner::SocketClose { index, code, reason, .. } => format!("{index} close {code:?} {reason:?}"),
        other => panic!("{other:?}"),
    }
}

/// Sends a head and reads the one that answers it.
async fn handshake(mut stream: TcpStream, head: &str) -> (TcpStream, HeaderMap) {
    stream.write_all(head.as_bytes()).await.expect("it listens");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&answer))));
    }
    let text = String::from_utf8(answer).expect("heads are text");
    let mut lines = text.lines();
    let status = lines.next().expect("a status line").to_string();
    let mut headers = HeaderMap::new();
    headers.insert("status", status.parse().expect("plain"));
    for line in lines.filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ").expect("a header");
        headers.append(http::HeaderName::try_from(name).expect("a name"), value.parse().expect("a value"));
    }
    (stream, headers)
}

async fn next(client: &mut Client) -> Message {
    let message = tokio::time::timeout(WITHIN, client.next()).await.expect("in time");
    message.expect("the socket is open").expect("the server keeps to the protocol")
}

async fn closed(client: &mut Client) -> (u16, String) {
    match next(client).await {
        Message::Close(Some(CloseFrame { code, reason })) => (code.into(), reason.to_string()),
        other => panic!("a close expected, seen {other:?}"),
    }
}

fn without_ray(closed: (u16, String)) -> String {
    let (name, ray) = closed.1.split_once('#').unwrap_or((&closed.1, ""));
    assert!(ray.is_empty() || ray.len() == 30, "{closed:?}");
    format!("{} {name}", closed.0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_answer_to_a_handshake() {
    let stage = stage().await;
    let path = format!("/gateway/{}/ws", Id::new([3; 16], 1));
    let rows = [("rivet, x", "rivet"), ("x,rivet", "rivet"), ("x, rivet_token.t", "")];
    for (offered, chosen) in rows {
        let offers = [("sec-websocket-protocol", offered), ("origin", "http://app.example"), ("x-rivet-ray-id", "my-ray")];
        let (_client, headers) = stage.connect(&path, &offers).await;
        let get = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        assert_eq!(get("status"), "HTTP/1.1 101 Switching Protocols");
        assert_eq!(get("sec-websocket-protocol"), chosen, "{offered}");
        assert_eq!(get("sec-websocket-accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(get("x-rivet-ray-id"), "my-ray");
        assert_eq!(get("access-control-allow-origin"), "http://app.example");
        assert_eq!(get("vary"), "Origin");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_said_with_a_close() {
    let stage = stage().await;
    let id = Id::new([3; 16], 1);
    let rows = [
        ("/actors".to_string(), "rivet", "1011 guard.websocket_not_supported"),
        ("/health/ws".to_string(), "rivet", "1011 guard.no_route"),
        ("/gateway/abc/ws".to_string(), "rivet", "1011 api.bad_request"),
        (format!("/gateway/{id}/ws"), "", "1011 guard.missing_header"),
        ("/gateway/lobby/ws?rvt-method=get".to_string(), "rivet", "1011 guard.query_invalid_params"),
        ("/ws".to_string(), "rivet, rivet_target.actor", "1011 guard.missing_header"),
        ("/ws".to_string(), "rivet, rivet_target.moon", "1011 guard.no_route"),
    ];
    for (path, protocols, expected) in rows {
        let offers = [("sec-websocket-protocol", protocols)];
        let (mut client, _) = stage.connect(&path, if protocols.is_empty() { &[] } else { &offers }).await;
        assert_eq!(without_ray(closed(&mut client).await), expected, "{path} {protocols}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_handshake_is_answered_as_a_request() {
    let stage = stage().await;
    let path = format!("/gateway/{}/ws", Id::new([3; 16], 1));
    let head = |more: &str| format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n{more}\r\n");
    for more in
        ["", "sec-websocket-version: 13\r\n", "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 12\r\n"]
    {
        let stream = TcpStream::connect(("127.0.0.1", stage.port)).await.expect("it listens");
        let (_, headers) = handshake(stream, &head(more)).await;
        assert_eq!(headers["status"], "HTTP/1.1 400 Bad Request", "{more}");
        assert_eq!(headers["x-rivet-error"], "api.bad_request");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_go_both_ways_and_the_actor_closes() {
    let mut stage = stage().await;
    let (mut client, request) = stage.asked().await;
    client.send(Message::text("early")).await.expect("it is open");
    stage.dispatch(request, RUNNER, 3);
    assert_eq!(stage.heard("open").await, "open@3 /ws?x=1 ray 30");
    stage.says(FromRunner::SocketOpened { request, can_hibernate: false });
    assert_eq!(stage.heard("early").await, "1 text early");
    client.send(Message::binary(vec![b'b'])).await.expect("it is open");
    assert_eq!(stage.heard("b").await, "2 binary b");
    stage.says(FromRunner::SocketMessage { request, data: "zażółć".into(), binary: false });
    stage.says(FromRunner::SocketMessage { request, data: vec![0, 255].into(), binary: true });
    stage.engine.sockets.hear(RunnerId(8), FromRunner::SocketMessage { request, data: "foreign".into(), binary: false });
    stage.says(FromRunner::SocketClose { request, code: Some(4001), reason: Some("as you wish".to_string()), hibernate: false });
    assert_eq!(next(&mut client).await, Message::text("zażółć"));
    assert_eq!(next(&mut client).await, Message::binary(vec![0, 255]));
    assert_eq!(closed(&mut client).await, (4001, "as you wish".to_string()));
    stage.told_core("ended", |input| matches!(input, Input::RequestEnded { .. })).await;
    assert!(!stage.engine.sockets.refuse(request, &Refusal::ActorNotFound), "it is forgotten");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_an_envoy_refuses_goes_to_the_next_generation() {
    let mut stage = stage().await;
    let (mut client, request) = stage.asked().await;
    stage.dispatch(request, RUNNER, 1);
    stage.heard("open").await;
    let door = RunnerDoor::new(RUNNER, stage.engine.clone());
    let refuse = || {
        let reason = Some("envoy.actor_generation_mismatch".to_string());
        door.send(FromRunner::SocketClose { request, code: Some(1011), reason, hibernate: false });
    };
    refuse();
    // In the place of the actor's last word, which the core must not hear first.
    door.send(FromRunner::Stopping);
    let mut told = Vec::new();
    stage.engine.inbox.take(&mut told);
    let told: Vec<String> = told.iter().map(|input| format!("{input:?}")).collect();
    assert!(told[0].contains("RequestReturned") && told[1].contains("Stopping"), "{told:?}");

    stage.dispatch(request, RUNNER, 2);
    assert_eq!(stage.heard("open").await, "open@2 /ws?x=1 ray 30");
    stage.says(FromRunner::SocketOpened { request, can_hibernate: false });
    stage.told_core("opened", |input| matches!(input, Input::SocketOpened { .. })).await;
    // An actor that has the socket may say what it likes.
    refuse();
    assert_eq!(closed(&mut client).await, (1011, "envoy.actor_generation_mismatch".to_string()));
    stage.told_core("ended", |input| matches!(input, Input::RequestEnded { .. })).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_core_hears_that_an_actor_took_a_socket_before_it_hears_that_the_actor_stopped() {
    let mut stage = stage().await;
    let (_client, request) = stage.asked().await;
    stage.dispatch(request, RUNNER, 1);
    stage.heard("open").await;
    let door = RunnerDoor::new(RUNNER, stage.engine.clone());
    for message in [
        FromRunner::SocketOpened { request, can_hibernate: true },
        // It is taken once.
        FromRunner::SocketOpened { request, can_hibernate: false },
        // In the place of the actor's last word.
        FromRunner::Stopping,
    ] {
        door.send(message);
    }
    let mut told = Vec::new();
    stage.engine.inbox.take(&mut told);
    let [Input::SocketOpened { can_hibernate: true, .. }, Input::FromRunner { message: FromRunner::Stopping, .. }] =
        told.as_slice()
    else {
        panic!("{told:?}")
    };
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves() {
    let mut stage = stage().await;
    let (mut client, _) = stage.opened(false).await;
    client.close(Some(CloseFrame { code: 4002.into(), reason: "enough".into() })).await.expect("it is open");
    assert_eq!(stage.heard("close").await, "1 close Some(4002) Some(\"enough\")");
    stage.told_core("aborted", |input| matches!(input, Input::RequestAborted { .. })).await;
    assert_eq!(closed(&mut client).await, (4002, "enough".to_string()));

    let (client, _) = stage.opened(true).await;
    drop(client);
    assert_eq!(stage.heard("close").await, "1 close Some(1011) Some(\"ws.downstream_closed\")");
    stage.told_core("aborted", |input| matches!(input, Input::RequestAborted { .. })).await;
    let sockets = &stage.engine.sockets;
    until("all room is given back", || (sockets.open_now() == 0).then_some(())).await;
    assert_eq!(sockets.held.bytes.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_outlives_its_actors_sleep() {
    let mut stage = stage().await;
    let (mut client, request) = stage.opened(true).await;
    for text in ["a", "b"] {
        client.send(Message::text(text)).await.expect("it is open");
    }
    assert_eq!(stage.heard_all(2).await, ["1 text a", "2 text b"]);
    stage.says(FromRunner::SocketAck { request, index: 2 });
    stage.engine.sockets.hibernate(request);

    client.send(Message::Ping(vec![1].into())).await.expect("it is open");
    assert_eq!(next(&mut client).await, Message::Pong(vec![1].into()));
    assert!(stage.told.is_empty(), "a ping wakes nobody");

    client.send(Message::text("c")).await.expect("it is open");
    client.send(Message::text("d")).await.expect("it is open");
    stage.told_core("wakes", |input| matches!(input, Input::SocketWakes { .. })).await;
    // The next one speaks before the core knows that it runs.
    let next_runner = RunnerId(9);
    let hear = |message| stage.engine.sockets.hear(next_runner, message);
    hear(FromRunner::SocketOpened { request, can_hibernate: true });
    hear(FromRunner::SocketMessage { request, data: "back".into(), binary: false });
    stage.dispatch(request, next_runner, 2);
    assert_eq!(stage.heard_all(2).await, ["3 text c", "4 text d"]);
    assert_eq!(next(&mut client).await, Message::text("back"));

    let stopped = Refusal::ActorDestroyedWhileWaiting { actor: Id::new([3; 16], 1) };
    assert!(stage.engine.sockets.refuse(request, &stopped));
    assert_eq!(closed(&mut client).await, (1000, "actor.destroyed_while_connected".to_string()));
    assert!(!stage.told.iter().any(|input| matches!(input, Input::SocketWakes { .. })), "it was said once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_too_long() {
    let mut stage = stage().await;
    let (client, _) = stage.opened(false).await;
    let mut stream = client.into_inner();
    let mut header = vec![0x82, 0xff];
    header.extend((SOCKET_MESSAGE_BYTES_MAX as u64 + 1).to_be_bytes());
    header.extend([0; 4]);
    stream.write_all(&header).await.expect("it is open");
    let client = WebSocketStream::from_raw_socket(stream, Role::Client, None);
    assert_eq!(without_ray(closed(&mut client.await).await), "1011 core.internal_error");
    assert!(stage.heard("close").await.starts_with("1 close Some(1011)"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_is_let_go() {
    let mut stage = stage().await;
    let (_client, request) = stage.opened(false).await;
    let chunk = bytes::Bytes::from(vec![0; 4 * MIB]);
    for _ in 0..=line::CLIENT_BYTES_MAX / chunk.len() + 8 {
        stage.says(FromRunner::SocketMessage { request, data: chunk.clone(), binary: true });
    }
    let heard = stage.heard("close").await;
    assert!(heard.starts_with("1 close Some(1011) Some(\"guard.websocket_client_too_slow#"), "{heard}");
    stage.told_core("aborted", |input| matches!(input, Input::RequestAborted { .. })).await;
    let sockets = &stage.engine.sockets;
    until("all room is given back", || (sockets.open_now() == 0).then_some(())).await;
    assert_eq!(sockets.held.bytes.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_is_not_read_while_much_waits_for_its_runner() {
    let mut stage = stage().await;
    let (mut client, _) = stage.opened(false).await;
    stage.link.backlog_bytes.store(usize::MAX, Ordering::Relaxed);
    client.send(Message::text("a")).await.expect("it is open");
    tokio::time::sleep(Duration::from_millis(50)).await;
    let first = stage.link.take();
    client.send(Message::text("b")).await.expect("it is open");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(first.len() <= 1 && stage.link.take().is_empty(), "the one that was being read may pass");
    stage.link.backlog_bytes.store(0, Ordering::Relaxed);
    let rest = stage.heard_all(2 - first.len()).await;
    assert_eq!(rest.last().map(String::as_str), Some("2 text b"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_clients_are_told_when_the_server_stops() {
    let mut stage = stage().await;
    let (waiting, _) = stage.asked().await;
    let (awake, _) = stage.opened(false).await;
    let (asleep, request) = stage.opened(true).await;
    stage.engine.sockets.hibernate(request);
    drop(stage.stop.take());
    for mut client in [waiting, awake, asleep] {
        assert_eq!(without_ray(closed(&mut client).await), "1011 ws.going_away");
    }
    let cut_off = tokio::time::timeout(WITHIN, stage.served).await.expect("in time").expect("it does not panic");
    assert_eq!(cut_off, 0);
    assert!(stage.engine.sockets.room().is_err());
}
