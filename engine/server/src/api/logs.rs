//! `/actors/{id}/logs`: what an actor has logged of late, and what it logs from now on.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use engine_core::refusal::Refusal;
use http::Uri;
use protocol::id::ActorId;
use protocol::message::LogLine;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};
use utoipa::ToSchema;

use crate::api::deployments::ndjson;
use crate::api::extract::{self, PathPart, Query, Token};
use crate::engine::{Engine, parse_actor_id};
use crate::error::ApiError;

const LIMIT_DEFAULT: usize = 100;
/// Lines that one answer begins with.
const LIMIT_MAX: usize = 10_000;
/// Clients that may follow logs at one time.
const FOLLOWERS_MAX: usize = 64;
static FOLLOWERS: Semaphore = Semaphore::const_new(FOLLOWERS_MAX);
/// Lines that may wait for a slow client; the book keeps the others until it has no room for them.
const LINES_WAITING_MAX: usize = 64;

#[utoipa::path(
    get,
    path = "/actors/{actor_id}/logs",
    tag = "Actors",
    params(
        ("actor_id" = String, Path),
        ("namespace" = String, Query, description = "The namespace's name"),
        ("limit" = Option<usize>, Query, description = "How many of the newest lines to begin with: 100 unless said otherwise, at most 10000"),
        ("follow" = Option<bool>, Query, description = "Go on with what it logs from now on"),
    ),
    responses((status = 200, body = LogEntry, content_type = "application/x-ndjson", description = "One a line"), (status = "default", body = ApiError)),
    security(("admin_token" = []))
)]
pub async fn logs(
    State(engine): State<Arc<Engine>>,
    PathPart(actor): PathPart<String>,
    token: Token,
    uri: Uri,
) -> Result<Response, ApiError> {
    let actor = parse_actor_id(&actor)?;
    let query = Query::read(&uri, &["namespace", "follow", "limit"])?;
    query.required("namespace")?;
    let follow = query.flag("follow")?;
    let limit = query.limit(LIMIT_DEFAULT)?.min(LIMIT_MAX);
    token.check(&engine)?;
    let namespace = extract::namespace(&engine, &query)?;
    let found = engine.readers.read("the actor could not be looked up", move |state| state.load_actor(actor)).await?;
    if found.is_none_or(|found| found.record.namespace != namespace.id) {
        return Err(Refusal::ActorNotFound.into());
    }
    let follower =
        match follow {
            true => Some(FOLLOWERS.try_acquire().map_err(|_| {
                ApiError::busy(format!("{FOLLOWERS_MAX} clients already follow logs; try again when one has left"))
            })?),
            false => None,
        };
    let (lines, waiting) = mpsc::channel(LINES_WAITING_MAX);
    tokio::spawn(async move {
        // An error means that the client has left, which ends this.
        let _ = send_lines(&engine, actor, limit, follow, &lines).await;
        drop(follower);
    });
    Ok(ndjson(waiting))
}

async fn send_lines(
    engine: &Engine,
    actor: ActorId,
    mut limit: usize,
    follow: bool,
    lines: &mpsc::Sender<Value>,
) -> Result<(), mpsc::error::SendError<Value>> {
    let mut written = engine.logs.follow();
    let mut after = 0;
    loop {
        written.mark_unchanged();
        for (number, line) in engine.logs.read(actor, after, limit) {
            after = number;
            lines.send(view(&line)).await?;
        }
        if !follow || engine.logs.has_ended() {
            return Ok(());
        }
        limit = LIMIT_MAX;
        tokio::select! {
            changed = written.changed() => if changed.is_err() { return Ok(()) },
            () = lines.closed() => return Ok(()),
        }
    }
}

/// One line of an actor's log.
#[derive(ToSchema)]
#[allow(dead_code, reason = "for the document; see `view`")]
struct LogEntry {
    ts: u64,
    level: String,
    text: String,
}

fn view(line: &LogLine) -> Value {
    json!({ "ts": line.time_ms, "level": line.level, "text": line.text })
}
