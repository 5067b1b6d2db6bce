//! `/actors/{id}/export` and `/actors/import`: one actor as a file, out and in.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use engine_core::action::Answer;
use engine_core::input::{Create, Operation};
use engine_core::record::{ActorRecord, NamespaceRecord};
use engine_core::refusal::Refusal;
use engine_store::export::Exported;
use engine_store::{Fork, State as Stored, StoreError};
use futures_util::stream;
use http::Uri;
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt;
use protocol::id::{ActorId, NamespaceId};
use protocol::limits::KIB;
use protocol::trace;
use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use utoipa::ToSchema;

use crate::api::deployments::NDJSON;
use crate::api::extract::{self, PathPart, Query, Token};
use crate::api::unexpected;
use crate::api::views::Actor;
use crate::auth::caller;
use crate::engine::{DATACENTER_LABEL, Engine, parse_actor_id};
use crate::error::ApiError;
use crate::portable::{Decoder, Encoder, Imported, Parts};
use crate::random;

const CANNOT_EXPORT: &str = "the actor could not be exported";
const CANNOT_IMPORT: &str = "the actor could not be imported";
/// Exports and imports under way at one time; others wait. Each holds a piece or two in memory, and an export a snapshot of the store.
const FILES_MAX: usize = 4;
static FILES: Semaphore = Semaphore::const_new(FILES_MAX);
/// Bytes of a file that are made or read at one time, and written in one commit.
const PIECE_BYTES: usize = 512 * KIB;
/// Pieces that a client has not taken yet.
const PIECES_WAITING_MAX: usize = 4;
/// How long a client may take no piece: while it waits the store keeps what is written over.
const STALL_MS_MAX: u64 = 60_000;

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
    let store = engine.store.upgrade().ok_or(Refusal::ShuttingDown)?;
    let turn = FILES.acquire().await.map_err(|error| ApiError::internal(CANNOT_EXPORT, &error))?;
    let (found, is_there) = oneshot::channel();
    let (pieces, body) = mpsc::channel(PIECES_WAITING_MAX);
    let (now_ms, runtime) = (engine.clock.now_ms(), Handle::current());
    tokio::task::spawn_blocking(move || {
        let _turn = turn;
        let opened = store.snapshot().map_err(|error| ApiError::internal(CANNOT_EXPORT, &error));
        // The snapshot holds it as long as it is needed.
        drop(store);
        let state = opened.map(|snapshot| Stored::new(Arc::new(Fork::whole(Arc::new(snapshot)))));
        let exported = state.and_then(|state| Ok((head(&state, actor, namespace.id)?, state)));
        let (exported, state) = match exported {
            Ok(exported) => exported,
            Err(error) => return drop(found.send(Err(error))),
        };
        if found.send(Ok(())).is_ok() {
            let send = |piece| {
                let sent = runtime.block_on(timeout(Duration::from_millis(STALL_MS_MAX), pieces.send(piece)));
                matches!(sent, Ok(Ok(()))).then_some(()).map_or(ControlFlow::Break(()), ControlFlow::Continue)
            };
            write(&state, actor, Encoder::new(exported, now_ms), send);
        }
    });
    is_there.await.map_err(|error| ApiError::internal(CANNOT_EXPORT, &error))??;
    let body = stream::unfold(body, |mut body| async { Some((body.recv().await?, body)) });
    Ok(([(CONTENT_TYPE, NDJSON)], Body::from_stream(body)).into_response())
}

fn head(state: &Stored, actor: ActorId, namespace: NamespaceId) -> Result<Exported, ApiError> {
    let exported = state.exported(actor).map_err(|error| ApiError::internal(CANNOT_EXPORT, &error))?;
    Ok(exported.filter(|exported| exported.record.namespace == namespace).ok_or(Refusal::ActorNotFound)?)
}

/// Until the client is gone. What cannot be read ends the answer in the middle, and without the file's last line.
fn write(state: &Stored, actor: ActorId, mut file: Encoder, mut send: impl FnMut(Result<Bytes, StoreError>) -> ControlFlow<()>) {
    let read = state.export(actor, |part| {
        file.part(part);
        match file.waiting_bytes() {
            0..PIECE_BYTES => ControlFlow::Continue(()),
            _ => send(Ok(file.take())),
        }
    });
    // Nobody takes it if `send` has broken off before.
    let _ = match read {
        Ok(()) => {
            file.end();
            send(Ok(file.take()))
        }
        Err(error) => {
            tracing::error!(%actor, %error, "{CANNOT_EXPORT}");
            send(Err(error))
        }
    };
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
    let turn = FILES.acquire().await.map_err(|error| ApiError::internal(CANNOT_IMPORT, &error))?;
    let body = request.into_body();
    // A client that leaves must leave nothing behind, so this goes on without it.
    let run = tokio::spawn(caller::carry(trace::carry(async move {
        let _turn = turn;
        let mut staging = Staging { engine, namespace, name: other_name, key: other_key, random: random::bytes(), actor: None };
        let made = staging.run(body).await;
        if made.is_err() {
            let has_room = staging.engine.room.for_growth().is_ok();
            let given_up = tokio::spawn(async move { staging.give_up().await });
            // On a full disk that waits too; whoever sent the file need not.
            if has_room {
                let _ = given_up.await;
            }
        }
        made
    })));
    let record = run.await.map_err(|error| ApiError::internal(CANNOT_IMPORT, &error))??;
    Ok(Json(Made { actor: Actor::from(record) }))
}

/// An import under way.
struct Staging {
    engine: Arc<Engine>,
    namespace: NamespaceRecord,
    /// That were asked for instead of those in the file.
    name: Option<String>,
    key: Option<String>,
    random: [u8; 16],
    /// Once something is staged.
    actor: Option<ActorId>,
}

impl Staging {
    async fn run(&mut self, mut body: Body) -> Result<ActorRecord, ApiError> {
        let mut decoder = Decoder::default();
        let mut piece = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| invalid(format!("it could not be read to its end: {error}")))?;
            let Ok(data) = frame.into_data() else { continue };
            piece.extend_from_slice(&data);
            if piece.len() >= PIECE_BYTES {
                decoder = self.stage(decoder, piece.split().freeze()).await?;
            }
        }
        decoder = self.stage(decoder, piece.freeze()).await?;
        let whose = decoder.whose();
        let import = decoder.finish(self.random).map_err(invalid)?;
        let (name, key) = self.named(whose.ok_or_else(|| invalid("it has no head".to_string()))?);
        let operation = Operation::ImportActor { namespace: self.namespace.name.clone(), name, key, import: Box::new(import) };
        match self.engine.call(operation).await? {
            Answer::Actor { record, .. } => Ok(*record),
            other => Err(unexpected(&other)),
        }
    }

    /// What a piece of the file brings.
    async fn stage(&mut self, mut decoder: Decoder, piece: Bytes) -> Result<Decoder, ApiError> {
        let decoded = tokio::task::spawn_blocking(move || decoder.feed(&piece).map(|()| decoder)).await;
        let mut decoder = decoded.map_err(|error| ApiError::internal(CANNOT_IMPORT, &error))?.map_err(invalid)?;
        let Parts { entries, pages } = decoder.take();
        if entries.is_empty() && pages.is_empty() {
            return Ok(decoder);
        }
        let whose = decoder.whose().ok_or_else(|| invalid("it has no head".to_string()))?;
        let actor = *self.actor.insert(self.id(whose));
        self.engine.call(Operation::StageImport { actor, entries, pages }).await?;
        Ok(decoder)
    }

    /// That the core will give it.
    fn id(&self, whose: Imported) -> ActorId {
        let (name, key) = self.named(whose);
        Create::id_of(self.random, DATACENTER_LABEL, self.namespace.id, &name, key.as_deref())
    }

    fn named(&self, Imported { name, key }: Imported) -> (String, Option<String>) {
        (self.name.clone().unwrap_or(name), self.key.clone().or(key))
    }

    /// What was staged goes. If it cannot now, it does at the next start.
    async fn give_up(&self) {
        let Some(actor) = self.actor else { return };
        if let Err(error) = self.engine.call(Operation::DropImport { actor }).await {
            tracing::warn!(%actor, error = error.message, "what was staged of an import is removed by the next start");
        }
    }
}

fn invalid(reason: String) -> ApiError {
    ApiError::new("actor", "import_invalid", format!("the file is no exported actor: {reason}"))
}
