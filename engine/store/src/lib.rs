//! Durable ordered bytes, and what the engine keeps in them.
//!
//! What may be relied on:
//!
//! 1. A [`Batch`] is all or nothing, also after a crash in the middle of it: nobody ever reads half of one.
//! 2. Batches take effect in the order in which they were submitted to the [`Writer`]. After a crash there is a moment in that
//!    order such that everything before it is there and nothing after it (a prefix, never a selection).
//! 3. In mode [`Durability::Sync`] a batch whose `done` was called with `Ok` is before that moment, whatever happens to the
//!    process or the power. In the other modes it is before it if only the process dies; see [`Durability`] for the power.
//! 4. Once `done` was called with `Ok`, every read sees the batch. Reads never wait for writes, nor for the disk's sync.
//! 5. A scan, and the keys of one [`Store::get_many`], are read as of one moment. Two calls are two moments.
//! 6. A [`Check`] compares with the state just before its own batch, earlier batches of the same group included. If one does
//!    not hold, its batch fails with [`StoreError::Conflict`] and writes nothing; other batches are not affected.
//! 7. After a write or a sync that failed, what is on disk is unknown. The store is *poisoned*: each later write is refused,
//!    reads go on, and the process should end and start again, which finds the truth on disk.
//! 8. A disk without room is no failure: commits wait until there is some, reads go on; see [`space`].
//!
//! In reading order:
//! - [`store`]: the trait a backend implements, drawn low; batches, checks, scans.
//! - [`error`]: what can go wrong, each with a sentence.
//! - [`rocks`]: the backend on RocksDB. [`memory`]: the one for simulations, which can lose power. [`fork`]: the one that begins as
//!   another one was at some moment ([`snapshot`]) and keeps what is written to itself.
//! - [`budget`]: the memory that the databases of a process share.
//! - [`format`]: which format a directory has, and who may open it. [`space`]: the room on its disk. [`check`]: reads everything.
//! - [`writer`]: the one thread that writes: groups what waits into one synced write. [`group`]: how a group is put together.
//! - [`keys`]: the one table of keys. [`records`]: how each value is laid out.
//! - [`changes`]: the one place that maps the core's changes to keys.
//! - [`counts`]: what actors have stored, where nobody has counted it yet. [`imports`]: what was staged and never taken.
//! - [`state`]: what the server reads, typed; [`export`]: all of one actor. [`merge`]: reads many partitions as one list.
//! - [`actor_logs`]: what actors have logged, in a store of its own, with other promises. [`recordings`]: the last requests of actors,
//!   in another.

pub mod actor_logs;
pub mod budget;
pub mod changes;
pub mod check;
pub mod counts;
pub mod error;
pub mod export;
pub mod fork;
pub mod format;
pub mod group;
pub mod imports;
pub mod keys;
pub mod memory;
pub mod merge;
mod older;
pub mod recordings;
pub mod records;
pub mod rocks;
pub mod snapshot;
pub mod space;
pub mod state;
pub mod store;
pub mod writer;

pub use actor_logs::ActorLogs;
pub use error::StoreError;
pub use fork::Fork;
pub use memory::Memory;
pub use recordings::Recordings;
pub use rocks::Rocks;
pub use snapshot::Snapshot;
pub use state::State;
pub use store::{Batch, Check, Op, Pair, Persist, Scan, Store};
pub use writer::{Durability, Figures, Writer};
