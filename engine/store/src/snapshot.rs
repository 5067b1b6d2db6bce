//! What was in a store at one moment, whatever is committed meanwhile.
//!
//! A snapshot of RocksDB is borrowed from its database. So a thread holds both, and others have it read for them: nothing here needs
//! to say that a value lives as long as another one. Not fast, and not for what serves. While it is held RocksDB keeps what has been
//! written over since.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;

use crate::error::StoreError;
use crate::rocks::Rocks;
use crate::store::{Pair, Scan};

/// Calls block.
pub trait Snapshot: Send + Sync {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// As [`Store::scan`](crate::Store::scan).
    fn scan(&self, scan: Scan<'_>) -> Result<Vec<Pair>, StoreError>;
}

/// Who asks waits for the answer, so more than one for each that asks never waits.
const READS_WAITING_MAX: usize = 16;
/// Whether the database is to be opened again: then the snapshot ends, and what is asked of it fails.
const LOOK_EVERY: Duration = Duration::from_millis(50);

type Read = Box<dyn FnOnce(&rocksdb::Snapshot<'_>) + Send>;

/// The thread ends when this is dropped, and is waited for: it has the database, and what RocksDB keeps for a thread must be gone before
/// the process ends.
pub struct RocksSnapshot {
    /// Until it is dropped.
    reads: Option<SyncSender<Read>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for RocksSnapshot {
    fn drop(&mut self) {
        drop(self.reads.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of a snapshot panicked");
        }
    }
}

impl Rocks {
    /// As it is now. Blocks.
    pub fn snapshot(self: &Arc<Rocks>) -> io::Result<RocksSnapshot> {
        let (reads, asked) = mpsc::sync_channel::<Read>(READS_WAITING_MAX);
        let (taken, waits) = mpsc::sync_channel(1);
        let store = self.clone();
        let thread = thread::Builder::new().name("snapshot".to_owned()).spawn(move || {
            let Ok(open) = store.db() else { return };
            let Ok(db) = open.get() else { return };
            let snapshot = db.snapshot();
            // Who wanted it waits for this.
            let _ = taken.send(());
            while !store.is_reopening() {
                match asked.recv_timeout(LOOK_EVERY) {
                    Ok(read) => read(&snapshot),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        })?;
        waits.recv().map_err(io::Error::other)?;
        Ok(RocksSnapshot { reads: Some(reads), thread: Some(thread) })
    }
}

impl RocksSnapshot {
    fn ask<T: Send + 'static>(
        &self,
        read: impl FnOnce(&rocksdb::Snapshot<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = mpsc::sync_channel(1);
        let read: Read = Box::new(move |snapshot| {
            // Who asked waits for it.
            let _ = answer.send(read(snapshot));
        });
        self.reads.as_ref().ok_or(StoreError::Closed)?.send(read).map_err(|_| StoreError::Closed)?;
        answered.recv().map_err(|_| StoreError::Closed)?
    }
}

impl Snapshot for RocksSnapshot {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let key = key.to_vec();
        self.ask(move |snapshot| Rocks::get_of(snapshot, &key))
    }

    fn scan(&self, scan: Scan<'_>) -> Result<Vec<Pair>, StoreError> {
        let (start, end) = (scan.start.to_vec(), scan.end.map(<[u8]>::to_vec));
        let Scan { reverse, keys_only, limit, bytes_max, .. } = scan;
        self.ask(move |snapshot| {
            Rocks::scan_of(snapshot, Scan { start: &start, end: end.as_deref(), reverse, keys_only, limit, bytes_max })
        })
    }
}
