//! The one place that maps the core's changes to keys.
//!
//! Each change becomes operations in its order; the indexes (awake, by name, reservations) are written only here, so they
//! cannot fall out of step with the records. It decides nothing: whether a change may happen was the core's question.

use std::collections::BTreeSet;

use bytes::Bytes;
use engine_core::input::KeyRef;
use engine_core::record::{ActorRecord, Change, Listed};
use protocol::id::Partition;
use protocol::message::{KvChange, KvSpace};

use crate::keys::{self, Kind};
use crate::records;
use crate::store::{Batch, Counted};

/// One commit of the core as one batch.
pub fn batch(changes: &[Change]) -> Batch {
    let mut batch = Batch::new();
    // A check speaks of the state before the batch, so a key that this batch itself sets free needs none.
    let mut freed = BTreeSet::new();
    for change in changes {
        match change {
            Change::PutActor(record) => put_actor(&mut batch, record),
            Change::CreateActor { record, input } => create_actor(&mut batch, record, input.as_ref(), &mut freed),
            Change::DestroyActor { record, database } => destroy_actor(&mut batch, record, *database, &mut freed),
            Change::PutAlarm { fire_ms, actor } => batch.put(keys::alarm(*fire_ms, *actor), records::marker()),
            Change::DeleteAlarm { fire_ms, actor } => batch.delete(keys::alarm(*fire_ms, *actor)),
            Change::Kv { actor, space, now_ms, changes } => batch.entries(*actor, *space, |batch| {
                for change in changes {
                    match change {
                        KvChange::Put { key, value } => batch.put(keys::kv(*space, *actor, key), records::kv(*now_ms, value)),
                        KvChange::Delete { key } => batch.delete(keys::kv(*space, *actor, key)),
                        KvChange::DeleteRange { range } => {
                            let (start, end) = keys::kv_range(*space, *actor, range);
                            batch.delete_range(start, end);
                        }
                    }
                }
            }),
            Change::Database { actor, head, pages, shrunk } => {
                // Those beyond the size would be there again when it grows.
                for (number, bytes) in pages.iter().filter(|(number, _)| *number <= head.size_pages) {
                    batch.put(keys::page(*actor, *number), records::page(bytes));
                }
                if *shrunk {
                    let (start, end) = keys::pages_after(*actor, head.size_pages);
                    batch.delete_range(start, end);
                }
                batch.put(keys::database_head(*actor), records::encode(head));
                batch.count(Counted::Database { actor: *actor, bytes: head.bytes() });
            }
            Change::StageImport { actor, entries, pages } => {
                batch.put(keys::importing(*actor), records::marker());
                for (space, entry) in entries {
                    batch.put(keys::kv(*space, *actor, &entry.key), records::kv(entry.update_ms, &entry.value));
                }
                for (number, bytes) in pages {
                    batch.put(keys::page(*actor, *number), records::page(bytes));
                }
            }
            Change::TakeImport { actor, kv_bytes, runner_kv_bytes } => {
                batch.delete(keys::importing(*actor));
                batch.count(Counted::Imported { actor: *actor, kv_bytes: *kv_bytes, runner_kv_bytes: *runner_kv_bytes });
            }
            Change::DropImport { actor } => batch.count(Counted::ImportDropped { actor: *actor }),
            Change::PutRunnerConfig(record) => {
                batch.put(keys::runner_config(record.namespace, &record.pool), records::encode(&**record));
            }
            Change::DeleteRunnerConfig { namespace, pool } => batch.delete(keys::runner_config(*namespace, pool)),
            Change::PutActorName { namespace, name, metadata } => {
                batch.put(keys::actor_name(*namespace, name), records::marker());
                if let Some(metadata) = metadata {
                    batch.put(keys::actor_name_metadata(*namespace, name), records::actor_name_metadata(metadata));
                }
            }
            Change::PutHeldBack { actor, namespace, name, held } => {
                batch.put(keys::held_back(*namespace, name, *actor), records::encode(&**held));
            }
            Change::DeleteHeldBack { actor, namespace, name } => batch.delete(keys::held_back(*namespace, name, *actor)),
            Change::ForgetActors { namespace, actors } => {
                for Listed { actor, name, create_ms } in actors {
                    batch.delete(keys::actor(*actor));
                    batch.delete(keys::by_name(Kind::DestroyedByName, *namespace, name, *create_ms, *actor));
                }
            }
            Change::DeleteNamespace { namespace } => {
                for (start, end) in keys::of_namespace(*namespace) {
                    batch.delete_range(start, end);
                }
                Partition::all().for_each(|partition| batch.delete(keys::usage(partition, *namespace)));
                batch.delete(keys::namespace(*namespace));
            }
            Change::PutToken(record) => batch.put(keys::token(&record.id), records::encode(&**record)),
            Change::DeleteToken { id } => batch.delete(keys::token(id)),
            Change::PutAudit { record, forget } => {
                batch.put(keys::audit(record.number), records::encode(&**record));
                if let Some(forget) = forget {
                    batch.delete(keys::audit(*forget));
                }
            }
            Change::ForgetAudit { below } => {
                let (first, end) = keys::audit_below(Some(*below));
                batch.delete_range(first, end);
            }
            Change::PutNamespace(record) => batch.put(keys::namespace(record.id), records::encode(record)),
            Change::PutDeployment(record) => {
                batch.put(keys::deployment(record.namespace, &record.name), records::encode(&**record));
            }
        }
    }
    batch
}

fn put_actor(batch: &mut Batch, record: &ActorRecord) {
    batch.put(keys::actor(record.id), records::encode(record));
    if record.is_awake() {
        batch.put(keys::awake(record.id), records::marker());
    } else {
        batch.delete(keys::awake(record.id));
    }
}

fn create_actor(batch: &mut Batch, record: &ActorRecord, input: Option<&Bytes>, freed: &mut BTreeSet<Vec<u8>>) {
    put_actor(batch, record);
    if let Some(input) = input {
        batch.put(keys::input(record.id), records::input(input));
    }
    if let Some(reservation) = reservation(record) {
        if !freed.remove(&reservation) {
            batch.check(reservation.clone(), None);
        }
        batch.put(reservation, records::reservation(record.id));
    }
    batch.put(place_in_list(Kind::LivingByName, record), records::listing(record.key.as_deref()));
    batch.put(keys::actor_name(record.namespace, &record.name), records::marker());
    batch.count(Counted::Created { actor: record.id, namespace: record.namespace });
}

fn destroy_actor(batch: &mut Batch, record: &ActorRecord, database: bool, freed: &mut BTreeSet<Vec<u8>>) {
    put_actor(batch, record);
    if let Some(reservation) = reservation(record) {
        batch.delete(reservation.clone());
        freed.insert(reservation);
    }
    if record.has_input {
        batch.delete(keys::input(record.id));
    }
    for space in [KvSpace::Actor, KvSpace::Runner] {
        let (first, end) = keys::kv_all(space, record.id);
        batch.delete_range(first, end);
    }
    if database {
        batch.delete(keys::database_head(record.id));
        let (first, end) = keys::pages_after(record.id, 0);
        batch.delete_range(first, end);
    }
    if record.held_back.is_some() {
        batch.delete(keys::held_back(record.namespace, &record.name, record.id));
    }
    batch.delete(place_in_list(Kind::LivingByName, record));
    batch.put(place_in_list(Kind::DestroyedByName, record), records::listing(record.key.as_deref()));
    batch.count(Counted::Destroyed { actor: record.id });
}

fn reservation(record: &ActorRecord) -> Option<Vec<u8>> {
    let key = record.key.clone()?;
    Some(keys::reservation(&KeyRef { namespace: record.namespace, name: record.name.clone(), key }))
}

fn place_in_list(kind: Kind, record: &ActorRecord) -> Vec<u8> {
    keys::by_name(kind, record.namespace, &record.name, record.create_ms, record.id)
}
