//! `/deployments`: bring a component under a name, look at what is there. What else becomes of versions is in [`super::versions`].
//!
//! A deploy is streamed to disk while it is hashed, then the core has it prepared and points the name at it. The version
//! before stays live until that is durable, whatever goes wrong.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use engine_core::action::Answer;
use engine_core::input::Operation;
use engine_core::record::{HeldBack, NamespaceRecord, Share};
use engine_core::refusal::Refusal;
use engine_core::settings::SettingsPatch;
use futures_util::stream;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Uri};
use http_body::Body as _;
use http_body_util::BodyExt;
use protocol::component::ComponentInfo;
use protocol::limits::{ACTOR_NAME_BYTES_MAX, COMPONENT_BYTES_MAX};
use protocol::trace;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};
use utoipa::ToSchema;

use crate::api::extract::{self, PathPart, Query, Token};
use crate::api::views::{Deployed, Deployment, DeploymentState, Granted};
use crate::api::{settings, unexpected, versions};
use crate::auth::caller;
use crate::components::Arrived;
use crate::engine::Engine;
use crate::error::ApiError;

/// Components that may be arriving or be compiled at one time; more wait for their turn.
const DEPLOYS_IN_FLIGHT_MAX: usize = 4;
static DEPLOYS: Semaphore = Semaphore::const_new(DEPLOYS_IN_FLIGHT_MAX);

/// Of actors that are held back so many are shown.
const HELD_BACK_SHOWN: usize = 20;

/// Whoever sends nothing for so long holds up others, and is not waited for.
const UPLOAD_PAUSE_MS_MAX: u64 = 10_000;

pub const NDJSON: HeaderValue = HeaderValue::from_static("application/x-ndjson");
/// How often a client that watches is told that it still takes time.
const PROGRESS_MS: u64 = 1_000;
/// Lines about a deploy that may wait for a slow client; after that the next ones are left out.
const PROGRESS_LINES_MAX: usize = 16;

#[derive(Serialize, ToSchema)]
#[schema(as = DeploymentList)]
pub struct List {
    deployments: Vec<Deployment>,
}

#[utoipa::path(
    get,
    path = "/deployments",
    tag = "Deployments",
    params(
        ("namespace" = String, Query, description = "The namespace's name"),
    ),
    responses((status = 200, body = List), (status = "default", body = ApiError)),
    security(("admin_token" = []))
)]
pub async fn list(State(engine): State<Arc<Engine>>, token: Token, uri: Uri) -> Result<Json<List>, ApiError> {
    let query = Query::read(&uri, &["namespace"])?;
    query.required("namespace")?;
    token.check(&engine)?;
    let namespace = extract::namespace(&engine, &query)?;
    let records = engine.directory.deployments(namespace.id);
    let deployments = records.iter().map(|record| Deployment::of(namespace.name.clone(), record)).collect();
    Ok(Json(List { deployments }))
}

#[utoipa::path(
    get,
    path = "/deployments/{name}",
    tag = "Deployments",
    params(
        ("name" = String, Path, description = "The actor name"),
        ("namespace" = String, Query, description = "The namespace's name"),
    ),
    responses((status = 200, body = DeploymentState), (status = "default", body = ApiError)),
    security(("admin_token" = []))
)]
pub async fn get(
    State(engine): State<Arc<Engine>>,
    PathPart(name): PathPart<String>,
    token: Token,
    uri: Uri,
) -> Result<Json<DeploymentState>, ApiError> {
    let query = Query::read(&uri, &["namespace"])?;
    query.required("namespace")?;
    token.check(&engine)?;
    let namespace = extract::namespace(&engine, &query)?;
    let moving = match engine.call(Operation::CountMoves { namespace: namespace.name.clone(), name: name.clone() }).await? {
        Answer::Moving { left } => left,
        other => return Err(unexpected(&other)),
    };
    let Some(record) = engine.directory.deployment(namespace.id, &name) else {
        return Err(Refusal::DeploymentNotFound { name }.into());
    };
    let deployment = Deployment::of(namespace.name, &record);
    let in_use = [Some(record.live), record.canary.map(|canary| canary.version)];
    let counts = move |held: &HeldBack| in_use.contains(&Some(held.version)) && record.holds_back(held);
    let read = engine.readers.read("the actors that are held back could not be listed", move |state| {
        state.held_back(namespace.id, &name, HELD_BACK_SHOWN, counts)
    });
    let (held_back, first) = read.await?;
    Ok(Json(DeploymentState::of(deployment, moving, held_back, first)))
}

/// What is deployed, and where to.
struct Deploy {
    engine: Arc<Engine>,
    namespace: NamespaceRecord,
    name: String,
    pool: String,
    settings: SettingsPatch,
    canary: Option<Share>,
}

#[utoipa::path(
    put,
    path = "/deployments/{name}",
    tag = "Deployments",
    params(
        ("name" = String, Path, description = "The actor name"),
        ("namespace" = String, Query, description = "The namespace's name"),
        ("pool" = Option<String>, Query, description = "`default` unless said otherwise"),
        ("canary" = Option<String>, Query, description = "Only for this share of the actors: `5%`"),
        ("x-rivet-settings" = Option<String>, Header, description = "What is to be different from the live version's settings: JSON as in `PATCH`"),
    ),
    request_body(content = Vec<u8>, content_type = "application/wasm", description = "A component; the content type is not looked at"),
    responses((status = 200, body = Deployed, description = "With `accept: application/x-ndjson`: progress, a JSON value a line"), (status = "default", body = ApiError)),
    security(("admin_token" = []))
)]
pub async fn deploy(
    State(engine): State<Arc<Engine>>,
    PathPart(name): PathPart<String>,
    token: Token,
    request: Request,
) -> Result<Response, ApiError> {
    let query = Query::read(request.uri(), &["namespace", "pool", "canary"])?;
    query.required("namespace")?;
    let pool = query.one("pool")?.unwrap_or("default").to_string();
    let canary = settings::share(&query)?;
    let settings = settings::of_header(request.headers())?;
    token.check(&engine)?;
    engine.room.for_growth()?;
    // Before the upload: nobody should send 100 MB to learn of a typing error.
    let namespace = extract::namespace(&engine, &query)?;
    name_fits(&name)?;
    announced(&request)?;
    // Others wait with their upload: it is not read before its turn.
    let permit = DEPLOYS.acquire().await.map_err(|error| ApiError::internal("the deploy had to be given up", &error))?;
    let watched = is_watched(request.headers());
    let arrived = receive(&engine, request).await?;
    let deploy = Deploy { engine, namespace, name, pool, settings, canary };
    // A client that leaves does not stop the deploy: the core goes on, and needs the bytes until it is done.
    if !watched {
        let run = tokio::spawn(caller::carry(trace::carry(async move {
            let deployed = deploy.run(&arrived, None).await;
            drop((arrived, permit));
            deployed
        })));
        let deployed = run.await.map_err(|error| ApiError::internal("the deploy ended before its time", &error))??;
        return Ok(Json(deployed).into_response());
    }
    let (lines, progress) = mpsc::channel(PROGRESS_LINES_MAX);
    tokio::spawn(caller::carry(trace::carry(async move {
        deploy.run_watched(arrived, lines).await;
        drop(permit);
    })));
    Ok(ndjson(progress))
}

pub fn name_fits(name: &str) -> Result<(), ApiError> {
    match name.len() {
        1..=ACTOR_NAME_BYTES_MAX => Ok(()),
        bytes => Err(Refusal::NameTooLarge { bytes }.into()),
    }
}

/// What announces to be too long need not be sent.
pub fn announced(request: &Request) -> Result<(), ApiError> {
    match request.body().size_hint().lower() {
        0..=COMPONENT_BYTES_MAX => Ok(()),
        _ => Err(too_large()),
    }
}

pub fn is_watched(headers: &HeaderMap) -> bool {
    headers.get(ACCEPT).is_some_and(|accept| accept == NDJSON)
}

/// Streams the body to disk.
pub async fn receive(engine: &Engine, request: Request) -> Result<Arrived, ApiError> {
    let failed = |error: std::io::Error| ApiError::internal("the component could not be stored", &error);
    let mut incoming = engine.components.receive().await.map_err(failed)?;
    let mut body = request.into_body();
    let pause = Duration::from_millis(UPLOAD_PAUSE_MS_MAX);
    let stands_still =
        |_| ApiError::bad_request(format!("nothing of the component came for {UPLOAD_PAUSE_MS_MAX} ms; send it again"));
    while let Some(frame) = tokio::time::timeout(pause, body.frame()).await.map_err(stands_still)? {
        let frame = frame.map_err(|error| ApiError::bad_request(format!("the component could not be read: {error}")))?;
        let Ok(chunk) = frame.into_data() else { continue };
        if incoming.bytes + chunk.len() as u64 > COMPONENT_BYTES_MAX {
            return Err(too_large());
        }
        incoming.write(&chunk).await.map_err(failed)?;
    }
    incoming.finish().await.map_err(failed)
}

fn too_large() -> ApiError {
    let message = format!("the component is longer than {COMPONENT_BYTES_MAX} bytes; strip debug information, or make it smaller");
    ApiError::new("component", "too_large", message)
}

impl Deploy {
    async fn run(&self, arrived: &Arrived, looked_at: Option<Box<ComponentInfo>>) -> Result<Deployed, ApiError> {
        let operation = Operation::Deploy {
            namespace: self.namespace.name.clone(),
            name: self.name.clone(),
            pool: self.pool.clone(),
            component: arrived.component,
            settings: self.settings.clone(),
            canary: self.canary,
            looked_at,
        };
        let deployed = versions::deployed(&self.engine, operation, self.namespace.name.clone()).await?;
        versions::remove_unused(&self.engine).await;
        Ok(deployed)
    }

    /// What it imports and what it will be granted is told before it goes live.
    async fn run_telling(&self, arrived: &Arrived, lines: &mpsc::Sender<Value>) -> Result<Deployed, ApiError> {
        let looked_at = match self.engine.call(Operation::LookAtComponent { component: arrived.component }).await? {
            Answer::Component(info) => info,
            other => return Err(unexpected(&other)),
        };
        let before = self.engine.directory.deployment(self.namespace.id, &self.name);
        let before = before.map(|record| record.live_version().settings.clone()).unwrap_or_default();
        let granted = self.settings.apply(&before).map_err(|reason| Refusal::SettingsInvalid { reason })?;
        let _ = lines.try_send(json!({
            "phase": "checked",
            "handlers": looked_at.handlers,
            "imports": looked_at.imports,
            "settings": Granted::of(&granted),
            "canary": self.canary.map(|share| share.to_string()),
        }));
        self.run(arrived, Some(looked_at)).await
    }

    async fn run_watched(self, arrived: Arrived, lines: mpsc::Sender<Value>) {
        let start = Instant::now();
        let mut progress = tokio::time::interval(Duration::from_millis(PROGRESS_MS));
        progress.tick().await;
        let _ = lines.try_send(json!({ "phase": "received", "bytes": arrived.bytes, "component": arrived.component.to_string() }));
        let run = self.run_telling(&arrived, &lines);
        tokio::pin!(run);
        let result = loop {
            tokio::select! {
                result = &mut run => break result,
                _ = progress.tick() => {
                    let _ = lines.try_send(json!({ "phase": "compiling", "elapsed_ms": start.elapsed().as_millis() as u64 }));
                }
            }
        };
        let last = match result {
            Ok(deployed) => {
                let mut line = serde_json::to_value(deployed).unwrap_or_default();
                line["phase"] = json!(if line["live"] == true { "live" } else { "canary" });
                line
            }
            Err(error) => json!({ "phase": "failed", "error": error }),
        };
        // The last line is the answer: it waits for a slow client.
        let _ = lines.send(last).await;
    }
}

/// A response of JSON values, one a line, each sent when it comes.
pub fn ndjson(lines: mpsc::Receiver<Value>) -> Response {
    let lines = stream::unfold(lines, |mut lines| async {
        let line = lines.recv().await?;
        Some((Ok::<Bytes, Infallible>(format!("{line}\n").into()), lines))
    });
    ([(CONTENT_TYPE, NDJSON)], Body::from_stream(lines)).into_response()
}
