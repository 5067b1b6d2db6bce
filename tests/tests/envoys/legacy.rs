//! Actors on runners of the protocol before envoys.

use protocol::wire::RunnerVersion;
use protocol::wire::actor::{Command, Event};
use protocol::wire::kv::{KvRequestData, KvResponseData};
use protocol::wire::tunnel::ToEnvoyTunnel;
use rivet_tests::address::by_id;
use rivet_tests::{Call, Engine, Envoy, until};

use crate::{connectable, create, response, stopped};

#[tokio::test(flavor = "multi_thread")]
async fn a_life_in_every_version() {
    let engine = Engine::start().await;
    for version in RunnerVersion::all() {
        let pool = format!("p{}", version.number());
        let (mut runner, _) = Envoy::connect_legacy(&engine, &pool, "abc", version, 10).await;
        let actor = create(&engine, &pool, &pool).await;
        let start = runner.start().await;
        assert_eq!(start.actor_id, actor);
        runner.running(&start).await;
        connectable(&engine, &actor).await;
        let call = engine.send(Call::post(by_id(&actor, "/x?y")).body(b"body".to_vec()));
        let serve = async {
            let (id, message) = runner.tunnel().await;
            let ToEnvoyTunnel::RequestStart { path, body, .. } = message else { panic!("{message:?}") };
            assert_eq!((&*path, body.as_deref()), ("/x?y", Some(&b"body"[..])));
            runner.respond(id, response(200, &[], "ok")).await;
        };
        let (answer, ()) = tokio::join!(call, serve);
        assert_eq!(answer.text(), "ok");
        let put = KvRequestData::Put { keys: vec!["a".into()], values: vec!["1".into()] };
        assert_eq!(runner.kv(&actor, put).await, KvResponseData::Put);
        let found = runner.kv(&actor, KvRequestData::Get { keys: vec!["a".into()] }).await;
        assert!(matches!(found, KvResponseData::Get { .. }), "{found:?}");
        runner.event(&start, 1, Event::SetAlarm { alarm_ts: None }).await;
        runner.sleep(&start, 2).await;
        assert!(matches!(runner.command().await.inner, Command::StopActor { .. }));
        runner.stopped(&start, 3, None).await;
        assert!(stopped(&engine, &actor).await["destroy_ts"].is_null());
        runner.socket.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_are_kept_to() {
    let engine = Engine::start().await;
    let (mut small, _) = Envoy::connect_legacy(&engine, "p", "small", RunnerVersion::NEWEST, 1).await;
    let first = create(&engine, "p", "a").await;
    let start = small.start().await;
    assert_eq!(start.actor_id, first);
    small.running(&start).await;
    let second = create(&engine, "p", "b").await;
    until("it waits", async || {
        let shown = engine.actor(&second).await;
        (shown["error"] == "no_capacity").then_some(()).ok_or(shown.to_string())
    })
    .await;
    let (mut more, _) = Envoy::connect_legacy(&engine, "p", "more", RunnerVersion::NEWEST, 1).await;
    assert_eq!(more.start().await.actor_id, second);
}
