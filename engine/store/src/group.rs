//! Puts the batches that wait into one batch, as if each had been committed alone.
//!
//! A check must see what earlier batches of the group write, although nothing of the group is in the store yet. This is the
//! only place that knows how. It relies on there being one writer: nobody else commits between the check and the write.

use std::collections::HashMap;

use bytes::Bytes;

use crate::error::StoreError;
use crate::store::{Batch, Op, Store, first_conflict};

#[derive(Default)]
pub struct Group {
    merged: Batch,
    batches: usize,
    index: Index,
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
        for op in batch.into_ops() {
            self.merged.push(op);
        }
        self.batches += 1;
        Ok(())
    }

    pub fn batches(&self) -> usize {
        self.batches
    }

    /// All that is to be written. It has no checks: they have been made.
    pub fn merged(&self) -> &Batch {
        &self.merged
    }
}

/// What the operations so far leave behind, by key. Built only when the first check comes: most groups have none.
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
}
