//! What can be wrong with a request about actors or namespaces.

use rivet_tests::{Call, Engine, address};
use serde_json::{Value, json};

use crate::{Row, check};

const ACTORS: &str = "/actors?namespace=default";

/// A good body, with one field set or, if the value is null, left out.
fn create(field: &str, value: Value) -> Value {
    let mut body = json!({ "name": "witness", "key": "new", "runner_name_selector": "default", "crash_policy": "sleep" });
    let fields = body.as_object_mut().expect("it is an object");
    fields.remove(field);
    if !value.is_null() {
        fields.insert(field.to_string(), value);
    }
    body
}

fn post(field: &str, value: Value) -> Call {
    Call::post(ACTORS).json(&create(field, value))
}

fn text(body: &str) -> Call {
    Call::post(ACTORS).header("content-type", "application/json").body(body)
}

fn list(query: &str) -> Call {
    Call::get(format!("/actors?{query}"))
}

fn namespace(name: &str, display_name: &str) -> Call {
    Call::post("/namespaces").json(&json!({ "name": name, "display_name": display_name }))
}

fn listing() -> Vec<Row> {
    let ids = vec!["actor_id=KNOWN"; 33].join("&");
    vec![
        ("no namespace", list("name=witness"), 400, "api.bad_request", "\"namespace\" is missing"),
        ("a namespace that is not there", list("namespace=nowhere&name=witness"), 400, "namespace.not_found", "\"nowhere\""),
        ("two namespaces", list("namespace=default&namespace=default&name=x"), 400, "api.bad_request", "given 2 times"),
        ("nothing to look for", list("namespace=default"), 400, "validation.invalid_input", "give a name or ids"),
        ("an empty name", list("namespace=default&name="), 400, "validation.invalid_input", "give a name or ids"),
        ("a key without a name", list("namespace=default&key=a"), 400, "validation.invalid_input", "a key needs the name"),
        ("ids and a name", list("namespace=default&name=x&actor_id=KNOWN"), 400, "validation.invalid_input", "not both"),
        (
            "too many ids",
            list(&format!("namespace=default&{ids}")),
            400,
            "validation.too_many_actor_ids",
            "33 ids are given; at most 32",
        ),
        ("an id that is none", list("namespace=default&actor_id=x"), 400, "api.bad_request", "30 characters, this has 1"),
        ("a cursor that is none", list("namespace=default&name=witness&cursor=next"), 400, "api.bad_request", "cursor is \"next\""),
        (
            "a cursor before the beginning",
            list("namespace=default&name=witness&cursor=-1"),
            400,
            "api.bad_request",
            "cursor is \"-1\"",
        ),
        ("a limit that is no number", list("namespace=default&name=witness&limit=all"), 400, "api.bad_request", "limit is \"all\""),
        (
            "a limit without end",
            list(&format!("namespace=default&name=witness&limit={}", "9".repeat(40))),
            400,
            "api.bad_request",
            "a whole number",
        ),
        (
            "neither yes nor no",
            list("namespace=default&name=witness&include_destroyed=maybe"),
            400,
            "api.bad_request",
            "true or false",
        ),
        (
            "an unknown parameter",
            list("namespace=default&nmae=witness"),
            400,
            "api.bad_request",
            "unknown query parameter \"nmae\"",
        ),
        ("a parameter that is not text", list("namespace=default&name=%ff"), 400, "api.bad_request", "not UTF-8"),
        ("a path that is not there", Call::get("/nowhere"), 404, "api.not_found", ""),
        ("a slash too many", Call::get("/actors/"), 404, "api.not_found", ""),
        ("the root", Call::post("/"), 405, "", ""),
        ("a method that is not for it", Call::new("PATCH", ACTORS), 405, "", ""),
        ("a method that nobody knows", Call::new("BREW", "/health"), 405, "", ""),
    ]
}

fn creating() -> Vec<Row> {
    let valid = create("key", json!("other")).to_string();
    // One byte above a mebibyte, in base64.
    let input = "AAAA".repeat(1024 * 1024 / 3) + "AAA=";
    vec![
        ("a field that is missing", post("name", Value::Null), 400, "api.bad_request", "missing field `name`"),
        ("a pool that is missing", post("runner_name_selector", Value::Null), 400, "api.bad_request", "`runner_name_selector`"),
        ("a field that nobody knows", post("colour", json!("red")), 400, "api.bad_request", "unknown field `colour`"),
        ("a field of another type", post("name", json!(7)), 400, "api.bad_request", "expected a string"),
        ("a policy that nobody knows", post("crash_policy", json!("panic")), 400, "api.bad_request", "`panic`"),
        ("input that is not base64", post("input", json!("*")), 400, "api.bad_request", "input is not base64"),
        (
            "input of more than a mebibyte",
            post("input", json!(input)),
            400,
            "actor.input_too_large",
            "1048577 bytes; at most 1048576",
        ),
        ("a name of 257 bytes", post("name", json!("n".repeat(257))), 400, "actor.name_too_large", "257 bytes; at most 256"),
        ("a key of 1025 bytes", post("key", json!("k".repeat(1025))), 400, "actor.key_too_large", "1025 bytes; at most 1024"),
        ("an empty key", post("key", json!("")), 400, "actor.empty_key", "leave it out"),
        ("a key that is taken", post("key", json!("a")), 400, "actor.duplicate_key", "already has the key \"a\""),
        (
            "a name that nothing is deployed under",
            post("name", json!("nobody")),
            400,
            "actor.no_runner_config_configured",
            "deploy a component",
        ),
        ("a datacenter that is not there", post("datacenter", json!("mars")), 400, "datacenter.not_found", "\"mars\""),
        (
            "a namespace that is not there",
            Call::post("/actors?namespace=nowhere").json(&create("", Value::Null)),
            400,
            "namespace.not_found",
            "",
        ),
        ("no namespace", Call::post("/actors").json(&create("", Value::Null)), 400, "api.bad_request", "\"namespace\" is missing"),
        (
            "no key where one is needed",
            Call::put(ACTORS).json(&create("key", Value::Null)),
            400,
            "api.bad_request",
            "missing field `key`",
        ),
        ("no JSON", text("name=witness"), 400, "api.bad_request", "not as expected"),
        ("half a JSON", text(r#"{"name":"witn"#), 400, "api.bad_request", "EOF"),
        ("nothing", text(""), 400, "api.bad_request", "EOF"),
        ("a list", text("[]"), 400, "api.bad_request", ""),
        ("lists in lists without end", text(&"[".repeat(100_000)), 400, "api.bad_request", ""),
        (
            "text that is not UTF-8",
            Call::post(ACTORS).header("content-type", "application/json").body(*b"{\"name\":\"\xff\"}"),
            400,
            "api.bad_request",
            "",
        ),
        (
            "no content type",
            Call::post(ACTORS).body(valid.clone()),
            400,
            "api.bad_request",
            "content-type must be application/json",
        ),
        (
            "another content type",
            Call::post(ACTORS).header("content-type", "text/plain").body(valid),
            400,
            "api.bad_request",
            "content-type",
        ),
        ("a body of more than 2 MiB", text(&" ".repeat(2 * 1024 * 1024 + 1)), 400, "api.bad_request", "longer than 2097152 bytes"),
        (
            "a body of 3 MiB, without saying so",
            text("").chunked(3 * 1024 * 1024),
            400,
            "api.bad_request",
            "longer than 2097152 bytes",
        ),
    ]
}

fn one_actor() -> Vec<Row> {
    let empty = json!({});
    let logs = |query: &str| Call::get(format!("/actors/KNOWN/logs?{query}"));
    vec![
        ("destroying what is no id", Call::delete("/actors/x?namespace=default"), 400, "api.bad_request", "is not an actor id"),
        (
            "destroying what is not there",
            Call::delete("/actors/UNKNOWN?namespace=default"),
            400,
            "actor.not_found",
            "no such actor",
        ),
        ("destroying elsewhere", Call::delete("/actors/ELSEWHERE?namespace=default"), 400, "datacenter.not_found", "\"7\""),
        (
            "sleep of what is elsewhere",
            Call::post("/actors/ELSEWHERE/sleep?namespace=default").json(&empty),
            400,
            "datacenter.not_found",
            "",
        ),
        (
            "the state of what is elsewhere",
            Call::get("/actors/ELSEWHERE/kv/keys/eA==?namespace=default"),
            400,
            "datacenter.not_found",
            "",
        ),
        (
            "destroying in a namespace that is not there",
            Call::delete("/actors/KNOWN?namespace=nowhere"),
            400,
            "namespace.not_found",
            "",
        ),
        ("destroying in another namespace", Call::delete("/actors/KNOWN?namespace=other"), 400, "actor.not_found", ""),
        ("sleep without a body", Call::post("/actors/KNOWN/sleep?namespace=default"), 400, "api.bad_request", "content-type"),
        (
            "sleep of what is not there",
            Call::post("/actors/UNKNOWN/sleep?namespace=default").json(&empty),
            400,
            "actor.not_found",
            "",
        ),
        (
            "sleep with a field",
            Call::post("/actors/KNOWN/sleep?namespace=default").json(&json!({ "ms": 5 })),
            400,
            "api.bad_request",
            "unknown field `ms`",
        ),
        (
            "rescheduling what is not there",
            Call::post("/actors/UNKNOWN/reschedule?namespace=default").json(&empty),
            400,
            "actor.not_found",
            "",
        ),
        (
            "a key of the state that is not base64",
            Call::get("/actors/KNOWN/kv/keys/*?namespace=default"),
            400,
            "api.bad_request",
            "not base64",
        ),
        (
            "a key of the state that is not there",
            Call::get("/actors/KNOWN/kv/keys/eA==?namespace=default"),
            400,
            "actor.kv_key_not_found",
            "no such key",
        ),
        ("a key of the state of nobody", Call::get("/actors/UNKNOWN/kv/keys/eA==?namespace=default"), 400, "actor.not_found", ""),
        ("logs of nobody", Call::get("/actors/UNKNOWN/logs?namespace=default"), 400, "actor.not_found", ""),
        ("logs of what is no id", Call::get("/actors/x/logs?namespace=default"), 400, "api.bad_request", "is not an actor id"),
        ("logs in another namespace", logs("namespace=other"), 400, "actor.not_found", ""),
        ("less than no lines", logs("namespace=default&limit=-1"), 400, "api.bad_request", "limit is \"-1\""),
        ("neither following nor not", logs("namespace=default&follow=1"), 400, "api.bad_request", "follow is \"1\""),
        (
            "a key that is another actor's id in the wrong case",
            Call::delete(format!("/actors/{}?namespace=default", "A".repeat(30))),
            400,
            "api.bad_request",
            "0-9 and a-z",
        ),
        ("names of no namespace", Call::get("/actors/names"), 400, "api.bad_request", "\"namespace\" is missing"),
        (
            "a limit of names that is none",
            Call::get("/actors/names?namespace=default&limit=x"),
            400,
            "api.bad_request",
            "limit is \"x\"",
        ),
    ]
}

fn namespaces() -> Vec<Row> {
    let refused = "namespace.failed_to_create";
    vec![
        ("an empty name", namespace("", "x"), 400, refused, "1 to 64"),
        ("a name of 65 characters", namespace(&"n".repeat(65), "x"), 400, refused, "1 to 64"),
        ("upper case", namespace("Other", "x"), 400, refused, "a-z, 0-9"),
        ("a blank", namespace("my space", "x"), 400, refused, "a-z, 0-9"),
        ("a hyphen in front", namespace("-a", "x"), 400, refused, "single inner hyphens"),
        ("two hyphens", namespace("a--b", "x"), 400, refused, "single inner hyphens"),
        ("no display name", namespace("fine", ""), 400, refused, "1 to 128 bytes"),
        ("a name that is taken", namespace("default", "x"), 400, "namespace.name_not_unique", "choose another"),
        (
            "a field that is missing",
            Call::post("/namespaces").json(&json!({ "name": "a" })),
            400,
            "api.bad_request",
            "`display_name`",
        ),
        ("an empty id in a list", Call::get("/namespaces?namespace_ids=,"), 400, "api.bad_request", "is not a namespace id"),
        ("an id that is none", Call::get("/namespaces?namespace_id=x"), 400, "api.bad_request", "is not a namespace id"),
        ("a cursor that is none", Call::get("/namespaces?cursor=x"), 400, "api.bad_request", "is not a namespace id"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_to_the_api_are_refused() {
    let engine = Engine::start().await;
    engine.send(namespace("other", "Other")).await.expect_ok("a second namespace");
    engine.deploy("counter", "witness").await;
    let (known, _) = engine.get_or_create("witness", "a", None).await;
    let unknown = address::unknown(&known);
    let elsewhere = protocol::id::Id::new([9; 16], 7).to_string();
    let mut rows = [listing(), creating(), one_actor(), namespaces()].concat();
    for (_, call, ..) in &mut rows {
        call.target = call.target.replace("UNKNOWN", &unknown).replace("KNOWN", &known).replace("ELSEWHERE", &elsewhere);
    }
    check(&engine, rows).await;
    let listed = engine.get("/actors?namespace=default&name=witness").await.expect_ok("the actors").json();
    assert_eq!(listed["actors"].as_array().map(Vec::len), Some(1), "nothing was made of what was refused: {listed}");
}
