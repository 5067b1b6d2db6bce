//! The port: takes connections, reads requests, sends each to the gateway or the API.
//!
//! HTTP/1.1 and HTTP/2 with prior knowledge on one port. Every answer carries the ray id of its request.

use std::convert::Infallible;
use std::error::Error;
use std::net::IpAddr;
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
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulConnection, GracefulShutdown};
use hyper_util::service::TowerToHyperService;
use protocol::trace::{self, Followed};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::auth::caller::Origin;
use crate::body::Body;
use crate::engine::Engine;
use crate::gateway::route::{Route, is_upgrade, route};
use crate::gateway::{self, cors};
use crate::incoming::RequestBody;
use crate::metrics::known;
use crate::prompt::Prompt;
use crate::ray::{self, X_RIVET_RAY_ID};
use crate::runners::connect;

/// Connections that may be open at one time; more wait to be accepted. One that became a WebSocket is counted elsewhere.
pub const CONNECTIONS_MAX: usize = 16_384;
/// How long a client may take to send the head of a request.
const HEAD_MS_MAX: u64 = 30_000;
/// How long to wait when the system has no more room for a connection.
const ACCEPT_PAUSE_MS: u64 = 100;
/// How often it is said what the end waits for, and when for the first time.
const WAITING_MS: u64 = 5_000;
const WAITING_FIRST_MS: u64 = 200;

/// What is asked whether the engine is well, until it has ended.
const PROBES: [&str; 2] = ["/health", "/ready"];

#[derive(Clone)]
pub struct Server {
    engine: Arc<Engine>,
    api: TowerToHyperService<Router>,
    /// Who the connection is with; none: somebody in this process.
    remote: Option<IpAddr>,
}

/// Serves until `stop`; then takes no new connection and lets those under way finish, but no longer than `finish_within`.
/// `waiting` hears again and again how many connections and sockets it waits for. Returns how many were cut off.
pub async fn serve(
    listener: TcpListener,
    engine: Arc<Engine>,
    api: Router,
    stop: impl Future<Output = ()>,
    finish_within: Duration,
    waiting: impl Fn(usize, usize),
) -> usize {
    let sockets_of = engine.clone();
    let server = Server::new(engine, api);
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
    let mut stop = pin!(stop);
    loop {
        let accepted = pin!(accept(&listener, &connections));
        let ((stream, remote), permit) = match future::select(accepted, stop.as_mut()).await {
            Either::Left((accepted, _)) => accepted,
            Either::Right(_) => break,
        };
        let server = Server { remote: Some(remote), ..server.clone() };
        server.engine.metrics.connections.fetch_add(1, Ordering::Relaxed);
        let watcher = graceful.watcher();
        let engine = server.engine.clone();
        tokio::spawn(async move {
            let stream = Prompt::new(stream);
            let prompt = stream.switch();
            let result = watcher.watch(server.connection(stream, move || prompt.on())).await;
            engine.metrics.connections.fetch_sub(1, Ordering::Relaxed);
            if let Err(error) = result {
                // Clients come and go as they like.
                tracing::debug!(%error, "a connection ended badly");
            }
            drop(permit);
        });
    }
    // From here on a new connection is refused by the system, and not left waiting.
    drop(listener);
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

async fn accept(listener: &TcpListener, connections: &Arc<Semaphore>) -> ((TcpStream, IpAddr), tokio::sync::OwnedSemaphorePermit) {
    let permit = connections.clone().acquire_owned().await.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => {
                // Answers are small and wait for nothing: each leaves at once.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "a connection cannot send at once");
                }
                return ((stream, remote.ip()), permit);
            }
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
        Server { engine, api: TowerToHyperService::new(api), remote: None }
    }

    /// Answers a client, until it leaves. `on_upgrade`: it becomes a WebSocket.
    pub fn connection(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        on_upgrade: impl Fn() + Clone + Send + 'static,
    ) -> impl GracefulConnection<Error = Box<dyn Error + Send + Sync>> + Send {
        let service = service_fn(move |request: Request<Incoming>| {
            let (server, on_upgrade) = (self.clone(), on_upgrade.clone());
            async move {
                let response = server.answer(request.map(RequestBody::new)).await?;
                if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                    on_upgrade();
                }
                Ok::<_, Infallible>(response)
            }
        });
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(Duration::from_millis(HEAD_MS_MAX));
        builder.http2().timer(TokioTimer::new());
        builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned()
    }

    async fn answer(&self, mut request: Request<RequestBody>) -> Result<Response<Body>, Infallible> {
        let ray = ray::of(request.headers());
        request.extensions_mut().insert(Origin { remote: self.remote, ray: Some(ray.clone()) });
        let followed = Followed { ray: Some(ray.clone()), parent: None };
        let answered = async {
            let (method, began) = (known(request.method()), Instant::now());
            let response = self.routed(request, &ray, began).await;
            let status = response.status().as_u16();
            tracing::debug!(method, status, took_ms = began.elapsed().as_millis() as u64, "a request is answered");
            response
        };
        let mut response = trace::follow(followed, answered).await;
        response.headers_mut().insert(X_RIVET_RAY_ID, ray);
        Ok(response)
    }

    async fn routed(&self, request: Request<RequestBody>, ray: &HeaderValue, began: Instant) -> Response<Body> {
        if self.engine.sockets.is_stopping() && !PROBES.contains(&request.uri().path()) {
            return stopping(request.version());
        }
        let routed = route(request.method(), request.uri(), request.headers());
        match routed {
            Ok(Route::Connect(endpoint)) if is_upgrade(request.method(), request.headers()) => {
                connect::answer(&self.engine, endpoint, request.into_parts().0, ray)
            }
            routed if is_upgrade(request.method(), request.headers()) => {
                gateway::socket::answer(&self.engine, routed, request.into_parts().0, ray)
            }
            Ok(Route::Actor(to)) => {
                let (parts, body) = request.into_parts();
                let mut span = gateway::span(&self.engine, &to, &parts, ray);
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

/// On a connection that was open before the engine was told to stop.
fn stopping(version: Version) -> Response<Body> {
    let mut response = gateway::refusal(&Refusal::ShuttingDown.into());
    if version < Version::HTTP_2 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
