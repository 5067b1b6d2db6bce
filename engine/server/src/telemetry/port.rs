//! The port of a runner elsewhere: its metrics on every path, as the engine's own port has them, and `/tracing/config`, as the engine's
//! API has it.
//!
//! There is none unless it is configured. Metrics are for operators and never ask for a token; what changes something wants the one
//! that the runner shows to its engine, if it has one.

use std::convert::Infallible;
use std::sync::Arc;

use http::header::ALLOW;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use tokio::net::TcpListener;

use crate::api::extract;
use crate::api::tracing::{Change, Config};
use crate::auth::admin::AdminToken;
use crate::auth::caller::bearer;
use crate::auth::identity::Denied;
use crate::error::{ApiError, Face};
use crate::metrics::{self, RunnerFigures};
use crate::ports::{self, JSON, METRICS_TYPE, whole};
use crate::telemetry::Telemetry;

const TRACING_CONFIG: &str = "/tracing/config";

/// Of the runner, as long as it is connected.
type Figures = dyn Fn() -> Option<RunnerFigures> + Send + Sync;

#[derive(Clone)]
pub struct RunnerPort {
    telemetry: Arc<Telemetry>,
    figures: Arc<Figures>,
    token: Option<AdminToken>,
}

impl RunnerPort {
    /// `token`: what the runner shows to its engine.
    pub fn new(telemetry: Arc<Telemetry>, figures: Arc<Figures>, token: Option<String>) -> RunnerPort {
        RunnerPort { telemetry, figures, token: token.map(AdminToken::new) }
    }

    /// Until the task is dropped.
    pub async fn serve(self, listener: TcpListener) -> Infallible {
        let answer = move |request| {
            let port = self.clone();
            async move { port.answer(request).await }
        };
        ports::accept(listener, answer).await
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        if request.uri().path() != TRACING_CONFIG {
            let page = metrics::runner_page((self.figures)().as_ref(), &self.telemetry);
            return whole(StatusCode::OK, METRICS_TYPE, page.text());
        }
        let config = match *request.method() {
            Method::GET | Method::HEAD => self.check(request.headers()).map(|()| Config::now(&self.telemetry)),
            Method::PUT => self.change(request).await,
            _ => {
                let mut response = whole(StatusCode::METHOD_NOT_ALLOWED, JSON, "");
                response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET,HEAD,PUT"));
                return response;
            }
        };
        match config {
            Ok(config) => whole(StatusCode::OK, JSON, serde_json::json!(config).to_string()),
            Err(error) => whole(error.status(Face::Api), JSON, error.body()),
        }
    }

    async fn change(&self, request: Request<Incoming>) -> Result<Config, ApiError> {
        self.check(request.headers())?;
        let change: Change = extract::json(request.map(axum::body::Body::new)).await?;
        change.make(&self.telemetry)
    }

    fn check(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let Some(token) = &self.token else { return Ok(()) };
        let given = bearer(headers).ok_or(Denied::NoToken)?;
        match token.is(given) {
            true => Ok(()),
            false => Err(Denied::Invalid.into()),
        }
    }
}
