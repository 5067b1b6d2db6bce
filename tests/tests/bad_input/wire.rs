//! What can be wrong with the bytes of a connection: no HTTP at all, half of it, or two meanings at once.
//!
//! What is half a request must never reach an actor: the counter would tell.

use std::time::Duration;

use rivet_tests::Engine;
use rivet_tests::address::by_key;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What is wrong, the bytes, and how the answer begins; empty where the connection just ends.
type Row = (&'static str, Vec<u8>, &'static str);

const ENDS_WITHIN: Duration = Duration::from_secs(20);

fn rows() -> Vec<Row> {
    let increment = by_key("witness", "a", "/increment");
    let post = |rest: &str| format!("POST {increment} HTTP/1.1\r\nhost: x\r\n{rest}").into_bytes();
    let head = |lines: &str| format!("GET /health HTTP/1.1\r\nhost: x\r\n{lines}\r\n").into_bytes();
    vec![
        ("nothing", Vec::new(), ""),
        ("no HTTP", b"HELLO\r\n\r\n".to_vec(), "HTTP/1.1 400 "),
        ("bytes of chance", (0..4096).map(|_| fastrand::u8(128..)).collect(), "HTTP/1.1 400 "),
        ("the greeting of TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(), "\u{15}\u{3}\u{1}"),
        ("a version that is not there", b"GET /health HTTP/9.9\r\nhost: x\r\n\r\n".to_vec(), "HTTP/1.1 400 "),
        ("an address that is none", b"GET /gateway/\x01 HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(), "HTTP/1.1 400 "),
        ("half a head", post(""), ""),
        ("a header without a colon", head("no colon\r\n"), "HTTP/1.1 400 "),
        ("a header's name with a blank", head("a b: c\r\n"), "HTTP/1.1 400 "),
        ("more headers than anybody needs", head(&"a: b\r\n".repeat(5_000)), "HTTP/1.1 431 "),
        ("a header without end", head(&format!("a: {}\r\n", "b".repeat(2_000_000))), "HTTP/1.1 431 "),
        ("a length that is no number", post("content-length: ten\r\n\r\n"), "HTTP/1.1 400 "),
        ("a length below 0", post("content-length: -1\r\n\r\n"), "HTTP/1.1 400 "),
        ("two lengths", post("content-length: 1\r\ncontent-length: 2\r\n\r\nab"), "HTTP/1.1 400 "),
        ("a coding that nobody knows", post("transfer-encoding: secret\r\n\r\n"), "HTTP/1.1 400 "),
        ("less than was announced", post("content-length: 10\r\n\r\nabc"), "HTTP/1.1 413 "),
        ("chunks that are none", post("transfer-encoding: chunked\r\n\r\nzz\r\nabc\r\n"), "HTTP/1.1 413 "),
        ("chunks without their end", post("transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"), "HTTP/1.1 413 "),
        ("a chunk larger than any number", post("transfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n"), "HTTP/1.1 413 "),
        (
            "the beginning of HTTP/2 and then nothing of it",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nGET / HTTP/1.1\r\n\r\n".to_vec(),
            "\0\0",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_bytes_are_answered_or_end_the_connection() {
    let engine = Engine::start().await;
    engine.deploy("counter", "witness").await;
    let mut wrong = Vec::new();
    for (count, (what, bytes, expected)) in (1..).zip(rows()) {
        let seen = said(&engine, &bytes, what).await;
        if !seen.starts_with(expected) || expected.is_empty() != seen.is_empty() {
            let shown: String = seen.chars().take(300).collect();
            wrong.push(format!("{what}: {expected:?} expected, seen {shown:?}"));
        }
        let counted = engine.increment("witness", "a").await;
        if counted != count {
            wrong.push(format!("{what}: it reached the actor, or the engine lost count: {counted} seen, {count} expected"));
            break;
        }
    }
    assert!(wrong.is_empty(), "{} rows are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// Everything that is answered to these bytes, until the connection ends.
async fn said(engine: &Engine, bytes: &[u8], what: &str) -> String {
    let host = engine.url().strip_prefix("http://").expect("an engine's address");
    let mut stream = TcpStream::connect(host).await.expect("the engine listens");
    let (mut reader, mut writer) = stream.split();
    let mut seen = Vec::new();
    let both = async {
        // The engine may have heard enough and be gone: then its answer tells.
        let write = async {
            let _ = writer.write_all(bytes).await;
            let _ = writer.shutdown().await;
        };
        let read = async {
            let _ = reader.read_to_end(&mut seen).await;
        };
        tokio::join!(write, read)
    };
    let ended = tokio::time::timeout(ENDS_WITHIN, both).await;
    assert!(ended.is_ok(), "{what}: the connection ends within {ENDS_WITHIN:?}; seen {}", String::from_utf8_lossy(&seen));
    String::from_utf8_lossy(&seen).into_owned()
}
