//! The way to actors: finds out which one a request is for, carries it there, and the answer back.
//!
//! In reading order:
//! - [`route`]: where a request goes.
//! - [`query`]: addresses that name an actor by its key.
//! - [`entry`]: who may.
//! - [`forward`]: one request's way to its actor and back.
//! - [`upload`]: a body that does not travel with its head.
//! - [`socket`]: a WebSocket's way there.
//! - [`cors`]: what browsers are told.

pub mod cors;
pub mod entry;
pub mod forward;
pub mod query;
pub mod route;
pub mod socket;
pub mod upload;

use std::sync::Arc;

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Response};
use protocol::trace::Span;

use crate::body::Body;
use crate::engine::Engine;
use crate::error::{ApiError, Face};
use crate::gateway::route::{ToActor, Wanted};
use crate::incoming::RequestBody;
use crate::metrics::known;

const X_RIVET_ERROR: HeaderName = HeaderName::from_static("x-rivet-error");

/// The span of a request to an actor, if it is sampled. It says whom the request is for, and nothing that the client has made up: paths
/// may hold tokens, and keys are the client's own.
pub fn span(engine: &Engine, name: &'static str, to: &ToActor, parts: &Parts, ray: &HeaderValue) -> Span {
    let mut span = engine.telemetry.request(&parts.headers, name);
    if span.is_none() {
        return span;
    }
    span.set("http.request.method", || known(&parts.method));
    span.set("rivet.ray_id", || ray.to_str().unwrap_or_default());
    match &to.wanted {
        Wanted::Id(actor) => span.set("rivet.actor.id", || actor.to_string()),
        Wanted::Key { namespace, name, .. } => {
            span.set("rivet.namespace", || namespace.as_str());
            span.set("rivet.actor.name", || name.as_str());
        }
    }
    span
}

/// Answers a request to an actor, with an error if need be.
pub async fn answer(engine: &Arc<Engine>, to: ToActor, parts: Parts, body: RequestBody, ray: &HeaderValue) -> Response<Body> {
    let origin = cors::origin(&parts.headers);
    let forwarded = forward::forward(engine, to, parts, body, ray).await;
    let mut response = forwarded.unwrap_or_else(|error| refusal(&error));
    cors::allow(response.headers_mut(), origin);
    response
}

/// An error of the engine's own, as opposed to one that an actor answers with.
pub fn refusal(error: &ApiError) -> Response<Body> {
    let mut response = Response::new(Body::Whole(error.body().into()));
    *response.status_mut() = error.status(Face::Gateway);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let name = format!("{}.{}", error.group, error.code);
    headers.insert(X_RIVET_ERROR, HeaderValue::from_str(&name).expect("groups and codes are plain words"));
    if let Some(retry_after) = error.retry_after() {
        headers.insert(RETRY_AFTER, retry_after);
    }
    response
}

/// The address of a runner's socket, called without asking for one.
pub fn about_socket(path: &str) -> Response<Body> {
    let mut response = Response::new(Body::Whole(format!("{path} is where runners connect with a WebSocket\n").into()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

#[cfg(test)]
mod hostile;
