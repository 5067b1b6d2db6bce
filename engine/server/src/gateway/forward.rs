//! Carries one request to an actor and its answer back.
//!
//! There is one deadline, set when the request arrives: by then the response must have begun. The core spends from it while
//! the actor is woken, the body while it is read, the actor while it works.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engine_core::Input;
use engine_core::input::{Create, RequestKind, Target};
use http::header::{self, HeaderName};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;
use protocol::id::NamespaceId;
use protocol::limits::REQUEST_BODY_INLINE_BYTES_MAX;
use protocol::trace::{self, TRACEPARENT};
use serde_json::json;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use crate::actor_calls::X_RIVET_CALLER;
use crate::body::{Body, Client, Streamed};
use crate::engine::Engine;
use crate::error::{ApiError, WAITING};
use crate::gateway::entry::{self, Admitted};
use crate::gateway::route::{ToActor, Wanted};
use crate::gateway::upload::Sending;
use crate::incoming::RequestBody;
use crate::random;
use crate::ray::X_RIVET_RAY_ID;
use crate::requests::{Head, Reply, Upload};
use crate::window::Credit;

/// How long after its arrival the response to a request must have begun.
pub const RESPONSE_START_MS_MAX: u64 = 300_000;

/// What concerns one connection and not what lies behind it.
const HOP_BY_HOP: [HeaderName; 5] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Whom a request is for, and until when.
struct Wish {
    target: Target,
    skip_ready_wait: bool,
    deadline: Instant,
    is_head: bool,
}

pub async fn forward(
    engine: &Arc<Engine>,
    mut to: ToActor,
    mut parts: Parts,
    body: RequestBody,
    ray: &HeaderValue,
) -> Result<Response<Body>, ApiError> {
    let Admitted { within, pass } = entry::admit(engine, &mut to, &mut parts.headers, false)?;
    let mut response = pass.bound(engine, forward_within(engine, to, within, parts, body, ray)).await?;
    // What is left of it ends with its token too.
    response.extensions_mut().insert(pass);
    Ok(response)
}

async fn forward_within(
    engine: &Arc<Engine>,
    to: ToActor,
    within: Option<NamespaceId>,
    parts: Parts,
    body: RequestBody,
    ray: &HeaderValue,
) -> Result<Response<Body>, ApiError> {
    engine.room.for_request(&parts.method)?;
    let deadline = Instant::now() + Duration::from_millis(RESPONSE_START_MS_MAX);
    let (target, skip_ready_wait) = (target(to.wanted, within), to.skip_ready_wait);
    let wish = Wish { target, skip_ready_wait, deadline, is_head: parts.method == Method::HEAD };
    let length = if body.is_end_stream() { Some(0) } else { body.size_hint().exact() };
    let bytes_max = engine.edge.limits.body_bytes_max;
    if length.is_some_and(|length| length > bytes_max) {
        return Err(body_too_long(bytes_max));
    }
    let mut headers = request_headers(parts.headers, parts.uri.authority().map(|authority| authority.as_str()), ray);
    if engine.trace_propagation
        && let Some(parent) = trace::parent()
    {
        headers.insert(TRACEPARENT, parent.context().header());
    }
    let mut head = Head { method: parts.method, path: to.path, headers, body: Bytes::new(), room: None };
    match length {
        Some(0) => start(engine, wish, head, None).await,
        Some(length) if length <= REQUEST_BODY_INLINE_BYTES_MAX as u64 => {
            head.room = Some(engine.requests.body_room(length as usize)?);
            let read = tokio::time::timeout_at(deadline, body.collect()).await.map_err(|_| too_late())?;
            head.body = read.map_err(|error| body_refused(&format!("it could not be read: {error}")))?.to_bytes();
            start(engine, wish, head, None).await
        }
        _ => start(engine, wish, head, Some(body)).await,
    }
}

async fn start(engine: &Arc<Engine>, wish: Wish, head: Head, streamed: Option<RequestBody>) -> Result<Response<Body>, ApiError> {
    let (upload, sending) = match streamed {
        None => (None, None),
        Some(body) => {
            let (dispatched, is_dispatched) = watch::channel(None);
            let credit = Arc::new(Credit::default());
            (Some(Upload { dispatched, credit: credit.clone() }), Some((body, is_dispatched, credit)))
        }
    };
    let (request, reply) = engine.requests.open(head, upload)?;
    let client = Client { engine: engine.clone(), request, link: None };
    if let Some((body, dispatched, credit)) = sending {
        // Ends by itself with the request's entry, which holds the other end of `dispatched`.
        tokio::spawn(trace::carry(Sending { engine: engine.clone(), request, body, dispatched, credit }.run()));
    }
    let Wish { target, skip_ready_wait, deadline, is_head } = wish;
    engine.inbox.push(Input::Request { request, target, kind: RequestKind::Http, skip_ready_wait });
    answer(client, reply, deadline, is_head).await
}

async fn answer(
    mut client: Client,
    reply: oneshot::Receiver<Reply>,
    deadline: Instant,
    is_head: bool,
) -> Result<Response<Body>, ApiError> {
    match tokio::time::timeout_at(deadline, reply).await {
        Ok(Ok(Reply::Whole(status, headers, body))) => respond(status, headers, Body::Whole(body), is_head),
        Ok(Ok(Reply::Streamed(status, headers, drain))) => {
            client.link = client.engine.requests.place_of(client.request).map(|place| place.link);
            respond(status, headers, Body::Streamed(Streamed { drain, client }), is_head)
        }
        Ok(Ok(Reply::Refused(error))) => Err(error),
        Ok(Err(_)) => {
            let message = "the runner's response could not be understood; whether the request took effect is not known";
            Err(ApiError::new("core", "internal_error", message))
        }
        Err(_) => Err(too_late()),
    }
}

/// `within`: only if it is in this namespace. Of one that is named by its key that is known already.
pub fn target(wanted: Wanted, within: Option<NamespaceId>) -> Target {
    match wanted {
        Wanted::Id(actor) => match within {
            Some(namespace) => Target::IdWithin { actor, namespace },
            None => Target::Id(actor),
        },
        Wanted::Key { namespace, name, key, create } => {
            let create = create.map(|wanted| {
                Box::new(Create {
                    random: random::bytes(),
                    pool: wanted.pool,
                    crash_policy: wanted.crash_policy,
                    input: wanted.input,
                })
            });
            Target::Key { namespace, name, key, create }
        }
    }
}

/// All that the client sent but what only the engine says, and the ray id. HTTP/2 has the host in the address only.
pub fn request_headers(mut headers: HeaderMap, authority: Option<&str>, ray: &HeaderValue) -> HeaderMap {
    headers.remove(X_RIVET_CALLER);
    headers.insert(X_RIVET_RAY_ID, ray.clone());
    if let Some(Ok(host)) = authority.map(HeaderValue::from_str) {
        headers.entry(header::HOST).or_insert(host);
    }
    headers
}

/// The actor's head, without what would contradict how the body is framed here.
fn respond(status: StatusCode, mut headers: HeaderMap, body: Body, is_head: bool) -> Result<Response<Body>, ApiError> {
    if status.is_informational() {
        let message = format!("the actor answered with status {status}, which cannot end a request; it must be 200 to 599");
        return Err(ApiError::new("actor", "invalid_response", message));
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
    let is_bodiless = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let length_is_known = matches!(body, Body::Whole(_)) && !is_head;
    if is_bodiless || length_is_known || !has_one_length(&headers) {
        headers.remove(header::CONTENT_LENGTH);
    }
    let body = if is_bodiless { Body::Whole(Bytes::new()) } else { body };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}

fn has_one_length(headers: &HeaderMap) -> bool {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let first = lengths.next().and_then(|length| length.to_str().ok());
    // Digits only: Rust's own parser would take a sign.
    let is_number = first.is_some_and(|length| length.bytes().all(|byte| byte.is_ascii_digit()) && length.parse::<u64>().is_ok());
    is_number && lengths.next().is_none()
}

pub fn body_too_long(bytes_max: u64) -> ApiError {
    body_refused(&format!("it is longer than {bytes_max} bytes, which guard.http_max_request_body_size sets"))
}

pub fn body_refused(reason: &str) -> ApiError {
    ApiError::new("guard", "invalid_request_body", format!("the request's body was not taken: {reason}"))
        .with(json!({ "reason": reason }))
}

fn too_late() -> ApiError {
    let message = format!("the response did not begin within {RESPONSE_START_MS_MAX} ms");
    ApiError::new("guard", "gateway_response_start_timeout", message)
        .with(json!({ "phase": WAITING, "timeout_ms": RESPONSE_START_MS_MAX }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(status: u16, headers: &[(&'static str, &'static str)], body: &'static [u8], is_head: bool) -> String {
        let headers = headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).fold(
            HeaderMap::new(),
            |mut headers, (name, value)| {
                headers.append(name, value);
                headers
            },
        );
        let status = StatusCode::from_u16(status).expect("a status");
        match respond(status, headers, Body::Whole(Bytes::from_static(body)), is_head) {
            Ok(response) => {
                let mut names: Vec<_> = response.headers().keys().map(|name| name.as_str()).collect();
                names.sort_unstable();
                let length = response.body().size_hint().exact();
                format!("{} {} {length:?}", response.status().as_u16(), names.join(","))
            }
            Err(error) => format!("{}.{}", error.group, error.code),
        }
    }

    #[test]
    fn nobody_outside_says_that_an_actor_calls() {
        let mut sent = HeaderMap::new();
        for (name, value) in [("x-rivet-caller", "a"), ("X-Rivet-Caller", "b"), ("x-rivet-callers", "c"), ("host", "h")] {
            sent.append(HeaderName::from_bytes(name.as_bytes()).expect("a name"), HeaderValue::from_static(value));
        }
        let headers = request_headers(sent, Some("other"), &HeaderValue::from_static("r"));
        let mut left: Vec<_> = headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().expect("text"))).collect();
        left.sort();
        assert_eq!(left, ["host: h", "x-rivet-callers: c", "x-rivet-ray-id: r"]);
    }

    #[test]
    fn a_streamed_response_keeps_the_length_that_its_actor_gives() {
        let rows: [(u16, &[&'static str], bool, Option<&str>); 6] = [
            (200, &["5"], false, Some("5")),
            (200, &[], false, None),
            (200, &["5", "6"], false, None),
            (200, &["-5"], false, None),
            (200, &["5"], true, Some("5")),
            (304, &["5"], false, None),
        ];
        for (status, lengths, is_head, expected) in rows {
            let mut headers = HeaderMap::new();
            for length in lengths {
                headers.append(header::CONTENT_LENGTH, HeaderValue::from_static(length));
            }
            let status = StatusCode::from_u16(status).expect("a status");
            // Any body whose length is not known.
            let body = Body::Api(axum::body::Body::from_stream(futures_util::stream::empty::<Result<Bytes, std::io::Error>>()));
            let response = respond(status, headers, body, is_head).expect("it can be sent");
            let kept = response.headers().get(header::CONTENT_LENGTH).map(|length| length.to_str().expect("a number"));
            assert_eq!(kept, expected, "{status} {lengths:?} {is_head}");
        }
    }

    #[test]
    fn an_actor_cannot_break_the_framing() {
        type Row<'a> = (u16, &'a [(&'static str, &'static str)], &'static [u8], bool, &'a str);
        let rows: [Row; 9] = [
            (200, &[("content-type", "x"), ("x-rivet-error", "a.b")], b"abc", false, "200 content-type,x-rivet-error Some(3)"),
            (200, &[("content-length", "99")], b"abc", false, "200  Some(3)"),
            (200, &[("content-length", "99")], b"", true, "200 content-length Some(0)"),
            (200, &[("content-length", "99"), ("content-length", "98")], b"", true, "200  Some(0)"),
            (200, &[("content-length", "+9")], b"", true, "200  Some(0)"),
            (200, &[("connection", "close"), ("transfer-encoding", "gzip"), ("keep-alive", "x")], b"a", false, "200  Some(1)"),
            (304, &[("content-length", "5"), ("etag", "x")], b"", false, "304 etag Some(0)"),
            (204, &[], b"abc", false, "204  Some(0)"),
            (101, &[("upgrade", "websocket")], b"", false, "actor.invalid_response"),
        ];
        for (status, headers, body, is_head, expected) in rows {
            assert_eq!(framed(status, headers, body, is_head), expected);
        }
    }
}
