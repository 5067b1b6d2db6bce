//! What strangers may write into the head of a request: where it goes is decided without harm, and a refusal has a known code.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use protocol::key;

use super::query::{self, CreateWanted};
use super::route::{Route, ToActor, Wanted, route};
use crate::engine::parse_actor_id;
use crate::hostile::Inputs;

const VALID: &[&str] = &[
    "GET /gateway/1cdh69pyy52k61k2adn7cypgxg5q10/a/b?x=1&y",
    "POST /gateway/1cdh69pyy52k61k2adn7cypgxg5q10@token/a%2Fb/?x=%20+&&y",
    "GET /gateway/lobby/api/v1?rvt-namespace=default&rvt-method=get&rvt-key=a,b&foo=bar",
    "GET /gateway/a%2Fb/ws?x=1&rvt-namespace=default&rvt-method=getOrCreate&rvt-pool=p&rvt-key=k%2F1,,%5C0&rvt-crash-policy=restart",
    "GET /gateway/w?rvt-namespace=n&rvt-method=getOrCreate&rvt-runner=p&rvt-input=oWVjb3VudAI&rvt-region=default&rvt-token=t",
    "GET /gateway/w?rvt-namespace=n&rvt-method=get&rvt-skip-ready-wait=1&rvt-token=\nupgrade: websocket",
    "GET /gateway/lobby?rvt-namespace=default&rvt-method=get\nupgrade: websocket\nsec-websocket-protocol: rivet, rivet_skip_ready_wait",
    "OPTIONS /gateway/lobby?rvt-namespace=default",
    "GET /request/a?b\nx-rivet-target: actor\nx-rivet-actor: 1cdh69pyy52k61k2adn7cypgxg5q10\nx-rivet-skip-ready-wait: true",
    "GET /ws?x\nupgrade: websocket\nsec-websocket-protocol: rivet,rivet_target.actor,rivet_actor.1cdh69pyy52k61k2adn7cypgxg5q10",
    "GET /x\nupgrade: websocket\nsec-websocket-protocol: rivet_target.envoy, rivet_token.abc",
    "GET /envoys/connect?protocol_version=8\nupgrade: websocket",
    "GET /runners/connect/\nhost: example.com",
    "GET /actors?namespace=default\nx-rivet-target: api-public",
    "GET http://example.com/gateway/lobby?rvt-namespace=default&rvt-method=get",
    "GET example.com:443\nupgrade: websocket\nsec-websocket-protocol: rivet_target.actor,rivet_actor.1cdh69pyy52k61k2adn7cypgxg5q10",
    "GET *\nupgrade: websocket\nsec-websocket-protocol: rivet_target.actor,rivet_actor.1cdh69pyy52k61k2adn7cypgxg5q10",
];

const WORDS: &[&str] = &[
    "/",
    "//",
    "?",
    "&",
    "=",
    "%",
    "%2F",
    "%ff",
    "%00",
    "%c3%a4",
    "+",
    "@",
    ",",
    "\\",
    "#",
    "\n",
    ": ",
    ";",
    "rvt-",
    "rvt-key=",
    "rvt-method=",
    "rvt-input=",
    "rvt-namespace=",
    "rvt-pool=",
    "rvt-skip-ready-wait=",
    "rvt-crash-policy=destroy",
    "getOrCreate",
    "gateway",
    "ä",
    "rivet_target.",
    "rivet_actor.",
    "\nx-rivet-target: ",
    "\nx-rivet-actor: ",
    "\nupgrade: websocket",
    "\nsec-websocket-protocol: ",
    "actor",
    "runner",
    "envoy",
    "/health/ws",
    "/request",
    "_4EB",
    "gYGBgYGBgYGBgYE",
    "m_________8",
    "1cdh69pyy52k61k2adn7cypgxg5q10",
];

/// Lines of a head, as far as HTTP itself takes them.
fn head(text: &str) -> Option<(Method, Uri, HeaderMap)> {
    let mut lines = text.split('\n');
    let (method, uri) = lines.next()?.split_once(' ')?;
    let mut headers = HeaderMap::new();
    // The server takes no more than a hundred.
    for line in lines.take(100) {
        let (name, value) = line.split_once(": ")?;
        headers.append(HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_bytes(value.as_bytes()).ok()?);
    }
    Some((method.parse().ok()?, uri.parse().ok()?, headers))
}

/// Whether it is a request at all.
fn check(text: &str) -> bool {
    let Some((method, uri, headers)) = head(text) else { return false };
    match route(&method, &uri, &headers) {
        Ok(Route::Actor(to)) => check_actor(&to),
        Ok(Route::Preflight) => assert_eq!(method, Method::OPTIONS),
        Ok(Route::Connect(_) | Route::Api) => {}
        Err(error) => assert!(error.is_known() && !error.message.is_empty() && !error.body().is_empty(), "{error:?}"),
    }
    true
}

fn check_actor(to: &ToActor) {
    assert!(to.path.starts_with('/'), "{}", to.path);
    assert!(to.path.parse::<Uri>().is_ok(), "a runner gets an address: {}", to.path);
    match &to.wanted {
        Wanted::Id(id) => assert_eq!(parse_actor_id(&id.to_string()).as_ref(), Ok(id)),
        Wanted::Key { key, .. } => {
            let query = to.path.split_once('?').map_or("", |(_, query)| query);
            assert!(!query::is_present(query), "what is for the engine stays there: {query}");
            let mut again = String::new();
            query::append_stripped(&mut again, query);
            assert_eq!(again.get(1..).unwrap_or_default(), query);
            assert_eq!(key::join(&key::split(key)), *key);
            let (name, query) = address(&to.wanted);
            let said = query::parse(&name, &query).map(|address| address.wanted);
            assert_eq!(said.as_ref(), Ok(&to.wanted), "{name} {query}");
        }
    }
}

/// The address that names this actor.
fn address(wanted: &Wanted) -> (String, String) {
    let Wanted::Key { namespace, name, key, create } = wanted else { return Default::default() };
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let mut query = format!("rvt-namespace={}", encode(namespace));
    let parts = key::split(key);
    if !parts.is_empty() {
        query.push_str(&format!("&rvt-key={}", encode(&parts.join(","))));
    }
    match create {
        None => query.push_str("&rvt-method=get"),
        Some(CreateWanted { pool, crash_policy, input }) => {
            use base64::Engine as _;
            let policy = format!("{crash_policy:?}").to_lowercase();
            query.push_str(&format!("&rvt-method=getOrCreate&rvt-pool={}&rvt-crash-policy={policy}", encode(pool)));
            if let Some(input) = input {
                query.push_str(&format!("&rvt-input={}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(input)));
            }
        }
    }
    (encode(name), query)
}

#[test]
fn heads_of_requests() {
    Inputs::new("gateway routing", 1, VALID, WORDS).each_text(|_, text| check(text));
}

#[test]
fn addresses_by_key() {
    let valid = [
        "lobby\nrvt-namespace=default&rvt-method=get&rvt-key=a,b",
        "a%2Fb\nrvt-namespace=default&rvt-method=getOrCreate&rvt-pool=p&rvt-key=%5C,,%2F&rvt-input=oWVjb3VudAI&rvt-skip-ready-wait=0",
        "w\nrvt-method=getOrCreate&x=1&rvt-namespace=n&rvt-runner=r&rvt-input=gYGBgPY&rvt-region=default&rvt-crash-policy=sleep",
    ];
    Inputs::new("query addresses", 1, &valid, WORDS).each_text(|_, text| {
        let (name, query) = text.split_once('\n').unwrap_or((text, ""));
        match query::parse(name, query) {
            Ok(said) => {
                let (name, query) = address(&said.wanted);
                assert_eq!(query::parse(&name, &query).map(|again| again.wanted), Ok(said.wanted));
                true
            }
            Err(error) => {
                assert!(error.is_known() && !error.message.is_empty(), "{error:?}");
                false
            }
        }
    });
}
