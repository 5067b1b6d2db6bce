//! `/namespaces/{namespace}/quotas`: what a namespace may have, and what it has. And how one is deleted.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use engine_core::action::Answer;
use engine_core::deletion::{Progress, Stage};
use engine_core::input::Operation;
use engine_core::quotas::{InUse, QuotaName, QuotasPatch};
use engine_core::record::{NamespaceRecord, NamespaceUsage};
use http::Uri;
use protocol::id::Id;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

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

#[utoipa::path(
    get,
    path = "/namespaces/{namespace}/quotas",
    tag = "Namespaces",
    params(("namespace" = String, Path, description = "Its name, or its id")),
    responses((status = 200, body = Shown), (status = "default", body = ApiError)),
    security(("admin_token" = []))
)]
pub async fn quotas(
    State(engine): State<Arc<Engine>>,
    PathPart(namespace): PathPart<String>,
    token: Token,
    uri: Uri,
) -> Result<Json<Shown>, ApiError> {
    Query::read(&uri, &[])?;
    token.check(&engine)?;
    let namespace = name_of(&engine, namespace);
    let answer = engine.call(Operation::ShowQuotas { namespace }).await?;
    shown(&engine, answer).await
}

#[utoipa::path(
    put,
    path = "/namespaces/{namespace}/quotas",
    tag = "Namespaces",
    params(("namespace" = String, Path, description = "Its name, or its id")),
    request_body = Change,
    responses((status = 200, body = Shown), (status = "default", body = ApiError)),
    security(("admin_token" = []))
)]
pub async fn set_quotas(
    State(engine): State<Arc<Engine>>,
    PathPart(namespace): PathPart<String>,
    token: Token,
    request: Request,
) -> Result<Json<Shown>, ApiError> {
    Query::read(request.uri(), &[])?;
    let change: Change = extract::json(request).await?;
    token.check(&engine)?;
    let namespace = name_of(&engine, namespace);
    let answer = engine.call(Operation::SetQuotas { namespace, quotas: change.patch() }).await?;
    shown(&engine, answer).await
}

#[utoipa::path(
    delete,
    path = "/namespaces/{namespace}",
    tag = "Namespaces",
    params(("namespace" = String, Path, description = "Its name, or its id")),
    responses((status = 200, body = Shown), (status = "default", body = ApiError)),
    security(("admin_token" = []))
)]
pub async fn delete(
    State(engine): State<Arc<Engine>>,
    PathPart(namespace): PathPart<String>,
    token: Token,
    uri: Uri,
) -> Result<Json<Shown>, ApiError> {
    Query::read(&uri, &[])?;
    token.check(&engine)?;
    let namespace = name_of(&engine, namespace);
    let answer = engine.call(Operation::DeleteNamespace { namespace }).await?;
    shown(&engine, answer).await
}

async fn shown(engine: &Engine, answer: Answer) -> Result<Json<Shown>, ApiError> {
    let Answer::Quotas { record, in_use, deletion } = answer else { return Err(unexpected(&answer)) };
    let namespace = record.id;
    let stored = engine.readers.read("what is stored could not be read", move |state| state.usage(namespace)).await?;
    Ok(Json(Shown::of(&record, in_use, stored, deletion)))
}

/// An id of a namespace becomes its name; whatever else it is stays, to be looked for or refused by that.
fn name_of(engine: &Engine, namespace: String) -> String {
    let id = namespace.parse::<Id>().ok();
    id.and_then(|id| engine.directory.namespace_name(id)).unwrap_or(namespace)
}
