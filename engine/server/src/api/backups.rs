//! `/backups`: make a copy of the whole data directory while the engine runs, list those there are.

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use engine_backup::repository::Listed;
use engine_backup::{Manifest, Report, Step};
use http::header::ACCEPT;
use http::{HeaderMap, Uri};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use utoipa::ToSchema;

use crate::api::deployments::{NDJSON, ndjson};
use crate::api::extract::{Query, Token};
use crate::backups;
use crate::engine::Engine;
use crate::error::ApiError;

/// Progress that a slow client has not read yet; more is left out.
const PROGRESS_LINES_MAX: usize = 16;
/// How many bytes make a line of progress.
const PROGRESS_BYTES: u64 = 16 * 1024 * 1024;

#[derive(Serialize, ToSchema)]
#[schema(as = BackupList)]
pub struct List {
    /// Oldest first.
    backups: Vec<Backup>,
}

#[derive(Serialize, ToSchema)]
pub struct Backup {
    id: String,
    /// The moment that it is a copy of.
    #[schema(required = true)]
    create_ts: Option<u64>,
    /// The version that made it.
    #[schema(required = true)]
    engine: Option<String>,
    /// Of all of its files.
    bytes: u64,
    /// Those that no backup before it had.
    new_bytes: u64,
    namespaces: u64,
    actors: u64,
    /// Why it must not be relied on; its checksums are compared by `rivet-engine backup verify` alone.
    #[schema(required = true)]
    damage: Option<String>,
}

impl Backup {
    pub fn of((id, manifest): Listed) -> Backup {
        match manifest {
            Ok(manifest) => Backup::whole(manifest),
            Err(damage) => Backup {
                id,
                create_ts: None,
                engine: None,
                bytes: 0,
                new_bytes: 0,
                namespaces: 0,
                actors: 0,
                damage: Some(damage.to_string()),
            },
        }
    }

    pub fn whole(manifest: Manifest) -> Backup {
        Backup {
            id: manifest.id,
            create_ts: Some(manifest.create_ms),
            engine: Some(manifest.engine),
            bytes: manifest.bytes,
            new_bytes: manifest.new_bytes,
            namespaces: manifest.counts.namespaces,
            actors: manifest.counts.actors,
            damage: None,
        }
    }
}

/// What there is in the folder that is configured.
#[utoipa::path(
    get,
    path = "/backups",
    tag = "Engine",
    responses((status = 200, body = List), (status = "default", body = ApiError)),
    security(("admin_token" = []))
)]
pub async fn list(State(engine): State<Arc<Engine>>, token: Token, uri: Uri) -> Result<Json<List>, ApiError> {
    Query::read(&uri, &[])?;
    token.check(&engine)?;
    let listed = blocking(move || engine.backups.list()).await?;
    Ok(Json(List { backups: listed.into_iter().map(Backup::of).collect() }))
}

/// Makes one, into the folder that is configured. A client that leaves does not stop it.
#[utoipa::path(
    post,
    path = "/backups",
    tag = "Engine",
    responses((status = 200, body = Backup, description = "With `accept: application/x-ndjson`: progress, a JSON value a line"), (status = "default", body = ApiError)),
    security(("admin_token" = []))
)]
pub async fn create(State(engine): State<Arc<Engine>>, token: Token, headers: HeaderMap, uri: Uri) -> Result<Response, ApiError> {
    Query::read(&uri, &[])?;
    token.check(&engine)?;
    if headers.get(ACCEPT).is_none_or(|accept| accept != NDJSON) {
        let report = aside(move || make(&engine, &mut |_| true)).await?;
        return Ok(Json(Backup::whole(report.manifest)).into_response());
    }
    let (lines, progress) = mpsc::channel(PROGRESS_LINES_MAX);
    tokio::spawn(async move {
        let told = lines.clone();
        let mut last = 0;
        let mut tell = move |step| {
            if let Step::Copied { bytes, of } = step
                && (bytes >= last + PROGRESS_BYTES || bytes == of)
            {
                last = bytes;
                // A client that does not read goes without.
                let _ = told.try_send(json!({ "phase": "copying", "bytes": bytes, "of": of }));
            }
            true
        };
        let made = aside(move || make(&engine, &mut tell)).await;
        let line = match made {
            Ok(report) => {
                let mut line = serde_json::to_value(Backup::whole(report.manifest)).unwrap_or_default();
                line["phase"] = Value::from("made");
                line
            }
            Err(error) => json!({ "phase": "failed", "error": error }),
        };
        let _ = lines.send(line).await;
    });
    Ok(ndjson(progress))
}

fn make(engine: &Engine, tell: &mut dyn FnMut(Step) -> bool) -> Result<Report, ApiError> {
    let begun = Instant::now();
    let report = engine.backups.make(&engine.components, engine.clock.now_ms(), tell)?;
    backups::log(&report.manifest, begun.elapsed().as_millis());
    Ok(report)
}

/// In a thread of its own, which runs when others do not want to.
async fn aside(job: impl FnOnce() -> Result<Report, ApiError> + Send + 'static) -> Result<Report, ApiError> {
    let (tell, told) = oneshot::channel();
    let thread = thread::Builder::new().name("backup".to_string()).spawn(move || {
        engine_backup::aside::step_back();
        // Who asked may have left.
        let _ = tell.send(job());
    });
    thread.map_err(|error| ApiError::internal("the thread that makes backups cannot be started", &error))?;
    told.await.map_err(|error| ApiError::internal("the backup ended before its time", &error))?
}

async fn blocking<T: Send + 'static>(job: impl FnOnce() -> Result<T, ApiError> + Send + 'static) -> Result<T, ApiError> {
    let done = tokio::task::spawn_blocking(job).await;
    done.map_err(|error| ApiError::internal("the backup ended before its time", &error))?
}
