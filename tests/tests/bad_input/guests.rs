//! What actors do wrong themselves: every trap, every answer that cannot be sent, every limit of their state.

use rivet_tests::address::by_key;
use rivet_tests::{Call, Engine, guest};
use serde_json::json;

use crate::{Row, check};

/// A new actor for each row, so that no row sees what another has done.
fn ask(path: &str) -> Call {
    let key: String = path.chars().filter(char::is_ascii_alphanumeric).collect();
    Call::get(by_key("hostile", &key, path))
}

fn faults() -> Vec<Row> {
    let (trapped, garbage) = ("actor.trapped", "actor.invalid_response");
    vec![
        ("an endless loop", ask("/loop"), 504, "actor.cpu_time_exceeded", "5000 ms of processor time"),
        ("memory without end", ask("/bomb"), 500, "actor.memory_exceeded", "134217728 bytes"),
        ("a stack without end", ask("/stack"), 500, "actor.stack_overflow", "its stack overflowed"),
        ("a stack in memory without end", ask("/stack-memory"), 500, "actor.stack_overflow", "its stack overflowed"),
        ("a panic", ask("/panic"), 500, trapped, "it panicked or aborted"),
        ("an instruction that must not be reached", ask("/unreachable"), 500, trapped, "http handler failed"),
        ("a panic after a write", ask("/write-then-panic"), 500, trapped, "it panicked"),
        ("a panic after an alarm", ask("/alarm-then-panic?in_ms=1"), 500, trapped, "it panicked"),
        ("status 0", ask("/garbage-status"), 500, garbage, "0 is not the status of a response"),
        ("status 9999", ask("/garbage-status-9999"), 500, garbage, "use 200 to 599"),
        ("status 99", ask("/status?code=99"), 500, garbage, "99 is not the status"),
        ("status 101", ask("/status?code=101"), 500, garbage, "101"),
        ("status 600", ask("/status?code=600"), 500, garbage, "600 is not the status"),
        ("a header with blanks and line ends", ask("/garbage-header"), 500, garbage, "\"not a name\" is not a header's name"),
        ("a header without a name", ask("/header?name="), 500, garbage, "is not a header's name"),
        (
            "a header with a line end in its value",
            ask("/header?value=a%0d%0aset-cookie:%20b"),
            500,
            garbage,
            "bytes that cannot be sent",
        ),
        ("257 headers", ask("/many-headers?n=257"), 500, garbage, "257 headers, at most 256"),
        ("a body of more than 20 MiB", ask("/huge-response?bytes=20971521"), 500, garbage, "at most 20971520"),
        ("a body of more than its memory", ask("/huge-response?bytes=300000000"), 500, "actor.memory_exceeded", ""),
        ("entropy by the gigabyte", ask("/random?bytes=1000000000"), 500, trapped, ""),
    ]
}

/// The host refuses these, and the guest answers 409 with what it was told.
fn limits() -> Vec<(&'static str, &'static str)> {
    vec![
        ("/put-key-bytes?n=2047", "too-large: a key has at most 2046 bytes, this has 2047"),
        ("/put-value-bytes?n=131073", "too-large: a value has at most 131072 bytes, this has 131073"),
        ("/put-many?n=10&bytes=131072", "too-large: "),
        ("/put-many?n=16385&bytes=1", "too-large: one message changes at most 16384 keys"),
    ]
}

fn starts() -> Vec<Row> {
    let start = |key: &str| Call::get(format!("/gateway/hostile/info?rvt-namespace=default&rvt-method=get&rvt-key={key}"));
    vec![
        ("a start that refuses", start("start-error"), 500, "actor.start_failed", "start was told to fail"),
        ("a start that panics", start("start-panic"), 500, "actor.start_failed", "start handler failed"),
        ("a start that refuses, once more", start("start-error"), 500, "actor.start_failed", "start was told to fail"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_actors_do_wrong_is_told_and_stays_with_them() {
    let engine = Engine::start().await;
    engine.deploy("hostile", "hostile").await;
    // `start-error` and `start-panic` in base64.
    for (key, input) in [("start-error", "c3RhcnQtZXJyb3I="), ("start-panic", "c3RhcnQtcGFuaWM=")] {
        let body =
            json!({ "name": "hostile", "key": key, "input": input, "runner_name_selector": "default", "crash_policy": "sleep" });
        engine.send(Call::post("/actors?namespace=default").json(&body)).await.expect_ok("an actor that will not start");
    }
    check(&engine, [faults(), starts()].concat()).await;
    let after = engine.send(ask("/write-then-panic")).await;
    assert_eq!(after.status, 500, "{after}");
    let key = "writethenpanic";
    assert_eq!(engine.get(by_key("hostile", key, "/get")).await.status, 404, "what a message wrote before its panic is not there");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limits_of_an_actors_state_are_told_to_it_and_nothing_is_written() {
    let engine = Engine::start().await;
    engine.deploy("hostile", "hostile").await;
    for (path, part) in limits() {
        let answer = engine.send(ask(path)).await;
        assert_eq!(answer.status, 409, "{path}: the guest hears a refusal; seen {answer}");
        assert!(answer.text().contains(part), "{path}: {part:?} expected, seen {answer}");
        let key: String = path.chars().filter(char::is_ascii_alphanumeric).collect();
        engine.get(by_key("hostile", &key, "/put?key=fine")).await.expect_ok("a small write afterwards");
        assert_eq!(engine.get(by_key("hostile", &key, "/get?key=fine")).await.expect_ok("its read").text(), "value", "{path}");
    }
    // At its limits everything fits.
    for path in ["/put-key-bytes?n=2046", "/put-value-bytes?n=131072", "/put-many?n=7&bytes=131072", "/put-many?n=16000&bytes=1"] {
        engine.send(ask(path)).await.expect_ok(path);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_without_an_http_handler_says_so() {
    let engine = Engine::start().await;
    engine.deploy_bytes(alarm_only(), "silent").await;
    let rows = vec![(
        "a request to it",
        Call::get(by_key("silent", "a", "/")),
        501,
        "actor.not_handled",
        "neither rivet:actor/http-handler",
    )];
    check(&engine, rows).await;
}

/// Reminders, whose HTTP handler bears a name that the engine does not look for.
fn alarm_only() -> Vec<u8> {
    const NAME: &[u8] = b"rivet:actor/http-handler";
    let mut component = guest::bytes("reminders");
    let found: Vec<usize> =
        component.windows(NAME.len()).enumerate().filter(|(_, bytes)| *bytes == NAME).map(|(at, _)| at).collect();
    assert!(!found.is_empty(), "reminders has an HTTP handler");
    for at in found {
        component[at..at + NAME.len()].copy_from_slice(b"rivet:other/http-handler");
    }
    component
}
