//! An upgrade, a roll-back, and a version whose migration traps, while a thousand actors are awake, each with an open socket, and called.
//!
//! ```text
//! RIVET_ENGINE_BINARY=target/release/rivet-engine cargo bench -p rivet-tests --bench upgrade
//! cargo bench -p rivet-tests --bench upgrade -- 200    # actors
//! ```
//!
//! Failed calls and dropped sockets must be none. Needs the guests (`scripts/guests every-feature`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rivet_tests::address::{by_id, by_key};
use rivet_tests::{Call, Engine, Socket, guest};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

const ACTORS: usize = 1_000;
const CALLERS: usize = 16;
/// Each socket says something so often.
const SOCKET_EVERY: Duration = Duration::from_secs(2);
const STEADY: Duration = Duration::from_secs(3);
/// `trap`, which the guest does when it is migrated, in base64.
const TRAPS: &str = "dHJhcA==";

#[derive(Default)]
struct Seen {
    calls: AtomicU64,
    failed: AtomicU64,
    slowest_us: AtomicU64,
    said: AtomicU64,
    dropped: AtomicU64,
}

fn main() {
    let actors = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(ACTORS);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    println!(
        "| {actors} awake actors and open sockets, {CALLERS} callers | all moved after | calls | failed | slowest call | answers on sockets | sockets dropped |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|");
    runtime.block_on(async {
        let engine = Arc::new(Engine::start().await);
        measure(&engine, "obedient", actors, None).await;
        measure(&engine, "stubborn", actors, Some(TRAPS)).await;
    });
}

async fn measure(engine: &Arc<Engine>, name: &'static str, actors: usize, input: Option<&str>) {
    deploy(engine, name, "one").await;
    let mut ids = Vec::new();
    for number in 0..actors {
        ids.push(engine.get_or_create(name, &number.to_string(), input).await.0);
    }
    let seen = Arc::new(Seen::default());
    let ends = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    for at in 0..actors {
        let socket = connect(engine, name, at).await;
        tasks.spawn(talk(socket, at, seen.clone(), ends.clone()));
    }
    for caller in 0..CALLERS {
        tasks.spawn(call(engine.clone(), ids.clone(), caller, seen.clone(), ends.clone()));
    }
    tokio::time::sleep(STEADY).await;
    report("nothing happens", Duration::ZERO, &seen);

    let began = Instant::now();
    deploy(engine, name, "two").await;
    moved(engine, name).await;
    let took = began.elapsed();
    tokio::time::sleep(STEADY).await;
    report(if input.is_some() { "an upgrade whose migration traps" } else { "an upgrade" }, took, &seen);
    let state = state(engine, name).await;
    let held_back = if input.is_some() { actors as u64 } else { 0 };
    assert_eq!(state["held_back"]["count"], held_back, "{state}");

    let began = Instant::now();
    let back = Call::post(format!("/deployments/{name}/activate?namespace=default")).json(&json!({ "version": 1 }));
    engine.send(back).await.expect_ok("a roll-back");
    moved(engine, name).await;
    let took = began.elapsed();
    tokio::time::sleep(STEADY).await;
    report("the roll-back after it", took, &seen);
    ends.store(true, Relaxed);
    tasks.join_all().await;
}

/// Since the last report.
fn report(what: &str, took: Duration, seen: &Seen) {
    let take = |count: &AtomicU64| count.swap(0, Relaxed);
    let slowest = Duration::from_micros(take(&seen.slowest_us));
    let (calls, failed, said, dropped) = (take(&seen.calls), take(&seen.failed), take(&seen.said), seen.dropped.load(Relaxed));
    println!("| {what} | {took:.1?} | {calls} | {failed} | {slowest:.0?} | {said} | {dropped} |");
}

async fn deploy(engine: &Engine, name: &str, remark: &str) {
    let component = guest::another_version("every-feature", remark);
    engine.send(Call::put(format!("/deployments/{name}?namespace=default")).body(component)).await.expect_ok("a deploy");
}

async fn state(engine: &Engine, name: &str) -> Value {
    engine.get(format!("/deployments/{name}?namespace=default")).await.expect_ok("a deployment").json()
}

async fn moved(engine: &Engine, name: &str) {
    while state(engine, name).await["moving"] != 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn call(engine: Arc<Engine>, ids: Vec<String>, caller: usize, seen: Arc<Seen>, ends: Arc<AtomicBool>) {
    let mut at = caller;
    while !ends.load(Relaxed) {
        at = (at + CALLERS) % ids.len();
        let began = Instant::now();
        let asked = Call::post(by_id(&ids[at], "/action/look")).json(&json!({ "args": ["get nothing"] }));
        let answer = engine.try_send(asked).await;
        if !answer.is_ok_and(|answer| answer.status == 200) {
            seen.failed.fetch_add(1, Relaxed);
        }
        seen.calls.fetch_add(1, Relaxed);
        seen.slowest_us.fetch_max(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX), Relaxed);
    }
}

async fn connect(engine: &Engine, name: &str, at: usize) -> Socket {
    let target = by_key(name, &at.to_string(), "/connect");
    let mut socket = Socket::open(engine, &target, "rivet, rivet_encoding.json").await;
    let init = socket.next().await.expect("it is open").expect("it is not broken");
    assert!(init.to_string().contains("Init"), "{init}");
    socket
}

/// Calls an action over its socket, again and again, and waits for each answer.
async fn talk(mut socket: Socket, at: usize, seen: Arc<Seen>, ends: Arc<AtomicBool>) {
    // Not all at the same moment.
    tokio::time::sleep(SOCKET_EVERY / 1_000 * (at as u32 % 1_000)).await;
    let mut id = 0;
    while !ends.load(Relaxed) {
        id += 1;
        let ask = json!({ "body": { "tag": "ActionRequest", "val": { "id": id, "name": "look", "args": ["get nothing"] } } });
        let sent = socket.send(Message::text(ask.to_string())).await;
        match socket.next().await {
            Some(Ok(Message::Text(text))) if sent.is_ok() && text.contains("ActionResponse") => seen.said.fetch_add(1, Relaxed),
            _ => {
                seen.dropped.fetch_add(1, Relaxed);
                return;
            }
        };
        tokio::time::sleep(SOCKET_EVERY).await;
    }
}
