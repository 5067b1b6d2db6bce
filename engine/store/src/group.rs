//! Puts the batches that wait into one batch, as if each had been committed alone.
//!
//! A check must see what earlier batches of the group write, although nothing of the group is in the store yet; and so must the
//! count of what an actor has stored, which is worked out here from what its entries were just before. This is the only place that
//! knows how. It relies on there being one writer: nobody else commits between the reading and the write.

use std::collections::HashMap;

use bytes::Bytes;
use engine_core::record::{NamespaceUsage, StoredBytes};
use protocol::id::{ActorId, NamespaceId};
use protocol::message::KvSpace;

use crate::error::StoreError;
use crate::keys;
use crate::records;
use crate::store::{Batch, Counted, Op, Scan, Store, first_conflict};

/// Entries that are read at a time where a range of them goes, and about how many bytes of them.
const RANGE_PAIRS: usize = 1_024;
const RANGE_BYTES_MAX: usize = 4 << 20;

#[derive(Default)]
pub struct Group {
    merged: Batch,
    batches: usize,
    index: Index,
}

/// One batch as a group of its own: for whoever writes without a [`Writer`](crate::Writer).
pub fn alone(store: &dyn Store, batch: Batch) -> Result<Batch, StoreError> {
    let mut group = Group::new();
    group.add(store, batch)?;
    Ok(group.merged)
}

impl Group {
    pub fn new() -> Group {
        Group::default()
    }

    /// Takes the batch into the group, or says why it fails; then the group is as before.
    pub fn add(&mut self, store: &dyn Store, batch: Batch) -> Result<(), StoreError> {
        if !batch.checks().is_empty() {
            self.index.extend(self.merged.ops());
            first_conflict(batch.checks(), |key| match self.index.find(key) {
                Some(written) => Ok(written),
                None => store.get(key),
            })?;
        }
        let (ops, bytes) = (self.merged.ops().len(), self.merged.bytes());
        if let Err(error) = self.take(store, batch) {
            self.merged.cut(ops, bytes);
            self.index = Index::default();
            return Err(error);
        }
        self.batches += 1;
        Ok(())
    }

    pub fn batches(&self) -> usize {
        self.batches
    }

    /// All that is to be written. It has no checks and counts nothing: that has been done.
    pub fn merged(&self) -> &Batch {
        &self.merged
    }

    /// What an actor has stored once the group is written.
    pub fn stored(&mut self, store: &dyn Store, actor: ActorId) -> Result<Option<StoredBytes>, StoreError> {
        self.value(store, &keys::stored(actor))?.map(|value| records::decode(&value)).transpose()
    }

    fn take(&mut self, store: &dyn Store, batch: Batch) -> Result<(), StoreError> {
        let (ops, counted) = batch.into_counted_ops();
        let mut ops = ops.into_iter();
        let mut at = 0;
        for counted in counted {
            match counted {
                Counted::Created { actor, namespace } => {
                    self.merged.put(keys::stored(actor), records::encode(&StoredBytes::nothing(namespace)));
                    self.change_usage(store, actor, namespace, |usage| usage.actors += 1)?;
                }
                Counted::Entries { actor, space, from, to } => {
                    ops.by_ref().take(from - at).for_each(|op| self.merged.push(op));
                    at = to;
                    self.count_entries(store, actor, space, ops.by_ref().take(to - from))?;
                }
                Counted::Database { actor, bytes } => {
                    if let Some(stored) = self.stored(store, actor)? {
                        self.change_stored(store, actor, stored, StoredBytes { database: bytes, ..stored })?;
                    }
                }
                Counted::Imported { actor, kv_bytes, runner_kv_bytes } => {
                    if let Some(stored) = self.stored(store, actor)? {
                        let after = StoredBytes { kv: kv_bytes, runner_kv: runner_kv_bytes, ..stored };
                        self.change_stored(store, actor, stored, after)?;
                    }
                }
                Counted::ImportDropped { actor } => {
                    let note = keys::importing(actor);
                    if self.value(store, &note)?.is_some() {
                        keys::staged(actor).into_iter().for_each(|(start, end)| self.merged.delete_range(start, end));
                        self.merged.delete(note);
                    }
                }
                Counted::Destroyed { actor } => {
                    if let Some(stored) = self.stored(store, actor)? {
                        self.merged.delete(keys::stored(actor));
                        self.change_usage(store, actor, stored.namespace, |usage| {
                            usage.actors = usage.actors.saturating_sub(1);
                            usage.bytes = usage.bytes.saturating_sub(stored.total());
                        })?;
                    }
                }
            }
        }
        ops.for_each(|op| self.merged.push(op));
        Ok(())
    }

    /// Takes the operations, and counts what they change in this KV.
    fn count_entries(
        &mut self,
        store: &dyn Store,
        actor: ActorId,
        space: KvSpace,
        ops: impl Iterator<Item = Op>,
    ) -> Result<(), StoreError> {
        let Some(before) = self.stored(store, actor)? else {
            ops.for_each(|op| self.merged.push(op));
            return Ok(());
        };
        let mut after = before;
        let bytes = match space {
            KvSpace::Actor => &mut after.kv,
            KvSpace::Runner => &mut after.runner_kv,
        };
        for op in ops {
            *bytes = match &op {
                Op::Put { key, value } => bytes.saturating_sub(self.entry_bytes(store, key)?) + entry_bytes(key, value),
                Op::Delete { key } => bytes.saturating_sub(self.entry_bytes(store, key)?),
                Op::DeleteRange { start, end } => match keys::kv_all(space, actor) {
                    (first, last) if first == *start && last == *end => 0,
                    _ => bytes.saturating_sub(self.range_bytes(store, start, end)?),
                },
            };
            self.merged.push(op);
        }
        self.change_stored(store, actor, before, after)
    }

    fn change_stored(
        &mut self,
        store: &dyn Store,
        actor: ActorId,
        before: StoredBytes,
        after: StoredBytes,
    ) -> Result<(), StoreError> {
        if before == after {
            return Ok(());
        }
        self.merged.put(keys::stored(actor), records::encode(&after));
        self.change_usage(store, actor, after.namespace, |usage| {
            usage.bytes = (usage.bytes + after.total()).saturating_sub(before.total());
        })
    }

    fn change_usage(
        &mut self,
        store: &dyn Store,
        actor: ActorId,
        namespace: NamespaceId,
        change: impl FnOnce(&mut NamespaceUsage),
    ) -> Result<(), StoreError> {
        let key = keys::usage(actor.partition(), namespace);
        let found = self.value(store, &key)?;
        let mut usage: NamespaceUsage = found.map(|value| records::decode(&value)).transpose()?.unwrap_or_default();
        change(&mut usage);
        self.merged.put(key, records::encode(&usage));
        Ok(())
    }

    /// As the group leaves it so far.
    fn value(&mut self, store: &dyn Store, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.index.extend(self.merged.ops());
        match self.index.find(key) {
            Some(written) => Ok(written),
            None => store.get(key),
        }
    }

    fn entry_bytes(&mut self, store: &dyn Store, key: &[u8]) -> Result<u64, StoreError> {
        Ok(self.value(store, key)?.map_or(0, |value| entry_bytes(key, &value)))
    }

    fn range_bytes(&mut self, store: &dyn Store, start: &[u8], end: &[u8]) -> Result<u64, StoreError> {
        self.index.extend(self.merged.ops());
        let mut bytes = self.index.range_bytes(start, end);
        let mut start = start.to_vec();
        loop {
            let pairs = store.scan(Scan { bytes_max: RANGE_BYTES_MAX, ..Scan::range(&start, end, RANGE_PAIRS) })?;
            let Some(last) = pairs.last() else { return Ok(bytes) };
            start = [&last.key[..], &[0]].concat();
            let untouched = pairs.iter().filter(|pair| self.index.find(&pair.key).is_none());
            bytes += untouched.map(|pair| entry_bytes(&pair.key, &pair.value)).sum::<u64>();
        }
    }
}

/// What an entry of a KV counts: its key and its value, as the actor knows them.
pub fn entry_bytes(key: &[u8], value: &[u8]) -> u64 {
    let of_key = key.len().saturating_sub(keys::KV_PREFIX_BYTES);
    (of_key + value.len().saturating_sub(records::KV_VALUE_OVERHEAD_BYTES)) as u64
}

/// What the operations so far leave behind, by key. Built only when something is to be known of it.
#[derive(Default)]
struct Index {
    seen: usize,
    /// The last put or delete of a key, and which operation it was.
    points: HashMap<Bytes, (usize, Option<Bytes>)>,
    /// The range deletes; there are few.
    ranges: Vec<(usize, Bytes, Bytes)>,
}

impl Index {
    fn extend(&mut self, ops: &[Op]) {
        for (number, op) in ops.iter().enumerate().skip(self.seen) {
            match op {
                Op::Put { key, value } => drop(self.points.insert(key.clone(), (number, Some(value.clone())))),
                Op::Delete { key } => drop(self.points.insert(key.clone(), (number, None))),
                Op::DeleteRange { start, end } => self.ranges.push((number, start.clone(), end.clone())),
            }
        }
        self.seen = ops.len();
    }

    /// What the group leaves under this key: `None` if it does not touch it, `Some(None)` if it deletes it.
    fn find(&self, key: &[u8]) -> Option<Option<Bytes>> {
        let point = self.points.get(key);
        let after = point.map(|(number, _)| *number);
        let deleted = self.ranges.iter().any(|(number, start, end)| after < Some(*number) && key >= &start[..] && key < &end[..]);
        if deleted {
            return Some(None);
        }
        point.map(|(_, value)| value.clone())
    }

    /// Of the entries in this range that the group itself has put.
    fn range_bytes(&self, start: &[u8], end: &[u8]) -> u64 {
        let inside = self.points.keys().filter(|key| &key[..] >= start && &key[..] < end);
        inside.filter_map(|key| Some(entry_bytes(key, &self.find(key)??))).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use protocol::id::Id;

    use super::*;
    use crate::store::{Pair, Persist};
    use crate::{Memory, records};

    const VALUE_BYTES: usize = 128 << 10;

    /// Notes how much one read has brought at most.
    struct Watched {
        below: Memory,
        most: AtomicUsize,
    }

    impl Store for Watched {
        fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
            self.below.get(key)
        }

        fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>, StoreError> {
            self.below.get_many(keys)
        }

        fn scan(&self, scan: Scan<'_>) -> Result<Vec<Pair>, StoreError> {
            let pairs = self.below.scan(scan)?;
            let bytes = pairs.iter().map(|pair| pair.key.len() + pair.value.len()).sum();
            self.most.fetch_max(bytes, Ordering::Relaxed);
            Ok(pairs)
        }

        fn commit(&self, batch: &Batch, persist: Persist) -> Result<(), StoreError> {
            self.below.commit(batch, persist)
        }

        fn sync(&self) -> Result<(), StoreError> {
            self.below.sync()
        }

        fn poisoned(&self) -> Option<String> {
            self.below.poisoned()
        }
    }

    #[test]
    fn a_long_range_is_counted_in_small_pieces() {
        let store = Watched { below: Memory::new(), most: AtomicUsize::new(0) };
        let (actor, namespace) = (Id::new([1; 16], 1), Id::new([2; 16], 1));
        let key = |number: u32| keys::kv(KvSpace::Actor, actor, format!("k{number:03}").as_bytes());
        let mut batch = Batch::new();
        batch.count(Counted::Created { actor, namespace });
        batch.entries(actor, KvSpace::Actor, |batch| {
            let value = vec![7; VALUE_BYTES];
            (0..200).for_each(|number| batch.put(key(number), records::kv(1, &value)));
        });
        store.commit(&alone(&store, batch).expect("it fits"), Persist::Written).expect("memory does not fail");

        let mut batch = Batch::new();
        batch.entries(actor, KvSpace::Actor, |batch| batch.delete_range(key(0), key(199)));
        let mut group = Group::new();
        group.add(&store, batch).expect("it can be read");
        let stored = group.stored(&store, actor).expect("it can be read").expect("it lives");
        assert_eq!(stored.kv, 4 + VALUE_BYTES as u64, "one is left");
        let most = store.most.into_inner();
        assert!(most <= RANGE_BYTES_MAX + 2 * VALUE_BYTES, "{most} bytes were read at one time");
    }
}
