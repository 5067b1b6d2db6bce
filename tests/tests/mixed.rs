//! One pool, two kinds of code: a component that is deployed under one name, and a connected runner that has the others.

use protocol::wire::actor::{ActorCheckpoint, Command, CommandWrapper, StopActorReason};
use protocol::wire::kv::{KvRequestData, KvResponseData};
use protocol::wire::tunnel::{ToEnvoyTunnel, ToRivetTunnel};
use rivet_tests::address::{by_id, by_key};
use rivet_tests::{Answer, Call, Engine, Envoy, until};
use serde_json::{Value, json};

/// An engine with the pool `default`, a component under `counter`, and a runner for everything else.
async fn all() -> (Engine, Envoy) {
    let engine = Engine::start().await;
    engine.deploy("counter", "counter").await;
    let pool = json!({ "datacenters": { "default": { "normal": {} } } });
    engine.send(Call::put("/runner-configs/default?namespace=default").json(&pool)).await.expect_ok("a pool");
    let envoy = Envoy::connect(&engine, "default", "envoy-one").await;
    (engine, envoy)
}

/// An actor that runs on the envoy.
async fn running(engine: &Engine, envoy: &mut Envoy, name: &str, key: &str) -> (String, ActorCheckpoint) {
    let (actor, created) = engine.get_or_create(name, key, None).await;
    assert!(created);
    let at = envoy.start().await;
    assert_eq!(at.actor_id, actor);
    envoy.running(&at).await;
    becomes(engine, &actor, "it runs", |seen| !seen["connectable_ts"].is_null()).await;
    (actor, at)
}

async fn becomes(engine: &Engine, actor: &str, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
    until(what, async || {
        let seen = engine.actor(actor).await;
        if fits(&seen) { Ok(seen) } else { Err(seen.to_string()) }
    })
    .await
}

/// A request that the envoy answers with these words.
async fn answered(engine: &Engine, envoy: &mut Envoy, target: String, words: &str) -> Answer {
    let serve = async {
        let (id, message) = envoy.tunnel().await;
        assert!(matches!(message, ToEnvoyTunnel::RequestStart { .. }), "{message:?}");
        let body = Some(words.to_string().into());
        envoy.respond(id, ToRivetTunnel::ResponseStart { status: 200, headers: Vec::new(), body, stream: false }).await;
    };
    tokio::join!(engine.get(target), serve).0
}

async fn stop(envoy: &mut Envoy, at: &ActorCheckpoint, index: i64, why: StopActorReason) {
    let command = envoy.command().await;
    let CommandWrapper { inner: Command::StopActor { reason }, .. } = command else { panic!("a stop expected, seen {command:?}") };
    assert_eq!(reason, why);
    envoy.stopped(at, index, None).await;
}

async fn ids(engine: &Engine, name: &str) -> Vec<String> {
    let listed = engine.get(format!("/actors?namespace=default&name={name}")).await.expect_ok("a list").json();
    let actors = listed["actors"].as_array().cloned().unwrap_or_default();
    actors.iter().map(|actor| actor["actor_id"].as_str().unwrap_or_default().to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn both_answer_sleep_are_listed_and_destroyed() {
    let (engine, mut envoy) = all().await;
    assert_eq!(engine.increment("counter", "a").await, 1);
    let (counter, created) = engine.get_or_create("counter", "a", None).await;
    assert!(!created);
    let (chat, at) = running(&engine, &mut envoy, "chat", "a").await;
    assert_eq!(answered(&engine, &mut envoy, by_key("chat", "a", "/x"), "from afar").await.text(), "from afar");
    assert_eq!(engine.increment("counter", "a").await, 2);
    assert_eq!((ids(&engine, "counter").await, ids(&engine, "chat").await), (vec![counter.clone()], vec![chat.clone()]));

    let envoys = engine.get("/envoys?namespace=default&name=default").await.expect_ok("a list").json();
    // The runner for components has another key when it is a process of its own.
    let slots = |own: bool| {
        let slots = |envoy: &Value| ((envoy["envoy_key"] == "envoy-one") == own).then(|| envoy["slots"].clone());
        envoys["envoys"].as_array().into_iter().flatten().filter_map(slots).collect::<Vec<_>>()
    };
    assert_eq!((slots(true), slots(false)), (vec![json!(1)], vec![json!(1)]), "{envoys}");

    engine.sleep(&counter).await;
    let asked = Call::post(format!("/actors/{chat}/sleep?namespace=default")).json(&json!({}));
    let (slept, ()) = tokio::join!(engine.send(asked), stop(&mut envoy, &at, 1, StopActorReason::SleepIntent));
    slept.expect_ok("putting it to sleep");
    becomes(&engine, &chat, "it sleeps", |seen| !seen["sleep_ts"].is_null() && seen["connectable_ts"].is_null()).await;
    assert_eq!(engine.increment("counter", "a").await, 3);
    let again = async {
        let again = envoy.start().await;
        assert_eq!((&again.actor_id, again.generation), (&chat, at.generation + 1));
        envoy.running(&again).await;
        let (id, _) = envoy.tunnel().await;
        let body = Some("awake".into());
        envoy.respond(id, ToRivetTunnel::ResponseStart { status: 200, headers: Vec::new(), body, stream: false }).await;
        again
    };
    let (answer, at) = tokio::join!(engine.get(by_id(&chat, "/")), again);
    assert_eq!(answer.text(), "awake");

    let destroy = |actor: &str| Call::delete(format!("/actors/{actor}?namespace=default"));
    engine.send(destroy(&counter)).await.expect_ok("destroying a component's actor");
    let (destroyed, ()) = tokio::join!(engine.send(destroy(&chat)), stop(&mut envoy, &at, 1, StopActorReason::Destroy));
    destroyed.expect_ok("destroying the runner's actor");
    assert!(ids(&engine, "counter").await.is_empty() && ids(&engine, "chat").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_takes_over_the_actors_of_its_name() {
    let (engine, mut envoy) = all().await;
    let (awake, at) = running(&engine, &mut envoy, "chat", "awake").await;
    let put = KvRequestData::Put { keys: vec!["mine".into()], values: vec!["kept".into()] };
    assert_eq!(envoy.kv(&awake, put).await, KvResponseData::Put);
    let (asleep, other) = running(&engine, &mut envoy, "chat", "asleep").await;
    envoy.sleep(&other, 1).await;
    stop(&mut envoy, &other, 2, StopActorReason::SleepIntent).await;
    becomes(&engine, &asleep, "it sleeps", |seen| seen["connectable_ts"].is_null()).await;
    let (stays, _) = running(&engine, &mut envoy, "other", "a").await;

    // One that runs is told to stop, and starts again at once where the component is.
    let deploy = engine.deploy("counter", "chat");
    let (version, ()) = tokio::join!(deploy, stop(&mut envoy, &at, 1, StopActorReason::GoingAway));
    assert_eq!(version, 1);
    assert_eq!(engine.increment("chat", "awake").await, 1);
    assert_eq!(engine.get_or_create("chat", "awake", None).await, (awake.clone(), false), "it is the same actor");
    // One that sleeps is taken over when it wakes.
    assert_eq!(engine.increment("chat", "asleep").await, 1);
    assert_eq!(engine.get_or_create("chat", "asleep", None).await, (asleep, false));

    // What the envoy wrote is still the actor's, and what it says about the actor is nothing.
    envoy.stopped(&at, 2, Some("late")).await;
    let get = KvRequestData::Get { keys: vec!["mine".into()] };
    let read = loop {
        envoy.say(protocol::wire::envoy::ToRivet::KvRequest { actor_id: awake.clone(), request_id: 99, data: get.clone() }).await;
        match envoy.hear().await {
            protocol::wire::envoy::ToEnvoy::KvResponse { request_id: 99, data } => break data,
            protocol::wire::envoy::ToEnvoy::Commands { .. } => {}
            other => panic!("{other:?}"),
        }
    };
    assert!(matches!(&read, KvResponseData::Get { values, .. } if values == &["kept"]), "{read:?}");
    assert_eq!(engine.increment("chat", "awake").await, 2);
    // The others of the pool are not touched.
    assert_eq!(answered(&engine, &mut envoy, by_id(&stays, "/"), "still here").await.text(), "still here");
}
