//! Actors on a runner that connects: from their creation to their end.

use std::time::Duration;

use protocol::wire::actor::{Command, Event, StopActorReason};
use protocol::wire::envoy::{ToEnvoy, ToRivet};
use protocol::wire::kv::{KvRequestData, KvResponseData};
use protocol::wire::tunnel::{ToEnvoyTunnel, ToRivetTunnel};
use rivet_tests::address::by_id;
use rivet_tests::{Call, Engine, Envoy, until};
use serde_json::{Value, json};

use crate::{connectable, create, created, destroy, make_pool, response, running, stop_reason, stopped};

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("it is after 1970");
    since.as_millis() as i64
}

/// The story that was recorded with the original engine.
#[tokio::test(flavor = "multi_thread")]
async fn a_life() {
    let engine = Engine::start().await;
    make_pool(&engine, "tr").await;
    let mut envoy = Envoy::connect(&engine, "tr", "env-main").await;
    let body = json!({
        "name": "counter", "key": "k1", "input": "aGVsbG8=", "runner_name_selector": "tr", "crash_policy": "sleep"
    });
    let actor = created(&engine, &body).await;

    let start = envoy.command().await;
    let Command::StartActor { start: told } = &start.inner else { panic!("{start:?}") };
    assert_eq!((&*start.checkpoint.actor_id, start.checkpoint.generation, start.checkpoint.index), (&*actor, 1, 1));
    assert_eq!((&*told.config.name, told.config.key.as_deref()), ("counter", Some("k1")));
    assert_eq!(told.config.input.as_deref(), Some(&b"hello"[..]));
    assert!((now_ms() - told.config.create_ts).abs() < 10_000);
    assert!(told.hibernating_requests.is_empty() && told.preloaded_kv.is_none());
    let first = start.checkpoint;
    envoy.running(&first).await;
    let start_ts = connectable(&engine, &actor).await["start_ts"].clone();

    let target = by_id(&actor, "/foo/bar?x=1");
    let call = engine.send(Call::post(target).body(b"BODY".to_vec()));
    let serve = async {
        let (id, message) = envoy.tunnel().await;
        let ToEnvoyTunnel::RequestStart { actor_id, actor_generation, method, path, headers, body, stream, .. } = message else {
            panic!("a request expected")
        };
        assert_eq!((id.index, &*actor_id, actor_generation), (0, &*actor, Some(1)));
        assert_eq!((&*method, &*path, body.as_deref(), stream), ("POST", "/foo/bar?x=1", Some(&b"BODY"[..]), false));
        assert!(headers.iter().any(|(name, _)| name == "x-rivet-ray-id") && headers.iter().any(|(name, _)| name == "host"));
        envoy.respond(id, response(201, &[("x-a", "b")], "hi there")).await;
    };
    let (answer, ()) = tokio::join!(call, serve);
    assert_eq!(
        (answer.status, answer.text(), &answer.headers["x-a"]),
        (201, "hi there".to_string(), &"b".parse().expect("a value"))
    );

    let put = KvRequestData::Put { keys: vec!["a".into(), "b".into()], values: vec!["1".into(), "".into()] };
    assert_eq!(envoy.kv(&actor, put).await, KvResponseData::Put);
    let KvResponseData::Get { keys, values, metadata } =
        envoy.kv(&actor, KvRequestData::Get { keys: vec!["b".into(), "zz".into(), "a".into()] }).await
    else {
        panic!("entries expected")
    };
    assert_eq!((keys, values), (vec!["b".into(), "a".into()], vec!["".into(), "1".into()]));
    let health = engine.get("/health").await.json();
    assert!(metadata.iter().all(|metadata| health["version"] == *String::from_utf8_lossy(&metadata.version)));
    assert!((now_ms() - metadata[0].update_ts).abs() < 10_000);

    let alarm_ms = now_ms() + 1_500;
    envoy.event(&first, 1, Event::SetAlarm { alarm_ts: Some(alarm_ms) }).await;
    envoy.sleep(&first, 2).await;
    let stop = envoy.command().await;
    assert_eq!((stop_reason(&stop), stop.checkpoint.index), (StopActorReason::SleepIntent, 2));
    envoy.stopped(&first, 3, None).await;
    until("it is asleep", async || {
        let shown = engine.actor(&actor).await;
        let asleep = shown["connectable_ts"].is_null() && !shown["sleep_ts"].is_null();
        asleep.then_some(()).ok_or(shown.to_string())
    })
    .await;

    let again = envoy.start().await;
    assert!(now_ms() >= alarm_ms, "an alarm is never early");
    let shown = engine.actor(&actor).await;
    assert_eq!((&shown["sleep_ts"], &shown["connectable_ts"]), (&Value::Null, &Value::Null), "it sleeps no more: {shown}");
    assert_eq!((&*again.actor_id, again.generation, again.index), (&*actor, 2, 1));
    envoy.running(&again).await;
    until("it runs again", async || {
        let shown = engine.actor(&actor).await;
        let runs = !shown["connectable_ts"].is_null() && shown["sleep_ts"].is_null() && shown["start_ts"] == start_ts;
        runs.then_some(()).ok_or(shown.to_string())
    })
    .await;

    let destroyed = engine.send(destroy(&actor));
    let end = async {
        let stop = envoy.command().await;
        assert_eq!(stop_reason(&stop), StopActorReason::Destroy);
        envoy.stopped(&again, 1, None).await;
    };
    let (answer, ()) = tokio::join!(destroyed, end);
    answer.expect_ok("a destroy");
    let gone = envoy.kv(&actor, KvRequestData::Get { keys: vec!["a".into()] }).await;
    assert_eq!(gone, KvResponseData::Error { message: "actor does not exist".to_string() });
    envoy.say(ToRivet::Stopping).await;
    envoy.socket.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_was_not_acknowledged_is_told_again_once() {
    let engine = Engine::start().await;
    make_pool(&engine, "p").await;
    let mut envoy = Envoy::connect(&engine, "p", "abc").await;
    let actor = create(&engine, "p", "k").await;
    let ToEnvoy::Commands { commands } = envoy.hear().await else { panic!("a command expected") };
    assert_eq!(commands.len(), 1);
    envoy.socket.close().await;
    let mut envoy = Envoy::connect(&engine, "p", "abc").await;
    let again = envoy.start().await;
    assert_eq!((&*again.actor_id, again.generation, again.index), (&*actor, 1, 1));
    envoy.running(&again).await;
    connectable(&engine, &actor).await;
    let mut envoy = Envoy::connect(&engine, "p", "abc").await;
    // Acknowledged: the next thing it hears is a request.
    let (answer, ()) = tokio::join!(engine.get(by_id(&actor, "/")), async {
        let (id, _) = envoy.tunnel().await;
        envoy.respond(id, response(200, &[], "ok")).await;
    });
    assert_eq!(answer.text(), "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_actor_outlives_a_killed_engine() {
    let mut engine = Engine::start().await;
    make_pool(&engine, "p").await;
    let mut envoy = Envoy::connect(&engine, "p", "abc").await;
    let (actor, _) = running(&engine, &mut envoy, "p", "k").await;
    let put = KvRequestData::Put { keys: vec!["a".into()], values: vec!["1".into()] };
    assert_eq!(envoy.kv(&actor, put).await, KvResponseData::Put);
    engine.kill9();
    engine.restart().await;
    let mut envoy = Envoy::connect(&engine, "p", "abc").await;
    let KvResponseData::Get { values, .. } = envoy.kv(&actor, KvRequestData::Get { keys: vec!["a".into()] }).await else {
        panic!("an entry expected")
    };
    assert_eq!(values, ["1"]);
    let (answer, ()) = tokio::join!(engine.get(by_id(&actor, "/")), async {
        let (id, message) = envoy.tunnel().await;
        assert!(matches!(message, ToEnvoyTunnel::RequestStart { actor_generation: Some(1), .. }), "{message:?}");
        envoy.respond(id, response(200, &[], "ok")).await;
    });
    assert_eq!(answer.text(), "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn how_actors_end() {
    let engine = Engine::start().await;
    make_pool(&engine, "p").await;
    let mut envoy = Envoy::connect(&engine, "p", "abc").await;

    let (crashed, at) = running(&engine, &mut envoy, "p", "crashes").await;
    envoy.stopped(&at, 1, Some("boom")).await;
    let shown = stopped(&engine, &crashed).await;
    assert_eq!((&shown["error"]["crashed"]["message"], &shown["destroy_ts"]), (&json!("boom"), &Value::Null), "{shown}");
    // What is said about an old generation, or twice, is nothing.
    envoy.running(&at).await;
    envoy.stopped(&at, 2, None).await;
    let (answer, ()) = tokio::join!(engine.get(by_id(&crashed, "/")), async {
        let again = envoy.start().await;
        assert_eq!(again.generation, 2);
        envoy.stopped(&at, 3, None).await;
        envoy.running(&again).await;
        envoy.event(&again, 0, Event::Intent { intent: protocol::wire::actor::ActorIntent::Stop }).await;
        let (id, _) = envoy.tunnel().await;
        envoy.respond(id, response(200, &[], "ok")).await;
    });
    assert_eq!(answer.text(), "ok");
    assert!(engine.actor(&crashed).await["error"].is_null());

    let (done, at) = running(&engine, &mut envoy, "p", "is-done").await;
    envoy.stopped(&at, 1, None).await;
    assert!(!stopped(&engine, &done).await["destroy_ts"].is_null(), "one that ends by itself is destroyed");

    let (wants_to, at) = running(&engine, &mut envoy, "p", "wants-to-end").await;
    envoy.event(&at, 1, Event::Intent { intent: protocol::wire::actor::ActorIntent::Stop }).await;
    assert_eq!(stop_reason(&envoy.command().await), StopActorReason::StopIntent);
    let shown = stopped(&engine, &wants_to).await;
    assert_eq!(
        (&shown["sleep_ts"], &shown["destroy_ts"]),
        (&Value::Null, &Value::Null),
        "it takes no more, and is not over: {shown}"
    );
    envoy.stopped(&at, 2, None).await;
    let destroyed = async || {
        let shown = engine.actor(&wants_to).await;
        if shown["destroy_ts"].is_null() { Err(shown.to_string()) } else { Ok(()) }
    };
    until("it is destroyed", destroyed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_runners_actors_sleep_until_another_takes_them() {
    let engine = Engine::start().await;
    make_pool(&engine, "p").await;
    let mut envoy = Envoy::connect(&engine, "p", "first").await;
    let (actor, _) = running(&engine, &mut envoy, "p", "k").await;
    envoy.socket.close().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let shown = engine.actor(&actor).await;
    assert!(!shown["connectable_ts"].is_null(), "a runner that is away for a moment has lost nothing: {shown}");
    let shown = stopped(&engine, &actor).await;
    assert_eq!(shown["error"]["envoy_connection_lost"]["envoy_key"], "first", "{shown}");
    let mut envoy = Envoy::connect(&engine, "p", "second").await;
    let (answer, ()) = tokio::join!(engine.get(by_id(&actor, "/")), async {
        let start = envoy.start().await;
        assert_eq!(start.generation, 2);
        envoy.running(&start).await;
        let (id, _) = envoy.tunnel().await;
        envoy.respond(id, response(200, &[], "ok")).await;
    });
    assert_eq!(answer.text(), "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_that_stops_hands_its_actors_on() {
    let engine = Engine::start().await;
    make_pool(&engine, "p").await;
    let mut old = Envoy::connect(&engine, "p", "old").await;
    let (actor, at) = running(&engine, &mut old, "p", "k").await;
    let mut new = Envoy::connect(&engine, "p", "new").await;
    old.say(ToRivet::Stopping).await;
    assert_eq!(stop_reason(&old.command().await), StopActorReason::GoingAway);
    assert_eq!(stopped(&engine, &actor).await["sleep_ts"], Value::Null, "it takes no more, and does not sleep");
    old.stopped(&at, 1, None).await;
    let start = new.start().await;
    assert_eq!((&*start.actor_id, start.generation), (&*actor, 2));
    new.running(&start).await;
    old.socket.close().await;
    let (answer, ()) = tokio::join!(engine.get(by_id(&actor, "/")), async {
        let (id, _) = new.tunnel().await;
        new.respond(id, response(200, &[], "ok")).await;
    });
    assert_eq!(answer.text(), "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn actors_wait_for_a_runner() {
    let engine = Engine::start().await;
    make_pool(&engine, "p").await;
    let mut actors = Vec::new();
    for key in ["a", "b", "c"] {
        actors.push(create(&engine, "p", key).await);
    }
    assert_eq!(engine.actor(&actors[0]).await["error"], "no_envoys");
    let mut envoy = Envoy::connect(&engine, "p", "late").await;
    let mut started = Vec::new();
    while started.len() < 3 {
        let ToEnvoy::Commands { commands } = envoy.hear().await else { panic!("commands expected") };
        started.extend(commands.into_iter().map(|command| command.checkpoint.actor_id));
    }
    started.sort();
    actors.sort();
    assert_eq!(started, actors);
}

/// Bytes of the tunnel's messages are never the other engine's: an answer to nothing is nothing.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_another_runners_request_is_nothing() {
    let engine = Engine::start().await;
    make_pool(&engine, "p").await;
    let mut envoy = Envoy::connect(&engine, "p", "abc").await;
    let (actor, _) = running(&engine, &mut envoy, "p", "k").await;
    let mut thief = Envoy::connect(&engine, "p", "thief").await;
    let (answer, ()) = tokio::join!(engine.get(by_id(&actor, "/")), async {
        let (id, _) = envoy.tunnel().await;
        thief.respond(id, response(200, &[], "stolen")).await;
        thief.respond(id, ToRivetTunnel::ResponseAbort { reason: Default::default() }).await;
        // Asked and answered after that.
        thief.kv("x", KvRequestData::Drop).await;
        envoy.respond(id, response(200, &[], "ok")).await;
    });
    assert_eq!(answer.text(), "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_that_came_due_while_the_engine_was_dead() {
    let mut engine = Engine::start().await;
    make_pool(&engine, "p").await;
    let mut envoy = Envoy::connect(&engine, "p", "abc").await;
    let (actor, at) = running(&engine, &mut envoy, "p", "k").await;
    envoy.event(&at, 1, Event::SetAlarm { alarm_ts: Some(now_ms() + 1_000) }).await;
    envoy.sleep(&at, 2).await;
    envoy.command().await;
    envoy.stopped(&at, 3, None).await;
    stopped(&engine, &actor).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    engine.kill9();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    engine.restart().await;
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    let mut envoy = Envoy::connect(&engine, "p", "abc").await;
    let began = now_ms();
    let again = envoy.start().await;
    assert_eq!((&*again.actor_id, again.generation), (&*actor, 2));
    assert!(now_ms() - began < 3_000, "{} ms after its runner was back", now_ms() - began);
}
