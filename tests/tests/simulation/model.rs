//! What must hold, said a second time and more simply: who runs what, and what was acknowledged.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use engine_core::record::{ActorRecord, Change};
use engine_store::State;
use protocol::database::{PAGE_BYTES, Page};
use protocol::id::{ActorId, Generation};
use protocol::message::{KvChange, KvSpace};

/// Every commit of a database writes all of these that lie within its size, with one value.
pub const PAGES: [u32; 4] = [1, 2, 64, 65];
/// What runners of pools write to: always both.
pub const KV_KEYS: [&str; 2] = ["word", "echo"];
/// Generations that one pool's URL may have been called for.
pub const BY_URL_MAX: u64 = 3;

pub struct Model {
    state: State,
    /// The newest record of each actor that the core wants on disk.
    pub records: BTreeMap<ActorId, ActorRecord>,
    /// Actors whose end is on disk.
    pub gone: BTreeSet<ActorId>,
    /// Which envoy was told to run a generation.
    holders: BTreeMap<(ActorId, Generation), String>,
    databases: BTreeMap<ActorId, Database>,
    words: BTreeMap<ActorId, Words>,
}

/// The value that each commit wrote, by its number; and the last that was acknowledged.
#[derive(Default)]
struct Database {
    values: BTreeMap<u64, u64>,
    acked: u64,
}

/// What was written to an actor's KV, in order; and how much of it was acknowledged.
#[derive(Default)]
struct Words {
    values: Vec<u64>,
    acked: usize,
}

impl Model {
    pub fn new(state: State) -> Model {
        Model {
            state,
            records: BTreeMap::new(),
            gone: BTreeSet::new(),
            holders: BTreeMap::new(),
            databases: BTreeMap::new(),
            words: BTreeMap::new(),
        }
    }

    /// The core wants this on disk. `wanted`: a client waits for something.
    pub fn asked(&mut self, now_ms: u64, wanted: bool, changes: &[Change]) {
        // Records as they were before this commit, which may write one several times.
        let mut before: BTreeMap<ActorId, ActorRecord> = BTreeMap::new();
        let by_url = self.by_url();
        for change in changes {
            match change {
                Change::CreateActor { record, .. } => {
                    assert!(self.records.insert(record.id, (**record).clone()).is_none(), "{} is created twice", record.id);
                }
                Change::PutActor(record) | Change::DestroyActor { record, .. } => {
                    let old = self.records.insert(record.id, (**record).clone()).expect("it was created");
                    assert!(old.destroy_ms.is_none(), "{} was destroyed and is written", record.id);
                    assert!(record.generation >= old.generation, "{}: a generation came back", record.id);
                    before.entry(record.id).or_insert(old);
                }
                Change::Database { actor, head, pages, .. } => {
                    let (value, generation) = value_of(&pages[0].1);
                    let record = &self.records[actor];
                    assert_eq!(record.generation, generation, "{actor}: a generation that is over writes to the database");
                    assert!(record.runner.is_some() || record.by_url, "{actor} runs nowhere and writes to the database");
                    let database = self.databases.entry(*actor).or_default();
                    let last = database.values.last_key_value().map_or(0, |(txid, _)| *txid);
                    assert_eq!(head.txid, last + 1, "{actor}: the numbers of its commits are not one after the other");
                    database.values.insert(head.txid, value);
                }
                Change::Kv { actor, changes, .. } => {
                    if let Some(KvChange::Put { key, value }) = changes.first()
                        && key[..] == *KV_KEYS[0].as_bytes()
                    {
                        self.words.entry(*actor).or_default().values.push(number(value));
                    }
                }
                _ => {}
            }
        }
        for (id, old) in before {
            let woken = !old.is_awake() && self.records[&id].is_awake() && old.sleep_ms.is_some();
            let due = old.alarm.is_some_and(|alarm| alarm.fire_ms <= now_ms);
            assert!(!woken || wanted || due, "{id} wakes, and nobody wants it: {old:?}");
        }
        let more = self.by_url() > by_url;
        assert!(!more || self.by_url() <= BY_URL_MAX, "{} actors run by a URL that may have {BY_URL_MAX}", self.by_url());
    }

    fn by_url(&self) -> u64 {
        self.records.values().filter(|record| record.by_url && record.destroy_ms.is_none()).count() as u64
    }

    /// The core wants nothing more of that call.
    pub fn call_ended(&mut self, actor: ActorId, generation: Generation) {
        if let Some(record) = self.records.get_mut(&actor).filter(|record| record.generation == generation) {
            record.by_url = false;
        }
    }

    /// This is on disk.
    pub fn durable(&mut self, changes: &[Change]) -> usize {
        let ended = changes.iter().filter_map(|change| match change {
            Change::DestroyActor { record, .. } => Some(record.id),
            _ => None,
        });
        let before = self.gone.len();
        self.gone.extend(ended);
        self.gone.len() - before
    }

    /// A runner is told to start a generation.
    pub fn is_durable(&self, actor: ActorId, generation: Generation) {
        assert!(!self.gone.contains(&actor), "{actor} is started and was destroyed");
        let record = self.state.load_actor(actor).expect("memory does not fail").expect("its start is durable").record;
        assert!(record.generation >= generation, "{actor} is started before that is durable");
    }

    /// An envoy has heard of it.
    pub fn held(&mut self, actor: ActorId, generation: Generation, key: &str) {
        let holder = self.holders.entry((actor, generation)).or_insert_with(|| key.to_string());
        assert_eq!(holder, key, "{actor}: generation {generation} runs in two places");
    }

    /// What the first read of a generation finds: everything that earlier ones have committed.
    pub fn first_read(&self, actor: ActorId, generation: Generation, head_txid: u64) {
        let current = self.records.get(&actor).is_some_and(|record| record.generation == generation && record.destroy_ms.is_none());
        let newest = self.databases.get(&actor).and_then(|database| database.values.last_key_value()).map_or(0, |(txid, _)| *txid);
        assert!(!current || head_txid == newest, "{actor}: generation {generation} finds commit {head_txid} of {newest}");
    }

    pub fn database_acked(&mut self, actor: ActorId, txid: u64) {
        let Some(database) = self.databases.get_mut(&actor) else { return };
        database.acked = database.acked.max(txid);
        self.check_database(actor);
    }

    pub fn word_acked(&mut self, actor: ActorId, value: u64) {
        let Some(words) = self.words.get_mut(&actor) else { return };
        let Some(at) = words.values.iter().position(|word| *word == value) else { return };
        words.acked = words.acked.max(at + 1);
        self.check_words(actor);
    }

    /// The head and every page are those of one commit, and of no earlier one than was acknowledged.
    fn check_database(&self, actor: ActorId) {
        let Some(database) = self.databases.get(&actor).filter(|_| !self.gone.contains(&actor)) else { return };
        let (head, pages) = self.state.pages(actor, &PAGES).expect("memory does not fail");
        let head = head.unwrap_or_default();
        assert!(head.txid >= database.acked, "{actor}: commit {} was acknowledged, on disk is {}", database.acked, head.txid);
        let expected = database.values.get(&head.txid).copied();
        assert!(head.txid == 0 || expected.is_some(), "{actor}: commit {} was never asked for", head.txid);
        for (page, found) in PAGES.into_iter().zip(pages) {
            let expected = expected.filter(|_| page <= head.size_pages);
            assert_eq!(found.map(|bytes| value_of(&bytes).0), expected, "{actor}: page {page} at commit {}", head.txid);
        }
    }

    /// Both keys have one value, and none older than was acknowledged.
    fn check_words(&self, actor: ActorId) {
        let Some(words) = self.words.get(&actor).filter(|_| !self.gone.contains(&actor)) else { return };
        let found = self.word_on_disk(actor).map_or(0, |value| {
            words.values.iter().position(|word| *word == value).expect("only what was asked for is on disk") + 1
        });
        assert!(found >= words.acked, "{actor}: {} writes were acknowledged, on disk are {found}", words.acked);
    }

    fn word_on_disk(&self, actor: ActorId) -> Option<u64> {
        let found = self.state.kv_get(KvSpace::Actor, actor, &KV_KEYS.map(Bytes::from)).expect("memory does not fail");
        let values: Vec<Option<u64>> = found.iter().map(|entry| entry.as_ref().map(|entry| number(&entry.value))).collect();
        assert_eq!(values[0], values[1], "{actor}: half of a write is on disk");
        values[0]
    }

    pub fn check_all(&self) {
        self.databases.keys().for_each(|actor| self.check_database(*actor));
        self.words.keys().for_each(|actor| self.check_words(*actor));
    }

    /// Only what is on disk is left, and that must be enough.
    pub fn crashed(&mut self) {
        let load = |actor: &ActorId| self.state.load_actor(*actor).expect("memory does not fail");
        let found: BTreeMap<ActorId, _> = self.records.keys().filter_map(|actor| Some((*actor, load(actor)?))).collect();
        self.gone = found.iter().filter(|(_, found)| found.record.destroy_ms.is_some()).map(|(actor, _)| *actor).collect();
        self.check_all();
        for (actor, database) in &mut self.databases {
            let head = found.get(actor).and_then(|found| found.database).unwrap_or_default();
            database.values.split_off(&(head.txid + 1));
        }
        let living: Vec<ActorId> = self.words.keys().filter(|actor| !self.gone.contains(actor)).copied().collect();
        for actor in living {
            let on_disk = self.word_on_disk(actor);
            let words = self.words.get_mut(&actor).expect("it was just looked at");
            let kept = on_disk.and_then(|value| words.values.iter().position(|word| *word == value)).map_or(0, |at| at + 1);
            words.values.truncate(kept);
        }
        self.records = found.into_iter().map(|(actor, found)| (actor, found.record)).collect();
    }
}

/// The pages of one commit, as far as its size goes.
pub fn pages(value: u64, generation: Generation, size_pages: u32) -> Vec<Page> {
    let mut bytes = vec![0; PAGE_BYTES];
    bytes[..8].copy_from_slice(&value.to_be_bytes());
    bytes[8..12].copy_from_slice(&generation.to_be_bytes());
    let bytes = Bytes::from(bytes);
    PAGES.into_iter().filter(|page| *page <= size_pages).map(|page| (page, bytes.clone())).collect()
}

pub fn value_of(page: &Bytes) -> (u64, Generation) {
    (number(&page.slice(..8)), u32::from_be_bytes(page[8..12].try_into().expect("four bytes")))
}

pub fn number(bytes: &Bytes) -> u64 {
    u64::from_be_bytes(bytes[..].try_into().expect("eight bytes"))
}
