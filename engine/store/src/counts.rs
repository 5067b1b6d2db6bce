//! Counts what actors have stored, once, where an engine that did not count has written.
//!
//! From then on every commit keeps the counts in step. An interrupted count begins anew: it has changed nothing that anybody reads
//! before the last batch, which says that it is done.

use std::collections::BTreeMap;
use std::time::Instant;

use engine_core::record::{ActorRecord, DatabaseHead, NamespaceRecord, NamespaceUsage, StoredBytes};
use protocol::id::{NamespaceId, Partition};
use protocol::message::KvSpace;

use crate::error::StoreError;
use crate::group::entry_bytes;
use crate::keys::{self, KeyRange, Kind};
use crate::records;
use crate::store::{Batch, Pair, Persist, Scan, Store};

/// Actors whose counts are written at one time.
const BATCH_ACTORS: usize = 1_000;
/// Pairs that are read at one time, and about how many bytes of them.
const PAGE_PAIRS: usize = 1_024;
const PAGE_BYTES_MAX: usize = 4 << 20;

/// Before anybody writes. Reads everything that actors have stored if nobody has counted it yet.
pub fn ensure(store: &dyn Store) -> Result<(), StoreError> {
    if store.get(keys::COUNTED)?.is_some() {
        return Ok(());
    }
    let began = Instant::now();
    let mut actors = 0;
    for partition in Partition::all() {
        actors += count(store, partition)?;
    }
    let mut done = Batch::new();
    // An engine that does not count must not write here again: it cannot read namespaces of this version, and says so.
    each(store, keys::namespaces(), |pair| {
        let record: NamespaceRecord = records::decode(&pair.value)?;
        done.put(pair.key.clone(), records::encode(&record));
        Ok(())
    })?;
    done.put(keys::COUNTED, records::marker());
    store.commit(&done, Persist::Synced)?;
    if actors > 0 {
        tracing::info!(actors, ms = began.elapsed().as_millis() as u64, "counted what actors have stored, once");
    }
    Ok(())
}

/// How many living actors it has.
fn count(store: &dyn Store, partition: Partition) -> Result<usize, StoreError> {
    let mut usage: BTreeMap<NamespaceId, NamespaceUsage> = BTreeMap::new();
    let mut batch = Batch::new();
    let mut actors = 0;
    each(store, keys::all_of(Kind::Actor, partition), |pair| {
        let record: ActorRecord = records::decode(&pair.value)?;
        if record.destroy_ms.is_some() {
            return Ok(());
        }
        let stored = stored(store, &record)?;
        batch.put(keys::stored(record.id), records::encode(&stored));
        let usage = usage.entry(record.namespace).or_default();
        usage.actors += 1;
        usage.bytes += stored.total();
        actors += 1;
        if actors % BATCH_ACTORS == 0 {
            store.commit(&std::mem::take(&mut batch), Persist::Written)?;
        }
        Ok(())
    })?;
    for (namespace, usage) in usage {
        batch.put(keys::usage(partition, namespace), records::encode(&usage));
    }
    store.commit(&batch, Persist::Written)?;
    Ok(actors)
}

fn stored(store: &dyn Store, record: &ActorRecord) -> Result<StoredBytes, StoreError> {
    let entries = |space| {
        let mut bytes = 0;
        each(store, keys::kv_all(space, record.id), |pair| {
            bytes += entry_bytes(&pair.key, &pair.value);
            Ok(())
        })?;
        Ok::<u64, StoreError>(bytes)
    };
    let head = store.get(&keys::database_head(record.id))?;
    let head: Option<DatabaseHead> = head.map(|head| records::decode(&head)).transpose()?;
    let (kv, runner_kv) = (entries(KvSpace::Actor)?, entries(KvSpace::Runner)?);
    Ok(StoredBytes { namespace: record.namespace, kv, runner_kv, database: head.unwrap_or_default().bytes() })
}

fn each(store: &dyn Store, range: KeyRange, mut visit: impl FnMut(&Pair) -> Result<(), StoreError>) -> Result<(), StoreError> {
    let (mut start, end) = range;
    loop {
        let page = store.scan(Scan { bytes_max: PAGE_BYTES_MAX, ..Scan::range(&start, &end, PAGE_PAIRS) })?;
        let Some(last) = page.last() else { return Ok(()) };
        start = [&last.key[..], &[0]].concat();
        page.iter().try_for_each(&mut visit)?;
    }
}
