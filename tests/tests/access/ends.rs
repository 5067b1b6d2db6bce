//! What a token opened ends with it: when it is revoked, and when its time has come. What another opened goes on.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::unfold;
use http::Method;
use protocol::wire::EnvoyVersion;
use protocol::wire::actor::Command;
use protocol::wire::kv::KvRequestData;
use protocol::wire::tunnel::{MessageId, ToEnvoyTunnel, ToRivetTunnel};
use rivet_tests::{Call, Envoy, Socket, address};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::Message;

use crate::gateway::Stage;
use crate::{ADMIN, Secured};

/// Enough to open everything on a busy machine.
const BRIEF_MS: u64 = 4_000;
/// Far above what an end takes on a busy machine, and far below every other time after which something might end.
const SOON: Duration = Duration::from_secs(8);

/// As a client sees the end, and as the actor hears of it, if it does.
const KINDS: [(Kind, &str, &str); 8] = [
    (Kind::Runner, "1011 token.{how}", ""),
    (Kind::Socket, "1011 token.{how}", "close 1011 token.{how}"),
    (Kind::NewSocket, "1011 token.{how}", "close 1011 token.{how}"),
    (Kind::Request, "403 token.{how}", "abort"),
    (Kind::Stream, "cut", "abort"),
    (Kind::Upload, "403 token.{how}", "abort"),
    (Kind::Log, "cut", ""),
    (Kind::Deploy, "400 api.bad_request the component could not be read: the token {how}", ""),
];

/// How a token ends, as codes and as sentences have it.
const REVOKED: (&str, &str) = ("revoked", "was revoked");
const EXPIRED: (&str, &str) = ("expired", "expired");

#[derive(Clone, Copy, PartialEq, Debug)]
enum Kind {
    Runner,
    Socket,
    /// Whose actor has not taken it yet.
    NewSocket,
    /// Whose actor sleeps.
    SleepingSocket,
    /// That waits for its answer.
    Request,
    /// An answer that streams.
    Stream,
    /// A body on its way to an actor.
    Upload,
    /// A log that is followed.
    Log,
    /// A component on its way.
    Deploy,
}

/// What a client has, and how the actor knows it.
struct Opened {
    client: Client,
    id: Option<MessageId>,
}

enum Client {
    Socket(Box<Socket>),
    Answer(reqwest::Response),
    /// With the other end of its body.
    Asking(JoinHandle<String>, Option<mpsc::Sender<Bytes>>),
}

impl Client {
    /// How it ends.
    async fn over(self) -> String {
        match self {
            Client::Socket(mut socket) => {
                let (code, reason) = socket.closed().await;
                format!("{code} {reason}")
            }
            Client::Answer(mut answer) => loop {
                match answer.chunk().await {
                    Ok(Some(_)) => {}
                    Ok(None) => return "ended".to_string(),
                    Err(_) => return "cut".to_string(),
                }
            },
            Client::Asking(asking, body) => {
                let said = asking.await.expect("it does not panic");
                drop(body);
                said
            }
        }
    }

    /// Panics if it ended, or ends within a moment.
    async fn goes_on(&mut self, kind: Kind) {
        let moment = Duration::from_millis(50);
        loop {
            let ended = match self {
                Client::Socket(socket) => match timeout(moment, socket.next()).await {
                    Ok(Some(Ok(message))) => message.is_close(),
                    Ok(_) => true,
                    Err(_) => return,
                },
                Client::Answer(answer) => match timeout(moment, answer.chunk()).await {
                    Ok(chunk) => !matches!(chunk, Ok(Some(_))),
                    Err(_) => return,
                },
                Client::Asking(asking, _) => {
                    tokio::time::sleep(moment).await;
                    assert!(!asking.is_finished(), "{kind:?} is answered");
                    return;
                }
            };
            assert!(!ended, "{kind:?} has ended");
        }
    }
}

/// A body that goes on for as long as somebody says more.
fn body() -> (mpsc::Sender<Bytes>, reqwest::Body) {
    let (more, told) = mpsc::channel::<Bytes>(1);
    let pieces = unfold(told, |mut told| async { told.recv().await.map(|piece| (Ok::<_, std::io::Error>(piece), told)) });
    (more, reqwest::Body::wrap_stream(pieces))
}

/// What the engine says at last.
fn ask(request: reqwest::RequestBuilder) -> JoinHandle<String> {
    tokio::spawn(async move {
        let answer = request.send().await.expect("an answer");
        let status = answer.status().as_u16();
        let body: serde_json::Value = answer.json().await.unwrap_or_default();
        let text = |field: &str| body[field].as_str().unwrap_or_default().to_string();
        let sentence = if status == 400 { text("message").replace("the request cannot be understood:", "") } else { String::new() };
        format!("{status} {}.{}{sentence}", text("group"), text("code"))
    })
}

impl Stage {
    async fn open(&mut self, kind: Kind, token: &str) -> Opened {
        let engine = &self.secured.engine;
        let to_actor = address::by_id(&self.actor, "/x");
        let call = |method: Method| engine.http(method, &to_actor).header("x-rivet-token", token);
        match kind {
            Kind::Runner => {
                let key = &token[3..15];
                let target =
                    format!("/envoys/connect?protocol_version=8&namespace=default&envoy_key={key}&version=1&pool_name=default");
                let protocols = format!("rivet, rivet_token.{token}");
                let runner = Envoy::connect_at(engine, &target, &protocols, EnvoyVersion::NEWEST).await;
                Opened { client: Client::Socket(Box::new(runner.socket)), id: None }
            }
            Kind::Socket | Kind::NewSocket | Kind::SleepingSocket => {
                let socket = Socket::open(engine, &to_actor, &format!("rivet, rivet_token.{token}")).await;
                let id = self.asked().await;
                if kind != Kind::NewSocket {
                    let can_hibernate = kind == Kind::SleepingSocket;
                    self.envoy.respond(id, ToRivetTunnel::WebSocketOpen { can_hibernate }).await;
                }
                Opened { client: Client::Socket(Box::new(socket)), id: Some(id) }
            }
            Kind::Request => {
                let asking = ask(call(Method::GET));
                Opened { client: Client::Asking(asking, None), id: Some(self.asked().await) }
            }
            Kind::Stream => {
                let request = call(Method::GET);
                let answer = tokio::spawn(async move { request.send().await.expect("an answer") });
                let id = self.asked().await;
                let head = ToRivetTunnel::ResponseStart { status: 200, headers: Vec::new(), body: None, stream: true };
                self.envoy.respond(id, head).await;
                Opened { client: Client::Answer(answer.await.expect("it does not panic")), id: Some(id) }
            }
            Kind::Upload => {
                let (more, body) = body();
                let asking = ask(call(Method::POST).body(body));
                more.send(Bytes::from_static(b"some")).await.expect("it is sent");
                let id = self.asked().await;
                let (_, piece) = self.envoy.tunnel().await;
                assert!(matches!(piece, ToEnvoyTunnel::RequestChunk { .. }), "{piece:?}");
                Opened { client: Client::Asking(asking, Some(more)), id: Some(id) }
            }
            Kind::Log => {
                let target = format!("/actors/{}/logs?namespace=default&follow=true", self.actor);
                let answer = engine.http(Method::GET, &target).bearer_auth(token).send().await.expect("an answer");
                assert_eq!(answer.status(), 200);
                Opened { client: Client::Answer(answer), id: None }
            }
            Kind::Deploy => {
                let (more, body) = body();
                let target = format!("/deployments/{}?namespace=default", &token[3..15]);
                let asking = ask(engine.http(Method::PUT, &target).bearer_auth(token).body(body));
                more.send(Bytes::from_static(b"\0asm")).await.expect("it is sent");
                Opened { client: Client::Asking(asking, Some(more)), id: None }
            }
        }
    }

    /// By the next client.
    async fn asked(&mut self) -> MessageId {
        let (id, message) = self.envoy.tunnel().await;
        assert!(matches!(message, ToEnvoyTunnel::WebSocketOpen { .. } | ToEnvoyTunnel::RequestStart { .. }), "{message:?}");
        id
    }

    /// The next end that its runner hears of: of whom, and how.
    async fn heard(&mut self) -> (MessageId, String) {
        let (id, message) = self.envoy.tunnel().await;
        let how = match message {
            ToEnvoyTunnel::WebSocketClose { code, reason } => {
                let reason = reason.unwrap_or_default();
                format!("close {} {}", code.unwrap_or_default(), reason.split('#').next().unwrap_or_default())
            }
            ToEnvoyTunnel::RequestAbort { .. } => "abort".to_string(),
            other => panic!("an end expected, seen {other:?}"),
        };
        (id, how)
    }

    /// With its sockets, and the engine has heard of it.
    async fn sleep(&mut self) {
        self.envoy.sleep(&self.at, 1).await;
        self.envoy.command().await;
        self.envoy.stopped(&self.at, 2, None).await;
        // An answer comes after all that was said before.
        self.envoy.kv(&self.actor, KvRequestData::Get { keys: Vec::new() }).await;
        let target = format!("/actors?namespace=default&actor_ids={}", self.actor);
        self.secured.send(ADMIN, Call::get(target)).await.expect_ok("the actor");
    }

    /// A token that ends so, and its id.
    async fn ending(&self, how: (&str, &str)) -> (String, String) {
        self.secured.mint("admin", Some("default"), (how == EXPIRED).then_some(BRIEF_MS)).await
    }

    async fn end(&self, how: (&str, &str), id: &str) {
        if how == REVOKED {
            self.secured.revoke(id).await;
        }
    }
}

async fn start() -> Stage {
    Stage::new(Secured::start_with("auth:\n  gateway: true").await).await
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_it_opened_ends_with_it() {
    for how in [REVOKED, EXPIRED] {
        let mut stage = start().await;
        let (_, lasting) = stage.secured.mint("admin", Some("default"), None).await;
        let (id, token) = stage.ending(how).await;
        let (mut ending, mut others) = (Vec::new(), Vec::new());
        for (kind, _, _) in KINDS {
            ending.push(stage.open(kind, &token).await);
        }
        for (kind, _, _) in KINDS {
            others.push(stage.open(kind, &lasting).await);
        }
        stage.end(how, &id).await;
        let begun = Instant::now();
        let ids: Vec<Option<MessageId>> = ending.iter().map(|opened| opened.id).collect();
        for ((kind, expected, _), opened) in KINDS.into_iter().zip(ending) {
            let seen = timeout(SOON, opened.client.over()).await.unwrap_or_else(|_| panic!("{kind:?}: {} and goes on", how.0));
            let expected = expected.replace("the token {how}", &format!("the token {}", how.1)).replace("{how}", how.0);
            assert_eq!(seen, expected, "{kind:?}");
        }
        assert!(begun.elapsed() < SOON, "all of it within {:?}", begun.elapsed());
        let expected: Vec<String> = KINDS.map(|(_, _, heard)| heard.replace("{how}", how.0)).to_vec();
        let mut heard = vec![String::new(); KINDS.len()];
        for _ in expected.iter().filter(|expected| !expected.is_empty()) {
            let (of, how) = stage.heard().await;
            let at = ids.iter().position(|id| id.is_some_and(|id| id.stream == of.stream)).expect("one that ended");
            heard[at] = how;
        }
        assert_eq!(heard, expected, "what the actor hears");
        for ((kind, _, _), opened) in KINDS.into_iter().zip(&mut others) {
            opened.client.goes_on(kind).await;
        }
        let deployed = stage.secured.send(ADMIN, Call::get("/deployments?namespace=default")).await.expect_ok("a list").json();
        assert_eq!(deployed["deployments"].as_array().map(Vec::len), Some(0), "{deployed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_of_an_actor_that_sleeps_end_and_do_not_wake_it() {
    for how in [REVOKED, EXPIRED] {
        let mut stage = start().await;
        let (_, lasting) = stage.secured.mint("client", Some("default"), None).await;
        let mut other = stage.open(Kind::SleepingSocket, &lasting).await;
        let (id, token) = stage.ending(how).await;
        let opened = stage.open(Kind::SleepingSocket, &token).await;
        stage.sleep().await;
        stage.end(how, &id).await;
        let seen = timeout(SOON, opened.client.over()).await.expect("it ends soon");
        assert_eq!(seen, format!("1011 token.{}", how.0));
        // Whoever wakes it: it hears then which of its sockets are left.
        let Client::Socket(socket) = &mut other.client else { panic!("a socket") };
        socket.send(Message::text("wake up")).await.expect("the socket is open");
        let command = stage.envoy.command().await;
        let Command::StartActor { start } = command.inner else { panic!("a start expected, seen {command:?}") };
        assert_eq!(start.hibernating_requests, [other.id.expect("the actor knows it").stream]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_begins_in_the_moment_of_the_end_does_not_escape_it() {
    let stage = start().await;
    for round in 0..20 {
        let (id, token) = stage.secured.mint("client", Some("default"), None).await;
        let target = address::by_id(&stage.actor, "/x");
        let protocols = format!("rivet, rivet_token.{token}");
        let pause = Duration::from_millis(round % 5);
        let open = async {
            tokio::time::sleep(pause).await;
            Socket::open(&stage.secured.engine, &target, &protocols).await
        };
        let (mut socket, ()) = tokio::join!(open, stage.secured.revoke(&id));
        let (code, reason) = timeout(SOON, socket.closed()).await.expect("it ends soon");
        assert!(code == 1011 && matches!(&*reason, "token.revoked" | "api.forbidden"), "{code} {reason}");
    }
}
