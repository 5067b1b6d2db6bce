//! The plug is pulled again and again while clients write: what was acknowledged is there, and nothing is there by half.
//!
//! Set RIVET_KILLS for more rounds, RIVET_SEED to repeat the moments of a run as far as a machine allows.
//!
//! Counters: every acknowledged increment has a number of its own; none may come twice, none may be gone, and none may be there
//! that nobody asked for. Writers: one message writes eight entries of the same length; all of them are from the same message.

use std::collections::BTreeSet;
use std::env;
use std::sync::Arc;
use std::time::Duration;

use rivet_tests::address::by_key;
use rivet_tests::{Call, Engine};
use tokio::task::JoinSet;

const KILLS_DEFAULT: u64 = 8;
const COUNTERS: usize = 4;
const CLIENTS_PER_COUNTER: usize = 2;
const WRITERS: usize = 3;
const ENTRIES_PER_MESSAGE: usize = 8;
/// The plug is pulled at a moment up to here after the clients have begun.
const KILL_WITHIN_MS: u64 = 400;

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
    let mut torn = 0;
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

        engine = Arc::into_inner(shared).expect("all clients have ended");
        engine.kill9();
        engine.restart().await;
        for (at, counted) in counters.iter().enumerate() {
            check_counter(&engine, at, counted, &format!("round {round}, seed {seed}")).await;
        }
        for (at, wrote) in writers.iter_mut().enumerate() {
            torn += check_writer(&engine, at, wrote, &format!("round {round}, seed {seed}")).await;
        }
    }
    let increments: usize = counters.iter().map(|counted| counted.acknowledged.len()).sum();
    let messages: usize = writers.iter().map(|wrote| wrote.acknowledged).sum();
    println!("kills {kills}, acknowledged {}, lost 0, torn {torn}", increments + messages);
    assert_eq!(torn, 0, "a message that was written by half, seed {seed}");
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

async fn check_counter(engine: &Engine, at: usize, counted: &Counted, when: &str) {
    let count = engine.get(by_key("counter", &at.to_string(), "/")).await.number("the count after a kill");
    let acknowledged = counted.acknowledged.len() as u64;
    let highest = counted.acknowledged.last().copied().unwrap_or(0);
    assert!(count >= highest, "{when}: counter {at} lost writes: {count} seen, {highest} was acknowledged");
    assert!(count >= acknowledged, "{when}: counter {at} lost writes: {count} seen, {acknowledged} were acknowledged");
    let most = acknowledged + counted.unknown;
    assert!(count <= most, "{when}: counter {at} counted what nobody asked for: {count} seen, at most {most} expected");
    let again = engine.get(by_key("counter", &at.to_string(), "/")).await.number("the count once more");
    assert_eq!(count, again, "{when}: counter {at} does not stay the same");
}

/// 1 if what is there is of several messages.
async fn check_writer(engine: &Engine, at: usize, wrote: &mut Wrote, when: &str) -> u64 {
    let listed = engine.get(by_key("hostile", &at.to_string(), "/list?prefix=many/")).await.expect_ok("a list after a kill").text();
    let lengths: BTreeSet<usize> = listed.lines().map(|line| line.split_once('=').map_or(0, |(_, value)| value.len())).collect();
    if lengths.len() > 1 || ![0, ENTRIES_PER_MESSAGE].contains(&listed.lines().count()) {
        eprintln!("{when}: writer {at} is torn: {} entries of lengths {lengths:?}", listed.lines().count());
        return 1;
    }
    let message = lengths.first().copied().unwrap_or(0);
    let (least, most) = (wrote.acknowledged, wrote.sent);
    assert!(message >= least, "{when}: writer {at} lost message {least}: {message} is there");
    assert!(message <= most, "{when}: writer {at} was sent {most} messages, and {message} is there");
    0
}
