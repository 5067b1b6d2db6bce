//! `/namespaces`: list them, create one.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use engine_core::action::Answer;
use engine_core::input::Operation;
use engine_core::record::NamespaceRecord;
use http::Uri;
use protocol::id::{Id, NamespaceId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::extract::{self, Query, Token};
use crate::api::unexpected;
use crate::api::views::{Namespace, Pagination};
use crate::engine::Engine;
use crate::error::ApiError;
use crate::random;

const LIMIT_DEFAULT: usize = 1_000;

#[derive(Serialize, ToSchema)]
#[schema(as = NamespaceList)]
pub struct List {
    namespaces: Vec<Namespace>,
    pagination: Pagination,
}

#[utoipa::path(
    get,
    path = "/namespaces",
    tag = "Namespaces",
    params(
        ("limit" = Option<usize>, Query, description = "1000 unless said otherwise"),
        ("cursor" = Option<String>, Query, description = "An id: only those after it"),
        ("name" = Option<String>, Query, description = "Only the one of this name"),
        ("namespace_ids" = Option<String>, Query, description = "Ids, between commas"),
        ("namespace_id" = Option<Vec<String>>, Query, description = "An id; may be repeated"),
    ),
    responses((status = 200, body = List), (status = "default", body = ApiError)),
    security(("admin_token" = []))
)]
pub async fn list(State(engine): State<Arc<Engine>>, token: Token, uri: Uri) -> Result<Json<List>, ApiError> {
    let query = Query::read(&uri, &["limit", "cursor", "name", "namespace_ids", "namespace_id"])?;
    let limit = query.limit(LIMIT_DEFAULT)?;
    let ids =
        query.listed("namespace_ids")?.chain(query.all("namespace_id")).map(parse_namespace_id).collect::<Result<Vec<_>, _>>()?;
    let after = query.one("cursor")?.map(parse_namespace_id).transpose()?;
    let name = query.one("name")?;
    let identity = token.check(&engine)?;

    let mut namespaces = engine.directory.namespaces();
    namespaces.retain(|namespace| identity.sees(namespace.id));
    if let Some(name) = name {
        namespaces.retain(|namespace| namespace.name == name);
        return Ok(page(namespaces, None));
    }
    if !ids.is_empty() {
        namespaces.retain(|namespace| ids.contains(&namespace.id));
        return Ok(page(namespaces, None));
    }
    namespaces.retain(|namespace| after.is_none_or(|after| namespace.id > after));
    namespaces.truncate(limit);
    let cursor = namespaces.last().map(|namespace| namespace.id.to_string());
    Ok(page(namespaces, cursor))
}

fn page(namespaces: Vec<NamespaceRecord>, cursor: Option<String>) -> Json<List> {
    Json(List { namespaces: namespaces.into_iter().map(Namespace::from).collect(), pagination: Pagination { cursor } })
}

fn parse_namespace_id(text: &str) -> Result<NamespaceId, ApiError> {
    text.parse::<Id>().map_err(|error| ApiError::bad_request(format!("{text:?} is not a namespace id: {error}")))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CreateNamespaceBody)]
struct Create {
    name: String,
    display_name: String,
}

#[derive(Serialize, ToSchema)]
#[schema(as = CreateNamespaceAnswer)]
pub struct Created {
    namespace: Namespace,
}

#[utoipa::path(
    post,
    path = "/namespaces",
    tag = "Namespaces",
    request_body = Create,
    responses((status = 200, body = Created), (status = "default", body = ApiError)),
    security(("admin_token" = []))
)]
pub async fn create(State(engine): State<Arc<Engine>>, token: Token, request: Request) -> Result<Json<Created>, ApiError> {
    let Create { name, display_name } = extract::json(request).await?;
    token.check(&engine)?;
    match engine.call(Operation::CreateNamespace { random: random::bytes(), name, display_name }).await? {
        Answer::Namespace(namespace) => Ok(Json(Created { namespace: (*namespace).into() })),
        other => Err(unexpected(&other)),
    }
}
