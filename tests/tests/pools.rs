//! Pools through the API: their configurations, what URLs say about themselves, and where actors run.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rivet_tests::{Call, Engine, until};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// An app that answers every request with this status, these lines of head, and this body, one request a connection.
struct App {
    url: String,
    asked: Arc<AtomicUsize>,
}

impl App {
    async fn start(status: &'static str, head: impl Into<String>, body: impl Into<String>) -> App {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it listens"));
        let (head, body, asked) = (head.into(), body.into(), Arc::new(AtomicUsize::new(0)));
        let counted = asked.clone();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                let mut seen = Vec::new();
                while !seen.windows(4).any(|four| four == b"\r\n\r\n")
                    && stream.read_buf(&mut seen).await.is_ok_and(|read| read > 0)
                {}
                counted.fetch_add(1, Ordering::Relaxed);
                let length = body.len();
                let answer = format!("HTTP/1.1 {status}\r\n{head}content-length: {length}\r\nconnection: close\r\n\r\n{body}");
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        App { url, asked }
    }
}

const GOOD: &str =
    r#"{"runtime":"rivetkit","version":"2.3.19","envoyProtocolVersion":8,"actorNames":{"chat":{"metadata":{"icon":"x"}}}}"#;

fn put(pool: &str, config: Value) -> Call {
    Call::put(format!("/runner-configs/{pool}?namespace=default")).json(&json!({ "datacenters": { "default": config } }))
}

fn serverless(url: &str) -> Value {
    json!({ "serverless": { "url": url, "request_lifespan": 3600 } })
}

async fn configs(engine: &Engine, query: &str) -> Value {
    engine.get(format!("/runner-configs?namespace=default{query}")).await.expect_ok("the pools").json()["runner_configs"].clone()
}

fn names(configs: &Value) -> Vec<&str> {
    configs.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn pools_are_configured_whole() {
    let mut engine = Engine::start().await;
    let changed = async |call: Call| {
        let answer = engine.send(call).await.expect_ok("a pool's configuration").json();
        answer["endpoint_config_changed"].as_bool().unwrap_or_else(|| panic!("{answer}"))
    };
    assert_eq!(configs(&engine, "").await, json!({}));
    // As RivetKit sends it.
    let rivetkit = json!({ "normal": {}, "drain_on_version_upgrade": true, "metadata": { "provider": "local" } });
    assert!(changed(put("default", rivetkit)).await);
    let normal = json!({
        "drain_on_version_upgrade": true, "actor_eviction_delay": 0, "actor_eviction_period": 0, "actor_eviction_rate": 1.0,
    });
    assert_eq!(
        configs(&engine, "").await,
        json!({ "default": { "datacenters": { "default": {
            "normal": normal, "metadata": { "provider": "local" }, "protocol_version": null,
        } } } })
    );
    // What is outside wins over what is inside; what nobody knows inside is ignored.
    let both = json!({ "normal": { "drain_on_version_upgrade": true, "x": 1 }, "drain_on_version_upgrade": false });
    assert!(changed(put("default", both)).await);
    let seen = configs(&engine, "").await;
    assert_eq!(seen["default"]["datacenters"]["default"]["normal"]["drain_on_version_upgrade"], false, "{seen}");
    assert!(seen["default"]["datacenters"]["default"].get("metadata").is_none(), "what is not named is gone: {seen}");

    assert!(changed(put("app", serverless("http://127.0.0.1:1/a"))).await);
    assert!(!changed(put("app", serverless("http://127.0.0.1:1/a"))).await, "the same URL and headers");
    assert!(changed(put("app", serverless("http://127.0.0.1:1/b"))).await);
    let kit = json!({ "serverless": {
        "url": "http://127.0.0.1:1", "headers": { "x-rivet-token": "t" }, "request_lifespan": 900, "drain_grace_period": 10,
        "max_runners": 100000, "metadata_poll_interval": 1000, "actor_eviction_rate": 0.5,
    }});
    assert!(changed(put("app", kit)).await);
    // Null is what is not there.
    let nulls = json!({ "normal": { "actor_eviction_delay": null, "actor_eviction_period": null }, "metadata": null });
    assert!(changed(put("nulls", nulls)).await);
    assert!(!changed(Call::put("/runner-configs/nulls?namespace=default").json(&json!({ "datacenters": {} }))).await);
    let seen = configs(&engine, "&runner_name=app").await;
    assert_eq!(
        seen["app"]["datacenters"]["default"]["serverless"],
        json!({
            "url": "http://127.0.0.1:1", "headers": { "x-rivet-token": "t" }, "request_lifespan": 900, "max_concurrent_actors": 100000,
            "drain_grace_period": 10, "slots_per_runner": 1, "min_runners": 0, "max_runners": 100000, "runners_margin": 0,
            "metadata_poll_interval": 1000, "drain_on_version_upgrade": true, "actor_eviction_delay": 0, "actor_eviction_period": 0,
            "actor_eviction_rate": 0.5,
        })
    );
    let rows = [
        ("&variant=normal", vec!["default"]),
        ("&variant=serverless", vec!["app"]),
        ("&runner_names=app,nobody", vec!["app"]),
        ("&runner_names=,", vec![]),
        ("&runner_names=&variant=&limit=&cursor=", vec!["app", "default"]),
        ("&runner_name=app&runner_name=default", vec!["app", "default"]),
        ("&limit=1", vec!["default"]),
        ("&limit=1&cursor=normal:default", vec!["app"]),
        ("&cursor=serverless:app", vec![]),
    ];
    for (query, expected) in rows {
        assert_eq!(names(&configs(&engine, query).await), expected, "{query}");
    }
    engine.stop().await;
    engine.restart().await;
    assert_eq!(names(&configs(&engine, "").await), ["app", "default"], "they outlive the engine");

    engine
        .send(Call::put("/runner-configs/app?namespace=default").json(&json!({ "datacenters": {} })))
        .await
        .expect_ok("nothing left");
    assert_eq!(names(&configs(&engine, "").await), ["default"]);
    for _ in 0..2 {
        let gone = engine.send(Call::delete("/runner-configs/default?namespace=default")).await.expect_ok("deleting").json();
        assert_eq!(gone, json!({}));
    }
    assert_eq!(configs(&engine, "").await, json!({}));
}

#[tokio::test(flavor = "multi_thread")]
async fn urls_are_checked_before_they_are_configured() {
    let engine = Engine::start().await;
    let long = "x".repeat(2_000);
    let good = App::start("200 OK", "", GOOD).await;
    let moved = App::start("307 Moved", format!("location: {}/metadata\r\n", good.url), "").await;
    let away = App::start("302 Moved", "location: http://10.0.0.1/\r\n", "").await;
    let circle = App::start("302 Moved", "location: /metadata\r\n", "").await;
    let broken = App::start("503 Broken", "", long.clone()).await;
    let page = App::start("200 OK", "", "<html>").await;
    let other = App::start("200 OK", "", r#"{"runtime":"engine","version":"1"}"#).await;
    let newer = App::start("200 OK", "", r#"{"runtime":"rivetkit","version":"1","envoyProtocolVersion":99}"#).await;
    let rows = [
        (good.url.clone(), json!(null)),
        (format!("{}/", good.url), json!(null)),
        (moved.url, json!(null)),
        (away.url, json!({ "kind": "destination_blocked" })),
        (circle.url, json!({ "kind": "request_failed" })),
        (broken.url, json!({ "kind": "non_success_status", "status_code": 503 })),
        (page.url, json!({ "kind": "invalid_response_json", "body": "<html>" })),
        (other.url, json!({ "kind": "invalid_response_schema", "runtime": "engine", "version": "1" })),
        (
            newer.url,
            json!({ "kind": "invalid_envoy_protocol_version", "envoy_protocol_version": 99, "max_supported_envoy_protocol_version": 8 }),
        ),
        ("http://127.0.0.1:1".to_string(), json!({ "kind": "request_failed" })),
        ("nonsense".to_string(), json!({ "kind": "invalid_request" })),
        ("http://169.254.169.254/".to_string(), json!({ "kind": "destination_blocked" })),
        ("http://user:word@127.0.0.1/".to_string(), json!({ "kind": "destination_blocked" })),
        ("file:///etc/passwd".to_string(), json!({ "kind": "destination_blocked" })),
    ];
    for (url, expected) in rows {
        // The namespace need not exist.
        let call = Call::post("/runner-configs/serverless-health-check?namespace=nowhere").json(&json!({ "url": url }));
        let answer = engine.send(call).await.expect_ok(&url).json();
        if expected.is_null() {
            assert_eq!(answer, json!({ "success": { "version": "2.3.19" } }), "{url}");
            continue;
        }
        let seen = &answer["failure"]["error"]["metadata"];
        for (name, value) in expected.as_object().expect("an object") {
            assert_eq!(&seen[name], value, "{url}: {answer}");
        }
        assert!(answer["failure"]["error"]["message"].is_string(), "{url}: {answer}");
        let body = seen["body"].as_str().unwrap_or_default();
        assert!(body.chars().count() < 1_100 && (body.len() < 1_024 || body.ends_with("...[truncated]")), "{url}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_is_asked_when_it_is_configured_and_when_somebody_wants_it() {
    let engine = Engine::start().await;
    let app = App::start("200 OK", "", GOOD).await;
    engine.send(put("app", serverless(&app.url))).await.expect_ok("a pool");
    until("the URL is asked", async || (app.asked.load(Ordering::Relaxed) > 0).then_some(()).ok_or("not yet".to_string())).await;
    let refresh = |pool: &str| Call::post(format!("/runner-configs/{pool}/refresh-metadata?namespace=default")).json(&json!({}));
    let asked = app.asked.load(Ordering::Relaxed);
    assert_eq!(engine.send(refresh("app")).await.expect_ok("a refresh").json(), json!({}));
    assert_eq!(app.asked.load(Ordering::Relaxed), asked + 1);
    until("what it has is known", async || {
        let names = engine.get("/actors/names?namespace=default").await.expect_ok("names").json();
        let config = configs(&engine, "&runner_name=app").await["app"]["datacenters"]["default"].clone();
        let known = names["names"] == json!({ "chat": { "metadata": { "icon": "x" } } }) && config["protocol_version"] == 8;
        known.then_some(()).ok_or(format!("{names} {config}"))
    })
    .await;

    engine.send(put("normal", json!({ "normal": {} }))).await.expect_ok("a pool");
    let broken = App::start("500 Broken", "", "sorry").await;
    engine.send(put("broken", serverless(&broken.url))).await.expect_ok("a pool");
    let failed = engine.send(refresh("broken")).await;
    assert_eq!((failed.status, failed.code().as_str()), (400, "serverless_runner_pool.failed_to_fetch_metadata"), "{failed}");
    assert_eq!(failed.json()["metadata"]["reason"]["metadata"]["status_code"], 500, "{failed}");
    for pool in ["normal", "nobody"] {
        let answer = engine.send(refresh(pool)).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "serverless_runner_pool.not_found"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_runner_for_components_is_listed_like_any_other() {
    let engine = Engine::start().await;
    let keys = async |query: &str| {
        let listed = engine.get(format!("/envoys?namespace=default{query}")).await.expect_ok("envoys").json();
        let envoys = listed["envoys"].as_array().expect("a list").clone();
        let keys: Vec<String> = envoys.iter().map(|envoy| format!("{} {}", envoy["envoy_key"], envoy["pool_name"])).collect();
        keys.join(", ").replace('"', "")
    };
    let rows = [
        ("", "wasm default"),
        ("&name=default", "wasm default"),
        ("&name=other", ""),
        ("&envoy_key=wasm", "wasm default"),
        ("&envoy_key=another&envoy_key=wasm", "wasm default"),
        ("&envoy_key=another", ""),
        ("&limit=0", ""),
        ("&cursor=0", ""),
    ];
    for (query, expected) in rows {
        assert_eq!(keys(query).await, expected, "{query}");
    }
    let deploy = Call::put("/deployments/counter?namespace=default&pool=other").body(rivet_tests::guest::bytes("counter"));
    engine.send(deploy).await.expect_ok("a deploy");
    assert_eq!(keys("&name=other").await, "wasm other");
    engine.increment("counter", "a").await;
    let listed = engine.get("/envoys?namespace=default").await.expect_ok("envoys").json();
    assert_eq!(listed["envoys"][0]["slots"], 1, "{listed}");
    assert_eq!(engine.get("/runners?namespace=default").await.expect_ok("runners").json()["runners"], json!([]));
    assert_eq!(engine.get("/runners/names?namespace=default").await.expect_ok("names").json()["names"], json!([]));
}
