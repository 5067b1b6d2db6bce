//! What a runner on its own makes of its engine, against one end of a pipe.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{SinkExt, StreamExt};
use protocol::component::ComponentHash;
use protocol::id::{Id, RequestId};
use protocol::message::{Checkpoint, Event, FromRunner, ToRunner};
use protocol::wire::ComponentsVersion;
use protocol::wire::components::{Part, Piece, ToComponents, Welcome, decode_from_components, encode_to_components};
use tokio::io::DuplexStream;
use tokio::sync::oneshot;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::dial::Stream;
use super::*;
use crate::lock::lock;
use crate::testing::Heard;
use crate::websocket::Close;

const VERSION: ComponentsVersion = ComponentsVersion::NEWEST;

type Uplink = Arc<Mutex<Option<Arc<dyn FromRunnerLink>>>>;

/// A session that runs, and all that it touches.
struct Pipe {
    engine: WebSocketStream<DuplexStream>,
    heard: Arc<Heard>,
    /// What the runner holds of the engine, once it was started.
    uplink: Uplink,
    in_use: Arc<AtomicUsize>,
    stop: Option<oneshot::Sender<()>>,
    ended: tokio::task::JoinHandle<String>,
}

impl Pipe {
    async fn open(lost_ms: u64) -> Pipe {
        let mut pipe = Pipe::without_welcome().await;
        let welcome = Welcome { version: "1".to_string(), ping_interval_ms: 1, lost_ms };
        pipe.say(ToComponents::Welcome(welcome)).await;
        while lock(&pipe.uplink).is_none() {
            tokio::task::yield_now().await;
        }
        pipe
    }

    async fn without_welcome() -> Pipe {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let ours: Box<dyn Stream> = Box::new(ours);
        let socket = WebSocketStream::from_raw_socket(ours, Role::Client, None).await;
        let (heard, in_use) = (Arc::new(Heard::default()), Arc::new(AtomicUsize::new(0)));
        let uplink = Uplink::default();
        let (stop, stopped) = oneshot::channel();
        let (link, count, up) = (heard.clone(), in_use.clone(), uplink.clone());
        let ended = tokio::spawn(async move {
            let engine = Url::parse("http://engine").expect("a URL");
            let config =
                Config { engine, token: None, authorities: Vec::new(), key: "k".to_string(), grace: Duration::from_secs(20) };
            let start = |uplink| {
                *lock(&up) = Some(uplink);
                let count = count.clone();
                Ok(Hosted { link: link.clone(), in_use: Box::new(move || count.load(Ordering::SeqCst)) })
            };
            // One that is never sent is never told.
            let mut stop = Box::pin(async {
                if stopped.await.is_err() {
                    std::future::pending().await
                }
            });
            match session::run(&config, socket, start, |_| (), &mut stop, || ()).await {
                Ended::Stopped => "stopped".to_string(),
                Ended::Refused(why) => format!("refused: {why}"),
                Ended::Lost(why) => format!("lost: {why}"),
            }
        });
        let engine = WebSocketStream::from_raw_socket(theirs, Role::Server, None).await;
        Pipe { engine, heard, uplink, in_use, stop: Some(stop), ended }
    }

    async fn say(&mut self, message: ToComponents) {
        self.say_bytes(encode_to_components(VERSION, &message).expect("it can be said").to_vec()).await;
    }

    async fn say_bytes(&mut self, bytes: Vec<u8>) {
        self.engine.send(Message::Binary(bytes.into())).await.expect("the socket is open");
    }

    async fn hear(&mut self) -> FromRunner {
        match self.engine.next().await {
            Some(Ok(Message::Binary(bytes))) => decode_from_components(VERSION, bytes).expect("it can be read"),
            other => panic!("{other:?}"),
        }
    }

    fn runner_says(&self, message: FromRunner) {
        lock(&self.uplink).as_ref().expect("the runner was started").send(message);
    }
}

#[tokio::test]
async fn words_pass_both_ways_and_pieces_are_put_together() {
    let mut pipe = Pipe::open(60_000).await;
    pipe.runner_says(FromRunner::GetComponent { component: ComponentHash([2; 32]) });
    assert!(matches!(pipe.hear().await, FromRunner::GetComponent { component: ComponentHash([2, ..]) }));
    let piece = |at: u64, bytes: &'static [u8]| {
        let part = Ok(Part { at, total: 5, bytes: bytes.into() });
        ToComponents::Piece(Piece { component: ComponentHash([2; 32]), part })
    };
    pipe.say(piece(0, b"abc")).await;
    pipe.say(ToComponents::Say(ToRunner::RequestAbort { request: RequestId(1) })).await;
    pipe.say(piece(3, b"de")).await;
    let mut heard = Vec::new();
    while heard.len() < 2 {
        heard.extend(pipe.heard.take());
        tokio::task::yield_now().await;
    }
    let [ToRunner::RequestAbort { .. }, ToRunner::Component { bytes: Ok(bytes), .. }] = &heard[..] else { panic!("{heard:?}") };
    assert_eq!(bytes, "abcde");
}

#[tokio::test]
async fn how_a_connection_ends() {
    let coded = |reason: &str| Message::Close(Some(close_frame(1011, reason)));
    let rows = [
        (coded("ws.going_away#ray"), "lost: the engine closed the connection: ws.going_away"),
        (coded("ws.timed_out#ray"), "lost: the engine closed the connection: ws.timed_out"),
        (coded(""), "lost: the engine closed the connection"),
        (coded("ws.eviction#ray"), "refused: another runner with the same key has connected"),
        (coded("api.forbidden#ray"), "refused: the engine does not take this runner's token"),
        (coded("ws.unsupported_protocol_version#ray"), "refused: the engine does not speak this runner's version"),
        (Message::Binary(vec![99].into()), "lost: what the engine says cannot be read: byte 0: ToComponents has no member 99"),
    ];
    for (last, expected) in rows {
        // Before the welcome and after it.
        for mut pipe in [Pipe::without_welcome().await, Pipe::open(60_000).await] {
            pipe.engine.send(last.clone()).await.expect("the socket is open");
            let ended = pipe.ended.await.expect("it does not panic");
            assert!(ended.starts_with(expected), "{ended}; expected {expected}");
        }
    }
    let mut pipe = Pipe::without_welcome().await;
    pipe.say(ToComponents::Say(ToRunner::RequestAbort { request: RequestId(1) })).await;
    assert_eq!(pipe.ended.await.expect("it does not panic"), "lost: the engine did not begin with a welcome");
    let pipe = Pipe::open(50).await;
    assert_eq!(pipe.ended.await.expect("it does not panic"), "lost: nothing was heard of the engine for 50 ms");
}

fn close_frame(code: u16, reason: &str) -> tokio_tungstenite::tungstenite::protocol::CloseFrame {
    match Close::new(code, reason).message() {
        Message::Close(Some(frame)) => frame,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_cannot_be_said_ends_the_connection() {
    let pipe = Pipe::open(60_000).await;
    let checkpoint = Checkpoint { actor: Id::new([1; 16], 1), generation: 1, index: 0 };
    pipe.runner_says(FromRunner::Event(checkpoint, Event::SetAlarm(None)));
    assert_eq!(pipe.ended.await.expect("it does not panic"), "lost: a message could not be sent; the log says which");
}

#[tokio::test]
async fn what_a_runner_says_after_its_connection_is_heard_by_nobody() {
    let mut pipe = Pipe::open(60_000).await;
    let uplink = lock(&pipe.uplink).clone().expect("the runner was started");
    pipe.engine.close(None).await.expect("the socket is open");
    pipe.ended.await.expect("it does not panic");
    uplink.send(FromRunner::Stopping);
    let rest: Vec<_> = pipe.engine.collect().await;
    assert!(rest.iter().all(|message| !matches!(message, Ok(Message::Binary(_)))), "{rest:?}");
}

#[tokio::test]
async fn one_that_is_told_to_stop_waits_until_nothing_is_left() {
    let mut pipe = Pipe::open(60_000).await;
    pipe.in_use.store(2, Ordering::SeqCst);
    pipe.stop.take().expect("it was not told yet").send(()).expect("it runs");
    assert!(matches!(pipe.hear().await, FromRunner::Stopping));
    // What its actors still have to say leaves before it does.
    pipe.runner_says(FromRunner::RequestReturned { request: RequestId(3) });
    pipe.in_use.store(0, Ordering::SeqCst);
    assert!(matches!(pipe.hear().await, FromRunner::RequestReturned { request: RequestId(3) }));
    assert!(matches!(pipe.engine.next().await, Some(Ok(Message::Close(Some(frame)))) if frame.reason == "stopped"));
    drop(pipe.engine);
    assert_eq!(pipe.ended.await.expect("it does not panic"), "stopped");
}

#[tokio::test]
async fn one_that_stops_does_not_come_back_when_its_connection_breaks() {
    let mut pipe = Pipe::open(60_000).await;
    pipe.in_use.store(2, Ordering::SeqCst);
    pipe.stop.take().expect("it was not told yet").send(()).expect("it runs");
    assert!(matches!(pipe.hear().await, FromRunner::Stopping));
    drop(pipe.engine);
    assert_eq!(pipe.ended.await.expect("it does not panic"), "stopped");
}

#[test]
fn pauses_grow_and_differ() {
    let mut pauses = Pauses::default();
    let longest: Vec<u128> = (0..9).map(|_| pauses.next(0).as_millis()).collect();
    assert_eq!(longest, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
    assert_eq!(Pauses::default().next(49).as_millis(), 51);
    assert_eq!(Pauses::default().next(50).as_millis(), 100);
}
