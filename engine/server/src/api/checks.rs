//! `/deployments/{name}/check`: what a version would do to actors that there are, without deploying it.
//!
//! The component is sent as it is for a deploy, and removed afterwards unless a version uses it.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use engine_core::settings::RECORD_REQUESTS_MAX;
use http::{HeaderMap, Method, Uri};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::api::deployments::{announced, is_watched, name_fits, ndjson, receive};
use crate::api::extract::{self, PathPart, Query, Token};
use crate::api::settings;
use crate::checks::report::Checked;
use crate::checks::{self, ACTORS_DEFAULT, ACTORS_MAX, Ask, Wanted};
use crate::engine::{Engine, known_datacenter, parse_actor_id};
use crate::error::ApiError;

pub const CALLS_HEADER: &str = "x-rivet-calls";
/// What each fork may be asked.
const CALLS_MAX: usize = 16;
/// Lines that may wait for a slow client; results wait with them.
const LINES_WAITING_MAX: usize = 16;

#[utoipa::path(
    post,
    path = "/deployments/{name}/check",
    tag = "Deployments",
    params(
        ("name" = String, Path, description = "The actor name"),
        ("namespace" = String, Query, description = "The namespace's name"),
        ("actors" = Option<usize>, Query, description = "On how many actors it is tried: 20 unless said otherwise, at most 100"),
        ("actor_id" = Option<Vec<String>>, Query, description = "On these instead"),
        ("recorded" = Option<u32>, Query, description = "So many of the last requests that were recorded of each actor are made again first: unless said otherwise all if there are no calls, and else none"),
        ("x-rivet-settings" = Option<String>, Header, description = "What is to be different from the live version's settings: JSON as in `PATCH`"),
        ("x-rivet-calls" = Option<String>, Header, description = "What each is asked once it runs: a JSON array of `{\"action\",\"args\"}` and `{\"request\":\"POST /path\",\"body\"}`"),
    ),
    request_body(content = Vec<u8>, content_type = "application/wasm", description = "A component; the content type is not looked at"),
    responses((status = 200, body = Checked, description = "With `accept: application/x-ndjson`: progress, a JSON value a line"), (status = "default", body = ApiError)),
    security(("admin_token" = []))
)]
pub async fn check(
    State(engine): State<Arc<Engine>>,
    PathPart(name): PathPart<String>,
    token: Token,
    request: Request,
) -> Result<Response, ApiError> {
    let query = Query::read(request.uri(), &["namespace", "actors", "actor_id", "recorded"])?;
    query.required("namespace")?;
    let count = count(&query)?;
    let actors = query.all("actor_id").map(|id| known_datacenter(parse_actor_id(id)?)).collect::<Result<Vec<_>, _>>()?;
    if actors.len() > ACTORS_MAX {
        return Err(ApiError::bad_request(format!("{} actors are named, and at most {ACTORS_MAX} may be", actors.len())));
    }
    let settings = settings::of_header(request.headers())?;
    let asks = asks(request.headers())?;
    let recorded = recorded(&query, asks.is_empty())?;
    token.check(&engine)?;
    let namespace = extract::namespace(&engine, &query)?;
    name_fits(&name)?;
    announced(&request)?;
    let turn = engine.checks.as_ref().ok_or_else(checks::unavailable)?.turn()?;
    let watched = is_watched(request.headers());
    let arrived = receive(&engine, request).await?;
    let wanted = Wanted { namespace, name, component: arrived.component, settings, actors, count, asks, recorded, turn };
    // In both forms it ends with its client: what would it be for?
    if !watched {
        let checked = checks::run(&engine, wanted, None).await;
        drop(arrived);
        return Ok(Json(checked?).into_response());
    }
    let (lines, progress) = mpsc::channel(LINES_WAITING_MAX);
    tokio::spawn(async move {
        let _ = lines.try_send(json!({ "phase": "received", "bytes": arrived.bytes, "component": arrived.component.to_string() }));
        let checked = tokio::select! {
            checked = checks::run(&engine, wanted, Some(lines.clone())) => Some(checked),
            () = lines.closed() => None,
        };
        drop(arrived);
        if let Some(checked) = checked {
            // The last line is the answer: it waits for a slow client.
            let _ = lines.send(last(checked)).await;
        }
    });
    Ok(ndjson(progress))
}

fn last(checked: Result<Checked, ApiError>) -> Value {
    match checked {
        Ok(checked) => {
            let mut line = serde_json::to_value(checked).unwrap_or_default();
            line["phase"] = json!("done");
            line
        }
        Err(error) => json!({ "phase": "failed", "error": error }),
    }
}

fn count(query: &Query) -> Result<usize, ApiError> {
    let Some(text) = query.one("actors")? else { return Ok(ACTORS_DEFAULT) };
    let count = text.parse().ok().filter(|count| *count <= ACTORS_MAX);
    count.ok_or_else(|| ApiError::bad_request(format!("actors is {text:?}; a whole number from 0 to {ACTORS_MAX} is expected")))
}

fn recorded(query: &Query, alone: bool) -> Result<usize, ApiError> {
    let Some(text) = query.one("recorded")? else { return Ok(if alone { RECORD_REQUESTS_MAX as usize } else { 0 }) };
    let count = text.parse().ok().filter(|count| *count <= RECORD_REQUESTS_MAX as usize);
    count.ok_or_else(|| {
        ApiError::bad_request(format!("recorded is {text:?}; a whole number from 0 to {RECORD_REQUESTS_MAX} is expected"))
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Typed<'a> {
    action: Option<String>,
    #[serde(borrow)]
    args: Option<&'a RawValue>,
    /// Method and path.
    request: Option<String>,
    body: Option<String>,
}

fn asks(headers: &HeaderMap) -> Result<Vec<Ask>, ApiError> {
    let mut values = headers.get_all(CALLS_HEADER).iter();
    let Some(value) = values.next() else { return Ok(Vec::new()) };
    if values.next().is_some() {
        return Err(ApiError::bad_request(format!("the header {CALLS_HEADER} is given more than once; give it once")));
    }
    read(value.as_bytes()).map_err(|why| ApiError::bad_request(format!("the header {CALLS_HEADER} {why}")))
}

/// The error goes on from what it is about.
fn read(text: &[u8]) -> Result<Vec<Ask>, String> {
    let typed: Vec<Typed<'_>> = serde_json::from_slice(text).map_err(|error| format!("is not as expected: {error}"))?;
    if typed.len() > CALLS_MAX {
        return Err(format!("has {} calls, and at most {CALLS_MAX} may be", typed.len()));
    }
    typed.into_iter().map(ask).collect()
}

fn ask(typed: Typed<'_>) -> Result<Ask, String> {
    match typed {
        Typed { action: Some(name), args, request: None, body: None } => {
            let args = args.map_or("[]", RawValue::get).to_string();
            match args.starts_with('[') {
                true => Ok(Ask::Action { name, args }),
                false => Err(format!("has arguments of {name:?} that are no array")),
            }
        }
        Typed { action: None, args: None, request: Some(request), body } => {
            let wrong = || format!("has the request {request:?}; one like \"POST /path\" is expected");
            let (method, path) = request.split_once(' ').ok_or_else(wrong)?;
            let method: Method = method.parse().map_err(|_| wrong())?;
            let is_path = path.starts_with('/') && format!("/gateway/x{path}").parse::<Uri>().is_ok();
            if !is_path {
                return Err(wrong());
            }
            Ok(Ask::Request { method, path: path.to_string(), body: body.unwrap_or_default() })
        }
        _ => Err("has a call that is neither {\"action\",\"args\"} nor {\"request\",\"body\"}".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_forks_are_asked() {
        let told = |text: &str| match read(text.as_bytes()) {
            Ok(asks) => asks.iter().map(Ask::to_string).collect::<Vec<_>>().join("; "),
            Err(why) => format!("! {why}"),
        };
        let rows = [
            ("[]", ""),
            (r#"[{"action":"get"},{"action":"add","args":[1, "a"]}]"#, r#"get []; add [1, "a"]"#),
            (r#"[{"request":"POST /a?b=1","body":"x"}]"#, "POST /a?b=1"),
            ("", "! is not as expected"),
            ("{}", "! is not as expected"),
            (r#"[{"action":"a","more":1}]"#, "! is not as expected"),
            (r#"[{"action":"a","args":{}}]"#, "! has arguments of \"a\" that are no array"),
            (r#"[{"action":"a","request":"GET /"}]"#, "! has a call that is neither"),
            (r#"[{}]"#, "! has a call that is neither"),
            (r#"[{"request":"GET"}]"#, "! has the request \"GET\""),
            (r#"[{"request":"GET x"}]"#, "! has the request \"GET x\""),
            (r#"[{"request":"G(T /"}]"#, "! has the request"),
            (r#"[{"request":"GET / x"}]"#, "! has the request"),
        ];
        for (text, expected) in rows {
            let found = told(text);
            let fits = if expected.starts_with('!') { found.starts_with(expected) } else { found == expected };
            assert!(fits, "{text}: {expected} expected, seen {found}");
        }
        assert!(told(&format!("[{}]", vec![r#"{"action":"a"}"#; 17].join(","))).contains("at most 16"));
    }
}
