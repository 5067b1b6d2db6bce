//! One namespace against another: what a token of one reaches of the other, whatever it calls it.

use protocol::wire::EnvoyVersion;
use rivet_tests::{Answer, Call, Envoy, Socket, address, guest};
use serde_json::{Value, json};

use crate::roles::{ROUTES, call_about};
use crate::{ADMIN, Secured, with};

const ELSEWHERE: &str = "403 Token of another namespace";

/// Actors with the same name and key in both namespaces.
struct World {
    secured: Secured,
    own: String,
    foreign: String,
    token: String,
}

impl World {
    /// The token is one of `default`.
    async fn new(more: &str, role: &str) -> World {
        let secured = Secured::start_with(more).await;
        let mut actors = Vec::new();
        for namespace in ["default", "other"] {
            let deploy = Call::put(format!("/deployments/counter?namespace={namespace}")).body(guest::bytes("counter"));
            secured.send(ADMIN, deploy).await.expect_ok("a deploy");
            let create = json!({ "name": "counter", "key": "k", "runner_name_selector": "default", "crash_policy": "sleep" });
            let made = secured.send(ADMIN, Call::put(format!("/actors?namespace={namespace}")).json(&create)).await;
            let actor = made.expect_ok("an actor").json()["actor"]["actor_id"].as_str().expect("an id").to_string();
            actors.push(actor);
        }
        let (_, token) = secured.mint(role, Some("default"), None).await;
        let (foreign, own) = (actors.pop().expect("two"), actors.pop().expect("two"));
        World { secured, own, foreign, token }
    }
}

/// All that an answer says, but for whom it is about.
fn said(answer: &Answer, actor: &str) -> String {
    format!("{} {}", answer.status, answer.text().replace(actor, "ACTOR"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_knows_no_actor_of_another_namespace() {
    let world = World::new("", "admin").await;
    let unknown = address::unknown(&world.own);
    let mut compared = 0;
    for (route, _) in ROUTES.iter().filter(|(route, _)| route.contains("{actor_id}")) {
        let foreign = world.secured.send(&world.token, call_about(route, "default", &world.foreign)).await;
        let nobody = world.secured.send(&world.token, call_about(route, "default", &unknown)).await;
        assert_eq!(said(&foreign, &world.foreign), said(&nobody, &unknown), "{route}");
        assert_eq!(foreign.code(), "actor.not_found", "{route}");
        if route.starts_with("GET") {
            let own = world.secured.send(&world.token, call_about(route, "default", &world.own)).await;
            assert_ne!(own.code(), "actor.not_found", "{route} finds what is there");
            compared += 1;
        }
    }
    assert!(compared >= 5, "{compared}");
    let ids = format!("/actors?namespace=default&actor_ids={},{}", world.own, world.foreign);
    let listed = world.secured.send(&world.token, Call::get(ids)).await.expect_ok("a list").json();
    let ids: Vec<&str> = listed["actors"].as_array().expect("a list").iter().filter_map(|one| one["actor_id"].as_str()).collect();
    assert_eq!(ids, [&world.own]);
    // It is as it was.
    let target = format!("/actors?namespace=other&actor_id={}", world.foreign);
    let there = world.secured.send(ADMIN, Call::get(target)).await.expect_ok("a list").json();
    assert_eq!(there["actors"][0]["destroy_ts"], Value::Null, "{there}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_takes_no_other_name_for_a_namespace() {
    let world = World::new("", "admin").await;
    let secured = &world.secured;
    let listed = secured.send(ADMIN, Call::get("/namespaces?name=other")).await.expect_ok("a list").json();
    let id = listed["namespaces"][0]["namespace_id"].as_str().expect("an id").to_string();
    let by_id = format!("namespace={id}");
    let (foreign_token, _) = secured.mint("client", Some("other"), None).await;
    let rows = [
        ("namespace=default", "200"),
        ("%6eamespace=default", "200"),
        ("namespace=other", ELSEWHERE),
        ("%6eamespace=other", ELSEWHERE),
        ("namespace=%6fther", ELSEWHERE),
        (by_id.as_str(), ELSEWHERE),
        ("namespace=DEFAULT", ELSEWHERE),
        ("namespace=default%00", ELSEWHERE),
        ("namespace=default%20", ELSEWHERE),
        ("namespace=", ELSEWHERE),
        ("namespace=default&namespace=other", "400"),
        ("namespace=other&namespace=default", "400"),
        ("namespace=&namespace=other", "400"),
        ("namespace=default&%6eamespace=other", "400"),
        ("Namespace=other&namespace=default", "400"),
        ("namespace[]=other&namespace=default", "400"),
        ("namespace=%ff", "400"),
        ("", "400"),
    ];
    for (query, expected) in rows {
        assert_eq!(secured.told(&world.token, Call::get(format!("/deployments?{query}"))).await, expected, "{query}");
    }
    // Where a namespace may be left out, or is named in another way.
    let nothing = |list: &str| json!({ list: [] });
    let rows = [
        (Call::get(format!("/namespaces?namespace_id={id}")), nothing("namespaces")),
        (Call::get(format!("/namespaces?namespace_ids={id}")), nothing("namespaces")),
        (Call::get("/namespaces?name=other"), nothing("namespaces")),
    ];
    for (call, expected) in rows {
        let what = call.target.clone();
        let mut seen = secured.send(&world.token, call).await.expect_ok(&what).json();
        seen.as_object_mut().expect("an object").remove("pagination");
        assert_eq!(seen, expected, "{what}");
    }
    let rows = [
        (Call::get("/tokens?namespace=other"), "api.forbidden"),
        (Call::get("/audit?namespace=other"), "api.forbidden"),
        (Call::post("/tokens?namespace=other").json(&json!({ "role": "client" })), "api.forbidden"),
        (Call::post("/tokens").json(&json!({ "role": "client", "namespace": "other" })), "api.bad_request"),
        (Call::delete(format!("/tokens/{foreign_token}")), "token.not_found"),
        (Call::delete(format!("/tokens/{foreign_token}?namespace=other")), "api.forbidden"),
        (Call::get("/deployments?namespace=default").header("authorization", "Bearer x"), "api.forbidden"),
    ];
    for (call, expected) in rows {
        let what = format!("{} {}", call.method, call.target);
        // Of two tokens the first counts.
        let call = if call.headers.iter().any(|(name, _)| *name == "authorization") {
            call.header("authorization", format!("Bearer {}", world.token))
        } else {
            with(&world.token, call)
        };
        let answer = secured.engine.send(call).await;
        assert_eq!(answer.code(), expected, "{what}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_leads_into_no_other_namespace() {
    let world = World::new("auth:\n  gateway: true", "client").await;
    let World { secured, own, foreign, token } = &world;
    let (_, others) = secured.mint("client", Some("other"), None).await;
    let by_key = |query: &str| Call::get(format!("/gateway/counter?{query}&rvt-method=get&rvt-key=k&rvt-token={token}"));
    let by_header = |actor: &str| {
        let call = Call::get("/request").header("x-rivet-target", "actor").header("x-rivet-actor", actor);
        call.header("x-rivet-token", token.as_str())
    };
    let forbidden = "403 api.forbidden";
    let rows = [
        (Call::get(format!("/gateway/{own}@{token}/")), "200 "),
        (Call::get(format!("/gateway/{foreign}@{token}/")), forbidden),
        (Call::get(format!("/gateway/%{:02x}{}@{token}/get", foreign.as_bytes()[0], &foreign[1..])), forbidden),
        (Call::get(format!("/gateway/{foreign}@{token}/")).header("x-rivet-token", others.as_str()), forbidden),
        (Call::get(format!("/gateway/{foreign}@{token}@{others}/")), forbidden),
        (Call::get(format!("/gateway/{own}@{others}/")), forbidden),
        // It has nothing there, and says so itself.
        (by_header(own), "404 "),
        (by_header(foreign), forbidden),
        (by_key("rvt-namespace=default"), "200 "),
        (by_key("rvt-namespace=other"), forbidden),
        (by_key("rvt-namespace=%6fther"), forbidden),
        (by_key("rvt-namespace=nowhere"), forbidden),
        (by_key("rvt-namespace=default&rvt-namespace=other"), "400 guard.query_duplicate_param"),
        (by_key("rvt-namespace=other&rvt-namespace=default"), "400 guard.query_duplicate_param"),
        (by_key("namespace=other&rvt-namespace=default"), "200 "),
        // What is not called so by its bytes is the actor's.
        (by_key("rvt-%6eamespace=other&rvt-namespace=default"), "400 guard.query_invalid_params"),
        (by_key("%72vt-namespace=other&rvt-namespace=default"), "200 "),
        (Call::get(format!("{}&rvt-token={token}", address::by_key("counter", "new", "/").replace("default", "other"))), forbidden),
    ];
    for (call, expected) in rows {
        let what = format!("{} {:?}", call.target, call.headers);
        let answer = secured.engine.send(call).await;
        assert_eq!(format!("{} {}", answer.status, answer.code()), expected, "{what}: {answer}");
    }
    let sockets = [
        (address::by_id(foreign, "/"), format!("rivet, rivet_token.{token}")),
        (format!("/gateway/{foreign}@{token}/"), "rivet".to_string()),
        ("/".to_string(), format!("rivet, rivet_target.actor, rivet_actor.{foreign}, rivet_token.{token}")),
        ("/".to_string(), format!("rivet, rivet_target.actor, rivet_actor.{foreign}, rivet_actor.{own}, rivet_token.{token}")),
        (address::by_id(foreign, "/"), format!("rivet, rivet_token.{token}, rivet_token.{others}")),
    ];
    for (target, protocols) in sockets {
        let seen = Socket::open(&secured.engine, &target, &protocols).await.closed().await;
        assert_eq!(seen, (1011, "api.forbidden".to_string()), "{target} {protocols}");
    }
    let made = secured.send(ADMIN, Call::get("/actors?namespace=other&name=counter")).await.expect_ok("a list").json();
    assert_eq!(made["actors"].as_array().map(Vec::len), Some(1), "nothing was made there: {made}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_joins_no_pool_of_another_namespace() {
    let secured = Secured::start().await;
    for namespace in ["default", "other"] {
        let pool = json!({ "datacenters": { "default": { "normal": {} } } });
        secured.send(ADMIN, Call::put(format!("/runner-configs/p?namespace={namespace}")).json(&pool)).await.expect_ok("a pool");
    }
    let (_, token) = secured.mint("runner", Some("default"), None).await;
    let protocols = format!("rivet, rivet_token.{token}");
    let envoy = |namespace: &str| format!("/envoys/connect?protocol_version=8&{namespace}&envoy_key=abc&version=1&pool_name=p");
    let legacy = |namespace: &str| format!("/runners/connect?protocol_version=7&{namespace}&runner_key=abc");
    let refused = [
        "namespace=other",
        "namespace=%6fther",
        "%6eamespace=other",
        "namespace=default&namespace=other",
        "namespace=nowhere",
        "namespace=",
    ];
    for target in refused.iter().flat_map(|namespace| [envoy(namespace), legacy(namespace)]) {
        let seen = Socket::open(&secured.engine, &target, &protocols).await.closed().await;
        assert_eq!(seen, (1011, "api.forbidden".to_string()), "{target}");
    }
    Envoy::connect_at(&secured.engine, &envoy("namespace=default"), &protocols, EnvoyVersion::NEWEST).await;
    let put = Call::put("/runner-configs/q?namespace=other").json(&json!({ "datacenters": { "default": { "normal": {} } } }));
    assert_eq!(secured.told(&token, put).await, ELSEWHERE);
    let listed = secured.send(ADMIN, Call::get("/envoys?namespace=other")).await.expect_ok("a list").json();
    assert!(!listed.to_string().contains("\"abc\""), "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tokens_of_a_namespace_go_with_it() {
    let secured = Secured::start().await;
    let pool = json!({ "datacenters": { "default": { "normal": {} } } });
    secured.send(ADMIN, Call::put("/runner-configs/p?namespace=other").json(&pool)).await.expect_ok("a pool");
    let mut tokens = Vec::new();
    for role in ["admin", "deploy", "runner", "client"] {
        tokens.push(secured.mint(role, Some("other"), None).await.1);
    }
    let (_, stays) = secured.mint("admin", Some("default"), None).await;
    let target = "/envoys/connect?protocol_version=8&namespace=other&envoy_key=abc&version=1&pool_name=p";
    let protocols = format!("rivet, rivet_token.{}", tokens[2]);
    let mut runner = Envoy::connect_at(&secured.engine, target, &protocols, EnvoyVersion::NEWEST).await;

    secured.send(ADMIN, Call::delete("/namespaces/other")).await.expect_ok("the wish");
    assert_eq!(runner.socket.closed().await, (1011, "token.revoked".to_string()));
    let refused = async |when: &str| {
        for token in &tokens {
            assert_eq!(secured.told(token, Call::get("/tokens/self")).await, "403 Invalid token", "{when}");
        }
    };
    refused("as soon as it is wished").await;
    rivet_tests::until::until("it is gone", async || {
        let answer = secured.send(ADMIN, Call::get("/namespaces/other/quotas")).await;
        (answer.code() == "namespace.not_found").then_some(()).ok_or(answer.to_string())
    })
    .await;
    // Whoever has the name next has nothing of it.
    let body = json!({ "name": "other", "display_name": "Another" });
    secured.send(ADMIN, Call::post("/namespaces").json(&body)).await.expect_ok("a namespace");
    refused("when another has its name").await;
    let listed = secured.send(ADMIN, Call::get("/tokens?namespace=other")).await.expect_ok("a list").json();
    assert_eq!(listed["tokens"], json!([]));
    assert_eq!(secured.told(&stays, Call::get("/tokens/self")).await, "200");
}
