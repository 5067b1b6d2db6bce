//! Which version actors run, seen from outside: settings, canaries, pins, roll-backs, while clients call.

use std::sync::Arc;

use rivet_tests::engine::Done;
use rivet_tests::{Call, Engine, guest, until};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

const AT: &str = "/deployments/counter?namespace=default";
/// More than are moved at one time.
const ACTORS: usize = 150;
const CLIENTS: usize = 4;

async fn deploy(engine: &Engine, query: &str, remark: &str, settings: &str) -> Value {
    let call = Call::put(format!("{AT}{query}")).header("x-rivet-settings", settings);
    engine.send(call.body(guest::another_version("counter", remark))).await.expect_ok("a deploy").json()
}

async fn post(engine: &Engine, what: &str, body: Value) -> Value {
    engine.send(Call::post(format!("/deployments/counter/{what}?namespace=default")).json(&body)).await.expect_ok(what).json()
}

async fn state(engine: &Engine) -> Value {
    engine.get(AT).await.expect_ok("the deployment").json()
}

/// The version that each actor runs, once none is on its way to another.
async fn versions(engine: &Engine, actors: &[String]) -> Vec<u64> {
    until("all actors have moved", async || match state(engine).await["moving"].as_u64() {
        Some(0) => Ok(()),
        left => Err(format!("{left:?} are moving")),
    })
    .await;
    let mut versions = Vec::new();
    for actor in actors {
        let found = engine.get(format!("/actors/{actor}/version?namespace=default")).await.expect_ok("its version").json();
        versions.push(found["version"].as_u64().unwrap_or_else(|| panic!("a version expected, seen {found}")));
    }
    versions
}

fn of(versions: &[u64], version: u64) -> usize {
    versions.iter().filter(|found| **found == version).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_fails_while_actors_move_to_a_canary_and_back() {
    let engine = Arc::new(Engine::start().await);
    deploy(&engine, "", "one", "{}").await;
    let mut actors = Vec::new();
    for number in 0..ACTORS {
        engine.increment("counter", &number.to_string()).await;
        actors.push(engine.get_or_create("counter", &number.to_string(), None).await.0);
    }
    let (stop, stopped) = watch::channel(false);
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let (engine, stopped) = (engine.clone(), stopped.clone());
        clients.spawn(async move {
            let mut calls = 0;
            while !*stopped.borrow() {
                engine.increment("counter", &((client + calls * CLIENTS) % ACTORS).to_string()).await;
                calls += 1;
            }
            calls
        });
    }

    let canary = deploy(&engine, "&canary=20%25", "two", "{}").await;
    assert_eq!((&canary["version"], &canary["live"], &canary["canary"]), (&json!(2), &json!(false), &json!("20%")), "{canary}");
    let fifth = versions(&engine, &actors).await;
    assert!((5..ACTORS / 2).contains(&of(&fifth, 2)), "about a fifth of {ACTORS} expected, seen {}", of(&fifth, 2));
    let more = Call::put("/deployments/counter/canary?namespace=default").json(&json!({ "share": "60%" }));
    assert_eq!(engine.send(more).await.expect_ok("a larger share").json()["canary"], "60%");
    let most = versions(&engine, &actors).await;
    assert!(of(&most, 2) > of(&fifth, 2) && of(&most, 1) > 0, "{most:?}");
    assert!(fifth.iter().zip(&most).all(|(before, now)| *before == 1 || *now == 2), "who ran the canary still does");
    post(&engine, "promote", json!({})).await;
    assert_eq!(of(&versions(&engine, &actors).await, 2), ACTORS);
    // Back, before all that is wanted of them has happened.
    post(&engine, "activate", json!({ "version": 1 })).await;
    post(&engine, "activate", json!({ "version": 2 })).await;
    post(&engine, "activate", json!({ "version": 1 })).await;
    assert_eq!(of(&versions(&engine, &actors).await, 1), ACTORS);

    stop.send(true).expect("the clients still listen");
    let calls: usize = clients.join_all().await.iter().sum();
    let mut counted = 0;
    for number in 0..ACTORS {
        counted += engine.get(rivet_tests::address::by_key("counter", &number.to_string(), "/")).await.number("the count") as usize;
    }
    assert_eq!(counted, ACTORS + calls, "each call counts once");
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_of_a_version_and_secrets_stay_secret() {
    let mut engine = Engine::start().await;
    let first = deploy(&engine, "", "one", r#"{"config":{"A":"1"},"secrets":{"S":"hush"},"limits":{"cpu_ms":500}}"#).await;
    let granted =
        json!({ "config": { "A": "1" }, "secrets": ["S"], "outbound": [], "limits": { "cpu_ms": 500 }, "record_requests": null });
    assert_eq!(first["settings"], granted);
    assert_eq!(deploy(&engine, "", "one", "{}").await["version"], 1, "what is live already makes no new version");
    engine.increment("counter", "a").await;
    let (actor, _) = engine.get_or_create("counter", "a", None).await;
    let patch = Call::new("PATCH", AT).json(&json!({ "config": { "A": null, "B": "2" }, "outbound": ["b", "*.a:1"] }));
    let second = engine.send(patch).await.expect_ok("other settings").json();
    let granted = json!({ "config": { "B": "2" }, "secrets": ["S"], "outbound": ["*.a:1", "b"], "limits": { "cpu_ms": 500 }, "record_requests": null });
    assert_eq!((&second["version"], &second["settings"]), (&json!(2), &granted), "{second}");
    assert_eq!(versions(&engine, std::slice::from_ref(&actor)).await, [2]);
    assert_eq!(deploy(&engine, "", "two", "{}").await["settings"], granted, "new code keeps them");
    let back = post(&engine, "activate", json!({ "version": 1 })).await;
    assert_eq!(back["settings"], first["settings"], "a roll-back takes them along");

    let status = engine.cli(&["status", "counter"]).await;
    for part in ["secrets   S", "config    A=1", "limits    cpu_ms=500", "may go to nothing"] {
        assert!(status.out.contains(part), "{part:?} expected, seen:\n{}{}", status.out, status.err);
    }
    engine.kill9();
    engine.restart().await;
    let shown = [engine.get(AT).await.text(), engine.get("/deployments?namespace=default").await.text(), status.out];
    for text in shown {
        assert!(!text.contains("hush"), "a secret is shown: {text}");
    }
    assert_eq!(engine.increment("counter", "a").await, 2);
    assert_eq!(versions(&engine, &[actor]).await, [1]);
}

#[track_caller]
fn said(done: &Done, parts: &[&str]) {
    assert_eq!(done.code, Some(0), "{}{}", done.out, done.err);
    for part in parts {
        assert!(done.out.contains(part), "{part:?} expected, seen:\n{}", done.out);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_about_versions() {
    let engine = Engine::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let (file, secret) = (folder.path().join("counter.wasm"), folder.path().join("secret"));
    std::fs::write(&file, guest::bytes("counter")).expect("a file");
    std::fs::write(&secret, "hüsh\n").expect("a file");
    let file = file.to_str().expect("a path that is text");
    let secret = format!("S=@{}", secret.display());
    let flags = ["deploy", file, "--config", "GREETING=Grüß dich", "--secret", &secret, "--limit", "memory=64MiB"];
    let deployed = engine.cli(&flags).await;
    let granted =
        ["config    GREETING=Grüß dich", "secrets   S", "limits    memory_bytes=67108864", "handles   http", "may go to nothing"];
    said(&deployed, &granted);
    let before =
        deployed.out.find("handles").zip(deployed.out.find("version 1 is live")).is_some_and(|(granted, live)| granted < live);
    assert!(before, "what it is granted is shown before it is live:\n{}", deployed.out);
    engine.increment("counter", "a").await;
    let (actor, _) = engine.get_or_create("counter", "a", None).await;

    let rows: [(&[&str], &[&str]); 11] = [
        (&["pin", &actor, "1"], &["is pinned to version 1"]),
        (&["configure", "counter", "--unset", "GREETING", "--allow-host", "example.com"], &["counter version 2 is live"]),
        (&["status", "counter"], &["live", "may go to example.com"]),
        (&["unpin", &actor], &["runs what the others run"]),
        (&["configure", "counter", "--config", "A=1", "--canary", "5%"], &["version 3 is a canary for 5% of the actors"]),
        (&["deployments"], &["canary 5%", "live"]),
        (&["canary", "counter", "100%"], &["version 3 is a canary for 100% of the actors"]),
        (&["promote", "counter"], &["counter version 3 is live"]),
        (&["retry", "counter", "--no-wait"], &["counter version 3 is live"]),
        (&["rollback", "counter", "--to", "1"], &["counter version 1 is live"]),
        (&["status", "counter", "--json"], &["\"held_back\":{\"actors\":[],\"count\":0}", "\"moving\":0"]),
    ];
    for (arguments, parts) in rows {
        let done = engine.cli(arguments).await;
        said(&done, parts);
        assert!(!done.out.contains("hüsh") && !done.err.contains("hüsh"), "{arguments:?} shows a secret");
    }
    let failures: [(&[&str], &str); 6] = [
        (&["pin", &actor, "9"], "deployment.version_not_found"),
        (&["promote", "counter"], "deployment.no_canary"),
        (&["canary", "counter", "lots"], "0% to 100%"),
        (&["configure", "counter", "--limit", "cpu=1"], "--limit \"cpu=1\" is none"),
        (&["configure", "counter", "--allow-host", "http://a"], "deployment.settings_invalid"),
        (&["deploy", file, "--secret", "S=@/no/such/file"], "the secret in /no/such/file cannot be read"),
    ];
    for (arguments, part) in failures {
        let done = engine.cli(arguments).await;
        assert!(done.code == Some(1) && done.err.contains(part), "{arguments:?}: {part:?} expected, seen {}{}", done.out, done.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn old_versions_go_and_their_components_with_them() {
    let engine = Engine::start().await;
    engine.deploy("hostile", "counter").await;
    engine.deploy("counter", "counter").await;
    let kept = || std::fs::read_dir(engine.data_dir().join("components")).expect("the components").count();
    assert_eq!(kept(), 2);
    for number in 0..20 {
        let patch = Call::new("PATCH", AT).json(&json!({ "config": { "A": number.to_string() } }));
        engine.send(patch).await.expect_ok("other settings");
    }
    let state = state(&engine).await;
    let numbers: Vec<u64> = state["versions"].as_array().into_iter().flatten().filter_map(|one| one["version"].as_u64()).collect();
    assert_eq!(numbers, (3..=22).collect::<Vec<_>>());
    assert_eq!(kept(), 1, "the component that only the first version had is gone");
    assert_eq!(engine.increment("counter", "a").await, 1);
}
