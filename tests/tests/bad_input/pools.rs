//! What can be wrong with a request about pools and runners.

use rivet_tests::{Call, Engine};
use serde_json::{Value, json};

use crate::{Row, check};

fn whole(body: &Value) -> Call {
    Call::put("/runner-configs/app?namespace=default").json(body)
}

fn put(config: Value) -> Call {
    whole(&json!({ "datacenters": { "default": config } }))
}

/// A good configuration, with one field set or, if the value is null, left out.
fn serverless(field: &str, value: Value) -> Call {
    let mut config = json!({ "url": "http://127.0.0.1:1", "request_lifespan": 3600 });
    let fields = config.as_object_mut().expect("it is an object");
    fields.remove(field);
    if !value.is_null() {
        fields.insert(field.to_string(), value);
    }
    put(json!({ "serverless": config }))
}

fn configuring() -> Vec<Row> {
    let (bad, invalid) = ("api.bad_request", "runner_config.invalid");
    let many: Value = (0..17).map(|n| (format!("x-{n}"), json!("v"))).collect::<serde_json::Map<_, _>>().into();
    vec![
        (
            "no namespace",
            Call::put("/runner-configs/app").json(&json!({ "datacenters": {} })),
            400,
            bad,
            "\"namespace\" is missing",
        ),
        (
            "a namespace that is not there",
            Call::put("/runner-configs/app?namespace=nowhere").json(&json!({ "datacenters": {} })),
            400,
            "namespace.not_found",
            "",
        ),
        ("no content type", Call::put("/runner-configs/app?namespace=default"), 400, bad, "content-type"),
        ("no datacenters", whole(&json!({})), 400, bad, "missing field `datacenters`"),
        ("a field that nobody knows", whole(&json!({ "datacenters": {}, "x": 1 })), 400, bad, "unknown field `x`"),
        (
            "a datacenter that is not there",
            whole(&json!({ "datacenters": { "mars": { "normal": {} } } })),
            400,
            "datacenter.not_found",
            "\"mars\"",
        ),
        ("no kind", put(json!({})), 400, bad, "`normal` or `serverless`"),
        ("another kind", put(json!({ "severless": {} })), 400, bad, "`normal` or `serverless`"),
        (
            "both kinds",
            put(json!({ "normal": {}, "serverless": { "url": "http://a", "request_lifespan": 3600 } })),
            400,
            bad,
            "both given",
        ),
        ("no object", put(json!({ "normal": 1 })), 400, bad, ""),
        ("a delay before now", put(json!({ "normal": { "actor_eviction_delay": -1 } })), 400, bad, ""),
        ("a rate below zero", put(json!({ "normal": { "actor_eviction_rate": -1 } })), 400, invalid, "actor_eviction_rate is -1"),
        (
            "a rate without end",
            put(json!({ "normal": { "actor_eviction_rate": 1e300 } })),
            400,
            invalid,
            "actor_eviction_rate is inf",
        ),
        ("no URL", serverless("url", Value::Null), 400, bad, "missing field `url`"),
        ("no lifespan", serverless("request_lifespan", Value::Null), 400, bad, "missing field `request_lifespan`"),
        ("a URL that is none", serverless("url", json!("nonsense")), 400, invalid, "cannot be read"),
        ("a scheme that is not called", serverless("url", json!("file:///etc/passwd")), 400, invalid, "the scheme file"),
        ("a password in the URL", serverless("url", json!("http://a:b@127.0.0.1")), 400, invalid, "password"),
        ("a private address", serverless("url", json!("http://10.1.2.3")), 400, invalid, "outbound.allow_private_networks"),
        ("the address of nothing", serverless("url", json!("http://0.0.0.0")), 400, invalid, "0.0.0.0 is no address"),
        (
            "a private address in other clothes",
            serverless("url", json!("http://[::ffff:a9fe:a9fe]/")),
            400,
            invalid,
            "169.254.169.254",
        ),
        ("too many headers", serverless("headers", many), 400, invalid, "17 headers"),
        ("a header's name that is none", serverless("headers", json!({ "a b": "c" })), 400, invalid, "header's name"),
        ("a header's name that is too long", serverless("headers", json!({ "n".repeat(129): "c" })), 400, invalid, "at most 128"),
        (
            "a header's value that is too long",
            serverless("headers", json!({ "a": "v".repeat(4097) })),
            400,
            invalid,
            "at most 4096",
        ),
        ("a header of two lines", serverless("headers", json!({ "a": "b\r\nc: d" })), 400, invalid, "cannot be sent"),
        ("a header that is no text", serverless("headers", json!({ "a": 1 })), 400, bad, ""),
        ("no slots", serverless("slots_per_runner", json!(0)), 400, invalid, "slots_per_runner is 0"),
        ("a lifespan that the grace does not fit in", serverless("request_lifespan", json!(1800)), 400, invalid, "1800 s"),
        ("a grace longer than a stop", serverless("drain_grace_period", json!(1801)), 400, invalid, "1800000 ms"),
        ("a grace without end", serverless("drain_grace_period", json!(u64::MAX)), 400, bad, ""),
        (
            "a name that is too long",
            Call::put(format!("/runner-configs/{}?namespace=default", "p".repeat(129)))
                .json(&json!({ "datacenters": { "default": { "normal": {} } } })),
            400,
            invalid,
            "129 bytes; at most 128",
        ),
        ("asking for one", Call::get("/runner-configs/app?namespace=default"), 405, "", ""),
        (
            "deleting in a namespace that is not there",
            Call::delete("/runner-configs/a?namespace=nowhere"),
            400,
            "namespace.not_found",
            "",
        ),
    ]
}

fn asking() -> Vec<Row> {
    let bad = "api.bad_request";
    let list = |query: &str| Call::get(format!("/runner-configs?namespace=default&{query}"));
    let health = |body: Value| Call::post("/runner-configs/serverless-health-check?namespace=default").json(&body);
    let refresh = |pool: &str| Call::post(format!("/runner-configs/{pool}/refresh-metadata?namespace=default"));
    vec![
        ("no namespace for pools", Call::get("/runner-configs"), 400, bad, "\"namespace\" is missing"),
        ("a variant that nobody knows", list("variant=other"), 400, bad, "normal or serverless"),
        ("a cursor without a variant", list("cursor=app"), 400, bad, "normal:POOL"),
        ("a limit that is none", list("limit=x"), 400, bad, "limit is \"x\""),
        ("an unknown parameter", list("name=app"), 400, bad, "unknown query parameter \"name\""),
        ("no URL to check", health(json!({})), 400, bad, "missing field `url`"),
        ("more than a URL to check", health(json!({ "url": "http://a", "x": 1 })), 400, bad, "unknown field `x`"),
        ("headers to check that are no map", health(json!({ "url": "http://a", "headers": [] })), 400, bad, ""),
        ("a check with another method", Call::get("/runner-configs/serverless-health-check?namespace=default"), 405, "", ""),
        ("a refresh without a body", refresh("app"), 400, bad, "content-type"),
        ("a refresh with a field", refresh("app").json(&json!({ "x": 1 })), 400, bad, "unknown field `x`"),
        ("a refresh of nothing", refresh("app").json(&json!({})), 400, "serverless_runner_pool.not_found", "\"app\""),
        ("no namespace for envoys", Call::get("/envoys"), 400, bad, "\"namespace\" is missing"),
        ("envoys of nowhere", Call::get("/envoys?namespace=nowhere"), 400, "namespace.not_found", ""),
        ("a cursor of envoys that is none", Call::get("/envoys?namespace=default&cursor=x"), 400, bad, "cursor is \"x\""),
        ("no namespace for runners", Call::get("/runners"), 400, bad, "\"namespace\" is missing"),
        ("runners of nowhere", Call::get("/runners?namespace=nowhere"), 400, "namespace.not_found", ""),
        ("an empty id in a list", Call::get("/runners?namespace=default&runner_ids=,"), 400, bad, "is not a runner id"),
        ("a runner's id that is none", Call::get("/runners?namespace=default&runner_id=x"), 400, bad, "is not a runner id"),
        (
            "a runner's id in a list that is none",
            Call::get("/runners?namespace=default&runner_ids=x,y"),
            400,
            bad,
            "is not a runner id",
        ),
        ("neither yes nor no", Call::get("/runners?namespace=default&include_stopped=1"), 400, bad, "include_stopped is \"1\""),
        ("names of runners of nowhere", Call::get("/runners/names?namespace=nowhere"), 400, "namespace.not_found", ""),
        ("a change of the document", Call::put("/openapi.json"), 405, "", ""),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_about_pools_are_refused() {
    let engine = Engine::start().await;
    check(&engine, [configuring(), asking()].concat()).await;
    let left = engine.get("/runner-configs?namespace=default").await.expect_ok("the pools").json();
    assert_eq!(left["runner_configs"], json!({}), "nothing was made of what was refused");
}
