//! `/actors/{id}/export` and `/actors/import`: one actor as a file, out and in.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use engine_core::action::Answer;
use engine_core::input::Operation;
use engine_core::refusal::Refusal;
use http::Uri;
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt, Limited};
use serde::Serialize;
use tokio::sync::Semaphore;
use utoipa::ToSchema;

use crate::api::deployments::NDJSON;
use crate::api::extract::{self, PathPart, Query, Token};
use crate::api::unexpected;
use crate::api::views::Actor;
use crate::engine::{Engine, parse_actor_id};
use crate::error::ApiError;
use crate::portable::{self, FILE_BYTES_MAX, Imported, STATE_BYTES_MAX};

/// Each of them is in memory as a whole.
static FILES: Semaphore = Semaphore::const_new(1);

/// Everything that is stored about an actor, as of one moment. What it has acknowledged by then is in it.
#[utoipa::path(
    get,
    path = "/actors/{actor_id}/export",
    tag = "Actors",
    params(
        ("actor_id" = String, Path),
        ("namespace" = String, Query, description = "The namespace's name"),
    ),
    responses((status = 200, body = String, content_type = "application/x-ndjson", description = "A file for `POST /actors/import`"), (status = "default", body = ApiError)),
    security(("admin_token" = []))
)]
pub async fn export(
    State(engine): State<Arc<Engine>>,
    PathPart(actor): PathPart<String>,
    token: Token,
    uri: Uri,
) -> Result<Response, ApiError> {
    let actor = parse_actor_id(&actor)?;
    let query = Query::read(&uri, &["namespace"])?;
    query.required("namespace")?;
    token.check(&engine)?;
    let namespace = extract::namespace(&engine, &query)?;
    let _one = FILES.acquire().await.map_err(|error| ApiError::internal("the actor could not be exported", &error))?;
    let found = engine.readers.read("the actor could not be read", move |state| state.export(actor, STATE_BYTES_MAX)).await?;
    let exported = match found.ok_or(Refusal::ActorNotFound)? {
        Ok(exported) if exported.record.namespace == namespace.id => exported,
        Ok(_) => return Err(Refusal::ActorNotFound.into()),
        Err(bytes) => {
            let message = format!(
                "actor {actor} has more than {bytes} bytes of state, which is what a file may hold; a backup has all of it"
            );
            return Err(ApiError::new("actor", "export_too_large", message));
        }
    };
    let now_ms = engine.clock.now_ms();
    let encode = tokio::task::spawn_blocking(move || portable::encode(exported, now_ms));
    let file = encode.await.map_err(|error| ApiError::internal("the actor could not be written as a file", &error))?;
    Ok(([(CONTENT_TYPE, NDJSON)], file).into_response())
}

#[derive(Serialize, ToSchema)]
#[schema(as = ImportActorAnswer)]
pub struct Made {
    actor: Actor,
}

/// A new actor of an exported one, asleep, under its name and key unless others are given. What can run it must be deployed.
#[utoipa::path(
    post,
    path = "/actors/import",
    tag = "Actors",
    params(
        ("namespace" = String, Query, description = "The namespace's name"),
        ("name" = Option<String>, Query, description = "Another name than it had"),
        ("key" = Option<String>, Query, description = "Another key than it had"),
    ),
    request_body(content = String, content_type = "application/x-ndjson", description = "What was exported; the content type is not looked at"),
    responses((status = 200, body = Made), (status = "default", body = ApiError)),
    security(("admin_token" = []))
)]
pub async fn import(State(engine): State<Arc<Engine>>, token: Token, request: Request) -> Result<Json<Made>, ApiError> {
    let query = Query::read(request.uri(), &["namespace", "name", "key"])?;
    query.required("namespace")?;
    let (other_name, other_key) = (query.one("name")?.map(str::to_string), query.one("key")?.map(str::to_string));
    token.check(&engine)?;
    let namespace = extract::namespace(&engine, &query)?;
    engine.room.for_growth()?;
    let _one = FILES.acquire().await.map_err(|error| ApiError::internal("the actor could not be imported", &error))?;
    let invalid = |reason: String| ApiError::new("actor", "import_invalid", format!("the file is no exported actor: {reason}"));
    let body = Limited::new(request.into_body(), FILE_BYTES_MAX).collect().await;
    let file = body
        .map_err(|error| invalid(format!("it could not be read, or has more than {FILE_BYTES_MAX} bytes: {error}")))?
        .to_bytes();
    let decode = tokio::task::spawn_blocking(move || portable::decode(&file));
    let decoded = decode.await.map_err(|error| ApiError::internal("the file could not be read", &error))?;
    let Imported { name, key, import } = decoded.map_err(invalid)?;
    let (name, key) = (other_name.unwrap_or(name), other_key.or(key));
    match engine.call(Operation::ImportActor { namespace: namespace.name, name, key, import: Box::new(import) }).await? {
        Answer::Actor { record, .. } => Ok(Json(Made { actor: Actor::from(*record) })),
        other => Err(unexpected(&other)),
    }
}
