//! One actor's fault is its own: others answer meanwhile, and it goes on from what was durable.

use std::sync::Arc;
use std::time::Duration;

use rivet_tests::address::{by_id, by_key};
use rivet_tests::{Answer, Engine, until};
use tokio::task::JoinSet;
use tokio::time::Instant;

const ROUNDS: usize = 50;
/// As many requests as one actor may have at one time, and more than that.
const WAITING_MAX: usize = 1024;
const SENT: usize = 1_100;
/// How long a request waits for its actor.
const READY_WITHIN: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn others_answer_while_one_loops_and_one_takes_all_memory() {
    let engine = Arc::new(Engine::start().await);
    engine.deploy("counter", "counter").await;
    engine.deploy("hostile", "hostile").await;
    let mut bad = JoinSet::new();
    for (key, path, status, code) in [("l", "/loop", 504, "actor.cpu_time_exceeded"), ("b", "/bomb", 500, "actor.memory_exceeded")]
    {
        let engine = engine.clone();
        bad.spawn(async move { failed(&engine.get(by_key("hostile", key, path)).await, status, code, path) });
    }
    let (mut calls, mut slowest) = (0, Duration::ZERO);
    // Until both have ended: the loop lasts as long as its processor time does.
    while bad.try_join_next().is_none_or(|ended| ended.map_err(|error| panic!("{error}")).is_ok()) && !(bad.is_empty() && calls > 0)
    {
        calls += 1;
        let began = Instant::now();
        assert_eq!(engine.increment("counter", "a").await, calls, "beside a loop and a bomb");
        slowest = slowest.max(began.elapsed());
    }
    println!("{calls} increments beside a loop and a bomb, the slowest took {slowest:?}");
    assert!(calls >= 10, "the others hardly ran: {calls} increments");
}

#[track_caller]
fn failed(answer: &Answer, status: u16, code: &str, what: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{what}: {status} {code} expected, seen {answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_fault_an_actor_goes_on_from_what_was_durable() {
    let engine = Engine::start().await;
    engine.deploy("hostile", "hostile").await;
    let rows = [
        ("/panic", 500, "actor.trapped"),
        ("/unreachable", 500, "actor.trapped"),
        ("/stack", 500, "actor.stack_overflow"),
        ("/stack-memory", 500, "actor.stack_overflow"),
        ("/bomb", 500, "actor.memory_exceeded"),
        ("/write-then-panic?key=new&value=lost", 500, "actor.trapped"),
        ("/write-then-panic?key=kept&value=lost", 500, "actor.trapped"),
        ("/write-then-loop?key=kept&value=lost", 504, "actor.cpu_time_exceeded"),
        ("/alarm-then-panic?in_ms=0", 500, "actor.trapped"),
    ];
    for (path, status, code) in rows {
        goes_on_after(&engine, path, status, code).await;
    }
}

async fn goes_on_after(engine: &Engine, fault: &str, status: u16, code: &str) {
    let (actor, _) = engine.get_or_create("hostile", fault.split(['?', '&', '=']).collect::<String>().as_str(), None).await;
    let get = async |path: &str| engine.get(by_id(&actor, path)).await;
    get("/put?key=kept&value=before").await.expect_ok("a write");
    assert_eq!(get("/count").await.number("calls in memory"), 1, "{fault}");
    failed(&get(fault).await, status, code, fault);
    assert_eq!(get("/get?key=kept").await.expect_ok("a read after the fault").text(), "before", "{fault}: what was acknowledged");
    assert_eq!(get("/get?key=new").await.status, 404, "{fault}: what the failed message wrote");
    assert_eq!(get("/alarm-get").await.text(), "none", "{fault}: the alarm that the failed message set");
    assert_eq!(get("/count").await.number("calls in memory"), 1, "{fault}: memory begins anew, nothing half done is left in it");
    get("/put?key=kept&value=after").await.expect_ok("a write after the fault");
    assert_eq!(get("/get?key=kept").await.text(), "after", "{fault}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_takes_nothing_from_the_messages_around_it() {
    let engine = Arc::new(Engine::start().await);
    engine.deploy("hostile", "hostile").await;
    let (actor, _) = engine.get_or_create("hostile", "a", None).await;
    // All at once: commits of some are on their way when another fails.
    let mut calls = JoinSet::new();
    for at in 0..60 {
        let (engine, actor) = (engine.clone(), actor.clone());
        calls.spawn(async move {
            let path = if at % 6 == 5 { format!("/write-then-panic?key=lost/{at}") } else { format!("/put?key=kept/{at}") };
            (at, engine.get(by_id(&actor, &path)).await)
        });
    }
    let mut kept = 0;
    for (at, answer) in calls.join_all().await {
        let stored = engine.get(by_id(&actor, &format!("/get?key=kept/{at}"))).await.status == 200;
        match answer.status {
            200 => kept += 1,
            _ => failed(&answer, 500, "actor.trapped", &format!("call {at}")),
        }
        assert_eq!(answer.status == 200, stored, "call {at}: acknowledged and stored must be one; it was answered with {answer}");
    }
    let lost = engine.get(by_id(&actor, "/list?prefix=lost/")).await.expect_ok("a list").text();
    assert_eq!(lost, "", "writes of messages that failed");
    assert_eq!(kept, 50, "only the calls that panic fail");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_right_after_a_fault_is_answered() {
    let engine = Arc::new(Engine::start().await);
    engine.deploy("hostile", "hostile").await;
    let mut actors = JoinSet::new();
    for key in ["a", "b", "c", "d"] {
        let engine = engine.clone();
        actors.spawn(async move {
            for round in 1..=ROUNDS {
                // The next request meets the instance in every stage of its end, from one round to another.
                failed(&engine.get(by_key("hostile", key, "/panic")).await, 500, "actor.trapped", "a panic");
                assert_eq!(engine.get(by_key("hostile", key, "/count")).await.number("right after"), 1, "round {round}");
            }
        });
    }
    actors.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_too_long_is_refused_and_the_rest_is_served() {
    // One connection each, in this process too.
    raise_limit_of_files();
    let engine = Arc::new(Engine::start().await);
    engine.deploy("hostile", "hostile").await;
    engine.get(by_key("hostile", "a", "/count")).await.expect_ok("a first call");
    let mut looping = JoinSet::new();
    let at_work = engine.clone();
    looping.spawn(async move { at_work.get(by_key("hostile", "a", "/loop")).await });
    // Whatever comes while it loops stands in line; how many came before it does not matter.
    let mut calls = JoinSet::new();
    for _ in 0..SENT {
        let engine = engine.clone();
        calls.spawn(async move {
            let began = Instant::now();
            (engine.get(by_key("hostile", "a", "/info")).await, began.elapsed())
        });
    }
    let (mut kept, mut refused) = (0, 0);
    for (answer, waited) in calls.join_all().await {
        match answer.status {
            200 => kept += 1,
            // The loop has five seconds of processor time, which are more than half a minute on a machine that is busy enough.
            _ if waited >= READY_WITHIN => {
                failed(&answer, 503, "guard.actor_ready_timeout", "a request that waited too long");
                kept += 1;
            }
            _ => {
                failed(&answer, 503, "actor.overloaded", "a request too many");
                assert_eq!(answer.header("retry-after"), "1", "{answer}");
                refused += 1;
            }
        }
    }
    assert!(refused > 0, "{SENT} requests at one time, at most {WAITING_MAX} are kept, and none was refused");
    assert!(kept >= WAITING_MAX - 1, "{kept} of {WAITING_MAX} were served after the loop had ended");
    failed(&looping.join_all().await[0], 504, "actor.cpu_time_exceeded", "the loop");
}

/// As many files as the system lets this process have.
fn raise_limit_of_files() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls are given a limit of ours that lives longer than they do.
    let done = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit)
    };
    assert_eq!(done, 0, "the limit of open files could not be raised to {}", limit.rlim_max);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_that_fails_is_tried_again_and_writes_nothing() {
    let engine = Engine::start().await;
    engine.deploy("hostile", "hostile").await;
    // `alarm-panic:1` and `alarm-error:1` in base64: only the first attempt fails.
    for (key, input, said) in
        [("p", "YWxhcm0tcGFuaWM6MQ==", "alarm was told to panic"), ("e", "YWxhcm0tZXJyb3I6MQ==", "alarm was told to fail")]
    {
        let (actor, _) = engine.get_or_create("hostile", key, Some(input)).await;
        engine.get(by_id(&actor, "/alarm?in_ms=0")).await.expect_ok("an alarm");
        let fired = until("the second attempt succeeds", || async {
            let listed = engine.get(by_id(&actor, "/list?prefix=fired/")).await.expect_ok("a list").text();
            (!listed.is_empty()).then_some(listed.clone()).ok_or(format!("{listed:?}"))
        })
        .await;
        assert!(fired.starts_with("fired/00000001=attempt%3d2%20"), "{key}: the first attempt's write is dropped; seen {fired:?}");
        assert_eq!(fired.lines().count(), 1, "{key}: {fired}");
        engine.logged(&actor, said).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_actor_sees_nothing_of_the_machine() {
    let engine = Engine::start().await;
    engine.deploy("hostile", "hostile").await;
    let seen = engine.get(by_key("hostile", "a", "/fs")).await.expect_ok("what it sees").text();
    assert!(seen.starts_with("0 folders, 0 variables, 0 arguments"), "{seen}");
    assert!(!seen.ends_with(" bytes"), "a file of the machine could be read: {seen}");
}
