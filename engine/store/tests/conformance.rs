//! One suite for every backend: rows of operations, and what a reader then sees.
//!
//! A new backend is one more line in `backends`. Only `check` knows the API; a row is what is written and what is expected.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use rivet_engine_store::rocks::Tuning;
use rivet_engine_store::{Batch, Fork, Memory, Pair, Persist, Rocks, Scan, Store, StoreError};

/// Each backend empty, with what must live as long as it.
fn backends() -> Vec<(&'static str, Arc<dyn Store>, Option<tempfile::TempDir>)> {
    let directory = tempfile::tempdir().expect("the temporary directory can be written");
    let rocks = Rocks::open(directory.path(), &Tuning::default()).expect("a new store opens");
    let below = tempfile::tempdir().expect("the temporary directory can be written");
    let empty = Arc::new(Rocks::open(below.path(), &Tuning::default()).expect("a new store opens"));
    let fork = Fork::whole(Arc::new(empty.snapshot().expect("a thread")));
    vec![
        ("memory", Arc::new(Memory::new()), None),
        ("rocks", Arc::new(rocks), Some(directory)),
        ("fork", Arc::new(fork), Some(below)),
    ]
}

/// One operation of a batch.
enum Do {
    Put(&'static str, &'static str),
    Delete(&'static str),
    Range(&'static str, &'static str),
    Is(&'static str, &'static str),
    Absent(&'static str),
}
use Do::{Absent, Delete, Is, Put, Range};

/// What a batch must give.
enum Gives {
    Fine,
    /// The check with this number does not hold.
    Conflict(usize),
}
use Gives::{Conflict, Fine};

/// Texts with `~` for the byte 0xff and `0` for the byte 0, so that rows can be read.
fn bytes(text: &str) -> Bytes {
    text.bytes()
        .map(|byte| {
            if byte == b'~' {
                0xff
            } else if byte == b'0' {
                0
            } else {
                byte
            }
        })
        .collect::<Vec<u8>>()
        .into()
}

fn text(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|byte| {
            if *byte == 0xff {
                '~'
            } else if *byte == 0 {
                '0'
            } else {
                char::from(*byte)
            }
        })
        .collect()
}

fn batch(ops: &[Do]) -> Batch {
    let mut batch = Batch::new();
    for op in ops {
        match op {
            Put(key, value) => batch.put(bytes(key), bytes(value)),
            Delete(key) => batch.delete(bytes(key)),
            Range(start, end) => batch.delete_range(bytes(start), bytes(end)),
            Is(key, value) => batch.check(bytes(key), Some(bytes(value))),
            Absent(key) => batch.check(bytes(key), None),
        }
    }
    batch
}

/// All that is in the store, beside what the backend keeps for itself.
fn all(store: &dyn Store) -> String {
    let scan = Scan { start: &[], end: None, reverse: false, keys_only: false, limit: usize::MAX, bytes_max: usize::MAX };
    let pairs = store.scan(scan).expect("the store can be read");
    let pairs = pairs.iter().filter(|pair| !pair.key.starts_with(b"meta/"));
    pairs.map(|pair| format!("{}={}", text(&pair.key), text(&pair.value))).collect::<Vec<_>>().join(" ")
}

fn check(name: &str, batches: &[(&[Do], Gives)], expected: &str) {
    for persist in [Persist::Written, Persist::Synced] {
        for (backend, store, _directory) in backends() {
            for (number, (ops, gives)) in batches.iter().enumerate() {
                let before = all(&*store);
                let result = store.commit(&batch(ops), persist);
                match gives {
                    Fine => assert_eq!(result, Ok(()), "{backend}: {name}: batch {number}"),
                    Conflict(expected) => {
                        assert!(
                            matches!(&result, Err(StoreError::Conflict { check, .. }) if check == expected),
                            "{backend}: {name}: batch {number} gave {result:?}"
                        );
                        assert_eq!(all(&*store), before, "{backend}: {name}: a conflict writes nothing");
                    }
                }
            }
            assert_eq!(all(&*store), expected, "{backend}: {name}");
            assert_eq!(store.poisoned(), None, "{backend}: {name}");
        }
    }
}

#[test]
fn batches() {
    check("nothing", &[(&[], Fine)], "");
    check("a put is read", &[(&[Put("a", "1")], Fine)], "a=1");
    check("the last put stays", &[(&[Put("a", "1")], Fine), (&[Put("a", "2")], Fine)], "a=2");
    check("an empty value is a value", &[(&[Put("a", "")], Fine)], "a=");
    check("an empty key is a key", &[(&[Put("", "1"), Put("a", "2")], Fine)], "=1 a=2");
    check("a delete", &[(&[Put("a", "1"), Put("b", "2")], Fine), (&[Delete("a")], Fine)], "b=2");
    check("a delete of nothing", &[(&[Delete("a")], Fine)], "");
    check("keys are ordered by bytes", &[(&[Put("~", "3"), Put("B", "1"), Put("a", "2"), Put("0", "0")], Fine)], "0=0 B=1 a=2 ~=3");
    check("a longer key comes after", &[(&[Put("a0", "2"), Put("a", "1"), Put("a~", "3")], Fine)], "a=1 a0=2 a~=3");
    check("0xff is a byte like others", &[(&[Put("~~", "2"), Put("~", "1"), Put("~~~", "3")], Fine)], "~=1 ~~=2 ~~~=3");
    check("in a batch the later operation wins", &[(&[Put("a", "1"), Delete("a"), Put("b", "1"), Put("b", "2")], Fine)], "b=2");
    check("in a batch a put after a delete stays", &[(&[Put("a", "1")], Fine), (&[Delete("a"), Put("a", "2")], Fine)], "a=2");
}

#[test]
fn range_deletes() {
    let abc: &[Do] = &[Put("a", "1"), Put("b", "2"), Put("b~", "3"), Put("c", "4")];
    check("the end stays", &[(abc, Fine), (&[Range("a", "c")], Fine)], "c=4");
    check("the start goes", &[(abc, Fine), (&[Range("b", "b~")], Fine)], "a=1 b~=3 c=4");
    check("nothing is in an empty range", &[(abc, Fine), (&[Range("b", "b")], Fine)], "a=1 b=2 b~=3 c=4");
    check("nor in one that ends before it starts", &[(abc, Fine), (&[Range("c", "a")], Fine)], "a=1 b=2 b~=3 c=4");
    check("before it in its batch", &[(&[Put("a", "1"), Range("a", "b")], Fine)], "");
    check("after it in its batch", &[(abc, Fine), (&[Range("a", "d"), Put("b", "5")], Fine)], "b=5");
    check("from the empty key", &[(abc, Fine), (&[Range("", "b")], Fine)], "b=2 b~=3 c=4");
    check("up to 0xff", &[(&[Put("a", "1"), Put("~", "2"), Put("~~", "3")], Fine), (&[Range("a", "~~")], Fine)], "~~=3");
    check("one of many", &[(abc, Fine), (&[Range("a", "b"), Range("b", "b0"), Range("b~", "b~0")], Fine)], "c=4");
    check("it hides what was there, not what comes", &[(abc, Fine), (&[Range("a", "z")], Fine), (&[Put("b", "6")], Fine)], "b=6");
}

/// Backends may delete few keys in another way than many, or than many that are gone already.
#[test]
fn range_deletes_of_any_length() {
    for (backend, store, _directory) in backends() {
        for count in [0u32, 1, 255, 256, 257, 5_000] {
            let key = |number: u32| [&b"k"[..], &number.to_be_bytes()].concat();
            for deleted_before in [false, true] {
                let (mut fill, mut empty, mut last) = (Batch::new(), Batch::new(), Batch::new());
                (0..count).for_each(|number| fill.put(key(number), "1"));
                (0..count).for_each(|number| empty.delete(key(number)));
                store.commit(&fill, Persist::Written).expect("a batch");
                if deleted_before {
                    store.commit(&empty, Persist::Written).expect("a batch");
                }
                last.put(key(count), "before it in its batch");
                last.put("j", "1");
                last.delete_range(key(0), key(count + 1));
                last.put(key(count / 2), "2");
                last.put("l", "1");
                store.commit(&last, Persist::Written).expect("a batch");
                let found = store.scan(Scan::range(b"j", b"m", usize::MAX)).expect("a read");
                let found: Vec<Bytes> = found.into_iter().map(|pair| pair.key).collect();
                assert_eq!(
                    found,
                    [b"j".to_vec(), key(count / 2), b"l".to_vec()],
                    "{backend}: {count} keys, deleted {deleted_before}"
                );
            }
        }
    }
}

#[test]
fn checks() {
    let a: &[Do] = &[Put("a", "1")];
    check("the same value", &[(a, Fine), (&[Is("a", "1"), Put("a", "2")], Fine)], "a=2");
    check("another value", &[(a, Fine), (&[Is("a", "0"), Put("a", "2"), Put("b", "1")], Conflict(0))], "a=1");
    check("a value where there is none", &[(&[Is("a", "1"), Put("b", "1")], Conflict(0))], "");
    check("absent", &[(&[Absent("a"), Put("a", "1")], Fine)], "a=1");
    check("absent, and it is not", &[(a, Fine), (&[Absent("a"), Put("a", "2")], Conflict(0))], "a=1");
    check("absent is not empty", &[(&[Put("a", "")], Fine), (&[Absent("a")], Conflict(0)), (&[Is("a", "")], Fine)], "a=");
    check("absent once it is deleted", &[(a, Fine), (&[Delete("a")], Fine), (&[Absent("a"), Put("a", "3")], Fine)], "a=3");
    check(
        "the first that does not hold is named",
        &[(a, Fine), (&[Is("a", "1"), Absent("b"), Is("c", "1"), Absent("a")], Conflict(2))],
        "a=1",
    );
    check("checks alone", &[(a, Fine), (&[Is("a", "1"), Absent("b")], Fine)], "a=1");
    check("a check speaks of the state before its batch", &[(a, Fine), (&[Delete("a"), Absent("a")], Conflict(0))], "a=1");
    check(
        "a conflict does not spoil the next batch",
        &[(a, Fine), (&[Absent("a")], Conflict(0)), (&[Put("b", "2")], Fine)],
        "a=1 b=2",
    );
}

#[test]
fn scans() {
    struct Row(&'static str, Option<&'static str>, bool, usize, usize, &'static str);
    const ALL: usize = usize::MAX;
    let rows = [
        Row("", None, false, ALL, ALL, "=0 a=1 aa=22 b=333 b0=4 ~=5 ~~=6"),
        Row("", None, true, ALL, ALL, "~~=6 ~=5 b0=4 b=333 aa=22 a=1 =0"),
        Row("a", Some("b"), false, ALL, ALL, "a=1 aa=22"),
        Row("a", Some("b"), true, ALL, ALL, "aa=22 a=1"),
        Row("a0", Some("b0"), false, ALL, ALL, "aa=22 b=333"),
        Row("a0", Some("b0"), true, ALL, ALL, "b=333 aa=22"),
        Row("b", Some("b"), false, ALL, ALL, ""),
        Row("b", Some("a"), false, ALL, ALL, ""),
        Row("b", Some("a"), true, ALL, ALL, ""),
        Row("", Some(""), false, ALL, ALL, ""),
        Row("", Some("0"), false, ALL, ALL, "=0"),
        Row("c", Some("d"), false, ALL, ALL, ""),
        Row("c", Some("d"), true, ALL, ALL, ""),
        Row("~", None, false, ALL, ALL, "~=5 ~~=6"),
        Row("~", Some("~~"), false, ALL, ALL, "~=5"),
        Row("~~0", None, false, ALL, ALL, ""),
        Row("~~0", None, true, ALL, ALL, ""),
        Row("", None, false, 0, ALL, ""),
        Row("", None, false, 2, ALL, "=0 a=1"),
        Row("", None, true, 2, ALL, "~~=6 ~=5"),
        Row("a", Some("b0"), false, 1, ALL, "a=1"),
        Row("a", Some("b0"), true, 1, ALL, "b=333"),
        // The pair that reaches the bound is still returned, so there is always one.
        Row("a", None, false, ALL, 0, "a=1"),
        Row("a", None, false, ALL, 2, "a=1"),
        Row("a", None, false, ALL, 3, "a=1 aa=22"),
        Row("a", None, false, ALL, 6, "a=1 aa=22"),
        Row("a", None, false, ALL, 7, "a=1 aa=22 b=333"),
        Row("a", None, true, ALL, 4, "~~=6 ~=5"),
    ];
    for (backend, store, _directory) in backends() {
        let contents =
            [Put("", "0"), Put("a", "1"), Put("aa", "22"), Put("b", "333"), Put("b0", "4"), Put("~", "5"), Put("~~", "6")];
        store.commit(&batch(&contents), Persist::Written).expect("a store that is well takes a batch");
        for Row(start, end, reverse, limit, bytes_max, expected) in &rows {
            let (start, end) = (bytes(start), end.map(bytes));
            let scan = Scan {
                start: &start,
                end: end.as_deref(),
                reverse: *reverse,
                keys_only: false,
                limit: *limit,
                bytes_max: *bytes_max,
            };
            let what = format!(
                "{backend}: {:?}..{:?} reverse {reverse} limit {limit} bytes {bytes_max}",
                text(&start),
                end.as_deref().map(text)
            );
            let pairs: Vec<Pair> = store.scan(scan).expect("the store can be read");
            let pairs: Vec<Pair> = pairs.into_iter().filter(|pair| !pair.key.starts_with(b"meta/")).collect();
            let found: Vec<String> = pairs.iter().map(|pair| format!("{}={}", text(&pair.key), text(&pair.value))).collect();
            assert_eq!(found.join(" "), *expected, "{what}");
        }
        let keys = store.scan(Scan { keys_only: true, ..Scan::range(b"a", b"c", ALL) }).expect("the store can be read");
        assert!(keys.iter().all(|pair| pair.value.is_empty()), "{backend}");
        assert_eq!(keys.iter().map(|pair| text(&pair.key)).collect::<Vec<_>>(), ["a", "aa", "b", "b0"], "{backend}");
    }
}

#[test]
fn several_keys_at_once() {
    for (backend, store, _directory) in backends() {
        store.commit(&batch(&[Put("a", "1"), Put("", "2"), Put("c", "")]), Persist::Written).expect("a batch");
        let rows: [(&[&str], &[Option<&str>]); 4] = [
            (&[], &[]),
            (&["a"], &[Some("1")]),
            (&["c", "b", "a", "", "a"], &[Some(""), None, Some("1"), Some("2"), Some("1")]),
            (&["x", "y"], &[None, None]),
        ];
        for (keys, expected) in rows {
            let keys: Vec<Bytes> = keys.iter().map(|key| bytes(key)).collect();
            let keys: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
            let found = store.get_many(&keys).expect("the store can be read");
            let found: Vec<Option<String>> = found.iter().map(|value| value.as_deref().map(text)).collect();
            let expected: Vec<Option<String>> = expected.iter().map(|value| value.map(str::to_owned)).collect();
            assert_eq!(found, expected, "{backend}");
        }
    }
}

/// Readers run while a writer moves two keys together: neither a scan nor several keys at once may see them apart.
#[test]
fn reads_are_of_one_moment() {
    const MOVES: u32 = 2_000;
    for (backend, store, _directory) in backends() {
        let both = |number: u32| {
            let mut batch = Batch::new();
            let value = Bytes::copy_from_slice(&number.to_be_bytes());
            batch.put(&b"x"[..], value.clone());
            batch.put(&b"y"[..], value);
            batch
        };
        store.commit(&both(0), Persist::Written).expect("a batch");
        let store = &store;
        std::thread::scope(|scope| {
            let writer =
                scope.spawn(|| (1..=MOVES).for_each(|number| store.commit(&both(number), Persist::Written).expect("a batch")));
            // A thread that is waited for: what RocksDB keeps for a reader must be gone before the process ends, and nobody waits for
            // the threads of tests.
            let reader = scope.spawn(move || {
                while !writer.is_finished() {
                    let found = store.get_many(&[b"x", b"y"]).expect("the store can be read");
                    assert_eq!(found[0], found[1], "{backend}: several keys at once");
                    let pairs = store.scan(Scan::range(b"x", b"z", 2)).expect("the store can be read");
                    assert_eq!(pairs[0].value, pairs[1].value, "{backend}: a scan");
                }
                writer.join()
            });
            reader.join().and_then(|written| written).expect("neither panics");
        });
    }
}

/// Random batches against a map, with the store closed and opened again in between.
#[test]
fn it_is_a_map_that_survives_reopening() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let directory = tempfile::tempdir().expect("the temporary directory can be written");
    // Small memtables: tables, compactions and range tombstones on disk are part of it.
    let tuning = Tuning { memtable_bytes: 64 * 1024, ..Tuning::default() };
    let mut store = Rocks::open(directory.path(), &tuning).expect("a new store opens");
    let memory = Memory::new();
    let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for round in 0..1_500 {
        let mut batch = Batch::new();
        for _ in 0..random.usize(0..12) {
            random_op(&mut random, &mut batch, &mut model);
        }
        let persist = if random.u8(..) < 8 { Persist::Synced } else { Persist::Written };
        store.commit(&batch, persist).expect("a batch");
        memory.commit(&batch, persist).expect("a batch");
        if random.u8(..) < 4 {
            store.close().expect("it closes");
            store = Rocks::open(directory.path(), &tuning).expect("it opens again");
        }
        if random.u8(..) < 4 {
            drop(store);
            store = Rocks::open(directory.path(), &tuning).expect("it opens again");
        }
        let key = random_key(&mut random);
        assert_eq!(store.get(&key).expect("a read").as_deref(), model.get(&key).map(|value| &value[..]), "round {round}");
        compare(&mut random, &store, &memory, &model, round);
    }
}

fn random_key(random: &mut fastrand::Rng) -> Vec<u8> {
    // Under a prefix of their own: deleting ranges of them must not delete what the backend keeps for itself.
    let mut key = vec![b'x'];
    key.extend((0..random.usize(0..4)).map(|_| random.choice([0, 1, b'a', b'b', 0xfe, 0xff]).expect("a choice of six")));
    key
}

fn random_op(random: &mut fastrand::Rng, batch: &mut Batch, model: &mut BTreeMap<Vec<u8>, Vec<u8>>) {
    let key = random_key(random);
    match random.u8(0..20) {
        0..14 => {
            let value: Vec<u8> = (0..random.usize(0..600)).map(|_| random.u8(..)).collect();
            batch.put(key.clone(), value.clone());
            model.insert(key, value);
        }
        14..18 => {
            model.remove(&key);
            batch.delete(key);
        }
        _ => {
            let end = random_key(random);
            model.retain(|at, _| !(*at >= key && *at < end));
            batch.delete_range(key, end);
        }
    }
}

fn compare(random: &mut fastrand::Rng, rocks: &dyn Store, memory: &dyn Store, model: &BTreeMap<Vec<u8>, Vec<u8>>, round: usize) {
    let (start, end) = (random_key(random), if random.bool() { random_key(random) } else { b"y".to_vec() });
    let scan = Scan {
        start: &start,
        end: Some(&end),
        reverse: random.bool(),
        keys_only: random.bool(),
        limit: random.usize(0..20),
        bytes_max: random.usize(0..4_000),
    };
    let mut expected = Vec::new();
    let inside = |key: &Vec<u8>| *key >= start && *key < end;
    let mut range: Vec<_> = model.iter().filter(|(key, _)| inside(key)).collect();
    if scan.reverse {
        range.reverse();
    }
    let mut sum = 0;
    for (key, value) in range.into_iter().take(scan.limit) {
        let value = if scan.keys_only { Vec::new() } else { value.clone() };
        sum += key.len() + value.len();
        expected.push(Pair { key: key.clone().into(), value: value.into() });
        if sum >= scan.bytes_max {
            break;
        }
    }
    assert_eq!(memory.scan(scan).expect("a read"), expected, "memory, round {round}: {scan:?}");
    assert_eq!(rocks.scan(scan).expect("a read"), expected, "rocks, round {round}: {scan:?}");
}
