//! One call to a pool's URL, from the start of an actor to the end of its request.
//!
//! ```text
//!          answered with events            told to end, or moved
//! Opening ----------------------> Open ------------------------> Closing
//!    | refused, not reached,        | it says `stopping`,           | it ends, or the grace period does
//!    | told to end before any       |  its stream ends              |
//!    v  runner had the actor        v                               v
//!  (closed) <-----------------------+------------------------------ +
//! ```
//!
//! Tells the core what becomes of the call and does what the core says; that an actor moves, or is lost, is the core's to decide.
//! Once the core wants nothing more of it, it is told nothing more.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use engine_core::Input;
use engine_core::input::CallOutcome;
use engine_core::record::{PoolError, PoolKind, ServerlessConfig};
use http::Response;
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use protocol::id::{ActorId, Generation, NamespaceId};
use protocol::message::{Checkpoint, Start};
use protocol::wire::EnvoyVersion;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use crate::engine::Engine;
use crate::lock::lock;
use crate::serverless::events::{Events, Malformed};
use crate::serverless::{CALLS_OPEN_MAX, client, metadata, start};

/// As much of an answer as a pool's error shows.
const BODY_CHARS_SHOWN: usize = 512;
/// A character has at most four bytes.
const BODY_BYTES_READ: usize = 4 * BODY_CHARS_SHOWN;
const BODY_MS_MAX: u64 = 5_000;
/// Nothing moves an actor that has not begun to run, so that it may have to be said again.
const MOVE_AGAIN_MS: u64 = 5_000;

/// Calls the pool's URL to start this actor.
pub fn call(engine: &Arc<Engine>, namespace: NamespaceId, pool: String, checkpoint: Checkpoint, start: Start) {
    let (actor, generation) = (checkpoint.actor, checkpoint.generation);
    let failed = |message: String| tell(engine, actor, generation, CallOutcome::Failed(unreachable(message)));
    let config = engine.directory.runner_config(namespace, &pool);
    let (Some(config), Some(namespace_name)) = (config, engine.directory.namespace_name(namespace)) else {
        return failed("the pool is not there any more".to_string());
    };
    let PoolKind::Serverless(settings) = config.kind else { return failed("the pool has no URL any more".to_string()) };
    let Some((seat, ended)) = Seat::take(engine, actor, generation) else {
        return failed(format!("{CALLS_OPEN_MAX} calls to pools' URLs are open already, and no more there may be"));
    };
    let times = Times {
        lifespan: Duration::from_secs(settings.request_lifespan_s.into()),
        grace: Duration::from_secs(settings.drain_grace_period_s.into()),
    };
    let announced = config.protocol_version;
    let order = Order { namespace, namespace_name, pool, announced, config: settings, checkpoint, start };
    let engine = engine.clone();
    tokio::spawn(async move {
        let opening = Box::pin(open(engine.clone(), order));
        tokio::select! {
            () = engine.serverless.closing.cancelled() => {}
            () = follow(&engine, &seat, times, Peer::Opening(opening), ended) => {}
        }
    });
}

/// The core wants nothing more of this call. `taken`: a runner has had the actor.
pub fn end(engine: &Arc<Engine>, actor: ActorId, generation: Generation, taken: bool) {
    if let Some(call) = lock(&engine.serverless.calls).remove(&(actor, generation)) {
        // A call that has just ended by itself does not listen.
        let _ = call.send(taken);
    }
}

/// All that is needed to make the call.
struct Order {
    namespace: NamespaceId,
    namespace_name: String,
    pool: String,
    /// The protocol that its runners or its URL have announced last.
    announced: Option<u16>,
    config: Box<ServerlessConfig>,
    checkpoint: Checkpoint,
    start: Start,
}

/// How long a call lasts, and how much of that is for its actor to go elsewhere.
#[derive(Clone, Copy)]
struct Times {
    lifespan: Duration,
    grace: Duration,
}

fn tell(engine: &Engine, actor: ActorId, generation: Generation, outcome: CallOutcome) {
    if let CallOutcome::Failed(error) = &outcome {
        // The API shows it; while it lasts, each request for an actor of the pool would write such lines.
        tracing::debug!(%actor, generation, "{}", sentence(error));
    }
    engine.inbox.push(Input::CalledOut { actor, generation, outcome });
}

fn sentence(error: &PoolError) -> String {
    match error {
        PoolError::ServerlessHttpError { status_code, body } => {
            format!("the pool's URL answered with status {status_code}: {body}")
        }
        PoolError::ServerlessConnectionError { message } => format!("the pool's URL cannot be called: {message}"),
        PoolError::ServerlessInvalidSsePayload { message, .. } => {
            format!("the pool's URL sent events that cannot be read: {message}")
        }
        PoolError::ServerlessStreamEndedEarly | PoolError::Downgrade | PoolError::InternalError => {
            "the pool's URL failed".to_string()
        }
    }
}

fn unreachable(message: String) -> PoolError {
    PoolError::ServerlessConnectionError { message }
}

/// A call's place among those that are open; given back when it is dropped.
struct Seat {
    engine: Arc<Engine>,
    actor: ActorId,
    generation: Generation,
    _room: OwnedSemaphorePermit,
}

impl Seat {
    fn take(engine: &Arc<Engine>, actor: ActorId, generation: Generation) -> Option<(Seat, oneshot::Receiver<bool>)> {
        let room = engine.serverless.room.clone().try_acquire_owned().ok()?;
        let (end, ended) = oneshot::channel();
        lock(&engine.serverless.calls).insert((actor, generation), end);
        Some((Seat { engine: engine.clone(), actor, generation, _room: room }, ended))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        lock(&self.engine.serverless.calls).remove(&(self.actor, self.generation));
    }
}

type Opening = Pin<Box<dyn Future<Output = Result<Incoming, PoolError>> + Send>>;

/// The other side.
enum Peer {
    Opening(Opening),
    Open { body: Incoming, events: Box<Events> },
}

enum Heard {
    Nothing,
    /// It is about to end.
    Stopping,
    /// It has ended.
    End,
}

impl Peer {
    /// Can be dropped while it waits, and nothing is lost.
    async fn next(&mut self) -> Result<Heard, PoolError> {
        match self {
            Peer::Opening(opening) => {
                let body = opening.as_mut().await?;
                *self = Peer::Open { body, events: Box::default() };
                Ok(Heard::Nothing)
            }
            Peer::Open { body, events } => match body.frame().await {
                None => Ok(Heard::End),
                Some(Err(error)) => Err(unreachable(format!("the answer broke off: {error}"))),
                Some(Ok(frame)) => {
                    let mut heard = Heard::Nothing;
                    let each = |name: &str| {
                        if name == "stopping" {
                            heard = Heard::Stopping;
                        }
                    };
                    events.hear(frame.data_ref().map_or(&[], |data| data), each).map_err(malformed)?;
                    Ok(heard)
                }
            },
        }
    }
}

/// Until the call is to be closed: then all of it is dropped.
async fn follow(engine: &Engine, seat: &Seat, times: Times, mut peer: Peer, mut ended: oneshot::Receiver<bool>) {
    let began = Instant::now();
    let mut move_at = began + times.lifespan.saturating_sub(times.grace);
    let mut close_at = began + times.lifespan;
    let mut over = false;
    let tell = |outcome| tell(engine, seat.actor, seat.generation, outcome);
    loop {
        tokio::select! {
            taken = &mut ended, if !over => {
                // Nobody answered yet, and nobody needs to. The head may only be late: a runner may have had the actor before it.
                if matches!(peer, Peer::Opening(_)) && taken != Ok(true) {
                    return;
                }
                over = true;
                close_at = close_at.min(Instant::now() + times.grace);
            }
            () = sleep_until(close_at) => {
                if !over {
                    tell(CallOutcome::Ended);
                }
                return;
            }
            () = sleep_until(move_at), if !over => {
                tell(CallOutcome::Stopping);
                move_at = Instant::now() + Duration::from_millis(MOVE_AGAIN_MS);
            }
            heard = peer.next() => {
                let outcome = match heard {
                    Ok(Heard::Nothing) => continue,
                    Ok(Heard::Stopping) => CallOutcome::Stopping,
                    Ok(Heard::End) => CallOutcome::Ended,
                    Err(error) => CallOutcome::Failed(error),
                };
                if !over {
                    tell(outcome);
                }
                return;
            }
        }
    }
}

/// Makes the call. Ends when the answer's head is there and is one that events follow.
async fn open(engine: Arc<Engine>, order: Order) -> Result<Incoming, PoolError> {
    let version = version(&engine, &order).await?;
    let Order { namespace, namespace_name, pool, config, checkpoint, start, .. } = order;
    let lasts_ms = (u64::from(config.request_lifespan_s) + u64::from(config.drain_grace_period_s)) * 1_000;
    let token = engine.serverless.tokens.of(&engine, (namespace, &namespace_name), &pool, lasts_ms).await;
    let token = token.map_err(|error| unreachable(format!("there is no token for it: {}", error.message)))?;
    let caller = start::Caller { endpoint: &engine.public_url, namespace: &namespace_name, pool: &pool, token: token.as_ref() };
    let request = start::request(&config, &caller, version, checkpoint, start, engine.clock.now_ms())?;
    let response = engine.outbound.send(request).await.map_err(|error| unreachable(error.to_string()))?;
    if !response.status().is_success() {
        let status_code = response.status().as_u16();
        return Err(PoolError::ServerlessHttpError { status_code, body: beginning(response).await });
    }
    let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !is_event_stream(content_type) {
        return Err(unreachable(format!("the answer's content type is {content_type:?}, and text/event-stream is expected")));
    }
    Ok(response.into_body())
}

/// The protocol that the app speaks. A pool that was configured a moment ago has not been asked yet: then it is now.
async fn version(engine: &Arc<Engine>, order: &Order) -> Result<EnvoyVersion, PoolError> {
    let announced = match order.announced {
        Some(version) => Some(version),
        None => {
            let headers = client::headers(&order.config.headers);
            let metadata = metadata::fetch(&engine.outbound, &order.config.url, headers).await;
            let metadata = metadata.map_err(|error| unreachable(format!("it was asked for its metadata first: {error}")))?;
            metadata::announce(engine, order.namespace, &order.pool, &metadata, metadata.names());
            metadata.protocol_version()
        }
    };
    let (oldest, newest) = (EnvoyVersion::OLDEST.number(), EnvoyVersion::NEWEST.number());
    let Some(number) = announced else {
        return Err(unreachable(format!("its metadata names no envoyProtocolVersion; {oldest} to {newest} are spoken here")));
    };
    let unspoken = || unreachable(format!("it speaks envoy protocol {number}; {oldest} to {newest} are spoken here"));
    EnvoyVersion::new(number).ok_or_else(unspoken)
}

fn is_event_stream(content_type: &str) -> bool {
    content_type.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/event-stream"))
}

/// The first characters of an answer, or what of it comes in time.
async fn beginning(response: Response<Incoming>) -> String {
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    let read = async {
        while let Some(Ok(frame)) = body.frame().await {
            bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
            if bytes.len() >= BODY_BYTES_READ {
                return;
            }
        }
    };
    // Too late is not an error here: what has come is enough.
    let _ = timeout(Duration::from_millis(BODY_MS_MAX), read).await;
    shown(&bytes)
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(BODY_CHARS_SHOWN).collect()
}

fn malformed(malformed: Malformed) -> PoolError {
    let raw_payload = Some(shown(&malformed.line));
    PoolError::ServerlessInvalidSsePayload { message: malformed.message, raw_payload }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types() {
        let rows = [
            ("text/event-stream", true),
            ("Text/Event-Stream; charset=utf-8", true),
            ("text/event-stream-x", false),
            ("text/html", false),
            ("", false),
        ];
        for (text, expected) in rows {
            assert_eq!(is_event_stream(text), expected, "{text}");
        }
    }
}
