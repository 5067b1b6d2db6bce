//! `/actors`: create, find, list, put to sleep, start again, destroy; and what a key in an actor's state holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use engine_core::action::Answer;
use engine_core::input::{self, KeyRef, Operation};
use engine_core::record::{ActorRecord, CrashPolicy, NamespaceRecord};
use http::Uri;
use protocol::id::ActorId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::api::extract::{self, PathPart, Query, Token};
use crate::api::schemas;
use crate::api::unexpected;
use crate::api::views::{Actor, Pagination};
use crate::engine::{DATACENTER, Engine, known_datacenter, parse_actor_id};
use crate::error::ApiError;
use crate::random;

const LIMIT_DEFAULT: usize = 100;
/// Rows of one page: a larger limit is not an error, only not filled.
const LIMIT_MAX: usize = 1_000;
const IDS_MAX: usize = 32;

#[derive(Serialize, ToSchema)]
#[schema(as = ActorList)]
pub struct List {
    actors: Vec<Actor>,
    pagination: Pagination,
}

#[utoipa::path(
    get,
    path = "/actors",
    tag = "Actors",
    params(
        ("namespace" = String, Query, description = "The namespace's name"),
        ("name" = Option<String>, Query, description = "With or without `key`; or ids"),
        ("key" = Option<String>, Query, description = "Needs `name`"),
        ("actor_ids" = Option<String>, Query, description = "Ids, between commas; what is none is left out"),
        ("actor_id" = Option<Vec<String>>, Query, description = "An id; may be repeated, 32 in all"),
        ("include_destroyed" = Option<bool>, Query, description = "Ids find destroyed ones anyway"),
        ("limit" = Option<usize>, Query, description = "100 unless said otherwise, at most 1000"),
        ("cursor" = Option<u64>, Query, description = "Only those created before this moment"),
    ),
    responses((status = 200, body = List), (status = "default", body = ApiError)),
    security(("admin_token" = []))
)]
pub async fn list(State(engine): State<Arc<Engine>>, token: Token, uri: Uri) -> Result<Json<List>, ApiError> {
    let known = ["namespace", "name", "key", "actor_ids", "actor_id", "include_destroyed", "limit", "cursor"];
    let query = Query::read(&uri, &known)?;
    query.required("namespace")?;
    let (name, key) = (query.one("name")?.map(str::to_string), query.one("key")?.map(str::to_string));
    // What cannot be an id in the list is dropped, for old clients; alone it is an error.
    let mut ids: Vec<ActorId> = query.listed("actor_ids")?.filter_map(|id| parse_actor_id(id).ok()).collect();
    for id in query.all("actor_id") {
        ids.push(parse_actor_id(id)?);
    }
    let include_destroyed = query.flag("include_destroyed")?;
    let limit = query.limit(LIMIT_DEFAULT)?.min(LIMIT_MAX);
    let before_ms = query.cursor_ms()?;
    token.check(&engine)?;
    check_filters(&ids, name.is_some(), key.is_some())?;
    let namespace = extract::namespace(&engine, &query)?;

    // A client that has had an answer of its actor finds it running.
    engine.settle().await?;
    let records = match (name, key) {
        (Some(name), Some(key)) if !include_destroyed => by_key(&engine, &namespace, name, key).await?,
        (Some(name), key) => {
            let listed = engine.readers.read("the actors could not be listed", move |state| {
                state.actors_by_name(namespace.id, &name, key.as_deref(), include_destroyed, before_ms, limit)
            });
            listed.await?
        }
        (None, _) => by_ids(&engine, &namespace, ids, before_ms, limit).await?,
    };
    let cursor = records.last().map(|record| record.create_ms.to_string());
    Ok(Json(List { actors: records.into_iter().map(Actor::from).collect(), pagination: Pagination { cursor } }))
}

fn check_filters(ids: &[ActorId], name: bool, key: bool) -> Result<(), ApiError> {
    let invalid = |message: &str| Err(ApiError::new("validation", "invalid_input", message).with(json!({ "message": message })));
    if !ids.is_empty() && (name || key) {
        return invalid("give either ids or a name (with or without a key), not both");
    }
    if key && !name {
        return invalid("a key needs the name it belongs to");
    }
    if ids.is_empty() && !name {
        return invalid("give a name or ids: listing all actors of a namespace is not offered");
    }
    if ids.len() > IDS_MAX {
        let message = format!("{} ids are given; at most {IDS_MAX} are allowed", ids.len());
        return Err(ApiError::new("validation", "too_many_actor_ids", message).with(json!({ "max": IDS_MAX, "count": ids.len() })));
    }
    Ok(())
}

async fn by_key(engine: &Engine, namespace: &NamespaceRecord, name: String, key: String) -> Result<Vec<ActorRecord>, ApiError> {
    let key = KeyRef { namespace: namespace.id, name, key };
    let found = engine.readers.read("the actor could not be looked up", move |state| state.load_key(&key)).await?;
    Ok(found.map(|found| found.record).into_iter().collect())
}

/// Destroyed ones too; newest first.
async fn by_ids(
    engine: &Engine,
    namespace: &NamespaceRecord,
    mut ids: Vec<ActorId>,
    before_ms: Option<u64>,
    limit: usize,
) -> Result<Vec<ActorRecord>, ApiError> {
    ids.sort_unstable();
    ids.dedup();
    let read = engine.readers.read("the actors could not be looked up", move |state| {
        ids.into_iter().map(|id| Ok(state.load_actor(id)?.map(|found| found.record))).collect::<Result<Vec<_>, _>>()
    });
    let mut records: Vec<ActorRecord> = read.await?.into_iter().flatten().collect();
    records.retain(|record| record.namespace == namespace.id && before_ms.is_none_or(|before_ms| record.create_ms < before_ms));
    records.sort_by_key(|record| (std::cmp::Reverse(record.create_ms), record.id));
    records.truncate(limit);
    Ok(records)
}

/// The body of `POST` and `PUT`; only `PUT` needs the key.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CreateActorBody)]
struct Create {
    datacenter: Option<String>,
    name: String,
    /// `PUT` needs one.
    key: Option<String>,
    /// Base64.
    input: Option<String>,
    /// The pool.
    runner_name_selector: String,
    #[schema(value_type = schemas::CrashPolicy)]
    crash_policy: CrashPolicy,
}

/// What both ways to create have in common: everything the client says, checked as far as the core does not.
struct Wanted {
    namespace: String,
    name: String,
    key: Option<String>,
    create: input::Create,
}

impl Wanted {
    async fn read(engine: &Engine, token: &Token, request: Request, needs_key: bool) -> Result<Wanted, ApiError> {
        let query = Query::read(request.uri(), &["namespace"])?;
        query.required("namespace")?;
        let body: Create = extract::json(request).await?;
        if needs_key && body.key.is_none() {
            return Err(ApiError::bad_request("the body is not as expected: missing field `key`"));
        }
        token.check(engine)?;
        let decode = |text: String| STANDARD.decode(text).map(Bytes::from);
        let input = body.input.map(decode).transpose();
        let input = input.map_err(|error| ApiError::bad_request(format!("input is not base64: {error}")))?;
        let namespace = extract::namespace(engine, &query)?;
        if let Some(datacenter) = body.datacenter.filter(|datacenter| datacenter != DATACENTER) {
            return Err(ApiError::datacenter_not_found(&datacenter));
        }
        let create =
            input::Create { random: random::bytes(), pool: body.runner_name_selector, crash_policy: body.crash_policy, input };
        Ok(Wanted { namespace: namespace.name, name: body.name, key: body.key, create })
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = CreateActorAnswer)]
pub struct Created {
    actor: Actor,
}

#[utoipa::path(
    post,
    path = "/actors",
    tag = "Actors",
    params(
        ("namespace" = String, Query, description = "The namespace's name"),
    ),
    request_body = Create,
    responses((status = 200, body = Created), (status = "default", body = ApiError)),
    security(("admin_token" = []))
)]
pub async fn create(State(engine): State<Arc<Engine>>, token: Token, request: Request) -> Result<Json<Created>, ApiError> {
    let Wanted { namespace, name, key, create } = Wanted::read(&engine, &token, request, false).await?;
    match engine.call(Operation::CreateActor { namespace, name, key, create }).await? {
        Answer::Actor { record, .. } => Ok(Json(Created { actor: Actor::from(*record) })),
        other => Err(unexpected(&other)),
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = GetOrCreateActorAnswer)]
pub struct GotOrCreated {
    actor: Actor,
    created: bool,
}

#[utoipa::path(
    put,
    path = "/actors",
    tag = "Actors",
    params(
        ("namespace" = String, Query, description = "The namespace's name"),
    ),
    request_body = Create,
    responses((status = 200, body = GotOrCreated), (status = "default", body = ApiError)),
    security(("admin_token" = []))
)]
pub async fn get_or_create(
    State(engine): State<Arc<Engine>>,
    token: Token,
    request: Request,
) -> Result<Json<GotOrCreated>, ApiError> {
    let Wanted { namespace, name, key, create } = Wanted::read(&engine, &token, request, true).await?;
    let key = key.unwrap_or_default();
    match engine.call(Operation::GetOrCreateActor { namespace, name, key, create }).await? {
        Answer::Actor { record, created } => Ok(Json(GotOrCreated { actor: Actor::from(*record), created })),
        other => Err(unexpected(&other)),
    }
}

#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Empty {}

#[utoipa::path(
    delete,
    path = "/actors/{actor_id}",
    tag = "Actors",
    params(
        ("actor_id" = String, Path),
        ("namespace" = String, Query, description = "The namespace's name"),
    ),
    responses((status = 200, body = Empty), (status = "default", body = ApiError)),
    security(("admin_token" = []))
)]
pub async fn destroy(
    State(engine): State<Arc<Engine>>,
    PathPart(actor): PathPart<String>,
    token: Token,
    uri: Uri,
) -> Result<Json<Empty>, ApiError> {
    let (namespace, actor) = named(&engine, &token, &actor, &uri)?;
    engine.call(Operation::DestroyActor { namespace, actor }).await?;
    Ok(Json(Empty {}))
}

#[utoipa::path(
    post,
    path = "/actors/{actor_id}/sleep",
    tag = "Actors",
    params(
        ("actor_id" = String, Path),
        ("namespace" = String, Query, description = "The namespace's name"),
    ),
    request_body = Empty,
    responses((status = 200, body = Empty), (status = "default", body = ApiError)),
    security(("admin_token" = []))
)]
pub async fn sleep(
    State(engine): State<Arc<Engine>>,
    PathPart(actor): PathPart<String>,
    token: Token,
    request: Request,
) -> Result<Json<Empty>, ApiError> {
    let (namespace, actor, Empty {}) = named_with_body(&engine, &token, &actor, request).await?;
    engine.call(Operation::SleepActor { namespace, actor }).await?;
    Ok(Json(Empty {}))
}

#[utoipa::path(
    post,
    path = "/actors/{actor_id}/reschedule",
    tag = "Actors",
    params(
        ("actor_id" = String, Path),
        ("namespace" = String, Query, description = "The namespace's name"),
    ),
    request_body = Empty,
    responses((status = 200, body = Empty), (status = "default", body = ApiError)),
    security(("admin_token" = []))
)]
pub async fn reschedule(
    State(engine): State<Arc<Engine>>,
    PathPart(actor): PathPart<String>,
    token: Token,
    request: Request,
) -> Result<Json<Empty>, ApiError> {
    let (namespace, actor, Empty {}) = named_with_body(&engine, &token, &actor, request).await?;
    engine.call(Operation::RescheduleActor { namespace, actor }).await?;
    Ok(Json(Empty {}))
}

pub fn named(engine: &Engine, token: &Token, actor: &str, uri: &Uri) -> Result<(String, ActorId), ApiError> {
    let actor = parse_actor_id(actor)?;
    let query = Query::read(uri, &["namespace"])?;
    query.required("namespace")?;
    token.check(engine)?;
    Ok((extract::namespace(engine, &query)?.name, known_datacenter(actor)?))
}

pub async fn named_with_body<T: DeserializeOwned>(
    engine: &Engine,
    token: &Token,
    actor: &str,
    request: Request,
) -> Result<(String, ActorId, T), ApiError> {
    let actor = parse_actor_id(actor)?;
    let query = Query::read(request.uri(), &["namespace"])?;
    query.required("namespace")?;
    let body = extract::json(request).await?;
    token.check(engine)?;
    Ok((extract::namespace(engine, &query)?.name, known_datacenter(actor)?, body))
}

#[derive(Serialize, ToSchema)]
#[schema(as = ActorNameList)]
pub struct Names {
    names: BTreeMap<String, Name>,
    pagination: Pagination,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ActorName)]
struct Name {
    #[schema(value_type = Object)]
    metadata: serde_json::Value,
}

impl Name {
    fn new(metadata: Option<String>) -> Name {
        let metadata = metadata.and_then(|json| serde_json::from_str(&json).ok());
        Name { metadata: metadata.unwrap_or_else(|| serde_json::json!({})) }
    }
}

#[utoipa::path(
    get,
    path = "/actors/names",
    tag = "Actors",
    params(
        ("namespace" = String, Query, description = "The namespace's name"),
        ("limit" = Option<usize>, Query, description = "100 unless said otherwise, at most 1000"),
        ("cursor" = Option<String>, Query, description = "Only those after this name"),
    ),
    responses((status = 200, body = Names), (status = "default", body = ApiError)),
    security(("admin_token" = []))
)]
pub async fn names(State(engine): State<Arc<Engine>>, token: Token, uri: Uri) -> Result<Json<Names>, ApiError> {
    let query = Query::read(&uri, &["namespace", "limit", "cursor"])?;
    query.required("namespace")?;
    let limit = query.limit(LIMIT_DEFAULT)?.min(LIMIT_MAX);
    let after = query.one("cursor")?.map(str::to_string);
    token.check(&engine)?;
    let namespace = extract::namespace(&engine, &query)?;
    let read =
        engine.readers.read("the names could not be listed", move |state| state.actor_names(namespace.id, after.as_deref(), limit));
    let names = read.await?;
    let cursor = names.last().map(|(name, _)| name.clone());
    let names = names.into_iter().map(|(name, metadata)| (name, Name::new(metadata))).collect();
    Ok(Json(Names { names, pagination: Pagination { cursor } }))
}

#[derive(Serialize, ToSchema)]
#[schema(as = KvEntry)]
pub struct Entry {
    /// Base64.
    value: String,
    update_ts: u64,
}

#[utoipa::path(
    get,
    path = "/actors/{actor_id}/kv/keys/{key}",
    tag = "Actors",
    params(
        ("actor_id" = String, Path),
        ("key" = String, Path, description = "Base64"),
        ("namespace" = String, Query, description = "The namespace's name"),
    ),
    responses((status = 200, body = Entry), (status = "default", body = ApiError)),
    security(("admin_token" = []))
)]
pub async fn kv_entry(
    State(engine): State<Arc<Engine>>,
    PathPart((actor, key)): PathPart<(String, String)>,
    token: Token,
    uri: Uri,
) -> Result<Json<Entry>, ApiError> {
    let key = STANDARD.decode(&key).map_err(|error| ApiError::bad_request(format!("the key {key:?} is not base64: {error}")))?;
    let (_, actor) = named(&engine, &token, &actor, &uri)?;
    let namespace = extract::namespace(&engine, &Query::read(&uri, &["namespace"])?)?;
    let read = engine.readers.read("the entry could not be read", move |state| {
        let found = state.load_actor(actor)?;
        match found.filter(|found| found.record.namespace == namespace.id) {
            // Of its state nothing is left, and that is what the original says of it.
            Some(found) if found.record.destroy_ms.is_some() => Ok(Some(None)),
            Some(_) => state.kv_entry(actor, &key).map(Some),
            None => Ok(None),
        }
    });
    match read.await? {
        None => Err(engine_core::refusal::Refusal::ActorNotFound.into()),
        Some(None) => Err(ApiError::new("actor", "kv_key_not_found", "the actor's state has no such key")),
        Some(Some((value, update_ts))) => Ok(Json(Entry { value: STANDARD.encode(value), update_ts })),
    }
}

#[cfg(test)]
mod tests {
    use protocol::id::Id;

    use super::*;

    #[test]
    fn filters() {
        let ids = |count: usize| vec![Id::new([1; 16], 1); count];
        let rows = [
            (0, true, false, None),
            (0, true, true, None),
            (1, false, false, None),
            (32, false, false, None),
            (33, false, false, Some("too_many_actor_ids")),
            (0, false, false, Some("invalid_input")),
            (0, false, true, Some("invalid_input")),
            (1, true, false, Some("invalid_input")),
            (1, false, true, Some("invalid_input")),
        ];
        for (count, name, key, expected) in rows {
            let code = check_filters(&ids(count), name, key).err().map(|error| error.code);
            assert_eq!(code, expected, "{count} ids, name {name}, key {key}");
        }
    }
}
