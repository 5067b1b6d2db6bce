//! What becomes of versions: other settings, back to an earlier one, a canary's share and its promotion, pins of actors.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use engine_core::action::Answer;
use engine_core::input::Operation;
use engine_core::record::Share;
use engine_core::refusal::Refusal;
use http::Uri;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::api::actors::{Empty, named, named_with_body};
use crate::api::extract::{self, PathPart, Query, Token};
use crate::api::views::{ActorVersion, Deployed};
use crate::api::{settings, unexpected};
use crate::engine::Engine;
use crate::error::ApiError;

/// The core changes a deployment, and says which version this was about.
pub async fn deployed(engine: &Engine, operation: Operation, namespace: String) -> Result<Deployed, ApiError> {
    match engine.call(operation).await? {
        Answer::Deployment { record, version } => {
            let (live, canary) = (record.live, record.canary.map(|canary| format!("{} with {}", canary.version, canary.share)));
            tracing::info!(namespace, name = %record.name, live, canary, "a deployment has changed");
            Ok(Deployed::of(namespace, &record, version))
        }
        other => Err(unexpected(&other)),
    }
}

/// The oldest version may have gone, and its component with it.
pub async fn remove_unused(engine: &Arc<Engine>) {
    let engine = engine.clone();
    let removed = tokio::task::spawn_blocking(move || engine.components.remove_unused()).await;
    if let Err(error) = removed.map_err(std::io::Error::other).and_then(|removed| removed) {
        tracing::warn!(%error, "components that no version uses could not be removed; they are when the engine starts");
    }
}

#[utoipa::path(
    patch,
    path = "/deployments/{name}",
    tag = "Deployments",
    params(
        ("name" = String, Path, description = "The actor name"),
        ("namespace" = String, Query, description = "The namespace's name"),
        ("canary" = Option<String>, Query, description = "Only for this share of the actors: `5%`"),
    ),
    request_body(content = settings::SettingsBody, description = "What is to be different from the live version's settings"),
    responses((status = 200, body = Deployed), (status = "default", body = ApiError)),
    security(("admin_token" = []))
)]
pub async fn configure(
    State(engine): State<Arc<Engine>>,
    PathPart(name): PathPart<String>,
    token: Token,
    request: Request,
) -> Result<Json<Deployed>, ApiError> {
    let query = Query::read(request.uri(), &["namespace", "canary"])?;
    query.required("namespace")?;
    let canary = settings::share(&query)?;
    let settings = settings::read(&extract::json(request).await?)?;
    token.check(&engine)?;
    let namespace = extract::namespace(&engine, &query)?.name;
    let operation = Operation::Configure { namespace: namespace.clone(), name, settings, canary };
    let deployed = deployed(&engine, operation, namespace).await?;
    remove_unused(&engine).await;
    Ok(Json(deployed))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = VersionBody)]
struct Version {
    version: u32,
}

#[utoipa::path(
    post,
    path = "/deployments/{name}/activate",
    tag = "Deployments",
    params(
        ("name" = String, Path, description = "The actor name"),
        ("namespace" = String, Query, description = "The namespace's name"),
    ),
    request_body = Version,
    responses((status = 200, body = Deployed), (status = "default", body = ApiError)),
    security(("admin_token" = []))
)]
pub async fn activate(
    State(engine): State<Arc<Engine>>,
    PathPart(name): PathPart<String>,
    token: Token,
    request: Request,
) -> Result<Json<Deployed>, ApiError> {
    change(engine, token, request, |namespace, Version { version }| Ok(Operation::Activate { namespace, name, version })).await
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CanaryBody)]
struct CanaryShare {
    /// `25%`
    share: String,
}

#[utoipa::path(
    put,
    path = "/deployments/{name}/canary",
    tag = "Deployments",
    params(
        ("name" = String, Path, description = "The actor name"),
        ("namespace" = String, Query, description = "The namespace's name"),
    ),
    request_body = CanaryShare,
    responses((status = 200, body = Deployed), (status = "default", body = ApiError)),
    security(("admin_token" = []))
)]
pub async fn share(
    State(engine): State<Arc<Engine>>,
    PathPart(name): PathPart<String>,
    token: Token,
    request: Request,
) -> Result<Json<Deployed>, ApiError> {
    let share = |namespace, CanaryShare { share }| {
        let share: Share = share.parse().map_err(ApiError::bad_request)?;
        Ok(Operation::ShareCanary { namespace, name, share })
    };
    change(engine, token, request, share).await
}

#[utoipa::path(
    post,
    path = "/deployments/{name}/promote",
    tag = "Deployments",
    params(
        ("name" = String, Path, description = "The actor name"),
        ("namespace" = String, Query, description = "The namespace's name"),
    ),
    request_body = Empty,
    responses((status = 200, body = Deployed), (status = "default", body = ApiError)),
    security(("admin_token" = []))
)]
pub async fn promote(
    State(engine): State<Arc<Engine>>,
    PathPart(name): PathPart<String>,
    token: Token,
    request: Request,
) -> Result<Json<Deployed>, ApiError> {
    change(engine, token, request, |namespace, Empty {}| Ok(Operation::Promote { namespace, name })).await
}

#[utoipa::path(
    post,
    path = "/deployments/{name}/retry",
    tag = "Deployments",
    params(
        ("name" = String, Path, description = "The actor name"),
        ("namespace" = String, Query, description = "The namespace's name"),
    ),
    request_body = Empty,
    responses((status = 200, body = Deployed), (status = "default", body = ApiError)),
    security(("admin_token" = []))
)]
pub async fn retry(
    State(engine): State<Arc<Engine>>,
    PathPart(name): PathPart<String>,
    token: Token,
    request: Request,
) -> Result<Json<Deployed>, ApiError> {
    change(engine, token, request, |namespace, Empty {}| Ok(Operation::RetryHeldBack { namespace, name })).await
}

/// Reads the body, and has the core do what it makes of it in the namespace.
async fn change<T: serde::de::DeserializeOwned>(
    engine: Arc<Engine>,
    token: Token,
    request: Request,
    operation: impl FnOnce(String, T) -> Result<Operation, ApiError>,
) -> Result<Json<Deployed>, ApiError> {
    let query = Query::read(request.uri(), &["namespace"])?;
    let namespace = query.required("namespace")?.to_string();
    let operation = operation(namespace.clone(), extract::json(request).await?)?;
    token.check(&engine)?;
    extract::namespace(&engine, &query)?;
    Ok(Json(deployed(&engine, operation, namespace).await?))
}

#[utoipa::path(
    get,
    path = "/actors/{actor_id}/version",
    tag = "Actors",
    params(
        ("actor_id" = String, Path),
        ("namespace" = String, Query, description = "The namespace's name"),
    ),
    responses((status = 200, body = ActorVersion), (status = "default", body = ApiError)),
    security(("admin_token" = []))
)]
pub async fn of_actor(
    State(engine): State<Arc<Engine>>,
    PathPart(actor): PathPart<String>,
    token: Token,
    uri: Uri,
) -> Result<Json<ActorVersion>, ApiError> {
    let (namespace, actor) = named(&engine, &token, &actor, &uri)?;
    // A client that has had an answer of its actor finds what it was started with.
    engine.settle().await?;
    let record = engine.readers.read("the actor could not be looked up", move |state| state.actor_record(actor)).await?;
    let namespace = engine.directory.namespace(&namespace).map(|namespace| namespace.id);
    let Some(record) = record.filter(|record| Some(record.namespace) == namespace) else {
        return Err(Refusal::ActorNotFound.into());
    };
    let deployment = engine.directory.deployment(record.namespace, &record.name);
    Ok(Json(ActorVersion::of(record, deployment.as_ref())))
}

#[utoipa::path(
    put,
    path = "/actors/{actor_id}/version",
    tag = "Actors",
    params(
        ("actor_id" = String, Path),
        ("namespace" = String, Query, description = "The namespace's name"),
    ),
    request_body = Version,
    responses((status = 200, body = Empty), (status = "default", body = ApiError)),
    security(("admin_token" = []))
)]
pub async fn pin(
    State(engine): State<Arc<Engine>>,
    PathPart(actor): PathPart<String>,
    token: Token,
    request: Request,
) -> Result<Json<Empty>, ApiError> {
    let (namespace, actor, Version { version }) = named_with_body(&engine, &token, &actor, request).await?;
    engine.call(Operation::PinActor { namespace, actor, version: Some(version) }).await?;
    Ok(Json(Empty {}))
}

#[utoipa::path(
    delete,
    path = "/actors/{actor_id}/version",
    tag = "Actors",
    params(
        ("actor_id" = String, Path),
        ("namespace" = String, Query, description = "The namespace's name"),
    ),
    responses((status = 200, body = Empty), (status = "default", body = ApiError)),
    security(("admin_token" = []))
)]
pub async fn unpin(
    State(engine): State<Arc<Engine>>,
    PathPart(actor): PathPart<String>,
    token: Token,
    uri: Uri,
) -> Result<Json<Empty>, ApiError> {
    let (namespace, actor) = named(&engine, &token, &actor, &uri)?;
    engine.call(Operation::PinActor { namespace, actor, version: None }).await?;
    Ok(Json(Empty {}))
}
