//! The writer: what it groups, whom it tells what, and in which order.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rivet_engine_store::group::Group;
use rivet_engine_store::memory::Leaves;
use rivet_engine_store::writer::{GROUP_BATCHES_MAX, QUEUE_BATCHES_MAX};
use rivet_engine_store::{Batch, Durability, Memory, Pair, Persist, Scan, Store, StoreError, Writer};

type Verdict = Result<(), StoreError>;

/// A store whose commits wait while the gate is shut, and which remembers how many operations each had.
#[derive(Default)]
struct Gated {
    memory: Memory,
    shut: Mutex<bool>,
    opened: Condvar,
    waiting: Mutex<bool>,
    commits: Mutex<Vec<usize>>,
    has_no_room: AtomicBool,
}

impl Gated {
    fn shut() -> Arc<Gated> {
        let gated = Gated::default();
        *gated.shut.lock().expect("no test panics with it") = true;
        Arc::new(gated)
    }

    fn open(&self) {
        *self.shut.lock().expect("no test panics with it") = false;
        self.opened.notify_all();
    }

    /// Until the writer has taken a group and stands at the gate.
    fn until_it_waits(&self) {
        eventually("the writer stands at the gate", || *self.waiting.lock().expect("no test panics with it"));
    }
}

impl Store for Gated {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.memory.get(key)
    }

    fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.memory.get_many(keys)
    }

    fn scan(&self, scan: Scan<'_>) -> Result<Vec<Pair>, StoreError> {
        self.memory.scan(scan)
    }

    fn commit(&self, batch: &Batch, persist: Persist) -> Verdict {
        *self.waiting.lock().expect("no test panics with it") = true;
        let mut shut = self.shut.lock().expect("no test panics with it");
        while *shut {
            shut = self.opened.wait(shut).expect("no test panics with it");
        }
        self.commits.lock().expect("no test panics with it").push(batch.ops().len());
        self.memory.commit(batch, persist)
    }

    fn sync(&self) -> Verdict {
        self.memory.sync()
    }

    fn waits_for_room(&self) -> bool {
        self.has_no_room.load(Ordering::Relaxed)
    }

    fn poisoned(&self) -> Option<String> {
        self.memory.poisoned()
    }
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it never happened that {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

fn put(key: &str, value: &str) -> Batch {
    let mut batch = Batch::new();
    batch.put(key.to_owned(), value.to_owned());
    batch
}

fn if_is(key: &str, expected: Option<&str>, batch: Batch) -> Batch {
    let mut checked = Batch::new();
    checked.check(key.to_owned(), expected.map(|value| Bytes::copy_from_slice(value.as_bytes())));
    batch.into_counted_ops().0.into_iter().for_each(|op| checked.push(op));
    checked
}

/// Collects what each batch was told, in the order in which it was told.
struct Told {
    sender: mpsc::Sender<(usize, Verdict)>,
    receiver: mpsc::Receiver<(usize, Verdict)>,
}

impl Told {
    fn new() -> Told {
        let (sender, receiver) = mpsc::channel();
        Told { sender, receiver }
    }

    fn submit(&self, writer: &Writer, number: usize, batch: Batch) {
        let sender = self.sender.clone();
        writer.submit(batch, Box::new(move |verdict| sender.send((number, verdict)).expect("the test waits for it")));
    }

    fn next(&self) -> (usize, Verdict) {
        self.receiver.recv_timeout(Duration::from_secs(20)).expect("every batch is told something")
    }

    fn take(&self, count: usize) -> Vec<(usize, Verdict)> {
        (0..count).map(|_| self.next()).collect()
    }
}

fn value(store: &dyn Store, key: &str) -> Option<String> {
    store.get(key.as_bytes()).expect("a read").map(|value| String::from_utf8_lossy(&value).into_owned())
}

#[test]
fn what_waits_is_one_group_and_dones_come_in_order() {
    let store = Gated::shut();
    let writer = Writer::start(store.clone(), Durability::Sync);
    let told = Told::new();
    told.submit(&writer, 0, put("first", "0"));
    store.until_it_waits();
    for number in 1..=100 {
        told.submit(&writer, number, put(&format!("key{number}"), "1"));
    }
    assert_eq!(writer.figures().queued, 100);
    store.open();
    let order: Vec<usize> =
        told.take(101).into_iter().map(|(number, verdict)| verdict.map(|()| number).expect("it is well")).collect();
    assert_eq!(order, (0..=100).collect::<Vec<usize>>());
    assert_eq!(*store.commits.lock().expect("no test panics with it"), [1, 100]);
    let figures = writer.figures();
    assert_eq!((figures.groups, figures.commits, figures.syncs, figures.conflicts, figures.failures), (2, 101, 2, 0, 0));
    assert_eq!((figures.queued, figures.queued_bytes), (0, 0));
    assert!(figures.bytes > 101 * 5);
}

#[test]
fn a_group_is_bounded() {
    let store = Gated::shut();
    let writer = Writer::start(store.clone(), Durability::Sync);
    let told = Told::new();
    told.submit(&writer, 0, put("first", "0"));
    store.until_it_waits();
    let large = "x".repeat(5 * 1024 * 1024);
    for number in 1..=3 {
        told.submit(&writer, number, put("large", &large));
    }
    for number in 4..4 + GROUP_BATCHES_MAX + 10 {
        told.submit(&writer, number, put("small", "1"));
    }
    store.open();
    told.take(4 + GROUP_BATCHES_MAX + 10);
    // Two large ones are more than a group takes; the last one goes with small ones up to the bound.
    assert_eq!(*store.commits.lock().expect("no test panics with it"), [1, 1, 1, GROUP_BATCHES_MAX, 11]);
}

#[test]
fn a_check_sees_the_earlier_batches_of_its_group_and_fails_alone() {
    let store = Gated::shut();
    let writer = Writer::start(store.clone(), Durability::Sync);
    let told = Told::new();
    told.submit(&writer, 0, put("old", "1"));
    store.until_it_waits();
    let mut range = Batch::new();
    range.delete_range("a", "c");
    let mut twice = if_is("a", Some("2"), put("b", "kept"));
    twice.check("old", None);
    let batches = [
        (put("a", "1"), true),
        (if_is("a", Some("1"), put("a", "2")), true),
        (if_is("a", None, put("a", "wrong")), false),
        (if_is("a", Some("1"), put("b", "wrong")), false),
        (twice, false),
        (if_is("a", Some("2"), put("b", "3")), true),
        (range, true),
        (if_is("b", None, put("b", "4")), true),
        (if_is("a", Some("2"), put("c", "wrong")), false),
        (if_is("b", Some("4"), put("c", "5")), true),
        (if_is("old", Some("1"), put("old", "2")), true),
    ];
    let expected: Vec<bool> = batches.iter().map(|(_, fine)| *fine).collect();
    for (number, (batch, _)) in batches.into_iter().enumerate() {
        told.submit(&writer, number + 1, batch);
    }
    store.open();
    assert_eq!(told.next(), (0, Ok(())));
    for (number, fine) in expected.iter().enumerate() {
        let (told, verdict) = told.next();
        assert_eq!(told, number + 1);
        match verdict {
            Ok(()) => assert!(fine, "batch {number}"),
            Err(StoreError::Conflict { .. }) => assert!(!fine, "batch {number}"),
            Err(other) => panic!("batch {number}: {other}"),
        }
    }
    assert_eq!(store.commits.lock().expect("no test panics with it").len(), 2);
    let found = ["a", "b", "c", "old"].map(|key| value(&*store, key));
    assert_eq!(found, [None, Some("4".to_owned()), Some("5".to_owned()), Some("2".to_owned())]);
    assert_eq!((writer.figures().commits, writer.figures().conflicts), (8, 4));
}

/// Whatever the batches are: in groups they do the same as one after the other.
#[test]
fn a_group_is_the_same_as_its_batches_one_by_one() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (grouped, single) = (Memory::new(), Memory::new());
    for round in 0..3_000 {
        let mut group = Group::new();
        let mut batches = 0;
        for _ in 0..random.usize(1..8) {
            let batch = random_batch(&mut random, &single);
            let expected = single.commit(&batch, Persist::Written);
            assert_eq!(group.add(&grouped, batch), expected, "round {round}");
            batches += usize::from(expected.is_ok());
        }
        assert_eq!(group.batches(), batches);
        grouped.commit(group.merged(), Persist::Written).expect("it is well");
        let all = Scan { start: &[], end: None, reverse: false, keys_only: false, limit: usize::MAX, bytes_max: usize::MAX };
        assert_eq!(grouped.scan(all), single.scan(all), "round {round}");
    }
}

fn random_batch(random: &mut fastrand::Rng, store: &Memory) -> Batch {
    let mut batch = Batch::new();
    let key = |random: &mut fastrand::Rng| vec![random.u8(b'a'..b'h')];
    for _ in 0..random.usize(0..2) {
        let key = key(random);
        // Mostly what holds, or hardly any batch would pass.
        let expected = if random.u8(0..4) > 0 { store.get(&key).expect("a read") } else { None };
        batch.check(key, expected);
    }
    for _ in 0..random.usize(0..4) {
        match random.u8(0..5) {
            0..3 => batch.put(key(random), vec![random.u8(0..3)]),
            3 => batch.delete(key(random)),
            _ => batch.delete_range(key(random), key(random)),
        }
    }
    batch
}

#[test]
fn a_failure_is_told_to_its_whole_group_and_to_all_that_come_later() {
    for leaves in [Leaves::Nothing, Leaves::TheBatch] {
        let store = Gated::shut();
        store.memory.fail_after(1, leaves);
        let writer = Writer::start(store.clone(), Durability::Sync);
        let told = Told::new();
        told.submit(&writer, 0, put("first", "0"));
        store.until_it_waits();
        told.submit(&writer, 1, put("a", "1"));
        // A conflict with a batch that was not written is no conflict: it is told of the failure like the others.
        told.submit(&writer, 2, if_is("a", None, put("b", "1")));
        store.open();
        assert_eq!(told.next(), (0, Ok(())));
        for number in [1, 2] {
            let (told, verdict) = told.next();
            assert_eq!(told, number);
            assert!(matches!(verdict, Err(StoreError::Io { .. })), "{verdict:?}");
        }
        for number in 3..10 {
            told.submit(&writer, number, put("c", "1"));
            let (told, verdict) = told.next();
            assert_eq!(told, number);
            assert!(matches!(verdict, Err(StoreError::Poisoned { .. })), "{verdict:?}");
        }
        // Reads go on, and see only what was acknowledged.
        assert_eq!(["first", "a", "b", "c"].map(|key| value(&*store, key).is_some()), [true, false, false, false]);
        assert!(store.poisoned().is_some());
        writer.close();
        // The restart finds the truth: what failed may be there after all, what was refused is not.
        store.memory.lose_power(usize::MAX);
        assert_eq!(["first", "a", "c"].map(|key| value(&*store, key).is_some()), [true, leaves == Leaves::TheBatch, false]);
        assert_eq!(store.memory.commit(&put("d", "1"), Persist::Synced), Ok(()));
    }
}

#[test]
fn a_failed_sync_in_between_poisons_too() {
    let store = Arc::new(Memory::new());
    store.fail_after(1, Leaves::Nothing);
    let writer = Writer::start(store.clone(), Durability::Batch { ms: 1 });
    let told = Told::new();
    told.submit(&writer, 0, put("a", "1"));
    assert_eq!(told.next(), (0, Ok(())));
    eventually("the sync fails", || store.poisoned().is_some());
    told.submit(&writer, 1, put("b", "1"));
    assert!(matches!(told.next(), (1, Err(StoreError::Poisoned { .. }))));
    eventually("it is counted", || writer.figures().failures >= 2);
}

#[test]
fn what_each_mode_promises() {
    // In the moment of `done`, how many written batches the power could take away.
    let unsynced_at_done = |mode| {
        let store = Arc::new(Memory::new());
        let writer = Writer::start(store.clone(), mode);
        let (sender, receiver) = mpsc::channel();
        let probe = store.clone();
        let done = move |verdict: Verdict| sender.send((verdict, probe.unsynced())).expect("the test waits for it");
        writer.submit(put("a", "1"), Box::new(done));
        let (verdict, unsynced) = receiver.recv().expect("it is told");
        assert_eq!(verdict, Ok(()));
        (store, writer, unsynced)
    };
    let (store, _writer, unsynced) = unsynced_at_done(Durability::Sync);
    assert_eq!(unsynced, 0);
    store.lose_power(0);
    assert_eq!(value(&*store, "a"), Some("1".to_owned()));

    let (store, _writer, unsynced) = unsynced_at_done(Durability::Batch { ms: 50 });
    assert_eq!(unsynced, 1);
    eventually("it is synced by itself", || store.unsynced() == 0);

    let (store, writer, unsynced) = unsynced_at_done(Durability::Relaxed);
    assert_eq!(unsynced, 1);
    thread::sleep(Duration::from_millis(50));
    assert_eq!(store.unsynced(), 1);
    writer.close();
    assert_eq!(store.unsynced(), 0, "a clean end syncs in every mode");
}

#[test]
fn a_full_queue_slows_down_who_submits_but_not_a_done() {
    let store = Gated::shut();
    let writer = Arc::new(Writer::start(store.clone(), Durability::Sync));
    let told = Told::new();
    let (again, sender) = (writer.clone(), told.sender.clone());
    // This `done` submits while the queue is full: it must not wait for itself.
    let resubmit = move |_: Verdict| {
        again
            .submit(put("again", "1"), Box::new(move |verdict| sender.send((usize::MAX, verdict)).expect("the test waits for it")));
    };
    writer.submit(put("first", "0"), Box::new(resubmit));
    store.until_it_waits();
    for number in 0..QUEUE_BATCHES_MAX {
        told.submit(&writer, number, put("a", "1"));
    }
    thread::scope(|scope| {
        let late = scope.spawn(|| told_late(&writer));
        thread::sleep(Duration::from_millis(50));
        assert!(!late.is_finished(), "the queue is full");
        assert_eq!(writer.figures().queued, QUEUE_BATCHES_MAX as u64);
        store.open();
        assert_eq!(late.join().expect("it does not panic"), Ok(()));
    });
    let all = told.take(QUEUE_BATCHES_MAX + 1);
    assert!(all.iter().all(|(_, verdict)| verdict.is_ok()));
}

#[test]
fn what_a_full_queue_does_not_take_is_given_back_while_the_disk_has_no_room() {
    let store = Gated::shut();
    let writer = Writer::start(store.clone(), Durability::Sync);
    let told = Told::new();
    let offer = |number: usize| {
        let sender = told.sender.clone();
        let done = move |verdict| sender.send((number, verdict)).expect("the test waits for it");
        writer.offer(put("a", "1"), Box::new(done))
    };
    told.submit(&writer, 0, put("first", "0"));
    store.until_it_waits();
    for number in 1..=QUEUE_BATCHES_MAX {
        assert!(offer(number).is_none(), "number {number} has a place");
    }
    thread::scope(|scope| {
        let late = scope.spawn(|| offer(QUEUE_BATCHES_MAX + 1));
        thread::sleep(Duration::from_millis(50));
        assert!(!late.is_finished(), "the disk is only slow");
        store.has_no_room.store(true, Ordering::Relaxed);
        assert!(late.join().expect("it does not panic").is_some(), "also one that waits already");
    });
    let (batch, done) = offer(QUEUE_BATCHES_MAX + 1).expect("it is given back");
    store.has_no_room.store(false, Ordering::Relaxed);
    store.open();
    assert!(writer.offer(batch, done).is_none(), "and is taken later");
    let numbers: Vec<usize> = told.take(QUEUE_BATCHES_MAX + 1).into_iter().map(|(number, _)| number).collect();
    let expected: Vec<usize> = (0..=QUEUE_BATCHES_MAX).collect();
    assert_eq!(numbers, expected, "in order");
    assert_eq!(told.next(), (QUEUE_BATCHES_MAX + 1, Ok(())));
}

fn told_late(writer: &Writer) -> Verdict {
    let (sender, receiver) = mpsc::channel();
    writer.submit(put("late", "1"), Box::new(move |verdict| sender.send(verdict).expect("it is waited for")));
    receiver.recv().expect("it is told")
}

#[test]
fn closing_writes_what_waits() {
    let store = Gated::shut();
    let writer = Writer::start(store.clone(), Durability::Sync);
    let told = Told::new();
    for number in 0..50 {
        told.submit(&writer, number, put(&format!("key{number}"), "1"));
    }
    store.until_it_waits();
    thread::scope(|scope| {
        let closing = scope.spawn(|| writer.close());
        thread::sleep(Duration::from_millis(20));
        assert!(!closing.is_finished());
        store.open();
    });
    assert!(told.take(50).iter().enumerate().all(|(at, (number, verdict))| at == *number && verdict.is_ok()));
    assert!((0..50).all(|number| value(&*store, &format!("key{number}")).is_some()));
}

#[test]
fn a_done_that_panics_takes_nothing_from_the_others() {
    let store = Gated::shut();
    let writer = Writer::start(store.clone(), Durability::Sync);
    let told = Told::new();
    told.submit(&writer, 0, put("a", "1"));
    store.until_it_waits();
    writer.submit(put("b", "1"), Box::new(|_| panic!("a bug, on purpose")));
    told.submit(&writer, 2, put("c", "1"));
    store.open();
    told.submit(&writer, 3, put("d", "1"));
    assert_eq!(told.take(3), [(0, Ok(())), (2, Ok(())), (3, Ok(()))]);
}

/// The backend itself must not panic; if it does, all are told that nothing is written any more.
#[test]
fn nobody_waits_for_a_writer_that_is_gone() {
    struct Broken;
    impl Store for Broken {
        fn get(&self, _: &[u8]) -> Result<Option<Bytes>, StoreError> {
            Ok(None)
        }
        fn get_many(&self, _: &[&[u8]]) -> Result<Vec<Option<Bytes>>, StoreError> {
            Ok(vec![])
        }
        fn scan(&self, _: Scan<'_>) -> Result<Vec<Pair>, StoreError> {
            Ok(vec![])
        }
        fn commit(&self, _: &Batch, _: Persist) -> Verdict {
            panic!("a bug, on purpose")
        }
        fn sync(&self) -> Verdict {
            Ok(())
        }
        fn poisoned(&self) -> Option<String> {
            None
        }
    }
    let writer = Writer::start(Arc::new(Broken), Durability::Sync);
    let told = Told::new();
    told.submit(&writer, 0, put("a", "1"));
    let told_closed = || {
        told.submit(&writer, 1, put("b", "1"));
        told.receiver.recv_timeout(Duration::from_millis(10)) == Ok((1, Err(StoreError::Closed)))
    };
    eventually("it is closed", told_closed);
}
