//! Memory that all databases of a process share: one cache, which the writes that are still in memory are charged to.
//!
//! Blocks, indexes, filters and memtables count against the same number of bytes: much to write leaves less for reads, and the other
//! way round. The cache gives up what nobody uses before it grows. It is not strict: a strict one fails the read whose block does not
//! fit, and a read of the state that fails ends the process; so what is in use at one moment may be more, by the blocks that the
//! threads which read hold. Writers are never made to wait for it: that wait does not end while the disk is full. What bounds
//! memtables is their size and number, which follow from the budget.

use std::fmt;

use protocol::limits::MIB;
use rocksdb::{Cache, LruCacheOptions, WriteBufferManager};

/// Of the budget, at most this part is for what is still to be written.
const MEMTABLES_SHARE: usize = 2;
/// Three memtables of the state and three of the logs fit in that part; more would only make starts slower after a crash.
const STATE_MEMTABLE_SHARE: usize = 8;
const STATE_MEMTABLE_BYTES_MAX: usize = 32 * MIB;
const LOGS_MEMTABLE_SHARE: usize = 48;
const LOGS_MEMTABLE_BYTES_MAX: usize = 4 * MIB;
const MEMTABLE_BYTES_MIN: usize = MIB / 2;
const _: () = assert!(3 * LOGS_MEMTABLE_SHARE + 3 * STATE_MEMTABLE_SHARE <= STATE_MEMTABLE_SHARE * LOGS_MEMTABLE_SHARE / 2);

#[derive(Clone)]
pub struct Budget {
    bytes: usize,
    pub(crate) cache: Cache,
    pub(crate) memtables: WriteBufferManager,
}

impl Budget {
    pub fn new(bytes: usize) -> Budget {
        let cache = cache(bytes);
        let memtables = WriteBufferManager::new_write_buffer_manager_with_cache(bytes / MEMTABLES_SHARE, false, cache.clone());
        Budget { bytes, cache, memtables }
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Of all that counts against it.
    pub fn used_bytes(&self) -> usize {
        self.cache.get_usage()
    }

    pub(crate) fn state_memtable_bytes(&self) -> usize {
        (self.bytes / STATE_MEMTABLE_SHARE).clamp(MEMTABLE_BYTES_MIN, STATE_MEMTABLE_BYTES_MAX)
    }

    pub(crate) fn logs_memtable_bytes(&self) -> usize {
        (self.bytes / LOGS_MEMTABLE_SHARE).clamp(MEMTABLE_BYTES_MIN, LOGS_MEMTABLE_BYTES_MAX)
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// Room for the largest value there is, several times.
const CACHE_PART_BYTES_MIN: usize = 8 * MIB;
const CACHE_PARTS_BITS_MAX: u32 = 6;
const _: () = assert!(CACHE_PART_BYTES_MIN >= 4 * protocol::limits::ACTOR_INPUT_BYTES_MAX);

/// A block larger than its part of the cache is read from the disk each time: so there are few parts, and they are large.
pub(crate) fn cache(bytes: usize) -> Cache {
    let mut options = LruCacheOptions::default();
    options.set_capacity(bytes);
    options.set_num_shard_bits((bytes / CACHE_PART_BYTES_MIN).max(1).ilog2().min(CACHE_PARTS_BITS_MAX) as i32);
    Cache::new_lru_cache_opts(&options)
}
