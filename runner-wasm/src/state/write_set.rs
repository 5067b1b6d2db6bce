//! What one message has written so far: the latest of each key, within the message's limits.

use std::collections::BTreeMap;
use std::collections::btree_map::Range;
use std::ops::Bound;

use bytes::Bytes;
use protocol::limits::{KV_WRITE_BYTES_MAX, KV_WRITE_CHANGES_MAX};
use protocol::message::{KvChange, KvRange};

use super::Refusal;
use crate::config::{OWN_WRITE_BYTES_MAX, OWN_WRITE_CHANGES_MAX};

/// What one message may write.
pub struct WriteLimits {
    bytes: usize,
    changes: usize,
    /// What the entries are to the guest.
    what: &'static str,
}

pub const OF_GUEST: WriteLimits =
    WriteLimits { bytes: KV_WRITE_BYTES_MAX, changes: KV_WRITE_CHANGES_MAX, what: "keys and values together" };
pub const OF_RUNNER: WriteLimits = WriteLimits {
    bytes: OWN_WRITE_BYTES_MAX,
    changes: OWN_WRITE_CHANGES_MAX,
    what: "schedules, queued messages and connections' states together",
};

/// A value, or `None` for a deleted key.
pub type Written = Option<Bytes>;

pub struct WriteSet {
    writes: BTreeMap<Bytes, Written>,
    bytes: usize,
    limits: &'static WriteLimits,
}

impl WriteSet {
    pub fn new(limits: &'static WriteLimits) -> WriteSet {
        WriteSet { writes: BTreeMap::new(), bytes: 0, limits }
    }

    /// Leaves it empty.
    pub fn take(&mut self) -> WriteSet {
        std::mem::replace(self, WriteSet::new(self.limits))
    }

    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    pub fn get(&self, key: &[u8]) -> Option<&Written> {
        self.writes.get(key)
    }

    /// Refuses what would go over a limit, and then leaves everything as it was.
    pub fn put(&mut self, key: Bytes, value: Written) -> Result<(), Refusal> {
        let before = self.writes.get(&key).map(|value| size(&key, value));
        let bytes = self.bytes - before.unwrap_or(0) + size(&key, &value);
        let WriteLimits { bytes: bytes_max, changes: changes_max, what } = *self.limits;
        if bytes > bytes_max {
            return Err(Refusal::TooLarge(format!(
                "one message writes at most {bytes_max} bytes, {what}; this one would write {bytes}"
            )));
        }
        if before.is_none() && self.writes.len() >= changes_max {
            return Err(Refusal::TooLarge(format!("one message changes at most {changes_max} keys, {what}")));
        }
        self.bytes = bytes;
        self.writes.insert(key, value);
        Ok(())
    }

    pub fn range(&self, range: &KvRange) -> Range<'_, Bytes, Written> {
        within(&self.writes, range)
    }

    pub fn changes(&self) -> Vec<KvChange> {
        let change = |(key, value): (&Bytes, &Written)| match value {
            Some(value) => KvChange::Put { key: key.clone(), value: value.clone() },
            None => KvChange::Delete { key: key.clone() },
        };
        self.writes.iter().map(change).collect()
    }

    pub fn into_writes(self) -> BTreeMap<Bytes, Written> {
        self.writes
    }
}

pub fn size(key: &Bytes, value: &Written) -> usize {
    key.len() + value.as_ref().map_or(0, Bytes::len)
}

/// The part of a map that lies in a range; nothing for a range whose end lies before its start.
pub fn within<'a, V>(map: &'a BTreeMap<Bytes, V>, range: &KvRange) -> Range<'a, Bytes, V> {
    let end = match &range.end {
        // A map refuses such a range by a panic, and a guest may ask for it.
        Some(end) if *end <= range.start => Bound::Excluded(&range.start),
        Some(end) => Bound::Excluded(end),
        None => Bound::Unbounded,
    };
    map.range::<Bytes, _>((Bound::Included(&range.start), end))
}
