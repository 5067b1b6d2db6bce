//! The trait a storage backend implements: an ordered map of bytes with atomic batches.
//!
//! Drawn low on purpose: a backend knows nothing of actors, and everything above this line is written once. Calls block; who
//! calls chooses the thread. A backend must never make a batch visible in part, never report `Ok` for a write it may still
//! lose, and never decide anything by the content of a key.

use bytes::Bytes;
use protocol::id::{ActorId, NamespaceId};
use protocol::message::KvSpace;

use crate::error::StoreError;

pub trait Store: Send + Sync + 'static {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// The values of several keys, in their order, all read as of one moment.
    fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>, StoreError>;

    /// Pairs in key order (or in reverse), as of one moment. Empty only if the range is empty or the limit is 0, so a long
    /// range can be read in pages until a page is empty.
    fn scan(&self, scan: Scan<'_>) -> Result<Vec<Pair>, StoreError>;

    /// All or nothing, the operations in their order. On `Conflict` nothing was written. On `Ok` it can be read, and has
    /// reached what `persist` names. On any other error the outcome is unknown until the store is opened again.
    fn commit(&self, batch: &Batch, persist: Persist) -> Result<(), StoreError>;

    /// What was committed before survives loss of power from here on.
    fn sync(&self) -> Result<(), StoreError>;

    /// Whether commits wait because the disk has no room for them: that may take as long as it likes.
    fn waits_for_room(&self) -> bool {
        false
    }

    /// Why writes are refused, if they are.
    fn poisoned(&self) -> Option<String>;
}

/// What a commit has survived when it returns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Persist {
    /// With the operating system: survives the end of this process, not loss of power.
    Written,
    /// On the disk: survives loss of power.
    Synced,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pair {
    pub key: Bytes,
    /// Empty if only keys were asked for.
    pub value: Bytes,
}

/// From `start` up to but not including `end`, at most `limit` pairs.
#[derive(Clone, Copy, Debug)]
pub struct Scan<'a> {
    pub start: &'a [u8],
    /// None: to the end of the store.
    pub end: Option<&'a [u8]>,
    /// From the last pair of the range backwards.
    pub reverse: bool,
    pub keys_only: bool,
    pub limit: usize,
    /// The pair that brings the sum of returned bytes to this or beyond is the last one returned.
    pub bytes_max: usize,
}

impl<'a> Scan<'a> {
    pub fn range(start: &'a [u8], end: &'a [u8], limit: usize) -> Scan<'a> {
        Scan { start, end: Some(end), reverse: false, keys_only: false, limit, bytes_max: usize::MAX }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.limit == 0 || self.end.is_some_and(|end| end <= self.start)
    }
}

/// What is to be written: operations in order, under conditions.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Batch {
    checks: Vec<Check>,
    ops: Vec<Op>,
    counted: Vec<Counted>,
    bytes: usize,
}

/// What is to be kept in step with a batch's operations: how much an actor and its namespace have stored. Whoever writes works it out
/// from what is there just before, see [`crate::group`]; a backend only takes batches in which that has been done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Counted {
    Created {
        actor: ActorId,
        namespace: NamespaceId,
    },
    /// These operations, by their places in the batch, are about entries of this KV.
    Entries {
        actor: ActorId,
        space: KvSpace,
        from: usize,
        to: usize,
    },
    /// The database has so many bytes from here on.
    Database {
        actor: ActorId,
        bytes: u64,
    },
    Destroyed {
        actor: ActorId,
    },
    /// It has so much from the beginning: what was staged for it.
    Imported {
        actor: ActorId,
        kv_bytes: u64,
        runner_kv_bytes: u64,
    },
    /// What is staged for it goes, if it is still being imported.
    ImportDropped {
        actor: ActorId,
    },
}

/// This key has this value, or is absent, just before the batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    pub key: Bytes,
    pub expected: Option<Bytes>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    Put {
        key: Bytes,
        value: Bytes,
    },
    Delete {
        key: Bytes,
    },
    /// All keys from `start` up to but not including `end`.
    DeleteRange {
        start: Bytes,
        end: Bytes,
    },
}

/// What an operation costs beside its own bytes, in memory and in the log; so that a bound on bytes bounds tiny ones too.
const OP_OVERHEAD_BYTES: usize = 32;

impl Batch {
    pub fn new() -> Batch {
        Batch::default()
    }

    pub fn check(&mut self, key: impl Into<Bytes>, expected: Option<Bytes>) {
        let check = Check { key: key.into(), expected };
        self.bytes += OP_OVERHEAD_BYTES + check.key.len() + check.expected.as_ref().map_or(0, Bytes::len);
        self.checks.push(check);
    }

    pub fn put(&mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.push(Op::Put { key: key.into(), value: value.into() });
    }

    pub fn delete(&mut self, key: impl Into<Bytes>) {
        self.push(Op::Delete { key: key.into() });
    }

    pub fn delete_range(&mut self, start: impl Into<Bytes>, end: impl Into<Bytes>) {
        self.push(Op::DeleteRange { start: start.into(), end: end.into() });
    }

    pub fn push(&mut self, op: Op) {
        let (left, right) = match &op {
            Op::Put { key, value } => (key.len(), value.len()),
            Op::Delete { key } => (key.len(), 0),
            Op::DeleteRange { start, end } => (start.len(), end.len()),
        };
        self.bytes += OP_OVERHEAD_BYTES + left + right;
        self.ops.push(op);
    }

    /// Operations that are pushed with `fill` are about entries of this KV.
    pub fn entries(&mut self, actor: ActorId, space: KvSpace, fill: impl FnOnce(&mut Batch)) {
        let from = self.ops.len();
        fill(self);
        self.counted.push(Counted::Entries { actor, space, from, to: self.ops.len() });
    }

    pub fn count(&mut self, counted: Counted) {
        self.counted.push(counted);
    }

    pub fn counted(&self) -> &[Counted] {
        &self.counted
    }

    pub fn into_counted_ops(self) -> (Vec<Op>, Vec<Counted>) {
        (self.ops, self.counted)
    }

    /// Forgets the operations from this one on; they took so many bytes with all before them.
    pub(crate) fn cut(&mut self, ops: usize, bytes: usize) {
        self.ops.truncate(ops);
        self.bytes = bytes;
    }

    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// About what it takes in memory and in the log.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.checks.is_empty() && self.ops.is_empty()
    }
}

/// The first check that does not hold, as the error to fail with; `get` reads the state just before the batch.
pub(crate) fn first_conflict(
    checks: &[Check],
    mut get: impl FnMut(&[u8]) -> Result<Option<Bytes>, StoreError>,
) -> Result<(), StoreError> {
    for (number, check) in checks.iter().enumerate() {
        if get(&check.key)? != check.expected {
            return Err(StoreError::Conflict { check: number, key: check.key.clone() });
        }
    }
    Ok(())
}
