//! Every route of the API, with every kind of token: the whole table of who may do what.

use protocol::id::Id;
use rivet_tests::engine::run_with;
use rivet_tests::{Call, Engine};
use serde_json::{Value, json};

use crate::{ADMIN, Secured, with};

/// Route, and who may, beside the engine's admin: the namespace's (a)dmin, (d)eploy, (r)unner, (c)lient, and (e)verybody. `*`: the
/// namespace that a token is of is nothing to it, or what it is shown is only its own.
pub const ROUTES: &[(&str, &str)] = &[
    ("GET /health", "e*"),
    ("GET /ready", "e*"),
    ("GET /metadata", "e*"),
    ("GET /openapi.json", "e*"),
    ("GET /health/fanout", "adr*"),
    ("GET /datacenters", "adr*"),
    ("GET /namespaces", "adr*"),
    ("POST /namespaces", ""),
    ("DELETE /namespaces/{namespace}", ""),
    ("GET /namespaces/{namespace}/quotas", "a"),
    ("PUT /namespaces/{namespace}/quotas", ""),
    ("GET /actors", "ad"),
    ("POST /actors", "a"),
    ("PUT /actors", "a"),
    ("GET /actors/names", "ad"),
    ("DELETE /actors/{actor_id}", "a"),
    ("POST /actors/{actor_id}/sleep", "a"),
    ("POST /actors/{actor_id}/reschedule", "a"),
    ("GET /actors/{actor_id}/kv/keys/{key}", "ad"),
    ("GET /actors/{actor_id}/storage", "ad"),
    ("GET /actors/{actor_id}/export", "a"),
    ("POST /actors/import", "a"),
    ("GET /actors/{actor_id}/logs", "ad"),
    ("GET /actors/{actor_id}/version", "ad"),
    ("PUT /actors/{actor_id}/version", "ad"),
    ("DELETE /actors/{actor_id}/version", "ad"),
    ("GET /envoys", "ad"),
    ("GET /runners", "ad"),
    ("GET /runners/names", "ad"),
    ("GET /runner-configs", "ad"),
    ("PUT /runner-configs/{pool}", "adr"),
    ("DELETE /runner-configs/{pool}", "ad"),
    ("POST /runner-configs/serverless-health-check", "ad"),
    ("POST /runner-configs/{pool}/refresh-metadata", "ad"),
    ("GET /deployments", "ad"),
    ("GET /deployments/{name}", "ad"),
    ("PUT /deployments/{name}", "ad"),
    ("PATCH /deployments/{name}", "ad"),
    ("POST /deployments/{name}/check", "ad"),
    ("POST /deployments/{name}/activate", "ad"),
    ("PUT /deployments/{name}/canary", "ad"),
    ("POST /deployments/{name}/promote", "ad"),
    ("POST /deployments/{name}/retry", "ad"),
    ("GET /tokens", "a"),
    ("GET /tokens/self", "adrc*"),
    ("POST /tokens", "a"),
    ("DELETE /tokens/{token_id}", "a"),
    ("GET /audit", "a"),
    ("GET /backups", ""),
    ("POST /backups", ""),
    ("GET /tracing/config", ""),
    ("PUT /tracing/config", ""),
];

/// Something that can be understood.
fn call(route: &str, namespace: &str) -> Call {
    call_about(route, namespace, &Id::new([1; 16], 1).to_string())
}

pub fn call_about(route: &str, namespace: &str, actor: &str) -> Call {
    let (method, path) = route.split_once(' ').expect("a method and a path");
    let method = ["GET", "POST", "PUT", "PATCH", "DELETE"].into_iter().find(|known| *known == method).expect("a method");
    let parts = [
        ("{actor_id}", actor),
        ("{key}", "eA=="),
        ("{pool}", "pool"),
        ("{name}", "name"),
        ("{token_id}", "none"),
        // Nobody deletes this one.
        ("{namespace}", "default"),
    ];
    let target = parts.iter().fold(path.to_string(), |path, (part, value)| path.replace(part, value));
    let query = match path {
        "/backups" | "/tracing/config" | "/namespaces/{namespace}" | "/namespaces/{namespace}/quotas" => String::new(),
        "/health" | "/ready" | "/metadata" | "/openapi.json" | "/health/fanout" | "/datacenters" | "/namespaces"
        | "/tokens/self" => String::new(),
        "/actors" if method == "GET" => format!("?namespace={namespace}&name=name"),
        _ => format!("?namespace={namespace}"),
    };
    let body = match path {
        "/namespaces" => json!({ "name": "A", "display_name": "A" }),
        "/actors" => json!({ "name": "name", "key": "k", "runner_name_selector": "nobody", "crash_policy": "sleep" }),
        "/runner-configs/{pool}" => json!({ "datacenters": { "default": { "normal": {} } } }),
        "/runner-configs/serverless-health-check" => json!({ "url": "http://127.0.0.1:1" }),
        "/deployments/{name}/activate" | "/actors/{actor_id}/version" => json!({ "version": 1 }),
        "/deployments/{name}/canary" => json!({ "share": "5%" }),
        "/tokens" => json!({ "role": "client" }),
        _ => json!({}),
    };
    let call = Call::new(method, format!("{target}{query}"));
    if matches!(method, "GET" | "DELETE") { call } else { call.json(&body) }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_what() {
    let secured = Secured::start().await;
    let document: Value = secured.engine.get("/openapi.json").await.expect_ok("the document").json();
    let mut described = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        described.extend(item.as_object().expect("methods").keys().map(|method| format!("{} {path}", method.to_uppercase())));
    }
    let mut known: Vec<String> = ROUTES.iter().map(|(route, _)| route.to_string()).collect();
    described.sort();
    known.sort();
    assert_eq!(known, described, "every route has a row here");

    // Letter of the role, token, and where it is from.
    let mut bearers: Vec<(char, String, &str)> = Vec::new();
    for (letter, role) in [('a', "admin"), ('d', "deploy"), ('r', "runner"), ('c', "client")] {
        for namespace in ["default", "other"] {
            bearers.push((letter, secured.mint(role, Some(namespace), None).await.1, namespace));
        }
    }
    bearers.push(('r', secured.mint("runner", None, None).await.1, "all"));
    let mut wrong = Vec::new();
    let mut check = |what: String, expected: &str, seen: String| {
        let is_right = if expected.is_empty() { !seen.starts_with("403") } else { seen == expected };
        if !is_right {
            wrong.push(format!("{what}: {} expected, seen {seen}", if expected.is_empty() { "no 403" } else { expected }));
        }
    };
    for (route, roles) in ROUTES {
        let is_open = roles.contains('e');
        let unless_open = |reason: &'static str| if is_open { "" } else { reason };
        let told = async |token: &str| secured.told(token, call(route, "default")).await;
        check(format!("{route} without a token"), unless_open("403 Token not provided"), told("").await);
        for token in ["wrong", "dev", "sk_abcdefghijkl_x", &bearers[0].1.replace("sk_", "pk_"), &format!("{}x", bearers[0].1)] {
            check(format!("{route} with {token}"), unless_open("403 Invalid token"), told(token).await);
        }
        check(format!("{route} as the engine's admin"), "", told(ADMIN).await);
        for (letter, token, from) in &bearers {
            let expected = match (roles.contains(*letter) || is_open, *from, roles.contains('*')) {
                (false, _, _) => "403 Role not sufficient",
                (true, "other", false) => "403 Token of another namespace",
                (true, _, _) => "",
            };
            check(format!("{route} as {letter} of {from}"), expected, told(token).await);
        }
    }
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_a_token_sees_what_is_theirs() {
    let secured = Secured::start().await;
    let (own, token) = secured.mint("admin", Some("other"), None).await;
    secured.mint("client", Some("default"), None).await;
    let listed = async |token: &str, target: &str, list: &str, field: &str| {
        let answer = secured.send(token, Call::get(target)).await.expect_ok(target).json();
        let texts = answer[list].as_array().expect("a list").iter().map(|item| item[field].as_str().unwrap_or("-").to_string());
        texts.collect::<Vec<_>>()
    };
    assert_eq!(listed(&token, "/namespaces", "namespaces", "name").await, ["other"]);
    assert_eq!(listed(&token, "/namespaces?name=default", "namespaces", "name").await, Vec::<String>::new());
    assert_eq!(listed(ADMIN, "/namespaces", "namespaces", "name").await.len(), 2);
    assert_eq!(listed(&token, "/tokens", "tokens", "id").await, std::slice::from_ref(&own));
    assert_eq!(listed(ADMIN, "/tokens", "tokens", "id").await.len(), 2);
    assert_eq!(listed(ADMIN, "/tokens?namespace=other", "tokens", "id").await, [own]);
    assert_eq!(listed(&token, "/audit", "entries", "namespace").await, ["other", "other"], "its token, and the namespace itself");

    // Nobody learns by the answer whether there is such a namespace.
    for namespace in ["default", "nowhere", ""] {
        let told = secured.told(&token, Call::get(format!("/deployments?namespace={namespace}"))).await;
        assert_eq!(told, "403 Token of another namespace", "{namespace:?}");
    }
    // It mints for its own namespace, and for no other.
    let mint = |target: &'static str, role: &str| Call::post(target).json(&json!({ "role": role }));
    for target in ["/tokens", "/tokens?namespace=other"] {
        let minted = secured.send(&token, mint(target, "runner")).await.expect_ok("a token").json();
        assert_eq!(minted["token"]["namespace"], "other", "{minted}");
    }
    assert_eq!(secured.told(&token, mint("/tokens?namespace=default", "client")).await, "403 Token of another namespace");
    let tokens = listed(ADMIN, "/tokens?namespace=default", "tokens", "id").await;
    let refused = secured.send(&token, Call::delete(format!("/tokens/{}", tokens[0]))).await;
    assert_eq!(refused.code(), "token.not_found", "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_told_what_it_may() {
    let secured = Secured::start().await;
    let told = async |engine: &Engine, token: &str| {
        let seen = engine.send(with(token, Call::get("/tokens/self"))).await.expect_ok("what it may").json();
        let may: Vec<&str> = seen["may"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
        let token = &seen["token"];
        let whose = [&token["role"], &token["namespace"]].map(|text| text.as_str().unwrap_or("-"));
        format!("{}, calls need one: {}: {}", whose.join(" of "), seen["calls_need_token"], may.join(" "))
    };
    let rows = [
        ("admin", Some("other"), "admin of other, calls need one: false: open known read deploy host run manage call"),
        ("deploy", Some("other"), "deploy of other, calls need one: false: open known read deploy host call"),
        ("runner", Some("other"), "runner of other, calls need one: false: open known host run call"),
        ("client", Some("other"), "client of other, calls need one: false: open call"),
        ("runner", None, "runner of -, calls need one: false: open known host run call"),
    ];
    for (role, namespace, expected) in rows {
        let (_, token) = secured.mint(role, namespace, None).await;
        assert_eq!(told(&secured.engine, &token).await, expected);
    }
    let everything = "- of -, calls need one: false: open known read deploy host run manage engine call";
    assert_eq!(told(&secured.engine, ADMIN).await, everything);
    assert_eq!(told(&Engine::start().await, "whatever").await, everything, "nobody is asked for one");
    let wanted = Secured::start_with("auth:\n  gateway: true").await;
    assert_eq!(told(&wanted.engine, ADMIN).await, everything.replace("false", "true"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespaces_admin_sees_what_it_may_have_and_does_not_set_it() {
    let secured = Secured::start().await;
    let ids = secured.send(ADMIN, Call::get("/namespaces")).await.expect_ok("a list").json();
    let id = |name: &str| {
        let found = ids["namespaces"].as_array().expect("a list").iter().find(|one| one["name"] == name);
        found.expect("it is there")["namespace_id"].as_str().expect("an id").to_string()
    };
    let (own, foreign) = (id("other"), id("default"));
    let (_, admin) = secured.mint("admin", Some("other"), None).await;
    let (_, deploy) = secured.mint("deploy", Some("other"), None).await;
    let set = json!({ "actors": 7 });
    let put = |namespace: &str| Call::put(format!("/namespaces/{namespace}/quotas")).json(&set);
    let get = |namespace: &str| Call::get(format!("/namespaces/{namespace}/quotas"));
    let (role, elsewhere) = ("403 Role not sufficient", "403 Token of another namespace");
    secured.send(ADMIN, put("other")).await.expect_ok("a quota");
    let rows = [
        (&admin, get("other"), "200"),
        (&admin, get(&own), "200"),
        (&admin, get("%6Fther"), "200"),
        (&admin, get("default"), elsewhere),
        (&admin, get("d%65fault"), elsewhere),
        (&admin, get(&foreign), elsewhere),
        (&admin, get("nowhere"), elsewhere),
        (&admin, get("default%2F..%2Fother"), elsewhere),
        (&admin, Call::get("/namespaces/default/quotas?namespace=other"), "400"),
        (&admin, put("other"), role),
        (&admin, Call::delete("/namespaces/other"), role),
        (&deploy, get("other"), role),
    ];
    for (token, call, expected) in rows {
        let what = format!("{} {}", call.method, call.target);
        assert_eq!(secured.told(token, call).await, expected, "{what}");
    }
    let seen = secured.send(&admin, get("other")).await.expect_ok("quotas").json();
    assert_eq!((&seen["name"], &seen["quotas"]["actors"]), (&json!("other"), &json!({ "limit": 7, "used": 0 })), "{seen}");
    // As people ask.
    let address = secured.engine.url().replace("http://", &format!("http://other:{admin}@"));
    let shown = run_with(&["namespaces", "quotas", "other"], &[("RIVET_ENDPOINT", &address)]).await;
    assert!(shown.code == Some(0) && shown.out.contains("actors"), "{}{}", shown.out, shown.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_makes_its_pool_and_touches_no_other() {
    let secured = Secured::start().await;
    let (_, runner) = secured.mint("runner", Some("default"), None).await;
    let (_, deploy) = secured.mint("deploy", Some("default"), None).await;
    let normal = json!({ "normal": {} });
    let serverless = json!({ "serverless": { "url": "http://127.0.0.1:1", "request_lifespan": 3600 } });
    let put = |pool: &str, kind: &Value| {
        Call::put(format!("/runner-configs/{pool}?namespace=default")).json(&json!({ "datacenters": { "default": kind } }))
    };
    let none = Call::put("/runner-configs/a?namespace=default").json(&json!({ "datacenters": {} }));
    let rows = [
        ("it makes one", &runner, put("a", &normal), "200"),
        ("and again", &runner, put("a", &normal), "200"),
        ("not one with a URL", &runner, put("b", &serverless), "403 Role not sufficient"),
        ("not into one with a URL", &runner, put("a", &serverless), "403 Role not sufficient"),
        ("it does not delete it", &runner, none.clone(), "403 Role not sufficient"),
        ("whoever deploys does", &deploy, put("a", &serverless), "200"),
        ("it does not take it back", &runner, put("a", &normal), "403 Role not sufficient"),
        ("whoever deploys deletes it", &deploy, none, "200"),
    ];
    for (what, token, call, expected) in rows {
        assert_eq!(secured.told(token, call).await, expected, "{what}");
    }

    // Where the admin token goes to URLs, only who has it says which.
    let secured = Secured::start_with("outbound: {send_admin_token: true}").await;
    let (_, admin) = secured.mint("admin", Some("default"), None).await;
    assert_eq!(secured.told(&admin, put("a", &serverless)).await, "403 Role not sufficient");
    assert_eq!(secured.told(&admin, put("a", &normal)).await, "200");
    assert_eq!(secured.told(ADMIN, put("a", &serverless)).await, "200");
}
