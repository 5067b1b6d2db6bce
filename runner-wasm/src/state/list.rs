//! A list over what is stored with what is not stored yet laid over it.
//!
//! The overlay is copied when the list begins. It stays right while the engine answers: an entry that becomes stored meanwhile
//! is in the overlay and in the answer alike, and the overlay's wins.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::limits::{KV_LIST_BYTES_MAX, KV_LIST_ENTRIES_MAX};
use protocol::message::{KvEntry, KvQuestion, KvRange};

use super::Refusal;
use super::pending::Pending;
use super::write_set::{WriteSet, Written};

pub type Pair = (Bytes, Bytes);

/// How many entries that turn out to be hidden one question allows for.
const HIDDEN_ENTRIES_MIN: usize = 16;
const HIDDEN_ENTRIES_MAX: usize = 256;

pub struct Listing {
    range: KvRange,
    reverse: bool,
    limit: usize,
    keys_only: bool,
    /// What is written over the range.
    overlay: BTreeMap<Bytes, Written>,
    /// Stored entries that the overlay does not hide, in the order of the list.
    stored: Vec<Pair>,
    bytes: usize,
    asked: usize,
    exhausted: bool,
}

impl Listing {
    pub fn new(range: KvRange, reverse: bool, limit: usize, keys_only: bool, writes: &WriteSet, pending: &Pending) -> Listing {
        let mut overlay = BTreeMap::new();
        for (key, (value, _)) in pending.range(&range) {
            overlay.insert(key.clone(), value.clone());
        }
        for (key, value) in writes.range(&range) {
            overlay.insert(key.clone(), value.clone());
        }
        let exhausted = limit == 0 || range.end.as_ref().is_some_and(|end| *end <= range.start);
        Listing { range, reverse, limit, keys_only, overlay, stored: Vec::new(), bytes: 0, asked: 0, exhausted }
    }

    /// The next thing to ask the engine, `None` when enough is known.
    pub fn question(&mut self) -> Option<KvQuestion> {
        if self.exhausted {
            return None;
        }
        // A hidden entry takes the place of one that counts, so some more are asked for; not as many as could be hidden, because
        // values may be large. What is then still missing is asked for again.
        let missing = self.limit - self.stored.len();
        let hidden = self.overlay.len().min(missing.clamp(HIDDEN_ENTRIES_MIN, HIDDEN_ENTRIES_MAX));
        self.asked = (missing + hidden).min(KV_LIST_ENTRIES_MAX);
        Some(KvQuestion::List { range: self.range.clone(), reverse: self.reverse, limit: self.asked, keys_only: self.keys_only })
    }

    pub fn answer(&mut self, entries: Vec<KvEntry>) -> Result<(), Refusal> {
        self.exhausted = entries.len() < self.asked;
        if let Some(KvEntry { key: last, .. }) = entries.last() {
            match self.reverse {
                true => self.range.end = Some(last.clone()),
                // The smallest key after a key is that key and a zero byte.
                false => self.range.start = [last, &[0][..]].concat().into(),
            }
        }
        for KvEntry { key, value, .. } in entries {
            if self.stored.len() < self.limit && !self.overlay.contains_key(&key) {
                self.bytes += key.len() + value.len();
                self.stored.push((key, value));
            }
        }
        self.exhausted |= self.stored.len() >= self.limit;
        self.check_bytes()
    }

    pub fn finish(mut self) -> Result<Vec<Pair>, Refusal> {
        let keys_only = self.keys_only;
        let written = |(key, value): (Bytes, Written)| value.map(|value| (key, if keys_only { Bytes::new() } else { value }));
        let mut written: Vec<Pair> = std::mem::take(&mut self.overlay).into_iter().filter_map(written).collect();
        if self.reverse {
            written.reverse();
        }
        let stored = std::mem::take(&mut self.stored);
        let mut merged = Vec::with_capacity((stored.len() + written.len()).min(self.limit));
        let (mut stored, mut written) = (stored.into_iter().peekable(), written.into_iter().peekable());
        self.bytes = 0;
        while merged.len() < self.limit {
            let from_stored = match (stored.peek(), written.peek()) {
                (Some((stored, _)), Some((written, _))) => {
                    let order = stored.cmp(written);
                    (if self.reverse { order.reverse() } else { order }) == Ordering::Less
                }
                (Some(_), None) => true,
                (None, _) => false,
            };
            let Some(pair) = (if from_stored { stored.next() } else { written.next() }) else { break };
            self.bytes += pair.0.len() + pair.1.len();
            self.check_bytes()?;
            merged.push(pair);
        }
        Ok(merged)
    }

    fn check_bytes(&self) -> Result<(), Refusal> {
        match self.bytes > KV_LIST_BYTES_MAX {
            true => Err(Refusal::TooLarge(format!(
                "one list returns at most {KV_LIST_BYTES_MAX} bytes, this would be more; ask for fewer entries, or for the keys only"
            ))),
            false => Ok(()),
        }
    }
}
