//! What the operator gives actors and what not: folders, and room.

use rivet_tests::address::by_key;
use rivet_tests::{Call, Engine, until};

#[tokio::test(flavor = "multi_thread")]
async fn an_actor_sees_the_folder_it_was_shown_and_nothing_else() {
    let outside = tempfile::tempdir().expect("a folder");
    let inside = outside.path().join("shown");
    std::fs::create_dir(&inside).expect("a folder in it");
    std::fs::write(inside.join("a.txt"), "from the host\n").expect("a file in it");
    std::fs::write(outside.path().join("secret.txt"), "not for actors\n").expect("a file beside it");
    std::os::unix::fs::symlink(outside.path().join("secret.txt"), inside.join("link.txt")).expect("a link out of it");
    let engine = Engine::start_with(&["--wasm-dir", &format!("/files={}:ro", inside.display())]).await;
    engine.deploy("wasi-http", "wasi-http").await;
    let rows = [
        ("a.txt", 200, "from the host\n"),
        ("absent.txt", 404, "cannot be read"),
        // It leads out of the folder.
        ("link.txt", 404, "cannot be read"),
    ];
    for (name, status, text) in rows {
        let answer = engine.get(by_key("wasi-http", "a", &format!("/files/{name}"))).await;
        assert_eq!(answer.status, status, "{name}: {}", answer.text());
        assert!(answer.text().contains(text), "{name}: {}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_grant_there_is_no_folder() {
    let engine = Engine::start().await;
    engine.deploy("wasi-http", "wasi-http").await;
    let answer = engine.get(by_key("wasi-http", "a", "/files/a.txt")).await;
    assert_eq!(answer.status, 404, "{}", answer.text());
}

/// One more than there is room for gets the place of one that is idle.
#[tokio::test(flavor = "multi_thread")]
async fn idle_actors_make_room_and_are_there_again_when_they_are_called() {
    let engine = Engine::start_with(&["--wasm-actors-max", "2"]).await;
    engine.deploy("counter", "counter").await;
    for round in 1..=3 {
        for key in ["a", "b", "c", "d"] {
            assert_eq!(engine.increment("counter", key).await, round, "{key}");
        }
    }
    let (a, _) = engine.get_or_create("counter", "a", None).await;
    assert!(engine.actor(&a).await["error"].is_null());
}

/// One more than there is room for, while all are busy, is told so, is not counted as crashed, and comes in when another has left.
#[tokio::test(flavor = "multi_thread")]
async fn an_actor_without_room_is_told_so_and_comes_in_later() {
    let engine = Engine::start_with(&["--wasm-actors-max", "2"]).await;
    engine.deploy("counter", "counter").await;
    engine.deploy("every-feature", "busy").await;
    for key in ["a", "b"] {
        let call = Call::post(by_key("busy", key, "/")).body("keep-awake 3600000");
        engine.send(call).await.expect_ok("it is kept awake");
    }
    let refused = engine.post(by_key("counter", "c", "/increment")).await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "actor.no_room"), "{}", refused.text());
    assert!(refused.message().contains("wasm.actors_max"), "{}", refused.message());
    let (c, _) = engine.get_or_create("counter", "c", None).await;
    assert_eq!(engine.actor(&c).await["error"], "no_capacity");
    for key in ["a", "b"] {
        let (busy, _) = engine.get_or_create("busy", key, None).await;
        assert!(engine.actor(&busy).await["sleep_ts"].is_null(), "{key} is awake");
    }
    let (a, _) = engine.get_or_create("busy", "a", None).await;
    engine.sleep(&a).await;
    until("there is room again", async || {
        let answer = engine.post(by_key("counter", "c", "/increment")).await;
        if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
    })
    .await;
}
