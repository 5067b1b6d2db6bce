//! The two ports beside the main one: one that says that the engine is well, one that tells what it counts.
//!
//! Both are for operators and never ask for a token: keep them off public networks. `GET /health` and `GET /ready` are on a port of
//! their own so that a probe still gets through when the main one has all the connections it takes, and so that it is answered while
//! the store is being opened, when there is no engine yet.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::api::about;
use crate::edge::sockets;
use crate::edge::visit::Begun;
use crate::engine::Engine;
use crate::error::{ApiError, Face};
use crate::metrics;
use crate::ray::{self, X_RIVET_RAY_ID};
use crate::readiness::Readiness;

/// Connections that each of the two may have; more wait to be accepted.
const CONNECTIONS_MAX: usize = 64;
/// How long a client may take to send the head of a request.
const HEAD_MS_MAX: u64 = 10_000;
/// How long to wait when the system has no more room for a connection.
const ACCEPT_PAUSE_MS: u64 = 100;
pub const METRICS_TYPE: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
pub const JSON: HeaderValue = HeaderValue::from_static("application/json");

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Port {
    ApiPeer,
    Metrics,
}

/// What both ports know from the start.
#[derive(Default)]
pub struct Process {
    pub readiness: Arc<Readiness>,
    /// Once there is one.
    pub engine: OnceLock<Arc<Engine>>,
}

/// Until the task is dropped.
pub async fn serve(port: Port, listener: TcpListener, process: Arc<Process>) -> Infallible {
    accept(listener, move |request| {
        let process = process.clone();
        async move { answer(port, &process, &request).await }
    })
    .await
}

/// The same with other answers.
pub async fn accept<F>(listener: TcpListener, answer: impl Fn(Request<Incoming>) -> F + Clone + Send + 'static) -> Infallible
where
    F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    sockets::watch_peers(&listener);
    loop {
        let permit = connections.clone().acquire_owned().await.expect("the semaphore is never closed");
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
                continue;
            }
        };
        let answer = answer.clone();
        tokio::spawn(async move {
            let begun = Begun::default();
            let marked = begun.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                marked.mark();
                let ray = ray::of(request.headers());
                let answered = answer(request);
                async move {
                    let mut response = answered.await;
                    response.headers_mut().insert(X_RIVET_RAY_ID, ray);
                    Ok::<_, Infallible>(response)
                }
            });
            let mut builder = auto::Builder::new(TokioExecutor::new());
            builder.http1().timer(TokioTimer::new()).header_read_timeout(Duration::from_millis(HEAD_MS_MAX));
            // A few that say nothing would keep all probes out.
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            if let Some(Err(error)) = begun.in_time(connection, Duration::from_millis(HEAD_MS_MAX)).await {
                tracing::debug!(%error, "a connection ended badly");
            }
            drop(permit);
        });
    }
}

async fn answer(port: Port, process: &Process, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    match port {
        Port::Metrics => {
            let page = metrics::page(process.engine.get().map(|engine| &**engine)).await;
            whole(StatusCode::OK, METRICS_TYPE, page.text())
        }
        Port::ApiPeer => match (request.uri().path(), request.method()) {
            ("/health", &Method::GET | &Method::HEAD) => whole(StatusCode::OK, JSON, about::HEALTH),
            ("/ready", &Method::GET | &Method::HEAD) => {
                let (status, body) = process.readiness.answer();
                whole(status, JSON, body)
            }
            ("/health" | "/ready", _) => {
                let mut response = whole(StatusCode::METHOD_NOT_ALLOWED, JSON, "");
                response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET,HEAD"));
                response
            }
            (path, _) => {
                let error =
                    ApiError::new("api", "not_found", format!("nothing but /health and /ready is served on this port, not {path}"));
                whole(error.status(Face::Api), JSON, error.body())
            }
        },
    }
}

pub fn whole(status: StatusCode, content_type: HeaderValue, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
