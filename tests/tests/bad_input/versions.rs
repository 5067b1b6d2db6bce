//! What can be wrong with what is said about versions: settings, canaries, pins.

use rivet_tests::{Call, Engine, guest};
use serde_json::{Value, json};

use crate::{Row, check};

const SETTINGS: &str = "deployment.settings_invalid";

/// Settings that are to be a new version.
fn configure(settings: Value) -> Call {
    Call::new("PATCH", "/deployments/victim?namespace=default").json(&settings)
}

fn deploy_with(header: &str) -> Call {
    Call::put("/deployments/victim?namespace=default").header("x-rivet-settings", header).body(guest::bytes("counter"))
}

fn settings() -> Vec<Row> {
    let secret = json!({ "secrets": { "S": "hush".repeat(20_000) } });
    vec![
        ("settings that are a list", configure(json!([])), 400, SETTINGS, "must be an object"),
        ("a field that is not known", configure(json!({ "confg": {} })), 400, SETTINGS, "know no \"confg\""),
        ("a number as configuration", configure(json!({ "config": { "A": 1 } })), 400, SETTINGS, "must be a text"),
        ("a name with a blank", configure(json!({ "config": { "A B": "1" } })), 400, SETTINGS, "letters, digits"),
        ("no name", configure(json!({ "secrets": { "": "1" } })), 400, SETTINGS, "has 0 bytes; 1 to 128"),
        ("more than 64 KiB", configure(secret), 400, SETTINGS, "at most 65536 are allowed"),
        (
            "one name, both",
            configure(json!({ "config": { "A": "" }, "secrets": { "A": "" } })),
            400,
            SETTINGS,
            "in config and in secrets",
        ),
        ("a host with a scheme", configure(json!({ "outbound": ["https://a"] })), 400, SETTINGS, "leave out http://"),
        ("a range that is none", configure(json!({ "outbound": ["10.0.0.0/33"] })), 400, SETTINGS, "is none of"),
        ("257 hosts", configure(json!({ "outbound": vec!["a"; 257] })), 400, SETTINGS, "at most 256"),
        ("a limit that is not known", configure(json!({ "limits": { "cpu": 1 } })), 400, SETTINGS, "known are cpu_ms"),
        ("a limit of 0", configure(json!({ "limits": { "memory_bytes": 0 } })), 400, SETTINGS, "nothing could run"),
        ("a limit below 0", configure(json!({ "limits": { "mailbox": -1 } })), 400, SETTINGS, "a whole number"),
        ("settings that are no JSON", deploy_with("{"), 400, "api.bad_request", "is not JSON on one line"),
        ("a header that is a text", deploy_with("\"x\""), 400, SETTINGS, "must be an object"),
        ("two headers", deploy_with("{}").header("x-rivet-settings", "{}"), 400, "api.bad_request", "more than once"),
        (
            "settings that are not said to be JSON",
            Call::new("PATCH", "/deployments/victim?namespace=default").body("{}"),
            400,
            "api.bad_request",
            "content-type",
        ),
        (
            "settings of nobody",
            Call::new("PATCH", "/deployments/nobody?namespace=default").json(&json!({})),
            400,
            "deployment.not_found",
            "\"nobody\"",
        ),
    ]
}

fn canaries() -> Vec<Row> {
    let deploy = |query: &str| Call::put(format!("/deployments/victim?namespace=default&{query}")).body(guest::bytes("hostile"));
    let share = |share: Value| Call::put("/deployments/victim/canary?namespace=default").json(&json!({ "share": share }));
    let post = |what: &str| Call::post(format!("/deployments/{what}?namespace=default")).json(&json!({}));
    vec![
        ("a share above all", deploy("canary=101%25"), 400, "api.bad_request", "0% to 100%"),
        ("a share below none", deploy("canary=-1"), 400, "api.bad_request", "0% to 100%"),
        ("a share that is a word", deploy("canary=some"), 400, "api.bad_request", "0% to 100%"),
        ("two shares", deploy("canary=1&canary=2"), 400, "api.bad_request", "given 2 times"),
        ("a canary in another pool", deploy("canary=5&pool=other"), 400, "deployment.canary_refused", "\"default\""),
        (
            "a canary beside nothing",
            Call::put("/deployments/new?namespace=default&canary=5%25").body(guest::bytes("counter")),
            400,
            "deployment.not_found",
            "\"new\"",
        ),
        ("a share of no canary", share(json!("5%")), 400, "deployment.no_canary", "canary=5%"),
        ("a share that is a number", share(json!(5)), 400, "api.bad_request", "string"),
        ("a share with a comma", share(json!("5,5%")), 400, "api.bad_request", "at most two decimals"),
        ("a promotion of no canary", post("victim/promote"), 400, "deployment.no_canary", "canary=5%"),
        ("a promotion of nobody", post("nobody/promote"), 400, "deployment.not_found", "\"nobody\""),
        ("a retry of nobody", post("nobody/retry"), 400, "deployment.not_found", "\"nobody\""),
        ("a deployment that is not there", Call::get("/deployments/nobody?namespace=default"), 400, "deployment.not_found", ""),
    ]
}

fn pins(actor: &str) -> Vec<Row> {
    let unknown = rivet_tests::address::unknown(actor);
    let pin = |actor: &str, body: &str| {
        Call::put(format!("/actors/{actor}/version?namespace=default")).header("content-type", "application/json").body(body)
    };
    let at = |actor: &str, namespace: &str| format!("/actors/{actor}/version?namespace={namespace}");
    vec![
        ("a pin to what is not there", pin(actor, r#"{"version":9}"#), 400, "deployment.version_not_found", "has no version 9"),
        ("a pin to a text", pin(actor, r#"{"version":"1"}"#), 400, "api.bad_request", "u32"),
        ("a pin to nothing", pin(actor, "{}"), 400, "api.bad_request", "missing field `version`"),
        ("a pin with more", pin(actor, r#"{"version":1,"for":"ever"}"#), 400, "api.bad_request", "unknown field `for`"),
        ("a pin of nobody", pin(&unknown, r#"{"version":1}"#), 400, "actor.not_found", ""),
        ("a pin of no id", pin("x", r#"{"version":1}"#), 400, "api.bad_request", "not an actor id"),
        ("nobody set free", Call::delete(at(&unknown, "default")), 400, "actor.not_found", ""),
        ("the version of nobody", Call::get(at(&unknown, "default")), 400, "actor.not_found", ""),
        ("a version in no namespace", Call::get(at(actor, "nowhere")), 400, "namespace.not_found", ""),
        ("a method that is not for it", Call::post(at(actor, "default")), 405, "", ""),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_about_versions_changes_nothing() {
    let engine = Engine::start().await;
    engine.deploy("counter", "victim").await;
    let (actor, _) = engine.get_or_create("victim", "a", None).await;
    let state = async || engine.get("/deployments/victim?namespace=default").await.expect_ok("the deployment").json();
    let before = state().await;
    check(&engine, [settings(), canaries(), pins(&actor)].concat()).await;
    assert_eq!(state().await, before);
}
