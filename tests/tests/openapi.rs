//! The document that describes the API says what the engine does: its routes, their parameters, who may call them, and what they
//! answer. Everything here is read from the document of the running engine and compared with how that engine behaves.

use std::fs;

use protocol::id::Id;
use rivet_tests::address::by_key;
use rivet_tests::engine::run_with;
use rivet_tests::{Call, Engine};
use serde_json::{Value, json};

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// One operation as the document has it.
struct Operation {
    method: &'static str,
    path: String,
    description: Value,
}

impl Operation {
    /// With some value for each part of the path.
    fn target(&self) -> String {
        let actor = Id::new([1; 16], 1).to_string();
        self.path
            .replace("{actor_id}", &actor)
            .replace("{key}", "eA==")
            .replace("{pool}", "pool")
            .replace("{name}", "name")
            .replace("{namespace}", "nowhere")
            .replace("{token_id}", "none")
    }

    fn call(&self, query: &str) -> Call {
        let method = METHODS.iter().position(|method| *method == self.method).expect("one of them");
        let call = Call::new(["GET", "POST", "PUT", "PATCH", "DELETE"][method], format!("{}{query}", self.target()));
        let body = match self.path.as_str() {
            "/namespaces" => json!({ "name": "x", "display_name": "X" }),
            "/actors" => json!({ "name": "x", "key": "k", "runner_name_selector": "default", "crash_policy": "sleep" }),
            "/runner-configs/{pool}" => json!({ "datacenters": {} }),
            "/runner-configs/serverless-health-check" => json!({ "url": "http://127.0.0.1:1" }),
            "/deployments/{name}/activate" | "/actors/{actor_id}/version" => json!({ "version": 1 }),
            "/tokens" => json!({ "role": "client" }),
            "/deployments/{name}/canary" => json!({ "share": "5%" }),
            _ => json!({}),
        };
        if self.description["requestBody"].is_null() { call } else { call.json(&body) }
    }

    fn parameters(&self, place: &str) -> Vec<&str> {
        let all = self.description["parameters"].as_array().into_iter().flatten();
        let mut names: Vec<&str> = all.filter(|one| one["in"] == place).filter_map(|one| one["name"].as_str()).collect();
        names.sort_unstable();
        names
    }

    fn is_open(&self) -> bool {
        self.description["security"].as_array().is_none_or(Vec::is_empty)
    }
}

async fn document(engine: &Engine) -> Value {
    engine.get("/openapi.json").await.expect_ok("the document").json()
}

fn operations(document: &Value) -> Vec<Operation> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for method in METHODS {
            if let Some(description) = item.get(method) {
                found.push(Operation { method, path: path.clone(), description: description.clone() });
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn it_lists_what_is_served() {
    let engine = Engine::start().await;
    let document = document(&engine).await;
    assert_eq!(document["openapi"].as_str().map(|version| &version[..3]), Some("3.1"), "{document}");
    let operations = operations(&document);
    assert_eq!(operations.len(), 52, "operations; a route more or less is a line here, and a row in docs/API.md");
    for operation in &operations {
        let what = format!("{} {}", operation.method, operation.path);
        // What the router has, it tells with its refusal of a method that nobody has.
        let refused = engine.send(Call::new("BREW", operation.target())).await;
        assert_eq!(refused.status, 405, "{what}: {refused}");
        let mut allowed: Vec<String> = refused.header("allow").split(',').map(str::to_ascii_lowercase).collect();
        allowed.retain(|method| method != "head");
        allowed.sort_unstable();
        let mut described: Vec<&str> =
            operations.iter().filter(|other| other.path == operation.path).map(|other| other.method).collect();
        described.sort_unstable();
        assert_eq!(allowed, described, "{what}");
        let mut in_path: Vec<&str> = operation.path.split(['{', '}']).skip(1).step_by(2).collect();
        in_path.sort_unstable();
        assert_eq!(operation.parameters("path"), in_path, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_lists_the_parameters_that_are_known() {
    let engine = Engine::start().await;
    for operation in operations(&document(&engine).await) {
        let what = format!("{} {}", operation.method, operation.path);
        let answer = engine.send(operation.call("?no_such_parameter=1")).await;
        let loose = [
            "get /health",
            "get /ready",
            "get /health/fanout",
            "get /metadata",
            "get /datacenters",
            "get /openapi.json",
            "post /namespaces",
            "get /tracing/config",
            "put /tracing/config",
        ];
        if loose.contains(&what.as_str()) {
            assert_eq!(answer.status, 200, "{what}: its query is not looked at: {answer}");
            continue;
        }
        assert_eq!((answer.status, answer.code().as_str()), (400, "api.bad_request"), "{what}: {answer}");
        let message = answer.message();
        let known = message.split_once("known here: ").map(|(_, known)| known).unwrap_or_else(|| panic!("{what}: {message}"));
        let mut known: Vec<&str> = known.split(", ").filter(|name| *name != "none").collect();
        known.sort_unstable();
        assert_eq!(operation.parameters("query"), known, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_who_may() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("engine.yaml");
    fs::write(&file, "auth: {admin_token: \"00123\"}\nguard: {host: 127.0.0.1}").expect("a file");
    let engine = Engine::start_with(&["--config", file.to_str().expect("a path that is text")]).await;
    let document = document(&engine).await;
    let mut open = Vec::new();
    for operation in operations(&document) {
        let what = format!("{} {}", operation.method, operation.path);
        if operation.is_open() {
            assert_eq!(engine.send(operation.call("")).await.status, 200, "{what}");
            open.push(operation.path.clone());
            continue;
        }
        let namespace = if operation.parameters("query").contains(&"namespace") { "?namespace=nowhere" } else { "" };
        let with = |value: &str| operation.call(namespace).header("authorization", value).header("origin", "http://a.example");
        let rows = [
            (operation.call(namespace), 403, "Token not provided"),
            (with("Bearer 123"), 403, "Invalid token"),
            (with("bearer 00123"), 403, "Token not provided"),
            (with("Basic 00123"), 403, "Token not provided"),
            (operation.call(namespace).header("x-rivet-token", "00123"), 403, "Token not provided"),
        ];
        for (call, status, reason) in rows {
            let answer = engine.send(call).await;
            assert_eq!((answer.status, answer.code().as_str()), (status, "api.forbidden"), "{what}: {answer}");
            assert_eq!(answer.json()["metadata"]["reason"], reason, "{what}");
        }
        let refused = engine.send(with("Bearer 123")).await;
        assert_eq!(refused.header("access-control-allow-origin"), "http://a.example", "{what}: a page may read why");
        let answer = engine.send(with("Bearer 00123")).await;
        assert_ne!(answer.status, 403, "{what}: {answer}");
        // What makes no sense is told to everybody.
        if !namespace.is_empty() {
            let answer = engine.send(operation.call("?no_such_parameter=1")).await;
            assert_eq!(answer.code(), "api.bad_request", "{what}: {answer}");
        }
        let preflight = engine.send(Call::new("OPTIONS", operation.target())).await;
        assert_eq!(preflight.status, 200, "{what}: {preflight}");
    }
    // Runners bring it in other places.
    let socket = |headers: &[(&'static str, &str)]| {
        headers.iter().fold(Call::get("/envoys/connect"), |call, (name, value)| call.header(name, *value))
    };
    type Row<'a> = (&'a [(&'static str, &'a str)], u16, &'a str);
    let rows: [Row; 4] = [
        (&[], 400, "guard.missing_header"),
        (&[("authorization", "Bearer 00123")], 400, "guard.missing_header"),
        (&[("x-rivet-token", "123")], 403, "api.forbidden"),
        (&[("x-rivet-token", "00123")], 200, ""),
    ];
    for (headers, status, code) in rows {
        let answer = engine.send(socket(headers)).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{headers:?}: {answer}");
        assert_eq!(answer.header("x-rivet-error"), code, "{headers:?}");
    }
    // The commands bring it, as a variable or in the address.
    let refused = engine.cli(&["deployments"]).await;
    assert!(refused.code == Some(1) && refused.err.contains("api.forbidden"), "{}{}", refused.out, refused.err);
    let url = engine.url();
    let in_address = url.replace("http://", "http://default:00123@");
    let rows: [&[(&str, &str)]; 3] = [
        &[("RIVET_ENDPOINT", url), ("RIVET_TOKEN", "00123")],
        &[("RIVET_ENDPOINT", &in_address)],
        &[("RIVET_ENGINE", &in_address)],
    ];
    for variables in rows {
        let done = run_with(&["deployments"], variables).await;
        assert_eq!(done.code, Some(0), "{variables:?}: {}{}", done.out, done.err);
    }
    assert_eq!(open, ["/health", "/metadata", "/openapi.json", "/ready"]);
    assert_eq!(engine.get("/nowhere").await.status, 404);
}

/// What is wrong with a value, by its schema; a field that the schema does not know is wrong too.
fn differences(document: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    if let Some(name) = schema["$ref"].as_str() {
        let found = document.pointer(name.trim_start_matches('#')).unwrap_or_else(|| panic!("{name} is not in the document"));
        return differences(document, found, value, at);
    }
    for word in ["oneOf", "anyOf"] {
        if let Some(options) = schema[word].as_array() {
            let fits = options.iter().any(|option| differences(document, option, value, at).is_empty());
            return if fits { Vec::new() } else { vec![format!("{at}: none of {word} fits {value}")] };
        }
    }
    if let Some(parts) = schema["allOf"].as_array() {
        let merged = merged(document, parts);
        return differences(document, &merged, value, at);
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let is = |name: &Value| name == kind || (name == "number" && kind == "integer");
    match &schema["type"] {
        Value::Null => {}
        Value::Array(kinds) if kinds.iter().any(is) => {}
        name if is(name) => {}
        name => return vec![format!("{at}: {name} expected, seen {value}")],
    }
    if let Some(values) = schema["enum"].as_array().filter(|values| !values.contains(value)) {
        return vec![format!("{at}: one of {values:?} expected, seen {value}")];
    }
    match value {
        Value::Array(entries) => entries
            .iter()
            .enumerate()
            .flat_map(|(n, entry)| differences(document, &schema["items"], entry, &format!("{at}/{n}")))
            .collect(),
        Value::Object(fields) => {
            let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let missing = required.filter(|name| !fields.contains_key(*name)).map(|name| format!("{at}/{name} is missing"));
            let below =
                fields.iter().flat_map(|(name, value)| match (&schema["properties"][name], &schema["additionalProperties"]) {
                    (Value::Null, Value::Null) if schema["properties"].is_null() => Vec::new(),
                    (Value::Null, Value::Object(any)) => {
                        differences(document, &Value::Object(any.clone()), value, &format!("{at}/{name}"))
                    }
                    (Value::Null, _) => vec![format!("{at}/{name} is not in the document")],
                    (schema, _) => differences(document, schema, value, &format!("{at}/{name}")),
                });
            missing.chain(below).collect()
        }
        _ => Vec::new(),
    }
}

/// One schema that has the fields of all.
fn merged(document: &Value, parts: &[Value]) -> Value {
    let mut whole = json!({ "type": "object", "properties": {}, "required": [] });
    for part in parts {
        let part = part["$ref"].as_str().map_or(part, |name| document.pointer(name.trim_start_matches('#')).expect("it is there"));
        for (name, schema) in part["properties"].as_object().into_iter().flatten() {
            whole["properties"][name] = schema.clone();
        }
        let required = part["required"].as_array().into_iter().flatten().cloned();
        whole["required"].as_array_mut().expect("a list").extend(required);
    }
    whole
}

async fn differences_of(engine: &Engine, document: &Value, path: &str, call: Call) -> Vec<String> {
    let what = format!("{} {}", call.method, call.target);
    let operation = &document["paths"][path][call.method.to_ascii_lowercase()];
    let schema = &operation["responses"]["200"]["content"]["application/json"]["schema"];
    assert!(!schema.is_null(), "{what}: no schema in {operation}");
    let answer = engine.send(call).await.expect_ok(&what).json();
    differences(document, schema, &answer, &what)
}

/// These are only there where a token is wanted.
#[tokio::test(flavor = "multi_thread")]
async fn answers_about_tokens_are_as_it_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("engine.yaml");
    fs::write(&file, "auth: {admin_token: \"a\"}\nguard: {host: 127.0.0.1}").expect("a file");
    let engine = Engine::start_alone(&["--config", file.to_str().expect("a path that is text")]).await;
    let document = document(&engine).await;
    let mint = |role: &str| Call::post("/tokens?namespace=default").json(&json!({ "role": role, "expires_in_ms": 60_000 }));
    let as_admin = |call: Call| call.header("authorization", "Bearer a");
    let minted = engine.send(as_admin(mint("admin"))).await.expect_ok("a token").json();
    let id = minted["token"]["id"].as_str().expect("an id");
    let rows = [
        ("/tokens", mint("client")),
        ("/tokens", Call::get("/tokens")),
        ("/tokens/self", Call::get("/tokens/self")),
        ("/tokens/{token_id}", Call::delete(format!("/tokens/{id}"))),
        ("/audit", Call::get("/audit")),
    ];
    let mut wrong = Vec::new();
    for (path, call) in rows {
        wrong.extend(differences_of(&engine, &document, path, as_admin(call)).await);
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_as_it_says() {
    let engine = Engine::start().await;
    let document = document(&engine).await;
    engine.deploy("counter", "counter").await;
    engine.increment("counter", "a").await;
    let (actor, _) = engine.get_or_create("counter", "a", None).await;
    let create = json!({ "name": "counter", "key": "b", "runner_name_selector": "default", "crash_policy": "restart" });
    let normal = json!({ "datacenters": { "default": { "normal": {}, "metadata": { "a": [1, null] } } } });
    let serverless =
        json!({ "datacenters": { "default": { "serverless": { "url": "http://127.0.0.1:1", "request_lifespan": 3600 } } } });
    let settings =
        json!({ "config": { "A": "1" }, "secrets": { "S": "s" }, "outbound": ["a"], "limits": { "cpu_ms": 900, "sockets": 5 } });
    let more = json!({ "config": { "A": "2" } });
    let with_namespace = |call: fn(String) -> Call, path: &str| call(format!("{path}?namespace=default"));
    // The path as the document has it, and a request that succeeds.
    let rows: Vec<(&str, Call)> = vec![
        ("/namespaces", Call::get("/namespaces")),
        ("/namespaces", Call::post("/namespaces").json(&json!({ "name": "other", "display_name": "Other" }))),
        ("/actors", Call::get("/actors?namespace=default&name=counter")),
        ("/actors", Call::post("/actors?namespace=default").json(&create)),
        ("/actors", Call::put("/actors?namespace=default").json(&create)),
        ("/actors/names", with_namespace(Call::get, "/actors/names")),
        ("/actors/{actor_id}/kv/keys/{key}", with_namespace(Call::get, &format!("/actors/{actor}/kv/keys/Y291bnQ="))),
        ("/actors/{actor_id}/sleep", with_namespace(Call::post, &format!("/actors/{actor}/sleep")).json(&json!({}))),
        ("/actors/{actor_id}/reschedule", with_namespace(Call::post, &format!("/actors/{actor}/reschedule")).json(&json!({}))),
        ("/envoys", with_namespace(Call::get, "/envoys")),
        ("/runners", with_namespace(Call::get, "/runners")),
        ("/runners/names", with_namespace(Call::get, "/runners/names")),
        ("/runner-configs/{pool}", with_namespace(Call::put, "/runner-configs/one").json(&normal)),
        ("/runner-configs/{pool}", with_namespace(Call::put, "/runner-configs/two").json(&serverless)),
        ("/runner-configs", with_namespace(Call::get, "/runner-configs")),
        (
            "/runner-configs/serverless-health-check",
            with_namespace(Call::post, "/runner-configs/serverless-health-check").json(&json!({ "url": "http://127.0.0.1:1" })),
        ),
        ("/runner-configs/{pool}", with_namespace(Call::delete, "/runner-configs/two")),
        ("/deployments", with_namespace(Call::get, "/deployments")),
        ("/deployments/{name}", with_namespace(Call::put, "/deployments/again").body(rivet_tests::guest::bytes("counter"))),
        ("/deployments/{name}/activate", with_namespace(Call::post, "/deployments/again/activate").json(&json!({ "version": 1 }))),
        ("/deployments/{name}", with_namespace(|at| Call::new("PATCH", at), "/deployments/again").json(&settings)),
        ("/deployments/{name}", Call::new("PATCH", "/deployments/again?namespace=default&canary=5").json(&more)),
        ("/deployments/{name}/canary", with_namespace(Call::put, "/deployments/again/canary").json(&json!({ "share": "7.5%" }))),
        ("/deployments/{name}", with_namespace(Call::get, "/deployments/again")),
        ("/deployments/{name}/promote", with_namespace(Call::post, "/deployments/again/promote").json(&json!({}))),
        ("/deployments/{name}/retry", with_namespace(Call::post, "/deployments/again/retry").json(&json!({}))),
        (
            "/actors/{actor_id}/version",
            with_namespace(Call::put, &format!("/actors/{actor}/version")).json(&json!({ "version": 1 })),
        ),
        ("/actors/{actor_id}/version", with_namespace(Call::get, &format!("/actors/{actor}/version"))),
        ("/actors/{actor_id}/version", with_namespace(Call::delete, &format!("/actors/{actor}/version"))),
        ("/datacenters", Call::get("/datacenters")),
        ("/metadata", Call::get("/metadata")),
        ("/health", Call::get("/health")),
        ("/health/fanout", Call::get("/health/fanout")),
        ("/actors/{actor_id}", with_namespace(Call::delete, &format!("/actors/{actor}"))),
    ];
    let mut wrong = Vec::new();
    for (path, call) in rows {
        wrong.extend(differences_of(&engine, &document, path, call).await);
    }
    let refused = engine.send(Call::delete("/actors/x?namespace=default")).await.json();
    wrong.extend(differences(&document, &json!({ "$ref": "#/components/schemas/Error" }), &refused, "an error"));
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
    engine.get(by_key("counter", "b", "/")).await.expect_ok("the engine serves as before");
}
