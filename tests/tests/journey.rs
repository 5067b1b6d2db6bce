//! What an actor lives through, told from outside: called, killed, put to sleep, destroyed, upgraded, woken by its alarm.

use rivet_tests::address::{by_id, by_key, by_key_if_there};
use rivet_tests::{Call, Engine, guest, until};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn five_increments_a_kill_and_the_sixth() {
    let mut engine = Engine::start().await;
    engine.deploy("counter", "counter").await;
    for expected in 1..=5 {
        assert_eq!(engine.increment("counter", "a").await, expected);
    }
    let (actor, created) = engine.get_or_create("counter", "a", None).await;
    assert!(!created, "the gateway made it already");
    engine.kill9();
    engine.restart().await;
    assert_eq!(engine.increment("counter", "a").await, 6, "by key");
    assert_eq!(engine.post(by_id(&actor, "/increment?by=5")).await.number("by id"), 11);
    assert_eq!(engine.get(by_id(&actor, "/")).await.number("a read"), 11);
    assert_eq!(engine.stop().await, Some(0), "SIGTERM ends it in order");
    engine.restart().await;
    assert_eq!(engine.get(by_id(&actor, "/")).await.number("a read after a stop in order"), 11);
}

#[tokio::test(flavor = "multi_thread")]
async fn get_finds_and_get_or_create_creates() {
    let engine = Engine::start().await;
    engine.deploy("counter", "counter").await;
    let absent = engine.get(by_key_if_there("counter", "a", "/")).await;
    assert_eq!((absent.status, absent.code().as_str()), (404, "actor.not_found"), "{absent}");
    assert_eq!(absent.header("x-rivet-error"), "actor.not_found");
    assert_eq!(engine.increment("counter", "a").await, 1);
    assert_eq!(engine.get(by_key_if_there("counter", "a", "/")).await.number("it is there now"), 1);
    // Parts of a key are what tells actors apart, and each has a count of its own.
    for (key, expected) in [("a,b", 1), ("a", 2), ("a,b", 2), ("", 1), ("%C3%BC", 1), ("a%2Cb", 3), ("a%2Fb", 1)] {
        assert_eq!(engine.increment("counter", key).await, expected, "key {key:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sleeping_actor_wakes_for_a_request_and_remembers() {
    let engine = Engine::start().await;
    engine.deploy("counter", "counter").await;
    for round in 1..=3 {
        assert_eq!(engine.increment("counter", "a").await, round);
        let (actor, _) = engine.get_or_create("counter", "a", None).await;
        engine.sleep(&actor).await;
    }
    assert_eq!(engine.get(by_key("counter", "a", "/")).await.number("woken by a read"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destroyed_actor_is_gone_and_its_key_free() {
    let mut engine = Engine::start().await;
    engine.deploy("counter", "counter").await;
    engine.increment("counter", "a").await;
    let (first, _) = engine.get_or_create("counter", "a", None).await;
    engine.send(Call::delete(format!("/actors/{first}?namespace=default"))).await.expect_ok("destroy");
    let gone = engine.get(by_id(&first, "/")).await;
    assert_eq!((gone.status, gone.code().as_str()), (404, "actor.not_found"), "{gone}");
    assert!(!engine.actor(&first).await["destroy_ts"].is_null(), "its record stays, with the moment");
    assert_eq!(engine.increment("counter", "a").await, 1, "a new one begins anew");
    let (second, _) = engine.get_or_create("counter", "a", None).await;
    assert_ne!(first, second);
    engine.kill9();
    engine.restart().await;
    assert_eq!(engine.get(by_id(&first, "/")).await.status, 404, "it stays gone");
    assert_eq!(engine.increment("counter", "a").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_actor_moves_to_the_live_version() {
    let mut engine = Engine::start().await;
    engine.deploy("hostile", "shape").await;
    engine.get(by_key("shape", "a", "/count")).await.expect_ok("the first start");
    starts(&engine, &["created"]).await;
    engine.deploy_bytes(guest::another_version("hostile", "2"), "shape").await;
    starts(&engine, &["created", "upgraded"]).await;
    // Another program altogether: what it does changes, what is stored stays.
    engine.deploy("counter", "shape").await;
    until("the counter answers in its place", || async {
        let answer = engine.get(by_key("shape", "a", "/")).await;
        (answer.status == 200 && answer.text() == "0\n").then_some(()).ok_or(answer.to_string())
    })
    .await;
    let live = live_version(&engine, "shape").await;
    assert_eq!(live, 3);
    let back = engine.send(Call::post("/deployments/shape/activate?namespace=default").json(&json!({ "version": 2 }))).await;
    back.expect_ok("a roll-back");
    starts(&engine, &["created", "upgraded", "upgraded"]).await;
    engine.kill9();
    engine.restart().await;
    assert_eq!(live_version(&engine, "shape").await, 2, "the roll-back is durable");
}

/// The reasons it was started for, as it wrote them down itself.
async fn starts(engine: &Engine, expected: &[&str]) {
    let expected: Vec<String> = (1..).zip(expected).map(|(number, reason)| format!("started/{number:08}={reason}")).collect();
    until("the starts are as expected", || async {
        let listed = engine.get(by_key("shape", "a", "/list?prefix=started/")).await;
        (listed.text() == expected.join("\n")).then_some(()).ok_or(format!("{listed}; expected {expected:?}"))
    })
    .await;
}

async fn live_version(engine: &Engine, name: &str) -> u64 {
    let listed = engine.get("/deployments?namespace=default").await.expect_ok("deployments").json();
    let deployment = listed["deployments"].as_array().into_iter().flatten().find(|deployment| deployment["name"] == name);
    let versions = deployment.unwrap_or_else(|| panic!("{name} expected, seen {listed}"))["versions"].as_array().cloned();
    let live: Vec<Value> = versions.into_iter().flatten().filter(|version| version["live"] == true).collect();
    assert_eq!(live.len(), 1, "one live version expected, seen {listed}");
    live[0]["version"].as_u64().expect("a number")
}

/// What happens between setting an alarm and its moment.
#[derive(Clone, Copy, PartialEq)]
enum Meanwhile {
    Nothing,
    Sleep,
    /// It is due before the engine is there again.
    Kill,
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_fires_awake_asleep_and_after_a_kill() {
    let mut engine = Engine::start().await;
    engine.deploy("reminders", "reminders").await;
    for (key, meanwhile) in [("awake", Meanwhile::Nothing), ("asleep", Meanwhile::Sleep), ("killed", Meanwhile::Kill)] {
        fires(&mut engine, key, meanwhile).await;
    }
}

async fn fires(engine: &mut Engine, key: &str, meanwhile: Meanwhile) {
    const IN_MS: u64 = 1_500;
    let set = Call::post(by_key("reminders", key, &format!("/reminders?in_ms={IN_MS}"))).body("water the plants");
    let set = engine.send(set).await.expect_ok("a reminder").text();
    let due: u64 = set.split(' ').nth(1).and_then(|moment| moment.parse().ok()).unwrap_or_else(|| panic!("{key}: seen {set:?}"));
    let (actor, _) = engine.get_or_create("reminders", key, None).await;
    match meanwhile {
        Meanwhile::Nothing => {}
        Meanwhile::Sleep => engine.sleep(&actor).await,
        Meanwhile::Kill => {
            engine.kill9();
            until("the moment has passed", || async { (now_ms() > due).then_some(()).ok_or("not yet".to_string()) }).await;
            engine.restart().await;
        }
    }
    // Its log shows that it fired without anybody asking it; asking would wake it.
    engine.logged(&actor, "1 due at ").await;
    assert!(now_ms() >= due, "{key}: it fired early");
    let listed = engine.get(by_key("reminders", key, "/reminders")).await.expect_ok("the list").text();
    assert_eq!(listed, format!("done {due} water the plants\n"), "{key}");
}

fn now_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    u64::try_from(now.as_millis()).expect("long before that")
}

#[tokio::test(flavor = "multi_thread")]
async fn actors_are_listed_newest_first_in_pages() {
    let engine = Engine::start().await;
    engine.deploy("counter", "counter").await;
    let mut made = Vec::new();
    for number in 0..5 {
        let (actor, created) = engine.get_or_create("counter", &format!("k{number}"), None).await;
        assert!(created);
        // The list is in the order of moments, of which two may share one.
        let create_ms = engine.actor(&actor).await["create_ts"].as_u64().expect("a moment");
        until("a millisecond passes", || async { (now_ms() > create_ms).then_some(()).ok_or("not yet".to_string()) }).await;
        made.insert(0, actor);
    }
    let mut seen: Vec<String> = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = engine.get(format!("/actors?namespace=default&name=counter&limit=2{cursor}")).await.expect_ok("a page").json();
        let actors = page["actors"].as_array().cloned().unwrap_or_default();
        seen.extend(actors.iter().map(|actor| actor["actor_id"].as_str().unwrap_or_default().to_string()));
        if actors.len() < 2 {
            break;
        }
        cursor = format!("&cursor={}", page["pagination"]["cursor"].as_str().unwrap_or_default());
    }
    assert_eq!(seen, made);
    let by_key = engine.get("/actors?namespace=default&name=counter&key=k3").await.expect_ok("by key").json();
    assert_eq!(by_key["actors"][0]["actor_id"], json!(made[1]), "{by_key}");
    let names = engine.get("/actors/names?namespace=default").await.expect_ok("names").json();
    assert!(names["names"]["counter"].is_object(), "{names}");
    engine.send(Call::delete(format!("/actors/{}?namespace=default", made[0]))).await.expect_ok("destroy");
    let listed = |more: &'static str| {
        let engine = &engine;
        async move {
            engine.get(format!("/actors?namespace=default&name=counter{more}")).await.json()["actors"].as_array().map(Vec::len)
        }
    };
    assert_eq!(listed("").await, Some(4), "without the destroyed one");
    assert_eq!(listed("&include_destroyed=true").await, Some(5), "with the destroyed one");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_actor_knows_who_it_is_across_its_lives() {
    let mut engine = Engine::start().await;
    engine.deploy("hostile", "hostile").await;
    // Five bytes in base64.
    let (actor, _) = engine.get_or_create("hostile", "room/7", Some("aGVsbG8=")).await;
    let created = engine.actor(&actor).await["create_ts"].clone();
    for generation in 1..=3 {
        let info = engine.get(by_id(&actor, "/info")).await.expect_ok("what it knows").json();
        let expected = json!({
            "id": actor, "name": "hostile", "key": ["room", "7"], "generation": generation, "created_at": created, "input_bytes": 5,
        });
        assert_eq!(info, expected);
        assert_eq!(engine.get(by_id(&actor, "/input")).await.expect_ok("its input").text(), "hello");
        if generation == 1 {
            engine.sleep(&actor).await;
        } else {
            engine.kill9();
            engine.restart().await;
        }
    }
    let stops = engine.get(by_id(&actor, "/list?prefix=stopped/")).await.expect_ok("why it stopped").text();
    assert_eq!(stops, "stopped/00000001=sleep", "a kill is not told to anybody");
}

#[tokio::test(flavor = "multi_thread")]
async fn namespaces_do_not_see_each_other() {
    let mut engine = Engine::start().await;
    engine.deploy("counter", "counter").await;
    let other = json!({ "name": "other", "display_name": "The Other" });
    engine.send(Call::post("/namespaces").json(&other)).await.expect_ok("a second namespace");
    let there = |path: &str| by_key("counter", "a", path).replace("rvt-namespace=default", "rvt-namespace=other");
    assert_eq!(engine.increment("counter", "a").await, 1);
    let absent = engine.post(there("/increment")).await;
    assert_eq!(absent.code(), "actor.no_runner_config_configured", "what is deployed here is not there: {absent}");
    let deploy = Call::put("/deployments/counter?namespace=other").body(guest::bytes("counter"));
    assert_eq!(engine.send(deploy).await.expect_ok("the same component there").json()["version"], 1);
    assert_eq!(engine.post(there("/increment?by=5")).await.number("there"), 5);
    engine.kill9();
    engine.restart().await;
    assert_eq!(engine.increment("counter", "a").await, 2, "here");
    assert_eq!(engine.post(there("/increment")).await.number("there"), 6);
    let listed = engine.get("/actors?namespace=other&name=counter").await.expect_ok("the actors there").json();
    assert_eq!(listed["actors"].as_array().map(Vec::len), Some(1), "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_can_be_followed() {
    let engine = Engine::start().await;
    engine.deploy("hostile", "hostile").await;
    let (actor, _) = engine.get_or_create("hostile", "a", None).await;
    engine.get(by_id(&actor, "/say?value=before")).await.expect_ok("a line");
    engine.logged(&actor, "before").await;
    let target = format!("/actors/{actor}/logs?namespace=default&follow=true&limit=1");
    let mut following = engine.http(reqwest::Method::GET, &target).send().await.expect("an answer");
    let mut next = async || {
        let chunk = tokio::time::timeout(std::time::Duration::from_secs(20), following.chunk()).await.expect("a line within 20 s");
        let line: Value = serde_json::from_slice(&chunk.expect("no break").expect("it goes on")).expect("a line is JSON");
        line["text"].as_str().unwrap_or_default().to_string()
    };
    assert_eq!(next().await, "before", "it begins with the newest line");
    for line in ["after", "later"] {
        engine.get(by_id(&actor, &format!("/say?value={line}"))).await.expect_ok("a line");
        assert_eq!(next().await, line);
    }
}
