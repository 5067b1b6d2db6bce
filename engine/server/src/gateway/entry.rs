//! Who may call actors, where the operator has turned that on: `auth.gateway`.
//!
//! Off, as in the original, whoever knows an actor may call it, and a token that is brought along is the actor's to look at, unless it is
//! one of the engine's that clients should not have. On, a token must come in one of the original's four ways, and goes no further than
//! here.

use engine_core::record::Role;
use http::header::SEC_WEBSOCKET_PROTOCOL;
use http::{HeaderMap, HeaderValue};
use protocol::id::NamespaceId;

use crate::auth::identity::Denied;
use crate::auth::pass::Pass;
use crate::auth::table::Permission;
use crate::engine::Engine;
use crate::error::ApiError;
use crate::gateway::route::{ToActor, Wanted};
use crate::runners::connect::{TOKEN_ITEM, X_RIVET_TOKEN};
use crate::websocket;

/// A client that may.
#[derive(Default)]
pub struct Admitted {
    /// All that it may reach; none: everything.
    pub within: Option<NamespaceId>,
    /// For how long.
    pub pass: Pass,
}

pub fn admit(engine: &Engine, to: &mut ToActor, headers: &mut HeaderMap, upgrade: bool) -> Result<Admitted, ApiError> {
    engine.held.for_more()?;
    if !engine.auth.gateway {
        if engine.auth.is_on() && all_brought(headers).any(|token| is_secret(engine, token)) {
            take_out(headers);
        }
        return Ok(Admitted::default());
    }
    let token = to.token.take().map(|token| token.0);
    let token = token.or_else(|| brought_along(headers, upgrade));
    take_out(headers);
    let allowed = allowed(engine, to, token.as_deref());
    allowed.map_err(|denied| {
        engine.auth.count(denied);
        denied.into()
    })
}

fn allowed(engine: &Engine, to: &ToActor, token: Option<&str>) -> Result<Admitted, Denied> {
    let identity = engine.auth.identify(engine, token.map(str::as_bytes))?;
    identity.may(Permission::Call)?;
    let within = identity.within();
    if let (Wanted::Key { namespace, .. }, Some(within)) = (&to.wanted, within)
        && engine.directory.namespace(namespace).is_none_or(|named| named.id != within)
    {
        return Err(Denied::Namespace);
    }
    Ok(Admitted { within, pass: identity.into() })
}

/// Every one that there is, also where nobody would look.
fn all_brought(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let in_header = headers.get_all(X_RIVET_TOKEN).into_iter().map(HeaderValue::as_bytes);
    let in_protocols = websocket::protocols(headers).filter_map(|item| item.strip_prefix(TOKEN_ITEM)).map(str::as_bytes);
    in_header.chain(in_protocols)
}

/// Not a client's, which may be known: whoever gets to see another can do more with it than call actors.
fn is_secret(engine: &Engine, token: &[u8]) -> bool {
    engine.auth.identify(engine, Some(token)).is_ok_and(|identity| identity.role() != Some(Role::Client))
}

/// Beside the address.
fn brought_along(headers: &HeaderMap, upgrade: bool) -> Option<String> {
    let token = match upgrade {
        true => websocket::parameter(headers, TOKEN_ITEM),
        false => headers.get(X_RIVET_TOKEN)?.to_str().ok(),
    };
    token.map(str::to_string)
}

fn take_out(headers: &mut HeaderMap) {
    headers.remove(X_RIVET_TOKEN);
    if websocket::parameter(headers, TOKEN_ITEM).is_none() {
        return;
    }
    let left: Vec<&str> = websocket::protocols(headers).filter(|item| !item.starts_with(TOKEN_ITEM)).collect();
    let left = left.join(", ");
    headers.remove(SEC_WEBSOCKET_PROTOCOL);
    if let Some(left) = HeaderValue::from_str(&left).ok().filter(|left| !left.is_empty()) {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_no_further() {
        let rows = [
            (&["rivet, rivet_token.t, rivet_target.actor"][..], Some("t"), Some("rivet, rivet_target.actor")),
            (&["rivet", "rivet_token.t"], Some("t"), Some("rivet")),
            (&["rivet_token.t"], Some("t"), None),
            (&["rivet_token.a,rivet_token.b"], Some("a"), None),
            (&["rivet,other"], None, Some("rivet,other")),
            (&[], None, None),
        ];
        for (offered, token, left) in rows {
            let mut headers = HeaderMap::new();
            headers.insert(X_RIVET_TOKEN, HeaderValue::from_static("h"));
            for offered in offered {
                headers.append(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(offered));
            }
            assert_eq!(brought_along(&headers, true).as_deref(), token, "{offered:?}");
            assert_eq!(brought_along(&headers, false).as_deref(), Some("h"));
            take_out(&mut headers);
            assert!(!headers.contains_key(X_RIVET_TOKEN));
            let seen = headers.get(SEC_WEBSOCKET_PROTOCOL).map(|value| value.to_str().expect("text"));
            assert_eq!(seen, left, "{offered:?}");
        }
    }
}
