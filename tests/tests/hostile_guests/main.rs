//! A corpus of hostile components, each deployed into one engine: what each gets, and that nobody else notices.
//!
//! Written as core modules by hand, so that they do what no compiler emits: pointers to nowhere, lengths of four billion, an allocator
//! that lies. Whatever happens, the engine answers with a code, and a well-behaved actor goes on counting.

mod component;
mod corpus;

use std::time::{Duration, Instant};

use rivet_tests::address::by_key;
use rivet_tests::{Call, Engine};
use serde_json::Value;

use crate::corpus::corpus;

/// Limits that a test can wait for.
const SETTINGS: &str = r#"{"limits": {"cpu_ms": 300}}"#;
const FLAGS: [&str; 4] = ["--wasm-actor-memory", "32", "--wasm-memory", "256"];
/// A deploy that is refused is refused at once, and one that is compiled does not take long either: the largest row has 4 MiB.
const DEPLOY_WITHIN: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn each_gets_what_it_deserves_and_the_others_go_on() {
    let engine = Engine::start_with(&FLAGS).await;
    engine.deploy("counter", "counter").await;
    let rows = corpus();
    assert!(rows.len() >= 30, "{} hostile components", rows.len());
    let mut wrong = Vec::new();
    for (at, (what, bytes, gets)) in rows.into_iter().enumerate() {
        let seen = check(&engine, &format!("hostile-{at}"), bytes).await;
        println!("{what:60} {seen}");
        if !gets.allows(&seen) {
            wrong.push(format!("{what}: {gets:?} expected, seen: {seen}"));
        }
        assert_eq!(engine.increment("counter", "a").await, at as u64 + 1, "after {what}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What the component got: the code of the refusal or of the answer, or `ok`.
async fn check(engine: &Engine, name: &str, bytes: Vec<u8>) -> String {
    let began = Instant::now();
    let deployed = engine
        .send(Call::put(format!("/deployments/{name}?namespace=default")).header("x-rivet-settings", SETTINGS).body(bytes))
        .await;
    assert!(began.elapsed() < DEPLOY_WITHIN, "the deploy took {:?}", began.elapsed());
    if deployed.status != 200 {
        return format!("refused {}: {}", deployed.code(), message(&deployed.json()));
    }
    let first = engine.get(by_key(name, "a", "/")).await;
    if first.status != 504 {
        // It meets what the first has left behind.
        let second = engine.get(by_key(name, "a", "/")).await;
        assert_eq!(first.status, second.status, "the second call differs: {first} and {second}");
    }
    match first.status {
        200 => "ok".to_string(),
        status => format!("{status} {}: {}", first.code(), message(&first.json())),
    }
}

fn message(error: &Value) -> &str {
    error["message"].as_str().unwrap_or_default()
}
