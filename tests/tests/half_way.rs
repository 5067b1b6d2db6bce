//! A response that begins before its handler has returned: what was written before it is durable, and nothing is written after it.

use reqwest::Method;
use rivet_tests::address::by_key;
use rivet_tests::{Engine, until};

const STORED: &str = "stored";

async fn stored(engine: &Engine) -> String {
    engine.get(by_key("half-way", "a", "/")).await.expect_ok("what is stored").text()
}

/// The head and the first line have come; the rest has not.
async fn first_line(engine: &Engine, path: &str) -> reqwest::Response {
    let mut response = engine.http(Method::GET, &by_key("half-way", "a", path)).send().await.expect("an answer");
    assert_eq!(response.status().as_u16(), 200, "{path}");
    let mut seen = String::new();
    while !seen.ends_with('\n') {
        let chunk = response.chunk().await.expect("the first line comes before anything breaks");
        seen += &String::from_utf8_lossy(&chunk.expect("the first line comes before the end"));
    }
    assert!(seen.starts_with(STORED), "{path}: {seen}");
    response
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_after_the_head_is_refused() {
    let engine = Engine::start().await;
    engine.deploy("half-way", "half-way").await;
    let text = engine.get(by_key("half-way", "a", "/one")).await.expect_ok("GET /one").text();
    assert!(text.starts_with("stored one\n"), "{text}");
    assert!(text.contains("the response has begun"), "{text}");
    assert_eq!(stored(&engine).await, "Ok(Some(Ok(\"one\")))\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_after_the_head_cuts_the_response_and_keeps_what_it_told() {
    let engine = Engine::start().await;
    engine.deploy("half-way", "half-way").await;
    let mut response = first_line(&engine, "/two/trap").await;
    let broken = loop {
        match response.chunk().await {
            Ok(Some(_)) => {}
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    assert!(broken, "the response ended as if it were whole");
    until("the actor is back", async || {
        let seen = stored(&engine).await;
        if seen == "Ok(Some(Ok(\"two\")))\n" { Ok(()) } else { Err(seen) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_seen_the_head_finds_it_again_after_a_kill() {
    let mut engine = Engine::start().await;
    engine.deploy("half-way", "half-way").await;
    for value in ["three", "four", "five"] {
        let response = first_line(&engine, &format!("/{value}/wait")).await;
        engine.kill9();
        drop(response);
        engine.restart().await;
        assert_eq!(stored(&engine).await, format!("Ok(Some(Ok(\"{value}\")))\n"));
    }
}
