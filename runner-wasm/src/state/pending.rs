//! Writes of finished messages that the engine has not confirmed yet, newest per key.

use std::collections::btree_map::{BTreeMap, Entry};
use std::collections::{VecDeque, btree_map::Range};

use bytes::Bytes;
use protocol::message::KvRange;

use super::read_cache::ReadCache;
use super::write_set::{WriteSet, Written, size, within};

#[derive(Default)]
pub struct Pending {
    newest: BTreeMap<Bytes, (Written, u64)>,
    /// The keys that each commit wrote, oldest commit first.
    commits: VecDeque<(u64, Vec<Bytes>)>,
    /// Changes of all of them: more than `newest` has if a key was written more than once.
    changes: usize,
    bytes: usize,
}

impl Pending {
    pub fn get(&self, key: &[u8]) -> Option<&Written> {
        self.newest.get(key).map(|(value, _)| value)
    }

    pub fn range(&self, range: &KvRange) -> Range<'_, Bytes, (Written, u64)> {
        within(&self.newest, range)
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn changes(&self) -> usize {
        self.changes
    }

    pub fn push(&mut self, commit: u64, writes: WriteSet) {
        let writes = writes.into_writes();
        if writes.is_empty() {
            return;
        }
        self.changes += writes.len();
        self.commits.push_back((commit, writes.keys().cloned().collect()));
        for (key, value) in writes {
            self.bytes += size(&key, &value);
            let before = self.newest.insert(key.clone(), (value, commit));
            self.bytes -= before.map_or(0, |(before, _)| size(&key, &before));
        }
    }

    /// All commits up to this one are stored: what they wrote last is now known as stored.
    pub fn confirm(&mut self, commit: u64, cache: &mut ReadCache) {
        while self.commits.front().is_some_and(|(oldest, _)| *oldest <= commit) {
            let Some((oldest, keys)) = self.commits.pop_front() else { return };
            self.changes -= keys.len();
            for key in keys {
                // A later commit may have written the key again; then that one is still to come.
                if let Entry::Occupied(newest) = self.newest.entry(key)
                    && newest.get().1 == oldest
                {
                    let (key, (value, _)) = newest.remove_entry();
                    self.bytes -= size(&key, &value);
                    cache.put(key, value);
                }
            }
        }
    }
}
