//! The backend on RocksDB: one directory, one process, one write-ahead log that is never off.
//!
//! Everything lies in one column family, so that one batch is one record of the log. The numbers below bound memory, files,
//! threads and the time a start takes after a crash. After a write or a sync that failed, nothing is written any more: a page
//! that could not be written may look clean to the kernel, so trying again would claim what is not so. One failure is another: the
//! disk had no room for the bytes. Then the commit waits, the database is opened again from what is on disk, and the same
//! commit is written once more ([`Rocks::commit`]).
//! It must never open what it did not make, and never create a fresh store over the remains of another.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use protocol::limits::{KIB, MIB};
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, BottommostLevelCompaction, CompactOptions, DB, DBAccess, DBCompressionType,
    DBRawIteratorWithThreadMode, DBRecoveryMode, Env, ErrorKind, LogLevel, Options, ReadOptions, WriteBatch, WriteOptions,
    checkpoint::Checkpoint,
};

use crate::budget::{self, Budget};
use crate::error::StoreError;
use crate::format;
use crate::space::{GivenUp, Space};
use crate::store::{Batch, Op, Pair, Persist, Scan, Store, first_conflict};

/// Reading it back after a crash takes about a second per 100 MiB.
const LOG_BYTES_MAX: u64 = 64 * MIB as u64;
/// Logs that are kept to be written over: then a sync changes no inode, which makes it half as expensive again.
const LOGS_RECYCLED: usize = 4;
/// One that fills, one that is being written out, one in reserve.
const MEMTABLES_MAX: i32 = 3;
/// Well below the limit of open files, most of which belongs to connections.
const OPEN_FILES_MAX: i32 = 512;
const LOGS_OPEN_FILES_MAX: i32 = 64;
/// Of short-lived data: a table with so many deletions among so many entries in a row, or this share of all, is compacted.
const DELETIONS_WINDOW: usize = 1024;
const DELETIONS_IN_WINDOW: usize = 512;
const DELETIONS_SHARE: f64 = 0.4;
/// And every table once in so long, whatever is in it.
const COMPACTED_EVERY_S: u64 = 24 * 60 * 60;
/// One that writes memtables out, one that compacts.
const BACKGROUND_JOBS_MAX: i32 = 2;
/// RocksDB's own name for what makes a directory a database.
const CURRENT: &str = "CURRENT";
const BLOCK_BYTES: usize = 16 * KIB;
const BLOOM_BITS_PER_KEY: f64 = 10.0;
const MANIFEST_BYTES_MAX: usize = 16 * MIB;
/// A range of up to so many keys is deleted key by key.
const RANGE_KEYS_MAX: usize = 256;
const SKIPPED_KEYS_MAX: u64 = 4096;
const INFO_LOG_BYTES_MAX: usize = MIB;
const INFO_LOGS_MAX: usize = 2;
/// How often the database is opened again after the disk was full, and how long apart, before that is given up.
const REOPENINGS_MAX: u32 = 10;
const REOPEN_AFTER: Duration = Duration::from_millis(500);
/// What RocksDB was doing when the disk had no room. Not among them: a sync, after which nothing is known.
const DOING_WITHOUT_ROOM: [&str; 5] =
    ["While appending to file", "While pwrite to file", "While open a file", "While fallocate", "While mkdir"];

/// What an operator may turn.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// Shared with other databases of this process, in place of a cache of its own.
    pub budget: Option<Budget>,
    /// Uncompressed blocks, indexes and filters held in memory.
    pub cache_bytes: usize,
    /// Writes held in memory, up to three times this, before they are written out in order.
    pub memtable_bytes: usize,
    /// What is to stay free on the disk; see [`crate::space`].
    pub reserve_bytes: u64,
    /// Whether a directory that a newer engine wrote is opened, if its format is one that this engine knows.
    pub allow_older_engine: bool,
    /// Of the write-ahead log, and so of what a start after a crash reads.
    pub log_bytes: u64,
    pub open_files: i32,
    /// What is written is deleted before long: tables that are mostly deletions are compacted at once, to give the room back.
    pub short_lived: bool,
    /// Whether a commit waits while the disk has no room for it, or fails.
    pub waits_for_room: bool,
}

impl Tuning {
    /// For requests that are recorded: the same, for less.
    pub fn recordings() -> Tuning {
        Tuning { cache_bytes: 2 * MIB, memtable_bytes: MIB, log_bytes: 4 * MIB as u64, ..Tuning::logs() }
    }

    /// For what actors log: little memory, few files, and the disk's room given back.
    pub fn logs() -> Tuning {
        Tuning {
            cache_bytes: 8 * MIB,
            memtable_bytes: 4 * MIB,
            log_bytes: 16 * MIB as u64,
            open_files: LOGS_OPEN_FILES_MAX,
            short_lived: true,
            // They can be spared, and whoever writes them must not stand still.
            waits_for_room: false,
            ..Tuning::default()
        }
    }

    /// The state's, within a budget.
    pub fn within(budget: &Budget) -> Tuning {
        Tuning { memtable_bytes: budget.state_memtable_bytes(), budget: Some(budget.clone()), ..Tuning::default() }
    }

    /// The logs', within the same.
    pub fn logs_within(budget: &Budget) -> Tuning {
        Tuning { memtable_bytes: budget.logs_memtable_bytes(), budget: Some(budget.clone()), ..Tuning::logs() }
    }
}

impl Default for Tuning {
    fn default() -> Tuning {
        Tuning {
            budget: None,
            cache_bytes: 64 * MIB,
            memtable_bytes: 32 * MIB,
            log_bytes: LOG_BYTES_MAX,
            open_files: OPEN_FILES_MAX,
            short_lived: false,
            waits_for_room: true,
            reserve_bytes: 0,
            allow_older_engine: false,
        }
    }
}

pub struct Rocks {
    /// None only if it could not be opened again.
    db: RwLock<Option<DB>>,
    reopening: AtomicBool,
    options: Options,
    space: Arc<Space>,
    /// While the disk has no room; else a commit fails.
    may_wait: bool,
    /// A commit that waited for room was given up, and none after it may be written.
    gave_up: AtomicBool,
    path: PathBuf,
    synced: WriteOptions,
    written: WriteOptions,
    /// Between the checks of a batch and its write nobody else may write.
    commits: Mutex<()>,
    poison: OnceLock<String>,
}

impl Rocks {
    /// Opens the store in this directory, or makes one if the directory is absent or empty.
    pub fn open(path: &Path, tuning: &Tuning) -> Result<Rocks, StoreError> {
        let mut store = Rocks::open_with(path, options(tuning), tuning.reserve_bytes)?;
        store.may_wait = tuning.waits_for_room;
        format::open(&store, path, tuning.allow_older_engine)?;
        Ok(store)
    }

    /// Opens one that is there to copy it: no other process has it meanwhile, and its format stays what it is.
    pub fn open_as_it_is(path: &Path) -> Result<Rocks, StoreError> {
        refuse_absent(path)?;
        let store = Rocks::open_with(path, options(&Tuning::default()), 0)?;
        format::check(&store, path)?;
        Ok(store)
    }

    /// Opens it to look: nothing is written, brought up to a newer format or repaired. What its log holds can be read.
    pub fn look(path: &Path) -> Result<Rocks, StoreError> {
        refuse_absent(path)?;
        let mut options = options(&Tuning::default());
        options.create_if_missing(false);
        let db = DB::open_for_read_only(&options, path, false).map_err(|error| open_error(path, &error))?;
        let store = Rocks::over(db, options, path, 0);
        let _ = store.poison.set("it was opened to look".to_owned());
        format::check(&store, path)?;
        Ok(store)
    }

    fn open_with(path: &Path, options: Options, reserve_bytes: u64) -> Result<Rocks, StoreError> {
        prepare(path)?;
        let db = DB::open(&options, path).map_err(|error| open_error(path, &error))?;
        Ok(Rocks::over(db, options, path, reserve_bytes))
    }

    fn over(db: DB, options: Options, path: &Path, reserve_bytes: u64) -> Rocks {
        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        Rocks {
            db: RwLock::new(Some(db)),
            reopening: AtomicBool::new(false),
            options,
            space: Arc::new(Space::new(path, reserve_bytes)),
            may_wait: true,
            gave_up: AtomicBool::new(false),
            path: path.to_owned(),
            synced,
            written: WriteOptions::default(),
            commits: Mutex::new(()),
            poison: OnceLock::new(),
        }
    }

    /// Writes everything out, so that the next start has no log to read.
    pub fn close(self) -> Result<(), StoreError> {
        self.write_out()
    }

    /// Rewrites all tables without what was deleted, so that its bytes are not on the disk any more. Waits for that.
    pub fn erase_deleted(&self) -> Result<(), StoreError> {
        let doing = "rewriting the tables without what was deleted";
        let db = self.db()?;
        let db = db.get()?;
        db.flush().map_err(|error| io(doing, &error))?;
        let mut options = CompactOptions::default();
        options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        db.compact_range_opt(None::<&[u8]>, None::<&[u8]>, &options);
        Ok(())
    }

    /// The room that its disk has.
    pub fn space(&self) -> Arc<Space> {
        self.space.clone()
    }

    /// The same store as of one moment, in a folder that must not be there yet, on the same file system: tables are linked, not
    /// copied. Everything that was committed before is in it.
    pub fn checkpoint(&self, folder: &Path) -> Result<(), StoreError> {
        let doing = "making a copy of the store as of one moment";
        let db = self.db()?;
        let checkpoint = Checkpoint::new(db.get()?).map_err(|error| io(doing, &error))?;
        checkpoint.create_checkpoint(folder).map_err(|error| io(doing, &error))
    }

    /// Commits that wait for room on the disk fail from now on instead, and nothing else is written.
    pub fn give_up_waiting(&self) {
        self.space.give_up();
    }

    pub(crate) fn db(&self) -> Result<Open<'_>, StoreError> {
        let open = Open(self.db.read().unwrap_or_else(PoisonError::into_inner));
        open.get().map(drop)?;
        Ok(open)
    }

    /// Whoever holds the database for longer than a read lets it go.
    pub(crate) fn is_reopening(&self) -> bool {
        self.reopening.load(Relaxed)
    }

    /// As of a snapshot of it.
    pub(crate) fn get_of(snapshot: &rocksdb::Snapshot<'_>, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let found = snapshot.get_pinned(key).map_err(|error| read_error(&error))?;
        Ok(found.map(|value| Bytes::copy_from_slice(&value)))
    }

    pub(crate) fn scan_of(snapshot: &rocksdb::Snapshot<'_>, scan: Scan<'_>) -> Result<Vec<Pair>, StoreError> {
        if scan.is_empty() {
            return Ok(Vec::new());
        }
        let mut options = bounds(scan.start, scan.end);
        // Read once, by whoever reads everything: what serves keeps its place in the cache.
        options.fill_cache(false);
        read(snapshot.raw_iterator_opt(options), scan)
    }

    /// After the disk had no room for a write: waits for it, however often it turns out that there is none yet.
    fn reopen(&self) -> Result<(), StoreError> {
        loop {
            self.space.wait_after_the_end().map_err(|GivenUp| self.give_up())?;
            let opened = self.try_to_reopen();
            self.reopening.store(false, Relaxed);
            if opened? {
                return Ok(());
            }
        }
    }

    fn give_up(&self) -> StoreError {
        self.gave_up.store(true, Relaxed);
        StoreError::Closed
    }

    /// What this process believes of the database's state is thrown away, and read anew from what is on disk. A record that was
    /// written by half ends the log there, so it is as if it had never been. False: opening it needs more room than there is, and until
    /// there is more it can only be read.
    fn try_to_reopen(&self) -> Result<bool, StoreError> {
        self.reopening.store(true, Relaxed);
        // Reads wait meanwhile; they do not fail.
        let mut db = self.db.write().unwrap_or_else(PoisonError::into_inner);
        for attempt in 1..=REOPENINGS_MAX {
            *db = None;
            match DB::open(&self.options, &self.path) {
                Ok(opened) => {
                    *db = Some(opened);
                    tracing::info!(path = %self.path.display(), "the database was opened again after the disk had been full");
                    return Ok(true);
                }
                Err(error) if is_want_of_room(&error) && self.open_to_read(&mut db) => {
                    tracing::debug!(%error, "there is not enough room yet to open the database again");
                    return Ok(false);
                }
                Err(error) if attempt == REOPENINGS_MAX => return Err(self.poison("opening the database again", &error)),
                Err(error) => tracing::warn!(%error, attempt, "the database could not be opened again yet"),
            }
            thread::sleep(REOPEN_AFTER);
        }
        Ok(false)
    }

    /// That takes no room.
    fn open_to_read(&self, db: &mut Option<DB>) -> bool {
        match DB::open_for_read_only(&self.options, &self.path, false) {
            Ok(opened) => *db = Some(opened),
            Err(error) => tracing::warn!(%error, "the database cannot even be opened to read"),
        }
        db.is_some()
    }

    /// The same operations for RocksDB, with short ranges deleted key by key.
    fn write_batch(&self, batch: &Batch) -> WriteBatch {
        let mut write = WriteBatch::with_capacity_bytes(batch.bytes());
        let has_ranges = batch.ops().iter().any(|op| matches!(op, Op::DeleteRange { .. }));
        // Keys of this batch that a range delete later in it must delete too.
        let mut put = BTreeSet::new();
        for op in batch.ops() {
            match op {
                Op::Put { key, value } => {
                    write.put(key, value);
                    if has_ranges {
                        put.insert(&key[..]);
                    }
                }
                Op::Delete { key } => write.delete(key),
                // RocksDB calls a range that ends before it starts an error; here it is empty.
                Op::DeleteRange { start, end } if start < end => match self.few_keys(start, end) {
                    Some(keys) => {
                        keys.iter().for_each(|key| write.delete(key));
                        put.range(&start[..]..&end[..]).for_each(|key| write.delete(key));
                    }
                    None => write.delete_range(start, end),
                },
                Op::DeleteRange { .. } => {}
            }
        }
        write
    }

    /// The keys of a range, if they are few. A range delete is one entry, but RocksDB indexes all of those in memory anew for
    /// the first read after each of them: with ten thousand destroyed actors a read took two milliseconds. So they are kept
    /// for ranges where they save something.
    fn few_keys(&self, start: &[u8], end: &[u8]) -> Option<Vec<Bytes>> {
        let mut options = bounds(start, Some(end));
        // Keys that are deleted and still there must be stepped over; the writer must not do that for long.
        options.set_max_skippable_internal_keys(SKIPPED_KEYS_MAX);
        let db = self.db().ok()?;
        let mut cursor = db.get().ok()?.raw_iterator_opt(options);
        cursor.seek(start);
        let mut keys = Vec::new();
        while let Some(key) = cursor.key() {
            if keys.len() == RANGE_KEYS_MAX {
                return None;
            }
            keys.push(Bytes::copy_from_slice(key));
            cursor.next();
        }
        // What cannot be read can still be deleted: a damaged table must not keep others from being written.
        cursor.status().ok().map(|()| keys)
    }

    fn write_out(&self) -> Result<(), StoreError> {
        // Also after a commit that was given up, there is no room for it.
        if self.poison.get().is_some() || self.gave_up.load(Relaxed) {
            return Ok(());
        }
        self.db()?.get()?.flush().map_err(|error| io("writing everything out", &error))
    }

    fn refuse_if_poisoned(&self) -> Result<(), StoreError> {
        match self.poison.get() {
            Some(cause) => Err(StoreError::Poisoned { cause: cause.clone() }),
            None => Ok(()),
        }
    }

    fn poison(&self, doing: &'static str, error: &rocksdb::Error) -> StoreError {
        let cause = self.poison.get_or_init(|| format!("{doing}: {error}"));
        tracing::error!(path = %self.path.display(), cause, "a write failed; the store takes no more writes");
        io(doing, error)
    }
}

/// The database, as long as it is not opened again.
pub(crate) struct Open<'a>(RwLockReadGuard<'a, Option<DB>>);

impl Open<'_> {
    pub(crate) fn get(&self) -> Result<&DB, StoreError> {
        let closed = || StoreError::Io { doing: "reading", cause: "the database could not be opened again".to_owned() };
        self.0.as_ref().ok_or_else(closed)
    }
}

impl Drop for Rocks {
    fn drop(&mut self) {
        if let Err(error) = self.write_out() {
            // Nothing is lost: it is all in the log, and the next start reads that.
            tracing::warn!(path = %self.path.display(), %error, "could not write everything out while closing");
        }
    }
}

impl Store for Rocks {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let db = self.db()?;
        let found = db.get()?.get_pinned(key).map_err(|error| read_error(&error))?;
        Ok(found.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>, StoreError> {
        // RocksDB reads them all at one sequence number. An explicit snapshot would do the same, and wait for a lock that
        // compactions hold.
        let found = self.db()?.get()?.multi_get(keys).into_iter();
        found.map(|value| Ok(value.map_err(|error| read_error(&error))?.map(Bytes::from))).collect()
    }

    fn scan(&self, scan: Scan<'_>) -> Result<Vec<Pair>, StoreError> {
        if scan.is_empty() {
            return Ok(Vec::new());
        }
        let db = self.db()?;
        read(db.get()?.raw_iterator_opt(bounds(scan.start, scan.end)), scan)
    }

    /// While the disk has no room it waits, however long that takes, or fails, as it was tuned. If RocksDB was refused room, the
    /// database is opened again and the same batch is written again: it says what is to be, not what is to change, so it may be
    /// there already without harm. Its checks are not asked again: they speak of the moment before it.
    fn commit(&self, batch: &Batch, persist: Persist) -> Result<(), StoreError> {
        debug_assert!(batch.counted().is_empty(), "a group has counted it");
        let _alone = self.commits.lock().unwrap_or_else(PoisonError::into_inner);
        self.refuse_if_poisoned()?;
        if self.gave_up.load(Relaxed) {
            return Err(StoreError::Closed);
        }
        first_conflict(batch.checks(), |key| self.get(key))?;
        if batch.ops().is_empty() {
            return Ok(());
        }
        self.space.wait_for_room().map_err(|GivenUp| self.give_up())?;
        let options = match persist {
            Persist::Synced => &self.synced,
            Persist::Written => &self.written,
        };
        loop {
            let write = self.write_batch(batch);
            if write.is_empty() {
                return Ok(());
            }
            let written = self.db()?.get()?.write_opt(write, options);
            match written {
                Ok(()) => {
                    self.space.went_well();
                    return Ok(());
                }
                Err(error) if is_want_of_room(&error) && self.may_wait => {
                    tracing::error!(%error, "a commit met the end of the disk");
                    self.reopen()?;
                }
                Err(error) if is_want_of_room(&error) => {
                    let _ = self.poison.set(error.to_string());
                    return Err(io("writing a batch", &error));
                }
                Err(error) => return Err(self.poison("writing a batch", &error)),
            }
        }
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.refuse_if_poisoned()?;
        self.db()?.get()?.flush_wal(true).map_err(|error| self.poison("syncing the log", &error))
    }

    fn waits_for_room(&self) -> bool {
        self.space.makes_wait()
    }

    fn poisoned(&self) -> Option<String> {
        self.poison.get().cloned()
    }
}

fn read<D: DBAccess>(mut cursor: DBRawIteratorWithThreadMode<'_, D>, scan: Scan<'_>) -> Result<Vec<Pair>, StoreError> {
    let mut pairs = Vec::new();
    if scan.reverse {
        cursor.seek_to_last();
    } else {
        cursor.seek(scan.start);
    }
    let mut bytes = 0;
    while let Some((key, value)) = cursor.item() {
        let value = if scan.keys_only { &[] } else { value };
        bytes += key.len() + value.len();
        pairs.push(Pair { key: Bytes::copy_from_slice(key), value: Bytes::copy_from_slice(value) });
        if pairs.len() >= scan.limit || bytes >= scan.bytes_max {
            return Ok(pairs);
        }
        if scan.reverse {
            cursor.prev();
        } else {
            cursor.next();
        }
    }
    // A cursor that met an error looks like one at its end.
    cursor.status().map_err(|error| read_error(&error))?;
    Ok(pairs)
}

fn bounds(start: &[u8], end: Option<&[u8]>) -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_iterate_lower_bound(start);
    if let Some(end) = end {
        options.set_iterate_upper_bound(end);
    }
    options
}

fn options(tuning: &Tuning) -> Options {
    let mut blocks = BlockBasedOptions::default();
    match &tuning.budget {
        Some(budget) => blocks.set_block_cache(&budget.cache),
        None => blocks.set_block_cache(&budget::cache(tuning.cache_bytes)),
    }
    blocks.set_block_size(BLOCK_BYTES);
    blocks.set_bloom_filter(BLOOM_BITS_PER_KEY, false);
    // Indexes and filters count against the cache too, or memory would grow with the data.
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_cache_index_and_filter_blocks_with_high_priority(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    // In parts: the filter of a large table is megabytes, too much to read for one key.
    blocks.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    blocks.set_partition_filters(true);
    blocks.set_pin_top_level_index_and_filter(true);

    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_block_based_table_factory(&blocks);
    options.set_compression_type(DBCompressionType::Lz4);
    if let Some(budget) = &tuning.budget {
        options.set_write_buffer_manager(&budget.memtables);
    }
    options.set_write_buffer_size(tuning.memtable_bytes);
    options.set_max_write_buffer_number(MEMTABLES_MAX);
    options.set_max_total_wal_size(tuning.log_bytes);
    // Up to the first record that is not whole, and nothing after it: a prefix of what was written.
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    options.set_max_open_files(tuning.open_files);
    options.set_max_file_opening_threads(BACKGROUND_JOBS_MAX);
    options.set_max_background_jobs(BACKGROUND_JOBS_MAX);
    // Large files go to the disk while they are written, not in one burst that a sync of the log then waits for.
    options.set_bytes_per_sync(MIB as u64);
    options.set_max_manifest_file_size(MANIFEST_BYTES_MAX);
    options.set_manifest_preallocation_size(64 * KIB);
    options.set_log_level(LogLevel::Warn);
    options.set_max_log_file_size(INFO_LOG_BYTES_MAX);
    options.set_keep_log_file_num(INFO_LOGS_MAX);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    // Short-lived data has none: what was deleted would stay readable in it, and its logs are not synced.
    options.set_recycle_log_file_num(if tuning.short_lived { 0 } else { LOGS_RECYCLED });
    if tuning.short_lived {
        options.add_compact_on_deletion_collector_factory(DELETIONS_WINDOW, DELETIONS_IN_WINDOW, DELETIONS_SHARE);
        options.set_periodic_compaction_seconds(COMPACTED_EVERY_S);
        // All databases of a process share its threads: with as many more, the state's never wait for these. Each database
        // uses no more than its own number.
        if let Ok(mut env) = Env::new() {
            env.set_background_threads(BACKGROUND_JOBS_MAX);
            env.set_high_priority_background_threads(BACKGROUND_JOBS_MAX);
            options.set_env(&env);
        }
    }
    options
}

/// Makes the directory if there is none, and makes sure that what is there is ours or nothing.
fn prepare(path: &Path) -> Result<(), StoreError> {
    let cannot = |error: std::io::Error| StoreError::CannotOpen { path: path.to_owned(), cause: error.to_string() };
    let foreign = |reason: String| StoreError::NotADataDirectory { path: path.to_owned(), reason };
    if path.exists() && !path.is_dir() {
        return Err(foreign("it is a file".to_owned()));
    }
    if !path.is_dir() {
        fs::create_dir_all(path).map_err(cannot)?;
        // A new directory's name is durable once the directories above it are.
        for above in path.ancestors().skip(1) {
            let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
            File::open(above).and_then(|directory| directory.sync_all()).map_err(cannot)?;
        }
        return Ok(());
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(cannot)? {
        names.push(entry.map_err(cannot)?.file_name().to_string_lossy().into_owned());
    }
    if names.iter().any(|name| name == CURRENT) {
        return Ok(());
    }
    // Without CURRENT, RocksDB would make a new database and delete the tables it does not know.
    if names.iter().any(|name| name.ends_with(".sst")) {
        return Err(StoreError::corrupt(format!("{} has tables, but its file CURRENT is missing", path.display())));
    }
    match names.iter().find(|name| !is_left_by_interrupted_creation(name)) {
        Some(name) => Err(foreign(format!("it contains {name:?}"))),
        None => Ok(()),
    }
}

fn refuse_absent(path: &Path) -> Result<(), StoreError> {
    match path.join(CURRENT).is_file() {
        true => Ok(()),
        false => Err(StoreError::NotADataDirectory { path: path.to_owned(), reason: format!("it has no file {CURRENT}") }),
    }
}

/// What RocksDB writes before CURRENT makes a directory a database.
fn is_left_by_interrupted_creation(name: &str) -> bool {
    name == "LOCK"
        || name == "IDENTITY"
        || name == "LOG"
        || ["LOG.old.", "MANIFEST-", "OPTIONS-"].iter().any(|start| name.starts_with(start))
        || name.ends_with(".dbtmp")
}

fn open_error(path: &Path, error: &rocksdb::Error) -> StoreError {
    let cause = error.to_string();
    let locked = cause.contains("lock hold by current process") || cause.contains("While lock file");
    match error.kind() {
        ErrorKind::IOError if locked => StoreError::Locked { path: path.to_owned() },
        ErrorKind::Corruption => StoreError::corrupt(format!("the database in {}: {cause}", path.display())),
        _ => StoreError::CannotOpen { path: path.to_owned(), cause },
    }
}

/// The disk had no room for bytes, which so were not written; unlike a sync that failed, after which that is not known.
fn is_want_of_room(error: &rocksdb::Error) -> bool {
    let cause = error.to_string();
    let is_full = ["No space left on device", "Disk quota exceeded"].iter().any(|words| cause.contains(words));
    is_full && DOING_WITHOUT_ROOM.iter().any(|doing| cause.contains(doing))
}

fn read_error(error: &rocksdb::Error) -> StoreError {
    match error.kind() {
        ErrorKind::Corruption => StoreError::corrupt(error.to_string()),
        _ => io("reading", error),
    }
}

fn io(doing: &'static str, error: &rocksdb::Error) -> StoreError {
    StoreError::Io { doing, cause: error.to_string() }
}

#[cfg(test)]
mod tests {
    use rocksdb::statistics::Ticker;

    use super::*;

    /// The promise rests on this: killing a process shows nothing about it, because the operating system keeps what it has.
    #[test]
    fn a_synced_commit_syncs_the_log_before_it_returns() {
        let directory = tempfile::tempdir().expect("the temporary directory can be written");
        let mut options = options(&Tuning::default());
        options.enable_statistics();
        let store = Rocks::open_with(directory.path(), options.clone(), 0).expect("a new store opens");
        let syncs = || options.get_ticker_count(Ticker::WalFileSynced);
        let mut batch = Batch::new();
        batch.put("key", "value");
        let before = syncs();
        for count in 1..=5 {
            store.commit(&batch, Persist::Synced).expect("a batch");
            assert_eq!(syncs() - before, count);
        }
        for _ in 0..5 {
            store.commit(&batch, Persist::Written).expect("a batch");
        }
        assert_eq!(syncs() - before, 5, "a written batch costs no sync");
        store.sync().expect("a sync");
        assert_eq!(syncs() - before, 6);
    }
}
