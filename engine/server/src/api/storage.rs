//! `/actors/{actor}/storage`: how much an actor has stored.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use engine_core::record::StoredBytes;
use engine_core::refusal::Refusal;
use http::Uri;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::extract::{self, PathPart, Query, Token};
use crate::engine::{Engine, parse_actor_id};
use crate::error::ApiError;

#[derive(Serialize, ToSchema)]
#[schema(as = ActorStorage)]
pub struct Stored {
    /// Keys and values of its KV.
    kv_bytes: u64,
    /// What a runner of components keeps for it: schedules, queued messages, connections.
    runner_bytes: u64,
    /// All pages of its database.
    database_bytes: u64,
    total_bytes: u64,
}

#[utoipa::path(
    get,
    path = "/actors/{actor_id}/storage",
    tag = "Actors",
    params(
        ("actor_id" = String, Path, description = "Its id"),
        ("namespace" = String, Query, description = "The namespace's name"),
    ),
    responses((status = 200, body = Stored), (status = "default", body = ApiError)),
    security(("admin_token" = []))
)]
pub async fn of_actor(
    State(engine): State<Arc<Engine>>,
    PathPart(actor): PathPart<String>,
    token: Token,
    uri: Uri,
) -> Result<Json<Stored>, ApiError> {
    let query = Query::read(&uri, &["namespace"])?;
    query.required("namespace")?;
    let actor = parse_actor_id(&actor)?;
    token.check(&engine)?;
    let namespace = extract::namespace(&engine, &query)?;
    let read = engine.readers.read("what the actor has stored could not be read", move |state| state.stored(actor));
    match read.await?.filter(|stored| stored.namespace == namespace.id) {
        Some(stored) => Ok(Json(Stored::of(stored))),
        None => Err(Refusal::ActorNotFound.into()),
    }
}

impl Stored {
    fn of(stored: StoredBytes) -> Stored {
        Stored { kv_bytes: stored.kv, runner_bytes: stored.runner_kv, database_bytes: stored.database, total_bytes: stored.total() }
    }
}
