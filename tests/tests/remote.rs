//! The runner for components on its own, beside an engine that has none: what it runs, and what becomes of that when it, the engine
//! or the connection between them goes.
//!
//! That actors live on it as they do inside the engine is said by the other tests, run with `RIVET_TEST_RUNNER=remote`.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use reqwest::Method;
use rivet_tests::address::by_key;
use rivet_tests::{Call, Engine, Runner, Socket, guest, until};
use serde_json::Value;
use tokio::task::JoinSet;

const CLIENTS: usize = 4;
/// Calls that must have been answered before something happens under load.
const CALLS_BEFORE: u64 = 20;

async fn without_runner() -> Engine {
    Engine::start_alone(&["--no-wasm-runner"]).await
}

/// The keys of the runners that are connected, each with the number of its actors.
async fn runners(engine: &Engine) -> Vec<(String, u64)> {
    let listed = engine.get("/envoys?namespace=default").await.expect_ok("runners").json();
    let runner =
        |envoy: &Value| (envoy["envoy_key"].as_str().expect("a key").to_string(), envoy["slots"].as_u64().expect("a number"));
    let mut runners: Vec<_> = listed["envoys"].as_array().into_iter().flatten().map(runner).collect();
    runners.sort();
    runners
}

#[tokio::test(flavor = "multi_thread")]
async fn actors_live_on_a_runner_elsewhere() {
    let engine = without_runner().await;
    assert_eq!(runners(&engine).await, [], "none of its own");
    let alone = engine.send(Call::put("/deployments/counter?namespace=default").body(guest::bytes("counter"))).await;
    assert_eq!(alone.code(), "deployment.no_component_runner", "{alone}");

    let mut runner = Runner::start(&engine, "r1").await;
    engine.deploy("counter", "counter").await;
    engine.deploy("wasi-http", "web").await;
    engine.deploy("reminders", "reminders").await;
    assert_eq!(engine.increment("counter", "a").await, 1);
    assert_eq!(runners(&engine).await, [("r1".to_string(), 1)]);
    let (actor, _) = engine.get_or_create("counter", "a", None).await;
    engine.sleep(&actor).await;
    assert_eq!(engine.increment("counter", "a").await, 2, "it woke");

    let add = Call::post(by_key("reminders", "a", "/reminders?in_ms=1")).body("now");
    engine.send(add).await.expect_ok("a reminder");
    until("the alarm fires", async || {
        let listed = engine.get(by_key("reminders", "a", "/reminders")).await.text();
        listed.starts_with("done ").then_some(()).ok_or(listed)
    })
    .await;
    let (reminders, _) = engine.get_or_create("reminders", "a", None).await;
    engine.logged(&reminders, "1 due at").await;

    let sent: Vec<u8> = (0..1_000_000).map(|_| fastrand::u8(..)).collect();
    let pieces: Vec<_> = sent.chunks(50_000).map(|piece| Ok::<_, std::io::Error>(piece.to_vec())).collect();
    let body = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
    let back = engine.http(Method::POST, &by_key("web", "a", "/echo")).body(body).send().await.expect("an answer");
    assert!(back.bytes().await.expect("all of it") == sent, "what went is what came back");

    engine.deploy_bytes(guest::another_version("counter", "2"), "counter").await;
    assert_eq!(engine.increment("counter", "a").await, 3, "on the new version");
    assert_eq!(runner.stop().await, Some(0));
    let said = runner.process().said();
    assert!(said.contains("stopped: nothing is left here"), "{said}");
    assert_eq!(runners(&engine).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_of_many_pieces_arrives() {
    let engine = without_runner().await;
    let _runner = Runner::start(&engine, "r1").await;
    let mut component = guest::bytes("counter");
    // A custom section: 0, how long (4 MiB in five bytes, as a linker leaves it), its name, anything.
    let section = [&[3][..], b"pad", &vec![7; 4 * 1024 * 1024][..]].concat();
    let length = section.len() as u32;
    component.push(0);
    component.extend((0..5).map(|at| (length >> (7 * at)) as u8 & 0x7f | if at < 4 { 0x80 } else { 0 }));
    component.extend(section);
    assert_eq!(engine.deploy_bytes(component, "counter").await, 1);
    assert_eq!(engine.increment("counter", "a").await, 1);
}

/// Clients that count, each an actor of its own, until they are told to stop.
struct Crowd {
    engine: Arc<Engine>,
    stop: Arc<AtomicBool>,
    clients: JoinSet<(usize, BTreeSet<u64>, u64)>,
}

impl Crowd {
    /// Each has been answered a few times.
    async fn gather(engine: Engine) -> Crowd {
        let (engine, stop) = (Arc::new(engine), Arc::new(AtomicBool::new(false)));
        let mut clients = JoinSet::new();
        for at in 0..CLIENTS {
            for expected in 1..=CALLS_BEFORE {
                assert_eq!(engine.increment("counter", &at.to_string()).await, expected);
            }
            clients.spawn(count(engine.clone(), stop.clone(), at));
        }
        Crowd { engine, stop, clients }
    }

    /// Each client has been answered again since this was called.
    async fn answered(&self) {
        for at in 0..CLIENTS {
            let before = self.counted(at).await;
            until("a client goes on", async || {
                let now = self.counted(at).await;
                (now > before + CALLS_BEFORE).then_some(()).ok_or(format!("client {at}: {now}, before {before}"))
            })
            .await;
        }
    }

    async fn counted(&self, at: usize) -> u64 {
        let answer = until("the count is read", async || {
            // The runner may be lost while it answers.
            let answer = self.engine.get(by_key("counter", &at.to_string(), "/")).await;
            if answer.status == 200 { Ok(answer) } else { Err(answer.to_string()) }
        });
        answer.await.number("a count")
    }

    /// How many calls were not answered. None that was is lost, and none counted twice.
    async fn disperse(mut self) -> u64 {
        self.stop.store(true, SeqCst);
        let mut all_unknown = 0;
        while let Some(client) = self.clients.join_next().await {
            let (at, numbers, unknown) = client.expect("a client does not panic");
            let count = self.counted(at).await;
            let acknowledged = CALLS_BEFORE + numbers.len() as u64;
            let last = numbers.last().copied().unwrap_or(0);
            assert!(count >= acknowledged.max(last), "client {at} lost writes: {count}, acknowledged {acknowledged} up to {last}");
            assert!(count <= acknowledged + unknown, "client {at} counted twice: {count} of {acknowledged} and {unknown}");
            all_unknown += unknown;
        }
        all_unknown
    }
}

async fn count(engine: Arc<Engine>, stop: Arc<AtomicBool>, at: usize) -> (usize, BTreeSet<u64>, u64) {
    let (mut numbers, mut unknown) = (BTreeSet::new(), 0);
    while !stop.load(SeqCst) {
        let answer = engine.send(Call::post(by_key("counter", &at.to_string(), "/increment"))).await;
        if answer.status != 200 {
            assert_eq!(answer.code(), "guard.tunnel_response_closed", "client {at}: {answer}");
            unknown += 1;
            continue;
        }
        let number = answer.number("an increment");
        assert!(numbers.insert(number), "client {at} was given {number} twice");
    }
    (at, numbers, unknown)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_that_is_killed_under_load_loses_nothing_that_was_acknowledged() {
    let engine = without_runner().await;
    let mut runner = Runner::start(&engine, "r1").await;
    engine.deploy("counter", "counter").await;
    let url = engine.url().to_string();
    let crowd = Crowd::gather(engine).await;
    for _ in 0..3 {
        crowd.answered().await;
        runner.kill9();
        // Whoever comes now waits for it.
        runner.restart(&url).await;
    }
    crowd.answered().await;
    let unknown = crowd.disperse().await;
    println!("{unknown} calls were under way when their runner was killed");
    assert!(unknown <= 3 * CLIENTS as u64, "{unknown} calls failed, and at most one of each client was on the runner each time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_finds_an_engine_that_was_killed_and_begins_anew() {
    let mut engine = without_runner().await;
    let mut runner = Runner::start(&engine, "r1").await;
    engine.deploy("counter", "counter").await;
    for round in 0..3 {
        for expected in 1..=3 {
            assert_eq!(engine.increment("counter", "a").await, 3 * round + expected);
        }
        engine.kill9();
        runner.process().line("its actors here are given up").await;
        engine.restart_in_place().await;
    }
    assert_eq!(engine.get(by_key("counter", "a", "/")).await.number("the count"), 9);
    let said = runner.process().said();
    assert_eq!(said.matches("runs actors as r1").count(), 4, "{said}");
    // In order this time: it is told to come back, too.
    assert_eq!(engine.stop().await, Some(0));
    engine.restart_in_place().await;
    assert_eq!(engine.increment("counter", "a").await, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_that_is_drained_under_load_fails_no_call() {
    let engine = without_runner().await;
    let mut first = Runner::start(&engine, "r1").await;
    engine.deploy("counter", "counter").await;
    let mut second = Runner::start(&engine, "r2").await;
    let url = engine.url().to_string();
    let crowd = Crowd::gather(engine).await;
    // The second may have been ready a little late: then the first has more of them, or all.
    let seen = runners(&crowd.engine).await;
    assert!(seen.iter().map(|(_, actors)| actors).sum::<u64>() == CLIENTS as u64 && seen[0].1 >= seen[1].1, "{seen:?}");
    for round in 0..2 {
        crowd.answered().await;
        let (going, stays) = if round == 0 { (&mut first, "r2") } else { (&mut second, "r1") };
        assert_eq!(going.stop().await, Some(0), "round {round}");
        let said = going.process().said();
        assert!(said.contains("stopped: nothing is left here"), "{said}");
        until("all are on the one that stays", async || {
            // It may have been started so lately that it is not ready for them yet.
            let seen = runners(&crowd.engine).await;
            (seen == [(stays.to_string(), CLIENTS as u64)]).then_some(()).ok_or(format!("{seen:?}"))
        })
        .await;
        going.restart(&url).await;
    }
    crowd.answered().await;
    assert_eq!(crowd.disperse().await, 0, "failed calls");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_engines_own_runner_others_share_the_work() {
    let engine = Engine::start_alone(&[]).await;
    engine.deploy("counter", "counter").await;
    assert_eq!(engine.increment("counter", "a").await, 1);
    let mut runner = Runner::start(&engine, "r1").await;
    until("the other one is ready and gets an actor", async || {
        engine.increment("counter", &fastrand::u64(..).to_string()).await;
        let seen = runners(&engine).await;
        seen.iter().any(|(key, actors)| key == "r1" && *actors > 0).then_some(()).ok_or(format!("{seen:?}"))
    })
    .await;
    runner.kill9();
    until("the engine's own runner is left", async || {
        let seen = runners(&engine).await;
        (seen.len() == 1 && seen[0].0 == "wasm").then_some(()).ok_or(format!("{seen:?}"))
    })
    .await;
    assert_eq!(engine.increment("counter", "a").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_not_connect_is_told_why_and_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("config.json");
    fs::write(&file, r#"{"auth":{"admin_token":"right, or wrong"}}"#).expect("a file can be written");
    let config = file.to_str().expect("a path that is text");
    let engine = Engine::start_alone(&["--no-wasm-runner", "--host", "127.0.0.1", "--config", config]).await;
    let rows: [(&[&str], &str); 4] = [
        (&[], "the engine does not take this runner's token"),
        (&["--token", "wrong"], "the engine does not take this runner's token"),
        (&["--token", "right, or wrong", "--key", "wasm"], "the engine does not take this runner's key"),
        (&["--token", "t", "--endpoint", "http://default:t@127.0.0.1:1"], "token is given twice"),
    ];
    for (flags, sentence) in rows {
        let cache = folder.path().join("cache");
        let mut arguments = vec!["runner", "--cache-dir", cache.to_str().expect("a path that is text")];
        arguments.extend(flags);
        let done = engine.cli(&arguments).await;
        assert_eq!(done.code, Some(1), "{flags:?}: {}", done.err);
        assert!(done.err.contains(sentence), "{flags:?}: {}", done.err);
    }
    let with = |key, flags: &[&str]| Runner::new(key, &flags.iter().map(|flag| flag.to_string()).collect::<Vec<_>>());
    let mut runner = with("r1", &["--token", "right, or wrong"]);
    runner.restart(engine.url()).await;
    // Of two with one name the newer is taken.
    let mut other = with("r1", &["--token", "right, or wrong"]);
    other.restart(engine.url()).await;
    assert_eq!(runner.process().ended().await, Some(1));
    let log = runner.process().log();
    assert!(log.contains("another runner with the same key has connected"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_spoken_is_refused() {
    let engine = without_runner().await;
    let rows = [
        ("protocol_version=4&runner_key=r1&version=1", "ws.unsupported_protocol_version"),
        ("protocol_version=1&runner_key=r1&version=1", "ws.unsupported_protocol_version"),
        ("protocol_version=0&runner_key=r1&version=1", "ws.unsupported_protocol_version"),
        ("protocol_version=2&version=1", "ws.invalid_request"),
        ("protocol_version=2&runner_key=&version=1", "ws.invalid_request"),
        ("protocol_version=2&runner_key=wasm&version=1", "ws.invalid_request"),
        ("protocol_version=2&runner_key=r1&version=x", "core.internal_error"),
    ];
    for (query, reason) in rows {
        let mut socket = Socket::open(&engine, &format!("/runners/components/connect?{query}"), "rivet").await;
        let (code, said) = socket.closed().await;
        assert_eq!((code, said.as_str()), (1011, reason), "{query}");
    }
    let plain = engine.get("/runners/components/connect").await.expect_ok("a look at the address");
    assert_eq!(plain.text(), "/runners/components/connect is where runners connect with a WebSocket\n");
}
