//! Bodies of any size flow through the engine both ways, in pieces, and arrive byte for byte.

use std::time::Duration;

use reqwest::Method;
use rivet_tests::address::by_key;
use rivet_tests::{Call, Engine};

const MIB: usize = 1024 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_comes_back_as_it_went() {
    let engine = Engine::start().await;
    engine.deploy("wasi-http", "web").await;
    engine.deploy("hostile", "hostile").await;
    let mut dice = fastrand::Rng::with_seed(7);
    // Around the sizes where a body begins to be streamed, and well above the window.
    for name in ["web", "hostile"] {
        for bytes in [0, 1, 65_535, 65_536, 65_537, 3 * MIB + 17, 8 * MIB] {
            let sent: Vec<u8> = (0..bytes).map(|_| dice.u8(..)).collect();
            let pieces: Vec<_> = sent.chunks(50_000).map(|piece| Ok::<_, std::io::Error>(piece.to_vec())).collect();
            let streamed = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
            for (how, body) in [("streamed", streamed), ("whole", reqwest::Body::from(sent.clone()))] {
                let response = engine.http(Method::POST, &by_key(name, "a", "/echo")).body(body).send().await;
                let response = response.unwrap_or_else(|error| panic!("{name}, {bytes} bytes {how}: an answer expected: {error}"));
                assert_eq!(response.status().as_u16(), 200, "{name}, {bytes} bytes {how}");
                let back = response.bytes().await.unwrap_or_else(|error| panic!("{name}, {bytes} bytes {how}: {error}"));
                assert!(back == sent, "{name}, {bytes} bytes {how}: {} bytes came back, or others", back.len());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_actor_sends_arrives_before_it_has_finished() {
    let engine = Engine::start().await;
    engine.deploy("wasi-http", "web").await;
    // An hour until its end: whatever arrives has not waited for it.
    let target = by_key("web", "a", "/stream?n=3601&every_ms=1000");
    let mut response = engine.http(Method::GET, &target).send().await.expect("an answer");
    assert_eq!(response.status().as_u16(), 200);
    let mut seen = String::new();
    while seen.lines().count() < 3 {
        let chunk = tokio::time::timeout(Duration::from_secs(20), response.chunk()).await;
        let chunk = chunk.unwrap_or_else(|_| panic!("the next line expected within 20 s, seen {seen:?}")).expect("no break");
        seen += &String::from_utf8_lossy(&chunk.unwrap_or_else(|| panic!("more expected, seen {seen:?}")));
    }
    assert_eq!(seen, "line 1\nline 2\nline 3\n");
    // The client leaves; the actor is free for others.
    drop(response);
    assert_eq!(engine.get(by_key("web", "a", "/?x=1")).await.expect_ok("after a client left").text(), "hello from /?x=1\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_unknown_length_may_have_twenty_mebibytes() {
    let engine = Engine::start().await;
    engine.deploy("wasi-http", "web").await;
    let largest = engine.send(Call::post(by_key("web", "a", "/echo")).chunked(20 * MIB)).await.expect_ok("20 MiB");
    assert_eq!(largest.body.len(), 20 * MIB);
}
