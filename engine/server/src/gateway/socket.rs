//! Clients' requests for WebSockets: accepted at once, and told behind that what is wrong.
//!
//! A client learns nothing from a handshake that fails, so whatever can be said is said with a close. Only what is no handshake is
//! answered as a request.

use std::pin::pin;
use std::sync::Arc;

use engine_core::Input;
use engine_core::input::RequestKind;
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode};
use protocol::trace::{self, Followed, Span};

use crate::body::Body;
use crate::edge::Slot;
use crate::engine::Engine;
use crate::error::ApiError;
use crate::gateway::entry::{self, Admitted};
use crate::gateway::route::{Route, ToActor, websocket_not_supported};
use crate::gateway::{cors, forward};
use crate::sockets::session::{Head, Session};
use crate::websocket::{self, Close, WebSocket};

/// The answer to a client that asks for a WebSocket. What follows goes on by itself.
pub fn answer(
    engine: &Arc<Engine>,
    routed: Result<Route, ApiError>,
    mut parts: Parts,
    ray: &HeaderValue,
    slot: Slot,
) -> Response<Body> {
    let origin = cors::origin(&parts.headers);
    let accepted = engine.sockets.room().and_then(|room| Ok((websocket::accept(&mut parts)?, room)));
    let mut response = match accepted {
        Err(error) => super::refusal(&error),
        Ok(((response, opening), room)) => {
            let (engine, ray) = (engine.clone(), ray.clone());
            tokio::spawn(trace::carry(async move {
                match opening.open(engine.edge.limits.message_bytes_max).await {
                    Ok(socket) => go_on(&engine, socket, routed, parts, ray).await,
                    Err(error) => tracing::debug!(%error, "a client was gone before its socket opened"),
                }
                drop((room, slot));
            }));
            response
        }
    };
    cors::allow(response.headers_mut(), origin);
    response
}

async fn go_on(engine: &Arc<Engine>, socket: WebSocket, routed: Result<Route, ApiError>, mut parts: Parts, ray: HeaderValue) {
    let error = match routed {
        Ok(Route::Actor(mut to)) => match entry::admit(engine, &mut to, &mut parts.headers, true) {
            Ok(admitted) => {
                let mut span = super::span(engine, "gateway.socket", &to, &parts, &ray);
                span.set("http.response.status_code", || u64::from(StatusCode::SWITCHING_PROTOCOLS.as_u16()));
                if !span.is_none() {
                    trace::replace(Followed::inside(&span));
                }
                return open(engine, socket, to, admitted, span, parts, ray).await;
            }
            Err(error) => error,
        },
        Ok(Route::Api | Route::Preflight | Route::Connect(_)) => websocket_not_supported(),
        Err(error) => error,
    };
    tracing::debug!(group = error.group, code = error.code, message = error.message, "a client's socket is refused");
    websocket::close(socket, Close::error(error.group, error.code, &ray)).await;
}

/// The span lasts until the actor takes the socket.
async fn open(
    engine: &Arc<Engine>,
    socket: WebSocket,
    to: ToActor,
    admitted: Admitted,
    span: Span,
    parts: Parts,
    ray: HeaderValue,
) {
    let Admitted { within, pass } = admitted;
    let authority = parts.uri.authority().map(|authority| authority.as_str());
    let head = Head { path: to.path, headers: forward::request_headers(parts.headers, authority, &ray) };
    let session = Session::new(engine, head, ray, span);
    let (request, target) = (session.request(), forward::target(to.wanted, within));
    engine.inbox.push(Input::Request { request, target, kind: RequestKind::Socket, skip_ready_wait: to.skip_ready_wait });
    let mut run = pin!(session.run(socket));
    if let Some(ending) = pass.ending(engine) {
        tokio::select! {
            () = &mut run => return,
            over = ending => engine.sockets.end(request, over),
        }
    }
    run.await;
}
