//! What the same actor costs in each language, from the deploy to a call.

use crate::client::{Connection, Latencies};
use crate::engine::{Engine, by_key_of};
use crate::{RESTED, get, mib, ms};

/// The same counter in each.
const GUESTS: [&str; 4] = ["counter-rust", "counter-c", "counter-js", "counter-python"];
const ACTORS: usize = 100;
const CALLS: usize = 2_000;

pub fn table() {
    println!("## languages\n");
    println!(
        "| guest | MiB | compiled | CPU s of the deploy | create, p50 ms | wake, p50 ms | read, p50 us | KiB each, awake | mappings each | KiB each, rested | mappings each |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for guest in GUESTS {
        // An engine for each: what the one before it has left in memory is not this one's.
        let mut engine = Engine::start();
        let before = engine.cpu();
        let version = engine.deploy(guest);
        let deploy = engine.cpu() - before;
        let field = |name: &str| -> u64 {
            let (_, rest) = version.split_once(&format!("\"{name}\":")).unwrap_or_else(|| panic!("{version}"));
            rest.split([',', '}']).next().and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{version}"))
        };
        // What the compiler took is not what actors take.
        engine.kill_and_restart();
        let read = |number: usize| get(&by_key_of(guest, &format!("{number}"), "/"));
        let mut connection = Connection::open(engine.address);
        // The first pays for what all of them share.
        connection.time(&read(ACTORS));
        let before = engine.memory();
        let mut created = Latencies::default();
        (0..ACTORS).for_each(|number| created.push(connection.time(&read(number))));
        let each = || {
            let now = engine.memory();
            let kib = (now.anonymous as f64 - before.anonymous as f64) / ACTORS as f64 / 1024.0;
            format!("{kib:.0} | {:.1}", (now.mappings as f64 - before.mappings as f64) / ACTORS as f64)
        };
        let awake = each();
        let mut calls = Latencies::default();
        (0..CALLS).for_each(|number| calls.push(connection.time(&read(number % ACTORS))));
        std::thread::sleep(RESTED);
        let rested = each();
        engine.sleep(&engine.ids(guest));
        let mut woken = Latencies::default();
        (0..ACTORS).for_each(|number| woken.push(connection.time(&read(number))));
        println!(
            "| {guest} | {:.2} | {:.1} | {:.2} | {:.2} | {:.2} | {:.0} | {awake} | {rested} |",
            mib(field("bytes")),
            mib(field("compiled_bytes")),
            ms(deploy) / 1e3,
            created.percentile(50) / 1e3,
            woken.percentile(50) / 1e3,
            calls.percentile(50)
        );
    }
    println!();
}
