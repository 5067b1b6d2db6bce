//! One actor as a file: taken to another key and to another engine, with everything that is stored about it.

use std::fs;
use std::path::Path;

use rivet_tests::address::by_key;
use rivet_tests::engine::Done;
use rivet_tests::{Call, Engine, Socket, until};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

fn text(path: &Path) -> &str {
    path.to_str().expect("a path that is text")
}

#[track_caller]
fn done(done: Done) -> String {
    assert_eq!(done.code, Some(0), "{}{}", done.out, done.err);
    done.out
}

#[track_caller]
fn refused(done: Done, words: &str) {
    assert_eq!(done.code, Some(1), "{}{}", done.out, done.err);
    assert!(done.err.contains(words), "{words:?} expected, seen {}", done.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_actor_goes_to_another_engine_with_its_state() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("actor.ndjson");
    let (here, there) = (Engine::start().await, Engine::start().await);
    for engine in [&here, &there] {
        engine.deploy("counter", "counter").await;
    }
    let (actor, _) = here.get_or_create("counter", "a", Some("aW5wdXQ=")).await;
    for _ in 0..5 {
        here.increment("counter", "a").await;
    }
    // While it runs: what it has acknowledged by then is in it.
    done(here.cli(&["actors", "export", &actor, text(&file)]).await);
    here.increment("counter", "a").await;
    refused(here.cli(&["actors", "export", &actor, text(&file)]).await, "cannot be written");
    refused(here.cli(&["actors", "import", text(&file)]).await, "actor.duplicate_key");

    done(there.cli(&["actors", "import", text(&file)]).await);
    let shown: Value =
        serde_json::from_str(&done(here.cli(&["actors", "import", text(&file), "--key", "b", "--json"]).await)).expect("JSON");
    let copy = &shown["actor"];
    assert_ne!(copy["actor_id"], json!(actor));
    assert!(copy["connectable_ts"].is_null() && !copy["sleep_ts"].is_null(), "it is asleep: {copy}");
    assert_eq!(copy["create_ts"], here.actor(&actor).await["create_ts"]);
    for (engine, key) in [(&there, "a"), (&here, "b")] {
        assert_eq!(engine.get(by_key("counter", key, "/")).await.number("the count"), 5, "{key}");
        assert_eq!(engine.increment("counter", key).await, 6);
    }
    assert_eq!(here.get(by_key("counter", "a", "/")).await.number("the count"), 6, "the one it was made of has its own");

    let elsewhere = Engine::start().await;
    refused(elsewhere.cli(&["actors", "import", text(&file)]).await, "actor.no_runner_config_configured");
    let whole = fs::read(&file).expect("it was written");
    for cut in [0, whole.len() / 2, whole.len() - 2] {
        let answer = there.send(Call::post("/actors/import?namespace=default&key=c").body(&whole[..cut])).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "actor.import_invalid"), "{cut}: {answer}");
    }
    there.get("/health").await.expect_ok("the engine serves");
}

#[tokio::test(flavor = "multi_thread")]
async fn its_alarm_rings_where_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("actor.ndjson");
    let engine = Engine::start().await;
    engine.deploy("reminders", "reminders").await;
    let soon = by_key("reminders", "a", "/reminders?in_ms=1500");
    engine.send(Call::post(soon).body("tea")).await.expect_ok("a reminder");
    let (actor, _) = engine.get_or_create("reminders", "a", None).await;
    done(engine.cli(&["actors", "export", &actor, text(&file)]).await);
    done(engine.cli(&["actors", "import", text(&file), "--key", "b"]).await);
    for key in ["a", "b"] {
        until("the reminder is done", async || {
            let seen = engine.get(by_key("reminders", key, "/reminders")).await.text();
            seen.contains("done").then_some(()).ok_or(format!("{key}: {seen}"))
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn its_database_goes_along_and_is_one_for_sqlite_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, database) = (folder.path().join("actor.ndjson"), folder.path().join("actor.sqlite"));
    let engine = Engine::start().await;
    engine.deploy("chat", "chat").await;
    let room = by_key("chat", "lobby", "/request/");
    let mut socket = Socket::open(&engine, &by_key("chat", "lobby", "/websocket/?name=bob"), "rivet").await;
    socket.send(Message::text("hello")).await.expect("it is open");
    let said = until("it is in the history", async || {
        let seen = engine.get(&room).await.text();
        seen.contains("hello").then_some(seen.clone()).ok_or(seen)
    })
    .await;
    let (actor, _) = engine.get_or_create("chat", "lobby", None).await;
    done(engine.cli(&["actors", "export", &actor, text(&file), "--sqlite", text(&database)]).await);
    done(engine.cli(&["actors", "import", text(&file), "--key", "attic"]).await);
    assert_eq!(engine.get(by_key("chat", "attic", "/request/")).await.text(), said);
    assert!(fs::read(&database).expect("it was written").starts_with(b"SQLite format 3\0"));
}
