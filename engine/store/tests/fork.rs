//! A fork: what it shows of the store below, that nothing it does reaches that, and what it says is different.

use std::sync::Arc;

use bytes::Bytes;
use engine_core::record::{Change, DatabaseHead};
use protocol::id::{ActorId, Id};
use protocol::message::{KvChange, KvRange, KvSpace};
use rivet_engine_store::fork::{Difference, Differences};
use rivet_engine_store::rocks::Tuning;
use rivet_engine_store::{Batch, Fork, Memory, Pair, Persist, Rocks, Scan, Snapshot, State, Store, StoreError, group};
use tempfile::TempDir;

const BYTES_MAX: usize = 64 * 1024;

fn rocks() -> (Arc<Rocks>, TempDir) {
    let directory = tempfile::tempdir().expect("the temporary directory can be written");
    (Arc::new(Rocks::open(directory.path(), &Tuning::default()).expect("a new store opens")), directory)
}

fn snapshot(rocks: &Arc<Rocks>) -> Arc<dyn Snapshot> {
    Arc::new(rocks.snapshot().expect("a thread"))
}

fn all(store: &dyn Store, reverse: bool) -> Vec<Pair> {
    let scan = Scan { start: b"x", end: None, reverse, keys_only: false, limit: usize::MAX, bytes_max: usize::MAX };
    store.scan(scan).expect("the store can be read")
}

fn key(random: &mut fastrand::Rng) -> Vec<u8> {
    (0..random.usize(1..4)).fold(vec![b'x'], |mut key, _| {
        key.push(random.choice([0, b'a', b'b', 0xff]).expect("a choice of four"));
        key
    })
}

fn batch(random: &mut fastrand::Rng) -> Batch {
    let mut batch = Batch::new();
    for _ in 0..random.usize(1..12) {
        let at = key(random);
        match random.u8(0..20) {
            0..12 => batch.put(at, vec![random.u8(..); random.usize(0..40)]),
            12..17 => batch.delete(at),
            _ => batch.delete_range(at, key(random)),
        }
    }
    batch
}

/// Two forks of one moment and the store that they began as, which goes on; each is a map of its own.
#[test]
fn nobody_sees_what_another_writes() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (rocks, _directory) = rocks();
    let models = [Memory::new(), Memory::new(), Memory::new()];
    for _ in 0..30 {
        let begin = batch(&mut random);
        rocks.commit(&begin, Persist::Written).expect("a batch");
        models.iter().for_each(|model| model.commit(&begin, Persist::Written).expect("a batch"));
    }
    let below = snapshot(&rocks);
    let stores: [Arc<dyn Store>; 3] = [Arc::new(Fork::whole(below.clone())), Arc::new(Fork::whole(below)), rocks];
    for round in 0..400 {
        let at = random.usize(0..3);
        let more = batch(&mut random);
        stores[at].commit(&more, Persist::Written).expect("a batch");
        models[at].commit(&more, Persist::Written).expect("a batch");
        for (store, model) in stores.iter().zip(&models) {
            let reverse = random.bool();
            assert_eq!(all(&**store, reverse), all(model, reverse), "round {round}");
            let (start, end) = (key(&mut random), key(&mut random));
            let (limit, bytes_max, keys_only) = (random.usize(0..10), random.usize(0..200), random.bool());
            let scan = Scan { start: &start, end: Some(&end), reverse, keys_only, limit, bytes_max };
            assert_eq!(store.scan(scan), model.scan(scan), "round {round}: {scan:?}");
            assert_eq!(store.get_many(&[&start, &end]), model.get_many(&[&start, &end]), "round {round}");
        }
    }
}

fn actor(number: u8) -> ActorId {
    Id::new([number; 16], 1)
}

fn put(key: &str, value: &str) -> KvChange {
    KvChange::Put { key: Bytes::copy_from_slice(key.as_bytes()), value: Bytes::copy_from_slice(value.as_bytes()) }
}

fn write(store: &dyn Store, actor: ActorId, changes: &[KvChange]) {
    let change = |space| Change::Kv { actor, space, now_ms: 7, changes: changes.to_vec() };
    let batch = alone(store, &[change(KvSpace::Actor), change(KvSpace::Runner)]);
    store.commit(&batch, Persist::Written).expect("a batch");
}

/// As the writer does it.
fn alone(store: &dyn Store, changes: &[Change]) -> Batch {
    group::alone(store, State::batch(changes)).expect("a read")
}

fn listed(fork: &Arc<Fork>, actor: ActorId) -> String {
    let state = State::new(fork.clone());
    let list = state.kv_list(KvSpace::Actor, actor, &KvRange::all(), false, 100, false).expect("a read").expect("a short list");
    let texts = list.iter().map(|entry| String::from_utf8_lossy(&[&entry.key[..], b"=", &entry.value].concat()).into_owned());
    texts.collect::<Vec<_>>().join(" ")
}

fn told(found: &Differences) -> String {
    let first = found.first.iter().map(|(key, difference)| {
        let sign = match difference {
            Difference::Added => '+',
            Difference::Changed => '~',
            Difference::Removed => '-',
        };
        format!("{sign}{}", String::from_utf8_lossy(key))
    });
    let first = first.collect::<Vec<_>>().join(" ");
    format!("{} {} {}: {first}", found.added, found.changed, found.removed)
}

/// What the actor `a=1 b=2 c=3 d=4` looks like after these changes, and what is said to be different.
#[track_caller]
fn check(changes: &[&[KvChange]], expected: &str, differences: &str) {
    let (rocks, _directory) = rocks();
    let begin = ["a=1", "b=2", "c=3", "d=4"].map(|entry| entry.split_once('=').expect("two parts"));
    let begin = begin.map(|(key, value)| put(key, value));
    [actor(1), actor(2)].iter().for_each(|actor| write(&*rocks, *actor, &begin));
    let fork = Arc::new(Fork::of_actor(snapshot(&rocks), actor(1), BYTES_MAX));
    assert_eq!(listed(&fork, actor(2)), "", "another actor is not to be seen");
    changes.iter().for_each(|changes| write(&*fork, actor(1), changes));
    assert_eq!(listed(&fork, actor(1)), expected);
    for space in [KvSpace::Actor, KvSpace::Runner] {
        assert_eq!(told(&fork.differences(space, actor(1), 2).expect("a read")), differences);
    }
    let untouched = Arc::new(Fork::whole(snapshot(&rocks)));
    assert_eq!(listed(&untouched, actor(1)), "a=1 b=2 c=3 d=4");
}

#[test]
fn what_is_different() {
    let delete = |key: &'static str| KvChange::Delete { key: Bytes::from_static(key.as_bytes()) };
    let range = |start: &'static str, end: &'static str| KvChange::DeleteRange {
        range: KvRange { start: Bytes::from_static(start.as_bytes()), end: Some(Bytes::from_static(end.as_bytes())) },
    };
    check(&[], "a=1 b=2 c=3 d=4", "0 0 0: ");
    check(&[&[put("a", "9"), put("e", "5"), delete("c")]], "a=9 b=2 d=4 e=5", "1 1 1: ~a -c +e");
    check(&[&[put("a", "1"), delete("x"), put("y", "1")], &[delete("y")]], "a=1 b=2 c=3 d=4", "0 0 0: ");
    check(&[&[range("b", "d")]], "a=1 d=4", "0 0 2: -b -c");
    check(&[&[range("b", "d"), put("b", "2")], &[put("bb", "1")]], "a=1 b=2 bb=1 d=4", "1 0 1: +bb -c");
    check(&[&[KvChange::DeleteRange { range: KvRange::all() }]], "", "0 0 4: -a -b");
    check(&[&[range("a", "b"), range("c", "d")], &[range("a", "d")]], "d=4", "0 0 3: -a -b");
}

#[test]
fn a_database_is_shown_and_written_over() {
    let (rocks, _directory) = rocks();
    let database = |txid, pages: &[(u32, u8)], size_pages, shrunk| Change::Database {
        actor: actor(1),
        head: DatabaseHead { txid, size_pages },
        pages: pages.iter().map(|(number, byte)| (*number, vec![*byte; 4096].into())).collect(),
        shrunk,
    };
    rocks.commit(&alone(&*rocks, &[database(1, &[(1, 1), (2, 2)], 2, false)]), Persist::Written).expect("a batch");
    let fork = Arc::new(Fork::of_actor(snapshot(&rocks), actor(1), BYTES_MAX));
    let state = State::new(fork.clone());
    let seen = |state: &State| {
        let (head, pages) = state.pages(actor(1), &[1, 2]).expect("a read");
        (head.map(|head| head.txid), pages.into_iter().map(|page| page.map(|page| page[0])).collect::<Vec<_>>())
    };
    assert_eq!(seen(&state), (Some(1), vec![Some(1), Some(2)]));
    fork.commit(&alone(&*fork, &[database(2, &[(1, 9)], 1, true)]), Persist::Written).expect("a batch");
    assert_eq!(seen(&state), (Some(2), vec![Some(9), None]));
    assert_eq!(seen(&State::new(rocks)), (Some(1), vec![Some(1), Some(2)]));
}

#[test]
fn a_fork_takes_no_more_than_it_may() {
    let (rocks, _directory) = rocks();
    let fork = Fork::of_actor(snapshot(&rocks), actor(1), BYTES_MAX);
    let fill = |key: u8, bytes: usize| {
        let mut batch = Batch::new();
        batch.put(vec![key], vec![0; bytes]);
        fork.commit(&batch, Persist::Written)
    };
    for _ in 0..10 {
        fill(1, BYTES_MAX / 2).expect("what is written over does not count");
    }
    assert!(matches!(fill(2, BYTES_MAX / 2), Err(StoreError::Io { .. })));
    assert!(matches!(fill(3, 0), Err(StoreError::Poisoned { .. })));
    assert!(fork.poisoned().is_some_and(|why| why.contains("65536 bytes")));
}
