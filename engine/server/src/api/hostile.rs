//! What strangers may ask of the API: every route is asked with everything, answers with a code that is known, and goes on.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use http::Method;
use http_body_util::BodyExt;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use protocol::id::Id;
use protocol::key;
use serde_json::{Value, json};

use super::router;
use super::runner_configs::{CheckBody, PutBody};
use crate::api::extract::Query;
use crate::engine::parse_actor_id;
use crate::error::ApiError;
use crate::hostile::Inputs;
use crate::testing;

const ID: &str = "1cdh69pyy52k61k2adn7cypgxg5q10";

/// Method, address, and the body where there is one. Those that would look a host up, or store a component, are elsewhere.
const REQUESTS: &[&str] = &[
    "GET /namespaces?limit=1&cursor=0&name=default&namespace_ids=1cdh69pyy52k61k2adn7cypgxg5q10",
    "GET /namespaces?namespace_id=1cdh69pyy52k61k2adn7cypgxg5q10",
    "POST /namespaces\n{\"name\":\"other\",\"display_name\":\"Other\"}",
    "GET /actors?namespace=default&name=a&key=k&include_destroyed=true&limit=7&cursor=9",
    "GET /actors?namespace=default&actor_ids=1cdh69pyy52k61k2adn7cypgxg5q10,x&actor_id=1cdh69pyy52k61k2adn7cypgxg5q10",
    "POST /actors?namespace=default\n{\"datacenter\":\"default\",\"name\":\"a\",\"key\":\"k\",\"input\":\"aGk=\",\"runner_name_selector\":\"p\",\"crash_policy\":\"sleep\"}",
    "PUT /actors?namespace=default\n{\"name\":\"a\",\"key\":\"k\",\"input\":null,\"runner_name_selector\":\"p\",\"crash_policy\":\"destroy\"}",
    "GET /actors/names?namespace=default&limit=3&cursor=a",
    "DELETE /actors/1cdh69pyy52k61k2adn7cypgxg5q10?namespace=default",
    "POST /actors/1cdh69pyy52k61k2adn7cypgxg5q10/sleep?namespace=default\n{}",
    "POST /actors/1cdh69pyy52k61k2adn7cypgxg5q10/reschedule?namespace=default\n{}",
    "GET /actors/1cdh69pyy52k61k2adn7cypgxg5q10/kv/keys/Aw==?namespace=default",
    "GET /actors/1cdh69pyy52k61k2adn7cypgxg5q10/logs?namespace=default&limit=3",
    "GET /envoys?namespace=default&name=p&envoy_key=a&envoy_key=b&limit=1&cursor=5",
    "GET /runners?namespace=default&name=p&runner_ids=a,b&runner_id=c&include_stopped=true&limit=1&cursor=5",
    "GET /runners/names?namespace=default&limit=1&cursor=p",
    "GET /runner-configs?namespace=default&limit=1&cursor=p&variant=normal&runner_names=a,b&runner_name=c",
    "PUT /runner-configs/p?namespace=default\n{\"datacenters\":{\"default\":{\"normal\":{\"actor_eviction_rate\":0.5},\"metadata\":{\"a\":[1]}}}}",
    "DELETE /runner-configs/q?namespace=default",
    "GET /deployments?namespace=default",
    "GET /deployments/a?namespace=default",
    "PATCH /deployments/a?namespace=default&canary=5%\n{\"config\":{\"A\":\"1\"},\"secrets\":{\"S\":null},\"outbound\":[\"*.a:1\"],\"limits\":{\"cpu_ms\":5}}",
    "POST /deployments/a/activate?namespace=default\n{\"version\":1}",
    "POST /deployments/a/promote?namespace=default\n{}",
    "POST /deployments/a/retry?namespace=default\n{}",
    "GET /actors/1cdh69pyy52k61k2adn7cypgxg5q10/version?namespace=default",
    "PUT /actors/1cdh69pyy52k61k2adn7cypgxg5q10/version?namespace=default\n{\"version\":1}",
    "DELETE /actors/1cdh69pyy52k61k2adn7cypgxg5q10/version?namespace=default",
    "GET /datacenters?anything=1",
    "GET /metadata?namespace=default",
    "GET /health",
];

const WORDS: &[&str] = &[
    "?",
    "&",
    "=",
    "/",
    "%",
    "%00",
    "%ff",
    "%2F",
    "+",
    ",",
    "{",
    "}",
    "[",
    "]",
    "\"",
    ":",
    "\\u0000",
    "null",
    "true",
    "-1",
    "1e99",
    "\n",
    "18446744073709551616",
    "namespace=",
    "limit=",
    "limit=0",
    "cursor=",
    "actor_id=",
    "key=",
    "name",
    "default",
    "ä",
    "%c3%a4",
    "POST ",
    "DELETE ",
    "serverless",
    "1cdh69pyy52k61k2adn7cypgxg5q10",
];

/// None if it is no request.
fn request(text: &str) -> Option<Request> {
    let (line, body) = text.split_once('\n').unwrap_or((text, ""));
    let (method, uri) = line.split_once(' ')?;
    // Nobody is to be called from here, and a component's bytes go to the disk.
    if body.contains("http") || uri.contains("health-check") || method == "PUT" && uri.starts_with("/deployments") {
        return None;
    }
    let request = Request::builder().method(method.parse::<Method>().ok()?).uri(uri).header("content-type", "application/json");
    request.body(Body::from(body.to_string())).ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests() {
    let engine = testing::start();
    let api = TowerToHyperService::new(router(engine.engine.clone()));
    let mut inputs = Inputs::new("the API", 10, REQUESTS, WORDS);
    let ask = async |request: Request| {
        let method = request.method().clone();
        let asked = async {
            let Ok(response) = api.call(request).await;
            let (parts, body) = response.into_parts();
            (parts.status.as_u16(), body.collect().await.expect("a whole body").to_bytes())
        };
        let (status, body) = tokio::time::timeout(Duration::from_secs(20), asked).await.expect("an answer comes");
        // An unknown method is told nothing, and HEAD nothing either.
        if status >= 400 && !body.is_empty() {
            let error: Value = serde_json::from_slice(&body).expect("an error is JSON");
            let text = |field: &str| error[field].as_str().unwrap_or_default().to_string();
            assert!(is_known(&text("group"), &text("code"), status) && !text("message").is_empty(), "{status} {error}");
        } else {
            assert!(status < 400 || status == 405 || method == Method::HEAD, "{status} without a word");
        }
        status
    };
    let named = request("POST /namespaces\n{\"name\":\"default\",\"display_name\":\"Default\"}").expect("a request");
    assert_eq!(ask(named).await, 200);
    while let Some(text) = inputs.next_text() {
        let understood = match request(&text) {
            Some(request) => ask(request).await < 400,
            None => false,
        };
        inputs.count(understood);
    }
    inputs.end();
    assert_eq!(ask(request("GET /actors?namespace=default&name=a").expect("a request")).await, 200);
}

fn is_known(group: &str, code: &str, status: u16) -> bool {
    // The names of errors live as long as the program.
    let leak = |text: &str| -> &'static str { text.to_string().leak() };
    let error = ApiError::new(leak(group), leak(code), "");
    error.is_known() && error.status(crate::error::Face::Api).as_u16() == status && status != 500
}

#[test]
fn queries() {
    let valid = ["namespace=default&limit=1&cursor=5&a=x+y%2B&a=1", "a=true", "limit=18446744073709551615&namespace=%c3%a4"];
    Inputs::new("queries of the API", 1, &valid, WORDS).each_text(|_, text| {
        let Ok(uri) = format!("/x?{text}").parse() else { return false };
        let known = ["namespace", "limit", "cursor", "a"];
        let said = match Query::read(&uri, &known) {
            Ok(said) => said,
            Err(error) => {
                assert_eq!(error.code, "bad_request");
                return false;
            }
        };
        let errors = [
            said.one("a").err(),
            said.required("namespace").err(),
            said.flag("a").err(),
            said.limit(7).err(),
            said.cursor_ms().err(),
        ];
        assert!(errors.into_iter().flatten().all(|error| error.code == "bad_request"));
        known.into_iter().flat_map(|name| said.all(name)).count() > 0
    });
}

#[test]
fn bodies_about_pools() {
    let valid = [
        r#"{"datacenters":{"default":{"serverless":{"url":"http://a","headers":{"a":"b"},"request_lifespan":3600,"slots_per_runner":1,
            "metadata_poll_interval":5000,"max_concurrent_actors":10,"drain_grace_period":60,"actor_eviction_rate":1.5}}}}"#,
        r#"{"datacenters":{"default":{"normal":{},"drain_on_version_upgrade":true,"metadata":{"provider":"local"}}}}"#,
        r#"{"url":"http://a","headers":{"x-a":"b"}}"#,
    ];
    Inputs::new("bodies about pools", 1, &valid, WORDS).each(|_, bytes| {
        let put = serde_json::from_slice::<PutBody>(bytes);
        let check = serde_json::from_slice::<CheckBody>(bytes);
        put.is_ok() || check.is_ok()
    });
}

#[test]
fn settings() {
    let valid = [
        r#"{"config":{"A":"1","B":null},"secrets":{"S":"x"},"outbound":["a.b","*.c:1","10.0.0.0/8","[::1]:80"],"limits":{"cpu_ms":5}}"#,
        r#"{"limits":{"memory_bytes":1,"message_bytes":null,"mailbox":7,"sockets":4294967295},"outbound":["::/0"]}"#,
    ];
    Inputs::new("settings", 1, &valid, WORDS).each(|_, bytes| {
        let Ok(value) = serde_json::from_slice(bytes) else { return false };
        match super::settings::read(&value) {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error.code, "settings_invalid");
                false
            }
        }
    });
}

#[test]
fn ids_and_keys() {
    let newest = Id::new([255; 16], u16::MAX).to_string();
    let valid = [ID, &newest, "a/b", "a\\/b/\\0", "\\\\0/c\\\\d", "/"];
    let words = ["/", "\\", "\\0", "0", "z", "A", "ä", "//"];
    Inputs::new("ids and keys", 1, &valid, &words).each_text(|_, text| {
        let parts = key::split(text);
        assert_eq!(key::split(&key::join(&parts)), parts);
        match parse_actor_id(text) {
            Ok(id) => assert_eq!(id.to_string(), text),
            Err(error) => assert_eq!((error.code, json!(error.message).is_string()), ("bad_request", true)),
        }
        true
    });
}
