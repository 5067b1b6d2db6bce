//! How much one client may do.

use std::time::Duration;

use rivet_tests::address::by_key;
use rivet_tests::{Call, Socket, until};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::Stage;

const NAMESPACES: &str = "/namespaces";

/// How many of these get through, one after the other.
async fn through(stage: &Stage, calls: usize, forwarded: &str) -> usize {
    let mut through = 0;
    for _ in 0..calls {
        let mut call = Call::get(NAMESPACES);
        if !forwarded.is_empty() {
            call = call.header("x-forwarded-for", forwarded);
        }
        let answer = stage.engine.send(call).await;
        match answer.status {
            200 => through += 1,
            _ => assert_eq!((answer.status, answer.code().as_str()), (429, "guard.rate_limit"), "{answer}"),
        }
    }
    through
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_makes_so_many_requests_in_a_while() {
    let stage = Stage::start("  rate_limit: {requests: 5, period_ms: 60000}\n").await;
    assert_eq!(through(&stage, 7, "").await, 5);
    let answer = stage.engine.get("/namespaces?rvt-token=s3cret").await;
    assert_eq!((answer.status, answer.code().as_str()), (429, "guard.rate_limit"), "{answer}");
    let wait: u64 = answer.header("retry-after").parse().expect("seconds");
    assert!((1..=12).contains(&wait), "one of five in a minute comes every 12 s: {wait}");
    assert_eq!(answer.json()["metadata"]["requests"], 5, "{answer}");
    assert!(!answer.header("x-rivet-ray-id").is_empty() && !answer.text().contains("s3cret"), "{answer}");
    // An actor is one route of many: it counts all the same.
    assert_eq!(stage.engine.get(by_key("none", "k", "/")).await.code(), "guard.rate_limit");
    // What must always get through.
    for _ in 0..20 {
        stage.engine.get("/health").await.expect_ok("a probe");
    }
    let runner = stage.engine.get("/envoys/connect").await;
    assert_ne!(runner.code(), "guard.rate_limit", "{runner}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_comes_back() {
    let stage = Stage::start("  rate_limit: {requests: 2, period_ms: 1000}\n").await;
    assert!(through(&stage, 6, "").await < 6);
    until("the next request gets through", async || match through(&stage, 1, "").await {
        1 => Ok(()),
        _ => Err("429".to_string()),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn this_machine_is_not_counted_unless_it_is_said() {
    let stage = Stage::start_with("guard: {rate_limit: {requests: 2, period_ms: 60000}, max_in_flight: 1}\n").await;
    assert_eq!(through(&stage, 20, "").await, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_a_proxy_speaks_for() {
    let limit = "  rate_limit: {requests: 3, period_ms: 60000}\n";
    // Nobody is believed, whatever is made up.
    let stage = Stage::start(limit).await;
    assert_eq!((through(&stage, 3, "198.51.100.1").await, through(&stage, 3, "198.51.100.2").await), (3, 0));
    let stage = Stage::start(&format!("{limit}  trusted_proxies: [127.0.0.0/8]\n")).await;
    assert_eq!((through(&stage, 5, "198.51.100.1").await, through(&stage, 5, "198.51.100.2").await), (3, 3));
    // What a client has put before the proxy's word changes nothing.
    assert_eq!(through(&stage, 2, "203.0.113.9, 198.51.100.2").await, 0);
    assert_eq!(through(&stage, 2, "198.51.100.2, 127.0.0.2").await, 0);
    assert_eq!(through(&stage, 4, "192.0.2.7").await, 4, "who is exempt is exempt behind a proxy too");
}

#[tokio::test(flavor = "multi_thread")]
async fn actors_are_told_who_is_connected() {
    let stage = Stage::start("").await;
    stage.engine.deploy("hostile", "hostile").await;
    for (sent, expected) in [("", "127.0.0.1"), ("198.51.100.1", "198.51.100.1, 127.0.0.1")] {
        let mut call = Call::get(by_key("hostile", "k", "/headers"));
        if !sent.is_empty() {
            call = call.header("x-forwarded-for", sent);
        }
        let answer = stage.engine.send(call).await.expect_ok("headers").text();
        let told = answer.lines().find(|line| line.starts_with("x-forwarded-for: "));
        assert_eq!(told, Some(&*format!("x-forwarded-for: {expected}")), "{sent:?}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_has_so_many_requests_open() {
    let stage = Stage::start("  max_in_flight: 3\n").await;
    let mut open = Vec::new();
    until("three are open", async || {
        // Its body never comes. One that meets the request below on its way is refused itself.
        let mut stream = stage.connect().await;
        let head =
            "PUT /actors?namespace=default HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n";
        stream.write_all(head.as_bytes()).await.expect("it is open");
        open.push(stream);
        let answer = stage.engine.get(NAMESPACES).await;
        match answer.code().as_str() {
            "guard.max_in_flight" => Ok(()),
            _ => Err(answer.to_string()),
        }
    })
    .await;
    assert!(open.len() >= 3, "refused after {}", open.len());
    let answer = stage.engine.get(NAMESPACES).await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, "1"), "{answer}");
    stage.engine.get("/health").await.expect_ok("a probe");
    drop(open);
    until("one may be opened", async || {
        let answer = stage.engine.get(NAMESPACES).await;
        (answer.status == 200).then_some(()).ok_or(answer.to_string())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_is_open_until_it_is_closed() {
    let stage = Stage::start("  max_in_flight: 2\n").await;
    stage.engine.deploy("chat", "chat").await;
    let target = by_key("chat", "k", "/");
    let (first, second) = (Socket::open(&stage.engine, &target, "").await, Socket::open(&stage.engine, &target, "").await);
    let third = Socket::open_with(&stage.engine, &target, &[]).await;
    assert!(third.is_err_and(|error| error.to_string().contains("429")), "a third one is refused");
    first.close().await;
    until("another may be opened", async || {
        Socket::open_with(&stage.engine, &target, &[]).await.map_err(|error| error.to_string())
    })
    .await;
    drop(second);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_no_longer_than_it_may_be() {
    let stage = Stage::start("  websocket_max_message_size: 2000\n").await;
    stage.engine.deploy("chat", "chat").await;
    for (bytes, ends) in [(2_000, false), (2_001, true)] {
        let mut socket = Socket::open(&stage.engine, &by_key("chat", "k", "/?name=ada"), "rivet").await;
        // In two frames: it is the message that counts.
        let piece = |opcode, is_last, bytes| Message::Frame(Frame::message(vec![b'x'; bytes], opcode, is_last));
        socket.send(piece(OpCode::Data(Data::Text), false, 1_000)).await.expect("the socket is open");
        socket.send(piece(OpCode::Data(Data::Continue), true, bytes - 1_000)).await.expect("the socket is open");
        // Chat says everything to everybody.
        let seen = loop {
            match socket.next().await.expect("something is said").expect("the engine keeps to the protocol") {
                Message::Close(Some(frame)) => break format!("{} {}", u16::from(frame.code), &frame.reason[..19]),
                message if message.len() >= bytes => break String::new(),
                _ => {}
            }
        };
        assert_eq!(seen, if ends { "1011 core.internal_error" } else { "" }, "{bytes} bytes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_has_so_many_connections() {
    // The client of this test keeps one or two itself.
    let stage = Stage::start("  max_connections: 5\n").await;
    let ended = async |stream: &mut tokio::net::TcpStream| {
        let read = tokio::time::timeout(Duration::from_millis(500), stream.read(&mut [0; 1])).await;
        read.is_ok_and(|read| read.map_or(true, |bytes| bytes == 0))
    };
    let mut open = Vec::new();
    for _ in 0..10 {
        let mut stream = stage.connect().await;
        if !ended(&mut stream).await {
            open.push(stream);
        }
    }
    assert!((3..=5).contains(&open.len()), "{} of 10 stay open", open.len());
    for stream in &mut open {
        assert!(!ended(stream).await, "those that were there stay");
    }
    drop(open);
    until("another may be opened", async || {
        let mut stream = stage.connect().await;
        (!ended(&mut stream).await).then_some(()).ok_or("it is closed".to_string())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_no_longer_than_it_may_be() {
    let stage = Stage::start("  http_max_request_body_size: 100000\n").await;
    stage.engine.deploy("hostile", "hostile").await;
    let to = || Call::post(by_key("hostile", "k", "/echo"));
    let rows = [
        (to().body(vec![b'x'; 100_000]), 200),
        (to().body(vec![b'x'; 100_001]), 413),
        (to().chunked(100_000), 200),
        (to().chunked(100_001), 413),
        (to().announced(100_001), 413),
    ];
    for (call, expected) in rows {
        let what = format!("{:?}", call.body).chars().take(40).collect::<String>();
        let answer = stage.engine.send(call).await;
        assert_eq!(answer.status, expected, "{what}: {}", answer.status);
        if expected == 413 {
            assert_eq!(answer.code(), "guard.invalid_request_body");
            assert!(answer.message().contains("100000 bytes"), "{answer}");
        }
    }
    // The API has a limit of its own.
    let name = json!({ "name": "n", "display_name": "N" }).to_string();
    let call = Call::post("/namespaces").header("content-type", "application/json").body(name + &" ".repeat(200_000));
    assert_eq!(stage.engine.send(call).await.status, 200);
}
