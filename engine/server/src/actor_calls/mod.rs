//! Calls from actor to actor: what a runner asks for in an actor's name becomes a request to another actor, and its answer goes back.
//!
//! The request is the one that a RivetKit client would send, and goes the same way, past the same core: so whoever answers clients
//! answers actors. The core finds the actor in the caller's namespace, wakes it, and refuses a call that would wait for its own
//! caller. Says who calls, which only this does: the header is taken from every request that comes from outside.
//!
//! In reading order: this, a call from its beginning to its end; [`words`], what is sent and what comes back.

#[cfg(test)]
mod tests;
mod words;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use engine_core::Input;
use engine_core::input::{Callee, Create};
use engine_core::record::CrashPolicy;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use protocol::id::{ActorId, Generation, RunnerId};
use protocol::limits::MIB;
use protocol::message::{Ask, CallError, CallTarget, ToRunner};
use protocol::trace::{self, Carried, TRACEPARENT};
use protocol::{key, limits};
use tokio::sync::oneshot;

use crate::body::{Body, Client, Streamed};
use crate::engine::{Engine, known_datacenter, parse_actor_id};
use crate::error::ApiError;
use crate::gateway::forward::RESPONSE_START_MS_MAX;
use crate::lock::lock;
use crate::random;
use crate::ray::{self, X_RIVET_RAY_ID};
use crate::requests::{Head, REQUESTS_IN_FLIGHT_MAX, Reply};

/// Who calls: an actor's id.
pub const X_RIVET_CALLER: HeaderName = HeaderName::from_static("x-rivet-caller");
const X_RIVET_ENCODING: HeaderName = HeaderName::from_static("x-rivet-encoding");
/// Where actors that are called into being are created, as RivetKit clients do it.
const POOL: &str = "default";
/// Calls of one runner's actors that may be under way at one time.
pub const CALLS_PER_RUNNER_MAX: usize = 4_096;
/// However long the caller would wait.
pub const CALL_MS_MAX: u64 = RESPONSE_START_MS_MAX;
/// Arguments, or a message for a queue.
pub const CALL_BYTES_MAX: usize = 4 * MIB;
/// What is called answers with at most so much: it has to fit into the caller's memory.
pub const ANSWER_BYTES_MAX: usize = 4 * MIB;
const _: () = assert!(CALLS_PER_RUNNER_MAX < REQUESTS_IN_FLIGHT_MAX, "clients must get through beside a runner's actors");
const _: () = assert!(CALL_BYTES_MAX as u64 <= limits::REQUEST_BODY_BYTES_MAX);

/// How many calls of each runner are under way.
#[derive(Default)]
pub struct ActorCalls {
    under_way: Mutex<HashMap<RunnerId, usize>>,
}

/// What a runner asks for.
pub struct Call {
    pub actor: ActorId,
    pub generation: Generation,
    pub call: u64,
    pub target: CallTarget,
    pub ask: Ask,
    pub timeout_ms: u64,
    /// Of the message that the caller works on.
    pub trace: Carried,
}

/// One of those that are under way.
struct Room {
    engine: Arc<Engine>,
    runner: RunnerId,
}

/// Answers it in any case, at the latest when the time is up. Inside a runtime.
pub fn begin(engine: &Arc<Engine>, runner: RunnerId, asked: Call) {
    let (actor, generation, call) = (asked.actor, asked.generation, asked.call);
    let answer = move |engine: &Engine, result| {
        engine.runners.send(runner, ToRunner::CallAnswer { actor, generation, call, result });
    };
    let timeout_ms = asked.timeout_ms.clamp(1, CALL_MS_MAX);
    let mut followed = asked.trace.clone().followed(engine.telemetry.spans().as_ref());
    // It may come from elsewhere.
    followed.ray = followed.ray.filter(ray::is_acceptable);
    // At once, so that the core hears it in the order in which the runner has said it.
    let begun = trace::within(followed.clone(), || Ok((Room::take(engine, runner)?, open(engine, runner, asked)?)));
    let (room, opened) = match begun {
        Ok(begun) => begun,
        Err(error) => return answer(engine, Err(ApiError::into(error))),
    };
    tokio::spawn(trace::follow(followed, async move {
        let answered = tokio::time::timeout(Duration::from_millis(timeout_ms), opened.answer()).await;
        let result = answered.unwrap_or_else(|_| Err(timed_out(timeout_ms).into()));
        answer(&room.engine, result);
    }));
}

/// A request of an actor. If it is dropped before its end, whoever handles it is told, and the core.
struct Opened {
    client: Client,
    reply: oneshot::Receiver<Reply>,
    ask: Ask,
}

fn open(engine: &Arc<Engine>, runner: RunnerId, asked: Call) -> Result<Opened, ApiError> {
    let Call { actor, generation, target, ask, trace, .. } = asked;
    let callee = callee(target)?;
    let (path, body) = words::request(&ask)?;
    let room = Some(engine.requests.body_room(body.len())?);
    let mut headers = headers(actor, body.len());
    if let Some(context) = trace.context {
        // If this process goes on with it, by its own span.
        headers.insert(TRACEPARENT, context.header());
    }
    let head = Head { method: Method::POST, path, headers, body, room };
    let (request, reply) = engine.requests.open(head, None)?;
    engine.inbox.push(Input::ActorCalls { request, runner, actor, generation, callee });
    Ok(Opened { client: Client { engine: engine.clone(), request, link: None }, reply, ask })
}

impl Opened {
    async fn answer(self) -> Result<String, CallError> {
        let Opened { mut client, reply, ask } = self;
        let (status, body) = match reply.await {
            Ok(Reply::Whole(status, _, body)) if body.len() <= ANSWER_BYTES_MAX => (status, body),
            Ok(Reply::Whole(..)) => return Err(too_long().into()),
            Ok(Reply::Streamed(status, _, drain)) => {
                client.link = client.engine.requests.place_of(client.request).map(|place| place.link);
                read(status, Body::Streamed(Streamed { drain, client })).await?
            }
            Ok(Reply::Refused(error)) => return Err(error.into()),
            Err(_) => {
                let message = "the call was given up: the actor has stopped or called again, or the answer could not be understood";
                return Err(ApiError::new("guard", "tunnel_request_aborted", message).into());
            }
        };
        words::answer(&ask, status, &body)
    }
}

async fn read(status: StatusCode, body: Body) -> Result<(StatusCode, Bytes), ApiError> {
    match Limited::new(body, ANSWER_BYTES_MAX).collect().await {
        Ok(body) => Ok((status, body.to_bytes())),
        Err(error) if error.is::<LengthLimitError>() => Err(too_long()),
        Err(error) => Err(words::invalid_answer(&format!("it was cut off: {error}"))),
    }
}

fn callee(target: CallTarget) -> Result<Callee, ApiError> {
    Ok(match target {
        CallTarget::Id(id) => Callee::Id(known_datacenter(parse_actor_id(&id)?)?),
        CallTarget::Get { name, key } => Callee::Key { name, key: key::join(&key), create: None },
        CallTarget::GetOrCreate { name, key, input } => {
            let create = Create { random: random::bytes(), pool: POOL.to_string(), crash_policy: CrashPolicy::default(), input };
            Callee::Key { name, key: key::join(&key), create: Some(Box::new(create)) }
        }
    })
}

fn headers(caller: ActorId, body_bytes: usize) -> HeaderMap {
    let caller = HeaderValue::from_str(&caller.to_string()).expect("an id has digits and letters only");
    HeaderMap::from_iter([
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (CONTENT_LENGTH, HeaderValue::from(body_bytes)),
        (X_RIVET_ENCODING, HeaderValue::from_static("json")),
        (X_RIVET_CALLER, caller),
        (X_RIVET_RAY_ID, trace::current(|followed| followed.ray.clone()).unwrap_or_else(|| ray::of(&HeaderMap::new()))),
    ])
}

fn timed_out(timeout_ms: u64) -> ApiError {
    let message = format!("the call was not answered within {timeout_ms} ms; whether it took effect is not known");
    ApiError::new("actor", "call_timed_out", message)
}

fn too_long() -> ApiError {
    words::invalid_answer(&format!("it is longer than {ANSWER_BYTES_MAX} bytes"))
}

impl Room {
    fn take(engine: &Arc<Engine>, runner: RunnerId) -> Result<Room, ApiError> {
        let mut under_way = lock(&engine.actor_calls.under_way);
        let count = under_way.entry(runner).or_default();
        if *count >= CALLS_PER_RUNNER_MAX {
            let message = format!("{CALLS_PER_RUNNER_MAX} calls of actors on this runner are under way; try again in a moment");
            return Err(ApiError::busy(message));
        }
        *count += 1;
        Ok(Room { engine: engine.clone(), runner })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Entry::Occupied(mut count) = lock(&self.engine.actor_calls.under_way).entry(self.runner) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

impl From<ApiError> for CallError {
    fn from(error: ApiError) -> CallError {
        let ApiError { group, code, message, metadata } = error;
        CallError { group: group.to_string(), code: code.to_string(), message, metadata: metadata.map(|value| value.to_string()) }
    }
}
