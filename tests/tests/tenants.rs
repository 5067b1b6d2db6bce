//! What actors, deployments and namespaces may have: each limit at it, below it and above it; and how a namespace goes.
//!
//! One line of a script is one step, and what it gives stands beside it. The namespace is `t`, the actors are those of `every`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rivet_tests::{Answer, Call, Engine, guest, until};
use serde_json::json;
use tokio::task::JoinSet;

struct World {
    engine: Engine,
    /// Ids by keys.
    actors: BTreeMap<String, String>,
}

impl World {
    async fn new(flags: &[&str]) -> World {
        let world = World { engine: Engine::start_with(flags).await, actors: BTreeMap::new() };
        make(&world.engine).await;
        world
    }

    /// Steps, and what each gives.
    async fn check(&mut self, rows: &[(&str, &str)]) {
        for (number, (step, expected)) in rows.iter().enumerate() {
            let seen = self.step(step).await;
            assert_eq!(seen, *expected, "step {} of {}: {step}", number + 1, rows.len());
        }
    }

    async fn step(&mut self, step: &str) -> String {
        let words: Vec<&str> = step.split(' ').collect();
        match words[..] {
            // An entry whose key has one byte, so many bytes in all.
            ["put", actor, key, bytes] => {
                let value = "x".repeat(bytes.parse::<usize>().expect("a number") - 1);
                self.order(actor, &format!("put {key} {value}")).await
            }
            [actor, "does", ..] => self.order(actor, step.splitn(3, ' ').nth(2).expect("an order")).await,
            ["bytes", actor] => {
                let target = format!("/actors/{}/storage?namespace=t", self.actors[actor]);
                let stored = self.engine.get(target).await.expect_ok("what is stored").json();
                format!("{} and {}", stored["kv_bytes"], stored["database_bytes"])
            }
            ["create", actor] => {
                let body = json!({ "name": "every", "key": actor, "runner_name_selector": "default", "crash_policy": "sleep" });
                let answer = self.engine.send(Call::put("/actors?namespace=t").json(&body)).await;
                if answer.status == 200 {
                    let id = answer.json()["actor"]["actor_id"].as_str().expect("an id").to_string();
                    self.actors.insert(actor.to_string(), id);
                }
                shown(&answer, |_| String::new())
            }
            ["destroy", actor] => {
                let call = Call::delete(format!("/actors/{}?namespace=t", self.actors[actor]));
                shown(&self.engine.send(call).await, |_| String::new())
            }
            // Until it sleeps.
            ["asleep", actor] => {
                until("the actor sleeps", || async {
                    let target = format!("/actors?namespace=t&actor_id={}", self.actors[actor]);
                    let seen = self.engine.get(target).await.expect_ok("an actor").json()["actors"][0].clone();
                    (!seen["sleep_ts"].is_null() && seen["connectable_ts"].is_null()).then_some(()).ok_or(seen.to_string())
                })
                .await;
                String::new()
            }
            ["deploy", guest, name, ref limits @ ..] => {
                let limits: serde_json::Map<String, serde_json::Value> = limits.iter().map(|limit| number_of(limit)).collect();
                let call = Call::put(format!("/deployments/{name}?namespace=t"));
                let call = call.header("x-rivet-settings", json!({ "limits": limits }).to_string()).body(guest::bytes(guest));
                shown(&self.engine.send(call).await, |_| String::new())
            }
            // As people set them.
            ["quotas", ref set @ ..] => {
                let set = set.iter().flat_map(|quota| ["--set", quota]);
                let arguments: Vec<&str> = ["namespaces", "quotas", "t", "--json"].into_iter().chain(set).collect();
                let done = self.engine.cli(&arguments).await;
                assert_eq!(done.code, Some(0), "{}", done.err);
                String::new()
            }
            ["used", quota] => {
                let shown = self.engine.get("/namespaces/t/quotas").await.expect_ok("quotas").json();
                shown["quotas"][quota]["used"].to_string()
            }
            ["kill"] => {
                self.engine.kill9();
                self.engine.restart().await;
                String::new()
            }
            _ => panic!("the script says {step:?}, which means nothing"),
        }
    }

    async fn order(&mut self, actor: &str, order: &str) -> String {
        let call = Call::post(at("every", actor)).body(order);
        shown(&self.engine.send(call).await, Answer::text)
    }
}

async fn make(engine: &Engine) {
    let done = engine.cli(&["namespaces", "create", "t"]).await;
    assert_eq!(done.code, Some(0), "{}", done.err);
}

fn at(name: &str, key: &str) -> String {
    format!("/gateway/{name}/?rvt-namespace=t&rvt-method=getOrCreate&rvt-pool=default&rvt-key={key}")
}

fn number_of(limit: &str) -> (String, serde_json::Value) {
    let (name, value) = limit.split_once('=').expect("name=value");
    (name.to_string(), json!(value.parse::<u64>().expect("a number")))
}

fn shown(answer: &Answer, whole: impl Fn(&Answer) -> String) -> String {
    match answer.status {
        200 => whole(answer),
        status => format!("{status} {}", answer.code()),
    }
}

const PUT: &str = "()";

#[tokio::test(flavor = "multi_thread")]
async fn an_actor_stores_what_its_deployment_allows() {
    let mut world = World::new(&[]).await;
    world
        .check(&[
            ("deploy every-feature every storage_bytes=1000", ""),
            ("create a", ""),
            ("put a k 999", PUT),
            ("bytes a", "999 and 0"),
            ("put a l 2", "507 actor.storage_full"),
            ("bytes a", "999 and 0"),
            ("put a k 1000", PUT),
            ("put a k 1001", "507 actor.storage_full"),
            ("a does get l", "None"),
            ("bytes a", "1000 and 0"),
            // What does not grow goes on, and another actor has a limit of its own.
            ("put a k 500", PUT),
            ("create b", ""),
            ("put b k 1000", PUT),
            ("kill", ""),
            ("put a l 500", PUT),
            ("put a m 1", "507 actor.storage_full"),
            ("used storage_bytes", "2000"),
            ("destroy a", ""),
            ("used storage_bytes", "1000"),
            // The database counts with whole pages, and so does what the runner keeps.
            ("deploy every-feature every storage_bytes=9192", ""),
            ("b does sql CREATE TABLE t (x)", "[] 0"),
            ("bytes b", "1000 and 8192"),
            ("b does sql INSERT INTO t VALUES (1)", "[] 1"),
            ("b does sql INSERT INTO t VALUES (zeroblob(5000))", "507 actor.storage_full"),
            ("b does sql SELECT count(*) FROM t", "[[Value::Integer(1)]] 0"),
            ("b does push q 1", "507 actor.storage_full"),
            ("bytes b", "1000 and 8192"),
        ])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_actors_of_a_namespace_store_what_its_quota_allows_together() {
    let mut world = World::new(&[]).await;
    world
        .check(&[
            ("quotas storage=1GiB", ""),
            ("deploy every-feature every", ""),
            ("put a k 600", PUT),
            ("put b k 399", PUT),
            ("quotas storage=1000", ""),
            ("put b l 2", "507 actor.storage_full"),
            ("put b k 400", PUT),
            ("put a l 1", "507 actor.storage_full"),
            ("used storage_bytes", "1000"),
            ("kill", ""),
            ("put c k 1", "507 actor.storage_full"),
            ("put a k 599", PUT),
            ("put c k 1", PUT),
            ("quotas storage=none", ""),
            ("put c k 1000", PUT),
            ("used storage_bytes", "1999"),
        ])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_actor_stores_what_the_engine_allows() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("engine.json");
    std::fs::write(&file, r#"{ "actors": { "storage_mib": 1 } }"#).expect("it can be written");
    let mut world = World::new(&["--config", file.to_str().expect("a path")]).await;
    world.check(&[("deploy every-feature every storage_bytes=9000000", ""), ("create a", "")]).await;
    for key in 0..8 {
        world.check(&[(&format!("put a {key} 131072"), PUT)]).await;
    }
    world.check(&[("bytes a", "1048576 and 0"), ("put a k 1", "507 actor.storage_full"), ("put a 0 131072", PUT)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_are_awake_and_the_idle_make_place() {
    let mut world = World::new(&[]).await;
    world
        .check(&[
            ("deploy every-feature every awake=2", ""),
            ("create a", ""),
            ("a does get k", "None"),
            ("create b", ""),
            ("b does get k", "None"),
            ("used awake_actors", "2"),
            ("c does get k", "None"),
            ("asleep a", ""),
            ("used awake_actors", "2"),
            // Those that are told to stay awake stay.
            ("b does keep-awake 60000", ""),
            ("c does keep-awake 60000", ""),
            ("a does get k", "503 actor.awake_limit"),
            ("b does keep-awake 0", ""),
            ("a does get k", "None"),
            ("asleep b", ""),
            // The same of a namespace.
            ("deploy every-feature every", ""),
            ("quotas awake-actors=2", ""),
            ("a does keep-awake 60000", ""),
            ("c does keep-awake 60000", ""),
            ("b does get k", "503 actor.awake_limit"),
            ("c does keep-awake 0", ""),
            ("b does get k", "None"),
            ("used awake_actors", "2"),
        ])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn actors_deployments_and_components_are_counted() {
    let mut world = World::new(&[]).await;
    let (every, counter) = (guest::bytes("every-feature").len(), guest::bytes("counter").len());
    let (exact, short) = (format!("quotas components={}", every + counter), format!("quotas components={}", every + counter - 1));
    world
        .check(&[
            ("quotas actors=2 deployments=1", ""),
            ("deploy every-feature every", ""),
            ("deploy every-feature other", "400 namespace.quota_exceeded"),
            ("quotas deployments=2", ""),
            (&short, ""),
            ("deploy every-feature other", ""),
            ("deploy counter other", "400 namespace.quota_exceeded"),
            (&exact, ""),
            ("deploy counter other", ""),
            ("used component_bytes", &(every + counter).to_string()),
            ("used deployments", "2"),
            ("create a", ""),
            ("b does get k", "None"),
            ("create c", "400 namespace.quota_exceeded"),
            ("c does get k", "403 namespace.quota_exceeded"),
            ("create a", ""),
            ("kill", ""),
            ("create c", "400 namespace.quota_exceeded"),
            ("destroy a", ""),
            ("create c", ""),
            ("used actors", "2"),
        ])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_has_so_many_requests() {
    let mut world = World::new(&[]).await;
    world.check(&[("deploy every-feature every", ""), ("a does get k", "None"), ("quotas requests-per-second=1", "")]).await;
    let call = || world.engine.send(Call::post(at("every", "a")).body("get k"));
    call().await.expect_ok("the first of a second");
    let refused = call().await;
    assert_eq!((refused.status, refused.code().as_str()), (429, "namespace.request_rate_exceeded"), "{refused}");
    assert_eq!(refused.header("retry-after"), "1");
    assert!(refused.message().contains("requests_per_second of 1"), "{refused}");
    // Other namespaces, and the API, are not held back.
    world.engine.get("/namespaces/t/quotas").await.expect_ok("the API");
    until("the next second", || async {
        let answer = call().await;
        (answer.status == 200).then_some(()).ok_or(answer.to_string())
    })
    .await;
}

/// Makes a namespace full of actors, of which one is called all the time, and deletes it.
#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_goes_under_load_and_through_kills() {
    let mut world = World::new(&[]).await;
    world.check(&[("deploy every-feature every", ""), ("quotas storage=1GiB", "")]).await;
    for number in 0..200 {
        world.check(&[(&format!("create k{number}"), "")]).await;
    }
    for number in 0..10 {
        world.check(&[(&format!("k{number} does put a 1\nsql CREATE TABLE t (x)\nalarm 9999999999999"), "()\n[] 0\n()")]).await;
    }
    let World { engine, actors } = world;
    let pool = json!({ "datacenters": { "default": { "normal": {} } } });
    engine.send(Call::put("/runner-configs/p?namespace=t").json(&pool)).await.expect_ok("a pool");
    let id = engine.get("/namespaces/t/quotas").await.expect_ok("quotas").json()["namespace_id"].clone();
    let component = engine.data_dir().join("components");
    assert_eq!(files(&component), 1);

    let engine = Arc::new(engine);
    let (mut clients, refused) = (JoinSet::new(), Arc::new(AtomicUsize::new(0)));
    for client in 0..4 {
        let (engine, refused) = (engine.clone(), refused.clone());
        clients.spawn(async move {
            // Until it hears that there is nothing any more.
            loop {
                let Ok(answer) = engine.try_send(Call::post(at("every", &format!("k{client}"))).body("get a")).await else {
                    return;
                };
                match answer.code().as_str() {
                    "namespace.deleting" | "namespace.not_found" => {
                        refused.fetch_add(1, Ordering::Relaxed);
                        return;
                    }
                    // What was under way when it began.
                    ""
                    | "actor.destroyed_while_waiting_for_ready"
                    | "actor.start_failed"
                    | "guard.actor_stopped_while_waiting"
                    | "actor.not_found" => {}
                    other => panic!("{other}: {answer}"),
                }
            }
        });
    }
    let begun = engine.send(Call::delete("/namespaces/t")).await.expect_ok("the wish").json();
    assert!(begun["deletion"]["actors_left"].as_u64() <= Some(200), "{begun}");
    assert_eq!(begun["deletion"]["stage"], "actors", "{begun}");
    let error = engine.send(Call::get("/actors?namespace=t&name=every")).await;
    assert!(matches!(error.code().as_str(), "namespace.deleting" | "namespace.not_found"), "{error}");
    clients.join_all().await;
    assert_eq!(refused.load(Ordering::Relaxed), 4, "every client hears that the namespace is going");
    let mut engine = Arc::into_inner(engine).expect("the clients are gone");
    let mut kills = 0;
    loop {
        let answer = engine.get("/namespaces/t/quotas").await;
        if answer.status != 200 {
            assert_eq!(answer.code(), "namespace.not_found");
            break;
        }
        // In the middle, wherever that is.
        if kills < 3 {
            kills += 1;
            engine.kill9();
            engine.restart().await;
        }
    }
    until("its component is gone", || async { (files(&component) == 0).then_some(()).ok_or("it is there".to_string()) }).await;
    // The name is free, and what is made under it begins with nothing.
    make(&engine).await;
    let shown = engine.get("/namespaces/t/quotas").await.expect_ok("quotas").json();
    assert_ne!(shown["namespace_id"], id);
    for quota in ["actors", "storage_bytes", "deployments"] {
        assert_eq!(shown["quotas"][quota], json!({ "limit": null, "used": 0 }), "{shown}");
    }
    for actor in actors.values().take(20) {
        let answer = engine.get(format!("/gateway/{actor}/")).await;
        assert_eq!(answer.code(), "actor.not_found", "{answer}");
    }
    let gone = engine.cli(&["namespaces", "delete", "t"]).await;
    assert_eq!((gone.code, gone.out.trim()), (Some(0), "namespace t is deleted"), "{}", gone.err);
    let kept = engine.cli(&["namespaces", "delete", "default"]).await;
    assert!(kept.code == Some(1) && kept.err.contains("namespace.not_deletable"), "{}", kept.err);
}

fn files(folder: &Path) -> usize {
    std::fs::read_dir(folder).expect("it is there").count()
}
