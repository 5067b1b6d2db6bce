//! Runners that connect: who may, how a connection lives and ends, and what actors on them do.
//!
//! - [`connecting`]: every refusal, and the ways in.
//! - [`connections`]: their first words, takeover, silence, the end of the engine.
//! - [`lifecycle`]: actors from their creation to their end.
//! - [`bodies`]: requests and responses that stream, and what breaks them.
//! - [`kv`], [`database`]: what they keep.
//! - [`legacy`]: actors on runners of the protocol before envoys.

mod bodies;
mod connecting;
mod connections;
mod database;
mod kv;
mod legacy;
mod lifecycle;

use protocol::wire::RunnerVersion;
use protocol::wire::actor::{ActorCheckpoint, Command, CommandWrapper, StopActorReason};
use protocol::wire::tunnel::ToRivetTunnel;
use rivet_tests::{Call, Engine, Envoy, until};
use serde_json::{Value, json};

/// A pool without any rules: a legacy runner makes it by connecting.
async fn make_pool(engine: &Engine, pool: &str) {
    let (runner, _) = Envoy::connect_legacy(engine, pool, "maker", RunnerVersion::NEWEST, 0).await;
    runner.socket.close().await;
}

/// `POST /actors`: the id.
async fn created(engine: &Engine, body: &Value) -> String {
    let answer = engine.send(Call::post("/actors?namespace=default").json(body)).await.expect_ok("creating an actor").json();
    answer["actor"]["actor_id"].as_str().unwrap_or_else(|| panic!("an actor expected, seen {answer}")).to_string()
}

async fn create(engine: &Engine, pool: &str, key: &str) -> String {
    let body = json!({ "name": "thing", "key": key, "runner_name_selector": pool, "crash_policy": "sleep" });
    created(engine, &body).await
}

/// An actor that runs on this envoy, which hears nothing else meanwhile.
async fn running(engine: &Engine, envoy: &mut Envoy, pool: &str, key: &str) -> (String, ActorCheckpoint) {
    let actor = create(engine, pool, key).await;
    let start = envoy.start().await;
    assert_eq!(start.actor_id, actor);
    envoy.running(&start).await;
    connectable(engine, &actor).await;
    (actor, start)
}

/// Waits until it runs. How it is then.
async fn connectable(engine: &Engine, actor: &str) -> Value {
    until("it is connectable", async || {
        let shown = engine.actor(actor).await;
        if shown["connectable_ts"].is_null() { Err(shown.to_string()) } else { Ok(shown) }
    })
    .await
}

/// Waits until it is not connectable, or destroyed. How it is then.
async fn stopped(engine: &Engine, actor: &str) -> Value {
    until("it has stopped", async || {
        let listed = engine.get("/actors?namespace=default&name=thing&include_destroyed=true").await.expect_ok("a list").json();
        let shown = listed["actors"].as_array().and_then(|actors| actors.iter().find(|shown| shown["actor_id"] == actor));
        let over = shown.filter(|shown| shown["connectable_ts"].is_null() || !shown["destroy_ts"].is_null());
        over.cloned().ok_or(listed.to_string())
    })
    .await
}

fn destroy(actor: &str) -> Call {
    Call::new("DELETE", format!("/actors/{actor}?namespace=default"))
}

fn stop_reason(command: &CommandWrapper) -> StopActorReason {
    match command.inner {
        Command::StopActor { reason } => reason,
        Command::StartActor { .. } => panic!("a stop expected, seen {command:?}"),
    }
}

fn response(status: u16, headers: &[(&str, &str)], body: &str) -> ToRivetTunnel {
    ToRivetTunnel::ResponseStart {
        status,
        headers: headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        body: Some(body.to_string().into()),
        stream: false,
    }
}
