//! The plug is pulled again and again while clients write: what was acknowledged is there, and nothing is there by half.
//!
//! Set RIVET_KILLS for more rounds, RIVET_SEED to repeat the moments of a run as far as a machine allows.
//!
//! Counters: every acknowledged increment has a number of its own; none may come twice, none may be gone, and none may be there
//! that nobody asked for. Writers: one message writes eight entries of the same length; all of them are from the same message.
//! Meanwhile new versions are deployed: the last that was acknowledged is live.

use std::collections::BTreeSet;
use std::env;
use std::sync::Arc;
use std::time::Duration;

use rivet_tests::address::by_key;
use rivet_tests::{Call, Engine, guest};
use tokio::task::JoinSet;

const KILLS_DEFAULT: u64 = 8;
const COUNTERS: usize = 4;
const CLIENTS_PER_COUNTER: usize = 2;
const WRITERS: usize = 3;
const ENTRIES_PER_MESSAGE: usize = 8;
/// Deploys take a machine for themselves: not in every round.
const ROUNDS_PER_DEPLOYING: u64 = 3;
/// The plug is pulled at a moment up to here after the clients have begun.
const KILL_WITHIN_MS: u64 = 400;

/// About as long as a start takes.
const START_MS: u64 = 60;

/// What is known of one counter.
#[derive(Default)]
struct Counted {
    /// The numbers that clients were given.
    acknowledged: BTreeSet<u64>,
    /// Increments that ended with the engine: each may have happened or not.
    unknown: u64,
}

/// What is known of one writer: its messages are numbered by the length of what they write.
#[derive(Default)]
struct Wrote {
    acknowledged: usize,
    /// The last that was sent.
    sent: usize,
}

#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_write_is_lost_and_none_is_torn() {
    let number = |name: &str, default| env::var(name).map_or(default, |text| text.parse().expect("a whole number"));
    let kills: u64 = number("RIVET_KILLS", KILLS_DEFAULT);
    let seed = number("RIVET_SEED", fastrand::u64(..));
    println!("seed {seed}");
    let mut dice = fastrand::Rng::with_seed(seed);

    let mut engine = Engine::start().await;
    engine.deploy("counter", "counter").await;
    engine.deploy("hostile", "hostile").await;
    let mut counters: Vec<Counted> = (0..COUNTERS).map(|_| Counted::default()).collect();
    let mut writers: Vec<Wrote> = (0..WRITERS).map(|_| Wrote::default()).collect();
    let (mut lost, mut torn, mut deployed, mut starts_killed) = (0, 0, 1, 0);
    for round in 1..=kills {
        let shared = Arc::new(engine);
        let mut counting = JoinSet::new();
        for at in (0..COUNTERS).flat_map(|at| [at; CLIENTS_PER_COUNTER]) {
            counting.spawn(count_until_killed(shared.clone(), at));
        }
        let mut writing = JoinSet::new();
        for (at, wrote) in writers.drain(..).enumerate() {
            writing.spawn(write_until_killed(shared.clone(), at, wrote));
        }
        let deploying =
            (round % ROUNDS_PER_DEPLOYING == 0).then(|| tokio::spawn(deploy_until_killed(shared.clone(), deployed, round)));
        // Not to wait for anything: it is the moment that chance has chosen.
        tokio::time::sleep(Duration::from_millis(dice.u64(0..KILL_WITHIN_MS))).await;
        shared.strike();
        for (at, numbers) in counting.join_all().await {
            counters[at].unknown += 1;
            for number in numbers {
                assert!(counters[at].acknowledged.insert(number), "round {round}, seed {seed}: counter {at} gave {number} twice");
            }
        }
        let mut wrote = writing.join_all().await;
        wrote.sort_by_key(|(at, _)| *at);
        writers = wrote.into_iter().map(|(_, wrote)| wrote).collect();

        if let Some(deploying) = deploying {
            deployed = deploying.await.expect("the client who deploys does not panic");
        }

        engine = Arc::into_inner(shared).expect("all clients have ended");
        engine.kill9();
        if dice.bool() {
            // Once more, before it has found out what the first time left behind.
            engine.start_and_kill9(Duration::from_millis(dice.u64(0..START_MS))).await;
            starts_killed += 1;
        }
        engine.restart().await;
        let when = format!("round {round}, seed {seed}");
        for (at, counted) in counters.iter().enumerate() {
            lost += check_counter(&engine, at, counted, &when).await;
        }
        for (at, wrote) in writers.iter().enumerate() {
            match check_writer(&engine, at, wrote, &when).await {
                Seen::Whole => {}
                Seen::Lost(messages) => lost += messages,
                Seen::Torn => torn += 1,
            }
        }
        deployed = check_deployed(&engine, deployed, &when).await;
    }
    let increments: usize = counters.iter().map(|counted| counted.acknowledged.len()).sum();
    let messages: usize = writers.iter().map(|wrote| wrote.acknowledged).sum();
    println!(
        "kills {kills}, acknowledged {}, lost {lost}, torn {torn}; {starts_killed} starts killed, {deployed} versions deployed",
        increments + messages
    );
    assert_eq!((lost, torn), (0, 0), "lost and torn, seed {seed}");
    assert!(increments > 0 && messages > 0, "the clients did nothing: {increments} increments, {messages} messages");
}

/// The numbers it was given, until the engine was gone.
async fn count_until_killed(engine: Arc<Engine>, at: usize) -> (usize, Vec<u64>) {
    let mut numbers = Vec::new();
    // Each client ends with one call of which nobody knows whether it counted.
    while let Ok(answer) = engine.try_send(Call::post(by_key("counter", &at.to_string(), "/increment"))).await {
        let number = answer.number("an increment under load");
        assert!(numbers.last().is_none_or(|last| *last < number), "counter {at} went from {:?} to {number}", numbers.last());
        numbers.push(number);
    }
    (at, numbers)
}

async fn write_until_killed(engine: Arc<Engine>, at: usize, mut wrote: Wrote) -> (usize, Wrote) {
    loop {
        wrote.sent += 1;
        let path = format!("/put-many?n={ENTRIES_PER_MESSAGE}&bytes={}", wrote.sent);
        match engine.try_send(Call::post(by_key("hostile", &at.to_string(), &path))).await {
            Ok(answer) => answer.expect_ok("a write under load"),
            Err(_) => return (at, wrote),
        };
        wrote.acknowledged = wrote.sent;
    }
}

/// Deploys one version after the other. The last that was acknowledged.
async fn deploy_until_killed(engine: Arc<Engine>, mut deployed: u64, round: u64) -> u64 {
    for number in 1.. {
        let component = guest::another_version("counter", &format!("{round}.{number}"));
        match engine.try_send(Call::put("/deployments/counter?namespace=default").body(component)).await {
            Ok(answer) => deployed = answer.expect_ok("a deploy under load").json()["version"].as_u64().expect("a number"),
            Err(_) => break,
        }
    }
    deployed
}

/// How many acknowledged increments are gone.
async fn check_counter(engine: &Engine, at: usize, counted: &Counted, when: &str) -> u64 {
    let count = engine.get(by_key("counter", &at.to_string(), "/")).await.number("the count after a kill");
    let acknowledged = counted.acknowledged.len() as u64;
    let most = acknowledged + counted.unknown;
    assert!(count <= most, "{when}: counter {at} counted what nobody asked for: {count} seen, at most {most} expected");
    let again = engine.get(by_key("counter", &at.to_string(), "/")).await.number("the count once more");
    assert_eq!(count, again, "{when}: counter {at} does not stay the same");
    let least = counted.acknowledged.last().copied().unwrap_or(0).max(acknowledged);
    if count < least {
        eprintln!("{when}: counter {at} lost writes: {count} seen, {least} was acknowledged");
    }
    least.saturating_sub(count)
}

enum Seen {
    Whole,
    Lost(u64),
    /// What is there is of several messages, or of one in part.
    Torn,
}

async fn check_writer(engine: &Engine, at: usize, wrote: &Wrote, when: &str) -> Seen {
    let listed = engine.get(by_key("hostile", &at.to_string(), "/list?prefix=many/")).await.expect_ok("a list after a kill").text();
    let lengths: BTreeSet<usize> = listed.lines().map(|line| line.split_once('=').map_or(0, |(_, value)| value.len())).collect();
    if lengths.len() > 1 || ![0, ENTRIES_PER_MESSAGE].contains(&listed.lines().count()) {
        eprintln!("{when}: writer {at} is torn: {} entries of lengths {lengths:?}", listed.lines().count());
        return Seen::Torn;
    }
    let message = lengths.first().copied().unwrap_or(0);
    let (least, most) = (wrote.acknowledged, wrote.sent);
    assert!(message <= most, "{when}: writer {at} was sent {most} messages, and {message} is there");
    if message < least {
        eprintln!("{when}: writer {at} lost message {least}: {message} is there");
        return Seen::Lost((least - message) as u64);
    }
    Seen::Whole
}

/// The version that is live: the last that was acknowledged, or the one that was under way.
async fn check_deployed(engine: &Engine, acknowledged: u64, when: &str) -> u64 {
    let listed = engine.get("/deployments?namespace=default").await.expect_ok("deployments after a kill").json();
    let counter = listed["deployments"].as_array().into_iter().flatten().find(|deployment| deployment["name"] == "counter");
    let versions = counter.unwrap_or_else(|| panic!("{when}: counter expected, seen {listed}"))["versions"].as_array();
    let live =
        versions.into_iter().flatten().find(|version| version["live"] == true).and_then(|version| version["version"].as_u64());
    let live = live.unwrap_or_else(|| panic!("{when}: a live version expected, seen {listed}"));
    assert!((acknowledged..=acknowledged + 1).contains(&live), "{when}: version {live} is live, {acknowledged} was acknowledged");
    live
}
