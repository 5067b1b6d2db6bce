//! `/actors/{id}/logs`: what an actor has logged, and what it logs from now on.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use engine_core::refusal::Refusal;
use engine_store::actor_logs::{Between, LogEntry};
use http::Uri;
use protocol::id::ActorId;
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
        ("since" = Option<u64>, Query, description = "No lines from before this moment; milliseconds since 1970"),
        ("before" = Option<u64>, Query, description = "Only lines before the one with this id: to page back"),
        ("after" = Option<u64>, Query, description = "Only lines after the one with this id: to go on"),
        ("follow" = Option<bool>, Query, description = "Go on with what it logs from now on"),
    ),
    responses((status = 200, body = LogLine, content_type = "application/x-ndjson", description = "One a line"), (status = "default", body = ApiError)),
    security(("admin_token" = []))
)]
pub async fn logs(
    State(engine): State<Arc<Engine>>,
    PathPart(actor): PathPart<String>,
    token: Token,
    uri: Uri,
) -> Result<Response, ApiError> {
    let actor = parse_actor_id(&actor)?;
    let query = Query::read(&uri, &["namespace", "follow", "limit", "since", "before", "after"])?;
    query.required("namespace")?;
    let follow = query.flag("follow")?;
    let limit = query.limit(LIMIT_DEFAULT)?.min(LIMIT_MAX);
    let since_ms = query.whole("since")?.unwrap_or(0);
    let before = query.whole("before")?;
    let between = Between { after: query.whole("after")?.unwrap_or(0), before: before.unwrap_or(u64::MAX) };
    if follow && before.is_some() {
        return Err(ApiError::bad_request(
            "follow goes on after the newest line, and before asks for older ones; give one of them",
        ));
    }
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
    let book = engine.clone();
    let newest = move |_: &engine_store::State| book.logs.newest(actor, between, since_ms, limit);
    let after = engine.readers.read(UNREADABLE, newest).await?;
    let (lines, waiting) = mpsc::channel(LINES_WAITING_MAX);
    tokio::spawn(async move {
        // An error means that the client has left, or was told less than it asked for in the engine's log.
        let _ = send_lines(&engine, actor, Between { after, ..between }, (!follow).then_some(limit), &lines).await;
        drop(follower);
    });
    Ok(ndjson(waiting))
}

const UNREADABLE: &str = "the lines of an actor could not be read";

/// At most so many lines; without a limit it goes on with what comes.
async fn send_lines(
    engine: &Arc<Engine>,
    actor: ActorId,
    mut between: Between,
    limit: Option<usize>,
    lines: &mpsc::Sender<Value>,
) -> Result<(), Left> {
    let mut logged = engine.logs.follow(actor);
    let mut left = limit.unwrap_or(usize::MAX);
    loop {
        // Whoever follows when the engine ends has all that was logged until then.
        let ended = engine.logs.has_ended();
        logged.mark_unchanged();
        loop {
            let book = engine.clone();
            let entries = engine.readers.read(UNREADABLE, move |_| book.logs.read(actor, between)).await.map_err(|_| Left)?;
            let Some(last) = entries.last() else { break };
            between.after = last.number;
            for entry in entries.iter().take(left) {
                lines.send(view(entry)).await.map_err(|_| Left)?;
            }
            left = left.saturating_sub(entries.len());
            if left == 0 {
                return Ok(());
            }
        }
        if limit.is_some() || ended {
            return Ok(());
        }
        tokio::select! {
            changed = logged.changed() => if changed.is_err() { return Ok(()) },
            () = lines.closed() => return Ok(()),
        }
    }
}

/// Nobody takes what is sent, or there is nothing to send.
struct Left;

/// One line of an actor's log.
#[derive(ToSchema)]
#[allow(dead_code, reason = "for the document; see `view`")]
struct LogLine {
    /// Ascends; to page back with `before`, or to go on with `after`.
    id: u64,
    ts: u64,
    level: String,
    /// `actor`, or `engine` for how a generation of it ended.
    source: String,
    text: String,
}

fn view(entry: &LogEntry) -> Value {
    let LogEntry { number, source, level, time_ms, text } = entry;
    json!({ "id": number, "ts": time_ms, "level": level, "source": source, "text": text })
}
