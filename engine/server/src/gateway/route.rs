//! Where a request goes: the one place that reads its path and headers to find out.
//!
//! A pure function from method, address and headers; it looks nothing up and changes nothing. Order matters and is the
//! original's: gateway paths, sockets of runners, the target that is named, the API. Requests name a target in headers, requests
//! for a WebSocket among the protocols that they offer, because browsers cannot set headers there.

use std::borrow::Cow;
use std::fmt;

use http::{HeaderMap, HeaderName, Method, Uri, header};
use protocol::id::ActorId;
use serde_json::json;

use crate::engine::{known_datacenter, parse_actor_id};
use crate::error::{ApiError, quotable};
use crate::form::{self, without_port};
use crate::gateway::query::{self, CreateWanted};
use crate::runners::connect::Endpoint;
use crate::websocket;

const X_RIVET_TARGET: HeaderName = HeaderName::from_static("x-rivet-target");
const X_RIVET_ACTOR: HeaderName = HeaderName::from_static("x-rivet-actor");
const X_RIVET_SKIP_READY_WAIT: HeaderName = HeaderName::from_static("x-rivet-skip-ready-wait");
const PROTOCOL_TARGET: &str = "rivet_target.";
const PROTOCOL_ACTOR: &str = "rivet_actor.";
const PROTOCOL_SKIP_READY_WAIT: &str = "rivet_skip_ready_wait";

#[derive(Debug, PartialEq, Eq)]
pub enum Route {
    Actor(ToActor),
    /// A browser asks whether it may; answered without looking at any actor.
    Preflight,
    /// Where runners connect.
    Connect(Endpoint),
    Api,
}

#[derive(Debug, PartialEq, Eq)]
pub struct ToActor {
    pub wanted: Wanted,
    /// Path and query as the actor sees them.
    pub path: String,
    /// To whatever runner has the actor, even if it is not running yet, or no more.
    pub skip_ready_wait: bool,
    /// Of the address.
    pub token: Option<Brought>,
}

/// A token that came along. It is not shown.
#[derive(PartialEq, Eq)]
pub struct Brought(pub String);

impl fmt::Debug for Brought {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Brought(…)")
    }
}

/// Which actor is wanted.
#[derive(Debug, PartialEq, Eq)]
pub enum Wanted {
    Id(ActorId),
    Key { namespace: String, name: String, key: String, create: Option<CreateWanted> },
}

pub fn route(method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<Route, ApiError> {
    let path = uri.path();
    if matches!(path, "/health/ws" | "/health/ws/") {
        return Err(no_route(uri, headers));
    }
    if let Some(address) = Address::read(uri) {
        return by_path(method, address, headers);
    }
    if let Some(endpoint) = endpoint(path) {
        return Ok(Route::Connect(endpoint));
    }
    let upgrade = is_upgrade(method, headers);
    let target = match headers.get(X_RIVET_TARGET) {
        _ if upgrade => websocket::parameter(headers, PROTOCOL_TARGET).map(str::as_bytes),
        target => target.map(|target| target.as_bytes()),
    };
    match target {
        None | Some(b"api-public") => Ok(Route::Api),
        Some(b"actor") if upgrade => by_protocols(uri, headers),
        Some(b"actor") => by_header(method, uri, headers),
        Some(b"runner") => Ok(Route::Connect(Endpoint::Runners)),
        Some(b"envoy") => Ok(Route::Connect(Endpoint::Envoys)),
        Some(_) => Err(no_route(uri, headers)),
    }
}

/// Whether a WebSocket is asked for. With another method than GET it cannot be, and the words about it are the actor's.
pub fn is_upgrade(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::GET && websocket::is_asked_for(headers)
}

fn endpoint(path: &str) -> Option<Endpoint> {
    let path = path.strip_suffix('/').unwrap_or(path);
    Endpoint::ALL.into_iter().find(|endpoint| endpoint.path() == path)
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

fn by_path(method: &Method, address: Address<'_>, headers: &HeaderMap) -> Result<Route, ApiError> {
    let Address { segment, rest, query, by_key } = address;
    if method == Method::OPTIONS {
        return Ok(Route::Preflight);
    }
    let mut path = String::with_capacity(rest.len().max(1) + query.map_or(0, |query| query.len() + 1));
    path.push_str(if rest.is_empty() { "/" } else { rest });
    let (wanted, skip_ready_wait, token) = if by_key {
        let query = query.unwrap_or_default();
        query::append_stripped(&mut path, query);
        let address = query::parse(segment, query)?;
        (address.wanted, address.skip_ready_wait, address.token)
    } else {
        if let Some(query) = query {
            path.push('?');
            path.push_str(query);
        }
        match by_id(segment) {
            Some((id, token)) => (Wanted::Id(known_datacenter(parse_actor_id(&id)?)?), false, token),
            None => return Ok(Route::Api),
        }
    };
    let upgrade = is_upgrade(method, headers);
    if upgrade && token.is_none() && !headers.contains_key(header::SEC_WEBSOCKET_PROTOCOL) {
        return Err(missing_header(
            &header::SEC_WEBSOCKET_PROTOCOL,
            "a WebSocket without a token in its address offers a protocol",
        ));
    }
    let skip_ready_wait = asks_to_skip_ready_wait(headers, upgrade)? || skip_ready_wait;
    Ok(Route::Actor(ToActor { wanted, path, skip_ready_wait, token }))
}

/// The id of `{id}` or `{id}@{token}`, and the token. None if a part is empty or is no text: not an address of the gateway. Who may
/// reach an actor is not decided here.
fn by_id(segment: &str) -> Option<(Cow<'_, str>, Option<Brought>)> {
    let (id, token) = match segment.split_once('@') {
        Some((id, token)) => (id, Some(token)),
        None => (segment, None),
    };
    if id.is_empty() || token.is_some_and(str::is_empty) {
        return None;
    }
    let token = token.map(form::decode_percent).transpose().ok()?;
    Some((form::decode_percent(id).ok()?, token.map(|token| Brought(token.into_owned()))))
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
        return Err(missing_header(&X_RIVET_ACTOR, "x-rivet-target: actor needs x-rivet-actor, the id of the actor"));
    };
    let id = id.to_str().map_err(|_| invalid_header(&X_RIVET_ACTOR, "an actor id has only digits and letters"))?;
    unchanged(uri, headers, id, asks_to_skip_ready_wait(headers, false)?)
}

fn by_protocols(uri: &Uri, headers: &HeaderMap) -> Result<Route, ApiError> {
    let Some(id) = websocket::parameter(headers, PROTOCOL_ACTOR) else {
        let message = "the protocol rivet_target.actor needs rivet_actor.ID, the id of the actor";
        return Err(missing_header(&header::SEC_WEBSOCKET_PROTOCOL, message));
    };
    let id = form::decode_percent(id)
        .map_err(|_| invalid_header(&header::SEC_WEBSOCKET_PROTOCOL, "rivet_actor. is not UTF-8 once decoded"))?;
    unchanged(uri, headers, &id, asks_to_skip_ready_wait(headers, true)?)
}

/// The actor is named elsewhere, so it sees the address as it is.
fn unchanged(uri: &Uri, headers: &HeaderMap, id: &str, skip_ready_wait: bool) -> Result<Route, ApiError> {
    let wanted = Wanted::Id(known_datacenter(parse_actor_id(id)?)?);
    // HTTP has addresses without a path: `*`, or a host alone.
    match uri.path_and_query().map(|path| path.as_str()).filter(|path| path.starts_with('/')) {
        Some(path) => Ok(Route::Actor(ToActor { wanted, path: path.to_string(), skip_ready_wait, token: None })),
        None => Err(no_route(uri, headers)),
    }
}

fn asks_to_skip_ready_wait(headers: &HeaderMap, upgrade: bool) -> Result<bool, ApiError> {
    if upgrade && websocket::protocols(headers).any(|item| item == PROTOCOL_SKIP_READY_WAIT) {
        return Ok(true);
    }
    // As with the target: on the way to a WebSocket the header is not read.
    let Some(flag) = headers.get(X_RIVET_SKIP_READY_WAIT).filter(|_| !upgrade) else { return Ok(false) };
    let flag = flag.to_str().ok().and_then(query::parse_flag);
    flag.ok_or_else(|| invalid_header(&X_RIVET_SKIP_READY_WAIT, "true, 1, false or 0 is expected"))
}

pub fn websocket_not_supported() -> ApiError {
    let message =
        "there is no WebSocket at this address; those of actors are below /gateway/, or offer the protocol rivet_target.actor";
    ApiError::new("guard", "websocket_not_supported", message)
}

fn missing_header(name: &HeaderName, sentence: &str) -> ApiError {
    ApiError::new("guard", "missing_header", sentence).with(json!({ "header": name.as_str() }))
}

fn invalid_header(name: &HeaderName, detail: &str) -> ApiError {
    ApiError::new("guard", "invalid_header", format!("the header {name} cannot be understood: {detail}"))
        .with(json!({ "header": name.as_str(), "detail": detail }))
}

fn no_route(uri: &Uri, headers: &HeaderMap) -> ApiError {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).map(without_port).or(uri.host()).unwrap_or_default();
    let path = quotable(uri.path());
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
            Ok(Route::Actor(ToActor { wanted, path, skip_ready_wait, .. })) => {
                let at_once = if skip_ready_wait { " at once" } else { "" };
                match wanted {
                    Wanted::Id(_) => format!("id {path}{at_once}"),
                    Wanted::Key { name, key, create, .. } => {
                        format!("{} {name} {key} {path}{at_once}", if create.is_some() { "create" } else { "get" })
                    }
                }
            }
            Ok(Route::Preflight) => "preflight".to_string(),
            Ok(Route::Connect(endpoint)) => format!("socket {}", endpoint.path()),
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
        let rows: [Row; 14] = [
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
            ("/request", &[to_actor[0].clone(), to_actor[1].clone(), (X_RIVET_SKIP_READY_WAIT, "1")], "id /request at once"),
        ];
        for (uri, headers, expected) in rows {
            assert_eq!(outcome(Method::POST, uri, headers), expected, "{uri} {headers:?}");
        }
    }

    /// Where a request for a WebSocket goes that offers these protocols; none: without the header.
    fn upgraded(uri: &str, protocols: &str) -> String {
        let protocols = &*Box::leak(protocols.to_string().into_boxed_str());
        let offers = [(header::UPGRADE, "WebSocket"), (header::SEC_WEBSOCKET_PROTOCOL, protocols)];
        outcome(Method::GET, uri, if protocols.is_empty() { &offers[..1] } else { &offers })
    }

    #[test]
    fn sockets_by_address() {
        let id = id(1).to_string();
        let get_params = "rvt-namespace=default&rvt-method=get";
        let rows = [
            (format!("/gateway/{id}/ws?x=1"), "rivet", "id /ws?x=1"),
            (format!("/gateway/{id}/ws"), "graphql-ws", "id /ws"),
            (format!("/gateway/{id}/ws"), "", "guard.missing_header"),
            (format!("/gateway/{id}@t/ws"), "", "id /ws"),
            (format!("/gateway/{id}/ws"), "rivet, rivet_token.t, rivet_skip_ready_wait", "id /ws at once"),
            (format!("/gateway/lobby/ws?{get_params}&rvt-key=k"), "rivet", "get lobby k /ws"),
            (format!("/gateway/lobby/ws?{get_params}"), "", "guard.missing_header"),
            (format!("/gateway/lobby/ws?{get_params}&rvt-token=t"), "", "get lobby / /ws"),
            (format!("/gateway/lobby/ws?{get_params}&rvt-skip-ready-wait=1"), "rivet", "get lobby / /ws at once"),
            (format!("/gateway/lobby@t/ws?{get_params}"), "rivet", "guard.query_path_token_syntax"),
            ("/gateway/abc/".to_string(), "rivet", "api.bad_request"),
            (format!("/gateway/{}/", self::id(7)), "rivet", "datacenter.not_found"),
            (format!("/gateway//{id}/ws"), "rivet", "api"),
            ("/envoys/connect?x=1".to_string(), "rivet", "socket /envoys/connect"),
            ("/runners/connect/".to_string(), "", "socket /runners/connect"),
            ("/actors".to_string(), "rivet", "api"),
            ("/health/ws".to_string(), "", "guard.no_route"),
        ];
        for (uri, protocols, expected) in rows {
            assert_eq!(upgraded(&uri, protocols), expected, "{uri} {protocols:?}");
        }
    }

    #[test]
    fn sockets_by_protocol() {
        let id = id(1).to_string();
        let encoded = format!("%{:02x}{}", id.as_bytes()[0], &id[1..]);
        let rows = [
            (format!("rivet, rivet_target.actor, rivet_actor.{id}"), "id /connect?x"),
            (format!("rivet,rivet_target.actor,rivet_actor.{encoded},rivet_token.t"), "id /connect?x"),
            (format!("rivet_target.actor, rivet_actor.{id}, rivet_skip_ready_wait"), "id /connect?x at once"),
            ("rivet, rivet_target.actor".to_string(), "guard.missing_header"),
            ("rivet_target.actor, rivet_actor.%ff".to_string(), "guard.invalid_header"),
            ("rivet_target.actor, rivet_actor.abc".to_string(), "api.bad_request"),
            (format!("rivet_target.actor, rivet_actor.{}", self::id(7)), "datacenter.not_found"),
            ("rivet_target.envoy".to_string(), "socket /envoys/connect"),
            ("rivet_target.runner".to_string(), "socket /runners/connect"),
            ("rivet_target.api-public".to_string(), "api"),
            ("rivet_target.moon".to_string(), "guard.no_route"),
            ("rivet".to_string(), "api"),
        ];
        for (protocols, expected) in rows {
            assert_eq!(upgraded("/connect?x", &protocols), expected, "{protocols}");
        }
        for pathless in ["*", "example.com:443"] {
            assert_eq!(upgraded(pathless, &format!("rivet_target.actor, rivet_actor.{id}")), "guard.no_route", "{pathless}");
        }
        // Said in a header, which is not read here.
        let header = [(header::UPGRADE, "websocket"), (X_RIVET_TARGET, "moon")];
        assert_eq!(outcome(Method::GET, "/connect", &header), "api");
        let header = [(header::UPGRADE, "websocket"), (X_RIVET_SKIP_READY_WAIT, "maybe")];
        assert_eq!(outcome(Method::GET, &format!("/gateway/{id}@t/ws"), &header), "id /ws");
    }

    #[test]
    fn the_rest() {
        let gateway = format!("/gateway/{}/x", id(1));
        assert_eq!(get("/"), "api");
        assert_eq!(get("/health"), "api");
        assert_eq!(get("/health/ws"), "guard.no_route");
        let host = [(header::HOST, HeaderValue::from_static("a.example:7"))].into_iter().collect();
        let error = route(&Method::GET, &Uri::from_static("/health/ws?x"), &host).expect_err("it is not served");
        assert_eq!(error.metadata, Some(json!({ "host": "a.example", "path": "/health/ws" })));
        assert_eq!(get("/runners/connect"), "socket /runners/connect");
        assert_eq!(get("/envoys/connect/?x=1"), "socket /envoys/connect");
        assert_eq!(get("/envoys/connect//"), "api");
        assert_eq!(outcome(Method::OPTIONS, &gateway, &[]), "preflight");
        assert_eq!(outcome(Method::OPTIONS, "/gateway/abc", &[]), "preflight");
        assert_eq!(outcome(Method::OPTIONS, "/request", &[(X_RIVET_TARGET, "actor")]), "preflight");
        assert_eq!(outcome(Method::OPTIONS, "/actors", &[]), "api");
        // No WebSocket: its handshake is a GET.
        assert_eq!(outcome(Method::POST, &gateway, &[(header::UPGRADE, "websocket")]), "id /x");
    }
}
