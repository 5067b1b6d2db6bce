//! Who asks, along the whole way of a request to the API.
//!
//! A layer over the API's routes finds it out once. Handlers get it as `extract::Token`; [`Engine::call`] finds it by itself, because
//! it belongs to the task, so that no act can be asked for without its entry in the audit log saying who did. A handler that goes on in
//! a task of its own takes it along with [`carry`].

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use engine_core::audit::{Act, Attempt, By};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method, Uri};

use crate::auth::identity::{Denied, Identity};
use crate::auth::table::{self, Place};
use crate::engine::Engine;
use crate::error::ApiError;
use crate::form;

const BEARER: &[u8] = b"Bearer ";

/// Where a request comes from.
#[derive(Clone, Default)]
pub struct Origin {
    pub remote: Option<IpAddr>,
    pub ray: Option<HeaderValue>,
}

impl Origin {
    pub fn by(&self, who: String) -> By {
        let ray = self.ray.as_ref().and_then(|ray| ray.to_str().ok());
        let remote = self.remote.map(|remote| remote.to_canonical().to_string());
        By { who, remote: remote.unwrap_or_default(), request_id: ray.unwrap_or_default().to_string() }
    }
}

/// A request to the API, as far as it matters who asks.
pub struct Asked {
    identity: Result<Identity, Denied>,
    method: Method,
    /// With the names of its parts, not what stands for them.
    path: String,
    /// That the query names.
    namespace: Option<String>,
    origin: Origin,
}

tokio::task_local! {
    static BY: By;
}

/// For whom this task does what it does; none: for the engine.
pub fn by() -> Option<By> {
    BY.try_with(By::clone).ok()
}

/// The same for what goes on in another task. Who asks is found out now, and not when that task begins.
pub fn carry<T>(work: impl Future<Output = T>) -> impl Future<Output = T> {
    let by = by();
    async move {
        match by {
            Some(by) => BY.scope(by, work).await,
            None => work.await,
        }
    }
}

/// What the engine does by itself and is to be seen in the audit log.
pub async fn as_the_engine<T>(work: impl Future<Output = T>) -> T {
    BY.scope(Origin::default().by("engine".to_string()), work).await
}

/// A layer over the API's routes.
pub async fn layer(State(engine): State<Arc<Engine>>, mut request: Request, next: Next) -> Response {
    let asked = Arc::new(Asked::new(&engine, &request));
    let by = asked.by();
    request.extensions_mut().insert(asked);
    BY.scope(by, next.run(request)).await
}

/// The token of an API request, if it brings one in the one way there is.
pub fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    headers.get(AUTHORIZATION)?.as_bytes().strip_prefix(BEARER)
}

/// Handlers refuse a query that names it twice.
fn namespace_of(uri: &Uri) -> Option<String> {
    let pairs = form::pairs(uri.query().unwrap_or_default());
    let mut named = pairs.filter(|(name, _)| form::decode(name).is_ok_and(|name| name == "namespace"));
    let (_, value) = named.next()?;
    Some(form::decode(value).ok()?.into_owned()).filter(|name| !name.is_empty())
}

impl Asked {
    fn new(engine: &Engine, request: &Request) -> Asked {
        Asked {
            identity: engine.auth.identify(engine, bearer(request.headers())),
            method: request.method().clone(),
            path: request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_string()).unwrap_or_default(),
            namespace: namespace_of(request.uri()),
            origin: request.extensions().get::<Origin>().cloned().unwrap_or_default(),
        }
    }

    fn by(&self) -> By {
        self.origin.by(self.identity.as_ref().map_or_else(|_| "nobody".to_string(), Identity::who))
    }

    /// Whether they may, by the table. Whoever may not is counted and written down.
    pub fn check(&self, engine: &Engine) -> Result<Identity, ApiError> {
        self.allowed(engine).map_err(|denied| {
            self.refused(engine, denied);
            denied.into()
        })
    }

    pub fn refused(&self, engine: &Engine, denied: Denied) {
        let target = format!("{} {}", self.method, self.path);
        let act = Act {
            act: "access.refused",
            namespace: self.namespace.clone(),
            target,
            details: vec![("reason", denied.reason().to_string())],
        };
        engine.auth.refuse(engine, denied, self.by(), act);
    }

    fn allowed(&self, engine: &Engine) -> Result<Identity, Denied> {
        let (permission, place) = table::of(&self.method, &self.path);
        let identity = self.identity.clone()?;
        identity.may(permission)?;
        let Some(within) = identity.within() else { return Ok(identity) };
        let named = self.namespace.as_ref().map(|name| engine.directory.namespace(name).map(|namespace| namespace.id));
        match (place, named) {
            (Place::Nowhere, _) | (Place::Own, None) => Ok(identity),
            (Place::Named | Place::Own, Some(Some(named))) if named == within => Ok(identity),
            (Place::Named | Place::Own, _) => Err(Denied::Namespace),
        }
    }
}

impl crate::auth::Auth {
    /// Counts it, and has it written down.
    pub fn refuse(&self, engine: &Engine, denied: Denied, by: By, act: Act) {
        self.count(denied);
        let attempt = Attempt { by, act, outcome: "api.forbidden".to_string(), count: 1 };
        if let Some(attempt) = self.attempts.note(denied, attempt) {
            engine.inbox.push(engine_core::Input::Attempted(Box::new(attempt)));
        }
    }
}
