//! What an actor can do, one function each. None of them knows a language.

use std::pin::Pin;

use rivet_tests::address::by_key;
use rivet_tests::{Call, Socket, guest, until};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::actor::{Actor, next_text};

type Check = fn(Actor) -> Pin<Box<dyn Future<Output = ()>>>;

pub const FEATURES: &[(&str, Check)] = &[
    ("actions: arguments, defaults, results", |actor| Box::pin(actions(actor))),
    ("failures: code, message, metadata; what was written before stays", |actor| Box::pin(failures(actor))),
    ("unknown actions and wrong arguments are refused", |actor| Box::pin(refusals(actor))),
    ("a crash writes nothing, and its text is in the log", |actor| Box::pin(crashes(actor))),
    ("log lines", |actor| Box::pin(log_lines(actor))),
    ("context: name, key, version, input", |actor| Box::pin(contexts(actor))),
    ("configuration and secrets of the deployment", |actor| Box::pin(configuration(actor))),
    ("KV; start and stop handlers over sleep", |actor| Box::pin(sleeps(actor))),
    ("SQL, in the message's transaction", |actor| Box::pin(sql(actor))),
    ("schedules: once, cancelled", |actor| Box::pin(schedules(actor))),
    ("schedules: cron", |actor| Box::pin(cron(actor))),
    ("the alarm", |actor| Box::pin(alarms(actor))),
    ("the queue: from a client, from itself", |actor| Box::pin(queues(actor))),
    ("calls to other actors, messages for their queues", |actor| Box::pin(other_actors(actor))),
    ("events to subscribers", |actor| Box::pin(events(actor))),
    ("connections: parameters, state, refusal, an event to one", |actor| Box::pin(connections(actor))),
    ("HTTP", |actor| Box::pin(http(actor))),
    ("WebSockets: text, binary, close, refusal", |actor| Box::pin(sockets(actor))),
    ("WebSockets that outlive the actor's sleep, with their state", |actor| Box::pin(hibernation(actor))),
    ("destroy", |actor| Box::pin(destroys(actor))),
    ("upgrade: migrate and start handlers, state of another language", |actor| Box::pin(upgrades(actor))),
];

async fn actions(actor: Actor) {
    for (action, args, expected) in [
        ("get", json!([]), 0),
        ("increment", json!([]), 1),
        ("increment", json!([null]), 2),
        ("increment", json!([5]), 7),
        ("increment", json!([-10]), -3),
        ("get", json!([]), -3),
    ] {
        assert_eq!(actor.call(action, args.clone()).await, expected, "{action} {args}");
    }
}

async fn failures(actor: Actor) {
    let refusal = actor.try_call("fail", json!(["tea\"pot"])).await.expect_err("it fails as asked");
    assert_eq!((&*refusal.group, &*refusal.code, &*refusal.message), ("user", "tea\"pot", "failed as asked"));
    assert_eq!(refusal.metadata, json!({ "asked": "tea\"pot" }));
    assert_eq!(actor.call("info", json!([])).await["failed"], "tea\"pot");
}

async fn refusals(actor: Actor) {
    for (action, args, code) in [
        ("frobnicate", json!([]), "action_not_found"),
        ("increment", json!(["many"]), "invalid_argument"),
        ("increment", json!([1.5]), "invalid_argument"),
        ("increment", json!([1_000_001]), "invalid_argument"),
        ("fail", json!([]), "invalid_argument"),
        ("incrementLater", json!([null]), "invalid_argument"),
    ] {
        assert_eq!(actor.refusal(action, args.clone()).await, code, "{action} {args}");
    }
    assert_eq!(actor.call("get", json!([])).await, 0);
}

async fn crashes(actor: Actor) {
    assert_eq!(actor.call("increment", json!([3])).await, 3);
    let refusal = actor.try_call("crash", json!([])).await.expect_err("it crashes as asked");
    assert_ne!(refusal.group, "user", "{refusal:?}");
    assert_eq!(actor.call("get", json!([])).await, 3);
    actor.engine.logged(&actor.id().await, "crashed as asked").await;
}

async fn log_lines(actor: Actor) {
    assert_eq!(actor.call("say", json!(["grüß dich, \u{1f44b}"])).await, Value::Null);
    actor.engine.logged(&actor.id().await, "grüß dich, \u{1f44b}").await;
}

async fn contexts(actor: Actor) {
    // "hello" in base64.
    actor.engine.get_or_create(&actor.name, &actor.key, Some("aGVsbG8=")).await;
    let info = actor.call("info", json!([])).await;
    let expected = json!({
        "name": actor.name, "key": [actor.key], "version": 1, "input": "hello", "started": "created", "stopped": null,
        "migratedFrom": null, "failed": null,
    });
    assert_eq!(info, expected);
}

async fn configuration(actor: Actor) {
    for (name, value) in [("COLOUR", json!("blue")), ("KEY", json!("s3cret")), ("ABSENT", Value::Null)] {
        assert_eq!(actor.call("setting", json!([name])).await, value, "{name}");
    }
}

async fn sleeps(actor: Actor) {
    assert_eq!(actor.call("increment", json!([7])).await, 7);
    assert_eq!(actor.call("nap", json!([])).await, Value::Null);
    until("it has slept and woken", async || {
        let info = actor.call("info", json!([])).await;
        (info["started"] == "woken" && info["stopped"] == "sleep").then_some(()).ok_or(info.to_string())
    })
    .await;
    assert_eq!(actor.call("get", json!([])).await, 7);
}

async fn sql(actor: Actor) {
    assert_eq!(actor.call("history", json!([])).await, json!([]));
    actor.call("increment", json!([2])).await;
    actor.call("increment", json!([-5])).await;
    actor.try_call("crash", json!([])).await.expect_err("it crashes as asked");
    assert_eq!(actor.call("history", json!([])).await, json!([{ "by": 2, "count": 2 }, { "by": -5, "count": -3 }]));
}

async fn schedules(actor: Actor) {
    const FAR_MS: u64 = 3_600_000;
    let far = actor.call("incrementLater", json!([FAR_MS, 100])).await;
    assert_eq!(actor.call("schedules", json!([])).await, json!([{ "action": "increment", "cron": null }]));
    for expected in [true, false] {
        assert_eq!(actor.call("cancel", json!([far])).await, expected);
    }
    actor.call("incrementLater", json!([100, 4])).await;
    actor.becomes("get", json!(4)).await;
    actor.becomes("schedules", json!([])).await;
}

async fn cron(actor: Actor) {
    assert_eq!(actor.refusal("every", json!(["whenever"])).await, "invalid_argument");
    assert_eq!(actor.call("every", json!(["* * * * * *"])).await, Value::Null);
    assert_eq!(actor.call("schedules", json!([])).await, json!([{ "action": "increment", "cron": "* * * * * *" }]));
    until("it was called twice", async || {
        let count = actor.call("get", json!([])).await;
        (count.as_i64() >= Some(2)).then_some(()).ok_or(count.to_string())
    })
    .await;
    assert_eq!(actor.call("cancel", json!(["tick"])).await, true);
}

async fn alarms(actor: Actor) {
    assert_eq!(actor.call("alarmIn", json!([50])).await, Value::Null);
    actor.becomes("get", json!(10)).await;
}

async fn queues(actor: Actor) {
    assert_eq!(actor.push("add", json!(4)).await, json!({ "status": "completed", "response": 4 }));
    assert_eq!(actor.call("enqueue", json!([3])).await, 1);
    actor.becomes("get", json!(7)).await;
}

async fn other_actors(actor: Actor) {
    let other = actor.other("called");
    assert_eq!(actor.call("incrementOther", json!([other.key, 2])).await, 2);
    assert_eq!(actor.call("incrementOther", json!([other.key])).await, 3);
    assert_eq!(actor.call("pushOther", json!([other.key, 4])).await, Value::Null);
    other.becomes("get", json!(7)).await;
    assert_eq!(actor.refusal("incrementOther", json!([other.key, 1_000_001])).await, "invalid_argument");
    assert_eq!(actor.call("get", json!([])).await, 0);
}

async fn events(actor: Actor) {
    let (mut one, mut two) = (actor.connect("null").await, actor.connect("null").await);
    one.subscribe("changed").await;
    actor.call("increment", json!([2])).await;
    assert_eq!(one.event("changed").await, json!([2]));
    two.subscribe("changed").await;
    // One that calls gets its event too.
    assert_eq!(two.call("increment", json!([3])).await, Ok(json!(5)));
    assert_eq!(one.event("changed").await, json!([5]));
    // What was rolled back was never said.
    actor.try_call("crash", json!([])).await.expect_err("it crashes as asked");
    actor.call("increment", json!([1])).await;
    assert_eq!(one.event("changed").await, json!([6]));
}

async fn connections(actor: Actor) {
    let mut ada = actor.connect(r#"{"name":"ada"}"#).await;
    let mut nobody = actor.connect("null").await;
    ada.subscribe("you").await;
    assert_eq!(ada.call("me", json!([])).await, Ok(json!("ada")));
    assert_eq!(nobody.call("me", json!([])).await, Ok(json!("nobody")));
    assert_eq!(actor.call("me", json!([])).await, Value::Null, "without a connection");
    assert_eq!(ada.call("fail", json!(["teapot"])).await.map_err(|refusal| refusal.code), Err("teapot".into()));
    assert_eq!(actor.call("connections", json!([])).await, json!({ "clients": 2, "sockets": 0, "left": 0 }));
    nobody.socket.close().await;
    actor.becomes("connections", json!({ "clients": 1, "sockets": 0, "left": 1 })).await;

    let protocols = "rivet, rivet_encoding.json, rivet_conn_params.%7B%22name%22%3A%22mallory%22%7D";
    let mut refused = Socket::open(&actor.engine, &by_key(&actor.name, &actor.key, "/connect"), protocols).await;
    assert_eq!(refused.closed_by_actor().await, (1011, "user.refused".into()));
}

async fn http(actor: Actor) {
    actor.call("increment", json!([5])).await;
    let root = actor.send(Call::get, "/request/").await.expect_ok("the root");
    assert_eq!(root.headers["content-type"], "application/json");
    assert_eq!(root.json(), json!({ "count": 5 }));
    for (call, path, status) in [(Call::post as fn(String) -> Call, "/request/", 405), (Call::get, "/request/elsewhere", 404)] {
        let answer = actor.send(call, path).await;
        assert_eq!(answer.status, status, "{path}: {answer}");
    }
}

async fn sockets(actor: Actor) {
    let mut socket = actor.open("/echo?who=me").await;
    for message in [Message::text("grüß dich"), Message::binary(vec![0, 255, 7])] {
        socket.send(message.clone()).await.expect("it is open");
        let echoed = socket.next().await.expect("it is open").expect("no break");
        assert_eq!(echoed, message);
    }
    assert_eq!(actor.call("connections", json!([])).await["sockets"], 1);
    socket.send(Message::text("close")).await.expect("it is open");
    assert_eq!(socket.closed_by_actor().await, (4000, "bye".into()));
    let mut refused = actor.open("/elsewhere").await;
    assert_eq!(refused.closed_by_actor().await, (1011, "user.no_such_path".into()));
}

async fn hibernation(actor: Actor) {
    let mut socket = actor.open("/echo").await;
    for expected in ["1", "2"] {
        socket.send(Message::text("count")).await.expect("it is open");
        assert_eq!(next_text(&mut socket).await, expected);
    }
    actor.sleep().await;
    socket.send(Message::text("count")).await.expect("it is open");
    assert_eq!(next_text(&mut socket).await, "3");
    assert_eq!(actor.call("info", json!([])).await["started"], "woken");
}

async fn destroys(actor: Actor) {
    actor.call("increment", json!([5])).await;
    let id = actor.id().await;
    assert_eq!(actor.call("remove", json!([])).await, Value::Null);
    until("it is destroyed", async || {
        let seen = actor.engine.actor(&id).await;
        (!seen["destroy_ts"].is_null()).then_some(()).ok_or(seen.to_string())
    })
    .await;
    assert_eq!(actor.call("get", json!([])).await, 0, "another one has its key");
    assert_ne!(actor.id().await, id);
}

/// From the counter in C to the one in this language: both write the same.
async fn upgrades(actor: Actor) {
    let guest = actor.name.clone();
    let actor = Actor { name: format!("{guest}-upgraded"), ..actor };
    actor.call("increment", json!([5])).await;
    actor.engine.deploy_bytes(guest::bytes(&guest), &actor.name).await;
    until("it runs the new version", async || {
        let info = actor.call("info", json!([])).await;
        let upgraded = (&info["version"], &info["started"], &info["migratedFrom"]) == (&json!(2), &json!("upgraded"), &json!(1));
        upgraded.then_some(()).ok_or(info.to_string())
    })
    .await;
    assert_eq!(actor.call("increment", json!([1])).await, 6);
    let expected = json!([{ "by": 5, "count": 5 }, { "by": 1, "count": 6 }]);
    assert_eq!(actor.call("history", json!([])).await, expected);
}
