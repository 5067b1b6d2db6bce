//! What the server reads from the store, typed.
//!
//! Every call blocks and may read the disk: for the server's reader threads, never for an async one. Nothing here writes; what
//! is to be written is a [`Batch`] from [`State::batch`] for the writer. Numbers that a client chose (limits) are bounded by the
//! caller, except where a bound of this file is named.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use engine_core::input::{Boot, KeyRef, LoadedActor};
use engine_core::record::{ActorRecord, AuditRecord, Change, DatabaseHead, HeldBack, Listed, NamespaceUsage, StoredBytes};
use protocol::id::{ActorId, NamespaceId, Partition};
use protocol::limits::{KV_LIST_BYTES_MAX, KV_LIST_ENTRIES_MAX};
use protocol::message::{KvChange, KvEntry, KvRange, KvSpace};

use crate::changes;
use crate::error::StoreError;
use crate::group::Group;
use crate::keys::{self, KeyRange, Kind};
use crate::merge::Merge;
use crate::records;
use crate::store::{Batch, Pair, Scan, Store};

/// Notes about actors that are held back that are read for one answer.
pub const HELD_BACK_READ_MAX: usize = 10_000;
/// How many pairs are read at a time where a whole range is wanted.
const PAGE_PAIRS: usize = 1024;

#[derive(Clone)]
pub struct State {
    pub(crate) store: Arc<dyn Store>,
}

impl State {
    pub fn new(store: Arc<dyn Store>) -> State {
        State { store }
    }

    /// What the core must know before anything else: it is read once, before there is a writer.
    pub fn boot(&self) -> Result<Boot, StoreError> {
        let mut boot = Boot::default();
        self.each(keys::namespaces(), |pair| {
            boot.namespaces.push(records::decode(&pair.value)?);
            Ok(())
        })?;
        self.each(keys::deployments(), |pair| {
            boot.deployments.push(records::decode(&pair.value)?);
            Ok(())
        })?;
        self.each(keys::runner_configs(), |pair| {
            boot.runner_configs.push(records::decode(&pair.value)?);
            Ok(())
        })?;
        for namespace in &boot.namespaces {
            boot.usage.push((namespace.id, self.usage(namespace.id)?));
        }
        self.each(keys::tokens(), |pair| {
            boot.tokens.push(records::decode(&pair.value)?);
            Ok(())
        })?;
        boot.audit = self.audit_numbers()?;
        for partition in Partition::all() {
            self.each(keys::all_of(Kind::Awake, partition), |pair| {
                let actor = keys::parse_awake(&pair.key)?;
                boot.awake.push(self.load_actor(actor)?.ok_or_else(|| missing("awake", actor))?);
                Ok(())
            })?;
        }
        Ok(boot)
    }

    /// The first and the last.
    fn audit_numbers(&self) -> Result<Option<(u64, u64)>, StoreError> {
        let (start, end) = keys::audit_below(None);
        let at = |reverse| {
            let scan = Scan { reverse, keys_only: true, ..Scan::range(&start, &end, 1) };
            self.store.scan(scan)?.first().map(|pair| keys::parse_audit(&pair.key)).transpose()
        };
        Ok(at(false)?.zip(at(true)?))
    }

    /// Entries of the audit log below a number, newest first: those that `wanted` wants until it breaks off, at most `limit` of the
    /// next `read_max`. And the number below which there may be more, if it was not all.
    pub fn audit(
        &self,
        mut below: Option<u64>,
        limit: usize,
        read_max: usize,
        wanted: impl Fn(&AuditRecord) -> ControlFlow<(), bool>,
    ) -> Result<(Vec<AuditRecord>, Option<u64>), StoreError> {
        let (mut found, mut left) = (Vec::new(), read_max);
        while left > 0 {
            let (start, end) = keys::audit_below(below);
            let page = self.store.scan(Scan { reverse: true, ..Scan::range(&start, &end, PAGE_PAIRS.min(left)) })?;
            if page.is_empty() {
                return Ok((found, None));
            }
            left -= page.len();
            for pair in &page {
                let record: AuditRecord = records::decode(&pair.value)?;
                below = Some(record.number);
                match wanted(&record) {
                    ControlFlow::Continue(true) => found.push(record),
                    ControlFlow::Continue(false) => {}
                    ControlFlow::Break(()) => return Ok((found, None)),
                }
                if found.len() >= limit {
                    return Ok((found, below));
                }
            }
        }
        Ok((found, below))
    }

    pub fn load_actor(&self, actor: ActorId) -> Result<Option<LoadedActor>, StoreError> {
        let (record, input, head, stored) =
            (keys::actor(actor), keys::input(actor), keys::database_head(actor), keys::stored(actor));
        // As of one moment: a destroy takes the input away in the same commit that marks the record.
        let found = self.store.get_many(&[&record, &input, &head, &stored])?;
        let [Some(record), input, head, stored] = &found[..] else { return Ok(None) };
        let record = decode_actor(actor, record)?;
        let input = input.as_ref().map(records::parse_input).transpose()?;
        if record.has_input && input.is_none() && record.destroy_ms.is_none() {
            return Err(StoreError::corrupt(format!("the input of actor {actor} is missing")));
        }
        let database = head.as_ref().map(|head| records::decode(head)).transpose()?;
        let stored: Option<StoredBytes> = stored.as_ref().map(|stored| records::decode(stored)).transpose()?;
        let entries_bytes = stored.map_or(0, |stored| stored.entries());
        Ok(Some(LoadedActor { record, input, database, entries_bytes }))
    }

    /// An actor's record, without its input, which may be long.
    pub fn actor_record(&self, actor: ActorId) -> Result<Option<ActorRecord>, StoreError> {
        self.store.get(&keys::actor(actor))?.map(|record| decode_actor(actor, &record)).transpose()
    }

    /// The living actor that holds this key.
    pub fn load_key(&self, key: &KeyRef) -> Result<Option<LoadedActor>, StoreError> {
        let Some(reservation) = self.store.get(&keys::reservation(key))? else { return Ok(None) };
        let actor = records::parse_reservation(&reservation)?;
        let found = self.load_actor(actor)?.ok_or_else(|| missing("holder of a key", actor))?;
        // It may have been destroyed between the two reads; then nobody holds the key.
        Ok(Some(found).filter(|found| found.record.destroy_ms.is_none()))
    }

    /// The next alarms of all partitions in order of (moment, actor), from this one on; and whether these are all there are.
    pub fn load_alarms(&self, from: Option<(u64, ActorId)>, limit: usize) -> Result<(Vec<(u64, ActorId)>, bool), StoreError> {
        let ranges = Partition::all().map(|partition| keys::alarms(partition, from)).collect();
        let mut merge = Merge::new(&*self.store, ranges, limit)?;
        let mut alarms = Vec::new();
        while alarms.len() < limit {
            let Some(pair) = merge.take_next()? else { return Ok((alarms, true)) };
            alarms.push(keys::parse_alarm(&pair.key)?);
        }
        Ok((alarms, merge.take_next()?.is_none()))
    }

    /// The entries of these keys, in their order, as of one moment.
    pub fn kv_get(&self, space: KvSpace, actor: ActorId, user_keys: &[Bytes]) -> Result<Vec<Option<KvEntry>>, StoreError> {
        let keys: Vec<Vec<u8>> = user_keys.iter().map(|key| keys::kv(space, actor, key)).collect();
        let keys: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
        let found = self.store.get_many(&keys)?;
        let entry = |(key, value): (&Bytes, &Option<Bytes>)| {
            let Some(value) = value else { return Ok(None) };
            let (value, update_ms) = records::parse_kv(value)?;
            Ok(Some(KvEntry { key: key.clone(), value, update_ms }))
        };
        user_keys.iter().zip(&found).map(entry).collect()
    }

    /// The value, and when it was written.
    pub fn kv_entry(&self, actor: ActorId, user_key: &[u8]) -> Result<Option<(Bytes, u64)>, StoreError> {
        let found = self.store.get(&keys::kv(KvSpace::Actor, actor, user_key))?;
        found.as_ref().map(records::parse_kv).transpose()
    }

    /// Entries of a range. The inner error is a sentence for the caller: the list is longer than a list may be.
    pub fn kv_list(
        &self,
        space: KvSpace,
        actor: ActorId,
        range: &KvRange,
        reverse: bool,
        limit: usize,
        keys_only: bool,
    ) -> Result<Result<Vec<KvEntry>, String>, StoreError> {
        // `limit` is the caller's number.
        let limit = limit.min(KV_LIST_ENTRIES_MAX);
        let (start, end) = keys::kv_range(space, actor, range);
        // With what the store adds to each entry, so that a list that is just small enough is not cut.
        let overhead = keys::KV_PREFIX_BYTES + records::KV_VALUE_OVERHEAD_BYTES;
        let bytes_max = KV_LIST_BYTES_MAX + limit * overhead + 1;
        let pairs = self.store.scan(Scan { start: &start, end: Some(&end), reverse, keys_only, limit, bytes_max })?;
        let mut bytes = 0;
        let mut entries = Vec::with_capacity(pairs.len());
        for pair in pairs {
            let (value, update_ms) = if keys_only { (Bytes::new(), 0) } else { records::parse_kv(&pair.value)? };
            let key = pair.key.slice(keys::KV_PREFIX_BYTES.min(pair.key.len())..);
            bytes += key.len() + value.len();
            entries.push(KvEntry { key, value, update_ms });
        }
        if bytes > KV_LIST_BYTES_MAX {
            return Ok(Err(format!("the list is longer than {KV_LIST_BYTES_MAX} bytes; ask for a smaller range or a lower limit")));
        }
        Ok(Ok(entries))
    }

    /// The head of an actor's database and these pages of it, as of one moment. A page that was never written is none.
    pub fn pages(&self, actor: ActorId, numbers: &[u32]) -> Result<(Option<DatabaseHead>, Vec<Option<Bytes>>), StoreError> {
        let mut keys = vec![keys::database_head(actor)];
        keys.extend(numbers.iter().map(|number| keys::page(actor, *number)));
        let keys: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
        let mut found = self.store.get_many(&keys)?.into_iter();
        let head = found.next().flatten().map(|head| records::decode(&head)).transpose()?;
        let pages = found.map(|page| page.as_ref().map(records::parse_page).transpose()).collect::<Result<_, _>>()?;
        Ok((head, pages))
    }

    /// Actors of a name, newest first, created before a moment if one is given, with this key if one is given.
    pub fn actors_by_name(
        &self,
        namespace: NamespaceId,
        name: &str,
        key: Option<&str>,
        include_destroyed: bool,
        before_ms: Option<u64>,
        limit: usize,
    ) -> Result<Vec<ActorRecord>, StoreError> {
        // Actors with a key are all in the partition of that key.
        let partitions: Vec<Partition> = match key {
            Some(key) => vec![Partition::of_key(namespace, name, key)],
            None => Partition::all().collect(),
        };
        let kinds: &[Kind] = if include_destroyed { &[Kind::LivingByName, Kind::DestroyedByName] } else { &[Kind::LivingByName] };
        let range = |kind, partition| keys::list_by_name(kind, partition, namespace, name, before_ms);
        let ranges = kinds.iter().flat_map(|kind| partitions.iter().map(|partition| range(*kind, *partition))).collect();

        let mut records: Vec<ActorRecord> = Vec::new();
        let mut merge = Merge::new(&*self.store, ranges, limit)?;
        while records.len() < limit {
            let Some(pair) = merge.take_next()? else { break };
            if key.is_some() && records::parse_listing(&pair.value)? != key {
                continue;
            }
            let (_, actor) = keys::parse_by_name(&pair.key)?;
            // While the list is read it may be destroyed, and so be in both.
            if records.last().is_some_and(|last| last.id == actor) {
                continue;
            }
            let record = self.store.get(&keys::actor(actor))?.ok_or_else(|| missing("listed", actor))?;
            let record = decode_actor(actor, &record)?;
            if include_destroyed || record.destroy_ms.is_none() {
                records.push(record);
            }
        }
        Ok(records)
    }

    /// The oldest living actors of a name, from the oldest on.
    pub fn oldest_by_name(&self, namespace: NamespaceId, name: &str, limit: usize) -> Result<Vec<ActorRecord>, StoreError> {
        let mut oldest = Vec::new();
        for partition in Partition::all() {
            let (start, end) = keys::list_by_name(Kind::LivingByName, partition, namespace, name, None);
            // The newest come first in each.
            let scan = Scan { reverse: true, keys_only: true, ..Scan::range(&start, &end, limit) };
            for pair in self.store.scan(scan)? {
                oldest.push(keys::parse_by_name(&pair.key)?);
            }
        }
        oldest.sort_unstable();
        oldest.truncate(limit);
        let found = oldest.into_iter().map(|(_, actor)| self.actor_record(actor));
        let found: Vec<Option<ActorRecord>> = found.collect::<Result<_, _>>()?;
        Ok(found.into_iter().flatten().filter(|record| record.destroy_ms.is_none()).collect())
    }

    /// Notes of a name's actors that could not be migrated, those that `counts` says count: how many of the first
    /// [`HELD_BACK_READ_MAX`] notes, and the first `limit` of them.
    pub fn held_back(
        &self,
        namespace: NamespaceId,
        name: &str,
        limit: usize,
        counts: impl Fn(&HeldBack) -> bool,
    ) -> Result<(usize, Vec<(ActorId, HeldBack)>), StoreError> {
        let ranges = Partition::all().map(|partition| keys::list_held_back(partition, namespace, name)).collect();
        let mut merge = Merge::new(&*self.store, ranges, limit)?;
        let (mut count, mut first) = (0, Vec::new());
        for _ in 0..HELD_BACK_READ_MAX {
            let Some(pair) = merge.take_next()? else { break };
            let held: HeldBack = records::decode(&pair.value)?;
            if counts(&held) {
                count += 1;
                if first.len() < limit {
                    first.push((keys::parse_held_back(&pair.key)?, held));
                }
            }
        }
        Ok((count, first))
    }

    /// Names that actors of this namespace have or had, or that runners have code for, alphabetical; and their metadata as JSON text.
    pub fn actor_names(
        &self,
        namespace: NamespaceId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Option<String>)>, StoreError> {
        let (start, end) = keys::actor_names(namespace, after);
        let pairs = self.store.scan(Scan::range(&start, &end, limit))?;
        let names = pairs.iter().map(|pair| keys::parse_actor_name(&pair.key)).collect::<Result<Vec<_>, _>>()?;
        let keys: Vec<Vec<u8>> = names.iter().map(|name| keys::actor_name_metadata(namespace, name)).collect();
        let metadata = self.store.get_many(&keys.iter().map(|key| &key[..]).collect::<Vec<_>>())?;
        let parse = |value: Option<Bytes>| value.map(|value| records::parse_actor_name_metadata(&value)).transpose();
        names.into_iter().zip(metadata).map(|(name, metadata)| Ok((name, parse(metadata)?))).collect()
    }

    /// Actors that a namespace still has: living ones, or records of destroyed ones.
    pub fn in_namespace(&self, namespace: NamespaceId, destroyed: bool, limit: usize) -> Result<Vec<Listed>, StoreError> {
        let kind = if destroyed { Kind::DestroyedByName } else { Kind::LivingByName };
        let mut found = Vec::new();
        for partition in Partition::all() {
            let (start, end) = keys::listed(kind, partition, namespace);
            let scan = Scan { keys_only: true, ..Scan::range(&start, &end, limit - found.len()) };
            for pair in self.store.scan(scan)? {
                found.push(keys::parse_listed(&pair.key)?);
            }
            if found.len() >= limit {
                break;
            }
        }
        Ok(found)
    }

    /// What a living actor has stored.
    pub fn stored(&self, actor: ActorId) -> Result<Option<StoredBytes>, StoreError> {
        self.store.get(&keys::stored(actor))?.map(|stored| records::decode(&stored)).transpose()
    }

    /// What the living actors of a namespace are and have stored, as of one moment.
    pub fn usage(&self, namespace: NamespaceId) -> Result<NamespaceUsage, StoreError> {
        let keys: Vec<Vec<u8>> = Partition::all().map(|partition| keys::usage(partition, namespace)).collect();
        let found = self.store.get_many(&keys.iter().map(|key| &key[..]).collect::<Vec<_>>())?;
        let mut sum = NamespaceUsage::default();
        for usage in found.iter().flatten() {
            let usage: NamespaceUsage = records::decode(usage)?;
            sum.actors += usage.actors;
            sum.bytes += usage.bytes;
        }
        Ok(sum)
    }

    /// What the entries of an actor are now, in both its KVs; and what they would be after these changes.
    pub fn weigh(&self, actor: ActorId, changes: &[(KvSpace, Vec<KvChange>)]) -> Result<(u64, u64), StoreError> {
        let before = self.stored(actor)?.map_or(0, |stored| stored.entries());
        let change =
            |(space, changes): &(KvSpace, Vec<KvChange>)| Change::Kv { actor, space: *space, now_ms: 0, changes: changes.clone() };
        let mut group = Group::new();
        group.add(&*self.store, changes::batch(&changes.iter().map(change).collect::<Vec<_>>()))?;
        let after = group.stored(&*self.store, actor)?.map_or(0, |stored| stored.entries());
        Ok((before, after))
    }

    /// One commit of the core as one batch for the writer.
    pub fn batch(changes: &[Change]) -> Batch {
        changes::batch(changes)
    }

    /// Visits a whole range, page by page.
    fn each(&self, range: KeyRange, mut visit: impl FnMut(&Pair) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let (mut start, end) = range;
        loop {
            let page = self.store.scan(Scan::range(&start, &end, PAGE_PAIRS))?;
            let Some(last) = page.last() else { return Ok(()) };
            start = [&last.key[..], &[0]].concat();
            page.iter().try_for_each(&mut visit)?;
        }
    }
}

pub(crate) fn decode_actor(actor: ActorId, bytes: &[u8]) -> Result<ActorRecord, StoreError> {
    let record: ActorRecord = records::decode(bytes)?;
    if record.id != actor {
        return Err(StoreError::corrupt(format!("the record of actor {actor} is that of {}", record.id)));
    }
    Ok(record)
}

fn missing(role: &str, actor: ActorId) -> StoreError {
    StoreError::corrupt(format!("the record of actor {actor}, {role}, is missing"))
}
