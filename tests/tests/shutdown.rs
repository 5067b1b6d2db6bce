//! How an engine starts and ends, seen by whoever supervises it: readiness, probes under load, an orderly end and a hasty one, and what
//! the service manager is told.

use std::ffi::CString;
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::wire::RunnerVersion;
use reqwest::Method;
use rivet_tests::address::by_key;
use rivet_tests::engine::run_with;
use rivet_tests::process::{Process, command};
use rivet_tests::{Call, Engine, Envoy, Socket, until};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A port that was free a moment ago.
fn free_port() -> String {
    TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("it listens").port().to_string()
}

async fn with_peer(variables: &[(&str, &str)], flags: &[&str]) -> (Engine, String) {
    let port = free_port();
    let engine = Engine::start_in(variables, &[flags, &["--api-peer-port", &port]].concat()).await;
    (engine, format!("http://127.0.0.1:{port}"))
}

/// Status, and the reasons that are named.
async fn readiness(base: &str) -> Result<(u16, Vec<String>), String> {
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().expect("a client without TLS");
    let response = http.get(format!("{base}/ready")).send().await.map_err(|error| error.to_string())?;
    let status = response.status().as_u16();
    let body: Value = response.json().await.map_err(|error| error.to_string())?;
    let reasons = body["reasons"].as_array().ok_or(body.to_string())?;
    Ok((status, reasons.iter().map(|reason| reason.as_str().unwrap_or_default().to_string()).collect()))
}

/// Nothing but one request on a connection of its own; the answer is its first line, its headers and its body, or what is there.
async fn raw(stream: &mut TcpStream, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it is open");
    let mut seen = vec![0; 65_536];
    let bytes = stream.read(&mut seen).await.unwrap_or(0);
    String::from_utf8_lossy(&seen[..bytes]).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_ready_until_it_is_told_to_stop() {
    let delay = ("RIVET__RUNTIME__SHUTDOWN_DELAY_DURATION", "3");
    let (mut engine, peer) = with_peer(&[delay], &[]).await;
    engine.deploy("counter", "counter").await;
    for base in [peer.as_str(), engine.url()] {
        assert_eq!(readiness(base).await, Ok((200, Vec::new())), "{base}");
    }
    engine.tell_to_stop();
    let draining = Ok((503, vec!["draining".to_string()]));
    for base in [peer.as_str(), engine.url()] {
        until("readiness is false", async || match readiness(base).await {
            seen if seen == draining => Ok(()),
            seen => Err(format!("{seen:?}")),
        })
        .await;
    }
    // Whoever has not looked yet is served: that is what the delay is for.
    assert_eq!(engine.increment("counter", "a").await, 1);
    assert_eq!(engine.ended().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_answer_while_the_main_port_is_full_and_busy() {
    let (engine, peer) = with_peer(&[], &["--durability", "relaxed"]).await;
    let engine = Arc::new(engine);
    engine.deploy("counter", "counter").await;
    let host = engine.url().strip_prefix("http://").expect("an engine's address").to_string();
    // Connections that say nothing, and others that never pause.
    let mut idle = Vec::new();
    for _ in 0..500 {
        idle.push(TcpStream::connect(&host).await.expect("it takes connections"));
    }
    let (stop, stopped) = watch::channel(false);
    let mut clients = JoinSet::new();
    for client in 0..32 {
        let (engine, stopped) = (engine.clone(), stopped.clone());
        clients.spawn(async move {
            while !*stopped.borrow() {
                engine.increment("counter", &format!("k{}", client % 8)).await;
            }
        });
    }
    for _ in 0..50 {
        let began = Instant::now();
        assert_eq!(readiness(&peer).await, Ok((200, Vec::new())));
        assert!(began.elapsed() < Duration::from_secs(5), "a probe took {:?}", began.elapsed());
    }
    stop.send(true).expect("the clients still listen");
    clients.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_from_before_is_told_that_the_engine_stops() {
    let engine = Arc::new(Engine::start().await);
    engine.deploy("wasi-http", "web").await;
    let host = engine.url().strip_prefix("http://").expect("an engine's address").to_string();
    // Its head is under way when the engine is told: the connection is busy, and what it then asks for is new.
    let mut open = TcpStream::connect(&host).await.expect("it takes connections");
    let target = by_key("web", "a", "/stream?n=4&every_ms=500");
    let mut response = engine.http(Method::GET, &target).send().await.expect("an answer");
    response.chunk().await.expect("no break").expect("a line");
    open.write_all(b"GET /datacenters HTTP/1.1\r\n").await.expect("it is open");
    engine.tell_to_stop();
    until("the engine drains", async || match TcpStream::connect(&host).await {
        Ok(_) => Err("it takes connections".to_string()),
        Err(_) => Ok(()),
    })
    .await;
    open.write_all(b"host: a\r\n\r\n").await.expect("it is open");
    let mut seen = String::new();
    open.read_to_string(&mut seen).await.expect("an answer, and the end");
    assert!(seen.starts_with("HTTP/1.1 503 "), "{seen}");
    assert!(seen.contains("connection: close\r\n") && seen.contains("x-rivet-error: guard.service_unavailable\r\n"), "{seen}");
    let mut rest = Vec::new();
    while let Some(chunk) = response.chunk().await.expect("the rest comes although the engine stops") {
        rest.extend_from_slice(&chunk);
    }
    assert_eq!(rest, b"line 2\nline 3\nline 4\n");
    drop(response);
    let mut engine = Arc::into_inner(engine).expect("nobody else has it");
    assert_eq!(engine.ended().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_too_long_is_cut_off_and_named() {
    let grace = ("RIVET__RUNTIME__GUARD_SHUTDOWN_DURATION", "1");
    let mut engine = Engine::start_in(&[grace], &[]).await;
    engine.deploy("wasi-http", "web").await;
    let target = by_key("web", "a", "/stream?n=100&every_ms=1000");
    let mut response = engine.http(Method::GET, &target).send().await.expect("an answer");
    response.chunk().await.expect("no break").expect("a line");
    engine.tell_to_stop();
    let log = until("it says what it waits for, and what it cuts off", async || {
        let log = engine.log();
        let said = ["waiting for requests under way", "runtime.guard_shutdown_duration is over"];
        said.iter().all(|words| log.contains(words)).then_some(()).ok_or(log)
    });
    log.await;
    assert_eq!(engine.ended().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once() {
    let grace = ("RIVET__RUNTIME__GUARD_SHUTDOWN_DURATION", "600");
    let hang = by_key("web", "a", "/stream?n=1000&every_ms=1000");
    let mut engine = Engine::start_in(&[grace], &[]).await;
    engine.deploy("wasi-http", "web").await;
    engine.deploy("counter", "counter").await;
    let counted = engine.increment("counter", "a").await;
    let mut response = engine.http(Method::GET, &hang).send().await.expect("an answer");
    response.chunk().await.expect("no break").expect("a line");
    engine.tell_to_stop();
    until("it drains", async || engine.log().contains("waiting for requests").then_some(()).ok_or(engine.log())).await;
    engine.tell_to_stop();
    assert_eq!(engine.ended().await, Some(1), "a second signal");
    engine.restart().await;
    assert_eq!(engine.increment("counter", "a").await, counted + 1, "what was acknowledged is there");
    // All of it may take no longer than this.
    let shorter = [
        ("RIVET__RUNTIME__GUARD_SHUTDOWN_DURATION", "1"),
        ("RIVET__RUNTIME__WORKER_SHUTDOWN_DURATION", "1"),
        ("RIVET__RUNTIME__FORCE_SHUTDOWN_DURATION", "1"),
    ];
    let done = run_with(&["start", "--port", "0", "--data-dir", "/nowhere"], &shorter).await;
    assert_eq!(done.code, Some(1), "{}", done.err);
    assert!(done.err.contains("runtime.force_shutdown_duration: 1 s is less than"), "{}", done.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_that_is_over_ends_it_whatever_it_waits_for() {
    let times =
        [("GUARD", "0"), ("WORKER", "0"), ("FORCE", "1")].map(|(part, s)| (format!("RIVET__RUNTIME__{part}_SHUTDOWN_DURATION"), s));
    let times: Vec<(&str, &str)> = times.iter().map(|(name, s)| (name.as_str(), *s)).collect();
    let mut engine = Engine::start_in(&times, &[]).await;
    // A runner that does not listen any more: the engine would wait longer for it.
    let (envoy, _) = Envoy::connect_legacy(&engine, "default", "deaf", RunnerVersion::NEWEST, 0).await;
    let began = Instant::now();
    engine.tell_to_stop();
    until("it says why", async || {
        let log = engine.log();
        log.contains("stopped at once: runtime.force_shutdown_duration is over").then_some(()).ok_or(log)
    })
    .await;
    assert_eq!(engine.ended().await, Some(1));
    assert!(began.elapsed() >= Duration::from_millis(900), "not before its time: {:?}", began.elapsed());
    drop(envoy);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_by_a_stop_under_load() {
    let mut engine = Engine::start().await;
    engine.deploy("counter", "counter").await;
    let mut acknowledged = [0; 4];
    for round in 0..3 {
        let shared = Arc::new(engine);
        let mut clients = JoinSet::new();
        for key in 0..acknowledged.len() {
            let engine = shared.clone();
            clients.spawn(async move {
                let mut last = 0;
                let call = || Call::post(by_key("counter", &format!("k{key}"), "/increment"));
                while let Ok(answer) = engine.try_send(call()).await {
                    if answer.status != 200 {
                        assert_eq!((answer.status, answer.code().as_str()), (503, "guard.service_unavailable"), "{answer}");
                        break;
                    }
                    last = answer.number("an increment");
                }
                (key, last)
            });
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        shared.tell_to_stop();
        for (key, last) in clients.join_all().await {
            assert!(last > acknowledged[key], "round {round}: it was called");
            acknowledged[key] = last;
        }
        engine = Arc::into_inner(shared).expect("the clients are gone");
        assert_eq!(engine.ended().await, Some(0), "round {round}");
        engine.restart().await;
        for (key, last) in acknowledged.iter_mut().enumerate() {
            let now = engine.get(by_key("counter", &format!("k{key}"), "/")).await.number("the count");
            // One more may have been written whose answer did not arrive any more.
            assert!((*last..=*last + 1).contains(&now), "round {round}, key {key}: {last} acknowledged, {now} found");
            *last = now;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn actors_hear_that_they_are_to_go_and_clients_of_sockets_that_they_may_come_back() {
    let mut engine = Engine::start_alone(&[]).await;
    engine.deploy("hostile", "hostile").await;
    engine.deploy("sockets", "sockets").await;
    engine.get(by_key("hostile", "a", "/count")).await.expect_ok("an actor that runs");
    let mut socket = Socket::open(&engine, &by_key("sockets", "a", "/websocket/"), "rivet").await;
    engine.tell_to_stop();
    assert_eq!(socket.closed().await, (1011, "ws.going_away".to_string()));
    socket.close().await;
    let asleep = until("the actors fall asleep", async || {
        let log = engine.log();
        log.contains("actors fall asleep").then_some(()).ok_or(log)
    });
    asleep.await;
    assert_eq!(engine.ended().await, Some(0));
    engine.restart().await;
    // As it left: asleep, and not lost in a crash.
    let (actor, _) = engine.get_or_create("hostile", "a", None).await;
    let seen = engine.actor(&actor).await;
    assert!(!seen["sleep_ts"].is_null(), "{seen}");
    engine.get(by_key("hostile", "a", "/count")).await.expect_ok("it runs again");
}

/// What a service manager hears, in the order in which it was said.
struct Heard {
    socket: UnixDatagram,
    said: Vec<String>,
}

impl Heard {
    async fn until(&mut self, words: &str) {
        let what = format!("the service manager hears {words}");
        until(&what, async || {
            self.listen();
            let heard = self.said.iter().flat_map(|said| said.lines()).any(|line| line.starts_with(words));
            heard.then_some(()).ok_or(format!("{:?}", self.said))
        })
        .await;
    }

    fn listen(&mut self) {
        let mut bytes = [0; 4_096];
        while let Ok(count) = self.socket.recv(&mut bytes) {
            self.said.push(String::from_utf8_lossy(&bytes[..count]).into_owned());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_manager_is_told_how_it_goes() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_nonblocking(true).expect("it can be");
    let mut heard = Heard { socket, said: Vec::new() };
    let path = path.to_str().expect("a path that is text");
    let variables = [("NOTIFY_SOCKET", path), ("WATCHDOG_USEC", "200000"), ("RIVET__RUNTIME__SHUTDOWN_DELAY_DURATION", "6")];
    let mut engine = Engine::start_in(&variables, &[]).await;
    heard.until("STATUS=opening the store").await;
    heard.until("READY=1").await;
    heard.until("WATCHDOG=1").await;
    engine.tell_to_stop();
    heard.until("STOPPING=1").await;
    heard.until("EXTEND_TIMEOUT_USEC=").await;
    heard.until("STATUS=writing out the store").await;
    assert_eq!(engine.ended().await, Some(0));
    let at = |words: &str| heard.said.iter().position(|said| said.contains(words)).expect("it was heard");
    assert!(at("opening the store") < at("READY=1") && at("READY=1") < at("STOPPING=1"), "{:?}", heard.said);
    // A name without a file, and one behind which nobody listens: neither keeps it from running.
    for name in ["@rivet-engine-tests-nobody", "/nowhere/notify"] {
        let mut engine = Engine::start_in(&[("NOTIFY_SOCKET", name)], &[]).await;
        assert_eq!(engine.stop().await, Some(0), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_are_answered_while_the_store_is_opened() {
    let folder = TempDir::new().expect("a folder");
    let (data, port) = (folder.path().join("data"), free_port());
    let base = format!("http://127.0.0.1:{port}");
    let start = |name| {
        let mut command = command();
        command.args(["start", "--port", "0", "--api-peer-port", &port, "--data-dir"]).arg(&data);
        Process::start("the engine", command, folder.path(), name)
    };
    let mut engine = start("first");
    engine.line(" is ready at ").await;
    engine.signal(libc::SIGTERM);
    assert_eq!(engine.ended().await, Some(0));
    // Which file is the newest stands in this one: as a pipe it holds the store up until the test writes to it.
    let current = data.join("store/CURRENT");
    let kept = folder.path().join("CURRENT");
    fs::rename(&current, &kept).expect("the store has it");
    let name = CString::new(current.to_str().expect("a path that is text")).expect("no zeros");
    // SAFETY: the name is text that ends with a zero, and lives until the call returns.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0, "a pipe can be made");
    let mut engine = start("second");
    let starting = Ok((503, vec!["starting".to_string()]));
    until("the probe is answered", async || match readiness(&base).await {
        seen if seen == starting => Ok(()),
        seen => Err(format!("{seen:?}")),
    })
    .await;
    let address = base.strip_prefix("http://").expect("an address");
    let health = raw(&mut TcpStream::connect(address).await.expect("it listens"), "/health").await;
    assert!(health.starts_with("HTTP/1.1 200 ") && health.contains(r#""runtime":"engine""#), "{health}");
    let text = fs::read(&kept).expect("it was there");
    let mut pipe = tokio::task::spawn_blocking(move || fs::File::options().write(true).open(&current).map(|pipe| (pipe, current)));
    let (mut pipe, current) = (&mut pipe).await.expect("no panic").expect("the engine reads it");
    // Whoever looks again finds the file.
    fs::rename(&kept, &current).expect("the pipe is replaced");
    pipe.write_all(&text).expect("the engine reads it");
    drop(pipe);
    engine.line(" is ready at ").await;
    assert_eq!(readiness(&base).await, Ok((200, Vec::new())));
    engine.signal(libc::SIGTERM);
    assert_eq!(engine.ended().await, Some(0));
}
