//! A backend in memory, for simulations: it can lose power, and its writes can be made to fail.
//!
//! It keeps two states: what a reader sees, and what a disk would have. Losing power goes back to the second, plus the first
//! few of the batches that were written but not synced, as many as the simulation says: a prefix, as a log gives it.
//! It follows the same rules as the backend on disk, the poison included, and passes the same suite.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::error::StoreError;
use crate::store::{Batch, Op, Pair, Persist, Scan, Store, first_conflict};

#[derive(Default)]
pub struct Memory {
    inner: Mutex<Inner>,
}

type Map = BTreeMap<Bytes, Bytes>;

#[derive(Default)]
struct Inner {
    now: Map,
    disk: Map,
    /// Written, not synced; oldest first.
    unsynced: Vec<Vec<Op>>,
    poison: Option<String>,
    fail: Option<Fail>,
}

/// A failure to come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Fail {
    /// So many writes and syncs succeed before it.
    after: u64,
    leaves: Leaves,
}

/// What a failed write leaves on the disk: one cannot know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Leaves {
    Nothing,
    /// It is in the log, like a batch that was written and not synced.
    TheBatch,
}

impl Memory {
    pub fn new() -> Memory {
        Memory::default()
    }

    /// Back to what the disk has, and the first `kept` of the batches that were not synced. Like a restart it heals the poison.
    pub fn lose_power(&self, kept: usize) {
        let mut inner = self.lock();
        let unsynced = std::mem::take(&mut inner.unsynced);
        for ops in unsynced.iter().take(kept) {
            apply(&mut inner.disk, ops);
        }
        inner.now = inner.disk.clone();
        inner.poison = None;
        inner.fail = None;
    }

    /// Batches that losing power may lose.
    pub fn unsynced(&self) -> usize {
        self.lock().unsynced.len()
    }

    /// Lets so many writes and syncs succeed, and fails the next one.
    pub fn fail_after(&self, writes: u64, leaves: Leaves) {
        self.lock().fail = Some(Fail { after: writes, leaves });
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn refuse_if_poisoned(&self) -> Result<(), StoreError> {
        match &self.poison {
            Some(cause) => Err(StoreError::Poisoned { cause: cause.clone() }),
            None => Ok(()),
        }
    }

    /// Counts down to the failure that was asked for.
    fn fails_now(&mut self) -> Option<Leaves> {
        let fail = self.fail.as_mut()?;
        if fail.after > 0 {
            fail.after -= 1;
            return None;
        }
        self.fail.take().map(|fail| fail.leaves)
    }

    fn fail(&mut self, doing: &'static str) -> StoreError {
        let cause = "this failure was asked for".to_owned();
        self.poison = Some(format!("{doing}: {cause}"));
        StoreError::Io { doing, cause }
    }

    fn sync(&mut self) {
        for ops in std::mem::take(&mut self.unsynced) {
            apply(&mut self.disk, &ops);
        }
    }
}

impl Store for Memory {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self.lock().now.get(key).cloned())
    }

    fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>, StoreError> {
        let inner = self.lock();
        Ok(keys.iter().map(|key| inner.now.get(*key).cloned()).collect())
    }

    fn scan(&self, scan: Scan<'_>) -> Result<Vec<Pair>, StoreError> {
        let mut pairs = Vec::new();
        if scan.is_empty() {
            return Ok(pairs);
        }
        let inner = self.lock();
        let end = scan.end.map_or(Bound::Unbounded, Bound::Excluded);
        let mut range = inner.now.range::<[u8], _>((Bound::Included(scan.start), end));
        let mut bytes = 0;
        while let Some((key, value)) = if scan.reverse { range.next_back() } else { range.next() } {
            let value = if scan.keys_only { Bytes::new() } else { value.clone() };
            bytes += key.len() + value.len();
            pairs.push(Pair { key: key.clone(), value });
            if pairs.len() >= scan.limit || bytes >= scan.bytes_max {
                break;
            }
        }
        Ok(pairs)
    }

    fn commit(&self, batch: &Batch, persist: Persist) -> Result<(), StoreError> {
        const DOING: &str = "writing a batch";
        debug_assert!(batch.counted().is_empty(), "a group has counted it");
        let mut inner = self.lock();
        inner.refuse_if_poisoned()?;
        first_conflict(batch.checks(), |key| Ok(inner.now.get(key).cloned()))?;
        if batch.ops().is_empty() {
            return Ok(());
        }
        if let Some(leaves) = inner.fails_now() {
            if leaves == Leaves::TheBatch {
                inner.unsynced.push(batch.ops().to_vec());
            }
            return Err(inner.fail(DOING));
        }
        apply(&mut inner.now, batch.ops());
        inner.unsynced.push(batch.ops().to_vec());
        if persist == Persist::Synced {
            inner.sync();
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        let mut inner = self.lock();
        inner.refuse_if_poisoned()?;
        if inner.fails_now().is_some() {
            return Err(inner.fail("syncing the log"));
        }
        inner.sync();
        Ok(())
    }

    fn poisoned(&self) -> Option<String> {
        self.lock().poison.clone()
    }
}

fn apply(map: &mut Map, ops: &[Op]) {
    for op in ops {
        match op {
            Op::Put { key, value } => drop(map.insert(key.clone(), value.clone())),
            Op::Delete { key } => drop(map.remove(key)),
            Op::DeleteRange { start, end } => {
                if start < end {
                    let inside: Vec<Bytes> = map.range(start.clone()..end.clone()).map(|(key, _)| key.clone()).collect();
                    inside.iter().for_each(|key| drop(map.remove(key)));
                }
            }
        }
    }
}
