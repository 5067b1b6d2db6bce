//! Who asks, along the whole way of a request to the API.
//!
//! A layer over the API's routes finds it out once. Handlers get it as `extract::Token`; [`Engine::call`] finds it by itself, because
//! it belongs to the task, so that no act can be asked for without its entry in the audit log saying who did. A handler that goes on in
//! a task of its own takes it along with [`carry`].

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use axum::extract::{FromRequestParts, MatchedPath, RawPathParams, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use engine_core::audit::{Act, Attempt, By};
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Uri};

use crate::auth::identity::{Denied, Identity};
use crate::auth::lasting::Lasting;
use crate::auth::pass::{Over, Pass};
use crate::auth::table::{self, Permission, Place};
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
    permission: Permission,
    place: Place,
    /// That the query names, or the path.
    namespace: Option<String>,
    origin: Origin,
    /// Whether a handler has looked, and they may.
    is_checked: AtomicBool,
}

tokio::task_local! {
    static ASKER: Asker;
}

/// For whom a task does what it does.
#[derive(Clone)]
enum Asker {
    By(By),
    Request(Arc<Asked>),
}

/// For whom this task does what it does; none: for the engine, and nobody will ask. An error if whoever asks may no more: a body may
/// take long to arrive, and its token may be revoked meanwhile. Also if a handler has not looked whether they may.
pub fn by(engine: &Engine) -> Result<Option<By>, ApiError> {
    match ASKER.try_with(Asker::clone) {
        Ok(Asker::Request(asked)) => {
            asked.still(engine)?;
            asked.must_be_checked()?;
            Ok(Some(asked.by()))
        }
        Ok(Asker::By(by)) => Ok(Some(by)),
        Err(_) => Ok(None),
    }
}

/// The same for what goes on in another task. Who asks is found out now, and not when that task begins.
pub fn carry<T>(work: impl Future<Output = T>) -> impl Future<Output = T> {
    let asker = ASKER.try_with(Asker::clone);
    async move {
        match asker {
            Ok(asker) => ASKER.scope(asker, work).await,
            Err(_) => work.await,
        }
    }
}

/// What the engine does by itself and is to be seen in the audit log.
pub async fn as_the_engine<T>(work: impl Future<Output = T>) -> T {
    on_behalf_of(Origin::default().by("engine".to_string()), work).await
}

/// The same for somebody who does not ask by the API, and may.
pub async fn on_behalf_of<T>(by: By, work: impl Future<Output = T>) -> T {
    ASKER.scope(Asker::By(by), work).await
}

/// A layer over the API's routes. What is sent and what is answered ends with the token; the answer says with which it was asked for.
pub async fn layer(State(engine): State<Arc<Engine>>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let in_path = RawPathParams::from_request_parts(&mut parts, &()).await.ok();
    let asked = Arc::new(Asked::new(&engine, &parts, in_path.as_ref()));
    let pass = asked.pass();
    parts.extensions.insert(asked.clone());
    let body = match pass.ending(&engine) {
        Some(ending) => Body::new(Lasting::new(body, Some(ending))),
        None => body,
    };
    let request = Request::from_parts(parts, body);
    let mut response = ASKER.scope(Asker::Request(asked.clone()), next.run(request)).await;
    if response.status().is_success()
        && let Err(error) = asked.must_be_checked()
    {
        return error.into_response();
    }
    response.extensions_mut().insert(pass);
    response
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
    fn new(engine: &Engine, parts: &Parts, in_path: Option<&RawPathParams>) -> Asked {
        let path = parts.extensions.get::<MatchedPath>().map(|path| path.as_str().to_string()).unwrap_or_default();
        let (permission, place) = table::of(&parts.method, &path);
        let namespace = match place {
            Place::InPath => {
                let named = in_path.and_then(|parts| parts.iter().find(|(name, _)| *name == "namespace"));
                named.map(|(_, namespace)| engine.directory.name_of(namespace))
            }
            Place::Named | Place::Own | Place::Nowhere => namespace_of(&parts.uri),
        };
        Asked {
            identity: engine.auth.identify(engine, bearer(&parts.headers)),
            method: parts.method.clone(),
            path,
            permission,
            place,
            namespace,
            origin: parts.extensions.get::<Origin>().cloned().unwrap_or_default(),
            is_checked: AtomicBool::new(permission == Permission::Open),
        }
    }

    fn by(&self) -> By {
        self.origin.by(self.identity.as_ref().map_or_else(|_| "nobody".to_string(), Identity::who))
    }

    fn pass(&self) -> Pass {
        self.identity.clone().map(Pass::from).unwrap_or_default()
    }

    /// Whether they may, by the table. Whoever may not is counted and written down.
    pub fn check(&self, engine: &Engine) -> Result<Identity, ApiError> {
        self.still(engine)?;
        let identity = self.told(engine, self.allowed(engine))?;
        self.is_checked.store(true, Ordering::Relaxed);
        Ok(identity)
    }

    /// A handler that forgets to look does nothing and shows nothing: the mistake is ours, and not whoever asks is to gain by it.
    fn must_be_checked(&self) -> Result<(), ApiError> {
        match self.is_checked.load(Ordering::Relaxed) {
            true => Ok(()),
            false => Err(ApiError::internal("the route does not say who may use it", &self.path)),
        }
    }

    /// Whether the token counts that was brought, if it ever did.
    fn still(&self, engine: &Engine) -> Result<(), ApiError> {
        let still = match self.pass().is_over(engine) {
            None => Ok(()),
            Some(Over::Revoked) => Err(Denied::Invalid),
            Some(Over::Expired) => Err(Denied::Expired),
        };
        self.told(engine, still)
    }

    fn told<T>(&self, engine: &Engine, allowed: Result<T, Denied>) -> Result<T, ApiError> {
        allowed.map_err(|denied| {
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
        let identity = self.identity.clone()?;
        identity.may(self.permission)?;
        let Some(within) = identity.within() else { return Ok(identity) };
        let named = self.namespace.as_ref().map(|name| engine.directory.namespace(name).map(|namespace| namespace.id));
        match (self.place, named) {
            (Place::Nowhere, _) | (Place::Own, None) => Ok(identity),
            (_, Some(Some(named))) if named == within => Ok(identity),
            (Place::Named | Place::InPath | Place::Own, _) => Err(Denied::Namespace),
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
