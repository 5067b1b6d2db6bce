//! What actors have stored is counted: after any commits, however they were grouped, and after a restart, the count is the sum.

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, mpsc};

use bytes::Bytes;
use engine_core::record::{ActorRecord, Change, DatabaseHead, NamespaceUsage, StoredBytes};
use protocol::database::PAGE_BYTES;
use protocol::id::{ActorId, Id, NamespaceId, Partition};
use protocol::message::{KvChange, KvRange, KvSpace};
use rivet_engine_store::rocks::Tuning;
use rivet_engine_store::{Batch, Durability, Memory, Persist, Rocks, State, Store, Writer, counts, keys};

const ACTORS: u64 = 6;
const STEPS: usize = 400;

fn id(number: u64) -> Id {
    let mut random = [7; 16];
    random[..8].copy_from_slice(&number.to_le_bytes());
    Id::new(random, 1).in_partition(Partition::new((number % 3) as u8).expect("0 to 2 are below 64"))
}

fn namespace(number: u64) -> NamespaceId {
    id(1_000 + number % 2)
}

/// What there is, kept as plainly as can be.
#[derive(Default)]
struct Model {
    living: BTreeMap<ActorId, NamespaceId>,
    entries: BTreeMap<(ActorId, bool, Bytes), usize>,
    databases: BTreeMap<ActorId, DatabaseHead>,
    created: u64,
}

impl Model {
    fn stored(&self, actor: ActorId) -> Option<StoredBytes> {
        let namespace = *self.living.get(&actor)?;
        let of = |own: bool| {
            let entries = self.entries.iter().filter(|((of, runners, _), _)| *of == actor && *runners == own);
            entries.map(|((_, _, key), value)| (key.len() + value) as u64).sum()
        };
        let database = self.databases.get(&actor).map_or(0, |head| u64::from(head.size_pages) * PAGE_BYTES as u64);
        Some(StoredBytes { namespace, kv: of(false), runner_kv: of(true), database })
    }

    fn usage(&self, namespace: NamespaceId) -> NamespaceUsage {
        let own = self.living.iter().filter(|(_, of)| **of == namespace).map(|(actor, _)| *actor);
        own.fold(NamespaceUsage::default(), |sum, actor| NamespaceUsage {
            actors: sum.actors + 1,
            bytes: sum.bytes + self.stored(actor).expect("it lives").total(),
        })
    }

    fn check(&self, state: &State, when: &str) {
        for number in 0..self.created {
            assert_eq!(state.stored(id(number)), Ok(self.stored(id(number))), "{when}: actor {number}");
        }
        for number in 0..2 {
            assert_eq!(state.usage(namespace(number)), Ok(self.usage(namespace(number))), "{when}: namespace {number}");
        }
    }

    /// A commit such as the core makes, and what it changes here.
    fn commit(&mut self, random: &mut fastrand::Rng) -> Vec<Change> {
        let mut changes = Vec::new();
        if (self.living.len() as u64) < ACTORS {
            let record = record(self.created);
            self.living.insert(record.id, record.namespace);
            self.created += 1;
            changes.push(Change::CreateActor { record: Box::new(record), input: None });
        }
        let living: Vec<ActorId> = self.living.keys().copied().collect();
        let actor = living[random.usize(..living.len())];
        match random.u8(..10) {
            0 => changes.push(self.destroy(actor)),
            1 | 2 => changes.push(self.database(actor, random)),
            _ => {
                for space in [KvSpace::Actor, KvSpace::Runner] {
                    changes.push(self.entries(actor, space, random));
                }
            }
        }
        changes
    }

    fn entries(&mut self, actor: ActorId, space: KvSpace, random: &mut fastrand::Rng) -> Change {
        let own = space == KvSpace::Runner;
        let key = |random: &mut fastrand::Rng| Bytes::from(vec![b'a' + random.u8(..4); random.usize(..3)]);
        let changes: Vec<KvChange> = (0..random.usize(..4))
            .map(|_| match random.u8(..8) {
                0 | 1 => KvChange::Delete { key: key(random) },
                2 => KvChange::DeleteRange { range: KvRange::prefix(key(random)) },
                3 if random.bool() => KvChange::DeleteRange { range: KvRange::all() },
                _ => KvChange::Put { key: key(random), value: vec![1; random.usize(..50)].into() },
            })
            .collect();
        for change in &changes {
            match change {
                KvChange::Put { key, value } => drop(self.entries.insert((actor, own, key.clone()), value.len())),
                KvChange::Delete { key } => drop(self.entries.remove(&(actor, own, key.clone()))),
                KvChange::DeleteRange { range } => {
                    self.entries.retain(|(of, runners, key), _| (*of, *runners) != (actor, own) || !range.contains(key))
                }
            }
        }
        Change::Kv { actor, space, now_ms: 1, changes }
    }

    fn database(&mut self, actor: ActorId, random: &mut fastrand::Rng) -> Change {
        let before = self.databases.get(&actor).copied().unwrap_or_default();
        let head = DatabaseHead { txid: before.txid + 1, size_pages: random.u32(..4) };
        self.databases.insert(actor, head);
        let pages = (1..=head.size_pages).map(|number| (number, Bytes::from(vec![1; PAGE_BYTES]))).collect();
        Change::Database { actor, head, pages, shrunk: head.size_pages < before.size_pages }
    }

    fn destroy(&mut self, actor: ActorId) -> Change {
        let number = (0..self.created).find(|number| id(*number) == actor).expect("it was created");
        self.living.remove(&actor);
        self.entries.retain(|(of, ..), _| *of != actor);
        let database = self.databases.remove(&actor).is_some();
        Change::DestroyActor { record: Box::new(ActorRecord { destroy_ms: Some(2), ..record(number) }), database }
    }
}

fn record(number: u64) -> ActorRecord {
    support::actor(id(number), namespace(number))
}

/// Commits that wait together are written as one group.
fn check(model: &mut Model, store: &Arc<dyn Store>, random: &mut fastrand::Rng) {
    let state = State::new(store.clone());
    let writer = Writer::start(store.clone(), Durability::Relaxed);
    let mut left = STEPS;
    while left > 0 {
        let group = random.usize(1..20).min(left);
        left -= group;
        let (tell, told) = mpsc::channel();
        for _ in 0..group {
            let tell = tell.clone();
            let done = move |result| tell.send(result).expect("the test waits for it");
            writer.submit(State::batch(&model.commit(random)), Box::new(done));
        }
        (0..group).for_each(|_| assert_eq!(told.recv().expect("each is told"), Ok(())));
        model.check(&state, &format!("{left} steps before the end"));
    }
    writer.close();
}

fn rocks(folder: &Path) -> Rocks {
    Rocks::open(folder, &Tuning::default()).expect("it opens")
}

#[test]
fn the_count_is_the_sum_whatever_is_written_and_after_a_restart() {
    for seed in 0..4 {
        let mut random = fastrand::Rng::with_seed(seed);
        let memory: Arc<dyn Store> = Arc::new(Memory::new());
        check(&mut Model::default(), &memory, &mut random);
        let folder = tempfile::tempdir().expect("a folder");
        let mut model = Model::default();
        for _ in 0..2 {
            let store: Arc<dyn Store> = Arc::new(rocks(folder.path()));
            model.check(&State::new(store.clone()), "after a restart");
            check(&mut model, &store, &mut random);
        }
    }
}

#[test]
fn what_an_older_engine_has_written_is_counted_once() {
    let mut random = fastrand::Rng::with_seed(9);
    let mut model = Model::default();
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    check(&mut model, &store, &mut random);
    // As it was before anybody counted.
    let mut forget = Batch::new();
    for number in 0..model.created {
        forget.delete(keys::stored(id(number)));
    }
    for partition in Partition::all() {
        (0..2).for_each(|number| forget.delete(keys::usage(partition, namespace(number))));
    }
    forget.delete(keys::COUNTED);
    let older = [&[1], &namespace(0).as_bytes()[..], &[1, b't', 1, b'T', 1]].concat();
    forget.put(keys::namespace(namespace(0)), older);
    store.commit(&forget, Persist::Written).expect("memory takes it");
    let state = State::new(store.clone());
    assert_eq!(state.usage(namespace(0)), Ok(NamespaceUsage::default()));
    counts::ensure(&*store).expect("memory is read");
    model.check(&state, "after the count");
    // So that the older engine does not write here again.
    let record = store.get(&keys::namespace(namespace(0))).expect("memory is read").expect("it is there");
    assert_eq!((record[0], state.boot().expect("a read").namespaces[0].name.as_str()), (2, "t"));
    // It is done once: what is changed behind its back stays so.
    let mut wrong = Batch::new();
    wrong.delete(keys::stored(*model.living.keys().next().expect("some live")));
    store.commit(&wrong, Persist::Written).expect("memory takes it");
    counts::ensure(&*store).expect("memory is read");
    assert_eq!(state.stored(*model.living.keys().next().expect("some live")), Ok(None));
}

#[test]
fn a_weight_is_what_a_commit_would_leave() {
    let mut random = fastrand::Rng::with_seed(3);
    let mut model = Model::default();
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    check(&mut model, &store, &mut random);
    let state = State::new(store);
    for _ in 0..200 {
        let actor = *model.living.keys().next().expect("some live");
        let before = model.stored(actor).expect("it lives").entries();
        let entries = model.entries.clone();
        let Change::Kv { space, changes, .. } = model.entries(actor, KvSpace::Actor, &mut random) else {
            panic!("these are entries")
        };
        let after = model.stored(actor).expect("it lives").entries();
        assert_eq!(state.weigh(actor, &[(space, changes.clone())]), Ok((before, after)), "{changes:?}");
        model.entries = entries;
    }
}
