//! What becomes of an actor that crashes, sleeps or destroys itself: its policy, its record, its log.

use rivet_tests::address::by_id;
use rivet_tests::{Call, Engine, until};
use serde_json::{Value, json};

/// An actor with this policy.
async fn made(engine: &Engine, policy: &str) -> String {
    let body = json!({ "name": "hostile", "key": policy, "runner_name_selector": "default", "crash_policy": policy });
    let answer = engine.send(Call::post("/actors?namespace=default").json(&body)).await.expect_ok("an actor").json();
    answer["actor"]["actor_id"].as_str().unwrap_or_else(|| panic!("an actor expected, seen {answer}")).to_string()
}

/// Waits until its record is as it must be.
async fn becomes(engine: &Engine, actor: &str, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
    until(what, async || {
        let seen = engine.actor(actor).await;
        if fits(&seen) { Ok(seen) } else { Err(seen.to_string()) }
    })
    .await
}

/// The reasons of its starts, from its log.
async fn starts(engine: &Engine, actor: &str) -> Vec<String> {
    let lines = engine.actor_log(actor).await;
    lines.iter().filter_map(|line| line.strip_prefix("start: ")).map(str::to_string).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crashed_actor_sleeps_restarts_or_is_destroyed() {
    let engine = Engine::start().await;
    engine.deploy("hostile", "hostile").await;
    type Row = (&'static str, fn(&Value) -> bool, &'static [&'static str]);
    let rows: [Row; 3] = [
        ("sleep", |seen| !seen["sleep_ts"].is_null() && seen["connectable_ts"].is_null(), &["created"]),
        ("restart", |seen| !seen["connectable_ts"].is_null(), &["created", "restarted"]),
        ("destroy", |seen| !seen["destroy_ts"].is_null(), &["created"]),
    ];
    for (policy, fits, expected) in rows {
        let actor = made(&engine, policy).await;
        engine.get(by_id(&actor, "/put")).await.expect_ok("a write");
        let crashed = engine.get(by_id(&actor, "/panic")).await;
        assert_eq!((crashed.status, crashed.code().as_str()), (500, "actor.trapped"), "{policy}: {crashed}");
        until("its starts are as its policy wants", async || {
            let seen = starts(&engine, &actor).await;
            (seen == expected).then_some(()).ok_or(format!("{policy}: {seen:?}, expected {expected:?}"))
        })
        .await;
        let record = becomes(&engine, &actor, "its record is as its policy wants", fits).await;
        if policy == "sleep" {
            let message = record["error"]["crashed"]["message"].as_str().unwrap_or_default();
            assert!(message.contains("it panicked"), "why it crashed is told: {record}");
        }
        let after = engine.get(by_id(&actor, "/get")).await;
        match policy {
            "destroy" => assert_eq!((after.status, after.code().as_str()), (404, "actor.not_found"), "{after}"),
            _ => assert_eq!(after.expect_ok("a read after the crash").text(), "value", "{policy}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_actor_that_crashes_at_once_is_started_with_growing_pauses() {
    let engine = Engine::start().await;
    engine.deploy("hostile", "hostile").await;
    let actor = made(&engine, "restart").await;
    // From now on each start ends in a panic.
    engine.get(by_id(&actor, "/put?key=do/start&value=panic")).await.expect_ok("an order");
    engine.get(by_id(&actor, "/panic")).await;
    let waiting = becomes(&engine, &actor, "it waits before its next start", |seen| !seen["reschedule_ts"].is_null()).await;
    assert!(waiting["destroy_ts"].is_null(), "{waiting}");
    // A request is told why instead of waiting without end, and others are not held up.
    let other = made(&engine, "sleep").await;
    engine.get(by_id(&other, "/count")).await.expect_ok("another actor of the same component");
    engine.send(Call::delete(format!("/actors/{actor}?namespace=default"))).await.expect_ok("destroying it meanwhile");
    assert!(!engine.actor(&actor).await["destroy_ts"].is_null(), "it is destroyed when the call returns");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_actor_may_sleep_and_destroy_itself() {
    let engine = Engine::start().await;
    engine.deploy("hostile", "hostile").await;
    let actor = made(&engine, "sleep").await;
    engine.get(by_id(&actor, "/sleep")).await.expect_ok("the message in which it wishes to sleep");
    becomes(&engine, &actor, "it sleeps", |seen| !seen["sleep_ts"].is_null() && seen["connectable_ts"].is_null()).await;
    assert_eq!(engine.get(by_id(&actor, "/count")).await.number("woken"), 1);
    engine.get(by_id(&actor, "/destroy")).await.expect_ok("the message in which it wishes to be destroyed");
    becomes(&engine, &actor, "it is destroyed", |seen| !seen["destroy_ts"].is_null()).await;
    assert_eq!(engine.get(by_id(&actor, "/count")).await.status, 404, "it is gone");
    let lines = engine.actor_log(&actor).await;
    for line in ["stop: sleep", "start: woken", "stop: destroy"] {
        assert!(lines.iter().any(|seen| seen == line), "{line:?} expected in {lines:?}");
    }
}
