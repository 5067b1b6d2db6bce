//! What actors log: kept over restarts and kills, in order, with the end of each generation, and followed past all of it.

use std::process::Stdio;
use std::time::Duration;

use rivet_tests::Engine;
use rivet_tests::address::by_id;
use rivet_tests::call::Call;
use rivet_tests::until::until;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

/// Lines are brought to the disk in groups; this is long after one.
const WRITTEN: Duration = Duration::from_secs(2);

async fn lines(engine: &Engine, actor: &str, query: &str) -> Vec<Value> {
    let answer = engine.get(format!("/actors/{actor}/logs?namespace=default{query}")).await.expect_ok("logs").text();
    answer.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

fn texts(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["text"].as_str().unwrap_or_default()).collect()
}

/// So many lines in one message.
async fn log(engine: &Engine, actor: &str, lines: u32) {
    engine.get(by_id(actor, &format!("/log?n={lines}&bytes=200"))).await.expect_ok("lines");
}

async fn say(engine: &Engine, actor: &str, text: &str) {
    engine.get(by_id(actor, &format!("/say?value={text}"))).await.expect_ok("a line");
    engine.logged(actor, text).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_survive_restarts_and_kills_in_their_order() {
    let mut engine = Engine::start().await;
    engine.deploy("hostile", "hostile").await;
    let (actor, _) = engine.get_or_create("hostile", "a", None).await;
    let mut said = Vec::new();
    for round in 0..3 {
        for number in 0..5 {
            let text = format!("{round}.{number}");
            say(&engine, &actor, &text).await;
            said.push(text);
        }
        match round {
            0 => assert_eq!(engine.stop().await, Some(0)),
            _ => {
                tokio::time::sleep(WRITTEN).await;
                engine.kill9();
            }
        }
        engine.restart().await;
        let found = lines(&engine, &actor, "&limit=1000").await;
        let found: Vec<&str> = texts(&found).into_iter().filter(|text| text.contains('.')).collect();
        assert_eq!(found, said, "after restart {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_read_back_page_by_page() {
    let engine = Engine::start().await;
    engine.deploy("hostile", "hostile").await;
    let (actor, _) = engine.get_or_create("hostile", "a", None).await;
    for number in 0..25 {
        say(&engine, &actor, &format!("line.{number}")).await;
    }
    let all = lines(&engine, &actor, "&limit=10000").await;
    let mut before = String::new();
    let mut pages: Vec<Value> = Vec::new();
    loop {
        let page = lines(&engine, &actor, &format!("&limit=7{before}")).await;
        let Some(first) = page.first() else { break };
        before = format!("&before={}", first["id"]);
        pages.splice(0..0, page);
    }
    assert_eq!(pages, all, "seven at a time, from the newest back");
    let of = |number: usize| all.iter().find(|line| line["text"] == format!("line.{number}")).expect("it is there");
    let later = lines(&engine, &actor, &format!("&after={}", of(20)["id"])).await;
    assert_eq!(texts(&later), ["line.21", "line.22", "line.23", "line.24"]);
    let since = lines(&engine, &actor, &format!("&limit=10000&since={}", of(15)["ts"])).await;
    assert!(texts(&since).contains(&"line.15") && since.iter().all(|line| line["ts"].as_u64() >= of(15)["ts"].as_u64()));
    assert!(lines(&engine, &actor, "&limit=0").await.is_empty());
    let both = engine.get(format!("/actors/{actor}/logs?namespace=default&follow=true&before=5")).await;
    assert_eq!((both.status, both.code().as_str()), (400, "api.bad_request"), "{both}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_generation_ends_with_a_line_that_outlives_the_actor() {
    let mut engine = Engine::start().await;
    engine.deploy("hostile", "hostile").await;
    let (actor, _) = engine.get_or_create("hostile", "a", None).await;
    say(&engine, &actor, "first").await;
    engine.sleep(&actor).await;
    say(&engine, &actor, "second").await;
    engine.deploy("every-feature", "hostile").await;
    let ends = async |engine: &Engine| {
        let found = lines(engine, &actor, "&limit=10000").await;
        let ends = found.into_iter().filter(|line| line["source"] == "engine");
        ends.map(|line| line["text"].as_str().unwrap_or_default().to_string()).collect::<Vec<_>>()
    };
    until("the actor has moved", async || {
        let seen = ends(&engine).await;
        (seen.len() == 2).then_some(()).ok_or(format!("{seen:?}"))
    })
    .await;
    engine.send(Call::delete(format!("/actors/{actor}?namespace=default"))).await.expect_ok("its end");
    let expected = [
        "generation 1 ended: it sleeps",
        "generation 2 ended: it moves, to another version or to another runner",
        "generation 3 ended: it is destroyed",
    ];
    until("its end is noted", async || {
        let seen = ends(&engine).await;
        (seen == expected).then_some(()).ok_or(format!("{seen:?}"))
    })
    .await;
    assert_eq!(engine.stop().await, Some(0));
    engine.restart().await;
    assert_eq!(ends(&engine).await, expected, "what a destroyed actor has logged stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_stays_within_its_bounds_and_is_over_after_a_restart() {
    let config = tempfile::NamedTempFile::with_suffix(".json").expect("a file");
    std::fs::write(config.path(), json!({ "actor_logs": { "actor_kib": 64 } }).to_string()).expect("it can be written");
    let mut engine = Engine::start_alone(&["--config", &config.path().display().to_string()]).await;
    engine.deploy("hostile", "hostile").await;
    let (quiet, _) = engine.get_or_create("hostile", "quiet", None).await;
    let (flood, _) = engine.get_or_create("hostile", "flood", None).await;
    say(&engine, &quiet, "still.here").await;
    for _ in 0..20 {
        log(&engine, &flood, 1_000).await;
    }
    say(&engine, &flood, "the.last").await;
    for restarted in [false, true] {
        let found = lines(&engine, &flood, "&limit=10000").await;
        let bytes: usize = texts(&found).iter().map(|text| text.len()).sum();
        assert!(bytes <= 2 * 64 * 1024, "{bytes} bytes of a flood (restarted: {restarted})");
        assert!(texts(&found).contains(&"the.last"), "the newest is kept (restarted: {restarted})");
        assert!(texts(&lines(&engine, &quiet, "").await).contains(&"still.here"), "nobody else loses (restarted: {restarted})");
        if !restarted {
            assert_eq!(engine.stop().await, Some(0));
            engine.restart().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_follows_over_sleep_and_a_restart_of_the_engine() {
    let mut engine = Engine::start().await;
    engine.deploy("hostile", "hostile").await;
    let (actor, _) = engine.get_or_create("hostile", "a", None).await;
    say(&engine, &actor, "before").await;
    let mut command = tokio::process::Command::from(rivet_tests::process::command());
    command.args(["logs", &actor, "-f", "--limit", "1", "--since", "1h", "--engine", engine.url()]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true).spawn().expect("it starts");
    let mut out = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    // What it logs itself when it starts and stops is between.
    let mut sees = async |text: &str| loop {
        let line = tokio::time::timeout(Duration::from_secs(30), out.next_line()).await.expect("a line within 30 s");
        let line = line.expect("it can be read").expect("it goes on");
        if line.ends_with(text) {
            break;
        }
        assert!(line.contains(" start: ") || line.contains(" stop: "), "{text:?} expected, seen {line:?}");
    };
    sees("before").await;
    engine.sleep(&actor).await;
    sees("generation 1 ended: it sleeps").await;
    say(&engine, &actor, "awake").await;
    sees("awake").await;
    tokio::time::sleep(WRITTEN).await;
    engine.kill9();
    engine.restart_in_place().await;
    say(&engine, &actor, "again").await;
    // Nothing is shown twice.
    sees("again").await;
}
