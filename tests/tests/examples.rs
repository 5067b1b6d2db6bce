//! The examples that solve something, each driven once as its README says. The counters are in `languages`, the older examples in
//! `journey` and others.

use reqwest::Method;
use rivet_tests::address::by_key;
use rivet_tests::{Answer, Call, Engine, Socket, guest, until};
use serde_json::{Value, json};
use std::time::Duration;
use tokio_tungstenite::tungstenite::Message;

/// A component with a large runtime is compiled for half a minute on a machine that does nothing else.
const DEPLOY_WITHIN: Duration = Duration::from_secs(600);

struct Actor {
    engine: Engine,
    name: &'static str,
}

impl Actor {
    async fn deployed(name: &'static str) -> Actor {
        let engine = Engine::start().await;
        let put = engine.http(Method::PUT, &format!("/deployments/{name}?namespace=default")).timeout(DEPLOY_WITHIN);
        let answer = put.body(guest::bytes(name)).send().await.expect("an answer");
        assert!(answer.status().is_success(), "{name}: {}", answer.text().await.expect("text"));
        Actor { engine, name }
    }

    fn target(&self, path: &str) -> String {
        by_key(self.name, "one", path)
    }

    async fn say(&self, path: &str, body: Value) -> Answer {
        self.engine.send(Call::post(self.target(path)).json(&body)).await
    }

    async fn call(&self, action: &str, args: Value) -> Value {
        let answer = self.say(&format!("/action/{action}"), json!({ "args": args })).await;
        answer.expect_ok(action).json()["output"].clone()
    }

    async fn get(&self) -> Value {
        self.engine.get(self.target("/request/")).await.expect_ok("GET /").json()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_room_knows_who_is_who_after_it_has_slept() {
    let actor = Actor::deployed("chat").await;
    let mut ada = Socket::open(&actor.engine, &actor.target("/websocket/?name=ada"), "rivet").await;
    let mut bob = Socket::open(&actor.engine, &actor.target("/websocket/?name=bob"), "rivet").await;
    // Both are open for their clients; which of them the actor takes first is not said.
    let both_are_here = async || {
        until("both are here", async || {
            let here = actor.call("here", json!([])).await;
            let both = [json!(["ada", "bob"]), json!(["bob", "ada"])].contains(&here);
            both.then_some(()).ok_or(here.to_string())
        })
        .await;
    };
    both_are_here().await;
    let mut expected = Vec::new();
    for (id, text) in [(1, "hello"), (2, "still there?")] {
        ada.send(Message::text(text)).await.expect("it is open");
        for socket in [&mut ada, &mut bob] {
            let said = heard(socket).await;
            assert_eq!((&said["id"], &said["name"], &said["text"]), (&json!(id), &json!("ada"), &json!(text)));
            expected.push(said);
        }
        expected.pop();
        let (id, _) = actor.engine.get_or_create("chat", "one", None).await;
        actor.engine.sleep(&id).await;
    }
    both_are_here().await;
    assert_eq!(actor.get().await, json!(expected));
    assert_eq!(actor.call("history", json!([2, 10])).await, json!([expected[0]]));
    bob.send(Message::text("")).await.expect("it is open");
    assert_eq!(heard(&mut bob).await["error"], "invalid_text");
    let mut nameless = Socket::open(&actor.engine, &actor.target("/websocket/"), "rivet").await;
    assert_eq!(nameless.closed_by_actor().await, (1011, "user.invalid_name".into()));
}

async fn heard(socket: &mut Socket) -> Value {
    match socket.next().await {
        Some(Ok(Message::Text(text))) => serde_json::from_str(&text).expect("JSON"),
        other => panic!("a text expected, seen {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_limiter_lets_through_what_its_bucket_holds() {
    let actor = Actor::deployed("rate-limiter").await;
    // {"capacity":3,"perSecond":0.001}
    let input = "eyJjYXBhY2l0eSI6MywicGVyU2Vjb25kIjowLjAwMX0=";
    actor.engine.get_or_create("rate-limiter", "one", Some(input)).await;
    for (tokens, allowed, remaining) in [(2, true, 1), (2, false, 1), (4, false, 1)] {
        let taken = actor.call("take", json!([tokens])).await;
        assert_eq!((&taken["allowed"], &taken["remaining"].as_f64()), (&json!(allowed), &Some(f64::from(remaining))), "{taken}");
        assert_eq!(taken["retryAfterMs"].is_null(), allowed || tokens > 3, "more than it holds never comes: {taken}");
    }
    for status in [200, 429] {
        let answer = actor.say("/request/take", json!(null)).await;
        assert_eq!(answer.status, status, "{answer}");
        assert_eq!(answer.header("retry-after").is_empty(), status == 200);
    }
    let refused = actor.say("/action/take", json!({ "args": [-1] })).await;
    assert_eq!(refused.code(), "user.invalid_argument");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_todo_list_is_one_tenants() {
    let actor = Actor::deployed("todo").await;
    let plants = json!({ "id": 1, "text": "water the plants", "tag": "home", "done": false });
    let report = json!({ "id": 2, "text": "the report", "tag": null, "done": false });
    assert_eq!(actor.call("add", json!(["water the plants", "home"])).await, plants);
    assert_eq!(actor.call("add", json!(["the report"])).await, report);
    assert_eq!(actor.get().await, json!([plants, report]));
    assert_eq!(actor.call("complete", json!([2])).await["done"], true);
    for (args, ids) in [(json!([]), json!([1, 2])), (json!(["home"]), json!([1])), (json!([null, true]), json!([2]))] {
        let listed = actor.call("list", args.clone()).await;
        let found: Vec<Value> = listed.as_array().into_iter().flatten().map(|todo| todo["id"].clone()).collect();
        assert_eq!(json!(found), ids, "{args}");
    }
    let refused = actor.say("/action/complete", json!({ "args": [7] })).await;
    assert_eq!((refused.code(), refused.json()["metadata"].clone()), ("user.not_found".into(), json!({ "id": 7 })));
    assert_eq!(actor.call("remove", json!([1])).await, true);
    let other = actor.engine.get(by_key("todo", "another", "/request/")).await.expect_ok("another tenant");
    assert_eq!(other.json(), json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn sales_are_counted_once_and_reported() {
    let actor = Actor::deployed("cron-report").await;
    for (body, response) in [
        (json!({ "product": "tea", "cents": 450 }), "counted"),
        (json!({ "product": "cup", "cents": 50 }), "counted"),
        (json!("nonsense"), "ignored"),
    ] {
        let said = json!({ "body": body, "wait": true, "timeout": 20_000 });
        let answer = actor.say("/queue/sale", said).await.expect_ok("a sale").json();
        assert_eq!(answer, json!({ "status": "completed", "response": response }));
    }
    assert_eq!(actor.call("report", json!([])).await, json!({ "sales": 2, "cents": 500 }));
    assert_eq!(actor.call("report", json!([])).await, json!({ "sales": 0, "cents": 0 }));
    until("both are kept", async || {
        let kept = actor.get().await;
        let sums: Vec<_> = kept.as_array().into_iter().flatten().map(|report| report["cents"].clone()).collect();
        (sums == [json!(0), json!(500)]).then_some(()).ok_or(kept.to_string())
    })
    .await;
}
