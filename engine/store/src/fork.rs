//! A store that begins as a part of another one, as of one moment, and keeps what is written to itself.
//!
//! For trying something on state that is somebody's: it reads through to a [`Snapshot`], and nothing it does reaches the store below.
//! So a fork costs what is written to it, whatever it stands on, and what it has changed is known without comparing everything. It
//! lives in memory, up to a bound, and is gone when it is dropped; there is no sync and no loss of power.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use protocol::id::ActorId;
use protocol::message::KvSpace;

use crate::error::StoreError;
use crate::keys;
use crate::records;
use crate::snapshot::Snapshot;
use crate::store::{Batch, Op, Pair, Persist, Scan, Store, first_conflict};

/// What an entry, or a range that is hidden, takes beside its bytes.
const ENTRY_OVERHEAD_BYTES: usize = 64;
/// Pairs that are read below at one time, and their bytes.
const PAGE_PAIRS: usize = 256;
const PAGE_BYTES: usize = 1024 * 1024;
/// Differences that are counted; beyond it there are more.
pub const DIFFERENCES_MAX: usize = 100_000;

pub struct Fork {
    below: Arc<dyn Snapshot>,
    above: Mutex<Above>,
    bytes_max: usize,
}

struct Above {
    /// What was written here; none: deleted here.
    entries: BTreeMap<Bytes, Option<Bytes>>,
    /// What is still seen of the snapshot: ranges by their start, apart from each other, to their end or to the end of all keys.
    seen: BTreeMap<Bytes, Option<Bytes>>,
    bytes: usize,
    poison: Option<String>,
    /// Batches since the last [`Fork::mark`], and those before it; none: they are not kept, or were too many.
    journal: Option<Journal>,
}

#[derive(Default)]
struct Journal {
    steps: Vec<Batch>,
    bytes: usize,
}

/// What is different in one of an actor's two maps.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Differences {
    pub added: usize,
    pub changed: usize,
    pub removed: usize,
    /// The first of each kind, by their keys.
    pub first: Vec<(Bytes, Difference)>,
    /// Not all were counted.
    pub more: bool,
    /// The same for the same differences: keys, and values after. To compare within one process.
    pub digest: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Difference {
    Added,
    Changed,
    Removed,
}

impl Fork {
    /// Shows everything.
    pub fn whole(below: Arc<dyn Snapshot>) -> Fork {
        Fork::new(below, [(Bytes::new(), None)], usize::MAX)
    }

    /// For another fork to stand on, as long as nobody writes to this one.
    pub fn ground(self: &Arc<Fork>) -> Arc<dyn Snapshot> {
        Arc::new(Ground(self.clone()))
    }

    /// Shows an actor's input, both of its maps and its database, and nothing else: its record is the caller's to write. Writes of
    /// more than `bytes_max` poison it.
    pub fn of_actor(below: Arc<dyn Snapshot>, actor: ActorId, bytes_max: usize) -> Fork {
        let only = |key: Vec<u8>| (key.clone(), [&key[..], &[0]].concat());
        let ranges = [
            only(keys::input(actor)),
            keys::kv_all(KvSpace::Actor, actor),
            keys::kv_all(KvSpace::Runner, actor),
            only(keys::database_head(actor)),
            keys::pages_after(actor, 0),
        ];
        Fork::new(below, ranges.map(|(start, end)| (start.into(), Some(end.into()))), bytes_max)
    }

    /// The ranges must be apart from each other.
    fn new(below: Arc<dyn Snapshot>, seen: impl IntoIterator<Item = (Bytes, Option<Bytes>)>, bytes_max: usize) -> Fork {
        let above = Above { entries: BTreeMap::new(), seen: seen.into_iter().collect(), bytes: 0, poison: None, journal: None };
        Fork { below, above: Mutex::new(above), bytes_max }
    }

    /// Keeps from now on what is written between one mark and the next.
    pub fn keep_journal(&self) {
        self.lock().journal = Some(Journal { steps: vec![Batch::new()], bytes: 0 });
    }

    /// What is written from now on is another step.
    pub fn mark(&self) {
        if let Some(journal) = &mut self.lock().journal {
            journal.steps.push(Batch::new());
        }
    }

    /// What was written in each step. None: it was more than a fork may write, what was overwritten included.
    pub fn take_journal(&self) -> Option<Vec<Batch>> {
        self.lock().journal.take().map(|journal| journal.steps)
    }

    /// How an actor's map differs from the snapshot. That an entry was written again with the value that it had makes no difference.
    pub fn differences(&self, space: KvSpace, actor: ActorId, first_max: usize) -> Result<Differences, StoreError> {
        let (start, end) = keys::kv_all(space, actor);
        let (entries, gone) = {
            let above = self.lock();
            let range = (Bound::Included(&start[..]), Bound::Excluded(&end[..]));
            let entries = above.entries.range::<[u8], _>(range).map(|(key, value)| (key.clone(), value.clone()));
            (entries.collect::<BTreeMap<_, _>>(), above.gone(&start, &end))
        };
        let mut found = Differences::default();
        let mut digest = DefaultHasher::new();
        let value = |value: &Bytes| records::parse_kv(value).map(|(value, _)| value);
        for (key, after) in &entries {
            let before = self.below.get(key)?.as_ref().map(value).transpose()?;
            let after = after.as_ref().map(value).transpose()?;
            let difference = match (before, &after) {
                (None, Some(_)) => Difference::Added,
                (Some(_), None) => Difference::Removed,
                (Some(before), Some(after)) if before != *after => Difference::Changed,
                _ => continue,
            };
            (key, difference, &after).hash(&mut digest);
            found.digest = digest.finish();
            if !found.note(key, difference, first_max) {
                return Ok(found);
            }
        }
        for (start, end) in gone {
            let mut pages = Pages::new(&*self.below, VecDeque::from([(start, Some(end))]), false, true);
            while let Some(pair) = pages.next()? {
                if entries.contains_key(&pair.key) {
                    continue;
                }
                (&pair.key, Difference::Removed).hash(&mut digest);
                found.digest = digest.finish();
                if !found.note(&pair.key, Difference::Removed, first_max) {
                    return Ok(found);
                }
            }
        }
        Ok(found)
    }

    fn lock(&self) -> MutexGuard<'_, Above> {
        self.above.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, above: &Above, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        match above.entries.get(key) {
            Some(entry) => Ok(entry.clone()),
            None if above.sees(key) => self.below.get(key),
            None => Ok(None),
        }
    }
}

impl Differences {
    /// False: so many are enough.
    fn note(&mut self, key: &Bytes, difference: Difference, first_max: usize) -> bool {
        if self.added + self.changed + self.removed == DIFFERENCES_MAX {
            self.more = true;
            return false;
        }
        match difference {
            Difference::Added => self.added += 1,
            Difference::Changed => self.changed += 1,
            Difference::Removed => self.removed += 1,
        }
        if self.first.iter().filter(|(_, known)| *known == difference).count() < first_max {
            self.first.push((key.slice(keys::KV_PREFIX_BYTES.min(key.len())..), difference));
        }
        true
    }
}

impl Above {
    fn sees(&self, key: &[u8]) -> bool {
        let range = self.seen.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back();
        range.is_some_and(|(_, end)| end.as_ref().is_none_or(|end| key < &end[..]))
    }

    /// What is seen between these, in order.
    fn seen_within(&self, start: &[u8], end: Option<&[u8]>) -> VecDeque<(Bytes, Option<Bytes>)> {
        let before = end.map_or(Bound::Unbounded, Bound::Excluded);
        let mut within = VecDeque::new();
        // Backwards: as they are apart, the first that ends too early is the last to look at.
        for (from, to) in self.seen.range::<[u8], _>((Bound::Unbounded, before)).rev() {
            if to.as_ref().is_some_and(|to| &to[..] <= start) {
                break;
            }
            let from = if &from[..] < start { Bytes::copy_from_slice(start) } else { from.clone() };
            let to = match (to, end) {
                (Some(to), Some(end)) if &to[..] > end => Some(Bytes::copy_from_slice(end)),
                (None, Some(end)) => Some(Bytes::copy_from_slice(end)),
                (to, _) => to.clone(),
            };
            within.push_front((from, to));
        }
        within
    }

    /// The ranges between these, all of which was seen once, that are not seen any more.
    fn gone(&self, start: &[u8], end: &[u8]) -> Vec<(Bytes, Bytes)> {
        let mut gone = Vec::new();
        let mut at = Bytes::copy_from_slice(start);
        for (from, to) in self.seen_within(start, Some(end)) {
            if at < from {
                gone.push((at, from));
            }
            at = to.unwrap_or_else(|| Bytes::copy_from_slice(end));
        }
        if &at[..] < end {
            gone.push((at, Bytes::copy_from_slice(end)));
        }
        gone
    }

    fn hide(&mut self, start: &Bytes, end: &Bytes) {
        if start >= end {
            return;
        }
        let before = (Bound::Unbounded, Bound::Excluded(end.clone()));
        let meets = |to: &Option<Bytes>| to.as_ref().is_none_or(|to| to > start);
        let met: Vec<(Bytes, Option<Bytes>)> =
            self.seen.range(before).rev().take_while(|(_, to)| meets(to)).map(|(from, to)| (from.clone(), to.clone())).collect();
        for (from, to) in met {
            self.seen.remove(&from);
            if from < *start {
                self.seen.insert(from, Some(start.clone()));
            }
            if to.as_ref().is_none_or(|to| to > end) {
                self.seen.insert(end.clone(), to);
            }
        }
        self.bytes += ENTRY_OVERHEAD_BYTES + start.len() + end.len();
    }

    fn put(&mut self, key: &Bytes, value: Option<Bytes>) {
        let bytes = |value: &Option<Bytes>| ENTRY_OVERHEAD_BYTES + key.len() + value.as_ref().map_or(0, Bytes::len);
        self.bytes += bytes(&value);
        if let Some(before) = self.entries.insert(key.clone(), value) {
            self.bytes -= bytes(&before);
        }
    }

    fn write_down(&mut self, batch: &Batch, bytes_max: usize) {
        let Some(journal) = &mut self.journal else { return };
        journal.bytes += batch.bytes();
        match journal.steps.last_mut() {
            Some(step) if journal.bytes <= bytes_max => batch.ops().iter().for_each(|op| step.push(op.clone())),
            _ => self.journal = None,
        }
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Put { key, value } => self.put(key, Some(value.clone())),
            Op::Delete { key } => self.put(key, None),
            Op::DeleteRange { start, end } if start < end => {
                let inside: Vec<Bytes> = self.entries.range(start.clone()..end.clone()).map(|(key, _)| key.clone()).collect();
                for key in inside {
                    let value = self.entries.remove(&key).flatten();
                    self.bytes -= ENTRY_OVERHEAD_BYTES + key.len() + value.map_or(0, |value| value.len());
                }
                self.hide(start, end);
            }
            Op::DeleteRange { .. } => {}
        }
    }
}

impl Fork {
    /// What is below and what is above, as one.
    fn merged(&self, above: &Above, scan: Scan<'_>) -> Result<Vec<Pair>, StoreError> {
        let mut pairs = Vec::new();
        if scan.is_empty() {
            return Ok(pairs);
        }
        let mut below = Pages::new(&*self.below, above.seen_within(scan.start, scan.end), scan.reverse, scan.keys_only);
        let end = scan.end.map_or(Bound::Unbounded, Bound::Excluded);
        let mut written = above.entries.range::<[u8], _>((Bound::Included(scan.start), end));
        let mut next = || if scan.reverse { written.next_back() } else { written.next() };
        let (mut of_below, mut of_above) = (below.next()?, next());
        let mut bytes = 0;
        loop {
            let above_first = match (&of_above, &of_below) {
                (None, None) => return Ok(pairs),
                (Some((key, _)), Some(pair)) => {
                    let order = if scan.reverse { pair.key.cmp(key) } else { (*key).cmp(&pair.key) };
                    if order.is_eq() {
                        // Written here, so that what is below does not count.
                        of_below = below.next()?;
                    }
                    order.is_le()
                }
                (above, _) => above.is_some(),
            };
            let pair = match (above_first, of_above) {
                (true, Some((key, value))) => {
                    of_above = next();
                    let Some(value) = value else { continue };
                    Pair { key: key.clone(), value: if scan.keys_only { Bytes::new() } else { value.clone() } }
                }
                _ => match std::mem::replace(&mut of_below, below.next()?) {
                    Some(pair) => pair,
                    None => return Ok(pairs),
                },
            };
            bytes += pair.key.len() + pair.value.len();
            pairs.push(pair);
            if pairs.len() >= scan.limit || bytes >= scan.bytes_max {
                return Ok(pairs);
            }
        }
    }
}

/// A fork that another one stands on.
struct Ground(Arc<Fork>);

impl Snapshot for Ground {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Store::get(&*self.0, key)
    }

    fn scan(&self, scan: Scan<'_>) -> Result<Vec<Pair>, StoreError> {
        Store::scan(&*self.0, scan)
    }
}

impl Store for Fork {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.read(&self.lock(), key)
    }

    fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>, StoreError> {
        let above = self.lock();
        keys.iter().map(|key| self.read(&above, key)).collect()
    }

    fn scan(&self, scan: Scan<'_>) -> Result<Vec<Pair>, StoreError> {
        self.merged(&self.lock(), scan)
    }

    fn commit(&self, batch: &Batch, _persist: Persist) -> Result<(), StoreError> {
        let mut above = self.lock();
        refuse_if_poisoned(&above)?;
        first_conflict(batch.checks(), |key| self.read(&above, key))?;
        batch.ops().iter().for_each(|op| above.apply(op));
        above.write_down(batch, self.bytes_max);
        if above.bytes > self.bytes_max {
            let cause = format!("more than {} bytes were written to a fork", self.bytes_max);
            above.poison = Some(cause.clone());
            return Err(StoreError::Io { doing: "writing a batch", cause });
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        refuse_if_poisoned(&self.lock())
    }

    fn poisoned(&self) -> Option<String> {
        self.lock().poison.clone()
    }
}

fn refuse_if_poisoned(above: &Above) -> Result<(), StoreError> {
    match &above.poison {
        Some(cause) => Err(StoreError::Poisoned { cause: cause.clone() }),
        None => Ok(()),
    }
}

/// The pairs of some ranges of a snapshot, read in pages.
struct Pages<'a> {
    below: &'a dyn Snapshot,
    /// Still to be read, in order.
    ranges: VecDeque<(Bytes, Option<Bytes>)>,
    reverse: bool,
    keys_only: bool,
    page: std::vec::IntoIter<Pair>,
}

impl<'a> Pages<'a> {
    fn new(below: &'a dyn Snapshot, ranges: VecDeque<(Bytes, Option<Bytes>)>, reverse: bool, keys_only: bool) -> Pages<'a> {
        Pages { below, ranges, reverse, keys_only, page: Vec::new().into_iter() }
    }

    fn next(&mut self) -> Result<Option<Pair>, StoreError> {
        loop {
            if let Some(pair) = self.page.next() {
                return Ok(Some(pair));
            }
            let range = if self.reverse { self.ranges.pop_back() } else { self.ranges.pop_front() };
            let Some((start, end)) = range else { return Ok(None) };
            let (reverse, keys_only) = (self.reverse, self.keys_only);
            let (limit, bytes_max) = (PAGE_PAIRS, PAGE_BYTES);
            let page = self.below.scan(Scan { start: &start, end: end.as_deref(), reverse, keys_only, limit, bytes_max })?;
            // A page is empty only at the end of its range.
            if let Some(last) = page.last() {
                match self.reverse {
                    true => self.ranges.push_back((start, Some(last.key.clone()))),
                    false => self.ranges.push_front(([&last.key[..], &[0]].concat().into(), end)),
                }
            }
            self.page = page.into_iter();
        }
    }
}
