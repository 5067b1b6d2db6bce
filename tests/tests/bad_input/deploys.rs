//! What can be wrong with a deploy: the component, its name, and where it should go.

use rivet_tests::address::by_key;
use rivet_tests::{Call, Engine, guest};
use serde_json::json;

use crate::{Row, check};

const MIB: usize = 1024 * 1024;
const TARGET: &str = "/deployments/victim?namespace=default";

fn deploy(component: impl Into<Vec<u8>>) -> Call {
    Call::put(TARGET).body(component)
}

fn activate(body: &str) -> Call {
    Call::post("/deployments/victim/activate?namespace=default").header("content-type", "application/json").body(body)
}

fn rows() -> Vec<Row> {
    let counter = guest::bytes("counter");
    let half = counter[..counter.len() / 2].to_vec();
    let mut flipped = counter.clone();
    for byte in flipped.iter_mut().skip(counter.len() / 3).take(64) {
        *byte ^= 0x55;
    }
    let noise: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(10_000).collect();
    let longer = [&counter[..], b"and more"].concat();
    let core_module = b"\0asm\x01\0\0\0";
    let newer_format = b"\0asm\xff\0\x01\0";
    let long_name = format!("/deployments/{}?namespace=default", "n".repeat(257));
    vec![
        ("no bytes at all", deploy(""), 400, "component.malformed", ""),
        ("bytes of chance", deploy(noise), 400, "component.malformed", ""),
        ("a text", deploy("(component)"), 400, "component.malformed", ""),
        ("a page", deploy("<!doctype html><title>404</title>"), 400, "component.malformed", ""),
        ("only the first bytes of a component", deploy(&counter[..6]), 400, "component.malformed", ""),
        ("half a component", deploy(half), 400, "component.malformed", ""),
        ("a component with wrong bytes inside", deploy(flipped), 400, "component.malformed", ""),
        ("a component with bytes behind it", deploy(longer), 400, "component.malformed", ""),
        ("a core module", deploy(core_module), 400, "component.malformed", "core module"),
        ("a component of another format's version", deploy(newer_format), 400, "component.malformed", ""),
        ("a component that exports nothing", deploy(b"\0asm\x0d\0\x01\0"), 400, "component.no_handler", "rivet:actor/http-handler"),
        (
            "a component without any handler",
            deploy(guest::bytes("no-handler")),
            400,
            "component.no_handler",
            "rivet:actor/http-handler",
        ),
        ("a handler with another signature", deploy(guest::bytes("wrong-signature")), 400, "component.no_handler", "http-handler"),
        (
            "an import that nobody offers",
            deploy(guest::bytes("unknown-import")),
            400,
            "component.unknown_import",
            "acme:thing/missing",
        ),
        ("129 MiB, announced", Call::put(TARGET).announced(129 * MIB as u64), 413, "component.too_large", "134217728 bytes"),
        ("129 MiB, without saying so", Call::put(TARGET).chunked(129 * MIB), 413, "component.too_large", "134217728 bytes"),
        (
            "no namespace",
            Call::put("/deployments/victim").body(counter.clone()),
            400,
            "api.bad_request",
            "\"namespace\" is missing",
        ),
        (
            "a namespace that is not there",
            Call::put("/deployments/victim?namespace=nowhere").body(counter.clone()),
            400,
            "namespace.not_found",
            "POST /namespaces",
        ),
        (
            "an unknown parameter",
            Call::put("/deployments/victim?namespace=default&pol=x").body(counter.clone()),
            400,
            "api.bad_request",
            "\"pol\"; known here: namespace, pool, canary",
        ),
        (
            "two pools",
            Call::put("/deployments/victim?namespace=default&pool=a&pool=b").body(counter.clone()),
            400,
            "api.bad_request",
            "given 2 times",
        ),
        ("a name of 257 bytes", Call::put(long_name).body(counter.clone()), 400, "actor.name_too_large", "257 bytes; at most 256"),
        (
            "a name that is not text",
            Call::put("/deployments/%ff?namespace=default").body(counter.clone()),
            400,
            "api.bad_request",
            "UTF-8",
        ),
        ("no name", Call::put("/deployments/?namespace=default").body(counter), 404, "api.not_found", ""),
        ("a method that is not for it", Call::post(TARGET), 405, "", ""),
        (
            "a roll-back to a version that is not there",
            activate(r#"{"version":9}"#),
            400,
            "deployment.version_not_found",
            "has no version 9",
        ),
        ("a roll-back to version 0", activate(r#"{"version":0}"#), 400, "deployment.version_not_found", "has no version 0"),
        ("a roll-back to a text", activate(r#"{"version":"1"}"#), 400, "api.bad_request", "u32"),
        ("a roll-back to less than 0", activate(r#"{"version":-1}"#), 400, "api.bad_request", "u32"),
        ("a roll-back to nothing", activate("{}"), 400, "api.bad_request", "missing field `version`"),
        ("a roll-back with something more", activate(r#"{"version":1,"now":true}"#), 400, "api.bad_request", "unknown field `now`"),
        (
            "a roll-back of what is not there",
            Call::post("/deployments/nobody/activate?namespace=default").json(&json!({ "version": 1 })),
            400,
            "deployment.not_found",
            "\"nobody\"",
        ),
        (
            "a roll-back that is not said to be JSON",
            Call::post("/deployments/victim/activate?namespace=default").body(r#"{"version":1}"#),
            400,
            "api.bad_request",
            "content-type",
        ),
        ("deployments of no namespace", Call::get("/deployments"), 400, "api.bad_request", "\"namespace\" is missing"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_deploys_are_refused_and_change_nothing() {
    let mut engine = Engine::start().await;
    engine.deploy("counter", "victim").await;
    let listed = async |engine: &Engine| {
        let listed = engine.get("/deployments?namespace=default").await.expect_ok("deployments").json();
        let victim = listed["deployments"].as_array().into_iter().flatten().find(|deployment| deployment["name"] == "victim");
        victim.cloned().unwrap_or_else(|| panic!("victim expected, seen {listed}"))
    };
    let before = listed(&engine).await;
    check(&engine, rows()).await;
    assert_eq!(listed(&engine).await, before, "no version came, went or was made live");
    assert_eq!(engine.increment("victim", "a").await, 1, "the version before is still live");
    assert_eq!(components(&engine), 1, "one component is deployed, under two names; those that were refused are not kept");
    engine.kill9();
    engine.restart().await;
    assert_eq!(listed(&engine).await, before, "nor after a restart");
    assert_eq!(engine.get(by_key("victim", "a", "/")).await.number("the count"), 1);
}

/// Files of components that the engine keeps, whole or in part.
fn components(engine: &Engine) -> usize {
    let mut folders = vec![engine.data_dir()];
    let mut found = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of the data") {
            let path = entry.expect("an entry of it").path();
            match path.extension().and_then(|extension| extension.to_str()) {
                _ if path.is_dir() => folders.push(path),
                Some("wasm" | "part") => found += 1,
                _ => {}
            }
        }
    }
    found
}
