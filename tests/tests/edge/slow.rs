//! Clients that take too long, send too much of a head, or say nothing at all.

use std::time::{Duration, Instant};

use rivet_tests::address::by_key;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{Stage, WITHIN, ask};

const SHORT: &str = "  request_head_timeout_ms: 700\n  request_body_idle_timeout_ms: 700\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_does_not_come_ends_the_connection() {
    let stage = Stage::start(SHORT).await;
    let rows: [(&str, &[u8], &str); 6] = [
        ("nothing", b"", ""),
        ("the first letter", b"P", ""),
        ("half a line", b"GET /hea", ""),
        ("half a head", b"GET /health HTTP/1.1\r\nhost: a\r\nx-", ""),
        ("one request, and no second", b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n", "HTTP/1.1 200 OK"),
        ("HTTP/2, and no request", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", "\0"),
    ];
    for (what, words, expected) in rows {
        let began = Instant::now();
        let seen = ask(stage.connect().await, words).await;
        assert!(seen.contains(expected), "{what}: {seen:?}");
        assert!(began.elapsed() >= Duration::from_millis(600), "{what}: ended after {:?}, and not by that limit", began.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_trickles_ends_the_connection() {
    let stage = Stage::start(SHORT).await;
    let mut stream = stage.connect().await;
    let began = Instant::now();
    let mut head = b"GET /health HTTP/1.1\r\nhost: a\r\n".to_vec();
    head.extend(b"x-a: b\r\n".repeat(1_000));
    for byte in head {
        // Each comes in time, and all of them never.
        if stream.write_all(&[byte]).await.is_err() || began.elapsed() > WITHIN {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(began.elapsed() < WITHIN, "it was listened to for {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_stops_coming_is_given_up() {
    let stage = Stage::start(SHORT).await;
    stage.engine.deploy("hostile", "hostile").await;
    let actor = by_key("hostile", "k", "/echo");
    let api = "/actors?namespace=default";
    let head = |method: &str, target: &str, length: &str| {
        format!("{method} {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: application/json\r\n{length}\r\n\r\n")
    };
    let rows = [
        ("short, to an actor", head("POST", &actor, "content-length: 100") + "{", "guard.invalid_request_body"),
        ("long, to an actor", head("POST", &actor, "content-length: 1000000") + "{", "guard.invalid_request_body"),
        (
            "without a length, to an actor",
            head("POST", &actor, "transfer-encoding: chunked") + "1\r\nx\r\n",
            "guard.invalid_request_body",
        ),
        ("to the API", head("PUT", api, "content-length: 100") + "{", "bad_request"),
    ];
    for (what, words, expected) in rows {
        let seen = ask(stage.connect().await, words.as_bytes()).await;
        let code = expected.rsplit('.').next().unwrap_or_default();
        assert!(seen.contains(code) && seen.contains("nothing of it came for 700 ms"), "{what}: {expected} expected, seen {seen}");
    }
    // One that comes slowly, and comes.
    let mut stream = stage.connect().await;
    stream.write_all(head("POST", &actor, "content-length: 5").as_bytes()).await.expect("it is open");
    for letter in [b"a", b"b", b"c", b"d"] {
        tokio::time::sleep(Duration::from_millis(300)).await;
        stream.write_all(letter).await.expect("it is open");
    }
    let seen = ask(stream, b"e").await;
    assert!(seen.starts_with("HTTP/1.1 200") && seen.ends_with("abcde"), "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_are_too_large_are_refused() {
    let stage = Stage::start("").await;
    let with = |more: String| format!("GET /health HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{more}\r\n").into_bytes();
    let rows = [
        ("a header of 30 KB", with(format!("x-a: {}\r\n", "a".repeat(30_000))), "HTTP/1.1 200"),
        ("a header of 200 KB", with(format!("x-a: {}\r\n", "a".repeat(200_000))), "HTTP/1.1 431"),
        ("97 headers beside", with((0..97).map(|n| format!("x-{n}: a\r\n")).collect()), "HTTP/1.1 200"),
        ("101 headers beside", with((0..101).map(|n| format!("x-{n}: a\r\n")).collect()), "HTTP/1.1 431"),
        ("an address of 70 KB", format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(70_000)).into_bytes(), "HTTP/1.1 414"),
    ];
    for (what, words, expected) in rows {
        let seen = ask(stage.connect().await, &words).await;
        assert!(seen.starts_with(expected), "{what}: {expected} expected, seen {}", seen.chars().take(100).collect::<String>());
    }
}

/// The timer that the kernel runs for the engine's side of a connection: 2 is the one of keep-alive.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn the_kernel_asks_whether_a_client_is_still_there() {
    let stage = Stage::start("").await;
    let mut stream = stage.connect().await;
    stream.write_all(b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("it is open");
    let _ = stream.read(&mut [0; 1_000]).await.expect("an answer");
    let hex = |address: std::net::SocketAddr| format!("0100007F:{:04X}", address.port());
    let (client, engine) = (stream.local_addr().expect("it is open"), stream.peer_addr().expect("it is open"));
    let timer = rivet_tests::until("a timer of the engine's side", async || {
        let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux");
        let row = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).find(|row| {
            row.get(1).is_some_and(|local| *local == hex(engine)) && row.get(2).is_some_and(|remote| *remote == hex(client))
        });
        let timer = row.and_then(|row| row.get(5).and_then(|timer| timer.split(':').next().map(str::to_string)));
        // 1 while an answer is not acknowledged yet.
        timer.filter(|timer| timer != "01").ok_or("none".to_string())
    });
    assert_eq!(timer.await, "02");
}

#[tokio::test(flavor = "multi_thread")]
async fn very_many_who_say_nothing_do_not_stop_a_request() {
    // Beyond what one client may have by default.
    let stage = Stage::start("  max_connections: 20000\n").await;
    // The engine has its own limit, which is the same: both sides of each connection are on this machine, in different processes.
    let many = open_files_max().saturating_sub(500).min(10_000);
    let mut silent = Vec::new();
    for _ in 0..many {
        silent.push(TcpStream::connect(stage.address()).await.expect("the engine accepts"));
    }
    let began = Instant::now();
    for _ in 0..20 {
        stage.engine.get("/namespaces").await.expect_ok("a request among them");
    }
    let took = began.elapsed();
    assert!(took < WITHIN, "20 requests beside {many} silent connections took {took:?}");
    println!("20 requests beside {many} silent connections took {took:?}");
}

fn open_files_max() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls are given a value of their own type that lives on.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
        limit.rlim_cur = limit.rlim_max;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
    }
    usize::try_from(limit.rlim_cur).expect("64 bits")
}
