//! Starts on data directories of many actors: how long until the engine is healthy, and what it takes then.
//!
//! The actors are written into the store as the engine would have left them: copies of one that was made, incremented and put to sleep.
//! Each start is the first after `kill -9`, and is measured with the files in the page cache and without them, where that can be done.

use std::fs;
use std::sync::Arc;

use engine_core::record::{ActorRecord, Change};
use engine_store::{Persist, Rocks, State, Store, group};
use protocol::id::{Id, Partition};
use protocol::message::{KvChange, KvRange, KvSpace};

use crate::client::Connection;
use crate::engine::{Engine, by_key};
use crate::{get, mib, ms};

const ACTORS: [usize; 3] = [0, 100_000, 1_000_000];
/// Actors that are written in one batch.
const BATCH: usize = 2_000;
/// What the kernel has of files in memory is thrown away by whoever may write here.
const DROP_CACHES: &str = "/proc/sys/vm/drop_caches";

pub fn table() {
    println!("## cold\n\n| actors | data directory | files in memory | healthy after | resident, of which not files | wake one |");
    println!("|---:|---:|---|---:|---:|---:|");
    for count in ACTORS {
        let mut engine = Engine::start();
        engine.deploy("counter");
        let ids = engine.actors(1);
        engine.increment(&ids[0]);
        engine.sleep(&ids);
        engine.while_stopped(|data| fill(data, &ids[0], count));
        for cold in [false, true] {
            engine.kill();
            if cold && fs::write(DROP_CACHES, "1").is_err() {
                println!("| {count} | | no: only root may drop them | | | |");
                engine.start_again();
                continue;
            }
            engine.start_again();
            let taken = engine.memory();
            let key = format!("copy-{}", count / 2);
            let path = if count > 0 { by_key(&key, "/") } else { format!("/gateway/{}/", ids[0]) };
            let woken = Connection::open(engine.address).time(&get(&path));
            println!(
                "| {count} | {:.0} MiB | {} | {:.0} ms | {:.0}, {:.0} MiB | {:.1} ms |",
                mib(engine.on_disk()),
                if cold { "no" } else { "yes" },
                ms(engine.healthy_after),
                mib(taken.resident),
                mib(taken.anonymous),
                ms(woken)
            );
        }
    }
    println!();
}

/// So many copies of this actor, each with a key and an entry of its own.
fn fill(data: &std::path::Path, of: &str, count: usize) {
    let store = Arc::new(Rocks::open(&data.join("store"), &Default::default()).expect("the engine has stopped"));
    let state = State::new(store.clone());
    let of: Id = of.parse().expect("an id");
    let pattern = state.actor_record(of).expect("a read").expect("it is there");
    let entry = state.kv_list(KvSpace::Actor, of, &KvRange::all(), false, 1, false).expect("a read").expect("a short list");
    let entry = entry.first().expect("it has counted");
    for from in (0..count).step_by(BATCH) {
        let changes: Vec<Change> = (from..count.min(from + BATCH))
            .flat_map(|number| {
                let key = format!("copy-{number}");
                let mut random = [0; 16];
                fastrand::fill(&mut random);
                let id = Id::new(random, 1).in_partition(Partition::of_key(pattern.namespace, &pattern.name, &key));
                let record = Box::new(ActorRecord { id, key: Some(key), ..pattern.clone() });
                let put = KvChange::Put { key: entry.key.clone(), value: entry.value.clone() };
                [
                    Change::CreateActor { record: record.clone(), input: None },
                    Change::Kv { actor: id, space: KvSpace::Actor, now_ms: entry.update_ms, changes: vec![put] },
                    Change::PutActor(record),
                ]
            })
            .collect();
        let batch = group::alone(&*store, State::batch(&changes)).expect("it can be counted");
        store.commit(&batch, Persist::Written).expect("there is room");
    }
}
