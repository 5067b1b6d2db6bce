//! The lines that actors have logged: bounded for each actor, in total and in age, in a store of their own.
//!
//! A store of their own, so that nothing that an actor logs ever stands before a commit of state. Lines are kept in chunks: the
//! lines of one actor that came in one group. What has to go goes oldest first, a chunk at a time, in the same batch as what
//! comes, so that the sums are exact whenever the process dies.
//!
//! | key | layout | value |
//! |---|---|---|
//! | chunk | `l` actor, number of its last line | [`Chunk`] |
//! | the same in the order of writing | `o` number of its last line | [`Place`] |
//! | what an actor's chunks take | `t` actor | [`Account`] |
//! | what all take | `s` | [`Sums`] |
//!
//! Numbers are given by the caller, ascend through all actors, and are 8 bytes big-endian. One may be missing, none comes twice.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as MapEntry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use protocol::id::ActorId;
use protocol::limits::{KIB, LOG_LINE_BYTES_MAX};
use protocol::message::LogLevel;
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::records::{self, Record};
use crate::store::{Batch, Pair, Persist, Scan, Store};

/// Text of one chunk, and one line more: what a read of one line has to fetch.
pub const CHUNK_TEXT_BYTES_MAX: usize = 16 * KIB;
/// What a chunk takes beside its record: its keys, twice, and its place in the tables.
const CHUNK_OVERHEAD_BYTES: u64 = 128;
/// What a line takes in a record beside its text: number, time, level, lengths; at most.
pub const LINE_OVERHEAD_BYTES: usize = 32;
/// Chunks that one scan reads at most.
const SCAN_CHUNKS_MAX: usize = 64;
/// Chunks that one batch drops to make room.
const DROP_CHUNKS_MAX: usize = 256;
const _: () = assert!(LOG_LINE_BYTES_MAX <= CHUNK_TEXT_BYTES_MAX);

const CHUNK: u8 = b'l';
const ORDER: u8 = b'o';
const ACCOUNT: u8 = b't';
const SUMS: &[u8] = b"s";

/// What an operator may turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogLimits {
    pub actor_bytes: u64,
    pub total_bytes: u64,
    pub age_ms: u64,
}

/// Who says it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogSource {
    /// Its code, or what runs it.
    Actor,
    Engine,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LogEntry {
    pub number: u64,
    pub source: LogSource,
    pub level: LogLevel,
    pub time_ms: u64,
    pub text: String,
}

/// Which lines of an actor: those with a number after the first and before the second.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Between {
    pub after: u64,
    pub before: u64,
}

impl Between {
    pub const ALL: Between = Between { after: 0, before: u64::MAX };

    pub fn has(self, number: u64) -> bool {
        self.after < number && number < self.before
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Chunk {
    pub entries: Vec<LogEntry>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Place {
    pub actor: ActorId,
    pub bytes: u64,
    /// By the engine's clock: that of a runner elsewhere may be wrong.
    pub written_ms: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Account {
    pub bytes: u64,
    /// Nothing of it is before this number: what was dropped need not be stepped over.
    pub first: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Sums {
    pub bytes: u64,
    /// The highest number that was ever written.
    pub last: u64,
}

impl Record for Chunk {
    const VERSION: u8 = 1;
    const WHAT: &'static str = "a chunk of an actor's log";
}

impl Record for Place {
    const VERSION: u8 = 1;
    const WHAT: &'static str = "the place of a chunk among all";
}

impl Record for Account {
    const VERSION: u8 = 1;
    const WHAT: &'static str = "what an actor's log takes";
}

impl Record for Sums {
    const VERSION: u8 = 1;
    const WHAT: &'static str = "what all logs take";
}

pub struct ActorLogs {
    store: Arc<dyn Store>,
    limits: LogLimits,
    /// Held while the disk is written to.
    written: Mutex<Written>,
    /// The sum of it, for those who must not wait.
    bytes: AtomicU64,
}

struct Written {
    sums: Sums,
    /// Nothing is before this number.
    oldest: u64,
}

/// A batch on its way, and what the sums are with it.
struct Draft {
    batch: Batch,
    sums: Sums,
    accounts: BTreeMap<ActorId, Account>,
}

impl ActorLogs {
    pub fn open(store: Arc<dyn Store>, limits: LogLimits) -> Result<ActorLogs, StoreError> {
        let sums = store.get(SUMS)?.map_or(Ok(Sums::default()), |value| records::decode(&value))?;
        let bytes = AtomicU64::new(sums.bytes);
        Ok(ActorLogs { store, limits, written: Mutex::new(Written { sums, oldest: 0 }), bytes })
    }

    /// The highest number that was ever written.
    pub fn last(&self) -> u64 {
        self.lock().sums.last
    }

    /// What all lines take, with the keys that find them. Never waits.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Adds lines, each actor's in ascending order, and drops what there is no more room for. Not synced.
    pub fn write(&self, now_ms: u64, group: &[(ActorId, Vec<LogEntry>)]) -> Result<(), StoreError> {
        let mut written = self.lock();
        let group: Vec<(ActorId, Vec<NewChunk>)> = group.iter().map(|(actor, entries)| (*actor, chunks(entries))).collect();
        let incoming: u64 = group.iter().flat_map(|(_, chunks)| chunks).map(|chunk| chunk_bytes(&chunk.record)).sum();
        self.drop_oldest(&mut written, |sums, _| sums.bytes + incoming > self.limits.total_bytes)?;
        let mut draft = Draft::new(written.sums);
        let mut oldest = written.oldest;
        for (actor, chunks) in group {
            self.make_room_of(actor, chunks.iter().map(|chunk| chunk_bytes(&chunk.record)).sum(), &mut draft)?;
            for NewChunk { last, record } in chunks {
                let bytes = chunk_bytes(&record);
                self.account(actor, &mut draft)?.bytes += bytes;
                draft.sums.bytes += bytes;
                draft.sums.last = draft.sums.last.max(last);
                draft.batch.put(chunk_key(actor, last), record);
                draft.batch.put(order_key(last), records::encode(&Place { actor, bytes, written_ms: now_ms }));
                // Groups need not come in the order of their numbers.
                oldest = oldest.min(last);
            }
        }
        self.commit(draft, &mut written)?;
        written.oldest = oldest;
        Ok(())
    }

    /// Drops what is too old.
    pub fn age(&self, now_ms: u64) -> Result<(), StoreError> {
        let since_ms = now_ms.saturating_sub(self.limits.age_ms);
        self.drop_oldest(&mut self.lock(), |_, place| place.written_ms < since_ms)
    }

    /// Drops all that these actors have logged.
    pub fn remove(&self, actors: &[ActorId]) -> Result<(), StoreError> {
        let mut written = self.lock();
        for actor in actors {
            let mut draft = Draft::new(written.sums);
            self.make_room_of(*actor, u64::MAX, &mut draft)?;
            self.commit(draft, &mut written)?;
        }
        Ok(())
    }

    /// The lines in their order, from the first on: at most so many, and not many more bytes of text than that. Empty only if
    /// there is none.
    pub fn read(&self, actor: ActorId, between: Between, lines_max: usize, bytes_max: usize) -> Result<Vec<LogEntry>, StoreError> {
        let mut entries: Vec<LogEntry> = Vec::new();
        let mut bytes = 0;
        let mut after = between.after;
        while entries.len() < lines_max && bytes < bytes_max {
            let chunks = self.scan(actor, after, u64::MAX, false, bytes_max - bytes)?;
            let Some((last, _)) = chunks.last() else { break };
            after = *last;
            for entry in chunks.into_iter().flat_map(|(_, chunk)| chunk.entries) {
                if entry.number >= between.before {
                    return Ok(entries);
                }
                if between.has(entry.number) && entries.len() < lines_max {
                    bytes += entry.text.len();
                    entries.push(entry);
                }
            }
        }
        Ok(entries)
    }

    /// The number after which the newest `lines` lines come, of those that are between and not older than `since_ms`; and how
    /// many there are.
    pub fn newest(&self, actor: ActorId, between: Between, since_ms: u64, lines: usize) -> Result<(u64, usize), StoreError> {
        let mut after = between.before.saturating_sub(1).max(between.after);
        let mut found = 0;
        // The chunk with the last line before may have more lines after that.
        let mut end = match between.before {
            u64::MAX => u64::MAX,
            before => self
                .scan(actor, before.saturating_sub(1), u64::MAX, false, 1)?
                .first()
                .map_or(u64::MAX, |(last, _)| last.saturating_add(1)),
        };
        while found < lines {
            let chunks = self.scan(actor, between.after, end, true, usize::MAX)?;
            let Some((oldest, _)) = chunks.last() else { break };
            end = *oldest;
            for entry in chunks.into_iter().flat_map(|(_, chunk)| chunk.entries.into_iter().rev()) {
                if entry.number >= between.before {
                    continue;
                }
                if entry.number <= between.after || entry.time_ms < since_ms || found == lines {
                    return Ok((after, found));
                }
                after = entry.number - 1;
                found += 1;
            }
        }
        Ok((after, found))
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Chunks whose last line is after the first number and before the second.
    fn scan(
        &self,
        actor: ActorId,
        after: u64,
        before: u64,
        reverse: bool,
        bytes_max: usize,
    ) -> Result<Vec<(u64, Chunk)>, StoreError> {
        let (start, end) = (chunk_key(actor, after.saturating_add(1)), chunk_key(actor, before));
        let scan = Scan { start: &start, end: Some(&end), reverse, keys_only: false, limit: SCAN_CHUNKS_MAX, bytes_max };
        let read = |pair: Pair| Ok((number_of(&pair.key)?, records::decode(&pair.value)?));
        self.store.scan(scan)?.into_iter().map(read).collect()
    }

    fn account<'a>(&self, actor: ActorId, draft: &'a mut Draft) -> Result<&'a mut Account, StoreError> {
        match draft.accounts.entry(actor) {
            MapEntry::Occupied(account) => Ok(account.into_mut()),
            MapEntry::Vacant(place) => {
                let found = self.store.get(&account_key(actor))?;
                Ok(place.insert(found.map_or(Ok(Account::default()), |value| records::decode(&value))?))
            }
        }
    }

    /// Drops an actor's oldest chunks until so many bytes more are within its bound.
    fn make_room_of(&self, actor: ActorId, bytes: u64, draft: &mut Draft) -> Result<(), StoreError> {
        let mut after = self.account(actor, draft)?.first.saturating_sub(1);
        while self.account(actor, draft)?.bytes.saturating_add(bytes) > self.limits.actor_bytes {
            let (start, end) = (chunk_key(actor, after.saturating_add(1)), chunk_key(actor, u64::MAX));
            let chunks = self.store.scan(Scan::range(&start, &end, SCAN_CHUNKS_MAX))?;
            if chunks.is_empty() {
                return Ok(());
            }
            for chunk in chunks {
                after = number_of(&chunk.key)?;
                let account = self.account(actor, draft)?;
                if account.bytes.saturating_add(bytes) <= self.limits.actor_bytes {
                    return Ok(());
                }
                draft.drop_chunk(actor, after, chunk_bytes(&chunk.value));
            }
        }
        Ok(())
    }

    /// Drops the oldest chunks of all as long as they are not wanted.
    fn drop_oldest(&self, written: &mut Written, unwanted: impl Fn(&Sums, &Place) -> bool) -> Result<(), StoreError> {
        loop {
            let start = order_key(written.oldest);
            let places = self.store.scan(Scan::range(&start, &[ORDER + 1], DROP_CHUNKS_MAX))?;
            let mut draft = Draft::new(written.sums);
            let mut oldest = written.oldest;
            let mut all = places.len() == DROP_CHUNKS_MAX;
            for pair in &places {
                let place: Place = records::decode(&pair.value)?;
                let number = number_of(&pair.key)?;
                oldest = number;
                if !unwanted(&draft.sums, &place) {
                    all = false;
                    break;
                }
                self.account(place.actor, &mut draft)?;
                draft.drop_chunk(place.actor, number, place.bytes);
            }
            self.commit(draft, written)?;
            written.oldest = oldest;
            if !all {
                return Ok(());
            }
        }
    }

    fn commit(&self, draft: Draft, written: &mut Written) -> Result<(), StoreError> {
        let Draft { mut batch, sums, accounts } = draft;
        if batch.is_empty() {
            return Ok(());
        }
        for (actor, account) in accounts {
            match account.bytes {
                0 => batch.delete(account_key(actor)),
                _ => batch.put(account_key(actor), records::encode(&account)),
            }
        }
        batch.put(SUMS, records::encode(&sums));
        self.store.commit(&batch, Persist::Written)?;
        written.sums = sums;
        self.bytes.store(sums.bytes, Ordering::Relaxed);
        Ok(())
    }
}

impl Draft {
    fn new(sums: Sums) -> Draft {
        Draft { batch: Batch::new(), sums, accounts: BTreeMap::new() }
    }

    fn drop_chunk(&mut self, actor: ActorId, last: u64, bytes: u64) {
        self.batch.delete(chunk_key(actor, last));
        self.batch.delete(order_key(last));
        self.sums.bytes = self.sums.bytes.saturating_sub(bytes);
        if let Some(account) = self.accounts.get_mut(&actor) {
            account.bytes = account.bytes.saturating_sub(bytes);
            account.first = last.saturating_add(1);
        }
    }
}

struct NewChunk {
    last: u64,
    record: Bytes,
}

/// An actor's lines as records.
fn chunks(entries: &[LogEntry]) -> Vec<NewChunk> {
    let mut chunks = Vec::new();
    let mut rest = entries;
    while !rest.is_empty() {
        let mut text = 0;
        let fits = |entry: &&LogEntry| {
            let first = text == 0;
            text += entry.text.len() + LINE_OVERHEAD_BYTES;
            first || text <= CHUNK_TEXT_BYTES_MAX
        };
        let (chunk, more) = rest.split_at(rest.iter().take_while(fits).count());
        rest = more;
        if let Some(last) = chunk.last() {
            chunks.push(NewChunk { last: last.number, record: records::encode(&Chunk { entries: chunk.to_vec() }) });
        }
    }
    chunks
}

fn chunk_bytes(record: &[u8]) -> u64 {
    record.len() as u64 + CHUNK_OVERHEAD_BYTES
}

fn chunk_key(actor: ActorId, last: u64) -> Vec<u8> {
    [&[CHUNK], &actor.as_bytes()[..], &last.to_be_bytes()].concat()
}

fn order_key(last: u64) -> Vec<u8> {
    [&[ORDER], &last.to_be_bytes()[..]].concat()
}

fn account_key(actor: ActorId) -> Vec<u8> {
    [&[ACCOUNT], &actor.as_bytes()[..]].concat()
}

/// At the end of a chunk's key, and of its place in the order.
fn number_of(key: &[u8]) -> Result<u64, StoreError> {
    let number = key.last_chunk().ok_or_else(|| StoreError::corrupt("the key of a chunk of an actor's log is too short"))?;
    Ok(u64::from_be_bytes(*number))
}
