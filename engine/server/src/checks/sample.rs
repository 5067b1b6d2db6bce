//! On which actors a version is tried: those that are named, or some of the oldest and of the newest, all as of one moment.
//!
//! The oldest, because what the first versions wrote is what a migration forgets; the newest, because they are what is in use.

use std::sync::Arc;

use engine_core::record::ActorRecord;
use engine_core::refusal::Refusal;
use engine_store::{Fork, Snapshot, State, StoreError};
use protocol::id::{ActorId, NamespaceId};

use super::{Checks, Wanted};
use crate::error::ApiError;

const WHAT: &str = "the actors to try it on could not be read";

pub struct Sample {
    pub below: Arc<dyn Snapshot>,
    pub actors: Vec<ActorRecord>,
}

pub async fn take(checks: &Checks, wanted: &Wanted) -> Result<Sample, ApiError> {
    let store = checks.store.upgrade().ok_or(Refusal::ShuttingDown)?;
    let (namespace, name) = (wanted.namespace.id, wanted.name.clone());
    let (named, count) = (wanted.actors.clone(), wanted.count);
    let read = tokio::task::spawn_blocking(move || {
        let snapshot = store.snapshot().map_err(|error| ApiError::internal(WHAT, &error))?;
        let below: Arc<dyn Snapshot> = Arc::new(snapshot);
        let state = State::new(Arc::new(Fork::whole(below.clone())));
        let actors = match named.is_empty() {
            true => by_age(&state, namespace, &name, count).map_err(|error| ApiError::internal(WHAT, &error))?,
            false => named.into_iter().map(|actor| by_id(&state, namespace, &name, actor)).collect::<Result<_, _>>()?,
        };
        Ok(Sample { below, actors })
    });
    read.await.map_err(|error| ApiError::internal(WHAT, &error))?
}

/// From the oldest to the newest.
fn by_age(state: &State, namespace: NamespaceId, name: &str, count: usize) -> Result<Vec<ActorRecord>, StoreError> {
    let mut actors = state.oldest_by_name(namespace, name, count.div_ceil(2))?;
    let newest = state.actors_by_name(namespace, name, None, false, None, count)?;
    let known: Vec<ActorId> = actors.iter().map(|record| record.id).collect();
    let mut others: Vec<ActorRecord> = newest.into_iter().filter(|record| !known.contains(&record.id)).collect();
    others.truncate(count.saturating_sub(actors.len()));
    actors.extend(others.into_iter().rev());
    Ok(actors)
}

fn by_id(state: &State, namespace: NamespaceId, name: &str, actor: ActorId) -> Result<ActorRecord, ApiError> {
    let record = state.actor_record(actor).map_err(|error| ApiError::internal(WHAT, &error))?;
    let its = |record: &ActorRecord| record.namespace == namespace && record.name == name && record.destroy_ms.is_none();
    record.filter(its).ok_or_else(|| {
        let message = format!("there is no actor {actor} of the name {name:?} in this namespace; GET /actors lists them");
        ApiError::new("actor", "not_found", message)
    })
}
