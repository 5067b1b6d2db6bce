//! `deploy --check`, seen from outside: what a version would do to actors that there are, and that nothing of it is done.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rivet_tests::address::{by_id, by_key};
use rivet_tests::{Call, Engine, Socket, guest, until};
use serde_json::{Value, json};
use tokio::net::TcpListener;

const NAME: &str = "shop";
const LATER_MS: u64 = 4_102_444_800_000;

async fn start(guest: &str) -> Engine {
    let engine = Engine::start_alone(&[]).await;
    engine.deploy(guest, NAME).await;
    engine
}

/// Of an actor of `every-feature` whose input is what its next version is to do when it migrates; these are carried out before.
async fn actor(engine: &Engine, key: &str, migrates: &str, before: &str) -> String {
    let (id, _) = engine.get_or_create(NAME, key, Some(&STANDARD.encode(migrates))).await;
    engine.send(Call::post(by_id(&id, "/request/")).body(before)).await.expect_ok(before);
    id
}

fn asked(query: &str, component: Vec<u8>, calls: &Value) -> Call {
    let call = Call::post(format!("/deployments/{NAME}/check?namespace=default{query}"));
    call.header("x-rivet-calls", calls.to_string()).body(component)
}

async fn check(engine: &Engine, query: &str, calls: &Value) -> Value {
    let next = guest::another_version("every-feature", "next");
    engine.send(asked(query, next, calls)).await.expect_ok("a check").json()
}

/// What must be as it was.
async fn standing(engine: &Engine, actors: &[String]) -> Value {
    let mut shown = vec![engine.get("/deployments?namespace=default").await.expect_ok("the deployments").json()];
    shown.push(engine.get(format!("/deployments/{NAME}?namespace=default")).await.expect_ok("the deployment").json());
    shown.push(engine.get(format!("/actors?namespace=default&name={NAME}")).await.expect_ok("the actors").json());
    for actor in actors {
        shown.push(engine.get(format!("/actors/{actor}/version?namespace=default")).await.expect_ok("its version").json());
        shown.push(json!(engine.actor_log(actor).await));
    }
    let files = fs::read_dir(engine.data_dir().join("components")).expect("the components");
    let files: BTreeSet<String> = files.map(|file| file.expect("a file").file_name().to_string_lossy().into_owned()).collect();
    shown.push(json!(files));
    Value::Array(shown)
}

/// Each row: what the version does when it migrates, what the actor did before, how it goes, and what is said then, by JSON pointers.
type Row<'a> = (&'a str, &'a str, &'a str, Vec<(&'a str, Value)>);

#[tokio::test(flavor = "multi_thread")]
async fn each_actor_shows_what_would_change_and_is_as_it_was() {
    let engine = start("every-feature").await;
    let counts =
        |added: u64, changed: u64, removed: u64| json!({ "added": added, "changed": changed, "removed": removed, "more": false });
    let alarm = format!("alarm {LATER_MS}");
    let schedule = format!("at {LATER_MS} act []");
    let table = "sql CREATE TABLE t (a INTEGER PRIMARY KEY, b)\nsql INSERT INTO t VALUES (1,'x'),(2,'y'),(3,'z')";
    let none = "sql CREATE TABLE t (a TEXT PRIMARY KEY, b) WITHOUT ROWID\nsql INSERT INTO t VALUES ('k',1),('l',2)";
    let rows: Vec<Row> = vec![
        ("", "", "ok", vec![("/changes/kv/added", json!(1)), ("/changes/kv/keys/added/0", json!("did/00000000"))]),
        (
            "put a 1\nput b 9",
            "put b 2\nput c 3",
            "ok",
            vec![
                ("/changes/kv/added", json!(2)),
                ("/changes/kv/changed", json!(1)),
                ("/changes/kv/removed", json!(0)),
                ("/changes/kv/keys/changed", json!(["b"])),
            ],
        ),
        (
            "sql UPDATE t SET b = 'w' WHERE a = 1\nsql DELETE FROM t WHERE a = 2\nsql INSERT INTO t VALUES (4,''),(5,'')",
            table,
            "ok",
            vec![
                ("/changes/tables/0/name", json!("t")),
                ("/changes/tables/0/definition", Value::Null),
                ("/changes/tables/0/rows", counts(2, 1, 1)),
            ],
        ),
        (
            "sql ALTER TABLE t ADD COLUMN c\nsql UPDATE t SET c = 1 WHERE a > 1\nsql CREATE INDEX i ON t (b)",
            table,
            "ok",
            vec![
                ("/changes/tables/0", json!({ "kind": "table", "name": "t", "definition": "altered", "rows": counts(0, 2, 0) })),
                ("/changes/tables/1", json!({ "kind": "index", "name": "i", "definition": "created", "rows": null })),
            ],
        ),
        (
            "sql UPDATE t SET b = 3 WHERE a = 'k'",
            none,
            "ok",
            vec![("/changes/tables/0/rows", counts(1, 0, 1)), ("/changes/unknown", json!([]))],
        ),
        (
            "sql DROP TABLE t\nsql CREATE TABLE u (c)\nsql INSERT INTO u VALUES (1)",
            table,
            "ok",
            vec![
                ("/changes/tables/0", json!({ "kind": "table", "name": "t", "definition": "dropped", "rows": counts(0, 0, 3) })),
                ("/changes/tables/1", json!({ "kind": "table", "name": "u", "definition": "created", "rows": counts(1, 0, 0) })),
            ],
        ),
        ("sql SELECT 1", table, "ok", vec![("/changes/tables", json!([])), ("/changes/unknown", json!([]))]),
        (&alarm, "", "ok", vec![("/changes/alarm/before_ts", Value::Null), ("/changes/alarm/after_ts", json!(LATER_MS))]),
        (&schedule, "", "ok", vec![("/changes/kept/added", json!(1)), ("/changes/alarm/after_ts", json!(LATER_MS))]),
        ("", &schedule, "ok", vec![("/changes/kept/changed", json!(0)), ("/changes/alarm", Value::Null)]),
        (
            "put a 1\nfail no_way",
            "put b 1",
            "not_migrated",
            vec![
                ("/message", json!("the migrate handler refused what version 1 wrote: no_way")),
                ("/changes/kv/added", json!(0)),
                ("/version", json!(1)),
            ],
        ),
        ("put a 1\ntrap", "", "not_migrated", vec![("/changes/kv/added", json!(0))]),
        (
            "call 000000000000000000000000000000 act []",
            "",
            "ok",
            vec![("/actor_calls/count", json!(1)), ("/actor_calls/to/0", json!("action act of 000000000000000000000000000000"))],
        ),
    ];
    let mut actors = Vec::new();
    for (number, (migrates, before, ..)) in rows.iter().enumerate() {
        actors.push(actor(&engine, &number.to_string(), migrates, before).await);
    }
    // Some sleep and some run, and so they stay.
    for actor in actors.iter().step_by(2) {
        engine.sleep(actor).await;
    }
    let before = standing(&engine, &actors).await;
    let checked = check(&engine, "&actors=100", &json!([])).await;
    assert_eq!(standing(&engine, &actors).await, before, "a check changes nothing");

    let failed = rows.iter().filter(|row| row.2 != "ok").count();
    let summary =
        json!({ "tried": rows.len(), "ok": rows.len() - failed, "failed": failed, "not_tried": 0, "calls": 0, "differing": 0 });
    assert_eq!((&checked["summary"], &checked["version"], &checked["live_version"]), (&summary, &json!(2), &json!(1)), "{checked}");
    for (number, (migrates, _, outcome, expected)) in rows.iter().enumerate() {
        let found = checked["actors"].as_array().into_iter().flatten().find(|found| found["actor_id"] == actors[number]);
        let found = found.unwrap_or_else(|| panic!("{migrates}: it was not tried: {checked}"));
        let awake = number % 2 == 1;
        assert_eq!((&found["outcome"], &found["awake"]), (&json!(outcome), &json!(awake)), "{migrates}: {found:#}");
        for (pointer, value) in expected {
            assert_eq!(found.pointer(pointer), Some(value), "{migrates}: {pointer}: {found:#}");
        }
    }
    // What trapped shows where, by the guest's own names.
    let trapped =
        checked["actors"].as_array().into_iter().flatten().find(|found| found["message"].to_string().contains("panicked"));
    let lines = trapped.unwrap_or_else(|| panic!("{checked:#}"))["logs"]["lines"].to_string();
    assert!(lines.contains("it was told to") && lines.contains("carry_out"), "{lines}");

    // The version itself then does what was said.
    engine.deploy_bytes(guest::another_version("every-feature", "next"), NAME).await;
    until("the actors that run have moved", async || {
        let state = engine.get(format!("/deployments/{NAME}?namespace=default")).await.expect_ok("the deployment").json();
        (state["moving"] == 0).then_some(()).ok_or(state.to_string())
    })
    .await;
    let orders = Call::post(by_id(&actors[2], "/request/")).body("sql SELECT a, b FROM t ORDER BY a");
    let rows = engine.send(orders).await.expect_ok("its rows").text();
    assert!(rows.contains("\"w\"") && !rows.contains("\"y\""), "{rows}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_fork_is_asked_happens_to_the_fork() {
    let engine = start("every-feature").await;
    let id = actor(&engine, "a", "", "put a 1").await;
    actor(&engine, "b", "", "put a 1").await;
    // For a fork its clients are still there, and hear nothing of it.
    let mut socket = Socket::open(&engine, &by_id(&id, "/connect"), "rivet, rivet_encoding.json").await;
    assert!(socket.next().await.is_some_and(|said| said.is_ok_and(|said| said.to_string().contains("Init"))));
    let calls = json!([
        { "action": "act", "args": ["put a 2", "put b 1", "get a", "info"] },
        { "request": "POST /request/x", "body": "get b" },
        { "action": "act", "args": ["fail wrong"] },
    ]);
    let before = standing(&engine, std::slice::from_ref(&id)).await;
    let checked = check(&engine, &format!("&actor_id={id}"), &calls).await;
    assert_eq!(standing(&engine, std::slice::from_ref(&id)).await, before);
    let found = &checked["actors"][0];
    assert_eq!((checked["summary"]["tried"].as_u64(), &found["actor_id"], &found["outcome"]), (Some(1), &json!(id), &json!("ok")));
    let today = found["calls"][0]["today"]["body"].as_str().unwrap_or_default();
    assert!(today.contains("v1") && found["calls"][1]["today"] == json!({ "status": 200, "body": "Some(\"1\")" }), "{found:#}");
    let answers: Vec<(u64, &str)> = (found["calls"].as_array().into_iter().flatten())
        .map(|call| (call["status"].as_u64().unwrap_or(0), call["body"].as_str().unwrap_or_default()))
        .collect();
    assert!(answers[0].0 == 200 && answers[0].1.contains(r#"Some(\"2\")"#) && answers[0].1.contains("v2"), "{answers:?}");
    assert_eq!(answers[1], (200, "Some(\"1\")"));
    assert!(answers[2].0 == 500 && answers[2].1.contains("wrong"), "{answers:?}");
    assert_eq!(found["changes"]["kv"]["keys"]["changed"], json!(["a"]));
    // It was migrated and asked twice, and nobody disconnected.
    assert_eq!((&found["changes"]["kv"]["added"], &found["changes"]["kept"]["removed"]), (&json!(4), &json!(0)), "{found:#}");
    assert!(found["cpu_ms"].as_f64().is_some_and(|ms| ms > 0.0) && found["memory_bytes"].as_u64().is_some_and(|bytes| bytes > 0));
    let now = engine.send(Call::post(by_id(&id, "/request/")).body("get a\ninfo")).await.expect_ok("the actor").text();
    assert!(now.contains("Some(\"1\")") && now.contains(" 1 v1"), "{now}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_leaves_a_fork() {
    let engine = start("standard").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it has one").to_string();
    engine.get(by_key(NAME, "a", "/")).await;
    // Allowed, and still it does not leave.
    let calls = json!([{ "request": format!("GET /fetch/{address}") }]);
    let call = asked("", guest::another_version("standard", "next"), &calls);
    let settings = json!({ "outbound": ["127.0.0.0/8"] });
    let checked = engine.send(call.header("x-rivet-settings", settings.to_string())).await.expect_ok("a check").json();
    let found = &checked["actors"][0];
    assert_eq!(found["outgoing"], json!({ "count": 1, "to": [format!("GET http://{address}")] }), "{found:#}");
    assert!(found["calls"][0]["body"].as_str().is_some_and(|body| body.contains("HttpRequestDenied")), "{found:#}");
    assert_eq!(checked["settings"]["outbound"], settings["outbound"]);
    let came = tokio::time::timeout(Duration::from_millis(100), listener.accept()).await;
    assert!(came.is_err(), "a fork has connected to {address}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_version_harms_its_forks_only() {
    let engine = start("hostile").await;
    let put = |key: &str, value: &str| by_key(NAME, "a", &format!("/put?key={key}&value={value}"));
    engine.post(put("key", "kept")).await.expect_ok("a put");
    let (id, _) = engine.get_or_create(NAME, "a", None).await;
    let next = || guest::another_version("hostile", "next");
    let rows = [("/loop", "cpu_time_exceeded"), ("/bomb", "memory_exceeded"), ("/stack", "stack_overflow"), ("/panic", "trapped")];
    for (path, code) in rows {
        let calls = json!([{ "request": format!("GET {path}") }, { "request": "GET /count" }]);
        let settings = json!({ "limits": { "cpu_ms": 300 } }).to_string();
        let call = asked("", next(), &calls).header("x-rivet-settings", settings);
        let (checked, served) = tokio::join!(engine.send(call), engine.get(by_id(&id, "/count")));
        served.expect_ok("the actor meanwhile");
        let checked = checked.expect_ok(path).json();
        let found = &checked["actors"][0];
        assert_eq!((&found["outcome"], &checked["summary"]["failed"]), (&json!("crashed"), &json!(1)), "{path}: {found:#}");
        assert!(found["calls"][0]["body"].as_str().is_some_and(|body| body.contains(code)), "{path}: {found:#}");
        assert_eq!(found["calls"][1]["status"], 200, "{path}: what comes next starts it again: {found:#}");
    }
    // One that cannot start.
    let row = engine.get_or_create(NAME, "b", Some(&STANDARD.encode("start-error"))).await.0;
    let checked = engine.send(asked(&format!("&actor_id={row}"), next(), &json!([]))).await.expect_ok("a check").json();
    let found = &checked["actors"][0];
    assert_eq!(found["outcome"], "not_started", "{found:#}");
    assert!(found["message"].as_str().is_some_and(|why| why.contains("start was told to fail")), "{found:#}");
    // One that ends itself.
    engine.post(put("do/start", "destroy")).await.expect_ok("an order");
    let checked = engine.send(asked(&format!("&actor_id={id}"), next(), &json!([]))).await.expect_ok("a check").json();
    assert_eq!(checked["actors"][0]["wishes"], json!(["destroy"]), "{checked:#}");
    assert!(engine.actor(&id).await["destroy_ts"].is_null());
    // And one that writes and writes.
    let mut engine = start("every-feature").await;
    actor(&engine, "a", "", "sql CREATE TABLE t (a)").await;
    let fill = "sql WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 14) INSERT INTO t SELECT zeroblob(900000) FROM n";
    let calls = json!(vec![json!({ "action": "act", "args": [fill] }); 10]);
    let found = check(&engine, "", &calls).await["actors"][0].take();
    assert_eq!(found["outcome"], "wrote_too_much", "{found:#}");
    let now = engine.send(Call::post(by_key(NAME, "a", "/request/")).body("sql SELECT count(*) FROM t")).await;
    assert!(now.expect_ok("the actor").text().contains("Integer(0)"));
    engine.kill9();
    engine.restart().await;
    assert_eq!(check(&engine, "", &json!([])).await["summary"]["ok"], 1);
}

/// A check that goes on for a minute: each call uses up all the processor time that a message has. Until its forks begin.
async fn begun(engine: &Engine) -> reqwest::Response {
    let calls = json!(vec![json!({ "request": "GET /loop" }); 16]).to_string();
    let check = engine.http(reqwest::Method::POST, &format!("/deployments/{NAME}/check?namespace=default"));
    let check = check.header("accept", "application/x-ndjson").header("x-rivet-calls", calls);
    let mut answer = check.body(guest::another_version("hostile", "next")).send().await.expect("an answer that goes on");
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains(r#""phase":"checked""#) {
        seen.extend(answer.chunk().await.expect("a connection").expect("more to come"));
    }
    assert_eq!(components(engine), 2, "it is there while it is tried");
    answer
}

fn components(engine: &Engine) -> usize {
    let files = fs::read_dir(engine.data_dir().join("components")).expect("the components");
    files.filter(|file| file.as_ref().is_ok_and(|file| file.path().extension().is_some_and(|kind| kind == "wasm"))).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_ends_with_its_client_and_leaves_nothing() {
    let mut engine = start("hostile").await;
    engine.get(by_key(NAME, "a", "/count")).await.expect_ok("the actor");
    let again = || asked("", guest::another_version("hostile", "again"), &json!([]));
    let sent = begun(&engine).await;
    let second = engine.send(again()).await;
    assert_eq!((second.status, second.code().as_str()), (503, "guard.service_unavailable"), "{second}");
    drop(sent);
    until("another check may be made", async || {
        let answer = engine.send(again()).await;
        if answer.status == 200 { Ok(()) } else { Err(answer.to_string()) }
    })
    .await;
    until("its component is gone", async || (components(&engine) == 1).then_some(()).ok_or("two components".to_string())).await;
    let names = |engine: &Engine| {
        let entries = fs::read_dir(engine.data_dir()).expect("the data directory");
        entries.map(|entry| entry.expect("an entry").file_name()).collect::<BTreeSet<_>>()
    };
    let folders = names(&engine);
    let sent = begun(&engine).await;
    engine.kill9();
    drop(sent);
    engine.restart().await;
    assert_eq!((components(&engine), names(&engine)), (1, folders));
    assert_eq!(engine.send(again()).await.expect_ok("a check").json()["summary"]["ok"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused() {
    let engine = start("every-feature").await;
    let id = actor(&engine, "a", "", "").await;
    engine.deploy("counter", "other").await;
    let other = engine.get_or_create("other", "a", None).await.0;
    let next = || guest::another_version("every-feature", "next");
    let to = |query: &str, component: Vec<u8>| asked(query, component, &json!([]));
    let many = format!("&actor_id={id}").repeat(101);
    let calls =
        |text: &str| Call::post(format!("/deployments/{NAME}/check?namespace=default")).header("x-rivet-calls", text).body(next());
    let rows: Vec<(Call, u16, &str)> = vec![
        (to("&actors=101", next()), 400, "api.bad_request"),
        (to("&actors=some", next()), 400, "api.bad_request"),
        (to("&actor_id=x", next()), 400, "api.bad_request"),
        (to(&many, next()), 400, "api.bad_request"),
        (to("&canary=5%25", next()), 400, "api.bad_request"),
        (to(&format!("&actor_id={other}"), next()), 400, "actor.not_found"),
        (to("", b"not a component".to_vec()), 400, "component.malformed"),
        (to("", guest::bytes("no-handler")), 400, "component.no_handler"),
        (to("", next()).header("x-rivet-settings", r#"{"config":{"":"x"}}"#), 400, "deployment.settings_invalid"),
        (calls("{"), 400, "api.bad_request"),
        (calls(r#"[{"request":"GET"}]"#), 400, "api.bad_request"),
        (Call::post("/deployments/shop/check?namespace=none").body(next()), 400, "namespace.not_found"),
    ];
    for (call, status, code) in rows {
        let target = call.target.clone();
        let answer = engine.send(call).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{target}: {answer}");
    }
    assert_eq!(components(&engine), 2, "what was refused is not kept");
    let nobody = engine.send(Call::post("/deployments/nobody/check?namespace=default").body(next())).await;
    let nobody = nobody.expect_ok("a name without actors").json();
    assert_eq!((&nobody["summary"]["tried"], &nobody["version"], &nobody["live_version"]), (&json!(0), &json!(1), &Value::Null));

    let engine = Engine::start_alone(&["--no-wasm-runner"]).await;
    let answer = engine.send(asked("", next(), &json!([]))).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "deployment.check_unavailable"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command() {
    let engine = start("every-feature").await;
    let id = actor(&engine, "a", "put a 2\nsql INSERT INTO t VALUES (1)", "put a 1\nsql CREATE TABLE t (a)").await;
    let stubborn = actor(&engine, "b", "fail no_way", "").await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("next.wasm");
    fs::write(&file, guest::another_version("every-feature", "next")).expect("a file");
    let file = file.to_str().expect("a path that is text");
    let command = async |flags: &[&str]| engine.cli(&[&["deploy", file, "--name", NAME, "--check"], flags].concat()).await;

    let done = command(&["--actor", &id, "--call", "act=[\"get a\"]", "--request", "POST /request/"]).await;
    let parts = [
        "as version 2 would be",
        &format!("{id}  ok  from version 1"),
        "2 added, 1 changed, 0 removed: +did/00000000 +did/00000001 ~a",
        "table t, rows 1 added",
        "asked     act [\"get a\"]: 200",
        "asked     POST /request/: 200",
        "today     200 {\"output\":[\"Some(\\\"1\\\")\"]}",
        "it went well on 1 actor, and 1 of 2 requests otherwise than today; nothing was deployed",
    ];
    for part in parts {
        assert!(done.out.contains(part), "{part:?} expected, seen:\n{}{}", done.out, done.err);
    }
    assert_eq!(done.code, Some(0));
    let done = command(&[]).await;
    assert_eq!(done.code, Some(1), "{}", done.out);
    assert!(done.out.contains(&format!("{stubborn}  not migrated")), "{}", done.out);
    assert!(done.out.contains("because   the migrate handler refused what version 1 wrote: no_way"), "{}", done.out);
    assert!(done.err.contains("it failed on 1 of 2 actors"), "{}", done.err);
    let done = command(&["--json", "--actors", "0"]).await;
    let shown: Value = serde_json::from_str(&done.out).unwrap_or_else(|error| panic!("{error}: {}", done.out));
    assert_eq!((done.code, &shown["summary"]["tried"]), (Some(0), &json!(0)));
    assert!(engine.cli(&["deployments"]).await.out.lines().count() == 2, "one version");
}
