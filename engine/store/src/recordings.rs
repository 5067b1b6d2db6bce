//! The last requests of actors whose deployment wants them recorded: bounded for each actor, for each namespace and in total, in a
//! store of their own.
//!
//! A store of their own, so that nothing of it ever stands before a commit of state, no backup has it, and all of it can be removed
//! at once. What has to go goes oldest first, in the same batch as what comes, so that the sums are exact whenever the process dies.
//!
//! | key | layout | value |
//! |---|---|---|
//! | request | `r` actor, number | [`RecordedRequest`] |
//! | the same in the order of its namespace | `o` namespace, number | [`Place`] |
//! | what an actor has | `t` actor | [`Account`] |
//! | actors of a name | `n` namespace, length of the name (2 bytes), name, actor | a marker |
//! | what a namespace has | `s` namespace | [`Sums`] |
//!
//! Numbers ascend through all actors and are 8 bytes big-endian.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as MapEntry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use protocol::id::{ActorId, NamespaceId};
use protocol::limits::KIB;
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::keys::{self, ID_BYTES, KeyRange};
use crate::records::{self, Record};
use crate::store::{Batch, Op, Persist, Scan, Store};

/// Method, path and headers of one request; of one with more the headers are not kept, nor the body.
pub const HEAD_BYTES_MAX: usize = 16 * KIB;
/// Of a path that is longer so much is kept, to say which it was.
pub const PATH_BYTES_SHOWN: usize = KIB;
/// What a request takes beside its record: its keys, twice, and its place.
const OVERHEAD_BYTES: u64 = 128;
/// Keys that one scan reads at most.
const SCAN_KEYS_MAX: usize = 256;

const REQUEST: u8 = b'r';
const ORDER: u8 = b'o';
const ACCOUNT: u8 = b't';
const NAME: u8 = b'n';
const SUMS: u8 = b's';

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordingLimits {
    pub actor_bytes: u64,
    pub namespace_bytes: u64,
    pub total_bytes: u64,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RecordedRequest {
    pub arrived_ms: u64,
    /// The version that its actor ran.
    pub version: u32,
    pub method: String,
    /// Path and query, as the actor saw them.
    pub path: String,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: RecordedBody,
    pub ended: RecordedEnd,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RecordedBody {
    Whole(Vec<u8>),
    /// Of so many bytes, if that was said; or the head was too long.
    TooLarge(Option<u64>),
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RecordedEnd {
    /// With the SHA-256 of the answer's body, unless that was too long.
    Answered { status: u16, digest: Option<[u8; 32]> },
    /// By the engine, with this group and code.
    Failed { code: String },
    /// The client left.
    Left,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Place {
    pub actor: ActorId,
    pub bytes: u64,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Account {
    pub namespace: NamespaceId,
    pub name: String,
    pub count: u32,
    pub bytes: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Sums {
    pub bytes: u64,
    /// The highest number that was ever written.
    pub last: u64,
}

impl Record for RecordedRequest {
    const VERSION: u8 = 1;
    const WHAT: &'static str = "a recorded request";
}

impl Record for Place {
    const VERSION: u8 = 1;
    const WHAT: &'static str = "the place of a recorded request";
}

impl Record for Account {
    const VERSION: u8 = 1;
    const WHAT: &'static str = "what is recorded of an actor";
}

impl Record for Sums {
    const VERSION: u8 = 1;
    const WHAT: &'static str = "what is recorded of a namespace";
}

/// One request more, and how many of its actor are kept.
pub struct NewRequest<'a> {
    pub actor: ActorId,
    pub namespace: NamespaceId,
    pub name: &'a str,
    pub keep: u32,
    pub request: RecordedRequest,
}

/// Written by one thread, read by all.
pub struct Recordings {
    store: Arc<dyn Store>,
    limits: RecordingLimits,
    sums: Mutex<BTreeMap<NamespaceId, Sums>>,
}

/// A batch on its way, and what the sums are with it.
struct Draft {
    batch: Batch,
    sums: BTreeMap<NamespaceId, Sums>,
    accounts: BTreeMap<ActorId, Option<Account>>,
}

impl Recordings {
    pub fn open(store: Arc<dyn Store>, limits: RecordingLimits) -> Result<Recordings, StoreError> {
        let mut sums = BTreeMap::new();
        each(&*store, (vec![SUMS], vec![SUMS + 1]), |key, value| {
            sums.insert(id_at(key, 1)?, records::decode(value)?);
            Ok(())
        })?;
        Ok(Recordings { store, limits, sums: Mutex::new(sums) })
    }

    /// What all requests take, with the keys that find them.
    pub fn bytes(&self) -> u64 {
        self.lock().values().map(|sums| sums.bytes).sum()
    }

    /// Adds requests in the order in which they were answered, and drops what there is no more room for. Not synced.
    pub fn write<'a>(&self, group: impl IntoIterator<Item = NewRequest<'a>>) -> Result<(), StoreError> {
        for new in group {
            let mut sums = self.lock();
            let mut draft = Draft { batch: Batch::new(), sums: sums.clone(), accounts: BTreeMap::new() };
            self.add(&new, &mut draft)?;
            self.commit(draft, &mut sums)?;
        }
        Ok(())
    }

    fn add(&self, new: &NewRequest<'_>, draft: &mut Draft) -> Result<(), StoreError> {
        let record = records::encode(&new.request);
        let bytes = record.len() as u64 + OVERHEAD_BYTES;
        let (actor, namespace) = (new.actor, new.namespace);
        let limits = self.limits;
        if new.keep == 0 || bytes > limits.actor_bytes.min(limits.namespace_bytes).min(limits.total_bytes) {
            return Ok(());
        }
        let is_too_much = |account: &Account| account.count >= new.keep || account.bytes.saturating_add(bytes) > limits.actor_bytes;
        self.drop_of_actor(actor, draft, is_too_much)?;
        self.drop_of_namespace(namespace, draft, |sums| sums.bytes.saturating_add(bytes) > limits.namespace_bytes)?;
        // Who has most makes room for all.
        while draft.sums.values().map(|sums| sums.bytes).sum::<u64>().saturating_add(bytes) > limits.total_bytes {
            let Some((largest, had)) = draft.sums.iter().max_by_key(|(_, sums)| sums.bytes).map(|(id, sums)| (*id, sums.bytes))
            else {
                break;
            };
            self.drop_of_namespace(largest, draft, |sums| sums.bytes == had)?;
            if draft.sums.get(&largest).is_some_and(|sums| sums.bytes == had) {
                return Err(StoreError::corrupt("recorded requests are counted that are not there"));
            }
        }
        let number = draft.sums.values().map(|sums| sums.last).max().unwrap_or(0) + 1;
        let sums = draft.sums.entry(namespace).or_default();
        (sums.bytes, sums.last) = (sums.bytes + bytes, number);
        let name = new.name.to_string();
        let account = self.account(actor, draft)?.get_or_insert(Account { namespace, name, count: 0, bytes: 0 });
        (account.count, account.bytes) = (account.count + 1, account.bytes + bytes);
        draft.batch.put(request_key(actor, number), record);
        draft.batch.put(order_key(namespace, number), records::encode(&Place { actor, bytes }));
        draft.batch.put(name_key(namespace, new.name, Some(actor)), records::marker());
        Ok(())
    }

    /// The newest `count` of an actor, the oldest of them first.
    pub fn read(&self, actor: ActorId, count: usize) -> Result<Vec<RecordedRequest>, StoreError> {
        let (start, end) = requests_of(actor);
        let scan = Scan { start: &start, end: Some(&end), reverse: true, keys_only: false, limit: count, bytes_max: usize::MAX };
        if count == 0 {
            return Ok(Vec::new());
        }
        let found = self.store.scan(scan)?;
        found.iter().rev().map(|pair| records::decode(&pair.value)).collect()
    }

    /// Whose actors have any: namespaces and names.
    pub fn names(&self) -> Result<Vec<(NamespaceId, String)>, StoreError> {
        let mut names = Vec::new();
        let mut start = vec![NAME];
        // From one name to the next, whatever number of actors each has.
        loop {
            let scan =
                Scan { start: &start, end: Some(&[NAME + 1]), reverse: false, keys_only: true, limit: 1, bytes_max: usize::MAX };
            let Some(pair) = self.store.scan(scan)?.pop() else { return Ok(names) };
            let (namespace, name) = parse_name(&pair.key)?;
            start = names_of(namespace, &name).1;
            names.push((namespace, name));
        }
    }

    /// Actors that have any, after this one.
    pub fn actors(&self, after: Option<ActorId>, count: usize) -> Result<Vec<ActorId>, StoreError> {
        let start = after.map_or_else(|| vec![ACCOUNT], |after| [&account_key(after)[..], &[0]].concat());
        let scan =
            Scan { start: &start, end: Some(&[ACCOUNT + 1]), reverse: false, keys_only: true, limit: count, bytes_max: usize::MAX };
        self.store.scan(scan)?.iter().map(|pair| id_at(&pair.key, 1)).collect()
    }

    pub fn remove_actors(&self, actors: &[ActorId]) -> Result<(), StoreError> {
        for actor in actors {
            let mut sums = self.lock();
            let mut draft = Draft { batch: Batch::new(), sums: sums.clone(), accounts: BTreeMap::new() };
            self.drop_of_actor(*actor, &mut draft, |_| true)?;
            self.commit(draft, &mut sums)?;
        }
        Ok(())
    }

    pub fn remove_name(&self, namespace: NamespaceId, name: &str) -> Result<(), StoreError> {
        let mut actors = Vec::new();
        each(&*self.store, names_of(namespace, name), |key, _| {
            actors.push(id_at(key, key.len().saturating_sub(ID_BYTES))?);
            Ok(())
        })?;
        self.remove_actors(&actors)
    }

    pub fn remove_namespace(&self, namespace: NamespaceId) -> Result<(), StoreError> {
        let names = self.names()?;
        for (_, name) in names.iter().filter(|(of, _)| *of == namespace) {
            self.remove_name(namespace, name)?;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NamespaceId, Sums>> {
        self.sums.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn account<'a>(&self, actor: ActorId, draft: &'a mut Draft) -> Result<&'a mut Option<Account>, StoreError> {
        match draft.accounts.entry(actor) {
            MapEntry::Occupied(account) => Ok(account.into_mut()),
            MapEntry::Vacant(place) => {
                let found = self.store.get(&account_key(actor))?;
                Ok(place.insert(found.map(|value| records::decode(&value)).transpose()?))
            }
        }
    }

    /// The oldest of an actor, as long as there is too much.
    fn drop_of_actor(&self, actor: ActorId, draft: &mut Draft, is_too_much: impl Fn(&Account) -> bool) -> Result<(), StoreError> {
        let (mut start, end) = requests_of(actor);
        while self.account(actor, draft)?.as_ref().is_some_and(&is_too_much) {
            let found = self.store.scan(Scan::range(&start, &end, 1))?;
            let Some(pair) = found.first() else { return Ok(()) };
            let number = number_of(&pair.key)?;
            start = request_key(actor, number + 1);
            self.drop_one(actor, number, pair.value.len() as u64 + OVERHEAD_BYTES, draft)?;
        }
        Ok(())
    }

    /// The oldest of a namespace, as long as there is too much.
    fn drop_of_namespace(
        &self,
        namespace: NamespaceId,
        draft: &mut Draft,
        is_too_much: impl Fn(&Sums) -> bool,
    ) -> Result<(), StoreError> {
        let (mut start, end) = (order_key(namespace, 0), order_key(namespace, u64::MAX));
        while draft.sums.get(&namespace).is_some_and(&is_too_much) {
            let found = self.store.scan(Scan::range(&start, &end, 1))?;
            let Some(pair) = found.first() else { return Ok(()) };
            let (number, place) = (number_of(&pair.key)?, records::decode::<Place>(&pair.value)?);
            start = order_key(namespace, number + 1);
            self.drop_one(place.actor, number, place.bytes, draft)?;
        }
        Ok(())
    }

    fn drop_one(&self, actor: ActorId, number: u64, bytes: u64, draft: &mut Draft) -> Result<(), StoreError> {
        let key = request_key(actor, number);
        // It is still found until the batch is written.
        if draft.drops(&key) {
            return Ok(());
        }
        draft.batch.delete(key);
        let Some(account) = self.account(actor, draft)?.as_mut() else { return Ok(()) };
        account.count = account.count.saturating_sub(1);
        account.bytes = account.bytes.saturating_sub(bytes);
        let namespace = account.namespace;
        draft.batch.delete(order_key(namespace, number));
        if let Some(sums) = draft.sums.get_mut(&namespace) {
            sums.bytes = sums.bytes.saturating_sub(bytes);
        }
        Ok(())
    }

    fn commit(&self, draft: Draft, written: &mut BTreeMap<NamespaceId, Sums>) -> Result<(), StoreError> {
        let Draft { mut batch, mut sums, accounts } = draft;
        if batch.is_empty() {
            return Ok(());
        }
        for (actor, account) in accounts {
            let Some(account) = account else { continue };
            match account.count {
                0 => {
                    batch.delete(account_key(actor));
                    batch.delete(name_key(account.namespace, &account.name, Some(actor)));
                }
                _ => batch.put(account_key(actor), records::encode(&account)),
            }
        }
        for (namespace, of) in &sums {
            match of.bytes {
                0 => batch.delete(sums_key(*namespace)),
                _ if written.get(namespace) != Some(of) => batch.put(sums_key(*namespace), records::encode(of)),
                _ => {}
            }
        }
        self.store.commit(&batch, Persist::Written)?;
        // Nothing is left of it, so that its numbers may come again.
        sums.retain(|_, of| of.bytes > 0);
        *written = sums;
        Ok(())
    }
}

impl Draft {
    fn drops(&self, key: &[u8]) -> bool {
        self.batch.ops().iter().any(|op| matches!(op, Op::Delete { key: dropped } if dropped == key))
    }
}

/// All pairs of a range, in pages.
fn each(
    store: &dyn Store,
    (mut start, end): KeyRange,
    mut take: impl FnMut(&[u8], &Bytes) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    loop {
        let page = store.scan(Scan::range(&start, &end, SCAN_KEYS_MAX))?;
        let Some(last) = page.last() else { return Ok(()) };
        start = [&last.key[..], &[0]].concat();
        for pair in &page {
            take(&pair.key, &pair.value)?;
        }
    }
}

fn request_key(actor: ActorId, number: u64) -> Vec<u8> {
    [&[REQUEST], &actor.as_bytes()[..], &number.to_be_bytes()].concat()
}

fn requests_of(actor: ActorId) -> KeyRange {
    (request_key(actor, 0), request_key(actor, u64::MAX))
}

fn order_key(namespace: NamespaceId, number: u64) -> Vec<u8> {
    [&[ORDER], &namespace.as_bytes()[..], &number.to_be_bytes()].concat()
}

fn account_key(actor: ActorId) -> Vec<u8> {
    [&[ACCOUNT], &actor.as_bytes()[..]].concat()
}

fn sums_key(namespace: NamespaceId) -> Vec<u8> {
    [&[SUMS], &namespace.as_bytes()[..]].concat()
}

fn name_key(namespace: NamespaceId, name: &str, actor: Option<ActorId>) -> Vec<u8> {
    // Names of actors are far shorter.
    let length = u16::try_from(name.len()).unwrap_or(u16::MAX).to_be_bytes();
    let actor = actor.map(|actor| actor.as_bytes().to_vec()).unwrap_or_default();
    [&[NAME], &namespace.as_bytes()[..], &length, name.as_bytes(), &actor].concat()
}

/// The actors of a name. An id never begins with 255: its first byte is the version of ids.
fn names_of(namespace: NamespaceId, name: &str) -> KeyRange {
    let start = name_key(namespace, name, None);
    let end = [&start[..], &[u8::MAX]].concat();
    (start, end)
}

fn parse_name(key: &[u8]) -> Result<(NamespaceId, String), StoreError> {
    let at = 1 + ID_BYTES;
    let namespace = id_at(key, 1)?;
    let name = key.get(at + 2..key.len().saturating_sub(ID_BYTES)).and_then(|name| std::str::from_utf8(name).ok());
    Ok((namespace, name.ok_or_else(damaged)?.to_string()))
}

fn id_at(key: &[u8], at: usize) -> Result<ActorId, StoreError> {
    key.get(at..at + ID_BYTES).and_then(keys::read_id).ok_or_else(damaged)
}

fn number_of(key: &[u8]) -> Result<u64, StoreError> {
    key.last_chunk().map(|number| u64::from_be_bytes(*number)).ok_or_else(damaged)
}

fn damaged() -> StoreError {
    StoreError::corrupt("a key of the recorded requests is damaged")
}
