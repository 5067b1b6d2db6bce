//! Actors under the test kit: everything that depends on time, without waiting for it.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use rivet_testkit::{Actor, BEGIN_MS, Error, Said, TestKit, json};
use rivet_tests::guest;

const HOUR_MS: u64 = 3_600_000;

fn kit(guest: &str) -> TestKit {
    let kit = TestKit::start().expect("the kit starts");
    let version = kit.deploy("counter", guest::bytes(guest)).expect("the guest is deployed");
    assert_eq!(version, 1);
    kit
}

fn actor(kit: &TestKit) -> Actor<'_> {
    kit.get_or_create("counter", &["a"]).expect("an actor")
}

fn count(actor: &Actor) -> u64 {
    let count = actor.action("get", json!([])).expect("an answer");
    count.as_u64().unwrap_or_else(|| panic!("a count expected, seen {count}"))
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Advances by each of these, in milliseconds; the count is then this.
fn check(actor: &Actor, kit: &TestKit, steps: &[(u64, u64)]) {
    for (by_ms, expected) in steps {
        kit.advance(ms(*by_ms));
        assert_eq!(count(actor), *expected, "{} ms after the begin", kit.now_ms() - BEGIN_MS);
    }
}

/// What the kit's clock showed when the actor logged something with these words, since the begin.
fn logged(actor: &Actor, words: &str) -> Vec<u64> {
    let lines = actor.logs().expect("logs");
    lines.iter().filter(|line| line.text.contains(words)).map(|line| line.time_ms - BEGIN_MS).collect()
}

#[test]
fn actions_requests_sockets_and_logs() {
    let kit = kit("counter-rust");
    let actor = actor(&kit);
    assert_eq!(actor.action("increment", json!([5])), Ok(json!(5)));
    assert_eq!(actor.action("history", json!([])), Ok(json!([{ "by": 5, "count": 5 }])));
    assert_eq!(actor.action("incrementOther", json!(["b", 3])), Ok(json!(3)));
    assert_eq!(actor.action("fail", json!(["broken"])).expect_err("it fails as asked").code(), Some("broken"));
    let request = Request::get("/").body(Bytes::new()).expect("a request");
    let response = actor.http(request).expect("an answer");
    assert_eq!((response.status().as_u16(), &response.body()[..]), (200, &br#"{"count":5}"#[..]));

    let mut socket = actor.socket("/websocket/echo").expect("a socket");
    socket.send_text("hello").expect("it is open");
    assert_eq!(socket.receive(), Ok(Said::Text("hello".to_string())));
    assert_eq!(socket.receive(), Err(Error::WaitsForTime), "that was all");
    socket.send_text("close").expect("it is open");
    assert_eq!(socket.receive(), Ok(Said::Closed { code: 4000, reason: "bye".to_string() }));

    kit.advance(ms(1_234));
    actor.action("say", json!(["here"])).expect("an answer");
    assert_eq!(logged(&actor, "here"), [1_234]);
    actor.destroy().expect("it is there");
    assert_eq!(actor.action("get", json!([])).expect_err("it is gone").code(), Some("not_found"));
}

#[test]
fn time_passes_only_when_it_is_advanced() {
    let kit = kit("counter-rust");
    let actor = actor(&kit);
    actor.action("incrementLater", json!([1, 1])).expect("an answer");
    std::thread::sleep(ms(50));
    assert_eq!((count(&actor), kit.now_ms()), (0, BEGIN_MS));
    check(&actor, &kit, &[(1, 1)]);
}

#[test]
fn schedules_come_in_their_order_and_at_their_moments() {
    let kit = kit("counter-rust");
    let actor = actor(&kit);
    for (after_ms, by) in [(2 * HOUR_MS, 100), (HOUR_MS, 10), (3 * HOUR_MS, 1_000)] {
        actor.action("incrementLater", json!([after_ms, by])).expect("an answer");
    }
    check(&actor, &kit, &[(HOUR_MS - 1, 0), (1, 10), (2 * HOUR_MS, 1_110)]);
    let order = json!([{ "by": 10, "count": 10 }, { "by": 100, "count": 110 }, { "by": 1_000, "count": 1_110 }]);
    assert_eq!(actor.action("history", json!([])), Ok(order));
}

/// The kit begins on a Thursday.
fn a_week_of_workdays(guest: &str) {
    let kit = kit(guest);
    let actor = actor(&kit);
    actor.action("every", json!(["0 9 * * 1-5"])).expect("an answer");
    let day_ms = 24 * HOUR_MS;
    check(&actor, &kit, &[(9 * HOUR_MS, 1), (day_ms, 2), (2 * day_ms, 2), (4 * day_ms, 6)]);
}

#[test]
fn a_cron_schedule_over_a_week() {
    a_week_of_workdays("counter-rust");
}

#[test]
fn a_cron_schedule_in_another_language() {
    a_week_of_workdays("counter-c");
}

#[test]
fn an_idle_actor_falls_asleep_and_wakes() {
    let kit = kit("counter-rust");
    let actor = actor(&kit);
    actor.action("increment", json!([])).expect("an answer");
    for (by_ms, awake) in [(29_999, true), (1, false), (24 * HOUR_MS, false)] {
        kit.advance(ms(by_ms));
        assert_eq!(actor.is_awake(), Ok(awake), "{} ms after the begin", kit.now_ms() - BEGIN_MS);
    }
    let info = actor.action("info", json!([])).expect("an answer");
    assert_eq!((&info["started"], &info["stopped"]), (&json!("woken"), &json!("sleep")));
    assert_eq!((count(&actor), actor.is_awake()), (1, Ok(true)));
    actor.sleep().expect("it is awake");
    assert_eq!(actor.is_awake(), Ok(false));
}

#[test]
fn a_message_of_the_queue_that_is_refused_comes_again() {
    let kit = kit("counter-rust");
    let actor = actor(&kit);
    actor.push("add", json!("no number")).expect("it is taken");
    kit.advance(ms(20_000));
    assert_eq!(logged(&actor, "the queue handler refused message 1"), [0, 2_000, 6_000, 14_000]);
}

#[test]
fn an_alarm_that_fails_comes_again() {
    let kit = kit("every-feature");
    let actor = actor(&kit);
    let order = |order: &str| actor.http(Request::post("/").body(order.to_string().into()).expect("a request")).expect("an answer");
    order("alarm-fails 2");
    order(&format!("alarm {}", BEGIN_MS + 1_000));
    kit.advance(ms(60_000));
    assert_eq!(logged(&actor, "the alarm handler refused"), [1_000, 3_000]);
    let done = order("did");
    assert!(String::from_utf8_lossy(done.body()).contains("attempt 3"), "{done:?}");
}

#[test]
fn a_new_start_keeps_the_state_the_schedules_and_the_time() {
    let kit = kit("counter-rust");
    let actor = actor(&kit);
    actor.action("increment", json!([7])).expect("an answer");
    actor.action("incrementLater", json!([HOUR_MS, 100])).expect("an answer");
    kit.advance(ms(HOUR_MS / 2));
    kit.restart().expect("it starts again");
    assert_eq!((count(&actor), kit.now_ms() - BEGIN_MS), (7, HOUR_MS / 2));
    kit.restart().expect("it starts again");
    check(&actor, &kit, &[(HOUR_MS / 2 - 1, 7), (1, 107)]);
    assert_eq!(actor.action("history", json!([])), Ok(json!([{ "by": 7, "count": 7 }, { "by": 100, "count": 107 }])));
}

#[test]
fn settings_reach_the_actor_and_what_is_wrong_is_said() {
    let kit = TestKit::start().expect("the kit starts");
    let deployed = kit.deploy_with("counter", guest::bytes("counter-rust"), json!({ "config": { "step": "3" } }));
    assert_eq!(deployed, Ok(1));
    let actor = kit.get_or_create_with("counter", &["a", "b"], Some(b"in")).expect("an actor");
    assert_eq!(actor.action("setting", json!(["step"])), Ok(json!("3")));
    let info = actor.action("info", json!([])).expect("an answer");
    assert_eq!((&info["input"], &info["key"]), (&json!("in"), &json!(["a", "b"])));
    assert_eq!(kit.deploy("other", "no component").expect_err("it is none").code(), Some("malformed"));
}
