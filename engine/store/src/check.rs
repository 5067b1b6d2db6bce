//! Reads everything there is in a store, and says what does not hold.
//!
//! Each value is decoded as what its key says it is, and what belongs together is compared: records and the indexes that name
//! them, keys and who holds them, inputs, databases and their pages. It reads every block, so RocksDB compares all checksums. For a
//! backup that is verified and for a directory that is looked at; never for a store that is being written to, whose parts would be
//! of different moments. It changes nothing and repairs nothing.

use std::collections::{BTreeMap, BTreeSet};

use engine_core::input::KeyRef;
use engine_core::record::{
    ActorRecord, AuditRecord, DatabaseHead, DeploymentRecord, HeldBack, NamespaceRecord, NamespaceUsage, RunnerConfigRecord,
    StoredBytes, TokenRecord,
};
use protocol::component::ComponentHash;
use protocol::id::ActorId;
use serde::Serialize;

use crate::error::{StoreError, hex};
use crate::format;
use crate::keys::{self, Kind, Place};
use crate::records;
use crate::store::{Pair, Scan, Store};

/// What is wrong is counted; so many are told.
pub const PROBLEMS_TOLD_MAX: usize = 50;
const PAGE_PAIRS: usize = 1_024;
const PAGE_BYTES: usize = 8 * 1024 * 1024;

/// How much of each there is.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, serde::Deserialize)]
pub struct Counts {
    pub namespaces: u64,
    pub deployments: u64,
    pub actors: u64,
    pub destroyed_actors: u64,
    /// Of actors' KV, and what runners keep for them.
    pub entries: u64,
    /// Of actors' databases.
    pub pages: u64,
    pub alarms: u64,
    /// All of the above, the indexes and what else there is.
    pub keys: u64,
}

#[derive(Default, Debug)]
pub struct Census {
    pub counts: Counts,
    /// The first [`PROBLEMS_TOLD_MAX`], a sentence each.
    pub problems: Vec<String>,
    pub problems_count: u64,
    /// Keys of a kind that this file does not know.
    pub unknown_keys: u64,
    /// Those that versions point at.
    pub components: BTreeSet<ComponentHash>,
    pub names: BTreeMap<String, u64>,
}

/// So many keys are a step.
const STEP_KEYS: u64 = 10_000;

/// Counts only, from keys alone: for a copy that is being made. `step` is told, now and then, how many keys have been read; nothing if it
/// says that this is enough.
pub fn count(store: &dyn Store, step: &mut dyn FnMut(u64) -> bool) -> Result<Option<Counts>, StoreError> {
    let mut counts = Counts::default();
    let mut goes_on = true;
    let mut look = |pair: &Pair| {
        counts.add(keys::place(&pair.key));
        goes_on = counts.keys % STEP_KEYS != 0 || step(counts.keys);
        // Ends the reading.
        if goes_on { Ok(()) } else { Err(StoreError::Closed) }
    };
    let read = each(store, true, &mut look);
    if !goes_on {
        return Ok(None);
    }
    read?;
    // Only the record says whether an actor lives, but each of those that do not is in a list.
    counts.actors = counts.actors.saturating_sub(counts.destroyed_actors);
    Ok(Some(counts))
}

/// Reads it all. An error only if the store cannot be read on; what is read and makes no sense is a problem. `step` is told, now and
/// then, how many keys have been read.
pub fn check(store: &dyn Store, step: &mut dyn FnMut(u64)) -> Result<Census, StoreError> {
    let mut census = Census::default();
    let mut look = |pair: &Pair| {
        let place = keys::place(&pair.key);
        census.counts.add(place);
        if census.counts.keys % STEP_KEYS == 0 {
            step(census.counts.keys);
        }
        match census.look(store, place, pair) {
            // The disk failed: whatever follows would fail too.
            Err(error @ StoreError::Io { .. }) => Err(error),
            Err(error) => {
                census.problem(|| format!("{} (key {})", error, hex(&pair.key)));
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    };
    each(store, false, &mut look)?;
    census.counts.actors = census.counts.actors.saturating_sub(census.counts.destroyed_actors);
    Ok(census)
}

fn each(store: &dyn Store, keys_only: bool, look: &mut dyn FnMut(&Pair) -> Result<(), StoreError>) -> Result<(), StoreError> {
    let mut start: Vec<u8> = Vec::new();
    loop {
        let scan = Scan { start: &start, end: None, reverse: false, keys_only, limit: PAGE_PAIRS, bytes_max: PAGE_BYTES };
        let page = store.scan(scan)?;
        let Some(last) = page.last() else { return Ok(()) };
        start = [&last.key[..], &[0]].concat();
        page.iter().try_for_each(&mut *look)?;
    }
}

impl Counts {
    fn add(&mut self, place: Place) {
        self.keys += 1;
        match place {
            Place::Namespace => self.namespaces += 1,
            Place::Deployment => self.deployments += 1,
            Place::Of(Kind::Actor) => self.actors += 1,
            Place::Of(Kind::DestroyedByName) => self.destroyed_actors += 1,
            Place::Of(Kind::Kv | Kind::RunnerKv) => self.entries += 1,
            Place::Of(Kind::Page) => self.pages += 1,
            Place::Of(Kind::Alarm) => self.alarms += 1,
            _ => {}
        }
    }
}

impl Census {
    pub fn is_whole(&self) -> bool {
        self.problems_count == 0
    }

    fn problem(&mut self, tell: impl FnOnce() -> String) {
        self.problems_count += 1;
        if self.problems.len() < PROBLEMS_TOLD_MAX {
            self.problems.push(tell());
        }
    }

    fn expect(&mut self, holds: bool, tell: impl FnOnce() -> String) {
        if !holds {
            self.problem(tell);
        }
    }

    fn look(&mut self, store: &dyn Store, place: Place, pair: &Pair) -> Result<(), StoreError> {
        let value = &pair.value;
        match place {
            Place::Meta => {
                // The format was read when it was opened; this is the note about the engine, or the format again.
                if pair.key == keys::WRITER {
                    records::parse_engine_version(value)?;
                }
                format::read(store).map(drop)
            }
            Place::Namespace => records::decode::<NamespaceRecord>(value).map(drop),
            Place::Deployment => {
                let record: DeploymentRecord = records::decode(value)?;
                let live = record.version(record.live).is_some();
                self.expect(live, || format!("the deployment {:?} has no version {}, which is live", record.name, record.live));
                self.components.extend(record.versions.iter().map(|version| version.component));
                Ok(())
            }
            Place::RunnerConfig => records::decode::<RunnerConfigRecord>(value).map(drop),
            Place::ActorName => keys::parse_actor_name(&pair.key).map(drop),
            Place::ActorNameMetadata => records::parse_actor_name_metadata(value).map(drop),
            Place::Token => records::decode::<TokenRecord>(value).map(drop),
            Place::Audit => {
                let (number, record) = (keys::parse_audit(&pair.key)?, records::decode::<AuditRecord>(value)?);
                self.expect(record.number == number, || {
                    format!("entry {} of the audit log lies at the place of {number}", record.number)
                });
                Ok(())
            }
            Place::Of(kind) => self.look_at_actors(store, kind, pair),
            Place::Unknown => {
                self.unknown_keys += 1;
                Ok(())
            }
        }
    }

    fn look_at_actors(&mut self, store: &dyn Store, kind: Kind, pair: &Pair) -> Result<(), StoreError> {
        let value = &pair.value;
        match kind {
            Kind::Actor => self.look_at_record(store, pair),
            Kind::Input => records::parse_input(value).map(drop),
            Kind::Reservation => {
                let actor = records::parse_reservation(value)?;
                let held = record(store, actor)?.is_some_and(|record| {
                    record.destroy_ms.is_none() && reservation(&record).is_some_and(|key| key[..] == pair.key[..])
                });
                self.expect(held, || format!("a key is reserved for actor {actor}, which does not have it"));
                Ok(())
            }
            Kind::Alarm => {
                let (fire_ms, actor) = keys::parse_alarm(&pair.key)?;
                let rings = record(store, actor)?.is_some_and(|record| record.alarm.is_some_and(|alarm| alarm.fire_ms == fire_ms));
                self.expect(rings, || format!("an alarm at {fire_ms} is listed for actor {actor}, which does not have it"));
                Ok(())
            }
            Kind::Awake => {
                let actor = keys::parse_awake(&pair.key)?;
                let awake = record(store, actor)?.is_some_and(|record| record.is_awake());
                self.expect(awake, || format!("actor {actor} is listed as awake, and is not"));
                Ok(())
            }
            Kind::Kv | Kind::RunnerKv => {
                records::parse_kv(value)?;
                self.belongs_to_somebody(store, pair, "an entry")
            }
            Kind::DatabaseHead => {
                records::decode::<DatabaseHead>(value)?;
                self.belongs_to_somebody(store, pair, "a database")
            }
            Kind::Page => {
                records::parse_page(value)?;
                self.belongs_to_somebody(store, pair, "a page of a database")
            }
            Kind::HeldBack => records::decode::<HeldBack>(value).map(drop),
            Kind::Stored => {
                records::decode::<StoredBytes>(value)?;
                self.belongs_to_somebody(store, pair, "a count of what is stored")
            }
            Kind::Usage => records::decode::<NamespaceUsage>(value).map(drop),
            Kind::Importing => {
                let actor = keys::parse_importing(&pair.key)?;
                let lives = record(store, actor)?.is_some();
                self.expect(!lives, || format!("actor {actor} is there, and listed as being imported"));
                Ok(())
            }
            Kind::LivingByName | Kind::DestroyedByName => {
                records::parse_listing(value)?;
                let (_, actor) = keys::parse_by_name(&pair.key)?;
                let lives = kind == Kind::LivingByName;
                let listed = record(store, actor)?.is_some_and(|record| record.destroy_ms.is_none() == lives);
                let list = if lives { "living" } else { "destroyed" };
                self.expect(listed, || format!("actor {actor} is in the list of {list} actors, and is not one"));
                Ok(())
            }
        }
    }

    fn look_at_record(&mut self, store: &dyn Store, pair: &Pair) -> Result<(), StoreError> {
        let record: ActorRecord = records::decode(&pair.value)?;
        let id = record.id;
        self.expect(keys::actor(id)[..] == pair.key[..], || format!("the record of actor {id} lies under the key of another"));
        let is_there = |key: Vec<u8>| store.get(&key).map(|value| value.is_some());
        let lives = record.destroy_ms.is_none();
        let list = if lives { Kind::LivingByName } else { Kind::DestroyedByName };
        let listed = is_there(keys::by_name(list, record.namespace, &record.name, record.create_ms, id))?;
        self.expect(listed, || format!("actor {id} is not in the list of its name"));
        if lives {
            *self.names.entry(record.name.clone()).or_default() += 1;
            if let Some(key) = reservation(&record) {
                let holder = store.get(&key)?.map(|value| records::parse_reservation(&value)).transpose()?;
                self.expect(holder == Some(id), || format!("the key {:?} of actor {id} is not reserved for it", record.key));
            }
            if record.has_input {
                let there = is_there(keys::input(id))?;
                self.expect(there, || format!("the input of actor {id} is missing"));
            }
            let namespace = is_there(keys::namespace(record.namespace))?;
            self.expect(namespace, || format!("the namespace {} of actor {id} is missing", record.namespace));
        }
        let awake = is_there(keys::awake(id))?;
        self.expect(awake == record.is_awake(), || format!("actor {id} is awake: {}; listed as such: {awake}", record.is_awake()));
        if let Some(alarm) = record.alarm.filter(|_| lives) {
            let there = is_there(keys::alarm(alarm.fire_ms, id))?;
            self.expect(there, || format!("the alarm of actor {id} is not listed"));
        }
        Ok(())
    }

    fn belongs_to_somebody(&mut self, store: &dyn Store, pair: &Pair, what: &str) -> Result<(), StoreError> {
        let actor = keys::actor_of(&pair.key)?;
        // What is staged is nobody's yet; the next start removes it.
        let owner = store.get(&keys::actor(actor))?.or(store.get(&keys::importing(actor))?);
        self.expect(owner.is_some(), || format!("{what} belongs to actor {actor}, of which there is no record"));
        Ok(())
    }
}

fn record(store: &dyn Store, actor: ActorId) -> Result<Option<ActorRecord>, StoreError> {
    store.get(&keys::actor(actor))?.map(|value| records::decode(&value)).transpose()
}

fn reservation(record: &ActorRecord) -> Option<Vec<u8>> {
    let key = record.key.clone()?;
    Some(keys::reservation(&KeyRef { namespace: record.namespace, name: record.name.clone(), key }))
}
