//! Backups of an engine under write load, by the command line: what was acknowledged before one began is in it, every key of what is
//! restored is what it was, and each refusal is a sentence. `RIVET_BACKUPS` sets how many are made under load.
//!
//! What happens to one that is killed, damaged or pruned is in `engine/backup/tests/`, without actors.

use std::env;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rivet_tests::address::by_key;
use rivet_tests::engine::{Done, run_with};
use rivet_tests::{Call, Engine};
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinSet;

const KILLS_DEFAULT: u64 = 4;
/// About as long as one takes.
const KILL_WITHIN_MS: u64 = 150;
const BACKUPS_DEFAULT: u64 = 3;
const COUNTERS: usize = 4;
const WRITTEN: &str = "/put-many?n=8&bytes=3000";

/// An engine that may make backups, and the folder that they go to.
async fn with_backups() -> (Engine, TempDir) {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("engine.yaml");
    let text = format!("backup: {{dir: {}}}\nstorage: {{reserve_mib: 1}}\n", folder.path().join("backups").display());
    std::fs::write(&file, text).expect("a file");
    (Engine::start_with(&["--config", file.to_str().expect("a path that is text")]).await, folder)
}

async fn offline(folder: &TempDir, arguments: &[&str]) -> Done {
    let backups = folder.path().join("backups");
    let arguments = [&["backup"], arguments, &["--backups", backups.to_str().expect("a path that is text")]].concat();
    run_with(&arguments, &[]).await
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
    assert_eq!(done.err.trim().lines().count(), 1, "one sentence: {}", done.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_load_holds_what_was_acknowledged_and_can_be_run() {
    let backups = env::var("RIVET_BACKUPS").map_or(BACKUPS_DEFAULT, |text| text.parse().expect("a whole number"));
    let (engine, folder) = with_backups().await;
    engine.deploy("counter", "counter").await;
    engine.deploy("hostile", "hostile").await;
    engine.post(by_key("hostile", "still", WRITTEN)).await.expect_ok("a write");
    let listed = engine.get(by_key("hostile", "still", "/list?prefix=many/")).await.expect_ok("a list").text();

    let engine = Arc::new(engine);
    let over = Arc::new(AtomicBool::new(false));
    let mut load = JoinSet::new();
    for at in 0..COUNTERS {
        let (engine, over) = (engine.clone(), over.clone());
        load.spawn(async move {
            while !over.load(Ordering::Relaxed) {
                engine.increment("counter", &at.to_string()).await;
            }
        });
    }
    let mut least = Vec::new();
    for _ in 0..backups {
        let mut before = Vec::new();
        for at in 0..COUNTERS {
            before.push(engine.increment("counter", &at.to_string()).await);
        }
        let made: Value = serde_json::from_str(&done(engine.cli(&["backup", "create", "--json"]).await)).expect("JSON");
        least.push((made["id"].as_str().expect("an id").to_string(), before));
    }
    over.store(true, Ordering::Relaxed);
    load.join_all().await;
    let mut most = Vec::new();
    for at in 0..COUNTERS {
        most.push(engine.increment("counter", &at.to_string()).await);
    }
    let shown = engine.get("/backups").await.expect_ok("the list").json();
    assert_eq!(shown["backups"].as_array().map(Vec::len), Some(least.len()), "{shown}");
    drop(engine);

    let mut lost = 0;
    for (id, before) in &least {
        done(offline(&folder, &["verify", id]).await);
        let mut restored = Engine::start_alone(&[]).await;
        restored.stop().await;
        std::fs::remove_dir_all(restored.data_dir()).expect("it is ours");
        let place = restored.data_dir();
        done(offline(&folder, &["restore", id, "--data-dir", text(&place)]).await);
        restored.restart().await;
        for (at, least) in before.iter().enumerate() {
            let count = restored.get(by_key("counter", &at.to_string(), "/")).await.number("the count");
            assert!(count < most[at], "{id}: counter {at} counts {count}, which came later");
            lost += least.saturating_sub(count);
        }
        let again = restored.get(by_key("hostile", "still", "/list?prefix=many/")).await.expect_ok("a list").text();
        assert_eq!(again, listed, "every entry is what it was");
    }
    println!("backups {}, acknowledged writes lost {lost}", least.len());
    assert_eq!(lost, 0);

    let out = done(offline(&folder, &["prune", "--keep", "1"]).await);
    assert!(out.contains(&format!("removed {} backups", least.len() - 1)), "{out}");
    done(offline(&folder, &["verify", "latest"]).await);
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path that is text")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_is_refused_in_one_sentence() {
    let engine = Engine::start().await;
    refused(engine.cli(&["backup", "create"]).await, "backup.not_configured");
    let (mut engine, folder) = with_backups().await;
    let data = engine.data_dir();
    let offline_create = ["create", "--offline", "--data-dir", text(&data)];
    refused(offline(&folder, &["list"]).await, "is not a folder of backups");
    refused(offline(&folder, &offline_create).await, "is in use by another process");
    engine.stop().await;
    refused(engine.cli(&["backup", "create"]).await, "no engine answers");
    done(offline(&folder, &offline_create).await);
    refused(offline(&folder, &["restore", "latest", "--data-dir", text(&data)]).await, "is there and not empty");
    refused(offline(&folder, &["verify", "1-nothing"]).await, "there is no whole backup");
    let other = folder.path().join("other");
    done(offline(&folder, &["restore", "latest", "--data-dir", text(&other)]).await);
    engine.restart().await;
}

/// Whoever may call the API chooses neither the folder nor anything else.
#[tokio::test(flavor = "multi_thread")]
async fn the_caller_does_not_choose_the_folder() {
    let (engine, _folder) = with_backups().await;
    let rows = [("/backups?dir=/tmp/x", 400), ("/backups?path=x", 400), ("/backups", 200)];
    for (target, status) in rows {
        assert_eq!(engine.send(Call::post(target)).await.status, status, "{target}");
    }
}

/// The whole engine is killed, and not only its copying.
#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_is_killed_while_it_makes_a_backup_leaves_none_or_a_whole_one() {
    let kills = env::var("RIVET_KILLS").map_or(KILLS_DEFAULT, |text| text.parse().expect("a whole number"));
    let (mut engine, folder) = with_backups().await;
    engine.deploy("counter", "counter").await;
    engine.deploy("hostile", "hostile").await;
    engine.post(by_key("hostile", "still", WRITTEN)).await.expect_ok("a write");
    let (mut whole, mut lost) = (0, 0);
    for _ in 0..kills {
        let told = engine.increment("counter", "told").await;
        let strike = async {
            tokio::time::sleep(Duration::from_millis(fastrand::u64(0..KILL_WITHIN_MS))).await;
            engine.strike();
        };
        let (made, ()) = tokio::join!(engine.cli(&["backup", "create", "--json"]), strike);
        engine.kill9();
        engine.restart().await;
        assert!(!engine.data_dir().join("checkpoint").exists(), "what was linked for it is gone");
        let shown = engine.get("/backups").await.expect_ok("the list").json();
        let listed: Vec<&str> = shown["backups"].as_array().expect("a list").iter().filter_map(|one| one["id"].as_str()).collect();
        if let Ok(made) = serde_json::from_str::<Value>(&made.out) {
            assert!(listed.contains(&made["id"].as_str().expect("an id")), "{made} was told, and is not in {shown}");
        }
        whole = listed.len();
        for id in listed {
            done(offline(&folder, &["verify", id]).await);
        }
        lost += told.saturating_sub(engine.get(by_key("counter", "told", "/")).await.number("the count"));
    }
    println!("engines killed {kills}, whole backups {whole}, acknowledged writes lost {lost}");
    assert_eq!(lost, 0);
    done(engine.cli(&["backup", "create"]).await);
    done(offline(&folder, &["verify", "latest"]).await);
}
