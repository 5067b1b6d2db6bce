//! Things that happen to actors while clients call them: no call that could be served fails, and none counts twice.

use std::sync::Arc;
use std::time::Duration;

use rivet_tests::address::{by_id, by_key};
use rivet_tests::{Call, Engine, guest, until};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Clients that increment without pause until they are told to stop.
struct Crowd {
    stop: watch::Sender<bool>,
    clients: JoinSet<u64>,
}

const KEYS: [&str; 2] = ["a", "b"];
const CLIENTS: usize = 4;

impl Crowd {
    /// Each call must be answered with a number.
    fn gather(engine: &Arc<Engine>) -> Crowd {
        let (stop, stopped) = watch::channel(false);
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            let (engine, stopped) = (engine.clone(), stopped.clone());
            clients.spawn(async move {
                let mut calls = 0;
                while !*stopped.borrow() {
                    engine.increment("counter", KEYS[client % KEYS.len()]).await;
                    calls += 1;
                }
                calls
            });
        }
        Crowd { stop, clients }
    }

    async fn disperse(self) -> u64 {
        self.stop.send(true).expect("the clients still listen");
        self.clients.join_all().await.iter().sum()
    }
}

async fn counted(engine: &Engine) -> u64 {
    let mut sum = 0;
    for key in KEYS {
        sum += engine.get(by_key("counter", key, "/")).await.number("the count");
    }
    sum
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrades_and_a_roll_back_fail_no_call() {
    let engine = Arc::new(Engine::start().await);
    engine.deploy("counter", "counter").await;
    let crowd = Crowd::gather(&engine);
    for version in 2..=4 {
        let component = guest::another_version("counter", &format!("version {version}"));
        assert_eq!(engine.deploy_bytes(component, "counter").await, version);
    }
    let back = engine.send(Call::post("/deployments/counter/activate?namespace=default").json(&json!({ "version": 1 }))).await;
    assert_eq!(back.expect_ok("a roll-back").json()["version"], 1);
    let calls = crowd.disperse().await;
    assert_eq!(counted(&engine).await, calls, "every call that was answered counts once");
}

#[tokio::test(flavor = "multi_thread")]
async fn falling_asleep_again_and_again_fails_no_call() {
    let engine = Arc::new(Engine::start().await);
    engine.deploy("counter", "counter").await;
    let crowd = Crowd::gather(&engine);
    for _ in 0..30 {
        for key in KEYS {
            let (actor, _) = engine.get_or_create("counter", key, None).await;
            let call = Call::post(format!("/actors/{actor}/sleep?namespace=default")).json(&json!({}));
            engine.send(call).await.expect_ok("putting a busy actor to sleep");
        }
    }
    let calls = crowd.disperse().await;
    assert_eq!(counted(&engine).await, calls, "every call that was answered counts once");
}

#[tokio::test(flavor = "multi_thread")]
async fn destroying_a_busy_actor_ends_each_call_with_a_known_word() {
    let engine = Arc::new(Engine::start().await);
    engine.deploy("counter", "counter").await;
    let (stop, stopped) = watch::channel(false);
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (engine, stopped) = (engine.clone(), stopped.clone());
        clients.spawn(async move {
            while !*stopped.borrow() {
                let answer = engine.post(by_key("counter", "a", "/increment")).await;
                let expected =
                    ["", "actor.destroyed_while_waiting_for_ready", "guard.actor_stopped_while_waiting", "actor.not_found"];
                assert!(expected.contains(&answer.code().as_str()), "one of {expected:?} expected, seen {answer}");
                assert!(answer.status == 200 || !answer.code().is_empty(), "a number or an error expected, seen {answer}");
            }
        });
    }
    for _ in 0..20 {
        let (actor, _) = engine.get_or_create("counter", "a", None).await;
        engine.send(Call::delete(format!("/actors/{actor}?namespace=default"))).await.expect_ok("destroying a busy actor");
        let gone = engine.get(by_id(&actor, "/")).await;
        assert_eq!(gone.status, 404, "it is gone when the call returns; seen {gone}");
    }
    stop.send(true).expect("the clients still listen");
    clients.join_all().await;
    engine.increment("counter", "a").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_in_order_lets_requests_finish() {
    let engine = Arc::new(Engine::start().await);
    engine.deploy("wasi-http", "web").await;
    engine.deploy("counter", "counter").await;
    engine.increment("counter", "a").await;
    // Its first line says that it is under way; two seconds remain when the engine is told to stop.
    let target = by_key("web", "a", "/stream?n=3&every_ms=1000");
    let mut response = engine.http(reqwest::Method::GET, &target).send().await.expect("an answer");
    let first = response.chunk().await.expect("no break").expect("a line");
    assert_eq!(&first[..], b"line 1\n");
    engine.tell_to_stop();
    until("no new connection is taken", || async {
        let address = engine.url().strip_prefix("http://").expect("an engine's address");
        match TcpStream::connect(address).await {
            Ok(_) => Err("it was taken".to_string()),
            Err(_) => Ok(()),
        }
    })
    .await;
    let mut rest = Vec::new();
    while let Some(chunk) = response.chunk().await.expect("the rest comes although the engine stops") {
        rest.extend_from_slice(&chunk);
    }
    assert_eq!(rest, b"line 2\nline 3\n");
    drop(response);
    let mut engine = Arc::into_inner(engine).expect("nobody else has it");
    assert_eq!(engine.ended().await, Some(0));
    engine.restart().await;
    assert_eq!(engine.increment("counter", "a").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_that_stand_still_do_not_keep_others_from_deploying() {
    let engine = Engine::start().await;
    let mut stalled = Vec::new();
    // As many as may be under way at one time: each is asked for its component, and sends none of it.
    for _ in 0..4 {
        stalled.push(stalled_upload(engine.url()).await);
    }
    let deployed = tokio::time::timeout(Duration::from_secs(25), engine.deploy("counter", "counter")).await;
    assert_eq!(deployed.expect("a deploy beside uploads that stand still is over within 25 s"), 1);
    for mut upload in stalled {
        let mut answer = Vec::new();
        until("an upload that stands still is answered", async || {
            upload.read_buf(&mut answer).await.map_err(|error| error.to_string())?;
            let text = String::from_utf8_lossy(&answer).into_owned();
            (text.starts_with("HTTP/1.1 400 ") && text.contains("nothing of the component came")).then_some(()).ok_or(text)
        })
        .await;
    }
}

/// An upload that the engine waits for.
async fn stalled_upload(url: &str) -> TcpStream {
    let host = url.strip_prefix("http://").expect("an engine's address");
    let mut stream = TcpStream::connect(host).await.expect("the engine listens");
    let head = format!(
        "PUT /deployments/slow?namespace=default HTTP/1.1\r\nhost: {host}\r\ncontent-length: 1000\r\nexpect: 100-continue\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("the engine reads");
    let mut answer = [0; 25];
    stream.read_exact(&mut answer).await.expect("the engine asks for the component");
    assert_eq!(&answer, b"HTTP/1.1 100 Continue\r\n\r\n", "{}", String::from_utf8_lossy(&answer));
    stream
}
