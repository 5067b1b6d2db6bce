//! Where a request goes: the one place that reads its path and headers to find out.
//!
//! A pure function from method, address and headers; it looks nothing up and changes nothing. Order matters and is the
//! original's: gateway paths, sockets of runners, the `x-rivet-target` header, the API.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, Method, Uri, header};
use protocol::id::ActorId;
use serde_json::json;

use crate::engine::{DATACENTER_LABEL, parse_actor_id};
use crate::error::ApiError;
use crate::form;
use crate::gateway::query::{self, CreateWanted};

const X_RIVET_TARGET: HeaderName = HeaderName::from_static("x-rivet-target");
const X_RIVET_ACTOR: HeaderName = HeaderName::from_static("x-rivet-actor");
const X_RIVET_SKIP_READY_WAIT: HeaderName = HeaderName::from_static("x-rivet-skip-ready-wait");

#[derive(Debug, PartialEq, Eq)]
pub enum Route {
    /// To an actor, with the path and query that it sees.
    Actor {
        wanted: Wanted,
        path: String,
    },
    /// A browser asks whether it may; answered without looking at any actor.
    Preflight,
    /// The address of a runner's socket, called without asking for one.
    Socket {
        path: &'static str,
    },
    Api,
}

/// Which actor is wanted.
#[derive(Debug, PartialEq, Eq)]
pub enum Wanted {
    Id(ActorId),
    Key { namespace: String, name: String, key: String, create: Option<CreateWanted> },
}

pub fn route(method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<Route, ApiError> {
    let path = uri.path();
    let upgrade = asks_for_websocket(headers);
    if matches!(path, "/health/ws" | "/health/ws/") {
        return Err(no_route(uri, headers));
    }
    if let Some(address) = Address::read(uri) {
        return by_path(method, address, headers, upgrade);
    }
    if let Some(path) = socket(path) {
        return if upgrade { Err(websocket_not_supported()) } else { Ok(Route::Socket { path }) };
    }
    if upgrade {
        return Err(websocket_not_supported());
    }
    match headers.get(X_RIVET_TARGET).map(|target| target.as_bytes()) {
        None | Some(b"api-public") => Ok(Route::Api),
        Some(b"actor") => by_header(method, uri, headers),
        Some(b"runner") => Ok(Route::Socket { path: RUNNERS_CONNECT }),
        Some(b"envoy") => Ok(Route::Socket { path: ENVOYS_CONNECT }),
        Some(_) => Err(no_route(uri, headers)),
    }
}

const RUNNERS_CONNECT: &str = "/runners/connect";
const ENVOYS_CONNECT: &str = "/envoys/connect";

fn socket(path: &str) -> Option<&'static str> {
    match path.strip_suffix('/').unwrap_or(path) {
        RUNNERS_CONNECT => Some(RUNNERS_CONNECT),
        ENVOYS_CONNECT => Some(ENVOYS_CONNECT),
        _ => None,
    }
}

/// `/gateway/{segment}{rest}?{query}`, as it was sent.
struct Address<'a> {
    segment: &'a str,
    rest: &'a str,
    query: Option<&'a str>,
    by_key: bool,
}

impl<'a> Address<'a> {
    /// None if it is not an address of the gateway: then it falls through to the API, which does not know it.
    fn read(uri: &'a Uri) -> Option<Address<'a>> {
        let after = uri.path().strip_prefix("/gateway")?;
        if after.contains("//") {
            return None;
        }
        let query = uri.query();
        let by_key = query.is_some_and(query::is_present);
        let after = match after.strip_prefix('/') {
            Some(after) => after,
            None if after.is_empty() => after,
            // Another word that begins alike.
            None => return None,
        };
        let end = after.find('/').unwrap_or(after.len());
        let (segment, rest) = after.split_at(end);
        if segment.is_empty() && !by_key {
            return None;
        }
        Some(Address { segment, rest, query, by_key })
    }
}

fn by_path(method: &Method, address: Address<'_>, headers: &HeaderMap, upgrade: bool) -> Result<Route, ApiError> {
    let Address { segment, rest, query, by_key } = address;
    if method == Method::OPTIONS && !upgrade {
        return Ok(Route::Preflight);
    }
    let mut path = String::with_capacity(rest.len().max(1) + query.map_or(0, |query| query.len() + 1));
    path.push_str(if rest.is_empty() { "/" } else { rest });
    let wanted = if by_key {
        let query = query.unwrap_or_default();
        query::append_stripped(&mut path, query);
        query::parse(segment, query)?
    } else {
        if let Some(query) = query {
            path.push('?');
            path.push_str(query);
        }
        match by_id(segment) {
            Some(id) => Wanted::Id(known_datacenter(parse_actor_id(&id)?)?),
            None => return Ok(Route::Api),
        }
    };
    if upgrade {
        return Err(websocket_not_supported());
    }
    check_skip_ready_wait(headers)?;
    Ok(Route::Actor { wanted, path })
}

/// The id of `{id}` or `{id}@{token}`. None if a part is empty or is no text: not an address of the gateway. The token is not
/// looked at: who may reach an actor is not decided here yet.
fn by_id(segment: &str) -> Option<Cow<'_, str>> {
    let (id, token) = match segment.split_once('@') {
        Some((id, token)) => (id, Some(token)),
        None => (segment, None),
    };
    if id.is_empty() || token.is_some_and(str::is_empty) {
        return None;
    }
    form::decode_percent(token.unwrap_or_default()).ok()?;
    form::decode_percent(id).ok()
}

fn by_header(method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<Route, ApiError> {
    if method == Method::OPTIONS {
        return Ok(Route::Preflight);
    }
    let path = uri.path();
    if path != "/request" && !path.starts_with("/request/") {
        return Err(no_route(uri, headers));
    }
    let Some(id) = headers.get(X_RIVET_ACTOR) else {
        let message = "x-rivet-target: actor needs x-rivet-actor, the id of the actor";
        return Err(ApiError::new("guard", "missing_header", message).with(json!({ "header": X_RIVET_ACTOR.as_str() })));
    };
    let id = id.to_str().map_err(|_| invalid_header(&X_RIVET_ACTOR, "an actor id has only digits and letters"))?;
    let wanted = Wanted::Id(known_datacenter(parse_actor_id(id)?)?);
    check_skip_ready_wait(headers)?;
    let path = uri.path_and_query().map_or(path, |path| path.as_str()).to_string();
    Ok(Route::Actor { wanted, path })
}

/// It is understood and changes nothing: no request reaches a runner before its actor runs there.
fn check_skip_ready_wait(headers: &HeaderMap) -> Result<(), ApiError> {
    match headers.get(X_RIVET_SKIP_READY_WAIT) {
        Some(flag) if flag.to_str().ok().and_then(query::parse_flag).is_none() => {
            Err(invalid_header(&X_RIVET_SKIP_READY_WAIT, "true, 1, false or 0 is expected"))
        }
        _ => Ok(()),
    }
}

fn known_datacenter(id: ActorId) -> Result<ActorId, ApiError> {
    match id.datacenter_label() {
        DATACENTER_LABEL => Ok(id),
        other => Err(ApiError::datacenter_not_found(&other.to_string())),
    }
}

fn asks_for_websocket(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|upgrade| upgrade.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

fn websocket_not_supported() -> ApiError {
    ApiError::new("guard", "websocket_not_supported", "this engine does not take WebSockets yet; use plain HTTP requests")
}

fn invalid_header(name: &HeaderName, detail: &str) -> ApiError {
    ApiError::new("guard", "invalid_header", format!("the header {name} cannot be understood: {detail}"))
        .with(json!({ "header": name.as_str(), "detail": detail }))
}

fn no_route(uri: &Uri, headers: &HeaderMap) -> ApiError {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).or(uri.host()).unwrap_or_default();
    let path = uri.path();
    ApiError::new("guard", "no_route", format!("nothing is served at {path} for this x-rivet-target"))
        .with(json!({ "host": host, "path": path }))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use protocol::id::Id;

    use super::*;

    fn id(label: u16) -> ActorId {
        Id::new([9; 16], label)
    }

    /// One line about where it goes.
    fn outcome(method: Method, uri: &str, headers: &[(HeaderName, &'static str)]) -> String {
        let uri: Uri = uri.parse().expect("the test's addresses are addresses");
        let headers = headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect();
        match route(&method, &uri, &headers) {
            Ok(Route::Actor { wanted: Wanted::Id(_), path }) => format!("id {path}"),
            Ok(Route::Actor { wanted: Wanted::Key { name, key, create, .. }, path }) => {
                format!("{} {name} {key} {path}", if create.is_some() { "create" } else { "get" })
            }
            Ok(Route::Preflight) => "preflight".to_string(),
            Ok(Route::Socket { path }) => format!("socket {path}"),
            Ok(Route::Api) => "api".to_string(),
            Err(error) => format!("{}.{}", error.group, error.code),
        }
    }

    fn get(uri: &str) -> String {
        outcome(Method::GET, uri, &[])
    }

    #[test]
    fn addresses_by_id() {
        let id = id(1).to_string();
        let encoded = format!("%{:02x}{}", id.as_bytes()[0], &id[1..]);
        let rows = [
            (format!("/gateway/{id}"), "id /"),
            (format!("/gateway/{id}/"), "id /"),
            (format!("/gateway/{id}/a/b"), "id /a/b"),
            (format!("/gateway/{id}/a%2Fb/?x=%20+&&y"), "id /a%2Fb/?x=%20+&&y"),
            (format!("/gateway/{id}?"), "id /?"),
            (format!("/gateway/{id}?x=1#fragment"), "id /?x=1"),
            (format!("/gateway/{id}@token/a"), "id /a"),
            (format!("/gateway/{id}@tok%40en@x/a"), "id /a"),
            (format!("/gateway/{encoded}@t/a"), "id /a"),
            (format!("/gateway/{id}@/a"), "api"),
            (format!("/gateway/{id}@%ff/a"), "api"),
            ("/gateway/@t/a".to_string(), "api"),
            ("/gateway/%ff/a".to_string(), "api"),
            ("/gateway".to_string(), "api"),
            ("/gateway/".to_string(), "api"),
            (format!("/gateway//{id}"), "api"),
            (format!("/gateway/{id}//a"), "api"),
            (format!("//gateway/{id}"), "api"),
            (format!("/gateways/{id}"), "api"),
            (format!("/x/gateway/{id}"), "api"),
            ("/gateway/abc/".to_string(), "api.bad_request"),
            (format!("/gateway/{id}%40t/"), "api.bad_request"),
            (format!("/gateway/{}/", self::id(7)), "datacenter.not_found"),
        ];
        for (uri, expected) in rows {
            assert_eq!(get(&uri), expected, "{uri}");
        }
    }

    #[test]
    fn addresses_by_key() {
        let get_params = "rvt-namespace=default&rvt-method=get";
        let create_params = "rvt-namespace=default&rvt-method=getOrCreate&rvt-pool=p";
        let rows = [
            (format!("/gateway/lobby?{get_params}&rvt-key=a,b"), "get lobby a/b /"),
            (format!("/gateway/lobby/api/v1?{get_params}&foo=bar"), "get lobby / /api/v1?foo=bar"),
            (format!("/gateway/a%2Fb/ws?x=1&{create_params}&rvt-key=k"), "create a/b k /ws?x=1"),
            (format!("/gateway/?{get_params}"), "guard.query_empty_actor_name"),
            (format!("/gateway?{get_params}"), "guard.query_empty_actor_name"),
            (format!("/gateway/lobby@t/x?{get_params}"), "guard.query_path_token_syntax"),
            (format!("/gateway//lobby?{get_params}"), "api"),
            ("/gateway/lobby?rvt-method=get".to_string(), "guard.query_invalid_params"),
            (format!("/actors/lobby?{get_params}"), "api"),
        ];
        for (uri, expected) in rows {
            assert_eq!(get(&uri), expected, "{uri}");
        }
    }

    #[test]
    fn addresses_by_header() {
        let actor = &*Box::leak(id(1).to_string().into_boxed_str());
        let to_actor = [(X_RIVET_TARGET, "actor"), (X_RIVET_ACTOR, actor)];
        type Row<'a> = (&'a str, &'a [(HeaderName, &'static str)], &'a str);
        let rows: [Row; 13] = [
            ("/request", &to_actor, "id /request"),
            ("/request?x=%20", &to_actor, "id /request?x=%20"),
            ("/request/a/b?x", &to_actor, "id /request/a/b?x"),
            ("/requests", &to_actor, "guard.no_route"),
            ("/other", &to_actor, "guard.no_route"),
            ("/request", &[(X_RIVET_TARGET, "actor")], "guard.missing_header"),
            ("/request", &[(X_RIVET_TARGET, "actor"), (X_RIVET_ACTOR, "abc")], "api.bad_request"),
            ("/actors", &[(X_RIVET_TARGET, "api-public")], "api"),
            ("/x", &[(X_RIVET_TARGET, "runner")], "socket /runners/connect"),
            ("/x", &[(X_RIVET_TARGET, "envoy")], "socket /envoys/connect"),
            ("/x", &[(X_RIVET_TARGET, "moon")], "guard.no_route"),
            ("/request", &[to_actor[0].clone(), to_actor[1].clone(), (X_RIVET_SKIP_READY_WAIT, "maybe")], "guard.invalid_header"),
            ("/request", &[to_actor[0].clone(), to_actor[1].clone(), (X_RIVET_SKIP_READY_WAIT, "0")], "id /request"),
        ];
        for (uri, headers, expected) in rows {
            assert_eq!(outcome(Method::POST, uri, headers), expected, "{uri} {headers:?}");
        }
    }

    #[test]
    fn the_rest() {
        let upgrade = [(header::UPGRADE, "WebSocket")];
        let gateway = format!("/gateway/{}/x", id(1));
        assert_eq!(get("/"), "api");
        assert_eq!(get("/health"), "api");
        assert_eq!(get("/health/ws"), "guard.no_route");
        assert_eq!(get("/runners/connect"), "socket /runners/connect");
        assert_eq!(get("/envoys/connect/?x=1"), "socket /envoys/connect");
        assert_eq!(get("/envoys/connect//"), "api");
        assert_eq!(outcome(Method::OPTIONS, &gateway, &[]), "preflight");
        assert_eq!(outcome(Method::OPTIONS, "/gateway/abc", &[]), "preflight");
        assert_eq!(outcome(Method::OPTIONS, "/request", &[(X_RIVET_TARGET, "actor")]), "preflight");
        assert_eq!(outcome(Method::OPTIONS, "/actors", &[]), "api");
        for uri in [&gateway[..], "/actors", "/envoys/connect", "/runners/connect"] {
            assert_eq!(outcome(Method::GET, uri, &upgrade), "guard.websocket_not_supported", "{uri}");
        }
    }
}
