//! `/audit`: who did what, newest first.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use engine_core::record::AuditRecord;
use http::Uri;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::extract::{Query, Token};
use crate::api::views::Pagination;
use crate::engine::Engine;
use crate::error::ApiError;

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1_000;
/// Entries that are read for one answer; the next page goes on behind them.
const READ_MAX: usize = 20_000;

#[derive(Serialize, ToSchema)]
#[schema(as = AuditEntry)]
pub struct View {
    number: u64,
    ts: u64,
    /// `admin`, `token ID`, `anyone` where no token is configured, `nobody` without a valid one.
    who: String,
    /// The address it came from.
    remote: String,
    /// As in `x-rivet-ray-id`.
    request_id: String,
    act: String,
    /// By the name that it had.
    #[schema(required = true)]
    namespace: Option<String>,
    target: String,
    details: BTreeMap<String, String>,
    /// `ok`, or group and code of the error.
    outcome: String,
    count: u32,
}

impl From<AuditRecord> for View {
    fn from(record: AuditRecord) -> View {
        View {
            number: record.number,
            ts: record.at_ms,
            who: record.who,
            remote: record.remote,
            request_id: record.request_id,
            act: record.act,
            namespace: record.namespace.map(|(_, name)| name),
            target: record.target,
            details: record.details.into_iter().collect(),
            outcome: record.outcome,
            count: record.count,
        }
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = AuditPage)]
pub struct Page {
    entries: Vec<View>,
    pagination: Pagination,
}

/// A page may have fewer entries than asked for, or none, and still a cursor: then there may be more.
#[utoipa::path(
    get,
    path = "/audit",
    tag = "Audit",
    params(
        ("namespace" = Option<String>, Query, description = "Only what was done in this namespace, by the name that it had"),
        ("act" = Option<String>, Query, description = "`deployment.deploy`, or `deployment` for all of these"),
        ("from_ts" = Option<u64>, Query, description = "From this moment on"),
        ("to_ts" = Option<u64>, Query, description = "Before this moment"),
        ("limit" = Option<usize>, Query, description = "100 unless said otherwise, at most 1000"),
        ("cursor" = Option<u64>, Query, description = "Only entries before this number"),
    ),
    responses((status = 200, body = Page), (status = "default", body = ApiError)),
    security(("admin_token" = []))
)]
pub async fn list(State(engine): State<Arc<Engine>>, token: Token, uri: Uri) -> Result<Json<Page>, ApiError> {
    let query = Query::read(&uri, &["namespace", "act", "from_ts", "to_ts", "limit", "cursor"])?;
    let limit = query.limit(LIMIT_DEFAULT)?.clamp(1, LIMIT_MAX);
    let below = query.cursor_ms()?;
    let (from_ms, to_ms) = (query.moment("from_ts")?.unwrap_or(0), query.moment("to_ts")?.unwrap_or(u64::MAX));
    let (named, act) = (query.one("namespace")?.map(str::to_string), query.one("act")?.map(str::to_string));
    let identity = token.check(&engine)?;
    let within = identity.within();

    let wanted = move |record: &AuditRecord| {
        if record.at_ms < from_ms {
            // Time never goes back in the log.
            return ControlFlow::Break(());
        }
        let is_act =
            |wanted: &String| record.act.strip_prefix(&**wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        let (of, name) = record.namespace.as_ref().map(|(id, name)| (id, name)).unzip();
        ControlFlow::Continue(
            record.at_ms < to_ms
                && act.as_ref().is_none_or(is_act)
                && within.is_none_or(|within| of == Some(&within))
                && named.as_ref().is_none_or(|named| name == Some(named)),
        )
    };
    let read = engine.readers.read("the audit log could not be read", move |state| state.audit(below, limit, READ_MAX, wanted));
    let (entries, cursor) = read.await?;
    let pagination = Pagination { cursor: cursor.map(|number| number.to_string()) };
    Ok(Json(Page { entries: entries.into_iter().map(View::from).collect(), pagination }))
}
