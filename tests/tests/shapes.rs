//! What clients and tools of the original read from the engine's answers: fields, headers, empty bodies.
//!
//! Rows over one check; a row says only what is relied on.

use rivet_tests::address::{by_id, by_key, unknown};
use rivet_tests::{Answer, Call, Engine};
use serde_json::{Value, json};

/// A request, its status, headers that must be there (`*`: with any value, empty: not at all), and a body: the fields that must be
/// there, each with its value or, where that is `"?"`, with any.
type Row = (Call, u16, &'static [(&'static str, &'static str)], Value);

fn check(call: &Call, answer: &Answer, headers: &[(&str, &str)], body: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, expected) in headers {
        let seen = answer.header(name);
        let fits = if *expected == "*" { !seen.is_empty() } else { seen.eq_ignore_ascii_case(expected) };
        if !fits {
            wrong.push(format!("{} {}: header {name}: {expected:?} expected, seen {seen:?}", call.method, call.target));
        }
    }
    let seen: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    for difference in differences(body, &seen, "") {
        wrong.push(format!("{} {}: {difference}; seen {answer}", call.method, call.target));
    }
    wrong
}

/// Objects must have exactly the fields that are expected.
fn differences(expected: &Value, seen: &Value, at: &str) -> Vec<String> {
    match (expected, seen) {
        (Value::String(any), _) if any == "?" => Vec::new(),
        (Value::Object(expected), Value::Object(seen)) => {
            let unexpected =
                seen.keys().filter(|name| !expected.contains_key(*name)).map(|name| format!("{at}/{name} is not expected"));
            let below = expected.iter().flat_map(|(name, value)| match seen.get(name) {
                Some(seen) => differences(value, seen, &format!("{at}/{name}")),
                None => vec![format!("{at}/{name} is missing")],
            });
            unexpected.chain(below).collect()
        }
        (Value::Array(expected), Value::Array(seen)) if expected.len() == seen.len() => {
            let pairs = expected.iter().zip(seen).enumerate();
            pairs.flat_map(|(number, (expected, seen))| differences(expected, seen, &format!("{at}/{number}"))).collect()
        }
        _ if expected == seen => Vec::new(),
        _ => vec![format!("{at}: {expected} expected")],
    }
}

const RAY: (&str, &str) = ("x-rivet-ray-id", "*");
const JSON: (&str, &str) = ("content-type", "application/json");
const VARIES: (&str, &str) = ("vary", "origin, access-control-request-method, access-control-request-headers");
const CREDENTIALS: (&str, &str) = ("access-control-allow-credentials", "true");
/// No body, or none that is looked at.
const NOTHING: Value = Value::Null;

fn about() -> Vec<Row> {
    let any = "?";
    let metadata = json!({
        "runtime": "engine", "version": any, "git_sha": any, "build_timestamp": any, "rustc_version": any, "rustc_host": any,
        "cargo_target": any, "cargo_profile": any, "epoxy_protocol_version": 3, "envoy_protocol_version": 8,
    });
    let datacenters = json!({ "datacenters": [{ "label": 1, "name": "default", "url": any }], "pagination": { "cursor": null } });
    let health = json!({ "runtime": "engine", "status": "ok", "version": any });
    let namespace = json!({ "namespace_id": any, "name": "default", "display_name": any, "create_ts": any });
    vec![
        (Call::get("/health"), 200, &[RAY, JSON, ("access-control-allow-origin", "")], health),
        (Call::new("HEAD", "/health"), 200, &[RAY], NOTHING),
        (Call::new("OPTIONS", "/health"), 405, &[("allow", "GET,HEAD")], NOTHING),
        (Call::get("/health/"), 404, &[JSON], json!({ "group": "api", "code": "not_found", "message": any })),
        (Call::get("/metadata?namespace=default&anything=else"), 200, &[RAY, JSON], metadata),
        (Call::get("/datacenters"), 200, &[JSON], datacenters),
        (
            Call::get("/namespaces?name=default"),
            200,
            &[JSON],
            json!({ "namespaces": [namespace], "pagination": { "cursor": null } }),
        ),
        (Call::get("/namespaces?name=nowhere"), 200, &[], json!({ "namespaces": [], "pagination": { "cursor": null } })),
        (Call::get("/runners/connect"), 200, &[("content-type", "text/plain")], NOTHING),
        (Call::get("/metrics"), 404, &[JSON], json!({ "group": "api", "code": "not_found", "message": any })),
        // A ray id that a client gives is kept, unless it is none.
        (Call::get("/health").header("x-rivet-ray-id", "my-ray_1"), 200, &[("x-rivet-ray-id", "my-ray_1")], json!(any)),
        (Call::get("/health").header("x-rivet-ray-id", "a b"), 200, &[RAY], json!(any)),
    ]
}

fn cors() -> Vec<Row> {
    let asks = |target: &str| {
        let call = Call::new("OPTIONS", target).header("origin", "http://a.example");
        call.header("access-control-request-method", "PUT").header("access-control-request-headers", "x-one, x-two")
    };
    let origin = ("access-control-allow-origin", "http://a.example");
    let credentials = ("access-control-allow-credentials", "true");
    let headers = ("access-control-allow-headers", "x-one, x-two");
    let methods = ("access-control-allow-methods", "GET, POST, PUT, DELETE, OPTIONS, PATCH");
    let to_actor: &[_] = Box::leak(Box::new([origin, credentials, headers, methods, ("access-control-max-age", "86400")]));
    let to_api: &[_] = Box::leak(Box::new([origin, credentials, headers, ("access-control-allow-methods", "PUT")]));
    let answered: &[_] = Box::leak(Box::new([origin, credentials, ("vary", "origin")]));
    vec![
        (Call::get("/nowhere"), 404, &[VARIES, ("access-control-allow-origin", "*")], json!("?")),
        (Call::new("PATCH", "/actors"), 405, &[("allow", "GET,HEAD,POST,PUT"), VARIES, CREDENTIALS], NOTHING),
        (asks("/gateway/KNOWN/"), 204, to_actor, NOTHING),
        (asks("/gateway/UNKNOWN/"), 204, to_actor, NOTHING),
        (asks("/actors"), 200, to_api, NOTHING),
        (Call::get("/gateway/KNOWN/").header("origin", "http://a.example"), 200, answered, json!("?")),
        (Call::get("/gateway/x/").header("origin", "http://a.example"), 400, answered, json!("?")),
        (Call::get("/gateway/KNOWN/"), 200, &[("access-control-allow-origin", "*"), ("vary", "")], json!("?")),
    ]
}

fn actors() -> Vec<Row> {
    let any = "?";
    let actor = json!({
        "actor_id": any, "name": "counter", "key": "a", "namespace_id": any, "datacenter": "default", "runner_name_selector": "default",
        "crash_policy": "sleep", "create_ts": any, "start_ts": any, "pending_allocation_ts": null, "connectable_ts": any,
        "sleep_ts": null, "reschedule_ts": null, "destroy_ts": null,
    });
    let list = json!({ "actors": [actor.clone()], "pagination": { "cursor": any } });
    let body = json!({ "name": "counter", "key": "a", "runner_name_selector": "other", "crash_policy": "destroy" });
    let not_found = json!({ "group": "actor", "code": "not_found", "message": any });
    let none = json!({ "actors": [], "pagination": { "cursor": null } });
    vec![
        (Call::get("/actors?namespace=default&name=counter&key=a"), 200, &[RAY, JSON], list.clone()),
        (Call::get("/actors?namespace=default&name=counter"), 200, &[], list.clone()),
        (Call::get("/actors?namespace=default&actor_ids=KNOWN,UNKNOWN,x"), 200, &[], list.clone()),
        (Call::get("/actors?namespace=default&actor_id=KNOWN&actor_id=KNOWN"), 200, &[], list.clone()),
        (Call::get("/actors?namespace=default&actor_id=UNKNOWN"), 200, &[], none.clone()),
        // As forms send what was left empty.
        (Call::get("/actors?namespace=default&name=counter&key=&limit=&cursor=&include_destroyed="), 200, &[], list.clone()),
        (Call::get("/actors?namespace=default&name=counter&limit=0"), 200, &[], none.clone()),
        (Call::get("/actors?namespace=default&name=counter&cursor=0"), 200, &[], none),
        // What it was made with stays, whatever is asked for later.
        (Call::put("/actors?namespace=default").json(&body), 200, &[JSON], json!({ "actor": actor, "created": false })),
        (
            Call::get("/actors/names?namespace=default"),
            200,
            &[],
            json!({ "names": { "counter": { "metadata": {} } }, "pagination": { "cursor": "counter" } }),
        ),
        (
            Call::get("/actors/names?namespace=default&cursor=counter"),
            200,
            &[],
            json!({ "names": {}, "pagination": { "cursor": null } }),
        ),
        // `count`, and the number 3 in eight bytes.
        (
            Call::get("/actors/KNOWN/kv/keys/Y291bnQ=?namespace=default"),
            200,
            &[JSON],
            json!({ "value": "AwAAAAAAAAA=", "update_ts": any }),
        ),
        (
            Call::get("/actors/KNOWN/kv/keys/Y291bnQ%3D?namespace=default"),
            200,
            &[],
            json!({ "value": "AwAAAAAAAAA=", "update_ts": any }),
        ),
        // Errors of the gateway bear their name; those of the API do not.
        (Call::get("/gateway/UNKNOWN/"), 404, &[RAY, JSON, ("x-rivet-error", "actor.not_found")], not_found.clone()),
        (Call::delete("/actors/UNKNOWN?namespace=default"), 400, &[RAY, JSON, ("x-rivet-error", "")], not_found),
        // What the actor answers is its own.
        (
            Call::get("/gateway/KNOWN/nowhere"),
            404,
            &[RAY, ("x-rivet-error", ""), ("content-type", "text/plain; charset=utf-8")],
            NOTHING,
        ),
        (Call::new("HEAD", "/gateway/KNOWN/"), 405, &[RAY], NOTHING),
        (Call::post("/actors/KNOWN/reschedule?namespace=default").json(&json!({})), 200, &[JSON], json!({})),
        (Call::delete("/actors/KNOWN?namespace=default"), 200, &[JSON], json!({})),
        // What would stop it is done already, and nothing of its state is left.
        (Call::delete("/actors/KNOWN?namespace=default"), 200, &[JSON], json!({})),
        (Call::post("/actors/KNOWN/sleep?namespace=default").json(&json!({})), 200, &[JSON], json!({})),
        (Call::post("/actors/KNOWN/reschedule?namespace=default").json(&json!({})), 200, &[JSON], json!({})),
        (
            Call::get("/actors/KNOWN/kv/keys/Y291bnQ=?namespace=default"),
            400,
            &[JSON],
            json!({ "group": "actor", "code": "kv_key_not_found", "message": any }),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_have_the_shape_that_clients_know() {
    let engine = Engine::start().await;
    engine.deploy("counter", "counter").await;
    for _ in 0..3 {
        engine.increment("counter", "a").await;
    }
    let (known, _) = engine.get_or_create("counter", "a", None).await;
    let unknown = unknown(&known);
    let mut wrong = Vec::new();
    for (mut call, status, headers, body) in [about(), cors(), actors()].concat() {
        call.target = call.target.replace("UNKNOWN", &unknown).replace("KNOWN", &known);
        let answer = engine.send(call.clone()).await;
        if answer.status != status {
            wrong.push(format!("{} {}: status {status} expected, seen {answer}", call.method, call.target));
        }
        wrong.extend(check(&call, &answer, headers, &body));
        let forbids_body = matches!(status, 204 | 405) && call.method != "HEAD";
        if forbids_body && !call.target.starts_with("/gateway") && !answer.body.is_empty() {
            wrong.push(format!("{} {}: an empty body expected, seen {answer}", call.method, call.target));
        }
    }
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_actor_sees_the_request_as_it_was_sent() {
    let engine = Engine::start().await;
    engine.deploy("hostile", "hostile").await;
    let seen = engine.send(Call::new("PATCH", by_key("hostile", "a", "/request?x=%2F+a&&flag&rvt-token=t")).body("abc")).await;
    assert_eq!(seen.expect_ok("a request").text(), "PATCH /request Some(\"x=%2F+a&flag\") 3 bytes");
    let (actor, _) = engine.get_or_create("hostile", "a", None).await;
    let call =
        Call::get(by_id(&actor, "/headers")).header("x-one", "first").header("x-one", "second").header("x-rivet-ray-id", "ray-1");
    let seen = engine.send(call).await.expect_ok("headers").text();
    for line in ["x-one: first", "x-one: second", "x-rivet-ray-id: ray-1"] {
        assert!(seen.lines().any(|seen| seen == line), "{line:?} expected, seen:\n{seen}");
    }
    let same = engine.get(format!("/gateway/{actor}@any-token/request")).await.expect_ok("with a token").text();
    assert_eq!(same, "GET /request None 0 bytes");
    let by_header = Call::get("/request").header("x-rivet-target", "actor").header("x-rivet-actor", actor);
    assert_eq!(engine.send(by_header).await.expect_ok("by its headers").text(), "GET /request None 0 bytes");
}
