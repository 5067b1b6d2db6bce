//! Requests that are recorded: what is kept of them and for how long, and how a version is tried on them, seen from outside.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rivet_tests::address::by_id;
use rivet_tests::{Answer, Call, Engine, guest, until};
use serde_json::{Value, json};

const NAME: &str = "shop";
const SECRET: &str = "hush-4711-word";
const BODY: &str = "put kept-in-a-body 1";

async fn start(flags: &[&str]) -> Engine {
    let engine = Engine::start_alone(flags).await;
    engine.deploy("every-feature", NAME).await;
    engine
}

async fn set(engine: &Engine, settings: Value) {
    let target = format!("/deployments/{NAME}?namespace=default");
    engine.send(Call::new("PATCH", target).json(&settings)).await.expect_ok("the settings");
    until("actors have moved", async || {
        let state = engine.get(format!("/deployments/{NAME}?namespace=default")).await.expect_ok("the deployment").json();
        (state["moving"] == 0).then_some(()).ok_or(state.to_string())
    })
    .await;
}

/// Of an actor whose next version does this when it migrates.
async fn actor(engine: &Engine, key: &str, migrates: &str) -> String {
    engine.get_or_create(NAME, key, Some(&STANDARD.encode(migrates))).await.0
}

async fn ask(engine: &Engine, actor: &str, orders: &str) -> Answer {
    engine.send(Call::post(by_id(actor, "/request/")).body(orders)).await
}

async fn check(engine: &Engine, query: &str) -> Value {
    let next = guest::another_version("every-feature", "next");
    let call = Call::post(format!("/deployments/{NAME}/check?namespace=default{query}")).body(next);
    engine.send(call).await.expect_ok("a check").json()
}

/// The first actor's calls.
async fn calls(engine: &Engine, query: &str) -> Vec<Value> {
    check(engine, query).await["actors"][0]["calls"].as_array().cloned().unwrap_or_default()
}

/// What was recorded, oldest first.
async fn recorded(engine: &Engine, actor: &str) -> Vec<String> {
    let calls = calls(engine, &format!("&actor_id={actor}")).await;
    calls.iter().map(|call| call["call"].as_str().unwrap_or_default().to_string()).collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Whether any file of this folder has these bytes in it.
fn is_in(folder: &Path, text: &str) -> bool {
    let has = |bytes: Vec<u8>| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    files(folder).into_iter().any(|file| fs::read(file).is_ok_and(has))
}

fn folder(engine: &Engine) -> PathBuf {
    engine.data_dir().join("recordings")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_answers_otherwise_is_told_by_the_request() {
    let engine = start(&[]).await;
    set(&engine, json!({ "record_requests": 20 })).await;
    let id = actor(&engine, "a", "put a 7\nsql UPDATE t SET b = 7").await;
    ask(&engine, &id, "put a 1\nsql CREATE TABLE t (b)\nsql INSERT INTO t VALUES (1)").await.expect_ok("a request");
    let act = Call::post(by_id(&id, "/action/act")).header("content-type", "application/json").header("x-rivet-encoding", "json");
    engine.send(act.body(r#"{"args":["get a"]}"#)).await.expect_ok("an action");
    for orders in ["put b 1", "info", "sql UPDATE t SET b = b + 1", "until 2 put c 1", "alarm 4102444800000", "fail wrong"] {
        ask(&engine, &id, orders).await;
    }
    let before = engine.actor(&id).await;
    let found = check(&engine, "").await;
    let differs: Vec<(&str, &Value)> = (found["actors"][0]["calls"].as_array().into_iter().flatten())
        .map(|call| (call["call"].as_str().unwrap_or_default(), &call["differs"]))
        .collect();
    let (none, post) = (json!([]), "POST /request/");
    let expected = [
        // It finds a 7, and today a 1, which it leaves as it is.
        (post, &json!(["entries"])),
        // It is written down under a number that the migration has used already.
        ("POST /action/act", &json!(["entries"])),
        (post, &none),
        // The version's number.
        (post, &json!(["answer"])),
        (post, &json!(["database"])),
        (post, &none),
        (post, &none),
        (post, &none),
    ];
    assert_eq!(differs.len(), expected.len(), "{found:#}");
    for ((call, differs), (wanted, in_what)) in differs.iter().zip(expected) {
        assert_eq!((call, differs), (&wanted, &in_what), "{found:#}");
    }
    assert_eq!((&found["summary"]["calls"], &found["summary"]["differing"]), (&json!(8), &json!(4)));
    let call = |at: usize| &found["actors"][0]["calls"][at];
    let told = &call(3)["recorded"];
    assert_eq!(
        (&told["status"], &told["same"], &told["today_same"], &told["version"]),
        (&json!(200), &json!(false), &json!(false), &json!(2))
    );
    assert_eq!((&call(2)["recorded"]["same"], &call(2)["recorded"]["today_same"]), (&json!(true), &json!(true)));
    assert_eq!(call(0)["changes"]["kv"]["keys"]["changed"], json!(["a"]), "{}", call(0));
    assert_eq!(call(0)["today_changes"]["kv"]["changed"], json!(0), "{}", call(0));
    assert_eq!(call(7)["recorded"]["status"], call(7)["status"]);
    assert_eq!(engine.actor(&id).await, before, "a check changes nothing");
    // Beside calls only if it is asked for, and before them.
    let with_calls = async |query: &str| {
        let call = Call::post(format!("/deployments/{NAME}/check?namespace=default{query}"));
        let call = call.header("x-rivet-calls", json!([{ "action": "act", "args": ["get a"] }]).to_string());
        let found = engine.send(call.body(guest::another_version("every-feature", "next"))).await.expect_ok("a check").json();
        found["actors"][0]["calls"].as_array().into_iter().flatten().map(|call| call["recorded"].is_object()).collect::<Vec<_>>()
    };
    for (query, expected) in [("", vec![false]), ("&recorded=2", vec![true, true, false]), ("&recorded=0", vec![false])] {
        assert_eq!(with_calls(query).await, expected, "{query}");
    }
    let refused = engine.send(Call::post(format!("/deployments/{NAME}/check?namespace=default&recorded=101")).body("x")).await;
    assert_eq!((refused.status, refused.code().as_str()), (400, "api.bad_request"), "{refused}");

    let file = tempfile::NamedTempFile::with_suffix(".wasm").expect("a file");
    fs::write(file.path(), guest::another_version("every-feature", "next")).expect("a component");
    let done = engine.cli(&["deploy", &file.path().display().to_string(), "--name", NAME, "--check"]).await;
    for part in [
        "records   the last 20 requests of each actor",
        "replayed  POST /request/: 200, as today, as recorded",
        "differs   answer",
        "today did database table t, rows",
        "it went well on 1 actor, and 4 of 8 requests otherwise than today; nothing was deployed",
    ] {
        assert!(done.out.contains(part), "{part:?} expected, seen:\n{}{}", done.out, done.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_recorded_and_what_is_turned_off_is_gone() {
    let mut engine = start(&[]).await;
    let id = actor(&engine, "a", "").await;
    // Off, as it is by default.
    ask(&engine, &id, BODY).await.expect_ok("a request");
    assert_eq!((recorded(&engine, &id).await, folder(&engine).exists()), (vec![], false));

    set(&engine, json!({ "record_requests": 5 })).await;
    let shown = engine.get(format!("/deployments/{NAME}?namespace=default")).await.expect_ok("the deployment").json();
    assert!(
        shown["versions"].as_array().is_some_and(|all| all.iter().any(|one| one["settings"]["record_requests"] == 5)),
        "{shown:#}"
    );
    let target = format!("/request/a?b=1&access_token={SECRET}&c=2");
    let mut call = Call::post(by_id(&id, &target));
    for name in ["authorization", "cookie", "x-rivet-token", "x-rivet-conn-params", "x-api-key"] {
        call = call.header(name, SECRET);
    }
    engine.send(call.body(BODY)).await.expect_ok("a request");
    assert_eq!(recorded(&engine, &id).await, ["POST /request/a?b=1&c=2"]);
    assert!(is_in(&folder(&engine), BODY), "bodies are what it is for");
    assert_eq!(engine.stop().await, Some(0));
    assert!(is_in(&folder(&engine), BODY));
    let all = engine.data_dir();
    let secrets: Vec<PathBuf> = files(&all)
        .into_iter()
        .filter(|file| fs::read(file).is_ok_and(|bytes| bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes())))
        .collect();
    assert_eq!(secrets, Vec::<PathBuf>::new(), "no file has it");
    engine.restart().await;
    assert_eq!(recorded(&engine, &id).await, ["POST /request/a?b=1&c=2"], "it outlives the process");

    set(&engine, json!({ "record_requests": null })).await;
    until("what was recorded is not on the disk", async || {
        (!folder(&engine).exists()).then_some(()).ok_or("it is there".to_string())
    })
    .await;
    ask(&engine, &id, BODY).await.expect_ok("a request");
    assert_eq!((recorded(&engine, &id).await, folder(&engine).exists()), (vec![], false));
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_are_kept_and_the_large_ones_are_named() {
    let config = tempfile::NamedTempFile::with_suffix(".json").expect("a file");
    let limits = json!({ "recorded_requests": { "per_actor": 4, "actor_kib": 128 } });
    fs::write(config.path(), limits.to_string()).expect("it can be written");
    let engine = start(&["--config", &config.path().display().to_string()]).await;
    // By the engine's own setting.
    let id = actor(&engine, "a", "").await;
    for number in 0..7 {
        engine.send(Call::get(by_id(&id, &format!("/request/{number}")))).await;
    }
    assert_eq!(recorded(&engine, &id).await, ["GET /request/3", "GET /request/4", "GET /request/5", "GET /request/6"]);
    // With the body alone two would be 120 KiB.
    let padded =
        |number: usize| Call::post(by_id(&id, &format!("/request/{number}"))).body(format!("get {}", "x".repeat(60 * 1024)));
    for number in 7..10 {
        engine.send(padded(number)).await;
    }
    assert_eq!(recorded(&engine, &id).await, ["POST /request/8", "POST /request/9"]);
    // More than is recorded of a body, said and not; and a head that is too long.
    engine.send(Call::post(by_id(&id, "/request/large")).body(format!("get {}", "x".repeat(69_996)))).await;
    engine.send(Call::post(by_id(&id, "/request/piecemeal")).chunked(0)).await;
    engine.send(Call::get(by_id(&id, "/request/head")).header("x-long", "h".repeat(17 * 1024))).await;
    let found = calls(&engine, &format!("&actor_id={id}")).await;
    let told: BTreeMap<&str, &str> =
        (found.iter()).filter_map(|call| Some((call["call"].as_str()?, call["recorded"]["skipped"].as_str()?))).collect();
    let unknown = "it was too large to be recorded, or its length was not known";
    let expected = [
        ("GET /request/head", unknown),
        ("POST /request/large", "it was too large to be recorded: its body had 70000 bytes"),
        ("POST /request/piecemeal", unknown),
    ];
    assert_eq!(told, BTreeMap::from(expected), "{found:#?}");
    // A deployment may say less, and more than the most is refused.
    set(&engine, json!({ "record_requests": 1 })).await;
    ask(&engine, &id, "get a").await.expect_ok("a request");
    assert_eq!(recorded(&engine, &id).await, ["POST /request/"]);
    let refused = engine
        .send(Call::new("PATCH", format!("/deployments/{NAME}?namespace=default")).json(&json!({ "record_requests": 101 })))
        .await;
    assert_eq!(refused.code(), "deployment.settings_invalid", "{refused}");
    set(&engine, json!({ "record_requests": 0 })).await;
    ask(&engine, &id, "get a").await.expect_ok("a request");
    assert_eq!(recorded(&engine, &id).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_with_its_actor_and_with_its_namespace() {
    let mut engine = start(&[]).await;
    set(&engine, json!({ "record_requests": 5 })).await;
    let (id, other) = (actor(&engine, "a", "").await, actor(&engine, "b", "").await);
    ask(&engine, &id, "put only-of-a 1").await.expect_ok("a request");
    assert_eq!(recorded(&engine, &id).await.len(), 1);
    engine.send(Call::delete(format!("/actors/{id}?namespace=default"))).await.expect_ok("its end");
    until("what was recorded of it is gone, and nothing else was", async || {
        (!folder(&engine).exists()).then_some(()).ok_or("it is there".to_string())
    })
    .await;
    ask(&engine, &other, "put only-of-b 1").await.expect_ok("a request");
    assert_eq!(recorded(&engine, &other).await.len(), 1);
    // The next start looks for what is not wanted any more, and takes nothing else.
    engine.kill9();
    engine.restart().await;
    assert_eq!(recorded(&engine, &other).await.len(), 1);

    engine
        .send(Call::post("/namespaces").json(&json!({ "name": "tenant", "display_name": "Tenant" })))
        .await
        .expect_ok("a namespace");
    let deploy = Call::put(format!("/deployments/{NAME}?namespace=tenant")).header("x-rivet-settings", r#"{"record_requests":5}"#);
    engine.send(deploy.body(guest::bytes("every-feature"))).await.expect_ok("a deploy");
    let made = engine
        .send(Call::put("/actors?namespace=tenant").json(&json!({
            "name": NAME, "key": "a", "runner_name_selector": "default", "crash_policy": "sleep"
        })))
        .await
        .expect_ok("an actor")
        .json();
    let tenants = made["actor"]["actor_id"].as_str().unwrap_or_default().to_string();
    ask(&engine, &tenants, "put only-of-the-tenant 1").await.expect_ok("a request");
    until("it is recorded", async || is_in(&folder(&engine), "only-of-the-tenant").then_some(()).ok_or("not yet".to_string()))
        .await;
    engine.send(Call::delete("/namespaces/tenant")).await.expect_ok("its end");
    until("its bytes are gone, and those of others are not", async || {
        let found = (is_in(&folder(&engine), "only-of-the-tenant"), is_in(&folder(&engine), "only-of-b"));
        (found == (false, true)).then_some(()).ok_or(format!("{found:?}"))
    })
    .await;
}
