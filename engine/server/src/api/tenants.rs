//! `/namespaces/{namespace}/quotas`: what a namespace may have, and what it has. And how one is deleted.

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequestParts, Request};
use engine_core::action::Answer;
use engine_core::deletion::{Progress, Stage};
use engine_core::input::Operation;
use engine_core::quotas::{InUse, QuotaName, QuotasPatch};
use engine_core::record::{NamespaceRecord, NamespaceUsage};
use http::request::Parts;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, IntoResponses, ToSchema};

use crate::api::extract::{self, PathPart, Query, Token};
use crate::api::unexpected;
use crate::engine::Engine;
use crate::error::ApiError;

/// A quota, and how much of it is used.
#[derive(Serialize, ToSchema)]
struct Quota {
    /// Null: as much as there is.
    limit: Option<u64>,
    used: u64,
}

#[derive(Serialize, ToSchema)]
struct Rate {
    /// Null: as many as come.
    limit: Option<u64>,
}

#[derive(Serialize, ToSchema)]
struct AllQuotas {
    /// Actors that were created and not destroyed.
    actors: Quota,
    /// Actors that are awake at one time.
    awake_actors: Quota,
    /// What all of its actors have stored: keys and values, and their databases.
    storage_bytes: Quota,
    /// Requests of clients for its actors; as many as a second brings may come at once.
    requests_per_second: Rate,
    /// Names that something is deployed under.
    deployments: Quota,
    /// Components of all versions that are kept, each once.
    component_bytes: Quota,
}

#[derive(Serialize, ToSchema)]
#[schema(as = NamespaceQuotas)]
pub struct Shown {
    namespace_id: String,
    name: String,
    quotas: AllQuotas,
    /// Only of one that is being deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    deletion: Option<Deletion>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = NamespaceDeletion)]
struct Deletion {
    /// Since when.
    begin_ts: u64,
    /// `actors`: they are being destroyed. `records`: those of destroyed actors are being removed. `last`: it is about to be gone.
    stage: &'static str,
    actors_left: u64,
    /// Since the engine started.
    records_removed: u64,
}

impl Deletion {
    fn of(record: &NamespaceRecord, progress: Progress) -> Deletion {
        let stage = match progress.stage {
            Stage::Actors => "actors",
            Stage::Records => "records",
            Stage::Last => "last",
        };
        let Progress { actors_left, records_removed, .. } = progress;
        Deletion { begin_ts: record.delete_ms.unwrap_or_default(), stage, actors_left, records_removed }
    }
}

impl Shown {
    fn of(record: &NamespaceRecord, in_use: InUse, stored: NamespaceUsage, deletion: Option<Progress>) -> Shown {
        let quota = |name: QuotaName, used| Quota { limit: name.of(&record.quotas), used };
        Shown {
            namespace_id: record.id.to_string(),
            name: record.name.clone(),
            deletion: deletion.map(|progress| Deletion::of(record, progress)),
            quotas: AllQuotas {
                actors: quota(QuotaName::Actors, in_use.actors),
                awake_actors: quota(QuotaName::AwakeActors, in_use.awake_actors),
                storage_bytes: quota(QuotaName::StorageBytes, stored.bytes),
                requests_per_second: Rate { limit: QuotaName::RequestsPerSecond.of(&record.quotas) },
                deployments: quota(QuotaName::Deployments, in_use.deployments),
                component_bytes: quota(QuotaName::ComponentBytes, in_use.component_bytes),
            },
        }
    }
}

/// What is to be different. What is not named stays as it is; null: no quota.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NamespaceQuotasBody)]
struct Change {
    #[serde(default, deserialize_with = "named")]
    #[schema(value_type = Option<u64>)]
    actors: Option<Option<u64>>,
    #[serde(default, deserialize_with = "named")]
    #[schema(value_type = Option<u64>)]
    awake_actors: Option<Option<u64>>,
    #[serde(default, deserialize_with = "named")]
    #[schema(value_type = Option<u64>)]
    storage_bytes: Option<Option<u64>>,
    #[serde(default, deserialize_with = "named")]
    #[schema(value_type = Option<u64>)]
    requests_per_second: Option<Option<u64>>,
    #[serde(default, deserialize_with = "named")]
    #[schema(value_type = Option<u64>)]
    deployments: Option<Option<u64>>,
    #[serde(default, deserialize_with = "named")]
    #[schema(value_type = Option<u64>)]
    component_bytes: Option<Option<u64>>,
}

/// Null is something else than nothing.
fn named<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<u64>>, D::Error> {
    Option::deserialize(from).map(Some)
}

impl Change {
    fn patch(self) -> QuotasPatch {
        let Change { actors, awake_actors, storage_bytes, requests_per_second, deployments, component_bytes } = self;
        let all = [
            (QuotaName::Actors, actors),
            (QuotaName::AwakeActors, awake_actors),
            (QuotaName::StorageBytes, storage_bytes),
            (QuotaName::RequestsPerSecond, requests_per_second),
            (QuotaName::Deployments, deployments),
            (QuotaName::ComponentBytes, component_bytes),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[allow(dead_code, reason = "for the document")]
struct InPath {
    /// Its name, or its id
    namespace: String,
}

#[derive(IntoResponses)]
#[allow(dead_code, reason = "for the document")]
enum Answers {
    #[response(status = 200)]
    Shown(#[to_schema] Shown),
    #[response(status = "default")]
    Refused(#[to_schema] ApiError),
}

/// What the routes have in common: the namespace that they name in their path, and who asks.
pub struct Asked {
    engine: Arc<Engine>,
    /// Its name or id.
    namespace: String,
    token: Token,
}

impl FromRequestParts<Arc<Engine>> for Asked {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, engine: &Arc<Engine>) -> Result<Asked, ApiError> {
        let PathPart(namespace) = PathPart::from_request_parts(parts, engine).await?;
        let token = Token::from_request_parts(parts, engine).await?;
        Query::read(&parts.uri, &[])?;
        Ok(Asked { engine: engine.clone(), namespace, token })
    }
}

impl Asked {
    async fn ask(self, operation: impl FnOnce(String) -> Operation) -> Result<Json<Shown>, ApiError> {
        let Asked { engine, namespace, token } = self;
        token.check(&engine)?;
        let answer = engine.call(operation(engine.directory.name_of(&namespace))).await?;
        let Answer::Quotas { record, in_use, deletion } = answer else { return Err(unexpected(&answer)) };
        let namespace = record.id;
        let stored = engine.readers.read("what is stored could not be read", move |state| state.usage(namespace)).await?;
        Ok(Json(Shown::of(&record, in_use, stored, deletion)))
    }
}

#[utoipa::path(
    get,
    path = "/namespaces/{namespace}/quotas",
    tag = "Namespaces",
    params(InPath),
    responses(Answers),
    security(("admin_token" = []))
)]
pub async fn quotas(asked: Asked) -> Result<Json<Shown>, ApiError> {
    asked.ask(|namespace| Operation::ShowQuotas { namespace }).await
}

#[utoipa::path(
    put,
    path = "/namespaces/{namespace}/quotas",
    tag = "Namespaces",
    params(InPath),
    request_body = Change,
    responses(Answers),
    security(("admin_token" = []))
)]
pub async fn set_quotas(asked: Asked, request: Request) -> Result<Json<Shown>, ApiError> {
    let change: Change = extract::json(request).await?;
    asked.ask(|namespace| Operation::SetQuotas { namespace, quotas: change.patch() }).await
}

#[utoipa::path(
    delete,
    path = "/namespaces/{namespace}",
    tag = "Namespaces",
    params(InPath),
    responses(Answers),
    security(("admin_token" = []))
)]
pub async fn delete(asked: Asked) -> Result<Json<Shown>, ApiError> {
    asked.ask(|namespace| Operation::DeleteNamespace { namespace }).await
}
