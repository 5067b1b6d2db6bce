//! What this engine promises where the original is known to fall short.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use protocol::wire::tunnel::{ToEnvoyTunnel, ToRivetTunnel};
use rivet_tests::address::by_id;
use rivet_tests::process::binary;
use rivet_tests::socket::Socket;
use rivet_tests::{Call, Engine, Envoy, until};
use serde_json::json;
use tempfile::TempDir;

const AT_ONCE: usize = 20;

async fn with_pool() -> Engine {
    let engine = Engine::start().await;
    let pool = json!({ "datacenters": { "default": { "normal": {} } } });
    engine.send(Call::put("/runner-configs/default?namespace=default").json(&pool)).await.expect_ok("a pool");
    engine
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_given_once_however_many_ask_for_it() {
    let engine = with_pool().await;
    engine.deploy("counter", "counter").await;
    // Of a component, and of a runner that is not there.
    for name in ["counter", "waits"] {
        for round in 0..5 {
            let key = round.to_string();
            let body = json!({ "name": name, "key": key, "runner_name_selector": "default", "crash_policy": "sleep" });
            let create = || engine.send(Call::post("/actors?namespace=default").json(&body));
            let answers = futures_util::future::join_all((0..AT_ONCE).map(|_| create())).await;
            let (made, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
            assert_eq!(made.len(), 1, "{name} {key}");
            let id = made[0].json()["actor"]["actor_id"].clone();
            for answer in refused {
                assert_eq!((answer.status, &*answer.code()), (400, "actor.duplicate_key"), "{answer}");
                assert_eq!(answer.json()["metadata"]["existing_actor_id"], id, "{answer}");
            }
            let again = create().await;
            assert_eq!(again.code(), "actor.duplicate_key", "{again}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_that_connects_is_given_all_that_waits_at_once() {
    let engine = with_pool().await;
    let mut waiting = Vec::new();
    for key in 0..AT_ONCE {
        waiting.push(engine.get_or_create("chat", &key.to_string(), None).await.0);
    }
    let connected = tokio::time::Instant::now();
    let mut envoy = Envoy::connect(&engine, "default", "abc").await;
    let mut told = Vec::new();
    while told.len() < AT_ONCE {
        let message = envoy.hear().await;
        let protocol::wire::envoy::ToEnvoy::Commands { commands } = message else { panic!("commands expected, seen {message:?}") };
        told.extend(commands.into_iter().map(|command| command.checkpoint.actor_id));
    }
    // The original looks again after seconds.
    assert!(connected.elapsed() < Duration::from_secs(2), "{:?}", connected.elapsed());
    told.sort();
    waiting.sort();
    assert_eq!(told, waiting);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_is_told_to_stop_ends_in_order() {
    let mut engine = with_pool().await;
    let mut envoy = Envoy::connect(&engine, "default", "abc").await;
    let (actor, _) = engine.get_or_create("web", "a", None).await;
    let at = envoy.start().await;
    envoy.running(&at).await;
    let mut client = Socket::open(&engine, &by_id(&actor, "/ws"), "rivet").await;
    let (socket, _) = envoy.tunnel().await;
    envoy.respond(socket, ToRivetTunnel::WebSocketOpen { can_hibernate: false }).await;
    let request = tokio::spawn(engine.http(reqwest::Method::GET, &by_id(&actor, "/slow")).send());
    let (id, message) = envoy.tunnel().await;
    assert!(matches!(message, ToEnvoyTunnel::RequestStart { .. }), "{message:?}");

    engine.tell_to_stop();
    // The client of the socket is told first; its actor hears that it has left.
    assert_eq!(client.closed().await, (1011, "ws.going_away".to_string()));
    let (of, message) = envoy.tunnel().await;
    assert_eq!(of.stream, socket.stream);
    assert!(matches!(message, ToEnvoyTunnel::WebSocketClose { .. }), "{message:?}");
    // Nothing new is taken; what is under way has its time.
    until("no connection is taken any more", async || {
        let answer = engine.try_send(Call::get("/health")).await;
        answer.err().map(drop).ok_or("an answer".to_string())
    })
    .await;
    let body = Some("in time".into());
    envoy.respond(id, ToRivetTunnel::ResponseStart { status: 200, headers: Vec::new(), body, stream: false }).await;
    let answer = request.await.expect("it does not panic").expect("an answer");
    assert_eq!(answer.text().await.expect("a body"), "in time");
    // The runner hears of the end only now, and nothing before.
    assert_eq!(envoy.socket.closed().await, (1011, "ws.going_away".to_string()));
    assert_eq!(engine.ended().await, Some(0));
}

/// One in a network of its own, where what it sends can be counted. None where that is not allowed.
fn alone(folder: &TempDir) -> Option<Child> {
    let allowed = Command::new("unshare").args(["--user", "--map-root-user", "--net", "true"]).output();
    if !allowed.is_ok_and(|done| done.status.success()) {
        return None;
    }
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net"]).arg(binary()).args(["start", "--port", "0", "--data-dir"]);
    command.arg(folder.path().join("data"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("RIVET_")) {
        command.env_remove(name);
    }
    let out = fs::File::create(folder.path().join("out")).expect("a file");
    command.stdin(Stdio::null()).stdout(out).stderr(Stdio::null());
    Some(command.spawn().expect("it was just run"))
}

/// What this process has tried to send. Its network leads nowhere, so each attempt is one without a route.
fn sent(process: &Child) -> [u64; 4] {
    let read = |file: &str| fs::read_to_string(format!("/proc/{}/net/{file}", process.id())).expect("the process lives");
    let (snmp, snmp6) = (read("snmp"), read("snmp6"));
    let v4 = |protocol: &str, name: &str| {
        let mut lines = snmp.lines().filter(|line| line.starts_with(protocol));
        let (names, values) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
        let at = names.split(' ').position(|found| found == name).unwrap_or_else(|| panic!("{name} expected in {snmp}"));
        values.split(' ').nth(at).and_then(|value| value.parse().ok()).expect("a number")
    };
    // A machine without IPv6 has no such line.
    let v6 =
        snmp6.lines().find_map(|line| line.strip_prefix("Ip6OutNoRoutes")).map_or(0, |rest| rest.trim().parse().expect("a number"));
    [v4("Ip:", "OutNoRoutes"), v4("Ip:", "OutRequests"), v4("Tcp:", "ActiveOpens"), v6]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_starts_calls_nobody() {
    let folder = TempDir::new().expect("a folder");
    let Some(mut process) = alone(&folder) else {
        return eprintln!("skipped: no network of its own can be made here (unshare --net), so nothing can be counted");
    };
    until("the engine says that it is ready", async || {
        let said = fs::read_to_string(folder.path().join("out")).unwrap_or_default();
        said.contains(" is ready at ").then_some(()).ok_or(said)
    })
    .await;
    // Nothing can be waited for where nothing is to happen.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let seen = sent(&process);
    process.kill().expect("it is our child");
    process.wait().expect("it is our child");
    assert_eq!(seen, [0; 4], "without a route, packets, connections, and without a route over IPv6");
}
