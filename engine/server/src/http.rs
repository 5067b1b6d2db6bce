//! The port: takes connections, reads requests, sends each to the gateway or the API.
//!
//! HTTP/1.1 and HTTP/2 with prior knowledge on one port; on the one that speaks TLS the client chooses with ALPN. Every answer
//! carries the ray id of its request.

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::Router;
use engine_core::refusal::Refusal;
use futures_util::future::{self, Either};
use http::header::CONNECTION;
use http::{HeaderValue, Response, StatusCode, Version};
use hyper::Request;
use hyper::body::{Body as _, Incoming};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulConnection, GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use protocol::limits::KIB;
use protocol::trace::{self, Followed};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;

use crate::auth::caller::Origin;
use crate::auth::pass::Pass;
use crate::body::Body;
use crate::edge::counted::Counted;
use crate::edge::speech::{Speech, Spoken};
use crate::edge::visit::Visit;
use crate::edge::{Slot, forwarded, sockets};
use crate::engine::Engine;
use crate::error::ApiError;
use crate::gateway::route::{Route, is_upgrade, route};
use crate::gateway::{self, cors};
use crate::incoming::RequestBody;
use crate::lanes::{Carried, Lanes};
use crate::metrics::known;
use crate::prompt::Prompt;
use crate::ray::{self, X_RIVET_RAY_ID};
use crate::runners::connect;
use crate::tls;

/// Connections that may be open at one time; more wait to be accepted. One that became a WebSocket is counted elsewhere.
pub const CONNECTIONS_MAX: usize = 16_384;
/// How long to wait when the system has no more room for a connection.
const ACCEPT_PAUSE_MS: u64 = 100;
/// How often it is said what the end waits for, and when for the first time.
const WAITING_MS: u64 = 5_000;
const WAITING_FIRST_MS: u64 = 200;
/// The head of a request: an address of up to 65,534 bytes, and as much again for headers. Also what is read of a body at one time.
const HEAD_BYTES_MAX: usize = 128 * KIB;
/// Requests that one HTTP/2 connection may have open. What a client opens and resets at once is bounded by the library.
const STREAMS_MAX: u32 = 200;
/// An HTTP/2 connection is asked whether it is still there, and may take so long to say so.
const PING_MS: u64 = 30_000;
const PONG_MS_MAX: u64 = 20_000;
/// What probes ask for: answered however often, to whoever asks.
pub const PROBES: &[&str] = &["/health", "/ready"];

/// Where clients come in.
pub struct Doors {
    pub plain: TcpListener,
    pub tls: Option<(TcpListener, TlsAcceptor)>,
}

#[derive(Clone)]
pub struct Server {
    engine: Arc<Engine>,
    api: TowerToHyperService<Router>,
}

/// A connection that was taken.
struct Taken {
    stream: TcpStream,
    from: SocketAddr,
    tls: Option<TlsAcceptor>,
    permit: OwnedSemaphorePermit,
}

/// Serves until `stop`; then takes no new connection and lets those under way finish, but no longer than `finish_within`.
/// `waiting` hears again and again how many connections and sockets it waits for. Returns how many were cut off.
pub async fn serve(
    doors: Doors,
    engine: Arc<Engine>,
    api: Router,
    stop: impl Future<Output = ()>,
    finish_within: Duration,
    waiting: impl Fn(usize, usize),
) -> usize {
    let sockets_of = engine.clone();
    let server = Server::new(engine, api);
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let (graceful, lanes) = (GracefulShutdown::new(), Lanes::start());
    let mut stop = pin!(stop);
    for listener in [Some(&doors.plain), doors.tls.as_ref().map(|(listener, _)| listener)].into_iter().flatten() {
        sockets::watch_peers(listener);
    }
    loop {
        let taken = pin!(accept(&doors, &connections));
        let taken = match future::select(taken, stop.as_mut()).await {
            Either::Left((taken, _)) => taken,
            Either::Right(_) => break,
        };
        let carried = Carried::default();
        lanes.spawn(carried.clone(), server.clone().visited(taken, carried, graceful.watcher()));
    }
    // From here on a new connection is refused by the system, and not left waiting.
    drop(doors);
    let sockets = &sockets_of.sockets;
    // Every client of a socket is told to come back, also those whose actor sleeps: their side of it ends with this process.
    sockets.stop();
    let under_way = || (CONNECTIONS_MAX - connections.available_permits(), sockets.open_now());
    let mut ended = pin!(future::join(graceful.shutdown(), sockets.ended()));
    let mut time = pin!(tokio::time::sleep(finish_within));
    let mut tick = tokio::time::interval(Duration::from_millis(WAITING_MS));
    // Its first tick is at once: what can end at once has its chance before.
    tick.reset_after(Duration::from_millis(WAITING_FIRST_MS));
    loop {
        tokio::select! {
            _ = &mut ended => return 0,
            () = &mut time => {
                let (requests, clients) = under_way();
                return requests + clients;
            }
            _ = tick.tick() => {
                let (requests, clients) = under_way();
                waiting(requests, clients);
            }
        }
    }
}

async fn accept(doors: &Doors, connections: &Arc<Semaphore>) -> Taken {
    let permit = connections.clone().acquire_owned().await.expect("the semaphore is never closed");
    loop {
        let accepted = match &doors.tls {
            None => doors.plain.accept().await.map(|accepted| (accepted, None)),
            Some((listener, tls)) => tokio::select! {
                accepted = doors.plain.accept() => accepted.map(|accepted| (accepted, None)),
                accepted = listener.accept() => accepted.map(|accepted| (accepted, Some(tls.clone()))),
            },
        };
        match accepted {
            Ok(((stream, from), tls)) => return Taken { stream, from, tls, permit },
            Err(error) => {
                // One that was gone before it was taken, or the system is out of files: neither may end the server.
                tracing::debug!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
            }
        }
    }
}

impl Server {
    pub fn new(engine: Arc<Engine>, api: Router) -> Server {
        Server { engine, api: TowerToHyperService::new(api) }
    }

    /// One connection, until its client leaves, or has taken too long to ask for anything.
    async fn visited(self, taken: Taken, carried: Carried, watcher: Watcher) {
        let Taken { stream, from, tls, permit } = taken;
        let engine = self.engine.clone();
        let Some((peer, connected)) = engine.edge.arrived(from) else {
            return tracing::debug!(%from, "a client has more connections than it may");
        };
        engine.metrics.connections.fetch_add(1, Ordering::Relaxed);
        let head = Duration::from_millis(engine.edge.limits.head_ms);
        let stream = Prompt::new(stream, carried);
        let visit = Visit::new(peer, stream.switch());
        let begun = visit.begun().clone();
        let ended = match tls {
            None => {
                let stream = Spoken::new(stream, Speech::Plain);
                begun.in_time(watcher.watch(self.connection(stream, visit)), head).await
            }
            Some(tls) => {
                let handshake = tls.accept(Spoken::new(stream, Speech::Tls));
                match tokio::time::timeout(Duration::from_millis(tls::HANDSHAKE_MS_MAX), handshake).await {
                    Ok(Ok(stream)) => begun.in_time(watcher.watch(self.connection(stream, visit)), head).await,
                    Ok(Err(error)) => Some(Err(error.into())),
                    Err(_) => None,
                }
            }
        };
        engine.metrics.connections.fetch_sub(1, Ordering::Relaxed);
        match ended {
            Some(Ok(())) => {}
            // Clients come and go as they like.
            Some(Err(error)) => tracing::debug!(%error, %from, "a connection ended badly"),
            None => tracing::debug!(%from, "a client took too long to ask for anything"),
        }
        drop((connected, permit));
    }

    /// Answers a client, until it leaves.
    pub fn connection(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        visit: Visit,
    ) -> impl GracefulConnection<Error = Box<dyn Error + Send + Sync>> + Send {
        let limits = &self.engine.edge.limits;
        let (head_ms, body_idle_ms) = (limits.head_ms, limits.body_idle_ms);
        let service = service_fn(move |request: Request<Incoming>| {
            let (server, visit) = (self.clone(), visit.clone());
            async move {
                visit.begun().mark();
                let response = server.answer(request.map(|body| RequestBody::new(body, body_idle_ms)), &visit).await?;
                if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                    visit.prompt.on();
                }
                Ok::<_, Infallible>(response)
            }
        });
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            // Also from one request to the next.
            .header_read_timeout(Duration::from_millis(head_ms))
            .max_buf_size(HEAD_BYTES_MAX);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_header_list_size(HEAD_BYTES_MAX as u32)
            .max_concurrent_streams(STREAMS_MAX)
            .keep_alive_interval(Duration::from_millis(PING_MS))
            .keep_alive_timeout(Duration::from_millis(PONG_MS_MAX));
        builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned()
    }

    /// Whatever it asks for, if the client may ask now.
    async fn answer(&self, mut request: Request<RequestBody>, visit: &Visit) -> Result<Response<Counted>, Infallible> {
        let ray = ray::of(request.headers());
        let remote = visit.peer.as_ref().map(|peer| self.engine.edge.who(peer, request.headers()));
        request.extensions_mut().insert(Origin { remote, ray: Some(ray.clone()) });
        self.engine.telemetry.admit(request.headers_mut());
        let followed = Followed { ray: Some(ray.clone()), parent: None };
        let answered = async {
            let (method, began) = (known(request.method()), Instant::now());
            let response = self.admitted(request, &ray, began, visit).await;
            let status = response.status().as_u16();
            tracing::debug!(method, status, took_ms = began.elapsed().as_millis() as u64, "a request is answered");
            response
        };
        let mut response = trace::follow(followed, answered).await;
        response.headers_mut().insert(X_RIVET_RAY_ID, ray);
        Ok(response)
    }

    async fn admitted(
        &self,
        mut request: Request<RequestBody>,
        ray: &HeaderValue,
        began: Instant,
        visit: &Visit,
    ) -> Response<Counted> {
        if self.engine.sockets.is_stopping() && !PROBES.contains(&request.uri().path()) {
            return stopping(request.version()).map(|body| Counted::new(body, Slot::free()));
        }
        let routed = route(request.method(), request.uri(), request.headers());
        let mut slot = Slot::free();
        if let Some(peer) = &visit.peer {
            if is_counted(&routed, request.uri().path()) {
                match self.engine.edge.admit(peer, request.headers()) {
                    Ok(admitted) => slot = admitted,
                    Err(error) => {
                        let mut response = gateway::refusal(&error);
                        cors::allow(response.headers_mut(), cors::origin(request.headers()));
                        return response.map(|body| Counted::new(body, slot));
                    }
                }
            }
            if matches!(routed, Ok(Route::Actor(_))) {
                forwarded::append(request.headers_mut(), peer.shown());
            }
        }
        if is_upgrade(request.method(), request.headers()) && !matches!(routed, Ok(Route::Connect(_))) {
            let response = gateway::socket::answer(&self.engine, routed, request.into_parts().0, ray, slot);
            return response.map(|body| Counted::new(body, Slot::free()));
        }
        let response = self.routed(routed, request, ray, began).await;
        let (parts, body) = response.into_parts();
        // One that is there as a whole is sent as a whole.
        let pass = parts.extensions.get::<Pass>().filter(|_| body.size_hint().exact().is_none());
        let ending = pass.and_then(|pass| pass.ending(&self.engine));
        Response::from_parts(parts, Counted::until(body, slot, ending))
    }

    async fn routed(
        &self,
        routed: Result<Route, ApiError>,
        request: Request<RequestBody>,
        ray: &HeaderValue,
        began: Instant,
    ) -> Response<Body> {
        match routed {
            Ok(Route::Connect(endpoint)) if is_upgrade(request.method(), request.headers()) => {
                connect::answer(&self.engine, endpoint, request.into_parts().0, ray)
            }
            Ok(Route::Actor(to)) => {
                let (parts, body) = request.into_parts();
                let mut span = gateway::span(&self.engine, "gateway.request", &to, &parts, ray);
                if !span.is_none() {
                    trace::replace(Followed::inside(&span));
                }
                let response = gateway::answer(&self.engine, to, parts, body, ray).await;
                let status = response.status().as_u16();
                span.set("http.response.status_code", || u64::from(status));
                if status >= 500 {
                    span.fail(|| format!("answered with {status}"));
                }
                self.engine.metrics.actor_answered(status, began.elapsed());
                response
            }
            Ok(Route::Api) => {
                let Ok(response) = self.api.call(request).await;
                response.map(Body::Api)
            }
            Ok(Route::Preflight) => cors::preflight(request.headers()),
            Ok(Route::Connect(endpoint)) => connect::plain(&self.engine, endpoint, &request.into_parts().0),
            Err(error) => {
                let mut response = gateway::refusal(&error);
                cors::allow(response.headers_mut(), cors::origin(request.headers()));
                response
            }
        }
    }
}

/// Neither probes nor runners: a limit must not make a healthy engine look ill, nor keep its runners away.
fn is_counted(routed: &Result<Route, ApiError>, path: &str) -> bool {
    match routed {
        Ok(Route::Connect(_)) => false,
        Ok(Route::Api) => !PROBES.contains(&path),
        Ok(Route::Actor(_) | Route::Preflight) | Err(_) => true,
    }
}

/// On a connection that was open before the engine was told to stop.
fn stopping(version: Version) -> Response<Body> {
    let mut response = gateway::refusal(&Refusal::ShuttingDown.into());
    if version < Version::HTTP_2 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
