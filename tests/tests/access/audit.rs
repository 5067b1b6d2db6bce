//! The audit log: an entry for each act, by whom, from where, and what came of it; nothing secret in it, and nobody can fill it.

use protocol::id::Id;
use rivet_tests::{Call, guest};
use serde_json::{Value, json};

use crate::{ADMIN, Secured, with};

const SECRET: &str = "nobody-may-read-this";

impl Secured {
    async fn entries(&self, token: &str, query: &str) -> Vec<Value> {
        let answer = self.send(token, Call::get(format!("/audit?{query}"))).await.expect_ok("the log").json();
        answer["entries"].as_array().expect("a list").clone()
    }
}

/// Act, target and outcome.
fn line(entry: &Value) -> String {
    let text = |name: &str| entry[name].as_str().unwrap_or("-");
    format!("{} {} {} {}", text("act"), text("namespace"), text("target"), text("outcome"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_act_has_an_entry() {
    let mut secured = Secured::start().await;
    let ghost = Id::new([1; 16], 1).to_string();
    let (id, deployer) = secured.mint("deploy", Some("default"), None).await;
    let settings = json!({ "secrets": { "KEY": SECRET }, "config": { "MODE": SECRET }, "outbound": ["a.example"] }).to_string();
    let deploy = || Call::put("/deployments/counter?namespace=default").body(guest::bytes("counter"));
    let of = |call: Call| call.header("x-rivet-ray-id", "the-request");
    let pool = json!({ "datacenters": { "default": { "serverless": {
        "url": format!("http://127.0.0.1:1/api?key={SECRET}"), "request_lifespan": 3600, "headers": { "x-key": SECRET } } } } });
    secured.send(&deployer, of(deploy().header("x-rivet-settings", settings))).await.expect_ok("a deploy");
    let actor = secured
        .engine
        .send(with(
            ADMIN,
            Call::put("/actors?namespace=default").json(&json!({
        "name": "counter", "key": "k", "runner_name_selector": "default", "crash_policy": "sleep" })),
        ))
        .await
        .expect_ok("an actor")
        .json();
    let actor = actor["actor"]["actor_id"].as_str().expect("an id").to_string();
    let on_actor = |what: &str| format!("/actors/{actor}{what}?namespace=default");
    let on_counter = |what: &str| format!("/deployments/counter{what}?namespace=default");
    let rows: Vec<(Call, u16, String)> = vec![
        (
            Call::new("PATCH", on_counter("")).json(&json!({ "config": { "MODE": null } })),
            200,
            "deployment.configure default counter ok".into(),
        ),
        (Call::post(on_counter("/activate")).json(&json!({ "version": 1 })), 200, "deployment.activate default counter ok".into()),
        (
            Call::post(on_counter("/activate")).json(&json!({ "version": 99 })),
            400,
            "deployment.activate default counter deployment.version_not_found".into(),
        ),
        (
            Call::new("PATCH", "/deployments/counter?namespace=default&canary=5%25").json(&json!({ "config": { "A": "b" } })),
            200,
            "deployment.configure default counter ok".into(),
        ),
        (Call::put(on_counter("/canary")).json(&json!({ "share": "25%" })), 200, "deployment.canary default counter ok".into()),
        (Call::post(on_counter("/promote")).json(&json!({})), 200, "deployment.promote default counter ok".into()),
        (
            Call::post(on_counter("/promote")).json(&json!({})),
            400,
            "deployment.promote default counter deployment.no_canary".into(),
        ),
        (Call::post(on_counter("/retry")).json(&json!({})), 200, "deployment.retry default counter ok".into()),
        (
            Call::put(on_counter("")).body(guest::bytes("unknown-import")),
            400,
            "deployment.deploy default counter component.unknown_import".into(),
        ),
        (Call::put(on_actor("/version")).json(&json!({ "version": 1 })), 200, format!("actor.pin default {actor} ok")),
        (Call::delete(on_actor("/version")), 200, format!("actor.unpin default {actor} ok")),
        (Call::post(on_actor("/sleep")).json(&json!({})), 200, format!("actor.sleep default {actor} ok")),
        (Call::post(on_actor("/reschedule")).json(&json!({})), 200, format!("actor.reschedule default {actor} ok")),
        (Call::delete(on_actor("")), 200, format!("actor.destroy default {actor} ok")),
        (Call::delete(format!("/actors/{ghost}?namespace=default")), 400, format!("actor.destroy default {ghost} actor.not_found")),
        (Call::put("/runner-configs/p?namespace=default").json(&pool), 200, "pool.put default p ok".into()),
        (Call::delete("/runner-configs/p?namespace=default"), 200, "pool.delete default p ok".into()),
        (
            Call::post("/namespaces").json(&json!({ "name": "third", "display_name": "Third" })),
            200,
            "namespace.create third third ok".into(),
        ),
        (Call::delete(format!("/tokens/{id}")), 200, format!("token.revoke default {id} ok")),
    ];
    let mut expected = vec![
        "namespace.create other other ok".to_string(),
        format!("token.create default {id} ok"),
        "deployment.deploy default counter ok".to_string(),
    ];
    for (call, status, entry) in rows {
        let what = format!("{} {}", call.method, call.target);
        let answer = secured.send(ADMIN, of(call)).await;
        assert_eq!(answer.status, status, "{what}: {answer}");
        // It is there when the answer is.
        let newest = secured.entries(ADMIN, "limit=1").await;
        assert_eq!(newest.iter().map(line).collect::<Vec<_>>(), std::slice::from_ref(&entry), "{what}");
        assert_eq!(
            (&newest[0]["who"], &newest[0]["remote"], &newest[0]["request_id"]),
            (&json!("admin"), &json!("127.0.0.1"), &json!("the-request")),
            "{what}"
        );
        expected.push(entry);
    }
    // Nothing that is only read, and nothing that clients of actors do.
    secured.engine.kill9();
    secured.engine.restart().await;
    let mut entries = secured.entries(ADMIN, "limit=1000").await;
    entries.reverse();
    assert_eq!(entries.iter().map(line).collect::<Vec<_>>(), expected);
    let numbers: Vec<u64> = entries.iter().filter_map(|entry| entry["number"].as_u64()).collect();
    assert_eq!(numbers, (1..=expected.len() as u64).collect::<Vec<_>>(), "without gaps");
    let deployed = &entries[2];
    assert_eq!(deployed["who"], json!(format!("token {id}")));
    let details = &deployed["details"];
    let names = (&details["secrets"], &details["config"], &details["outbound"], &details["version"], &details["pool"]);
    assert_eq!(names, (&json!("KEY"), &json!("MODE"), &json!("a.example"), &json!("1"), &json!("default")), "{details}");
    let all = serde_json::to_string(&entries).expect("JSON");
    assert!(!all.contains(SECRET) && !all.contains(&deployer), "{all}");
    assert!(all.contains("http://127.0.0.1:1/api") && all.contains("x-key"), "{all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_read_page_by_page() {
    let secured = Secured::start().await;
    for number in 0..7 {
        let body = json!({ "datacenters": { "default": { "normal": {} } } });
        let namespace = if number % 2 == 0 { "default" } else { "other" };
        secured
            .send(ADMIN, Call::put(format!("/runner-configs/p{number}?namespace={namespace}")).json(&body))
            .await
            .expect_ok("a pool");
    }
    let (_, other) = secured.mint("admin", Some("other"), None).await;
    let last = secured.entries(ADMIN, "limit=1").await[0]["ts"].as_u64().expect("a moment");
    let rows = [
        (ADMIN, "act=pool".to_string(), "p6 p5 p4 p3 p2 p1 p0"),
        (ADMIN, "act=pool.put&namespace=default".to_string(), "p6 p4 p2 p0"),
        (ADMIN, "act=poo".to_string(), ""),
        (ADMIN, "act=namespace".to_string(), "other"),
        (&other, "act=pool".to_string(), "p5 p3 p1"),
        (&other, "act=pool&namespace=other".to_string(), "p5 p3 p1"),
        (ADMIN, format!("act=pool&from_ts={}", last + 1), ""),
        (ADMIN, "act=pool&to_ts=1".to_string(), ""),
        (ADMIN, format!("act=pool&from_ts=1&to_ts={}", last + 1), "p6 p5 p4 p3 p2 p1 p0"),
    ];
    for (token, query, expected) in rows {
        for limit in [1, 2, 100] {
            let (mut found, mut cursor) = (Vec::new(), String::new());
            loop {
                let answer = secured.send(token, Call::get(format!("/audit?{query}&limit={limit}&cursor={cursor}"))).await;
                let page = answer.expect_ok("a page").json();
                let entries = page["entries"].as_array().expect("a list");
                assert!(entries.len() <= limit);
                found.extend(entries.iter().map(|entry| entry["target"].as_str().expect("a target").to_string()));
                match page["pagination"]["cursor"].as_str() {
                    Some(next) => cursor = next.to_string(),
                    None => break,
                }
            }
            assert_eq!(found.join(" "), expected, "{query} by {limit}");
        }
    }
    for query in ["limit=x", "cursor=x", "from_ts=-1", "who=admin"] {
        assert_eq!(secured.send(ADMIN, Call::get(format!("/audit?{query}"))).await.code(), "api.bad_request", "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_there_and_cannot_fill_it() {
    let secured = Secured::start().await;
    let (id, client) = secured.mint("client", Some("default"), None).await;
    let before = secured.entries(ADMIN, "").await.len();
    for number in 0..50 {
        for token in ["", "wrong", &client] {
            let call = Call::get(format!("/actors?namespace=default&name=x{number}"));
            assert!(secured.told(token, call).await.starts_with("403"));
        }
    }
    let entries = secured.entries(ADMIN, "act=access").await;
    let mut seen: Vec<String> = entries
        .iter()
        .map(|entry| {
            format!(
                "{} {} {} x{}",
                entry["who"].as_str().unwrap_or_default(),
                line(entry),
                entry["details"]["reason"].as_str().unwrap_or_default(),
                entry["count"]
            )
        })
        .collect();
    seen.sort();
    assert_eq!(
        seen,
        [
            "nobody access.refused default GET /actors api.forbidden Invalid token x1".to_string(),
            "nobody access.refused default GET /actors api.forbidden Token not provided x1".to_string(),
            format!("token {id} access.refused default GET /actors api.forbidden Role not sufficient x1"),
        ]
    );
    assert_eq!(secured.entries(ADMIN, "").await.len(), before + 3, "the others are counted and written later, as one");
    // Where nobody has to show who they are, it says that.
    let open = rivet_tests::Engine::start().await;
    open.send(Call::delete("/runner-configs/p?namespace=default")).await.expect_ok("a pool less");
    let entries = open.get("/audit").await.expect_ok("the log").json();
    assert_eq!(
        (&entries["entries"][0]["who"], &entries["entries"][0]["act"]),
        (&json!("anyone"), &json!("pool.delete")),
        "{entries}"
    );
}
